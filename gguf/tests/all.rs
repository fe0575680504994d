//! The container's tests, as one program.

mod common;
mod edit;
mod elsewhere;
mod malformed;
mod roundtrip;
mod shards;
mod writer;
