//! Bills: what a month cost, solve by solve and added up, and what a thread plan truly cost.

use std::io::{self, Write};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::super::{Admin, CLIENT_WAIT};
use super::answer::{ApiError, At, Json, Path, Query, Usd, known_tenant, month, read};
use crate::domain::ids::Name;
use crate::domain::money::Money;
use crate::domain::plan::allocate;
use crate::domain::policy::Policy;
use crate::record::store::{BillRow, Reader, ThreadTimeRow, UsageBy, UsageRow};

/// Chunks of a bill that wait for a slow reader.
const CHUNKS: usize = 4;
const CHUNK_BYTES: usize = 64 << 10;

#[derive(Deserialize)]
pub(super) struct BillQuery {
    month: Option<String>,
    format: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    Csv,
    JsonLines,
}

/// Closes a bill, so that an exported month can be checked.
#[derive(Serialize)]
struct Manifest {
    tenant: String,
    month: String,
    rows: u64,
    cost_usd: Usd,
    /// Of the CSV, header line included; of the lines before this one for JSON lines.
    sha256: String,
}

/// One tenant's month: CSV, JSON lines (the last is the manifest), the manifest of the CSV, or totals.
pub(super) async fn tenant(
    State(admin): State<Arc<Admin>>,
    Path(tenant): Path<String>,
    Query(query): Query<BillQuery>,
) -> Result<Response, ApiError> {
    let month = month(&admin, query.month.as_deref())?;
    let name = tenant.clone();
    let billed = read(&admin, move |reader| reader.billed_tenants(month)).await?;
    if !billed.contains(&name) {
        known_tenant(&admin, &name)?;
    }
    match query.format.as_deref().unwrap_or("csv") {
        "csv" => stream(&admin, tenant, month, Lines::Csv).await,
        "jsonl" => stream(&admin, tenant, month, Lines::JsonLines).await,
        "manifest" => {
            let write = move |reader: &Reader| {
                Ok(write_bill(reader, &tenant, month, Lines::Csv, &mut io::sink()))
            };
            let manifest = read(&admin, write).await?;
            manifest.map(|manifest| Json(manifest).into_response()).map_err(|_| broken())
        }
        "json" => totals(&admin, tenant, month).await.map(IntoResponse::into_response),
        _ => Err(ApiError::bad_request("format must be csv, jsonl, json or manifest")),
    }
}

fn broken() -> ApiError {
    ApiError::unavailable("the bill could not be read whole; try again")
}

/// Streams a bill as it is read: a month of any size in constant memory. A bill that breaks off half way
/// ends the connection without its last chunk, so that no client takes it for whole.
async fn stream(
    admin: &Arc<Admin>,
    tenant: String,
    month: Date,
    lines: Lines,
) -> Result<Response, ApiError> {
    let place = admin.bills.clone().acquire_owned().await.map_err(|_| broken())?;
    let runtime = Handle::current();
    let (sender, receiver) = mpsc::channel::<Bytes>(CHUNKS);
    let path = admin.record.clone();
    let name = format!("{tenant}-{}", month_text(month));
    tokio::task::spawn_blocking(move || {
        let _place: OwnedSemaphorePermit = place;
        let chunks = Chunks { sender: Some(sender), runtime };
        let mut chunks = io::BufWriter::with_capacity(CHUNK_BYTES, chunks);
        let written = Reader::open(&path)
            .map_err(BillError::from)
            .and_then(|reader| write_bill(&reader, &tenant, month, lines, &mut chunks))
            .and_then(|_| Ok(chunks.flush()?))
            .and_then(|()| Ok(chunks.get_mut().send(Bytes::new())?));
        if let Err(error) = written {
            tracing::warn!(%error, "a bill broke off");
        }
    });
    // An empty chunk says that the bill is whole.
    let chunks = futures_util::stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(chunk) if chunk.is_empty() => None,
            Some(chunk) => Some((Ok(chunk), Some(receiver))),
            None => Some((Err(io::Error::other("the bill broke off")), None)),
        }
    });
    let (kind, suffix) = match lines {
        Lines::Csv => ("text/csv; charset=utf-8", "csv"),
        Lines::JsonLines => ("application/jsonl; charset=utf-8", "jsonl"),
    };
    let file = format!("attachment; filename=\"{name}.{suffix}\"");
    let headers = [(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, file)];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// What is written goes to whoever reads the response; `sender` is gone once the reader is.
