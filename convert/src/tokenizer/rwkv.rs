//! RWKV's World vocabulary: on each line an id, the token as a Python literal (of text, or of bytes where it is no
//! text), and its length in bytes. GGUF has the bytes as Python prints them.

use std::path::Path;

use gguf::Metadata;

use super::files::{MAX_TOKENS, SIZE_KEYS, VocabFiles, text_optional};
use super::kind::VocabKind;
use super::special::SpecialVocab;
use super::tokens::{TokenList, TokenType, padding_text};
use super::vocabulary::Vocabulary;
use crate::{Error, Result};

/// The file's name.
pub(super) const FILE: &str = "rwkv_vocab_v20230424.txt";
/// Largest file that is read. The published one has 1.1 MB.
const MAX_BYTES: u64 = 16 << 20;
/// The size of a vocabulary where the configuration does not say.
const DEFAULT_SIZE: usize = 65536;
/// The id of two line breaks, which end a turn of a chat.
const END_OF_TURN: u64 = 261;

/// The bytes of a Python literal; `None` when it is none.
fn literal(text: &str) -> Option<Vec<u8>> {
    let (is_bytes, text) = match text.strip_prefix('b') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = text[1..].strip_suffix(quote)?;
    let mut out = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let code = match c {
            '\\' => escaped(&mut chars, is_bytes)?,
            _ if c == quote || c == '\n' || (is_bytes && !c.is_ascii()) => return None,
            _ => u32::from(c),
        };
        match is_bytes {
            true => out.push(u8::try_from(code).ok()?),
            false => out.extend(char::from_u32(code)?.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    Some(out)
}

/// Escape sequence after a backslash.
fn escaped(chars: &mut std::str::Chars<'_>, is_bytes: bool) -> Option<u32> {
    Some(match chars.next()? {
        'x' => hexadecimal(chars, 2)?,
        'u' if !is_bytes => hexadecimal(chars, 4)?,
        'U' if !is_bytes => hexadecimal(chars, 8)?,
        'n' => 10,
        'r' => 13,
        't' => 9,
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'v' => 11,
        '0' => 0,
        same @ ('\\' | '\'' | '"') => u32::from(same),
        _ => return None,
    })
}

fn hexadecimal(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<u32> {
    let text: String = chars.by_ref().take(digits).collect();
    let all = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    u32::from_str_radix(&text, 16).ok().filter(|_| all)
}

/// Bytes as Python prints them, without the quotes.
fn printed(bytes: &[u8]) -> String {
    let quote = match bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        true => b'"',
        false => b'\'',
    };
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ if byte == quote || byte == b'\\' => out.extend(['\\', char::from(byte)]),
            0x20..=0x7E => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

/// The texts of the tokens from id 1 on.
fn tokens(path: &Path) -> Result<Vec<String>> {
    let text = text_optional(path, MAX_BYTES)?
        .ok_or_else(|| Error::input(path, "expected this file, found none"))?;
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let error = |message: &str| Error::input(path, format!("line {}: {message}", number + 1));
        let expected = || error("expected an id, a token as a Python literal, and its length in bytes");
        let (id, rest) = line.split_once(' ').ok_or_else(expected)?;
        let (token, length) = rest.rsplit_once(' ').ok_or_else(expected)?;
        let bytes = literal(token).ok_or_else(expected)?;
        if length.parse() != Ok(bytes.len()) {
            let found = bytes.len();
            return Err(error(&format!("expected {length} bytes, found {found}")));
        }
        if id.parse() != Ok(number + 1) || number + 1 >= MAX_TOKENS {
            return Err(error(&format!(
                "expected the id of the line, below {MAX_TOKENS}, found {id}"
            )));
        }
        tokens.push(printed(&bytes));
    }
    Ok(tokens)
}

/// Reads the vocabulary.
pub(super) fn vocabulary(files: &VocabFiles, mut metadata: Metadata) -> Result<Vocabulary> {
    let path = files.dir.join(FILE);
    let tokens = tokens(&path)?;
    let own = tokens.len() + 1;
    let n_vocab = files.vocab_size(SIZE_KEYS, own)?.unwrap_or(DEFAULT_SIZE);
    if own > n_vocab {
        let n = tokens.len();
        let message = format!("expected at most {n_vocab} tokens, found {n} and one for the end");
        return Err(files.misfit(FILE, SIZE_KEYS, own, &message));
    }
    let mut list = TokenList {
        texts: vec!["<s>".to_owned()],
        types: vec![TokenType::Control],
        scores: None,
    };
    list.types.resize(tokens.len() + 1, TokenType::Normal);
    list.texts.extend(tokens);
    list.texts.extend((list.texts.len()..n_vocab).map(padding_text));
    list.types.resize(n_vocab, TokenType::Unused);
    metadata.set_in_place("tokenizer.ggml.model", "rwkv");
    list.write(&mut metadata);
    let mut special = SpecialVocab::read(files, false, None, None)?;
    special.set_default_template("rwkv-world");
    special.set_id("eot", END_OF_TURN);
    // Configurations have these wrong.
    special.replace_id("bos", 0);
    special.replace_id("eos", 0);
    special.write(&mut metadata);
    Ok(Vocabulary {
        warnings: special.warnings,
        ..Vocabulary::new(VocabKind::Rwkv, metadata, (n_vocab, own))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_those_of_python() {
        for (text, bytes) in [
            (r"'a'", &b"a"[..]),
            (r#""it's""#, b"it's"),
            (r"'\x00\n\\\''", b"\0\n\\'"),
            (r"'\u0416'", "Ж".as_bytes()),
            (r"'\U0001f600é'", "😀é".as_bytes()),
            (r"b'\xff\xe4 '", b"\xff\xe4 "),
            (r"'\x80'", "\u{80}".as_bytes()),
        ] {
            assert_eq!(literal(text).as_deref(), Some(bytes), "{text}");
        }
        for text in [
            "",
            "'",
            "a",
            "'a",
            "b'é'",
            r"'\x1'",
            r"'\u12'",
            r"'\q'",
            "'a'b'",
            r"b'\u0041'",
            r"'\ud800'",
            r"'\",
            r"'\x+1'",
            r"'\'",
        ] {
            assert_eq!(literal(text), None, "{text}");
        }
    }

    #[test]
    fn bytes_are_printed_as_python_prints_them() {
        assert_eq!(printed(b"a\\\n\x7f\xff"), r"a\\\n\x7f\xff");
        assert_eq!(printed(b"it's"), "it's");
        assert_eq!(printed(b"'\""), "\\'\"");
    }
}
