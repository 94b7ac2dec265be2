//! The load of a cycle, as a table: what runs of `warrenmq perf` there are in which phase, and what comes and goes beside them. The
//! queues that are there all the time are in `definitions.json`.

use std::time::Duration;

/// Messages of each backlog.
const BACKLOG_RATE: f64 = 3000.0;
/// In this part of a phase it has to be published, so that it is whole when the broker is ended near the end of the phase.
const BACKLOG_PART: f64 = 0.6;

/// The phases of a cycle in which there are clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Up,
    Down,
    Tail,
}

/// A run of `warrenmq perf` that lasts for a phase.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) name: &'static str,
    phases: &'static [Phase],
    /// `{delay}` is half a tail in milliseconds, `{backlog}` the number of messages of a backlog.
    args: &'static str,
}

const BUSY: &[Phase] = &[Phase::Up, Phase::Down];

/// What runs at the same time. A run that publishes and consumes checks the order of its own messages, and passes over those of runs
/// before it; one that only consumes takes everything, so its queue has to have what one run has published. Bodies
/// of fewer than 16 octets have no number: the order of dead letters is not checked.
pub(crate) const FLOWS: [Flow; 17] = [
    flow("persistent", BUSY, "throughput -p -u flow -f persistent -c 200 -r 500 -s 512 -q 200 -A 20"),
    flow("quorum queue", BUSY, "throughput -p -u flow-quorum -f persistent -c 200 -r 300 -s 1024 -q 100"),
    flow("transient", BUSY, "throughput -u flow-transient -x 2 -y 2 -r 1000 -s 64"),
    flow(
        "fan-out",
        BUSY,
        "throughput -e flow-fanout -t fanout -u flow-fanout --queues 5 -y 5 -r 200 -s 128 -q 50",
    ),
    flow("large bodies", BUSY, "throughput -u flow-large -f persistent -c 4 -r 2 -s 1000000 -q 4"),
    flow(
        "expiring, dead-lettered",
        BUSY,
        "throughput -p -k expiring -u expired -f persistent -c 100 -r 200 -s 12 -q 100",
    ),
    flow(
        "beyond x-max-length, dead-lettered",
        BUSY,
        "throughput -p -k short -u pushed-out -r 200 -s 12 -q 100",
    ),
    flow(
        "delayed",
        BUSY,
        "throughput -p -e delays -k later -u later -f persistent -c 100 -r 200 -s 256 -q 100 \
         --message-headers x-delay={delay}",
    ),
    flow(
        "backlog up",
        &[Phase::Up],
        "throughput -p -y 0 -u backlog -f persistent -c 1000 -r 3000 -s 512 -C {backlog}",
    ),
    flow(
        "transient backlog up",
        &[Phase::Up],
        "throughput -p -y 0 -u backlog-transient -c 1000 -r 3000 -s 1024 -C {backlog}",
    ),
    flow("backlog down", &[Phase::Down], "throughput -p -x 0 -u backlog -q 500 -A 50"),
    flow("transient backlog down", &[Phase::Down], "throughput -p -x 0 -u backlog-transient -q 500 -A 50"),
    flow("left of persistent", &[Phase::Tail], "throughput -p -x 0 -u flow -q 100"),
    flow("left of quorum queue", &[Phase::Tail], "throughput -p -x 0 -u flow-quorum -q 100"),
    flow("left of expiring", &[Phase::Tail], "throughput -p -x 0 -u expired -q 100"),
    flow("left of x-max-length", &[Phase::Tail], "throughput -p -x 0 -u pushed-out -q 100"),
    flow("left of delayed", &[Phase::Tail], "throughput -p -x 0 -u later -q 100"),
];

