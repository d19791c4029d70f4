//! Error budgets as this process sees them: the windows that decisions are made on.

use std::collections::BTreeSet;

use super::page::Page;
use crate::domain::policy::Status;
use crate::domain::slo::policy::PolicyKind;
use crate::domain::slo::report::{Report, WindowReport};

/// Adds every gauge on error budgets.
#[expect(clippy::cast_precision_loss, reason = "a view for graphs")]
pub(super) fn add(page: &mut Page, reports: &[Report]) {
    let mut of_each = |name: &str, help: &str, value: fn(&Report) -> f64| {
        let samples = reports.iter().map(|report| (key(report), value(report)));
        page.gauge((name, help), ["slo", "captcha_type"], samples);
    };
    of_each("solvegate_slo_objective_ratio", "Share of good events to reach.", |report| {
        report.objective
    });
    of_each("solvegate_slo_window_seconds", "Length of the rolling window.", |report| {
        report.window.as_secs_f64()
    });
    of_each(
        "solvegate_slo_min_events",
        "Events below which no policy acts and no alert on burn rates fires.",
        |report| report.min_events as f64,
    );
    of_each(
        "solvegate_slo_error_budget_remaining_ratio",
        "Share of the error budget left; 1 without events, negative when overspent.",
        |report| report.remaining_ratio,
    );
    of_each(
        "solvegate_slo_error_budget_remaining_events",
        "Bad events still allowed; negative when overspent.",
        |report| report.remaining_events,
    );
    let thresholds = reports.iter().flat_map(|report| {
        let [slo, captcha_type] = key(report);
        report
            .thresholds
            .iter()
            .map(move |(tier, value)| ([slo, captcha_type, tier.label()], *value))
    });
    page.gauge(
        ("solvegate_slo_burn_rate_threshold", "Burn rate above which a tier alerts."),
        ["slo", "captcha_type", "tier"],
        thresholds,
    );
    add_windows(page, reports);
    add_statuses(page, reports);
}

#[expect(clippy::cast_precision_loss, reason = "a view for graphs")]
fn add_windows(page: &mut Page, reports: &[Report]) {
    let windows = || {
        reports.iter().flat_map(|report| {
            let [slo, captcha_type] = key(report);
            report.windows.iter().map(move |of| ([slo, captcha_type, of.window.label()], of))
        })
    };
    let events = windows().flat_map(|([slo, captcha_type, window], of)| {
        [("good", of.counts.good), ("bad", of.counts.bad)]
            .map(|(result, count)| ([slo, captcha_type, window, result], count as f64))
    });
    page.gauge(
        ("solvegate_slo_window_events", "SLI events in a rolling window."),
        ["slo", "captcha_type", "window", "result"],
        events,
    );
    let mut of_each = |name: &str, help: &str, value: fn(&WindowReport) -> f64| {
        let samples = windows().map(|(values, of)| (values, value(of)));
        page.gauge((name, help), ["slo", "captcha_type", "window"], samples);
    };
    of_each(
        "solvegate_slo_success_ratio",
        "Share of good events in a rolling window; NaN without events.",
        |of| of.success_ratio.unwrap_or(f64::NAN),
    );
    of_each(
        "solvegate_slo_burn_rate",
        "Burn rate over a rolling window; 0 without events.",
        |of| of.burn_rate,
    );
}

fn add_statuses(page: &mut Page, reports: &[Report]) {
    let statuses = reports.iter().flat_map(|report| {
        let [slo, captcha_type] = key(report);
        Status::ALL.map(|status| {
            ([slo, captcha_type, status.label()], f64::from(u8::from(status == report.status)))
        })
    });
    page.gauge(
        ("solvegate_slo_status", "1 for the status that the error budget has."),
        ["slo", "captcha_type", "status"],
        statuses,
    );
    let edges = reports.iter().flat_map(|report| {
        let [slo, captcha_type] = key(report);
        [(Status::Warning, report.warning_below), (Status::Critical, report.critical_below)]
            .map(|(status, below)| ([slo, captcha_type, status.label()], below))
    });
    page.gauge(
        (
            "solvegate_slo_status_below_ratio",
            "Share of the error budget left below which a status holds.",
        ),
        ["slo", "captcha_type", "status"],
        edges,
    );
    // The rule in force is one of the type, whichever of its SLOs met it.
    let mut types = BTreeSet::new();
    let policies =
        reports.iter().filter(|report| types.insert(report.captcha_type)).flat_map(|report| {
            PolicyKind::ALL.map(|kind| {
                let acts = report.in_force.is_some_and(|in_force| in_force.kind() == kind);
                ([report.captcha_type.label(), kind.label()], f64::from(u8::from(acts)))
            })
        });
    page.gauge(
        ("solvegate_policy_active", "1 while the error budget policy acts on solves of that type."),
        ["captcha_type", "policy"],
        policies,
    );
}

fn key(report: &Report) -> [&'static str; 2] {
    [report.slo.label(), report.captcha_type.label()]
}
