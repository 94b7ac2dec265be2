//! Owns the translation of a pattern from PCRE's notation (what RabbitMQ's patterns are written in) to the
//! notation of the `regex` crate, where the two spell the same thing differently.
//!
//! Invariant: a construct that both accept with different meanings is never passed through unchanged.

use std::iter::Peekable;
use std::str::Chars;

/// A pattern in the notation of `regex` and `fancy-regex`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Translation {
    /// The translated pattern.
    pub(super) pattern: String,
    /// Whether it has a construct that only a backtracking engine runs: lookaround, atomic and conditional groups,
    /// references, possessive quantifiers.
    pub(super) backtracking: bool,
}

/// Rewrites `source`. Anything that is an error in PCRE is passed on, to be an error in the engine.
pub(super) fn translate(source: &str) -> Translation {
    let mut scanner = Scanner {
        rest: source.chars().peekable(),
        out: String::with_capacity(source.len() + 8),
        backtracking: false,
    };
    let mut after_atom = false;
    while let Some(c) = scanner.rest.next() {
        let quantified = match c {
            '\\' => scanner.escape(),
            '(' => scanner.group(),
            '[' => scanner.class(),
            '{' => scanner.counted(),
            '*' | '+' | '?' => {
                scanner.out.push(c);
                after_atom
            }
            _ => {
                scanner.out.push(c);
                false
            }
        };
        if quantified && scanner.rest.peek() == Some(&'+') {
            scanner.backtracking = true;
        }
        if quantified && let Some(mode) = scanner.rest.next_if(|c| matches!(c, '+' | '?')) {
            scanner.out.push(mode);
        }
        // `(?` opens a group: its question mark repeats nothing.
        after_atom = !matches!(c, '(' | '|') && !quantified;
    }
    Translation { pattern: scanner.out, backtracking: scanner.backtracking }
}

/// The names of sets inside a class, which PCRE and `regex` share.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

struct Scanner<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    backtracking: bool,
}

/// One member of a character class.
enum Member {
    /// A single character, which may begin or end a range.
    Single(String),
    /// A named set; a hyphen after it is a hyphen.
    Set(String),
}

impl Scanner<'_> {
    /// After a backslash outside a class. `\<` and `\>` are letters in PCRE but word edges in `regex`; `\h` is
    /// blank space in PCRE but a hexadecimal digit in `fancy-regex`.
    fn escape(&mut self) -> bool {
        match self.rest.next() {
            Some(c @ ('<' | '>')) => self.out.push(c),
            Some('h') => self.out.push_str("[ \\t]"),
            Some('H') => self.out.push_str("[^ \\t]"),
            Some('N') => self.out.push('.'),
            Some('Z') => self.out.push('$'),
            Some('Q') => self.quoted(),
            Some(c) => {
                self.backtracking |= matches!(c, '1'..='9' | 'g' | 'k' | 'G' | 'K' | 'R' | 'X');
                self.out.extend(['\\', c]);
                let braces = self.braces(c);
                self.out.push_str(&braces);
            }
            None => self.out.push('\\'),
        }
        false
    }

    /// After `(`: which engine a group of its kind needs. What follows is copied by the caller.
    fn group(&mut self) -> bool {
        self.out.push('(');
        let mut ahead = self.rest.clone();
        if ahead.next() == Some('?') {
            self.backtracking |= match ahead.next() {
                Some('=' | '!' | '>' | '(' | '|' | '#' | '&' | '+' | 'R' | '0'..='9') => true,
                Some('<') => matches!(ahead.next(), Some('=' | '!')),
                Some('P') => matches!(ahead.next(), Some('=' | '>')),
                _ => false,
            };
        }
        false
    }

    /// After `\p`, `\x` and the like: their argument in braces, if they have one.
    fn braces(&mut self, c: char) -> String {
        let mut braces = String::new();
        if matches!(c, 'p' | 'P' | 'x' | 'g' | 'k') && self.rest.peek() == Some(&'{') {
            for c in self.rest.by_ref() {
                braces.push(c);
                if c == '}' {
                    break;
                }
            }
        }
        braces
    }

    /// After `\Q`: everything until `\E` stands for itself.
    fn quoted(&mut self) {
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            push_literal(&mut self.out, c);
        }
    }

    /// After `{`: a counted repetition, or in PCRE just a brace.
    fn counted(&mut self) -> bool {
        let body: String = self.rest.clone().take_while(|c| *c != '}').take(16).collect();
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let counted = match body.split_once(',') {
            Some((low, high)) => digits(low) && (high.is_empty() || digits(high)),
            None => digits(&body),
        };
        if !counted || self.rest.clone().nth(body.len()) != Some('}') {
            self.out.push_str("\\{");
            return false;
        }
        self.out.push('{');
        for _ in 0..=body.len() {
            self.out.extend(self.rest.next());
        }
        true
    }

    /// After `[`. `regex` nests classes and has `&&`, `--` and `~~` between them; PCRE has none of these, so
    /// every punctuation mark that stands for itself is escaped.
    fn class(&mut self) -> bool {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        while let Some(c) = self.rest.next() {
            if c == ']' && !first {
                self.out.push(']');
                return false;
            }
            first = false;
            match self.member(c) {
                Member::Set(set) => self.out.push_str(&set),
                Member::Single(low) => {
                    self.out.push_str(&low);
                    self.range();
                }
            }
        }
        false
    }

    /// After a single member of a class: the rest of a range, if it is one.
    fn range(&mut self) {
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('-') || ahead.next().is_none_or(|c| c == ']') {
            return;
        }
        self.rest.next();
        let Some(c) = self.rest.next() else { return };
        match self.member(c) {
            Member::Single(high) => {
                self.out.push('-');
                self.out.push_str(&high);
            }
            Member::Set(set) => {
                self.out.push_str("\\-");
                self.out.push_str(&set);
            }
        }
    }

    fn member(&mut self, c: char) -> Member {
        match c {
            '\\' => match self.rest.next() {
                Some('h') => Member::Set(" \\t".to_owned()),
                Some('H') => Member::Set("[^ \\t]".to_owned()),
                Some('b') => Member::Single("\\x08".to_owned()),
                Some(c @ ('d' | 'D' | 's' | 'S' | 'w' | 'W' | 'p' | 'P')) => {
                    Member::Set(format!("\\{c}{}", self.braces(c)))
                }
                Some(c) if c.is_ascii_alphanumeric() => Member::Single(format!("\\{c}{}", self.braces(c))),
                Some(c) => Member::Single(literal(c)),
                None => Member::Single("\\".to_owned()),
            },
            '[' => self.posix().map_or_else(|| Member::Single(literal(c)), Member::Set),
            _ => Member::Single(literal(c)),
        }
    }

    /// After `[` inside a class: `:name:]`, if that is what follows.
    fn posix(&mut self) -> Option<String> {
        let name: String = self.rest.clone().take_while(|c| *c != ']').take(12).collect();
        let inner = name.strip_prefix(':')?.strip_suffix(':')?;
        if !POSIX.contains(&inner.strip_prefix('^').unwrap_or(inner)) {
            return None;
        }
        for _ in 0..=name.len() {
            self.rest.next();
        }
        Some(format!("[{name}]"))
    }
}

