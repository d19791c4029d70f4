//! The provider's answers off a connection, against a second and plainer reading of them as a whole.
//!
//! An input is a line and an answer. Each byte of the line, its end included, is the size of a piece in
//! which the answer comes, in turn; above 127 it counts in steps of 256. In the answer, the byte 0 and a
//! number repeat what is before them, so that long things fit into short inputs; 0 and 0 are the byte 0.

use solvegate::proxy::reader::{Broken, Complete, Reader};

const HEAD_BYTES_MAX: usize = 64 << 10;
const LINE_BYTES_MAX: usize = 4 << 10;
const ROOM: usize = 2 << 10;
/// Longer answers only take longer.
const ANSWER_BYTES_MAX: usize = 200_000;

/// However an answer is cut, it is read the same, as what the plain reading says it is, and held within
/// bounds. Nothing behind it is taken for a part of it, and its connection is used again only if where it
/// ends is beyond doubt.
pub(crate) fn answer_read(input: &[u8]) {
    let Some(end) = input.iter().position(|&b| b == b'\n') else { return };
    let sizes: Vec<usize> = input[..=end].iter().map(|&b| size(b)).collect();
    let Some(bytes) = repeated(&input[end + 1..]) else { return };
    let plain = plainly(&bytes);
    let is_read = read(&mut Reader::default(), &bytes, &[1]).is_ok();
    for sizes in [&sizes[..], &[1], &[usize::MAX]] {
        let mut reader = Reader::default();
        let read_so = read(&mut reader, &bytes, sizes);
        assert_eq!(read_so.is_ok(), is_read, "it depends on how it is cut");
        let Ok((complete, came)) = read_so else { continue };
        let plain = plain.as_ref().expect("what has no end was completed");
        assert_eq!(complete.answered.status, plain.status);
        assert!(complete.answered.body == plain.body, "another body");
        assert!(came >= plain.end, "it was not complete yet");
        assert_eq!(complete.keeps_alive, plain.keeps_alive && came == plain.end);
        if complete.keeps_alive {
            let (again, _) = read(&mut reader, &bytes, sizes).expect("it was read once");
            assert!(again.answered.body == plain.body, "something was left of the first answer");
        }
    }
}

fn size(byte: u8) -> usize {
    match byte {
        0..=127 => usize::from(byte).max(1),
        128.. => usize::from(byte - 127) * 256,
    }
}

fn repeated(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        match (byte, bytes.last(), rest.as_slice().first()) {
            (0, Some(&last), Some(&times)) if times > 0 => {
                bytes.resize(bytes.len() + usize::from(times) * 64, last);
                rest.next();
            }
            (0, _, Some(0)) => {
                bytes.push(0);
                rest.next();
            }
            _ => bytes.push(byte),
        }
    }
    (bytes.len() <= ANSWER_BYTES_MAX).then_some(bytes)
}

/// The answer, and how many bytes had come when it was complete.
fn read(reader: &mut Reader, bytes: &[u8], sizes: &[usize]) -> Result<(Complete, usize), Broken> {
    let head = final_head(bytes);
    let mut came = 0;
    for size in sizes.iter().cycle() {
        let room = reader.room();
        assert!(!room.is_empty() && room.len() <= came.max(ROOM), "more room than needed");
        let count = room.len().min(*size).min(bytes.len() - came);
        if count == 0 {
            break;
        }
        room[..count].copy_from_slice(&bytes[came..came + count]);
        came += count;
        if let Some(complete) = reader.came(count)? {
            return Ok((complete, came));
        }
        let head_so_far = came.min(head.end.unwrap_or(usize::MAX)).saturating_sub(head.start);
        assert!(head_so_far <= HEAD_BYTES_MAX, "an endless head is held");
    }
    reader.ended().map(|complete| (complete, came))
}

struct Plain {
    status: u16,
    body: Vec<u8>,
    /// Where it ends in the bytes.
    end: usize,
    keeps_alive: bool,
}

