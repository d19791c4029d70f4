//! The error budget policy: which rule is in force for a captcha type, and what it does to a
//! submission.

use std::fmt;
use std::time::Duration;

use super::SloKind;
use super::burn::parts;
use super::track::Track;
use super::window::Window;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::policy::{PolicyAction, PolicyCondition, PolicyRule, Priority, Status};
use crate::domain::time::Mono;

/// All submissions, in parts per billion.
const WHOLE: u32 = 1_000_000_000;
/// When to try again under a throttle: the next submission may pass, so soon, but not at once.
const THROTTLE_RETRY: Duration = Duration::from_secs(1);

/// What a rule does, without its figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the contract")]
pub enum PolicyKind {
    Throttle,
    PauseNonCritical,
    Pause,
}

impl PolicyKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Throttle, Self::PauseNonCritical, Self::Pause];

    /// The name used in metrics and config.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::PauseNonCritical => "pause_non_critical",
            Self::Pause => "pause",
        }
    }
}

/// The rule in force for a captcha type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InForce {
    /// What it does.
    pub action: PolicyAction,
    /// What it acts upon.
    pub why: Why,
}

impl InForce {
    /// What it does, without its figures.
    pub const fn kind(self) -> PolicyKind {
        match self.action {
            PolicyAction::Throttle(_) => PolicyKind::Throttle,
            PolicyAction::PauseNonCritical => PolicyKind::PauseNonCritical,
            PolicyAction::Pause => PolicyKind::Pause,
        }
    }
}

/// What a rule acts upon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// The status of an error budget.
    Status {
        /// Whose.
        slo: SloKind,
        /// The status.
        status: Status,
        /// The share that is left.
        remaining_ratio: f64,
    },
    /// The burn rate of an error budget.
    BurnRate {
        /// Whose.
        slo: SloKind,
        /// The burn rate.
        burn_rate: f64,
        /// What the rule allows.
        factor: f64,
        /// The window.
        over: Window,
    },
}

impl fmt::Display for Why {
    #[expect(clippy::float_arithmetic, reason = "a ratio as a percentage")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Status { slo, status, remaining_ratio } => {
                let (slo, status) = (slo.label(), status.label());
                let percent = remaining_ratio * 100.0;
                write!(f, "{slo} error budget {status}, {percent:.1} % left")
            }
            Self::BurnRate { slo, burn_rate, factor, over } => {
                let (slo, over) = (slo.label(), over.label());
                write!(f, "{slo} burn rate {burn_rate:.2} over {over}, above {factor}")
            }
        }
    }
}

/// What the policy says to one submission.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// No rule in force concerns it.
    Pass,
    /// It belongs to the share that a throttle admits, of this size.
    PassThrottled(f64),
    /// It is let through a pause, to see whether solves succeed again.
    Probe,
    /// It must be refused.
    Refuse(Refusal),
}

/// A submission that the policy refuses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Refusal {
    /// Its captcha type.
    pub captcha_type: CaptchaType,
    /// The rule that refuses it.
    pub in_force: InForce,
    /// When the next one may be admitted.
    pub retry_after: Duration,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = match self.in_force.kind() {
            PolicyKind::Throttle => "throttled",
            PolicyKind::PauseNonCritical => "paused unless critical",
            PolicyKind::Pause => "paused",
        };
        let seconds = self.retry_after.as_millis().div_ceil(1000);
        let Self { captcha_type, in_force, .. } = self;
        let (captcha_type, why) = (captcha_type.label(), in_force.why);
        write!(f, "{captcha_type} solves are {done}: {why}; try again in {seconds} s")
    }
}

/// The first rule that any SLO of a type meets.
pub(super) fn in_force(
    rules: &[PolicyRule],
    tracks: &[Track; SloKind::ALL.len()],
    now: Mono,
) -> Option<InForce> {
    rules.iter().find_map(|rule| {
        let mut whys = SloKind::ALL.into_iter().filter_map(|slo| {
            let track = &tracks[slo as usize];
            match rule.when {
                PolicyCondition::Status(at_least) => status_met(track, slo, at_least, now),
                PolicyCondition::BurnRateAbove { factor, over } => {
                    burn_rate_met(track, slo, factor, Window::of_length(over)?, now)
                }
            }
        });
        whys.next().map(|why| InForce { action: rule.action, why })
    })
}

fn status_met(track: &Track, slo: SloKind, at_least: Status, now: Mono) -> Option<Why> {
    let objective = track.objective?;
    let counts = track.counts(Window::Slo, now);
    let status = objective.status(counts);
    (counts.total() >= objective.min_events && status >= at_least).then(|| {
        let remaining_ratio = objective.remaining_ratio(counts);
        Why::Status { slo, status, remaining_ratio }
    })
}

fn burn_rate_met(track: &Track, slo: SloKind, factor: f64, over: Window, now: Mono) -> Option<Why> {
    let objective = track.objective?;
    let counts = track.counts(over, now);
    (counts.total() >= objective.min_events && objective.burns_above(factor, counts)).then(|| {
        let burn_rate = objective.burn_rate(counts);
        Why::BurnRate { slo, burn_rate, factor, over }
    })
}

/// What the policy remembers of one captcha type.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PolicyState {
    /// The fraction of a submission that a throttle has yet to admit, in parts per billion: carried on
    /// from one to the next, so that of any number exactly the share passes.
    carried: u32,
    probed_at: Option<Mono>,
}

impl PolicyState {
    pub(super) fn verdict(
        self,
        in_force: InForce,
        (captcha_type, priority): (CaptchaType, Priority),
        probe_every: Duration,
        now: Mono,
    ) -> Verdict {
        let refuse = |retry_after| Verdict::Refuse(Refusal { captcha_type, in_force, retry_after });
        match in_force.action {
            PolicyAction::Throttle(share) if self.carried + parts(share) >= WHOLE => {
                Verdict::PassThrottled(share)
            }
            PolicyAction::Throttle(_) => refuse(THROTTLE_RETRY),
            PolicyAction::PauseNonCritical if priority == Priority::Critical => Verdict::Pass,
            PolicyAction::PauseNonCritical | PolicyAction::Pause => {
                let due_at = self.probed_at.map_or(now, |at| at + probe_every);
                if due_at <= now { Verdict::Probe } else { refuse(due_at.since(now)) }
            }
        }
    }

    /// The solve admitted at that instant failed by its client's fault; if it was the probe, the next is.
    pub(super) fn give_back(&mut self, admitted: Mono) {
        if self.probed_at == Some(admitted) {
            self.probed_at = None;
        }
    }

    pub(super) fn take(&mut self, verdict: &Verdict, now: Mono) {
        match verdict {
            Verdict::Pass => {}
            Verdict::Probe => self.probed_at = Some(now),
            Verdict::PassThrottled(share) => {
                self.carried = (self.carried + parts(*share)).saturating_sub(WHOLE);
            }
            Verdict::Refuse(refusal) => {
                if let PolicyAction::Throttle(share) = refusal.in_force.action {
                    self.carried = (self.carried + parts(share)).min(WHOLE - 1);
                }
            }
        }
    }
}
