//! A number of octets as people write it: `50MB`, `1GiB`, `50000000`.
//!
//! Invariant: it is shown as it was written.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use toml::Value;

/// What a size has to be, in words.
pub(super) const WANTED: &str =
    "a number of octets, alone or with a unit, such as 50000000, \"50MB\" or \"1GiB\"";

/// A number of octets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "String")]
pub(crate) struct Size {
    text: String,
    octets: u64,
}

impl Size {
    /// How many octets.
    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }
}

impl FromStr for Size {
    type Err = String;

    /// The units of `rabbitmq.conf`, in small letters or capitals: `k`, `kB` and so on up to `PB` are powers of 1000, `Ki`, `KiB` and
    /// so on powers of 1024.
    fn from_str(text: &str) -> Result<Size, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let octets = number.parse::<u64>().ok().zip(unit_octets(unit));
        match octets.and_then(|(number, unit)| number.checked_mul(unit)) {
            Some(octets) => Ok(Size { text: text.to_owned(), octets }),
            None => Err(format!("'{text}' is not {WANTED}")),
        }
    }
}

impl TryFrom<Value> for Size {
    type Error = String;

    fn try_from(value: Value) -> Result<Size, String> {
        match value {
            Value::String(text) => text.parse(),
            other => other.to_string().parse(),
        }
    }
}

impl From<Size> for String {
    fn from(size: Size) -> String {
        size.text
    }
}

/// Octets of a unit.
fn unit_octets(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    let Some(prefix) = unit.chars().next() else { return Some(1) };
    let power = "kmgtp".find(prefix)? as u32 + 1;
    match &unit[1..] {
        "" | "b" => Some(1000_u64.pow(power)),
        "i" | "ib" => Some(1024_u64.pow(power)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_in_rabbitmq_conf() {
        let cases = [
            ("0", Some(0)),
            ("50000000", Some(50_000_000)),
            ("50MB", Some(50_000_000)),
            ("2k", Some(2_000)),
            ("2kB", Some(2_000)),
            ("2Ki", Some(2_048)),
            ("2KIB", Some(2_048)),
            ("3m", Some(3_000_000)),
            ("3MiB", Some(3 << 20)),
            ("1gb", Some(1_000_000_000)),
            ("1GiB", Some(1 << 30)),
            ("100000GB", Some(100_000_000_000_000)),
            ("1TB", Some(1_000_000_000_000)),
            ("1PiB", Some(1 << 50)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("16384PiB", None),
            ("", None),
            ("MB", None),
            ("50 MB", None),
            ("-1", None),
            ("1.5GB", None),
            ("1B", None),
            ("1Mbit", None),
            ("1EB", None),
            ("1kö", None),
            ("ö", None),
        ];
        for (text, octets) in cases {
            assert_eq!(text.parse::<Size>().ok().map(|size| size.octets()), octets, "{text}");
        }
    }

    #[test]
    fn a_size_keeps_its_text() {
        let size: Size = "1GiB".parse().expect("a size");
        assert_eq!(Size::try_from(Value::from(String::from(size.clone()))), Ok(size));
    }
}
