//! Deadlines in virtual time.

use warrenmq_protocol::{Exception, Expired, Fault};
use warrenmq_wire::method::Method;
use warrenmq_wire::reply::ReplyCode;

use crate::host::{self, Host, settings};

#[test]
fn the_handshake_has_ten_seconds() {
    let stream = host::handshake(4096, 0);
    // However far it came.
    for cut in 0..stream.len() {
        let mut host = Host::new(settings());
        host.now = 9_000;
        host.read(&stream[..cut]);
        assert_eq!(host.connection.timeout(), Some(10_000), "{cut} octets");
        assert_eq!(host.connection.handle_timeout(9_999, &mut host.out), None);
        assert_eq!(host.sleep(), Some(Expired::Handshake));
    }
    let mut host = Host::new(settings());
    host.now = 9_999;
    host.read(&stream);
    assert_eq!(host.connection.timeout(), None, "nothing is due on an open connection without heartbeats");
}

#[test]
fn heartbeats_go_at_half_the_interval() {
    let mut host = Host::open(settings(), 4096, 10);
    host.connection.sent(host.now);
    let mut times = Vec::new();
    while host.sleep().is_none() {
        times.push((host.now, host.answers()));
    }
    let beat = |second: u64| (second * 1000, vec!["heartbeat".to_owned()]);
    assert_eq!(times, [beat(5), beat(10), beat(15)], "and the silent peer is given up after two intervals");
    assert_eq!(host.now, 20_000);
}

#[test]
fn what_is_sent_is_as_good_as_a_heartbeat() {
    let mut host = Host::open(settings(), 4096, 10);
    host.connection.sent(3_000);
    assert_eq!(host.connection.timeout(), Some(8_000));
    assert_eq!(host.connection.handle_timeout(5_000, &mut host.out), None);
    assert_eq!(host.answers(), [""; 0]);
}

#[test]
fn any_octet_shows_that_the_peer_is_there() {
    let mut host = Host::open(settings(), 4096, 10);
    for _ in 0..10 {
        host.now += 19_999;
        assert_eq!(host.connection.handle_timeout(host.now, &mut host.out), None);
        // Not even a whole frame.
        host.read(&[8]);
        host.read(&[0, 0, 0, 0, 0, 0, 0xCE]);
    }
    host.now += 20_000;
    assert_eq!(host.connection.handle_timeout(host.now, &mut host.out), Some(Expired::Heartbeat));
}

#[test]
fn a_heartbeat_of_zero_is_none() {
    let host = Host::open(settings(), 4096, 0);
    assert_eq!(host.connection.timeout(), None);
}

/// The wait for close-ok: 30 s, or the heartbeat interval when that is shorter; 3 s when nothing can be read any more.
#[test]
fn a_close_is_not_waited_for_for_ever() {
    let forced = || Fault::Connection(Exception::new(ReplyCode::ConnectionForced, "broker forced it"));
    for (heartbeat, wait) in [(0, 30_000), (10, 10_000), (60, 30_000)] {
        let mut host = Host::open(settings(), 4096, heartbeat);
        host.now = 1_000;
        host.connection.fail(host.now, &forced(), &mut host.out);
        assert_eq!(host.answers(), ["connection: 320 CONNECTION_FORCED - broker forced it (0,0)"]);
        // What comes now changes nothing, and there are no heartbeats any more.
        loop {
            host.now = host.connection.timeout().expect("the close is due");
            host.connection.received(host.now);
            if let Some(expired) = host.connection.handle_timeout(host.now, &mut host.out) {
                assert_eq!(expired, Expired::Closing);
                break;
            }
        }
        assert_eq!((host.now, host.answers()), (1_000 + wait, vec![]), "heartbeat {heartbeat}");
    }
    let mut host = Host::open(settings(), 4096, 0);
    host.read(b"\x01\x00\x00\x00\x00\x00\x00!");
    assert_eq!(host.answers().len(), 1, "the frame error is told");
    assert_eq!((host.sleep(), host.now), (Some(Expired::Closing), 3_000));
}

#[test]
fn a_failed_handshake_ends_after_three_silent_seconds() {
    let mut host = Host::new(settings());
    host.now = 500;
    let mut stream = warrenmq_wire::frame::PROTOCOL_HEADER.to_vec();
    host::put_open(&mut stream);
    host.read(&stream);
    assert_eq!(host.answers(), ["connection.start"], "a method that is not due is not answered");
    host.read(&host::handshake(4096, 0));
    assert_eq!((host.answers(), host.connection.is_gone()), (vec![], false));
    assert_eq!((host.sleep(), host.now), (Some(Expired::Closing), 3_500));
}

#[test]
fn the_answer_to_a_close_ends_it_at_once() {
    use warrenmq_wire::method::connection::{AMQPMethod, CloseOk};
    let mut host = Host::open(settings(), 4096, 0);
    let fault = Fault::Connection(Exception::new(ReplyCode::InternalError, "oops").at(50, 10));
    host.connection.fail(0, &fault, &mut host.out);
    assert_eq!(host.answers(), ["connection: 541 INTERNAL_ERROR - oops (50,10)"]);
    let mut stream = Vec::new();
    // Channels are not listened to any more.
    host::put_channel_open(&mut stream, 1);
    host::put(&mut stream, 0, Method::Connection(AMQPMethod::CloseOk(CloseOk {})));
    host.read(&stream);
    assert_eq!(host.notes, ["Gone"]);
    assert!(host.connection.is_gone());
}
