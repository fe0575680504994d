//! The report of `quantsmith table`: its rows, and how they are printed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use convert::table::{self, Row, RowPlan};
use publish::record;
use publish::size::Unit;
use serde::Serialize;

use super::figures::scored;
use super::kinds;

/// Result of one file's evaluation.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    /// Windows that the file ran over.
    pub(super) chunks: usize,
    pub(super) ppl: f64,
    pub(super) ppl_error: f64,
    /// Perplexity over that of the unquantized model.
    pub(super) ppl_ratio: f64,
    pub(super) ppl_ratio_error: f64,
    pub(super) kld: f64,
    pub(super) kld_error: f64,
    pub(super) kld_99_9: f64,
    pub(super) same_top: f64,
    /// Share of positions where the first choice turns from right to wrong, from wrong to right, or either.
    pub(super) flips: record::Flips,
    /// The figures by kind of text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) domains: Vec<record::Domain>,
}

/// A line of the report.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ReportRow {
    #[serde(flatten)]
    pub(super) row: Row,
    #[serde(flatten)]
    pub(super) measured: Option<Measured>,
}

/// Results of the evaluation, and the unquantized model's own.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Evaluation {
    pub(super) text: String,
    pub(super) context: usize,
    pub(super) chunks: usize,
    pub(super) scored_tokens: usize,
    /// Rounding of the forward pass besides the weights.
    pub(super) rounding: String,
    /// The relative error of ratios of divergences at which files stopped; without one all ran over all windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) precision: Option<f64>,
    pub(super) base_type: String,
    pub(super) base_ppl: f64,
    pub(super) base_ppl_error: f64,
}

/// All that the command reports.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) model: String,
    #[serde(serialize_with = "convert::serialize_path")]
    pub(super) source: PathBuf,
    #[serde(serialize_with = "convert::serialize_optional_path")]
    pub(super) imatrix: Option<PathBuf>,
    pub(super) dry_run: bool,
    /// Bytes of all files, each counted once.
    pub(super) total_bytes: u64,
    pub(super) evaluation: Option<Evaluation>,
    pub(super) rows: Vec<ReportRow>,
    /// How types were chosen, for each file of which this run has chosen them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) chosen: Vec<serde_json::Value>,
}

impl Report {
    /// The unit of all sizes.
    fn unit(&self) -> Unit {
        let sizes = self.rows.iter().filter_map(|line| line.row.size_bytes);
        Unit::of(sizes.max().unwrap_or(0))
    }
}

impl Measured {
    /// The recorded figures that are reported.
    pub(super) fn new(m: &record::Measured) -> Self {
        Self {
            chunks: m.chunks,
            ppl: m.ppl.value,
            ppl_error: m.ppl.error,
            ppl_ratio: m.ppl_ratio.value,
            ppl_ratio_error: m.ppl_ratio.error,
            kld: m.kld.value,
            kld_error: m.kld.error,
            kld_99_9: m.kld_quantile(0.999).unwrap_or_default(),
            same_top: m.same_top.value,
            flips: m.flips.unwrap_or_default(),
            domains: m.domains.clone(),
        }
    }
}

impl Evaluation {
    /// The recorded evaluation; `None` before anything is measured.
    pub(super) fn new(e: &record::Evaluation, text: String, base_type: &str) -> Option<Self> {
        let base = e.base_ppl?;
        let per_window = scored(e.context);
        Some(Self {
            text,
            context: e.context,
            chunks: e.scored_tokens / per_window,
            scored_tokens: e.scored_tokens,
            rounding: e.rounding.clone(),
            precision: e.precision,
            base_type: base_type.to_owned(),
            base_ppl: base.value,
            base_ppl_error: base.error,
        })
    }
}

