//! A broker, its clients and its disk in one thread, with every choice made from one seed, and an oracle that says what may happen
//! ([`oracle`] has its rules). A seed that fails fails again.
#![forbid(unsafe_code)]

pub mod bounds;
pub mod chooses;
pub mod client;
pub mod content;
pub mod draft;
pub mod frames;
pub mod histories;
pub mod link;
pub mod message;
pub mod node;
pub mod op;
pub mod oracle;
pub mod policy;
pub mod rng;
pub mod rules;
pub mod scheduler;
pub mod seeds;
pub mod settings;
pub mod topology;
pub mod trace;
pub mod way;
pub mod world;
