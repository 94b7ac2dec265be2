//! Owns the bound on names: what a short string on the wire can hold.
//!
//! Invariant: no name longer than [`NAME_LENGTH_MAX`] octets comes out of a definitions file.

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer};

/// Longest name of anything that clients name, in octets.
pub const NAME_LENGTH_MAX: usize = 255;

/// Reads a name; for `#[serde(deserialize_with = …)]`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    match name.len() {
        0..=NAME_LENGTH_MAX => Ok(name),
        octets => {
            Err(D::Error::custom(format_args!("{octets} octets exceed the maximum of {NAME_LENGTH_MAX}")))
        }
    }
}
