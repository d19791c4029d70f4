//! Files that the config refers to, secrets and certificates: a change of theirs alone is a reload.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::client::{get, submission};
use crate::support::{ACME, BATCH, Setup, World, ZEN, until, until_it};

/// Whole or not at all, as those who change secrets do it.
fn put(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, path).unwrap();
}

async fn is_accepted(world: &World, key: &str) -> bool {
    let reason = world.get(&submission(key, "never")).await.reason().to_owned();
    assert!(["none", "unknown_key", "revoked_key"].contains(&reason.as_str()), "{reason}");
    reason == "none"
}

async fn last_reload_was_successful(world: &World) -> bool {
    let metrics = world.admin(&get("/metrics")).await.text();
    metrics.contains("solvegate_config_last_reload_successful 1\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_changes_alone_is_put_in_force() {
    let tenants = "acme: { keys: { prod: { key: '${file:secret}' } } }";
    let mut world = World::without_sidecar(Setup { tenants, ..Setup::default() });
    let secret = world.folder.path().join("secret");
    std::fs::write(&secret, format!("{ACME}\n")).unwrap();
    world.open().await;
    assert!(is_accepted(&world, ACME).await && !is_accepted(&world, ZEN).await);

    put(&secret, ZEN);
    until_it("the new one is good", async || is_accepted(&world, ZEN).await).await;
    assert!(!is_accepted(&world, ACME).await);

    std::fs::remove_file(&secret).unwrap();
    until_it("it is missed", async || !last_reload_was_successful(&world).await).await;
    assert!(is_accepted(&world, ZEN).await, "the old one stays in force");

    put(&secret, BATCH);
    until_it("it is back", async || is_accepted(&world, BATCH).await).await;
    assert!(last_reload_was_successful(&world).await);
    world.close(0).await;
}

/// Kubernetes swaps a link to the folder that all files of a volume are links into.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_secrets_that_is_swapped_is_put_in_force() {
    let tenants = "acme: { keys: { prod: { key: '${file:secrets/key}' } } }";
    let mut world = World::without_sidecar(Setup { tenants, ..Setup::default() });
    let volume = world.folder.path().join("secrets");
    for (folder, key) in [("..one", ACME), ("..two", ZEN)] {
        std::fs::create_dir_all(volume.join(folder)).unwrap();
        std::fs::write(volume.join(folder).join("key"), key).unwrap();
    }
    symlink("..one", volume.join("..data")).unwrap();
    symlink("..data/key", volume.join("key")).unwrap();
    world.open().await;
    assert!(is_accepted(&world, ACME).await);

    symlink("..two", volume.join("..next")).unwrap();
    std::fs::rename(volume.join("..next"), volume.join("..data")).unwrap();

    until_it("the new one is good", async || is_accepted(&world, ZEN).await).await;
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_refused_config_lacks_may_come_later() {
    let mut world = World::start(Setup::default()).await;
    world.setup.tenants = "acme: { daily_limit: 7, keys: { prod: { key: '${file:later}' } } }";
    world.write_config();
    until_it("it is missed", async || !last_reload_was_successful(&world).await).await;

    put(&world.folder.path().join("later"), ACME);

    until("it is in force", || world.tenant("acme").limits.daily_limit == Some(7)).await;
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_changes_alone_is_put_in_force() {
    let rest = "tls: { listen: '127.0.0.1:0', cert: tls.crt, key: tls.key }".to_owned();
    let mut world = World::without_sidecar(Setup { rest, ..Setup::default() });
    let first = certificate(world.folder.path());
    world.open().await;
    assert!(is_presented(&world, &first).await);

    // The key comes a moment after the certificate, and until then they do not go together.
    let second = certificate(world.folder.path());

    until_it("the new one is presented", async || is_presented(&world, &second).await).await;
    assert!(!is_presented(&world, &first).await);
    world.close(0).await;
}

/// A new one in that folder.
fn certificate(folder: &Path) -> CertificateDer<'static> {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    put(&folder.join("tls.crt"), &signed.cert.pem());
    put(&folder.join("tls.key"), &signed.signing_key.serialize_pem());
    signed.cert.der().clone()
}

/// Whether a client that trusts nothing else connects.
async fn is_presented(world: &World, certificate: &CertificateDer<'static>) -> bool {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(world.app().tls.unwrap()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_ok()
}
