//! Which parts of a source text must not be shown. What may be seen is named and everything else is hidden: a secret
//! under a misspelt key, in the wrong section or in a comment is a secret still.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::shape::Shape;

/// A part that must not be shown.
#[derive(Clone, Debug)]
pub(super) struct Hidden {
    /// Bytes of the text.
    pub(super) range: Range<usize>,
    /// Comments vanish, values are replaced.
    pub(super) is_comment: bool,
}

/// For a text that is TOML: visible are the keys, and the values of known keys that hold no secret.
pub(super) fn by_tree(
    root: &Spanned<DeTable<'_>>,
    shape: &Shape,
    text: &str,
    bom: usize,
) -> Vec<Hidden> {
    let mut marks = Marks { hidden: Vec::new(), spoken_for: Vec::new(), text, bom };
    marks.table(root.get_ref(), Some(shape));
    let Marks { mut hidden, mut spoken_for, .. } = marks;
    // What is left between keys and values is punctuation and comments.
    spoken_for.sort_by_key(|range| range.start);
    let mut from = 0;
    for range in spoken_for {
        hidden.extend(comments(text, from..range.start));
        from = from.max(range.end);
    }
    hidden.extend(comments(text, from..text.len()));
    hidden.sort_by_key(|hidden| hidden.range.start);
    hidden
}

/// For a text that may not be TOML: visible are section headers, known keys, and what follows such of them as hold
/// neither a secret nor a table; nothing of multi-line text.
pub(super) fn by_line(text: &str, shape: &Shape) -> Vec<Hidden> {
    let mut known = Vec::new();
    collect(shape, &mut known);
    let mut hidden = Vec::new();
    let mut closer: Option<&str> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let range = start..start + line.trim_end_matches(['\n', '\r']).len();
        start += line.len();
        if range.is_empty() {
            continue;
        }
        let content = &text[range.clone()];
        if let Some(end) = closer {
            if content.contains(end) {
                closer = None;
            }
            hidden.push(Hidden { range, is_comment: false });
            continue;
        }
        closer = opened(content);
        let visible = if closer.is_some() { 0 } else { visible_part(content, &known) };
        let shown = range.start..range.start + visible;
        hidden.extend(credentials(text, shown.clone()));
        if shown.end < range.end && !text[shown.end..range.end].trim().is_empty() {
            let is_comment = text[shown.end..range.end].trim_start().starts_with('#');
            hidden.push(Hidden { range: shown.end..range.end, is_comment });
        }
    }
    hidden
}

/// What may be shown before a password: anything else before an `@` can be part of it.
const SCHEMES: [&str; 6] = ["http://", "https://", "h2c://", "ftp://", "redis://", "rediss://"];

/// The `user:password@` of every address in a part of a text, whether or not a scheme stands before it.
pub(super) fn credentials(text: &str, part: Range<usize>) -> Vec<Hidden> {
    let mut hidden = Vec::new();
    let mut from = part.start;
    let delimiter = |letter: char| " \"'=,\t".contains(letter);
    while from < part.end {
        let rest = &text[from..part.end];
        let word = &rest[..rest.find(delimiter).unwrap_or(rest.len())];
        if let Some(at) = word.rfind('@') {
            let start = SCHEMES
                .iter()
                .find(|scheme| word.starts_with(**scheme))
                .map_or(0, |scheme| scheme.len());
            let start = start.min(at);
            hidden.push(Hidden { range: from + start..from + at, is_comment: false });
        }
        from += word.len() + rest[word.len()..].chars().next().map_or(0, char::len_utf8);
    }
    hidden.retain(|hidden| !hidden.range.is_empty());
    hidden
}

struct Marks<'t> {
    hidden: Vec<Hidden>,
    /// Keys and values: a `#` in them begins no comment.
    spoken_for: Vec<Range<usize>>,
    text: &'t str,
    bom: usize,
}

