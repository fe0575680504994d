//! Data of a card: a table's record in the words and digits that people are shown.

use serde::Serialize;

use super::Facts;
use super::options::options;
use crate::chat::Template;
use crate::choose;
use crate::front_matter::FrontMatter;
use crate::record::{Domain, Estimate, Evaluation, EvaluationText, Importance, Row, Table};
use crate::size::Unit;

/// Data of a card, as a template sees them: numbers are texts, rounded as they are to be shown.
#[derive(Debug, Serialize)]
pub struct View {
    /// Name of the model.
    pub model: String,
    /// Repository of the unquantized model.
    pub base_model: Option<String>,
    /// Commit of that repository.
    pub revision: Option<String>,
    /// Where the folder goes.
    pub repository: String,
    /// The publisher.
    pub quantized_by: Option<String>,
    /// The program, with its version.
    pub tool: String,
    /// Release of llama.cpp whose bytes the files have.
    pub llama_cpp: String,
    /// Type of the unquantized model.
    pub source_type: String,
    /// Unit of sizes.
    pub unit: &'static str,
    /// Size of all files together.
    pub total: String,
    /// Whether there are figures.
    pub evaluated: bool,
    /// The rows that have a file, in the table's order.
    pub rows: Vec<RowView>,
    /// Presets that could not be made, each with the reason.
    pub not_made: Vec<(String, String)>,
    /// The best file for each memory.
    pub memories: Vec<MemoryView>,
    /// The smallest file whose perplexity is that of the unquantized model.
    pub smallest_equal: Option<RowView>,
    /// Files that another one beats, each with that one.
    pub beaten: Vec<(RowView, RowView)>,
    /// Texts and settings of the evaluation.
    pub evaluation: Option<EvaluationView>,
    /// Kinds of text that are told apart.
    pub domains: Vec<String>,
    /// The figures of each kind of text, a line for each file.
    pub by_domain: Vec<DomainsView>,
    /// Prompt format.
    pub prompt: Option<String>,
    /// The importance matrix.
    pub importance: Option<ImportanceView>,
    /// Name of the plot.
    pub plot: Option<&'static str>,
    /// Options that the files were made with, as the command line has them.
    pub options: Vec<String>,
    /// The original card without its front matter.
    pub original: Option<String>,
}

/// A row of a card.
#[derive(Clone, Debug, Serialize)]
pub struct RowView {
    /// Name of the preset.
    pub preset: String,
    /// The file.
    pub file: String,
    /// The name as a link in Markdown.
    pub link: String,
    /// Size in the table's unit.
    pub size: String,
    /// Bits per weight.
    pub bpw: String,
    /// KL divergence with its error.
    pub kld: String,
    /// The KL divergence that 99.9 % of positions lie below.
    pub kld_99_9: String,
    /// Same top token, in percent.
    pub same_top: String,
    /// Positions where the first choice turns from right to wrong or back, in percent.
    pub flips: String,
    /// Perplexity.
    pub ppl: String,
    /// Ratio of perplexities with its error.
    pub ppl_ratio: String,
    /// Remarks: aliases, substitutions, shards.
    pub notes: String,
    /// Pattern of its files, where it has several.
    pub pattern: String,
}

/// The choice for a memory.
#[derive(Debug, Serialize)]
pub struct MemoryView {
    /// The memory.
    pub memory: String,
    /// The file.
    pub row: RowView,
    /// Memory with cache and buffers.
    pub needed: String,
}

/// Texts and settings of the evaluation.
#[derive(Debug, Serialize)]
pub struct EvaluationView {
    /// The texts.
    pub texts: String,
    /// Windows.
    pub chunks: usize,
    /// Tokens of a window.
    pub context: usize,
    /// Rounding of the forward pass.
    pub rounding: String,
    /// Perplexity of the unquantized model.
    pub base_ppl: String,
}

