//! The provider, simulated: its API on a port, with set solve times, errors and faults.
//!
//! It stands beside the product and shares none of its reading of the protocol: a test partner that
//! parsed with the same code would agree with the same mistakes.
//!
//! ```text
//! server      accepts, reads (http), is switched up and down; /-/ goes to control_api
//!   request   fields from any of the five encodings
//!   fault     which rule strikes this request, if any
//!   provider  pure: request + now -> answer (validate, wish, answer, solution are its parts)
//!   deliver   the answer on the socket, whole or broken as the fault says
//!   log       what was received and answered
//! ```

mod account;
mod answer;
mod control;
mod control_api;
mod deliver;
mod exchange;
mod fault;
mod http;
mod log;
mod options;
mod pingback;
mod provider;
mod request;
mod server;
mod solution;
mod submit;
mod task;
#[cfg(test)]
mod tests;
mod validate;
mod wish;

pub use account::{AccountChange, AccountView};
pub use control::{Control, Down};
pub use fault::{Effect, Fault, FaultMatch, FaultRule, RuleState};
pub use log::LogEntry;
pub use options::{
    AccountOptions, DEFAULT_KEY, Dialect, ErrorShare, Failure, IdForm, Options, ParseOptionError,
    PerType, WhenBusy,
};
pub use request::Operation;
pub use server::Simulation;
pub use task::{Report, TaskView};

/// The arguments of `solvegate simulate-provider`: the options themselves.
pub type SimulateArgs = Options;
