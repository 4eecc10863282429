//! The same reading as [`super::object`], and as strict, without a copy: names and texts point into what was read
//! unless they were escaped there. For tokens, which are read once and mostly thrown away.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::Bounds;

/// An object whose members are all different, in the order in which they came.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

/// Any JSON value.
#[derive(Debug, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Self>),
    Object(Object<'a>),
}

impl<'a> Object<'a> {
    /// The object in `bytes`; `None` exactly where [`super::object`] says so.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let members = Cell::new(0);
        // outside of strings everything is ASCII, so nothing is refused here that would not be refused later
        let text = std::str::from_utf8(bytes).ok()?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let value = Strict(Bounds::new(&members)).deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        match value {
            Json::Object(object) => Some(object),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_) => None,
        }
    }

    /// A view of an object that was read before.
    pub(crate) fn of(map: &'a Map<String, Value>) -> Self {
        Self(map.iter().map(|(name, value)| (name.as_str().into(), Json::of(value))).collect())
    }

    /// The member called `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Every member.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Json<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// A copy that stands for itself.
    pub(crate) fn to_map(&self) -> Map<String, Value> {
        self.iter().map(|(name, value)| (name.to_owned(), value.to_value())).collect()
    }

    fn has_twins(&self) -> bool {
        let members = &self.0;
        if members.len() <= FEW {
            let names = members.iter().enumerate();
            return names.into_iter().any(|(at, (name, _))| {
                members.iter().take(at).any(|(earlier, _)| earlier == name)
            });
        }
        let mut names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }
}

impl<'a> Json<'a> {
    fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::Text(text.as_str().into()),
            Value::Array(elements) => Self::List(elements.iter().map(Self::of).collect()),
            Value::Object(members) => Self::Object(Object::of(members)),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.clone().into_owned()),
            Self::List(elements) => Value::Array(elements.iter().map(Self::to_value).collect()),
            Self::Object(object) => Value::Object(object.to_map()),
        }
    }

    /// The text, if it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Object(_) => None,
        }
    }
}

#[derive(Clone, Copy)]
struct Strict<'c>(Bounds<'c>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Json<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json<'de>, E> {
        Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json<'de>, A::Error> {
        let inner = Self(self.0.inner()?);
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(inner)? {
            self.0.count()?;
            list.push(element);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        let inner = Self(self.0.inner()?);
        let mut object = Object(Vec::with_capacity(if self.0.depth == 1 { FEW } else { 0 }));
        while let Some(name) = members.next_key_seed(Name)? {
            self.0.count()?;
            object.0.push((name, members.next_value_seed(inner)?));
        }
        if object.has_twins() {
            return Err(de::Error::custom("a member twice"));
        }
        Ok(Json::Object(object))
    }
}

/// Reads the name of a member.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// So many names are compared each with each; more are sorted first.
const FEW: usize = 16;

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::super::object;
    use super::{Json, Object};

    /// Both readers of the same bytes.
    fn agree(bytes: &[u8]) -> bool {
        let (ours, theirs) = (Object::read(bytes), object(bytes));
        let copied = ours.as_ref().map(Object::to_map);
        assert_eq!(copied, theirs, "{:?}", String::from_utf8_lossy(bytes));
        if let (Some(ours), Some(theirs)) = (&ours, &theirs) {
            assert!(theirs.iter().all(|(name, value)| ours.get(name).map(Json::to_value).as_ref() == Some(value)));
        }
        ours.is_some()
    }

    #[test]
    fn j37_a_member_twice_is_refused_among_few_and_among_many() {
        for count in [2, 16, 17, 18, 300] {
            let named = |last: usize| {
                let names = (0..count - 1).chain([last]).map(|at| format!("\"a{at}\":{at}"));
                format!("{{{}}}", names.collect::<Vec<_>>().join(","))
            };
            assert!(agree(named(count - 1).as_bytes()), "{count}");
            for twin in [0, (count - 1) / 2, count - 2] {
                assert!(!agree(named(twin).as_bytes()), "{count} {twin}");
            }
        }
        assert!(!agree(br#"{"a":1,"\u0061":2}"#));
        assert!(!agree(br#"{"b":[{"a":1,"\u0061":2}]}"#));
    }

    #[test]
    fn what_is_not_escaped_is_not_copied() {
        let read = Object::read(br#"{"plain":"text","esc\u0061ped":"a\"b"}"#).unwrap();
        assert!(matches!(read.get("plain"), Some(Json::Text(Cow::Borrowed("text")))));
        assert_eq!(read.get("escaped").and_then(Json::as_text), Some("a\"b"));
    }

    #[test]
    fn hostile_json_is_read_as_the_other_reader_reads_it() {
        let deep =
            |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        for text in [
            deep(30),
            deep(31),
            deep(32),
            deep(3_000),
            "{\"a\":".repeat(3_000),
            format!("{{\"a\":{}", "[".repeat(3_000)),
            format!("{{\"a\":[{}1]}}", "1,".repeat(2_046)),
            format!("{{\"a\":[{}1]}}", "1,".repeat(2_047)),
            r#"{"a":1e308,"b":-0,"c":-0.0,"d":18446744073709551615,"e":18446744073709551616}"#
                .into(),
            r#"{"a":1e999}"#.into(),
            r#"{"a":-9223372036854775808,"b":-9223372036854775809,"c":0.1e-400}"#.into(),
            r#"{"a":"\ud800"}"#.into(),
            r#"{"a":"\ud83d\ude00","\ud83d\ude00":"\u0000"}"#.into(),
            r#"{"a":"\u00"}"#.into(),
            "{\"a\":\"\u{0}\"}".into(),
            "{\"a\":\"\u{7f}\"}".into(),
            "\u{feff}{}".into(),
            "{}\u{a0}".into(),
            " {\"a\" : [ ] }\r\n\t".into(),
            "{}x".into(),
            "[]".into(),
            r#"{"a":01}"#.into(),
            r#"{"a":+1}"#.into(),
            r#"{"a":1.}"#.into(),
            r#"{"a":.5}"#.into(),
            r#"{"a":tru}"#.into(),
            r#"{"a":nulll}"#.into(),
            r#"{1:2}"#.into(),
            r#"{"a":{"b":{"c":[null,true,false,{"d":[]}]}}}"#.into(),
        ] {
            agree(text.as_bytes());
        }
        for bytes in
            [&b"{\"a\":\"\xFF\"}"[..], b"{\"\xC0\x80\":1}", b"{\"a\":\"\xED\xA0\x80\"}", b"\xFF"]
        {
            assert!(!agree(bytes));
        }
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            "-?[0-9]{1,22}",
            "-?[0-9]{1,3}(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
            "\"[a-c]{0,2}\"",
            "\"(\\\\[ntu\"/\\\\]|\\\\u[0-9a-fA-F]{4}|[a-z\u{80}-\u{2ff}]){0,4}\"",
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            let member = ("[a-e]{1,1}|\\\\u006[1-5]", inner.clone());
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(|list| format!("[{}]", list.join(","))),
                prop::collection::vec(member, 0..6).prop_map(|members| {
                    let members = members.iter().map(|(name, value)| format!("\"{name}\":{value}"));
                    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn both_readers_read_the_same_of_any_json(text in any_json()) {
            agree(text.as_bytes());
            agree(format!("{{\"z\":{text}}}").as_bytes());
        }

        #[test]
        fn both_readers_read_the_same_of_json_that_was_damaged(text in any_json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = format!("{{\"z\":{text},\"y\":1}}").into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            agree(&bytes);
            bytes.truncate(at);
            agree(&bytes);
        }
    }
}
