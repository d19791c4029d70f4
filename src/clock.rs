//! The only reader of the operating system's clocks.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::domain::time::{Mono, Now, Wall};

/// The monotonic reading at start, so that times before the start (of a restored solve) have one too.
const START: Duration = Duration::from_hours(365 * 24);

/// The monotonic reading that all processes of the machine share.
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::Monotonic).try_into().unwrap_or_default()
}

/// Reads both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Source);

#[derive(Debug, Clone, Copy)]
enum Source {
    System {
        started: Instant,
        /// Milliseconds that the wall reading is ahead of the system's; `None`: not at all.
        ahead: Option<&'static AtomicI64>,
    },
    Simulated(fn() -> Now),
}

impl Clock {
    /// A clock whose monotonic reading starts now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    pub fn start() -> Self {
        Self(Source::System { started: Instant::now(), ahead: None })
    }

    /// The same, with a wall clock that somebody sets while it runs.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    pub fn set_by(ahead: &'static AtomicI64) -> Self {
        Self(Source::System { started: Instant::now(), ahead: Some(ahead) })
    }

    /// A clock that reads what a simulation says; its monotonic reading should start at a year.
    pub fn simulated(now: fn() -> Now) -> Self {
        Self(Source::Simulated(now))
    }

    /// Both readings.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    pub fn now(&self) -> Now {
        let ahead = match self.0 {
            Source::Simulated(now) => return now(),
            Source::System { ahead, .. } => ahead.map_or(0, |ahead| ahead.load(Ordering::Relaxed)),
        };
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        Now { mono: self.mono(), wall: Wall(wall.saturating_add(ahead)) }
    }

    /// The monotonic reading alone.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    pub fn mono(&self) -> Mono {
        match self.0 {
            Source::System { started, .. } => {
                Mono::default() + START + Instant::now().duration_since(started)
            }
            Source::Simulated(now) => now().mono,
        }
    }
}
