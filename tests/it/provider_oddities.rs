//! What a provider does once in a while, and what must not come of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use solvegate::simulate::{
    Dialect, Fault as SimFault, FaultRule, Operation as SimOperation, Options,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::canned::Canned;
use crate::support::client::{poll, post, submission};
use crate::support::usual::URLENCODED;
use crate::support::warp::{Act, Fault, Operation, Warp};
use crate::support::{ACCOUNT, ACME, Setup, World, ZEN, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_wrong_all_of_a_sudden_is_tried_no_more_wherever_it_shows() {
    let codes = [
        "ERROR_WRONG_USER_KEY",
        "ERROR_KEY_DOES_NOT_EXIST",
        "ERROR_IP_NOT_ALLOWED",
        "IP_BANNED",
        "ERROR_IP_BANNED",
        "ERROR: 1004",
    ];
    let operations = [
        Operation::Submit,
        Operation::Poll,
        Operation::Report,
        Operation::Threads,
        Operation::Balance,
    ];
    let tests = codes.into_iter().flat_map(|code| operations.map(|operation| (code, operation)));
    let tests: Vec<_> = tests.map(|(code, operation)| wrong_key(code, operation)).collect();
    assert_eq!(tests.len(), 30);
    futures_util::future::join_all(tests).await;
}

async fn wrong_key(code: &'static str, operation: Operation) {
    let what = format!("{code} to {operation:?}");
    let warp = Warp::start().await;
    let body = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{code}", code.len());
    let fault = Fault { name: code, takes_effect: false, act: Act::Say(body.into_bytes()) };
    let in_background = matches!(operation, Operation::Threads | Operation::Balance);
    if in_background {
        warp.arm(operation, &fault);
    }
    let world = World::start_through(Setup::default(), &warp).await;
    if in_background {
        until(&what, || !world.snapshot().accounts[0].up).await;
    } else {
        until(&what, || world.received(SimOperation::Balance).len() == 1).await;
        let id = world.submit(ACME, "answer=a").await;
        warp.arm(operation, &fault);
        let answer = match operation {
            Operation::Submit => world.get(&submission(ACME, "")).await,
            Operation::Poll => world.poll(ACME, &id).await,
            Operation::Report | Operation::Balance | Operation::Threads => {
                world.get(&format!("/res.php?key={ACME}&action=reportbad&id={id}")).await
            }
        };
        assert!(!answer.text().contains(code), "{what}: {answer:?}");
    }
    let since = world.control().last_logged();

    let asking = (0..20).map(|round| {
        let world = &world;
        async move {
            let key = if round % 2 == 0 { ACME } else { ZEN };
            world.get(&submission(key, "")).await
        }
    });
    for refused in futures_util::future::join_all(asking).await {
        assert_eq!(refused.reason(), "account_unavailable", "{what}: {refused:?}");
    }

    let asked = world.control().log(since);
    assert!(asked.is_empty(), "{what}: {asked:#?}");
    assert!(!world.snapshot().accounts[0].up);
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_that_are_nonsense_refuse_nobody() {
    let balances =
        ["-5.00", "NaN", "Infinity", "<html>", "1e9", "", "10,00", "99999999999999999999"];
    let threads = [
        r#"{"status":1,"threads":-1,"working_threads":0}"#,
        r#"{"status":1,"threads":"NaN","working_threads":0}"#,
        r#"{"status":1,"threads":1e99,"working_threads":5}"#,
        r#"{"status":1,"threads":null,"working_threads":null}"#,
        r#"{"status":1}"#,
        "<html>",
    ];
    let figure = |figure: &str| (SimOperation::Balance, SimFault::Figure(figure.to_owned()));
    let body = |body: &str| (SimOperation::Threads, SimFault::Body(body.to_owned()));
    let tests = balances.into_iter().map(figure).chain(threads.into_iter().map(body));
    let tests = tests.map(|(operation, fault)| async move {
        let name = format!("{fault:?}");
        let setup = Setup { account: "threads: auto", ..Setup::default() };
        let rule = FaultRule::new(operation, fault);
        let provider = Options { faults: vec![rule], ..setup.provider.clone() };
        let world = World::start(Setup { provider, ..setup }).await;
        until(&name, || world.received(SimOperation::Balance).len() == 1).await;

        let id = world.submit(ACME, "answer=a").await;

        assert_eq!(world.poll_to_end(ACME, &id).await.text(), "OK|a", "{name}");
        let account = world.snapshot().accounts[0].clone();
        let is_unknown = if operation == SimOperation::Balance {
            account.balance.is_none()
        } else {
            account.threads.is_none()
        };
        assert!(is_unknown, "{name}: {account:?}");
        assert!(account.up, "{name}");
        world.settled().await;
        world.close(1).await;
    });
    futures_util::future::join_all(tests).await;
}

/// A page of a web server in between (a firewall, a wrong path) says nothing of the provider's health.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_a_4xx_status_holds_nothing_back() {
    for status in [400, 403, 404, 451] {
        let world = World::start(Setup::default()).await;
        let id = world.submit(ACME, "answer=a").await;
        let page = |operation| FaultRule::new(operation, SimFault::HttpStatus(status));
        world.control().add_faults([page(SimOperation::Submit), page(SimOperation::Poll)]);
        for _ in 0..10 {
            assert_eq!(world.poll(ACME, &id).await.text(), "CAPCHA_NOT_READY");
            assert!(!world.snapshot().upstream_open, "{status} to polls");
        }
        for _ in 0..10 {
            assert_eq!(world.get(&submission(ACME, "")).await.text(), "ERROR_SERVER_ERROR");
            assert!(!world.snapshot().upstream_open, "{status} to submissions");
        }
        assert_eq!(world.received(SimOperation::Submit).len(), 11, "each was asked");
        world.control().clear_faults();
        assert_eq!(world.poll_to_end(ACME, &id).await.text(), "OK|a");
        world.settled().await;
        world.close(1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_given_before_is_refused_and_charges_nobody_twice() {
    let provider = Canned::start().await;
    provider.submit(200, "text/plain", b"OK|4711");
    provider.poll(200, "text/plain", b"OK|token");
    let world = World::start_at(Setup::default(), provider.address).await;
    let id = world.submit(ACME, "").await;
    for key in [ACME, ZEN, ACME] {
        let again = world.get(&submission(key, "")).await;
        assert_eq!(again.text(), "ERROR_SERVER_ERROR", "while it is open: {again:?}");
    }
    assert_eq!(world.poll(ACME, &id).await.text(), "OK|token");
    until("it is charged", || world.tenant("acme").day_solves == 1).await;

    let charged_before = world.get(&submission(ZEN, "")).await;

    assert_eq!(charged_before.text(), "ERROR_SERVER_ERROR", "after it was charged");
    assert_eq!(world.poll(ZEN, &id).await.text(), "ERROR_WRONG_CAPTCHA_ID");
    world.settled().await;
    world.close(1).await;
}

/// nginx does so with 413: the answer comes while the body is still being sent, and the rest of it is
/// never read.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_answers_before_it_read_the_body_is_understood() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if answer_early(&mut stream).await.is_ok() {
                held.push(stream);
            }
        }
    });
    let upstream = "poll_spacing: 0s, submit_timeout: 4s";
    let world = World::start_at(Setup { upstream, ..Setup::default() }, address).await;
    let mut body = format!("key={ACME}&method=base64&body=").into_bytes();
    body.resize(12 << 20, b'a');
    let started = Instant::now();
    let mut client = world.client().await;

    let id = client.post("/in.php", URLENCODED, &body).await.id();

    assert!(started.elapsed() < Duration::from_millis(3_900), "{:?}", started.elapsed());
    for _ in 0..3 {
        assert_eq!(client.get(&poll(ACME, &id)).await.text(), "OK|early");
    }
    until("it is charged", || world.tenant("acme").day_solves == 1).await;
    world.close(1).await;
    serving.abort();
}

