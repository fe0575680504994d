//! `tokenizer.model`: the protocol buffer that SentencePiece writes.
//!
//! Field numbers are those of `sentencepiece_model.proto`. Only the wire format is understood here,
//! and only as much of it as such files use; unknown fields are skipped.

/// Kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tokenizer) enum PieceType {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::tokenizer) struct Piece {
    pub(in crate::tokenizer) text: String,
    pub(in crate::tokenizer) score: f32,
    pub(in crate::tokenizer) kind: PieceType,
}

/// A file that is not a SentencePiece model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SentencePiece model: at byte {offset}: {message}")]
pub(in crate::tokenizer) struct ProtoError {
    offset: usize,
    message: String,
}

/// The tokens of a model, in the order of their ids. No more than `limit` are read.
pub(in crate::tokenizer) fn pieces(bytes: &[u8], limit: usize) -> Result<Vec<Piece>, ProtoError> {
    let mut fields = Fields::new(bytes, 0);
    let mut pieces = Vec::new();
    while let Some(field) = fields.next()? {
        if let (1, Payload::Bytes(piece)) = (field.number, &field.payload) {
            if pieces.len() == limit {
                return Err(field.error(format!("expected at most {limit} tokens, found more")));
            }
            pieces.push(read_piece(piece, field.offset)?);
        }
    }
    if pieces.is_empty() {
        return Err(ProtoError {
            offset: bytes.len(),
            message: "expected tokens, found none".into(),
        });
    }
    Ok(pieces)
}

/// Algorithm of a model: `trainer_spec.model_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tokenizer) enum Algorithm {
    Unigram,
    PairMerges,
    Other,
}

/// Normalization of a text before it is split: `normalizer_spec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tokenizer) struct Normalizer {
    pub(in crate::tokenizer) charsmap: Vec<u8>,
    pub(in crate::tokenizer) add_dummy_prefix: bool,
    pub(in crate::tokenizer) remove_extra_whitespaces: bool,
}

/// The algorithm of a model, which is the unigram one unless it says otherwise.
pub(in crate::tokenizer) fn algorithm(bytes: &[u8]) -> Result<Algorithm, ProtoError> {
    let mut algorithm = Algorithm::Unigram;
    inside(bytes, 2, |field| {
        if let (3, Payload::Varint(kind)) = (field.number, &field.payload) {
            algorithm = match kind {
                1 => Algorithm::Unigram,
                2 => Algorithm::PairMerges,
                _ => Algorithm::Other,
            };
        }
    })?;
    Ok(algorithm)
}

/// The pieces that stand for the unknown, bound a text and fill, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tokenizer) struct BoundPieces {
    pub(in crate::tokenizer) unknown: String,
    pub(in crate::tokenizer) begin: String,
    pub(in crate::tokenizer) end: String,
    pub(in crate::tokenizer) padding: String,
}

impl Default for BoundPieces {
    fn default() -> Self {
        Self {
            unknown: "<unk>".to_owned(),
            begin: "<s>".to_owned(),
            end: "</s>".to_owned(),
            padding: "<pad>".to_owned(),
        }
    }
}

/// The names of those pieces, as the model's training had them.
pub(in crate::tokenizer) fn bound_pieces(bytes: &[u8]) -> Result<BoundPieces, ProtoError> {
    let mut found = BoundPieces::default();
    inside(bytes, 2, |field| {
        if let Payload::Bytes(text) = field.payload
            && let Ok(text) = std::str::from_utf8(text)
        {
            match field.number {
                45 => text.clone_into(&mut found.unknown),
                46 => text.clone_into(&mut found.begin),
                47 => text.clone_into(&mut found.end),
                48 => text.clone_into(&mut found.padding),
                _ => {}
            }
        }
    })?;
    Ok(found)
}

