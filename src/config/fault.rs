//! What is wrong with a configuration, told so that it can be mended: the place, the line, the reason, the mend.
//!
//! Invariant: a [`Fault`] holds text for people and never the text of a secret. What may be shown of a source
//! line is decided before any fault is made (see `document::Source`), by naming what may be seen.

use std::fmt;

/// Something to mend (a fault), or to know of (a warning).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    severity: Severity,
    place: Option<String>,
    excerpt: Option<Excerpt>,
    reason: String,
    mend: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, and somebody should look at it.
    Warning,
}

/// A source line, with everything that must not be seen taken out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Excerpt {
    /// The line's number, from 1; none for a variable or a flag.
    pub(super) number: Option<usize>,
    pub(super) text: String,
    /// What the carets point at: the first column, from 0, and how many.
    pub(super) column: usize,
    pub(super) width: usize,
}

/// Every fault of a configuration, at least one; warnings stand behind them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Faults(Vec<Fault>);

impl Fault {
    pub(super) fn new(severity: Severity, reason: String, mend: String) -> Self {
        Self { severity, place: None, excerpt: None, reason, mend }
    }

    pub(super) fn at(mut self, place: String, excerpt: Option<Excerpt>) -> Self {
        self.place = Some(place);
        self.excerpt = excerpt;
        self
    }

    /// How bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// `file:line:column`, or the variable or flag, where there is one.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// What is wrong: a clause in lower case, without a full stop.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What to do about it.
    #[must_use]
    pub fn mend(&self) -> &str {
        &self.mend
    }

    /// The fault as text, coloured for a terminal or plain; ends with a line feed.
    #[must_use]
    pub fn render(&self, coloured: bool) -> String {
        let paint = if coloured { &COLOURED } else { &PLAIN };
        let Paint { bold, gutter: blue, end, .. } = *paint;
        let (word, tone) = match self.severity {
            Severity::Error => ("error", paint.error),
            Severity::Warning => ("warning", paint.warning),
        };
        let mut out = format!("{tone}{word}{end}{bold}: {}{end}\n", self.reason);
        let number = self.excerpt.as_ref().and_then(|excerpt| excerpt.number);
        let number = number.map(|number| number.to_string()).unwrap_or_default();
        let gutter = " ".repeat(number.len());
        if let Some(place) = &self.place {
            out += &format!("{gutter} {blue}-->{end} {place}\n");
        }
        if let Some(Excerpt { text, column, width, .. }) = &self.excerpt {
            let (pad, carets) = (" ".repeat(*column), "^".repeat((*width).max(1)));
            out += &format!("{gutter}  {blue}|{end}\n");
            out += format!(" {blue}{number} |{end} {text}").trim_end();
            out += &format!("\n{gutter}  {blue}|{end} {pad}{tone}{carets}{end}\n");
        }
        out += &format!("{gutter}  {blue}={end} {bold}help{end}: {}\n", self.mend);
        out
    }
}

impl Faults {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self(faults)
    }

    /// One after the other: the faults in the order of the file, then the warnings.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// How many faults there are; warnings do not count.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().filter(|fault| fault.severity == Severity::Error).count()
    }

    /// All of them as text, with a line that counts them at the end.
    #[must_use]
    pub fn render(&self, coloured: bool) -> String {
        let mut out = String::new();
        for fault in &self.0 {
            out += &fault.render(coloured);
            out.push('\n');
        }
        let Paint { error, end, .. } = if coloured { COLOURED } else { PLAIN };
        let count = self.count();
        let things = if count == 1 { "error" } else { "errors" };
        out += &format!("{error}{count} {things}{end} in the configuration\n");
        out
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.render(false).trim_end())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Faults {}

/// The candidate that `word` was probably meant to be: at most a third of it mistyped.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(LONGEST_WORD).collect();
    let most = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= most && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `a`, `b` or `c`.
pub(super) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

/// How many characters were typed wrong, left out, added or swapped with their neighbour (optimal string alignment).
fn distance(left: &[char], right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut above2: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, have) in left.iter().enumerate() {
        let mut line = Vec::with_capacity(right.len() + 1);
        line.push(row + 1);
        for (column, want) in right.iter().enumerate() {
            let swap = usize::from(have != want);
            let mut least = (above[column] + swap).min(above[column + 1] + 1).min(line[column] + 1);
            let swapped =
                row > 0 && column > 0 && *have == right[column - 1] && left[row - 1] == *want;
            if swapped {
                least = least.min(above2[column - 1] + 1);
            }
            line.push(least);
        }
        above2 = std::mem::replace(&mut above, line);
    }
    above.last().copied().unwrap_or_default()
}

/// What sets text apart on a terminal.
#[derive(Clone, Copy)]
struct Paint {
    error: &'static str,
    warning: &'static str,
    bold: &'static str,
    gutter: &'static str,
    end: &'static str,
}

const PLAIN: Paint = Paint { error: "", warning: "", bold: "", gutter: "", end: "" };
const COLOURED: Paint = Paint {
    error: "\x1b[1;31m",
    warning: "\x1b[1;33m",
    bold: "\x1b[1m",
    gutter: "\x1b[1;34m",
    end: "\x1b[0m",
};

/// Longer words are compared by their beginning: the comparison costs the product of both lengths.
const LONGEST_WORD: usize = 80;

#[cfg(test)]
mod tests {
    use super::{Excerpt, Fault, Severity, nearest, one_of};

    #[test]
    fn a_misspelt_word_is_recognised_and_an_unrelated_one_is_not() {
        let known = ["listen", "workers", "idle_timeout", "header_timeout"];
        assert_eq!(nearest("lisen", known), Some("listen"));
        assert_eq!(nearest("Listen", known), Some("listen"));
        assert_eq!(nearest("idel_timeout", known), Some("idle_timeout"));
        assert_eq!(nearest("workres", known), Some("workers"));
        assert_eq!(nearest("port", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest("x", ["y"]), None);
    }

    #[test]
    fn choices_are_read_out_like_a_sentence() {
        assert_eq!(one_of(["a"]), "`a`");
        assert_eq!(one_of(["a", "b", "c"]), "`a`, `b` or `c`");
    }

    #[test]
    fn a_fault_shows_its_place_its_line_and_its_mend() {
        let text = "lisen = ***".to_owned();
        let fault =
            Fault::new(Severity::Error, "unknown key `lisen`".into(), "say `listen`".into()).at(
                "a.toml:12:1".into(),
                Some(Excerpt { number: Some(12), text, column: 0, width: 5 }),
            );
        let expected = "\
error: unknown key `lisen`
   --> a.toml:12:1
    |
 12 | lisen = ***
    | ^^^^^
    = help: say `listen`";
        assert_eq!(fault.to_string(), expected);
        assert!(fault.render(true).contains("\x1b[1;31merror\x1b[0m"));
    }
}
