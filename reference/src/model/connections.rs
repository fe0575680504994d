//! The tensors of hyper-connections.

use super::residual::{Ends, Residual};
use crate::Result;
use crate::layers::{Back, Connection, WeightedMixture};
use crate::weights::Loader;

use super::mixtures::weightless;

/// Most of Sinkhorn's steps; published models have 20.
const MAX_STEPS: usize = 1 << 10;
pub(super) const STEPS: &str = "hyper_connection.sinkhorn_iterations";

/// Numbers that all connections of a model share.
pub(super) struct Connections {
    pub(super) copies: usize,
    hidden: usize,
    /// Of the norm of all copies.
    norm_eps: f32,
    /// Added to weights.
    eps: f32,
    back: Back,
}

impl Connections {
    pub(super) fn read(loader: &Loader<'_>, hidden: usize, norm_eps: f32, back: Back) -> Result<Self> {
        let copies = loader.keys.count("hyper_connection.count")?;
        if let Back::Mixed(steps) = back
            && steps > MAX_STEPS
        {
            let expected = format!("at most {MAX_STEPS}");
            return Err(loader.keys.refused(STEPS, expected, steps));
        }
        let wide = copies.checked_mul(hidden);
        if wide.and(WeightedMixture::outputs(copies, back)).is_none() {
            return Err(loader.error(format!("hyper_connection.count: {copies} copies are too many")));
        }
        Ok(Self {
            copies,
            hidden,
            norm_eps,
            eps: loader.keys.float("hyper_connection.epsilon")?,
            back,
        })
    }

    fn connection(&self, loader: &Loader<'_>, base: &str, back: Back) -> Result<Connection> {
        let (copies, wide) = (self.copies, self.copies * self.hidden);
        let outputs = WeightedMixture::outputs(copies, back).unwrap_or(copies);
        let kinds = match back {
            Back::None => 1,
            Back::Apart(_) => 2,
            Back::Mixed(_) => 3,
        };
        Ok(Connection::Weighted(WeightedMixture {
            copies,
            norm: weightless(wide, self.norm_eps),
            weights: loader.linear(&format!("{base}_fn"), wide, outputs)?,
            scale: loader.vector(&format!("{base}_scale.weight"), kinds)?,
            base: loader.vector(&format!("{base}_base.weight"), outputs)?,
            eps: self.eps,
            back,
        }))
    }

    /// Those of a layer's halves.
    pub(super) fn of_layer(&self, loader: &Loader<'_>, layer: usize) -> Result<Residual> {
        let half = |name: &str| self.connection(loader, &format!("blk.{layer}.hc_{name}"), self.back);
        Ok(Residual::Connected(Box::new([half("attn")?, half("ffn")?])))
    }

    /// Those at the ends of the model.
    pub(super) fn ends(&self, loader: &Loader<'_>) -> Result<Ends> {
        let last = self.connection(loader, "output_hc", Back::None)?;
        Ok(Ends::Connected(self.copies, Box::new(last)))
    }
}
