//! Tests of records: round trips over every argument type, and damage.

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
        (text(), proptest::option::of(hash), vec(text(), 0..3))
            .prop_map(|(name, password_hash, tags)| Record::User(User { name, password_hash, tags })),
        (text(), text(), pattern.clone(), pattern.clone(), pattern).prop_map(
            |(user, vhost, configure, write, read)| {
                Record::Permissions(UserPermissions { user, vhost, configure, write, read })
            }
        ),
        (text(), text(), text(), any::<[bool; 3]>(), table()).prop_map(
            |(name, vhost, kind, [durable, auto_delete, internal], arguments)| {
                Record::Exchange(Exchange { name, vhost, kind, durable, auto_delete, internal, arguments })
            }
        ),
        (text(), text(), any::<[bool; 2]>(), table()).prop_map(
            |(name, vhost, [durable, auto_delete], arguments)| {
                Record::Queue(Queue { name, vhost, durable, auto_delete, arguments })
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
    fn any_octets_are_a_record_or_an_error(key in vec(0u8..8, 0..40), value in vec(0u8..8, 0..40)) {
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
    });
    let value = queue.encode_value();
    assert!(value.ends_with(&nan.to_be_bytes()));
    assert_eq!(Record::decode(&queue.key().encode(), &value).unwrap().encode_value(), value);
}

#[test]
fn damage_is_named() {
    // (key, value, what is wrong)
    let cases: &[(&[u8], &[u8], RecordError)] = &[
        (b"\x09", b"\x01", RecordError::UnknownKind(9)),
        (b"\x01\0\0\0\x01/", b"\x02", RecordError::UnknownVersion(2)),
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
    let broken = b"\x01\0\0\0\x01(\0\0\0\0\0\0\0\0";
    let error = Record::decode(b"\x03\0\0\0\x01/\0\0\0\x01u", broken).unwrap_err();
    assert_eq!(error.to_string(), "invalid regular expression '(': unclosed group");
}