impl Report {
    /// The report of planned files, with what a record has measured of them.
    pub(super) fn new(
        model: String,
        source: PathBuf,
        imatrix: Option<PathBuf>,
        planned: &[RowPlan<'_>],
        recorded: Option<&record::Table>,
        text: String,
    ) -> Self {
        let measured = |at: usize| Some(Measured::new(recorded?.rows[at].measured.as_ref()?));
        let rows = table::rows(planned).into_iter().enumerate();
        let made = planned
            .iter()
            .filter(|row| row.check().is_ok() && row.same_as.is_none());
        let evaluation =
            |table: &record::Table| Evaluation::new(table.evaluation.as_ref()?, text, &table.source.ty);
        Self {
            model,
            source,
            imatrix,
            dry_run: recorded.is_none(),
            total_bytes: made.flat_map(|row| &row.plan).map(|plan| plan.file_size()).sum(),
            evaluation: recorded.and_then(evaluation),
            rows: rows
                .map(|(at, row)| ReportRow {
                    row,
                    measured: measured(at),
                })
                .collect(),
            chosen: Vec::new(),
        }
    }
}

/// Substitutions in a few words: how many tensors, and their share of the weights.
fn substitutions(row: &Row) -> String {
    if row.substituted.is_empty() {
        return String::new();
    }
    let touched: u64 = row.substituted.iter().map(|c| c.weights).sum();
    let share = touched as f64 * 100.0 / row.weights.unwrap_or(touched).max(1) as f64;
    let mut kinds: Vec<String> = row
        .substituted
        .iter()
        .map(|c| format!("{}→{}", c.wanted, c.got))
        .collect();
    kinds.sort();
    kinds.dedup();
    format!(
        "{} tensors, {share:.1} % of weights substituted ({})",
        row.substituted.len(),
        kinds.join(", ")
    )
}

fn note(row: &Row) -> String {
    let mut parts = Vec::new();
    if let Some(error) = &row.error {
        parts.push(match row.needs_importance.len() {
            0 => format!("not made: {error}"),
            n => format!("not made: {n} tensors need an importance matrix (--imatrix)"),
        });
    }
    if let Some(same) = &row.same_as {
        parts.push(format!("same file as {same}"));
    }
    if !row.uniform_importance.is_empty() {
        parts.push(format!(
            "{} tensors without importance, their columns counted alike",
            row.uniform_importance.len()
        ));
    }
    parts.push(substitutions(row));
    parts.retain(|p| !p.is_empty());
    parts.join("; ")
}

/// Prints the table for people, as aligned text or Markdown.
pub(super) fn print(report: &Report, directory: &Path, markdown: bool) -> anyhow::Result<()> {
    crate::output::print(|out| {
        writeln!(
            out,
            "{} from {} in {}",
            report.model,
            report.source.display(),
            directory.display()
        )?;
        if let Some(file) = &report.imatrix {
            writeln!(out, "importance from {}", file.display())?;
        }
        if let Some(e) = &report.evaluation {
            if let Some(precision) = e.precision {
                writeln!(
                    out,
                    "files stopped where ratios of KLD to their neighbours' were known to {:.1} % (windows: see --json)",
                    100.0 * precision
                )?;
            }
            writeln!(
                out,
                "evaluated on {} ({} windows of {} tokens, --rounding {}); unquantized ({}): PPL {:.4} ± {:.4}",
                e.text, e.chunks, e.context, e.rounding, e.base_type, e.base_ppl, e.base_ppl_error
            )?;
        }
        writeln!(out)?;
        print_cells(out, &cells(report), markdown)?;
        // What is another name of a file has its figures.
        let measured = report.rows.iter().filter(|line| line.row.same_as.is_none());
        let domains =
            measured.filter_map(|line| Some((&*line.row.preset, &*line.measured.as_ref()?.domains)));
        if let Some(cells) = kinds::cells(domains) {
            writeln!(out, "\nby kind of text")?;
            print_cells(out, &cells, markdown)?;
        }
        let files = report.rows.iter().filter(|line| line.row.error.is_none());
        let distinct = files.filter(|line| line.row.same_as.is_none()).count();
        writeln!(
            out,
            "\n{} in {distinct} files{}",
            report.unit().show(report.total_bytes),
            match report.dry_run {
                true => ", which a run would write",
                false => "",
            }
        )
    })
}

/// The table's head and lines.
fn cells(report: &Report) -> Vec<Vec<String>> {
    let evaluated = report.evaluation.is_some();
    let unit = report.unit();
    let size = format!("Size ({})", unit.name());
    let mut head = vec!["Preset", "File", size.as_str(), "bpw"];
    if evaluated {
        head.extend([
            "PPL",
            "±",
            "PPL ratio",
            "mean KLD",
            "99.9 % KLD",
            "same top",
            "flips",
        ]);
    }
    head.push("Notes");
    let mut cells: Vec<Vec<String>> = vec![head.into_iter().map(str::to_owned).collect()];
    for line in &report.rows {
        let row = &line.row;
        let name = row
            .file
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let mut out = vec![
            row.preset.clone(),
            name,
            row.size_bytes.map_or_else(|| "-".into(), |n| unit.number(n)),
            row.bits_per_weight
                .map_or_else(|| "-".into(), |b| format!("{b:.2}")),
        ];
        if evaluated {
            match &line.measured {
                Some(m) => out.extend([
                    format!("{:.4}", m.ppl),
                    format!("{:.4}", m.ppl_error),
                    format!("{:.4}", m.ppl_ratio),
                    format!("{:.5}", m.kld),
                    format!("{:.4}", m.kld_99_9),
                    format!("{:.1} %", m.same_top * 100.0),
                    format!("{:.1} %", m.flips.all.value * 100.0),
                ]),
                None => out.extend(std::iter::repeat_n("-".to_owned(), 7)),
            }
        }
        out.push(note(row));
        cells.push(out);
    }
    cells
}

/// Prints cells in columns: the first two and the last (notes) read from the left, figures from the right.
fn print_cells(out: &mut dyn Write, cells: &[Vec<String>], markdown: bool) -> io::Result<()> {
    let columns = cells[0].len();
    let of_text = |c: usize| c < 2 || c + 1 == columns;
    let width: Vec<usize> = (0..columns)
        .map(|c| cells.iter().map(|row| row[c].chars().count()).max().unwrap_or(0))
        .collect();
    for (i, row) in cells.iter().enumerate() {
        let padded: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(c, cell)| {
                if of_text(c) {
                    format!("{cell:<0$}", width[c])
                } else {
                    format!("{cell:>0$}", width[c])
                }
            })
            .collect();
        if !markdown {
            writeln!(out, "{}", padded.join("  ").trim_end())?;
            continue;
        }
        writeln!(out, "| {} |", padded.join(" | "))?;
        if i == 0 {
            let rules: Vec<&str> = (0..columns)
                .map(|c| if of_text(c) { "---" } else { "---:" })
                .collect();
            writeln!(out, "|{}|", rules.join("|"))?;
        }
    }
    Ok(())
}
