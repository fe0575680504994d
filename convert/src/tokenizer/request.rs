//! Requests for a vocabulary: what an architecture needs of it, step by step.

use serde_json::Value as Json;

use super::kind::VocabKind;
use crate::{Error, Result};

/// Request of an architecture and the user for a vocabulary.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct VocabRequest {
    /// The steps that the architecture needs, in the order in which they are done. One step reads the tokens.
    pub steps: Vec<VocabStep>,
    /// `tokenizer.ggml.pre` of a byte-level vocabulary, instead of finding it (`--pre-tokenizer`).
    pub pre_tokenizer: Option<String>,
    /// Rows of the model's token embeddings, where they are known: llama.cpp needs one token for each.
    pub embeddings: Option<u64>,
    /// `general.architecture`, for the kinds that write its `vocab_size`.
    pub architecture: Option<&'static str>,
    /// Write no name of a template of llama.cpp's where a vocabulary of Mistral's has no template of its own.
    pub no_named_template: bool,
    /// `config.json` as it is stored, where the configuration that is read has been completed: special tokens' ids that
    /// `transformers` has for a configuration without them are no model's own.
    pub stored: Option<Json>,
}

gguf::setters! {
    VocabRequest {
        steps: Vec<VocabStep>,
        pre_tokenizer: Option<String>,
        embeddings: Option<u64>,
        architecture: Option<&'static str>,
        no_named_template: bool,
        stored: Option<Json>,
    }
}

