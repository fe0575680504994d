//! Pre-tokenizers told apart by how they split text, for vocabularies that nobody has listed: one
//! that was trained anew over a known splitting.

use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::{NormalizedString, Normalizer as _, PreTokenizer as _};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, SplitDelimiterBehavior};

use super::known_ids::CHECK_TEXT;
use crate::Result;
use crate::tokenizer::files::VocabFiles;
use crate::tokenizer::hf::{HfTokenizer, guarded};

/// Texts on which any two of the known pre-tokenizers differ, and strangers are likely to.
const PROBES: &[&str] = &[
    CHECK_TEXT,
    "I'll I'LL we'Ll don't DON'T he's'S 'twas o'clock Ankara'dan",
    "a1b22c333d4444 1234567 12,345.67",
    "two  12  345\n  6",
    "foo  bar\t\tbaz \n\n qux\r\n\r\nend   ",
    "HTTPServer camelCase XMLHttpRequest aBC ABCd",
    "x=y+z/w //comment\n/next\r\n!= >= <- $100 (a|b) ^~` ###\n\n",
    "e\u{301}clair n\u{303}o नमस्ते ಕನ್ನಡ ไทย",
    "日本語123テスト、漢字。한국어 텍스트",
    "٣٤٥ ½ Ⅷ ² ①",
    "\u{a0}nbsp \u{3000}wide\u{2003}em",
    "!important #tag @user _under_score https://a.b/c?d=e&f",
    "Größe ÀÉ ǅ ʰ ªº ΑΒΓαβγ жЖ",
    "«quoted» “curly” ‘single’ — dash… ؟ ، ।",
    "                                                                      ",
];

/// A known splitting: regular expressions applied one after the other, each match by itself.
struct Known {
    name: &'static str,
    patterns: &'static [&'static str],
    /// Whether a piece that is a token as a whole is taken without merging.
    ignore_merges: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";

const fn known(name: &'static str, patterns: &'static [&'static str]) -> Known {
    Known {
        name,
        patterns,
        ignore_merges: false,
    }
}

const fn whole_words(name: &'static str, patterns: &'static [&'static str]) -> Known {
    Known {
        name,
        patterns,
        ignore_merges: true,
    }
}

/// One name for each behaviour; where llama.cpp has several for one (`qwen2` and
/// `bailingmoe` among them), the most widely used. The regular expressions are those of the models'
/// own files.
const KNOWN: &[Known] = &[
    known("gpt-2", &[GPT2]),
    known("smollm", &[r"\p{N}", GPT2]),
    whole_words("llama-bpe", &[LLAMA3]),
    known("smaug-bpe", &[LLAMA3]),
    known("qwen2", &[QWEN2]),
    known("qwen35", &[QWEN35]),
    whole_words("tekken", &[TEKKEN]),
    known("gpt-4o", &[GPT4O]),
    known(
        "deepseek-v3",
        &[r"\p{N}{1,3}", "[一-龥\u{3040}-ゟ゠-ヿ]+", DEEPSEEK3],
    ),
    known(
        "deepseek-coder",
        &[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            "[一-龥ࠀ-一가-\u{d7ff}]+",
            r"\p{N}",
        ],
    ),
    known("bloom", &[BLOOM]),
    known("viking", &[BLOOM, r"\p{N}"]),
    known(
        "seed-coder",
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
    ),
    whole_words(
        "minicpm5",
        &[
            r"\p{N}{1,3}",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
    ),
    known(
        "ufakzeka",
        &[r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    ),
    known("laguna", &[r"[^\n]+|[\n]+", QWEN2]),
];

/// Other names of llama.cpp for a way of splitting of [`KNOWN`]: what it finds by the ids of published
/// vocabularies. Decoder models alone.
const ALIASES: &[(&str, &str)] = &[
    ("llama3", "llama-bpe"),
    ("llama-v3", "llama-bpe"),
    ("falcon3", "llama-bpe"),
    ("pixtral", "llama-bpe"),
    ("midm-2.0", "llama-bpe"),
    ("dbrx", "smaug-bpe"),
    ("deepseek-r1-qwen", "qwen2"),
    ("kormo", "qwen2"),
    ("hunyuan", "qwen2"),
    ("megrez", "qwen2"),
    ("solar-open", "qwen2"),
    ("olmo", "gpt-2"),
    ("a.x-4.0", "gpt-2"),
    ("mellum", "gpt-2"),
    ("trillion", "gpt-2"),
    ("gigachat", "gpt-2"),
    ("starcoder", "smollm"),
    ("minerva-7b", "smollm"),
    ("mellum2", "smollm"),
    ("llama4", "gpt-4o"),
    ("kanana2", "gpt-4o"),
];

/// Preparation of a text by a pre-tokenizer.
#[derive(Debug)]
pub(crate) struct Splitting {
    /// Regular expressions, applied one after the other, each match by itself.
    pub(crate) patterns: &'static [&'static str],
    /// Whether a piece that is a token as a whole is taken without merging.
    pub(crate) ignore_merges: bool,
    /// Whether the models' tokenizers compose characters (NFC) first.
    pub(crate) composes: bool,
}

/// Splitting of the pre-tokenizer of this name.
///
/// # Errors
/// The names that are known, where this one is not.
pub(crate) fn splitting(name: &str) -> std::result::Result<Splitting, String> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    let meant = alias.map_or(name, |(_, meant)| meant);
    match KNOWN.iter().find(|known| known.name == meant) {
        Some(known) => Ok(Splitting {
            patterns: known.patterns,
            ignore_merges: known.ignore_merges,
            composes: [[QWEN2], [QWEN35]].iter().any(|p| known.patterns == p),
        }),
        None => {
            let names = KNOWN.iter().map(|k| k.name);
            let names: Vec<&str> = names.chain(ALIASES.iter().map(|(alias, _)| *alias)).collect();
            Err(names.join(", "))
        }
    }
}

/// A known pre-tokenizer that does not behave as a vocabulary does.
pub(super) struct Near {
    name: &'static str,
    /// Number of probes that are split differently.
    differing: usize,
    /// The first of them; without one, only the treatment of whole words differs.
    example: Option<&'static str>,
}

impl std::fmt::Display for Near {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.example {
            Some(example) => write!(
                f,
                "{} (differs on {} of {} texts, such as {example:?})",
                self.name,
                self.differing,
                PROBES.len()
            ),
            None => write!(f, "{} (splits alike, but differs in `ignore_merges`)", self.name),
        }
    }
}

/// The name of the pre-tokenizer that splits every probe as this vocabulary does, or the known ones
/// from the nearest on.
pub(super) fn find(
    files: &VocabFiles,
    hf: &HfTokenizer,
) -> Result<std::result::Result<&'static str, Vec<Near>>> {
    let ignore_merges = files
        .tokenizer_json()
        .and_then(|t| t.model.ignore_merges)
        .unwrap_or(false);
    guarded(files, || {
        let own = own_splits(hf)?;
        let mut near = Vec::new();
        for candidate in KNOWN {
            let theirs = candidate_splits(candidate)?;
            let differs = |probe: &usize| own[*probe].as_ref() != Some(&theirs[*probe]);
            let differing: Vec<usize> = (0..PROBES.len()).filter(differs).collect();
            if differing.is_empty() && candidate.ignore_merges == ignore_merges {
                return Ok(Ok(candidate.name));
            }
            near.push(Near {
                name: candidate.name,
                differing: differing.len(),
                example: differing.first().map(|&probe| PROBES[probe]),
            });
        }
        near.sort_by_key(|near| near.differing);
        Ok(Err(near))
    })
}

