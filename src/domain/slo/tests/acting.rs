//! What the policy does to submissions.

use super::*;
use crate::domain::policy::PolicyAction::{Pause, PauseNonCritical, Throttle};
use crate::domain::policy::Priority::{Background, Critical, Normal};
use crate::domain::slo::policy::{PolicyKind, Refusal};

const EXHAUSTED: PolicyCondition = PolicyCondition::Status(Status::Exhausted);

fn burn_rate_above(factor: f64, over: Duration) -> PolicyCondition {
    PolicyCondition::BurnRateAbove { factor, over }
}

/// Decides on a submission and acts on it, as the engine does.
fn submit(budgets: &mut ErrorBudgets, priority: Priority, now: Now) -> Verdict {
    let verdict = budgets.verdict(TYPE, priority, now);
    budgets.take(TYPE, &verdict, now);
    verdict
}

fn refused(verdict: Verdict) -> Option<Refusal> {
    match verdict {
        Verdict::Refuse(refusal) => Some(refusal),
        Verdict::Pass | Verdict::PassThrottled(_) | Verdict::Probe => None,
    }
}

fn exhausted(rules: &[(PolicyCondition, PolicyAction)]) -> ErrorBudgets {
    let mut budgets = budgets(SLO, rules);
    happen(&mut budgets, 80, 20, START);
    budgets
}

#[test]
fn without_rules_everything_passes() {
    let mut budgets = exhausted(&[]);

    assert_eq!(submit(&mut budgets, Background, START), Verdict::Pass);
    assert_eq!(budgets.in_force(TYPE, START), None);
}

#[test]
fn a_pause_refuses_all_priorities_and_says_which_type_why_and_when() {
    let mut budgets = exhausted(&[(EXHAUSTED, Pause)]);
    assert_eq!(submit(&mut budgets, Normal, START), Verdict::Probe);

    for priority in [Critical, Normal, Background] {
        let now = START + 10 * SECOND;
        let refusal = refused(submit(&mut budgets, priority, now)).unwrap();
        assert_eq!(refusal.in_force.kind(), PolicyKind::Pause);
        assert_eq!(refusal.retry_after, 20 * SECOND);
        assert_eq!(
            refusal.to_string(),
            "turnstile solves are paused: success error budget exhausted, -300.0 % left; \
             try again in 20 s"
        );
    }
}

#[test]
fn a_pause_of_the_non_critical_lets_the_critical_pass() {
    let rules = [(burn_rate_above(2.0, HOUR), PauseNonCritical)];
    let mut budgets = exhausted(&rules);
    assert_eq!(submit(&mut budgets, Background, START), Verdict::Probe);

    assert_eq!(submit(&mut budgets, Critical, START), Verdict::Pass);
    for priority in [Normal, Background] {
        let refusal = refused(submit(&mut budgets, priority, START)).unwrap();
        assert_eq!(
            refusal.to_string(),
            "turnstile solves are paused unless critical: success burn rate 4.00 over 1h, \
             above 2; try again in 30 s"
        );
    }
}

#[test]
fn the_first_rule_that_matches_acts_alone() {
    let rules = [
        (burn_rate_above(100.0, HOUR), Throttle(0.0)),
        (PolicyCondition::Status(Status::Critical), PauseNonCritical),
        (EXHAUSTED, Pause),
    ];
    let mut budgets = exhausted(&rules);

    assert_eq!(submit(&mut budgets, Critical, START), Verdict::Pass);
    assert_eq!(budgets.in_force(TYPE, START).unwrap().kind(), PolicyKind::PauseNonCritical);
}

#[test]
fn a_rule_on_a_status_acts_at_that_status_and_worse_only() {
    for (bad, acts) in [(2, false), (3, true), (20, true)] {
        let mut budgets = budgets(SLO, &[(PolicyCondition::Status(Status::Warning), Pause)]);
        happen(&mut budgets, 100 - bad, bad, START);

        assert_eq!(budgets.in_force(TYPE, START).is_some(), acts, "{bad}");
    }
}

#[test]
fn a_rule_on_a_burn_rate_acts_strictly_above_its_factor() {
    for (bad, acts) in [(10, false), (11, true)] {
        let mut budgets = budgets(SLO, &[(burn_rate_above(2.0, HOUR), Pause)]);
        happen(&mut budgets, 100 - bad, bad, START);

        assert_eq!(budgets.in_force(TYPE, START).is_some(), acts, "{bad}");
    }
}

#[test]
fn nothing_acts_below_the_minimum_of_events() {
    let rules = [
        (burn_rate_above(1.0, HOUR), Pause),
        (PolicyCondition::Status(Status::Healthy), Pause),
        (EXHAUSTED, Pause),
    ];
    let mut budgets = budgets(SLO, &rules);
    happen(&mut budgets, 0, 49, START);
    assert_eq!(submit(&mut budgets, Background, START), Verdict::Pass);

    happen(&mut budgets, 0, 1, START);
    assert!(budgets.in_force(TYPE, START).is_some());
}

