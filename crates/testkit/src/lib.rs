//! What the tests of several crates share. Of the crates of the workspace it knows only the trait of the disk in
//! `warrenmq-store`, which it plays, so that it can judge all of them.

pub mod differential;
pub mod disk;
pub mod process;
pub mod proxy;
pub mod random;
pub mod transcript;
pub mod usage;
