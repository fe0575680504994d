//! The name of a byte-level vocabulary's pre-tokenizer.

mod known_ids;

use super::files::{VocabFiles, input_error};
use super::hf::HfTokenizer;
use super::{FoundBy, PreTokenizer};
use crate::Result;

/// Finds the pre-tokenizer: the one that the user named, else by the ids of a fixed text.
pub(super) fn find(files: &VocabFiles, hf: &HfTokenizer, named: Option<&str>) -> Result<PreTokenizer> {
    if let Some(name) = named {
        return Ok(PreTokenizer {
            name: name.to_owned(),
            found_by: FoundBy::Override,
        });
    }
    let digest = known_ids::digest(&hf.encode(files, known_ids::CHECK_TEXT)?);
    if let Some(name) = known_ids::name_of(&digest) {
        return Ok(PreTokenizer {
            name: name.to_owned(),
            found_by: FoundBy::KnownIds,
        });
    }
    Err(input_error(
        &files.dir.join("tokenizer.json"),
        format!(
            "its pre-tokenizer is not a known one (digest {digest}); name the one that it is with \
             `--pre-tokenizer NAME`"
        ),
    ))
}
