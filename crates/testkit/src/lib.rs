//! What the tests of several crates share. It depends on no other crate of the workspace, so that it can judge all of them.

pub mod process;
pub mod transcript;
