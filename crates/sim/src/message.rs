//! Bodies that can be recognised. Invariant: a body is a function of its message's number and length, so that torn, mixed or
//! invented content differs from it.

use crate::chooses::HASHED;
use crate::content::Content;
use crate::frames::Table;
use crate::rng::Rng;
use crate::topology::{Name, queue_name};

/// Number of a message, unique in a run. It travels in the property `timestamp` and at the start of the body.
pub type MessageId = u32;

/// What was published.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message {
    /// Its number.
    pub id: MessageId,
    /// Octets of its body.
    pub octets: usize,
    /// `delivery-mode` 2.
    pub persistent: bool,
    /// `priority`.
    pub priority: u8,
    /// How long it waits before it is routed, in milliseconds; 0 for what does not wait.
    pub delay: u64,
    /// `expiration`, in milliseconds.
    pub expiration: Option<u64>,
    /// The header `CC` has the name of this queue.
    pub cc: Option<Name>,
    /// The header `BCC` has.
    pub bcc: Option<Name>,
    /// The header `x-recent-history-no-store` is true.
    pub no_store: bool,
    /// It comes back where no queue gets it.
    pub mandatory: bool,
    /// `user-id`.
    pub user: Option<User>,
    /// It is a request: its `reply-to` is the pseudo-queue of replies.
    pub asks: bool,
    /// The header that an exchange may hash.
    pub hashed: Option<u8>,
}

/// Who is said to have published a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The one who does.
    Own,
    /// Somebody else.
    Other,
}

impl User {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            User::Own => "guest",
            User::Other => "other",
        }
    }
}

impl Message {
    /// The body.
    pub fn body(&self) -> Vec<u8> {
        let mut words = Rng::new(u64::from(self.id) << 32 | self.octets as u64);
        let mut body = self.id.to_be_bytes().to_vec();
        while body.len() < self.octets {
            body.extend_from_slice(&words.word().to_be_bytes());
        }
        body.truncate(self.octets);
        body
    }

    /// Whether this is it, as somebody gets it who is not told of deaths or returns. What headers follow its own, and the name that replies
    /// go to, are for others to judge.
    pub fn is_in(&self, content: &Content) -> bool {
        content.body == self.body()
            && content.persistent == self.persistent
            && content.expiration == self.expiration.filter(|_| content.death.is_none())
            && content.user.as_deref() == self.user.map(User::name)
            && content.reply_to.is_some() == self.asks
            && content.headers.starts_with(self.headers_delivered().octets())
    }

    /// Whether this is it, as nobody has changed it on its way.
    pub fn is_whole_in(&self, content: &Content) -> bool {
        let is_plain = content.death.is_none() && content.returns.is_none();
        is_plain && self.is_in(content) && content.headers == self.headers_delivered().octets()
    }

    /// Whether it is published with headers.
    pub fn has_headers(&self) -> bool {
        let has_names = self.cc.is_some() || self.bcc.is_some();
        self.delay > 0 || has_names || self.no_store || self.hashed.is_some()
    }

    /// The headers that it is published with.
    pub fn headers(&self) -> Table {
        let delayed = if self.delay > 0 { self.delay.cast_signed() } else { 0 };
        self.headers_with(delayed, self.bcc)
    }

    /// The headers that it is delivered with, in front of what brokers add: nobody sees a `BCC`, and how long it has waited is negative.
    pub fn headers_delivered(&self) -> Table {
        self.headers_with(-self.delay.cast_signed(), None)
    }

    fn headers_with(&self, delay: i64, bcc: Option<Name>) -> Table {
        let mut table = Table::default();
        if delay != 0 {
            table = table.number("x-delay", delay.cast_unsigned());
        }
        if let Some(name) = self.cc {
            table = table.texts("CC", &[&queue_name(name)]);
        }
        if let Some(name) = bcc {
            table = table.texts("BCC", &[&queue_name(name)]);
        }
        if self.no_store {
            table = table.flag("x-recent-history-no-store", true);
        }
        if let Some(hashed) = self.hashed {
            table = table.text(HASHED, &hashed.to_string());
        }
        table
    }
}
