//! Each reason to refuse, at tenant and at key level, and the order in which they are looked at.

use super::*;
use crate::domain::account::AccountReport;
use crate::domain::policy::Rate;
use crate::domain::rejection::{Reason, Verdict};

/// The limit, the same at both levels: whose it is stands in the text.
fn at_both_levels(
    limit: impl Fn(&mut Limits),
    prepare: impl Fn(&mut Engine),
    check: impl Fn(&Rejection),
) {
    let tenant: &dyn Fn(&mut Policy) = &|policy| limit(&mut acme(policy).limits);
    let key: &dyn Fn(&mut Policy) = &|policy| limit(&mut prod(policy).limits);
    for (whose, change) in [("tenant acme", tenant), ("key prod", key)] {
        let mut engine = engine(change);
        prepare(&mut engine);
        let before = counters(&engine);

        let rejection = refused(&mut engine, PROD, START);

        check(&rejection);
        assert!(rejection.text.starts_with(whose), "{}", rejection.text);
        assert_eq!(counters(&engine), before, "a refusal of {whose} changed a counter");
        let other = if whose == "key prod" { BATCH } else { BETA };
        admit(&mut engine, other, START);
    }
}

/// Takes one limit out of the way.
type Lift = fn(&mut Policy);

fn says(rejection: &Rejection, reason: Reason, retry_after: Option<Duration>, verdict: Verdict) {
    assert_eq!(rejection.reason, reason);
    assert_eq!(rejection.retry_after, retry_after);
    assert_eq!(rejection.verdict, Some(verdict));
}

fn one_open(engine: &mut Engine) {
    admit(engine, PROD, START);
}

#[test]
fn a_type_that_is_not_listed_is_refused() {
    at_both_levels(
        |limits| limits.allow_types = Some([CaptchaType::Turnstile].into()),
        |_| (),
        |rejection| {
            assert_eq!(rejection.reason, Reason::TypeDenied);
            assert_eq!((rejection.retry_after, rejection.verdict), (None, None));
        },
    );
}

#[test]
fn the_solves_in_flight_are_limited() {
    at_both_levels(
        |limits| limits.in_flight_max = Some(1),
        one_open,
        |rejection| says(rejection, Reason::InFlight, Some(secs(5)), Verdict::Busy),
    );
}

#[test]
fn the_rate_is_limited_and_says_how_long_to_wait() {
    at_both_levels(
        |limits| limits.rate = Some(Rate { per_minute: 10, burst: 1 }),
        one_open,
        |rejection| says(rejection, Reason::Rate, Some(secs(6)), Verdict::Busy),
    );
}

#[test]
fn the_daily_limit_counts_open_holds_until_midnight() {
    at_both_levels(
        |limits| limits.daily_limit = Some(1),
        one_open,
        |rejection| {
            let midnight = Duration::from_hours(12);
            says(rejection, Reason::DailyLimit, Some(midnight), Verdict::Spent);
        },
    );
}

#[test]
fn the_daily_spend_cap_counts_what_is_held() {
    at_both_levels(
        |limits| limits.daily_spend_cap = Some(usd("0.005")),
        one_open,
        |rejection| {
            let midnight = Duration::from_hours(12);
            says(rejection, Reason::SpendCap, Some(midnight), Verdict::Spent);
        },
    );
}

#[test]
fn the_monthly_spend_cap_counts_what_is_held() {
    at_both_levels(
        |limits| limits.monthly_spend_cap = Some(usd("0.005")),
        one_open,
        |rejection| {
            let month_end = Duration::from_hours(9 * 24 + 12);
            says(rejection, Reason::SpendCap, Some(month_end), Verdict::Spent);
        },
    );
}

#[test]
fn the_prepaid_balance_covers_what_is_held() {
    at_both_levels(
        |limits| limits.prepaid = Some(prepaid("0.005")),
        one_open,
        |rejection| says(rejection, Reason::InsufficientBalance, None, Verdict::Spent),
    );
}

#[test]
fn a_limit_of_zero_admits_nothing() {
    let zeros: [fn(&mut Limits); 5] = [
        |limits| limits.in_flight_max = Some(0),
        |limits| limits.daily_limit = Some(0),
        |limits| limits.daily_spend_cap = Some(Money::ZERO),
        |limits| limits.monthly_spend_cap = Some(Money::ZERO),
        |limits| limits.allow_types = Some([].into()),
    ];
    for zero in zeros {
        refused(&mut engine(|policy| zero(&mut acme(policy).limits)), PROD, START);
    }
}

