//! PyTorch checkpoints (`pytorch_model.bin`): a zip file with a pickle that describes tensors, and their
//! storages; or, before PyTorch 1.6, pickles followed by storages.

mod opcodes;
mod pickle;
mod values;
mod zip;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use safetensors::Dtype;

use self::values::{Pickle, Tensor, Value};
use self::zip::Zip;
use super::tensor_file::{Entry, MAX_DIMS, Opened, TensorFile};
use crate::{Error, Result};

/// Longest description of tensors accepted; PyTorch takes some hundred bytes for each.
const MAX_PICKLE_BYTES: u64 = 64 << 20;

/// Bytes that are read at once to pick elements out of.
const GATHER_BYTES: u64 = 4 << 20;

/// First bytes of a file of the older format: a number in a pickle.
const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Names under which training scripts keep the weights.
const WRAPPERS: [&str; 3] = ["state_dict", "model", "module"];

/// A tensor whose elements do not lie in their order.
#[derive(Debug)]
struct Strided {
    start: u64,
    width: u64,
    shape: Vec<u64>,
    stride: Vec<u64>,
}

/// An open checkpoint whose tensors lie in its storages, and those in the file.
#[derive(Debug)]
pub(super) struct PytorchFile {
    opened: Opened,
    entries: Vec<Entry>,
    /// By their entries' offsets, which are past the end of the file.
    strided: HashMap<u64, Strided>,
}

/// Positions of storages' bytes.
type Places = HashMap<String, (u64, u64)>;

