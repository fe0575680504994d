//! Token ids of a model's own vocabulary.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};
use quantsmith::gguf::{GgufModel, OpenOptions};
use quantsmith::reference;

use crate::errors::IntoPy;

/// The tokenizer in a GGUF file. Ids equal llama.cpp's.
#[pyclass(frozen)]
pub(crate) struct Tokenizer(reference::Tokenizer);

#[pymethods]
impl Tokenizer {
    /// The tokenizer of a model.
    #[classmethod]
    fn from_gguf(_class: &Bound<'_, PyType>, py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| {
            let model = GgufModel::open_single(&path, OpenOptions::default()).map_err(IntoPy::into_py)?;
            reference::Tokenizer::from_metadata(model.metadata())
                .map(Self)
                .map_err(IntoPy::into_py)
        })
    }

    /// Ids of a text (`str` or `bytes`).
    #[pyo3(signature = (text, *, add_special = true, parse_special = false))]
    fn encode(
        &self,
        py: Python<'_>,
        text: &Bound<'_, PyAny>,
        add_special: bool,
        parse_special: bool,
    ) -> PyResult<Vec<u32>> {
        let text = match text.cast::<PyBytes>() {
            Ok(bytes) => bytes.as_bytes().to_vec(),
            Err(_) => text.extract::<String>()?.into_bytes(),
        };
        Ok(py.detach(|| self.0.encode(&text, add_special, parse_special)))
    }

    /// The text of ids; bytes that are not UTF-8 become U+FFFD (see `decode_bytes`).
    #[pyo3(signature = (ids, *, remove_special = true, show_special = false))]
    fn decode(&self, ids: Vec<u32>, remove_special: bool, show_special: bool) -> String {
        String::from_utf8_lossy(&self.0.decode(&ids, remove_special, show_special)).into_owned()
    }

    /// The bytes of ids.
    #[pyo3(signature = (ids, *, remove_special = true, show_special = false))]
    fn decode_bytes<'py>(
        &self,
        py: Python<'py>,
        ids: Vec<u32>,
        remove_special: bool,
        show_special: bool,
    ) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.decode(&ids, remove_special, show_special))
    }

    /// Tokens in the vocabulary.
    #[getter]
    fn n_vocab(&self) -> usize {
        self.0.n_vocab()
    }

    /// The beginning-of-sequence token.
    #[getter]
    fn bos(&self) -> Option<u32> {
        self.0.bos()
    }

    /// The end-of-sequence token.
    #[getter]
    fn eos(&self) -> Option<u32> {
        self.0.eos()
    }
}
