//! Tensor names: patterns of a checkpoint's names, and the GGUF name and transform of each.

/// What happens to a tensor between the checkpoint and the GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transform {
    /// The same elements in the same order.
    Copy,
    /// Left out.
    Skip,
    /// The rows of each query head, reordered from RoPE's half-split layout to ggml's interleaved one.
    PermuteQuery,
    /// The same for the key heads.
    PermuteKey,
    /// One is added to every element (norms that are stored as their distance from one).
    AddOne,
    /// One expert's matrix, to be stacked with those of the other experts.
    Expert,
    /// Of each matrix of a stack, the first half of the rows.
    FirstHalf,
    /// Of each matrix of a stack, the second half of the rows.
    SecondHalf,
    /// A stack that is stored in one piece, under a name that may lack `.weight`.
    Stack,
}

/// One row of a name table. `{}` stands for the block, `{e}` for the expert; the table's names have
/// neither `.weight` nor `.bias`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) hf: &'static str,
    pub(crate) gguf: &'static str,
    pub(crate) transform: Transform,
}

/// A row of a name table whose tensors are copied.
pub(crate) const fn copy(hf: &'static str, gguf: &'static str) -> Rule {
    rule(hf, gguf, Transform::Copy)
}

/// A row of a name table.
pub(crate) const fn rule(hf: &'static str, gguf: &'static str, transform: Transform) -> Rule {
    Rule { hf, gguf, transform }
}

/// Where a rule sends a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    /// The rule's place in its table.
    pub(crate) rule: usize,
    pub(crate) transform: Transform,
    /// The GGUF name, suffix included.
    pub(crate) name: String,
    pub(crate) block: Option<u32>,
    pub(crate) expert: Option<u32>,
}

/// Names that checkpoints carry and no GGUF file needs.
const IGNORED_SUFFIXES: [&str; 3] = [
    ".attention.masked_bias",
    ".attention.bias",
    ".rotary_emb.inv_freq",
];

/// Whether a tensor is left out whatever the architecture.
pub(crate) fn ignored(name: &str) -> bool {
    IGNORED_SUFFIXES.iter().any(|s| name.ends_with(s))
}

/// All rules of a table that a tensor name matches: none when it is unknown, several when it is split.
pub(crate) fn resolve(rules: &[Rule], name: &str) -> Vec<Match> {
    let (stem, suffix) = match name {
        n if n.ends_with(".weight") => (&n[..n.len() - ".weight".len()], ".weight"),
        n if n.ends_with(".bias") => (&n[..n.len() - ".bias".len()], ".bias"),
        n => (n, ""),
    };
    let mut found = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let whole = matches!(
            rule.transform,
            Transform::Stack | Transform::FirstHalf | Transform::SecondHalf
        );
        if suffix.is_empty() && !whole {
            continue;
        }
        let Some((block, expert)) = capture(rule.hf, stem) else {
            continue;
        };
        let suffix = if suffix.is_empty() { ".weight" } else { suffix };
        let mut name = rule.gguf.to_owned();
        if let Some(block) = block {
            name = name.replacen("{}", &block.to_string(), 1);
        }
        name.push_str(suffix);
        found.push(Match {
            rule: at,
            transform: rule.transform,
            name,
            block,
            expert,
        });
    }
    found
}

/// The block and expert numbers of `text`, when it matches `pattern`.
fn capture(pattern: &str, text: &str) -> Option<(Option<u32>, Option<u32>)> {
    let (mut block, mut expert) = (None, None);
    let (mut pattern_parts, mut text_parts) = (pattern.split('.'), text.split('.'));
    loop {
        match (pattern_parts.next(), text_parts.next()) {
            (None, None) => return Some((block, expert)),
            (Some("{}"), Some(t)) => block = Some(number(t)?),
            (Some("{e}"), Some(t)) => expert = Some(number(t)?),
            (Some(p), Some(t)) if p == t => {}
            _ => return None,
        }
    }
}

/// A decimal number in its only spelling, so that two names never mean one tensor.
fn number(text: &str) -> Option<u32> {
    let n: u32 = text.parse().ok()?;
    (n.to_string() == text).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &[Rule] = &[
        copy("model.norm", "output_norm"),
        rule("model.layers.{}.q", "blk.{}.attn_q", Transform::PermuteQuery),
        rule(
            "model.layers.{}.x.{e}.up",
            "blk.{}.ffn_up_exps",
            Transform::Expert,
        ),
        rule("model.layers.{}.x.both", "blk.{}.a", Transform::FirstHalf),
        rule("model.layers.{}.x.both", "blk.{}.b", Transform::SecondHalf),
    ];

    #[test]
    fn captures_numbers_and_suffixes() {
        let m = resolve(RULES, "model.layers.12.q.bias");
        assert_eq!((m[0].name.as_str(), m[0].block), ("blk.12.attn_q.bias", Some(12)));
        let m = resolve(RULES, "model.layers.1.x.7.up.weight");
        assert_eq!(
            (m[0].name.as_str(), m[0].expert),
            ("blk.1.ffn_up_exps.weight", Some(7))
        );
        let m = resolve(RULES, "model.layers.1.x.both");
        assert_eq!(
            m.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(),
            ["blk.1.a.weight", "blk.1.b.weight"]
        );
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for name in [
            "model.norm",
            "model.norm.scale",
            "model.layers.q.weight",
            "model.layers.01.q.weight",
            "model.layers.+1.q.weight",
            "model.layers.1.q.extra.weight",
            "",
            ".weight",
        ] {
            assert_eq!(resolve(RULES, name), [], "{name}");
        }
    }
}
