//! `quantsmith completions`.

use clap::Command;
use clap_complete::Shell;

use crate::output::print;

/// Arguments of `quantsmith completions`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Shell that the script is for
    shell: Shell,
}

/// Prints the script for `command`.
pub(crate) fn run(args: Args, mut command: Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "quantsmith", &mut script);
    print(|out| out.write_all(&script))
}
