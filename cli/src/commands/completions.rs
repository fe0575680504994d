//! `quantsmith completions`.

use clap_complete::Shell;

use crate::output::print;

/// Arguments of `quantsmith completions`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Shell that the script is for
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli::command(), "quantsmith", &mut script);
    print(|out| out.write_all(&script))
}
