//! What solves do to the error budgets, and what those do to submissions.

use super::*;
use crate::domain::outcome::SliEvent;
use crate::domain::policy::{LatencySlo, PolicyAction, PolicyCondition, PolicyRule, Status};
use crate::domain::rejection::Reason;

/// Pauses as soon as more than one solve in twenty fails.
fn paused_when_exhausted(policy: &mut Policy) {
    policy.slo.default.min_events = 1;
    policy.slo.rules = vec![PolicyRule {
        when: PolicyCondition::Status(Status::Exhausted),
        action: PolicyAction::Pause,
    }];
}

fn exhausted(change: impl FnOnce(&mut Policy)) -> Engine {
    let mut engine = engine(|policy| {
        paused_when_exhausted(policy);
        change(policy);
    });
    open(&mut engine, "t1", START);
    ask(&mut engine, "t1", failed(), START + secs(1));
    engine
}

#[test]
fn an_exhausted_error_budget_pauses_submissions_but_for_one_probe_at_a_time() {
    let mut engine = exhausted(|_| ());
    let now = START + secs(2);
    admit(&mut engine, PROD, now);

    let rejection = refused(&mut engine, PROD, now + secs(10));
    assert_eq!(rejection.reason, Reason::ErrorBudget);
    assert_eq!((rejection.retry_after, rejection.verdict), (Some(secs(20)), None));

    admit(&mut engine, PROD, now + secs(30));
    assert_eq!(refused(&mut engine, PROD, now + secs(30)).reason, Reason::ErrorBudget);
}

#[test]
fn a_probe_that_failed_by_its_clients_fault_is_given_back() {
    let mut engine = exhausted(|_| ());
    let now = START + secs(2);
    let probe = admit(&mut engine, PROD, now);
    engine.submit_failed(probe, Outcome::ClientError, "ERROR_PAGEURL", now + secs(1));

    // The provider's own trouble is an answer to the probe, and not to be asked for again at once.
    let mut now = now + secs(1);
    for outcome in [Outcome::ProviderError, Outcome::Capacity, Outcome::AccountError] {
        let next = admit(&mut engine, BATCH, now);
        assert_eq!(refused(&mut engine, PROD, now).reason, Reason::ErrorBudget);
        engine.submit_failed(next, outcome, "ERROR", now + secs(1));
        assert_eq!(refused(&mut engine, PROD, now + secs(1)).reason, Reason::ErrorBudget);
        now = now + secs(30);
    }
}

#[test]
fn a_submission_refused_for_something_else_uses_up_no_probe() {
    let mut engine = exhausted(|policy| prod(policy).limits.daily_limit = Some(1));
    let now = START + secs(2);
    admit(&mut engine, PROD, now);
    let now = now + secs(30);
    assert_eq!(refused(&mut engine, PROD, now).reason, Reason::DailyLimit);
    admit(&mut engine, BATCH, now);
}

#[test]
fn an_answer_is_in_time_up_to_the_threshold() {
    let slo = |policy: &mut Policy| {
        policy.slo.default.latency = Some(LatencySlo { threshold: secs(30), objective: 0.9 });
    };
    for (result, after, event) in [
        (solved(), 30, SliEvent::Good),
        (solved(), 31, SliEvent::Bad),
        (failed(), 1, SliEvent::Bad),
    ] {
        let mut engine = engine(slo);
        open(&mut engine, "t1", START);
        ask(&mut engine, "t1", result, START + secs(after));
        let written = writes(&mut engine);
        assert_eq!(verdicts(&written)[0].latency_event, Some(event), "after {after} s");
    }
}

#[test]
fn a_change_of_status_is_told_once() {
    let mut engine = exhausted(|_| ());
    engine.expire(usize::MAX, START + secs(120));
    assert_eq!(engine.drain_status_changes().count(), 1);
    engine.expire(usize::MAX, START + secs(121));
    assert_eq!(engine.drain_status_changes().count(), 0);
}
