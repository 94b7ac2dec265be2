//! Tests of the configuration: the sample file, what is refused, and who wins.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use toml::Value;

use super::{Config, ConfigError, Overrides, Setting, environment, file, keys, load, unknown_variables};

const SAMPLE: &str = include_str!("../../../../config/warrenmq.toml");

#[test]
fn the_sample_names_every_key_with_its_default() {
    let settings = file::parse("sample", &uncommented(SAMPLE)).expect("the sample is TOML");
    let defaults: HashMap<String, Value> =
        keys::all().into_iter().map(|key| (key.name, key.default)).collect();
    for setting in &settings {
        assert_eq!(Some(&setting.value), defaults.get(&setting.key), "{}: {}", setting.origin, setting.key);
    }
    let named: BTreeSet<&String> = settings.iter().map(|setting| &setting.key).collect();
    assert_eq!(named, defaults.keys().collect::<BTreeSet<_>>());
}

#[test]
fn the_sample_as_it_is_changes_nothing() {
    assert_eq!(configured(SAMPLE).expect("the sample is right"), Config::default());
}

#[test]
fn the_sample_names_the_range_of_every_limit() {
    for key in keys::all().into_iter().filter(|key| key.name.starts_with("limits.")) {
        let (least, most) = key.range();
        let name = key.name.trim_start_matches("limits.");
        let described = SAMPLE.split(&format!("\n#{name} = ")).next().expect("split has a first part");
        let paragraph = described.rsplit("\n\n").next().expect("split has a first part").replace("\n#", "");
        // Where another key is the upper end, its name stands there.
        let ranges = [format!("{least} to {most}"), format!("{least} to frame_max")];
        let named = ranges.iter().any(|range| paragraph.contains(range))
            || paragraph.contains(&format!("{least} (what the specification demands) to frame_max"));
        assert!(named, "{name}: {least} to {most} in {paragraph}");
    }
}

#[test]
fn both_ends_of_every_range_can_be_set() {
    for key in keys::all().into_iter().filter(|key| key.default.is_integer()) {
        let (least, most) = key.range();
        for number in [least, most] {
            let setting =
                Setting { origin: "test".to_owned(), key: key.name.clone(), value: Value::Integer(number) };
            let mut config = Config::default();
            config.apply(setting).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(get(&config.to_table(), &key.name), Some(&Value::Integer(number)), "{}", key.name);
        }
    }
}

