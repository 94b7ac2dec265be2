//! Owns the pattern of a permission: a regular expression in PCRE's notation, searched anywhere in a name.
//!
//! Invariant: compiling and matching are bounded in time and memory whatever the pattern is, and a match that
//! would exceed its bound is no match.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::pcre::{self, Translation};

/// Longest pattern in octets.
pub const PATTERN_LENGTH_MAX: usize = 4096;

/// Most memory that one compiled pattern may take, in octets.
const COMPILED_SIZE_MAX: usize = 1 << 20;

/// Most steps of a backtracking match, some milliseconds.
const BACKTRACK_STEPS_MAX: usize = 100_000;

/// A compiled pattern. Compares by its source, and is its source in definitions.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    source: String,
    matcher: Matcher,
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid regular expression '{pattern}': {reason}")]
pub struct PatternError {
    /// The text.
    pub pattern: String,
    /// One line on what is wrong with it.
    pub reason: String,
}

/// How a pattern is matched. Names are octets to RabbitMQ (it compiles without PCRE's UTF mode), so the first
/// choice is the engine over octets, where `.` is one octet and `\w` is ASCII. The backtracking engine counts characters
/// instead, which only names outside ASCII can tell.
#[derive(Clone)]
enum Matcher {
    /// `.*`, which is what most users have, and an empty pattern of a policy.
    Everything,
    Octets(regex::bytes::Regex),
    /// Boxed because it is rare and ten times the size of the others.
    Backtracking(Box<fancy_regex::Regex>),
}

impl Pattern {
    /// Compiles `source`. An empty pattern stands for `^$`, which no resource is named, as in RabbitMQ.
    ///
    /// Lookaround, back-references and possessive quantifiers run on a backtracking engine with a step limit;
    /// everything else is linear in the name.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        let matcher = match source {
            ".*" => Matcher::Everything,
            "" => compile("^$")?,
            _ => compile(source)?,
        };
        Ok(Self { source: source.to_owned(), matcher })
    }

    /// The same for the names that a policy is for, where an empty pattern is found in all of them, as in RabbitMQ.
    ///
    /// # Errors
    /// Those of [`Pattern::new`].
    pub fn of_policy(source: &str) -> Result<Self, PatternError> {
        match source {
            "" => Ok(Self { source: String::new(), matcher: Matcher::Everything }),
            source => Self::new(source),
        }
    }

    /// The text it was made from.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether the pattern is found anywhere in `name`.
    pub fn matches(&self, name: &str) -> bool {
        match &self.matcher {
            Matcher::Everything => true,
            Matcher::Octets(regex) => regex.is_match(name.as_bytes()),
            // An error is the step limit.
            Matcher::Backtracking(regex) => regex.is_match(name).unwrap_or(false),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.source).finish()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(source: String) -> Result<Self, PatternError> {
        Self::new(&source)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.source
    }
}

fn compile(source: &str) -> Result<Matcher, PatternError> {
    let refuse = |reason: String| PatternError { pattern: source.to_owned(), reason };
    if source.len() > PATTERN_LENGTH_MAX {
        return Err(refuse(format!("{} octets exceed the maximum of {PATTERN_LENGTH_MAX}", source.len())));
    }
    let Translation { pattern, backtracking } = pcre::translate(source);
    if backtracking {
        return compile_backtracking(&pattern).map_err(refuse);
    }
    // A class with characters outside ASCII needs Unicode mode.
    compile_octets(&pattern, false).or_else(|_| compile_octets(&pattern, true)).map_err(refuse)
}

fn compile_octets(pattern: &str, unicode: bool) -> Result<Matcher, String> {
    regex::bytes::RegexBuilder::new(pattern)
        .unicode(unicode)
        .size_limit(COMPILED_SIZE_MAX)
        .dfa_size_limit(COMPILED_SIZE_MAX)
        .build()
        .map(Matcher::Octets)
        .map_err(|error| last_line(&error.to_string()))
}

fn compile_backtracking(pattern: &str) -> Result<Matcher, String> {
    fancy_regex::RegexBuilder::new(pattern)
        .backtrack_limit(BACKTRACK_STEPS_MAX)
        .delegate_size_limit(COMPILED_SIZE_MAX)
        .delegate_dfa_size_limit(COMPILED_SIZE_MAX)
        .build()
        .map(|regex| Matcher::Backtracking(Box::new(regex)))
        .map_err(|error| last_line(&error.to_string()))
}

