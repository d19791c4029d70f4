//! How long things took, how large the file is, and what becomes too old to keep.

use super::*;

#[test]
fn durations_are_kept_to_the_millisecond() {
    let home = home();
    let (store, _) = open(&home);
    store.send(verdict(1, Outcome::Solved));
    store.send(settle(1, Some(PRICE)));
    wait(store.durable(settle(2, None)));

    let rows = reader(&home).solves(2).unwrap();
    let durations: Vec<_> = rows.iter().map(|row| row.duration).collect();
    assert_eq!(durations, [Duration::from_secs(2), Duration::from_millis(1_500)]);
    let of_threads = reader(&home).thread_time(TODAY).unwrap();
    assert_eq!(of_threads[0].milliseconds, 4_000);
}

#[test]
fn the_size_is_that_of_the_database_and_its_log() {
    let home = home();
    let (store, _) = open(&home);
    let size = || {
        let of = |path: &Path| std::fs::metadata(path).unwrap().len();
        of(&path(&home)) + of(&beside(&path(&home), "-wal"))
    };
    assert_eq!(store.health().size_bytes, size());
    for solve in 0..100 {
        wait(store.durable(bind(solve)));
    }

    assert_eq!(store.health().size_bytes, size());
}

/// A good event so many minutes before noon.
fn event_before_noon(solve: u64, minutes: i64) -> Write {
    let Write::Verdict(record) = verdict(solve, Outcome::Solved) else { unreachable!() };
    Write::Verdict(SolveRecord { ended_at: Wall(NOON.0 - minutes * 60_000), ..record })
}

fn minutes_before_noon(home: &TempDir) -> Vec<i64> {
    let mut minutes: Vec<i64> =
        open(home).1.sli.iter().map(|row| NOON.0 / 60_000 - row.minute.minute).collect();
    minutes.sort_unstable();
    minutes
}

#[test]
fn events_are_given_back_for_two_days_more_than_the_longest_window() {
    let home = home();
    let (store, _) = open(&home);
    let midnight = 12 * 60 + 32 * 24 * 60;
    for (solve, minutes) in [(1, 0), (2, midnight), (3, midnight + 1)] {
        store.send(event_before_noon(solve, minutes));
    }
    drop(store);

    assert_eq!(minutes_before_noon(&home), [0, midnight]);
}

#[test]
fn pruning_drops_events_that_no_window_reaches() {
    let home = home();
    let (store, _) = open(&home);
    let days = 32 * 24 * 60;
    for (solve, minutes) in [(1, 0), (2, days), (3, days + 1)] {
        store.send(event_before_noon(solve, minutes));
    }
    wait(store.durable(Write::Prune(NOON)));
    drop(store);

    assert_eq!(minutes_before_noon(&home), [0, days]);
}

#[test]
fn pruning_drops_old_rows_of_forgotten_tasks_only_and_the_audit_holds() {
    let home = home();
    let (store, _) = open(&home);
    for solve in 0..1_200 {
        store.send(verdict(solve, Outcome::Solved));
        store.send(settle(solve, Some(PRICE)));
    }
    store.send(bind(2_000));
    store.send(verdict(2_000, Outcome::Solved));
    let Write::Verdict(mut young) = verdict(3_000, Outcome::Solved) else { unreachable!() };
    young.submitted_at = NOON + Duration::from_secs(1);
    store.send(Write::Verdict(young));

    wait(store.durable(Write::Prune(NOON + Duration::from_secs(1))));

    let rows = reader(&home).solves(10).unwrap();
    let left: Vec<_> = rows.iter().map(|row| row.solve.0).collect();
    assert_eq!(left, [3_000, 2_000]);
    assert_eq!(reader(&home).charges("acme", TODAY).unwrap().len(), 1_200);
    audit(&home);
}
