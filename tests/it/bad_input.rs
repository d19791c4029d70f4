//! Requests that cannot be right: a clear error or a closed connection, nothing forwarded, no trace.

use std::time::Duration;

use solvegate::simulate::Operation;

use crate::support::client::{get, poll, post, submission};
use crate::support::usual::URLENCODED;
use crate::support::{ACME, Setup, World, ZEN};

const MULTIPART: &str = "multipart/form-data; boundary=b";

/// What a request is answered: status and start of the body.
type Expected = (u16, &'static str);

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_read_gets_a_clear_error_and_leaves_no_trace() {
    let bed = Bed::start().await;
    for (what, request, (status, body)) in unreadable().into_iter().chain(meaningless()) {
        let mut client = bed.world.client().await;
        client.send(&request).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(answer.text().starts_with(body), "{what}: {answer:?}");
    }
    bed.close().await;
}

fn unreadable() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let in_php = |body: &str| post("/in.php", URLENCODED, body.as_bytes());
    let multipart = |body: &str| post("/in.php", MULTIPART, body.replace('\n', "\r\n").as_bytes());
    let part = format!("--b\nContent-Disposition: form-data; name=\"key\"\n\n{ACME}\n");
    vec![
        ("no end of the multipart body", multipart(&part), (200, "ERROR_BAD_PARAMETERS")),
        ("no part at all", multipart("nothing here"), (200, "ERROR_BAD_PARAMETERS")),
        ("no name", multipart(&format!("--b\n\n{ACME}\n--b--\n")), (200, "ERROR_BAD_PARAMETERS")),
        (
            "no boundary",
            post("/in.php", "multipart/form-data", part.as_bytes()),
            (200, "ERROR_BAD_PARAMETERS"),
        ),
        (
            "two keys",
            in_php(&format!("key={ACME}&key={ZEN}&method=post")),
            (200, "ERROR_WRONG_USER_KEY"),
        ),
        (
            "two keys, one in the query",
            post(&format!("/in.php?key={ACME}"), URLENCODED, format!("key={ZEN}").as_bytes()),
            (200, "ERROR_WRONG_USER_KEY"),
        ),
        ("no key", in_php("method=post"), (200, "ERROR_WRONG_USER_KEY")),
        ("a short key", in_php("key=short&method=post"), (200, "ERROR_WRONG_USER_KEY")),
        (
            "an unknown key",
            in_php("key=00000000000000000000000000000000&method=post"),
            (200, "ERROR_KEY_DOES_NOT_EXIST"),
        ),
        (
            "a key that is no text",
            post("/in.php", URLENCODED, b"key=\xff\xfe&method=post"),
            (200, "ERROR_"),
        ),
        ("broken JSON", post("/in.php", "application/json", b"{\"key\":"), (200, "{\"status\":0,")),
        (
            "JSON that is no object",
            post("/in.php", "application/json", b"[1]"),
            (200, "{\"status\":0,"),
        ),
        (
            "JSON that is not UTF-8",
            post("/in.php", "application/json", b"{\"key\":\"\xff\"}"),
            (200, "{\"status\":0,\"request\":\"ERROR_BAD_PARAMETERS\""),
        ),
        ("another type", post("/in.php", "image/png", b"\x89PNG"), (200, "ERROR_BAD_PARAMETERS")),
        (
            "2,000 parameters",
            in_php(&format!("key={ACME}{}", "&a=1".repeat(2_000))),
            (200, "ERROR_BAD_PARAMETERS"),
        ),
    ]
}

