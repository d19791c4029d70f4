//! The course against the engine's own windows and against a recount of each point.

use super::super::burn::Objective;
use super::super::course::{CoursePoint, Span, course};
use super::super::window::{Counts, MinuteCounts};
use super::*;

const MINUTE: Duration = Duration::from_mins(1);
/// A quarter into a minute.
const NOW: Now = Now { mono: Mono(31_536_000_000_000_000), wall: Wall(1_790_000_055_000) };
const NOW_MINUTE: i64 = 1_790_000_055_000 / 60_000;

/// Quiet, with incidents, one of which has just left every window and one of which is about to.
fn rows(window: Duration) -> Vec<MinuteCounts> {
    let length = i64::try_from(window.as_secs() / 60).unwrap();
    let edge = 2 + length / 400;
    let mut rows = Vec::new();
    for age in (0..=32 * 24 * 60).rev() {
        let bad = match age {
            // What leaves the engine's window just now may be in or out of it.
            _ if (age - length).abs() <= edge => continue,
            _ if age > length && age < length + length / 3 => 90,
            _ if age > length - length / 10 && age < length => 40,
            _ if age % 1_000 < 20 => 30,
            _ => 1,
        };
        rows.push(MinuteCounts { minute: NOW_MINUTE - age, counts: Counts { good: 40, bad } });
    }
    rows
}

fn objective(window: Duration) -> Objective {
    Objective::of(&Slo { window, ..SLO }, SloKind::Success).unwrap()
}

fn recounted(rows: &[MinuteCounts], window: Duration, end_ms: i64) -> Counts {
    let window = i64::try_from(window.as_millis()).unwrap();
    let within = |row: &&MinuteCounts| {
        row.minute * 60_000 < end_ms && row.minute * 60_000 + 30_000 >= end_ms - window
    };
    rows.iter().filter(within).fold(Counts::default(), |sum, row| sum + row.counts)
}

const SPANS: [(i64, i64); 4] = [(60, 1), (6 * 60, 2), (24 * 60, 5), (30 * 24 * 60, 150)];

fn over(minutes: i64, step: i64) -> Span {
    let first = (NOW_MINUTE - minutes).div_euclid(step) * step;
    Span { first, step, now: NOW.wall }
}

#[test]
fn the_last_point_is_what_the_engine_says() {
    for window in [10 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY] {
        let rows = rows(window);
        let mut budgets = budgets(Slo { window, ..SLO }, &[]);
        let sli = |minute| SliRow { captcha_type: TYPE, slo: SloKind::Success, minute };
        budgets.restore(rows.iter().copied().map(sli), NOW);
        let engine = report(&budgets, NOW).remaining_ratio;
        for (minutes, step) in SPANS {
            let points = course(&objective(window), rows.iter().copied(), over(minutes, step));
            let last = points.last().unwrap().remaining_ratio;
            assert_eq!(last.to_bits(), engine.to_bits(), "{window:?} {minutes}: {last} {engine}");
            assert!(last < 0.5, "the incidents tell: {last}");
        }
    }
}

#[test]
fn every_point_is_what_a_recount_says_of_its_end() {
    for window in [HOUR, DAY, 30 * DAY] {
        let rows = rows(window);
        for (minutes, step) in SPANS {
            let span = over(minutes, step);
            let points = course(&objective(window), rows.iter().copied(), span);
            assert_eq!(
                points.len(),
                usize::try_from((NOW_MINUTE - span.first) / step + 1).unwrap()
            );
            for (index, point) in points.iter().enumerate() {
                let minute = span.first + i64::try_from(index).unwrap() * step;
                let end = ((minute + step) * 60_000).min(NOW.wall.0);
                let remaining_ratio =
                    objective(window).remaining_ratio(recounted(&rows, window, end));
                let its = |row: &&MinuteCounts| (minute..minute + step).contains(&row.minute);
                let counts =
                    rows.iter().filter(its).fold(Counts::default(), |sum, row| sum + row.counts);
                assert_eq!(*point, CoursePoint { minute, counts, remaining_ratio }, "{window:?}");
            }
        }
    }
}

#[test]
fn without_rows_the_error_budget_is_whole_and_rows_of_the_future_are_none() {
    let future = MinuteCounts { minute: NOW_MINUTE + 1, counts: Counts { good: 0, bad: 9 } };
    for rows in [vec![], vec![future]] {
        let points = course(&objective(DAY), rows, over(60, 1));
        assert_eq!(points.len(), 61);
        assert!(points.iter().all(|point| point.counts == Counts::default()));
        assert!(points.iter().all(|point| point.remaining_ratio.to_bits() == 1.0_f64.to_bits()));
    }
}
