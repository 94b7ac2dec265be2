//! confirm.select and tx: what a channel has promised to do later, or to say when it is done.
//!
//! Invariants: a commit is one record of the journal, over all queues; publishes of a transaction are routed when they are published, as in RabbitMQ, and reach their queues in that
//! order at commit; what is mandatory and whose queues have all gone by then is returned; a rollback leaves the channel as if they and the acknowledgements had not been sent.

use std::sync::Arc;

use warrenmq_protocol::{Confirms, Exception, Piece, Publish};
use warrenmq_queue::{Record, RunBuilder};
use warrenmq_wire::method::{Method, confirm, tx};
use warrenmq_wire::reply::ReplyCode;

use super::Session;
use super::channel::Mode;
use super::lanes::LaneId;
use super::settle::Settlement;
use crate::dead_letter;
use crate::inbox::ConsumerKey;
use crate::queue_cell::QueueCell;
use crate::refusal;
use crate::vhost::Picture;

/// Uncommitted publishes and acknowledgements of one channel.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    messages: RunBuilder,
    /// Per message: its queues, and whether it is mandatory.
    routes: Vec<(Arc<[Arc<QueueCell>]>, bool)>,
    settlements: Vec<Settlement>,
}

impl Transaction {
    /// Where acknowledgements wait for the commit.
    pub(super) fn settlements(&mut self) -> &mut Vec<Settlement> {
        &mut self.settlements
    }

    /// The deliveries whose acknowledgements were never committed.
    pub(super) fn unsettled(self) -> impl Iterator<Item = Piece<ConsumerKey>> {
        self.settlements.into_iter().map(|settlement| settlement.piece)
    }
}

impl Session {
    pub(super) fn confirm_select(&mut self, number: u16, method: &Method) -> Result<(), Exception> {
        let Method::Confirm(confirm::AMQPMethod::Select(select)) = method else {
            return Err(super::unimplemented());
        };
        let Some(channel) = self.channels.get_mut(number) else { return Ok(()) };
        match channel.mode {
            Mode::Transaction(_) => {
                return Err(refusal::precondition("cannot switch from tx to confirm mode"));
            }
            Mode::Confirm(_) => {}
            Mode::Plain => channel.mode = Mode::Confirm(Confirms::new()),
        }
        if !select.nowait {
            self.reply(number, Method::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {})));
        }
        Ok(())
    }

    pub(super) fn tx_method(&mut self, number: u16, method: tx::AMQPMethod) -> Result<(), Exception> {
        use tx::AMQPMethod as M;
        let reply = match method {
            M::Select(_) => self.tx_select(number).map(|()| M::SelectOk(tx::SelectOk {})),
            M::Commit(_) => self.tx_commit(number).map(|()| M::CommitOk(tx::CommitOk {})),
            M::Rollback(_) => self.tx_rollback(number).map(|()| M::RollbackOk(tx::RollbackOk {})),
            _ => Err(super::unimplemented()),
        };
        self.reply(number, Method::Tx(reply?));
        Ok(())
    }

    fn tx_select(&mut self, number: u16) -> Result<(), Exception> {
        let Some(channel) = self.channels.get_mut(number) else { return Ok(()) };
        match channel.mode {
            Mode::Confirm(_) => return Err(refusal::precondition("cannot switch from confirm to tx mode")),
            Mode::Transaction(_) => {}
            Mode::Plain => channel.mode = Mode::Transaction(Box::default()),
        }
        Ok(())
    }

    pub(super) fn publish_in_transaction(
        &mut self,
        lane: LaneId,
        publish: &Publish<'_>,
        record: Record<'_>,
    ) -> Result<(), Exception> {
        let max = self.limits().transaction_octets_max;
        let Some(targets) = self.publisher().map(|publisher| publisher.targets(lane)) else { return Ok(()) };
        let Some(channel) = self.channels.get_mut(publish.channel) else { return Ok(()) };
        if let Mode::Transaction(transaction) = &mut channel.mode {
            let octets = record.body.len() + record.header.len();
            if (transaction.messages.len() + octets) as u64 > max || !transaction.messages.has_room(octets) {
                let text = format!("transaction is larger than transaction_octets_max ({max})");
                return Err(Exception::new(ReplyCode::ResourceError, text));
            }
            transaction.messages.push(&record);
            transaction.routes.push((targets, publish.mandatory));
        }
        Ok(())
    }

    fn tx_commit(&mut self, number: u16) -> Result<(), Exception> {
        let mut transaction = self.take_transaction(number)?;
        self.scratch.work.is_open = true;
        self.refresh();
        let mut refused = false;
        if let Some(run) = transaction.messages.finish() {
            let mut gathered = 0;
            for ((_, record), (targets, mandatory)) in run.records().zip(&transaction.routes) {
                self.make_room();
                let Some(home) = self.home.as_mut() else { break };
                let targets = present(&home.picture, targets);
                let queues: Vec<_> = targets.iter().map(|queue| queue.info.id).collect();
                let lane = home.publisher.get_or_insert_default().lane_of(&queues, || targets);
                if home.publisher.as_ref().is_some_and(|publisher| publisher.may_reject(lane)) {
                    refused |= self.push_alone(lane, &record);
                    continue;
                }
                self.push(lane, &record, mandatory.then_some(number));
                // Queues count on runs of the size that a read makes.
                gathered += record.header.len() + record.body.len() + record.route.len();
                if gathered > self.limits().read_buffer_octets {
                    self.flush_publishes();
                    gathered = 0;
                }
            }
        }
        self.settlements.append(&mut transaction.settlements);
        self.flush();
        // What the commit rejects moves on with it.
        dead_letter::publish(&self.broker, &mut self.scratch);
        self.scratch.work.is_open = false;
        self.scratch.work.wanted = true;
        self.record();
        if refused {
            // All else is done (`rabbit_channel:complete_tx`).
            return Err(refusal::precondition("partial tx completion"));
        }
        self.out.hold(self.point);
        Ok(())
    }

    fn tx_rollback(&mut self, number: u16) -> Result<(), Exception> {
        let transaction = self.take_transaction(number)?;
        if let Some(channel) = self.channels.get_mut(number) {
            transaction.unsettled().for_each(|piece| channel.outstanding.restore(piece));
        }
        Ok(())
    }

    fn take_transaction(&mut self, number: u16) -> Result<Transaction, Exception> {
        match self.channels.get_mut(number).map(|channel| &mut channel.mode) {
            Some(Mode::Transaction(transaction)) => Ok(std::mem::take(transaction)),
            _ => Err(refusal::precondition("channel is not transactional")),
        }
    }
}

/// The queues with the names that a message was routed to: since then one may have gone, or gone and come again. What waits in a
/// bucket finds another one by itself.
fn present(picture: &Picture, targets: &Arc<[Arc<QueueCell>]>) -> Arc<[Arc<QueueCell>]> {
    let stays = |cell: &Arc<QueueCell>| cell.bucket().is_some() || picture.cell(cell.info.id).is_some();
    if targets.iter().all(stays) {
        return Arc::clone(targets);
    }
    let now = |cell| if stays(cell) { Some(cell) } else { picture.queue(&cell.info.name) };
    targets.iter().filter_map(now).cloned().collect()
}
