//! Opens the file: one writer per file, nothing overwritten that is not ours, pragmas set and read
//! back, spill files applied, days recounted after a change of time zone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::apply::Applied;
use super::schema::{APPLICATION_ID, FROM_1, TABLES, VERSION};
use super::writer::{apply_apart, report_conflict, size_of};
use super::{Durability, StoreOptions, beside, restore, spill};
use crate::domain::journal::{Restored, Write};
use crate::failpoint::{self, Point};

/// How long the writer waits for somebody else's lock before it counts as a failure and is tried again.
const BUSY_TIMEOUT: Duration = Duration::from_millis(100);

/// Statements kept prepared; every one that the writer uses fits.
const STATEMENTS: usize = 64;

/// A file up to this size is checked whole before anything is written to it; a larger one, which takes
/// seconds, while it is in use.
pub(super) const CHECKED_AT_START: u64 = 32 << 20;

/// How much of a spill file goes into one transaction.
const REPLAY_CHUNK: usize = 1_000;

/// Why the record cannot be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum OpenError {
    #[error("`{}` is in use by another solvegate; give each its own state.path", path.display())]
    InUse { path: PathBuf },
    #[error("cannot open `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("`{}` cannot be written; check its owner and mode", path.display())]
    ReadOnly { path: PathBuf },
    #[error("`{}` is no SQLite database; it was left as it is", path.display())]
    NotADatabase { path: PathBuf },
    #[error("`{}` is a database of another program; it was left as it is", path.display())]
    Foreign { path: PathBuf },
    #[error(
        "`{}` was written by a newer solvegate (its schema is {found}, this one knows {VERSION}); \
         start that version or give another state.path",
        path.display()
    )]
    Newer { path: PathBuf, found: i32 },
    #[error(
        "`{}` is damaged and was left as it is; restore a copy, or save what can be read with \
         `sqlite3 {} .recover`",
        path.display(),
        path.display()
    )]
    Corrupt { path: PathBuf, source: rusqlite::Error },
    #[error("cannot open `{}`", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error("`{}`: pragma {pragma} is {found} instead of {wanted}", path.display())]
    Pragma { path: PathBuf, pragma: &'static str, wanted: String, found: String },
    #[error("unknown time zone `{name}`")]
    TimeZone { name: String, source: jiff::Error },
    #[error("cannot apply the spill file `{}`", path.display())]
    Spill { path: PathBuf, source: io::Error },
}

/// A file that is open, checked and locked.
pub(super) struct Opened {
    pub(super) conn: Connection,
    pub(super) lock: File,
    pub(super) zone: TimeZone,
    /// Absolute, links resolved.
    pub(super) path: PathBuf,
    /// Conflicts met while spill files were applied.
    pub(super) conflicts: u64,
}

