//! From tokens back to text.

use super::vocab::{TokenizerKind, Vocab, attribute};
use super::{rwkv, unicode};

const ESCAPED_SPACE: &[u8] = "▁".as_bytes();

/// The bytes that a token stands for; special tokens show their text.
pub(super) fn piece(vocab: &Vocab, id: u32) -> Vec<u8> {
    let Some(token) = vocab.token(id) else {
        return Vec::new();
    };
    let shown = attribute::UNKNOWN | attribute::CONTROL | attribute::USER_DEFINED;
    match vocab.kind {
        TokenizerKind::Rwkv => rwkv::unescape(&token.text),
        TokenizerKind::Plamo2 => match byte_of(&token.text) {
            Some(byte) if token.has(attribute::BYTE) => vec![byte],
            _ => token.text.clone(),
        },
        _ if token.has(shown) => token.text.clone(),
        kind if token.has(attribute::NORMAL) => {
            if kind == TokenizerKind::BytePair && !vocab.flags.escape_spaces {
                unspell(&token.text)
            } else {
                unescape_spaces(&token.text)
            }
        }
        _ if token.has(attribute::BYTE) => byte_of(&token.text).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The byte of a token text like `<0x0A>`.
fn byte_of(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    if digits.len() != 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Replaces escaped spaces by spaces.
fn unescape_spaces(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(&byte) = rest.first() {
        if let Some(after) = rest.strip_prefix(ESCAPED_SPACE) {
            out.push(b' ');
            rest = after;
        } else {
            out.push(byte);
            rest = &rest[1..];
        }
    }
    out
}

/// Replaces GPT-2's stand-ins by their bytes, and names what is none.
fn unspell(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for code_point in unicode::decode(text) {
        match unicode::char_to_byte(code_point) {
            Some(byte) => out.push(byte),
            None => {
                let mut utf8 = Vec::new();
                unicode::encode(code_point, &mut utf8);
                out.extend_from_slice(b"[UNK_BYTE_0x");
                out.extend(utf8.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()));
                out.extend_from_slice(text);
                out.push(b']');
            }
        }
    }
    out
}

/// Removes the spaces that tokenizing left before punctuation and contractions.
pub(super) fn clean_spaces(text: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    for (i, &byte) in text.iter().enumerate() {
        if i > 0 && text[i - 1] == b' ' && matches!(byte, b'?' | b'!' | b'.' | b',') {
            out.pop();
        }
        out.push(byte);
    }
    let text = out;
    let mut out = Vec::with_capacity(text.len());
    let mut i = 0;
    while i < text.len() {
        // An apostrophe between spaces; the one after it is dropped like the one before.
        if i > 0 && text[i] == b'\'' && text[i - 1] == b' ' && text.get(i + 1) == Some(&b' ') {
            out.pop();
            out.push(b'\'');
            i += 2;
            // The dropped space does not count as one for what follows.
            if i < text.len() {
                out.push(text[i]);
                i += 1;
            }
            continue;
        }
        out.push(text[i]);
        i += 1;
    }
    let text = out;
    let mut out = Vec::with_capacity(text.len());
    for (i, &byte) in text.iter().enumerate() {
        if i > 0 && byte == b'\'' && text[i - 1] == b' ' {
            let joins = matches!(
                (text.get(i + 1), text.get(i + 2)),
                (Some(b's' | b'm'), _) | (Some(b'r' | b'v'), Some(b'e'))
            );
            if joins {
                out.pop();
            }
        }
        out.push(byte);
    }
    out
}
