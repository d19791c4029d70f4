//! What every handler answers with: JSON, or an error with a reason and what to do.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::super::{Admin, CLIENT_WAIT};
use crate::domain::engine::Snapshot;
use crate::domain::money::Money;
use crate::domain::time::Wall;
use crate::record::store::Reader;

/// A body, a query or a path that does not fit is answered like every other error.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = axum::Json::from_request(request, state);
        let Ok(body) = tokio::time::timeout(CLIENT_WAIT, body).await else {
            let message = format!("the body did not come in within {} s", CLIENT_WAIT.as_secs());
            let status = StatusCode::REQUEST_TIMEOUT;
            return Err(ApiError { status, reason: "bad_request", message });
        };
        Ok(Self(body?.0))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub(super) struct Query<T>(pub(super) T);

#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub(super) struct Path<T>(pub(super) T);

/// An error: `{"reason": …, "message": …}`.
#[derive(Debug)]
pub(in crate::admin) struct ApiError {
    pub(in crate::admin) status: StatusCode,
    /// For programs: a word that stays.
    pub(in crate::admin) reason: &'static str,
    /// For people: what to do.
    pub(in crate::admin) message: String,
}

impl ApiError {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        let reason = "bad_request";
        Self { status: StatusCode::BAD_REQUEST, reason, message: message.into() }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, reason: "not_found", message: message.into() }
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, reason: "conflict", message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self { status, reason: "invalid", message: message.into() }
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self { status, reason: "unavailable", message: message.into() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "reason": self.reason, "message": self.message });
        (self.status, axum::Json(body)).into_response()
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        let status = rejection.status();
        Self { status, reason: "bad_request", message: rejection.body_text() }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> Self {
        tracing::warn!(%error, "the record could not be read");
        Self::unavailable("the record cannot be read at present; try again")
    }
}

/// Dollars, exact: a JSON number with all its decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) struct Usd(pub(in crate::admin) Money);

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number =
            RawValue::from_string(self.0.to_string()).map_err(serde::ser::Error::custom)?;
        number.serialize(serializer)
    }
}

/// An instant in RFC 3339, UTC, with milliseconds.
#[derive(Debug, Clone, Copy)]
pub(in crate::admin) struct At(pub(in crate::admin) Wall);

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Timestamp::from_millisecond(self.0.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{} ms", self.0.0),
        }
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Runs a query on a connection of its own, off the request threads.
pub(super) async fn read<T: Send + 'static>(
    admin: &Arc<Admin>,
    query: impl FnOnce(&Reader) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    let path = admin.record.clone();
    let read = tokio::task::spawn_blocking(move || query(&Reader::open(&path)?)).await;
    match read {
        Ok(read) => Ok(read?),
        Err(_) => Err(ApiError::unavailable("the query broke off; try again")),
    }
}

/// The state, copied off the request threads and a few tenants at a time: there may be thousands.
pub(super) async fn snapshot(admin: &Arc<Admin>) -> Result<Snapshot, ApiError> {
    let gate = admin.gate.clone();
    let copied = tokio::task::spawn_blocking(move || gate.snapshot_in_steps()).await;
    copied.map_err(|_| ApiError::unavailable("the copy broke off; try again"))
}

/// A tenant that the config or the record knows.
pub(super) fn known_tenant(admin: &Admin, tenant: &str) -> Result<(), ApiError> {
    if admin.gate.policy().tenants.contains_key(tenant) {
        return Ok(());
    }
    Err(ApiError::not_found(format!("there is no tenant `{tenant}`; see /api/v1/tenants")))
}

/// Today, in the configured time zone.
pub(super) fn today(admin: &Admin) -> Date {
    let policy = admin.gate.policy();
    let now = Timestamp::from_millisecond(admin.gate.now().wall.0).unwrap_or(Timestamp::UNIX_EPOCH);
    now.to_zoned(policy.time_zone.clone()).date()
}

/// `2026-10`; the current month when it is not given.
pub(super) fn month(admin: &Admin, text: Option<&str>) -> Result<Date, ApiError> {
    let Some(text) = text else { return Ok(today(admin).first_of_month()) };
    let is_month = text.len() == 7 && text.as_bytes()[4] == b'-';
    let day: Option<Date> = is_month.then(|| format!("{text}-01").parse().ok()).flatten();
    day.ok_or_else(|| ApiError::bad_request("month must be like 2026-10"))
}

/// `2026-10-31`.
pub(super) fn day(name: &str, text: Option<&str>, default: Date) -> Result<Date, ApiError> {
    let Some(text) = text else { return Ok(default) };
    text.parse().map_err(|_| ApiError::bad_request(format!("{name} must be a day like 2026-10-31")))
}

/// An instant as RFC 3339, or the start of a day in the configured zone.
pub(super) fn instant(
    admin: &Admin,
    name: &str,
    text: Option<&str>,
) -> Result<Option<Wall>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let at = match (text.parse::<Timestamp>(), text.parse::<Date>()) {
        (Ok(at), _) => Some(at),
        (Err(_), Ok(day)) if text.len() == 10 => {
            let zone = admin.gate.policy().time_zone.clone();
            day.to_zoned(zone).ok().map(|zoned| zoned.timestamp())
        }
        (Err(_), _) => None,
    };
    let wrong = || {
        let text = format!("{name} must be like 2026-10-31 or 2026-10-31T15:00:00Z");
        ApiError::bad_request(text)
    };
    at.map(|at| Some(Wall(at.as_millisecond()))).ok_or_else(wrong)
}
