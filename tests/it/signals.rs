//! Signals to the program itself: an end in order under load, past the grace, asked for twice, with a
//! record that cannot be written; a SIGHUP in the first moments; a log that nobody reads.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use solvegate::simulate::{Fault, FaultRule, Operation};

use crate::support::client::{get, poll, submission};
use crate::support::process::{self, Sidecar};
use crate::support::{ACME, Client, Setup, World, until};

/// After the grace: 2 s for what runs in the background, 5 s for the record; and as much again as a busy
/// machine may want.
const MARGIN: Duration = Duration::from_secs(7 + 8);

/// Where the provider may take its time.
const PATIENT: &str = "poll_spacing: 0s, submit_timeout: 4500ms, poll_timeout: 30s";

fn world(grace: &str) -> World {
    let rest = format!("shutdown_grace: {grace}");
    World::without_sidecar(Setup { upstream: PATIENT, rest, ..Setup::default() })
}

/// From now on the provider takes that long for every answer of that kind.
fn delay(world: &World, operation: Operation, seconds: u64) {
    let fault = Fault::Delay(Duration::from_secs(seconds));
    world.control().add_faults([FaultRule::new(operation, fault).after()]);
}

async fn ask(sidecar: &Sidecar, target: &str) -> String {
    Client::connect(sidecar.data).await.get(target).await.text()
}

async fn submit(sidecar: &Sidecar, wish: &str) -> String {
    Client::connect(sidecar.data).await.get(&submission(ACME, wish)).await.id()
}

