//! A tenant's keys: made, listed, rerolled, taken back.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::super::Admin;
use super::answer::{ApiError, At, Json, Path};
use super::tenants::note;
use crate::config;
use crate::domain::ids::Name;
use crate::keyring::{Command, KeyError, KeyView};
use crate::wire::secret::Secret;

#[derive(Serialize)]
pub(super) struct Keys {
    keys: Vec<Key>,
}

#[derive(Serialize)]
struct Key {
    id: Name,
    /// Where its settings stand: `config`, or `api` for a key that was made at run time.
    source: &'static str,
    state: &'static str,
    created_at: Option<At>,
    settings: serde_json::Value,
    secrets: Vec<KeySecret>,
    note: String,
}

#[derive(Serialize)]
struct KeySecret {
    sha256: String,
    revoked_at: Option<At>,
}

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Path(tenant): Path<String>,
) -> Result<Json<Keys>, ApiError> {
    let keys = ask(&admin, |done| Command::List { tenant, done }).await?;
    let now = admin.gate.now().wall;
    let shown = |view: KeyView| {
        let revoked = view.secrets.iter().all(|it| it.revoked_at.is_some());
        let expired = view.policy.expires.is_some_and(|at| at <= now);
        Key {
            source: if view.created_at.is_some() { "api" } else { "config" },
            state: match (revoked, expired) {
                (true, _) => "revoked",
                (false, true) => "expired",
                (false, false) => "live",
            },
            created_at: view.created_at.map(At),
            settings: config::key_view(&view.policy),
            secrets: view
                .secrets
                .iter()
                .map(|it| KeySecret {
                    sha256: hex::encode(it.hash.0),
                    revoked_at: it.revoked_at.map(At),
                })
                .collect(),
            note: view.note,
            id: view.key_id,
        }
    };
    Ok(Json(Keys { keys: keys.into_iter().map(shown).collect() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateBody {
    id: String,
    settings: Option<Box<RawValue>>,
    note: String,
}

/// The only time that the secret is shown.
#[derive(Serialize)]
pub(super) struct NewSecret {
    id: String,
    key: String,
    sha256: String,
}

pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Path(tenant): Path<String>,
    Json(body): Json<CreateBody>,
) -> Result<(StatusCode, Json<NewSecret>), ApiError> {
    let note = note("note", &body.note)?;
    let settings = body.settings.map_or_else(|| "{}".to_owned(), |json| json.get().to_owned());
    let key_id = body.id.clone();
    let secret =
        ask(&admin, |done| Command::Create { tenant, key_id, settings, note, done }).await?;
    Ok((StatusCode::CREATED, Json(new_secret(body.id, &secret))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RerollBody {
    overlap: Option<String>,
    note: String,
}

pub(super) async fn reroll(
    State(admin): State<Arc<Admin>>,
    Path((tenant, key)): Path<(String, String)>,
    Json(body): Json<RerollBody>,
) -> Result<(StatusCode, Json<NewSecret>), ApiError> {
    let note = note("note", &body.note)?;
    let overlap = match body.overlap.as_deref() {
        None => Duration::ZERO,
        Some(text) => humantime::parse_duration(text).map_err(|error| {
            ApiError::invalid(format!("overlap must be like 1h or 30m, 0s for none: {error}"))
        })?,
    };
    let key_id = key.clone();
    let secret =
        ask(&admin, |done| Command::Reroll { tenant, key_id, overlap, note, done }).await?;
    Ok((StatusCode::CREATED, Json(new_secret(key, &secret))))
}

#[derive(Deserialize)]
pub(super) struct RevokeQuery {
    note: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Revoked {
    id: String,
    state: &'static str,
}

pub(super) async fn revoke(
    State(admin): State<Arc<Admin>>,
    Path((tenant, key)): Path<(String, String)>,
    super::answer::Query(query): super::answer::Query<RevokeQuery>,
) -> Result<Json<Revoked>, ApiError> {
    let note = note("note", query.note.as_deref().unwrap_or("revoked"))?;
    let key_id = key.clone();
    ask(&admin, |done| Command::Revoke { tenant, key_id, note, done }).await?;
    Ok(Json(Revoked { id: key, state: "revoked" }))
}

fn new_secret(id: String, secret: &Secret) -> NewSecret {
    let sha256 = hex::encode(secret.sha256().0);
    NewSecret { id, key: secret.expose().to_owned(), sha256 }
}

async fn ask<T>(
    admin: &Admin,
    command: impl FnOnce(oneshot::Sender<Result<T, KeyError>>) -> Command,
) -> Result<T, ApiError> {
    let (done, answer) = oneshot::channel();
    let gone = || ApiError::unavailable("the process is shutting down");
    admin.commands.send(command(done)).await.map_err(|_| gone())?;
    Ok(answer.await.map_err(|_| gone())??)
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        let text = error.to_string();
        match error {
            KeyError::NoTenant(_) | KeyError::NoKey { .. } => Self::not_found(text),
            KeyError::Exists { .. } | KeyError::Revoked { .. } | KeyError::PassThrough => {
                Self::conflict(text)
            }
            KeyError::Invalid(_) => Self::invalid(text),
            KeyError::Unrecorded | KeyError::Undone | KeyError::RevokedUnrecorded => {
                Self::unavailable(text)
            }
        }
    }
}
