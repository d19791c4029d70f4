//! The admin API over the wire: what it tells, and that its description names every route.

use serde_json::{Value, json};

use crate::support::client::{get, post};
use crate::support::usual::traffic;
use crate::support::{ACCOUNT, ACME, Api, Client, Setup, TOKEN, World, until_it};

const TENANTS: &str = "acme: { daily_limit: 4, daily_spend_cap: 1.00, keys: { prod: { key: ACME } } }, \
    zen: { in_flight_max: 1, keys: { prod: { key: ZEN } } }";

fn api(world: &World) -> Api {
    Api::of(world.app().admin)
}

async fn start() -> World {
    let rest = format!("admin: {{ listen: '127.0.0.1:0', token: {TOKEN} }}");
    World::start(Setup { tenants: TENANTS, rest, ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_usage_and_rejections_are_told() {
    let world = start().await;
    traffic(&world).await;
    let api = api(&world);

    let tenants = api.get("/tenants").await.of(200);
    let acme = api.get("/tenants/acme").await.of(200);
    let usage = api.get("/tenants/acme/usage").await.of(200);
    let by_key = api.get("/tenants/acme/usage?by=key").await.of(200);
    let refused = api.get("/tenants/zen/rejections").await.of(200);

    let counted = api.get("/rejections").await.of(200);
    let counted = counted["rejections"].as_array().unwrap();
    let in_flight = json!({ "reason": "in_flight", "enforced": 2, "shadow": 0 });
    assert!(counted.contains(&in_flight), "{counted:?}");
    let mut others = counted.iter().filter(|item| item["reason"] != "in_flight");
    assert!(counted.len() == 16 && others.all(|item| item["enforced"] == 0), "{counted:?}");
    assert_eq!(tenants["tenants"].as_array().unwrap().len(), 2);
    assert_eq!(acme, tenants["tenants"][0]);
    assert_eq!((&acme["day_solves"], &acme["balance_usd"]), (&json!(3), &Value::Null));
    assert_eq!(acme["limits"]["daily_limit"], 4);
    let price = usage["total_cost_usd"].as_f64().unwrap() / 3.0;
    assert!(price > 0.0, "{usage}");
    assert_eq!(usage["rows"][0]["name"], "turnstile");
    assert_eq!((&usage["rows"][0]["solves"], &usage["total_solves"]), (&json!(3), &json!(3)));
    assert_eq!(by_key["rows"][0]["name"], "prod");
    let rows = refused["rejections"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    let expected = json!({ "reason": "in_flight", "key": "prod", "mode": "enforced", "count": 2 });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&rows[0][name], value, "{rows:?}");
    }
    assert!(rows[0]["message"].as_str().unwrap().contains('1'), "names the limit: {rows:?}");
    world.close(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn solves_come_page_by_page_and_narrowed_down() {
    let world = start().await;
    traffic(&world).await;
    let api = api(&world);
    let of = |page: &Value| page["solves"].as_array().unwrap().clone();
    let all = of(&api.get("/solves").await.of(200));
    assert_eq!(all.len(), 4);

    let (mut pages, mut path) = (Vec::new(), "/solves?limit=3".to_owned());
    loop {
        let page = api.get(&path).await.of(200);
        pages.push(of(&page));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/solves?limit=3&after={next}");
    }

    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(pages.concat(), all, "newest first, none twice, none left out");
    assert_eq!(all[0]["outcome"], "unsolvable");
    for (query, count) in [
        ("tenant=acme", 3),
        ("outcome=unsolvable", 1),
        ("type=turnstile", 4),
        ("type=image", 0),
        ("tenant=acme&outcome=unsolvable", 0),
        ("from=2020-01-01", 4),
        ("to=2020-01-01T00:00:00Z", 0),
        ("limit=4", 4),
    ] {
        let page = api.get(&format!("/solves?{query}")).await.of(200);
        assert_eq!(of(&page).len(), count, "{query}");
        assert_eq!(page["next"], Value::Null, "{query}");
    }
    for wrong in ["limit=0", "limit=1001", "limit=a", "type=x", "outcome=x", "from=x", "after=x"] {
        api.get(&format!("/solves?{wrong}")).await.error(400, "bad_request");
    }
    world.close(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn error_budgets_accounts_and_alerts_are_told() {
    let world = start().await;
    traffic(&world).await;
    let api = api(&world);

    let slos = api.get("/slo").await.of(200);
    let course = api.get("/slo/course?captcha_type=turnstile&hours=1").await.of(200);

    let slo = slos["slos"].as_array().unwrap();
    let slo = slo.iter().find(|slo| slo["captcha_type"] == "turnstile").unwrap();
    let expected = json!({
        "status": "healthy", "objective": 0.95, "total_events": 4, "successes": 3, "failures": 1,
        "current_rate": 0.75, "window_seconds": 86400, "min_events": 50,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&slo[name], value, "{name}: {slo}");
    }
    assert!((slo["budget_total"].as_f64().unwrap() - 0.2).abs() < 1e-9, "{slo}");
    let points = course["points"].as_array().unwrap();
    let sum = |name: &str| points.iter().map(|point| point[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("good"), sum("bad")), (3, 1), "{course}");
    for (path, status, reason) in [
        ("/slo/course", 400, "bad_request"),
        ("/slo/course?captcha_type=x", 400, "bad_request"),
        ("/slo/course?captcha_type=turnstile&hours=0", 400, "bad_request"),
        ("/slo/course?captcha_type=turnstile&slo=x", 400, "bad_request"),
        ("/slo/course?captcha_type=turnstile&slo=latency", 404, "not_found"),
        ("/tenants/nobody", 404, "not_found"),
        ("/tenants/nobody/usage", 404, "not_found"),
        ("/tenants/nobody/rejections", 404, "not_found"),
        ("/tenants/acme/usage?by=colour", 400, "bad_request"),
        ("/tenants/acme/usage?from=2026-02-01&to=2026-01-01", 422, "invalid"),
        ("/tenants/acme/usage?from=yesterday", 400, "bad_request"),
        ("/tenants/%ff", 400, "bad_request"),
        ("/nowhere", 404, "not_found"),
    ] {
        api.get(path).await.error(status, reason);
    }
    api.delete("/slo").await.error(405, "method_not_allowed");
    until_it("the account was asked about", async || {
        !api.get("/accounts").await.of(200)["accounts"][0]["balance_usd"].is_null()
    })
    .await;
    let accounts = api.get("/accounts").await.of(200);
    assert_eq!(
        (&accounts["accounts"][0]["name"], &accounts["accounts"][0]["up"]),
        (&json!("main"), &json!(true))
    );
    let config = api.get("/config").await;
    assert!(!config.text.contains(ACCOUNT) && !config.text.contains(TOKEN), "{}", config.text);
    assert_eq!(config.of(200)["tenants"]["acme"]["daily_limit"], 4);
    let alerts = api.get("/alerts").await.of(200);
    assert_eq!(alerts["alerts"], json!([]));
    let id = world.submit(ACME, "answer=a").await;
    world.poll_to_end(ACME, &id).await;
    until_it("the daily limit alerts", async || {
        let alerts = api.get("/alerts").await.of(200);
        alerts["alerts"][0]["name"] == "SolvegateTenantAllocationReached"
            && alerts["alerts"][0]["about"] == "acme"
    })
    .await;
    world.close(4).await;
}

/// Coarse steps begin and end elsewhere than the window does.
#[tokio::test(flavor = "multi_thread")]
async fn the_course_ends_where_the_error_budget_is() {
    let rest = format!(
        "admin: {{ listen: '127.0.0.1:0', token: {TOKEN} }}\n\
         slo: {{ types: {{ image: {{ window: 30d }} }} }}"
    );
    let mut world = World::start(Setup { tenants: TENANTS, rest, ..Setup::default() }).await;
    let now = jiff::Timestamp::now().as_second() / 60;
    {
        let mut record = rusqlite::Connection::open(world.state().join("solvegate.db")).unwrap();
        let rows = record.transaction().unwrap();
        // Minutes that stay on their side of the window's edge while this runs.
        for age in (30..29 * 24 * 60).filter(|age| !(23 * 60..25 * 60).contains(age)) {
            let bad = if (25 * 60..30 * 60).contains(&age) { 15 } else { i32::from(age % 9 == 0) };
            for captcha_type in ["turnstile", "image"] {
                rows.execute(
                    "INSERT INTO sli (minute, slo, captcha_type, good, bad)
                     VALUES (?1, 'success', ?2, 5, ?3)",
                    (now - age, captcha_type, bad),
                )
                .unwrap();
            }
        }
        rows.commit().unwrap();
    }
    world.restart().await;
    let api = api(&world);

    let slos = api.get("/slo").await.of(200);
    for captcha_type in ["turnstile", "image"] {
        let slo = slos["slos"].as_array().unwrap().iter();
        let slo = slo.clone().find(|slo| slo["captcha_type"] == captcha_type).unwrap();
        for hours in [1, 6, 24, 720] {
            let path = format!("/slo/course?captcha_type={captcha_type}&hours={hours}");
            let course = api.get(&path).await.of(200);
            let last = course["points"].as_array().unwrap().last().unwrap();
            assert_eq!(
                last["budget_remaining_ratio"], slo["budget_remaining_ratio"],
                "{captcha_type} over {hours} h"
            );
        }
    }
    let ratio = |slo: &Value| slo["budget_remaining_ratio"].as_f64().unwrap();
    assert!(slos["slos"].as_array().unwrap().iter().any(|slo| ratio(slo) < 0.6));
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_asks_for_the_token_and_none_is_on_the_data_listener() {
    let world = start().await;
    for (method, path) in described() {
        let path = path.replace("{tenant}", "acme").replace("{key}", "prod");
        let asked = |token: &str| {
            let head = format!(
                "{} /api/v1{path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\nHost: ",
                method.to_uppercase()
            );
            get("/").replacen("GET / HTTP/1.1\r\nHost: ", &head, 1)
        };
        for token in [ACME, "", "x"] {
            assert_eq!(world.admin(&asked(token)).await.status, 401, "{method} {path}");
        }
        assert_ne!(world.admin(&asked(TOKEN)).await.status, 401, "{method} {path}");
        let mut client = Client::connect(world.app().data).await;
        client.send(asked(TOKEN).as_bytes()).await;
        assert_eq!(client.answer().await.status, 404, "{method} {path}");
    }
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_and_the_routes_name_the_same() {
    let code = include_str!("../../src/admin/api/mod.rs");
    let mut routes = Vec::new();
    for line in code.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
        let (path, handlers) = line.split_once("\", ").unwrap();
        for method in ["get", "post", "put", "patch", "delete"] {
            if handlers.starts_with(&format!("{method}("))
                || handlers.contains(&format!(".{method}("))
            {
                routes.push((method.to_owned(), path.to_owned()));
            }
        }
    }
    routes.sort();
    let mut described = described();
    described.sort();

    assert!(routes.len() > 15, "{routes:?}");
    assert_eq!(routes, described);
    let world = start().await;
    let served = api(&world).get("/openapi.json").await.of(200);
    assert_eq!(served["paths"].as_object().unwrap().len(), code.matches(".route(").count());
    world.close(0).await;
}

/// Method and path of everything that the description names.
fn described() -> Vec<(String, String)> {
    let openapi: Value =
        serde_json::from_str(include_str!("../../src/admin/api/openapi.json")).unwrap();
    let paths = openapi["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys().filter(|name| *name != "parameters");
        methods.map(|method| (method.clone(), path.clone()))
    });
    operations.collect()
}

/// A page of another site that somebody on this machine looks at can send forms here, or have its own name
/// lead here.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_a_browser_is_let_in_from_the_own_page_only() {
    let world = World::start(Setup::default()).await;
    let admin = world.app().admin;
    let port = admin.port();
    let ask = async |host: &str, origin: &str| {
        let mut client = Client::connect(admin).await;
        let head = format!("GET /api/v1/slo HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n");
        client.send(head.as_bytes()).await;
        client.answer().await.status
    };
    for host in [format!("127.0.0.1:{port}"), format!("LocalHost:{port}"), format!("[::1]:{port}")]
    {
        assert_eq!(ask(&host, "").await, 200, "{host}");
        assert_eq!(ask(&host, &format!("Origin: http://{host}\r\n")).await, 200, "{host}");
        for origin in ["http://evil.example", "null", "http://127.0.0.1"] {
            assert_eq!(ask(&host, &format!("Origin: {origin}\r\n")).await, 403, "{origin}");
        }
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80"] {
        assert_eq!(ask(host, "").await, 403, "{host}");
    }
    world.close(0).await;
}

/// What is connected here must not take the descriptors that solves need.
#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_serves_so_many_connections_and_no_more() {
    let world = World::start(Setup::default()).await;
    let mut open = Vec::new();
    for _ in 0..128 {
        let mut client = Client::connect(world.app().admin).await;
        assert_eq!(client.get("/healthz").await.status, 200);
        open.push(client);
    }
    assert!(Client::connect(world.app().admin).await.is_closed().await);
    drop(open);
    until_it("there is room again", async || {
        let url = format!("http://{}/healthz", world.app().admin);
        reqwest::get(url).await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    world.close(0).await;
}

/// Clients that ask for much and take nothing must not keep Prometheus out for good.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_on_give_their_place_back() {
    let world = World::start(Setup::default()).await;
    let admin = world.app().admin;
    let mut stuck = Vec::new();
    for _ in 0..128 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut client = Client::over(socket.connect(admin).await.unwrap());
        client.send(get("/api/v1/openapi.json").repeat(200).as_bytes()).await;
        stuck.push(client);
    }
    assert!(Client::connect(admin).await.is_closed().await, "they take all places");

    until_it("there is room again", async || {
        reqwest::get(format!("http://{admin}/healthz")).await.is_ok_and(|got| got.status() == 200)
    })
    .await;
    drop(stuck);
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
    let world = World::start(Setup { tenants: TENANTS, ..Setup::default() }).await;
    let mut client = Client::connect(world.app().admin).await;
    let whole = post("/api/v1/tenants/acme/credits", "application/json", b"{\"usd\": 1}");
    client.send(&whole[..whole.len() - 1]).await;

    let answer = client.answer().await;

    assert_eq!(answer.status, 408, "{answer:?}");
    assert!(client.is_closed().await);
    world.close(0).await;
}
