//! The simulated provider, seen from outside: over a raw socket, or as a pure state machine.

mod control;
mod faults;
mod protocol;
mod server;
mod state;

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{AccountOptions, Options, PerType, Simulation};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const OTHER_KEY: &str = "fedcba9876543210fedcba9876543210";

/// Two accounts, every solve ready at once.
fn options() -> Options {
    Options {
        accounts: vec![AccountOptions::new(KEY), AccountOptions::new(OTHER_KEY)],
        solve_times: vec![PerType::all(std::time::Duration::ZERO)],
        jitter: 0.0,
        ..Options::default()
    }
}

fn simulation() -> Simulation {
    Simulation::start(options()).unwrap()
}

/// The target of a turnstile submission.
fn submission() -> String {
    format!("/in.php?key={KEY}&method=turnstile&sitekey=s&pageurl=https://a.test")
}

fn poll(id: &str) -> String {
    format!("/res.php?key={KEY}&action=get&id={id}")
}

/// An answer as it came over the socket.
#[derive(Debug)]
struct Received {
    status: u16,
    head: String,
    body: String,
}

async fn get(addr: SocketAddr, target: &str) -> Received {
    call(addr, "GET", target, "", b"").await
}

async fn call(
    addr: SocketAddr,
    method: &str,
    target: &str,
    headers: &str,
    body: &[u8],
) -> Received {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {addr}\r\nContent-Length: {length}\r\n\
        Connection: close\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    received(&String::from_utf8(bytes).unwrap())
}

fn received(text: &str) -> Received {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Received { status, head: head.to_owned(), body: body.to_owned() }
}

/// Submits, and returns the id.
async fn submit(addr: SocketAddr) -> String {
    let answer = get(addr, &submission()).await.body;
    answer.strip_prefix("OK|").unwrap_or_else(|| panic!("not accepted: {answer}")).to_owned()
}
