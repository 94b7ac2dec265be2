//! The layer table: a crate may depend only on crates of layers below its own, and some outside crates are confined to a few
//! of ours. The table is that of ARCHITECTURE.md; it is compared with `cargo metadata`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Our packages by layer, lowest first. A package that is not here is a violation: a new crate gets its place first.
const LAYERS: [&[&str]; 5] = [
    &["warrenmq-wire", "warrenmq-store", "warrenmq-plot"],
    &["warrenmq-protocol", "warrenmq-routing", "warrenmq-queue"],
    &["warrenmq-broker", TESTKIT],
    &["warrenmq-server", "warrenmq-management", "warrenmq-sim"],
    &["warrenmq", "warrenmq-relay", "warrenmq-counts", "xtask", "warrenmq-tests"],
];

/// What tests share: tests of every layer may use it, nothing that is shipped may, and of our crates it knows only the one
/// whose disk it simulates.
const TESTKIT: &str = "warrenmq-testkit";
const TESTKIT_USERS: [&str; 3] = ["xtask", "warrenmq-tests", "warrenmq-sim"];
const TESTKIT_KNOWS: &str = "warrenmq-store";

/// Outside crates that only these packages of ours may name.
const CONFINED: [(&str, &[&str]); 2] = [
    // Everything below the server runs without a runtime, so that a simulator can run it in one thread.
    ("tokio", &["warrenmq-server", "warrenmq-management", "warrenmq", "warrenmq-tests"]),
    // Definitions live behind one trait, so that the engine can be changed.
    ("sled", &["warrenmq-store"]),
];

/// What breaks the table in the workspace at `root`, one text each.
pub(crate) fn violations(root: &Path) -> Vec<String> {
    match metadata(root) {
        Ok(metadata) => packages(&metadata).iter().flat_map(violations_of).collect(),
        Err(error) => vec![format!("cargo metadata: {error}")],
    }
}

/// One of our packages and the crates that its manifest names.
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    for_tests: bool,
}

fn metadata(root: &Path) -> Result<Value, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

fn packages(metadata: &Value) -> Vec<Package> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let dependency =
        |value: &Value| Dependency { name: text(&value["name"]), for_tests: value["kind"] == "dev" };
    let package = |value: &Value| Package {
        name: text(&value["name"]),
        dependencies: list(&value["dependencies"]).iter().map(dependency).collect(),
    };
    list(&metadata["packages"]).iter().map(package).collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

fn violations_of(package: &Package) -> Vec<String> {
    let Some(own) = layer(&package.name) else {
        return vec![format!("{} has no place in the layer table", package.name)];
    };
    let explain = |dependency: &Dependency| {
        let reason = refusal(&package.name, own, dependency)?;
        Some(format!("{} (layer {own}) must not depend on {}: {reason}", package.name, dependency.name))
    };
    package.dependencies.iter().filter_map(explain).collect()
}

/// Why a crate of layer `own` may not name this dependency, if it may not.
fn refusal(name: &str, own: usize, dependency: &Dependency) -> Option<String> {
    if dependency.name == TESTKIT {
        let allowed = dependency.for_tests || TESTKIT_USERS.contains(&name);
        return (!allowed).then(|| "it is for tests only".to_owned());
    }
    if let Some((_, users)) = CONFINED.iter().find(|(crate_name, _)| *crate_name == dependency.name) {
        return (!users.contains(&name)).then(|| format!("only {} may", users.join(", ")));
    }
    let theirs = layer(&dependency.name)?;
    if name == TESTKIT && dependency.name != TESTKIT_KNOWS {
        return Some("it must not know what it judges".to_owned());
    }
    (theirs >= own).then(|| format!("it is in layer {theirs}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_points_down() {
        let cases = [
            ("warrenmq-broker", "warrenmq-queue", false, true),
            ("warrenmq-broker", "warrenmq-wire", false, true),
            ("warrenmq-queue", "warrenmq-routing", false, false),
            ("warrenmq-queue", "warrenmq-broker", false, false),
            ("warrenmq-queue", "warrenmq-broker", true, false),
            ("warrenmq-protocol", "warrenmq-testkit", true, true),
            ("warrenmq-protocol", "warrenmq-testkit", false, false),
            ("warrenmq-tests", "warrenmq-testkit", false, true),
            ("warrenmq-store", "warrenmq-testkit", true, true),
            ("warrenmq-testkit", "warrenmq-store", false, true),
            ("warrenmq-testkit", "warrenmq-wire", false, false),
            ("warrenmq-broker", "tokio", true, false),
            ("warrenmq-server", "tokio", false, true),
            ("warrenmq-broker", "sled", false, false),
            ("warrenmq-wire", "bytes", false, true),
        ];
        for (name, dependency, for_tests, allowed) in cases {
            let dependencies = vec![Dependency { name: dependency.to_owned(), for_tests }];
            let found = violations_of(&Package { name: name.to_owned(), dependencies });
            assert_eq!(found.is_empty(), allowed, "{name} on {dependency}: {found:?}");
        }
    }

    #[test]
    fn a_package_without_a_place_is_a_violation() {
        let found = violations_of(&Package { name: "warrenmq-new".to_owned(), dependencies: Vec::new() });
        assert_eq!(found, ["warrenmq-new has no place in the layer table"]);
    }

    #[test]
    fn this_workspace_keeps_to_the_table() {
        assert_eq!(violations(&crate::workspace_root()), [""; 0]);
    }
}
