//! Writes as JSON lines: what a shutdown could not flush, read back at the next start.
//!
//! The files are `<path>.unflushed-<n>.jsonl`, numbered upwards, so that their order does not depend
//! on a clock. One that was applied is renamed to `….applied` and never read again.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::beside;
use super::words::{kind_of, kind_word, state_of, state_word};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::{KeyHash, SolveId, TaskId};
use crate::domain::journal::{
    CreditRecord, KeyRecord, NotifiedRecord, SettleRecord, SolveRecord, TaskRecord, Write,
};
use crate::domain::money::Money;
use crate::domain::outcome::{Outcome, SliEvent};
use crate::domain::time::Wall;

/// Writes a new spill file, synced and whole or not there at all; its path.
pub(super) fn save(database: &Path, writes: &[Write]) -> io::Result<PathBuf> {
    let number = numbered(database)?.last().map_or(1, |(number, _)| number + 1);
    let path = beside(database, &format!(".unflushed-{number}.jsonl"));
    let unfinished = beside(&path, ".unfinished");
    let file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    let mut lines = BufWriter::new(file);
    for write in writes {
        serde_json::to_writer(&mut lines, &Line::from(write))?;
        lines.write_all(b"\n")?;
    }
    lines.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&unfinished, &path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(path)
}

/// The spill files that were not applied yet, oldest first.
pub(super) fn waiting(database: &Path) -> io::Result<Vec<PathBuf>> {
    let files = numbered(database)?.into_iter().map(|(_, path)| path);
    Ok(files.filter(|path| path.extension() == Some(OsStr::new("jsonl"))).collect())
}

/// Reads a spill file; `Err(InvalidData)` names the first line that is no write.
pub(super) fn load(path: &Path) -> io::Result<Vec<Write>> {
    let lines = BufReader::new(File::open(path)?).lines().enumerate();
    lines
        .map(|(index, text)| {
            let line: Option<Line> = serde_json::from_str(&text?).ok();
            line.and_then(Line::into_write).ok_or_else(|| {
                let why = format!("line {} is no write of this version", index + 1);
                io::Error::new(io::ErrorKind::InvalidData, why)
            })
        })
        .collect()
}

/// Takes a spill file out of the way of the next start.
pub(super) fn set_aside(path: &Path) -> io::Result<()> {
    fs::rename(path, beside(path, ".applied"))
}

