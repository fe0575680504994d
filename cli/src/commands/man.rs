//! `quantsmith man`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Command;
use clap_mangen::Man;

use crate::output::print;

/// Arguments of `quantsmith man`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory for one page for each command; without it, the main page is printed
    directory: Option<PathBuf>,
}

/// Writes the pages of `command`.
pub(crate) fn run(args: Args, mut command: Command) -> anyhow::Result<()> {
    // Names of subcommands as they are called, arguments that all share among them.
    command.build();
    match args.directory {
        None => print(|out| Man::new(command).render(out)),
        Some(directory) => {
            std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
            write_pages(&command, &directory)
        }
    }
}

/// The pages of a command and all below it.
fn write_pages(command: &Command, directory: &Path) -> anyhow::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let path = directory.join(format!("{name}.1"));
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    gguf::check_not_input(&path)?;
    let written: io::Result<()> = std::fs::File::create(&path).and_then(|mut file| file.write_all(&page));
    written.with_context(|| path.display().to_string())?;
    command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
        .try_for_each(|sub| write_pages(sub, directory))
}
