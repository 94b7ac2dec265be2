//! A run: an immutable block of message records that travels from one publisher to the queues of one route.
//!
//! Invariant: the bytes of a [`Run`] were written by a [`RunBuilder`], so every offset that it hands out is the start of
//! a whole record. Layout of a record (little endian):
//!
//! ```text
//! 0        4      8       9          10          12
//! ├ header ├ body ├ flags ├ priority ├ route len ├ (ttl, 8) ├ (due, 8) ├ route (len, exchange, len, key) ├ content header ├ body ┤
//! ```
//! The ttl and the due number are there only with their flags; a priority without its flag is 0 and means that there is none. With the
//! flag for hidden keys these follow the route (len, key), and the route len counts them, too.

use bytes::{Buf, Bytes};
use warrenmq_wire::same;

/// Octets before the variable part of a record.
const HEAD: usize = 12;
const PERSISTENT: u8 = 1;
const EXPIRES: u8 = 2;
const DEAD: u8 = 4;
const DUE: u8 = 8;
const PRIORITIZED: u8 = 16;
const HIDING: u8 = 32;
const FLAGS: u8 = PERSISTENT | EXPIRES | DEAD | DUE | PRIORITIZED | HIDING;
/// Octets of the ttl.
const TTL: usize = 8;
/// Octets of the due number.
const DUE_OCTETS: usize = 8;
/// Two short strings with their lengths.
const ROUTE_MAX: usize = 512;
/// Octets of hidden keys with their lengths that a record has at most.
pub const HIDDEN_MAX: usize = 16 * 1024;

/// One message inside a run, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Exchange and routing key in wire form: length, exchange, length, key.
    pub route: &'a [u8],
    /// Further routing keys that nobody is to see (`BCC`), each in wire form; at most [`HIDDEN_MAX`] octets. Dead letters are routed by them.
    pub hidden: &'a [u8],
    /// The payload of the content header frame, as the publisher sent it.
    pub header: &'a [u8],
    /// The message body.
    pub body: &'a [u8],
    /// Whether `delivery-mode` was 2.
    pub persistent: bool,
    /// The `priority` property.
    pub priority: Option<u8>,
    /// The `expiration` property in milliseconds.
    pub ttl: Option<u64>,
    /// The broker has dead-lettered it: the `x-death` header is the broker's own.
    pub dead: bool,
    /// What the message waits for, in a queue of messages that wait; means nothing here.
    pub due: Option<u64>,
}

/// What there is to a record besides its octets, but for the due number, which no message has that comes from a client, and hidden keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    route_len: usize,
    header_len: usize,
    body_len: usize,
    persistent: bool,
    priority: Option<u8>,
    ttl: Option<u64>,
    dead: bool,
}

impl Record<'_> {
    /// All but the octets.
    #[inline]
    pub fn layout(&self) -> Layout {
        let Record { route, hidden: _, header, body, persistent, priority, ttl, dead, due: _ } = *self;
        let (route_len, header_len, body_len) = (route.len(), header.len(), body.len());
        Layout { route_len, header_len, body_len, persistent, priority, ttl, dead }
    }
}

impl Layout {
    #[inline]
    fn head(&self) -> [u8; HEAD] {
        let mut head = [0u8; HEAD];
        head[0..4].copy_from_slice(&(self.header_len as u32).to_le_bytes());
        head[4..8].copy_from_slice(&(self.body_len as u32).to_le_bytes());
        head[8] = if self.persistent { PERSISTENT } else { 0 }
            | if self.ttl.is_some() { EXPIRES } else { 0 }
            | if self.dead { DEAD } else { 0 }
            | if self.priority.is_some() { PRIORITIZED } else { 0 };
        head[9] = self.priority.unwrap_or(0);
        head[10..12].copy_from_slice(&(self.route_len as u16).to_le_bytes());
        head
    }
}

/// An immutable block of records. Cloning costs one reference count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    bytes: Bytes,
    count: u32,
    persistent: u32,
    has_ttl: bool,
    has_priority: bool,
}

impl Run {
    /// Octets that [`Run::adopt`] wants in front of a message.
    pub const HEAD_ROOM: usize = HEAD + TTL;

