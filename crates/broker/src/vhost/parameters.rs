//! Runtime parameters of a vhost: kept for components, which look at them themselves.
//!
//! Invariant: what is in memory is what was handed to the store, in the same order.

use serde_json::Value;
use warrenmq_protocol::Exception;
use warrenmq_store::CommitSeq;

use super::Vhost;
use super::exchanges::{checked, submit};
use crate::changes::{self, Journalist};
use crate::definitions::{Key, Parameter, Record};

impl Vhost {
    /// All of them, by component and name.
    pub(crate) fn parameters(&self) -> Vec<Parameter> {
        let master = self.master.lock();
        let own = |((component, name), value): (&(String, String), &Value)| Parameter {
            component: component.clone(),
            vhost: self.name.to_string(),
            name: name.clone(),
            value: value.clone(),
        };
        master.parameters.iter().map(own).collect()
    }

    /// Sets a parameter.
    pub(crate) fn set_parameter(
        &self,
        parameter: Parameter,
        journalist: &Journalist,
    ) -> Result<Option<CommitSeq>, Exception> {
        let mut master = self.master.lock();
        let change = checked(changes::put(&Record::Parameter(parameter.clone())))?;
        master.parameters.insert((parameter.component, parameter.name), parameter.value);
        submit(journalist, vec![change])
    }

    /// Removes a parameter. `None`: there is none of that name.
    pub(crate) fn clear_parameter(
        &self,
        component: &str,
        name: &str,
        journalist: &Journalist,
    ) -> Result<Option<Option<CommitSeq>>, Exception> {
        let mut master = self.master.lock();
        if master.parameters.remove(&(component.to_owned(), name.to_owned())).is_none() {
            return Ok(None);
        }
        let key = Key::Parameter { vhost: &self.name, component, name };
        submit(journalist, vec![changes::delete(&key)]).map(Some)
    }

    /// Puts a parameter back that the store has kept.
    pub(crate) fn restore_parameter(&self, parameter: Parameter) {
        self.master.lock().parameters.insert((parameter.component, parameter.name), parameter.value);
    }
}
