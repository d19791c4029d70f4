//! What is alerted, and that `rules/` know each alert.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::domain::engine::{AccountView, TenantView};
use crate::domain::money::Money;
use crate::domain::outcome::SliEvent;
use crate::domain::policy::{
    Limits, PolicyAction, PolicyCondition, PolicyRule, Slo, SloPolicy, Status,
};
use crate::domain::scope::Used;
use crate::domain::slo::ErrorBudgets;
use crate::domain::time::{Mono, Now};

const NOW: Now = Now { mono: Mono(31_536_000_000_000_000), wall: Wall(1_790_000_000_000) };
const DAY: Duration = Duration::from_hours(24);

fn usd(text: &str) -> Money {
    text.parse().unwrap()
}

/// The events of each type, as how long ago, good and bad.
fn slos(min_events: u64, events: &[(CaptchaType, Duration, u32, u32)]) -> Vec<Report> {
    let default = Slo {
        objective: 0.95,
        window: 30 * DAY,
        deadline: Duration::from_mins(3),
        min_events,
        warning_below: 0.5,
        critical_below: 0.1,
        latency: None,
    };
    let when = PolicyCondition::Status(Status::Exhausted);
    let rules = vec![PolicyRule { when, action: PolicyAction::Pause }];
    let probe_every = Duration::from_secs(30);
    let policy = SloPolicy { default, types: BTreeMap::new(), rules, probe_every };
    let mut budgets = ErrorBudgets::new(&policy);
    for (captcha_type, ago, good, bad) in events {
        let at = Mono(NOW.mono.0 - u64::try_from(ago.as_nanos()).unwrap());
        for (event, count) in [(SliEvent::Good, good), (SliEvent::Bad, bad)] {
            for _ in 0..*count {
                budgets.record(*captcha_type, Some(event), None, Now { mono: at, ..NOW });
            }
        }
    }
    budgets.reports(NOW).collect()
}

fn account(name: &str, balance: &str, minimum: Option<&str>) -> AccountView {
    AccountView {
        name: name.into(),
        in_flight: 0,
        up: true,
        key_refused: false,
        threads: None,
        balance: Some(usd(balance)),
        balance_minimum: minimum.map(usd),
        is_asked: true,
        refreshed_at: Some(NOW.wall),
    }
}

fn tenant(name: &str, day_solves: u64, day_spend: &str) -> TenantView {
    let limits =
        Limits { daily_limit: Some(25), daily_spend_cap: Some(usd("5")), ..Limits::default() };
    let used = Used { day_solves, day_spend: usd(day_spend), month_spend: Money::ZERO };
    TenantView { used, ..TenantView::idle(name, limits) }
}

fn told(
    slos: Vec<Report>,
    accounts: Vec<AccountView>,
    tenants: Vec<TenantView>,
    store_trouble: Option<&str>,
) -> Vec<String> {
    let snapshot = Snapshot { tenants, accounts, slos, ..Snapshot::default() };
    let alerts = alerts(&snapshot, store_trouble.map(str::to_owned), NOW.wall);
    let rules = severities();
    let told = alerts.iter().map(|alert| {
        let severity = serde_json::to_value(alert.severity).unwrap();
        assert_eq!(rules.get(alert.name), Some(&severity), "{alert:?} in rules/");
        let severity = severity.as_str().unwrap().to_owned();
        let name = alert.name.strip_prefix("Solvegate").unwrap();
        format!("{severity} {name} {}: {}", alert.about, alert.message)
    });
    told.collect()
}

/// What `rules/` say of each alert.
fn severities() -> BTreeMap<String, serde_json::Value> {
    let files = [
        include_str!("../../../../rules/slo_alerts.yml"),
        include_str!("../../../../rules/money.yml"),
        include_str!("../../../../rules/process.yml"),
    ];
    let mut severities = BTreeMap::new();
    for file in files {
        let file: serde_json::Value = serde_yaml::from_str(file).unwrap();
        for group in file["groups"].as_array().unwrap() {
            for rule in group["rules"].as_array().unwrap() {
                if let Some(name) = rule["alert"].as_str() {
                    severities.insert(name.to_owned(), rule["labels"]["severity"].clone());
                }
            }
        }
    }
    severities
}

#[test]
fn the_worst_comes_first_and_of_its_like_what_the_others_may_follow_from() {
    let now = Duration::ZERO;
    let slos = slos(
        50,
        &[
            // The longest ago comes first, as on a clock.
            (CaptchaType::Image, 20 * DAY, 970, 30),
            (CaptchaType::GeetestV4, 10 * DAY, 951, 49),
            (CaptchaType::RecaptchaV2, now, 0, 3),
            (CaptchaType::Turnstile, now, 10, 90),
        ],
    );
    let down = AccountView { up: false, ..account("down", "5", None) };
    let accounts = vec![account("low", "2", Some("2")), account("empty", "0", None), down];
    let tenants = vec![tenant("near", 20, "3.99"), tenant("full", 26, "5")];
    assert_eq!(
        told(slos, accounts, tenants, Some("disk full")),
        [
            "critical StoreFailing : new paid solves are refused: disk full",
            "critical AccountBalanceCritical low: 2.00 USD left, low at 2.00 USD or less",
            "critical UpstreamUnavailable down: its plan has lapsed or its balance is spent",
            "critical MostSolvesFailing turnstile (success): 90 of 100 events of 5m were bad",
            "critical ErrorBudgetBurnFast turnstile (success): burns 18.0 times as fast as allowed over 1h",
            "warning AccountBalanceLow empty: 0.00 USD left",
            "warning AllSolvesFailing recaptcha_v2 (success): all 3 events of 6h were bad",
            "warning ErrorBudgetExhausted turnstile (success): -1700.0 % of the error budget is left",
            "warning ErrorBudgetLow geetest_v4 (success): 2.0 % of the error budget is left",
            "warning TenantAllocationNear near: 80 % of daily_limit is used: 20 of 25 solves charged or open",
            "warning TenantAllocationReached full: 104 % of daily_limit is used: 26 of 25 solves charged or open",
            "warning TenantAllocationReached full: 100 % of daily_spend_cap is used: 5.00 of 5.00 USD charged or held",
            "info PolicyActive turnstile (success): the policy pause is in force",
        ]
    );
}

#[test]
fn what_chance_explains_is_no_alert() {
    let burns = |bad| {
        let slos = slos(1, &[(CaptchaType::Turnstile, Duration::ZERO, 0, bad)]);
        let told = told(slos, Vec::new(), Vec::new(), None);
        told.iter().any(|text| text.contains("Burn"))
    };
    assert!(!burns(1), "one failure of one event, although its burn rate is 20");
    assert!(burns(20));
}

#[test]
fn nothing_wrong_is_no_alert() {
    let fine = told(
        slos(50, &[]),
        vec![account("main", "5", Some("1"))],
        vec![tenant("acme", 19, "3.99")],
        None,
    );
    assert_eq!(fine, Vec::<String>::new());
}
