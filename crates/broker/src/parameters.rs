//! What operators set while the broker runs: policies, limits and parameters.
//!
//! Invariant: what was set has its effect when the call returns, and is on disk after [`Broker::settle`].

use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;
use warrenmq_protocol::{Exception, Millis};
use warrenmq_store::{Change, DefinitionError};

use crate::access::User;
use crate::broker::Broker;
use crate::changes;
use crate::definitions::{GlobalParameter, Key, Parameter, Record, object};
use crate::policy::{Applied, InvalidPolicy, LimitsOf, Policy, PolicyKind};
use crate::queue_cell::Scratch;
use crate::vhost::{QueueType, Vhost};

/// The component under which RabbitMQ keeps user policies, which have commands of their own.
const POLICY: &str = "policy";
/// The one parameter that the limits of a vhost are.
const LIMITS: &str = "limits";
/// Components of RabbitMQ's plugins. Nothing here looks at their parameters.
const COMPONENTS: [&str; 4] = ["federation", "federation-upstream", "federation-upstream-set", "shovel"];

/// Why something could not be set or cleared.
#[derive(Debug, Error)]
pub enum ParameterError {
    /// There is no such vhost.
    #[error("Virtual host '{0}' does not exist")]
    NoVhost(String),
    /// There is no such user.
    #[error("User '{0}' does not exist")]
    NoUser(String),
    /// There is nothing to clear.
    #[error("Parameter does not exist")]
    Missing,
    /// It is not what RabbitMQ would take.
    #[error(transparent)]
    Invalid(#[from] InvalidPolicy),
    /// It is not to be set in this way, or too large.
    #[error("{0}")]
    Refused(String),
    /// It could not be written.
    #[error(transparent)]
    Store(#[from] DefinitionError),
}

impl From<Exception> for ParameterError {
    fn from(exception: Exception) -> ParameterError {
        ParameterError::Refused(exception.explanation.to_string())
    }
}

/// Policies.
impl Broker {
    /// Sets a policy at `now`, or replaces the one of that name. Queues and exchanges follow it at once. Keys without effect in this version
    /// are named in the log.
    ///
    /// # Errors
    /// When there is no such vhost, or the policy is too large to be stored.
    pub fn set_policy(&self, kind: PolicyKind, policy: Policy, now: Millis) -> Result<(), ParameterError> {
        for key in policy.without_effect() {
            let (what, Policy { name, vhost, .. }) = (kind.name(), &policy);
            tracing::warn!("key '{key}' of {what} '{name}' in vhost '{vhost}' has no effect");
        }
        self.follow_policy(kind, policy, now)
    }

    /// The same without a word in the log.
    pub(crate) fn follow_policy(
        &self,
        kind: PolicyKind,
        policy: Policy,
        now: Millis,
    ) -> Result<(), ParameterError> {
        let vhost = self.known_vhost(&policy.vhost)?;
        self.on_queues(now, |window, scratch| {
            vhost.set_policy(kind, policy, self.journalist(), window, scratch)
        })?;
        Ok(())
    }

    /// Removes a policy at `now`.
    ///
    /// # Errors
    /// When there is no such vhost or policy.
    pub fn clear_policy(
        &self,
        kind: PolicyKind,
        vhost: &str,
        name: &str,
        now: Millis,
    ) -> Result<(), ParameterError> {
        let vhost = self.known_vhost(vhost)?;
        let cleared = self.on_queues(now, |window, scratch| {
            vhost.clear_policy(kind, name, self.journalist(), window, scratch)
        })?;
        cleared.map(|_| ()).ok_or(ParameterError::Missing)
    }

    /// The policies of a kind, in one vhost or in all, by name.
    pub fn policies(&self, kind: PolicyKind, vhost: Option<&str>) -> Vec<Arc<Policy>> {
        let vhosts = self.vhosts_or(vhost);
        let own = |vhost: &Arc<Vhost>| vhost.picture().policies(kind).cloned().collect::<Vec<_>>();
        vhosts.iter().flat_map(own).collect()
    }

    /// The policies that count for a queue; `None`: there is no such queue.
    pub fn queue_policy(&self, vhost: &str, queue: &str) -> Option<Applied> {
        self.vhost(vhost)?.picture().queue_policy(queue)
    }

    /// The policies that count for an exchange; `None`: there is no such exchange.
    pub fn exchange_policy(&self, vhost: &str, exchange: &str) -> Option<Applied> {
        self.vhost(vhost)?.picture().exchange_policy(exchange)
    }
}

/// Limits, and the type of queues that do not say it.
impl Broker {
    /// Sets the limits of a vhost, `max-connections` and `max-queues`, in place of those it had. What is there already stays.
    ///
    /// # Errors
    /// When there is no such vhost, or something is not a limit.
    pub fn set_vhost_limits(&self, vhost: &str, limits: Map<String, Value>) -> Result<(), ParameterError> {
        LimitsOf::Vhost.check(&limits)?;
        self.known_vhost(vhost)?.define(self.journalist(), |vhost| vhost.limits = limits)?;
        Ok(())
    }

    /// Removes the limits of a vhost.
    ///
    /// # Errors
    /// When there is no such vhost, or it has none.
    pub fn clear_vhost_limits(&self, vhost: &str) -> Result<(), ParameterError> {
        if self.vhost_limits(vhost)?.is_empty() {
            return Err(ParameterError::Missing);
        }
        self.set_vhost_limits(vhost, Map::new())
    }

    /// The limits of a vhost.
    ///
    /// # Errors
    /// When there is no such vhost.
    pub fn vhost_limits(&self, vhost: &str) -> Result<Map<String, Value>, ParameterError> {
        Ok(self.known_vhost(vhost)?.definition().limits.clone())
    }

    /// Sets limits of a user, `max-connections` and `max-channels`, beside those it has. What is open already stays.
    ///
    /// # Errors
    /// When there is no such user, or something is not a limit.
    pub fn set_user_limits(&self, user: &str, limits: Map<String, Value>) -> Result<(), ParameterError> {
        // RabbitMQ shows this reason without saying that something was validated.
        LimitsOf::User.check(&limits).map_err(|InvalidPolicy(reason)| ParameterError::Refused(reason))?;
        self.change_user(user, |user| user.limits.extend(limits))
    }

    /// Removes the limit `name` of a user; `None` removes all.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn clear_user_limits(&self, user: &str, name: Option<&str>) -> Result<(), ParameterError> {
        self.change_user(user, |user| match name {
            Some(name) => drop(user.limits.remove(name)),
            None => user.limits.clear(),
        })
    }

    /// The limits of a user.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn user_limits(&self, user: &str) -> Result<Map<String, Value>, ParameterError> {
        let known = self.directory().user(user).ok_or_else(|| ParameterError::NoUser(user.to_owned()))?;
        Ok(known.limits.clone())
    }

