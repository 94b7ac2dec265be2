//! connection.blocked and unblocked: only for peers that said they understand them. What a connection takes while contents are
//! held, and that it misses no heartbeats while it is not read.

use warrenmq_protocol::Expired;
use warrenmq_wire::frame;

use crate::host::{
    Host, header, put_channel_open, put_frame, put_open, put_publish, put_start_ok, put_tune_ok, settings,
};

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
        host.connection.send_unblocked(0, &mut host.out);
        assert_eq!(host.answers(), expected, "{capabilities:?}");
    }
}

#[test]
fn a_content_that_is_held_comes_when_it_is_not() {
    let mut octets = Vec::new();
    put_channel_open(&mut octets, 1);
    put_channel_open(&mut octets, 2);
    put_publish(&mut octets, 1, b"k", false);
    put_frame(&mut octets, frame::HEADER, 1, &header(4));
    put_frame(&mut octets, frame::BODY, 1, b"ab");
    put_channel_open(&mut octets, 3);
    put_frame(&mut octets, frame::BODY, 1, b"cd");
    put_publish(&mut octets, 2, b"k", false);
    put_frame(&mut octets, frame::HEADER, 2, &header(0));
    put_publish(&mut octets, 1, b"k", true);
    put_frame(&mut octets, frame::HEADER, 1, &header(1));
    put_frame(&mut octets, frame::BODY, 1, b"e");
    let mut free = Host::open(settings(), 4096, 0);
    free.read(&octets);
    assert_eq!(free.notes.len(), 6, "{:?}", free.notes);
    for sizes in [&[usize::MAX][..], &[1], &[7, 40]] {
        let mut host = Host::open(settings(), 4096, 0);
        let mut held = 0;
        host.connection.hold_contents(true);
        host.read_in_pieces(&octets, sizes);
        while host.connection.is_held_up() {
            held += 1;
            // One more frame of content passes each time.
            let before = host.buffered();
            host.read(&[]);
            assert_eq!(host.buffered(), before, "held is held, however often it is asked");
            host.connection.hold_contents(false);
            assert!(!host.connection.is_held_up());
            host.read(&[]);
            host.connection.hold_contents(true);
        }
        assert_eq!(held, 1);
        assert_eq!(host.notes, free.notes);
    }
}

#[test]
fn only_contents_that_a_channel_expects_are_held() {
    let mut octets = Vec::new();
    put_channel_open(&mut octets, 1);
    put_frame(&mut octets, frame::HEADER, 1, &header(0));
    let mut host = Host::open(settings(), 4096, 0);
    host.connection.hold_contents(true);
    host.read(&octets);
    assert!(!host.connection.is_held_up());
    assert_eq!(host.notes.len(), 2, "{:?}", host.notes);
    assert!(!host.connection.is_open(), "a content that nothing announced is an error as ever");
}

#[test]
fn what_is_not_read_has_no_heartbeats_to_miss() {
    let mut host = Host::open(settings(), 4096, 10);
    host.connection.sent(0);
    host.connection.send_blocked("low on disk", &mut host.out);
    for beat in 1..=100 {
        assert_eq!(host.sleep(), None);
        assert_eq!((host.now, host.answers()), (beat * 5_000, vec!["heartbeat".to_owned()]));
    }
    host.connection.send_unblocked(host.now, &mut host.out);
    let read_again = host.now;
    let expired = std::iter::repeat_with(|| host.sleep()).find_map(|expired| expired);
    assert_eq!(expired, Some(Expired::Heartbeat));
    assert_eq!(host.now, read_again + 20_000);
}
