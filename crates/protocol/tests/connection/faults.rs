//! What a peer is told that breaks a rule, to the letter.

use warrenmq_wire::frame;

use crate::host::{Host, header, put_channel_open, put_frame, put_publish, settings};

/// Octets on an open connection with channel 1 and frames of 4096 octets, and the one answer to them.
type Case = (&'static str, fn(&mut Vec<u8>), &'static str);

const CASES: [Case; 24] = [
    (
        "wrong end of frame",
        |out| out.extend_from_slice(b"\x01\x00\x01\x00\x00\x00\x04\x00\x14\x00\x0aX"),
        "connection: 501 FRAME_ERROR - type 1, all octets = <<0,20,0,10>>: {invalid_frame_end_marker,88} (0,0)",
    ),
    (
        "frame above frame_max",
        |out| out.extend_from_slice(b"\x03\x00\x01\x00\x00\x10\x01"),
        "connection: 501 FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,4097,4088} (0,0)",
    ),
    (
        "unknown kind of frame",
        |out| put_frame(out, 9, 1, b"what?"),
        "connection: 501 FRAME_ERROR - type 9, all octets = <<\"what?\">>: unknown_frame (0,0)",
    ),
    (
        "heartbeat with a payload",
        |out| put_frame(out, frame::HEARTBEAT, 0, b"x"),
        "connection: 501 FRAME_ERROR - type 8, all octets = <<\"x\">>: unknown_frame (0,0)",
    ),
    (
        "heartbeat on a channel",
        |out| put_frame(out, frame::HEARTBEAT, 1, b""),
        "connection: 505 UNEXPECTED_FRAME - type 8, all octets = <<>> (0,0)",
    ),
    (
        "body on channel 0",
        |out| put_frame(out, frame::BODY, 0, &[7; 17]),
        "connection: 505 UNEXPECTED_FRAME - type 3, first 16 octets = <<7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7>> (0,0)",
    ),
    (
        "method without ids",
        |out| put_frame(out, frame::METHOD, 1, &[0, 60]),
        "connection: 501 FRAME_ERROR - type 1, all octets = <<0,60>>: unknown_frame (0,0)",
    ),
    (
        "method on an unopened channel",
        |out| put_frame(out, frame::METHOD, 2, &[0, 90, 0, 10]),
        "connection: 504 CHANNEL_ERROR - expected 'channel.open' (90,10)",
    ),
    (
        "body on an unopened channel",
        |out| put_frame(out, frame::BODY, 2, b"x"),
        "connection: 505 UNEXPECTED_FRAME - expected method frame, got non method frame instead (0,0)",
    ),
    (
        "second channel.open",
        |out| put_channel_open(out, 1),
        "connection: 504 CHANNEL_ERROR - second 'channel.open' seen (20,10)",
    ),
    (
        "body without publish",
        |out| put_frame(out, frame::BODY, 1, b"x"),
        "connection: 505 UNEXPECTED_FRAME - expected method frame, got non method frame instead (0,0)",
    ),
    (
        "method instead of a header",
        |out| {
            put_publish(out, 1, b"k", false);
            put_frame(out, frame::METHOD, 1, &[0, 90, 0, 10]);
        },
        "connection: 505 UNEXPECTED_FRAME - expected content header for class 60, got non content header frame \
         instead (60,40)",
    ),
    (
        "body instead of a header",
        |out| {
            put_publish(out, 1, b"k", false);
            put_frame(out, frame::BODY, 1, b"x");
        },
        "connection: 505 UNEXPECTED_FRAME - expected content header for class 60, got non content header frame \
         instead (60,40)",
    ),
    (
        "header of another class",
        |out| {
            put_publish(out, 1, b"k", false);
            let mut header = header(1);
            header[1] = 50;
            put_frame(out, frame::HEADER, 1, &header);
        },
        "connection: 505 UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead \
         (60,40)",
    ),
    (
        "header instead of a body",
        |out| {
            put_publish(out, 1, b"k", false);
            put_frame(out, frame::HEADER, 1, &header(1));
            put_frame(out, frame::HEADER, 1, &header(1));
        },
        "connection: 505 UNEXPECTED_FRAME - expected content body, got non content body frame instead (60,40)",
    ),
    (
        "body longer than announced",
        |out| {
            put_publish(out, 1, b"k", false);
            put_frame(out, frame::HEADER, 1, &header(1));
            put_frame(out, frame::BODY, 1, b"xy");
        },
        "connection: 501 FRAME_ERROR - content body frame exceeds remaining content size (60,40)",
    ),
    (
        "4 GiB announced",
        |out| {
            put_publish(out, 1, b"k", false);
            put_frame(out, frame::HEADER, 1, &header(4 << 30));
        },
        "connection: 501 FRAME_ERROR - content body size 4294967296 exceeds maximum allowed size 536870912 \
         (60,40)",
    ),
    (
        "above max_message_size",
        |out| {
            put_publish(out, 1, b"k", false);
            put_frame(out, frame::HEADER, 1, &header(16 * 1024 * 1024 + 1));
        },
        "channel: 406 PRECONDITION_FAILED - message size 16777217 is larger than configured max size 16777216 \
         (60,40)",
    ),
    (
        "immediate",
        |out| put_frame(out, frame::METHOD, 1, &[0, 60, 0, 40, 0, 0, 0, 1, b'k', 2]),
        "connection: 540 NOT_IMPLEMENTED - immediate=true (60,40)",
    ),
    (
        "prefetch-size",
        |out| put_frame(out, frame::METHOD, 1, &[0, 60, 0, 10, 0, 0, 0, 5, 0, 1, 0]),
        "connection: 540 NOT_IMPLEMENTED - prefetch_size!=0 (5) (60,10)",
    ),
    (
        "publish that ends too early",
        |out| put_frame(out, frame::METHOD, 1, &[0, 60, 0, 40, 0, 0, 5, b'a']),
        "connection: 501 FRAME_ERROR - cannot decode <<0,0,5,97>> (60,40)",
    ),
    (
        "name that is not UTF-8",
        |out| put_frame(out, frame::METHOD, 1, &[0, 50, 0, 30, 0, 0, 1, 0xFF, 0]),
        "connection: 501 FRAME_ERROR - Malformed UTF-8 in shortstr (0,0)",
    ),
    (
        "unknown method",
        |out| put_frame(out, frame::METHOD, 1, &[0, 50, 0, 99]),
        "connection: 503 COMMAND_INVALID - unknown method: class 50, method 99 (0,0)",
    ),
    (
        "a method of the handshake",
        |out| put_frame(out, frame::METHOD, 0, &[0, 10, 0, 31, 0, 1, 0, 0, 16, 0, 0, 0]),
        "connection: 504 CHANNEL_ERROR - unexpected method in connection state running (10,31)",
    ),
];