    /// Sets the type of queues that are declared in a vhost without `x-queue-type`; `None` is that of the node.
    ///
    /// # Errors
    /// When there is no such vhost or type.
    pub fn set_default_queue_type(
        &self,
        vhost: &str,
        queue_type: Option<&str>,
    ) -> Result<(), ParameterError> {
        if let Some(name) = queue_type.filter(|name| !QueueType::exists(name) || name.is_empty()) {
            let text = match name {
                "" => "default_queue_type must not be an empty string".to_owned(),
                name => format!("{name} is not a valid queue type"),
            };
            return Err(ParameterError::Refused(text));
        }
        let queue_type = queue_type.map(str::to_owned);
        self.known_vhost(vhost)?.define(self.journalist(), |vhost| vhost.default_queue_type = queue_type)?;
        Ok(())
    }
}

/// Runtime parameters.
impl Broker {
    /// Sets a runtime parameter at `now`, or replaces the one of that name. That of the component `operator_policy` is an operator policy, and
    /// `limits` of `vhost-limits` are the limits of a vhost.
    ///
    /// # Errors
    /// When there is no such vhost or component, or the value is not what the component takes.
    pub fn set_parameter(&self, parameter: Parameter, now: Millis) -> Result<(), ParameterError> {
        let Parameter { component, vhost, name, value } = &parameter;
        match component.as_str() {
            POLICY => Err(ParameterError::Refused("policies may not be set using this method".to_owned())),
            Parameter::OPERATOR_POLICY => {
                let value = object(value.clone()).unwrap_or_default();
                let policy = Policy::from_object(PolicyKind::Operator, vhost, name, &value)?;
                self.set_policy(PolicyKind::Operator, policy, now)
            }
            Parameter::VHOST_LIMITS => {
                self.set_vhost_limits(vhost, object(value.clone()).unwrap_or_default())
            }
            known if COMPONENTS.contains(&known) => {
                tracing::warn!("parameter '{name}' of component '{known}' in vhost '{vhost}' has no effect");
                self.keep_parameter(parameter)
            }
            unknown => Err(InvalidPolicy(format!("component {unknown} not found")).into()),
        }
    }

    /// Keeps a parameter for a component that nobody here knows.
    pub(crate) fn keep_parameter(&self, parameter: Parameter) -> Result<(), ParameterError> {
        self.known_vhost(&parameter.vhost)?.set_parameter(parameter, self.journalist())?;
        Ok(())
    }

