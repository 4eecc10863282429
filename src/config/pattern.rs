//! Which requests a route is for: patterns of hosts and of paths, parsed. How they are matched is not told here.

use std::fmt;

/// `/literal`, `/{name}` for one segment, `/{*name}` at the end for the rest, which may be empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathPattern {
    text: String,
    /// In order; [`Segment::Rest`] only at the end.
    pub segments: Vec<Segment>,
}

/// One part of a path pattern.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Segment {
    /// Exactly this, percent-decoded.
    Literal(Vec<u8>),
    /// Any one segment that is not empty, under this name.
    Param(String),
    /// Whatever is left, under this name.
    Rest(String),
}

/// `api.example.com`, or `*.example.com` for every name below it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HostPattern {
    /// Lower case, without port and without the `*.`.
    pub name: String,
    /// Whether names below it are meant, and not the name itself.
    pub below: bool,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub(crate) fn parse(text: &str) -> Result<Self, (String, String)> {
        let fail = |what: &str, mend: &str| Err((what.to_owned(), mend.to_owned()));
        let Some(rest) = text.strip_prefix('/') else {
            return fail("does not begin with /", "write it as in \"/admin/{*rest}\"");
        };
        if text.len() > LONGEST {
            return fail("is too long", "a pattern has at most 1024 bytes");
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest); // it makes no difference
        let parts: Vec<&str> = if rest.is_empty() { Vec::new() } else { rest.split('/').collect() };
        if parts.len() > MOST_SEGMENTS {
            return fail("has too many segments", "end it with /{*rest} earlier");
        }
        let mut segments = Vec::with_capacity(parts.len());
        let mut names: Vec<&str> = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let segment = segment(part)?;
            match &segment {
                Segment::Rest(_) if at + 1 < parts.len() => {
                    return fail("goes on behind {*…}", "{*name} stands at the end and takes all");
                }
                Segment::Param(_) | Segment::Rest(_) => {
                    let name = part.trim_matches(['{', '*', '}']);
                    if names.contains(&name) {
                        return fail("has one name twice", "give each parameter a name of its own");
                    }
                    names.push(name);
                }
                Segment::Literal(_) => {}
            }
            segments.push(segment);
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    /// The same for all patterns that match the same paths with the same specificity.
    pub(super) fn shape(&self) -> String {
        let mut shape = String::new();
        for segment in &self.segments {
            match segment {
                Segment::Literal(bytes) => {
                    shape.push('/');
                    // a literal has no braces, so it is never taken for one of these
                    shape.extend(bytes.iter().map(|byte| char::from(*byte)));
                }
                Segment::Param(_) => shape.push_str("/{}"),
                Segment::Rest(_) => shape.push_str("/{*}"),
            }
        }
        shape
    }

    /// The names of its parameters.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Param(name) | Segment::Rest(name) => Some(name.as_str()),
        })
    }
}

/// As it was written.
impl fmt::Display for PathPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

fn segment(part: &str) -> Result<Segment, (String, String)> {
    let fail = |what: &str, mend: &str| Err((what.to_owned(), mend.to_owned()));
    if part.is_empty() {
        return fail("has an empty segment", "write one slash between two segments");
    }
    if let Some(inner) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        let (rest, name) = match inner.strip_prefix('*') {
            Some(name) => (true, name),
            None => (false, inner),
        };
        let good = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        if !good {
            let mend = "a name has letters, digits and _, and begins with no digit: {id}, {*rest}";
            return fail(&format!("has no good name in `{part}`"), mend);
        }
        let name = name.to_owned();
        return Ok(if rest { Segment::Rest(name) } else { Segment::Param(name) });
    }
    if part.contains(['{', '}']) {
        let mend = "a parameter takes a whole segment: /{id}, and not /{id}.json";
        return fail(&format!("has part of a parameter in `{part}`"), mend);
    }
    if part.contains('*') {
        return fail("has a *", "write /{name} for one segment, /{*rest} for all that follow");
    }
    if part.contains(['?', '#', ';', '\\', '"', '<', '>', ' ']) || part.contains(char::is_control) {
        let mend = "a pattern is a path, without query, fragment and ;parameters; other signs percent-encoded";
        return fail(&format!("has a sign that no path is matched by, in `{part}`"), mend);
    }
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(part).collect();
    let odd = |byte: &u8| byte.is_ascii_control() || matches!(byte, b'/' | b'\\' | b'%' | b';');
    if bytes.iter().any(odd) || bytes == b"." || bytes == b".." {
        let mend = "requests with such a segment are refused, so leave it out";
        return fail(&format!("can match nothing: `{part}`"), mend);
    }
    Ok(Segment::Literal(bytes))
}

