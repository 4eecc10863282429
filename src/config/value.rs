//! The kinds of value a key can have: durations, sizes, addresses, choices, and lists of them.

use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use jsonwebtoken::Algorithm;
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use super::document::printable;
use super::fault::{nearest, one_of};
use super::node::{Node, Value};
use super::report::Report;
use super::settings::Listen;
use super::shape::{At, Read, Shape, read_at};

/// Text that is not a secret and not empty.
#[derive(Clone)]
pub(super) struct Text(pub(super) String);

/// Text that may be empty.
#[derive(Clone)]
pub(super) struct Optional(pub(super) String);

/// Text that nobody may see. Wiped when dropped.
#[derive(Clone)]
pub(super) struct Hidden(pub(super) Zeroizing<String>);

/// The path of a file.
#[derive(Clone)]
pub(super) struct FilePath(pub(super) PathBuf);

/// A number, a duration or a size within bounds.
#[derive(Clone)]
pub(super) struct Whole<L>(pub(super) u64, PhantomData<L>);
/// Counted in milliseconds.
#[derive(Clone)]
pub(super) struct Span<L>(pub(super) Duration, PhantomData<L>);
/// Counted in bytes.
#[derive(Clone)]
pub(super) struct Size<L>(pub(super) u64, PhantomData<L>);

/// The least and the most that a key takes, and why.
pub(super) trait Limits {
    const LEAST: u64;
    const MOST: u64;
    const WHY: &'static str;
}

/// A list, or one value without the brackets.
#[derive(Clone)]
pub(super) struct OneOrMore<T>(pub(super) Vec<At<T>>);

/// An address to listen on.
#[derive(Clone)]
pub(super) struct ListenAddress(pub(super) Listen);

/// An IP address and a port.
#[derive(Clone)]
pub(super) struct Socket(pub(super) SocketAddr);

/// A range of addresses; a single one is a range too.
#[derive(Clone)]
pub(super) struct Network(pub(super) IpNet);

/// A signature algorithm.
#[derive(Clone, Copy)]
pub(super) struct Signature(pub(super) Algorithm);

/// An instant, in seconds since 1970.
#[derive(Clone, Copy)]
pub(super) struct Moment(pub(super) u64);

/// Keys that the user chooses, each with its place.
#[derive(Clone)]
pub(super) struct Entries<T>(pub(super) Vec<(At<String>, At<T>)>);

/// Whatever stands there.
#[derive(Clone)]
pub(super) struct Anything(pub(super) Value);

/// A setting with a few possible values.
macro_rules! choice {
    ($( $(#[doc = $about:literal])+ $name:ident { $($word:literal => $variant:ident),+ $(,)? } )+) => { $(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(super) enum $name { $(
            #[doc = $word]
            $variant,
        )+ }

        impl Read for $name {
            fn shape() -> Shape {
                Shape::value(json!({ "enum": [$($word),+] }))
            }

            fn read(node: &Node, report: &mut Report) -> Option<Self> {
                pick(node, &[$(($word, Self::$variant)),+], report)
            }
        }
    )+ };
}

choice! {
    /// What becomes of `Authorization`.
    Authorization { "forward" => Forward, "remove" => Remove }
    /// How the log looks.
    LogFormat { "text" => Text, "json" => Json }
}

/// One of the named values; else the nearest name is proposed.
fn pick<T: Copy>(node: &Node, choices: &[(&'static str, T)], report: &mut Report) -> Option<T> {
    let words = || choices.iter().map(|(word, _)| *word);
    let text = text(node, &one_of(words()), report)?;
    let found = choices.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let reason = format!("unknown value `{}` for `{}`", printable(text), node.name());
        let mend = match nearest(text, words()) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("use {}", one_of(words())),
        };
        report.error(node.place, reason, mend);
    }
    found.map(|(_, value)| *value)
}

/// The text of a node; `expected` is told when it is something else.
pub(super) fn text<'n>(node: &'n Node, expected: &str, report: &mut Report) -> Option<&'n str> {
    if let Value::Text(text) = &node.value {
        return Some(text);
    }
    report.wrong_type(node, expected);
    None
}

