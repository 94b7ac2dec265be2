//! The way of a message from an exchange to queues: through exchange bindings, each exchange once, and to
//! the alternate of an exchange that has no destination for it (`rabbit_exchange:route`).

use crate::binding::{Destination, QueueId, Target};
use crate::exchange::{DelayId, Exchange, ExchangeKind, Name};
use crate::message::{Dependence, Message};
use crate::topology::{ExchangeEntry, Topology};
use std::collections::HashSet;

/// There is no exchange with the name given to [`Topology::route`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such exchange")]
pub struct NoExchange;

impl Topology {
    /// Adds to `out` the queues that a message goes to: each once, sorted by their ids. What `out` held
    /// before stays in front.
    ///
    /// Exchanges bound in a circle are no danger, since each
    /// is visited once. An exchange whose bindings match nothing at all hands the message to its alternate;
    /// an alternate that does not exist is ignored. The default exchange leads to the queue with the name of
    /// the key, but not as an alternate, where it has no bindings of its own.
    ///
    /// # Errors
    /// [`NoExchange`]; nothing is added.
    pub fn route(
        &self,
        exchange: &str,
        message: &Message<'_>,
        out: &mut Vec<QueueId>,
    ) -> Result<(), NoExchange> {
        self.route_or_hold(exchange, message, &mut Vec::new(), out)
    }

    /// The same for a message that may wait: the exchanges that hold it back are added to `held`.
    ///
    /// # Errors
    /// [`NoExchange`]; nothing is added.
    pub fn route_or_hold(
        &self,
        exchange: &str,
        message: &Message<'_>,
        held: &mut Vec<DelayId>,
        out: &mut Vec<QueueId>,
    ) -> Result<(), NoExchange> {
        let before = out.len();
        if exchange.is_empty() {
            out.extend(message.keys.iter().filter_map(|key| self.queue(std::str::from_utf8(key).ok()?)));
        } else {
            self.travel(exchange, message, |id| held.push(id), |_| (), |id| out.push(id))?;
        }
        if let Some(added) = out.get_mut(before..)
            && added.len() > 1
        {
            added.sort_unstable();
            out.dedup();
        }
        Ok(())
    }

    /// Calls `visit` with the name of each exchange on the message's way that keeps a recent history.
    pub fn histories(&self, exchange: &str, message: &Message<'_>, mut visit: impl FnMut(&Name)) {
        let pass = |exchange: &Exchange| {
            if exchange.kind == ExchangeKind::RecentHistory {
                visit(&exchange.name);
            }
        };
        // Without an exchange there is no way.
        let _ = self.travel(exchange, message, |_| (), pass, |_| ());
    }

    /// What the routes from this exchange depend on, through any bindings and alternates. As far as that goes they may be
    /// remembered as long as this picture holds. [`Dependence::Keys`] for an exchange that does not exist.
    pub fn route_dependence(&self, exchange: &str) -> Dependence {
        let mut dependence = Dependence::Keys;
        let Ok(mut walk) = Walk::new(self, exchange) else { return dependence };
        while let Some(entry) = walk.next() {
            if entry.exchange.delayed.is_some() {
                dependence = dependence.max(Dependence::Headers);
            }
            dependence = dependence.max(match entry.exchange.kind {
                ExchangeKind::RecentHistory => Dependence::Message,
                _ => entry.index.dependence(),
            });
            entry.exchange.alternate.iter().for_each(|alternate| walk.visit(alternate));
            // Bindings to exchanges are the last ones.
            for bound in entry.from.iter().rev() {
                let Destination::Exchange(name) = &bound.binding.destination else { break };
                walk.visit(name);
            }
        }
        dependence
    }

    /// The way of a message: calls `hold` with those that hold it back, where it goes no further, `pass` with each other exchange,
    /// `arrive` with the queues, one perhaps more than once.
    #[inline]
    fn travel<'a>(
        &'a self,
        exchange: &str,
        message: &Message<'a>,
        mut hold: impl FnMut(DelayId),
        mut pass: impl FnMut(&'a Exchange),
        mut arrive: impl FnMut(QueueId),
    ) -> Result<(), NoExchange> {
        let mut walk = Walk::new(self, exchange)?;
        let mut chance = message.chance;
        while let Some(entry) = walk.next() {
            if message.waits
                && let Some(id) = entry.exchange.delayed
            {
                hold(id);
                continue;
            }
            pass(&entry.exchange);
            let mut matched = false;
            entry.index.matches(message, &mut chance, |target| {
                matched = true;
                match target {
                    Target::Queue(id) => arrive(*id),
                    Target::Exchange(name) => walk.visit(name),
                }
            });
            if !matched && let Some(alternate) = &entry.exchange.alternate {
                walk.visit(alternate);
            }
        }
        Ok(())
    }
}

/// The exchanges on the way, each once.
struct Walk<'a> {
    topology: &'a Topology,
    first: &'a ExchangeEntry,
    /// The next one; the others are pending.
    next: Option<&'a ExchangeEntry>,
    pending: Vec<&'a ExchangeEntry>,
    /// All that were visited, `first` too; `None` as long as that is the only one.
    seen: Option<HashSet<&'a str, foldhash::fast::RandomState>>,
}

impl<'a> Walk<'a> {
    #[inline]
    fn new(topology: &'a Topology, exchange: &str) -> Result<Self, NoExchange> {
        let first = topology.exchange_entry(exchange).ok_or(NoExchange)?;
        Ok(Self { topology, first, next: Some(first), pending: Vec::new(), seen: None })
    }

    #[inline]
    fn next(&mut self) -> Option<&'a ExchangeEntry> {
        self.next.take().or_else(|| self.pending.pop())
    }

    /// By itself: most ways have one exchange, and what calls this is small enough to be inlined then.
    #[inline(never)]
    fn visit(&mut self, name: &'a Name) {
        let first = &*self.first.exchange.name;
        if self.seen.get_or_insert_with(|| HashSet::from_iter([first])).insert(name)
            && let Some(entry) = self.topology.exchange_entry(name)
        {
            self.pending.push(entry);
        }
    }
}
