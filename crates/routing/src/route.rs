//! The way of a message from an exchange to queues: through exchange bindings, each exchange once, and to
//! the alternate of an exchange that has no destination for it (`rabbit_exchange:route`).

use crate::binding::{Destination, QueueId, Target};
use crate::exchange::{ExchangeKind, Name};
use crate::topology::{ExchangeEntry, Topology};
use smallvec::SmallVec;
use std::collections::HashSet;
use warrenmq_wire::table::RawTable;

/// There is no exchange with the name given to [`Topology::route`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such exchange")]
pub struct NoExchange;

impl Topology {
    /// Adds to `out` the queues that a message goes to: each once, sorted by their ids. What `out` held
    /// before stays in front.
    ///
    /// `keys` are the routing key and those of the CC and BCC headers; keys may be any octets. `headers` is
    /// the message's table of headers, if it has one. Exchanges bound in a circle are no danger, since each
    /// is visited once. An exchange whose bindings match nothing at all hands the message to its alternate;
    /// an alternate that does not exist is ignored. The default exchange leads to the queue with the name of
    /// the key, but not as an alternate, where it has no bindings of its own.
    ///
    /// # Errors
    /// [`NoExchange`]; nothing is added.
    pub fn route(
        &self,
        exchange: &str,
        keys: &[&[u8]],
        headers: Option<RawTable<'_>>,
        out: &mut Vec<QueueId>,
    ) -> Result<(), NoExchange> {
        let before = out.len();
        if exchange.is_empty() {
            out.extend(keys.iter().filter_map(|key| self.queue(std::str::from_utf8(key).ok()?)));
        } else {
            let mut walk = Walk::new(self, exchange)?;
            while let Some(entry) = walk.next() {
                let mut matched = false;
                entry.index.matches(keys, headers, |target| {
                    matched = true;
                    match target {
                        Target::Queue(id) => out.push(*id),
                        Target::Exchange(name) => walk.visit(name),
                    }
                });
                if !matched && let Some(alternate) = &entry.exchange.alternate {
                    walk.visit(alternate);
                }
            }
        }
        if let Some(added) = out.get_mut(before..)
            && added.len() > 1
        {
            added.sort_unstable();
            out.dedup();
        }
        Ok(())
    }

    /// Whether a headers exchange can be reached from this one, through any bindings and alternates. If not,
    /// the route depends on exchange and keys alone and may be remembered by them as long as this picture
    /// holds. False for an exchange that does not exist.
    pub fn route_depends_on_headers(&self, exchange: &str) -> bool {
        let Ok(mut walk) = Walk::new(self, exchange) else { return false };
        while let Some(entry) = walk.next() {
            if entry.exchange.kind == ExchangeKind::Headers {
                return true;
            }
            entry.exchange.alternate.iter().for_each(|alternate| walk.visit(alternate));
            // Bindings to exchanges are the last ones.
            for bound in entry.from.iter().rev() {
                let Destination::Exchange(name) = &bound.binding.destination else { break };
                walk.visit(name);
            }
        }
        false
    }
}

/// The exchanges on the way, each once.
struct Walk<'a> {
    topology: &'a Topology,
    first: &'a ExchangeEntry,
    pending: SmallVec<[&'a ExchangeEntry; 8]>,
    /// All that were visited, `first` too; nothing as long as that is the only one.
    seen: HashSet<&'a str, foldhash::fast::RandomState>,
}

impl<'a> Walk<'a> {
    fn new(topology: &'a Topology, exchange: &str) -> Result<Self, NoExchange> {
        let first = topology.exchange_entry(exchange).ok_or(NoExchange)?;
        let pending = SmallVec::from_slice(&[first]);
        Ok(Self { topology, first, pending, seen: HashSet::default() })
    }

    fn next(&mut self) -> Option<&'a ExchangeEntry> {
        self.pending.pop()
    }

    fn visit(&mut self, name: &'a Name) {
        if self.seen.is_empty() {
            self.seen.insert(&self.first.exchange.name);
        }
        if self.seen.insert(name)
            && let Some(entry) = self.topology.exchange_entry(name)
        {
            self.pending.push(entry);
        }
    }
}
