//! `${NAME}` and `${file:PATH}` in scalars, replaced once, after the YAML was parsed.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::finding::{Place, Report, veiled};
use super::yaml::{Kind, Node};

/// The largest file that `${file:…}` reads.
const FILE_MAX: u64 = 64 * 1024;
/// The most that all replacements of one config may add up to.
const TOTAL_MAX: usize = 1 << 20;

/// Where the values come from.
pub(super) struct Sources<'a> {
    /// The folder that relative paths start from.
    base_dir: &'a Path,
    env: &'a dyn Fn(&str) -> Option<String>,
    total: Cell<usize>,
    /// The files that were referred to, readable or not.
    pub(super) files: RefCell<Vec<PathBuf>>,
}

impl<'a> Sources<'a> {
    pub(super) fn new(base_dir: &'a Path, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { base_dir, env, total: Cell::new(0), files: RefCell::default() }
    }

    /// Replaces every reference below `node`; one that fails is reported and leaves a faulty node.
    pub(super) fn expand(&self, node: &mut Node, place: &Place, report: &Report) {
        match &mut node.kind {
            Kind::Null | Kind::Faulty => {}
            Kind::Scalar(scalar) => match self.text(&scalar.text) {
                Ok(None) => {}
                Ok(Some(text)) => {
                    scalar.source = Some(std::mem::replace(&mut scalar.text, text));
                }
                Err(text) => {
                    report.fault(place, text);
                    node.kind = Kind::Faulty;
                }
            },
            Kind::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    let place = place.item(index, item.line);
                    self.expand(item, &place, report);
                }
            }
            Kind::Mapping(entries) => {
                for entry in entries {
                    let place = place.child(&entry.key, Some(entry.line));
                    self.expand(&mut entry.node, &place, report);
                }
            }
        }
    }

    /// The text with its references replaced; `None` when it has none.
    fn text(&self, text: &str) -> Result<Option<String>, String> {
        if !text.contains("${") {
            return Ok(None);
        }
        let mut expanded = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find("${") {
            let before = &rest[..dollar];
            let after = &rest[dollar + 2..];
            if let Some(before) = before.strip_suffix('$') {
                expanded.push_str(before);
                expanded.push_str("${");
                rest = after;
                continue;
            }
            let Some((reference, after)) = after.split_once('}') else {
                return Err(
                    "has `${` without `}`; write `$${` for the characters themselves".into()
                );
            };
            expanded.push_str(before);
            expanded.push_str(&self.value(reference)?);
            rest = after;
        }
        expanded.push_str(rest);
        self.total.set(self.total.get() + expanded.len());
        if self.total.get() > TOTAL_MAX {
            return Err("brings the replaced `${…}` to over 1 MiB; refer to smaller values".into());
        }
        Ok(Some(expanded))
    }

    fn value(&self, reference: &str) -> Result<String, String> {
        if let Some(path) = reference.strip_prefix("file:") {
            return self.file(path);
        }
        let is_name = reference.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && reference.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name {
            return Err("has a `${…}` that is neither `${NAME}` nor `${file:PATH}`; \
                        write `$${` for the characters themselves"
                .into());
        }
        (self.env)(reference).ok_or_else(|| {
            let name = veiled(reference);
            format!("needs the environment variable {name}, which is not set")
        })
    }

    fn file(&self, path: &str) -> Result<String, String> {
        let unreadable = |error: std::io::Error| format!("cannot read {path}: {error}");
        let whole = self.base_dir.join(path);
        self.files.borrow_mut().push(whole.clone());
        if !std::fs::metadata(&whole).map_err(unreadable)?.is_file() {
            return Err(format!("cannot read {path}: not a file"));
        }
        let mut text = Vec::new();
        let file = File::open(&whole).map_err(unreadable)?;
        file.take(FILE_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() as u64 > FILE_MAX {
            return Err(format!("cannot use {path}: larger than 64 KiB"));
        }
        let mut text =
            String::from_utf8(text).map_err(|_| format!("cannot use {path}: not UTF-8 text"))?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    }
}
