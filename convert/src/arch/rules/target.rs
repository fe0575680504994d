//! The model that a draft model is of.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Error, Result};

/// A target's directory, of which a draft model's file takes vocabulary and numbers.
#[derive(Debug)]
pub(crate) struct Target {
    dir: PathBuf,
    config: Map<String, Value>,
}

impl Target {
    /// Reads the configuration.
    ///
    /// # Errors
    /// [`Error`] where there is none.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let config = crate::json::read_object(&dir.join("config.json"))?;
        let dir = dir.to_path_buf();
        Ok(Self { dir, config })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// `config.json`.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    /// The configuration as it is.
    pub(crate) fn config(&self) -> &Map<String, Value> {
        &self.config
    }

    /// That of the text model in it.
    fn text(&self) -> Option<&Map<String, Value>> {
        self.config.get("text_config")?.as_object()
    }

    /// The configuration with another size of the vocabulary, or with none.
    pub(crate) fn with_vocabulary(&self, size: Option<&Value>) -> Value {
        const SIZE: &str = "vocab_size";
        let resize = |config: &mut Map<String, Value>| match size {
            Some(size) => drop(config.insert(SIZE.to_owned(), size.clone())),
            None => drop(config.shift_remove(SIZE)),
        };
        let mut config = self.config.clone();
        resize(&mut config);
        if let Some(Value::Object(text)) = config.get_mut("text_config") {
            resize(text);
        }
        Value::Object(config)
    }

    /// A key of the text model's configuration.
    pub(crate) fn number(&self, key: &str) -> Option<&Value> {
        let inside = self.text().and_then(|text| text.get(key));
        inside.or_else(|| self.config.get(key)).filter(|v| !v.is_null())
    }

    /// Whether the parameters of the rotation have this key.
    pub(crate) fn rope_has(&self, key: &str) -> bool {
        let config = self.text().unwrap_or(&self.config);
        let set = |name: &str| {
            let map = config.get(name)?.as_object();
            map.filter(|m| !m.is_empty())
        };
        let rope = set("rope_parameters").or_else(|| set("rope_scaling"));
        rope.is_some_and(|rope| rope.contains_key(key))
    }

    pub(crate) fn error(&self, message: String) -> Error {
        Error::input(self.path(), message)
    }

    pub(crate) fn to_u32(&self, key: &str, value: &Value) -> Result<u32> {
        let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
        number.ok_or_else(|| {
            self.error(format!(
                "{key}: expected a non-negative 32-bit integer, found {value}"
            ))
        })
    }
}
