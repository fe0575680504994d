//! The parts of a card, in Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::view::cell;
use super::{DomainsView, RowView, Style, View};
use crate::choose::CONTEXT;

/// The parts by name; those with nothing to say are empty.
pub(super) fn all(view: &View, style: Style) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("title", title(view)),
        ("table", table(view, style)),
        ("domains", domains(view)),
        ("choose", choose(view)),
        ("plot", plot(view)),
        ("prompt", prompt(view)),
        ("download", download(view)),
        ("substituted", substituted(view)),
        ("made", made(view)),
        ("verify", verify(view)),
        ("original", original(view)),
    ])
}

/// Architectures that make embeddings, not text.
const EMBEDDING: [&str; 8] = [
    "bert",
    "modern-bert",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "jina-bert-v2",
    "jina-bert-v3",
    "eurobert",
];

/// The hub's task of an architecture's models.
pub(super) fn pipeline(architecture: &str) -> &'static str {
    if EMBEDDING.contains(&architecture) {
        "feature-extraction"
    } else {
        "text-generation"
    }
}

fn base(view: &View) -> String {
    match &view.base_model {
        Some(id) => format!("[{id}](https://huggingface.co/{id})"),
        None => view.model.clone(),
    }
}

fn title(view: &View) -> String {
    let by = view
        .quantized_by
        .as_ref()
        .map_or_else(String::new, |by| format!(" by {by}"));
    let matrix = match &view.importance {
        Some(_) => " with an importance matrix",
        None => "",
    };
    format!(
        "# {}: GGUF quants\n\nQuants of {}{by} for llama.cpp{matrix}, {} files of {} together. Made with {}; the \
         bytes are those of llama.cpp {}.\n",
        view.model,
        base(view),
        view.rows
            .iter()
            .filter(|row| !row.notes.starts_with("another name"))
            .count(),
        view.total,
        view.tool,
        view.llama_cpp
    )
}

/// A table in Markdown: heads that end in a colon are of figures.
fn markdown(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut out = String::new();
    let names: Vec<&str> = heads.iter().map(|h| h.trim_end_matches(':')).collect();
    let rules: Vec<&str> = heads
        .iter()
        .map(|h| if h.ends_with(':') { "---:" } else { "---" })
        .collect();
    let _ = writeln!(out, "| {} |\n|{}|", names.join(" | "), rules.join("|"));
    for row in rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out
}

fn table(view: &View, style: Style) -> String {
    let size = format!("Size ({}):", view.unit);
    let mut out = String::from("## Files\n\n");
    let strings = |row: &RowView, parts: &[&str]| -> Vec<String> {
        let mut cells = vec![row.link.clone(), row.preset.clone(), row.size.clone()];
        cells.extend(parts.iter().map(|p| (*p).to_owned()));
        cells
    };
    out += &match (style, view.evaluated) {
        (Style::Plain, _) => markdown(
            &["Name", "Quant method", &size],
            view.rows.iter().map(|row| strings(row, &[])),
        ),
        (Style::Choose, true) => markdown(
            &["Name", "Quant method", &size, "KLD:", "Same top:", "Notes"],
            view.rows
                .iter()
                .map(|row| strings(row, &[&row.kld, &row.same_top, &row.notes])),
        ),
        (Style::Table, true) => markdown(
            &[
                "Name",
                "Quant method",
                &size,
                "Bits per weight:",
                "KLD:",
                "99.9 % KLD:",
                "Same top:",
                "PPL ratio:",
                "Notes",
            ],
            view.rows.iter().map(|row| {
                strings(
                    row,
                    &[
                        &row.bpw,
                        &row.kld,
                        &row.kld_99_9,
                        &row.same_top,
                        &row.ppl_ratio,
                        &row.notes,
                    ],
                )
            }),
        ),
        (_, false) => markdown(
            &["Name", "Quant method", &size, "Bits per weight:", "Notes"],
            view.rows.iter().map(|row| strings(row, &[&row.bpw, &row.notes])),
        ),
    };
    if let (Some(e), true) = (&view.evaluation, style != Style::Plain) {
        let _ = write!(
            out,
            "\nKLD is the mean Kullback-Leibler divergence of a file's predictions from those of the unquantized model \
             ({}), in nats, with its standard error: 0 means that nothing was lost. Measured on {} windows of {} tokens of \
             {}; perplexity of the unquantized model {}. Ratios compare with that.\n",
            view.source_type, e.chunks, e.context, e.texts, e.base_ppl
        );
    }
    for (preset, reason) in &view.not_made {
        let _ = write!(out, "\n{preset} could not be made: {}\n", cell(reason));
    }
    out
}

/// Divergence and flips by kind of text.
fn domains(view: &View) -> String {
    if view.by_domain.is_empty() {
        return String::new();
    }
    let heads: Vec<String> = view
        .domains
        .iter()
        .map(|name| format!("{}:", cell(name)))
        .collect();
    let mut heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    heads.insert(0, "Quant method");
    let rows = |of: &dyn Fn(&DomainsView) -> Vec<String>| {
        let lines = view.by_domain.iter().map(|line| {
            let mut cells = vec![line.preset.clone()];
            cells.extend(of(line));
            cells
        });
        markdown(&heads, lines)
    };
    let mut out = String::from("## By kind of text\n\nMean KLD:\n\n");
    out += &rows(&|line| line.kld.clone());
    if view
        .by_domain
        .iter()
        .any(|line| line.flips.iter().any(|f| !f.is_empty()))
    {
        out += "\nFlips: positions where the first choice turns from the true token to another, or from another to it:\n\n";
        out += &rows(&|line| line.flips.clone());
    }
    out
}

