//! Metadata values as Python objects, and back.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};
use quantsmith::gguf::{Array, GgufString, Metadata, TensorType, Value, ValueType};

use crate::errors::RequestError;

/// The type of this name, in any case.
pub(crate) fn tensor_type(name: &str) -> PyResult<TensorType> {
    TensorType::from_name(name).ok_or_else(|| {
        RequestError::new_err(format!(
            "type {name:?} is unknown; quantsmith.types() lists the types"
        ))
    })
}

/// Text as `str`, and as `bytes` where it is not UTF-8.
fn text<'py>(py: Python<'py>, s: &GgufString) -> Bound<'py, PyAny> {
    match s.to_str() {
        Some(text) => PyString::new(py, text).into_any(),
        None => PyBytes::new(py, &s.0).into_any(),
    }
}

/// All keys, in file order.
pub(crate) fn metadata<'py>(py: Python<'py>, metadata: &Metadata) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in metadata.iter() {
        dict.set_item(key, to_python(py, value)?)?;
    }
    Ok(dict)
}

fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::U8(v) => v.into_pyobject(py)?.into_any(),
        Value::I8(v) => v.into_pyobject(py)?.into_any(),
        Value::U16(v) => v.into_pyobject(py)?.into_any(),
        Value::I16(v) => v.into_pyobject(py)?.into_any(),
        Value::U32(v) => v.into_pyobject(py)?.into_any(),
        Value::I32(v) => v.into_pyobject(py)?.into_any(),
        Value::U64(v) => v.into_pyobject(py)?.into_any(),
        Value::I64(v) => v.into_pyobject(py)?.into_any(),
        Value::F32(v) => f64::from(*v).into_pyobject(py)?.into_any(),
        Value::F64(v) => v.into_pyobject(py)?.into_any(),
        Value::Bool(v) => PyBool::new(py, *v).to_owned().into_any(),
        Value::String(v) => text(py, v),
        Value::Array(v) => list(py, v)?.into_any(),
    })
}

fn list<'py>(py: Python<'py>, array: &Array) -> PyResult<Bound<'py, PyList>> {
    match array {
        Array::U8(v) => PyList::new(py, v),
        Array::I8(v) => PyList::new(py, v),
        Array::U16(v) => PyList::new(py, v),
        Array::I16(v) => PyList::new(py, v),
        Array::U32(v) => PyList::new(py, v),
        Array::I32(v) => PyList::new(py, v),
        Array::U64(v) => PyList::new(py, v),
        Array::I64(v) => PyList::new(py, v),
        Array::F32(v) => PyList::new(py, v),
        Array::F64(v) => PyList::new(py, v),
        Array::Bool(v) => PyList::new(py, v),
        Array::String(v) => PyList::new(py, v.iter().map(|s| text(py, s))),
        Array::Array(v) => {
            let inner = v.iter().map(|a| list(py, a)).collect::<PyResult<Vec<_>>>()?;
            PyList::new(py, inner)
        }
    }
}

/// The value type that a Python value has by itself: `str`, `bool`, `u32` (or `i64`, `u64` where an integer does
/// not fit), `f32`.
fn natural(value: &Bound<'_, PyAny>) -> PyResult<ValueType> {
    if value.is_instance_of::<PyBool>() {
        Ok(ValueType::Bool)
    } else if value.is_instance_of::<PyInt>() {
        if value.extract::<u32>().is_ok() {
            Ok(ValueType::U32)
        } else if value.extract::<i64>().is_ok() {
            Ok(ValueType::I64)
        } else {
            Ok(ValueType::U64)
        }
    } else if value.is_instance_of::<PyFloat>() {
        Ok(ValueType::F32)
    } else if value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>() {
        Ok(ValueType::String)
    } else {
        Err(PyTypeError::new_err(format!(
            "{} is no metadata value: str, bytes, bool, int, float or a list of one of them expected",
            value.get_type().name()?
        )))
    }
}

fn named(name: &str) -> PyResult<ValueType> {
    let alias = match name {
        "string" | "str" => "str",
        other => other,
    };
    (0..13)
        .filter_map(ValueType::from_id)
        .find(|t| t.name() == alias && *t != ValueType::Array)
        .ok_or_else(|| {
            RequestError::new_err(format!(
                "value type {name:?} is unknown; these are: u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool str"
            ))
        })
}