/// Figures of a file by kind of text.
#[derive(Debug, Serialize)]
pub struct DomainsView {
    /// Name of the preset.
    pub preset: String,
    /// Mean KL divergence of each kind, with its error.
    pub kld: Vec<String>,
    /// Flips of each kind, with their error.
    pub flips: Vec<String>,
}

/// The importance matrix.
#[derive(Debug, Serialize)]
pub struct ImportanceView {
    /// The file in the folder.
    pub file: String,
    /// Text it was made of.
    pub text: String,
    /// Windows it was made of.
    pub chunks: u32,
    /// SHA-256 of it.
    pub sha256: String,
}

/// Digits after the point that show two digits of an error.
fn digits(error: f64) -> usize {
    if error > 0.0 && error.is_finite() {
        (1.0 - error.log10().floor()).clamp(1.0, 8.0) as usize
    } else {
        4
    }
}

/// A mean with its error, to two digits of that.
pub fn with_error(e: Estimate) -> String {
    let digits = digits(e.error);
    format!("{:.digits$} ± {:.digits$}", e.value, e.error)
}

/// A share with its error, in percent.
pub fn percent(e: Estimate) -> String {
    let of_hundred = Estimate {
        value: 100.0 * e.value,
        error: 100.0 * e.error,
    };
    format!("{} %", with_error(of_hundred))
}

/// A number to three digits that count.
pub(crate) fn three_digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let digits = (2.0 - value.abs().log10().floor()).clamp(0.0, 8.0) as usize;
    format!("{value:.digits$}")
}

/// The unit of the sizes of a table: one for all of them.
pub(crate) fn unit(table: &Table) -> Unit {
    Unit::of(table.rows.iter().filter_map(|row| row.size).max().unwrap_or(0))
}

/// A text as Markdown shows it in a cell.
pub(super) fn cell(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace('[', "\\[")
        .replace(']', "\\]")
        .replace('<', "&lt;")
        .replace('\n', " ")
}

/// Substitutions in a few words.
pub(crate) fn substitutions(row: &Row, weights: u64) -> Option<String> {
    if row.substituted.is_empty() {
        return None;
    }
    let touched: u64 = row.substituted.iter().map(|s| s.weights).sum();
    let mut kinds: Vec<String> = row
        .substituted
        .iter()
        .map(|s| format!("{} for {}", s.got, s.wanted))
        .collect();
    kinds.sort();
    kinds.dedup();
    Some(format!(
        "{} tensors ({:.1} % of weights) have other types, whose rows do not fit the preset's: {}",
        row.substituted.len(),
        touched as f64 * 100.0 / weights.max(1) as f64,
        kinds.join(", ")
    ))
}

fn row_view(table: &Table, row: &Row, files: &[&Row]) -> Option<RowView> {
    // An alias is a line of the table; its file is the original's.
    let original = match &row.same_as {
        Some(other) => table.row(other)?,
        None => row,
    };
    let file = original.file.clone()?;
    let measured = row.measured.as_ref();
    let text = |of: &dyn Fn(&crate::record::Measured) -> String| measured.map(of).unwrap_or_default();
    let mut notes = Vec::new();
    if let Some(same) = &row.same_as {
        notes.push(format!("another name of {same}"));
    } else if let Some(other) = choose::beaten_by(row, files) {
        notes.push(format!("{} is not larger and better", other.preset));
    }
    if let Some(recipe) = row.recipe.as_ref().filter(|recipe| recipe.contains(',')) {
        notes.push(recipe.clone());
    }
    notes.extend(substitutions(row, table.model.weights));
    if !row.uniform_importance.is_empty() {
        notes.push(format!(
            "{} tensors without importance",
            row.uniform_importance.len()
        ));
    }
    let shards = original.files.len();
    if shards > 1 {
        notes.push(format!("{shards} files"));
    }
    let target = match file.contains(|c: char| c.is_whitespace() || "()<>".contains(c)) {
        true => format!("<./{file}>"),
        false => format!("./{file}"),
    };
    let pattern = match file.split_once("-00001-of-") {
        Some((start, _)) if shards > 1 => format!("{start}-*.gguf"),
        _ => file.clone(),
    };
    Some(RowView {
        preset: row.preset.clone(),
        link: format!("[{}]({target})", cell(file.trim_end_matches(".gguf"))),
        file,
        size: unit(table).number(row.size?),
        bpw: row
            .bits_per_weight
            .map_or_else(String::new, |b| format!("{b:.2}")),
        kld: text(&|m| with_error(m.kld)),
        kld_99_9: text(&|m| m.kld_quantile(0.999).map_or_else(String::new, three_digits)),
        same_top: text(&|m| format!("{:.1} %", m.same_top.value * 100.0)),
        flips: text(&|m| m.flips.map_or_else(String::new, |f| percent(f.all))),
        ppl: text(&|m| with_error(m.ppl)),
        ppl_ratio: text(&|m| with_error(m.ppl_ratio)),
        notes: cell(&notes.join("; ")),
        pattern,
    })
}

