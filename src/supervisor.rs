//! What the service manager (systemd) is told over `NOTIFY_SOCKET`: ready, reloading, stopping.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::clock;

/// A service manager that does not read must not hold up a reload or an end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whoever started the process and wants to know how it is.
#[derive(Debug, Clone, Default)]
pub struct Supervisor(Option<OsString>);

impl Supervisor {
    /// The one that `NOTIFY_SOCKET` names; without it nobody is told anything.
    pub fn of_environment() -> Self {
        Self(std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()))
    }

    /// It serves, with the config in force.
    pub async fn ready(&self) {
        self.tell("READY=1".to_owned()).await;
    }

    /// A reload begins; [`ready`](Self::ready) ends it.
    pub async fn reloading(&self) {
        let since_boot = clock::since_boot().as_micros();
        self.tell(format!("RELOADING=1\nMONOTONIC_USEC={since_boot}")).await;
    }

    /// It ends.
    pub async fn stopping(&self) {
        self.tell("STOPPING=1".to_owned()).await;
    }

    async fn tell(&self, message: String) {
        let Some(name) = &self.0 else { return };
        let sending = async {
            let socket = tokio::net::UnixDatagram::from_std(connect(name)?)?;
            socket.send(message.as_bytes()).await
        };
        let told = tokio::time::timeout(PATIENCE, sending).await;
        if let Err(error) = told.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            tracing::warn!(%error, message, "the service manager was not told");
        }
    }
}

/// A path, or after an `@` a name that is in no folder.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}