/// A fault of a value that is not a secret: what was expected, and what to write.
fn bad(node: &Node, what: &str, mend: impl Into<String>, report: &mut Report) {
    report.error(node.place, format!("`{}` {what}", node.name()), mend);
}

impl Read for Text {
    fn shape() -> Shape {
        Shape::value(json!({ "type": "string", "minLength": 1 }))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let text = text(node, "text such as \"abc\"", report)?;
        if text.is_empty() {
            bad(node, "is empty", "give it a value, or leave the key out", report);
            return None;
        }
        if text.chars().any(char::is_control) {
            bad(node, "holds a control character", "write it on one line of plain text", report);
            return None;
        }
        Some(Self(text.to_owned()))
    }
}

impl Read for Optional {
    fn shape() -> Shape {
        Shape::value(json!({ "type": "string" }))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        text(node, "text such as \"abc\"", report).map(|text| Self(text.to_owned()))
    }
}

impl Read for Hidden {
    fn shape() -> Shape {
        Shape::Value { schema: json!({ "type": "string", "minLength": 1 }), secret: true }
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let text = text(node, "text between quotes, as \"…\"", report)?;
        Some(Self(Zeroizing::new(text.to_owned())))
    }
}

impl Read for FilePath {
    fn shape() -> Shape {
        Shape::value(json!({ "type": "string", "minLength": 1 }))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let text = text(node, "the path of a file, as \"/run/secrets/key\"", report)?;
        if text.is_empty() {
            bad(node, "is empty", "give it the path of a file, or leave the key out", report);
            return None;
        }
        if super::mask::holds_key_material(text) || text.contains(['\n', '\0']) {
            let what = "holds a key or a hash, not the path of a file that does";
            let name = node.name().trim_end_matches("_file").to_owned();
            bad(node, what, format!("did you mean `{name}`?"), report);
            return None;
        }
        Some(Self(PathBuf::from(text)))
    }
}

impl Read for bool {
    fn shape() -> Shape {
        Shape::value(json!({ "type": "boolean" }))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Boolean(truth) => return Some(*truth),
            Value::Text(text) if node.is_given() => match text.trim() {
                "true" => return Some(true),
                "false" => return Some(false),
                _ => {}
            },
            Value::Text(text) if matches!(text.as_str(), "true" | "false") => {
                bad(node, "must be a boolean, not text", "write it without quotes", report);
                return None;
            }
            _ => {}
        }
        report.wrong_type(node, "true or false");
        None
    }
}

impl<L: Limits> Read for Whole<L> {
    fn shape() -> Shape {
        Shape::value(json!({ "type": "integer", "minimum": L::LEAST, "maximum": L::MOST }))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let number = match &node.value {
            Value::Integer(number) => Some(*number),
            Value::Text(text) if node.is_given() => text.trim().parse().ok(),
            Value::Text(text) if text.parse::<i128>().is_ok() => {
                bad(node, "must be a number, not text", "write it without quotes", report);
                return None;
            }
            _ => None,
        };
        let Some(number) = number else {
            report.wrong_type(node, "a whole number");
            return None;
        };
        let number = bounded::<L>(node, number, |number| number.to_string(), report)?;
        Some(Self(number, PhantomData))
    }
}

impl<L: Limits> Read for Span<L> {
    fn shape() -> Shape {
        Shape::value(json!({ "anyOf": [
            { "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$|^[0-9]+$" },
            { "type": "integer", "minimum": 0, "maximum": L::MOST / 1_000 },
        ] }))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let milliseconds = match &node.value {
            Value::Integer(seconds) => seconds.saturating_mul(1_000),
            Value::Text(text) => match parse_units(text, &TIME_UNITS) {
                Some(milliseconds) => milliseconds,
                None => {
                    let what = format!("is no duration: `{}`", printable(text));
                    bad(
                        node,
                        &what,
                        "write \"30s\", \"1h30m\", \"250ms\" or whole seconds",
                        report,
                    );
                    return None;
                }
            },
            _ => {
                report.wrong_type(node, "a duration such as \"30s\", or whole seconds");
                return None;
            }
        };
        let bounded = bounded::<L>(node, milliseconds, show_duration, report)?;
        Some(Self(Duration::from_millis(bounded), PhantomData))
    }
}

