//! The real binary under load, killed again and again, and the books at the end.
//!
//! `tests/crash/run --kills 1000` for the long run. Clients of several tenants note every answer that
//! they receive in full; the sidecar dies by SIGKILL at random instants and at failpoints
//! (`src/failpoint.rs`), is started again, and at the end `reconcile` compares what the clients noted,
//! what the simulated provider logged and what the record says.
//!
//! The seed, printed at the start and set by `SOLVEGATE_CRASH_SEED`, gives the same schedule of deaths
//! and the same clients; how threads and processes interleave is the machine's.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::expect_used, reason = "and says what it waited for")]
#![expect(clippy::disallowed_methods, reason = "tests may wait, spawn and read the clock")]
#![expect(
    clippy::print_stdout,
    reason = "a long run says how far it is, and a short one its figures"
)]

mod clients;
mod evidence;
mod http;
mod kills;
mod million;
mod notes;
mod process;
mod reconcile;
mod schedule;
mod teeth;
mod tenants;
