//! Owns the list of what a definitions file has and WarrenMQ does not.
//!
//! Invariant: one line for each such thing, with its kind, vhost and name.

use serde_json::{Map, Value};
use warrenmq_routing::{DELAYED_TYPE, ExchangeKind};

use super::{Definitions, Exchange, Parameter, Password, Queue};
use crate::policy::{Policy, PolicyKind};
use crate::vhost::QueueType;

/// What exporters say about themselves at the top of a file.
const REMARKS: [&str; 3] = ["rabbitmq_definition_format", "original_cluster_name", "explanation"];

impl Definitions {
    /// What is in the file but will have no effect, a line each, for a warning.
    pub fn unsupported(&self) -> Vec<String> {
        let mut lines = self.skipped.clone();
        self.unsupported_accounts(&mut lines);
        for Parameter { component, vhost, name, .. } in self.own_parameters() {
            lines.push(format!("parameter '{name}' of component '{component}' in vhost '{vhost}'"));
        }
        for kind in [PolicyKind::User, PolicyKind::Operator] {
            for policy in self.policies(kind) {
                let (what, Policy { name, vhost, .. }) = (kind.name(), policy);
                let line = |key: &str| format!("key '{key}' of {what} '{name}' in vhost '{vhost}'");
                lines.extend(policy.without_effect().map(line));
            }
        }
        for Exchange { name, vhost, kind, .. } in &self.exchanges {
            if kind != DELAYED_TYPE && ExchangeKind::from_name(kind).is_none() {
                lines.push(format!("exchange '{name}' in vhost '{vhost}': type '{kind}'"));
            }
        }
        for queue in &self.queues {
            let (Queue { name, vhost, .. }, kind) = (queue, queue.queue_type());
            if !QueueType::exists(kind) {
                lines.push(format!("queue '{name}' in vhost '{vhost}': type '{kind}'"));
            }
        }
        for (section, value) in &self.other {
            if !REMARKS.contains(&section.as_str()) {
                lines.push(format!("section '{section}' ({})", size(value)));
            }
        }
        lines
    }

    fn unsupported_accounts(&self, lines: &mut Vec<String>) {
        for user in &self.users {
            let name = &user.name;
            match &user.password {
                Password::Unknown { hashing_algorithm, .. } => {
                    lines.push(format!("password of user '{name}': hashing algorithm '{hashing_algorithm}'"));
                }
                Password::Hash(hash) if !hash.is_usable() => {
                    lines
                        .push(format!("password of user '{name}': hash of {} octets", hash.as_bytes().len()));
                }
                _ => {}
            }
        }
        for vhost in &self.vhosts {
            let name = &vhost.name;
            if let Some(kind) = vhost.default_queue_type.as_deref().filter(|kind| !QueueType::exists(kind)) {
                lines.push(format!("default queue type '{kind}' of vhost '{name}'"));
            }
        }
        for permission in &self.topic_permissions {
            lines.push(format!(
                "topic permissions of user '{}' on exchange '{}' in vhost '{}'",
                text(permission, "user"),
                text(permission, "exchange"),
                text(permission, "vhost"),
            ));
        }
    }
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn size(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("{} entries", list.len()),
        Value::Object(object) => format!("{} entries", object.len()),
        _ => "one value".to_owned(),
    }
}
