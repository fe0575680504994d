//! Splitters written by hand: the common word patterns and those that a regular expression without
//! look-around cannot state. Each gives the end of the piece that starts at a position.

use super::classes;
use crate::tokenizer::unicode::{Flags, flags as flags_of, is_han, to_lower};

/// A stretch of text under splitting: nothing outside it is seen.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    pub(super) code_points: &'a [u32],
}

impl Span<'_> {
    fn len(&self) -> usize {
        self.code_points.len()
    }

    fn at(&self, pos: usize) -> Option<u32> {
        self.code_points.get(pos).copied()
    }

    fn is(&self, pos: usize, c: char) -> bool {
        self.at(pos) == Some(c.into())
    }

    fn newline(&self, pos: usize) -> bool {
        self.is(pos, '\r') || self.is(pos, '\n')
    }

    /// Properties; none past the end.
    fn flags(&self, pos: usize) -> Flags {
        self.at(pos).map_or(Flags::default(), flags_of)
    }

    fn any(&self, pos: usize, bits: u16) -> bool {
        self.flags(pos).any(bits)
    }

    /// First position from `pos` on that has none of the bits.
    fn skip(&self, mut pos: usize, bits: u16) -> usize {
        while self.any(pos, bits) {
            pos += 1;
        }
        pos
    }

    /// First position from `pos` on that has one of the bits or is the end.
    fn skip_others(&self, mut pos: usize, bits: u16) -> usize {
        while pos < self.len() && !self.any(pos, bits) {
            pos += 1;
        }
        pos
    }

    fn skip_newlines(&self, mut pos: usize) -> usize {
        while self.newline(pos) {
            pos += 1;
        }
        pos
    }

    /// End of an English contraction that starts at `pos`: 's 't 'm 'd 're 've 'll.
    fn contraction(&self, pos: usize, any_case: bool) -> Option<usize> {
        if !self.is(pos, '\'') {
            return None;
        }
        let letter = |at: usize| {
            let c = self.at(at)?;
            char::from_u32(if any_case { to_lower(c) } else { c })
        };
        match (letter(pos + 1)?, letter(pos + 2)) {
            ('s' | 't' | 'm' | 'd', _) => Some(pos + 2),
            ('r' | 'v', Some('e')) | ('l', Some('l')) => Some(pos + 3),
            _ => None,
        }
    }

    /// End of a run of white space that leaves its last character to the word that follows.
    fn space_before_word(&self, pos: usize) -> usize {
        let end = self.skip(pos, Flags::SPACE);
        if end - pos > 1 && end < self.len() {
            end - 1
        } else {
            end
        }
    }

    /// The same, but a run with line breaks ends after the last of them.
    fn space(&self, pos: usize) -> usize {
        let end = self.skip(pos, Flags::SPACE);
        match (pos..end).rev().find(|&at| self.newline(at)) {
            Some(last) => last + 1,
            None => self.space_before_word(pos),
        }
    }
}

const WORDS: u16 = Flags::SPACE | Flags::LETTER | Flags::NUMBER;

/// GPT-2: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
pub(super) fn gpt2(text: Span<'_>, pos: usize) -> usize {
    if let Some(end) = text.contraction(pos, false) {
        return end;
    }
    let start = pos + usize::from(text.is(pos, ' '));
    if text.any(start, Flags::LETTER) {
        return text.skip(start, Flags::LETTER);
    }
    if text.any(start, Flags::NUMBER) {
        return text.skip(start, Flags::NUMBER);
    }
    if text.flags(start).exists() && !text.any(start, WORDS) {
        return text.skip_others(start, WORDS);
    }
    text.space_before_word(pos).max(pos + 1)
}

/// Llama 3 and Qwen: contractions in any case, one leading character joins a word, numbers in groups of
/// at most `digits`, line breaks stay with what precedes them. `letters` are the bits of a word's letters.
pub(super) fn modern(text: Span<'_>, pos: usize, digits: usize, letters: u16) -> usize {
    if let Some(end) = text.contraction(pos, true) {
        return end;
    }
    if !text.newline(pos)
        && !text.any(pos, Flags::NUMBER)
        && (text.any(pos, letters) || text.any(pos + 1, letters))
    {
        return text.skip(pos + 1, letters);
    }
    if text.any(pos, Flags::NUMBER) {
        return text.skip(pos, Flags::NUMBER).min(pos + digits);
    }
    let others = Flags::SPACE | Flags::NUMBER | letters;
    let start = pos + usize::from(text.is(pos, ' '));
    if text.flags(start).exists() && !text.any(start, others) {
        return text.skip_newlines(text.skip_others(start, others));
    }
    text.space(pos).max(pos + 1)
}

