//! The model of a table, as it was given.

use std::path::{Path, PathBuf};

use convert::source::hf::{HfOptions, HfSource, OutType};
use convert::source::{GgufSource, Source};
use convert::table::Entry;

/// The model, whichever form it came in.
pub(crate) enum Opened {
    Directory(Box<HfSource>),
    File(Box<GgufSource>),
}

impl Opened {
    /// Opens it; where headers suffice, the weights may be missing.
    pub(crate) fn open(
        path: &Path,
        headers_suffice: bool,
        pre_tokenizer: Option<&str>,
        arch_file: Option<PathBuf>,
        origin: Option<&convert::hub::Origin>,
    ) -> anyhow::Result<Self> {
        if !path.is_dir() {
            convert::kind::expect_model(path)?;
            let source = if headers_suffice {
                GgufSource::open_headers(path)?
            } else {
                GgufSource::open(path)?
            };
            return Ok(Self::File(Box::new(source)));
        }
        let source = HfSource::open(
            path,
            &HfOptions::default()
                .outtype(OutType::Lossless)
                .pre_tokenizer(pre_tokenizer.map(str::to_owned))
                .headers_suffice(headers_suffice)
                .arch_file(arch_file)
                .origin(origin.cloned()),
        )?;
        for warning in source.warnings() {
            eprintln!("warning: {warning}");
        }
        Ok(Self::Directory(Box::new(source)))
    }

    /// Its tensors.
    pub(crate) fn source(&self) -> &dyn Source {
        match self {
            Self::Directory(source) => source.as_ref(),
            Self::File(source) => source.as_ref(),
        }
    }

    /// The model's name in file names: the directory's, or the file's without its type.
    pub(crate) fn name(&self, path: &Path) -> String {
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let part = match self {
            // The hub's cache has a commit where other directories have a name.
            Self::Directory(_) => match convert::hub::repository(path) {
                Some(name) => return name,
                None => canonical.file_name(),
            },
            Self::File(_) => canonical.file_stem(),
        };
        let name = part.map_or_else(|| "model".into(), |p| p.to_string_lossy().into_owned());
        let typed = |end: &str| gguf::TensorType::from_name(end).is_some() || Entry::parse(end).is_some();
        match name.rsplit_once(['-', '.']) {
            Some((start, end)) if matches!(self, Self::File(_)) && typed(end) => start.to_owned(),
            _ => name,
        }
    }
}
