//! A strict scanner of `multipart/form-data` that yields byte ranges.
//!
//! Wherever servers disagree on the framing (bare line feeds, folded headers, boundaries followed by
//! text, parts after the end) it refuses: a part that one side sees and the other does not could carry
//! somebody else's task id, or a key, past the sidecar.

use std::ops::Range;

use memchr::memmem::Finder;
use memchr::{memchr, memchr_iter, memchr2};

use super::Malformed;
use super::params::{Coding, Pair, Place, is_plain, push};

/// Longer than any client's; the RFC allows 70.
const BOUNDARY_MAX: usize = 200;

/// The boundary of a `multipart/form-data` content type, without its quotes.
pub(super) fn boundary(content_type: &[u8]) -> Result<&[u8], Malformed> {
    let mut at = memchr(b';', content_type).unwrap_or(content_type.len());
    let mut found = None;
    while let Some((name, value)) =
        next_parameter(content_type, &mut at).map_err(|_| Malformed::Boundary)?
    {
        let name = &content_type[name];
        if name.eq_ignore_ascii_case(b"boundary") && found.is_none() {
            found = Some(&content_type[value]);
        } else if !name.eq_ignore_ascii_case(b"charset") {
            return Err(Malformed::Boundary);
        }
    }
    let fits = |boundary: &&[u8]| {
        (1..=BOUNDARY_MAX).contains(&boundary.len())
            && boundary.iter().all(|&b| b.is_ascii_alphanumeric() || b"'()+_-./:=?".contains(&b))
    };
    found.filter(fits).ok_or(Malformed::Boundary)
}

/// Adds a pair per part, in order; preamble and epilogue are passed over. Linear in the body.
pub(super) fn scan(body: &[u8], boundary: &[u8], pairs: &mut Vec<Pair>) -> Result<(), Malformed> {
    let delimiter = [b"\n--", boundary].concat();
    let finder = Finder::new(&delimiter);
    let mut at = if body.starts_with(&delimiter[1..]) {
        delimiter.len() - 1
    } else {
        next_delimiter(body, 0, &finder)? + 1 + delimiter.len()
    };
    loop {
        match body.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            Some(b"--") if finder.find(&body[at..]).is_none() => return Ok(()),
            Some(b"--") => return Err(broken("there is a boundary after the closing one")),
            _ => return Err(broken("a boundary must be followed by CRLF or `--`")),
        }
        let (name, data) = headers(body, at)?;
        let end = next_delimiter(body, data, &finder)?;
        let (is_plain, value) = (is_plain(&body[name.clone()]), Some(data..end));
        push(
            pairs,
            Pair {
                place: Place::Body,
                coding: Coding::Plain,
                name,
                is_plain,
                is_verbatim: true,
                value,
            },
        )?;
        at = end + 1 + delimiter.len();
    }
}

/// Where the CRLF of the next delimiter stands.
fn next_delimiter(body: &[u8], from: usize, finder: &Finder<'_>) -> Result<usize, Malformed> {
    let Some(offset) = finder.find(&body[from..]) else {
        return Err(broken("the closing boundary is missing"));
    };
    match offset.checked_sub(1) {
        Some(before) if body[from + before] == b'\r' => Ok(from + before),
        _ => Err(broken("a boundary must stand after CRLF")),
    }
}

/// Reads a part's headers: the range of its name, and where its data begins.
fn headers(body: &[u8], mut at: usize) -> Result<(Range<usize>, usize), Malformed> {
    let mut name = None;
    loop {
        let Some(length) = memchr(b'\n', &body[at..]) else {
            return Err(broken("the headers of a part do not end"));
        };
        let line = &body[at..at + length];
        let Some((b'\r', line)) = line.split_last() else {
            return Err(broken("the header lines of a part must end with CRLF"));
        };
        let next = at + length + 1;
        if line.is_empty() {
            let name = name.ok_or(broken("a part has no `Content-Disposition` with a name"))?;
            return Ok((name, next));
        }
        let colon = memchr(b':', line).unwrap_or(0);
        if colon == 0 || !line[..colon].iter().all(|&b| is_token(b)) {
            return Err(broken("a header line of a part is no `Name: value`"));
        }
        if line[colon..].iter().any(|&b| matches!(b, 0 | b'\r')) {
            return Err(broken("a header of a part holds a control character"));
        }
        if line[..colon].eq_ignore_ascii_case(b"content-disposition") {
            if name.is_some() {
                return Err(broken("a part has two `Content-Disposition` headers"));
            }
            name = Some(part_name(&body[..next - 2], at + colon + 1)?);
        }
        at = next;
    }
}