#[test]
fn a_rule_on_a_burn_rate_needs_the_minimum_of_events_in_its_own_window() {
    let mut budgets = budgets(SLO, &[(burn_rate_above(1.0, HOUR), Pause)]);
    happen(&mut budgets, 1_000, 0, START);
    let now = START + 2 * HOUR;
    happen(&mut budgets, 0, 49, now);
    assert_eq!(budgets.in_force(TYPE, now), None);

    happen(&mut budgets, 0, 1, now);
    assert!(budgets.in_force(TYPE, now).is_some());
}

#[test]
fn a_throttle_admits_exactly_its_share_of_a_thousand() {
    for (share, admitted) in
        [(0.0, 0), (0.001, 1), (0.1, 100), (0.333, 333), (0.5, 500), (0.9, 900), (1.0, 1000)]
    {
        let mut budgets = exhausted(&[(EXHAUSTED, Throttle(share))]);
        for round in 0..3 {
            let passed = (0..1_000)
                .filter(|_| refused(submit(&mut budgets, Normal, START)).is_none())
                .count();
            assert_eq!(passed, admitted, "{share} {round}");
        }
    }
}

#[test]
fn a_throttle_spreads_what_it_admits() {
    let mut budgets = exhausted(&[(EXHAUSTED, Throttle(0.25))]);

    for _ in 0..100 {
        let four = [(); 4].map(|()| refused(submit(&mut budgets, Critical, START)).is_none());
        assert_eq!(four, [false, false, false, true]);
    }
}

#[test]
fn a_solve_refused_for_another_reason_consumes_no_probe_and_no_share() {
    let mut paused = exhausted(&[(EXHAUSTED, Pause)]);
    let mut throttled = exhausted(&[(EXHAUSTED, Throttle(0.5))]);
    submit(&mut throttled, Normal, START);

    for _ in 0..10 {
        assert_eq!(paused.verdict(TYPE, Normal, START), Verdict::Probe);
        assert_eq!(throttled.verdict(TYPE, Normal, START), Verdict::PassThrottled(0.5));
    }
    assert_eq!(submit(&mut paused, Normal, START), Verdict::Probe);
    assert!(refused(submit(&mut paused, Normal, START)).is_some());
    assert_eq!(submit(&mut throttled, Normal, START), Verdict::PassThrottled(0.5));
    assert!(refused(submit(&mut throttled, Normal, START)).is_some());
}

#[test]
fn while_paused_one_probe_per_type_is_admitted_every_thirty_seconds() {
    for action in [Pause, PauseNonCritical] {
        let mut budgets = exhausted(&[(EXHAUSTED, action)]);
        for _ in 0..60 {
            budgets.record(CaptchaType::Image, Some(SliEvent::Bad), None, START);
        }
        let mut probes = Vec::new();
        for second in 0..600 {
            let now = START + SECOND * second;
            for _ in 0..5 {
                if submit(&mut budgets, Normal, now) == Verdict::Probe {
                    probes.push(second);
                }
            }
            if second == 7 {
                let other = budgets.verdict(CaptchaType::Image, Normal, now);
                assert_eq!(other, Verdict::Probe, "each type has its own");
            }
        }
        assert_eq!(probes, (0..600).step_by(30).collect::<Vec<_>>());
    }
}

#[test]
fn recovery_is_seen_through_the_probes_and_ends_the_pause() {
    let slo = Slo { min_events: 10, ..SLO };
    let mut budgets = budgets(slo, &[(burn_rate_above(5.0, HOUR), Pause)]);
    happen(&mut budgets, 0, 40, START);
    let mut paused_for = None;
    for second in 0..7_200 {
        let now = START + SECOND * second;
        match submit(&mut budgets, Normal, now) {
            Verdict::Probe => happen(&mut budgets, 1, 0, now),
            Verdict::Pass => {
                paused_for = Some(second);
                break;
            }
            Verdict::PassThrottled(_) | Verdict::Refuse(_) => {}
        }
    }

    // 40 bad events are a quarter of 160: after the 120th good probe, a second later, a submission passes.
    // The bad ones themselves would have left the window at 3,600 s.
    assert_eq!(paused_for, Some(119 * 30 + 1));
}

#[test]
fn a_type_that_still_fails_stays_paused_by_its_probes() {
    let slo = Slo { min_events: 10, ..SLO };
    let mut budgets = budgets(slo, &[(burn_rate_above(5.0, HOUR), Pause)]);
    happen(&mut budgets, 0, 40, START);
    for second in 0..7_200 {
        let now = START + SECOND * second;
        match submit(&mut budgets, Normal, now) {
            Verdict::Probe => happen(&mut budgets, 0, 1, now),
            Verdict::Refuse(_) => {}
            Verdict::Pass | Verdict::PassThrottled(_) => panic!("resumed after {second} s"),
        }
    }
}

#[test]
fn the_latency_slo_can_bring_a_rule_into_force_too() {
    let mut budgets = budgets(with_latency(SLO), &[(EXHAUSTED, Pause)]);
    for n in 0..100 {
        let latency = if n < 80 { SliEvent::Good } else { SliEvent::Bad };
        budgets.record(TYPE, Some(SliEvent::Good), Some(latency), START);
    }

    let why = budgets.in_force(TYPE, START).unwrap().why;
    assert_eq!(why.to_string(), "latency error budget exhausted, -100.0 % left");
}
