//! `quantsmith upload`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use hub::{Name, upload_command};

use crate::output::human_size;

/// Arguments of `quantsmith upload`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder to publish
    dir: PathBuf,

    /// Repository to make and to commit it to: OWNER/MODEL[@BRANCH]
    #[arg(value_name = "OWNER/MODEL", value_parser = parse_name)]
    name: Name,

    /// Make a private repository
    #[arg(long)]
    private: bool,
}

fn parse_name(text: &str) -> Result<Name, String> {
    let name = Name::parse(text).filter(|name| name.path().is_none());
    name.ok_or_else(|| "expected OWNER/MODEL or OWNER/MODEL@BRANCH".to_owned())
}

/// Runs the command: looks at the folder, and prints the command of the hub's own tool that uploads it.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let (mut files, mut bytes) = (0u64, 0u64);
    let mut folders = vec![args.dir.clone()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let entry = entry.with_context(|| folder.display().to_string())?;
            let kind = entry
                .file_type()
                .with_context(|| entry.path().display().to_string())?;
            if kind.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let length = std::fs::metadata(entry.path())
                .with_context(|| entry.path().display().to_string())?
                .len();
            (files, bytes) = (files + 1, bytes.saturating_add(length));
        }
    }
    if files == 0 {
        bail!("{}: no files to upload", args.dir.display());
    }
    eprintln!(
        "{files} files, {}. The hub takes large files by a protocol of its own, which its tool `hf` speaks and this \
         command does not; nothing was uploaded. The line below makes the repository and uploads them:",
        human_size(bytes)
    );
    println!("{}", upload_command(&args.dir, &args.name, args.private));
    Ok(())
}
