//! Columns to the text of a pattern, the shortest that still says where everything is.

use super::atoms::{Column, Sort};
use super::clues::is_camera;

/// What becomes of a varying column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NamePart {
    /// A field with the text between its braces; the first `trimmed` bytes of the column stay literal.
    Field { body: String, literal: String },
    /// Any text.
    Ignored,
}

impl NamePart {
    /// Bytes of the column's text before the field's value.
    pub(super) fn trimmed(&self) -> usize {
        match self {
            Self::Field { literal, .. } => literal.len(),
            Self::Ignored => 0,
        }
    }
}

/// The field called `name` for a column.
pub(super) fn part(column: &Column<'_>, name: &str) -> NamePart {
    let texts = column.texts();
    let field = |kind: &str| NamePart::Field { body: format!("{name}{kind}"), literal: String::new() };
    match column.sort {
        Sort::Number if column.is_decimal() => field(":float"),
        Sort::Number if column.is_signed() => field(":int"),
        Sort::Number => field(""),
        Sort::Well => field(":well"),
        Sort::Stamp => field(":[0-9T.:_-]+"),
        Sort::Duration => field(":duration"),
        Sort::Guid => field(":guid"),
        Sort::Letters if is_camera(&texts) => {
            let letters: String = texts.iter().filter_map(|t| t.get(3..)).collect();
            let literal = texts.first().and_then(|t| t.get(..3)).unwrap_or_default().to_owned();
            NamePart::Field { body: format!("{name}:[{letters}]"), literal }
        }
        Sort::Letters if texts.iter().all(|t| t.len() == 1) => field(":[A-Za-z]"),
        Sort::Letters => field(":letters"),
        Sort::Word | Sort::Separator => field(":word"),
    }
}

/// A stretch of the pattern.
enum Piece {
    Text(String),
    Field(String),
    Any,
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '{' | '}' | '*' | '?' | '<' | '>' | '\\' | '^' | '$') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Patterns that read the columns, the shortest first: only what is next to the fields, everything between
/// the fields, everything.
pub(super) fn candidates(columns: &[Column<'_>], parts: &[(usize, NamePart)]) -> Vec<String> {
    let in_folder = |at: usize| columns.iter().skip(at).any(|c| c.same() == Some("/"));
    let first_field = parts.iter().find(|(_, p)| matches!(p, NamePart::Field { .. })).map_or(0, |(at, _)| *at);
    let last_slash = columns.iter().rposition(|c| c.same() == Some("/"));
    // Fields in folders need the path; otherwise the file name is enough.
    let from = match last_slash {
        Some(slash) if !in_folder(first_field) => slash + 1,
        _ => 0,
    };
    let mut pieces: Vec<Piece> = Vec::new();
    for (at, column) in columns.iter().enumerate().skip(from) {
        match parts.iter().find(|(i, _)| *i == at).map(|(_, part)| part) {
            Some(NamePart::Field { body, literal }) => {
                push_text(&mut pieces, literal);
                pieces.push(Piece::Field(body.clone()));
            }
            Some(NamePart::Ignored) => pieces.push(Piece::Any),
            None => push_text(&mut pieces, column.same().unwrap_or_default()),
        }
    }
    let short = write(&pieces, 8);
    let long = write(&pieces, usize::MAX);
    let whole = whole(&pieces, from > 0 || last_slash.is_none());
    let mut all = vec![short, long, whole];
    all.dedup();
    all
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ if text.is_empty() => {}
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// Everything, with nothing before or after.
fn whole(pieces: &[Piece], anchored: bool) -> String {
    let mut text = String::from(if anchored { "^" } else { "" });
    for piece in pieces {
        match piece {
            Piece::Text(literal) => text.push_str(&escaped(literal)),
            Piece::Field(body) => text.push_str(&format!("{{{body}}}")),
            Piece::Any => text.push('*'),
        }
    }
    text.push('$');
    text
}

/// The fields with their surroundings; text longer than `most` bytes between two fields becomes `*`.
fn write(pieces: &[Piece], most: usize) -> String {
    let is_field = |p: &Piece| matches!(p, Piece::Field(_));
    let (Some(first), Some(last)) = (pieces.iter().position(is_field), pieces.iter().rposition(is_field)) else {
        return String::new();
    };
    let mut text = String::new();
    if let Some(Piece::Text(head)) = first.checked_sub(1).and_then(|i| pieces.get(i)) {
        text.push_str(&escaped(lead(head)));
    }
    let mut i = first;
    while i <= last {
        let Some(Piece::Field(body)) = pieces.get(i) else { break };
        text.push_str(&format!("{{{body}}}"));
        if i == last {
            break;
        }
        let next = i + 1 + pieces[i + 1..].iter().position(is_field).unwrap_or(0);
        text.push_str(&between(&pieces[i + 1..next], most));
        i = next;
    }
    if let Some(Piece::Text(tail)) = pieces.get(last + 1) {
        text.push_str(&escaped(trail(tail, last + 2 == pieces.len())));
    } else if matches!(pieces.get(last + 1), Some(Piece::Any)) {
        text.push('*');
    }
    text
}

fn between(pieces: &[Piece], most: usize) -> String {
    let is_plain = pieces.iter().all(|p| matches!(p, Piece::Text(_)));
    let length: usize = pieces.iter().map(|p| if let Piece::Text(t) = p { t.len() } else { 0 }).sum();
    let crosses = pieces.iter().any(|p| matches!(p, Piece::Text(t) if t.contains('/')));
    if crosses || most == usize::MAX || is_plain && length <= most {
        return pieces
            .iter()
            .map(|p| match p {
                Piece::Text(t) => escaped(t),
                _ => "*".to_owned(),
            })
            .collect();
    }
    let head = match pieces.first() {
        Some(Piece::Text(t)) => trail(t, false),
        _ => "",
    };
    let tail = match pieces.last() {
        Some(Piece::Text(t)) if pieces.len() > 1 || t.len() > head.len() => {
            lead(t.get(if pieces.len() == 1 { head.len() } else { 0 }..).unwrap_or_default())
        }
        _ => "",
    };
    format!("{}*{}", escaped(head), escaped(tail))
}

fn is_separator(c: char) -> bool {
    !c.is_alphanumeric()
}

/// The end of `text` from its last separator on: what leads up to a field.
fn lead(text: &str) -> &str {
    let trimmed = text.trim_end_matches(is_separator);
    let from = if trimmed.len() < text.len() {
        // A word before the separator may be the marker.
        trimmed.rfind(is_separator).unwrap_or(0)
    } else {
        text.rfind(is_separator).unwrap_or(0)
    };
    text.get(from..).unwrap_or(text)
}

/// The beginning of `text` up to its first separator: what ends a field. All of an extension.
fn trail(text: &str, is_end: bool) -> &str {
    if is_end && text.starts_with('.') {
        return text;
    }
    match text.char_indices().find(|(_, c)| is_separator(*c)) {
        Some((i, c)) => text.get(..i + c.len_utf8()).unwrap_or(text),
        None => text,
    }
}
