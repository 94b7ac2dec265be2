//! The words of a transcript line: names, numbers, strings, tables and patterns. A scanner never goes back, and every error
//! says what it expected.

use super::spec::Kind;
use super::value::{Typed, Value, tag_by_name};

/// What a transcript says about a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Pattern {
    /// `*`: anything.
    Any,
    /// A value; `${name}` inside its text stands for what `$name` was bound to.
    Exactly(Value),
    /// `$name`, `$name~glob` or `~glob`: bound when first seen and equal ever after; the glob (`*` any bytes, `?` any one)
    /// limits what may be bound.
    Variable { name: String, glob: Option<Vec<u8>> },
}

/// The rest of a line.
pub(crate) struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Scanner { rest: text.trim() }
    }

    /// Whether nothing is left.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.is_empty()
    }

    /// Takes `token` when it comes next.
    pub(crate) fn takes(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Whether `token` comes next; it stays.
    pub(crate) fn comes_next(&self, token: &str) -> bool {
        self.rest.trim_start().starts_with(token)
    }

    /// All up to the next space.
    pub(crate) fn word(&mut self) -> Result<&'a str, String> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(' ').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() { Err("the line ends too early".to_owned()) } else { Ok(word) }
    }

    /// A word that is a number.
    pub(crate) fn number<N: std::str::FromStr>(&mut self) -> Result<N, String> {
        let word = self.word()?;
        word.parse().map_err(|_| format!("`{word}` is not a number that fits"))
    }

    /// All that is left.
    pub(crate) fn rest(self) -> &'a str {
        self.rest.trim()
    }

    /// `NAME=`, when that comes next.
    pub(crate) fn key(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let (key, rest) = self.rest.split_once('=')?;
        let is_name = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if is_name {
            self.rest = rest;
        }
        is_name.then_some(key)
    }

    /// A pattern for a field of this kind. It must directly follow: what begins with a space is an empty string.
    pub(crate) fn pattern(&mut self, kind: Kind) -> Result<Pattern, String> {
        if self.rest == "*" || self.rest.starts_with("* ") {
            self.rest = &self.rest[1..];
            return Ok(Pattern::Any);
        }
        if self.rest.starts_with(['$', '~']) {
            return self.variable();
        }
        self.field_value(kind).map(Pattern::Exactly)
    }

    fn variable(&mut self) -> Result<Pattern, String> {
        let word = self.word()?;
        let (name, glob) = match word.split_once('~') {
            Some((name, glob)) => (name, Some(glob.as_bytes().to_vec())),
            None => (word, None),
        };
        Ok(Pattern::Variable { name: name.trim_start_matches('$').to_owned(), glob })
    }

    fn field_value(&mut self, kind: Kind) -> Result<Value, String> {
        match kind {
            Kind::Bit => match self.token()? {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                other => Err(format!("`{other}` is neither true nor false")),
            },
            Kind::Octet | Kind::Short | Kind::Long | Kind::LongLong => self.integer(),
            Kind::ShortStr | Kind::LongStr => self.text().map(Value::Text),
            Kind::Table => self.table(),
        }
    }

    /// A bare token: up to a space or a delimiter of tables.
    fn token(&mut self) -> Result<&'a str, String> {
        let end = self.rest.find([' ', ',', ':', '{', '}', '[', ']']).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        if token.is_empty() { Err(format!("a value was expected before `{}`", self.rest)) } else { Ok(token) }
    }

    fn integer(&mut self) -> Result<Value, String> {
        let token = self.token()?;
        token.parse().map(Value::Number).map_err(|_| format!("`{token}` is not an integer"))
    }

    /// A field's string: bare up to the next space, or quoted.
    pub(crate) fn text(&mut self) -> Result<Vec<u8>, String> {
        if self.rest.starts_with('"') {
            return self.quoted();
        }
        let end = self.rest.find(' ').unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(text.as_bytes().to_vec())
    }

    /// `"…"` with the escapes of Rust's byte strings, repeated by a following `*N`.
    fn quoted(&mut self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let mut chars = self.rest[1..].char_indices();
        let end = loop {
            let (at, c) = chars.next().ok_or("a string without an end")?;
            match c {
                '"' => break at + 2,
                '\\' => bytes.push(escape(&mut chars)?),
                _ => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        };
        self.rest = &self.rest[end..];
        match self.rest.strip_prefix('*') {
            Some(count) => {
                let digits = count.find(|c: char| !c.is_ascii_digit()).unwrap_or(count.len());
                let times = count[..digits].parse().map_err(|_| "`*` needs a number".to_owned())?;
                self.rest = &count[digits..];
                Ok(bytes.repeat(times))
            }
            None => Ok(bytes),
        }
    }

    /// `{key:type:value,…}`.
    fn table(&mut self) -> Result<Value, String> {
        self.open('{')?;
        let mut entries = Vec::new();
        while !self.takes("}") {
            self.separator(entries.is_empty())?;
            let key = self.table_text()?;
            self.open(':')?;
            entries.push((key, self.typed()?));
        }
        Ok(Value::Table(entries))
    }

    /// `type:value`, or `void`.
    fn typed(&mut self) -> Result<Typed, String> {
        self.takes("");
        let name = self.token()?;
        let tag = tag_by_name(name).ok_or(format!("no table type is called `{name}`"))?;
        if tag == b'V' {
            return Ok(Typed { tag, value: Value::Void });
        }
        self.open(':')?;
        if self.takes("*") {
            return Ok(Typed { tag, value: Value::Any });
        }
        let value = match tag {
            b't' => self.field_value(Kind::Bit)?,
            b'S' | b'x' => Value::Text(self.table_text()?),
            b'F' => self.table()?,
            b'A' => self.array()?,
            b'f' | b'd' => Value::Float(self.parsed()?),
            b'D' => self.decimal()?,
            _ => self.integer()?,
        };
        Ok(Typed { tag, value })
    }

    /// `[type:value,…]`.
    fn array(&mut self) -> Result<Value, String> {
        self.open('[')?;
        let mut items = Vec::new();
        while !self.takes("]") {
            self.separator(items.is_empty())?;
            items.push(self.typed()?);
        }
        Ok(Value::Array(items))
    }

    /// `scale/unscaled value`.
    fn decimal(&mut self) -> Result<Value, String> {
        let token = self.token()?;
        let (scale, value) = token.split_once('/').ok_or(format!("`{token}` is not SCALE/VALUE"))?;
        match (scale.parse(), value.parse()) {
            (Ok(scale), Ok(value)) => Ok(Value::Decimal(scale, value)),
            _ => Err(format!("`{token}` is not SCALE/VALUE")),
        }
    }

    fn parsed<N: std::str::FromStr>(&mut self) -> Result<N, String> {
        let token = self.token()?;
        token.parse().map_err(|_| format!("`{token}` is not a number"))
    }

    /// A string inside a table: bare up to a delimiter, or quoted.
    fn table_text(&mut self) -> Result<Vec<u8>, String> {
        self.takes("");
        if self.rest.starts_with('"') { self.quoted() } else { Ok(self.token()?.as_bytes().to_vec()) }
    }

    fn open(&mut self, delimiter: char) -> Result<(), String> {
        match self.rest.strip_prefix(delimiter) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(format!("`{delimiter}` was expected before `{}`", self.rest)),
        }
    }

    fn separator(&mut self, is_first: bool) -> Result<(), String> {
        if is_first || self.takes(",") {
            Ok(())
        } else {
            Err(format!("`,` was expected before `{}`", self.rest))
        }
    }
}

