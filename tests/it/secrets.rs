//! The canary after a mix of everything: no key in any log line of any level, metric, admin answer,
//! file or answer. (Every other test looks as well, at its end.)

use std::time::Duration;

use solvegate::simulate::{AccountChange, Down, Fault, FaultRule, Operation};

use crate::support::client::{get, poll, post, submission};
use crate::support::{ACCOUNT, ACME, Client, Setup, TOKEN, World, ZEN, secrets};

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_found_anywhere_after_a_mix_of_everything() {
    let rest = format!(
        "log: {{ urls: whole }}\nadmin: {{ listen: '127.0.0.1:0', token: {TOKEN} }}\n\
         slo: {{ default: {{ deadline: 2s }} }}"
    );
    let setup = Setup {
        upstream: "poll_spacing: 0s, submit_timeout: 600ms, poll_timeout: 300ms, forget_after: 2s",
        rest,
        ..Setup::default()
    };
    let mut world = World::start(setup).await;
    let good = world.submit(ACME, "answer=a").await;
    assert_eq!(world.poll_to_end(ACME, &good).await.text(), "OK|a");
    odd_requests(&world).await;
    for operation in [Operation::Submit, Operation::Poll, Operation::Report] {
        faults(&world, operation, &good).await;
    }
    world.control().down(Down::Reset).await;
    for _ in 0..6 {
        world.get(&submission(ACME, "")).await;
        world.poll(ACME, &good).await;
    }
    world.control().up().await.unwrap();
    let invalid =
        AccountChange { key: ACCOUNT.to_owned(), valid: Some(false), ..AccountChange::default() };
    world.control().change_account(&invalid);
    world.get(&submission(ZEN, "")).await;
    world.setup.tenants = "acme: { daily_limit: x, keys: { prod: { key: ACME, sha256: ZEN } } }";
    world.write_config();
    admin_answers(&world).await;
    world.setup.tenants = Setup::default().tenants;
    world.restart().await;
    admin_answers(&world).await;

    let (logged, leaked) = secrets::logged();

    assert!(logged > 10_000, "the log is watched: {logged} bytes");
    assert!(leaked.is_empty(), "the log holds a key: {leaked:#?}");
    let app = world.take_app();
    let shown = format!("{app:?} {:?}", app.gate());
    assert!(!secrets::holds_key(shown.as_bytes()), "Debug shows a key");
    app.stop(Duration::from_secs(1)).await.unwrap();
    world.close(1).await;
}

async fn odd_requests(world: &World) {
    for target in [
        format!("/{ACME}"),
        format!("/{ACCOUNT}/createTask?key={ACCOUNT}"),
        format!("/t/{ACME}/in.php?key={ACME}"),
        submission(ACCOUNT, ""),
        submission(TOKEN, ""),
        format!("/in.php?key={ACME}&key={ZEN}"),
        format!("/res.php?key={ACME}&action={ZEN}"),
        format!("/res.php?key={ACME}&action=get&id={ZEN}"),
        format!("/in.php?key={ACME}&method={ACME}"),
        format!("/res.php?key={ACME}&{ACME}={ACME}&action=threadsinfo"),
    ] {
        world.get(&target).await;
        world.get(&format!("{target}&json=1")).await;
    }
    for body in
        [format!("{{\"key\":\"{ACME}\""), format!("--{ACME}\r\n"), format!("key={ACME}&%%%")]
    {
        for content_type in ["application/json", "multipart/form-data; boundary=x", ACME] {
            let mut client = world.client().await;
            client.send(&post("/in.php", content_type, body.as_bytes())).await;
            client.answer().await;
        }
    }
    let mut client = world.client().await;
    client.send(format!("GET /in.php?key={ACME} HTTP/9.9\r\n\r\n").as_bytes()).await;
    client.maybe_answer().await;
}

async fn faults(world: &World, operation: Operation, good: &str) {
    for fault in [
        Fault::Hang,
        Fault::ResetBefore,
        Fault::HttpStatus(502),
        Fault::Redirect,
        Fault::Garbage,
        Fault::Code("ERROR_NEVER_HEARD_OF".to_owned()),
    ] {
        world.control().clear_faults();
        world.control().add_faults([FaultRule::new(operation, fault).times(1)]);
        let answer = world.get(&submission(ACME, "never")).await;
        if answer.text().starts_with("OK|") {
            world.poll(ACME, &answer.id()).await;
        }
        world.get(&format!("/res.php?key={ACME}&action=reportbad&id={good}")).await;
        let mut hasty = world.client().await;
        hasty.send(get(&poll(ACME, good)).as_bytes()).await;
        hasty.reset();
    }
    world.control().clear_faults();
}

async fn admin_answers(world: &World) {
    for target in ["/metrics", "/healthz", "/readyz", "/", "/api/v1/config"] {
        for token in [TOKEN, ACME] {
            let mut client = Client::connect(world.app().admin).await;
            let line = format!("Authorization: Bearer {token}\r\nHost: ");
            client.send(get(target).replacen("Host: ", &line, 1).as_bytes()).await;
            client.answer().await;
        }
    }
    let reload = format!(
        "POST /-/reload HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n"
    );
    let answer = world.admin(&reload).await;
    assert!([200, 422].contains(&answer.status), "{answer:?}");
}
