//! `solvegate run`.

use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::admin::show;
use super::{ConfigFile, fail, tell};
use crate::app::App;
use crate::config::{Config, LogFormat};
use crate::operator::Watch;
use crate::supervisor::Supervisor;

pub(super) fn run(file: &ConfigFile) -> ExitCode {
    // Requests have threads of their own; this one does the rest.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(file)),
        Err(error) => fail(&error),
    }
}

/// Signals are listened to before anything else is done: one that comes while the config is read or the
/// record is opened is kept, and does not end the process in the middle of that.
async fn serve(file: &ConfigFile) -> ExitCode {
    let mut ends = match Ends::listen() {
        Ok(ends) => ends,
        Err(error) => return fail(&error),
    };
    let supervisor = Supervisor::of_environment();
    let watch = Watch::begin(file.path(), supervisor.clone()).await;
    let config = match file.load() {
        Ok(config) => config,
        Err(faults) => {
            tell(faults);
            return ExitCode::FAILURE;
        }
    };
    prepare(&config);
    let grace = config.shutdown_grace;
    let app = match App::start(config, watch).await {
        Ok(app) => app,
        Err(error) => return fail(&error),
    };
    // It serves all the same where nobody reads this.
    let tls = app.tls.map(|tls| format!("listening on https://{tls}\n")).unwrap_or_default();
    let _ = show(format!("listening on http://{}\n{tls}admin on http://{}", app.data, app.admin));
    supervisor.ready().await;
    ends.next().await;
    supervisor.stopping().await;
    tracing::info!(grace = %humantime::format_duration(grace), "shutting down");
    let hurry = app.hurry();
    let asked_again = async {
        ends.next().await;
        tracing::warn!("asked again to end; what is not answered yet is cut off");
        hurry.cancel();
        std::future::pending().await
    };
    let stopped = tokio::select! {
        stopped = app.stop(grace) => stopped,
        stopped = asked_again => stopped,
    };
    match stopped {
        Ok(()) => {
            tracing::info!("everything is written down; good-bye");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

/// SIGTERM and SIGINT.
struct Ends(Signal, Signal);

impl Ends {
    fn listen() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

fn prepare(config: &Config) {
    start_log(config.log.format);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if config.policy.pass_through {
        tracing::warn!(
            "no tenants are configured: every key is forwarded as it is, nothing is enforced"
        );
    }
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour)
        // It would complain of a line that cannot be written by another such line, and panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
