//! Two brokers beside each other, step by step. Each view is brought into a form in which everything that the protocol leaves to
//! the broker looks the same; what is left must be equal. The freedoms, each with its reason, are in [`lines_of`].

use std::collections::{BTreeMap, BTreeSet};

use super::known::{self, Equaliser};
use super::script::{Script, text_of};
use super::view::{Event, Played, View};
use crate::transcript::received::Message;
use crate::transcript::value::{Typed, Value};

/// How two brokers have played one script.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// As far as it was compared, the same. What is known to differ was seen in these steps.
    Same(BTreeSet<&'static str>),
    /// The first step that differs, and how: lines that only the first has, and those that only the second has.
    Differs { step: usize, only: [Vec<String>; 2] },
}

/// Compares what `reference` and `judged` have shown; `known` is the script when the reference is RabbitMQ 3.10 and WarrenMQ was judged,
/// so that there are known differences.
pub(crate) fn compare(reference: &Played, judged: &Played, known: Option<&Script>) -> Verdict {
    let (mut seen, mut equaliser) = (BTreeSet::new(), Equaliser::default());
    for (step, (reference, judged)) in reference.views.iter().zip(&judged.views).enumerate() {
        let [mut reference, mut judged] = [reference.clone(), judged.clone()];
        if known.is_some() {
            seen.extend(equaliser.equalise(&mut reference, &mut judged));
        }
        let [left, right] = [lines_of(&reference), lines_of(&judged)];
        if left == right {
            continue;
        }
        let only = difference(&left, &right);
        let is_of_queues = only.iter().flatten().all(|line| is_of_queue(line));
        let reason = match known {
            _ if is_of_queues && !reference.left_at_once.is_empty() => Some(LEFT_AT_ONCE),
            Some(script) => known::parting(&script.steps[step], &left, &right)
                .or_else(|| known::parting_of_turns(script, &only))
                .or_else(|| known::parting_of_commits(&left, &only))
                .or_else(|| is_of_queues.then(|| known::parting_of_queues(script)).flatten()),
            None => None,
        };
        let Some(reason) = reason else { return Verdict::Differs { step, only } };
        // From here on the two are in different states: nothing more can be compared.
        seen.insert(reason);
        return Verdict::Same(seen);
    }
    Verdict::Same(seen)
}

/// The channels of a connection that ends tell the queues so each for itself (`rabbit_reader:terminate_channels`), in no certain
/// order: what the first gives back may still go to a consumer of the second, and be lost there if it wants no acknowledgements.
const LEFT_AT_ONCE: &str = "a connection ends whose channels share a queue: which of them leaves first is left to chance in RabbitMQ";

/// Whether a line shows where a queue's messages are and nothing else.
fn is_of_queue(line: &str) -> bool {
    let gives = ["basic.deliver", "basic.get-ok", "basic.get-empty"];
    let counts = ["queue.declare-ok", "queue.purge-ok", "queue.delete-ok"];
    let mut answers = gives.iter().chain(&counts);
    answers.any(|name| line.contains(&format!(": S {name} ")))
        || line.contains(": deliveries to ")
        || line.starts_with("queue ")
}

/// What one has and the other has not; all of both when it is a matter of order.
fn difference(left: &[String], right: &[String]) -> [Vec<String>; 2] {
    let without = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    let only = [without(left, right), without(right, left)];
    if only.iter().all(Vec::is_empty) { [left.to_vec(), right.to_vec()] } else { only }
}

/// A view as lines, in which two brokers may not differ.
///
/// - The order between channels is lost in the network, and that between connections in the clients.
/// - On one channel, deliveries of different queues, confirms, cancels by the server and answers come from different actors of the
///   broker: each kind is a list of its own. So are the deliveries of one queue to each of its consumers: who gets what is compared, but
///   not how they take turns on the way. Tags of deliveries to several consumers are compared as a set, for the same reason.
/// - Confirms may be grouped or not, and come in any order: what counts is which tags were confirmed and which refused.
pub(crate) fn lines_of(view: &View) -> Vec<String> {
    let mut lists: BTreeMap<(u32, u16, String), Vec<&Message>> = BTreeMap::new();
    let mut lines = Vec::new();
    for (connection, event) in &view.events {
        match event {
            // Both clients say what the script says: what they say more is what they have heard.
            Event::Said(_) => {}
            Event::Heard(message, source) => {
                let list = match message.method.name {
                    "basic.deliver" => format!("d{source} {}", text_of(message, "consumer-tag")),
                    "basic.cancel" => format!("c{}", text_of(message, "consumer-tag")),
                    _ => String::new(),
                };
                lists.entry((*connection, message.channel, list)).or_default().push(message);
            }
            Event::Closed(error) => lines.push(format!("{connection}: S <close> {error}")),
            Event::Silent(what) => lines.push(format!("{connection}: {what}")),
        }
    }
    let mut tags: BTreeMap<(u32, u16), (usize, BTreeSet<String>)> = BTreeMap::new();
    for (connection, channel, list) in lists.keys().filter(|(_, _, list)| list.starts_with('d')) {
        let (consumers, tags) = tags.entry((*connection, *channel)).or_default();
        *consumers += 1;
        let deliveries = &lists[&(*connection, *channel, list.clone())];
        tags.extend(deliveries.iter().map(|message| message.fields[1].to_string()));
    }
    for ((connection, channel, list), messages) in &lists {
        let is_mixed = list.starts_with('d')
            && tags.get(&(*connection, *channel)).is_some_and(|(consumers, _)| *consumers > 1);
        for message in messages {
            let mut shown = without_times(message);
            if is_mixed {
                shown.fields[1] = Value::Number(0);
            }
            lines.push(format!("{connection}: S {shown}"));
        }
    }
    for ((connection, channel), (consumers, tags)) in &tags {
        if *consumers > 1 {
            lines.push(format!(
                "{connection}: deliveries to {consumers} consumers on channel {channel} have the tags {tags:?}"
            ));
        }
    }
    for ((connection, channel), confirms) in &view.confirms {
        for (tag, refused) in confirms {
            let kind = if *refused { "basic.nack" } else { "basic.ack" };
            lines.push(format!("{connection}: S {kind} {channel} {tag}, confirmed alone or with others"));
        }
    }
    lines.extend(view.objects.iter().map(|(object, state)| format!("{object}: {state}")));
    lines
}

