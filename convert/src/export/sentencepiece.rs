//! `tokenizer.model`: SentencePiece's protocol buffer, of the fields that its readers need.

use super::vocabulary::{CONTROL, UNKNOWN, Vocabulary};
use crate::tokenizer::NO_SCORE;

/// A token.
struct Piece<'a> {
    text: &'a [u8],
    score: f32,
    /// SentencePiece's type, which is also GGUF's.
    kind: u64,
}

/// Token ids that a model names, -1 for none.
struct Ids {
    unknown: i64,
    bos: i64,
    eos: i64,
    pad: i64,
}

/// The file of a vocabulary with these scores. Tokens that were added after the model's own are not in it.
pub(super) fn file(vocabulary: &Vocabulary<'_>, scores: &[f32]) -> Vec<u8> {
    let own = |id: &usize| {
        let added = vocabulary.is_added(*id) && scores[*id] == NO_SCORE;
        !added && !vocabulary.is_padding(*id)
    };
    let count = (0..scores.len()).rev().find(own).map_or(0, |id| id + 1);
    let mut pieces: Vec<Piece<'_>> = (0..count)
        .map(|id| Piece {
            text: &vocabulary.tokens[id].0,
            score: scores[id],
            kind: vocabulary.kinds[id],
        })
        .collect();
    let id = |kind: &str| vocabulary.special(kind).map_or(-1, |(id, _)| id as i64);
    // SentencePiece reads no model without an unknown token. Where another file has made it a control token, that
    // file does so again.
    let unknown = vocabulary.special("unk").map_or(0, |(id, _)| id);
    if pieces.iter().all(|p| p.kind != UNKNOWN)
        && let Some(piece) = pieces.get_mut(unknown)
        && piece.kind == CONTROL
        && piece.score == NO_SCORE
    {
        piece.kind = UNKNOWN;
    }
    let unknown = pieces.iter().position(|p| p.kind == UNKNOWN);
    let ids = Ids {
        unknown: unknown.map_or(0, |id| id as i64),
        bos: id("bos"),
        eos: id("eos"),
        pad: id("pad"),
    };
    let prefix = vocabulary.metadata.get_bool("tokenizer.ggml.add_space_prefix");
    model(&pieces, &ids, prefix.unwrap_or(true))
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
fn model(pieces: &[Piece<'_>], ids: &Ids, add_dummy_prefix: bool) -> Vec<u8> {
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
