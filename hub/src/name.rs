//! Names of models on the hub.

use std::fmt;

/// `org/model`, with a revision and a path inside of the repository where they are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    repository: String,
    revision: String,
    path: Option<String>,
}

/// The branch that is meant without a revision.
const MAIN: &str = "main";

/// Most bytes of an owner's or a model's name, as the hub has it.
const MAX_PART: usize = 96;

impl Name {
    /// Reads `org/model[@revision]` and `hf://org/model[@revision][/path]`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, scheme) = match text.strip_prefix("hf://") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (owner, rest) = rest.split_once('/')?;
        let (repository, path) = match rest.split_once('/') {
            Some((_, _)) if !scheme => return None,
            Some((repository, path)) => (repository, Some(path.trim_end_matches('/'))),
            None => (rest, None),
        };
        let (model, revision) = match repository.split_once('@') {
            Some((model, revision)) => (model, revision),
            None => (repository, MAIN),
        };
        let path = path.filter(|p| !p.is_empty());
        let valid = is_part(owner) && is_part(model) && is_revision(revision);
        (valid && path.is_none_or(is_inside)).then(|| Self {
            repository: format!("{owner}/{model}"),
            // Slashes of branches are written %2F, as the hub's own addresses have them.
            revision: revision.replace("%2F", "/").replace("%2f", "/"),
            path: path.map(str::to_owned),
        })
    }

    /// Owner and name.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Branch, tag or commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// File or folder inside of the repository.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The same repository and revision, with this path.
    #[must_use]
    pub fn with_path(&self, path: Option<&str>) -> Self {
        Self {
            path: path.map(str::to_owned),
            ..self.clone()
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if self.revision != MAIN {
            write!(f, "@{}", self.revision)?;
        }
        match &self.path {
            Some(path) => write!(f, "/{path}"),
            None => Ok(()),
        }
    }
}

/// Whether a text is a name of an owner or a model.
fn is_part(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !text.is_empty()
        && text.len() <= MAX_PART
        && text.bytes().all(allowed)
        && !text.starts_with(['.', '-'])
        && !text.ends_with(['.', '-'])
        && !text.contains("..")
        && !text.contains("--")
}

/// Whether a text can be a branch, a tag or a commit.
fn is_revision(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'%' | b'+');
    !text.is_empty() && text.len() <= 255 && text.bytes().all(allowed) && is_inside(&text.replace("%2F", "/"))
}

/// Whether a path stays in the folder that it starts from, on every system.
pub(crate) fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 4096
        && !path.contains(['\\', ':', '\0'])
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let read = |text: &str| Name::parse(text).map(|n| (n.repository, n.revision, n.path));
        let name =
            |r: &str, v: &str, p: Option<&str>| Some((r.to_owned(), v.to_owned(), p.map(str::to_owned)));
        assert_eq!(read("org/model"), name("org/model", "main", None));
        assert_eq!(read("org/model@v1.0"), name("org/model", "v1.0", None));
        assert_eq!(read("hf://org/model"), name("org/model", "main", None));
        assert_eq!(read("hf://org/model/"), name("org/model", "main", None));
        assert_eq!(
            read("hf://org/model@refs%2Fpr%2F1/a/b.gguf"),
            name("org/model", "refs/pr/1", Some("a/b.gguf"))
        );
        assert_eq!(
            read("hf://org/model/b.gguf"),
            name("org/model", "main", Some("b.gguf"))
        );
        for other in [
            "",
            "model",
            "a/b/c",
            "/a/b",
            "./a",
            "../b",
            "a/..",
            "a/b@",
            "a/b@..",
            "a/b c",
            "hf://a",
            "hf://a/b/../c",
            "hf://a/b/c\\d",
            "hf://a/b//c",
            "a--b/c",
            "a/b@x/y",
            "-a/b",
            "a/.b",
            "https://a/b",
            "a/b@..%2F..",
        ] {
            assert_eq!(read(other), None, "{other:?}");
        }
        assert_eq!(Name::parse("hf://o/m@r/p").unwrap().to_string(), "o/m@r/p");
        assert_eq!(Name::parse("o/m@main").unwrap().to_string(), "o/m");
    }
}
