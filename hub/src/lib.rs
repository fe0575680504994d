#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod cache;
mod client;
mod download;
mod error;
mod headers;
mod listing;
mod name;
mod selection;
mod settings;
mod upload;

use std::path::{Path, PathBuf};

pub use error::{Error, Result};
pub use name::Name;
pub use settings::Settings;
pub use upload::upload_command;

use cache::Cache;
use client::Client;
use listing::{Entry, Listing};

/// The part of a model's files that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// All that a conversion reads.
    Whole,
    /// Whole files of text, and of weights the headers.
    Headers,
}

/// State of a download.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The file at work.
    pub file: &'a str,
    /// Bytes that are there, of all files together.
    pub done: u64,
    /// Bytes of all files together.
    pub total: u64,
}

/// Called with each new state.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress<'_>);

/// The hub.
#[derive(Debug)]
pub struct Hub {
    settings: Settings,
    client: Client,
}

/// Files of a model on this machine. Where headers alone were fetched, they are removed with this value.
#[derive(Debug)]
pub struct Found {
    path: PathBuf,
    commit: String,
    url: String,
    whole: bool,
    hollow: headers::Hollow,
    _headers: Option<tempfile::TempDir>,
}

impl Found {
    /// The model's directory, or the file that was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The commit that a branch, tag or prefix stood for.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// Address of the files of this commit.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The files without their data, and the SHA-256 that the hub lists of each, if it does.
    pub fn hollow(&self) -> &[(PathBuf, Option<String>)] {
        &self.hollow
    }

    /// Whether the files have their data.
    pub fn is_whole(&self) -> bool {
        self.whole
    }
}

impl Hub {
    /// The hub as these settings say.
    pub fn new(settings: Settings) -> Self {
        Self {
            client: Client::new(&settings),
            settings,
        }
    }

    /// Brings what is needed of a model onto this machine.
    ///
    /// # Errors
    /// When the hub has no such model, revision or file, or does not let it be read; when it cannot be reached and the
    /// cache does not have the files; when a file has another size or digest than the hub lists.
    pub fn fetch(&self, name: &Name, need: Need, show: OnProgress<'_>) -> Result<Found> {
        let cache = Cache::new(&self.settings, name);
        if self.settings.offline {
            return self.cached(&cache, name, None);
        }
        let listing = match Listing::get(&self.client, &self.settings, name) {
            Ok(listing) => listing,
            // What is there serves, where nobody answers.
            Err(e @ Error::Unreachable { .. }) => return self.cached(&cache, name, Some(e)),
            Err(e) => return Err(e),
        };
        let wanted = selection::wanted(&listing, name)?;
        let (path, headers, hollow) = match need {
            Need::Whole => {
                let snapshot = download::files(&self.client, &cache, &listing, &wanted, show)?;
                (snapshot, None, Vec::new())
            }
            Need::Headers => {
                let (dir, hollow) = headers::view(&self.client, &cache, &listing, &wanted, show)?;
                let path = dir.path().join(cache.snapshot_below(&listing.commit));
                (path, Some(dir), hollow)
            }
        };
        if name.revision() != listing.commit {
            cache.note(&listing.commit)?;
        }
        Ok(Found {
            path: match name.path() {
                Some(below) => path.join(below),
                None => path,
            },
            url: self.settings.page(name, &listing.commit),
            commit: listing.commit,
            whole: need == Need::Whole,
            hollow,
            _headers: headers,
        })
    }

    /// A model's files in the cache.
    fn cached(&self, cache: &Cache, name: &Name, because: Option<Error>) -> Result<Found> {
        let found = cache.commit().and_then(|commit| {
            let snapshot = cache.snapshot(&commit);
            let path = name
                .path()
                .map_or_else(|| snapshot.clone(), |below| snapshot.join(below));
            path.exists().then_some((path, commit))
        });
        match (found, because) {
            (Some((path, commit)), because) => {
                if let Some(e) = because {
                    tracing::warn!("{e}; using what the cache has of it, commit {commit}");
                }
                Ok(Found {
                    path,
                    url: self.settings.page(name, &commit),
                    commit,
                    whole: true,
                    hollow: Vec::new(),
                    _headers: None,
                })
            }
            (None, Some(e)) => Err(e),
            (None, None) => Err(Error::Offline {
                name: name.to_string(),
                cache: cache.root().to_path_buf(),
                repository: name.repository().to_owned(),
            }),
        }
    }
}

/// A file that is wanted, with its place in the listing.
type Wanted<'a> = &'a Entry;
