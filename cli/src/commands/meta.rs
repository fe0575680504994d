//! `quantsmith meta`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use gguf::edit::{Edited, recover, set_metadata};
use gguf::{Array, Backing, GgufModel, Metadata, OpenOptions, Value, ValueType};
use reference::requirements::{self, Completeness};
use serde_json::Value as Json;

use super::inspect::{shown_key, shown_value, value_json};
use crate::inputs::hold;
use crate::output::{print, print_json};
use crate::progress::{Meter, Unit};

/// Largest file that becomes a value, in bytes.
const MAX_TEXT_BYTES: u64 = 16 << 20;
/// The key of the chat template.
const CHAT_TEMPLATE: &str = "tokenizer.chat_template";

/// Arguments of `quantsmith meta`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Print values: all of them, or those of some keys
    Get {
        /// GGUF file; its tensor data may be absent
        file: PathBuf,
        /// Keys; a string alone is printed as it is, line breaks and all
        keys: Vec<String>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Set values; KEY=TYPE:VALUE with a GGUF type (u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool str), or
    /// KEY=VALUE for a key that is there and keeps its type. Arrays are written TYPE[]:JSON
    Set {
        /// GGUF file
        file: PathBuf,
        /// Values to set
        #[arg(value_name = "KEY=[TYPE:]VALUE", required_unless_present = "chat_template")]
        values: Vec<String>,
        /// Set tokenizer.chat_template to the text of this file
        #[arg(long, value_name = "FILE")]
        chat_template: Option<PathBuf>,
        #[command(flatten)]
        to: Destination,
    },
    /// Delete keys
    Delete {
        /// GGUF file
        file: PathBuf,
        /// Keys, each of which has to be there
        #[arg(required = true)]
        keys: Vec<String>,
        #[command(flatten)]
        to: Destination,
    },
    /// Copy keys from another file, with their values and types
    Copy {
        /// GGUF file to take them from; its tensor data may be absent
        from: PathBuf,
        /// GGUF file that gets them
        file: PathBuf,
        /// Keys, each of which has to be there; a final `*` stands for any ending
        #[arg(required = true)]
        keys: Vec<String>,
        #[command(flatten)]
        to: Destination,
    },
    /// Restore a file whose editing was interrupted (any other change does this first)
    Recover {
        /// GGUF file
        file: PathBuf,
    },
}

/// Destination of the change.
#[derive(clap::Args)]
struct Destination {
    /// Write a new file and leave this one as it is
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Also change the type of a key, store numbers that are not finite, delete keys that the model needs
    #[arg(long)]
    force: bool,
}