/// A connection on which that was asked.
async fn asking(sidecar: &Sidecar, target: &str) -> Client {
    let mut client = Client::connect(sidecar.data).await;
    client.send(get(target).as_bytes()).await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_during_a_thousand_open_requests_loses_nothing() {
    let world = world("20s");
    let config = world.write_config();
    let sidecar = Sidecar::start(&config).unwrap();
    let (mut solved, mut hopeless) = (Vec::new(), Vec::new());
    for _ in 0..250 {
        solved.push(submit(&sidecar, "answer=a").await);
        hopeless.push(submit(&sidecar, "never").await);
    }
    delay(&world, Operation::Submit, 2);
    delay(&world, Operation::Poll, 2);
    let (mut submitting, mut polling, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    for (solved, hopeless) in solved.iter().zip(&hopeless) {
        polling.push(asking(&sidecar, &poll(ACME, solved)).await);
        waiting.push(asking(&sidecar, &poll(ACME, hopeless)).await);
        submitting.push(asking(&sidecar, &submission(ACME, "answer=a")).await);
        submitting.push(asking(&sidecar, &submission(ACME, "answer=a")).await);
    }
    until("all are at the provider", || {
        world.control().tasks().len() == 1_000 && world.received(Operation::Poll).len() >= 500
    })
    .await;

    sidecar.signal("TERM");
    let begin = Instant::now();
    until("new connections are refused", || std::net::TcpStream::connect(sidecar.data).is_err())
        .await;
    let mut accepted = Vec::new();
    for client in &mut submitting {
        accepted.push(client.answer().await.id());
        assert!(client.is_closed().await);
    }
    for client in &mut polling {
        // On a machine so busy that the answer comes late, the sidecar says that there is none yet.
        let answer = client.answer().await.text();
        assert!(answer == "OK|a" || answer == "CAPCHA_NOT_READY", "{answer}");
        assert!(client.is_closed().await);
    }
    for client in &mut waiting {
        assert_eq!(client.answer().await.text(), "CAPCHA_NOT_READY");
        assert!(client.is_closed().await);
    }
    let (log, status) = sidecar.ended();
    let took = begin.elapsed();
    println!("1,000 open requests were answered, and the end came, in {took:?}");
    assert!(status.success(), "{status}: {log}");
    assert!(!log.contains("the grace is over"), "{log}");
    assert!(took < Duration::from_secs(20) + MARGIN, "{took:?}");

    world.control().clear_faults();
    let sidecar = Sidecar::start(&config).unwrap();
    for id in &accepted {
        assert_eq!(ask(&sidecar, &poll(ACME, id)).await, "OK|a");
    }
    for id in &solved {
        assert_eq!(ask(&sidecar, &poll(ACME, id)).await, "OK|a", "fetched again, and charged once");
    }
    assert_eq!(ask(&sidecar, &poll(ACME, &hopeless[0])).await, "CAPCHA_NOT_READY");
    sidecar.stop();
    world.close(750).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_answered_within_the_grace_is_cut_off_and_nothing_is_charged_for_it() {
    let world = world("1s");
    let config = world.write_config();
    let sidecar = Sidecar::start(&config).unwrap();
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(submit(&sidecar, "answer=a").await);
    }
    delay(&world, Operation::Submit, 25);
    delay(&world, Operation::Poll, 25);
    // A submission is given up after a few seconds, and may be answered with that before the cut.
    let (mut clients, mut submitting) = (Vec::new(), Vec::new());
    for id in &ids {
        clients.push(asking(&sidecar, &poll(ACME, id)).await);
        submitting.push(asking(&sidecar, &submission(ACME, "answer=a")).await);
    }
    until("all are at the provider", || {
        world.control().tasks().len() == 100 && world.received(Operation::Poll).len() >= 50
    })
    .await;

    sidecar.signal("TERM");
    let begin = Instant::now();
    let (log, status) = sidecar.ended();
    let took = begin.elapsed();
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("the grace is over"), "{log}");
    assert!(took < Duration::from_secs(1) + MARGIN, "{took:?}");
    for client in &mut clients {
        let mut rest = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut rest).await;
        assert!(
            rest.is_empty(),
            "a part of an answer: {read:?} {}",
            String::from_utf8_lossy(&rest)
        );
    }

    world.control().clear_faults();
    let sidecar = Sidecar::start(&config).unwrap();
    for id in &ids {
        assert_eq!(ask(&sidecar, &poll(ACME, id)).await, "OK|a");
    }
    sidecar.stop();
    world.close(50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_grace_and_still_everything_is_written_down() {
    for (first, second) in [("TERM", "INT"), ("INT", "TERM")] {
        let world = world("10m");
        let config = world.write_config();
        let sidecar = Sidecar::start(&config).unwrap();
        let delivered = submit(&sidecar, "answer=a").await;
        assert_eq!(ask(&sidecar, &poll(ACME, &delivered)).await, "OK|a");
        let open = submit(&sidecar, "answer=a").await;
        delay(&world, Operation::Poll, 600);
        let _waiting = asking(&sidecar, &poll(ACME, &open)).await;
        until("it is at the provider", || world.received(Operation::Poll).len() >= 2).await;

        sidecar.signal(first);
        until("it ends", || sidecar.log().contains("shutting down")).await;
        sidecar.signal(second);
        let begin = Instant::now();
        let (log, status) = sidecar.ended();

        assert!(status.success(), "{status}: {log}");
        assert!(log.contains("asked again to end"), "{log}");
        assert!(begin.elapsed() < MARGIN, "{:?}", begin.elapsed());
        world.control().clear_faults();
        let sidecar = Sidecar::start(&config).unwrap();
        assert_eq!(ask(&sidecar, &poll(ACME, &open)).await, "OK|a");
        sidecar.stop();
        world.close(2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_while_another_process_locks_the_record_loses_no_charge() {
    for is_freed in [true, false] {
        let world = world(if is_freed { "30s" } else { "1s" });
        let config = world.write_config();
        let sidecar = Sidecar::start(&config).unwrap();
        let id = submit(&sidecar, "answer=a").await;
        let other = rusqlite::Connection::open(world.state().join("solvegate.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert_eq!(ask(&sidecar, &poll(ACME, &id)).await, "OK|a");

        sidecar.signal("TERM");
        let begin = Instant::now();
        until("it ends", || sidecar.log().contains("shutting down")).await;
        if is_freed {
            other.execute_batch("ROLLBACK").unwrap();
        }
        let (log, status) = sidecar.ended();
        let took = begin.elapsed();
        drop(other);

        assert_eq!(status.success(), is_freed, "{status}: {log}");
        assert!(took < Duration::from_secs(1) + MARGIN, "{took:?}");
        let sidecar = Sidecar::start(&config).unwrap();
        assert_eq!(ask(&sidecar, &poll(ACME, &id)).await, "OK|a");
        sidecar.stop();
        world.close(1).await;
    }
}

/// The config is a pipe at first, so that the moment is known when it is opened, and the program is held
/// there.
#[tokio::test(flavor = "multi_thread")]
async fn a_sighup_while_the_config_is_read_is_a_reload_and_no_end() {
    let world = world("1s");
    let path = world.write_config();
    let (file, text) = (path.with_extension("kept"), std::fs::read_to_string(&path).unwrap());
    std::fs::rename(&path, &file).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_solvegate"));
    command.args(["run", "--config"]).arg(&path).env_remove("RUST_LOG");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

    // Opens once the other side does.
    let mut pipe = OpenOptions::new().write(true).open(&path).unwrap();
    process::signal(child.id(), "HUP");
    std::fs::rename(&file, &path).unwrap();
    // If it is gone, that is found below.
    let _ = pipe.write_all(text.as_bytes());
    drop(pipe);

    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let serves = lines.any(|line| line.starts_with("admin on "));
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while serves && !said.contains("the config was reloaded") {
        assert!(log.read_line(&mut said).unwrap() > 0, "{said}");
    }
    if serves {
        process::signal(child.id(), "TERM");
    }
    log.read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert!(serves && status.success(), "{status}: {said}");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_nothing() {
    let world = world("5s");
    let mut command = Command::new(env!("CARGO_BIN_EXE_solvegate"));
    command.args(["run", "--config"]).arg(world.write_config()).env("RUST_LOG", "debug");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut address = |of: &str| {
        let line = lines.find_map(|line| Some(line.strip_prefix(of)?.to_owned()));
        line.unwrap().parse::<SocketAddr>().unwrap()
    };
    let (data, admin) = (address("listening on http://"), address("admin on http://"));

    drop(child.stderr.take());

    let reload = "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    for _ in 0..2 {
        let mut client = Client::connect(admin).await;
        client.send(reload.as_bytes()).await;
        assert_eq!(client.answer().await.status, 200);
    }
    let id = Client::connect(data).await.get(&submission(ACME, "answer=a")).await.id();
    assert_eq!(Client::connect(data).await.get(&poll(ACME, &id)).await.text(), "OK|a");
    process::signal(child.id(), "TERM");
    assert!(child.wait().unwrap().success());
    world.close(1).await;
}
