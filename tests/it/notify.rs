//! Notices to webhooks over real sockets: each event in each form, once, and in nobody's way.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use solvegate::simulate::AccountChange;

use crate::support::client::{get, post, submission};
use crate::support::webhook::Webhook;
use crate::support::{ACCOUNT, ACME, BATCH, Setup, World, ZEN, until, until_it};

/// A solve costs 0.003 USD: two of them leave acme 0.004 and the key of zen nothing.
const TENANTS: &str = "acme: { daily_limit: 2, prepaid: { opening_balance: 0.01, \
    low_balance_below: 0.004 }, keys: { prod: { key: ACME } } }, \
    zen: { keys: { prod: { key: ZEN, prepaid: { opening_balance: 0.006 } } } }, \
    spare: { keys: { prod: { key: BATCH } } }";

fn setup(webhooks: &[(&Webhook, &str)]) -> Setup {
    let urls: Vec<_> = webhooks.iter().map(|(hook, more)| (hook.url(), *more)).collect();
    setup_at(&urls)
}

fn setup_at(webhooks: &[(String, &str)]) -> Setup {
    let webhooks = webhooks.iter().map(|(url, more)| format!("{{ url: '{url}'{more} }}"));
    let webhooks: Vec<_> = webhooks.collect();
    let rest = format!(
        "prices: {{ default: 0.003 }}\nslo: {{ default: {{ min_events: 1 }} }}\nnotify: [ {} ]",
        webhooks.join(", ")
    );
    Setup { tenants: TENANTS, rest, ..Setup::default() }
}

/// A running one that has looked at the state once: what was so before is no news.
async fn start(webhooks: &[(&Webhook, &str)]) -> World {
    start_with(setup(webhooks), webhooks.len()).await
}

async fn start_with(setup: Setup, webhooks: usize) -> World {
    let world = World::start(setup).await;
    let record = rusqlite::Connection::open(world.state().join("solvegate.db")).unwrap();
    let known = || {
        let count = "SELECT count(*) FROM notified WHERE about LIKE '% known'";
        record.query_row(count, [], |row| row.get::<_, isize>(0)).unwrap()
    };
    until("the first look is on record", || known() >= webhooks.cast_signed()).await;
    world
}

/// As often as the balance allows.
async fn spend(world: &World, key: &str) {
    for _ in 0..2 {
        let id = world.submit(key, "answer=a").await;
        assert_eq!(world.poll_to_end(key, &id).await.text(), "OK|a");
    }
    world.settled().await;
}

fn of_event(webhook: &Webhook, event: &str) -> Vec<Value> {
    webhook.bodies().into_iter().filter(|body| body["event"] == event).collect()
}

