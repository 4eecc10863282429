//! The fields of a message, in the order in which they came. A head has few, so a list is faster than a map of hashes:
//! to fill, to look through and to let go of.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Fields by name. A name may stand there more than once; the lines of one name keep their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    lines: Vec<(HeaderName, HeaderValue)>,
}

/// What a field can be looked for by.
pub trait FieldName {
    /// Whether it is `name`.
    fn is(&self, name: &HeaderName) -> bool;
}

impl FieldName for HeaderName {
    fn is(&self, name: &HeaderName) -> bool {
        self == name
    }
}

impl FieldName for &HeaderName {
    fn is(&self, name: &HeaderName) -> bool {
        *self == name
    }
}

/// In lower case, as every name is kept.
impl FieldName for &str {
    fn is(&self, name: &HeaderName) -> bool {
        name.as_str() == *self
    }
}

impl Fields {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { lines: Vec::new() }
    }

    /// None yet, with room for so many.
    #[must_use]
    pub fn with_capacity(room: usize) -> Self {
        Self { lines: Vec::with_capacity(room) }
    }

    /// How many lines there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no line.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The value of the first line of this name.
    #[must_use]
    pub fn get(&self, name: impl FieldName) -> Option<&HeaderValue> {
        self.lines.iter().find(|(known, _)| name.is(known)).map(|(_, value)| value)
    }

    /// The values of all lines of this name.
    pub fn get_all(&self, name: impl FieldName) -> impl Iterator<Item = &HeaderValue> {
        self.lines.iter().filter(move |(known, _)| name.is(known)).map(|(_, value)| value)
    }

    /// Whether there is a line of this name.
    #[must_use]
    pub fn contains_key(&self, name: impl FieldName) -> bool {
        self.get(name).is_some()
    }

    /// Every line.
    pub fn iter(&self) -> std::slice::Iter<'_, (HeaderName, HeaderValue)> {
        self.lines.iter()
    }

    /// The name of every line.
    pub fn keys(&self) -> impl Iterator<Item = &HeaderName> {
        self.lines.iter().map(|(name, _)| name)
    }

    /// Adds a line behind the others.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.lines.push((name, value));
    }

    /// Has this name stand there once, with this value: in the place of its first line, if there is one.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        let Some(at) = self.lines.iter().position(|(known, _)| *known == name) else {
            return self.append(name, value);
        };
        let mut kept = 0..;
        self.lines.retain(|(known, _)| {
            let is_first = kept.next() == Some(at);
            is_first || *known != name
        });
        if let Some((_, known)) = self.lines.get_mut(at) {
            *known = value;
        }
    }

    /// Takes every line of this name out, and yields the value of the first.
    pub fn remove(&mut self, name: impl FieldName) -> Option<HeaderValue> {
        let at = self.lines.iter().position(|(known, _)| name.is(known))?;
        let (_, first) = self.lines.remove(at);
        self.lines.retain(|(known, _)| !name.is(known));
        Some(first)
    }

    /// Keeps the lines whose name `keeps`.
    pub fn retain(&mut self, mut keeps: impl FnMut(&HeaderName) -> bool) {
        self.lines.retain(|(name, _)| keeps(name));
    }
}

/// For tests: there has to be a line of this name.
#[cfg(test)]
impl<N: FieldName> std::ops::Index<N> for Fields {
    type Output = HeaderValue;

    fn index(&self, name: N) -> &HeaderValue {
        self.get(name).expect("a field of this name")
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a (HeaderName, HeaderValue);
    type IntoIter = std::slice::Iter<'a, (HeaderName, HeaderValue)>;

    fn into_iter(self) -> Self::IntoIter {
        self.lines.iter()
    }
}

impl IntoIterator for Fields {
    type Item = (HeaderName, HeaderValue);
    type IntoIter = std::vec::IntoIter<(HeaderName, HeaderValue)>;

    fn into_iter(self) -> Self::IntoIter {
        self.lines.into_iter()
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Fields {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(lines: I) -> Self {
        Self { lines: lines.into_iter().collect() }
    }
}

impl Extend<(HeaderName, HeaderValue)> for Fields {
    fn extend<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(&mut self, lines: I) {
        self.lines.extend(lines);
    }
}

/// As libraries have them.
impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        let mut fields = Self::with_capacity(map.len());
        let mut last = None;
        for (name, value) in map {
            // a map tells a name once, and then only its further values
            last = name.or(last);
            if let Some(name) = &last {
                fields.append(name.clone(), value);
            }
        }
        fields
    }
}

/// As libraries want them. A map has room for some tens of thousands, a head for far fewer.
impl From<Fields> for HeaderMap {
    fn from(fields: Fields) -> Self {
        let mut map = Self::with_capacity(fields.len());
        for (name, value) in fields {
            map.append(name, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use http::header::{COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, VIA};

    use super::Fields;

    fn fields(lines: &[(&'static str, &'static str)]) -> Fields {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn lines_of_one_name_keep_their_order_among_others() {
        let fields = fields(&[("via", "a"), ("host", "h"), ("via", "b")]);
        assert_eq!(fields.get_all(VIA).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!([fields.get("via").unwrap(), fields.get(HOST).unwrap()], ["a", "h"]);
        assert_eq!(fields.get(COOKIE), None);
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["via", "host", "via"]);
    }

    #[test]
    fn what_is_inserted_stands_there_once() {
        let mut fields = fields(&[("host", "h"), ("via", "a"), ("x-a", "1"), ("via", "b")]);
        fields.insert(VIA, HeaderValue::from_static("c"));
        fields.insert(COOKIE, HeaderValue::from_static("d"));
        let lines: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let wanted = [("host", "h"), ("via", "c"), ("x-a", "1"), ("cookie", "d")];
        assert_eq!(lines.len(), wanted.len());
        assert!(
            lines
                .iter()
                .zip(wanted)
                .all(|(line, (name, value))| *line == (name, &HeaderValue::from_static(value)))
        );
    }

    #[test]
    fn what_is_removed_is_gone_on_every_line() {
        let mut fields = fields(&[("via", "a"), ("host", "h"), ("via", "b")]);
        assert_eq!(fields.remove("via").unwrap(), "a");
        assert_eq!((fields.remove(VIA), fields.len()), (None, 1));
    }

    #[test]
    fn nothing_is_lost_on_the_way_to_a_map_and_back() {
        let fields = fields(&[("via", "a"), ("host", "h"), ("via", "b")]);
        let map = HeaderMap::from(fields.clone());
        assert_eq!(map.get_all(VIA).iter().collect::<Vec<_>>(), ["a", "b"]);
        let back = Fields::from(map);
        assert_eq!(back.get_all(VIA).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(back.len(), fields.len());
    }
}
