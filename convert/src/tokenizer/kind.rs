//! The forms in which vocabularies are published.

/// One way to read a vocabulary. An architecture lists the ways that its models are published in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VocabKind {
    /// `tokenizer.model`, written as GGUF tokenizer model `llama`.
    SentencePiece,
    /// `tokenizer.json` with byte fallback, written as GGUF tokenizer model `llama`.
    LlamaHf,
    /// The same with its merges, written as GGUF tokenizer model `gemma4`.
    Gemma4,
    /// `tokenizer.json` with byte-level merges, written as GGUF tokenizer model `gpt2`.
    Bpe,
    /// The same, where `tokenizer_config.json` names the class `GPT2Tokenizer` (Phi-4).
    Gpt2Class,
    /// `tokenizer.model`, with the added tokens of `tokenizer.json` too, all of them as they are (Phi-3).
    Phi3,
    /// `tokenizer.json` whose tokens are written as they are, without scores, as GGUF tokenizer model `llama`.
    Xverse,
    /// `tokenizer.json` with word pieces, written as GGUF tokenizer model `bert`.
    WordPiece,
    /// `sentencepiece.bpe.model` of XLM-RoBERTa, written as GGUF tokenizer model `t5`.
    XlmRoberta,
    /// `tokenizer.model` or `spiece.model` of T5, written as GGUF tokenizer model `t5`.
    T5,
    /// `tokenizer.json` with a unigram model, written as GGUF tokenizer model `t5`.
    Unigram,
    /// `tokenizer.model` of InternLM 2, which chats end with `<|im_end|>`.
    InternLm2,
    /// `tokenizer.model` of Arctic, some of whose pieces `tokenizer_config.json` defines anew.
    Arctic,
    /// A tiktoken-style file, written as GGUF tokenizer model `gpt2`.
    Tiktoken(Tiktoken),
    /// `rwkv_vocab_v20230424.txt`, written as GGUF tokenizer model `rwkv`.
    Rwkv,
    /// `tokenizer.jsonl`, written as GGUF tokenizer model `plamo2`.
    Plamo,
    /// `tekken.json`, written as GGUF tokenizer model `gpt2`.
    Tekken,
    /// `tokenizer.model.vN` of Mistral, written as GGUF tokenizer model `llama`.
    MistralPieces,
}

/// Whose code reads a tiktoken-style file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tiktoken {
    /// `qwen.tiktoken` of Qwen 1.
    Qwen,
    /// `tokenizer.model` of GLM-4 (2024), whose special tokens `tokenizer_config.json` lists.
    Glm,
    /// `tiktoken.model` of Kimi and Moonlight.
    Kimi,
    /// `hy.tiktoken` of Hunyuan.
    Hunyuan,
}

impl VocabKind {
    /// The file that it is read from, as an error says it.
    pub(super) fn wanted(self) -> &'static str {
        match self {
            Self::SentencePiece | Self::Phi3 | Self::InternLm2 | Self::Arctic => {
                "a SentencePiece tokenizer.model or tokenizer.json"
            }
            Self::Xverse => "a tokenizer.json",
            Self::Gpt2Class => "a tokenizer.json of the class GPT2Tokenizer",
            Self::LlamaHf | Self::Gemma4 => "a tokenizer.json with byte fallback",
            Self::Bpe => "a byte-level tokenizer.json",
            Self::WordPiece => "a tokenizer.json with word pieces",
            Self::XlmRoberta => "a SentencePiece sentencepiece.bpe.model",
            Self::T5 => "a SentencePiece tokenizer.model or spiece.model",
            Self::Unigram => "a tokenizer.json with a unigram model",
            Self::Rwkv => "a rwkv_vocab_v20230424.txt",
            Self::Plamo => "a tokenizer.jsonl",
            Self::Tiktoken(Tiktoken::Qwen) => "a qwen.tiktoken",
            Self::Tiktoken(Tiktoken::Glm) => "a tokenizer.model of base64 lines",
            Self::Tiktoken(Tiktoken::Kimi) => "a tiktoken.model",
            Self::Tiktoken(Tiktoken::Hunyuan) => "a hy.tiktoken",
            Self::Tekken => "a tekken.json",
            Self::MistralPieces => "a tokenizer.model with a version",
        }
    }
}