/// The byte that an escape stands for, the backslash already taken.
fn escape(chars: &mut std::str::CharIndices<'_>) -> Result<u8, String> {
    let mut next = || chars.next().map(|(_, c)| c).ok_or("a string without an end".to_owned());
    match next()? {
        'n' => Ok(b'\n'),
        'r' => Ok(b'\r'),
        't' => Ok(b'\t'),
        '0' => Ok(0),
        '"' => Ok(b'"'),
        '\\' => Ok(b'\\'),
        'x' => {
            let digits: String = [next()?, next()?].iter().collect();
            u8::from_str_radix(&digits, 16).map_err(|_| format!("`\\x{digits}` is not a byte"))
        }
        other => Err(format!("`\\{other}` is no escape")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_read_back() {
        let tables = [
            "{}",
            "{x-max-length:int32:5}",
            "{a:bool:true,b:void,c:double:1.5,d:decimal:2/314,e:timestamp:17,f:bytes:\"\\x00\\xff\"}",
            "{time:timestamp:*,list:array:[str:*]}",
            "{a:array:[int8:-1,str:\"two words\",table:{k:str:v}],\"odd key\":uint64:18446744073709551615}",
        ];
        for table in tables {
            let value = Scanner::new(table).field_value(Kind::Table).unwrap();
            assert_eq!(value.to_string(), table);
        }
    }

    #[test]
    fn strings() {
        let cases: [(&str, &[u8]); 6] = [
            ("bare.*.word next", b"bare.*.word"),
            ("\"it's quoted\" next", b"it's quoted"),
            (r#""\"\\\n\xff""#, b"\"\\\n\xff"),
            ("\"ab\"*3", b"ababab"),
            ("\"é\"", "é".as_bytes()),
            (" next", b""),
        ];
        for (text, bytes) in cases {
            let mut scanner = Scanner { rest: text };
            assert_eq!(scanner.text().unwrap(), bytes, "{text}");
        }
        for text in ["\"open", r#""\q""#, r#""\x0""#, "\"a\"*x"] {
            assert!(Scanner::new(text).text().is_err(), "{text}");
        }
    }

    #[test]
    fn patterns() {
        let variable = |name: &str, glob: Option<&str>| Pattern::Variable {
            name: name.to_owned(),
            glob: glob.map(|glob| glob.as_bytes().to_vec()),
        };
        let cases = [
            ("*", Pattern::Any),
            ("* next", Pattern::Any),
            ("*.a", Pattern::Exactly(Value::Text(b"*.a".to_vec()))),
            ("$q", variable("q", None)),
            ("$q~amq.gen-*", variable("q", Some("amq.gen-*"))),
            ("~amq.gen-*", variable("", Some("amq.gen-*"))),
        ];
        for (text, pattern) in cases {
            assert_eq!(Scanner::new(text).pattern(Kind::ShortStr), Ok(pattern), "{text}");
        }
        assert!(Scanner::new("yes").pattern(Kind::Bit).is_err());
        assert!(Scanner::new("{a:int32}").pattern(Kind::Table).is_err());
        assert!(Scanner::new("{a:int33:1}").pattern(Kind::Table).is_err());
    }
}
