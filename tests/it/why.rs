//! Each refusal has an id, in the answer and in the log, and the API explains it.

use serde_json::{Value, json};

use crate::support::client::{Client, submission};
use crate::support::process::Sidecar;
use crate::support::{ACME, Api, BATCH, Setup, TOKEN, World, ZEN, until};

const TENANTS: &str = "acme: { rate_per_minute: 2, burst: 1, keys: { prod: { key: ACME }, \
    old: { key: BATCH, allow_from: [10.0.0.0/8] } } }, zen: { in_flight_max: 1, \
    allow_types: [turnstile], keys: { prod: { key: ZEN } } }";

fn setup() -> Setup {
    let rest = format!("admin: {{ listen: '127.0.0.1:0', token: {TOKEN} }}");
    Setup { tenants: TENANTS, rest, ..Setup::default() }
}

const ID: &str = "x-solvegate-request-id";

#[tokio::test(flavor = "multi_thread")]
async fn an_http_client_is_told_an_id_that_explains_its_refusal() {
    let world = World::start(setup()).await;
    let api = Api::of(world.app().admin);
    let http = reqwest::Client::new();
    let ask = async |target: &str| {
        http.get(format!("http://{}{target}", world.app().data)).send().await.unwrap()
    };
    let accepted = ask(&submission(ZEN, "never")).await;
    assert!(!accepted.headers().contains_key(ID), "{accepted:?}");
    ask(&submission(ACME, "never")).await;
    let image = format!("/in.php?key={ZEN}&method=base64&body=AAAA&json=1");
    let nobody = submission("nobody00000000000000000000000000", "");

    for (target, reason, tenant, key, captcha_type) in [
        (submission(ZEN, ""), "in_flight", "zen", "prod", "turnstile"),
        (submission(ACME, ""), "rate", "acme", "prod", "turnstile"),
        (image, "type_denied", "zen", "prod", "image"),
        (submission(BATCH, ""), "ip_denied", "acme", "old", ""),
        (format!("/res.php?key={ZEN}&action=dance"), "malformed", "zen", "prod", ""),
        (nobody, "unknown_key", "", "", ""),
        ("/in.php?key=short".to_owned(), "unknown_key", "", "", ""),
        (format!("/in.php?key={ZEN}&key={ACME}"), "malformed", "", "", ""),
    ] {
        let refused = ask(&target).await;
        let header = |name| refused.headers()[name].to_str().unwrap();
        let (id, retry_after) = (header(ID), refused.headers().contains_key("retry-after"));
        assert_eq!(header("x-solvegate-reason"), reason, "{target}");

        let kept = api.get(&format!("/rejections/{id}")).await.of(200);

        let some = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
        assert_eq!((&kept["id"], &kept["reason"]), (&json!(id), &json!(reason)));
        assert_eq!(kept["tenant"], some(tenant), "{kept}");
        assert_eq!(kept["key"], some(key), "{kept}");
        assert_eq!(kept["captcha_type"], some(captcha_type), "{kept}");
        assert_eq!(kept["retry_at"].is_string(), retry_after, "{kept}");
        assert!(kept["at"].is_string() && kept["message"].is_string(), "{kept}");
    }
    for (target, limit) in [
        (submission(ZEN, ""), "has 1 of 1 solves in flight"),
        (submission(ACME, ""), "over its rate of 2 a minute (burst 1)"),
    ] {
        let refused = ask(&target).await;
        let id = refused.headers()[ID].to_str().unwrap().to_owned();
        let kept = api.get(&format!("/rejections/{id}")).await.of(200);
        assert!(kept["message"].as_str().unwrap().contains(limit), "{kept}");
    }
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_not_counted_up_and_what_is_none_is_not_found() {
    let mut world = World::start(setup()).await;
    world.submit(ZEN, "never").await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        let refused = world.get(&submission(ZEN, "")).await;
        ids.push(refused.header(ID).unwrap().to_owned());
    }
    let last = ids[49].clone();
    let is_sorted = ids.is_sorted() || ids.iter().rev().is_sorted();
    assert!(!is_sorted && ids.iter().any(|id| id[..6] != ids[0][..6]), "{ids:?}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 50);

    let api = Api::of(world.app().admin);
    api.get(&format!("/rejections/{last}")).await.of(200);
    let unknown = api.get("/rejections/req:aaaaaaaaaaaaaaaa").await.error(404, "not_found");
    assert!(unknown.contains("the last 4,096"), "{unknown}");
    let no_id = api.get("/rejections/zen").await.error(404, "not_found");
    assert!(no_id.contains("16 letters"), "{no_id}");
    world.restart().await;
    let api = Api::of(world.app().admin);
    api.get(&format!("/rejections/{last}")).await.error(404, "not_found");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_id() {
    let world = World::without_sidecar(setup());
    let sidecar = Sidecar::start_verbose(&world.write_config()).unwrap();
    let mut client = Client::connect(sidecar.data).await;
    client.get(&submission(ZEN, "never")).await;

    let refused = client.get(&submission(ZEN, "")).await;

    let field = format!("request_id={}", refused.header(ID).unwrap());
    until("it is logged", || sidecar.log().contains(&field)).await;
    assert_eq!(sidecar.log().matches("request_id=").count(), 1);
    sidecar.stop();
    world.close(0).await;
}
