//! What a run is made of: equal cycles, in three parts of equally many. In the first and the last part the broker is killed once, in the
//! first cycle, and then lives for the rest of that part; in the middle part it is ended in every cycle, by SIGTERM and by
//! SIGKILL in turn.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Length of a cycle, where the time is enough for [`CYCLES_MIN`] of them.
const CYCLE_MAX: Duration = Duration::from_secs(150);
/// The shortest cycle that has time for its phases.
const CYCLE_MIN: Duration = Duration::from_secs(30);
/// As many cycles are wanted at least.
const CYCLES_MIN: u32 = 24;

/// How the broker's process is ended in the middle of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Turn {
    /// Not at all.
    None,
    /// By SIGTERM.
    Stop,
    /// By SIGKILL.
    Kill,
}

/// The cycles of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// One for each cycle; three equal parts.
    pub(crate) turns: Vec<Turn>,
    cycle: Duration,
}

impl Plan {
    /// The one that takes about `minutes`, and three minutes at least.
    pub(crate) fn new(minutes: f64) -> Plan {
        let time = Duration::from_secs_f64(minutes * 60.0);
        let cycle = (time / CYCLES_MIN).clamp(CYCLE_MIN, CYCLE_MAX);
        let cycles_each = ((time.as_secs_f64() / cycle.as_secs_f64()).round() as usize / 3).max(2);
        let turn = |index: usize| match (index / cycles_each, index % cycles_each) {
            (1, place) if place % 2 == 0 => Turn::Stop,
            (1, _) | (_, 0) => Turn::Kill,
            _ => Turn::None,
        };
        Plan { turns: (0..3 * cycles_each).map(turn).collect(), cycle }
    }

    /// While backlogs grow.
    pub(crate) fn up(&self) -> Duration {
        self.cycle / 3
    }

    /// While they are drained.
    pub(crate) fn down(&self) -> Duration {
        self.cycle / 3
    }

    /// While nobody publishes, and what was delayed or has to expire still comes.
    pub(crate) fn tail(&self) -> Duration {
        self.cycle * 2 / 15
    }

    /// While nobody is connected.
    pub(crate) fn rest(&self) -> Duration {
        self.cycle / 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_turns() {
        // Minutes, cycles, seconds of each.
        for (minutes, cycles, seconds) in
            [(60.0, 24, 150), (120.0, 48, 150), (24.0, 24, 60), (3.0, 6, 30), (0.1, 6, 30)]
        {
            let plan = Plan::new(minutes);
            assert_eq!(plan.turns.len(), cycles, "{minutes}");
            let cycle = plan.up() + plan.down() + plan.tail() + plan.rest();
            assert!((cycle.as_secs_f64() - f64::from(seconds)).abs() < 0.1, "{minutes}: {cycle:?}");
            let (parts, _) = plan.turns.as_chunks::<2>();
            assert_eq!(parts[0], [Turn::Kill, Turn::None]);
            assert_eq!(plan.turns[cycles / 3..][..2], [Turn::Stop, Turn::Kill]);
            assert_eq!(plan.turns[..cycles / 3], plan.turns[cycles / 3 * 2..], "like parts are alike");
            assert!(!plan.turns[cycles / 3..cycles / 3 * 2].contains(&Turn::None));
        }
    }
}
