//! One [`Write`] as SQL, inside the writer's transaction.
//!
//! A write that contradicts the record is found out before anything of it is written, so the fast
//! path needs no savepoint. Applying a write twice changes nothing the second time.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension, params};

use super::words::{charge_cause, kind_word, millis, solve_key, state_word};
use crate::domain::ids::TaskId;
use crate::domain::journal::{
    CreditRecord, KeyRecord, NotifiedRecord, SettleRecord, SolveRecord, TaskRecord, Write,
};
use crate::domain::money::Money;
use crate::domain::outcome::{Outcome, SliEvent};
use crate::domain::time::Wall;

const MINUTE_MS: i64 = 60_000;

/// The longest SLO window is 30 days.
const SLI_MINUTES: i64 = 32 * 24 * 60;

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    Done,
    DuplicateTask,
    /// It contradicts the record; why.
    Conflict(&'static str),
}

pub(super) fn apply(
    conn: &Connection,
    zone: &TimeZone,
    write: &Write,
) -> rusqlite::Result<Applied> {
    match write {
        Write::Bind(task) => bind(conn, task),
        Write::Verdict(solve) => verdict(conn, solve),
        Write::Ready(solve) => update_task(conn, READY, solve_key(*solve)?),
        Write::Offer(solve, true) => update_task(conn, OFFER, solve_key(*solve)?),
        Write::Offer(solve, false) => update_task(conn, WITHDRAW, solve_key(*solve)?),
        Write::Settle(settle) => self::settle(conn, settle),
        Write::Forget(solve) => update_task(conn, FORGET, solve_key(*solve)?),
        Write::Credit(credit) => self::credit(conn, zone, credit),
        Write::Key(record) => key(conn, record),
        Write::Notified(record) => notified(conn, record),
        // The writer does it in steps of its own.
        Write::Prune(_) => Ok(Applied::Done),
    }
}

const READY: &str = "UPDATE tasks SET state = 'ready' WHERE solve = ?1 AND state = 'open'";
const OFFER: &str =
    "UPDATE tasks SET state = 'offered' WHERE solve = ?1 AND state IN ('open', 'ready')";
const WITHDRAW: &str = "UPDATE tasks SET state = 'ready' WHERE solve = ?1 AND state = 'offered'";
const SETTLED: &str = "UPDATE tasks SET state = 'settled' WHERE solve = ?1";
const FORGET: &str = "DELETE FROM tasks WHERE solve = ?1";

fn update_task(conn: &Connection, sql: &str, solve: i64) -> rusqlite::Result<Applied> {
    conn.prepare_cached(sql)?.execute([solve])?;
    Ok(Applied::Done)
}

fn bind(conn: &Connection, task: &TaskRecord) -> rusqlite::Result<Applied> {
    let cause = charge_cause(&task.account, &task.task_id);
    if conn.prepare_cached("SELECT 1 FROM ledger WHERE cause = ?1")?.exists([cause])? {
        return Ok(Applied::DuplicateTask);
    }
    let inserted = conn
        .prepare_cached(
            "INSERT INTO tasks (solve, account, task_id, tenant, key_id, captcha_type, price,
                 submitted_at, source_ip, page, pingback, state, verdict)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            solve_key(task.solve)?,
            &*task.account,
            task.task_id.as_str(),
            &*task.tenant,
            &*task.key_id,
            task.captcha_type.label(),
            task.price.micros(),
            task.submitted_at.0,
            task.source_ip.map(|ip| ip.to_string()),
            task.page.as_deref(),
            task.pingback,
            state_word(task.state),
            task.verdict.map(Outcome::label),
        ])?;
    if inserted == 1 {
        return Ok(Applied::Done);
    }
    let open = conn
        .prepare_cached("SELECT 1 FROM tasks WHERE account = ?1 AND task_id = ?2")?
        .exists([&*task.account, task.task_id.as_str()])?;
    Ok(if open { Applied::DuplicateTask } else { Applied::Conflict("another task of that solve") })
}

