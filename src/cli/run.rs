//! `solvegate run`.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{ConfigFile, fail};
use crate::app::App;
use crate::config::{Config, LogFormat};

pub(super) fn run(file: &ConfigFile) -> ExitCode {
    let config = match file.load() {
        Ok(config) => config,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::FAILURE;
        }
    };
    start_log(config.log.format);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if config.policy.pass_through {
        tracing::warn!(
            "no tenants are configured: every key is forwarded as it is, nothing is enforced"
        );
    }
    match super::runtime() {
        Ok(runtime) => runtime.block_on(serve(config, file)),
        Err(error) => fail(&error),
    }
}

async fn serve(config: Config, file: &ConfigFile) -> ExitCode {
    let grace = config.shutdown_grace;
    let (mut terminate, mut interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => return fail(&error),
        };
    let app = match App::start(config, file.path()).await {
        Ok(app) => app,
        Err(error) => return fail(&error),
    };
    println!("listening on http://{}", app.data);
    if let Some(tls) = app.tls {
        println!("listening on https://{tls}");
    }
    println!("admin on http://{}", app.admin);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(grace = %humantime::format_duration(grace), "shutting down");
    match app.stop(grace).await {
        Ok(()) => {
            tracing::info!("everything is written down; good-bye");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
