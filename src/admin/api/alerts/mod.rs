//! What the sidecar itself would alert about, from its own state alone: Prometheus sees more, over time.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::super::Admin;
use super::answer::{ApiError, Json, snapshot};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::engine::Snapshot;
use crate::domain::notice::{self, Fact, Figures, Level, Topic};
use crate::domain::slo::SloKind;
use crate::domain::slo::burn::Tier;
use crate::domain::slo::report::Report;
use crate::domain::slo::window::Window;
use crate::domain::time::Wall;

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
    #[serde(skip)]
    part: Part,
}

/// The worst first.
#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Critical,
    Warning,
    Info,
}

/// What an alert is about; of alerts that are as severe, what the others may follow from first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Process,
    Account,
    Slo,
    Tenant,
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<Alerts>, ApiError> {
    let store_trouble = admin.gate.store_trouble();
    let snapshot = snapshot(&admin).await?;
    Ok(Json(Alerts { alerts: alerts(&snapshot, store_trouble, admin.gate.now().wall) }))
}

fn alerts(snapshot: &Snapshot, store_trouble: Option<String>, now: Wall) -> Vec<Alert> {
    let mut alerts = Vec::new();
    if let Some(why) = store_trouble {
        let message = format!("new paid solves are refused: {why}");
        let (name, severity) = ("SolvegateStoreFailing", Severity::Critical);
        alerts.push(Alert { name, severity, about: String::new(), message, part: Part::Process });
    }
    snapshot.slos.iter().for_each(|report| of_slo(report, &mut alerts));
    alerts.extend(notice::facts(snapshot, now).iter().filter_map(of_fact));
    // Stable: types, tenants and accounts stay in their own order.
    alerts.sort_by_key(|alert| (alert.severity, alert.part));
    alerts
}

fn of_slo(report: &Report, alerts: &mut Vec<Alert>) {
    let mut push = |name, severity, message| {
        let about = slo_name(report.captcha_type, report.slo);
        alerts.push(Alert { name, severity, about, message, part: Part::Slo });
    };
    if report.mostly_fails() {
        let counts = report.of_window(Window::FiveMinutes).counts;
        let message = format!("{} of {} events of 5m were bad", counts.bad, counts.total());
        push("SolvegateMostSolvesFailing", Severity::Critical, message);
    }
    // The fastest tier speaks for the slower ones.
    if let Some(tier) = report.burning() {
        let (name, severity) = match tier {
            Tier::Fast => ("SolvegateErrorBudgetBurnFast", Severity::Critical),
            Tier::Medium => ("SolvegateErrorBudgetBurnMedium", Severity::Critical),
            Tier::Slow => ("SolvegateErrorBudgetBurnSlow", Severity::Warning),
            Tier::LongTerm => ("SolvegateErrorBudgetBurnLongTerm", Severity::Warning),
        };
        let long = report.of_window(tier.long_window());
        let (rate, over) = (long.burn_rate, long.window.label());
        push(name, severity, format!("burns {rate:.1} times as fast as allowed over {over}"));
    }
    if report.all_fail() {
        let bad = report.of_window(Window::SixHours).counts.bad;
        let message = format!("all {bad} events of 6h were bad");
        push("SolvegateAllSolvesFailing", Severity::Warning, message);
    }
    if let Some(in_force) = report.in_force {
        let message = format!("the policy {} is in force", in_force.kind().label());
        push("SolvegatePolicyActive", Severity::Info, message);
    }
}

/// The alert for how something is, where `rules/` have one: a tenant's own balance has none.
fn of_fact(fact: &Fact) -> Option<Alert> {
    let (name, severity) = match (&fact.topic, fact.level?) {
        (Topic::SloStatus(..), Level::Critical) => ("SolvegateErrorBudgetLow", Severity::Warning),
        (Topic::SloStatus(..), Level::Exhausted) => {
            ("SolvegateErrorBudgetExhausted", Severity::Warning)
        }
        (Topic::Account(_), Level::Down) => ("SolvegateUpstreamUnavailable", Severity::Critical),
        // Without a minimum only nothing is little.
        (Topic::AccountBalance(_), Level::Zero) if !has_minimum(fact) => {
            ("SolvegateAccountBalanceLow", Severity::Warning)
        }
        (Topic::AccountBalance(_), Level::Low | Level::Zero) => {
            ("SolvegateAccountBalanceCritical", Severity::Critical)
        }
        (Topic::Allocation(..), Level::Most) => {
            ("SolvegateTenantAllocationNear", Severity::Warning)
        }
        (Topic::Allocation(..), Level::Full) => {
            ("SolvegateTenantAllocationReached", Severity::Warning)
        }
        _ => return None,
    };
    let (part, about) = match &fact.topic {
        Topic::SloStatus(captcha_type, slo) => (Part::Slo, slo_name(*captcha_type, *slo)),
        Topic::Account(account) | Topic::AccountBalance(account) => {
            (Part::Account, account.to_string())
        }
        Topic::Allocation(tenant, _) | Topic::Wallet { tenant, .. } => {
            (Part::Tenant, tenant.to_string())
        }
    };
    Some(Alert { name, severity, about, message: message(fact), part })
}

fn has_minimum(fact: &Fact) -> bool {
    matches!(fact.figures, Figures::Balance { threshold: Some(_), .. })
}

fn message(fact: &Fact) -> String {
    if let (Topic::Allocation(_, allocation), Some((used, limit))) =
        (&fact.topic, fact.figures.of_allocation())
    {
        let percent = used * 100 / limit;
        return format!("{percent} % of {} is used: {}", allocation.label(), fact.figures);
    }
    fact.figures.to_string()
}

fn slo_name(captcha_type: CaptchaType, slo: SloKind) -> String {
    format!("{} ({})", captcha_type.label(), slo.label())
}
