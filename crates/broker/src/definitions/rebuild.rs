//! Puts the definitions of a node together from what is left of them.
//!
//! Invariant: a broker starts on what comes out, and whatever had to be left out or made up is named.

use std::collections::{BTreeMap, HashMap, HashSet};

use warrenmq_routing::{DELAYED_TYPE, ExchangeKind};
use warrenmq_store::KeyValue;

use super::{Definitions, DestinationType, Parameter, QueueNumbers, Record, Vhost};
use crate::access::SALT_LENGTH;
use crate::policy::{Policy, PolicyKind};

/// What is left. All of it was whole when it was read; the question is only how old it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remains<'a> {
    /// What the database gives: right, as far as it goes.
    pub entries: &'a [KeyValue],
    /// What lies about in its file: may be replaced or deleted since, later numbers of queues are newer.
    pub traces: &'a [KeyValue],
    /// The newest export: some seconds old, and without the numbers of queues.
    pub export: Option<&'a Definitions>,
    /// Those, as old as that.
    pub numbers: Option<&'a QueueNumbers>,
}

/// What has become of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rebuilt {
    /// Everything that a node is to start with.
    pub records: Vec<Record>,
    /// What is not in them, or not as it was, a line each.
    pub notes: Vec<String>,
    /// How many of the records the database did not give.
    pub added: usize,
    /// How many queues have no number: their messages are not found.
    pub without_number: usize,
}

impl Remains<'_> {
    /// Takes what the database gives, adds what only the export has (or, without one, only the file), and leaves out what does not
    /// fit together. With whole entries alone this is a check: they come out as they are and without notes.
    pub fn rebuild(&self, salt: impl FnMut() -> [u8; SALT_LENGTH]) -> Rebuilt {
        let mut notes = Vec::new();
        let mut records = BTreeMap::new();
        for (key, value) in self.entries {
            match Record::decode(key, value) {
                Ok(record) => {
                    records.insert(key.clone(), record);
                }
                Err(error) => notes.push(format!("a definition cannot be read: {error}")),
            }
        }
        let from_database = records.len();
        let traces: Vec<(&Vec<u8>, Record)> = self
            .traces
            .iter()
            .filter_map(|(key, value)| Some((key, Record::decode(key, value).ok()?)))
            .collect();
        let others: BTreeMap<Vec<u8>, Record> = match self.export {
            Some(export) => export_records(export, salt)
                .into_iter()
                .map(|record| (record.key().encode(), record))
                .collect(),
            None => traces.iter().map(|(key, record)| ((*key).clone(), record.clone())).collect(),
        };
        for (key, record) in others {
            records.entry(key).or_insert(record);
        }
        let added = records.len() - from_database;
        self.number_queues(&mut records, &traces);
        let mut records: Vec<Record> = records.into_values().collect();
        fit_together(&mut records, &mut notes);
        let unnumbered = |record: &&Record| matches!(record, Record::Queue(queue) if queue.id == 0);
        let without_number = records.iter().filter(unnumbered).count();
        Rebuilt { records, notes, added, without_number }
    }

    /// Numbers grow, so the highest that a name ever had is that of its present queue.
    fn number_queues(&self, records: &mut BTreeMap<Vec<u8>, Record>, traces: &[(&Vec<u8>, Record)]) {
        for (key, trace) in traces {
            if let Record::Queue(old) = trace
                && let Some(Record::Queue(queue)) = records.get_mut(*key)
            {
                queue.id = queue.id.max(old.id);
            }
        }
        let Some(numbers) = self.numbers else { return };
        for record in records.values_mut() {
            let Record::Queue(queue) = record else { continue };
            queue.id = queue.id.max(numbers.get(&queue.vhost, &queue.name).unwrap_or(0));
        }
    }
}

/// Everything that is stored of an export; `salt` is drawn for passwords in clear, which none of ours has.
fn export_records(export: &Definitions, mut salt: impl FnMut() -> [u8; SALT_LENGTH]) -> Vec<Record> {
    let Definitions { vhosts, users, permissions, exchanges, queues, bindings, .. } = export;
    let mut records: Vec<Record> = vhosts.iter().cloned().map(Record::Vhost).collect();
    records.extend(users.iter().map(|user| Record::User(user.to_user(salt()))));
    records.extend(permissions.iter().cloned().map(Record::Permissions));
    for kind in [PolicyKind::User, PolicyKind::Operator] {
        let policies = export.policies(kind).iter();
        records.extend(policies.map(|policy| Record::Policy(kind, policy.clone())));
    }
    records.extend(export.own_parameters().cloned().map(Record::Parameter));
    records.extend(export.global_parameters.iter().cloned().map(Record::GlobalParameter));
    records.extend(exchanges.iter().cloned().map(Record::Exchange));
    records.extend(queues.iter().cloned().map(Record::Queue));
    records.extend(bindings.iter().cloned().map(Record::Binding));
    records
}

