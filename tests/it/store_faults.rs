//! A record that cannot be written, or read: paid work stops and says so, polls go on, nothing is lost
//! and nothing is overwritten. The sidecar is the program itself, so that real limits of the system hit
//! it.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use solvegate::simulate::{Fault, FaultRule, Operation};

use crate::support::client::{poll, submission};
use crate::support::process::Sidecar;
use crate::support::{ACME, Answer, Client, Setup, World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_stops_paid_work_only_and_is_recovered_from() {
    // All that is there may stay: the disk is full. Not a byte may be written: it is read-only.
    tokio::join!(unwritable(4_096), unwritable(0));
}

async fn unwritable(limit: u64) {
    let world = World::without_sidecar(Setup::default());
    let sidecar = Sidecar::start(&world.write_config()).unwrap();
    let charged = ask(&sidecar, &submission(ACME, "answer=charged")).await.id();
    let open = ask(&sidecar, &submission(ACME, "answer=open")).await.id();
    assert_eq!(ask(&sidecar, &poll(ACME, &charged)).await.text(), "OK|charged");

    sidecar.limit_files(limit);
    // The first may be on its way when the disk fails it; it is answered in time all the same.
    let first = ask(&sidecar, &submission(ACME, "answer=lost")).await;
    assert_eq!(first.reason(), "store_unavailable", "{first:?}");
    for _ in 0..5 {
        let refused = ask(&sidecar, &submission(ACME, "answer=refused")).await;
        assert_eq!((refused.status, refused.reason()), (200, "store_unavailable"));
        assert_eq!(refused.text(), "ERROR_SERVER_ERROR");
    }
    assert_eq!(ask(&sidecar, &poll(ACME, &open)).await.text(), "OK|open", "polls go on");
    let sent = world.control().tasks().len();
    assert!(sent <= 3, "what cannot be written down is not paid for: {sent}");

    sidecar.limit_files(rlimit::INFINITY);
    let accepted = accepted_again(sidecar.data).await;
    assert_eq!(ask(&sidecar, &poll(ACME, &accepted)).await.text(), "OK|again");

    let log = sidecar.stop();
    assert!(log.contains("the store can be written again"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    world.close(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_is_full_a_slow_provider_delays_no_poll_beyond_what_clients_wait() {
    tokio::join!(slow("poll_spacing: 4100ms"), slow("poll_spacing: 4100ms, hold_polls: 4s"));
}

async fn slow(upstream: &'static str) {
    let world = World::without_sidecar(Setup { upstream, ..Setup::default() });
    let sidecar = Sidecar::start(&world.write_config()).unwrap();
    let ready = ask(&sidecar, &submission(ACME, "answer=a")).await.id();
    let never = ask(&sidecar, &submission(ACME, "never")).await.id();
    let delay = Fault::Delay(Duration::from_millis(3_800));
    world.control().add_faults([FaultRule::new(Operation::Poll, delay)]);

    sidecar.limit_files(0);

    assert_eq!(ask(&sidecar, &poll(ACME, &ready)).await.text(), "OK|a", "{upstream}");
    world.control().clear_faults();
    let begin = Instant::now();
    assert_eq!(ask(&sidecar, &poll(ACME, &never)).await.text(), "CAPCHA_NOT_READY");
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(3), "not held for a question that is too late: {took:?}");

    sidecar.limit_files(rlimit::INFINITY);
    let accepted = accepted_again(sidecar.data).await;
    assert_eq!(ask(&sidecar, &poll(ACME, &accepted)).await.text(), "OK|again");
    sidecar.stop();
    world.close(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stays_full_until_the_end_loses_no_charge() {
    let rest = "shutdown_grace: 1s".to_owned();
    let world = World::without_sidecar(Setup { rest, ..Setup::default() });
    let config = world.write_config();
    let sidecar = Sidecar::start(&config).unwrap();
    let id = ask(&sidecar, &submission(ACME, "answer=a")).await.id();
    sidecar.limit_files(4_096);
    assert_eq!(ask(&sidecar, &poll(ACME, &id)).await.text(), "OK|a");

    let (log, status) = sidecar.stop_failing();

    assert!(!status.success(), "{log}");
    assert!(log.contains("applied at the next start"), "{log}");
    Sidecar::start(&config).unwrap().stop();
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_the_start_is_named() {
    let world = World::without_sidecar(Setup::default());
    let config = world.write_config();

    let refused = Sidecar::start_limited(&config, 0).unwrap_err();

    assert!(refused.contains("exit status: 1"), "{refused}");
    assert!(refused.contains("solvegate.db") && refused.contains("cannot open"), "{refused}");
    Sidecar::start(&config).unwrap().stop();
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sidecar_on_the_same_record_is_refused() {
    let world = World::without_sidecar(Setup::default());
    let config = world.write_config();
    let first = Sidecar::start(&config).unwrap();

    let refused = Sidecar::start(&config).unwrap_err();

    assert!(refused.contains("exit status: 1"), "{refused}");
    assert!(refused.contains("is in use by another solvegate"), "{refused}");
    let id = ask(&first, &submission(ACME, "answer=a")).await.id();
    assert_eq!(ask(&first, &poll(ACME, &id)).await.text(), "OK|a", "the first is not disturbed");
    first.stop();
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_to_be_touched_is_left_as_it_is() {
    for (what, said, spoil) in spoilt() {
        let world = World::without_sidecar(Setup::default());
        let config = world.write_config();
        let sidecar = Sidecar::start(&config).unwrap();
        let id = ask(&sidecar, &submission(ACME, "answer=a")).await.id();
        assert_eq!(ask(&sidecar, &poll(ACME, &id)).await.text(), "OK|a");
        sidecar.stop();
        let path = world.state().join("solvegate.db");
        let healthy = fs::read(&path).unwrap();
        spoil(&path);
        let spoilt = fs::read(&path).unwrap();
        assert_ne!(healthy, spoilt, "{what}");

        let refused = Sidecar::start(&config).unwrap_err();

        assert!(refused.contains("exit status: 1"), "{what}: {refused}");
        assert!(refused.contains(said) && refused.contains("solvegate.db"), "{what}: {refused}");
        assert!(fs::read(&path).unwrap() == spoilt, "{what}: it was written to");
        fs::write(&path, healthy).unwrap();
        Sidecar::start(&config).unwrap().stop();
        world.close(1).await;
    }
}

type Spoil = fn(&std::path::Path);

fn spoilt() -> Vec<(&'static str, &'static str, Spoil)> {
    fn page(path: &std::path::Path) {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2 / 4_096 * 4_096;
        bytes[middle..middle + 4_096].fill(0xA5);
        fs::write(path, bytes).unwrap();
    }
    fn half(path: &std::path::Path) {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }
    fn newer(path: &std::path::Path) {
        let record = rusqlite::Connection::open(path).unwrap();
        record.pragma_update(None, "user_version", 99).unwrap();
    }
    fn foreign(path: &std::path::Path) {
        let record = rusqlite::Connection::open(path).unwrap();
        record.pragma_update(None, "application_id", 1).unwrap();
    }
    fn text(path: &std::path::Path) {
        fs::write(path, "name,amount\n").unwrap();
    }
    vec![
        ("a damaged page", "is damaged and was left as it is", page),
        ("cut short", "is damaged and was left as it is", half),
        ("from a newer version", "was written by a newer solvegate", newer),
        ("another program's", "is a database of another program", foreign),
        ("no database", "is no SQLite database", text),
    ]
}

/// Somebody (a backup, `sqlite3`) holds the write lock of the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_somebody_locks_stops_paid_work_until_it_is_free() {
    let world = World::start(Setup::default()).await;
    let open = world.submit(ACME, "answer=open").await;
    let other = rusqlite::Connection::open(world.state().join("solvegate.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let first = world.get(&submission(ACME, "answer=lost")).await;

    assert_eq!(first.reason(), "store_unavailable", "{first:?}");
    assert_eq!(world.get(&submission(ACME, "")).await.reason(), "store_unavailable");
    assert!(world.app().gate().store_trouble().unwrap().contains("locked"));
    assert_eq!(world.poll(ACME, &open).await.text(), "OK|open");
    other.execute_batch("ROLLBACK").unwrap();
    let id = accepted_again(world.app().data).await;
    assert_eq!(world.poll_to_end(ACME, &id).await.text(), "OK|again");
    until("both are charged", || world.tenant("acme").day_solves == 2).await;
    world.close(2).await;
}

async fn ask(sidecar: &Sidecar, target: &str) -> Answer {
    ask_at(sidecar.data, target).await
}

async fn ask_at(address: SocketAddr, target: &str) -> Answer {
    let started = Instant::now();
    let answer = Client::connect(address).await.get(target).await;
    assert!(started.elapsed() < Duration::from_millis(4_900), "{target}: {:?}", started.elapsed());
    answer
}

/// Submits until it is accepted, which nobody has to start anything anew for.
async fn accepted_again(sidecar: SocketAddr) -> String {
    let submitting = async {
        loop {
            let answer = ask_at(sidecar, &submission(ACME, "answer=again")).await;
            if answer.reason() != "store_unavailable" {
                return answer.id();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), submitting).await.expect("it does not recover")
}
