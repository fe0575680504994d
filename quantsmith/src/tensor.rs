//! One tensor as numbers.

use std::path::PathBuf;

use gguf::GgufModel;

/// Reason that a tensor cannot be decoded. Messages name the file and the tensor.
#[derive(Debug)]
#[non_exhaustive]
pub enum DecodeError {
    /// The model has no tensor of this name.
    NotFound {
        /// The model's first file.
        path: PathBuf,
        /// The name.
        tensor: String,
    },
    /// Its bytes cannot be read.
    Gguf(gguf::Error),
    /// Its type has no decoder.
    Codec {
        /// The model's first file.
        path: PathBuf,
        /// The name.
        tensor: String,
        /// The codec's error.
        source: quants::Error,
    },
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound { path, tensor } => write!(f, "{}: no tensor '{tensor}'", path.display()),
            Self::Gguf(source) => write!(f, "{source}"),
            Self::Codec { path, tensor, source } => {
                write!(f, "{}: tensor '{tensor}': {source}", path.display())
            }
        }
    }
}

impl std::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotFound { .. } => None,
            // Its message is this one's.
            Self::Gguf(source) => std::error::Error::source(source),
            Self::Codec { source, .. } => Some(source),
        }
    }
}

/// The weights of one tensor, row after row, whatever its type.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_tensor(model: &GgufModel, name: &str) -> Result<Vec<f32>, DecodeError> {
    let index = model.find(name).ok_or_else(|| DecodeError::NotFound {
        path: model.path().to_path_buf(),
        tensor: name.to_owned(),
    })?;
    let info = model.info(index);
    // The header was checked against the file: there are bytes for as many weights.
    let bytes = model
        .bytes(index, 0..info.size_bytes())
        .map_err(DecodeError::Gguf)?;
    let mut weights = vec![0f32; bytes.len() / info.ty.block_bytes() * info.ty.block_len()];
    quants::decode(info.ty, &bytes, &mut weights).map_err(|source| DecodeError::Codec {
        path: model.path().to_path_buf(),
        tensor: name.to_owned(),
        source,
    })?;
    Ok(weights)
}
