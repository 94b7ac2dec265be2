//! The arguments of queue.declare, read and checked; RabbitMQ's refusals of wrong ones.
//!
//! Invariant: what is refused has changed nothing. Checks come in the order of `rabbit_amqqueue:declare_args/0`, because the first
//! refusal is the one that the client sees.

use warrenmq_protocol::{Exception, Millis};
use warrenmq_queue::{Overflow, Retry, RetryWhen};
use warrenmq_wire::method::{AMQPValue, FieldTable};

use super::queue_type::QueueType;
use crate::refusal::{self, integer, string, type_name};

/// Ten years in milliseconds: RabbitMQ's bound for times to live.
const EXPIRY_MAX: i64 = 315_360_000_000;
/// RabbitMQ's bound for the number of priorities.
const PRIORITY_MAX: i64 = 255;

/// What a queue is declared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueArguments {
    pub(crate) queue_type: QueueType,
    /// Milliseconds without use after which the queue goes.
    pub(crate) expires: Option<Millis>,
    pub(crate) message_ttl: Option<Millis>,
    pub(crate) dead_letter_exchange: Option<String>,
    pub(crate) dead_letter_routing_key: Option<String>,
    pub(crate) dead_letter_strategy: Option<DeadLetterStrategy>,
    pub(crate) max_length: Option<u64>,
    pub(crate) max_length_bytes: Option<u64>,
    pub(crate) max_priority: u8,
    pub(crate) overflow: Option<Overflow>,
    pub(crate) single_active_consumer: bool,
    /// Milliseconds; 0 is a value like others.
    pub(crate) consumer_timeout: Option<Millis>,
    /// Negative is no limit.
    pub(crate) delivery_limit: Option<i64>,
    pub(crate) retry: Option<Retry>,
    /// `x-warren-expire-anywhere`: expired messages leave wherever they stand.
    pub(crate) expire_anywhere: bool,
}

/// When a dead letter leaves a quorum queue (`x-dead-letter-strategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DeadLetterStrategy {
    /// When it dies.
    #[default]
    AtMostOnce,
    /// When all queues that it goes to have it.
    AtLeastOnce,
}

impl QueueArguments {
    /// Reads the arguments of the queue `what`.
    ///
    /// # Errors
    /// 406 with RabbitMQ's text.
    pub(super) fn read(
        arguments: &FieldTable,
        what: refusal::Named<'_>,
    ) -> Result<QueueArguments, Exception> {
        let queue_type = QueueType::of(arguments, what)?;
        let reader = Reader { arguments, what, queue_type };
        let expires = reader.number("x-expires", positive_expiry)?;
        let message_ttl = reader.number("x-message-ttl", expiry)?;
        let dead_letter_exchange = reader.text("x-dead-letter-exchange")?;
        let dead_letter_routing_key = reader.text("x-dead-letter-routing-key")?;
        if dead_letter_exchange.is_none() && dead_letter_routing_key.is_some() {
            let why = "routing_key_but_no_dlx_defined".to_owned();
            return Err(reader.invalid("x-dead-letter-routing-key", why));
        }
        let read = QueueArguments {
            queue_type,
            expires,
            message_ttl,
            dead_letter_exchange,
            dead_letter_routing_key,
            dead_letter_strategy: reader.choice(
                "x-dead-letter-strategy",
                "invalid_dlx_strategy",
                strategy,
            )?,
            max_length: reader.number("x-max-length", not_negative)?,
            max_length_bytes: reader.number("x-max-length-bytes", not_negative)?,
            max_priority: reader.number("x-max-priority", priority)?.unwrap_or(0) as u8,
            overflow: reader.choice("x-overflow", "invalid_overflow", overflow)?,
            single_active_consumer: reader
                .implementation()
                .and_then(|()| reader.flag("x-single-active-consumer"))?,
            consumer_timeout: reader.number("x-consumer-timeout", not_negative)?,
            delivery_limit: reader.integer("x-delivery-limit", Ok)?,
            retry: reader.retry()?,
            expire_anywhere: reader.flag("x-warren-expire-anywhere")?,
        };
        queue_type.check_keys(arguments, what)?;
        Ok(read)
    }
}

struct Reader<'a> {
    arguments: &'a FieldTable,
    what: refusal::Named<'a>,
    queue_type: QueueType,
}

type Check = fn(i64) -> Result<i64, String>;

