//! Reading a mapping key by key: what is asked for is known, what is left over is a fault.

use super::finding::{Place, Report};
use super::scalar::{self, Read};
use super::yaml::{Entry, Kind, Node, Scalar};
use crate::domain::ids::Name;

/// A mapping of the file, or the empty one where the file has none.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) place: Place,
    entries: &'a [Entry],
    /// It was no mapping, which is reported: what is missing from it is no further fault.
    faulty: bool,
    asked: Vec<&'static str>,
    pub(super) report: &'a Report,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(node: &'a Node, report: &'a Report) -> Self {
        Value { place: Place { path: String::new(), line: Some(node.line) }, node, report }
            .section()
    }

    /// The value of a key; `None` when it is not set, or faulty (reported).
    pub(super) fn value(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.asked.push(key);
        let entry = self.entry(key)?;
        let place = self.place.child(key, Some(entry.line));
        let value = Value { place, node: &entry.node, report: self.report };
        match value.node.kind {
            Kind::Null | Kind::Faulty => None,
            Kind::Scalar(_) | Kind::List(_) | Kind::Mapping(_) => Some(value),
        }
    }

    /// The value of a key, read; `None` when it is not set, or faulty (reported).
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Scalar) -> Read<T>,
    ) -> Option<T> {
        self.value(key)?.read(read)
    }

    /// The value of a key, read, or `default`.
    pub(super) fn read_or<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Scalar) -> Read<T>,
        default: T,
    ) -> T {
        self.read(key, read).unwrap_or(default)
    }

    /// The value of a key that must be there; `None` when it is faulty or missing (both reported).
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Scalar) -> Read<T>,
        hint: &str,
    ) -> Option<T> {
        let value = self.read(key, read);
        if value.is_none() && !self.faulty && !self.has(key) {
            self.fault_at(key, format!("must be set; {hint}"));
        }
        value
    }

    /// The mapping under a key, empty when it is not set.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        match self.value(key) {
            Some(value) => value.section(),
            None => Self {
                place: self.place_of(key),
                entries: &[],
                faulty: self.faulty || self.has(key),
                asked: Vec::new(),
                report: self.report,
            },
        }
    }

    /// The mapping under a key; `None` when it is not set.
    pub(super) fn optional_section(&mut self, key: &'static str) -> Option<Self> {
        self.value(key).map(Value::section)
    }

    /// The list under a key, each item read; `None` when it is not set.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Scalar) -> Read<T>,
    ) -> Option<Vec<T>> {
        let items = self.value(key)?.items();
        Some(items.iter().filter_map(|item| item.read(&read)).collect())
    }

    /// The same for a list that must not be empty; `hint` names what it lists.
    pub(super) fn filled_list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Scalar) -> Read<T>,
        hint: &str,
    ) -> Option<Vec<T>> {
        let list = self.list(key, read);
        if self
            .entry(key)
            .is_some_and(|entry| matches!(&entry.node.kind, Kind::List(items) if items.is_empty()))
        {
            self.fault_at(key, format!("must list {hint}"));
        }
        list
    }

    /// The items of the list under a key; none when it is not set.
    pub(super) fn items(&mut self, key: &'static str) -> Vec<Value<'a>> {
        self.value(key).map(|value| value.items()).unwrap_or_default()
    }

    /// The entries of the mapping under a key, whose keys are not ours.
    pub(super) fn entries(&mut self, key: &'static str) -> Vec<(&'a str, Value<'a>)> {
        self.value(key).map(Value::entries).unwrap_or_default()
    }

    /// The entries of the mapping under a key, whose keys are names given by the operator.
    pub(super) fn named(&mut self, key: &'static str) -> Vec<(Name, Value<'a>)> {
        let mut named = Vec::new();
        for (name, value) in self.entries(key) {
            match scalar::name(name) {
                Ok(name) => named.push((name, value)),
                Err(text) => value.fault(text),
            }
        }
        named
    }

    /// The place of a key, also of one that is not set.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.place.child(key, self.entry(key).map(|entry| entry.line))
    }

    /// A fault of the mapping as a whole; none when it was no mapping (reported already).
    pub(super) fn fault(&self, text: impl Into<String>) {
        if !self.faulty {
            self.report.fault(&self.place, text);
        }
    }

    pub(super) fn fault_at(&self, key: &str, text: impl Into<String>) {
        self.report.fault(&self.place_of(key), text);
    }

    pub(super) fn warn_at(&self, key: &str, text: impl Into<String>) {
        self.report.warn(&self.place_of(key), text);
    }

    /// Whether the key is there with a value, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|entry| !matches!(entry.node.kind, Kind::Null))
    }

    /// Reports every key that was not asked for.
    pub(super) fn finish(self) {
        for entry in self.entries.iter().filter(|entry| !self.asked.contains(&&*entry.key)) {
            if self.report.is_full() {
                return;
            }
            let text = match scalar::closest(&entry.key, self.asked.iter().copied()) {
                Some(close) => format!("is not a known key; did you mean {close}?"),
                None => format!("is not a known key; known here: {}", self.asked.join(", ")),
            };
            self.report.fault(&self.place.child(&entry.key, Some(entry.line)), text);
        }
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// A value of the file and its place.
#[derive(Debug, Clone)]
pub(super) struct Value<'a> {
    pub(super) place: Place,
    pub(super) node: &'a Node,
    report: &'a Report,
}

