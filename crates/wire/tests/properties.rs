//! Properties over random input: any cut of a stream gives the same frames, arbitrary and damaged bytes never
//! panic, and what one codec writes the other reads.

#[path = "../../../fuzz/checks/wire.rs"]
mod checks;

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, gen_frame, parse_frame};
use amq_protocol::protocol::{AMQPClass, BasicProperties, basic, queue};
use amq_protocol::types::{AMQPValue, DecimalValue, FieldTable, ShortString};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use warrenmq_wire::table::{RawTable, RawValue};
use warrenmq_wire::{basic as hot, content, frame, method, table};

fn short_string() -> impl Strategy<Value = ShortString> {
    vec(any::<char>(), 0..12)
        .prop_map(|c| ShortString::try_new(String::from_iter(c)).expect("at most 48 octets"))
}

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
        (-1e9f32..1e9).prop_map(AMQPValue::Float),
        (-1e99f64..1e99).prop_map(AMQPValue::Double),
        any::<(u8, u32)>().prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
        vec(any::<u8>(), 0..20).prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        vec(any::<u8>(), 0..20).prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        Just(AMQPValue::Void),
    ];
    leaf.prop_recursive(4, 30, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(|values| AMQPValue::FieldArray(values.into())),
            btree_map(short_string(), inner, 0..6).prop_map(|table| AMQPValue::FieldTable(table.into())),
        ]
    })
}

fn field_table() -> impl Strategy<Value = FieldTable> {
    btree_map(short_string(), value(), 0..6).prop_map(FieldTable::from)
}

fn properties() -> impl Strategy<Value = BasicProperties> {
    let strings = vec(proptest::option::of(short_string()), 10);
    let rest =
        (proptest::option::of(field_table()), any::<Option<u8>>(), any::<Option<u8>>(), any::<Option<u64>>());
    (strings, rest).prop_map(|(strings, (headers, delivery_mode, priority, timestamp))| {
        let mut properties = BasicProperties::default();
        let with: [fn(BasicProperties, ShortString) -> BasicProperties; 10] = [
            BasicProperties::with_content_type,
            BasicProperties::with_content_encoding,
            BasicProperties::with_correlation_id,
            BasicProperties::with_reply_to,
            BasicProperties::with_expiration,
            BasicProperties::with_message_id,
            BasicProperties::with_type,
            BasicProperties::with_user_id,
            BasicProperties::with_app_id,
            BasicProperties::with_cluster_id,
        ];
        for (set, string) in with.into_iter().zip(strings) {
            properties = string.into_iter().fold(properties, set);
        }
        properties = headers.into_iter().fold(properties, BasicProperties::with_headers);
        properties = delivery_mode.into_iter().fold(properties, BasicProperties::with_delivery_mode);
        properties = priority.into_iter().fold(properties, BasicProperties::with_priority);
        timestamp.into_iter().fold(properties, BasicProperties::with_timestamp)
    })
}

/// A frame as `amq-protocol` writes it.
fn written(frame: &AMQPFrame) -> Vec<u8> {
    gen_frame(frame)(Vec::new().into()).expect("a good frame").write
}

fn basic_frame(channel: u16, method: basic::AMQPMethod) -> Vec<u8> {
    written(&AMQPFrame::Method(channel, AMQPClass::Basic(method)))
}

/// A method frame's arguments, behind the four octets of the ids.
fn arguments(frame: &[u8]) -> &[u8] {
    &frame[11..frame.len() - 1]
}

fn route(exchange: &ShortString, key: &ShortString) -> Vec<u8> {
    let mut out = Vec::new();
    hot::put_route(&mut out, exchange.as_str().as_bytes(), key.as_str().as_bytes());
    out
}

