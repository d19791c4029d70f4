//! `solvegate check`.

use std::process::ExitCode;

use super::admin::{ended, show};
use super::{ConfigFile, tell};
use crate::config;

pub(super) fn check(file: &ConfigFile) -> ExitCode {
    match file.load() {
        Ok(config) => {
            for warning in &config.warnings {
                tell(format_args!("warning: {warning}"));
            }
            ended(show(config::effective(&config)))
        }
        Err(faults) => {
            let count = faults.list().len();
            tell(format_args!("{faults}\n{count} fault{}", if count == 1 { "" } else { "s" }));
            ExitCode::FAILURE
        }
    }
}
