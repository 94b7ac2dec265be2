//! basic.publish: from a message in the input to a run in its queues, and its confirm.
//!
//! Invariants: a message that was confirmed is in all its queues, and on disk if it is persistent and a queue durable; a return leaves before the confirm of its message; a
//! message whose lane is open costs no lock, no allocation of its own and no look at shared state.

use std::sync::Arc;

use warrenmq_protocol::{Assembled, Exception, Publish};
use warrenmq_queue::{Record, Run};
use warrenmq_routing::{Dependence, Message};
use warrenmq_wire::basic;
use warrenmq_wire::content::{self, ContentHeader, flag};
use warrenmq_wire::reply::ReplyCode;
use warrenmq_wire::table::RawTable;

use super::Session;
use super::Wait;
use super::channel::Mode;
use super::lanes::{LaneId, Pushed};
use super::promises::Promise;
use super::publisher::Known;
use crate::access::{Access, Resource};
use crate::delayed;
use crate::properties::{expires_after, hidden_keys};
use crate::queue_cell::Published;
use crate::refusal;
use crate::storage::Point;
use crate::vhost::keep;

/// Properties that need more than passing on.
const LOOKED_AT: u16 = CHECKED | flag::USER_ID | flag::REPLY_TO;
/// Those of them that mean the same when another message has the same.
const CHECKED: u16 = flag::HEADERS | flag::EXPIRATION;

/// Messages put together from several frames with bodies of so many octets are runs of their own and not copied into one; smaller
/// ones are worth more together.
const ADOPTED_OCTETS_MIN: usize = 32 * 1024;

impl Session {
    /// Publishes one message. `Some`: it went into this lane without further ado, and so may others that are like it.
    #[inline]
    pub(super) fn publish(&mut self, publish: Publish<'_>) -> Option<LaneId> {
        match self.try_publish(&publish) {
            Ok(lane) => lane,
            Err(exception) => {
                let fault = exception.at(basic::CLASS, basic::PUBLISH).on(publish.channel);
                self.fail(&fault);
                None
            }
        }
    }

    #[inline]
    fn try_publish(&mut self, publish: &Publish<'_>) -> Result<Option<LaneId>, Exception> {
        let header = content::parse_header(publish.header).map_err(|_| malformed())?;
        header.check().map_err(|_| malformed())?;
        let known = match self.publisher().and_then(|publisher| publisher.find(publish.route)) {
            Some(known) => known,
            None => self.resolve(publish.route)?,
        };
        match known {
            Known::Lane(lane) if header.flags & LOOKED_AT == 0 => {
                let record = record_of(publish, &header);
                self.enqueue(lane, publish, &record)
            }
            known => self.publish_with_care(known, publish, &header),
        }
    }

    /// The message goes into its lane, or waits in its transaction. `Some`: the lane was taken without further ado.
    #[inline]
    fn enqueue(
        &mut self,
        lane: LaneId,
        publish: &Publish<'_>,
        record: &Record<'_>,
    ) -> Result<Option<LaneId>, Exception> {
        let Some(channel) = self.channels.get_mut(publish.channel) else { return Ok(None) };
        if matches!(channel.mode, Mode::Transaction(_)) {
            return self.publish_in_transaction(lane, publish, *record).map(|()| None);
        }
        let publisher = self.home.as_ref().and_then(|home| home.publisher.as_ref());
        self.unconfirmed |= channel.note_publish(|| {
            publisher.is_some_and(|publisher| publisher.is_recorded(lane, record.persistent))
        });
        if self.publisher().is_some_and(|publisher| publisher.may_reject(lane)) {
            self.publish_alone(lane, record, publish.channel);
            return Ok(None);
        }
        self.push(lane, record, publish.mandatory.then_some(publish.channel));
        Ok(Some(lane))
    }

    /// Adds a record to its lane; one that reaches no queue goes back to `return_to`, or is dropped. Says whether a queue has
    /// refused it already.
    #[inline]
    pub(super) fn push(&mut self, lane: LaneId, record: &Record<'_>, return_to: Option<u16>) -> bool {
        if self.gives_back {
            self.flush_settlements();
        }
        if record.body.len() >= ADOPTED_OCTETS_MIN
            && let Some(run) = self.adopted.take_if(|run| is_in(record, run))
        {
            return self.push_run(lane, &run, return_to);
        }
        let Some(publisher) = self.publisher() else { return false };
        match publisher.push(lane, record) {
            Pushed::Done => {}
            Pushed::Nowhere => {
                if let Some(number) = return_to {
                    self.send_return(number, record);
                }
            }
            Pushed::Blocked => {
                self.flush_lanes();
                if let Some(publisher) = self.publisher() {
                    publisher.split();
                    publisher.push(lane, record);
                }
            }
        }
        false
    }