async fn answer_early(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut head = vec![0; 512];
    let read = stream.read(&mut head).await?;
    let text = String::from_utf8_lossy(&head[..read]).into_owned();
    let body = match text {
        _ if text.contains("/in.php") => "OK|4711",
        _ if text.contains("action=get&") => "OK|early",
        _ => r#"{"status":1,"request":"10.00","threads":50,"working_threads":0}"#,
    };
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_several_fields_go_whole_into_a_joined_answer() {
    const GEETEST: &str = r#"{"challenge":"c","validate":"v","seccode":"v|jordan"}"#;
    let provider = Canned::start().await;
    provider.poll(200, "application/json", GEETEST.as_bytes());
    let world = World::start_at(Setup::default(), provider.address).await;
    provider.submit(200, "text/plain", b"OK|1");
    world.submit(ACME, "").await;
    provider.submit(200, "text/plain", b"OK|2");
    world.submit(ACME, "").await;

    let joined = world.get(&format!("/res.php?key={ACME}&action=get&ids=1,2,3")).await;

    assert_eq!(joined.text(), format!("{GEETEST}|{GEETEST}|ERROR_WRONG_CAPTCHA_ID"));
    until("both are charged", || world.tenant("acme").day_solves == 2).await;
    world.settled().await;
    world.close(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get2_goes_through_as_it_came_where_nothing_is_enforced() {
    let setup = Setup { tenants: "", ..Setup::default() };
    let provider = Options { dialect: Dialect::TwoCaptcha, ..setup.provider.clone() };
    let world = World::start(Setup { provider, ..setup }).await;
    let id = world.submit(ACCOUNT, "answer=a").await;
    let target = format!("/res.php?key={ACCOUNT}&action=get2&id={id}&json=1&soft_id=7");

    let answer = world.get(&target).await;

    let asked = world.received(SimOperation::Poll);
    assert_eq!(asked.last().unwrap().query, target.split_once('?').unwrap().1);
    assert_eq!(asked.last().unwrap().answer.as_deref(), Some(answer.text().as_str()));
    assert!(answer.text().contains(r#""price""#), "the provider's own: {answer:?}");
    until("it is counted", || world.tenant("default").day_solves == 1).await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_at_an_ipv6_address_is_reached() {
    let provider = Canned::start().await;
    provider.submit(200, "text/plain", b"OK|1");
    provider.poll(200, "text/plain", b"OK|six");
    // The same socket by its IPv6 name: a machine without IPv6 has that, too.
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    let address = SocketAddr::from((mapped, provider.address.port()));
    assert!(address.to_string().starts_with('['));
    let world = World::start_at(Setup::default(), address).await;

    let id = world.submit(ACME, "").await;

    assert_eq!(world.poll_to_end(ACME, &id).await.text(), "OK|six");
    until("the account was asked about", || world.snapshot().accounts[0].balance.is_some()).await;
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_taken_out_of_the_config_still_fetches_what_it_has_open() {
    let world = World::start(Setup::default()).await;
    let id = world.submit(ACME, "answer=a&solve=300ms").await;
    let path = world.write_config();
    let other = "acct0canary000000000000000000002";
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace(
        &format!("accounts: {{ main: {{ key: {ACCOUNT}, threads: 5000 }} }}"),
        &format!("accounts: {{ other: {{ key: {other}, threads: 5000 }} }}"),
    );
    assert!(text.contains(other), "{text}");
    std::fs::write(&path, text).unwrap();
    let reload = "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(world.admin(reload).await.text(), "reloaded\n");

    assert_eq!(world.poll_to_end(ACME, &id).await.text(), "OK|a");

    let polls = world.received(SimOperation::Poll);
    assert!(polls.iter().all(|asked| asked.key.as_deref() == Some(ACCOUNT)), "{polls:?}");
    let next = world.get(&submission(ACME, "")).await;
    assert_eq!(next.reason(), "account_unavailable", "the other's key is unknown there: {next:?}");
    let submits = world.received(SimOperation::Submit);
    assert!(submits.len() <= 2, "{submits:?}");
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_tls_fails_is_down_and_no_solve_is_lost_by_it() {
    let faults: [(&str, Option<&[u8]>); 4] = [
        ("plain HTTP", Some(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")),
        ("an alert", Some(b"\x15\x03\x03\x00\x02\x02\x28")),
        ("an end", Some(b"")),
        ("silence", None),
    ];
    for (what, said) in faults {
        let broken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = broken.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = broken.accept().await {
                let mut hello = [0; 1024];
                let _ = stream.read(&mut hello).await;
                match said {
                    Some(said) => drop(stream.write_all(said).await),
                    None => silent.push(stream),
                }
            }
        });
        let upstream = "poll_spacing: 0s, connect_timeout: 500ms, poll_timeout: 2s";
        let mut world = World::start(Setup { upstream, ..Setup::default() }).await;
        let id = world.submit(ACME, "answer=a").await;
        let healthy = world.upstream;
        (world.setup.scheme, world.upstream) = ("https", address);
        world.restart().await;

        let started = Instant::now();
        let refused = world.get(&submission(ACME, "")).await;
        assert_eq!(
            (refused.text().as_str(), refused.reason()),
            ("ERROR_SERVER_ERROR", "upstream_unavailable"),
            "{what}"
        );
        assert_eq!(world.poll(ACME, &id).await.text(), "CAPCHA_NOT_READY", "{what}");
        assert!(started.elapsed() < Duration::from_secs(4), "{what}: {:?}", started.elapsed());

        (world.setup.scheme, world.upstream) = ("http", healthy);
        world.restart().await;
        assert_eq!(world.poll_to_end(ACME, &id).await.text(), "OK|a", "{what}");
        let next = world.submit(ACME, "answer=b").await;
        assert_eq!(world.poll_to_end(ACME, &next).await.text(), "OK|b", "{what}");
        world.settled().await;
        world.close(2).await;
        serving.abort();
    }
}

/// Whose certificate nobody vouches for is not told the account's key.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_with_a_certificate_of_its_own_making_gets_no_request() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key.unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut said = Vec::new();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read_buf(&mut said).await;
            }
            let _ = tell.send(said);
        }
    });
    let setup = Setup { scheme: "https", ..Setup::default() };
    let world = World::start_at(setup, address).await;

    let refused = world.get(&submission(ACME, "")).await;
    let mut client = world.client().await;
    let solve = format!("key={ACME}&method=base64&body=aGk=");
    client.send(&post("/solve.php", URLENCODED, solve.as_bytes())).await;
    let solved = client.answer().await;

    assert_eq!(refused.text(), "ERROR_SERVER_ERROR");
    assert_eq!(solved.text(), "ERROR_SERVER_ERROR");
    for _ in 0..2 {
        assert_eq!(told.recv().await.unwrap(), b"", "something was sent to whoever that is");
    }
    world.close(0).await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_of_a_provider_that_hangs_is_answered_before_clients_give_up() {
    let upstream = "poll_spacing: 0s, poll_timeout: 30s";
    let enforced = World::start(Setup { upstream, ..Setup::default() }).await;
    let id = enforced.submit(ACME, "answer=a").await;
    let passing = World::start(Setup { upstream, tenants: "", ..Setup::default() }).await;
    for world in [&enforced, &passing] {
        world.control().add_faults(
            [
                SimOperation::Report,
                SimOperation::Balance,
                SimOperation::Threads,
                SimOperation::Poll,
            ]
            .map(|operation| FaultRule::new(operation, SimFault::Hang)),
        );
    }
    let asked = [
        (&enforced, format!("/res.php?key={ACME}&action=reportbad&id={id}"), "ERROR_SERVER_ERROR"),
        (&passing, format!("/res.php?key={ACCOUNT}&action=getbalance"), "ERROR_SERVER_ERROR"),
        (&passing, format!("/res.php?key={ACCOUNT}&action=threadsinfo"), "ERROR_SERVER_ERROR"),
        (&passing, format!("/res.php?key={ACCOUNT}&action=get&ids=1,2"), "ERROR_SERVER_ERROR"),
        (&passing, format!("/res.php?key={ACCOUNT}&action=get&id=12345"), "CAPCHA_NOT_READY"),
    ];
    let asking = asked.map(|(world, target, expected)| async move {
        let started = Instant::now();
        let answer = world.get(&target).await;
        let took = started.elapsed();
        assert!(took < Duration::from_millis(4_950), "{target}: {took:?}");
        assert_eq!(answer.text(), expected, "{target}");
    });
    futures_util::future::join_all(asking).await;
    for mut world in [enforced, passing] {
        let app = world.take_app();
        app.stop(Duration::from_millis(200)).await.unwrap();
        world.close(0).await;
    }
}
