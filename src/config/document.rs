//! The texts that a configuration comes from, and what of them may be shown: the file, and what was given besides it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::excerpt::{BOM, excerpt, line_around, position, printable};
use super::fault::Excerpt;
use super::layers::Layer;
use super::mask::{self, Hidden};
use super::node::{Node, Place, Value};
use super::report::Report;
use super::shape::Shape;

/// Everything that was written by somebody.
#[derive(Default)]
pub(super) struct Source {
    name: String,
    text: Zeroizing<String>,
    has_file: bool,
    /// What of the file must not be shown, in order, without overlaps.
    hidden: Vec<Hidden>,
    given: Vec<Given>,
}

/// An environment variable or a flag.
struct Given {
    name: String,
    is_flag: bool,
    /// None when it must not be shown.
    value: Option<String>,
}

impl Source {
    /// Takes the text of the file.
    /// SHA-256 of the file's text, in hexadecimal.
    pub(super) fn digest(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.text.as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn take_file(&mut self, name: String, text: Zeroizing<String>) {
        self.name = name;
        self.text = text;
        self.has_file = true;
    }

    /// Notes a variable or flag; its number is its place.
    pub(super) fn give(&mut self, name: &str, is_flag: bool, value: Option<&str>) -> Place {
        let value = value.map(str::to_owned);
        self.given.push(Given { name: name.to_owned(), is_flag, value });
        Place::Given(self.given.len() - 1)
    }

    /// Reads the file as TOML. `None` when that failed, after each syntax error was reported.
    pub(super) fn parse(&mut self, shape: &Shape, report: &mut Report) -> Option<Layer> {
        // Until the text is known to be TOML, only lines whose first word is a known plain key are shown.
        self.hidden = mask::by_line(&self.text, shape);
        let text = std::mem::take(&mut self.text);
        let bom = if text.starts_with(BOM) { BOM.len_utf8() } else { 0 };
        let (root, errors) = DeTable::parse_recoverable(&text[bom..]);
        let mut layer = Layer::new("file");
        if errors.is_empty() {
            self.hidden = mask::by_tree(&root, shape, &text, bom);
            flatten_table(&mut layer, Vec::new(), root.get_ref(), bom);
        } else {
            report_syntax(&errors, &text, bom, report);
        }
        drop(root);
        self.text = text;
        report.is_clean().then_some(layer)
    }

    /// How a place is called, and its line. Nothing for what is built in.
    pub(super) fn locate(&self, place: Place) -> Option<(String, Option<Excerpt>)> {
        match place {
            Place::Default => None,
            Place::End if self.has_file => {
                let end = self.text.trim_end().len();
                let (line, column) = position(&self.text, end);
                Some((format!("{}:{line}:{column} (end of file)", self.name), None))
            }
            Place::End => None,
            Place::File { start, end } => {
                let (line, column) = position(&self.text, start);
                let at = line_around(&self.text, start);
                let (text, column_shown, width) = excerpt(&self.text, at, start..end, &self.hidden);
                let excerpt = Excerpt { number: Some(line), text, column: column_shown, width };
                Some((format!("{}:{line}:{column}", self.name), Some(excerpt)))
            }
            Place::Given(number) => self.given.get(number).map(Given::locate),
        }
    }
}

impl Given {
    fn locate(&self) -> (String, Option<Excerpt>) {
        let Self { name, is_flag, value } = self;
        let (kind, sign) = if *is_flag { ("flag", ' ') } else { ("environment variable", '=') };
        let name = printable(name);
        let start = name.len() + sign.len_utf8();
        let (line, hidden) = match value {
            Some(value) => {
                let line = format!("{name}{sign}{value}");
                let hidden = mask::credentials(&line, start..line.len());
                (line, hidden)
            }
            None => {
                let line = format!("{name}{sign}-");
                (line, vec![Hidden { range: start..start + 1, is_comment: false }])
            }
        };
        let (text, column, width) = excerpt(&line, 0..line.len(), start..line.len(), &hidden);
        (format!("{kind} `{name}`"), Some(Excerpt { number: None, text, column, width }))
    }
}

/// Each syntax error on a line of its own: a second one on the same line is mostly an echo of the first.
fn report_syntax(errors: &[toml::de::Error], text: &str, bom: usize, report: &mut Report) {
    let mut last_line = 0;
    for error in errors.iter().take(MOST_SYNTAX_ERRORS) {
        let span = error.span().unwrap_or(text.len() - bom..text.len() - bom);
        let (start, end) = (span.start + bom, span.end + bom);
        let (line, _) = position(text, start);
        if line == last_line {
            continue;
        }
        last_line = line;
        // What toml says is about the grammar; it does not quote the text.
        let reason =
            format!("not valid TOML: {}", error.message().trim_end_matches(", expected nothing"));
        report.error(Place::File { start, end }, reason, syntax_advice(error.message()));
    }
}

/// What to do about an error of TOML's grammar.
fn syntax_advice(message: &str) -> &'static str {
    let advice = SYNTAX_ADVICE.iter().find(|(part, _)| message.contains(part));
    advice.map_or(
        "a line is `key = value`, `[section]`, `[[list of sections]]` or `# a comment`",
        |(_, advice)| advice,
    )
}

