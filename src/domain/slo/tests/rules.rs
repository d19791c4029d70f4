//! The sidecar's own alerts agree with those of `rules/`, whose expressions are read and worked out here.

use std::collections::BTreeMap;

use serde_yaml::Value;

use super::super::burn::{Objective, Tier};
use super::super::report;
use super::super::window::{Counts, Window};
use super::*;

const RECORDING: &str = include_str!("../../../../rules/slo_recording.yml");
const ALERTS: &str = include_str!("../../../../rules/slo_alerts.yml");

/// Expressions by the name of what they record or alert.
fn expressions() -> BTreeMap<String, String> {
    let mut expressions = BTreeMap::new();
    for text in [RECORDING, ALERTS] {
        let file: Value = serde_yaml::from_str(text).unwrap();
        for group in file["groups"].as_sequence().unwrap() {
            for rule in group["rules"].as_sequence().unwrap() {
                let name = [&rule["record"], &rule["alert"]].into_iter().find_map(Value::as_str);
                let expr = plain(rule["expr"].as_str().unwrap());
                expressions.insert(name.unwrap().to_owned(), expr);
            }
        }
    }
    expressions
}

/// Labels of one SLO of one replica select nothing and match everything; what selects is part of a name.
fn plain(expr: &str) -> String {
    let good = "sum by (cluster, namespace, job, slo, captcha_type) \
                (increase(solvegate_slo_events_total{result=\"good\"}[6h]))";
    [
        (good, "good_events:increase6h"),
        (" ignoring (tier)", ""),
        (" ignoring (status)", ""),
        ("max without (tier)", "largest"),
        ("{tier=\"", "_"),
        ("{status=\"", "_"),
        ("\"}", ""),
        ("captcha_type:solvegate_slo_", ""),
        ("(", " ( "),
        (")", " ) "),
    ]
    .iter()
    .fold(expr.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// An expression over one series or none.
struct Rules<'a> {
    expressions: &'a BTreeMap<String, String>,
    report: &'a Report,
}

impl Rules<'_> {
    fn alerts(&self, name: &str) -> bool {
        self.value(&self.expressions[name]).is_some()
    }

    fn value(&self, expr: &str) -> Option<f64> {
        let mut words = expr.split_whitespace().collect::<Vec<_>>().into_iter().peekable();
        let value = self.or(&mut words);
        assert_eq!(words.next(), None, "{expr}");
        value
    }

    fn or(&self, words: &mut Words<'_>) -> Option<f64> {
        let mut value = self.and(words);
        while words.next_if_eq(&"or").is_some() {
            // Both sides are read, whichever counts.
            let other = self.and(words);
            value = value.or(other);
        }
        value
    }

    fn and(&self, words: &mut Words<'_>) -> Option<f64> {
        let mut value = self.comparison(words);
        while words.next_if_eq(&"and").is_some() {
            let other = self.comparison(words);
            value = value.filter(|_| other.is_some());
        }
        value
    }

    fn comparison(&self, words: &mut Words<'_>) -> Option<f64> {
        let value = self.sum(words);
        let operators = ["<", "<=", ">", ">=", "=="];
        let Some(operator) = words.next_if(|word| operators.contains(word)) else { return value };
        let (value, other) = value.zip(self.sum(words))?;
        let holds = match operator {
            "<" => value < other,
            "<=" => value <= other,
            ">" => value > other,
            ">=" => value >= other,
            _ => value.total_cmp(&other).is_eq(),
        };
        holds.then_some(value)
    }

    fn sum(&self, words: &mut Words<'_>) -> Option<f64> {
        let mut value = self.product(words);
        while let Some(operator) = words.next_if(|word| ["+", "-"].contains(word)) {
            let pair = value.zip(self.product(words));
            value = pair.map(|(a, b)| if operator == "+" { a + b } else { a - b });
        }
        value
    }

    fn product(&self, words: &mut Words<'_>) -> Option<f64> {
        let mut value = self.atom(words);
        while let Some(operator) = words.next_if(|word| ["*", "/"].contains(word)) {
            let pair = value.zip(self.atom(words));
            value = pair.map(|(a, b)| if operator == "*" { a * b } else { a / b });
        }
        value
    }

    fn atom(&self, words: &mut Words<'_>) -> Option<f64> {
        let word = words.next().unwrap();
        if let Ok(number) = word.parse() {
            return Some(number);
        }
        let value = match word {
            "(" => self.or(words),
            "sqrt" => {
                assert_eq!(words.next(), Some("("));
                self.or(words).map(f64::sqrt)
            }
            // Of two series that differ in a label.
            "largest" => {
                assert_eq!(words.next(), Some("("));
                let one = self.and(words);
                assert_eq!(words.next(), Some("or"));
                let other = self.and(words);
                one.into_iter().chain(other).reduce(f64::max)
            }
            name => return self.named(name),
        };
        assert_eq!(words.next(), Some(")"));
        value
    }

    /// What the sidecar exports, or what a rule records of it.
    fn named(&self, name: &str) -> Option<f64> {
        let report = self.report;
        if let Some((what, window)) = name.split_once(":increase") {
            let window = Window::ALL.into_iter().find(|it| it.label() == window).unwrap();
            let counts = report.of_window(window).counts;
            return Some(match what {
                "events" => float(counts.total()),
                "bad_events" => float(counts.bad),
                "good_events" => float(counts.good),
                _ => panic!("{name}"),
            });
        }
        let own = report.of_window(Window::Slo).counts;
        match name {
            "objective:ratio" => Some(report.objective),
            "min_events:max" => Some(float(report.min_events)),
            "window_events:sum" => Some(float(own.total())),
            "window_bad_events:sum" => Some(float(own.bad)),
            "status_below:max_critical" => Some(report.critical_below),
            _ => match name.strip_prefix("burn_rate_threshold:min_") {
                Some(tier) => {
                    let found = report.thresholds.iter().find(|(it, _)| it.label() == tier);
                    Some(found.unwrap().1)
                }
                None => {
                    self.value(&self.expressions[&format!("captcha_type:solvegate_slo_{name}")])
                }
            },
        }
    }
}

