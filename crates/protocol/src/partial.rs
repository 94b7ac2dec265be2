//! The part of a body frame that has come before the rest of it, and how the rest is read to where it belongs.
//!
//! A large body is not kept until its frames are whole: what has come of a frame goes to its message at once, and whoever reads
//! the socket may read there too ([`Connection::direct`]). Invariant: what a peer is told does not depend on it. So a frame
//! is only taken in parts when nothing but its end octet can be wrong with it.

use warrenmq_wire::frame::{self, FrameError};

use crate::channels::ChannelState;
use crate::connection::{Connection, Input, State};
use crate::event::Event;
use crate::fault::{Fault, bad_frame};

/// Of a body frame with fewer octets nothing is taken before it is whole: it is soon there, and costs less in one piece.
pub(crate) const PARTIAL_OCTETS_MIN: u32 = 4096;
/// For fewer octets, of the frame or of what is left of the body, reads of their own do not pay: they come with what follows.
const DIRECT_OCTETS_MIN: u32 = 16 * 1024;
/// What a direct read takes beyond a frame, so that the next one can be read directly too: the end octet and the next head.
pub(crate) const TAIL_OCTETS: usize = frame::OVERHEAD;

/// What stood before the next frame.
pub(crate) enum Within<'a> {
    /// Nothing: a frame begins.
    Frames,
    /// The last part of a message, or of a frame that is wrong.
    Event(Event<'a>),
    /// The input is used up.
    More,
}

/// Octets behind a frame that were read with it: at most one, and the head of the next frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tail {
    octets: [u8; TAIL_OCTETS],
    len: usize,
}

impl Tail {
    /// `octets` are at most as many as fit.
    pub(crate) fn new(octets: &[u8]) -> Tail {
        let mut tail = Tail { len: octets.len().min(TAIL_OCTETS), ..Tail::default() };
        tail.octets.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
        tail
    }
}

impl std::ops::Deref for Tail {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}

impl Connection {
    /// Where the next octets of the input belong, if it is in the middle of a large body: they may be appended there, and at most
    /// so many of them. Call [`Connection::took_direct`] before anything else.
    pub fn direct(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        let Input::Inside { channel, size, left } = self.input else { return None };
        let ChannelState::Content(assembly) = &mut self.channels.get_mut(channel)?.state else { return None };
        // The last octets of a frame, too: otherwise a detour over as much as a frame could go on for the whole body.
        let is_worth_it = size >= DIRECT_OCTETS_MIN && assembly.missing()? >= DIRECT_OCTETS_MIN.into();
        is_worth_it.then(|| assembly.room(left as usize + TAIL_OCTETS))
    }

    /// Takes in what was appended to [`Connection::direct`]. What is returned comes next in the input.
    pub fn took_direct(&mut self) -> Tail {
        let mut tail = Tail::default();
        if let Input::Inside { channel, left, .. } = &mut self.input
            && let Some(entry) = self.channels.get_mut(*channel)
            && let ChannelState::Content(assembly) = &mut entry.state
        {
            let count;
            (count, tail) = assembly.took(*left as usize);
            *left -= count as u32;
            self.assembling += count as u64;
        }
        tail
    }

    /// Goes into the frame at the front of the input, which is not whole, if it is a part of a large body.
    pub(crate) fn enter(&mut self, input: &mut &[u8]) -> bool {
        let Some((&[frame::BODY, c0, c1, s0, s1, s2, s3], rest)) = input.split_first_chunk::<7>() else {
            return false;
        };
        let (channel, size) = (u16::from_be_bytes([c0, c1]), u32::from_be_bytes([s0, s1, s2, s3]));
        if size < PARTIAL_OCTETS_MIN
            || self.holds_contents
            || self.state != State::Open
            || self.assembling + u64::from(size) > self.settings.assembly_octets_max
        {
            return false;
        }
        let Some(ChannelState::Content(assembly)) = self.channels.get_mut(channel).map(|c| &c.state) else {
            return false;
        };
        if assembly.missing().is_none_or(|missing| missing < u64::from(size)) {
            return false;
        }
        self.input = Input::Inside { channel, size, left: size };
        *input = rest;
        true
    }

    /// Takes what is not the beginning of a frame. If the channel was closed meanwhile, the frame is for nobody.
    pub(crate) fn within(&mut self, input: &mut &[u8]) -> Within<'static> {
        let Input::Inside { channel: number, size, left } = self.input else {
            *input = &[];
            return Within::More;
        };
        let (octets, rest) = input.split_at(input.len().min(left as usize));
        let left = left - octets.len() as u32;
        self.input = Input::Inside { channel: number, size, left };
        let mut assembly = match self.channels.get_mut(number).map(|channel| &mut channel.state) {
            Some(ChannelState::Content(assembly)) => Some(assembly),
            _ => None,
        };
        if let Some(assembly) = &mut assembly {
            assembly.take(octets);
            self.assembling += octets.len() as u64;
        }
        *input = rest;
        if left > 0 {
            return Within::More;
        }
        let Some((&end, rest)) = rest.split_first() else { return Within::More };
        *input = rest;
        if end != frame::END {
            let first = assembly.map_or_else(Vec::new, |assembly| assembly.first_of_last(size as usize));
            let error = FrameError::BadEnd { kind: frame::BODY, channel: number, size, end, first };
            self.input = Input::Deaf;
            return Within::Event(Event::Fault(Fault::Connection(bad_frame(&error))));
        }
        self.input = Input::Frames;
        if assembly.is_some_and(|assembly| assembly.missing() == Some(0))
            && let Some(message) = self.finish(number)
        {
            return Within::Event(Event::Assembled(message));
        }
        Within::Frames
    }
}
