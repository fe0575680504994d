//! Names that look like another, for messages.

/// Most names that a message lists.
const MOST: usize = 5;

/// Endings of class names of all kinds, which tell none of them from another.
const ENDINGS: [&str; 4] = ["ForConditionalGeneration", "ForCausalLM", "LMHeadModel", "Model"];

/// The few of `known` that are most like `name`, the most alike first: by the edits that lead from one to the other,
/// among those that begin alike.
pub(in crate::arch) fn of<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Vec<&'k str> {
    let wanted = stem(name);
    let mut near: Vec<(usize, &str)> = known
        .filter_map(|class| {
            let stem = stem(class);
            let edits = distance(&wanted, &stem);
            let slip = distance(name.as_bytes(), class.as_bytes()) * 6 <= name.len();
            let alike =
                slip || edits * 3 <= wanted.len() || shared(&wanted, &stem) * 2 >= wanted.len().max(4);
            // Two classes of one stem differ in their endings.
            alike.then(|| (edits * 100 + distance(name.as_bytes(), class.as_bytes()), class))
        })
        .collect();
    near.sort_unstable();
    near.truncate(MOST);
    near.into_iter().map(|(_, class)| class).collect()
}

/// Most letters of a name that a message repeats.
const MAX_SHOWN: usize = 100;

/// The beginning of a class name that was found, which is a short word where it is any class's.
pub(in crate::arch) fn shown(name: &str) -> String {
    name.chars().take(MAX_SHOWN).collect()
}

/// The names as a part of a sentence; nothing where there are none.
pub(in crate::arch) fn phrase(near: &[&str]) -> String {
    match near {
        [] => String::new(),
        near => format!("; the nearest: {}", near.join(", ")),
    }
}

/// The part of a class name that tells families apart, in lower case.
fn stem(name: &str) -> Vec<u8> {
    let stem = ENDINGS
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name);
    stem.to_ascii_lowercase().into_bytes()
}

/// Length of the common beginning of two names, in bytes.
fn shared(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Letters to insert, delete or exchange on the way from `a` to `b`.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let exchanged = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, edits) in [
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("same", "same", 0),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), edits, "{a} {b}");
        }
    }

    #[test]
    fn a_misspelt_class_is_found_first() {
        let known = [
            "GemmaForCausalLM",
            "Gemma2ForCausalLM",
            "LlamaForCausalLM",
            "LlamaModel",
            "BertModel",
        ];
        assert_eq!(of("LlamForCausalLM", known.into_iter())[0], "LlamaForCausalLM");
        assert_eq!(
            of("Gemma5ForCausalLM", known.into_iter())[..2],
            ["Gemma2ForCausalLM", "GemmaForCausalLM"]
        );
        assert!(of("ZzyzxForCausalLM", known.into_iter()).is_empty());
    }
}