impl Reader<'_> {
    fn invalid(&self, key: &str, why: String) -> Exception {
        refusal::precondition(format!("invalid arg '{key}' for {}: {why}", self.what))
    }

    /// The value, if the type of the queue knows the argument: others are refused by their name alone.
    fn value(&self, key: &str) -> Option<&AMQPValue> {
        self.arguments.inner().get(key).filter(|_| self.queue_type.arguments().any(|own| own == key))
    }

    fn integer(&self, key: &str, check: Check) -> Result<Option<i64>, Exception> {
        let Some(value) = self.value(key) else { return Ok(None) };
        whole(value).and_then(check).map(Some).map_err(|why| self.invalid(key, why))
    }

    fn number(&self, key: &str, check: Check) -> Result<Option<u64>, Exception> {
        Ok(self.integer(key, check)?.map(i64::unsigned_abs))
    }

    fn text(&self, key: &str) -> Result<Option<String>, Exception> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let wrong = || self.invalid(key, format!("{{unacceptable_type,{}}}", type_name(value)));
        string(value).map(Some).ok_or_else(wrong)
    }

    fn choice<T>(
        &self,
        key: &str,
        why: &str,
        choose: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Exception> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        choose(&text).map(Some).ok_or_else(|| self.invalid(key, why.to_owned()))
    }

    fn flag(&self, key: &str) -> Result<bool, Exception> {
        match self.value(key) {
            None => Ok(false),
            Some(AMQPValue::Boolean(flag)) => Ok(*flag),
            Some(other) => Err(self.invalid(key, format!("{{unacceptable_type,{}}}", type_name(other)))),
        }
    }

    /// `x-queue-mode` and `x-queue-version` choose between implementations that RabbitMQ has or had: they are checked and have no effect.
    fn implementation(&self) -> Result<(), Exception> {
        if let Some(mode) = self.text("x-queue-mode")?
            && !matches!(mode.as_str(), "default" | "lazy")
        {
            return Err(self.invalid("x-queue-mode", format!("\"unsupported queue mode '{mode}'\"")));
        }
        self.number("x-queue-version", version).map(|_| ())
    }

    /// `x-delayed-retry-type` with its bounds, checked as RabbitMQ 4.3 checks the policy of the same name.
    fn retry(&self) -> Result<Option<Retry>, Exception> {
        let when = self.choice("x-delayed-retry-type", "invalid_delayed_retry_type", retry_when)?;
        let min = self.number("x-delayed-retry-min", not_negative)?;
        let max = self.number("x-delayed-retry-max", not_negative)?;
        let Some(when) = when.flatten() else { return Ok(None) };
        let Some(min) = min else {
            let why = "\"delayed-retry-min is required when delayed-retry-type is set\"".to_owned();
            return Err(self.invalid("x-delayed-retry-type", why));
        };
        if let Some(max) = max
            && max < min
        {
            let why =
                format!("\"delayed-retry-max ({max}) must not be smaller than delayed-retry-min ({min})\"");
            return Err(self.invalid("x-delayed-retry-max", why));
        }
        Ok(Some(Retry { when, min, max }))
    }
}

fn strategy(name: &str) -> Option<DeadLetterStrategy> {
    match name {
        "at-most-once" => Some(DeadLetterStrategy::AtMostOnce),
        "at-least-once" => Some(DeadLetterStrategy::AtLeastOnce),
        _ => None,
    }
}

fn overflow(name: &str) -> Option<Overflow> {
    match name {
        "drop-head" => Some(Overflow::DropHead),
        "reject-publish" => Some(Overflow::RejectPublish),
        "reject-publish-dlx" => Some(Overflow::RejectPublishDlx),
        _ => None,
    }
}

fn retry_when(name: &str) -> Option<Option<RetryWhen>> {
    match name {
        "disabled" => Some(None),
        "all" => Some(Some(RetryWhen::All)),
        "failed" => Some(Some(RetryWhen::Failed)),
        "returned" => Some(Some(RetryWhen::Returned)),
        _ => None,
    }
}

fn whole(value: &AMQPValue) -> Result<i64, String> {
    integer(value).ok_or_else(|| format!("\"expected integer, got {}\"", type_name(value)))
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
    if number > PRIORITY_MAX { Err(format!("{{max_value_exceeded,{number}}}")) } else { Ok(number) }
}

fn version(number: i64) -> Result<i64, String> {
    match not_negative(number)? {
        1 | 2 => Ok(number),
        other => Err(format!("\"unsupported queue version '{other}'\"")),
    }
}

#[cfg(test)]
mod tests {
    use warrenmq_wire::method::ShortString;