/// The normalization of a model. Both switches are on unless they are set.
pub(in crate::tokenizer) fn normalizer(bytes: &[u8]) -> Result<Normalizer, ProtoError> {
    let mut found = Normalizer {
        charsmap: Vec::new(),
        add_dummy_prefix: true,
        remove_extra_whitespaces: true,
    };
    inside(bytes, 3, |field| match (field.number, &field.payload) {
        (2, Payload::Bytes(map)) => found.charsmap = map.to_vec(),
        (3, Payload::Varint(value)) => found.add_dummy_prefix = *value != 0,
        (4, Payload::Varint(value)) => found.remove_extra_whitespaces = *value != 0,
        _ => {}
    })?;
    Ok(found)
}

/// Visits the fields of every message that is field `number` of the model.
fn inside(bytes: &[u8], number: u64, mut visit: impl FnMut(&Field<'_>)) -> Result<(), ProtoError> {
    let mut fields = Fields::new(bytes, 0);
    while let Some(field) = fields.next()? {
        if field.number != number {
            continue;
        }
        if let Payload::Bytes(message) = field.payload {
            let mut inner = Fields::new(message, field.offset);
            while let Some(field) = inner.next()? {
                visit(&field);
            }
        }
    }
    Ok(())
}

fn read_piece(bytes: &[u8], offset: usize) -> Result<Piece, ProtoError> {
    let mut piece = Piece {
        text: String::new(),
        score: 0.0,
        kind: PieceType::Normal,
    };
    let mut fields = Fields::new(bytes, offset);
    while let Some(field) = fields.next()? {
        match (field.number, &field.payload) {
            (1, Payload::Bytes(text)) => {
                let text = std::str::from_utf8(text)
                    .map_err(|_| field.error("expected a token in UTF-8, found other bytes".into()))?;
                piece.text = text.to_owned();
            }
            (2, Payload::Fixed32(bits)) => piece.score = f32::from_bits(*bits),
            (3, Payload::Varint(kind)) => {
                piece.kind = match kind {
                    1 => PieceType::Normal,
                    2 => PieceType::Unknown,
                    3 => PieceType::Control,
                    4 => PieceType::UserDefined,
                    5 => PieceType::Unused,
                    6 => PieceType::Byte,
                    _ => return Err(field.error(format!("expected a token type of 1 to 6, found {kind}"))),
                }
            }
            _ => {}
        }
    }
    Ok(piece)
}

/// The fields of one message.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Start of the message in the file, for error texts.
    base: usize,
}

struct Field<'a> {
    number: u64,
    payload: Payload<'a>,
    offset: usize,
}

enum Payload<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl Field<'_> {
    fn error(&self, message: String) -> ProtoError {
        ProtoError {
            offset: self.offset,
            message,
        }
    }
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8], base: usize) -> Self {
        Self { bytes, at: 0, base }
    }

    fn error(&self, message: impl Into<String>) -> ProtoError {
        ProtoError {
            offset: self.base + self.at,
            message: message.into(),
        }
    }

    fn next(&mut self) -> Result<Option<Field<'a>>, ProtoError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let payload = match tag & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Payload::Fixed64
            }
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len)
                    .map_err(|_| self.error("expected a smaller length, found one that does not fit"))?;
                let start = self.at;
                return Ok(Some(Field {
                    number: tag >> 3,
                    payload: Payload::Bytes(self.take(len)?),
                    offset: self.base + start,
                }));
            }
            5 => {
                let bytes = self.take(4)?;
                Payload::Fixed32(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
            wire => return Err(self.error(format!("expected a wire type of 0, 1, 2 or 5, found {wire}"))),
        };
        Ok(Some(Field {
            number: tag >> 3,
            payload,
            offset: self.base + self.at,
        }))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], ProtoError> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..len) else {
            return Err(self.error(format!("expected {len} bytes, found {}", rest.len())));
        };
        self.at += len;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, ProtoError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(self.error("expected a number of 64 bits, found a longer one"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error("expected a number of at most 10 bytes, found a longer one"))
    }
}
