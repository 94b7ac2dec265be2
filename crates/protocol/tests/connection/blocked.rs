//! connection.blocked and unblocked: only for peers that said they understand them.

use crate::host::{Host, put_open, put_start_ok, put_tune_ok, settings};

#[test]
fn only_peers_that_understand_are_told() {
    let cases: [(&[&str], &[&str]); 3] = [
        (&["connection.blocked"], &["connection.blocked", "connection.unblocked"]),
        (&["consumer_cancel_notify"], &[]),
        (&[], &[]),
    ];
    for (capabilities, expected) in cases {
        let mut host = Host::new(settings());
        let mut octets = warrenmq_wire::frame::PROTOCOL_HEADER.to_vec();
        put_start_ok(&mut octets, "PLAIN", capabilities);
        host.connection.send_blocked("low on memory", &mut host.out);
        assert!(host.out.is_empty(), "not before connection.open");
        put_tune_ok(&mut octets, 131_072, 0);
        put_open(&mut octets);
        host.read(&octets);
        host.out.clear();
        host.connection.send_blocked("low on memory", &mut host.out);
        host.connection.send_unblocked(&mut host.out);
        assert_eq!(host.answers(), expected, "{capabilities:?}");
    }
}
