//! `solvegate usage`.

use std::process::ExitCode;

use super::admin::{AdminArgs, CommandError, encoded, finish, query, show};
use super::table::{entries, table, usd, word};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  solvegate usage acme --from 2026-10-01 --to 2026-10-31 --by key"
)]
pub(super) struct UsageArgs {
    /// Whose.
    tenant: String,
    /// The first day. Default: the first of the month.
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// The last day. Default: today.
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// What to add up by.
    #[arg(long, default_value = "type", value_parser = ["type", "key", "day"])]
    by: String,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(arguments: &UsageArgs) -> ExitCode {
    finish(usage(arguments))
}

async fn usage(arguments: &UsageArgs) -> Result<(), CommandError> {
    let client = arguments.admin.client()?;
    let parts = [
        ("from", arguments.from.as_deref()),
        ("to", arguments.to.as_deref()),
        ("by", Some(arguments.by.as_str())),
    ];
    let path = format!("/tenants/{}/usage{}", encoded(&arguments.tenant), query(&parts));
    let answer = client.get(&path).await?;
    if arguments.admin.json {
        return show(answer);
    }
    let usage = client.parse(&answer)?;
    let row = |name: String, solves, cost| vec![name, word(solves), usd(cost)];
    let mut rows: Vec<_> = entries(&usage, "rows")
        .iter()
        .map(|it| row(word(&it["name"]), &it["solves"], &it["cost_usd"]))
        .collect();
    rows.push(row("total".to_owned(), &usage["total_solves"], &usage["total_cost_usd"]));
    let header = arguments.by.to_uppercase();
    show(format!(
        "{}, charged solves from {} to {}\n{}",
        arguments.tenant,
        word(&usage["from"]),
        word(&usage["to"]),
        table(&[&header, "SOLVES", "COST USD"], rows)
    ))
}