    /// The run of one message whose parts lie in `octets` already: [`Run::HEAD_ROOM`] octets of anything, the route, the content
    /// header, the body. `like` says how long the parts are, and everything else. `None` when they are not so long, or more
    /// than a run can hold.
    pub fn adopt(mut octets: Vec<u8>, like: &Layout) -> Option<Run> {
        let Layout { route_len, header_len, body_len, persistent, priority, ttl, .. } = *like;
        let end = Run::HEAD_ROOM.checked_add(route_len)?.checked_add(header_len)?.checked_add(body_len)?;
        if end != octets.len() || u32::try_from(end).is_err() || route_len > ROUTE_MAX {
            return None;
        }
        let at = if ttl.is_some() { 0 } else { TTL };
        let (head, rest) = octets.get_mut(at..)?.split_first_chunk_mut()?;
        *head = like.head();
        if let Some(ttl) = ttl {
            *rest.first_chunk_mut()? = ttl.to_le_bytes();
        }
        let mut bytes = Bytes::from(octets);
        bytes.advance(at);
        let (has_ttl, has_priority) = (ttl.is_some(), priority.is_some());
        Some(Run { bytes, count: 1, persistent: u32::from(persistent), has_ttl, has_priority })
    }

    /// The run whose octets came back from a disk. `None` when they are not whole records back to back, at least one of them and
    /// at most 4 GiB.
    pub fn from_bytes(bytes: Bytes) -> Option<Run> {
        u32::try_from(bytes.len()).ok()?;
        let mut run = Run { bytes, count: 0, persistent: 0, has_ttl: false, has_priority: false };
        let mut at = 0;
        while at < run.bytes.len() {
            let head = Head::read(run.bytes.get(at..at + HEAD)?);
            let route_at = at.checked_add(HEAD + head.extra_len())?;
            let header_at = route_at.checked_add(head.route_len)?;
            at = header_at.checked_add(head.header_len)?.checked_add(head.body_len)?;
            if at > run.bytes.len()
                || head.flags & !FLAGS != 0
                || !is_route(run.bytes.get(route_at..header_at)?, head.flags & HIDING != 0)
            {
                return None;
            }
            run.count += 1;
            run.persistent += u32::from(head.flags & PERSISTENT != 0);
            run.has_ttl |= head.flags & EXPIRES != 0;
            run.has_priority |= head.flags & PRIORITIZED != 0 || head.priority > 0;
        }
        (run.count > 0).then_some(run)
    }

    /// Its octets, from which [`Run::from_bytes`] makes the same run.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many messages the run holds; at least 1.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many of them are persistent.
    pub fn persistent(&self) -> u32 {
        self.persistent
    }

    /// Size of the records in octets.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the run holds no record; a builder never makes such a run.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The record that starts at `offset`, and the offset of the next one.
    #[inline]
    pub fn record(&self, offset: u32) -> (Record<'_>, u32) {
        let at = offset as usize;
        let head = Head::read(&self.bytes[at..at + HEAD]);
        let route_at = at + HEAD + head.extra_len();
        let header_at = route_at + head.route_len;
        let body_at = header_at + head.header_len;
        let end = body_at + head.body_len;
        let route = &self.bytes[route_at..header_at];
        let (route, hidden) =
            if head.flags & HIDING == 0 { (route, &[][..]) } else { route.split_at(route_len(route)) };
        let record = Record {
            route,
            hidden,
            header: &self.bytes[header_at..body_at],
            body: &self.bytes[body_at..end],
            persistent: head.flags & PERSISTENT != 0,
            priority: self.priority_at(offset),
            ttl: self.ttl_at(offset),
            dead: head.flags & DEAD != 0,
            due: self.due_at(offset),
        };
        (record, end as u32)
    }

    /// The body of the record at `offset` and the offset of the next one, if it has everything but the octets of its body in
    /// common with the record at `model`.
    #[inline]
    pub fn like(&self, model: u32, offset: u32) -> Option<(&[u8], u32)> {
        let (model, at) = (self.bytes.get(model as usize..)?, self.bytes.get(offset as usize..)?);
        let (a, b) = (model.first_chunk::<HEAD>()?, at.first_chunk::<HEAD>()?);
        if a != b {
            return None;
        }
        let head = Head::read(b);
        let front = HEAD + head.extra_len() + head.route_len + head.header_len;
        if !same(model.get(HEAD..front)?, at.get(HEAD..front)?) {
            return None;
        }
        let end = front + head.body_len;
        Some((at.get(front..end)?, offset + end as u32))
    }

