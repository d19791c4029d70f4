//! What the sidecar itself would alert about, from its own state alone: Prometheus sees more, over time.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::super::Admin;
use super::answer::Json;
use crate::domain::engine::{Snapshot, TenantView};
use crate::domain::policy::Status;
use crate::domain::slo::burn::Tier;
use crate::domain::slo::report::Report;
use crate::domain::slo::window::Window;

#[derive(Serialize)]
pub(super) struct Alerts {
    alerts: Vec<Alert>,
}

/// One condition that holds now.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Alert {
    /// The alert of `rules/` that it belongs to.
    name: &'static str,
    severity: Severity,
    /// The captcha type, tenant or account that it is about; empty for the process.
    about: String,
    message: String,
}

/// The worst first.
#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Critical,
    Warning,
    Info,
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Alerts> {
    let mut alerts = Vec::new();
    if let Some(why) = admin.gate.store_trouble() {
        let message = format!("new paid solves are refused: {why}");
        alerts.push(alert("SolvegateStoreFailing", Severity::Critical, "", message));
    }
    let snapshot = admin.gate.snapshot();
    of_accounts(&snapshot, &mut alerts);
    snapshot.slos.iter().for_each(|report| of_slo(report, &mut alerts));
    snapshot.tenants.iter().for_each(|tenant| of_tenant(tenant, &mut alerts));
    // Stable: within a severity they stay in the order above.
    alerts.sort_by_key(|alert| alert.severity);
    Json(Alerts { alerts })
}

fn alert(name: &'static str, severity: Severity, about: &str, message: String) -> Alert {
    Alert { name, severity, about: about.to_owned(), message }
}

fn of_accounts(snapshot: &Snapshot, alerts: &mut Vec<Alert>) {
    for account in snapshot.accounts.iter().filter(|account| !account.up) {
        let why = if snapshot.upstream_open {
            "the provider cannot be reached"
        } else {
            "the provider refuses it, or its plan or balance is spent"
        };
        alerts.push(alert(
            "SolvegateUpstreamUnavailable",
            Severity::Critical,
            &account.name,
            why.to_owned(),
        ));
    }
}

/// The long and the short window of each tier, as in `rules/slo_alerts.yml`.
const TIERS: [(Tier, &str, Severity, Window, Window); 4] = [
    (
        Tier::Fast,
        "SolvegateErrorBudgetBurnFast",
        Severity::Critical,
        Window::OneHour,
        Window::FiveMinutes,
    ),
    (
        Tier::Medium,
        "SolvegateErrorBudgetBurnMedium",
        Severity::Critical,
        Window::SixHours,
        Window::HalfHour,
    ),
    (
        Tier::Slow,
        "SolvegateErrorBudgetBurnSlow",
        Severity::Warning,
        Window::OneDay,
        Window::TwoHours,
    ),
    (
        Tier::LongTerm,
        "SolvegateErrorBudgetBurnLongTerm",
        Severity::Warning,
        Window::ThreeDays,
        Window::SixHours,
    ),
];

fn of_slo(report: &Report, alerts: &mut Vec<Alert>) {
    let about = format!("{} ({})", report.captcha_type.label(), report.slo.label());
    // The fastest tier speaks for the slower ones.
    let burning = TIERS.iter().find(|(tier, _, _, long, short)| {
        let threshold = report.thresholds.iter().find(|(other, _)| other == tier);
        let Some((_, threshold)) = threshold else { return false };
        let (long, short) = (report.of_window(*long), report.of_window(*short));
        long.burn_rate > *threshold
            && short.burn_rate > *threshold
            && long.counts.good + long.counts.bad >= report.min_events
    });
    if let Some((_, name, severity, long, _)) = burning {
        let rate = report.of_window(*long).burn_rate;
        let message = format!("burns {rate:.1} times as fast as allowed over {}", long.label());
        alerts.push(alert(name, *severity, &about, message));
    }
    let left = report.remaining_ratio * 100.0;
    match report.status {
        Status::Exhausted => alerts.push(alert(
            "SolvegateErrorBudgetExhausted",
            Severity::Warning,
            &about,
            format!("the error budget is spent ({left:.0} % left)"),
        )),
        Status::Critical => alerts.push(alert(
            "SolvegateErrorBudgetLow",
            Severity::Warning,
            &about,
            format!("{left:.0} % of the error budget is left"),
        )),
        Status::Warning | Status::Healthy => {}
    }
    if let Some(in_force) = report.in_force {
        let message = format!("the policy {} is in force", in_force.kind().label());
        alerts.push(alert("SolvegatePolicyActive", Severity::Info, &about, message));
    }
}

fn of_tenant(tenant: &TenantView, alerts: &mut Vec<Alert>) {
    let limits = &tenant.limits;
    let money = |used: crate::domain::money::Money, cap: Option<crate::domain::money::Money>| {
        cap.map(|cap| (i128::from(used.micros()), i128::from(cap.micros())))
    };
    let solves = tenant.day_solves.saturating_add(u64::from(tenant.in_flight));
    let used = [
        ("daily_solves", limits.daily_limit.map(|cap| (i128::from(solves), i128::from(cap)))),
        ("daily_spend_usd", money(tenant.day_spent + tenant.held, limits.daily_spend_cap)),
        ("monthly_spend_usd", money(tenant.month_spent + tenant.held, limits.monthly_spend_cap)),
    ];
    for (limit, used) in used {
        let Some((used, cap)) = used.filter(|(_, cap)| *cap > 0) else { continue };
        let percent = used * 100 / cap;
        if percent >= 80 {
            let name = if percent >= 100 {
                "SolvegateTenantAllocationReached"
            } else {
                "SolvegateTenantAllocationNear"
            };
            let message = format!("{percent} % of {limit} is used");
            alerts.push(alert(name, Severity::Warning, &tenant.name, message));
        }
    }
}
