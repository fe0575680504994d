//! The C interface of `include/quantsmith.h`, which says what each function does.
//!
//! Every function checks its pointers for null, turns errors into a status and a message, and catches panics: none
//! crosses into C. What cannot be checked is the caller's promise, stated at each function: that pointers which are
//! not null point to as much as the header says.

mod failure;

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use quantsmith::convert::importance::{Importance, Selection};
use quantsmith::convert::pipeline::PipelineOptions;
use quantsmith::convert::quantize::{self, QuantizeOptions};
use quantsmith::convert::recipe::Preset;
use quantsmith::convert::source::hf::{HfOptions, HfSource, OutType};
use quantsmith::convert::source::{Cancellable, GgufSource, Source};
use quantsmith::gguf::{GgufModel, TensorType};
use quantsmith::quants;

pub use failure::Status;
use failure::{Failure, guarded, request};

/// Most dimensions that [`TensorDescription`] holds; the container allows four.
const DIMENSIONS: usize = 8;

/// `qs_model`.
#[derive(Debug)]
pub struct Model {
    gguf: GgufModel,
    /// Names for C, by place.
    names: Vec<CString>,
}

/// `qs_tensor`.
#[derive(Debug)]
#[repr(C)]
pub struct TensorDescription {
    name: *const c_char,
    ty: u32,
    dimensions: u32,
    shape: [u64; DIMENSIONS],
    weights: u64,
    bytes: u64,
}

/// `qs_progress`.
pub type Progress = Option<unsafe extern "C" fn(u64, u64, *mut c_void) -> c_int>;

/// A string argument.
///
/// # Safety
/// `text` is null or a string that ends with a zero byte and lives for `'a`.
unsafe fn bytes<'a>(text: *const c_char, what: &str) -> Result<&'a [u8], Failure> {
    if text.is_null() {
        return Err(request(format!("{what}: expected a string, found NULL")));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// A name or path as text.
///
/// # Safety
/// As [`bytes`].
unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str, Failure> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { bytes(text, what) }?;
    std::str::from_utf8(bytes).map_err(|_| request(format!("{what}: not UTF-8")))
}

/// A path: any bytes on Unix, UTF-8 elsewhere.
///
/// # Safety
/// As [`bytes`].
unsafe fn path(path: *const c_char, what: &str) -> Result<PathBuf, Failure> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        // SAFETY: the caller's promise.
        let bytes = unsafe { bytes(path, what) }?;
        Ok(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
    }
    #[cfg(not(unix))]
    {
        // SAFETY: the caller's promise.
        Ok(PathBuf::from(unsafe { text(path, what) }?))
    }
}

/// An array argument.
///
/// # Safety
/// `data` is null or points to `len` initialized elements that live for `'a` and that nobody changes meanwhile.
unsafe fn array<'a, T>(data: *const T, len: usize, what: &str) -> Result<&'a [T], Failure> {
    checked_length::<T>(data.is_null(), len, what)?;
    match len {
        0 => Ok(&[]),
        // SAFETY: not null, of an allowed length; the rest is the caller's promise.
        _ => Ok(unsafe { std::slice::from_raw_parts(data, len) }),
    }
}

/// An array to fill.
///
/// # Safety
/// `data` is null or points to `len` elements that live for `'a` and that nobody else uses meanwhile.
unsafe fn array_mut<'a, T: Copy>(data: *mut T, len: usize, what: &str) -> Result<&'a mut [T], Failure> {
    checked_length::<T>(data.is_null(), len, what)?;
    match len {
        0 => Ok(&mut []),
        // SAFETY: not null, of an allowed length; the rest is the caller's promise. Numbers of any bits are numbers, and
        // memory of C's that was never written is only written here before it is read.
        _ => Ok(unsafe { std::slice::from_raw_parts_mut(data, len) }),
    }
}

fn checked_length<T>(is_null: bool, len: usize, what: &str) -> Result<(), Failure> {
    if is_null && len > 0 {
        return Err(request(format!("{what}: expected {len} elements, found NULL")));
    }
    match len.checked_mul(size_of::<T>()) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(request(format!(
            "{what}: {len} elements are more than there can be"
        ))),
    }
}

/// Writes a result.
///
/// # Safety
/// `to` is null or may be written.
unsafe fn put<T>(to: *mut T, value: T, what: &str) -> Result<(), Failure> {
    if to.is_null() {
        return Err(request(format!(
            "{what}: expected a place for the result, found NULL"
        )));
    }
    // SAFETY: the caller's promise.
    unsafe { to.write(value) };
    Ok(())
}

