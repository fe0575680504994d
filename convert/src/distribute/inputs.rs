//! The inputs of a plan, known by their content.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest::{file_sha256, hex};
use crate::source::Source;
use crate::{Error, Result};

/// Places in a file that are looked at to tell it from another of the same length; the first and the last bytes are
/// among them.
const SAMPLES: u64 = 256;
/// Bytes looked at in each place. A file of up to [`SAMPLES`] times as many is looked at as a whole.
const SAMPLE_BYTES: u64 = 4096;

/// The owner of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputOf {
    /// The model.
    Model,
    /// The importance matrix.
    Imatrix,
    /// The description of the architecture.
    Architecture,
    /// A text that blocks are learned from.
    Calibration,
    /// A text that the files are measured on.
    Text,
}

/// A file that decides the bytes of the outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The owner.
    pub of: InputOf,
    /// Its name: in a directory the path from there.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its length and of 4096 bytes at each of 256 places; of a file of at most 1 MiB, of all its bytes. Absent
    /// where only its header was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<String>,
    /// SHA-256 of all its bytes; absent where the plan was made of headers alone, and the hub does not list it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// How much of the inputs is taken down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken<'a> {
    /// Whether all bytes are read.
    pub content: bool,
    /// Files that have their headers alone, and the SHA-256 that the hub lists of them.
    pub hollow: &'a [(PathBuf, Option<String>)],
}

/// How much of the inputs is compared with the plan before a part is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// Lengths and samples: at most 1 MiB of each file is read.
    #[default]
    Sampled,
    /// Every byte.
    Content,
}

/// The files of a plan's inputs, as they are found here, with their names.
pub(super) fn files(
    source: &dyn Source,
    others: &[(InputOf, PathBuf)],
) -> Result<Vec<(InputOf, String, PathBuf)>> {
    let named = |of: InputOf, base: &Path, path: PathBuf| -> Result<_> {
        let name = path.strip_prefix(base).unwrap_or(&path);
        let text = name.to_str().ok_or_else(|| {
            Error::input(
                &path,
                "expected a name in UTF-8, which a plan can hold, found other bytes",
            )
        })?;
        Ok((of, text.replace(std::path::MAIN_SEPARATOR, "/"), path))
    };
    let model = source.path();
    let mut found = Vec::new();
    if model.is_dir() {
        let mut paths = gguf::files_of_directory(model);
        paths.sort();
        for path in paths {
            found.push(named(InputOf::Model, model, path)?);
        }
    } else {
        for path in source.files()? {
            let base = path.parent().unwrap_or(Path::new("")).to_path_buf();
            found.push(named(InputOf::Model, &base, path)?);
        }
    }
    for (of, path) in others {
        let base = path.parent().unwrap_or(Path::new(""));
        found.push(named(*of, base, path.clone())?);
    }
    Ok(found)
}

/// Takes down inputs.
///
/// # Errors
/// A file that cannot be read, and one from the hub whose content is not what the hub's cache names it after.
pub(super) fn record(
    source: &dyn Source,
    others: &[(InputOf, PathBuf)],
    taken: Taken<'_>,
) -> Result<Vec<Input>> {
    files(source, others)?
        .into_par_iter()
        .map(|(of, name, path)| {
            let (bytes, sampled) = sample(&path)?;
            if let Some((_, sha256)) = taken.hollow.iter().find(|(hollow, _)| *hollow == path) {
                return Ok(Input {
                    of,
                    name,
                    bytes,
                    sampled: None,
                    sha256: sha256.clone(),
                });
            }
            let sha256 = taken.content.then(|| file_sha256(&path)).transpose()?;
            if let (Some(found), Some(expected)) = (&sha256, hub_digest(&path))
                && *found != expected
            {
                return Err(Error::input(
                    path,
                    format!(
                        "SHA-256: expected {expected}, after which the hub's cache names it, found {found}"
                    ),
                ));
            }
            Ok(Input {
                of,
                name,
                bytes,
                sampled: Some(sampled),
                sha256,
            })
        })
        .collect()
}

