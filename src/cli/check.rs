//! `solvegate check`.

use std::process::ExitCode;

use super::ConfigFile;
use crate::config;

pub(super) fn check(file: &ConfigFile) -> ExitCode {
    match file.load() {
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("warning: {warning}");
            }
            print!("{}", config::effective(&config));
            ExitCode::SUCCESS
        }
        Err(faults) => {
            eprintln!("{faults}");
            let count = faults.list().len();
            eprintln!("{count} fault{}", if count == 1 { "" } else { "s" });
            ExitCode::FAILURE
        }
    }
}