fn same_value(value: &AMQPValue, raw: RawValue<'_>) -> bool {
    match value {
        AMQPValue::Boolean(expected) => raw.as_bool() == Some(*expected),
        AMQPValue::ShortShortInt(expected) => raw.as_integer() == Some(i64::from(*expected)),
        AMQPValue::ShortShortUInt(expected) => raw.as_integer() == Some(i64::from(*expected)),
        AMQPValue::ShortInt(expected) => raw.as_integer() == Some(i64::from(*expected)),
        AMQPValue::ShortUInt(expected) => raw.as_integer() == Some(i64::from(*expected)),
        AMQPValue::LongInt(expected) => raw.as_integer() == Some(i64::from(*expected)),
        AMQPValue::LongUInt(expected) => raw.as_integer() == Some(i64::from(*expected)),
        AMQPValue::LongLongInt(expected) => raw.as_integer() == Some(*expected),
        AMQPValue::Float(expected) => raw.as_float() == Some(f64::from(*expected)),
        AMQPValue::Double(expected) => raw.as_float() == Some(*expected),
        AMQPValue::DecimalValue(expected) => {
            raw.tag == b'D' && raw.raw == [&[expected.scale][..], &expected.value.to_be_bytes()].concat()
        }
        AMQPValue::LongString(expected) => raw.as_longstr() == Some(expected.as_bytes()),
        AMQPValue::ByteArray(expected) => raw.as_byte_array() == Some(expected.as_slice()),
        AMQPValue::Timestamp(expected) => raw.as_timestamp() == Some(*expected),
        AMQPValue::Void => (raw.tag, raw.raw) == (b'V', &[]),
        AMQPValue::FieldArray(expected) => {
            let values: Vec<RawValue<'_>> = raw.as_array().expect("an array").collect();
            let expected = expected.as_slice();
            values.len() == expected.len() && expected.iter().zip(values).all(|(e, raw)| same_value(e, raw))
        }
        AMQPValue::FieldTable(expected) => same_table(expected, raw.as_table().expect("a table")),
        AMQPValue::ShortString(_) => false,
    }
}

fn same_table(expected: &FieldTable, table: RawTable<'_>) -> bool {
    table.entries().count() == expected.inner().len()
        && expected.into_iter().zip(table.entries()).all(|((key, value), (raw_key, raw))| {
            key.as_str().as_bytes() == raw_key && same_value(value, raw)
        })
}

/// Changes some octets of good input, cuts it and adds to it.
fn damaged(good: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (
        good,
        vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        any::<prop::sample::Index>(),
        vec(any::<u8>(), 0..3),
    )
        .prop_map(|(mut bytes, changes, cut, tail)| {
            for (index, octet) in changes {
                if !bytes.is_empty() {
                    let at = index.index(bytes.len());
                    bytes[at] = octet;
                }
            }
            // Half of the inputs keep their end.
            bytes.truncate(cut.index(2 * bytes.len() + 1));
            bytes.extend(tail);
            bytes
        })
}

fn table_bytes() -> impl Strategy<Value = Vec<u8>> {
    field_table().prop_map(|fields| {
        let mut bytes = Vec::new();
        table::put(&mut bytes, &fields).expect("a good table");
        bytes
    })
}

fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
    (properties(), any::<u64>()).prop_map(|(properties, body_size)| {
        let mut bytes = Vec::new();
        content::put_header(&mut bytes, body_size, &properties).expect("good properties");
        bytes
    })
}

fn method_bytes() -> impl Strategy<Value = Vec<u8>> {
    let publish =
        (short_string(), short_string(), any::<bool>()).prop_map(|(exchange, routing_key, mandatory)| {
            basic::AMQPMethod::Publish(basic::Publish { exchange, routing_key, mandatory, immediate: false })
        });
    let ack = any::<(u64, bool)>()
        .prop_map(|(delivery_tag, multiple)| basic::AMQPMethod::Ack(basic::Ack { delivery_tag, multiple }));
    let declare = (short_string(), field_table(), any::<bool>()).prop_map(|(queue, arguments, durable)| {
        let declare = queue::Declare { queue, arguments, durable, ..queue::Declare::default() };
        AMQPClass::Queue(queue::AMQPMethod::Declare(declare))
    });
    prop_oneof![publish.prop_map(AMQPClass::Basic), ack.prop_map(AMQPClass::Basic), declare].prop_map(
        |method| {
            let frame = written(&AMQPFrame::Method(1, method));
            frame[7..frame.len() - 1].to_vec()
        },
    )
}

