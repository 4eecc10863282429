//! What a configuration may look like: the one set of declarations from which come the reader, the lists of known
//! keys and variables, what of a source line may be shown, and the JSON Schema.
//!
//! Invariant: a key is declared once, by [`section!`], and so is read, known, and in the schema; or it is none of these.
//! A declared key that nobody uses is an unused field, which the compiler reports.

use serde_json::{Map, Value as Json, json};

use super::fault::{nearest, one_of};
use super::node::{Node, Place, Value, join};
use super::report::Report;

/// A value and where it was written.
#[derive(Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A type that a key can have.
pub(super) trait Read: Sized {
    /// What it looks like.
    fn shape() -> Shape;

    /// The value; `None` after the fault was reported.
    fn read(node: &Node, report: &mut Report) -> Option<Self>;
}

/// What may stand somewhere.
pub(super) enum Shape {
    /// One value, by its JSON Schema; a secret one is never shown.
    Value { schema: Json, secret: bool },
    /// Known keys and no others.
    Table(Table),
    /// Any number of the same; `or_one`: or just one, without brackets.
    List { of: Box<Self>, or_one: bool },
    /// Keys that the user chooses.
    Map(Box<Self>),
    /// Anything at all.
    Any,
}

/// A section.
pub(super) struct Table {
    pub(super) about: String,
    pub(super) keys: Vec<Key>,
}

/// A key of a section.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) about: String,
    pub(super) default: Option<Value>,
    pub(super) shape: Shape,
}

