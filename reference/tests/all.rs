//! The tests of tokenizer, forward pass and measures, as one program.

mod backward;
mod divergence;
mod forward;
mod requirements;
mod staged;
mod tokenizer;
mod vocabulary;
