//! Arguments of the commands that execute a plan: the document, and where its inputs and outputs are here.

use std::path::{Path, PathBuf};

use convert::distribute::{InputOf, Layout, PlanDocument};
use convert::importance::Importance;

use crate::cli::version;
use crate::commands::table::{Opened, parts};
use crate::inputs::hold;

/// A plan and its places.
#[derive(clap::Args)]
pub(crate) struct PlanArgs {
    /// The plan
    #[arg(value_name = "PLAN.json")]
    plan: PathBuf,

    /// The model, where it is not under the path that the plan has
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,

    /// The importance matrix, where it is not under the path that the plan has
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,

    /// The description of the architecture, where it is not under the path that the plan has
    #[arg(long, value_name = "FILE.toml")]
    arch_file: Option<PathBuf>,

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
    others: Vec<(InputOf, PathBuf)>,
    importance: Option<Importance>,
    imatrix: Option<PathBuf>,
    texts: Option<PathBuf>,
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
        hold([&model]);
        let of_plan = request.imatrix.as_ref();
        if let (Some(file), None) = (&self.imatrix, of_plan) {
            anyhow::bail!("{}: the plan has no importance matrix", file.display());
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
                "{}: the plan has no description of an architecture",
                file.display()
            ),
            (given, of_plan) => of_plan
                .as_ref()
                .map(|of_plan| given.clone().unwrap_or_else(|| of_plan.into())),
        };
        hold(&arch_file);
        let of_plan = request.evaluation.as_ref().filter(|_| self.evaluate);
        let of_plan = of_plan.and_then(parts::texts_of);
        let texts = match (&self.texts, of_plan) {
            (Some(path), None) => anyhow::bail!("{}: the plan has no text to evaluate on", path.display()),
            (given, of_plan) => of_plan.map(|of_plan| given.clone().unwrap_or_else(|| of_plan.into())),
        };
        hold(&texts);
        let mut others = others(imatrix.clone(), arch_file.clone());
        others.extend(parts::text_files(request, texts.as_deref())?);
        Ok(Planned {
            opened: Opened::open(
                &model,
                headers_suffice,
                request.pre_tokenizer.as_deref(),
                arch_file.clone(),
                None,
            )?,
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
pub(crate) fn others(imatrix: Option<PathBuf>, arch_file: Option<PathBuf>) -> Vec<(InputOf, PathBuf)> {
    let imatrix = imatrix.map(|path| (InputOf::Imatrix, path));
    let arch_file = arch_file.map(|path| (InputOf::Architecture, path));
    imatrix.into_iter().chain(arch_file).collect()
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

    /// The layout, which is the plan's.
    pub(crate) fn layout(&self) -> anyhow::Result<Layout<'_>> {
        let source = self.opened.source();
        let request = &self.document.request;
        let layout = Layout::new(source, request, &self.directory, self.importance.as_ref())?;
        self.document.check_layout(source, &layout)?;
        Ok(layout)
    }
}
