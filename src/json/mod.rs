//! JSON objects as two readers must read them alike: every member once, at every depth, nothing after the
//! end, and bounded before anything is built of it. `borrowed` reads the same without copying.

mod borrowed;

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

pub(crate) use borrowed::{Json, Object};

/// The JSON object in `bytes`; `None` if it is none, names a member twice, is deeper than
/// [`MAX_DEPTH`], or has more than [`MAX_MEMBERS`] members and elements.
pub(crate) fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    let members = Cell::new(0);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict(Bounds::new(&members)).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// How deep a reader is, and how much it has read.
#[derive(Clone, Copy)]
struct Bounds<'c> {
    depth: usize,
    members: &'c Cell<usize>,
}

impl<'c> Bounds<'c> {
    const fn new(members: &'c Cell<usize>) -> Self {
        Self { depth: 1, members }
    }

    fn inner<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom("too deep"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn count<E: de::Error>(self) -> Result<(), E> {
        self.members.set(self.members.get() + 1);
        if self.members.get() > MAX_MEMBERS { Err(E::custom("too many members")) } else { Ok(()) }
    }
}

#[derive(Clone, Copy)]
struct Strict<'c>(Bounds<'c>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let inner = Self(self.0.inner()?);
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(inner)? {
            self.0.count()?;
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = Self(self.0.inner()?);
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            self.0.count()?;
            if object.contains_key(&name) {
                return Err(de::Error::custom("a member twice"));
            }
            object.insert(name, members.next_value_seed(inner)?);
        }
        Ok(Value::Object(object))
    }
}

/// More levels than any issuer uses, few enough for every stack.
const MAX_DEPTH: usize = 32;
/// More than fit into a token that somebody meant.
const MAX_MEMBERS: usize = 2048;

#[cfg(test)]
mod tests {
    use super::object;

    #[test]
    fn j39_only_one_whole_json_object_is_read() {
        for bad in [
            &b"[]"[..],
            b"\"a\"",
            b"null",
            b"1",
            b"",
            b" ",
            b"{",
            b"{\"a\":1",
            b"{}x",
            b"{}{}",
            b"\xEF\xBB\xBF{}",
            b"{\"a\":\"\xFF\"}",
            b"{\"a\":\"\0\"}",
            b"{\"a\":NaN}",
            b"{\"a\":1e999}",
            b"{\"a\":-1e999}",
            b"{\"a\":\"\\ud800\"}",
            b"{a:1}",
            b"{'a':1}",
            b"{\"a\":1,}",
            b"{\0\"\0a\0\"\0:\x001\0}\0",
        ] {
            assert!(object(bad).is_none(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert_eq!(object(br#" {"a":[1,{"b":null}]} "#).unwrap().len(), 1);
    }

    #[test]
    fn j37_a_member_twice_is_refused_at_every_depth() {
        assert!(object(br#"{"a":1,"a":1}"#).is_none());
        assert!(object(br#"{"a":1,"\u0061":2}"#).is_none());
        assert!(object(br#"{"b":[{"a":1,"a":2}]}"#).is_none());
    }

    #[test]
    fn j40_thousands_of_levels_end_early_closed_or_not() {
        let nested =
            |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(object(nested(30).as_bytes()).is_some());
        assert!(object(nested(32).as_bytes()).is_none());
        assert!(object(nested(3_000).as_bytes()).is_none());
        assert!(object(format!("{{\"a\":{}", "[".repeat(3_000)).as_bytes()).is_none());
        assert!(object("{\"a\":".repeat(3_000).as_bytes()).is_none());
    }

    #[test]
    fn j40_too_many_members_are_refused() {
        let many = |count: usize| {
            let members: Vec<String> = (0..count).map(|at| format!("\"a{at}\":1")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(object(many(300).as_bytes()).is_some());
        assert!(object(many(2_049).as_bytes()).is_none());
    }
}
