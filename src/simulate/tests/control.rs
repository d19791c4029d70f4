//! The control API over HTTP, and the command line.

use serde_json::{Value, json};

use super::{KEY, Received, call, get, options, poll, simulation, submission, submit};
use crate::simulate::{DEFAULT_KEY, Options, Simulation, WhenBusy};

async fn post(simulation: &Simulation, path: &str, body: &Value) -> Received {
    call(simulation.addr(), "POST", path, "", body.to_string().as_bytes()).await
}

async fn json(simulation: &Simulation, path: &str) -> Value {
    serde_json::from_str(&get(simulation.addr(), path).await.body).unwrap()
}

#[tokio::test]
async fn faults_are_added_shown_and_removed() {
    let simulation = simulation();
    let rule = json!({ "operation": "submit", "fault": { "code": "ERROR_X" } });

    let added = post(&simulation, "/-/faults", &json!([rule])).await;
    assert_eq!(
        (added.status, get(simulation.addr(), &submission()).await.body),
        (200, "ERROR_X".into())
    );
    assert_eq!(json(&simulation, "/-/faults").await[0]["struck"], 1);
    call(simulation.addr(), "DELETE", "/-/faults", "", b"").await;
    assert!(get(simulation.addr(), &submission()).await.body.starts_with("OK|"));
}

#[tokio::test]
async fn what_control_cannot_read_is_refused_with_a_reason() {
    let simulation = simulation();
    for (path, body, reason) in [
        ("/-/faults", json!([{ "fault": "nonsense" }]), "unknown variant `nonsense`"),
        ("/-/accounts", json!({ "key": KEY, "balance": "much" }), "not a decimal amount"),
        ("/-/errors", json!(["unsolvable=2"]), "`2` is no valid value"),
        ("/-/errors", json!(["nocaptcha/unsolvable=1"]), "`nocaptcha` is no captcha type"),
        ("/-/down", json!({ "mode": "refuse" }), "for how long"),
    ] {
        let answer = post(&simulation, path, &body).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.body.contains(reason), "{path}: {}", answer.body);
    }
    assert_eq!(get(simulation.addr(), "/-/nonsense").await.status, 404);
}

#[tokio::test]
async fn the_log_shows_what_was_received_and_answered() {
    let simulation = simulation();
    let id = submit(simulation.addr()).await;
    let body = format!("key={KEY}&action=get&id={id}&json=1");
    let form = "Content-Type: application/x-www-form-urlencoded\r\nX-Extra: 1\r\n";
    call(simulation.addr(), "POST", "/res.php?a=b", form, body.as_bytes()).await;
    call(simulation.addr(), "POST", "/in.php", "", b"\xff").await;

    let log = json(&simulation, "/-/log?since=0").await;

    assert_eq!(log.as_array().unwrap().len(), 3);
    assert_eq!(log[0]["operation"], "submit");
    assert_eq!((&log[0]["task"], &log[0]["key"]), (&json!(id), &json!(KEY)));
    assert_eq!((&log[1]["seq"], &log[1]["method"]), (&json!(2), &json!("POST")));
    assert_eq!((&log[1]["path"], &log[1]["query"]), (&json!("/res.php"), &json!("a=b")));
    assert_eq!(log[1]["body"], json!(body));
    assert_eq!(log[1]["content_type"], "application/x-www-form-urlencoded");
    assert!(log[1]["headers"].as_array().unwrap().contains(&json!(["X-Extra", "1"])));
    assert!(log[1]["answer"].as_str().unwrap().contains("answer-"));
    assert_eq!(log[2]["body_base64"], "/w==");
    assert_eq!(json(&simulation, "/-/log?since=2").await.as_array().unwrap().len(), 1);
    let entry = &simulation.control().log(1)[0];
    assert_eq!(entry.field("id"), Some(id));
    assert_eq!(entry.header("x-extra"), Some("1"));
}

#[tokio::test]
async fn a_test_waits_for_a_request_instead_of_sleeping() {
    let simulation = simulation();
    let control = simulation.control();
    let addr = simulation.addr();

    let (entry, id) = tokio::join!(control.logged(0, |entry| entry.answer.is_some()), submit(addr));

    assert_eq!(entry.task, Some(id));
}

