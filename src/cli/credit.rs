//! `solvegate credit`.

use std::process::ExitCode;

use http::Method;
use rand::RngExt;
use serde_json::json;

use super::admin::{AdminArgs, CommandError, by, encoded, finish, show};
use super::table::usd;
use super::tell;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  solvegate credit acme 25.00 --note 'ann: invoice 7' --id invoice-7\n  \
    solvegate credit acme -1.50 --adjust --note 'bob: counted twice'"
)]
pub(super) struct CreditArgs {
    /// Whose prepaid balance.
    tenant: String,
    /// US dollars, with up to six decimals.
    #[arg(allow_hyphen_values = true)]
    amount: String,
    /// The balance of this key instead of the tenant's.
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// A correction, which may be below zero.
    #[arg(long)]
    adjust: bool,
    /// Who does it and why; kept.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Credited once, however often it is sent with this id. Default: a new one each time.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(arguments: &CreditArgs) -> ExitCode {
    let id = arguments.id.clone().unwrap_or_else(|| {
        let random: u128 = rand::rng().random();
        format!("{random:032x}")
    });
    let code = finish(credit(arguments, &id));
    if code != ExitCode::SUCCESS && arguments.id.is_none() {
        tell(format_args!("to try again without crediting twice, add: --id {id}"));
    }
    code
}

async fn credit(arguments: &CreditArgs, id: &str) -> Result<(), CommandError> {
    let client = arguments.admin.client()?;
    let body = json!({
        "amount_usd": arguments.amount,
        "key": arguments.key,
        "kind": if arguments.adjust { "adjustment" } else { "credit" },
        "note": by(arguments.note.as_deref()),
    });
    let path = format!("/tenants/{}/credits", encoded(&arguments.tenant));
    let headers = [("idempotency-key", id)];
    let answer = client.send(Method::POST, &path, Some(&body), &headers).await?;
    if arguments.admin.json {
        return show(answer);
    }
    let credited = client.parse(&answer)?;
    let done = if credited["credited"] == true { "credited" } else { "credited before, not again" };
    let balance = usd(&credited["balance_usd"]);
    show(format!("{done}; the balance is {balance} USD"))
}