#[test]
fn an_expired_key_submits_nothing() {
    let mut engine = engine(|policy| prod(policy).expires = Some(START.wall + secs(1)));
    admit(&mut engine, PROD, START);

    let rejection = refused(&mut engine, PROD, START + secs(1));

    assert_eq!(rejection.reason, Reason::ExpiredKey);
    admit(&mut engine, BATCH, START + secs(1));
}

#[test]
fn a_key_revoked_while_its_submission_was_read_is_refused() {
    let mut engine = engine(|_| ());
    let identity = who(&engine, PROD);
    engine.reconfigure(&changed(|policy| drop(acme(policy).keys.remove("prod"))), START);

    let Decision::Reject { rejection, .. } = engine.admit(submission(identity), START) else {
        panic!("admitted")
    };

    assert_eq!(rejection.reason, Reason::RevokedKey);
}

#[test]
fn the_account_is_full_when_its_threads_are_taken_by_any_tenant() {
    let mut engine =
        engine(|policy| policy.accounts.get_mut("main").unwrap().threads = Threads::Fixed(1));
    admit(&mut engine, BETA, START);

    let rejection = refused(&mut engine, PROD, START);

    says(&rejection, Reason::InFlight, Some(secs(5)), Verdict::Busy);
    assert!(!rejection.text.contains("beta"), "{}", rejection.text);
}

#[test]
fn a_lapsed_account_is_no_reason_to_try_again() {
    for report in [
        AccountReport::Threads { total: 0, working: 0, ours: 0 },
        AccountReport::Balance(Money::ZERO),
    ] {
        let mut engine = engine(|_| ());
        engine.observe_account("main", report, START);

        let rejection = refused(&mut engine, PROD, START);

        says(&rejection, Reason::AccountUnavailable, None, Verdict::Spent);
    }
}

#[test]
fn a_refused_account_key_is_left_alone_for_five_minutes() {
    let mut engine = engine(|_| ());
    engine.observe_account("main", AccountReport::KeyRefused, START);

    let rejection = refused(&mut engine, PROD, START + secs(60));

    says(&rejection, Reason::AccountUnavailable, Some(secs(240)), Verdict::Spent);
    admit(&mut engine, PROD, START + secs(300));
}

#[test]
fn an_unreachable_provider_is_tried_by_one_submission_at_a_time() {
    let mut engine = engine(|_| ());
    for _ in 0..5 {
        engine.observe_upstream(false, START);
    }
    let rejection = refused(&mut engine, PROD, START);
    assert_eq!(rejection.reason, Reason::UpstreamUnavailable);
    assert_eq!((rejection.retry_after, rejection.verdict), (Some(secs(5)), None));

    let later = START + secs(5);
    assert_eq!(admissions(&mut engine, PROD, 10, later), 1);
    engine.observe_upstream(true, later);

    assert!(!engine.upstream_open());
    assert_eq!(admissions(&mut engine, PROD, 10, later), 10);
}

#[test]
fn the_checks_come_in_the_order_of_the_contract() {
    let mut engine = engine(|policy| {
        acme(policy).limits = Limits {
            rate: Some(Rate { per_minute: 1, burst: 1 }),
            daily_limit: Some(1),
            in_flight_max: Some(1),
            daily_spend_cap: Some(PRICE),
            monthly_spend_cap: None,
            prepaid: Some(prepaid("0.003")),
            allow_types: Some([CaptchaType::RecaptchaV2].into()),
        };
    });
    admit(&mut engine, PROD, START);
    engine.observe_account("main", AccountReport::KeyRefused, START);
    (0..5).for_each(|_| engine.observe_upstream(false, START));

    let lift: [(Reason, Lift); 8] = [
        (Reason::ExpiredKey, |policy| prod(policy).expires = None),
        (Reason::TypeDenied, |policy| acme(policy).limits.allow_types = None),
        (Reason::InFlight, |policy| acme(policy).limits.in_flight_max = None),
        (Reason::Rate, |policy| acme(policy).limits.rate = None),
        (Reason::DailyLimit, |policy| acme(policy).limits.daily_limit = None),
        (Reason::SpendCap, |policy| acme(policy).limits.daily_spend_cap = None),
        (Reason::InsufficientBalance, |policy| acme(policy).limits.prepaid = None),
        (Reason::AccountUnavailable, |policy| {
            policy.accounts.get_mut("main").unwrap().key_hash = None;
        }),
    ];
    let mut policy = Policy::clone(engine.policy());
    prod(&mut policy).expires = Some(START.wall);
    acme(&mut policy).limits.allow_types = Some([].into());
    for (reason, lift) in lift {
        engine.reconfigure(&Arc::new(policy.clone()), START);
        assert_eq!(refused(&mut engine, PROD, START).reason, reason);
        lift(&mut policy);
    }
    engine.reconfigure(&Arc::new(policy), START);
    assert_eq!(refused(&mut engine, PROD, START).reason, Reason::UpstreamUnavailable);
}

