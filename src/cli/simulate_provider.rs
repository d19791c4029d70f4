//! `solvegate simulate-provider`.

use std::process::ExitCode;

use super::admin::show;
use super::fail;
use crate::simulate::{SimulateArgs, Simulation};

pub(super) fn run(arguments: SimulateArgs) -> ExitCode {
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    runtime.block_on(async {
        let simulation = match Simulation::start(arguments) {
            Ok(simulation) => simulation,
            Err(error) => return fail(&error),
        };
        // It serves all the same where nobody reads this.
        let _ = show(format!("simulate-provider listening on http://{}", simulation.addr()));
        let _ = tokio::signal::ctrl_c().await;
        simulation.stop().await;
        ExitCode::SUCCESS
    })
}
