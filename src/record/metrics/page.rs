//! The families of one scrape that come from a snapshot. They are made anew each time, so that what is
//! gone leaves no series behind and two scrapes at once have nothing in common.

use prometheus::proto;

/// Families in the making.
#[derive(Debug, Default)]
pub(super) struct Page(Vec<proto::MetricFamily>);

impl Page {
    /// A gauge's samples: label values in the order of `labels`, and the value. Without any, there is no
    /// family.
    pub(super) fn gauge<'a, const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        labels: [&str; N],
        samples: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) {
        let metrics = samples.into_iter().map(|(values, value)| {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            let mut metric = labelled(labels, values);
            metric.set_gauge(gauge);
            metric
        });
        self.family((name, help), proto::MetricType::GAUGE, metrics.collect());
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, named: (&str, &str), value: f64) {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        let mut metric = proto::Metric::default();
        metric.set_counter(counter);
        self.family(named, proto::MetricType::COUNTER, vec![metric]);
    }

    fn family(
        &mut self,
        (name, help): (&str, &str),
        kind: proto::MetricType,
        metrics: Vec<proto::Metric>,
    ) {
        if metrics.is_empty() {
            return;
        }
        let mut family = proto::MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }

    /// These and `others`, by name.
    pub(super) fn with(self, others: Vec<proto::MetricFamily>) -> Vec<proto::MetricFamily> {
        let mut families: Vec<_> = self.0.into_iter().chain(others).collect();
        families.sort_by(|one, other| one.name().cmp(other.name()));
        families
    }
}

fn labelled<const N: usize>(labels: [&str; N], values: [&str; N]) -> proto::Metric {
    let pairs = labels.into_iter().zip(values).map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    let mut pairs: Vec<_> = pairs.collect();
    // As the registry orders those of counters.
    pairs.sort_by(|one, other| one.name().cmp(other.name()));
    proto::Metric::from_label(pairs)
}
