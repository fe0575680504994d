//! `table.json`: the record of a table of quants.
//!
//! One JSON object, [`Table`]. It holds what is needed to continue the run, to publish it and to check it: what made the
//! files, of what, with which parameters, and every figure. Names of files are names in the record's own directory; where
//! the source and the texts lay is not recorded, but their names, sizes and SHA-256 are. A key whose value is not known is
//! left out. Numbers of a run are reproducible but for [`Times`].

mod figures;

use std::io::Read as _;
use std::path::Path;

use gguf::WholeFile;
use serde::{Deserialize, Serialize};

pub use figures::{Domain, Estimate, Flips, Measured, PerChunk, Position, Quantile, Ratio};

use crate::{Error, Result};

/// Name of the record in a table's directory.
pub const FILE: &str = "table.json";

/// Name of the run's log beside it.
pub const LOG: &str = "convert.log";

/// Version of the schema that this crate writes, and the newest that it reads.
pub const SCHEMA: u32 = 1;

/// Longest record that is read, in bytes.
pub const MAX_BYTES: u64 = 1 << 30;

/// The record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Version of the schema, [`SCHEMA`].
    pub schema: u32,
    /// The program that made the files.
    pub tool: Tool,
    /// The model.
    pub model: Model,
    /// Source of the files.
    pub source: Source,
    /// Parameters that decide the files' bytes besides source and importance.
    pub parameters: Parameters,
    /// The importance matrix, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importance: Option<Importance>,
    /// SHA-256 over the planned headers of all files: their metadata, names, types, shapes and order.
    pub plan_sha256: String,
    /// Progress of the run.
    pub state: State,
    /// Texts and settings of the evaluation, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<Evaluation>,
    /// A row for each preset, in the order of the table.
    pub rows: Vec<Row>,
    /// When it happened; the only part that two runs of the same work do not share.
    pub times: Times,
}

/// Progress of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The files are planned, and may be half written.
    Planned,
    /// Every file is there under its name.
    Written,
    /// The files are being measured; the rows' figures are those of the windows so far.
    Evaluating,
    /// Nothing is left to do.
    Finished,
}

/// The program that made the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The commit of its sources, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Release of llama.cpp whose files have the same bytes.
    pub llama_cpp: String,
}

/// A file by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Its name; of a source, relative to the source's directory, with `/` between the parts.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// The model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The name, with which the names of files begin.
    pub name: String,
    /// Architecture, as `general.architecture` has it.
    pub architecture: String,
    /// Weights in all tensors.
    pub weights: u64,
    /// The tensors in the order of the files.
    pub tensors: Vec<Tensor>,
}

/// A tensor of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// GGUF name.
    pub name: String,
    /// Dimensions, innermost first.
    pub shape: Vec<u64>,
    /// Type in the unquantized model.
    #[serde(rename = "type")]
    pub ty: String,
}

/// Source of the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Last component of its path, or a name for the model inside the program.
    pub name: String,
    /// Its form.
    pub kind: SourceKind,
    /// Repository on the hub, as `owner/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Commit of that repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Type that holds most of its weights.
    #[serde(rename = "type")]
    pub ty: String,
    /// Every file that was read; empty while they are not digested yet.
    pub files: Vec<FileDigest>,
    /// The description of its architecture (`--arch-file`), where it is not built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<FileDigest>,
    /// Its model card, front matter included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
}

/// Form of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SourceKind {
    /// A Hugging Face directory.
    Directory,
    /// A GGUF file, of several shards perhaps.
    Gguf,
    /// The demo model inside the program.
    Demo,
}

/// Parameters that decide bytes, as the command line names them. What was left at its default is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parameters {
    /// `--pure`.
    #[serde(skip_serializing_if = "is_false")]
    pub pure: bool,
    /// `--leave-output-tensor`.
    #[serde(skip_serializing_if = "is_false")]
    pub leave_output_tensor: bool,
    /// `--output-tensor-type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tensor_type: Option<String>,
    /// `--token-embedding-type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_embedding_type: Option<String>,
    /// `--tensor-type`, each as `REGEX=TYPE`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tensor_types: Vec<String>,
    /// `--no-fallback`.
    #[serde(skip_serializing_if = "is_false")]
    pub no_fallback: bool,
    /// `--allow-requantize`.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_requantize: bool,
    /// `--allow-incomplete`.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_incomplete: bool,
    /// `--imatrix-missing uniform`.
    #[serde(skip_serializing_if = "is_false")]
    pub uniform_importance: bool,
    /// `--include-weights`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include_weights: Vec<String>,
    /// `--exclude-weights`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude_weights: Vec<String>,
    /// `--imatrix-expert-prior`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expert_prior: Option<u32>,
    /// `--pre-tokenizer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_tokenizer: Option<String>,
    /// Cut into shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<ShardLimits>,
    /// Keys `quantsmith.optimize.*` of the files: how blocks were chosen other than stock's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub optimize: Vec<(String, String)>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Limits of shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardLimits {
    /// Most tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensors: Option<u64>,
    /// Most bytes of tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Whether the first shard has none.
    pub first_without_tensors: bool,
}

