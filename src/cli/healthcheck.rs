//! `solvegate healthcheck`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use super::{ConfigFile, tell};

/// Longer than a healthy process takes, shorter than any supervisor waits.
const WAIT: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub(super) struct HealthcheckArgs {
    /// The admin listener, such as `http://127.0.0.1:9465`. Default: `admin.listen` of the config.
    #[arg(long, value_name = "URL", value_parser = address)]
    admin: Option<SocketAddr>,
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn healthcheck(arguments: &HealthcheckArgs) -> ExitCode {
    let address = match (arguments.admin, arguments.file.load_admin()) {
        (Some(address), _) => address,
        (None, Ok(admin)) => admin.listen,
        (None, Err(faults)) => {
            tell(faults);
            return ExitCode::FAILURE;
        }
    };
    match ask(reachable(address)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tell(format_args!("error: no healthy solvegate answers at http://{address}: {why}"));
            ExitCode::FAILURE
        }
    }
}

/// `http://127.0.0.1:9465`, or without the scheme.
fn address(text: &str) -> Result<SocketAddr, String> {
    let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    address
        .parse()
        .map_err(|_| "must be like http://127.0.0.1:9465, an IP address and a port".into())
}

/// A listener on every address is asked on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn ask(address: SocketAddr) -> Result<(), String> {
    let answer = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&address, WAIT)?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.set_write_timeout(Some(WAIT))?;
        write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(4_096).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = answer().map_err(|error| error.to_string())?;
    if answer.starts_with(b"HTTP/1.1 200 ") {
        return Ok(());
    }
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    Err(format!("it says {:?}", String::from_utf8_lossy(line)))
}
