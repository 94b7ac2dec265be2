//! What the broker offers and allows a connection, and what was agreed on with the peer.
//!
//! Invariant: a [`Tuning`] exists only within the limits of the [`Settings`] it was negotiated from.

use warrenmq_wire::reply::ReplyCode;

use crate::Millis;
use crate::fault::Exception;

/// Limits and offers for every connection. Zero means "no limit" where AMQP says so.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest frame in octets, with its 8 octets of frame head and end (`frame_max`, RabbitMQ's default 131072).
    pub frame_max: u32,
    /// Smallest `frame_max` that a client may ask for. 4096 by the specification; RabbitMQ 4.1 raised it to 8192.
    pub frame_max_min: u32,
    /// Largest frame before tune-ok, in octets.
    pub handshake_frame_max: u32,
    /// Most channels that may be open at once (`channel_max`, RabbitMQ's default 2047).
    pub channel_max: u16,
    /// Heartbeat interval that the broker proposes, in seconds.
    pub heartbeat: u16,
    /// Time for everything up to connection.open, in milliseconds.
    pub handshake_timeout: Millis,
    /// Largest body in octets; beyond it the channel is closed with 406 (`max_message_size`).
    pub message_size_max: u64,
    /// Octets of unfinished contents that one connection may hold over all its channels.
    pub assembly_octets_max: u64,
    /// Octets that are left free in front of a message put together from several frames, for whoever takes it over; a few.
    pub content_room: usize,
}

/// Bodies above this are a frame error (RabbitMQ's hard cap).
pub(crate) const BODY_SIZE_MAX: u64 = 512 * 1024 * 1024;

/// What tune-ok agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Largest frame in octets; 0 is no limit.
    pub frame_max: u32,
    /// Most channels; 0 is no limit.
    pub channel_max: u16,
    /// Heartbeat interval in seconds; 0 is none.
    pub heartbeat: u16,
}

impl Settings {
    /// Checks the client's answer to tune as RabbitMQ does (`validate_negotiated_integer_value`).
    pub(crate) fn negotiate(&self, asked: Tuning) -> Result<Tuning, Exception> {
        let Tuning { frame_max, channel_max, .. } = asked;
        check("frame_max", self.frame_max_min, self.frame_max, frame_max)?;
        check("channel_max", 1, u32::from(self.channel_max), u32::from(channel_max))?;
        Ok(asked)
    }
}

impl Tuning {
    /// Largest payload of a frame that the broker sends.
    pub fn payload_max(&self) -> usize {
        match self.frame_max {
            0 => usize::MAX,
            max => max as usize - warrenmq_wire::frame::OVERHEAD,
        }
    }
}

fn check(field: &str, min: u32, max: u32, asked: u32) -> Result<(), Exception> {
    let refuse = |relation: &str, bound: &str, value: u32| {
        let text =
            format!("negotiated {field} = {asked} is {relation} than the {bound} allowed value ({value})");
        Err(Exception::new(ReplyCode::NotAllowed, text).at(10, 30))
    };
    if asked != 0 && asked < min {
        return refuse("lower", "minimum", min);
    }
    if max != 0 && (asked == 0 || asked > max) {
        return refuse("higher", "maximum", max);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn settings() -> Settings {
        Settings {
            frame_max: 131_072,
            frame_max_min: 4096,
            handshake_frame_max: 8192,
            channel_max: 2047,
            heartbeat: 60,
            handshake_timeout: 10_000,
            message_size_max: 16 * 1024 * 1024,
            assembly_octets_max: 64 * 1024 * 1024,
            content_room: 0,
        }
    }

    #[test]
    fn tune_ok_is_held_to_the_limits() {
        let cases: [(u32, u16, &str); 7] = [
            (131_072, 2047, ""),
            (4096, 1, ""),
            (4095, 1, "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)"),
            (131_073, 1, "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)"),
            (0, 1, "negotiated frame_max = 0 is higher than the maximum allowed value (131072)"),
            (8192, 2048, "negotiated channel_max = 2048 is higher than the maximum allowed value (2047)"),
            (8192, 0, "negotiated channel_max = 0 is higher than the maximum allowed value (2047)"),
        ];
        for (frame_max, channel_max, refusal) in cases {
            let asked = Tuning { frame_max, channel_max, heartbeat: 0 };
            match settings().negotiate(asked) {
                Ok(agreed) => assert_eq!((agreed, refusal), (asked, "")),
                Err(exception) => assert_eq!(exception.explanation, refusal),
            }
        }
    }
}
