//! The index of a headers exchange, and what its bindings ask of headers.
//!
//! Most bindings are found by one of the values that they ask for, so a message costs its headers and the
//! bindings that may match, not all bindings of the exchange. Invariant: a binding that matches if all its
//! criteria hold is filed under exactly one of them, one that matches if any holds under each.

use crate::Map;
use crate::binding::Bound;
use crate::set::Set;
use crate::value::{Form, form};
use smallvec::SmallVec;
use std::fmt::Write;
use std::sync::Arc;
use warrenmq_wire::method::{AMQPValue, FieldTable};
use warrenmq_wire::table::RawTable;

/// Checks the arguments of a binding to a headers exchange: `x-match`, if it is there, has to be one of
/// four strings.
///
/// # Errors
/// The text with which RabbitMQ refuses the binding, to follow `PRECONDITION_FAILED - `.
pub fn check_headers_arguments(arguments: &FieldTable) -> Result<(), String> {
    let value = arguments.inner().iter().find(|(key, _)| key.as_str() == X_MATCH).map(|(_, value)| value);
    match value {
        None => Ok(()),
        Some(AMQPValue::LongString(text)) if Match::from_name(text.as_bytes()).is_some() => Ok(()),
        Some(AMQPValue::LongString(text)) => Err(format!(
            "Invalid x-match field value {}; expected all, any, all-with-x, or any-with-x",
            binary(text.as_bytes())
        )),
        Some(other) => {
            let (kind, term) = term(other);
            Err(format!("Invalid x-match field type {kind} (value {term}); expected longstr"))
        }
    }
}

const X_MATCH: &str = "x-match";

/// What `x-match` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Match {
    /// One criterion is enough.
    any: bool,
    /// Arguments that begin with `x-` are criteria too.
    with_x: bool,
}

impl Match {
    const DEFAULT: Self = Self { any: false, with_x: false };

    fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"all" => Self { any: false, with_x: false },
            b"any" => Self { any: true, with_x: false },
            b"all-with-x" => Self { any: false, with_x: true },
            b"any-with-x" => Self { any: true, with_x: true },
            _ => return None,
        })
    }

    fn takes(self, key: &[u8]) -> bool {
        key != X_MATCH.as_bytes() && (self.with_x || !key.starts_with(b"x-"))
    }
}

/// What a binding asks of headers.
#[derive(Debug)]
pub(crate) struct Rule {
    any: bool,
    criteria: Box<[Criterion]>,
}

/// One header that a binding asks for.
#[derive(Debug)]
struct Criterion {
    key: Arc<[u8]>,
    /// The form of the value; `None` asks only that the header is there (a void argument).
    value: Option<Arc<[u8]>>,
}

impl Rule {
    /// Reads binding arguments in wire form; none at all match every message.
    pub(crate) fn new(arguments: &[u8]) -> Self {
        if arguments.is_empty() {
            return Self { any: false, criteria: Box::default() };
        }
        let Ok((table, _)) = RawTable::parse(arguments) else {
            // Nested deeper than anything that the wire lets in; such arguments match nothing.
            return Self { any: true, criteria: Box::default() };
        };
        let x_match = table.get(X_MATCH.as_bytes()).and_then(|value| value.as_longstr());
        let x_match = x_match.and_then(Match::from_name).unwrap_or(Match::DEFAULT);
        let criteria = table.entries().filter(|(key, _)| x_match.takes(key)).map(|(key, value)| Criterion {
            key: key.into(),
            value: (value.tag != b'V').then(|| form(value).as_slice().into()),
        });
        Self { any: x_match.any, criteria: criteria.collect() }
    }

    fn holds(&self, headers: &[Header<'_>]) -> bool {
        self.criteria.iter().all(|criterion| {
            headers.binary_search_by_key(&&*criterion.key, |header| header.key).is_ok_and(|place| {
                criterion.value.is_none()
                    || headers.get(place).map(|h| &*h.form) == criterion.value.as_deref()
            })
        })
    }
}

/// Bindings by the headers they ask for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers {
    /// Those that ask for nothing and match every message.
    always: Set<Arc<Bound>>,
    keys: Map<Arc<[u8]>, Key>,
}

