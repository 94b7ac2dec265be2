//! Steps that declare exchanges and bind. The name of an exchange says its type where that type comes from a plugin.
//!
//! Invariant: an exchange that chooses one of its bindings by chance or by a hash has one destination alone, because which one is
//! chosen is the broker's own affair.

use super::Generator;
use super::theme::Matter;

const EXCHANGES: [&str; 3] = ["@e1", "@e2", "@e3"];
/// Exchanges that choose, and one that remembers.
const PLUGIN_EXCHANGES: [(&str, &str); 4] = [
    ("@x1", "x-consistent-hash"),
    ("@x2", "x-random"),
    ("@x3", "x-modulus-hash"),
    ("@h1", "x-recent-history"),
];
/// A policy gives it an alternate.
const POLICY_EXCHANGE: &str = "@ea";
const TYPES: [&str; 4] = ["direct", "fanout", "topic", "headers"];
const ODD_TYPES: [&str; 4] = ["nothing", "\"\"", "Direct", "x-missing"];

impl Generator {
    pub(super) fn declare_exchange(&mut self) {
        let place = self.place();
        let (name, kind) = self.new_exchange();
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
        let arguments = self.exchange_arguments(kind);
        if !arguments.is_empty() {
            text += &format!(" arguments={{{}}}", Self::table(arguments));
        }
        self.say(place, &text);
        self.exchanges.push((name, kind));
    }

    /// Name and type.
    fn new_exchange(&mut self) -> (String, &'static str) {
        let kind = self.random.pick(&TYPES).copied().unwrap_or("direct");
        if self.random.chance(40) {
            return (self.one_of(&["amq.@x", "amq.direct", "\"\"", "\"@e\\rx\""]), kind);
        }
        match self.theme.matter {
            Matter::Exchanges if self.random.chance(400) => {
                let (name, own) = self.random.pick(&PLUGIN_EXCHANGES).copied().unwrap_or(("@x2", "x-random"));
                (name.to_owned(), if self.random.chance(40) { kind } else { own })
            }
            Matter::Policies if self.random.chance(300) => (POLICY_EXCHANGE.to_owned(), kind),
            _ => (self.one_of(&EXCHANGES), kind),
        }
    }

    fn exchange_arguments(&mut self, kind: &str) -> Vec<String> {
        let mut arguments = Vec::new();
        let often = if self.theme.matter == Matter::Exchanges { 400 } else { 150 };
        if self.random.chance(often) {
            let alternate =
                self.one_of(&["str:@e1", "str:@e2", "str:@e3", "str:\"\"", "str:@missing", "int32:1"]);
            arguments.push(format!("alternate-exchange:{alternate}"));
        } else if self.random.chance(30) {
            arguments.push("unknown:str:x".to_owned());
        }
        match kind {
            "x-consistent-hash" if self.random.chance(300) => arguments.push(self.one_of(&[
                "hash-header:str:h1",
                "hash-property:str:message_id",
                "hash-property:str:correlation_id",
                "hash-property:str:timestamp",
                "hash-property:str:app_id",
            ])),
            "x-recent-history" if self.random.chance(500) => arguments.push(self.one_of(&[
                "x-recent-history-length:int32:1",
                "x-recent-history-length:int32:2",
                "x-recent-history-length:int32:0",
                "x-recent-history-length:str:a",
                "x-recent-history-length:int32:-1",
            ])),
            _ => {}
        }
        arguments
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
        let exchange = self.exchange();
        let queue = if chooses(&exchange) { "@q1".to_owned() } else { self.queue() };
        let key = self.binding_key(&exchange);
        let arguments = self.binding_arguments(&exchange);
        let text = format!("queue={queue} exchange={exchange} routing-key={key}{arguments}");
        self.bindings.push(format!("queue.unbind {{}} {text}"));
        let no_wait = self.perhaps(50, " no-wait=true");
        self.say(place, &format!("queue.bind {{}} {text}{no_wait}"));
    }

    fn bind_exchange(&mut self) {
        let place = self.place();
        let (destination, source) = (self.exchange(), self.exchange());
        if chooses(&source) {
            return self.bind_queue();
        }
        let key = self.binding_key(&source);
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
                let (queue, exchange) = (self.queue(), self.exchange());
                let key = self.binding_key(&exchange);
                format!("queue.unbind {{}} queue={queue} exchange={exchange} routing-key={key}")
            }
        };
        self.say(place, &text);
    }

    fn binding_key(&mut self, exchange: &str) -> String {
        if exchange == "@x1" {
            return self.one_of(&["1", "2", "10", "\"5\"", "0", "-1", "a", "\"\""]);
        }
        if self.random.chance(350) {
            return self.one_of(&["@k.*", "@k.#", "#", "\"*\"", "#.b", "*.a.#", "@k.#.b", "#.#", "*.*"]);
        }
        let key = self.key();
        // All scripts share this exchange: nobody gets there what others publish without a key.
        if exchange == "amq.direct" && key == "\"\"" { "@k".to_owned() } else { key }
    }

    fn binding_arguments(&mut self, exchange: &str) -> String {
        let is_headers = self.exchanges.iter().any(|(name, kind)| name == exchange && *kind == "headers");
        if !is_headers && !self.random.chance(40) {
            return String::new();
        }
        let mut arguments = Vec::new();
        if self.random.chance(700) {
            let rule = self.one_of(&[
                "str:all",
                "str:any",
                "str:all",
                "str:any",
                "str:all-with-x",
                "str:any-with-x",
                "str:some",
                "int32:1",
                "void",
            ]);
            arguments.push(format!("x-match:{rule}"));
        }
        for _ in 0..self.random.below(4) {
            arguments.push(self.header());
        }
        format!(" arguments={{{}}}", Self::table(arguments))
    }

    /// A header, or an argument of a binding that is compared with one.
    pub(super) fn header(&mut self) -> String {
        self.one_of(&[
            "h1:str:a",
            "h1:str:a",
            "h1:str:b",
            "h1:str:\"\"",
            "h1:bytes:a",
            "h1:int32:1",
            "h1:void",
            "h2:int32:1",
            "h2:int64:1",
            "h2:int8:1",
            "h2:int16:1",
            "h2:uint32:1",
            "h2:timestamp:1",
            "h2:bool:true",
            "h2:bool:false",
            "h2:void",
            "h3:double:1.5",
            "h3:float:1.5",
            "h3:decimal:1/15",
            "h3:array:[int32:1,str:a]",
            "h3:array:[]",
            "h3:table:{a:int32:1}",
            "h3:table:{}",
            "x-h:str:a",
            "x-h:str:b",
        ])
    }

    /// A type of exchange for a passive declare.
    pub(super) fn any_type(&mut self) -> String {
        self.one_of(&TYPES)
    }
}

/// Whether an exchange chooses one of its bindings in a way that brokers need not share.
fn chooses(exchange: &str) -> bool {
    exchange.starts_with("@x")
}
