//! Places where a test makes the process die, as if it were killed there; nothing in a normal build.
//!
//! With the feature `failpoints`, `SOLVEGATE_FAILPOINT=after_bind_commit:3` aborts the process when it
//! passes that point for the third time. An abort runs no destructor and flushes no buffer of the
//! program, so what is left behind is what SIGKILL leaves.

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("the feature `failpoints` is for tests: it has no place in a release build");

/// A place to die at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// The tables of a new record are made and not committed.
    DuringCreate,
    /// The record is open and nothing is read from it yet.
    DuringRestore,
    /// The provider gave an id, and nobody else knows of it.
    AfterUpstreamAccepted,
    /// A group with a new task is written and not committed.
    BeforeBindCommit,
    /// It is committed, and nobody was told.
    AfterBindCommit,
    /// A group that says that an answer is on its way is written and not committed.
    BeforeReadyCommit,
    /// It is committed, and no byte of the answer is out.
    AfterReadyCommit,
    /// Half of an answer's body is out.
    MidFlush,
    /// A group with a charge is written and not committed; the answer is out.
    BeforeSettleCommit,
    /// It is committed.
    AfterSettleCommit,
    /// Requests under way were answered, and what waits is not written down yet.
    DuringShutdown,
    /// Everything is written down, and the file is not closed.
    DuringClose,
}

impl Point {
    /// All of them, in the order of a solve's life.
    pub const ALL: [Self; 12] = [
        Self::DuringCreate,
        Self::DuringRestore,
        Self::AfterUpstreamAccepted,
        Self::BeforeBindCommit,
        Self::AfterBindCommit,
        Self::BeforeReadyCommit,
        Self::AfterReadyCommit,
        Self::MidFlush,
        Self::BeforeSettleCommit,
        Self::AfterSettleCommit,
        Self::DuringShutdown,
        Self::DuringClose,
    ];

    /// Its name in `SOLVEGATE_FAILPOINT`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::DuringCreate => "during_create",
            Self::DuringRestore => "during_restore",
            Self::AfterUpstreamAccepted => "after_upstream_accepted",
            Self::BeforeBindCommit => "before_bind_commit",
            Self::AfterBindCommit => "after_bind_commit",
            Self::BeforeReadyCommit => "before_ready_commit",
            Self::AfterReadyCommit => "after_ready_commit",
            Self::MidFlush => "mid_flush",
            Self::BeforeSettleCommit => "before_settle_commit",
            Self::AfterSettleCommit => "after_settle_commit",
            Self::DuringShutdown => "during_shutdown",
            Self::DuringClose => "during_close",
        }
    }
}

/// Dies here if a test wants it.
#[inline]
pub fn pass(point: Point) {
    if is_due(point) {
        std::process::abort();
    }
}

/// Whether the process is to die at this passing of `point`; for a place that has something left to do
/// before.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub const fn is_due(_: Point) -> bool {
    false
}

/// Whether the process is to die at this passing of `point`; for a place that has something left to do
/// before.
#[cfg(feature = "failpoints")]
pub fn is_due(point: Point) -> bool {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("SOLVEGATE_FAILPOINT").ok()?;
        let (label, passing) = text.split_once(':')?;
        Some((label.to_owned(), passing.parse().ok()?))
    });
    wanted.as_ref().is_some_and(|(label, passing)| {
        label == point.label() && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *passing
    })
}
