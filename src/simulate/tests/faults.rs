//! Every kind of fault, observed over a raw socket.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{KEY, get, poll, received, simulation, submission, submit};
use crate::simulate::{Effect, Fault, FaultMatch, FaultRule, Operation, Simulation};

const BALANCE: &str = "/res.php?key=0123456789abcdef0123456789abcdef&action=getbalance";
const PATIENCE: Duration = Duration::from_millis(50);

/// What came until the connection ended, and how it ended; `None` when it stayed open.
async fn raw(addr: SocketAddr, target: &str) -> (Vec<u8>, Option<Result<(), ErrorKind>>) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut block = [0; 4096];
        match tokio::time::timeout(PATIENCE, stream.read(&mut block)).await {
            Err(_) => return (bytes, None),
            Ok(Ok(0)) => return (bytes, Some(Ok(()))),
            Ok(Ok(count)) => bytes.extend_from_slice(&block[..count]),
            Ok(Err(error)) => return (bytes, Some(Err(error.kind()))),
        }
    }
}

fn struck(fault: Fault) -> Simulation {
    let simulation = simulation();
    simulation.control().add_faults([FaultRule::new(Operation::Balance, fault)]);
    simulation
}

async fn text(fault: Fault) -> String {
    let (bytes, end) = raw(struck(fault).addr(), BALANCE).await;
    assert_eq!(end, None, "the connection stays open");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn connections_end_in_each_way() {
    let gone = Some(Err(ErrorKind::ConnectionReset));
    for (fault, end, starts, ends) in [
        (Fault::Refuse, Some(Ok(())), "", ""),
        (Fault::ResetBefore, gone, "", ""),
        (Fault::ResetMidAnswer, gone, "HTTP/1.1 200 OK", "\r\n\r\n10"),
        (Fault::HalfBody, Some(Ok(())), "HTTP/1.1 200 OK", "\r\n\r\n10"),
        (Fault::HalfHeader, Some(Ok(())), "HTTP/1.1 200 OK", ""),
        (Fault::Hang, None, "", ""),
    ] {
        let simulation = struck(fault.clone());

        let (bytes, ended) = raw(simulation.addr(), BALANCE).await;

        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(ended, end, "{fault:?}");
        assert_eq!(text.is_empty(), starts.is_empty(), "{fault:?}: {text}");
        assert!(text.starts_with(starts) && text.ends_with(ends), "{fault:?}: {text}");
        assert_eq!(text.contains("\r\n\r\n"), !ends.is_empty(), "{fault:?}: {text}");
    }
}

#[tokio::test]
async fn whole_answers_are_wrong_in_each_way() {
    let page = text(Fault::HttpStatus(502)).await;
    assert!(page.starts_with("HTTP/1.1 502 Bad Gateway\r\n") && page.contains("<html>"), "{page}");
    let redirect = received(&text(Fault::Redirect).await);
    assert_eq!(redirect.status, 307);
    assert!(redirect.head.contains("\r\nLocation: /redirected/"));
    let wrong_type = received(&text(Fault::WrongContentType).await);
    assert!(wrong_type.head.contains("Content-Type: application/json"));
    assert_eq!(wrong_type.body, "10.00");
    assert_eq!(received(&text(Fault::EmptyBody).await).body, "");
    assert_eq!(received(&text(Fault::Newline).await).body, "10.00\n");
    assert_eq!(received(&text(Fault::Figure("NaN".to_owned())).await).body, "NaN");
    assert_eq!(received(&text(Fault::Body("<html>".to_owned())).await).body, "<html>");
    let binary = text(Fault::GarbageBody).await;
    assert!(binary.starts_with("HTTP/1.1 200 OK") && binary.contains('\u{fffd}'));
    let code = text(Fault::Code("ERROR_SERVER_ERROR".to_owned())).await;
    assert_eq!(received(&code).body, "ERROR_SERVER_ERROR");
}

#[tokio::test]
async fn garbage_is_no_http() {
    let (bytes, end) = raw(struck(Fault::Garbage).addr(), BALANCE).await;

    assert_eq!(end, Some(Ok(())));
    assert!(!bytes.starts_with(b"HTTP") && std::str::from_utf8(&bytes).is_err());
}

#[tokio::test]
async fn a_giant_answer_has_every_byte_it_announces() {
    let (bytes, _) = raw(struck(Fault::GiantAnswer(2)).addr(), BALANCE).await;

    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(bytes.len() - head, 2 * 1024 * 1024);
}

#[tokio::test]
async fn a_delay_delays_and_a_drip_drips() {
    let delayed = struck(Fault::Delay(Duration::from_millis(60)));
    let start = now();
    assert_eq!(get(delayed.addr(), BALANCE).await.body, "10.00");
    assert!(start.elapsed() >= Duration::from_millis(60));

    let dripping = struck(Fault::Drip);
    let mut stream = TcpStream::connect(dripping.addr()).await.unwrap();
    stream.write_all(format!("GET {BALANCE} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    let mut block = [0; 64];
    assert_eq!(stream.read(&mut block).await.unwrap(), 1);
    assert_eq!(stream.read(&mut block).await.unwrap(), 1);
}

#[expect(clippy::disallowed_methods, reason = "measures a delay from outside")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn a_lost_answer_leaves_the_task_accepted_only_after_the_effect() {
    for (effect, accepted) in [(Effect::Before, 0), (Effect::After, 1)] {
        for fault in [
            Fault::ResetBefore,
            Fault::HttpStatus(500),
            Fault::OkWithoutId,
            Fault::Code("X".into()),
        ] {
            let simulation = simulation();
            let rule = FaultRule { effect, ..FaultRule::new(Operation::Submit, fault.clone()) };
            simulation.control().add_faults([rule]);

            raw(simulation.addr(), &submission()).await;

            assert_eq!(simulation.control().tasks().len(), accepted, "{fault:?} {effect:?}");
        }
    }
}

#[tokio::test]
async fn a_delay_is_before_or_after_the_effect() {
    for (effect, accepted) in [(Effect::Before, 0), (Effect::After, 1)] {
        let simulation = simulation();
        let delay = Fault::Delay(Duration::from_mins(1));
        let rule = FaultRule { effect, ..FaultRule::new(Operation::Submit, delay) };
        simulation.control().add_faults([rule]);

        raw(simulation.addr(), &submission()).await;

        assert_eq!(simulation.control().tasks().len(), accepted, "{effect:?}");
    }
}

#[tokio::test]
async fn ids_go_missing_and_come_twice() {
    let simulation = simulation();
    let control = simulation.control();
    let first = submit(simulation.addr()).await;

    control.add_faults([FaultRule::new(Operation::Submit, Fault::DuplicateId).times(1)]);
    assert_eq!(submit(simulation.addr()).await, first);
    assert_eq!(control.tasks().len(), 1);
    control.add_faults([FaultRule::new(Operation::Submit, Fault::DuplicateId).times(1).after()]);
    assert_eq!(submit(simulation.addr()).await, first);
    assert_eq!(control.tasks().len(), 2);
    control.add_faults([FaultRule::new(Operation::Submit, Fault::OkWithoutId)]);
    assert_eq!(get(simulation.addr(), &submission()).await.body, "OK|");
}

#[tokio::test]
async fn polls_are_never_ready_or_find_the_answer_to_another_task() {
    let simulation = simulation();
    let control = simulation.control();
    let other = submit(simulation.addr()).await;
    let own = submit(simulation.addr()).await;

    control.add_faults([FaultRule::new(Operation::Poll, Fault::NeverReady).times(1)]);
    assert_eq!(get(simulation.addr(), &poll(&own)).await.body, "CAPCHA_NOT_READY");
    control.add_faults([FaultRule::new(Operation::Poll, Fault::ForeignAnswer).times(1)]);
    let foreign = get(simulation.addr(), &poll(&own)).await.body;
    assert_eq!(foreign, get(simulation.addr(), &poll(&other)).await.body);

    control.add_faults([FaultRule::new(Operation::Submit, Fault::NeverReady)]);
    let never = submit(simulation.addr()).await;
    assert_eq!(get(simulation.addr(), &poll(&never)).await.body, "CAPCHA_NOT_READY");
}

#[tokio::test]
async fn a_rule_strikes_only_what_it_matches() {
    let simulation = simulation();
    let control = simulation.control();
    let spared = submit(simulation.addr()).await;
    let target = submit(simulation.addr()).await;
    let code = |code: &str| Fault::Code(code.to_owned());
    let matching = |matches: FaultMatch, name: &str| FaultRule {
        matches,
        ..FaultRule::new(Operation::Poll, code(name))
    };
    control.add_faults([
        matching(FaultMatch { task: Some(target.clone()), ..FaultMatch::default() }, "TASK"),
        matching(FaultMatch { key: Some("nobody".into()), ..FaultMatch::default() }, "KEY"),
        matching(FaultMatch { probability: Some(0.0), ..FaultMatch::default() }, "LUCK"),
        matching(FaultMatch { nth: Some(2), ..FaultMatch::default() }, "NTH"),
    ]);

    let mut answers = Vec::new();
    for id in [&spared, &target, &spared, &spared] {
        answers.push(get(simulation.addr(), &poll(id)).await.body);
    }

    assert!(answers[0].starts_with("OK|") && answers[3].starts_with("OK|"), "{answers:?}");
    assert_eq!(answers[1..3], ["TASK", "NTH"]);
    let struck: Vec<_> = control.faults().iter().map(|state| (state.seen, state.struck)).collect();
    assert_eq!(struck, [(1, 1), (0, 0), (3, 0), (3, 1)]);
}

#[tokio::test]
async fn a_rule_may_be_for_one_captcha_type() {
    let simulation = simulation();
    let matches = FaultMatch { captcha_type: Some("turnstile".into()), ..FaultMatch::default() };
    let rule = FaultRule::new(Operation::Submit, Fault::Code("STRUCK".into()));
    simulation.control().add_faults([FaultRule { matches, ..rule }]);
    let image = format!("/in.php?key={KEY}&method=base64&body=aGk=");

    assert_eq!(get(simulation.addr(), &submission()).await.body, "STRUCK");
    assert!(get(simulation.addr(), &image).await.body.starts_with("OK|"));
}

#[test]
fn rules_read_and_write_as_json() {
    for json in [
        r#"{"operation":"submit","matches":{"nth":3},"count":2,"effect":"after","fault":"reset_before"}"#,
        r#"{"operation":"poll","matches":{},"count":null,"effect":"before","fault":{"http_status":502}}"#,
        r#"{"operation":"any","fault":{"delay":"3s"}}"#,
        r#"{"fault":{"giant_answer":16}}"#,
    ] {
        let rule: FaultRule = json.parse().unwrap();
        let again: FaultRule = serde_json::to_string(&rule).unwrap().parse().unwrap();
        assert_eq!(rule, again);
    }
    for json in [
        r#"{"fault":"nonsense"}"#,
        r#"{"fault":"hang","typo":1}"#,
        r#"{"operation":"x","fault":"hang"}"#,
    ] {
        assert!(json.parse::<FaultRule>().is_err(), "{json}");
    }
}
