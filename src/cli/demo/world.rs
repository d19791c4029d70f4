//! What the demo runs: the simulated provider, the sidecar before it, the sample tenants.

use std::path::{Path, PathBuf};

use super::traffic::{Captcha, GRID, IMAGE, RECAPTCHA_V2, RECAPTCHA_V3, TURNSTILE};
use crate::app::{App, StartError};
use crate::config::{self, Faults};
use crate::domain::captcha_type::CaptchaType;
use crate::domain::money::Money;
use crate::operator::Watch;
use crate::simulate::{
    AccountOptions, DEFAULT_KEY, ErrorShare, Failure, Options, PerType, Simulation,
};
use crate::supervisor::Supervisor;

/// Where the sidecar listens when nobody else does.
const DATA_PORT: u16 = 8080;
const ADMIN_PORT: u16 = 9465;
/// Solves take this much less time than at a real provider.
const TIME_SCALE: f64 = 15.0;
/// The key of tenant acme that the demo itself leaves alone.
pub(super) const YOUR_KEY: &str = "tryit0with0this0demo0key00000000";

/// Why the demo does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorldError {
    #[error("cannot make a folder for the demo's state")]
    Folder(#[source] std::io::Error),
    #[error("cannot start the simulated provider")]
    Provider(#[source] std::io::Error),
    #[error("the demo's own config is wrong")]
    Config(#[from] Faults),
    #[error(transparent)]
    Start(#[from] StartError),
}

/// A sample tenant and the traffic it sends.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) tenant: &'static str,
    /// Its limits in words.
    pub(super) limits: &'static str,
    /// 32 characters; also in [`CONFIG`].
    pub(super) key: &'static str,
    /// Between two submissions.
    pub(super) every_ms: u64,
    /// Asks for JSON, by GET; else for text, by POST.
    pub(super) json: bool,
    /// What it submits, in turn.
    pub(super) captchas: &'static [Captcha],
}

pub(super) const SAMPLES: [Sample; 5] = [
    Sample {
        tenant: "acme",
        limits: "20 in flight",
        key: "acme0demo0key0000000000000000000",
        every_ms: 300,
        json: true,
        captchas: &[TURNSTILE, RECAPTCHA_V2, RECAPTCHA_V3, IMAGE],
    },
    Sample {
        tenant: "betting",
        limits: "30 a minute",
        key: "betting0demo0key0000000000000000",
        every_ms: 500,
        json: true,
        captchas: &[TURNSTILE, RECAPTCHA_V3],
    },
    Sample {
        tenant: "crawler",
        limits: "0.08 USD prepaid",
        key: "crawler0demo0key0000000000000000",
        every_ms: 600,
        json: false,
        captchas: &[IMAGE, IMAGE, RECAPTCHA_V2],
    },
    Sample {
        tenant: "free",
        limits: "25 a day",
        key: "free0demo0key0000000000000000000",
        every_ms: 900,
        json: false,
        captchas: &[IMAGE, GRID, TURNSTILE],
    },
    Sample {
        tenant: "qa",
        limits: "12 a minute (shadow)",
        key: "qa0demo0key000000000000000000000",
        every_ms: 1_100,
        json: true,
        captchas: &[RECAPTCHA_V2, TURNSTILE],
    },
];

/// The sidecar's config; `{…}` is filled in.
const CONFIG: &str = r"
listen: 127.0.0.1:{data_port}
admin: { listen: '127.0.0.1:{admin_port}' }
upstream: { url: '{provider}', connect_timeout: 1s, poll_timeout: 3s, poll_spacing: 200ms }
accounts:
  main: { key: {account_key} }
prices: { default: 0.003, recaptcha_v3: 0.004, turnstile: 0.002, image: 0.001, grid: 0.0012 }
slo:
  default: { deadline: 12s }           # 180 s, on the demo's clock
tenants:
  acme:
    in_flight_max: 20
    keys:
      app: { key: acme0demo0key0000000000000000000 }
      you: { key: {your_key} }
  betting:
    rate_per_minute: 30
    burst: 3
    prices: { turnstile: 0.0018 }
    keys: { app: { key: betting0demo0key0000000000000000 } }
  crawler:
    prepaid: { opening_balance: 0.08, low_balance_below: 0.02 }
    keys: { app: { key: crawler0demo0key0000000000000000 } }
  free:
    daily_limit: 25
    priority: background
    keys: { app: { key: free0demo0key0000000000000000000 } }
  qa:
    enforce: false
    rate_per_minute: 12
    burst: 3
    keys: { app: { key: qa0demo0key000000000000000000000 } }
state: { path: demo.db }
";

/// Everything that runs. The folder goes when this is dropped.
#[derive(Debug)]
pub(super) struct World {
    pub(super) provider: Simulation,
    pub(super) app: App,
    /// The record.
    pub(super) store: PathBuf,
    pub(super) folder: tempfile::TempDir,
}

impl World {
    /// Starts the provider, then the sidecar: on its usual ports, or on free ones where those are taken.
    pub(super) async fn start() -> Result<Self, WorldError> {
        let folder = tempfile::Builder::new()
            .prefix("solvegate-demo-")
            .tempdir()
            .map_err(WorldError::Folder)?;
        let provider = Simulation::start(provider_options()).map_err(WorldError::Provider)?;
        let app = start_sidecar(&provider.url(), folder.path()).await?;
        Ok(Self { provider, app, store: folder.path().join("demo.db"), folder })
    }
}

/// The provider's mistakes on a normal day.
pub(super) fn usual_errors() -> Vec<ErrorShare> {
    let polled = |code: &str| Failure::WhenPolled(code.into());
    [
        (None, polled("ERROR_CAPTCHA_UNSOLVABLE"), 0.03),
        (Some(CaptchaType::RecaptchaV2), polled("ERROR_CAPTCHA_UNSOLVABLE"), 0.04),
        (None, polled("ERROR_INTERNAL_SERVER_ERROR"), 0.01),
        (Some(CaptchaType::Turnstile), Failure::Never, 0.01),
    ]
    .map(|(captcha_type, failure, share)| ErrorShare { captcha_type, failure, share })
    .into()
}

/// The provider's mistakes on a bad day.
pub(super) fn incident_errors() -> Vec<ErrorShare> {
    let failure = Failure::WhenPolled("ERROR_CAPTCHA_UNSOLVABLE".into());
    vec![ErrorShare { captcha_type: None, failure, share: 0.8 }]
}

fn provider_options() -> Options {
    let account = AccountOptions {
        balance: Money::from_micros(1_000_000_000),
        ..AccountOptions::new(DEFAULT_KEY)
    };
    Options {
        accounts: vec![account],
        time_scale: TIME_SCALE,
        errors: usual_errors(),
        prices: vec![PerType::all(Money::from_micros(500))],
        log_max: 0,
        ..Options::default()
    }
}

async fn start_sidecar(provider: &str, folder: &Path) -> Result<App, WorldError> {
    let (mut data_port, mut admin_port) = (DATA_PORT, ADMIN_PORT);
    loop {
        let text = CONFIG
            .replace("{data_port}", &data_port.to_string())
            .replace("{admin_port}", &admin_port.to_string())
            .replace("{provider}", provider)
            .replace("{account_key}", DEFAULT_KEY)
            .replace("{your_key}", YOUR_KEY);
        let config = config::parse("demo", &text, folder, &|_| None)?;
        match App::start(config, Watch::begin(None, Supervisor::default()).await).await {
            Err(StartError::Listen { address, .. }) if address.port() == DATA_PORT => data_port = 0,
            Err(StartError::Listen { address, .. }) if address.port() == ADMIN_PORT => {
                admin_port = 0;
            }
            started => return Ok(started?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_a_tenant_with_its_key() {
        for Sample { tenant, key, .. } in SAMPLES {
            assert_eq!(key.len(), 32, "{key}");
            assert!(CONFIG.contains(&format!("\n  {tenant}:\n")), "{tenant}");
            assert!(CONFIG.contains(&format!("app: {{ key: {key} }}")), "{key}");
        }
    }
}
