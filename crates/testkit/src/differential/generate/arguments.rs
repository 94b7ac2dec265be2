//! Arguments of queues, by what a queue's name says that it is: `@u…` is a quorum queue, `@s…` has a single active consumer, `@p…` has a
//! policy.

use super::theme::Matter;
use super::{EXPIRY_MS, Generator};

/// Names that scripts may declare; few, so that they meet again.
pub(super) const QUEUES: [&str; 4] = ["@q1", "@q2", "@q3", "@q4"];
const QUORUM_QUEUES: [&str; 4] = ["@u1", "@u1", "@u2", "@q1"];
const SINGLE_QUEUES: [&str; 4] = ["@s1", "@s2", "@q1", "@q2"];
const POLICY_QUEUES: [&str; 9] = ["@pa", "@pb", "@pc", "@pd", "@pe", "@po", "@pt", "@q1", "@q2"];
/// Names with something about them.
const ODD_NAMES: [&str; 5] = ["amq.@x", "\"@q\\nx\"", "\"@ä\"", "\"@q 1\"", "@aaaa.bbbb-cccc_dddd"];

impl Generator {
    /// The name of a queue that is to be declared.
    pub(super) fn new_queue(&mut self) -> String {
        match self.random.below(100) {
            0..=3 => self.one_of(&ODD_NAMES),
            4..=9 => "\"\"".to_owned(),
            _ => self.ordinary_queue(),
        }
    }

    /// The name of a queue of the script's theme.
    pub(super) fn ordinary_queue(&mut self) -> String {
        match self.theme.matter {
            Matter::Quorum => self.one_of(&QUORUM_QUEUES),
            Matter::Turns => self.one_of(&SINGLE_QUEUES),
            Matter::Policies => self.one_of(&POLICY_QUEUES),
            _ => self.one_of(&QUEUES),
        }
    }

    /// Arguments of the queue `name`.
    pub(super) fn queue_arguments(&mut self, name: &str) -> Vec<String> {
        let mut arguments = Vec::new();
        if self.random.chance(40) {
            arguments.push(self.odd_argument());
        }
        let is_quorum = name.starts_with("@u");
        if is_quorum {
            arguments.push("x-queue-type:str:quorum".to_owned());
            // Without a limit RabbitMQ 3.10 puts what comes back behind what is ready: docs/compatibility.md.
            arguments.push(format!("x-delivery-limit:int32:{}", self.one_of(&["0", "1", "2", "10", "10"])));
        }
        if name.starts_with("@s") {
            arguments.push("x-single-active-consumer:bool:true".to_owned());
        }
        let wants_limits = matches!(self.theme.matter, Matter::Limits | Matter::Policies);
        let often = if wants_limits { 450 } else { 120 };
        self.limits(often, is_quorum, &mut arguments);
        if self.random.chance(often) {
            let time = if is_quorum { self.life_of_some_time() } else { self.life() };
            arguments.push(format!("x-message-ttl:int32:{time}"));
        }
        if !is_quorum && self.random.chance(often / 4) {
            self.has_expiry = true;
            arguments.push(format!("x-expires:int32:{EXPIRY_MS}"));
        }
        if self.random.chance(often + 80) {
            let exchange = self.one_of(&["\"\"", "@e1", "@e2", "@missing"]);
            arguments.push(format!("x-dead-letter-exchange:str:{exchange}"));
            if self.random.chance(600) {
                let key = self.ordinary_queue();
                arguments.push(format!("x-dead-letter-routing-key:str:{key}"));
            }
        }
        if !is_quorum && self.random.chance(100) {
            let levels = self.one_of(&["0", "1", "3", "10", "255"]);
            arguments.push(format!("x-max-priority:int32:{levels}"));
        }
        // Which message leaves a full queue with priorities is otherwise on purpose: docs/compatibility.md.
        let has = |text: &str| arguments.iter().any(|argument| argument.starts_with(text));
        if name.starts_with("@p") || has("x-max-length") && !has("x-overflow:str:reject") {
            arguments.retain(|argument| !argument.starts_with("x-max-priority"));
        }
        arguments
    }

    /// Limits of length.
    fn limits(&mut self, often: u64, is_quorum: bool, arguments: &mut Vec<String>) {
        let before = arguments.len();
        if self.random.chance(often) {
            arguments.push(format!("x-max-length:int32:{}", self.random.below(4)));
        }
        if self.random.chance(often / 2) {
            let octets = self.one_of(&["0", "1", "2", "4", "5", "7", "9000"]);
            arguments.push(format!("x-max-length-bytes:int32:{octets}"));
        }
        // A quorum queue of RabbitMQ tells its publishers some time after it is full, so a few more come in.
        if arguments.len() > before && !is_quorum && self.random.chance(550) {
            let overflow = self.one_of(&["drop-head", "reject-publish", "reject-publish-dlx"]);
            arguments.push(format!("x-overflow:str:{overflow}"));
        }
    }

    /// An argument that is wrong, unknown or of an unusual type.
    fn odd_argument(&mut self) -> String {
        self.one_of(&[
            "x-max-length:int32:-1",
            "x-max-length:str:5",
            "x-max-length:bool:true",
            "x-max-length-bytes:int32:-1",
            "x-max-length-bytes:str:a",
            "x-message-ttl:int32:-5",
            "x-message-ttl:int64:315360000001",
            "x-message-ttl:double:1.5",
            "x-message-ttl:uint16:60000",
            "x-expires:int32:0",
            "x-expires:str:abc",
            "x-max-priority:int32:256",
            "x-max-priority:int32:-1",
            "x-max-priority:str:1",
            "x-max-priority:int32:2",
            "x-overflow:str:nonsense",
            "x-overflow:int32:1",
            "x-dead-letter-exchange:int32:1",
            "x-dead-letter-routing-key:str:@q1",
            "x-dead-letter-routing-key:int32:1",
            "x-dead-letter-strategy:str:at-most-once",
            "x-delivery-limit:int32:3",
            "x-single-active-consumer:bool:false",
            "x-single-active-consumer:str:true",
            "x-queue-type:str:classic",
            "x-queue-type:str:nothing",
            "x-queue-type:int32:1",
            "x-queue-mode:str:lazy",
            "x-queue-version:int32:2",
            "x-quorum-initial-group-size:int32:1",
            "x-unknown:str:anything",
            "unknown:int32:1",
            "x-max-length:uint8:3",
            "x-max-length:int64:2",
        ])
    }
}
