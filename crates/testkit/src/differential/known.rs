//! What RabbitMQ 3.10 is known to do otherwise than the releases that WarrenMQ follows, or otherwise than WarrenMQ on purpose. Each
//! entry is counted when it is met; none is passed over in silence. `docs/compatibility.md` has the same for users.

use std::collections::BTreeMap;

use super::compare::sort_headers;
use super::script::{QUORUM, Script, Step, field_mut, text_of};
use super::view::{Event, View};
use crate::transcript::received::Message;
use crate::transcript::value::{Typed, Value};

/// A difference after which the two brokers are in different states.
#[derive(Debug)]
struct Known {
    /// What it is, and which release does what.
    name: &'static str,
    /// A part of the step after which it is seen.
    step: &'static str,
    /// A part of a line that the reference alone has; empty where it need not have one.
    reference: &'static str,
    /// The same of WarrenMQ.
    judged: &'static str,
}

const INTERNAL_ERROR: &str = "reply-code=541 reply-text=INTERNAL_ERROR";

const PARTINGS: [Known; 13] = [
    Known {
        name: "a wrong user-id beside a wrong expiration, CC or BCC: 3.10 names the user-id first",
        step: "",
        reference: "user_id property set to",
        judged: "PRECONDITION_FAILED - invalid ",
    },
    Known {
        name: "unknown exchange type: 503 and the end of the connection in 3.10, 406 on the channel since 3.13",
        step: "",
        reference: "reply-code=503 reply-text=\"COMMAND_INVALID - unknown exchange type",
        judged: "reply-code=406 reply-text=\"PRECONDITION_FAILED - unknown exchange type",
    },
    Known {
        name: "unknown exchange type: 503 and the end of the connection in 3.10, 406 on the channel since 3.13",
        step: "",
        reference: "reply-code=503 reply-text=\"COMMAND_INVALID - invalid exchange type",
        judged: "reply-code=406 reply-text=\"PRECONDITION_FAILED - unknown exchange type",
    },
    Known {
        name: "delivery-mode other than 1 and 2: 406 in 3.10, taken for 1 since 3.13",
        step: "",
        reference: "invalid message: {delivery_mode_unknown,",
        judged: "",
    },
    Known {
        name: "unknown method: all releases close the socket without a word, WarrenMQ says 503 (on purpose)",
        step: "",
        reference: "S <close>",
        judged: "COMMAND_INVALID - unknown method",
    },
    Known {
        name: "malformed arguments of a method: all releases close the socket without a word, WarrenMQ says 502 (on purpose)",
        step: "",
        reference: "S <close>",
        judged: "reply-code=502",
    },
    Known {
        name: "basic.get from a classic queue with a single active consumer: answered in 3.10, 405 since 3.11",
        step: "",
        reference: " basic.get-",
        judged: "basic.get operations are not supported by classic queues with single active consumer",
    },
    Known {
        name: "a queue without a name and with a wrong x-queue-type: all releases fail with 541, WarrenMQ says 406 (on purpose)",
        step: "",
        reference: INTERNAL_ERROR,
        judged: "invalid arg 'x-queue-type' for queue '%g'",
    },
    Known {
        name: "a channel asks for its own reply consumer by name: it calls itself and fails with 541 in 3.10 and 3.13, WarrenMQ answers (on purpose)",
        step: "",
        reference: INTERNAL_ERROR,
        judged: " queue=\"%r",
    },
    Known {
        name: "x-recent-history has something for an exchange that leads nowhere: all releases fail with 541, WarrenMQ drops it (on purpose)",
        step: "exchange.bind ",
        reference: INTERNAL_ERROR,
        judged: "",
    },
    Known {
        name: "the tag of a reply consumer for another one: taken by all releases, refused by WarrenMQ (on purpose)",
        step: "",
        reference: "",
        judged: "attempt to reuse consumer tag 'r",
    },
    Known {
        name: "a body longer than announced: 505 at the next method in 3.10, 501 at once since 4.3",
        step: "",
        reference: "",
        judged: "FRAME_ERROR - content body frame exceeds remaining content size",
    },
    Known {
        name: "a channel.close-ok that answers nothing: in all releases 503, or 504 for what comes next if that is faster",
        step: "channel.close-ok ",
        reference: "CHANNEL_ERROR - expected 'channel.open'",
        judged: "COMMAND_INVALID - unimplemented method",
    },
];

