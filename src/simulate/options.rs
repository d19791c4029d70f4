//! What can be set about the simulated provider: command line arguments and their defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;

use super::fault::FaultRule;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::money::Money;
use crate::domain::outcome::Outcome;

/// The key of the account that exists when none is configured.
pub const DEFAULT_KEY: &str = "simulated0account0key00000000000";

const LENGTH_OF_KEY: usize = 32;

const EXAMPLES: &str = "\
Try it:
  solvegate simulate-provider --time-scale 10
  curl 'http://127.0.0.1:8090/in.php?key=simulated0account0key00000000000&method=turnstile&sitekey=x&pageurl=https://a.test'
  curl 'http://127.0.0.1:8090/res.php?key=simulated0account0key00000000000&action=get&id=<the id>'

One outcome on demand: a pageurl (images: textinstructions) on the host sim.test says what shall happen:
  https://sim.test/?solve=3s                        solved after exactly 3 s
  https://sim.test/?error=ERROR_CAPTCHA_UNSOLVABLE  this code when polled, once the solve time is over
  https://sim.test/?submit_error=ERROR_ZERO_BALANCE this code instead of an id
  https://sim.test/?never                           never ready
  https://sim.test/?answer=TEXT                     this answer (others are answer-<id>-...)
Combine them with &, and percent-encode the whole value as usual.

Control, on the same port (JSON):
  POST   /-/faults      [{\"operation\":\"submit\",\"matches\":{\"nth\":3},\"effect\":\"after\",\"fault\":\"reset_before\"}]
  GET    /-/faults      rules, and how often each has struck;  DELETE removes them all
  POST   /-/down        {\"mode\":\"reset\"} or {\"mode\":\"refuse\",\"for\":\"10s\"};  POST /-/up
  GET    /-/log?since=N every request received and what was answered
  GET    /-/tasks       every accepted solve;  GET /-/accounts every account
  POST   /-/accounts    [{\"key\":\"...\",\"threads\":5,\"balance\":\"3.00\",\"valid\":true}]
  POST   /-/errors      [\"turnstile/unsolvable=0.2\"];  POST /-/solve-times [\"turnstile=2s\"]
  POST   /-/reset       as at the start, except that ids go on

A rule: operation submit|solve|poll|report|balance|threads|other|any; matches nth, task, key, captcha_type,
probability; count (default: forever, or once with nth); effect before|after the request took effect.
Faults: refuse reset_before reset_mid_answer half_header half_body {\"delay\":\"3s\"} hang drip
{\"http_status\":502} redirect garbage garbage_body wrong_content_type empty_body {\"giant_answer\":16}
ok_without_id duplicate_id foreign_answer never_ready {\"code\":\"ERROR_X\"} newline {\"figure\":\"NaN\"}
{\"body\":\"<html>\"}";

/// Serves the provider's API, simulated: for tests, for benches and for trying things out.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES, after_help = "More, with examples: --help")]
pub struct Options {
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// An account: a key of 32 characters, its threads and its balance in USD. Repeatable.
    #[arg(
        long = "account",
        value_name = "KEY[,threads=50][,balance=10.00]",
        default_value = DEFAULT_KEY
    )]
    pub accounts: Vec<AccountOptions>,
    /// Treat every unknown key of 32 characters as an account with 50 threads and $10.
    #[arg(long)]
    pub any_key: bool,
    /// Whose manners: 2captcha adds get2 and ids= and has no threadsinfo.
    #[arg(long, value_enum, default_value_t)]
    pub dialect: Dialect,
    /// How a task id looks in JSON; auto: a number for reCAPTCHA, a string otherwise.
    #[arg(long, value_enum, default_value_t)]
    pub ids: IdForm,
    /// Solve time, for one captcha type or for all, such as turnstile=20s. Comma-separated or
    /// repeated.
    #[arg(long = "solve-time", value_name = "[TYPE=]DURATION", value_delimiter = ',')]
    pub solve_times: Vec<PerType<humantime::Duration>>,
    /// Divide every solve time by this, so that a demo takes seconds instead of minutes.
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = positive)]
    pub time_scale: f64,
    /// Vary each solve time by up to this share, up and down.
    #[arg(long, value_name = "SHARE", default_value = "0.2", value_parser = share)]
    pub jitter: f64,
    /// Share of solves that fail, and how.
    #[arg(
        long,
        value_name = "[TYPE/]KIND=SHARE",
        value_delimiter = ',',
        help = "Share of solves that fail, by outcome (unsolvable, provider_error, timeout, \
            client_error, account_error, capacity) or by code (ERROR_X when polled, \
            submit:ERROR_X at once), such as turnstile/unsolvable=0.05"
    )]
    pub errors: Vec<ErrorShare>,
    /// What happens to a submission while all threads of the account are busy.
    #[arg(long, value_enum, default_value_t)]
    pub when_busy: WhenBusy,
    /// What a success takes from the account's balance, for one captcha type or for all.
    #[arg(long = "price", value_name = "[TYPE=]USD", value_delimiter = ',')]
    pub prices: Vec<PerType<Money>>,
    /// The same seed, requests and times give the same answers.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Requests kept for /-/log; 0 keeps none, which is the fastest.
    #[arg(long, value_name = "REQUESTS", default_value_t = 100_000)]
    pub log_max: usize,
    /// A fault rule in JSON, as for /-/faults. Repeatable.
    #[arg(long = "fault", value_name = "JSON")]
    pub faults: Vec<FaultRule>,
}

/// The defaults of the command line, on a free port of loopback.
impl Default for Options {
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Bare {
            #[command(flatten)]
            options: Options,
        }
        let bare = <Bare as clap::Parser>::try_parse_from(["simulate-provider"])
            .unwrap_or_else(|error| panic!("the defaults are no valid arguments: {error}"));
        Self { listen: (Ipv4Addr::LOCALHOST, 0).into(), ..bare.options }
    }
}

/// An account at the simulated provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountOptions {
    /// 32 characters; any other length can never be used.
    pub key: String,
    /// Solves that run at the same time.
    pub threads: usize,
    /// In USD.
    pub balance: Money,
}

impl AccountOptions {
    /// An account with 50 threads and $10.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), threads: 50, balance: Money::from_micros(10_000_000) }
    }
}

/// Which provider's manners are simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Dialect {
    /// `CaptchaAI`: threadsinfo; Enterprise answers in `result`.
    #[default]
    Captchaai,
    /// 2captcha: get2 and ids=; every answer in `request`.
    #[value(name = "2captcha")]
    TwoCaptcha,
}

