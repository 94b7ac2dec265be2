//! Messages of a coarse bucket move to finer ones.
//!
//! Invariant: they leave the one and enter the others in one record of the journal, a bounded number at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use warrenmq_queue::RunBuilder;

use super::Delayed;
use super::bucket::{Rest, Taken};
use super::grid::{Class, Slot};
use super::wheel::Budget;
use crate::queue_cell::{QueueCell, Scratch};

impl Delayed {
    /// Moves some messages of a bucket to buckets of the class `finest_next`, or finer where they are nearer than that.
    pub(super) fn cascade(
        &self,
        from: &Arc<QueueCell>,
        finest_next: Class,
        budget: &mut Budget,
        scratch: &mut Scratch,
    ) {
        if budget.is_spent() {
            return;
        }
        let mut taken: Vec<Taken> = Vec::new();
        let rest = from.take(budget.messages, budget.octets, scratch, |message| taken.push(message));
        budget.more |= rest == Rest::More;
        let unix = self.node.epoch_ms() + scratch.now;
        let mut runs: BTreeMap<Slot, RunBuilder> = BTreeMap::new();
        let mut positions = Vec::with_capacity(taken.len());
        for message in &taken {
            let due = message.stamp.due();
            let class = Class::of(due.saturating_sub(unix)).min(finest_next);
            let (record, _) = message.run.record(message.offset);
            runs.entry(Slot::at(class, due)).or_default().push(&record);
            positions.push(message.position);
            budget.spend(message.octets());
        }
        for (slot, mut builder) in runs {
            if let Some(run) = builder.finish() {
                self.put_run(slot, &run, scratch);
            }
        }
        from.settle_all(&mut positions, scratch);
    }

    /// Publishes a run to the bucket of its slot, or, where that goes to finer ones, each message to its own.
    fn put_run(&self, slot: Slot, run: &warrenmq_queue::Run, scratch: &mut Scratch) {
        let bucket = self.bucket_at(slot, scratch.now);
        let first =
            bucket.as_ref().and_then(|cell| cell.publish(run.clone(), u64::MAX, None, scratch).first());
        match (bucket, first) {
            (Some(cell), Some(first)) => {
                let places = if self.durable { vec![(cell.info.store_id, first)] } else { Vec::new() };
                scratch.work.publish(places, run, false, self.node.epoch_ms() + scratch.now);
            }
            _ => run.records().for_each(|(_, record)| self.put_at_most(record, slot.class, scratch)),
        }
    }
}
