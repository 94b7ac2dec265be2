//! Whether WarrenMQ has kept to its limits.

use super::figure::Figure;
use super::results::{Kind, Results};
use super::rows::{Limit, ROWS, Row};

/// A limit and what came of it.
pub(crate) struct Verdict {
    pub(crate) what: &'static str,
    pub(crate) bound: String,
    pub(crate) found: String,
    pub(crate) kept: bool,
}

/// The limits of a row that something was measured for.
pub(crate) fn verdicts(results: &Results, row: &Row) -> Vec<Verdict> {
    row.limits.iter().filter_map(|limit| verdict(results, row, *limit)).collect()
}

/// What was missed or has failed, in a line each.
pub(crate) fn complaints(results: &Results) -> Vec<String> {
    let mut complaints = Vec::new();
    for row in ROWS {
        for broker in &results.brokers {
            let failures =
                results.measured(row.name, &broker.name).map_or(&[][..], |measured| &measured.failures);
            complaints
                .extend(failures.iter().map(|failure| format!("{} on {}: {failure}", row.name, broker.name)));
        }
        for verdict in verdicts(results, row).into_iter().filter(|verdict| !verdict.kept) {
            complaints
                .push(format!("{}: {} is {}, not {}", row.name, verdict.what, verdict.found, verdict.bound));
        }
    }
    complaints
}

fn verdict(results: &Results, row: &Row, limit: Limit) -> Option<Verdict> {
    let ours = results.broker(Kind::WarrenMq)?;
    let median = |figure| results.spread(row.name, &ours.name, figure).map(|spread| spread.median);
    let times = |figure, kind| results.ratio(row.name, &ours.name, &results.broker(kind)?.name, figure);
    let (bound, found, kept) = match limit {
        Limit::AtMost(figure, bound) => {
            let found = median(figure)?;
            (format!("at most {}", figure.text(bound)), figure.text(found), found <= bound)
        }
        Limit::AtLeast(figure, bound) => {
            let found = median(figure)?;
            (format!("at least {}", figure.text(bound)), figure.text(found), found >= bound)
        }
        Limit::TimesRelay(figure, bound) => {
            let found = times(figure, Kind::Relay)?;
            (format!("at most {bound:.1} × the relay"), format!("{found:.2} ×"), found <= bound)
        }
        Limit::TimesRabbitMq(figure, bound) => {
            let found = times(figure, Kind::RabbitMq)?;
            (format!("at least {bound:.0} × RabbitMQ"), format!("{found:.0} ×"), found >= bound)
        }
        Limit::TimesAlone(bound) => {
            let found = results.ratio_alone(row.name, &ours.name)?;
            (format!("at most {bound:.1} × alone"), format!("{found:.2} ×"), found <= bound)
        }
    };
    let figure = match limit {
        Limit::AtMost(figure, _)
        | Limit::AtLeast(figure, _)
        | Limit::TimesRelay(figure, _)
        | Limit::TimesRabbitMq(figure, _) => figure,
        Limit::TimesAlone(_) => Figure::Cpu,
    };
    Some(Verdict { what: figure.title(), bound, found, kept })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::machine::Machine;
    use crate::bench::results::{Broker, Round};

    #[test]
    fn limits_and_what_came_of_them() {
        let mut results = Results::new(Machine::default(), 1.0);
        let brokers = [(Kind::Relay, 0.04, 9e6), (Kind::WarrenMq, 0.1, 8e6), (Kind::RabbitMq, 9.0, 1e5)];
        for (kind, cpu, rate) in brokers {
            let broker = Broker::new(kind, &format!("{kind:?}"), "", "");
            results.introduce(&broker);
            let mut round = Round::default();
            round.set(Figure::Cpu, cpu);
            round.set(Figure::CpuAlone, cpu / 2.0);
            round.set(Figure::Rate, rate);
            results.entry("16b", &broker.name).rounds.push(round);
        }
        let row = ROWS.iter().find(|row| row.name == "16b").unwrap();
        let cases = [
            (Limit::AtMost(Figure::Cpu, 0.1), "at most 0.100", "0.100", true),
            (Limit::AtMost(Figure::Cpu, 0.09), "at most 0.0900", "0.100", false),
            (Limit::AtLeast(Figure::Rate, 8e6), "at least 8,000,000", "8,000,000", true),
            (Limit::TimesRelay(Figure::Cpu, 2.0), "at most 2.0 × the relay", "2.50 ×", false),
            (Limit::TimesRabbitMq(Figure::Rate, 40.0), "at least 40 × RabbitMQ", "80 ×", true),
            (Limit::TimesAlone(1.1), "at most 1.1 × alone", "2.00 ×", false),
        ];
        for (limit, bound, found, kept) in cases {
            let verdict = verdict(&results, row, limit).unwrap();
            assert_eq!((verdict.bound.as_str(), verdict.found.as_str(), verdict.kept), (bound, found, kept));
        }
        assert!(verdict(&results, row, Limit::AtMost(Figure::P99, 1.0)).is_none());
        assert_eq!(complaints(&results).len(), 2);
    }
}
