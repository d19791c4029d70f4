//! Many reloads of the program itself under load, some of a faulty config: 100 of them, or as many as
//! `SOLVEGATE_RELOADS` says.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use crate::support::client::{get, poll, submission};
use crate::support::process::Sidecar;
use crate::support::{ACME, BATCH, Client, Setup, World, ZEN, until};

const RELOAD: &str = "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
/// A line, with what is faulty in it, as it must be named.
const FAULTY: &str = "tenants.acme.daily_limit";

/// How a reload is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    File,
    Hangup,
    Request,
}

impl Way {
    /// The file is looked at every two seconds, so that most go other ways.
    fn of(number: usize) -> Self {
        match number % 20 {
            3 | 9 => Self::File,
            even if even % 2 == 0 => Self::Hangup,
            _ => Self::Request,
        }
    }
}

/// The configs in turn: limits, tenants and targets change, and the batch key comes and goes.
fn variant(base: &str, number: usize, is_faulty: bool) -> String {
    let limit = if is_faulty { "-1".to_owned() } else { (1_000_000 + number).to_string() };
    let batch = if number.is_multiple_of(2) { ", batch: { key: BATCH }" } else { "" }
        .replace("BATCH", BATCH);
    let extra = if number.is_multiple_of(3) { "" } else { "extra: { keys: {} }," };
    base.replace("LIMIT", &limit)
        .replace(", BATCH", &batch)
        .replace("EXTRA,", extra)
        .replace("OBJECTIVE", if number.is_multiple_of(4) { "0.9" } else { "0.95" })
}

/// Whole or not at all: a look at the file must not find half of it.
fn put(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, path).unwrap();
}

async fn admin(sidecar: &Sidecar, request: &str) -> (u16, String) {
    let mut client = Client::connect(sidecar.admin).await;
    client.send(request.as_bytes()).await;
    let answer = client.answer().await;
    (answer.status, answer.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_reloads_under_load_lose_nothing_and_a_faulty_one_changes_nothing() {
    let wanted = std::env::var("SOLVEGATE_RELOADS").map_or(100, |text| text.parse().unwrap());
    let tenants = "EXTRA, acme: { daily_limit: LIMIT, keys: { prod: { key: ACME }, BATCHES } }, \
        zen: { keys: { prod: { key: ZEN } } }";
    let rest = "slo: { default: { objective: OBJECTIVE } }".to_owned();
    let world = World::without_sidecar(Setup { tenants, rest, ..Setup::default() });
    let path = world.write_config();
    let base = std::fs::read_to_string(&path).unwrap().replace(&format!(", {BATCH}ES"), ", BATCH");
    put(&path, &variant(&base, 0, false));
    let sidecar = Sidecar::start(&path).unwrap();
    let (stop, delivered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let traffic = [ACME, ZEN, ACME, ZEN]
        .map(|key| tokio::spawn(solve(sidecar.data, key, stop.clone(), delivered.clone())));

    let begin = Instant::now();
    let mut in_force = 0;
    for number in 1..=wanted {
        let is_faulty = number % 10 == 9 || number % 10 == 4;
        reload(&sidecar, &path, &variant(&base, number, is_faulty), Way::of(number), is_faulty)
            .await;
        if !is_faulty {
            in_force = number;
        }
        let known = Client::connect(sidecar.data).await.get(&poll(BATCH, "1")).await;
        let expected = if in_force % 2 == 0 { "none" } else { "revoked_key" };
        assert_eq!(known.reason(), expected, "after {number}, with {in_force} in force: {known:?}");
        let failed = traffic.iter().any(tokio::task::JoinHandle::is_finished);
        assert!(!failed, "a client met something else than its answer");
    }
    let took = begin.elapsed();
    stop.store(true, Ordering::Relaxed);
    for client in traffic {
        client.await.unwrap();
    }
    let delivered = delivered.load(Ordering::Relaxed);
    println!("{wanted} reloads in {took:?}, {delivered} solves meanwhile");
    assert!(delivered >= wanted / 4, "that was no load: {delivered}");
    let log = sidecar.stop();
    assert!(!log.contains("panicked"), "{log}");
    world.close(delivered).await;
}

async fn reload(sidecar: &Sidecar, path: &Path, text: &str, way: Way, is_faulty: bool) {
    let said = if is_faulty { "the config was not reloaded" } else { "the config was reloaded" };
    let before = sidecar.log().matches(said).count();
    put(path, text);
    match way {
        Way::File => {}
        Way::Hangup => sidecar.signal("HUP"),
        Way::Request => {
            let (status, text) = admin(sidecar, RELOAD).await;
            assert_eq!(status, if is_faulty { 422 } else { 200 }, "{text}");
            assert!(!is_faulty || text.contains(&format!("solvegate.yaml:6: {FAULTY}")), "{text}");
        }
    }
    until("it says what became of the config", || sidecar.log().matches(said).count() > before)
        .await;
    let log = sidecar.log();
    let (_, why) = log.rsplit_once(said).unwrap();
    assert!(!is_faulty || why.contains(&format!("solvegate.yaml:6: {FAULTY}")), "{why}");
    let (_, metrics) = admin(sidecar, &get("/metrics")).await;
    let expected = format!("solvegate_config_last_reload_successful {}\n", u8::from(!is_faulty));
    assert!(metrics.contains(&expected), "{way:?}, faulty: {is_faulty}");
}

/// Solves one after the other, and counts what it got.
async fn solve(
    address: std::net::SocketAddr,
    key: &'static str,
    stop: Arc<AtomicBool>,
    delivered: Arc<AtomicUsize>,
) {
    let mut client = Client::connect(address).await;
    while !stop.load(Ordering::Relaxed) {
        let id = client.get(&submission(key, "answer=a")).await.id();
        assert_eq!(client.get(&poll(key, &id)).await.text(), "OK|a");
        delivered.fetch_add(1, Ordering::Relaxed);
    }
}