fn verdict(conn: &Connection, solve: &SolveRecord) -> rusqlite::Result<Applied> {
    let key = solve_key(solve.solve)?;
    let written = conn
        .prepare_cached(
            "INSERT INTO solves (solve, account, task_id, tenant, key_id, captcha_type, outcome,
                 error_code, duration_ms, price, submitted_at, ended_at, source_ip, page)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
             ON CONFLICT (solve) DO UPDATE SET outcome = excluded.outcome,
                 error_code = excluded.error_code, duration_ms = excluded.duration_ms,
                 price = excluded.price, submitted_at = excluded.submitted_at,
                 ended_at = excluded.ended_at, source_ip = excluded.source_ip,
                 page = excluded.page
             WHERE outcome IS NULL",
        )?
        .execute(params![
            key,
            &*solve.account,
            solve.task_id.as_ref().map(TaskId::as_str),
            &*solve.tenant,
            &*solve.key_id,
            solve.captcha_type.label(),
            solve.outcome.label(),
            solve.error_code.as_deref(),
            millis(solve.duration),
            solve.price.micros(),
            solve.submitted_at.0,
            solve.ended_at.0,
            solve.source_ip.map(|ip| ip.to_string()),
            solve.page.as_deref(),
        ])?;
    if written == 0 {
        return Ok(Applied::Conflict("a second verdict"));
    }
    conn.prepare_cached(
        "UPDATE tasks SET verdict = coalesce(verdict, ?2),
             state = CASE WHEN ?2 = 'solved' AND state = 'open' THEN 'ready' ELSE state END
         WHERE solve = ?1",
    )?
    .execute(params![key, solve.outcome.label()])?;
    for (slo, event) in [("success", solve.success_event), ("latency", solve.latency_event)] {
        if let Some(event) = event {
            count_event(conn, solve, slo, event)?;
        }
    }
    Ok(Applied::Done)
}

fn count_event(
    conn: &Connection,
    solve: &SolveRecord,
    slo: &str,
    event: SliEvent,
) -> rusqlite::Result<()> {
    let good = i64::from(event == SliEvent::Good);
    conn.prepare_cached(
        "INSERT INTO sli (minute, slo, captcha_type, good, bad) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET good = good + excluded.good, bad = bad + excluded.bad",
    )?
    .execute(params![
        solve.ended_at.0.div_euclid(MINUTE_MS),
        slo,
        solve.captcha_type.label(),
        good,
        1 - good,
    ])?;
    Ok(())
}

fn settle(conn: &Connection, settle: &SettleRecord) -> rusqlite::Result<Applied> {
    let key = solve_key(settle.solve)?;
    let before: Option<(i64, bool)> = conn
        .prepare_cached("SELECT charged, settled_at IS NOT NULL FROM solves WHERE solve = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match (before, settle.charged) {
        (Some((charged, _)), Some(_)) if charged != 0 => {
            return Ok(Applied::Conflict("a second charge"));
        }
        (Some((_, true)), None) => return Ok(Applied::Conflict("a void after the settlement")),
        _ => {}
    }
    if let Some(amount) = settle.charged
        && !charge(conn, key, settle, amount)?
    {
        return Ok(Applied::Conflict("a second charge"));
    }
    close_solve(conn, key, settle, before.is_some())?;
    if !matches!(before, Some((_, true))) {
        count_thread_time(conn, settle)?;
    }
    update_task(conn, SETTLED, key)
}

fn count_thread_time(conn: &Connection, settle: &SettleRecord) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO thread_time (account, tenant, day, ms) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET ms = ms + excluded.ms",
    )?
    .execute(params![
        &*settle.account,
        &*settle.tenant,
        settle.day.to_string(),
        millis(settle.thread_time),
    ])?;
    Ok(())
}

/// `false` where the ledger holds that charge already.
fn charge(
    conn: &Connection,
    key: i64,
    settle: &SettleRecord,
    amount: Money,
) -> rusqlite::Result<bool> {
    let day = settle.day.to_string();
    let inserted = conn
        .prepare_cached(
            "INSERT INTO ledger (cause, kind, tenant, key_id, amount, at, day, captcha_type,
                 account, task_id, solve)
             VALUES (?1, 'charge', ?2, ?3, -?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (cause) DO NOTHING",
        )?
        .execute(params![
            charge_cause(&settle.account, &settle.task_id),
            &*settle.tenant,
            &*settle.key_id,
            amount.micros(),
            settle.at.0,
            day,
            settle.captcha_type.label(),
            &*settle.account,
            settle.task_id.as_str(),
            key,
        ])?;
    if inserted == 0 {
        return Ok(false);
    }
    conn.prepare_cached(
        "INSERT INTO usage (tenant, key_id, day, captcha_type, solves, micros)
         VALUES (?1, ?2, ?3, ?4, 1, ?5)
         ON CONFLICT DO UPDATE SET solves = solves + 1, micros = micros + excluded.micros",
    )?
    .execute(params![
        &*settle.tenant,
        &*settle.key_id,
        day,
        settle.captcha_type.label(),
        amount.micros(),
    ])?;
    Ok(true)
}

