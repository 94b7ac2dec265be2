//! The index of a headers exchange: from the headers of a message to the bindings that ask for them.
//!
//! Bindings with the same arguments share one rule, and most rules are found by one of the values that they
//! ask for, so a message costs its headers and the rules that may match, not all bindings of the exchange.
//! Invariant: a rule that matches if all its criteria hold is filed under exactly one of them, one that
//! matches if any holds under each; a rule is filed as long as it has bindings.

use crate::Map;
use crate::binding::Bound;
use crate::rule::{Criterion, Rule};
use crate::set::Set;
use crate::value::{Form, form};
use smallvec::SmallVec;
use std::sync::Arc;
use warrenmq_wire::table::RawTable;

/// Bindings by the headers they ask for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers {
    /// All bindings, by their arguments in wire form. No arguments have an empty set.
    bindings: Map<Arc<[u8]>, Set<Arc<Bound>>>,
    /// Rules that ask for nothing and match every message.
    always: Set<Arc<Rule>>,
    keys: Map<Arc<[u8]>, Key>,
}

/// Rules whose criteria mention one key.
#[derive(Debug, Clone, Default)]
struct Key {
    /// How many rules mention it, wherever they are filed.
    mentions: usize,
    /// Filed under the presence of the key.
    present: Set<Arc<Rule>>,
    /// Filed under a value of it, by form.
    values: Map<Arc<[u8]>, Set<Arc<Rule>>>,
}

/// A header that some rule mentions.
struct Header<'a> {
    key: &'a [u8],
    index: &'a Key,
    form: Form,
}

impl Headers {
    pub(crate) fn insert(&mut self, bound: &Arc<Bound>) {
        let bindings = self.bindings.entry(Arc::clone(&bound.arguments)).or_default();
        let is_new = bindings.is_empty();
        bindings.insert(Arc::clone(bound));
        if is_new {
            self.file(&Arc::new(Rule::new(&bound.arguments)));
        }
    }

    pub(crate) fn remove(&mut self, bound: &Arc<Bound>) {
        let Some(bindings) = self.bindings.get_mut(&bound.arguments) else { return };
        bindings.remove(bound);
        if bindings.is_empty() {
            self.bindings.remove(&bound.arguments);
            self.unfile(&Arc::new(Rule::new(&bound.arguments)));
        }
    }