/// A Python value as a metadata value of type `ty` (for a list: of its elements), or of its natural type.
pub(crate) fn from_python(value: &Bound<'_, PyAny>, ty: Option<&str>) -> PyResult<Value> {
    let wanted = ty.map(named).transpose()?;
    let is_list =
        !value.is_instance_of::<PyString>() && !value.is_instance_of::<PyBytes>() && value.try_iter().is_ok();
    if !is_list {
        let ty = wanted.map_or_else(|| natural(value), Ok)?;
        return scalar(value, ty);
    }
    let items: Vec<Bound<'_, PyAny>> = value.try_iter()?.collect::<PyResult<_>>()?;
    let ty = match (wanted, items.first()) {
        (Some(ty), _) => ty,
        // The widest of the elements' own types.
        (None, Some(_)) => {
            let natural: Vec<ValueType> = items.iter().map(natural).collect::<PyResult<_>>()?;
            let first = natural[0];
            match natural.iter().all(|t| *t == first) {
                true => first,
                false
                    if natural
                        .iter()
                        .all(|t| matches!(t, ValueType::U32 | ValueType::I64)) =>
                {
                    ValueType::I64
                }
                false => {
                    return Err(PyTypeError::new_err(
                        "the elements of a list have different types",
                    ));
                }
            }
        }
        (None, None) => {
            return Err(PyValueError::new_err(
                "an empty list needs the type of its elements",
            ));
        }
    };
    array(&items, ty)
}

fn bytes(value: &Bound<'_, PyAny>) -> PyResult<GgufString> {
    if let Ok(b) = value.cast::<PyBytes>() {
        return Ok(GgufString(b.as_bytes().to_vec()));
    }
    Ok(GgufString(value.extract::<String>()?.into_bytes()))
}

fn scalar(value: &Bound<'_, PyAny>, ty: ValueType) -> PyResult<Value> {
    Ok(match ty {
        ValueType::U8 => Value::U8(value.extract()?),
        ValueType::I8 => Value::I8(value.extract()?),
        ValueType::U16 => Value::U16(value.extract()?),
        ValueType::I16 => Value::I16(value.extract()?),
        ValueType::U32 => Value::U32(value.extract()?),
        ValueType::I32 => Value::I32(value.extract()?),
        ValueType::U64 => Value::U64(value.extract()?),
        ValueType::I64 => Value::I64(value.extract()?),
        ValueType::F32 => Value::F32(value.extract()?),
        ValueType::F64 => Value::F64(value.extract()?),
        ValueType::Bool => Value::Bool(value.extract()?),
        ValueType::String => Value::String(bytes(value)?),
        ValueType::Array => return Err(PyTypeError::new_err("an array needs a list")),
    })
}

fn array(items: &[Bound<'_, PyAny>], ty: ValueType) -> PyResult<Value> {
    fn all<'a, 'py, T: FromPyObject<'a, 'py>>(items: &'a [Bound<'py, PyAny>]) -> PyResult<Vec<T>> {
        items
            .iter()
            .map(|i| i.extract::<T>().map_err(Into::into))
            .collect()
    }
    Ok(Value::Array(match ty {
        ValueType::U8 => Array::U8(all(items)?),
        ValueType::I8 => Array::I8(all(items)?),
        ValueType::U16 => Array::U16(all(items)?),
        ValueType::I16 => Array::I16(all(items)?),
        ValueType::U32 => Array::U32(all(items)?),
        ValueType::I32 => Array::I32(all(items)?),
        ValueType::U64 => Array::U64(all(items)?),
        ValueType::I64 => Array::I64(all(items)?),
        ValueType::F32 => Array::F32(all(items)?),
        ValueType::F64 => Array::F64(all(items)?),
        ValueType::Bool => Array::Bool(all(items)?),
        ValueType::String => Array::String(items.iter().map(bytes).collect::<PyResult<_>>()?),
        ValueType::Array => return Err(PyTypeError::new_err("an array of arrays is not written")),
    }))
}
