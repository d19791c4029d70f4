//! Calendar days and months in the operator's zone, ratcheted forward: a clock that steps back
//! re-opens no day. Another zone may lead to another day, also back to one that was left.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::time::Wall;

/// The current calendar day.
#[derive(Debug, Clone)]
pub struct Calendar {
    zone: TimeZone,
    /// What was used on days before it is not known.
    first: Date,
    /// The latest instant that moved it.
    at: Wall,
    today: Date,
    period: Period,
    next_midnight: Wall,
}

/// A calendar day as a number that grows by time, and its month's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Period {
    /// The day.
    pub day: i32,
    /// The month.
    pub month: i32,
}

impl Period {
    /// Of that day.
    pub fn of(day: Date) -> Self {
        let month = i32::from(day.year()) * 12 + i32::from(day.month());
        Self { day: month * 32 + i32::from(day.day()), month }
    }
}

impl Calendar {
    /// The calendar as of `now`.
    pub fn new(zone: TimeZone, now: Wall) -> Self {
        let today = date_at(&zone, now);
        let next_midnight = start_of(&zone, tomorrow(today));
        Self { zone, first: today, at: now, today, period: Period::of(today), next_midnight }
    }

    /// Moves to the day of `now` unless that lies before the current one.
    pub fn roll(&mut self, now: Wall) {
        if now >= self.next_midnight {
            self.at = self.at.max(now);
            self.today = date_at(&self.zone, now).max(self.today);
            self.period = Period::of(self.today);
            self.next_midnight = start_of(&self.zone, tomorrow(self.today));
        }
    }

    /// Changes the zone. The current day may go back by it, to one of the two before, but not beyond the
    /// first.
    pub fn set_zone(&mut self, zone: TimeZone, now: Wall) {
        self.at = self.at.max(now);
        self.today = date_at(&zone, self.at).max(self.first);
        self.period = Period::of(self.today);
        self.next_midnight = start_of(&zone, tomorrow(self.today));
        self.zone = zone;
    }

    /// The current day.
    pub fn today(&self) -> Date {
        self.today
    }

    /// The current day and month, for comparing tallies.
    pub fn period(&self) -> Period {
        self.period
    }

    /// Time from `now` to the start of the next day.
    pub fn until_tomorrow(&self, now: Wall) -> Duration {
        self.next_midnight.since(now)
    }

    /// Time from `now` to the start of the next month.
    pub fn until_next_month(&self, now: Wall) -> Duration {
        let first = self.today.first_of_month().saturating_add(Span::new().months(1));
        start_of(&self.zone, first).since(now)
    }
}

fn date_at(zone: &TimeZone, at: Wall) -> Date {
    let instant = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH);
    zone.to_datetime(instant).date()
}

fn tomorrow(day: Date) -> Date {
    day.saturating_add(Span::new().days(1))
}

/// The first instant of a day: midnight, or the end of the gap where clocks skip midnight.
fn start_of(zone: &TimeZone, day: Date) -> Wall {
    zone.to_zoned(day.at(0, 0, 0, 0))
        .and_then(|midnight| midnight.start_of_day())
        .map_or(Wall(i64::MAX), |midnight| Wall(midnight.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(text: &str) -> Wall {
        Wall(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn calendar(zone: &str, now: &str) -> Calendar {
        Calendar::new(TimeZone::get(zone).unwrap(), wall(now))
    }

    #[test]
    fn the_day_turns_at_local_midnight() {
        let mut berlin = calendar("Europe/Berlin", "2026-11-21T22:59:59Z");
        let before = berlin.period();
        assert_eq!(berlin.until_tomorrow(wall("2026-11-21T22:59:59Z")), Duration::from_secs(1));

        berlin.roll(wall("2026-11-21T23:00:00Z"));

        assert_eq!(berlin.today(), jiff::civil::date(2026, 11, 22));
        assert!(berlin.period().day > before.day);
        assert_eq!(berlin.period().month, before.month);
    }

    #[test]
    fn days_of_23_and_25_hours_are_whole_days() {
        for (day, hours) in [("2026-03-28T23:00:00Z", 23), ("2026-10-24T22:00:00Z", 25)] {
            let berlin = calendar("Europe/Berlin", day);
            assert_eq!(berlin.until_tomorrow(wall(day)), Duration::from_hours(hours), "{day}");
        }
    }

    #[test]
    fn a_zone_that_skips_midnight_still_starts_its_day() {
        let now = "2024-09-07T12:00:00Z";
        let santiago = calendar("America/Santiago", now);
        assert_eq!(wall(now) + santiago.until_tomorrow(wall(now)), wall("2024-09-08T04:00:00Z"));
    }

    #[test]
    fn month_and_year_end_and_leap_day() {
        let mut utc = calendar("UTC", "2028-02-29T00:00:00Z");
        assert_eq!(utc.until_next_month(wall("2028-02-29T00:00:00Z")), Duration::from_hours(24));
        let february = utc.period();
        utc.roll(wall("2028-03-01T00:00:00Z"));
        assert!(utc.period() > february);
        utc.roll(wall("2028-12-31T23:59:59Z"));
        let december = utc.period();
        utc.roll(wall("2029-01-01T00:00:00Z"));
        assert!(utc.period() > december);
        assert!(utc.period().month > december.month);
    }

    #[test]
    fn a_clock_that_steps_back_reopens_no_day() {
        let mut utc = calendar("UTC", "2026-11-21T12:00:00Z");
        utc.roll(wall("2026-11-23T12:00:00Z"));
        let ahead = utc.period();
        utc.roll(wall("2026-11-21T12:00:00Z"));
        assert_eq!(utc.period(), ahead);
        for zone in ["Pacific/Kiritimati", "UTC"] {
            utc.set_zone(TimeZone::get(zone).unwrap(), wall("2026-11-21T12:00:00Z"));
            assert!(utc.period() >= ahead, "{zone}");
        }
        assert_eq!(utc.period(), ahead);
        utc.roll(wall("2026-11-24T00:00:00Z"));
        assert!(utc.period() > ahead);
    }

    #[test]
    fn a_zone_that_comes_back_brings_its_day_back_and_none_from_before_the_start() {
        let now = "2026-11-22T00:30:00Z";
        let mut calendar = calendar("UTC", "2026-11-21T23:00:00Z");
        for (zone, now, day) in [
            ("Pacific/Kiritimati", "2026-11-21T23:30:00Z", 22),
            ("UTC", "2026-11-21T23:30:00Z", 21),
            ("UTC", now, 22),
            ("America/New_York", now, 21),
            ("Pacific/Pago_Pago", "2026-11-22T10:00:00Z", 21),
            ("UTC", "2026-11-22T10:00:00Z", 22),
        ] {
            calendar.set_zone(TimeZone::get(zone).unwrap(), wall(now));
            assert_eq!(calendar.today(), jiff::civil::date(2026, 11, day), "{zone} {now}");
        }

        let mut calendar = Calendar::new(TimeZone::UTC, wall(now));
        calendar.set_zone(TimeZone::get("America/New_York").unwrap(), wall(now));
        assert_eq!(calendar.today(), jiff::civil::date(2026, 11, 22));
    }
}