/// The entry that explains why these lines differ.
pub(crate) fn parting(step: &Step, reference: &[String], judged: &[String]) -> Option<&'static str> {
    let only = |these: &[String], those: &[String], part: &str| {
        part.is_empty() || these.iter().any(|line| line.contains(part) && !those.contains(line))
    };
    let step = step.to_string();
    PARTINGS
        .iter()
        .filter(|known| step.contains(known.step))
        .find(|known| only(reference, judged, known.reference) && only(judged, reference, known.judged))
        .map(|known| known.name)
}

/// What explains that queues hold or give out something else, when nothing but that differs.
struct KnownOfQueues {
    name: &'static str,
    /// Whether the script can show it.
    may_be: fn(&Script) -> bool,
}

const PARTINGS_OF_QUEUES: [KnownOfQueues; 7] = [
    KnownOfQueues {
        name: "what expires in a queue with priorities: all releases keep it behind more urgent messages, with WarrenMQ each priority has a head (on purpose)",
        may_be: |script| {
            script.says("x-max-priority:") && (script.says(" expiration=") || script.says("x-message-ttl:"))
        },
    },
    KnownOfQueues {
        name: "a direct reply in a transaction: at once before 4.2, at the commit since",
        may_be: |script| script.says("tx.select") && script.says("routing-key=\"%r"),
    },
    KnownOfQueues {
        name: "whose turn it is among consumers that share a prefetch (not mended)",
        may_be: |script| script.says(" global=true"),
    },
    KnownOfQueues {
        name: "the prefetch of who gives back what its delivery limit ends: 3.10 frees two places for it, one since 3.13",
        may_be: |script| script.says("x-delivery-limit:") && script.says("prefetch-count="),
    },
    KnownOfQueues {
        name: "a queue that is bound to x-consistent-hash with two weights: all releases take it out when one is unbound, WarrenMQ keeps the other (on purpose)",
        may_be: |script| script.says(" exchange=\"@x1\"") && script.says("queue.unbind"),
    },
    KnownOfQueues {
        name: "what basic.get says is left in a quorum queue: all releases count what has expired next, WarrenMQ does not (on purpose)",
        may_be: |script| {
            script.has_quorum_queues() && (script.says(" expiration=") || script.says("x-message-ttl:"))
        },
    },
    KnownOfQueues {
        name: "what x-recent-history has kept comes to an exchange newest first in all releases, oldest first with WarrenMQ (on purpose)",
        may_be: |script| script.says("exchange.bind") && script.says("source=\"@h1\""),
    },
];

/// The entry that explains a difference in what queues hold and give out.
pub(crate) fn parting_of_queues(script: &Script) -> Option<&'static str> {
    PARTINGS_OF_QUEUES.iter().find(|known| (known.may_be)(script)).map(|known| known.name)
}

/// Takes out of views what is known to differ and has no consequence.
#[derive(Debug, Default)]
pub(crate) struct Equaliser {
    /// How many direct replies came on a channel so far.
    replies: BTreeMap<(u32, u16), i128>,
}

