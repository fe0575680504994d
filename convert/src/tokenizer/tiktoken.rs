//! tiktoken-style vocabulary files: on each line a token in base64 and its rank, which is its id. Special tokens
//! and the way of splitting text stand in the code that is published with a model, so that there is one
//! [`Tiktoken`] for each such code. Merges are found again as llama.cpp's converter finds them: the last of the
//! merges that make a token.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gguf::Metadata;
use serde_json::Value as Json;

use super::files::{MAX_TOKENS, VocabFiles, read_optional};
use super::kind::{Tiktoken, VocabKind};
use super::settings::Settings;
use super::special::SpecialVocab;
use super::tokens::{TokenList, TokenType, looks_special, padding_text};
use super::vocabulary::{PreTokenizer, Vocabulary};
use crate::{Error, Result};

/// Largest file that is read. Published ones stay under 4 MB.
const MAX_BYTES: u64 = 16 << 20;
/// Longest token, in bytes. Published ones stay under 300; finding a token's merge takes time that grows with the
/// square of its length.
pub(super) const MAX_TOKEN_BYTES: usize = 1024;

/// Constants of the published code.
struct Code {
    file: &'static str,
    pre_tokenizer: &'static str,
    /// Named special tokens, which follow the ranks.
    named: &'static [&'static str],
    /// How many `<|extra_0|>`, `<|extra_1|>`, ... follow those.
    extras: u32,
    /// Number of special tokens in all, where `tokenizer_config.json` names them.
    reserved: u32,
    /// Whether a token's rank is its place in the file, not counting repeated tokens, instead of what is written.
    by_place: bool,
}

const PLAIN: Code = Code {
    file: "",
    pre_tokenizer: "",
    named: &[],
    extras: 0,
    reserved: 0,
    by_place: false,
};

const QWEN: Code = Code {
    file: "qwen.tiktoken",
    pre_tokenizer: "qwen2",
    named: &[END_OF_TEXT, "<|im_start|>", "<|im_end|>"],
    extras: 205,
    ..PLAIN
};

const GLM: Code = Code {
    file: "tokenizer.model",
    pre_tokenizer: "chatglm-bpe",
    ..PLAIN
};

const KIMI: Code = Code {
    file: "tiktoken.model",
    pre_tokenizer: "kimi-k2",
    reserved: 258,
    ..PLAIN
};

const HUNYUAN: Code = Code {
    file: "hy.tiktoken",
    pre_tokenizer: "hunyuan",
    named: &[END_OF_TEXT, "<|startoftext|>", "<|bos|>", "<|eos|>", "<|pad|>"],
    extras: 205,
    by_place: true,
    ..PLAIN
};

/// Keys of the configured size of a vocabulary.
pub(super) const TIKTOKEN_SIZE_KEYS: &[&str] = &["vocab_size", "padded_vocab_size"];

const END_OF_TEXT: &str = "<|endoftext|>";

impl Tiktoken {
    const fn code(self) -> &'static Code {
        match self {
            Self::Qwen => &QWEN,
            Self::Glm => &GLM,
            Self::Kimi => &KIMI,
            Self::Hunyuan => &HUNYUAN,
        }
    }

    /// The file's name.
    pub(super) const fn file(self) -> &'static str {
        self.code().file
    }
}

/// Tokens in the order of the file, and their ranks.
#[derive(Debug, Default)]
struct Ranks {
    tokens: Vec<Vec<u8>>,
    ranks: HashMap<Vec<u8>, u32>,
}

