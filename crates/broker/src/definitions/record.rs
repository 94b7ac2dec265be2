//! Owns the records of definitions in the store: a key (see [`Key`]) and a value.
//!
//! ```text
//! value = version (1 octet), { part }            what the key says is not repeated
//!
//! vhost        description, tags, default queue type ("" for none), limits (JSON)
//! user         algorithm (1 octet: 0 none, 1 SHA-256, 2 SHA-512, 3 MD5), salt and digest, tags, limits (JSON)
//! permissions  configure, write, read
//! exchange     type, flags (1 octet: 1 durable, 2 auto-delete, 4 internal), number (u64), arguments (wire form)
//! queue        flags (1 octet: 1 durable, 2 auto-delete), number (u64), arguments (wire form)
//! binding      nothing
//! policy, operator policy        pattern, apply-to, priority (i64), definition (JSON)
//! parameter, global parameter    value (JSON)
//! ```
//! The version is 2 for exchanges and queues, whose version 1 has no number, and for users, whose version 1 has no limits; it is
//! 1 for everything else.
//! Texts and octets stand behind their length (u32), lists of texts behind their number (u32).
//!
//! Invariant: decoding gives back the record that was encoded, and anything else is an error.

use serde_json::{Map, Value};
use thiserror::Error;
use warrenmq_wire::table::TableError;

use super::codec::{Reader, put_octets, put_table, put_text, put_texts, put_u64};
use super::{
    Binding, DestinationType, Exchange, GlobalParameter, Key, Parameter, Queue, UserPermissions, Vhost, key,
};
use crate::access::{HashingAlgorithm, PasswordHash, Pattern, PatternError, User};
use crate::policy::{ApplyTo, InvalidPolicy, Policy, PolicyKind};

/// The first version of a value.
const VERSION: u8 = 1;
/// The version of exchanges and queues: with their number.
const NUMBERED_VERSION: u8 = 2;
/// The version of users: with their limits.
const USER_VERSION: u8 = 2;

const DURABLE: u8 = 1;
const AUTO_DELETE: u8 = 2;
const INTERNAL: u8 = 4;

/// A stored definition.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A vhost.
    Vhost(Vhost),
    /// A user.
    User(User),
    /// The permissions of a user in a vhost.
    Permissions(UserPermissions),
    /// An exchange.
    Exchange(Exchange),
    /// A queue.
    Queue(Queue),
    /// A binding.
    Binding(Binding),
    /// A policy of that kind.
    Policy(PolicyKind, Policy),
    /// A runtime parameter.
    Parameter(Parameter),
    /// A runtime parameter of the whole node.
    GlobalParameter(GlobalParameter),
}

