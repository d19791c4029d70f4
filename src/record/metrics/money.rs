//! Money counted in whole micro-dollars and shown as dollars: a float that is added to forgets cents.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto;
use prometheus::{Opts, Registry};

/// Counters of one name, by label values.
#[derive(Debug, Clone)]
pub(super) struct DollarCounters {
    desc: Desc,
    labels: Vec<String>,
    values: Arc<Mutex<BTreeMap<Vec<String>, i64>>>,
}

impl DollarCounters {
    pub(super) fn register(
        registry: &Registry,
        (name, help): (&str, &str),
        labels: &[&str],
    ) -> Result<Self, prometheus::Error> {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let opts = Opts::new(name, help);
        let desc = Desc::new(opts.fq_name(), opts.help.clone(), labels.clone(), opts.const_labels)?;
        let counters = Self { desc, labels, values: Arc::default() };
        registry.register(Box::new(counters.clone())).map(|()| counters)
    }

    pub(super) fn add(&self, labels: &[&str], amount: i64) {
        let key: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let mut values = self.values.lock();
        let value = values.entry(key).or_default();
        *value = value.saturating_add(amount);
    }

    pub(super) fn remove(&self, labels: &[&str]) {
        let key: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        self.values.lock().remove(&key);
    }
}

impl Collector for DollarCounters {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    #[expect(clippy::cast_precision_loss, reason = "a view for graphs, not for bills")]
    fn collect(&self) -> Vec<proto::MetricFamily> {
        let values = self.values.lock().clone();
        let metrics: Vec<proto::Metric> = values
            .into_iter()
            .map(|(labels, value)| {
                let pairs = self.labels.iter().zip(labels).map(|(name, value)| {
                    let mut pair = proto::LabelPair::default();
                    pair.set_name(name.clone());
                    pair.set_value(value);
                    pair
                });
                let mut counter = proto::Counter::default();
                counter.set_value(value as f64 / 1e6);
                let mut metric = proto::Metric::from_label(pairs.collect());
                metric.set_counter(counter);
                metric
            })
            .collect();
        if metrics.is_empty() {
            return Vec::new();
        }
        let mut family = proto::MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(proto::MetricType::COUNTER);
        family.set_metric(metrics);
        vec![family]
    }
}
