//! The contents of a pickle of tensors.

use safetensors::Dtype;

/// A value. Containers are places in the [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A number that is no place, count or size.
    Float,
    /// A range of the pickle's bytes.
    Text(usize, usize),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Global(Global),
    Storage(usize),
    Tensor(usize),
}

/// Names that a pickle may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    Size,
    /// `_rebuild_tensor`, `_v2` and `_v3`: whether the dtype is an argument.
    RebuildTensor(bool),
    RebuildParameter,
    /// A storage class, or `None` for bytes whose dtype the tensor tells.
    StorageType(Option<Dtype>),
    Dtype(Dtype),
}

/// A run of elements in a member of the file.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub(super) key: String,
    /// `None`: bytes of any type.
    pub(super) dtype: Option<Dtype>,
    /// Elements, or bytes where there is no dtype.
    pub(super) length: u64,
}

/// A view of a storage.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) storage: usize,
    pub(super) dtype: Dtype,
    /// In elements.
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    /// In elements.
    pub(super) stride: Vec<u64>,
}

/// Content of a pickle.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) root: Value,
    pub(super) sequences: Vec<Vec<Value>>,
    pub(super) dicts: Vec<Vec<(Value, Value)>>,
    pub(super) storages: Vec<Storage>,
    pub(super) tensors: Vec<Tensor>,
    /// Bytes up to the end of the pickle.
    pub(super) length: usize,
}

impl<'a> Pickle<'a> {
    pub(super) fn text(&self, value: Value) -> Option<&'a str> {
        match value {
            Value::Text(start, end) => std::str::from_utf8(&self.bytes[start..end]).ok(),
            _ => None,
        }
    }

    pub(super) fn items(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::Tuple(at) | Value::List(at) => Some(&self.sequences[at]),
            _ => None,
        }
    }

    pub(super) fn pairs(&self, value: Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Dict(at) => Some(&self.dicts[at]),
            _ => None,
        }
    }

    pub(super) fn numbers(&self, value: Value) -> Option<Vec<u64>> {
        let number = |v: &Value| match v {
            Value::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        };
        self.items(value)?.iter().map(number).collect()
    }
}

/// The object that a name stands for.
pub(super) fn global(module: &str, name: &str) -> Option<Global> {
    use Global as G;
    Some(match (module, name) {
        ("collections", "OrderedDict") => G::OrderedDict,
        ("torch", "Size") => G::Size,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => G::RebuildTensor(false),
        ("torch._utils", "_rebuild_tensor_v3") => G::RebuildTensor(true),
        ("torch._utils", "_rebuild_parameter") => G::RebuildParameter,
        ("torch.storage" | "torch", "UntypedStorage") => G::StorageType(None),
        ("torch", name) => match name.strip_suffix("Storage") {
            Some(class) => G::StorageType(Some(match class {
                "Float" => Dtype::F32,
                "Half" => Dtype::F16,
                "BFloat16" => Dtype::BF16,
                "Double" => Dtype::F64,
                "Long" => Dtype::I64,
                "Int" => Dtype::I32,
                "Short" => Dtype::I16,
                "Char" => Dtype::I8,
                "Byte" => Dtype::U8,
                "Bool" => Dtype::BOOL,
                _ => return None,
            })),
            None => G::Dtype(match name {
                "float32" => Dtype::F32,
                "float16" => Dtype::F16,
                "bfloat16" => Dtype::BF16,
                "float64" => Dtype::F64,
                "int64" => Dtype::I64,
                "int32" => Dtype::I32,
                "int16" => Dtype::I16,
                "int8" => Dtype::I8,
                "uint8" => Dtype::U8,
                "uint16" => Dtype::U16,
                "uint32" => Dtype::U32,
                "uint64" => Dtype::U64,
                "bool" => Dtype::BOOL,
                "float8_e4m3fn" => Dtype::F8_E4M3,
                "float8_e5m2" => Dtype::F8_E5M2,
                "float8_e8m0fnu" => Dtype::F8_E8M0,
                _ => return None,
            }),
        },
        _ => return None,
    })
}
