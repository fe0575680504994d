//! The directory of a zip file whose members are stored uncompressed, as PyTorch writes them.

use indexmap::IndexMap;

use super::super::tensor_file::Opened;
use crate::{Error, Result};

/// Longest central directory accepted; PyTorch's takes some hundred bytes a storage.
const MAX_DIRECTORY_BYTES: u64 = 64 << 20;

/// The end record without its comment.
const END_BYTES: usize = 22;

/// The end record with the longest comment.
const MAX_END_BYTES: u64 = END_BYTES as u64 + 65535;

/// Bytes of the record before the end record that leads to the one with 64-bit numbers.
const LOCATOR_BYTES: usize = 20;

/// A member, with the place of its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// Position of the header before its bytes.
    header: u64,
    pub(super) bytes: u64,
}

/// An open zip file.
#[derive(Debug)]
pub(super) struct Zip<'a> {
    file: &'a Opened,
    /// End of the members and start of the directory.
    directory: u64,
    pub(super) members: IndexMap<String, Member>,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let mut out = [0; 2];
    out.copy_from_slice(&bytes[at..at + 2]);
    u16::from_le_bytes(out)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}

impl<'a> Zip<'a> {
    /// Reads the directory of a file.
    ///
    /// # Errors
    /// A directory that is missing, too long, or outside of the file; members that are compressed,
    /// encrypted, or of one name.
    pub(super) fn open(file: &'a Opened) -> Result<Self> {
        let (path, length) = (file.path(), file.length());
        let input = |message: String| Error::input(path, format!("zip: {message}"));
        let tail_len = length.min(MAX_END_BYTES + LOCATOR_BYTES as u64);
        let mut tail = vec![0; tail_len as usize];
        file.read_exact_at(length - tail_len, &mut tail)?;
        // The end record is the last one whose comment reaches just to the end of the file.
        let last = tail.len().checked_sub(END_BYTES).map_or(0, |at| at + 1);
        let end = (0..last)
            .rev()
            .find(|&at| {
                tail[at..].starts_with(b"PK\x05\x06")
                    && at + END_BYTES + usize::from(u16_at(&tail, at + 20)) == tail.len()
            })
            .ok_or_else(|| input("expected an end record, found none (truncated?)".to_owned()))?;
        let mut count = u64::from(u16_at(&tail, end + 10));
        let mut size = u64::from(u32_at(&tail, end + 12));
        let mut offset = u64::from(u32_at(&tail, end + 16));
        let locator = end.checked_sub(LOCATOR_BYTES).map(|at| &tail[at..end]);
        if let Some(locator) = locator.filter(|l| l.starts_with(b"PK\x06\x07")) {
            let at = u64_at(locator, 8);
            let mut record = [0; 56];
            if at.checked_add(56).is_none_or(|end| end > length) {
                return Err(input(format!(
                    "expected an end record in the file, found its place at {at}"
                )));
            }
            file.read_exact_at(at, &mut record)?;
            if !record.starts_with(b"PK\x06\x06") {
                return Err(input(format!("expected an end record at {at}, found none")));
            }
            (count, size, offset) = (u64_at(&record, 32), u64_at(&record, 40), u64_at(&record, 48));
        }
        if size > MAX_DIRECTORY_BYTES || offset.checked_add(size).is_none_or(|end| end > length) {
            return Err(input(format!(
                "expected a directory in the file of {length} bytes, found {size} bytes at {offset}"
            )));
        }
        let mut directory = vec![0; size as usize];
        file.read_exact_at(offset, &mut directory)?;
        let mut members = IndexMap::new();
        let mut rest = directory.as_slice();
        while members.len() as u64 != count {
            let (name, member, length) = member(rest).map_err(|e| {
                input(format!(
                    "entry {} of the directory at {offset}: {e}",
                    members.len()
                ))
            })?;
            rest = &rest[length..];
            if members.insert(name.clone(), member).is_some() {
                return Err(input(format!("expected one {name}, found two")));
            }
        }
        Ok(Self {
            file,
            directory: offset,
            members,
        })
    }

    /// Position of a member's bytes.
    ///
    /// # Errors
    /// A header that is missing, or bytes that reach into the directory.
    pub(super) fn locate(&self, name: &str, member: Member) -> Result<u64> {
        let input = |message: String| Error::input(self.file.path(), format!("zip: {name}: {message}"));
        let room = self.directory.checked_sub(member.header).filter(|&n| n >= 30);
        if room.is_none() {
            return Err(input(format!(
                "its header is at {}, the directory at {}",
                member.header, self.directory
            )));
        }
        let mut header = [0; 30];
        self.file.read_exact_at(member.header, &mut header)?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err(input(format!(
                "expected a header at {}, found none",
                member.header
            )));
        }
        let start = member.header + 30 + u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        if start
            .checked_add(member.bytes)
            .is_none_or(|end| end > self.directory)
        {
            return Err(input(format!(
                "{} bytes at {start} reach into the directory at {}",
                member.bytes, self.directory
            )));
        }
        Ok(start)
    }
}

/// The first entry of what is left of a directory: its name, the member, and the entry's length.
fn member(bytes: &[u8]) -> Result<(String, Member, usize), String> {
    if bytes.len() < 46 || !bytes.starts_with(b"PK\x01\x02") {
        return Err("expected an entry, found none".to_owned());
    }
    let name_len = usize::from(u16_at(bytes, 28));
    let extra_len = usize::from(u16_at(bytes, 30));
    let length = 46 + name_len + extra_len + usize::from(u16_at(bytes, 32));
    if length > bytes.len() {
        return Err(format!("expected {length} bytes, found {}", bytes.len()));
    }
    let name = String::from_utf8_lossy(&bytes[46..46 + name_len]).into_owned();
    let (flags, method) = (u16_at(bytes, 8), u16_at(bytes, 10));
    let (mut stored, mut size) = (u64::from(u32_at(bytes, 20)), u64::from(u32_at(bytes, 24)));
    let mut header = u64::from(u32_at(bytes, 42));
    // Numbers that do not fit are in an extra field, in this order.
    let mut extra = &bytes[46 + name_len..46 + name_len + extra_len];
    while extra.len() >= 4 {
        let (id, field) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let Some(mut field) = extra.get(4..4 + field) else {
            break;
        };
        extra = &extra[4 + field.len()..];
        if id != 1 {
            continue;
        }
        for number in [&mut size, &mut stored, &mut header] {
            if *number == u64::from(u32::MAX) {
                let Some((head, tail)) = field.split_at_checked(8) else {
                    return Err(format!("{name}: expected a size, found none"));
                };
                *number = u64_at(head, 0);
                field = tail;
            }
        }
    }
    if method != 0 || flags & 1 != 0 || stored != size {
        return Err(format!(
            "{name}: expected plain bytes, found a compressed or encrypted member, which PyTorch does not write"
        ));
    }
    let member = Member { header, bytes: size };
    Ok((name, member, length))
}
