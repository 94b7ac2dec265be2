//! How often messages came back, as the journal keeps it.
//!
//! Invariant: the value of a note grows with the count, so of two notes of a message the higher one is the later one.

use warrenmq_queue::{Attempted, Attempts};
use warrenmq_store::Note;

/// The note of a count. Times are Unix time in milliseconds there; 0 is none.
pub(crate) fn note(attempted: &Attempted, epoch_ms: u64) -> Note {
    let Attempted { first, last, attempts: Attempts { returned, failed }, due } = *attempted;
    let value = u64::from(returned) << 32 | u64::from(failed);
    Note { first, last, value, time: due.map_or(0, |due| due + epoch_ms) }
}

/// The count of a note.
pub(super) fn attempted(note: &Note, epoch_ms: u64) -> Attempted {
    let Note { first, last, value, time } = *note;
    let attempts = Attempts { returned: (value >> 32) as u32, failed: value as u32 };
    Attempted { first, last, attempts, due: (time > 0).then(|| time.saturating_sub(epoch_ms)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_as_counts() {
        for (returned, failed, due) in [(1, 0, None), (7, 3, Some(12)), (u32::MAX, u32::MAX, Some(0))] {
            let attempts = Attempts { returned, failed };
            let counted = Attempted { first: 5, last: 9, attempts, due };
            assert_eq!(attempted(&note(&counted, 1000), 1000), counted);
        }
    }
}
