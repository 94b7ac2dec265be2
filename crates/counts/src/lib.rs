//! What a message costs: steps of its way and whole ways from a publisher to a consumer, in memory and in one thread, so that
//! the same code gives the same number of instructions each time.
//!
//! `cargo xtask counts` counts them and compares with `baseline.toml`; `cargo bench -p warrenmq-counts` measures their time.
//! Invariant: what the kernel and the clients would do is done [`beside_the_count`](meter::beside_the_count).

mod client;
mod ear;
mod link;
pub mod meter;
mod node;
mod null_disk;
mod scene;
mod scenes;
mod source;

/// Something that can be counted.
pub trait Work {
    /// Does a part of it, which is as large as the broker's own batches are; says how many messages that were.
    fn work(&mut self) -> u64;
}

/// A piece of work by its name.
pub struct Subject {
    /// For the command line, the baseline and the page of figures.
    pub name: &'static str,
    /// What is counted.
    pub about: &'static str,
    /// Messages of one measurement: enough for the third digit to stand still.
    pub messages: u64,
    /// Makes it ready: nothing of that is counted.
    pub ready: Box<dyn Fn() -> Box<dyn Work>>,
}

/// All of them: steps in the order of a message's life, then whole ways.
pub fn subjects() -> Vec<Subject> {
    scenes::subjects()
}
