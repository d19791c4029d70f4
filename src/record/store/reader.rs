//! Read-only queries on a connection of their own, which never delays the writer, and the audit.

use std::path::Path;
use std::time::Duration;

use jiff::civil::Date;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::words::{read_outcome, read_solve, read_type};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::SolveId;
use crate::domain::money::Money;
use crate::domain::outcome::Outcome;
use crate::domain::time::Wall;

const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// A read-only view of the record; may be open beside a running [`Store`](super::Store).
#[derive(Debug)]
pub struct Reader {
    pub(super) conn: Connection,
}

/// One row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in `journal::SolveRecord` and `journal::SettleRecord`")]
pub struct SolveRow {
    pub solve: SolveId,
    pub account: String,
    pub task_id: Option<String>,
    pub tenant: String,
    pub key_id: String,
    pub captcha_type: CaptchaType,
    /// `None`: settled before a verdict came.
    pub outcome: Option<Outcome>,
    pub error_code: Option<String>,
    pub duration: Duration,
    pub price: Money,
    pub charged: Money,
    pub delivered: bool,
    pub submitted_at: Wall,
    pub ended_at: Wall,
    pub settled_at: Option<Wall>,
    pub source_ip: Option<String>,
    pub page: Option<String>,
}

/// One charge of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in `journal::SettleRecord`")]
pub struct Charge {
    pub at: Wall,
    pub day: String,
    pub account: String,
    pub task_id: String,
    pub key_id: String,
    pub captcha_type: CaptchaType,
    /// What was charged; positive.
    pub amount: Money,
}

impl Reader {
    /// Opens a record that exists.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.pragma_update(None, "query_only", true)?;
        Ok(Self { conn })
    }

    /// All money of a tenant together: openings, credits and adjustments less charges, over all its
    /// wallets.
    pub fn ledger_sum(&self, tenant: &str) -> rusqlite::Result<Money> {
        self.conn
            .prepare_cached("SELECT coalesce(sum(amount), 0) FROM ledger WHERE tenant = ?1")?
            .query_row([tenant], |row| row.get(0).map(Money::from_micros))
    }

    /// The latest rows of the log, newest first.
    pub fn solves(&self, limit: u32) -> rusqlite::Result<Vec<SolveRow>> {
        self.conn
            .prepare_cached(
                "SELECT solve, account, task_id, tenant, key_id, captcha_type, outcome, error_code,
                     duration_ms, price, charged, delivered, submitted_at, ended_at, settled_at,
                     source_ip, page
                 FROM solves ORDER BY submitted_at DESC, solve DESC LIMIT ?1",
            )?
            .query_map([limit], solve_row)?
            .collect()
    }

    /// The charges of a tenant in the month of that day, by the days they were booked on; a later
    /// change of time zone does not move them.
    pub fn charges(&self, tenant: &str, month: Date) -> rusqlite::Result<Vec<Charge>> {
        let (first, last) = (month.first_of_month(), month.last_of_month());
        self.conn
            .prepare_cached(
                "SELECT at, day, account, task_id, key_id, captcha_type, -amount FROM ledger
                 WHERE kind = 'charge' AND tenant = ?1 AND day BETWEEN ?2 AND ?3
                 ORDER BY at, id",
            )?
            .query_map(params![tenant, first.to_string(), last.to_string()], charge)?
            .collect()
    }
}

pub(super) fn solve_row(row: &Row<'_>) -> rusqlite::Result<SolveRow> {
    let captcha_type: String = row.get(5)?;
    let outcome: Option<String> = row.get(6)?;
    let duration_ms: i64 = row.get(8)?;
    Ok(SolveRow {
        solve: read_solve(row.get(0)?)?,
        account: row.get(1)?,
        task_id: row.get(2)?,
        tenant: row.get(3)?,
        key_id: row.get(4)?,
        captcha_type: read_type(&captcha_type)?,
        outcome: outcome.map(|outcome| read_outcome(&outcome)).transpose()?,
        error_code: row.get(7)?,
        duration: Duration::from_millis(u64::try_from(duration_ms).unwrap_or(0)),
        price: Money::from_micros(row.get(9)?),
        charged: Money::from_micros(row.get(10)?),
        delivered: row.get(11)?,
        submitted_at: Wall(row.get(12)?),
        ended_at: Wall(row.get(13)?),
        settled_at: row.get::<_, Option<i64>>(14)?.map(Wall),
        source_ip: row.get(15)?,
        page: row.get(16)?,
    })
}