impl Equaliser {
    /// Takes it out of both views of one step; returns what was met.
    pub(crate) fn equalise(&mut self, reference: &mut View, judged: &mut View) -> Vec<&'static str> {
        let mut met = Vec::new();
        let is_last_death = |key: &[u8], _: &Value| key.starts_with(b"x-last-death-");
        if is_any(messages_of(judged), |message| remove_headers(message, is_last_death)) {
            met.push("x-last-death-… headers: since 3.13, not in 3.10");
        }
        let is_cc = |key: &[u8], _: &Value| key == b"CC";
        let has_died = |message: &&mut Message| {
            message.content.as_ref().and_then(|content| content.property("headers")).is_some_and(
                |headers| matches!(headers, Value::Table(headers) if headers.iter().any(|(key, _)| key == b"x-death")),
            )
        };
        let [reference_had, judged_had] = [&mut *reference, &mut *judged].map(|view| {
            messages_of(view)
                .filter(has_died)
                .fold(0, |count, message| count + u32::from(remove_headers(message, is_cc)))
        });
        if reference_had != judged_had {
            met.push("CC of a dead letter that gets another key: taken away by 3.10, kept since 3.13");
        }
        let is_zero = |key: &[u8], value: &Value| key == b"x-delivery-count" && *value == Value::Number(0);
        if is_any(messages_of(reference), |message| remove_headers(message, is_zero)) {
            // With it the order of the other headers is lost: RabbitMQ sorts them then.
            messages_of(reference).chain(messages_of(judged)).for_each(|message| {
                sort_headers(message);
                remove_headers(message, |_, _| false);
            });
            met.push(
                "x-delivery-count of 0 of what never came back to its quorum queue: 3.10, not since 3.13",
            );
        }
        let has_consumers = [reference, &mut *judged].map(|view| is_any(messages_of(view), forget_consumers));
        if has_consumers.contains(&true) {
            met.push(
                "consumers of a quorum queue: all releases count those too that are gone but hold messages, WarrenMQ does not (on purpose)",
            );
        }
        if self.shift_tags(judged) {
            met.push("delivery tags of direct replies: counted since 4.2, not before");
        }
        met
    }

    /// Gives deliveries the tags that they would have if replies had none of their own; true when that changes something.
    fn shift_tags(&mut self, judged: &mut View) -> bool {
        let mut has_changed = false;
        for (connection, event) in &mut judged.events {
            let Event::Heard(message, source) = event else { continue };
            let replies = self.replies.entry((*connection, message.channel)).or_default();
            match message.method.name {
                "channel.open-ok" => *replies = 0,
                "basic.deliver" | "basic.get-ok" => {
                    if let Some(Value::Number(tag)) = field_mut(message, "delivery-tag") {
                        *tag -= *replies;
                    }
                    has_changed |= *replies > 0;
                    *replies += i128::from(source == "amq.rabbitmq.reply-to");
                }
                _ => {}
            }
        }
        has_changed
    }
}

/// Takes out how many consumers a quorum queue has; true when it had some.
fn forget_consumers(message: &mut Message) -> bool {
    let is_quorum = text_of(message, "queue").starts_with(QUORUM);
    let Some(count) = field_mut(message, "consumer-count").filter(|_| is_quorum) else { return false };
    std::mem::replace(count, Value::Number(0)) != Value::Number(0)
}

/// What explains that others get the same messages.
const TURNS: &str = "whose turn it is after a prefetch was used up: RabbitMQ notices when its turn comes, WarrenMQ at once (not mended)";

/// The entry that explains why consumers have got each other's messages, when nothing but that differs.
pub(crate) fn parting_of_turns(script: &Script, only: &[Vec<String>; 2]) -> Option<&'static str> {
    // Without who got it: connection, channel, consumer and tag.
    let what = |line: &String| {
        let (_, delivery) = line.split_once(": S basic.deliver ")?;
        let words = delivery.split(' ').skip(1);
        let of_whom = |word: &&str| !word.starts_with("consumer-tag=") && !word.starts_with("delivery-tag=");
        Some(words.filter(of_whom).collect::<Vec<_>>().join(" "))
    };
    let all = |lines: &[String]| {
        let deliveries = lines.iter().filter(|line| !line.contains(": deliveries to "));
        let mut all = deliveries.map(what).collect::<Option<Vec<_>>>()?;
        all.sort();
        Some(all)
    };
    let [left, right] = [all(&only[0])?, all(&only[1])?];
    (left == right && script.says(" prefetch-count=")).then_some(TURNS)
}

