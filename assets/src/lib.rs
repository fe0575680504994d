#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

/// A name for the model's directory; converters derive `general.name` from it.
pub const NAME: &str = "Quantsmith-Demo";

/// The files of the model directory, each with its name.
pub const FILES: &[(&str, &[u8])] = &[
    ("config.json", include_bytes!("../demo/config.json")),
    (
        "generation_config.json",
        include_bytes!("../demo/generation_config.json"),
    ),
    ("tokenizer.json", include_bytes!("../demo/tokenizer.json")),
    (
        "tokenizer_config.json",
        include_bytes!("../demo/tokenizer_config.json"),
    ),
    ("README.md", include_bytes!("../demo/README.md")),
    ("model.safetensors", include_bytes!("../demo/model.safetensors")),
];

/// Held-out English text, never trained on by the demo model.
pub const EVALUATION_TEXT: &str = include_str!("../demo/eval.txt");

/// English text that calibrates the importance matrix where no other is given. Disjoint from the evaluation text.
pub const CALIBRATION_TEXT: &str = include_str!("../demo/calibration.txt");

/// Texts of several kinds to measure with, disjoint from the calibration text, under the names of files: `.txt` is text,
/// `.jsonl` has a chat in each line. Origins and licences: `suite/README.md`.
pub const SUITE: &[(&str, &str)] = &[
    ("chat.jsonl", include_str!("../suite/chat.jsonl")),
    ("code.txt", include_str!("../suite/code.txt")),
    ("french.txt", include_str!("../suite/french.txt")),
    ("german.txt", include_str!("../suite/german.txt")),
    ("math.txt", include_str!("../suite/math.txt")),
    ("prose.txt", EVALUATION_TEXT),
];

/// Writes the model's files into a directory, which is made where it does not exist.
///
/// # Errors
/// When the directory cannot be made or a file not be written; the error names it.
pub fn write_model(directory: &Path) -> io::Result<()> {
    let named = |path: &Path, e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    std::fs::create_dir_all(directory).map_err(|e| named(directory, e))?;
    for (name, bytes) in FILES {
        let path = directory.join(name);
        std::fs::write(&path, bytes).map_err(|e| named(&path, e))?;
    }
    Ok(())
}
