//! Held polls: answered once there is an answer, and let go in time, whatever happens meanwhile.

use std::time::{Duration, Instant};

use solvegate::simulate::{Fault, FaultRule, Operation};

use crate::support::canned::Canned;
use crate::support::client::{get, poll};
use crate::support::process::Sidecar;
use crate::support::{ACME, Api, BATCH, Client, Setup, World, ZEN, until};

/// The spacing of 100 ms, less what the provider's clock rounds.
const SPACING_LEAST: Duration = Duration::from_millis(98);
const NOT_READY: &str = "CAPCHA_NOT_READY";
const RELOAD: &str = "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";

async fn world() -> World {
    World::start(Setup { upstream: "poll_spacing: 100ms, hold_polls: 4s", ..Setup::default() })
        .await
}

/// When the provider was asked about that task.
fn asked_at(world: &World, id: &str) -> Vec<Duration> {
    let polls = world.received(Operation::Poll);
    let polls = polls.iter().filter(|entry| entry.task.as_deref() == Some(id));
    polls.map(|entry| Duration::from_millis(entry.at_ms.try_into().unwrap())).collect()
}

fn assert_spaced(asked_at: &[Duration]) {
    assert!(asked_at.windows(2).all(|pair| pair[1] >= pair[0] + SPACING_LEAST), "{asked_at:?}");
}

/// A connection on which that task was polled, and the provider asked more than once about it.
async fn held(world: &World, id: &str) -> Client {
    let mut client = world.client().await;
    client.send(get(&poll(ACME, id)).as_bytes()).await;
    until("the poll is held", || asked_at(world, id).len() > 1).await;
    client
}

