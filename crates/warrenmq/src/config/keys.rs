//! The list of keys, and what each accepts.
//!
//! Invariant: it is made from the defaults, so that it has every key; every whole number has a range in [`RANGES`].

use toml::{Table, Value};

use super::{Config, Size, size};

/// Smallest and largest value of each whole number. The lower ends are what the protocol or the program needs to work at
/// all, the upper ends what the type or good sense allows.
const RANGES: [(&str, i64, i64); 39] = [
    ("workers", 0, 1024),
    // From 4096 on a frame holds any method (specification, 4.2.3); the length of a frame is 32 bits.
    ("limits.frame_max", 4096, GIB),
    ("limits.frame_max_min", 4096, GIB),
    ("limits.handshake_frame_max", 4096, GIB),
    ("limits.channel_max", 1, 65_535),
    ("limits.heartbeat_seconds", 0, 65_535),
    ("limits.handshake_timeout_ms", 1, DAY_MS),
    ("limits.connection_max", 1, 10_000_000),
    ("limits.consumer_max_per_channel", 0, u32::MAX as i64),
    ("limits.message_size_max", 1, 512 * MIB),
    ("limits.assembly_octets_max", 1, TIB),
    ("limits.transaction_octets_max", 1, TIB),
    ("limits.outbox_octets_max", 4096, GIB),
    ("limits.consumer_window_octets", 1, GIB),
    ("limits.queue_window_octets", 1, TIB),
    ("limits.queue_window_wait_ms", 0, 10_000),
    ("limits.read_buffer_octets", 4096, GIB),
    ("limits.write_buffer_octets", 4096, GIB),
    ("limits.shutdown_timeout_ms", 0, DAY_MS),
    ("limits.consumer_timeout_ms", 0, 365 * DAY_MS),
    ("limits.control_request_octets_max", 4096, GIB),
    ("limits.control_timeout_ms", 1, DAY_MS),
    ("limits.message_memory_octets", 4096, TIB),
    ("limits.queue_memory_octets", 4096, TIB),
    ("limits.recent_history_octets", 0, TIB),
    ("limits.delay_max_ms", 1, 100 * 365 * DAY_MS),
    ("limits.delayed_memory_octets", 4096, TIB),
    ("limits.delayed_loaded_max", 1, 1_000_000),
    ("limits.delayed_loaded_octets", 4096, TIB),
    // Places in files are 32 bits wide.
    ("limits.journal_file_octets", 4096, GIB),
    ("limits.journal_group_octets", 4096, GIB),
    ("limits.journal_pending_octets_max", 4096, TIB),
    ("limits.journal_sync_ms", 0, DAY_MS),
    ("limits.journal_leftover_octets", 0, GIB),
    ("limits.journal_idle_ms", 10, DAY_MS),
    ("limits.pages_pending_octets_max", 4096, TIB),
    ("limits.segment_file_octets", 4096, GIB),
    ("limits.segment_block_octets", 512, 512 * MIB),
    ("limits.segment_files_max", 1, 100_000),
];

const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
const TIB: i64 = 1 << 40;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A key that can be set.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// With its table: `limits.frame_max`.
    pub(super) name: String,
    /// What it is when nobody sets it; its kind is the kind of all its values.
    pub(super) default: Value,
}

impl Key {
    /// Whether `value` is of the right kind and in its range; the error says what is wanted.
    pub(super) fn check(&self, value: &Value) -> Result<(), String> {
        let fits = match (&self.default, value) {
            (Value::Integer(_), Value::Integer(number)) => {
                let (least, most) = self.range();
                (least..=most).contains(number)
            }
            (Value::Array(_), Value::Array(items)) => items.iter().all(Value::is_str),
            // A size without a unit may be a number.
            (_, Value::Integer(_)) => self.is_size(),
            (default, value) => default.same_type(value),
        };
        let refusal = || format!("{value} is not {}", self.wanted());
        if !fits {
            return Err(refusal());
        }
        self.check_meaning(value).map_err(|reason| format!("{value}: {reason}"))
    }

