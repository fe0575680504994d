//! Digests of tensors and files, and manifests of a directory.
//!
//! Digests of a model are those of llama.cpp's gguf-hash: of each tensor's bytes, and of all tensors' bytes
//! one after another, without metadata and padding, so that an edit of the metadata does not change them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use gguf::{GgufModel, Inputs, WholeFile};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use xxhash_rust::xxh64::Xxh64;

use crate::{Error, Result};

/// Name of the manifest of a directory, in the format of `sha256sum`.
pub const MANIFEST: &str = "SHA256SUMS";
/// Longest manifest that is read, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 16 << 20;
/// Bytes read at a time.
const STEP: usize = 1 << 20;
/// UUIDv5 of `en.wikipedia.org/wiki/Llama.cpp` in the URL namespace: the namespace of gguf-hash's ids.
const UUID_NAMESPACE: [u8; 16] = [
    0xef, 0x00, 0x12, 0x06, 0xda, 0xdc, 0x5f, 0x6d, 0xa1, 0x5f, 0x33, 0x59, 0xe5, 0x77, 0xd4, 0xe5,
];

/// A kind of digest, in gguf-hash's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// XXH64 with seed 0: fast, no protection against intent.
    Xxh64,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// A UUIDv5 of the model's tensors.
    Uuid,
}

impl Kind {
    /// The name as gguf-hash prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xxh64 => "xxh64",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Uuid => "uuid",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Xxh64, Self::Sha1, Self::Sha256, Self::Uuid]
            .into_iter()
            .find(|k| k.name() == name)
    }
}

enum State {
    Xxh64(Box<Xxh64>),
    Sha1(Sha1),
    Sha256(Sha256),
    Uuid(Sha1),
}

impl State {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Xxh64 => Self::Xxh64(Box::new(Xxh64::new(0))),
            Kind::Sha1 => Self::Sha1(Sha1::new()),
            Kind::Sha256 => Self::Sha256(Sha256::new()),
            Kind::Uuid => Self::Uuid(Sha1::new_with_prefix(UUID_NAMESPACE)),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Xxh64(state) => state.update(bytes),
            Self::Sha1(state) | Self::Uuid(state) => state.update(bytes),
            Self::Sha256(state) => state.update(bytes),
        }
    }

    fn finish(self) -> String {
        match self {
            Self::Xxh64(state) => format!("{:016x}", state.digest()),
            Self::Sha1(state) => hex(&state.finalize()),
            Self::Sha256(state) => hex(&state.finalize()),
            Self::Uuid(state) => {
                let mut id = [0; 16];
                id.copy_from_slice(&state.finalize()[..16]);
                // Version 5 of the standard variant.
                id[6] = id[6] & 0x0f | 0x50;
                id[8] = id[8] & 0x3f | 0x80;
                let text = hex(&id);
                let part = |from: usize, to: usize| &text[from..to];
                [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
            }
        }
    }
}

/// The digest of some bytes.
pub fn of_bytes(kind: Kind, bytes: &[u8]) -> String {
    let mut state = State::new(kind);
    state.update(bytes);
    state.finish()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A digest of a tensor, or of all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The kind.
    pub kind: Kind,
    /// The tensor; `None` for all tensors together.
    pub tensor: Option<String>,
    /// The digest as it is printed.
    pub text: String,
}

/// Computes digests and hands them over in gguf-hash's order: for each tensor those asked for, then those
/// of the model. A UUID is only of the model.
///
/// # Errors
/// When tensor data cannot be read.
pub fn digests(
    model: &GgufModel,
    kinds: &[Kind],
    per_tensor: bool,
    found: &mut dyn FnMut(Digest) -> Result<()>,
) -> Result<()> {
    let mut kinds = kinds.to_vec();
    kinds.sort();
    kinds.dedup();
    let mut whole: Vec<(Kind, State)> = kinds.iter().map(|&k| (k, State::new(k))).collect();
    for tensor in model.tensors() {
        let mut own: Vec<(Kind, State)> = kinds
            .iter()
            .filter(|&&k| per_tensor && k != Kind::Uuid)
            .map(|&k| (k, State::new(k)))
            .collect();
        let block = tensor.info.ty.block_bytes() as u64;
        let step = STEP as u64 / block * block;
        let size = tensor.info.size_bytes();
        let mut at = 0;
        while at < size {
            let end = size.min(at + step);
            let bytes = model.bytes(tensor.index, at..end)?;
            own.iter_mut()
                .chain(&mut whole)
                .for_each(|(_, state)| state.update(&bytes));
            at = end;
        }
        for (kind, state) in own {
            found(Digest {
                kind,
                tensor: Some(tensor.info.name.clone()),
                text: state.finish(),
            })?;
        }
    }
    for (kind, state) in whole {
        found(Digest {
            kind,
            tensor: None,
            text: state.finish(),
        })?;
    }
    Ok(())
}

/// SHA-256 of a whole file, as hexadecimal digits.
///
/// # Errors
/// When the file cannot be read.
pub fn file_sha256(path: &Path) -> Result<String> {
    file_sha256_telling(path, &|_| {})
}

/// [`file_sha256`], which tells how many bytes were read after each step.
///
/// # Errors
/// As [`file_sha256`].
pub fn file_sha256_telling(path: &Path, read: &dyn Fn(u64)) -> Result<String> {
    let io = |source| Error::io(path, source);
    let mut file = File::open(path).map_err(io)?;
    let mut state = Sha256::new();
    let mut buffer = vec![0; STEP];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&state.finalize())),
            Ok(n) => {
                state.update(&buffer[..n]);
                read(n as u64);
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(io(e)),
        }
    }
}

