//! GGUF files, written.

use std::path::PathBuf;

use pyo3::prelude::*;
use quantsmith::gguf::{FilePlan, Metadata, TensorType, Writer};
use quantsmith::quants;

use crate::codec::as_array;
use crate::errors::{IntoPy, RequestError};
use crate::values::{from_python, tensor_type};

struct Pending {
    name: String,
    shape: Vec<u64>,
    ty: TensorType,
    bytes: Vec<u8>,
}

/// A new GGUF file: keys and tensors are collected, then written at once and published when complete.
#[pyclass]
pub(crate) struct GgufWriter {
    path: PathBuf,
    metadata: Metadata,
    tensors: Vec<Pending>,
}

#[pymethods]
impl GgufWriter {
    #[new]
    #[pyo3(signature = (path, architecture = None))]
    fn new(path: PathBuf, architecture: Option<&str>) -> Self {
        let mut metadata = Metadata::new();
        if let Some(name) = architecture {
            metadata.set("general.architecture", name);
        }
        Self {
            path,
            metadata,
            tensors: Vec::new(),
        }
    }

    /// Sets a key. Without `type` a `str` becomes a string, a `bool` a bool, an `int` a u32 (i64 or u64 where it
    /// does not fit) and a `float` an f32; a list becomes an array of its elements' type.
    #[pyo3(signature = (key, value, r#type = None))]
    fn set(&mut self, key: &str, value: &Bound<'_, PyAny>, r#type: Option<&str>) -> PyResult<()> {
        let value = from_python(value, r#type)?;
        self.metadata.set_in_place(key, value);
        Ok(())
    }

    /// Adds a tensor; its last dimension is the row. Without `type`, float16 and float32 arrays keep their type
    /// and other numbers become float32; with it, the array is encoded.
    #[pyo3(signature = (name, array, r#type = None, importance = None))]
    fn add(
        &mut self,
        py: Python<'_>,
        name: &str,
        array: &Bound<'_, PyAny>,
        r#type: Option<&str>,
        importance: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let is_half = array
            .getattr("dtype")
            .is_ok_and(|d| d.str().is_ok_and(|s| s.to_string_lossy() == "float16"));
        let ty = match r#type {
            Some(name) => tensor_type(name)?,
            None if is_half => TensorType::F16,
            None => TensorType::F32,
        };
        let array = as_array::<f32>(array, "float32")?;
        let importance = importance.map(|i| as_array::<f32>(i, "float32")).transpose()?;
        let shape: Vec<u64> = array.as_array().shape().iter().rev().map(|&d| d as u64).collect();
        let row_len = shape.first().copied().unwrap_or(1) as usize;
        let values = array.as_slice()?;
        let importance = importance.as_ref().map(|i| i.as_slice()).transpose()?;
        let row_bytes = ty.row_bytes(row_len as u64).ok_or_else(|| {
            RequestError::new_err(format!(
                "tensor '{name}': rows of {row_len} weights, a multiple of {} expected for {ty}",
                ty.block_len()
            ))
        })?;
        let mut bytes = vec![0u8; values.len() / row_len.max(1) * row_bytes as usize];
        py.detach(|| quants::encode(ty, values, row_len, importance, &mut bytes))
            .map_err(IntoPy::into_py)?;
        self.tensors.push(Pending {
            name: name.to_owned(),
            shape,
            ty,
            bytes,
        });
        Ok(())
    }

    /// Adds a tensor of blocks that are encoded already: `uint8`, the last dimension a row's bytes.
    fn add_raw(&mut self, name: &str, blocks: &Bound<'_, PyAny>, r#type: &str) -> PyResult<()> {
        let ty = tensor_type(r#type)?;
        let blocks = as_array::<u8>(blocks, "uint8")?;
        let mut shape: Vec<u64> = blocks
            .as_array()
            .shape()
            .iter()
            .rev()
            .map(|&d| d as u64)
            .collect();
        let row_bytes = shape.first().copied().unwrap_or(0);
        if row_bytes == 0 || !row_bytes.is_multiple_of(ty.block_bytes() as u64) {
            return Err(RequestError::new_err(format!(
                "tensor '{name}': rows of {row_bytes} bytes, a multiple of {} expected for {ty}",
                ty.block_bytes()
            )));
        }
        shape[0] = row_bytes / ty.block_bytes() as u64 * ty.block_len() as u64;
        let bytes = blocks.as_slice()?.to_vec();
        self.tensors.push(Pending {
            name: name.to_owned(),
            shape,
            ty,
            bytes,
        });
        Ok(())
    }

    /// Writes the file. Nothing stands under its name before it is complete and on disk.
    fn write(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| -> Result<(), quantsmith::gguf::Error> {
            let tensors = self
                .tensors
                .iter()
                .map(|t| (t.name.clone(), t.shape.clone(), t.ty));
            let plan = FilePlan::new(self.metadata.clone(), tensors)?;
            let writer = Writer::create(&self.path, &plan)?;
            for (index, tensor) in self.tensors.iter().enumerate() {
                writer.write_at(index, 0, &tensor.bytes)?;
            }
            writer.finish()
        })
        .map_err(IntoPy::into_py)
    }
}
