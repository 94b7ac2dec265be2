//! Policies, parameters and limits, by the commands and arguments of `rabbitmqctl`.
//!
//! Invariant: each command is one method of the control socket; a list is a line of names and a line for each thing, with tabs
//! between, and columns as RabbitMQ has them.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::CtlError;
use super::node::{self, NodeArgs, NodeError};

#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub(super) enum SettingsCommand {
    /// Set a policy, or replace the one of that name.
    SetPolicy(SetPolicyArgs),
    /// Remove a policy.
    ClearPolicy(NamedArgs),
    /// List the policies of a vhost.
    ListPolicies(ListArgs),
    /// Set an operator policy.
    SetOperatorPolicy(SetPolicyArgs),
    /// Remove an operator policy.
    ClearOperatorPolicy(NamedArgs),
    /// List the operator policies of a vhost.
    ListOperatorPolicies(ListArgs),
    /// Set a parameter of a component.
    SetParameter(SetParameterArgs),
    /// Remove a parameter.
    ClearParameter(ClearParameterArgs),
    /// List the parameters of a vhost.
    ListParameters(ListArgs),
    /// Set a parameter of the whole node.
    SetGlobalParameter(SetGlobalParameterArgs),
    /// Remove a parameter of the whole node.
    ClearGlobalParameter(GlobalNameArgs),
    /// List the parameters of the whole node.
    ListGlobalParameters(ListGlobalArgs),
    /// Set the limits of a vhost: max-connections, max-queues.
    SetVhostLimits(SetVhostLimitsArgs),
    /// Remove the limits of a vhost.
    ClearVhostLimits(VhostArgs),
    /// Show the limits of a vhost.
    ListVhostLimits(VhostArgs),
    /// Set limits of a user: max-connections, max-channels.
    SetUserLimits(SetUserLimitsArgs),
    /// Remove a limit of a user, or all.
    ClearUserLimits(ClearUserLimitsArgs),
    /// Show the limits of a user.
    ListUserLimits(UserArgs),
}

