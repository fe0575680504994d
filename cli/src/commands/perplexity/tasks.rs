//! Scores of tasks with answers to choose from, printed as llama-perplexity prints them.

use anyhow::Context as _;
use convert::path_json;
use reference::tasks::{HellaSwag, MultipleChoice, TaskScore, Tasks, Winogrande, run as run_tasks};
use reference::{Model, Tokenizer};
use serde_json::json;

use super::Args;
use crate::output::{print, print_json};
use crate::progress::{Meter, Unit};
use crate::threads::in_pool;

/// Kind of the tasks in the file, and the number of them to run.
#[derive(clap::Args)]
pub(super) struct TaskArgs {
    /// Score HellaSwag: TEXT has six lines for each task (context, number of the right ending, four endings)
    #[arg(long, conflicts_with_all = ["kl_divergence", "save_all_logits"], group = "task")]
    hellaswag: bool,

    /// Run this many HellaSwag tasks, picked at random but always the same
    #[arg(long, value_name = "N", default_value_t = 400, requires = "hellaswag")]
    hellaswag_tasks: usize,

    /// Score Winogrande: TEXT has lines INDEX,SENTENCE,CHOICE1,CHOICE2,ANSWER
    #[arg(long, conflicts_with_all = ["kl_divergence", "save_all_logits"], group = "task")]
    winogrande: bool,

    /// Run this many Winogrande tasks, picked at random but always the same; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0, requires = "winogrande")]
    winogrande_tasks: usize,

    /// Score multiple-choice tasks: TEXT is llama-perplexity's binary file of them
    #[arg(long, conflicts_with_all = ["kl_divergence", "save_all_logits"], group = "task")]
    multiple_choice: bool,

    /// Run this many multiple-choice tasks, picked at random but always the same; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0, requires = "multiple_choice")]
    multiple_choice_tasks: usize,
}

impl TaskArgs {
    /// Whether tasks are to be scored.
    pub(super) fn given(&self) -> bool {
        self.hellaswag || self.winogrande || self.multiple_choice
    }
}

/// Scores the tasks of the command line.
pub(super) fn run(model: &Model, tokenizer: &Tokenizer, args: &Args) -> anyhow::Result<()> {
    let path = args.text.as_deref().context("the file of tasks is missing")?;
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let named = || path.display().to_string();
    let of = &args.tasks;
    if of.hellaswag {
        let tasks = HellaSwag::parse(&bytes, of.hellaswag_tasks).with_context(named)?;
        let scores = score(&tasks, model, tokenizer, args)?;
        report("hellaswag", &scores, None, args, |out| {
            writeln!(out, "task\tacc_norm\t95% confidence interval")?;
            for (done, right) in running(&scores) {
                let (low, high) = wilson(right, done);
                let percent = 100.0 * right as f64 / done as f64;
                writeln!(
                    out,
                    "{done}\t{percent:.8}%\t[{:.4}%, {:.4}%]",
                    100.0 * low,
                    100.0 * high
                )?;
            }
            Ok(())
        })
    } else if of.winogrande {
        let tasks = Winogrande::parse(&bytes, of.winogrande_tasks).with_context(named)?;
        for why in tasks.skipped() {
            eprintln!("warning: passed over: {why}");
        }
        let scores = score(&tasks, model, tokenizer, args)?;
        report("winogrande", &scores, Some(0.5), args, |out| {
            for ((done, right), (i, s)) in running(&scores).zip(scores.iter().enumerate()) {
                writeln!(
                    out,
                    "{done}\t{:.4}\t{:10.6}  {:10.6}  {}  {}",
                    100.0 * right as f64 / done as f64,
                    s.answers[0],
                    s.answers[1],
                    s.chosen + 1,
                    tasks.answer(i)
                )?;
            }
            let (share, error) = accuracy(&scores);
            writeln!(
                out,
                "\nFinal Winogrande score({} tasks): {:.4} +/- {:.4}",
                scores.len(),
                100.0 * share,
                100.0 * error
            )
        })
    } else {
        let tasks = MultipleChoice::parse(&bytes, of.multiple_choice_tasks).with_context(named)?;
        let scores = score(&tasks, model, tokenizer, args)?;
        let chance = tasks.len() as f64 / tasks.answers() as f64;
        report("multiple_choice", &scores, Some(chance), args, |out| {
            writeln!(out, "task\tacc_norm")?;
            for (done, right) in running(&scores) {
                writeln!(out, "{done}\t{:.8}", 100.0 * right as f64 / done as f64)?;
            }
            let (share, error) = accuracy(&scores);
            let spread = standard_error(chance, scores.len());
            writeln!(
                out,
                "\nFinal result: {:.4} +/- {:.4}",
                100.0 * share,
                100.0 * error
            )?;
            writeln!(
                out,
                "Random chance: {:.4} +/- {:.4}",
                100.0 * chance,
                100.0 * spread
            )
        })
    }
}

