//! What the provider and the record say, read when nothing runs any more.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};
use serde_json::Value;

use crate::http;
use crate::notes::{Note, number_in};

/// Everything that is reconciled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    pub(crate) notes: Vec<Note>,
    /// By the number of the submission: what the provider gave it each time it came.
    pub(crate) received: HashMap<usize, Vec<Option<String>>>,
    /// By the provider's id.
    pub(crate) tasks: HashMap<String, Task>,
    pub(crate) charges: Vec<Charge>,
    /// Rows of the log, and of the tasks that are not forgotten, by solve.
    pub(crate) logged: BTreeMap<i64, Solve>,
    pub(crate) remembered: BTreeMap<i64, Solve>,
    /// Openings, credits and adjustments, by tenant and (for a key's own wallet) key.
    pub(crate) credited: BTreeMap<(String, Option<String>), i64>,
    /// What `getbalance` said in the end, by tenant and key, and when.
    pub(crate) balances: Vec<(&'static str, &'static str, i64, &'static str)>,
}

/// A task as the provider has it.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) is_solved: bool,
    /// Times it gave the solution away.
    pub(crate) solved_answers: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) tenant: String,
    pub(crate) key_id: String,
    pub(crate) task_id: String,
    pub(crate) solve: i64,
    pub(crate) micros: i64,
    /// Milliseconds since the epoch.
    pub(crate) at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Solve {
    /// The number of the submission, by its page.
    pub(crate) number: Option<usize>,
    pub(crate) tenant: String,
    pub(crate) key_id: String,
    pub(crate) task_id: Option<String>,
    pub(crate) charged: i64,
    /// Of a task that is not forgotten.
    pub(crate) state: Option<String>,
}

/// The submissions in the provider's log, read step by step, since the log keeps only so many.
#[derive(Debug, Default)]
pub(crate) struct ProviderLog {
    last: u64,
    pub(crate) received: HashMap<usize, Vec<Option<String>>>,
}

impl ProviderLog {
    pub(crate) async fn read_on(&mut self, provider: SocketAddr) {
        let answer = http::get(provider, &format!("/-/log?since={}", self.last)).await;
        let entries: Vec<Value> = serde_json::from_str(&answer.text).unwrap();
        for entry in &entries {
            let seq = entry["seq"].as_u64().unwrap();
            assert_eq!(seq, self.last + 1, "the provider's log has a gap");
            self.last = seq;
            if matches!(entry["operation"].as_str(), Some("submit" | "solve")) {
                let body = entry["body"].as_str().unwrap_or_default();
                let text = format!("{} {body}", entry["query"].as_str().unwrap());
                let number = number_in(&text).expect("a submission without a mark");
                let task = entry["task"].as_str().map(str::to_owned);
                self.received.entry(number).or_default().push(task);
            }
        }
    }
}

pub(crate) async fn provider_tasks(provider: SocketAddr) -> HashMap<String, Task> {
    let answer = http::get(provider, "/-/tasks").await;
    let tasks: Vec<Value> = serde_json::from_str(&answer.text).unwrap();
    let task = |task: &Value| Task {
        is_solved: task["outcome"] == "solved",
        solved_answers: task["solved_answers"].as_u64().unwrap(),
    };
    tasks.iter().map(|value| (value["id"].as_str().unwrap().to_owned(), task(value))).collect()
}

impl Evidence {
    /// Reads the record; the sidecar may run.
    pub(crate) fn read_record(&mut self, path: &Path) {
        let conn = open(path);
        self.charges = rows(
            &conn,
            "SELECT tenant, key_id, task_id, solve, -amount, at FROM ledger WHERE kind = 'charge'",
            |row| {
                Ok(Charge {
                    tenant: row.get(0)?,
                    key_id: row.get(1)?,
                    task_id: row.get(2)?,
                    solve: row.get(3)?,
                    micros: row.get(4)?,
                    at: row.get(5)?,
                })
            },
        );
        self.logged = rows(
            &conn,
            "SELECT solve, tenant, key_id, task_id, page, charged, NULL FROM solves",
            solve,
        )
        .into_iter()
        .collect();
        self.remembered =
            rows(&conn, "SELECT solve, tenant, key_id, task_id, page, 0, state FROM tasks", solve)
                .into_iter()
                .collect();
        self.credited = rows(
            &conn,
            "SELECT tenant, key_id, sum(amount) FROM ledger WHERE kind <> 'charge' GROUP BY 1, 2",
            |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)),
        )
        .into_iter()
        .collect();
    }
}

/// Tasks whose money is not settled.
pub(crate) fn unsettled(path: &Path) -> i64 {
    open(path)
        .query_row("SELECT count(*) FROM tasks WHERE state <> 'settled'", [], |row| row.get(0))
        .unwrap()
}

fn solve(row: &Row<'_>) -> rusqlite::Result<(i64, Solve)> {
    let page: Option<String> = row.get(4)?;
    Ok((
        row.get(0)?,
        Solve {
            number: page.as_deref().and_then(number_in),
            tenant: row.get(1)?,
            key_id: row.get(2)?,
            task_id: row.get(3)?,
            charged: row.get(5)?,
            state: row.get(6)?,
        },
    ))
}

fn open(path: &Path) -> Connection {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    conn
}

fn rows<T>(
    conn: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    conn.prepare(sql).unwrap().query_map([], read).unwrap().collect::<Result<_, _>>().unwrap()
}