/// The range of `name` in `form-data; name="…"`, which begins at `start` and goes to the end of `text`.
fn part_name(text: &[u8], start: usize) -> Result<Range<usize>, Malformed> {
    const WRONG: Malformed =
        broken("a `Content-Disposition` is not of the form `form-data; name=\"…\"`");
    let mut at = start + memchr(b';', &text[start..]).ok_or(WRONG)?;
    if !text[start..at].trim_ascii().eq_ignore_ascii_case(b"form-data") {
        return Err(WRONG);
    }
    let mut found = None;
    while let Some((name, value)) = next_parameter(text, &mut at).map_err(|_| WRONG)? {
        if !text[name].eq_ignore_ascii_case(b"name") {
            continue;
        }
        if found.is_some() || memchr2(b'\\', b'\'', &text[value.clone()]).is_some() {
            return Err(WRONG);
        }
        found = Some(value);
    }
    found.ok_or(WRONG)
}

/// A parameter of a header: the ranges of its name and of its value.
type Parameter = (Range<usize>, Range<usize>);

/// The text at hand is no parameter, or one that servers read differently.
struct Unclear;

/// The next `; name=value` or `; name="value"` at `at`, quotes left out; `None` at the end.
fn next_parameter(text: &[u8], at: &mut usize) -> Result<Option<Parameter>, Unclear> {
    let skip_space = |from: usize| {
        from + text[from..].iter().take_while(|&&b| matches!(b, b' ' | b'\t')).count()
    };
    let mut start = skip_space(*at);
    if start == text.len() {
        return Ok(None);
    }
    if text[start] != b';' {
        return Err(Unclear);
    }
    start = skip_space(start + 1);
    if start == text.len() {
        return Ok(None);
    }
    let equals = start + memchr(b'=', &text[start..]).ok_or(Unclear)?;
    if equals == start || !text[start..equals].iter().all(|&b| is_token(b)) {
        return Err(Unclear);
    }
    let open = equals + 1;
    let value = if text.get(open) == Some(&b'"') {
        let value = open + 1..closing_quote(text, open + 1).ok_or(Unclear)?;
        *at = value.end + 1;
        value
    } else {
        *at = open + memchr(b';', &text[open..]).unwrap_or(text.len() - open);
        let value = open..open + text[open..*at].trim_ascii_end().len();
        // PHP takes `'` for a quote as well; only pairs of it (`filename*=UTF-8''x`) mean one thing.
        let quotes = memchr_iter(b'\'', &text[value.clone()]).count();
        if quotes % 2 == 1 || text[value.clone()].iter().any(|&b| b <= b' ' || b == b'"') {
            return Err(Unclear);
        }
        value
    };
    Ok(Some((start..equals, value)))
}

/// Where the quoted string ends; `None` also for `\\"`, which is an escape to some and an end to others.
fn closing_quote(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        match (text.get(at)?, text.get(at + 1)) {
            (b'"', _) => return Some(at),
            (b'\\', Some(b'"')) if at > from && text[at - 1] == b'\\' => return None,
            (b'\\', Some(b'"')) => at += 2,
            _ => at += 1,
        }
    }
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'*' | b'!' | b'#' | b'$')
}

