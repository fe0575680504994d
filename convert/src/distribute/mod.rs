//! One run on many machines: a plan that is the same wherever it is made, parts of it that can be run anywhere and twice,
//! and a join that proves the result.
//!
//! A [`PlanDocument`] names the inputs by their content, and every file by the digest of its header; whoever runs a
//! [`Part`] plans anew from the same [`Request`] and refuses to work unless the result is the document's ([`Layout`]). A
//! part is cut by cost, from measured rates ([`cost`]): rows of tensors, written into unpublished files that all
//! machines share, or whole files ([`Cut`]). What a part has written it notes in a journal of its own, with digests;
//! [`join`] reads all of it back before a file gets its name. The evaluation of the files is dealt in the same way
//! ([`EvaluationDeal`]): parts keep what was observed at every position, and sums are made once all is there
//! ([`join_evaluation`]).
//!
//! Nothing here starts or watches a process: that is for a scheduler.

mod assign;
pub mod cost;
mod document;
mod entries;
mod evaluation;
mod inputs;
mod join;
mod layout;
mod measured;
mod part;
mod place;
mod request;
mod run;

pub use assign::Balance;
pub use document::PlanDocument;
pub use entries::{Encoding, LeftOut, Link, PlannedFile, Tensor, Work};
pub use evaluation::{EvaluationDeal, EvaluationShare, PlannedEvaluation};
pub use inputs::{Check, Input, InputOf, Taken};
pub use join::{Incomplete, Joined, PartToRepeat, join};
pub use layout::Layout;
pub use measured::{
    EvaluationPart, JoinedEvaluation, Measured, Weighed, finish_evaluation, is_evaluated, is_joined,
    join_evaluation,
};
pub use part::Part;
pub use request::{
    Cut, EvaluationRequest, ImatrixRequest, OptimizeRequest, Request, SplitRequest, TypesRequest,
};
pub use run::{Learn, PartDone, run_part};