    /// What a value has to be, in words.
    pub(super) fn wanted(&self) -> String {
        match &self.default {
            Value::Integer(_) => {
                let (least, most) = self.range();
                format!("a whole number from {least} to {most}")
            }
            Value::Array(_) => "a list of strings".to_owned(),
            _ if self.is_size() => size::WANTED.to_owned(),
            _ => "a string".to_owned(),
        }
    }

    /// What kind and range do not say.
    fn check_meaning(&self, value: &Value) -> Result<(), String> {
        match self.name.as_str() {
            "listen" => {
                let addresses = value.as_array().map(Vec::as_slice).unwrap_or_default();
                if addresses.is_empty() {
                    return Err("at least one address is needed".to_owned());
                }
                addresses.iter().filter_map(Value::as_str).try_for_each(|text| parse_address(text).map(drop))
            }
            _ if self.is_size() => Size::try_from(value.clone()).map(drop),
            "log" => crate::serve::parse_log_level(value.as_str().unwrap_or_default()).map(drop),
            "durability" if !matches!(value.as_str(), Some("fsync" | "os")) => {
                Err("it is fsync or os".to_owned())
            }
            "default_queue_type" if !matches!(value.as_str(), Some("classic" | "quorum")) => {
                Err("it is classic or quorum".to_owned())
            }
            "data_dir" | "default_user" | "default_vhost" if value.as_str() == Some("") => {
                Err("it cannot be empty".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Whether it is a number of octets with a unit.
    fn is_size(&self) -> bool {
        self.name == "disk_free_limit"
    }

    /// Smallest and largest value of a whole number.
    pub(super) fn range(&self) -> (i64, i64) {
        let range = RANGES.iter().find(|(name, ..)| *name == self.name);
        let (_, least, most) = range.expect("invariant: every whole number has a range");
        (*least, *most)
    }
}

/// All keys, in the order of the alphabet.
pub(super) fn all() -> Vec<Key> {
    let mut keys = Vec::new();
    for (name, value) in Config::default().to_table() {
        match value {
            Value::Table(inner) => keys.extend(
                inner.into_iter().map(|(key, default)| Key { name: format!("{name}.{key}"), default }),
            ),
            default => keys.push(Key { name, default }),
        }
    }
    keys
}

/// The key of that name.
pub(super) fn find(name: &str) -> Option<Key> {
    all().into_iter().find(|key| key.name == name)
}

/// Whether it is a table of keys.
pub(super) fn is_table(name: &str) -> bool {
    Config::default().to_table().get(name).is_some_and(Value::is_table)
}

/// The key that is most like `name`: one that is called the same in another table, else the one with the fewest letters changed.
pub(super) fn nearest(name: &str) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |key: &str| {
        let whole = edit_distance(name, key);
        let ends = edit_distance(&last(name), &last(key));
        whole.min(ends)
    };
    let nearest = all().into_iter().map(|key| key.name).min_by_key(|key| distance(key));
    nearest.expect("invariant: there are keys")
}

/// Sets a key of `table`, in the inner table that its name says.
pub(super) fn put(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((outer, inner)) => {
            if let Some(Value::Table(table)) = table.get_mut(outer) {
                table.insert(inner.to_owned(), value);
            }
        }
    }
}

/// An address to listen on.
pub(crate) fn parse_address(text: &str) -> Result<std::net::SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("'{text}' is not an IP address with a port, such as 127.0.0.1:5672 or [::1]:5672")
    })
}

/// Letters to insert, remove or change to make one word of the other (Levenshtein).
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        row.iter_mut().take(1).for_each(|first| *first = left);
        for (cell, b) in row.iter_mut().skip(1).zip(&to) {
            let best = (diagonal + usize::from(a != *b)).min(*cell + 1).min(left + 1);
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
    }
    row.last().copied().unwrap_or_default()
}