/// How task ids look in JSON answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum IdForm {
    /// A number for `userrecaptcha`, a string otherwise.
    #[default]
    Auto,
    /// Always a number.
    Int,
    /// Always a string.
    String,
}

/// What happens to a submission while all threads of its account are busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum WhenBusy {
    /// Accepted; its solve time starts when a thread is free, as the real provider does.
    #[default]
    Queue,
    /// Refused with `ERROR_ZERO_BALANCE`.
    ZeroBalance,
    /// Refused with `ERROR_NO_SLOT_AVAILABLE`.
    NoSlot,
}

/// A value for one captcha type, or (`None`) for every type that has none of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerType<T> {
    /// A family's value serves its subtypes too.
    pub captcha_type: Option<CaptchaType>,
    /// The value.
    pub value: T,
}

impl<T> PerType<T> {
    /// The same value for every type.
    pub fn all(value: impl Into<T>) -> Self {
        Self { captcha_type: None, value: value.into() }
    }

    /// A value for one type.
    pub fn one(captcha_type: CaptchaType, value: impl Into<T>) -> Self {
        Self { captcha_type: Some(captcha_type), value: value.into() }
    }
}

/// The values by type, in the order of [`CaptchaType::ALL`].
pub(super) fn table<T: Copy, U: From<T>>(
    values: &[PerType<T>],
    default: impl Fn(CaptchaType) -> U,
) -> [U; CaptchaType::ALL.len()] {
    let of = |wanted: Option<CaptchaType>| {
        values.iter().rev().find(|entry| entry.captcha_type == wanted).map(|entry| entry.value)
    };
    CaptchaType::ALL.map(|captcha_type| {
        of(Some(captcha_type))
            .or_else(|| of(Some(captcha_type.family())))
            .or_else(|| of(None))
            .map_or_else(|| default(captcha_type), U::from)
    })
}

/// How long a solve takes when nothing is set: what was measured or is planned for by clients.
pub(super) const fn usual_solve_time(captcha_type: CaptchaType) -> Duration {
    Duration::from_secs(match captcha_type {
        CaptchaType::Image | CaptchaType::Grid | CaptchaType::Bls | CaptchaType::Text => 3,
        CaptchaType::RecaptchaV3 => 5,
        CaptchaType::RecaptchaV3Enterprise
        | CaptchaType::Turnstile
        | CaptchaType::Captchafox
        | CaptchaType::FriendlyCaptcha
        | CaptchaType::Lemin
        | CaptchaType::Canvas
        | CaptchaType::Coordinates => 10,
        CaptchaType::RecaptchaV2 | CaptchaType::RecaptchaV2Invisible => 35,
        CaptchaType::RecaptchaV2Enterprise => 50,
        CaptchaType::CloudflareChallenge => 90,
        CaptchaType::GeetestV3
        | CaptchaType::GeetestV4
        | CaptchaType::Hcaptcha
        | CaptchaType::Funcaptcha
        | CaptchaType::Audio
        | CaptchaType::AmazonWaf
        | CaptchaType::MtCaptcha
        | CaptchaType::Datadome
        | CaptchaType::Keycaptcha
        | CaptchaType::Other => 20,
    })
}

/// How a solve fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Refused at submission with this code.
    AtSubmit(Arc<str>),
    /// Answered with this code once its solve time is over.
    WhenPolled(Arc<str>),
    /// Never ready.
    Never,
}

