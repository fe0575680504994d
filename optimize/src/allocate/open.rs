//! Tensors whose types are open.

use convert::plan::PlannedTensor;
use gguf::TensorType;

/// A tensor whose type is to be chosen.
#[derive(Clone, Debug)]
pub struct Open {
    /// The tensor as planned, with the importance that its encoder will be given. Its name is the model's.
    pub planned: PlannedTensor,
    /// The types to choose from: each can be encoded with what importance there is, and fits the rows.
    pub types: Vec<TensorType>,
}

/// Where the work is: the steps' name, how many are done, and how many there are.
pub type OnStep<'a> = &'a mut dyn FnMut(&'static str, usize, usize);
