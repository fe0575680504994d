//! Arguments of the commands that execute a plan: the document, and where its inputs and outputs are here.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use convert::distribute::{InputOf, Layout, PlanDocument};
use convert::importance::Importance;
use demo::CALIBRATION_TEXT;

use super::opened::Opened;
use super::suite::{text_files, texts_of};
use crate::hub::{self, Located, Need};
use crate::inputs::hold;
use crate::optimization::{OptimizeArgs, Prepared};
use crate::version::version;

/// A plan and its places.
#[derive(clap::Args)]
pub(crate) struct PlanArgs {
    /// The plan
    #[arg(value_name = "PLAN.json")]
    plan: PathBuf,

    /// The model, where it is not under the path or the name that the plan has
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,

    /// The importance matrix, where it is not under the path that the plan has
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,

    /// The description of the architecture, where it is not under the path that the plan has
    #[arg(long, value_name = "FILE.toml")]
    arch_file: Option<PathBuf>,

    /// The text that blocks are learned from, where it is not under the path that the plan has
    #[arg(long, value_name = "FILE")]
    optimize_text: Option<PathBuf>,

    /// The text of the evaluation, or the folder of its texts, where it is not under the path that the plan has
    #[arg(long, value_name = "PATH", requires = "evaluate")]
    texts: Option<PathBuf>,

    /// Directory for the files, in place of the plan's
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// The evaluation of the files, which are joined, instead of the files
    #[arg(long)]
    pub(crate) evaluate: bool,
}

/// A plan that was read, with its model.
pub(crate) struct Planned {
    pub(crate) document: PlanDocument,
    pub(crate) directory: PathBuf,
    opened: Opened,
    /// Headers that were fetched for this run alone.
    _located: Located,
    others: Vec<(InputOf, PathBuf)>,
    importance: Option<Importance>,
    imatrix: Option<PathBuf>,
    texts: Option<PathBuf>,
    better: Prepared,
}

impl PlanArgs {
    /// Reads the plan and opens its model, of which headers may suffice.
    pub(crate) fn open(&self, headers_suffice: bool) -> anyhow::Result<Planned> {
        hold([&self.plan]);
        let document = PlanDocument::load(&self.plan, version())?;
        let request = &document.request;
        let model = self
            .model
            .clone()
            .unwrap_or_else(|| PathBuf::from(&request.model));
        let located = hub::locate(&model, Need::of_run(headers_suffice))?;
        let model = located.path().to_path_buf();
        hold([&model]);
        let of_plan = request.imatrix.as_ref();
        if let (Some(file), None) = (&self.imatrix, of_plan) {
            anyhow::bail!(
                "--imatrix {}: expected one in the plan to stand for, found none",
                file.display()
            );
        }
        let imatrix = of_plan.map(|used| self.imatrix.clone().unwrap_or_else(|| PathBuf::from(&used.file)));
        hold(&imatrix);
        let importance = match (of_plan, &imatrix) {
            (Some(used), Some(path)) => {
                let loaded = Importance::load_with_prior(path, &used.selection(), used.expert_prior)?;
                loaded.map(|importance| importance.recorded_as(&used.recorded_name()))
            }
            _ => None,
        };
        let arch_file = match (&self.arch_file, &request.arch_file) {
            (Some(file), None) => anyhow::bail!(
                "--arch-file {}: expected one in the plan to stand for, found none",
                file.display()
            ),
            (given, of_plan) => of_plan
                .as_ref()
                .map(|of_plan| given.clone().unwrap_or_else(|| of_plan.into())),
        };
        hold(&arch_file);
        let of_plan = request.evaluation.as_ref().filter(|_| self.evaluate);
        let of_plan = of_plan.and_then(texts_of);
        let texts = match (&self.texts, of_plan) {
            (Some(path), None) => anyhow::bail!(
                "--texts {}: expected texts of an evaluation in the plan to stand for, found none",
                path.display()
            ),
            (given, of_plan) => of_plan.map(|of_plan| given.clone().unwrap_or_else(|| of_plan.into())),
        };
        hold(&texts);
        let of_plan = request.optimize.as_ref();
        let learned = match (&self.optimize_text, of_plan.and_then(|o| o.text.as_ref())) {
            (Some(path), None) => anyhow::bail!(
                "--optimize-text {}: expected one in the plan to stand for, found none",
                path.display()
            ),
            (given, of_plan) => of_plan.map(|of_plan| given.clone().unwrap_or_else(|| of_plan.into())),
        };
        hold(&learned);
        let mut others = others(imatrix.clone(), arch_file.clone(), learned.clone());
        others.extend(text_files(request, texts.as_deref())?);
        let opened = Opened::open(
            &model,
            headers_suffice,
            request.pre_tokenizer.as_deref(),
            arch_file,
            request.origin.as_ref(),
        )?;
        let optimize = OptimizeArgs::of_request(of_plan, learned.as_deref())?;
        let source = opened.source();
        Ok(Planned {
            // A part that is killed goes on after the layers that it has learned.
            better: optimize.prepare(source.metadata(), &model, Some(CALIBRATION_TEXT), true)?,
            opened,
            _located: located,
            directory: self
                .out
                .clone()
                .unwrap_or_else(|| PathBuf::from(&request.directory)),
            others,
            document,
            importance,
            imatrix,
            texts,
        })
    }
}

/// The inputs beside a model.
pub(crate) fn others(
    imatrix: Option<PathBuf>,
    arch_file: Option<PathBuf>,
    learned: Option<PathBuf>,
) -> Vec<(InputOf, PathBuf)> {
    let all = [
        (InputOf::Imatrix, imatrix),
        (InputOf::Architecture, arch_file),
        (InputOf::Calibration, learned),
    ];
    all.into_iter()
        .filter_map(|(of, path)| Some((of, path?)))
        .collect()
}

impl Planned {
    pub(crate) fn source(&self) -> &dyn convert::source::Source {
        self.opened.source()
    }

    /// The inputs beside the model.
    pub(crate) fn others(&self) -> &[(InputOf, PathBuf)] {
        &self.others
    }

    /// The importance matrix.
    pub(crate) fn imatrix(&self) -> Option<&Path> {
        self.imatrix.as_deref()
    }

    /// The text of the evaluation, or the folder of its texts.
    pub(crate) fn texts(&self) -> Option<&Path> {
        self.texts.as_deref()
    }

    /// Learning of blocks, where the plan asks for it.
    pub(crate) fn better(&self) -> &Prepared {
        &self.better
    }

    /// The layout, which is the plan's.
    pub(crate) fn layout(&self) -> anyhow::Result<Layout<'_>> {
        let source = self.opened.source();
        let request = &self.document.request;
        let record = &self.better.record;
        let mut layout = Layout::new(source, request, &self.directory, self.importance.as_ref(), record)?;
        self.better.set_encoders(source, &mut layout)?;
        let same = self.document.check_layout(source, &layout);
        let (here, planned) = (source.path().file_name(), Path::new(&request.model).file_name());
        match same {
            Err(e) if source.path().is_dir() && request.origin.is_none() && here != planned => {
                let name = |name: Option<&OsStr>| name.unwrap_or_default().to_string_lossy().into_owned();
                Err(e).with_context(|| {
                    format!(
                        "model directory: expected the name {:?}, which the converter writes into the plan's files, found \
                         {:?}",
                        name(planned),
                        name(here)
                    )
                })
            }
            same => {
                same?;
                Ok(layout)
            }
        }
    }
}