struct Chunks {
    sender: Option<mpsc::Sender<Bytes>>,
    runtime: Handle,
}

impl Chunks {
    fn send(&mut self, chunk: Bytes) -> io::Result<()> {
        let Some(sender) = self.sender.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        // While a bill is read, the record's log (`-wal`) only grows.
        let sending = async { tokio::time::timeout(CLIENT_WAIT, sender.send(chunk)).await };
        match self.runtime.block_on(sending) {
            Ok(Ok(())) => {
                self.sender = Some(sender);
                Ok(())
            }
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(Bytes::copy_from_slice(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hashes what passes.
struct Hashed<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A charge as a line of a bill; the first four columns are the contract.
#[derive(Serialize)]
struct BillLine<'a> {
    timestamp: String,
    task_id: &'a str,
    r#type: &'static str,
    cost_usd: String,
    key: &'a str,
    account: &'a str,
    day: &'a str,
}

impl<'a> BillLine<'a> {
    fn new(row: &'a BillRow) -> Self {
        Self {
            timestamp: At(row.at).to_string(),
            task_id: &row.task_id,
            r#type: row.captcha_type.label(),
            cost_usd: six_decimals(row.amount),
            key: &row.key_id,
            account: &row.account,
            day: &row.day,
        }
    }
}

const COLUMNS: [&str; 7] = ["timestamp", "task_id", "type", "cost_usd", "key", "account", "day"];

/// `0.003000`: columns of a bill line up.
fn six_decimals(amount: Money) -> String {
    let micros = amount.micros();
    let (sign, micros) =
        if micros < 0 { ("-", micros.unsigned_abs()) } else { ("", micros.unsigned_abs()) };
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn write_bill(
    reader: &Reader,
    tenant: &str,
    month: Date,
    lines: Lines,
    out: &mut impl Write,
) -> Result<Manifest, BillError> {
    let mut hashed = Hashed { inner: out, hash: Sha256::new() };
    let (mut rows, mut cost) = (0, Money::ZERO);
    match lines {
        Lines::Csv => {
            let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(&mut hashed);
            csv.write_record(COLUMNS)?;
            reader.bill::<BillError>(tenant, month, |row| {
                (rows, cost) = (rows + 1, cost + row.amount);
                Ok(csv.serialize(BillLine::new(&row))?)
            })?;
            csv.flush()?;
        }
        Lines::JsonLines => reader.bill::<BillError>(tenant, month, |row| {
            (rows, cost) = (rows + 1, cost + row.amount);
            json_line(&mut hashed, &BillLine::new(&row))
        })?,
    }
    let sha256 = hex::encode(hashed.hash.finalize());
    let (tenant, month) = (tenant.to_owned(), month_text(month));
    let manifest = Manifest { tenant, month, rows, cost_usd: Usd(cost), sha256 };
    if lines == Lines::JsonLines {
        json_line(hashed.inner, &serde_json::json!({ "manifest": manifest }))?;
    }
    Ok(manifest)
}

fn json_line(out: &mut impl Write, line: &impl Serialize) -> Result<(), BillError> {
    let mut text = serde_json::to_vec(line).map_err(io::Error::from)?;
    text.push(b'\n');
    Ok(out.write_all(&text)?)
}

/// Why a bill broke off.
#[derive(Debug, thiserror::Error)]
enum BillError {
    #[error("the record cannot be read")]
    Record(#[from] rusqlite::Error),
    #[error("the bill cannot be written")]
    Io(#[from] io::Error),
    #[error("the bill cannot be written")]
    Csv(#[from] csv::Error),
}

#[derive(Serialize)]
pub(super) struct Totals {
    tenant: String,
    month: String,
    solves: u64,
    cost_usd: Usd,
    by_type: Vec<Total>,
    by_key: Vec<Total>,
    by_day: Vec<Total>,
}

#[derive(Serialize)]
struct Total {
    name: String,
    solves: u64,
    cost_usd: Usd,
}

impl From<UsageRow> for Total {
    fn from(row: UsageRow) -> Self {
        Self { name: row.name, solves: row.solves, cost_usd: Usd(row.cost) }
    }
}

async fn totals(admin: &Arc<Admin>, tenant: String, month: Date) -> Result<Json<Totals>, ApiError> {
    let name = tenant.clone();
    let span = (month.first_of_month(), month.last_of_month());
    let [by_type, by_key, by_day] = read(admin, move |reader| {
        let by = |by| reader.usage(&name, span, by);
        Ok([by(UsageBy::Type)?, by(UsageBy::Key)?, by(UsageBy::Day)?])
    })
    .await?;
    let solves = by_type.iter().map(|row| row.solves).sum();
    let cost_usd = Usd(by_type.iter().map(|row| row.cost).sum());
    let shown = |rows: Vec<UsageRow>| rows.into_iter().map(Total::from).collect();
    Ok(Json(Totals {
        tenant,
        month: month_text(month),
        solves,
        cost_usd,
        by_type: shown(by_type),
        by_key: shown(by_key),
        by_day: shown(by_day),
    }))
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are the contract")]
pub(super) struct Month {
    month: String,
    tenants: Vec<Total>,
    solves: u64,
    cost_usd: Usd,
    plans: Vec<PlanCost>,
}

/// What an account's thread plan cost, shared out by thread time.
#[derive(Serialize)]
struct PlanCost {
    account: Name,
    monthly_cost_usd: Usd,
    threads: u32,
    tenants: Vec<PlanShare>,
    idle_cost_usd: Usd,
    /// Share of the plan's thread time that was held, 0 to 1.
    used_ratio: f64,
}

#[derive(Serialize)]
struct PlanShare {
    tenant: String,
    thread_seconds: f64,
    cost_usd: Usd,
}

#[derive(Deserialize)]
pub(super) struct MonthQuery {
    month: Option<String>,
}

/// All tenants' month, and the true cost of thread plans.
pub(super) async fn all(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<MonthQuery>,
) -> Result<Json<Month>, ApiError> {
    let month = month(&admin, query.month.as_deref())?;
    let span = (month.first_of_month(), month.last_of_month());
    let (tenants, thread_time) = read(&admin, move |reader| {
        let mut tenants = Vec::new();
        for name in reader.billed_tenants(month)? {
            let rows = reader.usage(&name, span, UsageBy::Type)?;
            let solves = rows.iter().map(|row| row.solves).sum();
            let cost_usd = Usd(rows.iter().map(|row| row.cost).sum());
            tenants.push(Total { name, solves, cost_usd });
        }
        Ok((tenants, reader.thread_time(month)?))
    })
    .await?;
    let plans = plan_costs(&admin.gate.policy(), month, &thread_time);
    let solves = tenants.iter().map(|total| total.solves).sum();
    let cost_usd = Usd(tenants.iter().map(|total| total.cost_usd.0).sum());
    Ok(Json(Month { month: month_text(month), tenants, solves, cost_usd, plans }))
}

#[expect(clippy::cast_precision_loss, reason = "shown to people; the money beside it is exact")]
fn plan_costs(policy: &Policy, month: Date, thread_time: &[ThreadTimeRow]) -> Vec<PlanCost> {
    let month_ms = u64::from(month.days_in_month().unsigned_abs()) * 86_400_000;
    let mut costs = Vec::new();
    for (account, policy) in &policy.accounts {
        let Some(plan) = policy.plan else { continue };
        let rows: Vec<_> = thread_time.iter().filter(|row| *row.account == **account).collect();
        let used: Vec<_> = rows.iter().map(|row| row.milliseconds).collect();
        let capacity = month_ms * u64::from(plan.threads);
        let allocation = allocate(plan.monthly_cost, capacity, &used);
        let shares = rows.iter().zip(&allocation.shares).map(|(row, share)| PlanShare {
            tenant: row.tenant.clone(),
            thread_seconds: row.milliseconds as f64 / 1_000.0,
            cost_usd: Usd(*share),
        });
        costs.push(PlanCost {
            account: account.clone(),
            monthly_cost_usd: Usd(plan.monthly_cost),
            threads: plan.threads,
            tenants: shares.collect(),
            idle_cost_usd: Usd(allocation.idle),
            used_ratio: (used.iter().sum::<u64>() as f64 / capacity as f64).min(1.0),
        });
    }
    costs
}

fn month_text(month: Date) -> String {
    format!("{:04}-{:02}", month.year(), month.month())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_a_bill_have_six_decimals() {
        let shown = |micros| six_decimals(Money::from_micros(micros));

        assert_eq!([shown(3_000), shown(12_345_678)], ["0.003000", "12.345678"]);
        assert_eq!([shown(0), shown(-1)], ["0.000000", "-0.000001"]);
    }
}
