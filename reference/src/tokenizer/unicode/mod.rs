//! Code points and their properties as llama.cpp's tokenizers see them.
//!
//! Token ids depend on the Unicode version and on how malformed UTF-8 is taken apart, so both follow
//! llama.cpp and not a Unicode library.

mod categories;
mod decomposition;
mod lowercase;

use std::sync::LazyLock;

/// U+FFFD, which stands for a byte that is not UTF-8.
pub(crate) const REPLACEMENT: u32 = 0xFFFD;
/// One past the last code point.
const CODE_POINTS: usize = 0x11_0000;

/// Property bits of a code point: one general category, and whether it is white space.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    pub(crate) const NUMBER: u16 = 0x02;
    pub(crate) const LETTER: u16 = 0x04;
    pub(crate) const MARK: u16 = 0x10;
    pub(crate) const PUNCTUATION: u16 = 0x20;
    pub(crate) const SYMBOL: u16 = 0x40;
    pub(crate) const CONTROL: u16 = 0x80;
    pub(crate) const SPACE: u16 = 0x100;
    const UNASSIGNED: u16 = 0x01;

    /// Whether any of the bits is set.
    pub(crate) fn any(self, bits: u16) -> bool {
        self.0 & bits != 0
    }

    /// Whether this is a code point at all, and not the end of the text.
    pub(crate) fn exists(self) -> bool {
        self.0 != 0
    }

    /// The bit of the general category.
    pub(crate) fn category(self) -> u16 {
        self.0 & 0xFF
    }
}

static FLAGS: LazyLock<Vec<u16>> = LazyLock::new(|| {
    let mut flags = vec![Flags::UNASSIGNED; CODE_POINTS];
    let ends = categories::RUNS[1..].iter().map(|&next| (next >> 8) as usize);
    for (&run, end) in categories::RUNS.iter().zip(ends.chain([CODE_POINTS])) {
        flags[(run >> 8) as usize..end].fill((run & 0xFF) as u16);
    }
    let spaces = (0x09..=0x0D)
        .chain([0x20, 0x85, 0xA0, 0x1680])
        .chain(0x2000..=0x200A);
    for space in spaces.chain([0x2028, 0x2029, 0x202F, 0x205F, 0x3000]) {
        flags[space] |= Flags::SPACE;
    }
    flags
});

/// Properties of a code point.
pub(crate) fn flags(code_point: u32) -> Flags {
    Flags(
        FLAGS
            .get(code_point as usize)
            .copied()
            .unwrap_or(Flags::UNASSIGNED),
    )
}

/// The small letter of a capital by the simple mapping; any other code point unchanged.
pub(crate) fn to_lower(code_point: u32) -> u32 {
    let after = lowercase::RUNS.partition_point(|run| run.0 <= code_point);
    if let Some(&(first, last, step, delta)) = lowercase::RUNS[..after].last()
        && code_point <= last
        && (code_point - first).is_multiple_of(step)
    {
        return code_point.wrapping_add_signed(delta);
    }
    code_point
}

/// The first code point of the canonical decomposition: the letter without its accents.
pub(crate) fn decomposed_base(code_point: u32) -> u32 {
    let after = decomposition::RANGES.partition_point(|range| range.0 <= code_point);
    match decomposition::RANGES[..after].last() {
        Some(&(_, last, base)) if code_point <= last => base,
        _ => code_point,
    }
}

/// Whether llama.cpp counts the code point as a Han character.
pub(crate) fn is_han(code_point: u32) -> bool {
    matches!(code_point,
        0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x2A6DF | 0x2A700..=0x2EBEF
        | 0x2F800..=0x2FA1F)
}

/// Length of the UTF-8 sequence that a byte starts, judged by its high bits alone.
pub(crate) fn sequence_len(first: u8) -> usize {
    match first >> 4 {
        0..=11 => 1,
        12 | 13 => 2,
        14 => 3,
        _ => 4,
    }
}