/// Bindings whose criteria mention one key.
#[derive(Debug, Clone, Default)]
struct Key {
    /// How many criteria mention it, wherever their bindings are filed.
    mentions: usize,
    /// Filed under the presence of the key.
    present: Set<Arc<Bound>>,
    /// Filed under a value of it, by form.
    values: Map<Arc<[u8]>, Set<Arc<Bound>>>,
}

/// A header that some binding mentions.
struct Header<'a> {
    key: &'a [u8],
    index: &'a Key,
    form: Form,
}

impl Headers {
    pub(crate) fn insert(&mut self, bound: &Arc<Bound>) {
        let Some(rule) = &bound.rule else { return };
        for criterion in &rule.criteria {
            self.keys.entry(Arc::clone(&criterion.key)).or_default().mentions += 1;
        }
        if rule.any {
            rule.criteria.iter().for_each(|criterion| self.file(criterion, bound));
        } else if let Some(rarest) = rule.criteria.iter().min_by_key(|criterion| self.filed_under(criterion))
        {
            self.file(rarest, bound);
        } else {
            self.always.insert(Arc::clone(bound));
        }
    }

    pub(crate) fn remove(&mut self, bound: &Arc<Bound>) {
        let Some(rule) = &bound.rule else { return };
        self.always.remove(bound);
        for criterion in &rule.criteria {
            let Some(key) = self.keys.get_mut(&criterion.key) else { continue };
            key.mentions -= 1;
            if key.mentions == 0 {
                self.keys.remove(&criterion.key);
            } else {
                key.remove(criterion, bound);
            }
        }
    }

    /// The bindings that match a message with these headers; one may come more than once.
    pub(crate) fn matches<'a>(&'a self, headers: Option<RawTable<'a>>, mut visit: impl FnMut(&'a Bound)) {
        self.always.iter().for_each(|bound| visit(bound));
        let headers = self.mentioned(headers);
        for header in &headers {
            let values = header.index.values.get(&*header.form);
            for bound in values.into_iter().chain([&header.index.present]).flat_map(Set::iter) {
                if bound.rule.as_ref().is_some_and(|rule| rule.any || rule.holds(&headers)) {
                    visit(bound);
                }
            }
        }
    }

    /// The headers that some binding mentions, sorted by key. Of a key that comes twice the last value
    /// counts, as in RabbitMQ since 3.13.
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

    fn filed_under(&self, criterion: &Criterion) -> usize {
        let Some(key) = self.keys.get(&criterion.key) else { return 0 };
        match &criterion.value {
            Some(value) => key.values.get(value).map_or(0, Set::len),
            None => key.present.len(),
        }
    }

    fn file(&mut self, criterion: &Criterion, bound: &Arc<Bound>) {
        let key = self.keys.entry(Arc::clone(&criterion.key)).or_default();
        let set = match &criterion.value {
            Some(value) => key.values.entry(Arc::clone(value)).or_default(),
            None => &mut key.present,
        };
        set.insert(Arc::clone(bound));
    }
}

impl Key {
    fn remove(&mut self, criterion: &Criterion, bound: &Arc<Bound>) {
        let Some(value) = &criterion.value else {
            self.present.remove(bound);
            return;
        };
        let Some(set) = self.values.get_mut(value) else { return };
        set.remove(bound);
        if set.is_empty() {
            self.values.remove(value);
        }
    }
}

