//! Single values: text to a checked type, or the sentence that says what to write instead.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::finding::veiled;
use super::yaml::Scalar;
use crate::domain::captcha_type::CaptchaType;
use crate::domain::ids::{KeyHash, Name};
use crate::domain::money::{Money, ParseMoneyError};
use crate::domain::time::Wall;
use crate::wire::secret::Secret;

/// What stands for a secret in the effective config.
pub(super) const MASK: &str = "***";

/// The value, or what is wrong with it and what to do.
pub(super) type Read<T> = Result<T, String>;

/// `, is 0` for a value in the file, `, from ${RATE}` for one that came from elsewhere: only what the
/// file itself shows is repeated, and only when it is short and looks like no key.
fn is(scalar: &Scalar) -> String {
    let (word, shown) = match &scalar.source {
        Some(source) => ("from", source),
        None => ("is", &scalar.text),
    };
    let short = (1..=40).contains(&shown.chars().count()) && !shown.contains(char::is_control);
    if short && veiled(shown) == shown { format!(", {word} {shown}") } else { String::new() }
}

/// `true` or `false`.
pub(super) fn boolean(scalar: &Scalar) -> Read<bool> {
    match scalar.text.as_str() {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        _ => Err(format!("must be true or false{}", is(scalar))),
    }
}

/// A whole number in a range.
pub(super) fn integer<T>(range: RangeInclusive<T>) -> impl Fn(&Scalar) -> Read<T>
where
    T: Copy + Display + Into<i128> + TryFrom<i128>,
{
    move |scalar| {
        let text = scalar.text.as_str();
        let digits = text.strip_prefix('-').unwrap_or(text);
        let decimal = digits.bytes().all(|b| b.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'));
        let number: Option<i128> = if decimal { text.parse().ok() } else { None };
        let Some(number) = number else {
            return Err(format!("must be a whole number such as 10{}", is(scalar)));
        };
        if number < (*range.start()).into() {
            return Err(format!("must be at least {}{}", range.start(), is(scalar)));
        }
        match T::try_from(number) {
            Ok(number) if number.into() <= (*range.end()).into() => Ok(number),
            _ => Err(format!("must be at most {}{}", range.end(), is(scalar))),
        }
    }
}

/// A decimal number for which `holds`; `rule` says so in words.
pub(super) fn number(
    holds: impl Fn(f64) -> bool,
    rule: &'static str,
) -> impl Fn(&Scalar) -> Read<f64> {
    move |scalar| {
        let text = scalar.text.as_str();
        let decimal = !text.starts_with('.')
            && !text.ends_with('.')
            && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let number: Option<f64> = if decimal { text.parse().ok() } else { None };
        match number {
            Some(number) if number.is_finite() && holds(number) => Ok(number),
            _ => Err(format!("must be {rule}{}", is(scalar))),
        }
    }
}

/// Dollars from zero to `max`, by their decimal text.
pub(super) fn money(max: Money) -> impl Fn(&Scalar) -> Read<Money> {
    move |scalar| {
        let money: Money = scalar.text.parse().map_err(|error| match error {
            ParseMoneyError::Malformed => {
                format!("must be an amount of dollars such as 12.50{}", is(scalar))
            }
            ParseMoneyError::TooPrecise => format!("must have at most 6 decimals{}", is(scalar)),
            ParseMoneyError::TooLarge => format!("must be at most {max}{}", is(scalar)),
        })?;
        if money < Money::ZERO {
            return Err(format!("must be at least 0{}", is(scalar)));
        }
        if money > max {
            return Err(format!("must be at most {max}{}", is(scalar)));
        }
        Ok(money)
    }
}

/// A duration with its unit, in a range.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Scalar) -> Read<Duration> {
    move |scalar| {
        let text = scalar.text.as_str();
        let bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if bare && text.bytes().any(|b| b != b'0') || text.is_empty() {
            let example =
                if scalar.source.is_none() && bare && text.len() < 9 { text } else { "30" };
            return Err(format!("must have a unit: write {example}s{}", is(scalar)));
        }
        let duration = humantime::parse_duration(text)
            .map_err(|_| format!("must be a duration such as 30s, 5m or 24h{}", is(scalar)))?;
        if duration < *range.start() {
            let least = shown_duration(*range.start());
            return Err(format!("must be at least {least}{}", is(scalar)));
        }
        if duration > *range.end() {
            let most = shown_duration(*range.end());
            return Err(format!("must be at most {most}{}", is(scalar)));
        }
        Ok(duration)
    }
}

/// A duration as one would write it: `90d`, `1m30s`, `4500ms`, `0s`.
pub(super) fn shown_duration(duration: Duration) -> String {
    const UNITS: [(u128, &str); 7] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let mut rest = duration.as_nanos();
    let mut shown = String::new();
    for (size, unit) in UNITS {
        if rest >= size {
            shown.extend([(rest / size).to_string().as_str(), unit]);
            rest %= size;
        }
    }
    if shown.is_empty() { "0s".into() } else { shown }
}

/// One word of a closed list.
pub(super) fn one_of<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Scalar) -> Read<T> {
    move |scalar| {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == scalar.text) {
            return Ok(*value);
        }
        let names = words.iter().map(|(word, _)| *word);
        let list = names.clone().collect::<Vec<_>>().join(", ");
        Err(format!("must be one of {list}{}{}", is(scalar), did_you_mean(scalar, names)))
    }
}

/// A captcha type's label.
pub(super) fn captcha_type(scalar: &Scalar) -> Read<CaptchaType> {
    CaptchaType::from_label(&scalar.text).ok_or_else(|| {
        let hint = if scalar.source.is_none() { closest_type(&scalar.text) } else { String::new() };
        format!("must be a captcha type{}{hint}", is(scalar))
    })
}

