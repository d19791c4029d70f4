//! The error budgets against a recount from the list of all events: random streams with bursts, gaps,
//! incidents, restarts and jumps of the wall clock.
//!
//! By default 200,000 events over 30 days; `SOLVEGATE_RECOUNT_EVENTS=10000000` for the long run.

#![expect(clippy::unwrap_used, reason = "a failed assertion is the result")]
#![expect(clippy::float_arithmetic, reason = "ratios, not money")]

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use solvegate::domain::captcha_type::CaptchaType;
use solvegate::domain::outcome::SliEvent;
use solvegate::domain::policy::{LatencySlo, Slo, SloPolicy, Status};
use solvegate::domain::slo::report::Report;
use solvegate::domain::slo::window::{Counts, MinuteCounts, Window};
use solvegate::domain::slo::{ErrorBudgets, SliRow, SloKind};
use solvegate::domain::time::{Mono, Now, Wall};

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
/// How far off a restored event may stand: a minute's row does not say when in it.
const BLUR: i64 = 30 * SECOND;

/// Captcha types, with objectives in percent that the recount computes in whole numbers.
const TYPES: [(CaptchaType, i128, Duration); 4] = [
    (CaptchaType::RecaptchaV2, 95, Duration::from_hours(30 * 24)),
    (CaptchaType::Turnstile, 97, Duration::from_hours(7 * 24)),
    (CaptchaType::Image, 80, Duration::from_mins(10)),
    (CaptchaType::GeetestV4, 93, Duration::from_hours(24)),
];
const LATENCY_PERCENT: i128 = 90;
const MIN_EVENTS: u64 = 50;

struct Event {
    /// By the monotonic clock of the process that runs now; `None` if a restart dropped it.
    at: Option<i64>,
    wall: i64,
    place: usize,
    success: SliEvent,
    latency: SliEvent,
    /// Known from its minute alone.
    restored: bool,
}

#[test]
fn every_window_agrees_with_a_recount_of_the_events() {
    let events = std::env::var("SOLVEGATE_RECOUNT_EVENTS").map_or(200_000, |n| n.parse().unwrap());
    let mut world = World::new(events);
    for _ in 0..events {
        world.step();
    }
    world.check();

    assert!(world.checks >= 40 && world.restarts >= 3 && world.jumps >= 5 && world.gaps >= 20);
    let exact = world.exact * 100 / world.compared;
    assert!(exact >= 50, "only {exact} % of the counts were those of the exact window");
    for status in Status::ALL {
        assert!(world.statuses.contains_key(status.label()), "never {status:?}");
    }
}

struct World {
    events_max: i64,
    random: u64,
    budgets: ErrorBudgets,
    now: i64,
    wall_offset_ms: i64,
    events: Vec<Event>,
    store: BTreeMap<(usize, SloKind, i64), Counts>,
    /// The bad ones in a thousand, per type: incidents come and go.
    bad_permille: [u64; TYPES.len()],
    checks: u32,
    restarts: u32,
    jumps: u32,
    gaps: u32,
    compared: u64,
    exact: u64,
    statuses: HashMap<&'static str, u64>,
}

impl World {
    fn new(events_max: i64) -> Self {
        Self {
            events_max,
            random: 20_261_121,
            budgets: ErrorBudgets::new(&policy()),
            now: 365 * DAY,
            wall_offset_ms: 1_790_000_000_000,
            events: Vec::new(),
            store: BTreeMap::new(),
            bad_permille: [30; TYPES.len()],
            checks: 0,
            restarts: 0,
            jumps: 0,
            gaps: 0,
            compared: 0,
            exact: 0,
            statuses: HashMap::new(),
        }
    }

