//! The one thread that writes: takes what waits, commits it as a group, tries again for ever when
//! the file or the disk fails, and isolates a write that is itself impossible.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::tz::TimeZone;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::apply::{Applied, apply, prune};
use super::queue::{Ack, Group, Next, Shared};
use super::{Committed, beside, restore};
use crate::domain::ids::SolveId;
use crate::domain::journal::Write;
use crate::domain::time::Wall;
use crate::failpoint::{self, Point};

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Log rows that one step of pruning drops: few enough for the groups between two steps not to notice.
const PRUNE_STEP: usize = 500;

struct Writer {
    conn: Connection,
    zone: TimeZone,
    shared: Arc<Shared>,
    path: PathBuf,
    /// The first solve id that the record has not seen.
    next_solve: u64,
    /// Rows older than this are being dropped, step by step.
    pruning: Option<Wall>,
    prune_acks: Vec<Ack>,
}

pub(super) fn start(
    conn: Connection,
    zone: TimeZone,
    next_solve: u64,
    shared: &Arc<Shared>,
    path: &Path,
) -> std::io::Result<JoinHandle<()>> {
    let writer = Writer {
        conn,
        zone,
        shared: Arc::clone(shared),
        path: path.to_owned(),
        next_solve,
        pruning: None,
        prune_acks: Vec::new(),
    };
    std::thread::Builder::new().name("store".to_owned()).spawn(move || writer.run())
}

/// Says that the writer is gone, also when it panics.
struct Farewell(Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.writer_stopped();
    }
}

impl Writer {
    fn run(mut self) {
        let _farewell = Farewell(Arc::clone(&self.shared));
        loop {
            self.run_hook();
            let wait = self.pruning.is_none();
            let go_on = match self.shared.next(wait) {
                Next::Commit(group) => self.write_down(group),
                Next::Idle => true,
                Next::Stop => break,
            };
            if !go_on || !self.prune_step() {
                return;
            }
        }
        failpoint::pass(Point::DuringClose);
        if let Err(error) = self.conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(%error, "cannot checkpoint; the next start does");
        }
        drop(self.conn);
    }

    /// Commits a group, however often it takes. `false`: the store is being given up.
    fn write_down(&mut self, group: Group) -> bool {
        let mut isolate = false;
        let mut backoff = BACKOFF_MIN;
        loop {
            match self.commit(&group.writes, isolate) {
                Ok(applied) => {
                    self.answer(group, &applied);
                    return true;
                }
                Err(error) if is_of_the_write(&error) && !isolate => isolate = true,
                Err(error) => {
                    if !self.shared.failed(error.to_string(), backoff) {
                        return false;
                    }
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    self.run_hook();
                }
            }
        }
    }

    /// One attempt, all or nothing. `isolate` leaves out writes that fail by themselves.
    fn commit(&mut self, writes: &[Write], isolate: bool) -> rusqlite::Result<Vec<Applied>> {
        let transaction = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
        let mut applied = Vec::with_capacity(writes.len());
        let mut next_solve = self.next_solve;
        for write in writes {
            let outcome = if isolate {
                apply_apart(&transaction, &self.zone, write)?
            } else {
                apply(&transaction, &self.zone, write)?
            };
            if outcome == Applied::Done {
                next_solve = next_solve.max(restore::next_after(write));
            }
            applied.push(outcome);
        }
        if next_solve > self.next_solve {
            restore::note_next_solve(&transaction, next_solve)?;
        }
        die_if_holding(
            writes,
            [Point::BeforeBindCommit, Point::BeforeReadyCommit, Point::BeforeSettleCommit],
        );
        transaction.commit()?;
        die_if_holding(
            writes,
            [Point::AfterBindCommit, Point::AfterReadyCommit, Point::AfterSettleCommit],
        );
        self.next_solve = next_solve;
        Ok(applied)
    }

    fn answer(&mut self, group: Group, applied: &[Applied]) {
        let mut conflicts = 0;
        for ((write, applied), ack) in group.writes.iter().zip(applied).zip(&group.acks) {
            let why = match applied {
                Applied::Conflict(why) => why,
                Applied::DuplicateTask if ack.is_none() => "its task is open or charged already",
                Applied::Done | Applied::DuplicateTask => continue,
            };
            conflicts += 1;
            report_conflict(write, why);
        }
        self.shared.committed(conflicts, size_of(&self.path));
        for ((write, applied), ack) in group.writes.iter().zip(applied).zip(group.acks) {
            if let Write::Prune(before) = write {
                self.pruning = self.pruning.max(Some(*before));
                self.prune_acks.extend(ack);
            } else if let Some(ack) = ack {
                let committed = match applied {
                    Applied::Done => Committed::Done,
                    Applied::DuplicateTask => Committed::DuplicateTask,
                    Applied::Conflict(_) => Committed::Conflict,
                };
                // Whoever asked may have gone away.
                let _ = ack.send(committed);
            }
        }
    }

    /// Drops a few old log rows, if any are to go. `false`: the store is being given up.
    fn prune_step(&mut self) -> bool {
        let Some(before) = self.pruning else { return true };
        match self.prune(before) {
            Ok(dropped) => {
                self.shared.pruned();
                if dropped < PRUNE_STEP {
                    self.pruning = None;
                    self.prune_acks.drain(..).for_each(|ack| {
                        let _ = ack.send(Committed::Done);
                    });
                }
                true
            }
            Err(error) => {
                let go_on = self.shared.failed(error.to_string(), BACKOFF_MIN);
                self.run_hook();
                go_on
            }
        }
    }

    fn prune(&self, before: Wall) -> rusqlite::Result<usize> {
        let transaction = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
        let dropped = prune(&transaction, before, PRUNE_STEP)?;
        transaction.commit()?;
        Ok(dropped)
    }

    #[cfg(test)]
    fn run_hook(&self) {
        while let Some(hook) = self.shared.take_hook() {
            hook(&self.conn);
        }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests reach the connection through it")]
    fn run_hook(&self) {}
}

