//! How often a target accepts what its draft expects, over a text.

use super::Drafter;
use crate::Result;
use crate::model::{Logits, Model};
use crate::ops::exp64;
use crate::perplexity::{PerplexityOptions, Softmax, Windows};
use crate::wide::wide;

/// A draft beside its target on the tokens of a text, each after all before it in its window.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AcceptanceReport {
    /// Tokens in a window.
    pub context: usize,
    /// Windows that were run.
    pub windows: usize,
    /// Tokens of the whole text.
    pub text_tokens: usize,
    /// Scored tokens: those that perplexity scores ([`crate::perplexity()`]).
    pub scored: usize,
    /// Scored tokens that the draft never predicts.
    pub unpredicted: usize,
    /// Mean negative log probability of the scored tokens by the target, in nats.
    pub target_nll: f64,
    /// The same by the draft, of those that it predicts; `None` where there are none.
    pub draft_nll: Option<f64>,
    /// Drafts of one token, of two, and so on.
    pub drafts: Vec<Accepted>,
}

/// Acceptance of drafts of some length, one that begins at each scored token after which there are as many.
///
/// Tokens after the first follow those of the text: a draft's second token is reached as often as the first is accepted and is
/// the text's. So the figures are exact for a text that the target has written, by itself and in the way of the figure; of
/// another text, they are those of its contexts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Accepted {
    /// Tokens of a draft.
    pub tokens: usize,
    /// Share of drafts, 0 to 1, all of whose tokens are accepted.
    pub whole: Ways,
    /// Mean number of tokens of a draft that are accepted, up to the first that is not. A pass of the target yields one more.
    pub accepted: Ways,
}

/// A figure for each way to choose tokens and to accept them.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ways {
    /// The target's most likely token is chosen (the first of equals), and the draft's is accepted where it is the same.
    pub most_likely: WindowMean,
    /// A token is drawn by the target's probabilities, and the draft's most likely one is accepted where it is the same, as in
    /// llama.cpp.
    pub drawn: WindowMean,
    /// Both draw by their probabilities, and a draft's token is accepted by rejection sampling (Leviathan et al., 2023), which
    /// keeps the target's: of the first token, the sum over all tokens of the lower of both probabilities.
    pub rejection: WindowMean,
}

/// A mean over windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowMean {
    /// The mean.
    pub value: f64,
    /// Its standard error, by what windows differ; `None` of one window.
    pub error: Option<f64>,
}

