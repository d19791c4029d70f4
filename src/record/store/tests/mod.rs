//! The store from outside: what goes in comes back.

mod ages;
mod crash;
mod faults;
mod model;
mod opening;
mod spilling;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::{Date, date};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::{KeyHash, SolveId, TaskId};
use crate::domain::journal::{
    ChargedLater, ChargedTotal, CreditKind, CreditRecord, KeyRecord, NotifiedRecord, SettleRecord,
    SolveRecord, TaskRecord, TaskState, WalletTotal,
};
use crate::domain::money::Money;
use crate::domain::outcome::{Outcome, SliEvent};
use crate::domain::slo::window::{Counts, MinuteCounts};
use crate::domain::slo::{SliRow, SloKind};
use crate::domain::time::Wall;

const TODAY: Date = date(2026, 11, 21);
/// 2026-11-21 12:00 UTC.
const NOON: Wall = Wall(1_795_262_400_000);
const PRICE: Money = Money::from_micros(3_000);

#[test]
fn what_was_written_is_given_back_after_a_restart() {
    let home = home();
    let (store, nothing) = open(&home);
    store.send(bind(1));
    store.send(verdict(1, Outcome::Solved));
    store.send(Write::Offer(SolveId(1), true));
    store.send(bind(2));
    store.send(settle(2, Some(PRICE)));
    store.send(bind(3));
    store.send(Write::Forget(SolveId(3)));
    store.send(credit("open:acme", CreditKind::Opening, None, 10_000_000));
    store.send(credit("credit:1", CreditKind::Credit, Some("prod"), 5_000_000));
    store.send(credit("fix:1", CreditKind::Adjustment, Some("prod"), -1_000_000));
    drop(store);

    let (_store, restored) = open(&home);

    assert_eq!(nothing, Restored::default());
    let expected = Restored {
        tasks: vec![
            TaskRecord { state: TaskState::Offered, verdict: Some(Outcome::Solved), ..task(1) },
            TaskRecord { state: TaskState::Settled, ..task(2) },
        ],
        wallets: vec![
            WalletTotal {
                tenant: "acme".into(),
                key_id: None,
                amount: Money::from_micros(10_000_000),
            },
            WalletTotal {
                tenant: "acme".into(),
                key_id: Some("prod".into()),
                amount: Money::from_micros(4_000_000),
            },
        ],
        charged: vec![charged_total(1, PRICE)],
        charged_later: Vec::new(),
        credit_causes: ["credit:1", "fix:1", "open:acme"].map(str::to_owned).to_vec(),
        sli: vec![one_good_minute()],
        keys: Vec::new(),
        notified: Vec::new(),
        next_solve: 4,
    };
    assert_eq!(restored, expected);
    audit(&home);
}

#[test]
fn keys_are_given_back_as_they_were_last_changed() {
    let home = home();
    let (store, _) = open(&home);
    store.send(key(1, None));
    store.send(key(2, None));
    store.send(key(1, Some(7)));
    drop(store);

    let keys = open(&home).1.keys;

    let expected = [key(1, Some(7)), key(2, None)];
    assert_eq!(keys.into_iter().map(Write::Key).collect::<Vec<_>>(), expected);
}

#[test]
fn the_latest_notification_is_given_back() {
    let home = home();
    let (store, _) = open(&home);
    for at in [Wall(5), Wall(9), Wall(7)] {
        store.send(Write::Notified(NotifiedRecord { about: "a".to_owned(), at }));
    }
    drop(store);

    let expected = [NotifiedRecord { about: "a".to_owned(), at: Wall(9) }];
    assert_eq!(open(&home).1.notified, expected);
}