/// The code point at the start of the bytes and its length, or `None` where they start no sequence.
///
/// Overlong forms and surrogates decode to their value, as in llama.cpp. A value beyond U+10FFFF,
/// which llama.cpp cannot encode again and fails on, counts as malformed.
pub(crate) fn decode_first(bytes: &[u8]) -> Option<(u32, usize)> {
    let first = *bytes.first()?;
    let (len, mut value) = match first {
        0x00..=0x7F => return Some((first.into(), 1)),
        0xC0..=0xDF => (2, u32::from(first & 0x1F)),
        0xE0..=0xEF => (3, u32::from(first & 0x0F)),
        0xF0..=0xF7 => (4, u32::from(first & 0x07)),
        _ => return None,
    };
    for &byte in bytes.get(1..len)? {
        if byte & 0xC0 != 0x80 {
            return None;
        }
        value = value << 6 | u32::from(byte & 0x3F);
    }
    ((value as usize) < CODE_POINTS).then_some((value, len))
}

/// Code points of a text; every byte that starts no sequence becomes U+FFFD.
pub(crate) fn decode(mut bytes: &[u8]) -> Vec<u32> {
    let mut code_points = Vec::with_capacity(bytes.len());
    while !bytes.is_empty() {
        let (value, len) = decode_first(bytes).unwrap_or((REPLACEMENT, 1));
        code_points.push(value);
        bytes = &bytes[len..];
    }
    code_points
}

/// Appends the UTF-8 of a code point; surrogates too, in the three bytes their value takes.
pub(crate) fn encode(code_point: u32, out: &mut Vec<u8>) {
    let tail = |shift: u32| 0x80 | (code_point >> shift & 0x3F) as u8;
    match code_point {
        0..=0x7F => out.push(code_point as u8),
        0x80..=0x7FF => out.extend([0xC0 | (code_point >> 6) as u8, tail(0)]),
        0x800..=0xFFFF => out.extend([0xE0 | (code_point >> 12) as u8, tail(6), tail(0)]),
        _ => out.extend([0xF0 | (code_point >> 18 & 7) as u8, tail(12), tail(6), tail(0)]),
    }
}

/// Space characters of C's `isspace`.
pub(crate) fn is_ascii_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// GPT-2's printable stand-in for each byte.
pub(crate) static BYTE_TO_CHAR: LazyLock<[u32; 256]> = LazyLock::new(|| {
    let mut stand_in = 0x100;
    std::array::from_fn(|byte| match byte {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => byte as u32,
        _ => {
            stand_in += 1;
            stand_in - 1
        }
    })
});

/// The byte that a stand-in of [`BYTE_TO_CHAR`] means.
pub(crate) fn char_to_byte(code_point: u32) -> Option<u8> {
    match code_point {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(code_point as u8),
        0x100..=0x120 => Some((code_point - 0x100) as u8),
        0x121..=0x142 => Some((code_point - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_printable_stand_in() {
        for byte in 0..=255u8 {
            assert_eq!(char_to_byte(BYTE_TO_CHAR[usize::from(byte)]), Some(byte));
        }
        assert_eq!(char_to_byte(' '.into()), None);
        assert_eq!(char_to_byte(0x144), None);
    }

    #[test]
    fn malformed_utf8_is_taken_byte_by_byte() {
        assert_eq!(decode(b"a\xFFb"), [0x61, REPLACEMENT, 0x62]);
        assert_eq!(decode(b"\xE2\x82"), [REPLACEMENT; 2]);
        assert_eq!(decode(b"\xC0\x80"), [0]);
        assert_eq!(decode(b"\xED\xA0\x80"), [0xD800]);
        assert_eq!(decode(b"\xF4\x90\x80\x80"), [REPLACEMENT; 4]);
    }

    #[test]
    fn letters_lose_case_and_accents() {
        assert_eq!(to_lower('Ä'.into()), 'ä'.into());
        assert_eq!(to_lower('Ā'.into()), 'ā'.into());
        assert_eq!(to_lower('ā'.into()), 'ā'.into());
        assert_eq!(decomposed_base('é'.into()), 'e'.into());
        assert_eq!(decomposed_base('x'.into()), 'x'.into());
        assert!(flags('我'.into()).any(Flags::LETTER));
        assert!(flags(0x3000).any(Flags::SPACE));
        assert!(flags('٣'.into()).any(Flags::NUMBER));
    }
}
