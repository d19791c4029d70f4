//! One SLO of one captcha type: its objective and what was counted.

use std::time::Duration;

use super::burn::Objective;
use super::window::{Counts, MinuteCounts, Window, Windows};
use crate::domain::outcome::SliEvent;
use crate::domain::policy::Status;
use crate::domain::time::{Mono, Now};

/// Costs nothing until the first event.
#[derive(Debug)]
pub(super) struct Track {
    /// `None`: there is no such SLO, and its events are not counted.
    pub(super) objective: Option<Objective>,
    windows: Option<Windows>,
    /// The status when changes were last looked for.
    seen: Status,
}

impl Track {
    pub(super) fn new(objective: Option<Objective>) -> Self {
        Self { objective, windows: None, seen: Status::Healthy }
    }

    /// Keeps the counts, unless the SLO is gone.
    pub(super) fn reconfigure(&mut self, objective: Option<Objective>, now: Mono) {
        match (objective, &mut self.windows) {
            (Some(objective), Some(windows)) => windows.resize(objective.window, now),
            (Some(_), None) => {}
            (None, _) => *self = Self::new(None),
        }
        self.objective = objective;
    }

    pub(super) fn record(&mut self, event: SliEvent, now: Mono) {
        if let Some(window) = self.objective.map(|objective| objective.window) {
            self.windows(window, now).record(event, now);
        }
    }

    /// The status that a restored minute brings about is no change to tell of.
    pub(super) fn restore(&mut self, row: MinuteCounts, now: Now) {
        if let Some(window) = self.objective.map(|objective| objective.window) {
            self.windows(window, now.mono).restore(row, now);
            self.seen = self.status(now.mono);
        }
    }

    pub(super) fn counts(&self, window: Window, now: Mono) -> Counts {
        self.windows.as_ref().map_or_else(Counts::default, |windows| windows.counts(window, now))
    }

    /// `healthy` where there is no such SLO.
    pub(super) fn status(&self, now: Mono) -> Status {
        self.objective
            .map_or(Status::Healthy, |objective| objective.status(self.counts(Window::Slo, now)))
    }

    /// The status when last asked and the one at `now`, if they differ.
    pub(super) fn status_change(&mut self, now: Mono) -> Option<(Status, Status)> {
        if let Some(windows) = &mut self.windows {
            windows.advance(now);
        }
        let (old, new) = (self.seen, self.status(now));
        self.seen = new;
        (old != new).then_some((old, new))
    }

    fn windows(&mut self, slo_window: Duration, now: Mono) -> &mut Windows {
        self.windows.get_or_insert_with(|| Windows::new(slo_window, now))
    }
}
