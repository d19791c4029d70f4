//! The record: a `SQLite` file, written by one thread in group commits.
//!
//! [`Store::send`] and [`Store::durable`] queue a [`Write`]; `writer` takes what is waiting, in order,
//! and commits it in one transaction. A file or disk that fails loses nothing: the group stays in
//! memory and is tried again until it fits, and [`Store::health`] says so meanwhile. What a shutdown
//! cannot flush goes to a spill file, which the next [`Store::open`] applies.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `open` | lock, checks and pragmas of the file |
//! | `schema` | the tables |
//! | `restore` | what is given back at start; days recounted after a change of time zone |
//! | `queue` | what waits, and the figures of [`Health`] |
//! | `writer` | the thread: group commit, retry, isolation of an impossible write, pruning |
//! | `apply` | one [`Write`] as SQL |
//! | `words` | domain values as the words of the tables, and back |
//! | `spill` | writes as JSON lines |
//! | `reader` | the read-only connection and the audit |
//! | `books` | what people ask: solves, usage, bills, thread time, the course of an SLO |

mod apply;
mod books;
mod open;
mod queue;
mod reader;
mod restore;
mod schema;
mod spill;
#[cfg(test)]
mod tests;
mod words;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::civil::Date;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::domain::journal::{Restored, Write};
use crate::domain::time::Mono;

pub use books::{BillRow, CreditRow, SolveFilter, ThreadTimeRow, UsageBy, UsageRow};
pub use open::OpenError;
pub use queue::Health;
pub use reader::{Charge, Reader, SolveRow, verify};

use queue::Shared;

/// The monotonic clock, for the age of what waits.
pub type MonoClock = Arc<dyn Fn() -> Mono + Send + Sync>;

/// How long a store that is dropped without [`Store::close`] tries to flush.
const DROP_DEADLINE: Duration = Duration::from_secs(2);

/// Where the record is and how it is kept.
#[derive(Clone)]
pub struct StoreOptions {
    /// The database. Beside it: `-wal` and `-shm` (`SQLite`'s own), `.lock`, and spill files.
    pub path: PathBuf,
    /// What a commit survives.
    pub durability: Durability,
    /// For the age of what waits.
    pub clock: MonoClock,
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("path", &self.path)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process at any instruction. After a power failure the file is consistent, and
    /// the last commits may be missing.
    Process,
    /// A power failure as well: every commit is synced.
    Power,
}

/// What became of a [`Store::durable`] write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It is in the record.
    Done,
    /// The task of a `Bind` is open already, or was charged; nothing was written.
    DuplicateTask,
    /// It contradicts the record (a second verdict, a second charge, a row that cannot be); nothing was
    /// written, and it is counted in [`Health::conflicts`].
    Conflict,
}

/// What could not be flushed before the deadline of [`Store::close`].
#[derive(Debug, thiserror::Error)]
#[error("{left} writes could not be flushed: {}", match spill {
    Some(spill) => format!("kept in `{}`, applied at the next start", spill.display()),
    None => "they are lost, since no spill file could be written either".to_owned(),
})]
pub struct Unflushed {
    /// How many.
    pub left: usize,
    /// Where they are; `None`: that failed too.
    pub spill: Option<PathBuf>,
}

/// What the gate asks of a record; [`Store`] says more of each. A simulation has one of its own.
#[expect(missing_docs, reason = "as in `Store`")]
pub trait Record: fmt::Debug + Send + Sync {
    fn send(&self, write: Write);
    fn durable(&self, write: Write) -> oneshot::Receiver<Committed>;
    fn health(&self) -> Health;
    fn is_accepting(&self) -> bool;
    fn close(&self, deadline: Duration) -> Result<(), Unflushed>;
}

