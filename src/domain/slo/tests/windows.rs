//! What the windows remember, and for how long.

use super::*;
use crate::domain::slo::window::{Counts, Window, Windows};

const OWN: Duration = Duration::from_secs(3601 * 24 * 7);

fn windows(now: Now) -> Windows {
    Windows::new(OWN, now.mono)
}

fn total(windows: &Windows, window: Window, now: Now) -> u64 {
    windows.counts(window, now.mono).total()
}

/// 0.1 % of a length.
fn slack(length: Duration) -> Duration {
    length / 1000
}

#[test]
fn an_event_counts_for_the_whole_window_and_is_gone_a_thousandth_later() {
    for window in Window::ALL {
        let length = window.length(OWN);
        // A lap is 1,024 slots; offsets that divide neither slot nor lap reach every phase of both.
        for step in 0..1_500_u32 {
            let happened = START + length / 977 * step;
            let mut windows = windows(START);
            windows.advance(happened.mono);
            windows.record(SliEvent::Bad, happened.mono);

            let at = |age| total(&windows, window, happened + age);
            assert_eq!(at(Duration::ZERO), 1, "{window:?} {step}");
            assert_eq!(at(length / 2), 1, "{window:?} {step}");
            assert_eq!(at(length), 1, "{window:?} {step}");
            assert_eq!(at(length + slack(length)), 0, "{window:?} {step}");
        }
    }
}

#[test]
fn a_steady_stream_keeps_a_steady_count_over_many_laps() {
    for window in [Window::FiveMinutes, Window::OneHour, Window::Slo] {
        let length = window.length(OWN);
        let mut windows = windows(START);
        for n in 0..5_000_u64 {
            let now = START + length / 500 * u32::try_from(n).unwrap();
            windows.record(SliEvent::Good, now.mono);
            let expected = (n + 1).min(501);
            let counted = total(&windows, window, now);
            assert!(counted == expected || n > 500 && counted == 500, "{window:?} {n} {counted}");
        }
    }
}

#[test]
fn reading_without_writing_and_reading_after_a_write_agree() {
    let mut written = windows(START);
    let mut read = windows(START);
    let mut now = START;
    for n in 1..4_000_u64 {
        now = now + Duration::from_millis(n * 7_919 % 400_000);
        written.advance(now.mono);
        for window in Window::ALL {
            let counts = read.counts(window, now.mono);
            assert_eq!(counts, written.counts(window, now.mono), "{window:?} {n}");
        }
        if n % 3 == 0 {
            written.record(SliEvent::Good, now.mono);
            read.record(SliEvent::Good, now.mono);
        }
    }
}

#[test]
fn an_idle_gap_of_any_length_empties_the_windows_and_leaves_them_working() {
    for gap in [DAY, 4 * DAY, 7 * DAY + HOUR, 40 * DAY, 4_000 * DAY] {
        let mut windows = windows(START);
        windows.record(SliEvent::Bad, START.mono);
        let later = START + gap;

        windows.record(SliEvent::Good, later.mono);

        let only_the_new = Counts { good: 1, bad: 0 };
        assert_eq!(windows.counts(Window::FiveMinutes, later.mono), only_the_new);
        assert_eq!(total(&windows, Window::Slo, later), if gap > OWN { 1 } else { 2 });
        assert_eq!(total(&windows, Window::Slo, later + 30 * DAY), 0);
    }
}

#[test]
fn a_reading_that_goes_back_records_nothing_in_the_future() {
    let mut windows = windows(START);
    windows.record(SliEvent::Good, (START + HOUR).mono);

    windows.record(SliEvent::Bad, START.mono);

    let now = START + HOUR;
    assert_eq!(windows.counts(Window::FiveMinutes, now.mono), Counts { good: 1, bad: 0 });
    assert_eq!(windows.counts(Window::SixHours, now.mono), Counts { good: 1, bad: 1 });
    assert_eq!(total(&windows, Window::SixHours, START), 2, "an earlier look sees the newest");
}

fn row(minute: i64, good: u64, bad: u64) -> MinuteCounts {
    MinuteCounts { minute, counts: Counts { good, bad } }
}

#[test]
fn a_restored_minute_leaves_each_window_within_half_a_minute_of_its_events() {
    let minute = START.wall.0 / 60_000;
    let into_the_minute = Duration::from_millis(u64::try_from(START.wall.0 % 60_000).unwrap());
    for window in Window::ALL {
        let length = window.length(OWN);
        let mut windows = windows(START);
        windows.restore(row(minute - 3, 40, 2), START);

        // The middle of the minute three before is so old at the start.
        let middle = into_the_minute + Duration::from_secs(150);
        let at = |age: Duration| total(&windows, window, START + age.saturating_sub(middle));
        assert_eq!(at(middle), 42, "{window:?}");
        assert_eq!(at(length), 42, "{window:?}");
        assert_eq!(at(length + slack(length)), 0, "{window:?}");
    }
}

#[test]
fn a_minute_from_the_future_is_dropped_and_the_one_in_progress_is_not() {
    let minute = START.wall.0 / 60_000;
    let mut windows = windows(START);

    windows.restore(row(minute + 1, 5, 5), START);
    windows.restore(row(i64::MAX, 5, 5), START);
    windows.restore(row(i64::MIN, 5, 5), START);
    windows.restore(row(minute - 40 * 24 * 60, 5, 5), START);
    windows.restore(row(minute, 1, 1), START);

    for window in Window::ALL {
        assert_eq!(windows.counts(window, START.mono), Counts { good: 1, bad: 1 }, "{window:?}");
    }
}

#[test]
fn a_minute_from_before_the_monotonic_clock_began_is_restored() {
    let now = Now { mono: Mono(5), ..START };
    let mut windows = windows(now);

    windows.restore(row(now.wall.0 / 60_000 - 60 * 20, 7, 0), now);

    assert_eq!(total(&windows, Window::OneDay, now), 7);
    assert_eq!(total(&windows, Window::SixHours, now), 0);
    assert_eq!(total(&windows, Window::OneDay, now + 5 * HOUR), 0);
}

#[test]
fn a_slot_that_is_full_never_makes_the_sum_wrong() {
    let minute = START.wall.0 / 60_000;
    let mut windows = windows(START);
    for _ in 0..3 {
        windows.restore(row(minute - 10, u64::MAX, 4_000_000_000), START);
    }

    let full = u64::from(u32::MAX);
    let counts = windows.counts(Window::HalfHour, START.mono);
    assert_eq!(counts, Counts { good: full, bad: full });
    assert_eq!(total(&windows, Window::HalfHour, START + HOUR), 0);
}

#[test]
fn a_window_that_changes_by_an_earlier_reading_counts_what_comes_next() {
    let (own, other) = (Duration::from_hours(28 * 24), Duration::from_hours(31 * 24));
    for minutes in 0..60 {
        let now = START + Duration::from_mins(minutes);
        let mut windows = Windows::new(own, now.mono);
        windows.record(SliEvent::Good, now.mono);
        windows.resize(other, Mono(now.mono.0 - 3_600_000_000_000));
        windows.record(SliEvent::Good, now.mono);
        assert_eq!(total(&windows, Window::Slo, now), 2, "{minutes}");
    }
}