impl Ranks {
    /// # Errors
    /// A line that is not a token and a rank, or repeats another's token or rank; too many or too long tokens.
    fn read(path: &Path, by_place: bool) -> Result<Self> {
        let bytes = read_optional(path, MAX_BYTES)?
            .ok_or_else(|| Error::input(path, "expected this file, found none"))?;
        let mut this = Self::default();
        let mut lines_of_ranks: HashMap<u32, usize> = HashMap::new();
        for (number, line) in bytes.split(|&b| b == b'\n').enumerate() {
            let error = |message: String| Error::input(path, format!("line {}: {message}", number + 1));
            let mut parts = line
                .split(u8::is_ascii_whitespace)
                .filter(|part| !part.is_empty());
            let (token, rank) = match (parts.next(), parts.next(), parts.next()) {
                (None, ..) => continue,
                (Some(token), Some(rank), None) => (token, rank),
                _ => {
                    return Err(error(
                        "found no token in base64 and its rank, expected these two".into(),
                    ));
                }
            };
            let token = STANDARD
                .decode(token)
                .map_err(|e| error(format!("expected a token in base64, found another text: {e}")))?;
            if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
                let found = token.len();
                return Err(error(format!(
                    "the token has {found} bytes, expected 1 to {MAX_TOKEN_BYTES}"
                )));
            }
            let rank: u32 = std::str::from_utf8(rank)
                .ok()
                .and_then(|text| text.parse().ok())
                .filter(|&rank| (rank as usize) < MAX_TOKENS)
                .ok_or_else(|| {
                    let found = String::from_utf8_lossy(rank);
                    error(format!(
                        "the rank is {found:?}, expected a number below {MAX_TOKENS}"
                    ))
                })?;
            if by_place && this.ranks.contains_key(&token) {
                continue;
            }
            let rank = if by_place { this.tokens.len() as u32 } else { rank };
            if let Some(line) = lines_of_ranks.insert(rank, number + 1) {
                return Err(error(format!(
                    "expected a rank of its own, found {rank}, which is that of line {line} too"
                )));
            }
            if let Some(other) = this.ranks.insert(token.clone(), rank) {
                let line = lines_of_ranks.get(&other).copied().unwrap_or_default();
                return Err(error(format!(
                    "expected a token of its own for rank {rank}, found that of line {line}"
                )));
            }
            this.tokens.push(token);
        }
        if this.tokens.is_empty() {
            return Err(Error::input(path, "found no token, expected at least one"));
        }
        Ok(this)
    }

    /// Position at which the last merge that makes a token joins its two parts; `None` where the merges of lower rank
    /// do not lead to two parts.
    fn last_merge(&self, token: &[u8], rank: u32) -> Option<usize> {
        let rank_of = |from: usize, to: usize| self.ranks.get(&token[from..to]).copied();
        let mut ends: Vec<usize> = (0..=token.len()).collect();
        // The rank of each part joined with the next.
        let mut joined: Vec<Option<u32>> = ends.windows(3).map(|w| rank_of(w[0], w[2])).collect();
        loop {
            let ranked = joined.iter().enumerate().filter_map(|(i, r)| Some(((*r)?, i)));
            let Some((_, i)) = ranked.min().filter(|&(lowest, _)| lowest < rank) else {
                break;
            };
            ends.remove(i + 1);
            joined.remove(i);
            if let Some(after) = joined.get_mut(i) {
                *after = rank_of(ends[i], ends[i + 2]);
            }
            if i > 0 {
                joined[i - 1] = rank_of(ends[i - 1], ends[i + 1]);
            }
        }
        (ends.len() == 3).then(|| ends[1])
    }

    /// Merges in the order of the file, and how many tokens have none.
    fn merges(&self) -> (Vec<String>, usize) {
        let (mut merges, mut without) = (Vec::new(), 0);
        for token in self.tokens.iter().filter(|token| token.len() > 1) {
            match self.last_merge(token, self.ranks[token]) {
                Some(at) => merges.push(format!(
                    "{} {}",
                    byte_level(&token[..at]),
                    byte_level(&token[at..])
                )),
                None => without += 1,
            }
        }
        (merges, without)
    }
}

/// Bytes as byte-level vocabularies write them: printable ones of Latin-1 as they are, the others from U+0100 on.
pub(super) fn byte_level(bytes: &[u8]) -> String {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut out = String::with_capacity(bytes.len() * 2);
    for &byte in bytes {
        let code = match byte {
            _ if printable(byte) => u32::from(byte),
            0..=0x20 => 0x100 + u32::from(byte),
            0x7F..=0xA0 => 0x100 + 33 + u32::from(byte - 0x7F),
            _ => 0x100 + 67,
        };
        out.extend(char::from_u32(code));
    }
    out
}

/// A special token.
struct Special {
    text: String,
    id: u32,
    kind: TokenType,
}

