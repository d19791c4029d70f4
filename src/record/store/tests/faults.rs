//! A file or disk that fails, a write that cannot be: nothing else is lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use super::*;
use crate::clock::Clock;

#[test]
fn a_full_disk_keeps_everything_in_order_and_recovers_by_itself() {
    let home = home();
    let (store, pass) = open_with_clock(&home);
    wait(store.durable(bind(0)));
    set_page_limit(&store, 1);

    let mut waiting: Vec<_> = (1..=200).map(|solve| store.durable(large(solve))).collect();
    for solve in 1..=200 {
        store.send(Write::Offer(SolveId(solve), true));
        store.send(Write::Offer(SolveId(solve), solve % 2 == 0));
        waiting.push(store.durable(settle(solve + 1_000, Some(PRICE))));
    }
    wait_until("the disk is full", || store.health().failing.is_some());
    pass(Duration::from_secs(3));

    let health = store.health();
    assert_eq!(health.failing.as_deref(), Some("database or disk is full"));
    assert!(!store.is_accepting());
    assert!(health.pending > 500, "{health:?}");
    assert_eq!(health.oldest_pending, Some(Duration::from_secs(3)));
    assert!(waiting.last_mut().unwrap().try_recv().is_err(), "answered before it was committed");
    wait_until("it tries again", || store.health().failures > 2);

    set_page_limit(&store, 1_000_000);
    for committed in waiting {
        assert_eq!(wait(committed), Committed::Done);
    }
    assert_eq!(
        store.health(),
        Health {
            commits: store.health().commits,
            failures: store.health().failures,
            size_bytes: store.health().size_bytes,
            ..Health::default()
        }
    );
    assert!(store.is_accepting());
    drop(store);
    let restored = open(&home).1;
    assert_eq!(restored.tasks.len(), 201);
    for task in &restored.tasks[1..] {
        let expected = if task.solve.0 % 2 == 0 { TaskState::Offered } else { TaskState::Ready };
        assert_eq!(task.state, expected, "{:?}", task.solve);
    }
    let causes: Vec<_> =
        reader(&home).charges("acme", TODAY).unwrap().into_iter().map(|c| c.task_id).collect();
    assert_eq!(causes, (1..=200).map(|n| format!("task-{}", n + 1_000)).collect::<Vec<_>>());
    audit(&home);
}

#[test]
fn a_database_that_turns_read_only_is_waited_out() {
    let home = home();
    let (store, _) = open(&home);
    store.on_writer(|conn| conn.pragma_update(None, "query_only", true).unwrap());
    let bound = store.durable(bind(1));
    wait_until("it fails", || store.health().failing.is_some());

    store.on_writer(|conn| conn.pragma_update(None, "query_only", false).unwrap());
    assert_eq!(wait(bound), Committed::Done);
    assert_eq!(store.health().failing, None);
}

#[test]
fn somebody_elses_lock_is_waited_out() {
    let home = home();
    let (store, _) = open(&home);
    let intruder = peek(&home);
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let bound = store.durable(bind(1));
    wait_until("it fails", || store.health().failing.is_some());
    assert_eq!(store.health().failing.as_deref(), Some("database is locked"));

    intruder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(wait(bound), Committed::Done);
}

#[test]
fn a_missing_table_is_a_fault_of_the_file_and_loses_no_write() {
    let home = home();
    let (store, _) = open(&home);
    peek(&home).execute_batch("ALTER TABLE tasks RENAME TO hidden").unwrap();
    let bound = store.durable(bind(1));
    wait_until("it fails", || store.health().failing.is_some());

    peek(&home).execute_batch("ALTER TABLE hidden RENAME TO tasks").unwrap();
    assert_eq!(wait(bound), Committed::Done);
    assert_eq!(store.health().conflicts, 0);
}

#[test]
fn attempts_that_fail_become_rarer() {
    let home = home();
    let (store, _) = open(&home);
    peek(&home).execute_batch("ALTER TABLE tasks RENAME TO hidden").unwrap();
    let clock = Clock::start();
    let began = clock.mono();
    store.send(bind(1));

    wait_until("it fails five times", || store.health().failures >= 5);

    let waits = [100, 200, 400, 800].map(Duration::from_millis);
    let took = clock.mono().since(began);
    assert!(took >= waits.iter().sum(), "{took:?}");
    peek(&home).execute_batch("ALTER TABLE hidden RENAME TO tasks").unwrap();
    store.close(Duration::from_secs(30)).unwrap();
}