struct Head<'a> {
    start: usize,
    /// `None`: it is not whole.
    end: Option<usize>,
    lines: Vec<&'a [u8]>,
}

/// The line from there on, without its end, and where the next one begins.
fn line(bytes: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let size = bytes[from..].iter().position(|&b| b == b'\n')?;
    let line = &bytes[from..from + size];
    Some((line.strip_suffix(b"\r").unwrap_or(line), from + size + 1))
}

/// The first head that is not an interim one.
fn final_head(bytes: &[u8]) -> Head<'_> {
    let (mut start, mut at, mut lines) = (0, 0, Vec::new());
    while let Some((line, next)) = line(bytes, at) {
        at = next;
        if !line.is_empty() {
            lines.push(line);
        } else if lines.first().is_some_and(|first: &&[u8]| first.get(9) == Some(&b'1')) {
            (start, lines) = (at, Vec::new());
        } else if !lines.is_empty() {
            return Head { start, end: Some(at), lines };
        }
    }
    Head { start, end: None, lines }
}

/// The answer as a whole; `None` where it has no end or is over a bound.
fn plainly(bytes: &[u8]) -> Option<Plain> {
    let head = final_head(bytes);
    let at = head.end.filter(|end| end - head.start <= HEAD_BYTES_MAX)?;
    let first = String::from_utf8_lossy(head.lines.first()?);
    let is_old = first.starts_with("HTTP/1.0");
    let status: u16 = first.get(9..12)?.parse().ok()?;
    let values = |name: &str| values(&head.lines[1..], name);
    let (codings, lengths) = (values("transfer-encoding"), values("content-length"));
    let options = values("connection");

    let is_empty = matches!(status, 204 | 304);
    let chunked = codings.iter().filter(|coding| *coding == "chunked").count();
    let (body, end) = if is_empty {
        (Vec::new(), at)
    } else if codings.last().is_some_and(|last| last == "chunked") {
        chunks(bytes, at)?
    } else if let (Some(length), true) = (lengths.first(), codings.is_empty()) {
        let end = at.checked_add(length.parse().ok()?)?;
        (bytes.get(at..end)?.to_vec(), end)
    } else {
        (bytes[at..].to_vec(), bytes.len())
    };
    let has_end = is_empty || !lengths.is_empty() || chunked > 0;
    let in_doubt = (!codings.is_empty() && (!lengths.is_empty() || is_old || is_empty))
        || (!codings.is_empty() && (chunked != 1 || codings.last()? != "chunked"))
        || (status == 204 && lengths.iter().any(|length| length.parse() != Ok(0)));
    let lasts = !is_old || options.iter().any(|option| option == "keep-alive");
    let closes = options.iter().any(|option| option == "close");
    Some(Plain { status, body, end, keeps_alive: has_end && !in_doubt && lasts && !closes })
}

/// All values of that name, in order, in small letters.
fn values(lines: &[&[u8]], name: &str) -> Vec<String> {
    let mut values = Vec::new();
    for line in lines {
        let line = String::from_utf8_lossy(line).to_ascii_lowercase();
        if let Some((found, value)) = line.split_once(':')
            && found == name
        {
            values.extend(value.split(',').map(|text| text.trim_matches([' ', '\t']).to_owned()));
        }
    }
    values
}

fn chunks(bytes: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let next_line = |at: &mut usize| {
        let (text, next) = line(bytes, *at)?;
        let is_short = next - *at <= LINE_BYTES_MAX + 1;
        *at = next;
        is_short.then_some(text)
    };
    loop {
        let size = String::from_utf8_lossy(next_line(&mut at)?).into_owned();
        let size = usize::from_str_radix(size.split(';').next()?.trim_ascii(), 16).ok()?;
        if size == 0 {
            while !next_line(&mut at)?.trim_ascii().is_empty() {}
            return Some((body, at));
        }
        body.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
        at += size;
        next_line(&mut at)?;
    }
}
