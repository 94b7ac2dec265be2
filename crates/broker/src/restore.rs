//! Bringing definitions back: from the store at the start, from a definitions.json, and out again as one.
//!
//! Invariant: everything that cannot be taken over is named, either in an error or in a warning.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use thiserror::Error;
use warrenmq_protocol::{Exception, Millis};
use warrenmq_routing::{Binding, Destination, Exchange};
use warrenmq_store::{Change, DefinitionError, DefinitionStore, StoreError};

use crate::access::{Permissions, SALT_LENGTH};
use crate::broker::{Broker, Options};
use crate::changes;
use crate::definitions::{
    self, Definitions, DestinationType, Parameter, QueueNumbers, Record, RecordError, UserPermissions,
};
use crate::delayed::{EXCHANGE_MAX, Slot};
use crate::parameters::ParameterError;
use crate::policy::{Policy, PolicyKind};
use crate::queue_cell::Scratch;
use crate::vhost::{Asker, ExchangeDeclare, ExchangeType, QueueDeclare, is_durable};

/// Why definitions could not be brought back.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] DefinitionError),
    /// Messages cannot be read back.
    #[error(transparent)]
    Messages(#[from] StoreError),
    /// A record in the store cannot be read.
    #[error("the definitions store holds a record that cannot be read: {0}")]
    Record(#[from] RecordError),
    /// A definitions.json cannot be read.
    #[error("definitions: {0}")]
    Import(#[from] definitions::ImportError),
    /// A definition contradicts what is there.
    #[error("definition refused: {0}")]
    Refused(String),
}

impl From<Exception> for RestoreError {
    fn from(exception: Exception) -> RestoreError {
        RestoreError::Refused(exception.reply_text())
    }
}

/// Everything in the store.
pub(crate) fn read(store: &mut dyn DefinitionStore) -> Result<Vec<Record>, RestoreError> {
    let mut records = Vec::new();
    for (key, value) in store.load()? {
        records.push(Record::decode(&key, &value)?);
    }
    // What others hang on comes first.
    records.sort_by_key(|record| match record {
        Record::Vhost(_) => 0,
        Record::User(_) => 1,
        Record::Permissions(_) => 2,
        // Exchanges and queues come up with what policies say of them.
        Record::GlobalParameter(_) | Record::Policy(..) | Record::Parameter(_) => 3,
        Record::Exchange(_) => 4,
        Record::Queue(_) => 5,
        Record::Binding(_) => 6,
    });
    Ok(records)
}

/// The highest number that a stored queue has; 0 when none has one.
pub(crate) fn highest_queue(records: &[Record]) -> Result<u64, RestoreError> {
    let mut seen = HashMap::new();
    for record in records {
        let Record::Queue(queue) = record else { continue };
        if queue.id != 0
            && let Some(other) = seen.insert(queue.id, queue)
        {
            // Never written by the broker; their messages could not be told apart.
            return Err(RestoreError::Refused(format!(
                "queue '{}' in vhost '{}' and queue '{}' in vhost '{}' are stored under one number, {}",
                other.name, other.vhost, queue.name, queue.vhost, queue.id
            )));
        }
    }
    Ok(seen.into_keys().max().unwrap_or(0))
}

/// The highest number of an exchange that delays, in its record or in the numbers of what is on disk.
pub(crate) fn highest_exchange(records: &[Record], named: &BTreeSet<u64>) -> Result<u64, RestoreError> {
    let mut seen = HashMap::new();
    for record in records {
        let Record::Exchange(exchange) = record else { continue };
        if exchange.number != 0
            && let Some(other) = seen.insert(exchange.number, exchange)
        {
            return Err(RestoreError::Refused(format!(
                "exchange '{}' in vhost '{}' and exchange '{}' in vhost '{}' are stored under one number, {}",
                other.name, other.vhost, exchange.name, exchange.vhost, exchange.number
            )));
        }
    }
    let named = named.iter().filter_map(|id| Slot::of_number(*id)).map(|(exchange, _)| exchange);
    let highest = seen.into_keys().chain(named).max().unwrap_or(0);
    if highest > EXCHANGE_MAX {
        return Err(RestoreError::Refused(format!("an exchange is stored under the number {highest}")));
    }
    Ok(highest)
}

/// Rebuilds the node from its records. Written again are only queues of the time before they had numbers, with the one they
/// get here.
pub(crate) fn records(broker: &Broker, records: Vec<Record>) -> Result<(), RestoreError> {
    let mut changes = Vec::new();
    for record in records {
        match record {
            Record::Vhost(vhost) => {
                broker.add_vhost(&vhost);
            }
            Record::User(user) => broker.directory().put_user(user),
            Record::Permissions(granted) => {
                broker.directory().put_permissions(&granted.user, &granted.vhost, granted.permissions());
            }
            Record::Policy(kind, policy) => vhost(broker, &policy.vhost)?.restore_policy(kind, policy),
            Record::Parameter(parameter) => vhost(broker, &parameter.vhost)?.restore_parameter(parameter),
            Record::GlobalParameter(parameter) => broker.restore_global_parameter(parameter),
            Record::Exchange(exchange) => {
                let vhost = vhost(broker, &exchange.vhost)?;
                let restored = vhost.restore_exchange(exchange_declare(&exchange)?, exchange.number)?;
                // A record of before exchanges had numbers, or one that was made up.
                changes.extend(restored.filter(|_| exchange.number == 0));
            }
            Record::Queue(queue) => {
                let cell = vhost(broker, &queue.vhost)?.restore_queue(
                    queue_declare(&queue),
                    queue.id,
                    broker.started_at(),
                )?;
                if queue.id == 0 {
                    changes.push(changes::put(&changes::queue_record(&cell.info)));
                }
            }
            Record::Binding(binding) => {
                vhost(broker, &binding.vhost)?.restore_binding(routing_binding(&binding))?
            }
        }
    }
    broker.journalist().submit(changes)?;
    Ok(())
}

/// A node without vhosts or users gets RabbitMQ's defaults.
pub(crate) fn defaults(broker: &Broker, options: &Options) -> Result<(), RestoreError> {
    let mut changes = Vec::new();
    if broker.vhosts().is_empty() {
        let vhost = definitions::Vhost::new(&options.default_vhost);
        broker.add_vhost(&vhost);
        changes.push(changes::put(&Record::Vhost(vhost)));
    }
    if broker.directory().is_empty() {
        let user = definitions::UserDefinition {
            name: options.default_user.clone(),
            password: definitions::Password::Clear(options.default_pass.clone()),
            tags: vec!["administrator".to_owned()],
            limits: serde_json::Map::new(),
            permissions: std::collections::BTreeMap::new(),
        };
        let user = user.to_user(broker.names.octets::<SALT_LENGTH>());
        let all =
            Permissions::new(".*", ".*", ".*").map_err(|error| RestoreError::Refused(error.to_string()))?;
        changes.push(changes::put(&Record::User(user.clone())));
        changes.push(permissions_change(&user.name, &options.default_vhost, &all));
        broker.directory().put_permissions(&user.name, &options.default_vhost, all);
        broker.directory().put_user(user);
    }
    broker.journalist().submit(changes)?;
    Ok(())
}

/// Takes in a definitions.json.
pub(crate) fn json(broker: &Broker, bytes: &[u8], now: Millis) -> Result<Vec<String>, RestoreError> {
    let definitions = definitions::import(bytes)?;
    let mut warnings = definitions.unsupported();
    let mut changes: Vec<Change> = Vec::new();
    for vhost in &definitions.vhosts {
        let (own, is_new) = broker.add_vhost(vhost);
        if is_new {
            changes.push(changes::put(&Record::Vhost(vhost.clone())));
            continue;
        }
        own.define(broker.journalist(), |own| {
            if vhost.default_queue_type.is_some() {
                own.default_queue_type.clone_from(&vhost.default_queue_type);
            }
            if !vhost.limits.is_empty() {
                own.limits.clone_from(&vhost.limits);
            }
        })?;
    }
    for user in &definitions.users {
        let user = user.to_user(broker.names.octets::<SALT_LENGTH>());
        changes.push(changes::put(&Record::User(user.clone())));
        broker.directory().put_user(user);
    }
    for granted in &definitions.permissions {
        let permissions = granted.permissions();
        changes.push(permissions_change(&granted.user, &granted.vhost, &permissions));
        broker.directory().put_permissions(&granted.user, &granted.vhost, permissions);
    }
    broker.journalist().submit(changes)?;
    parameters(broker, &definitions, now)?;
    let scratch = Scratch { now, ..Scratch::default() };
    resources(broker, &definitions, &scratch, &mut warnings)?;
    Ok(warnings)
}

/// All durable definitions, as RabbitMQ exports them.
pub(crate) fn export(broker: &Broker) -> Vec<u8> {
    let mut all = Definitions::default();
    all.rabbit_version = Some(broker.follows().to_owned());
    all.product_name = Some("WarrenMQ".to_owned());
    all.product_version = Some(env!("CARGO_PKG_VERSION").to_owned());
    all.users =
        broker.directory().users().iter().map(|user| definitions::UserDefinition::from_user(user)).collect();
    for (user, vhost, p) in broker.directory().all_permissions() {
        let (configure, write, read) = (p.configure.clone(), p.write.clone(), p.read.clone());
        all.permissions.push(UserPermissions { user, vhost, configure, write, read });
    }
    all.global_parameters = broker.global_parameters();
    for vhost in broker.vhosts() {
        let definition = vhost.definition();
        all.vhosts.push(definitions::Vhost::clone(&definition));
        let picture = vhost.picture();
        all.policies.extend(picture.policies(PolicyKind::User).map(|policy| Policy::clone(policy)));
        all.parameters.extend(broker.parameters_of(&vhost));
        let durable = |exchange: &Exchange| {
            exchange.durable && !exchange.name.starts_with("amq.") && !exchange.name.is_empty()
        };
        for exchange in picture.topology.exchanges().filter(|exchange| durable(exchange)) {
            if let Record::Exchange(record) = changes::exchange_record(&vhost.name, exchange) {
                all.exchanges.push(record);
            }
        }
        for queue in picture.queues().filter(|queue| queue.info.durable) {
            if let Record::Queue(mut record) = changes::queue_record(&queue.info) {
                record.arguments = vhost.with_own_type(record.arguments, record.auto_delete);
                all.queues.push(record);
            }
        }
        for binding in picture.topology.bindings().filter(|binding| is_durable(&picture, binding)) {
            if let Record::Binding(record) = changes::binding_record(&vhost.name, binding) {
                all.bindings.push(record);
            }
        }
    }
    // Maps have no order; a file that says the same is to look the same.
    all.queues.sort_by(|a, b| (&a.vhost, &a.name).cmp(&(&b.vhost, &b.name)));
    all.export()
}

/// The numbers of all durable queues.
pub(crate) fn queue_numbers(broker: &Broker) -> Vec<u8> {
    let mut numbers = QueueNumbers::default();
    for vhost in broker.vhosts() {
        for queue in vhost.picture().queues().filter(|queue| queue.info.durable) {
            numbers.insert(&vhost.name, &queue.info.name, queue.info.store_id);
        }
    }
    numbers.export()
}

/// Parameters, policies and limits of a file; they were looked at when it was read.
fn parameters(broker: &Broker, all: &Definitions, now: Millis) -> Result<(), RestoreError> {
    let refused = |what: String| {
        move |error: ParameterError| match error {
            ParameterError::Store(error) => RestoreError::Store(error),
            error => RestoreError::Refused(format!("{what}: {error}")),
        }
    };
    for parameter in all.global_parameters.iter().filter(|parameter| !parameter.is_internal()) {
        let what = format!("global parameter '{}'", parameter.name);
        broker.set_global_parameter(parameter.clone()).map_err(refused(what))?;
    }
    for kind in [PolicyKind::User, PolicyKind::Operator] {
        for policy in all.policies(kind) {
            let what = format!("{} '{}' in vhost '{}'", kind.name(), policy.name, policy.vhost);
            broker.follow_policy(kind, policy.clone(), now).map_err(refused(what))?;
        }
    }
    for (vhost, limits) in all.vhost_limits() {
        let what = format!("limits of vhost '{vhost}'");
        broker.set_vhost_limits(vhost, limits.clone()).map_err(refused(what))?;
    }
    for parameter in all.own_parameters() {
        let Parameter { component, vhost, name, .. } = parameter;
        let what = format!("parameter '{name}' of component '{component}' in vhost '{vhost}'");
        broker.keep_parameter(parameter.clone()).map_err(refused(what))?;
    }
    Ok(())
}

/// Exchanges, queues and bindings of a file; what is not supported was named already and is left out.
fn resources(
    broker: &Broker,
    all: &Definitions,
    scratch: &Scratch,
    warnings: &mut Vec<String>,
) -> Result<(), RestoreError> {
    let journalist = broker.journalist();
    let nobody = Asker { connection: 0 };
    for exchange in &all.exchanges {
        let Ok(asked) = exchange_declare(exchange) else { continue };
        vhost(broker, &exchange.vhost)?.declare_exchange(asked, journalist)?;
    }
    for queue in &all.queues {
        let vhost = vhost(broker, &queue.vhost)?;
        let mut asked = queue_declare(queue);
        asked.arguments =
            vhost.with_default_type(asked.arguments, asked.durable, asked.exclusive, asked.auto_delete);
        if let Err(exception) = vhost.declare_queue(asked, nobody, journalist, scratch) {
            warnings.push(format!(
                "queue '{}' in vhost '{}' left out: {}",
                queue.name, queue.vhost, exception.explanation
            ));
        }
    }
    for binding in &all.bindings {
        let vhost = vhost(broker, &binding.vhost)?;
        if let Err(exception) = vhost.bind(routing_binding(binding), nobody, journalist) {
            let (from, to) = (&binding.source, &binding.destination);
            let at = &binding.vhost;
            warnings.push(format!(
                "binding from '{from}' to '{to}' in vhost '{at}' left out: {}",
                exception.explanation
            ));
        }
    }
    Ok(())
}

fn vhost(broker: &Broker, name: &str) -> Result<Arc<crate::vhost::Vhost>, RestoreError> {
    broker.vhost(name).ok_or_else(|| RestoreError::Refused(format!("vhost '{name}' does not exist")))
}

fn permissions_change(user: &str, vhost: &str, permissions: &Permissions) -> Change {
    let Permissions { configure, write, read } = permissions.clone();
    let (user, vhost) = (user.to_owned(), vhost.to_owned());
    changes::put(&Record::Permissions(UserPermissions { user, vhost, configure, write, read }))
}

fn exchange_declare(exchange: &definitions::Exchange) -> Result<ExchangeDeclare, RestoreError> {
    let Some(kind) = ExchangeType::from_name(&exchange.kind) else {
        return Err(RestoreError::Refused(format!("unknown exchange type '{}'", exchange.kind)));
    };
    Ok(ExchangeDeclare {
        name: exchange.name.clone(),
        kind,
        durable: exchange.durable,
        auto_delete: exchange.auto_delete,
        internal: exchange.internal,
        arguments: exchange.arguments.clone(),
    })
}

fn queue_declare(queue: &definitions::Queue) -> QueueDeclare {
    QueueDeclare {
        name: queue.name.clone(),
        durable: queue.durable,
        exclusive: false,
        auto_delete: queue.auto_delete,
        arguments: queue.arguments.clone(),
    }
}

fn routing_binding(binding: &definitions::Binding) -> Binding {
    let destination = match binding.destination_type {
        DestinationType::Queue => Destination::Queue(binding.destination.as_str().into()),
        DestinationType::Exchange => Destination::Exchange(binding.destination.as_str().into()),
    };
    Binding {
        source: binding.source.as_str().into(),
        destination,
        routing_key: binding.routing_key.as_bytes().into(),
        arguments: binding.arguments.clone(),
    }
}
