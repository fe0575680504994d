//! How often the model accepts what a draft model proposes.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use convert::kind::expect_model;
use convert::path_json;
use reference::{
    AcceptanceReport, Accepted, Drafter, Model, PerplexityOptions, Tokenizer, WindowMean, acceptance,
    scored_tokens,
};
use serde_json::{Value, json};

use super::{Args, check_vocabulary, tokens};
use crate::args::rounding;
use crate::context::warn_of_length;
use crate::output::{print, print_json};
use crate::progress::{Meter, Unit};
use crate::threads::in_pool;

/// Tokens of the longest draft where no length is asked for: more than llama.cpp's default, which is 3.
const LONGEST: usize = 8;

/// The draft, and how long drafts are.
#[derive(clap::Args)]
pub(super) struct DraftArgs {
    /// Measure how often MODEL accepts what this draft model proposes: a smaller model with its tokens, or a draft made for it
    /// (EAGLE-3, Gemma 4's assistants, DFlash, DSpark)
    #[arg(
        long,
        visible_alias = "model-draft",
        value_name = "FILE",
        conflicts_with_all = ["kl_divergence", "save_all_logits", "ppl_stride", "ppl_output_type", "task"]
    )]
    draft: Option<PathBuf>,

    /// Tokens of the longest draft [default: 8; of EAGLE-3 and Gemma 4's assistants 1, which is all that a text tells of]
    #[arg(long, value_name = "N", requires = "draft", value_parser = clap::value_parser!(u32).range(1..))]
    draft_max: Option<u32>,
}

impl DraftArgs {
    /// The draft model, where one is to be measured.
    pub(super) fn file(&self) -> Option<&Path> {
        self.draft.as_deref()
    }
}

/// Measures the draft of the command line.
pub(super) fn run(
    target: &Model,
    tokenizer: &Tokenizer,
    file: &Path,
    options: &PerplexityOptions,
    args: &Args,
) -> anyhow::Result<()> {
    let located = crate::hub::locate(file, crate::hub::Need::Whole)?;
    let file = located.path();
    expect_model(file)?;
    let drafter = Drafter::load(file)?.with_rounding(args.rounding.measuring());
    drafter.expect_target(target)?;
    match &drafter {
        Drafter::Model(model) => {
            warn_of_length(model.gguf().metadata(), args.ctx_size);
            check_vocabulary(model, &Tokenizer::from_metadata(model.gguf().metadata())?, file)?;
        }
        _ => {
            if let Some(other) = drafter.other_token(target)? {
                eprintln!("warning: {}: {other}", file.display());
            }
        }
    }
    let text = tokens(tokenizer, args.text.as_deref())?;
    let most = drafter.longest().unwrap_or(LONGEST);
    let scored = scored_tokens(args.ctx_size).max(1);
    let longest = args
        .draft
        .draft_max
        .map_or(most.min(LONGEST).min(scored), |n| n as usize);
    let meter = Meter::new("draft", Unit::Windows);
    meter.show(0, 0);
    let report = in_pool(args.threads, || {
        acceptance(&drafter, target, &text, options, longest, &mut |done, all| {
            meter.show(done as u64, all as u64);
        })
    })??;
    drop(meter);
    match args.json {
        true => print_json(&report_json(&report, file, args)),
        false => print(|out| write(out, &report, &drafter)),
    }
}

fn report_json(report: &AcceptanceReport, file: &Path, args: &Args) -> Value {
    let mean = |mean: WindowMean| json!({"value": mean.value, "error": mean.error});
    let draft = |drafts: &Accepted| {
        let way =
            |whole, accepted| json!({"whole": mean(whole), "tokens_per_pass": mean(per_pass(accepted))});
        let (whole, accepted) = (drafts.whole, drafts.accepted);
        json!({
            "tokens": drafts.tokens,
            "most_likely": way(whole.most_likely, accepted.most_likely),
            "drawn": way(whole.drawn, accepted.drawn),
            "rejection": way(whole.rejection, accepted.rejection),
        })
    };
    json!({
        "model": path_json(&args.model),
        "draft": path_json(file),
        "text": args.text.as_deref().map(path_json),
        "rounding": rounding::name(args.rounding.measuring()),
        "context": report.context,
        "chunks": report.windows,
        "text_tokens": report.text_tokens,
        "scored_tokens": report.scored,
        "unpredicted_tokens": report.unpredicted,
        "nll": report.target_nll,
        "ppl": report.target_nll.exp(),
        "draft_nll": report.draft_nll,
        "draft_ppl": report.draft_nll.map(f64::exp),
        "drafts": report.drafts.iter().map(draft).collect::<Vec<_>>(),
    })
}

/// Tokens that a pass of the target yields: those accepted, and one of its own.
fn per_pass(accepted: WindowMean) -> WindowMean {
    WindowMean {
        value: 1.0 + accepted.value,
        ..accepted
    }
}

fn write(out: &mut dyn Write, report: &AcceptanceReport, drafter: &Drafter) -> io::Result<()> {
    writeln!(
        out,
        "{} tokens in {} windows of {}",
        report.scored, report.windows, report.context
    )?;
    writeln!(out, "PPL of the model: {:.4}", report.target_nll.exp())?;
    match report.draft_nll {
        Some(nll) => write!(out, "PPL of the draft: {:.4}", nll.exp())?,
        None => write!(out, "PPL of the draft: none")?,
    }
    match report.unpredicted {
        0 => writeln!(out, "\n")?,
        n => writeln!(out, ", without {n} tokens that it never predicts\n")?,
    }
    writeln!(
        out,
        "{:6}    {:^36}    {:^36}    {:>31}",
        "", "most likely", "drawn (llama.cpp)", "drawn (rejection sampling)"
    )?;
    let (whole, tokens) = ("accepted whole", "tokens a pass");
    writeln!(
        out,
        "{:>6}    {whole:>17}  {tokens:>17}    {whole:>17}  {tokens:>17}    {whole:>17}  {tokens:>17}",
        "tokens"
    )?;
    for drafts in &report.drafts {
        write!(out, "{:6}", drafts.tokens)?;
        let (whole, accepted) = (drafts.whole, drafts.accepted);
        for (whole, accepted) in [
            (whole.most_likely, accepted.most_likely),
            (whole.drawn, accepted.drawn),
            (whole.rejection, accepted.rejection),
        ] {
            let (share, tokens) = (percent(whole), figure(per_pass(accepted)));
            write!(out, "    {share:>17}  {tokens:>17}")?;
        }
        writeln!(out)?;
    }
    match drafter.longest() {
        Some(1) => writeln!(
            out,
            "\nof drafts of 1 token: after that, the draft goes on from states of its own"
        ),
        _ => Ok(()),
    }
}

fn percent(share: WindowMean) -> String {
    let value = 100.0 * share.value;
    match share.error {
        Some(error) => format!("{value:.2} ± {:.2} %", 100.0 * error),
        None => format!("{value:.2} %"),
    }
}

fn figure(mean: WindowMean) -> String {
    match mean.error {
        Some(error) => format!("{:.4} ± {error:.4}", mean.value),
        None => format!("{:.4}", mean.value),
    }
}
