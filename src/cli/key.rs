//! `solvegate key`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::admin::{AdminArgs, AdminClient, CommandError, by, encoded, finish, query, show};
use super::table::{entries, table, word};
use super::tell;
use crate::clock::Clock;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key. It is printed once and kept as a hash only.
    ///
    /// The key goes to standard output, everything else to standard error.
    #[command(after_help = "Example:\n  solvegate key new acme crawler \
        --settings '{\"rate_per_minute\": 5, \"allow_types\": [\"turnstile\"]}' --note 'ann: crawler'")]
    New {
        #[command(flatten)]
        which: Which,
        /// What holds for it, as JSON in the words of a key in the config.
        #[arg(long, value_name = "JSON", default_value = "{}")]
        settings: String,
        #[command(flatten)]
        how: How,
    },
    /// List a tenant's keys, revoked ones included.
    #[command(after_help = "Example:\n  solvegate key list acme")]
    List {
        /// Whose.
        tenant: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Give a key a new secret; the old one stays good for `--overlap`.
    #[command(
        after_help = "Example:\n  solvegate key reroll acme prod --overlap 1h --note 'ann: yearly'"
    )]
    Reroll {
        #[command(flatten)]
        which: Which,
        /// How long the old secret stays good, up to 30d.
        #[arg(long, value_name = "TIME", default_value = "0s")]
        overlap: String,
        #[command(flatten)]
        how: How,
    },
    /// Take a key back: it is refused from now on, the tenant's other keys are not.
    #[command(after_help = "Example:\n  solvegate key revoke acme crawler --note 'bob: leaked'")]
    Revoke {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Whose.
    tenant: String,
    /// The key's id, unique within the tenant.
    id: String,
}

#[derive(Debug, Args)]
pub(super) struct How {
    /// Who does it and why; kept.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(command: &KeyCommand) -> ExitCode {
    finish(async {
        match command {
            KeyCommand::New { which, settings, how } => {
                let settings: Value = serde_json::from_str(settings)
                    .map_err(|_| CommandError::Usage("--settings must be JSON"))?;
                let body = json!({
                    "id": which.id, "settings": settings, "note": by(how.note.as_deref()),
                });
                let path = format!("/tenants/{}/keys", encoded(&which.tenant));
                new_secret(&how.admin, &path, &body).await
            }
            KeyCommand::Reroll { which, overlap, how } => {
                let body = json!({ "overlap": overlap, "note": by(how.note.as_deref()) });
                new_secret(&how.admin, &format!("{}/reroll", path(which)), &body).await
            }
            KeyCommand::List { tenant, admin } => list(tenant, admin).await,
            KeyCommand::Revoke { which, how } => {
                let note = by(how.note.as_deref());
                let path = format!("{}{}", path(which), query(&[("note", Some(&note))]));
                let client = how.admin.client()?;
                let answer = client.send(Method::DELETE, &path, None, &[]).await?;
                if how.admin.json {
                    return show(answer);
                }
                show(format!("key {} of tenant {} is refused from now on", which.id, which.tenant))
            }
        }
    })
}

fn path(which: &Which) -> String {
    format!("/tenants/{}/keys/{}", encoded(&which.tenant), encoded(&which.id))
}

async fn new_secret(admin: &AdminArgs, path: &str, body: &Value) -> Result<(), CommandError> {
    let client: AdminClient = admin.client()?;
    let answer = client.send(Method::POST, path, Some(body), &[]).await?;
    let shown = if admin.json {
        show(answer)
    } else {
        tell("The key is shown this once. It works from now on.");
        show(word(&client.parse(&answer)?["key"]))
    };
    match shown {
        Err(CommandError::Output(source)) => Err(CommandError::KeyUnread(source)),
        shown => shown,
    }
}

async fn list(tenant: &str, admin: &AdminArgs) -> Result<(), CommandError> {
    let client = admin.client()?;
    let answer = client.get(&format!("/tenants/{}/keys", encoded(tenant))).await?;
    if admin.json {
        return show(answer);
    }
    let keys = client.parse(&answer)?;
    let now = Timestamp::from_millisecond(Clock::start().now().wall.0).unwrap_or_default();
    let rows = entries(&keys, "keys").iter().map(|key| {
        let mut row: Vec<_> = ["id", "source", "state"].map(|name| word(&key[name])).into();
        row.extend([secrets(key, now), word(&key["created_at"]), word(&key["note"])]);
        row
    });
    show(table(&["KEY", "FROM", "STATE", "SECRETS", "MADE", "NOTE"], rows.collect()))
}

/// `1`, or during a reroll's overlap `1, 1 more until 2026-11-21T12:40:00Z`.
fn secrets(key: &Value, now: Timestamp) -> String {
    let (mut good, mut ending) = (0, Vec::new());
    for secret in entries(key, "secrets") {
        match secret["revoked_at"].as_str().map(str::parse::<Timestamp>) {
            None => good += 1,
            Some(Ok(end)) if end > now => ending.push(end),
            Some(_) => {}
        }
    }
    match ending.iter().max() {
        Some(last) if good > 0 => format!("{good}, {} more until {last:.0}", ending.len()),
        // Of a revoked key, after the clock went back.
        _ => good.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_end_are_named_with_their_end() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let shown = |ends: &[Option<&str>]| {
            let list: Vec<_> = ends.iter().map(|end| json!({ "revoked_at": end })).collect();
            secrets(&json!({ "secrets": list }), now)
        };
        let (past, future) = (Some("2026-11-21T11:59:59.5Z"), Some("2026-11-21T12:40:00.25Z"));

        assert_eq!(shown(&[None]), "1");
        assert_eq!(shown(&[past, future, None]), "1, 1 more until 2026-11-21T12:40:00Z");
        assert_eq!(shown(&[past, future]), "0");
    }
}
