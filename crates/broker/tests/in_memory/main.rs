//! The whole broker in memory, in one thread, with a clock of its own.

mod node;
mod transcripts;
