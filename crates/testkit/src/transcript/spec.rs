//! Every method of AMQP 0-9-1 and of RabbitMQ's extensions as data: names, ids and fields. Written from the specification and
//! not from `warrenmq-wire`, so that a mistake in either of them shows.

use std::sync::LazyLock;

/// How a field is laid out in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One bit; neighbouring bits share an octet, the first in its lowest bit.
    Bit,
    Octet,
    Short,
    Long,
    LongLong,
    ShortStr,
    LongStr,
    Table,
}

/// One field of a method or one property of a content header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// One method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Method {
    /// As in the specification: `queue.declare-ok`.
    pub(crate) name: &'static str,
    pub(crate) class_id: u16,
    pub(crate) method_id: u16,
    /// Whether a content header and a body follow.
    pub(crate) has_content: bool,
    pub(crate) fields: Vec<Field>,
}

/// The method called `name`.
pub(crate) fn method_by_name(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

/// The method with these ids.
pub(crate) fn method_by_ids(class_id: u16, method_id: u16) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.class_id == class_id && method.method_id == method_id)
}

/// The properties of class basic in the order of their flags, the first in bit 15.
pub(crate) fn properties() -> &'static [Field] {
    &PROPERTIES
}

static METHODS: LazyLock<Vec<Method>> =
    LazyLock::new(|| METHOD_TABLE.lines().filter(|line| !line.is_empty()).map(method).collect());

static PROPERTIES: LazyLock<Vec<Field>> =
    LazyLock::new(|| PROPERTY_TABLE.split_whitespace().map(field).collect());

fn method(line: &'static str) -> Method {
    let mut words = line.split_whitespace();
    let ids = words.next().expect("invariant: a line begins with ids");
    let name = words.next().expect("invariant: a name follows the ids");
    let (class_id, method_id) = ids.split_once('.').expect("invariant: ids are CLASS.METHOD");
    Method {
        name: name.trim_end_matches('+'),
        class_id: class_id.parse().expect("invariant: a class id is a number"),
        method_id: method_id.parse().expect("invariant: a method id is a number"),
        has_content: name.ends_with('+'),
        fields: words.map(field).collect(),
    }
}

fn field(word: &'static str) -> Field {
    let (name, kind) = word.split_once(':').expect("invariant: a field is NAME:KIND");
    let kind = match kind {
        "bit" => Kind::Bit,
        "octet" => Kind::Octet,
        "short" => Kind::Short,
        "long" => Kind::Long,
        "longlong" => Kind::LongLong,
        "shortstr" => Kind::ShortStr,
        "longstr" => Kind::LongStr,
        "table" => Kind::Table,
        other => unreachable!("the table below has no kind {other}"),
    };
    Field { name, kind }
}

