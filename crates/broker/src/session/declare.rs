//! exchange.* and queue.* methods.
//!
//! Invariant: checks come in RabbitMQ's order (name, permission, existence, equivalence), because the first refusal is the
//! one that the client sees.

use std::sync::Arc;

use warrenmq_protocol::Exception;
use warrenmq_routing::{Binding, Destination};
use warrenmq_wire::method::{AMQPValue, FieldTable, Method, ShortString, exchange, queue};

use super::Session;
use crate::access::{Access, Resource};
use crate::queue_cell::{Counts, QueueCell};
use crate::refusal::{self, default_exchange, not_found, precondition};
use crate::vhost::{Deletion, ExchangeDeclare, ExchangeType, QueueDeclare, QueueType, check_conditions};

impl Session {
    pub(super) fn exchange_method(
        &mut self,
        number: u16,
        method: exchange::AMQPMethod,
    ) -> Result<(), Exception> {
        use exchange::AMQPMethod as M;
        let (nowait, ok) = match method {
            M::Declare(declare) => {
                let nowait = declare.nowait;
                self.declare_exchange(declare)?;
                (nowait, M::DeclareOk(exchange::DeclareOk {}))
            }
            M::Delete(delete) => {
                self.delete_exchange(delete.exchange.as_str(), delete.if_unused)?;
                (delete.nowait, M::DeleteOk(exchange::DeleteOk {}))
            }
            M::Bind(bind) => {
                let nowait = bind.nowait;
                let destination = Destination::Exchange(strip(bind.destination.as_str()).into());
                self.bind(binding(&bind.source, destination, &bind.routing_key, bind.arguments))?;
                (nowait, M::BindOk(exchange::BindOk {}))
            }
            M::Unbind(unbind) => {
                let nowait = unbind.nowait;
                let destination = Destination::Exchange(strip(unbind.destination.as_str()).into());
                self.unbind(&binding(&unbind.source, destination, &unbind.routing_key, unbind.arguments))?;
                (nowait, M::UnbindOk(exchange::UnbindOk {}))
            }
            _ => return Err(super::unimplemented()),
        };
        if !nowait {
            self.reply(number, Method::Exchange(ok));
        }
        Ok(())
    }

    pub(super) fn queue_method(&mut self, number: u16, method: queue::AMQPMethod) -> Result<(), Exception> {
        use queue::AMQPMethod as M;
        let (nowait, ok) = match method {
            M::Declare(declare) => return self.declare_queue(number, declare),
            M::Bind(bind) => {
                let nowait = bind.nowait;
                let (name, key) = self.queue_and_key(number, &bind.queue, &bind.routing_key)?;
                self.bind(binding(&bind.exchange, Destination::Queue(name.into()), &key, bind.arguments))?;
                (nowait, M::BindOk(queue::BindOk {}))
            }
            M::Unbind(unbind) => {
                let (name, key) = self.queue_and_key(number, &unbind.queue, &unbind.routing_key)?;
                let destination = Destination::Queue(name.into());
                self.unbind(&binding(&unbind.exchange, destination, &key, unbind.arguments))?;
                (false, M::UnbindOk(queue::UnbindOk {}))
            }
            M::Purge(purge) => {
                let message_count = self.purge(number, purge.queue.as_str())?;
                (purge.nowait, M::PurgeOk(queue::PurgeOk { message_count }))
            }
            M::Delete(delete) => {
                let condition = Deletion { if_unused: delete.if_unused, if_empty: delete.if_empty };
                let message_count = self.delete_queue(number, delete.queue.as_str(), condition)?;
                (delete.nowait, M::DeleteOk(queue::DeleteOk { message_count }))
            }
            _ => return Err(super::unimplemented()),
        };
        if !nowait {
            self.reply(number, Method::Queue(ok));
        }
        Ok(())
    }

    fn declare_exchange(&mut self, declare: exchange::Declare) -> Result<(), Exception> {
        let vhost = self.vhost()?;
        let name = strip(declare.exchange.as_str());
        if declare.passive {
            if name.is_empty() {
                return Err(default_exchange());
            }
            self.permit_any(Resource::exchange(&name))?;
            let exists = vhost.picture().topology.exchange(&name).is_some();
            return if exists { Ok(()) } else { Err(not_found(refusal::exchange(&name, &vhost.name))) };
        }
        let Some(kind) = ExchangeType::from_name(declare.kind.as_str()) else {
            return Err(precondition(format!("unknown exchange type '{}'", declare.kind)));
        };
        if name.is_empty() {
            return Err(default_exchange());
        }
        self.permit(Access::Configure, Resource::exchange(&name))?;
        if vhost.picture().topology.exchange(&name).is_none() {
            if name.starts_with("amq.") {
                return Err(refusal::reserved("exchange", &name));
            }
            if let Some(alternate) = declare.arguments.inner().get(ALTERNATE_EXCHANGE) {
                let what = refusal::exchange(&name, &vhost.name);
                let alternate = exchange_of(ALTERNATE_EXCHANGE, alternate, what)?;
                self.permit(Access::Read, Resource::exchange(&name))?;
                self.permit(Access::Write, Resource::exchange(&alternate))?;
            }
        }
        let asked = ExchangeDeclare {
            name,
            kind,
            durable: declare.durable,
            auto_delete: declare.auto_delete,
            internal: declare.internal,
            arguments: declare.arguments,
        };
        let seq = vhost.declare_exchange(asked, self.broker.journalist())?;
        self.hold(seq);
        Ok(())
    }

