//! Block codecs on NumPy arrays.

use numpy::{IntoPyArray, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn};
use pyo3::prelude::*;
use quantsmith::gguf::TYPES;
use quantsmith::quants;

use crate::errors::{IntoPy, RequestError};
use crate::values::tensor_type;

/// Anything array-like as a contiguous array of `dtype`. Tensors of other libraries come by DLPack or by their
/// own `__array__`, so that none of them has to be imported.
pub(crate) fn as_array<'py, T: numpy::Element>(
    value: &Bound<'py, PyAny>,
    dtype: &str,
) -> PyResult<PyReadonlyArrayDyn<'py, T>> {
    let numpy = value.py().import("numpy")?;
    let value = match value.hasattr("__array__")? || !value.hasattr("__dlpack__")? {
        true => value.clone(),
        false => numpy.call_method1("from_dlpack", (value,))?,
    };
    let array = numpy.call_method1("ascontiguousarray", (value, dtype))?;
    Ok(array.cast_into::<PyArrayDyn<T>>()?.readonly())
}

/// The type table: name, weights in a block, bytes in a block, and whether `quantize` and `dequantize` take it.
#[pyfunction]
pub(crate) fn types() -> Vec<(&'static str, usize, usize, bool, bool)> {
    TYPES
        .iter()
        .map(|t| {
            (
                t.name,
                t.block_len,
                t.block_bytes,
                quants::can_encode(t.ty),
                quants::can_decode(t.ty),
            )
        })
        .collect()
}

/// Weights in a block of a type, and its bytes.
#[pyfunction]
#[pyo3(signature = (r#type, /))]
pub(crate) fn block_size(r#type: &str) -> PyResult<(usize, usize)> {
    let info = tensor_type(r#type)?.info();
    Ok((info.block_len, info.block_bytes))
}

/// Encodes an array whose last dimension is the row as blocks of a type: `uint8` of shape [..., bytes of a row].
/// `importance` holds one weight of importance for each column. The bytes equal ggml's.
#[pyfunction]
#[pyo3(signature = (array, r#type, /, importance = None))]
pub(crate) fn quantize<'py>(
    py: Python<'py>,
    array: &Bound<'py, PyAny>,
    r#type: &str,
    importance: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyArrayDyn<u8>>> {
    let ty = tensor_type(r#type)?;
    let array = as_array::<f32>(array, "float32")?;
    let importance = importance.map(|i| as_array::<f32>(i, "float32")).transpose()?;
    let mut shape = array.as_array().shape().to_vec();
    let Some(row_len) = shape.last().copied() else {
        return Err(RequestError::new_err("a scalar has no rows to quantize"));
    };
    let row_bytes = ty.row_bytes(row_len as u64).ok_or_else(|| {
        RequestError::new_err(format!(
            "rows of {row_len} weights: a multiple of {} expected for {ty}",
            ty.block_len()
        ))
    })? as usize;
    let source = array.as_slice()?;
    let importance = importance.as_ref().map(|i| i.as_slice()).transpose()?;
    let rows = source.len() / row_len.max(1);
    let mut blocks = vec![0u8; rows * row_bytes];
    py.detach(|| quants::encode(ty, source, row_len, importance, &mut blocks))
        .map_err(IntoPy::into_py)?;
    if let Some(last) = shape.last_mut() {
        *last = row_bytes;
    }
    blocks.into_pyarray(py).reshape(shape)
}

/// Decodes blocks of a type (`uint8`, the last dimension a row's bytes) to `float32` of shape [..., row].
#[pyfunction]
#[pyo3(signature = (blocks, r#type, /))]
pub(crate) fn dequantize<'py>(
    py: Python<'py>,
    blocks: &Bound<'py, PyAny>,
    r#type: &str,
) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
    let ty = tensor_type(r#type)?;
    let blocks = as_array::<u8>(blocks, "uint8")?;
    let mut shape = blocks.as_array().shape().to_vec();
    let source = blocks.as_slice()?;
    let row_bytes = shape.last().copied().unwrap_or(0);
    if !row_bytes.is_multiple_of(ty.block_bytes()) {
        return Err(RequestError::new_err(format!(
            "rows of {row_bytes} bytes: a multiple of {} expected for {ty}",
            ty.block_bytes()
        )));
    }
    let mut out = vec![0f32; source.len() / ty.block_bytes() * ty.block_len()];
    py.detach(|| quants::decode(ty, source, &mut out))
        .map_err(IntoPy::into_py)?;
    if let Some(last) = shape.last_mut() {
        *last = row_bytes / ty.block_bytes() * ty.block_len();
    }
    out.into_pyarray(py).reshape(shape)
}