const fn broken(what: &'static str) -> Malformed {
    Malformed::Multipart { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(body: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Malformed> {
        let mut pairs = Vec::new();
        scan(body, b"XX", &mut pairs)?;
        let part = |pair: Pair| {
            let name = String::from_utf8_lossy(&body[pair.name]).into_owned();
            (name, body[pair.value.unwrap()].to_vec())
        };
        Ok(pairs.into_iter().map(part).collect())
    }

    fn part(header: &str) -> Vec<u8> {
        format!("--XX\r\n{header}\r\n\r\nv\r\n--XX--").into_bytes()
    }

    #[test]
    fn parts_are_found_with_their_exact_bytes() {
        let body = b"preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n\
            --XX\r\ncontent-type: image/png\r\ncontent-disposition: Form-Data; name=b; filename=\"c;\\\"d.png\"\r\n\r\n\
            \x00\xff\r\n\r\n--X\n--\r\n--XX\r\nContent-Disposition: form-data; name=\"\"\r\n\r\n\r\n--XX--\r\nepilogue";

        let expected = vec![
            ("a".to_owned(), b"1".to_vec()),
            ("b".to_owned(), b"\x00\xff\r\n\r\n--X\n--".to_vec()),
            (String::new(), Vec::new()),
        ];
        assert_eq!(parts(body), Ok(expected));
        assert_eq!(parts(b"--XX--"), Ok(Vec::new()));
    }

    #[test]
    fn framing_that_servers_read_differently_is_refused() {
        let good = "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--XX--\r\n";
        assert!(parts(good.as_bytes()).is_ok());
        for (what, body) in [
            ("no boundary", "a=1".to_owned()),
            ("empty", String::new()),
            ("unterminated", good.replace("--XX--\r\n", "")),
            ("cut in the close", good.replace("--XX--\r\n", "--XX-")),
            ("bare LF before a boundary", good.replace("1\r\n", "1\n")),
            ("bare LF in headers", good.replace("\"a\"\r\n", "\"a\"\n")),
            ("text after a boundary", good.replacen("--XX\r\n", "--XXY\r\n", 1)),
            ("space after a boundary", good.replacen("--XX\r\n", "--XX \r\n", 1)),
            ("a part after the end", format!("{good}{good}")),
            (
                "headers without end",
                "--XX\r\nContent-Disposition: form-data; name=a\r\n".to_owned(),
            ),
            ("no headers", "--XX\r\n\r\nv\r\n--XX--".to_owned()),
        ] {
            assert!(matches!(parts(body.as_bytes()), Err(Malformed::Multipart { .. })), "{what}");
        }
    }

    #[test]
    fn part_headers_are_read_strictly() {
        for header in [
            "Content-Disposition: form-data; name=\"v\"",
            "CONTENT-DISPOSITION:form-data;NAME=v",
            "X-Other: 1;2\r\nContent-Disposition: form-data; name=\"v\";",
            "Content-Disposition: form-data; filename*=UTF-8''x; name=\"v\" ; filename=\"C:\\dir\\x\"",
        ] {
            assert_eq!(parts(&part(header)), Ok(vec![("v".to_owned(), b"v".to_vec())]), "{header}");
        }
        for header in [
            "Content-Type: text/plain",
            "Content-Disposition: form-data",
            "Content-Disposition: form-data; filename=\"v\"",
            "Content-Disposition: attachment; name=\"v\"",
            "Content-Disposition: form-data; name=\"v\"; name=\"key\"",
            "Content-Disposition: form-data; name=\"v",
            "Content-Disposition: form-data; name=\"v\"x",
            "Content-Disposition: form-data; name=\"v\\\"x\"",
            "Content-Disposition: form-data; name=v x",
            "Content-Disposition: form-data; name=v x ; filename=y",
            "Content-Disposition: form-data; name='key'",
            "Content-Disposition: form-data; filename=a'; name=\"v\"",
            "Content-Disposition: form-data; filename=\"a\\\\\"; name=\"v\"",
            "Content-Disposition: form-data; name",
            "Content-Disposition: form-data; name=\"v\"\r\nContent-Disposition: form-data; name=\"key\"",
            "Content-Disposition: form-data;\r\n name=\"v\"",
            "garbage\r\nContent-Disposition: form-data; name=\"v\"",
            ": x\r\nContent-Disposition: form-data; name=\"v\"",
            "A b: x\r\nContent-Disposition: form-data; name=\"v\"",
            "A: x\0\r\nContent-Disposition: form-data; name=\"v\"",
        ] {
            assert!(matches!(parts(&part(header)), Err(Malformed::Multipart { .. })), "{header}");
        }
    }

    #[test]
    fn the_boundary_comes_from_the_content_type() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=abc", "abc"),
            ("Multipart/Form-Data;BOUNDARY=\"a/b:c\"; charset=UTF-8", "a/b:c"),
            ("multipart/form-data; boundary================12==", "===============12=="),
            (
                "multipart/form-data; charset=utf-8 ; boundary=----WebKitFormBoundaryX ;",
                "----WebKitFormBoundaryX",
            ),
        ] {
            assert_eq!(
                boundary(content_type.as_bytes()),
                Ok(expected.as_bytes()),
                "{content_type}"
            );
        }
        for content_type in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"\"",
            "multipart/form-data; boundary=\"a",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/form-data; boundary=a b",
            "multipart/form-data; boundary=a,b",
            "multipart/form-data; x-boundary=a; boundary=b",
            "multipart/form-data boundary=a",
        ] {
            assert_eq!(
                boundary(content_type.as_bytes()),
                Err(Malformed::Boundary),
                "{content_type}"
            );
        }
        let long = format!("multipart/form-data; boundary={}", "a".repeat(201));
        assert_eq!(boundary(long.as_bytes()), Err(Malformed::Boundary));
    }
}
