//! Single numbers of a checkpoint, which become keys.

use super::integers::Integers;
use super::layout::Layout;
use super::parts::{Parts, Place};
use crate::arch::Rows;
use crate::{Error, Result};

/// The only element of a stored tensor, or `None` where there is no such tensor.
pub(super) fn only(parts: &Parts, name: &str) -> Result<Option<f32>> {
    let Some(&at) = parts.tensors.get(name) else {
        return Ok(None);
    };
    let entry = parts.entry(at);
    match entry.shape.iter().product::<u64>() {
        1 => first(parts, name),
        _ => Err(no_number(parts, at, name, "one floating-point number")),
    }
}

fn no_number(parts: &Parts, at: Place, name: &str, expected: &str) -> Error {
    let entry = parts.entry(at);
    Error::input(
        parts.files[at.file].path(),
        format!(
            "tensor '{name}': expected {expected}, found {} {:?}",
            entry.dtype, entry.shape
        ),
    )
}

/// The first number of a tensor; `None` where there is no such tensor.
pub(super) fn first(parts: &Parts, name: &str) -> Result<Option<f32>> {
    let Some(&at) = parts.tensors.get(name) else {
        return Ok(None);
    };
    let entry = parts.entry(at);
    let any = entry.shape.iter().product::<u64>() > 0;
    let Some(element) = entry.element().filter(|_| any) else {
        return Err(no_number(parts, at, name, "floating-point numbers"));
    };
    let mut layout = Layout::new(element, 1);
    layout.push((at.file, entry.offset), &Rows::range(0, 1));
    let mut value = [0f32];
    layout.read_values(parts, 0..1, &mut value)?;
    Ok(Some(value[0]))
}

/// Most integers that become a key.
const MAX_INTEGERS: u64 = 1 << 16;

/// The integers of the tensor whose name ends so; `None` where there is no such tensor.
pub(super) fn integers(parts: &Parts, ending: &str) -> Result<Option<Vec<i64>>> {
    let Some((name, &at)) = parts.tensors.iter().find(|(name, _)| name.ends_with(ending)) else {
        return Ok(None);
    };
    let entry = parts.entry(at);
    let count = entry.shape.iter().product::<u64>();
    let stored = Integers::new((at.file, entry.offset), entry.dtype, name);
    match stored.filter(|_| count <= MAX_INTEGERS) {
        Some(stored) => stored.read(parts, &(0..count)).map(Some),
        None => Err(no_number(
            parts,
            at,
            name,
            &format!("at most {MAX_INTEGERS} integers"),
        )),
    }
}

/// The numbers of a matrix's rows, from row `from` on, that are all zero; none where there is no such matrix.
pub(super) fn zero_rows(parts: &Parts, name: &str, from: u64) -> Result<Vec<u64>> {
    let Some(&at) = parts.tensors.get(name) else {
        return Ok(Vec::new());
    };
    let entry = parts.entry(at);
    let (&[rows, length], Some(element)) = (&entry.shape[..], entry.element()) else {
        return Err(no_number(parts, at, name, "a matrix of floating-point numbers"));
    };
    let mut layout = Layout::new(element, length);
    layout.push((at.file, entry.offset), &Rows::range(0, rows));
    let mut row = vec![0f32; usize::try_from(length).unwrap_or(0)];
    let mut found = Vec::new();
    for number in from..rows {
        let elements = number * length..(number + 1) * length;
        layout.read_values(parts, elements, &mut row)?;
        if row.iter().all(|&x| x == 0.0) {
            found.push(number);
        }
    }
    Ok(found)
}
