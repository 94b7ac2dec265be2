//! Steps of those who take messages: consume, cancel, get, acknowledge; and the modes of channels.

use super::theme::Matter;
use super::{Generator, Way};

impl Generator {
    pub(super) fn consume_or_cancel(&mut self) {
        let place = self.place();
        let tags = self.consumers.get(&place).cloned().unwrap_or_default();
        if !tags.is_empty() && self.random.chance(250) || self.random.chance(20) {
            let tag = self.random.pick(&tags).cloned().unwrap_or_else(|| "@missing".to_owned());
            let no_wait = self.perhaps(80, " no-wait=true");
            self.say(place, &format!("basic.cancel {{}} consumer-tag={tag}{no_wait}"));
            self.consumers.entry(place).or_default().retain(|other| *other != tag);
        } else if self.random.chance(250) {
            self.qos();
        } else {
            self.consume(place);
        }
    }

    fn consume(&mut self, place: (u32, u16)) {
        let queue = self.queue();
        let tags = self.consumers.get(&place).cloned().unwrap_or_default();
        let reused = self.random.pick(&tags).cloned();
        let tag = match reused {
            Some(tag) if self.random.chance(15) => tag,
            _ if self.random.chance(120) => String::new(),
            _ => format!("t{}", self.steps.len()),
        };
        let mut text = format!("basic.consume {{}} queue={queue} consumer-tag=\"{tag}\"");
        for (permille, bit) in
            [(250, " no-ack=true"), (80, " exclusive=true"), (60, " no-local=true"), (50, " no-wait=true")]
        {
            text += &self.perhaps(permille, bit);
        }
        let often = if self.theme.matter == Matter::Turns { 500 } else { 150 };
        if self.random.chance(often) {
            let priority = self.one_of(&["int32:1", "int32:5", "int32:-1", "int8:1", "str:1", "int32:0"]);
            text += &format!(" arguments={{x-priority:{priority}}}");
        }
        self.say(place, &text);
        let tag = if tag.is_empty() { "%c0".to_owned() } else { tag };
        self.consumers.entry(place).or_default().push(tag);
    }

    fn qos(&mut self) {
        let place = self.place();
        let count = self.one_of(&["0", "1", "1", "2", "3", "10"]);
        let size = if self.random.chance(15) { "1" } else { "0" };
        let global = self.perhaps(120, " global=true");
        self.say(place, &format!("basic.qos {{}} prefetch-size={size} prefetch-count={count}{global}"));
    }

    pub(super) fn get(&mut self) {
        let place = self.place();
        let text = format!("basic.get {{}} queue={}{}", self.queue(), self.perhaps(300, " no-ack=true"));
        self.say(place, &text);
    }

    pub(super) fn settle(&mut self) {
        let place = self.place();
        let tag = match self.random.below(60) {
            0 => "0".to_owned(),
            1 => "999".to_owned(),
            2 => "1".to_owned(),
            _ => format!("-{}", 1 + self.random.below(4)),
        };
        let multiple = self.perhaps(300, " multiple=true");
        let requeue = self.perhaps(550, " requeue=true");
        let text = match self.random.below(20) {
            0..=7 => format!("basic.ack {{}} delivery-tag={tag}{multiple}"),
            8..=12 => format!("basic.nack {{}} delivery-tag={tag}{multiple}{requeue}"),
            13..=16 => format!("basic.reject {{}} delivery-tag={tag}{requeue}"),
            17 => "basic.recover {} requeue=true".to_owned(),
            18 => format!("queue.purge {{}} queue={}", self.queue()),
            _ => self.one_of(&[
                "basic.recover {} requeue=true",
                "basic.recover-async {} requeue=true",
                "basic.ack {} delivery-tag=0 multiple=true",
                "basic.nack {} delivery-tag=0 multiple=true requeue=true",
                "basic.recover {} requeue=true",
                "basic.recover {} requeue=false",
            ]),
        };
        self.say(place, &text);
    }

    /// Confirms and transactions.
    pub(super) fn mode(&mut self) {
        let place = self.place();
        match self.ways.get(&place).copied().unwrap_or_default() {
            Way::Transaction => {
                let text = self.one_of(&[
                    "tx.commit {}",
                    "tx.commit {}",
                    "tx.rollback {}",
                    "tx.rollback {}",
                    "tx.select {}",
                ]);
                self.say(place, &text);
            }
            Way::Confirm if self.random.chance(700) => self.publish(),
            _ if self.random.chance(60) => {
                let text = self.one_of(&["tx.commit {}", "tx.rollback {}"]);
                self.say(place, &text);
            }
            _ => self.select(),
        }
    }

    pub(super) fn select(&mut self) {
        let place = self.place();
        let confirms = if self.theme.matter == Matter::Transactions { 50 } else { 600 };
        if self.random.chance(confirms) {
            let no_wait = self.perhaps(60, " no-wait=true");
            self.say(place, &format!("confirm.select {{}}{no_wait}"));
            self.ways.entry(place).or_insert(Way::Confirm);
        } else {
            self.say(place, "tx.select {}");
            self.ways.entry(place).or_insert(Way::Transaction);
        }
    }
}
