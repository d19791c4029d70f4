//! The `solvegate` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    solvegate::cli::run()
}
