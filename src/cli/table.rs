//! Tables for people: aligned, units in the header, colour on a terminal only.

use std::io::{self, IsTerminal};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use serde_json::Value;

/// Columns whose name ends so hold numbers.
const NUMBERS: [&str; 10] =
    ["USD", "SOLVES", "%", "S", "RATE", "EVENTS", "FAILURES", "TIMES", "BUDGET", "LEFT"];

/// A table without a frame.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let is_coloured = io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| {
        let cell = Cell::new(name);
        if is_coloured { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    for row in rows {
        table.add_row(row.into_iter().map(|text| {
            let colour = if is_coloured { colour(&text) } else { None };
            let cell = Cell::new(text);
            match colour {
                Some(colour) => cell.fg(colour),
                None => cell,
            }
        }));
    }
    for (column, name) in table.column_iter_mut().zip(header) {
        column.set_padding((0, 2));
        if NUMBERS.iter().any(|number| name.rsplit(' ').next() == Some(number)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

fn colour(text: &str) -> Option<Color> {
    match text {
        "healthy" | "live" | "solved" => Some(Color::Green),
        "warning" | "expired" => Some(Color::Yellow),
        "critical" | "exhausted" | "revoked" => Some(Color::Red),
        _ => None,
    }
}

/// A text, or `-` where there is none. Nothing in it is obeyed by the terminal.
pub(super) fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => harmless(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            harmless(&value.to_string())
        }
    }
}

/// The text with control characters spelled out.
pub(super) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// An amount with the six decimals of a micro-dollar.
pub(super) fn usd(value: &Value) -> String {
    decimals(value, 6)
}

/// A number with so many decimals.
pub(super) fn decimals(value: &Value, count: usize) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |number| format!("{number:.count$}"))
}

/// A share as percent.
pub(super) fn percent(value: &Value, count: usize) -> String {
    let share = value.as_f64();
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.count$}", share * 100.0))
}

/// The entries of a list.
pub(super) fn entries<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_spelled_out() {
        let value = Value::from("a\u{1b}]0;x\u{7}\u{9b}2J\r\né");

        let text = word(&value);

        assert_eq!(text, "a\\u{1b}]0;x\\u{7}\\u{9b}2J\\u{d}\\u{a}é");
        assert!(table(&["NAME"], vec![vec![text.clone()]]).ends_with(&text));
    }
}