impl PytorchFile {
    /// Opens a file and checks what it says of its tensors.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Input`] naming the position or the tensor, what was
    /// found and what was expected otherwise.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut opened = Self {
            opened: Opened::open(path)?,
            entries: Vec::new(),
            strided: HashMap::new(),
        };
        let what = gguf::foreign::describe_file(path);
        if let Some(what) = what.filter(|w| !w.contains("ZIP") && !w.contains("pickle")) {
            return Err(opened.input(format!("{what}; expected a PyTorch checkpoint")));
        }
        let mut magic = [0; LEGACY_MAGIC.len()];
        if opened.opened.length() > magic.len() as u64 {
            opened.opened.read_exact_at(0, &mut magic)?;
        }
        if magic == LEGACY_MAGIC {
            opened.read_legacy()?;
        } else {
            opened.read_zip()?;
        }
        Ok(opened)
    }

    fn input(&self, message: String) -> Error {
        Error::input(self.opened.path(), message)
    }

    fn read_zip(&mut self) -> Result<()> {
        let zip = Zip::open(&self.opened)?;
        let described = zip
            .members
            .iter()
            .find(|(name, _)| name.as_str() == "data.pkl" || name.ends_with("/data.pkl"));
        let Some((name, &member)) = described else {
            return Err(self.input("expected a data.pkl of a PyTorch checkpoint, found none".to_owned()));
        };
        let root = name.strip_suffix("data.pkl").unwrap_or_default();
        let order = format!("{root}byteorder");
        if let Some(&member) = zip.members.get(&order)
            && self.bytes(&zip, &order, member, 16)? != b"little"
        {
            return Err(self.input("expected little-endian storages, found big-endian ones".to_owned()));
        }
        let bytes = self.bytes(&zip, name, member, MAX_PICKLE_BYTES)?;
        let pickle = pickle::read(&bytes).map_err(|e| self.input(e))?;
        let mut places = Places::new();
        for storage in &pickle.storages {
            let name = format!("{root}data/{}", storage.key);
            let Some(&member) = zip.members.get(&name) else {
                return Err(self.input(format!("expected a storage {name}, found none")));
            };
            if !places.contains_key(&storage.key) {
                let start = zip.locate(&name, member)?;
                places.insert(storage.key.clone(), (start, member.bytes));
            }
        }
        let mut sorted: Vec<(u64, u64)> = places.values().copied().filter(|p| p.1 > 0).collect();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|w| w[0].0 + w[0].1 > w[1].0) {
            return Err(self.input(format!(
                "zip: expected members apart, found them at {} and {}: they overlap",
                pair[0].0, pair[1].0
            )));
        }
        let (entries, strided) = self.tensors(&pickle, &places)?;
        (self.entries, self.strided) = (entries, strided);
        Ok(())
    }

    fn bytes(&self, zip: &Zip<'_>, name: &str, member: zip::Member, limit: u64) -> Result<Vec<u8>> {
        if member.bytes > limit {
            return Err(self.input(format!(
                "zip: {name}: expected at most {limit} bytes, found {}",
                member.bytes
            )));
        }
        let at = zip.locate(name, member)?;
        let mut bytes = vec![0; member.bytes as usize];
        self.opened.read_exact_at(at, &mut bytes)?;
        Ok(bytes)
    }

    /// Five pickles (a magic number, a version, facts of the machine, the tensors, the keys of the storages)
    /// and the storages, each after its length.
    fn read_legacy(&mut self) -> Result<()> {
        let mut head = vec![0; self.opened.length().min(MAX_PICKLE_BYTES) as usize];
        self.opened.read_exact_at(0, &mut head)?;
        let mut at = LEGACY_MAGIC.len();
        let mut next = || {
            let pickle = pickle::read(&head[at..]).map_err(|e| self.input(e))?;
            at += pickle.length;
            Ok::<_, Error>(pickle)
        };
        let (_version, _machine) = (next()?, next()?);
        let described = next()?;
        let keys = next()?;
        let widths: HashMap<&str, u64> = described
            .storages
            .iter()
            .filter_map(|s| Some((s.key.as_str(), s.dtype?.bitsize() as u64 / 8)))
            .collect();
        let mut places = Places::new();
        let mut position = at as u64;
        for &key in keys.items(keys.root).unwrap_or_default() {
            let width = keys.text(key).and_then(|k| Some((k, *widths.get(k)?)));
            let Some((key, width)) = width else {
                return Err(self.input("expected a tensor of each storage, found none of one".to_owned()));
            };
            let mut count = [0; 8];
            self.opened.read_exact_at(position, &mut count)?;
            let bytes = u64::from_le_bytes(count).checked_mul(width);
            let start = position + 8;
            let end = bytes
                .and_then(|n| start.checked_add(n))
                .filter(|&n| n <= self.opened.length());
            let (Some(bytes), Some(end)) = (bytes, end) else {
                return Err(self.input(format!(
                    "offset {position}: expected storage {key} of {} elements, found the end of the file",
                    u64::from_le_bytes(count)
                )));
            };
            places.insert(key.to_owned(), (start, bytes));
            position = end;
        }
        let (entries, strided) = self.tensors(&described, &places)?;
        (self.entries, self.strided) = (entries, strided);
        Ok(())
    }

    /// The tensors of a state dict, in its order.
    fn tensors(&self, pickle: &Pickle<'_>, places: &Places) -> Result<(Vec<Entry>, HashMap<u64, Strided>)> {
        let mut pairs = pickle
            .pairs(pickle.root)
            .ok_or_else(|| self.input("expected a dict of tensors, found none".to_owned()))?;
        if !pairs.iter().any(|(_, v)| matches!(v, Value::Tensor(_)))
            && let Some(inner) = pairs.iter().find_map(|&(key, value)| {
                let key = pickle.text(key)?;
                WRAPPERS.contains(&key).then(|| pickle.pairs(value))?
            })
        {
            pairs = inner;
        }
        let mut entries = Vec::new();
        let mut strided = HashMap::new();
        let mut names = HashSet::new();
        // Positions past the file stand for tensors that are put together as they are read.
        let mut end = self.opened.length();
        for &(key, value) in pairs {
            let (Some(name), Value::Tensor(tensor)) = (pickle.text(key), value) else {
                continue;
            };
            if !names.insert(name) {
                return Err(self.input(format!("tensor '{name}': expected one, found two")));
            }
            let tensor = &pickle.tensors[tensor];
            let fail = |message: String| self.input(format!("tensor '{name}': {message}"));
            let (start, bytes) = self.place(pickle, places, tensor).map_err(fail)?;
            let width = tensor.dtype.bitsize() as u64 / 8;
            let mut entry = Entry {
                name: name.to_owned(),
                dtype: tensor.dtype,
                blocks: None,
                shape: tensor.shape.clone(),
                offset: start,
                bytes,
            };
            if !is_contiguous(tensor) {
                entry.offset = end;
                let after = end.checked_add(bytes).filter(|&n| n < u64::MAX / 2);
                end = after.ok_or_else(|| fail(format!("expected fewer bytes, found {bytes}")))?;
                strided.insert(
                    entry.offset,
                    Strided {
                        start,
                        width,
                        shape: tensor.shape.clone(),
                        stride: tensor.stride.clone(),
                    },
                );
            }
            entries.push(entry);
        }
        Ok((entries, strided))
    }

    /// Position of a tensor's first element, and the size of all of them in bytes.
    fn place(&self, pickle: &Pickle<'_>, places: &Places, tensor: &Tensor) -> Result<(u64, u64), String> {
        let storage = &pickle.storages[tensor.storage];
        let &(start, available) = places
            .get(&storage.key)
            .ok_or_else(|| format!("expected its storage {}, found none", storage.key))?;
        if tensor.shape.len() > MAX_DIMS {
            return Err(format!(
                "expected at most {MAX_DIMS} dimensions, found {}",
                tensor.shape.len()
            ));
        }
        let width = storage_width(tensor.dtype)
            .ok_or_else(|| format!("expected a known dtype, found {}", tensor.dtype))?;
        let elements = tensor.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        // The last element's place, from the storage's first.
        let last = tensor
            .shape
            .iter()
            .zip(&tensor.stride)
            .try_fold(tensor.offset, |at, (&size, &stride)| {
                at.checked_add(size.saturating_sub(1).checked_mul(stride)?)
            });
        let length = if storage.dtype.is_some() {
            storage.length.checked_mul(width)
        } else {
            Some(storage.length)
        };
        let room = length.filter(|&n| n <= available);
        let Some(room) = room else {
            return Err(format!(
                "expected {} elements in its storage {}, found {available} bytes",
                storage.length, storage.key
            ));
        };
        let capacity = room / width;
        // More elements than the storage has are repetitions, which no weights are.
        match (elements, last) {
            (Some(0), _) => Ok((start, 0)),
            (Some(n), Some(last)) if last < capacity && n <= capacity => {
                Ok((start + tensor.offset * width, n * width))
            }
            _ => Err(format!(
                "expected at most the {capacity} elements of its storage, found the shape {:?} in steps of {:?} from {}",
                tensor.shape, tensor.stride, tensor.offset
            )),
        }
    }

    /// Elements `first..first + count` of a strided tensor.
    fn gather(&self, tensor: &Strided, first: u64, out: &mut [u8]) -> Result<()> {
        let width = tensor.width;
        let place = |element: u64| {
            let (mut rest, mut at) = (element, 0);
            for (&size, &stride) in tensor.shape.iter().zip(&tensor.stride).rev() {
                at += rest % size * stride;
                rest /= size;
            }
            at
        };
        let count = out.len() as u64 / width;
        let (mut low, mut high) = (u64::MAX, 0);
        for element in first..first + count {
            let at = place(element);
            (low, high) = (low.min(at), high.max(at));
        }
        if count == 0 {
            return Ok(());
        }
        let span = (high - low + 1) * width;
        if span > GATHER_BYTES && count > 1 {
            let (head, tail) = out.split_at_mut((count / 2 * width) as usize);
            self.gather(tensor, first, head)?;
            return self.gather(tensor, first + count / 2, tail);
        }
        let mut bytes = vec![0; span as usize];
        self.opened
            .read_exact_at(tensor.start + low * width, &mut bytes)?;
        for (element, out) in (first..).zip(out.chunks_exact_mut(width as usize)) {
            let at = ((place(element) - low) * width) as usize;
            out.copy_from_slice(&bytes[at..at + width as usize]);
        }
        Ok(())
    }
}

