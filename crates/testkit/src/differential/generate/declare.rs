//! Steps that declare and delete queues and exchanges.

use super::Generator;

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
        let name = self.new_queue();
        let mut text = format!("queue.declare {{}} queue={name}");
        // A quorum queue has to be durable, and nothing else.
        let [durable, other] = if name.starts_with("@u") { [980, 10] } else { [250, 130] };
        for (permille, bit) in [
            (durable, " durable=true"),
            (other, " exclusive=true"),
            (other, " auto-delete=true"),
            (60, " no-wait=true"),
        ] {
            text += &self.perhaps(permille, bit);
        }
        let arguments = self.queue_arguments(&name);
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
                self.any_type()
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
}
