//! The traffic: solves at random instants with a daily cycle, the incidents of the script on top.

#![expect(clippy::float_arithmetic, reason = "rates and shares")]
#![expect(clippy::cast_precision_loss, reason = "milliseconds of a few months")]

use solvegate::domain::captcha_type::CaptchaType;
use solvegate::domain::outcome::Outcome;

use crate::{Incident, Job, START_MS, TypeSpec, at_hour};

/// How finely rates follow the script.
const STEP_MS: i64 = 10_000;
const HOUR_MS: f64 = 3_600_000.0;
const DAY_HOURS: f64 = 24.0;
/// The busiest hour of the day, UTC.
const PEAK_HOUR: f64 = 14.0;
const NIGHT_SHARE: f64 = 0.1;

/// A solve that ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) at_ms: i64,
    pub(crate) captcha_type: CaptchaType,
    pub(crate) outcome: Outcome,
}

pub(crate) struct Stream {
    types: Vec<TypeSpec>,
    incidents: Vec<Incident>,
    random: u64,
    step: i64,
    /// Of the steps before `step`, not yet taken; the next one is last.
    ready: Vec<Event>,
}

impl Stream {
    pub(crate) fn new(job: &Job) -> Self {
        let (types, incidents) = (job.types.clone(), job.incidents.clone());
        Self { types, incidents, random: job.seed, step: START_MS, ready: Vec::new() }
    }

    /// The next event before `until`.
    pub(crate) fn next_before(&mut self, until: i64) -> Option<Event> {
        while self.ready.is_empty() {
            if self.step >= until {
                return None;
            }
            self.fill();
        }
        self.ready.pop_if(|event| event.at_ms < until)
    }

    /// Drops what happens before `at`.
    pub(crate) fn skip_to(&mut self, at: i64) {
        while self.next_before(at).is_some() {}
    }

    fn fill(&mut self) {
        let from = self.step;
        self.step += STEP_MS;
        for place in 0..self.types.len() {
            let spec = self.types[place].clone();
            let captcha_type = CaptchaType::from_label(&spec.captcha_type).unwrap();
            let (mut share, mut traffic, mut client_errors) = (spec.bad_share, 1.0, 0.0);
            let mut failures = 0;
            for incident in self.incidents.iter().filter(|i| i.captcha_type == spec.captcha_type) {
                let (begin, end) = (at_hour(incident.from_hour), at_hour(incident.to_hour));
                if (begin..end).contains(&from) {
                    share = incident.bad_share.unwrap_or(share);
                    traffic *= incident.traffic;
                    client_errors += incident.client_errors_per_hour;
                    failures += due(incident.failures, (begin, end), from);
                }
            }
            let solves = spec.peak_per_hour * daily(from) * traffic;
            for _ in 0..self.poisson(solves) {
                let bad = self.unit() < share;
                let outcome = match (bad, self.below(3)) {
                    (false, _) => Outcome::Solved,
                    (true, 0) => Outcome::Timeout,
                    (true, 1) => Outcome::ProviderError,
                    (true, _) => Outcome::Unsolvable,
                };
                self.push(from, captcha_type, outcome);
            }
            for _ in 0..self.poisson(client_errors) {
                self.push(from, captcha_type, Outcome::ClientError);
            }
            for _ in 0..failures {
                self.push(from, captcha_type, Outcome::Unsolvable);
            }
        }
        self.ready.sort_by_key(|event| std::cmp::Reverse(event.at_ms));
    }

    fn push(&mut self, from: i64, captcha_type: CaptchaType, outcome: Outcome) {
        let at_ms = from + i64::try_from(self.below(10_000)).unwrap();
        self.ready.push(Event { at_ms, captcha_type, outcome });
    }

    /// How many happen in a step at so many an hour.
    fn poisson(&mut self, per_hour: f64) -> u32 {
        let none = (-per_hour * STEP_MS as f64 / HOUR_MS).exp();
        let (mut count, mut product) = (0, self.unit());
        while product > none {
            count += 1;
            product *= self.unit();
        }
        count
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Of `count` events spread over a span, those that fall into the step from `from` on.
fn due(count: u32, (begin, end): (i64, i64), from: i64) -> u32 {
    let until = |at: i64| i64::from(count) * (at.clamp(begin, end) - begin) / (end - begin);
    u32::try_from(until(from + STEP_MS) - until(from)).unwrap()
}

/// The share of the day's peak at that instant.
fn daily(at_ms: i64) -> f64 {
    let hour = (at_ms - START_MS) as f64 / HOUR_MS;
    let wave = ((hour - PEAK_HOUR) / DAY_HOURS * std::f64::consts::TAU).cos();
    NIGHT_SHARE + (1.0 - NIGHT_SHARE) * f64::midpoint(1.0, wave)
}
