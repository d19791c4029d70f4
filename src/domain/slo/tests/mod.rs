#![expect(clippy::float_arithmetic, reason = "ratios, not money")]

mod acting;
mod budgets;
mod course;
mod measuring;
mod rules;
mod windows;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::domain::policy::{LatencySlo, PolicyAction, PolicyCondition, Slo};
use crate::domain::time::{Mono, Wall};

const START: Now = Now { mono: Mono(31_536_000_000_000_000), wall: Wall(1_790_000_000_000) };
const TYPE: CaptchaType = CaptchaType::Turnstile;
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

const SLO: Slo = Slo {
    objective: 0.95,
    window: DAY,
    deadline: Duration::from_mins(3),
    min_events: 50,
    warning_below: 0.5,
    critical_below: 0.1,
    latency: None,
};

fn with_latency(slo: Slo) -> Slo {
    Slo { latency: Some(LatencySlo { threshold: 30 * SECOND, objective: 0.9 }), ..slo }
}

const SECOND: Duration = Duration::from_secs(1);

fn slo_policy(default: Slo, rules: &[(PolicyCondition, PolicyAction)]) -> SloPolicy {
    let rules = rules.iter().map(|&(when, action)| PolicyRule { when, action }).collect();
    SloPolicy { default, types: BTreeMap::new(), rules, probe_every: 30 * SECOND }
}

fn budgets(default: Slo, rules: &[(PolicyCondition, PolicyAction)]) -> ErrorBudgets {
    ErrorBudgets::new(&slo_policy(default, rules))
}

fn happen(budgets: &mut ErrorBudgets, good: u32, bad: u32, now: Now) {
    for _ in 0..good {
        budgets.record(TYPE, Some(SliEvent::Good), None, now);
    }
    for _ in 0..bad {
        budgets.record(TYPE, Some(SliEvent::Bad), None, now);
    }
}

fn report(budgets: &ErrorBudgets, now: Now) -> Report {
    budgets.report(TYPE, SloKind::Success, now).unwrap()
}

fn before(now: Now, age: Duration) -> Now {
    Now {
        mono: Mono(now.mono.0 - u64::try_from(age.as_nanos()).unwrap()),
        wall: Wall(now.wall.0 - i64::try_from(age.as_millis()).unwrap()),
    }
}