/// What comes and goes, one after the other and from the beginning again, one each [`BURST_INTERVAL`].
pub(crate) const BURSTS: [&str; 9] = [
    "connection-churn --operations 300 --concurrency 10",
    "channel-churn --operations 2000 --channels 50",
    "queue-churn --operations 300 -u churn --window 50",
    "bind-churn --operations 2000 --keys 500 -t topic -u churn-topic -e churn-topic",
    "consumer-churn --operations 2000 -u churn-consumer --window 50",
    "connection-churn --operations 300 --concurrency 30 --pipelined",
    "queue-churn --operations 300 -u churn-durable --durable --window 50",
    "bind-churn --operations 600 --keys 200 -t direct --durable -u churn-direct -e churn-direct",
    "bind-churn --operations 1000 --keys 500 -t headers -u churn-headers -e churn-headers",
];
/// From the begin of a burst to that of the next.
pub(crate) const BURST_INTERVAL: Duration = Duration::from_secs(2);

/// Queues of which nothing may be left before a rest.
pub(crate) const DRAINED: [&str; 8] =
    ["flow", "flow-quorum", "expiring", "expired", "pushed-out", "later", "backlog", "backlog-transient"];

impl Flow {
    /// Whether it runs in this phase.
    pub(crate) fn is_in(&self, phase: Phase) -> bool {
        self.phases.contains(&phase)
    }

    /// What `warrenmq` is called with in a phase of such a length, when a tail is as long as `tail`.
    pub(crate) fn arguments(&self, length: Duration, tail: Duration) -> Vec<String> {
        let delay = (tail / 2).as_millis().to_string();
        let backlog = backlog(length).to_string();
        let args = self.args.replace("{delay}", &delay).replace("{backlog}", &backlog);
        let mut words: Vec<String> = ["perf"].into_iter().chain(args.split(' ')).map(str::to_owned).collect();
        if !self.is_counted() {
            words.extend(["-z".to_owned(), length.as_secs_f64().to_string()]);
        }
        words
    }

    /// Whether it ends when it has done its part, before the phase does.
    pub(crate) fn is_counted(&self) -> bool {
        self.args.contains(" -C ")
    }

    /// For the page: as it stands in the table.
    pub(crate) fn args(&self) -> &'static str {
        self.args
    }

    /// For the page: when it runs.
    pub(crate) fn when(&self) -> &'static str {
        match self.phases {
            [Phase::Up] => "up",
            [Phase::Down] => "down",
            [Phase::Tail] => "tail",
            _ => "up, down",
        }
    }
}

/// Messages of a backlog that grows in a phase of such a length.
pub(crate) fn backlog(up: Duration) -> u64 {
    (up.as_secs_f64() * BACKLOG_PART * BACKLOG_RATE) as u64
}

const fn flow(name: &'static str, phases: &'static [Phase], args: &'static str) -> Flow {
    Flow { name, phases, args }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let (up, tail) = (Duration::from_secs(50), Duration::from_secs(20));
        let find = |name: &str| *FLOWS.iter().find(|flow| flow.name == name).unwrap();
        let delayed = find("delayed").arguments(up, tail).join(" ");
        assert!(delayed.starts_with("perf throughput -p"), "{delayed}");
        assert!(delayed.ends_with("x-delay=10000 -z 50"), "{delayed}");
        let backlog = find("backlog up").arguments(up, tail).join(" ");
        assert!(backlog.ends_with("-C 90000"), "{backlog}");
        assert_eq!(FLOWS.iter().filter(|flow| flow.is_counted()).count(), 2);
    }

    #[test]
    fn every_queue_of_a_flow_that_declares_nothing_is_defined() {
        let definitions: serde_json::Value = serde_json::from_str(super::super::DEFINITIONS).unwrap();
        let queues = definitions["queues"].as_array().unwrap();
        let is_defined = |name: &str| queues.iter().any(|queue| queue["name"] == name);
        for flow in FLOWS.iter().filter(|flow| flow.args.contains(" -p ")) {
            let words: Vec<_> = flow.args.split(' ').collect();
            let at = words.iter().position(|word| *word == "-u").unwrap();
            assert!(is_defined(words[at + 1]), "{}", flow.args);
        }
        assert!(DRAINED.iter().all(|queue| is_defined(queue)));
    }
}