fn charge(row: &Row<'_>) -> rusqlite::Result<Charge> {
    let captcha_type: String = row.get(5)?;
    Ok(Charge {
        at: Wall(row.get(0)?),
        day: row.get(1)?,
        account: row.get(2)?,
        task_id: row.get(3)?,
        key_id: row.get(4)?,
        captcha_type: read_type(&captcha_type)?,
        amount: Money::from_micros(row.get(6)?),
    })
}

/// What must hold, and a query for the first case where it does not: one text column.
const RULES: [(&str, &str); 5] = [
    (
        "usage of a tenant and key is the sum of its charges",
        "WITH booked AS (
             SELECT tenant, key_id, captcha_type, count(*) AS solves, -sum(amount) AS micros
             FROM ledger WHERE kind = 'charge' GROUP BY 1, 2, 3),
         counted AS (
             SELECT tenant, key_id, captcha_type, sum(solves) AS solves, sum(micros) AS micros
             FROM usage GROUP BY 1, 2, 3)
         SELECT tenant || '/' || key_id || '/' || captcha_type FROM (
             SELECT * FROM (SELECT * FROM booked EXCEPT SELECT * FROM counted)
             UNION ALL
             SELECT * FROM (SELECT * FROM counted EXCEPT SELECT * FROM booked))",
    ),
    (
        "a charged solve has one ledger row with its amount",
        "SELECT 'solve ' || s.solve FROM solves AS s
         LEFT JOIN ledger AS l ON l.cause = 'charge:' || s.account || ':' || s.task_id
         WHERE s.charged <> 0
             AND (l.id IS NULL OR l.amount <> -s.charged OR l.solve <> s.solve
                 OR l.tenant <> s.tenant OR l.key_id <> s.key_id)",
    ),
    (
        "a charge in the ledger has its amount in the log",
        "SELECT l.cause FROM ledger AS l JOIN solves AS s ON s.solve = l.solve
         WHERE l.kind = 'charge' AND (s.charged <> -l.amount OR s.settled_at IS NULL)",
    ),
    (
        "charges of a tenant are in the log or were pruned from it",
        "WITH logged AS (
             SELECT tenant, sum(micros) AS micros FROM (
                 SELECT tenant, charged AS micros FROM solves
                 UNION ALL SELECT tenant, micros FROM pruned)
             GROUP BY tenant),
         booked AS (
             SELECT tenant, -sum(amount) AS micros FROM ledger
             WHERE kind = 'charge' GROUP BY tenant)
         SELECT tenant FROM logged FULL JOIN booked USING (tenant)
         WHERE coalesce(logged.micros, 0) <> coalesce(booked.micros, 0)",
    ),
    (
        "a task that was charged is settled",
        "SELECT 'solve ' || t.solve FROM tasks AS t
         JOIN ledger AS l ON l.cause = 'charge:' || t.account || ':' || t.task_id
             AND l.solve = t.solve
         WHERE t.state <> 'settled'",
    ),
];

/// The audit: every rule that does not hold, with the first case of it. Empty: the books balance. Reads
/// the whole ledger, from one snapshot.
pub fn verify(reader: &Reader) -> rusqlite::Result<Vec<String>> {
    let snapshot = reader.conn.unchecked_transaction()?;
    let mut broken = Vec::new();
    for (rule, query) in RULES {
        let case: Option<String> = snapshot.query_row(query, [], |row| row.get(0)).optional()?;
        broken.extend(case.map(|case| format!("{rule}: not so for {case}")));
    }
    Ok(broken)
}