/// What version 1 had instead of today's tables.
const DOWN_TO_1: &str = "
    DROP TABLE keys; DROP TABLE thread_time; DROP TABLE notified;
    CREATE TABLE keys (
        hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
        tenant TEXT NOT NULL,
        key_id TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        revoked_at INTEGER
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;";

#[test]
fn a_record_of_version_1_is_brought_up_to_date() {
    let home = home();
    let (store, _) = open(&home);
    store.send(bind(1));
    wait(store.durable(settle(1, Some(PRICE))));
    let before = thread_time(&store);
    store.on_writer(|conn| {
        conn.execute_batch(DOWN_TO_1).unwrap();
        let sql = "INSERT INTO keys VALUES (?1, 'acme', 'old', 3, 5)";
        conn.execute(sql, rusqlite::params![[1_u8; 32]]).unwrap();
    });
    wait(store.durable(bind(2)));
    drop(store);

    let (store, restored) = open(&home);

    let key = &restored.keys[0];
    assert_eq!((key.hash, key.revoked_at, &key.settings), (KeyHash([1; 32]), Some(Wall(5)), &None));
    assert_eq!(restored.tasks.len(), 2);
    assert!(!before.is_empty());
    assert_eq!(thread_time(&store), before);
    drop(store);
    assert_eq!(open(&home).1, restored);
    audit(&home);
}

fn thread_time(store: &Store) -> Vec<(String, String, String, i64)> {
    let (send, receive) = std::sync::mpsc::channel();
    store.on_writer(move |conn| {
        let mut rows = conn.prepare("SELECT account, tenant, day, ms FROM thread_time").unwrap();
        let rows =
            rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
        send.send(rows.unwrap().map(Result::unwrap).collect()).unwrap();
    });
    wait(store.durable(Write::Ready(SolveId(999))));
    receive.recv().unwrap()
}

fn key(number: u8, revoked_at: Option<i64>) -> Write {
    Write::Key(KeyRecord {
        hash: KeyHash([number; 32]),
        tenant: "acme".into(),
        key_id: "prod".into(),
        created_at: NOON,
        revoked_at: revoked_at.map(Wall),
        settings: Some("{}".to_owned()),
        note: "made by a test".to_owned(),
    })
}

#[test]
fn a_task_that_is_open_or_charged_is_a_duplicate() {
    let home = home();
    let (store, _) = open(&home);
    let again = |solve| Write::Bind(TaskRecord { task_id: task(1).task_id, ..task(solve) });

    assert_eq!(wait(store.durable(bind(1))), Committed::Done);
    assert_eq!(wait(store.durable(again(2))), Committed::DuplicateTask);
    wait(store.durable(settle(1, Some(PRICE))));
    wait(store.durable(Write::Forget(SolveId(1))));
    assert_eq!(wait(store.durable(again(3))), Committed::DuplicateTask);

    assert_eq!(store.health().conflicts, 0);
    drop(store);
    assert_eq!(open(&home).1.tasks, []);
}

#[test]
fn a_task_id_that_was_voided_and_forgotten_may_come_again() {
    let home = home();
    let (store, _) = open(&home);
    for write in [bind(1), settle(1, None), Write::Forget(SolveId(1))] {
        store.send(write);
    }

    let again = TaskRecord { task_id: task(1).task_id, ..task(2) };
    assert_eq!(wait(store.durable(Write::Bind(again))), Committed::Done);
}

#[test]
fn charging_twice_charges_once_and_counts_a_conflict() {
    let home = home();
    let (store, _) = open(&home);
    store.send(bind(1));
    store.send(verdict(1, Outcome::Solved));
    assert_eq!(wait(store.durable(settle(1, Some(PRICE)))), Committed::Done);
    assert_eq!(wait(store.durable(settle(1, Some(PRICE)))), Committed::Conflict);
    assert_eq!(wait(store.durable(settle(1, None))), Committed::Conflict);

    assert_eq!(store.health().conflicts, 2);
    drop(store);
    assert_eq!(open(&home).1.charged, [charged_total(1, PRICE)]);
    let charges = reader(&home).charges("acme", TODAY).unwrap();
    assert_eq!(charges.len(), 1);
    assert_eq!((charges[0].amount, charges[0].task_id.as_str()), (PRICE, "task-1"));
    assert_eq!(reader(&home).ledger_sum("acme").unwrap(), -PRICE);
    audit(&home);
}

#[test]
fn a_solve_is_charged_once_under_whatever_task_id() {
    let home = home();
    let (store, _) = open(&home);
    store.send(settle(1, Some(PRICE)));
    let Write::Settle(again) = settle(1, Some(PRICE)) else { unreachable!() };
    let again = SettleRecord { task_id: TaskId::new("another").unwrap(), ..again };

    assert_eq!(wait(store.durable(Write::Settle(again))), Committed::Conflict);

    assert_eq!(reader(&home).ledger_sum("acme").unwrap(), -PRICE);
    audit(&home);
}

#[test]
fn the_first_verdict_stands_also_beside_a_settlement_that_came_before_it() {
    let home = home();
    let (store, _) = open(&home);
    store.send(settle(1, Some(PRICE)));
    store.send(verdict(1, Outcome::Timeout));
    assert_eq!(wait(store.durable(verdict(1, Outcome::Solved))), Committed::Conflict);

    let rows = reader(&home).solves(10).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].outcome, rows[0].charged), (Some(Outcome::Timeout), PRICE));
    assert_eq!(rows[0].submitted_at, NOON);
    audit(&home);
}