    /// Lets some time pass and an event happen, and now and then something worse.
    fn step(&mut self) {
        let mean = 20 * DAY / self.events_max;
        self.now += match self.below(10) {
            0..=2 => 0,
            3..=5 => self.below(1_000_000),
            _ => self.below(4 * mean),
        };
        if self.happens(80) {
            self.gaps += 1;
            self.now += if self.below(20) == 0 { self.below(2 * DAY) } else { self.below(DAY / 4) };
        }
        if self.happens(150) {
            let place = usize::try_from(self.below(4)).unwrap();
            let permille = [0, 10, 30, 45, 60, 200, 600, 1_000];
            self.bad_permille[place] = permille[usize::try_from(self.below(8)).unwrap()];
        }
        if self.happens(20) {
            self.jumps += 1;
            self.wall_offset_ms += self.below(14_400_000) - 7_200_000;
        }
        if self.happens(8) {
            self.restart();
        }
        self.record();
        if self.happens(90) {
            let wait = [0, 1, 300 * SECOND, 3_600 * SECOND];
            self.now += wait[usize::try_from(self.below(4)).unwrap()];
            self.check();
        }
    }

    fn record(&mut self) {
        // The last type is a quiet one.
        let place = match self.below(500) {
            0..250 => 0,
            250..400 => 1,
            400..499 => 2,
            _ => 3,
        };
        let bad = u64::try_from(self.below(1_000)).unwrap() < self.bad_permille[place];
        let success = if bad { SliEvent::Bad } else { SliEvent::Good };
        let latency = if bad || self.below(20) == 0 { SliEvent::Bad } else { SliEvent::Good };
        let now = self.clocks();
        self.budgets.record(TYPES[place].0, Some(success), Some(latency), now);
        for (slo, event) in [(SloKind::Success, success), (SloKind::Latency, latency)] {
            let minute = now.wall.0.div_euclid(60_000);
            add(self.store.entry((place, slo, minute)).or_default(), event);
        }
        let (at, wall) = (Some(self.now), now.wall.0);
        self.events.push(Event { at, wall, place, success, latency, restored: false });
    }

    /// A new process: another monotonic clock, and only what the store kept.
    fn restart(&mut self) {
        self.restarts += 1;
        let wall = self.clocks().wall.0;
        self.now = if self.below(2) == 0 { self.below(SECOND) } else { self.below(900 * DAY) };
        self.wall_offset_ms = wall - self.now / 1_000_000;
        let now = self.clocks();
        self.budgets = ErrorBudgets::new(&policy());
        self.budgets.restore(
            self.store.iter().map(|(&(place, slo, minute), &counts)| SliRow {
                captcha_type: TYPES[place].0,
                slo,
                minute: MinuteCounts { minute, counts },
            }),
            now,
        );
        for event in &mut self.events {
            let is_future = event.wall.div_euclid(60_000) > now.wall.0.div_euclid(60_000);
            let age = (now.wall.0 - event.wall).max(0) * 1_000_000;
            event.at = (!is_future).then_some(self.now - age);
            event.restored = true;
        }
        assert!(self.budgets.status_changes(now).is_empty(), "a restart is no change");
    }

    fn check(&mut self) {
        self.checks += 1;
        let now = self.clocks();
        if self.below(3) == 0 {
            self.budgets.status_changes(now);
        }
        for (place, (captcha_type, percent, _)) in TYPES.into_iter().enumerate() {
            for (slo, percent) in [(SloKind::Success, percent), (SloKind::Latency, LATENCY_PERCENT)]
            {
                let Some(report) = self.budgets.report(captcha_type, slo, now) else {
                    assert!(slo == SloKind::Latency && captcha_type != CaptchaType::Turnstile);
                    continue;
                };
                self.compare_counts(place, &report);
                compare_ratios(&report, percent);
                *self.statuses.entry(report.status.label()).or_default() += 1;
            }
        }
    }

