//! What a workload needs and `warrenmq perf` does not declare: many bindings, and what stands idle beside a measurement. All
//! of it is gone when its consumers or its connection are, so that a broker that serves several rows is empty after each.

use warrenmq_testkit::transcript::{Conversation, Options, TcpPeer};

use super::contender::Ready;
use super::rows::Topology;

/// So many methods are sent before their answers are looked at.
const WINDOW: usize = 256;
/// Queues of [`Topology::Topic`] and [`Topology::Headers`].
const QUEUES: u32 = 10;
/// Bindings of [`Topology::Topic`] by their form; those of 1,000 keys match.
const TOPIC_WORDS: u32 = 4_000;
const TOPIC_STARS: u32 = 3_000;
const TOPIC_HASHES: u32 = 3_000;
const HEADERS_BINDINGS: u32 = 100;

/// A method and its answer, as lines of a transcript.
type Call = (String, &'static str);

/// A client with as many connections as it is asked to open. What is idle beside a measurement lasts as long as it does.
#[derive(Debug)]
pub(crate) struct Declarer {
    conversation: Conversation,
    open: String,
}

impl Declarer {
    /// One connection, with channel 1 open.
    ///
    /// # Errors
    /// What the broker says instead.
    pub(crate) fn open(ready: &Ready<'_>) -> Result<Self, String> {
        let address = ready.address;
        let conversation =
            Conversation::new(Options::default(), move |_| Box::new(TcpPeer::connect(address).ok()));
        let login = &ready.login;
        let open = format!("open user={} password={} vhost={}", login.user, login.password, login.vhost);
        let mut declarer = Self { conversation, open };
        declarer.connect(0)?;
        Ok(declarer)
    }

    /// Declares what a workload needs.
    ///
    /// # Errors
    /// What the broker says instead.
    pub(crate) fn declare(&mut self, topology: Topology) -> Result<(), String> {
        let (exchange, queue, bindings) = match topology {
            Topology::Topic => ("amq.topic", "topic", topic_bindings()),
            Topology::Headers => ("amq.headers", "headers", headers_bindings()),
        };
        let name = |number: u32| format!("{queue}-{number}");
        let declares = (0..QUEUES).map(|number| declare(&name(number), "auto-delete=true"));
        let binds = bindings.into_iter().map(|(number, rest)| bind(&name(number), exchange, &rest));
        self.say(&declares.chain(binds).collect::<Vec<_>>())
    }

    /// Queues that nobody uses.
    ///
    /// # Errors
    /// What the broker says instead.
    pub(crate) fn queues(&mut self, count: u32) -> Result<(), String> {
        let queues = (1..=count).map(|number| declare(&format!("idle-{number}"), "exclusive=true"));
        self.say(&queues.collect::<Vec<_>>())
    }

    /// Bindings of amq.direct with keys that nobody publishes with.
    ///
    /// # Errors
    /// What the broker says instead.
    pub(crate) fn bindings(&mut self, count: u32) -> Result<(), String> {
        let queue = std::iter::once(declare("idle", "exclusive=true"));
        let key = |number| format!("routing-key=idle-{number}");
        let binds = (1..=count).map(|number| bind("idle", "amq.direct", &key(number)));
        self.say(&queue.chain(binds).collect::<Vec<_>>())
    }

    /// Connections that say nothing.
    ///
    /// # Errors
    /// What the broker says instead.
    pub(crate) fn connections(&mut self, count: u32) -> Result<(), String> {
        (1..=count).try_for_each(|number| self.connect(number))
    }

    fn connect(&mut self, number: u32) -> Result<(), String> {
        let open = &self.open;
        let lines = format!("{number}: {open}\n{number}: C channel.open 1\n{number}: S channel.open-ok 1");
        self.conversation.say(&lines).map_err(|mismatch| mismatch.to_string())
    }

    /// Sends methods on the first connection, a window full at a time.
    fn say(&mut self, calls: &[Call]) -> Result<(), String> {
        for window in calls.chunks(WINDOW) {
            let methods = window.iter().map(|(method, _)| method.as_str());
            let answers = window.iter().map(|(_, answer)| *answer);
            let lines: Vec<_> = methods.chain(answers).map(|line| format!("0: {line}")).collect();
            self.conversation.say(&lines.join("\n")).map_err(|mismatch| mismatch.to_string())?;
        }
        Ok(())
    }
}

fn declare(queue: &str, flag: &str) -> Call {
    (
        format!("C queue.declare 1 queue={queue} {flag}"),
        "S queue.declare-ok 1 queue=* message-count=* consumer-count=*",
    )
}

fn bind(queue: &str, exchange: &str, rest: &str) -> Call {
    (format!("C queue.bind 1 queue={queue} exchange={exchange} {rest}"), "S queue.bind-ok 1")
}

/// Number of the queue and the rest of the method. All bindings that one key meets are of the same queue.
fn topic_bindings() -> Vec<(u32, String)> {
    let binding = |form: fn(u32) -> String| {
        move |number: u32| (number % QUEUES, format!("routing-key=\"{}\"", form(number)))
    };
    let words = (1..=TOPIC_WORDS).map(binding(|number| format!("a.{number}.z")));
    let stars = (1..=TOPIC_STARS).map(binding(|number| format!("*.{number}.z")));
    let hashes = (1..=TOPIC_HASHES).map(binding(|number| format!("a.{number}.#")));
    words.chain(stars).chain(hashes).collect()
}

/// The same for a headers exchange: half of them want all of their headers, half any.
fn headers_bindings() -> Vec<(u32, String)> {
    let binding = |number: u32| {
        let rest = if number.is_multiple_of(2) {
            format!("arguments={{x-match:str:all,kind:str:k{number},region:str:eu}}")
        } else {
            format!("arguments={{x-match:str:any,kind:str:k{number},region:str:us}}")
        };
        (number % QUEUES, rest)
    };
    (1..=HEADERS_BINDINGS).map(binding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_bindings_as_the_rows_say() {
        assert_eq!(topic_bindings().len(), 10_000);
        assert_eq!(headers_bindings().len(), 100);
    }

    #[test]
    fn a_key_leads_to_one_queue() {
        for key in [1, 9, 10, 1000] {
            let patterns = [format!("\"a.{key}.z\""), format!("\"*.{key}.z\""), format!("\"a.{key}.#\"")];
            let queues: Vec<_> = topic_bindings()
                .into_iter()
                .filter(|(_, rest)| patterns.iter().any(|pattern| rest.ends_with(pattern)))
                .map(|(queue, _)| queue)
                .collect();
            assert_eq!(queues, [key % QUEUES; 3]);
        }
    }
}
