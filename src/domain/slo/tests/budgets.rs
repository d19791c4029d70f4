//! All error budgets together: reports, changes, reload, restart.

use super::*;
use crate::domain::slo::window::{Counts, Window};

fn rounded(number: f64, factor: f64) -> f64 {
    (number * factor).round() / factor
}

#[test]
#[expect(clippy::float_cmp, reason = "rounded as the seed rounds them")]
fn the_report_holds_the_fields_of_the_seeds_tracker() {
    let slo = Slo { window: HOUR, ..SLO };
    let mut budgets = budgets(slo, &[]);
    happen(&mut budgets, 93, 7, START);

    let report = report(&budgets, START);

    assert_eq!(report.status.label(), "exhausted");
    assert_eq!(report.objective, 0.95);
    let own = report.of_window(Window::Slo);
    assert_eq!(rounded(own.success_ratio.unwrap(), 10_000.0), 0.93);
    assert_eq!((own.counts.total(), own.counts.good, own.counts.bad), (100, 93, 7));
    assert_eq!(rounded(report.error_budget_events, 10.0), 5.0);
    assert_eq!(rounded(report.remaining_events, 10.0), -2.0, "the seed shows 0: it clamps");
    assert_eq!(rounded(report.remaining_ratio * 100.0, 10.0), -40.0);
    assert_eq!(rounded(own.burn_rate, 100.0), 1.4);
}

#[test]
fn half_of_five_hundred_failures_in_ten_thousand_solves_is_a_warning() {
    let mut budgets = budgets(SLO, &[]);
    happen(&mut budgets, 9_750, 250, START);

    let report = report(&budgets, START + 23 * HOUR);

    assert!((report.remaining_ratio - 0.5).abs() < 1e-12);
    assert!((report.remaining_events - 250.0).abs() < 1e-12);
    assert_eq!(report.status, Status::Warning);
}

#[test]
fn every_type_has_a_report_before_its_first_event() {
    let mut policy = slo_policy(SLO, &[]);
    policy.types.insert(TYPE, with_latency(Slo { objective: 0.97, ..SLO }));
    let budgets = ErrorBudgets::new(&policy);

    let reports: Vec<_> = budgets.reports(START).collect();

    assert_eq!(reports.len(), 27);
    assert!(reports.iter().all(|report| report.status == Status::Healthy));
    let empty = |report: &Report| report.windows.iter().all(|w| w.success_ratio.is_none());
    assert!(reports.iter().all(empty));
    assert!(budgets.report(TYPE, SloKind::Latency, START).is_some());
    assert!(budgets.report(CaptchaType::Image, SloKind::Latency, START).is_none());
}

#[test]
fn unlisted_types_share_the_default_but_not_its_counts() {
    let mut budgets = budgets(SLO, &[]);
    happen(&mut budgets, 0, 60, START);

    assert_eq!(budgets.status(TYPE, SloKind::Success, START), Status::Exhausted);
    assert_eq!(budgets.status(CaptchaType::Image, SloKind::Success, START), Status::Healthy);
}

#[test]
fn latency_events_are_counted_by_themselves_and_only_where_configured() {
    let mut with = budgets(with_latency(SLO), &[]);
    let mut without = budgets(SLO, &[]);
    for budgets in [&mut with, &mut without] {
        budgets.record(TYPE, Some(SliEvent::Good), Some(SliEvent::Bad), START);
        budgets.record(TYPE, None, Some(SliEvent::Good), START);
    }

    let latency = with.report(TYPE, SloKind::Latency, START).unwrap();
    assert_eq!(latency.of_window(Window::Slo).counts, Counts { good: 1, bad: 1 });
    assert!((latency.objective - 0.9).abs() < f64::EPSILON);
    let success = report(&with, START);
    assert_eq!(success.of_window(Window::Slo).counts, Counts { good: 1, bad: 0 });
    assert_eq!(without.report(TYPE, SloKind::Latency, START), None);
    let counts = Counts { good: 0, bad: 100 };
    let minute = MinuteCounts { minute: START.wall.0 / 60_000, counts };
    without.restore([SliRow { captcha_type: TYPE, slo: SloKind::Latency, minute }], START);
    assert_eq!(without.report(TYPE, SloKind::Latency, START), None);
}