/// The tokens that follow the ranks, in the order of their ids.
fn special_tokens(files: &VocabFiles, code: &Code, n_ranks: u32) -> Vec<Special> {
    let control = |text: String, id: u32| Special {
        text,
        id,
        kind: TokenType::Control,
    };
    let named = code.named.iter().map(|&text| text.to_owned());
    let extras = (0..code.extras).map(|i| format!("<|extra_{i}|>"));
    let mut specials: Vec<Special> = (n_ranks..)
        .zip(named.chain(extras))
        .map(|(id, text)| control(text, id))
        .collect();
    if !code.named.is_empty() {
        return specials;
    }
    let mut configured: HashMap<u32, &Json> = HashMap::new();
    let decoder = files
        .tokenizer_config("added_tokens_decoder")
        .and_then(Json::as_object);
    for (id, token) in decoder.into_iter().flatten() {
        if let Ok(id) = id.trim().parse() {
            configured.insert(id, token);
        }
    }
    let text = |token: &Json| token.get("content").and_then(Json::as_str).map(str::to_owned);
    if code.reserved > 0 {
        for id in (n_ranks..).take(code.reserved as usize) {
            let named = configured.get(&id).and_then(|token| text(token));
            specials.push(control(
                named.unwrap_or_else(|| format!("<|reserved_token_{id}|>")),
                id,
            ));
        }
        return specials;
    }
    for (id, token) in configured {
        let Some(text) = text(token) else { continue };
        let special = token.get("special").and_then(Json::as_bool) == Some(true);
        let kind = match special || looks_special(&text) {
            true => TokenType::Control,
            false => TokenType::UserDefined,
        };
        specials.push(Special { text, id, kind });
    }
    specials.sort_by_key(|special| special.id);
    specials
}

/// Reads a vocabulary.
pub(super) fn vocabulary(
    files: &VocabFiles,
    mut metadata: Metadata,
    settings: &Settings<'_>,
    tiktoken: Tiktoken,
) -> Result<Vocabulary> {
    let code = tiktoken.code();
    let ranks = Ranks::read(&files.dir.join(code.file), code.by_place)?;
    let specials = special_tokens(files, code, ranks.tokens.len() as u32);
    let own = ranks.tokens.len() + specials.len();
    let n_vocab = files.vocab_size(TIKTOKEN_SIZE_KEYS, own)?.ok_or_else(|| {
        Error::input(
            files.dir.join("config.json"),
            "expected a key vocab_size, found none",
        )
    })?;
    let list = token_list(&ranks, &specials, code, n_vocab).map_err(|id| {
        let message = format!("token id {id} is outside the model's vocabulary of {n_vocab} tokens");
        files.misfit(code.file, TIKTOKEN_SIZE_KEYS, own, &message)
    })?;
    let pre = PreTokenizer::of_file(settings.pre_tokenizer, code.pre_tokenizer);
    list.write_as(&mut metadata, "gpt2", &pre.name);

    let mut special = SpecialVocab::read(files, false, None, None)?;
    let (merges, without) = ranks.merges();
    special.merges = merges;
    if without > 0 {
        special.warnings.push(format!(
            "{}: no merge leads to {without} of its tokens",
            code.file
        ));
    }
    complete(files, settings, tiktoken, &specials, &mut special)?;
    special.write(&mut metadata);
    Ok(Vocabulary {
        pre_tokenizer: Some(pre),
        warnings: special.warnings,
        ..Vocabulary::new(VocabKind::Tiktoken(tiktoken), metadata, (n_vocab, own))
    })
}

/// The tokens under their ids.
///
/// # Errors
/// An id that the model has no embedding for.
fn token_list(ranks: &Ranks, specials: &[Special], code: &Code, n_vocab: usize) -> Result<TokenList, u32> {
    let mut list = TokenList {
        texts: (0..n_vocab).map(padding_text).collect(),
        types: vec![TokenType::Unused; n_vocab],
        scores: None,
    };
    let special_texts: HashSet<&str> = specials.iter().map(|s| &*s.text).collect();
    for token in &ranks.tokens {
        let (id, text) = (ranks.ranks[token], byte_level(token));
        if id as usize >= n_vocab {
            return Err(id);
        }
        // A token under the text of a special one gives way to it.
        if !special_texts.contains(&*text) {
            list.texts[id as usize] = text;
            list.types[id as usize] = TokenType::Normal;
        }
    }
    for special in specials {
        match list.texts.get_mut(special.id as usize) {
            Some(text) => {
                text.clone_from(&special.text);
                list.types[special.id as usize] = special.kind;
            }
            // The published code reserves more than there are.
            None if code.reserved > 0 => {}
            None => return Err(special.id),
        }
    }
    Ok(list)
}