/// Measures how often a target accepts what is drafted for it of a text's token ids, in the windows of
/// [`crate::perplexity()`], one at a time, with drafts of up to `longest` tokens. `progress` is called with the windows that
/// are done and with all, after each.
///
/// # Errors
/// As [`Drafter::expect_target`], [`Model::states_for`] and [`crate::perplexity()`]; also when drafts so long cannot be measured
/// ([`Drafter::longest`]) or do not fit the scored tokens of a window, and when the logits of a window do not fit the memory
/// that the options allow.
pub fn acceptance(
    drafter: &Drafter,
    target: &Model,
    tokens: &[u32],
    options: &PerplexityOptions,
    longest: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<AcceptanceReport> {
    let windows = Windows::new(tokens, options)?;
    let (context, first) = (windows.context(), windows.first());
    target.expect_predicting(first, context)?;
    drafter.expect_predicting(first, context)?;
    drafter.expect_target(target)?;
    expect_length(drafter, &windows, longest)?;
    expect_memory(drafter, target, &windows, options.max_memory)?;
    let mut sums = Sums::default();
    for index in 0..windows.count {
        for window in windows.batch(index..index + 1) {
            target.expect_predicted(window[first + 1..].iter().copied())?;
            let (tokens, mut places) = (&window[first + 1..], Vec::new());
            drafter.each_place(target, &window, first..context - 1, longest, &mut |p, q| {
                places.push(sums.steps(target, tokens, places.len(), p, q)?);
                Ok(())
            })?;
            sums.windows.push(run_lengths(&places, longest));
        }
        progress(index + 1, windows.count);
    }
    let known = sums.scored - sums.unpredicted;
    Ok(AcceptanceReport {
        context,
        windows: windows.count,
        text_tokens: tokens.len(),
        scored: sums.scored,
        unpredicted: sums.unpredicted,
        target_nll: sums.target / sums.scored as f64,
        draft_nll: (known > 0).then(|| sums.draft / known as f64),
        drafts: (1..=longest).map(|tokens| sums.accepted(tokens)).collect(),
    })
}

/// Checks that a text tells of drafts of so many tokens.
fn expect_length(drafter: &Drafter, windows: &Windows<'_>, longest: usize) -> Result<()> {
    let scored = windows.scored();
    let expected = match drafter.longest() {
        Some(most) if longest > most => {
            format!(
                "at most {most}, as it drafts no more, or a text does not tell of the states that it goes on from"
            )
        }
        _ if longest == 0 => "at least 1".to_owned(),
        _ if longest > scored => format!("at most the {scored} scored tokens of a window"),
        _ => return Ok(()),
    };
    Err(drafter.error(format!("tokens of a draft: expected {expected}, found {longest}")))
}

/// Checks that a window fits, with the logits of both models for its scored tokens.
fn expect_memory(drafter: &Drafter, target: &Model, windows: &Windows<'_>, most: u64) -> Result<()> {
    let row = target
        .vocabulary()
        .saturating_add(drafter.vocabulary(target))
        .saturating_mul(size_of::<f32>());
    let logits = row.saturating_mul(windows.scored()) as u64;
    let context = windows.context();
    let states = drafter.bytes_per_token(target).saturating_mul(context as u64);
    let needed = target
        .bytes_per_run()
        .saturating_add(states)
        .saturating_add(logits);
    match needed <= most {
        true => Ok(()),
        false => Err(target.error(format!(
            "expected at least {needed} bytes of memory for a window of {context} tokens with the logits of target and draft, \
             found a bound of {most}"
        ))),
    }
}

/// The ways of [`Ways`], in its order.
const WAYS: usize = 3;

/// One position in one way.
#[derive(Clone, Copy)]
struct Step {
    /// Probability that the draft's token is accepted.
    accepts: f64,
    /// The same where it is the text's token that comes of it.
    accepts_text: f64,
}

/// Of one window, for each length of a draft and each way the share of drafts so long that are accepted whole.
type Whole = Vec<[f64; WAYS]>;

/// Sums over positions, and what was seen of each window.
#[derive(Default)]
struct Sums {
    scored: usize,
    unpredicted: usize,
    target: f64,
    draft: f64,
    windows: Vec<Whole>,
}

impl Sums {
    /// Says of a place in a draft what is accepted at each position of a window that it may be at, behind which these tokens come.
    /// Adds those of the first place.
    fn steps(
        &mut self,
        target: &Model,
        tokens: &[u32],
        place: usize,
        of_target: &Logits,
        of_draft: &Logits,
    ) -> Result<Vec<[Step; WAYS]>> {
        let positions = tokens.iter().enumerate().skip(place);
        let steps = positions.map(|(position, &token)| {
            let p = Row::new(of_target.row(position), token);
            let q = Row::new(of_draft.row(position - place), token);
            let [of_p, of_q] = [&p, &q].map(|row| row.log_probability(token as usize));
            let of_p = finite(target, position, of_p)?;
            if of_q != f64::NEG_INFINITY {
                finite(target, position, of_q)?;
            }
            if place == 0 {
                self.scored += 1;
                self.target -= of_p;
                match of_q == f64::NEG_INFINITY {
                    true => self.unpredicted += 1,
                    false => self.draft -= of_q,
                }
            }
            let [most_likely, drafted] = [&p, &q].map(|row| row.softmax.top);
            let same = f64::from(u8::from(most_likely == drafted));
            Ok([
                Step {
                    accepts: same,
                    accepts_text: same,
                },
                Step {
                    accepts: p.log_probability(drafted).exp(),
                    accepts_text: f64::from(u8::from(token as usize == drafted)),
                },
                Step {
                    accepts: overlap(&p, &q),
                    accepts_text: (of_q - of_p).exp().min(1.0),
                },
            ])
        });
        steps.collect()
    }

    /// Acceptance of drafts of so many tokens.
    fn accepted(&self, tokens: usize) -> Accepted {
        let ways = |of_window: &dyn Fn(&Whole, usize) -> f64| {
            let mean = |way| WindowMean::of(self.windows.iter().map(|window| of_window(window, way)));
            Ways {
                most_likely: mean(0),
                drawn: mean(1),
                rejection: mean(2),
            }
        };
        Accepted {
            tokens,
            whole: ways(&|window, way| window[tokens - 1][way]),
            accepted: ways(&|window, way| window[..tokens].iter().map(|whole| whole[way]).sum()),
        }
    }
}

/// For each length of a draft and each way the share of drafts so long that are accepted whole, of those that begin at each
/// position after which there are as many. `places` are what is accepted of each token of a draft, by the position that it begins
/// at; of one place alone, that is what is accepted of all, by their own position.
fn run_lengths(places: &[Vec<[Step; WAYS]>], longest: usize) -> Whole {
    let mut sums = vec![[0.0; WAYS]; longest];
    let positions = places.first().map_or(0, Vec::len);
    for start in 0..positions {
        let mut reached = [1.0; WAYS];
        for (place, sum) in sums.iter_mut().enumerate().take(positions - start) {
            let step = match places {
                [all] => &all[start + place],
                _ => &places[place][start],
            };
            for way in 0..WAYS {
                sum[way] += reached[way] * step[way].accepts;
                reached[way] *= step[way].accepts_text;
            }
        }
    }
    for (shorter, sum) in sums.iter_mut().enumerate() {
        let drafts = positions - shorter;
        sum.iter_mut().for_each(|sum| *sum /= drafts as f64);
    }
    sums
}

impl WindowMean {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let count = values.clone().count() as f64;
        let value = values.clone().sum::<f64>() / count;
        let squares: f64 = values.map(|v| (v - value).powi(2)).sum();
        Self {
            value,
            error: (count > 1.0).then(|| (squares / (count - 1.0) / count).sqrt()),
        }
    }
}

