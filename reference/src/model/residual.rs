//! Ways in which what a half of a layer makes comes into the state, where it is not added to what the half sees.

use crate::Result;
use crate::layers::{Connection, EarlierStates, Shares, mean, repeated};
use crate::ops::Matrix;
use crate::run::{Run, normalized};

/// The view of the state that the halves of a layer have, and where their output goes.
#[derive(Debug)]
pub(crate) enum Residual {
    /// The state, which what they make is added to.
    Sum,
    /// A mixture of copies of the state; each takes a share of what they make.
    Connected(Box<[Connection; 2]>),
    /// A mean of the state and of earlier ones.
    Earlier {
        halves: Box<[EarlierStates; 2]>,
        /// Whether the state is kept as an earlier one, and begins anew with what the first half makes.
        restarts: bool,
    },
}

/// Steps before the first layer and behind the last that go with a [`Residual`].
#[derive(Debug)]
pub(crate) enum Ends {
    None,
    /// So many copies of the embeddings, of which this makes one state.
    Connected(usize, Box<Connection>),
    /// So many copies of the embeddings, and their mean.
    Mean(usize),
    /// The mean of the state and of earlier ones.
    Earlier(EarlierStates),
}

impl Ends {
    /// The state before the first layer.
    pub(crate) fn begin(&self, run: &mut Run<'_>, x: Matrix) -> Matrix {
        match self {
            Self::Connected(copies, _) | Self::Mean(copies) => repeated(run, x, *copies),
            Self::None | Self::Earlier(_) => x,
        }
    }

    /// The state behind the last layer as the output matrix's norm sees it.
    pub(crate) fn end(&self, run: &mut Run<'_>, x: Matrix) -> Result<Matrix> {
        let made = match self {
            Self::None => return Ok(x),
            Self::Connected(_, connection) => connection.see(run, &x)?.0,
            Self::Mean(copies) => mean(run, &x, *copies),
            Self::Earlier(states) => states.mean(run, &x),
        };
        run.scratch.give(x);
        Ok(made)
    }

    /// Copies of the state; none where it is one.
    pub(crate) fn copies(&self) -> usize {
        match self {
            Self::Connected(copies, _) | Self::Mean(copies) => *copies,
            Self::None | Self::Earlier(_) => 0,
        }
    }
}

impl Residual {
    /// The view of the state `x` that a half has.
    pub(super) fn see(&self, run: &mut Run<'_>, x: &Matrix, half: usize) -> Result<(Matrix, Option<Shares>)> {
        match self {
            Self::Sum => Ok((normalized(run, None, x), None)),
            Self::Connected(halves) => {
                let (seen, shares) = halves[half].see(run, x)?;
                Ok((seen, Some(shares)))
            }
            Self::Earlier { halves, restarts } => {
                let seen = halves[half].mean(run, x);
                if *restarts && half == 0 {
                    run.streams.push(x.clone());
                }
                Ok((seen, None))
            }
        }
    }

    /// Puts what a half has `made` into the state `x`.
    pub(super) fn put(
        &self,
        run: &mut Run<'_>,
        x: &mut Matrix,
        made: &Matrix,
        half: usize,
        shares: Option<Shares>,
    ) {
        match (self, shares) {
            (_, Some(shares)) => shares.put(run, x, made),
            (Self::Earlier { restarts: true, .. }, None) if half == 0 => x.copy_from(made),
            _ => x.add(made),
        }
    }

    /// Whether the state is kept as an earlier one.
    pub(super) fn keeps_state(&self) -> bool {
        matches!(self, Self::Earlier { restarts: true, .. })
    }

    /// Intermediate results, in numbers for each token.
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Connected(halves) => halves.iter().map(Connection::width).max().unwrap_or(0),
            Self::Sum | Self::Earlier { .. } => 0,
        }
    }
}
