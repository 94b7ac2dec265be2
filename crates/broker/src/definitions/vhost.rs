//! Owns the definition of a vhost, in the forms that RabbitMQ's versions have.
//!
//! Invariant: description, tags and default queue type are read from beside the name or from `metadata`, the
//! former first, and are written to both, so that every version finds them.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::name;

/// A vhost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Document", into = "Document")]
pub struct Vhost {
    /// Unique name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Free words.
    pub tags: Vec<String>,
    /// The type of queues declared without `x-queue-type`.
    pub default_queue_type: Option<String>,
    /// Limits by name (`max-connections`, `max-queues`).
    pub limits: Map<String, Value>,
}

impl Vhost {
    /// A vhost with nothing but a name.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

/// The JSON object.
#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(deserialize_with = "name::deserialize")]
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    tags: Option<Tags>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default_queue_type: Option<String>,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default, deserialize_with = "pairs")]
    limits: Map<String, Value>,
}

#[derive(Default, Serialize, Deserialize)]
struct Metadata {
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    tags: Option<Tags>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default_queue_type: Option<String>,
}

impl From<Document> for Vhost {
    fn from(document: Document) -> Self {
        let Document { name, description, tags, default_queue_type, metadata, limits } = document;
        Self {
            name,
            description: description.or(metadata.description).unwrap_or_default(),
            tags: tags.or(metadata.tags).unwrap_or_default().0,
            // 3.11 and 3.12 export a default queue type that is not set as "undefined".
            default_queue_type: default_queue_type
                .or(metadata.default_queue_type)
                .filter(|kind| !kind.is_empty() && kind != "undefined"),
            limits,
        }
    }
}

impl From<Vhost> for Document {
    fn from(vhost: Vhost) -> Self {
        Self {
            name: vhost.name,
            description: Some(vhost.description.clone()),
            tags: Some(Tags(vhost.tags.clone())),
            default_queue_type: vhost.default_queue_type.clone(),
            metadata: Metadata {
                description: Some(vhost.description),
                tags: Some(Tags(vhost.tags)),
                default_queue_type: vhost.default_queue_type,
            },
            limits: vhost.limits,
        }
    }
}

/// Tags of a user or vhost: a list, or one text with commas as before 3.8 and, for vhosts, in what
/// `rabbitmqctl` of 3.10 exports.
#[derive(Clone, Debug, Default)]
pub(super) struct Tags(pub(super) Vec<String>);

impl Serialize for Tags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TagsVisitor)
    }
}

struct TagsVisitor;

impl<'de> Visitor<'de> for TagsVisitor {
    type Value = Tags;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tags as a list or a text with commas")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Tags, E> {
        Ok(Tags(text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tags, A::Error> {
        let mut tags = Vec::new();
        while let Some(tag) = list.next_element::<String>()? {
            tags.push(tag.trim().to_owned());
        }
        Ok(Tags(tags))
    }
}

/// Reads an object, or the list of pairs that `rabbitmqctl` of 3.10 writes in its place.
pub(super) fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    object(Value::deserialize(deserializer)?)
        .ok_or_else(|| D::Error::custom("expected an object or a list of pairs"))
}

/// The same from a value.
pub(crate) fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(object) => Some(object),
        Value::Array(list) => list
            .into_iter()
            .map(|pair| serde_json::from_value::<(String, Value)>(pair).ok())
            .collect::<Option<Map<_, _>>>(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_forms_of_every_version() {
        type Case<'a> = (&'a str, &'a str, &'a [&'a str], Option<&'a str>, usize);
        // (object, description, tags, default queue type, number of limits)
        let cases: [Case<'_>; 6] = [
            (r#"{"name":"v"}"#, "", &[], None, 0),
            // rabbitmqctl 3.10
            (
                r#"{"name":"v","limits":[["max-queues",2]],"metadata":{"description":"d","tags":"a,b"}}"#,
                "d",
                &["a", "b"],
                None,
                1,
            ),
            (r#"{"name":"v","limits":[],"metadata":{"description":"d","tags":[]}}"#, "d", &[], None, 0),
            // 3.12
            (
                r#"{"name":"v","description":"d","tags":["a"],"default_queue_type":"undefined","metadata":{}}"#,
                "d",
                &["a"],
                None,
                0,
            ),
            // 4.x
            (
                r#"{"name":"v","description":"outer","tags":[],"limits":{"max-queues":1},
                    "metadata":{"description":"inner","tags":["a"],"default_queue_type":"quorum"}}"#,
                "outer",
                &[],
                Some("quorum"),
                1,
            ),
            (r#"{"name":"v","default_queue_type":"stream","tracing":false}"#, "", &[], Some("stream"), 0),
        ];
        for (json, description, tags, default_queue_type, limits) in cases {
            let vhost: Vhost = serde_json::from_str(json).unwrap();
            assert_eq!(vhost.description, description, "{json}");
            assert_eq!(vhost.tags, tags, "{json}");
            assert_eq!(vhost.default_queue_type.as_deref(), default_queue_type, "{json}");
            assert_eq!(vhost.limits.len(), limits, "{json}");
            let again: Vhost = serde_json::from_str(&serde_json::to_string(&vhost).unwrap()).unwrap();
            assert_eq!(again, vhost);
        }
    }

    #[test]
    fn writes_for_every_version() {
        let vhost = Vhost { description: "d".to_owned(), tags: vec!["a".to_owned()], ..Vhost::new("v") };
        assert_eq!(
            serde_json::to_string(&vhost).unwrap(),
            r#"{"name":"v","description":"d","tags":["a"],"metadata":{"description":"d","tags":["a"]},"limits":{}}"#
        );
    }
}
