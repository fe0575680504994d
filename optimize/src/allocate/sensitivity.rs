//! Costs of each type of each tensor, and the file that keeps them.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use gguf::TensorType;
use serde_json::{Map, Value, json};

use super::Method;
use crate::{Error, Result};

const FORMAT: &str = "quantsmith-sensitivity";
const VERSION: u64 = 1;
/// Longest file that is read, in bytes: a hundred for each type of each tensor of the largest models.
const MAX_BYTES: u64 = 64 << 20;

/// The losses of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Losses {
    /// Its name.
    pub tensor: String,
    /// For each type the mean KL divergence, in nats, that this tensor alone in this type is expected to cause.
    pub types: Vec<(TensorType, f64)>,
}

/// Costs of each type of each tensor of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensitivity {
    /// How it was found.
    pub method: Method,
    /// Digest of the model's weights ([`super::model_digest`]).
    pub model: String,
    /// Digest of the text's windows ([`crate::digest`]).
    pub text: String,
    /// The encoder, with a digest of the importance that it was given ([`super::encoder_digest`]).
    pub encoder: String,
    /// Windows of the text.
    pub windows: usize,
    /// Types to choose from.
    pub pool: Vec<TensorType>,
    /// The tensors.
    pub tensors: Vec<Losses>,
}

impl Sensitivity {
    /// The losses of a tensor.
    pub fn of(&self, tensor: &str) -> Option<&Losses> {
        self.tensors.iter().find(|losses| losses.tensor == tensor)
    }

    /// Checks that this was measured for what it is to be used for. Types that were measured and are not asked for do
    /// no harm.
    ///
    /// # Errors
    /// The input that is another, with both values.
    pub fn check(
        &self,
        path: &Path,
        model: &str,
        text: Option<&str>,
        encoder: &str,
        pool: &[TensorType],
    ) -> Result<()> {
        let refuse = |what: &str, found: &str, expected: &str| {
            Err(Error::Request(format!(
                "{}: measured with another {what}: expected {expected}, found {found}",
                path.display()
            )))
        };
        if self.model != model {
            return refuse("model", &self.model, model);
        }
        if let Some(text) = text.filter(|text| *text != self.text) {
            return refuse("text, or another number of its windows", &self.text, text);
        }
        if self.encoder != encoder {
            return refuse("encoder or importance matrix", &self.encoder, encoder);
        }
        let names = |types: &[TensorType]| types.iter().map(|t| t.name()).collect::<Vec<_>>().join(",");
        if !pool.iter().all(|ty| self.pool.contains(ty)) {
            return refuse("pool of types", &names(&self.pool), &names(pool));
        }
        Ok(())
    }

