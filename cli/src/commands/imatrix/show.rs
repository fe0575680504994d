//! The statistics of an importance matrix, as llama-imatrix shows them, and its coverage.

use std::io::{self, Write};

use anyhow::bail;
use imatrix::{FEW_TOKENS, ImportanceMatrix, TensorStatistics, layers};
use serde_json::{Value, json};

use crate::output::{print, print_json};

/// Prints the statistics of a matrix in the GGUF form, and what it knows too little about.
pub(super) fn show(matrix: &ImportanceMatrix, as_json: bool) -> anyhow::Result<()> {
    let tensors = matrix.statistics();
    if tensors.is_empty() {
        bail!("no tensor of the importance matrix has data");
    }
    match as_json {
        true => print_json(&json(matrix, &tensors)),
        false => print(|out| text(out, matrix, &tensors)),
    }
}

/// The report for machines.
fn json(matrix: &ImportanceMatrix, tensors: &[TensorStatistics]) -> Value {
    let of_tensor = |t: &TensorStatistics| {
        json!({
            "tensor": t.tensor, "layer": t.layer, "total": t.total, "min": t.min, "max": t.max,
            "mean": t.mean, "deviation": t.deviation, "active": t.active, "elements": t.elements,
            "entropy": t.entropy, "normalized_entropy": t.normalized_entropy(), "zd": t.zd,
            "cosine": t.cosine, "matrices": t.matrices, "without_data": t.without_data,
            "fewest_tokens": t.tokens.0, "most_tokens": t.tokens.1,
        })
    };
    let of_layer = |l: &imatrix::LayerStatistics| json!({"layer": l.layer, "total": l.total, "zd": l.zd, "cosine": l.cosine});
    json!({
        "chunk_count": matrix.chunk_count, "chunk_size": matrix.chunk_size, "datasets": matrix.datasets,
        "tensors": tensors.iter().map(of_tensor).collect::<Vec<_>>(),
        "layers": layers(tensors).iter().map(of_layer).collect::<Vec<_>>(),
        "gaps": matrix.gaps().iter().map(|g| json!({
            "tensor": g.tensor, "matrices": g.matrices, "without_data": g.without_data,
            "with_few_tokens": g.with_few,
        })).collect::<Vec<_>>(),
    })
}

/// A line for each tensor, then one for each layer, then what is known too little about.
fn text(out: &mut dyn Write, matrix: &ImportanceMatrix, tensors: &[TensorStatistics]) -> io::Result<()> {
    writeln!(
        out,
        "{:>5}  {:<20} {:>12} {:>10} {:>12} {:>9} {:>9} {:>9} {:>7} {:>10} {:>9} {:>8} {:>8}  Tokens",
        "Layer",
        "Tensor",
        "Σ(Act²)",
        "Min",
        "Max",
        "μ",
        "σ",
        "% Active",
        "N",
        "Entropy",
        "E (norm)",
        "ZD",
        "CosSim",
    )?;
    for t in tensors {
        let layer = t.layer.map_or_else(|| "-".to_owned(), |l| l.to_string());
        let coverage = match t.without_data {
            0 if t.matrices == 1 => format!("{:.0}", t.tokens.1),
            0 => format!("{:.0} to {:.0} each", t.tokens.0, t.tokens.1),
            n => format!("{n} of {} experts have none", t.matrices),
        };
        writeln!(
            out,
            "{layer:>5}  {:<20} {:>12.2} {:>10.4} {:>12.4} {:>9.2} {:>9.2} {:>8.2}% {:>7} {:>10.4} {:>8.2}% {:>7.2}% {:>8.4}  {coverage}",
            t.short_name(),
            t.total,
            t.min,
            t.max,
            t.mean,
            t.deviation,
            t.active * 100.0,
            t.elements,
            t.entropy,
            t.normalized_entropy() * 100.0,
            t.zd * 100.0,
            t.cosine,
        )?;
    }
    writeln!(
        out,
        "\n{:>5}  {:>14} {:>9} {:>8}",
        "Layer", "μΣ(Act²)", "μZD", "μCosSim"
    )?;
    for l in layers(tensors) {
        writeln!(
            out,
            "{:>5}  {:>14.2} {:>8.4}% {:>8.4}",
            l.layer,
            l.total,
            l.zd * 100.0,
            l.cosine
        )?;
    }
    let gaps = matrix.gaps();
    match gaps.len() {
        0 => writeln!(out, "\nCoverage: every matrix saw at least {FEW_TOKENS} tokens")?,
        n => writeln!(out, "\nCoverage: {n} tensors know too little")?,
    }
    gaps.iter().try_for_each(|gap| writeln!(out, "  {gap}"))
}
