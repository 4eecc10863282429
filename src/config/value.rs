//! The kinds of value a key can have: texts, choices, instants, and lists and tables of them.

use std::path::PathBuf;

use jsonwebtoken::Algorithm;
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use super::excerpt::printable;
use super::fault::{nearest, one_of};
use super::node::{Node, Value};
use super::report::Report;
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

/// A list, or one value without the brackets.
#[derive(Clone)]
pub(super) struct OneOrMore<T>(pub(super) Vec<At<T>>);

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
    /// How requests are spread over several origins.
    Balance { "least_requests" => LeastRequests, "round_robin" => RoundRobin, "random" => Random }
    /// How a client's secret is sent.
    ClientAuth { "basic" => Basic, "post" => Post }
    /// Which tokens an issuer is asked about.
    Introspected { "opaque" => Opaque, "all" => All }
    /// What a token is.
    TokenFormat { "jwt" => Jwt, "opaque" => Opaque }
    /// How a client proves itself.
    ClientAuthentication {
        "client_secret_basic" => Basic,
        "client_secret_post" => Post,
        "private_key_jwt" => Key,
        "tls_client_auth" => Tls,
    }
    /// What of a client's certificate a header tells.
    CertificateField { "subject" => Subject, "san" => San, "sha256" => Sha256 }
    /// Whether clients have to show a certificate.
    ClientCertificate { "required" => Required, "optional" => Optional }
    /// What needs a token.
    Protect { "mutating" => Mutating, "all" => All, "none" => None }
    /// What a route is.
    RouteAccess { "public" => Public, "protected" => Protected, "deny" => Deny }
    /// Whether a refusal is carried out.
    Mode { "enforce" => Enforce, "report" => Report }
    /// Who counts as one caller.
    LimitPer { "client" => Client, "subject" => Subject, "address" => Address }
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
pub(super) fn bad(node: &Node, what: &str, mend: impl Into<String>, report: &mut Report) {
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
            Value::Table(_) if T::shape().table().is_some() => vec![read_at(node, report)?],
            Value::List(_) => Vec::<At<T>>::read(node, report)?,
            _ if T::shape().table().is_some() => {
                report.wrong_type(node, "a table, or a list of such");
                return None;
            }
            Value::Text(_) if !node.is_given() => vec![read_at(node, report)?],
            Value::Text(_) => Vec::<At<T>>::read(node, report)?,
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