/// What explains that a channel still gets what it has published itself.
const LAST_WORDS: &str = "a commit that fails: all releases deliver to its own channel what went through, if that is faster than the refusal, WarrenMQ closes it at once (on purpose)";

/// The entry that explains why more was delivered to a channel whose commit has failed, when nothing but that differs.
pub(crate) fn parting_of_commits(lines: &[String], only: &[Vec<String>; 2]) -> Option<&'static str> {
    let fails = |line: &&String| line.contains("PRECONDITION_FAILED - partial tx completion");
    let channel = |line: &String| line.split(" S ").next().map(str::to_owned);
    let failed = lines.iter().find(fails).and_then(channel)?;
    let is_last =
        |line: &String| line.contains(" S basic.deliver ") && channel(line).as_ref() == Some(&failed);
    // Where it wants no acknowledgements its queue has them no more.
    let is_count = |line: &String| line.starts_with("queue ");
    let explains = only[0].iter().any(is_last)
        && only[0].iter().all(|line| is_last(line) || is_count(line))
        && only[1].iter().all(is_count);
    explains.then_some(LAST_WORDS)
}

/// Changes all messages; true when one of them was changed.
fn is_any<'a>(
    messages: impl Iterator<Item = &'a mut Message>,
    change: impl Fn(&mut Message) -> bool,
) -> bool {
    messages.fold(false, |is_any, message| change(message) | is_any)
}

fn messages_of(view: &mut View) -> impl Iterator<Item = &mut Message> {
    view.events.iter_mut().filter_map(|(_, event)| match event {
        Event::Heard(message, _) => Some(message),
        _ => None,
    })
}