/// Declares sections: `key: Type` or `key: Type = default;`, each with its documentation.
macro_rules! section {
    ($(
        $(#[doc = $about:literal])+
        $name:ident {
            $( $(#[doc = $doc:literal])+ $key:ident : $kind:ty $(= $default:expr)? ; )+
        }
    )+) => { $(
        $(#[doc = $about])+
        #[derive(Clone)]
        pub(super) struct $name {
            /// Where the section begins.
            #[allow(dead_code)] // not every section is judged as a whole
            pub(super) place: $crate::config::node::Place,
            /// Which keys were written, well or badly.
            #[allow(dead_code)] // not every section has a required key
            pub(super) given: $crate::config::shape::Given,
            $( $(#[doc = $doc])+ pub(super) $key: Option<$crate::config::shape::At<$kind>>, )+
        }

        impl $crate::config::shape::Read for $name {
            fn shape() -> $crate::config::shape::Shape {
                use $crate::config::shape::{Key, Shape, Table, prose};
                Shape::Table(Table {
                    about: prose(&[$($about),+]),
                    keys: vec![ $( Key {
                        name: $crate::config::shape::plain(stringify!($key)),
                        about: prose(&[$($doc),+]),
                        default: section!(@default $($default)?),
                        shape: <$kind as $crate::config::shape::Read>::shape(),
                    } ),+ ],
                })
            }

            fn read(
                node: &$crate::config::node::Node,
                report: &mut $crate::config::report::Report,
            ) -> Option<Self> {
                let entries = $crate::config::shape::table(node, &[$($crate::config::shape::plain(stringify!($key))),+], report)?;
                Some(Self {
                    place: node.place,
                    given: $crate::config::shape::given(entries, &[$($crate::config::shape::plain(stringify!($key))),+]),
                    $( $key: $crate::config::shape::field(
                        node,
                        entries,
                        $crate::config::shape::plain(stringify!($key)),
                        section!(@default $($default)?),
                        report,
                    ), )+
                })
            }
        }
    )+ };
    (@default) => { None };
    (@default $default:expr) => { Some($crate::config::node::Value::from($default)) };
}
pub(super) use section;

/// The name of a key that is a word of Rust's.
pub(super) fn plain(name: &'static str) -> &'static str {
    name.strip_prefix("r#").unwrap_or(name)
}

/// The keys that somebody wrote into a section, misspelt ones by what they were meant to be: for telling a key that is
/// missing from one whose fault was reported already.
#[derive(Clone, Default)]
pub(super) struct Given(Vec<String>);

impl Given {
    /// Whether this key was written.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|given| given == name)
    }
}

/// The keys that stand in a section.
pub(super) fn given(entries: &[(String, Node)], known: &[&'static str]) -> Given {
    let meant = |(name, _): &(String, Node)| {
        if known.contains(&name.as_str()) {
            return name.clone();
        }
        nearest(name, known.iter().copied()).unwrap_or(name).to_owned()
    };
    Given(entries.iter().map(meant).collect())
}

/// The text of a documentation comment.
pub(super) fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// The entries of a section; unknown ones are faults.
pub(super) fn table<'n>(
    node: &'n Node,
    known: &[&'static str],
    report: &mut Report,
) -> Option<&'n [(String, Node)]> {
    let Value::Table(entries) = &node.value else {
        report.wrong_type(node, "a table");
        return None;
    };
    for (name, entry) in entries.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        let reason = format!("unknown key `{name}` {}", within(&node.path));
        report.error(entry.key, reason, advice(name, &node.path, known));
    }
    Some(entries)
}

/// The value of one key of a section, or its default.
pub(super) fn field<T: Read>(
    node: &Node,
    entries: &[(String, Node)],
    name: &str,
    default: Option<Value>,
    report: &mut Report,
) -> Option<At<T>> {
    let entry = entries.iter().find(|(given, _)| given == name);
    match (entry, default) {
        (Some((_, entry)), _) => read_at(entry, report),
        (None, Some(default)) => {
            let mut default = Node::default(join(&node.path, name), default);
            default.place = Place::Default;
            read_at(&default, report)
        }
        (None, None) => None,
    }
}

/// A value with its place.
pub(super) fn read_at<T: Read>(node: &Node, report: &mut Report) -> Option<At<T>> {
    T::read(node, report).map(|value| At { value, place: node.place })
}

/// `in [server]`, `in [[clients]]`, `at the top level`.
pub(super) fn within(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').filter(|part| part.parse::<usize>().is_err()).collect();
    let first_is_list = path.split('.').nth(1).is_some_and(|part| part.parse::<usize>().is_ok());
    match parts.join(".") {
        top if top.is_empty() => "at the top level".to_owned(),
        list if first_is_list && parts.len() == 1 => format!("in [[{list}]]"),
        table => format!("in [{table}]"),
    }
}

/// What an unknown key was probably meant to be.
fn advice(name: &str, path: &str, known: &[&str]) -> String {
    let simple = name.to_lowercase().replace('-', "_");
    if let Some(nearest) = nearest(&simple, known.iter().copied()) {
        return format!("did you mean `{nearest}`?");
    }
    let homes = super::schema::root().homes(&simple, "");
    if !homes.is_empty() {
        let homes: Vec<String> = homes.iter().map(|home| within(home)).collect();
        return format!("`{simple}` belongs {}", homes.join(" or "));
    }
    format!("known {}: {}", within(path), one_of(known.iter().copied()).replace(" or ", ", "))
}

impl Shape {
    /// A value that may be shown.
    pub(super) const fn value(schema: Json) -> Self {
        Self::Value { schema, secret: false }
    }

    /// Its keys, if it has known ones.
    pub(super) const fn table(&self) -> Option<&Table> {
        match self {
            Self::Table(table) => Some(table),
            Self::Value { .. } | Self::List { .. } | Self::Map(_) | Self::Any => None,
        }
    }

    /// What stands under `name`, a key or the number of an entry.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Table(table) => {
                table.keys.iter().find(|key| key.name == name).map(|key| &key.shape)
            }
            Self::List { of, .. } if name.parse::<usize>().is_ok() => Some(of),
            // one table without brackets
            Self::List { of, or_one: true } if of.table().is_some() => of.child(name),
            Self::List { .. } => None,
            Self::Map(of) => Some(of),
            Self::Any => Some(self),
            Self::Value { .. } => None,
        }
    }

    /// The paths of every section that has a key of this name.
    fn homes(&self, name: &str, path: &str) -> Vec<String> {
        match self {
            Self::Table(table) => table
                .keys
                .iter()
                .flat_map(|key| {
                    let mut homes = key.shape.homes(name, &join(path, key.name));
                    if key.name == name {
                        homes.push(path.to_owned());
                    }
                    homes
                })
                .collect(),
            Self::List { of, or_one: true } => of.homes(name, path),
            Self::List { of, or_one: false } => of.homes(name, &join(path, "0")),
            Self::Value { .. } | Self::Map(_) | Self::Any => Vec::new(),
        }
    }

    /// The paths of everything that the environment can set; lists by their first entry, and whole.
    pub(super) fn paths(&self, path: &str) -> Vec<String> {
        match self {
            Self::Value { .. } | Self::Any => vec![path.to_owned()],
            Self::Table(table) => {
                table.keys.iter().flat_map(|key| key.shape.paths(&join(path, key.name))).collect()
            }
            Self::List { of, or_one: true } if of.table().is_some() => of.paths(path),
            Self::List { of, .. } => {
                let mut paths = of.paths(&join(path, "0"));
                if matches!(**of, Self::Value { .. }) {
                    paths.insert(0, path.to_owned());
                }
                paths
            }
            Self::Map(_) => vec![join(path, "name")],
        }
    }

    /// Its JSON Schema, without a description.
    pub(super) fn schema(&self) -> Json {
        match self {
            Self::Value { schema, .. } => schema.clone(),
            Self::Table(table) => table.schema(),
            Self::List { of, or_one: false } => json!({ "type": "array", "items": of.schema() }),
            Self::List { of, or_one: true } => {
                let one = of.schema();
                let many = json!({ "type": "array", "items": one, "minItems": 1 });
                json!({ "anyOf": [one, many] })
            }
            Self::Map(of) => json!({ "type": "object", "additionalProperties": of.schema() }),
            Self::Any => json!({ "type": "object" }),
        }
    }
}

impl Table {
    fn schema(&self) -> Json {
        let mut properties = Map::new();
        for key in &self.keys {
            let mut schema = key.shape.schema();
            if let Json::Object(schema) = &mut schema {
                schema.insert("description".to_owned(), key.about.clone().into());
                if let Some(default) = &key.default {
                    schema.insert("default".to_owned(), to_json(default));
                }
            }
            properties.insert(key.name.to_owned(), schema);
        }
        json!({
            "type": "object",
            "description": self.about,
            "properties": properties,
            "additionalProperties": false,
        })
    }
}

/// The same in JSON; dates become text, and numbers that JSON has not become null.
pub(super) fn to_json(value: &Value) -> Json {
    match value {
        Value::Text(text) => Json::from(text.as_str()),
        Value::Integer(number) => i64::try_from(*number).map_or(Json::Null, Json::from),
        Value::Float(number) => Json::from(*number),
        Value::Boolean(truth) => Json::from(*truth),
        Value::Datetime(date) => Json::from(date.as_str()),
        Value::List(items) => items.iter().map(|item| to_json(&item.value)).collect(),
        Value::Table(entries) => {
            let entry = |(name, item): &(String, Node)| (name.clone(), to_json(&item.value));
            Json::Object(entries.iter().map(entry).collect())
        }
    }
}
