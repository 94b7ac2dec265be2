//! Operations of several clients on one broker.
#![no_main]

#[path = "../checks/sessions/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::sessions(data));
