//! Policies that say something, drawn from the seed.
//!
//! Invariant: what is drawn is a policy that the broker takes.

use warrenmq_broker::policy::{ApplyTo, PolicyKind};

use crate::policy::{Policy, PolicyId};
use crate::rng::Rng;
use crate::rules::{Grave, Overflow, Rules};
use crate::topology::{GRAVEYARD, Topology, retries};

/// Policies of each kind at the same time.
const NUMBERS: usize = 3;

/// What an operator changes next: a policy that is set, or cleared.
pub fn policy(
    rng: &mut Rng,
    more: &mut Rng,
    topology: &Topology,
    set: &[PolicyId],
) -> (PolicyId, Option<Policy>) {
    if let Some(id) = rng.pick(set).copied().filter(|_| rng.chance(1, 3)) {
        return (id, None);
    }
    let kind = if rng.chance(1, 3) { PolicyKind::Operator } else { PolicyKind::User };
    let id = (kind, rng.below(NUMBERS) as u32);
    let free = topology.free();
    let mut queues: Vec<usize> = (0..rng.between(1, 3)).filter_map(|_| rng.pick(&free).copied()).collect();
    queues.sort_unstable();
    queues.dedup();
    let applies = match rng.below(6) {
        0 => ApplyTo::Queues,
        1 => ApplyTo::ClassicQueues,
        2 => ApplyTo::QuorumQueues,
        3 => ApplyTo::Exchanges,
        _ => ApplyTo::All,
    };
    let rules = rules(rng, kind);
    let rules = if more.chance(1, 6) { retries(rules, more) } else { rules };
    let alternate =
        (kind == PolicyKind::User && rng.chance(1, 4)).then(|| rng.below(topology.exchanges.len()));
    let priority = rng.between(0, 2).cast_signed() - 1;
    (id, Some(Policy { priority, queues, applies, rules, alternate }))
}

/// One or two rules.
fn rules(rng: &mut Rng, kind: PolicyKind) -> Rules {
    let mut rules = Rules::default();
    let is_user = kind == PolicyKind::User;
    for _ in 0..rng.between(1, 2) {
        match rng.below(8) {
            0 => rules.ttl = Some([0, 30, 200, 5000][rng.below(4)]),
            1 => rules.expires = Some([40, 400, 4000][rng.below(3)]),
            2 if is_user => rules.dead_letters = Some(Grave::One(GRAVEYARD)),
            3 if is_user => rules.consumer_timeout = Some([30, 300][rng.below(2)]),
            4 => rules.delivery_limit = Some(rng.between(0, 3)),
            5 => rules.max_octets = Some(rng.between(0, 1500)),
            6 => {
                rules.max_length = Some(rng.between(0, 5));
                let overflows = [Overflow::DropHead, Overflow::Reject, Overflow::RejectDlx];
                rules.overflow = rng.pick(&overflows).copied();
            }
            _ => rules.max_length = Some(rng.between(0, 8)),
        }
    }
    rules
}
