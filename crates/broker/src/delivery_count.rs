//! The header `x-delivery-count`: how often a message came back before it is delivered.
//!
//! Invariant: what was never returned passes by untouched; in a delivery that is changed every message has the position that it had.

use warrenmq_queue::{Delivery, Pick, Picks, Record, RunBuilder};
use warrenmq_wire::content;

use crate::properties::with_number;

const X_DELIVERY_COUNT: &[u8] = b"x-delivery-count";

/// The delivery with the header on each of its messages, and how many octets their records had before.
pub(crate) fn with_header(delivery: Delivery) -> (Delivery, u32) {
    let mut builder = RunBuilder::new();
    let mut octets = 0;
    let mut push = |offset: u32| {
        let (record, next) = delivery.run.record(offset);
        let start = builder.len() as u32;
        let header = content::parse_header(record.header)
            .map(|header| with_number(&header, X_DELIVERY_COUNT, i64::from(delivery.attempts)));
        builder.push(&Record { header: header.as_deref().unwrap_or(record.header), ..record });
        octets += next - offset;
        (start, next)
    };
    let picks = match &delivery.picks {
        Picks::Range { offset, count } => {
            let mut at = *offset;
            for _ in 0..*count {
                at = push(at).1;
            }
            Picks::Range { offset: 0, count: *count }
        }
        Picks::List(list) => {
            let moved = |pick: &Pick| Pick { offset: push(pick.offset).0, index: pick.index };
            Picks::List(list.iter().map(moved).collect())
        }
    };
    match builder.finish() {
        Some(run) => (Delivery { run, picks, attempts: 0, ..delivery }, octets),
        None => (Delivery { attempts: 0, ..delivery }, octets),
    }
}
