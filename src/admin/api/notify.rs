//! Trying the webhooks.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use tokio::sync::oneshot;

use super::super::Admin;
use super::answer::{ApiError, Json};
use crate::keyring::Command;

#[derive(Serialize)]
pub(super) struct Webhooks {
    webhooks: Vec<Webhook>,
}

#[derive(Serialize)]
struct Webhook {
    url: String,
    format: &'static str,
    result: &'static str,
    error: Option<String>,
}

pub(super) async fn test(State(admin): State<Arc<Admin>>) -> Result<Json<Webhooks>, ApiError> {
    let ending = || ApiError::unavailable("the process is shutting down");
    let (done, tested) = oneshot::channel();
    admin.commands.send(Command::TestNotify(done)).await.map_err(|_| ending())?;
    let tested = tested.await.map_err(|_| ending())?;
    let webhooks = tested.into_iter().map(|tested| Webhook {
        url: tested.url,
        format: tested.format,
        result: if tested.error.is_none() { "ok" } else { "failed" },
        error: tested.error,
    });
    Ok(Json(Webhooks { webhooks: webhooks.collect() }))
}
