//! `tokenizer.model`: SentencePiece's protocol buffer, of the fields that its readers need.

/// A token.
pub(super) struct Piece<'a> {
    pub(super) text: &'a [u8],
    pub(super) score: f32,
    /// SentencePiece's type, which is also GGUF's.
    pub(super) kind: u64,
}

/// Token ids that a model names, -1 for none.
pub(super) struct Ids {
    pub(super) unknown: i64,
    pub(super) bos: i64,
    pub(super) eos: i64,
    pub(super) pad: i64,
}

const BYTE: u64 = 6;

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(field: u64, value: u64, out: &mut Vec<u8>) {
    varint(field << 3, out);
    varint(value, out);
}

fn bytes(field: u64, value: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// The file of a BPE model.
pub(super) fn model(pieces: &[Piece<'_>], ids: &Ids, add_dummy_prefix: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut item = Vec::new();
    for piece in pieces {
        item.clear();
        bytes(1, piece.text, &mut item);
        varint(2 << 3 | 5, &mut item);
        item.extend(piece.score.to_le_bytes());
        number(3, piece.kind, &mut item);
        bytes(1, &item, &mut out);
    }
    let mut trainer = Vec::new();
    // BPE
    number(3, 2, &mut trainer);
    number(4, pieces.len() as u64, &mut trainer);
    number(35, pieces.iter().any(|p| p.kind == BYTE).into(), &mut trainer);
    for (field, id) in [(40, ids.unknown), (41, ids.bos), (42, ids.eos), (43, ids.pad)] {
        // Negative numbers are written as their two's complement.
        number(field, id as u64, &mut trainer);
    }
    bytes(2, &trainer, &mut out);
    let mut normalizer = Vec::new();
    bytes(1, b"identity", &mut normalizer);
    number(3, add_dummy_prefix.into(), &mut normalizer);
    number(4, 0, &mut normalizer);
    number(5, 1, &mut normalizer);
    bytes(3, &normalizer, &mut out);
    out
}