    /// The same messages, those of one priority together, the highest first; priorities above `highest` count as it. Equal ones keep
    /// their order.
    pub fn by_priority(self, highest: u8) -> Run {
        let mut octets = [0_usize; 256];
        let mut levels = 0;
        self.each(|offset, size| {
            let sum = &mut octets[usize::from(self.priority_at(offset).unwrap_or(0).min(highest))];
            levels += usize::from(*sum == 0);
            *sum += size as usize;
        });
        if levels <= 1 {
            return self;
        }
        let mut next = [0_usize; 256];
        for level in (0..255).rev() {
            next[level] = next[level + 1] + octets[level + 1];
        }
        let mut sorted = vec![0; self.bytes.len()];
        self.each(|offset, size| {
            let at = &mut next[usize::from(self.priority_at(offset).unwrap_or(0).min(highest))];
            let (from, size) = (offset as usize, size as usize);
            sorted[*at..*at + size].copy_from_slice(&self.bytes[from..from + size]);
            *at += size;
        });
        Run { bytes: Bytes::from(sorted), ..self }
    }

    /// Tells where each record starts and how many octets it has.
    fn each(&self, mut each: impl FnMut(u32, u32)) {
        let mut offset = 0;
        for _ in 0..self.count {
            let size = self.size_at(offset);
            each(offset, size);
            offset += size;
        }
    }

    /// All records with their offsets, in order.
    pub fn records(&self) -> Records<'_> {
        Records { run: self, offset: 0, left: self.count }
    }

    /// The offset `count` records after `offset`.
    #[inline]
    pub(crate) fn skip(&self, mut offset: u32, count: u32) -> u32 {
        for _ in 0..count {
            offset += self.size_at(offset);
        }
        offset
    }

    /// Octets of the bodies of `count` records from `offset` on.
    pub(crate) fn bodies(&self, mut offset: u32, count: u32) -> u64 {
        let mut octets = 0;
        for _ in 0..count {
            let at = offset as usize;
            octets += Head::read(&self.bytes[at..at + HEAD]).body_len as u64;
            offset += self.size_at(offset);
        }
        octets
    }

    /// Octets of the record at `offset`.
    #[inline]
    pub(crate) fn size_at(&self, offset: u32) -> u32 {
        let at = offset as usize;
        let head = Head::read(&self.bytes[at..at + HEAD]);
        (HEAD + head.extra_len() + head.route_len + head.header_len + head.body_len) as u32
    }

    /// Time to live of the record at `offset`, in milliseconds.
    pub(crate) fn ttl_at(&self, offset: u32) -> Option<u64> {
        let at = offset as usize;
        if self.bytes[at + 8] & EXPIRES == 0 {
            return None;
        }
        let octets = self.bytes[at + HEAD..].first_chunk::<TTL>()?;
        Some(u64::from_le_bytes(*octets))
    }

    /// The due number of the record at `offset`.
    #[inline]
    fn due_at(&self, offset: u32) -> Option<u64> {
        let at = offset as usize;
        let flags = self.bytes[at + 8];
        if flags & DUE == 0 {
            return None;
        }
        let before = if flags & EXPIRES == 0 { 0 } else { TTL };
        let octets = self.bytes[at + HEAD + before..].first_chunk::<DUE_OCTETS>()?;
        Some(u64::from_le_bytes(*octets))
    }

    /// Whether any record may expire by itself.
    pub(crate) fn has_ttl(&self) -> bool {
        self.has_ttl
    }

    /// Whether any record may have a priority.
    pub(crate) fn has_priority(&self) -> bool {
        self.has_priority
    }

    /// Priority of the record at `offset`.
    pub(crate) fn priority_at(&self, offset: u32) -> Option<u8> {
        let at = offset as usize;
        // Records of before there was a flag say nothing of a priority but its number.
        let is_there = self.bytes[at + 8] & PRIORITIZED != 0 || self.bytes[at + 9] > 0;
        is_there.then(|| self.bytes[at + 9])
    }

    /// Whether the record at `offset` is persistent.
    pub(crate) fn persistent_at(&self, offset: u32) -> bool {
        self.bytes[offset as usize + 8] & PERSISTENT != 0
    }

    /// How many of `count` records from `offset` on are persistent.
    pub(crate) fn persistent_of(&self, mut offset: u32, count: u32) -> u32 {
        if self.persistent == 0 || self.persistent == self.count {
            return count.min(self.persistent);
        }
        let mut persistent = 0;
        for _ in 0..count {
            persistent += u32::from(self.persistent_at(offset));
            offset += self.size_at(offset);
        }
        persistent
    }

    pub(crate) fn slice(&self, from: u32, to: u32) -> Bytes {
        self.bytes.slice(from as usize..to as usize)
    }
}

