//! Steps that end channels and connections, and steps that no client library would take.

use super::Generator;
use crate::differential::script::{Action, method};
use crate::transcript::codec::{
    FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD, encode_header, encode_method,
};

impl Generator {
    /// An orderly or a sudden end.
    pub(super) fn end_something(&mut self) {
        let place = self.place();
        match self.random.below(12) {
            0..=4 => {
                self.say(place, "channel.close {} 200");
                self.forget_channel(place);
            }
            5 | 6 => {
                self.push(place.0, Action::Say(method("connection.close 0 200")));
                self.forget_connection(place.0);
            }
            7 | 8 => {
                self.push(place.0, Action::Leave);
                self.forget_connection(place.0);
            }
            _ => self.delete(),
        }
    }

    /// A mistake in the protocol.
    pub(super) fn misbehave(&mut self) {
        let (connection, channel) = self.place();
        if self.random.chance(250) {
            return self.send_frames(connection, channel);
        }
        let text = self.one_of(&[
            "channel.open CH",
            "channel.open-ok CH",
            "channel.close-ok CH",
            "channel.flow CH false",
            "channel.flow CH true",
            "basic.get-empty CH",
            "basic.deliver CH t 1 | | body=x",
            "queue.declare-ok CH queue=@q1",
            "basic.publish 7 routing-key=@q1 | | body=x",
            "queue.declare 7 queue=@q1",
            "channel.close 7 200",
            "queue.declare 0 queue=@q1",
            "connection.open CH /",
            "connection.tune-ok 0 1 4096 0",
            "access.request CH /data",
            "basic.qos CH prefetch-size=1",
        ]);
        let message = method(&text.replace("CH", &channel.to_string()));
        self.push(connection, Action::Blurt(message));
    }

    /// Frames that do not make a method and its content.
    fn send_frames(&mut self, connection: u32, channel: u16) {
        let publish = method(&format!("basic.publish {channel} routing-key=@q1"));
        let publish = (FRAME_METHOD, encode_method(publish.method, &publish.fields));
        let header = |class, size| (FRAME_HEADER, encode_header(class, size, &[]));
        let body = |octets: &[u8]| (FRAME_BODY, octets.to_vec());
        let frames = match self.random.below(12) {
            0 => vec![body(b"x")],
            1 => vec![header(60, 1)],
            2 => vec![(FRAME_HEARTBEAT, Vec::new())],
            3 => vec![publish, body(b"x")],
            4 => vec![publish, header(10, 1)],
            5 => vec![publish, header(60, 1), another_method(channel)],
            6 => vec![publish.clone(), publish],
            7 => vec![publish, header(60, 3), body(b"a"), body(b""), body(b"bc")],
            8 => vec![(FRAME_METHOD, vec![0, 50, 0, 10, 0])],
            9 => vec![(FRAME_METHOD, vec![0, 99, 0, 10])],
            10 => vec![(9, b"x".to_vec())],
            _ => {
                self.push(connection, Action::Bytes(b"AMQP\0\0\x09\x01".to_vec()));
                Vec::new()
            }
        };
        for (kind, payload) in frames {
            self.push(connection, Action::Frame { kind, channel, payload });
        }
        self.forget_connection(connection);
    }
}

fn another_method(channel: u16) -> (u8, Vec<u8>) {
    let get = method(&format!("basic.get {channel} queue=@q1"));
    (FRAME_METHOD, encode_method(get.method, &get.fields))
}
