//! The request log: what was received and what was answered, for tests and people to read.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::fault::Fault;
use super::http::Request;
use super::request::{Form, Operation};

/// Bytes of requests and answers kept; the oldest go first.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// One request as received. Keys are not masked: they are simulated, and tests compare them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// Counts from 1, without gaps.
    pub seq: u64,
    /// Milliseconds since the simulation started.
    pub at_ms: u128,
    /// What it asked for.
    pub operation: Operation,
    /// HTTP method.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// As received.
    pub query: String,
    /// Empty when there was none.
    pub content_type: String,
    /// In the order received, names as written.
    pub headers: Vec<(String, String)>,
    /// The body, when it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The body in base64, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// The `key` field.
    pub key: Option<String>,
    /// The task asked for, or accepted by this request.
    pub task: Option<String>,
    /// The fault that struck it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// The body answered (before a fault broke it on the way); `None` while there is none.
    pub answer: Option<String>,
}

impl LogEntry {
    /// The value of a field, from the query or the body.
    pub fn field(&self, name: &str) -> Option<String> {
        let body = self.body.as_deref().unwrap_or_default();
        let form = Form::read(&self.query, &self.content_type, body.as_bytes());
        form.get(name).map(str::to_owned)
    }

    /// The value of a header, its name in any case.
    pub fn header(&self, wanted: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Debug)]
struct Record {
    at: Duration,
    operation: Operation,
    request: Request,
    task: Option<u64>,
    fault: Option<Fault>,
    answer: Option<Bytes>,
}

/// A ring of requests.
#[derive(Debug)]
pub(super) struct RequestLog {
    records: VecDeque<Record>,
    /// The number of the first record in `records`.
    first: u64,
    records_max: usize,
    bytes: usize,
}

impl RequestLog {
    pub(super) fn new(records_max: usize) -> Self {
        Self { records: VecDeque::new(), first: 1, records_max, bytes: 0 }
    }

    /// Keeps a request; `None` when the log is off.
    pub(super) fn receive(
        &mut self,
        at: Duration,
        operation: Operation,
        request: &Request,
        fault: Option<&Fault>,
    ) -> Option<u64> {
        if self.records_max == 0 {
            return None;
        }
        // Copied, because a slice of the connection's buffer would keep all of it.
        let body = Bytes::copy_from_slice(&request.body);
        let request = Request { head: request.head.clone(), body };
        self.bytes += request.bytes();
        self.records.push_back(Record {
            at,
            operation,
            request,
            task: None,
            fault: fault.cloned(),
            answer: None,
        });
        while self.records.len() > self.records_max || self.bytes > BYTES_MAX {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes -= oldest.request.bytes();
            self.first += 1;
        }
        Some(self.last())
    }

    pub(super) fn answer(&mut self, seq: Option<u64>, task: Option<u64>, body: &Bytes) {
        if let Some(record) = self.record(seq) {
            record.task = task;
            record.answer = Some(body.clone());
        }
    }

    /// The number of the last request received.
    pub(super) fn last(&self) -> u64 {
        self.first + self.records.len() as u64 - 1
    }

    /// Every entry after that number.
    pub(super) fn since(&self, seq: u64) -> Vec<LogEntry> {
        let skipped =
            usize::try_from(seq.saturating_add(1).saturating_sub(self.first)).unwrap_or(usize::MAX);
        let first = self.first + skipped as u64;
        (first..).zip(self.records.iter().skip(skipped)).map(|(seq, r)| r.entry(seq)).collect()
    }

    pub(super) fn clear(&mut self) {
        self.first += self.records.len() as u64;
        self.records.clear();
        self.bytes = 0;
    }

    fn record(&mut self, seq: Option<u64>) -> Option<&mut Record> {
        let index = usize::try_from(seq?.checked_sub(self.first)?).ok()?;
        self.records.get_mut(index)
    }
}

impl Record {
    fn entry(&self, seq: u64) -> LogEntry {
        let request = &self.request;
        let form = request.form();
        let owned = |text: &str| text.to_owned();
        let body = std::str::from_utf8(&request.body).ok();
        LogEntry {
            seq,
            at_ms: self.at.as_millis(),
            operation: self.operation,
            method: owned(request.method()),
            path: owned(request.path()),
            query: owned(request.query()),
            content_type: owned(request.content_type()),
            headers: request.headers().map(|(name, value)| (owned(name), owned(value))).collect(),
            body: body.map(owned),
            body_base64: body.is_none().then(|| base64(&request.body)),
            key: form.get("key").map(owned),
            task: self.task.map(|id| id.to_string()).or_else(|| form.get("id").map(owned)),
            fault: self.fault.clone(),
            answer: self.answer.as_ref().map(|body| String::from_utf8_lossy(body).into_owned()),
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (sextet, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let symbol = char::from(ALPHABET[((bits >> shift) & 63) as usize]);
            text.push(if sextet > chunk.len() { '=' } else { symbol });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str) -> Request {
        Request { head: format!("GET {path} HTTP/1.1\r\nHost: a"), body: Bytes::new() }
    }

    #[test]
    fn the_ring_forgets_the_oldest_and_keeps_the_numbers() {
        let mut log = RequestLog::new(2);
        for path in ["/1", "/2", "/3"] {
            log.receive(Duration::ZERO, Operation::Other, &request(path), None);
        }

        let kept: Vec<_> = log.since(0).into_iter().map(|entry| (entry.seq, entry.path)).collect();

        assert_eq!(kept, [(2, "/2".to_owned()), (3, "/3".to_owned())]);
        assert_eq!(log.since(2).len(), 1);
        assert!(log.since(3).is_empty());
        assert!(log.since(9).is_empty());
    }

    #[test]
    fn a_log_of_no_requests_is_off() {
        let mut log = RequestLog::new(0);

        assert_eq!(log.receive(Duration::ZERO, Operation::Other, &request("/"), None), None);
        assert!(log.since(0).is_empty());
    }

    #[test]
    fn base64_pads_to_four() {
        for (bytes, text) in [(&b"\xff"[..], "/w=="), (b"ab", "YWI="), (b"abc", "YWJj"), (b"", "")]
        {
            assert_eq!(base64(bytes), text);
        }
    }
}
