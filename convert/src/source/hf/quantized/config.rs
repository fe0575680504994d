//! Configuration of a model directory's quantized weights.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{Error, Result};

/// The quantization of a directory, in the words of the library that made it.
#[derive(Clone, Debug)]
pub(in super::super) struct QuantConfig {
    /// `quant_method`.
    pub(super) method: String,
    values: Map<String, Value>,
    path: std::path::PathBuf,
}

/// MLX's entry on its quantization: an object without a method, under either key.
fn mlx(config: &Map<String, Value>) -> Option<&Map<String, Value>> {
    let found = ["quantization", "quantization_config"]
        .iter()
        .find_map(|key| config.get(*key)?.as_object())?;
    let is_its = found.contains_key("group_size") && found.contains_key("bits");
    (is_its && !found.contains_key("quant_method")).then_some(found)
}

/// Whether a configuration is one that MLX quantized by.
pub(in super::super) fn is_mlx(config: &Map<String, Value>) -> bool {
    mlx(config).is_some()
}

/// Files beside `config.json` in which older or other tools say it, and their method.
const SIDE_FILES: [(&str, &str); 3] = [
    ("hf_quant_config.json", "modelopt"),
    ("quantize_config.json", "gptq"),
    ("quant_config.json", "awq"),
];

/// The method of transformers' own FP8.
const FP8: &str = "fp8";

impl QuantConfig {
    /// Finds it, or `None` where weights are as they are.
    ///
    /// # Errors
    /// A side file that is malformed.
    pub(in super::super) fn find(dir: &Path, config: &Map<String, Value>) -> Result<Option<Self>> {
        if let Some(values) = mlx(config) {
            return Ok(Some(Self {
                method: "mlx".to_owned(),
                values: values.clone(),
                path: dir.join("config.json"),
            }));
        }
        let inner = |key: &str| config.get(key).and_then(|c| c.get("quantization_config"));
        let found = config
            .get("quantization_config")
            .or_else(|| inner("text_config"))
            .or_else(|| config.get("compression_config"))
            .and_then(Value::as_object);
        if let Some(values) = found {
            let method = values.get("quant_method").and_then(Value::as_str);
            let (four, eight) = (values.get("load_in_4bit"), values.get("load_in_8bit"));
            let method = method.or_else(|| {
                [four, eight]
                    .contains(&Some(&Value::Bool(true)))
                    .then_some("bitsandbytes")
            });
            return Ok(method.map(|method| Self {
                method: method.to_ascii_lowercase(),
                values: values.clone(),
                path: dir.join("config.json"),
            }));
        }
        for (name, method) in SIDE_FILES {
            let path = dir.join(name);
            if !path.is_file() {
                continue;
            }
            let mut values = crate::json::read_object(&path)?;
            if let Some(Value::Object(inner)) = values.shift_remove("quantization") {
                values = inner;
            }
            return Ok(Some(Self {
                method: method.to_owned(),
                values,
                path,
            }));
        }
        Ok(None)
    }

    /// FP8 with a scale for each 128 rows and columns.
    pub(in super::super) fn fp8(path: &Path) -> Self {
        let block = ("weight_block_size".to_owned(), Value::from(vec![128, 128]));
        Self {
            method: FP8.to_owned(),
            values: Map::from_iter([block]),
            path: path.to_path_buf(),
        }
    }

    /// Whether weights are FP8 with scales.
    pub(in super::super) fn is_fp8(&self) -> bool {
        self.method == FP8
    }

    /// One whose words stand in another layout's configuration.
    ///
    /// # Errors
    /// No object that names a method.
    pub(in super::super) fn of(path: &Path, values: Value) -> Result<Self> {
        let method = values.get("quant_method").and_then(Value::as_str);
        match (method.map(str::to_ascii_lowercase), values) {
            (Some(method), Value::Object(values)) => Ok(Self {
                method,
                values,
                path: path.to_path_buf(),
            }),
            (_, values) => Err(Error::input(
                path,
                format!("quantization: expected an object with quant_method, found {values}"),
            )),
        }
    }

    /// An error about the configuration.
    pub(super) fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::input(&self.path, format!("quantization ({}): {message}", self.method))
    }

    /// The text of the first of these keys that has one.
    pub(super) fn text(&self, keys: &[&str]) -> Option<&str> {
        keys.iter()
            .find_map(|k| self.values.get(*k).and_then(Value::as_str))
    }

    /// The positive number of the first of these keys that has one.
    pub(super) fn number(&self, keys: &[&str]) -> Option<u64> {
        keys.iter()
            .find_map(|k| self.values.get(*k).and_then(Value::as_u64))
            .filter(|&n| n > 0)
    }

    /// MLX's value of a key for a layer: its own, or the common one.
    pub(super) fn of_layer(&self, layer: &str, key: &str) -> Option<&Value> {
        let own = self.values.get(layer).and_then(|own| own.get(key));
        own.or_else(|| self.values.get(key))
    }

    /// A positive number that AutoRound gives a module instead of the common one.
    pub(super) fn of_module(&self, module: &str, key: &str) -> Option<u64> {
        let own = self.values.get("extra_config")?.get(module)?;
        own.get(key).and_then(Value::as_u64).filter(|&n| n > 0)
    }

    /// The sizes of a weight's blocks, if the configuration names any.
    pub(super) fn block(&self) -> Vec<u64> {
        let numbers = |v: &Value| {
            let items = v.as_array()?;
            items.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>()
        };
        if let Some(block) = self.values.get("weight_block_size").and_then(numbers) {
            return block;
        }
        let weights = self.weights();
        if let Some(block) = weights
            .iter()
            .find_map(|w| w.get("block_structure").and_then(numbers))
        {
            return block;
        }
        match weights
            .iter()
            .find_map(|w| w.get("group_size").and_then(Value::as_u64))
        {
            Some(group) if group > 0 => vec![1, group],
            _ => Vec::new(),
        }
    }

    /// The `weights` of each of compressed-tensors' groups.
    fn weights(&self) -> Vec<&Value> {
        let groups = self.values.get("config_groups").and_then(Value::as_object);
        groups
            .into_iter()
            .flat_map(Map::values)
            .filter_map(|g| g.get("weights"))
            .collect()
    }

    /// The numbers of bits that compressed-tensors' groups name.
    pub(super) fn widths(&self) -> Vec<u32> {
        let bits = |w: &&Value| w.get("num_bits").and_then(Value::as_u64);
        let mut widths: Vec<u32> = self
            .weights()
            .iter()
            .filter_map(bits)
            .filter_map(|n| u32::try_from(n).ok())
            .collect();
        widths.dedup();
        widths
    }

    /// Whether the groups, or the configuration as a whole, are of a format.
    pub(super) fn has_format(&self, name: &str) -> bool {
        let groups = self.values.get("config_groups").and_then(Value::as_object);
        let in_groups = groups
            .into_iter()
            .flat_map(Map::values)
            .any(|g| g.get("format").and_then(Value::as_str) == Some(name));
        in_groups || self.text(&["format"]) == Some(name)
    }
}
