//! Arguments that name an importance matrix and say how it is used.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use convert::distribute::ImatrixRequest;
use convert::importance::{Importance, MissingImportance, Selection, last_component};
use convert::source::SourceTensor;

use super::utf8;

/// Heading of these options in the help.
pub(crate) const HEADING: &str = "Importance";

/// An importance matrix from a file.
#[derive(clap::Args)]
pub(crate) struct ImportanceArgs {
    /// Importance matrix, of either of llama-imatrix's formats
    #[arg(help_heading = HEADING, long, value_name = "FILE")]
    imatrix: Option<PathBuf>,

    #[command(flatten)]
    usage: ImportanceUse,
}

/// Use of an importance matrix.
#[derive(clap::Args)]
pub(crate) struct ImportanceUse {
    /// Use importance only for tensors with this in their names (repeatable)
    #[arg(
        help_heading = HEADING,
        long,
        value_name = "TEXT",
        requires = "imatrix",
        conflicts_with = "exclude_weights"
    )]
    include_weights: Vec<String>,

    /// Do not use importance for tensors with this in their names (repeatable)
    #[arg(help_heading = HEADING, long, value_name = "TEXT", requires = "imatrix")]
    exclude_weights: Vec<String>,

    /// Treatment of tensors whose type needs importance that the matrix does not have
    #[arg(help_heading = HEADING, long, value_enum, default_value_t = Missing::Error)]
    imatrix_missing: Missing,

    /// Name of the importance matrix in the files (quantize.imatrix.file); `path` for its path as it is given here, as
    /// llama-quantize writes it [default: the last component of the path]
    #[arg(help_heading = HEADING, long, value_name = "NAME|path")]
    imatrix_name: Option<String>,

    /// Draw experts that saw few tokens towards the mean over all experts, which counts as this many tokens
    #[arg(help_heading = HEADING, long, value_name = "TOKENS")]
    imatrix_expert_prior: Option<u32>,
}

/// The values of --imatrix-missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Missing {
    /// Refuse, with their names, before anything is encoded
    Error,
    /// Let every column of them count the same
    Uniform,
}

impl ImportanceArgs {
    /// The file, where one is named.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.imatrix.as_deref()
    }

    /// Treatment of tensors that the matrix lacks.
    pub(crate) fn missing(&self) -> MissingImportance {
        self.usage.missing()
    }

    /// Whether an importance matrix is named.
    pub(crate) fn given(&self) -> bool {
        self.imatrix.is_some()
    }

    /// The request of a plan; `None` without a matrix.
    pub(crate) fn request(&self) -> anyhow::Result<Option<ImatrixRequest>> {
        let Some(path) = &self.imatrix else {
            return Ok(None);
        };
        Ok(Some(ImatrixRequest {
            file: utf8(path)?,
            recorded_as: Some(self.usage.recorded_name(path)),
            include: self.usage.include_weights.clone(),
            exclude: self.usage.exclude_weights.clone(),
            missing_uniform: self.usage.imatrix_missing == Missing::Uniform,
            expert_prior: self.usage.imatrix_expert_prior,
        }))
    }

    /// The importance these arguments name.
    pub(crate) fn load(&self) -> anyhow::Result<Option<Importance>> {
        self.imatrix
            .as_deref()
            .map_or(Ok(None), |path| self.usage.load(path))
    }
}

impl ImportanceUse {
    /// The use that a plan has.
    pub(crate) fn of(request: &ImatrixRequest) -> Self {
        Self {
            include_weights: request.include.clone(),
            exclude_weights: request.exclude.clone(),
            imatrix_missing: match request.missing_uniform {
                true => Missing::Uniform,
                false => Missing::Error,
            },
            imatrix_name: Some(request.recorded_name()),
            imatrix_expert_prior: request.expert_prior,
        }
    }

    /// Treatment of tensors that the matrix lacks.
    pub(crate) fn missing(&self) -> MissingImportance {
        match self.imatrix_missing {
            Missing::Error => MissingImportance::Error,
            Missing::Uniform => MissingImportance::Uniform,
        }
    }

    /// The importance in `path`, limited as these arguments say.
    pub(crate) fn load(&self, path: &Path) -> anyhow::Result<Option<Importance>> {
        let importance = Importance::load_with_prior(path, &self.selection(), self.imatrix_expert_prior)?;
        for gap in importance.iter().flat_map(|i| i.gaps()) {
            eprintln!("warning: importance of {gap}");
        }
        Ok(importance.map(|i| i.recorded_as(&self.recorded_name(path))))
    }

    /// The name by which files record the matrix in `path`.
    pub(crate) fn recorded_name(&self, path: &Path) -> String {
        match self.imatrix_name.as_deref() {
            None => last_component(path),
            Some("path") => path.to_string_lossy().into_owned(),
            Some(name) => name.to_owned(),
        }
    }

    /// The importance of a matrix that will be made in `path` from the text `dataset`, for plans alone.
    pub(crate) fn expect(&self, tensors: &[SourceTensor], path: &Path, dataset: &str) -> Importance {
        let (file, prior) = (self.recorded_name(path), self.imatrix_expert_prior);
        Importance::expected(tensors, &file, dataset, &self.selection(), prior)
    }

    /// Parts of the names of tensors whose importance alone is used, and is not used.
    pub(crate) fn selected(&self) -> (Vec<String>, Vec<String>) {
        (self.include_weights.clone(), self.exclude_weights.clone())
    }

    /// Tokens that the mean over all experts counts as.
    pub(crate) fn expert_prior(&self) -> Option<u32> {
        self.imatrix_expert_prior
    }

    fn selection(&self) -> Selection {
        if !self.include_weights.is_empty() {
            Selection::Include(self.include_weights.clone())
        } else if !self.exclude_weights.is_empty() {
            Selection::Exclude(self.exclude_weights.clone())
        } else {
            Selection::All
        }
    }
}

/// Origin of an importance matrix, where one can be made: the value of `table`'s `--imatrix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MatrixOrigin {
    /// Made first, on the calibration text.
    Made,
    /// None at all.
    None,
    /// Read from a file.
    File(PathBuf),
}

impl MatrixOrigin {
    /// The file, where one is named.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Made | Self::None => None,
        }
    }

    /// Reads `auto`, `none` or a path; a file of one of these names is given with its folder, as `./none`.
    pub(crate) fn parser() -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new().try_map(|text: OsString| {
            Ok::<_, Infallible>(match text.to_str() {
                Some("auto") => Self::Made,
                Some("none") => Self::None,
                _ => Self::File(text.into()),
            })
        })
    }
}
