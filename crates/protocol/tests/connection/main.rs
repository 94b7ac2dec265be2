//! A connection as a value: its events in any cut of the input, its deadlines, what it tells peers that break a rule.

mod blocked;
mod bodies;
mod faults;
mod host;
mod streams;
mod timers;
