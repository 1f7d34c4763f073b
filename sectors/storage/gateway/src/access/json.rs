//! JSON read strictly: a name given twice is an error instead of a silent choice between two meanings.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// A JSON value. Numbers keep their text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it prints.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object.
    Object(BTreeMap<String, Json>),
}

/// Reads at most `limit` bytes. Nesting is limited to 128 by the parser.
///
/// # Errors
/// What is wrong, with the place.
pub fn parse(text: &[u8], limit: usize) -> Result<Json, String> {
    if text.len() > limit {
        return Err(format!("it has {} bytes, and {limit} are allowed", text.len()));
    }
    serde_json::from_slice(text).map_err(|e| e.to_string())
}

impl Json {
    /// The text of a string.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
    /// A list as it is, anything else as a list of one.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            one => std::slice::from_ref(one),
        }
    }
    /// Text of strings, numbers and truth values.
    pub fn scalar(&self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text.clone()),
            Self::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }
    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.into()))
    }
    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items.next_element()? {
            out.push(item);
        }
        Ok(Json::List(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut out = BTreeMap::new();
        while let Some((name, value)) = members.next_entry::<String, Json>()? {
            if out.contains_key(&name) {
                return Err(A::Error::custom(format!("{name:?} is given twice")));
            }
            out.insert(name, value);
        }
        Ok(Json::Object(out))
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_given_twice_is_refused() {
        assert!(parse(br#"{"a":1,"a":1}"#, 100).unwrap_err().contains("twice"));
        assert!(parse(br#"{"a":{"b":1},"c":[{"b":1,"b":2}]}"#, 100).is_err());
    }

    #[test]
    fn limits_hold() {
        assert!(parse(b"[1]", 2).is_err());
        assert!(parse("[".repeat(300).as_bytes(), 1000).is_err());
    }

    #[test]
    fn values_keep_their_text() {
        let json = parse(br#"["x", 7, true, null]"#, 100).unwrap();
        let texts: Vec<_> = json.items().iter().map(Json::scalar).collect();
        assert_eq!(texts, [Some("x".into()), Some("7".into()), Some("true".into()), None]);
    }
}
