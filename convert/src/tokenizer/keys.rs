//! Keys that are written in several places.

pub(super) const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
pub(super) const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
pub(super) const BOS: &str = "tokenizer.ggml.bos_token_id";
pub(super) const EOS: &str = "tokenizer.ggml.eos_token_id";
pub(super) const EOT: &str = "tokenizer.ggml.eot_token_id";
pub(super) const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
pub(super) const SCORES: &str = "tokenizer.ggml.scores";
pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";
pub(super) const TOKEN_TYPE_COUNT: &str = "tokenizer.ggml.token_type_count";
