//! Special tokens: ids from the metadata or by their text, and the attributes that follow.
//!
//! Files often give control tokens the wrong kind, so llama.cpp recognizes them by their text; which
//! text is a special token, and which models strip space beside one, is taken from there.

use std::collections::BTreeSet;

use gguf::Metadata;

use super::vocab::{Vocab, attribute, wrong_type};
use crate::error::{Error, Result};

/// Longest special token, in bytes: each position of a text is compared with it. Published ones stay under 200.
const MAX_SPECIAL_BYTES: usize = 4096;

const EOT: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];
const EOM: &[&str] = &["<|eom_id|>"];
const FIM_PRE: &[&str] = &[
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
    "<|prefix|>",
];
const FIM_SUF: &[&str] = &[
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<｜fim▁hole｜>",
    "<SUF>",
    "▁<SUF>",
    "<|code_suffix|>",
    "<|suffix|>",
];
const FIM_MID: &[&str] = &[
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<｜fim▁end｜>",
    "<MID>",
    "▁<MID>",
    "<|code_middle|>",
    "<|middle|>",
];
const FIM_PAD: &[&str] = &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"];
const FIM_REP: &[&str] = &[
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
];
const FIM_SEP: &[&str] = &["<|file_sep|>"];
const EOG: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];
/// Tokens of the Harmony chat format, which are always shown.
const ALWAYS_SHOWN: &[&str] = &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// Fills in the special ids and sets the attributes that go with them.
pub(super) fn resolve(vocab: &mut Vocab, metadata: &Metadata) -> Result<()> {
    read_ids(vocab, metadata)?;
    find_by_text(vocab);
    find_ends(vocab);
    let wanted = attribute::CONTROL | attribute::USER_DEFINED | attribute::UNKNOWN;
    let mut partition: Vec<u32> = (0..vocab.tokens.len() as u32)
        .filter(|&id| vocab.tokens[id as usize].has(wanted))
        .collect();
    if let Some(&id) = partition
        .iter()
        .find(|&&id| vocab.tokens[id as usize].text.len() > MAX_SPECIAL_BYTES)
    {
        return Err(Error::Tokenizer(format!(
            "special token {id}: expected at most {MAX_SPECIAL_BYTES} bytes, found {}",
            vocab.tokens[id as usize].text.len()
        )));
    }
    partition.sort_by_key(|&id| std::cmp::Reverse(vocab.tokens[id as usize].text.len()));
    vocab.special.partition = partition;
    strip_spaces(vocab, metadata);
    Ok(())
}

fn read_ids(vocab: &mut Vocab, metadata: &Metadata) -> Result<()> {
    let n = vocab.tokens.len() as u64;
    let s = &mut vocab.special;
    let keys: [(&str, &mut Option<u32>); 14] = [
        ("bos", &mut s.bos),
        ("eos", &mut s.eos),
        ("eot", &mut s.eot),
        ("eom", &mut s.eom),
        ("unknown", &mut s.unk),
        ("seperator", &mut s.sep),
        ("padding", &mut s.pad),
        ("mask", &mut s.mask),
        ("fim_pre", &mut s.fim_pre),
        ("fim_suf", &mut s.fim_suf),
        ("fim_mid", &mut s.fim_mid),
        ("fim_pad", &mut s.fim_pad),
        ("fim_rep", &mut s.fim_rep),
        ("fim_sep", &mut s.fim_sep),
    ];
    for (name, id) in keys {
        if id.is_some_and(|id| u64::from(id) >= n) {
            *id = None;
        }
        let older = match name {
            "fim_pre" => Some("prefix"),
            "fim_suf" => Some("suffix"),
            "fim_mid" => Some("middle"),
            _ => None,
        };
        for name in [Some(name), older].into_iter().flatten() {
            let key = format!("tokenizer.ggml.{name}_token_id");
            let Some(value) = metadata.get(&key) else { continue };
            match value.as_u64() {
                Some(new) if new < n => *id = Some(new as u32),
                Some(new) => {
                    tracing::warn!("{key} is {new}, beyond the {n} tokens of the vocabulary: ignored");
                }
                None => return Err(wrong_type(&key, Some(value), "a token id")),
            }
        }
    }
    Ok(())
}