    /// A large message that was put together from its frames: what it was put together in becomes its run.
    pub(super) fn publish_assembled(&mut self, message: Assembled) {
        let publish = message.as_publish();
        let header = content::parse_header(publish.header).ok().filter(|header| header.check().is_ok());
        let Some(header) = header.filter(|_| publish.body.len() >= ADOPTED_OCTETS_MIN) else {
            self.publish(publish);
            return;
        };
        let (channel, mandatory) = (publish.channel, publish.mandatory);
        let layout = record_of(&publish, &header).layout();
        let run = Run::adopt(message.into_octets(), &layout)
            .expect("invariant: the parts lie as the run wants them");
        self.adopted = Some(run.clone());
        let (Record { route, header, body, .. }, _) = run.record(0);
        self.publish(Publish { channel, route, mandatory, header, body });
        self.adopted = None;
    }

    /// The same for a run of one message.
    fn push_run(&mut self, lane: LaneId, run: &Run, return_to: Option<u16>) -> bool {
        self.flush_lanes();
        let Some(publisher) = self.publisher() else { return false };
        if publisher.push_run(lane, run) == Pushed::Done {
            return self.flush_lanes();
        }
        if let Some(number) = return_to {
            self.send_return(number, &run.record(0).0);
        }
        false
    }

    /// The same for a message that came by a way on which it may have been held back already.
    pub(super) fn push_or_publish_alone(&mut self, lane: LaneId, record: &Record<'_>, number: u16) {
        if self.publisher().is_some_and(|publisher| publisher.may_reject(lane)) {
            self.publish_alone(lane, record, number);
        } else {
            self.push(lane, record, None);
        }
    }

    /// Publishes to queues that may refuse, and says whether one has.
    pub(super) fn push_alone(&mut self, lane: LaneId, record: &Record<'_>) -> bool {
        self.flush_lanes();
        self.push(lane, record, None) | self.flush_lanes()
    }

    /// Publishes to queues that may refuse: the answer is for this one message, and its nack comes after the confirms
    /// of all before it.
    fn publish_alone(&mut self, lane: LaneId, record: &Record<'_>, number: u16) {
        if !self.push_alone(lane, record) {
            return;
        }
        if let Some(channel) = self.channels.get_mut(number)
            && let Mode::Confirm(confirms) = &mut channel.mode
        {
            let (tag, on_disk) = (confirms.published(), std::mem::take(&mut channel.on_disk));
            channel.unconfirmed = false;
            let point = if on_disk { self.point } else { Point::default() };
            self.promises.push(Promise { point, channel: number, tag: tag - 1, refused: false });
            self.promises.push(Promise { point: Point::default(), channel: number, tag, refused: true });
            self.keep_promises();
        }
    }

    /// Messages with headers, expiration, user-id or reply-to, and those whose way depends on more than their key.
    fn publish_with_care(
        &mut self,
        known: Known,
        publish: &Publish<'_>,
        header: &ContentHeader<'_>,
    ) -> Result<Option<LaneId>, Exception> {
        check_expiration(header)?;
        let headers = header.headers();
        let lane = self.lane_with_headers(known, publish.route, headers);
        let selected = if lane.is_some() { Selected::default() } else { sender_selected(headers)? };
        self.check_user_id(header)?;
        if let Some(header) = self.direct_reply_header(publish.channel, header)? {
            return self.try_publish(&Publish { header: &header, ..*publish }).map(|_| None);
        }
        let Some(lane) = lane else {
            return self.publish_selected(known, publish, header, &selected).map(|()| None);
        };
        let open = self.enqueue(lane, publish, &record_of(publish, header))?;
        Ok(open.filter(|_| header.flags & LOOKED_AT & !CHECKED == 0))
    }

    /// The lane of a message with these headers, if they do not have to be looked at.
    fn lane_with_headers(
        &mut self,
        known: Known,
        route: &[u8],
        headers: Option<RawTable<'_>>,
    ) -> Option<LaneId> {
        if let Known::Lane(lane) = known
            && headers.is_none_or(|table| table.entries().all(|(key, _)| !is_selection(key)))
        {
            return Some(lane);
        }
        if known == Known::Each {
            return None;
        }
        self.publisher()?.find_with_headers(route, headers)
    }