/// Notes the settlement in the log; where the verdict has not come yet, in a row that it completes.
fn close_solve(
    conn: &Connection,
    key: i64,
    settle: &SettleRecord,
    logged: bool,
) -> rusqlite::Result<()> {
    let charged = settle.charged.unwrap_or(Money::ZERO).micros();
    if logged {
        conn.prepare_cached(
            "UPDATE solves SET charged = ?2, delivered = ?3, settled_at = ?4, thread_ms = ?5,
                 task_id = ?6, account = ?7
             WHERE solve = ?1",
        )?
        .execute(params![
            key,
            charged,
            settle.delivered,
            settle.at.0,
            millis(settle.thread_time),
            settle.task_id.as_str(),
            &*settle.account,
        ])?;
        return Ok(());
    }
    conn.prepare_cached(
        "INSERT INTO solves (solve, account, task_id, tenant, key_id, captcha_type, duration_ms,
             price, submitted_at, ended_at, charged, delivered, settled_at, thread_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?8, ?11, ?10, ?7)",
    )?
    .execute(params![
        key,
        &*settle.account,
        settle.task_id.as_str(),
        &*settle.tenant,
        &*settle.key_id,
        settle.captcha_type.label(),
        millis(settle.thread_time),
        charged,
        settle.at.0.saturating_sub(millis(settle.thread_time)),
        settle.at.0,
        settle.delivered,
    ])?;
    Ok(())
}

fn credit(conn: &Connection, zone: &TimeZone, credit: &CreditRecord) -> rusqlite::Result<Applied> {
    conn.prepare_cached(
        "INSERT INTO ledger (cause, kind, tenant, key_id, wallet, amount, at, day, note)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (cause) DO NOTHING",
    )?
    .execute(params![
        credit.cause,
        kind_word(credit.kind),
        &*credit.tenant,
        credit.key_id.as_deref(),
        if credit.key_id.is_some() { "key" } else { "tenant" },
        credit.amount.micros(),
        credit.at.0,
        day_of(credit.at, zone)?,
        credit.note,
    ])?;
    Ok(Applied::Done)
}

fn key(conn: &Connection, record: &KeyRecord) -> rusqlite::Result<Applied> {
    conn.prepare_cached(
        "INSERT INTO keys (hash, tenant, key_id, created_at, revoked_at, settings, note)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (hash) DO UPDATE SET revoked_at = excluded.revoked_at, note = excluded.note",
    )?
    .execute(params![
        record.hash.0,
        &*record.tenant,
        &*record.key_id,
        record.created_at.0,
        record.revoked_at.map(|at| at.0),
        record.settings,
        record.note,
    ])?;
    Ok(Applied::Done)
}

fn notified(conn: &Connection, record: &NotifiedRecord) -> rusqlite::Result<Applied> {
    conn.prepare_cached(
        "INSERT INTO notified (about, at) VALUES (?1, ?2)
         ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
    )?
    .execute(params![record.about, record.at.0])?;
    Ok(Applied::Done)
}

/// The calendar day of an instant in a zone, as the tables spell it.
pub(super) fn day_of(at: Wall, zone: &TimeZone) -> rusqlite::Result<String> {
    let at = Timestamp::from_millisecond(at.0)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    Ok(at.to_zoned(zone.clone()).date().to_string())
}

/// Drops up to `limit` log rows of solves submitted before `before` whose task is forgotten; how many.
pub(super) fn prune(conn: &Connection, before: Wall, limit: usize) -> rusqlite::Result<usize> {
    let mut statement = conn.prepare_cached(
        "DELETE FROM solves WHERE solve IN (
             SELECT solve FROM solves AS old
             WHERE submitted_at < ?1 AND NOT EXISTS (SELECT 1 FROM tasks WHERE solve = old.solve)
             LIMIT ?2)
         RETURNING tenant, charged",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![before.0, limit], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
    })?;
    let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
    conn.prepare_cached("DELETE FROM sli WHERE minute < (SELECT max(minute) FROM sli) - ?1")?
        .execute([SLI_MINUTES])?;
    let mut add = conn.prepare_cached(
        "INSERT INTO pruned (tenant, micros) VALUES (?1, ?2)
         ON CONFLICT DO UPDATE SET micros = micros + excluded.micros",
    )?;
    for (tenant, charged) in rows.iter().filter(|(_, charged)| *charged != 0) {
        add.execute(params![tenant, charged])?;
    }
    Ok(rows.len())
}
