//! Queues and exchanges of a run. Invariant: names are numbers, so that a queue that is deleted and declared again is another
//! queue of the same name.

use crate::chooses::Chooses;
use crate::frames::Table;
use crate::rng::Rng;
use crate::rules::{Grave, Overflow, RetryWhen, Rules};

/// Number of a queue's name.
pub type Name = usize;

/// Where dead letters go.
pub const GRAVEYARD: Name = 0;
const GRAVE: Grave = Grave::One(GRAVEYARD);
/// The fanout that is the alternate of the direct exchange, if one is declared with it.
const ALTERNATE: usize = 0;

/// What a queue is declared as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// Survives a restart.
    pub durable: bool,
    /// `x-max-priority`.
    pub max_priority: u8,
    /// `x-single-active-consumer`.
    pub single_active: bool,
    /// `x-warren-expire-anywhere`.
    pub expire_anywhere: bool,
    /// Others send their dead letters here. It stays as it is.
    pub takes_dead: bool,
    /// The exchange that delays leads here. It stays as it is, and is never deleted.
    pub waits: bool,
    /// The exchange that chooses leads here. It stays as it is, and is never deleted.
    pub chosen: bool,
    /// `x-queue-type` is `quorum`.
    pub quorum: bool,
    /// What its other arguments say.
    pub own: Rules,
}

/// Queues and exchanges.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// Queues by name.
    pub queues: Vec<Kind>,
    /// The queues that are bound to each fanout.
    pub exchanges: Vec<Vec<Name>>,
    /// The direct exchange is declared with an alternate.
    pub alternate: Option<usize>,
    /// How much the exchange keeps that keeps the last messages, if there is one.
    pub history: Option<u64>,
    /// The exchange that chooses one of several queues, if there is one.
    pub chooses: Option<Chooses>,
    /// There is an exchange that leads to others.
    pub leads: bool,
    /// The run has what was thought of last.
    pub is_late: bool,
    /// What is declared without a type is a quorum queue.
    pub quorum_by_default: bool,
    /// The user may publish in the name of others.
    pub impersonates: bool,
}

impl Topology {
    /// Some queues of each kind, and one or two exchanges. What was thought of later is drawn from `more`, so that the rest stays, and
    /// what was thought of last from `latest`, in half of the runs.
    pub fn of(rng: &mut Rng, more: &mut Rng, latest: &mut Rng) -> Topology {
        let plain = Kind { durable: true, ..Kind::default() };
        let mut queues = vec![Kind { takes_dead: true, ..plain }, plain];
        for _ in 0..rng.between(1, 4) {
            queues.push(varied(some_kind(rng), more));
        }
        if rng.chance(1, 2) {
            queues.push(Kind { waits: true, ..plain });
        }
        if more.chance(1, 3) {
            add_keeper(&mut queues, more);
        }
        let bindable: Vec<Name> = (0..queues.len()).filter(|name| queues[*name].is_free()).collect();
        let exchanges = (0..rng.between(1, 2)).map(|_| {
            let mut bound: Vec<Name> =
                (0..rng.between(2, 3)).filter_map(|_| rng.pick(&bindable).copied()).collect();
            bound.sort_unstable();
            bound.dedup();
            bound
        });
        let exchanges = exchanges.collect();
        let alternate = rng.chance(1, 3).then_some(ALTERNATE);
        let history = rng.chance(1, 3).then(|| rng.between(1, 4));
        let is_late = latest.chance(1, 2);
        let chooses = (is_late && latest.chance(1, 2)).then(|| Chooses::draw(&mut queues, latest));
        let leads = is_late && latest.chance(1, 2);
        let quorum_by_default = is_late && latest.chance(1, 4);
        let impersonates = is_late && latest.chance(1, 4);
        Topology {
            queues,
            exchanges,
            alternate,
            history,
            chooses,
            leads,
            is_late,
            quorum_by_default,
            impersonates,
        }
    }

    /// The queue that the exchange that delays leads to, if there is one.
    pub fn waits(&self) -> Option<Name> {
        self.queues.iter().position(|kind| kind.waits)
    }

    /// Messages are published to the queues with numbers from 1 to below this.
    pub fn addressed(&self) -> usize {
        let is_other = |name: &Name| self.queues[*name].takes_dead || self.queues[*name].chosen;
        (1..self.queues.len()).find(is_other).unwrap_or(self.queues.len())
    }

    /// The small queue that takes dead letters, too, if there is one.
    pub fn small_grave(&self) -> Option<Name> {
        (1..self.queues.len()).find(|name| self.queues[*name].takes_dead)
    }

    /// The queues of which the exchange that chooses chooses one.
    pub fn chosen(&self) -> Vec<Name> {
        (0..self.queues.len()).filter(|name| self.queues[*name].chosen).collect()
    }