/// An importance matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Importance {
    /// The file.
    #[serde(flatten)]
    pub file: FileDigest,
    /// Name as the files record it (`quantize.imatrix.file`).
    pub recorded_as: String,
    /// Whether this run made it.
    pub made: bool,
    /// The text that this run made it of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
    /// Windows that it was collected over.
    pub chunks: u32,
    /// Tokens of a window.
    pub chunk_size: u32,
    /// Tensors that it has values of.
    pub entries: usize,
    /// Names of the texts, as the file has them.
    #[serde(default)]
    pub datasets: Vec<String>,
}

/// A text by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// Last component of its path, or the name of a bundled text.
    pub name: String,
    /// Whether it is one of the texts inside the program.
    pub bundled: bool,
    /// Bytes.
    pub size: u64,
    /// SHA-256, in lower-case hexadecimal digits.
    pub sha256: String,
    /// Tokens that the model's tokenizer makes of it.
    pub tokens: usize,
}

/// Texts and settings of the evaluation, and the unquantized model's own figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The texts, in the order of the windows.
    pub texts: Vec<EvaluationText>,
    /// Tokens of a window; the second half of each is scored.
    pub context: usize,
    /// Windows in all.
    pub chunks: usize,
    /// Rounding of the forward pass besides the weights: `llama.cpp` or `none`.
    pub rounding: String,
    /// Relative error of ratios of divergences at which files stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<f64>,
    /// Scored positions of the file that ran longest.
    pub scored_tokens: usize,
    /// Perplexity of the unquantized model over these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_ppl: Option<Estimate>,
    /// Mean negative log likelihood of the unquantized model in each window, in nats.
    #[serde(default)]
    pub base_nll: Vec<f64>,
}

/// A text of the evaluation, and its windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationText {
    /// The text.
    #[serde(flatten)]
    pub text: Text,
    /// Kind of text, where several are told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Number of its first window.
    pub first_chunk: usize,
    /// Its windows.
    pub chunks: usize,
}

/// A type that replaced the preset's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Substitution {
    /// The tensor.
    pub tensor: String,
    /// Type that was wanted.
    pub wanted: String,
    /// Type that it has.
    pub got: String,
    /// Why.
    pub reason: String,
    /// Weights in the tensor.
    pub weights: u64,
}

/// Types that were chosen for the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// SHA-256 of everything that decided: model, texts, encoder, types to choose from, size.
    pub request: String,
    /// The preset that the file is called after (`general.file_type`).
    pub called_after: String,
    /// The types, as rules that `--tensor-type-file` reads, after [`Parameters::tensor_types`]; none where the preset
    /// was better.
    pub types: Vec<String>,
}

/// A preset of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the preset in the table.
    pub preset: String,
    /// The preset of llama-quantize that it stands for, where that is another: of an alias, or of a recipe of several
    /// arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// How types were chosen for the model, in place of a preset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Chosen>,
    /// The file, or the first of its shards; none where it could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The preset whose file this one is another name of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<String>,
    /// Reason that the file could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Bytes of all shards, as planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Bits per weight over all tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits_per_weight: Option<f64>,
    /// The files, digested once they are written; none of an alias.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileDigest>,
    /// Tensors whose rows do not fit the preset's type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub substituted: Vec<Substitution>,
    /// Tensors that need importance and have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs_importance: Vec<String>,
    /// Tensors encoded with every column counting the same, for want of importance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uniform_importance: Vec<String>,
    /// Type of each of [`Model::tensors`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Root mean square of each tensor's errors over that of its weights, in the same order; `null` where there are no
    /// weights but zeros.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weight_errors: Vec<Option<f64>>,
    /// Figures of the evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// Times in UTC, as RFC 3339 writes them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Times {
    /// Start of the run, or of the first one where it was continued.
    pub started: String,
    /// All files were there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
    /// Nothing was left to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
    /// Seconds that the runs took together.
    pub seconds: f64,
}

