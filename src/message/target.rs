//! The one reading of a request target (RFC 9112 §3.2). What two parsers could read differently is refused.

use bytes::Bytes;

/// Path and query of a request, byte for byte as they came and as they will go on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    raw: Bytes,
    path_length: usize,
}

/// Why a target is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadTarget {
    /// Neither a path nor an http(s) URL (nor `*` with OPTIONS).
    #[error("the request target is neither a path nor an http URL")]
    Form,
    /// A byte that has no place in a URI: control, space, quote, backslash, `#`, or beyond ASCII.
    #[error("the request target has a character that must be percent-encoded")]
    Character,
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("the path has a percent sign that begins no valid encoding")]
    Encoding,
    /// An encoded slash, backslash or NUL, or an overlong encoding.
    #[error("the path has an encoded slash, backslash or control character")]
    Hidden,
    /// A segment that reads `.` or `..` once decoded.
    #[error("the path has a dot segment")]
    DotSegment,
    /// The authority of an absolute target is not `host` or `host:port`.
    #[error("the request target names no valid host")]
    Authority,
}

impl Target {
    /// Reads a target as it stands in a request line; the authority of the absolute form comes second.
    ///
    /// # Errors
    /// [`BadTarget`], by the first thing that is wrong.
    pub fn parse(raw: &Bytes, is_options: bool) -> Result<(Self, Option<Bytes>), BadTarget> {
        if raw.first() == Some(&b'/') {
            return Ok((Self::origin_form(raw.clone())?, None));
        }
        if raw.as_ref() == b"*" && is_options {
            return Ok((Self { raw: raw.clone(), path_length: 1 }, None));
        }
        let rest = strip_scheme(raw).ok_or(BadTarget::Form)?;
        let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if !is_authority(authority) {
            return Err(BadTarget::Authority);
        }
        let path = match path.first() {
            Some(b'/') => raw.slice_ref(path),
            Some(_) => [b"/", path].concat().into(),
            None => Bytes::from_static(b"/"),
        };
        Ok((Self::origin_form(path)?, Some(raw.slice_ref(authority))))
    }

    /// `/`
    #[must_use]
    pub const fn root() -> Self {
        Self { raw: Bytes::from_static(b"/"), path_length: 1 }
    }

    fn origin_form(raw: Bytes) -> Result<Self, BadTarget> {
        let path_length = memchr::memchr(b'?', &raw).unwrap_or(raw.len());
        let (path, query) = raw.split_at(path_length);
        if !path.iter().chain(query).all(|byte| ALLOWED[usize::from(*byte)]) {
            return Err(BadTarget::Character);
        }
        if memchr::memchr2(b'%', b'.', path).is_some() {
            judge_path(path)?;
        }
        Ok(Self { raw, path_length })
    }

    /// The path, as it came.
    #[must_use]
    pub fn path(&self) -> &str {
        as_ascii(self.raw.get(..self.path_length).unwrap_or_default())
    }

    /// The query, as it came, without its question mark.
    #[must_use]
    pub fn query(&self) -> &str {
        as_ascii(self.raw.get(self.path_length + 1..).unwrap_or_default())
    }

    /// Whether the query has a parameter of this name, spelt plainly.
    #[must_use]
    pub fn has_parameter(&self, name: &str) -> bool {
        let mut pairs = self.query().split('&');
        pairs.any(|pair| pair.split('=').next() == Some(name))
    }

    /// Path and query, as they came, to be shared.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.raw
    }

    /// Path and query, as they came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        as_ascii(&self.raw)
    }
}

/// Whether this is `host` or `host:port`, host being a name, an IPv4 address or a bracketed IPv6 one (RFC 3986 §3.2).
#[must_use]
pub fn is_authority(text: &[u8]) -> bool {
    let (host, port) = if text.first() == Some(&b'[') {
        let Some(end) = memchr::memchr(b']', text) else { return false };
        let (inner, rest) =
            (text.get(1..end).unwrap_or_default(), text.get(end + 1..).unwrap_or_default());
        let is_address =
            std::str::from_utf8(inner).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
        if !is_address {
            return false;
        }
        match rest.split_first() {
            None => return true,
            Some((b':', port)) => (inner, Some(port)),
            Some(_) => return false,
        }
    } else {
        match memchr::memchr(b':', text) {
            None => (text, None),
            Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        }
    };
    let is_host = text.first() == Some(&b'[')
        || (!host.is_empty() && host.iter().fold(true, |all, byte| all & is_unreserved(*byte)));
    let is_port = port.is_none_or(|port| {
        (1..=5).contains(&port.len())
            && port.iter().all(u8::is_ascii_digit)
            && as_ascii(port).parse::<u16>().is_ok_and(|port| port > 0)
    });
    is_host && is_port
}

