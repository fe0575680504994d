//! Metadata values, kept exactly as a file holds them: value types, string bytes and key order.

use std::fmt::{self, Display, Formatter};

use indexmap::IndexMap;

/// The type tag of a metadata value. The discriminant is the id stored in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[allow(missing_docs, reason = "the variants are the format's own names")]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    /// The type stored as `id` in a file.
    pub fn from_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::String,
            9 => Self::Array,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    /// The id stored in a file.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// The name as ggml prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "str",
            Self::Array => "arr",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }
}

impl Display for ValueType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A string as stored: bytes that are meant to be UTF-8 but are not trusted to be.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct GgufString(pub Vec<u8>);

impl GgufString {
    /// The text, when the bytes are valid UTF-8.
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The text, with invalid bytes replaced.
    pub fn to_string_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl fmt::Debug for GgufString {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string_lossy())
    }
}

impl From<&str> for GgufString {
    fn from(s: &str) -> Self {
        Self(s.as_bytes().to_vec())
    }
}

impl From<String> for GgufString {
    fn from(s: String) -> Self {
        Self(s.into_bytes())
    }
}

/// A metadata value. As text it is one line: strings in quotes and escaped, arrays as [`Array`] says.
///
/// ```
/// # use quantsmith_gguf as gguf;
/// use gguf::Value;
///
/// assert_eq!(Value::from(32u32).to_string(), "32");
/// assert_eq!(Value::from("two\nlines").to_string(), r#""two\nlines""#);
/// assert_eq!(Value::from(vec![1.5f32, 2.0]).to_string(), "[1.5, 2]");
/// assert_eq!(Value::from(vec![0i32; 2048]).to_string(), "[0, 0, 0, 0, 0, 0, 0, 0, and 2040 more]");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the variants are the format's own names")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(GgufString),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array of metadata values of one element type. As text it has the first eight elements, and the number of those that
/// follow.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the variants are the format's own names")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<GgufString>),
    Array(Vec<Self>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Value {
    /// The type tag.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// Any integer value that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::U64(v) => Some(v),
            Self::I8(v) => v.try_into().ok(),
            Self::I16(v) => v.try_into().ok(),
            Self::I32(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// A floating-point value.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(v) => Some(v.into()),
            Self::F64(v) => Some(v),
            _ => None,
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(v) = *self { Some(v) } else { None }
    }

    /// A string that is valid UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(v) = self {
            v.to_str()
        } else {
            None
        }
    }

    /// An array.
    pub fn as_array(&self) -> Option<&Array> {
        if let Self::Array(v) = self { Some(v) } else { None }
    }
}

impl Array {
    /// The type tag of the elements.
    pub fn element_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::String(v) => v.len(),
            Self::Array(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Elements of an array that its text has.
const SHOWN: usize = 8;

fn fmt_list<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    text: fn(&T, &mut Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    f.write_str("[")?;
    for (i, item) in items.iter().take(SHOWN).enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        text(item, f)?;
    }
    if items.len() > SHOWN {
        write!(f, ", and {} more", items.len() - SHOWN)?;
    }
    f.write_str("]")
}

impl Display for Array {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(v) => fmt_list(f, v, Display::fmt),
            Self::I8(v) => fmt_list(f, v, Display::fmt),
            Self::U16(v) => fmt_list(f, v, Display::fmt),
            Self::I16(v) => fmt_list(f, v, Display::fmt),
            Self::U32(v) => fmt_list(f, v, Display::fmt),
            Self::I32(v) => fmt_list(f, v, Display::fmt),
            Self::F32(v) => fmt_list(f, v, Display::fmt),
            Self::Bool(v) => fmt_list(f, v, Display::fmt),
            Self::String(v) => fmt_list(f, v, fmt::Debug::fmt),
            Self::Array(v) => fmt_list(f, v, Display::fmt),
            Self::U64(v) => fmt_list(f, v, Display::fmt),
            Self::I64(v) => fmt_list(f, v, Display::fmt),
            Self::F64(v) => fmt_list(f, v, Display::fmt),
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(v) => v.fmt(f),
            Self::I8(v) => v.fmt(f),
            Self::U16(v) => v.fmt(f),
            Self::I16(v) => v.fmt(f),
            Self::U32(v) => v.fmt(f),
            Self::I32(v) => v.fmt(f),
            Self::F32(v) => v.fmt(f),
            Self::Bool(v) => v.fmt(f),
            Self::String(v) => fmt::Debug::fmt(v, f),
            Self::Array(v) => v.fmt(f),
            Self::U64(v) => v.fmt(f),
            Self::I64(v) => v.fmt(f),
            Self::F64(v) => v.fmt(f),
        }
    }
}

macro_rules! from_scalar {
    ($($rust:ty => $variant:ident),* $(,)?) => {$(
        impl From<$rust> for Value {
            fn from(v: $rust) -> Self { Self::$variant(v.into()) }
        }
        impl From<Vec<$rust>> for Value {
            fn from(v: Vec<$rust>) -> Self {
                Self::Array(Array::$variant(v.into_iter().map(Into::into).collect()))
            }
        }
    )*};
}
from_scalar! {
    u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f32 => F32, bool => Bool,
    u64 => U64, i64 => I64, f64 => F64, &str => String, String => String, GgufString => String,
}

/// Metadata of one file: keys in file order, each with its value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(pub(crate) IndexMap<String, Value>);

impl Metadata {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The value of a key, to change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.0.get_mut(key)
    }

    /// Sets a key the way ggml's `gguf_set_val_*` does: an existing key is removed and the new pair
    /// goes to the end.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let key = key.into();
        self.0.shift_remove(&key);
        self.0.insert(key, value.into());
    }

    /// Sets a key, keeping the position of one that exists.
    pub fn set_in_place(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        self.0.insert(key.into(), value.into());
    }

    /// Moves a key to a place in the order, keeping that of the others. Nothing moves without such a key or place.
    pub fn move_to(&mut self, key: &str, place: usize) {
        if let Some(from) = self.0.get_index_of(key).filter(|_| place < self.0.len()) {
            self.0.move_index(from, place);
        }
    }

    /// Removes a key, keeping the order of the others.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.0.shift_remove(key)
    }

    /// Any non-negative integer value of a key.
    pub fn get_u64(&self, key: &str) -> Option<u64> {
        self.get(key).and_then(Value::as_u64)
    }

    /// A floating-point value of a key.
    pub fn get_f32(&self, key: &str) -> Option<f32> {
        self.get(key).and_then(Value::as_f64).map(|v| v as f32)
    }

    /// A boolean value of a key.
    pub fn get_bool(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Value::as_bool)
    }

    /// A UTF-8 string value of a key.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// `general.architecture`, or "" when it is absent.
    pub fn architecture(&self) -> &str {
        self.get_str("general.architecture").unwrap_or("")
    }

    /// The value of `{architecture}.{suffix}`.
    pub fn arch(&self, suffix: &str) -> Option<&Value> {
        self.get(&format!("{}.{suffix}", self.architecture()))
    }

    /// Moves a key to the place behind another one, unless it is before that already or one of them is absent.
    pub fn move_behind(&mut self, key: &str, other: &str) {
        let at = |key: &str| self.0.get_index_of(key);
        if let (Some(from), Some(to)) = (at(key), at(other))
            && to < from
        {
            self.0.move_index(from, to + 1);
        }
    }

    /// Pairs in file order, the values to change.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&str, &mut Value)> {
        self.0.iter_mut().map(|(key, value)| (key.as_str(), value))
    }

    /// Pairs in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Metadata {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    /// Pairs in file order.
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().collect::<Vec<_>>().into_iter()
    }
}
