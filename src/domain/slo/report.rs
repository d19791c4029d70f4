//! One SLO of one captcha type as metrics, the admin API and the `slo` command show it.

use std::time::Duration;

use super::SloKind;
use super::burn::{Objective, Tier, success_ratio};
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
    /// The burn rate up to which chance explains it; infinite if nothing happened.
    pub burn_rate_by_chance: f64,
}

/// Below this share of the objective most solves fail.
const MOST: f64 = 0.5;
/// So many bad events and no good one are no accident.
const ALL_FAIL_FROM: u64 = 3;

impl Report {
    /// That window.
    pub fn of_window(&self, window: Window) -> &WindowReport {
        &self.windows[window as usize]
    }

    /// The most urgent tier that alerts: its threshold is passed in both windows, by more than chance
    /// explains and with enough events in the long one.
    pub fn burning(&self) -> Option<Tier> {
        let burns = |&&(tier, threshold): &&(Tier, f64)| {
            let long = self.of_window(tier.long_window());
            long.burn_rate > threshold.max(long.burn_rate_by_chance)
                && self.of_window(tier.short_window()).burn_rate > threshold
                && long.counts.total() >= self.min_events
        };
        self.thresholds.iter().find(burns).map(|(tier, _)| *tier)
    }

    /// Whether most solves fail just now, by more than chance explains.
    #[expect(clippy::float_arithmetic, reason = "ratios, not money")]
    pub fn mostly_fails(&self) -> bool {
        let fails = |window: &WindowReport| {
            window.success_ratio.is_some_and(|ratio| ratio < MOST * self.objective)
        };
        let by_more_than_chance =
            |window: &WindowReport| window.burn_rate > window.burn_rate_by_chance;
        let now = self.of_window(Window::FiveMinutes);
        // Of few events chance explains all; those of half an hour are more.
        let lately = self.of_window(Window::HalfHour);
        fails(now) && (by_more_than_chance(now) || fails(lately) && by_more_than_chance(lately))
    }

    /// Whether every solve of 6 hours failed where they are too few to be judged by burn rates.
    pub fn all_fail(&self) -> bool {
        let counts = self.of_window(Window::SixHours).counts;
        counts.good == 0 && counts.bad >= ALL_FAIL_FROM && counts.total() < self.min_events
    }
}

/// `None` where there is no such SLO.
pub(super) fn report(
    track: &Track,
    about: (CaptchaType, SloKind),
    in_force: Option<InForce>,
    now: Mono,
) -> Option<Report> {
    let objective = track.objective?;
    let counts = Window::ALL.map(|window| track.counts(window, now));
    Some(of_counts(&objective, about, in_force, counts))
}

/// By the counts of each window, in the order of [`Window::ALL`].
pub(super) fn of_counts(
    objective: &Objective,
    (captcha_type, slo): (CaptchaType, SloKind),
    in_force: Option<InForce>,
    counts: [Counts; Window::ALL.len()],
) -> Report {
    let windows = Window::ALL.map(|window| {
        let counts = counts[window as usize];
        WindowReport {
            window,
            counts,
            success_ratio: success_ratio(counts),
            burn_rate: objective.burn_rate(counts),
            burn_rate_by_chance: objective.burn_rate_by_chance(counts),
        }
    });
    let counts = counts[Window::Slo as usize];
    Report {
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
    }
}