    /// A message that is routed by its headers, by keys in them, or by itself.
    fn publish_selected(
        &mut self,
        known: Known,
        publish: &Publish<'_>,
        header: &ContentHeader<'_>,
        selected: &Selected<'_>,
    ) -> Result<(), Exception> {
        let headers = header.headers();
        let (_, key) = basic::split_route(publish.route);
        let keys: Vec<&[u8]> = std::iter::once(key).chain(selected.keys.iter().copied()).collect();
        let original = publish;
        let stripped = selected.hidden.then(|| content::without_header_key(publish.header, BCC));
        let publish = &Publish { header: stripped.as_deref().unwrap_or(publish.header), ..*publish };
        let hidden =
            headers.filter(|_| selected.hidden).map_or_else(Vec::new, |headers| hidden_keys(&headers));
        let record = Record { hidden: &hidden, ..record_of(publish, header) };
        let mut message = Message { keys: &keys, headers, properties: Some(header), chance: 0, waits: false };
        let delay = self.delay(headers)?;
        message.waits = delay.is_some();
        if known == Known::Each {
            message.chance = self.draw_chance();
            self.keep(record, &message)?;
        }
        if let Some(ms) = delay
            && self.publish_delayed(original, (record_of(original, header), record), &message, ms)?
        {
            return Ok(());
        }
        let lane = self.route(publish.route, &message)?;
        if known != Known::Each
            && !selected.hidden
            && let Some(publisher) = self.publisher()
        {
            publisher.remember_with_headers(publish.route, headers, lane);
        }
        self.enqueue(lane, publish, &record).map(|_| ())
    }

    /// The message is kept by the exchanges on its way that keep what they get.
    fn keep(&mut self, record: Record<'_>, message: &Message<'_>) -> Result<(), Exception> {
        let Some(home) = self.home.as_ref().filter(|home| home.picture.keeps_histories()) else {
            return Ok(());
        };
        let exchange = exchange_of(record.route)?;
        let octets_max = self.limits().recent_history_octets;
        keep(&home.picture, exchange, message, record, octets_max);
        // Who was bound meanwhile may have looked before this.
        self.refresh();
        Ok(())
    }

    /// Looks a route up and remembers it: does the exchange exist, may the user write to it, where does it lead?
    fn resolve(&mut self, route: &[u8]) -> Result<Known, Exception> {
        let (_, key) = basic::split_route(route);
        let name = exchange_of(route)?;
        self.permit(Access::Write, Resource::exchange(name))?;
        let Some(home) = self.home.as_ref() else { return Err(malformed()) };
        let vhost = Arc::clone(&home.vhost);
        let found = home.picture.topology.exchange(name);
        let Some(found) = found else { return Err(refusal::not_found(refusal::exchange(name, &vhost.name))) };
        if found.internal {
            let text = format!("cannot publish to internal {}", refusal::exchange(name, &vhost.name));
            return Err(refusal::refused(text));
        }
        let known = match home.picture.topology.route_dependence(name) {
            Dependence::Keys => Known::Lane(self.route(route, &Message::with_keys(&[key]))?),
            Dependence::Headers => Known::ByHeaders,
            Dependence::Message => Known::Each,
        };
        let Some(home) = self.home.as_mut() else { return Err(malformed()) };
        home.publisher.get_or_insert_default().remember(route, known);
        Ok(known)
    }

    /// The lane for a message.
    fn route(&mut self, route: &[u8], message: &Message<'_>) -> Result<LaneId, Exception> {
        self.make_room();
        let name = exchange_of(route)?;
        let Some(home) = self.home.as_mut() else { return Err(malformed()) };
        let mut ids = Vec::new();
        if home.picture.topology.route(name, message, &mut ids).is_err() {
            return Err(refusal::not_found(refusal::exchange(name, &home.vhost.name)));
        }
        let picture = &home.picture;
        ids.retain(|id| picture.cell(*id).is_some());
        let targets = || ids.iter().filter_map(|id| picture.cell(*id)).map(Arc::clone).collect();
        Ok(home.publisher.get_or_insert_default().lane_of(&ids, targets))
    }

    /// Forgets the lanes when there are too many. They are numbered anew after this.
    pub(super) fn make_room(&mut self) {
        if self.publisher().is_some_and(|publisher| publisher.is_full()) {
            self.flush_lanes();
            if let Some(home) = self.home.as_mut() {
                home.publisher = None;
            }
        }
    }

