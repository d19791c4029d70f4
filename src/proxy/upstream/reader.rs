//! The provider's answers, off the bytes of one connection: HTTP/1.0 and 1.1, sized, chunked, or up to
//! the connection's end.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::HeaderValue;
use memchr::{memchr, memchr_iter};

use super::Answered;

/// A larger answer than any provider's: token, user agent and cookies stay far below.
const BODY_BYTES_MAX: usize = 4 << 20;
/// A larger head than any web server's.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Line ends before a head: some servers end a body with one too many.
const EMPTY_BYTES_MAX: usize = 8;
/// What a body may take with the sizes of its chunks.
const BYTES_MAX: usize = HEAD_BYTES_MAX + 2 * BODY_BYTES_MAX;
/// A longer line between chunks than any server writes.
const LINE_BYTES_MAX: usize = 4 << 10;
const HEADERS_MAX: usize = 100;
/// Room for a usual answer; what is more is given back after the answer.
const ROOM: usize = 2 << 10;

/// What came is no answer, or too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// One answer at a time.
#[derive(Debug)]
pub struct Reader {
    bytes: Vec<u8>,
    /// How many of them came in.
    end: usize,
    head: Option<Head>,
    /// What the chunks held.
    chunked: Vec<u8>,
}

#[derive(Debug)]
struct Head {
    status: u16,
    content_type: Option<HeaderValue>,
    body: Body,
    keeps_alive: bool,
    /// Where the body begins; of a chunked one, what was not read yet.
    at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Sized(usize),
    Chunked(Chunk),
    ToEnd,
}

/// What comes next of a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Size,
    Data(usize),
    DataEnd,
    Trailer,
}

/// An answer, and whether another request may go out on its connection.
#[derive(Debug)]
pub struct Complete {
    /// The answer.
    pub answered: Answered,
    /// Whether the next answer on this connection can be told from this one.
    pub keeps_alive: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self { bytes: vec![0; ROOM], end: 0, head: None, chunked: Vec::new() }
    }
}

