//! The methods for what operators set while a broker runs: policies, parameters and limits.
//!
//! Invariant: what is listed has the members that RabbitMQ's command of the same name has as columns.

use serde_json::{Map, Value, json};
use warrenmq_broker::definitions::{GlobalParameter, Parameter};
use warrenmq_broker::policy::{Policy, PolicyKind};
use warrenmq_broker::{Broker, ParameterError};

use super::methods::settle;
use super::{Refusal, RefusalCode, Request};

/// Carries out one of them; `None`: it is none.
pub(super) fn call(broker: &Broker, request: &Request, now: u64) -> Option<Result<Value, Refusal>> {
    let done = match request.method.as_str() {
        "policies.list" => list_policies(broker, request),
        "parameters.list" => Ok(list_parameters(broker, request)),
        "global_parameters.list" => Ok(list_global_parameters(broker)),
        "vhost_limits.list" => vhost_limits(broker, request),
        "user_limits.list" => user_limits(broker, request),
        _ => change(broker, request, now)?.and_then(|()| settle(broker)).map(|()| json!({})),
    };
    Some(done)
}

fn change(broker: &Broker, request: &Request, now: u64) -> Option<Result<(), Refusal>> {
    Some(match request.method.as_str() {
        "policies.set" => set_policy(broker, request, now),
        "policies.clear" => clear_policy(broker, request, now),
        "parameters.set" => set_parameter(broker, request, now),
        "parameters.clear" => clear_parameter(broker, request, now),
        "global_parameters.set" => set_global_parameter(broker, request),
        "global_parameters.clear" => {
            request.text("name").and_then(|name| done(broker.clear_global_parameter(name)))
        }
        "vhost_limits.set" => set_vhost_limits(broker, request),
        "vhost_limits.clear" => {
            request.text("vhost").and_then(|vhost| done(broker.clear_vhost_limits(vhost)))
        }
        "user_limits.set" => set_user_limits(broker, request),
        "user_limits.clear" => clear_user_limits(broker, request),
        _ => return None,
    })
}

fn set_policy(broker: &Broker, request: &Request, now: u64) -> Result<(), Refusal> {
    let (kind, vhost, name) = (kind(request)?, request.text("vhost")?, request.text("name")?);
    let policy = Policy::from_object(kind, vhost, name, &object(request, "policy")?);
    done(policy.map_err(ParameterError::from).and_then(|policy| broker.set_policy(kind, policy, now)))
}

fn clear_policy(broker: &Broker, request: &Request, now: u64) -> Result<(), Refusal> {
    let (kind, vhost, name) = (kind(request)?, request.text("vhost")?, request.text("name")?);
    done(broker.clear_policy(kind, vhost, name, now))
}

fn list_policies(broker: &Broker, request: &Request) -> Result<Value, Refusal> {
    let policies = broker.policies(kind(request)?, vhost(request));
    let row = |policy: &Policy| {
        json!({
            "vhost": policy.vhost,
            "name": policy.name,
            "pattern": policy.pattern.as_str(),
            "apply-to": policy.apply_to.name(),
            "definition": policy.definition,
            "priority": policy.priority,
        })
    };
    Ok(policies.iter().map(|policy| row(policy)).collect())
}

fn set_parameter(broker: &Broker, request: &Request, now: u64) -> Result<(), Refusal> {
    let parameter = Parameter {
        component: request.text("component")?.to_owned(),
        vhost: request.text("vhost")?.to_owned(),
        name: request.text("name")?.to_owned(),
        value: value(request)?,
    };
    done(broker.set_parameter(parameter, now))
}

fn clear_parameter(broker: &Broker, request: &Request, now: u64) -> Result<(), Refusal> {
    let (vhost, component, name) =
        (request.text("vhost")?, request.text("component")?, request.text("name")?);
    done(broker.clear_parameter(vhost, component, name, now))
}

fn list_parameters(broker: &Broker, request: &Request) -> Value {
    let row = |own: Parameter| json!({"component": own.component, "name": own.name, "value": own.value});
    broker.parameters(vhost(request)).into_iter().map(row).collect()
}

fn set_global_parameter(broker: &Broker, request: &Request) -> Result<(), Refusal> {
    let parameter = GlobalParameter { name: request.text("name")?.to_owned(), value: value(request)? };
    done(broker.set_global_parameter(parameter))
}

fn list_global_parameters(broker: &Broker) -> Value {
    let row = |own: GlobalParameter| json!({"name": own.name, "value": own.value});
    broker.global_parameters().into_iter().map(row).collect()
}

fn set_vhost_limits(broker: &Broker, request: &Request) -> Result<(), Refusal> {
    done(broker.set_vhost_limits(request.text("vhost")?, object(request, "limits")?))
}

fn vhost_limits(broker: &Broker, request: &Request) -> Result<Value, Refusal> {
    let vhost = request.text("vhost")?;
    let limits = broker.vhost_limits(vhost).map_err(refused)?;
    Ok(json!([{"vhost": vhost, "limits": limits}]))
}

fn set_user_limits(broker: &Broker, request: &Request) -> Result<(), Refusal> {
    done(broker.set_user_limits(request.text("user")?, object(request, "limits")?))
}

/// Without a name all of them.
fn clear_user_limits(broker: &Broker, request: &Request) -> Result<(), Refusal> {
    let name = request.params.get("name").and_then(Value::as_str);
    done(broker.clear_user_limits(request.text("user")?, name))
}

fn user_limits(broker: &Broker, request: &Request) -> Result<Value, Refusal> {
    let user = request.text("user")?;
    let limits = broker.user_limits(user).map_err(refused)?;
    Ok(json!([{"user": user, "limits": limits}]))
}

/// `operator` is true for operator policies.
fn kind(request: &Request) -> Result<PolicyKind, Refusal> {
    match request.params.get("operator") {
        None | Some(Value::Bool(false)) => Ok(PolicyKind::User),
        Some(Value::Bool(true)) => Ok(PolicyKind::Operator),
        Some(_) => Err(wrong(request, "operator", "true or false")),
    }
}

/// Without it all vhosts are meant.
fn vhost(request: &Request) -> Option<&str> {
    request.params.get("vhost").and_then(Value::as_str)
}

fn object(request: &Request, name: &str) -> Result<Map<String, Value>, Refusal> {
    let object = request.params.get(name).and_then(Value::as_object);
    object.cloned().ok_or_else(|| wrong(request, name, "an object"))
}

fn value(request: &Request) -> Result<Value, Refusal> {
    request.params.get("value").cloned().ok_or_else(|| wrong(request, "value", "there"))
}

fn wrong(request: &Request, name: &str, wanted: &str) -> Refusal {
    let text = format!("{}: the parameter '{name}' has to be {wanted}", request.method);
    Refusal::new(RefusalCode::BadRequest, text)
}

fn done(changed: Result<(), ParameterError>) -> Result<(), Refusal> {
    changed.map_err(refused)
}

/// RabbitMQ's texts may have several lines.
fn refused(error: ParameterError) -> Refusal {
    let code = match error {
        ParameterError::Store(_) => RefusalCode::Failed,
        _ => RefusalCode::Refused,
    };
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    Refusal::new(code, lines.join(": "))
}
