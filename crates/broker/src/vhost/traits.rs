//! What the arguments of queue.declare make of a queue, and RabbitMQ's refusals of wrong ones.
//!
//! Invariant: a value that is refused has changed nothing; one that is accepted does what it says, or is named in the log.

use std::sync::Arc;

use warrenmq_protocol::Exception;
use warrenmq_queue::{Overflow, Settings};
use warrenmq_wire::method::AMQPValue;

use super::queues::{QueueDeclare, queue_type};
use crate::dead_letter::DeadLetters;
use crate::queue_cell::Traits;
use crate::refusal::{self, integer, string, type_name};

/// Ten years in milliseconds: RabbitMQ's bound for times to live.
const EXPIRY_MAX: i64 = 315_360_000_000;

/// Arguments that are accepted and kept but have no effect in this version.
const WITHOUT_EFFECT: [&str; 3] = ["x-max-length-bytes", "x-single-active-consumer", "x-consumer-timeout"];

/// Reads the arguments.
pub(super) fn traits(asked: &QueueDeclare, vhost: &Arc<str>) -> Result<Traits, Exception> {
    let what = refusal::queue(&asked.name, vhost);
    let arguments = asked.arguments.inner();
    let invalid =
        |key: &str, why: String| refusal::precondition(format!("invalid arg '{key}' for {what}: {why}"));
    let number = |key: &str, check: fn(i64) -> Result<i64, String>| match arguments.get(key) {
        None => Ok(None),
        Some(value) => whole(value).and_then(check).map(Some).map_err(|why| invalid(key, why)),
    };
    let text = |key: &str| match arguments.get(key).map(|value| (string(value), type_name(value))) {
        None => Ok(None),
        Some((Some(text), _)) => Ok(Some(text)),
        Some((None, kind)) => Err(invalid(key, format!("{{unacceptable_type,{kind}}}"))),
    };
    match queue_type(&asked.arguments).as_str() {
        "classic" => {}
        other => {
            let why = format!("queue type '{other}' is not supported by this version; use 'classic'");
            return Err(invalid("x-queue-type", why));
        }
    }
    let max_priority = number("x-max-priority", priority)?.unwrap_or(0);
    let message_ttl = number("x-message-ttl", expiry)?;
    let expires = number("x-expires", positive_expiry)?;
    let max_length = number("x-max-length", not_negative)?;
    let exchange = text("x-dead-letter-exchange")?;
    let routing_key = text("x-dead-letter-routing-key")?;
    if exchange.is_none() && routing_key.is_some() {
        return Err(invalid("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined".to_owned()));
    }
    let overflow = text("x-overflow")?;
    let overflow = match overflow.as_deref() {
        None | Some("drop-head") => Overflow::DropHead,
        Some("reject-publish") => Overflow::RejectPublish,
        Some("reject-publish-dlx") => Overflow::RejectPublishDlx,
        Some(_) => return Err(invalid("x-overflow", "invalid_overflow".to_owned())),
    };
    warn_of_missing(asked, &what);
    Ok(Traits {
        settings: Settings {
            max_priority: u8::try_from(max_priority).unwrap_or(u8::MAX),
            message_ttl: message_ttl.map(i64::unsigned_abs),
            max_length: max_length.map(i64::unsigned_abs),
            overflow,
            dead_letters: exchange.is_some(),
            // Known when it is known whether the queue is durable.
            recorded: false,
        },
        expires: expires.map(i64::unsigned_abs),
        dead_letters: exchange.map(|exchange| {
            let queue = asked.name.as_str().into();
            Arc::new(DeadLetters { vhost: Arc::clone(vhost), queue, exchange, routing_key })
        }),
    })
}

fn warn_of_missing(asked: &QueueDeclare, what: &refusal::Named<'_>) {
    for key in WITHOUT_EFFECT {
        if asked.arguments.contains_key(key) {
            tracing::warn!("{what}: argument '{key}' has no effect in this version");
        }
    }
}

fn whole(value: &AMQPValue) -> Result<i64, String> {
    integer(value).ok_or_else(|| format!("{{unacceptable_type,{}}}", type_name(value)))
}

fn not_negative(number: i64) -> Result<i64, String> {
    if number < 0 { Err(format!("{{value_negative,{number}}}")) } else { Ok(number) }
}

fn expiry(number: i64) -> Result<i64, String> {
    let number = not_negative(number)?;
    if number > EXPIRY_MAX { Err(format!("{{value_too_large,{number}}}")) } else { Ok(number) }
}

fn positive_expiry(number: i64) -> Result<i64, String> {
    if number == 0 { Err("{value_zero,0}".to_owned()) } else { expiry(number) }
}

fn priority(number: i64) -> Result<i64, String> {
    let number = not_negative(number)?;
    if number > 255 { Err(format!("{{max_value_exceeded,{number}}}")) } else { Ok(number) }
}
