//! The bundled suite: disjoint from what models are calibrated on, and small.

use std::collections::HashSet;

use quantsmith_demo::{CALIBRATION_TEXT, EVALUATION_TEXT, SUITE};

/// Words in a row that two texts do not share by chance.
const WORDS: usize = 13;

/// The texts that importance matrices are made of by default.
const CALIBRATION: [(&str, &str); 1] = [("calibration.txt", CALIBRATION_TEXT)];

/// Words in lower case, without punctuation; of JSON, without escapes.
fn words(name: &str, text: &str) -> Vec<String> {
    let text = match name.ends_with(".jsonl") {
        true => text.replace("\\n", " ").replace("\\\"", " "),
        false => text.to_owned(),
    };
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// The first words that a text has in common with another one, so many in a row.
fn shared(name: &str, text: &str, other: &str) -> Option<String> {
    let other = words("", other);
    let known: HashSet<&[String]> = other.windows(WORDS).collect();
    let words = words(name, text);
    words
        .windows(WORDS)
        .find(|run| known.contains(run))
        .map(|run| run.join(" "))
}

#[test]
fn no_text_is_calibrated_on() {
    for (name, text) in SUITE.iter().chain(&[("eval.txt", EVALUATION_TEXT)]) {
        for (calibration, other) in CALIBRATION {
            let found = shared(name, text, other);
            assert_eq!(found, None, "{name} and {calibration}");
        }
    }
}

/// A passage of the calibration text is found wherever it stands, whatever its case and punctuation, in chats as well.
#[test]
fn an_overlap_would_be_found() {
    let all: Vec<&str> = CALIBRATION_TEXT.split_whitespace().collect();
    for (name, text) in SUITE {
        for first in [0, all.len() / 2, all.len() - 40] {
            let passage = all[first..first + 40].join(" -- ").to_uppercase();
            let at = text.floor_char_boundary(text.len() / 2);
            let at = text[..at].rfind(' ').expect("a text of words");
            let escaped = passage.replace('"', "\\\"").replace(' ', "\\n");
            let with = match name.ends_with(".jsonl") {
                true => format!("{} {escaped} {}", &text[..at], &text[at..]),
                false => format!("{} {passage} {}", &text[..at], &text[at..]),
            };
            assert!(
                shared(name, &with, CALIBRATION_TEXT).is_some(),
                "{name} at {first}"
            );
        }
    }
}

#[test]
fn it_is_small() {
    let bytes: usize = SUITE.iter().map(|(_, text)| text.len()).sum();
    assert!(bytes < 500_000, "{bytes} bytes");
    for (name, text) in SUITE {
        // Some windows of 512 tokens, at four bytes for a token.
        assert!(text.len() > 4 * 512 * 4, "{name}: {} bytes", text.len());
    }
}
