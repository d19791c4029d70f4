//! `OpenMetrics` files, one a day.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use solvegate::domain::outcome::SliEvent;

use crate::stream::Event;
use crate::{DAY_MS, Job, START_MS};

/// An unchanged gauge is written this often: an instant query looks back for 5 minutes.
const REFRESH_MS: i64 = 240_000;

pub(crate) struct Writer {
    dir: PathBuf,
    job: String,
    day: i64,
    file: Option<BufWriter<File>>,
    events: Option<BufWriter<File>>,
    /// When each gauge was last written, and its value.
    gauges: Vec<Option<(i64, f64)>>,
}

impl Writer {
    pub(crate) fn new(dir: &Path, job: &Job) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let events =
            job.list_events.then(|| BufWriter::new(File::create(dir.join("events.csv")).unwrap()));
        let (dir, job) = (dir.to_owned(), job.name.clone());
        Self { dir, job, day: -1, file: None, events, gauges: Vec::new() }
    }

    /// Writes every counter, and each gauge that an instant query would not find as it is.
    pub(crate) fn scrape(&mut self, series: &[String], values: &[f64], at_ms: i64) {
        let day = (at_ms - START_MS) / DAY_MS;
        if day != self.day {
            self.finish_day();
            let path = self.dir.join(format!("{day:03}.om"));
            self.file = Some(BufWriter::new(File::create(path).unwrap()));
            self.day = day;
        }
        let file = self.file.as_mut().unwrap();
        self.gauges.resize(series.len(), None);
        let (seconds, millis) = (at_ms / 1_000, at_ms % 1_000);
        for ((series, value), last) in series.iter().zip(values).zip(&mut self.gauges) {
            let is_known = last.is_some_and(|(at, old)| {
                at_ms - at < REFRESH_MS && old.to_bits() == value.to_bits()
            });
            if is_known && !series.starts_with("solvegate_slo_events_total") {
                continue;
            }
            *last = Some((at_ms, *value));
            let series = series.strip_suffix('}').unwrap();
            let job = &self.job;
            let labels = format_args!("instance=\"{job}:1\",job=\"{job}\"}}");
            writeln!(file, "{series},{labels} {value} {seconds}.{millis:03}").unwrap();
        }
    }

    /// Lists an SLI event: milliseconds, type, 1 if bad.
    pub(crate) fn event(&mut self, event: &Event) {
        if let (Some(file), Some(sli)) = (&mut self.events, event.outcome.sli_event()) {
            let bad = u8::from(sli == SliEvent::Bad);
            writeln!(file, "{},{},{bad}", event.at_ms, event.captcha_type.label()).unwrap();
        }
    }

    pub(crate) fn finish(mut self) {
        self.finish_day();
        if let Some(mut events) = self.events {
            events.flush().unwrap();
        }
    }

    fn finish_day(&mut self) {
        if let Some(mut file) = self.file.take() {
            file.flush().unwrap();
        }
    }
}
