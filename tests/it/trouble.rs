//! Trouble with the account or the provider: no storm towards it, no word of it to tenants.

use std::time::{Duration, Instant};

use solvegate::domain::money::Money;
use solvegate::simulate::{
    AccountChange, AccountOptions, Down, Fault, FaultRule, Operation, Options,
};

use crate::support::client::{poll, submission};
use crate::support::usual::URLENCODED;
use crate::support::{ACCOUNT, ACME, Setup, World, ZEN, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_account_key_stops_everything_at_the_first_error() {
    let world = World::start(Setup::default()).await;
    let id = world.submit(ACME, "answer=a").await;
    until("the account was asked about", || world.received(Operation::Balance).len() == 1).await;
    let since = world.control().last_logged();
    let invalid =
        AccountChange { key: ACCOUNT.to_owned(), valid: Some(false), ..AccountChange::default() };
    world.control().change_account(&invalid);

    for round in 0..10 {
        let answer = world.get(&format!("{}&json=1", submission(ZEN, ""))).await;
        let seen = (answer.text().contains(r#""request":"ERROR_ZERO_BALANCE""#), answer.reason());
        assert_eq!(seen, (true, "account_unavailable"), "{round}: {answer:?}");
        assert_eq!(world.poll(ACME, &id).await.text(), "CAPCHA_NOT_READY");
        let report = world.get(&format!("/res.php?key={ACME}&action=reportbad&id={id}")).await;
        assert!(!report.text().contains("KEY"), "{report:?}");
        let mut client = world.client().await;
        let solve = format!("key={ZEN}&method=base64&body=aGk=");
        let solved = client.post("/solve.php", URLENCODED, solve.as_bytes()).await;
        assert_eq!(solved.reason(), "account_unavailable");
    }

    let asked = world.control().log(since);
    assert_eq!(asked.len(), 1, "a wrong key is tried once, else the address is banned: {asked:#?}");
    let threads = world.get(&format!("/res.php?key={ZEN}&action=threadsinfo")).await.text();
    assert!(threads.contains(r#""working_threads":0"#), "the SDK must not wait: {threads}");
    assert!(!world.snapshot().accounts[0].up);
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_that_a_poll_or_a_report_meets_stops_submissions_too() {
    for operation in [Operation::Poll, Operation::Report] {
        let world = World::start(Setup::default()).await;
        let id = world.submit(ACME, "answer=a").await;
        until("the account was asked about", || world.received(Operation::Balance).len() == 1)
            .await;
        let invalid = AccountChange {
            key: ACCOUNT.to_owned(),
            valid: Some(false),
            ..AccountChange::default()
        };
        world.control().change_account(&invalid);
        let action = if operation == Operation::Poll { "get" } else { "reportgood" };

        let answer = world.get(&format!("/res.php?key={ACME}&action={action}&id={id}")).await;

        assert!(!answer.text().contains("KEY"), "{answer:?}");
        let since = world.control().last_logged();
        assert_eq!(world.get(&submission(ACME, "")).await.reason(), "account_unavailable");
        assert_eq!(world.traffic(since).len(), 0);
        world.close(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_opens_on_a_dead_provider_and_closes_when_it_is_back() {
    let world = World::start(Setup::default()).await;
    let id = world.submit(ACME, "answer=a").await;
    let control = world.control();
    control.down(Down::Refuse).await;
    // Five in a row; what was under way before may still succeed and start the count anew.
    for asked in 0.. {
        let answer = world.get(&submission(ACME, "answer=a")).await;
        assert_eq!(
            (answer.text().as_str(), answer.reason()),
            ("ERROR_SERVER_ERROR", "upstream_unavailable")
        );
        if asked >= 4 && world.snapshot().upstream_open {
            break;
        }
        assert!(asked < 20, "never open");
    }
    let started = Instant::now();
    let answer = world.get(&submission(ACME, "answer=a")).await;
    assert_eq!((answer.status, answer.reason()), (200, "upstream_unavailable"));
    assert!(answer.header("retry-after").is_some());
    for _ in 0..20 {
        let polled = world.poll(ACME, &id).await;
        assert_eq!((polled.status, polled.text().as_str()), (200, "CAPCHA_NOT_READY"));
    }
    assert!(started.elapsed() < Duration::from_secs(2), "answered without asking");

    control.up().await.unwrap();
    assert_eq!(world.poll_to_end(ACME, &id).await.text(), "OK|a");
    assert!(!world.snapshot().upstream_open);
    let next = world.submit(ACME, "answer=b").await;
    assert_eq!(world.poll_to_end(ACME, &next).await.text(), "OK|b");
    world.settled().await;
    world.close(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_threads_or_money_refuses_before_the_provider_does() {
    let without_threads = AccountOptions { threads: 0, ..AccountOptions::new(ACCOUNT) };
    let without_money = AccountOptions { balance: Money::ZERO, ..AccountOptions::new(ACCOUNT) };
    for account in [without_threads, without_money] {
        let setup = Setup::default();
        let provider = Options { accounts: vec![account], ..setup.provider.clone() };
        let world = World::start(Setup { provider, account: "threads: auto", ..setup }).await;
        until("the account was asked about", || world.snapshot().accounts[0].balance.is_some())
            .await;

        let answer = world.get(&submission(ACME, "")).await;

        assert_eq!(
            (answer.text().as_str(), answer.reason()),
            ("ERROR_ZERO_BALANCE", "account_unavailable")
        );
        assert!(world.received(Operation::Submit).is_empty());
        world.close(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_threads_bound_all_tenants_together() {
    let setup = Setup::default();
    let provider = Options {
        accounts: vec![AccountOptions { threads: 2, ..AccountOptions::new(ACCOUNT) }],
        ..setup.provider.clone()
    };
    let world = World::start(Setup { provider, account: "threads: auto", ..setup }).await;
    until("the account was asked about", || world.snapshot().accounts[0].threads.is_some()).await;
    world.submit(ACME, "never").await;
    let id = world.submit(ZEN, "answer=a").await;

    let answer = world.get(&submission(ZEN, "")).await;
    assert_eq!((answer.text().as_str(), answer.reason()), ("ERROR_NO_SLOT_AVAILABLE", "in_flight"));

    world.poll_to_end(ZEN, &id).await;
    world.submit(ZEN, "never").await;
    assert_eq!(world.received(Operation::Submit).len(), 3);
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_is_never_sent_twice() {
    let world = World::start(Setup::default()).await;
    let warm = world.submit(ACME, "never").await;
    let faults =
        [Fault::Refuse, Fault::ResetBefore, Fault::HalfHeader, Fault::HalfBody, Fault::Garbage];
    for (number, fault) in faults.into_iter().enumerate() {
        // A pooled connection is at hand, so that a retry would be tempting.
        world.get(&poll(ACME, &warm)).await;
        world.control().clear_faults();
        world
            .control()
            .add_faults([FaultRule::new(Operation::Submit, fault.clone()).after().times(1)]);

        let answer = world.get(&submission(ACME, "never")).await;

        assert_eq!(answer.text(), "ERROR_SERVER_ERROR", "{fault:?}");
        assert_eq!(world.received(Operation::Submit).len(), 2 + number, "{fault:?}");
    }
    world.close(0).await;
}

/// Sixty submissions within three seconds bring it on, for ten seconds: it is about how fast we ask, not
/// about the account, and it is over by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_finds_us_too_fast_costs_nothing_and_holds_nothing_back() {
    let rest = "shutdown_grace: 1s".to_owned();
    let world = World::start(Setup { rest, ..Setup::default() }).await;
    let id = world.submit(ACME, "answer=a").await;
    let too_fast = |operation, times| {
        FaultRule::new(operation, Fault::Code("MAX_USER_TURN".to_owned())).times(times)
    };
    world.control().add_faults([too_fast(Operation::Submit, 20), too_fast(Operation::Poll, 1)]);

    for round in 0..20 {
        let answer = world.get(&submission(ZEN, "")).await;
        assert_eq!((answer.text().as_str(), answer.reason()), ("MAX_USER_TURN", "none"), "{round}");
    }

    let threads = world.get(&format!("/res.php?key={ZEN}&action=threadsinfo")).await.text();
    assert!(threads.contains(r#""threads":1000,"working_threads":1000"#), "wait: {threads}");
    let seen = world.snapshot();
    assert!(seen.accounts[0].up && !seen.upstream_open, "neither the key nor the provider failed");
    let zen = world.tenant("zen");
    assert_eq!((zen.in_flight, zen.held), (0, Money::ZERO));
    assert_eq!(world.poll(ACME, &id).await.text(), "CAPCHA_NOT_READY");
    assert_eq!(world.poll_to_end(ACME, &id).await.text(), "OK|a");
    let next = world.submit(ZEN, "answer=b").await;
    assert_eq!(world.poll_to_end(ZEN, &next).await.text(), "OK|b");
    world.settled().await;
    world.close(2).await;
}
