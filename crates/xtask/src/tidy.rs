//! House rules for source files that no compiler checks. A rule is a function from a file to its violations; all of them see
//! every file that git knows or would know.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A longer file owns more than one noun.
const LINES_MAX: usize = 800;

/// What breaks a rule in the checkout at `root`, one `path:line: text` each.
pub(crate) fn violations(root: &Path) -> Vec<String> {
    let paths = match paths(root) {
        Ok(paths) => paths,
        Err(error) => return vec![format!("git ls-files: {error}")],
    };
    let mut found = Vec::new();
    for path in paths {
        // What is not UTF-8 is not source, and what is gone is not there to be checked.
        if let Ok(text) = fs::read_to_string(root.join(&path)) {
            check(&path, &text, &mut found);
        }
    }
    found
}

/// Tracked files and new ones that are not ignored.
fn paths(root: &Path) -> Result<Vec<String>, String> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

fn check(path: &str, text: &str, found: &mut Vec<String>) {
    if path.ends_with(".rs") {
        check_head(path, text, found);
        check_length(path, text, found);
        check_unwrap(path, text, found);
    }
    check_markers(path, text, found);
    check_local_paths(path, text, found);
}

/// A source file begins with what it owns.
fn check_head(path: &str, text: &str, found: &mut Vec<String>) {
    if !text.starts_with("//! ") {
        found.push(format!("{path}:1: begins without `//!` lines that say what it owns"));
    }
}

fn check_length(path: &str, text: &str, found: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > LINES_MAX {
        found.push(format!("{path}:{lines}: has more than {LINES_MAX} lines"));
    }
}

/// No `unwrap` in code that is shipped; tests come last in a file, so all that follows their marker is theirs.
fn check_unwrap(path: &str, text: &str, found: &mut Vec<String>) {
    let is_test_file = path.starts_with("tests/") || path.contains("/tests/") || path.contains("/benches/");
    if is_test_file || path.starts_with("interop/") {
        return;
    }
    let shipped = text.lines().take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"));
    let call = concat!(".unw", "rap()");
    for (index, line) in shipped.enumerate() {
        if line.contains(call) && !line.trim_start().starts_with("//") {
            found.push(format!("{path}:{}: {call} outside tests", index + 1));
        }
    }
}

/// What is left to do belongs into an issue.
fn check_markers(path: &str, text: &str, found: &mut Vec<String>) {
    let markers = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    for (index, line) in text.lines().enumerate() {
        if let Some(marker) = markers.iter().find(|marker| contains_word(line, marker)) {
            found.push(format!("{path}:{}: {marker} belongs into an issue", index + 1));
        }
    }
}

/// Nothing in the repository may depend on, or tell of, the machine of one of its authors.
fn check_local_paths(path: &str, text: &str, found: &mut Vec<String>) {
    for (index, line) in text.lines().enumerate() {
        for folder in ["home", "root", "Users", "work"] {
            let local = format!("/{folder}/");
            let begins =
                |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "./-_~}".contains(c));
            if line.match_indices(&local).any(|(at, _)| begins(at)) {
                found.push(format!("{path}:{}: names the local path {local}…", index + 1));
            }
        }
    }
}

fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_violation() {
        let long = format!("//! Long.\n{}", "\n".repeat(LINES_MAX));
        let tested = "//! Owns.\n#[cfg(test)]\nmod tests { fn f() { a.unwrap() } }\n";
        let cases = [
            ("a.rs", "//! Owns a noun.\nfn f() {}\n", 0),
            ("a.rs", "fn f() {}\n", 1),
            ("a.rs", long.as_str(), 1),
            ("a.rs", "//! Owns.\nfn f() { a.unwrap() }\n", 1),
            ("a.rs", "//! Owns.\n// never .unwrap() here\n", 0),
            ("a.rs", tested, 0),
            ("tests/tests/a.rs", "//! Owns.\nfn f() { a.unwrap() }\n", 0),
            ("a.md", concat!("a TO", "DO here"), 1),
            ("a.md", "TODOS is a word of its own", 0),
            ("a.md", concat!("see /ho", "me/me/notes"), 1),
            ("a.md", "see interop/.work/ and https://example.com/work/queues", 0),
        ];
        for (path, text, count) in cases {
            let mut found = Vec::new();
            check(path, text, &mut found);
            assert_eq!(found.len(), count, "{path}: {found:?}");
        }
    }

    #[test]
    fn this_checkout_is_tidy() {
        assert_eq!(violations(&crate::workspace_root()), [""; 0]);
    }
}
