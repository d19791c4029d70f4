//! The summary on the terminal: updated in place there, printed now and then anywhere else.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};

use super::figures::{Figures, Row};

const LIVE: Duration = Duration::from_millis(500);
const PRINTED: Duration = Duration::from_secs(10);

/// Standard output, and how it may be used.
#[derive(Debug)]
pub(super) struct View {
    is_live: bool,
    is_coloured: bool,
    /// Lines of the last summary, to be written over.
    lines: usize,
}

/// What stands above and below the table.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) elapsed: Duration,
    pub(super) doing: &'a str,
    pub(super) figures: &'a Figures,
    pub(super) requests_per_second: f64,
    pub(super) provider: &'a str,
    pub(super) is_provider_fine: bool,
}

impl View {
    pub(super) fn new() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_some_and(|term| term == "dumb");
        let is_live = io::stdout().is_terminal() && !dumb;
        Self { is_live, is_coloured: is_live && set("NO_COLOR").is_none(), lines: 0 }
    }

    /// Between two summaries.
    pub(super) fn every(&self) -> Duration {
        if self.is_live { LIVE } else { PRINTED }
    }

    /// Writes text that stays.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        self.lines = 0;
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Writes the summary, over the last one where that is possible.
    pub(super) fn show(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let width = if self.is_live { Table::new().width().map(usize::from) } else { None };
        let text = self.summary(frame, width);
        let mut out = io::stdout().lock();
        match (self.is_live, self.lines) {
            (_, 0) => {}
            (true, lines) => write!(out, "\x1b[{lines}A")?,
            (false, _) => writeln!(out)?,
        }
        // What is left of the last summary is cleared: behind each line, and below the last one.
        let (end, rest) = if self.is_live { ("\x1b[K\n", "\x1b[J") } else { ("\n", "") };
        for line in text.lines() {
            write!(out, "{line}{end}")?;
        }
        write!(out, "{rest}")?;
        self.lines = text.lines().count();
        out.flush()
    }

    fn summary(&self, frame: &Frame<'_>, width: Option<usize>) -> String {
        let figures = frame.figures;
        let ended = figures.solved() + figures.failed();
        let share = if ended == 0 {
            "-".to_owned()
        } else {
            format!("{:.1} %", percent(figures.solved(), ended))
        };
        let held = if figures.held_back { ", submissions held back" } else { "" };
        let provider = format!("provider {}{held}", frame.provider);
        let seconds = frame.elapsed.as_secs();
        let clock = format!("{}:{:02}  {}", seconds / 60, seconds % 60, frame.doing);
        let totals = format!(
            "{:.1} requests/s   success rate {share}   {:.4} USD   ",
            frame.requests_per_second,
            figures.cost.as_usd(),
        );
        let fits = |text: &str| width.is_none_or(|width| text.chars().count() < width);
        let last = if fits(&format!("{totals}{provider}")) {
            format!("{totals}{}", self.painted(&provider, frame.is_provider_fine))
        } else {
            let provider = cut(&provider, width);
            let provider = self.painted(&provider, frame.is_provider_fine);
            format!("{}\n{provider}", cut(totals.trim_end(), width))
        };
        format!("{}\n{}\n{last}", cut(&clock, width), self.table(figures, width))
    }

    /// The widest form that fits: without limits, then without the rarer reasons; cut off at last.
    fn table(&self, figures: &Figures, width: Option<usize>) -> String {
        let wide = self.columns(figures, true);
        let fits = |table: &Table| {
            let widest = table.column_max_content_widths();
            let needed = widest.iter().map(|column| usize::from(*column) + 2).sum::<usize>();
            width.is_none_or(|width| needed <= width)
        };
        let table = if fits(&wide) { wide } else { self.columns(figures, false) };
        if fits(&table) {
            return table.trim_fmt();
        }
        let mut plain = self.columns(figures, false);
        // Without colours, so that a cut goes through no escape sequence.
        plain.force_no_tty();
        plain.trim_fmt().lines().map(|line| cut(line, width)).collect::<Vec<_>>().join("\n")
    }

    fn columns(&self, figures: &Figures, with_limits: bool) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if !self.is_coloured {
            table.force_no_tty();
        }
        let limits = with_limits.then_some("LIMIT");
        let header = std::iter::once("TENANT").chain(limits).chain([
            "SOLVED",
            "FAILED",
            "IN FLIGHT",
            "COST USD",
            "LEFT",
            "REFUSED",
        ]);
        table.set_header(header.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        for row in &figures.rows {
            table.add_row(cells(row, with_limits));
        }
        let total = Row {
            tenant: "total",
            solved: figures.solved(),
            failed: figures.failed(),
            in_flight: figures.in_flight(),
            cost: figures.cost,
            ..Row::default()
        };
        table.add_row(cells(&total, with_limits));
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let first = if with_limits { 2 } else { 1 };
        for index in first..first + 5 {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    fn painted(&self, text: &str, is_fine: bool) -> String {
        match (self.is_coloured, is_fine) {
            (false, _) => text.to_owned(),
            (true, true) => format!("\x1b[32m{text}\x1b[0m"),
            (true, false) => format!("\x1b[31m{text}\x1b[0m"),
        }
    }
}

fn cells(row: &Row, with_limits: bool) -> Vec<Cell> {
    let coloured = |cell: Cell, is_loud, colour| if is_loud { cell.fg(colour) } else { cell };
    let is_refused = row.refused.contains(char::is_numeric);
    let limits = with_limits.then(|| Cell::new(row.limits));
    std::iter::once(Cell::new(row.tenant))
        .chain(limits)
        .chain([
            Cell::new(row.solved),
            coloured(Cell::new(row.failed), row.failed > 0, Color::Red),
            Cell::new(row.in_flight),
            Cell::new(format!("{:.4}", row.cost.as_usd())),
            Cell::new(&row.left),
            coloured(Cell::new(&row.refused), is_refused, Color::Yellow),
        ])
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "a view for people")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

/// At most `width` characters, so that no line wraps; a wrapped one could not be written over.
fn cut(line: &str, width: Option<usize>) -> String {
    line.chars().take(width.map_or(usize::MAX, |width| width.saturating_sub(1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(width: Option<usize>) -> String {
        let row = Row {
            tenant: "betting",
            limits: "30 a minute",
            solved: 12,
            refused: "rate 1234567890, in_flight 3".to_owned(),
            left: "-".to_owned(),
            ..Row::default()
        };
        let figures = Figures { rows: vec![row], ..Figures::default() };
        let frame = Frame {
            elapsed: Duration::from_secs(83),
            doing: "Ctrl-C ends it",
            figures: &figures,
            requests_per_second: 12.34,
            provider: "up",
            is_provider_fine: true,
        };
        View { is_live: false, is_coloured: false, lines: 0 }.summary(&frame, width)
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [20, 40, 60, 80, 100, 200] {
            for line in summary(Some(width)).lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_summary_says_how_each_tenant_fares() {
        let wide = summary(None);

        assert!(wide.starts_with("1:23  Ctrl-C ends it\n"), "{wide}");
        assert!(wide.contains("30 a minute"), "{wide}");
        assert!(wide.contains("rate 1234567890, in_flight 3"), "{wide}");
        assert!(
            wide.ends_with("12.3 requests/s   success rate 100.0 %   0.0000 USD   provider up")
        );
        assert!(!summary(Some(80)).contains("30 a minute"));
    }
}
