//! The table of quants: many presets of one model, planned together and written in one pass.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use gguf::TensorType;
use serde::Serialize;

use crate::importance::Importance;
use crate::pipeline::{OnProgress, PipelineOptions, execute as execute_whole, execute_resumable};
use crate::plan::OutputPlan;
use crate::quantize::{self, Quantization, QuantizeOptions};
use crate::recipe::{Change, PRESETS, Preset, TensorTypeRule};
use crate::scratch::Scratch;
use crate::source::Source;
use crate::{Error, Remedy, Result};

/// The presets of a published table, in its order; `Q3_K`, `Q4_K` and `Q5_K` are other names of the
/// medium mixtures.
pub const PUBLISHED: [&str; 22] = [
    "Q2_K", "IQ3_XS", "IQ3_S", "Q3_K_S", "IQ3_M", "Q3_K", "Q3_K_M", "Q3_K_L", "IQ4_XS", "Q4_0", "IQ4_NL",
    "Q4_K_S", "Q4_K", "Q4_K_M", "Q4_1", "Q5_0", "Q5_K_S", "Q5_K", "Q5_K_M", "Q5_1", "Q6_K", "Q8_0",
];

/// Presets that `all` puts before the published ones, from the smallest on.
const BELOW: [&str; 13] = [
    "Q1_0",
    "IQ1_S",
    "TQ1_0",
    "IQ1_M",
    "IQ2_XXS",
    "TQ2_0",
    "Q2_0",
    "IQ2_XS",
    "IQ2_S",
    "IQ2_M",
    "Q2_K_S",
    "IQ3_XXS",
    "MXFP4_MOE",
];

/// Presets that `all` puts after the published ones.
const ABOVE: [&str; 3] = ["F16", "BF16", "F32"];

/// Names of the field for presets whose embeddings and output are in Q8_0.
const LARGE: [(&str, Preset); 5] = [
    ("Q2_K_L", Preset::Q2_K),
    ("Q3_K_XL", Preset::Q3_K_L),
    ("Q4_K_L", Preset::Q4_K_M),
    ("Q5_K_L", Preset::Q5_K_M),
    ("Q6_K_L", Preset::Q6_K),
];

/// Lists of presets by name, each in the order of its publisher's cards; see [`named`].
const NAMED: [(&str, &[&str]); 4] = [
    (
        "bartowski",
        &[
            "BF16", "Q8_0", "Q6_K_L", "Q6_K", "Q5_K_L", "Q5_K_M", "Q5_K_S", "Q4_K_L", "Q4_1", "Q4_K_M",
            "Q4_K_S", "Q4_0", "IQ4_NL", "IQ4_XS", "Q3_K_XL", "Q3_K_L", "Q3_K_M", "IQ3_M", "Q3_K_S", "IQ3_XS",
            "Q2_K_L", "IQ3_XXS", "Q2_K", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS",
        ],
    ),
    (
        "mradermacher",
        &[
            "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "Q2_K_S", "Q2_K", "IQ3_XXS", "IQ3_XS",
            "Q3_K_S", "IQ3_S", "IQ3_M", "Q3_K_M", "Q3_K_L", "IQ4_XS", "IQ4_NL", "Q4_0", "Q4_K_S", "Q4_K_M",
            "Q4_1", "Q5_K_S", "Q5_K_M", "Q6_K",
        ],
    ),
    (
        "mradermacher-static",
        &[
            "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "IQ4_XS", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K",
            "Q8_0", "F16",
        ],
    ),
    ("ggml-org", &["Q4_K_M", "Q8_0", "F16"]),
];

/// An entry of a table: a preset under one of its names, or types that were chosen for the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, which may be an alias.
    pub name: Cow<'static, str>,
    /// The preset; for chosen types, the one that the file is called after (`general.file_type`).
    pub preset: Preset,
    /// Type of the embeddings and the output, where the name stands for another than the preset's.
    pub heads: Option<TensorType>,
    /// Types that were chosen for the model, after those that were asked for by hand.
    pub chosen: Vec<TensorTypeRule>,
}