fn score(
    tasks: &(dyn Tasks + Sync),
    model: &Model,
    tokenizer: &Tokenizer,
    args: &Args,
) -> anyhow::Result<Vec<TaskScore>> {
    let mut right = 0;
    let meter = Meter::of("tasks", Unit::Count("tasks"), tasks.len() as u64);
    let mut progress = |index: usize, score: &TaskScore| {
        right += usize::from(score.correct);
        meter.print(&format!(
            "{} of {} tasks, {:.4} %",
            index + 1,
            tasks.len(),
            100.0 * right as f64 / (index + 1) as f64
        ));
        meter.add(1);
    };
    Ok(in_pool(args.threads, || {
        run_tasks(tasks, model, tokenizer, args.memory.bytes(), &mut progress)
    })??)
}

/// After each task: how many were done, and how many of them answered right.
fn running(scores: &[TaskScore]) -> impl Iterator<Item = (usize, usize)> {
    scores.iter().enumerate().scan(0, |right, (i, score)| {
        *right += usize::from(score.correct);
        Some((i + 1, *right))
    })
}

/// The share of right answers and its standard error.
fn accuracy(scores: &[TaskScore]) -> (f64, f64) {
    let share = scores.iter().filter(|s| s.correct).count() as f64 / scores.len().max(1) as f64;
    (share, standard_error(share, scores.len()))
}

fn standard_error(share: f64, count: usize) -> f64 {
    (share * (1.0 - share) / count.saturating_sub(1).max(1) as f64).sqrt()
}

/// The 95 % confidence interval of a share after Wilson.
fn wilson(right: usize, done: usize) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_54;
    let n = done as f64;
    let p = right as f64 / n;
    let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let (center, scale) = (p + Z * Z / (2.0 * n), 1.0 + Z * Z / n);
    ((center - spread) / scale, (center + spread) / scale)
}

fn report(
    kind: &str,
    scores: &[TaskScore],
    chance: Option<f64>,
    args: &Args,
    text: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    if !args.json {
        return print(text);
    }
    let (share, error) = accuracy(scores);
    let right = scores.iter().filter(|s| s.correct).count();
    let interval = wilson(right, scores.len().max(1));
    print_json(&json!({
        "model": path_json(&args.model),
        "tasks_file": args.text.as_deref().map(path_json),
        "kind": kind,
        "rounding": crate::args::rounding::name(args.rounding.measuring()),
        "tasks": scores.len(),
        "correct": right,
        "accuracy": share,
        "error": error,
        "interval_95": [interval.0, interval.1],
        "chance": chance,
        "scores": scores.iter().map(|s| json!({
            "log_probabilities": s.answers, "chosen": s.chosen, "correct": s.correct,
        })).collect::<Vec<_>>(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As llama-perplexity writes it.
    #[test]
    fn the_interval_is_wilsons() {
        for (right, done) in [(0, 1), (1, 1), (3, 10), (77, 100)] {
            let (freq, n) = (right as f64 / done as f64, done as f64);
            let za = 1.959_963_984_54_f64;
            let z = za * za / n;
            let spread = z * (n * (4.0 * freq * (1.0 - freq) + z)).sqrt() / (za + za);
            let (low, high) = wilson(right, done);
            assert!((low - (freq + z * 0.5 - spread) / (1.0 + z)).abs() < 1e-12);
            assert!((high - (freq + z * 0.5 + spread) / (1.0 + z)).abs() < 1e-12);
        }
    }
}