#[test]
fn pruning_that_fails_is_waited_out_too() {
    let home = home();
    let (store, _) = open(&home);
    wait(store.durable(verdict(1, Outcome::Solved)));
    peek(&home).execute_batch("ALTER TABLE solves RENAME TO hidden").unwrap();
    let pruned = store.durable(Write::Prune(NOON + Duration::from_secs(1)));
    wait_until("it fails", || store.health().failing.is_some());
    let before = store.health();

    peek(&home).execute_batch("ALTER TABLE hidden RENAME TO solves").unwrap();

    assert_eq!(wait(pruned), Committed::Done);
    let after = store.health();
    assert_eq!((after.failing, after.commits), (None, before.commits + 1));
    assert_eq!(reader(&home).solves(1).unwrap(), []);
}

#[test]
fn a_disk_that_is_full_while_an_impossible_write_is_left_out_loses_nothing_else() {
    let home = home();
    let (store, _) = open(&home);
    wait(store.durable(bind(0)));
    set_page_limit(&store, 1);
    let release = hold_writer(&store);
    let minting = store.durable(settle(1, Some(-PRICE)));
    let waiting: Vec<_> = (2..50).map(|solve| store.durable(large(solve))).collect();
    release.send(()).unwrap();
    wait_until("the disk is full", || store.health().failing.is_some());
    assert_eq!(store.health().failing.as_deref(), Some("database or disk is full"));

    set_page_limit(&store, 1_000_000);

    assert_eq!(wait(minting), Committed::Conflict);
    for committed in waiting {
        assert_eq!(wait(committed), Committed::Done);
    }
    assert_eq!(store.health().conflicts, 1);
    drop(store);
    assert_eq!(open(&home).1.tasks.len(), 49);
}

#[test]
fn an_impossible_write_is_left_out_and_its_neighbours_are_kept() {
    let home = home();
    let (store, _) = open(&home);
    let release = hold_writer(&store);
    let before = store.durable(settle(1, Some(PRICE)));
    let beyond = store.durable(bind(u64::MAX));
    let minting = store.durable(settle(2, Some(-PRICE)));
    let overflow = store.durable(settle(3, Some(Money::from_micros(i64::MAX))));
    let same_solve = store.durable(bind(4));
    let other_task = store
        .durable(Write::Bind(TaskRecord { task_id: TaskId::new("other").unwrap(), ..task(4) }));
    let after = store.durable(settle(5, Some(PRICE)));
    release.send(()).unwrap();

    assert_eq!(wait(before), Committed::Done);
    for (what, impossible) in
        [("id", beyond), ("minting", minting), ("overflow", overflow), ("task", other_task)]
    {
        assert_eq!(wait(impossible), Committed::Conflict, "{what}");
    }
    assert_eq!(wait(same_solve), Committed::Done);
    assert_eq!(wait(after), Committed::Done);
    let health = store.health();
    assert_eq!((health.conflicts, health.failures, health.failing), (4, 0, None));
    drop(store);
    let restored = open(&home).1;
    assert_eq!(restored.charged, [charged_total(2, PRICE + PRICE)]);
    assert_eq!(restored.next_solve, 6);
    audit(&home);
}

#[test]
fn a_write_that_is_left_out_is_logged_without_its_contents() {
    let home = home();
    let (store, _) = open(&home);
    store.close(Duration::from_secs(30)).unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let sink = log.as_file().try_clone().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || sink.try_clone().unwrap())
        .finish();

    tracing::subscriber::with_default(subscriber, || store.send(settle(7, Some(PRICE))));

    let said = std::fs::read_to_string(log.path()).unwrap();
    let expected = r#"write="settle" solve=7 why="it came after the store was closed""#;
    assert!(said.contains(expected), "{said}");
    assert!(!said.contains("acme") && !said.contains("task-7"), "{said}");
}

#[test]
fn what_waits_is_committed_as_one_group() {
    let home = home();
    let (store, _) = open(&home);
    let release = hold_writer(&store);
    let commits = store.health().commits;
    let waiting: Vec<_> = (0..300).map(|solve| store.durable(bind(solve))).collect();
    assert_eq!(store.health().pending, 300);
    release.send(()).unwrap();
    for committed in waiting {
        wait(committed);
    }

    assert_eq!(store.health().commits, commits + 1);
}

#[test]
fn a_writer_with_nothing_to_do_sleeps() {
    let lock = tempfile::tempfile().unwrap();
    let shared = Arc::new(Shared::new(Arc::new(Mono::default), lock));
    let (tell, told) = mpsc::channel();
    let idle = Arc::clone(&shared);
    let writer = std::thread::spawn(move || {
        tell.send(matches!(idle.next(true), queue::Next::Commit(_))).unwrap();
    });
    let early = told.recv_timeout(Duration::from_millis(100));
    assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout));

    shared.push(bind(1), None);

    assert!(told.recv().unwrap(), "woken by a write");
    writer.join().unwrap();
}