#[test]
fn each_change_of_status_is_told_once_with_old_and_new() {
    let mut budgets = budgets(SLO, &[]);
    assert!(budgets.status_changes(START).is_empty());
    happen(&mut budgets, 970, 30, START);

    let change =
        |old, new| vec![StatusChange { captcha_type: TYPE, slo: SloKind::Success, old, new }];
    assert_eq!(budgets.status_changes(START), change(Status::Healthy, Status::Warning));
    assert!(budgets.status_changes(START).is_empty());
    happen(&mut budgets, 0, 100, START);
    assert_eq!(budgets.status_changes(START), change(Status::Warning, Status::Exhausted));
    let later = START + DAY + HOUR;
    assert_eq!(budgets.status_changes(later), change(Status::Exhausted, Status::Healthy));
}

fn rows(ages: &[(u32, u64, u64)]) -> Vec<SliRow> {
    ages.iter()
        .map(|&(hours_ago, good, bad)| {
            let minute = START.wall.0 / 60_000 - i64::from(hours_ago) * 60;
            let minute = MinuteCounts { minute, counts: Counts { good, bad } };
            SliRow { captcha_type: TYPE, slo: SloKind::Success, minute }
        })
        .collect()
}

#[test]
fn a_restart_brings_the_windows_back_and_tells_of_no_change() {
    let mut budgets = budgets(Slo { window: 7 * DAY, ..SLO }, &[]);

    budgets.restore(rows(&[(0, 10, 0), (3, 100, 20), (30, 1_000, 0), (200, 1, 900)]), START);

    let report = report(&budgets, START);
    let bad_and_all = |window| {
        let counts = report.of_window(window).counts;
        (counts.bad, counts.total())
    };
    assert_eq!(bad_and_all(Window::OneHour), (0, 10));
    assert_eq!(bad_and_all(Window::SixHours), (20, 130));
    assert_eq!(bad_and_all(Window::ThreeDays), (20, 1_130));
    assert_eq!(bad_and_all(Window::Slo), (20, 1_130));
    assert_eq!(report.status, Status::Healthy);
    assert!(budgets.status_changes(START).is_empty());
}

#[test]
fn an_exhausted_error_budget_is_exhausted_after_a_restart() {
    let mut budgets = budgets(SLO, &[]);

    budgets.restore(rows(&[(5, 50, 50)]), START);

    assert_eq!(budgets.status(TYPE, SloKind::Success, START), Status::Exhausted);
    assert!(budgets.status_changes(START).is_empty());
    let change = budgets.status_changes(START + 20 * HOUR);
    assert_eq!((change[0].old, change[0].new), (Status::Exhausted, Status::Healthy));
}

/// One good event an hour for `hours` until now.
fn hourly(budgets: &mut ErrorBudgets, hours: u32) {
    for age in (0..hours).rev() {
        happen(budgets, 1, 0, before(START, HOUR * age));
    }
}

#[test]
fn a_reload_keeps_the_counts_of_every_window() {
    let mut budgets = budgets(Slo { window: 7 * DAY, ..SLO }, &[]);
    hourly(&mut budgets, 24 * 10);
    let before = report(&budgets, START);

    let slo = Slo { window: 7 * DAY, objective: 0.5, min_events: 1, ..SLO };
    budgets.reconfigure(&slo_policy(slo, &[]), START);

    let after = report(&budgets, START);
    let counts = |report: &Report| report.windows.map(|window| window.counts);
    assert_eq!(counts(&after), counts(&before));
    assert!((after.objective - 0.5).abs() < f64::EPSILON);
}

