//! Integration tests over real sockets: the sidecar in this process, in front of the simulated
//! provider, each test with a port, a provider and a record of its own.
//!
//! Whatever a test does, [`support::World::close`] reconciles the books at its end and looks for keys
//! in the record; the client looks for them in every answer, and a subscriber in every log line.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::expect_used, reason = "and says what it waited for")]
#![expect(clippy::print_stdout, reason = "what was measured is for whoever asks to see it")]
#![expect(clippy::disallowed_methods, reason = "tests may wait, spawn and read the clock")]

mod support;

mod admin;
mod admin_bills;
mod admin_commands;
mod admin_credits;
mod admin_keys;
mod admission;
mod bad_input;
mod clients;
mod clocks;
mod closed_output;
mod contract;
mod error_budget;
mod failpoints;
mod faults;
mod fidelity;
mod hanging_disk;
mod healthcheck;
mod hold;
mod many_connections;
mod metrics;
mod notify;
mod page;
mod provider_faults;
mod provider_oddities;
mod reload;
mod reloads;
mod restart;
mod secrets;
mod settlement;
mod shutdown;
mod signals;
mod slow_provider;
mod store_faults;
mod supervisor;
mod tidy;
mod trouble;
mod watched_files;
mod why;