/// A line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    /// Name of a file in the directory of the manifest.
    pub name: String,
    /// SHA-256, as hexadecimal digits.
    pub sha256: String,
}

impl ManifestEntry {
    /// The line of a manifest, as `sha256sum` writes it.
    pub fn line(&self) -> String {
        format!("{}  {}\n", self.sha256, self.name)
    }
}

/// Writes `SHA256SUMS` for these files of a directory, taking the digests of `known` files as they are and calling
/// `read` with the bytes that it reads of others. Lines of one that is there stay for other files that are still there.
///
/// # Errors
/// When a file cannot be read, the manifest cannot be written, or one is there that cannot be read; it is then as it
/// was.
pub fn write_manifest(
    directory: &Path,
    files: &[PathBuf],
    known: &[ManifestEntry],
    read: &dyn Fn(u64),
) -> Result<()> {
    let _held = Inputs::hold(files);
    let mut lines = String::new();
    let mut names = Vec::new();
    for file in files {
        let Some(name) = file.file_name().and_then(|n| n.to_str()) else {
            return Err(Error::input(
                file,
                "the file has no name that a manifest could hold",
            ));
        };
        names.push(name);
        let digest = match known.iter().find(|entry| entry.name == name) {
            Some(entry) => entry.sha256.clone(),
            None => file_sha256_telling(&directory.join(name), read)?,
        };
        lines += &format!("{digest}  {name}\n");
    }
    // What another process adds meanwhile is not lost: it waits for this one, or this one for it.
    let file = WholeFile::open(&directory.join(MANIFEST))?;
    for entry in manifest_or_none(directory)? {
        if !names.contains(&entry.name.as_str()) && directory.join(&entry.name).is_file() {
            lines += &format!("{}  {}\n", entry.sha256, entry.name);
        }
    }
    Ok(file.publish(lines.as_bytes())?)
}

/// Checks before the work that [`write_manifest`] will find nothing in its way.
///
/// # Errors
/// A manifest that cannot be read or replaced.
pub fn check_manifest(directory: &Path) -> Result<()> {
    manifest_or_none(directory)?;
    Ok(gguf::check_target(&directory.join(MANIFEST), 0)?)
}

/// The lines of a directory's manifest, if it has one. One that is not in this format is somebody else's, and not
/// replaced.
fn manifest_or_none(directory: &Path) -> Result<Vec<ManifestEntry>> {
    match read_manifest(directory) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// Reads the manifest of a directory.
///
/// # Errors
/// A manifest that is missing, too long, or not in the format of `sha256sum` with plain file names.
pub fn read_manifest(directory: &Path) -> Result<Vec<ManifestEntry>> {
    let path = directory.join(MANIFEST);
    let bytes = crate::json::read_bytes(&path, MAX_MANIFEST_BYTES)?;
    let malformed = |line: usize, what: &str| Error::input(&path, format!("line {}: {what}", line + 1));
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed(0, "expected UTF-8, found other bytes"))?;
    let mut entries: Vec<ManifestEntry> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let pair = line.split_once("  ").or_else(|| line.split_once(" *"));
        let Some((sha256, name)) = pair else {
            return Err(malformed(
                number,
                "expected a SHA-256 digest, two spaces and a file name",
            ));
        };
        if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(malformed(
                number,
                "expected a digest of 64 hexadecimal digits, found another",
            ));
        }
        let plain = Path::new(name).file_name().is_some_and(|n| n == name);
        if !plain {
            return Err(malformed(
                number,
                "expected the name of a file in this directory, found another",
            ));
        }
        entries.push(ManifestEntry {
            name: name.to_owned(),
            sha256: sha256.to_ascii_lowercase(),
        });
    }
    Ok(entries)
}

/// The GGUF files of a directory, by name.
///
/// # Errors
/// When the directory cannot be read.
pub fn gguf_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let io = |source| Error::io(directory, source);
    let mut files = Vec::new();
    for entry in directory.read_dir().map_err(io)? {
        let path = entry.map_err(io)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|e| e == "gguf") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_known_bytes() {
        let of = |kind| {
            let mut state = State::new(kind);
            state.update(b"ab");
            state.update(b"c");
            state.finish()
        };
        // The values of the functions' own published test vectors.
        assert_eq!(of(Kind::Xxh64), "44bc2cf5ad770999");
        assert_eq!(of(Kind::Sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(
            of(Kind::Sha256),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let id = of(Kind::Uuid);
        assert_eq!((id.len(), &id[14..15]), (36, "5"));
    }

    #[test]
    fn manifests_come_back_and_bad_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a b.gguf"), "abc").unwrap();
        write_manifest(dir.path(), &[dir.path().join("a b.gguf")], &[], &|_| {}).unwrap();
        let read = read_manifest(dir.path()).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].name, "a b.gguf");
        assert!(read[0].sha256.starts_with("ba7816bf"));
        let digest = "0".repeat(64);
        for bad in [
            "x  a".to_owned(),
            format!("{digest}  ../a"),
            format!("{digest}  /etc/passwd"),
            format!("{digest}  "),
            digest.clone(),
            format!("{}é  a", &digest[1..]),
        ] {
            std::fs::write(dir.path().join(MANIFEST), &bad).unwrap();
            assert!(read_manifest(dir.path()).is_err(), "{bad:?}");
        }
    }
}
