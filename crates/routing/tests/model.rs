//! Random changes and messages against a model that keeps plain lists and compares everything with
//! everything. The model says what RabbitMQ does; `Topology` has to agree after every step, and clones made
//! before a step must not notice it.

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use warrenmq_routing::{
    Binding, Dependence, Destination, Exchange, ExchangeKind, Message, Name, NoExchange, QueueId, Removed,
    Topology,
};
use warrenmq_wire::method::{AMQPValue, FieldTable};
use warrenmq_wire::table::{self, RawTable};

const EXCHANGES: [&str; 6] = ["direct", "fanout", "topic", "headers", "spare", "other"];
/// Those whose destinations follow from the bindings alone; `choices.rs` has the others.
const KINDS: [ExchangeKind; 5] = [
    ExchangeKind::Direct,
    ExchangeKind::Fanout,
    ExchangeKind::Topic,
    ExchangeKind::Headers,
    ExchangeKind::RecentHistory,
];
const QUEUES: [&str; 12] = ["a", "b", "c", "a.b", "q5", "q6", "q7", "q8", "q9", "q10", "q11", "q12"];
const KEYS: [&[u8]; 8] = [b"", b"a", b"b", b"a.b", b"*", b"#", b"#.b", b"\xff.a"];

#[derive(Debug, Clone)]
enum Step {
    Declare { name: Name, kind: ExchangeKind, auto_delete: bool, alternate: Option<Name> },
    Delete(Name),
    AddQueue(Name),
    RemoveQueue(Name),
    Bind(Binding),
    Unbind(Binding),
    UnbindNth(usize),
}

#[derive(Debug, Clone, Default)]
struct Model {
    exchanges: Vec<Exchange>,
    queues: Vec<(Name, QueueId)>,
    bindings: Vec<Binding>,
}

impl Model {
    fn apply(&mut self, step: &Step, topology: &mut Topology, next_id: u64) {
        match step {
            Step::Declare { name, kind, auto_delete, alternate } => {
                if self.exchange(name).is_none() {
                    let exchange = Exchange {
                        name: name.clone(),
                        kind: *kind,
                        durable: false,
                        auto_delete: *auto_delete,
                        internal: false,
                        arguments: FieldTable::default(),
                        alternate: alternate.clone(),
                        delayed: None,
                    };
                    self.exchanges.push(exchange.clone());
                    topology.declare_exchange(exchange);
                }
            }
            Step::Delete(name) => {
                let exists = self.exchange(name).is_some();
                let removed = exists.then(|| {
                    let gone = |b: &Binding| b.source == *name || b.destination == exchange_end(name);
                    self.exchanges.retain(|exchange| exchange.name != *name);
                    self.remove_bindings(gone, vec![name.clone()])
                });
                assert_eq!(topology.delete_exchange(name).map(sorted), removed.map(sorted));
            }
            Step::AddQueue(name) => {
                if !self.queues.iter().any(|(other, _)| other == name) {
                    self.queues.push((name.clone(), QueueId(next_id)));
                    topology.add_queue(name.clone(), QueueId(next_id));
                }
            }
            Step::RemoveQueue(name) => {
                let before = self.queues.len();
                self.queues.retain(|(other, _)| other != name);
                let removed = (self.queues.len() < before).then(|| {
                    self.remove_bindings(|b| b.destination == Destination::Queue(name.clone()), Vec::new())
                });
                assert_eq!(topology.remove_queue(name).map(sorted), removed.map(sorted));
            }
            Step::Bind(binding) => {
                let new = self.exists(binding) && !self.bindings.contains(binding);
                if new {
                    self.bindings.push(binding.clone());
                }
                assert_eq!(topology.bind(binding.clone()), new);
            }
            Step::Unbind(binding) => self.unbind(binding, topology),
            Step::UnbindNth(nth) => {
                if !self.bindings.is_empty() {
                    self.unbind(&self.bindings[nth % self.bindings.len()].clone(), topology);
                }
            }
        }
    }

