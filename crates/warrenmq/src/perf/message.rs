//! What makes messages differ: routing keys, properties and headers that change from message to message.
//!
//! Invariant: everything is known before the run. Message `n` of a producer has key `n mod keys` and property set
//! `n mod sets`, so the messages repeat after [`MessageArgs::period`], and as many are prepared.

use std::str::FromStr;

use amq_protocol::types::{AMQPValue, FieldTable, ShortString};
use clap::Args;
use warrenmq_wire::method::BasicProperties;

use super::pattern::Pattern;

/// Arguments of scenarios that publish.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct MessageArgs {
    /// Routing keys with %d, or %0Nd, for a number that goes from 1 to --routing-keys, message after message.
    #[arg(long, value_name = "PATTERN", help_heading = "Messages", requires = "routing_keys",
          conflicts_with_all = ["routing_key", "alternate"])]
    pub(crate) routing_key_pattern: Option<Pattern>,
    /// Number of routing keys of the pattern.
    #[arg(long, value_name = "N", help_heading = "Messages", requires = "routing_key_pattern",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) routing_keys: Option<u32>,
    /// Properties as KEY=VALUE,...; names that are no property are headers. A %d in a value is a number that goes from 1
    /// to --header-sets, message after message; a header that is a number or true/false is sent as one.
    #[arg(
        long,
        visible_alias = "message-headers",
        value_name = "PROPERTIES",
        help_heading = "Messages",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) message_properties: Properties,
    /// How many different sets of properties and headers there are.
    #[arg(long, value_name = "N", help_heading = "Messages", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) header_sets: u32,
}

impl MessageArgs {
    /// The routing keys of the pattern, if there is one.
    pub(crate) fn keys(&self) -> Option<Vec<String>> {
        let pattern = self.routing_key_pattern.as_ref()?;
        Some((1..=self.routing_keys.unwrap_or(1)).map(|number| pattern.fill(number)).collect())
    }

    /// All sets of properties, in turn; without a delivery mode of their own they are as `persistent` says.
    ///
    /// # Errors
    /// A sentence about a value that its property cannot have.
    pub(crate) fn properties(&self, persistent: bool) -> Result<Vec<BasicProperties>, String> {
        let base = BasicProperties::default();
        let base = if persistent { base.with_delivery_mode(2) } else { base };
        (1..=self.header_sets).map(|number| self.message_properties.fill(&base, number)).collect()
    }

    /// After how many messages they repeat, when there are `keys` routing keys.
    pub(crate) fn period(&self, keys: usize) -> u64 {
        let (keys, sets) = (keys.max(1) as u64, u64::from(self.header_sets.max(1)));
        keys / greatest_common_divisor(keys, sets) * sets
    }
}

/// Properties and headers by name, their values as texts that may have a place for a number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Properties(Vec<(String, String)>);

impl Properties {
    /// The set of this number.
    fn fill(&self, base: &BasicProperties, number: u32) -> Result<BasicProperties, String> {
        let mut properties = base.clone();
        let mut headers = FieldTable::default();
        for (key, value) in &self.0 {
            let value =
                Pattern::from_str(value).map_or_else(|_| value.clone(), |pattern| pattern.fill(number));
            properties = match property(properties, key, &value)? {
                Ok(properties) => properties,
                Err(properties) => {
                    headers.insert(short(key)?, header(&value));
                    properties
                }
            };
        }
        Ok(if headers.inner().is_empty() { properties } else { properties.with_headers(headers) })
    }
}

impl FromStr for Properties {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = |pair: &str| match pair.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(format!("{pair:?} is not KEY=VALUE")),
        };
        text.split(',').filter(|pair| !pair.is_empty()).map(pair).collect::<Result<_, _>>().map(Self)
    }
}

/// A value of a table: a number or a truth if it looks like one.
pub(crate) fn header(value: &str) -> AMQPValue {
    match (value.parse::<i64>(), value.parse::<bool>()) {
        (Ok(number), _) => AMQPValue::LongLongInt(number),
        (_, Ok(truth)) => AMQPValue::Boolean(truth),
        _ => AMQPValue::LongString(value.into()),
    }
}