    fn delete_exchange(&mut self, name: &str, if_unused: bool) -> Result<(), Exception> {
        let vhost = self.vhost()?;
        let name = strip(name);
        if name.is_empty() {
            return Err(default_exchange());
        }
        if name.starts_with("amq.") {
            let text = format!("deletion of system {} not allowed", refusal::exchange(&name, &vhost.name));
            return Err(refusal::refused(text));
        }
        self.permit(Access::Configure, Resource::exchange(&name))?;
        let seq = vhost.delete_exchange(&name, if_unused, self.broker.journalist())?;
        self.hold(seq);
        Ok(())
    }

    fn bind(&mut self, binding: Binding) -> Result<(), Exception> {
        self.check_binding(&binding)?;
        let vhost = self.vhost()?;
        let (is_new, seq) = vhost.bind(binding.clone(), self.asker(), self.broker.journalist())?;
        if is_new {
            self.replay(&vhost, &binding);
        }
        self.hold(seq);
        Ok(())
    }

    fn unbind(&mut self, binding: &Binding) -> Result<(), Exception> {
        self.check_binding(binding)?;
        let seq = self.vhost()?.unbind(binding, self.asker(), self.broker.journalist())?;
        self.hold(seq);
        Ok(())
    }

    /// Write on the destination, read on the source; neither may be the default exchange.
    fn check_binding(&mut self, binding: &Binding) -> Result<(), Exception> {
        let destination = match &binding.destination {
            Destination::Exchange(name) if name.is_empty() => return Err(default_exchange()),
            Destination::Exchange(name) => Resource::exchange(name),
            Destination::Queue(name) => Resource::queue(name),
        };
        if binding.source.is_empty() {
            return Err(default_exchange());
        }
        self.permit(Access::Write, destination)?;
        self.permit(Access::Read, Resource::exchange(&binding.source))
    }

    fn declare_queue(&mut self, number: u16, declare: queue::Declare) -> Result<(), Exception> {
        let vhost = self.vhost()?;
        let nowait = declare.nowait;
        if let Some(name) = self.declare_direct_reply(declare.queue.as_str())? {
            self.declare_ok(number, nowait, &name, Counts { ready: 0, consumers: 1 });
            return Ok(());
        }
        let cell = if declare.passive {
            // An empty name is not short for anything here.
            let name = strip(declare.queue.as_str());
            self.permit_any(Resource::queue(&name))?;
            let cell = self.existing_queue(&name)?;
            cell.touch(self.now);
            cell
        } else {
            let arguments = vhost.with_default_type(
                declare.arguments,
                declare.durable,
                declare.exclusive,
                declare.auto_delete,
            );
            let name = match strip(declare.queue.as_str()) {
                name if name.is_empty() => {
                    QueueType::check_server_named(&arguments)?;
                    self.broker.names.generate("amq.gen")
                }
                name if name.starts_with("amq.") => return Err(refusal::reserved("queue", &name)),
                name => name,
            };
            self.permit(Access::Configure, Resource::queue(&name))?;
            if vhost.picture().queue(&name).is_none()
                && let Some(exchange) = arguments.inner().get(DEAD_LETTER_EXCHANGE)
            {
                let what = refusal::queue(&name, &vhost.name);
                let exchange = exchange_of(DEAD_LETTER_EXCHANGE, exchange, what)?;
                self.permit(Access::Read, Resource::queue(&name))?;
                self.permit(Access::Write, Resource::exchange(&exchange))?;
            }
            let asked = QueueDeclare {
                name,
                durable: declare.durable,
                exclusive: declare.exclusive,
                auto_delete: declare.auto_delete,
                arguments,
            };
            let asker = self.asker();
            let (cell, seq) = vhost.declare_queue(asked, asker, self.broker.journalist(), &self.scratch)?;
            self.hold(seq);
            if cell.info.owner.is_some() {
                self.exclusive_queues.insert(cell.info.id, Arc::clone(&cell));
            }
            cell
        };
        if let Some(channel) = self.channels.get_mut(number) {
            channel.last_queue = Some(Arc::clone(&cell.info.name));
        }
        self.declare_ok(number, nowait, &cell.info.name, cell.counts());
        Ok(())
    }

