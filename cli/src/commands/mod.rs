//! One file per command: its arguments and what it does.

pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod convert_lora;
pub(crate) mod diff;
pub(crate) mod embed;
pub(crate) mod export;
pub(crate) mod fit;
pub(crate) mod hash;
pub(crate) mod imatrix;
pub(crate) mod inspect;
pub(crate) mod join;
pub(crate) mod man;
pub(crate) mod merge;
pub(crate) mod meta;
pub(crate) mod perplexity;
pub(crate) mod plan;
pub(crate) mod publish;
pub(crate) mod quantize;
pub(crate) mod run;
pub(crate) mod split;
pub(crate) mod table;
pub(crate) mod tokenize;
#[cfg_attr(not(feature = "hub"), path = "no_upload.rs")]
pub(crate) mod upload;
pub(crate) mod verify;
