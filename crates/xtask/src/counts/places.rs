//! Where in our source the instructions of a profile are: each goes to the innermost function of ours, inlined ones included, that it
//! stands in, and what libc does for it goes to the same place. What stands in none goes to the crate that it is of.
//!
//! Invariant: the sum is that of the profile.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// What is of no crate that is known.
const ELSEWHERE: &str = "elsewhere";
const STD: &str = "std";
/// Fewer than this part of all are not worth a line.
const SHARE_MIN: f64 = 0.005;

/// Lines `INSTRUCTIONS crate/file function` per message, most first.
pub(super) fn table(profile: &str, binary: &Path, messages: f64) -> Result<String, String> {
    let costs = costs(profile, &binary.display().to_string());
    let names = names(binary, costs.keys().copied())?;
    let mut places: BTreeMap<&str, u64> = BTreeMap::new();
    for (address, cost) in &costs {
        if let Some(place) = names.get(address) {
            *places.entry(place).or_default() += cost;
        }
    }
    let total = total(profile).ok_or("a profile without a sum")?;
    let known: u64 = places.values().sum();
    places.insert(ELSEWHERE, total.saturating_sub(known));
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_by_key(|&(_, cost)| std::cmp::Reverse(cost));
    let mut table = String::new();
    for (place, cost) in places.into_iter().filter(|&(_, cost)| cost as f64 >= total as f64 * SHARE_MIN) {
        let _ = writeln!(table, "{:12.1}  {place}", cost as f64 / messages);
    }
    Ok(table)
}

fn total(profile: &str) -> Option<u64> {
    profile.lines().find_map(|line| line.strip_prefix("summary: ")?.trim().parse().ok())
}

/// Instructions by their address in the binary. In callgrind's format (with `--dump-instr=yes`) numbers are relative to the line before,
/// and names stand in full once: `ob=(3) /lib/libc.so`. The line after `calls=` is what a call has cost: it counts for the caller
/// when the callee is of another object.
fn costs(profile: &str, binary: &str) -> BTreeMap<u64, u64> {
    let mut objects: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut object, mut callee, mut call) = ("", None, None);
    let (mut costs, mut address) = (BTreeMap::new(), 0);
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("ob=") {
            object = full_name(name, &mut objects);
        } else if let Some(name) = line.strip_prefix("cob=") {
            callee = Some(full_name(name, &mut objects));
        } else if line.starts_with("calls=") {
            call = Some(callee.take().unwrap_or(object));
        } else if let Some((moved, cost)) = cost_line(line, address) {
            address = moved;
            let counts = call.take().is_none_or(|callee| callee != binary);
            if counts && object == binary {
                *costs.entry(address).or_default() += cost;
            }
        }
    }
    costs
}

fn full_name<'a>(text: &'a str, names: &mut BTreeMap<&'a str, &'a str>) -> &'a str {
    match text.split_once(' ') {
        Some((number, name)) => {
            names.insert(number, name);
            name
        }
        None => names.get(text).copied().unwrap_or_default(),
    }
}

/// `ADDRESS LINE COST`, each of the first two absolute, `+N`, `-N` or `*`.
fn cost_line(line: &str, before: u64) -> Option<(u64, u64)> {
    let mut fields = line.split(' ');
    let address = fields.next()?;
    let cost = fields.nth(1)?.parse().ok()?;
    let number = |text: &str| text.parse::<u64>().ok();
    let address = match address.split_at_checked(1)? {
        ("*", _) => before,
        ("+", by) => before.checked_add(number(by)?)?,
        ("-", by) => before.checked_sub(number(by)?)?,
        _ => u64::from_str_radix(address.strip_prefix("0x")?, 16).ok()?,
    };
    Some((address, cost))
}

