//! The names of one play: what `@`, `%g0` and `%c0` of a script stand for on a broker, and back.

use super::script::replace;

/// Names that the server generates, as scripts call them: queues and consumer tags.
const GENERATED: [(&str, &str); 2] = [("%g", "amq.gen-"), ("%c", "amq.ctag-")];
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
        text
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
            let is_new = text.starts_with(beginning.as_bytes())
                && text.len() == beginning.len() + GENERATED_OCTETS
                && self.generated.iter().all(|(_, name)| name != text);
            if is_new {
                let count = self.generated.iter().filter(|(alias, _)| alias.starts_with(mark)).count();
                self.generated.push((format!("{mark}{count}"), text.to_vec()));
            }
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
        assert_eq!(aliases.to_broker(b"@q %g0 %g1"), b"d7-q amq.gen-0123456789012345678901 %g1");
        assert_eq!(
            aliases.to_script(b"no queue 'amq.gen-0123456789012345678901', 'd7-q'"),
            b"no queue '%g0', '@q'"
        );
    }
}
