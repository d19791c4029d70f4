//! A simulation that finds nothing proves nothing: four bugs are put into the product, one at a time,
//! and each must be found soon, by the invariant that it breaks.

use solvegate::domain::seeded::{Bug, plant};

use crate::Invariant;
use crate::run::run;

/// Seeds within which a bug must be found.
const SEEDS_MAX: u64 = 100;

#[test]
fn an_id_that_is_answered_before_it_is_on_record_is_found() {
    find(Bug::AnswerBeforeBind, Invariant::BoundBeforeAnswer);
}

#[test]
fn a_solve_that_is_settled_twice_is_found() {
    find(Bug::DoubleSettle, Invariant::ChargedOnce);
}

#[test]
fn a_hold_that_a_hang_up_leaves_behind_is_found() {
    find(Bug::HoldLostOnCancel, Invariant::HeldWhenIdle);
}

#[test]
fn a_limit_that_is_checked_too_early_is_found() {
    find(Bug::LimitOutsideTheLock, Invariant::WithinLimits);
}

fn find(bug: Bug, by: Invariant) {
    let mut seed = 0;
    let found = loop {
        plant(Some(bug));
        let outcome = run(seed);
        plant(None);
        if let Some((_, what)) = outcome.wrong.iter().find(|(invariant, _)| *invariant == by) {
            break what.clone();
        }
        seed += 1;
        assert!(seed < SEEDS_MAX, "{bug:?} was not found by {by:?} within {SEEDS_MAX} seeds");
    };
    assert!(run(seed).wrong.is_empty(), "seed {seed} goes wrong without the bug");
    eprintln!("{bug:?}: seed {seed}, {by:?}: {found}");
}
