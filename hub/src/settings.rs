//! Settings, which the environment gives as for the hub's other clients.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use crate::Name;

/// Where the hub is, and how it is used.
#[derive(Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Address of the hub (`HF_ENDPOINT`).
    pub endpoint: String,
    /// Folder of the cache (`HF_HUB_CACHE`, or `hub` in `HF_HOME`).
    pub cache: PathBuf,
    /// Token of a user (`HF_TOKEN`, or the file that `hf auth login` writes).
    pub token: Option<String>,
    /// Whether only the cache is used (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// Times that a request is tried without getting any further.
    pub attempts: u32,
    /// Time before the second attempt, which doubles with each further one.
    pub pause: Duration,
    /// Longest `Retry-After` that is waited for.
    pub patience: Duration,
    /// Longest silence of a connection.
    pub silence: Duration,
}

gguf::setters! {
    Settings {
        endpoint: String,
        cache: PathBuf,
        token: Option<String>,
        offline: bool,
        attempts: u32,
        pause: Duration,
        patience: Duration,
        silence: Duration,
    }
}

impl std::fmt::Debug for Settings {
    /// A token is nobody's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

/// The hub of Hugging Face.
const ENDPOINT: &str = "https://huggingface.co";

impl Settings {
    /// The environment's.
    pub fn from_env() -> Self {
        let variable = |name: &str| {
            env::var(name)
                .ok()
                .map(|v| v.trim().to_owned())
                .filter(|v| !v.is_empty())
        };
        let path = |name: &str| {
            env::var_os(name)
                .map(PathBuf::from)
                .filter(|p| !p.as_os_str().is_empty())
        };
        let home = path("HF_HOME").or_else(|| path("XDG_CACHE_HOME").map(|dir| dir.join("huggingface")));
        let layout = match &home {
            Some(home) => hf_hub::Cache::new(home.join("hub")),
            // Its own default asks for a home directory, which not every process has.
            None if env::home_dir().is_some() => hf_hub::Cache::default(),
            None => hf_hub::Cache::new(env::temp_dir().join("huggingface/hub")),
        };
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let on = |name: &str| {
            let value = variable(name).unwrap_or_default().to_ascii_uppercase();
            ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
        };
        let file = path("HF_TOKEN_PATH").and_then(|path| std::fs::read_to_string(path).ok());
        let file = file.map(|text| text.trim().to_owned()).filter(|t| !t.is_empty());
        let token = variable("HF_TOKEN").or(file).or_else(|| layout.token());
        Self {
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()),
            cache: cache.unwrap_or_else(|| layout.path().clone()),
            token,
            offline: on("HF_HUB_OFFLINE") || on("TRANSFORMERS_OFFLINE"),
            attempts: 5,
            pause: Duration::from_secs(1),
            patience: Duration::from_secs(300),
            silence: Duration::from_secs(30),
        }
    }

    /// The endpoint without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        self.endpoint.trim_end_matches('/')
    }

    /// Address of a commit's files for people.
    pub(crate) fn page(&self, name: &Name, commit: &str) -> String {
        format!("{}/{}/tree/{commit}", self.base(), name.repository())
    }
}