    /// The bindings that match a message with these headers, each once.
    pub(crate) fn matches<'a>(&'a self, headers: Option<RawTable<'a>>, visit: impl FnMut(&'a Bound)) {
        let headers = self.mentioned(headers);
        let mut rules: SmallVec<[&Rule; 16]> = self.always.iter().map(Arc::as_ref).collect();
        for header in &headers {
            let values = header.index.values.get(&*header.form);
            let filed = values.into_iter().chain([&header.index.present]).flat_map(Set::iter);
            rules
                .extend(filed.map(Arc::as_ref).filter(|rule| rule.any || all_hold(&rule.criteria, &headers)));
        }
        rules.sort_unstable_by_key(|rule| std::ptr::from_ref(*rule));
        rules.dedup_by_key(|rule| std::ptr::from_ref(*rule));
        let bindings = rules.iter().filter_map(|rule| self.bindings.get(&rule.arguments));
        bindings.flat_map(Set::iter).map(Arc::as_ref).for_each(visit);
    }

    /// The headers that some rule mentions, sorted by key. Of a key that comes twice the last value counts,
    /// as in RabbitMQ since 3.13.
    fn mentioned<'a>(&'a self, headers: Option<RawTable<'a>>) -> SmallVec<[Header<'a>; 8]> {
        if self.keys.is_empty() {
            return SmallVec::new();
        }
        let mut found: SmallVec<[Header<'a>; 8]> = headers
            .iter()
            .flat_map(RawTable::entries)
            .filter_map(|(key, value)| {
                let index = self.keys.get(key)?;
                Some(Header { key, index, form: form(value) })
            })
            .collect();
        found.sort_by_key(|header| header.key);
        found.dedup_by(|later, kept| {
            let same = later.key == kept.key;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        found
    }

    fn file(&mut self, rule: &Arc<Rule>) {
        for criterion in &rule.criteria {
            self.keys.entry(Arc::clone(&criterion.key)).or_default().mentions += 1;
        }
        if rule.any {
            rule.criteria.iter().for_each(|criterion| self.file_under(criterion, rule));
        } else if let Some(rarest) = rule.criteria.iter().min_by_key(|criterion| self.filed_under(criterion))
        {
            self.file_under(rarest, rule);
        } else {
            self.always.insert(Arc::clone(rule));
        }
    }

    fn file_under(&mut self, criterion: &Criterion, rule: &Arc<Rule>) {
        let key = self.keys.entry(Arc::clone(&criterion.key)).or_default();
        let rules = match &criterion.value {
            Some(value) => key.values.entry(Arc::clone(value)).or_default(),
            None => &mut key.present,
        };
        rules.insert(Arc::clone(rule));
    }

    fn filed_under(&self, criterion: &Criterion) -> usize {
        let Some(key) = self.keys.get(&criterion.key) else { return 0 };
        match &criterion.value {
            Some(value) => key.values.get(value).map_or(0, Set::len),
            None => key.present.len(),
        }
    }

    fn unfile(&mut self, rule: &Arc<Rule>) {
        self.always.remove(rule);
        for criterion in &rule.criteria {
            let Some(key) = self.keys.get_mut(&criterion.key) else { continue };
            key.mentions -= 1;
            if key.mentions == 0 {
                self.keys.remove(&criterion.key);
            } else {
                key.unfile(criterion, rule);
            }
        }
    }
}

impl Key {
    fn unfile(&mut self, criterion: &Criterion, rule: &Arc<Rule>) {
        let Some(value) = &criterion.value else {
            self.present.remove(rule);
            return;
        };
        let Some(rules) = self.values.get_mut(value) else { return };
        rules.remove(rule);
        if rules.is_empty() {
            self.values.remove(value);
        }
    }
}

/// Whether the headers, sorted by key, meet all criteria.
fn all_hold(criteria: &[Criterion], headers: &[Header<'_>]) -> bool {
    criteria.iter().all(|criterion| {
        let place = headers.binary_search_by_key(&&*criterion.key, |header| header.key);
        place
            .ok()
            .and_then(|place| headers.get(place))
            .is_some_and(|header| criterion.value.as_deref().is_none_or(|value| *value == *header.form))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::{Binding, Destination, QueueId, Target};
    use warrenmq_wire::method::{AMQPValue, FieldTable};
    use warrenmq_wire::table;

    use AMQPValue::{
        Boolean, ByteArray, Double, FieldArray, Float, LongInt, LongLongInt, LongString, LongUInt, Timestamp,
        Void,
    };

    /// Binding arguments, headers, whether they match; as RabbitMQ answered, but for what is said in
    /// `value.rs`.
    #[test]
    fn cases() {
        let text = |text: &str| LongString(text.into());
        let array = |values: &[AMQPValue]| FieldArray(values.to_vec().into());
        let nested = |entries: &[(&str, AMQPValue)]| AMQPValue::FieldTable(table(entries));
        let x_match = |name: &str| ("x-match", LongString(name.into()));
        let one = || LongInt(1);
        type Entries = Vec<(&'static str, AMQPValue)>;
        let cases: Vec<(Entries, Entries, bool)> = vec![
            (vec![], vec![], true),
            (vec![], vec![("a", one())], true),
            (vec![x_match("all")], vec![], true),
            (vec![x_match("any")], vec![("a", one())], false),
            (vec![("x-match", one()), ("a", one())], vec![("a", one())], true),
            (vec![("a", one())], vec![("a", one()), ("b", one())], true),
            (vec![("a", one())], vec![("A", one())], false),
            (vec![("a", one())], vec![("a", LongLongInt(1))], true),
            (vec![("a", one())], vec![("a", LongLongInt(1 << 40))], false),
            (vec![("a", LongUInt(u32::MAX))], vec![("a", LongInt(-1))], false),
            (vec![("a", one())], vec![("a", Boolean(true))], false),
            (vec![("a", one())], vec![("a", text("1"))], false),
            (vec![("a", one())], vec![("a", Double(1.0))], false),
            (vec![("a", Float(1.5))], vec![("a", Double(1.5))], true),
            (vec![("a", Double(0.0))], vec![("a", Double(-0.0))], true),
            (vec![("a", Timestamp(7))], vec![("a", Timestamp(7))], true),
            (vec![("a", Timestamp(u64::MAX))], vec![("a", LongLongInt(-1))], false),
            (vec![("a", text("z"))], vec![("a", ByteArray(b"z".to_vec().into()))], true),
            (vec![("a", text(""))], vec![("a", text("z"))], false),
            (vec![("a", Void)], vec![("a", text("z"))], true),
            (vec![("a", Void)], vec![("a", Void)], true),
            (vec![("a", Void)], vec![("b", one())], false),
            (vec![("a", one())], vec![("a", Void)], false),
            (vec![("a", array(&[one(), Void]))], vec![("a", array(&[one(), Void]))], true),
            (vec![("a", array(&[one()]))], vec![("a", array(&[one(), one()]))], false),
            (vec![("a", array(&[one()]))], vec![("a", array(&[LongLongInt(1)]))], false),
            (vec![("a", nested(&[("k", one())]))], vec![("a", nested(&[("k", one())]))], true),
            (vec![("a", nested(&[("k", one())]))], vec![("a", nested(&[("l", one())]))], false),
            (vec![("a", one()), ("b", one())], vec![("b", one())], false),
            (vec![("a", one()), ("b", Void)], vec![("b", one()), ("a", one())], true),
            (vec![x_match("any"), ("a", one()), ("b", one())], vec![("b", one())], true),
            (vec![x_match("any"), ("a", one()), ("b", one())], vec![("b", Void)], false),
            (vec![x_match("any"), ("a", Void)], vec![("a", one())], true),
            (vec![x_match("all"), ("x-a", one())], vec![], true),
            (vec![x_match("any"), ("x-a", one())], vec![("x-a", one())], false),
            (vec![x_match("any-with-x"), ("x-a", one())], vec![("x-a", one())], true),
            (vec![x_match("any-with-x"), ("x-a", one())], vec![("x-match", text("any-with-x"))], false),
            (vec![x_match("all-with-x"), ("x-a", one())], vec![("x-a", Void)], false),
            (vec![x_match("all-with-x"), ("x-a", one())], vec![("x-a", one())], true),
        ];
        for (arguments, headers, expected) in cases {
            let mut index = Headers::default();
            let bound = bound(&arguments);
            index.insert(&bound);
            let mut wire = Vec::new();
            table::put(&mut wire, &table(&headers)).unwrap();
            assert_eq!(matches(&index, &wire), expected, "{arguments:?} {headers:?}");
            index.remove(&bound);
            let left = index.keys.len() + index.always.len() + index.bindings.len();
            assert_eq!(left, 0, "{arguments:?}");
        }
    }

    #[test]
    fn what_is_removed_is_nowhere_any_more() {
        for x_match in ["all", "any"] {
            let rule = |value| {
                let x_match = LongString(x_match.into());
                bound(&[("x-match", x_match), ("a", LongInt(value)), ("b", LongInt(value)), ("c", Void)])
            };
            let mut index = Headers::default();
            index.insert(&rule(1));
            let alone = format!("{index:?}");
            for value in 2..20 {
                index.insert(&rule(value));
            }
            for value in 2..20 {
                index.remove(&rule(value));
            }
            assert!(format!("{index:?}") == alone, "{x_match}");
        }
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        let mut index = Headers::default();
        index.insert(&bound(&[("a", Boolean(true))]));
        for (first, last, expected) in [(0, 1, true), (1, 0, false)] {
            let wire = [0, 0, 0, 8, 1, b'a', b't', first, 1, b'a', b't', last];
            assert_eq!(matches(&index, &wire), expected);
        }
    }

    fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (key, value) in entries {
            table.insert((*key).into(), value.clone());
        }
        table
    }

    fn bound(arguments: &[(&str, AMQPValue)]) -> Arc<Bound> {
        let binding = Binding {
            source: "headers".into(),
            destination: Destination::Queue("queue".into()),
            routing_key: Arc::default(),
            arguments: table(arguments),
        };
        Arc::new(Bound::new(binding, Target::Queue(QueueId(1))))
    }

    fn matches(index: &Headers, headers: &[u8]) -> bool {
        let mut found = false;
        index.matches(Some(RawTable::parse(headers).unwrap().0), |_| found = true);
        found
    }
}
