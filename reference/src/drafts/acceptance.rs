//! How often a target accepts what its draft expects, over a text.

use super::{Draft, States};
use crate::Result;
use crate::model::{Logits, Model};
use crate::perplexity::{PerplexityOptions, Softmax, Windows};
use crate::wide::wide;

/// A draft beside its target on the tokens of a text, each after all before it in its window.
///
/// The figures are of the first token of a draft. What follows in a longer one depends on the tokens that were drafted, not on
/// those of the text.
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
    /// Share of positions, 0 to 1, at which both find the same token most likely (the first of equals): drafted tokens that
    /// are accepted where the most likely are chosen.
    pub same_top: f64,
    /// Mean over positions of the sum, over all tokens, of the lower of both probabilities, 0 to 1: drafted tokens that are
    /// accepted where tokens are drawn by the target's probabilities.
    pub overlap: f64,
}

/// Sums over positions.
#[derive(Default)]
struct Sums {
    scored: usize,
    unpredicted: usize,
    target: f64,
    draft: f64,
    same: usize,
    overlap: f64,
}

/// Measures how often a target accepts what its draft expects of a text's token ids, in the windows of
/// [`crate::perplexity()`], one at a time. `progress` is called with the windows that are done and with all, after each.
///
/// # Errors
/// As [`Model::states_for`] and [`crate::perplexity()`]; also when the logits of a window do not fit the memory that the
/// options allow.
pub fn acceptance(
    draft: &Draft,
    target: &Model,
    tokens: &[u32],
    options: &PerplexityOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<AcceptanceReport> {
    let windows = Windows::new(tokens, options)?;
    let context = windows.context();
    expect_memory(target, context, options.max_memory)?;
    let mut sums = Sums::default();
    for index in 0..windows.count {
        for window in windows.batch(index..index + 1) {
            target.expect_predicted(window[windows.first() + 1..].iter().copied())?;
            let states = target.states_for(draft, &[&window])?;
            let expected = draft.forward(&states)?;
            sums.add(&window, windows.first(), &states, &expected)?;
        }
        progress(index + 1, windows.count);
    }
    let (all, known) = (sums.scored as f64, sums.scored - sums.unpredicted);
    Ok(AcceptanceReport {
        context,
        windows: windows.count,
        text_tokens: tokens.len(),
        scored: sums.scored,
        unpredicted: sums.unpredicted,
        target_nll: sums.target / all,
        draft_nll: (known > 0).then(|| sums.draft / known as f64),
        same_top: sums.same as f64 / all,
        overlap: sums.overlap / all,
    })
}

/// Checks that a window fits, with the logits of both models for all of its tokens.
fn expect_memory(target: &Model, context: usize, most: u64) -> Result<()> {
    let logits = target.vocabulary().saturating_mul(2 * size_of::<f32>()) as u64;
    let one = target.bytes_per_token().saturating_add(logits);
    let needed = target
        .bytes_per_run()
        .saturating_add(one.saturating_mul(context as u64));
    match needed <= most {
        true => Ok(()),
        false => Err(target.error(format!(
            "expected at least {needed} bytes of memory for a window of {context} tokens with the logits of target and draft, \
             found a bound of {most}"
        ))),
    }
}

impl Sums {
    /// Adds the positions of a window from `first` on.
    fn add(&mut self, window: &[u32], first: usize, states: &States<'_>, expected: &Logits) -> Result<()> {
        let target = states.logits()?;
        for (position, &token) in (first..).zip(&window[first + 1..]) {
            // What the draft expects after a token stands in the row of the token before it.
            let (p, q) = (target.row(position), expected.row(position - 1));
            let [of_target, of_draft] = [p, q].map(|row| {
                let mut softmax = Softmax::new(token);
                softmax.add(&(0..row.len()), row);
                softmax
            });
            self.scored += 1;
            self.target += finite(states, position, of_target.negative_log_probability())?;
            match q[token as usize] == f32::NEG_INFINITY {
                true => self.unpredicted += 1,
                false => self.draft += finite(states, position, of_draft.negative_log_probability())?,
            }
            self.same += usize::from(of_target.top == of_draft.top);
            self.overlap += overlap([(p, of_target.log_sum()), (q, of_draft.log_sum())]);
        }
        Ok(())
    }
}

/// A negative log probability, which has to be a number.
fn finite(states: &States<'_>, position: usize, nll: f64) -> Result<f64> {
    match nll.is_finite() {
        true => Ok(nll),
        false => Err(states.target.error(format!(
            "position {position} of a window: expected finite predictions of target and draft, found another"
        ))),
    }
}

/// The sum of the lower of both probabilities of each token, of logits and the logarithms of their exponentials' sums.
fn overlap([(p, log_p), (q, log_q)]: [(&[f32], f64); 2]) -> f64 {
    wide(
        #[inline(always)]
        || {
            let pairs = p.iter().zip(q);
            pairs
                .map(|(&a, &b)| (f64::from(a) - log_p).min(f64::from(b) - log_q).exp())
                .sum()
        },
    )
}
