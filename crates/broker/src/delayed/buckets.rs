//! The buckets of one exchange, by their slots.
//!
//! Invariant: a bucket is in the list as long as anything can be in it; one that is deleted stays there, marked, until what
//! deletes its files stands in the order of the disk, so that no other takes its number before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use warrenmq_protocol::Millis;
use warrenmq_queue::Settings;
use warrenmq_routing::QueueId;
use warrenmq_store::CommitSeq;

use super::grid::{Class, Slot, Stamp};
use super::{Bucket, Delayed};
use crate::queue_cell::{QueueCell, QueueInfo, Scratch, Traits};

#[derive(Debug, Default)]
pub(super) struct Buckets {
    map: BTreeMap<Slot, Entry>,
    /// Some entry is of a bucket that is gone.
    any_gone: bool,
    /// The exchange is gone.
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    cell: Arc<QueueCell>,
    /// What comes goes to finer slots.
    parted: bool,
    /// It is deleted.
    gone: bool,
}

/// A bucket that is to be looked at.
#[derive(Clone, Debug)]
pub(super) struct Acting {
    pub(super) slot: Slot,
    pub(super) cell: Arc<QueueCell>,
    pub(super) parted: bool,
}

impl Delayed {
    /// The bucket for a message, of this class or a finer one. `None`: the exchange is gone.
    pub(super) fn bucket_of(&self, stamp: Stamp, class: Class, now: Millis) -> Option<Arc<QueueCell>> {
        let mut buckets = self.buckets.lock();
        if buckets.closed {
            return None;
        }
        let finer = Class::ALL.into_iter().rev().filter(|other| *other <= class);
        // Any slot that holds the time is right. A coarser one is taken only where the finer ones are being deleted.
        let coarser = Class::ALL.into_iter().filter(|other| *other > class);
        for class in finer.chain(coarser) {
            let slot = Slot::at(class, stamp.due());
            match buckets.map.get(&slot) {
                Some(entry) if entry.gone || entry.parted => {}
                Some(entry) => return Some(Arc::clone(&entry.cell)),
                None => return Some(self.make(&mut buckets, slot, self.node.first_position(), now)),
            }
        }
        // The coarsest is a day, and at most two of them are deleted at one time; so this is not reached.
        None
    }

    /// The bucket of this very slot, if what comes to it does not go elsewhere.
    pub(super) fn bucket_at(&self, slot: Slot, now: Millis) -> Option<Arc<QueueCell>> {
        let mut buckets = self.buckets.lock();
        match buckets.map.get(&slot) {
            _ if buckets.closed => None,
            Some(entry) => (!entry.gone && !entry.parted).then(|| Arc::clone(&entry.cell)),
            None => Some(self.make(&mut buckets, slot, self.node.first_position(), now)),
        }
    }

    /// Puts a bucket back that the disk names.
    pub(super) fn restore_bucket(&self, slot: Slot) {
        let mut buckets = self.buckets.lock();
        if !buckets.map.contains_key(&slot) {
            self.make(&mut buckets, slot, 0, 0);
        }
    }

    /// All of them.
    pub(super) fn cells(&self) -> Vec<(Slot, Arc<QueueCell>)> {
        let buckets = self.buckets.lock();
        let there = buckets.map.iter().filter(|(_, entry)| !entry.gone);
        there.map(|(slot, entry)| (*slot, Arc::clone(&entry.cell))).collect()
    }

    /// Those that are to be looked at at `unix`, by their start and coarse ones first, and when the next one is.
    /// `None`: the exchange is gone.
    pub(super) fn acting(&self, unix: u64) -> Option<(Vec<Acting>, Option<u64>)> {
        let buckets = self.buckets.lock();
        if buckets.closed {
            return None;
        }
        let mut acting = Vec::new();
        let mut next: Option<u64> = None;
        for class in Class::ALL {
            let (first, last) = (Slot { class, start: 0 }, Slot { class, start: u64::MAX });
            for (slot, entry) in buckets.map.range(first..=last).filter(|(_, entry)| !entry.gone) {
                if slot.acts_at() > unix {
                    next = Some(next.map_or(slot.acts_at(), |next| next.min(slot.acts_at())));
                    break;
                }
                acting.push(Acting { slot: *slot, cell: Arc::clone(&entry.cell), parted: entry.parted });
            }
        }
        acting.sort_unstable_by_key(|acting| (acting.slot.start, std::cmp::Reverse(acting.slot.class)));
        Some((acting, next))
    }

