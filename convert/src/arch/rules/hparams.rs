//! A model's configuration, and the keys written from it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use gguf::{Metadata, Value as GgufValue};
use serde_json::{Map, Value};

use super::declared::Declared;
use super::target::Target;
use crate::{Error, Remedy, Result};

/// Most transformer blocks a model may claim to have.
const MAX_BLOCKS: u32 = 4096;

/// `config.json`, completed with the defaults of its model type.
#[derive(Debug)]
pub(crate) struct Hparams {
    path: PathBuf,
    values: Map<String, Value>,
    rope: Map<String, Value>,
    block_count: u32,
    around: Option<Box<Around>>,
    declared: Option<&'static dyn Declared>,
    target: Option<Box<Target>>,
    /// Keys that were asked for and found since [`Hparams::asked`], for the errors that follow from them.
    asked: RefCell<Vec<String>>,
}

/// The surroundings of an encoder's configuration.
#[derive(Debug)]
struct Around {
    whole: Hparams,
    /// Of a second encoder, that of sound.
    audio: Option<Hparams>,
}

/// Blocks that each of two encoders in one file may have.
const BLOCKS_OF_TWO: u32 = 128;
/// Keys that count an encoder's blocks.
const BLOCK_KEYS: [&str; 8] = [
    "n_layers",
    "num_hidden_layers",
    "n_layer",
    "num_layers",
    "depth",
    "layers",
    "encoder_layers",
    "vt_num_hidden_layers",
];

impl Hparams {
    /// # Errors
    /// No usable number of layers.
    pub(crate) fn new(path: PathBuf, values: Map<String, Value>) -> Result<Self> {
        let mut hparams = Self::section(path, values);
        hparams.block_count = hparams.u32(&["n_layers", "num_hidden_layers", "n_layer", "num_layers"])?;
        if hparams.block_count > MAX_BLOCKS {
            return Err(hparams.error(format!(
                "num_hidden_layers: expected at most {MAX_BLOCKS}, found {}",
                hparams.block_count
            )));
        }
        Ok(hparams)
    }

    /// A part of the configuration that has no blocks of its own.
    pub(crate) fn section(path: PathBuf, values: Map<String, Value>) -> Self {
        let rope = super::rope::parameters(&values);
        Self {
            path,
            values,
            rope,
            block_count: 0,
            around: None,
            declared: None,
            target: None,
            asked: RefCell::default(),
        }
    }

    /// Notes the model that a draft model is of.
    pub(crate) fn draft_for(&mut self, target: Target) {
        self.target = Some(Box::new(target));
    }

    /// The model that a draft model is of.
    ///
    /// # Errors
    /// None was given.
    pub(crate) fn target(&self) -> Result<&Target> {
        self.target.as_deref().ok_or_else(|| {
            let message = "a draft model: expected the directory of the model that it drafts for, found none";
            self.error(message.to_owned()).avoided_by(Remedy::TargetModelDir)
        })
    }

    /// Notes the architecture that this configuration was completed by, where it is none of the program's own.
    pub(crate) fn declare(&mut self, declared: &'static dyn Declared) {
        self.declared = Some(declared);
    }

