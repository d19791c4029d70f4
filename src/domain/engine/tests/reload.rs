//! A new policy in force: usage and open solves stay.

use super::*;
use crate::domain::account::AccountReport;
use crate::domain::policy::Rate;
use crate::domain::rejection::Reason;

#[test]
fn a_removed_key_is_revoked_and_its_solves_are_still_settled() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);
    ask(&mut engine, "t1", solved(), START);

    engine.reconfigure(&changed(|policy| drop(acme(policy).keys.remove("prod"))), START);

    let credential = Credential { key: Some(PROD), prefix: None, source_ip: None };
    assert_eq!(engine.identify(&credential, START).unwrap_err().reason, Reason::RevokedKey);
    assert!(matches!(poll(&mut engine, BATCH, "t1", START), PollDecision::Memory { .. }));
    engine.delivered(solve, START);
    assert_eq!(charges(&mut engine), [Some(PRICE)]);
}

#[test]
fn a_rolled_key_keeps_the_usage_of_its_id() {
    let rolled = KeyHash([55; 32]);
    let limit = |policy: &mut Policy| prod(policy).limits.daily_limit = Some(1);
    let mut engine = engine(limit);
    open(&mut engine, "t1", START);

    let policy = changed(|policy| {
        limit(policy);
        prod(policy).hash = rolled;
    });
    engine.reconfigure(&policy, START);

    assert_eq!(refused(&mut engine, rolled, START).reason, Reason::DailyLimit);
    assert!(
        engine
            .identify(&Credential { key: Some(PROD), prefix: None, source_ip: None }, START)
            .is_err()
    );
}

#[test]
fn a_removed_tenant_is_refused_settles_and_comes_back_with_its_usage() {
    let limited = changed(|policy| acme(policy).limits.daily_limit = Some(1));
    let mut engine = started(&limited, Restored::default(), START);
    let solve = open(&mut engine, "t1", START);
    ask(&mut engine, "t1", solved(), START);

    engine.reconfigure(&changed(|policy| drop(policy.tenants.remove("acme"))), START);
    engine.delivered(solve, START);
    assert_eq!(charges(&mut engine), [Some(PRICE)]);
    assert_eq!(engine.snapshot(START).tenants.len(), 1);

    engine.reconfigure(&limited, START);
    assert_eq!(refused(&mut engine, PROD, START).reason, Reason::DailyLimit);
}

#[test]
fn changed_limits_and_prices_count_from_here_on() {
    let mut engine =
        engine(|policy| acme(policy).limits.rate = Some(Rate { per_minute: 1, burst: 1 }));
    let solve = open(&mut engine, "t1", START);
    refused(&mut engine, PROD, START);

    let dearer = usd("0.5");
    engine.reconfigure(&changed(|policy| acme(policy).prices = prices(dearer)), START);

    admit(&mut engine, PROD, START);
    assert_eq!(held(&mut engine, START), PRICE + dearer);
    assert_eq!(engine.price_of(solve), Some(PRICE));
    ask(&mut engine, "t1", solved(), START);
    engine.delivered(solve, START);
    assert_eq!(charges(&mut engine), [Some(PRICE)]);
}

#[test]
fn a_tenant_that_moved_to_another_account_still_fetches_what_it_submitted() {
    let mut engine = engine(|_| ());
    let solve = open(&mut engine, "t1", START);
    engine.reconfigure(&changed(|policy| acme(policy).account = "spare".into()), START);

    let PollDecision::Forward { solve: asked, account } = poll(&mut engine, PROD, "t1", START)
    else {
        panic!("lost")
    };

    assert_eq!((asked, &*account), (solve, "main"));
    assert_eq!(engine.owns(who(&engine, PROD), &task("t1")), Some(solve));
    let Decision::Admit(admitted) = decide(&mut engine, PROD, START) else { panic!("refused") };
    assert_eq!(&*admitted.account, "spare");
}

#[test]
fn a_changed_account_key_clears_what_the_old_one_got_into() {
    let mut engine = engine(|_| ());
    engine.observe_account("main", AccountReport::KeyRefused, START);
    engine.observe_account("spare", AccountReport::KeyRefused, START);

    let policy = changed(|policy| {
        policy.accounts.get_mut("main").unwrap().key_hash = Some(KeyHash([8; 32]));
    });
    engine.reconfigure(&policy, START);

    assert!(engine.may_ask("main", START) && !engine.may_ask("spare", START));
    admit(&mut engine, PROD, START);
}

#[test]
fn another_time_zone_reopens_no_day() {
    let mut engine = engine(|policy| acme(policy).limits.daily_limit = Some(1));
    open(&mut engine, "t1", START);
    ask(&mut engine, "t1", solved(), START);
    engine.delivered(SolveId(0), START);

    let zone = |name: &str| {
        changed(|policy| {
            acme(policy).limits.daily_limit = Some(1);
            policy.time_zone = TimeZone::get(name).unwrap();
        })
    };
    engine.reconfigure(&zone("Pacific/Pago_Pago"), START);
    assert_eq!(refused(&mut engine, PROD, START).reason, Reason::DailyLimit);

    let kiritimati = zone("Pacific/Kiritimati");
    engine.reconfigure(&kiritimati, START);
    admit(&mut engine, PROD, START);
}

/// 2026-11-30, an hour before midnight and month end, UTC; the next month further east.
const MONTH_END: Now = Now { mono: START.mono, wall: Wall(1_796_079_600_000) };

fn charge_one(engine: &mut Engine, id: &str, now: Now) {
    let solve = open(engine, id, now);
    ask(engine, id, solved(), now);
    engine.delivered(solve, now);
}

#[test]
fn a_time_zone_that_comes_back_finds_its_day_and_month_as_used_as_it_left_them() {
    let daily = |limits: &mut Limits| limits.daily_limit = Some(1);
    let daily_cap = |limits: &mut Limits| limits.daily_spend_cap = Some(PRICE);
    let monthly_cap = |limits: &mut Limits| limits.monthly_spend_cap = Some(PRICE);
    let kinds: [&dyn Fn(&mut Limits); 3] = [&daily, &daily_cap, &monthly_cap];
    for (kind, limit) in kinds.into_iter().enumerate() {
        for is_used_there in [false, true] {
            let zone = |name: &str| {
                changed(|policy| {
                    limit(&mut acme(policy).limits);
                    policy.time_zone = TimeZone::get(name).unwrap();
                })
            };
            let utc = zone("UTC");
            let mut engine = started(&utc, Restored::default(), MONTH_END);
            charge_one(&mut engine, "t1", MONTH_END);
            engine.reconfigure(&zone("Pacific/Kiritimati"), MONTH_END);
            if is_used_there {
                charge_one(&mut engine, "t2", MONTH_END);
                refused(&mut engine, PROD, MONTH_END);
            }

            engine.reconfigure(&utc, MONTH_END);

            let rejection = refused(&mut engine, PROD, MONTH_END);
            assert_eq!(rejection.retry_after, Some(secs(3_600)), "limit {kind}");
            let tomorrow = MONTH_END + secs(3_600);
            let left = admissions(&mut engine, PROD, 2, tomorrow);
            assert_eq!(left, u32::from(!is_used_there), "limit {kind}: the day that began there");
        }
    }
}
