//! Asks the provider about its accounts, in the background and never per request: free threads and
//! balance for the pre-check of admission.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::domain::account::AccountReport;
use crate::domain::ids::Name;
use crate::domain::outcome::Outcome;
use crate::gate::Gate;
use crate::record::metrics::{Operation, UpstreamResult};
use crate::wire::answer::{self, Polled};
use crate::wire::secret::Secret;

/// An answer about an account is a few dozen bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How often each account is asked about.
const EVERY: Duration = Duration::from_secs(15);

/// The HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the HTTP client for work in the background")]
pub struct ClientError(#[source] pub(super) reqwest::Error);

/// Asks about accounts, one after the other.
#[derive(Debug)]
pub struct AccountPoll {
    client: reqwest::Client,
    gate: Arc<Gate>,
    clock: Clock,
    config: Arc<ArcSwap<Config>>,
}

impl AccountPoll {
    /// Uses the addresses and keys of `config` as they are at each round.
    pub fn new(
        gate: Arc<Gate>,
        clock: Clock,
        config: Arc<ArcSwap<Config>>,
    ) -> Result<Self, ClientError> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .retry(reqwest::retry::never())
            .timeout(Duration::from_secs(10))
            .pool_idle_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| ClientError(error.without_url()))?;
        Ok(Self { client, gate, clock, config })
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut rounds = tokio::time::interval(EVERY);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = rounds.tick() => {}
            }
            if self.gate.policy().pass_through {
                continue;
            }
            let policy = self.gate.policy();
            let mut accounts: BTreeMap<Name, Secret> = self.config.load().account_keys.clone();
            accounts.retain(|name, _| policy.accounts.contains_key(name));
            for (account, key) in accounts {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.ask_about(&account, &key) => {}
                }
            }
        }
    }

    async fn ask_about(&self, account: &Name, key: &Secret) {
        let (may_ask, ours_before) = self.gate.account_state(account);
        if !may_ask {
            return;
        }
        if let Some(body) = self.ask(account, key, Operation::Threads).await
            && let Some((total, working)) = answer::threads(&body)
        {
            let (_, ours_after) = self.gate.account_state(account);
            let ours = ours_before.max(ours_after);
            self.gate.observe_account(account, AccountReport::Threads { total, working, ours });
        }
        let (may_ask, _) = self.gate.account_state(account);
        if may_ask
            && let Some(body) = self.ask(account, key, Operation::Balance).await
            && let Some(balance) = answer::balance(&body)
        {
            self.gate.observe_account(account, AccountReport::Balance(balance));
        }
    }

    async fn ask(&self, account: &Name, key: &Secret, operation: Operation) -> Option<Vec<u8>> {
        let action = if operation == Operation::Threads { "threadsinfo" } else { "getbalance" };
        let url = &self.config.load().upstream.url;
        let address =
            format!("{}://{}{}/res.php", url.scheme().as_str(), url.authority(), url.base_path());
        let form: String = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("key", key.expose()), ("action", action), ("json", "1")])
            .finish();
        let started = self.clock.mono();
        let request = self
            .client
            .post(address)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let answered = match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                read(response).await.map(|body| (status, body))
            }
            Err(error) => Err(error),
        };
        let took = self.clock.mono().since(started);
        let label = match &answered {
            Ok((status, body)) => self.judge(account, *status, body),
            Err(error) if error.is_timeout() => UpstreamResult::Timeout,
            Err(error) if error.is_connect() => UpstreamResult::ConnectError,
            Err(_) => UpstreamResult::HttpError,
        };
        self.gate.metrics().upstream_asked(account, operation, label, took);
        self.gate.observe_upstream(matches!(label, UpstreamResult::Ok | UpstreamResult::ApiError));
        if let Err(error) = &answered {
            let error = error.to_string();
            let error = error.split(" for url").next().unwrap_or_default();
            tracing::warn!(%account, action, error, "the provider does not answer about an account");
        }
        answered.ok().filter(|_| label == UpstreamResult::Ok).map(|(_, body)| body)
    }

    fn judge(&self, account: &Name, status: u16, body: &[u8]) -> UpstreamResult {
        match answer::polled(status, body, &BTreeMap::new()) {
            Polled::Trouble { outcome: Outcome::AccountError, code } => {
                tracing::error!(%account, code, "the provider refuses this account's key; it is left alone for 5 minutes");
                self.gate.observe_account(account, AccountReport::KeyRefused);
                UpstreamResult::ApiError
            }
            Polled::Trouble { .. } if !(200..300).contains(&status) => UpstreamResult::HttpError,
            Polled::Failed { .. } | Polled::ProxyTrouble { .. } => UpstreamResult::ApiError,
            Polled::Trouble { code, .. } if answer::is_code(&code) => UpstreamResult::ApiError,
            // Neither a code nor trouble with the way: figures, or something odd that yields none.
            Polled::Pending | Polled::Solved | Polled::Trouble { .. } => UpstreamResult::Ok,
        }
    }
}

/// Reads an answer up to its bound; what comes after that is left unread.
async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < ANSWER_BYTES_MAX {
        match response.chunk().await? {
            Some(chunk) => body.extend_from_slice(&chunk),
            None => break,
        }
    }
    Ok(body)
}
