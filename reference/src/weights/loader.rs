//! Tensors by name, their shapes checked. Layers are made of them in `layers`.

use std::collections::HashMap;
use std::path::Path;

use gguf::{GgufModel, TensorInfo, TensorType};

use super::{ANY, BlockMatrix, Declared, Directory, Keys, Shortfall};
use crate::ops::{Norm, NormKind};
use crate::{Error, Result};

/// Keys and tensors of a model, from which its graph is built. Of a model that is only declared, all shortfalls are
/// noted there, and the graph is built with neutral numbers as far as it can be.
pub(crate) struct Loader<'a> {
    directory: Directory<'a>,
    pub(crate) keys: Keys<'a>,
    path: &'a Path,
    /// Numbers in place of those of small tensors, by name.
    others: Option<&'a HashMap<String, Vec<f32>>>,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(gguf: &'a GgufModel, path: &'a Path) -> Self {
        Self {
            directory: Directory::Opened(gguf),
            keys: Keys::new(gguf.metadata(), path),
            path,
            others: None,
        }
    }

    /// The same with other numbers in tensors that are read as numbers, not as matrices of blocks.
    pub(crate) fn with_numbers(self, others: &'a HashMap<String, Vec<f32>>) -> Self {
        Self {
            others: Some(others),
            ..self
        }
    }

    /// A loader of a model without data.
    pub(crate) fn declared(declared: &'a Declared<'a>) -> Self {
        let path = Path::new("");
        Self {
            directory: Directory::Declared(declared),
            keys: Keys::declared(declared, path),
            path,
            others: None,
        }
    }

    /// An error about this model.
    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        Error::Model {
            path: self.path.to_owned(),
            message: message.into(),
        }
    }

    /// Elements of all heads together.
    pub(crate) fn all_heads(&self, heads: usize, len: usize) -> Result<usize> {
        let all = heads.checked_mul(len);
        all.ok_or_else(|| self.error(format!("{heads} attention heads of {len} elements are too many")))
    }

    /// Name, type and shape of a tensor.
    pub(crate) fn info(&self, name: &str) -> Option<&'a TensorInfo> {
        self.directory.find(name)
    }

    /// Whether the file has a tensor.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.info(name).is_some()
    }

    /// Tokens of the vocabulary, in place of the rows of an embedding that is missing.
    pub(crate) fn tokens(&self) -> usize {
        self.directory.tokens()
    }

    /// Whether the model is only declared: then also what the graph does not run is looked for.
    pub(crate) fn is_declared(&self) -> bool {
        matches!(self.directory, Directory::Declared(_))
    }

    /// Whether there is any tensor of a layer; asked of a declared model.
    pub(crate) fn has_layer(&self, layer: usize) -> bool {
        match self.directory {
            Directory::Opened(_) => true,
            Directory::Declared(declared) => declared.has_layer(layer),
        }
    }

    /// A tensor that the graph does not run, and that must be there in a whole model.
    pub(crate) fn needed(&self, name: &str, shape: &[usize]) -> Result<()> {
        match self.is_declared() {
            true => self.find(name, shape).map(drop),
            false => Ok(()),
        }
    }

    /// A tensor that the graph does not run, and that may be there.
    pub(crate) fn allowed(&self, name: &str, shape: &[usize]) -> Result<()> {
        match self.is_declared() && self.has(name) {
            true => self.find(name, shape).map(drop),
            false => Ok(()),
        }
    }

    /// Further tensors of a layer that predicts a further token: `blk.{layer}.nextn.*`.
    pub(crate) fn prediction(&self, layer: usize, hidden: usize) -> Result<()> {
        let name = |name: &str| format!("blk.{layer}.nextn.{name}.weight");
        let both = hidden.saturating_mul(2);
        self.needed(&name("eh_proj"), &[both, hidden])?;
        self.needed(&name("enorm"), &[hidden])?;
        self.needed(&name("hnorm"), &[hidden])?;
        let tokens = self.embedded().and_then(|rows| usize::try_from(rows).ok());
        let tokens = tokens.unwrap_or(ANY);
        self.allowed(&name("embed_tokens"), &[hidden, tokens])?;
        self.allowed(&name("shared_head_head"), &[hidden, tokens])?;
        self.allowed(&name("shared_head_norm"), &[hidden])
    }

    /// Rows of `token_embd.weight`; `None` where it is not there.
    pub(crate) fn embedded(&self) -> Option<u64> {
        self.info("token_embd.weight").map(TensorInfo::rows)
    }

    /// A tensor that must have this shape. `None` where it has not, which is noted.
    pub(crate) fn find(&self, name: &str, shape: &[usize]) -> Result<Option<&'a TensorInfo>> {
        let Some(info) = self.info(name) else {
            return self.short(Shortfall::missing_tensor(name, shape)).map(|()| None);
        };
        if !self.directory.same_shape(info, shape) {
            return self
                .short(Shortfall::shape(name, &info.shape, shape))
                .map(|()| None);
        }
        if !quants::can_decode(info.ty) {
            return self.short(Shortfall::tensor_type(name, info.ty)).map(|()| None);
        }
        Ok(Some(info))
    }

    /// Notes a shortfall of a declared model; of an opened one, it is an error.
    pub(crate) fn short(&self, shortfall: Shortfall) -> Result<()> {
        match self.directory {
            Directory::Opened(_) => Err(self.error(shortfall.to_string())),
            Directory::Declared(declared) => declared.note(shortfall),
        }
    }

    /// A one-dimensional tensor, decoded.
    pub(crate) fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        self.numbers(name, &[len])
    }

    /// [`Self::vector`], or `None` when the file does not have it.
    pub(crate) fn optional_vector(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
        self.has(name).then(|| self.vector(name, len)).transpose()
    }

    /// A tensor of 1 to 3 dimensions (innermost first) as a stack of matrices.
    pub(crate) fn matrix(&self, name: &str, shape: &[usize]) -> Result<BlockMatrix> {
        let info = self.find(name, shape)?;
        let too_large = |_| self.error(format!("tensor '{name}': rows are too large for this machine"));
        Ok(BlockMatrix {
            name: name.to_owned(),
            tensor: self.directory.index(name).unwrap_or(usize::MAX),
            ty: info.map_or(TensorType::F32, |i| i.ty),
            inputs: shape[0],
            outputs: shape.get(1).copied().unwrap_or(1),
            row_bytes: usize::try_from(info.map_or(0, TensorInfo::row_bytes)).map_err(too_large)?,
        })
    }

    /// A root-mean-square norm over `len` elements: `{base}.weight`.
    pub(crate) fn rms_norm(&self, base: &str, len: usize, eps: f32) -> Result<Norm> {
        self.norm(NormKind::Rms, base, len, eps)
    }

    /// A norm over `len` elements: `{base}.weight`, and `{base}.bias` where the file has it.
    pub(crate) fn norm(&self, kind: NormKind, base: &str, len: usize, eps: f32) -> Result<Norm> {
        let bias = self.optional_vector(&format!("{base}.bias"), len)?;
        // PLaMo 3 has two without a word for what they are.
        let bare = self.keys.architecture() == "plamo3" && base.contains("post_");
        let tensor = match bare {
            true => base.to_owned(),
            false => format!("{base}.weight"),
        };
        Ok(Norm {
            kind,
            group: len,
            weight: self.vector(&tensor, len)?,
            bias: bias.unwrap_or_default(),
            eps,
            tensor: Some(tensor),
        })
    }

    /// A norm of each of `heads` heads of `len` elements: `{base}.weight` with weights for one head, or for
    /// each; then there may be a `{base}.bias` too.
    pub(crate) fn head_norm(
        &self,
        kind: NormKind,
        base: &str,
        len: usize,
        heads: usize,
        eps: f32,
    ) -> Result<Norm> {
        let name = format!("{base}.weight");
        let each = self.info(&name).is_some_and(|i| i.shape.len() == 2);
        let weight = match each {
            true => self.table(&name, len, heads)?,
            false => self.vector(&name, len)?,
        };
        let bias = format!("{base}.bias");
        let bias = match each && self.has(&bias) {
            true => self.table(&bias, len, heads)?,
            false => Vec::new(),
        };
        Ok(Norm {
            kind,
            group: len,
            weight,
            bias,
            eps,
            tensor: Some(name),
        })
    }

    /// A tensor of shape [columns, rows], decoded.
    pub(crate) fn table(&self, name: &str, columns: usize, rows: usize) -> Result<Vec<f32>> {
        self.numbers(name, &[columns, rows])
    }

    /// A tensor of any shape (innermost dimension first), decoded.
    pub(crate) fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let matrix = self.matrix(name, shape)?;
        match self.others.and_then(|others| others.get(name)) {
            None => self.directory.decode(&matrix, shape),
            Some(numbers) if numbers.len() == shape.iter().product::<usize>() => Ok(numbers.clone()),
            Some(numbers) => Err(self.error(format!(
                "tensor '{name}': expected {shape:?} numbers in its place, found {}",
                numbers.len()
            ))),
        }
    }

    /// The second dimension of `{base}.weight`: the outputs of a linear layer whose width no key gives.
    pub(crate) fn outputs_of(&self, base: &str) -> Result<usize> {
        let name = format!("{base}.weight");
        let Some(info) = self.info(&name) else {
            return self
                .short(Shortfall::missing_tensor(&name, &[ANY, ANY]))
                .map(|()| ANY);
        };
        self.rows(info)
    }

    /// The second dimension of a tensor.
    pub(crate) fn rows(&self, info: &TensorInfo) -> Result<usize> {
        let rows = info.shape.get(1).copied().unwrap_or(1);
        usize::try_from(rows).map_err(|_| self.error(format!("tensor '{}': too many rows", info.name)))
    }
}
