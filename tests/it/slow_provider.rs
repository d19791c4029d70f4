//! A provider that hangs: the client is answered in time, and the provider's late word counts.

use std::time::{Duration, Instant};

use solvegate::domain::outcome::Outcome;
use solvegate::simulate::{Fault, FaultRule, Operation};

use crate::support::client::{poll, submission};
use crate::support::{ACME, Setup, World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_is_answered_within_five_seconds_by_default() {
    let world = World::start(Setup { upstream: "poll_spacing: 0s", ..Setup::default() }).await;
    world.control().add_faults([FaultRule::new(Operation::Submit, Fault::Hang)]);

    let started = Instant::now();
    let answer = world.get(&format!("{}&json=1", submission(ACME, ""))).await;
    let took = started.elapsed();

    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(took > Duration::from_secs(3), "the provider is waited for: {took:?}");
    assert!(
        answer.text().starts_with(r#"{"status":0,"request":"ERROR_SERVER_ERROR""#),
        "{answer:?}"
    );
    assert_eq!((answer.status, answer.reason()), (200, "upstream_unavailable"));
    assert_eq!(world.tenant("acme").open, 1, "held until the provider's word");
    let mut world = world;
    let app = world.take_app();
    app.stop(Duration::from_millis(200)).await.unwrap();
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_comes_late_is_a_solve_that_nobody_collected() {
    tokio::join!(late_id("delivered", 0), late_id("solved", 1));
}

async fn late_id(charge: &str, charged: usize) {
    let setup = Setup {
        upstream: "poll_spacing: 0s, submit_timeout: 200ms, forget_after: 14s",
        rest: format!("charge: {charge}\nslo: {{ default: {{ deadline: 14s }} }}"),
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let delay = Fault::Delay(Duration::from_secs(1));
    world.control().add_faults([FaultRule::new(Operation::Submit, delay).after().times(1)]);

    let answer = world.get(&submission(ACME, "solve=0s")).await;

    assert_eq!(
        (answer.text().as_str(), answer.reason()),
        ("ERROR_SERVER_ERROR", "upstream_unavailable")
    );
    assert_eq!(world.tenant("acme").in_flight, 1, "the provider may be working on it");
    until("the watcher asked", || world.received(Operation::Poll).len() == 1).await;
    until("the thread is free", || world.tenant("acme").in_flight == 0).await;
    world.settled().await;
    let solves = world.solves();
    assert_eq!(solves.len(), 1);
    assert_eq!((solves[0].outcome, solves[0].delivered), (Some(Outcome::ProviderError), false));
    world.close(charged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_refusal_frees_the_hold() {
    let setup = Setup { upstream: "submit_timeout: 100ms", ..Setup::default() };
    let world = World::start(setup).await;
    let delay = Fault::Delay(Duration::from_millis(500));
    world.control().add_faults([FaultRule::new(Operation::Submit, delay).times(1)]);

    let answer = world.get(&submission(ACME, "submit_error=ERROR_PAGEURL")).await;

    assert_eq!(answer.text(), "ERROR_SERVER_ERROR");
    world.settled().await;
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_during_trouble_are_not_ready_until_the_deadline_and_unsolvable_after() {
    let setup = Setup {
        upstream: "poll_spacing: 0s, poll_timeout: 100ms",
        rest: "slo: { default: { deadline: 3s } }".to_owned(),
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let started = Instant::now();
    let id = world.submit(ACME, "answer=late").await;
    for fault in [
        Fault::Hang,
        Fault::HttpStatus(502),
        Fault::ResetMidAnswer,
        Fault::Garbage,
        Fault::Code("ERROR_SERVER_ERROR".to_owned()),
        Fault::Code("ERROR_KEY_DOES_NOT_EXIST".to_owned()),
    ] {
        world.control().clear_faults();
        world.control().add_faults([FaultRule::new(Operation::Poll, fault.clone())]);
        let answer = world.poll(ACME, &id).await;
        let in_time = started.elapsed() < Duration::from_millis(2_900);
        assert!(in_time, "this machine is too slow for the test");
        assert_eq!((answer.status, answer.text().as_str()), (200, "CAPCHA_NOT_READY"), "{fault:?}");
    }
    until("it timed out", || !world.solves().is_empty()).await;
    let json = world.get(&format!("{}&json=1", poll(ACME, &id))).await;
    assert_eq!(json.text(), r#"{"status":0,"request":"ERROR_CAPTCHA_UNSOLVABLE"}"#);
    assert_eq!(json.status, 200);

    assert_eq!(world.solves()[0].outcome, Some(Outcome::Timeout));
    assert_eq!(world.tenant("acme").spent.micros(), 0);
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_hangs_is_answered_before_clients_give_up_and_its_answer_is_kept() {
    let upstream = "poll_spacing: 0s, poll_timeout: 10s";
    let world = World::start(Setup { upstream, ..Setup::default() }).await;
    let id = world.submit(ACME, "answer=a").await;
    let delay = Fault::Delay(Duration::from_secs(5));
    world.control().add_faults([FaultRule::new(Operation::Poll, delay).times(1)]);

    let answer = world.poll(ACME, &id).await;

    assert_eq!(
        answer.text(),
        "CAPCHA_NOT_READY",
        "a client that gives up at 5 s is answered first"
    );
    until("the answer came in", || world.tenant("acme").in_flight == 0).await;
    assert_eq!(world.poll(ACME, &id).await.text(), "OK|a");
    assert_eq!(world.received(Operation::Poll).len(), 1, "the second is answered from memory");
    world.settled().await;
    world.close(1).await;
}