type Words<'a> = std::iter::Peekable<std::vec::IntoIter<&'a str>>;

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// The same ones on every run.
struct Dice(u64);

impl Dice {
    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Shares are sums of powers of two, of which floats lose nothing: a rate at its threshold is at it.
fn some_report(dice: &mut Dice) -> Report {
    let slo = Slo {
        objective: dice.of(&[0.5, 0.75, 0.9375, 0.984_375]),
        window: dice.of(&[HOUR, DAY, 7 * DAY, 30 * DAY]),
        min_events: dice.of(&[1, 10, 50, 400]),
        critical_below: 0.125,
        ..SLO
    };
    let bad_in_64 = [0, 1, 2, 4, 8, 24, 40, 64];
    let is_outage = dice.below(4) == 0;
    let mut so_far = Counts::default();
    let counts = Window::ALL.map(|_| {
        let events = dice.of(&[0, 0, 1, 4, 16, 64, 128, 640]);
        let share = if is_outage { 64 } else { dice.of(&bad_in_64) };
        let bad = (0..events).filter(|_| dice.below(64) < share).count() as u64;
        so_far = Counts { good: so_far.good + events - bad, bad: so_far.bad + bad };
        so_far
    });
    let objective = Objective::of(&slo, SloKind::Success).unwrap();
    report::of_counts(&objective, (TYPE, SloKind::Success), None, counts)
}

#[test]
fn what_alerts_here_alerts_in_prometheus_and_the_other_way_round() {
    let expressions = expressions();
    let mut dice = Dice(7);
    let mut seen = BTreeMap::new();
    let mut agree = |name: &str, here: bool, rules: bool, report: &Report| {
        assert_eq!(here, rules, "{name}: {report:#?}");
        *seen.entry((name.to_owned(), here)).or_insert(0) += 1;
    };
    for _ in 0..20_000 {
        let report = some_report(&mut dice);
        let rules = Rules { expressions: &expressions, report: &report };
        let tier = |tier: Tier| match tier {
            Tier::Fast => "SolvegateErrorBudgetBurnFast",
            Tier::Medium => "SolvegateErrorBudgetBurnMedium",
            Tier::Slow => "SolvegateErrorBudgetBurnSlow",
            Tier::LongTerm => "SolvegateErrorBudgetBurnLongTerm",
        };
        let first = Tier::ALL.into_iter().find(|it| rules.alerts(tier(*it)));
        for it in Tier::ALL {
            agree(tier(it), report.burning() == Some(it), first == Some(it), &report);
        }
        for (name, here) in [
            ("SolvegateMostSolvesFailing", report.mostly_fails()),
            ("SolvegateAllSolvesFailing", report.all_fail()),
            ("SolvegateErrorBudgetLow", report.status == Status::Critical),
            ("SolvegateErrorBudgetExhausted", report.status == Status::Exhausted),
        ] {
            agree(name, here, rules.alerts(name), &report);
        }
    }
    assert_eq!(seen.len(), 16, "{seen:?}");
    assert!(seen.values().all(|times| *times > 100), "{seen:?}");
}

#[test]
fn of_no_events_chance_explains_any_burn_rate() {
    let objective = Objective::of(&SLO, SloKind::Success).unwrap();
    let at = |good, bad| objective.burn_rate_by_chance(Counts { good, bad });
    assert!(at(0, 0).is_infinite());
    // 1 + 5 * sqrt(0.95 / 5) + 4 / 5
    assert!((at(60, 40) - 3.979_449_471).abs() < 1e-8, "{}", at(60, 40));
}
