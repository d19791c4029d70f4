//! `solvegate solves`.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::admin::{AdminArgs, AdminClient, CommandError, finish, query, show};
use super::table::{decimals, entries, table, usd, word};

const HEADER: [&str; 9] =
    ["SUBMITTED", "TENANT", "KEY", "TYPE", "OUTCOME", "TOOK S", "COST USD", "TASK", "ERROR"];

/// Between two looks of `--follow`.
const EVERY: Duration = Duration::from_secs(1);

/// The most that one page of the API holds.
const PAGE_MAX: &str = "1000";

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  solvegate solves --tenant acme --outcome timeout --from 2026-10-31\n  \
    solvegate solves --follow"
)]
pub(super) struct SolvesArgs {
    /// Whose.
    #[arg(long)]
    tenant: Option<String>,
    /// Of that captcha type, like turnstile.
    #[arg(long = "type", value_name = "TYPE")]
    captcha_type: Option<String>,
    /// That ended so: solved, unsolvable, timeout, …
    #[arg(long)]
    outcome: Option<String>,
    /// Submitted then or later: 2026-10-31 or 2026-10-31T15:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Submitted before that.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// How many, the newest first; up to 1000.
    #[arg(long, default_value = "20")]
    limit: u32,
    /// Go on and print each solve as it ends, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(arguments: &SolvesArgs) -> ExitCode {
    finish(solves(arguments))
}

async fn solves(arguments: &SolvesArgs) -> Result<(), CommandError> {
    let client = arguments.admin.client()?;
    if arguments.follow {
        return follow(&client, arguments).await;
    }
    let answer = client.get(&path(arguments, &arguments.limit.to_string())).await?;
    if arguments.admin.json {
        return show(answer);
    }
    let page = client.parse(&answer)?;
    let rows: Vec<_> = entries(&page, "solves").iter().map(row).collect();
    if rows.is_empty() {
        return show("no solve that ended is like that");
    }
    show(table(&HEADER, rows))
}

fn path(arguments: &SolvesArgs, limit: &str) -> String {
    let parts = [
        ("tenant", arguments.tenant.as_deref()),
        ("type", arguments.captcha_type.as_deref()),
        ("outcome", arguments.outcome.as_deref()),
        ("from", arguments.from.as_deref()),
        ("to", arguments.to.as_deref()),
        ("limit", Some(limit)),
    ];
    format!("/solves{}", query(&parts))
}

fn row(solve: &Value) -> Vec<String> {
    vec![
        word(&solve["submitted_at"]),
        word(&solve["tenant"]),
        word(&solve["key"]),
        word(&solve["captcha_type"]),
        word(&solve["outcome"]),
        decimals(&solve["duration_seconds"], 1),
        usd(&solve["charged_usd"]),
        word(&solve["task_id"]),
        word(&solve["error_code"]),
    ]
}

/// Prints what was not on the page before. Solves are found by when they were submitted and appear when
/// they end, so that each page is read from its start.
async fn follow(client: &AdminClient, arguments: &SolvesArgs) -> Result<(), CommandError> {
    if !arguments.admin.json {
        show(line(&HEADER.map(str::to_owned)))?;
    }
    let path = path(arguments, PAGE_MAX);
    let page = client.value(&path).await?;
    let wanted = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let mut seen: HashSet<_> =
        entries(&page, "solves").iter().skip(wanted).filter_map(id).collect();
    print_new(arguments, &page, &seen)?;
    seen.extend(entries(&page, "solves").iter().filter_map(id));
    loop {
        tokio::time::sleep(EVERY).await;
        let page = client.value(&path).await?;
        print_new(arguments, &page, &seen)?;
        seen = entries(&page, "solves").iter().filter_map(id).collect();
    }
}

fn id(solve: &Value) -> Option<u64> {
    solve["solve"].as_u64()
}

fn print_new(
    arguments: &SolvesArgs,
    page: &Value,
    seen: &HashSet<u64>,
) -> Result<(), CommandError> {
    let is_new = |solve: &&Value| id(solve).is_some_and(|id| !seen.contains(&id));
    for solve in entries(page, "solves").iter().rev().filter(is_new) {
        if arguments.admin.json {
            show(solve.to_string())?;
        } else {
            show(line(&row(solve)))?;
        }
    }
    Ok(())
}

/// A row whose widths do not depend on the rows that follow.
fn line(cells: &[String]) -> String {
    const WIDTHS: [usize; 8] = [24, 12, 10, 16, 14, 7, 10, 12];
    let mut line = String::new();
    for (index, cell) in cells.iter().enumerate() {
        let width = WIDTHS.get(index).copied().unwrap_or_default();
        let _ = match index {
            5 | 6 => write!(line, "{cell:>width$}  "),
            _ => write!(line, "{cell:<width$}  "),
        };
    }
    line
}
