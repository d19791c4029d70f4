//! Where a request really comes from, and which of its headers go on.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{self, HeaderName};
use ipnet::IpNet;
use percent_encoding::{CONTROLS, utf8_percent_encode};

use crate::config::LogUrls;

/// The client's address: the peer's, or, behind trusted proxies, the last address of
/// `X-Forwarded-For` that is not one of theirs. `None` where what a trusted proxy wrote is no address.
pub(super) fn source_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
    let mut source = peer.to_canonical();
    if trusted.is_empty() || !is_trusted(source) {
        return Some(source);
    }
    // Bytes: what a client wrote of its own must not take the rest of its line with it.
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    for hop in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
        source = address(hop)?.to_canonical();
        if !is_trusted(source) {
            break;
        }
    }
    Some(source)
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(hop).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    bare.parse().or_else(|_| with_port()).ok()
}

/// The headers that go to the provider, as lines: the client's, less those that speak of this
/// connection, of the client's credentials or of encodings that the sidecar could not read.
pub(super) fn forwarded(headers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    let named: Vec<HeaderName> = connection_options(headers);
    for (name, value) in headers {
        if !is_dropped(name) && !named.contains(name) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                lines.extend_from_slice(part);
            }
        }
    }
    lines
}

fn is_dropped(name: &HeaderName) -> bool {
    const DROPPED: [HeaderName; 16] = [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
        header::ACCEPT_ENCODING,
        header::CONTENT_ENCODING,
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::COOKIE,
        header::REFERER,
        header::FORWARDED,
    ];
    DROPPED.contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
        || name.as_str().starts_with("x-forwarded-")
}

fn connection_options(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).map(str::trim);
    // Nearly every client sends this one, which is no header's name.
    let names = names.filter(|name| !name.eq_ignore_ascii_case("keep-alive"));
    names.filter_map(|name| name.parse().ok()).collect()
}

/// What is kept of a page's URL: a URL may hold personal data, so by default its host alone.
pub(super) fn page(url: &str, keep: LogUrls) -> Option<Box<str>> {
    const PAGE_BYTES_MAX: usize = 512;
    const HOST_BYTES_MAX: usize = 255;
    match keep {
        LogUrls::None => None,
        LogUrls::Whole => {
            let kept = harmless(&url[..url.floor_char_boundary(PAGE_BYTES_MAX)]);
            Some(kept[..kept.floor_char_boundary(PAGE_BYTES_MAX)].into())
        }
        LogUrls::Host => {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            let authority = rest.split(['/', '?', '#']).next()?;
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            let kept = harmless(&host[..host.floor_char_boundary(HOST_BYTES_MAX + 1)]);
            (1..=HOST_BYTES_MAX).contains(&kept.len()).then(|| (*kept).into())
        }
    }
}

/// A control character has no place in a URL, and would be obeyed by the terminal that shows the record.
fn harmless(url: &str) -> Cow<'_, str> {
    if !url.contains(char::is_control) {
        return url.into();
    }
    let mut kept = String::with_capacity(url.len() + 16);
    for c in url.chars() {
        if c.is_control() {
            kept.extend(utf8_percent_encode(c.encode_utf8(&mut [0; 4]), CONTROLS));
        } else {
            kept.push(c);
        }
    }
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            let line = http::HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append("x-forwarded-for", line);
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let source = source_ip(peer.parse().unwrap(), &headers, &trusted);
        source.map_or_else(|| "-".to_owned(), |ip| ip.to_string())
    }

    #[test]
    fn forwarded_addresses_count_only_from_trusted_proxies() {
        let lan = &["10.0.0.0/8"][..];
        assert_eq!(source("192.0.2.1", &["198.51.100.7"], &[]), "192.0.2.1");
        assert_eq!(source("192.0.2.1", &["198.51.100.7"], lan), "192.0.2.1");
        assert_eq!(source("10.0.0.1", &["198.51.100.7"], lan), "198.51.100.7");
        assert_eq!(
            source("10.0.0.1", &["203.0.113.9, 198.51.100.7, 10.0.0.2"], lan),
            "198.51.100.7"
        );
        assert_eq!(source("10.0.0.1", &["203.0.113.9", "198.51.100.7"], lan), "198.51.100.7");
        // What the client wrote takes nothing of what the proxy wrote with it.
        assert_eq!(source("10.0.0.1", &["é, 198.51.100.7"], lan), "198.51.100.7");
        assert_eq!(source("10.0.0.1", &["10.9.1.1", "é, 198.51.100.7"], lan), "198.51.100.7");
        for port in ["198.51.100.7:80", "[::ffff:198.51.100.7]:80", "[::ffff:198.51.100.7]"] {
            assert_eq!(source("10.0.0.1", &[port], lan), "198.51.100.7", "{port}");
        }
        for unclear in ["203.0.113.9, junk", "203.0.113.9, ", "", "unknown", "é", "[10.0.0.1"] {
            assert_eq!(source("10.0.0.1", &[unclear], lan), "-", "{unclear}");
        }
        assert_eq!(source("::ffff:10.0.0.1", &["::ffff:198.51.100.7"], lan), "198.51.100.7");
        assert_eq!(source("10.0.0.1", &[], lan), "10.0.0.1");
    }

    #[test]
    fn headers_of_the_connection_and_credentials_stay_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "sidecar"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("accept-encoding", "gzip"),
            ("authorization", "Basic x"),
            ("x-forwarded-for", "10.0.0.1"),
            ("user-agent", "python"),
            ("x-custom", "kept"),
        ] {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }

        let forwarded = String::from_utf8(forwarded(&headers)).unwrap();

        assert_eq!(forwarded, "user-agent: python\r\nx-custom: kept\r\n");
    }

    #[test]
    fn of_a_page_only_the_host_is_kept_unless_asked() {
        let url = "https://user:pw@shop.example:8443/login?session=1";
        assert_eq!(page(url, LogUrls::Host).as_deref(), Some("shop.example:8443"));
        assert_eq!(page("shop.example/login", LogUrls::Host).as_deref(), Some("shop.example"));
        assert_eq!(page(url, LogUrls::Whole).as_deref(), Some(url));
        assert_eq!(page(url, LogUrls::None), None);
        assert_eq!(page(&"é".repeat(400), LogUrls::Whole).unwrap().len(), 512);
    }

    #[test]
    fn what_a_terminal_would_obey_is_kept_encoded() {
        let url = "https://a\u{1b}[2J.example/\u{9b}\u{7}é\r\n";
        assert_eq!(page(url, LogUrls::Host).as_deref(), Some("a%1B[2J.example"));
        let whole = "https://a%1B[2J.example/%C2%9B%07é%0D%0A";
        assert_eq!(page(url, LogUrls::Whole).as_deref(), Some(whole));
        let many = "\u{1b}".repeat(300);
        assert_eq!(page(&many, LogUrls::Whole).unwrap().len(), 512);
        assert_eq!(page(&many[..85], LogUrls::Host).unwrap().len(), 255);
        assert_eq!(page(&many[..86], LogUrls::Host), None);
    }
}
