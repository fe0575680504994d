//! How an architecture's vocabularies are published, as data.

use serde_json::Value;

use crate::tokenizer::{Tiktoken, VocabKind, VocabRequest, VocabStep, root_or_text_config};

/// The options that a description has for a vocabulary; the steps of a request that these become are in [`Self::request`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vocabulary {
    pub(crate) kinds: &'static [VocabKind],
    pub(crate) pre_tokenizer: Option<&'static str>,
    pub(crate) space_prefix_from_config: bool,
    pub(crate) space_prefix: Option<bool>,
    pub(crate) add_bos: Option<bool>,
    /// Whether Mistral's own vocabulary is read where a directory has no other.
    pub(crate) mistral: bool,
    /// Special tokens (`eot`, …), with the id to take where the directory names none.
    pub(crate) special: &'static [(&'static str, u32)],
    /// The meanings of some sizes of vocabularies.
    pub(crate) sizes: &'static [ForSize],
}

/// The settings for models whose configuration says this size of the vocabulary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForSize {
    pub(crate) vocab_size: u64,
    pub(crate) add_bos: Option<bool>,
    pub(crate) special: &'static [(&'static str, u32)],
}

/// Names of the ways to read a vocabulary that a directory in transformers' form may have.
pub(in crate::arch) const KINDS: [(&str, VocabKind); 19] = [
    ("sentencepiece", VocabKind::SentencePiece),
    ("byte_fallback", VocabKind::LlamaHf),
    ("byte_level", VocabKind::Bpe),
    ("gpt2_class", VocabKind::Gpt2Class),
    ("gemma4", VocabKind::Gemma4),
    ("phi3", VocabKind::Phi3),
    ("xverse", VocabKind::Xverse),
    ("word_pieces", VocabKind::WordPiece),
    ("xlm_roberta", VocabKind::XlmRoberta),
    ("t5", VocabKind::T5),
    ("unigram", VocabKind::Unigram),
    ("internlm2", VocabKind::InternLm2),
    ("arctic", VocabKind::Arctic),
    ("rwkv", VocabKind::Rwkv),
    ("plamo", VocabKind::Plamo),
    ("tiktoken_qwen", VocabKind::Tiktoken(Tiktoken::Qwen)),
    ("tiktoken_glm", VocabKind::Tiktoken(Tiktoken::Glm)),
    ("tiktoken_kimi", VocabKind::Tiktoken(Tiktoken::Kimi)),
    ("tiktoken_hunyuan", VocabKind::Tiktoken(Tiktoken::Hunyuan)),
];

impl Vocabulary {
    /// Of these kinds, and nothing more.
    pub(crate) const fn of(kinds: &'static [VocabKind]) -> Self {
        Self {
            kinds,
            pre_tokenizer: None,
            space_prefix_from_config: false,
            space_prefix: None,
            add_bos: None,
            mistral: false,
            special: &[],
            sizes: &[],
        }
    }

    /// The request for a model with this configuration.
    pub(crate) fn request(&self, config: &Value) -> VocabRequest {
        let size = root_or_text_config(config, "vocab_size").and_then(Value::as_u64);
        let own = self.sizes.iter().find(|s| Some(s.vocab_size) == size);
        let special = own.map_or(self.special, |s| s.special);
        let add_bos = own.map_or(self.add_bos, |s| s.add_bos);
        let mut steps = Vec::new();
        if self.mistral {
            steps.push(VocabStep::ReadMistralAlone);
        }
        if self.space_prefix_from_config {
            steps.push(VocabStep::ConfiguredSpacePrefix);
        }
        steps.push(VocabStep::read(self.kinds));
        if !special.is_empty() {
            let special = special.iter().map(|&(name, id)| (name, Some(id)));
            steps.push(VocabStep::Special(special.collect()));
        }
        let space_prefix = |space| VocabStep::SpacePrefix(VocabKind::SentencePiece, space);
        steps.extend(self.space_prefix.map(space_prefix));
        steps.extend(add_bos.map(|add| VocabStep::Flag("add_bos_token", add)));
        VocabRequest::of(steps).pre_tokenizer(self.pre_tokenizer.map(str::to_owned))
    }
}

impl VocabRequest {
    /// Request of llama.cpp's converter for Llama, Mistral and their relatives. `config` is the model's `config.json`: two
    /// vocabulary sizes stand for Code Llama and for Granite's small models.
    pub fn llama(config: &Value) -> Self {
        LLAMA_VOCABULARY.request(config)
    }

    /// Request of llama.cpp's converter for Qwen2 and Qwen3.
    pub fn qwen2() -> Self {
        QWEN2_VOCABULARY.request(&Value::Null)
    }
}

/// Of Llama, Mistral and their relatives.
pub(crate) static LLAMA_VOCABULARY: Vocabulary = Vocabulary {
    space_prefix_from_config: true,
    mistral: true,
    sizes: &[
        // Code Llama.
        ForSize {
            vocab_size: 32016,
            add_bos: None,
            special: &[
                ("prefix", 32007),
                ("suffix", 32008),
                ("middle", 32009),
                ("eot", 32010),
            ],
        },
        // Granite's small models.
        ForSize {
            vocab_size: 49152,
            add_bos: Some(false),
            special: &[],
        },
    ],
    ..Vocabulary::of(&[VocabKind::SentencePiece, VocabKind::LlamaHf, VocabKind::Bpe])
};

/// Of Qwen 2 and 3.
pub(crate) static QWEN2_VOCABULARY: Vocabulary = Vocabulary::of(&[VocabKind::SentencePiece, VocabKind::Bpe]);
