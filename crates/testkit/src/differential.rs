//! The differential tester: random scripts of AMQP operations, played to a reference broker and to ours, and compared step by step in
//! all that a client can see. One seed is one script (`generate.rs`); playing is in `player.rs`, the comparison with the freedoms
//! that the protocol leaves in `compare.rs`, what is known to differ in `known.rs`. A difference is cut down to a few steps
//! (`shrink.rs`) and printed as a transcript (`report.rs`).
//!
//! Invariant: a difference is reported only when it comes again, and when the reference does not differ from itself.

mod aliases;
mod channel;
mod client;
mod compare;
mod generate;
mod known;
mod onlooker;
mod player;
mod report;
mod script;
mod shrink;
mod turns;
mod view;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

pub use generate::script;
pub use script::Script;
pub use turns::Turns;

use compare::{Verdict, compare};
use player::Player;
use view::Played;

/// Definitions that both brokers begin with: the user, and policies for queues and exchanges that scripts name.
pub const DEFINITIONS: &str = include_str!("differential/definitions.json");
/// Plugins that RabbitMQ needs for the exchange types of scripts.
pub const PLUGINS: [&str; 4] = [
    "rabbitmq_consistent_hash_exchange",
    "rabbitmq_random_exchange",
    "rabbitmq_recent_history_exchange",
    "rabbitmq_sharding",
];

/// How often a script is played until its steps were fast enough.
const ATTEMPTS: u32 = 4;
/// How often a difference has to come again.
const REPEATS: u32 = 2;
/// Waited for after each round when a difference is looked at again: it must not be a matter of haste.
const PATIENCE: Duration = Duration::from_millis(4);

/// What came of one script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The two brokers did the same, but for known differences.
    Same {
        /// Steps of the script.
        steps: usize,
        /// Which known differences were met.
        known: BTreeSet<&'static str>,
    },
    /// No judgement: it went too slowly, or came out otherwise the next time.
    Unsteady {
        /// Why.
        reason: &'static str,
        /// What was seen.
        seen: String,
    },
    /// They differ; the text is a transcript of a smallest script that shows it.
    Differs(String),
}

/// A step, and the lines that only one broker has, and only the other.
type Shown = (usize, [Vec<String>; 2]);

fn too_slow() -> Finding {
    Finding::Unsteady { reason: "its steps took too long", seen: String::new() }
}

fn seen(step: usize, only: &[Vec<String>; 2]) -> String {
    format!("step {}: {:?} and {:?}", step + 1, only[0], only[1])
}

/// Plays scripts on two brokers and compares.
pub struct Judge {
    reference: Player,
    judged: Player,
    is_3_10: bool,
    /// Makes names of each play its own.
    plays: u64,
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judge").finish_non_exhaustive()
    }
}

impl Judge {
    /// `is_3_10`: the reference is RabbitMQ 3.10, and what that release is known to do otherwise counts as known.
    /// Steps are taken in `turns`, with those of other judges.
    pub fn new(reference: SocketAddr, judged: SocketAddr, is_3_10: bool, turns: &Turns) -> Self {
        let [reference, judged] = [reference, judged].map(|address| Player::new(address, turns.clone()));
        Judge { reference, judged, is_3_10, plays: 0 }
    }

    /// Plays the script of a seed.
    ///
    /// # Errors
    /// When a broker cannot be reached or does not answer.
    pub fn judge(&mut self, seed: u64) -> Result<Finding, String> {
        let script = generate::script(seed);
        let Some((verdict, _)) = self.compared(&script, Duration::ZERO)? else {
            return Ok(too_slow());
        };
        match verdict {
            Verdict::Same(known) => Ok(Finding::Same { steps: script.steps.len(), known }),
            Verdict::Differs { step, only } => self.look_again(script, &seen(step, &only)),
        }
    }

    /// A difference has been seen.
    fn look_again(&mut self, script: Script, first_seen: &str) -> Result<Finding, String> {
        let mut last = None;
        for _ in 0..REPEATS {
            match self.compared(&script, PATIENCE)? {
                Some((Verdict::Differs { step, only }, played)) => last = Some((step, only, played)),
                Some(_) => {
                    let reason = "a difference did not come again";
                    return Ok(Finding::Unsteady { reason, seen: first_seen.to_owned() });
                }
                None => return Ok(too_slow()),
            }
        }
        let Some((step, only, played)) = last else { return Ok(too_slow()) };
        if let Some((step_of_reference, only)) = self.differs_from_itself(&script, &played)?
            && step_of_reference <= step
        {
            let reason = "the reference did not do the same twice";
            return Ok(Finding::Unsteady { reason, seen: seen(step_of_reference, &only) });
        }
        let smallest = shrink::shrink(script, step, &mut |candidate| {
            let compared = self.compared(candidate, PATIENCE)?;
            Ok(match compared {
                Some((Verdict::Differs { step, only }, played)) => Some((step, only, played)),
                _ => None,
            })
        })?;
        let (script, step, only, played) = match smallest {
            (script, Some((step, only, played))) => (script, step, only, played),
            (script, None) => (script, step, only, played),
        };
        Ok(Finding::Differs(report::transcript(&script, step, &only, &played)))
    }

    /// The first step in which the reference does something else than it did before.
    fn differs_from_itself(&mut self, script: &Script, before: &Played) -> Result<Option<Shown>, String> {
        let prefix = self.prefix(script);
        let again = self.reference.play(script, &prefix, PATIENCE)?;
        Ok(match compare(before, &again, None) {
            Verdict::Differs { step, only } => Some((step, only)),
            Verdict::Same(_) => None,
        })
    }

    /// Plays a script on both brokers; `None` when it never went fast enough. With it what the reference did.
    fn compared(&mut self, script: &Script, patience: Duration) -> Result<Option<(Verdict, Played)>, String> {
        for _ in 0..ATTEMPTS {
            let prefix = self.prefix(script);
            let reference = self.reference.play(script, &prefix, patience);
            let reference = reference.map_err(|error| format!("reference, seed {}: {error}", script.seed))?;
            let judged = self.judged.play(script, &prefix, patience);
            let judged = judged.map_err(|error| format!("warrenmq, seed {}: {error}", script.seed))?;
            if !reference.was_slow && !judged.was_slow {
                let known = self.is_3_10.then_some(script);
                return Ok(Some((compare(&reference, &judged, known), reference)));
            }
        }
        Ok(None)
    }

    fn prefix(&mut self, script: &Script) -> String {
        self.plays += 1;
        format!("d{}.{}-", script.seed, self.plays)
    }
}