/// Splits everything that can be split off `buffer`.
fn drain(buffer: &mut Vec<u8>, found: &mut Vec<(u8, u16, Vec<u8>)>) {
    let mut at = 0;
    while let Some((frame, used)) = frame::split(&buffer[at..], usize::MAX).expect("good frames") {
        found.push((frame.kind, frame.channel, frame.payload.to_vec()));
        at += used;
    }
    buffer.drain(..at);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_a_stream_gives_the_same_frames(
        frames in vec((any::<u8>(), any::<u16>(), vec(any::<u8>(), 0..40)), 0..12),
        cuts in vec(1usize..30, 1..20),
    ) {
        let mut stream = Vec::new();
        for (kind, channel, payload) in &frames {
            stream.push(*kind);
            stream.extend(channel.to_be_bytes());
            stream.extend((payload.len() as u32).to_be_bytes());
            stream.extend(payload);
            stream.push(frame::END);
        }
        let (mut buffer, mut found) = (Vec::new(), Vec::new());
        let mut rest = &stream[..];
        for size in cuts.iter().cycle() {
            let (part, after) = rest.split_at(*size.min(&rest.len()));
            buffer.extend(part);
            drain(&mut buffer, &mut found);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(found, frames);
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        checks::frames(&bytes);
        checks::tables(&bytes);
        checks::methods(&bytes);
        checks::contents(&bytes);
    }

    #[test]
    fn damaged_tables_never_panic(bytes in damaged(table_bytes())) {
        checks::tables(&bytes);
    }

    #[test]
    fn damaged_methods_never_panic(bytes in damaged(method_bytes())) {
        checks::methods(&bytes);
    }

    #[test]
    fn damaged_contents_never_panic(bytes in damaged(header_bytes())) {
        checks::contents(&bytes);
    }

    #[test]
    fn tables_of_every_type_are_read_as_written(fields in field_table()) {
        let mut bytes = Vec::new();
        table::put(&mut bytes, &fields).expect("a good table");
        let (table, size) = RawTable::parse(&bytes).expect("our own table");
        prop_assert_eq!(size, bytes.len());
        prop_assert!(same_table(&fields, table));
    }

    #[test]
    fn methods_survive_the_round_trip(queue in short_string(), arguments in field_table(), channel in any::<u16>()) {
        let declare = queue::Declare { queue, arguments, ..queue::Declare::default() };
        let declare = AMQPClass::Queue(queue::AMQPMethod::Declare(declare));
        let mut ours = Vec::new();
        method::put(&mut ours, channel, &declare).expect("a good method");
        prop_assert_eq!(&ours, &written(&AMQPFrame::Method(channel, declare.clone())));
        prop_assert_eq!(method::parse(&ours[7..ours.len() - 1]), Ok(declare));
    }

    #[test]
    fn hot_methods_are_written_like_the_cold_ones(
        exchange in short_string(),
        routing_key in short_string(),
        consumer_tag in short_string(),
        (channel, delivery_tag, count, flag, other) in any::<(u16, u64, u32, bool, bool)>(),
    ) {
        use basic::AMQPMethod as Cold;
        let route = route(&exchange, &routing_key);
        let tag = consumer_tag.as_str().as_bytes().to_vec();
        let (text, reply_code) = (consumer_tag.clone(), count as u16);
        let (e, k) = (exchange.clone(), routing_key.clone());
        let expected = [
            Cold::Deliver(basic::Deliver {
                consumer_tag, delivery_tag, redelivered: flag, exchange: e.clone(), routing_key: k.clone(),
            }),
            Cold::GetOk(basic::GetOk {
                delivery_tag, redelivered: flag, exchange: e.clone(), routing_key: k.clone(), message_count: count,
            }),
            Cold::Return(basic::Return { reply_code, reply_text: text.clone(), exchange: e, routing_key: k }),
            Cold::Publish(basic::Publish { exchange, routing_key, mandatory: flag, immediate: false }),
            Cold::Ack(basic::Ack { delivery_tag, multiple: flag }),
            Cold::Nack(basic::Nack { delivery_tag, multiple: flag, requeue: other }),
        ]
        .map(|method| basic_frame(channel, method));
        let mut out: [Vec<u8>; 6] = Default::default();
        let [deliver, get_ok, returned, publish, ack, nack] = &mut out;
        hot::put_deliver(deliver, channel, &tag, delivery_tag, flag, &route);
        hot::put_get_ok(get_ok, channel, delivery_tag, flag, &route, count);
        hot::put_return(returned, channel, reply_code, text.as_str(), &route);
        hot::put_publish(publish, channel, &route, flag);
        hot::put_ack(ack, channel, delivery_tag, flag);
        hot::put_nack(nack, channel, delivery_tag, flag, other);
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn hot_methods_are_read_like_the_cold_ones(
        exchange in short_string(),
        routing_key in short_string(),
        (delivery_tag, mandatory, immediate) in any::<(u64, bool, bool)>(),
    ) {
        use basic::AMQPMethod as Cold;
        let route = route(&exchange, &routing_key);
        let publish = basic::Publish { exchange, routing_key, mandatory, immediate };
        let bytes = basic_frame(1, Cold::Publish(publish));
        prop_assert_eq!(hot::parse_publish(arguments(&bytes)), Ok(hot::Publish { route: &route, mandatory, immediate }));
        let (multiple, requeue) = (mandatory, immediate);
        let bytes = basic_frame(1, Cold::Ack(basic::Ack { delivery_tag, multiple }));
        prop_assert_eq!(hot::parse_ack(arguments(&bytes)), Ok(hot::Ack { delivery_tag, multiple }));
        let bytes = basic_frame(1, Cold::Nack(basic::Nack { delivery_tag, multiple, requeue }));
        prop_assert_eq!(hot::parse_nack(arguments(&bytes)), Ok(hot::Nack { delivery_tag, multiple, requeue }));
        let bytes = basic_frame(1, Cold::Reject(basic::Reject { delivery_tag, requeue }));
        prop_assert_eq!(hot::parse_reject(arguments(&bytes)), Ok(hot::Reject { delivery_tag, requeue }));
    }

    #[test]
    fn contents_are_written_like_amq_protocol_does(
        properties in properties(),
        body in vec(any::<u8>(), 0..100),
        payload_max in 1usize..50,
    ) {
        let body_size = body.len() as u64;
        let mut header = Vec::new();
        content::put_header(&mut header, body_size, &properties).expect("good properties");
        let parsed = content::parse_header(&header).expect("our own header");
        prop_assert_eq!(parsed.check(), Ok(()));
        prop_assert_eq!((parsed.class_id, parsed.body_size, parsed.flags), (60, body_size, properties.bitmask()));
        let as_bytes = |string: &Option<ShortString>| string.as_ref().map(|s| s.as_str().as_bytes().to_vec());
        prop_assert_eq!(parsed.message_id().map(<[u8]>::to_vec), as_bytes(properties.message_id()));
        prop_assert_eq!(parsed.expiration().map(<[u8]>::to_vec), as_bytes(properties.expiration()));
        prop_assert_eq!((parsed.delivery_mode(), parsed.timestamp()), (*properties.delivery_mode(), *properties.timestamp()));

        let mut ours = Vec::new();
        hot::put_content(&mut ours, 5, &header, &body, payload_max);
        let mut expected = written(&AMQPFrame::Header(5, AMQPContentHeader { class_id: 60, body_size, properties }));
        for part in body.chunks(payload_max) {
            expected.extend(written(&AMQPFrame::Body(5, part.to_vec())));
        }
        prop_assert_eq!(&ours, &expected);
        let (_, first) = parse_frame(&ours[..]).expect("amq-protocol reads it");
        prop_assert!(matches!(first, AMQPFrame::Header(5, _)));
    }
}
