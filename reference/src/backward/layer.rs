//! One layer backwards.

use super::{Pass, unknown};
use crate::Result;
use crate::layers::Mixer;
use crate::model::{Layer, Mlp, Residual};
use crate::ops::{Matrix, Norm};

impl Layer {
    /// A part that the backward pass does not know.
    pub(super) fn without_backward(&self) -> Option<String> {
        if self.per_layer.is_some() || self.copies.is_some() || self.early.is_some() || self.norms_follow_sums
        {
            return Some("further inputs of a layer, or norms of sums".to_owned());
        }
        if self.across.is_some() {
            return Some("attention to an encoder's states".to_owned());
        }
        if !matches!(self.residual, Residual::Sum) {
            return Some("more than one state between the halves of layers".to_owned());
        }
        if self.seen_scale.is_some() {
            return Some("halves that are added to what they see".to_owned());
        }
        let first = match &self.attention {
            Mixer::None => None,
            Mixer::Attention(attention) => attention.without_backward(),
            _ => Some("this token mixer".to_owned()),
        };
        let second = match &self.mlp {
            Mlp::None => None,
            Mlp::Dense(layer) => layer.without_backward(),
            Mlp::Mixture(layer) => layer.without_backward(),
            Mlp::Channels(_) | Mlp::BesideExperts(_) => Some("this kind of feed-forward layer".to_owned()),
        };
        first.or(second)
    }
}

impl Pass<'_, '_> {
    /// The gradient with respect to a layer's input `x`, from that with respect to what leaves it.
    pub(super) fn layer(&mut self, layer: &Layer, x: &Matrix, gradient: &Matrix) -> Result<Matrix> {
        let mut leaving = gradient.clone();
        leaving.scale(layer.output_scale);
        // What each half sees.
        let normed = normalized(layer.attention_norm.as_ref(), x);
        let mut attended = match &layer.attention {
            Mixer::None => Matrix::default(),
            mixer => mixer.forward(&mut self.run, &normed)?,
        };
        let has_attention = !matches!(layer.attention, Mixer::None);
        let before_post_norm = attended.clone();
        if let Some(norm) = &layer.attention_post_norm {
            norm.apply(&mut attended);
        }
        attended.scale(layer.residual_scale);
        let mut middle = x.clone();
        if has_attention {
            middle.add(&attended);
        }
        self.run.scratch.give(attended);
        // The second half.
        let mut at_middle = leaving.clone();
        let mut at_normed = None;
        let mut at_input = None;
        if !matches!(layer.mlp, Mlp::None) {
            let parallel = layer.parallel && has_attention;
            let seen = match (parallel, &layer.mlp_norm) {
                (true, None) => normed.clone(),
                (true, norm) => normalized(norm.as_ref(), x),
                (false, norm) => normalized(norm.as_ref(), &middle),
            };
            let at_seen = self.second_half(layer, &seen, &leaving)?;
            match (parallel, &layer.mlp_norm) {
                (true, None) => at_normed = Some(at_seen),
                (true, Some(norm)) => at_input = Some(self.norm(norm, x, &at_seen)),
                (false, None) => at_middle.add(&at_seen),
                (false, Some(norm)) => at_middle.add(&self.norm(norm, &middle, &at_seen)),
            }
        }
        // The first half.
        let mut out = at_middle.clone();
        if let Mixer::Attention(attention) = &layer.attention {
            at_middle.scale(layer.residual_scale);
            if let Some(norm) = &layer.attention_post_norm {
                at_middle = self.norm(norm, &before_post_norm, &at_middle);
            }
            let mut at_seen = self.attention(attention, &normed, &at_middle)?;
            if let Some(more) = &at_normed {
                at_seen.add(more);
            }
            match &layer.attention_norm {
                Some(norm) => out.add(&self.norm(norm, x, &at_seen)),
                None => out.add(&at_seen),
            }
        }
        if let Some(more) = &at_input {
            out.add(more);
        }
        Ok(out)
    }

    /// The gradient with respect to what the second half sees.
    fn second_half(&mut self, layer: &Layer, seen: &Matrix, leaving: &Matrix) -> Result<Matrix> {
        let mut gradient = leaving.clone();
        // A layer without attention adds its second half as it is.
        if !matches!(layer.attention, Mixer::None) {
            gradient.scale(layer.residual_scale);
            if let Some(norm) = &layer.mlp_post_norm {
                let made = match &layer.mlp {
                    Mlp::Dense(mlp) => mlp.forward(&mut self.run, seen)?,
                    Mlp::Mixture(mlp) => mlp.forward(&mut self.run, seen)?,
                    _ => return Err(unknown("this kind of feed-forward layer")),
                };
                gradient = self.norm(norm, &made, &gradient);
            }
        }
        match &layer.mlp {
            Mlp::Dense(mlp) => self.feed_forward(mlp, seen, &gradient),
            Mlp::Mixture(mlp) => self.mixture(mlp, seen, &gradient),
            _ => Err(unknown("this kind of feed-forward layer")),
        }
    }
}

fn normalized(norm: Option<&Norm>, x: &Matrix) -> Matrix {
    let mut out = x.clone();
    if let Some(norm) = norm {
        norm.apply(&mut out);
    }
    out
}
