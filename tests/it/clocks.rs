//! Clocks that jump, days and months that end: limits reset once and on time, rates and deadlines do
//! not notice, and the books say the same as the counters.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::support::client::{poll, submission};
use crate::support::{ACME, Setup, World, until};

const PRICE: &str = "prices: { turnstile: 0.003 }";
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_jumps_changes_no_rate_and_no_deadline() {
    let ahead = clock(0);
    let setup = Setup {
        tenants: "acme: { rate_per_minute: 60, burst: 2, keys: { prod: { key: ACME } } }",
        rest: format!("{PRICE}\nslo: {{ default: {{ deadline: 120s }} }}"),
        ahead: Some(ahead),
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let open = world.submit(ACME, "answer=open").await;
    let mut delivered = 0;
    for jump in [-10 * MINUTE, 48 * HOUR, 10 * MINUTE - 48 * HOUR, -365 * 24 * HOUR] {
        // Whatever is left of the burst is used up.
        while let Some(id) = accepted(&world).await {
            assert_eq!(world.poll_to_end(ACME, &id).await.text(), "OK|a");
            delivered += 1;
        }
        ahead.fetch_add(jump, Ordering::Relaxed);

        let refused = world.get(&submission(ACME, "answer=a")).await;

        if refused.reason() == "rate" {
            assert_eq!(
                refused.header("retry-after"),
                Some("1"),
                "{jump}: one a second: {refused:?}"
            );
        } else {
            // A second had passed by then.
            assert_eq!(world.poll_to_end(ACME, &refused.id()).await.text(), "OK|a");
            delivered += 1;
        }
        assert_eq!(world.poll(ACME, "1").await.text(), "ERROR_WRONG_CAPTCHA_ID");
        assert!(world.tenant("acme").in_flight >= 1, "{jump}: the open solve timed out");
    }
    assert!(delivered >= 1);
    assert_eq!(world.poll_to_end(ACME, &open).await.text(), "OK|open");
    world.settled().await;
    assert_eq!(world.tenant("acme").spent.micros(), (delivered + 1) * 3_000);
    close(world, usize::try_from(delivered).unwrap() + 1).await;
}

async fn accepted(world: &World) -> Option<String> {
    let answer = world.get(&submission(ACME, "answer=a")).await;
    (answer.reason() == "none").then(|| answer.id())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_was_entered_is_not_left_again_and_its_limit_resets_once() {
    let ahead = clock(0);
    let setup = Setup {
        rest: PRICE.to_owned(),
        tenants: "acme: { daily_limit: 2, keys: { prod: { key: ACME } } }",
        ahead: Some(ahead),
        ..Setup::default()
    };
    let world = World::start(setup).await;
    deliver(&world, 2).await;
    assert_eq!(world.get(&submission(ACME, "")).await.reason(), "daily_limit");
    ahead.store(-10 * MINUTE, Ordering::Relaxed);
    let refused = world.get(&submission(ACME, "")).await;
    assert_eq!(refused.reason(), "daily_limit", "the same day, or the one before: not reset");

    ahead.store(48 * HOUR, Ordering::Relaxed);
    deliver(&world, 2).await;
    let refused = world.get(&submission(ACME, "")).await;
    assert_eq!(refused.reason(), "daily_limit");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=24 * 3_600).contains(&wait), "{wait}");

    ahead.store(0, Ordering::Relaxed);
    let refused = world.get(&submission(ACME, "")).await;
    assert_eq!(refused.reason(), "daily_limit", "no day is opened twice");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((24 * 3_600..=72 * 3_600).contains(&wait), "until the entered day ends: {wait}");
    close(world, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_clock_that_was_ahead_a_restart_counts_the_true_day_only() {
    let ahead = clock(48 * HOUR);
    let setup = Setup {
        rest: PRICE.to_owned(),
        tenants: "acme: { daily_limit: 3, prepaid: { opening_balance: 1.00 }, keys: { prod: { key: ACME } } }",
        ahead: Some(ahead),
        ..Setup::default()
    };
    let mut world = World::start(setup).await;
    deliver(&world, 3).await;
    assert_eq!(world.get(&submission(ACME, "")).await.reason(), "daily_limit");
    let before = world.tenant("acme");

    ahead.store(0, Ordering::Relaxed);
    world.restart().await;

    let after = world.tenant("acme");
    assert_eq!((after.day_solves, after.day_spent.micros()), (0, 0), "none of them was today's");
    assert_eq!((after.spent, after.balance), (before.spent, before.balance), "money has no day");
    deliver(&world, 1).await;

    ahead.store(48 * HOUR, Ordering::Relaxed);
    let refused = world.get(&submission(ACME, "")).await;
    assert_eq!(refused.reason(), "daily_limit", "that day's are still there when it comes");
    world.restart().await;
    assert_eq!(world.tenant("acme").day_solves, 3, "and after another start");
    close(world, 4).await;
}

/// An instant, and whether a day and a month begin with it there.
#[tokio::test(flavor = "multi_thread")]
async fn days_and_months_roll_under_load_in_their_zone_and_nowhere_else() {
    let rolls = [
        ("Europe/Berlin", "2027-03-28T01:00:00Z", false, false), // summer time begins
        ("Europe/Berlin", "2026-10-25T01:00:00Z", false, false), // and ends
        ("Europe/Berlin", "2027-03-27T23:00:00Z", true, false),  // the day of 23 hours begins
        ("Europe/Berlin", "2027-10-31T23:00:00Z", true, true), // a month, after the day of 25 hours
        ("Asia/Kolkata", "2026-12-31T18:30:00Z", true, true),  // the year ends
        ("Asia/Kolkata", "2027-01-01T00:00:00Z", false, false), // elsewhere
        ("Pacific/Auckland", "2027-02-28T11:00:00Z", true, true), // no leap year
        ("UTC", "2028-02-29T00:00:00Z", true, false),          // a leap day
        ("UTC", "2028-03-01T00:00:00Z", true, true),           // and its end
        ("America/Santiago", "2027-09-05T04:00:00Z", true, false), // a day that begins at 1:00
    ];
    let rolls = rolls.map(|(zone, at, day, month)| roll(zone, at, (day, month)));
    futures_util::future::join_all(rolls).await;
}

async fn roll(zone: &'static str, at: &'static str, (new_day, new_month): (bool, bool)) {
    let instant: jiff::Timestamp = at.parse().unwrap();
    let tz = TimeZone::get(zone).unwrap();
    let date = |seconds: i64| {
        (instant + jiff::SignedDuration::from_secs(seconds)).to_zoned(tz.clone()).date()
    };
    let (before, after) = (date(-1), date(1));
    assert_eq!((before != after, before.month() != after.month()), (new_day, new_month), "{at}");
    let now = || jiff::Timestamp::now().as_millisecond();
    // A second before, on the clock that the test sets and nobody else moves.
    let ahead = clock(instant.as_millisecond() - 60 * MINUTE - now());
    let setup = Setup {
        tenants: "acme: { prepaid: { opening_balance: 10.00 }, keys: { prod: { key: ACME } } }",
        rest: format!("{PRICE}\ntimezone: {zone}"),
        ahead: Some(ahead),
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let loads = (0..4).map(|_| async {
        let mut client = world.client().await;
        let mut solved = 0;
        for round in 0..30 {
            if round == 15 {
                // The instant passes while others are at their solves.
                ahead.store(instant.as_millisecond() + MINUTE - now(), Ordering::Relaxed);
            }
            let id = client.get(&submission(ACME, "answer=a")).await.id();
            while client.get(&poll(ACME, &id)).await.text() != "OK|a" {}
            solved += 1;
        }
        solved
    });
    let solved: u64 = futures_util::future::join_all(loads).await.into_iter().sum();
    world.settled().await;

    let tenant = world.tenant("acme");
    let booked = |date: Date| {
        let charges = world.charges_of("acme", date);
        u64::try_from(charges.iter().filter(|charge| charge.day == date.to_string()).count())
            .unwrap()
    };
    let (first, second) = (booked(before), booked(after));
    assert_eq!(tenant.day_solves, second, "{zone} {at}: the counter and the books");
    assert_eq!(tenant.day_spent.micros(), i64::try_from(second).unwrap() * 3_000);
    assert_eq!(tenant.spent.micros(), i64::try_from(solved).unwrap() * 3_000);
    if new_day {
        assert_eq!(first + second, solved, "{zone} {at}");
        assert!(first >= 15 && second >= 15, "{zone} {at}: {first} before, {second} after");
    } else {
        assert_eq!(second, solved, "{zone} {at}: one day");
    }
    let of_month = if new_month { second } else { solved };
    assert_eq!(
        tenant.month_spent.micros(),
        i64::try_from(of_month).unwrap() * 3_000,
        "{zone} {at}"
    );
    close(world, usize::try_from(solved).unwrap()).await;
}

async fn close(world: World, delivered: usize) {
    world.settled().await;
    world.close(delivered).await;
}

async fn deliver(world: &World, count: u64) {
    let before = world.tenant("acme").spent.micros();
    for _ in 0..count {
        let id = world.submit(ACME, "answer=a").await;
        assert_eq!(world.poll_to_end(ACME, &id).await.text(), "OK|a");
    }
    let expected = before + i64::try_from(count).unwrap() * 3_000;
    until("they are charged", || world.tenant("acme").spent.micros() == expected).await;
}

/// A wall clock that the test sets: milliseconds ahead of the system's.
fn clock(ahead: i64) -> &'static AtomicI64 {
    Box::leak(Box::new(AtomicI64::new(ahead)))
}
