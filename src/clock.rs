//! The only reader of the operating system's clocks.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::domain::time::{Mono, Now, Wall};

/// The monotonic reading at start, so that times before the start (of a restored solve) have one too.
const START: Duration = Duration::from_hours(365 * 24);

/// The monotonic reading that all processes of the machine share.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::Monotonic).try_into().unwrap_or_default()
}

/// The same in nanoseconds. A difference of two is one subtraction, which is far cheaper than one of two
/// `Instant`s, and a request takes ten.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
fn boot_nanos() -> u64 {
    let reading = clock_gettime(ClockId::Monotonic);
    let (secs, nanos) = (u64::try_from(reading.tv_sec), u64::try_from(reading.tv_nsec));
    secs.unwrap_or_default() * 1_000_000_000 + nanos.unwrap_or_default()
}

/// Milliseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
fn wall_millis() -> i64 {
    let reading = clock_gettime(ClockId::Realtime);
    reading.tv_sec.saturating_mul(1_000).saturating_add(reading.tv_nsec / 1_000_000).max(0)
}

/// Reads both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Source);

#[derive(Debug, Clone, Copy)]
enum Source {
    System {
        /// By [`boot_nanos`].
        started: u64,
        /// Milliseconds that the wall reading is ahead of the system's; `None`: not at all.
        ahead: Option<&'static AtomicI64>,
    },
    Simulated(fn() -> Now),
}

impl Clock {
    /// A clock whose monotonic reading starts now.
    pub fn start() -> Self {
        Self(Source::System { started: boot_nanos(), ahead: None })
    }

    /// The same, with a wall clock that somebody sets while it runs.
    pub fn set_by(ahead: &'static AtomicI64) -> Self {
        Self(Source::System { started: boot_nanos(), ahead: Some(ahead) })
    }

    /// A clock that reads what a simulation says; its monotonic reading should start at a year.
    pub fn simulated(now: fn() -> Now) -> Self {
        Self(Source::Simulated(now))
    }

    /// Both readings.
    pub fn now(&self) -> Now {
        let ahead = match self.0 {
            Source::Simulated(now) => return now(),
            Source::System { ahead, .. } => ahead.map_or(0, |ahead| ahead.load(Ordering::Relaxed)),
        };
        Now { mono: self.mono(), wall: Wall(wall_millis().saturating_add(ahead)) }
    }

    /// The monotonic reading alone.
    pub fn mono(&self) -> Mono {
        match self.0 {
            Source::System { started, .. } => Mono(boot_nanos().saturating_sub(started)) + START,
            Source::Simulated(now) => now().mono,
        }
    }
}