/// Removes some headers, and the table when it was the last; true when there was one.
fn remove_headers(message: &mut Message, is_one: impl Fn(&[u8], &Value) -> bool) -> bool {
    let Some(content) = &mut message.content else { return false };
    let mut removed = false;
    for property in &mut content.properties {
        let Some(Value::Table(headers)) = property else { continue };
        let before = headers.len();
        headers.retain(|(key, typed): &(Vec<u8>, Typed)| !is_one(key, &typed.value));
        removed |= headers.len() < before;
        // It may have had others that clients do not see.
        if headers.is_empty() {
            *property = None;
        }
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::super::script::{Action, Step, method};
    use super::*;

    #[test]
    fn others_may_get_the_same_messages_where_there_is_a_prefetch() {
        let script = |line: &str| Script {
            seed: 1,
            steps: vec![Step { connection: 1, action: Action::Say(method(line)) }],
        };
        let got = |tag: &str, number: u32, body: &str| {
            vec![format!("1: S basic.deliver 1 consumer-tag={tag} delivery-tag={number} | | body={body}")]
        };
        let qos = script("basic.qos 1 prefetch-count=1");
        assert!(parting_of_turns(&qos, &[got("a", 1, "x"), got("b", 2, "x")]).is_some());
        assert!(parting_of_turns(&qos, &[got("a", 1, "x"), got("b", 1, "y")]).is_none(), "another message");
        assert!(parting_of_turns(&qos, &[got("a", 1, "x"), vec![]]).is_none(), "nobody gets it");
        let none = script("tx.select 1");
        assert!(parting_of_turns(&none, &[got("a", 1, "x"), got("b", 2, "x")]).is_none());
    }

    #[test]
    fn what_queues_hold_is_explained_by_what_the_script_says() {
        let script = |lines: &[&str]| {
            let steps =
                lines.iter().map(|line| Step { connection: 1, action: Action::Say(method(line)) }).collect();
            Script { seed: 1, steps }
        };
        let priorities = "queue.declare 1 queue=@q arguments={x-max-priority:int32:3}";
        let expiring = "basic.publish 1 routing-key=@q | expiration=0 | body=x";
        assert!(parting_of_queues(&script(&[priorities, expiring])).is_some());
        assert!(parting_of_queues(&script(&[priorities])).is_none());
        assert!(parting_of_queues(&script(&[expiring])).is_none());
    }

    fn heard(lines: &[(&str, &str)]) -> View {
        let events = lines.iter().map(|(line, source)| (1, Event::Heard(method(line), (*source).to_owned())));
        View { events: events.collect(), ..View::default() }
    }

    #[test]
    fn a_quorum_queue_has_as_many_consumers_as_one_likes() {
        let equal = |queue: &str| {
            let line =
                |count| format!("queue.declare-ok 1 queue={queue} message-count=1 consumer-count={count}");
            let [mut left, mut right] = [0, 2].map(|count| heard(&[(&line(count), "")]));
            let met = Equaliser::default().equalise(&mut left, &mut right);
            (left == right, met.len())
        };
        assert_eq!(equal("@u1"), (true, 1));
        assert_eq!(equal("@q1"), (false, 0));
    }

    #[test]
    fn replies_have_no_tags_of_their_own() {
        let reply = "amq.rabbitmq.reply-to";
        let before_4_2 = [
            ("basic.deliver 1 r 1 | | body=a", reply),
            ("basic.get-ok 1 1 | | body=b", ""),
            ("basic.deliver 1 r 2 | | body=c", reply),
            ("channel.open-ok 1", ""),
            ("basic.get-ok 1 1 | | body=d", ""),
        ];
        let since = [
            ("basic.deliver 1 r 1 | | body=a", reply),
            ("basic.get-ok 1 2 | | body=b", ""),
            ("basic.deliver 1 r 3 | | body=c", reply),
            ("channel.open-ok 1", ""),
            ("basic.get-ok 1 1 | | body=d", ""),
        ];
        let [mut reference, mut judged] = [heard(&before_4_2), heard(&since)];
        let met = Equaliser::default().equalise(&mut reference, &mut judged);
        assert_eq!((reference, met.len()), (judged, 1));
    }

    #[test]
    fn a_commit_that_fails_explains_deliveries_of_its_connection_alone() {
        let closed =
            "2: S channel.close 1 reply-code=406 reply-text=\"PRECONDITION_FAILED - partial tx completion\"";
        let delivered = |line: &str| [vec![line.to_owned()], Vec::new()];
        let own = delivered("2: S basic.deliver 1 consumer-tag=t delivery-tag=1 | | body=m1");
        let other = delivered("1: S basic.deliver 1 consumer-tag=t delivery-tag=1 | | body=m1");
        let lines = [closed.to_owned()];
        assert!(parting_of_commits(&lines, &own).is_some());
        assert!(parting_of_commits(&lines, &other).is_none());
        assert!(parting_of_commits(&[], &own).is_none());
        let counts = |line: &str| vec![line.to_owned()];
        assert!(
            parting_of_commits(&lines, &[own[0].clone(), counts("queue q: 1 ready, 0 consumers")]).is_some()
        );
        assert!(
            parting_of_commits(&lines, &[counts("queue q: 0 ready"), counts("queue q: 1 ready")]).is_none()
        );
    }

    #[test]
    fn an_entry_explains_only_its_own_difference() {
        let line = |text: &str| vec![text.to_owned()];
        let reference = line(
            "1: S connection.close 0 reply-code=503 reply-text=\"COMMAND_INVALID - invalid exchange type 'x'\"",
        );
        let judged = line(
            "1: S channel.close 1 reply-code=406 reply-text=\"PRECONDITION_FAILED - unknown exchange type 'x'\"",
        );
        let say = |text: &str| Step { connection: 1, action: Action::Say(method(text)) };
        let declare = say("exchange.declare 1 exchange=e type=x");
        assert!(parting(&declare, &reference, &judged).is_some());
        assert!(parting(&declare, &reference, &line("1: S exchange.declare-ok 1")).is_none());
        assert!(parting(&declare, &judged, &judged).is_none());
        let failed = line("1: S connection.close 0 reply-code=541 reply-text=INTERNAL_ERROR");
        let bind = say("exchange.bind 1 destination=h source=h no-wait=true");
        assert!(parting(&bind, &failed, &[]).is_some());
        assert!(parting(&declare, &failed, &[]).is_none());
    }
}