/// Bytes of an element, for dtypes of whole bytes.
fn storage_width(dtype: Dtype) -> Option<u64> {
    let bits = dtype.bitsize() as u64;
    (bits > 0 && bits.is_multiple_of(8)).then_some(bits / 8)
}

fn is_contiguous(tensor: &Tensor) -> bool {
    let mut expected = 1u64;
    for (&size, &stride) in tensor.shape.iter().zip(&tensor.stride).rev() {
        if size == 0 {
            return true;
        }
        if size != 1 && stride != expected {
            return false;
        }
        expected = expected.saturating_mul(size);
    }
    true
}

impl TensorFile for PytorchFile {
    fn path(&self) -> &Path {
        self.opened.path()
    }

    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        if offset < self.opened.length() {
            return self.opened.read_exact_at(offset, out);
        }
        // Reads begin inside of an entry, and those of strided tensors do not touch.
        let entry = self
            .entries
            .iter()
            .find(|e| e.offset >= self.opened.length() && (e.offset..e.offset + e.bytes).contains(&offset));
        let strided = entry.and_then(|e| Some((e.offset, self.strided.get(&e.offset)?)));
        let Some((start, strided)) = strided else {
            return Err(self.input(format!("expected an offset in a tensor, found {offset}")));
        };
        self.gather(strided, (offset - start) / strided.width, out)
    }
}

#[cfg(test)]
mod tests;