/// `; did you mean turnstile?`, or the whole list.
pub(super) fn closest_type(text: &str) -> String {
    if text == "normal" {
        return "; did you mean image?".into();
    }
    let labels = CaptchaType::ALL.map(CaptchaType::label);
    match closest(text, labels.into_iter()) {
        Some(close) => format!("; did you mean {close}?"),
        None => format!("; the types are {}", labels.join(", ")),
    }
}

/// A name given by the operator: of a tenant, an account, a key.
pub(super) fn name(text: &str) -> Read<Name> {
    let fits = (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if fits && text.len() == 32 && veiled(text) != text {
        Err("looks like a key where a name should stand; names are shown in logs and metrics"
            .into())
    } else if fits {
        Ok(text.into())
    } else {
        Err("must be named with 1 to 64 letters, digits, `_`, `.` or `-`, \
             the first a letter or digit"
            .into())
    }
}

/// A secret without spaces, in printable ASCII.
pub(super) fn token(scalar: &Scalar) -> Read<Secret> {
    let text = scalar.text.as_str();
    if text.is_empty() {
        Err("must not be empty".into())
    } else if text == MASK {
        Err("is masked; write the secret itself".into())
    } else if text.len() > 256 {
        Err(format!("must be at most 256 characters (has {})", text.chars().count()))
    } else if !text.bytes().all(|b| b.is_ascii_graphic()) {
        Err("must be printable ASCII characters without spaces".into())
    } else {
        Ok(Secret::new(text))
    }
}

/// A tenant's key in the clear; the hash is all that is kept.
pub(super) fn tenant_key(scalar: &Scalar) -> Read<KeyHash> {
    let length = scalar.text.chars().count();
    if length != 32 {
        Err(format!("must be 32 letters or digits (has {length})"))
    } else if !scalar.text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        Err("must be 32 letters or digits (has other characters)".into())
    } else {
        Ok(Secret::new(scalar.text.as_str()).sha256())
    }
}

/// A SHA-256 in hexadecimal.
pub(super) fn sha256(scalar: &Scalar) -> Read<KeyHash> {
    let mut hash = [0; 32];
    match hex::decode_to_slice(&scalar.text, &mut hash) {
        Ok(()) => Ok(KeyHash(hash)),
        Err(_) => Err("must be the 64 hexadecimal digits of the key's SHA-256".into()),
    }
}

/// An address and a port.
pub(super) fn socket_addr(scalar: &Scalar) -> Read<SocketAddr> {
    scalar.text.parse().map_err(|_| {
        format!("must be an IP address and a port such as 127.0.0.1:8080{}", is(scalar))
    })
}

/// A path; a relative one starts from `base_dir`.
pub(super) fn path(base_dir: &Path) -> impl Fn(&Scalar) -> Read<PathBuf> {
    move |scalar| {
        if scalar.text.is_empty() || scalar.text.contains('\0') {
            return Err("must be the path of a file".into());
        }
        Ok(base_dir.join(&scalar.text))
    }
}

/// A network, or a bare address for the network of just that address. One of IPv4 addresses that are
/// written as IPv6 ones is the IPv4 network: so are addresses compared.
pub(super) fn ip_net(scalar: &Scalar) -> Read<IpNet> {
    let text = scalar.text.as_str();
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(
        |_| format!("must be a network such as 10.0.0.0/8 or an IP address{}", is(scalar)),
    )?;
    let IpAddr::V6(addr) = net.addr() else { return Ok(net) };
    let Some(addr) = addr.to_ipv4_mapped() else { return Ok(net) };
    let v4 = net.prefix_len().checked_sub(96).and_then(|bits| Ipv4Net::new(addr, bits).ok());
    v4.map(IpNet::V4).ok_or_else(|| {
        format!("must be written as an IPv4 network such as 10.0.0.0/8{}", is(scalar))
    })
}

/// An IANA time zone.
pub(super) fn time_zone(scalar: &Scalar) -> Read<TimeZone> {
    match TimeZone::get(&scalar.text) {
        Ok(zone) if zone.iana_name().is_some() && !zone.is_unknown() => Ok(zone),
        _ => Err(format!("must be an IANA time zone such as Europe/Berlin{}", is(scalar))),
    }
}

/// A date (the start of that day in `zone`) or an RFC 3339 instant.
pub(super) fn instant(zone: &TimeZone) -> impl Fn(&Scalar) -> Read<Wall> {
    move |scalar| {
        let text = scalar.text.as_str();
        let timestamp = if text.len() == 10 {
            text.parse::<Date>().and_then(|date| date.to_zoned(zone.clone())).map(|z| z.timestamp())
        } else {
            text.parse::<Timestamp>()
        };
        timestamp.map(|timestamp| Wall(timestamp.as_millisecond())).map_err(|_| {
            format!(
                "must be a date such as 2027-01-01 or an instant such as 2027-01-01T08:00:00Z{}",
                is(scalar)
            )
        })
    }
}

fn did_you_mean<'w>(scalar: &Scalar, words: impl Iterator<Item = &'w str>) -> String {
    match closest(&scalar.text, words) {
        Some(close) if scalar.source.is_none() => format!("; did you mean {close}?"),
        _ => String::new(),
    }
}

/// The word nearest to `text`, when it is near enough to be a slip of the pen.
pub(super) fn closest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let near = words.map(|word| (edits(text, word), word)).min()?;
    (near.0 <= near.1.len() / 3).then_some(near.1)
}

/// The Levenshtein distance.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().take(80).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