#[test]
fn what_is_wrong_is_one_line_with_place_key_and_way_out() {
    let cases = [
        ("listne = []", "f:1: unknown key 'listne'; did you mean 'listen'?"),
        (
            "\n[limits]\nframe_maxx = 4096",
            "f:3: unknown key 'limits.frame_maxx'; did you mean 'limits.frame_max'?",
        ),
        ("channel_max = 1", "f:1: unknown key 'channel_max'; did you mean 'limits.channel_max'?"),
        ("[limit]\nframe_max = 1", "f:2: unknown key 'limit.frame_max'; did you mean 'limits.frame_max'?"),
        ("limits = 5", "f:1: wrong value for 'limits': 5 is not a table, [limits]"),
        (
            "[limits]\nframe_max = 4095",
            "f:2: wrong value for 'limits.frame_max': 4095 is not a whole number from 4096 to 1073741824",
        ),
        (
            "limits.channel_max = 70_000",
            "f:1: wrong value for 'limits.channel_max': 70000 is not a whole number from 1 to 65535",
        ),
        ("workers = \"two\"", "f:1: wrong value for 'workers': \"two\" is not a whole number from 0 to 1024"),
        (
            "workers = 99999999999999999999",
            "f:1: wrong value for 'workers': invalid type: integer `99999999999999999999` as i128, expected any valid TOML value",
        ),
        ("data_dir = 1", "f:1: wrong value for 'data_dir': 1 is not a string"),
        ("data_dir = \"\"", "f:1: wrong value for 'data_dir': \"\": it cannot be empty"),
        ("listen = \"[::]:5672\"", "f:1: wrong value for 'listen': \"[::]:5672\" is not a list of strings"),
        ("listen = [5672]", "f:1: wrong value for 'listen': [5672] is not a list of strings"),
        ("listen = []", "f:1: wrong value for 'listen': []: at least one address is needed"),
        (
            "listen = [\"localhost\"]",
            "f:1: wrong value for 'listen': [\"localhost\"]: 'localhost' is not an IP address with a port, such as \
             127.0.0.1:5672 or [::1]:5672",
        ),
        (
            "log = \"loud\"",
            "f:1: wrong value for 'log': \"loud\": off, error, warn, info, debug or trace is wanted, or a list such as \
             info,warrenmq_server=debug",
        ),
        ("[limits\n", "f:1: not valid TOML: unclosed table, expected `]`"),
        (
            "disk_free_limit = \"lots\"",
            "f:1: wrong value for 'disk_free_limit': \"lots\": 'lots' is not a number of octets, alone or with a unit, such as \
             50000000, \"50MB\" or \"1GiB\"",
        ),
        (
            "disk_free_limit = -1",
            "f:1: wrong value for 'disk_free_limit': -1: '-1' is not a number of octets, alone or with a unit, such as 50000000, \
             \"50MB\" or \"1GiB\"",
        ),
        (
            "disk_free_limit = true",
            "f:1: wrong value for 'disk_free_limit': true is not a number of octets, alone or with a unit, such as 50000000, \
             \"50MB\" or \"1GiB\"",
        ),
        ("log = \"info\"\nlog = \"warn\"", "f:2: not valid TOML: duplicate key"),
        (
            "[limits]\nframe_max = 8192\nframe_max_min = 16384",
            "configuration: limits.frame_max (8192) is below limits.frame_max_min (16384)",
        ),
        (
            "[limits]\nframe_max = 4096",
            "configuration: limits.handshake_frame_max (8192) is above limits.frame_max (4096)",
        ),
        ("listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]", "configuration: listen names 127.0.0.1:1 twice"),
    ];
    for (text, expected) in cases {
        let error = configured(text).expect_err(text).to_string();
        assert_eq!(error, expected, "{text}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn the_environment_sets_every_kind_of_value() {
    let variables = [
        ("WARRENMQ_LISTEN", "127.0.0.1:1, [::1]:2"),
        ("WARRENMQ_DEFAULT_PASS", "a,b "),
        ("WARRENMQ_LIMITS_FRAME_MAX", "65536"),
        ("WARRENMQ_SERVER_PROPERTIES_PRODUCT", "WarrenMQ"),
        ("WARRENMQ_LOOPBACK_USERS", ","),
        ("WARRENMQ_WORKERS", ""),
    ];
    let config = load(Overrides::default(), environment(&variables)).expect("all of it is right");
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:1", "[::1]:2"]);
    assert_eq!(config.default_pass, "a,b ");
    assert_eq!(config.limits.frame_max, 65_536);
    assert_eq!(config.server_properties.product, "WarrenMQ");
    assert!(config.loopback_users.is_empty());
    assert_eq!(config.workers, 0, "an empty variable is one that is not set");
}

#[test]
fn a_size_is_a_string_or_a_number_in_the_file_and_text_in_the_environment() {
    for text in
        ["disk_free_limit = 2_000_000_000", "disk_free_limit = \"2000MB\"", "disk_free_limit = \"2GB\""]
    {
        assert_eq!(configured(text).expect(text).disk_free_limit.octets(), 2_000_000_000, "{text}");
    }
    let variables = environment(&[("WARRENMQ_DISK_FREE_LIMIT", "2GiB")]);
    let config = load(Overrides::default(), variables).expect("a size");
    assert_eq!(config.disk_free_limit.octets(), 2 << 30);
    let variables = environment(&[("WARRENMQ_DISK_FREE_LIMIT", "2GiB")]);
    let option = Some("3".parse().expect("a size"));
    let overrides = Overrides { disk_free_limit: option, ..Overrides::default() };
    assert_eq!(load(overrides, variables).expect("a size").disk_free_limit.octets(), 3);
}

#[test]
fn wrong_variables_are_named() {
    let cases = [
        (
            ("WARRENMQ_WORKERS", "many"),
            "environment variable WARRENMQ_WORKERS: wrong value for 'workers': \"many\" is not a whole number from 0 to 1024",
        ),
        (
            ("WARRENMQ_LIMITS_CHANNEL_MAX", "0"),
            "environment variable WARRENMQ_LIMITS_CHANNEL_MAX: wrong value for 'limits.channel_max': 0 is not a whole \
             number from 1 to 65535",
        ),
        (
            ("WARRENMQ_CONFIG", "/nowhere/at.toml"),
            "configuration file /nowhere/at.toml cannot be read: No such file or directory (os error 2)",
        ),
    ];
    for (variable, expected) in cases {
        let error = load(Overrides::default(), environment(&[variable])).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("warrenmq.toml");
    fs::write(&path, "data_dir = \"file\"\nlog = \"warn\"\ncluster_name = \"file\"\n").expect("written");
    let variables = environment(&[("WARRENMQ_DATA_DIR", "environment"), ("WARRENMQ_LOG", "error")]);
    let overrides =
        Overrides { config: Some(path), data_dir: Some(PathBuf::from("option")), ..Overrides::default() };
    let config = load(overrides, variables).expect("all of it is right");
    assert_eq!(config.data_dir, PathBuf::from("option"));
    assert_eq!((config.log.as_str(), config.cluster_name.as_str()), ("error", "file"));
    assert_eq!(config.default_user, "guest");
}

#[test]
fn variables_that_look_like_ours_are_found() {
    let names = [
        "PATH",
        "WARRENMQ_CONFIG",
        "WARRENMQ_LIMITS_FRAME_MAX",
        "WARRENMQ_FRAME_MAX",
        "WARRENMQ_DATADIR",
        // Kubernetes sets these for a service called warrenmq.
        "WARRENMQ_SERVICE_HOST",
        "WARRENMQ_SERVICE_PORT_AMQP",
        "WARRENMQ_PORT",
        "WARRENMQ_PORT_5672_TCP_ADDR",
        "WARRENMQ_PERF_URI",
    ];
    assert_eq!(unknown_variables(names.map(OsString::from)), ["WARRENMQ_DATADIR", "WARRENMQ_FRAME_MAX"]);
}

#[test]
fn the_names_of_variables_are_distinct() {
    let names: BTreeSet<String> = keys::all().iter().map(|key| environment::variable(&key.name)).collect();
    assert_eq!(names.len(), keys::all().len());
    assert!(!names.contains(super::FILE_VARIABLE));
}

fn configured(text: &str) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    config.apply_all(file::parse("f", text)?)?;
    config.check()?;
    Ok(config)
}

fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

fn get<'t>(table: &'t toml::Table, key: &str) -> Option<&'t Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((outer, inner)) => table.get(outer)?.get(inner),
    }
}

/// The keys in comments as keys.
fn uncommented(text: &str) -> String {
    let is_key =
        |line: &str| line.starts_with(|first: char| first.is_ascii_lowercase()) && line.contains(" = ");
    let lines = text.lines().map(|line| line.strip_prefix('#').filter(|rest| is_key(rest)).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}
