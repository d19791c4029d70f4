//! Bugs put in on purpose, one at a time, to see whether the simulation finds them. Only with the
//! feature `seeded-bugs`, and only on a thread that switches one on.

use std::cell::Cell;

/// A mistake that a change could bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The client sees the task id before it is on record.
    AnswerBeforeBind,
    /// A solve that is settled is settled again.
    DoubleSettle,
    /// A poll that its client hangs up on keeps its solve, and so the hold, for ever.
    HoldLostOnCancel,
    /// Limits are checked, and what they bound is taken later.
    LimitOutsideTheLock,
}

thread_local! {
    static PRESENT: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Puts a bug in, or takes it out, for this thread.
pub fn plant(bug: Option<Bug>) {
    PRESENT.set(bug);
}

/// Whether that bug is in.
pub fn is_planted(bug: Bug) -> bool {
    PRESENT.get() == Some(bug)
}
