//! The only reader of the operating system's clocks.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::{Mono, Now, Wall};

/// The monotonic reading at start, so that times before the start (of a restored solve) have one too.
const START: Duration = Duration::from_hours(365 * 24);

/// Reads both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    /// Milliseconds that the wall reading is ahead of the system's.
    ahead: Option<&'static AtomicI64>,
}

impl Clock {
    /// A clock whose monotonic reading starts now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    pub fn start() -> Self {
        Self { started: Instant::now(), ahead: None }
    }

    /// The same, with a wall clock that somebody sets while it runs.
    pub fn set_by(ahead: &'static AtomicI64) -> Self {
        Self { ahead: Some(ahead), ..Self::start() }
    }

    /// Both readings.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    pub fn now(&self) -> Now {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ahead = self.ahead.map_or(0, |ahead| ahead.load(Ordering::Relaxed));
        let wall = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        let wall = Wall(wall.saturating_add(ahead));
        Now { mono: self.mono(), wall }
    }

    /// The monotonic reading alone.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    pub fn mono(&self) -> Mono {
        Mono::default() + START + Instant::now().duration_since(self.started)
    }
}