/// The pieces of each probe, or `None` where the vocabulary changes the text first: a GGUF's reader
/// would not.
fn own_splits(hf: &HfTokenizer) -> tokenizers::Result<Vec<Option<Vec<String>>>> {
    let split = |probe: &&str| {
        let mut text = NormalizedString::from(*probe);
        if let Some(normalizer) = hf.inner().get_normalizer() {
            normalizer.normalize(&mut text)?;
        }
        // Composed characters are the same text.
        let composed = {
            let mut text = NormalizedString::from(*probe);
            text.nfc();
            text
        };
        if text.get() != *probe && text.get() != composed.get() {
            return Ok(None);
        }
        match hf.inner().get_pre_tokenizer() {
            Some(pre_tokenizer) => pieces(pre_tokenizer, probe).map(Some),
            None => Ok(None),
        }
    };
    PROBES.iter().map(split).collect()
}

fn candidate_splits(candidate: &Known) -> tokenizers::Result<Vec<Vec<String>>> {
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    for pattern in candidate.patterns {
        let pattern = SplitPattern::Regex((*pattern).to_owned());
        steps.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into());
    }
    steps.push(ByteLevel::new(false, false, false).into());
    let sequence = PreTokenizerWrapper::from(Sequence::new(steps));
    PROBES.iter().map(|probe| pieces(&sequence, probe)).collect()
}

fn pieces(pre_tokenizer: &PreTokenizerWrapper, text: &str) -> tokenizers::Result<Vec<String>> {
    let mut split = PreTokenizedString::from(text);
    pre_tokenizer.pre_tokenize(&mut split)?;
    let pieces = split.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
    Ok(pieces.into_iter().map(|(text, _, _)| text.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A probe set that cannot tell two behaviours apart would name the first for both.
    #[test]
    fn probes_tell_all_known_pre_tokenizers_apart() {
        let splits: Vec<_> = KNOWN.iter().map(|k| candidate_splits(k).unwrap()).collect();
        for (i, a) in KNOWN.iter().enumerate() {
            for (j, b) in KNOWN.iter().enumerate().skip(i + 1) {
                assert!(
                    splits[i] != splits[j] || a.ignore_merges != b.ignore_merges,
                    "{} and {} split every probe alike",
                    a.name,
                    b.name
                );
            }
        }
    }
}