    use super::*;

    fn read(entries: &[(&str, AMQPValue)]) -> Result<QueueArguments, String> {
        let mut table = FieldTable::default();
        for (key, value) in entries {
            table.insert(ShortString::try_new(*key).unwrap(), value.clone());
        }
        QueueArguments::read(&table, refusal::queue("q", "/"))
            .map_err(|refused| refused.explanation.to_string())
    }

    fn text(value: &str) -> AMQPValue {
        AMQPValue::LongString(value.into())
    }

    #[test]
    fn refusals_are_rabbitmqs() {
        let int = AMQPValue::LongInt;
        // (key, value, what stands behind "invalid arg '…' for queue 'q' in vhost '/'")
        let cases = [
            ("x-message-ttl", int(-1), ": {value_negative,-1}"),
            ("x-message-ttl", AMQPValue::LongLongInt(315_360_000_001), ": {value_too_large,315360000001}"),
            ("x-message-ttl", text("60000"), ": \"expected integer, got longstr\""),
            ("x-expires", int(0), ": {value_zero,0}"),
            ("x-max-length", AMQPValue::Double(1.0), ": \"expected integer, got double\""),
            ("x-max-length-bytes", int(-5), ": {value_negative,-5}"),
            ("x-max-priority", int(256), ": {max_value_exceeded,256}"),
            ("x-overflow", text("drop-tail"), ": invalid_overflow"),
            ("x-overflow", int(1), ": {unacceptable_type,signedint}"),
            ("x-dead-letter-exchange", int(1), ": {unacceptable_type,signedint}"),
            ("x-dead-letter-routing-key", text("k"), ": routing_key_but_no_dlx_defined"),
            ("x-single-active-consumer", text("true"), ": {unacceptable_type,longstr}"),
            ("x-queue-mode", text("eager"), ": \"unsupported queue mode 'eager'\""),
            ("x-queue-version", int(3), ": \"unsupported queue version '3'\""),
            ("x-queue-type", text("ring"), ": \"unsupported queue type 'ring'\""),
            ("x-queue-type", int(1), ": {unacceptable_type,signedint}"),
            (
                "x-queue-type",
                text("stream"),
                ": queue type 'stream' is not supported; use 'classic' or 'quorum'",
            ),
            ("x-consumer-timeout", int(-1), ": {value_negative,-1}"),
            ("x-warren-expire-anywhere", int(1), ": {unacceptable_type,signedint}"),
            ("x-delayed-retry-type", text("never"), ": invalid_delayed_retry_type"),
            ("x-delivery-limit", int(1), " of queue type rabbit_classic_queue"),
            ("x-max-age", text("1D"), " of queue type rabbit_classic_queue"),
            ("x-dead-letter-strategy", text("zzz"), " of queue type rabbit_classic_queue"),
        ];
        for (key, value, end) in cases {
            let expected = format!("invalid arg '{key}' for queue 'q' in vhost '/'{end}");
            assert_eq!(read(&[(key, value)]), Err(expected));
        }
    }

    #[test]
    fn values_are_read() {
        let int = AMQPValue::LongInt;
        let read = read(&[
            ("x-message-ttl", AMQPValue::ShortShortUInt(5)),
            ("x-max-length-bytes", int(7)),
            ("x-overflow", text("reject-publish")),
            ("x-single-active-consumer", AMQPValue::Boolean(true)),
            ("x-delayed-retry-type", text("failed")),
            ("x-delayed-retry-min", int(10)),
            ("x-queue-type", text("")),
            ("x-nobody-knows", text("this")),
        ]);
        let expected = QueueArguments {
            message_ttl: Some(5),
            max_length_bytes: Some(7),
            overflow: Some(Overflow::RejectPublish),
            single_active_consumer: true,
            retry: Some(Retry { when: RetryWhen::Failed, min: 10, max: None }),
            ..QueueArguments::default()
        };
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn retry_needs_its_bounds() {
        let int = AMQPValue::LongInt;
        let kind = [("x-delayed-retry-type", text("all"))];
        assert!(read(&kind).unwrap_err().contains("delayed-retry-min is required"));
        let crossed = [("x-delayed-retry-min", int(10)), ("x-delayed-retry-max", int(9))];
        assert!(read(&[&kind[..], &crossed].concat()).unwrap_err().contains("must not be smaller"));
        assert_eq!(read(&[("x-delayed-retry-type", text("disabled"))]), Ok(QueueArguments::default()));
    }
}
