//! A content whose frames did not come in one piece.
//!
//! Invariant: never holds more than the peer has sent; the announced size is only a claim.

use warrenmq_wire::basic;
use warrenmq_wire::content;
use warrenmq_wire::frame::FIRST_MAX;
use warrenmq_wire::reply::ReplyCode;

use crate::event::Publish;
use crate::fault::{Exception, unexpected};
use crate::partial::{TAIL_OCTETS, Tail};
use crate::settings::{BODY_SIZE_MAX, Settings};

/// Octets that are made room for before as many have come, if so many are announced.
const FIRST_OCTETS: usize = 1024 * 1024;
/// Up to [`FIRST_OCTETS`] the room is at most this many times what has come. It is not touched before it is used.
const FIRST_TIMES: usize = 64;
/// Beyond them, this many times.
const LATER_TIMES: usize = 4;

/// A message put together from several frames.
#[derive(Debug)]
pub struct Assembled {
    channel: u16,
    mandatory: bool,
    /// [`Settings::content_room`] octets of nothing, then route, content header and body.
    octets: Vec<u8>,
    route_at: usize,
    header_at: usize,
    body_at: usize,
}

impl Assembled {
    /// The message, borrowed.
    pub fn as_publish(&self) -> Publish<'_> {
        let of = |from, to| self.octets.get(from..to).unwrap_or_default();
        Publish {
            channel: self.channel,
            route: of(self.route_at, self.header_at),
            mandatory: self.mandatory,
            header: of(self.header_at, self.body_at),
            body: of(self.body_at, self.octets.len()),
        }
    }

    /// [`Settings::content_room`] octets of nothing, then route, content header and body, back to back.
    pub fn into_octets(self) -> Vec<u8> {
        self.octets
    }
}

/// Collects header and body of one publish.
#[derive(Debug)]
pub(crate) struct Assembly {
    message: Assembled,
    /// Octets of the body that are still to come; `None` until the header has come.
    missing: Option<u64>,
    /// Octets of the whole message, once the header has come.
    end: usize,
}

/// What one more frame did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Complete,
}

impl Assembly {
    pub(crate) fn new(channel: u16, publish: &basic::Publish<'_>, settings: &Settings) -> Assembly {
        let route_at = settings.content_room;
        let header_at = route_at + publish.route.len();
        let mut octets = Vec::with_capacity(header_at);
        octets.resize(route_at, 0);
        octets.extend_from_slice(publish.route);
        let mandatory = publish.mandatory;
        let message = Assembled { channel, mandatory, octets, route_at, header_at, body_at: header_at };
        Assembly { message, missing: None, end: 0 }
    }

    /// Octets held of header and body.
    pub(crate) fn size(&self) -> u64 {
        (self.message.octets.len() - self.message.header_at) as u64
    }

    /// Octets of the body that are still to come; `None` until the header has come.
    pub(crate) fn missing(&self) -> Option<u64> {
        self.missing
    }

    pub(crate) fn finish(self) -> Assembled {
        self.message
    }

    /// Takes a header frame (`kind` 2), a body frame (3), or complains about anything else.
    pub(crate) fn frame(
        &mut self,
        kind: u8,
        payload: &[u8],
        settings: &Settings,
    ) -> Result<Progress, Exception> {
        match (self.missing, kind) {
            (None, warrenmq_wire::frame::HEADER) => self.header(payload, settings),
            (None, _) => Err(at_publish(unexpected(
                "expected content header for class 60, got non content header frame instead",
            ))),
            (Some(missing), warrenmq_wire::frame::BODY) => self.body(payload, missing),
            (Some(_), _) => {
                Err(at_publish(unexpected("expected content body, got non content body frame instead")))
            }
        }
    }

    fn header(&mut self, payload: &[u8], settings: &Settings) -> Result<Progress, Exception> {
        let size = check_header(payload, settings)?;
        self.message.octets.extend_from_slice(payload);
        self.message.body_at = self.message.octets.len();
        self.end = self.message.body_at + size as usize;
        self.missing = Some(size);
        Ok(if size == 0 { Progress::Complete } else { Progress::More })
    }

