//! A reader of the pickles in which PyTorch describes tensors. It executes nothing: of the names that a
//! pickle can refer to, it knows those below, and each stands for a few lines here.
//!
//! Values live in one arena and refer to each other by number, so that nothing here recurses, whatever is
//! nested in what, and all of them together are fewer than the pickle has bytes.

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
    bytes: &'a [u8],
    pub(super) root: Value,
    sequences: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
    pub(super) storages: Vec<Storage>,
    pub(super) tensors: Vec<Tensor>,
    /// Bytes up to the end of the pickle.
    pub(super) length: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the start of `bytes`.
    ///
    /// # Errors
    /// A message with the position, what was found and what was expected.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut machine = Machine {
            pickle: Pickle {
                bytes,
                root: Value::None,
                sequences: Vec::new(),
                dicts: Vec::new(),
                storages: Vec::new(),
                tensors: Vec::new(),
                length: 0,
            },
            at: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
        };
        machine
            .run()
            .map_err(|e| format!("pickle, byte {}: {e}", machine.at))?;
        machine.pickle.length = machine.at;
        Ok(machine.pickle)
    }

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

    fn numbers(&self, value: Value) -> Option<Vec<u64>> {
        let number = |v: &Value| match v {
            Value::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        };
        self.items(value)?.iter().map(number).collect()
    }
}

struct Machine<'a> {
    pickle: Pickle<'a>,
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    /// Values by number; numbers that were never stored are `None` inside.
    memo: Vec<Option<Value>>,
}

