//! Owns RabbitMQ's `definitions.json`: reading what its versions export and writing what they import.
//!
//! Invariant: everything in a file is either in [`Definitions`] or named by [`Definitions::unsupported`].

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::{Binding, DestinationType, Exchange, Queue, UserDefinition, UserPermissions, Vhost};

/// The definitions of a node, or of one vhost. The order of lists is that of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Definitions {
    /// The version that wrote the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rabbit_version: Option<String>,
    /// The same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rabbitmq_version: Option<String>,
    /// The product that wrote the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_name: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_version: Option<String>,
    /// Users.
    #[serde(default)]
    pub users: Vec<UserDefinition>,
    /// Vhosts.
    #[serde(default)]
    pub vhosts: Vec<Vhost>,
    /// Permissions of users in vhosts.
    #[serde(default)]
    pub permissions: Vec<UserPermissions>,
    /// As in the file; not supported yet.
    #[serde(default)]
    pub topic_permissions: Vec<Map<String, Value>>,
    /// As in the file; not supported yet.
    #[serde(default)]
    pub parameters: Vec<Map<String, Value>>,
    /// As in the file; not supported yet.
    #[serde(default)]
    pub global_parameters: Vec<Map<String, Value>>,
    /// As in the file; not supported yet.
    #[serde(default)]
    pub policies: Vec<Map<String, Value>>,
    /// Queues.
    #[serde(default)]
    pub queues: Vec<Queue>,
    /// Exchanges.
    #[serde(default)]
    pub exchanges: Vec<Exchange>,
    /// Bindings.
    #[serde(default)]
    pub bindings: Vec<Binding>,
    /// Everything else at the top of the file (`original_cluster_name`, `explanation` and the like).
    #[serde(flatten)]
    pub other: Map<String, Value>,
    /// What was left out on purpose, a line each.
    #[serde(skip)]
    pub(super) skipped: Vec<String>,
}

/// Why a file could not be imported.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{path}: {reason}")]
pub struct ImportError {
    /// Where in the file, for example `queues[3].arguments.x-max-length`; `.` is the file itself.
    pub path: String,
    /// What is wrong there.
    pub reason: String,
}

/// Reads the export of a node. An empty file is an empty set of definitions, as for RabbitMQ.
///
/// Exchanges and queues named `amq.…` are left out with the bindings to such queues, as RabbitMQ leaves them out; so
/// are bindings from the default exchange, which every queue has anyway.
///
/// # Errors
/// [`ImportError`] at the first place that is wrong; nothing of such a file is to be used. An object without
/// a vhost is wrong too: it is from the export of a single vhost, see [`import_vhost`].
pub fn import(bytes: &[u8]) -> Result<Definitions, ImportError> {
    let mut definitions = parse(bytes)?;
    definitions.gather_permissions();
    definitions.check_vhosts()?;
    definitions.leave_out_reserved();
    Ok(definitions)
}

/// Reads the export of a single vhost and puts everything into `vhost`, wherever it was before. Users,
/// permissions and vhosts are not part of such a file and are ignored, as RabbitMQ ignores them.
///
/// # Errors
/// Those of [`import`].
pub fn import_vhost(bytes: &[u8], vhost: &str) -> Result<Definitions, ImportError> {
    let mut definitions = parse(bytes)?;
    definitions.users.clear();
    definitions.vhosts.clear();
    definitions.permissions.clear();
    definitions.topic_permissions.clear();
    definitions.global_parameters.clear();
    let queues = definitions.queues.iter_mut().map(|queue| &mut queue.vhost);
    let exchanges = definitions.exchanges.iter_mut().map(|exchange| &mut exchange.vhost);
    let bindings = definitions.bindings.iter_mut().map(|binding| &mut binding.vhost);
    for own in queues.chain(exchanges).chain(bindings) {
        vhost.clone_into(own);
    }
    for object in definitions.parameters.iter_mut().chain(&mut definitions.policies) {
        object.insert("vhost".to_owned(), Value::from(vhost));
    }
    definitions.leave_out_reserved();
    Ok(definitions)
}

impl Definitions {
    /// Writes them so that RabbitMQ and [`import`] can read them, indented for people.
    pub fn export(&self) -> Vec<u8> {
        let mut out = serde_json::to_vec_pretty(self)
            .expect("invariant: definitions have text keys and write to memory");
        out.push(b'\n');
        out
    }

    /// Permissions that stand inside users go to where the others are.
    fn gather_permissions(&mut self) {
        for user in &mut self.users {
            for (vhost, permissions) in std::mem::take(&mut user.permissions) {
                self.permissions.push(UserPermissions {
                    user: user.name.clone(),
                    vhost,
                    configure: permissions.configure,
                    write: permissions.write,
                    read: permissions.read,
                });
            }
        }
    }

    fn check_vhosts(&self) -> Result<(), ImportError> {
        let lists = [
            ("permissions", self.permissions.iter().position(|own| own.vhost.is_empty())),
            ("queues", self.queues.iter().position(|own| own.vhost.is_empty())),
            ("exchanges", self.exchanges.iter().position(|own| own.vhost.is_empty())),
            ("bindings", self.bindings.iter().position(|own| own.vhost.is_empty())),
        ];
        match lists.into_iter().find_map(|(list, at)| Some((list, at?))) {
            None => Ok(()),
            Some((list, at)) => Err(ImportError {
                path: format!("{list}[{at}].vhost"),
                reason: "no vhost; the export of a single vhost has to be imported into one".to_owned(),
            }),
        }
    }

    fn leave_out_reserved(&mut self) {
        let Self { exchanges, queues, bindings, skipped, .. } = self;
        exchanges.retain(|Exchange { name, vhost, .. }| {
            let reserved = is_reserved(name);
            if reserved {
                skipped.push(format!("exchange '{name}' in vhost '{vhost}': {RESERVED}"));
            }
            !reserved && !name.is_empty()
        });
        let mut gone = HashSet::new();
        queues.retain(|Queue { name, vhost, .. }| {
            let reserved = is_reserved(name);
            if reserved {
                skipped.push(format!("queue '{name}' in vhost '{vhost}' and bindings to it: {RESERVED}"));
                gone.insert((vhost.clone(), name.clone()));
            }
            !reserved
        });
        bindings.retain(|binding| {
            let orphan = binding.destination_type == DestinationType::Queue
                && is_reserved(&binding.destination)
                && gone.contains(&(binding.vhost.clone(), binding.destination.clone()));
            !orphan && !binding.source.is_empty()
        });
    }
}

const RESERVED: &str = "names that begin with 'amq.' are not imported";

fn is_reserved(name: &str) -> bool {
    name.starts_with("amq.")
}

fn parse(bytes: &[u8]) -> Result<Definitions, ImportError> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Definitions::default());
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let definitions = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        // A file that ends inside the first name has no path yet.
        let path = Some(error.path().to_string()).filter(|path| path != "?");
        ImportError { path: path.unwrap_or_else(|| ".".to_owned()), reason: error.inner().to_string() }
    })?;
    json.end().map_err(|error| ImportError { path: ".".to_owned(), reason: error.to_string() })?;
    Ok(definitions)
}

#[cfg(test)]
mod tests;
