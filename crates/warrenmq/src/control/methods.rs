//! The methods: what each does with a broker.
//!
//! Invariant: a method has answered with success only when what it has changed is on disk.

use serde_json::{Value, json};
use warrenmq_broker::Broker;
use warrenmq_broker::definitions::{self, Definitions};

use super::{Refusal, RefusalCode, Request, settings};

/// Carries out a request at `now`, in Unix milliseconds.
///
/// # Errors
/// The refusal to answer with.
pub(crate) fn call(broker: &Broker, request: &Request, now: u64) -> Result<Value, Refusal> {
    match request.method.as_str() {
        "definitions.export" => export(broker),
        "definitions.import" => import(broker, request.text("definitions")?, now),
        unknown => {
            if let Some(done) = settings::call(broker, request, now) {
                return done;
            }
            let version = env!("CARGO_PKG_VERSION");
            let text = format!("WarrenMQ {version} has no method '{unknown}'");
            Err(Refusal::new(RefusalCode::UnknownMethod, text))
        }
    }
}

/// The file as a text, so that it comes out as it is.
fn export(broker: &Broker) -> Result<Value, Refusal> {
    let text = String::from_utf8(broker.export_definitions())
        .map_err(|_| Refusal::new(RefusalCode::Failed, "the definitions are not UTF-8"))?;
    Ok(json!({ "definitions": text }))
}

fn import(broker: &Broker, text: &str, now: u64) -> Result<Value, Refusal> {
    let file = definitions::import(text.as_bytes()).map_err(Refusal::refused)?;
    let warnings = broker.load_definitions(text.as_bytes(), now).map_err(|error| {
        Refusal::refused(format!("{error}; what stands before it in the file has been taken"))
    })?;
    settle(broker)?;
    Ok(json!({ "found": counts(&file), "warnings": warnings }))
}

/// What the file has of each kind that can be taken in.
fn counts(file: &Definitions) -> Value {
    json!({
        "vhosts": file.vhosts.len(),
        "users": file.users.len(),
        "permissions": file.permissions.len(),
        "exchanges": file.exchanges.len(),
        "queues": file.queues.len(),
        "bindings": file.bindings.len(),
        "policies": file.policies.len(),
        "parameters": file.parameters.len() + file.global_parameters.len(),
    })
}

/// Waits until what was changed is on disk.
pub(super) fn settle(broker: &Broker) -> Result<(), Refusal> {
    broker.settle().map_err(|error| Refusal::new(RefusalCode::Failed, error))
}
