//! The sample tenants' clients: they submit, poll until solved, and count the answers they got.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::world::{SAMPLES, Sample};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Clients ask this often, and give up after that many times.
const POLL_EVERY: Duration = Duration::from_millis(300);
const POLLS_MAX: u32 = 60;

/// A captcha as a client submits it.
#[derive(Debug)]
pub(super) struct Captcha(&'static [(&'static str, &'static str)]);

const PAGE: (&str, &str) = ("pageurl", "https://shop.example/login");
const SITE: (&str, &str) = ("googlekey", "6LeDemoDemoDemoDemoDemoDemoDemoDemoDemo");
/// A GIF of one pixel.
const PICTURE: (&str, &str) = ("body", "R0lGODlhAQABAAAAACwAAAAAAQABAAACAkQBADs=");

pub(super) const TURNSTILE: Captcha =
    Captcha(&[("method", "turnstile"), ("sitekey", "0x4AAAAAAADemo"), PAGE]);
pub(super) const RECAPTCHA_V2: Captcha = Captcha(&[("method", "userrecaptcha"), SITE, PAGE]);
pub(super) const RECAPTCHA_V3: Captcha =
    Captcha(&[("method", "userrecaptcha"), ("version", "v3"), ("action", "login"), SITE, PAGE]);
pub(super) const IMAGE: Captcha = Captcha(&[("method", "base64"), PICTURE]);
pub(super) const GRID: Captcha = Captcha(&[
    ("method", "base64"),
    PICTURE,
    ("img_type", "recaptcha"),
    ("grid_size", "3x3"),
    ("instructions", "crosswalks"),
]);

/// All clients. New solves end with `stop`, all else with `cut`.
#[derive(Debug)]
pub(super) struct Traffic {
    clients: Vec<Arc<Client>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    cut: CancellationToken,
}

/// One tenant's client.
#[derive(Debug)]
struct Client {
    sample: &'static Sample,
    http: reqwest::Client,
    base: String,
    /// Answers received: what the tenant would say it got.
    answers: AtomicU64,
}

/// What a body says.
enum Said {
    Ok(String),
    NotReady,
    Error,
}

impl Traffic {
    pub(super) fn start(sidecar: SocketAddr) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(REQUEST_TIMEOUT)
            .retry(reqwest::retry::never())
            .build()?;
        let (tasks, stop, cut) =
            (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let client = |sample| {
            let base = format!("http://{sidecar}");
            Arc::new(Client { sample, http: http.clone(), base, answers: AtomicU64::new(0) })
        };
        let clients: Vec<_> = SAMPLES.iter().map(client).collect();
        for client in &clients {
            tasks.spawn(submit_steadily(
                client.clone(),
                tasks.clone(),
                (stop.clone(), cut.clone()),
            ));
        }
        Ok(Self { clients, tasks, stop, cut })
    }

    /// Starts no more solves; returns when those under way have ended.
    pub(super) async fn wind_down(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Leaves the solves that are left to their fate; a request under way still gets its answer.
    pub(super) async fn cut(&self) {
        self.cut.cancel();
        self.wind_down().await;
    }

    /// Tenants, and the answers that each received.
    pub(super) fn answers(&self) -> Vec<(&'static str, u64)> {
        let answers =
            |client: &Arc<Client>| (client.sample.tenant, client.answers.load(Ordering::Relaxed));
        self.clients.iter().map(answers).collect()
    }
}

async fn submit_steadily(
    client: Arc<Client>,
    tasks: TaskTracker,
    (stop, cut): (CancellationToken, CancellationToken),
) {
    let mut ticks = tokio::time::interval(Duration::from_millis(client.sample.every_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for captcha in client.sample.captchas.iter().cycle() {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let (client, cut) = (client.clone(), cut.clone());
        tasks.spawn(async move { client.solve(captcha, &cut).await });
    }
}

impl Client {
    async fn solve(&self, captcha: &Captcha, cut: &CancellationToken) {
        let Some(Said::Ok(task)) = self.ask("in.php", captcha.0).await else { return };
        for _ in 0..POLLS_MAX {
            tokio::select! {
                () = cut.cancelled() => return,
                () = tokio::time::sleep(POLL_EVERY) => {}
            }
            match self.ask("res.php", &[("action", "get"), ("id", &task)]).await {
                Some(Said::Ok(_)) => {
                    self.answers.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Some(Said::Error) => return,
                Some(Said::NotReady) | None => {}
            }
        }
    }

    /// `None`: there was no answer.
    async fn ask(&self, script: &str, fields: &[(&str, &str)]) -> Option<Said> {
        let body = self.request(script, fields).send().await.ok()?.text().await.ok()?;
        Some(if self.sample.json { read_json(&body) } else { read_text(&body) })
    }

    fn request(&self, script: &str, fields: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("key", self.sample.key).extend_pairs(fields);
        let url = format!("{}/{script}", self.base);
        if self.sample.json {
            let query = form.append_pair("json", "1").finish();
            return self.http.get(format!("{url}?{query}"));
        }
        let form_type = "application/x-www-form-urlencoded";
        self.http.post(url).header(CONTENT_TYPE, form_type).body(form.finish())
    }
}

fn read_text(body: &str) -> Said {
    match body.split_once('|') {
        Some(("OK", answer)) => Said::Ok(answer.to_owned()),
        _ if body == "CAPCHA_NOT_READY" => Said::NotReady,
        _ => Said::Error,
    }
}

fn read_json(body: &str) -> Said {
    let answer: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let request = &answer["request"];
    let request = request.as_str().map_or_else(|| request.to_string(), str::to_owned);
    match (answer["status"] == 1, request.as_str()) {
        (true, _) => Said::Ok(request),
        (false, "CAPCHA_NOT_READY") => Said::NotReady,
        (false, _) => Said::Error,
    }
}