    /// The architecture of a file or of another crate, where one was given.
    pub(crate) fn declared(&self) -> Option<&'static dyn Declared> {
        self.declared
    }

    /// Puts an encoder's configuration into that of the whole model, which may have another encoder, whose configuration
    /// comes with the file that it stands in.
    pub(crate) fn inside_of(
        &mut self,
        whole: Map<String, Value>,
        audio: Option<(PathBuf, Map<String, Value>)>,
    ) {
        self.around = Some(Box::new(Around {
            whole: Self::section(self.path.clone(), whole),
            audio: audio.map(|(path, values)| Self::section(path, values)),
        }));
    }

    /// Of an encoder: the configuration of the whole model.
    pub(crate) fn whole(&self) -> &Self {
        self.around.as_ref().map_or(self, |a| &a.whole)
    }

    /// The configuration of the encoder of sound: of two the second.
    pub(crate) fn audio(&self) -> &Self {
        let second = self.around.as_ref().and_then(|a| a.audio.as_ref());
        second.unwrap_or(self)
    }

    /// Whether there are encoders of images and of sound.
    pub(crate) fn has_both(&self) -> bool {
        self.around.as_ref().is_some_and(|a| a.audio.is_some())
    }

    /// Blocks of an encoder, by its own configuration.
    ///
    /// # Errors
    /// No key that counts them.
    pub(crate) fn encoder_blocks(&self) -> Result<u32> {
        self.u32(&BLOCK_KEYS)
    }

    /// Brings the key that counts an encoder's blocks to that of other models.
    pub(crate) fn name_blocks(values: &mut Map<String, Value>) {
        let count = BLOCK_KEYS.iter().find_map(|key| values.get(*key)).cloned();
        if let Some(count) = count {
            values.entry("num_hidden_layers").or_insert(count);
        }
    }

    /// Numbers of blocks that tensors may have.
    pub(crate) fn block_limit(&self) -> u32 {
        match self.has_both() {
            true => BLOCKS_OF_TWO,
            false => self.block_count,
        }
    }

    /// The configuration as one JSON object.
    pub(crate) fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// The RoPE parameters, whichever key of the configuration they come from.
    pub(crate) fn rope(&self) -> &Map<String, Value> {
        &self.rope
    }

    /// The model directory.
    pub(crate) fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Blocks of the output.
    pub(crate) fn block_count(&self) -> u32 {
        self.block_count
    }

    /// Removes keys of the configuration.
    pub(crate) fn forget(&mut self, keys: &[&str]) {
        for key in keys {
            self.values.shift_remove(*key);
        }
    }

    /// Adds blocks that the configuration does not count.
    ///
    /// # Errors
    /// More blocks than any model has.
    pub(crate) fn add_blocks(&mut self, more: u32) -> Result<()> {
        match self.block_count.checked_add(more).filter(|&n| n <= MAX_BLOCKS) {
            Some(n) => self.block_count = n,
            None => {
                return Err(self.error(format!(
                    "expected at most {MAX_BLOCKS} blocks, found {} and {more} more",
                    self.block_count
                )));
            }
        }
        Ok(())
    }

    /// The strings of a list; `None` when there is no list.
    pub(crate) fn strings(&self, key: &str) -> Option<Vec<&str>> {
        let list = self.find(&[key])?.as_array()?;
        Some(list.iter().map(|v| v.as_str().unwrap_or("")).collect())
    }

    /// A value from a map inside the configuration.
    pub(crate) fn inside(&self, map: &str, key: &str) -> Result<&Value> {
        self.find(&[map])
            .and_then(|m| m.get(key))
            .ok_or_else(|| self.error(format!("expected a key {key} in {map}, found none")))
    }

    pub(crate) fn error(&self, message: String) -> Error {
        Error::input(&self.path, message)
    }

    fn find_pair<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &Value)> {
        keys.iter()
            .find_map(|&k| Some((k, self.values.get(k)?)))
            .filter(|(_, v)| !v.is_null())
            .inspect(|(key, _)| self.asked.borrow_mut().push((*key).to_owned()))
    }

    /// Takes the keys that were asked for since the last call, with their values.
    pub(crate) fn asked(&self) -> Vec<(String, &Value)> {
        let mut keys = self.asked.take();
        let mut known = std::collections::HashSet::new();
        keys.retain(|key| known.insert(key.clone()));
        keys.into_iter()
            .filter_map(|key| self.values.get(&key).map(|value| (key, value)))
            .collect()
    }

    /// The value of the first of `keys` that is present; `None` also when that one is null.
    pub(crate) fn find(&self, keys: &[&str]) -> Option<&Value> {
        self.find_pair(keys).map(|(_, value)| value)
    }

    pub(crate) fn opt_u32(&self, keys: &[&str]) -> Result<Option<u32>> {
        self.find_pair(keys).map(|(k, v)| self.to_u32(k, v)).transpose()
    }

    pub(crate) fn u32(&self, keys: &[&str]) -> Result<u32> {
        self.opt_u32(keys)?.ok_or_else(|| self.missing(keys))
    }

    pub(crate) fn opt_f32(&self, keys: &[&str]) -> Result<Option<f32>> {
        self.find_pair(keys).map(|(k, v)| self.to_f32(k, v)).transpose()
    }

    pub(crate) fn f32(&self, keys: &[&str]) -> Result<f32> {
        self.opt_f32(keys)?.ok_or_else(|| self.missing(keys))
    }

    /// A number as the configuration has it, for keys that others are computed from.
    pub(crate) fn opt_f64(&self, keys: &[&str]) -> Result<Option<f64>> {
        let number = |(key, value): (&str, &Value)| {
            value
                .as_f64()
                .ok_or_else(|| self.error(format!("{key}: expected a number, found {value}")))
        };
        self.find_pair(keys).map(number).transpose()
    }

    pub(crate) fn f64(&self, keys: &[&str]) -> Result<f64> {
        self.opt_f64(keys)?.ok_or_else(|| self.missing(keys))
    }

    /// A flag. Where the stock converter asks for its truth or writes it unseen, null is false.
    pub(crate) fn opt_bool(&self, key: &str) -> Option<bool> {
        match self.values.get(key) {
            Some(Value::Null) => Some(false),
            _ => self.stated_bool(key),
        }
    }

    /// A flag that the stock converter writes only where it is one: null is as if it were left out.
    pub(crate) fn stated_bool(&self, key: &str) -> Option<bool> {
        self.find(&[key]).and_then(Value::as_bool)
    }

    /// Layers with a sliding window, by `layer_types`.
    pub(crate) fn sliding_layers(&self) -> Option<Vec<bool>> {
        let types = self.find(&["layer_types"])?.as_array()?;
        Some(types.iter().map(|t| t == "sliding_attention").collect())
    }

    /// `partial_rotary_factor`, which may stand among the RoPE parameters or beside them.
    pub(crate) fn partial_rotary_factor(&self) -> Result<Option<f64>> {
        match self.rope.get("partial_rotary_factor").filter(|v| !v.is_null()) {
            Some(value) => match value.as_f64() {
                Some(factor) => Ok(Some(factor)),
                None => Err(self.error(format!("partial_rotary_factor: expected a number, found {value}"))),
            },
            None => self.opt_f64(&["partial_rotary_factor", "rope_pct", "rope_percent"]),
        }
    }

    /// `n` times the first number among `keys`, which must fit.
    pub(crate) fn times(&self, n: u32, keys: &[&str]) -> Result<u32> {
        let number = self.u32(keys)?;
        n.checked_mul(number).ok_or_else(|| {
            self.error(format!(
                "{}: expected a number that fits 32 bits in a product, found {number}",
                keys.join(" or ")
            ))
        })
    }

    /// Elements of an attention head of two parts, which must fit.
    pub(crate) fn head_of(&self, a: u32, b: u32) -> Result<u32> {
        a.checked_add(b).ok_or_else(|| {
            self.error(format!(
                "expected attention heads whose elements fit 32 bits, found {a} and {b}"
            ))
        })
    }

    /// A product of numbers of the configuration, which must fit.
    pub(crate) fn product(&self, numbers: &[u32]) -> Result<u32> {
        let product = numbers.iter().try_fold(1u32, |n, &x| n.checked_mul(x));
        product.ok_or_else(|| {
            self.error(format!(
                "expected numbers whose product fits 32 bits, found {numbers:?}"
            ))
        })
    }

    pub(crate) fn opt_str(&self, keys: &[&str]) -> Option<&str> {
        self.find(keys).and_then(Value::as_str)
    }

    pub(crate) fn to_u32(&self, key: &str, value: &Value) -> Result<u32> {
        value.as_u64().and_then(|v| u32::try_from(v).ok()).ok_or_else(|| {
            self.error(format!(
                "{key}: expected a non-negative 32-bit integer, found {value}"
            ))
        })
    }

    pub(crate) fn to_f32(&self, key: &str, value: &Value) -> Result<f32> {
        value
            .as_f64()
            .map(|v| v as f32)
            .filter(|v| v.is_finite())
            .ok_or_else(|| self.error(format!("{key}: expected a number, found {value}")))
    }

    /// Query heads and key-value heads.
    pub(crate) fn heads(&self) -> Result<(u32, u32)> {
        let heads = self.u32(&["n_heads", "num_attention_heads", "n_head"])?;
        let kv = self
            .opt_u32(&["n_kv_heads", "num_key_value_heads"])?
            .unwrap_or(heads);
        if heads == 0 || kv == 0 {
            return Err(self.error(format!(
                "expected at least one head, found {heads} of queries and {kv} of keys and values"
            )));
        }
        Ok((heads, kv))
    }

    /// `head_dim`, or the hidden size divided among the heads.
    pub(crate) fn head_dim(&self) -> Result<u32> {
        if let Some(dim) = self.opt_u32(&["head_dim"])? {
            return Ok(dim);
        }
        self.even_head_dim()
    }

    /// The hidden size divided among the heads.
    pub(crate) fn even_head_dim(&self) -> Result<u32> {
        Ok(self.u32(&["hidden_size", "n_embd", "d_model"])? / self.heads()?.0)
    }

    pub(crate) fn missing(&self, keys: &[&str]) -> Error {
        self.error(format!(
            "expected a key {}, which the architecture {} needs, found none",
            keys.join(" or "),
            self.values
                .get("architectures")
                .and_then(|a| a.get(0))
                .and_then(Value::as_str)
                .unwrap_or("of the model")
        ))
    }
}

