//! Symbols of a text: stretches that merge with their neighbours.

use super::unicode;

/// A stretch of the text, linked to its neighbours. An index out of range means there is none.
#[derive(Clone, Copy)]
pub(super) struct Symbol<T> {
    pub(super) start: usize,
    pub(super) len: usize,
    /// The facts about its text.
    pub(super) of: T,
    pub(super) previous: usize,
    pub(super) next: usize,
}

impl<T> Symbol<T> {
    /// Its text; nothing where it has merged into the symbol before it.
    pub(super) fn text<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        &text[self.start..self.start + self.len]
    }
}

/// Two neighbours that may merge.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Neighbours {
    pub(super) left: usize,
    pub(super) right: usize,
    /// Their length when found; another length says that they have changed since.
    size: usize,
}

/// Length of the character at a position, cut at the end of the text.
pub(super) fn character_len(text: &[u8], start: usize) -> usize {
    unicode::sequence_len(text[start]).min(text.len() - start)
}

/// The characters of a text.
pub(super) fn characters<T>(text: &[u8], of: impl Fn(&[u8]) -> T) -> Vec<Symbol<T>> {
    let mut symbols = Vec::with_capacity(text.len());
    let mut start = 0;
    while start < text.len() {
        let len = character_len(text, start);
        let here = symbols.len();
        let is_last = start + len == text.len();
        symbols.push(Symbol {
            start,
            len,
            of: of(&text[start..start + len]),
            previous: here.wrapping_sub(1),
            next: if is_last { usize::MAX } else { here + 1 },
        });
        start += len;
    }
    symbols
}

/// A symbol and the one after it, where there are both.
pub(super) fn neighbours<T: Copy>(
    symbols: &[Symbol<T>],
    left: usize,
) -> Option<(Neighbours, [Symbol<T>; 2])> {
    let a = *symbols.get(left)?;
    let b = *symbols.get(a.next)?;
    let pair = Neighbours {
        left,
        right: a.next,
        size: a.len + b.len,
    };
    Some((pair, [a, b]))
}

/// Merges two neighbours into the left one, unless they have changed since they were found. The symbol before it.
pub(super) fn merge<T: Copy>(symbols: &mut [Symbol<T>], pair: Neighbours, of: T) -> Option<usize> {
    let (a, b) = (symbols[pair.left], symbols[pair.right]);
    if a.len == 0 || b.len == 0 || a.len + b.len != pair.size {
        return None;
    }
    symbols[pair.left] = Symbol {
        len: pair.size,
        of,
        next: b.next,
        ..a
    };
    symbols[pair.right].len = 0;
    if let Some(after) = symbols.get_mut(b.next) {
        after.previous = pair.left;
    }
    Some(a.previous)
}