/// `CLASS.METHOD NAME FIELD:KIND…`; a `+` after the name says that content follows.
const METHOD_TABLE: &str = "
10.10 connection.start version-major:octet version-minor:octet server-properties:table mechanisms:longstr locales:longstr
10.11 connection.start-ok client-properties:table mechanism:shortstr response:longstr locale:shortstr
10.20 connection.secure challenge:longstr
10.21 connection.secure-ok response:longstr
10.30 connection.tune channel-max:short frame-max:long heartbeat:short
10.31 connection.tune-ok channel-max:short frame-max:long heartbeat:short
10.40 connection.open virtual-host:shortstr reserved-1:shortstr reserved-2:bit
10.41 connection.open-ok reserved-1:shortstr
10.50 connection.close reply-code:short reply-text:shortstr class-id:short method-id:short
10.51 connection.close-ok
10.60 connection.blocked reason:shortstr
10.61 connection.unblocked
10.70 connection.update-secret new-secret:longstr reason:shortstr
10.71 connection.update-secret-ok
20.10 channel.open reserved-1:shortstr
20.11 channel.open-ok reserved-1:longstr
20.20 channel.flow active:bit
20.21 channel.flow-ok active:bit
20.40 channel.close reply-code:short reply-text:shortstr class-id:short method-id:short
20.41 channel.close-ok
30.10 access.request realm:shortstr exclusive:bit passive:bit active:bit write:bit read:bit
30.11 access.request-ok ticket:short
40.10 exchange.declare ticket:short exchange:shortstr type:shortstr passive:bit durable:bit auto-delete:bit internal:bit no-wait:bit arguments:table
40.11 exchange.declare-ok
40.20 exchange.delete ticket:short exchange:shortstr if-unused:bit no-wait:bit
40.21 exchange.delete-ok
40.30 exchange.bind ticket:short destination:shortstr source:shortstr routing-key:shortstr no-wait:bit arguments:table
40.31 exchange.bind-ok
40.40 exchange.unbind ticket:short destination:shortstr source:shortstr routing-key:shortstr no-wait:bit arguments:table
40.51 exchange.unbind-ok
50.10 queue.declare ticket:short queue:shortstr passive:bit durable:bit exclusive:bit auto-delete:bit no-wait:bit arguments:table
50.11 queue.declare-ok queue:shortstr message-count:long consumer-count:long
50.20 queue.bind ticket:short queue:shortstr exchange:shortstr routing-key:shortstr no-wait:bit arguments:table
50.21 queue.bind-ok
50.30 queue.purge ticket:short queue:shortstr no-wait:bit
50.31 queue.purge-ok message-count:long
50.40 queue.delete ticket:short queue:shortstr if-unused:bit if-empty:bit no-wait:bit
50.41 queue.delete-ok message-count:long
50.50 queue.unbind ticket:short queue:shortstr exchange:shortstr routing-key:shortstr arguments:table
50.51 queue.unbind-ok
60.10 basic.qos prefetch-size:long prefetch-count:short global:bit
60.11 basic.qos-ok
60.20 basic.consume ticket:short queue:shortstr consumer-tag:shortstr no-local:bit no-ack:bit exclusive:bit no-wait:bit arguments:table
60.21 basic.consume-ok consumer-tag:shortstr
60.30 basic.cancel consumer-tag:shortstr no-wait:bit
60.31 basic.cancel-ok consumer-tag:shortstr
60.40 basic.publish+ ticket:short exchange:shortstr routing-key:shortstr mandatory:bit immediate:bit
60.50 basic.return+ reply-code:short reply-text:shortstr exchange:shortstr routing-key:shortstr
60.60 basic.deliver+ consumer-tag:shortstr delivery-tag:longlong redelivered:bit exchange:shortstr routing-key:shortstr
60.70 basic.get ticket:short queue:shortstr no-ack:bit
60.71 basic.get-ok+ delivery-tag:longlong redelivered:bit exchange:shortstr routing-key:shortstr message-count:long
60.72 basic.get-empty reserved-1:shortstr
60.80 basic.ack delivery-tag:longlong multiple:bit
60.90 basic.reject delivery-tag:longlong requeue:bit
60.100 basic.recover-async requeue:bit
60.110 basic.recover requeue:bit
60.111 basic.recover-ok
60.120 basic.nack delivery-tag:longlong multiple:bit requeue:bit
85.10 confirm.select no-wait:bit
85.11 confirm.select-ok
90.10 tx.select
90.11 tx.select-ok
90.20 tx.commit
90.21 tx.commit-ok
90.30 tx.rollback
90.31 tx.rollback-ok
";

const PROPERTY_TABLE: &str = "
content-type:shortstr content-encoding:shortstr headers:table delivery-mode:octet priority:octet correlation-id:shortstr
reply-to:shortstr expiration:shortstr message-id:shortstr timestamp:longlong type:shortstr user-id:shortstr app-id:shortstr
cluster-id:shortstr
";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_ids_are_unique_and_the_tables_complete() {
        let names: BTreeSet<_> = METHODS.iter().map(|method| method.name).collect();
        let ids: BTreeSet<_> = METHODS.iter().map(|method| (method.class_id, method.method_id)).collect();
        assert_eq!((names.len(), ids.len(), METHODS.len()), (66, 66, 66));
        let content: Vec<_> =
            METHODS.iter().filter(|method| method.has_content).map(|method| method.name).collect();
        assert_eq!(content, ["basic.publish", "basic.return", "basic.deliver", "basic.get-ok"]);
        assert_eq!(properties().len(), 14);
    }
}