impl Reader {
    /// Where the next bytes go.
    pub fn room(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() {
            self.bytes.resize((self.end * 2).min(BYTES_MAX), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// So many bytes came in. `None`: the answer is not complete.
    pub fn came(&mut self, count: usize) -> Result<Option<Complete>, Broken> {
        let before = self.end;
        self.end += count;
        if self.head.is_none() && !self.read_head(before)? {
            return Ok(None);
        }
        let whole = match self.head.as_ref().map(|head| (head.body, head.at)) {
            Some((Body::Sized(size), at)) => self.end - at >= size,
            Some((Body::Chunked(chunk), at)) => self.read_chunks(chunk, at)?,
            Some((Body::ToEnd, at)) if self.end - at > BODY_BYTES_MAX => return Err(Broken),
            Some((Body::ToEnd, _)) | None => false,
        };
        if whole {
            return Ok(self.complete());
        }
        if self.end >= BYTES_MAX { Err(Broken) } else { Ok(None) }
    }

    /// The connection ended. That completes an answer of unknown length.
    pub fn ended(&mut self) -> Result<Complete, Broken> {
        match &self.head {
            Some(Head { body: Body::ToEnd, .. }) => self.complete().ok_or(Broken),
            Some(_) | None => Err(Broken),
        }
    }

    fn complete(&mut self) -> Option<Complete> {
        let head = self.head.take()?;
        let (body, read_to) = match head.body {
            Body::Sized(size) => (None, head.at + size),
            Body::Chunked(_) => (Some(Bytes::from(std::mem::take(&mut self.chunked))), head.at),
            Body::ToEnd => (None, self.end),
        };
        // A copy, of the answer's size: it may be remembered for long.
        let body = body.unwrap_or_else(|| Bytes::copy_from_slice(&self.bytes[head.at..read_to]));
        // What nobody asked for is no answer to the next request.
        let keeps_alive = head.keeps_alive && self.end == read_to;
        self.end = 0;
        if self.bytes.len() > ROOM {
            self.bytes = vec![0; ROOM];
        }
        let answered = Answered { status: head.status, content_type: head.content_type, body };
        Some(Complete { answered, keeps_alive })
    }

    /// Reads a head if it is there, `before` bytes of which were looked at. Interim ones are dropped.
    fn read_head(&mut self, before: usize) -> Result<bool, Broken> {
        let mut looked_at = before;
        loop {
            let bytes = &self.bytes[..self.end];
            let unfinished = if self.end > HEAD_BYTES_MAX { Err(Broken) } else { Ok(false) };
            let is_line_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
            let begin = bytes.iter().take(EMPTY_BYTES_MAX + 1);
            if begin.take_while(is_line_end).count() > EMPTY_BYTES_MAX {
                return Err(Broken);
            }
            // One that comes in pieces is not parsed again for each of them.
            if looked_at > 0 && !has_blank_line(bytes, looked_at) {
                return unfinished;
            }
            let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
            let mut response = httparse::Response::new(&mut []);
            let parsed = httparse::ParserConfig::default()
                .parse_response_with_uninit_headers(&mut response, bytes, &mut headers)
                .map_err(|_| Broken)?;
            let httparse::Status::Complete(at) = parsed else { return unfinished };
            if at > HEAD_BYTES_MAX {
                return Err(Broken);
            }
            let (Some(status), Some(version)) = (response.code, response.version) else {
                return Err(Broken);
            };
            if status == 101 {
                return Err(Broken);
            }
            if status / 100 != 1 {
                self.head = Some(head(status, version, at, response.headers)?);
                return Ok(true);
            }
            self.bytes.copy_within(at..self.end, 0);
            self.end -= at;
            looked_at = 0;
        }
    }

    /// Reads on in a chunked body; whether it is whole.
    fn read_chunks(&mut self, mut chunk: Chunk, mut at: usize) -> Result<bool, Broken> {
        let whole = loop {
            let rest = &self.bytes[at..self.end];
            chunk = match chunk {
                Chunk::Size => {
                    let Some(line) = line(rest)? else { break false };
                    at += line.len() + 1;
                    match chunk_size(line)? {
                        0 => Chunk::Trailer,
                        size if size > BODY_BYTES_MAX - self.chunked.len() => return Err(Broken),
                        size => Chunk::Data(size),
                    }
                }
                Chunk::Data(size) => {
                    let come = size.min(rest.len());
                    self.chunked.extend_from_slice(&rest[..come]);
                    at += come;
                    if come < size {
                        chunk = Chunk::Data(size - come);
                        break false;
                    }
                    Chunk::DataEnd
                }
                Chunk::DataEnd => {
                    let Some(line) = line(rest)? else { break false };
                    if !line.trim_ascii().is_empty() {
                        return Err(Broken);
                    }
                    at += line.len() + 1;
                    Chunk::Size
                }
                Chunk::Trailer => {
                    let Some(line) = line(rest)? else { break false };
                    at += line.len() + 1;
                    if line.trim_ascii().is_empty() {
                        break true;
                    }
                    Chunk::Trailer
                }
            };
        };
        if let Some(head) = &mut self.head {
            (head.body, head.at) = (Body::Chunked(chunk), at);
        }
        Ok(whole)
    }
}

/// Whether an empty line ends in the bytes after the first `from`.
fn has_blank_line(bytes: &[u8], from: usize) -> bool {
    memchr_iter(b'\n', &bytes[from..])
        .map(|at| &bytes[..from + at])
        .any(|before| matches!(before, [.., b'\n'] | [.., b'\n', b'\r']))
}

/// The first line, without its end; `None`: it is not whole.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Broken> {
    match memchr(b'\n', bytes) {
        Some(end) if end <= LINE_BYTES_MAX => Ok(Some(&bytes[..end])),
        None if bytes.len() <= LINE_BYTES_MAX => Ok(None),
        Some(_) | None => Err(Broken),
    }
}

fn chunk_size(line: &[u8]) -> Result<usize, Broken> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let valid = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| valid).ok_or(Broken)?;
    usize::from_str_radix(text, 16).map_err(|_| Broken)
}

