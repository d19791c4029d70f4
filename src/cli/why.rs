//! `solvegate why`.

use std::process::ExitCode;

use serde_json::Value;

use super::admin::{AdminArgs, CommandError, encoded, finish, show};
use super::table::{entries, word};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  solvegate why acme")]
pub(super) struct WhyArgs {
    /// Who was refused.
    tenant: String,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(arguments: &WhyArgs) -> ExitCode {
    finish(why(arguments))
}

async fn why(arguments: &WhyArgs) -> Result<(), CommandError> {
    let client = arguments.admin.client()?;
    let answer = client.get(&format!("/tenants/{}/rejections", encoded(&arguments.tenant))).await?;
    if arguments.admin.json {
        return show(answer);
    }
    let refused = client.parse(&answer)?;
    let told: Vec<_> = entries(&refused, "rejections").iter().map(told).collect();
    if told.is_empty() {
        return show(format!("{} was not refused anything since the start", arguments.tenant));
    }
    show(told.join("\n"))
}

/// One refusal in two lines: what, how often and when; then why, and until when.
fn told(refused: &Value) -> String {
    let captcha_type =
        refused["captcha_type"].as_str().map_or_else(String::new, |it| format!(" for {it}"));
    let shadow = if refused["mode"] == "shadow" { " (not enforced, let through)" } else { "" };
    let times = if refused["count"] == 1 {
        "once".to_owned()
    } else {
        format!("{} times since {}", word(&refused["count"]), word(&refused["first_at"]))
    };
    let retry = refused["retry_at"]
        .as_str()
        .map_or_else(String::new, |at| format!(" (free again at {at})"));
    format!(
        "{}  {}, key {}{captcha_type}: {times}{shadow}\n    {}{retry}",
        word(&refused["last_at"]),
        word(&refused["reason"]),
        word(&refused["key"]),
        word(&refused["message"]),
    )
}
