//! Rolling counts of good and bad events, one ring of counts per window: constant memory, constant
//! cost per event.
//!
//! A window of length `L` counts every event up to `L` old and none older than `L` + 0.1 %. Rotation
//! follows the monotonic clock, so a jump of the wall clock moves nothing.
//!
//! After a restart the counts come from rows of one minute each, which do not say when within it an
//! event happened; each row stands at the middle of its minute, so that a restored event enters and
//! leaves every window up to 30 s early or late, besides the 0.1 %.

use std::ops::{Add, Sub};
use std::time::Duration;

use crate::domain::outcome::SliEvent;
use crate::domain::time::{Mono, Now};

/// The slot being filled and 1,023 whole ones, which make up the window.
const SLOTS: usize = 1024;
const SLOTS_SIGNED: i64 = 1024;
const MINUTE_MS: i128 = 60_000;
const NANOS_PER_MS: i128 = 1_000_000;

/// Good and bad events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Events within the objective.
    pub good: u64,
    /// Events that burn error budget.
    pub bad: u64,
}

impl Counts {
    /// Good and bad together.
    pub const fn total(self) -> u64 {
        self.good.saturating_add(self.bad)
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { good: self.good + other.good, bad: self.bad + other.bad }
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { good: self.good - other.good, bad: self.bad - other.bad }
    }
}

/// A window that events are counted over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the lengths")]
pub enum Window {
    FiveMinutes,
    HalfHour,
    OneHour,
    TwoHours,
    SixHours,
    OneDay,
    ThreeDays,
    /// The SLO's own, of configurable length.
    Slo,
}

impl Window {
    /// Every window; the SLO's own is last.
    pub const ALL: [Self; 8] = [
        Self::FiveMinutes,
        Self::HalfHour,
        Self::OneHour,
        Self::TwoHours,
        Self::SixHours,
        Self::OneDay,
        Self::ThreeDays,
        Self::Slo,
    ];

    /// The name used in metrics and config.
    pub const fn label(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5m",
            Self::HalfHour => "30m",
            Self::OneHour => "1h",
            Self::TwoHours => "2h",
            Self::SixHours => "6h",
            Self::OneDay => "1d",
            Self::ThreeDays => "3d",
            Self::Slo => "slo",
        }
    }

    /// `None` for the SLO's own.
    const fn fixed_length(self) -> Option<Duration> {
        match self {
            Self::FiveMinutes => Some(Duration::from_mins(5)),
            Self::HalfHour => Some(Duration::from_mins(30)),
            Self::OneHour => Some(Duration::from_hours(1)),
            Self::TwoHours => Some(Duration::from_hours(2)),
            Self::SixHours => Some(Duration::from_hours(6)),
            Self::OneDay => Some(Duration::from_hours(24)),
            Self::ThreeDays => Some(Duration::from_hours(72)),
            Self::Slo => None,
        }
    }

    /// The length, for an SLO whose own window is `slo_window`.
    pub fn length(self, slo_window: Duration) -> Duration {
        self.fixed_length().unwrap_or(slo_window)
    }

    /// The burn window of exactly that length.
    pub fn of_length(length: Duration) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.fixed_length() == Some(length))
    }
}

/// The events of one minute, as the store keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinuteCounts {
    /// Minutes since the Unix epoch, by the wall clock.
    pub minute: i64,
    /// What happened in it.
    pub counts: Counts,
}

/// The counts of one SLO of one captcha type over every window: 57 KiB, and 8 KiB more if the SLO's
/// own window is none of the burn windows.
#[derive(Debug)]
pub(super) struct Windows {
    /// In the order of [`Window::ALL`].
    rings: Vec<Ring>,
    /// The ring that serves as the SLO's own.
    slo: usize,
    /// What happened from `recent_at` on, and is in no ring yet: one sum instead of eight. Up to
    /// `recent_until` all of it belongs to the newest slot of each ring.
    recent: Counts,
    recent_at: i64,
    recent_until: i64,
}

