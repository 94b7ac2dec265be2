//! What must hold for any bytes that reach the wire crate. The fuzz targets and the ordinary tests of the
//! crate both include this file, so that a finding becomes a file in the corpus and is checked for ever.

use amq_protocol::protocol::basic::parse_properties;
use amq_protocol::protocol::parse_class;
use amq_protocol::types::parsing::parse_field_table;
use warrenmq_wire::content::{self, ContentHeader};
use warrenmq_wire::frame::{self, Frame};
use warrenmq_wire::method::{self, MethodError};
use warrenmq_wire::table::{self, DEPTH_MAX, RawTable, RawValue, TableError};
use warrenmq_wire::{DecodeError, basic};

/// `amq-protocol` recurses without limit; up to this many octets it cannot run out of stack.
const ORACLE_OCTETS_MAX: usize = 1000;

/// Framing: frames are found whole or not at all, and written again they are the same bytes.
pub(crate) fn frames(data: &[u8]) {
    for payload_max in [0, 100, 4088, usize::MAX] {
        let mut rest = data;
        while let Ok(Some((found, used))) = frame::split(rest, payload_max) {
            assert_eq!(used, found.payload.len() + frame::OVERHEAD);
            assert!(found.payload.len() <= payload_max);
            for missing in [1, used / 2, used] {
                assert_eq!(frame::split(&rest[..used - missing], payload_max), Ok(None));
            }
            interpret(found);
            rest = &rest[used..];
        }
    }
}

/// What a connection does with a frame, as far as this crate is concerned.
fn interpret(found: Frame<'_>) {
    match found.kind {
        frame::METHOD => methods(found.payload),
        frame::HEADER => contents(found.payload),
        frame::BODY => {
            let mut out = Vec::new();
            basic::put_content(&mut out, found.channel, b"", found.payload, 7);
            let frames = found.payload.len().div_ceil(7) + 1;
            assert_eq!(out.len(), found.payload.len() + frames * frame::OVERHEAD);
        }
        _ => {}
    }
}

/// Field tables: what is accepted can be read to its last octet, and `amq-protocol` agrees.
pub(crate) fn tables(data: &[u8]) {
    let checked = table::check(data);
    if let Ok(size) = checked {
        let (table, parsed) = RawTable::parse(data).expect("the table was checked");
        assert_eq!((size, table.as_bytes().len()), (parsed, size - 4));
        assert!(read_table(table, 1) <= DEPTH_MAX);
    }
    if data.len() <= ORACLE_OCTETS_MAX {
        match parse_field_table(data) {
            Ok((rest, _)) => {
                assert!([Ok(data.len() - rest.len()), Err(TableError::TooDeep)].contains(&checked))
            }
            Err(_) => assert!(checked.is_err() || has_bad_key(data), "only a key may be refused"),
        }
    }
}

/// Reads everything below a table; returns the deepest level.
fn read_table(table: RawTable<'_>, depth: usize) -> usize {
    let mut octets = 0;
    let mut deepest = depth;
    for (key, value) in table.entries() {
        octets += 2 + key.len() + value.raw.len();
        deepest = deepest.max(read_value(value, depth));
        assert!(table.get(key).is_some());
    }
    assert_eq!(octets, table.as_bytes().len(), "the entries are the whole table");
    deepest
}

fn read_value(value: RawValue<'_>, depth: usize) -> usize {
    if let Some(inner) = value.as_table() {
        return read_table(inner, depth + 1);
    }
    if let Some(values) = value.as_array() {
        return values.map(|inner| read_value(inner, depth + 1)).max().unwrap_or(depth + 1);
    }
    let readings = [
        value.as_longstr().is_some(),
        value.as_byte_array().is_some(),
        value.as_bool().is_some(),
        value.as_integer().is_some(),
        value.as_float().is_some(),
        value.as_timestamp().is_some(),
    ];
    let expected = usize::from(!matches!(value.tag, b'V' | b'D'));
    assert_eq!(readings.iter().filter(|reading| **reading).count(), expected, "tag {}", value.tag);
    depth
}

/// Whether a table that passes our check has a key that is not UTF-8.
fn has_bad_key(data: &[u8]) -> bool {
    fn in_table(table: RawTable<'_>) -> bool {
        table.entries().any(|(key, value)| str::from_utf8(key).is_err() || in_value(value))
    }
    fn in_value(value: RawValue<'_>) -> bool {
        value.as_table().is_some_and(in_table)
            || value.as_array().is_some_and(|mut values| values.any(in_value))
    }
    RawTable::parse(data).is_ok_and(|(table, _)| in_table(table))
}

/// Methods: what is accepted is what `amq-protocol` accepts whole, and survives being written and read again.
pub(crate) fn methods(data: &[u8]) {
    let parsed = method::parse(data);
    if let Ok(found) = &parsed {
        assert_eq!(Some(method::method_ids(found)), method::ids(data));
        let mut first = Vec::new();
        method::put(&mut first, 9, found).expect("a method that was read can be written");
        let (whole, _) = frame::split(&first, usize::MAX).expect("our frame").expect("a whole frame");
        let again = method::parse(whole.payload).expect("our own method");
        let mut second = Vec::new();
        method::put(&mut second, 9, &again).expect("the same method");
        // Bytes and not values are compared: a number that is none is not equal to itself.
        assert_eq!(first, second);
    }
    if data.len() <= ORACLE_OCTETS_MAX {
        let is_whole = parse_class(data).is_ok_and(|(rest, _)| rest.is_empty());
        let too_deep = matches!(parsed, Err(MethodError::BadTable { reason: TableError::TooDeep, .. }));
        assert_eq!(is_whole, parsed.is_ok() || (is_whole && too_deep));
    }
    if let Some(args) = data.get(4..) {
        hot_methods(data, args);
    }
}

