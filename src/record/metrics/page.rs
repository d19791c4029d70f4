//! The text of one scrape, family by family. It is made anew each time, so that what is gone leaves no
//! series behind and two scrapes at once have nothing in common. Samples are written as they come: with a
//! thousand tenants there are tens of thousands.

use std::array;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::slice;

use prometheus::{Encoder, TextEncoder, proto};

/// Families in the making: name and text.
#[derive(Debug, Default)]
pub(super) struct Page(Vec<(String, Vec<u8>)>);

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
            let mut text = Vec::new();
            TextEncoder::new().encode(slice::from_ref(family), &mut text)?;
            self.0.push((family.name().to_owned(), text));
        }
        Ok(())
    }

    /// All of it, by name.
    pub(super) fn into_text(mut self) -> Vec<u8> {
        self.0.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut text = Vec::with_capacity(self.0.iter().map(|(_, text)| text.len()).sum());
        self.0.iter().for_each(|(_, family)| text.extend_from_slice(family));
        text
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
        let mut text = Vec::new();
        let written: io::Result<()> = (|| {
            write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n")?;
            for (values, value) in samples {
                text.extend_from_slice(name.as_bytes());
                for (number, place) in order.iter().enumerate() {
                    text.push(if number == 0 { b'{' } else { b',' });
                    text.extend_from_slice(labels[*place].as_bytes());
                    text.extend_from_slice(b"=\"");
                    escape(values[*place], &mut text);
                    text.push(b'"');
                }
                if N > 0 {
                    text.push(b'}');
                }
                writeln!(text, " {value}")?;
            }
            Ok(())
        })();
        assert!(written.is_ok(), "memory takes what is written to it");
        self.0.push((name.to_owned(), text));
    }
}

/// Writes a label's value as it stands between quotes.
fn escape(value: &str, text: &mut Vec<u8>) {
    if !value.bytes().any(|byte| matches!(byte, b'"' | b'\\' | b'\n')) {
        text.extend_from_slice(value.as_bytes());
        return;
    }
    for byte in value.bytes() {
        match byte {
            b'\n' => text.extend_from_slice(b"\\n"),
            b'"' | b'\\' => text.extend_from_slice(&[b'\\', byte]),
            _ => text.push(byte),
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

        let mut text = b"# HELP a_total First.\n# TYPE a_total counter\na_total 3\n".to_vec();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        assert_eq!(String::from_utf8(page.into_text()).unwrap(), String::from_utf8(text).unwrap());
    }
}
