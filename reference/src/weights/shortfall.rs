//! Shortfalls of a model.

use std::fmt;

use gguf::{TensorInfo, TensorType, Value};

/// Kinds of shortfalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A tensor that the architecture needs is not there.
    MissingTensor,
    /// A tensor has another shape than the hyperparameters say.
    Shape,
    /// A tensor's type cannot be decoded.
    TensorType,
    /// A tensor that the architecture does not have.
    NotAskedFor,
    /// A key that the architecture needs is not there.
    MissingKey,
    /// A key has a value of another type, or one that makes no sense.
    Key,
    /// A size that llama.cpp does not know of this architecture; it can be run all the same.
    Size,
    /// Anything else, such as hyperparameters that contradict one another.
    Other,
}

/// Something that a model lacks, or that makes it no model of its architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    kind: Kind,
    subject: String,
    message: String,
}

impl Shortfall {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The tensor or key; empty for contradictions between several.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    fn new(kind: Kind, subject: &str, message: String) -> Self {
        Self {
            kind,
            subject: subject.to_owned(),
            message,
        }
    }

    /// A tensor that is not there. Dimensions of 0 are not known.
    pub(crate) fn missing_tensor(name: &str, shape: &[usize]) -> Self {
        let shape = shape.iter().map(|d| match d {
            0 => "any".to_owned(),
            d => d.to_string(),
        });
        let shape = shape.collect::<Vec<_>>().join(", ");
        let message = format!("tensor '{name}': expected it with shape [{shape}], found none");
        Self::new(Kind::MissingTensor, name, message)
    }

    pub(crate) fn shape(name: &str, found: &[u64], expected: &[usize]) -> Self {
        let message =
            format!("tensor '{name}': expected shape {expected:?} from the hyperparameters, found {found:?}");
        Self::new(Kind::Shape, name, message)
    }

    pub(crate) fn tensor_type(name: &str, found: TensorType) -> Self {
        let message = format!("tensor '{name}': expected a floating-point or quantized type, found {found}");
        Self::new(Kind::TensorType, name, message)
    }

    /// Factors of a rotation, which llama.cpp reads as they are.
    pub(crate) fn factors(name: &str, found: TensorType) -> Self {
        let message = format!("tensor '{name}': expected type f32, found {found}");
        Self::new(Kind::TensorType, name, message)
    }

    pub(crate) fn not_asked_for(tensor: &TensorInfo) -> Self {
        let message = format!(
            "tensor '{}': expected no such tensor in this architecture, found shape {:?}",
            tensor.name, tensor.shape
        );
        Self::new(Kind::NotAskedFor, &tensor.name, message)
    }

    /// A key that is not there, or whose value is not as expected.
    pub(crate) fn key(name: &str, found: Option<&Value>, expected: &str) -> Self {
        let kind = match found {
            None => Kind::MissingKey,
            Some(_) => Kind::Key,
        };
        let found = found.map_or_else(|| "none".to_owned(), shown);
        Self::new(
            kind,
            name,
            format!("key '{name}': expected {expected}, found {found}"),
        )
    }

    /// A key that llama.cpp needs in a model of this size, and that is not there.
    pub(crate) fn size(name: &str, expected: &str) -> Self {
        let message = format!("key '{name}': expected {expected}, found none");
        Self::new(Kind::Size, name, message)
    }

    pub(crate) fn other(message: String) -> Self {
        Self::new(Kind::Other, "", message)
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A value with its type; of an array, the number and type of its elements.
fn shown(value: &Value) -> String {
    let ty = value.value_type();
    match value {
        Value::Array(a) => format!("{} values ({})", a.len(), a.element_type()),
        Value::String(text) => format!("{:?} ({ty})", text.to_string_lossy()),
        Value::Bool(flag) => format!("{flag} ({ty})"),
        Value::U8(n) => format!("{n} ({ty})"),
        Value::I8(n) => format!("{n} ({ty})"),
        Value::U16(n) => format!("{n} ({ty})"),
        Value::I16(n) => format!("{n} ({ty})"),
        Value::U32(n) => format!("{n} ({ty})"),
        Value::I32(n) => format!("{n} ({ty})"),
        Value::U64(n) => format!("{n} ({ty})"),
        Value::I64(n) => format!("{n} ({ty})"),
        Value::F32(x) => format!("{x} ({ty})"),
        Value::F64(x) => format!("{x} ({ty})"),
    }
}