impl Entry {
    /// The entry of a preset's name or alias, or of one of the names `Q2_K_L`, `Q3_K_XL`, `Q4_K_L`, `Q5_K_L` and `Q6_K_L`,
    /// with which publishers mean embeddings and output in Q8_0; case does not matter.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(&(name, preset)) = LARGE.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Some(Self {
                name: name.into(),
                preset,
                heads: Some(TensorType::Q8_0),
                chosen: Vec::new(),
            });
        }
        let preset = Preset::parse(text).filter(|&p| p != Preset::Copy)?;
        let info = PRESETS.iter().find(|p| p.preset == preset)?;
        let alias = info.alias.filter(|alias| alias.eq_ignore_ascii_case(text));
        Some(Self {
            name: alias.unwrap_or(info.name).into(),
            preset,
            heads: None,
            chosen: Vec::new(),
        })
    }

    /// Whether the name is the preset's own and no alias.
    pub fn is_own_name(&self) -> bool {
        self.name == self.preset.info().name && self.chosen.is_empty()
    }

    /// Whether another entry has the same bytes.
    pub fn is_alias_of(&self, other: &Self) -> bool {
        (self.preset, self.heads, &self.chosen) == (other.preset, other.heads, &other.chosen)
    }
}

/// The published table.
pub fn published() -> Vec<Entry> {
    PUBLISHED.iter().filter_map(|name| Entry::parse(name)).collect()
}

/// The list of this name: `published`, `all`, or that of a publisher: `bartowski`, `mradermacher` (those made with an
/// importance matrix), `mradermacher-static`, `ggml-org`.
pub fn named(list: &str) -> Option<Vec<Entry>> {
    match list {
        "published" => Some(published()),
        "all" => Some(all()),
        _ => {
            let (_, names) = NAMED.iter().find(|(name, _)| *name == list)?;
            Some(names.iter().filter_map(|name| Entry::parse(name)).collect())
        }
    }
}

/// Every preset and alias.
pub fn all() -> Vec<Entry> {
    BELOW
        .iter()
        .chain(&PUBLISHED)
        .chain(&ABOVE)
        .filter_map(|name| Entry::parse(name))
        .collect()
}

/// Reads a list of preset names, separated by commas or spaces. A name of a list ([`named`]) stands for its entries, of
/// which those that were named before are left out.
///
/// # Errors
/// An unknown name, or none at all.
pub fn parse_entries(text: &str) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    for name in text.split([',', ' ']).filter(|name| !name.is_empty()) {
        if let Some(list) = named(name) {
            let new: Vec<Entry> = list
                .into_iter()
                .filter(|entry| !entries.contains(entry))
                .collect();
            entries.extend(new);
            continue;
        }
        let entry = Entry::parse(name);
        entries.push(entry.ok_or_else(|| Error::Request(crate::recipe::unknown_preset(name)))?);
    }
    if entries.is_empty() {
        return Err(Error::Request(
            "presets: expected at least one, found none".into(),
        ));
    }
    Ok(entries)
}

/// Options for a table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TableOptions {
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// The directory of the files.
    pub directory: PathBuf,
    /// Files are named `MODEL-PRESET.gguf`.
    pub model: String,
    /// Applied to every entry; its preset does not matter.
    pub quantize: QuantizeOptions,
}

gguf::setters! {
    TableOptions {
        quantize: QuantizeOptions,
    }
}

impl TableOptions {
    /// A table of these entries, as files `MODEL-PRESET.gguf` of a directory, each quantized without further options.
    pub fn new(entries: Vec<Entry>, directory: impl Into<PathBuf>, model: impl Into<String>) -> Self {
        Self {
            entries,
            directory: directory.into(),
            model: model.into(),
            quantize: QuantizeOptions::new(Preset::Copy),
        }
    }
}

/// The plan of one entry.
#[derive(Debug)]
#[non_exhaustive]
pub struct RowPlan<'a> {
    /// The entry.
    pub entry: Entry,
    /// The file, or the first of its shards.
    pub path: PathBuf,
    /// Another entry that has the same bytes, of which this file is a link or copy.
    pub same_as: Option<usize>,
    /// Plan of the file (also for a link), or the reason that this model cannot have this preset.
    pub plan: Result<Quantization<'a>>,
}

/// An entry as it is reported.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The name of the entry.
    pub preset: String,
    /// The file.
    #[serde(serialize_with = "crate::serialize_path")]
    pub file: PathBuf,
    /// Bytes of the file.
    pub size_bytes: Option<u64>,
    /// Bits per weight over all tensors.
    pub bits_per_weight: Option<f64>,
    /// Weights in all tensors.
    pub weights: Option<u64>,
    /// Tensors whose rows do not fit the preset's type, and what they got instead.
    pub substituted: Vec<Change>,
    /// Tensors for whose type an importance matrix is needed and has no values: the file cannot be
    /// made.
    pub needs_importance: Vec<String>,
    /// Tensors for whose type importance is needed and the matrix has none, encoded with every column counting
    /// the same.
    pub uniform_importance: Vec<String>,
    /// The entry whose file this one is a link or copy of.
    pub same_as: Option<String>,
    /// Reason that the file cannot be made.
    pub error: Option<String>,
}

