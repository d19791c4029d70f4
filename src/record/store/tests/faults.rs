//! A file or disk that fails, a write that cannot be: nothing else is lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use super::*;

#[test]
fn a_full_disk_keeps_everything_in_order_and_recovers_by_itself() {
    let home = home();
    let time = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&time);
    let options = StoreOptions {
        clock: Arc::new(move || Mono(clock.load(Ordering::Relaxed))),
        ..options(&path(&home))
    };
    let (store, _) = Store::open(&options, TODAY, "UTC").unwrap();
    wait(store.durable(bind(0)));
    set_page_limit(&store, 1);

    let mut waiting: Vec<_> = (1..=200).map(|solve| store.durable(large(solve))).collect();
    for solve in 1..=200 {
        store.send(Write::Offer(SolveId(solve), true));
        store.send(Write::Offer(SolveId(solve), solve % 2 == 0));
        waiting.push(store.durable(settle(solve + 1_000, Some(PRICE))));
    }
    wait_until("the disk is full", || store.health().failing.is_some());
    time.store(3_000_000_000, Ordering::Relaxed);

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
    let time = Arc::new(AtomicU64::new(0));
    let clock: MonoClock = {
        let time = Arc::clone(&time);
        Arc::new(move || Mono(time.load(Ordering::Relaxed)))
    };
    let options = StoreOptions { clock, ..options(&path(&home)) };
    let (store, _) = Store::open(&options, TODAY, "UTC").unwrap();
    let release = hold_writer(&store);
    let pass = |wait: Duration| {
        let nanos = u64::try_from(wait.as_nanos()).unwrap();
        time.fetch_add(nanos, Ordering::Relaxed);
    };
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