impl<L: Limits> Read for Size<L> {
    fn shape() -> Shape {
        Shape::value(json!({ "anyOf": [
            { "type": "string", "pattern": "^[0-9]+([KMG]i?B|B)?$" },
            { "type": "integer", "minimum": 0, "maximum": L::MOST },
        ] }))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let bytes = match &node.value {
            Value::Integer(bytes) => *bytes,
            Value::Text(text) => match parse_size(text) {
                Some(bytes) => bytes,
                None => {
                    let what = format!("is no size: `{}`", printable(text));
                    bad(node, &what, "write \"64KiB\", \"10MiB\" or whole bytes", report);
                    return None;
                }
            },
            _ => {
                report.wrong_type(node, "a size such as \"64KiB\", or whole bytes");
                return None;
            }
        };
        let bounded = bounded::<L>(node, bytes, show_size, report)?;
        Some(Self(bounded, PhantomData))
    }
}

fn bounded<L: Limits>(
    node: &Node,
    value: i128,
    show: fn(u64) -> String,
    report: &mut Report,
) -> Option<u64> {
    let fits = u64::try_from(value).ok().filter(|value| (L::LEAST..=L::MOST).contains(value));
    if fits.is_none() {
        let what = if value < L::LEAST.into() { "is too small" } else { "is too large" };
        let (least, most) = (show(L::LEAST), show(L::MOST));
        bad(node, what, format!("use {least} to {most}: {}", L::WHY), report);
    }
    fits
}

impl<T: Read> Read for Vec<At<T>> {
    fn shape() -> Shape {
        Shape::List { of: Box::new(T::shape()), or_one: false }
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let holds_tables = T::shape().table().is_some();
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            // The environment gives a list whole: its entries stand between commas.
            Value::Text(text) if node.is_given() && !holds_tables => {
                let part = |part: &str| Node { value: Value::from(part), ..node.clone() };
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                return collect(&parts.map(part).collect::<Vec<_>>(), report);
            }
            _ if holds_tables => {
                report.wrong_type(node, "a list of tables");
                return None;
            }
            _ => {
                report.wrong_type(node, "a list such as [\"a\", \"b\"]");
                return None;
            }
        };
        collect(items, report)
    }
}

/// Every entry, or none of them if one is faulty; each fault is told.
fn collect<T: Read>(items: &[Node], report: &mut Report) -> Option<Vec<At<T>>> {
    let read: Vec<Option<At<T>>> = items.iter().map(|item| read_at(item, report)).collect();
    read.into_iter().collect()
}

impl<T: Read> Read for OneOrMore<T> {
    fn shape() -> Shape {
        Shape::List { of: Box::new(T::shape()), or_one: true }
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let items = match &node.value {
            Value::Text(_) if !node.is_given() => vec![read_at(node, report)?],
            Value::Text(_) | Value::List(_) => Vec::<At<T>>::read(node, report)?,
            _ => {
                report.wrong_type(node, "text such as \"abc\", or a list of such");
                return None;
            }
        };
        if items.is_empty() {
            bad(node, "is an empty list", "give it at least one entry", report);
            return None;
        }
        Some(Self(items))
    }
}

impl<T: Read> Read for Entries<T> {
    fn shape() -> Shape {
        Shape::Map(Box::new(T::shape()))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            report.wrong_type(node, "a table such as { name = \"value\" }");
            return None;
        };
        let read: Vec<Option<(At<String>, At<T>)>> = entries
            .iter()
            .map(|(name, entry)| {
                let name = At { value: name.clone(), place: entry.key };
                read_at(entry, report).map(|value| (name, value))
            })
            .collect();
        read.into_iter().collect::<Option<_>>().map(Self)
    }
}

impl Read for Anything {
    fn shape() -> Shape {
        Shape::Any
    }

    fn read(node: &Node, _report: &mut Report) -> Option<Self> {
        Some(Self(node.value.clone()))
    }
}

