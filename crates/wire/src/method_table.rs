//! Every method of AMQP 0-9-1 as RabbitMQ speaks it: ids, name and the types of its arguments, and the walk
//! over them.
//!
//! Invariant: what passes [`MethodSpec::check`] is exactly what RabbitMQ's decoder accepts, apart from the
//! limit on nesting. `amq-protocol` is only called on such payloads.

use crate::{DecodeError, cursor, table};
use Argument::{Bits, Long, LongLong, LongString, Octet, Short, ShortString, Table};

/// Type of one argument on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Argument {
    Octet,
    Short,
    Long,
    LongLong,
    ShortString,
    LongString,
    Table,
    /// Up to eight consecutive bits share one octet; no method has more.
    Bits,
}

/// One method.
pub(crate) struct MethodSpec {
    pub(crate) class: u16,
    pub(crate) method: u16,
    /// `class.method`, as RabbitMQ prints it.
    pub(crate) name: &'static str,
    arguments: &'static [Argument],
}

/// What [`MethodSpec::check`] finds.
pub(crate) enum ArgumentError {
    Malformed(DecodeError),
    BadUtf8,
}

/// The method with these ids.
pub(crate) fn find(class: u16, method: u16) -> Option<&'static MethodSpec> {
    METHODS.iter().find(|spec| spec.class == class && spec.method == method)
}

impl MethodSpec {
    /// Walks the arguments: lengths, tables, UTF-8 of short strings (RabbitMQ's `assert_utf8`), and nothing
    /// behind the last one.
    pub(crate) fn check(&self, args: &[u8]) -> Result<(), ArgumentError> {
        let mut rest = args;
        for argument in self.arguments {
            match argument {
                Octet | Bits => cursor::take(&mut rest, 1),
                Short => cursor::take(&mut rest, 2),
                Long => cursor::take(&mut rest, 4),
                LongLong => cursor::take(&mut rest, 8),
                LongString => cursor::long_string(&mut rest),
                ShortString => cursor::short_string(&mut rest),
                Table => {
                    table::check(rest).map_err(|error| ArgumentError::Malformed(error.into()))?;
                    cursor::long_string(&mut rest)
                }
            }
            .ok_or(ArgumentError::Malformed(DecodeError::Truncated))
            .and_then(|value| match (argument, str::from_utf8(value)) {
                (ShortString, Err(_)) => Err(ArgumentError::BadUtf8),
                _ => Ok(()),
            })?;
        }
        match rest.len() {
            0 => Ok(()),
            trailing => Err(ArgumentError::Malformed(DecodeError::Trailing(trailing))),
        }
    }
}

const fn spec(class: u16, method: u16, name: &'static str, arguments: &'static [Argument]) -> MethodSpec {
    MethodSpec { class, method, name, arguments }
}

