//! What a client says means the same however its octets are cut and however its channels take turns.

use proptest::collection::vec;
use proptest::prelude::*;
use warrenmq_wire::method::{self, Method, ShortString};
use warrenmq_wire::{basic, frame};

use crate::host::{self, Host, put, put_channel_open, put_frame, put_publish, settings};

const FRAME_MAX: u32 = 4096;

/// What a client does on one channel.
#[derive(Clone, Debug)]
enum Act {
    /// A message whose body comes in frames of at most so many octets.
    Publish {
        key: Vec<u8>,
        mandatory: bool,
        body: Vec<u8>,
        split: usize,
    },
    Declare(String),
    Ack(u64, bool),
    Nack(u64, bool, bool),
    Reject(u64, bool),
    CloseAndReopen,
}

fn act() -> impl Strategy<Value = Act> {
    let body = prop_oneof![4 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 4000..9000)];
    prop_oneof![
        6 => (vec(any::<u8>(), 0..5), any::<bool>(), body, prop_oneof![Just(4088), 1..20usize])
            .prop_map(|(key, mandatory, body, split)| Act::Publish { key, mandatory, body, split }),
        2 => "[a-z]{0,9}".prop_map(Act::Declare),
        2 => any::<(u64, bool)>().prop_map(|(tag, multiple)| Act::Ack(tag, multiple)),
        1 => any::<(u64, bool, bool)>().prop_map(|(tag, multiple, requeue)| Act::Nack(tag, multiple, requeue)),
        1 => any::<(u64, bool)>().prop_map(|(tag, requeue)| Act::Reject(tag, requeue)),
        1 => Just(Act::CloseAndReopen),
    ]
}

/// The frames of an act, each by itself.
fn frames(channel: u16, act: &Act) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut one = |put: &dyn Fn(&mut Vec<u8>)| {
        let mut octets = Vec::new();
        put(&mut octets);
        frames.push(octets);
    };
    match act {
        Act::Publish { key, mandatory, body, split } => {
            // Few octets in many frames: no more than 300 of them.
            let split = (*split).max(body.len() / 300 + 1);
            one(&|out| put_publish(out, channel, key, *mandatory));
            one(&|out| put_frame(out, frame::HEADER, channel, &host::header(body.len() as u64)));
            for piece in body.chunks(split) {
                one(&|out| put_frame(out, frame::BODY, channel, piece));
            }
        }
        Act::Declare(name) => one(&|out| {
            let declare = method::queue::Declare {
                queue: ShortString::try_new(name.clone()).expect("a short name"),
                passive: false,
                durable: true,
                exclusive: false,
                auto_delete: false,
                nowait: false,
                arguments: method::FieldTable::default(),
            };
            put(out, channel, Method::Queue(method::queue::AMQPMethod::Declare(declare)));
        }),
        Act::Ack(tag, multiple) => one(&|out| basic::put_ack(out, channel, *tag, *multiple)),
        Act::Nack(tag, multiple, requeue) => {
            one(&|out| basic::put_nack(out, channel, *tag, *multiple, *requeue));
        }
        Act::Reject(tag, requeue) => one(&|out| {
            let mut payload = vec![0, 60, 0, 90];
            payload.extend_from_slice(&tag.to_be_bytes());
            payload.push(u8::from(*requeue));
            put_frame(out, frame::METHOD, channel, &payload);
        }),
        Act::CloseAndReopen => {
            one(&|out| {
                use method::channel::{AMQPMethod, Close};
                let reply_text = ShortString::try_new("bye").expect("a short text");
                let close = Close { reply_code: 200, reply_text, class_id: 0, method_id: 0 };
                put(out, channel, Method::Channel(AMQPMethod::Close(close)));
            });
            one(&|out| put_channel_open(out, channel));
        }
    }
    frames
}

/// What the client says on each channel, frame by frame, from channel.open on.
fn channels() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    vec(vec(act(), 0..8), 1..5).prop_map(|channels| {
        let of_channel = |(number, acts): (u16, &Vec<Act>)| {
            let mut all = vec![Vec::new()];
            put_channel_open(&mut all[0], number);
            all.extend(acts.iter().flat_map(|act| frames(number, act)));
            all
        };
        (1..).zip(&channels).map(of_channel).collect()
    })
}