    fn body(&mut self, payload: &[u8], missing: u64) -> Result<Progress, Exception> {
        if missing < payload.len() as u64 {
            let text = "content body frame exceeds remaining content size";
            return Err(at_publish(Exception::new(ReplyCode::FrameError, text)));
        }
        self.take(payload);
        Ok(if self.missing == Some(0) { Progress::Complete } else { Progress::More })
    }

    /// Takes octets of the body; no more than are missing.
    pub(crate) fn take(&mut self, octets: &[u8]) {
        self.reserve(octets.len(), octets.len());
        self.message.octets.extend_from_slice(octets);
        self.missing = self.missing.map(|missing| missing - octets.len() as u64);
    }

    /// Where the next octets of the body may be appended: `wanted` of them, or at least one.
    pub(crate) fn room(&mut self, wanted: usize) -> (&mut Vec<u8>, usize) {
        self.reserve(1, wanted);
        let octets = &mut self.message.octets;
        let room = octets.capacity() - octets.len();
        (octets, wanted.min(room))
    }

    /// Counts what was appended to [`Assembly::room`], of which up to `max` octets are the body's; returns how many those are, and
    /// takes the others away again.
    pub(crate) fn took(&mut self, max: usize) -> (usize, Tail) {
        let Some(missing) = &mut self.missing else { return (0, Tail::default()) };
        let octets = &mut self.message.octets;
        let before = self.end - *missing as usize;
        let end = octets.len().min(before + max);
        let tail = Tail::new(octets.get(end..).unwrap_or_default());
        octets.truncate(end);
        *missing -= (end - before) as u64;
        (end - before, tail)
    }

    /// The first octets of the last `size` ones.
    pub(crate) fn first_of_last(&self, size: usize) -> Vec<u8> {
        let octets = &self.message.octets;
        octets.iter().skip(octets.len() - size.min(octets.len())).take(FIRST_MAX).copied().collect()
    }

    /// Makes room for `least` more octets, better for `wanted`, and in a few steps for the whole body.
    fn reserve(&mut self, least: usize, wanted: usize) {
        let octets = &mut self.message.octets;
        if octets.capacity() - octets.len() >= wanted {
            return;
        }
        let come = octets.len() + least;
        let room = (come * LATER_TIMES).max(FIRST_OCTETS.min(come * FIRST_TIMES));
        let room = room.min(self.end + TAIL_OCTETS).max(come);
        octets.reserve_exact(room - octets.len());
    }
}

/// The body size that a content header announces, held to the limits.
#[inline]
pub(crate) fn check_header(payload: &[u8], settings: &Settings) -> Result<u64, Exception> {
    let Ok(header) = content::parse_header(payload) else {
        let kind = warrenmq_wire::frame::HEADER;
        return Err(crate::fault::unknown_frame(kind, payload));
    };
    let weight = payload.get(2..4).unwrap_or_default();
    if header.class_id != basic::CLASS && weight == [0, 0] {
        let text =
            format!("expected content header for class 60, got one for class {} instead", header.class_id);
        return Err(at_publish(unexpected(&text)));
    }
    if weight != [0, 0] {
        let text = "expected content header for class 60, got non content header frame instead";
        return Err(at_publish(unexpected(text)));
    }
    let size = header.body_size;
    if size > BODY_SIZE_MAX {
        let text = format!("content body size {size} exceeds maximum allowed size {BODY_SIZE_MAX}");
        return Err(at_publish(Exception::new(ReplyCode::FrameError, text)));
    }
    if size > settings.message_size_max {
        let max = settings.message_size_max;
        let text = format!("message size {size} is larger than configured max size {max}");
        return Err(at_publish(Exception::new(ReplyCode::PreconditionFailed, text)));
    }
    Ok(size)
}

pub(crate) fn at_publish(exception: Exception) -> Exception {
    exception.at(basic::CLASS, basic::PUBLISH)
}
