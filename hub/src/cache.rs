//! The hub's cache on this machine, as `hf-hub` and the other clients lay it out: blobs by digest, snapshots of links to
//! them, and the commits that branches stood for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hf_hub::{CacheRepo, Repo, RepoType};

use crate::{Error, Name, Result, Settings};

/// The part of the cache that belongs to one repository.
#[derive(Debug)]
pub(crate) struct Cache {
    root: PathBuf,
    layout: CacheRepo,
    folder: String,
    name: Name,
}

/// Whether this is a commit or another digest in hexadecimal, which is safe as a file's name.
pub(crate) fn is_digest(text: &str) -> bool {
    (40..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl Cache {
    pub(crate) fn new(settings: &Settings, name: &Name) -> Self {
        let (id, revision) = (name.repository().to_owned(), name.revision().to_owned());
        let repo = Repo::with_revision(id, RepoType::Model, revision);
        Self {
            root: settings.cache.clone(),
            folder: repo.folder_name(),
            layout: hf_hub::Cache::new(settings.cache.clone()).repo(repo),
            name: name.clone(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// A commit's folder.
    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.layout.pointer_path(commit)
    }

    /// The same below a root of its own.
    pub(crate) fn snapshot_below(&self, commit: &str) -> PathBuf {
        [self.folder.as_str(), "snapshots", commit].iter().collect()
    }

    /// Place of a file's bytes.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        self.root.join(&self.folder).join("blobs").join(digest)
    }

    /// The commit that the revision stood for when it was last asked.
    pub(crate) fn commit(&self) -> Option<String> {
        let revision = self.name.revision();
        if is_digest(revision) && self.snapshot(revision).is_dir() {
            return Some(revision.to_owned());
        }
        let note = self.root.join(&self.folder).join("refs").join(revision);
        let commit = fs::read_to_string(note).ok()?.trim().to_owned();
        is_digest(&commit).then_some(commit)
    }

    /// Notes the commit that the revision stands for.
    pub(crate) fn note(&self, commit: &str) -> Result<()> {
        let note = self
            .root
            .join(&self.folder)
            .join("refs")
            .join(self.name.revision());
        self.layout.create_ref(commit).map_err(Error::io(&note))
    }

    /// Waits until no other process fetches the same blob.
    pub(crate) fn lock(&self, digest: &str) -> Result<File> {
        let folder = self.root.join(".locks").join(&self.folder);
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let path = folder.join(format!("{digest}.lock"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io(&path))?;
        // Where locks are unknown, the digest still tells a mixture.
        let _ = file.lock();
        Ok(file)
    }

    /// Puts a blob into a snapshot under its name: a link, or a copy where there are none.
    pub(crate) fn link(&self, commit: &str, file: &str, blob: &Path) -> Result<PathBuf> {
        let place = self.snapshot(commit).join(file);
        let folder = place.parent().unwrap_or(&place);
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        if fs::metadata(&place).is_ok() {
            return Ok(place);
        }
        // A link to a blob that was removed.
        let _ = fs::remove_file(&place);
        // From the file's folder up to the repository's: snapshots/COMMIT and the folders of the name.
        let mut up: PathBuf = std::iter::repeat_n("..", 2 + file.matches('/').count()).collect();
        up.push("blobs");
        up.push(blob.file_name().unwrap_or_default());
        match soft_link(&up, &place) {
            Ok(()) => Ok(place),
            Err(_) => fs::copy(blob, &place)
                .map(|_| place.clone())
                .map_err(Error::io(&place)),
        }
    }
}

#[cfg(unix)]
fn soft_link(to: &Path, at: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(not(unix))]
fn soft_link(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Makes `place` the file `target`, for views: a link, or a copy where there are none.
pub(crate) fn link_to(target: &Path, place: &Path) -> Result<()> {
    let folder = place.parent().unwrap_or(place);
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let target = fs::canonicalize(target).map_err(Error::io(target))?;
    soft_link(&target, place)
        .or_else(|_| fs::copy(&target, place).map(drop))
        .map_err(Error::io(place))
}