fn meaningless() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let res = |query: &str| get(&format!("/res.php?key={ACME}&{query}")).into_bytes();
    let many = vec!["1"; 10_000].join(",");
    vec![
        ("no action", res("id=1"), (200, "ERROR_EMPTY_ACTION")),
        ("an unknown action", res("action=getstats"), (200, "ERROR_BAD_PARAMETERS")),
        ("pingback management", res("action=add_pingback&addr=x"), (200, "ERROR_BAD_PARAMETERS")),
        ("an empty id", res("action=get&id="), (200, "ERROR_WRONG_ID_FORMAT")),
        ("no id", res("action=get"), (200, "ERROR_WRONG_ID_FORMAT")),
        ("an id that is no id", res("action=get&id=%00%ff"), (200, "ERROR_WRONG_ID_FORMAT")),
        (
            "a long id",
            res(&format!("action=get&id={}", "1".repeat(5_000))),
            (200, "ERROR_WRONG_ID_FORMAT"),
        ),
        ("10,000 ids", res(&format!("action=get&ids={many}")), (200, "ERROR_WRONG_ID_FORMAT")),
        ("ids of commas", res("action=get&ids=,,,"), (200, "ERROR_WRONG_ID_FORMAT")),
        ("id and ids", res("action=get&id=1&ids=2"), (200, "ERROR_WRONG_ID_FORMAT")),
        (
            "an unknown path",
            get(&format!("/load.php?key={ACME}")).into_bytes(),
            (404, "ERROR_EMPTY_ACTION"),
        ),
        ("the root", get("/").into_bytes(), (404, "ERROR_EMPTY_ACTION")),
        ("the other API", post("/createTask", "application/json", b"{}"), (404, "{\"errorId\":14")),
        ("a metric scrape", get("/metrics").into_bytes(), (404, "ERROR_EMPTY_ACTION")),
        ("a path in the path", get(&format!("/in.php/x?key={ACME}")).into_bytes(), (404, "ERROR_")),
        (
            "an unknown tenant in the path",
            get(&format!("/t/nobody{}", submission(ACME, ""))).into_bytes(),
            (200, "ERROR_KEY_DOES_NOT_EXIST"),
        ),
        (
            "another tenant in the path",
            get(&format!("/t/zen{}", submission(ACME, ""))).into_bytes(),
            (200, "ERROR_KEY_DOES_NOT_EXIST"),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_than_get_and_post_are_refused() {
    let bed = Bed::start().await;
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let mut client = bed.world.client().await;
        let request = get(&submission(ACME, "")).replacen("GET", method, 1);
        client.send(request.as_bytes()).await;
        let answer = client.answer().await;
        assert_eq!(answer.text(), "ERROR_BAD_PARAMETERS", "{method}: {answer:?}");
    }
    for target in ["sidecar:443", "/in.php"] {
        let mut client = bed.world.client().await;
        client
            .send(format!("CONNECT {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
            .await;
        let answer = client.answer().await;
        assert!(answer.status >= 400, "a tunnel was granted to {target}: {answer:?}");
    }
    let mut client = bed.world.client().await;
    client.send(get(&submission(ACME, "")).replacen("GET", "HEAD", 1).as_bytes()).await;
    assert!(client.stream.readable().await.is_ok());
    drop(client);
    bed.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_http_is_refused_or_cut_off() {
    let bed = Bed::start().await;
    let target = submission(ACME, "");
    let long = "a".repeat(200_000);
    let with = |headers: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\nabcde")
    };
    for (what, request) in [
        ("two lengths", with("Content-Length: 5\r\nContent-Length: 6")),
        ("a length that is no number", with("Content-Length: five")),
        ("a negative length", with("Content-Length: -5")),
        ("a chunk that is no chunk", with("Transfer-Encoding: chunked")),
        ("a coding before chunked", with("Transfer-Encoding: chunked, identity")),
        ("a folded header", with("X-Folded: a\r\n b\r\nContent-Length: 5")),
        ("a huge header", with(&format!("X-Long: {long}"))),
        ("many headers", with(&"X: y\r\n".repeat(5_000))),
        ("a header without a name", with(": y")),
        ("a space before the colon", with("Host : y")),
        ("a NUL in a header", with("X: a\0b")),
        ("a long target", get(&format!("/in.php?key={ACME}&a={long}"))),
        ("another protocol", "SSH-2.0-OpenSSH_9.6\r\n\r\n".to_owned()),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("HTTP/0.9", "GET /in.php\r\n\r\n".to_owned()),
        ("TLS", "\u{16}\u{3}\u{1}\0\u{5}hello".to_owned()),
    ] {
        let mut client = bed.world.client().await;
        // It may be cut off before it was all said.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, request.as_bytes()).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await;
        if let Some(answer) = client.maybe_answer().await {
            let refused = answer.status >= 400 || answer.text().contains("ERROR_");
            assert!(refused, "{what}: {answer:?}");
        }
    }
    bed.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transfer_encoding_beside_a_length_smuggles_nothing() {
    let bed = Bed::start().await;
    let hidden = get(&submission(ZEN, ""));
    let body = format!("0\r\n\r\n{hidden}");
    let request = format!(
        "POST /res.php?key={ACME}&action=getbalance HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n{body}",
        body.len()
    );
    let mut client = bed.world.client().await;
    client.send(request.as_bytes()).await;

    let first = client.maybe_answer().await;
    let second = client.maybe_answer().await;

    assert!(second.is_none(), "what follows the body was served: {first:?} {second:?}");
    bed.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_17_mib_is_refused_as_too_large() {
    let bed = Bed::start().await;
    let body = vec![b'a'; 17 << 20];
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {URLENCODED}\r\n",
        submission(ACME, "json=1")
    );

    let mut client = bed.world.client().await;
    let announced = format!("{head}Content-Length: {}\r\n\r\n", body.len());
    client.send(announced.as_bytes()).await;
    client.send(&body).await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.text().as_str(), answer.reason()),
        ("ERROR_TOO_BIG_CAPTCHA_FILESIZE", "too_large")
    );

    let mut client = bed.world.client().await;
    client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await;
    for chunk in body.chunks(1 << 20) {
        client.send(format!("{:x}\r\n", chunk.len()).as_bytes()).await;
        client.send(chunk).await;
        client.send(b"\r\n").await;
    }
    client.send(b"0\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.text().as_str(), answer.reason()),
        ("ERROR_TOO_BIG_CAPTCHA_FILESIZE", "too_large")
    );
    bed.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_announced_too_large_is_refused_before_it_comes() {
    let bed = Bed::start().await;
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n",
        submission(ACME, "")
    );
    let mut client = bed.world.client().await;
    client.send(request.as_bytes()).await;

    assert_eq!(client.answer().await.text(), "ERROR_TOO_BIG_CAPTCHA_FILESIZE");
    bed.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_leaves_no_trace() {
    let bed = Bed::start().await;
    let whole = post(&submission(ACME, ""), URLENCODED, &[b'a'; 100]);
    for length in [1, 10, whole.len() / 2, whole.len() - 101, whole.len() - 50, whole.len() - 1] {
        for reset in [true, false] {
            let mut client = bed.world.client().await;
            client.send(&whole[..length]).await;
            if reset { client.reset() } else { drop(client) }
        }
    }
    bed.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_hold_nobody_up() {
    let bed = Bed::start().await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut client = bed.world.client().await;
        client.send(b"POST /in.php HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await;
        slow.push(client);
    }
    for _ in 0..50 {
        let mut client = bed.world.client().await;
        client
            .send(
                format!("POST {} HTTP/1.1\r\nContent-Length: 50\r\n\r\na", submission(ACME, ""))
                    .as_bytes(),
            )
            .await;
        slow.push(client);
    }

    let target = poll(ACME, "1");
    let asked = tokio::time::timeout(Duration::from_secs(5), bed.world.get(&target));
    let answer = asked.await.expect("held up");

    assert_eq!(answer.text(), "ERROR_WRONG_CAPTCHA_ID");
    drop(slow);
    bed.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let world = World::start(Setup::default()).await;
    let mut client = world.client().await;
    let mut requests = get(&submission(ACME, "answer=first"));
    requests.push_str(&get(&poll(ACME, "123")));
    requests.push_str(&get("/nowhere"));
    requests.push_str(&get(&format!("/res.php?key={ACME}&action=threadsinfo")));
    client.send(requests.as_bytes()).await;

    let id = client.answer().await.id();
    assert_eq!(client.answer().await.text(), "ERROR_WRONG_CAPTCHA_ID");
    assert_eq!(client.answer().await.status, 404);
    assert!(client.answer().await.text().contains("working_threads"));
    client.send(format!("{0}{0}{0}", get(&poll(ACME, &id))).as_bytes()).await;
    for _ in 0..3 {
        assert_eq!(client.answer().await.text(), "OK|first");
    }
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_for_a_solved_task_is_not_charged() {
    let world = World::start(Setup::default()).await;
    let id = world.submit(ACME, "answer=a").await;

    let mut client = world.client().await;
    client.send(get(&poll(ACME, &id)).replacen("GET", "HEAD", 1).as_bytes()).await;
    drop(client);

    assert_eq!(world.poll(ACME, &id).await.text(), "OK|a");
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_absolute_target_is_served_like_any_other() {
    let world = World::start(Setup::default()).await;
    let mut client = world.client().await;
    let answer = client.get(&format!("http://ocr.captchaai.com{}", submission(ACME, ""))).await;

    let id = answer.id();

    assert_eq!(world.received(Operation::Submit)[0].path, "/in.php");
    world.poll_to_end(ACME, &id).await;
    world.settled().await;
    world.close(1).await;
}

/// A sidecar and its state before anything was asked.
struct Bed {
    world: World,
    before: String,
}

impl Bed {
    async fn start() -> Self {
        let world = World::start(Setup::default()).await;
        let before = tenants(&world);
        Self { world, before }
    }

    /// Nothing was forwarded, no counter moved, and the server still serves.
    async fn close(self) {
        let world = self.world;
        let paid = world.traffic(0);
        assert!(paid.is_empty(), "forwarded: {paid:#?}");
        assert_eq!(tenants(&world), self.before);
        let id = world.submit(ACME, "").await;
        assert!(world.poll_to_end(ACME, &id).await.text().starts_with("OK|"));
        world.settled().await;
        world.close(1).await;
    }
}

fn tenants(world: &World) -> String {
    let snapshot = world.snapshot();
    format!("{:?} {} {}", snapshot.tenants, snapshot.open, snapshot.remembered)
}
