//! `solvegate completions`.

use std::process::ExitCode;

use clap::CommandFactory;

pub(super) fn print(shell: clap_complete::Shell) -> ExitCode {
    let mut command = super::Arguments::command();
    clap_complete::generate(shell, &mut command, "solvegate", &mut std::io::stdout());
    ExitCode::SUCCESS
}
