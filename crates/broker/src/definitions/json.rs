//! Owns RabbitMQ's `definitions.json`: reading what its versions export and writing what they import.
//!
//! Invariant: everything in a file is either in [`Definitions`] or named by [`Definitions::unsupported`].

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::{
    Binding, DestinationType, Exchange, GlobalParameter, Parameter, Queue, UserDefinition, UserPermissions,
    Vhost, object,
};
use crate::policy::{InvalidPolicy, LimitsOf, Policy, PolicyKind};

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
    /// Runtime parameters; operator policies and the limits of vhosts are among them.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// Parameters of the whole node.
    #[serde(default)]
    pub global_parameters: Vec<GlobalParameter>,
    /// User policies.
    #[serde(default)]
    pub policies: Vec<Policy>,
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
    /// Operator policies, from the parameters.
    #[serde(skip)]
    operator_policies: Vec<Policy>,
    /// Limits of vhosts, from the parameters.
    #[serde(skip)]
    vhost_limits: Vec<(String, Map<String, Value>)>,
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
    let mut definitions = import_whole(bytes)?;
    definitions.leave_out_reserved();
    Ok(definitions)
}

/// Reads an export with everything in it, to put a node back as it was: queues named `amq.gen-…` too.
///
/// # Errors
/// Those of [`import`].
pub fn import_whole(bytes: &[u8]) -> Result<Definitions, ImportError> {
    let mut definitions = parse(bytes)?;
    definitions.gather_permissions();
    definitions.check_vhosts()?;
    definitions.read_parameters()?;
    definitions.check_limits()?;
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
    let parameters = definitions.parameters.iter_mut().map(|parameter| &mut parameter.vhost);
    let policies = definitions.policies.iter_mut().map(|policy| &mut policy.vhost);
    for own in queues.chain(exchanges).chain(bindings).chain(parameters).chain(policies) {
        vhost.clone_into(own);
    }
    definitions.read_parameters()?;
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

    /// The policies of that kind.
    pub fn policies(&self, kind: PolicyKind) -> &[Policy] {
        match kind {
            PolicyKind::User => &self.policies,
            PolicyKind::Operator => &self.operator_policies,
        }
    }

    /// Vhosts with the limits that are parameters.
    pub fn vhost_limits(&self) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
        self.vhost_limits.iter().map(|(vhost, limits)| (vhost.as_str(), limits))
    }

    /// Parameters that are neither operator policies nor limits of vhosts.
    pub fn own_parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(|parameter| !parameter.is_builtin())
    }

    /// Finds the operator policies and the limits of vhosts among the parameters.
    fn read_parameters(&mut self) -> Result<(), ImportError> {
        for (at, parameter) in self.parameters.iter().enumerate() {
            let Parameter { component, vhost, name, value } = parameter;
            let refuse = |InvalidPolicy(reason)| ImportError {
                path: format!("parameters[{at}]"),
                reason: format!("parameter '{name}' of component '{component}' in vhost '{vhost}': {reason}"),
            };
            let value = || object(value.clone()).unwrap_or_default();
            match component.as_str() {
                Parameter::OPERATOR_POLICY => {
                    let policy = Policy::from_object(PolicyKind::Operator, vhost, name, &value());
                    self.operator_policies.push(policy.map_err(refuse)?);
                }
                Parameter::VHOST_LIMITS => {
                    let limits = value();
                    LimitsOf::Vhost.check(&limits).map_err(refuse)?;
                    self.vhost_limits.push((vhost.clone(), limits));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Limits that stand with users and vhosts have to be some too.
    fn check_limits(&self) -> Result<(), ImportError> {
        let users = self.users.iter().map(|user| (LimitsOf::User, &user.name, &user.limits));
        let vhosts = self.vhosts.iter().map(|vhost| (LimitsOf::Vhost, &vhost.name, &vhost.limits));
        for (at, (of, name, limits)) in users.enumerate().chain(vhosts.enumerate()) {
            of.check(limits).map_err(|InvalidPolicy(reason)| {
                let (list, what) = match of {
                    LimitsOf::User => ("users", "user"),
                    LimitsOf::Vhost => ("vhosts", "vhost"),
                };
                ImportError {
                    path: format!("{list}[{at}].limits"),
                    reason: format!("limits of {what} '{name}': {reason}"),
                }
            })?;
        }
        Ok(())
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
            ("parameters", self.parameters.iter().position(|own| own.vhost.is_empty())),
            ("policies", self.policies.iter().position(|own| own.vhost.is_empty())),
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
mod tests {
    use warrenmq_wire::method::{AMQPValue, FieldTable};

    use super::*;

    // What RabbitMQ 3.10.8 exports by `GET /api/definitions`, `rabbitmqctl export_definitions` and
    // `GET /api/definitions/orders`.
    const API: &[u8] = include_bytes!("testdata/rabbitmq-3.10-api.json");
    const CTL: &[u8] = include_bytes!("testdata/rabbitmq-3.10-ctl.json");
    const VHOST: &[u8] = include_bytes!("testdata/rabbitmq-3.10-vhost.json");
    const SAMPLE: &[u8] = include_bytes!("../../../../config/definitions.sample.json");

    fn argument<'a>(table: &'a FieldTable, key: &str) -> &'a AMQPValue {
        table.inner().get(key).unwrap()
    }

    #[test]
    fn an_export_of_the_http_api_is_read_whole() {
        let definitions = import(API).unwrap();
        assert_eq!(definitions.rabbitmq_version.as_deref(), Some("3.10.8"));
        let names: Vec<&str> = definitions.users.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(names, ["nopass", "kim", "importer", "guest"]);
        let kim = definitions.users[1].to_user([0; 4]);
        assert_eq!(kim.tags, ["monitoring", "policymaker"]);
        assert!(kim.check_password(b"hunter2").is_ok());
        assert!(definitions.users[3].to_user([0; 4]).check_password(b"guest").is_ok());
        assert_eq!(definitions.users[0].to_user([0; 4]).password_hash, None);

        let importer = &definitions.permissions[0];
        assert_eq!((importer.user.as_str(), importer.vhost.as_str()), ("importer", "/"));
        assert!(importer.read.matches("orders") && !importer.read.matches("secrets"));

        let new = &definitions.queues[0];
        assert_eq!((new.name.as_str(), new.vhost.as_str(), new.durable), ("orders.new", "orders", true));
        assert_eq!(argument(&new.arguments, "x-message-ttl"), &AMQPValue::LongLongInt(60000));
        assert_eq!(argument(&new.arguments, "x-overflow"), &AMQPValue::LongString("reject-publish".into()));
        let AMQPValue::FieldTable(own) = argument(&definitions.queues[4].arguments, "own") else {
            panic!("an object is a table")
        };
        assert_eq!(argument(own, "a"), &AMQPValue::Double(1.5));

        let inner = definitions.exchanges.iter().find(|exchange| exchange.name == "orders.inner").unwrap();
        assert!(inner.internal && inner.kind == "fanout");
        let to_exchange = &definitions.bindings[1];
        assert_eq!(to_exchange.destination_type, DestinationType::Exchange);
        assert_eq!(to_exchange.routing_key, "order.*.eu");
        assert_eq!(argument(&definitions.bindings[3].arguments, "express"), &AMQPValue::Boolean(true));
    }

    #[test]
    fn an_export_of_rabbitmqctl_says_the_same() {
        let (api, ctl) = (import(API).unwrap(), import(CTL).unwrap());
        let sorted = |mut users: Vec<UserDefinition>| {
            users.sort_by(|left, right| left.name.cmp(&right.name));
            users
        };
        assert_eq!(sorted(ctl.users.clone()), sorted(api.users.clone()));
        assert_eq!(ctl.queues.len(), api.queues.len());
        assert!(ctl.queues.iter().all(|queue| api.queues.contains(queue)));
        assert!(ctl.bindings.iter().all(|binding| api.bindings.contains(binding)));
        assert_eq!(ctl.policies, api.policies);
        assert_eq!(ctl.policies(PolicyKind::Operator), api.policies(PolicyKind::Operator));
        assert_eq!(ctl.vhost_limits().collect::<Vec<_>>(), api.vhost_limits().collect::<Vec<_>>());
        // It leaves out internal exchanges, but it alone has what a vhost is described with.
        assert_eq!(ctl.exchanges.len() + 1, api.exchanges.len());
        let orders = ctl.vhosts.iter().find(|vhost| vhost.name == "orders").unwrap();
        assert_eq!(orders.description, "Orders of the shop");
        assert_eq!(orders.tags, ["production", "eu"]);
    }

    #[test]
    fn an_export_of_one_vhost_goes_into_any() {
        let error = import(VHOST).unwrap_err();
        assert_eq!(
            error.to_string(),
            "queues[0].vhost: no vhost; the export of a single vhost has to be imported into one"
        );
        let definitions = import_vhost(VHOST, "elsewhere").unwrap();
        assert_eq!(definitions.queues.len(), 4);
        assert!(definitions.queues.iter().all(|queue| queue.vhost == "elsewhere"));
        assert!(definitions.exchanges.iter().all(|exchange| exchange.vhost == "elsewhere"));
        assert!(definitions.bindings.iter().all(|binding| binding.vhost == "elsewhere"));
        let policies = [PolicyKind::User, PolicyKind::Operator].map(|kind| definitions.policies(kind));
        for (policies, name) in policies.into_iter().zip(["keep-a-day", "at-most"]) {
            assert_eq!((policies[0].vhost.as_str(), policies[0].name.as_str()), ("elsewhere", name));
        }
        assert_eq!(definitions.vhost_limits().map(|(vhost, _)| vhost).collect::<Vec<_>>(), ["elsewhere"]);
        assert!(import_vhost(API, "elsewhere").unwrap().users.is_empty());
    }

    #[test]
    fn what_has_no_effect_is_named() {
        let expected = [
            "topic permissions of user 'kim' on exchange 'orders.events' in vhost 'orders'",
            "queue 'orders.log' in vhost 'orders': type 'stream'",
        ];
        for file in [API, CTL] {
            let mut lines = import(file).unwrap().unsupported();
            lines.sort();
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(lines, expected);
        }
        let odd = br#"{
            "users": [{"name": "a", "password_hash": "$2b", "hashing_algorithm": "bcrypt"},
                      {"name": "b", "password_hash": "AAAA"}],
            "vhosts": [{"name": "/", "default_queue_type": "stream"}, {"name": "v", "default_queue_type": "quorum"}],
            "parameters": [{"vhost": "/", "component": "shovel", "name": "s", "value": {}}],
            "policies": [{"vhost": "/", "name": "ha", "pattern": "", "definition": {"ha-mode": "all", "expires": 1}}],
            "exchanges": [{"name": "h", "vhost": "/", "type": "x-jms-topic"},
                          {"name": "amq.topic", "vhost": "/", "type": "topic"},
                          {"name": "", "vhost": "/", "type": "direct"}],
            "queues": [{"name": "amq.gen-1", "vhost": "/"}, {"name": "q", "vhost": "/"}],
            "bindings": [{"source": "h", "vhost": "/", "destination": "amq.gen-1", "destination_type": "queue"},
                         {"source": "", "vhost": "/", "destination": "q", "destination_type": "queue"},
                         {"source": "h", "vhost": "/", "destination": "q", "destination_type": "queue"},
                         {"source": "h", "vhost": "/", "destination": "amq.topic", "destination_type": "exchange"}],
            "streams": [1, 2],
            "explanation": "a remark"
        }"#;
        let definitions = import(odd).unwrap();
        assert_eq!(
            definitions.unsupported(),
            [
                "exchange 'amq.topic' in vhost '/': names that begin with 'amq.' are not imported",
                "queue 'amq.gen-1' in vhost '/' and bindings to it: names that begin with 'amq.' are not imported",
                "password of user 'a': hashing algorithm 'bcrypt'",
                "password of user 'b': hash of 3 octets",
                "default queue type 'stream' of vhost '/'",
                "parameter 's' of component 'shovel' in vhost '/'",
                "key 'ha-mode' of policy 'ha' in vhost '/'",
                "exchange 'h' in vhost '/': type 'x-jms-topic'",
                "section 'streams' (2 entries)",
            ]
        );
        assert_eq!(
            (definitions.exchanges.len(), definitions.queues.len(), definitions.bindings.len()),
            (1, 1, 2)
        );
    }

    #[test]
    fn a_wrong_place_is_named() {
        let long = format!(r#"{{"queues":[{{"name":"{}"}}]}}"#, "q".repeat(256));
        // (file, path, part of the reason)
        let cases = [
            ("{", ".", "EOF while parsing an object"),
            ("[]", ".", "expected struct Definitions"),
            ("{} {}", ".", "trailing characters"),
            ("\u{feff}{}", ".", "expected value"),
            (r#"{"queues":{}}"#, "queues", "expected a sequence"),
            (r#"{"queues":[{"vhost":"/"}]}"#, "queues[0]", "missing field `name`"),
            (r#"{"queues":[{"name":"q","durable":"yes"}]}"#, "queues[0].durable", "expected a boolean"),
            (&long, "queues[0].name", "256 octets exceed the maximum of 255"),
            (r#"{"queues":[{"name":"q"}]}"#, "queues[0].vhost", "no vhost"),
            (
                r#"{"queues":[{"name":"q","arguments":{"a":[1,{"b":null}]}}]}"#,
                "queues[0].arguments.a[1].b",
                "invalid type: null",
            ),
            (
                r#"{"permissions":[{"user":"u","vhost":"/","configure":"","write":"(","read":""}]}"#,
                "permissions[0].write",
                "invalid regular expression '(': unclosed group",
            ),
            (r#"{"users":[{"name":"a"},{"name":"b","password_hash":"?"}]}"#, "users[1]", "not base64"),
            (
                r#"{"policies":[{"vhost":"/","name":"p","pattern":"","definition":{"max-length":-1}}]}"#,
                "policies[0]",
                "policy 'p' in vhost '/': -1 is not a valid maximum length",
            ),
            (
                r#"{"parameters":[{"vhost":"/","component":"operator_policy","name":"p",
                    "value":{"pattern":"","priority":0,"definition":{"ha-sync-batch-size":1}}}]}"#,
                "parameters[0]",
                "in vhost '/': [{<<\"ha-sync-batch-size\">>,1}] are not recognised policy settings",
            ),
            (
                r#"{"parameters":[{"vhost":"/","component":"vhost-limits","name":"limits","value":{"a":1}}]}"#,
                "parameters[0]",
                "Unrecognised terms [{<<\"a\">>,1}] in limits",
            ),
            (
                r#"{"parameters":[{"component":"shovel","name":"s","value":1}]}"#,
                "parameters[0].vhost",
                "no vhost",
            ),
            (r#"{"users":[{"name":"a","limits":{"b":1}}]}"#, "users[0].limits", "limits of user 'a': Unrec"),
            (
                r#"{"vhosts":[{"name":"a","limits":{"max-queues":"1"}}]}"#,
                "vhosts[0].limits",
                "limits of vhost 'a': max-queues should be a number, actually was <<\"1\">>",
            ),
            (
                r#"{"bindings":[{"source":"x","destination":"q","destination_type":"topic"}]}"#,
                "bindings[0].destination_type",
                "unknown variant `topic`",
            ),
        ];
        for (file, path, reason) in cases {
            let error = import(file.as_bytes()).unwrap_err();
            assert_eq!(error.path, path, "{file}: {error}");
            assert!(error.reason.contains(reason), "{error}");
        }
    }

    #[test]
    fn what_is_exported_is_imported_again() {
        for file in [API, CTL, SAMPLE] {
            let definitions = import(file).unwrap();
            let exported = definitions.export();
            assert_eq!(import(&exported).unwrap(), definitions);
            assert_eq!(import(&exported).unwrap().export(), exported);
        }
        assert_eq!(import(b" \n").unwrap(), Definitions::default());
    }

    #[test]
    fn an_export_has_the_order_of_rabbitmq() {
        let order = |file: &[u8]| -> Vec<String> {
            let sections: Map<String, Value> = serde_json::from_slice(file).unwrap();
            sections.into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(order(&import(API).unwrap().export()), order(API));
    }

    #[test]
    fn permissions_inside_users_count() {
        let file = br#"{"users": [{"name": "u", "password": "p", "tags": "administrator",
            "permissions": {"/": {"configure": ".*", "write": "^w", "read": ""}}}]}"#;
        let definitions = import(file).unwrap();
        assert_eq!(definitions.permissions.len(), 1);
        let granted = &definitions.permissions[0];
        assert_eq!((granted.user.as_str(), granted.vhost.as_str()), ("u", "/"));
        assert_eq!(granted.permissions().write.as_str(), "^w");
        assert!(definitions.users[0].to_user([1; 4]).check_password(b"p").is_ok());
    }

    #[test]
    fn the_sample_is_fully_supported() {
        let definitions = import(SAMPLE).unwrap();
        assert_eq!(definitions.unsupported(), Vec::<String>::new());
        assert!(definitions.queues.len() >= 2 && definitions.bindings.len() >= 2);
        for user in &definitions.users {
            assert!(user.to_user([0; 4]).check_password(b"change-me").is_ok(), "{}", user.name);
        }
    }
}