/// A text of at most 255 octets.
pub(crate) fn short(text: &str) -> Result<ShortString, String> {
    ShortString::try_new(text).map_err(|_| format!("longer than 255 octets: {text}"))
}

/// Sets the property `key`, written as PerfTest does (`replyTo`) or as AMQP does (`reply-to`). The inner `Err` gives the
/// properties back when there is none of that name.
fn property(
    properties: BasicProperties,
    key: &str,
    value: &str,
) -> Result<Result<BasicProperties, BasicProperties>, String> {
    let number = |max: u64| match value.parse() {
        Ok(number) if number <= max => Ok(number),
        _ => Err(format!("{key}={value} is not a number from 0 to {max}")),
    };
    let octet = || Ok::<_, String>(number(255)? as u8);
    let name: String = key.chars().filter(|letter| *letter != '-').collect();
    Ok(Ok(match name.to_ascii_lowercase().as_str() {
        "contenttype" => properties.with_content_type(short(value)?),
        "contentencoding" => properties.with_content_encoding(short(value)?),
        "deliverymode" => properties.with_delivery_mode(octet()?),
        "priority" => properties.with_priority(octet()?),
        "correlationid" => properties.with_correlation_id(short(value)?),
        "replyto" => properties.with_reply_to(short(value)?),
        "expiration" => properties.with_expiration(short(value)?),
        "messageid" => properties.with_message_id(short(value)?),
        "timestamp" => properties.with_timestamp(number(u64::MAX)?),
        "type" => properties.with_type(short(value)?),
        "userid" => properties.with_user_id(short(value)?),
        "appid" => properties.with_app_id(short(value)?),
        "clusterid" => properties.with_cluster_id(short(value)?),
        _ => return Ok(Err(properties)),
    }))
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(properties: &str, header_sets: u32) -> MessageArgs {
        let message_properties = Properties::from_str(properties).unwrap();
        MessageArgs { message_properties, header_sets, ..MessageArgs::default() }
    }

    #[test]
    fn sets_in_turn() {
        let sets = args("priority=%d,replyTo=r,reply-to=s,kind=a%02d,count=%d,flag=true", 2)
            .properties(false)
            .unwrap();
        for (number, set) in (1..).zip(&sets) {
            assert_eq!(set.priority(), &Some(number));
            assert_eq!(set.reply_to().as_ref().map(ShortString::as_str), Some("s"));
            let headers = set.headers().as_ref().unwrap().inner();
            assert_eq!(headers["kind"], AMQPValue::LongString(format!("a0{number}").into()));
            assert_eq!(headers["count"], AMQPValue::LongLongInt(number.into()));
            assert_eq!(headers["flag"], AMQPValue::Boolean(true));
            assert_eq!(headers.len(), 3);
        }
        assert_eq!(sets.len(), 2);
        let modes = |properties, persistent| {
            let sets = args(properties, 1).properties(persistent).unwrap();
            sets.iter().map(|set| *set.delivery_mode()).collect::<Vec<_>>()
        };
        assert_eq!(args("", 1).properties(false).unwrap(), [BasicProperties::default()]);
        assert_eq!(modes("", true), [Some(2)]);
        assert_eq!(modes("deliveryMode=1", true), [Some(1)]);
    }

    #[test]
    fn values_that_a_property_cannot_have() {
        let long = "x".repeat(256);
        let cases = [
            ("priority=256", "0 to 255"),
            ("timestamp=now", "not a number"),
            ("deliveryMode=-1", "not a number"),
        ];
        for (properties, message) in cases {
            let error = args(properties, 1).properties(false).expect_err(properties);
            assert!(error.contains(message), "{error}");
        }
        assert!(args("priority=%d", 255).properties(false).is_ok());
        assert!(args("priority=%d", 256).properties(false).is_err());
        assert!(args(&format!("type={long}"), 1).properties(false).is_err());
        assert!(args(&format!("{long}=1"), 1).properties(false).is_err());
        assert!(Properties::from_str("a").is_err());
    }

    #[test]
    fn periods() {
        for (keys, sets, period) in
            [(1, 1, 1), (0, 1, 1), (10, 1, 10), (1, 7, 7), (4, 6, 12), (100, 101, 10_100)]
        {
            assert_eq!(args("", sets).period(keys), period, "{keys} keys, {sets} sets");
        }
    }
}
