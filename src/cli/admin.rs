//! How a command finds and asks the running sidecar.

use std::future::Future;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;

use super::table::harmless;
use super::{ConfigFile, fail};
use crate::wire::secret::Secret;

const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// For a piece of an answer to come in; a bill as a whole may take longer.
const READ_WAIT: Duration = Duration::from_mins(1);

/// Where the admin API of a running sidecar is, and what opens it.
///
/// A token is taken from `--token-file`, `SOLVEGATE_ADMIN_TOKEN` or the config, in this order; never from
/// the command line, which everybody on the machine can read.
#[derive(Debug, clap::Args)]
pub(super) struct AdminArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The admin listener. Default: `admin.listen` of the config, else `http://127.0.0.1:9465`
    #[arg(long, value_name = "URL", env = "SOLVEGATE_ADMIN_URL")]
    admin: Option<String>,
    /// A file that holds the admin token; without it `SOLVEGATE_ADMIN_TOKEN` or the config's is used.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print the API's answer as it is.
    #[arg(long)]
    pub(super) json: bool,
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error("`{}` cannot be read ({fault}); say where the sidecar is with --admin URL", path.display())]
    Config { path: PathBuf, fault: String },
    #[error("cannot read the token in `{}`", path.display())]
    TokenFile { path: PathBuf, source: io::Error },
    #[error("a token must be visible characters on one line")]
    Token,
    #[error("nothing answers at {0}: start `solvegate run`, or say where it is with --admin URL")]
    Unreachable(String),
    #[error("{0} is no URL of a sidecar's admin listener, like http://127.0.0.1:9465")]
    Url(String),
    #[error(
        "the admin listener asks for its token: set SOLVEGATE_ADMIN_TOKEN or give --token-file"
    )]
    Unauthorized,
    #[error("{0}")]
    Refused(String),
    #[error("the answer broke off")]
    BrokeOff,
    #[error("what answers at {0} is no solvegate of this version")]
    Stranger(String),
    #[error("{0}")]
    Usage(&'static str),
    #[error("{failed} of {of} webhooks did not take the test")]
    NotNotified { failed: usize, of: usize },
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the key was made and nobody read it; `solvegate key reroll` makes another one")]
    KeyUnread(#[source] io::Error),
    #[error("cannot write to the output")]
    Output(#[from] io::Error),
}

/// A sidecar that runs.
#[derive(Debug)]
pub(super) struct AdminClient {
    base: String,
    token: Option<Secret>,
    http: reqwest::Client,
}

impl AdminArgs {
    pub(super) fn client(&self) -> Result<AdminClient, CommandError> {
        let (base, configured) = match &self.admin {
            Some(url) => (url.trim_end_matches('/').to_owned(), None),
            None => self.of_config()?,
        };
        let token = match &self.token_file {
            Some(path) => Some(read_token(path)?),
            None => std::env::var("SOLVEGATE_ADMIN_TOKEN")
                .ok()
                .filter(|token| !token.is_empty())
                .map(Secret::new)
                .or(configured),
        };
        let is_visible = |token: &Secret| token.expose().bytes().all(|b| b.is_ascii_graphic());
        if !token.as_ref().is_none_or(is_visible) {
            return Err(CommandError::Token);
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WAIT)
            .read_timeout(READ_WAIT)
            .build()
            .map_err(|_| CommandError::Url(base.clone()))?;
        Ok(AdminClient { base, token, http })
    }

    fn of_config(&self) -> Result<(String, Option<Secret>), CommandError> {
        let admin = self.config.load_admin().map_err(|faults| CommandError::Config {
            path: self.config.path().unwrap_or_default(),
            fault: faults.list().first().map(ToString::to_string).unwrap_or_default(),
        })?;
        Ok((format!("http://{}", reachable(admin.listen)), admin.token))
    }
}

/// Where a listener on every address is reached on this machine.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    listen
}

fn read_token(path: &PathBuf) -> Result<Secret, CommandError> {
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|source| CommandError::TokenFile { path: path.clone(), source })?;
    Ok(Secret::new(text.trim()))
}

impl AdminClient {
    /// What is there, as JSON.
    pub(super) async fn get(&self, path: &str) -> Result<String, CommandError> {
        text(self.open(path).await?).await
    }

    /// Changes something.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<String, CommandError> {
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        text(self.answer(request).await?).await
    }

    /// An answer that is read piece by piece.
    pub(super) async fn open(&self, path: &str) -> Result<reqwest::Response, CommandError> {
        self.answer(self.http.get(format!("{}/api/v1{path}", self.base))).await
    }

    async fn answer(
        &self,
        mut request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, CommandError> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let response = request.send().await.map_err(|error| {
            if error.is_builder() {
                CommandError::Url(self.base.clone())
            } else {
                CommandError::Unreachable(self.base.clone())
            }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(CommandError::Unauthorized);
        }
        let error: Option<Value> = serde_json::from_str(&text(response).await?).ok();
        let message = error.as_ref().and_then(|error| error["message"].as_str());
        Err(match message {
            Some(message) => CommandError::Refused(harmless(message.trim_end())),
            None => CommandError::Stranger(self.base.clone()),
        })
    }

    /// What is there, read.
    pub(super) async fn value(&self, path: &str) -> Result<Value, CommandError> {
        self.parse(&self.get(path).await?)
    }

    pub(super) fn parse(&self, text: &str) -> Result<Value, CommandError> {
        serde_json::from_str(text).map_err(|_| CommandError::Stranger(self.base.clone()))
    }
}

async fn text(response: reqwest::Response) -> Result<String, CommandError> {
    response.text().await.map_err(|_| CommandError::BrokeOff)
}

/// Runs a command to its exit code.
pub(super) fn finish(command: impl Future<Output = Result<(), CommandError>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    ended(runtime.block_on(command))
}

/// The exit code of a command that ended so.
pub(super) fn ended(command: Result<(), CommandError>) -> ExitCode {
    match command {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has enough, as `head` does.
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

/// Prints to the output.
pub(super) fn show(text: impl AsRef<str>) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref().trim_end().as_bytes())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// A text as a part of a path or a query.
pub(super) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// `?a=b&c=d` of what is given.
pub(super) fn query(parts: &[(&str, Option<&str>)]) -> String {
    let given = parts.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let joined: Vec<_> = given.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    if joined.is_empty() { String::new() } else { format!("?{}", joined.join("&")) }
}

/// Who did it, where nothing else is said.
pub(super) fn by(note: Option<&str>) -> String {
    let user = || std::env::var("USER").ok().filter(|user| !user.is_empty());
    match note {
        Some(note) => note.to_owned(),
        None => format!("by {} on the command line", user().unwrap_or_else(|| "somebody".into())),
    }
}
