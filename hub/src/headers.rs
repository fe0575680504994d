//! A view of a model: files of text as they are, and of files of weights the headers, with holes in place of the data.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::cache::{Cache, link_to};
use crate::client::Client;
use crate::listing::{Digest, Entry, Listing, address};
use crate::{Error, Name, OnProgress, Progress, Result, Wanted, download};

/// Bytes of the first request of a header, and of each further one.
const STEP: u64 = 1 << 20;

/// Longest header of a safetensors file, as its own library bounds it.
const MAX_SAFETENSORS: u64 = 100_000_000;

/// Files without their data, and their SHA-256.
pub(crate) type Hollow = Vec<(PathBuf, Option<String>)>;

/// Makes the view, and says which files are hollow, with the SHA-256 that they are listed with.
pub(crate) fn view(
    client: &Client,
    cache: &Cache,
    listing: &Listing,
    wanted: &[Wanted<'_>],
    show: OnProgress<'_>,
) -> Result<(TempDir, Hollow)> {
    let temporary = std::env::temp_dir();
    let dir = tempfile::Builder::new()
        .prefix("quantsmith-headers-")
        .tempdir()
        .map_err(Error::io(&temporary))?;
    let snapshot = dir.path().join(cache.snapshot_below(&listing.commit));
    fs::create_dir_all(&snapshot).map_err(Error::io(&snapshot))?;
    let total = wanted.len() as u64;
    let mut without = Vec::new();
    for (done, entry) in wanted.iter().enumerate() {
        show(Progress {
            file: &entry.file,
            done: done as u64,
            total,
        });
        let place = snapshot.join(&entry.file);
        let kind = Kind::of(&entry.file);
        let cached = cache.blob(entry.digest.hex());
        let whole = kind.is_none() || fs::metadata(&cached).is_ok_and(|m| m.len() == entry.size);
        match kind {
            Some(kind) if !whole => {
                hollow(client, cache.name(), listing, entry, kind, &place)?;
                let sha256 = match &entry.digest {
                    Digest::Sha256(hex) => Some(hex.clone()),
                    Digest::Blob(_) => None,
                };
                without.push((place, sha256));
            }
            _ => {
                let file = download::file(client, cache, listing, entry, &mut |_| ())?;
                link_to(&file, &place)?;
            }
        }
    }
    show(Progress {
        file: "",
        done: total,
        total,
    });
    Ok((dir, without))
}

/// Kinds of files whose header comes first and says where everything is.
#[derive(Clone, Copy)]
enum Kind {
    Safetensors,
    Gguf,
}

impl Kind {
    fn of(file: &str) -> Option<Self> {
        match file.rsplit_once('.')?.1 {
            "safetensors" => Some(Self::Safetensors),
            "gguf" => Some(Self::Gguf),
            _ => None,
        }
    }
}

/// A file of the right size with its header and no data.
fn hollow(
    client: &Client,
    name: &Name,
    listing: &Listing,
    entry: &Entry,
    kind: Kind,
    place: &Path,
) -> Result<()> {
    let folder = place.parent().unwrap_or(place);
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut source = Ranges {
        client,
        name,
        url: address(client.settings(), name, &listing.commit, &entry.file),
        entry,
        out: File::create(place).map_err(Error::io(place))?,
        place,
        piece: Vec::new(),
        used: 0,
        at: 0,
        failed: None,
    };
    let read = match kind {
        Kind::Gguf => {
            let parsed = gguf::Header::parse(&mut source, entry.size, Path::new(&entry.file));
            parsed.map(drop).map_err(|e| e.to_string())
        }
        Kind::Safetensors => safetensors(&mut source),
    };
    if let Some(failed) = source.failed {
        return Err(failed);
    }
    read.map_err(|message| Error::Header {
        name: name.to_string(),
        file: entry.file.clone(),
        message,
    })?;
    source.out.set_len(entry.size).map_err(Error::io(place))
}

/// Reads a safetensors header through.
fn safetensors(source: &mut Ranges<'_>) -> std::result::Result<(), String> {
    let size = source.entry.size;
    let short = |e: io::Error| e.to_string();
    let mut length = [0; 8];
    source.read_exact(&mut length).map_err(short)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_SAFETENSORS || length > size.saturating_sub(8) {
        let most = MAX_SAFETENSORS.min(size.saturating_sub(8));
        return Err(format!(
            "length of the header: expected at most {most} bytes, found {length}"
        ));
    }
    match io::copy(&mut source.take(length), &mut io::sink()) {
        Ok(read) if read == length => Ok(()),
        Ok(read) => Err(format!("header: expected {length} bytes, found {read}")),
        Err(e) => Err(e.to_string()),
    }
}

/// A remote file as a stream that is fetched in steps; what was fetched is kept in a file.
struct Ranges<'a> {
    client: &'a Client,
    name: &'a Name,
    url: String,
    entry: &'a Entry,
    out: File,
    place: &'a Path,
    piece: Vec<u8>,
    used: usize,
    /// Bytes fetched.
    at: u64,
    /// Why the stream ended, which a parser would only tell as text.
    failed: Option<Error>,
}

impl Ranges<'_> {
    fn fetch(&mut self) -> Result<()> {
        let (start, size) = (self.at, self.entry.size);
        let end = start.saturating_add(STEP).min(size);
        let (name, url, file) = (self.name, &self.url, &self.entry.file);
        let piece = self.client.attempt(name, |client| {
            let answer = match client.range(name, url, file, (start, Some(end)))? {
                Ok(answer) => answer,
                Err(again) => return Ok(Err(again)),
            };
            let (first, length) = answer.range.unwrap_or((0, size));
            if length != size {
                return Err(Error::Size {
                    name: name.to_string(),
                    file: file.clone(),
                    expected: size,
                    found: length,
                });
            }
            // A hub without ranges sends everything; what is before is skipped.
            let skipped = match start.checked_sub(first) {
                Some(skipped) if answer.status != 416 => skipped,
                _ => return Ok(Err(("an answer from another place of the file".to_owned(), None))),
            };
            let mut body = answer.body;
            let mut piece = Vec::new();
            let skip = io::copy(&mut (&mut body).take(skipped), &mut io::sink());
            let read = skip.and_then(|_| body.take(end - start).read_to_end(&mut piece));
            match read {
                Err(e) => Ok(Err((e.to_string(), None))),
                Ok(_) if piece.len() as u64 != end - start => {
                    Ok(Err(("the connection ended early".to_owned(), None)))
                }
                Ok(_) => Ok(Ok(piece)),
            }
        })?;
        self.out.write_all(&piece).map_err(Error::io(self.place))?;
        self.at = end;
        self.piece = piece;
        self.used = 0;
        Ok(())
    }
}

impl Read for Ranges<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.used == self.piece.len() && self.at < self.entry.size {
            if self.failed.is_some() {
                return Err(io::ErrorKind::Other.into());
            }
            if let Err(e) = self.fetch() {
                let text = e.to_string();
                self.failed = Some(e);
                return Err(io::Error::other(text));
            }
        }
        let left = &self.piece[self.used..];
        let n = left.len().min(out.len());
        out[..n].copy_from_slice(&left[..n]);
        self.used += n;
        Ok(n)
    }
}