    fn compare_counts(&mut self, place: usize, report: &Report) {
        let lengths = report
            .windows
            .map(|w| i64::try_from(w.window.length(report.window).as_nanos()).unwrap());
        let [mut least, mut exact, mut most] = [[Counts::default(); Window::ALL.len()]; 3];
        for event in self.events.iter().filter(|event| event.place == place) {
            let Some(at) = event.at else { continue };
            let age = self.now - at;
            let blur = if event.restored { BLUR } else { 0 };
            let sli = if report.slo == SloKind::Success { event.success } else { event.latency };
            for (n, length) in lengths.into_iter().enumerate() {
                if age <= length - blur {
                    add(&mut least[n], sli);
                }
                if age <= length {
                    add(&mut exact[n], sli);
                }
                if age < length + length / 1_000 + blur {
                    add(&mut most[n], sli);
                }
            }
        }
        for (n, window) in report.windows.iter().enumerate() {
            let Counts { good, bad } = window.counts;
            assert!(
                (least[n].good..=most[n].good).contains(&good)
                    && (least[n].bad..=most[n].bad).contains(&bad),
                "{} {:?}: {:?}, recounted {:?} to {:?}",
                report.captcha_type.label(),
                window.window,
                window.counts,
                least[n],
                most[n]
            );
            self.compared += 1;
            self.exact += u64::from(window.counts == exact[n]);
        }
    }

    fn clocks(&self) -> Now {
        let wall = Wall(self.now / 1_000_000 + self.wall_offset_ms);
        Now { mono: Mono(u64::try_from(self.now).unwrap()), wall }
    }

    /// About `times` in the whole run.
    fn happens(&mut self, times: i64) -> bool {
        self.below(self.events_max) < times
    }

    /// A number from 0 to below `bound` (`SplitMix64`).
    fn below(&mut self, bound: i64) -> i64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        i64::try_from(z % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }
}

/// The figures of a report against its counts, by the definitions in whole percents.
fn compare_ratios(report: &Report, percent: i128) {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs().max(1.0);
    let budget = 1.0 - f64::from(i32::try_from(percent).unwrap()) / 100.0;
    for window in &report.windows {
        let [bad, total] = [window.counts.bad, window.counts.total()]
            .map(|count| f64::from(u32::try_from(count).unwrap()));
        if total > 0.0 {
            assert!(near(window.burn_rate, bad / total / budget));
            assert!(near(window.success_ratio.unwrap(), 1.0 - bad / total));
        } else {
            assert!(window.burn_rate == 0.0 && window.success_ratio.is_none());
        }
    }
    let own = report.of_window(Window::Slo);
    assert!(near(report.remaining_ratio, 1.0 - own.burn_rate));

    // In hundredths of an event.
    let [bad, total] = [own.counts.bad, own.counts.total()].map(i128::from);
    let allowed = total * (100 - percent);
    let left = allowed - bad * 100;
    let expected = if own.counts.total() < MIN_EVENTS || left * 2 > allowed {
        Status::Healthy
    } else if left <= 0 {
        Status::Exhausted
    } else if left * 10 < allowed {
        Status::Critical
    } else {
        Status::Warning
    };
    assert_eq!(report.status, expected, "{:?}", own.counts);
}

fn add(counts: &mut Counts, event: SliEvent) {
    match event {
        SliEvent::Good => counts.good += 1,
        SliEvent::Bad => counts.bad += 1,
    }
}

fn policy() -> SloPolicy {
    let slo = |percent: i128, window, latency| Slo {
        objective: f64::from(i32::try_from(percent).unwrap()) / 100.0,
        window,
        deadline: Duration::from_mins(3),
        min_events: MIN_EVENTS,
        warning_below: 0.5,
        critical_below: 0.1,
        latency,
    };
    let latency = LatencySlo { threshold: Duration::from_secs(30), objective: 0.9 };
    let types = TYPES.map(|(captcha_type, percent, window)| {
        let latency = (captcha_type == CaptchaType::Turnstile).then_some(latency);
        (captcha_type, slo(percent, window, latency))
    });
    SloPolicy {
        default: slo(95, Duration::from_hours(24), None),
        types: types.into(),
        rules: Vec::new(),
        probe_every: Duration::from_secs(30),
    }
}
