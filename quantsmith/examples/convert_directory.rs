//! Converts a Hugging Face directory to a preset in one pass, with progress; Enter cancels.
//!
//! `cargo run --release --example convert_directory -- MODEL_DIR OUT.gguf Q4_K_M`

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use quantsmith::convert::pipeline::{PipelineOptions, Progress};
use quantsmith::convert::quantize::{self, QuantizeOptions};
use quantsmith::convert::recipe::Preset;
use quantsmith::convert::source::Cancellable;
use quantsmith::convert::source::hf::{HfOptions, HfSource, OutType};
use quantsmith::convert::{Error, Result};

/// Writes `output`. Once `cancel` is true the run ends with [`Error::Cancelled`] and nothing under that name.
pub fn convert(
    directory: &Path,
    output: &Path,
    preset: &str,
    cancel: &AtomicBool,
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Result<u64> {
    let preset = Preset::parse(preset).ok_or_else(|| Error::Request(format!("no preset {preset:?}")))?;
    // The weights as they are stored: what is encoded comes from the original.
    let options = HfOptions::default().outtype(OutType::Lossless);
    let directory = HfSource::open(directory, &options)?;
    let source = Cancellable::new(&directory, cancel);
    let plan = quantize::plan(&source, output, &QuantizeOptions::new(preset), None)?;
    quantize::run(&source, &plan, &PipelineOptions::default(), None, on_progress)?;
    Ok(plan.file_size())
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, directory, output, preset] = arguments.as_slice() else {
        return Err("usage: convert_directory MODEL_DIR OUT.gguf PRESET".into());
    };
    static CANCEL: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        if std::io::stdin()
            .read_line(&mut String::new())
            .is_ok_and(|n| n > 0)
        {
            CANCEL.store(true, Ordering::Relaxed);
        }
    });
    let show = |p: Progress| eprint!("\r{} of {} weights", p.done, p.total);
    let size = convert(Path::new(directory), Path::new(output), preset, &CANCEL, &show)?;
    println!("\n{output}: {size} bytes");
    Ok(())
}
