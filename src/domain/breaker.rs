//! The upstream breaker: after several failures in a row, stop asking for a while, then try one.

use std::time::Duration;

use super::time::Mono;

/// Failures in a row that open the breaker.
const FAILURES_MAX: u32 = 5;
/// How long it stays open before one request is let through as a probe.
const OPEN_FOR: Duration = Duration::from_secs(5);

/// Whether the provider can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Breaker {
    failures: u32,
    retry_at: Option<Mono>,
}

impl Breaker {
    /// How long until a request may be tried; zero when it may be.
    pub fn wait(self, now: Mono) -> Duration {
        self.retry_at.map_or(Duration::ZERO, |at| at.since(now))
    }

    /// Whether requests are being held back, or only probes let through.
    pub fn is_open(self) -> bool {
        self.retry_at.is_some()
    }

    /// Notes that a request goes out. While open, that is the probe: the next one waits its turn.
    pub fn try_at(&mut self, now: Mono) {
        if self.retry_at.is_some() {
            self.retry_at = Some(now + OPEN_FOR);
        }
    }

    /// Any readable answer of the provider closes the breaker.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A refused or reset connection, a time-out, an unreadable answer.
    pub fn failed(&mut self, now: Mono) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MAX {
            self.retry_at = Some(now + OPEN_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Mono = Mono(1_000_000_000_000);

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES_MAX {
            assert!(!breaker.is_open());
            breaker.failed(START);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_success_closes_it() {
        let mut breaker = opened();
        assert!(breaker.is_open());
        assert_eq!(breaker.wait(START), OPEN_FOR);

        breaker.succeeded();

        assert!(breaker.wait(START).is_zero());
        breaker.failed(START);
        assert!(!breaker.is_open(), "the count starts anew after a success");
    }

    #[test]
    fn after_a_while_one_probe_is_let_through_and_the_next_waits() {
        let mut breaker = opened();
        let later = START + OPEN_FOR;
        assert!(breaker.wait(later).is_zero());

        breaker.try_at(later);

        assert_eq!(breaker.wait(later), OPEN_FOR);
    }
}
