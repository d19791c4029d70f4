//! A shutdown that cannot flush: the rest is kept beside the database and applied at the next start.

use std::fs;

use super::faults::{large, set_page_limit};
use super::spill as spill_file;
use super::*;

#[test]
fn close_flushes_and_leaves_one_file() {
    let home = home();
    let (store, _) = open(&home);
    for solve in 0..2_000 {
        store.send(settle(solve, Some(PRICE)));
    }
    store.close(Duration::from_secs(30)).unwrap();
    store.close(Duration::ZERO).unwrap();
    store.send(bind(1));

    assert_eq!(store.health().conflicts, 1, "a write after the end is counted");
    assert!(!store.is_accepting());
    drop(store);
    assert_eq!(names(&home), ["solvegate.db", "solvegate.db.lock"]);
    assert_eq!(open(&home).1.charged[0].day_solves, 2_000);
}

#[test]
fn what_cannot_be_flushed_is_applied_at_the_next_start() {
    let home = home();
    let writes = [
        large(1),
        verdict(1, Outcome::Solved),
        Write::Ready(SolveId(1)),
        Write::Offer(SolveId(1), true),
        Write::Offer(SolveId(1), false),
        settle(1, Some(PRICE)),
        large(2),
        settle(3, None),
        Write::Forget(SolveId(3)),
        credit("credit:1", CreditKind::Credit, Some("prod"), 7),
    ];
    let kept = |home: &TempDir| {
        let (store, restored) = open(home);
        assert_eq!(store.health().conflicts, 0);
        drop(store);
        audit(home);
        (restored, reader(home).solves(10).unwrap())
    };

    let unflushed = spill(&home, &writes);

    assert_eq!(unflushed.left, writes.len());
    let first = unflushed.spill.unwrap();
    assert_eq!(first.file_name().unwrap(), "solvegate.db.unflushed-1.jsonl");
    let told = kept(&home);
    assert!(names(&home).contains(&"solvegate.db.unflushed-1.jsonl.applied".to_owned()));
    assert_eq!(told, kept(&home), "applied once");
    let plain = super::home();
    let (store, _) = open(&plain);
    for write in writes {
        store.send(write);
    }
    drop(store);
    assert_eq!(told, kept(&plain), "the same as without the detour");
}

#[test]
fn a_spill_that_was_committed_after_all_changes_nothing() {
    let home = home();
    let writes = [large(1), verdict(1, Outcome::Solved), settle(1, Some(PRICE)), large(2)];
    let (store, _) = open(&home);
    writes.iter().cloned().for_each(|write| store.send(write));
    store.close(Duration::from_secs(30)).unwrap();
    drop(store);
    let (store, before) = open(&home);
    drop(store);
    let saved = spill_file::save(&path(&home), &writes).unwrap();

    let (store, after) = open(&home);

    assert_eq!(before, after);
    assert_eq!(store.health().conflicts, 2, "the verdict and the charge were there");
    assert!(!saved.exists());
    audit(&home);
}

#[test]
fn spills_are_applied_in_the_order_they_were_made() {
    let home = home();
    spill(&home, &[large(1)]);
    let kept: Vec<_> = names(&home).into_iter().filter(|name| name.contains("unflushed")).collect();
    let later =
        spill_file::save(&path(&home), &[settle(1, Some(PRICE)), Write::Forget(SolveId(1))]);

    assert_eq!(kept, ["solvegate.db.unflushed-1.jsonl"]);
    assert!(later.unwrap().ends_with("solvegate.db.unflushed-2.jsonl"));
    assert_eq!(open(&home).1.tasks, []);
    audit(&home);
}

#[test]
fn a_spill_that_cannot_be_read_stops_the_start() {
    let home = home();
    drop(open(&home));
    let spill = home.path().join("solvegate.db.unflushed-1.jsonl");
    fs::write(&spill, "{\"write\":\"forget\",\"solve\":1}\n{\"write\":\"gift\"}\n").unwrap();

    let refused = Store::open(&options(&path(&home)), TODAY, "UTC").unwrap_err();

    let OpenError::Spill { source, .. } = refused else { panic!("{refused}") };
    assert_eq!(source.to_string(), "line 2 is no write of this version");
    assert!(spill.exists());
}

#[test]
fn every_kind_of_write_survives_the_spill_file() {
    let home = home();
    let Write::Verdict(solve) = verdict(9, Outcome::Timeout) else { unreachable!() };
    let writes = [
        Write::Bind(TaskRecord { verdict: Some(Outcome::Timeout), pingback: true, ..task(9) }),
        Write::Verdict(SolveRecord {
            task_id: None,
            error_code: Some("ERROR_\"X\"\n".to_owned()),
            latency_event: Some(SliEvent::Bad),
            source_ip: None,
            ..solve
        }),
        verdict(8, Outcome::Solved),
        Write::Ready(SolveId(9)),
        Write::Offer(SolveId(9), true),
        Write::Offer(SolveId(9), false),
        settle(9, None),
        settle(9, Some(PRICE)),
        Write::Forget(SolveId(9)),
        credit("a", CreditKind::Opening, None, 1),
        credit("b", CreditKind::Adjustment, Some("prod"), -1),
        key(1, Some(5)),
        key(2, None),
        Write::Notified(NotifiedRecord { about: "hook low_balance acme".to_owned(), at: NOON }),
        Write::Prune(NOON),
    ];

    let file = spill_file::save(&path(&home), &writes).unwrap();

    assert_eq!(spill_file::load(&file).unwrap(), writes);
}

#[test]
fn where_even_the_spill_fails_close_says_so() {
    let home = home();
    let (store, _) = open(&home);
    set_page_limit(&store, 1);
    (1..20).for_each(|solve| store.send(large(solve)));
    // A directory in the place of the file that is to be written.
    fs::create_dir(home.path().join("solvegate.db.unflushed-1.jsonl.unfinished")).unwrap();

    let unflushed = store.close(Duration::from_millis(50)).unwrap_err();

    assert!(unflushed.spill.is_none());
    assert!(unflushed.to_string().contains("are lost"), "{unflushed}");
}

/// Closes a store on a full disk with those writes waiting.
fn spill(home: &TempDir, writes: &[Write]) -> Unflushed {
    let (store, _) = open(home);
    set_page_limit(&store, 1);
    writes.iter().cloned().for_each(|write| store.send(write));
    wait_until("the disk is full", || {
        store.health().failing.as_deref() == Some("database or disk is full")
    });
    store.close(Duration::from_millis(50)).unwrap_err()
}

fn names(home: &TempDir) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(home.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
