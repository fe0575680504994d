//! Bounds on what a file may ask for. Each is far above what real models need and low enough that a
//! hostile file cannot cost more than its own size.

/// Highest format version understood.
pub const MAX_VERSION: u32 = 3;
/// Longest header (everything before the tensor data) that is read, in bytes.
pub const MAX_HEADER_BYTES: u64 = 1 << 30;
/// Longest metadata key, in bytes: the format's own bound.
pub const MAX_KEY_BYTES: u64 = 65_535;
/// Longest tensor name that is read, in bytes. Stock llama.cpp stops at [`MAX_STOCK_NAME_BYTES`];
/// longer names come from builds with a raised bound and can still be inspected.
pub const MAX_TENSOR_NAME_BYTES: u64 = 1024;
/// Longest tensor name that is written, in bytes: `GGML_MAX_NAME` less the terminator.
pub const MAX_STOCK_NAME_BYTES: usize = 63;
/// Most dimensions of a tensor: `GGML_MAX_DIMS`.
pub const MAX_DIMS: u32 = 4;
/// Deepest nesting of arrays: an array of numbers has depth 1.
pub const MAX_ARRAY_DEPTH: usize = 8;
/// Alignment of the data section when `general.alignment` is absent.
pub const DEFAULT_ALIGNMENT: u64 = 32;
/// Largest `general.alignment` accepted.
pub const MAX_ALIGNMENT: u64 = 1 << 24;
/// Largest size of a tensor or file in bytes, and largest number of elements: what a signed 64-bit
/// number holds, as in ggml.
pub const MAX_BYTES: u64 = i64::MAX as u64;
