//! The tests of tokenizer, forward pass and measures, as one program.

mod backward;
mod divergence;
mod encoder_decoder;
mod forward;
mod requirements;
mod staged;
mod tokenizer;
mod vocabulary;
mod without_predictions;
