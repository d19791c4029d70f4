//! `solvegate why`.

use std::process::ExitCode;

use serde_json::Value;

use super::admin::{AdminArgs, CommandError, encoded, finish, show};
use super::table::{entries, word};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  solvegate why acme\n  solvegate why req:jpdkchlbmaeniooe")]
pub(super) struct WhyArgs {
    /// A tenant, or the X-Solvegate-Request-Id of one refusal.
    #[arg(value_name = "TENANT|ID")]
    whom: String,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(arguments: &WhyArgs) -> ExitCode {
    finish(why(arguments))
}

async fn why(arguments: &WhyArgs) -> Result<(), CommandError> {
    let client = arguments.admin.client()?;
    // No name of a tenant holds a colon.
    if arguments.whom.contains(':') {
        let answer = client.get(&format!("/rejections/{}", encoded(&arguments.whom))).await?;
        return show(if arguments.admin.json { answer } else { one(&client.parse(&answer)?) });
    }
    let answer = client.get(&format!("/tenants/{}/rejections", encoded(&arguments.whom))).await?;
    if arguments.admin.json {
        return show(answer);
    }
    let refused = client.parse(&answer)?;
    let told: Vec<_> = entries(&refused, "rejections").iter().map(told).collect();
    if told.is_empty() {
        return show(format!("{} was not refused anything since the start", arguments.whom));
    }
    show(told.join("\n"))
}

/// One refusal in two lines: of whom and what for; then why, and until when.
fn one(refused: &Value) -> String {
    let of = match refused["tenant"].as_str() {
        Some(tenant) => format!("tenant {tenant}, key {}", word(&refused["key"])),
        None => "no tenant that the request names".to_owned(),
    };
    format!(
        "{}  {}, {of}{}\n    {}{}",
        word(&refused["at"]),
        word(&refused["reason"]),
        for_type(refused),
        word(&refused["message"]),
        until(refused),
    )
}

fn for_type(refused: &Value) -> String {
    refused["captcha_type"].as_str().map_or_else(String::new, |it| format!(" for {it}"))
}

fn until(refused: &Value) -> String {
    refused["retry_at"].as_str().map_or_else(String::new, |at| format!(" (try again at {at})"))
}

/// A tenant's refusals of one kind in two lines: what, how often and when; then why, and until when.
fn told(refused: &Value) -> String {
    let shadow = if refused["mode"] == "shadow" { " (not enforced, let through)" } else { "" };
    let times = if refused["count"] == 1 {
        "once".to_owned()
    } else {
        format!("{} times since {}", word(&refused["count"]), word(&refused["first_at"]))
    };
    format!(
        "{}  {}, key {}{}: {times}{shadow}\n    {}{}",
        word(&refused["last_at"]),
        word(&refused["reason"]),
        word(&refused["key"]),
        for_type(refused),
        word(&refused["message"]),
        until(refused),
    )
}