    /// What comes to this slot goes to finer ones from now on.
    pub(super) fn part(&self, slot: Slot) {
        if let Some(entry) = self.buckets.lock().map.get_mut(&slot) {
            entry.parted = true;
        }
    }

    /// Deletes a bucket if nothing is in it. After the batch [`Delayed::forget`] makes its slot free.
    pub(super) fn delete_empty(&self, slot: Slot, scratch: &mut Scratch) -> bool {
        let mut buckets = self.buckets.lock();
        let Some(entry) = buckets.map.get_mut(&slot).filter(|entry| !entry.gone) else { return false };
        // Only turns take messages, and this is one; what is published now is seen by the second look.
        if entry.cell.held() > 0 {
            return false;
        }
        let is_empty = |counts: crate::queue_cell::Counts| {
            if counts.ready == 0 { Ok(()) } else { Err(crate::refusal::precondition("not empty")) }
        };
        if !matches!(entry.cell.delete(is_empty, scratch), Ok(Some(_))) {
            return false;
        }
        entry.gone = true;
        self.node.bucket_gone(&entry.cell);
        scratch.work.deleted.push((entry.cell.info.store_id, None));
        buckets.any_gone = true;
        true
    }

    /// Slots of deleted buckets may be used again.
    pub(super) fn forget(&self) {
        let mut buckets = self.buckets.lock();
        if std::mem::take(&mut buckets.any_gone) {
            buckets.map.retain(|_, entry| !entry.gone);
        }
    }

    /// The exchange is gone, once `after` is on disk, and all that waits with it.
    pub(crate) fn close(&self, after: Option<CommitSeq>) {
        let mut scratch = Scratch::default();
        let mut buckets = self.buckets.lock();
        buckets.closed = true;
        for entry in std::mem::take(&mut buckets.map).into_values().filter(|entry| !entry.gone) {
            if matches!(entry.cell.delete(|_| Ok(()), &mut scratch), Ok(Some(_))) {
                self.node.bucket_gone(&entry.cell);
                scratch.work.deleted.push((entry.cell.info.store_id, after));
            }
        }
        drop(buckets);
        self.node.remove(self.number);
        self.node.storage().take(&mut scratch.work);
    }

    fn make(
        &self,
        buckets: &mut Buckets,
        slot: Slot,
        floor: warrenmq_queue::Position,
        now: Millis,
    ) -> Arc<QueueCell> {
        let number = slot.number(self.number);
        let info = QueueInfo {
            // Those of queues are counted from 1 on.
            id: QueueId(number),
            store_id: number,
            vhost: Arc::clone(&self.vhost),
            name: Arc::clone(&self.exchange),
            durable: self.durable,
            auto_delete: false,
            owner: None,
            arguments: Default::default(),
        };
        let acts_at = slot.acts_at().saturating_sub(self.node.epoch_ms());
        let bucket = Bucket { owner: self.me.clone(), acts_at, acting: AtomicBool::new(false) };
        let traits = Traits { settings: Settings::default(), ..Traits::default() };
        let cell = QueueCell::new_bucket(info, traits, bucket, self.node.timers(), now);
        cell.begin_at(floor);
        self.node.storage().add_queue(&cell);
        self.node.bucket_made();
        let entry = Entry { cell: Arc::clone(&cell), parted: false, gone: false };
        buckets.map.insert(slot, entry);
        cell
    }
}

impl Acting {
    pub(super) fn begin(&self) {
        if let Some(bucket) = self.cell.bucket() {
            bucket.acting.store(true, Ordering::Relaxed);
        }
    }
}
