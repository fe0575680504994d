//! Arguments of a plan that say how its files are measured.

use std::path::PathBuf;

use convert::distribute::EvaluationRequest;

use super::chunks::Chunks;
use super::rounding::{self, RoundingArgs};
use super::utf8;

/// Heading of these options in the help.
pub(crate) const HEADING: &str = "Evaluation";

/// How the files of a plan are measured.
#[derive(clap::Args)]
pub(crate) struct EvaluationArgs {
    /// Plan the evaluation of the files too: `run --evaluate` measures a part of it, `join --evaluate` writes table.json
    #[arg(help_heading = HEADING, long)]
    evaluate: bool,

    /// Text to evaluate on [default: a bundled English text in the public domain]
    #[arg(help_heading = HEADING, long, value_name = "FILE", requires = "evaluate")]
    text: Option<PathBuf>,

    /// Folder of texts to evaluate on, as `table` takes it; `builtin` for the suite inside the program
    #[arg(
        help_heading = HEADING,
        long,
        value_name = "DIR|builtin",
        requires = "evaluate",
        conflicts_with = "text"
    )]
    suite: Option<PathBuf>,

    /// Tokens in an evaluation window
    #[arg(help_heading = HEADING, short, long, value_name = "N", requires = "evaluate", default_value_t = 512)]
    ctx_size: usize,

    /// Evaluate on at most this many windows (of each text of a suite); -1 for all
    #[arg(
        help_heading = HEADING,
        long,
        value_name = "N",
        requires = "evaluate",
        default_value = "-1",
        allow_negative_numbers = true
    )]
    chunks: Chunks,

    #[command(flatten)]
    rounding: RoundingArgs,
}

impl EvaluationArgs {
    /// Whether files are measured.
    pub(crate) fn given(&self) -> bool {
        self.evaluate
    }

    /// The request of a plan; `None` where nothing is measured.
    pub(crate) fn request(&self) -> anyhow::Result<Option<EvaluationRequest>> {
        if !self.evaluate {
            anyhow::ensure!(
                !self.rounding.given(),
                "--rounding is of the evaluation: it needs --evaluate"
            );
            return Ok(None);
        }
        let path = |path: &Option<PathBuf>| path.as_deref().map(utf8).transpose();
        Ok(Some(EvaluationRequest {
            text: path(&self.text)?,
            suite: path(&self.suite)?,
            context: self.ctx_size,
            chunks: self.chunks.most(),
            rounding: rounding::name(self.rounding.measuring()).to_owned(),
        }))
    }
}