/// One position's logits.
struct Row<'a> {
    logits: &'a [f32],
    softmax: Softmax,
    log_sum: f64,
}

impl<'a> Row<'a> {
    fn new(logits: &'a [f32], token: u32) -> Self {
        let mut softmax = Softmax::new(token);
        softmax.add(&(0..logits.len()), logits);
        let log_sum = softmax.log_sum();
        Self {
            logits,
            softmax,
            log_sum,
        }
    }

    /// Of a token that is not there, it is that of none.
    fn log_probability(&self, token: usize) -> f64 {
        let logit = self.logits.get(token).copied().unwrap_or(f32::NEG_INFINITY);
        f64::from(logit) - self.log_sum
    }
}

/// A log probability, which has to be a number.
fn finite(target: &Model, position: usize, log: f64) -> Result<f64> {
    match log.is_finite() {
        true => Ok(log),
        false => Err(target.error(format!(
            "scored token {position} of a window: expected finite predictions of target and draft, found another"
        ))),
    }
}

/// The sum of the lower of both probabilities of each token.
fn overlap(p: &Row<'_>, q: &Row<'_>) -> f64 {
    wide(
        #[inline(always)]
        || {
            let pairs = p.logits.iter().zip(q.logits);
            pairs
                .map(|(&a, &b)| exp64((f64::from(a) - p.log_sum).min(f64::from(b) - q.log_sum)))
                .sum()
        },
    )
}
