//! `solvegate completions`.

use std::process::ExitCode;

use clap::CommandFactory;

use super::admin::{ended, show};

pub(super) fn print(shell: clap_complete::Shell) -> ExitCode {
    let mut command = super::Arguments::command();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "solvegate", &mut script);
    ended(show(String::from_utf8_lossy(&script)))
}