#[test]
fn a_window_of_another_length_starts_with_what_is_known_of_its_span() {
    let hours = |from: Duration, to: Duration| {
        let mut budgets = budgets(Slo { window: from, ..SLO }, &[]);
        hourly(&mut budgets, 24 * 20);
        budgets.reconfigure(&slo_policy(Slo { window: to, ..SLO }, &[]), START);
        let own = report(&budgets, START).of_window(Window::Slo).counts.total();
        // It goes on counting and forgets all in time.
        happen(&mut budgets, 5, 0, START);
        assert_eq!(report(&budgets, START).of_window(Window::Slo).counts.total(), own + 5);
        let gone = report(&budgets, START + to + to / 1000);
        assert_eq!(gone.of_window(Window::Slo).counts.total(), 0);
        own
    };
    // Half an hour off the events, so that no event stands at an edge.
    let half = HOUR / 2;
    assert_eq!(hours(DAY, 10 * HOUR + half), 11, "shorter");
    assert_eq!(hours(10 * HOUR + half, DAY + half), 25, "longer, within the 3d window");
    assert_eq!(hours(DAY, 10 * DAY + half), 73, "longer than all: what the 3d window has");
    assert_eq!(hours(15 * DAY + half, 10 * DAY + half), 241, "shorter, beyond the 3d window");
    assert_eq!(hours(10 * DAY + half, 15 * DAY + half), 241, "longer: what the old one has");
    assert_eq!(hours(10 * DAY + half, DAY), 25, "to one of the burn windows");
}

#[test]
fn a_shorter_window_is_filled_from_the_finest_that_covers_it() {
    // Over all phases of the slots of the 30m window, 1.8 s each; those of the 30d window are 42 minutes.
    for phase in 0..8 {
        let now = START + SECOND * phase / 4;
        let mut budgets = budgets(Slo { window: 30 * DAY, ..SLO }, &[]);
        for age in (0..2_000).rev() {
            happen(&mut budgets, 1, 0, before(now, SECOND * age));
        }

        let slo = Slo { window: 20 * SECOND * 60, ..SLO };
        budgets.reconfigure(&slo_policy(slo, &[]), now);

        let total = report(&budgets, now).of_window(Window::Slo).counts.total();
        assert!((1_199..=1_203).contains(&total), "{phase} {total}");
    }
}

#[test]
fn a_latency_slo_that_is_gone_forgets_and_starts_anew_when_it_returns() {
    let mut budgets = budgets(with_latency(SLO), &[]);
    budgets.record(TYPE, None, Some(SliEvent::Bad), START);

    budgets.reconfigure(&slo_policy(SLO, &[]), START);
    assert_eq!(budgets.report(TYPE, SloKind::Latency, START), None);
    budgets.reconfigure(&slo_policy(with_latency(SLO), &[]), START);

    let report = budgets.report(TYPE, SloKind::Latency, START).unwrap();
    assert_eq!(report.of_window(Window::Slo).counts, Counts::default());
}

#[test]
fn a_reload_changes_the_rules_and_the_pace_of_probes_at_once() {
    let rules = [(PolicyCondition::Status(Status::Exhausted), PolicyAction::Pause)];
    let mut budgets = budgets(SLO, &[]);
    happen(&mut budgets, 0, 60, START);
    let mut policy = slo_policy(SLO, &rules);
    policy.probe_every = 5 * SECOND;

    budgets.reconfigure(&policy, START);

    budgets.take(TYPE, &Verdict::Probe, START);
    let Verdict::Refuse(refusal) = budgets.verdict(TYPE, Priority::Critical, START) else {
        panic!("passes");
    };
    assert_eq!(refusal.retry_after, 5 * SECOND);
}

#[test]
fn a_jump_of_the_wall_clock_moves_nothing() {
    let mut budgets = budgets(SLO, &[]);
    happen(&mut budgets, 60, 10, START);
    for wall in [0, i64::MAX, START.wall.0 - 86_400_000, START.wall.0 + 86_400_000] {
        let now = Now { wall: Wall(wall), ..START };
        assert_eq!(report(&budgets, now), report(&budgets, START));
    }
}