#[test]
fn too_much_that_waits_stops_admission() {
    let home = home();
    let (store, _) = open(&home);
    let release = hold_writer(&store);
    for _ in 0..100_000 {
        store.send(Write::Ready(SolveId(1)));
    }
    assert!(store.is_accepting());
    store.send(Write::Ready(SolveId(1)));
    assert!(!store.is_accepting());

    release.send(()).unwrap();
    wait_until("the queue is short again", || store.is_accepting());
}

#[test]
fn a_disk_that_hangs_stops_admission_although_nothing_fails() {
    let home = home();
    let (store, pass) = open_with_clock(&home);
    let release = hold_writer(&store);
    pass(Duration::from_hours(1));
    assert!(store.is_accepting(), "nothing waits for the disk");
    let committed = store.durable(bind(1));
    pass(Duration::from_secs(2));
    assert!(store.is_accepting());

    pass(Duration::from_nanos(1));

    assert!(!store.is_accepting());
    assert_eq!(store.health().failing, None);
    release.send(()).unwrap();
    assert_eq!(wait(committed), Committed::Done);
    wait_until("it recovers by itself", || store.is_accepting());
}

#[test]
fn a_commit_that_hangs_stops_admission_until_it_is_through() {
    let home = home();
    let (store, pass) = open_with_clock(&home);
    // The lock is waited for inside the attempt, which therefore neither fails nor ends.
    store.on_writer(|conn| conn.busy_timeout(Duration::from_mins(10)).unwrap());
    wait(store.durable(bind(1)));
    let intruder = peek(&home);
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let hanging = store.durable(bind(2));
    wait_until("it is being committed", || store.shared.is_committing());
    pass(Duration::from_secs(1));
    let behind = store.durable(bind(3));
    pass(Duration::from_secs(1));
    assert!(store.is_accepting());

    pass(Duration::from_nanos(1));

    assert!(!store.is_accepting());
    let health = store.health();
    assert_eq!((health.failing, health.failures, health.pending), (None, 0, 2));
    assert_eq!(health.oldest_pending, Some(Duration::from_nanos(2_000_000_001)));
    intruder.execute_batch("ROLLBACK").unwrap();
    assert_eq!((wait(hanging), wait(behind)), (Committed::Done, Committed::Done));
    assert!(store.is_accepting());
    assert_eq!(store.health().oldest_pending, None);
}

#[test]
fn a_writer_that_dies_is_noticed_and_what_it_held_is_spilled() {
    let home = home();
    let (store, _) = open(&home);
    store.on_writer(|_| panic!("a bug, for the test"));
    store.send(settle(1, Some(PRICE)));
    wait_until("it is gone", || store.health().failing.is_some());
    assert!(!store.is_accepting());

    let unflushed = store.close(Duration::from_secs(5)).unwrap_err();
    assert_eq!(unflushed.left, 1);
    drop(store);
    assert_eq!(open(&home).1.charged, [charged_total(1, PRICE)]);
}

/// A store by a clock that stands still, and what moves it on.
fn open_with_clock(home: &TempDir) -> (Store, impl Fn(Duration) + use<>) {
    let time = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&time);
    let options = StoreOptions {
        clock: Arc::new(move || Mono(clock.load(Ordering::Relaxed))),
        ..options(&path(home))
    };
    let pass = move |wait: Duration| {
        time.fetch_add(u64::try_from(wait.as_nanos()).unwrap(), Ordering::Relaxed);
    };
    (Store::open(&options, TODAY, "UTC").unwrap().0, pass)
}

/// Keeps the writer busy until the sender is used or dropped.
fn hold_writer(store: &Store) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel();
    let (tell, held) = mpsc::channel();
    store.on_writer(move |_| {
        tell.send(()).unwrap();
        let _ = released.recv();
    });
    held.recv().unwrap();
    release
}

pub(super) fn set_page_limit(store: &Store, pages: i64) {
    // Below what the file has, SQLite takes what it has.
    store.on_writer(move |conn| {
        conn.execute_batch(&format!("PRAGMA max_page_count = {pages}")).unwrap();
    });
}

pub(super) fn large(solve: u64) -> Write {
    Write::Bind(TaskRecord { page: Some("x".repeat(20_000)), ..task(solve) })
}
