//! Python exceptions by cause.

use pyo3::PyErr;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError};

create_exception!(
    quantsmith,
    QuantsmithError,
    PyException,
    "Base of this package's exceptions."
);
create_exception!(
    quantsmith,
    FormatError,
    QuantsmithError,
    "A file is malformed, incomplete or of an unsupported kind."
);
create_exception!(
    quantsmith,
    RequestError,
    QuantsmithError,
    "What was asked for cannot be done: an unknown name, a missing importance matrix, an argument that fits nothing."
);
create_exception!(
    quantsmith,
    NotFiniteError,
    QuantsmithError,
    "A weight, activation or logit is NaN or infinite."
);

/// An `OSError` with errno and file name, as `open` raises it.
fn os_error(path: &std::path::Path, source: &std::io::Error) -> PyErr {
    match source.raw_os_error() {
        // With an errno Python picks the subclass (FileNotFoundError, PermissionError …).
        Some(code) => {
            let text = source.to_string();
            let text = text.split(" (os error").next().unwrap_or_default().to_owned();
            PyOSError::new_err((code, text, path.as_os_str().to_owned()))
        }
        None => PyOSError::new_err(format!("{}: {source}", path.display())),
    }
}

/// Errors of the library's crates as exceptions.
pub(crate) trait IntoPy {
    fn into_py(self) -> PyErr;
}

impl IntoPy for quantsmith::gguf::Error {
    fn into_py(self) -> PyErr {
        match &self {
            Self::Io { path, cause } => os_error(path, cause),
            Self::Unwritable { .. } => RequestError::new_err(self.to_string()),
            _ => FormatError::new_err(self.to_string()),
        }
    }
}

impl IntoPy for quantsmith::convert::Error {
    fn into_py(self) -> PyErr {
        let plain = self.into_plain();
        match plain {
            Self::Io { path, source } => os_error(&path, &source),
            Self::Gguf(e) => e.into_py(),
            Self::Imatrix(e) => e.into_py(),
            Self::NotFinite { .. } => NotFiniteError::new_err(plain.to_string()),
            Self::Request(_) => RequestError::new_err(plain.to_string()),
            _ => FormatError::new_err(plain.to_string()),
        }
    }
}

impl IntoPy for quantsmith::imatrix::Error {
    fn into_py(self) -> PyErr {
        match self {
            Self::Io { path, source } => os_error(&path, &source),
            Self::Gguf(e) => e.into_py(),
            _ => FormatError::new_err(self.to_string()),
        }
    }
}

impl IntoPy for quantsmith::reference::Error {
    fn into_py(self) -> PyErr {
        match self {
            Self::Io { path, source } => os_error(&path, &source),
            Self::Gguf(e) => e.into_py(),
            Self::Text(_) => RequestError::new_err(self.to_string()),
            _ => FormatError::new_err(self.to_string()),
        }
    }
}

impl IntoPy for quantsmith::quants::Error {
    fn into_py(self) -> PyErr {
        RequestError::new_err(self.to_string())
    }
}

impl IntoPy for anyhow::Error {
    fn into_py(self) -> PyErr {
        let error = match self.downcast::<quantsmith::convert::Error>() {
            Ok(e) => return e.into_py(),
            Err(other) => other,
        };
        let error = match error.downcast::<quantsmith::imatrix::Error>() {
            Ok(e) => return e.into_py(),
            Err(other) => other,
        };
        match error.downcast::<quantsmith::reference::Error>() {
            Ok(e) => e.into_py(),
            Err(other) => QuantsmithError::new_err(format!("{other:#}")),
        }
    }
}