/// Every spill file of that database, applied or not, by number.
fn numbered(database: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let (Some(directory), Some(name)) = (database.parent(), database.file_name()) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{}.unflushed-", name.to_string_lossy());
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name
            .strip_prefix(&prefix)
            .and_then(|rest| rest.trim_end_matches(".applied").strip_suffix(".jsonl"))
            .and_then(|number| number.parse().ok());
        if let Some(number) = number {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// A [`Write`] in JSON. Durations in milliseconds, as the tables keep them.
#[derive(Serialize, Deserialize)]
#[serde(tag = "write", rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Bind(TaskLine),
    Verdict(SolveLine),
    Ready { solve: u64 },
    Offer { solve: u64, offered: bool },
    Settle(SettleLine),
    Forget { solve: u64 },
    Credit(CreditLine),
    Key(KeyLine),
    Notified { about: String, at: i64 },
    Prune { before: i64 },
}

#[derive(Serialize, Deserialize)]
struct TaskLine {
    solve: u64,
    account: String,
    task_id: String,
    tenant: String,
    key_id: String,
    captcha_type: String,
    price: i64,
    submitted_at: i64,
    source_ip: Option<IpAddr>,
    page: Option<String>,
    pingback: bool,
    state: String,
    verdict: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct SolveLine {
    solve: u64,
    account: String,
    task_id: Option<String>,
    tenant: String,
    key_id: String,
    captcha_type: String,
    outcome: String,
    error_code: Option<String>,
    duration_ms: u64,
    price: i64,
    submitted_at: i64,
    ended_at: i64,
    source_ip: Option<IpAddr>,
    page: Option<String>,
    /// `true` is good.
    success_event: Option<bool>,
    latency_event: Option<bool>,
}

#[derive(Serialize, Deserialize)]
struct SettleLine {
    solve: u64,
    account: String,
    task_id: String,
    tenant: String,
    key_id: String,
    captcha_type: String,
    charged: Option<i64>,
    delivered: bool,
    at: i64,
    day: String,
    thread_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct CreditLine {
    cause: String,
    kind: String,
    tenant: String,
    key_id: Option<String>,
    amount: i64,
    at: i64,
    note: String,
}

#[derive(Serialize, Deserialize)]
struct KeyLine {
    sha256: String,
    tenant: String,
    key_id: String,
    created_at: i64,
    revoked_at: Option<i64>,
    settings: Option<String>,
    note: String,
}

impl From<&Write> for Line {
    fn from(write: &Write) -> Self {
        match write {
            Write::Bind(task) => Self::Bind(task.into()),
            Write::Verdict(solve) => Self::Verdict(solve.into()),
            Write::Ready(solve) => Self::Ready { solve: solve.0 },
            Write::Offer(solve, offered) => Self::Offer { solve: solve.0, offered: *offered },
            Write::Settle(settle) => Self::Settle(settle.into()),
            Write::Forget(solve) => Self::Forget { solve: solve.0 },
            Write::Credit(credit) => Self::Credit(credit.into()),
            Write::Key(key) => Self::Key(key.into()),
            Write::Notified(notified) => {
                Self::Notified { about: notified.about.clone(), at: notified.at.0 }
            }
            Write::Prune(before) => Self::Prune { before: before.0 },
        }
    }
}

impl Line {
    fn into_write(self) -> Option<Write> {
        Some(match self {
            Self::Bind(task) => Write::Bind(task.into_record()?),
            Self::Verdict(solve) => Write::Verdict(solve.into_record()?),
            Self::Ready { solve } => Write::Ready(SolveId(solve)),
            Self::Offer { solve, offered } => Write::Offer(SolveId(solve), offered),
            Self::Settle(settle) => Write::Settle(settle.into_record()?),
            Self::Forget { solve } => Write::Forget(SolveId(solve)),
            Self::Credit(credit) => Write::Credit(credit.into_record()?),
            Self::Key(key) => Write::Key(key.into_record()?),
            Self::Notified { about, at } => Write::Notified(NotifiedRecord { about, at: Wall(at) }),
            Self::Prune { before } => Write::Prune(Wall(before)),
        })
    }
}

impl From<&TaskRecord> for TaskLine {
    fn from(task: &TaskRecord) -> Self {
        Self {
            solve: task.solve.0,
            account: task.account.to_string(),
            task_id: task.task_id.to_string(),
            tenant: task.tenant.to_string(),
            key_id: task.key_id.to_string(),
            captcha_type: task.captcha_type.label().to_owned(),
            price: task.price.micros(),
            submitted_at: task.submitted_at.0,
            source_ip: task.source_ip,
            page: task.page.clone(),
            pingback: task.pingback,
            state: state_word(task.state).to_owned(),
            verdict: task.verdict.map(|outcome| outcome.label().to_owned()),
        }
    }
}

impl TaskLine {
    fn into_record(self) -> Option<TaskRecord> {
        Some(TaskRecord {
            solve: SolveId(self.solve),
            account: self.account.into(),
            task_id: TaskId::new(&self.task_id)?,
            tenant: self.tenant.into(),
            key_id: self.key_id.into(),
            captcha_type: CaptchaType::from_label(&self.captcha_type)?,
            price: Money::from_micros(self.price),
            submitted_at: Wall(self.submitted_at),
            source_ip: self.source_ip,
            page: self.page,
            pingback: self.pingback,
            state: state_of(&self.state)?,
            verdict: match self.verdict {
                Some(outcome) => Some(Outcome::from_label(&outcome)?),
                None => None,
            },
        })
    }
}

impl From<&SolveRecord> for SolveLine {
    fn from(solve: &SolveRecord) -> Self {
        let is_good = |event: SliEvent| event == SliEvent::Good;
        Self {
            solve: solve.solve.0,
            account: solve.account.to_string(),
            task_id: solve.task_id.as_ref().map(ToString::to_string),
            tenant: solve.tenant.to_string(),
            key_id: solve.key_id.to_string(),
            captcha_type: solve.captcha_type.label().to_owned(),
            outcome: solve.outcome.label().to_owned(),
            error_code: solve.error_code.clone(),
            duration_ms: millis(solve.duration),
            price: solve.price.micros(),
            submitted_at: solve.submitted_at.0,
            ended_at: solve.ended_at.0,
            source_ip: solve.source_ip,
            page: solve.page.clone(),
            success_event: solve.success_event.map(is_good),
            latency_event: solve.latency_event.map(is_good),
        }
    }
}

impl SolveLine {
    fn into_record(self) -> Option<SolveRecord> {
        let event = |good: bool| if good { SliEvent::Good } else { SliEvent::Bad };
        Some(SolveRecord {
            solve: SolveId(self.solve),
            account: self.account.into(),
            task_id: match self.task_id {
                Some(id) => Some(TaskId::new(&id)?),
                None => None,
            },
            tenant: self.tenant.into(),
            key_id: self.key_id.into(),
            captcha_type: CaptchaType::from_label(&self.captcha_type)?,
            outcome: Outcome::from_label(&self.outcome)?,
            error_code: self.error_code,
            duration: Duration::from_millis(self.duration_ms),
            price: Money::from_micros(self.price),
            submitted_at: Wall(self.submitted_at),
            ended_at: Wall(self.ended_at),
            source_ip: self.source_ip,
            page: self.page,
            success_event: self.success_event.map(event),
            latency_event: self.latency_event.map(event),
        })
    }
}

impl From<&SettleRecord> for SettleLine {
    fn from(settle: &SettleRecord) -> Self {
        Self {
            solve: settle.solve.0,
            account: settle.account.to_string(),
            task_id: settle.task_id.to_string(),
            tenant: settle.tenant.to_string(),
            key_id: settle.key_id.to_string(),
            captcha_type: settle.captcha_type.label().to_owned(),
            charged: settle.charged.map(Money::micros),
            delivered: settle.delivered,
            at: settle.at.0,
            day: settle.day.to_string(),
            thread_ms: millis(settle.thread_time),
        }
    }
}

impl SettleLine {
    fn into_record(self) -> Option<SettleRecord> {
        Some(SettleRecord {
            solve: SolveId(self.solve),
            account: self.account.into(),
            task_id: TaskId::new(&self.task_id)?,
            tenant: self.tenant.into(),
            key_id: self.key_id.into(),
            captcha_type: CaptchaType::from_label(&self.captcha_type)?,
            charged: self.charged.map(Money::from_micros),
            delivered: self.delivered,
            at: Wall(self.at),
            day: self.day.parse::<Date>().ok()?,
            thread_time: Duration::from_millis(self.thread_ms),
        })
    }
}

impl From<&CreditRecord> for CreditLine {
    fn from(credit: &CreditRecord) -> Self {
        Self {
            cause: credit.cause.clone(),
            kind: kind_word(credit.kind).to_owned(),
            tenant: credit.tenant.to_string(),
            key_id: credit.key_id.as_deref().map(ToOwned::to_owned),
            amount: credit.amount.micros(),
            at: credit.at.0,
            note: credit.note.clone(),
        }
    }
}

impl CreditLine {
    fn into_record(self) -> Option<CreditRecord> {
        Some(CreditRecord {
            cause: self.cause,
            kind: kind_of(&self.kind)?,
            tenant: self.tenant.into(),
            key_id: self.key_id.map(Into::into),
            amount: Money::from_micros(self.amount),
            at: Wall(self.at),
            note: self.note,
        })
    }
}

impl From<&KeyRecord> for KeyLine {
    fn from(key: &KeyRecord) -> Self {
        Self {
            sha256: hex::encode(key.hash.0),
            tenant: key.tenant.to_string(),
            key_id: key.key_id.to_string(),
            created_at: key.created_at.0,
            revoked_at: key.revoked_at.map(|at| at.0),
            settings: key.settings.clone(),
            note: key.note.clone(),
        }
    }
}

impl KeyLine {
    fn into_record(self) -> Option<KeyRecord> {
        let mut hash = [0; 32];
        hex::decode_to_slice(&self.sha256, &mut hash).ok()?;
        Some(KeyRecord {
            hash: KeyHash(hash),
            tenant: self.tenant.into(),
            key_id: self.key_id.into(),
            created_at: Wall(self.created_at),
            revoked_at: self.revoked_at.map(Wall),
            settings: self.settings,
            note: self.note,
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