/// The hand-written readers against the general one, which differs only in wanting UTF-8.
fn hot_methods(data: &[u8], args: &[u8]) {
    use method::{Method, basic_cold::AMQPMethod as Basic};
    if let Ok(publish) = basic::parse_publish(args) {
        let mut route = Vec::new();
        basic::put_route(&mut route, publish.exchange(), publish.routing_key());
        assert_eq!(route, publish.route);
    }
    if method::ids(data).is_none_or(|(class, _)| class != basic::CLASS) {
        return;
    }
    match method::parse(data) {
        Ok(Method::Basic(Basic::Publish(cold))) => {
            let hot = basic::parse_publish(args).expect("accepted by the general reader");
            assert_eq!(hot.exchange(), cold.exchange.as_str().as_bytes());
            assert_eq!(hot.routing_key(), cold.routing_key.as_str().as_bytes());
            assert_eq!((hot.mandatory, hot.immediate), (cold.mandatory, cold.immediate));
        }
        Ok(Method::Basic(Basic::Ack(cold))) => {
            let hot = basic::parse_ack(args).expect("accepted by the general reader");
            assert_eq!((hot.delivery_tag, hot.multiple), (cold.delivery_tag, cold.multiple));
        }
        Ok(Method::Basic(Basic::Nack(cold))) => {
            let hot = basic::parse_nack(args).expect("accepted by the general reader");
            let cold = (cold.delivery_tag, cold.multiple, cold.requeue);
            assert_eq!((hot.delivery_tag, hot.multiple, hot.requeue), cold);
        }
        Ok(Method::Basic(Basic::Reject(cold))) => {
            let hot = basic::parse_reject(args).expect("accepted by the general reader");
            assert_eq!((hot.delivery_tag, hot.requeue), (cold.delivery_tag, cold.requeue));
        }
        Err(MethodError::Malformed { method: basic::PUBLISH, reason, .. }) => {
            assert_eq!(basic::parse_publish(args), Err(reason));
        }
        Err(MethodError::Malformed { method: basic::ACK, reason, .. }) => {
            assert_eq!(basic::parse_ack(args), Err(reason));
        }
        _ => {}
    }
}

/// Content headers: the getters never give what is not there, and taking a key away takes nothing else.
pub(crate) fn contents(data: &[u8]) {
    let Ok(header) = content::parse_header(data) else {
        assert!(data.len() < content::FIXED);
        assert_eq!(content::without_header_key(data, b"BCC"), data);
        return;
    };
    let checked = header.check();
    let found = present(&header);
    assert_eq!(found & !header.flags, 0);
    if checked.is_ok() {
        assert_eq!(found, header.flags & content::flag::ALL, "every announced property is there");
    }
    let stripped = content::without_header_key(data, b"BCC");
    let after = content::parse_header(&stripped).expect("the fixed part stays");
    assert_eq!((after.body_size, after.flags), (header.body_size, header.flags));
    if checked.is_ok() {
        assert_eq!(after.check(), Ok(()));
        let kept =
            header.headers().map(|t| t.entries().filter(|(key, _)| *key != b"BCC").collect::<Vec<_>>());
        assert_eq!(after.headers().map(|t| t.entries().collect::<Vec<_>>()), kept);
    }
    if data.len() <= ORACLE_OCTETS_MAX && parse_properties(&data[12..]).is_ok_and(|(rest, _)| rest.is_empty())
    {
        let agrees = matches!(checked, Ok(()) | Err(DecodeError::Table(TableError::TooDeep)));
        assert!(agrees, "{checked:?}, but amq-protocol reads it");
    }
}

/// The flags of the properties that the getters find.
fn present(header: &ContentHeader<'_>) -> u16 {
    use content::flag;
    let found = [
        (flag::CONTENT_TYPE, header.content_type().is_some()),
        (flag::CONTENT_ENCODING, header.content_encoding().is_some()),
        (flag::HEADERS, header.headers().is_some()),
        (flag::DELIVERY_MODE, header.delivery_mode().is_some()),
        (flag::PRIORITY, header.priority().is_some()),
        (flag::CORRELATION_ID, header.correlation_id().is_some()),
        (flag::REPLY_TO, header.reply_to().is_some()),
        (flag::EXPIRATION, header.expiration().is_some()),
        (flag::MESSAGE_ID, header.message_id().is_some()),
        (flag::TIMESTAMP, header.timestamp().is_some()),
        (flag::TYPE, header.type_().is_some()),
        (flag::USER_ID, header.user_id().is_some()),
        (flag::APP_ID, header.app_id().is_some()),
        (flag::CLUSTER_ID, header.cluster_id().is_some()),
    ];
    found.iter().filter(|(_, is_there)| *is_there).map(|(flag, _)| flag).sum()
}
