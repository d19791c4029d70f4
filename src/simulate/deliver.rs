//! An answer on the socket: whole, or broken as a fault says.

#![expect(clippy::wildcard_enum_match_arm, reason = "a few variants differ, the rest is alike")]

use std::io::{self, Write};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::answer::{JSON, Reply, TEXT};
use super::fault::Fault;
use super::http::Connection;

const DRIP_PAUSE: Duration = Duration::from_millis(100);
/// Lets the bytes before a RST reach the client as bytes.
const RESET_PAUSE: Duration = Duration::from_millis(5);
const MEBIBYTE: usize = 1024 * 1024;
/// Neither HTTP nor UTF-8.
const GARBAGE: &[u8] = b"\x16\x03\x01\x02\x00\xff\xfe\x00\x80garbage\r\n\r\n\xc3\x28";

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    KeepAlive,
    Close,
}

/// Sends the reply, or what the fault makes of it.
pub(super) async fn deliver(
    connection: &mut Connection,
    reply: &Reply,
    fault: Option<&Fault>,
    keeps_alive: bool,
    out: &mut Vec<u8>,
) -> io::Result<Flow> {
    let Some(fault) = fault else { return send(connection, reply, keeps_alive, out).await };
    match fault {
        Fault::Refuse => close(connection).await,
        Fault::ResetBefore => Ok(reset(connection)),
        Fault::ResetMidAnswer | Fault::HalfHeader | Fault::HalfBody => {
            send_half(connection, reply, fault, out).await
        }
        Fault::Hang => {
            connection.wait_for_close().await;
            Ok(Flow::Close)
        }
        Fault::Drip => drip(connection, reply, keeps_alive, out).await,
        Fault::Garbage => {
            connection.stream.write_all(GARBAGE).await?;
            close(connection).await
        }
        Fault::GiantAnswer(mebibytes) => giant(connection, *mebibytes, keeps_alive).await,
        Fault::Redirect => {
            let head = "HTTP/1.1 307 Temporary Redirect\r\nLocation: /redirected/in.php\r\n\
                Content-Length: 0\r\n\r\n";
            connection.stream.write_all(head.as_bytes()).await?;
            Ok(flow(keeps_alive))
        }
        Fault::Delay(_)
        | Fault::HttpStatus(_)
        | Fault::GarbageBody
        | Fault::WrongContentType
        | Fault::EmptyBody
        | Fault::OkWithoutId
        | Fault::DuplicateId
        | Fault::ForeignAnswer
        | Fault::NeverReady
        | Fault::Code(_)
        | Fault::Newline
        | Fault::Figure(_)
        | Fault::Body(_) => send(connection, &altered(reply, fault), keeps_alive, out).await,
    }
}

/// The reply that stands in for the true one.
fn altered(reply: &Reply, fault: &Fault) -> Reply {
    let with_body = |body: Vec<u8>| Reply { body: body.into(), ..reply.clone() };
    match fault {
        Fault::HttpStatus(status) => Reply::page(*status, reason(*status)),
        Fault::GarbageBody => {
            Reply { content_type: "application/octet-stream", ..with_body(GARBAGE.to_vec()) }
        }
        Fault::WrongContentType => {
            let wrong = if reply.content_type == JSON { TEXT } else { JSON };
            Reply { content_type: wrong, ..reply.clone() }
        }
        Fault::EmptyBody => with_body(Vec::new()),
        Fault::Newline => with_body([&reply.body[..], b"\n"].concat()),
        Fault::Body(body) => with_body(body.clone().into_bytes()),
        _ => reply.clone(),
    }
}

async fn send(
    connection: &mut Connection,
    reply: &Reply,
    keeps_alive: bool,
    out: &mut Vec<u8>,
) -> io::Result<Flow> {
    write_reply(reply, keeps_alive, out);
    connection.stream.write_all(out).await?;
    if keeps_alive { Ok(Flow::KeepAlive) } else { close(connection).await }
}

async fn send_half(
    connection: &mut Connection,
    reply: &Reply,
    fault: &Fault,
    out: &mut Vec<u8>,
) -> io::Result<Flow> {
    let head = write_reply(reply, true, out);
    let end = match fault {
        Fault::HalfHeader => head / 2,
        _ => head + reply.body.len() / 2,
    };
    connection.stream.write_all(&out[..end]).await?;
    if *fault == Fault::ResetMidAnswer {
        tokio::time::sleep(RESET_PAUSE).await;
        return Ok(reset(connection));
    }
    close(connection).await
}

async fn drip(
    connection: &mut Connection,
    reply: &Reply,
    keeps_alive: bool,
    out: &mut Vec<u8>,
) -> io::Result<Flow> {
    write_reply(reply, keeps_alive, out);
    for byte in out.iter() {
        connection.stream.write_all(&[*byte]).await?;
        tokio::time::sleep(DRIP_PAUSE).await;
    }
    Ok(flow(keeps_alive))
}

async fn giant(connection: &mut Connection, mebibytes: u32, keeps_alive: bool) -> io::Result<Flow> {
    let length = mebibytes as usize * MEBIBYTE;
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {TEXT}\r\nContent-Length: {length}\r\n\r\n");
    connection.stream.write_all(head.as_bytes()).await?;
    let block = vec![b'A'; MEBIBYTE];
    for _ in 0..mebibytes {
        connection.stream.write_all(&block).await?;
    }
    Ok(flow(keeps_alive))
}

async fn close(connection: &mut Connection) -> io::Result<Flow> {
    connection.stream.shutdown().await?;
    Ok(Flow::Close)
}

fn reset(connection: &Connection) -> Flow {
    connection.end_with_reset();
    Flow::Close
}

const fn flow(keeps_alive: bool) -> Flow {
    if keeps_alive { Flow::KeepAlive } else { Flow::Close }
}

/// Writes head and body to `out`; returns the length of the head.
fn write_reply(reply: &Reply, keeps_alive: bool, out: &mut Vec<u8>) -> usize {
    out.clear();
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 {} {}\r\nServer: nginx\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
        reply.status,
        reason(reply.status),
        reply.content_type,
        reply.body.len()
    );
    out.extend_from_slice(if keeps_alive {
        b"Connection: keep-alive\r\n"
    } else {
        b"Connection: close\r\n"
    });
    if reply.cross_origin {
        out.extend_from_slice(b"Access-Control-Allow-Origin: *\r\n");
    }
    out.extend_from_slice(b"\r\n");
    let head = out.len();
    out.extend_from_slice(&reply.body);
    head
}

fn reason(status: u16) -> &'static str {
    ::http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Unknown")
}
