//! Models of the hub where a path is expected: `org/model[@revision]`, `hf://org/model[@revision][/path]`.

use std::path::{Path, PathBuf};

use convert::hub::Origin;

/// The part of a model's files that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// All of them.
    Whole,
    /// Of the weights, headers.
    Headers,
}

impl Need {
    /// Headers for a dry run.
    pub(crate) fn of_run(dry: bool) -> Self {
        if dry { Self::Headers } else { Self::Whole }
    }
}

/// A model's files on this machine.
pub(crate) struct Located {
    path: PathBuf,
    /// Where on the hub they are from.
    origin: Option<Origin>,
    /// The name with the commit in it.
    pinned: Option<String>,
    /// Files fetched; headers alone are there for this run.
    #[cfg(feature = "hub")]
    found: Option<::hub::Found>,
}

impl Located {
    /// The directory or file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The address and commit of files from the hub.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The name of the same files, whatever becomes of a branch.
    pub(crate) fn pinned(&self) -> Option<&str> {
        self.pinned.as_deref()
    }

    /// Files of which headers alone are here, and the SHA-256 that the hub lists of them.
    pub(crate) fn hollow(&self) -> &[(PathBuf, Option<String>)] {
        #[cfg(feature = "hub")]
        if let Some(found) = &self.found {
            return found.hollow();
        }
        &[]
    }

    fn here(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            origin: None,
            pinned: None,
            #[cfg(feature = "hub")]
            found: None,
        }
    }
}

/// The name on the hub that a path is, if there is nothing of that name on this machine.
fn is_name(named: &Path) -> bool {
    let Some(text) = named.to_str() else { return false };
    // Two words with a slash between them; a file is asked for by its whole address.
    let mut parts = text.split('/');
    let (owner, model, more) = (parts.next(), parts.next(), parts.next());
    let file = [".gguf", ".safetensors", ".dat", ".json", ".txt", ".bin"]
        .iter()
        .any(|end| text.ends_with(end));
    let bare = owner.is_some_and(|o| !o.is_empty() && !o.starts_with('.'))
        && model.is_some_and(|m| !m.is_empty())
        && more.is_none()
        && !file
        && !text.contains('\\');
    text.starts_with("hf://") || (bare && !named.exists())
}

/// Finds a model: a path as it is, and a name of the hub by fetching what is needed of it.
#[cfg(feature = "hub")]
pub(crate) fn locate(named: &Path, need: Need) -> anyhow::Result<Located> {
    use anyhow::Context as _;

    if !is_name(named) {
        return Ok(Located::here(named));
    }
    let text = named.to_string_lossy();
    let Some(name) = ::hub::Name::parse(&text) else {
        // What is no name of the hub either is told by whoever opens it.
        anyhow::ensure!(
            !text.starts_with("hf://"),
            "{text}: expected hf://OWNER/MODEL, hf://OWNER/MODEL@REVISION or one of these with /FILE"
        );
        return Ok(Located::here(named));
    };
    let hub = ::hub::Hub::new(::hub::Settings::from_env());
    let (need, phase, unit) = match need {
        Need::Whole => (::hub::Need::Whole, "download", crate::progress::Unit::Bytes),
        Need::Headers => (::hub::Need::Headers, "headers", crate::progress::Unit::Files),
    };
    if need == ::hub::Need::Whole {
        crate::interrupt::can_be_continued(
            "what was fetched stays in the cache; the same command continues".to_owned(),
        );
    }
    let meter = crate::progress::Meter::new(phase, unit);
    let found = hub.fetch(&name, need, &mut |p| meter.show(p.done, p.total));
    meter.finish();
    crate::interrupt::nothing_to_continue();
    let found = match text.starts_with("hf://") {
        true => found?,
        false => found.with_context(|| {
            format!("{text}: no such file or directory here, so it was looked for on the hub")
        })?,
    };
    let origin = Origin {
        repository: name.repository().to_owned(),
        commit: found.commit().to_owned(),
        url: found.url().to_owned(),
    };
    let below = name.path().map_or_else(String::new, |path| format!("/{path}"));
    Ok(Located {
        path: found.path().to_path_buf(),
        pinned: Some(format!("hf://{}@{}{below}", origin.repository, origin.commit)),
        origin: Some(origin),
        found: Some(found),
    })
}

/// The same without a hub.
#[cfg(not(feature = "hub"))]
pub(crate) fn locate(named: &Path, _: Need) -> anyhow::Result<Located> {
    here_alone(named)
}

/// A path as it is, in a build that does not know the hub.
#[cfg(any(test, not(feature = "hub")))]
fn here_alone(named: &Path) -> anyhow::Result<Located> {
    anyhow::ensure!(
        !is_name(named) || named.exists(),
        "{}: no such file or directory, and this build does not read from the hub (it was made without the feature `hub`): \
         `hf download` fetches a model into a directory, whose path is given here",
        named.display()
    );
    Ok(Located::here(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_the_hub_says_what_to_do() {
        for name in ["org/model", "hf://org/model/x.gguf"] {
            let told = here_alone(Path::new(name)).err().map(|e| e.to_string());
            let told = told.unwrap_or_default();
            assert!(told.starts_with(name), "{told}");
            assert!(
                told.contains("without the feature `hub`") && told.contains("`hf download`"),
                "{told}"
            );
        }
        // Whoever opens a path says that there is no such file.
        for path in ["src", "nothing.gguf", "a/b/nothing"] {
            assert_eq!(here_alone(Path::new(path)).unwrap().path(), Path::new(path));
        }
    }

    #[test]
    fn names_and_paths() {
        for name in ["org/model", "org/model@v1", "hf://org/model/x.gguf"] {
            assert!(is_name(Path::new(name)), "{name}");
        }
        for path in [
            "model",
            "a/b/c",
            "/a",
            "./a",
            "../a",
            "a/",
            "src/lib.rs/x",
            "out/model.gguf",
            "",
        ] {
            assert!(!is_name(Path::new(path)), "{path}");
        }
        // What is there is meant.
        assert!(!is_name(Path::new("src/commands")));
    }
}
