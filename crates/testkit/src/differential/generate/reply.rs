//! Requests and their answers through `amq.rabbitmq.reply-to`.

use super::Generator;

impl Generator {
    /// Consumes replies, asks, answers, or looks whether the one who asked is there.
    pub(super) fn reply(&mut self) {
        let place = self.place();
        match self.random.below(20) {
            0..=4 => {
                let tag = format!("r{}", self.steps.len());
                let no_ack = if self.random.chance(950) { " no-ack=true" } else { "" };
                let queue = "amq.rabbitmq.reply-to";
                self.say(place, &format!("basic.consume {{}} queue={queue} consumer-tag={tag}{no_ack}"));
                self.consumers.entry(place).or_default().push(tag);
            }
            5..=10 => {
                let queue = self.queue();
                self.published += 1;
                let body = format!("m{}", self.published);
                let properties = "reply-to=amq.rabbitmq.reply-to correlation-id=c1";
                let mandatory = self.perhaps(100, " mandatory=true");
                self.say(
                    place,
                    &format!(
                        "basic.publish {{}} routing-key={queue}{mandatory} | {properties} | body={body}"
                    ),
                );
                // Somebody has to see the name that answers go to.
                let by = self.place();
                let no_ack = self.perhaps(700, " no-ack=true");
                self.say(by, &format!("basic.get {{}} queue={queue}{no_ack}"));
            }
            11..=16 => {
                self.published += 1;
                let body = format!("m{}", self.published);
                let to = self.one_of(&["%r0", "%r0", "%r0", "%r1"]);
                let properties = self.perhaps(500, "correlation-id=c1");
                self.say(place, &format!("basic.publish {{}} routing-key={to} | {properties} | body={body}"));
            }
            17 => {
                let to = self.one_of(&["%r0", "%r1"]);
                self.say(place, &format!("queue.declare {{}} queue={to} passive=true"));
            }
            _ => self.end_something(),
        }
    }
}