fn flatten_table(layer: &mut Layer, path: Vec<String>, table: &DeTable<'_>, bom: usize) {
    for (key, value) in table {
        let mut path = path.clone();
        path.push(key.get_ref().clone().into_owned());
        flatten(layer, path, place(key.span(), bom), value, bom);
    }
}

fn flatten(
    layer: &mut Layer,
    path: Vec<String>,
    key: Place,
    value: &Spanned<DeValue<'_>>,
    bom: usize,
) {
    let at = place(value.span(), bom);
    let value = match value.get_ref() {
        DeValue::Table(table) => {
            layer.table(path.clone(), key, at, false);
            return flatten_table(layer, path, table, bom);
        }
        DeValue::Array(items) => {
            layer.table(path.clone(), key, at, true);
            for (number, item) in items.iter().enumerate() {
                let mut path = path.clone();
                path.push(number.to_string());
                flatten(layer, path, place(item.span(), bom), item, bom);
            }
            return;
        }
        DeValue::String(text) => Value::Text(Zeroizing::new(text.clone().into_owned())),
        // Larger than 128 bits is out of every range.
        DeValue::Integer(number) => Value::Integer(
            i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX),
        ),
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(date) => Value::Datetime(date.to_string()),
    };
    layer.leaf(path, Node { key, place: at, path: String::new(), value });
}

const fn place(span: Range<usize>, bom: usize) -> Place {
    Place::File { start: span.start + bom, end: span.end + bom }
}

/// More than these are echoes of the first.
const MOST_SYNTAX_ERRORS: usize = 10;

/// The first whose beginning is part of toml's message decides.
const SYNTAX_ADVICE: [(&str, &str); 13] = [
    (
        "duplicate key",
        "a key and a [section] may be written once; lists of sections are written [[so]]",
    ),
    ("unclosed inline table", "end the table with }"),
    ("unclosed array table", "end the header with ]]"),
    ("unclosed array", "end the list with ]"),
    ("unclosed table", "end the header with ]"),
    ("missing comma", "put a comma between two entries"),
    ("with no value", "write `key = value`"),
    ("must be quoted", QUOTE),
    ("opening quote", QUOTE),
    ("invalid basic string", ESCAPE),
    ("escape", ESCAPE),
    ("string", ESCAPE),
    ("invalid ", QUOTE),
];
const QUOTE: &str = "text is written between quotes: key = \"text\"";
const ESCAPE: &str = "text ends with the quote it began with; a backslash is written \\\\, or the text stands between '…'";
