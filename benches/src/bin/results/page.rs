//! The page of results: for each part and instruction set the last measurement.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use quants::Isa;

use crate::options::Part;

const HEAD: &str = "# Measurements

`benches/run` measures all of this and writes this page; `benches/run codecs`, `table` and `forward` measure a part,
`--help` lists smaller ones. `cargo bench -p quantsmith-benches` has the same work, and the container's, under criterion.
Of each part the last measurement with each instruction set is here.
Stock is llama.cpp: its prebuilt library (see `oracle/py/stock.py`) or, for the forward pass, its programs built from the
same sources for the processor in use; measured in the same run on the same data.
";

/// Separator of parts, before their name.
const MARK: &str = "\n<!-- ";

pub(crate) struct Page {
    path: PathBuf,
    texts: BTreeMap<String, String>,
}

impl Page {
    /// The page of earlier runs.
    pub(crate) fn read() -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md");
        let texts = match path.exists() {
            true => parts(&std::fs::read_to_string(&path)?),
            false => BTreeMap::new(),
        };
        Ok(Self { path, texts })
    }

    /// Replaces a part, as measured with the instruction set in use.
    pub(crate) fn set(&mut self, part: Part, body: &str, threads: usize) -> Result<()> {
        let text = format!("{}\n\n{body}", machine(threads)?);
        self.texts
            .insert(format!("{} {}", part.name(), Isa::active().name()), text);
        Ok(())
    }

    /// Writes all parts.
    pub(crate) fn write(&self) -> Result<()> {
        let mut text = String::from(HEAD);
        for part in Part::ALL {
            for (name, body) in &self.texts {
                if name.split(' ').next() == Some(part.name()) {
                    write!(text, "{MARK}{name} -->\n{}\n", body.trim_end())?;
                }
            }
        }
        std::fs::write(&self.path, text)?;
        println!("{}", self.path.display());
        Ok(())
    }
}

/// The texts of the parts of a page.
fn parts(page: &str) -> BTreeMap<String, String> {
    page.split(MARK)
        .skip(1)
        .filter_map(|part| part.split_once(" -->\n"))
        .map(|(name, body)| (name.to_owned(), body.to_owned()))
        .collect()
}

fn machine(threads: usize) -> Result<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let date = Command::new("date").args(["-u", "+%F"]).output()?;
    Ok(format!(
        "{}: {threads} threads of {}, kernels for {}, load average at the end {}.",
        String::from_utf8_lossy(&date.stdout).trim(),
        model.map_or("an unknown processor", |(_, model)| model),
        Isa::active().name(),
        load.split(' ').next().unwrap_or("unknown"),
    ))
}
