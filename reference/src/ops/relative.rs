//! T5's relative positions: a number for each head and each bucket of distances, added to the scores ("Exploring the
//! Limits of Transfer Learning with a Unified Text-to-Text Transformer", 2020).

/// Distance from which on all fall into the last bucket. No key of a file gives it; llama.cpp has this one.
const FURTHEST: usize = 128;

/// The biases that are added to the scores of each head.
#[derive(Debug, PartialEq)]
pub(crate) struct RelativeBias {
    /// For each head the biases of keys from [`FURTHEST`] before the query to as many behind it.
    biases: Vec<f32>,
}

/// Keys of which the biases differ.
const SPAN: usize = 2 * FURTHEST + 1;

impl RelativeBias {
    /// The numbers of buckets that there can be: at least one for near keys and one for far ones on each side, and
    /// fewer near ones than [`FURTHEST`].
    pub(crate) fn buckets(both_sides: bool) -> std::ops::RangeInclusive<usize> {
        match both_sides {
            true => 4..=4 * FURTHEST - 1,
            false => 2..=2 * FURTHEST - 1,
        }
    }

    /// `table` has a row for each bucket, as many as [`Self::buckets`] allows, with a number for each head. Where queries
    /// see keys on both sides, half of the buckets are for those behind.
    pub(crate) fn new(table: &[f32], buckets: usize, both_sides: bool) -> Self {
        let heads = table.len() / buckets;
        let mut biases = Vec::with_capacity(heads * SPAN);
        for head in 0..heads {
            biases.extend((0..SPAN).map(|at| {
                let relative = at as isize - FURTHEST as isize;
                table[bucket(relative, buckets, both_sides) * heads + head]
            }));
        }
        Self { biases }
    }

    /// Adds the biases of one head to the scores of a query for the keys from `first_key` on.
    pub(crate) fn add_to(&self, scores: &mut [f32], query: usize, first_key: usize, head: usize) {
        let biases = &self.biases[head * SPAN..][..SPAN];
        let end = first_key + scores.len();
        let place = |key: usize| key.clamp(first_key, end) - first_key;
        let near = place(query.saturating_sub(FURTHEST))..place(query + FURTHEST + 1);
        scores[..near.start]
            .iter_mut()
            .for_each(|score| *score += biases[0]);
        scores[near.end..]
            .iter_mut()
            .for_each(|score| *score += biases[SPAN - 1]);
        if near.is_empty() {
            return;
        }
        let biases = &biases[first_key + near.start + FURTHEST - query..];
        for (score, bias) in scores[near].iter_mut().zip(biases) {
            *score += bias;
        }
    }
}

/// The bucket of a key that lies `relative` positions behind the query: one for each distance up to half of the buckets,
/// then ones that grow with the distance.
fn bucket(relative: isize, buckets: usize, both_sides: bool) -> usize {
    let (buckets, first, distance) = match both_sides {
        true => {
            let side = buckets / 2;
            (side, if relative > 0 { side } else { 0 }, relative.unsigned_abs())
        }
        false => (buckets, 0, relative.min(0).unsigned_abs()),
    };
    let near = buckets / 2;
    if distance < near {
        return first + distance;
    }
    // The mixture of precisions is llama.cpp's.
    let logarithm = (distance as f64 / near as f64) as f32;
    let share = f64::from(logarithm.ln() * (buckets - near) as f32) / (FURTHEST as f64 / near as f64).ln();
    let far = (near as f64 + share) as f32;
    first + (far.floor() as usize).min(buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published buckets, 32 of them: by hand from the formula, and at the powers of two where it is a whole number.
    #[test]
    fn buckets_are_those_of_the_paper() {
        let both = |relative| bucket(relative, 32, true);
        assert_eq!([0, -1, -7, -8, -11, -12].map(both), [0, 1, 7, 8, 8, 9]);
        assert_eq!(
            [-15, -16, -31, -32, -63, -64, -127, -128, -9999].map(both),
            [9, 10, 11, 12, 13, 14, 15, 15, 15]
        );
        assert_eq!([1, 8, 16, 128].map(both), [17, 24, 26, 31]);
        let before = |relative| bucket(relative, 32, false);
        assert_eq!(
            [5, 0, -1, -15, -16, -18, -19, -113, -500].map(before),
            [0, 0, 1, 15, 16, 16, 17, 31, 31]
        );
    }

    #[test]
    fn each_head_has_biases_of_its_own() {
        let table: Vec<f32> = (0..8).map(|i| i as f32).collect();
        let bias = RelativeBias::new(&table, 4, true);
        let mut scores = [0.0; 5];
        bias.add_to(&mut scores, 12, 10, 1);
        // Of four buckets: the key itself, those before, none, those behind.
        assert_eq!(scores, [3.0, 3.0, 1.0, 7.0, 7.0]);
        for (query, first_key) in [(5000, 3), (200, 0), (130, 0), (0, 0), (300, 290), (3, 600)] {
            let mut far = [0.0; 300];
            bias.add_to(&mut far, query, first_key, 0);
            for (score, key) in far.iter().zip(first_key as isize..) {
                let expected = table[2 * bucket(key - query as isize, 4, true)];
                assert_eq!(*score, expected, "{query} {key}");
            }
        }
    }
}
