//! `solvegate notify`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use http::Method;
use indicatif::ProgressBar;
use serde_json::Value;

use super::admin::{AdminArgs, CommandError, finish, show};
use super::table::{entries, table, word};

#[derive(Debug, Subcommand)]
pub(super) enum NotifyCommand {
    /// Post a test to every webhook of `notify`, and say how each took it.
    ///
    /// Exit code 1 when one of them did not take it, or when there is none.
    #[command(after_help = "Example:\n  solvegate notify test")]
    Test {
        #[command(flatten)]
        admin: AdminArgs,
    },
}

pub(super) fn run(command: &NotifyCommand) -> ExitCode {
    let NotifyCommand::Test { admin } = command;
    finish(test(admin))
}

async fn test(admin: &AdminArgs) -> Result<(), CommandError> {
    let client = admin.client()?;
    // Seen on a terminal only.
    let waiting = ProgressBar::new_spinner().with_message("a webhook has 5 s to answer");
    waiting.enable_steady_tick(Duration::from_millis(100));
    let answer = client.send(Method::POST, "/notify/test", None, &[]).await;
    waiting.finish_and_clear();
    let answer = answer?;
    let tested = client.parse(&answer)?;
    let webhooks = entries(&tested, "webhooks");
    if admin.json {
        show(&answer)?;
    } else if !webhooks.is_empty() {
        let rows = webhooks
            .iter()
            .map(|hook| vec![word(&hook["url"]), word(&hook["format"]), result(hook)]);
        show(table(&["WEBHOOK", "FORMAT", "RESULT"], rows.collect()))?;
    }
    if webhooks.is_empty() {
        return Err(CommandError::Usage("no webhook is configured: name one under `notify`"));
    }
    let failed = webhooks.iter().filter(|hook| hook["result"] != "ok").count();
    if failed > 0 {
        return Err(CommandError::NotNotified { failed, of: webhooks.len() });
    }
    Ok(())
}

/// `ok`, or why not.
fn result(webhook: &Value) -> String {
    let result = word(&webhook["result"]);
    let why = &webhook["error"];
    if why.is_null() { result } else { format!("{result}: {}", word(why)) }
}