fn literal(c: char) -> String {
    let mut out = String::new();
    push_literal(&mut out, c);
    out
}

/// `<` and `>` are the marks that `regex` reads differently behind a backslash.
fn push_literal(out: &mut String, c: char) {
    if c.is_ascii_punctuation() && !matches!(c, '<' | '>') {
        out.push('\\');
    }
    out.push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_for_the_engine() {
        // (PCRE, regex, whether only a backtracking engine can run it)
        let cases = [
            ("", "", false),
            ("^(amq\\.gen.*|amq\\.default)$", "^(amq\\.gen.*|amq\\.default)$", false),
            ("a+?b*?c??d{2,3}?", "a+?b*?c??d{2,3}?", false),
            ("a++", "a++", true),
            ("a*+b", "a*+b", true),
            ("a{2}+", "a{2}+", true),
            ("(?:a)(?i)(?P<n>b)(?<m>c)", "(?:a)(?i)(?P<n>b)(?<m>c)", false),
            ("(?=b)", "(?=b)", true),
            ("(?!b)", "(?!b)", true),
            ("(?<=b)", "(?<=b)", true),
            ("(?<!b)", "(?<!b)", true),
            ("(?>b)", "(?>b)", true),
            ("(?R)", "(?R)", true),
            ("(?P<n>b)(?P=n)", "(?P<n>b)(?P=n)", true),
            ("(.)\\1", "(.)\\1", true),
            ("\\(?=", "\\(?=", false),
            ("\\++", "\\++", false),
            ("[+]+", "[\\+]+", false),
            ("a{", "a\\{", false),
            ("{user}-{2}", "\\{user}-{2}", false),
            ("a{,3}", "a\\{,3}", false),
            ("a{1", "a\\{1", false),
            ("a{1,2", "a\\{1,2", false),
            ("\\<a\\>\\h\\H\\Z", "<a>[ \\t][^ \\t]$", false),
            ("\\Qa.b\\Ec.", "a\\.bc.", false),
            ("\\Qa.<", "a\\.<", false),
            ("[a-z&&b]", "[a-z\\&\\&b]", false),
            ("[[a]", "[\\[a]", false),
            ("[]a]", "[\\]a]", false),
            ("[^]a]", "[^\\]a]", false),
            ("[[:alpha:]_]", "[[:alpha:]\\_]", false),
            ("[[:^digit:]]", "[[:^digit:]]", false),
            ("[[:own:]]", "[\\[\\:own\\:]]", false),
            ("\\p{L}\\x{e9}a{2}", "\\p{L}\\x{e9}a{2}", false),
            ("[\\p{Lu}-\\x{e9}]", "[\\p{Lu}\\-\\x{e9}]", false),
            ("(?<n>a)\\k{n}", "(?<n>a)\\k{n}", true),
            ("\\N[\\H]", ".[[^ \\t]]", false),
            ("\\x{", "\\x{", false),
            ("[a\\-z.-]", "[a\\-z\\.\\-]", false),
            ("[+--]", "[\\+-\\-]", false),
            ("[--/]", "[\\--\\/]", false),
            ("[\\w-.]", "[\\w\\-\\.]", false),
            ("[a-\\d]", "[a\\-\\d]", false),
            ("[\\b\\h<]", "[\\x08 \\t<]", false),
            ("[~~]é[é]", "[\\~\\~]é[é]", false),
            ("[a", "[a", false),
            ("[", "[", false),
            ("\\", "\\", false),
        ];
        for (source, pattern, backtracking) in cases {
            let expected = Translation { pattern: pattern.to_owned(), backtracking };
            assert_eq!(translate(source), expected, "{source}");
        }
    }
}
