//! The names of one play: what `@`, `%g0`, `%c0` and `%r0` of a script stand for on a broker, and back.

use super::script::replace;

/// Names that the server generates, as scripts call them: queues and consumer tags.
const GENERATED: [(&str, &str); 2] = [("%g", "amq.gen-"), ("%c", "amq.ctag-")];
/// The same for who consumes from `amq.rabbitmq.reply-to`; what follows has any length.
const REPLY: (&str, &str) = ("%r", "amq.rabbitmq.reply-to.");
/// How many octets follow in a generated name.
const GENERATED_OCTETS: usize = 22;

/// What stands for what.
#[derive(Debug)]
pub(crate) struct Aliases {
    prefix: String,
    /// Alias and name.
    generated: Vec<(String, Vec<u8>)>,
}

impl Aliases {
    /// Nothing but what `@` stands for.
    pub(crate) fn new(prefix: &str) -> Self {
        Aliases { prefix: prefix.to_owned(), generated: Vec::new() }
    }

    /// From a script to a broker.
    pub(crate) fn to_broker(&self, text: &[u8]) -> Vec<u8> {
        let mut text = replace(text, b"@", self.prefix.as_bytes());
        for (alias, name) in &self.generated {
            text = replace(&text, alias.as_bytes(), name);
        }
        // Nobody has asked yet: a name that nothing has. RabbitMQ 3.10 fails with 541 where one is made up that looks like a reply's.
        if text.starts_with(REPLY.0.as_bytes()) {
            format!("{}nobody", self.prefix).into_bytes()
        } else {
            text
        }
    }

    /// From a broker to a script.
    pub(crate) fn to_script(&self, text: &[u8]) -> Vec<u8> {
        let mut text = replace(text, self.prefix.as_bytes(), b"@");
        for (alias, name) in &self.generated {
            text = replace(&text, name, alias.as_bytes());
        }
        without_strangers(text)
    }

    /// Gives an alias to what the server has generated.
    pub(crate) fn learn(&mut self, text: &[u8]) {
        for (mark, beginning) in GENERATED {
            if text.starts_with(beginning.as_bytes()) && text.len() == beginning.len() + GENERATED_OCTETS {
                self.name(mark, text);
            }
        }
    }

    /// Gives an alias to the name that answers to a request go to.
    pub(crate) fn learn_reply(&mut self, text: &[u8]) {
        if text.starts_with(REPLY.1.as_bytes()) {
            self.name(REPLY.0, text);
        }
    }

    fn name(&mut self, mark: &str, text: &[u8]) {
        if self.generated.iter().all(|(_, name)| name != text) {
            let count = self.generated.iter().filter(|(alias, _)| alias.starts_with(mark)).count();
            self.generated.push((format!("{mark}{count}"), text.to_vec()));
        }
    }
}

/// A generated name that was in no answer, but in the refusal of what was to have it.
fn without_strangers(mut text: Vec<u8>) -> Vec<u8> {
    for (mark, beginning) in GENERATED {
        let find = |text: &[u8]| text.windows(beginning.len()).position(|part| part == beginning.as_bytes());
        let Some(start) = find(&text) else { continue };
        let end = start + beginning.len() + GENERATED_OCTETS;
        if text.get(end - 1).is_some() && start > 0 {
            text.splice(start..end, mark.bytes());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        let mut aliases = Aliases::new("d7-");
        let generated = b"amq.gen-0123456789012345678901";
        aliases.learn(generated);
        aliases.learn(generated);
        aliases.learn(b"amq.gen-mine");
        aliases.learn_reply(b"amq.rabbitmq.reply-to.g2dk==.a");
        assert_eq!(aliases.to_script(b"no queue 'amq.rabbitmq.reply-to.g2dk==.a'"), b"no queue '%r0'");
        assert_eq!(aliases.to_broker(b"@q %g0 %g1"), b"d7-q amq.gen-0123456789012345678901 %g1");
        assert_eq!(
            aliases.to_script(b"no queue 'amq.gen-0123456789012345678901', 'd7-q'"),
            b"no queue '%g0', '@q'"
        );
    }
}