/// Why octets are not a record.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The first octet of the key is none of the kinds.
    #[error("unknown kind of definition {0}")]
    UnknownKind(u8),
    /// The value was written by a newer version.
    #[error("unknown version {0} of a definition")]
    UnknownVersion(u8),
    /// A length reaches beyond the end.
    #[error("definition is truncated")]
    Truncated,
    /// There is more than the record.
    #[error("{0} octets behind the end of a definition")]
    TrailingOctets(usize),
    /// A text is not UTF-8.
    #[error("a text of a definition is not UTF-8")]
    NotUtf8,
    /// Flags, an algorithm or a destination type that do not exist.
    #[error("unknown code {0:#04x} in a definition")]
    UnknownCode(u8),
    /// Limits that are not a JSON object.
    #[error("limits of a vhost or a user are not a JSON object")]
    BadLimits,
    /// A definition of a policy, or a value of a parameter, that is not JSON.
    #[error("a policy or a parameter is not JSON")]
    BadJson,
    /// A policy that applies to what does not exist.
    #[error("{}", .0.0)]
    ApplyTo(InvalidPolicy),
    /// Arguments that are not a table.
    #[error("arguments of a definition: {0}")]
    Table(#[from] TableError),
    /// A permission that does not compile.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl Record {
    /// What it is of.
    pub fn key(&self) -> Key<'_> {
        match self {
            Self::Vhost(vhost) => Key::Vhost { name: &vhost.name },
            Self::User(user) => Key::User { name: &user.name },
            Self::Permissions(permissions) => {
                Key::Permissions { vhost: &permissions.vhost, user: &permissions.user }
            }
            Self::Exchange(exchange) => Key::Exchange { vhost: &exchange.vhost, name: &exchange.name },
            Self::Queue(queue) => Key::Queue { vhost: &queue.vhost, name: &queue.name },
            Self::Binding(binding) => Key::from(binding),
            Self::Policy(kind, policy) => {
                Key::Policy { kind: *kind, vhost: &policy.vhost, name: &policy.name }
            }
            Self::Parameter(Parameter { component, vhost, name, .. }) => {
                Key::Parameter { vhost, component, name }
            }
            Self::GlobalParameter(parameter) => Key::GlobalParameter { name: &parameter.name },
        }
    }

    /// The octets of its value.
    pub fn encode_value(&self) -> Vec<u8> {
        let mut out = vec![match self {
            Self::Exchange(_) | Self::Queue(_) => NUMBERED_VERSION,
            Self::User(_) => USER_VERSION,
            _ => VERSION,
        }];
        match self {
            Self::Vhost(vhost) => {
                put_text(&mut out, &vhost.description);
                put_texts(&mut out, &vhost.tags);
                put_text(&mut out, vhost.default_queue_type.as_deref().unwrap_or_default());
                put_object(&mut out, &vhost.limits);
            }
            Self::User(user) => {
                let (algorithm, octets) = match &user.password_hash {
                    None => (0, &[][..]),
                    Some(hash) => (algorithm_code(hash.algorithm()), hash.as_bytes()),
                };
                out.push(algorithm);
                put_octets(&mut out, octets);
                put_texts(&mut out, &user.tags);
                put_object(&mut out, &user.limits);
            }
            Self::Permissions(permissions) => {
                for pattern in [&permissions.configure, &permissions.write, &permissions.read] {
                    put_text(&mut out, pattern.as_str());
                }
            }
            Self::Exchange(exchange) => {
                put_text(&mut out, &exchange.kind);
                out.push(flags(&[
                    (exchange.durable, DURABLE),
                    (exchange.auto_delete, AUTO_DELETE),
                    (exchange.internal, INTERNAL),
                ]));
                put_u64(&mut out, exchange.number);
                put_table(&mut out, &exchange.arguments);
            }
            Self::Queue(queue) => {
                out.push(flags(&[(queue.durable, DURABLE), (queue.auto_delete, AUTO_DELETE)]));
                put_u64(&mut out, queue.id);
                put_table(&mut out, &queue.arguments);
            }
            Self::Binding(_) => {}
            Self::Policy(_, policy) => {
                put_text(&mut out, policy.pattern.as_str());
                put_text(&mut out, policy.apply_to.name());
                put_u64(&mut out, policy.priority.cast_unsigned());
                put_object(&mut out, &policy.definition);
            }
            Self::Parameter(Parameter { value, .. })
            | Self::GlobalParameter(GlobalParameter { value, .. }) => {
                put_text(&mut out, &value.to_string());
            }
        }
        out
    }

    /// Reads a record from the octets of its key and its value.
    ///
    /// # Errors
    /// [`RecordError`]; these octets were not written by this version.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, RecordError> {
        let (mut key, mut value) = (Reader::new(key), Reader::new(value));
        let kind = key.octet()?;
        let version = value.octet()?;
        let newest = match kind {
            key::EXCHANGE | key::QUEUE => NUMBERED_VERSION,
            key::USER => USER_VERSION,
            _ => VERSION,
        };
        if !(VERSION..=newest).contains(&version) {
            return Err(RecordError::UnknownVersion(version));
        }
        let record = match kind {
            key::VHOST => Self::Vhost(vhost(&mut key, &mut value)?),
            key::USER => Self::User(user(&mut key, &mut value, version)?),
            key::PERMISSIONS => Self::Permissions(permissions(&mut key, &mut value)?),
            key::EXCHANGE => Self::Exchange(exchange(&mut key, &mut value, version)?),
            key::QUEUE => Self::Queue(queue(&mut key, &mut value, version)?),
            key::BINDING => Self::Binding(binding(&mut key)?),
            key::POLICY => Self::Policy(PolicyKind::User, policy(&mut key, &mut value)?),
            key::OPERATOR_POLICY => Self::Policy(PolicyKind::Operator, policy(&mut key, &mut value)?),
            key::PARAMETER => Self::Parameter(Parameter {
                vhost: key.text()?,
                component: key.text()?,
                name: key.text()?,
                value: json(&mut value)?,
            }),
            key::GLOBAL_PARAMETER => {
                Self::GlobalParameter(GlobalParameter { name: key.text()?, value: json(&mut value)? })
            }
            kind => return Err(RecordError::UnknownKind(kind)),
        };
        key.end()?;
        value.end()?;
        Ok(record)
    }
}

