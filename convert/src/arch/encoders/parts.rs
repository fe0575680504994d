//! Rearrangements that several encoders need.

use crate::Result;
use crate::arch::rules::names::{Rule, Transform, exact_with};
use crate::arch::{Hparams, Rows, View};

/// Of rows that hold query, key and value one after the other, one of the three.
pub(super) fn third(stored: u64, which: u64) -> Rows {
    Rows::range(which * (stored / 3), stored / 3)
}

/// [`third`] as transforms, in their order.
pub(super) const THIRDS: [Transform; 3] = [
    Transform::Rows(|_, n| Ok(third(n, 0))),
    Transform::Rows(|_, n| Ok(third(n, 1))),
    Transform::Rows(|_, n| Ok(third(n, 2))),
];

/// The two halves of the rows.
pub(super) const HALVES: [Transform; 2] = [
    Transform::Rows(|_, n| Ok(Rows::range(0, n / 2))),
    Transform::Rows(|_, n| Ok(Rows::range(n / 2, n / 2))),
];

/// Frames of a video that a patch is made of.
const FRAMES: u64 = 2;

/// Of a convolution over two frames, that over one.
pub(super) fn frame(view: View, which: u64) -> Option<View> {
    if view.shape().get(2) != Some(&FRAMES) {
        return None;
    }
    view.cut(2, which, 1)?.without(2)
}

/// The convolution over two frames as two.
pub(super) const FRAMES_OF_PATCHES: &[Rule] = &[
    exact_with(
        "visual.patch_embed.proj.weight",
        "v.patch_embd.weight",
        Transform::View(|_, v| Ok(frame(v, 0)), None),
    ),
    exact_with(
        "visual.patch_embed.proj.weight",
        "v.patch_embd.weight.1",
        Transform::View(|_, v| Ok(frame(v, 1)), None),
    ),
];

/// A matrix over all numbers of a patch of known side, the colours of a point beside each other, as a convolution.
pub(super) fn by_points(view: View, side: u64) -> Option<View> {
    let view = view.split(1, side)?.split(2, side)?;
    view.swap(1, 3)?.swap(2, 3)
}

/// The same with colours outermost.
pub(super) fn by_colours(view: View, side: u64) -> Option<View> {
    let shape = [view.shape().first().copied()?, 3, side, side];
    view.shaped(&shape)
}

/// A bias as a column, to be added to frames side by side.
pub(super) const COLUMN: Transform = Transform::View(column, None);

fn column(_: &Hparams, view: View) -> Result<Option<View>> {
    let length = view.len();
    Ok(view.shaped(&[length, 1]))
}

/// A bias of a convolution over two dimensions, with one place in each.
pub(super) const PLANES: Transform = Transform::View(planes, None);

fn planes(_: &Hparams, view: View) -> Result<Option<View>> {
    let length = view.len();
    Ok(view.shaped(&[length, 1, 1]))
}

/// A batch norm as what remains of it: weight and bias, folded from what the four rules bring.
pub(super) const FOLDED_NORM: [Transform; 4] = [
    Transform::BatchNorm(0),
    Transform::BatchNorm(1),
    Transform::BatchNorm(2),
    Transform::BatchNorm(3),
];

/// Without dimensions of length 1, and as a list where there is no other.
pub(super) const SQUEEZED: Transform = Transform::View(squeezed, None);

fn squeezed(_: &Hparams, view: View) -> Result<Option<View>> {
    let mut shape = view.shape();
    shape.retain(|&n| n != 1);
    if shape.is_empty() {
        shape.push(1);
    }
    Ok(view.shaped(&shape))
}

/// A convolution over one frame as a matrix; others as they are.
pub(super) const POINTWISE: Transform = Transform::View(pointwise, None);

fn pointwise(_: &Hparams, view: View) -> Result<Option<View>> {
    Ok(match view.shape()[..] {
        [_, _, 1] => view.without(2),
        _ => Some(view),
    })
}
