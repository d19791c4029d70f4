//! Error budgets as this process sees them: the windows that decisions are made on.

use prometheus::{GaugeVec, IntGaugeVec, Opts, Registry};

use crate::domain::policy::Status;
use crate::domain::slo::policy::PolicyKind;
use crate::domain::slo::report::Report;

const KEY: [&str; 2] = ["slo", "captcha_type"];

#[derive(Debug)]
pub(super) struct SloGauges {
    objective: GaugeVec,
    window: GaugeVec,
    min_events: GaugeVec,
    threshold: GaugeVec,
    events: GaugeVec,
    success: GaugeVec,
    burn_rate: GaugeVec,
    remaining: GaugeVec,
    remaining_events: GaugeVec,
    status: IntGaugeVec,
    policy: IntGaugeVec,
}

impl SloGauges {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauges = |name: &str, help: &str, more: &[&str]| {
            let labels: Vec<&str> = KEY.iter().chain(more).copied().collect();
            let gauges = GaugeVec::new(Opts::new(name, help), &labels)?;
            registry.register(Box::new(gauges.clone())).map(|()| gauges)
        };
        let states = |name: &str, help: &str, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone())).map(|()| gauges)
        };
        Ok(Self {
            objective: gauges(
                "solvegate_slo_objective_ratio",
                "Share of good events to reach.",
                &[],
            )?,
            window: gauges("solvegate_slo_window_seconds", "Length of the rolling window.", &[])?,
            min_events: gauges(
                "solvegate_slo_min_events",
                "Events below which no policy acts and no alert on burn rates fires.",
                &[],
            )?,
            threshold: gauges(
                "solvegate_slo_burn_rate_threshold",
                "Burn rate above which a tier alerts.",
                &["tier"],
            )?,
            events: gauges(
                "solvegate_slo_window_events",
                "SLI events in a rolling window.",
                &["window", "result"],
            )?,
            success: gauges(
                "solvegate_slo_success_ratio",
                "Share of good events in a rolling window; NaN without events.",
                &["window"],
            )?,
            burn_rate: gauges(
                "solvegate_slo_burn_rate",
                "Burn rate over a rolling window; 0 without events.",
                &["window"],
            )?,
            remaining: gauges(
                "solvegate_slo_error_budget_remaining_ratio",
                "Share of the error budget left; 1 without events, negative when overspent.",
                &[],
            )?,
            remaining_events: gauges(
                "solvegate_slo_error_budget_remaining_events",
                "Bad events still allowed; negative when overspent.",
                &[],
            )?,
            status: states(
                "solvegate_slo_status",
                "1 for the status that the error budget has.",
                &["slo", "captcha_type", "status"],
            )?,
            policy: states(
                "solvegate_policy_active",
                "1 while the error budget policy acts on solves of that type.",
                &["captcha_type", "policy"],
            )?,
        })
    }

    /// Sets every gauge anew: an SLO that a reload took away leaves no series behind.
    #[expect(clippy::cast_precision_loss, reason = "a view for graphs")]
    pub(super) fn set(&self, reports: &[Report]) {
        for gauges in
            [&self.objective, &self.window, &self.min_events, &self.threshold, &self.events]
        {
            gauges.reset();
        }
        for gauges in [&self.success, &self.burn_rate, &self.remaining, &self.remaining_events] {
            gauges.reset();
        }
        self.status.reset();
        for report in reports {
            let key = [report.slo.label(), report.captcha_type.label()];
            self.objective.with_label_values(&key).set(report.objective);
            self.window.with_label_values(&key).set(report.window.as_secs_f64());
            self.min_events.with_label_values(&key).set(report.min_events as f64);
            self.remaining.with_label_values(&key).set(report.remaining_ratio);
            self.remaining_events.with_label_values(&key).set(report.remaining_events);
            for (tier, threshold) in report.thresholds {
                self.threshold.with_label_values(&[key[0], key[1], tier.label()]).set(threshold);
            }
            self.set_windows(report, key);
            for status in Status::ALL {
                let is = i64::from(status == report.status);
                self.status.with_label_values(&[key[0], key[1], status.label()]).set(is);
            }
            for kind in PolicyKind::ALL {
                let acts = report.in_force.is_some_and(|in_force| in_force.kind() == kind);
                self.policy.with_label_values(&[key[1], kind.label()]).set(i64::from(acts));
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a view for graphs")]
    fn set_windows(&self, report: &Report, [slo, captcha_type]: [&str; 2]) {
        for of_window in &report.windows {
            let key = [slo, captcha_type, of_window.window.label()];
            let ratio = of_window.success_ratio.unwrap_or(f64::NAN);
            self.success.with_label_values(&key).set(ratio);
            self.burn_rate.with_label_values(&key).set(of_window.burn_rate);
            for (result, count) in [("good", of_window.counts.good), ("bad", of_window.counts.bad)]
            {
                self.events.with_label_values(&[key[0], key[1], key[2], result]).set(count as f64);
            }
        }
    }
}