impl<'a> Value<'a> {
    pub(super) fn fault(&self, text: impl Into<String>) {
        self.report.fault(&self.place, text);
    }

    pub(super) fn warn(&self, text: impl Into<String>) {
        self.report.warn(&self.place, text);
    }

    pub(super) fn is_scalar(&self) -> bool {
        matches!(self.node.kind, Kind::Scalar(_))
    }

    /// The single value, read; `None` when it is faulty (reported).
    pub(super) fn read<T>(&self, read: impl FnOnce(&Scalar) -> Read<T>) -> Option<T> {
        let text = match &self.node.kind {
            Kind::Scalar(scalar) => match read(scalar) {
                Ok(value) => return Some(value),
                Err(text) => text,
            },
            Kind::Faulty => return None,
            Kind::Null => "must not be empty; give it a value or leave it out".into(),
            Kind::List(_) => "must be a single value, is a list".into(),
            Kind::Mapping(_) => "must be a single value, is a mapping".into(),
        };
        self.fault(text);
        None
    }

    /// The value as a mapping; an empty one when it is none (reported, unless it is just empty).
    pub(super) fn section(self) -> Section<'a> {
        let (entries, faulty) = match &self.node.kind {
            Kind::Mapping(entries) => (entries.as_slice(), false),
            Kind::Null => (Default::default(), false),
            Kind::Faulty => (Default::default(), true),
            Kind::Scalar(_) | Kind::List(_) => {
                self.fault("must be a mapping of `key: value`");
                (Default::default(), true)
            }
        };
        Section { place: self.place, entries, faulty, asked: Vec::new(), report: self.report }
    }

    /// The entries of a mapping whose keys are not ours; none when it is no mapping (reported).
    fn entries(self) -> Vec<(&'a str, Self)> {
        let section = self.section();
        let entries = section.entries.iter();
        entries
            .map(|entry| {
                let place = section.place.child(&entry.key, Some(entry.line));
                (&*entry.key, Self { place, node: &entry.node, report: section.report })
            })
            .collect()
    }

    /// The items of a list; none when it is no list (reported).
    fn items(&self) -> Vec<Self> {
        match &self.node.kind {
            Kind::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, node)| {
                    let place = self.place.item(index, node.line);
                    Self { place, node, report: self.report }
                })
                .collect(),
            Kind::Null | Kind::Faulty => Vec::new(),
            Kind::Scalar(_) | Kind::Mapping(_) => {
                self.fault("must be a list, such as [a, b]");
                Vec::new()
            }
        }
    }
}