/// `regex` draws the place of an error over several lines; the sentence is the last.
fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn matches_as_rabbitmq_does() {
        // (pattern, names it allows, names it does not)
        let cases: &[(&str, &[&str], &[&str])] = &[
            (".*", &["", "q", "amq.default", "a\nb"], &[]),
            ("", &[""], &["q", "amq.default"]),
            ("^$", &[""], &["q"]),
            // Unanchored: found anywhere.
            ("a", &["a", "bab", "amq.default"], &["", "b"]),
            ("^amq", &["amq.gen-1"], &["xamq", "AMQ"]),
            ("^(?!secret).*$", &["open", "a-secret"], &["secret", "secrets"]),
            ("^(?!amq\\.).+", &["q"], &["amq.direct", ""]),
            ("(?<=a)b", &["ab"], &["b"]),
            ("^(.)\\1$", &["aa"], &["ab"]),
            ("^a++a", &[], &["aaa"]),
            ("^(?>a|ab)c$", &["ac"], &["abc"]),
            ("(?i)^kim-", &["KIM-1", "kim-1"], &["im-1"]),
            ("^[[:alpha:]]+$", &["abc"], &["a1"]),
            ("^[a-z&&b]+$", &["a&b"], &["A"]),
            ("^\\w+$", &["a_1"], &["é", "a-1"]),
            // An octet each, so this is one letter outside ASCII.
            ("^..$", &["é", "ab"], &["éé", "a"]),
            ("^é$", &["é"], &["e"]),
            ("^[éa]$", &["é", "a"], &["e"]),
            ("^tenant-{id}$", &["tenant-{id}"], &["tenant-1"]),
            ("^\\Qa.b\\E$", &["a.b"], &["axb"]),
        ];
        for (source, allowed, refused) in cases {
            let pattern = Pattern::new(source).unwrap();
            assert_eq!(pattern.as_str(), *source);
            for name in *allowed {
                assert!(pattern.matches(name), "{source} must match {name:?}");
            }
            for name in *refused {
                assert!(!pattern.matches(name), "{source} must not match {name:?}");
            }
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        // (pattern, reason)
        let cases = [
            ("(", "unclosed group"),
            ("*", "repetition operator missing expression"),
            ("[a", "unclosed character class"),
            ("a{3,2}", "invalid repetition count range, the start must be <= the end"),
            ("(a{1000}){1000}", "Compiled regex exceeds size limit of 1048576 bytes."),
            ("a\\", "incomplete escape sequence, reached end of pattern prematurely"),
        ];
        for (source, reason) in cases {
            let error = Pattern::new(source).unwrap_err();
            assert_eq!(error.reason, reason, "{source}");
            assert_eq!(error.to_string(), format!("invalid regular expression '{source}': {reason}"));
        }
        let long = "a".repeat(PATTERN_LENGTH_MAX + 1);
        assert_eq!(Pattern::new(&long).unwrap_err().reason, "4097 octets exceed the maximum of 4096");
    }

    #[test]
    fn a_costly_pattern_refuses_soon() {
        let name = "a".repeat(255);
        let started = Instant::now();
        for source in ["^(a+)+$(?<!a)", "^(?:(?=a)a+)+b$", "(a*)*\\1b", "((a?){200}){20}b"] {
            if let Ok(pattern) = Pattern::new(source) {
                assert!(!pattern.matches(&name), "{source}");
            }
        }
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn an_empty_pattern_of_a_policy_is_found_everywhere() {
        let (policy, permission) = (Pattern::of_policy("").unwrap(), Pattern::new("").unwrap());
        for name in ["", "q"] {
            assert!(policy.matches(name));
            assert_eq!(permission.matches(name), name.is_empty());
        }
        assert!(!Pattern::of_policy("^a").unwrap().matches("b"));
    }

    #[test]
    fn compares_by_source() {
        assert_eq!(Pattern::new("a").unwrap(), Pattern::new("a").unwrap());
        assert_ne!(Pattern::new("a").unwrap(), Pattern::new("b").unwrap());
        assert_eq!(format!("{:?}", Pattern::new("^a").unwrap()), "Pattern(\"^a\")");
    }
}