/// What follows `http://` or `https://`, in any case.
fn strip_scheme(raw: &[u8]) -> Option<&[u8]> {
    [b"http://".as_slice(), b"https://"].into_iter().find_map(|scheme| {
        let (front, rest) = raw.split_at_checked(scheme.len())?;
        front.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Refuses what a decoding or normalising reader would take for another path.
fn judge_path(path: &[u8]) -> Result<(), BadTarget> {
    let mut bytes = path.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            continue;
        }
        let (Some(high), Some(low)) = (bytes.next().and_then(hex), bytes.next().and_then(hex))
        else {
            return Err(BadTarget::Encoding);
        };
        match high << 4 | low {
            // controls, slash, backslash; lead bytes that only overlong UTF-8 has
            0x00..=0x1F | 0x7F | b'/' | b'\\' | 0xC0 | 0xC1 => return Err(BadTarget::Hidden),
            _ => {}
        }
    }
    for segment in path.split(|byte| *byte == b'/') {
        // `..;x` is `..` to readers that cut path parameters off
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        let cut = name.windows(3).position(|three| three.eq_ignore_ascii_case(b"%3b"));
        if is_dots(name.get(..cut.unwrap_or(name.len())).unwrap_or_default()) {
            return Err(BadTarget::DotSegment);
        }
    }
    Ok(())
}

/// Whether this reads `.` or `..` with each dot plain, encoded, or encoded more than once.
fn is_dots(mut name: &[u8]) -> bool {
    let mut dots = 0;
    while let Some((first, rest)) = name.split_first() {
        name = match first {
            b'.' => rest,
            b'%' => {
                let mut rest = rest;
                while let Some(inner) = rest.strip_prefix(b"25") {
                    rest = inner;
                }
                let Some((code, rest)) = rest.split_at_checked(2) else { return false };
                if !code.eq_ignore_ascii_case(b"2e") {
                    return false;
                }
                rest
            }
            _ => return false,
        };
        dots += 1;
    }
    dots == 1 || dots == 2
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Only bytes that passed [`ALLOWED`] come here, and those are ASCII.
fn as_ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// What may stand in a path or a query: RFC 3986 §3.3 and §3.4, and a few that browsers and clients send unencoded.
const ALLOWED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x21;
    while byte < 0x7F {
        table[byte] = !matches!(byte as u8, b'"' | b'#' | b'<' | b'>' | b'\\');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{BadTarget, Target, is_authority};

    fn parse(raw: &'static str) -> Result<(Target, Option<Bytes>), BadTarget> {
        Target::parse(&Bytes::from_static(raw.as_bytes()), false)
    }

    #[test]
    fn a_plain_target_is_kept_byte_for_byte() {
        for raw in [
            "/",
            "/a/b?c=d&e=%2F..",
            "/a%20b/%C3%A9",
            "//double",
            "/a;b=c/.well-known",
            "/...",
            "/a.b/%2ex",
            "/{x}|^`",
        ] {
            let (target, authority) = parse(raw).unwrap();
            assert_eq!(target.as_str(), raw);
            assert_eq!(authority, None);
        }
        assert_eq!(parse("/a/b?c/../d").unwrap().0.path(), "/a/b");
    }

    #[test]
    fn dot_segments_are_refused_however_they_are_spelt() {
        for raw in [
            "/..",
            "/.",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/%2e%2e/b",
            "/a/.%2E/b",
            "/%2e",
            "/a/..;x/b",
            "/a/..;/b",
            "/a/%2e%2e;x",
            "/a/%252e%252e/b",
            "/..%3bx/y",
            "/%25252e./",
        ] {
            assert_eq!(parse(raw).unwrap_err(), BadTarget::DotSegment, "{raw}");
        }
    }

    #[test]
    fn encoded_slashes_backslashes_nul_and_overlong_encodings_are_refused() {
        for raw in ["/a%2fb", "/a%2Fb", "/a%5cb", "/a%00", "/a%0d%0ab", "/%c0%ae%c0%ae/", "/%C1%9C"]
        {
            assert_eq!(parse(raw).unwrap_err(), BadTarget::Hidden, "{raw}");
        }
    }

    #[test]
    fn what_must_be_encoded_is_refused_when_it_is_not() {
        for raw in ["/a#b", "/a b", "/a\\b", "/a\"b", "/a<b", "/é", "/a\u{7f}", "/a?b#c"] {
            assert_eq!(parse(raw).unwrap_err(), BadTarget::Character, "{raw}");
        }
        for raw in ["/%zz", "/%2", "/%"] {
            assert_eq!(parse(raw).unwrap_err(), BadTarget::Encoding, "{raw}");
        }
    }

    #[test]
    fn an_absolute_target_gives_its_authority() {
        let (target, authority) = parse("HTTP://api.example.com:8080/a?b").unwrap();
        assert_eq!(
            (target.as_str(), authority.unwrap().as_ref()),
            ("/a?b", b"api.example.com:8080".as_slice())
        );
        assert_eq!(parse("http://h").unwrap().0.as_str(), "/");
        assert_eq!(parse("http://h?q").unwrap().0.as_str(), "/?q");
        for raw in [
            "http://",
            "http:///a",
            "http://user@h/",
            "http://h:0/",
            "http://h:99999/",
            "http://h\\@x/",
            "http://[::1/",
        ] {
            assert_eq!(parse(raw).unwrap_err(), BadTarget::Authority, "{raw}");
        }
    }

    #[test]
    fn a_parameter_is_found_by_its_whole_name() {
        for (raw, found) in [
            ("/a?access_token=x", true),
            ("/a?b=c&access_token", true),
            ("/a?my_access_token=x", false),
            ("/access_token=x", false),
            ("/a?b=access_token", false),
        ] {
            assert_eq!(parse(raw).unwrap().0.has_parameter("access_token"), found, "{raw}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for raw in ["*", "a/b", "ftp://h/", "@host", "host:443", "", "?q"] {
            assert_eq!(parse(raw).unwrap_err(), BadTarget::Form, "{raw}");
        }
        assert_eq!(Target::parse(&Bytes::from_static(b"*"), true).unwrap().0.as_str(), "*");
    }

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for good in
            ["localhost", "a-b.example.com:80", "127.0.0.1:8080", "[::1]", "[2001:db8::1]:443"]
        {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a:", "a:b", "a b", "a,b", "a/b", "u@h", "[::1", "[x]", "[::1]x", "a:+80",
            "a:080808", "a\0",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