#[test]
fn shadow_mode_lets_everything_pass_and_names_the_first_limit() {
    let mut engine = engine(|policy| {
        acme(policy).enforce = false;
        acme(policy).limits.in_flight_max = Some(1);
        prod(policy).limits.daily_limit = Some(1);
    });
    let shadow = |decision| match decision {
        Decision::Admit(admitted) => admitted.shadow.map(|rejection| rejection.reason),
        Decision::Reject { rejection, .. } => panic!("refused: {rejection:?}"),
    };

    assert_eq!(shadow(decide(&mut engine, PROD, START)), None);
    assert_eq!(shadow(decide(&mut engine, PROD, START)), Some(Reason::InFlight));
    assert_eq!(held(&mut engine, START), PRICE + PRICE);
}

#[test]
fn shadow_mode_still_refuses_who_may_not_and_what_cannot() {
    let mut engine = engine(|policy| {
        acme(policy).enforce = false;
        prod(policy).expires = Some(START.wall);
    });
    assert_eq!(refused(&mut engine, PROD, START).reason, Reason::ExpiredKey);

    engine.observe_account("main", AccountReport::KeyRefused, START);
    assert_eq!(refused(&mut engine, BATCH, START).reason, Reason::AccountUnavailable);
}

#[test]
fn midnight_and_month_end_open_the_caps_again_but_open_solves_still_count() {
    let mut engine = engine(|policy| {
        acme(policy).limits.daily_spend_cap = Some(usd("0.006"));
        acme(policy).limits.monthly_spend_cap = Some(usd("0.012"));
    });
    let day = Duration::from_hours(24);
    for (n, days) in [(0, 0), (1, 0), (2, 1)] {
        let now = START + day * days;
        let id = format!("t{n}");
        open(&mut engine, &id, now);
        if n != 1 {
            ask(&mut engine, &id, solved(), now);
            let solve = engine.solve_of("main", &task(&id)).unwrap();
            engine.delivered(solve, now);
        }
    }

    let rejection = refused(&mut engine, PROD, START + day);
    assert_eq!(rejection.reason, Reason::SpendCap);
    assert!(rejection.text.contains("daily"), "{}", rejection.text);

    let after = START + day * 2;
    open(&mut engine, "t3", after);
    let rejection = refused(&mut engine, PROD, after);
    assert!(rejection.text.contains("monthly"), "{}", rejection.text);

    let december = START + day * 10;
    assert_eq!(admissions(&mut engine, PROD, 5, december), 0, "two holds fill the day's cap");
    engine.expire(usize::MAX, december);
    assert_eq!(admissions(&mut engine, PROD, 5, december), 2);
    assert_eq!(engine.snapshot(december).tenants[0].month_spent, Money::ZERO);
}

#[test]
fn a_clock_that_jumps_back_reopens_no_day_and_sticks_no_bucket() {
    let mut engine = engine(|policy| {
        acme(policy).limits.daily_limit = Some(1);
        acme(policy).limits.rate = Some(Rate { per_minute: 60, burst: 1 });
    });
    let back = |now: Now, secs: i64| Now { wall: Wall(now.wall.0 - secs * 1_000), ..now };
    open(&mut engine, "t1", START);
    assert_eq!(ask(&mut engine, "t1", solved(), START), OFFERED);
    engine.delivered(SolveId(0), START);

    let ten_minutes_back = back(START + secs(2), 600);
    let rejection = refused(&mut engine, PROD, ten_minutes_back);
    assert_eq!(rejection.reason, Reason::DailyLimit);
    assert!(rejection.retry_after.unwrap() > Duration::from_hours(12));

    let ahead = Now { mono: (START + secs(4)).mono, wall: START.wall + Duration::from_hours(48) };
    open(&mut engine, "t2", ahead);
    let returned = START + secs(6);
    assert_eq!(refused(&mut engine, PROD, returned).reason, Reason::DailyLimit);
    assert!(ask(&mut engine, "t2", solved(), returned) == OFFERED);
    engine.delivered(SolveId(1), returned);
    assert_eq!(engine.snapshot(returned).tenants[0].day_solves, 1, "of the day already reached");
}
