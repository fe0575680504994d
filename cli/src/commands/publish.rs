//! `quantsmith publish`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use publish::card::{MAX_TEMPLATE, Style};
use publish::folder::{self, Options, Told};
use publish::record;

use super::table::{self, Making, Place};
use crate::inputs::hold;
use crate::progress::{Meter, Unit};

/// Arguments of `quantsmith publish`.
#[derive(clap::Args)]
#[command(
    after_help = "Of a finished table's directory (one with a table.json), the folder is made without reading a weight. Of a \
    model, the table is made first, in the folder itself; what `table` takes is taken here as well. The folder holds the \
    quants, README.md, kld.svg, report.html, imatrix.gguf, table.json, convert.log, provenance.intoto.json and SHA256SUMS; \
    `quantsmith verify DIR --attestation` checks it."
)]
pub(crate) struct Args {
    /// Directory of a finished table, or a model to make one of: a directory or a GGUF file; the demo model where none is
    /// given
    input: Option<PathBuf>,

    /// Folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Order and extent of the card
    #[arg(long, value_enum, default_value_t = StyleName::Table)]
    style: StyleName,

    /// Template of the card, in Jinja, instead of a style (docs/publish.md lists what it can name)
    #[arg(long, value_name = "FILE", conflicts_with = "style")]
    template: Option<PathBuf>,

    /// Publisher's name on the hub
    #[arg(long, value_name = "NAME")]
    quantized_by: Option<String>,

    /// Repository of the unquantized model [default: that of the source, where it came from the hub's cache]
    #[arg(long, value_name = "OWNER/NAME", value_parser = parse_repository)]
    base_model: Option<String>,

    /// Repository that the folder goes to, for the card's commands [default: the publisher's, MODEL-GGUF]
    #[arg(long, value_name = "OWNER/NAME", value_parser = parse_repository)]
    repo: Option<String>,

    #[command(flatten)]
    making: Making,

    /// Print the names and digests of the folder's files as JSON
    #[arg(long)]
    json: bool,
}

/// The values of --style.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum StyleName {
    /// The table with all figures first
    Table,
    /// Advice first, with a short table
    Choose,
    /// Names and sizes, without pictures and without the original card
    Plain,
}

impl From<StyleName> for Style {
    fn from(name: StyleName) -> Self {
        match name {
            StyleName::Table => Self::Table,
            StyleName::Choose => Self::Choose,
            StyleName::Plain => Self::Plain,
        }
    }
}

fn parse_repository(text: &str) -> Result<String, String> {
    let good = |part: &str| {
        !part.is_empty()
            && part.len() <= 96
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !part.contains("..")
            && !part.contains("--")
    };
    match text.split_once('/') {
        Some((owner, name)) if good(owner) && good(name) => Ok(text.to_owned()),
        _ => Err("expected OWNER/NAME, of letters, digits, '-', '_' and '.'".to_owned()),
    }
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let template = args.template.as_deref().map(read_template).transpose()?;
    hold(&args.template);
    let finished = args
        .input
        .as_deref()
        .filter(|path| path.join(record::FILE).is_file());
    if finished.is_some_and(|path| path.join("config.json").exists()) {
        anyhow::bail!(
            "{}: both a table (table.json) and a model (config.json); they belong in directories of their own",
            args.out.display()
        );
    }
    let mut matrix = None;
    let directory = match finished {
        Some(directory) => {
            matrix = args.making.matrix_file().map(Path::to_path_buf);
            directory.to_path_buf()
        }
        None => {
            let place = Place {
                out: Some(&args.out),
                dry_run: false,
                matrix: Some("imatrix.gguf"),
            };
            let made = table::make(&args.making, args.input.as_deref(), &place)?;
            // An alias is a line of the card; a second file would only be uploaded again.
            for alias in &made.aliases {
                std::fs::remove_file(alias).with_context(|| alias.display().to_string())?;
            }
            if let Some(given) = args.making.matrix_file() {
                matrix = Some(given.to_path_buf());
            }
            made.directory
        }
    };
    let options = Options::default()
        .style(args.style.into())
        .template(template)
        .quantized_by(args.quantized_by.clone())
        .base_model(args.base_model.clone())
        .repository(args.repo.clone())
        .matrix(matrix);
    crate::interrupt::can_be_continued(match finished.is_some() {
        true => "the table stays as it is; the same command makes the folder again".to_owned(),
        false => {
            "the quants and table.json stay; the same command, with --resume, makes the rest of the folder"
                .to_owned()
        }
    });
    let meter = Meter::new("hash", Unit::Bytes);
    let made = folder::make(&directory, &args.out, &options, &mut |told| match told {
        Told::File(name) => meter.print(name),
        Told::Read(done, of) => meter.show(done, of),
    });
    meter.finish();
    crate::interrupt::nothing_to_continue();
    let made = made?;
    for note in &made.notes {
        eprintln!("note: {note}");
    }
    if args.json {
        return crate::output::print_json(&serde_json::json!({
            "folder": convert::path_json(&args.out),
            "files": made.files,
        }));
    }
    let total: u64 = made.files.iter().map(|file| file.size).sum();
    println!(
        "{}: {} files, {}; `quantsmith verify {} --attestation` checks them",
        args.out.display(),
        made.files.len() + 1,
        crate::output::human_size(total),
        args.out.display()
    );
    Ok(())
}

fn read_template(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    ensure!(
        text.len() <= MAX_TEMPLATE,
        "{}: template: expected at most {MAX_TEMPLATE} bytes, found {}",
        path.display(),
        text.len()
    );
    Ok(text)
}
