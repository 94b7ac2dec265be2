//! Queues and exchanges of a run. Invariant: names are numbers, so that a queue that is deleted and declared again is another
//! queue of the same name.

use crate::frames::Table;
use crate::rng::Rng;

/// Number of a queue's name.
pub type Name = usize;

/// What a queue is declared as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// Survives a restart.
    pub durable: bool,
    /// `x-max-priority`.
    pub max_priority: u8,
    /// `x-message-ttl`, milliseconds.
    pub ttl: Option<u64>,
    /// `x-max-length`.
    pub max_length: Option<u64>,
    /// `x-max-length-bytes`.
    pub max_octets: Option<u64>,
    /// `x-overflow` is `reject-publish`.
    pub rejects: bool,
    /// `x-single-active-consumer`.
    pub single_active: bool,
    /// `x-warren-expire-anywhere`.
    pub expire_anywhere: bool,
    /// Dead letters go to the queue of this name.
    pub dead_letters: Option<Name>,
    /// Others send their dead letters here.
    pub takes_dead: bool,
    /// The exchange that delays leads here. It is never deleted.
    pub waits: bool,
    /// `x-queue-type` is `quorum`.
    pub quorum: bool,
}

/// Queues and exchanges.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// Queues by name.
    pub queues: Vec<Kind>,
    /// The queues that are bound to each exchange.
    pub exchanges: Vec<Vec<Name>>,
}

impl Topology {
    /// Some queues of each kind, and one or two exchanges.
    pub fn of(rng: &mut Rng) -> Topology {
        let plain = Kind { durable: true, ..Kind::default() };
        let graveyard = 0;
        let mut queues = vec![Kind { takes_dead: true, ..plain }, plain];
        for _ in 0..rng.between(1, 4) {
            queues.push(match rng.below(14) {
                0..2 => plain,
                2 => Kind { single_active: true, ..plain },
                3 => Kind { max_priority: 3, ..plain },
                4 => match rng.below(2) {
                    0 => Kind { max_length: Some(rng.between(0, 6)), ..plain },
                    _ => Kind { max_octets: Some(rng.between(0, 2000)), ..plain },
                },
                5 => match rng.below(2) {
                    0 => Kind { max_length: Some(rng.between(1, 6)), rejects: true, ..plain },
                    _ => Kind { max_octets: Some(rng.between(50, 2000)), rejects: true, ..plain },
                },
                6 => {
                    let ttl = Some([0, 20, 300][rng.below(3)]);
                    Kind { ttl, expire_anywhere: rng.below(2) == 0, ..plain }
                }
                7 => Kind { dead_letters: Some(graveyard), ..plain },
                8 => match rng.below(2) {
                    0 => Kind { dead_letters: Some(graveyard), ttl: Some(rng.between(5, 200)), ..plain },
                    _ => Kind { dead_letters: Some(graveyard), max_length: Some(rng.between(1, 6)), ..plain },
                },
                9 => Kind { durable: false, ..plain },
                _ => Kind { quorum: true, ..plain },
            });
        }
        if rng.chance(1, 2) {
            queues.push(Kind { waits: true, ..plain });
        }
        // A refusal of one queue would make the confirm of the others' copies ambiguous.
        let is_bindable = |kind: &Kind| !kind.takes_dead && !kind.rejects && !kind.waits;
        let bindable: Vec<Name> = (0..queues.len()).filter(|name| is_bindable(&queues[*name])).collect();
        let exchanges = (0..rng.between(1, 2)).map(|_| {
            let mut bound: Vec<Name> =
                (0..rng.between(2, 3)).filter_map(|_| rng.pick(&bindable).copied()).collect();
            bound.sort_unstable();
            bound.dedup();
            // Of two dead letters of one message it could not be told which queue they come from.
            let mut deadly = 0;
            bound.retain(|name| {
                deadly += usize::from(queues[*name].dead_letters.is_some());
                queues[*name].dead_letters.is_none() || deadly == 1
            });
            bound
        });
        let exchanges = exchanges.collect();
        Topology { queues, exchanges }
    }

    /// The queue that the exchange that delays leads to, if there is one.
    pub fn waits(&self) -> Option<Name> {
        self.queues.iter().position(|kind| kind.waits)
    }

    /// The type of an exchange: all of its queues get each message. Of one queue that is true of types that choose one, too,
    /// and with them each message is routed by itself.
    pub fn exchange_type(&self, exchange: usize) -> &'static str {
        match (self.exchanges[exchange].len(), exchange) {
            (1, 0) => "x-random",
            (1, _) => "x-modulus-hash",
            _ => "fanout",
        }
    }
}

impl Kind {
    /// The arguments of its declare.
    pub fn arguments(&self) -> Table {
        let mut table = Table::default();
        if self.quorum {
            // Nothing dies of coming back.
            table = table.text("x-queue-type", "quorum").number("x-delivery-limit", 1_000_000);
        }
        if self.max_priority > 0 {
            table = table.number("x-max-priority", self.max_priority.into());
        }
        if let Some(ttl) = self.ttl {
            table = table.number("x-message-ttl", ttl);
        }
        if let Some(max) = self.max_length {
            table = table.number("x-max-length", max);
        }
        if let Some(max) = self.max_octets {
            table = table.number("x-max-length-bytes", max);
        }
        if self.single_active {
            table = table.flag("x-single-active-consumer", true);
        }
        if self.expire_anywhere {
            table = table.flag("x-warren-expire-anywhere", true);
        }
        if self.rejects {
            table = table.text("x-overflow", "reject-publish");
        }
        if let Some(name) = self.dead_letters {
            table = table.text("x-dead-letter-exchange", "");
            table = table.text("x-dead-letter-routing-key", &queue_name(name));
        }
        table
    }

    /// The level of a message's priority here.
    pub fn level(&self, priority: u8) -> u8 {
        priority.min(if self.quorum { 31 } else { self.max_priority })
    }
}

/// The name on the wire.
pub fn queue_name(name: Name) -> String {
    format!("q{name}")
}

/// The name on the wire of an exchange.
pub fn exchange_name(exchange: usize) -> String {
    format!("x{exchange}")
}