    fn unbind(&mut self, binding: &Binding, topology: &mut Topology) {
        let existed = self.bindings.contains(binding);
        let mut removed = self.remove_bindings(|b| b == binding, Vec::new());
        removed.bindings.retain(|b| b != binding);
        let (found, answer) = topology.unbind(binding);
        assert_eq!((found, sorted(answer)), (existed, sorted(removed)));
    }

    /// Removes bindings, and then auto-delete exchanges that thereby lost their last one as a source.
    fn remove_bindings(&mut self, gone: impl Fn(&Binding) -> bool, exchanges: Vec<Name>) -> Removed {
        let (mut going, staying): (Vec<_>, Vec<_>) = self.bindings.drain(..).partition(|b| gone(b));
        self.bindings = staying;
        let mut removed = Removed { bindings: Vec::new(), exchanges };
        while let Some(binding) = going.pop() {
            let source = binding.source.clone();
            removed.bindings.push(binding);
            if self.exchange(&source).is_some_and(|exchange| exchange.auto_delete)
                && !self.bindings.iter().chain(&going).any(|b| b.source == source)
            {
                self.exchanges.retain(|exchange| exchange.name != source);
                let end = exchange_end(&source);
                let (to, staying): (Vec<_>, Vec<_>) =
                    self.bindings.drain(..).partition(|b| b.destination == end);
                self.bindings = staying;
                going.extend(to);
                removed.exchanges.push(source);
            }
        }
        removed
    }

    fn exists(&self, binding: &Binding) -> bool {
        let end = match &binding.destination {
            Destination::Queue(name) => self.queues.iter().any(|(queue, _)| queue == name),
            Destination::Exchange(name) => self.exchange(name).is_some(),
        };
        end && self.exchange(&binding.source).is_some()
    }

    fn exchange(&self, name: &str) -> Option<&Exchange> {
        self.exchanges.iter().find(|exchange| &*exchange.name == name)
    }

    fn route(&self, first: &str, keys: &[&[u8]], headers: &FieldTable) -> Vec<QueueId> {
        let mut queues = BTreeSet::new();
        let mut seen = BTreeSet::from([first.to_owned()]);
        let mut pending = vec![first.to_owned()];
        while let Some(name) = pending.pop() {
            let Some(exchange) = self.exchange(&name) else { continue };
            let from = self.bindings.iter().filter(|binding| *binding.source == *name);
            let hits: Vec<_> = from.filter(|b| matches(exchange.kind, b, keys, headers)).collect();
            let mut onward = Vec::new();
            for binding in &hits {
                match &binding.destination {
                    Destination::Queue(name) => {
                        let queue = self.queues.iter().find(|(queue, _)| queue == name);
                        queues.insert(queue.expect("both ends exist").1);
                    }
                    Destination::Exchange(name) => onward.push(name.clone()),
                }
            }
            if hits.is_empty() {
                onward.extend(exchange.alternate.clone());
            }
            pending.extend(onward.iter().map(|n| n.to_string()).filter(|name| seen.insert(name.clone())));
        }
        queues.into_iter().collect()
    }

    fn dependence(&self, first: &str) -> Dependence {
        let mut reached = vec![first.to_owned()];
        let mut next = 0;
        while let Some(name) = reached.get(next).cloned() {
            next += 1;
            let Some(exchange) = self.exchange(&name) else { continue };
            let from = self.bindings.iter().filter(|binding| *binding.source == *name);
            let onward = from.filter_map(|binding| match &binding.destination {
                Destination::Exchange(name) => Some(name),
                Destination::Queue(_) => None,
            });
            for name in onward.chain(&exchange.alternate) {
                if !reached.contains(&name.to_string()) {
                    reached.push(name.to_string());
                }
            }
        }
        let reached = reached.iter().filter_map(|name| self.exchange(name));
        let each = reached.map(|exchange| match exchange.kind {
            ExchangeKind::Headers => Dependence::Headers,
            ExchangeKind::RecentHistory => Dependence::Message,
            _ => Dependence::Keys,
        });
        each.max().unwrap_or_default()
    }