    fn send_return(&mut self, number: u16, record: &Record<'_>) {
        let payload_max = self.connection.tuning().payload_max();
        let out = self.out.buffer();
        basic::put_return(out, number, ReplyCode::NoRoute.code(), "NO_ROUTE", record.route);
        basic::put_content(out, number, record.header, record.body, payload_max);
    }

    /// Hands the open runs to their queues, then confirms what need not wait for the disk.
    #[inline]
    pub(super) fn flush_publishes(&mut self) {
        self.flush_lanes();
        if std::mem::take(&mut self.unconfirmed) {
            self.confirm();
        }
    }

    fn confirm(&mut self) {
        for channel in self.channels.iter_mut().filter(|channel| channel.unconfirmed) {
            channel.unconfirmed = false;
            let on_disk = std::mem::take(&mut channel.on_disk);
            let Mode::Confirm(confirms) = &mut channel.mode else { continue };
            let tag = confirms.published();
            if on_disk || self.promises.has(channel.number) {
                let point = if on_disk { self.point } else { Point::default() };
                self.promises.push(Promise { point, channel: channel.number, tag, refused: false });
            } else if let Some((tag, multiple)) = confirms.confirm(tag) {
                basic::put_ack(self.out.buffer(), channel.number, tag, multiple);
            }
        }
        self.keep_promises();
    }

    /// Sends the confirms whose messages are on disk.
    pub(super) fn keep_promises(&mut self) {
        if self.promises.is_empty() {
            return;
        }
        let durable = self.broker.durable();
        while let Some(Promise { channel: number, tag, refused, .. }) = self.promises.pop(durable) {
            let Some(channel) = self.channels.get_mut(number) else { continue };
            let Mode::Confirm(confirms) = &mut channel.mode else { continue };
            if refused {
                basic::put_nack(self.out.buffer(), number, confirms.refuse(tag), false, false);
            } else if let Some((tag, multiple)) = confirms.confirm(tag) {
                basic::put_ack(self.out.buffer(), number, tag, multiple);
            }
        }
    }

    /// Hands the open runs over; says whether a queue has refused one.
    pub(super) fn flush_lanes(&mut self) -> bool {
        let publisher = self.home.as_mut().and_then(|home| home.publisher.as_mut());
        let Some(publisher) = publisher.filter(|publisher| publisher.any_open()) else { return false };
        let mut refused = false;
        let limits = &self.broker.limits;
        let window = limits.queue_window_octets;
        let arrived = self.broker.epoch_ms() + self.now;
        // A connection that has to acknowledge is never made to wait for consumers: its acks may be what drains the queue.
        let mut waiter = (self.waits.is_none() && !self.sources.any_acks()).then_some(&self.inbox);
        let (scratch, waits) = (&mut self.scratch, &mut self.waits);
        let mut strays = Vec::new();
        publisher.close(|targets, may_reject, run| {
            let mut places = Vec::new();
            for queue in targets {
                let published = queue.append(run.clone(), may_reject, window, waiter, scratch);
                if let Some(first) = published.first()
                    && queue.info.durable
                {
                    places.push((queue.info.store_id, first));
                }
                match published {
                    Published::Taken(_) => {}
                    Published::Gone if queue.bucket().is_some() => {
                        strays.push((Arc::clone(queue), run.clone()))
                    }
                    Published::Gone => {}
                    Published::Wait(_, ready) => {
                        let until = self.now + limits.queue_window_wait_ms;
                        *waits = Some(Wait::Queue { queue: Arc::clone(queue), ready, until });
                        waiter = None;
                    }
                    Published::Rejected => refused = true,
                }
            }
            let keeps_all = targets.iter().any(|queue| queue.keeps_all());
            scratch.work.publish(places, &run, keeps_all, arrived);
        });
        for (bucket, run) in strays {
            delayed::put_again(&bucket, &run, &mut self.scratch);
        }
        self.record();
        refused
    }

    /// Puts what was published into the journal, and waits for the disk if that is behind.
    pub(super) fn record(&mut self) {
        let storage = self.broker.storage();
        self.scratch.work.wanted |= self.unconfirmed;
        if let Some(lsn) = storage.append(&mut self.scratch.work) {
            // Whoever declared the queue may still be waiting for it to be on disk.
            let seq = self.broker.journalist().unsettled().unwrap_or_default();
            self.point = Point { seq, lsn };
        }
        if self.waits.is_none() && storage.must_wait(&self.inbox) {
            self.waits = Some(Wait::Disk);
        }
    }

