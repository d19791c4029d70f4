//! `solvegate slo`.

use std::process::ExitCode;

use serde_json::Value;

use super::admin::{AdminArgs, CommandError, finish, show};
use super::table::{decimals, entries, percent, table, word};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  solvegate slo\n  solvegate slo --json | jq '.slos[] | select(.status != \"healthy\")'"
)]
pub(super) struct SloArgs {
    /// Also the types without an event in their window.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

const HEADER: [&str; 11] = [
    "TYPE",
    "SLO",
    "STATUS",
    "OBJECTIVE %",
    "CURRENT %",
    "EVENTS",
    "FAILURES",
    "BUDGET",
    "LEFT",
    "LEFT %",
    "BURN RATE",
];

pub(super) fn run(arguments: &SloArgs) -> ExitCode {
    finish(report(arguments))
}

async fn report(arguments: &SloArgs) -> Result<(), CommandError> {
    let client = arguments.admin.client()?;
    let answer = client.get("/slo").await?;
    if arguments.admin.json {
        return show(answer);
    }
    let slos = client.parse(&answer)?;
    let shown = |slo: &&Value| arguments.all || slo["total_events"] != 0;
    let rows: Vec<_> = entries(&slos, "slos").iter().filter(shown).map(row).collect();
    if rows.is_empty() {
        return show("no captcha type has an event in its window (see them all with --all)");
    }
    show(table(&HEADER, rows))
}

fn row(slo: &Value) -> Vec<String> {
    vec![
        word(&slo["captcha_type"]),
        word(&slo["slo"]),
        word(&slo["status"]),
        percent(&slo["objective"], 2),
        percent(&slo["current_rate"], 2),
        word(&slo["total_events"]),
        word(&slo["failures"]),
        decimals(&slo["budget_total"], 1),
        decimals(&slo["budget_remaining"], 1),
        percent(&slo["budget_remaining_ratio"], 1),
        decimals(&slo["burn_rate"], 2),
    ]
}
