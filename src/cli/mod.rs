//! The commands, one file each.

mod admin;
mod bill;
mod check;
mod completions;
mod credit;
mod demo;
mod healthcheck;
mod key;
mod notify;
mod run;
mod simulate_provider;
mod slo;
mod solves;
mod table;
mod usage;
mod why;

use std::fmt::Display;
use std::io::Write as _;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, Faults};

/// A reliability sidecar for captcha solving: limits, billing and error budgets between your
/// applications and `CaptchaAI`.
///
/// Point your application's base URL at `solvegate run` and change nothing else.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Try it without an account:  solvegate demo\n\
    Check a config:             solvegate check --config solvegate.yaml\n\
    Serve:                      solvegate run --config solvegate.yaml\n\
    Ask the one that runs:      solvegate slo")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: forward solves, enforce limits, bill, export metrics.
    ///
    /// Without a config it forwards every key as it is and only observes. SIGHUP, a change of the file
    /// and `POST /-/reload` on the admin port reload it; SIGTERM and Ctrl-C end it in order.
    Run(ConfigFile),
    /// Check a config: report every fault with its line, or print the effective config, secrets masked.
    Check(ConfigFile),
    /// Try everything out: a simulated provider, the sidecar, sample tenants and their traffic.
    ///
    /// All in one process on loopback, with a live summary, until Ctrl-C. Nothing leaves the machine, and
    /// nothing is kept. At the end it says whether what was charged is what was delivered.
    Demo(demo::DemoArgs),
    /// Serve the provider's API with made-up answers, for tests, benches and trying things out.
    SimulateProvider(crate::simulate::SimulateArgs),
    /// Ask the sidecar of this machine whether it is alive: exit code 0, or 1 with the reason.
    ///
    /// For container health checks, which have no curl: `solvegate healthcheck`
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Make, list, reroll and take back a tenant's keys while the sidecar runs.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Put money into a prepaid balance of the running sidecar.
    Credit(credit::CreditArgs),
    /// Show what a tenant was charged, by type, key or day.
    Usage(usage::UsageArgs),
    /// Show each captcha type's error budget: objective, current rate, what is left, burn rate.
    Slo(slo::SloArgs),
    /// Show or export what a month cost, with a manifest to check it by.
    Bill(bill::BillArgs),
    /// Show the log of solves, or follow it.
    Solves(solves::SolvesArgs),
    /// Explain one refusal, or the last ones of a tenant: which limit, its value, when it frees.
    Why(why::WhyArgs),
    /// Try the webhooks.
    #[command(subcommand)]
    Notify(notify::NotifyCommand),
    /// Print completions for a shell.
    ///
    /// For example: `solvegate completions bash > /etc/bash_completion.d/solvegate`
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The config. Default: `solvegate.yaml` where it exists, else none, which forwards and observes.
    #[arg(long, short, value_name = "FILE", env = "SOLVEGATE_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn path(&self) -> Option<PathBuf> {
        let usual = || Some(PathBuf::from("solvegate.yaml")).filter(|path| path.exists());
        self.config.clone().or_else(usual)
    }

    fn load(&self) -> Result<Config, Faults> {
        match self.path() {
            Some(path) => config::load(&path, &|name| std::env::var(name).ok()),
            None => Ok(config::default_config()),
        }
    }

    /// How the admin listener is reached; the rest of the config may need secrets that only the sidecar has.
    fn load_admin(&self) -> Result<config::Admin, Faults> {
        match self.path() {
            Some(path) => config::load_admin(&path, &|name| std::env::var(name).ok()),
            None => Ok(config::default_config().admin),
        }
    }
}

/// Runs the command line.
pub fn run() -> ExitCode {
    // One TLS provider for everything in the process; a second call finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Arguments::parse().command {
        Command::Run(file) => run::run(&file),
        Command::Check(file) => check::check(&file),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::SimulateProvider(arguments) => simulate_provider::run(arguments),
        Command::Healthcheck(arguments) => healthcheck::healthcheck(&arguments),
        Command::Key(command) => key::run(&command),
        Command::Credit(arguments) => credit::run(&arguments),
        Command::Usage(arguments) => usage::run(&arguments),
        Command::Slo(arguments) => slo::run(&arguments),
        Command::Bill(arguments) => bill::run(&arguments),
        Command::Solves(arguments) => solves::run(&arguments),
        Command::Why(arguments) => why::run(&arguments),
        Command::Notify(command) => notify::run(&command),
        Command::Completions { shell } => completions::print(shell),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    tell(text);
    ExitCode::FAILURE
}

/// Says something beside the output. Where nobody reads it, the exit code still says how it went.
fn tell(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let wanted = std::env::var("TOKIO_WORKER_THREADS").ok().and_then(|count| count.parse().ok());
    let workers = wanted.or_else(|| std::thread::available_parallelism().ok().map(NonZero::get));
    match workers {
        // One worker needs no work stealing, and serves a request for less without it.
        Some(1) => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        _ => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
    }
}
