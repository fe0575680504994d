//! `transformers5 OUT_DIR [NAME ...]`: the directories that `py/transformers5.py` put there, as transformers 4.57
//! and as transformers 5 write them. Both are converted and compared, and our logits with transformers 5's. One row
//! for each case; exit status 1 when one differs.

use std::path::Path;

use anyhow::{Context as _, Result};
use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::Source as _;
use convert::source::hf::{HfOptions, HfSource, OutType};
use oracle::forward;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().context("usage: transformers5 OUT_DIR [NAME ...]")?;
    let mut names: Vec<String> = args.collect();
    if names.is_empty() {
        for entry in std::fs::read_dir(&dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
    }
    let mut failed = 0;
    println!("{:<22} {:<36} converted  logits", "case", "class");
    for name in &names {
        let folder = Path::new(&dir).join(name);
        let class = forward::class(&folder.join("model")).unwrap_or_else(|e| format!("({e})"));
        if let Ok(why) = std::fs::read_to_string(folder.join("five/why")) {
            println!("{name:<22} {class:<36} -          -\n    {}", why.trim());
            continue;
        }
        let differences = compared(&folder).unwrap_or_else(|e| vec![format!("{e:#}")]);
        let distance = forward::distance(&folder.join("five"), &folder.join("five/model"));
        let shown = match &distance {
            Ok(None) => "-".to_owned(),
            Ok(Some(d)) => format!("{d:.1e}"),
            Err(_) => "FAR".to_owned(),
        };
        let word = if differences.is_empty() {
            "equal"
        } else {
            "DIFFERS"
        };
        println!("{name:<22} {class:<36} {word:<10} {shown}");
        failed += usize::from(!differences.is_empty() || distance.is_err());
        for line in differences {
            println!("    {line}");
        }
        if let Err(error) = distance {
            println!("    {error:#}");
        }
    }
    println!("{} cases, {failed} with differences", names.len());
    if failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

/// What differs between the conversions of the two directories of a case: the text model's and, where it has one, the
/// image encoder's.
fn compared(folder: &Path) -> Result<Vec<String>> {
    let temporary = tempfile::tempdir()?;
    let mut found = Vec::new();
    for mmproj in [false, true] {
        let options = HfOptions {
            outtype: OutType::Auto,
            mmproj,
            ..HfOptions::default()
        };
        let older = match HfSource::open(&folder.join("model"), &options) {
            Err(_) if mmproj => continue,
            older => older?,
        };
        let file = temporary.path().join("older.gguf");
        let plan = OutputPlan::unquantized(&file, &older, Vec::new())?;
        execute(&older, &[plan], &PipelineOptions::default(), &|_| {})?;
        let newer = HfSource::open(&folder.join("five/model"), &options)
            .with_context(|| if mmproj { "image encoder" } else { "text model" })?;
        debug_assert_eq!(newer.metadata().architecture(), older.metadata().architecture());
        let more = oracle::files::differences(&newer, &file)?;
        found.extend(more.into_iter().map(|line| match mmproj {
            true => format!("image encoder: {line}"),
            false => line,
        }));
    }
    Ok(found)
}
