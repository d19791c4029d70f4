//! How long a ready answer waits for the record, in time that the test makes pass.

use std::path::Path;

use tokio::sync::oneshot;

use super::*;
use crate::config;
use crate::domain::journal::Restored;
use crate::record::store::{Health, Unflushed};

/// A record that takes writes, or says that it cannot, and never has one written.
#[derive(Debug)]
struct Stuck {
    accepting: bool,
}

impl Record for Stuck {
    fn send(&self, _: Write) {}

    fn durable(&self, _: Write) -> oneshot::Receiver<Committed> {
        oneshot::channel().1
    }

    fn health(&self) -> Health {
        Health::default()
    }

    fn is_accepting(&self) -> bool {
        self.accepting
    }

    fn close(&self, _: Duration) -> Result<(), Unflushed> {
        Ok(())
    }
}

/// How long an answer waits for that record with a client of that patience, and whether it goes out then.
#[expect(clippy::disallowed_methods, reason = "the runtime's time, which passes as the test wants")]
async fn waited(accepting: bool, patience: u64) -> (u128, bool) {
    let policy = Arc::new(config::parse("a.yaml", "", Path::new("/"), &|_| None).unwrap().policy);
    let clock = Clock::start();
    let engine = Engine::new(&policy, Restored::default(), clock.now());
    let metrics = Metrics::new(&policy).unwrap();
    let gate = Gate::new(engine, clock, Stuck { accepting }, metrics);
    let (_never, committed) = oneshot::channel();

    let begin = tokio::time::Instant::now();
    let ready = gate.ready(Pending(Some(committed)), Duration::from_millis(patience)).await;
    (begin.elapsed().as_millis(), ready)
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_a_failing_record_no_longer_than_its_client_does() {
    for (patience, expected) in [(4_500, 2_000), (500, 500), (0, 250)] {
        let (waited, goes_out) = waited(false, patience).await;
        assert!(goes_out && (expected..expected + 10).contains(&waited), "{patience}: {waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_a_slow_record_as_long_as_its_client_does_and_stays() {
    for (patience, expected) in [(4_500, 4_500), (600, 600), (0, 250)] {
        let (waited, goes_out) = waited(true, patience).await;
        assert!(!goes_out && (expected..expected + 10).contains(&waited), "{patience}: {waited}");
    }
}