fn vhost(key: &mut Reader<'_>, value: &mut Reader<'_>) -> Result<Vhost, RecordError> {
    Ok(Vhost {
        name: key.text()?,
        description: value.text()?,
        tags: value.texts()?,
        default_queue_type: Some(value.text()?).filter(|kind| !kind.is_empty()),
        limits: limits(value)?,
    })
}

fn user(key: &mut Reader<'_>, value: &mut Reader<'_>, version: u8) -> Result<User, RecordError> {
    let algorithm = algorithm(value.octet()?)?;
    let octets = value.octets()?;
    if algorithm.is_none() && !octets.is_empty() {
        return Err(RecordError::TrailingOctets(octets.len()));
    }
    Ok(User {
        name: key.text()?,
        password_hash: algorithm.map(|algorithm| PasswordHash::from_bytes(algorithm, octets.to_vec())),
        tags: value.texts()?,
        limits: if version == USER_VERSION { limits(value)? } else { Map::new() },
    })
}

fn limits(value: &mut Reader<'_>) -> Result<Map<String, Value>, RecordError> {
    serde_json::from_slice(value.octets()?).map_err(|_| RecordError::BadLimits)
}

fn json<T: serde::de::DeserializeOwned>(value: &mut Reader<'_>) -> Result<T, RecordError> {
    serde_json::from_slice(value.octets()?).map_err(|_| RecordError::BadJson)
}

fn put_object(out: &mut Vec<u8>, object: &Map<String, Value>) {
    put_text(out, &Value::Object(object.clone()).to_string());
}

fn permissions(key: &mut Reader<'_>, value: &mut Reader<'_>) -> Result<UserPermissions, RecordError> {
    Ok(UserPermissions {
        vhost: key.text()?,
        user: key.text()?,
        configure: Pattern::new(&value.text()?)?,
        write: Pattern::new(&value.text()?)?,
        read: Pattern::new(&value.text()?)?,
    })
}

fn exchange(key: &mut Reader<'_>, value: &mut Reader<'_>, version: u8) -> Result<Exchange, RecordError> {
    let kind = value.text()?;
    let flags = known_flags(value.octet()?, DURABLE | AUTO_DELETE | INTERNAL)?;
    let number = number(value, version)?;
    Ok(Exchange {
        vhost: key.text()?,
        name: key.text()?,
        kind,
        durable: flags & DURABLE != 0,
        auto_delete: flags & AUTO_DELETE != 0,
        internal: flags & INTERNAL != 0,
        arguments: value.table()?,
        number,
    })
}

fn queue(key: &mut Reader<'_>, value: &mut Reader<'_>, version: u8) -> Result<Queue, RecordError> {
    let flags = known_flags(value.octet()?, DURABLE | AUTO_DELETE)?;
    let id = number(value, version)?;
    Ok(Queue {
        vhost: key.text()?,
        name: key.text()?,
        durable: flags & DURABLE != 0,
        auto_delete: flags & AUTO_DELETE != 0,
        arguments: value.table()?,
        id,
    })
}

fn number(value: &mut Reader<'_>, version: u8) -> Result<u64, RecordError> {
    if version == NUMBERED_VERSION { value.u64() } else { Ok(0) }
}

fn binding(key: &mut Reader<'_>) -> Result<Binding, RecordError> {
    Ok(Binding {
        vhost: key.text()?,
        source: key.text()?,
        destination_type: match key.octet()? {
            b'q' => DestinationType::Queue,
            b'e' => DestinationType::Exchange,
            code => return Err(RecordError::UnknownCode(code)),
        },
        destination: key.text()?,
        routing_key: key.text()?,
        arguments: key.table()?,
    })
}

/// Its definition was looked at when it was set; which keys there are may have changed since.
fn policy(key: &mut Reader<'_>, value: &mut Reader<'_>) -> Result<Policy, RecordError> {
    Ok(Policy {
        vhost: key.text()?,
        name: key.text()?,
        pattern: Pattern::of_policy(&value.text()?)?,
        apply_to: ApplyTo::from_name(&value.text()?).map_err(RecordError::ApplyTo)?,
        priority: value.u64()?.cast_signed(),
        definition: json(value)?,
    })
}

fn algorithm_code(algorithm: HashingAlgorithm) -> u8 {
    match algorithm {
        HashingAlgorithm::Sha256 => 1,
        HashingAlgorithm::Sha512 => 2,
        HashingAlgorithm::Md5 => 3,
    }
}

