//! What every test needs: the two servers, a client, the books.

pub(crate) mod api;
pub(crate) mod canned;
pub(crate) mod client;
pub(crate) mod panics;
pub(crate) mod process;
pub(crate) mod secrets;
pub(crate) mod usual;
pub(crate) mod warp;
pub(crate) mod webhook;
pub(crate) mod world;

use std::time::Duration;

pub(crate) use api::Api;
pub(crate) use client::{Answer, Client};
pub(crate) use world::{Setup, World};

/// The account's real key at the provider.
pub(crate) const ACCOUNT: &str = "acct0canary000000000000000000000";
/// The key of tenant `acme`.
pub(crate) const ACME: &str = "virt0canaryacme00000000000000000";
/// The second key of tenant `acme`.
pub(crate) const BATCH: &str = "virt0canarybatch0000000000000000";
/// The key of tenant `zen`.
pub(crate) const ZEN: &str = "virt0canaryzen000000000000000000";
/// The admin token.
pub(crate) const TOKEN: &str = "admin0canarytoken000000000000000";

/// Longer than anything that is waited for takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// Waits until `found` finds something.
pub(crate) async fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = found() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Waits until `holds`.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || holds().then_some(())).await;
}

/// Waits until what it asks for `holds`.
pub(crate) async fn until_it<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
