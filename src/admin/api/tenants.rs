//! Tenants: what they may use and have used, their money, their last refusals.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::Admin;
use super::answer::{
    ApiError, At, Json, Path, Query, Usd, day, known_tenant, read, snapshot, today,
};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::engine::{CreditResult, TenantView};
use crate::domain::ids::Name;
use crate::domain::journal::{CreditKind, CreditRecord};
use crate::domain::money::Money;
use crate::domain::policy::Limits;
use crate::record::store::UsageBy;

/// How long a credit waits for the record.
const RECORD_WAIT: Duration = Duration::from_secs(5);

/// The largest credit or adjustment, as in the config.
const AMOUNT_MAX: Money = Money::from_micros(999_999_999_999_999);

#[derive(Serialize)]
pub(super) struct Tenants {
    tenants: Vec<Tenant>,
}

#[derive(Serialize)]
pub(super) struct Tenant {
    name: Name,
    in_flight: u32,
    open: u64,
    balance_usd: Option<Usd>,
    held_usd: Usd,
    day_solves: u64,
    day_spent_usd: Usd,
    month_spent_usd: Usd,
    spent_usd: Usd,
    limits: TenantLimits,
}

#[derive(Serialize)]
struct TenantLimits {
    rate_per_minute: Option<u32>,
    burst: Option<u32>,
    daily_limit: Option<u64>,
    in_flight_max: Option<u32>,
    daily_spend_cap_usd: Option<Usd>,
    monthly_spend_cap_usd: Option<Usd>,
}

impl From<&TenantView> for Tenant {
    fn from(tenant: &TenantView) -> Self {
        Self {
            name: tenant.name.clone(),
            in_flight: tenant.in_flight,
            open: tenant.open,
            balance_usd: tenant.balance.map(Usd),
            held_usd: Usd(tenant.held),
            day_solves: tenant.day_solves,
            day_spent_usd: Usd(tenant.day_spent),
            month_spent_usd: Usd(tenant.month_spent),
            spent_usd: Usd(tenant.spent),
            limits: TenantLimits::from(&tenant.limits),
        }
    }
}

impl From<&Limits> for TenantLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            rate_per_minute: limits.rate.map(|rate| rate.per_minute),
            burst: limits.rate.map(|rate| rate.burst),
            daily_limit: limits.daily_limit,
            in_flight_max: limits.in_flight_max,
            daily_spend_cap_usd: limits.daily_spend_cap.map(Usd),
            monthly_spend_cap_usd: limits.monthly_spend_cap.map(Usd),
        }
    }
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<Tenants>, ApiError> {
    let tenants = snapshot(&admin).await?.tenants.iter().map(Tenant::from).collect();
    Ok(Json(Tenants { tenants }))
}

pub(super) async fn one(
    State(admin): State<Arc<Admin>>,
    Path(tenant): Path<String>,
) -> Result<Json<Tenant>, ApiError> {
    known_tenant(&admin, &tenant)?;
    let snapshot = snapshot(&admin).await?;
    let found = snapshot.tenants.iter().find(|view| *view.name == *tenant).map(Tenant::from);
    found.map(Json).ok_or_else(|| ApiError::not_found(format!("there is no tenant `{tenant}`")))
}

