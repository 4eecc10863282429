//! A configuration as a tree in which every value knows where it was written. Text stays text: nothing guesses types.

use zeroize::Zeroizing;

/// Where something was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// From byte to byte of the file.
    File {
        /// The first byte.
        start: usize,
        /// One past the last.
        end: usize,
    },
    /// The end of the file: where something is missing.
    End,
    /// An environment variable or a flag, by its number in the `Source`.
    Given(usize),
    /// Nowhere: built in.
    Default,
}

/// One value.
#[derive(Clone)]
pub(super) struct Node {
    /// Where its key stands; for an entry of a list, the entry itself.
    pub(super) key: Place,
    /// Where it stands itself; of a table, its header.
    pub(super) place: Place,
    /// The names and numbers that lead to it, joined with dots.
    pub(super) path: String,
    pub(super) value: Value,
}

/// What a value can be.
#[derive(Clone)]
pub(super) enum Value {
    Text(Zeroizing<String>),
    /// Read as wide as needed to say what is wrong with it.
    Integer(i128),
    Float(f64),
    Boolean(bool),
    /// In the notation of RFC 3339, or a part of it.
    Datetime(String),
    List(Vec<Node>),
    /// In the order of the file.
    Table(Vec<(String, Node)>),
}

impl Node {
    /// The built-in value of a key.
    pub(super) fn default(path: String, value: Value) -> Self {
        let mut node = Self { key: Place::Default, place: Place::Default, path, value };
        node.name_children();
        node
    }

    fn name_children(&mut self) {
        match &mut self.value {
            Value::List(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    item.path = join(&self.path, &at.to_string());
                    item.name_children();
                }
            }
            Value::Table(entries) => {
                for (name, item) in entries {
                    item.path = join(&self.path, name);
                    item.name_children();
                }
            }
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {}
        }
    }

    /// The key it belongs to, without the number of a list entry.
    pub(super) fn name(&self) -> &str {
        let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
        self.path.rsplit('.').find(|part| !is_number(part)).unwrap_or(&self.path)
    }

    /// What it is, in the words of TOML.
    pub(super) const fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "text",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Datetime(_) => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// Whether it came from the environment or a flag, where everything is text.
    pub(super) const fn is_given(&self) -> bool {
        matches!(self.place, Place::Given(_))
    }
}

/// `parent.child`; the root has no name.
pub(super) fn join(parent: &str, child: &str) -> String {
    if parent.is_empty() { child.to_owned() } else { format!("{parent}.{child}") }
}

/// How the environment calls what `path` leads to.
pub(super) fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "__").to_uppercase())
}

/// With this begin all variables that are read.
pub(super) const PREFIX: &str = "TOLLGATE_";

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Zeroizing::new(text.to_owned()))
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

/// An empty table.
impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::Table(Vec::new())
    }
}

/// A list of texts.
impl<const N: usize> From<[&str; N]> for Value {
    fn from(items: [&str; N]) -> Self {
        let node = |item: &&str| Node::default(String::new(), Self::from(*item));
        Self::List(items.iter().map(node).collect())
    }
}

/// A table of texts.
impl<const N: usize> From<[(&str, &str); N]> for Value {
    fn from(entries: [(&str, &str); N]) -> Self {
        let node = |(name, value): &(&str, &str)| {
            ((*name).to_owned(), Node::default(String::new(), Self::from(*value)))
        };
        Self::Table(entries.iter().map(node).collect())
    }
}
