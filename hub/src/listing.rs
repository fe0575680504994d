//! The files of a commit, with sizes and digests.

use serde_json::Value;

use crate::cache::is_digest;
use crate::client::Client;
use crate::name::is_inside;
use crate::{Error, Name, Result, Settings};

/// The files of a commit.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) files: Vec<Entry>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) file: String,
    pub(crate) size: u64,
    pub(crate) digest: Digest,
}

/// The digest that a file has to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Digest {
    /// SHA-256 of a large file.
    Sha256(String),
    /// SHA-1 of git's blob of a small one.
    Blob(String),
}

impl Digest {
    /// In hexadecimal: the name of the blob in the cache.
    pub(crate) fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::Blob(hex) => hex,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::Blob(_) => "SHA-1 of its git blob",
        }
    }
}

/// Most bytes of a listing, and most files.
const MAX_LISTING: u64 = 64 << 20;
const MAX_FILES: usize = 100_000;

impl Listing {
    /// Asks the hub.
    pub(crate) fn get(client: &Client, settings: &Settings, name: &Name) -> Result<Self> {
        let revision = name.revision().replace('/', "%2F");
        let url = format!(
            "{}/api/models/{}/revision/{revision}?blobs=true",
            settings.base(),
            name.repository()
        );
        let what = format!("the model {} at revision {}", name.repository(), name.revision());
        let text = client.text(name, &url, &what, MAX_LISTING)?;
        Self::read(&text, name, &url)
    }

    fn read(text: &[u8], name: &Name, url: &str) -> Result<Self> {
        let wrong = |found: String, expected: &str| Error::Answer {
            name: name.to_string(),
            url: url.to_owned(),
            found,
            expected: expected.to_owned(),
        };
        let answer: Value =
            serde_json::from_slice(text).map_err(|e| wrong(e.to_string(), "a listing as JSON"))?;
        let commit = answer["sha"].as_str().unwrap_or_default();
        if !is_digest(commit) {
            return Err(wrong(format!("commit {commit:?}"), "40 hexadecimal digits"));
        }
        let siblings = answer["siblings"].as_array();
        let siblings = siblings.ok_or_else(|| wrong("no list of files".into(), "siblings"))?;
        if siblings.len() > MAX_FILES {
            return Err(wrong(
                format!("{} files", siblings.len()),
                &format!("at most {MAX_FILES}"),
            ));
        }
        let mut files = Vec::new();
        for sibling in siblings {
            let file = sibling["rfilename"].as_str().unwrap_or_default();
            if !is_inside(file) {
                return Err(Error::FileName {
                    name: name.to_string(),
                    file: file.to_owned(),
                });
            }
            let large = &sibling["lfs"];
            let (hex, size) = match large["sha256"].as_str() {
                Some(hex) => (hex, large["size"].as_u64()),
                None => (
                    sibling["blobId"].as_str().unwrap_or_default(),
                    sibling["size"].as_u64(),
                ),
            };
            let digits = if large["sha256"].is_string() { 64 } else { 40 };
            if !is_digest(hex) || hex.len() != digits {
                return Err(wrong(
                    format!("digest {hex:?} of {file}"),
                    &format!("{digits} hexadecimal digits"),
                ));
            }
            let size = size.filter(|&n| n <= gguf::limits::MAX_BYTES);
            let size = size.ok_or_else(|| wrong(format!("no size of {file}"), "its size in bytes"))?;
            files.push(Entry {
                file: file.to_owned(),
                size,
                digest: match digits {
                    64 => Digest::Sha256(hex.to_owned()),
                    _ => Digest::Blob(hex.to_owned()),
                },
            });
        }
        Ok(Self {
            commit: commit.to_owned(),
            files,
        })
    }
}

/// Address of a file's bytes.
pub(crate) fn address(settings: &Settings, name: &Name, commit: &str, file: &str) -> String {
    let mut path = String::new();
    for byte in file.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                path.push(byte.into());
            }
            other => path += &format!("%{other:02X}"),
        }
    }
    format!(
        "{}/{}/resolve/{commit}/{path}",
        settings.base(),
        name.repository()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Listing> {
        Listing::read(text.as_bytes(), &Name::parse("o/m").unwrap(), "u")
    }

    #[test]
    fn what_a_listing_must_have() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let sha = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let good = format!(
            r#"{{"sha":"{commit}","siblings":[{{"rfilename":"a/b.json","size":3,"blobId":"{commit}"}},
            {{"rfilename":"c.gguf","size":9,"blobId":"{commit}","lfs":{{"sha256":"{sha}","size":9,"pointerSize":1}}}}]}}"#
        );
        let listing = read(&good).unwrap();
        assert_eq!(listing.commit, commit);
        assert_eq!(listing.files[0].digest, Digest::Blob(commit.into()));
        assert_eq!(listing.files[1].digest, Digest::Sha256(sha.into()));
        for (from, to, says) in [
            ("a/b.json", "../b.json", "inside of the repository"),
            ("a/b.json", "/b.json", "inside of the repository"),
            ("a/b.json", "a\\\\b.json", "inside of the repository"),
            (commit, "../../x", "40 hexadecimal digits"),
            (sha, "ABC", "64 hexadecimal digits"),
            ("\"size\":3", "\"size\":-3", "its size in bytes"),
            ("siblings", "files", "siblings"),
            ("{\"sha\"", "x", "a listing as JSON"),
        ] {
            let error = read(&good.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(says), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn addresses_of_files() {
        let settings = Settings {
            endpoint: "http://h/".into(),
            ..Settings::from_env()
        };
        let name = Name::parse("o/m").unwrap();
        let url = address(&settings, &name, "c", "a b/ü#.gguf");
        assert_eq!(url, "http://h/o/m/resolve/c/a%20b/%C3%BC%23.gguf");
    }
}
