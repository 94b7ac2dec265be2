//! Large bodies: what is told does not depend on how they are read.

use proptest::collection::vec;
use proptest::prelude::*;
use warrenmq_wire::frame;

use crate::host::{Host, header, put_channel_open, put_frame, put_publish, settings};

const FRAME_MAX: u32 = 131_072;

/// A message on a channel, with a body of so many octets in frames of so many.
#[derive(Clone, Debug)]
struct Message {
    channel: u16,
    size: usize,
    frame: usize,
}

fn message() -> impl Strategy<Value = Message> {
    let size = prop_oneof![3 => 0..200usize, 3 => 4000..9000usize, 3 => 16_000..70_000usize, 1 => 130_000..600_000usize];
    let frame = prop_oneof![Just(FRAME_MAX as usize - 8), 4000..70_000usize];
    (1..4u16, size, frame).prop_map(|(channel, size, frame)| Message { channel, size, frame })
}

/// The frames of a message, each by itself.
fn frames(message: &Message, seed: usize) -> Vec<Vec<u8>> {
    let body: Vec<u8> = (0..message.size).map(|at| (at * 31 + at / 251 + seed) as u8).collect();
    let mut octets = vec![Vec::new()];
    put_publish(&mut octets[0], message.channel, b"key", seed.is_multiple_of(2));
    put_frame(&mut octets[0], frame::HEADER, message.channel, &header(body.len() as u64));
    for part in body.chunks(message.frame) {
        octets.push(Vec::new());
        put_frame(octets.last_mut().expect("pushed"), frame::BODY, message.channel, part);
    }
    octets
}

/// Three channels that take turns, frame by frame.
fn stream(messages: &[Message], turns: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut channels: Vec<std::collections::VecDeque<Vec<u8>>> = vec![Default::default(); 3];
    for (number, frames) in (1..).zip(&mut channels) {
        put_channel_open(&mut stream, number);
        frames.clear();
    }
    for (seed, message) in messages.iter().enumerate() {
        channels[usize::from(message.channel) - 1].extend(frames(message, seed));
    }
    let mut turns = turns.iter().copied().cycle();
    while channels.iter().any(|frames| !frames.is_empty()) {
        let turn = turns.next().unwrap_or(0);
        if turn > 230 {
            frame::put_heartbeat(&mut stream);
        }
        if let Some(frame) = channels[usize::from(turn) % 3].pop_front() {
            stream.extend(frame);
        } else if let Some(frame) = channels.iter_mut().find_map(std::collections::VecDeque::pop_front) {
            stream.extend(frame);
        }
    }
    stream
}

/// Everything that can be seen of a stream: whole, in pieces, and with the large bodies read directly.
fn seen(stream: &[u8], sizes: &[usize]) -> [(Vec<String>, Vec<u8>); 3] {
    let mut hosts = [(); 3].map(|()| Host::open(settings(), FRAME_MAX, 0));
    hosts[0].read(stream);
    hosts[1].read_in_pieces(stream, sizes);
    hosts[2].read_directly(stream, sizes);
    hosts.map(|host| (host.notes, host.out))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn direct_reads_give_the_same_messages(
        messages in vec(message(), 1..8),
        turns in vec(any::<u8>(), 1..10),
        sizes in vec(prop_oneof![1..300usize, 4000..140_000usize], 1..6),
    ) {
        let [whole, in_pieces, direct] = seen(&stream(&messages, &turns), &sizes);
        prop_assert!(whole.0.iter().filter(|note| note.starts_with("publish")).count() == messages.len());
        prop_assert_eq!(&in_pieces, &whole);
        prop_assert_eq!(&direct, &whole);
    }

    /// Wrong octets anywhere, most likely in heads and ends of frames.
    #[test]
    fn direct_reads_give_the_same_faults(
        messages in vec(message(), 1..4),
        turns in vec(any::<u8>(), 1..10),
        damage in vec((any::<prop::sample::Index>(), 0..9usize, any::<u8>()), 1..4),
        sizes in vec(prop_oneof![1..300usize, 4000..140_000usize], 1..6),
    ) {
        let mut stream = stream(&messages, &turns);
        let mut ends = Vec::new();
        let mut rest = stream.as_slice();
        while let Ok(Some((_, used))) = frame::split(rest, usize::MAX) {
            rest = &rest[used..];
            ends.push(stream.len() - rest.len() - 1);
        }
        for (end, behind, octet) in damage {
            let at = *end.get(&ends) + behind;
            if let Some(damaged) = stream.get_mut(at) {
                *damaged = octet;
            }
        }
        let [whole, in_pieces, direct] = seen(&stream, &sizes);
        prop_assert_eq!(&in_pieces, &whole);
        prop_assert_eq!(&direct, &whole);
    }
}

/// A message of 1 MiB is read directly but for its beginning, and every cut of the octets between its frames gives the same.
#[test]
fn most_of_a_large_body_is_read_directly() {
    let message = Message { channel: 1, size: 1 << 20, frame: FRAME_MAX as usize - 8 };
    let stream = stream(&[message.clone(), message], &[0]);
    let mut expected = Host::open(settings(), FRAME_MAX, 0);
    expected.read(&stream);
    for first in [1, 100, 131_072].into_iter().chain(131_100..131_140) {
        let mut host = Host::open(settings(), FRAME_MAX, 0);
        host.read_directly(&stream, &[first, 131_072, 131_072, 131_072, 131_072, 131_072, 131_072, 131_072]);
        assert_eq!(host.notes, expected.notes, "{first}");
        assert!(host.direct_reads >= 14, "{} reads with {first}", host.direct_reads);
    }
}

/// A channel that closes in the middle of a frame: the rest of the frame is for nobody.
#[test]
fn a_channel_may_end_in_the_middle_of_a_frame() {
    let message = Message { channel: 1, size: 300_000, frame: 100_000 };
    let stream = stream(&[message], &[0]);
    let mut host = Host::open(settings(), FRAME_MAX, 0);
    let (first, rest) = stream.split_at(150_000);
    host.read(first);
    let exception = warrenmq_protocol::Exception::new(warrenmq_wire::reply::ReplyCode::NotFound, "gone");
    host.connection.fail(0, &exception.on(1), &mut host.out);
    assert!(host.connection.direct().is_none());
    assert!(host.connection.took_direct().is_empty());
    host.read(rest);
    assert_eq!(host.buffered(), 0);
    assert!(host.connection.is_open() && !host.notes.iter().any(|note| note.starts_with("publish")));
}