#[derive(Debug, Args)]
pub(super) struct VhostArgs {
    /// The vhost.
    #[arg(short = 'p', long, value_name = "VHOST", default_value = "/")]
    vhost: String,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct SetPolicyArgs {
    name: String,
    /// A regular expression for the names of queues and exchanges.
    pattern: String,
    /// A JSON object: {"max-length": 1000}.
    #[arg(value_parser = json_object)]
    definition: Value,
    /// Of several that match, the highest counts.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i64,
    /// all, queues, exchanges, classic_queues, quorum_queues or streams.
    #[arg(long, default_value = "all")]
    apply_to: String,
    #[command(flatten)]
    at: VhostArgs,
}

#[derive(Debug, Args)]
pub(super) struct NamedArgs {
    name: String,
    #[command(flatten)]
    at: VhostArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// No line with the names of the columns.
    #[arg(short = 'q', long, alias = "quiet")]
    no_table_headers: bool,
    #[command(flatten)]
    at: VhostArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListGlobalArgs {
    /// No line with the names of the columns.
    #[arg(short = 'q', long, alias = "quiet")]
    no_table_headers: bool,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct SetParameterArgs {
    component: String,
    name: String,
    /// JSON.
    #[arg(value_parser = json_value)]
    value: Value,
    #[command(flatten)]
    at: VhostArgs,
}

#[derive(Debug, Args)]
pub(super) struct ClearParameterArgs {
    component: String,
    name: String,
    #[command(flatten)]
    at: VhostArgs,
}

#[derive(Debug, Args)]
pub(super) struct SetGlobalParameterArgs {
    name: String,
    /// JSON.
    #[arg(value_parser = json_value)]
    value: Value,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct GlobalNameArgs {
    name: String,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct SetVhostLimitsArgs {
    /// A JSON object: {"max-queues": 100}.
    #[arg(value_parser = json_object)]
    limits: Value,
    #[command(flatten)]
    at: VhostArgs,
}

#[derive(Debug, Args)]
pub(super) struct SetUserLimitsArgs {
    user: String,
    /// A JSON object: {"max-connections": 10}.
    #[arg(value_parser = json_object)]
    limits: Value,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct ClearUserLimitsArgs {
    user: String,
    /// max-connections, max-channels or all.
    limit: String,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct UserArgs {
    /// The user.
    #[arg(long, value_name = "USER")]
    user: String,
    #[command(flatten)]
    node: NodeArgs,
}

const POLICY: &[&str] = &["vhost", "name", "pattern", "apply-to", "definition", "priority"];
const PARAMETER: &[&str] = &["component", "name", "value"];
const GLOBAL_PARAMETER: &[&str] = &["name", "value"];
const LIMITS: &[&str] = &["limits"];

pub(super) fn run(command: SettingsCommand, out: &mut dyn Write) -> Result<(), CtlError> {
    use SettingsCommand as C;
    match command {
        C::SetPolicy(args) => set_policy(args, false),
        C::SetOperatorPolicy(args) => set_policy(args, true),
        C::ClearPolicy(args) => clear_policy(&args, false),
        C::ClearOperatorPolicy(args) => clear_policy(&args, true),
        C::ListPolicies(args) => list(&args, "policies.list", false, POLICY, out),
        C::ListOperatorPolicies(args) => list(&args, "policies.list", true, POLICY, out),
        C::SetParameter(SetParameterArgs { component, name, value, at }) => {
            let params = json!({"vhost": at.vhost, "component": component, "name": name, "value": value});
            tell(&at.node, "parameters.set", params)
        }
        C::ClearParameter(ClearParameterArgs { component, name, at }) => {
            let params = json!({"vhost": at.vhost, "component": component, "name": name});
            tell(&at.node, "parameters.clear", params)
        }
        C::ListParameters(args) => list(&args, "parameters.list", false, PARAMETER, out),
        C::SetGlobalParameter(SetGlobalParameterArgs { name, value, node }) => {
            tell(&node, "global_parameters.set", json!({"name": name, "value": value}))
        }
        C::ClearGlobalParameter(GlobalNameArgs { name, node }) => {
            tell(&node, "global_parameters.clear", json!({"name": name}))
        }
        C::ListGlobalParameters(ListGlobalArgs { no_table_headers, node }) => {
            let rows = node::call(&node, "global_parameters.list", json!({}))?;
            print(&rows, GLOBAL_PARAMETER, !no_table_headers, out)
        }
        C::SetVhostLimits(SetVhostLimitsArgs { limits, at }) => {
            tell(&at.node, "vhost_limits.set", json!({"vhost": at.vhost, "limits": limits}))
        }
        C::ClearVhostLimits(VhostArgs { vhost, node }) => {
            tell(&node, "vhost_limits.clear", json!({"vhost": vhost}))
        }
        C::ListVhostLimits(VhostArgs { vhost, node }) => {
            print(&node::call(&node, "vhost_limits.list", json!({"vhost": vhost}))?, LIMITS, false, out)
        }
        C::SetUserLimits(SetUserLimitsArgs { user, limits, node }) => {
            tell(&node, "user_limits.set", json!({"user": user, "limits": limits}))
        }
        C::ClearUserLimits(ClearUserLimitsArgs { user, limit, node }) => {
            let params = match limit.as_str() {
                "all" => json!({"user": user}),
                limit => json!({"user": user, "name": limit}),
            };
            tell(&node, "user_limits.clear", params)
        }
        C::ListUserLimits(UserArgs { user, node }) => {
            print(&node::call(&node, "user_limits.list", json!({"user": user}))?, LIMITS, false, out)
        }
    }
}

fn set_policy(args: SetPolicyArgs, operator: bool) -> Result<(), CtlError> {
    let SetPolicyArgs { name, pattern, definition, priority, apply_to, at } = args;
    let policy =
        json!({"pattern": pattern, "definition": definition, "priority": priority, "apply-to": apply_to});
    let params = json!({"operator": operator, "vhost": at.vhost, "name": name, "policy": policy});
    tell(&at.node, "policies.set", params)
}

fn clear_policy(args: &NamedArgs, operator: bool) -> Result<(), CtlError> {
    let params = json!({"operator": operator, "vhost": args.at.vhost, "name": args.name});
    tell(&args.at.node, "policies.clear", params)
}

fn list(
    args: &ListArgs,
    method: &str,
    operator: bool,
    columns: &[&str],
    out: &mut dyn Write,
) -> Result<(), CtlError> {
    let rows = node::call(&args.at.node, method, json!({"vhost": args.at.vhost, "operator": operator}))?;
    print(&rows, columns, !args.no_table_headers, out)
}

/// Has something done that has no result.
fn tell(node: &NodeArgs, method: &str, params: Value) -> Result<(), CtlError> {
    node::call(node, method, params)?;
    Ok(())
}

fn print(rows: &Value, columns: &[&str], headers: bool, out: &mut dyn Write) -> Result<(), CtlError> {
    let rows = rows.as_array().ok_or(NodeError::Unexpected)?;
    if headers && !rows.is_empty() {
        writeln!(out, "{}", columns.join("\t"))?;
    }
    for row in rows {
        let cells: Vec<String> = columns.iter().map(|column| cell(column, &row[*column])).collect();
        writeln!(out, "{}", cells.join("\t"))?;
    }
    Ok(())
}

/// Names are bare; values are JSON, so that a text can be told from a number.
fn cell(column: &str, value: &Value) -> String {
    match value {
        Value::String(text) if column != "value" => text.clone(),
        value => value.to_string(),
    }
}

fn json_value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))
}

fn json_object(text: &str) -> Result<Value, String> {
    let value = json_value(text)?;
    if value.is_object() { Ok(value) } else { Err("it is not a JSON object".to_owned()) }
}