#[derive(Deserialize)]
pub(super) struct UsageQuery {
    from: Option<String>,
    to: Option<String>,
    by: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Usage {
    tenant: String,
    from: String,
    to: String,
    by: &'static str,
    rows: Vec<UsageRow>,
    total_solves: u64,
    total_cost_usd: Usd,
}

#[derive(Serialize)]
struct UsageRow {
    name: String,
    solves: u64,
    cost_usd: Usd,
}

/// Charged solves; a tenant that left the config still has its usage.
pub(super) async fn usage(
    State(admin): State<Arc<Admin>>,
    Path(tenant): Path<String>,
    Query(query): Query<UsageQuery>,
) -> Result<Json<Usage>, ApiError> {
    let today = today(&admin);
    let to = day("to", query.to.as_deref(), today)?;
    let from = day("from", query.from.as_deref(), to.first_of_month())?;
    if from > to {
        return Err(ApiError::invalid("from must not be later than to"));
    }
    let (word, by) = match query.by.as_deref().unwrap_or("type") {
        "type" => ("type", UsageBy::Type),
        "key" => ("key", UsageBy::Key),
        "day" => ("day", UsageBy::Day),
        _ => return Err(ApiError::bad_request("by must be type, key or day")),
    };
    let name = tenant.clone();
    let rows = read(&admin, move |reader| reader.usage(&name, (from, to), by)).await?;
    if rows.is_empty() {
        known_tenant(&admin, &tenant)?;
    }
    let total_solves = rows.iter().map(|row| row.solves).sum();
    let total_cost_usd = Usd(rows.iter().map(|row| row.cost).sum());
    let rows = rows
        .into_iter()
        .map(|row| UsageRow { name: row.name, solves: row.solves, cost_usd: Usd(row.cost) })
        .collect();
    let (from, to) = (from.to_string(), to.to_string());
    Ok(Json(Usage { tenant, from, to, by: word, rows, total_solves, total_cost_usd }))
}

#[derive(Serialize)]
pub(super) struct Rejections {
    rejections: Vec<Refused>,
}

#[derive(Serialize)]
struct Refused {
    reason: &'static str,
    message: String,
    key: Name,
    captcha_type: Option<&'static str>,
    mode: &'static str,
    count: u64,
    first_at: At,
    last_at: At,
    retry_at: Option<At>,
}

/// Why a tenant was refused, the latest first: one entry per key, captcha type and reason.
pub(super) async fn rejections(
    State(admin): State<Arc<Admin>>,
    Path(tenant): Path<String>,
) -> Result<Json<Rejections>, ApiError> {
    known_tenant(&admin, &tenant)?;
    let rejections = admin.gate.recent_rejections(&tenant).into_iter();
    let rejections = rejections
        .map(|refused| Refused {
            reason: refused.reason.label(),
            message: refused.text,
            key: refused.key_id,
            captcha_type: refused.captcha_type.map(CaptchaType::label),
            mode: if refused.shadow { "shadow" } else { "enforced" },
            count: refused.count,
            first_at: At(refused.first_at),
            last_at: At(refused.last_at),
            retry_at: refused.retry_after.map(|wait| At(refused.last_at + wait)),
        })
        .collect();
    Ok(Json(Rejections { rejections }))
}

#[derive(Serialize)]
pub(super) struct Credits {
    credits: Vec<Credit>,
}

#[derive(Serialize)]
struct Credit {
    at: At,
    kind: String,
    key: Option<String>,
    amount_usd: Usd,
    note: String,
    cause: String,
}

/// A person scrolls through no more.
const CREDITS_MAX: u32 = 1_000;

pub(super) async fn credits(
    State(admin): State<Arc<Admin>>,
    Path(tenant): Path<String>,
) -> Result<Json<Credits>, ApiError> {
    known_tenant(&admin, &tenant)?;
    let rows = read(&admin, move |reader| reader.credits(&tenant, CREDITS_MAX)).await?;
    let credits = rows
        .into_iter()
        .map(|row| Credit {
            at: At(row.at),
            kind: row.kind,
            key: row.key_id,
            amount_usd: Usd(row.amount),
            note: row.note,
            cause: row.cause,
        })
        .collect();
    Ok(Json(Credits { credits }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreditBody {
    /// A number or a text, read digit by digit.
    amount_usd: Box<RawValue>,
    key: Option<String>,
    #[serde(default)]
    kind: CreditWord,
    note: String,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum CreditWord {
    #[default]
    Credit,
    Adjustment,
}

#[derive(Serialize)]
pub(super) struct Credited {
    /// `false`: this idempotency key was used before, with the same amount; nothing changed.
    credited: bool,
    balance_usd: Option<Usd>,
}

/// Puts money into a wallet once per `Idempotency-Key`.
pub(super) async fn credit(
    State(admin): State<Arc<Admin>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    Json(body): Json<CreditBody>,
) -> Result<(StatusCode, Json<Credited>), ApiError> {
    known_tenant(&admin, &tenant)?;
    let cause = format!("credit:{}", idempotency_key(&headers)?);
    let amount = amount(&body)?;
    let note = note("note", &body.note)?;
    let record = CreditRecord {
        cause,
        kind: match body.kind {
            CreditWord::Credit => CreditKind::Credit,
            CreditWord::Adjustment => CreditKind::Adjustment,
        },
        tenant: tenant.as_str().into(),
        key_id: body.key.as_deref().map(Into::into),
        amount,
        at: admin.gate.now().wall,
        note,
    };
    if let Some(repeated) = repeated(&admin, &record).await? {
        return Ok(repeated);
    }
    if let Some(why) = admin.gate.store_trouble() {
        let text = format!("the record cannot be written, nothing was credited: {why}");
        return Err(ApiError::unavailable(text));
    }
    let credited = tokio::time::timeout(RECORD_WAIT, admin.gate.credit(record.clone())).await;
    let Ok((result, recorded)) = credited else {
        return Err(ApiError::unavailable(UNRECORDED));
    };
    let balance_usd = balance(&admin, &tenant, body.key.as_deref());
    match result {
        CreditResult::Credited if recorded => {
            tracing::info!(tenant, key = body.key, %amount, note = body.note, "credited");
            Ok((StatusCode::CREATED, Json(Credited { credited: true, balance_usd })))
        }
        CreditResult::Credited => Err(ApiError::unavailable(UNRECORDED)),
        // The other request may have asked for something else, and may not be on record yet.
        CreditResult::Repeated => {
            let repeated = repeated(&admin, &record).await?;
            repeated.ok_or_else(|| ApiError::unavailable(UNRECORDED))
        }
        CreditResult::TooMuch => Err(ApiError::invalid("the balance would grow out of bounds")),
        CreditResult::NoWallet => {
            let whose = body.key.as_deref().map_or_else(
                || format!("tenant `{tenant}`"),
                |key| format!("key `{key}` of tenant `{tenant}`"),
            );
            let text = format!("{whose} has no prepaid balance; give it `prepaid: {{}}` first");
            Err(ApiError::invalid(text))
        }
    }
}

const UNRECORDED: &str =
    "the credit is not on record yet; send it again with the same Idempotency-Key";

/// The answer where a credit of that cause is on record: it must be the same one.
async fn repeated(
    admin: &Arc<Admin>,
    record: &CreditRecord,
) -> Result<Option<(StatusCode, Json<Credited>)>, ApiError> {
    let cause = record.cause.clone();
    let earlier = read(admin, move |reader| reader.credit_by_cause(&cause)).await?;
    let Some((tenant, earlier)) = earlier else { return Ok(None) };
    let kind = match record.kind {
        CreditKind::Opening => "opening",
        CreditKind::Credit => "credit",
        CreditKind::Adjustment => "adjustment",
    };
    let is_same = tenant == *record.tenant
        && earlier.key_id.as_deref() == record.key_id.as_deref()
        && earlier.kind == kind
        && earlier.amount == record.amount
        && earlier.note == record.note;
    if !is_same {
        let text = "this Idempotency-Key was used for another credit; choose a new one";
        return Err(ApiError::conflict(text));
    }
    let balance_usd = balance(admin, &tenant, earlier.key_id.as_deref());
    Ok(Some((StatusCode::OK, Json(Credited { credited: false, balance_usd }))))
}

fn idempotency_key(headers: &HeaderMap) -> Result<&str, ApiError> {
    let given = headers.get("idempotency-key").and_then(|value| value.to_str().ok());
    let given = given
        .filter(|key| (1..=64).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
    given.ok_or_else(|| {
        let text = "send an Idempotency-Key header of 1 to 64 printable characters, \
                    the same one when you repeat a request";
        ApiError::bad_request(text)
    })
}

fn amount(body: &CreditBody) -> Result<Money, ApiError> {
    let text = body.amount_usd.get().trim_matches('"');
    let amount: Money =
        text.parse().map_err(|error| ApiError::invalid(format!("amount_usd is {error}")))?;
    let fits = match body.kind {
        CreditWord::Credit => Money::ZERO < amount && amount <= AMOUNT_MAX,
        CreditWord::Adjustment => {
            amount != Money::ZERO && -AMOUNT_MAX <= amount && amount <= AMOUNT_MAX
        }
    };
    if fits {
        return Ok(amount);
    }
    let text = "amount_usd must be above 0 and at most 999999999.999999; \
                an adjustment may be below 0";
    Err(ApiError::invalid(text))
}

/// Who did it and why: 1 to 500 characters without control characters.
pub(super) fn note(name: &str, text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    if (1..=500).contains(&text.chars().count()) && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    let text = format!("{name} must say who does it and why, in 1 to 500 characters on one line");
    Err(ApiError::invalid(text))
}

fn balance(admin: &Admin, tenant: &str, key_id: Option<&str>) -> Option<Usd> {
    admin.gate.balance(tenant, key_id).map(Usd)
}
