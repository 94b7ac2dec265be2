//! What decides where a message goes, and how much of it an exchange looks at.

use warrenmq_wire::content::ContentHeader;
use warrenmq_wire::table::RawTable;

/// A message as exchanges see it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Message<'a> {
    /// The routing key and those of the CC and BCC headers; keys may be any octets.
    pub keys: &'a [&'a [u8]],
    /// Its table of headers, if it has one.
    pub headers: Option<RawTable<'a>>,
    /// Its properties; `x-consistent-hash` may look at one of them.
    pub properties: Option<&'a ContentHeader<'a>>,
    /// A number drawn for this message, by which exchanges choose that leave it to chance. The same number gives the same
    /// route in the same picture.
    pub chance: u64,
    /// It has a delay: exchanges that hold such messages back do.
    pub waits: bool,
}

impl<'a> Message<'a> {
    /// A message with these keys and nothing else.
    pub fn with_keys(keys: &'a [&'a [u8]]) -> Self {
        Self { keys, ..Self::default() }
    }
}

/// What a route depends on beside the picture and the exchange. The greater one includes the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Dependence {
    /// The keys alone.
    #[default]
    Keys,
    /// The headers, too.
    Headers,
    /// Other properties, or chance; or an exchange on the way has to see each message.
    Message,
}
