//! The cache of the Hugging Face hub: `models--org--Name-1B/snapshots/<commit>` holds a model whose name is not that
//! of its directory, and is no place for results.

use std::ffi::OsStr;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Where on the hub a model is from: recorded in files that are made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Owner and name.
    pub repository: String,
    /// The commit.
    pub commit: String,
    /// Address of the commit's files.
    pub url: String,
}

impl Origin {
    /// Address of the repository: that of the commit without it.
    pub fn repository_url(&self) -> &str {
        self.url
            .split_once("/tree/")
            .map_or(&self.url, |(repository, _)| repository)
    }
}

/// A model in the hub's cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The repository, `owner/name`; of the few without an owner, `name`.
    pub repository: String,
    /// The commit.
    pub revision: String,
}

/// The repository and commit of a directory in the hub's cache.
pub fn snapshot(dir: &Path) -> Option<Snapshot> {
    // Links are not followed: whoever made one into the cache gave the model that name.
    let dir = std::path::absolute(dir).ok()?;
    let snapshots = dir.parent()?;
    if snapshots.file_name() != Some(OsStr::new("snapshots")) {
        return None;
    }
    let name = snapshots.parent()?.file_name()?.to_str()?;
    let id = name.strip_prefix("models--").filter(|id| !id.is_empty())?;
    // The hub has no "--" in the name of an owner or a repository.
    Some(Snapshot {
        repository: id.replacen("--", "/", 1),
        revision: dir.file_name()?.to_str()?.to_owned(),
    })
}

/// The repository's name, without its owner, of a directory in the hub's cache.
pub fn repository(dir: &Path) -> Option<String> {
    let id = snapshot(dir)?.repository;
    let repository = id.rsplit_once('/').map_or(&*id, |(_, name)| name);
    (!repository.is_empty()).then(|| repository.to_owned())
}

/// Default directory of results: into the directory of their source, and where that is the hub's cache, into the
/// current one.
pub fn default_directory(source: &Path) -> &Path {
    match repository(source) {
        Some(_) => Path::new("."),
        None => source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_of_a_snapshot() {
        let of = |path: &str| repository(Path::new(path));
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(
            of(&format!("/c/models--org--Name-1B/snapshots/{commit}/")).as_deref(),
            Some("Name-1B")
        );
        assert_eq!(
            of(&format!("/c/models--gpt2/snapshots/{commit}/.")).as_deref(),
            Some("gpt2")
        );
        assert_eq!(
            of(&format!("hub/models--a--b/snapshots/{commit}")).as_deref(),
            Some("b")
        );
        let whole = snapshot(Path::new("/c/models--org--Name-1B/snapshots/abc")).unwrap();
        assert_eq!((&*whole.repository, &*whole.revision), ("org/Name-1B", "abc"));
        for other in [
            "/c/models--org--Name-1B/snapshots",
            "/c/models--org--Name-1B",
            "/c/datasets--org--Name/snapshots/x",
            "/c/models--/snapshots/x",
            "/c/snapshots/x",
            "/",
            "x",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(
            default_directory(Path::new("/c/models--org--Name-1B/snapshots/x")),
            Path::new(".")
        );
        assert_eq!(
            default_directory(Path::new("/c/Name-1B")),
            Path::new("/c/Name-1B")
        );
    }
}