/// The record, open for writing. One per file, in the whole machine.
pub struct Store {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    path: PathBuf,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the record, or creates it, and gives back what it holds. `today` and `time_zone_name` (an
    /// IANA name) say which day and month the totals are for.
    pub fn open(
        options: &StoreOptions,
        today: Date,
        time_zone_name: &str,
    ) -> Result<(Self, Restored), OpenError> {
        let (opened, restored) = open::open(options, today, time_zone_name)?;
        let path = opened.path.clone();
        let shared = Arc::new(Shared::new(Arc::clone(&options.clock), opened.lock));
        let size = writer::size_of(&path);
        shared.opened(opened.conflicts, size);
        if size > open::CHECKED_AT_START {
            check_meanwhile(&path, &shared);
        }
        let writer = writer::start(opened.conn, opened.zone, restored.next_solve, &shared, &path)
            .map_err(|source| OpenError::Io { path: path.clone(), source })?;
        Ok((Self { shared, writer: Mutex::new(Some(writer)), path }, restored))
    }

    /// Queues a write and returns at once.
    pub fn send(&self, write: Write) {
        self.shared.push(write, None);
    }

    /// Queues a write; the receiver resolves once it is committed. It errs only if the store is closed
    /// before that.
    pub fn durable(&self, write: Write) -> oneshot::Receiver<Committed> {
        let (ack, committed) = oneshot::channel();
        self.shared.push(write, Some(ack));
        committed
    }

    /// How the store is doing; cheap enough for the request path.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Whether new paid work may be admitted: nothing fails, nothing waits for long, and not too much does.
    pub fn is_accepting(&self) -> bool {
        self.shared.is_accepting()
    }

    /// Takes no more writes, flushes those that wait and stops the writer. What is left at the deadline
    /// goes to a spill file.
    pub fn close(&self, deadline: Duration) -> Result<(), Unflushed> {
        let (left, stopped) = self.shared.close(deadline);
        if stopped && let Some(writer) = self.writer.lock().take() {
            // A panic of the writer was reported by its own hook; what it held is in `left`.
            let _ = writer.join();
        }
        let closed = if left.is_empty() {
            Ok(())
        } else {
            let spill = spill::save(&self.path, &left)
                .inspect_err(|error| tracing::error!(%error, left = left.len(), "cannot spill"));
            Err(Unflushed { left: left.len(), spill: spill.ok() })
        };
        if stopped {
            self.shared.unlock();
        }
        closed
    }

    #[cfg(test)]
    fn on_writer(&self, hook: impl FnOnce(&rusqlite::Connection) + Send + 'static) {
        self.shared.hook(Box::new(hook));
    }
}

impl Record for Store {
    fn send(&self, write: Write) {
        self.send(write);
    }

    fn durable(&self, write: Write) -> oneshot::Receiver<Committed> {
        self.durable(write)
    }

    fn health(&self) -> Health {
        self.health()
    }

    fn is_accepting(&self) -> bool {
        self.is_accepting()
    }

    fn close(&self, deadline: Duration) -> Result<(), Unflushed> {
        self.close(deadline)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.close(DROP_DEADLINE) {
            tracing::error!(%error, "the store was dropped before it was flushed");
        }
    }
}

/// Checks a large file beside the writer. What is found stops admission, and nothing else.
fn check_meanwhile(path: &Path, shared: &Arc<Shared>) {
    let (path, shared) = (path.to_owned(), Arc::downgrade(shared));
    let check = move || {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let found = rusqlite::Connection::open_with_flags(&path, flags)
            .and_then(|conn| open::damage(&conn))
            .unwrap_or_else(|error| Some(error.to_string()));
        let (Some(what), Some(shared)) = (found, shared.upgrade()) else { return };
        tracing::error!(path = %path.display(), what, "the record is damaged; nothing new is accepted");
        shared.damaged(&what);
    };
    if let Err(error) = std::thread::Builder::new().name("store check".to_owned()).spawn(check) {
        tracing::warn!(%error, "the record is not checked for damage");
    }
}

/// `path` with something appended to its last part.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
