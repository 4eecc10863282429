//! The texts that a configuration comes from, and what of them may be shown: the file, and what was given besides it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

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
        let reason = format!("not valid TOML: {}", error.message().replace('\n', ", "));
        report.error(Place::File { start, end }, reason, syntax_advice(error.message()));
    }
}

fn syntax_advice(message: &str) -> &'static str {
    if message.contains("duplicate key") {
        "every key and every [section] may be written once; lists of sections are written [[so]]"
    } else if message.contains("string values must be quoted") || message.contains("expected value")
    {
        "write text between quotes: key = \"text\""
    } else if message.contains("string") || message.contains("escape") {
        "text ends with the quote it began with; in \"…\" a backslash is written \\\\, in '…' nothing is escaped"
    } else {
        "a line is `key = value`, `[section]`, `[[list of sections]]` or `# a comment`"
    }
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

/// Line and column of a byte, both from 1; columns count characters.
fn position(text: &str, at: usize) -> (usize, usize) {
    let at = text.floor_char_boundary(at);
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = text[line_start..at].trim_start_matches(BOM).chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// The line that holds a byte, without its end.
fn line_around(text: &str, at: usize) -> Range<usize> {
    let at = text.floor_char_boundary(at);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    start..end
}

/// What may be seen of a line, and where `target` is in it: its column, from 0, and its width.
fn excerpt(
    text: &str,
    line: Range<usize>,
    target: Range<usize>,
    hidden: &[Hidden],
) -> (String, usize, usize) {
    let (mut shown, mut column, mut stop) = (String::new(), None, None);
    let mut width = 0;
    let mut covered_until = line.start;
    let hiding = |at: usize| hidden.iter().find(|hidden| hidden.range.contains(&at));
    for (offset, letter) in text[line.clone()].char_indices() {
        let at = line.start + offset;
        if at < covered_until {
            continue;
        }
        let (piece, until) = match hiding(at) {
            Some(Hidden { range, is_comment }) => {
                (if *is_comment { String::new() } else { MASK.to_owned() }, range.end)
            }
            None => (display(letter), at + letter.len_utf8()),
        };
        // The carets cover every piece that overlaps the target.
        if until > target.start && column.is_none() {
            column = Some(width);
        }
        if at >= target.end && stop.is_none() {
            stop = Some(width);
        }
        width += piece.chars().map(cells).sum::<usize>();
        shown += &piece;
        covered_until = until;
    }
    let shown = shown.trim_end().to_owned();
    let total = shown.chars().map(cells).sum::<usize>();
    let column = column.unwrap_or(total).min(total);
    let stop = stop.unwrap_or(total).min(total.max(column + 1));
    cut(&shown, column, stop.saturating_sub(column).max(1))
}

/// Keeps a long line's neighbourhood of the carets.
fn cut(line: &str, column: usize, width: usize) -> (String, usize, usize) {
    let letters: Vec<char> = line.chars().collect();
    let total: usize = letters.iter().copied().map(cells).sum();
    if total <= WIDEST_LINE {
        return (line.to_owned(), column, width);
    }
    let skip = if column < WIDEST_LINE / 2 { 0 } else { column - WIDEST_LINE / 4 };
    let mut out = String::new();
    let (mut cell, mut skipped, mut used) = (0, 0, 0);
    if skip > 0 {
        out.push('…');
        used = 1;
    }
    for letter in letters {
        if cell < skip {
            skipped = cell + cells(letter);
        } else if used >= WIDEST_LINE {
            out.push('…');
            break;
        } else {
            out.push(letter);
            used += cells(letter);
        }
        cell += cells(letter);
    }
    let lead = usize::from(skip > 0);
    let column = column - skipped + lead;
    (out, column, width.min(WIDEST_LINE.saturating_sub(column).max(1)))
}

/// A character as it can safely be shown on a terminal.
fn display(letter: char) -> String {
    match letter {
        '\t' => "    ".to_owned(),
        '\r' | BOM => String::new(),
        // Control characters could move the cursor, the others turn the reading direction.
        _ if letter.is_control() => '\u{fffd}'.to_string(),
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            '\u{fffd}'.to_string()
        }
        _ => letter.to_string(),
    }
}

/// A text as it can safely be shown.
pub(super) fn printable(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST_QUOTE).map(display).collect();
    if text.chars().count() > LONGEST_QUOTE {
        shown.push('…');
    }
    shown
}

/// How many cells of a terminal a character takes.
const fn cells(letter: char) -> usize {
    match letter {
        '\u{300}'..='\u{36f}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

const BOM: char = '\u{feff}';

/// Stands for what must not be seen.
pub(super) const MASK: &str = "***";

/// More than these are echoes of the first.
const MOST_SYNTAX_ERRORS: usize = 10;

/// A line is cut around its fault beyond this, so that it fits a terminal.
const WIDEST_LINE: usize = 120;

/// What is quoted in a sentence is cut beyond this.
const LONGEST_QUOTE: usize = 80;
