//! Who may submit what and when, over the wire: each reason with its status, body and headers.

use solvegate::simulate::Operation;

use crate::support::client::{get, poll, submission};
use crate::support::{ACCOUNT, ACME, Answer, BATCH, Setup, World, ZEN, until};

/// A limit, and what the submission beyond it is answered.
struct Case {
    limit: &'static str,
    /// Submissions that pass before it.
    passes: usize,
    reason: &'static str,
    code: &'static str,
    status: u16,
    retry_after: bool,
}

const fn case(
    limit: &'static str,
    passes: usize,
    reason: &'static str,
    answer: (&'static str, u16, bool),
) -> Case {
    let (code, status, retry_after) = answer;
    Case { limit, passes, reason, code, status, retry_after }
}

const CASES: [Case; 7] = [
    case("in_flight_max: 2", 2, "in_flight", ("ERROR_NO_SLOT_AVAILABLE", 429, true)),
    case("rate_per_minute: 2", 2, "rate", ("ERROR_NO_SLOT_AVAILABLE", 429, true)),
    case("daily_limit: 2", 2, "daily_limit", ("ERROR_ZERO_BALANCE", 429, true)),
    case("daily_spend_cap: 0.006", 2, "spend_cap", ("ERROR_ZERO_BALANCE", 402, true)),
    case("monthly_spend_cap: 0.006", 2, "spend_cap", ("ERROR_ZERO_BALANCE", 402, true)),
    case(
        "prepaid: { opening_balance: 0.0089 }",
        2,
        "insufficient_balance",
        ("ERROR_ZERO_BALANCE", 402, false),
    ),
    case("allow_types: [image]", 0, "type_denied", ("ERROR_BAD_PARAMETERS", 400, false)),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_of_a_tenant_rejects_beyond_it() {
    for case in &CASES {
        let tenants = format!("acme: {{ {}, keys: {{ prod: {{ key: ACME }} }} }}", case.limit);
        check(case, tenants, "tenant acme").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_of_a_key_rejects_beyond_it() {
    for case in &CASES {
        let tenants = format!(
            "acme: {{ keys: {{ prod: {{ key: ACME, {} }}, batch: {{ key: BATCH }} }} }}",
            case.limit
        );
        let world = check(case, tenants, "key prod").await;
        assert!(world.is_none());
    }
}

async fn check(case: &Case, tenants: String, whose: &str) -> Option<World> {
    for rejections in ["provider", "http"] {
        let tenants: &'static str = tenants.clone().leak();
        let setup =
            Setup { tenants, rest: format!("rejections: {rejections}"), ..Setup::default() };
        let world = World::start(setup).await;
        for _ in 0..case.passes {
            world.submit(ACME, "never").await;
        }
        let before = (world.tenant("acme"), world.received(Operation::Submit).len());

        let text = world.get(&submission(ACME, "never")).await;
        let json = world.get(&format!("{}&json=1", submission(ACME, "never"))).await;

        let status = if rejections == "http" { case.status } else { 200 };
        let seen = (text.status, text.text(), text.reason());
        assert_eq!(seen, (status, case.code.to_owned(), case.reason), "{}", case.limit);
        assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!((json.status, json.reason()), (status, case.reason));
        let start = format!(r#"{{"status":0,"request":"{}","error_text":"{whose} "#, case.code);
        assert!(json.text().starts_with(&start), "{}: {}", case.limit, json.text());
        assert_eq!(json.header("content-type"), Some("application/json"));
        for answer in [&text, &json] {
            let wait = answer.header("retry-after").map(|wait| wait.parse::<u64>().unwrap());
            assert_eq!(wait.is_some(), case.retry_after, "{}: {answer:?}", case.limit);
            assert_ne!(wait, Some(0));
        }
        let after = (world.tenant("acme"), world.received(Operation::Submit).len());
        assert_eq!(before, after, "{}: a rejection consumes nothing", case.limit);
        if whose.starts_with("key") && case.passes > 0 {
            world.submit(BATCH, "never").await;
        }
        world.close(0).await;
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdk_is_told_to_back_off_and_threadsinfo_agrees() {
    let setup = Setup {
        tenants: "acme: { in_flight_max: 1, keys: { prod: { key: ACME } } }",
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let threads = format!("/res.php?key={ACME}&action=threadsinfo&json=1");
    assert_eq!(world.get(&threads).await.text(), r#"{"status":1,"threads":1,"working_threads":0}"#);
    let id = world.submit(ACME, "answer=a").await;

    assert_eq!(world.get(&submission(ACME, "")).await.text(), "ERROR_ZERO_BALANCE");
    world.poll_to_end(ACME, &id).await;
    until("the slot is free", || world.tenant("acme").in_flight == 0).await;
    assert_eq!(
        world.get(&threads).await.text(),
        r#"{"status":1,"threads":1,"working_threads":1}"#,
        "the verdict stays, although a slot is free"
    );
    world.submit(ACME, "never").await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn balance_and_threads_are_the_tenants_own() {
    let setup = Setup {
        tenants: "acme: { in_flight_max: 7, prepaid: { opening_balance: 1.00 }, keys: { prod: { key: ACME } } }, \
                  zen: { keys: { prod: { key: ZEN } } }",
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let id = world.submit(ACME, "answer=a").await;
    world.submit(ACME, "never").await;
    world.poll_to_end(ACME, &id).await;
    until("one is charged", || world.tenant("acme").day_solves == 1).await;

    let balance = |key: &str, form: &str| format!("/res.php?key={key}&action=getbalance{form}");
    assert_eq!(world.get(&balance(ACME, "")).await.text(), "0.994");
    assert_eq!(
        world.get(&balance(ACME, "&json=1")).await.text(),
        r#"{"status":1,"request":"0.994"}"#
    );
    assert_eq!(world.get(&balance(ZEN, "")).await.text(), "999999.00");
    let threads = world.get(&format!("/res.php?key={ACME}&action=threadsinfo")).await;
    assert_eq!(threads.text(), r#"{"status":1,"threads":7,"working_threads":1}"#);
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prepaid_balance_is_never_overdrawn_by_submissions_at_the_same_time() {
    let setup = Setup {
        tenants: "acme: { prepaid: { opening_balance: 0.030 }, keys: { prod: { key: ACME } } }",
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let target = submission(ACME, "answer=a");

    let answers = futures_util::future::join_all((0..64).map(|_| world.get(&target))).await;

    let admitted: Vec<String> =
        answers.iter().filter(|answer| answer.text().starts_with("OK|")).map(Answer::id).collect();
    assert_eq!(admitted.len(), 10);
    for id in &admitted {
        world.poll_to_end(ACME, id).await;
    }
    until("all are charged", || world.tenant("acme").balance.unwrap().micros() == 0).await;
    world.close(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_mode_lets_everything_pass_and_counts_it() {
    let setup = Setup {
        tenants: "acme: { enforce: false, in_flight_max: 0, rate_per_minute: 1, daily_limit: 0, \
                  prepaid: { opening_balance: 0 }, allow_types: [image], keys: { prod: { key: ACME } } }",
        ..Setup::default()
    };
    let world = World::start(setup).await;
    for _ in 0..5 {
        let id = world.submit(ACME, "answer=a").await;
        assert_eq!(world.poll_to_end(ACME, &id).await.text(), "OK|a");
    }
    world.settled().await;
    let metrics = world.admin(&get("/metrics")).await.text();
    let shadow =
        metrics.lines().find(|line| line.contains(r#"mode="shadow""#) && line.ends_with(" 5"));
    assert!(shadow.is_some(), "{metrics}");
    world.close(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tenants_every_key_is_passed_through() {
    let world = World::start(Setup { tenants: "", ..Setup::default() }).await;
    let target = submission(ACCOUNT, "answer=a");
    let id = world.get(&target).await.id();
    assert_eq!(world.poll(ACCOUNT, &id).await.text(), "OK|a");
    let unknown = "0123456789abcdef0123456789abcdef";
    assert_eq!(world.get(&submission(unknown, "")).await.text(), "ERROR_KEY_DOES_NOT_EXIST");
    assert_eq!(
        world.get(&submission(ACCOUNT, "submit_error=ERROR_ZERO_BALANCE")).await.text(),
        "ERROR_ZERO_BALANCE"
    );
    assert_eq!(world.poll(unknown, &id).await.text(), "ERROR_KEY_DOES_NOT_EXIST");
    let of_polls = r#"solvegate_upstream_requests_total{account="default",operation="poll""#;
    assert_eq!(world.metric::<u32>(&format!(r#"{of_polls},result="api_error"}}"#)).await, 1);
    let balance = world.get(&format!("/res.php?key={ACCOUNT}&action=getbalance")).await;
    assert_ne!(balance.text(), "999999.00", "the account's own balance is its holder's");
    assert_eq!(world.received(Operation::Submit)[0].key.as_deref(), Some(ACCOUNT));
    assert_eq!(world.received(Operation::Submit)[0].query, target.split_once('?').unwrap().1);
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_key_serves_under_the_prefix_of_a_tenant_that_accepts_it() {
    let setup = Setup {
        tenants: "acme: { accept_account_key: true, keys: { prod: { key: ACME } } }, \
                  zen: { keys: { prod: { key: ZEN } } }",
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let with_prefix =
        |tenant: &str, key: &str| format!("/any/t/{tenant}{}", submission(key, "answer=a"));

    let id = world.get(&with_prefix("acme", ACCOUNT)).await.id();

    let polled = world.get(&format!("/t/acme{}", poll(ACCOUNT, &id))).await;
    assert_eq!(polled.text(), "OK|a");
    assert_eq!(world.poll(ACME, &id).await.text(), "OK|a", "the tenant's own key sees it too");
    assert_eq!(world.poll(ZEN, &id).await.text(), "ERROR_WRONG_CAPTCHA_ID");
    for target in [
        with_prefix("zen", ACCOUNT),
        submission(ACCOUNT, ""),
        poll(ACCOUNT, &id),
        with_prefix("nobody", ACCOUNT),
        with_prefix("zen", ACME),
    ] {
        let answer = world.get(&target).await;
        assert_eq!(
            (answer.text().as_str(), answer.reason()),
            ("ERROR_KEY_DOES_NOT_EXIST", "unknown_key")
        );
    }
    world.get(&with_prefix("acme", ACME)).await.id();
    until("one is charged", || world.tenant("acme").day_solves == 1).await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
    let tenants = "acme: { keys: { prod: { key: ACME, allow_from: [10.0.0.0/8] } } }";
    for (trusted, forwarded, passes) in [
        ("[]", "10.1.2.3", false),
        ("[127.0.0.0/8]", "10.1.2.3", true),
        ("[127.0.0.0/8]", "10.1.2.3, 192.0.2.1", false),
        ("[127.0.0.0/8, 192.0.2.1]", "10.1.2.3, 192.0.2.1", true),
        ("[127.0.0.0/8]", "", false),
        ("[192.0.2.0/24]", "10.1.2.3", false),
    ] {
        let rest = format!("trusted_proxies: {trusted}");
        let world = World::start(Setup { tenants, rest, ..Setup::default() }).await;
        let mut client = world.client().await;
        let head = format!("Host: localhost\r\nX-Forwarded-For: {forwarded}");
        client
            .send(get(&submission(ACME, "never")).replacen("Host: localhost", &head, 1).as_bytes())
            .await;
        let answer = client.answer().await;
        let expected = if passes { "none" } else { "ip_denied" };
        assert_eq!(answer.reason(), expected, "{trusted} {forwarded}: {answer:?}");
        assert_eq!(answer.text() == "ERROR_IP_NOT_ALLOWED", !passes);
        world.close(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_key_submits_nothing_but_fetches_what_it_paid_for() {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let tenants = format!("acme: {{ keys: {{ prod: {{ key: ACME, expires: '{soon:.0}' }} }} }}");
    let setup =
        Setup { tenants: tenants.leak(), rest: "rejections: http".to_owned(), ..Setup::default() };
    let world = World::start(setup).await;
    let id = world.submit(ACME, "answer=a").await;
    until("the key expired", || jiff::Timestamp::now() > soon).await;

    let answer = world.get(&submission(ACME, "")).await;
    let balance = world.get(&format!("/res.php?key={ACME}&action=getbalance")).await;

    for answer in [answer, balance] {
        let seen = (answer.status, answer.text(), answer.reason());
        assert_eq!(seen, (401, "ERROR_KEY_DOES_NOT_EXIST".to_owned(), "expired_key"));
    }
    assert_eq!(world.poll(ACME, &id).await.text(), "OK|a");
    world.settled().await;
    world.close(1).await;
}
