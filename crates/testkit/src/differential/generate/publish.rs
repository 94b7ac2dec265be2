//! Steps that publish.

use super::Generator;
use super::theme::Matter;

impl Generator {
    /// One message, or a few.
    pub(super) fn publish(&mut self) {
        let place = self.place();
        for _ in 0..1 + self.random.below(3) {
            let to = self.target();
            let properties = self.properties();
            self.published += 1;
            let body = match self.random.below(40) {
                0 => "\"\"".to_owned(),
                1 => format!("\"x\"*{}", 1 + self.random.below(9000)),
                _ => format!("m{}", self.published),
            };
            self.say(place, &format!("basic.publish {{}} {to} | {properties} | body={body}"));
        }
    }

    fn target(&mut self) -> String {
        let often = if self.exchanges.is_empty() { 30 } else { 450 };
        let mut text = if self.random.chance(often) {
            format!("exchange={} routing-key={}", self.exchange(), self.key())
        } else {
            format!("routing-key={}", self.queue())
        };
        text += &self.perhaps(150, " mandatory=true");
        text += &self.perhaps(4, " immediate=true");
        text
    }

    fn properties(&mut self) -> String {
        let mut properties = Vec::new();
        let headers = self.headers();
        if !headers.is_empty() {
            properties.push(format!("headers={{{}}}", Self::table(headers)));
        }
        if self.random.chance(300) {
            properties.push(format!("delivery-mode={}", self.one_of(&["1", "2", "2", "2"])));
        } else if self.random.chance(4) {
            properties.push("delivery-mode=3".to_owned());
        }
        // Quorum queues have priorities since 4.0 only.
        if self.theme.matter != Matter::Quorum && self.random.chance(200) {
            properties.push(format!("priority={}", self.one_of(&["0", "1", "2", "5", "10", "255"])));
        }
        let often = if self.theme.matter == Matter::Limits { 350 } else { 60 };
        if self.random.chance(often) {
            let time = self.life();
            properties.push(format!("expiration={time}"));
        } else if self.random.chance(8) {
            properties.push(format!(
                "expiration={}",
                self.one_of(&["abc", "-1", "\"\"", "1.5", "\" 5\"", "600x", "99999999999999"])
            ));
        }
        if self.random.chance(100) {
            for property in
                ["content-type=text/plain", "content-encoding=utf-8", "correlation-id=c1", "reply-to=@q1"]
            {
                properties.push(self.perhaps(500, property));
            }
            for property in [
                "message-id=m",
                "timestamp=1700000000",
                "type=t",
                "app-id=a",
                "cluster-id=c",
                "user-id=guest",
            ] {
                properties.push(self.perhaps(300, property));
            }
        }
        if self.random.chance(6) {
            properties.push("user-id=other".to_owned());
            properties.dedup();
        }
        properties.retain(|property| !property.is_empty());
        properties.join(" ")
    }

    fn headers(&mut self) -> Vec<String> {
        let mut headers = Vec::new();
        if !self.random.chance(300) {
            return headers;
        }
        for _ in 0..self.random.below(3) {
            headers.push(self.header());
        }
        if self.random.chance(250) {
            let name = self.one_of(&["CC", "BCC"]);
            headers.push(match self.random.below(20) {
                0 => format!("{name}:str:@q2"),
                1 => format!("{name}:array:[int32:1]"),
                2 => format!("{name}:array:[]"),
                3 => format!("{name}:void"),
                _ => format!("{name}:array:[str:{},str:{}]", self.queue(), self.key()),
            });
        }
        headers
    }
}