/// The texts of an evaluation by name, and by kind where there are several.
fn texts(evaluation: &Evaluation) -> String {
    let name = |t: &EvaluationText| match (&t.domain, t.text.bundled) {
        (Some(domain), true) => domain.clone(),
        (Some(domain), false) => format!("{domain} ({})", t.text.name),
        (None, _) => t.text.name.clone(),
    };
    let texts = &evaluation.texts;
    let names = texts.iter().map(name).collect::<Vec<_>>().join(", ");
    match texts.iter().all(|t| t.domain.is_some() && t.text.bundled) {
        true => format!("quantsmith's bundled suite ({names})"),
        false => names,
    }
}

/// The figures of a file by kind of text; `None` where it has none.
fn by_domain(row: &Row, names: &[String]) -> Option<DomainsView> {
    let domains = &row.measured.as_ref().filter(|m| !m.domains.is_empty())?.domains;
    let each = |show: &dyn Fn(&Domain) -> String| -> Vec<String> {
        let found = names
            .iter()
            .map(|name| domains.iter().find(|d| d.name == *name).map(show));
        found.map(Option::unwrap_or_default).collect()
    };
    Some(DomainsView {
        preset: row.preset.clone(),
        kld: each(&|d| with_error(d.kld)),
        flips: each(&|d| d.flips.map_or_else(String::new, |f| percent(f.all))),
    })
}

/// The best file for each memory.
fn memories(files: &[&Row], facts: &Facts, view: &dyn Fn(&Row) -> Option<RowView>) -> Vec<MemoryView> {
    let choices = choose::for_memories(files, &facts.needed);
    let unit = Unit::of(choices.iter().map(|choice| choice.needed).max().unwrap_or(0));
    let views = choices.into_iter().filter_map(|choice| {
        Some(MemoryView {
            memory: match choice.to_gib {
                None => format!("{} GiB and more", choice.from_gib),
                Some(to) if to == choice.from_gib => format!("{to} GiB"),
                Some(to) => format!("{} to {to} GiB", choice.from_gib),
            },
            needed: unit.show(choice.needed),
            row: view(choice.row)?,
        })
    });
    views.collect()
}

fn evaluation(e: &Evaluation) -> Option<EvaluationView> {
    Some(EvaluationView {
        texts: texts(e),
        chunks: e.chunks,
        context: e.context,
        rounding: e.rounding.clone(),
        base_ppl: with_error(e.base_ppl?),
    })
}

fn matrix(importance: &Importance, file: String) -> ImportanceView {
    ImportanceView {
        file,
        text: match &importance.text {
            Some(text) => text.name.clone(),
            None => file_names(&importance.datasets),
        },
        chunks: importance.chunks,
        sha256: importance.file.sha256.clone(),
    }
}

