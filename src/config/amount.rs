//! Amounts within bounds: numbers, durations, sizes.

use std::marker::PhantomData;
use std::time::Duration;

use serde_json::json;

use super::excerpt::printable;
use super::node::{Node, Value};
use super::report::Report;
use super::shape::{Read, Shape};
use super::value::bad;

/// A number, a duration or a size within bounds.
#[derive(Clone)]
pub(super) struct Whole<L>(pub(super) u64, PhantomData<L>);
/// A share of the whole: 0 to 1.
#[derive(Clone, Copy)]
pub(super) struct Ratio(pub(super) f64);
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

impl Read for Ratio {
    fn shape() -> Shape {
        Shape::value(json!({ "type": "number", "minimum": 0, "maximum": 1 }))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let number = match &node.value {
            Value::Float(number) => Some(*number),
            Value::Integer(0) => Some(0.0),
            Value::Integer(1) => Some(1.0),
            Value::Integer(_) => Some(f64::NAN),
            Value::Text(text) if node.is_given() => text.trim().parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            report.wrong_type(node, "a number from 0 to 1");
            return None;
        };
        if !(0.0..=1.0).contains(&number) {
            let mend = "write a number such as 0.1 for every tenth";
            bad(node, "is not between 0 and 1", mend, report);
            return None;
        }
        Some(Self(number))
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

/// Adds up `1h30m`; a number alone counts whole seconds.
/// A duration as the file has it, for a command line.
///
/// # Errors
/// A sentence that shows how it is written.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let milliseconds =
        parse_units(text, &TIME_UNITS).and_then(|milliseconds| u64::try_from(milliseconds).ok());
    milliseconds.map(Duration::from_millis).ok_or_else(|| {
        format!("{text:?} is no duration; write \"30s\", \"1h30m\", \"250ms\" or whole seconds")
    })
}

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
    let fits = units.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    fits.map_or_else(|| bytes.to_string(), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

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
