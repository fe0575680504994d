//! Arguments of the commands that execute a plan: the document, and where its inputs and outputs are here.

use std::path::{Path, PathBuf};

use convert::distribute::{Layout, PlanDocument};
use convert::importance::Importance;

use crate::cli::version;
use crate::commands::table::Opened;
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

    /// Directory for the files, in place of the plan's
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A plan that was read, with its model.
pub(crate) struct Planned {
    pub(crate) document: PlanDocument,
    pub(crate) directory: PathBuf,
    opened: Opened,
    imatrix: Option<PathBuf>,
    importance: Option<Importance>,
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
                loaded.map(|importance| importance.recorded_as(&used.file))
            }
            _ => None,
        };
        Ok(Planned {
            opened: Opened::open(&model, headers_suffice, request.pre_tokenizer.as_deref(), None)?,
            directory: self
                .out
                .clone()
                .unwrap_or_else(|| PathBuf::from(&request.directory)),
            document,
            imatrix,
            importance,
        })
    }
}

impl Planned {
    pub(crate) fn source(&self) -> &dyn convert::source::Source {
        self.opened.source()
    }

    /// The importance matrix' file.
    pub(crate) fn imatrix(&self) -> Option<&Path> {
        self.imatrix.as_deref()
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
