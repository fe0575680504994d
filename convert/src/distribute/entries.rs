//! The entries of a plan: work, files, links, tensors.

use serde::{Deserialize, Serialize};

/// The work of a plan in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Weights that are read.
    pub weights: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Pieces: what is never parted.
    pub pieces: u64,
    /// Milliseconds on one core, by measured rates ([`super::cost`]).
    pub cost_ms: u64,
}

/// A file that is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFile {
    /// Its name.
    pub file: String,
    /// The preset.
    pub preset: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its header: of all metadata, and of every tensor's name, shape, type and offset.
    pub header_sha256: String,
}

/// Another name of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The name.
    pub file: String,
    /// The file.
    pub of: String,
}

/// An entry that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// The preset.
    pub preset: String,
    /// Why not.
    pub reason: String,
}

/// A tensor of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// Its GGUF name.
    pub tensor: String,
    /// Its type in the unquantized model.
    pub from: String,
    /// Its dimensions, innermost first.
    pub shape: Vec<u64>,
    /// Rows in a piece.
    pub piece_rows: u64,
    /// Microseconds on one core.
    pub cost_us: u64,
    /// Its distinct encodings.
    pub encodings: Vec<Encoding>,
}

/// An encoding of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoding {
    /// The type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Whether an importance matrix weighs its errors.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub importance: bool,
    /// The files that have it, counted from 0.
    pub files: Vec<usize>,
}
