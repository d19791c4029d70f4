//! A disk that hangs, and fails nothing: polls are answered in time, and no answer goes out unrecorded.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use solvegate::clock::Clock;
use solvegate::config;
use solvegate::domain::engine::Engine;
use solvegate::domain::journal::{Restored, Write};
use solvegate::gate::Gate;
use solvegate::proxy::{Bounds, Proxy, Target, serve_stream};
use solvegate::record::metrics::Metrics;
use solvegate::record::store::{Committed, Health, Record, Unflushed};
use solvegate::simulate::{Fault, FaultRule, Operation, Simulation};
use tokio::io::DuplexStream;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::client::{poll, submission};
use crate::support::{ACCOUNT, ACME, Client, Setup, until};

/// A record that commits at once, and while it hangs not at all.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Hanging>>);

#[derive(Debug, Default)]
struct Hanging {
    hangs: bool,
    waiting: Vec<(oneshot::Sender<Committed>, Instant)>,
}

impl Disk {
    fn hang(&self) {
        self.0.lock().hangs = true;
    }

    fn go_on(&self) {
        let mut disk = self.0.lock();
        disk.hangs = false;
        disk.waiting.drain(..).for_each(|(ack, _)| {
            let _ = ack.send(Committed::Done);
        });
    }
}

impl Record for Disk {
    fn send(&self, _: Write) {}

    fn durable(&self, _: Write) -> oneshot::Receiver<Committed> {
        let (ack, committed) = oneshot::channel();
        let mut disk = self.0.lock();
        if disk.hangs {
            disk.waiting.push((ack, Instant::now()));
        } else {
            ack.send(Committed::Done).unwrap();
        }
        committed
    }

    fn health(&self) -> Health {
        Health::default()
    }

    fn is_accepting(&self) -> bool {
        let disk = self.0.lock();
        disk.waiting.iter().all(|(_, since)| since.elapsed() <= Duration::from_secs(2))
    }

    fn close(&self, _: Duration) -> Result<(), Unflushed> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_hangs_a_slow_provider_delays_no_poll_beyond_what_clients_wait() {
    tokio::join!(slow("poll_spacing: 0s"), slow("poll_spacing: 1s, hold_polls: 4s"));
}

async fn slow(upstream: &str) {
    let provider = Simulation::start(Setup::default().provider).unwrap();
    let disk = Disk::default();
    let (gate, mut client) = serving(&disk, &provider, upstream);
    let id = client.get(&submission(ACME, "answer=a")).await.id();
    let late = Fault::Delay(Duration::from_millis(3_800));
    provider.control().add_faults([FaultRule::new(Operation::Poll, late)]);
    disk.hang();

    let begin = Instant::now();
    let answer = client.get(&poll(ACME, &id)).await;

    assert_eq!(answer.text(), "CAPCHA_NOT_READY", "{upstream}");
    let took = begin.elapsed();
    assert!(took > Duration::from_secs(3) && took < Duration::from_millis(5_500), "{took:?}");
    assert_eq!(gate.snapshot().open, 1, "not charged");

    disk.go_on();
    let begin = Instant::now();
    let text = loop {
        let text = client.get(&poll(ACME, &id)).await.text();
        if text != "CAPCHA_NOT_READY" || begin.elapsed() > Duration::from_secs(20) {
            break text;
        }
    };
    assert_eq!(text, "OK|a", "{upstream}");
    until("it is charged", || gate.snapshot().open == 0).await;
}

/// A sidecar with that disk in front of that provider, and a client of it.
fn serving(
    disk: &Disk,
    provider: &Simulation,
    upstream: &str,
) -> (Arc<Gate>, Client<DuplexStream>) {
    let text = format!(
        "upstream: {{ url: 'http://{}', {upstream} }}\n\
         accounts: {{ main: {{ key: {ACCOUNT} }} }}\n\
         tenants: {{ acme: {{ keys: {{ prod: {{ key: {ACME} }} }} }} }}",
        provider.addr()
    );
    let config = config::parse("a.yaml", &text, Path::new("/"), &|_| None).unwrap();
    let clock = Clock::start();
    let policy = Arc::new(config.policy.clone());
    let engine = Engine::new(&policy, Restored::default(), clock.now());
    let gate = Arc::new(Gate::new(engine, clock, disk.clone(), Metrics::new(&policy).unwrap()));
    let target = Target::of(&config).unwrap();
    let config = Arc::new(ArcSwap::from_pointee(config));
    let way = (target, Bounds::default());
    let proxy = Proxy::new(gate.clone(), clock, config, way, TaskTracker::new());
    let (ours, its) = tokio::io::duplex(1 << 16);
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    tokio::spawn(serve_stream(Arc::new(proxy), its, peer, CancellationToken::new()));
    (gate, Client::over(ours))
}