impl Read for ListenAddress {
    fn shape() -> Shape {
        Shape::value(json!({ "type": "string", "minLength": 1 }))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let text = text(node, "an address such as \"127.0.0.1:8080\"", report)?;
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(node, path, report).map(|path| Self(Listen::Unix(path)));
        }
        socket(node, text, report).map(|address| Self(Listen::Tcp(address)))
    }
}

impl Read for Socket {
    fn shape() -> Shape {
        Shape::value(json!({ "type": "string", "minLength": 1 }))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let text = text(node, "an address such as \"127.0.0.1:9090\"", report)?;
        socket(node, text, report).map(Self)
    }
}

/// The path of a unix socket, short enough for the system.
pub(super) fn unix_path(node: &Node, path: &str, report: &mut Report) -> Option<PathBuf> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains('\0') {
        bad(node, "names no socket", "write \"unix:/run/tollgate.sock\"", report);
        return None;
    }
    if path.len() > LONGEST_SOCKET_PATH {
        let what = format!("is the path of a socket with {} bytes", path.len());
        bad(node, &what, format!("the system takes at most {LONGEST_SOCKET_PATH}"), report);
        return None;
    }
    Some(PathBuf::from(path))
}

fn socket(node: &Node, text: &str, report: &mut Report) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let what = format!("is no address and port: `{}`", printable(text));
    let mend = match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u64>().is_ok_and(|port| port > 65_535) => {
            "a port is a number from 0 to 65535; 0 lets the system choose".to_owned()
        }
        Some(("", port)) => format!("write \"0.0.0.0:{port}\", or \"[::]:{port}\" for IPv6 too"),
        Some(("localhost", port)) => format!("write \"127.0.0.1:{port}\""),
        Some((host, port)) if host.contains(':') && !host.starts_with('[') => {
            format!("write IPv6 addresses in brackets: \"[{}]:{port}\"", printable(host))
        }
        Some(("http" | "https", _)) => "leave the scheme out: \"127.0.0.1:8080\"".to_owned(),
        None if text.parse::<u16>().is_ok() => format!("write \"127.0.0.1:{text}\""),
        _ => "write an IP address and a port, as \"127.0.0.1:8080\" or \"[::1]:8080\"".to_owned(),
    };
    bad(node, &what, mend, report);
    None
}

impl Read for Network {
    fn shape() -> Shape {
        Shape::value(json!({ "type": "string", "minLength": 1 }))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let text = text(node, "a network such as \"10.0.0.0/8\"", report)?;
        let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        if network.is_none() {
            let what = format!("is no network: `{}`", printable(text));
            bad(node, &what, "write \"10.0.0.0/8\", or one address such as \"10.0.0.1\"", report);
        }
        network.map(Self)
    }
}

impl Read for Signature {
    fn shape() -> Shape {
        let names: Vec<&str> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
        Shape::value(json!({ "enum": names }))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        if let Value::Text(text) = &node.value
            && text.eq_ignore_ascii_case("none")
        {
            let what = "cannot be `none`: anybody could make such tokens";
            bad(node, what, "use HS256, or ES256 if others are to verify the tokens", report);
            return None;
        }
        pick(node, &ALGORITHMS, report).map(Self)
    }
}

/// How the file calls an algorithm.
pub(crate) fn algorithm_name(algorithm: Algorithm) -> &'static str {
    ALGORITHMS.iter().find(|(_, known)| *known == algorithm).map_or("unknown", |(name, _)| name)
}

impl Read for Moment {
    fn shape() -> Shape {
        Shape::value(json!({ "type": "string", "format": "date-time" }))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let text = match &node.value {
            Value::Datetime(text) => text.as_str(),
            _ => text(node, "a date and time such as 2026-12-31T00:00:00Z", report)?,
        };
        let moment = text.parse::<jiff::Timestamp>().ok();
        let moment = moment.and_then(|moment| u64::try_from(moment.as_second()).ok());
        if moment.is_none() {
            let what = format!("is no instant: `{}`", printable(text));
            let mend = "write date, time and zone, as 2026-12-31T00:00:00Z";
            bad(node, &what, mend, report);
        }
        moment.map(Self)
    }
}

