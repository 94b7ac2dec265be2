//! A client that asks for more than the broker keeps ready to be written, before it reads any of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use warrenmq_tests::start_broker;

/// connection.start-ok, tune-ok and open, without heartbeats, as guest on vhost /.
const HANDSHAKE: &[u8] = b"AMQP\x00\x00\x09\x01\
    \x01\x00\x00\x00\x00\x00\x24\x00\x0a\x00\x0b\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x0c\x00guest\x00guest\x05en_US\xce\
    \x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x1f\x07\xff\x00\x02\x00\x00\x00\x00\xce\
    \x01\x00\x00\x00\x00\x00\x08\x00\x0a\x00\x28\x01/\x00\x00\xce";
const CHANNEL_OPEN: &[u8] = b"\x01\x00\x01\x00\x00\x00\x05\x00\x14\x00\x0a\x00\xce";
/// queue.declare of the exclusive queue `q`.
const DECLARE: &[u8] = b"\x01\x00\x01\x00\x00\x00\x0d\x00\x32\x00\x0a\x00\x00\x01q\x04\x00\x00\x00\x00\xce";
/// basic.publish to the default exchange with the key `q`.
const PUBLISH: &[u8] = b"\x01\x00\x01\x00\x00\x00\x0a\x00\x3c\x00\x28\x00\x00\x00\x01q\x00\xce";
/// basic.get of `q` with automatic acknowledgement.
const GET: &[u8] = b"\x01\x00\x01\x00\x00\x00\x09\x00\x3c\x00\x46\x00\x00\x01q\x01\xce";
const BODY: usize = 100_000;
/// Together several times what the broker keeps ready to be written for one client.
const MESSAGES: usize = 60;

#[test]
fn a_full_outbox_stops_reading_only_until_it_is_written() {
    let (broker, _home) = start_broker();
    let mut socket = TcpStream::connect(broker.address()).expect("the broker accepts");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket option");
    let published = message().repeat(MESSAGES);
    for octets in [HANDSHAKE, CHANNEL_OPEN, DECLARE, &published, &GET.repeat(MESSAGES)] {
        socket.write_all(octets).expect("the broker reads");
    }
    let mut received = 0;
    let mut buffer = vec![0; 1 << 20];
    while received < MESSAGES * BODY {
        let count = socket.read(&mut buffer).expect("the broker goes on reading and writing");
        assert!(count > 0, "the broker has closed the socket");
        received += count;
    }
}

fn message() -> Vec<u8> {
    let mut octets = PUBLISH.to_vec();
    octets.extend_from_slice(b"\x02\x00\x01\x00\x00\x00\x0e\x00\x3c\x00\x00");
    octets.extend_from_slice(&(BODY as u64).to_be_bytes());
    octets.extend_from_slice(b"\x00\x00\xce\x03\x00\x01");
    octets.extend_from_slice(&(BODY as u32).to_be_bytes());
    octets.resize(octets.len() + BODY, b'x');
    octets.push(0xce);
    octets
}