/// The model behind a handle.
///
/// # Safety
/// `model` is null or a handle that [`qs_open`] gave and that is not closed.
unsafe fn model<'a>(model: *const Model) -> Result<&'a Model, Failure> {
    // SAFETY: the caller's promise.
    unsafe { model.as_ref() }.ok_or_else(|| request("model: expected an open model, found NULL".to_owned()))
}

fn tensor_type(id: u32) -> Result<TensorType, Failure> {
    TensorType::from_id(id).ok_or_else(|| request(format!("expected the id of a type, found {id}")))
}

impl Model {
    fn checked(&self, index: usize) -> Result<usize, Failure> {
        match index < self.gguf.len() {
            true => Ok(index),
            false => Err(request(format!(
                "{}: expected a tensor below {}, found {index}",
                self.gguf.path().display(),
                self.gguf.len()
            ))),
        }
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn qs_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn qs_last_error() -> *const c_char {
    failure::last()
}

/// See the header.
///
/// # Safety
/// `path` is null or a string; `model` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qs_open(path: *const c_char, model: *mut *mut Model) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        unsafe { put(model, std::ptr::null_mut(), "model") }?;
        // SAFETY: the caller's promise.
        let gguf = GgufModel::open(&unsafe { self::path(path, "path") }?)?;
        let names = gguf.tensors().map(|tensor| {
            // The reader refuses no name with a zero byte; C sees it up to there.
            let name = tensor.info.name.split('\0').next().unwrap_or_default();
            CString::new(name).unwrap_or_default()
        });
        let names = names.collect();
        let opened = Box::new(Model { gguf, names });
        // SAFETY: the caller's promise; checked for null above.
        unsafe { put(model, Box::into_raw(opened), "model") }
    })
}

/// See the header.
///
/// # Safety
/// `model` is null or a handle that [`qs_open`] gave; it is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qs_close(model: *mut Model) {
    if !model.is_null() {
        // SAFETY: it came out of a box, and the caller gives it up.
        let model = unsafe { Box::from_raw(model) };
        let _ = catch_unwind(AssertUnwindSafe(|| drop(model)));
    }
}

/// See the header.
///
/// # Safety
/// `model` is null or an open handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qs_tensor_count(model: *const Model) -> usize {
    // SAFETY: the caller's promise.
    unsafe { model.as_ref() }.map_or(0, |model| model.gguf.len())
}

/// See the header.
///
/// # Safety
/// `model` is null or an open handle; `tensor` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qs_tensor_at(
    model: *const Model,
    index: usize,
    tensor: *mut TensorDescription,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let model = unsafe { self::model(model) }?;
        let info = model.gguf.info(model.checked(index)?);
        let mut shape = [1; DIMENSIONS];
        let dimensions = info.shape.len().min(DIMENSIONS);
        shape[..dimensions].copy_from_slice(&info.shape[..dimensions]);
        let description = TensorDescription {
            name: model.names[index].as_ptr(),
            ty: info.ty.id(),
            dimensions: dimensions as u32,
            shape,
            weights: info.elements(),
            bytes: info.size_bytes(),
        };
        // SAFETY: the caller's promise.
        unsafe { put(tensor, description, "tensor") }
    })
}

/// See the header.
///
/// # Safety
/// `model` is null or an open handle; `name` is null or a string; `index` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qs_tensor_find(
    model: *const Model,
    name: *const c_char,
    index: *mut usize,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (model, name) = unsafe { (self::model(model)?, text(name, "name")?) };
        let path = model.gguf.path().display();
        let found = model.gguf.find(name);
        let found = found.ok_or_else(|| request(format!("{path}: no tensor '{name}'")))?;
        // SAFETY: the caller's promise.
        unsafe { put(index, found, "index") }
    })
}

/// See the header.
///
/// # Safety
/// `model` is null or an open handle; `weights` is null or has room for `n_weights`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qs_tensor_decode(
    model: *const Model,
    index: usize,
    weights: *mut f32,
    n_weights: usize,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (model, weights) = unsafe { (self::model(model)?, array_mut(weights, n_weights, "weights")?) };
        let info = model.gguf.info(model.checked(index)?);
        let bytes = model.gguf.bytes(index, 0..info.size_bytes())?;
        quants::decode(info.ty, &bytes, weights).map_err(|e| {
            let path = model.gguf.path().display();
            request(format!("{path}: tensor '{}': {e}", info.name))
        })
    })
}