impl RowPlan<'_> {
    /// Whether the file can be made.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), String> {
        match &self.plan {
            Ok(plan) => plan.check().map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        }
    }

    /// The way around the refusal, where one is known.
    pub fn remedy(&self) -> Option<Remedy> {
        match &self.plan {
            Ok(plan) => plan.check().err()?.remedy(),
            Err(e) => e.remedy(),
        }
    }
}

/// Plans every entry.
///
/// Entries that this model cannot have, or that lack importance, are part of the result, not an error.
///
/// # Errors
/// Two entries with one file name.
pub fn plan<'a>(
    source: &'a dyn Source,
    options: &TableOptions,
    importance: Option<&Importance>,
) -> Result<Vec<RowPlan<'a>>> {
    let mut rows: Vec<RowPlan<'a>> = Vec::with_capacity(options.entries.len());
    for entry in &options.entries {
        if rows.iter().any(|row| row.entry.name == entry.name) {
            return Err(Error::Request(format!(
                "presets: expected each once, found {} twice",
                entry.name
            )));
        }
        let path = options
            .directory
            .join(format!("{}-{}.gguf", options.model, entry.name));
        let mut quantize = options.quantize.clone();
        quantize.recipe.preset = entry.preset;
        // Types that were asked for by hand go before those of a name.
        let recipe = &mut quantize.recipe;
        recipe.output_tensor_type = recipe.output_tensor_type.or(entry.heads);
        recipe.token_embedding_type = recipe.token_embedding_type.or(entry.heads);
        recipe.tensor_types.extend(entry.chosen.iter().cloned());
        quantize.keep_split = false;
        let plan = quantize::plan(source, &path, &quantize, importance);
        // Of several shards, the first is the one that readers open.
        let first = plan.as_ref().ok().and_then(|p| p.outputs.first());
        let path = first.map_or(path, |output| output.path.clone());
        rows.push(RowPlan {
            entry: entry.clone(),
            plan,
            same_as: None,
            path,
        });
    }
    for at in 0..rows.len() {
        let entry = &rows[at].entry;
        let named = |row: &RowPlan<'_>| row.entry.is_alias_of(entry);
        // Of several names, the file has the preset's own, by which people look for it.
        let own = |row: &RowPlan<'_>| named(row) && row.entry.is_own_name();
        let original = rows.iter().position(own).or_else(|| rows.iter().position(named));
        rows[at].same_as = original.filter(|&original| original != at);
    }
    Ok(rows)
}

/// The rows of a planned table, for a report.
pub fn rows(table: &[RowPlan<'_>]) -> Vec<Row> {
    table
        .iter()
        .map(|row| {
            let plan = row.plan.as_ref().ok();
            Row {
                preset: row.entry.name.to_string(),
                file: row.path.clone(),
                size_bytes: plan.map(Quantization::file_size),
                bits_per_weight: plan.map(Quantization::bits_per_weight),
                weights: plan.map(Quantization::weights),
                substituted: plan.map(|p| p.substituted.clone()).unwrap_or_default(),
                needs_importance: plan
                    .map(|p| p.missing_importance.iter().map(|t| t.tensor.clone()).collect())
                    .unwrap_or_default(),
                uniform_importance: plan
                    .map(|p| p.uniform_importance.iter().map(|t| t.tensor.clone()).collect())
                    .unwrap_or_default(),
                same_as: row.same_as.map(|other| table[other].entry.name.to_string()),
                error: row.check().err(),
            }
        })
        .collect()
}

/// Writes the files of all entries that can be made, in one pass over the source; with a `journal`, so that the
/// run can be continued.
///
/// # Errors
/// As [`execute_whole`] and [`execute_resumable`]; without a journal, no file is published then.
pub fn execute(
    source: &dyn Source,
    table: &[RowPlan<'_>],
    options: &PipelineOptions,
    journal: Option<&Path>,
    on_progress: OnProgress<'_>,
) -> Result<()> {
    check_links(table)?;
    let files = outputs(table);
    let Some(journal) = journal else {
        execute_whole(source, &files, options, on_progress)?;
        return link(table);
    };
    let finished = execute_resumable(source, &files, options, journal, on_progress)?;
    // Until the links are there, the journal says what to do.
    link(table)?;
    finished.forget()
}

/// The distinct files of all entries that can be made.
pub(crate) fn outputs<'a>(table: &[RowPlan<'a>]) -> Vec<OutputPlan<'a>> {
    table
        .iter()
        .filter(|row| row.check().is_ok() && row.same_as.is_none())
        .filter_map(|row| row.plan.as_ref().ok())
        .flat_map(|plan| plan.outputs.iter().cloned())
        .collect()
}