/// Two brokers play at different times: the time of a death is not compared, nor the order of a dead letter's headers.
fn without_times(message: &Message) -> Message {
    let mut message = message.clone();
    let is_rewritten = |key: &[u8]| [&b"x-death"[..], b"x-delivery-count"].contains(&key);
    if !headers_of(&mut message).is_some_and(|headers| headers.iter().any(|(key, _)| is_rewritten(key))) {
        return message;
    }
    // Headers that the broker adds to are made anew, and a table has no order: RabbitMQ 3.10 sorts them, others append.
    sort_headers(&mut message);
    if let Some(headers) = headers_of(&mut message) {
        for (_, death) in headers.iter_mut().filter(|(key, _)| key == b"x-death") {
            forget_times(death);
        }
    }
    message
}

/// The headers of a message, if it has some.
fn headers_of(message: &mut Message) -> Option<&mut Vec<(Vec<u8>, Typed)>> {
    match message.content.as_mut()?.property_mut("headers")? {
        Value::Table(headers) => Some(headers),
        _ => None,
    }
}

/// Gives headers the order of their names.
pub(crate) fn sort_headers(message: &mut Message) {
    if let Some(headers) = headers_of(message) {
        headers.sort_by(|(left, _), (right, _)| left.cmp(right));
    }
}

fn forget_times(typed: &mut Typed) {
    match &mut typed.value {
        Value::Array(items) => items.iter_mut().for_each(forget_times),
        Value::Table(entries) => {
            for (key, entry) in entries {
                if key == b"time" && entry.tag == b'T' {
                    entry.value = Value::Number(0);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::method;
    use super::*;

    fn heard(lines: &[(&str, &str)]) -> View {
        let events = lines
            .iter()
            .map(|(line, source)| (1, Event::Heard(method(line), (*source).to_owned())))
            .collect();
        View { events, ..View::default() }
    }

    fn are_same(left: View, right: View) -> bool {
        let played = |view| Played { views: vec![view], was_slow: false };
        matches!(compare(&played(left), &played(right), None), Verdict::Same(_))
    }

    #[test]
    fn queues_may_overtake_each_other_and_no_message_its_own() {
        let (a, b) = (("basic.deliver 1 c 1 | | body=a", "q"), ("basic.deliver 1 c 2 | | body=b", "q"));
        let (a2, b1) = (("basic.deliver 1 c 2 | | body=a", "q"), ("basic.deliver 1 c 1 | | body=b", "q"));
        assert!(are_same(heard(&[a, b]), heard(&[a, b])));
        assert!(!are_same(heard(&[a, b]), heard(&[b1, a2])), "one queue");
        let (b, b1) = ((b.0, "r"), (b1.0, "r"));
        assert!(are_same(heard(&[a, b]), heard(&[b1, a2])), "two queues");
        assert!(!are_same(heard(&[a, b]), heard(&[a])), "one is missing");
    }

    #[test]
    fn an_answer_differs_in_each_field() {
        let close = |text: &str| heard(&[(&format!("channel.close 1 406 \"{text}\" by=basic.ack"), "")]);
        assert!(are_same(close("a"), close("a")));
        assert!(!are_same(close("a"), close("b")));
    }

    #[test]
    fn channels_that_end_at_once_leave_a_queue_in_any_order() {
        let left = |ready: u32, closes: bool| {
            let mut view = heard(if closes { &[("channel.close 3 406 x", "")] } else { &[] });
            view.left_at_once.insert("@q".to_owned());
            view.objects.insert("queue @q".to_owned(), format!("{ready} ready, 0 consumers"));
            view
        };
        assert!(are_same(left(1, false), left(2, false)));
        assert!(!are_same(left(1, false), left(2, true)), "an answer is no matter of order");
        let mut ordered = left(2, false);
        ordered.left_at_once.clear();
        assert!(!are_same(ordered.clone(), left(1, false)), "nothing was left at once");
    }

    #[test]
    fn the_time_of_a_death_is_not_compared() {
        let death = |time| {
            heard(&[(
                &format!(
                    "basic.get-ok 1 1 | headers={{x-death:array:[table:{{time:timestamp:{time},n:int8:1}}]}} | body=a"
                ),
                "",
            )])
        };
        assert!(are_same(death(1), death(2)));
    }
}
