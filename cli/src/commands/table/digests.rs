//! Digests of the files that a table is made of, and of those that it makes.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use convert::source::Source;
use publish::record::FileDigest;
use rayon::prelude::*;

use crate::hashing::Hashing;

/// Endings of the files of a model directory that a conversion may read besides the weights.
const READ_ENDINGS: [&str; 7] = ["json", "jsonl", "model", "txt", "jinja", "tiktoken", "md"];

/// Digest of a file under a name.
pub(super) fn digest(path: &Path, name: String, hashing: &Hashing) -> anyhow::Result<FileDigest> {
    let size = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    Ok(FileDigest {
        name,
        size: size.len(),
        sha256: hashing.sha256(path)?,
    })
}

/// The last component of a path.
pub(super) fn last(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Digests of all files that a source may be read from, by name. Of those that are `known`, only the length is looked at.
pub(super) fn of_source(source: &dyn Source, known: &[FileDigest]) -> anyhow::Result<Vec<FileDigest>> {
    let root = source.path();
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    if root.is_dir() {
        let weights = source.files()?;
        collect(root, "", &weights, &mut files)?;
    } else {
        files.extend(source.files()?.into_iter().map(|file| (last(&file), file)));
    }
    files.sort();
    let of_known = |name: &str, file: &Path| {
        let size = std::fs::metadata(file).ok()?.len();
        known.iter().find(|k| k.name == name && k.size == size)
    };
    let unknown = files.iter().filter(|(name, file)| of_known(name, file).is_none());
    let hashing = Hashing::of(unknown.map(|(_, file)| file));
    files
        .into_par_iter()
        .map(|(name, file)| match of_known(&name, &file) {
            Some(known) => Ok(known.clone()),
            None => digest(&file, name, &hashing),
        })
        .collect()
}

/// The files of a model directory, and of the folders in it (templates, modules of sentence transformers).
fn collect(
    folder: &Path,
    prefix: &str,
    weights: &[PathBuf],
    files: &mut Vec<(String, PathBuf)>,
) -> anyhow::Result<()> {
    let context = || folder.display().to_string();
    for entry in folder.read_dir().with_context(context)? {
        let path = entry.with_context(context)?.path();
        let name = last(&path);
        if name.starts_with('.') {
            continue;
        }
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if path.is_dir() {
            if prefix.is_empty() {
                collect(&path, &format!("{name}/"), weights, files)?;
            }
        } else if READ_ENDINGS.contains(&ending)
            || weights.contains(&path)
            || !prefix.is_empty() && ending == "safetensors"
        {
            files.push((format!("{prefix}{name}"), path));
        }
    }
    Ok(())
}
