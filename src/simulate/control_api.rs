//! The control handle as HTTP and JSON, under `/-/` on the provider's own port.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::account::AccountChange;
use super::answer::Reply;
use super::control::{Control, Down};
use super::fault::FaultRule;
use super::http::Request;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DownRequest {
    mode: Down,
    r#for: Option<String>,
}

/// Answers one control request.
pub(super) async fn answer(control: &Control, request: &Request) -> Reply {
    route(control, request).await.unwrap_or_else(|refusal| refusal)
}

async fn route(control: &Control, request: &Request) -> Result<Reply, Reply> {
    let path = request.path().strip_prefix("/-/").unwrap_or_default();
    match (request.method(), path) {
        ("GET", "faults") => Ok(show(&control.faults())),
        ("POST", "faults") => {
            control.add_faults(many::<FaultRule>(request)?);
            Ok(show(&control.faults()))
        }
        ("DELETE", "faults") => {
            control.clear_faults();
            Ok(done())
        }
        ("POST", "down") => down(control, request).await,
        ("POST", "up") => match control.up().await {
            Ok(()) => Ok(done()),
            Err(error) => Err(refuse(503, &format!("cannot listen again: {error}"))),
        },
        ("GET", "log") => {
            let form = request.form();
            let since = form.get("since").unwrap_or("0").parse();
            Ok(show(&control.log(since.map_err(|_| refuse(400, "since= is no number"))?)))
        }
        ("GET", "tasks") => Ok(show(&control.tasks())),
        ("GET", "accounts") => Ok(show(&control.accounts())),
        ("POST", "accounts") => {
            for change in many::<AccountChange>(request)? {
                control.change_account(&change);
            }
            Ok(show(&control.accounts()))
        }
        ("POST", "errors") => {
            control.set_errors(options(request)?);
            Ok(done())
        }
        ("POST", "solve-times") => {
            control.set_solve_times(options(request)?);
            Ok(done())
        }
        ("POST", "reset") => {
            control.reset();
            Ok(done())
        }
        _ => Err(refuse(404, "no such control; see `solvegate simulate-provider --help`")),
    }
}

async fn down(control: &Control, request: &Request) -> Result<Reply, Reply> {
    let wanted = if request.body.is_empty() { DownRequest::default() } else { parse(request)? };
    let time = wanted.r#for.map(|text| humantime::parse_duration(&text)).transpose();
    match time.map_err(|error| refuse(400, &format!("for: {error}")))? {
        Some(time) => control.down_for(wanted.mode, time).await,
        None if wanted.mode == Down::Refuse => {
            return Err(refuse(
                400,
                "mode refuse closes this port too: say for how long with `for`",
            ));
        }
        None => control.down(wanted.mode).await,
    }
    Ok(done())
}

fn parse<T: DeserializeOwned>(request: &Request) -> Result<T, Reply> {
    serde_json::from_slice(&request.body).map_err(|error| refuse(400, &error.to_string()))
}

fn many<T: DeserializeOwned>(request: &Request) -> Result<Vec<T>, Reply> {
    // Told apart by the first character, because an untagged enum forgets what was wrong.
    if request.body.trim_ascii_start().starts_with(b"[") {
        parse::<Vec<T>>(request)
    } else {
        parse::<T>(request).map(|one| vec![one])
    }
}

/// Texts as on the command line.
fn options<T: FromStr<Err: std::fmt::Display>>(request: &Request) -> Result<Vec<T>, Reply> {
    let texts = many::<String>(request)?;
    let parsed: Result<Vec<T>, _> = texts.iter().map(|text| text.parse::<T>()).collect();
    parsed.map_err(|error| refuse(400, &error.to_string()))
}

fn show(value: &impl Serialize) -> Reply {
    match serde_json::to_string(value) {
        Ok(json) => Reply::json(200, json),
        Err(error) => refuse(500, &error.to_string()),
    }
}

fn done() -> Reply {
    Reply::json(200, json!({ "status": "ok" }).to_string())
}

fn refuse(status: u16, error: &str) -> Reply {
    Reply::json(status, json!({ "error": error }).to_string())
}
