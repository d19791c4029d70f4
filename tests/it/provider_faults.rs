//! The matrix: every fault on the way to the provider, at every operation. Whatever happens, the client
//! is answered in time and in the form it asked for, what was delivered is what was charged, and the
//! next solve works.

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use solvegate::simulate::Options;

use crate::support::client::{get, poll, submission};
use crate::support::warp::{Act, Fault, Operation, Warp};
use crate::support::{ACCOUNT, ACME, Answer, Setup, World, until};

/// Far below what clients wait.
const IN_TIME: Duration = Duration::from_millis(4_500);

/// Faults side by side: each has a record of its own to open and to sync.
const AT_ONCE: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn submissions() {
    run("submit", submit_struck).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn polls() {
    run("poll", poll_struck).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn reports() {
    run("report", report_struck).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn balance_of_the_account() {
    run("balance", |fault| background_struck(fault, Operation::Balance)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn threads_of_the_account() {
    run("threads", |fault| background_struck(fault, Operation::Threads)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn balance_passed_through() {
    run("balance, passed through", |fault| passed_through(fault, Operation::Balance)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn threads_passed_through() {
    run("threads, passed through", |fault| passed_through(fault, Operation::Threads)).await;
}

async fn run<F: Future<Output = ()>>(operation: &str, strike: impl Fn(Fault) -> F) {
    let faults = faults();
    assert!(faults.len() >= 60, "{} faults", faults.len());
    println!("{operation}: {} faults", faults.len());
    stream::iter(faults).map(strike).buffer_unordered(AT_ONCE).collect::<()>().await;
}

async fn submit_struck(fault: Fault) {
    let (mut warp, world) = bed().await;
    let first = world.submit(ACME, "answer=first").await;
    let form = form_of(&fault);
    let target = format!("{}{form}", submission(ACME, "answer=mine"));

    let answer = strike(&mut warp, &world, Operation::Submit, (&fault, &target)).await;

    let mut delivered = 0;
    if answer.text().contains("OK|") || answer.text().contains(r#""status":1"#) {
        assert_eq!(solved(&world, &answer.id()).await, "OK|mine", "{}", fault.name);
        delivered += 1;
    } else {
        assert!(!is_harmless(&fault), "{}: {answer:?}", fault.name);
    }
    assert_eq!(solved(&world, &first).await, "OK|first", "{}", fault.name);
    finish(world, &fault, delivered + 1).await;
}

async fn poll_struck(fault: Fault) {
    let (mut warp, world) = bed().await;
    let id = world.submit(ACME, "answer=mine").await;
    let target = format!("{}{}", poll(ACME, &id), form_of(&fault));

    let struck = strike(&mut warp, &world, Operation::Poll, (&fault, &target)).await;

    // Only a code of the provider's own is an end; anything else loses what was paid for.
    let is_code = fault.name == "an unknown code";
    let expected = if is_code { "ERROR_NEVER_HEARD_OF" } else { "OK|mine" };
    let text = struck.text();
    let is_pending = text.contains("CAPCHA_NOT_READY");
    assert!(
        is_pending || text.contains(expected.trim_start_matches("OK|")),
        "{}: {text}",
        fault.name
    );
    assert_eq!(solved(&world, &id).await, expected, "{}", fault.name);
    finish(world, &fault, usize::from(!is_code)).await;
}

async fn report_struck(fault: Fault) {
    let (mut warp, world) = bed().await;
    let id = world.submit(ACME, "answer=mine").await;
    assert_eq!(solved(&world, &id).await, "OK|mine");
    let form = form_of(&fault);
    let target = format!("/res.php?key={ACME}&action=reportgood&id={id}{form}");

    let answer = strike(&mut warp, &world, Operation::Report, (&fault, &target)).await;

    if is_harmless(&fault) {
        assert!(answer.text().contains("OK_REPORT_RECORDED"), "{}: {answer:?}", fault.name);
    }
    finish(world, &fault, 1).await;
}

/// The account is asked about in the background: at the start, before anything else.
async fn background_struck(fault: Fault, operation: Operation) {
    let mut warp = Warp::start().await;
    warp.arm(operation, &fault);
    if matches!(fault.act, Act::Refuse) {
        warp.refuse().await;
    }
    let world = World::start_through(setup(), &warp).await;

    if matches!(fault.act, Act::Refuse) {
        asked_in_vain(&world).await;
        warp.accept().await;
    } else {
        until(fault.name, || warp.struck() == 1).await;
    }

    finish(world, &fault, 0).await;
}

/// Waits until the background found nobody.
async fn asked_in_vain(world: &World) {
    let looking = async {
        loop {
            let page = world.admin(&get("/metrics")).await.text();
            let mut counts = page.lines().filter(|line| line.contains(r#"result="connect_error""#));
            if counts.any(|line| !line.ends_with(" 0")) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looking).await.expect("nobody was asked");
}

/// With no tenants the client's own question goes to the provider.
async fn passed_through(fault: Fault, operation: Operation) {
    let mut warp = Warp::start().await;
    let world = World::start_through(Setup { tenants: "", ..setup() }, &warp).await;
    let action = if operation == Operation::Balance { "getbalance" } else { "threadsinfo" };
    let form = form_of(&fault);
    let target = format!("/res.php?key={ACCOUNT}&action={action}{form}");

    let answer = strike(&mut warp, &world, operation, (&fault, &target)).await;

    let again = world.get(&target).await;
    if is_harmless(&fault) {
        assert_eq!(answer.text(), again.text(), "{}", fault.name);
    }
    assert!(!again.text().contains("ERROR"), "{}: {again:?}", fault.name);
    let id = world.submit(ACCOUNT, "answer=next").await;
    let next = world.poll_to_end(ACCOUNT, &id).await;
    assert_eq!(next.text(), "OK|next", "{}", fault.name);
    until(&format!("{} is settled", fault.name), || world.tenant("default").in_flight == 0).await;
    close(world, 1).await;
}

/// One request while the fault is armed; its answer, checked.
async fn strike(
    warp: &mut Warp,
    world: &World,
    operation: Operation,
    (fault, target): (&Fault, &str),
) -> Answer {
    let struck_before = warp.struck();
    let refuses = matches!(fault.act, Act::Refuse);
    if refuses {
        warp.refuse().await;
    } else {
        warp.arm(operation, fault);
    }
    let started = Instant::now();
    let answer = world.get(target).await;
    let took = started.elapsed();
    assert!(took < IN_TIME, "{operation:?} {}: {took:?}", fault.name);
    if refuses {
        warp.accept().await;
    } else {
        assert_eq!(warp.struck(), struck_before + 1, "{operation:?} {}", fault.name);
    }
    let is_json = target.ends_with("&json=1");
    assert_understood(&format!("{operation:?} {}", fault.name), &answer, is_json);
    answer
}

/// HTTP 200 with a code or an answer in the form asked for; never a page or bytes of garbage.
fn assert_understood(name: &str, answer: &Answer, is_json: bool) {
    let text = answer.text();
    let is_figure = |c: char| c.is_ascii_digit() || c == '.';
    let is_understood = match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(json) if json.is_object() => is_json || json.get("threads").is_some(),
        _ => {
            !is_json
                && (["OK", "ERROR_", "CAPCHA_"].iter().any(|start| text.starts_with(start))
                    || (!text.is_empty() && text.chars().all(is_figure)))
        }
    };
    assert!(answer.status == 200 && is_understood, "{name}: {:.300}", format!("{answer:?}"));
}

async fn solved(world: &World, id: &str) -> String {
    world.poll_to_end(ACME, id).await.text()
}

/// The provider is well again: the next solve works, and what was delivered is what was charged.
async fn finish(world: World, fault: &Fault, delivered: usize) {
    let next = world.submit(ACME, "answer=next").await;
    assert_eq!(solved(&world, &next).await, "OK|next", "{}", fault.name);
    let charged = || world.tenant("acme").day_solves;
    let expected = u64::try_from(delivered).unwrap() + 1;
    until(&format!("{} is charged", fault.name), || charged() == expected).await;
    close(world, delivered + 1).await;
}

async fn close(mut world: World, delivered: usize) {
    let app = world.take_app();
    app.stop(Duration::from_millis(300)).await.unwrap();
    world.close(delivered).await;
}

async fn bed() -> (Warp, World) {
    let warp = Warp::start().await;
    let world = World::start_through(setup(), &warp).await;
    (warp, world)
}

/// Many of these run side by side: the provider keeps little.
fn setup() -> Setup {
    let setup = Setup::default();
    let provider = Options { log_max: 100, ..setup.provider.clone() };
    let upstream = "poll_spacing: 0s, submit_timeout: 1s, poll_timeout: 1s";
    Setup { upstream, provider, ..setup }
}

/// Half of the faults meet a client that asked for JSON.
fn form_of(fault: &Fault) -> &'static str {
    if fault.name.len().is_multiple_of(2) { "&json=1" } else { "" }
}

/// Whether the true answer came through all the same.
fn is_harmless(fault: &Fault) -> bool {
    fault.name.starts_with("harmless: ")
}

fn faults() -> Vec<Fault> {
    let mut faults = connections();
    faults.extend(half_answers());
    faults.extend(odd_but_right());
    faults.extend(statuses());
    faults.extend(bodies());
    faults
}

fn connections() -> Vec<Fault> {
    let fault = |name, takes_effect, act| Fault { name, takes_effect, act };
    vec![
        fault("refused", false, Act::Refuse),
        fault("reset before", false, Act::Reset),
        fault("reset after", true, Act::Reset),
        fault("closed before", false, Act::Close),
        fault("closed after", true, Act::Close),
        fault("hangs before", false, Act::Hang),
        fault("hangs after", true, Act::Hang),
        fault("drips", true, Act::Drip),
        fault("late", true, Act::Delay(Duration::from_secs(2))),
        fault("harmless: a little late", true, Act::Delay(Duration::from_millis(200))),
    ]
}

fn half_answers() -> Vec<Fault> {
    fn cut(answer: &[u8], at: usize) -> Vec<u8> {
        answer[..at].to_vec()
    }
    fn half_head(answer: &[u8]) -> Vec<u8> {
        cut(answer, body_at(answer) / 2)
    }
    fn head_without_end(answer: &[u8]) -> Vec<u8> {
        cut(answer, body_at(answer) - 2)
    }
    fn no_body(answer: &[u8]) -> Vec<u8> {
        cut(answer, body_at(answer))
    }
    fn half_body(answer: &[u8]) -> Vec<u8> {
        let start = body_at(answer);
        cut(answer, start + (answer.len() - start) / 2)
    }
    fn longer(answer: &[u8]) -> Vec<u8> {
        with_length(answer, |length| length + 10)
    }
    fn half_chunk(answer: &[u8]) -> Vec<u8> {
        let body = &answer[body_at(answer)..];
        let mut chunk = with_head("Transfer-Encoding: chunked", b"");
        chunk.extend_from_slice(format!("{:x}\r\n", body.len() + 5).as_bytes());
        chunk.extend_from_slice(body);
        chunk
    }
    let fault = |name, act| Fault { name, takes_effect: true, act };
    vec![
        fault("half a head, then closed", Act::ChangeAndClose(half_head)),
        fault("half a head, then reset", Act::ChangeAndReset(half_head)),
        fault("half a head, then silence", Act::Change(half_head)),
        fault("no end of the head", Act::ChangeAndClose(head_without_end)),
        fault("no body", Act::ChangeAndClose(no_body)),
        fault("half a body, then closed", Act::ChangeAndClose(half_body)),
        fault("half a body, then reset", Act::ChangeAndReset(half_body)),
        fault("half a body, then silence", Act::Change(half_body)),
        fault("a length too large", Act::ChangeAndClose(longer)),
        fault("half a chunk", Act::ChangeAndClose(half_chunk)),
    ]
}

/// Answers that are right, however they look: nothing may be lost. `connection` goes on after some.
fn odd_but_right() -> Vec<Fault> {
    fn chunked(answer: &[u8]) -> Vec<u8> {
        let mut chunked = with_head("Transfer-Encoding: chunked", b"");
        for byte in &answer[body_at(answer)..] {
            chunked.extend_from_slice(&[b'1', b'\r', b'\n', *byte, b'\r', b'\n']);
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        chunked
    }
    fn until_closed(answer: &[u8]) -> Vec<u8> {
        with_head("Connection: close", &answer[body_at(answer)..])
    }
    fn continued(answer: &[u8]) -> Vec<u8> {
        [b"HTTP/1.1 100 Continue\r\n\r\n", answer].concat()
    }
    fn old_http(answer: &[u8]) -> Vec<u8> {
        [b"HTTP/1.0", &answer[b"HTTP/1.1".len()..]].concat()
    }
    fn skewed(answer: &[u8]) -> Vec<u8> {
        with_line(
            answer,
            "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nExpires: Fri, 31 Dec 9999 23:59:59 GMT",
        )
    }
    fn ahead(answer: &[u8]) -> Vec<u8> {
        with_line(answer, "Date: Tue, 19 Jan 2038 03:14:08 GMT\r\nAge: 4294967296")
    }
    fn cookies(answer: &[u8]) -> Vec<u8> {
        with_line(answer, &vec!["Set-Cookie: a=b"; 50].join("\r\n"))
    }
    fn twice(answer: &[u8]) -> Vec<u8> {
        [answer, b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nOK|evil"].concat()
    }
    fn tail(answer: &[u8]) -> Vec<u8> {
        [answer, b"tail"].concat()
    }
    fn closing(answer: &[u8]) -> Vec<u8> {
        with_line(answer, "Connection: close")
    }
    let fault = |name, act| Fault { name, takes_effect: true, act };
    vec![
        fault("harmless: chunked, byte by byte", Act::Change(chunked)),
        fault("harmless: until closed", Act::ChangeAndClose(until_closed)),
        fault("harmless: 100 first", Act::Change(continued)),
        fault("harmless: HTTP/1.0", Act::ChangeAndClose(old_http)),
        fault("harmless: a clock of 1970", Act::Change(skewed)),
        fault("harmless: a clock of 2038", Act::Change(ahead)),
        fault("harmless: 50 cookies", Act::Change(cookies)),
        fault("harmless: a second answer behind it", Act::Change(twice)),
        fault("harmless: bytes behind it", Act::Change(tail)),
        fault("harmless: closed at once", Act::ChangeAndReset(closing)),
    ]
}

fn statuses() -> Vec<Fault> {
    let pages = [
        ("500", 500),
        ("501", 501),
        ("502 of a proxy", 502),
        ("503", 503),
        ("504", 504),
        ("520", 520),
        ("400", 400),
        ("403 of a firewall", 403),
        ("404", 404),
        ("405", 405),
        ("408", 408),
        ("413", 413),
        ("429", 429),
        ("451", 451),
    ];
    let page = |status| {
        let body = format!("<html><body><h1>{status}</h1></body></html>");
        answered(status, "text/html", body.as_bytes())
    };
    let said = |name, bytes| Fault { name, takes_effect: false, act: Act::Say(bytes) };
    let redirect = |status, to: &str| {
        let line =
            format!("HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        line.into_bytes()
    };
    let mut faults: Vec<_> =
        pages.into_iter().map(|(name, status)| said(name, page(status))).collect();
    faults.extend([
        said("a redirect to here", redirect(301, "/in.php")),
        said("a redirect elsewhere", redirect(307, "http://127.0.0.1:9/")),
        said("a redirect to nowhere", redirect(302, "")),
        said("204", b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        said("304", b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec()),
        said("status 99", answered(99, "text/plain", b"OK|1")),
        said("status 999", answered(999, "text/plain", b"OK|1")),
        said("101 switches", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".to_vec()),
    ]);
    faults
}

fn bodies() -> Vec<Fault> {
    let ok = |body: &[u8]| answered(200, "text/html", body);
    let said = |name, bytes| Fault { name, takes_effect: false, act: Act::Say(bytes) };
    let giant_head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(2_000_000));
    let bomb = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xff\xff".repeat(50);
    let mut zipped = with_head("Content-Encoding: gzip\r\nContent-Length: 600", b"");
    zipped.extend_from_slice(&bomb);
    vec![
        said("not HTTP", b"\x16\x03\x01\x02\x00garbage\r\n\r\n".to_vec()),
        said("another protocol", b"220 mail ESMTP\r\n".to_vec()),
        said("a TLS alert", b"\x15\x03\x03\x00\x02\x02\x28".to_vec()),
        said(
            "two lengths",
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nOK|12".to_vec(),
        ),
        said("a length of minus one", with_head("Content-Length: -1", b"OK|1")),
        said("a giant head", giant_head.into_bytes()),
        said("a giant body", ok(&vec![b'A'; 6 << 20])),
        said("an empty body", ok(b"")),
        said("a page", ok(b"<html>Just a moment...</html>")),
        said("a word", ok(b"maintenance")),
        said("bytes", ok(b"\xff\xfe\0\x01")),
        said("gzip", zipped),
        said("JSON cut short", ok(b"{\"status\":1,\"request\":")),
        said("JSON nested deep", ok("[".repeat(100_000).as_bytes())),
        said("an array", ok(b"[1]")),
        said("null", ok(b"null")),
        said("a status alone", ok(b"{\"status\":1}")),
        said("an unknown code", ok(b"ERROR_NEVER_HEARD_OF")),
        said("an internal error", ok(b"ERROR_INTERNAL_SERVER_ERROR")),
        said("success without anything", ok(b"OK|")),
        said("success of spaces", ok(b"OK|   ")),
        said("status 1, null", ok(b"{\"status\":1,\"request\":null}")),
        said("NUL", ok(b"\0")),
    ]
}

fn body_at(answer: &[u8]) -> usize {
    memchr::memmem::find(answer, b"\r\n\r\n").unwrap() + 4
}

fn with_head(line: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{line}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// The answer with a header more.
fn with_line(answer: &[u8], line: &str) -> Vec<u8> {
    let end = body_at(answer) - 2;
    [&answer[..end], line.as_bytes(), b"\r\n", &answer[end..]].concat()
}

fn with_length(answer: &[u8], length: fn(usize) -> usize) -> Vec<u8> {
    let body = &answer[body_at(answer)..];
    with_head(&format!("Content-Length: {}", length(body.len())), body)
}

fn answered(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} Whatever\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