/// Checks before the work that no link would replace an input.
pub(crate) fn check_links(table: &[RowPlan<'_>]) -> Result<()> {
    for row in table
        .iter()
        .filter(|row| row.check().is_ok() && row.same_as.is_some())
    {
        for output in row.plan.iter().flat_map(|plan| &plan.outputs) {
            gguf::check_not_input(&output.path)?;
        }
    }
    Ok(())
}

/// Gives the entries that are other names of a file their links. [`execute`] has done it already.
///
/// # Errors
/// When the system refuses.
pub fn link(table: &[RowPlan<'_>]) -> Result<()> {
    for row in table.iter().filter(|row| row.check().is_ok()) {
        if let Some(other) = row.same_as
            && let (Ok(from), Ok(to)) = (&table[other].plan, &row.plan)
        {
            for (from, to) in from.outputs.iter().zip(&to.outputs) {
                link_or_copy(&from.path, &to.path)?;
            }
        }
    }
    Ok(())
}

/// The files of all entries that can be made, with every shard.
pub fn files(table: &[RowPlan<'_>]) -> Vec<PathBuf> {
    table
        .iter()
        .filter(|row| row.check().is_ok())
        .filter_map(|row| row.plan.as_ref().ok())
        .flat_map(|plan| plan.outputs.iter().map(|output| output.path.clone()))
        .collect()
}

/// Makes `to` a hard link of `from`, or a copy where links cannot be had, replacing what is there.
///
/// # Errors
/// A target that is an input, or an error of the system.
pub fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    let io = |source| Error::io(to, source);
    gguf::check_not_input(to)?;
    let directory = to.parent().filter(|d| !d.as_os_str().is_empty());
    // The new name appears at once or not at all: made beside it, then renamed.
    let staging = Scratch::new(directory.unwrap_or(Path::new(".")))?;
    let staged = staging.path().join("file");
    if fs::hard_link(from, &staged).is_err() {
        fs::copy(from, &staged).map_err(io)?;
        fs::File::open(&staged).and_then(|f| f.sync_all()).map_err(io)?;
    }
    // Renaming a link over another of the same file would leave both, so the target goes first.
    match fs::remove_file(to) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(e)),
        _ => {}
    }
    fs::rename(&staged, to).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_complete() {
        assert_eq!(published().len(), 22);
        let all = all();
        assert_eq!(all.len(), 38);
        for info in PRESETS.iter().filter(|p| p.preset != Preset::Copy) {
            assert!(all.iter().any(|entry| entry.name == info.name), "{}", info.name);
        }
        let names: Vec<_> = published().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, PUBLISHED);
    }

    #[test]
    fn named_lists() {
        for (name, presets) in NAMED {
            let list = named(name).unwrap();
            let names: Vec<_> = list.iter().map(|entry| entry.name.as_ref()).collect();
            assert_eq!(names, presets, "{name}");
            assert!(
                list.iter().enumerate().all(|(i, e)| !list[..i].contains(e)),
                "{name}"
            );
        }
        assert_eq!(named("published").unwrap(), published());
        assert_eq!(named("nobody"), None);
        // A list beside names: each once.
        let entries = parse_entries("Q8_0,ggml-org,q4_k_l").unwrap();
        let names: Vec<_> = entries.iter().map(|e| e.name.as_ref()).collect();
        assert_eq!(names, ["Q8_0", "Q4_K_M", "F16", "Q4_K_L"]);
        assert_eq!(entries[3].heads, Some(TensorType::Q8_0));
        assert!(!entries[3].is_alias_of(&entries[1]));
        assert!(Entry::parse("Q4_K").unwrap().is_alias_of(&entries[1]));
    }

    #[test]
    fn lists_are_read() {
        let entries = parse_entries("q4_k, Q8_0").unwrap();
        assert_eq!(
            (entries[0].name.as_ref(), entries[0].preset),
            ("Q4_K", Preset::Q4_K_M)
        );
        assert_eq!(entries[1].name, "Q8_0");
        assert!(parse_entries("Q9").unwrap_err().to_string().contains("\"Q9\""));
        assert!(parse_entries(" ,").is_err());
        assert!(parse_entries("COPY").is_err());
    }
}