/// Writes `{arch}.*` keys.
pub(crate) struct Keys<'a> {
    pub(crate) arch: &'static str,
    pub(crate) metadata: &'a mut Metadata,
    /// `general.file_type`, which stands among the keys of the architecture.
    pub(crate) file_type: u32,
    /// The model directory, for the few keys that come from other files.
    pub(crate) dir: &'a Path,
    /// The dense modules that are converted too.
    pub(crate) dense: &'a [crate::arch::DenseModule],
    /// The place of a tensor of the checkpoint among all; `None` where there is no such tensor.
    pub(crate) place: &'a dyn Fn(&str) -> Option<usize>,
    /// Reads a tensor of the checkpoint that holds one number; `None` where there is no such tensor.
    pub(crate) number: &'a dyn Fn(&str) -> Result<Option<f32>>,
    /// The shape of a tensor of the checkpoint, outermost dimension first.
    pub(crate) shape: &'a dyn Fn(&str) -> Option<Vec<u64>>,
    /// The shape of the tensor of the checkpoint whose name ends so.
    pub(crate) shape_ending: &'a dyn Fn(&str) -> Option<Vec<u64>>,
    /// Finds the rows of a matrix of the checkpoint that are all zero, from a row on.
    pub(crate) zero_rows: &'a dyn Fn(&str, u64) -> Result<Vec<u64>>,
    /// Reads the first number of a tensor of the checkpoint.
    pub(crate) first: &'a dyn Fn(&str) -> Result<Option<f32>>,
    /// Reads the integers of the tensor of the checkpoint whose name ends so.
    pub(crate) integers: &'a dyn Fn(&str) -> Result<Option<Vec<i64>>>,
}

