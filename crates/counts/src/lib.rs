//! What a message costs: steps of its way and whole ways from a publisher to a consumer, in memory and in one thread, so that
//! the same code gives the same number of instructions each time.
//!
//! `cargo xtask counts` counts them and compares with `baseline.toml`; `cargo bench -p warrenmq-counts` measures their time.
//! Invariant: only what the broker does counts; what would be done by the kernel and by clients does not ([`meter`]).

pub mod meter;
mod null_disk;
mod step;
mod whole;
mod wiring;

/// Something that can be counted.
pub trait Work {
    /// Does a part of it, which is as large as the broker's own batches are, by way of [`meter::in_the_count`]; says how many
    /// messages that were.
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
    step::subjects().into_iter().chain(whole::steps()).chain(whole::ways()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_does_a_batch() {
        for subject in subjects() {
            let mut work = (subject.ready)();
            assert!(work.work() > 0, "{}", subject.name);
        }
    }

    #[test]
    fn names_differ() {
        let mut names: Vec<&str> = subjects().iter().map(|subject| subject.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
