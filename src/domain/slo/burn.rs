//! What counts of events say about an error budget: success, burn rate, what is left of it, status,
//! and the burn rates worth an alert.
//!
//! Shares are kept as whole parts per billion and compared as whole numbers, so that "exactly half
//! left" is exactly half; floats are only made for showing.

#![expect(clippy::float_arithmetic, reason = "ratios, not money")]

use std::time::Duration;

use super::SloKind;
use super::window::{Counts, Window};
use crate::domain::policy::{Slo, Status};

/// The whole, in parts per billion.
const WHOLE: u32 = 1_000_000_000;
/// The share of the highest possible burn rate at which an alert must still be able to fire.
const REACHABLE_SHARE: f64 = 0.8;

impl Status {
    /// Every status, from good to bad.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Warning, Self::Critical, Self::Exhausted];

    /// The name used in metrics and config.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Exhausted => "exhausted",
        }
    }
}

/// A burn-rate alert: how urgent, over which windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the contract")]
pub enum Tier {
    Fast,
    Medium,
    Slow,
    LongTerm,
}

impl Tier {
    /// Every tier, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Fast, Self::Medium, Self::Slow, Self::LongTerm];

    /// The name used in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Medium => "medium",
            Self::Slow => "slow",
            Self::LongTerm => "longterm",
        }
    }

    /// The share of the error budget that may burn within the long window.
    const fn error_budget_share(self) -> f64 {
        match self {
            Self::Fast => 0.02,
            Self::Medium => 0.05,
            Self::Slow | Self::LongTerm => 0.1,
        }
    }

    /// The window that says that it matters.
    pub const fn long_window(self) -> Window {
        match self {
            Self::Fast => Window::OneHour,
            Self::Medium => Window::SixHours,
            Self::Slow => Window::OneDay,
            Self::LongTerm => Window::ThreeDays,
        }
    }

    /// The window that says that it still goes on.
    pub const fn short_window(self) -> Window {
        match self {
            Self::Fast => Window::FiveMinutes,
            Self::Medium => Window::HalfHour,
            Self::Slow => Window::TwoHours,
            Self::LongTerm => Window::SixHours,
        }
    }
}

/// One SLO of one captcha type, ready to be measured against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// Share of good events to reach, as configured.
    pub share: f64,
    /// Length of the SLO's own window.
    pub window: Duration,
    /// Below this many events in the SLO's window no status but healthy is claimed.
    pub min_events: u64,
    /// What may be bad, in parts per billion, at least one: the objective to nine decimals.
    bad_allowed: u32,
    warning_below: u32,
    critical_below: u32,
}

impl Objective {
    /// The objective of that kind; `None` if there is no SLO on latency.
    pub fn of(slo: &Slo, kind: SloKind) -> Option<Self> {
        let share = match kind {
            SloKind::Success => slo.objective,
            SloKind::Latency => slo.latency?.objective,
        };
        Some(Self {
            share,
            window: slo.window,
            min_events: slo.min_events,
            bad_allowed: (WHOLE - parts(share)).clamp(1, WHOLE),
            warning_below: parts(slo.warning_below),
            critical_below: parts(slo.critical_below),
        })
    }

    /// The bad events that so many events allow.
    pub fn error_budget_events(&self, counts: Counts) -> f64 {
        float(self.allowed(counts)) / f64::from(WHOLE)
    }

    /// Bad events still allowed; below zero, those too many. 1 event allowed in 20 and 30 seen: 1.5.
    pub fn remaining_events(&self, counts: Counts) -> f64 {
        signed_float(self.left(counts)) / f64::from(WHOLE)
    }

    /// The share of the error budget that is left: 1 if nothing happened, below zero when overspent.
    pub fn remaining_ratio(&self, counts: Counts) -> f64 {
        if counts.total() == 0 {
            return 1.0;
        }
        signed_float(self.left(counts)) / float(self.allowed(counts))
    }

