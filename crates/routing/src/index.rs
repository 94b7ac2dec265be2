//! What an exchange knows of its bindings in order to route: an index by the rule of its kind.

use crate::binding::{Binding, Bound, Target};
use crate::direct::Direct;
use crate::exchange::ExchangeKind;
use crate::headers::Headers;
use crate::set::Set;
use crate::topic::Topic;
use std::sync::Arc;
use warrenmq_wire::table::RawTable;

/// The destinations of an exchange's bindings, arranged for look-ups. A destination is in it once for each
/// key (direct, topic), once (fanout) or once for each binding (headers).
#[derive(Debug, Clone)]
pub(crate) enum Index {
    Direct(Direct),
    Fanout(Set<Target>),
    Topic(Topic),
    Headers(Headers),
}

impl Index {
    pub(crate) fn new(kind: ExchangeKind) -> Self {
        match kind {
            ExchangeKind::Direct => Self::Direct(Direct::default()),
            ExchangeKind::Fanout => Self::Fanout(Set::default()),
            ExchangeKind::Topic => Self::Topic(Topic::default()),
            ExchangeKind::Headers => Self::Headers(Headers::default()),
        }
    }

    pub(crate) fn insert(&mut self, bound: &Arc<Bound>) {
        let key = &bound.binding.routing_key;
        match self {
            Self::Direct(direct) => direct.insert(key, bound.target.clone()),
            Self::Fanout(targets) => {
                targets.insert(bound.target.clone());
            }
            Self::Topic(topic) => topic.insert(key, bound.target.clone()),
            Self::Headers(headers) => headers.insert(bound),
        }
    }

    /// Takes out a binding. `others` are those that the exchange keeps: another of them can lead to the same
    /// destination with the same key, and then the index does not change.
    pub(crate) fn remove(&mut self, bound: &Arc<Bound>, others: &Set<Arc<Bound>>) {
        let Binding { destination, routing_key: key, .. } = &bound.binding;
        let next = |key| others.at_or_after(&Arc::new(bound.first_with_key(key)));
        match self {
            Self::Headers(headers) => headers.remove(bound),
            Self::Fanout(targets) => {
                if next(Arc::default()).is_none_or(|next| next.binding.destination != *destination) {
                    targets.remove(&bound.target);
                }
            }
            Self::Direct(_) | Self::Topic(_) => {
                let next = next(Arc::clone(key)).map(|next| &next.binding);
                if next.is_some_and(|next| next.destination == *destination && next.routing_key == *key) {
                    return;
                }
                match self {
                    Self::Direct(direct) => direct.remove(key, &bound.target),
                    Self::Topic(topic) => topic.remove(key, &bound.target),
                    Self::Fanout(_) | Self::Headers(_) => {}
                }
            }
        }
    }

    /// Calls `visit` with the destinations of a message, in no order; one may come more than once.
    pub(crate) fn matches<'a>(
        &'a self,
        keys: &[&[u8]],
        headers: Option<RawTable<'a>>,
        mut visit: impl FnMut(&'a Target),
    ) {
        match self {
            Self::Direct(direct) => keys.iter().for_each(|key| direct.matches(key).for_each(&mut visit)),
            Self::Fanout(targets) => targets.iter().for_each(visit),
            Self::Topic(topic) => keys.iter().for_each(|key| topic.matches(key, &mut visit)),
            Self::Headers(index) => index.matches(headers, |bound| visit(&bound.target)),
        }
    }
}
