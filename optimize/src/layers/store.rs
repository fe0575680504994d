//! Learned blocks on their way to the pipeline.

use std::ops::Range;
use std::sync::Arc;

use convert::plan::Encoder;
use gguf::TensorType;

/// The blocks of a whole tensor.
#[derive(Debug)]
pub(super) struct Stored {
    blocks: Arc<[u8]>,
}

impl Stored {
    pub(super) fn new(blocks: Arc<[u8]>) -> Self {
        Self { blocks }
    }
}

impl Encoder for Stored {
    fn encode(
        &self,
        ty: TensorType,
        rows: Range<u64>,
        _weights: &[f32],
        _row_len: usize,
        _importance: Option<&[f32]>,
        out: &mut [u8],
    ) -> Result<(), quants::Error> {
        let per_row = out.len() / ((rows.end - rows.start) as usize).max(1);
        let first = rows.start as usize * per_row;
        let blocks = self.blocks.get(first..first + out.len());
        out.copy_from_slice(blocks.ok_or(quants::Error::EncodedLength {
            ty,
            expected: self.blocks.len(),
            found: first + out.len(),
        })?);
        Ok(())
    }
}
