//! Money: charged once per delivered answer, and for nothing else.

use std::time::Duration;

use solvegate::domain::outcome::Outcome;
use solvegate::simulate::{Fault, FaultRule, Operation};
use tokio::io::AsyncWriteExt as _;

use crate::support::client::{get, poll, post, submission};
use crate::support::usual::{LARGE, URLENCODED, form, submit_large};
use crate::support::world::is_idle;
use crate::support::{ACME, Client, Setup, World, ZEN, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_polls_of_a_solved_task_are_one_charge() {
    let world = World::start(Setup::default()).await;
    let id = world.submit(ACME, "solve=0s").await;
    let mut client = world.client().await;
    let first = client.get(&poll(ACME, &id)).await;

    for _ in 0..1_000 {
        assert_eq!(client.get(&poll(ACME, &id)).await.body, first.body);
    }

    assert!(first.text().starts_with("OK|"), "{first:?}");
    assert_eq!(world.received(Operation::Poll).len(), 1, "answered from memory");
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_at_the_same_time_are_one_charge() {
    let world = World::start(Setup::default()).await;
    let id = world.submit(ACME, "solve=300ms").await;

    let polls = (0..64).map(|_| world.poll_to_end(ACME, &id));
    let answers = futures_util::future::join_all(polls).await;

    for answer in &answers {
        assert_eq!(answer.text(), answers[0].text());
        assert!(answer.text().starts_with("OK|"), "{answer:?}");
    }
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsolvable_task_costs_nothing() {
    let world = World::start(Setup::default()).await;
    let id = world.submit(ACME, "error=ERROR_CAPTCHA_UNSOLVABLE").await;

    for _ in 0..3 {
        assert_eq!(world.poll_to_end(ACME, &id).await.text(), "ERROR_CAPTCHA_UNSOLVABLE");
    }

    world.settled().await;
    assert_eq!(world.tenant("acme").spent.micros(), 0);
    world.close(0).await;
}

/// A client whose poll is with the provider, who answers after `delay`; and the task that it asks for.
async fn waiting(world: &World, delay: Duration) -> (Client, String) {
    let id = world.submit(ACME, "solve=0s").await;
    let delay = FaultRule::new(Operation::Poll, Fault::Delay(delay)).times(1);
    world.control().add_faults([delay]);
    let mut client = world.client().await;
    client.send(get(&poll(ACME, &id)).as_bytes()).await;
    until("the provider was asked", || world.received(Operation::Poll).len() == 1).await;
    (client, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_side_before_the_answer_is_let_go_uncharged() {
    let world = World::start(Setup::default()).await;
    let (mut client, id) = waiting(&world, Duration::from_secs(2)).await;
    client.stream.shutdown().await.unwrap();
    let end = client.maybe_answer().await;
    assert!(end.is_none(), "answered and charged, though nobody may read it: {end:?}");
    assert_eq!(world.tenant("acme").spent.micros(), 0);

    assert!(world.poll_to_end(ACME, &id).await.text().starts_with("OK|"));
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_sends_while_it_waits_is_answered_next() {
    let world = World::start(Setup::default()).await;
    let (mut client, _) = waiting(&world, Duration::from_millis(500)).await;
    // More than is read ahead of its turn, and in two pieces.
    let next = post("/in.php", URLENCODED, form(5_000).as_bytes());
    client.send(&next[..100]).await;
    client.send(&next[100..]).await;

    assert!(client.answer().await.text().starts_with("OK|"));
    let second = client.answer().await.id();
    assert_eq!(world.poll_to_end(ACME, &second).await.body.len(), 3 + 5_000);
    world.settled().await;
    world.close(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_charged_only_when_it_comes_back() {
    let world = World::start(Setup::default()).await;
    let id = submit_large(&world).await;

    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = Client::over(socket.connect(world.app().data).await.unwrap());
    client.send(get(&poll(ACME, &id)).as_bytes()).await;
    until("the provider was asked", || world.received(Operation::Poll).len() == 1).await;
    until("the answer is on its way", || world.tenant("acme").in_flight == 0).await;
    assert_eq!(world.tenant("acme").spent.micros(), 0, "charged before it was read");
    client.reset();
    until("the offer is taken back", || world.snapshot().open == 1).await;
    assert_eq!(world.tenant("acme").spent.micros(), 0);

    let answer = world.poll(ACME, &id).await;
    assert_eq!(answer.body.len(), 3 + LARGE);
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_that_is_read_slowly_is_charged_at_its_end() {
    let world = World::start(Setup::default()).await;
    let id = submit_large(&world).await;

    let answer = world.poll(ACME, &id).await;

    assert_eq!(answer.body.len(), 3 + LARGE);
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_after_the_deadline_is_charged_once() {
    let setup = Setup { rest: "slo: { default: { deadline: 1s } }".to_owned(), ..Setup::default() };
    let world = World::start(setup).await;
    let id = world.submit(ACME, "solve=2s").await;
    until("it timed out", || world.solves().iter().any(|s| s.outcome == Some(Outcome::Timeout)))
        .await;
    assert_eq!(world.tenant("acme").in_flight, 0, "the slot is free at the deadline");
    assert_eq!(world.tenant("acme").open, 1, "the money is held on");

    let answer = world.poll_to_end(ACME, &id).await;
    let again = world.poll(ACME, &id).await;

    assert!(answer.text().starts_with("OK|"));
    assert_eq!(answer.body, again.body);
    world.settled().await;
    assert_eq!(world.solves().len(), 1);
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_solve_with_a_pingback_is_settled_by_the_watcher() {
    let world = World::start(Setup::default()).await;
    let target = format!("{}&pingback=http://127.0.0.1:9/back", submission(ACME, "solve=0s"));
    world.get(&target).await.id();

    world.settled().await;

    assert_eq!(world.received(Operation::Poll).len(), 1);
    assert!(world.solves()[0].delivered);
    world.close(1).await;
}

/// Nobody calls back about it: what did not reach its client was not delivered.
#[tokio::test(flavor = "multi_thread")]
async fn a_pingback_of_a_solve_that_is_answered_at_once_means_nothing() {
    let world = World::start(Setup::default()).await;
    let target = submission(ACME, "solve=500ms").replace("/in.php", "/solve.php");
    let mut gone = world.client().await;
    gone.send(get(&format!("{target}&pingback=http://127.0.0.1:9/back")).as_bytes()).await;
    until("the provider has it", || world.received(Operation::Solve).len() == 1).await;

    gone.reset();

    until("it is over", || is_idle(&world.snapshot())).await;
    world.settled().await;
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_before_the_provider_accepts_leaks_nothing() {
    let world = World::start(Setup::default()).await;
    for (fault, reset) in [
        (Fault::Delay(Duration::from_millis(300)), true),
        (Fault::Delay(Duration::from_millis(300)), false),
        (Fault::Code("ERROR_PAGEURL".to_owned()), true),
        (Fault::ResetBefore, false),
        (Fault::HttpStatus(502), true),
    ] {
        let before = world.received(Operation::Submit).len();
        world.control().add_faults([FaultRule::new(Operation::Submit, fault).times(1)]);
        let mut client = world.client().await;
        client.send(get(&submission(ACME, "error=ERROR_CAPTCHA_UNSOLVABLE")).as_bytes()).await;
        until("it was forwarded", || world.received(Operation::Submit).len() > before).await;
        if reset { client.reset() } else { drop(client) }
    }

    until("all were answered by the provider", || world.control().tasks().len() == 2).await;
    until("both are bound", || world.tenant("acme").open == 2).await;
    for task in world.control().tasks() {
        assert_eq!(world.poll_to_end(ACME, &task.id).await.text(), "ERROR_CAPTCHA_UNSOLVABLE");
    }
    world.settled().await;
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_get2_are_charged_task_by_task() {
    let world = World::start(Setup::default()).await;
    let mut ids = Vec::new();
    for wish in ["answer=one", "never", "error=ERROR_CAPTCHA_UNSOLVABLE", "answer=four"] {
        ids.push(world.submit(ACME, wish).await);
    }
    let foreign = world.submit(ZEN, "answer=foreign").await;
    let list = format!("{},{},{},{foreign},{},77", ids[0], ids[1], ids[2], ids[3]);

    let target = format!("/res.php?key={ACME}&action=get&ids={list}");
    let text = world.get(&target).await.text();
    assert_eq!(
        text,
        "one|CAPCHA_NOT_READY|ERROR_CAPTCHA_UNSOLVABLE|ERROR_WRONG_CAPTCHA_ID|four|ERROR_WRONG_CAPTCHA_ID"
    );
    let repeated = format!("/res.php?key={ACME}&action=get&ids={0},{0},{0}", ids[0]);
    assert_eq!(world.get(&repeated).await.text(), "one|one|one");
    assert_eq!(world.get(&format!("{target}&json=1")).await.text().matches("one|").count(), 1);

    let own = world.submit(ACME, "answer=two").await;
    let price = world.get(&format!("/res.php?key={ACME}&action=get2&id={own}")).await;
    assert_eq!(price.text(), "OK|two|0.003");
    let not_ready = world.get(&format!("/res.php?key={ACME}&action=get2&id={}", ids[1])).await;
    assert_eq!(not_ready.text(), "CAPCHA_NOT_READY");
    until("three are charged", || world.tenant("acme").day_solves == 3).await;
    assert_eq!(world.tenant("zen").day_solves, 0);
    world.close(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_charged_although_the_rest_of_its_reply_is_never_read() {
    let world = World::start(Setup::default()).await;
    for form in ["", "&json=1"] {
        let charged = world.tenant("acme").day_solves;
        let (wanted, large) =
            (world.submit(ACME, "answer=wanted").await, submit_large(&world).await);
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut client = Client::over(socket.connect(world.app().data).await.unwrap());
        let target = format!("/res.php?key={ACME}&action=get&ids={wanted},{large}{form}");
        client.send(get(&target).as_bytes()).await;

        until("what the client has is charged", || world.tenant("acme").day_solves == charged + 1)
            .await;
        client.reset();

        until("the rest is not", || world.tenant("acme").open == 1).await;
        assert_eq!(world.poll(ACME, &large).await.body.len(), 3 + LARGE);
        world.settled().await;
        assert_eq!(world.tenant("acme").day_solves, charged + 2);
    }
    world.close(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_solve_is_charged_when_its_client_got_it() {
    let world = World::start(Setup::default()).await;
    let mut client = world.client().await;
    let answer = client.post("/solve.php", "multipart/form-data; boundary=b", &image(ACME)).await;

    assert!(answer.text().starts_with("OK|"), "{answer:?}");
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_solve_whose_client_left_costs_nothing() {
    let setup = Setup {
        rest: "slo: { default: { deadline: 2s } }".to_owned(),
        upstream: "poll_spacing: 0s, forget_after: 2s",
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let delay = Fault::Delay(Duration::from_millis(500));
    world.control().add_faults([FaultRule::new(Operation::Solve, delay)]);

    for reset in [true, false] {
        let before = world.received(Operation::Solve).len();
        let mut client = world.client().await;
        client.send(&post("/solve.php", "multipart/form-data; boundary=b", &image(ACME))).await;
        until("it was forwarded", || world.received(Operation::Solve).len() > before).await;
        if reset { client.reset() } else { drop(client) }
    }

    until("both are solved", || world.solves().iter().filter(|s| s.outcome.is_some()).count() == 2)
        .await;
    until("the threads are free", || world.tenant("acme").in_flight == 0).await;
    world.settled().await;
    world.close(0).await;
}

fn image(key: &str) -> Vec<u8> {
    let mut body = format!(
        "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n{key}\r\n\
         --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(&[0x89; 2_000]);
    body.extend_from_slice(b"\r\n--b--\r\n");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_the_provider_gave_before_is_handed_to_nobody_else() {
    let world = World::start(Setup::default()).await;
    let id = world.submit(ACME, "answer=mine").await;
    world.control().add_faults([FaultRule::new(Operation::Submit, Fault::DuplicateId).times(2)]);

    for key in [ZEN, ACME] {
        let answer = world.get(&submission(key, "answer=yours")).await;
        assert_eq!(answer.text(), "ERROR_SERVER_ERROR", "{answer:?}");
    }

    assert_eq!(world.poll(ZEN, &id).await.text(), "ERROR_WRONG_CAPTCHA_ID");
    assert_eq!(world.poll_to_end(ACME, &id).await.text(), "OK|mine");
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_task_does_not_exist() {
    let world = World::start(Setup::default()).await;
    let id = world.submit(ACME, "answer=mine").await;

    for action in ["get", "get2", "reportgood", "reportbad"] {
        let answer = world.get(&format!("/res.php?key={ZEN}&action={action}&id={id}")).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "ERROR_WRONG_CAPTCHA_ID"),
            "{action}"
        );
        let unknown = world.get(&format!("/res.php?key={ZEN}&action={action}&id=123")).await;
        assert_eq!(unknown, answer, "{action}: nothing tells the two apart");
    }

    assert_eq!(world.received(Operation::Poll).len() + world.received(Operation::Report).len(), 0);
    world.poll_to_end(ACME, &id).await;
    let report = world.get(&format!("/res.php?key={ACME}&action=reportbad&id={id}")).await;
    assert_eq!(report.text(), "OK_REPORT_RECORDED");
    world.settled().await;
    world.close(1).await;
}
