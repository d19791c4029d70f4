//! What counts say: the arithmetic of objectives and its edges.

use super::*;
use crate::domain::slo::burn::{Tier, success_ratio};
use crate::domain::slo::window::Counts;

fn objective(share: f64) -> Objective {
    Objective::of(&Slo { objective: share, ..SLO }, SloKind::Success).unwrap()
}

fn counts(total: u64, bad: u64) -> Counts {
    Counts { good: total - bad, bad }
}

#[track_caller]
fn assert_near(actual: f64, expected: f64) {
    assert!((actual - expected).abs() < 1e-9, "{actual} is not {expected}");
}

#[test]
fn the_statuses_meet_exactly_at_half_a_tenth_and_nothing() {
    for (share, total) in [
        (0.95, 10_000),
        (0.9, 10_000),
        (0.99, 10_000),
        (0.999, 1_000_000),
        (0.93, 10_000),
        (0.97, 10_000),
        (0.8, 100),
        (0.7, 100),
        (0.05, 10_000),
        (0.1, 1_000),
    ] {
        let objective = objective(share);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
        let allowed = objective.error_budget_events(counts(total, 0)) as u64;
        let status = |bad| objective.status(counts(total, bad));

        assert_eq!(status(0), Status::Healthy, "{share}");
        assert_eq!(status(allowed / 2 - 1), Status::Healthy, "{share}");
        assert_eq!(status(allowed / 2), Status::Warning, "{share}: half is left");
        assert_eq!(status(allowed * 9 / 10), Status::Warning, "{share}: a tenth is left");
        assert_eq!(status(allowed * 9 / 10 + 1), Status::Critical, "{share}");
        assert_eq!(status(allowed - 1), Status::Critical, "{share}");
        assert_eq!(status(allowed), Status::Exhausted, "{share}: nothing is left");
        assert_eq!(status(total), Status::Exhausted, "{share}");
    }
}

#[test]
fn ninety_five_percent_of_ten_thousand_solves_allows_five_hundred_failures() {
    let objective = objective(0.95);

    assert_near(objective.error_budget_events(counts(10_000, 0)), 500.0);
    assert_near(objective.remaining_events(counts(10_000, 250)), 250.0);
    assert_near(objective.remaining_ratio(counts(10_000, 250)), 0.5);
    assert_near(objective.remaining_ratio(counts(10_000, 500)), 0.0);
    assert_near(objective.remaining_ratio(counts(10_000, 1_000)), -1.0);
    assert_near(objective.remaining_events(counts(10_000, 1_000)), -500.0);
}

#[test]
fn the_burn_rate_is_one_on_pace_two_at_twice_and_five_at_five_times() {
    let objective = objective(0.95);

    for (bad, burn_rate) in [(0, 0.0), (25, 0.5), (50, 1.0), (100, 2.0), (250, 5.0), (1000, 20.0)] {
        assert_near(objective.burn_rate(counts(1_000, bad)), burn_rate);
    }
}

#[test]
fn a_burn_rate_is_above_a_factor_only_when_it_exceeds_it() {
    for share in [0.95, 0.9, 0.7, 0.93] {
        let objective = objective(share);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
        let on_pace = objective.error_budget_events(counts(10_000, 0)) as u64;

        assert!(!objective.burns_above(2.0, counts(10_000, on_pace * 2)), "{share}");
        assert!(objective.burns_above(2.0, counts(10_000, on_pace * 2 + 1)), "{share}");
        assert!(!objective.burns_above(0.0, counts(0, 0)), "{share}");
        assert!(!objective.burns_above(1e6, counts(1 << 42, 1 << 42)), "{share}");
    }
}

#[test]
fn without_events_the_error_budget_is_whole_and_nothing_burns() {
    let objective = objective(0.95);
    let none = Counts::default();

    assert_eq!(success_ratio(none), None);
    assert_near(objective.burn_rate(none), 0.0);
    assert_near(objective.remaining_ratio(none), 1.0);
    assert_near(objective.remaining_events(none), 0.0);
    let eager = Objective::of(&Slo { min_events: 0, ..SLO }, SloKind::Success).unwrap();
    assert_eq!(eager.status(none), Status::Healthy);
}

#[test]
fn below_the_minimum_of_events_no_status_is_claimed() {
    let objective = objective(0.95);

    assert_eq!(objective.status(counts(49, 49)), Status::Healthy);
    assert_eq!(objective.status(counts(50, 50)), Status::Exhausted);
}

#[test]
fn edges_at_the_ends_of_the_scale_hold_too() {
    let slo = Slo { warning_below: 1.0, critical_below: 0.0, ..SLO };
    let objective = Objective::of(&slo, SloKind::Success).unwrap();

    assert_eq!(objective.status(counts(100, 0)), Status::Warning);
    assert_eq!(objective.status(counts(100, 4)), Status::Warning);
    assert_eq!(objective.status(counts(100, 5)), Status::Exhausted);
}

#[test]
fn an_objective_next_to_one_or_to_zero_divides_by_no_zero() {
    for share in [f64::MIN_POSITIVE, 1e-12, 1.0 - 1e-12, 1.0 - f64::EPSILON] {
        let objective = objective(share);
        for bad in [0, 1, 100] {
            assert!(objective.burn_rate(counts(100, bad)).is_finite(), "{share}");
            assert!(objective.remaining_ratio(counts(100, bad)).is_finite(), "{share}");
        }
        for tier in Tier::ALL {
            assert!(objective.burn_rate_threshold(tier).is_finite(), "{share}");
        }
    }
}

#[test]
fn the_thresholds_at_thirty_days_are_the_workbooks() {
    let slo = Slo { objective: 0.99, window: 30 * DAY, ..SLO };
    let objective = Objective::of(&slo, SloKind::Success).unwrap();

    for (tier, threshold) in Tier::ALL.into_iter().zip([14.4, 6.0, 3.0, 1.0]) {
        assert_near(objective.burn_rate_threshold(tier), threshold);
    }
}

#[test]
fn a_shorter_window_lowers_the_thresholds_to_no_less_than_one() {
    let slo = Slo { window: 7 * DAY, ..SLO };
    let objective = Objective::of(&slo, SloKind::Success).unwrap();

    for (tier, threshold) in Tier::ALL.into_iter().zip([3.36, 1.4, 1.0, 1.0]) {
        assert_near(objective.burn_rate_threshold(tier), threshold);
    }
}

#[test]
fn every_threshold_can_be_exceeded_when_everything_fails() {
    let at_80 = Slo { objective: 0.8, window: 30 * DAY, ..SLO };
    let fast = Objective::of(&at_80, SloKind::Success).unwrap();
    assert_near(fast.burn_rate_threshold(Tier::Fast), 4.0);

    let at_10 = Slo { objective: 0.1, ..at_80 };
    let slow = Objective::of(&at_10, SloKind::Success).unwrap();
    assert_near(slow.burn_rate_threshold(Tier::Slow), 0.8 / 0.9);

    for percent in 1..100_u32 {
        let slo = Slo { objective: f64::from(percent) / 100.0, window: 30 * DAY, ..SLO };
        let objective = Objective::of(&slo, SloKind::Success).unwrap();
        for tier in Tier::ALL {
            let threshold = objective.burn_rate_threshold(tier);
            assert!(objective.burn_rate(counts(100, 100)) > threshold, "{percent} {tier:?}");
        }
    }
}