impl Keys<'_> {
    /// Sets `{arch}.{suffix}`; a key set before keeps its place.
    pub(crate) fn set(&mut self, suffix: &str, value: impl Into<GgufValue>) {
        self.metadata
            .set_in_place(format!("{}.{suffix}", self.arch), value);
    }

    /// Sets `{arch}.{suffix}` when there is a value.
    pub(crate) fn set_some(&mut self, suffix: &str, value: Option<impl Into<GgufValue>>) {
        if let Some(value) = value {
            self.set(suffix, value);
        }
    }

    /// The number in a tensor of the checkpoint, for architectures that write it as a key.
    pub(crate) fn number(&self, tensor: &str) -> Result<Option<f32>> {
        (self.number)(tensor)
    }

    /// The first number of a tensor of the checkpoint; `None` where there is no such tensor.
    pub(crate) fn first(&self, tensor: &str) -> Result<Option<f32>> {
        (self.first)(tensor)
    }

    /// The integers of the tensor of the checkpoint whose name ends so; `None` where there is no such tensor.
    pub(crate) fn integers(&self, ending: &str) -> Result<Option<Vec<i64>>> {
        (self.integers)(ending)
    }

    /// The shape of the tensor of the checkpoint whose name ends so.
    pub(crate) fn shape_ending(&self, ending: &str) -> Option<Vec<u64>> {
        (self.shape_ending)(ending)
    }

    /// Sets a key outside the architecture's.
    pub(crate) fn set_global(&mut self, key: &str, value: impl Into<GgufValue>) {
        self.metadata.set_in_place(key, value);
    }

    /// Takes `{arch}.{suffix}` away.
    pub(crate) fn unset(&mut self, suffix: &str) {
        let key = format!("{}.{suffix}", self.arch);
        self.metadata.remove(&key);
    }

    /// Sets a key of the tokenizer, which a later one of the same name overwrites in its place.
    pub(crate) fn set_tokenizer(&mut self, suffix: &str, value: impl Into<GgufValue>) {
        self.metadata
            .set_in_place(format!("tokenizer.ggml.{suffix}"), value);
    }

    pub(crate) fn set_file_type(&mut self) {
        self.metadata.set_in_place("general.file_type", self.file_type);
    }
}
