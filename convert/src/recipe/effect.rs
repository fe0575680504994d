//! Requests for types that decide nothing, each as it was given.

use super::mixture::Role;
use super::{Preset, RecipeOptions, TensorSpec, TensorTypeRule, exclusions, pinned, summarize};

/// Options without an effect on these tensors.
pub(super) fn without_effect(
    architecture: &str,
    tensors: &[TensorSpec<'_>],
    options: &RecipeOptions,
) -> Vec<String> {
    let rules = &options.tensor_types;
    if options.preset == Preset::Copy {
        let mut given: Vec<String> = rules.iter().map(flag).collect();
        let others = [
            (options.output_tensor_type.is_some(), "output_tensor_type"),
            (options.token_embedding_type.is_some(), "token_embedding_type"),
            (options.leave_output_tensor, "leave_output_tensor"),
            (options.pure, "pure"),
        ];
        given.extend(
            others
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, flag)| (*flag).to_owned()),
        );
        let note = |flag| format!("{flag} has no effect: preset COPY changes no types");
        return given.into_iter().map(note).collect();
    }
    let mut notes = Vec::new();
    if options.preset.base().is_quantized() {
        let ineffective =
            (0..rules.len()).filter_map(|i| rule_without_effect(architecture, tensors, options, i));
        notes.extend(ineffective);
    } else {
        let note = |rule| format!("{} has no effect with preset {}", flag(rule), options.preset);
        notes.extend(rules.iter().map(note));
    }
    let has = |role| tensors.iter().any(|t| Role::of(t.name) == role);
    match (options.leave_output_tensor, options.output_tensor_type.is_some()) {
        (true, true) if has(Role::Output) => notes.push(
            "output_tensor_type has no effect: leave_output_tensor keeps output.weight as it is".to_owned(),
        ),
        (true, _) if !has(Role::Output) => {
            notes.push("leave_output_tensor has no effect: the model has no output.weight".to_owned());
        }
        (_, true) if !has(Role::Output) && options.token_embedding_type.is_some() => notes.push(
            "output_tensor_type has no effect: the embedding is the output matrix, and token_embedding_type \
             decides it"
                .to_owned(),
        ),
        _ => {}
    }
    let embeddings = || {
        tensors
            .iter()
            .filter(|t| Role::of(t.name) == Role::TokenEmbedding)
    };
    let decides = |t: &TensorSpec<'_>| {
        let rule = rules.iter().find(|r| r.matches(t.name));
        exclusions::quantizable(architecture, t.name, t.shape)
            && pinned(t.name, Role::TokenEmbedding, rule, options).is_some()
    };
    if options.token_embedding_type.is_some() && !embeddings().any(decides) {
        notes.push("token_embedding_type has no effect: no embedding is quantized".to_owned());
    }
    notes
}

fn flag(rule: &TensorTypeRule) -> String {
    format!("tensor type rule {}", rule.given())
}

/// Reason that a rule decides no tensor; `None` where it decides one.
fn rule_without_effect(
    architecture: &str,
    tensors: &[TensorSpec<'_>],
    options: &RecipeOptions,
    at: usize,
) -> Option<String> {
    let rules = &options.tensor_types;
    if !tensors.iter().any(|t| rules[at].matches(t.name)) {
        return Some(format!(
            "{} has no effect: this model has no such tensor",
            flag(&rules[at])
        ));
    }
    let (mut kept, mut reasons): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    let mut add = |reason: String| {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    for tensor in tensors.iter().filter(|t| rules[at].matches(t.name)) {
        let first = rules.iter().position(|r| r.matches(tensor.name))?;
        if !exclusions::quantizable(architecture, tensor.name, tensor.shape) {
            kept.push(tensor.name);
        } else if options.leave_output_tensor && tensor.name == "output.weight" {
            add("leave_output_tensor keeps output.weight as it is".to_owned());
        } else if let Some((_, flag)) =
            pinned(tensor.name, Role::of(tensor.name), Some(&rules[first]), options)
        {
            add(format!("{flag} decides {}", tensor.name));
        } else if first < at {
            add(format!("the earlier {} decides", flag(&rules[first])));
        } else {
            return None;
        }
    }
    if !kept.is_empty() {
        reasons.push(match kept.len() {
            1 => format!("{} is never quantized", kept[0]),
            _ => format!("{} are never quantized", summarize(&kept)),
        });
    }
    Some(format!(
        "{} has no effect: {}",
        flag(&rules[at]),
        reasons.join("; ")
    ))
}
