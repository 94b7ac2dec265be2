//! One request and its reply: each a line with a JSON object.
//!
//! Invariant: every request that can be read at all gets a reply, and what cannot be read gets a refusal that says why.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The name of the method.
    pub(crate) method: String,
    /// Its parameters by name.
    #[serde(default)]
    pub(crate) params: Map<String, Value>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reply {
    /// It is done.
    Result(Value),
    /// It is not.
    Error(Refusal),
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    /// For programs.
    pub(crate) code: RefusalCode,
    /// For people: one line.
    pub(crate) message: String,
}

/// The kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RefusalCode {
    /// The line is no request, or parameters are missing or of a wrong kind.
    BadRequest,
    /// This broker has no such method.
    UnknownMethod,
    /// The method was understood, and refuses what is asked for.
    Refused,
    /// The broker cannot do it: it is busy, stopping, or its disk has failed.
    Failed,
}

impl Refusal {
    pub(crate) fn new(code: RefusalCode, message: impl ToString) -> Refusal {
        Refusal { code, message: message.to_string() }
    }

    pub(crate) fn refused(message: impl ToString) -> Refusal {
        Refusal::new(RefusalCode::Refused, message)
    }
}

impl Request {
    /// Reads a line.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub(crate) fn read(line: &[u8]) -> Result<Request, Refusal> {
        serde_json::from_slice(line)
            .map_err(|error| Refusal::new(RefusalCode::BadRequest, format!("no request: {error}")))
    }

    /// As a line, without its end.
    pub(crate) fn to_line(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("invariant: JSON writes to memory")
    }

    /// A parameter that is a text.
    ///
    /// # Errors
    /// When it is missing or something else.
    pub(crate) fn text(&self, name: &str) -> Result<&str, Refusal> {
        let wrong = || {
            let text = format!("{}: the parameter '{name}' has to be a string", self.method);
            Refusal::new(RefusalCode::BadRequest, text)
        };
        self.params.get(name).and_then(Value::as_str).ok_or_else(wrong)
    }
}

impl Reply {
    /// As a line, without its end.
    pub(crate) fn to_line(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("invariant: JSON writes to memory")
    }
}

impl From<Result<Value, Refusal>> for Reply {
    fn from(done: Result<Value, Refusal>) -> Reply {
        match done {
            Ok(value) => Reply::Result(value),
            Err(refusal) => Reply::Error(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_are_read() {
        let cases = [
            (r#"{"method":"a.b"}"#, Ok(("a.b", json!({})))),
            (r#" {"params":{"n":1},"method":"m","later":true} "#, Ok(("m", json!({"n": 1})))),
            ("", Err("no request: EOF while parsing")),
            ("[]", Err("no request: ")),
            (r#"{"method":1}"#, Err("no request: invalid type: integer `1`, expected a string")),
            (r#"{"method":"m","params":[]}"#, Err("no request: ")),
            ("\u{0}\u{1}", Err("no request: ")),
        ];
        for (line, expected) in cases {
            match (Request::read(line.as_bytes()), expected) {
                (Ok(request), Ok((method, params))) => {
                    assert_eq!((request.method.as_str(), Value::Object(request.params)), (method, params));
                }
                (Err(refusal), Err(text)) => {
                    assert_eq!(refusal.code, RefusalCode::BadRequest);
                    assert!(refusal.message.starts_with(text), "{line}: {refusal}");
                }
                (read, _) => panic!("{line}: {read:?}"),
            }
        }
        assert!(Request::read(&[0xff, 0xfe]).is_err());
        // Deep nesting is refused, not walked.
        assert!(Request::read("[".repeat(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn replies_look_like_this() {
        let result: Reply = Ok(json!({"n": 1})).into();
        let error: Reply = Err(Refusal::new(RefusalCode::UnknownMethod, "no")).into();
        let cases = [
            (result, r#"{"result":{"n":1}}"#),
            (error, r#"{"error":{"code":"unknown_method","message":"no"}}"#),
        ];
        for (reply, line) in cases {
            assert_eq!(String::from_utf8(reply.to_line()).unwrap(), line);
            assert_eq!(serde_json::from_str::<Reply>(line).unwrap(), reply);
        }
    }
}
