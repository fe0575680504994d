//! Choice of matrix product.

use super::matmul::{Parallel, View, ViewMut, matmul};
use crate::portable::{fuses, multiply};

/// Implementation of matrix products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Products {
    /// As fast as the machine can; the last bits depend on it.
    #[default]
    Fast,
    /// The same bits on every machine ([`crate::portable`]).
    Portable,
}

impl Products {
    /// Whether products of many small matrices with one are as [`crate::portable::Panels`] multiplies: the same bits
    /// everywhere, and no slower where the machine multiplies and adds at once.
    pub(crate) fn in_panels(self) -> bool {
        self == Self::Portable || fuses()
    }

    /// `dst = alpha * lhs * rhs`.
    ///
    /// # Panics
    /// When the shapes do not fit together.
    pub(crate) fn multiply(
        self,
        dst: ViewMut<'_>,
        lhs: View<'_>,
        rhs: View<'_>,
        alpha: f32,
        parallel: Parallel,
    ) {
        match self {
            Self::Fast => matmul(dst, lhs, rhs, alpha, parallel),
            Self::Portable => {
                let (data, stride) = dst.into_parts();
                multiply(
                    lhs.as_strided(),
                    rhs.as_strided(),
                    data,
                    stride,
                    alpha,
                    parallel == Parallel::Yes,
                );
            }
        }
    }
}
