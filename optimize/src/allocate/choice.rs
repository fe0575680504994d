//! The choice, and the cost of other choices.

use gguf::TensorType;

use super::{Cost, Solution, solve};

/// A tensor, and what each type of it costs.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name.
    pub tensor: String,
    /// Its weights.
    pub weights: u64,
    /// The types with their bytes in the file and their expected divergence.
    pub types: Vec<(TensorType, Cost)>,
}

/// The change from the chosen type to its neighbour.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// The type there.
    pub ty: TensorType,
    /// Bytes more, or fewer.
    pub bytes: i64,
    /// Expected divergence more, or less.
    pub loss: f64,
}

/// One tensor of a choice.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Chosen {
    /// Its name.
    pub tensor: String,
    /// Its weights.
    pub weights: u64,
    /// The type.
    pub ty: TensorType,
    /// Bytes and expected divergence.
    pub cost: Cost,
    /// The least change to a type with less divergence.
    pub up: Option<Step>,
    /// The least change to a type of fewer bytes.
    pub down: Option<Step>,
}

/// A type for every tensor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Choice {
    /// The tensors.
    pub tensors: Vec<Chosen>,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Expected divergence.
    pub loss: f64,
    /// No choice of at most the bytes asked for has less expected divergence than this.
    pub bound: f64,
}

/// The types with the least expected divergence in at most so many bytes; `None` where nothing fits.
pub fn choose(candidates: &[Candidate], budget: u64) -> Option<Choice> {
    let costs: Vec<Vec<Cost>> = candidates
        .iter()
        .map(|c| c.types.iter().map(|(_, cost)| *cost).collect())
        .collect();
    let Solution {
        chosen,
        bytes,
        loss,
        bound,
    } = solve(&costs, budget)?;
    let tensors = candidates.iter().zip(chosen).map(|(c, at)| of(c, at));
    Some(Choice {
        tensors: tensors.collect(),
        bytes,
        loss,
        bound,
    })
}

fn of(candidate: &Candidate, at: usize) -> Chosen {
    let (ty, cost) = candidate.types[at];
    let others = || {
        candidate
            .types
            .iter()
            .enumerate()
            .filter(move |(i, _)| *i != at)
            .map(|(_, other)| other)
    };
    let step = |(ty, other): &(TensorType, Cost)| Step {
        ty: *ty,
        bytes: other.bytes as i64 - cost.bytes as i64,
        loss: other.loss - cost.loss,
    };
    // What the next byte buys best, and what the last one is worth least: along the hull.
    let up = others()
        .filter(|(_, o)| o.bytes > cost.bytes && o.loss < cost.loss)
        .map(step)
        .min_by(|a, b| (a.loss / a.bytes as f64).total_cmp(&(b.loss / b.bytes as f64)));
    let down = others()
        .filter(|(_, o)| o.bytes < cost.bytes)
        .map(step)
        .min_by(|a, b| (a.loss / -a.bytes as f64).total_cmp(&(b.loss / -b.bytes as f64)));
    Chosen {
        tensor: candidate.tensor.clone(),
        weights: candidate.weights,
        ty,
        cost,
        up,
        down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_the_most_worthwhile_ones() {
        let cost = |bytes, loss| Cost { bytes, loss };
        let candidate = Candidate {
            tensor: "x".into(),
            weights: 256,
            types: vec![
                (TensorType::Q2_K, cost(100, 8.5)),
                (TensorType::Q3_K, cost(130, 5.0)),
                (TensorType::Q4_K, cost(160, 2.0)),
                (TensorType::Q5_K, cost(190, 1.9)),
                (TensorType::Q6_K, cost(220, 0.5)),
            ],
        };
        let choice = choose(std::slice::from_ref(&candidate), 170).unwrap();
        let chosen = &choice.tensors[0];
        assert_eq!(
            (chosen.ty, choice.bytes, choice.loss),
            (TensorType::Q4_K, 160, 2.0)
        );
        let (up, down) = (chosen.up.unwrap(), chosen.down.unwrap());
        assert_eq!((up.ty, up.bytes, up.loss), (TensorType::Q6_K, 60, -1.5));
        assert_eq!((down.ty, down.bytes, down.loss), (TensorType::Q3_K, -30, 3.0));
        assert!(choose(&[candidate], 99).is_none());
    }
}
