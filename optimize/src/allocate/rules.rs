//! A choice of types as rules for `--tensor-type-file`.

use gguf::TensorType;

/// The layer of a tensor, and its name without it: `blk.7.ffn_up.weight` is layer 7's `blk.*.ffn_up.weight`.
fn parts(name: &str) -> Option<(u32, &str)> {
    let (layer, kind) = name.strip_prefix("blk.")?.split_once('.')?;
    // What is written otherwise than by its number has a rule of its own.
    let number: u32 = layer.parse().ok()?;
    (number.to_string() == layer).then_some((number, kind))
}

/// Name that tensors of all layers share: `ffn_up` of `blk.7.ffn_up.weight`.
pub fn kind_of(name: &str) -> &str {
    let kind = parts(name).map_or(name, |(_, kind)| kind);
    kind.strip_suffix(".weight").unwrap_or(kind)
}

/// Rules that give each tensor its type, one for the layers of a kind that have the same one. Each matches the whole
/// name, so that their order does not matter; all are in lower case, in which llama-quantize reads them.
pub fn rules(types: &[(String, TensorType)]) -> Vec<(String, TensorType)> {
    let mut rules: Vec<(&str, TensorType, Vec<u32>)> = Vec::new();
    for (name, ty) in types {
        match parts(name) {
            None => rules.push((name, *ty, Vec::new())),
            Some((layer, kind)) => match rules
                .iter_mut()
                .find(|r| r.0 == kind && r.1 == *ty && !r.2.is_empty())
            {
                Some((_, _, layers)) => layers.push(layer),
                None => rules.push((kind, *ty, vec![layer])),
            },
        }
    }
    let pattern = |(name, ty, layers): (&str, TensorType, Vec<u32>)| {
        let name = name.replace('.', "\\.");
        let pattern = match &layers[..] {
            [] => format!("^{name}$"),
            [one] => format!("^blk\\.{one}\\.{name}$"),
            several => {
                let several: Vec<String> = several.iter().map(u32::to_string).collect();
                format!("^blk\\.({})\\.{name}$", several.join("|"))
            }
        };
        (pattern, ty)
    };
    rules.into_iter().map(pattern).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rule_for_the_layers_of_a_type() {
        let types = [
            ("token_embd.weight", TensorType::Q6_K),
            ("blk.0.ffn_up.weight", TensorType::Q4_K),
            ("blk.0.attn_q.weight", TensorType::Q4_K),
            ("blk.1.ffn_up.weight", TensorType::Q5_K),
            ("blk.12.ffn_up.weight", TensorType::Q4_K),
            ("blk.02.ffn_up.weight", TensorType::Q4_K),
        ];
        let types: Vec<_> = types.iter().map(|(n, t)| ((*n).to_owned(), *t)).collect();
        let written: Vec<String> = rules(&types).iter().map(|(p, t)| format!("{p}={t}")).collect();
        assert_eq!(
            written,
            [
                r"^token_embd\.weight$=q6_K",
                r"^blk\.(0|12)\.ffn_up\.weight$=q4_K",
                r"^blk\.0\.attn_q\.weight$=q4_K",
                r"^blk\.1\.ffn_up\.weight$=q5_K",
                r"^blk\.02\.ffn_up\.weight$=q4_K",
            ]
        );
        assert_eq!(kind_of("blk.3.attn_q.weight"), "attn_q");
        assert_eq!(kind_of("output.weight"), "output");
        // Each tensor is matched by its own rule alone.
        for (name, ty) in &types {
            let matching = rules(&types).into_iter().filter(|(pattern, _)| {
                convert::recipe::TensorTypeRule::new(pattern, *ty)
                    .unwrap()
                    .matches(name)
            });
            assert_eq!(matching.map(|(_, ty)| ty).collect::<Vec<_>>(), [*ty], "{name}");
        }
    }
}
