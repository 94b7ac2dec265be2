//! What its arguments make of a queue.
//!
//! Invariant: every argument that has an effect has it here; where nothing is said, RabbitMQ's default holds.

use std::sync::Arc;

use warrenmq_protocol::Exception;
use warrenmq_queue::{Kind, Overflow, Settings};

use super::arguments::{DeadLetterStrategy, QueueArguments};
use super::queue_type::QueueType;
use super::queues::QueueDeclare;
use crate::dead_letter::DeadLetters;
use crate::queue_cell::Traits;
use crate::refusal;

/// How often a quorum queue delivers a message before it gives up, if nobody says otherwise.
const DELIVERY_LIMIT: u32 = 20;

/// What RabbitMQ's quorum queues do not have is their default, with a warning (`rabbit_quorum_queue:overflow/3`).
fn overflow(arguments: &QueueArguments, asked: &QueueDeclare, vhost: &str) -> Overflow {
    let what = refusal::queue(&asked.name, vhost);
    match (arguments.queue_type, arguments.overflow.unwrap_or_default()) {
        (QueueType::Quorum, Overflow::RejectPublishDlx) => {
            tracing::warn!("{what}: overflow reject-publish-dlx is not for quorum queues: it is drop-head");
            Overflow::DropHead
        }
        (_, overflow) => overflow,
    }
}

/// Whether dead letters stay until all queues have them. Where that cannot be, they do not, with a warning
/// (`rabbit_quorum_queue:dead_letter_handler/2`).
fn keep_dead(arguments: &QueueArguments, asked: &QueueDeclare, vhost: &str) -> bool {
    if arguments.dead_letter_strategy != Some(DeadLetterStrategy::AtLeastOnce) {
        return false;
    }
    let can = arguments.dead_letter_exchange.is_some() && arguments.overflow == Some(Overflow::RejectPublish);
    if !can {
        let what = refusal::queue(&asked.name, vhost);
        tracing::warn!(
            "{what}: dead-letter-strategy at-least-once takes a dead-letter exchange and overflow reject-publish: \
             it is at-most-once"
        );
    }
    can
}

/// Reads the arguments.
pub(super) fn traits(asked: &QueueDeclare, vhost: &Arc<str>) -> Result<Traits, Exception> {
    let arguments = QueueArguments::read(&asked.arguments, refusal::queue(&asked.name, vhost))?;
    let kind = match arguments.queue_type {
        QueueType::Classic => Kind::Classic,
        QueueType::Quorum => Kind::Quorum,
    };
    let limit = match (kind, arguments.delivery_limit) {
        (Kind::Classic, _) => None,
        (Kind::Quorum, None) => Some(DELIVERY_LIMIT),
        // Negative is no limit.
        (Kind::Quorum, Some(limit)) => u32::try_from(limit).ok(),
    };
    Ok(Traits {
        settings: Settings {
            kind,
            max_priority: arguments.max_priority,
            message_ttl: arguments.message_ttl,
            max_length: arguments.max_length,
            max_length_bytes: arguments.max_length_bytes,
            overflow: overflow(&arguments, asked, vhost),
            dead_letters: arguments.dead_letter_exchange.is_some(),
            keep_dead: keep_dead(&arguments, asked, vhost),
            single_active: arguments.single_active_consumer,
            expire_anywhere: arguments.expire_anywhere,
            delivery_limit: limit,
            retry: arguments.retry,
            // Known when it is known whether the queue is durable.
            recorded: false,
        },
        expires: arguments.expires,
        consumer_timeout: arguments.consumer_timeout,
        dead_letters: arguments.dead_letter_exchange.map(|exchange| {
            let queue = asked.name.as_str().into();
            let routing_key = arguments.dead_letter_routing_key;
            Arc::new(DeadLetters { vhost: Arc::clone(vhost), queue, exchange, routing_key })
        }),
    })
}