impl Failure {
    fn of_outcome(outcome: Outcome) -> Option<Self> {
        let when_polled = |code: &str| Some(Self::WhenPolled(code.into()));
        match outcome {
            Outcome::Solved => None,
            Outcome::Unsolvable => when_polled("ERROR_CAPTCHA_UNSOLVABLE"),
            Outcome::ProviderError => when_polled("ERROR_INTERNAL_SERVER_ERROR"),
            Outcome::ClientError => when_polled("ERROR_BAD_TOKEN_OR_PAGEURL"),
            Outcome::Timeout => Some(Self::Never),
            Outcome::AccountError => Some(Self::AtSubmit("ERROR_KEY_DOES_NOT_EXIST".into())),
            Outcome::Capacity => Some(Self::AtSubmit("ERROR_NO_SLOT_AVAILABLE".into())),
        }
    }
}

/// The share of solves that fail in one way.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorShare {
    /// `None`: of every type.
    pub captcha_type: Option<CaptchaType>,
    /// How they fail.
    pub failure: Failure,
    /// From 0 to 1.
    pub share: f64,
}

/// Why an option cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseOptionError {
    /// The part before `=` or `/` names no captcha type.
    #[error("`{0}` is no captcha type")]
    UnknownType(String),
    /// Neither an outcome nor a code.
    #[error("`{0}` is no outcome (unsolvable, provider_error, ...) and no ERROR_ code")]
    UnknownFailure(String),
    /// The value does not parse.
    #[error("`{0}` is no valid value")]
    BadValue(String),
    /// An account option other than `threads` and `balance`.
    #[error("`{0}` is no option of an account; threads=N and balance=USD are")]
    UnknownAccountOption(String),
    /// A key of another length than 32.
    #[error("`{0}` has not the 32 characters of a key")]
    KeyLength(String),
}

fn captcha_type(label: &str) -> Result<Option<CaptchaType>, ParseOptionError> {
    match label {
        "default" | "all" => Ok(None),
        _ => CaptchaType::from_label(label)
            .map(Some)
            .ok_or_else(|| ParseOptionError::UnknownType(label.to_owned())),
    }
}

fn value<T: FromStr>(text: &str) -> Result<T, ParseOptionError> {
    text.parse().map_err(|_| ParseOptionError::BadValue(text.to_owned()))
}

impl<T: FromStr> FromStr for PerType<T> {
    type Err = ParseOptionError;

    fn from_str(text: &str) -> Result<Self, ParseOptionError> {
        match text.split_once('=') {
            Some((label, rest)) => {
                Ok(Self { captcha_type: captcha_type(label)?, value: value(rest)? })
            }
            None => Ok(Self { captcha_type: None, value: value(text)? }),
        }
    }
}

impl FromStr for ErrorShare {
    type Err = ParseOptionError;

    fn from_str(text: &str) -> Result<Self, ParseOptionError> {
        let bad = || ParseOptionError::BadValue(text.to_owned());
        let (kind, amount) = text.rsplit_once('=').ok_or_else(bad)?;
        let (captcha_type, kind) = match kind.split_once('/') {
            Some((label, kind)) => (captcha_type(label)?, kind),
            None => (None, kind),
        };
        let failure = if let Some(code) = kind.strip_prefix("submit:") {
            Some(Failure::AtSubmit(code.into()))
        } else if kind.starts_with("ERROR") {
            Some(Failure::WhenPolled(kind.into()))
        } else {
            Outcome::from_label(kind).and_then(Failure::of_outcome)
        };
        let failure = failure.ok_or_else(|| ParseOptionError::UnknownFailure(kind.to_owned()))?;
        Ok(Self { captcha_type, failure, share: share(amount)? })
    }
}

impl FromStr for AccountOptions {
    type Err = ParseOptionError;

    fn from_str(text: &str) -> Result<Self, ParseOptionError> {
        let mut parts = text.split(',');
        let key = parts.next().unwrap_or_default();
        if key.len() != LENGTH_OF_KEY {
            return Err(ParseOptionError::KeyLength(key.to_owned()));
        }
        let mut account = Self::new(key);
        for part in parts {
            match part.split_once('=') {
                Some(("threads", threads)) => account.threads = value(threads)?,
                Some(("balance", balance)) => account.balance = value(balance)?,
                _ => return Err(ParseOptionError::UnknownAccountOption(part.to_owned())),
            }
        }
        Ok(account)
    }
}

fn share(text: &str) -> Result<f64, ParseOptionError> {
    let share: f64 = value(text)?;
    let fits = (0.0..=1.0).contains(&share);
    fits.then_some(share).ok_or_else(|| ParseOptionError::BadValue(text.to_owned()))
}

fn positive(text: &str) -> Result<f64, ParseOptionError> {
    let number: f64 = value(text)?;
    let fits = number.is_finite() && number > 0.0;
    fits.then_some(number).ok_or_else(|| ParseOptionError::BadValue(text.to_owned()))
}
