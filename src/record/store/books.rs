//! What people ask of the record: solves, usage, bills, thread time, the course of an SLO.

use jiff::civil::Date;
use rusqlite::{OptionalExtension, Row, ToSql, params, params_from_iter};

use super::reader::{Reader, SolveRow, solve_row};
use super::words::read_type;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::SolveId;
use crate::domain::money::Money;
use crate::domain::outcome::Outcome;
use crate::domain::slo::SloKind;
use crate::domain::slo::window::{Counts, MinuteCounts};
use crate::domain::time::Wall;

/// Which solves to read; what is `None` does not narrow.
#[derive(Debug, Clone, Default)]
pub struct SolveFilter {
    /// Whose.
    pub tenant: Option<String>,
    /// Of that type.
    pub captcha_type: Option<CaptchaType>,
    /// That ended so.
    pub outcome: Option<Outcome>,
    /// Submitted then or later.
    pub from: Option<Wall>,
    /// Submitted before that.
    pub to: Option<Wall>,
    /// Older than that solve: the last of the page before.
    pub after: Option<(Wall, SolveId)>,
    /// At most so many.
    pub limit: u32,
}

/// What usage is added up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum UsageBy {
    Type,
    Key,
    Day,
}

/// Charged solves of one type, key or day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The type, key id or day.
    pub name: String,
    /// Charged solves.
    pub solves: u64,
    /// What they cost.
    pub cost: Money,
}

/// One charge as it stands on a bill.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in `journal::SettleRecord`")]
pub struct BillRow {
    pub at: Wall,
    pub day: String,
    pub task_id: String,
    pub captcha_type: CaptchaType,
    pub amount: Money,
    pub key_id: String,
    pub account: String,
    pub solve: u64,
}

/// Money that went into a wallet, or was taken out by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in `journal::CreditRecord`")]
pub struct CreditRow {
    pub at: Wall,
    pub cause: String,
    pub kind: String,
    pub key_id: Option<String>,
    pub amount: Money,
    pub note: String,
}

/// Thread time of one tenant on one account.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ThreadTimeRow {
    pub account: String,
    pub tenant: String,
    pub milliseconds: u64,
}

impl Reader {
    /// Solves that the filter lets through, newest first.
    pub fn solves_by(&self, filter: &SolveFilter) -> rusqlite::Result<Vec<SolveRow>> {
        let mut conditions = vec!["1"];
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        let mut narrow = |condition, value: Option<Box<dyn ToSql>>| {
            if let Some(value) = value {
                conditions.push(condition);
                values.push(value);
            }
        };
        narrow("tenant = ?", filter.tenant.clone().map(boxed));
        narrow("captcha_type = ?", filter.captcha_type.map(|it| boxed(it.label())));
        narrow("outcome = ?", filter.outcome.map(|it| boxed(it.label())));
        narrow("submitted_at >= ?", filter.from.map(|at| boxed(at.0)));
        narrow("submitted_at < ?", filter.to.map(|at| boxed(at.0)));
        if let Some((at, solve)) = filter.after {
            conditions.push("(submitted_at, solve) < (?, ?)");
            values.push(boxed(at.0));
            values.push(boxed(i64::try_from(solve.0).unwrap_or(i64::MAX)));
        }
        values.push(boxed(filter.limit));
        let conditions = conditions.join(" AND ");
        let sql = format!(
            "SELECT solve, account, task_id, tenant, key_id, captcha_type, outcome, error_code,
                 duration_ms, price, charged, delivered, submitted_at, ended_at, settled_at,
                 source_ip, page
             FROM solves WHERE {conditions} ORDER BY submitted_at DESC, solve DESC LIMIT ?"
        );
        self.conn.prepare_cached(&sql)?.query_map(params_from_iter(values), solve_row)?.collect()
    }

    /// A tenant's charged solves from one day to another, both included.
    pub fn usage(
        &self,
        tenant: &str,
        (from, to): (Date, Date),
        by: UsageBy,
    ) -> rusqlite::Result<Vec<UsageRow>> {
        let column = match by {
            UsageBy::Type => "captcha_type",
            UsageBy::Key => "key_id",
            UsageBy::Day => "day",
        };
        let sql = format!(
            "SELECT {column}, sum(solves), sum(micros) FROM usage
             WHERE tenant = ?1 AND day BETWEEN ?2 AND ?3 GROUP BY 1 ORDER BY 1"
        );
        self.conn
            .prepare_cached(&sql)?
            .query_map(params![tenant, from.to_string(), to.to_string()], |row| {
                Ok(UsageRow {
                    name: row.get(0)?,
                    solves: count(row, 1)?,
                    cost: Money::from_micros(row.get(2)?),
                })
            })?
            .collect()
    }