impl Marks<'_> {
    fn range(&self, span: &Range<usize>) -> Range<usize> {
        span.start + self.bom..span.end + self.bom
    }

    fn table(&mut self, table: &DeTable<'_>, shape: Option<&Shape>) {
        for (key, value) in table {
            let range = self.range(&key.span());
            self.spoken_for.push(range);
            let shape = match shape {
                Some(Shape::Value { .. }) | None => None,
                Some(shape) => shape.child(key.get_ref()),
            };
            self.value(value, shape);
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, shape: Option<&Shape>) {
        let range = self.range(&value.span());
        match (value.get_ref(), shape) {
            (DeValue::Table(table), _) => self.table(table, shape),
            (DeValue::Array(items), shape) => {
                let of = match shape {
                    Some(Shape::List { of, .. }) => Some(&**of),
                    Some(Shape::Value { secret: false, .. }) => shape,
                    _ => None,
                };
                items.iter().for_each(|item| self.value(item, of));
            }
            (_, Some(Shape::Value { secret: false, .. })) => self.show(range),
            (_, Some(Shape::List { of, .. })) if is_plain(of) => self.show(range),
            (_, _) => {
                self.spoken_for.push(range.clone());
                self.hidden.push(Hidden { range, is_comment: false });
            }
        }
    }

    fn show(&mut self, range: Range<usize>) {
        // A whole key where its file's name belongs is a common slip.
        if holds_key_material(&self.text[range.clone()]) {
            self.hidden.push(Hidden { range: range.clone(), is_comment: false });
        } else {
            self.hidden.extend(credentials(self.text, range.clone()));
        }
        self.spoken_for.push(range);
    }
}

/// Whether a text says of itself that it is a key.
pub(super) fn holds_key_material(text: &str) -> bool {
    let text = text.trim_start_matches(['"', '\'', ' ', '\n', '\r']);
    let starts =
        |prefix| text.get(..str::len(prefix)).is_some_and(|got| got.eq_ignore_ascii_case(prefix));
    ["base64:", "hex:", "sha256:", "$argon2"].into_iter().any(starts) || text.contains("-----BEGIN")
}

const fn is_plain(shape: &Shape) -> bool {
    matches!(shape, Shape::Value { secret: false, .. })
}

/// Comments in a part that holds neither keys nor values.
fn comments(text: &str, part: Range<usize>) -> Vec<Hidden> {
    let mut hidden = Vec::new();
    let mut from = part.start;
    while from < part.end {
        let Some(found) = text[from..part.end].find('#') else { break };
        let start = from + found;
        let end = text[start..part.end].find('\n').map_or(part.end, |at| start + at);
        hidden.push(Hidden { range: start..end, is_comment: true });
        from = end;
    }
    hidden
}

/// Every key, and whether its value is plain: may be shown and holds no further keys.
fn collect(shape: &Shape, found: &mut Vec<(&'static str, bool)>) {
    match shape {
        Shape::Table(table) => {
            for key in &table.keys {
                let plain = match &key.shape {
                    Shape::List { of, .. } => is_plain(of),
                    shape => is_plain(shape),
                };
                found.push((key.name, plain));
                collect(&key.shape, found);
            }
        }
        Shape::List { of, .. } => collect(of, found),
        Shape::Value { .. } | Shape::Map(_) | Shape::Any => {}
    }
}

/// How the multi-line text that a line opens, and does not close, will be closed.
fn opened(line: &str) -> Option<&'static str> {
    ["\"\"\"", "'''"].into_iter().find(|quotes| line.matches(quotes).count() % 2 == 1)
}

/// How many bytes of a line's beginning may be seen.
fn visible_part(line: &str, known: &[(&'static str, bool)]) -> usize {
    let content = line.trim_start();
    let indent = line.len() - content.len();
    if content.starts_with('[') {
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "[]._- ".contains(letter);
        // A header, if it is closed or begins with a known name; else it may be a list within a list.
        let header = content.find(|letter| !is_name(letter)).unwrap_or(content.len());
        return if is_header(&content[..header], known) { indent + header } else { 0 };
    }
    let is_key = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let key = content.find(|letter| !is_key(letter)).unwrap_or(content.len());
    let name = content[..key].rsplit('.').next().unwrap_or_default();
    let rest = &content[key..];
    let blank = rest.len() - rest.trim_start_matches([' ', '=']).len();
    let mut meanings = known.iter().filter(|(known, _)| *known == name).peekable();
    if meanings.peek().is_none() {
        return 0;
    }
    let value = &rest[blank..];
    // A second key on the line may be a secret one.
    let has_more = value.contains(['{', '='])
        || known.iter().any(|(name, plain)| !plain && value.to_lowercase().contains(name));
    if has_more || !meanings.all(|(_, plain)| *plain) || holds_key_material(value) {
        return indent + key + blank;
    }
    let end = rest.find('#').unwrap_or(rest.len());
    indent + key + rest[..end].trim_end().len()
}

fn is_header(text: &str, known: &[(&'static str, bool)]) -> bool {
    let name = text.trim_start_matches('[').split(['.', ']', ' ']).next().unwrap_or_default();
    text.trim_end().ends_with(']') || known.iter().any(|(known, _)| *known == name)
}