/// Passes the points that stand for a bind, an offer and a charge, where the group holds such a write.
fn die_if_holding(writes: &[Write], [bind, ready, settle]: [Point; 3]) {
    if !cfg!(feature = "failpoints") {
        return;
    }
    for write in writes {
        match write {
            Write::Bind(_) => failpoint::pass(bind),
            Write::Offer(_, true) => failpoint::pass(ready),
            Write::Settle(settled) if settled.charged.is_some() => failpoint::pass(settle),
            Write::Settle(_)
            | Write::Offer(_, false)
            | Write::Verdict(_)
            | Write::Ready(_)
            | Write::Forget(_)
            | Write::Credit(_)
            | Write::Key(_)
            | Write::Notified(_)
            | Write::Prune(_) => {}
        }
    }
}

/// Applies one write so that its failure undoes nothing but itself.
pub(super) fn apply_apart(
    conn: &Connection,
    zone: &TimeZone,
    write: &Write,
) -> rusqlite::Result<Applied> {
    conn.execute_batch("SAVEPOINT one")?;
    match apply(conn, zone, write) {
        Ok(applied) => {
            conn.execute_batch("RELEASE one")?;
            Ok(applied)
        }
        Err(error) if is_of_the_write(&error) => {
            tracing::error!(%error, solve = ?solve_of(write), "an impossible write");
            conn.execute_batch("ROLLBACK TO one; RELEASE one")?;
            Ok(Applied::Conflict("it does not fit the tables"))
        }
        Err(error) => Err(error),
    }
}

/// Logs a write that was left out: what it was and whose, nothing of its contents.
pub(super) fn report_conflict(write: &Write, why: &str) {
    let kind = match write {
        Write::Bind(_) => "bind",
        Write::Verdict(_) => "verdict",
        Write::Ready(_) => "ready",
        Write::Offer(..) => "offer",
        Write::Settle(_) => "settle",
        Write::Forget(_) => "forget",
        Write::Credit(_) => "credit",
        Write::Key(_) => "key",
        Write::Notified(_) => "notified",
        Write::Prune(_) => "prune",
    };
    let solve = solve_of(write).map(|solve| solve.0);
    tracing::error!(write = kind, solve, why, "a write was left out");
}

/// Whether trying the same write again could never help. Everything else (disk full, IO, busy, a
/// damaged file, a missing table) is tried again with nothing lost.
fn is_of_the_write(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig
        ),
        None => matches!(error, rusqlite::Error::ToSqlConversionFailure(_)),
    }
}

pub(super) fn solve_of(write: &Write) -> Option<SolveId> {
    match write {
        Write::Bind(task) => Some(task.solve),
        Write::Verdict(solve) => Some(solve.solve),
        Write::Settle(settle) => Some(settle.solve),
        Write::Ready(solve) | Write::Offer(solve, _) | Write::Forget(solve) => Some(*solve),
        Write::Credit(_) | Write::Key(_) | Write::Notified(_) | Write::Prune(_) => None,
    }
}

/// The size of the database and its write-ahead log.
pub(super) fn size_of(path: &Path) -> u64 {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    size(path) + size(&beside(path, "-wal"))
}
