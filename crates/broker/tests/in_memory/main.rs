//! The whole broker in memory, in one thread, with a clock of its own.

mod acks;
mod alarms;
mod dead_letters;
mod definitions;
mod delayed;
mod durable;
mod exchanges;
mod gathering;
mod late_commits;
mod limits;
mod node;
mod policies;
mod recent_history;
mod transcripts;
mod waits;
