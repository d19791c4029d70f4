//! Byte for byte: what the provider receives is what the client sent but for the key, and what the
//! client receives is what the provider sent.

use std::fs;
use std::path::Path;

use solvegate::simulate::{LogEntry, Operation};

use crate::support::canned::Canned;
use crate::support::client::{post, submission};
use crate::support::{ACCOUNT, ACME, Setup, World, until};

/// The key of the recorded requests.
const RECORDED: &str = "tnt0acme000000000000000000000001";
/// The task that they poll.
const TASK: &str = "2122988149";

const TENANT: &str = "acme: { keys: { prod: { key: tnt0acme000000000000000000000001 } } }";

#[tokio::test(flavor = "multi_thread")]
async fn recorded_submissions_reach_the_provider_as_they_were_sent() {
    let world = World::start(Setup { tenants: TENANT, ..Setup::default() }).await;
    let mut accepted = 0;
    for (name, request) in recorded() {
        let line =
            String::from_utf8_lossy(request.split(|b| *b == b'\r').next().unwrap()).into_owned();
        if line.contains("/res.php") {
            continue;
        }
        let since = world.control().last_logged();
        let mut client = world.client().await;
        client.send(&request).await;
        let answer = client.answer().await;
        let received = world.traffic(since);
        let [received] = received.as_slice() else { panic!("{name}: {received:#?}") };

        assert_same(&name, &request, received);
        assert_eq!(received.answer.as_deref(), Some(answer.text().as_str()), "{name}");
        let task = received.task.as_ref().filter(|_| received.operation == Operation::Submit);
        if let Some(task) = task {
            accepted += 1;
            world.poll_to_end(RECORDED, task).await;
        } else if answer.text().starts_with("OK|") {
            accepted += 1;
        }
    }
    assert!(accepted >= 14, "{accepted}");
    world.settled().await;
    world.close(accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_polls_reach_the_provider_as_they_were_sent() {
    let world = World::start(Setup { tenants: TENANT, ..Setup::default() }).await;
    let mut forwarded = 0;
    for (name, request) in recorded() {
        let is_poll = name.ends_with("-poll.http") && !name.starts_with("unicaps");
        if !is_poll {
            continue;
        }
        let id = world.submit(RECORDED, "never").await;
        let request = replaced(&request, TASK, &id);
        let since = world.control().last_logged();
        let mut client = world.client().await;
        client.send(&request).await;
        let answer = client.answer().await;
        let received = world.traffic(since);
        let [received] = received.as_slice() else { panic!("{name}: {received:#?}") };

        assert_same(&name, &request, received);
        assert_eq!(received.answer.as_deref(), Some(answer.text().as_str()), "{name}");
        forwarded += 1;
    }
    assert_eq!(forwarded, 4);
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_10_mib_goes_through_untouched() {
    let world = World::start(Setup::default()).await;
    let mut seed = 1_u32;
    let image: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed.to_be_bytes()[0]
    })
    .take(10 << 20)
    .collect();
    let mut body = b"preamble\r\n--x-y\r\ncontent-disposition:form-data;NAME=key\r\n\r\n".to_vec();
    body.extend_from_slice(ACME.as_bytes());
    body.extend_from_slice(
        b"\r\n--x-y\r\nContent-Disposition: form-data; name=\"method\"\r\n\r\npost",
    );
    body.extend_from_slice(b"\r\n--x-y\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\xff.png\"\r\n\r\n");
    body.extend_from_slice(&image);
    body.extend_from_slice(b"\r\n--x-y\r\nContent-Disposition: form-data; name=\"a%20b\"\r\n\r\n1");
    body.extend_from_slice(b"\r\n--x-y\r\nContent-Disposition: form-data; name=\"a%20b\"\r\n\r\n2");
    body.extend_from_slice(b"\r\n--x-y--\r\nepilogue");
    let mut client = world.client().await;
    let request = post("/in.php?a=1&a=2&%61=%zz&b", "Multipart/Form-Data; Boundary=\"x-y\"", &body);
    client.send(&request).await;
    let answer = client.answer().await;
    assert_eq!(answer.reason(), "none", "{answer:?}");

    let received = world.received(Operation::Submit);

    assert_same_as("a large image", &request, &received[0], ACME);
    world.settled().await;
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_go_on_but_for_those_of_the_connection_and_of_credentials() {
    let world = World::start(Setup::default()).await;
    let mut client = world.client().await;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: mine/1\r\nAccept: */*\r\nX-Own: \u{e9}\r\n\
         X-Own: again\r\nAuthorization: Basic x\r\nCookie: a=b\r\nX-Forwarded-For: 10.1.1.1\r\n\
         Accept-Encoding: gzip\r\nReferer: https://{ACME}/\r\nConnection: keep-alive, x-hop\r\n\
         X-Hop: 1\r\nTE: trailers\r\nForwarded: for=1.1.1.1\r\nVia: 1.1 x\r\n\r\n",
        submission(ACME, "never")
    );
    client.send(request.as_bytes()).await;
    client.answer().await.id();

    let received = &world.received(Operation::Submit)[0];

    let mut headers: Vec<_> = received
        .headers
        .iter()
        .map(|(name, value)| format!("{}: {value}", name.to_lowercase()))
        .collect();
    headers.sort();
    let host = format!("host: {}", world.upstream);
    assert_eq!(
        headers,
        ["accept: */*", &host, "user-agent: mine/1", "via: 1.1 x", "x-own: again", "x-own: \u{e9}"]
    );
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_answers_to_a_submission_reaches_the_client_as_it_is() {
    let canned = Canned::start().await;
    let world = World::start_at(Setup::default(), canned.address).await;
    for (status, content_type, body) in [
        (200, "text/html; charset=UTF-8", "OK|1"),
        (200, "application/json", r#"{"status":1,"request":2}"#),
        (200, "application/json", r#"{"status":1,"request":"3"}"#),
        (200, "", "OK|4"),
        (200, "text/html", "OK|5\n"),
        (
            200,
            "application/json;charset=x",
            "{ \"request\" : \"6\",\n \"status\": 1, \"extra\":\"\u{e9}\" }\r\n",
        ),
        (200, "text/plain", "ERROR_PAGEURL"),
        (200, "application/json", r#"{"status":0,"request":"ERROR_PAGEURL","error_text":"x"}"#),
        (200, "text/plain", "ERROR_NO_SLOT_AVAILABLE"),
        (200, "text/plain", "ERROR_ZERO_BALANCE"),
        (400, "text/plain", "ERROR_BAD_PARAMETERS"),
        (200, "text/plain", "ERROR_PAGEURL|the page is wrong"),
    ] {
        canned.submit(status, content_type, body.as_bytes());
        let answer = world.get(&submission(ACME, "")).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, body));
        assert_eq!(answer.header("content-type").unwrap_or(""), content_type, "{body}");
        assert_eq!(answer.header("x-provider"), None, "no other header of the provider's");
        assert_eq!(answer.header("x-solvegate-reason"), None);
    }
    until("refusals are settled", || world.tenant("acme").open == 6).await;
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_answers_to_a_poll_reaches_the_client_as_it_is() {
    let canned = Canned::start().await;
    let world = World::start_at(Setup::default(), canned.address).await;
    let success = [
        ("text/html; charset=UTF-8", "OK|token|with|pipes"),
        ("", "OK|no content type"),
        ("application/json", r#"{"status":1,"request":"token"}"#),
        ("application/json", r#"{"status":1,"request":{"geetest_challenge":"a","n":1.50}}"#),
        ("application/json", r#"{"status":1,"result":"token","user_agent":"Mozilla"}"#),
        ("application/json", r#"{"challenge":"a","validate":"b","seccode":"b|jordan"}"#),
        ("text/plain", "OK|\u{fffd}\u{e9} odd\r\n"),
        ("text/plain", "OK|ERROR_ is part of this token"),
    ];
    let failure = [
        ("text/plain", "ERROR_CAPTCHA_UNSOLVABLE"),
        (
            "application/json",
            r#"{"status":0,"request":"ERROR_CAPTCHA_UNSOLVABLE","error_text":"no"}"#,
        ),
        ("text/plain", "ERROR_WRONG_CAPTCHA_ID"),
        ("text/plain", "ERROR_NEVER_HEARD_OF"),
    ];
    let pending = [
        ("text/plain", "CAPCHA_NOT_READY"),
        ("text/plain", "CAPCHA_NOT_READY\n"),
        ("application/json", r#"{"status":0,"request":"CAPCHA_NOT_READY"}"#),
        ("text/plain", "ERROR_PROXY_CONNECTION_FAILED"),
    ];
    for (number, (content_type, body)) in success.iter().chain(&failure).enumerate() {
        let id = (1_000 + number).to_string();
        canned.submit(200, "text/plain", format!("OK|{id}").as_bytes());
        world.submit(ACME, "").await;
        for (status, (content_type, body)) in
            [200, 400].into_iter().flat_map(|s| pending.map(|p| (s, p)))
        {
            if status == 400 && !body.starts_with("ERROR") {
                continue;
            }
            canned.poll(status, content_type, body.as_bytes());
            let answer = world.poll(ACME, &id).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, body));
            assert_eq!(answer.header("content-type").unwrap_or(""), content_type);
        }
        canned.poll(200, content_type, body.as_bytes());
        for _ in 0..2 {
            let answer = world.poll(ACME, &id).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, *body));
            assert_eq!(answer.header("content-type").unwrap_or(""), *content_type);
            canned.poll(200, "text/plain", b"not asked again");
        }
    }
    world.settled().await;
    world.close(success.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_any_origin_gets_the_header() {
    let world = World::start(Setup::default()).await;
    let target = submission(ACME, "never");

    let answer = world.get(&format!("{target}&header_acao=1")).await;

    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(world.get(&target).await.header("access-control-allow-origin"), None);
    world.close(0).await;
}

fn recorded() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/requests");
    let mut requests: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    requests.sort();
    assert!(requests.len() > 25);
    requests
}

/// The same request with other text in it and the length that fits.
fn replaced(request: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (head, body) = split(request);
    let body = swapped(body, from, to);
    let head = String::from_utf8(swapped(head, from, to)).unwrap();
    let head: Vec<String> = head
        .split("\r\n")
        .map(|line| match line.split_once(": ") {
            Some((name, _)) if name == "Content-Length" => format!("{name}: {}", body.len()),
            _ => line.to_owned(),
        })
        .collect();
    let mut request = head.join("\r\n").into_bytes();
    request.extend_from_slice(b"\r\n\r\n");
    request.extend_from_slice(&body);
    request
}

fn split(request: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memmem::find(request, b"\r\n\r\n").unwrap();
    (&request[..end], &request[end + 4..])
}

fn swapped(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut rest = bytes;
    let mut out = Vec::new();
    while let Some(at) = memchr::memmem::find(rest, from.as_bytes()) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to.as_bytes());
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

fn assert_same(name: &str, request: &[u8], received: &LogEntry) {
    assert_same_as(name, request, received, RECORDED);
}

/// What was received is what was sent, with the account's key in place of the tenant's.
fn assert_same_as(name: &str, request: &[u8], received: &LogEntry, key: &str) {
    let sent = swapped(request, key, ACCOUNT);
    let (head, body) = split(&sent);
    let head = String::from_utf8(head.to_vec()).unwrap();
    let mut line = head.split("\r\n").next().unwrap().split(' ');
    assert_eq!(Some(received.method.as_str()), line.next(), "{name}");
    let target = line.next().unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    assert_eq!(received.path.rsplit('/').next(), path.rsplit('/').next(), "{name}");
    assert_eq!(received.query, query, "{name}");
    let content_type = head
        .split("\r\n")
        .find_map(|line| {
            line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        })
        .map_or("", |(_, value)| value);
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    if text.starts_with(b"{") {
        assert_eq!(received.content_type, "application/x-www-form-urlencoded", "{name}");
        assert_same_fields(name, text, received.body.as_deref().unwrap());
        return;
    }
    assert_eq!(received.content_type, content_type, "{name}");
    match &received.body_base64 {
        Some(text) => assert!(decoded(text) == body, "{name}: the body differs"),
        None => assert!(received.body.as_deref().unwrap_or_default().as_bytes() == body, "{name}"),
    }
}

/// A flat JSON object and a form say the same, in the same order.
fn assert_same_fields(name: &str, json: &[u8], form: &str) {
    let sent: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(json).unwrap();
    let received: Vec<(String, String)> =
        form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    let mut fields: Vec<(String, String)> = Vec::new();
    for (field, value) in &received {
        if !fields.iter().any(|(seen, _)| seen == field) {
            fields.push((field.clone(), value.clone()));
        }
    }
    assert_eq!(fields.len(), sent.len(), "{name}");
    for ((field, value), (wanted, json)) in fields.iter().zip(&sent) {
        assert_eq!(field, wanted, "{name}");
        match json {
            serde_json::Value::String(text) => assert_eq!(value, text, "{name}"),
            serde_json::Value::Null => assert_eq!(value, "", "{name}"),
            serde_json::Value::Object(_) => {
                assert_eq!(
                    serde_json::from_str::<serde_json::Value>(value).unwrap(),
                    *json,
                    "{name}"
                );
            }
            serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Array(_) => assert_eq!(*value, json.to_string(), "{name}"),
        }
    }
}

fn decoded(base64: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut places = [0_u32; 256];
    for (place, symbol) in (0..).zip(ALPHABET) {
        places[usize::from(*symbol)] = place;
    }
    let mut bytes = Vec::with_capacity(base64.len() / 4 * 3);
    for quad in base64.as_bytes().chunks(4) {
        let bits = quad.iter().fold(0, |bits, symbol| bits << 6 | places[usize::from(*symbol)]);
        let padding = (1..=2).filter(|end| quad[quad.len() - end] == b'=').count();
        bytes.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
    }
    bytes
}
