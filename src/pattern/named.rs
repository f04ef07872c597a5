//! `--regex`: named groups as fields.

use super::value::FieldKind;
use super::{Engine, Field, Pattern, Slot};
use crate::error::{Error, Result};
use crate::unit::Unit;

/// Enough for any list of names, small enough that a hostile expression cannot take the memory.
const SIZE_LIMIT: usize = 8 << 20;

pub(super) fn parse(text: &str) -> Result<Pattern> {
    let in_path = text.contains('/');
    // Where the list of files begins is nothing the expression can know.
    let searched = match text.strip_prefix('^') {
        Some(rest) if in_path => format!("(?:^|/)(?:{rest})"),
        _ => text.to_owned(),
    };
    let regex = regex::RegexBuilder::new(&searched)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|e| Error::usage(format!("--regex: {}", mistake(&e))))?;
    let groups: Vec<usize> =
        regex.capture_names().enumerate().filter(|(_, name)| name.is_some()).map(|(i, _)| i).collect();
    let fields: Vec<Field> = regex.capture_names().flatten().map(field).collect();
    if fields.is_empty() {
        let what = "--regex: no group has a name; the parts that vary are written (?P<t>\\d+)";
        return Err(Error::usage(what));
    }
    let slots = (0..fields.len()).map(|i| Slot { field: i, kind: fields[i].kind.clone(), repeats: false }).collect();
    Ok(Pattern { text: text.to_owned(), engine: Engine::Named(regex, groups), fields, slots, in_path })
}

/// What is wrong with an expression: the reason first, then the place.
fn mistake(error: &regex::Error) -> String {
    let text = error.to_string();
    let Some((place, reason)) = text.rsplit_once("\nerror: ") else { return text };
    let lines = place.lines().skip(1).map(|line| format!("\n{}", line.strip_prefix("  ").unwrap_or(line)));
    format!("{reason}{}", lines.collect::<String>())
}

/// The field of a group's name: `t`, `c.camera`, `t_ms`, `_ignored`. What it holds is decided by the values.
fn field(name: &str) -> Field {
    let (head, unit) = match name.rsplit_once('_') {
        Some((head, unit)) if !head.is_empty() => match Unit::parse(unit) {
            Some(unit) => (head, Some(unit)),
            None => (name, None),
        },
        _ => (name, None),
    };
    let (axis, part) = match head.split_once('.') {
        Some((axis, part)) => (axis, Some(part.to_owned())),
        None => (head, None),
    };
    let axis = (!name.starts_with('_')).then(|| axis.to_owned());
    Field { name: name.to_owned(), axis, part, unit, kind: FieldKind::Text }
}
