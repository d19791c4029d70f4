//! One SLO of one captcha type as metrics, the admin API and the `slo` command show it.

use std::time::Duration;

use super::SloKind;
use super::burn::{Tier, success_ratio};
use super::policy::InForce;
use super::track::Track;
use super::window::{Counts, Window};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::policy::Status;
use crate::domain::time::Mono;

/// Everything there is to say about one SLO at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The captcha type.
    pub captcha_type: CaptchaType,
    /// Which of its SLOs.
    pub slo: SloKind,
    /// Share of good events to reach.
    pub objective: f64,
    /// Length of the SLO's own window.
    pub window: Duration,
    /// Below this many events in that window no status but healthy is claimed.
    pub min_events: u64,
    /// Each window, in the order of [`Window::ALL`]; the SLO's own is last.
    pub windows: [WindowReport; Window::ALL.len()],
    /// Bad events that the events of the SLO's window allow.
    pub error_budget_events: f64,
    /// Bad events still allowed; negative when overspent.
    pub remaining_events: f64,
    /// Share of the error budget left; 1 if nothing happened, negative when overspent.
    pub remaining_ratio: f64,
    /// The status.
    pub status: Status,
    /// The share of error budget left at and below which the status is `warning` or worse.
    pub warning_below: f64,
    /// The share of error budget left below which the status is `critical` or worse.
    pub critical_below: f64,
    /// The burn rate above which each tier alerts.
    pub thresholds: [(Tier, f64); Tier::ALL.len()],
    /// The policy rule in force for the captcha type, by whichever of its SLOs.
    pub in_force: Option<InForce>,
}

/// One window of a [`Report`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowReport {
    /// Which.
    pub window: Window,
    /// What happened in it.
    pub counts: Counts,
    /// Share of good events; `None` if nothing happened.
    pub success_ratio: Option<f64>,
    /// Burn rate; 0 if nothing happened.
    pub burn_rate: f64,
}

impl Report {
    /// That window.
    pub fn of_window(&self, window: Window) -> &WindowReport {
        &self.windows[window as usize]
    }
}

/// `None` where there is no such SLO.
pub(super) fn report(
    track: &Track,
    (captcha_type, slo): (CaptchaType, SloKind),
    in_force: Option<InForce>,
    now: Mono,
) -> Option<Report> {
    let objective = track.objective?;
    let windows = Window::ALL.map(|window| {
        let counts = track.counts(window, now);
        let burn_rate = objective.burn_rate(counts);
        WindowReport { window, counts, success_ratio: success_ratio(counts), burn_rate }
    });
    let counts = windows[Window::Slo as usize].counts;
    Some(Report {
        captcha_type,
        slo,
        objective: objective.share,
        window: objective.window,
        min_events: objective.min_events,
        windows,
        error_budget_events: objective.error_budget_events(counts),
        remaining_events: objective.remaining_events(counts),
        remaining_ratio: objective.remaining_ratio(counts),
        status: objective.status(counts),
        warning_below: objective.warning_below(),
        critical_below: objective.critical_below(),
        thresholds: Tier::ALL.map(|tier| (tier, objective.burn_rate_threshold(tier))),
        in_force,
    })
}