fn choose(view: &View) -> String {
    let mut out = String::from("## Which file should I choose?\n\n");
    if view.memories.is_empty() {
        return String::new();
    }
    let by = if view.evaluated {
        "that loses least"
    } else {
        "that is largest (nothing was measured)"
    };
    let _ = write!(
        out,
        "The file {by}, of those that a GPU of this memory holds as a whole with the cache for {CONTEXT} tokens of context \
         (f16) and buffers, 1 GiB of it left free (`quantsmith fit` counts for other contexts, caches and a part of the \
         layers):\n\n"
    );
    let heads: &[&str] = if view.evaluated {
        &["Memory", "File", "Needs:", "KLD:", "Same top:"]
    } else {
        &["Memory", "File", "Needs:"]
    };
    out += &markdown(
        heads,
        view.memories.iter().map(|m| {
            let mut cells = vec![m.memory.clone(), m.row.link.clone(), m.needed.clone()];
            if view.evaluated {
                cells.extend([m.row.kld.clone(), m.row.same_top.clone()]);
            }
            cells
        }),
    );
    if let Some(row) = &view.smallest_equal {
        let _ = write!(
            out,
            "\nThe smallest file whose perplexity cannot be told from the unquantized model's on this text is {} \
             ({} {}, ratio {}).\n",
            row.link, row.size, view.unit, row.ppl_ratio
        );
    }
    if !view.beaten.is_empty() {
        out += "\nNot worth their size here, because another file is no larger and loses less (by more than two standard \
                errors of the difference):\n\n";
        for (row, other) in &view.beaten {
            let _ = writeln!(
                out,
                "* {} (KLD {}): take {} (KLD {})",
                row.preset, row.kld, other.preset, other.kld
            );
        }
    }
    out
}

fn plot(view: &View) -> String {
    view.plot.map_or_else(String::new, |file| {
        format!(
            "![Size and KL divergence of the files]({file})\n\nThe same with domains, layers and tokens: `report.html` in this \
             folder (download and open it; it needs no network).\n"
        )
    })
}

/// A block of code that its own text does not end.
fn fenced(text: &str, language: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(3.max(longest + 1));
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end_matches('\n'))
}

fn prompt(view: &View) -> String {
    view.prompt.as_ref().map_or_else(String::new, |prompt| {
        format!(
            "## Prompt format\n\nFrom the model's own chat template:\n\n{}",
            fenced(prompt, "")
        )
    })
}

fn download(view: &View) -> String {
    let preferred = ["Q4_K_M", "Q4_K_S", "IQ4_XS"];
    let found = preferred
        .iter()
        .find_map(|preset| view.rows.iter().find(|row| row.preset == *preset));
    let Some(row) = found.or(view.rows.last()) else {
        return String::new();
    };
    let repository = &view.repository;
    let commands = format!(
        "hf download {repository} --include \"{}\" --local-dir .\nllama-cli -hf {repository}:{}",
        row.pattern, row.preset
    );
    format!("## Download\n\n{}", fenced(&commands, "sh"))
}

fn substituted(view: &View) -> String {
    let rows: Vec<&RowView> = view
        .rows
        .iter()
        .filter(|row| row.notes.contains("have other types"))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "## Substituted types\n\nRows of some tensors are no multiple of the preset's block, so that these have a type that \
         fits:\n\n",
    );
    for row in rows {
        let _ = writeln!(out, "* {}: {}", row.preset, row.notes);
    }
    out
}

fn made(view: &View) -> String {
    let mut out = String::from("## How it was made\n\n");
    let revision = view
        .revision
        .as_ref()
        .map_or_else(String::new, |r| format!(" at commit `{r}`"));
    let _ = writeln!(
        out,
        "* Source: {}{revision} ({}); its files' digests are in `provenance.intoto.json`.",
        base(view),
        view.source_type
    );
    if let Some(i) = &view.importance {
        let _ = writeln!(
            out,
            "* Importance matrix: [`{}`](./{}), of {} windows of {}.",
            i.file, i.file, i.chunks, i.text
        );
    }
    let options = match view.options.is_empty() {
        true => "no options".to_owned(),
        false => format!("`{}`", view.options.join(" ")),
    };
    let _ = writeln!(
        out,
        "* {}, with {options}; all files in one pass over the weights.",
        view.tool
    );
    if let Some(e) = &view.evaluation {
        let _ = writeln!(
            out,
            "* Figures: by a forward pass in f32 (rounding of activations and cache: {}), every file over the same windows \
             side by side with the unquantized model. All of them, window by window, are in `table.json`.",
            e.rounding
        );
    }
    out
}

fn verify(view: &View) -> String {
    let source = view.base_model.as_deref().unwrap_or("MODEL");
    let commands = format!(
        "sha256sum -c SHA256SUMS                                  # the files are whole\n\
         quantsmith verify .                                      # and sound: every block of every tensor\n\
         quantsmith verify . --attestation --source {source}   # and what the source makes, to the byte"
    );
    format!("## How to verify it\n\n{}", fenced(&commands, "sh"))
}

fn original(view: &View) -> String {
    view.original.as_ref().map_or_else(String::new, |card| {
        format!(
            "---\n\n<!-- The card of {} follows. -->\n\n{card}\n",
            view.base_model.as_deref().unwrap_or(&view.model)
        )
    })
}