/// Adds up `1h30m`; a number alone counts whole seconds.
fn parse_units(text: &str, units: &[(&str, i128)]) -> Option<i128> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(i128::from(seconds) * 1_000);
    }
    let mut rest = text.trim();
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: i128 = rest[..digits].parse::<u64>().ok()?.into();
        let letters = &rest[digits..];
        let end =
            letters.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(letters.len());
        let (_, factor) = units.iter().find(|(unit, _)| *unit == &letters[..end])?;
        total = total.checked_add(number.checked_mul(*factor)?)?;
        rest = letters[end..].trim_start();
    }
    (!text.trim().is_empty()).then_some(total)
}

fn parse_size(text: &str) -> Option<i128> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: i128 = text[..digits].parse::<u64>().ok()?.into();
    let unit = text[digits..].trim_start();
    if unit.is_empty() {
        return Some(number);
    }
    let known = SIZE_UNITS.iter().find(|(known, _)| known.eq_ignore_ascii_case(unit));
    known.and_then(|(_, factor)| number.checked_mul(*factor))
}

/// The shortest way to write so many milliseconds.
pub(crate) fn show_duration(milliseconds: u64) -> String {
    let mut rest = i128::from(milliseconds);
    let mut shown = String::new();
    for (unit, factor) in TIME_UNITS {
        if rest >= factor {
            shown += &format!("{}{unit}", rest / factor);
            rest %= factor;
        }
    }
    if shown.is_empty() { "0".to_owned() } else { shown }
}

/// The shortest exact way to write so many bytes.
fn show_size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let fits = units.iter().find(|(_, factor)| bytes >= *factor && bytes % factor == 0);
    fits.map_or_else(|| bytes.to_string(), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

/// What a value is in JSON; the reason when it cannot be told in JSON.
pub(super) fn json_of(value: &Value) -> Result<Json, &'static str> {
    match value {
        Value::Integer(number) => {
            i64::try_from(*number).map(Json::from).map_err(|_| "is too large a number")
        }
        Value::Float(number) if !number.is_finite() => Err("is no number that JSON knows"),
        Value::List(items) => items.iter().map(|item| json_of(&item.value)).collect(),
        Value::Table(entries) => entries
            .iter()
            .map(|(name, item)| json_of(&item.value).map(|value| (name.clone(), value)))
            .collect::<Result<serde_json::Map<_, _>, _>>()
            .map(Json::Object),
        Value::Text(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            Ok(super::shape::to_json(value))
        }
    }
}

/// Every algorithm that signs; never `none`.
const ALGORITHMS: [(&str, Algorithm); 12] = [
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// In milliseconds, from the largest.
const TIME_UNITS: [(&str, i128); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const SIZE_UNITS: [(&str, i128); 7] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// `sun_path` holds 108 bytes with the final NUL (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;

#[cfg(test)]
mod tests {
    use super::{TIME_UNITS, parse_size, parse_units, show_duration, show_size};

    #[test]
    fn durations_add_up() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("250ms", 250),
            ("45", 45_000),
            ("0", 0),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse_units(text, &TIME_UNITS), Some(milliseconds), "{text}");
        }
        for bad in ["", " ", "s", "1.5s", "-1s", "1w", "s1", "1h30", "99999999999999999999s", "1S"]
        {
            assert_eq!(parse_units(bad, &TIME_UNITS), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_binary_where_they_say_so() {
        for (text, bytes) in [("64KiB", 65_536), ("64 kib", 65_536), ("1MB", 1_000_000), ("7", 7)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for bad in ["", "KiB", "1.5MiB", "-1", "1k", "1 KiB of memory"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn amounts_are_shown_as_people_write_them() {
        assert_eq!(show_duration(5_400_000), "1h30m");
        assert_eq!(show_duration(250), "250ms");
        assert_eq!(show_duration(0), "0");
        assert_eq!(show_size(32_768), "32KiB");
        assert_eq!(show_size(1_000), "1000");
    }
}
