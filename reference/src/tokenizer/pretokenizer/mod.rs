//! Pre-tokenizers: how text is cut into words before byte-pair merges, by the name that
//! `tokenizer.ggml.pre` gives. Names, patterns and flags are llama.cpp's.

mod classes;
mod names;
mod pattern;
mod words;

use crate::error::Result;
use crate::tokenizer::unicode::Flags;
pub use names::pre_tokenizers;
pub(crate) use names::{Defaults, Family, defaults};
use pattern::{Pattern, Space, collapse};
use words::{Lead, Runs, Span};

/// One pass over the pieces of the pass before.
enum Step {
    Gpt2,
    Modern { digits: usize, letters: u16 },
    Kimi,
    Lines,
    DigitGroups,
    Thousands,
    Runs(Runs),
    Pattern(Pattern),
}

/// The passes of one pre-tokenizer.
pub(crate) struct PreTokenizer {
    steps: Vec<Step>,
}

const CONTRACTION: &str = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const WORD: &str = r"[^\r\n\p{L}\p{N}]?[\p{L}]+";
/// A word of capitals and then small letters, where a letter beyond ASCII is both.
const CAMEL: [&str; 2] = [
    r"[^\r\n\p{L}\p{N}]?[\xD2A-Z]*[\xD2a-z]+",
    r"[^\r\n\p{L}\p{N}]?[\xD2A-Z]+[\xD2a-z]*",
];
const CAMEL_MARKS: [&str; 2] = [
    r"[^\r\n\p{L}\p{N}]?[\xD2\xD4A-Z]*[\xD2\xD4a-z]+",
    r"[^\r\n\p{L}\p{N}]?[\xD2\xD4A-Z]+[\xD2\xD4a-z]*",
];
const PUNCTUATED_WORD: &str =
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##;
const OTHERS: &str = r" ?[^\s\p{L}\p{N}]+[\r\n]*";
const OTHERS_SLASH: &str = r" ?[^\s\p{L}\p{N}]+[\r\n/]*";
const NEWLINES: &str = r"\s*[\r\n]+";

