//! The level that needs no text: every block searched anew, for itself.

use std::ops::Range;
use std::sync::Arc;

use convert::plan::{Encoder, OutputPlan};
use gguf::TensorType;
use quants::parts::layout;

use crate::feedback::search_blocks;

/// Encodes with the joint search of blocks.
#[derive(Debug)]
struct Search;

impl Encoder for Search {
    fn encode(
        &self,
        ty: TensorType,
        _rows: Range<u64>,
        weights: &[f32],
        row_len: usize,
        importance: Option<&[f32]>,
        out: &mut [u8],
    ) -> Result<(), quants::Error> {
        search_blocks(ty, weights, row_len, importance, out)
    }
}

/// Has all tensors of a file whose types allow it encoded by the joint search of blocks; how many they are.
pub fn blocks(outputs: &mut [OutputPlan<'_>]) -> usize {
    let encoder: Arc<dyn Encoder> = Arc::new(Search);
    let mut count = 0;
    for output in outputs {
        for tensor in 0..output.contents().len() {
            if layout(output.contents()[tensor].ty).is_some() {
                output.set_encoder(tensor, Arc::clone(&encoder));
                count += 1;
            }
        }
    }
    count
}
