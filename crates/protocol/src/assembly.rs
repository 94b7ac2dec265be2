//! A content whose frames did not come in one piece.
//!
//! Invariant: never holds more than the peer has sent; the announced size is only a claim.

use warrenmq_wire::basic;
use warrenmq_wire::content;
use warrenmq_wire::reply::ReplyCode;

use crate::event::Publish;
use crate::fault::{Exception, unexpected};
use crate::settings::{BODY_SIZE_MAX, Settings};

/// A message put together from several frames.
#[derive(Debug)]
pub struct Assembled {
    channel: u16,
    route: Vec<u8>,
    mandatory: bool,
    header: Vec<u8>,
    body: Vec<u8>,
}

impl Assembled {
    /// The message, borrowed.
    pub fn as_publish(&self) -> Publish<'_> {
        Publish {
            channel: self.channel,
            route: &self.route,
            mandatory: self.mandatory,
            header: &self.header,
            body: &self.body,
        }
    }
}

/// Collects header and body of one publish.
#[derive(Debug)]
pub(crate) struct Assembly {
    message: Assembled,
    /// `None` until the header has come.
    missing: Option<u64>,
}

/// What one more frame did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Complete,
}

impl Assembly {
    pub(crate) fn new(channel: u16, publish: &basic::Publish<'_>) -> Assembly {
        let route = publish.route.to_vec();
        let mandatory = publish.mandatory;
        let message = Assembled { channel, route, mandatory, header: Vec::new(), body: Vec::new() };
        Assembly { message, missing: None }
    }

    /// Octets held.
    pub(crate) fn size(&self) -> u64 {
        (self.message.header.len() + self.message.body.len()) as u64
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
        self.message.header = payload.to_vec();
        self.missing = Some(size);
        Ok(if size == 0 { Progress::Complete } else { Progress::More })
    }

    fn body(&mut self, payload: &[u8], missing: u64) -> Result<Progress, Exception> {
        let Some(left) = missing.checked_sub(payload.len() as u64) else {
            let text = "content body frame exceeds remaining content size";
            return Err(at_publish(Exception::new(ReplyCode::FrameError, text)));
        };
        let body = &mut self.message.body;
        if body.capacity() - body.len() < payload.len() {
            // Grow with what has come, not with what is announced; but not beyond what is announced either.
            let want = (body.len().max(payload.len()) as u64).min(missing) as usize;
            body.reserve_exact(want.max(payload.len()));
        }
        body.extend_from_slice(payload);
        self.missing = Some(left);
        Ok(if left == 0 { Progress::Complete } else { Progress::More })
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