    /// How many times faster than sustainable the error budget burns; 0 if nothing happened.
    pub fn burn_rate(&self, counts: Counts) -> f64 {
        if counts.total() == 0 {
            return 0.0;
        }
        float(spent(counts)) / float(self.allowed(counts))
    }

    /// The burn rate up to which chance explains it, of so many events of an SLO that is just met: five
    /// standard deviations above 1, and four events for the long tail of few. Of no events: any.
    pub fn burn_rate_by_chance(&self, counts: Counts) -> f64 {
        let allowed = self.error_budget_events(counts);
        1.0 + 5.0 * (self.share / allowed).sqrt() + 4.0 / allowed
    }

    /// Whether the burn rate is strictly above `factor`.
    pub fn burns_above(&self, factor: f64, counts: Counts) -> bool {
        // 2^42 events a window at most (see `window`), times 2^30, times at most 2^50: it fits.
        let scaled = (factor.clamp(0.0, 1e6) * f64::from(WHOLE)).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let scaled = scaled as u128;
        spent(counts) * u128::from(WHOLE) > self.allowed(counts).saturating_mul(scaled)
    }

    /// The status by the counts of the SLO's own window. `warning` holds from `critical_below` to
    /// `warning_below`, both inclusive; nothing left is `exhausted`.
    pub fn status(&self, counts: Counts) -> Status {
        if counts.total() == 0 || counts.total() < self.min_events {
            return Status::Healthy;
        }
        let left = self.left(counts);
        let edge = |parts: u32| self.allowed(counts).cast_signed() * i128::from(parts);
        let scaled = left * i128::from(WHOLE);
        if left <= 0 {
            Status::Exhausted
        } else if scaled < edge(self.critical_below) {
            Status::Critical
        } else if scaled <= edge(self.warning_below) {
            Status::Warning
        } else {
            Status::Healthy
        }
    }

    /// The share of error budget left below which the status is `critical` or worse.
    pub fn critical_below(&self) -> f64 {
        f64::from(self.critical_below) / f64::from(WHOLE)
    }

    /// The share of error budget left at and below which the status is `warning` or worse.
    pub fn warning_below(&self) -> f64 {
        f64::from(self.warning_below) / f64::from(WHOLE)
    }

    /// The burn rate above which that tier alerts: the one that spends the tier's share of the error
    /// budget within its long window, but no less than 1, which is sustainable, and no more than 0.8
    /// of the highest burn rate there is, so that the alert can fire. Below an objective of 0.2 that
    /// cap is under 1, and wins.
    pub fn burn_rate_threshold(&self, tier: Tier) -> f64 {
        let long = tier.long_window().length(self.window);
        let windows = self.window.as_secs_f64() / long.as_secs_f64();
        let reachable = REACHABLE_SHARE * f64::from(WHOLE) / f64::from(self.bad_allowed);
        (tier.error_budget_share() * windows).max(1.0).min(reachable)
    }

    /// In parts per billion of an event.
    fn allowed(&self, counts: Counts) -> u128 {
        u128::from(counts.total()) * u128::from(self.bad_allowed)
    }

    fn left(&self, counts: Counts) -> i128 {
        self.allowed(counts).cast_signed() - spent(counts).cast_signed()
    }
}

/// The share of good events; `None` if nothing happened.
pub fn success_ratio(counts: Counts) -> Option<f64> {
    let total = counts.total();
    (total > 0).then(|| float(counts.good.into()) / float(total.into()))
}

/// In parts per billion of an event.
fn spent(counts: Counts) -> u128 {
    u128::from(counts.bad) * u128::from(WHOLE)
}

/// A share from 0 to 1 in parts per billion.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
pub(super) fn parts(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * f64::from(WHOLE)).round() as u32
}

#[expect(clippy::cast_precision_loss, reason = "for showing; exact below 9e15")]
fn float(number: u128) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "for showing; exact below 9e15")]
fn signed_float(number: i128) -> f64 {
    number as f64
}