    fn check_user_id(&self, header: &ContentHeader<'_>) -> Result<(), Exception> {
        let (Some(claimed), Some(home)) = (header.user_id(), &self.home) else { return Ok(()) };
        if claimed == home.user.name.as_bytes() || home.user.has_tag("impersonator") {
            return Ok(());
        }
        let claimed = String::from_utf8_lossy(claimed);
        let actual = &home.user.name;
        Err(refusal::precondition(format!(
            "user_id property set to '{claimed}' but authenticated user was '{actual}'"
        )))
    }
}

/// The name of the exchange in a route.
pub(super) fn exchange_of(route: &[u8]) -> Result<&str, Exception> {
    std::str::from_utf8(basic::split_route(route).0).map_err(|_| malformed())
}

pub(super) fn record_of<'a>(publish: &Publish<'a>, header: &ContentHeader<'_>) -> Record<'a> {
    Record {
        route: publish.route,
        hidden: b"",
        header: publish.header,
        body: publish.body,
        persistent: header.is_persistent(),
        priority: header.priority(),
        ttl: header.expiration().and_then(expires_after),
        dead: false,
        due: None,
    }
}

/// Whether the octets of the record are those of the run's only one. They are not if the header was changed on the way.
fn is_in(record: &Record<'_>, run: &Run) -> bool {
    let (own, _) = run.record(0);
    std::ptr::eq(record.header, own.header) && std::ptr::eq(record.body, own.body)
}

/// Headers with further routing keys.
const CC: &[u8] = b"CC";
/// The same, which nobody else is to see.
const BCC: &[u8] = b"BCC";

fn is_selection(key: &[u8]) -> bool {
    key == CC || key == BCC
}

/// What the headers CC and BCC say.
#[derive(Debug, Default)]
pub(super) struct Selected<'a> {
    pub(super) keys: Vec<&'a [u8]>,
    /// There is a BCC.
    hidden: bool,
}

pub(super) fn sender_selected<'a>(headers: Option<RawTable<'a>>) -> Result<Selected<'a>, Exception> {
    let mut selected = Selected::default();
    let Some(headers) = headers else { return Ok(selected) };
    for name in [CC, BCC] {
        let Some(value) = headers.get(name) else { continue };
        selected.hidden |= name == BCC;
        let bad = |kind: &str| {
            let name = String::from_utf8_lossy(name);
            let text = format!("invalid message: {{unacceptable_type_in_header,\"{name}\",{kind}}}");
            Err(refusal::precondition(text))
        };
        let Some(list) = value.as_array() else { return bad(tag_name(value.tag)) };
        // What is no string is passed over.
        selected.keys.extend(list.filter_map(|item| item.as_longstr()));
    }
    Ok(selected)
}

/// RabbitMQ's name of the type behind a tag octet.
fn tag_name(tag: u8) -> &'static str {
    match tag {
        b't' => "bool",
        b'b' => "byte",
        b'B' => "unsignedbyte",
        b's' | b'U' => "short",
        b'u' => "unsignedshort",
        b'I' => "signedint",
        b'i' => "unsignedint",
        b'l' | b'L' => "long",
        b'f' => "float",
        b'd' => "double",
        b'D' => "decimal",
        b'S' => "longstr",
        b'A' => "array",
        b'T' => "timestamp",
        b'F' => "table",
        b'x' => "binary",
        _ => "void",
    }
}

/// A per-message TTL has to be a number of milliseconds in decimal.
fn check_expiration(header: &ContentHeader<'_>) -> Result<(), Exception> {
    /// Ten years, RabbitMQ's upper bound for expiry.
    const EXPIRY_MS_MAX: u64 = 315_360_000_000;
    let Some(expiration) = header.expiration() else { return Ok(()) };
    let text = String::from_utf8_lossy(expiration);
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let invalid = |why: String| Err(refusal::precondition(format!("invalid expiration '{text}': {why}")));
    if let Some(negative) = text.strip_prefix('-')
        && let Ok(number) = negative.parse::<u64>()
    {
        return invalid(format!("{{value_negative,-{number}}}"));
    }
    match digits.parse::<u64>() {
        Err(_) => invalid("no_integer".to_owned()),
        Ok(_) if digits.len() != text.len() => {
            let rest = &text[digits.len()..];
            invalid(format!("{{leftover_string,{rest:?}}}"))
        }
        Ok(number) if number > EXPIRY_MS_MAX => invalid(format!("{{value_too_large,{number}}}")),
        Ok(_) => Ok(()),
    }
}

/// Properties that cannot be decoded.
fn malformed() -> Exception {
    Exception::new(ReplyCode::SyntaxError, "content properties cannot be decoded")
}
