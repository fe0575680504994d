//! GGUF files, read.

use std::path::PathBuf;

use numpy::{IntoPyArray, PyArrayMethods};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use quantsmith::gguf::{Endian, GgufModel, TensorType};
use quantsmith::quants;

use crate::errors::IntoPy;
use crate::values;

/// A tensor's entry in the header.
#[pyclass(frozen, get_all)]
pub(crate) struct TensorInfo {
    name: String,
    /// Dimensions, outermost first, as NumPy has them; GGUF stores them the other way round.
    shape: Vec<u64>,
    r#type: &'static str,
    nbytes: u64,
    /// The file that holds it, and the offset of its first byte there.
    file: PathBuf,
    offset: u64,
}

#[pymethods]
impl TensorInfo {
    fn __repr__(&self) -> String {
        format!(
            "TensorInfo({:?}, shape={:?}, type={:?})",
            self.name, self.shape, self.r#type
        )
    }
}

/// A GGUF model of one or many files.
#[pyclass(frozen)]
pub(crate) struct Gguf(GgufModel);

/// NumPy's name of an element type that is stored as such.
fn dtype(ty: TensorType) -> Option<&'static str> {
    Some(match ty {
        TensorType::F32 => "f4",
        TensorType::F16 => "f2",
        TensorType::F64 => "f8",
        TensorType::I8 => "i1",
        TensorType::I16 => "i2",
        TensorType::I32 => "i4",
        TensorType::I64 => "i8",
        _ => return None,
    })
}

impl Gguf {
    fn index(&self, name: &str) -> PyResult<usize> {
        self.0
            .find(name)
            .ok_or_else(|| PyKeyError::new_err(format!("{}: no tensor {name:?}", self.0.path().display())))
    }

    fn describe(&self, index: usize) -> TensorInfo {
        let info = self.0.info(index);
        let file = &self.0.files()[self.0.file_of(index)];
        TensorInfo {
            name: info.name.clone(),
            shape: info.shape.iter().rev().copied().collect(),
            r#type: info.ty.name(),
            nbytes: info.size_bytes(),
            file: file.path().to_path_buf(),
            offset: file.data_offset() + info.offset,
        }
    }

    /// A read-only view of a tensor's bytes in the file.
    fn mapped<'py>(
        &self,
        py: Python<'py>,
        index: usize,
        dtype: &str,
        shape: Vec<u64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let tensor = self.describe(index);
        let arguments = PyDict::new(py);
        arguments.set_item("dtype", dtype)?;
        arguments.set_item("mode", "r")?;
        arguments.set_item("offset", tensor.offset)?;
        arguments.set_item("shape", pyo3::types::PyTuple::new(py, shape)?)?;
        py.import("numpy")?
            .getattr("memmap")?
            .call((tensor.file,), Some(&arguments))
    }
}

#[pymethods]
impl Gguf {
    /// Opens a file, and with a first shard all the others.
    #[classmethod]
    fn open(_class: &Bound<'_, PyType>, py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| GgufModel::open(&path))
            .map(Self)
            .map_err(IntoPy::into_py)
    }

    /// All keys with their values, in file order. Text that is not UTF-8 is `bytes`.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        values::metadata(py, self.0.metadata())
    }

    /// `general.architecture`, or "".
    #[getter]
    fn architecture(&self) -> &str {
        self.0.metadata().architecture()
    }

    /// The files, in order.
    #[getter]
    fn files(&self) -> Vec<PathBuf> {
        self.0.files().iter().map(|f| f.path().to_path_buf()).collect()
    }

    /// The tensors' entries, in file order.
    #[getter]
    fn tensors(&self) -> Vec<TensorInfo> {
        (0..self.0.len()).map(|i| self.describe(i)).collect()
    }

    /// The entry of one tensor.
    fn info(&self, name: &str) -> PyResult<TensorInfo> {
        Ok(self.describe(self.index(name)?))
    }

    /// A tensor's numbers: without a copy where they are stored as such (float32, float16, float64, integers),
    /// else decoded to float32.
    fn tensor<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let index = self.index(name)?;
        let info = self.0.info(index);
        let shape: Vec<u64> = info.shape.iter().rev().copied().collect();
        if let Some(element) = dtype(info.ty) {
            let order = match self.0.files()[self.0.file_of(index)].endian() {
                Endian::Little => '<',
                Endian::Big => '>',
            };
            return self.mapped(py, index, &format!("{order}{element}"), shape);
        }
        let decoded = py.detach(|| -> PyResult<Vec<f32>> {
            let blocks = self
                .0
                .bytes(index, 0..info.size_bytes())
                .map_err(IntoPy::into_py)?;
            let mut out = vec![0f32; info.elements() as usize];
            quants::decode(info.ty, &blocks, &mut out).map_err(IntoPy::into_py)?;
            Ok(out)
        })?;
        let shape: Vec<usize> = shape.into_iter().map(|d| d as usize).collect();
        Ok(decoded.into_pyarray(py).reshape(shape)?.into_any())
    }

    /// A tensor's stored bytes without a copy: `uint8`, the last dimension a row's bytes.
    fn raw<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let index = self.index(name)?;
        let info = self.0.info(index);
        let mut shape: Vec<u64> = info.shape.iter().skip(1).rev().copied().collect();
        shape.push(info.row_bytes());
        self.mapped(py, index, "u1", shape)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __contains__(&self, name: &str) -> bool {
        self.0.find(name).is_some()
    }

    fn __repr__(&self) -> String {
        format!("Gguf({:?}, {} tensors)", self.0.path(), self.0.len())
    }
}
