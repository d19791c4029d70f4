//! Bills: every charge once, sums that equal the ledger, a manifest that can be checked with sha256sum.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use solvegate::admin::BILLS_AT_ONCE;

use crate::support::client::get;
use crate::support::process::Sidecar;
use crate::support::{ACME, Api, BATCH, Client, Setup, World, until};

const TENANTS: &str = "acme: { keys: { prod: { key: ACME }, batch: { key: BATCH } } }, \
    zen: { keys: { prod: { key: ZEN } } }";
const COLUMNS: &str = "timestamp,task_id,type,cost_usd,key,account,day";

fn api(world: &World) -> Api {
    Api::of(world.app().admin)
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// Micro-dollars of an amount like `0.003000`.
fn micros(amount: &str) -> i64 {
    let (dollars, decimals) = amount.split_once('.').unwrap();
    assert_eq!(decimals.len(), 6, "{amount}");
    dollars.parse::<i64>().unwrap() * 1_000_000 + decimals.parse::<i64>().unwrap()
}

/// The charges in the ledger: how many, and what they come to.
fn ledger(world: &World) -> (usize, i64) {
    let record = rusqlite::Connection::open(world.state().join("solvegate.db")).unwrap();
    let sql = "SELECT count(*), -sum(amount) FROM ledger WHERE kind = 'charge' AND tenant = 'acme'";
    record.query_row(sql, [], |row| Ok((row.get::<_, u32>(0)? as usize, row.get(1)?))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_is_what_the_ledger_says_in_every_form() {
    let account = "threads: 5000, plan: { monthly_cost: 30.00, threads: 15 }";
    let world = World::start(Setup { tenants: TENANTS, account, ..Setup::default() }).await;
    for number in 0..6 {
        let key = if number < 4 { ACME } else { BATCH };
        let id = world.submit(key, &format!("answer={number}")).await;
        world.poll_to_end(key, &id).await;
    }
    until("all is charged", || world.tenant("acme").day_solves == 6).await;
    until("all is on record", || world.solves().len() == 6 && ledger(&world).0 == 6).await;
    let api = api(&world);

    let csv = api.get("/tenants/acme/billing").await;
    let lines = api.get("/tenants/acme/billing?format=jsonl").await;
    let manifest = api.get("/tenants/acme/billing?format=manifest").await.of(200);
    let totals = api.get("/tenants/acme/billing?format=json").await.of(200);

    assert_eq!((csv.status, csv.content_type.as_str()), (200, "text/csv; charset=utf-8"));
    let rows: Vec<_> = csv.text.lines().collect();
    assert_eq!(rows[0], COLUMNS);
    let (count, sum) = ledger(&world);
    let charges = rows[1..].iter().map(|row| micros(row.split(',').nth(3).unwrap()));
    assert_eq!((rows.len() - 1, charges.sum::<i64>()), (count, sum));
    assert_eq!(manifest["rows"], count);
    assert_eq!(manifest["sha256"], sha256(&csv.text));
    assert_eq!(
        manifest["cost_usd"].to_string(),
        format!("{}", f64::from(i32::try_from(sum).unwrap()) / 1e6)
    );
    let (body, last) = lines.text.trim_end().rsplit_once('\n').unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["manifest"]["rows"], count);
    assert_eq!(last["manifest"]["sha256"], sha256(&format!("{body}\n")));
    assert_eq!(body.lines().count(), count);
    let first: Value = serde_json::from_str(body.lines().next().unwrap()).unwrap();
    let shown = rows[1].split(',').collect::<Vec<_>>();
    for (name, value) in COLUMNS.split(',').zip(shown) {
        assert_eq!(first[name], value, "{name}");
    }
    assert_eq!((&totals["solves"], &totals["cost_usd"]), (&json!(6), &manifest["cost_usd"]));
    for by in ["by_type", "by_key", "by_day"] {
        let solves =
            totals[by].as_array().unwrap().iter().map(|row| row["solves"].as_u64().unwrap());
        assert_eq!(solves.sum::<u64>(), 6, "{by}: {totals}");
    }
    assert_eq!(totals["by_key"][0]["name"], "batch");
    plan_adds_up(&api.get("/billing").await.of(200));
    world.close(6).await;
}

fn plan_adds_up(month: &Value) {
    assert_eq!((&month["solves"], &month["tenants"][0]["name"]), (&json!(6), &json!("acme")));
    let plan = &month["plans"][0];
    let micros = |usd: &Value| (usd.as_f64().unwrap() * 1e6).round();
    let shares: f64 =
        plan["tenants"].as_array().unwrap().iter().map(|it| micros(&it["cost_usd"])).sum();
    let sum = shares + micros(&plan["idle_cost_usd"]);
    assert!((sum - 30e6).abs() < 0.5, "shares and idle are the cost: {plan}");
    assert_eq!(plan["tenants"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_month_has_an_empty_bill_and_odd_questions_are_refused() {
    let world = World::start(Setup { tenants: TENANTS, ..Setup::default() }).await;
    let api = api(&world);

    let empty = api.get("/tenants/acme/billing?month=2020-02").await;

    assert_eq!(empty.text, format!("{COLUMNS}\n"));
    let manifest = api.get("/tenants/acme/billing?month=2020-02&format=manifest").await.of(200);
    assert_eq!((&manifest["rows"], &manifest["sha256"]), (&json!(0), &json!(sha256(&empty.text))));
    assert_eq!(api.get("/billing?month=2020-02").await.of(200)["tenants"], json!([]));
    for month in ["2026-13", "2026-1", "26-01", "x", "", "2026-é"] {
        api.get(&format!("/tenants/acme/billing?month={month}")).await.error(400, "bad_request");
        api.get(&format!("/billing?month={month}")).await.error(400, "bad_request");
    }
    api.get("/tenants/acme/billing?format=pdf").await.error(400, "bad_request");
    api.get("/tenants/nobody/billing").await.error(404, "not_found");
    world.close(0).await;
}

/// Charges of a large bill: a million where the sidecar is built with optimisations.
const CHARGES: usize = if cfg!(debug_assertions) { 150_000 } else { 1_000_000 };

/// What they come to, at 0.0015 USD each.
const CHARGED: f64 = if cfg!(debug_assertions) { 225.0 } else { 1_500.0 };

/// What it may add to the memory of the process; its text is larger.
const GROWTH_KIB_MAX: u64 = 8 << 10;

/// A sidecar whose record has [`CHARGES`] charges of January 2026.
fn many_charges() -> (World, Sidecar) {
    let world = World::without_sidecar(Setup { tenants: TENANTS, ..Setup::default() });
    let config = world.write_config();
    Sidecar::start(&config).unwrap().stop();
    let mut sql = String::new();
    write!(
        sql,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CHARGES})
         INSERT INTO ledger (cause, kind, tenant, key_id, amount, at, day, captcha_type, account,
             task_id, solve)
         SELECT 'charge:main:' || i, 'charge', 'acme', 'prod', -1500, 1767225600000 + i * 2000,
             printf('2026-01-%02d', 1 + i * 25 / {CHARGES}), 'turnstile', 'main', i, i FROM n;
         INSERT INTO usage SELECT tenant, key_id, day, captcha_type, count(*), -sum(amount)
             FROM ledger WHERE kind = 'charge' GROUP BY 1, 2, 3, 4;"
    )
    .unwrap();
    let record = rusqlite::Connection::open(world.state().join("solvegate.db")).unwrap();
    record.execute_batch(&format!("BEGIN; {sql} COMMIT")).unwrap();
    drop(record);
    let sidecar = Sidecar::start(&config).unwrap();
    (world, sidecar)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_bill_is_streamed_in_constant_memory() {
    let (_world, sidecar) = many_charges();
    let http = reqwest::Client::new();
    let url = format!("http://{}/api/v1/tenants/acme/billing?month=2026-01", sidecar.admin);
    let before = sidecar.memory_kib();

    let started = std::time::Instant::now();
    let mut response = http.get(&url).send().await.unwrap();
    let (mut hash, mut lines, mut bytes, mut most) = (Sha256::new(), 0, 0, before);
    while let Some(chunk) = response.chunk().await.unwrap() {
        hash.update(&chunk);
        bytes += chunk.len();
        lines += memchr::memchr_iter(b'\n', &chunk).count();
        most = most.max(sidecar.memory_kib());
    }

    let took = started.elapsed();
    println!("{CHARGES} charges, {bytes} bytes: {took:?}, {before} KiB before, {most} KiB at most");
    assert_eq!(lines, CHARGES + 1);
    assert!(bytes as u64 > GROWTH_KIB_MAX << 10, "{bytes} bytes prove nothing");
    assert!(most - before < GROWTH_KIB_MAX, "{before} KiB before, {most} KiB at most");
    let manifest = Api::of(sidecar.admin)
        .get("/tenants/acme/billing?month=2026-01&format=manifest")
        .await
        .of(200);
    assert_eq!(manifest["sha256"], hex::encode(hash.finalize()));
    assert_eq!((&manifest["rows"], &manifest["cost_usd"]), (&json!(CHARGES), &json!(CHARGED)));
    sidecar.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_stop_reading_do_not_keep_a_bill_from_others() {
    let (_world, sidecar) = many_charges();
    let target = "/api/v1/tenants/acme/billing?month=2026-01";
    let mut stopped = Vec::new();
    for _ in 0..BILLS_AT_ONCE {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut client = Client::over(socket.connect(sidecar.admin).await.unwrap());
        client.send(get(target).as_bytes()).await;
        stopped.push(client);
    }

    let url = format!("http://{}{target}", sidecar.admin);
    let bill = async { reqwest::get(&url).await.unwrap().text().await.unwrap() };
    let bill = tokio::time::timeout(Duration::from_mins(2), bill).await.unwrap();

    assert_eq!(bill.lines().count(), CHARGES + 1);
    let broken = || sidecar.log().matches("a bill broke off").count();
    until("those that stopped were cut off", || broken() == BILLS_AT_ONCE).await;
    drop(stopped);
    sidecar.stop();
}
