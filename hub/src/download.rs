//! Whole files: fetched in parts where a connection breaks, checked against the listing, and only then put in place.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::cache::Cache;
use crate::client::Client;
use crate::listing::{Digest, Entry, Listing, address};
use crate::{Error, OnProgress, Progress, Result, Wanted};

/// Bytes of a read.
const PIECE: usize = 256 << 10;

/// Brings files into the cache; the folder of their snapshot.
pub(crate) fn files(
    client: &Client,
    cache: &Cache,
    listing: &Listing,
    wanted: &[Wanted<'_>],
    show: OnProgress<'_>,
) -> Result<PathBuf> {
    let total = wanted.iter().map(|e| e.size).fold(0, u64::saturating_add);
    let missing = |e: &&&Entry| !is_there(&cache.blob(e.digest.hex()), e.size);
    let needed = wanted
        .iter()
        .filter(missing)
        .map(|e| e.size.saturating_sub(partial_len(cache, e)));
    let needed = needed.fold(0, u64::saturating_add);
    if needed > 0 {
        let folder = cache
            .blob("x")
            .parent()
            .map(Path::to_path_buf)
            .unwrap_or_default();
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        gguf::check_space(&folder.join("x"), needed)?;
    }
    let mut before = 0u64;
    for entry in wanted {
        let mut of_file = |done: u64| {
            show(Progress {
                file: &entry.file,
                done: before.saturating_add(done),
                total,
            });
        };
        file(client, cache, listing, entry, &mut of_file)?;
        before = before.saturating_add(entry.size);
    }
    Ok(cache.snapshot(&listing.commit))
}

/// Brings one file into the cache; its place in the snapshot.
pub(crate) fn file(
    client: &Client,
    cache: &Cache,
    listing: &Listing,
    entry: &Entry,
    show: &mut dyn FnMut(u64),
) -> Result<PathBuf> {
    let blob = cache.blob(entry.digest.hex());
    if !is_there(&blob, entry.size) {
        let _held = cache.lock(entry.digest.hex())?;
        // Another process may have been faster.
        if !is_there(&blob, entry.size) {
            fetch(client, cache, listing, entry, &blob, show)?;
        }
    }
    show(entry.size);
    cache.link(&listing.commit, &entry.file, &blob)
}

/// Whether a blob is there: only whole ones have the name.
fn is_there(blob: &Path, size: u64) -> bool {
    fs::metadata(blob).is_ok_and(|m| m.is_file() && m.len() == size)
}

/// The part of a file that an earlier run has fetched, named as the hub's Python client names it.
fn partial(blob: &Path) -> PathBuf {
    let mut name = blob.file_name().unwrap_or_default().to_owned();
    name.push(".incomplete");
    blob.with_file_name(name)
}

fn partial_len(cache: &Cache, entry: &Entry) -> u64 {
    let length = fs::metadata(partial(&cache.blob(entry.digest.hex()))).map_or(0, |m| m.len());
    if length > entry.size { 0 } else { length }
}

fn fetch(
    client: &Client,
    cache: &Cache,
    listing: &Listing,
    entry: &Entry,
    blob: &Path,
    show: &mut dyn FnMut(u64),
) -> Result<()> {
    let name = cache.name();
    let url = address(client.settings(), name, &listing.commit, &entry.file);
    let path = partial(blob);
    let folder = path.parent().unwrap_or(&path);
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut out = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(&path)
        .map_err(Error::io(&path))?;
    let length = |out: &File| out.metadata().map(|m| m.len()).map_err(Error::io(&path));
    if length(&out)? > entry.size {
        out.set_len(0).map_err(Error::io(&path))?;
    }
    loop {
        let start = length(&out)?;
        show(start);
        if start == entry.size {
            break;
        }
        // Attempts count from the last byte that came.
        client.attempt(name, |client| {
            let start = length(&out)?;
            let answer = match client.range(name, &url, &entry.file, (start, None))? {
                Ok(answer) => answer,
                Err(again) => return Ok(Err(again)),
            };
            let size = answer.range.map_or(entry.size, |(_, length)| length);
            if size != entry.size {
                let _ = fs::remove_file(&path);
                return Err(Error::Size {
                    name: name.to_string(),
                    file: entry.file.clone(),
                    expected: entry.size,
                    found: size,
                });
            }
            if answer.status == 416 {
                out.set_len(0).map_err(Error::io(&path))?;
                return Ok(Err(("nothing past what is there".to_owned(), None)));
            }
            if answer.range.is_none_or(|(first, _)| first != start) && start > 0 {
                // A hub without ranges begins at the beginning.
                out.set_len(0).map_err(Error::io(&path))?;
            }
            copy(answer.body, &mut out, &path, entry, name, show).map(|why| match why {
                Some(why) if length(&out).is_ok_and(|now| now <= start) => Err((why, None)),
                _ => Ok(()),
            })
        })?;
    }
    out.sync_all().map_err(Error::io(&path))?;
    drop(out);
    let found = digest_of(&path, entry)?;
    if found != entry.digest.hex() {
        fs::remove_file(&path).map_err(Error::io(&path))?;
        return Err(Error::Digest {
            name: name.to_string(),
            file: entry.file.clone(),
            kind: entry.digest.kind(),
            expected: entry.digest.hex().to_owned(),
            found,
        });
    }
    fs::rename(&path, blob).map_err(Error::io(blob))
}

/// Appends a body; why it ended early, if it did.
fn copy(
    mut body: impl Read,
    out: &mut File,
    path: &Path,
    entry: &Entry,
    name: &crate::Name,
    show: &mut dyn FnMut(u64),
) -> Result<Option<String>> {
    let mut done = out.metadata().map_err(Error::io(path))?.len();
    let mut piece = vec![0; PIECE];
    loop {
        let read = match body.read(&mut piece) {
            Ok(0) if done < entry.size => {
                return Ok(Some(format!("the connection ended after {done} bytes")));
            }
            Ok(0) => return Ok(None),
            Ok(read) => read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Ok(Some(e.to_string())),
        };
        if entry.size.saturating_sub(done) < read as u64 {
            let _ = fs::remove_file(path);
            return Err(Error::Size {
                name: name.to_string(),
                file: entry.file.clone(),
                expected: entry.size,
                found: done.saturating_add(read as u64),
            });
        }
        out.write_all(&piece[..read]).map_err(Error::io(path))?;
        done += read as u64;
        show(done);
    }
}

/// The digest of what came, of the kind that the listing has.
fn digest_of(path: &Path, entry: &Entry) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut piece = vec![0; PIECE];
    let mut large = Sha256::new();
    let mut small = Sha1::new();
    small.update(format!("blob {}\0", entry.size));
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => match entry.digest {
                Digest::Sha256(_) => large.update(&piece[..read]),
                Digest::Blob(_) => small.update(&piece[..read]),
            },
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io(path)(e)),
        }
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
    Ok(match entry.digest {
        Digest::Sha256(_) => hex(&large.finalize()),
        Digest::Blob(_) => hex(&small.finalize()),
    })
}
