//! Clients that are slow, silent, greedy or gone: each costs itself at most.

use std::time::{Duration, Instant};

use solvegate::proxy::Bounds;
use solvegate::simulate::Operation;
use tokio::io::AsyncWriteExt;

use crate::support::canned::Canned;
use crate::support::client::{get, poll, post, submission};
use crate::support::usual::URLENCODED;
use crate::support::{ACME, Answer, Client, Setup, World, ZEN, until};

/// Longer than any of the bounds below, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);

fn bounded(change: impl FnOnce(&mut Bounds)) -> Setup {
    let mut setup = Setup::default();
    change(&mut setup.bounds);
    setup
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_byte_by_byte_is_cut_off() {
    let world = World::start(bounded(|b| b.head_wait = Duration::from_millis(400))).await;
    let request = get(&submission(ACME, ""));
    let mut client = world.client().await;
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let mut sent = 0;
    for byte in request.as_bytes() {
        ticks.tick().await;
        if client.stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        sent += 1;
    }

    assert!(sent < request.len(), "it was served after all");
    assert!(started.elapsed() < PATIENCE);
    assert!(world.received(Operation::Submit).is_empty());
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_idles_is_closed_before_and_after_a_request() {
    // Before and after it has given its buffers up.
    for head_wait in [Duration::from_millis(300), Duration::from_millis(1_300)] {
        let world = World::start(bounded(|b| b.head_wait = head_wait)).await;
        let mut silent = world.client().await;
        let mut used = world.client().await;
        used.get(&poll(ACME, "1")).await;

        assert!(silent.is_closed().await, "{head_wait:?}");
        assert!(used.is_closed().await, "{head_wait:?}");
        world.close(0).await;
    }
}

/// A connection that idles for a second gives its buffers up.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_idled_is_served_on() {
    let world = World::start(Setup::default()).await;
    let mut client = world.client().await;
    let idles = async |client: &mut Client| {
        let closed = tokio::time::timeout(Duration::from_millis(1_300), client.is_closed()).await;
        assert!(closed.is_err(), "it was closed, or more was sent");
    };
    idles(&mut client).await;
    let id = client.get(&submission(ACME, "answer=a")).await.id();
    idles(&mut client).await;
    let (begin, rest) = (get(&poll(ACME, &id)), get(&poll(ACME, "1")));
    let (first, last) = begin.split_at(20);
    client.send(first.as_bytes()).await;
    idles(&mut client).await;
    // The rest of the head, a whole request behind it, and the begin of a third.
    client.send(format!("{last}{rest}{first}").as_bytes()).await;
    assert_eq!(client.answer().await.text(), "OK|a");
    assert_eq!(client.answer().await.text(), "ERROR_WRONG_CAPTCHA_ID");
    idles(&mut client).await;
    client.send(last.as_bytes()).await;
    assert_eq!(client.answer().await.text(), "OK|a");
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_answered() {
    let world = World::start(bounded(|b| b.body_wait = Duration::from_millis(300))).await;
    for length in [50, 5 << 20] {
        let mut client = world.client().await;
        let head = format!(
            "POST /in.php?key={ACME}&json=1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: {URLENCODED}\r\n\
             Content-Length: {length}\r\n\r\nmethod="
        );
        client.send(head.as_bytes()).await;

        let answer = client.answer().await;

        assert!(answer.text().contains(r#""request":"ERROR_BAD_PARAMETERS""#), "{answer:?}");
        assert_eq!(answer.reason(), "malformed");
    }
    assert!(world.received(Operation::Submit).is_empty());
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_on_its_way_in_is_none_of_the_sidecars_time() {
    let world = World::start(Setup::default()).await;
    let id = world.submit(ACME, "never").await;
    let body = format!("key={ACME}&action=get&id={id}");
    let request = post("/res.php", URLENCODED, body.as_bytes());
    let (first, last) = request.split_at(request.len() - 5);
    let mut client = world.client().await;
    client.send(first).await;
    let early = tokio::time::timeout(Duration::from_millis(1_500), client.answer()).await;
    assert!(early.is_err(), "answered before it was whole: {early:?}");
    client.send(last).await;

    assert_eq!(client.answer().await.text(), "CAPCHA_NOT_READY");

    let of_polls = r#"_sum{operation="poll"}"#;
    let took = format!("solvegate_http_request_duration_seconds{of_polls}");
    assert!(world.metric::<f64>(&took).await > 1.4, "the body is part of the request");
    let own: f64 = world.metric(&format!("solvegate_proxy_overhead_seconds{of_polls}")).await;
    assert!(own < 1.0, "{own}");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_wait_for_room_and_small_ones_do_not() {
    let world = World::start(bounded(|b| b.body_room_kib = 1_024)).await;
    let mut body = format!("key={ACME}&method=base64&body=").into_bytes();
    body.resize(700 << 10, b'a');
    let request = post("/in.php", URLENCODED, &body);
    let mut first = world.client().await;
    first.send(&request[..1_000]).await;
    until_served(&world).await;
    let mut second = world.client().await;
    second.send(&request).await;
    let meanwhile = tokio::time::timeout(Duration::from_millis(1_500), second.answer()).await;
    assert!(meanwhile.is_err(), "there is room for one of them only: {meanwhile:?}");
    until_served(&world).await;

    first.send(&request[1_000..]).await;

    let (first, second) = (first.answer().await.id(), second.answer().await.id());
    for id in [first, second] {
        assert!(world.poll_to_end(ACME, &id).await.text().starts_with("OK|"));
    }
    world.settled().await;
    world.close(2).await;
}

/// Small requests are served meanwhile; some in a row, so that what was sent before is seen.
async fn until_served(world: &World) {
    for _ in 0..20 {
        assert_eq!(world.poll(ACME, "1").await.text(), "ERROR_WRONG_CAPTCHA_ID");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_cap_are_closed_at_once_and_room_is_given_back() {
    let world = World::start(bounded(|b| b.connections = 30)).await;
    let mut held = Vec::new();
    for _ in 0..30 {
        let mut client = world.client().await;
        assert_eq!(client.get(&poll(ACME, "1")).await.text(), "ERROR_WRONG_CAPTCHA_ID");
        held.push(client);
    }

    let mut refused = world.client().await;
    assert!(refused.is_closed().await);
    for client in &mut held {
        assert_eq!(client.get(&poll(ACME, "1")).await.text(), "ERROR_WRONG_CAPTCHA_ID");
    }
    held.truncate(29);

    served_at_last(&world).await;
    drop(held);
    world.close(0).await;
}

async fn served_at_last(world: &World) {
    assert_eq!(answered_at_last(world, &poll(ACME, "1")).await.text(), "ERROR_WRONG_CAPTCHA_ID");
}

/// Tries until a connection is to be had.
async fn answered_at_last(world: &World, target: &str) -> Answer {
    let asking = async {
        loop {
            let mut client = world.client().await;
            // A connection over the cap may be reset under the request.
            let _ = client.stream.write_all(get(target).as_bytes()).await;
            if let Some(answer) = client.maybe_answer().await {
                return answer;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("no room is given back")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_is_cut_off_and_not_charged() {
    let provider = Canned::start().await;
    provider.submit(200, "text/plain", b"OK|4711");
    let answer = [b"OK|".as_slice(), &vec![b'a'; 3 << 20]].concat();
    provider.poll(200, "text/plain", &answer);
    let setup = bounded(|b| {
        b.connections = 1;
        b.write_wait = Duration::from_millis(500);
    });
    let world = World::start_at(setup, provider.address).await;
    let mut client = world.client().await;
    let id = client.get(&submission(ACME, "")).await.id();
    for _ in 0..20 {
        client.send(get(&poll(ACME, &id)).as_bytes()).await;
    }

    // It holds the only connection there is, and reads nothing.
    served_at_last(&world).await;

    let spent = world.tenant("acme").day_solves;
    assert!(spent <= 1, "at most what fits the system's buffers was delivered");
    let answer = answered_at_last(&world, &poll(ACME, &id)).await;
    assert_eq!(answer.body.len(), 3 + (3 << 20));
    until("it is charged", || world.tenant("acme").day_solves == 1).await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_is_served_whole() {
    let provider = Canned::start().await;
    provider.submit(200, "text/plain", b"OK|4711");
    provider.poll(200, "text/plain", &[b"OK|".as_slice(), &vec![b'a'; 3 << 20]].concat());
    let setup = bounded(|b| b.write_wait = Duration::from_secs(10));
    let world = World::start_at(setup, provider.address).await;
    let mut client = world.client().await;
    let id = client.get(&submission(ACME, "")).await.id();
    for _ in 0..10 {
        client.send(get(&poll(ACME, &id)).as_bytes()).await;
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..10 {
        ticks.tick().await;
        assert_eq!(client.answer().await.body.len(), 3 + (3 << 20));
    }
    until("it is charged", || world.tenant("acme").day_solves == 1).await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_at_any_byte_of_its_request_pays_nothing() {
    let world = World::start(Setup::default()).await;
    let posted = post(
        "/in.php",
        URLENCODED,
        format!("key={ACME}&method=turnstile&sitekey=s&pageurl=https://a.test&json=1").as_bytes(),
    );
    let mut cuts = 0;
    for request in [get(&submission(ACME, "")).into_bytes(), posted] {
        for length in 0..request.len() {
            let mut client = world.client().await;
            client.send(&request[..length]).await;
            if length % 2 == 0 {
                client.reset();
            } else {
                drop(client);
            }
            cuts += 1;
        }
    }
    until_served(&world).await;

    assert!(world.received(Operation::Submit).is_empty(), "half a request was forwarded");
    let tenant = world.tenant("acme");
    assert_eq!((tenant.open, tenant.in_flight), (0, 0));
    println!("{cuts} cuts of a request");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_at_any_byte_of_its_answer_is_charged_once() {
    let world = World::start(Setup::default()).await;
    let probe = world.submit(ACME, "answer=token").await;
    let whole = world.poll_to_end(ACME, &probe).await;
    let length = whole.head.len() + 4 + whole.body.len();
    for read in 0..=length {
        let id = world.submit(ACME, "answer=token").await;
        let mut client = world.client().await;
        client.send(get(&poll(ACME, &id)).as_bytes()).await;
        let mut answer = vec![0; read];
        tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut answer).await.unwrap();
        if read % 2 == 0 {
            client.reset();
        } else {
            drop(client);
        }
        // There is none yet for as long as the poll of the one that left is under way.
        let answer = world.poll_to_end(ACME, &id).await;
        assert_eq!(answer.text(), "OK|token", "the answer is still there");
    }
    println!("{length} cuts of an answer");
    let expected = length + 2;
    let charged = || world.tenant("acme").day_solves;
    until("each is charged once", || charged() == u64::try_from(expected).unwrap()).await;
    world.settled().await;
    world.close(expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_behind_an_ambiguous_length() {
    let world = World::start(Setup::default()).await;
    let hidden = get(&submission(ZEN, ""));
    let probes = ambiguous();
    for (what, headers, body) in &probes {
        let request = format!(
            "POST /res.php?key={ACME}&action=getbalance HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n{body}{hidden}"
        );
        let mut client = world.client().await;
        // It may be cut off before it was all said.
        let _ = client.stream.write_all(request.as_bytes()).await;
        let mut answers = Vec::new();
        while let Some(answer) = client.maybe_answer().await {
            let is_refusal = answer.status >= 400;
            answers.push(answer);
            if is_refusal {
                break;
            }
        }
        assert!(answers.len() <= 1, "{what}: {answers:?}");
    }
    println!("{} probes", probes.len());
    assert!(world.received(Operation::Submit).is_empty(), "a hidden request was served");
    world.submit(ACME, "never").await;
    world.close(0).await;
}

/// Headers, and what begins the body; a request follows.
fn ambiguous() -> Vec<(&'static str, String, &'static str)> {
    let long = "1".repeat(40);
    let length = |value: &str| format!("Content-Length: {value}");
    let coding = |value: &str| format!("Transfer-Encoding: {value}");
    vec![
        ("two lengths", "Content-Length: 0\r\nContent-Length: 5".to_owned(), "abcde"),
        ("two lengths in a list", length("0, 5"), "abcde"),
        ("a signed length", length("+5"), "abcde"),
        ("a negative length", length("-1"), ""),
        ("a length in hex", length("0x5"), "abcde"),
        ("a length with a point", length("5.0"), "abcde"),
        ("a length of 40 digits", length(&long), ""),
        ("a length with a letter", length("5a"), "abcde"),
        ("a length with a space within", length("5 5"), "abcde"),
        ("a folded length", "Content-Length:\r\n 5".to_owned(), "abcde"),
        ("a folded header", "X: a\r\n b\r\nContent-Length: 5".to_owned(), "abcde"),
        ("a space before the colon", "Content-Length : 5".to_owned(), "abcde"),
        ("a tab before the colon", "Content-Length\t: 5".to_owned(), "abcde"),
        ("chunked after identity", coding("identity, chunked, identity"), "0\r\n\r\n"),
        ("a coding that nobody knows", coding("xchunked"), "0\r\n\r\n"),
        ("chunked and more", coding("chunked, x"), "0\r\n\r\n"),
        ("a coding with a NUL", coding("chun\0ked"), "0\r\n\r\n"),
        ("a coding and a length", format!("{}\r\n{}", coding("chunked"), length("4")), "0\r\n\r\n"),
        ("a length and a coding", format!("{}\r\n{}", length("4"), coding("chunked")), "0\r\n\r\n"),
        ("a chunk of negative size", coding("chunked"), "-1\r\n\r\n"),
        ("a chunk of signed size", coding("chunked"), "+0\r\n\r\n"),
        ("a chunk in hex notation", coding("chunked"), "0x0\r\n\r\n"),
        ("a chunk of huge size", coding("chunked"), "fffffffffffffffff\r\n\r\n"),
        ("a chunk without an end", coding("chunked"), "5\r\nabcdeX0\r\n\r\n"),
        ("a chunk with a bare LF", coding("chunked"), "0\n\n"),
        ("a chunk with a bare CR", coding("chunked"), "0\r\r"),
        ("no chunk at all", coding("chunked"), "\r\n"),
        ("an extension with a bare LF", coding("chunked"), "0;a\nb\r\n\r\n"),
        ("a trailer that is none", coding("chunked"), "0\r\nno trailer\r\n\r\n"),
        ("a NUL in a name", "X\0: y\r\nContent-Length: 5".to_owned(), "abcde"),
        ("a bare CR in a value", "X: a\rb\r\nContent-Length: 5".to_owned(), "abcde"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_sees_one_plain_length_whatever_the_client_sent() {
    let world = World::start(Setup::default()).await;
    let body = format!("key={ACME}&method=turnstile&sitekey=s&pageurl=https://sim.test/?never");
    let mut chunked = format!(
        "POST /in.php HTTP/1.1\r\nHost: localhost\r\nContent-Type: {URLENCODED}\r\nTransfer-Encoding: chunked\r\n\
         Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nTrailer: X-Late\r\n\r\n"
    );
    for byte in body.bytes() {
        chunked.push_str("1;x=y\r\n");
        chunked.push(char::from(byte));
        chunked.push_str("\r\n");
    }
    chunked.push_str("0\r\nX-Late: Content-Length: 0\r\n\r\n");
    let mut client = world.client().await;
    client.send(chunked.as_bytes()).await;
    client.answer().await.id();

    let received = world.received(Operation::Submit).remove(0);

    let named = |wanted: &str| {
        received.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).count()
    };
    assert_eq!((named("content-length"), named("transfer-encoding")), (1, 0));
    assert_eq!((named("te"), named("trailer"), named("x-hop"), named("x-late")), (0, 0, 0, 0));
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_targets_are_served_as_their_path_or_refused() {
    let world = World::start(Setup::default()).await;
    let path = submission(ACME, "never");
    let mut accepted = 0;
    for (target, is_served) in [
        (format!("http://ocr.captchaai.com{path}"), true),
        (format!("https://user:pw@elsewhere:1{path}"), true),
        (format!("http://[::1]:80{path}"), true),
        (format!("//evil.test{path}"), true),
        (format!("/a/../b{path}"), true),
        ("*".to_owned(), false),
        ("evil.test:443".to_owned(), false),
        (format!("/x?y=http://a{path}"), false),
        (format!("{path}#fragment"), true),
        (path.replace("in.php", "in.php%00"), false),
        (path.replace("in.php", "%69n.php"), false),
    ] {
        let mut client = world.client().await;
        client.send(get(&target).as_bytes()).await;
        let Some(answer) = client.maybe_answer().await else {
            assert!(!is_served, "{target}");
            continue;
        };
        assert_eq!(answer.text().starts_with("OK|"), is_served, "{target}: {answer:?}");
        accepted += usize::from(is_served);
    }
    let received = world.received(Operation::Submit);
    assert_eq!(received.len(), accepted);
    for entry in received {
        assert_eq!(entry.path, "/in.php");
        assert_eq!(entry.header("host"), Some(world.upstream.to_string().as_str()));
    }
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_on_one_connection_are_answered_in_order() {
    let world = World::start(Setup::default()).await;
    let mut client = world.client().await;
    let requests: String = (0..1_000)
        .map(|number| match number % 2 {
            0 => get(&poll(ACME, "1")),
            _ => get("/nowhere"),
        })
        .collect();
    let (reading, writing) = (&mut Client::connect(world.app().data).await, requests.as_bytes());
    reading.send(writing).await;
    for number in 0..1_000 {
        let answer = reading.answer().await;
        let expected = if number % 2 == 0 { 200 } else { 404 };
        assert_eq!(answer.status, expected, "{number}");
    }
    assert_eq!(client.get(&poll(ACME, "1")).await.text(), "ERROR_WRONG_CAPTCHA_ID");
    world.close(0).await;
}
