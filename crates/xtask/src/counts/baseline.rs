//! What was counted before: `crates/counts/baseline.toml`.
//!
//! Invariant: what was written is read as the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Its path in the workspace.
pub(super) const BASELINE: &str = "crates/counts/baseline.toml";
/// A name in the baseline that is no count.
const MADE_BY: &str = "made-by";

/// What was counted before.
#[derive(Debug, PartialEq)]
pub(super) struct Baseline {
    /// See [`maker`].
    pub(super) made_by: String,
    /// Instructions per message.
    pub(super) counts: BTreeMap<String, f64>,
}

impl Baseline {
    /// What is there.
    pub(super) fn read(root: &Path) -> Option<Baseline> {
        Baseline::parse(&fs::read_to_string(root.join(BASELINE)).ok()?)
    }

    /// The part of TOML that [`Baseline::to_toml`] writes: comments, and names with a text or a number.
    fn parse(text: &str) -> Option<Baseline> {
        let mut baseline = Baseline { made_by: String::new(), counts: BTreeMap::new() };
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) = line.split_once(" = ")?;
            if name == MADE_BY {
                baseline.made_by = value.trim_matches('"').to_owned();
            } else {
                baseline.counts.insert(name.to_owned(), value.parse().ok()?);
            }
        }
        Some(baseline)
    }

    /// The file.
    pub(super) fn to_toml(&self) -> String {
        let mut text = format!(
            "# Instructions per message, as `cargo xtask counts --write` has counted them. A commit that changes a number says why.\n\
             {MADE_BY} = \"{}\"\n\n",
            self.made_by
        );
        for (name, instructions) in &self.counts {
            text.push_str(&format!("{name} = {instructions:.1}\n"));
        }
        text
    }
}

/// What the numbers depend on beside the source.
pub(super) fn maker() -> String {
    let version = |command: &mut Command| {
        let output = command.output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next().map(str::to_owned)
    };
    let rustc = version(Command::new("rustc").arg("--version")).unwrap_or_default();
    let libc = version(Command::new("getconf").arg("GNU_LIBC_VERSION")).unwrap_or_default();
    format!("{rustc}, {libc}, {}", std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let counts = [("decode".to_owned(), 12.5), ("auto-ack-1m".to_owned(), 500_000.0)];
        let baseline = Baseline { made_by: "rustc 1, x86_64".to_owned(), counts: counts.into() };
        assert_eq!(Baseline::parse(&baseline.to_toml()), Some(baseline));
        assert_eq!(Baseline::parse("decode = many"), None);
    }
}