/// A value as Erlang prints it in RabbitMQ's texts: the name of its type and its term.
fn term(value: &AMQPValue) -> (&'static str, String) {
    match value {
        AMQPValue::Boolean(value) => ("bool", value.to_string()),
        AMQPValue::ShortShortInt(value) => ("byte", value.to_string()),
        AMQPValue::ShortShortUInt(value) => ("unsignedbyte", value.to_string()),
        AMQPValue::ShortInt(value) => ("short", value.to_string()),
        AMQPValue::ShortUInt(value) => ("unsignedshort", value.to_string()),
        AMQPValue::LongInt(value) => ("signedint", value.to_string()),
        AMQPValue::LongUInt(value) => ("unsignedint", value.to_string()),
        AMQPValue::LongLongInt(value) => ("long", value.to_string()),
        AMQPValue::Float(value) => ("float", format!("{value:?}")),
        AMQPValue::Double(value) => ("double", format!("{value:?}")),
        AMQPValue::DecimalValue(value) => ("decimal", format!("{{{},{}}}", value.scale, value.value)),
        AMQPValue::ShortString(text) => ("longstr", binary(text.as_str().as_bytes())),
        AMQPValue::LongString(text) => ("longstr", binary(text.as_bytes())),
        AMQPValue::ByteArray(octets) => ("binary", binary(octets.as_slice())),
        AMQPValue::Timestamp(value) => ("timestamp", value.to_string()),
        AMQPValue::Void => ("void", "undefined".to_owned()),
        AMQPValue::FieldArray(values) => {
            let values = values.as_slice().iter().map(|value| {
                let (kind, term) = term(value);
                format!("{{{kind},{term}}}")
            });
            ("array", format!("[{}]", values.collect::<Vec<_>>().join(",")))
        }
        AMQPValue::FieldTable(table) => {
            let entries = table.inner().iter().map(|(key, value)| {
                let (kind, term) = term(value);
                format!("{{{},{kind},{term}}}", binary(key.as_str().as_bytes()))
            });
            ("table", format!("[{}]", entries.collect::<Vec<_>>().join(",")))
        }
    }
}

/// Octets as Erlang prints a binary: quoted if all can be printed, as numbers if not.
fn binary(octets: &[u8]) -> String {
    let mut text = String::from("<<");
    if octets.iter().all(|octet| matches!(octet, b' '..=b'~' | b'\n' | b'\r' | b'\t')) {
        if !octets.is_empty() {
            // Debug escapes these characters as Erlang does.
            let _ = write!(text, "{:?}", String::from_utf8_lossy(octets));
        }
    } else {
        let numbers: Vec<_> = octets.iter().map(u8::to_string).collect();
        text += &numbers.join(",");
    }
    text + ">>"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::{Binding, Destination, QueueId, Target};
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
            assert!(index.keys.is_empty() && index.always.is_empty(), "{arguments:?}");
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

    #[test]
    fn refusals_read_as_those_of_rabbitmq() {
        let value = |text: &str| {
            format!("Invalid x-match field value {text}; expected all, any, all-with-x, or any-with-x")
        };
        let kind = |kind: &str, term: &str| {
            format!("Invalid x-match field type {kind} (value {term}); expected longstr")
        };
        let text = |text: &str| LongString(text.into());
        let cases = [
            (text("zzz"), value(r#"<<"zzz">>"#)),
            (text(""), value("<<>>")),
            (text("ALL"), value(r#"<<"ALL">>"#)),
            (text("a\"b\n'"), value(r#"<<"a\"b\n'">>"#)),
            (LongInt(5), kind("signedint", "5")),
            (Boolean(true), kind("bool", "true")),
            (Void, kind("void", "undefined")),
            (Double(1.5), kind("double", "1.5")),
            (LongLongInt(1 << 40), kind("long", "1099511627776")),
            (ByteArray(vec![0, 255].into()), kind("binary", "<<0,255>>")),
            (
                FieldArray(vec![LongInt(1), text("a")].into()),
                kind("array", r#"[{signedint,1},{longstr,<<"a">>}]"#),
            ),
            (
                AMQPValue::FieldTable(table(&[("k", text("v"))])),
                kind("table", r#"[{<<"k">>,longstr,<<"v">>}]"#),
            ),
        ];
        for (argument, expected) in cases {
            assert_eq!(check_headers_arguments(&table(&[("x-match", argument)])), Err(expected));
        }
        for name in ["all", "any", "all-with-x", "any-with-x"] {
            assert_eq!(check_headers_arguments(&table(&[("x-match", text(name))])), Ok(()));
        }
        assert_eq!(check_headers_arguments(&FieldTable::default()), Ok(()));
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
        Arc::new(Bound::new(binding, Target::Queue(QueueId(1)), true))
    }

    fn matches(index: &Headers, headers: &[u8]) -> bool {
        let mut found = false;
        index.matches(Some(RawTable::parse(headers).unwrap().0), |_| found = true);
        found
    }
}
