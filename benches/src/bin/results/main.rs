//! Measures what `benches/RESULTS.md` reports and writes it: `results [OPTIONS] [PART …]`
//!
//! Without names, all parts are measured; `forward` names those that run a model. A part that is not measured keeps
//! its text. `--help` lists parts and options.

mod agreement;
mod codecs;
mod evaluation;
mod importance;
mod options;
mod page;
mod perplexity;
mod process;
mod programs;
mod table;

use anyhow::Result;

use options::{Options, Part};

fn main() -> Result<()> {
    let Some(options) = Options::parse(std::env::args().skip(1))? else {
        println!("{}", options::HELP);
        return Ok(());
    };
    let mut page = page::Page::read()?;
    for part in &options.parts {
        let text = match part {
            Part::Codecs => codecs::codecs()?,
            Part::Table => table::table(&options)?,
            Part::Perplexity => perplexity::perplexity(&options)?,
            Part::Imatrix => importance::importance(&options)?,
            Part::Evaluation => evaluation::evaluation(&options)?,
            Part::Agreement => agreement::agreement(&options)?,
        };
        if options.quick {
            // Figures of a quick look are no results.
            println!("{text}");
        } else {
            page.set(*part, &text, options.threads)?;
            page.write()?;
        }
    }
    Ok(())
}