impl HostPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub(crate) fn parse(text: &str) -> Result<Self, (&'static str, &'static str)> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        if name.contains("://") || name.contains('/') {
            return Err(("is a URL", "write the host alone: \"api.example.com\""));
        }
        let is_address = name.starts_with('[');
        if !is_address && name.contains(':') || name.contains("]:") {
            return Err(("has a port", "leave the port out: a host matches at every port"));
        }
        if name.contains('*') {
            return Err(("has a * in its midst", "write \"*.example.com\", or leave `host` out"));
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let valid = is_host(&name) && !(below && is_address);
        if !valid {
            let mend = "write a name such as \"api.example.com\" or \"*.example.com\"";
            return Err(("is no host", mend));
        }
        Ok(Self { name, below })
    }
}

/// A name of labels, an IPv4 address, or an IPv6 address in brackets.
fn is_host(name: &str) -> bool {
    if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
        !label.is_empty() && label.bytes().all(good)
    };
    name.split('.').all(is_label)
}

/// As it is written.
impl fmt::Display for HostPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.below { "*." } else { "" })?;
        out.write_str(&self.name)
    }
}

const LONGEST: usize = 1_024;
/// Matching goes down one step for each.
pub const MOST_SEGMENTS: usize = 32;

#[cfg(test)]
mod tests {
    use super::{HostPattern, PathPattern, Segment};

    #[test]
    fn a_pattern_is_literals_parameters_and_a_rest() {
        let pattern = PathPattern::parse("/a%20b/{id}/{*rest}").unwrap();
        assert_eq!(
            pattern.segments,
            [
                Segment::Literal(b"a b".to_vec()),
                Segment::Param("id".to_owned()),
                Segment::Rest("rest".to_owned())
            ]
        );
        assert_eq!(pattern.shape(), "/a b/{}/{*}");
        assert_eq!(PathPattern::parse("/a/").unwrap().segments.len(), 1);
        assert!(PathPattern::parse("/").unwrap().segments.is_empty());
    }

    #[test]
    fn what_is_no_pattern_is_told_with_its_mend() {
        for (text, what) in [
            ("admin", "begin with /"),
            ("/admin/*", "has a *"),
            ("/a//b", "empty segment"),
            ("/{*rest}/b", "goes on"),
            ("/{a}/{a}", "twice"),
            ("/{id}.json", "part of a parameter"),
            ("/{1}", "no good name"),
            ("/a?b=c", "sign"),
            ("/a%2Fb", "match nothing"),
            ("/a/../b", "match nothing"),
            ("/a;b", "sign"),
        ] {
            let (told, _) = PathPattern::parse(text).unwrap_err();
            assert!(told.contains(what), "{text}: {told}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_everything_below_one() {
        let host = |text| HostPattern::parse(text).map(|host| host.to_string());
        assert_eq!(host("API.Example.com").unwrap(), "api.example.com");
        assert_eq!(host("*.example.com.").unwrap(), "*.example.com");
        assert_eq!(host("[::1]").unwrap(), "[::1]");
        for bad in ["https://a", "a:80", "a.*.b", "*", "", "a b", "*.[::1]", "[::1]:80"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