/// Iterator over the records of a run.
#[derive(Debug)]
pub struct Records<'a> {
    run: &'a Run,
    offset: u32,
    left: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = (u32, Record<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let at = self.offset;
        let (record, next) = self.run.record(at);
        self.offset = next;
        Some((at, record))
    }
}

/// Gathers records until the run is finished. Reused: [`RunBuilder::finish`] leaves it empty.
#[derive(Debug, Default)]
pub struct RunBuilder {
    bytes: Vec<u8>,
    count: u32,
    persistent: u32,
    expected: usize,
    has_ttl: bool,
    has_priority: bool,
    /// Where the last record starts.
    last: u32,
    /// Where its body starts.
    last_body: u32,
}

impl RunBuilder {
    /// An empty builder.
    pub fn new() -> RunBuilder {
        RunBuilder::default()
    }

    /// Number of records gathered.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Octets gathered.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was gathered.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a record of these parts still fits: offsets in a run are 32 bits wide.
    pub fn has_room(&self, octets: usize) -> bool {
        self.bytes.len() + HEAD + DUE_OCTETS + ROUTE_MAX + HIDDEN_MAX + octets < u32::MAX as usize
    }

    /// Appends one message. `record.route` is at most 512 octets by construction of short strings, `record.hidden` at most [`HIDDEN_MAX`].
    #[inline]
    pub fn push(&mut self, record: &Record<'_>) {
        let Record { route, header, body, persistent, ttl, due, .. } = *record;
        debug_assert!(
            route.len() <= ROUTE_MAX && record.hidden.len() <= HIDDEN_MAX && body.len() <= u32::MAX as usize
        );
        let octets = HEAD + TTL + DUE_OCTETS + route.len() + header.len() + body.len();
        if self.bytes.capacity() - self.bytes.len() < octets {
            self.grow(octets);
        }
        self.last = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&record.layout().head());
        if let Some(ttl) = ttl {
            self.has_ttl = true;
            self.bytes.extend_from_slice(&ttl.to_le_bytes());
        }
        if let Some(due) = due {
            let flags = self.last as usize + 8;
            self.bytes[flags] |= DUE;
            self.bytes.extend_from_slice(&due.to_le_bytes());
        }
        self.bytes.extend_from_slice(route);
        if !record.hidden.is_empty() {
            self.hide(route, record.hidden);
        }
        self.bytes.extend_from_slice(header);
        self.last_body = self.bytes.len() as u32;
        self.bytes.extend_from_slice(body);
        self.count += 1;
        self.persistent += u32::from(persistent);
        self.has_priority |= record.priority.is_some();
    }

    #[cold]
    fn grow(&mut self, octets: usize) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(self.expected.max(octets));
        } else {
            self.bytes.reserve(octets);
        }
    }

    /// The last record, which ends with its route so far, hides these keys behind it.
    #[cold]
    fn hide(&mut self, route: &[u8], keys: &[u8]) {
        let at = self.last as usize;
        self.bytes[at + 8] |= HIDING;
        self.bytes[at + 10..at + HEAD].copy_from_slice(&((route.len() + keys.len()) as u16).to_le_bytes());
        self.bytes.extend_from_slice(keys);
    }

    /// Appends a message that has everything in common with the last one that was pushed but the octets of its body, which are as
    /// many. `false`, and nothing is done, when no such message can be added.
    #[inline]
    pub fn push_like(&mut self, body: &[u8]) -> bool {
        let (last, end) = (self.last as usize, self.bytes.len());
        let front = last..self.last_body as usize;
        if self.count == 0 || front.end + body.len() != end || !self.has_room(body.len()) {
            return false;
        }
        self.bytes.reserve(front.len() + body.len());
        self.persistent += u32::from(self.bytes[last + 8] & PERSISTENT != 0);
        self.last = end as u32;
        self.last_body = (end + front.len()) as u32;
        self.bytes.extend_from_within(front);
        self.bytes.extend_from_slice(body);
        self.count += 1;
        true
    }

    /// Appends records that another run holds already; `to` is the end of the `count` records from `from` on.
    pub(crate) fn push_raw(&mut self, run: &Run, from: u32, to: u32, count: u32) {
        self.bytes.extend_from_slice(&run.bytes[from as usize..to as usize]);
        // None of these is a model for what follows.
        self.last_body = u32::MAX;
        self.count += count;
        self.persistent += run.persistent_of(from, count);
        // Maybe not these: a run that says so wrongly is only looked at more closely.
        self.has_ttl |= run.has_ttl;
        self.has_priority |= run.has_priority;
    }

    /// The finished run, if anything was gathered. Gives memory back when less than half of it was used.
    pub fn finish(&mut self) -> Option<Run> {
        if self.count == 0 {
            return None;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        let count = std::mem::take(&mut self.count);
        let persistent = std::mem::take(&mut self.persistent);
        // The next run of this route is likely as large as this one; a little slack saves the last growth.
        self.expected = (bytes.len() + bytes.len() / 16).min(256 * 1024);
        if bytes.capacity() > 2 * bytes.len() {
            bytes.shrink_to_fit();
        }
        let has_ttl = std::mem::take(&mut self.has_ttl);
        let has_priority = std::mem::take(&mut self.has_priority);
        Some(Run { bytes: Bytes::from(bytes), count, persistent, has_ttl, has_priority })
    }
}