impl Destination {
    /// Refuses a change that readers may not take, unless it is forced.
    fn allow(&self, path: &Path, objection: Option<String>) -> anyhow::Result<()> {
        match objection {
            Some(objection) if !self.force => bail!(
                "{}: {objection}; --force does it all the same, though programs may refuse the file",
                path.display()
            ),
            _ => Ok(()),
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.action {
        Action::Get { file, keys, json } => get(&file, &keys, json),
        Action::Set {
            file,
            values,
            chat_template,
            to,
        } => {
            let mut metadata = edited(&file)?;
            for text in &values {
                let (key, value) = parse(text, &metadata).with_context(|| format!("{text:?}"))?;
                to.allow(&file, objection(&key, metadata.get(&key), &value))?;
                metadata.set_in_place(key, value);
            }
            if let Some(path) = chat_template {
                hold([&path]);
                let value = Value::from(read_text(&path)?);
                to.allow(
                    &file,
                    objection(CHAT_TEMPLATE, metadata.get(CHAT_TEMPLATE), &value),
                )?;
                metadata.set_in_place(CHAT_TEMPLATE, value);
            }
            write(&file, metadata, &to)
        }
        Action::Delete { file, keys, to } => {
            let model = edited_model(&file)?;
            let mut metadata = model.metadata().clone();
            for key in &keys {
                if metadata.remove(key).is_none() {
                    bail!("{}: no key '{key}'", file.display());
                }
            }
            for key in &keys {
                let objection =
                    is_needed(&model, &metadata, key).then(|| format!("key '{key}': the model needs it"));
                to.allow(&file, objection)?;
            }
            write(&file, metadata, &to)
        }
        Action::Copy { from, file, keys, to } => {
            // Changing a file by its own keys is no change; a new file must not replace either.
            hold([&from]);
            let mut metadata = edited(&file)?;
            let source = read(&from)?;
            for key in &keys {
                let prefix = key.strip_suffix('*');
                let wanted = |k: &str| prefix.map_or(k == key, |p| k.starts_with(p));
                let mut found = false;
                for (key, value) in source.iter().filter(|(k, _)| wanted(k)) {
                    to.allow(&file, objection(key, metadata.get(key), value))?;
                    metadata.set_in_place(key, value.clone());
                    found = true;
                }
                if !found {
                    bail!("{}: no key '{key}'", from.display());
                }
            }
            write(&file, metadata, &to)
        }
        Action::Recover { file } => {
            let done = recover(&file)?;
            print(|out| {
                let what = if done { "restored" } else { "nothing to restore" };
                writeln!(out, "{}: {what}", file.display())
            })
        }
    }
}

/// Objection to a key's new value: another type than readers expect, or a number that is not finite.
fn objection(key: &str, old: Option<&Value>, new: &Value) -> Option<String> {
    let finite = match new {
        Value::F32(x) => x.is_finite(),
        Value::F64(x) => x.is_finite(),
        Value::Array(Array::F32(xs)) => xs.iter().all(|x| x.is_finite()),
        Value::Array(Array::F64(xs)) => xs.iter().all(|x| x.is_finite()),
        _ => true,
    };
    if !finite {
        return Some(format!(
            "key '{key}': expected a finite number in the range of its type, found {}",
            shown_value(new)
        ));
    }
    gguf::keys::type_change(key, old, new)
}

/// Whether the model, which has `metadata` left, cannot be loaded without a key.
fn is_needed(model: &GgufModel, metadata: &Metadata, key: &str) -> bool {
    let lacks_it = |metadata: &Metadata| {
        let tensors = model.tensors().map(|t| t.info);
        match requirements::check(metadata, tensors) {
            Completeness::Checked(all) => all.iter().any(|s| s.subject() == key),
            Completeness::UnknownArchitecture(_) | Completeness::NoModel => false,
        }
    };
    gguf::keys::is_needed(key, model.metadata().architecture())
        || (lacks_it(metadata) && !lacks_it(model.metadata()))
}

fn open(path: &Path) -> anyhow::Result<GgufModel> {
    let options = OpenOptions::default()
        .backing(Backing::File)
        .allow_missing_data(true);
    Ok(GgufModel::open_single(path, options)?)
}

fn read(path: &Path) -> anyhow::Result<Metadata> {
    Ok(open(path)?.metadata().clone())
}

/// The metadata of a file that is to be changed.
fn edited(path: &Path) -> anyhow::Result<Metadata> {
    Ok(edited_model(path)?.metadata().clone())
}

fn edited_model(path: &Path) -> anyhow::Result<GgufModel> {
    if recover(path)? {
        eprintln!("note: {}: an interrupted edit was undone first", path.display());
    }
    open(path)
}

fn get(path: &Path, keys: &[String], json: bool) -> anyhow::Result<()> {
    let metadata = read(path)?;
    let mut chosen = Vec::new();
    for key in keys {
        let value = metadata.get(key);
        let value = value.with_context(|| format!("{}: no key '{key}'", path.display()))?;
        chosen.push((key.as_str(), value));
    }
    if keys.is_empty() {
        chosen.extend(metadata.iter());
    }
    if json {
        let object: serde_json::Map<String, Json> = chosen
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value_json(value)))
            .collect();
        return print_json(&Json::Object(object));
    }
    print(|out| match chosen.as_slice() {
        // What a script asks for: a chat template goes to a file as it is.
        [(_, Value::String(text))] if !keys.is_empty() => out.write_all(&text.0),
        [(_, value)] if !keys.is_empty() => writeln!(out, "{}", shown_value(value)),
        many => many
            .iter()
            .try_for_each(|(key, value)| writeln!(out, "{} = {}", shown_key(key), shown_value(value))),
    })
}

fn write(path: &Path, metadata: Metadata, to: &Destination) -> anyhow::Result<()> {
    let same = |output: &PathBuf| {
        let canonical = output.canonicalize().ok();
        canonical.is_some() && canonical == path.canonicalize().ok()
    };
    let output = to.output.as_deref().filter(|o| !same(&o.to_path_buf()));
    let meter = Meter::of("write", Unit::Bytes, 0);
    let done = set_metadata(path, metadata, output, &mut |n| {
        meter.grow(n);
        meter.add(n);
    })?;
    drop(meter);
    print(|out| {
        let what = match done {
            Edited::Unchanged => "unchanged",
            Edited::InPlace => "changed in place",
            Edited::Rewritten => "written anew, tensor bytes as they were",
        };
        writeln!(out, "{}: {what}", output.unwrap_or(path).display())
    })
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|f| f.take(MAX_TEXT_BYTES + 1).read_to_string(&mut text))
        .with_context(|| path.display().to_string())?;
    if text.len() as u64 > MAX_TEXT_BYTES {
        bail!(
            "{}: expected at most {MAX_TEXT_BYTES} bytes, found more",
            path.display()
        );
    }
    Ok(text)
}

