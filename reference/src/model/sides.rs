//! Models of two texts: an encoder reads one, and a decoder that sees what it makes goes on with the other.

use std::ops::Range;

use crate::layers::CrossAttention;
use crate::ops::Norm;
use crate::run::Rows;

/// The tokens that the two texts have beside those of a window.
///
/// The encoder reads a window's tokens up to the one after its middle, the decoder has the others by teacher forcing: these are
/// those that perplexity scores. So the logits at a position are of the token after it, as they are of other models, and
/// positions before the middle have none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides {
    /// The first token of the decoder's text.
    pub(crate) start: Option<u32>,
    /// The last token of the encoder's text, where the tokenizer ends texts with one.
    pub(crate) end: Option<u32>,
}

/// Windows, with the positions that are wanted of each.
type Windows = Vec<(Vec<u32>, Range<usize>)>;

impl Sides {
    /// The first position of a window of so many tokens that has logits.
    pub(crate) fn first_predicting(window: usize) -> usize {
        window / 2
    }

    /// The encoder's windows and the decoder's, which begin with `start`.
    pub(crate) fn divide(&self, start: u32, windows: &[(&[u32], Range<usize>)]) -> (Windows, Windows) {
        let (mut encoded, mut decoded) = (Windows::new(), Windows::new());
        for (window, wanted) in windows.iter().filter(|(window, _)| !window.is_empty()) {
            let first = Self::first_predicting(window.len());
            let (before, after) = window.split_at(first + 1);
            encoded.push((before.iter().copied().chain(self.end).collect(), 0..0));
            let at = |position: usize| position.saturating_sub(first);
            let tokens = std::iter::once(start).chain(after.iter().copied());
            decoded.push((tokens.collect(), at(wanted.start)..at(wanted.end)));
        }
        (encoded, decoded)
    }
}

/// The rows of such windows.
pub(super) fn rows(windows: &[(Vec<u32>, Range<usize>)]) -> Rows {
    let views: Vec<(&[u32], Range<usize>)> = windows
        .iter()
        .map(|(tokens, wanted)| (tokens.as_slice(), wanted.clone()))
        .collect();
    Rows::new(&views)
}

/// A decoder layer's part that sees what the encoder made.
#[derive(Debug)]
pub(crate) struct Across {
    pub(crate) norm: Norm,
    pub(crate) attention: CrossAttention,
    /// The norm behind the encoder's last layer, in the decoder's first: from here on it is the decoder's text.
    pub(crate) turns: Option<Norm>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decoder_is_given_what_is_scored() {
        let sides = Sides {
            start: Some(0),
            end: Some(1),
        };
        let window: Vec<u32> = (10..18).collect();
        // Perplexity scores the tokens after position 4, which are predicted from there on.
        let (encoded, decoded) = sides.divide(0, &[(&window, 4..7), (&[], 0..7), (&window[..3], 0..9)]);
        assert_eq!(
            encoded,
            [(vec![10, 11, 12, 13, 14, 1], 0..0), (vec![10, 11, 1], 0..0)]
        );
        assert_eq!(decoded, [(vec![0, 15, 16, 17], 0..3), (vec![0, 12], 0..8)]);
        let (encoded, decoded) = Sides { end: None, ..sides }.divide(0, &[(&[5], 0..1)]);
        assert_eq!(
            (encoded[0].0.as_slice(), decoded[0].0.as_slice()),
            (&[5][..], &[0][..])
        );
    }
}