#[test]
fn a_late_answer_is_charged_although_the_hold_was_voided() {
    let home = home();
    let (store, _) = open(&home);
    store.send(verdict(1, Outcome::Timeout));
    store.send(settle(1, None));
    assert_eq!(wait(store.durable(settle(1, Some(PRICE)))), Committed::Done);

    assert_eq!(reader(&home).solves(1).unwrap()[0].charged, PRICE);
    audit(&home);
}

#[test]
fn a_credit_with_the_same_cause_changes_nothing() {
    let home = home();
    let (store, _) = open(&home);
    wait(store.durable(credit("credit:1", CreditKind::Credit, None, 7)));
    assert_eq!(
        wait(store.durable(credit("credit:1", CreditKind::Credit, None, 900))),
        Committed::Done
    );

    assert_eq!(reader(&home).ledger_sum("acme").unwrap(), Money::from_micros(7));
    assert_eq!(store.health().conflicts, 0);
}

#[test]
fn a_credit_cannot_take_the_place_of_a_charge() {
    let home = home();
    let (store, _) = open(&home);
    let forged = credit("charge:main:task-1", CreditKind::Credit, None, 7);

    assert_eq!(wait(store.durable(forged)), Committed::Conflict);
    assert_eq!(wait(store.durable(settle(1, Some(PRICE)))), Committed::Done);
}

#[test]
fn sli_events_are_counted_per_minute_type_and_slo() {
    let home = home();
    let (store, _) = open(&home);
    for (solve, outcome) in [(1, Outcome::Solved), (2, Outcome::Solved), (3, Outcome::Timeout)] {
        wait(store.durable(verdict(solve, outcome)));
    }
    wait(store.durable(verdict(3, Outcome::Solved)));

    let counts: Vec<(i64, String, String, i64, i64)> = peek(&home)
        .prepare("SELECT minute, slo, captcha_type, good, bad FROM sli")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(counts, [(NOON.0 / 60_000, "success".into(), "turnstile".into(), 2, 1)]);
    drop(store);

    let (_store, restored) = open(&home);
    let minute = MinuteCounts { minute: NOON.0 / 60_000, counts: Counts { good: 2, bad: 1 } };
    assert_eq!(restored.sli, [SliRow { minute, ..one_good_minute() }]);
}

