//! `quantsmith upload` of a build without the hub: what does it instead.

use std::ffi::OsString;

use anyhow::bail;

/// Whatever is given.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _words: Vec<OsString>,
}

/// Runs the command.
pub(crate) fn run(_: Args) -> anyhow::Result<()> {
    bail!(
        "this build does not know the hub (it was made without the feature `hub`): `hf upload OWNER/MODEL DIR .` of the hub's \
         own tool uploads a folder"
    );
}