/// Leaves out, or makes up, what a broker would refuse to start without.
fn fit_together(records: &mut Vec<Record>, notes: &mut Vec<String>) {
    add_vhosts(records, notes);
    let mut numbers: HashMap<u64, String> = HashMap::new();
    for record in records.iter_mut() {
        let Record::Queue(queue) = record else { continue };
        if queue.id != 0
            && let Some(other) = numbers.insert(queue.id, queue.name.clone())
        {
            let (name, vhost) = (&queue.name, &queue.vhost);
            notes.push(format!("queue '{name}' in vhost '{vhost}' has the number of queue '{other}'"));
            queue.id = 0;
        }
    }
    records.retain(|record| {
        let Record::Exchange(exchange) = record else { return true };
        let known = exchange.kind == DELAYED_TYPE || ExchangeKind::from_name(&exchange.kind).is_some();
        if !known {
            let (name, vhost, kind) = (&exchange.name, &exchange.vhost, &exchange.kind);
            notes.push(format!("exchange '{name}' in vhost '{vhost}' is of the unknown type '{kind}'"));
        }
        known
    });
    drop_loose_bindings(records, notes);
    let is_user = |record: &Record| matches!(record, Record::User(_));
    if !records.is_empty() && !records.iter().any(is_user) {
        notes.push("no user is left: the broker will make its default user".to_owned());
    }
}

fn add_vhosts(records: &mut Vec<Record>, notes: &mut Vec<String>) {
    let mut known = HashSet::new();
    let mut named = HashSet::new();
    for record in records.iter() {
        match record {
            Record::Vhost(vhost) => {
                known.insert(vhost.name.clone());
            }
            Record::User(_) | Record::GlobalParameter(_) => {}
            Record::Permissions(permissions) => {
                named.insert(permissions.vhost.clone());
            }
            Record::Exchange(exchange) => {
                named.insert(exchange.vhost.clone());
            }
            Record::Queue(queue) => {
                named.insert(queue.vhost.clone());
            }
            Record::Binding(binding) => {
                named.insert(binding.vhost.clone());
            }
            Record::Policy(_, Policy { vhost, .. }) | Record::Parameter(Parameter { vhost, .. }) => {
                named.insert(vhost.clone());
            }
        }
    }
    let mut missing: Vec<String> = named.difference(&known).cloned().collect();
    missing.sort();
    for name in missing {
        notes.push(format!("vhost '{name}' was missing and is made anew"));
        records.push(Record::Vhost(Vhost::new(&name)));
    }
}

