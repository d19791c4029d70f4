//! What was refused: of all tenants together, and one refusal by the id that its client was told.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::super::Admin;
use super::answer::{ApiError, At, Json, Path};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::{Name, RequestId};
use crate::domain::rejection::Reason;

#[derive(Serialize)]
pub(super) struct Rejections {
    rejections: Vec<Counted>,
}

#[derive(Serialize)]
struct Counted {
    reason: &'static str,
    enforced: u64,
    shadow: u64,
}

/// By reason since the start, as `solvegate_rejections_total` has it: a whole scrape is large.
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Rejections> {
    let counted = |reason: Reason| {
        let (enforced, shadow) = admin.gate.metrics().rejections(reason);
        Counted { reason: reason.label(), enforced, shadow }
    };
    Json(Rejections { rejections: Reason::ALL.map(counted).into() })
}

#[derive(Serialize)]
pub(super) struct Kept {
    id: String,
    at: At,
    tenant: Option<Name>,
    key: Option<Name>,
    captcha_type: Option<&'static str>,
    reason: &'static str,
    message: String,
    retry_at: Option<At>,
}

pub(super) async fn one(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Json<Kept>, ApiError> {
    let Some(request) = RequestId::parse(&id) else {
        let message = "an id is `req:` and 16 letters, as in X-Solvegate-Request-Id";
        return Err(ApiError::not_found(message));
    };
    let Some(kept) = admin.gate.kept(request) else {
        let message = format!("no refusal `{id}` is known: the last 4,096 since the start are");
        return Err(ApiError::not_found(message));
    };
    let (tenant, key) = kept.of.unzip();
    Ok(Json(Kept {
        id: kept.id.to_string(),
        at: At(kept.at),
        tenant,
        key,
        captcha_type: kept.captcha_type.map(CaptchaType::label),
        reason: kept.rejection.reason.label(),
        message: kept.rejection.text,
        retry_at: kept.rejection.retry_after.map(|wait| At(kept.at + wait)),
    }))
}
