//! Lays the sources over one another: figment merges, later wins.
//!
//! figment guesses types, forgets positions and replaces lists whole, so it is given none of these: in the tree that it
//! merges a list is a table whose keys are numbers, and each leaf is the number of a [`Node`] kept here.

use std::collections::HashMap;

use figment::value::{Dict, Map, Num, Tag, Value as Merged};
use figment::{Figment, Metadata, Profile, Provider};

use super::node::{Node, Place, Value, join};
use super::report::Report;

/// One source of settings.
pub(super) struct Layer {
    name: &'static str,
    leaves: Vec<(Vec<String>, Node)>,
    tables: Vec<(Vec<String>, Header)>,
}

/// What figment does not keep of a table or list.
#[derive(Clone, Copy)]
struct Header {
    key: Place,
    place: Place,
    is_list: bool,
}

impl Layer {
    /// An empty one.
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, leaves: Vec::new(), tables: Vec::new() }
    }

    /// Adds a value; a list among them replaces a whole list below.
    pub(super) fn leaf(&mut self, path: Vec<String>, node: Node) {
        self.leaves.push((path, node));
    }

    /// Adds a table, or a list whose entries are merged one by one.
    pub(super) fn table(&mut self, path: Vec<String>, key: Place, place: Place, is_list: bool) {
        self.tables.push((path, Header { key, place, is_list }));
    }
}

/// The layer as figment takes it.
struct Numbered {
    name: &'static str,
    dict: Dict,
}

impl Provider for Numbered {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

/// The settings of all layers as one tree; later layers win.
pub(super) fn merge(layers: Vec<Layer>, report: &mut Report) -> Node {
    let mut leaves = Vec::new();
    let mut headers = HashMap::new();
    let mut figment = Figment::new();
    for layer in layers {
        let mut dict = Dict::new();
        for (path, header) in layer.tables {
            insert(&mut dict, &path, None);
            headers.entry(path).or_insert(header);
        }
        for (path, node) in layer.leaves {
            insert(&mut dict, &path, Some(leaves.len()));
            leaves.push(Some(node));
        }
        figment = figment.merge(Numbered { name: layer.name, dict });
    }
    // A provider of ours cannot fail, and a merge of data neither.
    let merged = figment.data().unwrap_or_default().remove(&Profile::Default).unwrap_or_default();
    let mut rebuild = Rebuild { leaves, headers, report };
    let value = rebuild.table(&mut Vec::new(), merged);
    Node { key: Place::End, place: Place::End, path: String::new(), value }
}

/// Puts a leaf's number, or an empty table, where `path` says.
fn insert(dict: &mut Dict, path: &[String], leaf: Option<usize>) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        let value = match leaf {
            Some(number) => Merged::Num(Tag::Default, Num::USize(number)),
            None => Merged::Dict(Tag::Default, Dict::new()),
        };
        dict.insert(first.clone(), value);
        return;
    }
    let below =
        dict.entry(first.clone()).or_insert_with(|| Merged::Dict(Tag::Default, Dict::new()));
    if let Merged::Dict(_, below) = below {
        insert(below, rest, leaf);
    }
}

struct Rebuild<'r> {
    leaves: Vec<Option<Node>>,
    headers: HashMap<Vec<String>, Header>,
    report: &'r mut Report,
}

impl Rebuild<'_> {
    fn table(&mut self, path: &mut Vec<String>, dict: Dict) -> Value {
        let mut entries: Vec<(String, Node)> = Vec::new();
        for (name, merged) in dict {
            path.push(name.clone());
            if let Some(node) = self.node(path, merged) {
                entries.push((name, node));
            }
            path.pop();
        }
        entries.sort_by_key(|(_, node)| order(node.key));
        Value::Table(entries)
    }

    fn node(&mut self, path: &mut Vec<String>, merged: Merged) -> Option<Node> {
        match merged {
            Merged::Num(_, Num::USize(number)) => {
                let node = self.leaves.get_mut(number)?.take()?;
                let path = path.iter().fold(String::new(), |path, part| join(&path, part));
                Some(placed(node, path))
            }
            Merged::Dict(_, dict) => {
                let header = self.headers.get(path).copied();
                let value = match self.table(path, dict) {
                    Value::Table(entries) if header.is_some_and(|header| header.is_list) => {
                        Value::List(self.list(entries))
                    }
                    table => table,
                };
                let first = match &value {
                    Value::List(items) => items.first().map(|item| item.place),
                    Value::Table(entries) => entries.first().map(|(_, item)| item.place),
                    _ => None,
                };
                let key = header.map(|header| header.key).or(first).unwrap_or(Place::Default);
                let place = header.map(|header| header.place).or(first).unwrap_or(Place::Default);
                let path = path.iter().fold(String::new(), |path, part| join(&path, part));
                Some(Node { key, place, path, value })
            }
            _ => None,
        }
    }

    /// The entries of a list by their numbers. One may be added at the end, so a gap is a slip.
    fn list(&mut self, entries: Vec<(String, Node)>) -> Vec<Node> {
        let number = |name: &str| name.parse::<usize>().unwrap_or(usize::MAX);
        let mut entries: Vec<(usize, Node)> =
            entries.into_iter().map(|(name, node)| (number(&name), node)).collect();
        entries.sort_by_key(|(number, _)| *number);
        let mut items = Vec::with_capacity(entries.len());
        for (number, node) in entries {
            if number == items.len() {
                items.push(node);
            } else {
                let list = node.name().to_owned();
                let there = items.len();
                self.report.error(
                    node.place,
                    format!("`{list}` has {there} entries before this one, which says it is number {number}"),
                    format!("count from 0 without a gap: the next number is {there}"),
                );
            }
        }
        items
    }
}

/// The node with its path, and with those of its entries.
fn placed(node: Node, path: String) -> Node {
    let Node { key, place, value, .. } = node;
    let mut named = Node::default(path, value);
    (named.key, named.place) = (key, place);
    named
}

const fn order(place: Place) -> (u8, usize) {
    match place {
        Place::File { start, .. } => (0, start),
        Place::End => (1, 0),
        Place::Given(number) => (2, number),
        Place::Default => (3, 0),
    }
}