#[tokio::test]
async fn a_log_of_no_requests_stays_empty() {
    let simulation = Simulation::start(Options { log_max: 0, ..options() }).unwrap();

    submit(simulation.addr()).await;

    assert_eq!(json(&simulation, "/-/log").await, json!([]));
}

#[tokio::test]
async fn tasks_and_accounts_are_shown_with_masked_keys() {
    let simulation = simulation();
    let id = submit(simulation.addr()).await;
    get(simulation.addr(), &poll(&id)).await;

    let tasks = json(&simulation, "/-/tasks").await;
    let accounts = json(&simulation, "/-/accounts").await;

    assert_eq!((&tasks[0]["id"], &tasks[0]["captcha_type"]), (&json!(id), &json!("turnstile")));
    assert_eq!((&tasks[0]["polls"], &tasks[0]["solved_answers"]), (&json!(1), &json!(1)));
    assert_eq!(accounts[0]["balance"], "10.00");
    assert!(!tasks.to_string().contains(KEY) && !accounts.to_string().contains(KEY));
}

#[tokio::test]
async fn accounts_errors_and_times_change_while_it_runs() {
    let simulation = simulation();
    let balance = format!("/res.php?key={KEY}&action=getbalance");

    post(&simulation, "/-/accounts", &json!({ "key": KEY, "balance": 3.5, "threads": 1 })).await;
    assert_eq!(get(simulation.addr(), &balance).await.body, "3.50");
    post(&simulation, "/-/errors", &json!(["turnstile/unsolvable=1"])).await;
    let id = submit(simulation.addr()).await;
    assert_eq!(get(simulation.addr(), &poll(&id)).await.body, "ERROR_CAPTCHA_UNSOLVABLE");
    post(&simulation, "/-/solve-times", &json!(["1h"])).await;
    let id = submit(simulation.addr()).await;
    assert_eq!(get(simulation.addr(), &poll(&id)).await.body, "CAPCHA_NOT_READY");
    post(&simulation, "/-/accounts", &json!([{ "key": KEY, "valid": false }])).await;
    assert_eq!(get(simulation.addr(), &balance).await.body, "ERROR_KEY_DOES_NOT_EXIST");

    post(&simulation, "/-/reset", &json!(null)).await;
    assert_eq!(get(simulation.addr(), &balance).await.body, "10.00");
    assert_eq!(json(&simulation, "/-/tasks").await, json!([]));
}

#[test]
fn the_command_line_reads_every_option() {
    let options = parse(&[
        "--listen=127.0.0.1:0",
        &format!("--account={KEY},threads=3,balance=0.25"),
        "--any-key",
        "--dialect=2captcha",
        "--ids=int",
        "--solve-time=recaptcha_v2=20s,all=500ms",
        "--time-scale=60",
        "--jitter=0",
        "--errors=unsolvable=0.05,turnstile/ERROR_X=0.01",
        "--when-busy=no_slot",
        "--price=0.003,turnstile=0.002",
        "--seed=9",
        "--log-max=0",
        r#"--fault={"fault":"hang"}"#,
    ])
    .unwrap();

    assert_eq!((options.accounts[0].threads, options.accounts.len()), (3, 1));
    assert_eq!((options.solve_times.len(), options.errors.len(), options.prices.len()), (2, 2, 2));
    assert_eq!(options.when_busy, WhenBusy::NoSlot);
    assert_eq!(options.faults.len(), 1);
}

#[test]
fn the_command_line_refuses_what_makes_no_sense() {
    for argument in [
        "--account=short",
        "--solve-time=nocaptcha=3s",
        "--errors=solved=0.5",
        "--errors=unsolvable=1.5",
        "--time-scale=0",
        "--jitter=2",
        "--price=NaN",
        "--fault={}",
    ] {
        assert!(parse(&[argument]).is_err(), "{argument}");
    }
}

#[test]
fn the_defaults_are_a_free_port_and_one_account() {
    let options = Options::default();

    assert_eq!(options.listen.port(), 0);
    assert_eq!(options.accounts[0].key, DEFAULT_KEY);
    assert_eq!(DEFAULT_KEY.len(), 32);
}

fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }
    let arguments = std::iter::once("simulate-provider").chain(arguments.iter().copied());
    <Command as clap::Parser>::try_parse_from(arguments).map(|command| command.options)
}
