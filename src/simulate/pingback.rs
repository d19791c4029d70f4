//! Pingbacks: telling a client's URL on loopback that its task is done.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::options::Dialect;
use super::server::Shared;

const PATIENCE: Duration = Duration::from_secs(5);

/// What to tell, whom and when.
#[derive(Debug)]
pub(super) struct Pingback<'a> {
    pub(super) target: &'a str,
    pub(super) id: u64,
    /// The answer as text, or the code that the task failed with.
    pub(super) code: String,
    pub(super) ready: Duration,
    pub(super) dialect: Dialect,
}

/// Calls the target when the task is ready; does nothing for a target that is not on loopback.
pub(super) fn schedule(shared: &Arc<Shared>, pingback: &Pingback<'_>) {
    let Some((addr, message)) = compose(pingback) else { return };
    let ready = pingback.ready;
    let call = {
        let shared = shared.clone();
        async move {
            shared.sleep_until(ready).await;
            // Nobody is there to be told that a pingback failed.
            let _ = tokio::time::timeout(PATIENCE, send(addr, &message)).await;
        }
    };
    shared.tracker.spawn(shared.stop.clone().run_until_cancelled_owned(call));
}

async fn send(addr: SocketAddr, message: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(message.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(())
}

/// Address and request; `None` for a target that is no http URL on loopback.
fn compose(pingback: &Pingback<'_>) -> Option<(SocketAddr, String)> {
    let uri: ::http::Uri = pingback.target.parse().ok()?;
    if uri.scheme_str() != Some("http") {
        return None;
    }
    let host = uri.host()?.trim_matches(['[', ']']);
    let ip = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        literal => literal.parse().ok()?,
    };
    if !ip.is_loopback() {
        return None;
    }
    let addr = SocketAddr::new(ip, uri.port_u16().unwrap_or(80));
    let fields = form_urlencoded::Serializer::new(String::new())
        .append_pair("id", &pingback.id.to_string())
        .append_pair("code", &pingback.code)
        .finish();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let common = format!("Host: {addr}\r\nConnection: close\r\n");
    let message = match pingback.dialect {
        Dialect::Captchaai => {
            let glue = if path.contains('?') { '&' } else { '?' };
            format!("GET {path}{glue}{fields} HTTP/1.1\r\n{common}\r\n")
        }
        Dialect::TwoCaptcha => format!(
            "POST {path} HTTP/1.1\r\n{common}Content-Type: application/x-www-form-urlencoded\r\n\
            Content-Length: {}\r\n\r\n{fields}",
            fields.len()
        ),
    };
    Some((addr, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pingback(target: &str) -> Pingback<'_> {
        let dialect = Dialect::Captchaai;
        Pingback { target, id: 7, code: "a|b".to_owned(), ready: Duration::ZERO, dialect }
    }

    #[test]
    fn only_loopback_is_ever_called() {
        for target in [
            "http://example.com/",
            "http://10.0.0.1/",
            "https://127.0.0.1/",
            "http://127.0.0.1.nip.io/",
            "nonsense",
        ] {
            assert!(compose(&pingback(target)).is_none(), "{target}");
        }
        for target in ["http://127.0.0.1:9/done", "http://localhost/", "http://[::1]:9/"] {
            assert!(compose(&pingback(target)).is_some(), "{target}");
        }
    }

    #[test]
    fn a_pingback_carries_id_and_code() {
        let (addr, message) = compose(&pingback("http://127.0.0.1:9/done?t=1")).unwrap();

        assert_eq!(addr.port(), 9);
        assert!(message.starts_with("GET /done?t=1&id=7&code=a%7Cb HTTP/1.1\r\n"), "{message}");
    }
}
