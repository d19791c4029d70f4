//! `solvegate bill`.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::admin::{AdminArgs, AdminClient, CommandError, encoded, finish, query, show};
use super::table::{entries, percent, table, usd, word};
use super::tell;
use crate::clock::Clock;
use crate::domain::time::Mono;

/// Whoever waits longer sees that something happens.
const SHOW_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  solvegate bill --month 2026-10\n  \
    solvegate bill --month 2026-10 --tenant acme --format csv --output acme-2026-10.csv\n\n\
    A CSV is checked against the sidecar's manifest, which goes to standard error; its sha256 is \
    that of `sha256sum FILE`.")]
pub(super) struct BillArgs {
    /// Like 2026-10.
    #[arg(long, value_name = "MONTH")]
    month: String,
    /// Whose. Default: the totals of all tenants.
    #[arg(long)]
    tenant: Option<String>,
    /// `table` and `json` add up; `csv` and `jsonl` have a line for each charge of one tenant.
    #[arg(long, default_value = "table", value_parser = ["csv", "jsonl", "json", "table"])]
    format: String,
    /// Write to this file, which stands there whole or not at all.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(arguments: &BillArgs) -> ExitCode {
    finish(bill(arguments))
}

async fn bill(arguments: &BillArgs) -> Result<(), CommandError> {
    let client = arguments.admin.client()?;
    let month = Some(arguments.month.as_str());
    let format = if arguments.admin.json { "json" } else { &arguments.format };
    let path = arguments.tenant.as_deref().map(|it| format!("/tenants/{}/billing", encoded(it)));
    if let "csv" | "jsonl" = format {
        let Some(path) = path else {
            return Err(CommandError::Usage("a bill line by line is one tenant's: add --tenant"));
        };
        return lines(&client, arguments, (&path, format)).await;
    }
    let answer = match path {
        Some(path) => {
            client.get(&(path + &query(&[("month", month), ("format", Some("json"))]))).await?
        }
        None => client.get(&format!("/billing{}", query(&[("month", month)]))).await?,
    };
    let text = match (format, &arguments.tenant) {
        ("json", _) => answer,
        (_, Some(_)) => of_tenant(&client.parse(&answer)?),
        (_, None) => of_all(&client.parse(&answer)?),
    };
    match &arguments.output {
        None => show(text),
        Some(path) => {
            let mut file = new_file(path)?;
            writeln!(file, "{}", text.trim_end())
                .map_err(|source| CommandError::Write { path: path.clone(), source })?;
            keep(file, path)
        }
    }
}

/// Passes a bill on piece by piece, and checks it against its manifest at the end.
async fn lines(
    client: &AdminClient,
    arguments: &BillArgs,
    (path, format): (&str, &str),
) -> Result<(), CommandError> {
    let of = |format| {
        format!("{path}{}", query(&[("month", Some(&arguments.month)), ("format", Some(format))]))
    };
    let mut response = client.open(&of(format)).await?;
    let mut file = arguments.output.as_deref().map(new_file).transpose()?;
    let progress = Progress::start();
    let (mut hash, mut count) = (Sha256::new(), 0);
    while let Some(chunk) = response.chunk().await.map_err(|_| CommandError::BrokeOff)? {
        hash.update(&chunk);
        count += memchr::memchr_iter(b'\n', &chunk).count() as u64;
        progress.at(count);
        match (&mut file, &arguments.output) {
            (Some(file), Some(path)) => file
                .write_all(&chunk)
                .map_err(|source| CommandError::Write { path: path.clone(), source })?,
            _ => io::stdout().write_all(&chunk)?,
        }
    }
    io::stdout().flush()?;
    progress.end();
    if format == "csv" {
        let manifest = client.get(&of("manifest")).await?;
        let sha256 = hex::encode(hash.finalize());
        if client.parse(&manifest)?["sha256"] != sha256.as_str() {
            let text = "the bill changed while it was read, as that of a running month does: \
                        ask again";
            return Err(CommandError::Usage(text));
        }
        tell(manifest);
    }
    match (file, &arguments.output) {
        (Some(file), Some(path)) => keep(file, path),
        _ => Ok(()),
    }
}

/// What a person sees who waits; nothing where nobody watches.
struct Progress {
    bar: ProgressBar,
    clock: Clock,
    started: Mono,
}

impl Progress {
    fn start() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} lines, {elapsed}") {
            bar.set_style(style);
        }
        let clock = Clock::start();
        Self { bar, started: clock.now().mono, clock }
    }

    fn at(&self, count: u64) {
        self.bar.set_position(count);
        let is_long = self.clock.now().mono.since(self.started) > SHOW_AFTER;
        if is_long && self.bar.is_hidden() && io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn new_file(path: &Path) -> Result<tempfile::NamedTempFile, CommandError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    tempfile::NamedTempFile::new_in(folder.unwrap_or_else(|| Path::new(".")))
        .map_err(|source| CommandError::Write { path: path.to_owned(), source })
}

fn keep(file: tempfile::NamedTempFile, path: &Path) -> Result<(), CommandError> {
    let kept = file.persist(path).map_err(|error| error.error);
    kept.map(|_| ()).map_err(|source| CommandError::Write { path: path.to_owned(), source })
}

fn totals(rows: &[Value]) -> Vec<Vec<String>> {
    let row = |it: &Value| vec![word(&it["name"]), word(&it["solves"]), usd(&it["cost_usd"])];
    rows.iter().map(row).collect()
}

fn with_sum(value: &Value, name: &str) -> Vec<Vec<String>> {
    let mut rows = totals(entries(value, name));
    rows.push(vec!["total".to_owned(), word(&value["solves"]), usd(&value["cost_usd"])]);
    rows
}

fn of_tenant(bill: &Value) -> String {
    let head = format!("{}, {}", word(&bill["tenant"]), word(&bill["month"]));
    let parts = [("TYPE", "by_type"), ("KEY", "by_key"), ("DAY", "by_day")];
    let tables =
        parts.map(|(header, name)| table(&[header, "SOLVES", "COST USD"], with_sum(bill, name)));
    format!("{head}\n\n{}", tables.join("\n\n"))
}

fn of_all(month: &Value) -> String {
    let tenants = table(&["TENANT", "SOLVES", "COST USD"], with_sum(month, "tenants"));
    let mut text = format!("{}\n\n{tenants}", word(&month["month"]));
    for plan in entries(month, "plans") {
        let share = |it: &Value| {
            let seconds = it["thread_seconds"].as_f64().unwrap_or_default();
            vec![word(&it["tenant"]), format!("{seconds:.0}"), usd(&it["cost_usd"])]
        };
        let mut rows: Vec<_> = entries(plan, "tenants").iter().map(share).collect();
        rows.push(vec!["idle".to_owned(), String::new(), usd(&plan["idle_cost_usd"])]);
        let shares = table(&["TENANT", "THREAD S", "PLAN COST USD"], rows);
        let _ = write!(
            text,
            "\n\nPlan of account {}: {} USD for {} threads, {} % used\n{shares}",
            word(&plan["account"]),
            usd(&plan["monthly_cost_usd"]),
            word(&plan["threads"]),
            percent(&plan["used_ratio"], 1),
        );
    }
    text
}