impl Windows {
    pub(super) fn new(slo_window: Duration, now: Mono) -> Self {
        let at = nanos(now);
        let mut rings: Vec<_> = Window::ALL
            .into_iter()
            .filter_map(Window::fixed_length)
            .map(|length| Ring::new(length, at))
            .collect();
        let slo = Window::of_length(slo_window).map_or(rings.len(), |window| window as usize);
        if slo == rings.len() {
            rings.push(Ring::new(slo_window, at));
        }
        Self { rings, slo, recent: Counts::default(), recent_at: at, recent_until: at }
    }

    pub(super) fn record(&mut self, event: SliEvent, now: Mono) {
        let counts = match event {
            SliEvent::Good => Counts { good: 1, bad: 0 },
            SliEvent::Bad => Counts { good: 0, bad: 1 },
        };
        let at = nanos(now);
        if at < self.recent_at {
            self.rings.iter_mut().for_each(|ring| ring.add(counts, at));
            return;
        }
        if at >= self.recent_until {
            self.advance(now);
        }
        self.recent = self.recent + counts;
    }

    /// The counts at `now`. Costs as many steps as slots passed since the last event or
    /// [`advance`](Self::advance), at most the ring's.
    pub(super) fn counts(&self, window: Window, now: Mono) -> Counts {
        let place = if window == Window::Slo { self.slo } else { window as usize };
        self.rings[place].counts(self.recent, nanos(now))
    }

    /// Forgets what is too old, so that reads need not.
    pub(super) fn advance(&mut self, now: Mono) {
        let at = nanos(now);
        for ring in &mut self.rings {
            ring.add(self.recent, self.recent_at);
            ring.advance(at);
        }
        self.recent = Counts::default();
        self.recent_at = self.recent_at.max(at);
        self.recent_until = self.rings.iter().map(Ring::newest_ends).min().unwrap_or(at);
    }

    /// Adds a minute from the store, placed in monotonic time by the two readings of `now`. A minute
    /// that lies in the future is dropped: the wall clock went back since it was written.
    pub(super) fn restore(&mut self, row: MinuteCounts, now: Now) {
        let wall = i128::from(now.wall.0);
        let begins = i128::from(row.minute) * MINUTE_MS;
        if begins > wall {
            return;
        }
        let middle = i128::midpoint(begins, wall.min(begins + MINUTE_MS));
        let Ok(age) = i64::try_from((wall - middle) * NANOS_PER_MS) else { return };
        self.advance(now.mono);
        for ring in &mut self.rings {
            ring.add(row.counts, nanos(now.mono).saturating_sub(age));
        }
    }

    /// Changes the length of the SLO's own window. It is filled from the window that knows its span
    /// best, to half a slot of that one: a longer window starts with what the 3d window still has.
    pub(super) fn resize(&mut self, slo_window: Duration, now: Mono) {
        self.advance(now);
        // Of a ring that comes, the newest slot may end earlier.
        self.recent_until = self.recent_at;
        let burn_windows = Window::Slo as usize;
        if let Some(window) = Window::of_length(slo_window) {
            self.rings.truncate(burn_windows);
            self.slo = window as usize;
            return;
        }
        // Not `now`, which may be an earlier reading than that of the last event.
        let mut ring = Ring::new(slo_window, self.recent_at);
        if self.rings.get(burn_windows).is_some_and(|old| old.slot_length == ring.slot_length) {
            return;
        }
        let covering = self.rings.iter().filter(|old| old.slot_length >= ring.slot_length);
        let source = covering
            .min_by_key(|old| old.slot_length)
            .or_else(|| self.rings.iter().max_by_key(|old| old.slot_length));
        for (at, counts) in source.into_iter().flat_map(Ring::history) {
            ring.add(counts, at.min(self.recent_at));
        }
        self.rings.truncate(burn_windows);
        self.rings.push(ring);
        self.slo = burn_windows;
    }
}