impl PreTokenizer {
    /// The passes of a family.
    #[expect(clippy::too_many_lines, reason = "a table of each family's passes")]
    pub(crate) fn new(family: Family) -> Result<Self> {
        let steps = Steps(Vec::new());
        let steps = match family {
            Family::Default => steps
                .plain(r"[\p{P}$+<=>^~|]+")?
                .add(Step::Gpt2)
                .plain(r"[\p{N}]+")?
                .plain("[0-9][0-9][0-9]")?,
            Family::Gpt2 => steps.add(Step::Gpt2),
            Family::Starcoder => steps.plain(r"[\p{N}]")?.add(Step::Gpt2),
            Family::Falcon => steps
                .plain(r"[\p{P}$+<=>^~|`]+")?
                .add(Step::Gpt2)
                .plain("[0-9][0-9][0-9]")?,
            Family::Llama3 => steps.modern(3, Flags::LETTER),
            Family::Qwen2 => steps.modern(1, Flags::LETTER),
            Family::Qwen35 => steps.modern(1, Flags::LETTER | Flags::MARK),
            Family::Laguna => steps.add(Step::Lines).modern(1, Flags::LETTER),
            Family::Jais2 => steps.words(
                &[CONTRACTION, WORD, r"[\p{N}]{1,3}", OTHERS, NEWLINES],
                Space::Halves,
            )?,
            Family::UfakZeka => steps.words(&[WORD, r"[\p{N}]", OTHERS, NEWLINES], Space::LeavesLast)?,
            Family::SeedCoder => steps.words(
                &[CONTRACTION, WORD, r"[\p{N}]", r" ?[^\s\p{L}\p{N}\r\n]+", NEWLINES],
                Space::LeavesLast,
            )?,
            Family::BailingMoe => steps.words(
                &[
                    "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])",
                    WORD,
                    r"[\p{N}]",
                    OTHERS,
                    r"\s*[\r\n]",
                ],
                Space::LeavesLast,
            )?,
            Family::ExaoneMoe => steps.words(
                &[
                    CONTRACTION,
                    r"[^\r\n\p{L}\p{N}]?(?:[\p{L}][\p{M}]*(?: [\p{L}][\p{M}]*)*)+",
                    r"[\p{N}]",
                    r" ?[^\s\p{L}\p{N}]+[\r\n/]?",
                    r"\s*[\r\n]",
                ],
                Space::LeavesLast,
            )?,
            Family::MiniCpm5 => steps.plain(r"[\p{N}]{1,3}")?.words(
                &[CONTRACTION, WORD, r"[\p{N}]+", OTHERS, NEWLINES],
                Space::LeavesLast,
            )?,
            Family::Tekken => steps.words(
                &[CAMEL[0], CAMEL[1], r"[\p{N}]", OTHERS_SLASH, NEWLINES],
                Space::LeavesLast,
            )?,
            Family::Gpt4o => steps.camel(&CAMEL, r"[\p{N}]{1,3}")?,
            Family::GraniteEmbedding => steps.camel(&CAMEL_MARKS, r"[\p{N}]{1,3}")?,
            Family::TinyAya => steps
                .add(Step::DigitGroups)
                .camel(&[r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+"], r"[\p{N}]{1,3}")?,
            Family::Youtu => steps
                .add(Step::Runs(Runs::of(&[
                    classes::HANGUL,
                    classes::CJK_MARKS,
                    classes::BOPOMOFO,
                    classes::CJK_AND_KANA,
                ])))
                .camel(&[r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+"], r"[\p{N}]")?,
            Family::DeepSeekLlm => steps
                .plain(r"[\r\n]")?
                .add(Step::Runs(Runs {
                    lead: Lead::AnySpace,
                    ..Runs::of(&[classes::CASED])
                }))
                .add(Step::Runs(Runs {
                    lead: Lead::AnySpace,
                    ..Runs::of(&[classes::ASCII_AND_WIDE_MARKS])
                }))
                .plain(r"\s+\z")?
                .add(Step::Runs(Runs::of(&[classes::DEEPSEEK_CJK])))
                .plain(r"[\p{N}]+")?,
            Family::DeepSeekCoder => steps
                .plain(r"[\r\n]")?
                .plain(r"\s?[\p{L}]+")?
                .plain(r"\s?[\p{P}]+")?
                .add(Step::Runs(Runs::of(&[classes::DEEPSEEK_CJK])))
                .plain(r"[\p{N}]")?,
            Family::DeepSeek3 => steps
                .plain(r"[\p{N}]{1,3}")?
                .add(Step::Runs(Runs::of(&[classes::CJK_AND_KANA])))
                .words(
                    &[PUNCTUATED_WORD, r" ?[\p{P}\p{S}]+[\r\n]*", NEWLINES],
                    Space::LeavesLast,
                )?,
            Family::Spark => steps
                .plain(r"[\p{N}]{1,3}")?
                .add(Step::Runs(Runs::of(&[classes::CJK_AND_KANA])))
                .words(
                    &[PUNCTUATED_WORD, r" ?[\p{P}\p{S}]+", r"[\r\n]"],
                    Space::LeavesLastOfAny,
                )?
                .plain(r"[\p{N}]")?,
            Family::Afmoe => steps
                .add(Step::DigitGroups)
                .add(Step::Runs(Runs::of(&[classes::ASIAN])))
                .words(
                    &[PUNCTUATED_WORD, r" ?[\p{P}\p{S}]+[\r\n]*", NEWLINES],
                    Space::LeavesLast,
                )?,
            Family::Bloom => steps.add(Step::Runs(BLOOM)),
            Family::Viking => steps.add(Step::Runs(BLOOM)).plain(r"[\p{N}]")?,
            Family::Chameleon => steps
                .plain("<sentinel:[0-9]+>")?
                .plain("IMGIMG[A-I]{1,4}Z")?
                .plain(r"[\t\n]|    |  ")?
                .plain(r"[\p{N}]")?
                .plain(r"[\p{P}!-/:-@\[-`{-~]")?
                .add(Step::Gpt2),
            Family::KimiK2 => steps.add(Step::Kimi),
            Family::SuperBpe => steps.plain(r"[\p{N}]+")?.add(Step::Thousands),
            Family::Gemma4 | Family::SarvamMoe => steps.add(Step::Lines),
            Family::Whitespace => steps.plain(r"\S+")?,
        };
        Ok(Self { steps: steps.0 })
    }

    /// Ends of the words of a text of code points, ascending; the last is the end of the text.
    pub(crate) fn split(&self, code_points: &[u32]) -> Vec<usize> {
        let mut ends = match code_points.len() {
            0 => return Vec::new(),
            n => vec![n],
        };
        let collapsed = if self.steps.iter().any(|step| matches!(step, Step::Pattern(_))) {
            collapse(code_points)
        } else {
            Default::default()
        };
        for step in &self.steps {
            let mut next = Vec::with_capacity(ends.len() * 2);
            let mut start = 0;
            for end in ends {
                if let Step::Pattern(pattern) = step {
                    pattern.split(&collapsed[start..end], |piece| next.push(start + piece));
                } else {
                    let span = Span {
                        code_points: &code_points[start..end],
                    };
                    let mut pos = 0;
                    while pos < end - start {
                        pos = step.next(span, pos);
                        next.push(start + pos);
                    }
                }
                start = end;
            }
            ends = next;
        }
        ends
    }
}

const BLOOM: Runs = Runs {
    lead: Lead::Space,
    classes: &[classes::SENTENCE_MARKS],
    negated: true,
};

impl Step {
    fn next(&self, text: Span<'_>, pos: usize) -> usize {
        match self {
            Self::Gpt2 => words::gpt2(text, pos),
            Self::Modern { digits, letters } => words::modern(text, pos, *digits, *letters),
            Self::Kimi => words::kimi(text, pos),
            Self::Lines => words::lines(text, pos),
            Self::DigitGroups => words::digit_groups(text, pos),
            Self::Thousands => words::thousands(text, pos),
            Self::Runs(runs) => runs.next(text, pos),
            Self::Pattern(_) => text.code_points.len(),
        }
    }
}

/// Builds a list of steps.
struct Steps(Vec<Step>);

impl Steps {
    fn add(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }

    fn plain(self, pattern: &str) -> Result<Self> {
        let pattern = Pattern::new(pattern, Space::Plain)?;
        Ok(self.add(Step::Pattern(pattern)))
    }

    fn modern(self, digits: usize, letters: u16) -> Self {
        self.add(Step::Modern { digits, letters })
    }

    /// Alternatives in order, and white space after them.
    fn words(self, alternatives: &[&str], space: Space) -> Result<Self> {
        let pattern = Pattern::new(&format!(r"{}|\s+", alternatives.join("|")), space)?;
        Ok(self.add(Step::Pattern(pattern)))
    }

    /// Words that take a contraction along, numbers, and the rest.
    fn camel(self, words: &[&str], digits: &str) -> Result<Self> {
        let words: Vec<String> = words.iter().map(|word| format!("{word}{CONTRACTION}?")).collect();
        self.words(
            &[&words.join("|"), digits, OTHERS_SLASH, NEWLINES],
            Space::LeavesLast,
        )
    }
}