struct Head {
    header_len: usize,
    body_len: usize,
    flags: u8,
    priority: u8,
    route_len: usize,
}

impl Head {
    /// Octets of what is there only with its flag. The two flags are such that it takes no branch.
    #[inline]
    fn extra_len(&self) -> usize {
        const { assert!(EXPIRES << 2 == TTL as u8 && DUE == DUE_OCTETS as u8) }
        usize::from(((self.flags & EXPIRES) << 2) + (self.flags & DUE))
    }

    #[inline]
    fn read(head: &[u8]) -> Head {
        Head {
            header_len: u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize,
            body_len: u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize,
            flags: head[8],
            priority: head[9],
            route_len: u16::from_le_bytes([head[10], head[11]]) as usize,
        }
    }
}

/// Whether these are two short strings and nothing else, or others behind them, at least one, if there are to be `hidden` keys.
fn is_route(octets: &[u8], hidden: bool) -> bool {
    let (mut rest, mut count) = (octets, 0);
    while let Some((len, after)) = rest.split_first() {
        let Some(next) = after.get(usize::from(*len)..) else { return false };
        (rest, count) = (next, count + 1);
    }
    if hidden { count > 2 } else { count == 2 }
}

/// Octets of the two short strings in front of others.
fn route_len(octets: &[u8]) -> usize {
    let len = |at: usize| octets.get(at).map_or(0, |len| 1 + usize::from(*len));
    let exchange = len(0);
    (exchange + len(exchange)).min(octets.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> [Record<'static>; 3] {
        [
            Record {
                route: b"\x00\x01q",
                hidden: b"",
                header: b"",
                body: b"",
                persistent: false,
                priority: None,
                ttl: None,
                dead: false,
                due: None,
            },
            Record {
                route: b"\x01x\x02rk",
                hidden: b"",
                header: b"header",
                body: b"body",
                persistent: true,
                priority: Some(7),
                ttl: Some(5),
                dead: true,
                due: None,
            },
            Record {
                route: b"\x00\x00",
                hidden: b"\x03bcc\x00",
                header: b"h",
                body: &[9; 70_000],
                persistent: false,
                priority: Some(255),
                ttl: None,
                dead: false,
                due: None,
            },
        ]
    }

    #[test]
    fn those_of_one_priority_come_together() {
        let [a, b, c] = sample();
        let run = |records: &[Record<'_>]| {
            let mut builder = RunBuilder::new();
            records.iter().for_each(|record| builder.push(record));
            builder.finish().unwrap()
        };
        let mixed = run(&[a, b, a, c, b]);
        assert_eq!(mixed.clone().by_priority(255), run(&[c, b, b, a, a]));
        // Above the highest they are equal, and keep their order.
        assert_eq!(mixed.clone().by_priority(7), run(&[b, c, b, a, a]));
        assert_eq!(mixed.clone().by_priority(0), mixed);
        assert_eq!(run(&[b, b]).by_priority(9), run(&[b, b]));
    }

    #[test]
    fn a_due_number_stands_beside_the_ttl() {
        for ttl in [None, Some(7)] {
            for due in [None, Some(u64::MAX - 3)] {
                let message = Record { ttl, due, ..sample()[1] };
                let mut builder = RunBuilder::new();
                builder.push(&message);
                assert!(builder.push_like(b"BODY"));
                builder.push(&sample()[0]);
                let run = builder.finish().unwrap();
                let records: Vec<_> = run.records().map(|(_, record)| record).collect();
                assert_eq!(records, [message, Record { body: b"BODY", ..message }, sample()[0]]);
                assert_eq!(Run::from_bytes(run.bytes().clone()), Some(run.clone()));
                assert_eq!(run.skip(0, 3) as usize, run.len());
                let plain = 12 + message.route.len() + message.header.len() + message.body.len();
                let more = [ttl, due].iter().flatten().count() * 8;
                assert_eq!(run.size_at(0) as usize, plain + more);
            }
        }
    }

    #[test]
    fn records_come_back_as_they_went_in() {
        let messages = sample();
        let mut builder = RunBuilder::new();
        assert!(builder.finish().is_none());
        for message in messages {
            builder.push(&message);
        }
        let run = builder.finish().unwrap();
        assert_eq!((run.count(), run.persistent()), (3, 1));
        assert_eq!(Run::from_bytes(run.bytes().clone()), Some(run.clone()));
        assert_eq!(run.records().map(|(_, r)| r).collect::<Vec<_>>(), messages);
        assert_eq!(run.skip(0, 3) as usize, run.len());
        assert!(builder.is_empty());
    }

    #[test]
    fn records_that_differ_in_their_bodies_alone() {
        for record in sample() {
            let mut builder = RunBuilder::new();
            assert!(!builder.push_like(record.body), "nothing to be like");
            builder.push(&record);
            let other = vec![7; record.body.len()];
            assert!(builder.push_like(&other));
            assert!(builder.push_like(record.body));
            assert!(!builder.push_like(&[&other[..], b"more"].concat()));
            let run = builder.finish().unwrap();
            let records: Vec<_> = run.records().collect();
            let bodies = [record.body, &other, record.body];
            assert_eq!(
                records.iter().map(|(_, r)| *r).collect::<Vec<_>>(),
                bodies.map(|body| Record { body, ..record })
            );
            assert_eq!(run.persistent(), if record.persistent { 3 } else { 0 });
            let (first, second, third) = (records[0].0, records[1].0, records[2].0);
            assert_eq!(run.like(first, second), Some((&other[..], third)));
            assert_eq!(run.like(second, third), Some((record.body, run.len() as u32)));
        }
        let mut builder = RunBuilder::new();
        sample().iter().for_each(|record| builder.push(record));
        let run = builder.finish().unwrap();
        let second = run.size_at(0);
        assert_eq!((run.like(0, second), run.like(second, run.skip(0, 2))), (None, None));
        assert_eq!(run.like(0, run.len() as u32), None, "behind the last");
    }

    #[test]
    fn an_adopted_message_is_as_if_it_were_pushed() {
        for message in sample() {
            let message = Record { hidden: b"", ..message };
            let mut builder = RunBuilder::new();
            builder.push(&message);
            let octets = [&[0xAA; Run::HEAD_ROOM], message.route, message.header, message.body].concat();
            assert_eq!(Run::adopt(octets.clone(), &message.layout()), builder.finish());
            assert_eq!(Run::adopt(octets[1..].to_vec(), &message.layout()), None);
        }
    }

    /// Any cut or changed octet gives whole records or nothing, and nobody panics.
    #[test]
    fn damage_is_seen_or_harmless() {
        let mut builder = RunBuilder::new();
        let [first, second, _] = sample();
        [first, Record { hidden: b"\x03bcc\x00", ..second }].iter().for_each(|message| builder.push(message));
        let octets = builder.finish().unwrap().bytes().to_vec();
        let first = octets.len() - octets.len() / 2;
        for at in 0..octets.len() {
            let cut = Run::from_bytes(Bytes::copy_from_slice(&octets[..at]));
            assert!(cut.is_none_or(|run| run.count() == 1 && run.len() < first));
            for value in 0..=255 {
                let mut changed = octets.clone();
                changed[at] = value;
                if let Some(run) = Run::from_bytes(Bytes::from(changed)) {
                    assert_eq!(run.records().count(), run.count() as usize);
                }
            }
        }
        assert_eq!(Run::from_bytes(Bytes::new()), None);
    }
}
