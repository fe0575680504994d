//! Parts of a model's name: `organization/basename-size-finetune-version`.

use std::sync::LazyLock;

use regex::Regex;

/// The parts of a model's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelId {
    pub(crate) name: Option<String>,
    pub(crate) organization: Option<String>,
    pub(crate) basename: Option<String>,
    pub(crate) finetune: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) size_label: Option<String>,
}

/// Possible kinds of a hyphenated part of a name. More than one can hold at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kinds {
    basename: bool,
    size_label: bool,
    finetune: bool,
    version: bool,
    encoding: bool,
    /// A word that only repeats what the file is.
    redundant: bool,
}

impl Kinds {
    fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// A pattern of whole parts, in any case. The digits and letters of all of Unicode take long to compile, so that names of
/// ASCII alone do without.
struct Pattern {
    ascii: LazyLock<Regex>,
    unicode: LazyLock<Regex>,
}

impl Pattern {
    fn is_match(&self, part: &str) -> bool {
        match part.is_ascii() {
            true => self.ascii.is_match(part),
            false => self.unicode.is_match(part),
        }
    }
}

/// A [`Pattern`] of a text.
macro_rules! pattern {
    ($text:literal) => {
        Pattern {
            ascii: LazyLock::new(|| compiled("(?i-u)", $text)),
            unicode: LazyLock::new(|| compiled("(?i)", $text)),
        }
    };
}

fn compiled(flags: &str, text: &str) -> Regex {
    // The patterns are constants of this file; each is compiled by a test.
    Regex::new(&format!(r"{flags}\A(?:{text})\z")).expect("a valid pattern")
}

static VERSION: Pattern = pattern!(r"(v|iter)?\d+([.]\d+)*");
static ENCODING: Pattern = pattern!(r"i?q\d(_\w)*|b?fp?(16|32)");
static SIZE: Pattern = pattern!(r"(([A]|\d+[x])?\d+([._]\d+)?[KMBT][\d]?|small|mini|medium|large|x?xl)");
static FINETUNE: Pattern = pattern!("chat|instruct|vision|lora");

impl ModelId {
    /// Takes a name apart. `total` is the number of weights (0: unknown; negative: of an adapter), by which
    /// sizes are told from context lengths.
    pub(crate) fn parse(id: &str, total: i64) -> Self {
        if id.contains(' ') {
            // A sentence, not an identifier.
            return Self {
                name: Some(id.to_owned()),
                ..Self::default()
            };
        }
        let (organization, name) = match id.split_once('/') {
            Some((organization, name)) => (Some(organization).filter(|o| !o.starts_with('.')), name),
            None => (None, id),
        };
        let mut parts: Vec<(String, Kinds)> = name
            .split('-')
            .filter(|p| !p.is_empty())
            .enumerate()
            .map(|(at, part)| classify(part, at == 0, total))
            .collect();
        drop_size_words(&mut parts);
        mark_basename(&mut parts);

        let joined = |holds: fn(&Kinds) -> bool| {
            let chosen: Vec<&str> = parts
                .iter()
                .filter(|(_, k)| holds(k))
                .map(|(p, _)| p.as_str())
                .collect();
            (!chosen.is_empty()).then(|| chosen.join("-"))
        };
        let mut found = Self {
            name: Some(name.to_owned()),
            organization: organization.map(str::to_owned),
            basename: joined(|k| k.basename),
            finetune: joined(|k| k.finetune),
            version: joined(|k| k.version && !k.basename),
            size_label: None,
        };
        let mut sizes: Vec<&str> = Vec::new();
        for (part, _) in parts.iter().filter(|(_, k)| k.size_label) {
            if !sizes.contains(&part.as_str()) {
                sizes.push(part);
            }
        }
        found.size_label = (!sizes.is_empty()).then(|| sizes.join("-"));
        if found.size_label.is_none() && found.finetune.is_none() && found.version.is_none() {
            // One word could be anything.
            found.basename = None;
        }
        found
    }
}

fn classify(part: &str, first: bool, total: i64) -> (String, Kinds) {
    let mut kinds = Kinds::default();
    if VERSION.is_match(part) {
        kinds.version = true;
    } else if ENCODING.is_match(part) {
        kinds.encoding = true;
        return (part.to_uppercase(), kinds);
    } else if !first && SIZE.is_match(part) {
        return classify_size(part, total);
    } else if !first && total < 0 && part.eq_ignore_ascii_case("lora") {
        kinds.redundant = true;
    } else if !first && FINETUNE.is_match(part) {
        kinds.finetune = true;
    }
    (part.to_owned(), kinds)
}

/// A part that reads as a size: normalized, and a size unless it is far from the model's.
fn classify_size(part: &str, total: i64) -> (String, Kinds) {
    let mut chars: Vec<char> = part.replace('_', ".").chars().collect();
    let n = chars.len();
    // `7b1` means 7.1b.
    if n >= 2 && chars[n - 1].is_numeric() {
        let (unit, digit) = (chars[n - 2], chars[n - 1]);
        chars.truncate(n - 2);
        chars.extend(['.', digit, unit]);
    }
    let n = chars.len();
    if n > 1 && chars[n - 2].is_numeric() && matches!(chars[n - 1], 'k' | 'm' | 'b' | 't') {
        chars[n - 1] = chars[n - 1].to_ascii_uppercase();
    }
    let mut kinds = Kinds::default();
    if let Some((&unit, digits)) = chars.split_last() {
        let digits: String = digits.iter().collect();
        let plain = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
        if let (true, Ok(value)) = (total != 0 && plain, digits.parse::<f64>()) {
            let power = " KMBT".find(unit).map_or(-1, |p| p as i32);
            let label = value * 1000f64.powi(power);
            let weights = total.unsigned_abs();
            let far = if total < 0 {
                // An adapter need not be as large as what it adapts.
                label < (weights / 8) as f64
            } else {
                let tolerance = (7 * u128::from(weights) / 8) as f64;
                (label - weights as f64).abs() > tolerance
            };
            if far {
                // Likely a context length.
                kinds.finetune = true;
                let last = chars.len() - 1;
                chars[last] = chars[last].to_ascii_lowercase();
            }
        }
    }
    kinds.size_label = !kinds.finetune;
    (chars.into_iter().collect(), kinds)
}

/// Words such as `small` are no sizes beside a number.
fn drop_size_words(parts: &mut [(String, Kinds)]) {
    let numbered = |(part, kinds): &(String, Kinds)| kinds.size_label && part.chars().any(char::is_numeric);
    if parts.iter().any(numbered) {
        for (part, kinds) in parts.iter_mut().filter(|(_, k)| k.size_label) {
            if part.chars().all(char::is_alphabetic) {
                kinds.size_label = false;
            }
        }
    }
}

/// The basename is the run of words and versions at the start, less the versions at its end. Unknown
/// words after it tell a fine-tune.
fn mark_basename(parts: &mut [(String, Kinds)]) {
    let mut at_start = true;
    for (part, kinds) in parts.iter_mut() {
        let word = kinds.is_empty() && part.starts_with(char::is_alphabetic);
        if at_start && (word || kinds.version) {
            kinds.basename = true;
        } else {
            at_start = false;
            if kinds.is_empty() {
                kinds.finetune = true;
            }
        }
    }
    for (_, kinds) in parts.iter_mut().rev() {
        let alone = Kinds {
            basename: true,
            ..Kinds::default()
        };
        if !kinds.basename || *kinds == alone {
            break;
        }
        kinds.basename = false;
    }
}

/// Whether a title leaves a word as it is: a version, or what begins with a digit.
fn is_as_is(word: &str) -> bool {
    static UNICODE: LazyLock<Regex> = LazyLock::new(|| compiled("", r"v\d+(?:\.\d+)*|\d.*"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let is_version = |rest: &str| rest.split('.').all(is_number);
    match word.is_ascii() {
        true => {
            word.starts_with(|c: char| c.is_ascii_digit()) || word.strip_prefix('v').is_some_and(is_version)
        }
        false => UNICODE.is_match(word),
    }
}

/// A name as a title: hyphens become spaces, words in lower case are capitalized, except versions and
/// what begins with a digit.
pub(crate) fn title(name: &str) -> String {
    let words: Vec<String> = name
        .replace('-', " ")
        .split_whitespace()
        .map(|w| {
            if is_lower(w) && !is_as_is(w) {
                capitalized(w)
            } else {
                w.to_owned()
            }
        })
        .collect();
    words.join(" ")
}

fn is_lower(word: &str) -> bool {
    word.chars().any(char::is_lowercase) && !word.chars().any(char::is_uppercase)
}

/// Every letter after something that is no letter becomes a capital.
fn capitalized(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut inside = false;
    for c in word.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_lowercase() || c.is_uppercase();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(id: &str, total: i64) -> [Option<String>; 6] {
        let m = ModelId::parse(id, total);
        [
            m.name,
            m.organization,
            m.basename,
            m.finetune,
            m.version,
            m.size_label,
        ]
    }

    fn expect(id: &str, total: i64, expected: [&str; 6]) {
        let expected = expected.map(|s| (!s.is_empty()).then(|| s.to_owned()));
        assert_eq!(parts(id, total), expected, "{id}");
    }

    // The cases are those of the stock converter's own documentation and tests, by their facts.
    #[test]
    fn names_come_apart() {
        expect("Mistral", 0, ["Mistral", "", "", "", "", ""]);
        expect(
            "mistralai/Mixtral-8x7B-Instruct-v0.1",
            0,
            [
                "Mixtral-8x7B-Instruct-v0.1",
                "mistralai",
                "Mixtral",
                "Instruct",
                "v0.1",
                "8x7B",
            ],
        );
        expect(
            "Meta-Llama-3-8B",
            8_030_261_248,
            ["Meta-Llama-3-8B", "", "Meta-Llama-3", "", "", "8B"],
        );
        expect(
            "bigscience/bloom-7b1-petals",
            7_069_016_064,
            ["bloom-7b1-petals", "bigscience", "bloom", "petals", "", "7.1B"],
        );
        expect(
            "Qwen1.5-MoE-A2.7B-Chat",
            14_315_784_192,
            ["Qwen1.5-MoE-A2.7B-Chat", "", "Qwen1.5-MoE", "Chat", "", "A2.7B"],
        );
        expect(
            "Phi-3-mini-4k-instruct",
            3_821_079_552,
            ["Phi-3-mini-4k-instruct", "", "Phi-3", "4k-instruct", "", "mini"],
        );
        expect(
            "a model with a name",
            0,
            ["a model with a name", "", "", "", "", ""],
        );
    }

    #[test]
    fn titles() {
        assert_eq!(title("smollm2-135M-instruct-v0.1"), "Smollm2 135M Instruct v0.1");
        assert_eq!(title("abc1def-4bit"), "Abc1Def 4bit");
    }
}
