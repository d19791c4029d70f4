//! `slo:`: objectives per captcha type, and the error budget policy.

use std::collections::BTreeMap;
use std::time::Duration;

use super::scalar::{Read, closest_type, duration, integer, number, one_of};
use super::section::{Section, Value};
use super::words;
use super::yaml::Scalar;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::policy::{
    LatencySlo, PolicyAction, PolicyCondition, PolicyRule, Slo, SloPolicy,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

const DEFAULT: Slo = Slo {
    objective: 0.95,
    window: DAY,
    deadline: Duration::from_mins(3),
    min_events: 50,
    warning_below: 0.5,
    critical_below: 0.1,
    latency: None,
};

/// The windows that burn rates are kept over.
const BURN_WINDOWS: &[(&str, Duration)] = &[
    ("5m", Duration::from_mins(5)),
    ("30m", Duration::from_mins(30)),
    ("1h", HOUR),
    ("2h", Duration::from_hours(2)),
    ("6h", Duration::from_hours(6)),
    ("1d", DAY),
    ("3d", Duration::from_hours(72)),
];

pub(super) fn read(mut section: Section<'_>) -> SloPolicy {
    let default = objective(section.section("default"), &DEFAULT);
    let mut types = BTreeMap::new();
    for (label, value) in section.entries("types") {
        match CaptchaType::from_label(label) {
            Some(captcha_type) => {
                types.insert(captcha_type, objective(value.section(), &default));
            }
            None => value.fault(format!("is no captcha type{}", closest_type(label))),
        }
    }
    let rules: Vec<_> = section.items("policy").into_iter().filter_map(rule).collect();
    if !rules.is_empty() {
        let text =
            "is set: solves are refused while one of its rules holds (without it, alerts only)";
        section.warn_at("policy", text);
    }
    let probe_every = section.read_or("probe_every", duration(SECOND..=HOUR), 30 * SECOND);
    section.finish();
    SloPolicy { default, types, rules, probe_every }
}

/// One SLO; what it does not say is as in `base`.
fn objective(mut section: Section<'_>, base: &Slo) -> Slo {
    let within = |share: f64| (0.0..=1.0).contains(&share);
    let slo = Slo {
        objective: section.read_or("objective", open_share(), base.objective),
        window: section.read_or("window", duration(Duration::from_mins(1)..=30 * DAY), base.window),
        deadline: section.read_or("deadline", duration(SECOND..=HOUR), base.deadline),
        min_events: section.read_or("min_events", integer(0..=1_000_000_000), base.min_events),
        warning_below: section.read_or(
            "warning_below",
            number(within, "a share from 0 to 1 such as 0.5"),
            base.warning_below,
        ),
        critical_below: section.read_or(
            "critical_below",
            number(within, "a share from 0 to 1 such as 0.1"),
            base.critical_below,
        ),
        latency: match section.optional_section("latency") {
            Some(latency) => self::latency(latency, base.latency),
            None => base.latency,
        },
    };
    if slo.critical_below >= slo.warning_below {
        let key = if section.has("critical_below") { "critical_below" } else { "warning_below" };
        let text = format!(
            "must leave critical_below ({}) under warning_below ({})",
            slo.critical_below, slo.warning_below
        );
        section.fault_at(key, text);
    }
    section.finish();
    slo
}

fn latency(mut section: Section<'_>, base: Option<LatencySlo>) -> Option<LatencySlo> {
    let limits = Duration::from_millis(1)..=HOUR;
    let (threshold, objective) = match base {
        Some(base) => (
            Some(section.read_or("threshold", duration(limits), base.threshold)),
            Some(section.read_or("objective", open_share(), base.objective)),
        ),
        None => (
            section.required("threshold", duration(limits), "name the longest good time"),
            section.required("objective", open_share(), "name the share to reach"),
        ),
    };
    section.finish();
    Some(LatencySlo { threshold: threshold?, objective: objective? })
}

fn open_share() -> impl Fn(&Scalar) -> Read<f64> {
    number(|share| share > 0.0 && share < 1.0, "above 0 and below 1, such as 0.95")
}

fn rule(item: Value<'_>) -> Option<PolicyRule> {
    let mut section = item.section();
    let when = match section.value("when") {
        Some(value) => condition(value.section()),
        None => missing(&section, "when", "add when: { status: exhausted }"),
    };
    let action = match section.value("action") {
        Some(value) => action(value),
        None => missing(&section, "action", "add action: pause"),
    };
    section.finish();
    Some(PolicyRule { when: when?, action: action? })
}

fn missing<T>(section: &Section<'_>, key: &str, hint: &str) -> Option<T> {
    if !section.has(key) {
        section.fault(format!("must have {key}; {hint}"));
    }
    None
}

fn condition(mut section: Section<'_>) -> Option<PolicyCondition> {
    let status = section.read("status", one_of(words::STATUSES));
    let factor = section.read(
        "burn_rate_above",
        number(|factor| factor > 0.0 && factor <= 1e6, "a factor above 0, such as 2"),
    );
    let over = section.read("over", one_of_windows);
    let [by_status, by_burn_rate, has_over] =
        ["status", "burn_rate_above", "over"].map(|key| section.has(key));
    let condition = match (by_status, by_burn_rate, has_over) {
        (true, false, false) => status.map(PolicyCondition::Status),
        (false, true, true) => match (factor, over) {
            (Some(factor), Some(over)) => Some(PolicyCondition::BurnRateAbove { factor, over }),
            _ => None,
        },
        _ => {
            section.fault("must have either status, or burn_rate_above and over");
            None
        }
    };
    section.finish();
    condition
}

/// A window by its length, so that `24h` is as good as `1d`.
fn one_of_windows(scalar: &Scalar) -> Read<Duration> {
    let given = duration(Duration::ZERO..=Duration::MAX)(scalar).ok();
    let window = BURN_WINDOWS.iter().find(|(_, window)| Some(*window) == given);
    window.map_or_else(|| one_of(BURN_WINDOWS)(scalar), |(_, window)| Ok(*window))
}

fn action(value: Value<'_>) -> Option<PolicyAction> {
    if value.is_scalar() {
        return value.read(one_of(&[
            ("pause", PolicyAction::Pause),
            ("pause_non_critical", PolicyAction::PauseNonCritical),
        ]));
    }
    let mut section = value.section();
    let share = section.required(
        "throttle",
        number(|share| (0.0..=1.0).contains(&share), "the share to admit, from 0 to 1"),
        "write { throttle: 0.5 }",
    );
    section.finish();
    share.map(PolicyAction::Throttle)
}