#[test]
fn the_first_mistake_is_told() {
    for (name, mistake, expected) in CASES {
        let mut octets = Vec::new();
        put_channel_open(&mut octets, 1);
        mistake(&mut octets);
        // A second one, which comes too late.
        put_frame(&mut octets, 9, 1, b"");
        for size in [1, octets.len()] {
            let mut host = Host::open(settings(), 4096, 0);
            host.read_in_pieces(&octets, &[size]);
            let answers = host.answers();
            let expected = expected.to_owned();
            assert_eq!(answers.get(..2), Some(&["channel.open-ok".to_owned(), expected][..]), "{name}");
            assert_eq!(host.buffered(), 0, "{name}");
        }
    }
}

/// More channels than were agreed on.
#[test]
fn channels_are_counted() {
    let mut settings = settings();
    settings.channel_max = 0;
    let mut host = Host::open(settings, 4096, 0);
    let mut octets = Vec::new();
    (1..=2048).for_each(|number| put_channel_open(&mut octets, number));
    host.read(&octets);
    let last = host.answers().pop();
    let text = "connection: 530 NOT_ALLOWED - number of channels opened (2047) has reached the negotiated channel_max \
                (2047) (0,0)";
    assert_eq!(last.as_deref(), Some(text));
}

/// A channel that waits for close-ok listens to nothing else, and its number is free after it.
#[test]
fn a_closing_channel_is_deaf() {
    let mut host = Host::open(settings(), 4096, 0);
    let mut octets = Vec::new();
    put_channel_open(&mut octets, 1);
    put_publish(&mut octets, 1, b"k", false);
    put_frame(&mut octets, frame::HEADER, 1, &header(u64::from(u32::MAX) / 8));
    put_frame(&mut octets, frame::BODY, 1, b"the rest of what was under way");
    put_publish(&mut octets, 1, b"k", false);
    put_channel_open(&mut octets, 1);
    host.read(&octets);
    assert_eq!(host.notes.len(), 2, "{:?}", host.notes);
    host.notes.clear();
    octets.clear();
    put_frame(&mut octets, frame::METHOD, 1, &[0, 20, 0, 41]);
    put_channel_open(&mut octets, 1);
    host.read(&octets);
    assert_eq!(host.notes, ["ChannelFreed(1)", "ChannelOpen(1)"]);
}

/// All that is unfinished on a connection has one bound.
#[test]
fn unfinished_messages_are_bounded() {
    let mut settings = settings();
    settings.assembly_octets_max = 10_000;
    let mut host = Host::open(settings, 4096, 0);
    for number in 1..=5 {
        let mut octets = Vec::new();
        put_channel_open(&mut octets, number);
        put_publish(&mut octets, number, b"k", false);
        put_frame(&mut octets, frame::HEADER, number, &header(100_000));
        put_frame(&mut octets, frame::BODY, number, &[0; 3000]);
        host.read(&octets);
    }
    let expected =
        "connection: 506 RESOURCE_ERROR - too many octets in unfinished messages on this connection (60,40)";
    assert_eq!(host.answers().last().map(String::as_str), Some(expected));
}