    fn check(&self, topology: &Topology, headers: &FieldTable) {
        let own = |name: &str| EXCHANGES.contains(&name);
        let exchanges: Vec<_> = topology.exchanges().filter(|exchange| own(&exchange.name)).collect();
        assert_eq!(exchanges.len(), self.exchanges.len());
        assert!(exchanges.iter().all(|exchange| self.exchanges.contains(exchange)));
        assert_eq!(sorted_bindings(topology.bindings()), sorted_bindings(&self.bindings));
        let mut wire = Vec::new();
        table::put(&mut wire, headers).expect("small");
        let raw = RawTable::parse(&wire).expect("just written").0;
        for name in EXCHANGES {
            let from = self.bindings.iter().filter(|binding| &*binding.source == name);
            assert_eq!(topology.exchange_in_use(name), from.clone().next().is_some());
            assert_eq!(sorted_bindings(topology.bindings_from(name)), sorted_bindings(from));
            let end = exchange_end(name);
            let to = self.bindings.iter().filter(|binding| binding.destination == end);
            assert_eq!(sorted_bindings(topology.bindings_to(&end)), sorted_bindings(to));
            assert_eq!(topology.route_dependence(name), self.dependence(name));
            let mut out = Vec::new();
            for keys in KEYS.iter().map(std::slice::from_ref).chain([&KEYS[1..4]]) {
                out.clear();
                let message = Message { keys, headers: Some(raw), ..Message::default() };
                let found = topology.route(name, &message, &mut out);
                let expected = self.exchange(name).map(|_| ()).ok_or(NoExchange);
                assert_eq!((found, &out), (expected, &self.route(name, keys, headers)), "{name} {keys:?}");
            }
        }
        for name in QUEUES {
            let end = Destination::Queue(name.into());
            let to = self.bindings.iter().filter(|binding| binding.destination == end);
            assert_eq!(sorted_bindings(topology.bindings_to(&end)), sorted_bindings(to));
            let id = self.queues.iter().find(|(queue, _)| &**queue == name).map(|(_, id)| *id);
            assert_eq!(topology.queue(name), id);
            let mut out = Vec::new();
            let keys = [name.as_bytes(), name.as_bytes()];
            assert_eq!(topology.route("", &Message::with_keys(&keys), &mut out), Ok(()));
            assert_eq!(out, Vec::from_iter(id));
        }
    }
}

fn matches(kind: ExchangeKind, binding: &Binding, keys: &[&[u8]], headers: &FieldTable) -> bool {
    match kind {
        ExchangeKind::Direct => keys.contains(&&*binding.routing_key),
        ExchangeKind::Fanout | ExchangeKind::RecentHistory => true,
        ExchangeKind::Topic => keys.iter().any(|key| {
            let split = |key: &[u8]| match key {
                [] => Vec::new(),
                _ => key.split(|octet| *octet == b'.').map(<[u8]>::to_vec).collect(),
            };
            topic_matches(&split(&binding.routing_key), &split(key))
        }),
        ExchangeKind::Headers => {
            let arguments = binding.arguments.inner();
            let mut criteria = arguments.iter().filter(|(key, _)| !key.as_str().starts_with("x-"));
            let holds = |(key, wanted): (&_, &AMQPValue)| {
                let value = headers.inner().get(key);
                value.is_some_and(|value| *wanted == AMQPValue::Void || value == wanted)
            };
            match arguments.get("x-match") {
                Some(AMQPValue::LongString(name)) if name.as_bytes() == b"any" => criteria.any(holds),
                _ => criteria.all(holds),
            }
        }
        other => unreachable!("{other:?} is not declared"),
    }
}

