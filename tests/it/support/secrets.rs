//! The canary: keys of the tests are recognisable, and looked for wherever they must not be.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Once;

use parking_lot::Mutex;
use tracing_subscriber::filter::LevelFilter;

/// What every key of the tests holds, and the key of the recorded requests.
const MARKS: [&str; 2] = ["0canary", "tnt0acme0000"];

/// Log lines that hold a key.
static LEAKED: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// How much was logged, to know that the watch is kept at all.
static LOGGED: Mutex<usize> = Mutex::new(0);

/// Whether any key stands in there.
pub(crate) fn holds_key(bytes: &[u8]) -> bool {
    MARKS.iter().any(|mark| memchr::memmem::find(bytes, mark.as_bytes()).is_some())
}

/// Reads every line that this process logs from here on, at every level and of every crate.
pub(crate) fn watch_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_writer(|| Watch)
            .with_ansi(false)
            .init();
    });
}

/// How many bytes were logged, and the lines that hold a key.
pub(crate) fn logged() -> (usize, Vec<String>) {
    (*LOGGED.lock(), LEAKED.lock().clone())
}

/// Panics when a file under `folder` holds a key.
pub(crate) fn assert_none_in(folder: &Path) {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        seen += bytes.len();
        assert!(!holds_key(&bytes), "{} holds a key", path.display());
    }
    assert!(seen > 0, "there is no record");
}

struct Watch;

impl Write for Watch {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        *LOGGED.lock() += line.len();
        if holds_key(line) {
            LEAKED.lock().push(String::from_utf8_lossy(line).into_owned());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