/// Ids of special tokens that the directory names none of, as the converter has them for each code.
fn complete(
    files: &VocabFiles,
    settings: &Settings<'_>,
    tiktoken: Tiktoken,
    specials: &[Special],
    special: &mut SpecialVocab,
) -> Result<()> {
    let id_of = |text: &str| specials.iter().find(|s| s.text == text).map(|s| s.id);
    match tiktoken {
        Tiktoken::Qwen => {
            let id = id_of(END_OF_TEXT).unwrap_or_default().into();
            if !special.has_ids() {
                special.set_id("bos", id);
                special.set_id("eos", id);
            }
            special.set_id("unk", id);
        }
        Tiktoken::Glm => {
            for (kind, text) in &settings.needed {
                let id = id_of(text).ok_or_else(|| {
                    Error::input(
                        files.dir.join("tokenizer_config.json"),
                        format!(
                            "expected an added token {text:?}, which this architecture needs, found none"
                        ),
                    )
                })?;
                special.set_id(kind, id.into());
            }
        }
        Tiktoken::Kimi | Tiktoken::Hunyuan => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(text: &str) -> Result<Ranks> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tiktoken");
        std::fs::write(&path, text).unwrap();
        Ranks::read(&path, false)
    }

    /// A line for each token, in the order of their ranks.
    fn file(tokens: &[&str]) -> String {
        let lines = tokens.iter().enumerate();
        lines
            .map(|(rank, token)| format!("{} {rank}\n", STANDARD.encode(token)))
            .collect()
    }

    #[test]
    fn bytes_are_written_as_gpt2_writes_them() {
        assert_eq!(byte_level(b" a\n\x7f\xa0\xad\xff"), "ĠaĊġłŃÿ");
        let all: HashSet<String> = (0..=255).map(|b| byte_level(&[b])).collect();
        assert_eq!(all.len(), 256);
    }

    #[test]
    fn merges_are_those_of_lowest_rank() {
        // "abc" is made of "ab" and "c": "ab" comes before "bc".
        let ranks = ranks(&file(&["a", "b", "c", " ", "ab", "bc", "abc", "x y"])).unwrap();
        let (merges, without) = ranks.merges();
        assert_eq!(merges, ["a b", "b c", "ab c"]);
        assert_eq!(without, 1);
    }

    #[test]
    fn equal_ranks_merge_from_the_left() {
        let ranks = ranks(&file(&["a", "aa", "aaa"])).unwrap();
        assert_eq!(ranks.merges().0, ["a a", "aa a"]);
    }

    #[test]
    fn what_is_not_a_line_is_named() {
        for (text, expected) in [
            ("YQ== 0\nYg==\n", "line 2: found no token"),
            ("YQ== 0 1\n", "line 1: found no token"),
            ("YQ== 0\n\n?? 1\n", "line 3: expected a token in base64"),
            (
                "YQ== 0\nYg== 0\n",
                "line 2: expected a rank of its own, found 0, which is that of line 1 too",
            ),
            (
                "YQ== 0\nYQ== 1\n",
                "line 2: expected a token of its own for rank 1, found that of line 1",
            ),
            ("YQ== -1\n", "line 1: the rank is \"-1\""),
            ("YQ== 99999999999999999999\n", "line 1: the rank is"),
            ("YQ== 4194304\n", "line 1: the rank is"),
            ("\n\n", "found no token, expected at least one"),
        ] {
            let error = ranks(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        let long = format!("{} 0\n", STANDARD.encode(vec![b'a'; MAX_TOKEN_BYTES + 1]));
        assert!(ranks(&long).unwrap_err().to_string().contains("1025 bytes"));
    }
}
