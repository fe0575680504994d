//! The text that types are measured over, and the part of it that is kept for the check.

use anyhow::{Context as _, bail};
use gguf::Metadata;
use optimize::WINDOW;
use reference::tokenizer::Tokenizer;

use crate::args::target::TargetArgs;

/// One window of so many is kept for the check.
const HELD_OUT: usize = 8;

/// Windows of a text.
pub(crate) struct TextWindows {
    /// Those to measure over.
    pub(super) measured: Vec<Vec<u32>>,
    /// Those kept for the check.
    pub(super) held_out: Vec<Vec<u32>>,
}

impl TextWindows {
    /// The windows of the text that is named, or of `otherwise`.
    pub(crate) fn read(
        args: &TargetArgs,
        metadata: &Metadata,
        otherwise: Option<&str>,
    ) -> anyhow::Result<Option<Self>> {
        let text = match (args.text(), otherwise) {
            (Some(file), _) => {
                let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
                String::from_utf8(bytes).with_context(|| format!("{}: not UTF-8", file.display()))?
            }
            (None, Some(text)) => text.to_owned(),
            (None, None) => return Ok(None),
        };
        let windows = windows(metadata, &text)?;
        if windows.len() < 2 {
            bail!(
                "the text to measure over: expected at least 2 windows of {WINDOW} tokens, found {}",
                windows.len()
            );
        }
        let held_out = (windows.len() / HELD_OUT).max(1);
        let (measured, held_out) = windows.split_at(windows.len() - held_out);
        Ok(Some(Self {
            measured: measured[..measured.len().min(args.chunks().max(1))].to_vec(),
            held_out: held_out.to_vec(),
        }))
    }
}

/// A text in windows, each of which begins as the tokenizer begins texts.
fn windows(metadata: &Metadata, text: &str) -> anyhow::Result<Vec<Vec<u32>>> {
    let tokenizer = Tokenizer::from_metadata(metadata)?;
    let tokens = tokenizer.encode(text, true, false);
    let bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
    let windows = tokens.chunks_exact(WINDOW).map(|window| {
        let mut window = window.to_vec();
        window[0] = bos.unwrap_or(window[0]);
        window
    });
    Ok(windows.collect())
}
