//! RWKV World: the longest token at every position, over byte strings.

use super::trie::Trie;
use super::vocab::Vocab;

/// The byte strings of one vocabulary.
pub(super) struct Rwkv {
    tokens: Trie,
}

impl Rwkv {
    pub(super) fn new(vocab: &Vocab) -> Self {
        let keys = vocab
            .tokens
            .iter()
            .enumerate()
            .map(|(id, token)| (unescape(&token.text), id as u32));
        Self {
            tokens: Trie::new(keys),
        }
    }

    /// Tokens of a stretch of text. A byte that starts no token becomes the unknown token, where there
    /// is one.
    pub(super) fn encode(&self, vocab: &Vocab, mut text: &[u8], out: &mut Vec<u32>) {
        while !text.is_empty() {
            let (len, id) = match self.tokens.prefixes(text).last() {
                Some((len, id)) => (len, Some(id)),
                None => (1, vocab.special.unk),
            };
            out.extend(id);
            text = &text[len..];
        }
    }
}

/// The bytes that an escaped token text means: `\n`, `\xff`, and any other escaped character itself.
pub(super) fn unescape(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'a'.. => byte - b'a' + 10,
        _ => byte.wrapping_sub(b'0'),
    };
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b't') => out.push(b'\t'),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b'x') => {
                if let (Some(high), Some(low)) = (bytes.next(), bytes.next()) {
                    out.push((digit(high) << 4).wrapping_add(digit(low)));
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_stand_for_bytes() {
        assert_eq!(unescape(br"a\n\xe4\\\x0"), b"a\n\xe4\\");
    }
}