fn drop_loose_bindings(records: &mut Vec<Record>, notes: &mut Vec<String>) {
    let mut exchanges = HashSet::new();
    let mut queues = HashSet::new();
    for record in records.iter() {
        match record {
            Record::Exchange(exchange) => {
                exchanges.insert((exchange.vhost.clone(), exchange.name.clone()));
            }
            Record::Queue(queue) => {
                queues.insert((queue.vhost.clone(), queue.name.clone()));
            }
            _ => {}
        }
    }
    // Those that every vhost has are not stored.
    let has_exchange = |vhost: &str, name: &str| {
        name.is_empty()
            || name.starts_with("amq.")
            || exchanges.contains(&(vhost.to_owned(), name.to_owned()))
    };
    records.retain(|record| {
        let Record::Binding(binding) = record else { return true };
        let (vhost, from, to) = (&binding.vhost, &binding.source, &binding.destination);
        let has_destination = match binding.destination_type {
            DestinationType::Exchange => has_exchange(vhost, to),
            DestinationType::Queue => queues.contains(&(vhost.clone(), to.clone())),
        };
        let whole = has_destination && has_exchange(vhost, from);
        if !whole {
            notes
                .push(format!("binding from '{from}' to '{to}' in vhost '{vhost}' has lost one of its ends"));
        }
        whole
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::{Binding, Exchange, Queue, import_whole};

    fn entry(record: &Record) -> KeyValue {
        (record.key().encode(), record.encode_value())
    }

    fn queue(name: &str, id: u64) -> Record {
        let (name, vhost) = (name.to_owned(), "/".to_owned());
        let arguments = Default::default();
        Record::Queue(Queue { name, vhost, durable: true, auto_delete: false, arguments, id })
    }

    fn binding(source: &str, destination: &str) -> Record {
        Record::Binding(Binding {
            source: source.to_owned(),
            vhost: "/".to_owned(),
            destination: destination.to_owned(),
            destination_type: DestinationType::Queue,
            routing_key: String::new(),
            arguments: Default::default(),
        })
    }

    fn vhost() -> Record {
        Record::Vhost(Vhost::new("/"))
    }

    fn user() -> Record {
        Record::User(crate::access::User {
            name: "u".to_owned(),
            password_hash: None,
            tags: Vec::new(),
            limits: Default::default(),
        })
    }

    fn rebuild(entries: &[Record], traces: &[Record], export: Option<&str>) -> Rebuilt {
        let entries: Vec<_> = entries.iter().map(entry).collect();
        let traces: Vec<_> = traces.iter().map(entry).collect();
        let export = export.map(|json| import_whole(json.as_bytes()).unwrap());
        let mut numbers = QueueNumbers::default();
        numbers.insert("/", "listed", 40);
        numbers.insert("/", "a", 5);
        let (export, numbers) = (export.as_ref(), export.as_ref().map(|_| &numbers));
        Remains { entries: &entries, traces: &traces, export, numbers }.rebuild(|| [0; SALT_LENGTH])
    }

    #[test]
    fn what_is_whole_stays_as_it_is() {
        let all = [vhost(), user(), queue("q", 3), binding("amq.direct", "q")];
        let rebuilt = rebuild(&all, &[], None);
        assert_eq!((rebuilt.notes.len(), rebuilt.added, rebuilt.without_number), (0, 0, 0));
        assert!(all.iter().all(|record| rebuilt.records.contains(record)));
        assert_eq!(rebuilt.records.len(), all.len());
        assert_eq!(rebuild(&[], &[], None), Rebuilt::default());
    }

    #[test]
    fn an_export_adds_what_is_missing_and_traces_tell_the_numbers() {
        let export = r#"{"vhosts": [{"name": "/"}], "users": [{"name": "u", "password_hash": "", "tags": []}],
            "queues": [{"name": "a", "vhost": "/"}, {"name": "amq.gen-b", "vhost": "/"}, {"name": "c", "vhost": "/"},
                {"name": "listed", "vhost": "/"}],
            "bindings": [{"source": "amq.fanout", "vhost": "/", "destination": "a", "destination_type": "queue"}]}"#;
        let traces = [queue("a", 7), queue("a", 4), queue("amq.gen-b", 9), queue("deleted", 2)];
        let rebuilt = rebuild(&[vhost(), queue("a", 4)], &traces, Some(export));
        assert_eq!(rebuilt.notes, [""; 0]);
        assert_eq!((rebuilt.added, rebuilt.without_number), (5, 1));
        let queues = [queue("a", 7), queue("amq.gen-b", 9), queue("c", 0), queue("listed", 40)];
        for expected in queues.into_iter().chain([binding("amq.fanout", "a")]) {
            assert!(rebuilt.records.contains(&expected), "{expected:?}");
        }
        assert!(!rebuilt.records.contains(&queue("deleted", 2)));
        // Without an export the traces are all there is.
        let rebuilt = rebuild(&[vhost(), user()], &traces, None);
        assert!(rebuilt.records.contains(&queue("deleted", 2)) && rebuilt.records.contains(&queue("a", 7)));
    }

    #[test]
    fn an_export_brings_policies_and_parameters_back() {
        let export = br#"{"vhosts": [{"name": "/", "limits": {"max-queues": 5}}],
            "policies": [{"vhost": "/", "name": "p", "pattern": "a", "definition": {"expires": 5}, "priority": 1}],
            "parameters": [
                {"vhost": "/", "component": "operator_policy", "name": "o",
                 "value": {"pattern": "b", "definition": {"expires": 5}, "priority": 0}},
                {"vhost": "/", "component": "vhost-limits", "name": "limits", "value": {"max-queues": 5}},
                {"vhost": "/", "component": "shovel", "name": "s", "value": {}}],
            "global_parameters": [{"name": "g", "value": 1}]}"#;
        let export = import_whole(export).unwrap();
        let rebuilt = Remains { export: Some(&export), ..Remains::default() }.rebuild(|| [0; SALT_LENGTH]);
        let keys: Vec<Vec<u8>> = rebuilt.records.iter().map(|record| record.key().encode()).collect();
        let kinds: Vec<u8> = keys.iter().map(|key| key[0]).collect();
        assert_eq!(kinds, [1, 7, 8, 9, 10]);
        let Record::Vhost(vhost) = &rebuilt.records[0] else { panic!("no vhost") };
        assert_eq!(vhost.limits.len(), 1);
    }

    #[test]
    fn what_does_not_fit_together_is_named_and_left_out() {
        let odd = Record::Exchange(Exchange {
            name: "x".to_owned(),
            vhost: "/".to_owned(),
            kind: "x-odd".to_owned(),
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: Default::default(),
            number: 0,
        });
        let all = [queue("a", 1), queue("b", 1), odd, binding("x", "a"), binding("amq.direct", "gone")];
        let rebuilt = rebuild(&all, &[], None);
        assert_eq!(
            rebuilt.notes,
            [
                "vhost '/' was missing and is made anew",
                "queue 'b' in vhost '/' has the number of queue 'a'",
                "exchange 'x' in vhost '/' is of the unknown type 'x-odd'",
                "binding from 'x' to 'a' in vhost '/' has lost one of its ends",
                "binding from 'amq.direct' to 'gone' in vhost '/' has lost one of its ends",
                "no user is left: the broker will make its default user",
            ]
        );
        assert_eq!(rebuilt.records, [queue("a", 1), queue("b", 0), vhost()]);
    }
}
