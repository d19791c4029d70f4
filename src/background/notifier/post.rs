//! Posting: one notice after the other to each webhook, tried again where that may help.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::account_poll::ClientError;
use super::body;
use super::queue::Queue;
use crate::config::{Config, Notify};
use crate::domain::notice::Notice;
use crate::gate::Gate;
use crate::keyring::Tested;
use crate::record::metrics::Notified;

/// For the whole of one try.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Waits before further tries.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// A webhook that asks for more time gets this much at most.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Where webhooks are posted to.
#[derive(Debug, Clone)]
pub struct Webhooks {
    client: reqwest::Client,
    pub(super) gate: Arc<Gate>,
    /// Where tests run.
    pub tasks: TaskTracker,
}

/// A try that failed. The text holds no URL.
struct Trouble {
    why: String,
    /// How long to wait before another one; `None`: it would not help.
    again: Option<Duration>,
}

impl Webhooks {
    /// Counts in the gate's metrics.
    pub fn new(gate: Arc<Gate>, tasks: TaskTracker) -> Result<Self, ClientError> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .retry(reqwest::retry::never())
            .timeout(TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| ClientError(error.without_url()))?;
        Ok(Self { client, gate, tasks })
    }

    /// Posts what comes into the queue until it is closed and empty, or `end`.
    pub(super) async fn work(self, webhook: Notify, queue: Arc<Queue>, end: CancellationToken) {
        while let Some((notice, record)) = queue.next().await {
            let posted = tokio::select! {
                posted = self.deliver(&webhook, body::of_notice(&notice, webhook.format)) => posted,
                () = end.cancelled() => {
                    self.dropped(&notice);
                    break;
                }
            };
            let kind = Some(notice.topic.kind());
            match posted {
                Ok(()) => {
                    self.gate.metrics().notified(kind, Notified::Ok);
                    self.gate.notified(vec![record]);
                }
                Err(why) => {
                    self.gate.metrics().notified(kind, Notified::Failed);
                    tracing::warn!(webhook = webhook.url.masked(), why, "not notified: {notice}");
                }
            }
        }
        queue.drain().iter().for_each(|(notice, _)| self.dropped(notice));
    }

    /// A notice is given up.
    pub(super) fn dropped(&self, notice: &Notice) {
        self.gate.metrics().notified(Some(notice.topic.kind()), Notified::Dropped);
        tracing::warn!("a notice was dropped: {notice}");
    }

    /// Posts a test to every webhook at once, each once.
    pub fn test(&self, config: Arc<Config>) -> impl Future<Output = Vec<Tested>> + Send + use<> {
        let webhooks = self.clone();
        async move {
            let at = webhooks.gate.now().wall;
            let tests = config.notify.iter().map(async |webhook| {
                let posted = webhooks.post(webhook, body::of_test(webhook.format, at)).await;
                let result = if posted.is_ok() { Notified::Ok } else { Notified::Failed };
                webhooks.gate.metrics().notified(None, result);
                Tested {
                    url: webhook.url.masked().to_owned(),
                    format: body::format_word(webhook.format),
                    error: posted.err().map(|trouble| trouble.why),
                }
            });
            futures_util::future::join_all(tests).await
        }
    }

    async fn deliver(&self, webhook: &Notify, body: String) -> Result<(), String> {
        let mut waits = WAITS.into_iter();
        loop {
            let Err(trouble) = self.post(webhook, body.clone()).await else { return Ok(()) };
            let Some((asked, wait)) = trouble.again.zip(waits.next()) else {
                return Err(trouble.why);
            };
            tokio::time::sleep(waited(wait, asked)).await;
        }
    }

    async fn post(&self, webhook: &Notify, body: String) -> Result<(), Trouble> {
        let request = self
            .client
            .post(webhook.url.expose())
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let response = request.send().await.map_err(|error| Trouble {
            // What was sent whole may have arrived.
            again: error.is_connect().then_some(Duration::ZERO),
            why: told(&error.without_url()),
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let asked = asked.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let may_help = status.is_server_error() || status.as_u16() == 429;
        let again = may_help.then(|| asked.unwrap_or_default());
        Err(Trouble { why: format!("it answered {}", status.as_u16()), again })
    }
}

/// Never less than our own wait, and as long as is asked for within reason.
fn waited(wait: Duration, asked: Duration) -> Duration {
    wait.max(asked).min(WAIT_MAX)
}

/// The error with its causes.
fn told(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_may_ask_for_more_time_but_not_for_any_amount() {
        let seconds = Duration::from_secs;
        assert_eq!(waited(seconds(4), seconds(0)), seconds(4));
        assert_eq!(waited(seconds(4), seconds(20)), seconds(20));
        assert_eq!(waited(seconds(4), seconds(3_600)), WAIT_MAX);
    }
}
