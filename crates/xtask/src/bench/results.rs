//! What was measured, as it is kept in a file: raw values of every round, from which medians and ratios are taken when a page
//! is written.
//!
//! Invariant: the file is replaced whole, so that it can be read at any time, also after a run that was cut short.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::figure::Figure;
use super::machine::Machine;

/// All that a page is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// Seconds that one run of `warrenmq perf` measured.
    pub(crate) seconds: f64,
    pub(crate) brokers: Vec<Broker>,
    /// By row and broker.
    pub(crate) rows: BTreeMap<String, BTreeMap<String, Measured>>,
}

/// A broker that took part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Broker {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) version: String,
    /// What it does before it confirms a persistent message.
    pub(crate) durability: String,
}

/// What a broker is to a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The floor.
    Relay,
    /// What is judged: the first of them.
    WarrenMq,
    /// What it is most often compared with.
    RabbitMq,
    /// Any other.
    Other,
}

/// One row on one broker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// When the first round was, in UTC.
    pub(crate) date: String,
    pub(crate) rounds: Vec<Round>,
    pub(crate) failures: Vec<String>,
}

/// What one round has found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) round: u32,
    /// By [`Figure::key`].
    pub(crate) figures: BTreeMap<String, f64>,
}

/// Middle and ends of a figure over all rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Results {
    pub(crate) fn new(machine: Machine, seconds: f64) -> Self {
        Self { machine, seconds, brokers: Vec::new(), rows: BTreeMap::new() }
    }

    /// Reads a file of results.
    ///
    /// # Errors
    /// When it is not there or holds something else.
    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    /// Writes them to a file.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(&beside, text)?;
        fs::rename(beside, path)
    }

    /// Adds a broker, or replaces what is known of it.
    pub(crate) fn introduce(&mut self, broker: &Broker) {
        match self.brokers.iter_mut().find(|known| known.name == broker.name) {
            Some(known) => *known = broker.clone(),
            None => self.brokers.push(broker.clone()),
        }
    }

    /// Where a row's results on a broker go.
    pub(crate) fn entry(&mut self, row: &str, broker: &str) -> &mut Measured {
        self.rows.entry(row.to_owned()).or_default().entry(broker.to_owned()).or_default()
    }

    /// One row on one broker.
    pub(crate) fn measured(&self, row: &str, broker: &str) -> Option<&Measured> {
        self.rows.get(row)?.get(broker)
    }

    /// Whether a row has failed on a broker.
    pub(crate) fn failed(&self, row: &str, broker: &str) -> bool {
        self.measured(row, broker).is_some_and(|measured| !measured.failures.is_empty())
    }

    /// A figure of a row on a broker.
    pub(crate) fn spread(&self, row: &str, broker: &str, figure: Figure) -> Option<Spread> {
        Spread::of(self.measured(row, broker)?.rounds.iter().filter_map(|round| round.get(figure)).collect())
    }

    /// How many times `divisor`'s figure `dividend`'s is: the median of the ratios of each round that both have.
    pub(crate) fn ratio(&self, row: &str, dividend: &str, divisor: &str, figure: Figure) -> Option<f64> {
        let (dividend, divisor) = (self.measured(row, dividend)?, self.measured(row, divisor)?);
        let ratio = |above: &Round| {
            let below = divisor.rounds.iter().find(|below| below.round == above.round)?;
            Some(above.get(figure)? / below.get(figure)?).filter(|ratio| ratio.is_finite())
        };
        Some(Spread::of(dividend.rounds.iter().filter_map(ratio).collect())?.median)
    }

    /// How many times what a message cost alone it costs beside something: the median of the ratios of each round.
    pub(crate) fn ratio_alone(&self, row: &str, broker: &str) -> Option<f64> {
        let rounds = &self.measured(row, broker)?.rounds;
        let ratio = |round: &Round| Some(round.get(Figure::Cpu)? / round.get(Figure::CpuAlone)?);
        Some(Spread::of(rounds.iter().filter_map(ratio).collect())?.median)
    }

    /// The first broker of a kind.
    pub(crate) fn broker(&self, kind: Kind) -> Option<&Broker> {
        self.brokers.iter().find(|broker| broker.kind == kind)
    }
}

impl Broker {
    pub(crate) fn new(kind: Kind, name: &str, version: &str, durability: &str) -> Self {
        Self { kind, name: name.into(), version: version.into(), durability: durability.into() }
    }
}

impl Round {
    pub(crate) fn get(&self, figure: Figure) -> Option<f64> {
        self.figures.get(figure.key()).copied()
    }

    pub(crate) fn set(&mut self, figure: Figure, value: f64) {
        self.figures.insert(figure.key().to_owned(), value);
    }
}

impl Spread {
    /// `None` of nothing.
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let lower = if values.len().is_multiple_of(2) { *values.get(middle - 1)? } else { upper };
        Some(Self { least, median: f64::midpoint(lower, upper), most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds from 1 on with this CPU time, `None` for one that has failed.
    fn measured(values: &[Option<f64>]) -> Measured {
        let round = |(index, value): (usize, &Option<f64>)| {
            let mut round = Round { round: index as u32 + 1, ..Round::default() };
            round.set(Figure::Cpu, (*value)?);
            Some(round)
        };
        Measured { rounds: values.iter().enumerate().filter_map(round).collect(), ..Measured::default() }
    }

    fn results(brokers: &[(&str, &[Option<f64>])]) -> Results {
        let mut results = Results::new(Machine::default(), 1.0);
        for (name, values) in brokers {
            *results.entry("row", name) = measured(values);
        }
        results
    }

    #[test]
    fn middle_and_ends() {
        let cases = [
            (vec![], None),
            (vec![2.0], Some((2.0, 2.0, 2.0))),
            (vec![4.0, 2.0], Some((2.0, 3.0, 4.0))),
            (vec![9.0, 1.0, 2.0], Some((1.0, 2.0, 9.0))),
        ];
        for (values, expected) in cases {
            let spread = Spread::of(values).map(|spread| (spread.least, spread.median, spread.most));
            assert_eq!(spread, expected);
        }
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let ours = [Some(2.0), Some(6.0), Some(40.0)];
        // What the divisor has found, the ratio.
        let cases: [(&[Option<f64>], Option<f64>); 4] = [
            (&[Some(1.0), Some(2.0), Some(10.0)], Some(3.0)),
            (&[Some(1.0), None, Some(10.0)], Some(3.0)),
            (&[None, None, Some(10.0)], Some(4.0)),
            (&[Some(0.0)], None),
        ];
        for (theirs, expected) in cases {
            let results = results(&[("a", &ours), ("b", theirs)]);
            assert_eq!(results.ratio("row", "a", "b", Figure::Cpu), expected, "{theirs:?}");
        }
        assert_eq!(results(&[("a", &ours)]).ratio("row", "a", "b", Figure::Cpu), None);
    }

    #[test]
    fn a_file_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        let mut results = results(&[("a", &[Some(1.5)])]);
        results.introduce(&Broker::new(Kind::RabbitMq, "RabbitMQ", "3.10.8", "written"));
        results.introduce(&Broker::new(Kind::RabbitMq, "RabbitMQ", "4.2.0", "written"));
        results.save(&path).unwrap();
        assert_eq!(Results::load(&path).unwrap(), results);
        assert_eq!(results.brokers.len(), 1);
    }
}
