//! Steps that declare, bind and delete queues and exchanges.

use super::{EXPIRY_MS, Generator};

/// Names that scripts may declare; few, so that they meet again.
const QUEUES: [&str; 4] = ["@q1", "@q2", "@q3", "@q4"];
const EXCHANGES: [&str; 3] = ["@e1", "@e2", "@e3"];
/// Names with something about them.
const ODD_NAMES: [&str; 5] = ["amq.@x", "\"@q\\nx\"", "\"@ä\"", "\"@q 1\"", "@aaaa.bbbb-cccc_dddd"];
const TYPES: [&str; 4] = ["direct", "fanout", "topic", "headers"];
const ODD_TYPES: [&str; 4] = ["nothing", "\"\"", "Direct", "x-missing"];

impl Generator {
    pub(super) fn declare(&mut self) {
        match self.random.below(10) {
            0..=4 => self.declare_queue(),
            5..=7 => self.declare_exchange(),
            8 => self.ask(),
            _ => self.delete(),
        }
    }

    pub(super) fn declare_queue(&mut self) {
        let place = self.place();
        let name = match self.random.below(100) {
            0..=3 => self.one_of(&ODD_NAMES),
            4..=9 => "\"\"".to_owned(),
            _ => self.one_of(&QUEUES),
        };
        let mut text = format!("queue.declare {{}} queue={name}");
        for (permille, bit) in [
            (250, " durable=true"),
            (120, " exclusive=true"),
            (150, " auto-delete=true"),
            (60, " no-wait=true"),
        ] {
            text += &self.perhaps(permille, bit);
        }
        let arguments = self.queue_arguments();
        if !arguments.is_empty() {
            text += &format!(" arguments={{{}}}", Self::table(arguments));
        }
        self.say(place, &text);
        if name == "\"\"" {
            self.queues.push("%g0".to_owned());
        } else {
            self.queues.push(name);
        }
    }

    fn queue_arguments(&mut self) -> Vec<String> {
        let mut arguments = Vec::new();
        if self.random.chance(40) {
            arguments.push(self.odd_argument());
        }
        let wants_limits = self.theme.wait >= 8;
        let often = if wants_limits { 450 } else { 120 };
        if self.random.chance(often) {
            arguments.push(format!("x-max-length:int32:{}", self.random.below(4)));
            if self.random.chance(500) {
                let overflow = self.one_of(&["drop-head", "reject-publish", "reject-publish-dlx"]);
                arguments.push(format!("x-overflow:str:{overflow}"));
            }
        }
        if self.random.chance(often) {
            let time = self.life();
            arguments.push(format!("x-message-ttl:int32:{time}"));
        }
        if self.random.chance(often / 4) {
            self.has_expiry = true;
            arguments.push(format!("x-expires:int32:{EXPIRY_MS}"));
        }
        if self.random.chance(often + 80) {
            let exchange = self.one_of(&["\"\"", "@e1", "@e2", "@missing"]);
            arguments.push(format!("x-dead-letter-exchange:str:{exchange}"));
            if self.random.chance(600) {
                let key = self.one_of(&QUEUES);
                arguments.push(format!("x-dead-letter-routing-key:str:{key}"));
            }
        }
        // Which message leaves a full queue with priorities is otherwise on purpose: docs/compatibility.md.
        let is_limited = arguments.iter().any(|argument| argument.starts_with("x-max-length"));
        if !is_limited && self.random.chance(80) {
            let levels = self.one_of(&["0", "1", "3", "10", "255"]);
            arguments.push(format!("x-max-priority:int32:{levels}"));
        }
        arguments
    }

    /// An argument that is wrong, unknown or of an unusual type.
    fn odd_argument(&mut self) -> String {
        self.one_of(&[
            "x-max-length:int32:-1",
            "x-max-length:str:5",
            "x-max-length:bool:true",
            "x-message-ttl:int32:-5",
            "x-message-ttl:int64:315360000001",
            "x-message-ttl:double:1.5",
            "x-message-ttl:uint16:60000",
            "x-expires:int32:0",
            "x-expires:str:abc",
            "x-max-priority:int32:256",
            "x-max-priority:int32:-1",
            "x-max-priority:str:1",
            "x-overflow:str:nonsense",
            "x-overflow:int32:1",
            "x-dead-letter-exchange:int32:1",
            "x-dead-letter-routing-key:str:@q1",
            "x-dead-letter-routing-key:int32:1",
            "x-queue-type:str:classic",
            "x-queue-mode:str:lazy",
            "x-unknown:str:anything",
            "unknown:int32:1",
            "x-max-length:uint8:3",
            "x-max-length:int64:2",
        ])
    }

