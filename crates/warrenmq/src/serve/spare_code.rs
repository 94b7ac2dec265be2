//! Code and constants that only rare work has used, the start above all: their pages are given back when it is over.
//!
//! Invariant: only pages that are as they are in their file are given back, so they come again, from the system's cache of
//! files, when somebody needs them.
//!
//! The system maps 64 KiB of a file around each place that is touched. What a start walks over (the command line, the
//! configuration, the definitions, the libraries' own starts) leaves 6 MB so, of which an idle broker uses a part.

use std::ops::Range;

use rustix::mm::{Advice, madvise};

/// Gives them back. What the system does not tell or refuses stays as it is.
pub(super) fn give_back() {
    let Ok(smaps) = std::fs::read_to_string("/proc/self/smaps") else { return };
    for range in unchanged(&smaps) {
        // Dropping pages of a private mapping loses what was written to them. Nothing was, and nothing can be from here on: the
        // mapping is not writable and has no page of its own. Threads that run there fault the pages in again.
        #[allow(unsafe_code)]
        let given = unsafe {
            madvise(std::ptr::with_exposed_provenance_mut(range.start), range.len(), Advice::LinuxDontNeed)
        };
        if let Err(error) = given {
            tracing::debug!("pages of the start stay: {error}");
        }
    }
}

/// The mappings of files in `/proc/self/smaps` that cannot be written to and never were.
fn unchanged(smaps: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match (first.strip_suffix(':'), &mut candidate) {
            (None, _) => {
                let is_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
                let is_fixed = second.starts_with('r') && !second.contains('w') && second.ends_with('p');
                candidate = range(first).filter(|_| is_file && is_fixed);
            }
            // Pages that are not the file's any more, here or swapped out.
            (Some("Anonymous" | "Swap"), Some(_)) if second != "0" => candidate = None,
            // The last line of a mapping.
            (Some("VmFlags"), Some(_)) => found.extend(candidate.take()),
            _ => {}
        }
    }
    found
}

fn range(text: &str) -> Option<Range<usize>> {
    let (start, end) = text.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_has_written_to() {
        let mapping = |first: &str, anonymous: u32, swap: u32| {
            format!(
                "{first}\nSize: 8 kB\nRss: 8 kB\nAnonymous: {anonymous} kB\nSwap: {swap} kB\nVmFlags: rd mr\n"
            )
        };
        let cases = [
            ("1000-3000 r-xp 00001000 fe:00 17   /usr/bin/warrenmq", 0, 0, true),
            ("1000-3000 r--p 00000000 fe:00 17   /usr/bin/warrenmq", 0, 0, true),
            ("1000-3000 r--p 00000000 fe:00 17   /usr/bin/warrenmq", 4, 0, false),
            ("1000-3000 r--p 00000000 fe:00 17   /usr/bin/warrenmq", 0, 4, false),
            ("1000-3000 rw-p 00000000 fe:00 17   /usr/bin/warrenmq", 0, 0, false),
            ("1000-3000 r--s 00000000 fe:00 17   /usr/bin/warrenmq", 0, 0, false),
            ("1000-3000 ---p 00000000 fe:00 17   /usr/bin/warrenmq", 0, 0, false),
            ("1000-3000 r-xp 00000000 00:00 0    [vdso]", 0, 0, false),
            ("1000-3000 r--p 00000000 00:00 0", 0, 0, false),
        ];
        for (first, anonymous, swap, given) in cases {
            let found = unchanged(&mapping(first, anonymous, swap));
            assert_eq!(
                found.first() == Some(&(0x1000..0x3000)),
                given,
                "{first} {anonymous} {swap}: {found:?}"
            );
        }
        let both = mapping(cases[2].0, 4, 0) + &mapping("5000-6000 r-xp 0 fe:00 17 /lib/libc.so", 0, 0);
        assert_eq!(unchanged(&both), *std::slice::from_ref(&(0x5000..0x6000)));
    }

    #[test]
    fn the_process_goes_on() {
        give_back();
        assert_eq!("still here".to_uppercase(), "STILL HERE");
    }
}
