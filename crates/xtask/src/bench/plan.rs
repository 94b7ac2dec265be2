//! The steps of a run in their order, and how long those that are left will take.

use std::collections::BTreeMap;
use std::time::Duration;

use super::results::Kind;
use super::rows::{Others, Row, Work};

/// Starting, connecting and stopping, in seconds.
const OVERHEAD: f64 = 1.5;
/// The same for RabbitMQ, which is waited for until it is idle.
const OVERHEAD_RABBITMQ: f64 = 5.0;
/// What is put beside a measurement takes so many seconds, about.
const FILLING: f64 = 4.0;
/// Rows that brokers take part in only once take them so many seconds, about.
const ONCE: f64 = 20.0;

/// One row on one broker in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) round: u32,
    pub(crate) row: &'static Row,
    /// Index of the broker.
    pub(crate) contender: usize,
}

/// All steps.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    kinds: Vec<Kind>,
    seconds: f64,
    /// How long a row took on a broker, by name and index.
    known: BTreeMap<(&'static str, usize), f64>,
}

impl Plan {
    /// `rows` on brokers of these `kinds`: in each round every row, in each row every broker in turn.
    pub(crate) fn new(
        rows: &[&'static Row],
        kinds: Vec<Kind>,
        rounds: u32,
        quick: bool,
        seconds: f64,
    ) -> Self {
        let mut steps = Vec::new();
        for round in 1..=rounds {
            for &row in rows {
                let takers =
                    kinds.iter().enumerate().filter(|(_, kind)| takes_part(row, **kind, round, quick));
                steps.extend(takers.map(|(contender, _)| Step { round, row, contender }));
            }
        }
        Self { steps, kinds, seconds, known: BTreeMap::new() }
    }

    /// Notes how long a step took.
    pub(crate) fn took(&mut self, step: Step, time: Duration) {
        self.known.insert((step.row.name, step.contender), time.as_secs_f64());
    }

    /// Seconds that the steps from `index` on will take.
    pub(crate) fn left(&self, index: usize) -> f64 {
        self.steps.iter().skip(index).map(|step| self.estimate(*step)).sum()
    }

    fn estimate(&self, step: Step) -> f64 {
        if let Some(known) = self.known.get(&(step.row.name, step.contender)) {
            return *known;
        }
        let kind = self.kinds.get(step.contender).copied().unwrap_or(Kind::Other);
        let overhead = if kind == Kind::RabbitMq { OVERHEAD_RABBITMQ } else { OVERHEAD };
        match step.row.work {
            Work::Idle => overhead,
            Work::Beside { .. } => overhead + 2.0 * self.seconds + FILLING,
            _ if step.row.others == Others::Once && is_other(kind) => ONCE,
            _ => overhead + self.seconds,
        }
    }
}

fn takes_part(row: &Row, kind: Kind, round: u32, quick: bool) -> bool {
    match kind {
        Kind::Relay => row.relay,
        Kind::WarrenMq => true,
        Kind::RabbitMq | Kind::Other => match row.others {
            Others::EachRound => true,
            // What was just started uses its memory once, and it is cheap to look.
            Others::Once => round == 1 && (!quick || matches!(row.work, Work::Idle)),
            Others::Never => false,
        },
    }
}

fn is_other(kind: Kind) -> bool {
    matches!(kind, Kind::RabbitMq | Kind::Other)
}

/// Minutes and seconds.
pub(crate) fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows::ROWS;

    fn named(name: &str) -> &'static Row {
        ROWS.iter().find(|row| row.name == name).unwrap()
    }

    #[test]
    fn who_takes_part_when() {
        let kinds = vec![Kind::Relay, Kind::WarrenMq, Kind::RabbitMq];
        // Row, rounds, whether it is a quick run, brokers by index in the order of the steps.
        let cases: [(&str, u32, bool, &[usize]); 6] = [
            ("16b", 2, false, &[0, 1, 2, 0, 1, 2]),
            ("8x8", 2, false, &[1, 2, 1, 2]),
            ("connections", 2, false, &[1, 2, 1]),
            ("connections", 1, true, &[1]),
            ("idle", 1, true, &[1, 2]),
            ("beside-queues", 2, false, &[1, 1]),
        ];
        for (name, rounds, quick, expected) in cases {
            let plan = Plan::new(&[named(name)], kinds.clone(), rounds, quick, 1.0);
            let brokers: Vec<_> = plan.steps.iter().map(|step| step.contender).collect();
            assert_eq!(brokers, expected, "{name}");
        }
    }

    #[test]
    fn what_is_left_becomes_what_was_seen() {
        let mut plan = Plan::new(&[named("8x8")], vec![Kind::WarrenMq], 3, false, 3.0);
        assert_eq!(plan.left(0), 3.0 * (3.0 + OVERHEAD));
        plan.took(plan.steps[0], Duration::from_secs(2));
        assert_eq!(plan.left(1), 4.0);
        assert_eq!(plan.left(3), 0.0);
        assert_eq!(clock(125.9), "2:05");
    }

    #[test]
    fn a_run_is_not_long() {
        let kinds = vec![Kind::Relay, Kind::WarrenMq, Kind::RabbitMq];
        let rows: Vec<_> = ROWS.iter().collect();
        // Rounds, quick, seconds, minutes at most.
        for (rounds, quick, seconds, minutes) in [(3, false, 3.0, 20.0), (1, true, 1.0, 5.0)] {
            let left = Plan::new(&rows, kinds.clone(), rounds, quick, seconds).left(0);
            assert!(left < minutes * 60.0, "{left} s");
        }
    }
}
