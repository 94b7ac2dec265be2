//! One field table.
#![no_main]

#[path = "../checks/wire.rs"]
#[allow(dead_code)] // Each target uses one of the checks.
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::tables(data));
