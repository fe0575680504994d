//! Model types: the defaults of configuration keys that `transformers` assumes by them.

use serde_json::{Map, Value};

use super::multimodal::{ROPE_SCALING, inner_text};
use super::published::TRANSFORMERS;
use super::rope;

/// A default value of a configuration key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Default {
    Int(u64),
    Float(f64),
    Bool(bool),
    Null,
}

impl Default {
    pub(in crate::arch) fn value(self) -> Value {
        match self {
            Self::Int(n) => Value::from(n),
            Self::Float(x) => Value::from(x),
            Self::Bool(b) => Value::from(b),
            Self::Null => Value::Null,
        }
    }
}

/// The row of [`TRANSFORMERS`] with the scalings of the rotation that are checked.
pub(in crate::arch) const SCALED: &str = "scaled";

/// The row of [`TRANSFORMERS`] with what constructors make of the names of a scaling's kind.
pub(in crate::arch) const KINDS: &str = "kinds";

/// The row of [`TRANSFORMERS`] with the keys that a constructor makes of others where they are null.
pub(in crate::arch) const FROM_NULL: &str = "from_null";

/// The row of [`TRANSFORMERS`] with the defaults of configurations inside others.
pub(in crate::arch) const INNER: &str = "inner";

/// The base of a rotation of which nothing is said.
const ROPE_THETA: &str = "rope_theta";

/// The configurations of one `model_type`.
#[derive(Debug)]
pub(crate) struct ModelType {
    pub(crate) name: &'static str,
    /// Whether the defaults that `transformers` has for the name are this one's.
    pub(crate) is_published: bool,
    /// The type whose defaults this one has too.
    pub(crate) extends: Option<&'static Self>,
    /// Defaults that `transformers` does not have, which count before those it has.
    pub(crate) defaults: &'static [(&'static str, Default)],
    /// Other spellings: (found, meant).
    pub(crate) renames: &'static [(&'static str, &'static str)],
    /// Whether a missing `head_dim` becomes `hidden_size / num_attention_heads`.
    pub(crate) derives_head_dim: bool,
    /// The base of the rotation, instead of that of `transformers` or, where it has none, 10000; 0 for models whose
    /// positions are not rotated.
    pub(crate) rope_theta: Option<f64>,
}

impl ModelType {
    /// The defaults of `transformers` and nothing that is renamed or derived.
    pub(in crate::arch) const BLANK: Self = Self {
        name: "",
        is_published: true,
        extends: None,
        defaults: &[],
        renames: &[],
        derives_head_dim: false,
        rope_theta: None,
    };

    /// The same without a rotation.
    pub(in crate::arch) const UNROTATED: Self = Self {
        rope_theta: Some(0.0),
        ..Self::BLANK
    };

    /// The type of this name, with the defaults of `transformers`.
    pub(in crate::arch) const fn of(name: &'static str) -> Self {
        Self { name, ..Self::BLANK }
    }

    /// The same without a rotation.
    pub(in crate::arch) const fn unrotated(name: &'static str) -> Self {
        Self {
            name,
            ..Self::UNROTATED
        }
    }

