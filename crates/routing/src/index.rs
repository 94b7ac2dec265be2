//! What an exchange knows of its bindings in order to route: an index by the rule of its kind.

use crate::binding::{Binding, Bound, Target};
use crate::consistent::{ConsistentHash, HashOn};
use crate::direct::Direct;
use crate::exchange::{Exchange, ExchangeKind};
use crate::hash;
use crate::headers::Headers;
use crate::message::{Dependence, Message};
use crate::numbered::Numbered;
use crate::set::Set;
use crate::topic::Topic;
use std::sync::Arc;

/// The destinations of an exchange's bindings, arranged for look-ups. A destination is in it once for each
/// key (direct, topic), once (fanout, consistent hash) or once for each binding (headers, random, modulus hash).
#[derive(Debug, Clone)]
pub(crate) enum Index {
    Direct(Direct),
    Fanout(Set<Target>),
    Topic(Topic),
    Headers(Headers),
    ConsistentHash(ConsistentHash),
    ModulusHash(Numbered),
    Random(Numbered),
}

impl Index {
    /// The index of an exchange without bindings. Arguments that [`crate::check_exchange`] refuses have no effect.
    pub(crate) fn new(exchange: &Exchange) -> Self {
        match exchange.kind {
            ExchangeKind::Direct => Self::Direct(Direct::default()),
            ExchangeKind::Fanout | ExchangeKind::RecentHistory => Self::Fanout(Set::default()),
            ExchangeKind::Topic => Self::Topic(Topic::default()),
            ExchangeKind::Headers => Self::Headers(Headers::default()),
            ExchangeKind::ConsistentHash => {
                let on = HashOn::read(&exchange.arguments).unwrap_or_default();
                Self::ConsistentHash(ConsistentHash::new(on))
            }
            ExchangeKind::ModulusHash => Self::ModulusHash(Numbered::default()),
            ExchangeKind::Random | ExchangeKind::LocalRandom => Self::Random(Numbered::default()),
        }
    }

    /// What of a message decides about its destinations.
    pub(crate) fn dependence(&self) -> Dependence {
        match self {
            Self::Direct(_) | Self::Fanout(_) | Self::Topic(_) | Self::ModulusHash(_) => Dependence::Keys,
            Self::Headers(_) => Dependence::Headers,
            Self::ConsistentHash(index) => match index.on {
                HashOn::Key => Dependence::Keys,
                HashOn::Header(_) => Dependence::Headers,
                HashOn::MessageId | HashOn::CorrelationId | HashOn::Timestamp => Dependence::Message,
            },
            Self::Random(_) => Dependence::Message,
        }
    }

    /// Adds a binding. `others` are those that the exchange has already.
    pub(crate) fn insert(&mut self, bound: &Arc<Bound>, others: &Set<Arc<Bound>>) {
        let key = &bound.binding.routing_key;
        match self {
            Self::Direct(direct) => direct.insert(key, bound.target.clone()),
            Self::Fanout(targets) => {
                targets.insert(bound.target.clone());
            }
            Self::Topic(topic) => topic.insert(key, bound.target.clone()),
            Self::Headers(headers) => headers.insert(bound),
            Self::ConsistentHash(index) => index.insert(bound, others),
            Self::ModulusHash(numbered) | Self::Random(numbered) => numbered.insert(bound),
        }
    }

    /// Takes out a binding. `others` are those that the exchange keeps: another of them can lead to the same
    /// destination with the same key, and then the index does not change.
    pub(crate) fn remove(&mut self, bound: &Arc<Bound>, others: &Set<Arc<Bound>>) {
        let Binding { destination, routing_key: key, .. } = &bound.binding;
        let next = |key| others.at_or_after(&Arc::new(bound.first_with_key(key)));
        match self {
            Self::Headers(headers) => headers.remove(bound),
            Self::ConsistentHash(index) => index.remove(bound, others),
            Self::ModulusHash(numbered) | Self::Random(numbered) => numbered.remove(bound),
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
                    _ => {}
                }
            }
        }
    }

    /// Calls `visit` with the destinations of a message, in no order; one may come more than once. `chance` is drawn anew where
    /// it decides.
    #[inline]
    pub(crate) fn matches<'a>(
        &'a self,
        message: &Message<'a>,
        chance: &mut u64,
        mut visit: impl FnMut(&'a Target),
    ) {
        match self {
            Self::Direct(direct) => {
                for key in message.keys {
                    direct.matches(key).for_each(&mut visit);
                }
            }
            _ => self.matches_others(message, chance, &mut visit),
        }
    }

    /// The same for all but a direct exchange, which has so little to do that it would notice their code beside its own.
    #[inline(never)]
    fn matches_others<'a>(
        &'a self,
        message: &Message<'a>,
        chance: &mut u64,
        visit: &mut dyn FnMut(&'a Target),
    ) {
        match self {
            Self::Direct(_) => {}
            Self::Fanout(targets) => targets.iter().for_each(visit),
            Self::Topic(topic) => message.keys.iter().for_each(|key| topic.matches(key, &mut *visit)),
            Self::Headers(index) => index.matches(message.headers, |bound| visit(&bound.target)),
            Self::ConsistentHash(index) => index.matches(message).into_iter().for_each(visit),
            Self::ModulusHash(numbered) => numbered.by_keys(message.keys).into_iter().for_each(visit),
            Self::Random(numbered) => {
                *chance = hash::mix(chance.wrapping_add(0x9e37_79b9_7f4a_7c15));
                numbered.by_chance(*chance).into_iter().for_each(visit);
            }
        }
    }
}