    /// Writes the file; what stands under its name is replaced once all is written.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let tensors: Map<String, Value> = self
            .tensors
            .iter()
            .map(|losses| {
                let types = losses
                    .types
                    .iter()
                    .map(|(ty, loss)| (ty.name().to_owned(), json!(loss)));
                (losses.tensor.clone(), Value::Object(types.collect()))
            })
            .collect();
        let whole = json!({
            "format": FORMAT,
            "version": VERSION,
            "method": self.method.name(),
            "model": self.model,
            "text": self.text,
            "encoder": self.encoder,
            "windows": self.windows,
            "pool": self.pool.iter().map(|t| t.name()).collect::<Vec<_>>(),
            "tensors": tensors,
        });
        let file = gguf::WholeFile::open(path).map_err(convert::Error::from)?;
        let text = format!("{whole:#}\n");
        Ok(file.publish(text.as_bytes()).map_err(convert::Error::from)?)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read, or is none of these; the part that is wrong is named.
    pub fn load(path: &Path) -> Result<Self> {
        let read = || -> std::io::Result<String> {
            let mut text = String::new();
            fs::File::open(path)?
                .take(MAX_BYTES + 1)
                .read_to_string(&mut text)?;
            Ok(text)
        };
        let text = read().map_err(|source| Error::Io {
            path: path.to_path_buf(),
            source,
        })?;
        let parsed = match text.len() as u64 > MAX_BYTES {
            true => Err(format!("expected at most {MAX_BYTES} bytes")),
            false => Self::parse(&text),
        };
        parsed.map_err(|what| Error::Request(format!("{}: {what}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|e| format!("no file of sensitivities: {e}"))?;
        if value["format"] != FORMAT {
            return Err(format!(
                "key 'format': expected {FORMAT:?}, found {}",
                value["format"]
            ));
        }
        if value["version"] != VERSION {
            return Err(format!(
                "key 'version': expected {VERSION}, found {}",
                value["version"]
            ));
        }
        let word = |key: &str| match &value[key] {
            Value::String(text) => Ok(text.clone()),
            other => Err(format!("key '{key}': expected a string, found {other}")),
        };
        let named = |name: &str| {
            TensorType::from_name(name).ok_or_else(|| format!("expected a tensor type, found {name:?}"))
        };
        let method = word("method")?;
        let method = Method::from_name(&method)
            .ok_or_else(|| format!("key 'method': expected gradient or probe, found {method:?}"))?;
        let pool = value["pool"].as_array().ok_or("key 'pool': expected an array")?;
        let pool = pool
            .iter()
            .map(|name| named(name.as_str().unwrap_or_default()))
            .collect::<Result<_, _>>()?;
        let tensors = value["tensors"]
            .as_object()
            .ok_or("key 'tensors': expected an object")?;
        let tensors = tensors.iter().map(|(tensor, types)| {
            let wrong = |what: String| format!("tensor '{tensor}': {what}");
            let types = types
                .as_object()
                .ok_or_else(|| wrong("expected an object".into()))?;
            let types = types.iter().map(|(name, loss)| {
                let ty = named(name).map_err(wrong)?;
                match loss.as_f64().filter(|loss| loss.is_finite() && *loss >= 0.0) {
                    Some(loss) => Ok((ty, loss)),
                    None => Err(wrong(format!(
                        "{name}: expected a number not below zero, found {loss}"
                    ))),
                }
            });
            Ok(Losses {
                tensor: tensor.clone(),
                types: types.collect::<Result<_, String>>()?,
            })
        });
        Ok(Self {
            method,
            model: word("model")?,
            text: word("text")?,
            encoder: word("encoder")?,
            windows: value["windows"]
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(0),
            pool,
            tensors: tensors.collect::<Result<_, String>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Sensitivity {
        Sensitivity {
            method: Method::Probe,
            model: "m".into(),
            text: "t".into(),
            encoder: "stock".into(),
            windows: 3,
            pool: vec![TensorType::Q4_K, TensorType::Q8_0],
            tensors: vec![Losses {
                tensor: "blk.0.attn_q.weight".into(),
                types: vec![(TensorType::Q4_K, 1.0 / 3.0), (TensorType::Q8_0, 1e-9)],
            }],
        }
    }

    #[test]
    fn a_file_holds_the_same_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.json");
        example().save(&path).unwrap();
        assert_eq!(Sensitivity::load(&path).unwrap(), example());
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn what_was_measured_otherwise_is_refused() {
        let (s, path) = (example(), Path::new("s.json"));
        let pool = [TensorType::Q4_K];
        s.check(path, "m", None, "stock", &pool).unwrap();
        s.check(path, "m", Some("t"), "stock", &pool).unwrap();
        let refused = |model, text, encoder, pool: &[TensorType]| {
            s.check(path, model, text, encoder, pool).unwrap_err().to_string()
        };
        assert!(refused("n", None, "stock", &pool).contains("another model: expected n, found m"));
        assert!(refused("m", Some("u"), "stock", &pool).contains("another text"));
        assert!(refused("m", None, "stock 1", &pool).contains("encoder"));
        assert!(refused("m", None, "stock", &[TensorType::Q2_K]).contains("pool"));
    }

    #[test]
    fn files_of_another_kind_are_refused() {
        let whole = |change: &dyn Fn(&mut Value)| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("s.json");
            example().save(&path).unwrap();
            let mut value: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            change(&mut value);
            fs::write(&path, value.to_string()).unwrap();
            Sensitivity::load(&path).unwrap_err().to_string()
        };
        assert!(whole(&|v| v["format"] = "x".into()).contains("format"));
        assert!(whole(&|v| v["version"] = 2.into()).contains("version"));
        assert!(whole(&|v| v["method"] = "guess".into()).contains("method"));
        assert!(whole(&|v| v["pool"] = json!(["q9"])).contains("q9"));
        assert!(whole(&|v| v["tensors"]["blk.0.attn_q.weight"]["q8_0"] = json!(-1)).contains("q8_0"));
        assert!(whole(&|v| v["tensors"]["x"] = json!({"q8_0": "1"})).contains("tensor 'x'"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.json");
        fs::write(&path, b"GGUF\xff\xfe").unwrap();
        assert!(Sensitivity::load(&path).is_err());
    }
}
