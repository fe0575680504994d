//! Perplexity of a model on a text, and the KL divergence of a quant from it.
//!
//! `cargo run --release --example measure -- BASE.gguf QUANT.gguf TEXT`

use std::path::Path;

use quantsmith::reference::divergence::{self, Statistics};
use quantsmith::reference::{Model, PerplexityOptions, Tokenizer, perplexity};

/// The base model's perplexity, and what the quant lost.
pub fn measure(
    base: &Path,
    quant: &Path,
    text: &str,
    chunks: Option<usize>,
) -> Result<(f64, Statistics), Box<dyn std::error::Error>> {
    let base = Model::load(base)?;
    let quant = Model::load(quant)?;
    let tokenizer = Tokenizer::from_metadata(base.gguf().metadata())?;
    let tokens = tokenizer.encode(text, true, false);
    let options = PerplexityOptions::default()
        .chunks(chunks)
        .bos(tokenizer.bos().filter(|_| tokenizer.add_bos()));
    let report = perplexity(&base, &tokens, &options, &mut |chunk| {
        eprintln!(
            "window {} of {}: {:.4} so far",
            chunk.index + 1,
            chunk.of,
            chunk.ppl
        );
    })?;
    let seen = divergence::compare(&base, &[quant], &tokens, &options, &mut |_| {})?;
    let statistics = seen.first().and_then(|seen| Statistics::of(seen));
    Ok((
        report.ppl,
        statistics.ok_or("the text is too short to score anything")?,
    ))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, base, quant, text] = arguments.as_slice() else {
        return Err("usage: measure BASE.gguf QUANT.gguf TEXT".into());
    };
    let text = std::fs::read_to_string(text)?;
    let (ppl, lost) = measure(Path::new(base), Path::new(quant), &text, None)?;
    println!("base: perplexity {ppl:.4}");
    println!("quant: perplexity {:.4} ± {:.4}", lost.ppl.value, lost.ppl.error);
    println!("KL divergence {:.5} ± {:.5} nats", lost.kld.value, lost.kld.error);
    Ok(())
}