async fn until_counted(world: &World, event: &str, result: &str, wanted: u32) {
    let line =
        format!("solvegate_notifications_total{{event=\"{event}\",result=\"{result}\"}} {wanted}");
    let started = Instant::now();
    while !world.admin(&get("/metrics")).await.text().lines().any(|found| found == line) {
        assert!(started.elapsed() < Duration::from_secs(40), "never {line}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_posted_in_each_form() {
    let hooks = [Webhook::start().await, Webhook::start().await, Webhook::start().await];
    let world = start(&[
        (&hooks[0], ", cooldown: 0s"),
        (&hooks[1], ", cooldown: 0s, format: slack"),
        (&hooks[2], ", cooldown: 0s, format: discord"),
    ])
    .await;

    spend(&world, ACME).await;
    spend(&world, ZEN).await;
    let failing = world.submit(BATCH, "error=ERROR_CAPTCHA_UNSOLVABLE").await;
    world.poll_to_end(BATCH, &failing).await;
    let key = ACCOUNT.to_owned();
    let invalid = AccountChange { key, valid: Some(false), ..AccountChange::default() };
    world.control().change_account(&invalid);
    world.get(&submission(BATCH, "")).await;

    for (event, text, figures) in [
        (
            "low_balance",
            "tenant acme: balance 0.004 USD, at or below 0.004 USD",
            json!({ "tenant": "acme", "balance_usd": "0.004", "threshold_usd": "0.004" }),
        ),
        (
            "low_balance",
            "tenant zen, key prod: balance 0.00 USD: nothing is left",
            json!({ "tenant": "zen", "key": "prod", "balance_usd": "0.00", "threshold_usd": null }),
        ),
        (
            "allocation",
            "tenant acme: 100 % of daily_limit reached, 2 of 2 solves charged or open",
            json!({ "tenant": "acme", "limit": "daily_limit", "percent": 100, "used": 2, "of": 2 }),
        ),
        (
            "slo_status",
            "turnstile success: error budget exhausted (was healthy), -300.0 % of it left",
            json!({ "captcha_type": "turnstile", "slo": "success", "old": "healthy", "new": "exhausted" }),
        ),
        (
            "account",
            "account main is down: the provider refuses its key",
            json!({ "account": "main", "up": false, "why": "key_refused" }),
        ),
    ] {
        until(text, || hooks[0].bodies().iter().any(|body| body["text"] == text)).await;
        let body = hooks[0].bodies().into_iter().find(|body| body["text"] == text).unwrap();
        assert_eq!(body["event"], event);
        assert!(body["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{body}");
        for (name, value) in figures.as_object().unwrap() {
            assert_eq!(body[name], *value, "{name} of {body}");
        }
        let sentence = format!("Solvegate: {text}");
        let has = |hook: &Webhook, field| hook.bodies().iter().any(|b| b[field] == *sentence);
        until("slack has it", || has(&hooks[1], "text")).await;
        until("discord has it", || has(&hooks[2], "content")).await;
    }
    until_counted(&world, "account", "ok", 3).await;
    world.close(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_repeats_nothing_and_keeps_the_cooldown() {
    let hook = Webhook::start().await;
    let mut world = start(&[(&hook, ", events: [low_balance], cooldown: 1h")]).await;
    spend(&world, ACME).await;
    until("it is said", || hook.bodies().len() == 1).await;
    until_counted(&world, "low_balance", "ok", 1).await;

    world.restart().await;

    // Nothing is left of acme's now, which falls into its cooldown.
    let debit = json!({ "amount_usd": "-0.004", "kind": "adjustment", "note": "test" }).to_string();
    let request = post("/api/v1/tenants/acme/credits", "application/json", debit.as_bytes());
    let request = String::from_utf8(request).unwrap();
    let request = request.replacen("Host:", "Idempotency-Key: test\r\nHost:", 1);
    let answer = world.admin(&request).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    spend(&world, ZEN).await;
    until("zen's is said", || hook.bodies().len() > 1).await;
    let tenants: Vec<_> = hook.bodies().iter().map(|body| body["tenant"].clone()).collect();
    assert_eq!(tenants, ["acme", "zen"]);
    world.close(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_webhook_delays_neither_requests_nor_other_webhooks() {
    let (hanging, other) = (Webhook::start().await, Webhook::start().await);
    hanging.answer(None);
    let world = start(&[(&hanging, ""), (&other, "")]).await;
    spend(&world, ACME).await;
    until("it hangs", || !hanging.bodies().is_empty()).await;

    let started = Instant::now();
    spend(&world, ZEN).await;
    let solved = started.elapsed();
    until("the other has both", || of_event(&other, "low_balance").len() == 2).await;

    println!("two solves beside a hanging webhook: {solved:?}");
    assert!(solved < Duration::from_secs(4), "{solved:?}");
    let stopping = Instant::now();
    world.close(4).await;
    assert!(stopping.elapsed() < Duration::from_secs(8), "{:?}", stopping.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_webhook_that_a_reload_takes_away_is_given_up() {
    let (hanging, other, new) =
        (Webhook::start().await, Webhook::start().await, Webhook::start().await);
    hanging.answer(None);
    let mut world = start(&[(&hanging, ", cooldown: 0s"), (&other, ", cooldown: 0s")]).await;
    spend(&world, ACME).await;
    let waiting = || [of_event(&other, "low_balance").len(), of_event(&other, "allocation").len()];
    until("the other has some", || waiting() == [1, 1] && !hanging.bodies().is_empty()).await;

    world.setup.rest = setup(&[(&other, ", cooldown: 0s"), (&new, ", cooldown: 0s")]).rest;
    world.write_config();
    let reload = String::from_utf8(post("/-/reload", "", b"")).unwrap();
    assert_eq!(world.admin(&reload).await.status, 200);
    // By the kind that waits behind the one that hangs.
    let dropped = "result=\"dropped\"} 1";
    until_it("what waited is given up", async || {
        let metrics = world.admin(&get("/metrics")).await.text();
        metrics.lines().any(|it| it.contains("notifications_total") && it.ends_with(dropped))
    })
    .await;

    spend(&world, ZEN).await;
    until("the others go on", || of_event(&new, "low_balance").len() == 1).await;
    until("both of them", || of_event(&other, "low_balance").len() == 2).await;
    assert_eq!(of_event(&new, "allocation"), Vec::<Value>::new(), "a new one is told of changes");
    assert!(of_event(&hanging, "low_balance").iter().all(|it| it["tenant"] == "acme"));
    world.close(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shutdown_could_not_say_is_said_after_it() {
    let hook = Webhook::start().await;
    hook.answer(None);
    let mut world = start(&[(&hook, ", events: [low_balance], cooldown: 1h")]).await;
    spend(&world, ACME).await;
    until("it hangs", || hook.bodies().len() == 1).await;

    world.stop().await;
    hook.answer(Some(200));
    world.open().await;

    until("it is said", || hook.bodies().len() == 2).await;
    let tenants: Vec<_> = hook.bodies().iter().map(|body| body["tenant"].clone()).collect();
    assert_eq!(tenants, ["acme", "acme"]);
    until_counted(&world, "low_balance", "ok", 1).await;
    world.close(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
    for (status, tries) in [(503, 3), (429, 3), (400, 1), (307, 1)] {
        let hook = Webhook::start().await;
        hook.answer(Some(status));
        let world = start(&[(&hook, ", events: [low_balance]")]).await;
        spend(&world, ACME).await;

        until_counted(&world, "low_balance", "failed", 1).await;

        assert_eq!(hook.bodies().len(), tries, "{status}");
        let same = hook.bodies().windows(2).all(|pair| pair[0] == pair[1]);
        assert!(same, "{:#?}", hook.bodies());
        let waits = [1, 4].map(Duration::from_secs);
        assert!(hook.gaps().iter().zip(waits).all(|(gap, wait)| *gap >= wait), "{:?}", hook.gaps());
        until_counted(&world, "low_balance", "ok", 0).await;
        world.close(2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_given_the_time_that_it_asks_for() {
    let hook = Webhook::start().await;
    hook.answer(Some(429));
    hook.ask_for(3);
    let world = start(&[(&hook, ", events: [low_balance]")]).await;

    spend(&world, ACME).await;
    until("it is tried again", || hook.bodies().len() == 2).await;

    assert!(hook.gaps()[0] >= Duration::from_secs(3), "{:?}", hook.gaps());
    world.close(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_arrived_is_not_said_twice() {
    let hook = Webhook::start().await;
    hook.answer(None);
    let world = start(&[(&hook, ", events: [low_balance]")]).await;

    spend(&world, ACME).await;
    until_counted(&world, "low_balance", "failed", 1).await;

    assert_eq!(hook.bodies().len(), 1);
    world.close(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_cannot_be_reached_is_tried_for_a_while_and_not_named_whole() {
    let (_socket, url) = Webhook::unreachable();
    let world = start_with(setup_at(&[(url, ", events: [low_balance]")]), 1).await;
    let request = String::from_utf8(post("/api/v1/notify/test", "", b"")).unwrap();

    let answer = world.admin(&request).await;

    assert!(answer.text().contains("refused"), "{answer:?}");
    assert!(!answer.text().contains(Webhook::PATH), "{answer:?}");
    let started = Instant::now();
    spend(&world, ACME).await;
    until_counted(&world, "low_balance", "failed", 1).await;
    assert!(started.elapsed() >= Duration::from_secs(5), "{:?}", started.elapsed());
    world.close(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_takes_nothing_is_kept_so_many_notices_and_no_more() {
    const SAID: usize = 300;
    const KEPT: usize = 256;
    let tenants = |threshold: u8| {
        let tenant = |number: usize| {
            format!(
                "t{number}: {{ prepaid: {{ opening_balance: 5, low_balance_below: {threshold} }}, \
                 keys: {{}} }}"
            )
        };
        &*(0..SAID).map(tenant).collect::<Vec<_>>().join(", ").leak()
    };
    let hook = Webhook::start().await;
    hook.answer(None);
    let setup = setup(&[(&hook, ", events: [low_balance]")]);
    let mut world = start_with(Setup { tenants: tenants(4), ..setup }, 1).await;

    world.setup.tenants = tenants(6);
    world.write_config();
    let reload = String::from_utf8(post("/-/reload", "", b"")).unwrap();
    assert_eq!(world.admin(&reload).await.status, 200);
    let total = "solvegate_notifications_total{event=\"low_balance\",result=\"dropped\"} ";
    let dropped = async || {
        let metrics = world.admin(&get("/metrics")).await.text();
        let count = metrics.lines().find_map(|line| line.strip_prefix(total));
        count.unwrap().parse::<usize>().unwrap()
    };
    // One may be on its way already.
    until_it("what is too much is given up", async || dropped().await >= SAID - KEPT - 1).await;
    hook.answer(Some(200));

    until_it("each is said or given up", async || hook.bodies().len() + dropped().await == SAID)
        .await;
    assert!(dropped().await <= SAID - KEPT);
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_notice_says_of_each_webhook_whether_it_arrived() {
    let (good, bad) = (Webhook::start().await, Webhook::start().await);
    bad.answer(Some(404));
    let world = start(&[(&good, ""), (&bad, ", format: slack")]).await;
    let request = String::from_utf8(post("/api/v1/notify/test", "", b"")).unwrap();

    let answer = world.admin(&request).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.text().contains(Webhook::PATH), "{answer:?}");
    let tested: Value = serde_json::from_slice(&answer.body).unwrap();
    let result = |place: usize| {
        let hook = &tested["webhooks"][place];
        (hook["format"].clone(), hook["result"].clone(), hook["error"].clone())
    };
    assert_eq!(result(0), (json!("json"), json!("ok"), Value::Null));
    assert_eq!(result(1), (json!("slack"), json!("failed"), json!("it answered 404")));
    assert_eq!(good.bodies()[0]["event"], "test");
    assert_eq!(bad.bodies()[0]["text"], "Solvegate: this is a test, nothing happened");
    until_counted(&world, "test", "failed", 1).await;
    world.close(0).await;
}
