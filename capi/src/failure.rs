//! Failures as C sees them: a status, and a message kept for the thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use quantsmith::gguf::TYPES;
use quantsmith::{convert, gguf, imatrix, quants};

/// `qs_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[allow(missing_docs, reason = "the header says what they mean")]
pub enum Status {
    Ok = 0,
    Io = 1,
    Format = 2,
    Request = 3,
    NotFinite = 4,
    Cancelled = 5,
    Internal = 6,
}

/// Kind of failure.
pub(crate) struct Failure {
    status: Status,
    message: String,
}

/// A request that cannot be met.
pub(crate) fn request(message: String) -> Failure {
    Failure {
        status: Status::Request,
        message,
    }
}

impl From<gguf::Error> for Failure {
    fn from(e: gguf::Error) -> Self {
        let status = match &e {
            gguf::Error::Io { .. } | gguf::Error::DiskFull { .. } => Status::Io,
            gguf::Error::Unwritable { .. } | gguf::Error::Target { .. } => Status::Request,
            _ => Status::Format,
        };
        let message = e.to_string();
        Self { status, message }
    }
}

impl From<imatrix::Error> for Failure {
    fn from(e: imatrix::Error) -> Self {
        match e {
            imatrix::Error::Gguf(e) => e.into(),
            imatrix::Error::Io { .. } => Self {
                status: Status::Io,
                message: e.to_string(),
            },
            _ => Self {
                status: Status::Format,
                message: e.to_string(),
            },
        }
    }
}

impl From<convert::Error> for Failure {
    fn from(e: convert::Error) -> Self {
        let e = e.into_plain();
        let status = match e {
            convert::Error::Gguf(e) => return e.into(),
            convert::Error::Imatrix(e) => return e.into(),
            convert::Error::Io { .. } => Status::Io,
            convert::Error::NotFinite { .. } => Status::NotFinite,
            convert::Error::Cancelled => Status::Cancelled,
            convert::Error::Request(_) | convert::Error::Codec { .. } => Status::Request,
            _ => Status::Format,
        };
        let message = e.to_string();
        Self { status, message }
    }
}

impl From<quants::Error> for Failure {
    fn from(e: quants::Error) -> Self {
        request(e.to_string())
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// The calling thread's last message.
pub(crate) fn last() -> *const c_char {
    LAST.with_borrow(|text| text.as_ptr())
}

fn keep(message: &str) {
    // A zero byte, of a name for instance, would end the message.
    let text = CString::new(message.replace('\0', "\u{fffd}")).unwrap_or_default();
    LAST.with_borrow_mut(|last| *last = text);
}

/// Runs the body of a function of the interface.
pub(crate) fn guarded(body: impl FnOnce() -> Result<(), Failure>) -> Status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Status::Ok,
        Ok(Err(failure)) => {
            keep(&failure.message);
            failure.status
        }
        Err(_) => {
            keep("internal error: a panic inside");
            Status::Internal
        }
    }
}

static NAMES: LazyLock<HashMap<u32, CString>> = LazyLock::new(|| {
    let names = TYPES.iter();
    names
        .map(|t| (t.ty.id(), CString::new(t.name).unwrap_or_default()))
        .collect()
});

/// The name of a type, for as long as the process lives; null where there is none.
pub(crate) fn type_name(id: u32) -> *const c_char {
    NAMES.get(&id).map_or(std::ptr::null(), |name| name.as_ptr())
}