impl Table {
    /// Reads a record.
    ///
    /// # Errors
    /// A file that cannot be read, is too long, is no record or one of a newer schema.
    pub fn load(path: &Path) -> Result<Self> {
        let io = |source| Error::io(path, source);
        let input = |message: String| Error::input(path, message);
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(io)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(input(format!("expected at most {MAX_BYTES} bytes, found more")));
        }
        // The version first: what a newer one has in other places is no error of the file.
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let version: Version = serde_json::from_slice(&bytes).map_err(|e| {
            input(format!(
                "expected a record of a table, with a key \"schema\": {e}"
            ))
        })?;
        if version.schema > SCHEMA {
            return Err(input(format!(
                "key 'schema': expected at most {SCHEMA}, found {}; a newer quantsmith wrote it",
                version.schema
            )));
        }
        let table: Self = serde_json::from_slice(&bytes)
            .map_err(|e| input(format!("expected a record of a table: {e}")))?;
        let wrong = table.names().find(|name| !is_plain(name)).map(str::to_owned);
        match wrong {
            Some(name) => Err(input(format!("expected a plain file name, found {name:?}"))),
            None => Ok(table),
        }
    }

    /// The names that lead to files of the record's directory, or become part of such a name.
    fn names(&self) -> impl Iterator<Item = &str> {
        let of_rows = self.rows.iter().flat_map(|row| {
            let files = row.files.iter().map(|file| &file.name);
            files.chain(&row.file).chain(std::iter::once(&row.preset))
        });
        let matrix = self.importance.iter().map(|i| &i.file.name);
        let all = of_rows.chain(matrix).chain(std::iter::once(&self.model.name));
        all.map(String::as_str)
    }

    /// [`Self::load`]; `None` where there is no such file.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_if_there(path: &Path) -> Result<Option<Self>> {
        match Self::load(path) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            loaded => loaded.map(Some),
        }
    }

    /// Writes the record; at every moment the name leads to a whole one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| Error::input(path, e.to_string()))?;
        text.push(b'\n');
        Ok(WholeFile::open(path)?.publish(&text)?)
    }

    /// The row of a preset.
    pub fn row(&self, preset: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.preset == preset)
    }

    /// The files of all rows, each once.
    pub fn files(&self) -> impl Iterator<Item = &FileDigest> {
        self.rows.iter().flat_map(|row| &row.files)
    }
}

/// Whether a name leads nowhere but into its directory.
fn is_plain(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|last| last == name) && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Table {
        Table {
            schema: SCHEMA,
            tool: Tool {
                name: "quantsmith".into(),
                version: "0.1.0".into(),
                commit: None,
                llama_cpp: "v0".into(),
            },
            model: Model {
                name: "Tiny".into(),
                architecture: "llama".into(),
                weights: 10,
                tensors: Vec::new(),
            },
            source: Source {
                name: "Tiny".into(),
                kind: SourceKind::Directory,
                repository: None,
                revision: None,
                ty: "BF16".into(),
                files: Vec::new(),
                architecture: None,
                card: None,
            },
            parameters: Parameters::default(),
            importance: None,
            plan_sha256: "0".repeat(64),
            state: State::Planned,
            evaluation: None,
            rows: Vec::new(),
            times: Times::default(),
        }
    }

    #[test]
    fn records_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(Table::load_if_there(&path).unwrap(), None);
        let mut table = small();
        table.parameters.tensor_types.push("attn_v=Q8_0".into());
        table.save(&path).unwrap();
        assert_eq!(Table::load(&path).unwrap(), table);
        assert_eq!(Table::load_if_there(&path).unwrap(), Some(table));
    }

    #[test]
    fn names_lead_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for name in ["../x", "/x", "a/b", "..", ".", "", "a\\b"] {
            let mut table = small();
            table.model.name = name.to_owned();
            table.save(&path).unwrap();
            let message = Table::load(&path).unwrap_err().to_string();
            assert!(message.contains("plain file name"), "{name:?}: {message}");
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let refused = |text: &str, part: &str| {
            std::fs::write(&path, text).unwrap();
            let message = Table::load(&path).unwrap_err().to_string();
            assert!(
                message.contains(part) && message.contains("table.json"),
                "{message}"
            );
        };
        refused("", "expected a record");
        refused("{}", "schema");
        refused("{\"schema\": 1}", "tool");
        refused("{\"schema\": 2, \"anything\": 1}", "expected at most 1, found 2");
        refused("{\"schema\": -1}", "expected a record");
        refused(&"[".repeat(100_000), "expected a record");
    }
}