fn topic_matches(pattern: &[Vec<u8>], key: &[Vec<u8>]) -> bool {
    match pattern.split_first() {
        None => key.is_empty(),
        Some((first, rest)) if first == b"#" => {
            (0..=key.len()).any(|taken| topic_matches(rest, &key[taken..]))
        }
        Some((first, rest)) => key
            .split_first()
            .is_some_and(|(word, others)| (first == b"*" || first == word) && topic_matches(rest, others)),
    }
}

fn exchange_end(name: &str) -> Destination {
    Destination::Exchange(name.into())
}

fn sorted_bindings<'a>(bindings: impl IntoIterator<Item = &'a Binding>) -> Vec<String> {
    let mut texts: Vec<_> = bindings.into_iter().map(|binding| format!("{binding:?}")).collect();
    texts.sort();
    texts
}

fn sorted(mut removed: Removed) -> (Vec<String>, Vec<Name>) {
    removed.exchanges.sort();
    (sorted_bindings(&removed.bindings), removed.exchanges)
}

fn name(names: &'static [&'static str]) -> impl Strategy<Value = Name> {
    prop::sample::select(names).prop_map(Name::from)
}

fn arguments() -> impl Strategy<Value = FieldTable> {
    let value = prop::sample::select(vec![
        AMQPValue::Void,
        AMQPValue::LongInt(1),
        AMQPValue::LongInt(2),
        AMQPValue::LongString("text".into()),
    ]);
    let entry = (prop::sample::select(&["k", "l", "m", "x-k"][..]), value);
    let x_match = prop::option::of(prop::sample::select(&["all", "any"][..]));
    (prop::collection::vec(entry, 0..3), x_match).prop_map(|(entries, x_match)| {
        let mut table = FieldTable::default();
        for (key, value) in entries {
            table.insert(key.into(), value);
        }
        if let Some(x_match) = x_match {
            table.insert("x-match".into(), AMQPValue::LongString(x_match.into()));
        }
        table
    })
}

fn binding() -> impl Strategy<Value = Binding> {
    let destination = prop_oneof![
        3 => name(&QUEUES).prop_map(Destination::Queue),
        1 => name(&EXCHANGES).prop_map(Destination::Exchange),
    ];
    let arguments = prop_oneof![2 => Just(FieldTable::default()), 1 => arguments()];
    (name(&EXCHANGES), destination, prop::sample::select(&KEYS[..]), arguments).prop_map(
        |(source, destination, key, arguments)| Binding {
            source,
            destination,
            routing_key: Arc::from(key),
            arguments,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let declare = (
        name(&EXCHANGES),
        prop::sample::select(&KINDS[..]),
        any::<bool>(),
        prop::option::of(name(&EXCHANGES)),
    );
    let declare = declare.prop_map(|(name, kind, auto_delete, alternate)| Step::Declare {
        name,
        kind,
        auto_delete,
        alternate,
    });
    prop_oneof![
        4 => declare,
        1 => name(&EXCHANGES).prop_map(Step::Delete),
        4 => name(&QUEUES).prop_map(Step::AddQueue),
        1 => name(&QUEUES).prop_map(Step::RemoveQueue),
        20 => binding().prop_map(Step::Bind),
        1 => binding().prop_map(Step::Unbind),
        4 => any::<usize>().prop_map(Step::UnbindNth),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_model(steps in prop::collection::vec(step(), 1..100), headers in arguments()) {
        let mut topology = Topology::new();
        let mut model = Model::default();
        let mut earlier = Vec::new();
        for name in EXCHANGES {
            let kind = ExchangeKind::from_name(name).unwrap_or(ExchangeKind::Fanout);
            // The two that are not named after their kind go as soon as they can.
            let auto_delete = kind.name() != name;
            let name = Name::from(name);
            model.apply(&Step::Declare { name, kind, auto_delete, alternate: None }, &mut topology, 0);
        }
        for (id, step) in (1..).zip(&steps) {
            if id % 20 == 0 {
                earlier.push((topology.clone(), model.clone()));
            }
            model.apply(step, &mut topology, id);
            model.check(&topology, &headers);
        }
        for (topology, model) in earlier {
            model.check(&topology, &headers);
        }
    }
}
