//! Accounts at the provider.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::super::Admin;
use super::answer::{At, Json, Usd};
use crate::domain::ids::Name;

#[derive(Serialize)]
pub(super) struct Accounts {
    accounts: Vec<Account>,
    /// Requests to the provider are held back, since it could not be reached.
    upstream_unreachable: bool,
}

#[derive(Serialize)]
struct Account {
    name: Name,
    up: bool,
    in_flight: u32,
    threads: Option<u32>,
    threads_working: Option<u32>,
    balance_usd: Option<Usd>,
    refreshed_at: Option<At>,
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Accounts> {
    let snapshot = admin.gate.snapshot_without_tenants();
    let accounts = snapshot.accounts.into_iter().map(|account| Account {
        name: account.name,
        up: account.up,
        in_flight: account.in_flight,
        threads: account.threads.map(|(total, _)| total),
        threads_working: account.threads.map(|(_, working)| working),
        balance_usd: account.balance.map(Usd),
        refreshed_at: account.refreshed_at.map(At),
    });
    let accounts = accounts.collect();
    Json(Accounts { accounts, upstream_unreachable: snapshot.upstream_open })
}
