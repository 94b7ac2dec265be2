//! A figure of several rows as a table and as a chart: one column or colour for each broker that has a value, WarrenMQ first and
//! the floor last.

use std::io;
use std::path::Path;

use warrenmq_plot::{Axis, Bars, Group, Scale, bars};

use super::figure::{Figure, significant};
use super::results::{Broker, Kind, Results, Spread};
use super::rows::Row;

/// Some rows under one figure.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    results: &'a Results,
    figure: Figure,
    rows: Vec<&'a Row>,
    brokers: Vec<&'a Broker>,
}

impl<'a> Table<'a> {
    /// Of those `rows` that have the figure; `None` when no one has.
    pub(crate) fn new(
        results: &'a Results,
        figure: Figure,
        rows: impl Iterator<Item = &'a Row>,
    ) -> Option<Self> {
        let has = |row: &Row, broker: &Broker| results.spread(row.name, &broker.name, figure).is_some();
        let rows: Vec<_> = rows.filter(|row| results.brokers.iter().any(|broker| has(row, broker))).collect();
        let mut brokers: Vec<_> =
            results.brokers.iter().filter(|broker| rows.iter().any(|row| has(row, broker))).collect();
        brokers.sort_by_key(|broker| match broker.kind {
            Kind::WarrenMq => 0,
            Kind::RabbitMq => 1,
            Kind::Other => 2,
            Kind::Relay => 3,
        });
        (!rows.is_empty()).then_some(Self { results, figure, rows, brokers })
    }

    /// With how many times better than each other WarrenMQ is, and how many times what the floor needs it needs.
    pub(crate) fn markdown(&self) -> String {
        let values = self.brokers.iter().map(|broker| broker.name.clone());
        let ratios = self.ratios().map(|(above, below)| format!("{above} : {below}"));
        let titles: Vec<_> =
            ["row", "workload"].map(str::to_owned).into_iter().chain(values).chain(ratios).collect();
        let rule: Vec<_> =
            (0..titles.len()).map(|index| if index < 2 { "---" } else { "---:" }.to_owned()).collect();
        let mut text = line(&titles) + &line(&rule);
        for row in &self.rows {
            let values = self.brokers.iter().map(|broker| cell(self.results, row, &broker.name, self.figure));
            let ratios = self.ratios().map(|(above, below)| {
                let ratio = self.results.ratio(row.name, above, below, self.figure);
                ratio.map_or_else(String::new, |ratio| format!("**{}**", significant(ratio)))
            });
            let head = [format!("`{}`", row.name), row.title.to_owned()];
            text += &line(&head.into_iter().chain(values).chain(ratios).collect::<Vec<_>>());
        }
        text
    }

    /// Writes the medians as bars on a logarithmic axis.
    ///
    /// # Errors
    /// Those of writing a file.
    pub(crate) fn chart(&self, path: &Path) -> io::Result<()> {
        let median = |row: &Row, broker: &Broker| {
            self.results.spread(row.name, &broker.name, self.figure).map(|spread| spread.median)
        };
        let group = |row: &&Row| Group {
            label: row.name.to_owned(),
            values: self.brokers.iter().map(|broker| median(row, broker)).collect(),
        };
        let picture = Bars {
            axis: Axis::new(format!("{} (logarithmic)", self.figure.title()), Scale::Log),
            names: self.brokers.iter().map(|broker| broker.name.clone()).collect(),
            groups: self.rows.iter().map(group).collect(),
        };
        let better = if self.figure.less_is_better() { "less" } else { "more" };
        let title = format!("{}: {better} is better", capital(self.figure.title()));
        bars(path, &title, &picture).map_err(io::Error::other)
    }

    /// Who is divided by whom: WarrenMQ by the floor, and with the others so that a large number speaks for WarrenMQ.
    fn ratios(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let ours = self.brokers.iter().find(|broker| broker.kind == Kind::WarrenMq);
        let others = self.brokers.iter().filter(|broker| Some(&broker.name) != ours.map(|ours| &ours.name));
        let pair = |other: &&'a Broker| {
            let (ours, other, kind) = (ours?.name.as_str(), other.name.as_str(), other.kind);
            let straight = kind == Kind::Relay || !self.figure.less_is_better();
            Some(if straight { (ours, other) } else { (other, ours) })
        };
        others.filter_map(pair).collect::<Vec<_>>().into_iter()
    }
}

/// The median of a figure with the least and the most, or why there is none.
pub(crate) fn cell(results: &Results, row: &Row, broker: &str, figure: Figure) -> String {
    match results.spread(row.name, broker, figure) {
        Some(Spread { least, median, most }) if least == most => figure.text(median),
        Some(Spread { least, median, most }) => {
            format!("{} ({}–{})", figure.text(median), figure.text(least), figure.text(most))
        }
        None if results.failed(row.name, broker) => "failed".to_owned(),
        None => String::new(),
    }
}

/// One line of a table.
pub(crate) fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// A text as it begins a title.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::machine::Machine;
    use crate::bench::results::Round;
    use crate::bench::rows::ROWS;

    #[test]
    fn a_table_and_its_ratios() {
        let mut results = Results::new(Machine::default(), 1.0);
        let brokers = [
            (Kind::Relay, "relay", &[0.04, 0.05][..], 8e6),
            (Kind::WarrenMq, "WarrenMQ", &[0.08, 0.11], 4e6),
            (Kind::RabbitMq, "RabbitMQ", &[8.0, 11.0], 4e4),
            (Kind::Other, "unmeasured", &[], 0.0),
        ];
        for (kind, name, cpu, rate) in brokers {
            results.introduce(&Broker::new(kind, name, "", ""));
            for (index, cpu) in cpu.iter().enumerate() {
                let mut round = Round { round: index as u32, ..Round::default() };
                round.set(Figure::Cpu, *cpu);
                round.set(Figure::Rate, rate);
                results.entry("16b", name).rounds.push(round);
            }
        }
        let markdown = |figure| Table::new(&results, figure, ROWS.iter()).map(|table| table.markdown());
        let workload = "16 B, 1 publisher, 1 queue, 1 auto-ack consumer";
        let cpu =
            "| 0.0950 (0.0800–0.110) | 9.50 (8.00–11.0) | 0.0450 (0.0400–0.0500) | **100** | **2.10** |";
        let expected = format!(
            "| row | workload | WarrenMQ | RabbitMQ | relay | RabbitMQ : WarrenMQ | WarrenMQ : relay |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: |\n| `16b` | {workload} {cpu}\n"
        );
        assert_eq!(markdown(Figure::Cpu).unwrap(), expected);
        let rate = "| 4,000,000 | 40,000 | 8,000,000 | **100** | **0.500** |\n";
        let expected = format!(
            "| row | workload | WarrenMQ | RabbitMQ | relay | WarrenMQ : RabbitMQ | WarrenMQ : relay |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: |\n| `16b` | {workload} {rate}"
        );
        assert_eq!(markdown(Figure::Rate).unwrap(), expected);
        assert!(markdown(Figure::P99).is_none());
    }
}
