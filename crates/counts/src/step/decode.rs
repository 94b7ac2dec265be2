//! Octets to events.

use std::hint::black_box;
use std::sync::Arc;

use warrenmq_broker::Limits;
use warrenmq_protocol::{Connection, Event, Settings};
use warrenmq_wire::method::FieldTable;

use super::record::IN_A_READ;
use crate::Work;
use crate::meter::in_the_count;
use crate::whole::{opening, publish};
use crate::wiring;

/// A connection that publishes are read from.
pub(super) struct Decode {
    connection: Connection,
    input: Vec<u8>,
}

impl Decode {
    /// Messages of so many octets.
    pub(super) fn new(octets: usize) -> Decode {
        let mut connection = Connection::new(Arc::new(settings()), 0);
        for (octets, _) in opening() {
            open(&mut connection, &octets);
        }
        assert!(connection.is_open(), "the handshake is done");
        Decode { connection, input: publish("", &wiring::queue(0), &[], octets, false).repeat(IN_A_READ) }
    }
}

impl Work for Decode {
    fn work(&mut self) -> u64 {
        let Decode { connection, input } = self;
        let mut count = 0;
        in_the_count(|| {
            let mut rest = &input[..];
            while let Some(event) = connection.next(&mut rest) {
                let Event::Publish(publish) = event else { panic!("no publish: {event:?}") };
                black_box(publish);
                count += 1;
            }
        });
        count
    }
}

fn open(connection: &mut Connection, mut input: &[u8]) {
    let out = &mut Vec::new();
    while let Some(event) = connection.next(&mut input) {
        match event {
            Event::Hello => connection.send_start(FieldTable::default(), "PLAIN", out),
            Event::StartOk(_) => connection.send_tune(out),
            Event::Open(_) => connection.open_ok(out),
            Event::ChannelOpen(number) => connection.channel_open_ok(number, out),
            other => panic!("no part of a handshake: {other:?}"),
        }
    }
}

fn settings() -> Settings {
    let limits = Limits::default();
    Settings {
        frame_max: limits.frame_max,
        frame_max_min: limits.frame_max_min,
        handshake_frame_max: limits.handshake_frame_max,
        channel_max: limits.channel_max,
        heartbeat: 0,
        handshake_timeout: limits.handshake_timeout_ms,
        message_size_max: limits.message_size_max,
        assembly_octets_max: limits.assembly_octets_max,
        content_room: warrenmq_queue::Run::HEAD_ROOM,
    }
}