/// Counts per slot of time and their sum. The slot of number `n` covers the nanoseconds from
/// `n * slot_length` on and stands at place `n mod SLOTS`.
#[derive(Debug)]
struct Ring {
    slot_length: i64,
    /// The number of the newest slot; the ring holds it and the `SLOTS - 1` before it.
    head: i64,
    sum: Counts,
    slots: Box<[Slot]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    good: u32,
    bad: u32,
}

impl Ring {
    fn new(length: Duration, at: i64) -> Self {
        let length = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
        // Rounded up: the whole slots never make less than the window.
        let slot_length = length.div_euclid(SLOTS_SIGNED - 1) + 1;
        let slots = vec![Slot::default(); SLOTS].into_boxed_slice();
        Self { slot_length, head: at.div_euclid(slot_length), sum: Counts::default(), slots }
    }

    /// Makes the slot of `at` the newest, emptying those that fall out; never goes back.
    fn advance(&mut self, at: i64) {
        let passed = self.passed(at);
        if passed >= SLOTS_SIGNED {
            self.slots.fill(Slot::default());
            self.sum = Counts::default();
        } else {
            for number in self.head + 1..=self.head + passed {
                let slot = std::mem::take(&mut self.slots[place(number)]);
                self.sum.good -= u64::from(slot.good);
                self.sum.bad -= u64::from(slot.bad);
            }
        }
        self.head += passed;
    }

    /// Adds events that happened at `at`, no later than the ring has advanced to; those older than the
    /// ring are dropped.
    fn add(&mut self, counts: Counts, at: i64) {
        let number = if self.head_covers(at) { self.head } else { at.div_euclid(self.slot_length) };
        if self.head - number >= SLOTS_SIGNED {
            return;
        }
        debug_assert!(number <= self.head, "an event from the future");
        let slot = &mut self.slots[place(number)];
        self.sum.good += fill(&mut slot.good, counts.good);
        self.sum.bad += fill(&mut slot.bad, counts.bad);
    }

    /// The counts at `at`, with `recent` in the newest slot.
    fn counts(&self, recent: Counts, at: i64) -> Counts {
        let passed = self.passed(at);
        if passed >= SLOTS_SIGNED {
            return Counts::default();
        }
        let mut sum = self.sum + recent;
        for number in self.head + 1..=self.head + passed {
            let slot = self.slots[place(number)];
            sum.good -= u64::from(slot.good);
            sum.bad -= u64::from(slot.bad);
        }
        sum
    }

    /// The counts of each slot that has any, at the slot's middle.
    fn history(&self) -> impl Iterator<Item = (i64, Counts)> {
        (self.head - SLOTS_SIGNED + 1..=self.head).filter_map(|number| {
            let slot = self.slots[place(number)];
            let counts = Counts { good: slot.good.into(), bad: slot.bad.into() };
            (counts.total() > 0).then(|| (number * self.slot_length + self.slot_length / 2, counts))
        })
    }

    /// Slots begun since the newest; zero if `at` lies in it or before it.
    fn passed(&self, at: i64) -> i64 {
        if self.head_covers(at) {
            return 0;
        }
        (at.div_euclid(self.slot_length) - self.head).max(0)
    }

    /// Spares the division for most events.
    fn head_covers(&self, at: i64) -> bool {
        self.newest_ends() - self.slot_length <= at && at < self.newest_ends()
    }

    fn newest_ends(&self) -> i64 {
        (self.head + 1) * self.slot_length
    }
}

/// Adds to a slot what still goes in (4 billion events), and says how much did.
fn fill(slot: &mut u32, count: u64) -> u64 {
    let added = u32::try_from(count).unwrap_or(u32::MAX).min(u32::MAX - *slot);
    *slot += added;
    added.into()
}

#[expect(clippy::cast_sign_loss, reason = "the mask leaves no sign")]
fn place(number: i64) -> usize {
    (number & (SLOTS_SIGNED - 1)) as usize
}

/// Signed, for the past that is restored may lie before the monotonic clock's start. Halved range: no
/// sum of two overflows.
fn nanos(now: Mono) -> i64 {
    i64::try_from(now.0).unwrap_or(i64::MAX).min(i64::MAX / 2)
}
