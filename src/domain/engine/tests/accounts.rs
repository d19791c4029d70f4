//! The account calls: `threadsinfo`, `getbalance` and the verdict that they must agree with.

use super::*;
use crate::domain::account::AccountReport;

fn threads(engine: &mut Engine, now: Now) -> (u32, u32) {
    let identity = who(engine, PROD);
    engine.threads_info(identity, now)
}

fn shown_balance(engine: &mut Engine, now: Now) -> Money {
    let identity = who(engine, PROD);
    engine.balance_info(identity, now)
}

#[test]
fn threadsinfo_shows_the_scope_with_the_least_room() {
    let mut engine = engine(|policy| {
        acme(policy).limits.in_flight_max = Some(10);
        prod(policy).limits.in_flight_max = Some(4);
    });
    admit(&mut engine, PROD, START);
    assert_eq!(threads(&mut engine, START), (4, 1));

    assert_eq!(admissions(&mut engine, BATCH, 7, START), 7);
    assert_eq!(threads(&mut engine, START), (10, 8));
}

#[test]
fn a_tenant_without_a_limit_sees_a_thousand_threads() {
    let mut engine = engine(|_| ());
    admit(&mut engine, PROD, START);
    assert_eq!(threads(&mut engine, START), (1_000, 1));
}

#[test]
fn a_tenant_without_a_limit_always_sees_a_free_thread() {
    let mut engine = engine(|_| ());
    assert_eq!(admissions(&mut engine, PROD, 1_000, START), 1_000);
    assert_eq!(threads(&mut engine, START), (1_001, 1_000));
}

#[test]
fn a_limit_of_zero_is_shown_as_one_thread() {
    let mut engine = engine(|policy| acme(policy).limits.in_flight_max = Some(0));
    assert_eq!(threads(&mut engine, START), (1, 0));
}

#[test]
fn after_busy_threadsinfo_shows_no_free_thread_for_five_seconds() {
    let mut engine = engine(|policy| acme(policy).limits.in_flight_max = Some(2));
    let solve = admit(&mut engine, PROD, START);
    admit(&mut engine, PROD, START);
    refused(&mut engine, PROD, START);
    engine.submit_failed(solve, Outcome::Capacity, "ERROR_NO_SLOT_AVAILABLE", START);

    assert_eq!(threads(&mut engine, START + secs(4)), (2, 2));
    assert_eq!(threads(&mut engine, START + secs(5)), (2, 1));
}

#[test]
fn after_spent_threadsinfo_shows_a_free_thread() {
    let mut engine = engine(|policy| {
        acme(policy).limits.in_flight_max = Some(3);
        acme(policy).limits.daily_limit = Some(2);
    });
    assert_eq!(admissions(&mut engine, PROD, 2, START), 2);
    refused(&mut engine, PROD, START);

    assert_eq!(threads(&mut engine, START + secs(1)), (3, 2));
}

#[test]
fn a_refusal_by_the_provider_decides_the_verdict_too() {
    let mut engine = engine(|policy| acme(policy).limits.in_flight_max = Some(3));
    let identity = who(&engine, PROD);

    engine.refused_upstream(identity, START);
    assert_eq!(threads(&mut engine, START), (3, 3));

    engine.observe_account("main", AccountReport::Balance(Money::ZERO), START);
    engine.refused_upstream(identity, START);
    assert_eq!(threads(&mut engine, START), (3, 0));
}

#[test]
fn where_the_account_has_lapsed_even_a_full_tenant_sees_a_free_thread() {
    let mut engine = engine(|policy| acme(policy).limits.in_flight_max = Some(3));
    let identity = who(&engine, PROD);
    assert_eq!(admissions(&mut engine, PROD, 3, START), 3);

    engine.observe_account("main", AccountReport::Balance(Money::ZERO), START);
    engine.refused_upstream(identity, START);

    assert_eq!(threads(&mut engine, START), (3, 2));
}

#[test]
fn a_client_that_asks_threadsinfo_is_remembered_for_a_day() {
    let mut engine = engine(|policy| acme(policy).limits.in_flight_max = Some(0));
    let asks = |engine: &mut Engine, now| match decide(engine, PROD, now) {
        Decision::Reject { asks_threads, .. } => asks_threads,
        Decision::Admit(_) => panic!("admitted"),
    };

    assert!(!asks(&mut engine, START));
    threads(&mut engine, START);

    assert!(asks(&mut engine, START + Duration::from_hours(23)));
    assert!(!asks(&mut engine, START + Duration::from_hours(24)));
}

#[test]
fn getbalance_shows_the_least_that_may_still_be_spent() {
    let mut engine = engine(|policy| {
        acme(policy).limits.prepaid = Some(prepaid("2"));
        acme(policy).limits.monthly_spend_cap = Some(usd("5"));
        prod(policy).limits.daily_spend_cap = Some(usd("1"));
    });
    admit(&mut engine, PROD, START);
    assert_eq!(shown_balance(&mut engine, START), usd("0.997"));

    let identity = who(&engine, BATCH);
    assert_eq!(engine.balance_info(identity, START), usd("1.997"));
}

#[test]
fn getbalance_takes_what_was_charged_off_the_caps() {
    for daily in [true, false] {
        let mut engine = engine(|policy| {
            let limits = &mut acme(policy).limits;
            let cap =
                if daily { &mut limits.daily_spend_cap } else { &mut limits.monthly_spend_cap };
            *cap = Some(usd("1"));
        });
        let solve = open(&mut engine, "t1", START);
        ask(&mut engine, "t1", solved(), START);
        engine.delivered(solve, START);
        assert_eq!(shown_balance(&mut engine, START), usd("0.997"));
    }
}

#[test]
fn getbalance_is_never_negative_and_large_where_nothing_limits() {
    let mut limited = engine(|policy| {
        acme(policy).enforce = false;
        acme(policy).limits.prepaid = Some(prepaid("0"));
    });
    admit(&mut limited, PROD, START);
    assert_eq!(shown_balance(&mut limited, START), Money::ZERO);

    assert_eq!(shown_balance(&mut engine(|_| ()), START), usd("999999"));
}

#[test]
fn foreign_threads_are_taken_off_what_the_plan_has() {
    let mut engine = engine(|_| ());
    admit(&mut engine, PROD, START);
    engine.observe_account("main", AccountReport::Threads { total: 5, working: 3, ours: 1 }, START);

    assert_eq!(admissions(&mut engine, PROD, 10, START), 2);
    let stale = START + secs(61);
    assert_eq!(admissions(&mut engine, PROD, 10, stale), 10, "what is stale refuses nothing");
}

#[test]
fn another_account_is_not_held_responsible() {
    let mut engine = engine(|policy| beta(policy).account = "spare".into());
    engine.observe_account("main", AccountReport::KeyRefused, START);

    refused(&mut engine, PROD, START);
    admit(&mut engine, BETA, START);
    assert!(!engine.may_ask("main", START) && engine.may_ask("spare", START));
    let up: Vec<_> = engine.snapshot(START).accounts.iter().map(|account| account.up).collect();
    assert_eq!(up, [false, true]);
}
