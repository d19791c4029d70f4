//! Money that is put into wallets: once per idempotency key, on record before the answer.

use serde_json::{Value, json};

use crate::support::{Api, Setup, World};

const TENANTS: &str = "acme: { prepaid: { opening_balance: 1.00 }, \
    keys: { prod: { key: ACME }, batch: { key: BATCH, prepaid: {} } } }, \
    zen: { keys: { prod: { key: ZEN } } }";

fn api(world: &World) -> Api {
    Api::of(world.app().admin)
}

async fn start() -> World {
    World::start(Setup { tenants: TENANTS, ..Setup::default() }).await
}

/// What the record holds, by cause.
fn on_record(world: &World) -> Vec<(String, i64)> {
    let record = rusqlite::Connection::open(world.state().join("solvegate.db")).unwrap();
    let mut rows = record
        .prepare("SELECT cause, amount FROM ledger WHERE cause LIKE 'credit:%' ORDER BY id")
        .unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_counts_once_whoever_repeats_it_and_when() {
    let mut world = start().await;
    let body = json!({ "amount_usd": "10.000001", "note": "ann: invoice 7" });

    let first = api(&world).credit("acme", "invoice-7", &body).await.of(201);

    assert_eq!(
        on_record(&world),
        [("credit:invoice-7".to_owned(), 10_000_001)],
        "before the answer"
    );
    assert_eq!(first, json!({ "credited": true, "balance_usd": 11.000_001 }));
    let again = json!({ "credited": false, "balance_usd": 11.000_001 });
    assert_eq!(api(&world).credit("acme", "invoice-7", &body).await.of(200), again);
    world.restart().await;
    assert_eq!(api(&world).credit("acme", "invoice-7", &body).await.of(200), again);
    for (tenant, other) in [
        ("acme", json!({ "amount_usd": 10, "note": "ann: invoice 7" })),
        ("acme", json!({ "amount_usd": "10.000001", "note": "ann: invoice 8" })),
        ("acme", json!({ "amount_usd": "10.000001", "note": "ann: invoice 7", "key": "batch" })),
        (
            "acme",
            json!({ "amount_usd": "10.000001", "note": "ann: invoice 7", "kind": "adjustment" }),
        ),
        ("zen", body.clone()),
    ] {
        let message = api(&world).credit(tenant, "invoice-7", &other).await.error(409, "conflict");
        assert!(message.contains("used for another credit"), "{other}: {message}");
    }
    assert_eq!(on_record(&world).len(), 1);
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_requests_at_once_one_credits() {
    let world = start().await;
    let api = api(&world);
    let body = json!({ "amount_usd": 2.5, "note": "n" });
    let requests = (0..20).map(|_| api.credit("acme", "once", &body));

    let replies = futures_util::future::join_all(requests).await;

    let credited = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(credited, 1, "{replies:?}");
    // The others saw the first one, or were told that it is not on record yet.
    assert!(replies.iter().all(|reply| [200, 201, 503].contains(&reply.status)), "{replies:?}");
    assert_eq!(api.get("/tenants/acme").await.of(200)["balance_usd"], 3.5);
    assert_eq!(on_record(&world).len(), 1);
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_may_take_away_and_a_key_has_a_wallet_of_its_own() {
    let world = start().await;
    let api = api(&world);
    let adjust = json!({ "amount_usd": -1.25, "kind": "adjustment", "note": "bob: correction" });
    let own = json!({ "amount_usd": 0.5, "key": "batch", "note": "bob: a start" });

    let below = api.credit("acme", "a", &adjust).await.of(201);
    let key = api.credit("acme", "b", &own).await.of(201);

    assert_eq!(below["balance_usd"], -0.25);
    assert_eq!(key["balance_usd"], 0.5);
    let listed = api.get("/tenants/acme/credits").await.of(200)["credits"].clone();
    let shown = |row: &Value| {
        let row = ["kind", "key", "amount_usd", "note", "cause"].map(|name| row[name].clone());
        Value::from(row.to_vec())
    };
    let rows: Vec<_> = listed.as_array().unwrap().iter().map(shown).collect();
    assert_eq!(rows[0], json!(["credit", "batch", 0.5, "bob: a start", "credit:b"]));
    assert_eq!(rows[1], json!(["adjustment", null, -1.25, "bob: correction", "credit:a"]));
    assert!(rows[2..].iter().all(|row| row[0] == "opening"), "{rows:?}");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_credited_is_refused() {
    let world = start().await;
    let api = api(&world);
    for (tenant, body, words) in [
        ("zen", json!({ "amount_usd": 1, "note": "n" }), "has no prepaid balance"),
        ("acme", json!({ "amount_usd": 1, "note": "n", "key": "prod" }), "key `prod` of tenant"),
        ("acme", json!({ "amount_usd": 1, "note": "n", "key": "nokey" }), "key `nokey`"),
        ("acme", json!({ "amount_usd": 0, "note": "n" }), "above 0"),
        ("acme", json!({ "amount_usd": -1, "note": "n" }), "above 0"),
        ("acme", json!({ "amount_usd": 0, "note": "n", "kind": "adjustment" }), "above 0"),
        ("acme", json!({ "amount_usd": "0.0000001", "note": "n" }), "amount_usd is"),
        ("acme", json!({ "amount_usd": 1e300, "note": "n" }), "amount_usd is"),
        ("acme", json!({ "amount_usd": "9999999999", "note": "n" }), "amount_usd"),
        ("acme", json!({ "amount_usd": [1], "note": "n" }), "amount_usd is"),
        ("acme", json!({ "amount_usd": 1, "note": "" }), "note must say who"),
    ] {
        let message = api.credit(tenant, "a", &body).await.error(422, "invalid");
        assert!(message.contains(words), "{body}: {message}");
    }
    let body = json!({ "amount_usd": 1, "note": "n" });
    api.credit("nobody", "a", &body).await.error(404, "not_found");
    api.get("/tenants/nobody/credits").await.error(404, "not_found");
    let without = api.post("/tenants/acme/credits", &body).await.error(400, "bad_request");
    assert!(without.contains("Idempotency-Key"), "{without}");
    let long = "a".repeat(65);
    for key in ["", "a b", long.as_str()] {
        api.credit("acme", key, &body).await.error(400, "bad_request");
    }
    assert_eq!(on_record(&world), []);
    assert_eq!(api.get("/tenants/acme").await.of(200)["balance_usd"], 1.0);
    world.close(0).await;
}
