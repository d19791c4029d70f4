//! The text of one scrape, family by family. It is made anew each time, so that what is gone leaves no
//! series behind and two scrapes at once have nothing in common. Samples are written as they come: with a
//! thousand tenants there are tens of thousands.

use std::array;
use std::fmt::{Display, Write as _};
use std::slice;

use prometheus::{TextEncoder, proto};

/// Families in the making: name and text.
#[derive(Debug, Default)]
pub(super) struct Page(Vec<(String, String)>);

impl Page {
    /// A gauge's samples: label values in the order of `labels`, and the value. Without any, there is no
    /// family.
    pub(super) fn gauge<'a, const N: usize>(
        &mut self,
        named: (&str, &str),
        labels: [&str; N],
        samples: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) {
        self.family(named, "gauge", labels, samples);
    }

    /// The same of a counter.
    pub(super) fn counters<'a, const N: usize>(
        &mut self,
        named: (&str, &str),
        labels: [&str; N],
        samples: impl IntoIterator<Item = ([&'a str; N], impl Display)>,
    ) {
        self.family(named, "counter", labels, samples);
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, named: (&str, &str), value: f64) {
        self.counters(named, [], [([], value)]);
    }

    /// What a registry has gathered.
    pub(super) fn gathered(
        &mut self,
        families: &[proto::MetricFamily],
    ) -> Result<(), prometheus::Error> {
        for family in families {
            let mut text = String::new();
            TextEncoder::new().encode_utf8(slice::from_ref(family), &mut text)?;
            self.0.push((family.name().to_owned(), text));
        }
        Ok(())
    }

    /// All of it, by name.
    pub(super) fn into_text(mut self) -> String {
        self.0.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.0.iter().map(|(_, family)| &**family).collect()
    }

    fn family<'a, const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        kind: &str,
        labels: [&str; N],
        samples: impl IntoIterator<Item = ([&'a str; N], impl Display)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let mut order: [usize; N] = array::from_fn(|place| place);
        // As the registry orders those of its own.
        order.sort_by_key(|place| labels[*place]);
        let mut text = String::new();
        // A string takes all that is written to it.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (values, value) in samples {
            text.push_str(name);
            for (number, place) in order.iter().enumerate() {
                text.push(if number == 0 { '{' } else { ',' });
                text.push_str(labels[*place]);
                text.push_str("=\"");
                escape(values[*place], &mut text);
                text.push('"');
            }
            if N > 0 {
                text.push('}');
            }
            let _ = writeln!(text, " {value}");
        }
        self.0.push((name.to_owned(), text));
    }
}

/// Writes a label's value as it stands between quotes.
fn escape(value: &str, text: &mut String) {
    if !value.bytes().any(|byte| matches!(byte, b'"' | b'\\' | b'\n')) {
        return text.push_str(value);
    }
    for c in value.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '"' | '\\' => text.extend(['\\', c]),
            _ => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_as_the_library_writes_it() {
        let registry = prometheus::Registry::new();
        let opts = prometheus::Opts::new("b_ratio", "Of two.");
        let gauges = prometheus::GaugeVec::new(opts, &["slo", "kind"]).unwrap();
        registry.register(Box::new(gauges.clone())).unwrap();
        let values = [0.0, 1.0, -0.5, 1e-9, 0.1 + 0.2, 1e18, f64::MAX, f64::NAN, f64::INFINITY];
        let names: Vec<_> = (0..values.len()).map(|place| format!("{place} \"a\\b\"\nc")).collect();
        for (name, value) in names.iter().zip(values) {
            gauges.with_label_values(&["plain", name]).set(value);
        }

        let mut page = Page::default();
        let samples = names.iter().zip(values).map(|(name, value)| (["plain", &**name], value));
        page.gauge(("b_ratio", "Of two."), ["slo", "kind"], samples);
        page.gauge(("c", "Not there."), [], []);
        page.counter(("a_total", "First."), 3.0);

        let mut text = "# HELP a_total First.\n# TYPE a_total counter\na_total 3\n".to_owned();
        TextEncoder::new().encode_utf8(&registry.gather(), &mut text).unwrap();
        assert_eq!(page.into_text(), text);
    }
}