    fn declare_ok(&mut self, number: u16, nowait: bool, name: &str, counts: Counts) {
        let Ok(queue) = ShortString::try_new(name) else { return };
        if !nowait {
            let message_count = u32::try_from(counts.ready).unwrap_or(u32::MAX);
            let ok = queue::DeclareOk { queue, message_count, consumer_count: counts.consumers };
            self.reply(number, Method::Queue(queue::AMQPMethod::DeclareOk(ok)));
        }
    }

    fn purge(&mut self, number: u16, name: &str) -> Result<u32, Exception> {
        let name = self.queue_name(number, name)?;
        self.permit(Access::Read, Resource::queue(&name))?;
        let cell = self.existing_queue(&name)?;
        let window = self.window();
        Ok(u32::try_from(cell.purge(window, &mut self.scratch)).unwrap_or(u32::MAX))
    }

    fn delete_queue(&mut self, number: u16, name: &str, condition: Deletion) -> Result<u32, Exception> {
        let name = strip(&self.queue_name(number, name)?);
        self.permit(Access::Configure, Resource::queue(&name))?;
        let vhost = self.vhost()?;
        let Some(cell) = vhost.picture().queue(&name).cloned() else {
            self.hold(vhost.unsettled(self.broker.journalist()));
            return Ok(0);
        };
        cell.check_access(self.id)?;
        check_conditions(&cell, condition)?;
        let (ready, seq) =
            vhost.delete_queue(&cell, condition, self.broker.journalist(), &mut self.scratch)?;
        self.exclusive_queues.remove(&cell.info.id);
        self.hold(seq);
        Ok(u32::try_from(ready).unwrap_or(u32::MAX))
    }

    /// The name that is meant: an empty one is that of the queue declared last on the channel.
    pub(super) fn queue_name(&mut self, number: u16, given: &str) -> Result<String, Exception> {
        if !given.is_empty() {
            return Ok(given.to_owned());
        }
        let last = self.channels.get_mut(number).and_then(|channel| channel.last_queue.clone());
        match last {
            Some(name) => Ok(name.to_string()),
            None => {
                Err(Exception::new(warrenmq_wire::reply::ReplyCode::NotFound, "no previously declared queue"))
            }
        }
    }

    /// The queue of that name, if it is there and open to this connection.
    pub(super) fn existing_queue(&mut self, name: &str) -> Result<Arc<QueueCell>, Exception> {
        let vhost = self.vhost()?;
        let Some(cell) = vhost.picture().queue(name).cloned() else {
            return Err(not_found(refusal::queue(name, &vhost.name)));
        };
        cell.check_access(self.id)?;
        Ok(cell)
    }

    /// With queue and key both empty, both mean the queue declared last.
    fn queue_and_key(
        &mut self,
        number: u16,
        queue: &ShortString,
        key: &ShortString,
    ) -> Result<(String, ShortString), Exception> {
        let name = strip(&self.queue_name(number, queue.as_str())?);
        let key = if queue.as_str().is_empty() && key.as_str().is_empty() {
            ShortString::try_new(name.clone()).map_err(|_| super::unimplemented())?
        } else {
            key.clone()
        };
        Ok((name, key))
    }

    /// A passive declare needs any one permission (RabbitMQ since 4.3.1).
    fn permit_any(&mut self, resource: Resource<'_>) -> Result<(), Exception> {
        self.permit(Access::Configure, resource)
            .or_else(|refused| self.permit(Access::Write, resource).map_err(|_| refused))
            .or_else(|refused| self.permit(Access::Read, resource).map_err(|_| refused))
    }
}

/// RabbitMQ takes line breaks out of names where they are declared, deleted or bound; not where one reads or purges.
fn strip(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '\r' | '\n')).collect()
}

const DEAD_LETTER_EXCHANGE: &str = "x-dead-letter-exchange";
const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

/// The exchange that an argument of a declaration names. RabbitMQ looks at it before the other arguments, with a text of its own.
fn exchange_of(key: &str, value: &AMQPValue, what: refusal::Named<'_>) -> Result<String, Exception> {
    refusal::string(value).ok_or_else(|| {
        let kind = refusal::type_name(value);
        refusal::precondition(format!("invalid type '{kind}' for arg '{key}' in {what}"))
    })
}

fn binding(
    source: &ShortString,
    destination: Destination,
    key: &ShortString,
    arguments: FieldTable,
) -> Binding {
    let source = strip(source.as_str()).into();
    Binding { source, destination, routing_key: key.as_str().as_bytes().into(), arguments }
}
