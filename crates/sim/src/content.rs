//! The content header of a message: what clients write, and what they find in it when it comes.
//!
//! Invariant: strict. A property or header that nobody has set makes the message malformed.

use crate::frames::Arguments;
use crate::message::Message;
use crate::topology::Name;

/// The pseudo-queue of replies.
pub const REPLIES: &str = "amq.rabbitmq.reply-to";

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Content {
    /// What the property `timestamp` says.
    pub stamp: u64,
    /// `delivery-mode` 2.
    pub persistent: bool,
    /// `reply-to`.
    pub reply_to: Option<String>,
    /// `expiration`.
    pub expiration: Option<u64>,
    /// `user-id`.
    pub user: Option<String>,
    /// Where and why it died.
    pub death: Option<Death>,
    /// `x-delivery-count`.
    pub returns: Option<u64>,
    /// The octets of all headers.
    pub headers: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

/// The death that a dead letter tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// The queue.
    pub queue: Name,
    /// The reason.
    pub reason: Reason,
}

/// Why a message died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Somebody did not want it.
    Rejected,
    /// Its time to live was over.
    Expired,
    /// There was no room for it.
    Maxlen,
    /// It came back too often.
    DeliveryLimit,
}

/// Takes octets apart.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn octet(&mut self) -> Option<u8> {
        self.take().map(u8::from_be_bytes)
    }

    pub(crate) fn short(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub(crate) fn long(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(crate) fn longlong(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn octets(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn shortstr(&mut self) -> Option<&'a [u8]> {
        let count = self.octet()?;
        self.octets(count.into())
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.shortstr()?.to_vec()).ok()
    }

    fn longstr(&mut self) -> Option<&'a [u8]> {
        let count = self.long()?;
        self.octets(count as usize)
    }

    /// A key of a table and the octets of its value.
    fn entry(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let key = self.shortstr()?;
        let value = match self.octet()? {
            b'S' | b'A' | b'F' => self.longstr()?,
            b'l' | b'T' => self.octets(8)?,
            b't' => self.octets(1)?,
            _ => return None,
        };
        Some((key, value))
    }
}

mod flag {
    pub(super) const HEADERS: u16 = 1 << 13;
    pub(super) const DELIVERY_MODE: u16 = 1 << 12;
    pub(super) const PRIORITY: u16 = 1 << 11;
    pub(super) const REPLY_TO: u16 = 1 << 9;
    pub(super) const EXPIRATION: u16 = 1 << 8;
    pub(super) const TIMESTAMP: u16 = 1 << 6;
    pub(super) const USER_ID: u16 = 1 << 4;
    pub(super) const ALWAYS: u16 = DELIVERY_MODE | PRIORITY | TIMESTAMP;
    pub(super) const SOMETIMES: u16 = HEADERS | REPLY_TO | EXPIRATION | USER_ID;
}

/// The content header of a message that is published.
pub(crate) fn put_properties(message: &Message) -> Vec<u8> {
    let has = |is: bool, flag: u16| if is { flag } else { 0 };
    let flags = flag::ALWAYS
        | has(message.has_headers(), flag::HEADERS)
        | has(message.asks, flag::REPLY_TO)
        | has(message.expiration.is_some(), flag::EXPIRATION)
        | has(message.user.is_some(), flag::USER_ID);
    let mut out = Arguments::new().short(60).short(0).longlong(message.octets as u64).short(flags);
    if message.has_headers() {
        out = out.longstr(message.headers().octets());
    }
    out = out.octet(1 + u8::from(message.persistent)).octet(message.priority);
    if message.asks {
        out = out.shortstr(REPLIES);
    }
    if let Some(expiration) = message.expiration {
        out = out.shortstr(&expiration.to_string());
    }
    out = out.longlong(message.id.into());
    if let Some(user) = message.user {
        out = out.shortstr(user.name());
    }
    out.into_octets()
}

/// Size of the body, and the properties.
pub(crate) fn properties(payload: &[u8]) -> Option<(u64, Content)> {
    let mut reader = Reader(payload);
    let (class, _weight, size, flags) =
        (reader.short()?, reader.short()?, reader.longlong()?, reader.short()?);
    if class != 60 || flags & !flag::SOMETIMES != flag::ALWAYS {
        return None;
    }
    let mut content = Content::default();
    if flags & flag::HEADERS != 0 {
        content.headers = reader.longstr()?.to_vec();
        (content.death, content.returns) = what_brokers_say(&content.headers)?;
    }
    content.persistent = reader.octet()? == 2;
    let _priority = reader.octet()?;
    if flags & flag::REPLY_TO != 0 {
        content.reply_to = Some(reader.text()?);
    }
    if flags & flag::EXPIRATION != 0 {
        content.expiration = Some(reader.text()?.parse().ok()?);
    }
    content.stamp = reader.longlong()?;
    if flags & flag::USER_ID != 0 {
        content.user = Some(reader.text()?);
    }
    reader.0.is_empty().then_some((size, content))
}

/// `x-first-death-…`, which has to be there if `x-death` is, and `x-delivery-count`.
fn what_brokers_say(headers: &[u8]) -> Option<(Option<Death>, Option<u64>)> {
    let (mut has_died, mut queue, mut reason, mut returns) = (false, None, None, None);
    let mut reader = Reader(headers);
    while !reader.0.is_empty() {
        match reader.entry()? {
            (b"x-death", _) => has_died = true,
            (b"x-first-death-queue", name) => {
                queue = Some(std::str::from_utf8(name.strip_prefix(b"q")?).ok()?.parse().ok()?);
            }
            (b"x-first-death-reason", name) => reason = Some(Reason::of(name)?),
            // Nobody is to see it.
            (b"BCC", _) => return None,
            (b"x-delivery-count", count) => returns = Some(u64::from_be_bytes(*count.first_chunk()?)),
            _ => {}
        }
    }
    match (has_died, queue, reason) {
        (false, None, None) => Some((None, returns)),
        (true, Some(queue), Some(reason)) => Some((Some(Death { queue, reason }), returns)),
        _ => None,
    }
}

impl Reason {
    fn of(name: &[u8]) -> Option<Reason> {
        Some(match name {
            b"rejected" => Reason::Rejected,
            b"expired" => Reason::Expired,
            b"maxlen" => Reason::Maxlen,
            b"delivery_limit" => Reason::DeliveryLimit,
            _ => return None,
        })
    }
}
