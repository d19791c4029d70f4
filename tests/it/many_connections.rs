//! As many connections as are to be had at once, all of them served.

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};

use crate::support::client::{poll, submission};
use crate::support::process::Sidecar;
use crate::support::{ACME, Client, Setup, World};

/// What the sidecar admits where it may have that many descriptors.
const WANTED: u64 = 10_000;
/// Descriptors that the other tests of this process need.
const OTHERS: u64 = 400;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_are_served_and_one_more_is_turned_away() {
    let world = World::without_sidecar(Setup::default());
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let sidecar = Sidecar::start(&world.write_config()).unwrap();
    let most = WANTED.min(descriptors / 2).min(descriptors - OTHERS);
    assert!(most >= 256, "{descriptors} descriptors");
    let memory_before = sidecar.memory_kib();
    let started = Instant::now();

    let mut clients: Vec<Client> = stream::iter(1..most)
        .map(|_| async {
            let mut client = Client::connect(sidecar.data).await;
            assert_eq!(client.get(&poll(ACME, "1")).await.text(), "ERROR_WRONG_CAPTCHA_ID");
            client
        })
        .buffer_unordered(64)
        .collect()
        .await;
    let connected = started.elapsed();
    let mut last = Client::connect(sidecar.data).await;
    let asked = Instant::now();
    let id = last.get(&submission(ACME, "answer=a")).await.id();
    assert_eq!(last.get(&poll(ACME, &id)).await.text(), "OK|a");
    let took = asked.elapsed();

    assert!(took < Duration::from_secs(5), "{took:?}");
    if most == WANTED.min(descriptors / 2) {
        assert!(Client::connect(sidecar.data).await.is_closed().await, "one too many");
    }
    for client in clients.iter_mut().step_by(100) {
        assert_eq!(client.get(&poll(ACME, "1")).await.text(), "ERROR_WRONG_CAPTCHA_ID");
    }
    let memory = sidecar.memory_kib() - memory_before;
    println!(
        "{most} connections in {connected:?}, a solve in {took:?}, {} KiB a connection",
        memory / most
    );
    // They idled, but for the latest.
    assert!(memory / most < 16, "a connection that idles costs too much");
    drop(clients);
    drop(last);
    let log = sidecar.stop();
    assert!(!log.contains("panicked"), "{log}");
    world.close(1).await;
}
