//! The keys of an architecture as data.

use serde_json::Value;

use crate::Result;
use crate::arch::rules::{common, rope};
use crate::arch::{Hparams, Keys};

/// A key of the output, several, or a reason to refuse a configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    Group(Group),
    /// A value of the configuration: that of the first of `from` that is there.
    Config {
        key: &'static str,
        kind: Kind,
        from: &'static [&'static str],
        /// Whether the key is left out where the configuration has none; an error otherwise.
        optional: bool,
        /// Whether 0 counts as none.
        nonzero: bool,
        /// The key is left out where this key of the configuration has this value.
        unless: Option<(&'static str, u32)>,
    },
    Computed {
        key: &'static str,
        what: Computed,
    },
    Constant {
        key: &'static str,
        value: Constant,
    },
    /// A configuration with this key is refused.
    Refused {
        config: &'static str,
        because: &'static str,
    },
    /// A model whose directory, or whose `_name_or_path`, has this in its name (in lower case) is refused.
    RefusedName {
        part: &'static str,
        because: &'static str,
    },
}

/// Keys that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// The keys that the stock converter writes of every text model, `general.file_type` included.
    TextModel,
    /// Scaling and base of the rotation (part of [`Group::TextModel`]).
    Rope,
    /// `pooling_type`, from the files of sentence-transformers.
    Pooling,
    /// `general.file_type` (part of [`Group::TextModel`]).
    FileType,
}

impl Group {
    pub(in crate::arch) const NAMES: [(&'static str, Self); 4] = [
        ("text_model", Self::TextModel),
        ("rope", Self::Rope),
        ("pooling", Self::Pooling),
        ("file_type", Self::FileType),
    ];
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    U32,
    F32,
    Bool,
    String,
    /// A list of one number for each block.
    Layers,
}

impl Kind {
    pub(in crate::arch) const NAMES: [(&'static str, Self); 5] = [
        ("u32", Self::U32),
        ("f32", Self::F32),
        ("bool", Self::Bool),
        ("string", Self::String),
        ("layers", Self::Layers),
    ];
}

/// A value that is worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Computed {
    /// Number of blocks.
    Blocks,
    /// Number of query heads.
    Heads,
    /// Number of key-value heads: that of query heads where the configuration has none.
    KvHeads,
    /// `head_dim`, or the hidden size divided among the heads.
    HeadDim,
    /// The hidden size divided among the heads.
    EvenHeadDim,
    /// The part of a head that is rotated: `partial_rotary_factor` of the head.
    RotatedDim,
    /// Of each block, whether it sees a window, by `layer_types`.
    SlidingLayers,
}

impl Computed {
    pub(in crate::arch) const NAMES: [(&'static str, Self); 7] = [
        ("block_count", Self::Blocks),
        ("head_count", Self::Heads),
        ("head_count_kv", Self::KvHeads),
        ("head_dim", Self::HeadDim),
        ("even_head_dim", Self::EvenHeadDim),
        ("rotated_dim", Self::RotatedDim),
        ("sliding_layers", Self::SlidingLayers),
    ];

    fn write(self, key: &str, hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
        let number = match self {
            Self::Blocks => hp.block_count(),
            Self::Heads => hp.heads()?.0,
            Self::KvHeads => hp.heads()?.1,
            Self::HeadDim => hp.head_dim()?,
            Self::EvenHeadDim => hp.even_head_dim()?,
            Self::RotatedDim => {
                let factor = hp.partial_rotary_factor()?.unwrap_or(1.0);
                if !(0.0..=1.0).contains(&factor) {
                    return Err(hp.error(format!("partial_rotary_factor: expected 0 to 1, found {factor}")));
                }
                (factor * f64::from(hp.head_dim()?)) as u32
            }
            Self::SlidingLayers => {
                keys.set(key, gguf::Value::Array(gguf::Array::Bool(common::windows(hp)?)));
                return Ok(());
            }
        };
        keys.set(key, number);
        Ok(())
    }
}

/// A value that no configuration changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Constant {
    U32(u32),
    F32(f32),
    Bool(bool),
    String(&'static str),
}

/// A number that the configuration must have.
pub(crate) const fn u32_of(key: &'static str, from: &'static [&'static str]) -> Key {
    Key::Config {
        key,
        kind: Kind::U32,
        from,
        optional: false,
        nonzero: false,
        unless: None,
    }
}

impl Key {
    /// The same of another type.
    pub(crate) const fn of_kind(mut self, of: Kind) -> Self {
        if let Self::Config { kind, .. } = &mut self {
            *kind = of;
        }
        self
    }
}

/// Writes keys, in order.
pub(crate) fn write(rules: &[Key], hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    rules.iter().try_for_each(|rule| one(rule, hp, keys))
}

fn one(rule: &Key, hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    match *rule {
        Key::Group(Group::TextModel) => common::text_model(hp, keys),
        Key::Group(Group::Rope) => rope::write_keys(hp, keys),
        Key::Group(Group::Pooling) => common::pooling(hp, keys),
        Key::Group(Group::FileType) => {
            keys.set_file_type();
            Ok(())
        }
        Key::Config {
            key,
            kind,
            from,
            optional,
            nonzero,
            unless,
        } => {
            if let Some((other, value)) = unless
                && hp.opt_u32(&[other])? == Some(value)
            {
                return Ok(());
            }
            let found = hp
                .find(from)
                .filter(|v| !nonzero || v.as_f64().is_none_or(|x| x as f32 != 0.0));
            match found {
                Some(value) => configured(key, kind, from, value, hp, keys),
                None if optional => Ok(()),
                None => Err(hp.missing(from)),
            }
        }
        Key::Computed { key, what } => what.write(key, hp, keys),
        Key::Constant { key, value } => {
            match value {
                Constant::U32(n) => keys.set(key, n),
                Constant::F32(x) => keys.set(key, x),
                Constant::Bool(b) => keys.set(key, b),
                Constant::String(text) => keys.set(key, text),
            }
            Ok(())
        }
        Key::Refused { config, because } => match hp.find(&[config]) {
            None => Ok(()),
            Some(_) => Err(hp.error(format!("{config}: expected none, found one: {because}"))),
        },
        Key::RefusedName { part, because } => {
            let directory = keys.dir.file_name().map(|n| n.to_string_lossy().to_lowercase());
            let named = hp.opt_str(&["_name_or_path"]).map(str::to_lowercase);
            match [directory, named].into_iter().flatten().any(|n| n.contains(part)) {
                true => Err(hp.error(because.to_owned())),
                false => Ok(()),
            }
        }
    }
}

/// Writes a value of the configuration.
fn configured(
    key: &str,
    kind: Kind,
    from: &[&str],
    value: &Value,
    hp: &Hparams,
    keys: &mut Keys<'_>,
) -> Result<()> {
    let name = from.join(" or ");
    match kind {
        Kind::U32 => keys.set(key, hp.to_u32(&name, value)?),
        Kind::F32 => keys.set(key, hp.to_f32(&name, value)?),
        Kind::Bool => {
            let value = value.as_bool();
            keys.set(
                key,
                value.ok_or_else(|| {
                    hp.error(format!("{name}: expected true or false, found another value"))
                })?,
            );
        }
        Kind::String => {
            let text = value.as_str();
            keys.set(
                key,
                text.ok_or_else(|| hp.error(format!("{name}: expected a text, found {value}")))?,
            );
        }
        Kind::Layers => {
            let list = common::list(hp, &name, value)?;
            let list: Result<Vec<u32>> = list.iter().map(|v| hp.to_u32(&name, v)).collect();
            keys.set(key, common::numbers(list?));
        }
    }
    Ok(())
}