/// See the header.
///
/// # Safety
/// `name` is null or a string; `ty` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qs_type_from_name(name: *const c_char, ty: *mut u32) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let name = unsafe { text(name, "name") }?;
        let found = TensorType::from_name(name).ok_or_else(|| request(format!("no type {name:?}")))?;
        // SAFETY: the caller's promise.
        unsafe { put(ty, found.id(), "type") }
    })
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn qs_type_name(ty: u32) -> *const c_char {
    failure::type_name(ty)
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn qs_row_bytes(ty: u32, row_len: usize) -> usize {
    let bytes = TensorType::from_id(ty).and_then(|ty| ty.row_bytes(row_len as u64));
    bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0)
}

/// See the header.
///
/// # Safety
/// `weights`, `importance` and `blocks` are null or point to as many elements as the lengths say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qs_encode(
    ty: u32,
    weights: *const f32,
    n_rows: usize,
    row_len: usize,
    importance: *const f32,
    blocks: *mut u8,
    n_bytes: usize,
) -> Status {
    guarded(|| {
        let ty = tensor_type(ty)?;
        let count = n_rows.checked_mul(row_len);
        let count =
            count.ok_or_else(|| request(format!("{n_rows} rows of {row_len} are more than there can be")))?;
        // SAFETY: the caller's promise.
        let (weights, blocks) = unsafe {
            (
                array(weights, count, "weights")?,
                array_mut(blocks, n_bytes, "blocks")?,
            )
        };
        let importance = match importance.is_null() {
            true => None,
            // SAFETY: the caller's promise.
            false => Some(unsafe { array(importance, row_len, "importance") }?),
        };
        Ok(quants::encode(ty, weights, row_len, importance, blocks)?)
    })
}

/// See the header.
///
/// # Safety
/// `blocks` and `weights` are null or point to as many elements as the lengths say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qs_decode(
    ty: u32,
    blocks: *const u8,
    n_bytes: usize,
    weights: *mut f32,
    n_weights: usize,
) -> Status {
    guarded(|| {
        let ty = tensor_type(ty)?;
        // SAFETY: the caller's promise.
        let (blocks, weights) = unsafe {
            (
                array(blocks, n_bytes, "blocks")?,
                array_mut(weights, n_weights, "weights")?,
            )
        };
        Ok(quants::decode(ty, blocks, weights)?)
    })
}

/// C's progress function, called by one thread at a time.
struct Told {
    call: Progress,
    /// Its argument. C promises that any thread may hand it back.
    user: Mutex<User>,
    cancelled: AtomicBool,
}

struct User(*mut c_void);

// SAFETY: it is never followed here, only handed back to the function that it belongs to, which the header says is
// called from working threads.
unsafe impl Send for User {}

impl Told {
    fn progress(&self, done: u64, total: u64) {
        let (Some(call), Ok(user)) = (self.call, self.user.lock()) else {
            return;
        };
        // SAFETY: a function of this signature, by the caller's promise; one call at a time by the lock.
        if unsafe { call(done, total, user.0) } != 0 {
            self.cancelled.store(true, Ordering::Relaxed);
        }
    }
}

/// See the header.
///
/// # Safety
/// Strings are null or strings; `progress` may be called with `user` from any thread until this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qs_quantize_file(
    input: *const c_char,
    output: *const c_char,
    preset: *const c_char,
    imatrix: *const c_char,
    threads: c_uint,
    progress: Progress,
    user: *mut c_void,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (input, output, name) = unsafe {
            (
                path(input, "input")?,
                path(output, "output")?,
                text(preset, "preset")?,
            )
        };
        let preset = Preset::parse(name).ok_or_else(|| request(format!("no preset {name:?}")))?;
        let importance = match imatrix.is_null() {
            true => None,
            // SAFETY: the caller's promise.
            false => Importance::load(&unsafe { path(imatrix, "imatrix") }?, &Selection::All)?,
        };
        let told = Told {
            call: progress,
            user: Mutex::new(User(user)),
            cancelled: AtomicBool::new(false),
        };
        let source = open(&input)?;
        let source = Cancellable::new(source.as_ref(), &told.cancelled);
        let plan = quantize::plan(
            &source,
            &output,
            &QuantizeOptions::new(preset),
            importance.as_ref(),
        )?;
        let options = PipelineOptions::default().threads(threads as usize);
        quantize::run(&source, &plan, &options, None, &|p| {
            told.progress(p.done, p.total);
        })?;
        Ok(())
    })
}

/// A directory or a GGUF file.
fn open(input: &Path) -> Result<Box<dyn Source>, Failure> {
    if !input.is_dir() {
        return Ok(Box::new(GgufSource::open(input)?));
    }
    let options = HfOptions::default().outtype(OutType::Lossless);
    Ok(Box::new(HfSource::open(input, &options)?))
}