pub(super) fn open(
    options: &StoreOptions,
    today: Date,
    time_zone_name: &str,
) -> Result<(Opened, Restored), OpenError> {
    let zone = TimeZone::get(time_zone_name)
        .map_err(|source| OpenError::TimeZone { name: time_zone_name.to_owned(), source })?;
    let path = resolve(&options.path)
        .map_err(|source| OpenError::Io { path: options.path.clone(), source })?;
    let lock = lock(&path)?;
    look_at(&path)?;

    let in_sqlite = |source| sqlite_error(&path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(&path, flags).map_err(in_sqlite)?;
    let found = whose(&conn, &path)?;
    if size_of(&path) <= CHECKED_AT_START
        && let Some(what) = damage(&conn).map_err(in_sqlite)?
    {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(in_sqlite(rusqlite::Error::SqliteFailure(code, Some(what))));
    }
    prepare(&conn, &path)?;
    match found {
        None => create(&conn).map_err(in_sqlite)?,
        Some(1) => upgrade(&conn).map_err(in_sqlite)?,
        Some(_) => {}
    }
    let conflicts = apply_spills(&conn, &path, &zone)?;
    settle_zone(&conn, &zone, time_zone_name).map_err(in_sqlite)?;
    set_durability(&conn, &path, options.durability)?;
    failpoint::pass(Point::DuringRestore);
    let restored = restore::restore(&conn, today).map_err(in_sqlite)?;
    Ok((Opened { conn, lock, zone, path, conflicts }, restored))
}

/// The absolute path behind links, so that two names of one file are one lock.
pub(super) fn resolve(path: &Path) -> io::Result<PathBuf> {
    if path.try_exists()? {
        return path.canonicalize();
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok(directory.canonicalize()?.join(name))
}

/// An advisory lock on a file beside the database: the kernel drops it with the process, however that
/// ends, and `sqlite3` may still read the database.
fn lock(path: &Path) -> Result<File, OpenError> {
    let lock_path = beside(path, ".lock");
    let in_io = |source| OpenError::Io { path: lock_path.clone(), source };
    let file = ours().open(&lock_path).map_err(in_io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(in_io(source)),
    }
}

/// Opens or creates a file that is nobody else's business.
fn ours() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

/// Creates the file where it is missing (`SQLite` gives its other files the same mode), and refuses one
/// that cannot be a database before `SQLite` touches it.
fn look_at(path: &Path) -> Result<(), OpenError> {
    const MAGIC: &[u8; 16] = b"SQLite format 3\0";
    let mut file = ours().open(path).map_err(|source| {
        let path = path.to_owned();
        let kind = source.kind();
        let is_denied = kind == io::ErrorKind::PermissionDenied;
        if is_denied || kind == io::ErrorKind::ReadOnlyFilesystem {
            OpenError::ReadOnly { path }
        } else {
            OpenError::Io { path, source }
        }
    })?;
    let mut head = Vec::new();
    file.by_ref()
        .take(MAGIC.len() as u64)
        .read_to_end(&mut head)
        .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    if head.is_empty() || head == MAGIC {
        return Ok(());
    }
    Err(OpenError::NotADatabase { path: path.to_owned() })
}

/// The version of its tables, `None` for a new file; an error where it is not ours. Changes nothing, not
/// even on close.
fn whose(conn: &Connection, path: &Path) -> Result<Option<i32>, OpenError> {
    let in_sqlite = |source| sqlite_error(path, source);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(in_sqlite)?;
    conn.busy_timeout(BUSY_TIMEOUT).map_err(in_sqlite)?;
    let number = |pragma| conn.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let version = number("user_version").map_err(in_sqlite)?;
    let objects: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(in_sqlite)?;
    match number("application_id").map_err(in_sqlite)? {
        0 if objects == 0 && version == 0 => Ok(None),
        APPLICATION_ID if (1..=VERSION).contains(&version) => Ok(Some(version)),
        APPLICATION_ID if version > VERSION => {
            Err(OpenError::Newer { path: path.to_owned(), found: version })
        }
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

/// What is wrong with the file's pages and indexes, if anything is.
pub(super) fn damage(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let said: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((said != "ok").then_some(said))
}

/// Sets what the record relies on, and reads it back.
fn prepare(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    let in_sqlite = |source| sqlite_error(path, source);
    if conn.is_readonly("main").map_err(in_sqlite)? {
        return Err(OpenError::ReadOnly { path: path.to_owned() });
    }
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(in_sqlite)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    for (pragma, value) in [
        ("journal_mode", "wal"),
        ("synchronous", "2"), // FULL until spill files are applied
        ("busy_timeout", "100"),
        ("locking_mode", "normal"),
        ("wal_autocheckpoint", "4000"),
        ("journal_size_limit", "67108864"),
        ("cell_size_check", "1"),
        ("trusted_schema", "0"),
        ("ignore_check_constraints", "0"),
    ] {
        set_pragma(conn, path, pragma, value)?;
    }
    Ok(())
}

fn set_durability(conn: &Connection, path: &Path, durability: Durability) -> Result<(), OpenError> {
    let synchronous = match durability {
        Durability::Process => "1", // NORMAL
        Durability::Power => "2",   // FULL
    };
    set_pragma(conn, path, "synchronous", synchronous)
}

fn set_pragma(
    conn: &Connection,
    path: &Path,
    pragma: &'static str,
    wanted: &str,
) -> Result<(), OpenError> {
    let in_sqlite = |source| sqlite_error(path, source);
    conn.pragma_update(None, pragma, wanted).map_err(in_sqlite)?;
    let found = conn
        .pragma_query_value(None, pragma, |row| {
            row.get_ref(0).map(|value| match value.as_i64() {
                Ok(number) => number.to_string(),
                Err(_) => value.as_str().unwrap_or_default().to_owned(),
            })
        })
        .map_err(in_sqlite)?;
    if found == wanted {
        return Ok(());
    }
    let wanted = wanted.to_owned();
    Err(OpenError::Pragma { path: path.to_owned(), pragma, wanted, found })
}

fn create(conn: &Connection) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    failpoint::pass(Point::DuringCreate);
    transaction.commit()
}

/// Brings the tables of version 1 up to date: whole, or not at all.
fn upgrade(conn: &Connection) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    transaction.execute_batch(FROM_1)?;
    transaction.execute(
        "INSERT INTO thread_time (account, tenant, day, ms)
         SELECT s.account, s.tenant, date(s.settled_at / 1000, 'unixepoch'), sum(s.thread_ms)
         FROM solves AS s WHERE s.settled_at IS NOT NULL AND s.thread_ms IS NOT NULL
         GROUP BY 1, 2, 3",
        [],
    )?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Applies what earlier shutdowns could not flush; the number of writes that were in conflict.
fn apply_spills(conn: &Connection, path: &Path, zone: &TimeZone) -> Result<u64, OpenError> {
    let mut conflicts = 0;
    let in_io = |source| OpenError::Io { path: path.to_owned(), source };
    for file in spill::waiting(path).map_err(in_io)? {
        let in_spill = |source| OpenError::Spill { path: file.clone(), source };
        let writes = spill::load(&file).map_err(in_spill)?;
        for chunk in writes.chunks(REPLAY_CHUNK) {
            conflicts += replay(conn, zone, chunk).map_err(|source| sqlite_error(path, source))?;
        }
        spill::set_aside(&file).map_err(in_spill)?;
        tracing::info!(file = %file.display(), writes = writes.len(), conflicts, "spill applied");
    }
    Ok(conflicts)
}

fn replay(conn: &Connection, zone: &TimeZone, writes: &[Write]) -> rusqlite::Result<u64> {
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let mut conflicts = 0;
    let mut next_solve = restore::next_solve(&transaction)?;
    for write in writes {
        match apply_apart(&transaction, zone, write)? {
            Applied::Done => next_solve = next_solve.max(restore::next_after(write)),
            // It was committed after all.
            Applied::DuplicateTask => {}
            Applied::Conflict(why) => {
                conflicts += 1;
                report_conflict(write, why);
            }
        }
    }
    restore::note_next_solve(&transaction, next_solve)?;
    transaction.commit()?;
    Ok(conflicts)
}

fn settle_zone(conn: &Connection, zone: &TimeZone, name: &str) -> rusqlite::Result<()> {
    if restore::zone_name(conn)?.as_deref() == Some(name) {
        return Ok(());
    }
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    restore::recount_usage(&transaction, zone, name)?;
    transaction.commit()
}

/// Tells damage from the rest.
fn sqlite_error(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
        Some(ErrorCode::ReadOnly) => OpenError::ReadOnly { path },
        // Without a code it is a row that no version of this program wrote.
        Some(ErrorCode::DatabaseCorrupt) | None => OpenError::Corrupt { path, source },
        Some(_) => OpenError::Sqlite { path, source },
    }
}
