//! `/api/v1/`: what people and commands ask and change. `openapi.json` describes it; a test holds both
//! together.

mod accounts;
mod alerts;
mod answer;
mod bills;
mod keys;
mod notify;
mod rejections;
mod slo;
mod solves;
mod tenants;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};

pub(super) use self::answer::ApiError;
use self::answer::Json;
use super::Admin;

/// The description of the API.
const OPENAPI: &str = include_str!("openapi.json");

/// Everything under `/api/v1`.
pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/slo", get(slo::list))
        .route("/slo/course", get(slo::course))
        .route("/alerts", get(alerts::list))
        .route("/rejections", get(rejections::list))
        .route("/tenants", get(tenants::list))
        .route("/tenants/{tenant}", get(tenants::one))
        .route("/tenants/{tenant}/usage", get(tenants::usage))
        .route("/tenants/{tenant}/rejections", get(tenants::rejections))
        .route("/tenants/{tenant}/credits", get(tenants::credits).post(tenants::credit))
        .route("/tenants/{tenant}/billing", get(bills::tenant))
        .route("/tenants/{tenant}/keys", get(keys::list).post(keys::create))
        .route("/tenants/{tenant}/keys/{key}", delete(keys::revoke))
        .route("/tenants/{tenant}/keys/{key}/reroll", post(keys::reroll))
        .route("/rejections/{id}", get(rejections::one))
        .route("/billing", get(bills::all))
        .route("/solves", get(solves::list))
        .route("/accounts", get(accounts::list))
        .route("/notify/test", post(notify::test))
        .route("/config", get(config))
        .route("/openapi.json", get(openapi))
}

async fn config(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    Json(crate::config::view(&admin.config.load()))
}

async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}
