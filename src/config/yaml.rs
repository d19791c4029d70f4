//! YAML text to a tree whose every node knows its line, with every scalar as it was written.
//!
//! The tree is built straight from the parser's events: money keeps its decimal text, and size,
//! depth, duplicate keys and aliases are dealt with before anything is built from them.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::finding::{Place, Report};

/// The largest text that is looked at: 10,000 tenants with 400 bytes each fit.
pub(super) const SIZE_MAX: usize = 4 << 20;
/// The fault of a larger one.
pub(super) const TOO_LARGE: &str = "is larger than 4 MiB; split off what is not config";
/// The deepest nesting of lists and mappings.
const DEPTH_MAX: usize = 64;
/// The longest key; names and provider codes are far shorter.
const KEY_MAX: usize = 128;

/// A value and the line it starts on.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind {
    /// Nothing, `~` or `null`: as if the key were not there.
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
    /// Reported already; readers pass over it.
    Faulty,
}

/// One `key: value` of a mapping.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) node: Node,
}

/// A single value.
#[derive(Debug)]
pub(super) struct Scalar {
    /// The value, with every `${…}` replaced.
    pub(super) text: String,
    /// The text in the file, when something was replaced: all that a fault may show of it.
    pub(super) source: Option<String>,
}

/// The tree of the one document in `text`; `None` when there is no making sense of it (reported).
pub(super) fn parse(text: &str, report: &Report) -> Option<Node> {
    if text.len() > SIZE_MAX {
        report.fault(&Place::default(), TOO_LARGE);
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { parser: Parser::new_from_str(text), report };
    match builder.document() {
        Ok(root) => Some(root),
        Err(Stop::TooDeep { line }) => {
            let place = Place { path: String::new(), line: Some(line) };
            report.fault(&place, format!("is nested deeper than {DEPTH_MAX} levels; flatten it"));
            None
        }
        Err(Stop::Syntax(error)) => {
            let line = error.marker().line();
            report.syntax_fault(line, error.marker().col() + 1, explain(&error, text));
            None
        }
    }
}

/// Why the tree cannot be built.
enum Stop {
    Syntax(ScanError),
    TooDeep { line: usize },
}

/// The parser has a limit of its own on brackets within one line.
impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        if error.info().contains("recursion limit") {
            Self::TooDeep { line: error.marker().line() }
        } else {
            Self::Syntax(error)
        }
    }
}

struct Builder<'t> {
    parser: Parser<'t, StrInput<'t>>,
    report: &'t Report,
}

impl<'t> Builder<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Stop> {
        match self.parser.next_event() {
            Some(event) => Ok(event?),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => {
                    return Ok(root.unwrap_or(Node { line: 1, kind: Kind::Null }));
                }
                Event::DocumentStart(_) if root.is_some() => {
                    let place = Place { path: String::new(), line: Some(span.start.line()) };
                    self.report.fault(&place, "starts a second document; keep one, without `---`");
                    return Ok(root.unwrap_or(Node { line: 1, kind: Kind::Faulty }));
                }
                Event::Nothing
                | Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd => {}
                event @ (Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd) => {
                    root = Some(self.node(event, span, &Place::default(), 1)?);
                }
            }
        }
    }

    /// The node that `event` begins.
    fn node(
        &mut self,
        event: Event<'t>,
        span: Span,
        place: &Place,
        depth: usize,
    ) -> Result<Node, Stop> {
        let line = span.start.line();
        if depth > DEPTH_MAX {
            return Err(Stop::TooDeep { line });
        }
        let (kind, tag) = match event {
            Event::Scalar(text, style, _, tag) => (scalar(text.into_owned(), style), tag),
            Event::SequenceStart(_, tag) => (self.list(place, depth)?, tag),
            Event::MappingStart(_, tag) => (self.mapping(place, depth)?, tag),
            Event::Alias(_) => {
                self.fault(place, line, "is a YAML alias; write the value itself here");
                (Kind::Faulty, None)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => (Kind::Faulty, None),
        };
        if tag.is_some() {
            self.fault(place, line, "carries a YAML tag (`!…`); leave the tag out");
            return Ok(Node { line, kind: Kind::Faulty });
        }
        Ok(Node { line, kind })
    }

    fn list(&mut self, place: &Place, depth: usize) -> Result<Kind, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok(Kind::List(items));
            }
            let place = place.item(items.len(), span.start.line());
            items.push(self.node(event, span, &place, depth + 1)?);
        }
    }

    fn mapping(&mut self, place: &Place, depth: usize) -> Result<Kind, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                return Ok(Kind::Mapping(entries));
            }
            let line = span.start.line();
            let key = self.key(event, span, place, depth)?;
            let place = place.child(key.as_deref().unwrap_or("?"), Some(line));
            let (event, span) = self.next()?;
            let node = self.node(event, span, &place, depth + 1)?;
            let Some(key) = key else { continue };
            if let Some(first) = lines.get(&key) {
                let text = format!("is set twice, first on line {first}; remove one");
                self.report.fault(&place, text);
            } else {
                lines.insert(key.clone(), line);
                entries.push(Entry { key, line, node });
            }
        }
    }

    /// The key that `event` begins; `None` for one that no config has (reported).
    fn key(
        &mut self,
        event: Event<'t>,
        span: Span,
        place: &Place,
        depth: usize,
    ) -> Result<Option<String>, Stop> {
        let line = span.start.line();
        if let Event::Scalar(text, _, _, None) = &event {
            if text.len() <= KEY_MAX {
                return Ok(Some(text.to_string()));
            }
            self.fault(place, line, &format!("has a key of over {KEY_MAX} characters"));
            return Ok(None);
        }
        self.node(event, span, place, depth + 1)?;
        self.fault(place, line, "has a key that is not plain text; write `key: value`");
        Ok(None)
    }

    fn fault(&self, place: &Place, line: usize, text: &str) {
        self.report.fault(&Place { path: place.path.clone(), line: Some(line) }, text);
    }
}

fn scalar(text: String, style: ScalarStyle) -> Kind {
    let empty = matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
    if empty && style == ScalarStyle::Plain {
        Kind::Null
    } else {
        Kind::Scalar(Scalar { text, source: None })
    }
}

/// What the parser says, without the character that it quotes (it may be a secret's), and a hint.
fn explain(error: &ScanError, text: &str) -> String {
    let info = error.info();
    if info.starts_with("unexpected character") {
        return "is not valid YAML: unexpected character; put the value in quotes".into();
    }
    let line = text.lines().nth(error.marker().line().saturating_sub(1)).unwrap_or("");
    let hint = if line.contains('\t') {
        "; indent with spaces, not tabs"
    } else if line.contains("${") {
        "; put quotes around \"${…}\""
    } else {
        ""
    };
    format!("is not valid YAML: {info}{hint}")
}
