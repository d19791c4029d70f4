//! The program itself, as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A sidecar that serves.
#[derive(Debug)]
pub(crate) struct Sidecar {
    child: Child,
    pub(crate) data: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
}

impl Sidecar {
    /// Starts `solvegate run`; the error is what it said instead of serving.
    pub(crate) fn start(config: &Path) -> Result<Self, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_solvegate"));
        command.args(["run", "--config"]).arg(config);
        Self::serve(command)
    }

    /// The same, told where its service manager listens.
    pub(crate) fn start_under(config: &Path, notify_socket: &str) -> Result<Self, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_solvegate"));
        command.args(["run", "--config"]).arg(config).env("NOTIFY_SOCKET", notify_socket);
        Self::serve(command)
    }

    /// The same, saying more.
    pub(crate) fn start_verbose(config: &Path) -> Result<Self, String> {
        let mut command = Command::new("env");
        command.args(["RUST_LOG=solvegate=debug", env!("CARGO_BIN_EXE_solvegate")]);
        command.args(["run", "--config"]).arg(config);
        Self::serve(command)
    }

    /// The same, where no file may grow past that many KiB from the start on.
    pub(crate) fn start_limited(config: &Path, kib: u64) -> Result<Self, String> {
        let mut command = Command::new("sh");
        // The unit of this limit is 512 bytes in some shells and a KiB in others.
        let script = format!(r#"ulimit -f {kib}; exec "$0" run --config "$1""#);
        command.args(["-c", &script, env!("CARGO_BIN_EXE_solvegate")]).arg(config);
        Self::serve(command)
    }

    fn serve(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("RUST_LOG");
        let mut child = command.spawn().unwrap();
        let log = Arc::<Mutex<String>>::default();
        let stderr = child.stderr.take().unwrap();
        let reading = std::thread::spawn({
            let log = log.clone();
            move || keep(stderr, &log)
        });
        let (mut data, mut admin) = (None, None);
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(address) = line.strip_prefix("listening on http://") {
                data = Some(address.parse().unwrap());
            }
            if let Some(address) = line.strip_prefix("admin on http://") {
                admin = Some(address.parse().unwrap());
                break;
            }
        }
        let Some((data, admin)) = data.zip(admin) else {
            let status = child.wait().unwrap();
            reading.join().unwrap();
            return Err(format!("{status}: {}", log.lock()));
        };
        Ok(Self { child, data, admin, log, reading: Some(reading) })
    }

    /// From here on no file may grow past that many bytes.
    pub(crate) fn limit_files(&self, bytes: u64) {
        let limit = (bytes, rlimit::INFINITY);
        self.limit(rlimit::Resource::FSIZE, limit);
    }

    fn limit(&self, resource: rlimit::Resource, limit: (u64, u64)) {
        let pid = i32::try_from(self.child.id()).unwrap();
        rlimit::prlimit(pid, resource, Some(limit), None).unwrap();
    }

    /// What it has in memory.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// Sends that signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Asks it to end well, and waits until it has; what it logged.
    pub(crate) fn stop(self) -> String {
        let (log, status) = self.stop_failing();
        assert!(status.success(), "{status}: {log}");
        log
    }

    /// Asks it to end, however that goes.
    pub(crate) fn stop_failing(self) -> (String, ExitStatus) {
        self.signal("TERM");
        self.ended()
    }

    /// Waits for its end, however that goes; what it logged.
    pub(crate) fn ended(mut self) -> (String, ExitStatus) {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < Duration::from_secs(40), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        self.reading.take().unwrap().join().unwrap();
        let log = self.log.lock().clone();
        (log, status)
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // Gone already after a stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends that signal to a process.
pub(crate) fn signal(id: u32, name: &str) {
    let command = format!("kill -{name} {id}");
    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success(), "{command}");
}

fn keep(mut stderr: ChildStderr, log: &Mutex<String>) {
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut chunk) {
        log.lock().push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
}
