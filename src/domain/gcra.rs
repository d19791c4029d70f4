//! The rate limit: the generic cell rate algorithm, one timestamp of state.

use std::time::Duration;

use super::policy::Rate;
use super::time::Mono;

/// The state of one rate limit: the time at which the next admission would be exactly on schedule
/// (the "theoretical arrival time" of ITU-T I.371).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gcra {
    on_schedule_at: Mono,
}

impl Gcra {
    /// How long until an admission at `now` would be within `rate`; zero when it is.
    pub fn wait(self, rate: Rate, now: Mono) -> Duration {
        let interval = interval(rate);
        let tolerance = interval.saturating_mul(u64::from(rate.burst.saturating_sub(1)));
        let on_schedule_at = self.on_schedule_at(rate, interval, now);
        Mono(on_schedule_at.saturating_sub(tolerance)).since(now)
    }

    /// Takes one admission at `now`.
    pub fn take(&mut self, rate: Rate, now: Mono) {
        let interval = interval(rate);
        let on_schedule_at = self.on_schedule_at(rate, interval, now).max(now.0);
        self.on_schedule_at = Mono(on_schedule_at.saturating_add(interval));
    }

    /// Capped, so that a rate raised by a reload is not held back by the schedule of the old one.
    fn on_schedule_at(self, rate: Rate, interval: u64, now: Mono) -> u64 {
        let whole_burst = interval.saturating_mul(u64::from(rate.burst));
        self.on_schedule_at.0.min(now.0.saturating_add(whole_burst))
    }
}

/// Nanoseconds between two admissions at the sustained rate, rounded up: never faster than configured.
fn interval(rate: Rate) -> u64 {
    60_000_000_000_u64.div_ceil(u64::from(rate.per_minute))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Mono = Mono(1_000_000_000_000);

    fn admitted(gcra: &mut Gcra, rate: Rate, from: Mono, step: Duration, times: u32) -> u32 {
        let mut admitted = 0;
        for n in 0..times {
            let now = from + step * n;
            if gcra.wait(rate, now).is_zero() {
                gcra.take(rate, now);
                admitted += 1;
            }
        }
        admitted
    }

    #[test]
    fn a_burst_is_admitted_at_once_and_then_one_per_interval() {
        let rate = Rate { per_minute: 10, burst: 10 };
        let mut gcra = Gcra::default();

        assert_eq!(admitted(&mut gcra, rate, START, Duration::ZERO, 100), 10);
        assert_eq!(gcra.wait(rate, START), Duration::from_secs(6));
        assert_eq!(gcra.wait(rate, START + Duration::from_millis(5_999)), Duration::from_millis(1));
        assert_eq!(gcra.wait(rate, START + Duration::from_secs(6)), Duration::ZERO);
    }

    #[test]
    fn over_an_hour_the_sustained_rate_holds_to_the_admission() {
        let rate = Rate { per_minute: 7, burst: 3 };
        let mut gcra = Gcra::default();

        let count = admitted(&mut gcra, rate, START, Duration::from_millis(100), 36_000);

        assert_eq!(count, 3 + 60 * 7 - 1);
    }

    #[test]
    fn a_rate_raised_by_a_reload_counts_at_once() {
        let slow = Rate { per_minute: 1, burst: 10 };
        let fast = Rate { per_minute: 600, burst: 10 };
        let mut gcra = Gcra::default();
        admitted(&mut gcra, slow, START, Duration::ZERO, 10);

        assert!(gcra.wait(fast, START) <= Duration::from_millis(100));
    }
}
