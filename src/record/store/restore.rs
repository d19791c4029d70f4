//! What the record gives back at start.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::apply::day_of;
use super::words::{read_outcome, read_solve, read_type, state_of, unreadable};
use super::writer::solve_of;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::{KeyHash, Name, TaskId};
use crate::domain::journal::{
    ChargedLater, ChargedTotal, KeyRecord, NotifiedRecord, Restored, TaskRecord, WalletTotal, Write,
};
use crate::domain::money::Money;
use crate::domain::slo::window::{Counts, MinuteCounts};
use crate::domain::slo::{SliRow, SloKind};
use crate::domain::time::Wall;

const ZONE: &str = "time_zone";
const NEXT_SOLVE: &str = "next_solve";
/// The longest SLO window is 30 days.
const SLI_DAYS: i64 = 32;

pub(super) fn restore(conn: &Connection, today: Date) -> rusqlite::Result<Restored> {
    let (charged, charged_later) = charged(conn, today)?;
    Ok(Restored {
        tasks: tasks(conn)?,
        wallets: wallets(conn)?,
        charged,
        charged_later,
        credit_causes: credit_causes(conn)?,
        sli: sli(conn, today)?,
        keys: keys(conn)?,
        notified: notified(conn)?,
        next_solve: next_solve(conn)?,
    })
}

fn tasks(conn: &Connection) -> rusqlite::Result<Vec<TaskRecord>> {
    conn.prepare(
        "SELECT solve, account, task_id, tenant, key_id, captcha_type, price, submitted_at,
             source_ip, page, pingback, state, verdict
         FROM tasks ORDER BY solve",
    )?
    .query_map([], task)?
    .collect()
}

fn task(row: &Row<'_>) -> rusqlite::Result<TaskRecord> {
    let task_id: String = row.get(2)?;
    let captcha_type: String = row.get(5)?;
    let source_ip: Option<String> = row.get(8)?;
    let state: String = row.get(11)?;
    let verdict: Option<String> = row.get(12)?;
    Ok(TaskRecord {
        solve: read_solve(row.get(0)?)?,
        account: name(row, 1)?,
        task_id: TaskId::new(&task_id).ok_or_else(|| unreadable("task_id", &task_id))?,
        tenant: name(row, 3)?,
        key_id: name(row, 4)?,
        captcha_type: read_type(&captcha_type)?,
        price: money(row, 6)?,
        submitted_at: Wall(row.get(7)?),
        source_ip: source_ip.map(|ip| read_ip(&ip)).transpose()?,
        page: row.get(9)?,
        pingback: row.get(10)?,
        state: state_of(&state).ok_or_else(|| unreadable("state", &state))?,
        verdict: verdict.map(|outcome| read_outcome(&outcome)).transpose()?,
    })
}

fn name(row: &Row<'_>, column: usize) -> rusqlite::Result<Name> {
    row.get::<_, String>(column).map(Name::from)
}

/// No sum of ours comes near; a flipped bit may, and would overflow later.
const MICROS_MAX: u64 = 1_000_000_000_000_000_000;

fn money(row: &Row<'_>, column: usize) -> rusqlite::Result<Money> {
    let micros: i64 = row.get(column)?;
    if micros.unsigned_abs() > MICROS_MAX {
        return Err(unreadable("amount", &micros));
    }
    Ok(Money::from_micros(micros))
}

fn read_ip(text: &str) -> rusqlite::Result<IpAddr> {
    text.parse().map_err(|_| unreadable("source_ip", &text))
}

fn wallets(conn: &Connection) -> rusqlite::Result<Vec<WalletTotal>> {
    conn.prepare(
        "SELECT tenant, key_id, sum(amount) FROM ledger WHERE kind <> 'charge'
         GROUP BY tenant, key_id ORDER BY tenant, key_id",
    )?
    .query_map([], |row| {
        Ok(WalletTotal {
            tenant: name(row, 0)?,
            key_id: row.get::<_, Option<String>>(1)?.map(Name::from),
            amount: money(row, 2)?,
        })
    })?
    .collect()
}

fn credit_causes(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    // Left to itself, SQLite reads all charges in the order of their causes, to spare a sort.
    conn.prepare(
        "SELECT cause FROM ledger INDEXED BY ledger_funds WHERE kind <> 'charge' ORDER BY cause",
    )?
    .query_map([], |row| row.get(0))?
    .collect()
}

