//! What clients of a chaos run have said, and what must hold of it: everything confirmed was consumed, nothing was consumed that was not
//! published, and every client has come to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How many messages a complaint names.
const NAMED_MAX: usize = 10;

/// What all clients have said so far.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    accounts: BTreeMap<String, Account>,
    /// By who has published them.
    consumed: BTreeMap<String, BTreeSet<u64>>,
    /// Deliveries of messages that had come before.
    again: u64,
    violations: Vec<String>,
}

/// What one client has said.
#[derive(Debug, Default)]
pub(super) struct Account {
    confirmed: BTreeSet<u64>,
    /// Its publisher has ended, and this is the highest number that it has published.
    pub(super) attempted: Option<u64>,
    /// How often a connection of it has failed.
    pub(super) failed: u64,
    pub(super) has_ended: bool,
    pub(super) is_skipped: bool,
}

impl Account {
    /// Whether a message of its own was confirmed.
    pub(super) fn has_published(&self) -> bool {
        !self.confirmed.is_empty()
    }
}

impl Ledger {
    /// Adds what a client has written.
    pub(super) fn note(&mut self, client: &str, line: &str) {
        let account = self.accounts.entry(client.to_owned()).or_default();
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        match *words {
            ["confirmed", number] => match number.parse() {
                Ok(number) if account.confirmed.insert(number) => {}
                _ => self.violations.push(format!("{client} says `{line}`, which cannot be")),
            },
            ["consumed", name, number] => match number.parse() {
                Ok(number) => {
                    let is_new = self.consumed.entry(name.to_owned()).or_default().insert(number);
                    self.again += u64::from(!is_new);
                }
                Err(_) => self.violations.push(format!("{client} says `{line}`, which cannot be")),
            },
            ["attempted", number] => account.attempted = number.parse().ok(),
            ["again"] => account.failed += 1,
            ["ended"] => account.has_ended = true,
            ["torn", ..] => self.violations.push(format!("{client}: {line}")),
            ["skipped:", ..] => {
                account.is_skipped = true;
                println!("  {client}: {line}");
            }
            _ => println!("  {client}: {line}"),
        }
    }

    /// What a client has said.
    pub(super) fn account(&self, client: &str) -> Option<&Account> {
        self.accounts.get(client)
    }

    /// Messages that were confirmed and have not been consumed.
    pub(super) fn missing(&self) -> Vec<(String, u64)> {
        let is_missing = |name: &str, number: &u64| {
            !self.consumed.get(name).is_some_and(|numbers| numbers.contains(number))
        };
        let of = |(name, account): (&String, &Account)| {
            let numbers: Vec<u64> =
                account.confirmed.iter().copied().filter(|number| is_missing(name, number)).collect();
            numbers.into_iter().map(|number| (name.clone(), number)).collect::<Vec<_>>()
        };
        self.accounts.iter().flat_map(of).collect()
    }

    /// All that must not be and is, at the end of a run.
    pub(super) fn violations(&self) -> Vec<String> {
        let mut violations = self.violations.clone();
        let missing = self.missing();
        if !missing.is_empty() {
            let named = &missing[..missing.len().min(NAMED_MAX)];
            violations.push(format!("{} confirmed messages are lost: {named:?}", missing.len()));
        }
        for (name, numbers) in &self.consumed {
            let highest = self.accounts.get(name).and_then(|account| account.attempted).unwrap_or(0);
            let invented: Vec<_> = numbers.iter().filter(|number| !(1..=highest).contains(*number)).collect();
            if !invented.is_empty() {
                let named = &invented[..invented.len().min(NAMED_MAX)];
                violations.push(format!("{name} has not published {named:?}"));
            }
        }
        for (name, account) in self.accounts.iter().filter(|(_, account)| !account.is_skipped) {
            if account.confirmed.is_empty() {
                violations.push(format!("{name} has published nothing"));
            }
            if account.failed == 0 {
                violations.push(format!("{name} has lost no connection, so nothing was shown"));
            }
        }
        violations
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let consumed: usize = self.consumed.values().map(BTreeSet::len).sum();
        write!(formatter, "{consumed} consumed and {} once more;", self.again)?;
        for (name, account) in self.accounts.iter().filter(|(_, account)| !account.is_skipped) {
            let (confirmed, failed) = (account.confirmed.len(), account.failed);
            write!(formatter, " {name}: {confirmed} confirmed, {failed} connections lost;")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of two clients in which all is well.
    const LINES: [&str; 12] = [
        "a confirmed 1",
        "a consumed a 1",
        "b consumed b 1",
        "b confirmed 1",
        "a again",
        "b again",
        "b consumed a 1",
        "a confirmed 2",
        "a consumed a 2",
        // Published, not confirmed, and consumed: its confirm was lost.
        "a consumed a 3",
        "a attempted 3",
        "b attempted 1",
    ];

    fn violations(lines: impl IntoIterator<Item = &'static str>) -> Vec<String> {
        let mut ledger = Ledger::default();
        for line in lines {
            let (client, said) = line.split_once(' ').unwrap();
            ledger.note(client, said);
        }
        ledger.violations()
    }

    #[test]
    fn what_must_hold() {
        assert_eq!(violations(LINES), [""; 0]);
        // What is left out of it or added to it, and what is then said.
        let without = [
            ("a consumed a 2", "1 confirmed messages are lost: [(\"a\", 2)]"),
            ("b again", "b has lost no connection"),
            ("b attempted 1", "b has not published [1]"),
            ("a attempted 3", "a has not published [1, 2, 3]"),
        ];
        for (line, text) in without {
            let violations = violations(LINES.into_iter().filter(|other| *other != line));
            assert!(violations.len() == 1 && violations[0].starts_with(text), "{line}: {violations:?}");
        }
        let with = [
            ("a consumed a 4", "a has not published [4]"),
            ("a consumed a 0", "a has not published [0]"),
            ("a consumed c 1", "c has not published [1]"),
            ("a confirmed 1", "a says `confirmed 1`, which cannot be"),
            ("a consumed a x", "a says `consumed a x`, which cannot be"),
            ("a torn 'a 1 .'", "a: torn 'a 1 .'"),
            ("c attempted 0", "c has published nothing"),
        ];
        for (line, text) in with {
            let violations = violations(LINES.into_iter().chain([line]));
            assert!(!violations.is_empty() && violations[0].starts_with(text), "{line}: {violations:?}");
        }
    }

    #[test]
    fn a_client_that_cannot_run_is_no_violation() {
        assert_eq!(violations(LINES.into_iter().chain(["c skipped: no go"])), [""; 0]);
    }
}
