//! Owns the form in which RabbitMQ shows JSON values in its reasons: that of Erlang terms (`~tp`).
//!
//! Invariant: what is shown is one line, whatever the value holds.

use std::fmt;

use serde_json::Value;

/// A JSON value as an Erlang term.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term<'a>(pub(crate) &'a Value);

/// Keys with their values, as a list of pairs.
pub(crate) struct Pairs<'a>(pub(crate) &'a [(&'a str, &'a Value)]);

impl fmt::Display for Term<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(number) => write!(f, "{number}"),
            Value::String(text) => binary(text, f),
            Value::Array(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if at == 0 { "" } else { "," }, Term(item))?;
                }
                f.write_str("]")
            }
            Value::Object(object) => {
                f.write_str("#{")?;
                for (at, (key, value)) in object.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { "," })?;
                    binary(key, f)?;
                    write!(f, " => {}", Term(value))?;
                }
                f.write_str("}")
            }
        }
    }
}

impl fmt::Display for Pairs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (at, (key, value)) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "{" } else { ",{" })?;
            binary(key, f)?;
            write!(f, ",{}}}", Term(value))?;
        }
        f.write_str("]")
    }
}

fn binary(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
    let encoding = if text.is_ascii() { "" } else { "/utf8" };
    if text.is_empty() { f.write_str("<<>>") } else { write!(f, "<<\"{escaped}\"{encoding}>>") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_read_as_erlang_writes_them() {
        let cases = [
            (json!(null), "null"),
            (json!(true), "true"),
            (json!(-1), "-1"),
            (json!(1.5), "1.5"),
            (json!("abc"), "<<\"abc\">>"),
            (json!(""), "<<>>"),
            (json!("a\"b\\\n"), "<<\"a\\\"b\\\\\\n\">>"),
            (json!("ü"), "<<\"ü\"/utf8>>"),
            (json!([1, "a"]), "[1,<<\"a\">>]"),
            (json!({"a": {"b": []}}), "#{<<\"a\">> => #{<<\"b\">> => []}}"),
        ];
        for (value, text) in cases {
            assert_eq!(Term(&value).to_string(), text);
        }
        let (one, two) = (json!(1), json!("x"));
        assert_eq!(Pairs(&[("a", &one), ("b", &two)]).to_string(), "[{<<\"a\">>,1},{<<\"b\">>,<<\"x\">>}]");
    }
}