#[test]
fn the_ledger_takes_no_update_and_no_delete() {
    let home = home();
    let (store, _) = open(&home);
    wait(store.durable(settle(1, Some(PRICE))));
    drop(store);

    let conn = rusqlite::Connection::open(path(&home)).unwrap();
    for sql in ["UPDATE ledger SET amount = 0", "DELETE FROM ledger"] {
        let error = conn.execute(sql, []).unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[test]
fn the_audit_names_what_does_not_add_up() {
    for (tampering, rule) in [
        ("UPDATE usage SET micros = micros + 1", "usage of a tenant"),
        ("DELETE FROM usage", "usage of a tenant"),
        ("UPDATE solves SET charged = 1", "a charged solve has one ledger row"),
        ("UPDATE solves SET charged = 0", "a charge in the ledger has its amount"),
        ("DELETE FROM solves", "charges of a tenant are in the log"),
        ("UPDATE tasks SET state = 'open'", "a task that was charged is settled"),
    ] {
        let home = home();
        let (store, _) = open(&home);
        store.send(bind(1));
        store.send(verdict(1, Outcome::Solved));
        wait(store.durable(settle(1, Some(PRICE))));
        drop(store);
        audit(&home);

        rusqlite::Connection::open(path(&home)).unwrap().execute(tampering, []).unwrap();

        let broken = verify(&reader(&home)).unwrap();
        assert!(broken.iter().any(|text| text.contains(rule)), "{tampering}: {broken:?}");
    }
}

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn path(home: &TempDir) -> PathBuf {
    home.path().join("solvegate.db")
}

fn options(path: &Path) -> StoreOptions {
    let durability = Durability::Process;
    StoreOptions { path: path.to_owned(), durability, clock: Arc::new(Mono::default) }
}

fn open(home: &TempDir) -> (Store, Restored) {
    Store::open(&options(&path(home)), TODAY, "UTC").unwrap()
}

fn reader(home: &TempDir) -> Reader {
    Reader::open(&path(home)).unwrap()
}

fn peek(home: &TempDir) -> rusqlite::Connection {
    rusqlite::Connection::open(path(home)).unwrap()
}

/// A minute at most, so that a writer that stands still fails the test and does not hang it.
fn wait(committed: oneshot::Receiver<Committed>) -> Committed {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let in_time = async { tokio::time::timeout(Duration::from_mins(1), committed).await };
    runtime.block_on(in_time).expect("committed within a minute").unwrap()
}

/// Waits for another thread, ten seconds at most.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("waited in vain: {what}");
}

fn audit(home: &TempDir) {
    assert_eq!(verify(&reader(home)).unwrap(), Vec::<String>::new());
}

fn task(solve: u64) -> TaskRecord {
    TaskRecord {
        solve: SolveId(solve),
        account: "main".into(),
        task_id: TaskId::new(&format!("task-{solve}")).unwrap(),
        tenant: "acme".into(),
        key_id: "prod".into(),
        captcha_type: CaptchaType::Turnstile,
        price: PRICE,
        submitted_at: NOON,
        source_ip: Some([10, 0, 0, 1].into()),
        page: Some("shop.example".to_owned()),
        pingback: false,
        state: TaskState::Open,
        verdict: None,
    }
}

fn bind(solve: u64) -> Write {
    Write::Bind(task(solve))
}

fn one_good_minute() -> SliRow {
    SliRow {
        captcha_type: CaptchaType::Turnstile,
        slo: SloKind::Success,
        minute: MinuteCounts { minute: NOON.0 / 60_000, counts: Counts { good: 1, bad: 0 } },
    }
}

fn verdict(solve: u64, outcome: Outcome) -> Write {
    let task = task(solve);
    Write::Verdict(SolveRecord {
        solve: task.solve,
        account: task.account,
        task_id: Some(task.task_id),
        tenant: task.tenant,
        key_id: task.key_id,
        captcha_type: task.captcha_type,
        outcome,
        error_code: None,
        duration: Duration::from_millis(1_500),
        price: task.price,
        submitted_at: task.submitted_at,
        ended_at: NOON + Duration::from_millis(1_500),
        source_ip: task.source_ip,
        page: task.page,
        success_event: outcome.sli_event(),
        latency_event: None,
    })
}

fn settle(solve: u64, charged: Option<Money>) -> Write {
    let task = task(solve);
    Write::Settle(SettleRecord {
        solve: task.solve,
        account: task.account,
        task_id: task.task_id,
        tenant: task.tenant,
        key_id: task.key_id,
        captcha_type: task.captcha_type,
        charged,
        delivered: charged.is_some(),
        at: NOON + Duration::from_secs(2),
        day: TODAY,
        thread_time: Duration::from_secs(2),
    })
}

fn credit(cause: &str, kind: CreditKind, key_id: Option<&str>, micros: i64) -> Write {
    Write::Credit(CreditRecord {
        cause: cause.to_owned(),
        kind,
        tenant: "acme".into(),
        key_id: key_id.map(Into::into),
        amount: Money::from_micros(micros),
        at: NOON,
        note: "for the tests".to_owned(),
    })
}

/// All of `solves` charged today over the key `prod`.
fn charged_total(solves: u64, spent: Money) -> ChargedTotal {
    ChargedTotal {
        tenant: "acme".into(),
        key_id: "prod".into(),
        day_solves: solves,
        day_spent: spent,
        month_spent: spent,
        total_spent: spent,
    }
}