/// Rows from before the day before the longest window; a label of another version is passed over.
fn sli(conn: &Connection, today: Date) -> rusqlite::Result<Vec<SliRow>> {
    let first = today.saturating_sub(Span::new().days(SLI_DAYS));
    let first =
        TimeZone::UTC.to_timestamp(first.at(0, 0, 0, 0)).map_or(0, Timestamp::as_second) / 60;
    let rows = conn
        .prepare("SELECT minute, slo, captcha_type, good, bad FROM sli WHERE minute >= ?1")?
        .query_map([first], |row| {
            let (slo, captcha_type): (String, String) = (row.get(1)?, row.get(2)?);
            let count = |column| -> rusqlite::Result<u64> {
                let count: i64 = row.get(column)?;
                u64::try_from(count).map_err(|_| unreadable("sli", &count))
            };
            let counts = Counts { good: count(3)?, bad: count(4)? };
            let minute = MinuteCounts { minute: row.get(0)?, counts };
            let known = CaptchaType::from_label(&captcha_type).zip(SloKind::from_label(&slo));
            Ok(known.map(|(captcha_type, slo)| SliRow { captcha_type, slo, minute }))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(rows.into_iter().flatten().collect())
}

/// The second list is nearly always empty, and no second pass over all days is made for it then.
fn charged(
    conn: &Connection,
    today: Date,
) -> rusqlite::Result<(Vec<ChargedTotal>, Vec<ChargedLater>)> {
    let (first, last) = (today.first_of_month(), today.last_of_month());
    let today = today.to_string();
    let mut any_later = false;
    let totals = conn
        .prepare(
            "SELECT tenant, key_id, sum(iif(day = ?1, solves, 0)), sum(iif(day = ?1, micros, 0)),
                 sum(iif(day BETWEEN ?2 AND ?3, micros, 0)), sum(micros), max(day) > ?1
             FROM usage GROUP BY tenant, key_id ORDER BY tenant, key_id",
        )?
        .query_map(params![today, first.to_string(), last.to_string()], |row| {
            any_later |= row.get::<_, bool>(6)?;
            Ok(ChargedTotal {
                tenant: name(row, 0)?,
                key_id: name(row, 1)?,
                day_solves: solves(row, 2)?,
                day_spent: money(row, 3)?,
                month_spent: money(row, 4)?,
                total_spent: money(row, 5)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let later = if any_later { charged_later(conn, &today)? } else { Vec::new() };
    Ok((totals, later))
}

fn charged_later(conn: &Connection, today: &str) -> rusqlite::Result<Vec<ChargedLater>> {
    conn.prepare(
        "SELECT tenant, key_id, day, sum(solves), sum(micros) FROM usage WHERE day > ?1
         GROUP BY tenant, key_id, day ORDER BY tenant, key_id, day",
    )?
    .query_map([today], |row| {
        let day: String = row.get(2)?;
        Ok(ChargedLater {
            tenant: name(row, 0)?,
            key_id: name(row, 1)?,
            day: day.parse().map_err(|_| unreadable("day", &day))?,
            solves: solves(row, 3)?,
            spent: money(row, 4)?,
        })
    })?
    .collect()
}

fn solves(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let solves: i64 = row.get(column)?;
    u64::try_from(solves).map_err(|_| unreadable("solves", &solves))
}

fn keys(conn: &Connection) -> rusqlite::Result<Vec<KeyRecord>> {
    conn.prepare(
        "SELECT hash, tenant, key_id, created_at, revoked_at, settings, note FROM keys
         ORDER BY tenant, key_id, created_at, hash",
    )?
    .query_map([], |row| {
        Ok(KeyRecord {
            hash: KeyHash(row.get(0)?),
            tenant: name(row, 1)?,
            key_id: name(row, 2)?,
            created_at: Wall(row.get(3)?),
            revoked_at: row.get::<_, Option<i64>>(4)?.map(Wall),
            settings: row.get(5)?,
            note: row.get(6)?,
        })
    })?
    .collect()
}

fn notified(conn: &Connection) -> rusqlite::Result<Vec<NotifiedRecord>> {
    conn.prepare("SELECT about, at FROM notified ORDER BY about")?
        .query_map([], |row| Ok(NotifiedRecord { about: row.get(0)?, at: Wall(row.get(1)?) }))?
        .collect()
}

pub(super) fn next_solve(conn: &Connection) -> rusqlite::Result<u64> {
    let Some(text) = meta(conn, NEXT_SOLVE)? else { return Ok(0) };
    text.parse().map_err(|_| unreadable("next_solve", &text))
}

pub(super) fn note_next_solve(conn: &Connection, next_solve: u64) -> rusqlite::Result<()> {
    set_meta(conn, NEXT_SOLVE, &next_solve.to_string())
}

/// The first solve id that cannot be in use once that write is in the record.
pub(super) fn next_after(write: &Write) -> u64 {
    solve_of(write).map_or(0, |solve| solve.0.saturating_add(1))
}

pub(super) fn zone_name(conn: &Connection) -> rusqlite::Result<Option<String>> {
    meta(conn, ZONE)
}

/// Notes the zone of `usage.day`, and counts `usage` anew from the ledger, inside the caller's
/// transaction. The ledger keeps the days that its charges were booked on.
pub(super) fn recount_usage(
    conn: &Connection,
    zone: &TimeZone,
    zone_name: &str,
) -> rusqlite::Result<()> {
    let mut usage: BTreeMap<(String, String, String, String), (i64, i64)> = BTreeMap::new();
    let mut charges = conn.prepare(
        "SELECT tenant, key_id, captcha_type, at, amount FROM ledger WHERE kind = 'charge'",
    )?;
    let mut rows = charges.query([])?;
    while let Some(row) = rows.next()? {
        let day = day_of(Wall(row.get(3)?), zone)?;
        let amount: i64 = row.get(4)?;
        let (solves, micros) =
            usage.entry((row.get(0)?, row.get(1)?, day, row.get(2)?)).or_default();
        *solves += 1;
        *micros = micros.checked_sub(amount).ok_or_else(|| unreadable("amount", &amount))?;
    }
    conn.execute("DELETE FROM usage", [])?;
    let mut insert = conn.prepare(
        "INSERT INTO usage (tenant, key_id, day, captcha_type, solves, micros)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for ((tenant, key_id, day, captcha_type), (solves, micros)) in usage {
        insert.execute(params![tenant, key_id, day, captcha_type, solves, micros])?;
    }
    set_meta(conn, ZONE, zone_name)
}

fn meta(conn: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()
}

fn set_meta(conn: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2)
         ON CONFLICT DO UPDATE SET value = excluded.value",
    )?
    .execute([key, value])?;
    Ok(())
}
