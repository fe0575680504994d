#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod card;
pub mod chat;
pub mod choose;
mod error;
pub mod folder;
pub mod front_matter;
pub mod plot;
pub mod provenance;
pub mod record;
pub mod report;
pub mod size;

pub use error::{Error, Result};
