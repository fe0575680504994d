//! Collects an importance matrix with a text source of one's own: here one document for each line of standard input.
//!
//! `cargo run --release --example collect_imatrix -- MODEL.gguf imatrix.gguf < documents.txt`

use std::path::Path;

use quantsmith::imatrix::Accumulator;
use quantsmith::reference::calibration::{Calibration, collect};
use quantsmith::reference::{self, Model, Tokenizer};

/// Tokens in a window.
const WINDOW: u32 = 512;

/// Runs the model over the documents and writes what its layers saw; the number of windows.
pub fn calibrate(
    model: &Path,
    documents: impl IntoIterator<Item = String>,
    output: &Path,
    chunks: Option<usize>,
) -> Result<u32, Box<dyn std::error::Error>> {
    let model = Model::load(model)?;
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())?;
    // Any order and mixture of tokens will do; windows are cut from them one after the other.
    let tokens: Vec<u32> = documents
        .into_iter()
        .flat_map(|text| tokenizer.encode(&text, true, false))
        .collect();

    let mut calibration = Calibration::new(WINDOW as usize);
    calibration.chunks = chunks;
    calibration.bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
    let mut accumulator = Accumulator::new(WINDOW);
    collect(&model, &tokens, &calibration, &mut accumulator, 0, &mut |step| {
        eprintln!("{} of {} windows", step.done, step.of);
        // An error here would end the work.
        Ok::<_, reference::Error>(())
    })?;

    let mut matrix = accumulator.totals().clone();
    matrix.datasets = vec!["documents".to_owned()];
    matrix.save(output)?;
    Ok(matrix.chunk_count)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, output] = arguments.as_slice() else {
        return Err("usage: collect_imatrix MODEL.gguf OUT.gguf < DOCUMENTS".into());
    };
    let documents = std::io::stdin().lines().collect::<Result<Vec<_>, _>>()?;
    let windows = calibrate(Path::new(model), documents, Path::new(output), None)?;
    println!("{output}: {windows} windows");
    Ok(())
}
