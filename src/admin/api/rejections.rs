//! What was refused, of all tenants together.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::super::Admin;
use super::answer::Json;
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
