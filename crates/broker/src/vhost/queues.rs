//! Declaring and deleting queues.
//!
//! Invariant: a queue is in the picture exactly as long as it is not marked deleted; its name is free the moment it goes.

use std::sync::Arc;

use warrenmq_protocol::{Exception, Millis};
use warrenmq_queue::Kind;
use warrenmq_routing::QueueId;
use warrenmq_store::CommitSeq;
use warrenmq_wire::method::FieldTable;

use super::exchanges::{checked, submit};
use super::queue_type::{QUEUE_TYPE, QueueType, same_type};
use super::{Asker, Vhost};
use crate::changes::{self, Journalist};
use crate::queue_cell::{QueueCell, QueueInfo, Scratch};
use crate::refusal::{self, same, same_argument};

/// What queue.declare asks for; the name is final.
#[derive(Clone, Debug)]
pub(crate) struct QueueDeclare {
    pub(crate) name: String,
    pub(crate) durable: bool,
    pub(crate) exclusive: bool,
    pub(crate) auto_delete: bool,
    pub(crate) arguments: FieldTable,
}

/// Conditions of queue.delete.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deletion {
    pub(crate) if_unused: bool,
    pub(crate) if_empty: bool,
}

impl Vhost {
    /// Creates the queue, or compares it with the one that is there. Says whether it is new.
    pub(crate) fn declare_queue(
        &self,
        asked: QueueDeclare,
        asker: Asker,
        journalist: &Journalist,
        scratch: &Scratch,
    ) -> Result<(Arc<QueueCell>, Option<CommitSeq>), Exception> {
        let mut master = self.master.lock();
        // RabbitMQ never stores exclusive queues: they end with their connection.
        let durable = asked.durable && !asked.exclusive;
        if let Some(existing) = master.picture.queues.get(asked.name.as_str()) {
            same_queue(existing, &asked, durable, asker)?;
            existing.touch(scratch.now);
            let seq = durable.then(|| journalist.unsettled()).flatten();
            return Ok((Arc::clone(existing), seq));
        }
        let traits = self.traits(&asked, &master.picture.policies)?;
        let what = refusal::queue(&asked.name, &self.name);
        QueueType::of(&asked.arguments, what)?.check_properties(&asked, what)?;
        self.check_queue_limit(&master, &asked.name)?;
        let info = QueueInfo {
            id: QueueId(master.next_queue),
            store_id: self.ids.next(),
            vhost: Arc::clone(&self.name),
            name: asked.name.as_str().into(),
            durable,
            auto_delete: asked.auto_delete,
            owner: asked.exclusive.then_some(asker.connection),
            arguments: asked.arguments,
        };
        let mut changes = Vec::new();
        if durable {
            changes.push(checked(changes::put(&changes::queue_record(&info)))?);
        }
        let cell = QueueCell::new(info, traits, &self.timers, scratch.now);
        self.storage.add_queue(&cell);
        master.add(&cell);
        self.publish(&master);
        Ok((cell, submit(journalist, changes)?))
    }

    /// Puts a queue back that the store has kept under the number `stored`. 0: it has none yet and gets one, which is not
    /// written here.
    pub(crate) fn restore_queue(
        &self,
        asked: QueueDeclare,
        stored: u64,
        now: Millis,
    ) -> Result<Arc<QueueCell>, Exception> {
        let mut master = self.master.lock();
        let traits = self.traits(&asked, &master.picture.policies)?;
        let info = QueueInfo {
            id: QueueId(master.next_queue),
            store_id: if stored == 0 { self.ids.next() } else { stored },
            vhost: Arc::clone(&self.name),
            name: asked.name.as_str().into(),
            durable: true,
            auto_delete: asked.auto_delete,
            owner: None,
            arguments: asked.arguments,
        };
        let cell = QueueCell::new(info, traits, &self.timers, now);
        self.storage.add_queue(&cell);
        master.add(&cell);
        self.publish(&master);
        Ok(cell)
    }

    /// Deletes a queue with its bindings; returns how many messages were ready. A queue that is gone already counts 0.
    pub(crate) fn delete_queue(
        &self,
        cell: &Arc<QueueCell>,
        deletion: Deletion,
        journalist: &Journalist,
        scratch: &mut Scratch,
    ) -> Result<(u64, Option<CommitSeq>), Exception> {
        let mut master = self.master.lock();
        let ready = cell.delete(
            |counts| {
                if deletion.if_empty && counts.ready > 0 {
                    return Err(refusal::precondition(format!("{} not empty", cell.named())));
                }
                if deletion.if_unused && counts.consumers > 0 {
                    return Err(refusal::precondition(format!("{} in use", cell.named())));
                }
                Ok(())
            },
            scratch,
        )?;
        let Some(ready) = ready else { return Ok((0, journalist.unsettled())) };
        let name = &cell.info.name;
        let before = master.picture.clone();
        master.picture.queues.remove(name);
        master.picture.cells.remove(&cell.info.id);
        let removed = master.picture.topology.remove_queue(name).unwrap_or_default();
        master.forget_histories(&removed);
        self.publish(&master);
        let mut changes = self.forgotten(&before, &removed);
        if cell.info.durable {
            changes.push(changes::delete(&changes::queue_record(&cell.info).key()));
        }
        let seq = submit(journalist, changes)?;
        self.end_delays(&mut master, &before, &removed, seq);
        scratch.work.deleted.push((cell.info.store_id, seq));
        Ok((ready, seq))
    }
}

/// RabbitMQ takes no conditions from clients that delete quorum queues.
pub(crate) fn check_conditions(cell: &QueueCell, deletion: Deletion) -> Result<(), Exception> {
    let flag = match deletion {
        _ if cell.kind() != Kind::Quorum => return Ok(()),
        Deletion { if_unused: true, .. } => "if-unused",
        Deletion { if_empty: true, .. } => "if-empty",
        Deletion { .. } => return Ok(()),
    };
    Err(refusal::not_implemented(format!(
        "cannot delete {}. queue.delete operations with {flag} flag set are not supported by quorum queues",
        cell.named()
    )))
}

impl super::Master {
    fn add(&mut self, cell: &Arc<QueueCell>) {
        self.next_queue += 1;
        let QueueInfo { id, name, .. } = &cell.info;
        self.picture.topology.add_queue(Arc::clone(name), *id);
        self.picture.queues.insert(Arc::clone(name), Arc::clone(cell));
        self.picture.cells.insert(*id, Arc::clone(cell));
    }
}

/// RabbitMQ's order: owner, durable, auto_delete, arguments.
fn same_queue(
    existing: &QueueCell,
    asked: &QueueDeclare,
    durable: bool,
    asker: Asker,
) -> Result<(), Exception> {
    let owner = asked.exclusive.then_some(asker.connection);
    if existing.info.owner != owner {
        return Err(refusal::locked(existing.named()));
    }
    let what = existing.named();
    same(what, "durable", durable, existing.info.durable)?;
    same(what, "auto_delete", asked.auto_delete, existing.info.auto_delete)?;
    let (received, current) = (&asked.arguments, &existing.info.arguments);
    let mut known = QueueType::of(current, what)?.arguments();
    known.try_for_each(|key| match key {
        QUEUE_TYPE if same_type(received, current) => Ok(()),
        _ => same_argument(what, key, received, current),
    })
}