static METHODS: &[MethodSpec] = &[
    spec(10, 10, "connection.start", &[Octet, Octet, Table, LongString, LongString]),
    spec(10, 11, "connection.start-ok", &[Table, ShortString, LongString, ShortString]),
    spec(10, 20, "connection.secure", &[LongString]),
    spec(10, 21, "connection.secure-ok", &[LongString]),
    spec(10, 30, "connection.tune", &[Short, Long, Short]),
    spec(10, 31, "connection.tune-ok", &[Short, Long, Short]),
    spec(10, 40, "connection.open", &[ShortString, ShortString, Bits]),
    spec(10, 41, "connection.open-ok", &[ShortString]),
    spec(10, 50, "connection.close", &[Short, ShortString, Short, Short]),
    spec(10, 51, "connection.close-ok", &[]),
    spec(10, 60, "connection.blocked", &[ShortString]),
    spec(10, 61, "connection.unblocked", &[]),
    spec(10, 70, "connection.update-secret", &[LongString, ShortString]),
    spec(10, 71, "connection.update-secret-ok", &[]),
    spec(20, 10, "channel.open", &[ShortString]),
    spec(20, 11, "channel.open-ok", &[LongString]),
    spec(20, 20, "channel.flow", &[Bits]),
    spec(20, 21, "channel.flow-ok", &[Bits]),
    spec(20, 40, "channel.close", &[Short, ShortString, Short, Short]),
    spec(20, 41, "channel.close-ok", &[]),
    spec(30, 10, "access.request", &[ShortString, Bits]),
    spec(30, 11, "access.request-ok", &[Short]),
    spec(40, 10, "exchange.declare", &[Short, ShortString, ShortString, Bits, Table]),
    spec(40, 11, "exchange.declare-ok", &[]),
    spec(40, 20, "exchange.delete", &[Short, ShortString, Bits]),
    spec(40, 21, "exchange.delete-ok", &[]),
    spec(40, 30, "exchange.bind", &[Short, ShortString, ShortString, ShortString, Bits, Table]),
    spec(40, 31, "exchange.bind-ok", &[]),
    spec(40, 40, "exchange.unbind", &[Short, ShortString, ShortString, ShortString, Bits, Table]),
    spec(40, 51, "exchange.unbind-ok", &[]),
    spec(50, 10, "queue.declare", &[Short, ShortString, Bits, Table]),
    spec(50, 11, "queue.declare-ok", &[ShortString, Long, Long]),
    spec(50, 20, "queue.bind", &[Short, ShortString, ShortString, ShortString, Bits, Table]),
    spec(50, 21, "queue.bind-ok", &[]),
    spec(50, 30, "queue.purge", &[Short, ShortString, Bits]),
    spec(50, 31, "queue.purge-ok", &[Long]),
    spec(50, 40, "queue.delete", &[Short, ShortString, Bits]),
    spec(50, 41, "queue.delete-ok", &[Long]),
    spec(50, 50, "queue.unbind", &[Short, ShortString, ShortString, ShortString, Table]),
    spec(50, 51, "queue.unbind-ok", &[]),
    spec(60, 10, "basic.qos", &[Long, Short, Bits]),
    spec(60, 11, "basic.qos-ok", &[]),
    spec(60, 20, "basic.consume", &[Short, ShortString, ShortString, Bits, Table]),
    spec(60, 21, "basic.consume-ok", &[ShortString]),
    spec(60, 30, "basic.cancel", &[ShortString, Bits]),
    spec(60, 31, "basic.cancel-ok", &[ShortString]),
    spec(60, 40, "basic.publish", &[Short, ShortString, ShortString, Bits]),
    spec(60, 50, "basic.return", &[Short, ShortString, ShortString, ShortString]),
    spec(60, 60, "basic.deliver", &[ShortString, LongLong, Bits, ShortString, ShortString]),
    spec(60, 70, "basic.get", &[Short, ShortString, Bits]),
    spec(60, 71, "basic.get-ok", &[LongLong, Bits, ShortString, ShortString, Long]),
    spec(60, 72, "basic.get-empty", &[ShortString]),
    spec(60, 80, "basic.ack", &[LongLong, Bits]),
    spec(60, 90, "basic.reject", &[LongLong, Bits]),
    spec(60, 100, "basic.recover-async", &[Bits]),
    spec(60, 110, "basic.recover", &[Bits]),
    spec(60, 111, "basic.recover-ok", &[]),
    spec(60, 120, "basic.nack", &[LongLong, Bits]),
    spec(85, 10, "confirm.select", &[Bits]),
    spec(85, 11, "confirm.select-ok", &[]),
    spec(90, 10, "tx.select", &[]),
    spec(90, 11, "tx.select-ok", &[]),
    spec(90, 20, "tx.commit", &[]),
    spec(90, 21, "tx.commit-ok", &[]),
    spec(90, 30, "tx.rollback", &[]),
    spec(90, 31, "tx.rollback-ok", &[]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{self, MethodError};
    use crate::table::TableError;
    use amq_protocol::protocol::parse_class;
    use std::collections::HashSet;
    use std::sync::LazyLock;

    fn payload(spec: &MethodSpec, with: impl Fn(Argument) -> &'static [u8]) -> Vec<u8> {
        let mut bytes = [spec.class.to_be_bytes(), spec.method.to_be_bytes()].concat();
        for &argument in spec.arguments {
            bytes.extend_from_slice(with(argument));
        }
        bytes
    }

    fn plain(argument: Argument) -> &'static [u8] {
        match argument {
            Octet => b"\x07",
            Bits => b"\x01",
            Short => b"\0\x02",
            Long => b"\0\0\0\x03",
            LongLong => b"\0\0\0\0\0\0\0\x04",
            ShortString => b"\x02\xc3\xa9",
            LongString => b"\0\0\0\x02\xff\xfe",
            Table => b"\0\0\0\x0b\x01kA\0\0\0\x01V\x01lV",
        }
    }

    #[test]
    fn ids_and_names_are_unique() {
        let ids: HashSet<_> = METHODS.iter().map(|spec| (spec.class, spec.method)).collect();
        let names: HashSet<_> = METHODS.iter().map(|spec| spec.name).collect();
        assert_eq!((ids.len(), names.len()), (METHODS.len(), METHODS.len()));
        assert!(METHODS.is_sorted_by_key(|spec| (spec.class, spec.method)));
    }

    /// `amq-protocol` reads exactly as many octets as our list of types says, and writes the same method
    /// again.
    #[test]
    fn the_types_are_those_of_the_parser() {
        for spec in METHODS {
            let bytes = payload(spec, plain);
            let (rest, parsed) = parse_class(&bytes[..]).expect(spec.name);
            assert_eq!(rest, b"", "{}", spec.name);
            assert_eq!(method::method_ids(&parsed), (spec.class, spec.method));
            assert_eq!(method::parse(&bytes).as_ref(), Ok(&parsed), "{}", spec.name);
            let mut frame = Vec::new();
            method::put(&mut frame, 1, &parsed).expect(spec.name);
            assert_eq!(method::parse(&frame[7..frame.len() - 1]).as_ref(), Ok(&parsed), "{}", spec.name);
        }
    }

    #[test]
    fn every_cut_and_every_extra_octet_is_found() {
        for spec in METHODS {
            let MethodSpec { class, method, .. } = *spec;
            let bytes = payload(spec, plain);
            for cut in 0..bytes.len() {
                let reason = match method::parse(&bytes[..cut]) {
                    Err(MethodError::Truncated) if cut < 4 => continue,
                    Err(MethodError::Malformed { reason, .. }) => reason,
                    Err(MethodError::BadTable { reason, .. }) => reason.into(),
                    other => panic!("{cut} octets of {}: {other:?}", spec.name),
                };
                let truncated = [DecodeError::Truncated, TableError::Truncated.into()].contains(&reason);
                assert!(truncated, "{cut} octets of {}: {reason:?}", spec.name);
            }
            let long = [&bytes[..], b"zz"].concat();
            let reason = DecodeError::Trailing(2);
            assert_eq!(method::parse(&long), Err(MethodError::Malformed { class, method, reason }));
        }
    }

    /// 10,000 levels would overflow the stack of `amq-protocol`; no method lets them through.
    #[test]
    fn deep_tables_are_refused_wherever_a_table_may_be() {
        static DEEP: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let mut bytes = vec![0; 4];
            for _ in 0..10_000 {
                let length = (bytes.len() as u32 + 3).to_be_bytes();
                bytes = [&length[..], b"\x01aF", &bytes[..]].concat();
            }
            bytes
        });
        let mut tables = 0;
        for spec in METHODS.iter().filter(|spec| spec.arguments.contains(&Table)) {
            let MethodSpec { class, method, .. } = *spec;
            let bytes = payload(spec, |argument| if argument == Table { &DEEP[..] } else { plain(argument) });
            let reason = TableError::TooDeep;
            assert_eq!(method::parse(&bytes), Err(MethodError::BadTable { class, method, reason }));
            tables += 1;
        }
        assert_eq!(tables, 9);
    }

    #[test]
    fn short_strings_and_keys_must_be_utf8() {
        for spec in METHODS {
            let MethodSpec { class, method, .. } = *spec;
            let error = Err(MethodError::BadUtf8 { class, method });
            for (argument, bad) in [(ShortString, &b"\x01\xff"[..]), (Table, b"\0\0\0\x03\x01\xffV")] {
                if spec.arguments.contains(&argument) {
                    let bytes = payload(spec, |other| if other == argument { bad } else { plain(other) });
                    assert_eq!(method::parse(&bytes), error, "{}", spec.name);
                }
            }
        }
    }

    #[test]
    fn unknown_ids_are_told_apart_from_bad_arguments() {
        for (class, method) in [(0u16, 0u16), (10, 12), (60, 99), (61, 10), (0xffff, 0xffff)] {
            let bytes = [class.to_be_bytes(), method.to_be_bytes()].concat();
            assert_eq!(method::parse(&bytes), Err(MethodError::UnknownMethod { class, method }));
            assert_eq!(method::method_name(class, method), None);
            assert_eq!(method::ids(&bytes), Some((class, method)));
        }
        assert_eq!(method::ids(b"\0\x32\0"), None);
        assert_eq!(method::method_name(10, 11), Some("connection.start-ok"));
    }
}
