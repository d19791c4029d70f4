//! The log of solves, newest first, page by page.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::super::Admin;
use super::answer::{ApiError, At, Json, Query, Usd, instant, read};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::SolveId;
use crate::domain::outcome::Outcome;
use crate::domain::time::Wall;
use crate::record::store::{SolveFilter, SolveRow};

const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

#[derive(Deserialize)]
pub(super) struct SolvesQuery {
    tenant: Option<String>,
    #[serde(rename = "type")]
    captcha_type: Option<String>,
    outcome: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Solves {
    solves: Vec<Solve>,
    /// What to send as `after` for the next page; `null` on the last.
    next: Option<String>,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are the contract")]
pub(super) struct Solve {
    solve: u64,
    tenant: String,
    key: String,
    account: String,
    captcha_type: &'static str,
    task_id: Option<String>,
    outcome: Option<&'static str>,
    error_code: Option<String>,
    duration_seconds: f64,
    price_usd: Usd,
    charged_usd: Usd,
    delivered: bool,
    submitted_at: At,
    ended_at: At,
    settled_at: Option<At>,
    source_ip: Option<String>,
    page: Option<String>,
}

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<SolvesQuery>,
) -> Result<Json<Solves>, ApiError> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::bad_request(format!("limit must be 1 to {LIMIT_MAX}")));
    }
    let captcha_type = query.captcha_type.as_deref().map(|label| {
        let known = CaptchaType::from_label(label);
        known.ok_or_else(|| ApiError::bad_request(format!("type: there is no type `{label}`")))
    });
    let outcome = query.outcome.as_deref().map(|label| {
        let words = Outcome::ALL.map(Outcome::label).join(", ");
        let known = Outcome::from_label(label);
        known.ok_or_else(|| ApiError::bad_request(format!("outcome must be one of {words}")))
    });
    let filter = SolveFilter {
        tenant: query.tenant,
        captcha_type: captcha_type.transpose()?,
        outcome: outcome.transpose()?,
        from: instant(&admin, "from", query.from.as_deref())?,
        to: instant(&admin, "to", query.to.as_deref())?,
        after: query.after.as_deref().map(cursor).transpose()?,
        // One more tells whether there is a next page.
        limit: limit + 1,
    };
    let mut rows = read(&admin, move |reader| reader.solves_by(&filter)).await?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > wanted;
    rows.truncate(wanted);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| format!("{}-{}", row.submitted_at.0, row.solve.0));
    Ok(Json(Solves { solves: rows.into_iter().map(shown).collect(), next }))
}

fn cursor(text: &str) -> Result<(Wall, SolveId), ApiError> {
    let parts = text.rsplit_once('-');
    let parsed = parts.and_then(|(at, solve)| Some((at.parse().ok()?, solve.parse().ok()?)));
    let wrong = || ApiError::bad_request("after must be the `next` of the page before");
    parsed.map(|(at, solve)| (Wall(at), SolveId(solve))).ok_or_else(wrong)
}

fn shown(row: SolveRow) -> Solve {
    Solve {
        solve: row.solve.0,
        tenant: row.tenant,
        key: row.key_id,
        account: row.account,
        captcha_type: row.captcha_type.label(),
        task_id: row.task_id,
        outcome: row.outcome.map(Outcome::label),
        error_code: row.error_code,
        duration_seconds: row.duration.as_secs_f64(),
        price_usd: Usd(row.price),
        charged_usd: Usd(row.charged),
        delivered: row.delivered,
        submitted_at: At(row.submitted_at),
        ended_at: At(row.ended_at),
        settled_at: row.settled_at.map(At),
        source_ip: row.source_ip,
        page: row.page,
    }
}
