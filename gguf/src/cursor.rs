//! Reads the numbers and strings of a header from a stream whose length is known, and never allocates
//! more than that stream can still hold.

use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::limits::MAX_HEADER_BYTES;
use crate::{Endian, Error, Result};

/// Bytes read at a time into a buffer that grows: memory follows what was really read, so that a
/// sparse file or one that shrinks costs no more than it has.
const STEP: usize = 1 << 20;

pub(crate) struct Cursor<'a, R> {
    source: R,
    path: &'a Path,
    position: u64,
    length: u64,
    /// Byte order of numbers, set once the version is known.
    pub(crate) endian: Endian,
    /// Whether lengths and counts have 32 bits, as in version 1.
    pub(crate) short_lengths: bool,
}

impl<'a, R: Read> Cursor<'a, R> {
    pub(crate) fn new(source: R, length: u64, path: &'a Path) -> Self {
        Self {
            source,
            path,
            position: 0,
            length,
            endian: Endian::Little,
            short_lengths: false,
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes left in the file.
    pub(crate) fn remaining(&self) -> u64 {
        self.length.saturating_sub(self.position)
    }

    pub(crate) fn truncated(&self, what: impl FnOnce() -> String, needed: u64) -> Error {
        Error::Truncated {
            path: self.path.to_path_buf(),
            offset: self.position,
            subject: what(),
            available: self.remaining(),
            needed,
        }
    }

    pub(crate) fn malformed(
        &self,
        offset: u64,
        subject: impl Into<String>,
        found: impl ToString,
        expected: impl ToString,
    ) -> Error {
        Error::Malformed {
            path: self.path.to_path_buf(),
            offset,
            subject: subject.into(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    /// Checks that `n` more bytes can be read, before anything is allocated for them.
    pub(crate) fn require(&self, n: u64, what: impl FnOnce() -> String) -> Result<()> {
        if n > self.remaining() {
            return Err(self.truncated(what, n));
        }
        if self.position + n > MAX_HEADER_BYTES {
            let expected = format!("a header of at most {MAX_HEADER_BYTES} bytes");
            return Err(self.malformed(self.position, what(), format!("{n} more bytes"), expected));
        }
        Ok(())
    }

    fn fill(&mut self, buf: &mut [u8], what: impl FnOnce() -> String) -> Result<()> {
        match self.source.read_exact(buf) {
            Ok(()) => {
                self.position += buf.len() as u64;
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                // The length said otherwise: the file shrank since it was opened.
                self.length = self.position;
                Err(self.truncated(what, buf.len() as u64))
            }
            Err(e) => Err(Error::io(self.path)(e)),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self, what: impl Fn() -> String) -> Result<[u8; N]> {
        let mut buf = [0; N];
        self.require(N as u64, &what)?;
        self.fill(&mut buf, &what)?;
        Ok(buf)
    }

    /// The bytes of one number, least significant first.
    pub(crate) fn number<const N: usize>(&mut self, what: impl Fn() -> String) -> Result<[u8; N]> {
        let mut bytes = self.array::<N>(what)?;
        if self.endian == Endian::Big {
            bytes.reverse();
        }
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self, what: impl Fn() -> String) -> Result<u32> {
        Ok(u32::from_le_bytes(self.number(what)?))
    }

    pub(crate) fn u64(&mut self, what: impl Fn() -> String) -> Result<u64> {
        Ok(u64::from_le_bytes(self.number(what)?))
    }

    /// A length, count or dimension: 32 bits in version 1, 64 in later ones.
    pub(crate) fn length(&mut self, what: impl Fn() -> String) -> Result<u64> {
        if self.short_lengths {
            self.u32(what).map(u64::from)
        } else {
            self.u64(what)
        }
    }

    /// `n` bytes. `n` may come from the file.
    pub(crate) fn bytes(&mut self, n: u64, what: impl Fn() -> String) -> Result<Vec<u8>> {
        self.require(n, &what)?;
        // `require` bounds n by the header limit, which fits.
        let n = n as usize;
        let mut buf = Vec::new();
        while buf.len() < n {
            let start = buf.len();
            buf.resize(n.min(start + STEP), 0);
            self.fill(&mut buf[start..], &what)?;
        }
        Ok(buf)
    }

    /// A string: its length, then its bytes.
    pub(crate) fn string(&mut self, limit: u64, what: impl Fn() -> String) -> Result<Vec<u8>> {
        let offset = self.position;
        let n = self.length(&what)?;
        if n > limit {
            let expected = format!("at most {limit} bytes");
            return Err(self.malformed(offset, what(), format!("a length of {n} bytes"), expected));
        }
        self.bytes(n, what)
    }

    /// `n` numbers of `N` bytes each. `n` may come from the file.
    pub(crate) fn numbers<const N: usize, T>(
        &mut self,
        n: u64,
        convert: impl Fn([u8; N]) -> T,
        what: impl Fn() -> String,
    ) -> Result<Vec<T>> {
        let size = n.saturating_mul(N as u64);
        self.require(size, &what)?;
        let mut left = size as usize;
        let mut numbers = Vec::new();
        let mut buf = vec![0; left.min(STEP)];
        while left > 0 {
            let step = left.min(STEP);
            self.fill(&mut buf[..step], &what)?;
            let (chunks, _) = buf[..step].as_chunks::<N>();
            let big = self.endian == Endian::Big;
            numbers.extend(chunks.iter().map(|&bytes| {
                let mut bytes = bytes;
                if big {
                    bytes.reverse();
                }
                convert(bytes)
            }));
            left -= step;
        }
        Ok(numbers)
    }
}
