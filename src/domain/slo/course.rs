//! How an error budget came where it is, from the minutes on record.

use std::collections::VecDeque;

use super::burn::Objective;
use super::window::{Counts, MinuteCounts};
use crate::domain::time::Wall;

const MINUTE_MS: i64 = 60_000;

/// One step of a course.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CoursePoint {
    /// Its first minute since the epoch.
    pub minute: i64,
    /// What happened in it.
    pub counts: Counts,
    /// Share of the error budget left at its end, or now if it has not ended.
    pub remaining_ratio: f64,
}

/// The minutes of a course: steps of `step` from `first` to the one that `now` lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first minute since the epoch.
    pub first: i64,
    /// Minutes a step has, at least one.
    pub step: i64,
    /// Where it ends.
    pub now: Wall,
}

/// The course over a span, from rows in their order, of which those before the span count as well as far
/// as the SLO's window reaches back. A row stands at the middle of its minute, as after a restart; each is
/// added once and taken away once.
pub fn course(
    objective: &Objective,
    rows: impl IntoIterator<Item = MinuteCounts>,
    span: Span,
) -> Vec<CoursePoint> {
    let step = span.step.max(1);
    let now = i128::from(span.now.0);
    let window = i128::try_from(objective.window.as_millis()).unwrap_or(i128::MAX / 2);
    let last = span.now.0.div_euclid(MINUTE_MS);
    let mut rows = rows.into_iter().peekable();
    let (mut within, mut sum) = (VecDeque::new(), Counts::default());
    let steps = std::iter::successors(Some(span.first), |minute| minute.checked_add(step));
    let points = steps.take_while(|minute| *minute <= last).map(|minute| {
        let end = minute.saturating_add(step);
        let mut counts = Counts::default();
        // What lies in the future is of a clock that went back since.
        while let Some(row) = rows.next_if(|row| row.minute < end.min(last + 1)) {
            if row.minute >= minute {
                counts = counts + row.counts;
            }
            sum = sum + row.counts;
            within.push_back(row);
        }
        let oldest = now.min(i128::from(end) * i128::from(MINUTE_MS)) - window;
        while let Some(row) = within.pop_front_if(|row: &mut MinuteCounts| middle(*row) < oldest) {
            sum = sum - row.counts;
        }
        CoursePoint { minute, counts, remaining_ratio: objective.remaining_ratio(sum) }
    });
    points.collect()
}

fn middle(row: MinuteCounts) -> i128 {
    i128::from(row.minute) * i128::from(MINUTE_MS) + i128::from(MINUTE_MS / 2)
}