impl View {
    /// The data of a table's card.
    pub fn of(table: &Table, facts: &Facts) -> Self {
        let files = choose::files(table);
        let view = |row: &Row| row_view(table, row, &files);
        let measured = files.iter().filter_map(|row| row.measured.as_ref());
        let domains = measured.map(|m| m.domains.iter().map(|d| d.name.clone()).collect());
        let domains: Vec<String> = domains.max_by_key(Vec::len).unwrap_or_default();
        let base_model = facts.base_model.clone().or(table.source.repository.clone());
        let owner = facts.quantized_by.as_deref().unwrap_or("OWNER");
        let total: u64 = files.iter().filter_map(|row| row.size).sum();
        let beaten = files.iter().filter_map(|row| {
            let other = choose::beaten_by(row, &files)?;
            Some((view(row)?, view(other)?))
        });
        Self {
            model: table.model.name.clone(),
            revision: table
                .source
                .revision
                .clone()
                .filter(|_| facts.base_model.is_none()),
            base_model,
            repository: facts
                .repository
                .clone()
                .unwrap_or_else(|| format!("{owner}/{}-GGUF", table.model.name)),
            quantized_by: facts.quantized_by.clone(),
            tool: match &table.tool.commit {
                Some(commit) => format!("{} {} ({commit})", table.tool.name, table.tool.version),
                None => format!("{} {}", table.tool.name, table.tool.version),
            },
            llama_cpp: table.tool.llama_cpp.clone(),
            source_type: table.source.ty.clone(),
            unit: unit(table).name(),
            total: unit(table).show(total),
            evaluated: table.rows.iter().any(|row| row.measured.is_some()),
            rows: table.rows.iter().filter_map(view).collect(),
            not_made: table
                .rows
                .iter()
                .filter_map(|row| Some((row.preset.clone(), row.error.clone()?)))
                .collect(),
            memories: memories(&files, facts, &view),
            smallest_equal: choose::smallest_equal(&files).and_then(view),
            beaten: beaten.collect(),
            evaluation: table.evaluation.as_ref().and_then(evaluation),
            domains: domains.clone(),
            by_domain: files.iter().filter_map(|row| by_domain(row, &domains)).collect(),
            prompt: Template::of(&facts.metadata).and_then(|t| t.prompt_format().ok()),
            importance: table
                .importance
                .as_ref()
                .zip(facts.matrix.clone())
                .map(|(importance, file)| matrix(importance, file)),
            plot: facts.plot.then_some(crate::plot::FILE),
            options: options(table),
            original: table
                .source
                .card
                .as_deref()
                .map(|card| FrontMatter::split(card).1.trim().to_owned())
                .filter(|text| !text.is_empty()),
        }
    }
}

/// Texts of a matrix without the folders that they lay in on its maker's machine.
fn file_names(paths: &[String]) -> String {
    let names = paths.iter().map(|path| match path.rsplit(['/', '\\']).next() {
        Some(name) if !name.is_empty() => name,
        _ => path,
    });
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_of_their_error() {
        let e = |value, error| with_error(Estimate { value, error });
        assert_eq!(e(0.0015934, 0.0000213), "0.001593 ± 0.000021");
        assert_eq!(e(1.00221, 0.0013), "1.0022 ± 0.0013");
        assert_eq!(e(62.7177, 0.9765), "62.72 ± 0.98");
        assert_eq!(e(0.5, 0.0), "0.5000 ± 0.0000");
        assert_eq!(three_digits(0.012345), "0.0123");
        assert_eq!(three_digits(12.345), "12.3");
        assert_eq!(three_digits(0.0), "0");
    }

    #[test]
    fn folders_of_the_maker_are_not_published() {
        let paths = ["/texts/calibration.txt", r"C:\texts\code.txt", "plain.txt"];
        let names = file_names(&paths.map(str::to_owned));
        assert_eq!(names, "calibration.txt, code.txt, plain.txt");
    }
}
