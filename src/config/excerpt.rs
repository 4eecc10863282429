//! A piece of a source text as it can be shown: one line, without what must not be seen, cut to the width of a terminal.

use std::ops::Range;

use super::mask::Hidden;

/// Line and column of a byte, both from 1; columns count characters.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let at = boundary(text, at);
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = text[line_start..at].trim_start_matches(BOM).chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// The line that holds a byte, without its end.
pub(super) fn line_around(text: &str, at: usize) -> Range<usize> {
    let at = boundary(text, at);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    start..end
}

/// The nearest place at or before a byte where a character begins.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// What may be seen of a line, and where `target` is in it: its column, from 0, and its width.
pub(super) fn excerpt(
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

/// Stands for what must not be seen.
const MASK: &str = "***";

/// A line is cut around its fault beyond this, so that it fits a terminal.
const WIDEST_LINE: usize = 120;

/// What is quoted in a sentence is cut beyond this.
const LONGEST_QUOTE: usize = 80;

/// What some editors put before a text.
pub(super) const BOM: char = '\u{feff}';
