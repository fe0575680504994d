//! The codebooks of the i-quants.
//!
//! IQ1, IQ2 and IQ3 blocks do not store a level for each weight but the index of a point: a group of eight
//! (IQ1, IQ2) or four (IQ3) levels that is one of the few kept in a codebook. To encode, a group is rounded to
//! levels; where those are no point of the codebook, the points nearest to them are tried in turn. Which ones
//! and in which order is part of the format's canon: all points at the smallest, second smallest … distinct
//! distance, by distance and then by index, as ggml's `iq2xs_init_impl` and `iq3xs_init_impl` list them.

mod fit;
mod grid;
mod points;
mod signs;

pub(crate) use fit::{Fit, Refit, Search, fit, largest, quantize_scales};
pub(crate) use grid::{
    Grid, IQ1, IQ2_S, IQ2_XS, IQ2_XXS, IQ2_ZERO, IQ3_S, IQ3_XXS, Place, error_terms, iq1, iq2_s, iq2_xs,
    iq2_xxs, iq3_s, iq3_xxs,
};
pub(crate) use signs::{SIGNS, fold_signs, fold_signs_even, sign, signed, with_signs};
