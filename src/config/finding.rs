//! What is wrong, or doubtful, in a config file: one sentence with its place.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// One fault or warning. Its text says what to do and never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, as it was named on the command line.
    pub file: Arc<str>,
    /// From 1; `None` when the file as a whole is meant.
    pub line: Option<usize>,
    /// From 1; for syntax errors only.
    pub column: Option<usize>,
    /// The key, such as `tenants.acme.rate_per_minute`; empty for the file as a whole.
    pub path: String,
    /// The sentence.
    pub text: String,
}

/// `solvegate.yaml:14: tenants.acme.rate_per_minute: must be at least 1, is 0`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.text)
    }
}

/// Everything that is wrong with a file, in the order of its lines; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<Finding>);

impl Faults {
    /// One about the file as a whole.
    pub(super) fn about_file(file: &str, text: String) -> Self {
        Self(vec![Finding {
            file: file.into(),
            line: None,
            column: None,
            path: String::new(),
            text,
        }])
    }

    /// The faults, in the order of their lines.
    pub fn list(&self) -> &[Finding] {
        &self.0
    }
}

/// One line each.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// No key of ours lies deeper; a hostile file must not make paths longer than itself.
const PATH_MAX: usize = 512;

/// Where in the file: the key and its line.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) line: Option<usize>,
}

impl Place {
    /// The place of a key below this one.
    pub(super) fn child(&self, key: &str, line: Option<usize>) -> Self {
        if self.path.len() > PATH_MAX {
            return Self { path: self.path.clone(), line: line.or(self.line) };
        }
        let key = veiled(key);
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{}{dot}{key}", self.path), line: line.or(self.line) }
    }

    /// The place of an item of the list at this one.
    pub(super) fn item(&self, index: usize, line: usize) -> Self {
        Self { path: format!("{}[{index}]", self.path), line: Some(line) }
    }
}

/// The text, or `…` when it may be a key that got into a wrong place: no word of ours has so many
/// letters and digits in a row.
pub(super) fn veiled(text: &str) -> &str {
    let is_key = |run: &str| run.len() >= 24;
    if text.split(|c: char| !c.is_ascii_alphanumeric()).any(is_key) { "…" } else { text }
}

/// Gathers findings while a file is read, so that all of them are reported at once.
#[derive(Debug)]
pub(super) struct Report {
    file: Arc<str>,
    faults: RefCell<Vec<Finding>>,
    warnings: RefCell<Vec<Finding>>,
}

/// Nobody reads more than these; a hostile file must not make a report larger than itself.
const FINDINGS_MAX: usize = 1000;

impl Report {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.into(), faults: RefCell::default(), warnings: RefCell::default() }
    }

    pub(super) fn fault(&self, place: &Place, text: impl Into<String>) {
        self.keep(&self.faults, place, None, text.into());
    }

    pub(super) fn syntax_fault(&self, line: usize, column: usize, text: String) {
        let place = Place { path: String::new(), line: Some(line) };
        self.keep(&self.faults, &place, Some(column), text);
    }

    /// Whether further faults would be dropped.
    pub(super) fn is_full(&self) -> bool {
        self.faults.borrow().len() >= FINDINGS_MAX
    }

    pub(super) fn warn(&self, place: &Place, text: impl Into<String>) {
        self.keep(&self.warnings, place, None, text.into());
    }

    /// The warnings, or the faults if there are any.
    pub(super) fn conclude(self) -> Result<Vec<Finding>, Faults> {
        let faults = in_order(self.faults.into_inner());
        if faults.is_empty() {
            Ok(in_order(self.warnings.into_inner()))
        } else {
            Err(Faults(faults))
        }
    }

    fn keep(
        &self,
        list: &RefCell<Vec<Finding>>,
        place: &Place,
        column: Option<usize>,
        text: String,
    ) {
        let mut list = list.borrow_mut();
        if list.len() < FINDINGS_MAX {
            let path = place.path.replace(char::is_control, "\u{fffd}");
            list.push(Finding { file: self.file.clone(), line: place.line, column, path, text });
        }
    }
}

fn in_order(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| finding.line);
    findings
}