    /// Hands out every charge of a tenant in a month (any day of it), by day and then as booked, one at
    /// a time; stops at the first error of `each`.
    pub fn bill<E: From<rusqlite::Error>>(
        &self,
        tenant: &str,
        month: Date,
        mut each: impl FnMut(BillRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let (first, last) = (month.first_of_month(), month.last_of_month());
        let mut statement = self.conn.prepare_cached(
            "SELECT at, day, task_id, captcha_type, -amount, key_id, account, solve FROM ledger
             WHERE kind = 'charge' AND tenant = ?1 AND day BETWEEN ?2 AND ?3 ORDER BY day, id",
        )?;
        let mut rows = statement.query(params![tenant, first.to_string(), last.to_string()])?;
        while let Some(row) = rows.next()? {
            each(bill_row(row)?)?;
        }
        Ok(())
    }

    /// Credits, adjustments and opening balances of a tenant, newest first.
    pub fn credits(&self, tenant: &str, limit: u32) -> rusqlite::Result<Vec<CreditRow>> {
        self.conn
            .prepare_cached(
                "SELECT at, cause, kind, key_id, amount, note FROM ledger
                 WHERE kind <> 'charge' AND tenant = ?1 ORDER BY id DESC LIMIT ?2",
            )?
            .query_map(params![tenant, limit], credit_row)?
            .collect()
    }

    /// The credit of that cause, and whose wallet it went to; `None`: there is none.
    pub fn credit_by_cause(&self, cause: &str) -> rusqlite::Result<Option<(String, CreditRow)>> {
        self.conn
            .prepare_cached(
                "SELECT at, cause, kind, key_id, amount, note, tenant FROM ledger
                 WHERE kind <> 'charge' AND cause = ?1",
            )?
            .query_row([cause], |row| Ok((row.get(6)?, credit_row(row)?)))
            .optional()
    }

    /// Every tenant that has anything in the ledger of that month, by name.
    pub fn billed_tenants(&self, month: Date) -> rusqlite::Result<Vec<String>> {
        let (first, last) = (month.first_of_month(), month.last_of_month());
        self.conn
            .prepare_cached(
                "SELECT DISTINCT tenant FROM usage WHERE day BETWEEN ?1 AND ?2 ORDER BY tenant",
            )?
            .query_map(params![first.to_string(), last.to_string()], |row| row.get(0))?
            .collect()
    }

    /// Thread time in a month, by account and tenant.
    pub fn thread_time(&self, month: Date) -> rusqlite::Result<Vec<ThreadTimeRow>> {
        let (first, last) = (month.first_of_month(), month.last_of_month());
        self.conn
            .prepare_cached(
                "SELECT account, tenant, sum(ms) FROM thread_time
                 WHERE day BETWEEN ?1 AND ?2 GROUP BY 1, 2 ORDER BY 1, 2",
            )?
            .query_map(params![first.to_string(), last.to_string()], |row| {
                Ok(ThreadTimeRow {
                    account: row.get(0)?,
                    tenant: row.get(1)?,
                    milliseconds: count(row, 2)?,
                })
            })?
            .collect()
    }

    /// Minutes with events of an SLO since `from` (a minute since the epoch), in their order.
    pub fn sli_minutes(
        &self,
        captcha_type: CaptchaType,
        slo: SloKind,
        from: i64,
    ) -> rusqlite::Result<Vec<MinuteCounts>> {
        self.conn
            .prepare_cached(
                "SELECT minute, good, bad FROM sli
                 WHERE captcha_type = ?1 AND slo = ?2 AND minute >= ?3 ORDER BY minute",
            )?
            .query_map(params![captcha_type.label(), slo.label(), from], |row| {
                let counts = Counts { good: count(row, 1)?, bad: count(row, 2)? };
                Ok(MinuteCounts { minute: row.get(0)?, counts })
            })?
            .collect()
    }
}

fn boxed(value: impl ToSql + 'static) -> Box<dyn ToSql> {
    Box::new(value)
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let count: i64 = row.get(column)?;
    Ok(u64::try_from(count).unwrap_or(0))
}

fn credit_row(row: &Row<'_>) -> rusqlite::Result<CreditRow> {
    Ok(CreditRow {
        at: Wall(row.get(0)?),
        cause: row.get(1)?,
        kind: row.get(2)?,
        key_id: row.get(3)?,
        amount: Money::from_micros(row.get(4)?),
        note: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
    })
}

fn bill_row(row: &Row<'_>) -> rusqlite::Result<BillRow> {
    let captcha_type: String = row.get(3)?;
    Ok(BillRow {
        at: Wall(row.get(0)?),
        day: row.get(1)?,
        task_id: row.get(2)?,
        captcha_type: read_type(&captcha_type)?,
        amount: Money::from_micros(row.get(4)?),
        key_id: row.get(5)?,
        account: row.get(6)?,
        solve: count(row, 7)?,
    })
}