fn global(module: &str, name: &str) -> Option<Global> {
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

impl<'a> Machine<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length);
        let bytes = end.and_then(|end| self.pickle.bytes.get(self.at..end));
        let bytes = bytes.ok_or_else(|| {
            format!(
                "{length} bytes expected, {} are left",
                self.pickle.bytes.len() - self.at
            )
        })?;
        self.at += length;
        Ok(bytes)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.number::<1>()?[0])
    }

    fn length4(&mut self) -> Result<usize, String> {
        Ok(u32::from_le_bytes(self.number()?) as usize)
    }

    fn length8(&mut self) -> Result<usize, String> {
        usize::try_from(u64::from_le_bytes(self.number()?)).map_err(|_| "a length past 2^63".to_owned())
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let start = self.at;
        self.take(length)?;
        self.stack.push(Value::Text(start, self.at));
        Ok(())
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.pickle.bytes[self.at..];
        let length = rest
            .iter()
            .position(|&b| b == b'\n')
            .ok_or("a line without an end")?;
        let line = std::str::from_utf8(&rest[..length]).map_err(|_| "a name that is not UTF-8")?;
        self.at += length + 1;
        Ok(line)
    }

    fn pop(&mut self) -> Result<Value, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("a value expected on the stack".to_owned());
        }
        self.stack.pop().ok_or_else(|| "an empty stack".to_owned())
    }

    fn top(&self) -> Result<Value, String> {
        self.stack
            .last()
            .copied()
            .ok_or_else(|| "a value expected on the stack".to_owned())
    }

    /// The values since the last mark.
    fn marked(&mut self) -> Result<Vec<Value>, String> {
        let height = self.marks.pop().ok_or("a mark expected on the stack")?;
        Ok(self.stack.split_off(height))
    }

    fn tuple(&mut self, items: Vec<Value>) {
        self.pickle.sequences.push(items);
        self.stack.push(Value::Tuple(self.pickle.sequences.len() - 1));
    }

    fn list(&mut self, items: Vec<Value>) {
        self.pickle.sequences.push(items);
        self.stack.push(Value::List(self.pickle.sequences.len() - 1));
    }

    fn dict(&mut self, pairs: Vec<(Value, Value)>) {
        self.pickle.dicts.push(pairs);
        self.stack.push(Value::Dict(self.pickle.dicts.len() - 1));
    }

    fn last_items(&mut self, count: usize) -> Result<Vec<Value>, String> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        Ok(items)
    }

    fn remember(&mut self, number: usize) -> Result<(), String> {
        // Pickles number what they store from 0 on, so that there is less of it than bytes.
        if number >= self.pickle.bytes.len() {
            return Err(format!("memo number {number}"));
        }
        if self.memo.len() <= number {
            self.memo.resize(number + 1, None);
        }
        self.memo[number] = Some(self.top()?);
        Ok(())
    }

    fn recall(&mut self, number: usize) -> Result<(), String> {
        let value = self.memo.get(number).copied().flatten();
        self.stack
            .push(value.ok_or_else(|| format!("memo number {number} has no value"))?);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), String> {
        let known = global(module, name).ok_or_else(|| {
            format!("it refers to {module}.{name}, which is no part of a tensor; nothing was executed")
        })?;
        self.stack.push(Value::Global(known));
        Ok(())
    }

    fn extend(&mut self, items: Vec<Value>) -> Result<(), String> {
        match self.top()? {
            Value::List(at) => {
                self.pickle.sequences[at].extend(items);
                Ok(())
            }
            other => Err(format!("{other:?}, a list expected")),
        }
    }

    fn insert(&mut self, items: &[Value]) -> Result<(), String> {
        let (pairs, rest) = items.as_chunks::<2>();
        let Value::Dict(at) = self.top()? else {
            return Err(format!("{:?}, a dict expected", self.top()?));
        };
        if !rest.is_empty() {
            return Err("a key without a value".to_owned());
        }
        self.pickle.dicts[at].extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let arguments = self.pop()?;
        let callee = self.pop()?;
        let Value::Global(callee) = callee else {
            return Err(format!("a call of {callee:?}"));
        };
        let items = self
            .pickle
            .items(arguments)
            .ok_or("a call without a tuple of arguments")?
            .to_vec();
        match (callee, &items[..]) {
            (Global::OrderedDict, []) => self.dict(Vec::new()),
            (Global::OrderedDict, [list]) => {
                let mut pairs = Vec::new();
                for &item in self.pickle.items(*list).ok_or("a list of pairs expected")? {
                    match self.pickle.items(item) {
                        Some(&[key, value]) => pairs.push((key, value)),
                        _ => return Err("a pair expected".to_owned()),
                    }
                }
                self.dict(pairs);
            }
            (Global::Size, [shape]) => {
                let items = self.pickle.items(*shape).ok_or("a tuple expected")?.to_vec();
                self.tuple(items);
            }
            (Global::RebuildParameter, &[tensor @ Value::Tensor(_), ..]) => self.stack.push(tensor),
            (Global::RebuildTensor(with_dtype), &[storage, offset, shape, stride, ref rest @ ..]) => {
                let tensor = self.tensor(with_dtype, storage, offset, (shape, stride), rest)?;
                self.pickle.tensors.push(tensor);
                self.stack.push(Value::Tensor(self.pickle.tensors.len() - 1));
            }
            _ => return Err(format!("a call of {callee:?} with {} arguments", items.len())),
        }
        Ok(())
    }

    fn tensor(
        &self,
        with_dtype: bool,
        storage: Value,
        offset: Value,
        (shape, stride): (Value, Value),
        rest: &[Value],
    ) -> Result<Tensor, String> {
        let (Value::Storage(storage), Value::Int(offset)) = (storage, offset) else {
            return Err("a tensor without storage or offset".to_owned());
        };
        let dtype = match (with_dtype, rest, self.pickle.storages[storage].dtype) {
            (true, [_, _, Value::Global(Global::Dtype(dtype)), ..], _) => *dtype,
            (false, _, Some(dtype)) => dtype,
            _ => return Err("a tensor without dtype".to_owned()),
        };
        let numbers = self.pickle.numbers(shape).zip(self.pickle.numbers(stride));
        let (Ok(offset), Some((shape, stride))) = (u64::try_from(offset), numbers) else {
            return Err("a negative size, stride or offset".to_owned());
        };
        if shape.len() != stride.len() {
            return Err(format!("{} sizes and {} strides", shape.len(), stride.len()));
        }
        Ok(Tensor {
            storage,
            dtype,
            offset,
            shape,
            stride,
        })
    }

    /// A storage, which a pickle refers to as ("storage", class, key, device, length).
    fn storage(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let found = match self.pickle.items(id) {
            Some(
                &[
                    tag,
                    Value::Global(Global::StorageType(dtype)),
                    key,
                    _,
                    Value::Int(length),
                    ref rest @ ..,
                ],
            ) if self.pickle.text(tag) == Some("storage") && matches!(rest, [] | [Value::None]) => {
                let key = self.pickle.text(key);
                key.zip(u64::try_from(length).ok()).map(|(key, length)| Storage {
                    key: key.to_owned(),
                    dtype,
                    length,
                })
            }
            _ => None,
        };
        self.pickle
            .storages
            .push(found.ok_or("a reference that is no storage")?);
        self.stack.push(Value::Storage(self.pickle.storages.len() - 1));
        Ok(())
    }

    fn run(&mut self) -> Result<(), String> {
        loop {
            match self.byte()? {
                0x80 => {
                    self.byte()?;
                }
                // FRAME
                0x95 => {
                    self.take(8)?;
                }
                b'.' => {
                    self.pickle.root = self.pop()?;
                    return Ok(());
                }
                b'(' => self.marks.push(self.stack.len()),
                b'0' => {
                    self.pop()?;
                }
                b'1' => {
                    self.marked()?;
                }
                b'2' => self.stack.push(self.top()?),
                b'N' => self.stack.push(Value::None),
                0x88 => self.stack.push(Value::Bool(true)),
                0x89 => self.stack.push(Value::Bool(false)),
                b'J' => {
                    let n = i32::from_le_bytes(self.number()?);
                    self.stack.push(Value::Int(n.into()));
                }
                b'K' => {
                    let n = self.byte()?;
                    self.stack.push(Value::Int(n.into()));
                }
                b'M' => {
                    let n = u16::from_le_bytes(self.number()?);
                    self.stack.push(Value::Int(n.into()));
                }
                // LONG1
                0x8A => {
                    let length = self.byte()? as usize;
                    let bytes = self.take(length)?;
                    self.stack.push(long(bytes));
                }
                b'G' => {
                    self.take(8)?;
                    self.stack.push(Value::Float);
                }
                b'X' | b'T' | b'B' => {
                    let length = self.length4()?;
                    self.text(length)?;
                }
                0x8C | b'U' | b'C' => {
                    let length = self.byte()? as usize;
                    self.text(length)?;
                }
                // BINUNICODE8, BINBYTES8
                0x8D | 0x8E => {
                    let length = self.length8()?;
                    self.text(length)?;
                }
                b')' => self.tuple(Vec::new()),
                b't' => {
                    let items = self.marked()?;
                    self.tuple(items);
                }
                op @ 0x85..=0x87 => {
                    let items = self.last_items(usize::from(op - 0x84))?;
                    self.tuple(items);
                }
                b']' => self.list(Vec::new()),
                b'l' => {
                    let items = self.marked()?;
                    self.list(items);
                }
                b'a' => {
                    let item = self.pop()?;
                    self.extend(vec![item])?;
                }
                b'e' => {
                    let items = self.marked()?;
                    self.extend(items)?;
                }
                b'}' => self.dict(Vec::new()),
                b'd' => {
                    let items = self.marked()?;
                    self.dict(Vec::new());
                    self.insert(&items)?;
                }
                b's' => {
                    let items = self.last_items(2)?;
                    self.insert(&items)?;
                }
                b'u' => {
                    let items = self.marked()?;
                    self.insert(&items)?;
                }
                b'q' => {
                    let number = self.byte()?;
                    self.remember(number.into())?;
                }
                b'r' => {
                    let number = self.length4()?;
                    self.remember(number)?;
                }
                // MEMOIZE
                0x94 => self.remember(self.memo.len())?,
                b'h' => {
                    let number = self.byte()?;
                    self.recall(number.into())?;
                }
                b'j' => {
                    let number = self.length4()?;
                    self.recall(number)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(module, name)?;
                }
                // STACK_GLOBAL
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let texts = self.pickle.text(module).zip(self.pickle.text(name));
                    let (module, name) = texts.ok_or("a name that is no text")?;
                    self.global(module, name)?;
                }
                b'Q' => self.storage()?,
                b'R' => self.call()?,
                // BUILD: attributes of a dict or tensor, of which none concerns its weights.
                b'b' => {
                    self.pop()?;
                    if !matches!(self.top()?, Value::Dict(_) | Value::Tensor(_)) {
                        return Err(format!("attributes of {:?}", self.top()?));
                    }
                }
                other => {
                    return Err(format!("opcode {other:#04x}, which no tensor needs"));
                }
            }
        }
    }
}

/// An integer of some little-endian bytes; one that no size has is no number here.
fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::Float;
    }
    let sign = bytes.last().is_some_and(|b| b & 0x80 != 0);
    let mut wide = if sign { [0xFF; 8] } else { [0; 8] };
    wide[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(wide))
}