/// One step of making a vocabulary's keys.
///
/// Settings of the reading come before the step that reads. A step that sets keys may stand on either side of it; a key
/// that is set again keeps its place in the file. Names of keys are those after `tokenizer.ggml.`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VocabStep {
    /// Setting: the number of tokens is rounded up to a multiple of this.
    Multiple(u64),
    /// Setting: a key of the configuration that does not count as a size of the vocabulary.
    IgnoredSize(&'static str),
    /// Setting: added tokens of a byte-level vocabulary are control tokens where they are marked as special, and only there.
    AddedAsMarked,
    /// Setting: special tokens by type (`eos`, …) and text, for types that the directory names none of. The directory has
    /// to have tokens of these texts.
    Needed(&'static [(&'static str, &'static str)]),
    /// Setting: `token_type_count`, which is written where the way of reading has it, and after its other keys
    /// where that has no place for it.
    TokenTypes(u32),

    /// Reads the tokens in the first of these ways whose files are in the directory.
    Read(Vec<VocabKind>),
    /// Reads a vocabulary as `mistral-common` does, from a directory in Mistral's own layout. It is the last step.
    ReadMistral,
    /// Where a directory in transformers' layout has no vocabulary but that of Mistral's own, reads that, and is the last
    /// step; otherwise does nothing.
    ReadMistralAlone,

    /// `{name}`, a flag.
    Flag(&'static str, bool),
    /// `{name}_token_id`.
    Id(&'static str, u32),
    /// `{name}_token_id` is that of the token of this text, where there is one.
    IdOfText(&'static str, &'static str),
    /// The special tokens are read a second time, for these types (`eot`, …) alone, each with the id, if any, to take
    /// where the directory names none.
    Special(Vec<(&'static str, Option<u32>)>),
    /// Tokens of these texts are control tokens, however they are marked.
    Control(&'static [&'static str]),
    /// `add_space_prefix` of a vocabulary that was read in this way.
    SpacePrefix(VocabKind, bool),
    /// `add_space_prefix` is `add_prefix_space` of `tokenizer_config.json`, where it is there.
    ConfiguredSpacePrefix,
    /// The same, and the key is moved to the place behind the types of the tokens.
    ConfiguredSpacePrefixBehindTypes,
    /// `eos_token_id` is that of this text where `tokenizer_config.json` lists it among the added special tokens.
    EndAmongAdded(&'static str),
    /// Both `bos_token_id` and `eos_token_id` are that of this text where `tokenizer_config.json` lists it among the added
    /// tokens.
    BoundsAmongAdded(&'static str),
    /// `eot_token_id` is the first of several `eos_token_id` of `generation_config.json`.
    GeneratedEndOfTurn,
    /// The chat template, instead of the one that the directory has.
    ChatTemplate(&'static str),
    /// The chat template of `chat_template.jinja`, where there is such a file, whatever other files have.
    ChatTemplateOfFile,
    /// The chat template of `chat_template.jinja` or else of `tokenizer_config.json`, for a way of reading that reads
    /// none.
    ChatTemplateAlone,
    /// Special tokens' ids, whether they are added and chat templates, which the directory has, are left out.
    WithoutSpecial,
}

impl VocabRequest {
    /// A vocabulary that is read in the first of these ways whose files are there, and nothing more.
    pub fn new(kinds: &[VocabKind]) -> Self {
        Self::of([VocabStep::read(kinds)])
    }

    /// These steps.
    pub fn of(steps: impl IntoIterator<Item = VocabStep>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            ..Self::default()
        }
    }

    /// These steps, too, after those that there are.
    #[must_use]
    pub fn and(mut self, steps: impl IntoIterator<Item = VocabStep>) -> Self {
        self.steps.extend(steps);
        self
    }

    /// The steps before the one that reads, that one, and those after it.
    ///
    /// # Errors
    /// No step or several that read; a setting of the reading after it.
    pub(crate) fn parts(&self) -> Result<(&[VocabStep], &VocabStep, &[VocabStep])> {
        let wrong = |message: String| Error::Request(format!("steps of a vocabulary: {message}"));
        let reads = |step: &VocabStep| matches!(step, VocabStep::Read(_) | VocabStep::ReadMistral);
        let at = self.steps.iter().position(reads);
        let at = at.ok_or_else(|| wrong("expected one that reads, found none".to_owned()))?;
        let (before, rest) = self.steps.split_at(at);
        let (reading, after) = rest.split_first().expect("it is there");
        let late = after.iter().find(|step| step.comes_first());
        let late = late.or(after.first().filter(|_| *reading == VocabStep::ReadMistral));
        match late {
            Some(step) => Err(wrong(format!(
                "expected {step:?} before the one that reads, found it after"
            ))),
            None => Ok((before, reading, after)),
        }
    }
}

impl VocabStep {
    /// [`Self::Read`] of these kinds.
    pub fn read(kinds: &[VocabKind]) -> Self {
        Self::Read(kinds.to_vec())
    }

    /// Whether it has no meaning once the tokens are read.
    fn comes_first(&self) -> bool {
        matches!(
            self,
            Self::Multiple(_)
                | Self::IgnoredSize(_)
                | Self::AddedAsMarked
                | Self::Needed(_)
                | Self::TokenTypes(_)
                | Self::Read(_)
                | Self::ReadMistral
                | Self::ReadMistralAlone
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_in_order() {
        let read = || VocabStep::read(&[VocabKind::Bpe]);
        let check = |steps: &[VocabStep]| {
            let error = VocabRequest::of(steps.to_vec()).parts().err();
            error.map(|e| e.to_string()).unwrap_or_default()
        };
        assert_eq!(
            check(&[VocabStep::ReadMistralAlone, VocabStep::Multiple(8), read()]),
            ""
        );
        assert_eq!(
            check(&[VocabStep::Id("eot", 1), read(), VocabStep::Id("eot", 2)]),
            ""
        );
        for (steps, expected) in [
            (vec![], "found none"),
            (vec![VocabStep::ReadMistralAlone], "found none"),
            (vec![read(), VocabStep::Multiple(8)], "Multiple(8) before"),
            (vec![read(), read()], "Read([Bpe]) before"),
            (
                vec![read(), VocabStep::ReadMistralAlone],
                "ReadMistralAlone before",
            ),
            (
                vec![VocabStep::ReadMistral, VocabStep::Id("eot", 1)],
                "Id(\"eot\", 1) before",
            ),
        ] {
            let found = check(&steps);
            assert!(found.contains(expected), "{steps:?}: {found}");
        }
    }
}
