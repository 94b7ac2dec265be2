//! What an `x-recent-history` exchange has kept goes to who is bound to it.
//!
//! Invariant: a message that was published before the bind is delivered or was kept no longer; the binding is in the picture before the
//! history is looked at.

use std::sync::Arc;

use warrenmq_queue::Run;
use warrenmq_routing::{Binding, Destination, Message};
use warrenmq_wire::basic;
use warrenmq_wire::content;

use super::Session;
use super::publish::sender_selected;
use crate::queue_cell::QueueCell;
use crate::vhost::{Picture, Vhost, keep};

impl Session {
    /// Gives the destination of a new binding what the source has kept, the oldest first.
    pub(super) fn replay(&mut self, vhost: &Vhost, binding: &Binding) {
        let picture = vhost.picture();
        let Some(history) = picture.history(&binding.source) else { return };
        for run in history.runs() {
            let cells = match &binding.destination {
                Destination::Queue(name) => picture.queue(name).cloned().into_iter().collect(),
                Destination::Exchange(name) => self.routed(&picture, name, &run),
            };
            self.publish_to(&cells, &run);
        }
        self.record();
    }

    /// Where a kept message goes from this exchange.
    fn routed(&mut self, picture: &Picture, exchange: &str, run: &Run) -> Vec<Arc<QueueCell>> {
        let record = run.record(0).0;
        let Ok(header) = content::parse_header(record.header) else { return Vec::new() };
        let headers = header.headers();
        let (_, key) = basic::split_route(record.route);
        let selected = sender_selected(headers).unwrap_or_default();
        let keys: Vec<&[u8]> = std::iter::once(key).chain(selected.keys.iter().copied()).collect();
        let message = Message {
            keys: &keys,
            headers,
            properties: Some(&header),
            chance: self.draw_chance(),
            waits: false,
        };
        keep(picture, exchange, &message, record, self.limits().recent_history_octets);
        let mut ids = Vec::new();
        // The exchange may be gone again.
        let _ = picture.topology.route(exchange, &message, &mut ids);
        ids.iter().filter_map(|id| picture.cell(*id)).cloned().collect()
    }

    fn publish_to(&mut self, cells: &[Arc<QueueCell>], run: &Run) {
        let window = self.window();
        let (mut places, mut keeps_all) = (Vec::new(), false);
        for cell in cells {
            if let Some(first) = cell.publish(run.clone(), window, None, &mut self.scratch).first()
                && cell.info.durable
            {
                places.push((cell.info.store_id, first));
                keeps_all |= cell.keeps_all();
            }
        }
        let arrived = self.broker.epoch_ms() + self.now;
        self.scratch.work.publish(places, run, keeps_all, arrived);
    }
}