/// Compares the inputs that are found here with those of a plan.
///
/// # Errors
/// The first that is missing or differs, with what is expected and what was found.
pub(super) fn check(
    expected: &[Input],
    source: &dyn Source,
    others: &[(InputOf, PathBuf)],
    how: Check,
) -> Result<()> {
    let found = files(source, others)?;
    // A GGUF file may have another name here; those of a directory are known by theirs.
    let by_order = !source.path().is_dir();
    let place = |input: &Input| {
        let mut same = found.iter().filter(|(of, ..)| *of == input.of);
        let mut expected = expected.iter().filter(|other| other.of == input.of);
        let path = if by_order || input.of != InputOf::Model {
            same.nth(expected.position(|other| other == input)?)
        } else {
            same.find(|(_, name, _)| *name == input.name)
        };
        path.map(|(.., path)| path.as_path())
    };
    expected.par_iter().try_for_each(|input| {
        let Some(path) = place(input) else {
            return Err(Error::input(
                source.path(),
                format!("{}: expected this input of the plan, found none here", input.name),
            ));
        };
        let differs = |what: &str, expected: &str, found: &str| {
            Err(Error::input(
                path,
                format!(
                    "input {:?} of the plan: {what}: expected {expected}, found {found}",
                    input.name
                ),
            ))
        };
        let (bytes, sampled) = sample(path)?;
        if bytes != input.bytes {
            return differs("bytes", &input.bytes.to_string(), &bytes.to_string());
        }
        if let Some(expected) = &input.sampled
            && sampled != *expected
        {
            return differs("digest of samples", expected, &sampled);
        }
        let found = match (&input.sha256, how) {
            (None, Check::Content) => {
                return differs(
                    "SHA-256",
                    "one in the plan",
                    "none, as the plan was made of headers alone",
                );
            }
            (Some(_), Check::Content) => Some(file_sha256(path)?),
            // What the hub's cache names it after costs nothing to compare; all bytes are read where nothing else tells.
            (_, Check::Sampled) => match hub_digest(path) {
                None if input.sampled.is_none() && input.sha256.is_some() => Some(file_sha256(path)?),
                found => found,
            },
        };
        match (&input.sha256, found) {
            (Some(expected), Some(found)) if *expected != found => differs("SHA-256", expected, &found),
            _ => Ok(()),
        }
    })
}

/// Length of a file, and digest of its samples.
fn sample(path: &Path) -> Result<(u64, String)> {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut state = Sha256::new();
        state.update(length.to_le_bytes());
        if length <= SAMPLES * SAMPLE_BYTES {
            let mut bytes = Vec::new();
            file.take(SAMPLES * SAMPLE_BYTES).read_to_end(&mut bytes)?;
            state.update(&bytes);
        } else {
            let last = length - SAMPLE_BYTES;
            for i in 0..SAMPLES {
                let at = (u128::from(last) * u128::from(i) / u128::from(SAMPLES - 1)) as u64;
                file.seek(SeekFrom::Start(at))?;
                let mut part = vec![0; SAMPLE_BYTES as usize];
                file.read_exact(&mut part)?;
                state.update(&part);
            }
        }
        Ok((length, hex(&state.finalize())))
    };
    read().map_err(|source| Error::io(path, source))
}

/// The SHA-256 after which the hub's cache has named the file that a link there leads to; none for files that the
/// hub does not keep by content.
fn hub_digest(path: &Path) -> Option<String> {
    let target = std::fs::read_link(path).ok()?;
    let name = target.file_name()?.to_str()?;
    let is_blob = target.parent()?.file_name()? == "blobs";
    let is_digest = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    (is_blob && is_digest).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_see_the_ends_and_all_of_a_small_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            sample(&path).unwrap().1
        };
        for length in [10, 1 << 20, (1 << 20) + 1, 3 << 20] {
            let mut bytes = vec![7u8; length];
            let plain = of(&bytes);
            for at in [0, length / 2 * usize::from(length <= 1 << 20), length - 1] {
                bytes[at] ^= 1;
                assert_ne!(of(&bytes), plain, "byte {at} of {length}");
                bytes[at] ^= 1;
            }
            assert_eq!(of(&bytes), plain);
            bytes.push(7);
            assert_ne!(of(&bytes), plain, "length");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_hubs_name_of_a_blob_is_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let digest = "ab".repeat(32);
        let link = dir.path().join("model.safetensors");
        std::os::unix::fs::symlink(format!("../../blobs/{digest}"), &link).unwrap();
        assert_eq!(hub_digest(&link), Some(digest));
        let other = dir.path().join("config.json");
        std::os::unix::fs::symlink(format!("../../blobs/{}", "ab".repeat(20)), &other).unwrap();
        assert_eq!(hub_digest(&other), None);
    }
}
