//! Finds the most specific pattern for a path: a tree whose steps are segments.
//!
//! At each segment a literal comes before a parameter and a parameter before the rest; where a more specific pattern
//! does not fit to its end, or not with the method, the next one is tried. No pattern is deeper than
//! [`crate::config::MOST_SEGMENTS`], so a longer path costs no more than reading it.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use http::Method;

use crate::config::{PathPattern, Segment};

/// Patterns, each with the number of its route.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    folds: bool,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<[u8]>, usize, RandomState>,
    /// 0: none, since nothing leads back to the root.
    param: usize,
    here: Leaf,
    rest: Leaf,
}

/// The routes that end at one place.
#[derive(Debug, Default)]
struct Leaf {
    methods: Vec<(Method, Found)>,
    any: Option<Found>,
}

/// What was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// This route.
    Route(usize),
    /// Several that only case tells apart, so that whoever wrote them knows.
    ByCase,
}

impl Trie {
    /// No patterns. `folds`: literals and paths are compared without case.
    pub(super) fn new(folds: bool) -> Self {
        Self { nodes: vec![Node::default()], folds }
    }

    /// Adds a pattern for these methods (none: for every one).
    pub(super) fn insert(&mut self, pattern: &PathPattern, methods: &[Method], route: usize) {
        let (mut at, mut is_rest) = (0, false);
        for segment in &pattern.segments {
            let next = self.nodes.len();
            at = match segment {
                Segment::Literal(bytes) => {
                    let mut bytes = bytes.clone();
                    if self.folds {
                        bytes.make_ascii_lowercase();
                    }
                    *self.nodes[at].literals.entry(bytes.into()).or_insert(next)
                }
                Segment::Param(_) if self.nodes[at].param == 0 => {
                    self.nodes[at].param = next;
                    next
                }
                Segment::Param(_) => self.nodes[at].param,
                Segment::Rest(_) => {
                    is_rest = true;
                    break;
                }
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        let node = &mut self.nodes[at];
        let leaf = if is_rest { &mut node.rest } else { &mut node.here };
        leaf.add(methods, route);
    }

    /// The most specific route for a path, which begins with a slash, and a method. One slash at the end makes no
    /// difference. Allocates nothing.
    pub(super) fn find(&self, path: &[u8], method: &Method) -> Option<Found> {
        let path = path.strip_prefix(b"/")?;
        let path = path.strip_suffix(b"/").unwrap_or(path);
        self.descend(0, (!path.is_empty()).then_some(path), method)
    }

    fn descend(&self, at: usize, path: Option<&[u8]>, method: &Method) -> Option<Found> {
        let node = self.nodes.get(at)?;
        let Some(path) = path else {
            return node.here.pick(method).or_else(|| node.rest.pick(method));
        };
        let (segment, rest) = match memchr::memchr(b'/', path) {
            Some(end) => (path.get(..end).unwrap_or_default(), path.get(end + 1..)),
            None => (path, None),
        };
        if let Some(child) = node.literals.get(segment)
            && let Some(found) = self.descend(*child, rest, method)
        {
            return Some(found);
        }
        if node.param != 0
            && !segment.is_empty()
            && let Some(found) = self.descend(node.param, rest, method)
        {
            return Some(found);
        }
        node.rest.pick(method)
    }
}

impl Leaf {
    fn add(&mut self, methods: &[Method], route: usize) {
        let found = Found::Route(route);
        if methods.is_empty() {
            self.any = Some(self.any.map_or(found, |_| Found::ByCase));
        }
        for method in methods {
            match self.methods.iter_mut().find(|(known, _)| known == method) {
                Some((_, known)) => *known = Found::ByCase,
                None => self.methods.push((method.clone(), found)),
            }
        }
    }

    /// HEAD is GET without the content (RFC 9110 §9.3.2), unless somebody spoke of it.
    fn pick(&self, method: &Method) -> Option<Found> {
        let of = |method: &Method| self.methods.iter().find(|(known, _)| known == method);
        let named = match of(method) {
            None if *method == Method::HEAD => of(&Method::GET),
            named => named,
        };
        named.map(|(_, found)| *found).or(self.any)
    }
}