/// Makes the first of these texts that is a token special, unless the metadata named one.
fn find_by_text(vocab: &mut Vocab) {
    let find = |vocab: &mut Vocab, known: Option<u32>, texts: &[&str]| {
        known.or_else(|| {
            let id = texts.iter().filter_map(|text| vocab.id(text.as_bytes())).min()?;
            vocab.tokens[id as usize].attributes |= attribute::CONTROL;
            Some(id)
        })
    };
    vocab.special.eot = find(vocab, vocab.special.eot, EOT);
    vocab.special.eom = find(vocab, vocab.special.eom, EOM);
    vocab.special.fim_pre = find(vocab, vocab.special.fim_pre, FIM_PRE);
    vocab.special.fim_suf = find(vocab, vocab.special.fim_suf, FIM_SUF);
    vocab.special.fim_mid = find(vocab, vocab.special.fim_mid, FIM_MID);
    vocab.special.fim_pad = find(vocab, vocab.special.fim_pad, FIM_PAD);
    vocab.special.fim_rep = find(vocab, vocab.special.fim_rep, FIM_REP);
    vocab.special.fim_sep = find(vocab, vocab.special.fim_sep, FIM_SEP);
}

/// Collects the tokens that end a generation.
fn find_ends(vocab: &mut Vocab) {
    let s = &vocab.special;
    let mut eog: BTreeSet<u32> = [s.fim_pad, s.fim_rep, s.fim_sep].into_iter().flatten().collect();
    for text in EOG {
        if let Some(id) = vocab.id(text.as_bytes()) {
            eog.insert(id);
            vocab.tokens[id as usize].attributes |= attribute::CONTROL;
        }
    }
    for text in ALWAYS_SHOWN {
        if let Some(id) = vocab.id(text.as_bytes()) {
            vocab.tokens[id as usize].attributes = attribute::USER_DEFINED;
        }
    }
    let s = &vocab.special;
    eog.extend([s.eos, s.eot, s.eom].into_iter().flatten());

    let ends_with = |text: &str| vocab.id(text.as_bytes()).filter(|id| eog.contains(id));
    let call = ends_with("<|call|>").or(ends_with("<|calls|>"));
    let not_ends = [
        // Harmony and Solar: a message may end without ending the turn.
        ends_with("<|end|>")
            .filter(|_| call.is_some() && ends_with("<|return|>").or(ends_with("<|flush|>")).is_some())
            .map(|id| (id, attribute::USER_DEFINED)),
        // Gemma 4 and PLaMo: plain text there.
        ends_with("</s>")
            .filter(|_| {
                ends_with("<|tool_response>")
                    .or(ends_with("<|plamo:eos|>"))
                    .is_some()
            })
            .map(|id| (id, attribute::NORMAL)),
    ];
    for (id, attributes) in not_ends.into_iter().flatten() {
        eog.remove(&id);
        vocab.tokens[id as usize].attributes = attributes;
    }
    vocab.special.eog = eog;
}

/// Space beside special tokens belongs to them in some models, known by name.
fn strip_spaces(vocab: &mut Vocab, metadata: &Metadata) {
    let pre = metadata.get_str("tokenizer.ggml.pre").unwrap_or("");
    let name = metadata
        .get_str("general.name")
        .unwrap_or("")
        .to_ascii_lowercase();
    let any = |text: &str, parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let set = |vocab: &mut Vocab, text: &str, bit: u16, on: bool| {
        if let Some(id) = vocab.id(text.as_bytes()) {
            let attributes = &mut vocab.tokens[id as usize].attributes;
            *attributes = if on { *attributes | bit } else { *attributes & !bit };
        }
    };
    if any(pre, &["jina-v2-de", "jina-v2-es", "jina-v2-code"])
        || any(metadata.architecture(), &["nomic-bert-moe", "jina-bert-v3"])
    {
        set(vocab, "<mask>", attribute::STRIP_LEFT, true);
    } else if any(&name, &["phi-3", "phi3"]) {
        for id in vocab.special.partition.clone() {
            vocab.tokens[id as usize].attributes |= attribute::STRIP_RIGHT;
        }
        set(vocab, "</s>", attribute::STRIP_RIGHT, true);
        for text in ["<unk>", "<s>", "<|endoftext|>"] {
            set(vocab, text, attribute::STRIP_RIGHT, false);
        }
    } else if any(&name, &["modern-bert"]) {
        set(vocab, "[MASK]", attribute::STRIP_LEFT, true);
    }
}
