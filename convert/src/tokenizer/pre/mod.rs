//! The name of a byte-level vocabulary's pre-tokenizer.

mod behaviour;
mod known_ids;

pub(crate) use behaviour::{Splitting, splitting};

use super::files::VocabFiles;
use super::hf::HfTokenizer;
use super::vocabulary::{FoundBy, PreTokenizer};
use crate::{Error, Remedy, Result};

/// Finds the pre-tokenizer: the one that the user named, else by the ids of a fixed text,
/// else by how it splits text.
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
    let near = match behaviour::find(files, hf)? {
        Ok(name) => {
            return Ok(PreTokenizer {
                name: name.to_owned(),
                found_by: FoundBy::Behaviour,
            });
        }
        Err(near) => near,
    };
    let nearest: Vec<String> = near.iter().take(3).map(ToString::to_string).collect();
    Err(Error::input(
        files.dir.join("tokenizer.json"),
        format!(
            "its pre-tokenizer is not a known one: no published vocabulary gives the ids {digest}, \
             and no known pre-tokenizer splits text alike. The nearest: {}",
            nearest.join("; ")
        ),
    )
    .avoided_by(Remedy::PreTokenizer))
}
