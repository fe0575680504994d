//! The `quantsmith` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    quantsmith_cli::cli::main()
}