fn algorithm(code: u8) -> Result<Option<HashingAlgorithm>, RecordError> {
    Ok(Some(match code {
        0 => return Ok(None),
        1 => HashingAlgorithm::Sha256,
        2 => HashingAlgorithm::Sha512,
        3 => HashingAlgorithm::Md5,
        code => return Err(RecordError::UnknownCode(code)),
    }))
}

fn flags(set: &[(bool, u8)]) -> u8 {
    set.iter().filter(|(on, _)| *on).map(|(_, flag)| flag).sum()
}

fn known_flags(flags: u8, known: u8) -> Result<u8, RecordError> {
    if flags & !known == 0 { Ok(flags) } else { Err(RecordError::UnknownCode(flags)) }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use warrenmq_wire::method::{AMQPValue, ByteArray, DecimalValue, FieldTable, ShortString};

    use super::*;

    /// Every type that a field table on the wire has; floating-point numbers are compared, so they are not NaN.
    fn value() -> impl Strategy<Value = AMQPValue> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(AMQPValue::Boolean),
            any::<i8>().prop_map(AMQPValue::ShortShortInt),
            any::<u8>().prop_map(AMQPValue::ShortShortUInt),
            any::<i16>().prop_map(AMQPValue::ShortInt),
            any::<u16>().prop_map(AMQPValue::ShortUInt),
            any::<i32>().prop_map(AMQPValue::LongInt),
            any::<u32>().prop_map(AMQPValue::LongUInt),
            any::<i64>().prop_map(AMQPValue::LongLongInt),
            any::<f32>().prop_map(AMQPValue::Float),
            any::<f64>().prop_map(AMQPValue::Double),
            (any::<u8>(), any::<u32>())
                .prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
            vec(any::<u8>(), 0..20).prop_map(|octets| AMQPValue::LongString(octets.into())),
            vec(any::<u8>(), 0..20).prop_map(|octets| AMQPValue::ByteArray(ByteArray::from(octets))),
            any::<u64>().prop_map(AMQPValue::Timestamp),
            Just(AMQPValue::Void),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(|values| AMQPValue::FieldArray(values.into())),
                vec((text(), inner), 0..4).prop_map(|entries| AMQPValue::FieldTable(to_table(entries))),
            ]
        })
    }

    fn table() -> impl Strategy<Value = FieldTable> {
        vec((text(), value()), 0..5).prop_map(to_table)
    }

    fn to_table(entries: Vec<(String, AMQPValue)>) -> FieldTable {
        let mut table = FieldTable::default();
        for (key, value) in entries {
            table.insert(ShortString::try_new(key).unwrap(), value);
        }
        table
    }

    fn text() -> impl Strategy<Value = String> {
        vec(any::<char>(), 0..8).prop_map(String::from_iter)
    }

    fn set_by_operators(pattern: impl Strategy<Value = Pattern>) -> impl Strategy<Value = Record> {
        prop_oneof![
            (any::<bool>(), text(), text(), pattern, any::<i64>(), text()).prop_map(
                |(operator, vhost, name, pattern, priority, value)| {
                    let kind = if operator { PolicyKind::Operator } else { PolicyKind::User };
                    let definition = [(name.clone(), value.into())].into_iter().collect();
                    let apply_to = if priority < 0 { ApplyTo::All } else { ApplyTo::QuorumQueues };
                    Record::Policy(kind, Policy { vhost, name, pattern, apply_to, definition, priority })
                }
            ),
            (text(), text(), text(), text()).prop_map(|(component, vhost, name, value)| {
                Record::Parameter(Parameter { component, vhost, name, value: value.into() })
            }),
            (text(), any::<i64>()).prop_map(|(name, value)| {
                Record::GlobalParameter(GlobalParameter { name, value: vec![value].into() })
            }),
        ]
    }

    fn record() -> impl Strategy<Value = Record> {
        let algorithm = prop_oneof![
            Just(HashingAlgorithm::Sha256),
            Just(HashingAlgorithm::Sha512),
            Just(HashingAlgorithm::Md5)
        ];
        let hash = (algorithm, vec(any::<u8>(), 0..70))
            .prop_map(|(algorithm, octets)| PasswordHash::from_bytes(algorithm, octets));
        let pattern = prop_oneof![Just(""), Just(".*"), Just("^a(?!b)"), Just("é")]
            .prop_map(|source| Pattern::new(source).unwrap());
        let destination = prop_oneof![Just(DestinationType::Queue), Just(DestinationType::Exchange)];
        prop_oneof![
            (text(), text(), vec(text(), 0..3), proptest::option::of("[a-z]{1,9}"), any::<i32>()).prop_map(
                |(name, description, tags, default_queue_type, limit)| {
                    let limits = [("max-queues".to_owned(), limit.into())].into_iter().collect();
                    Record::Vhost(Vhost { name, description, tags, default_queue_type, limits })
                }
            ),
            (text(), proptest::option::of(hash), vec(text(), 0..3), any::<i32>()).prop_map(
                |(name, password_hash, tags, limit)| {
                    let limits = [("max-channels".to_owned(), limit.into())].into_iter().collect();
                    Record::User(User { name, password_hash, tags, limits })
                }
            ),
            set_by_operators(pattern.clone()),
            (text(), text(), pattern.clone(), pattern.clone(), pattern).prop_map(
                |(user, vhost, configure, write, read)| {
                    Record::Permissions(UserPermissions { user, vhost, configure, write, read })
                }
            ),
            (text(), text(), text(), any::<[bool; 3]>(), table(), any::<u64>()).prop_map(
                |(name, vhost, kind, [durable, auto_delete, internal], arguments, number)| {
                    Record::Exchange(Exchange {
                        name,
                        vhost,
                        kind,
                        durable,
                        auto_delete,
                        internal,
                        arguments,
                        number,
                    })
                }
            ),
            (text(), text(), any::<[bool; 2]>(), table(), any::<u64>()).prop_map(
                |(name, vhost, [durable, auto_delete], arguments, id)| {
                    Record::Queue(Queue { name, vhost, durable, auto_delete, arguments, id })
                }
            ),
            (text(), text(), text(), destination, text(), table()).prop_map(
                |(source, vhost, destination, destination_type, routing_key, arguments)| {
                    Record::Binding(Binding {
                        source,
                        vhost,
                        destination,
                        destination_type,
                        routing_key,
                        arguments,
                    })
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn what_is_stored_comes_back(record in record()) {
            let (key, value) = (record.key().encode(), record.encode_value());
            let read = Record::decode(&key, &value).unwrap();
            prop_assert_eq!(&read, &record);
            prop_assert_eq!(read.key().encode(), key);
            prop_assert_eq!(read.encode_value(), value);
        }

        #[test]
        fn every_cut_is_an_error(record in record(), at in any::<prop::sample::Index>()) {
            let (key, value) = (record.key().encode(), record.encode_value());
            prop_assert!(Record::decode(&key[..at.index(key.len())], &value).is_err());
            prop_assert!(Record::decode(&key, &value[..at.index(value.len())]).is_err());
            prop_assert!(Record::decode(&[&key[..], b"x"].concat(), &value).is_err());
            prop_assert!(Record::decode(&key, &[&value[..], b"x"].concat()).is_err());
        }

        #[test]
        fn any_octets_are_a_record_or_an_error(key in vec(0u8..12, 0..40), value in vec(0u8..8, 0..40)) {
            if let Ok(record) = Record::decode(&key, &value) {
                prop_assert_eq!(record.key().encode(), key);
            }
        }
    }

    #[test]
    fn a_nan_keeps_its_bits() {
        let nan = f64::from_bits(0x7ff8_dead_beef_0001);
        let arguments = to_table(vec![("k".to_owned(), AMQPValue::Double(nan))]);
        let queue = Record::Queue(Queue {
            name: "q".to_owned(),
            vhost: "/".to_owned(),
            durable: true,
            auto_delete: false,
            arguments,
            id: 0,
        });
        let value = queue.encode_value();
        assert!(value.ends_with(&nan.to_be_bytes()));
        assert_eq!(Record::decode(&queue.key().encode(), &value).unwrap().encode_value(), value);
    }

    #[test]
    fn queues_of_version_1_have_no_number_yet() {
        let key = b"\x05\0\0\0\x01/\0\0\0\x01q";
        // (value, number)
        let cases: &[(&[u8], u64)] = &[
            (b"\x01\x03\0\0\0\0", 0),
            (b"\x02\x03\0\0\0\0\0\0\x01\x02\0\0\0\0", 258),
            (b"\x02\x03\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", u64::MAX),
        ];
        for (value, id) in cases {
            let Record::Queue(queue) = Record::decode(key, value).unwrap() else { panic!("not a queue") };
            assert_eq!((queue.durable, queue.auto_delete, queue.id), (true, true, *id));
            let written = Record::Queue(queue).encode_value();
            assert_eq!(written[0], NUMBERED_VERSION);
            if value[0] == NUMBERED_VERSION {
                assert_eq!(written, *value);
            }
        }
    }

    #[test]
    fn exchanges_of_version_1_have_no_number() {
        let key = b"\x04\0\0\0\x01/\0\0\0\x01x";
        // (value, number)
        let cases: &[(&[u8], u64)] = &[
            (b"\x01\0\0\0\x05topic\x05\0\0\0\0", 0),
            (b"\x02\0\0\0\x05topic\x05\0\0\0\0\0\0\x01\x02\0\0\0\0", 258),
        ];
        for (value, number) in cases {
            let Record::Exchange(x) = Record::decode(key, value).unwrap() else { panic!("not an exchange") };
            assert_eq!((x.kind.as_str(), x.durable, x.internal, x.number), ("topic", true, true, *number));
            let written = Record::Exchange(x).encode_value();
            assert_eq!(written[0], NUMBERED_VERSION);
            if value[0] == NUMBERED_VERSION {
                assert_eq!(written, *value);
            }
        }
    }

    #[test]
    fn users_of_version_1_have_no_limits_yet() {
        let key = b"\x02\0\0\0\x01u";
        // (value, limits)
        let cases: &[(&[u8], usize)] =
            &[(b"\x01\0\0\0\0\0\0\0\0\0", 0), (b"\x02\0\0\0\0\0\0\0\0\0\0\0\0\x12{\"max-channels\":1}", 1)];
        for (value, limits) in cases {
            let Record::User(user) = Record::decode(key, value).unwrap() else { panic!("not a user") };
            assert_eq!(user.limits.len(), *limits);
            assert_eq!(Record::User(user).encode_value()[0], USER_VERSION);
        }
    }

    #[test]
    fn damage_is_named() {
        // (key, value, what is wrong)
        let cases: &[(&[u8], &[u8], RecordError)] = &[
            (b"\x0b", b"\x01", RecordError::UnknownKind(11)),
            (b"\x02\0\0\0\x01u", b"\x03", RecordError::UnknownVersion(3)),
            (b"\x0a\0\0\0\x01g", b"\x01\0\0\0\x01?", RecordError::BadJson),
            (b"\x01\0\0\0\x01/", b"\x02", RecordError::UnknownVersion(2)),
            (b"\x05\0\0\0\x01/\0\0\0\x01q", b"\x03", RecordError::UnknownVersion(3)),
            (b"\x05\0\0\0\x01/\0\0\0\x01q", b"\x02\x01\0\0\0\0\0", RecordError::Truncated),
            (b"", b"\x01", RecordError::Truncated),
            (b"\x01\0\0\0\x01/", b"", RecordError::Truncated),
            (b"\x05\0\0\0\x01/\0\0\0\x01q", b"\x01\x04\0\0\0\0", RecordError::UnknownCode(4)),
            (b"\x05\0\0\0\x01/\0\0\0\x01q", b"\x01\x01\0\0\0\0!", RecordError::TrailingOctets(1)),
            (b"\x05\0\0\0\x01/\0\0\0\x01\xff", b"\x01\x01\0\0\0\0", RecordError::NotUtf8),
            (b"\x02\0\0\0\x01u", b"\x01\x04\0\0\0\0\0\0\0\0", RecordError::UnknownCode(4)),
            (b"\x02\0\0\0\x01u", b"\x01\0\0\0\0\x01h\0\0\0\0", RecordError::TrailingOctets(1)),
            (b"\x01\0\0\0\x01/", b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01?", RecordError::BadLimits),
        ];
        for (key, value, error) in cases {
            assert_eq!(Record::decode(key, value), Err(error.clone()), "{}", key.escape_ascii());
        }
        let odd = b"\x01\0\0\0\0\0\0\0\x01q\0\0\0\0\0\0\0\0\0\0\0\x02{}";
        let error = Record::decode(b"\x07\0\0\0\x01/\0\0\0\x01p", odd).unwrap_err().to_string();
        assert!(error.starts_with("apply-to 'q' unrecognised"), "{error}");
        let broken = b"\x01\0\0\0\x01(\0\0\0\0\0\0\0\0";
        let error = Record::decode(b"\x03\0\0\0\x01/\0\0\0\x01u", broken).unwrap_err();
        assert_eq!(error.to_string(), "invalid regular expression '(': unclosed group");
    }
}