    /// Queues that may be bound to anything, and that policies may be for.
    pub fn free(&self) -> Vec<Name> {
        (0..self.queues.len()).filter(|name| self.queues[*name].is_free()).collect()
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

/// A queue of some kind.
fn some_kind(rng: &mut Rng) -> Kind {
    let plain = Kind { durable: true, ..Kind::default() };
    let with = |own: Rules| Kind { own, ..plain };
    let none = Rules::default();
    let to_grave = Rules { dead_letters: Some(GRAVE), ..none };
    match rng.below(17) {
        0..2 => plain,
        2 => Kind { single_active: true, quorum: rng.chance(1, 2), ..plain },
        3 => Kind { max_priority: 3, ..plain },
        4 => with(match rng.below(2) {
            0 => Rules { max_length: Some(rng.between(0, 6)), ..none },
            _ => Rules { max_octets: Some(rng.between(0, 2000)), ..none },
        }),
        5 => {
            let overflow = Some(if rng.chance(1, 2) { Overflow::Reject } else { Overflow::RejectDlx });
            let dead_letters = rng.chance(2, 3).then_some(GRAVE);
            with(match rng.below(2) {
                0 => Rules { max_length: Some(rng.between(1, 6)), overflow, dead_letters, ..none },
                _ => Rules { max_octets: Some(rng.between(50, 2000)), overflow, dead_letters, ..none },
            })
        }
        6 => {
            let ttl = Some([0, 20, 300][rng.below(3)]);
            Kind { expire_anywhere: rng.below(2) == 0, ..with(Rules { ttl, ..none }) }
        }
        7 => with(to_grave),
        8 => with(match rng.below(2) {
            0 => Rules { ttl: Some(rng.between(5, 200)), ..to_grave },
            _ => Rules { max_length: Some(rng.between(1, 6)), ..to_grave },
        }),
        9 => Kind { durable: false, ..plain },
        10 => with(Rules { expires: Some([50, 500, 3000][rng.below(3)]), ..none }),
        11 => with(Rules { consumer_timeout: Some([50, 400][rng.below(2)]), ..none }),
        12 => Kind { expire_anywhere: true, ..plain },
        13 => {
            let delivery_limit = Some(rng.between(0, 3));
            let dead_letters = rng.chance(2, 3).then_some(GRAVE);
            Kind { quorum: true, ..with(Rules { delivery_limit, dead_letters, ..none }) }
        }
        // Nothing dies of coming back.
        _ => Kind { quorum: true, ..with(Rules { delivery_limit: Some(1_000_000), ..none }) },
    }
}

/// One of the queues keeps its dead letters until the graveyard and a small queue, which is the last one, take them.
fn add_keeper(queues: &mut Vec<Kind>, more: &mut Rng) {
    let small = queues.len();
    let others: Vec<Name> = (2..small).filter(|name| queues[*name].is_free()).collect();
    let Some(keeper) = more.pick(&others) else { return };
    let own = Rules {
        overflow: Some(Overflow::Reject),
        dead_letters: Some(Grave::Both(GRAVEYARD, small)),
        at_least_once: true,
        max_length: more.chance(1, 3).then(|| more.between(2, 8)),
        ttl: more.chance(1, 3).then(|| more.between(20, 300)),
        delivery_limit: more.chance(1, 2).then(|| more.between(0, 2)),
        ..Rules::default()
    };
    let own = if more.chance(1, 4) { retries(own, more) } else { own };
    queues[*keeper] = Kind { durable: true, quorum: true, own, ..Kind::default() };
    let room = Some(more.between(1, 3));
    let own = Rules { max_length: room, overflow: Some(Overflow::Reject), ..Rules::default() };
    queues.push(Kind { durable: true, takes_dead: true, own, ..Kind::default() });
}

/// Some kinds of queues have more.
fn varied(kind: Kind, more: &mut Rng) -> Kind {
    let own = kind.own;
    match more.below(10) {
        0..2 => Kind { own: retries(own, more), ..kind },
        2..4 => Kind { single_active: true, ..kind },
        4 if kind.quorum && own.overflow.is_none() => {
            let overflow = Some(Overflow::Reject);
            Kind { own: Rules { overflow, dead_letters: Some(GRAVE), at_least_once: true, ..own }, ..kind }
        }
        _ => kind,
    }
}

/// What comes back waits.
pub fn retries(rules: Rules, more: &mut Rng) -> Rules {
    let when = [RetryWhen::All, RetryWhen::All, RetryWhen::Failed, RetryWhen::Returned][more.below(4)];
    // The shortest is never longer than the longest, whichever of the two somebody else says.
    let min = more.between(1, 60);
    let max = more.chance(2, 3).then(|| more.between(60, 200));
    Rules { retry: Some(when), retry_min: Some(min), retry_max: max, ..rules }
}

impl Kind {
    /// The arguments of its declare, which leave out the type if it is the one by default.
    pub fn arguments(&self, quorum_by_default: bool) -> Table {
        let mut table = Table::default();
        if self.quorum != quorum_by_default {
            table = table.text("x-queue-type", if self.quorum { "quorum" } else { "classic" });
        }
        if self.max_priority > 0 {
            table = table.number("x-max-priority", self.max_priority.into());
        }
        if self.single_active {
            table = table.flag("x-single-active-consumer", true);
        }
        if self.expire_anywhere {
            table = table.flag("x-warren-expire-anywhere", true);
        }
        self.own.put_arguments(table)
    }

    /// The level of a message's priority here.
    pub fn level(&self, priority: u8) -> u8 {
        priority.min(if self.quorum { 31 } else { self.max_priority })
    }

    /// It does not have to stay as it is.
    pub fn is_free(&self) -> bool {
        !self.takes_dead && !self.waits && !self.chosen
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