/// The innermost function of ours at each address, as binutils' addr2line has it, or else the crate.
fn names(binary: &Path, addresses: impl Iterator<Item = u64>) -> Result<BTreeMap<u64, String>, String> {
    let input = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let lines: String = addresses.map(|address| format!("{address:#x}\n")).collect();
    std::fs::write(input.path(), lines).map_err(|error| error.to_string())?;
    let mut command = Command::new("addr2line");
    command.args(["-i", "-f", "-C", "-a", "-e"]).arg(binary).arg(format!("@{}", input.path().display()));
    let text = super::output(command)?;
    let (mut names, mut others) = (BTreeMap::new(), BTreeMap::new());
    let (mut address, mut function) = (0, None);
    for line in text.lines() {
        if let Some(number) = line.strip_prefix("0x").and_then(|number| u64::from_str_radix(number, 16).ok())
        {
            (address, function) = (number, None);
        } else if let Some(name) = function.take() {
            if let Some(place) = place(name, line) {
                names.entry(address).or_insert(place);
            } else if let Some(package) = package(line) {
                // What the standard library does for a crate is the crate's.
                let entry = others.entry(address).or_insert_with(|| package.clone());
                if *entry == STD {
                    *entry = package;
                }
            }
        } else {
            function = Some(line);
        }
    }
    for (address, package) in others {
        names.entry(address).or_insert(package);
    }
    Ok(names)
}

/// `crate/file function` when the source is ours.
fn place(function: &str, source: &str) -> Option<String> {
    // The standard library has a folder of that name too.
    let (_, inside) = source.split_once("/crates/").filter(|(before, _)| !before.contains("/library"))?;
    let (package, file) = inside.split_once("/src/")?;
    let (file, _) = file.split_once(':')?;
    let function = without_generics(function);
    let name = function.rsplit("::").find(|part| !part.is_empty() && !part.starts_with('{'))?;
    Some(format!("{package}/{file} {name}"))
}

/// The crate of a source that is not ours.
fn package(source: &str) -> Option<String> {
    if source.contains("/library/") {
        return Some(STD.to_owned());
    }
    let (_, inside) = source.split_once("/registry/src/")?;
    Some(inside.split('/').nth(1)?.to_owned())
}

/// Without what stands between angle brackets.
fn without_generics(function: &str) -> String {
    let mut depth = 0;
    let outside = |letter: &char| {
        depth += i32::from(*letter == '<');
        let is_outside = depth == 0;
        depth -= i32::from(*letter == '>');
        is_outside
    };
    function.chars().filter(outside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_into_other_objects_count_for_the_caller() {
        let profile = "summary: 23\nob=(1) /b\nfn=(1) f\n0x10 5 3\n+4 +1 2\ncob=(2) /libc\ncfn=(2) memcpy\ncalls=1 0x90 1\n\
                       * * 10\ncfn=(3) g\ncalls=1 0x40 9\n+4 * 8\nob=(2)\nfn=(2)\n0x90 1 10\nob=(1)\nfn=(3)\n0x40 9 8\n";
        assert_eq!(costs(profile, "/b"), BTreeMap::from([(0x10, 3), (0x14, 12), (0x40, 8)]));
        assert_eq!(total(profile), Some(23));
    }

    #[test]
    fn a_place_is_crate_file_and_function() {
        let cases = [
            (
                "warrenmq_queue::run::RunBuilder::push",
                "/a/crates/queue/src/run.rs:248",
                Some("queue/run.rs push"),
            ),
            (
                "f::{{closure}}",
                "/a/crates/broker/src/session/mod.rs:1 (discriminator 2)",
                Some("broker/session/mod.rs f"),
            ),
            (
                "<a::B as c::D<E>>::f::<{closure_env#1}>",
                "/a/crates/wire/src/same.rs:1",
                Some("wire/same.rs f"),
            ),
            ("f", "/rustc/1/library/stdarch/crates/core_arch/src/x86/sse2.rs:1", None),
            ("warrenmq_counts::main", "/a/crates/counts/src/main.rs:3", Some("counts/main.rs main")),
            ("core::cmp::min", "/rustc/1/library/core/src/cmp.rs:9", None),
            ("??", "??:0", None),
        ];
        for (function, source, expected) in cases {
            assert_eq!(place(function, source).as_deref(), expected, "{function}");
        }
    }

    #[test]
    fn what_is_not_ours_is_of_a_crate() {
        let cases = [
            ("/rustc/1/library/alloc/src/vec/mod.rs:9", Some("std")),
            ("/a/registry/src/index-1/crc32fast-1.5.0/src/lib.rs:9", Some("crc32fast-1.5.0")),
            ("??:0", None),
        ];
        for (source, expected) in cases {
            assert_eq!(package(source).as_deref(), expected, "{source}");
        }
    }
}
