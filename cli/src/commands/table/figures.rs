//! Figures of observations, as `table.json` has them.

use convert::table::RowPlan;
use publish::record::{self, Domain, Estimate, Flips, Measured, PerChunk, Position, Quantile, Ratio};
use reference::divergence::{self, Observation, Quantiles, Statistics};
use reference::scored_tokens;
use reference::tokenizer::Tokenizer;

/// The quantiles that are recorded.
const FRACTIONS: [f64; 13] = [
    0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0,
];
/// Positions that are recorded as those where most is lost.
const WORST: usize = 20;
/// Tokens of the text before such a position.
const BEFORE: usize = 24;

/// The text that was observed on.
pub(super) struct View<'a> {
    pub(super) texts: &'a [record::EvaluationText],
    pub(super) tokens: &'a [u32],
    pub(super) context: usize,
    /// To show the positions where most is lost; without it they are left out.
    pub(super) tokenizer: Option<&'a Tokenizer>,
}

impl View<'_> {
    /// Scored positions of a window.
    fn scored(&self) -> usize {
        scored(self.context)
    }
}

/// Scored positions of a window of so many tokens.
pub(super) fn scored(context: usize) -> usize {
    scored_tokens(context).max(1)
}

fn estimate(e: divergence::Estimate) -> Estimate {
    Estimate {
        value: e.value,
        error: e.error,
    }
}

fn flips(f: divergence::Flips) -> Flips {
    Flips {
        lost: estimate(f.lost),
        gained: estimate(f.gained),
        all: estimate(f.all),
    }
}

fn quantiles(of: &Quantiles) -> Vec<Quantile> {
    let at = |fraction| Quantile {
        fraction,
        value: of.at(fraction),
    };
    FRACTIONS.into_iter().map(at).collect()
}

/// Records the figures of what has been seen: of the distinct files, whose `rows` are named in order, of those that are other
/// names of them, and of the unquantized model.
pub(super) fn record(
    table: &mut record::Table,
    planned: &[RowPlan<'_>],
    rows: &[usize],
    seen: &[Vec<Observation>],
    view: &View<'_>,
) {
    let mut before: Option<(&str, &[Observation])> = None;
    for (seen, &row) in seen.iter().zip(rows) {
        let measured = measured(seen, before, view);
        if measured.is_some() {
            before = Some((&planned[row].entry.name, seen));
        }
        table.rows[row].measured = measured;
    }
    for (at, plan) in planned.iter().enumerate() {
        if let Some(original) = plan.same_as {
            table.rows[at].measured = table.rows[original].measured.clone();
        }
    }
    // With --precision files may have run over different numbers of windows.
    let longest = seen.iter().max_by_key(|seen| seen.len());
    if let (Some(longest), Some(evaluation)) = (longest, &mut table.evaluation) {
        of_base(longest, evaluation);
    }
}

/// The figures of what a file has made of its windows so far, beside those of the file `before` it; `None` where it has run
/// over none.
fn measured(
    seen: &[Observation],
    before: Option<(&str, &[Observation])>,
    view: &View<'_>,
) -> Option<Measured> {
    let s = Statistics::of(seen)?;
    let mean = |of: &dyn Fn(&Observation) -> f64| -> Vec<f64> {
        let chunks = seen.chunks_exact(view.scored());
        chunks
            .map(|chunk| chunk.iter().map(of).sum::<f64>() / chunk.len() as f64)
            .collect()
    };
    Some(Measured {
        chunks: s.count / view.scored(),
        tokens: s.count,
        ppl: estimate(s.ppl),
        ppl_ratio: estimate(s.ppl_ratio),
        ln_ppl_ratio: estimate(s.ln_ppl_ratio),
        ppl_difference: estimate(s.ppl_difference),
        correlation: s.correlation,
        kld: estimate(s.kld),
        kld_quantiles: quantiles(&s.kld_quantiles),
        delta_p: estimate(s.delta_p),
        delta_p_quantiles: quantiles(&s.delta_p_quantiles),
        delta_p_rms: estimate(s.delta_p_rms),
        same_top: estimate(s.same_top),
        flips: Some(flips(s.flips)),
        kld_ratio: ratio(before, seen),
        domains: domains(seen, before, view),
        per_chunk: PerChunk {
            kld: mean(&|o| o.kld),
            nll: mean(&|o| o.nll),
            same_top: mean(&|o| f64::from(u8::from(o.same_top))),
        },
        worst: view.tokenizer.map(|t| worst(seen, t, view)).unwrap_or_default(),
    })
}

/// Records the unquantized model's figures over the windows that the longest run has seen.
fn of_base(seen: &[Observation], evaluation: &mut record::Evaluation) {
    let Some(s) = Statistics::of(seen) else {
        return;
    };
    evaluation.scored_tokens = s.count;
    evaluation.base_ppl = Some(estimate(s.ppl_base));
    evaluation.base_nll = seen
        .chunks_exact(scored(evaluation.context))
        .map(|chunk| chunk.iter().map(|o| o.nll_base).sum::<f64>() / chunk.len() as f64)
        .collect();
}

fn ratio(before: Option<(&str, &[Observation])>, seen: &[Observation]) -> Option<Ratio> {
    let (preset, before) = before?;
    let found = divergence::kld_ratio(before, seen)?;
    Some(Ratio {
        of: preset.to_owned(),
        value: found.value,
        error: found.error,
    })
}

fn domains(seen: &[Observation], before: Option<(&str, &[Observation])>, view: &View<'_>) -> Vec<Domain> {
    let of = |text: &record::EvaluationText| {
        let name = text.domain.clone()?;
        let first = text.first_chunk * view.scored();
        let range = |seen: &'_ [Observation]| {
            let end = (first + text.chunks * view.scored()).min(seen.len());
            first.min(end)..end
        };
        let own = &seen[range(seen)];
        let s = Statistics::of(own)?;
        Some(Domain {
            name,
            tokens: s.count,
            ppl: estimate(s.ppl),
            ppl_ratio: estimate(s.ppl_ratio),
            kld: estimate(s.kld),
            kld_median: s.kld_quantiles.at(0.5),
            kld_99_9: s.kld_quantiles.at(0.999),
            same_top: estimate(s.same_top),
            flips: Some(flips(s.flips)),
            kld_ratio: ratio(before.map(|(preset, seen)| (preset, &seen[range(seen)])), own),
        })
    };
    view.texts.iter().filter_map(of).collect()
}

/// The positions with the largest divergence.
fn worst(seen: &[Observation], tokenizer: &Tokenizer, view: &View<'_>) -> Vec<Position> {
    let mut order: Vec<usize> = (0..seen.len()).collect();
    // Equal ones in the order of the text, so that the record is reproducible.
    order.sort_by(|&a, &b| seen[b].kld.total_cmp(&seen[a].kld).then(a.cmp(&b)));
    let text = |ids: &[u32]| String::from_utf8_lossy(&tokenizer.decode(ids, false, true)).into_owned();
    let of = |at: usize| {
        let chunk = at / view.scored();
        let position = view.context / 2 + 1 + at % view.scored();
        let window = view
            .tokens
            .get(chunk * view.context..(chunk + 1) * view.context)?;
        let token = window.get(position..=position)?;
        Some(Position {
            chunk,
            position,
            kld: seen[at].kld,
            p_base: (-seen[at].nll_base).exp(),
            p: (-seen[at].nll).exp(),
            before: text(&window[position.saturating_sub(BEFORE)..position]),
            token: text(token),
        })
    };
    order.into_iter().take(WORST).filter_map(of).collect()
}