/// Kimi K2: runs of Han characters stand alone, words take a contraction along.
pub(super) fn kimi(text: Span<'_>, pos: usize) -> usize {
    let han = |at: usize| text.at(at).is_some_and(is_han);
    let letter = |at: usize| text.any(at, Flags::LETTER) && !han(at);
    let run = |mut at: usize, class: &dyn Fn(usize) -> bool| {
        while class(at) {
            at += 1;
        }
        at
    };
    if han(pos) {
        return run(pos, &han);
    }
    let may_lead = !text.newline(pos) && !text.any(pos, Flags::LETTER | Flags::NUMBER);
    if letter(pos) || (may_lead && letter(pos + 1)) {
        let end = run(pos + 1, &letter);
        return text.contraction(end, true).unwrap_or(end);
    }
    if text.any(pos, Flags::NUMBER) {
        return text.skip(pos, Flags::NUMBER).min(pos + 3);
    }
    let start = pos + usize::from(text.is(pos, ' '));
    if text.flags(start).exists() && !text.any(start, WORDS) {
        return text.skip_newlines(text.skip_others(start, WORDS));
    }
    text.space(pos).max(pos + 1)
}

/// Lines and runs of line feeds.
pub(super) fn lines(text: Span<'_>, pos: usize) -> usize {
    let feed = text.is(pos, '\n');
    let rest = text.code_points[pos..].iter();
    pos + rest.take_while(|&&c| (c == u32::from('\n')) == feed).count()
}

/// Numbers in groups of three counted from their end. What precedes a number stays with its first group.
pub(super) fn digit_groups(text: Span<'_>, pos: usize) -> usize {
    let start = text.skip_others(pos, Flags::NUMBER);
    let end = text.skip(start, Flags::NUMBER);
    match (end - start) % 3 {
        0 => end.min(start + 3),
        rest => start + rest,
    }
}

/// Cuts wherever a multiple of three ASCII digits remains of a run: `(?=(\d{3})+(?!\d))`
pub(super) fn thousands(text: Span<'_>, pos: usize) -> usize {
    let digit = |at: usize| text.at(at).is_some_and(|c| (0x30..=0x39).contains(&c));
    let run_end = |mut at: usize| {
        while digit(at) {
            at += 1;
        }
        at
    };
    let mut at = pos;
    loop {
        let end = run_end(at);
        let first_cut = at + (end - at) % 3;
        if first_cut > pos && first_cut < end {
            return first_cut;
        }
        if first_cut == pos && first_cut + 3 < end {
            return first_cut + 3;
        }
        at = end;
        while at < text.len() && !digit(at) {
            at += 1;
        }
        if at == text.len() {
            return at;
        }
    }
}

/// Runs of one of several classes of spelled-out characters, with an optional leading space.
#[derive(Clone, Copy)]
pub(super) struct Runs {
    pub(super) lead: Lead,
    pub(super) classes: &'static [&'static [(u32, u32)]],
    /// Take everything but the classes and white space.
    pub(super) negated: bool,
}

/// Character that may precede a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    Nothing,
    Space,
    AnySpace,
}

impl Runs {
    pub(super) const fn of(classes: &'static [&'static [(u32, u32)]]) -> Self {
        Self {
            lead: Lead::Nothing,
            classes,
            negated: false,
        }
    }

    /// The piece at `pos`: a run, or what lies before the next one.
    pub(super) fn next(&self, text: Span<'_>, pos: usize) -> usize {
        if let Some(end) = self.run(text, pos) {
            return end;
        }
        (pos + 1..text.len())
            .find(|&at| self.run_starts(text, at))
            .unwrap_or(text.len())
    }

    fn class_at(&self, text: Span<'_>, pos: usize) -> Option<usize> {
        let c = text.at(pos)?;
        if text.any(pos, Flags::SPACE) {
            return None;
        }
        let found = self.classes.iter().position(|class| classes::contains(class, c));
        if self.negated {
            found.is_none().then_some(0)
        } else {
            found
        }
    }

    fn led(&self, text: Span<'_>, pos: usize) -> bool {
        match self.lead {
            Lead::Nothing => false,
            Lead::Space => text.is(pos, ' '),
            Lead::AnySpace => text.any(pos, Flags::SPACE),
        }
    }

    fn run_starts(&self, text: Span<'_>, pos: usize) -> bool {
        self.class_at(text, pos + usize::from(self.led(text, pos)))
            .is_some()
    }

    fn run(&self, text: Span<'_>, pos: usize) -> Option<usize> {
        let mut end = pos + usize::from(self.led(text, pos));
        let class = self.class_at(text, end)?;
        while self.class_at(text, end) == Some(class) {
            end += 1;
        }
        Some(end)
    }
}