fn head(
    status: u16,
    version: u8,
    at: usize,
    headers: &[httparse::Header<'_>],
) -> Result<Head, Broken> {
    let mut content_type = None;
    let mut size = None;
    let (mut last_coding, mut chunked): (Option<&[u8]>, _) = (None, 0);
    let (mut closes, mut stays) = (false, false);
    for header in headers {
        // Most servers write them like this, and to compare bytes is quick.
        let is = |name: &str| header.name == name || header.name.eq_ignore_ascii_case(name);
        if is("Content-Length") {
            for text in header.value.split(|byte| *byte == b',') {
                let this = content_length(text.trim_ascii())?;
                if size.replace(this).is_some_and(|other| other != this) {
                    return Err(Broken);
                }
            }
        } else if is("Content-Type") && content_type.is_none() {
            content_type = content_type_of(header.value);
        } else if is("Transfer-Encoding") {
            for coding in header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                last_coding = Some(coding);
                chunked += usize::from(coding.eq_ignore_ascii_case(b"chunked"));
            }
        } else if is("Connection") {
            for option in header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                closes |= option.eq_ignore_ascii_case(b"close");
                stays |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
    }
    let is_chunked = last_coding.is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
    let is_empty = matches!(status, 204 | 304);
    let body = match (last_coding, size) {
        _ if is_empty => Body::Sized(0),
        (Some(_), _) if is_chunked => Body::Chunked(Chunk::Size),
        (None, Some(size)) => Body::Sized(size),
        (Some(_), _) | (None, None) => Body::ToEnd,
    };
    // Such an answer is not to be trusted about where the next one begins: of two lengths, chunked twice
    // or by a server that cannot know of it, or with a body where there is none.
    let in_doubt = match last_coding {
        Some(_) => size.is_some() || chunked > 1 || version == 0 || is_empty,
        None => status == 204 && size.is_some_and(|size| size > 0),
    };
    let lasts = version > 0 || stays;
    let keeps_alive = lasts && !closes && !in_doubt && body != Body::ToEnd;
    Ok(Head { status, content_type, body, keeps_alive, at })
}

/// The usual ones need no memory of their own.
fn content_type_of(value: &[u8]) -> Option<HeaderValue> {
    static USUAL: [HeaderValue; 4] = [
        HeaderValue::from_static("text/html; charset=UTF-8"),
        HeaderValue::from_static("text/plain"),
        HeaderValue::from_static("application/json"),
        HeaderValue::from_static("text/html"),
    ];
    match USUAL.iter().find(|usual| usual.as_bytes() == value) {
        Some(usual) => Some(usual.clone()),
        None => HeaderValue::from_bytes(value).ok(),
    }
}

fn content_length(text: &[u8]) -> Result<usize, Broken> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits).ok_or(Broken)?;
    text.parse().ok().filter(|size| *size <= BODY_BYTES_MAX).ok_or(Broken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds the bytes in pieces of that size.
    fn fed(bytes: &[u8], piece: usize) -> Result<Option<Complete>, Broken> {
        let mut reader = Reader::default();
        let mut complete = None;
        for mut rest in bytes.chunks(piece) {
            while !rest.is_empty() {
                let room = reader.room();
                let count = room.len().min(rest.len());
                room[..count].copy_from_slice(&rest[..count]);
                rest = &rest[count..];
                if complete.is_some() {
                    return Ok(complete);
                }
                complete = reader.came(count)?;
            }
        }
        Ok(complete)
    }

    fn shown(bytes: &[u8], piece: usize) -> Option<(u16, String, bool)> {
        let complete = fed(bytes, piece).unwrap()?;
        let body = String::from_utf8_lossy(&complete.answered.body).into_owned();
        Some((complete.answered.status, body, complete.keeps_alive))
    }

    #[test]
    fn answers_are_read_however_they_come_in() {
        for (text, status, body, keeps_alive) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nOK|1", 200, "OK|1", true),
            ("HTTP/1.1 200 OK\nContent-Length: 4\n\nOK|1", 200, "OK|1", true),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\nConnection: Close\r\n\r\nOK|1",
                200,
                "OK|1",
                false,
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nOK", 200, "OK", false),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nOK",
                200,
                "OK",
                true,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\na: b\r\n\r\nHTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n",
                503,
                "",
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nOK|\r\n00a;x=y\r\n0123456789\r\n0\r\nx: y\r\n\r\n",
                200,
                "OK|0123456789",
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 1\r\n\r\n1\r\nx\r\n0\r\n\r\n",
                200,
                "x",
                false,
            ),
        ] {
            let expected = Some((status, body.to_owned(), keeps_alive));
            for piece in [1, 2, 3, 7, text.len()] {
                assert_eq!(shown(text.as_bytes(), piece), expected, "{text:?} by {piece}");
            }
            for length in 0..text.len() {
                assert_eq!(
                    shown(&text.as_bytes()[..length], length.max(1)),
                    None,
                    "{length} of {text:?}"
                );
            }
        }
    }

    #[test]
    fn an_answer_without_a_length_ends_with_its_connection() {
        let mut reader = Reader::default();
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nOK|1";
        reader.room()[..bytes.len()].copy_from_slice(bytes);

        assert!(reader.came(bytes.len()).unwrap().is_none());
        let complete = reader.ended().unwrap();

        assert_eq!(
            (&complete.answered.body[..], complete.keeps_alive),
            (b"OK|1".as_slice(), false)
        );
        assert_eq!(complete.answered.content_type.unwrap(), "text/plain");
        let mut cut = Reader::default();
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nOK|1";
        cut.room()[..bytes.len()].copy_from_slice(bytes);
        assert!(cut.came(bytes.len()).unwrap().is_none());
        assert_eq!(cut.ended().unwrap_err(), Broken);
    }

    #[test]
    fn what_is_left_over_closes_the_connection() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOKHTTP/1.1 200 OK\r\n\r\n";

        assert_eq!(shown(text, text.len()), Some((200, "OK".to_owned(), false)));
    }

    #[test]
    fn what_is_no_answer_or_too_large_is_broken() {
        for text in [
            "SSH-2.0-OpenSSH\r\n\r\n".to_owned(),
            "HTTP/1.1 101 Switching\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Length: 4194305\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n500000\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n".to_owned(),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", "0".repeat(5_000)),
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}1\r\n",
                "0".repeat(5_000)
            ),
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}",
                "1\r\nx\r\n".repeat(BYTES_MAX / 6)
            ),
            format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(70_000)),
            format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(70_000)),
            "\r\n".repeat(5),
            format!("HTTP/1.1 200 OK\r\n\r\n{}", "y".repeat(5 << 20)),
        ] {
            for piece in [1_000, text.len()] {
                assert_eq!(fed(text.as_bytes(), piece).unwrap_err(), Broken, "{text:.80}");
            }
        }
    }

    /// What is read of the bytes and the end behind them, cut into pieces of these sizes.
    fn read(bytes: &[u8], pieces: &[usize]) -> Result<(u16, Bytes), Broken> {
        let mut reader = Reader::default();
        let mut rest = bytes;
        for size in pieces.iter().cycle() {
            let room = reader.room();
            let count = (*size).min(room.len()).min(rest.len());
            if count == 0 {
                break;
            }
            room[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            if let Some(Complete { answered, .. }) = reader.came(count)? {
                return Ok((answered.status, answered.body));
            }
        }
        reader.ended().map(|Complete { answered, .. }| (answered.status, answered.body))
    }

    /// A first line and parts of answers in any order: some are an answer, others nearly.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            3 => Just(&b"HTTP/1.1 200 OK\r\n"[..]),
            1 => Just(&b"HTTP/1.0 502 Bad\r\n"[..]),
            1 => Just(&b"HTTP/1.1 100 Continue\r\n\r\n"[..]),
            2 => Just(&b"Content-Length: 4\r\n"[..]),
            1 => Just(&b"Content-Length: 4, 5\r\n"[..]),
            3 => Just(&b"Transfer-Encoding: chunked\r\n"[..]),
            1 => Just(&b"Connection: close\r\n"[..]),
            5 => Just(&b"\r\n"[..]),
            2 => Just(&b"\n"[..]),
            2 => Just(&b"4\r\nOK|1\r\n"[..]),
            1 => Just(&b"3;x=y\r\n"[..]),
            1 => Just(&b"OK|1"[..]),
            2 => Just(&b"0\r\n\r\n"[..]),
            1 => Just(&b"\0\xff "[..]),
        ];
        prop::collection::vec(part, 0..12).prop_map(|parts| {
            let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
            bytes.extend(parts.concat());
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn how_the_bytes_are_cut_changes_nothing(
            bytes in bytes(),
            pieces in prop::collection::vec(1..30_usize, 1..8),
        ) {
            prop_assert_eq!(read(&bytes, &pieces), read(&bytes, &[bytes.len().max(1)]));
        }
    }
}
