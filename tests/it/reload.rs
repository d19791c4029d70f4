//! Reload under traffic: whole or not at all; and who may ask for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::client::{get, poll, submission};
use crate::support::{ACCOUNT, ACME, BATCH, Client, Setup, TOKEN, World, ZEN, until};

const RELOAD: &str = "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";

/// As counted, put in force and refused.
async fn reloads(world: &World) -> (u32, u32) {
    let metrics = world.admin(&get("/metrics")).await.text();
    let count = |result| {
        let name = format!("solvegate_config_reloads_total{{result=\"{result}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    };
    (count("ok"), count("failed"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_on_request_changes_limits_and_keeps_the_state() {
    let mut world = World::start(Setup::default()).await;
    let id = world.submit(ACME, "answer=a").await;
    world.setup.tenants = "acme: { in_flight_max: 1, keys: { prod: { key: ACME } } }";
    world.setup.rest = "rejections: http".to_owned();
    world.write_config();

    let reloaded = world.admin(RELOAD).await;

    assert_eq!((reloaded.status, reloaded.text().as_str()), (200, "reloaded\n"));
    assert!(matches!(reloads(&world).await, (1.., 0)), "the look at the file may be another");
    let rejected = world.get(&submission(ACME, "")).await;
    assert_eq!((rejected.status, rejected.reason()), (429, "in_flight"), "the open solve counts");
    let removed = world.get(&submission(ZEN, "")).await;
    assert_eq!((removed.status, removed.reason()), (401, "revoked_key"));
    assert_eq!(removed.text(), "ERROR_KEY_DOES_NOT_EXIST");
    assert_eq!(world.poll(ACME, &id).await.text(), "OK|a");
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_put_in_force_by_itself() {
    let mut world = World::start(Setup::default()).await;
    world.setup.tenants =
        "acme: { daily_limit: 0, keys: { prod: { key: ACME }, batch: { key: BATCH } } }";
    world.write_config();

    until("the limit is in force", || world.tenant("acme").limits.daily_limit == Some(0)).await;

    assert_eq!(world.get(&submission(BATCH, "")).await.reason(), "daily_limit");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_config_changes_nothing_and_says_why() {
    let mut world = World::start(Setup::default()).await;
    world.setup.tenants = "acme: { daily_limit: -1, keys: { prod: { key: ACME, colour: red } } }";
    world.write_config();

    let refused = world.admin(RELOAD).await;

    assert_eq!(refused.status, 422);
    assert!(matches!(reloads(&world).await, (0, 1..)), "the look at the file may be another");
    for part in ["config_refused", "daily_limit", "colour", "solvegate.yaml:6: tenants.acme"] {
        assert!(refused.text().contains(part), "{part}: {}", refused.text());
    }
    world.submit(ZEN, "never").await;
    world.submit(ACME, "never").await;
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_disturb_no_request() {
    let world = Arc::new(World::start(Setup::default()).await);
    let stop = Arc::new(AtomicBool::new(false));
    let solved = Arc::new(AtomicUsize::new(0));
    let traffic = [ACME, ZEN].map(|key| {
        let (world, stop, solved) = (world.clone(), stop.clone(), solved.clone());
        tokio::spawn(async move {
            let mut client = world.client().await;
            while !stop.load(Ordering::Relaxed) {
                let id = client.get(&submission(key, "answer=a")).await.id();
                assert_eq!(client.get(&poll(key, &id)).await.text(), "OK|a");
                solved.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let mut reloads = 0;
    while reloads < 30 || solved.load(Ordering::Relaxed) <= 30 {
        assert_eq!(world.admin(RELOAD).await.status, 200);
        reloads += 1;
        let failed = traffic.iter().any(tokio::task::JoinHandle::is_finished);
        assert!(!failed, "a client met something else than its answer");
    }
    stop.store(true, Ordering::Relaxed);
    for client in traffic {
        client.await.unwrap();
    }
    let solved = solved.load(Ordering::Relaxed);

    world.settled().await;
    Arc::into_inner(world).unwrap().close(solved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_moves_to_another_account_keeps_its_open_tasks() {
    let account = "threads: 5000 }, second: { key: acct20canary00000000000000000000, threads: 5000";
    let of = |account: &str| {
        format!("acme: {{ account: {account}, keys: {{ prod: {{ key: ACME }} }} }}")
    };
    let mut world =
        World::start(Setup { account, tenants: of("main").leak(), ..Setup::default() }).await;
    let id = world.submit(ACME, "answer=a").await;
    world.setup.tenants = of("second").leak();
    world.write_config();

    assert_eq!(world.admin(RELOAD).await.status, 200);

    assert_eq!(world.poll(ACME, &id).await.text(), "OK|a");
    let report = poll(ACME, &id).replace("action=get", "action=reportbad");
    assert_eq!(world.get(&report).await.text(), "OK_REPORT_RECORDED");
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_asks_for_its_token_and_the_data_port_knows_no_metrics() {
    let rest = format!("admin: {{ listen: '127.0.0.1:0', token: {TOKEN} }}");
    let world = World::start(Setup { rest, ..Setup::default() }).await;
    let with = |request: &str, token: &str| {
        request.replacen("Host: ", &format!("Authorization: Bearer {token}\r\nHost: "), 1)
    };

    for request in [get("/metrics"), RELOAD.to_owned(), get("/nowhere"), get("/api/v1/config")] {
        for request in
            [request.clone(), with(&request, ACME), with(&request, ""), with(&request, &TOKEN[1..])]
        {
            let denied = world.admin(&request).await;
            assert_eq!(denied.status, 401, "{request}");
            assert_eq!(denied.header("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(world.admin(&with(&get("/metrics"), TOKEN)).await.status, 200);
    assert_eq!(world.admin(&with(RELOAD, TOKEN)).await.status, 200);
    assert_eq!(world.admin(&with(&get("/-/reload"), TOKEN)).await.status, 405);
    for open in ["/healthz", "/readyz", "/", "/ui/app.js"] {
        assert_eq!(world.admin(&get(open)).await.status, 200, "{open}");
    }
    for path in ["/metrics", "/healthz", "/readyz", "/-/reload", "/api/v1/config", "/"] {
        assert_eq!(world.get(path).await.status, 404, "{path}");
        let mut client = Client::connect(world.app().data).await;
        client.send(with(&get(path), TOKEN).as_bytes()).await;
        assert_eq!(client.answer().await.status, 404, "{path}");
    }
    assert_eq!(world.get(&submission(TOKEN, "")).await.reason(), "unknown_key");
    assert_eq!(world.admin(&with(&get(&submission(ACME, "")), TOKEN)).await.status, 404);
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_lost_its_tenants_forwards_nobodys_key() {
    let mut world = World::start(Setup::default()).await;
    world.setup.tenants = "";
    world.write_config();
    let since = world.control().last_logged();

    let refused = world.admin(RELOAD).await;

    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("names no tenants any more"), "{}", refused.text());
    world.submit(ACME, "never").await;
    let received = world.traffic(since);
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].field("key").as_deref(), Some(ACCOUNT), "a tenant's key went out");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_named_default_lends_its_key_to_nobody() {
    let rest = format!("accounts: {{ default: {{ key: {ACCOUNT} }} }}");
    let world = World::start(Setup { tenants: "", rest, ..Setup::default() }).await;

    world.get(&submission(ZEN, "never")).await;

    let received = world.traffic(0);
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].field("key").as_deref(), Some(ZEN), "the real key was lent");
    world.close(0).await;
}
