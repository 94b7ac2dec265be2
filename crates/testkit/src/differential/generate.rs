//! From a seed to a script. What has been declared, consumed and selected so far is remembered, so that most steps make sense; a
//! few in a hundred do not, on purpose. A seed gives the same script on every machine.
//!
//! A theme, chosen by the seed, says which steps come often, and what queues and exchanges there are (`theme.rs`).

mod arguments;
mod declare;
mod exchange;
mod hostile;
mod publish;
mod reply;
mod settle;
mod theme;

use std::collections::BTreeMap;

use super::script::{Action, Script, Step, method};
use crate::random::Random;
use theme::{Matter, THEMES, Theme};

/// Steps of a script, before the declarations that it begins with.
const STEPS: std::ops::Range<u64> = 6..28;
/// What expires in a script does so after this time, or at once.
pub(crate) const EXPIRY_MS: u64 = 1500;
/// How long a script waits for that.
pub(crate) const WAIT_MS: u64 = 2120;
/// Waits of one script.
const WAITS_MAX: u32 = 2;

/// The script of a seed.
#[must_use]
pub fn script(seed: u64) -> Script {
    let mut generator = Generator::new(seed);
    generator.begin();
    let count = STEPS.start + generator.random.below(STEPS.end - STEPS.start);
    for _ in 0..count {
        generator.step();
    }
    let mut script = Script { seed, steps: generator.steps };
    if script.is_timed() {
        // Whether an answer comes to a mistake is waited for longer than a message may take to expire.
        script.steps.retain(|step| matches!(step.action, Action::Say(_) | Action::Leave | Action::Wait(_)));
    }
    script
}

/// Adds steps of one kind.
type Make = fn(&mut Generator);

/// How a channel treats publishes, as far as the generator can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Way {
    #[default]
    Plain,
    Confirm,
    Transaction,
}

/// A script in the making.
struct Generator {
    random: Random,
    theme: Theme,
    steps: Vec<Step>,
    /// Names that were declared.
    queues: Vec<String>,
    /// Names and types.
    exchanges: Vec<(String, &'static str)>,
    /// Bindings as they were written, to be undone or repeated.
    bindings: Vec<String>,
    /// Consumer tags by connection and channel.
    consumers: BTreeMap<(u32, u16), Vec<String>>,
    ways: BTreeMap<(u32, u16), Way>,
    /// Messages so far: their bodies are numbered.
    published: u32,
    waits: u32,
    /// Something may expire.
    has_expiry: bool,
}

impl Generator {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let theme = random.pick(&THEMES).copied().unwrap_or(THEMES[0]);
        Generator {
            random,
            theme,
            steps: Vec::new(),
            queues: Vec::new(),
            exchanges: Vec::new(),
            bindings: Vec::new(),
            consumers: BTreeMap::new(),
            ways: BTreeMap::new(),
            published: 0,
            waits: 0,
            has_expiry: false,
        }
    }

    /// What nearly every script needs: a queue or two, perhaps an exchange with bindings.
    fn begin(&mut self) {
        for _ in 0..1 + self.random.below(2) {
            self.declare_queue();
        }
        if self.random.chance(400) {
            self.declare_exchange();
            self.bind_queue();
        }
        let often = if self.theme.matter == Matter::Transactions { 900 } else { 250 };
        if self.random.chance(often) {
            self.select();
        }
    }

    fn step(&mut self) {
        let theme = self.theme;
        let kinds: [(u64, Make); 11] = [
            (theme.declare, Self::declare),
            (theme.bind, Self::bind),
            (theme.publish, Self::publish),
            (theme.consume, Self::consume_or_cancel),
            (theme.get, Self::get),
            (theme.settle, Self::settle),
            (theme.mode, Self::mode),
            (theme.life, Self::end_something),
            (theme.wait, Self::wait),
            (theme.hostile, Self::misbehave),
            (theme.reply, Self::reply),
        ];
        let total = kinds.iter().map(|(weight, _)| weight).sum();
        let mut at = self.random.below(total);
        for (weight, make) in kinds {
            if at < weight {
                return make(self);
            }
            at -= weight;
        }
    }