/// Reads `KEY=TYPE:VALUE`, or `KEY=VALUE` for a key that is there.
fn parse(text: &str, metadata: &Metadata) -> anyhow::Result<(String, Value)> {
    let (key, rest) = text.split_once('=').context("expected KEY=TYPE:VALUE")?;
    if key.is_empty() {
        bail!("the key is empty");
    }
    if let Some((ty, value)) = rest.split_once(':') {
        if let Some(element) = ty.strip_suffix("[]").and_then(type_of) {
            return Ok((key.to_owned(), Value::Array(array(element, value)?)));
        }
        if let Some(ty) = type_of(ty) {
            return Ok((key.to_owned(), scalar(ty, value)?));
        }
    }
    match metadata.get(key) {
        Some(Value::Array(old)) => Ok((key.to_owned(), Value::Array(array(old.element_type(), rest)?))),
        Some(old) => Ok((key.to_owned(), scalar(old.value_type(), rest)?)),
        None => bail!("key '{key}': expected a type, as in {key}=str:{rest}, since the file has none"),
    }
}

fn type_of(name: &str) -> Option<ValueType> {
    (0..=12)
        .filter_map(ValueType::from_id)
        .filter(|&t| t != ValueType::Array)
        .find(|t| t.name() == name)
}

fn scalar(ty: ValueType, text: &str) -> anyhow::Result<Value> {
    let bad = || format!("expected {ty}, found {text:?}");
    macro_rules! number {
        ($variant:ident) => {
            Value::$variant(text.parse().with_context(bad)?)
        };
    }
    Ok(match ty {
        ValueType::U8 => number!(U8),
        ValueType::I8 => number!(I8),
        ValueType::U16 => number!(U16),
        ValueType::I16 => number!(I16),
        ValueType::U32 => number!(U32),
        ValueType::I32 => number!(I32),
        ValueType::U64 => number!(U64),
        ValueType::I64 => number!(I64),
        ValueType::F32 => number!(F32),
        ValueType::F64 => number!(F64),
        ValueType::Bool => number!(Bool),
        ValueType::String => Value::from(text),
        ValueType::Array => bail!("an array of arrays cannot be given here"),
    })
}

fn array(element: ValueType, text: &str) -> anyhow::Result<Array> {
    let items: Vec<Json> =
        serde_json::from_str(text).with_context(|| format!("expected a JSON array, found {text:?}"))?;
    let texts: Vec<String> = items
        .iter()
        .map(|item| match item {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        })
        .collect();
    macro_rules! numbers {
        ($variant:ident, $number:ty) => {
            Array::$variant(
                texts
                    .iter()
                    .map(|t| {
                        t.parse::<$number>()
                            .with_context(|| format!("expected {element}, found {t:?}"))
                    })
                    .collect::<anyhow::Result<Vec<_>>>()?,
            )
        };
    }
    Ok(match element {
        ValueType::U8 => numbers!(U8, u8),
        ValueType::I8 => numbers!(I8, i8),
        ValueType::U16 => numbers!(U16, u16),
        ValueType::I16 => numbers!(I16, i16),
        ValueType::U32 => numbers!(U32, u32),
        ValueType::I32 => numbers!(I32, i32),
        ValueType::U64 => numbers!(U64, u64),
        ValueType::I64 => numbers!(I64, i64),
        ValueType::F32 => numbers!(F32, f32),
        ValueType::F64 => numbers!(F64, f64),
        ValueType::Bool => numbers!(Bool, bool),
        ValueType::String => Array::String(texts.into_iter().map(Into::into).collect()),
        ValueType::Array => bail!("an array of arrays cannot be given here"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_or_without_type() {
        let mut metadata = Metadata::new();
        metadata.set("n", 1u16);
        metadata.set("list", vec![1i32]);
        let read = |text: &str| parse(text, &metadata).map(|(_, v)| v);
        assert_eq!(read("a=u32:7").unwrap(), Value::U32(7));
        assert_eq!(read("a=str:x:y=z").unwrap(), Value::from("x:y=z"));
        assert_eq!(read("n=9").unwrap(), Value::U16(9));
        assert_eq!(read("n=str:9").unwrap(), Value::from("9"));
        assert_eq!(read("list=[2,3]").unwrap(), Value::from(vec![2i32, 3]));
        assert_eq!(
            read("a=str[]:[\"x\",\"y\"]").unwrap(),
            Value::from(vec!["x", "y"])
        );
        assert_eq!(read("a=bool:true").unwrap(), Value::Bool(true));
        for bad in [
            "a", "a=1", "=u8:1", "a=u8:256", "n=-1", "a=bool:1", "a=arr:[]", "list=3",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
