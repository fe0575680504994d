//! Vocabularies of Hugging Face model directories as GGUF `tokenizer.*` metadata.
//!
//! Keys, values and their order are those of llama.cpp's converter. What a tokenizer does is asked of
//! the `tokenizers` library; everything else is read from the directory's files, none of which is
//! trusted.

mod budget;
mod byte_level;
mod chat_template;
mod directory;
mod files;
mod hf;
mod keys;
mod kind;
mod merges;
mod mistral;
mod plamo;
mod pre;
mod read;
mod request;
mod rwkv;
mod scored;
mod sentencepiece;
mod settings;
mod size;
mod special;
mod steps;
mod tiktoken;
mod tokens;
mod unigram;
mod vocabulary;

pub(crate) use directory::{added_token_id, entries, pieces};
pub(crate) use files::root_or_text_config;
pub use kind::{Tiktoken, VocabKind};
pub(crate) use mistral::special_id as tekken_special_id;
pub(crate) use pre::{Splitting, splitting};
pub use request::{VocabRequest, VocabStep};
pub(crate) use special::id_key;
pub use steps::vocab_metadata;
pub(crate) use tokens::{NO_SCORE, add_control_tokens, looks_special, padding_text};
pub use vocabulary::{FoundBy, PreTokenizer, Vocabulary};
