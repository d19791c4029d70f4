//! The sidecar in deterministic simulation: the real request path, watcher and core, between clients
//! that hang up and a provider that misbehaves, on a disk that fails, from one seed.
//!
//! Everything of a seed runs on one thread of a tokio runtime whose clock stands still until nobody has
//! anything to do, and then jumps to the next timer. Connections are pipes of our own (`net`), because
//! what money depends on are cuts in the middle of an answer, the instant of a flush and the death of
//! the process between two: a simulated network of hosts (turmoil) holds and drops whole messages, and
//! would take a type of connection of its own into the product. The disk (`store`) is a second
//! implementation of the product's narrow interface to its record; SQLite itself is put to the test in
//! `record::store` and by killing the real process.
//!
//! `plan` is what a seed decides beforehand, `world` the process and what was seen, `book` an
//! independent reading of the journal, `scan` looks through every byte to a client, `check` reckons at
//! the end. `SOLVEGATE_SIM_SEEDS` sets how many seeds run (1,000), `SOLVEGATE_SIM_SEED` replays one and
//! prints what happened. With the feature `seeded-bugs`, `self_test` checks that bugs are found.

#![expect(clippy::disallowed_methods, reason = "the simulation is the clock")]
#![expect(clippy::print_stderr, reason = "a replay is there to be read")]

mod book;
mod check;
mod client;
mod net;
mod plan;
mod provider;
#[path = "../model/restored.rs"]
mod restored;
mod rng;
mod run;
mod scan;
#[cfg(feature = "seeded-bugs")]
mod self_test;
mod store;
mod world;

use run::{Outcome, run};

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Invariant {
    /// A task id is on record before a client sees it.
    BoundBeforeAnswer,
    /// So is that its answer goes out.
    RecordedBeforeAnswer,
    /// Each solve is settled once.
    ChargedOnce,
    /// What a client has was charged.
    DeliveredIsCharged,
    /// What was charged was solved, and handed over or charged as agreed.
    ChargeHasGround,
    /// Nothing is held when nothing is under way.
    HeldWhenIdle,
    /// Never over a limit, by the provider's own count.
    WithinLimits,
    /// Never over a wallet, a day's number or a cap.
    Spending,
    /// Nobody sees a key, a task or an answer of somebody else's.
    Isolation,
    /// No submission goes out twice.
    SentOnce,
    /// Every client is answered in time, or was cut off.
    Answered,
    /// What was accepted stays known.
    NothingLost,
    /// The journal's order is possible.
    JournalInOrder,
    /// Nothing panics.
    NoPanic,
}

#[test]
fn every_seed_keeps_every_invariant() {
    if let Ok(seed) = std::env::var("SOLVEGATE_SIM_SEED") {
        let Ok(seed) = seed.parse() else { panic!("SOLVEGATE_SIM_SEED is no number") };
        let outcome = run(seed);
        outcome.trace.iter().for_each(|line| eprintln!("{line}"));
        outcome.assert_clean();
        return;
    }
    let seeds = std::env::var("SOLVEGATE_SIM_SEEDS").ok();
    let seeds = seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(1_000);
    let counts = run::all(0..seeds);
    eprintln!("{seeds} seeds: {counts:?}");
}

#[test]
fn a_seed_takes_the_same_course_each_time() {
    for seed in 0..20 {
        let (first, second): (Outcome, Outcome) = (run(seed), run(seed));
        let differs = first.trace.iter().zip(&second.trace).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
    }
}
