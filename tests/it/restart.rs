//! A sidecar that is stopped and started again on the same record goes on where it was.

use solvegate::domain::outcome::Outcome;
use solvegate::simulate::Operation;

use crate::support::client::{get, poll};
use crate::support::usual::submit_large;
use crate::support::{ACCOUNT, ACME, Client, Setup, World, ZEN, until, until_it};

#[tokio::test(flavor = "multi_thread")]
async fn open_and_settled_tasks_survive_a_restart() {
    let mut world = World::start(Setup::default()).await;
    let open = world.submit(ACME, "answer=open&solve=500ms").await;
    let never = world.submit(ACME, "never").await;
    let settled = world.submit(ACME, "answer=settled").await;
    let failed = world.submit(ACME, "error=ERROR_CAPTCHA_UNSOLVABLE").await;
    world.poll_to_end(ACME, &settled).await;
    world.poll_to_end(ACME, &failed).await;
    until("one is charged", || world.tenant("acme").day_solves == 1).await;
    let before = world.tenant("acme");

    world.restart().await;

    assert_eq!(world.tenant("acme"), before, "limits, holds and money are as they were");
    assert_eq!(world.poll(ACME, &never).await.text(), "CAPCHA_NOT_READY");
    assert_eq!(world.poll_to_end(ACME, &open).await.text(), "OK|open");
    assert_eq!(world.poll_to_end(ACME, &settled).await.text(), "OK|settled");
    assert_eq!(world.poll_to_end(ACME, &failed).await.text(), "ERROR_CAPTCHA_UNSOLVABLE");
    assert_eq!(world.poll(ZEN, &open).await.text(), "ERROR_WRONG_CAPTCHA_ID");
    until("two are charged", || world.tenant("acme").day_solves == 2).await;
    world.restart().await;
    assert_eq!(world.poll_to_end(ACME, &open).await.text(), "OK|open");
    assert_eq!(world.tenant("acme").day_solves, 2);
    assert_eq!(world.solves().len(), 3, "one row for each solve that came to an end");
    world.close(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_ready_is_charged_when_it_is_polled_again() {
    let setup = Setup { rest: "slo: { default: { deadline: 1s } }".to_owned(), ..Setup::default() };
    let mut world = World::start(setup).await;
    let late = world.submit(ACME, "solve=1500ms&answer=late").await;
    until("it timed out", || world.solves().iter().any(|s| s.outcome == Some(Outcome::Timeout)))
        .await;

    world.restart().await;

    assert_eq!(world.poll_to_end(ACME, &late).await.text(), "OK|late");
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_account_is_gone_is_given_up_at_its_deadline() {
    let account = |name: &str| {
        format!(
            "accounts: {{ {name}: {{ key: {ACCOUNT} }} }}\n\
             tenants: {{ acme: {{ keys: {{ prod: {{ key: {ACME} }} }} }} }}\n\
             slo: {{ default: {{ deadline: 3s }} }}"
        )
    };
    let setup = Setup { tenants: "", rest: account("main"), ..Setup::default() };
    let mut world = World::start(setup).await;
    let id = world.submit(ACME, "answer=lost").await;
    world.setup.rest = account("renamed");

    world.restart().await;

    // What was open at a restart has 30 s at the least.
    assert_eq!(world.poll(ACME, &id).await.text(), "CAPCHA_NOT_READY");
    until_it("it is given up", async || {
        world.poll(ACME, &id).await.text() == "ERROR_CAPTCHA_UNSOLVABLE"
    })
    .await;
    assert!(world.received(Operation::Poll).is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_on_its_way_is_charged_once() {
    let mut world = World::start(Setup::default()).await;
    let id = submit_large(&world).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = Client::over(socket.connect(world.app().data).await.unwrap());
    client.send(get(&poll(ACME, &id)).as_bytes()).await;
    until("the answer is on its way", || world.tenant("acme").in_flight == 0).await;
    assert_eq!(world.tenant("acme").open, 1);

    let app = world.take_app();
    app.stop(std::time::Duration::from_millis(100)).await.unwrap();
    client.reset();
    world.open().await;

    assert_eq!(world.tenant("acme").open, 1, "not confirmed, so not charged yet");
    assert!(world.poll_to_end(ACME, &id).await.text().starts_with("OK|aaa"));
    world.settled().await;
    world.poll_to_end(ACME, &id).await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watcher_settles_what_was_abandoned_before_a_restart() {
    let setup = Setup { rest: "charge: solved".to_owned(), ..Setup::default() };
    let mut world = World::start(setup).await;
    for number in 0..40 {
        world.submit(ACME, &format!("answer=number{number}")).await;
    }

    world.restart().await;

    world.settled().await;
    assert_eq!(world.received(Operation::Poll).len(), 40, "each is asked about once");
    world.close(40).await;
}
