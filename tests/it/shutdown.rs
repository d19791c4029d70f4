//! The end of a process, and TLS.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use solvegate::simulate::{Fault, FaultRule, Operation};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::client::{get, poll, post, submission};
use crate::support::usual::URLENCODED;
use crate::support::{ACME, Client, Setup, World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_200_open_requests_loses_nothing() {
    let mut world = World::start(Setup::default()).await;
    let delay = Fault::Delay(Duration::from_millis(700));
    world.control().add_faults([FaultRule::new(Operation::Submit, delay).after()]);
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = world.client().await;
        client.send(get(&submission(ACME, "answer=a")).as_bytes()).await;
        clients.push(client);
    }
    until("all are at the provider", || world.control().tasks().len() == 200).await;
    let (data, admin) = (world.app().data, world.app().admin);

    let app = world.take_app();
    let stopping = tokio::spawn(app.stop(Duration::from_secs(20)));
    until("new connections are refused", || std::net::TcpStream::connect(data).is_err()).await;
    let ready = Client::connect(admin).await.get("/readyz").await;
    assert_eq!((ready.status, ready.text().as_str()), (503, "shutting down\n"));
    let mut ids = Vec::new();
    for client in &mut clients {
        ids.push(client.answer().await.id());
        assert!(client.is_closed().await);
    }
    stopping.await.unwrap().unwrap();

    world.open().await;
    assert_eq!(world.tenant("acme").open, 200);
    for id in &ids {
        assert_eq!(world.poll_to_end(ACME, id).await.text(), "OK|a");
    }
    world.settled().await;
    world.close(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_delay_a_stop() {
    let mut world = World::start(Setup::default()).await;
    let mut idle = world.client().await;
    idle.get(&poll(ACME, "1")).await;
    let silent = world.client().await;

    let stopping = world.take_app().stop(Duration::from_secs(10));
    tokio::time::timeout(Duration::from_secs(3), stopping).await.expect("delayed").unwrap();

    assert!(idle.is_closed().await);
    drop(silent);
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_does_not_delay_a_stop_and_a_body_is_still_read() {
    let mut world = World::start(Setup::default()).await;
    let head = get(&poll(ACME, "1"));
    let half = &head.as_bytes()[..head.len() / 2];
    let mut first = world.client().await;
    first.send(half).await;
    let mut second = world.client().await;
    second.get(&poll(ACME, "1")).await;
    second.send(half).await;
    let target = submission(ACME, "answer=a");
    let (path, body) = target.split_once('?').unwrap();
    let request = post(path, URLENCODED, body.as_bytes());
    let mut reading = world.client().await;
    reading.send(&request[..request.len() - 9]).await;
    // Until these have been taken in.
    for _ in 0..10 {
        world.get(&poll(ACME, "1")).await;
    }
    let data = world.app().data;

    let stopping = tokio::spawn(world.take_app().stop(Duration::from_secs(10)));

    until("new connections are refused", || std::net::TcpStream::connect(data).is_err()).await;
    let closed = async { (first.is_closed().await, second.is_closed().await) };
    let closed = tokio::time::timeout(Duration::from_secs(5), closed).await.expect("delayed");
    assert_eq!(closed, (true, true));
    assert!(!stopping.is_finished(), "a body is still coming in");
    reading.send(&request[request.len() - 9..]).await;
    let id = reading.answer().await.id();
    assert!(reading.is_closed().await);
    tokio::time::timeout(Duration::from_secs(5), stopping)
        .await
        .expect("delayed")
        .unwrap()
        .unwrap();

    world.open().await;
    assert_eq!(world.poll_to_end(ACME, &id).await.text(), "OK|a");
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_handshake_that_has_begun_does_not_delay_a_stop() {
    let (mut world, _, _keys) = with_tls().await;
    let mut hello = Client::connect(world.app().tls.unwrap()).await;
    hello.send(&[22, 3, 1]).await;
    world.get(&poll(ACME, "1")).await;

    let stopping = world.take_app().stop(Duration::from_secs(20));
    tokio::time::timeout(Duration::from_secs(5), stopping).await.expect("delayed").unwrap();

    assert!(hello.is_closed().await);
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_over_tls_does_not_delay_a_stop() {
    let (mut world, certificate, _keys) = with_tls().await;
    let mut client = over_tls(&world, certificate).await;
    let head = get(&poll(ACME, "1"));
    client.send(&head.as_bytes()[..head.len() / 2]).await;
    // Until it has been taken in.
    for _ in 0..10 {
        world.get(&poll(ACME, "1")).await;
    }

    let stopping = world.take_app().stop(Duration::from_secs(20));
    let (stopped, ended) =
        tokio::join!(tokio::time::timeout(Duration::from_secs(8), stopping), client.end());

    stopped.expect("delayed").unwrap();
    ended.expect("TLS is ended in order");
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_at_the_admin_port_does_not_delay_a_stop() {
    let mut world = World::start(Setup::default()).await;
    let admin = world.app().admin;
    let head = get("/healthz");
    let half = &head.as_bytes()[..head.len() / 2];
    let (mut first, mut second) = (Client::connect(admin).await, Client::connect(admin).await);
    first.send(half).await;
    second.get("/healthz").await;
    second.send(half).await;
    // Until these have been taken in.
    for _ in 0..10 {
        Client::connect(admin).await.get("/healthz").await;
    }

    world.take_app().stop(Duration::from_secs(10)).await.unwrap();

    // By the stop, and not by the end of its patience with those who do not hurry.
    let closed = async { (first.is_closed().await, second.is_closed().await) };
    let closed = tokio::time::timeout(Duration::from_secs(5), closed).await.expect("delayed");
    assert_eq!(closed, (true, true));
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tls_listener_serves_and_charges_like_the_plain_one() {
    let (world, certificate, _keys) = with_tls().await;
    let mut client = over_tls(&world, certificate).await;

    let id = client.get(&submission(ACME, "answer=over-tls")).await.id();
    assert_eq!(client.get(&poll(ACME, &id)).await.text(), "OK|over-tls");

    let mut plain = Client::connect(world.app().tls.unwrap()).await;
    plain.send(get(&poll(ACME, &id)).as_bytes()).await;
    assert!(plain.maybe_answer().await.is_none_or(|answer| answer.status == 400));
    world.settled().await;
    // Long enough for the connection to have given its buffers up.
    let idle = tokio::time::timeout(Duration::from_millis(1_300), client.is_closed()).await;
    assert!(idle.is_err(), "it was closed");
    let (ended, ()) = tokio::join!(client.end(), world.close(1));
    ended.expect("TLS is ended in order");
}

/// A world with a TLS listener, its certificate for `localhost`, and where that is kept.
async fn with_tls() -> (World, CertificateDer<'static>, TempDir) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let keys = tempfile::tempdir().unwrap();
    let (cert, key) = (keys.path().join("tls.crt"), keys.path().join("tls.key"));
    std::fs::write(&cert, signed.cert.pem()).unwrap();
    std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let rest = format!(
        "tls: {{ listen: '127.0.0.1:0', cert: {}, key: {} }}",
        cert.display(),
        key.display()
    );
    let world = World::start(Setup { rest, ..Setup::default() }).await;
    (world, signed.cert.der().clone(), keys)
}

async fn over_tls(
    world: &World,
    certificate: CertificateDer<'static>,
) -> Client<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(world.app().tls.unwrap()).await.unwrap();
    Client::over(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap())
}
