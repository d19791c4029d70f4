//! When something is said: once per change, and not more often than the cooldown allows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Fact, Kind, Level, Notice};
use crate::domain::journal::NotifiedRecord;
use crate::domain::time::{Now, Wall};

/// What one webhook was told.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// In front of everything that is recorded of it.
    id: String,
    /// The level that was last said, or last seen to be less bad, by topic.
    told: BTreeMap<String, Level>,
    /// When something was last said, by what shares a cooldown.
    said: BTreeMap<String, Said>,
    /// Kinds of which it was seen how things are. The first look only does that.
    known: BTreeSet<Kind>,
    /// The latest time in the record. What is recorded next is later, also when the clock went back.
    latest: Wall,
}

/// A time before this process counts by its age.
#[derive(Debug, Clone, Copy)]
struct Said {
    at: Now,
    age_then: Duration,
}

impl Said {
    fn age(self, now: Now) -> Duration {
        self.age_then.saturating_add(now.mono.since(self.at.mono))
    }
}

/// What a look at the state leads to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// To be said, each with what is to be recorded once it was.
    pub notices: Vec<(Notice, NotifiedRecord)>,
    /// To be recorded at once.
    pub records: Vec<NotifiedRecord>,
}

const SAID: &str = "said";
const SEEN: &str = "seen";
const KNOWN: &str = "known";

impl Watch {
    /// Goes on from what is on record for the webhook `id`, a word without spaces.
    pub fn restore(id: &str, records: &[NotifiedRecord], now: Now) -> Self {
        let mut watch = Self { id: id.to_owned(), ..Self::default() };
        let mut levels: BTreeMap<String, (Wall, Level)> = BTreeMap::new();
        for record in records {
            let Some(about) = record.about.strip_prefix(id).and_then(|rest| rest.strip_prefix(' '))
            else {
                continue;
            };
            watch.latest = watch.latest.max(record.at);
            let mut words = about.rsplitn(3, ' ');
            let (how, word, name) = (words.next(), words.next(), words.next());
            if how == Some(KNOWN) {
                watch.known.extend(Kind::ALL.into_iter().find(|kind| Some(kind.label()) == word));
                continue;
            }
            let Some((name, level)) = name.zip(word.and_then(Level::parse)) else { continue };
            if how == Some(SAID) {
                let shared = name.split('|').next().unwrap_or_default();
                let age_then = now.wall.since(record.at);
                let said =
                    watch.said.entry(shared.to_owned()).or_insert(Said { at: now, age_then });
                said.age_then = said.age_then.min(age_then);
            }
            let last = levels.entry(name.to_owned()).or_insert((record.at, level));
            if record.at >= last.0 {
                *last = (record.at, level);
            }
        }
        watch.told = levels.into_iter().map(|(name, (_, level))| (name, level)).collect();
        watch
    }

    /// Compares how things are with what was said, the worst first.
    pub fn look(&mut self, facts: &[Fact], kinds: &[Kind], cooldown: Duration, now: Now) -> Seen {
        let mut seen = Seen::default();
        let mut facts: Vec<_> =
            facts.iter().filter(|fact| kinds.contains(&fact.topic.kind())).collect();
        facts.sort_by_key(|fact| (Reverse(fact.level), fact.topic.clone()));
        self.known.retain(|kind| kinds.contains(kind));
        let mut names = BTreeSet::new();
        for fact in facts {
            let name = fact.topic.name();
            names.insert(name.clone());
            let Some(level) = fact.level else { continue };
            let old = self.told.get(&name).copied().unwrap_or(Level::Fine);
            if old == level || fact.is_just_below(old) {
                continue;
            }
            let is_first_look = !self.known.contains(&fact.topic.kind());
            if is_first_look || !fact.topic.is_said(old, level) {
                seen.records.push(self.record(&format!("{name} {} {SEEN}", level.label()), now));
                self.told.insert(name, level);
                continue;
            }
            let shared = fact.topic.shares();
            if self.said.get(&shared).is_some_and(|said| said.age(now) < cooldown) {
                continue;
            }
            let record = self.record(&format!("{name} {} {SAID}", level.label()), now);
            let notice = Notice {
                topic: fact.topic.clone(),
                old,
                new: level,
                figures: fact.figures,
                at: now.wall,
            };
            seen.notices.push((notice, record));
            self.said.insert(shared, Said { at: now, age_then: Duration::ZERO });
            self.told.insert(name, level);
        }
        // What is configured no more is forgotten.
        self.told.retain(|name, _| names.contains(name));
        self.said.retain(|_, said| said.age(now) < cooldown);
        for kind in kinds {
            if self.known.insert(*kind) {
                let about = format!("{} {} {KNOWN}", self.id, kind.label());
                seen.records.push(NotifiedRecord { about, at: now.wall });
            }
        }
        seen
    }

    fn record(&mut self, about: &str, now: Now) -> NotifiedRecord {
        self.latest = now.wall.max(Wall(self.latest.0.saturating_add(1)));
        NotifiedRecord { about: format!("{} {about}", self.id), at: self.latest }
    }
}
