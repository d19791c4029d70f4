//! The real binary as child processes: the simulated provider, which outlives everything, and the
//! sidecar, which does not.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use solvegate::failpoint::Point;
use tokio::sync::mpsc;

use crate::http;
use crate::tenants::ACCOUNT;

const BINARY: &str = env!("CARGO_BIN_EXE_solvegate");
/// Longer than any start or end takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A child that does not outlive its test.
#[derive(Debug)]
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The simulated provider.
#[derive(Debug)]
pub(crate) struct Provider {
    _child: Guarded,
    pub(crate) address: SocketAddr,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let mut command = Command::new(BINARY);
        command
            .stdin(Stdio::null())
            .args(["simulate-provider", "--listen", "127.0.0.1:0", "--log-max", "1000000"])
            .args(["--account", &format!("{ACCOUNT},threads=50000,balance=1000000")])
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = lines(&mut child);
        let line = lines.recv().await.expect("the provider did not start");
        Self { address: address_in(&line), _child: Guarded(child) }
    }
}

/// The sidecar, from its start to its end.
#[derive(Debug)]
pub(crate) struct Sidecar {
    home: Home,
    child: Guarded,
    lines: mpsc::UnboundedReceiver<String>,
    started: Instant,
}

/// Where a sidecar that is ready listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) data: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// From the start of the process to the first 200 of `/readyz`.
    pub(crate) took: Duration,
}

/// The record's folder, with the config, a copy of the binary, and what all sidecars wrote to their log.
#[derive(Debug, Clone)]
pub(crate) struct Home(pub(crate) PathBuf);

impl Home {
    /// A build without the failpoints may take the binary's place during a long run, so it is copied.
    pub(crate) fn furnish(folder: &Path, config: &str) -> Self {
        let home = Self(folder.to_owned());
        std::fs::write(folder.join("solvegate.yaml"), config).unwrap();
        std::fs::copy(BINARY, home.binary()).unwrap();
        home
    }

    fn binary(&self) -> PathBuf {
        self.0.join("solvegate")
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.0.join("solvegate.db")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("sidecar.log")
    }

    fn append_log(&self) -> File {
        OpenOptions::new().create(true).append(true).open(self.log()).unwrap()
    }
}

impl Sidecar {
    /// Starts it, to die at the given passing of a failpoint, if one is given.
    pub(crate) fn start(home: &Home, dies_at: Option<(Point, u64)>) -> Self {
        let mut command = Command::new(home.binary());
        command
            .stdin(Stdio::null())
            .args(["run", "--config", "solvegate.yaml"])
            .current_dir(&home.0)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .stderr(home.append_log());
        if let Some((point, passing)) = dies_at {
            command.env("SOLVEGATE_FAILPOINT", format!("{}:{passing}", point.label()));
        }
        let started = Instant::now();
        let mut child = command.spawn().unwrap();
        let lines = lines(&mut child);
        Self { home: home.clone(), child: Guarded(child), lines, started }
    }

    /// Waits until it is ready; `None` when it ends before.
    pub(crate) async fn ready(&mut self) -> Option<Ready> {
        let data = address_in(&self.lines.recv().await?);
        let admin = address_in(&self.lines.recv().await?);
        while http::try_get(admin, "/readyz").await?.status != 200 {
            assert!(self.started.elapsed() < PATIENCE, "never ready");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Some(Ready { data, admin, took: self.started.elapsed() })
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.0.kill();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let id = self.child.0.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success(), "nobody to terminate");
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, what: &str) -> End {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.0.try_wait().unwrap() {
                return End::of(status);
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "the sidecar lives on: {what}; see {}",
                self.home.0.display()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By SIGKILL.
    Killed,
    /// By itself, at a failpoint.
    Aborted,
    /// In order.
    Done,
    /// In any other way.
    Otherwise(ExitStatus),
}

impl End {
    fn of(status: ExitStatus) -> Self {
        const SIGABRT: i32 = 6;
        const SIGKILL: i32 = 9;
        match (status.signal(), status.code()) {
            (Some(SIGKILL), _) => Self::Killed,
            (Some(SIGABRT), _) => Self::Aborted,
            (None, Some(0)) => Self::Done,
            _ => Self::Otherwise(status),
        }
    }
}

/// What a child says; the channel ends with it.
fn lines(child: &mut Child) -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            // Nobody may listen any more; the child must not block on a full pipe all the same.
            let _ = sender.send(line);
        }
    });
    receiver
}

fn address_in(line: &str) -> SocketAddr {
    let (_, address) = line.split_once("http://").unwrap_or_else(|| panic!("no address: {line}"));
    address.trim().parse().unwrap()
}
