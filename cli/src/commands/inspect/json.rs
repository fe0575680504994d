//! The report for machines.

use gguf::{Array, GgufModel, GgufString, Value};
use serde_json::{Map, Value as Json, json};

use super::{Summary, listed};

/// One object with everything but the weights.
pub(super) fn report(model: &GgufModel, summary: &Summary) -> Json {
    let files: Vec<Json> = model
        .files()
        .iter()
        .map(|f| {
            json!({
                "path": convert::path_json(f.path()),
                "version": f.version(),
                "endian": f.endian().to_string(),
                "alignment": f.alignment(),
                "size_bytes": f.length(),
                "data_offset": f.data_offset(),
                "has_data": f.has_data(),
            })
        })
        .collect();
    let types: Vec<Json> = summary
        .types
        .iter()
        .map(|t| json!({ "type": t.name, "tensors": t.tensors, "weights": t.weights, "bytes": t.bytes }))
        .collect();
    let metadata: Map<String, Json> = model
        .metadata()
        .iter()
        .map(|(k, v)| (k.to_string(), entry(v)))
        .collect();
    let tensors: Vec<Json> = listed(model)
        .iter()
        .map(|t| {
            json!({
                "name": t.name,
                "type": t.ty,
                "shape": t.shape,
                "offset": t.offset,
                "bytes": t.bytes,
                "file": t.file,
            })
        })
        .collect();
    json!({
        "path": convert::path_json(model.path()),
        "architecture": model.metadata().architecture(),
        "size_bytes": summary.file_bytes,
        "tensor_bytes": summary.tensor_bytes,
        "tensor_count": tensors.len(),
        "weights": summary.weights,
        "bits_per_weight": summary.bits_per_weight(),
        "types": types,
        "files": files,
        "metadata": metadata,
        "tensors": tensors,
    })
}

/// A value with its type.
pub(crate) fn entry(value: &Value) -> Json {
    let ty = value.value_type().name();
    match value {
        Value::Array(a) => json!({
            "type": ty,
            "element_type": a.element_type().name(),
            "length": a.len(),
            "value": array(a),
        }),
        other => json!({ "type": ty, "value": scalar(other) }),
    }
}

fn scalar(value: &Value) -> Json {
    match value {
        Value::U8(v) => json!(v),
        Value::I8(v) => json!(v),
        Value::U16(v) => json!(v),
        Value::I16(v) => json!(v),
        Value::U32(v) => json!(v),
        Value::I32(v) => json!(v),
        Value::U64(v) => json!(v),
        Value::I64(v) => json!(v),
        Value::F32(v) => single(*v),
        Value::F64(v) => double(*v),
        Value::Bool(v) => json!(v),
        Value::String(v) => string(v),
        Value::Array(v) => array(v),
    }
}

fn array(array: &Array) -> Json {
    match array {
        Array::U8(v) => json!(v),
        Array::I8(v) => json!(v),
        Array::U16(v) => json!(v),
        Array::I16(v) => json!(v),
        Array::U32(v) => json!(v),
        Array::I32(v) => json!(v),
        Array::U64(v) => json!(v),
        Array::I64(v) => json!(v),
        Array::F32(v) => v.iter().map(|&x| single(x)).collect(),
        Array::F64(v) => v.iter().map(|&x| double(x)).collect(),
        Array::Bool(v) => json!(v),
        Array::String(v) => v.iter().map(string).collect(),
        // Nesting is bounded by the reader.
        Array::Array(v) => v.iter().map(self::array).collect(),
    }
}

/// The text; bytes that are not UTF-8 show as U+FFFD.
fn string(s: &GgufString) -> Json {
    json!(s.to_string_lossy())
}

/// The shortest decimal that reads back as the same single-precision number.
fn single(v: f32) -> Json {
    match v.to_string().parse() {
        Ok(shortest) if v.is_finite() => double(shortest),
        _ => json!(v.to_string()),
    }
}

/// JSON has no infinities and no NaN: they are strings.
fn double(v: f64) -> Json {
    if v.is_finite() {
        json!(v)
    } else {
        json!(v.to_string())
    }
}