    fn push(&mut self, connection: u32, action: Action) {
        self.steps.push(Step { connection, action });
    }

    /// A method on a channel; `{}` of the text is the channel's number.
    fn say(&mut self, (connection, channel): (u32, u16), text: &str) {
        let message = method(&text.replacen("{}", &channel.to_string(), 1));
        self.push(connection, Action::Say(message));
    }

    /// Mostly the first channel of the first connection.
    fn place(&mut self) -> (u32, u16) {
        match self.random.below(10) {
            0..=5 => (1, 1),
            6 | 7 => (1, 2),
            8 => (2, 1),
            _ => (2, 1 + self.random.below(2) as u16),
        }
    }

    /// One of some texts.
    fn one_of(&mut self, texts: &[&str]) -> String {
        self.random.pick(texts).map(|text| (*text).to_owned()).unwrap_or_default()
    }

    /// A text in `permille` of 1000 cases, else nothing.
    fn perhaps(&mut self, permille: u64, text: &str) -> String {
        if self.random.chance(permille) { text.to_owned() } else { String::new() }
    }

    /// Mostly a queue that was declared.
    fn queue(&mut self) -> String {
        if self.random.chance(40) {
            return self.one_of(&["@missing", "\"\"", "amq.missing", "%g0", "@q1", "@q2"]);
        }
        self.random.pick(&self.queues).cloned().unwrap_or_else(|| "@q1".to_owned())
    }

    /// Mostly an exchange that was declared.
    fn exchange(&mut self) -> String {
        if self.random.chance(60) {
            return self.one_of(&["@missing", "\"\"", "amq.direct", "@e1", "@e2"]);
        }
        self.random.pick(&self.exchanges).map_or_else(|| "@e1".to_owned(), |(name, _)| name.clone())
    }

    fn key(&mut self) -> String {
        self.one_of(&["@k", "@k", "@k.a", "@k.b", "@k.a.b", "@q1", "\"\"", "@k..a", "@K"])
    }

    fn wait(&mut self) {
        if self.has_expiry && self.waits < WAITS_MAX {
            self.waits += 1;
            self.push(1, Action::Wait(WAIT_MS));
        } else {
            self.publish();
        }
    }

    /// How long a message lives, in milliseconds.
    fn life(&mut self) -> String {
        if self.random.chance(250) { "0".to_owned() } else { self.life_of_some_time() }
    }

    /// The same, but not 0.
    fn life_of_some_time(&mut self) -> String {
        let long = EXPIRY_MS.to_string();
        let time = self.one_of(&[&long, &long, "600000"]);
        self.has_expiry |= time == long;
        time
    }

    /// Entries of a table, each key once: what a broker makes of a key that comes twice no client depends on.
    fn table(entries: Vec<String>) -> String {
        let mut kept: Vec<String> = Vec::new();
        for entry in entries {
            let is_new = |other: &String| other.split(':').next() != entry.split(':').next();
            if kept.iter().all(is_new) {
                kept.push(entry);
            }
        }
        kept.join(",")
    }

    /// Notes that a channel has ended with all that belonged to it.
    fn forget_channel(&mut self, place: (u32, u16)) {
        self.consumers.remove(&place);
        self.ways.remove(&place);
    }

    fn forget_connection(&mut self, connection: u32) {
        self.consumers.retain(|place, _| place.0 != connection);
        self.ways.retain(|place, _| place.0 != connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_is_one_script_and_all_methods_come() {
        assert_eq!(script(7), script(7));
        let mut methods = BTreeSet::new();
        for seed in 0..2000 {
            let script = script(seed);
            assert!(script.steps.len() as u64 >= STEPS.start, "{seed}");
            for step in &script.steps {
                if let Action::Say(message) = &step.action {
                    methods.insert(message.method.name);
                }
            }
        }
        for name in
            ["exchange.unbind", "queue.purge", "tx.rollback", "basic.nack", "basic.qos", "connection.close"]
        {
            assert!(methods.contains(name), "{name} of {methods:?}");
        }
    }
}