/// One stream in which the channels take turns as `turns` says, with heartbeats in between.
fn interleaved(channels: &[Vec<Vec<u8>>], turns: &[u8]) -> Vec<u8> {
    let mut left: Vec<&[Vec<u8>]> = channels.iter().map(Vec::as_slice).collect();
    let mut turns = turns.iter().copied().cycle();
    let mut stream = Vec::new();
    while left.iter().any(|frames| !frames.is_empty()) {
        left.retain(|frames| !frames.is_empty());
        let turn = turns.next().unwrap_or(0);
        if turn > 250 {
            frame::put_heartbeat(&mut stream);
        }
        let at = usize::from(turn) % left.len();
        stream.extend_from_slice(&left[at][0]);
        left[at] = &left[at][1..];
    }
    stream
}

/// Events and answers of a stream that comes whole, which is what all others are compared with.
fn whole(stream: &[u8]) -> (Vec<String>, Vec<u8>) {
    let mut host = Host::open(settings(), FRAME_MAX, 0);
    host.read(stream);
    (host.notes, host.out)
}

fn in_pieces(stream: &[u8], sizes: &[usize]) -> (Vec<String>, Vec<u8>) {
    let mut host = Host::open(settings(), FRAME_MAX, 0);
    host.read_in_pieces(stream, sizes);
    (host.notes, host.out)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_events(
        channels in channels(),
        turns in vec(any::<u8>(), 1..20),
        sizes in vec(1..3000usize, 1..10),
    ) {
        let stream = interleaved(&channels, &turns);
        let expected = whole(&stream);
        prop_assert!(!expected.0.iter().any(|note| note.starts_with("Fault")), "{:?}", expected.0);
        prop_assert_eq!(&in_pieces(&stream, &sizes), &expected);
        prop_assert_eq!(&in_pieces(&stream, &[1]), &expected);
    }

    #[test]
    fn channels_do_not_disturb_each_other(channels in channels(), turns in vec(any::<u8>(), 1..20)) {
        let together = whole(&interleaved(&channels, &turns)).0;
        for (number, frames) in channels.iter().enumerate() {
            let number = number + 1;
            let alone = whole(&frames.concat()).0;
            let of_channel = |note: &&String| {
                ["publish on ", "ChannelOpen(", "ChannelClose(", "Method(", "Ack(", "Nack(", "Reject("]
                    .iter()
                    .any(|start| note.strip_prefix(start).is_some_and(|rest| {
                        rest.strip_prefix(&number.to_string()).is_some_and(|rest| rest.starts_with([':', ')', ',']))
                    }))
            };
            let its_own: Vec<&String> = together.iter().filter(of_channel).collect();
            prop_assert_eq!(its_own, alone.iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn frames_of_a_body_make_no_difference(body in vec(any::<u8>(), 1..4000), split in 1..500usize) {
        let message = |split| {
            let mut stream = Vec::new();
            put_channel_open(&mut stream, 1);
            let publish = Act::Publish { key: b"k".to_vec(), mandatory: true, body: body.clone(), split };
            stream.extend(frames(1, &publish).concat());
            whole(&stream)
        };
        prop_assert_eq!(message(split), message(4088));
    }

    /// Whatever follows a handshake: no panic, the same meaning in any cut, and nothing is kept beyond a frame.
    #[test]
    fn anything_may_follow_a_handshake(
        channels in channels(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        tail in vec(any::<u8>(), 0..200),
        sizes in vec(1..50usize, 1..10),
    ) {
        let mut stream = interleaved(&channels, &[7]);
        for (at, octet) in damage {
            let at = at.index(stream.len());
            stream[at] = octet;
        }
        stream.extend(tail);
        let expected = whole(&stream);
        prop_assert_eq!(&in_pieces(&stream, &sizes), &expected);
        let mut host = Host::open(settings(), FRAME_MAX, 0);
        for piece in stream.chunks(sizes[0]) {
            host.read(piece);
            prop_assert!(host.buffered() <= 3 * (FRAME_MAX as usize + 8), "publish, header and body at most");
        }
    }

    /// Whatever stands where a handshake is due.
    #[test]
    fn anything_may_come_first(
        good in 0..4usize,
        tail in vec(any::<u8>(), 0..300),
        sizes in vec(1..50usize, 1..10),
    ) {
        let mut stream = host::handshake(FRAME_MAX, 0);
        let ends = [0, 8, stream.len() / 2, stream.len() - 1];
        stream.truncate(ends[good]);
        stream.extend(tail);
        let mut one = Host::new(settings());
        one.read(&stream);
        let mut other = Host::new(settings());
        other.read_in_pieces(&stream, &sizes);
        prop_assert_eq!((one.notes, one.out), (other.notes, other.out));
    }
}
