//! `quantsmith._quantsmith`: the library's calls with Python's types. The package `quantsmith` re-exports it.

mod cancel;
mod codec;
mod errors;
mod gguf_file;
mod measure;
mod model;
mod tokenizer;
mod values;
mod writer;

use pyo3::prelude::*;

/// The compiled half of the package.
#[pymodule]
mod _quantsmith {
    use super::*;

    #[pymodule_export]
    use super::codec::{block_size, dequantize, quantize, types};
    #[pymodule_export]
    use super::gguf_file::{Gguf, TensorInfo};
    #[pymodule_export]
    use super::measure::{imatrix, kl_divergence, perplexity, verify};
    #[pymodule_export]
    use super::model::{convert, presets, quantize_file, table};
    #[pymodule_export]
    use super::tokenizer::Tokenizer;
    #[pymodule_export]
    use super::writer::GgufWriter;

    #[pymodule_init]
    fn init(m: &Bound<'_, PyModule>) -> PyResult<()> {
        m.add("__version__", env!("CARGO_PKG_VERSION"))?;
        let py = m.py();
        m.add("QuantsmithError", py.get_type::<super::errors::QuantsmithError>())?;
        m.add("FormatError", py.get_type::<super::errors::FormatError>())?;
        m.add("RequestError", py.get_type::<super::errors::RequestError>())?;
        m.add("NotFiniteError", py.get_type::<super::errors::NotFiniteError>())
    }

    /// Runs the command line `argv` (with the program's name first) and returns its exit code.
    #[pyfunction]
    fn run_command(py: Python<'_>, argv: Vec<std::ffi::OsString>) -> u8 {
        py.detach(|| quantsmith_cli::cli::run(argv))
    }
}
