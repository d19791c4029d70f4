//! The commands that talk to a running sidecar, as a person or a script runs them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::client::submission;
use crate::support::usual::traffic;
use crate::support::webhook::Webhook;
use crate::support::{Setup, TOKEN, World, ZEN};

const TENANTS: &str = "acme: { prepaid: { opening_balance: 1.00 }, keys: { prod: { key: ACME } } }, \
    zen: { in_flight_max: 1, keys: { prod: { key: ZEN } } }";

async fn start() -> World {
    start_with("").await
}

async fn start_with(more: &str) -> World {
    let rest = format!(
        "admin: {{ listen: '127.0.0.1:0', token: {TOKEN} }}\n\
         prices: {{ default: 0.003, turnstile: 0.002 }}\n{more}"
    );
    World::start(Setup { tenants: TENANTS, rest, ..Setup::default() }).await
}

fn command(world: &World, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_solvegate"));
    command.args(arguments).current_dir(world.folder.path());
    command.env("SOLVEGATE_ADMIN_URL", format!("http://{}", world.app().admin));
    command.env("SOLVEGATE_ADMIN_TOKEN", TOKEN).env("USER", "ann").env_remove("SOLVEGATE_CONFIG");
    command
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// What it prints; it must succeed.
async fn printed(world: &World, arguments: &[&str]) -> String {
    let done = output(command(world, arguments)).await;
    let text = String::from_utf8(done.stdout).unwrap();
    let complaints = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{arguments:?}: {text}{complaints}");
    assert!(!text.contains('\x1b'), "colour where nobody looks: {text}");
    assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
    text
}

/// The one line that it fails with.
async fn failure(command: Command) -> String {
    let done = output(command).await;
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert_eq!(done.stdout, b"", "{done:?}");
    let text = String::from_utf8(done.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("error: "), "{text}");
    text
}

/// The text with what differs from run to run replaced.
fn stable(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let is_time = word.len() == 24 && word.ends_with('Z') && word.contains('T');
        if is_time { "TIME" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn slo_why_and_usage_print_what_people_ask() {
    let world = start().await;
    traffic(&world).await;

    let slo = printed(&world, &["slo"]).await;
    let why = printed(&world, &["why", "zen"]).await;
    let month =
        jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).strftime("%Y-%m").to_string();
    let usage = printed(&world, &["usage", "acme", "--by", "key"]).await;

    assert_eq!(
        slo,
        "TYPE       SLO      STATUS   OBJECTIVE %  CURRENT %  EVENTS  FAILURES  BUDGET  LEFT  LEFT %  BURN RATE\n\
         turnstile  success  healthy        95.00      75.00       4         1     0.2  -0.8  -400.0       5.00\n"
    );
    let (first, second) = why.trim_end().split_once('\n').unwrap();
    assert_eq!(stable(first), "TIME  in_flight, key prod for turnstile: 2 times since TIME");
    assert!(second.starts_with("    ") && second.contains('1'), "names the limit: {why}");
    assert_eq!(
        printed(&world, &["why", "acme"]).await,
        "acme was not refused anything since the start\n"
    );
    let refused = world.get(&submission(ZEN, "")).await;
    let id = refused.header("x-solvegate-request-id").unwrap();
    let why_id = printed(&world, &["why", id]).await;
    let (first, reason) = why_id.split_once('\n').unwrap();
    assert_eq!(stable(first), "TIME  in_flight, tenant zen, key prod for turnstile");
    let text = |line: &str| line.split(" (try again").next().unwrap().to_owned();
    assert_eq!(text(reason), text(second), "{why_id}");
    let wrong = world.get(&submission("nobody00000000000000000000000000", "")).await;
    let of_nobody =
        printed(&world, &["why", wrong.header("x-solvegate-request-id").unwrap()]).await;
    assert!(of_nobody.contains("  unknown_key, no tenant that the request names\n"), "{of_nobody}");
    let unknown = failure(command(&world, &["why", "req:aaaaaaaaaaaaaaaa"])).await;
    assert!(unknown.contains("the last 4,096 since the start are"), "{unknown}");
    let (head, table) = usage.split_once('\n').unwrap();
    assert!(
        head.starts_with(&format!("acme, charged solves from {month}-01 to {month}-")),
        "{head}"
    );
    assert_eq!(
        table,
        "KEY    SOLVES  COST USD\n\
         prod        3  0.006000\n\
         total       3  0.006000\n"
    );
    for arguments in [
        &["slo", "--json"][..],
        &["why", "zen", "--json"],
        &["why", id, "--json"],
        &["usage", "acme", "--json"],
    ] {
        let text = printed(&world, arguments).await;
        assert!(serde_json::from_str::<Value>(&text).unwrap().is_object(), "{text}");
    }
    world.close(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_listed_rerolled_and_taken_back() {
    let mut world = start().await;
    let settings = r#"{"allow_types": ["turnstile"]}"#;

    let made = printed(&world, &["key", "new", "acme", "crawler", "--settings", settings]).await;
    let secret = made.trim_end();

    assert_eq!((secret.len(), made.len()), (32, 33), "the key alone, for scripts: {made}");
    world.submit(secret, "never").await;
    let rerolled = printed(&world, &["key", "reroll", "acme", "crawler", "--overlap", "1h"]).await;
    world.submit(rerolled.trim_end(), "never").await;
    world.submit(secret, "never").await;
    let revoked =
        printed(&world, &["key", "revoke", "acme", "crawler", "--note", "bob: leaked"]).await;
    assert_eq!(revoked, "key crawler of tenant acme is refused from now on\n");
    assert_eq!(world.get(&submission(secret, "")).await.reason(), "revoked_key");
    let list = printed(&world, &["key", "list", "acme"]).await;
    assert_eq!(
        stable(&list),
        "KEY      FROM    STATE    SECRETS  MADE                      NOTE\n\
         crawler  api     revoked  0        TIME  bob: leaked\n\
         prod     config  live     1        -                         -\n"
    );
    let refused = command(&world, &["key", "new", "acme", "crawler"]);
    assert!(failure(refused).await.contains("give the new one another id"));
    let refused = command(&world, &["key", "new", "acme", "b", "--settings", r#"{"rate": 1}"#]);
    assert!(failure(refused).await.contains("rate: is not a known key"));
    let refused = command(&world, &["key", "new", "acme", "b", "--settings", "rate: 1"]);
    assert_eq!(failure(refused).await, "error: --settings must be JSON\n");
    world.restart().await;
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_with_an_id_counts_once() {
    let world = start().await;
    let credit = ["credit", "acme", "25.000001", "--id", "invoice-7", "--note", "ann: invoice"];

    let first = printed(&world, &credit).await;
    let again = printed(&world, &credit).await;
    let taken = printed(&world, &["credit", "acme", "-1.5", "--adjust"]).await;

    assert_eq!(first, "credited; the balance is 26.000001 USD\n");
    assert_eq!(again, "credited before, not again; the balance is 26.000001 USD\n");
    assert_eq!(taken, "credited; the balance is 24.500001 USD\n");
    let refused = command(&world, &["credit", "zen", "1", "--id", "a"]);
    assert!(failure(refused).await.contains("has no prepaid balance"));
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_is_a_table_for_people_and_a_checked_file_for_books() {
    let world = start().await;
    traffic(&world).await;
    let month =
        jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).strftime("%Y-%m").to_string();
    let of = |more: &[&'static str]| [&["bill", "--month", &month], more].concat();

    let all = printed(&world, &of(&[])).await;
    let csv = printed(&world, &of(&["--tenant", "acme", "--format", "csv"])).await;
    let table = printed(&world, &of(&["--tenant", "acme"])).await;
    let to_file = of(&["--tenant", "acme", "--format", "csv", "--output", "bill.csv"]);
    let saved = output(command(&world, &to_file)).await;

    assert_eq!(
        all,
        format!(
            "{month}\n\n\
             TENANT  SOLVES  COST USD\n\
             acme         3  0.006000\n\
             total        3  0.006000\n"
        )
    );
    assert!(table.contains("\nKEY    SOLVES  COST USD\nprod        3  0.006000\n"), "{table}");
    assert!(csv.starts_with("timestamp,task_id,type,cost_usd,"), "{csv}");
    assert_eq!(csv.lines().count(), 4);
    assert!(saved.status.success() && saved.stdout.is_empty(), "{saved:?}");
    let file = std::fs::read_to_string(world.folder.path().join("bill.csv")).unwrap();
    assert_eq!(file, csv);
    let manifest: Value = serde_json::from_slice(&saved.stderr).unwrap();
    assert_eq!(manifest["sha256"], sha256sum(&world.folder.path().join("bill.csv")));
    assert_eq!(manifest["rows"], 3);
    let refused = command(&world, &of(&["--format", "csv"]));
    assert!(failure(refused).await.contains("add --tenant"));
    let refused = command(&world, &["bill", "--month", "October"]);
    assert_eq!(failure(refused).await, "error: month must be like 2026-10\n");
    let nowhere = of(&["--tenant", "acme", "--format", "csv", "--output", "no/where.csv"]);
    assert!(failure(command(&world, &nowhere)).await.contains("cannot write `no/where.csv`"));
    world.close(3).await;
}

fn sha256sum(path: &Path) -> String {
    let done = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(done.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn solves_are_listed_and_followed() {
    let world = start().await;
    assert_eq!(printed(&world, &["solves"]).await, "no solve that ended is like that\n");
    let mut following =
        command(&world, &["solves", "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = move || lines.next().unwrap().unwrap();
    let (head, mut next) = tokio::task::spawn_blocking(move || (next(), next)).await.unwrap();
    assert!(head.starts_with("SUBMITTED "), "{head}");

    traffic(&world).await;

    let followed =
        tokio::task::spawn_blocking(move || [next(), next(), next(), next()]).await.unwrap();
    following.kill().unwrap();
    following.wait().unwrap();
    let words = followed.each_ref().map(|line| line.split_whitespace().nth(4).unwrap());
    assert_eq!(words, ["solved", "solved", "solved", "unsolvable"], "{followed:#?}");
    let listed = printed(&world, &["solves", "--tenant", "zen"]).await;
    let rows: Vec<_> = listed.lines().collect();
    assert_eq!(rows.len(), 2, "{listed}");
    assert!(rows[0].starts_with("SUBMITTED"), "{listed}");
    assert!(rows[1].contains(" zen     prod  turnstile  unsolvable "), "{listed}");
    let wrong = command(&world, &["solves", "--type", "captcha"]);
    assert!(failure(wrong).await.contains("there is no type `captcha`"));
    world.close(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notify_test_says_how_each_webhook_took_it() {
    let (good, bad) = (Webhook::start().await, Webhook::start().await);
    bad.answer(Some(404));
    let one = format!("notify: [ {{ url: '{}' }} ]", good.url());
    let both = one.replace(" ]", &format!(", {{ url: '{}', format: slack }} ]", bad.url()));
    let (of_one, of_both, none) = (start_with(&one).await, start_with(&both).await, start().await);
    let shown = |hook: &Webhook| hook.url().replace("/hook/path0canary", "/***");
    let rows = |bad_row: &str| {
        let url = shown(&good);
        format!("{:1$}  FORMAT  RESULT\n{url}  json    ok\n{bad_row}", "WEBHOOK", url.len())
    };

    let all_well = printed(&of_one, &["notify", "test"]).await;
    let failed = output(command(&of_both, &["notify", "test"])).await;
    let as_json = output(command(&of_both, &["notify", "test", "--json"])).await;
    let unconfigured = failure(command(&none, &["notify", "test"])).await;

    assert_eq!(all_well, rows(""));
    let bad_row = format!("{}  slack   failed: it answered 404\n", shown(&bad));
    assert_eq!(String::from_utf8(failed.stdout).unwrap(), rows(&bad_row));
    let why = "error: 1 of 2 webhooks did not take the test\n";
    assert_eq!((failed.status.code(), failed.stderr.as_slice()), (Some(1), why.as_bytes()));
    assert_eq!((as_json.status.code(), as_json.stderr.as_slice()), (Some(1), why.as_bytes()));
    let tested: Value = serde_json::from_slice(&as_json.stdout).unwrap();
    assert_eq!(tested["webhooks"][1]["error"], "it answered 404");
    assert_eq!(unconfigured, "error: no webhook is configured: name one under `notify`\n");
    assert_eq!((good.bodies().len(), bad.bodies().len()), (3, 2));
    for world in [of_one, of_both, none] {
        world.close(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_sidecar_is_and_what_opens_it_is_found_or_asked_for() {
    let world = start().await;
    let mut without = command(&world, &["slo"]);
    without.env_remove("SOLVEGATE_ADMIN_TOKEN");
    assert!(failure(without).await.contains("set SOLVEGATE_ADMIN_TOKEN or give --token-file"));
    let mut wrong = command(&world, &["slo"]);
    wrong.env("SOLVEGATE_ADMIN_TOKEN", "wrong");
    assert!(failure(wrong).await.contains("asks for its token"));
    std::fs::write(world.folder.path().join("token"), format!("{TOKEN}\n")).unwrap();
    let mut from_file = command(&world, &["slo", "--token-file", "token"]);
    from_file.env_remove("SOLVEGATE_ADMIN_TOKEN");
    assert!(output(from_file).await.status.success());
    let no_file = command(&world, &["slo", "--token-file", "none"]);
    assert!(failure(no_file).await.contains("cannot read the token in `none`"));

    // Address and token of the config.
    let config = format!("admin: {{ listen: '{}', token: {TOKEN} }}\n", world.app().admin);
    std::fs::write(world.folder.path().join("solvegate.yaml"), config).unwrap();
    let mut from_config = command(&world, &["slo"]);
    from_config.env_remove("SOLVEGATE_ADMIN_URL").env_remove("SOLVEGATE_ADMIN_TOKEN");
    assert!(output(from_config).await.status.success());
    std::fs::write(world.folder.path().join("solvegate.yaml"), "admin: { colour: red }\n").unwrap();
    let mut faulty = command(&world, &["slo"]);
    faulty.env_remove("SOLVEGATE_ADMIN_URL");
    assert!(failure(faulty).await.contains("say where the sidecar is with --admin URL"));

    // A port that nobody listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = command(&world, &["slo", "--admin", &format!("http://{free}")]);
    let text = failure(nobody).await;
    assert!(
        text.contains(&format!("nothing answers at http://{free}: start `solvegate run`")),
        "{text}"
    );
    let stranger = command(&world, &["slo", "--admin", &format!("http://{}", world.app().data)]);
    assert!(failure(stranger).await.contains("is no solvegate"));
    let odd = command(&world, &["slo", "--admin", "nonsense"]);
    assert!(failure(odd).await.contains("is no URL"));
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_readme_do_what_they_say() {
    let webhook = Webhook::start().await;
    let world = start_with(&format!("notify: [ {{ url: '{}' }} ]", webhook.url())).await;
    let readme = include_str!("../../README.md");
    let section = readme.split("## Operating it").nth(1).unwrap();
    let block = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    // One goes on for ever, and is tested above.
    let lines: Vec<_> = block.lines().filter(|line| !line.contains("--follow")).collect();
    assert!(lines.len() >= 10, "{lines:?}");

    for line in lines {
        let program = format!("\"{}\" ", env!("CARGO_BIN_EXE_solvegate"));
        let script = line.replacen("solvegate ", &program, 1);
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(world.folder.path());
        shell.env("SOLVEGATE_ADMIN_URL", format!("http://{}", world.app().admin));
        shell.env("SOLVEGATE_ADMIN_TOKEN", TOKEN);
        let done = output(shell).await;
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }

    assert_eq!(world.tenant("acme").balance.unwrap().to_string(), "26.00");
    assert!(world.folder.path().join("acme.csv").exists());
    world.close(0).await;
}

/// In another terminal than the sidecar's its secrets are not set.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_finds_the_sidecar_by_a_config_whose_other_secrets_it_lacks() {
    let world = start().await;
    let config = format!(
        "admin: {{ listen: '{}', token: \"${{ADMIN_TOKEN}}\" }}\n\
         accounts: {{ main: {{ key: \"${{NOT_SET_HERE}}\" }} }}\n\
         tenants: {{ acme: {{ keys: {{ prod: {{ key: \"${{file:not-there}}\" }} }} }} }}\n",
        world.app().admin
    );
    std::fs::write(world.folder.path().join("solvegate.yaml"), config).unwrap();
    let by_config = |arguments: &[&str]| {
        let mut command = command(&world, arguments);
        command.env_remove("SOLVEGATE_ADMIN_URL").env_remove("SOLVEGATE_ADMIN_TOKEN");
        command.env_remove("NOT_SET_HERE").env("ADMIN_TOKEN", TOKEN);
        command
    };

    let done = output(by_config(&["key", "list", "acme"])).await;
    assert!(done.status.success(), "{done:?}");
    assert!(String::from_utf8(done.stdout).unwrap().contains("prod"));
    assert!(output(by_config(&["healthcheck"])).await.status.success());

    let mut without = by_config(&["key", "list", "acme"]);
    without.env_remove("ADMIN_TOKEN");
    assert!(failure(without).await.contains("needs the environment variable ADMIN_TOKEN"));
    world.close(0).await;
}
