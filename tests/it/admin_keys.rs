//! Keys that are made, rerolled and taken back while the sidecar runs.

use serde_json::{Value, json};

use crate::support::client::submission;
use crate::support::process::Sidecar;
use crate::support::{ACME, Api, BATCH, Client, Setup, World, ZEN, until_it};

const KEYS: &str = "/tenants/acme/keys";

fn api(world: &World) -> Api {
    Api::of(world.app().admin)
}

fn note() -> Value {
    json!({ "note": "ann: test" })
}

/// Makes a key; its secret.
async fn make(world: &World, id: &str, settings: Value) -> String {
    let body = json!({ "id": id, "settings": settings, "note": "ann: a test" });
    let made = api(world).post(KEYS, &body).await.of(201);
    made["key"].as_str().unwrap().to_owned()
}

async fn reason(world: &World, key: &str) -> String {
    world.get(&submission(key, "never")).await.reason().to_owned()
}

async fn listed(world: &World, id: &str) -> Value {
    let keys = api(world).get(KEYS).await.of(200);
    let keys = keys["keys"].as_array().unwrap().clone();
    keys.into_iter().find(|key| key["id"] == id).unwrap_or(Value::Null)
}

/// Nothing but the hash of it is in the record.
fn assert_only_hashed(world: &World, secret: &str) {
    for entry in std::fs::read_dir(world.state()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let found = memchr::memmem::find(&bytes, secret.as_bytes());
        assert_eq!(found, None, "{} holds a key", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_made_key_works_at_once_and_is_shown_once() {
    let mut world = World::start(Setup::default()).await;
    let settings = json!({ "allow_types": ["turnstile"], "in_flight_max": 2 });
    let body = json!({ "id": "crawler", "settings": settings, "note": "ann: for the crawler" });

    let made = api(&world).post(KEYS, &body).await.of(201);

    let secret = made["key"].as_str().unwrap().to_owned();
    assert_eq!((made["id"].as_str(), secret.len()), (Some("crawler"), 32));
    world.submit(&secret, "never").await;
    world.submit(&secret, "never").await;
    assert_eq!(reason(&world, &secret).await, "in_flight", "its settings hold");
    let list = api(&world).get(KEYS).await;
    assert!(!list.text.contains(&secret), "shown twice");
    let key = listed(&world, "crawler").await;
    assert_eq!(key["source"], "api");
    assert_eq!(key["state"], "live");
    assert_eq!(key["note"], "ann: for the crawler");
    assert_eq!(key["settings"]["in_flight_max"], 2);
    assert_eq!(key["secrets"][0]["sha256"], made["sha256"]);
    assert_eq!(listed(&world, "prod").await["source"], "config");
    assert_only_hashed(&world, &secret);

    world.restart().await;

    assert_eq!(
        reason(&world, &secret).await,
        "in_flight",
        "known after a restart, with its solves"
    );
    world.stop().await;
    assert_only_hashed(&world, &secret);
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_is_refused_with_the_words_of_the_config() {
    let world = World::start(Setup::default()).await;
    let api = api(&world);
    for (settings, words) in [
        (json!({ "rate": 5 }), "rate: is not a known key; known here: rate_per_minute"),
        (json!({ "rate_per_minute": 0 }), "rate_per_minute"),
        (json!({ "key": BATCH }), "key"),
        (json!(["a"]), "mapping"),
        (json!({ "expires": "tomorrow" }), "expires"),
    ] {
        let body = json!({ "id": "a", "settings": settings, "note": "n" });
        let message = api.post(KEYS, &body).await.error(422, "invalid");
        assert!(message.contains(words), "{body}: {message}");
        assert!(!message.contains(BATCH), "{message}");
    }
    let taken = api.post(KEYS, &json!({ "id": "prod", "note": "n" })).await;
    assert!(taken.error(409, "conflict").contains("another id"));
    let nobody = api.post("/tenants/nobody/keys", &json!({ "id": "a", "note": "n" })).await;
    assert!(nobody.error(404, "not_found").contains("no tenant `nobody`"));
    for (body, words) in [
        (json!({ "id": "a b", "note": "n" }), "id"),
        (json!({ "id": "a", "note": " " }), "note must say who"),
        (json!({ "id": "a", "note": "two\nlines" }), "note must say who"),
    ] {
        let message = api.post(KEYS, &body).await.error(422, "invalid");
        assert!(message.contains(words), "{body}: {message}");
    }
    for body in [json!({ "id": "a" }), json!({ "id": "a", "note": "n", "colour": "red" })] {
        api.post(KEYS, &body).await.error(422, "bad_request");
    }
    let json = [("content-type", "application/json")];
    api.post_text(KEYS, &json, "{").await.error(400, "bad_request");
    api.post_text(KEYS, &[], "{}").await.error(415, "bad_request");
    api.post_text(KEYS, &json, &format!("\"{}\"", "a".repeat(70_000)))
        .await
        .error(413, "bad_request");
    api.post(&format!("{KEYS}/nokey/reroll"), &note()).await.error(404, "not_found");
    api.delete(&format!("{KEYS}/nokey")).await.error(404, "not_found");
    let overlap = json!({ "overlap": "soon", "note": "n" });
    let message = api.post(&format!("{KEYS}/prod/reroll"), &overlap).await.error(422, "invalid");
    assert!(message.contains("overlap must be like 1h"), "{message}");
    let overlap = json!({ "overlap": "31d", "note": "n" });
    api.post(&format!("{KEYS}/prod/reroll"), &overlap).await.error(422, "invalid");
    assert_eq!(api.get(KEYS).await.of(200)["keys"].as_array().unwrap().len(), 1);
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_secrets_work_until_the_overlap_is_over() {
    let mut world = World::start(Setup::default()).await;
    let body = json!({ "overlap": "20s", "note": "bob: rotation" });
    let made = api(&world).post(&format!("{KEYS}/prod/reroll"), &body).await.of(201);
    let second = made["key"].as_str().unwrap().to_owned();
    assert_eq!([reason(&world, ACME).await, reason(&world, &second).await], ["none", "none"]);
    let key = listed(&world, "prod").await;
    assert_eq!((&key["state"], key["secrets"].as_array().unwrap().len()), (&json!("live"), 2));
    world.restart().await;
    assert_eq!([reason(&world, ACME).await, reason(&world, &second).await], ["none", "none"]);

    // A further one, and the first two end sooner.
    let body = json!({ "overlap": "1s", "note": "bob: rotation" });
    let made = api(&world).post(&format!("{KEYS}/prod/reroll"), &body).await.of(201);
    let third = made["key"].as_str().unwrap().to_owned();

    let ended = async || {
        let reasons = [reason(&world, ACME).await, reason(&world, &second).await];
        reasons == ["revoked_key", "revoked_key"]
    };
    until_it("the first two ended", ended).await;
    assert_eq!(reason(&world, &third).await, "none");
    world.restart().await;
    assert_eq!(reason(&world, ACME).await, "revoked_key");
    assert_eq!(reason(&world, &third).await, "none");
    let key = listed(&world, "prod").await;
    assert_eq!((&key["state"], &key["note"]), (&json!("live"), &json!("bob: rotation")));
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reroll_without_overlap_ends_the_old_secret_at_once() {
    let world = World::start(Setup::default()).await;

    let made = api(&world).post(&format!("{KEYS}/prod/reroll"), &note()).await.of(201);

    assert_eq!(reason(&world, ACME).await, "revoked_key");
    assert_eq!(reason(&world, made["key"].as_str().unwrap()).await, "none");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_at_once_for_good_and_no_other_is() {
    let tenants = "acme: { keys: { prod: { key: ACME }, batch: { key: BATCH } } }, \
        zen: { keys: { prod: { key: ZEN } } }";
    let mut world = World::start(Setup { tenants, ..Setup::default() }).await;
    let made = make(&world, "crawler", json!({})).await;
    let lives = make(&world, "lives", json!({})).await;
    let open = world.submit(ACME, "answer=a").await;
    let assert_stands = async |world: &World| {
        for key in [ACME, &made] {
            assert_eq!(reason(world, key).await, "revoked_key");
        }
        for key in [BATCH, ZEN, &lives] {
            assert_eq!(reason(world, key).await, "none", "{}", &key[..8]);
        }
    };

    for id in ["prod", "crawler"] {
        let revoked = api(&world).delete(&format!("{KEYS}/{id}?note=bob:%20leaked")).await.of(200);
        assert_eq!(revoked, json!({ "id": id, "state": "revoked" }));
    }

    assert_stands(&world).await;
    assert_eq!(world.poll(ACME, &open).await.text(), "ERROR_KEY_DOES_NOT_EXIST");
    api(&world).delete(&format!("{KEYS}/prod")).await.of(200);
    assert_eq!(listed(&world, "prod").await["note"], "bob: leaked", "the first time counts");
    assert_eq!(listed(&world, "prod").await["state"], "revoked");
    let reload = "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(world.admin(reload).await.status, 200);
    assert_stands(&world).await;
    world.restart().await;
    assert_stands(&world).await;
    assert_eq!(listed(&world, "crawler").await["state"], "revoked");
    for path in ["prod", "crawler"] {
        let again = api(&world).post(&format!("{KEYS}/{path}/reroll"), &note()).await;
        again.error(409, "conflict");
    }
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_made_key_follows_a_reload_of_its_tenant() {
    let mut world = World::start(Setup::default()).await;
    let made = make(&world, "crawler", json!({})).await;
    let reload = "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    world.setup.tenants = "zen: { keys: { prod: { key: ZEN } } }";
    world.write_config();
    assert_eq!(world.admin(reload).await.status, 200);
    assert_eq!(reason(&world, &made).await, "revoked_key", "its tenant is gone");
    world.setup.tenants = "acme: { daily_limit: 0, keys: { prod: { key: ACME } } }";
    world.write_config();

    assert_eq!(world.admin(reload).await.status, 200);

    assert_eq!(reason(&world, &made).await, "daily_limit", "back, under the tenant's limits");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tenants_there_are_no_keys_to_change() {
    let world = World::start(Setup { tenants: "", ..Setup::default() }).await;
    let api = api(&world);

    let body = json!({ "id": "a", "note": "n" });
    let message = api.post("/tenants/default/keys", &body).await.error(409, "conflict");

    assert!(message.contains("add tenants"), "{message}");
    api.get("/tenants/default/keys").await.error(409, "conflict");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_record_cannot_be_written_no_key_is_made_and_a_leaked_one_ends_all_the_same() {
    let tenants = "acme: { prepaid: { opening_balance: 1.00 }, keys: { prod: { key: ACME } } }, \
        zen: { keys: { prod: { key: ZEN } } }";
    let world = World::without_sidecar(Setup { tenants, ..Setup::default() });
    let config = world.write_config();
    let sidecar = Sidecar::start(&config).unwrap();
    let api = Api::of(sidecar.admin);
    let ask = async |data, key: &str| {
        let answer = Client::connect(data).await.get(&submission(key, "never")).await;
        answer.reason().to_owned()
    };
    sidecar.limit_files(0);
    assert_eq!(ask(sidecar.data, ACME).await, "store_unavailable");

    let made = api.post(KEYS, &json!({ "id": "new", "note": "n" })).await;
    let rerolled = api.post(&format!("{KEYS}/prod/reroll"), &note()).await;
    let credit = json!({ "amount_usd": 5, "note": "n" });
    let credited = api.credit("acme", "one", &credit).await;
    let revoked = api.delete("/tenants/zen/keys/prod").await;

    for refused in [made, rerolled] {
        assert!(refused.error(503, "unavailable").contains("nothing was changed"));
    }
    assert!(credited.error(503, "unavailable").contains("nothing was credited"));
    assert!(revoked.error(503, "unavailable").contains("refused from now on"));
    assert_eq!(ask(sidecar.data, ZEN).await, "revoked_key");
    assert_eq!(api.get("/tenants/acme").await.of(200)["balance_usd"], 1.0);
    assert_eq!(api.get(KEYS).await.of(200)["keys"].as_array().unwrap().len(), 1);
    sidecar.limit_files(rlimit::INFINITY);
    until_it("the record is written", async || ask(sidecar.data, ACME).await == "none").await;
    api.credit("acme", "one", &credit).await.of(201);
    sidecar.stop();
    let sidecar = Sidecar::start(&config).unwrap();
    assert_eq!(ask(sidecar.data, ZEN).await, "revoked_key", "on record in the end");
    assert_eq!(ask(sidecar.data, ACME).await, "none", "not rerolled");
    assert_eq!(Api::of(sidecar.admin).get("/tenants/acme").await.of(200)["balance_usd"], 6.0);
    sidecar.stop();
    world.close(0).await;
}
