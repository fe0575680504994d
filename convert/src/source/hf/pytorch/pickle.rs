//! A reader of the pickles in which PyTorch describes tensors. It executes nothing: of the names that a
//! pickle can refer to, it knows those below, and each stands for a few lines here.
//!
//! Values live in one arena and refer to each other by number, so that nothing here recurses, whatever is
//! nested in what, and all of them together are fewer than the pickle has bytes.

use super::opcodes as op;
use super::values::{Global, Pickle, Storage, Tensor, Value, global};

/// Reads the pickle at the start of `bytes`.
///
/// # Errors
/// A message with the position, what was found and what was expected.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle<'_>, String> {
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

struct Machine<'a> {
    pickle: Pickle<'a>,
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    /// Values by number; numbers that were never stored are `None` inside.
    memo: Vec<Option<Value>>,
}

impl<'a> Machine<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length);
        let bytes = end.and_then(|end| self.pickle.bytes.get(self.at..end));
        let bytes = bytes.ok_or_else(|| {
            format!(
                "expected {length} bytes, found {}",
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
        usize::try_from(u64::from_le_bytes(self.number()?))
            .map_err(|_| "expected a length below 2^63, found more".to_owned())
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
            .ok_or("expected the end of a line, found none")?;
        let line = std::str::from_utf8(&rest[..length])
            .map_err(|_| "expected a name in UTF-8, found other bytes")?;
        self.at += length + 1;
        Ok(line)
    }

    fn pop(&mut self) -> Result<Value, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("expected a value on the stack, found none".to_owned());
        }
        self.stack
            .pop()
            .ok_or_else(|| "expected a value on the stack, found none".to_owned())
    }

    fn top(&self) -> Result<Value, String> {
        self.stack
            .last()
            .copied()
            .ok_or_else(|| "expected a value on the stack, found none".to_owned())
    }

    /// The values since the last mark.
    fn marked(&mut self) -> Result<Vec<Value>, String> {
        let height = self
            .marks
            .pop()
            .ok_or("expected a mark on the stack, found none")?;
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
            return Err(format!(
                "expected a memo number below the length of the pickle, found {number}"
            ));
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
            .push(value.ok_or_else(|| format!("expected a value of the memo number {number}, found none"))?);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), String> {
        let known = global(module, name).ok_or_else(|| {
            format!("expected a part of a tensor, found {module}.{name}; nothing was executed")
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
            other => Err(format!("expected a list, found {other:?}")),
        }
    }

    fn insert(&mut self, items: &[Value]) -> Result<(), String> {
        let (pairs, rest) = items.as_chunks::<2>();
        let Value::Dict(at) = self.top()? else {
            return Err(format!("expected a dict, found {:?}", self.top()?));
        };
        if !rest.is_empty() {
            return Err("expected a value for each key, found a key without one".to_owned());
        }
        self.pickle.dicts[at].extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let arguments = self.pop()?;
        let callee = self.pop()?;
        let Value::Global(callee) = callee else {
            return Err(format!(
                "expected a call of a part of a tensor, found one of {callee:?}"
            ));
        };
        let items = self
            .pickle
            .items(arguments)
            .ok_or("expected a tuple of arguments, found none")?
            .to_vec();
        match (callee, &items[..]) {
            (Global::OrderedDict, []) => self.dict(Vec::new()),
            (Global::OrderedDict, [list]) => {
                let mut pairs = Vec::new();
                for &item in self
                    .pickle
                    .items(*list)
                    .ok_or("expected a list of pairs, found none")?
                {
                    match self.pickle.items(item) {
                        Some(&[key, value]) => pairs.push((key, value)),
                        _ => return Err("expected a pair, found none".to_owned()),
                    }
                }
                self.dict(pairs);
            }
            (Global::Size, [shape]) => {
                let items = self
                    .pickle
                    .items(*shape)
                    .ok_or("expected a tuple, found none")?
                    .to_vec();
                self.tuple(items);
            }
            (Global::RebuildParameter, &[tensor @ Value::Tensor(_), ..]) => self.stack.push(tensor),
            (Global::RebuildTensor(with_dtype), &[storage, offset, shape, stride, ref rest @ ..]) => {
                let tensor = self.tensor(with_dtype, storage, offset, (shape, stride), rest)?;
                self.pickle.tensors.push(tensor);
                self.stack.push(Value::Tensor(self.pickle.tensors.len() - 1));
            }
            _ => {
                return Err(format!(
                    "expected other arguments of {callee:?}, found {}",
                    items.len()
                ));
            }
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
            return Err("expected a tensor's storage and offset, found none".to_owned());
        };
        let dtype = match (with_dtype, rest, self.pickle.storages[storage].dtype) {
            (true, [_, _, Value::Global(Global::Dtype(dtype)), ..], _) => *dtype,
            (false, _, Some(dtype)) => dtype,
            _ => return Err("expected a tensor's dtype, found none".to_owned()),
        };
        let numbers = self.pickle.numbers(shape).zip(self.pickle.numbers(stride));
        let (Ok(offset), Some((shape, stride))) = (u64::try_from(offset), numbers) else {
            return Err(
                "expected sizes, strides and an offset that are not negative, found others".to_owned(),
            );
        };
        if shape.len() != stride.len() {
            return Err(format!(
                "expected {} strides, one for each size, found {}",
                shape.len(),
                stride.len()
            ));
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
            .push(found.ok_or("expected a reference to a storage, found another")?);
        self.stack.push(Value::Storage(self.pickle.storages.len() - 1));
        Ok(())
    }

    fn run(&mut self) -> Result<(), String> {
        loop {
            match self.byte()? {
                op::PROTO => {
                    self.byte()?;
                }
                op::FRAME => {
                    self.take(8)?;
                }
                op::STOP => {
                    self.pickle.root = self.pop()?;
                    return Ok(());
                }
                op::MARK => self.marks.push(self.stack.len()),
                op::POP => {
                    self.pop()?;
                }
                op::POP_MARK => {
                    self.marked()?;
                }
                op::DUP => self.stack.push(self.top()?),
                op => {
                    if !(self.scalar(op)? || self.container(op)? || self.memo(op)? || self.object(op)?) {
                        return Err(format!("expected an opcode that tensors need, found {op:#04x}"));
                    }
                }
            }
        }
    }

    /// Whether an opcode pushes a number or text.
    fn scalar(&mut self, op: u8) -> Result<bool, String> {
        match op {
            op::NONE => self.stack.push(Value::None),
            op::NEWTRUE => self.stack.push(Value::Bool(true)),
            op::NEWFALSE => self.stack.push(Value::Bool(false)),
            op::BININT => {
                let n = i32::from_le_bytes(self.number()?);
                self.stack.push(Value::Int(n.into()));
            }
            op::BININT1 => {
                let n = self.byte()?;
                self.stack.push(Value::Int(n.into()));
            }
            op::BININT2 => {
                let n = u16::from_le_bytes(self.number()?);
                self.stack.push(Value::Int(n.into()));
            }
            op::LONG1 => {
                let length = self.byte()? as usize;
                let bytes = self.take(length)?;
                self.stack.push(long(bytes));
            }
            op::BINFLOAT => {
                self.take(8)?;
                self.stack.push(Value::Float);
            }
            op::BINUNICODE | op::BINSTRING | op::BINBYTES => {
                let length = self.length4()?;
                self.text(length)?;
            }
            op::SHORT_BINUNICODE | op::SHORT_BINSTRING | op::SHORT_BINBYTES => {
                let length = self.byte()? as usize;
                self.text(length)?;
            }
            op::BINUNICODE8 | op::BINBYTES8 => {
                let length = self.length8()?;
                self.text(length)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether an opcode makes or fills a tuple, list or dict.
    fn container(&mut self, op: u8) -> Result<bool, String> {
        match op {
            op::EMPTY_TUPLE => self.tuple(Vec::new()),
            op::TUPLE => {
                let items = self.marked()?;
                self.tuple(items);
            }
            op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                let items = self.last_items(usize::from(op - op::TUPLE1) + 1)?;
                self.tuple(items);
            }
            op::EMPTY_LIST => self.list(Vec::new()),
            op::LIST => {
                let items = self.marked()?;
                self.list(items);
            }
            op::APPEND => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            op::APPENDS => {
                let items = self.marked()?;
                self.extend(items)?;
            }
            op::EMPTY_DICT => self.dict(Vec::new()),
            op::DICT => {
                let items = self.marked()?;
                self.dict(Vec::new());
                self.insert(&items)?;
            }
            op::SETITEM => {
                let items = self.last_items(2)?;
                self.insert(&items)?;
            }
            op::SETITEMS => {
                let items = self.marked()?;
                self.insert(&items)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether an opcode stores or recalls a value by number.
    fn memo(&mut self, op: u8) -> Result<bool, String> {
        match op {
            op::BINPUT => {
                let number = self.byte()?;
                self.remember(number.into())?;
            }
            op::LONG_BINPUT => {
                let number = self.length4()?;
                self.remember(number)?;
            }
            op::MEMOIZE => self.remember(self.memo.len())?,
            op::BINGET => {
                let number = self.byte()?;
                self.recall(number.into())?;
            }
            op::LONG_BINGET => {
                let number = self.length4()?;
                self.recall(number)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether an opcode names or makes an object.
    fn object(&mut self, op: u8) -> Result<bool, String> {
        match op {
            op::GLOBAL => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            op::STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                let texts = self.pickle.text(module).zip(self.pickle.text(name));
                let (module, name) = texts.ok_or("expected a name, found no text")?;
                self.global(module, name)?;
            }
            op::BINPERSID => self.storage()?,
            op::REDUCE => self.call()?,
            // Attributes of a dict or tensor, of which none concerns its weights.
            op::BUILD => {
                self.pop()?;
                if !matches!(self.top()?, Value::Dict(_) | Value::Tensor(_)) {
                    return Err(format!(
                        "expected attributes of a dict or tensor, found those of {:?}",
                        self.top()?
                    ));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
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