    pub(super) fn declare_exchange(&mut self) {
        let place = self.place();
        let name = if self.random.chance(40) {
            self.one_of(&["amq.@x", "amq.direct", "\"\"", "\"@e\\rx\""])
        } else {
            self.one_of(&EXCHANGES)
        };
        let kind = self.random.pick(&TYPES).copied().unwrap_or("direct");
        let written = if self.random.chance(30) { self.one_of(&ODD_TYPES) } else { kind.to_owned() };
        let mut text = format!("exchange.declare {{}} exchange={name} type={written}");
        for (permille, bit) in [
            (250, " durable=true"),
            (150, " auto-delete=true"),
            (80, " internal=true"),
            (60, " no-wait=true"),
        ] {
            text += &self.perhaps(permille, bit);
        }
        if self.random.chance(150) {
            let alternate =
                self.one_of(&["str:@e1", "str:@e2", "str:@e3", "str:\"\"", "str:@missing", "int32:1"]);
            text += &format!(" arguments={{alternate-exchange:{alternate}}}");
        } else if self.random.chance(30) {
            text += " arguments={unknown:str:x}";
        }
        self.say(place, &text);
        self.exchanges.push((name, kind));
    }

    /// Passive declares.
    fn ask(&mut self) {
        let place = self.place();
        let text = if self.random.chance(600) {
            format!(
                "queue.declare {{}} queue={} passive=true{}",
                self.queue(),
                self.perhaps(100, " durable=true")
            )
        } else {
            format!(
                "exchange.declare {{}} exchange={} type={} passive=true",
                self.exchange(),
                self.one_of(&TYPES)
            )
        };
        self.say(place, &text);
    }

    pub(super) fn delete(&mut self) {
        let place = self.place();
        let text = if self.random.chance(600) {
            let conditions = [
                self.perhaps(250, " if-unused=true"),
                self.perhaps(250, " if-empty=true"),
                self.perhaps(80, " no-wait=true"),
            ];
            format!("queue.delete {{}} queue={}{}", self.queue(), conditions.concat())
        } else {
            let conditions = [self.perhaps(300, " if-unused=true"), self.perhaps(80, " no-wait=true")];
            format!("exchange.delete {{}} exchange={}{}", self.exchange(), conditions.concat())
        };
        self.say(place, &text);
    }

    pub(super) fn bind(&mut self) {
        match self.random.below(20) {
            0..=11 => self.bind_queue(),
            12..=15 => self.bind_exchange(),
            _ => self.unbind(),
        }
    }

    pub(super) fn bind_queue(&mut self) {
        let place = self.place();
        let (queue, exchange, key) = (self.queue(), self.exchange(), self.binding_key());
        let text =
            format!("queue=QUEUE exchange={exchange} routing-key={key}{}", self.binding_arguments(&exchange))
                .replace("QUEUE", &queue);
        self.bindings.push(format!("queue.unbind {{}} {text}"));
        let no_wait = self.perhaps(50, " no-wait=true");
        self.say(place, &format!("queue.bind {{}} {text}{no_wait}"));
    }

    fn bind_exchange(&mut self) {
        let place = self.place();
        let (destination, source, key) = (self.exchange(), self.exchange(), self.binding_key());
        let arguments = self.binding_arguments(&source);
        let text = format!("destination={destination} source={source} routing-key={key}{arguments}");
        self.bindings.push(format!("exchange.unbind {{}} {text}"));
        let no_wait = self.perhaps(50, " no-wait=true");
        self.say(place, &format!("exchange.bind {{}} {text}{no_wait}"));
    }

    fn unbind(&mut self) {
        let place = self.place();
        let known = self.random.pick(&self.bindings).cloned();
        let text = match known {
            Some(text) if self.random.chance(850) => text,
            _ => {
                let (queue, exchange, key) = (self.queue(), self.exchange(), self.binding_key());
                format!("queue.unbind {{}} queue={queue} exchange={exchange} routing-key={key}")
            }
        };
        self.say(place, &text);
    }

    fn binding_key(&mut self) -> String {
        if self.random.chance(350) {
            return self.one_of(&["@k.*", "@k.#", "#", "\"*\"", "#.b", "*.a.#", "@k.#.b", "#.#", "*.*"]);
        }
        self.key()
    }

    fn binding_arguments(&mut self, exchange: &str) -> String {
        let is_headers = self.exchanges.iter().any(|(name, kind)| name == exchange && *kind == "headers");
        if !is_headers && !self.random.chance(40) {
            return String::new();
        }
        let mut arguments = Vec::new();
        if self.random.chance(700) {
            let rule = self.one_of(&["all", "any", "all", "any", "all-with-x", "any-with-x", "some"]);
            arguments.push(format!("x-match:str:{rule}"));
        }
        for _ in 0..self.random.below(3) {
            arguments.push(self.header());
        }
        format!(" arguments={{{}}}", Self::table(arguments))
    }

    /// A header, or an argument of a binding that is compared with one.
    pub(super) fn header(&mut self) -> String {
        self.one_of(&[
            "h1:str:a",
            "h1:str:b",
            "h1:int32:1",
            "h1:void",
            "h2:int32:1",
            "h2:int64:1",
            "h2:bool:true",
            "h3:double:1.5",
            "x-h:str:a",
        ])
    }
}
