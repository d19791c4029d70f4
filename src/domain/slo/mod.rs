//! The error budgets of every captcha type: events in; status, burn rates and the policy's verdict
//! out.
//!
//! ```text
//! window   good and bad events over rolling windows
//! burn     what such counts say: success, burn rate, error budget left, status, thresholds
//! track    both for one SLO of one captcha type
//! policy   which rule is in force, and what it says to a submission
//! report   all of it, for showing
//! course   how an error budget came where it is
//! ```

pub mod burn;
pub mod course;
pub mod policy;
pub mod report;
#[cfg(test)]
mod tests;
mod track;
pub mod window;

use std::time::Duration;

use self::burn::Objective;
use self::policy::{InForce, PolicyState, Verdict};
use self::report::Report;
use self::track::Track;
use self::window::MinuteCounts;
use super::captcha_type::CaptchaType;
use super::outcome::SliEvent;
use super::policy::{PolicyRule, Priority, SloPolicy, Status};
use super::time::{Mono, Now};

/// What an SLO is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SloKind {
    /// Solves that succeed.
    Success,
    /// Solves that succeed within a threshold of time.
    Latency,
}

impl SloKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Success, Self::Latency];

    /// The name used in metrics and the store.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Latency => "latency",
        }
    }

    /// The kind of that [`label`](Self::label).
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slo| slo.label() == label)
    }
}

/// A minute of events from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliRow {
    /// The captcha type.
    pub captcha_type: CaptchaType,
    /// Which of its SLOs.
    pub slo: SloKind,
    /// The minute and its events.
    pub minute: MinuteCounts,
}

/// An error budget whose status changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusChange {
    /// The captcha type.
    pub captcha_type: CaptchaType,
    /// Which of its SLOs.
    pub slo: SloKind,
    /// The status when last asked.
    pub old: Status,
    /// The status since.
    pub new: Status,
}

/// Every error budget and the policy on them. A type without an SLO of its own follows the default,
/// but is counted by itself; a type without events costs no memory.
#[derive(Debug)]
pub struct ErrorBudgets {
    /// By captcha type, then by [`SloKind`].
    tracks: Vec<[Track; SloKind::ALL.len()]>,
    policy_states: [PolicyState; CaptchaType::ALL.len()],
    rules: Vec<PolicyRule>,
    probe_every: Duration,
}

impl ErrorBudgets {
    /// Error budgets of which nothing is spent.
    pub fn new(policy: &SloPolicy) -> Self {
        let track = |captcha_type, slo| Track::new(Objective::of(policy.slo(captcha_type), slo));
        Self {
            tracks: CaptchaType::ALL
                .map(|captcha_type| SloKind::ALL.map(|slo| track(captcha_type, slo)))
                .into(),
            policy_states: [PolicyState::default(); CaptchaType::ALL.len()],
            rules: policy.rules.clone(),
            probe_every: policy.probe_every,
        }
    }

    /// Counts what a solve came to. An event of an SLO that is not configured is ignored.
    pub fn record(
        &mut self,
        captcha_type: CaptchaType,
        success: Option<SliEvent>,
        latency: Option<SliEvent>,
        now: Now,
    ) {
        let tracks = &mut self.tracks[captcha_type.index()];
        for (track, event) in tracks.iter_mut().zip([success, latency]) {
            if let Some(event) = event {
                track.record(event, now.mono);
            }
        }
    }

    /// What the policy says to a submission of that type and priority. Nothing is consumed until
    /// [`take`](Self::take).
    pub fn verdict(&self, captcha_type: CaptchaType, priority: Priority, now: Now) -> Verdict {
        let Some(in_force) = self.in_force(captcha_type, now) else { return Verdict::Pass };
        let state = self.policy_states[captcha_type.index()];
        state.verdict(in_force, (captcha_type, priority), self.probe_every, now.mono)
    }

    /// Acts on a verdict: uses up the probe, or counts towards the throttled share. Call it for every
    /// solve that is admitted, and for every one that the policy itself refuses (of ten refused by a
    /// throttle, the next must know); not for one that is refused for another reason.
    pub fn take(&mut self, captcha_type: CaptchaType, verdict: &Verdict, now: Now) {
        self.policy_states[captcha_type.index()].take(verdict, now.mono);
    }

    /// Undoes [`take`](Self::take) for a probe admitted at that instant that failed by its client's fault.
    pub fn give_back(&mut self, captcha_type: CaptchaType, admitted: Mono) {
        self.policy_states[captcha_type.index()].give_back(admitted);
    }

    /// The first rule of the policy that any SLO of that type meets.
    pub fn in_force(&self, captcha_type: CaptchaType, now: Now) -> Option<InForce> {
        policy::in_force(&self.rules, &self.tracks[captcha_type.index()], now.mono)
    }

    /// The status; `healthy` where there is no such SLO.
    pub fn status(&self, captcha_type: CaptchaType, slo: SloKind, now: Now) -> Status {
        self.tracks[captcha_type.index()][slo as usize].status(now.mono)
    }

    /// All about one SLO; `None` where there is no such.
    pub fn report(&self, captcha_type: CaptchaType, slo: SloKind, now: Now) -> Option<Report> {
        let track = &self.tracks[captcha_type.index()][slo as usize];
        report::report(track, (captcha_type, slo), self.in_force(captcha_type, now), now.mono)
    }

    /// All about every SLO there is, events or none, by captcha type.
    pub fn reports(&self, now: Now) -> impl Iterator<Item = Report> {
        CaptchaType::ALL
            .into_iter()
            .flat_map(|captcha_type| SloKind::ALL.map(|slo| (captcha_type, slo)))
            .filter_map(move |(captcha_type, slo)| self.report(captcha_type, slo, now))
    }

    /// Every status that differs from when this was last asked. Called once a second or so it also
    /// keeps reads cheap: what has become too old is forgotten here rather than at each read.
    pub fn status_changes(&mut self, now: Now) -> Vec<StatusChange> {
        let mut changes = Vec::new();
        for (captcha_type, tracks) in CaptchaType::ALL.into_iter().zip(&mut self.tracks) {
            for (slo, track) in SloKind::ALL.into_iter().zip(tracks) {
                if let Some((old, new)) = track.status_change(now.mono) {
                    changes.push(StatusChange { captcha_type, slo, old, new });
                }
            }
        }
        changes
    }

    /// Takes over a changed configuration. Counts are kept, also under another window's length, as far
    /// as they are known (see [`window`]); those of a latency SLO that is gone are not.
    pub fn reconfigure(&mut self, policy: &SloPolicy, now: Now) {
        for (captcha_type, tracks) in CaptchaType::ALL.into_iter().zip(&mut self.tracks) {
            for (slo, track) in SloKind::ALL.into_iter().zip(tracks) {
                track.reconfigure(Objective::of(policy.slo(captcha_type), slo), now.mono);
            }
        }
        self.rules.clone_from(&policy.rules);
        self.probe_every = policy.probe_every;
    }

    /// Adds the minutes that the store kept, at start. The status they bring about is no change.
    pub fn restore(&mut self, rows: impl IntoIterator<Item = SliRow>, now: Now) {
        for SliRow { captcha_type, slo, minute } in rows {
            self.tracks[captcha_type.index()][slo as usize].restore(minute, now);
        }
    }
}
