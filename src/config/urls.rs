//! The provider's URL and webhook URLs.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::Authority;

use super::scalar::Read;
use super::yaml::Scalar;
use crate::wire::secret::Secret;

/// How the provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear; for simulators and for tunnels of one's own.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Where the provider's `in.php` is found: scheme, host, port and an optional base path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamUrl {
    scheme: Scheme,
    authority: Authority,
    base_path: String,
}

impl UpstreamUrl {
    /// Parses the URL; neither credentials nor query nor fragment are allowed.
    pub(super) fn read(scalar: &Scalar) -> Read<Self> {
        let (scheme, uri, authority) = split(&scalar.text, "https://ocr.captchaai.com")?;
        if authority.as_str().contains('@') {
            return Err("must not hold a user name or password; keys belong to `accounts`".into());
        }
        if uri.query().is_some() || scalar.text.contains('#') {
            return Err("must end with its path, without `?` or `#`".into());
        }
        let base_path = uri.path().trim_end_matches('/').to_owned();
        let script = base_path.rsplit('/').next().unwrap_or_default();
        if matches!(script, "in.php" | "res.php" | "solve.php") {
            return Err(format!("must not name a script; leave /{script} out"));
        }
        Ok(Self { scheme, authority, base_path })
    }

    /// How it is spoken to.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// `host` or `host:port`, as for the `Host` header.
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// The host name or address; an IPv6 address has its brackets.
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    /// The port, that of the scheme when the URL names none.
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or_else(|| self.scheme.default_port())
    }

    /// Empty, or `/path` without a slash at its end.
    pub fn base_path(&self) -> &str {
        &self.base_path
    }

    /// Plain HTTP to another machine.
    pub(super) fn is_in_the_clear(&self) -> bool {
        let host = self.host().trim_matches(['[', ']']);
        let loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        self.scheme == Scheme::Http && !loopback
    }
}

/// The provider that this is made for.
impl Default for UpstreamUrl {
    fn default() -> Self {
        let authority = Authority::from_static("ocr.captchaai.com");
        Self { scheme: Scheme::Https, authority, base_path: String::new() }
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority, self.base_path)
    }
}

/// A webhook's URL. Its path is as good as a password, so only the host is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    whole: Secret,
    shown: String,
}

impl WebhookUrl {
    pub(super) fn read(scalar: &Scalar) -> Read<Self> {
        let (scheme, _, authority) = split(&scalar.text, "https://hooks.example/x")?;
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = if host_holds_reference(scalar) { "***" } else { host };
        let shown = format!("{}://{host}/***", scheme.as_str());
        Ok(Self { whole: Secret::new(scalar.text.as_str()), shown })
    }

    /// The URL itself, for the one place that posts to it.
    pub fn expose(&self) -> &str {
        self.whole.expose()
    }

    /// Scheme and host: `https://hooks.example/***`.
    pub fn masked(&self) -> &str {
        &self.shown
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Whether a `${…}` was put into the host, where it may be a secret. One that is the whole URL is not.
fn host_holds_reference(scalar: &Scalar) -> bool {
    let written = scalar.source.as_ref().and_then(|source| source.split_once("://"));
    written.is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority.contains("${")
    })
}

/// The parts of an http or https URL. The text is not repeated in the error: it may hold a secret.
fn split(text: &str, example: &str) -> Read<(Scheme, Uri, Authority)> {
    let wrong = || format!("must be an http or https URL such as {example}");
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => return Err(wrong()),
    };
    let authority = uri.authority().cloned().ok_or_else(wrong)?;
    if authority.host().is_empty() {
        return Err(wrong());
    }
    // `authority.port()` is `None` for a number that is too large, too.
    let host_and_port = authority.as_str().rsplit('@').next().unwrap_or_default();
    let port = host_and_port.strip_prefix(authority.host()).unwrap_or_default();
    let port = port.strip_prefix(':').filter(|port| !port.is_empty());
    let is_one =
        |port: &str| !port.starts_with('+') && port.parse().is_ok_and(|port: u16| port > 0);
    if port.is_some_and(|port| !is_one(port)) {
        return Err("must name a port between 1 and 65535, or none".into());
    }
    Ok((scheme, uri, authority))
}