async fn reload(world: &mut World, tenants: &'static str) {
    world.setup.tenants = tenants;
    world.write_config();
    assert_eq!(world.admin(RELOAD).await.text(), "reloaded\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_poll_brings_the_answer_soon_after_it_is_ready() {
    let world = world().await;
    for action in ["get", "get2"] {
        let begin = Instant::now();
        let id = world.submit(ACME, "solve=1s&answer=a").await;
        let target = format!("/res.php?key={ACME}&action={action}&id={id}&json=1");

        let answer = world.get(&target).await;

        let took = begin.elapsed();
        assert!(answer.text().starts_with(r#"{"status":1,"request":"a""#), "{answer:?}");
        assert_eq!(answer.text().contains("price"), action == "get2", "{answer:?}");
        assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(4), "{took:?}");
        let asked_at = asked_at(&world, &id);
        assert!(asked_at.len() >= 3, "{asked_at:?}");
        assert_spaced(&asked_at);
    }
    world.settled().await;
    let of_polls = r#"{operation="poll"}"#;
    let upstream: u32 = world.metric(r#"solvegate_polls_total{answered_from="upstream"}"#).await;
    let memory: u32 = world.metric(r#"solvegate_polls_total{answered_from="memory"}"#).await;
    assert_eq!((upstream, memory), (2, 0), "polls, not rounds");
    let lasted = format!("solvegate_http_request_duration_seconds_sum{of_polls}");
    assert!(world.metric::<f64>(&lasted).await > 1.5, "the wait is part of the request");
    let own: f64 = world.metric(&format!("solvegate_proxy_overhead_seconds_sum{of_polls}")).await;
    assert!(own < 1.0, "and not of the sidecar's work: {own}");
    world.close(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_a_poll_is_held_that_long_and_no_longer() {
    let setup = Setup { upstream: "poll_spacing: 100ms, hold_polls: 800ms", ..Setup::default() };
    let world = World::start(setup).await;
    let id = world.submit(ACME, "never").await;
    let begin = Instant::now();

    let answer = world.poll(ACME, &id).await;

    let took = begin.elapsed();
    assert_eq!((answer.status, answer.text().as_str()), (200, NOT_READY));
    assert!(took >= Duration::from_millis(700) && took < Duration::from_secs(3), "{took:?}");
    assert!(asked_at(&world, &id).len() > 2);
    assert_spaced(&asked_at(&world, &id));

    let rounds = asked_at(&world, &id).len();
    let ids = format!("/res.php?key={ACME}&action=get&ids={id},77");
    assert_eq!(world.get(&ids).await.text(), format!("{NOT_READY}|ERROR_WRONG_CAPTCHA_ID"));
    assert!(asked_at(&world, &id).len() <= rounds + 1, "a poll for several is not held");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_else_comes_ends_the_hold() {
    let setup = Setup {
        upstream: "poll_spacing: 100ms, hold_polls: 4s",
        rest: "slo: { default: { deadline: 2s } }".to_owned(),
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let begin = Instant::now();
    assert_eq!(world.poll(ACME, "77").await.text(), "ERROR_WRONG_CAPTCHA_ID");
    let unsolvable = world.submit(ACME, "solve=300ms&error=ERROR_CAPTCHA_UNSOLVABLE").await;
    assert_eq!(world.poll(ACME, &unsolvable).await.text(), "ERROR_CAPTCHA_UNSOLVABLE");
    assert!(asked_at(&world, &unsolvable).len() > 1);
    let proxy = world.submit(ACME, "solve=300ms&error=ERROR_BAD_PROXY").await;
    assert_eq!(world.poll(ACME, &proxy).await.text(), "ERROR_BAD_PROXY");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());

    let late = world.submit(ACME, "never").await;
    world.control().add_faults([FaultRule::new(Operation::Poll, Fault::HttpStatus(502))]);
    let begin = Instant::now();
    assert_eq!(world.poll(ACME, &late).await.text(), "ERROR_CAPTCHA_UNSOLVABLE");
    let took = begin.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(4), "{took:?}");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_is_not_asked_for_any_more_and_not_charged() {
    let world = world().await;
    let mut ids = Vec::new();
    for reset in [false, true] {
        let id = world.submit(ACME, "solve=3s&answer=a").await;
        let client = held(&world, &id).await;
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        ids.push(id);
    }
    // A round may have been under way.
    let other = world.submit(ACME, "solve=300ms").await;
    world.poll(ACME, &other).await;
    let count = || ids.iter().map(|id| asked_at(&world, id).len()).sum::<usize>();
    let before = count();

    let other = world.submit(ACME, "solve=700ms").await;
    assert!(world.poll(ACME, &other).await.text().starts_with("OK|"));

    assert!(asked_at(&world, &other).len() > 3, "time passed");
    assert_eq!(count(), before, "asked for nobody");
    until("the others are charged", || world.tenant("acme").day_solves == 2).await;
    for id in &ids {
        assert_eq!(world.poll_to_end(ACME, id).await.text(), "OK|a", "the task can be polled on");
    }
    world.settled().await;
    world.close(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_poll_at_once_both_get_the_answer_and_it_is_charged_once() {
    let world = world().await;
    let id = world.submit(ACME, "solve=1s&answer=a").await;

    let (one, other) = tokio::join!(world.poll(ACME, &id), world.poll(ACME, &id));

    assert_eq!((one.text().as_str(), other.text().as_str()), ("OK|a", "OK|a"));
    assert_spaced(&asked_at(&world, &id));
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_gets_nothing_of_a_held_poll() {
    let world = world().await;
    let id = world.submit(ACME, "solve=3s").await;
    let mut client = held(&world, &id).await;

    Api::of(world.app().admin).delete("/tenants/acme/keys/prod?note=ann:%20leaked").await.of(200);

    assert_eq!(client.answer().await.text(), "ERROR_KEY_DOES_NOT_EXIST");
    assert_eq!(world.poll(ACME, &id).await.text(), "ERROR_KEY_DOES_NOT_EXIST", "as any poll");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_renamed_meanwhile_gets_the_answer() {
    let mut world = world().await;
    let id = world.submit(ACME, "solve=3s&answer=a").await;
    let mut client = held(&world, &id).await;

    reload(&mut world, "acme: { keys: { web: { key: ACME } } }").await;

    assert_eq!(client.answer().await.text(), "OK|a");
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_moves_to_another_tenant_gets_what_a_new_poll_of_it_would() {
    let mut world = world().await;
    let id = world.submit(ACME, "solve=3s&answer=a").await;
    let mut client = held(&world, &id).await;
    let mut with_price = world.client().await;
    let get2 = poll(ACME, &id).replace("action=get", "action=get2");
    with_price.send(get(&get2).as_bytes()).await;
    // Until it has been taken in.
    for _ in 0..10 {
        world.poll(ZEN, "77").await;
    }

    let moved = "acme: { keys: { prod: { key: BATCH } } }, \
        zen: { keys: { prod: { key: ZEN }, old: { key: ACME } } }";
    reload(&mut world, moved).await;

    let any = [world.poll(ACME, &id).await, world.get(&get2).await].map(|answer| answer.text());
    assert_eq!(any, ["ERROR_WRONG_CAPTCHA_ID"; 2]);
    assert_eq!([client.answer().await.text(), with_price.answer().await.text()], any);
    assert_eq!(world.poll_to_end(BATCH, &id).await.text(), "OK|a", "it is still its tenant's");
    world.settled().await;
    assert_eq!((world.tenant("acme").day_solves, world.tenant("zen").day_solves), (1, 0));
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_price_is_that_of_whom_the_answer_is_for() {
    // Two accounts, at which the provider gave out the same id.
    let canned = Canned::start().await;
    canned.submit(200, "text/plain", b"OK|77");
    canned.poll(200, "text/plain", NOT_READY.as_bytes());
    let account = "threads: 9 }, second: { key: acct20canary00000000000000000000, threads: 9";
    let setup = Setup {
        upstream: "poll_spacing: 100ms, hold_polls: 4s",
        account,
        tenants: "acme: { account: main, prices: { default: 0.007 }, keys: { prod: { key: ACME } } }, \
            zen: { account: second, prices: { default: 0.005 }, keys: { prod: { key: ZEN } } }",
        ..Setup::default()
    };
    let mut world = World::start_at(setup, canned.address).await;
    assert_eq!([world.submit(ACME, "").await, world.submit(ZEN, "").await], ["77", "77"]);
    let mut client = world.client().await;
    let get2 = poll(ACME, "77").replace("action=get", "action=get2");
    client.send(get(&get2).as_bytes()).await;
    until("the poll is held", || canned.polls() > 1).await;

    let moved = "acme: { account: main, prices: { default: 0.007 } }, \
        zen: { account: second, prices: { default: 0.005 }, keys: { prod: { key: ZEN }, old: { key: ACME } } }";
    reload(&mut world, moved).await;
    let polls = canned.polls();
    until("it is asked for its new tenant", || canned.polls() > polls + 1).await;
    canned.poll(200, "text/plain", b"OK|b");

    assert_eq!(client.answer().await.text(), "OK|b|0.005");
    until("it is charged", || world.tenant("zen").day_solves == 1).await;
    assert_eq!(
        (world.tenant("zen").spent.micros(), world.tenant("acme").spent.micros()),
        (5_000, 0)
    );
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_not_allowed_any_more_gets_nothing_of_a_held_poll() {
    let mut world = world().await;
    let id = world.submit(ACME, "solve=3s").await;
    let mut client = held(&world, &id).await;

    let tenants = "acme: { keys: { prod: { key: ACME, allow_from: [192.0.2.1] } } }";
    reload(&mut world, tenants).await;

    assert_eq!(client.answer().await.text(), "ERROR_IP_NOT_ALLOWED");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_replaced_at_once_gets_nothing_of_a_held_poll() {
    let world = world().await;
    let id = world.submit(ACME, "solve=3s").await;
    let mut client = held(&world, &id).await;

    let note = serde_json::json!({ "note": "ann: leaked" });
    Api::of(world.app().admin).post("/tenants/acme/keys/prod/reroll", &note).await.of(201);

    assert_eq!(client.answer().await.text(), "ERROR_KEY_DOES_NOT_EXIST");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_gone_is_refused_as_any_poll_with_it() {
    let tenants = "acme: { rejections: http, keys: { prod: { key: ACME } } }";
    let upstream = "poll_spacing: 100ms, hold_polls: 4s";
    let mut world = World::start(Setup { upstream, tenants, ..Setup::default() }).await;
    let id = world.submit(ACME, "solve=3s").await;
    let mut client = held(&world, &id).await;

    reload(&mut world, "acme: { rejections: http }").await;

    let refused = client.answer().await;
    let any = world.poll(ACME, &id).await;
    assert_eq!((refused.status, refused.text()), (any.status, any.text()));
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_delays_no_held_poll_beyond_what_clients_wait() {
    let world = world().await;
    let id = world.submit(ACME, "never").await;
    let begin = Instant::now();
    let mut client = held(&world, &id).await;
    until("it was held for a while", || begin.elapsed() > Duration::from_secs(3)).await;
    world.control().add_faults([FaultRule::new(Operation::Poll, Fault::Hang)]);

    assert_eq!(client.answer().await.text(), NOT_READY);

    let took = begin.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(6), "{took:?}");
    world.control().clear_faults();
    let mut world = world;
    world.take_app().stop(Duration::from_millis(100)).await.unwrap();
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_held_polls_go() {
    // Asked once, it waits for nearly all of its time.
    let upstream = "poll_spacing: 3900ms, hold_polls: 4s";
    let world = World::without_sidecar(Setup { upstream, ..Setup::default() });
    let sidecar = Sidecar::start(&world.write_config()).unwrap();
    let mut client = Client::connect(sidecar.data).await;
    let id = client.get(&crate::support::client::submission(ACME, "never")).await.id();
    let begin = Instant::now();
    client.send(get(&poll(ACME, &id)).as_bytes()).await;
    until("the provider was asked", || asked_at(&world, &id).len() == 1).await;

    sidecar.signal("TERM");

    assert_eq!(client.answer().await.text(), NOT_READY);
    assert!(begin.elapsed() < Duration::from_millis(3_800), "{:?}", begin.elapsed());
    assert!(client.is_closed().await);
    sidecar.stop();
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_no_poll_is_held() {
    let upstream = "poll_spacing: 100ms";
    let world = World::start(Setup { upstream, ..Setup::default() }).await;
    let id = world.submit(ACME, "never").await;

    assert_eq!(world.poll(ACME, &id).await.text(), NOT_READY);
    assert_eq!(asked_at(&world, &id).len(), 1);
    world.close(0).await;
}