    /// Removes a runtime parameter at `now`.
    ///
    /// # Errors
    /// When there is no such vhost or parameter.
    pub fn clear_parameter(
        &self,
        vhost: &str,
        component: &str,
        name: &str,
        now: Millis,
    ) -> Result<(), ParameterError> {
        match component {
            POLICY => {
                let text = "policies may not be cleared using this method";
                Err(ParameterError::Refused(text.to_owned()))
            }
            Parameter::OPERATOR_POLICY => self.clear_policy(PolicyKind::Operator, vhost, name, now),
            Parameter::VHOST_LIMITS => self.clear_vhost_limits(vhost),
            component => {
                let vhost = self.known_vhost(vhost)?;
                let cleared = vhost.clear_parameter(component, name, self.journalist())?;
                cleared.map(|_| ()).ok_or(ParameterError::Missing)
            }
        }
    }

    /// The runtime parameters of one vhost or of all, with operator policies and the limits of vhosts.
    pub fn parameters(&self, vhost: Option<&str>) -> Vec<Parameter> {
        self.vhosts_or(vhost).iter().flat_map(|vhost| self.parameters_of(vhost)).collect()
    }

    pub(crate) fn parameters_of(&self, vhost: &Vhost) -> Vec<Parameter> {
        let parameter = |component: &str, name: &str, value: Map<String, Value>| Parameter {
            component: component.to_owned(),
            vhost: vhost.name.to_string(),
            name: name.to_owned(),
            value: Value::Object(value),
        };
        let picture = vhost.picture();
        let policies = picture.policies(PolicyKind::Operator);
        let mut all: Vec<Parameter> = policies
            .map(|policy| parameter(Parameter::OPERATOR_POLICY, &policy.name, policy.to_object()))
            .collect();
        let limits = &vhost.definition().limits;
        if !limits.is_empty() {
            all.push(parameter(Parameter::VHOST_LIMITS, LIMITS, limits.clone()));
        }
        all.extend(vhost.parameters());
        all
    }

    /// Sets a parameter of the whole node, or replaces the one of that name. `cluster_name` is what clients see as such.
    ///
    /// # Errors
    /// When it is too large to be stored.
    pub fn set_global_parameter(&self, parameter: GlobalParameter) -> Result<(), ParameterError> {
        let mut globals = self.globals().lock();
        let change = checked(changes::put(&Record::GlobalParameter(parameter.clone())))?;
        self.journalist().submit(vec![change])?;
        globals.insert(parameter.name, parameter.value);
        Ok(())
    }

    /// Removes a parameter of the whole node.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn clear_global_parameter(&self, name: &str) -> Result<(), ParameterError> {
        let mut globals = self.globals().lock();
        if globals.remove(name).is_none() {
            return Err(ParameterError::Missing);
        }
        self.journalist().submit(vec![changes::delete(&Key::GlobalParameter { name })])?;
        Ok(())
    }

    /// The parameters of the whole node, by name.
    pub fn global_parameters(&self) -> Vec<GlobalParameter> {
        let globals = self.globals().lock();
        let parameter =
            |(name, value): (&String, &Value)| GlobalParameter { name: name.clone(), value: value.clone() };
        globals.iter().map(parameter).collect()
    }

    pub(crate) fn restore_global_parameter(&self, parameter: GlobalParameter) {
        self.globals().lock().insert(parameter.name, parameter.value);
    }
}

impl Broker {
    fn known_vhost(&self, name: &str) -> Result<Arc<Vhost>, ParameterError> {
        self.vhost(name).ok_or_else(|| ParameterError::NoVhost(name.to_owned()))
    }

    fn vhosts_or(&self, name: Option<&str>) -> Vec<Arc<Vhost>> {
        match name {
            Some(name) => self.vhost(name).into_iter().collect(),
            None => self.vhosts(),
        }
    }

    /// Does work on queues and what follows from it.
    fn on_queues<T>(&self, now: Millis, work: impl FnOnce(u64, &mut Scratch) -> T) -> T {
        let mut scratch = Scratch { now, ..Scratch::default() };
        let _inside = self.enter(&mut scratch);
        let done = work(self.limits().queue_window_octets, &mut scratch);
        self.finish(&mut scratch);
        done
    }

    fn change_user(&self, name: &str, change: impl FnOnce(&mut User)) -> Result<(), ParameterError> {
        let _order = self.globals().lock();
        let known = self.directory().user(name).ok_or_else(|| ParameterError::NoUser(name.to_owned()))?;
        let mut user = User::clone(&known);
        change(&mut user);
        let record = checked(changes::put(&Record::User(user.clone())))?;
        self.journalist().submit(vec![record])?;
        self.directory().put_user(user);
        Ok(())
    }
}

/// Refuses what is too large for the store before anything has changed.
fn checked(change: Change) -> Result<Change, ParameterError> {
    match change.check() {
        Ok(()) => Ok(change),
        Err(error) => Err(ParameterError::Refused(error.to_string())),
    }
}
