//! Options of a table's making.

use crate::record::Table;

/// Options other than the defaults, as the command line has them.
pub(super) fn options(table: &Table) -> Vec<String> {
    let p = &table.parameters;
    let mut options = Vec::new();
    for (flag, given) in [
        ("--pure", p.pure),
        ("--leave-output-tensor", p.leave_output_tensor),
        ("--no-fallback", p.no_fallback),
        ("--allow-requantize", p.allow_requantize),
        ("--allow-incomplete", p.allow_incomplete),
        ("--imatrix-missing uniform", p.uniform_importance),
    ] {
        options.extend(given.then(|| flag.to_owned()));
    }
    let mut with = |flag: &str, value: &str| options.push(format!("{flag} {value}"));
    for (flag, value) in [
        ("--output-tensor-type", &p.output_tensor_type),
        ("--token-embedding-type", &p.token_embedding_type),
        ("--pre-tokenizer", &p.pre_tokenizer),
    ] {
        if let Some(value) = value {
            with(flag, value);
        }
    }
    p.tensor_types.iter().for_each(|rule| with("--tensor-type", rule));
    p.include_weights
        .iter()
        .for_each(|part| with("--include-weights", part));
    p.exclude_weights
        .iter()
        .for_each(|part| with("--exclude-weights", part));
    if let Some(tokens) = p.expert_prior {
        with("--imatrix-expert-prior", &tokens.to_string());
    }
    if let Some((_, method)) = p.optimize.iter().find(|(key, _)| key == "method") {
        with("--optimize", method);
    }
    options
}