    /// The type and those that it extends.
    pub(in crate::arch) fn line(&'static self) -> impl Iterator<Item = &'static Self> {
        std::iter::successors(Some(self), |t| t.extends)
    }

    fn published(&'static self) -> Option<&'static Map<String, Value>> {
        TRANSFORMERS
            .get(self.name)?
            .as_object()
            .filter(|_| self.is_published)
    }

    /// Its own defaults, and those of the types that it extends.
    pub(in crate::arch) fn all_defaults(&'static self) -> impl Iterator<Item = (&'static str, Value)> {
        self.line().flat_map(|t| {
            let own = t.defaults.iter().map(|(key, value)| (*key, value.value()));
            let published = t.published().into_iter().flatten();
            let published = published.map(|(key, value)| (key.as_str(), value.clone()));
            own.chain(published.filter(|(key, _)| *key != ROPE_THETA))
        })
    }

    /// The base of the rotation; 0 where there is none.
    pub(in crate::arch) fn base(&'static self) -> f64 {
        let published = || self.line().find_map(|t| t.published()?.get(ROPE_THETA)?.as_f64());
        self.rope_theta.or_else(published).unwrap_or(10000.0)
    }

    /// Whether a number of heads is made of others where the configuration has null: as `transformers` does, where it knows
    /// the type.
    fn derives(&'static self, config: &Map<String, Value>, key: &str) -> bool {
        // Inside a text model's configuration, that of another one is a value, of which nothing is made.
        let inner = inner_text(config).and_then(|text| text.get(key));
        if inner.is_some_and(Value::is_null) {
            return false;
        }
        let types = TRANSFORMERS[FROM_NULL].get(key);
        let derives = |t: &Self| types.is_some_and(|types| names(types, t.name));
        let mut published = self.line().filter(|t| t.published().is_some()).peekable();
        match published.peek() {
            Some(_) => published.any(derives),
            None => key != "head_dim" || self.derives_head_dim,
        }
    }

    /// The scaling of the rotation as the constructor of `transformers` leaves it: where it copies the older name of the kind
    /// over the newer, a null too is copied. `None` where there is none, or that of a text model inside, which is a value of
    /// which nothing is made.
    fn scaling(&'static self, config: &Map<String, Value>) -> Option<Map<String, Value>> {
        if inner_text(config).is_some_and(|text| text.contains_key(ROPE_SCALING)) {
            return None;
        }
        let mut scaling = config.get(ROPE_SCALING)?.as_object()?.clone();
        let Some(published) = self.line().find(|t| t.published().is_some()) else {
            return Some(scaling);
        };
        let kinds = &TRANSFORMERS[KINDS];
        if let Some(kind) = scaling.get_mut("type")
            && let Some(renamed) = kind
                .as_str()
                .and_then(|kind| kinds["renamed"].get(published.name)?.get(kind))
        {
            *kind = renamed.clone();
        }
        if let Some(kind) = scaling.get("type").cloned()
            && names(&kinds["copied"], published.name)
        {
            scaling.insert("rope_type".to_owned(), kind);
        }
        Some(scaling)
    }

    /// Whether `transformers` refuses a configuration of this type, whose scaling of the rotation lacks keys; the stock
    /// converter then takes the whole as it is stored.
    pub(in crate::arch) fn refuses(&'static self, config: &Map<String, Value>) -> bool {
        let scaled = &TRANSFORMERS[SCALED];
        let lacks = |scaling: Map<String, Value>| {
            let Some(kind) = scaling.get("rope_type").or_else(|| scaling.get("type")) else {
                return true;
            };
            let needed = kind
                .as_str()
                .and_then(|kind| scaled["keys"].get(kind)?.as_array());
            let has = |key: &Value| key.as_str().is_some_and(|key| scaling.contains_key(key));
            // Of a kind that it knows it wants the newer name.
            needed.is_some_and(|needed| !scaling.contains_key("rope_type") || !needed.iter().all(has))
        };
        let is_checked = || {
            self.line()
                .any(|t| t.is_published && names(&scaled["types"], t.name))
        };
        is_checked() && self.scaling(config).is_some_and(lacks)
    }

    /// Completes the configurations inside one of this type, which are made where they are left out or null.
    fn complete_inner(&'static self, config: &mut Map<String, Value>) {
        let inner = TRANSFORMERS[INNER].get(self.name).and_then(Value::as_object);
        for (outer, defaults) in inner.into_iter().flatten() {
            let part = config.entry(outer).or_insert(Value::Null);
            if part.is_null() {
                *part = Value::Object(Map::new());
            }
            let Some(part) = part.as_object_mut() else {
                continue;
            };
            for (key, value) in defaults.as_object().into_iter().flatten() {
                part.entry(key).or_insert_with(|| value.clone());
            }
        }
    }

    /// Completes a configuration of this type.
    pub(in crate::arch) fn complete(&'static self, config: &mut Map<String, Value>) {
        for (found, meant) in self.renames {
            rename(config, found, meant);
        }
        if let Some(scaling) = self.scaling(config) {
            config.insert(ROPE_SCALING.to_owned(), Value::Object(scaling));
        }
        for (key, default) in self.all_defaults() {
            // A rotation that is scaled by another name is not scaled by default, too.
            let other = if key == ROPE_SCALING {
                "rope_parameters"
            } else {
                key
            };
            if !config.contains_key(key) && !config.contains_key(other) {
                config.insert(key.to_owned(), default);
            }
        }
        self.complete_inner(config);
        let number = |config: &Map<String, Value>, key: &str| config.get(key).and_then(Value::as_u64);
        let hidden = number(config, "hidden_size");
        let heads = number(config, "num_attention_heads").filter(|&n| n > 0);
        let has_head = match config.get("head_dim") {
            None => !self.derives_head_dim,
            Some(Value::Null) => !self.derives(config, "head_dim"),
            Some(_) => true,
        };
        if let (Some(hidden), Some(heads), false) = (hidden, heads, has_head) {
            config.insert("head_dim".to_owned(), Value::from(hidden / heads));
        }
        for key in ["num_key_value_heads", "num_kv_heads"] {
            if let (Some(heads), Some(Value::Null)) = (heads, config.get(key))
                && self.derives(config, key)
            {
                config.insert(key.to_owned(), Value::from(heads));
            }
        }
        if self.base() > 0.0 {
            rope::standardize(config, self.base());
        }
    }
}

/// Whether a list of a row has a name.
fn names(list: &Value, name: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|n| n == name))
}

/// Gives a key of a configuration that has another name the one that is read.
pub(in crate::arch) fn rename(config: &mut Map<String, Value>, found: &str, meant: &str) {
    if let Some(value) = config.shift_remove(found) {
        config.insert(meant.to_owned(), value);
    }
}
