//! File-name templates: parse, match a name, format a name, and arrange names on a grid. Pure.

mod arrange;
mod axes;
mod holes;
mod infer;
mod interner;
mod language;
mod matcher;
mod named;
mod natural;
mod presets;
mod report;
mod runs;
#[cfg(test)]
mod tests;
mod tiles;
mod value;

use std::fmt;

pub use arrange::{ArrangeOptions, Arrangement, Conflict, Duplicate, FieldAxis, Split, Tied, arrange, split};
pub use holes::Holes;
pub use infer::{InferOptions, Inferred, infer};
pub use natural::natural_cmp;
pub use presets::{Preset, presets, user_presets};
pub use report::{Fault, FaultKind, FieldReport, Role};
pub use tiles::{TileAxis, TileOrder};
pub use value::{Kind, Unit};

use crate::error::{Error, Result};
use language::Step;
use matcher::{Furthest, Matcher, Scratch};

/// A named part of a pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// As written before the `:`: `c`, `c.camera`, `t@ms`.
    pub name: String,
    /// The axis it gives positions or coordinates to; `None` for a part that is to be ignored (`{_}`).
    pub axis: Option<String>,
    /// What comes after the point, where several fields make one axis.
    pub part: Option<String>,
    /// The unit its values are in, which makes them coordinates.
    pub unit: Option<Unit>,
    /// What it holds.
    pub kind: Kind,
}

/// One place of the pattern where a field stands.
#[derive(Clone, Debug, PartialEq)]
struct Slot {
    field: usize,
    kind: Kind,
    /// Whether an earlier slot has the same field; their values must agree.
    again: bool,
}

#[derive(Clone, Debug)]
enum Engine {
    Template(Vec<Step>),
    Named(regex::Regex),
}

/// A file-name template.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    engine: Engine,
    fields: Vec<Field>,
    slots: Vec<Slot>,
    in_path: bool,
}

/// Prints the pattern as the user would type it.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    /// Reads a pattern in the language of this module.
    ///
    /// # Errors
    /// `Usage`, pointing at the column of the mistake.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed = language::parse(text)?;
        Ok(Self {
            text: text.to_owned(),
            engine: Engine::Template(parsed.steps),
            fields: parsed.fields,
            slots: parsed.slots,
            in_path: parsed.in_path,
        })
    }

    /// Reads a regular expression whose named groups are the fields: `(?P<t>\d+)`. A point in the name
    /// divides axis and part (`c.camera`), a unit after the last `_` makes coordinates (`t_ms`), a name
    /// that begins with `_` is ignored.
    ///
    /// # Errors
    /// `Usage` if it is not a regular expression or has no named group.
    pub fn regex(text: &str) -> Result<Self> {
        named::parse(text)
    }

    /// The fields, in order of first appearance.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Whether it was given as a regular expression.
    pub fn is_regex(&self) -> bool {
        matches!(self.engine, Engine::Named(_))
    }

    /// Whether it is matched in the whole path rather than in the file name.
    pub fn in_path(&self) -> bool {
        self.in_path
    }

    /// The text of every field in `path`, `None` for one in an optional part that is absent. `None` in
    /// all if the name does not match.
    pub fn matches<'n>(&self, path: &'n str) -> Option<Vec<Option<&'n str>>> {
        let mut scratch = Scratch::default();
        let mut spans = Vec::new();
        if !self.find(path, &mut scratch, &mut spans) {
            return None;
        }
        Some(spans.iter().map(|span| span.and_then(|(a, b)| path.get(a as usize..b as usize))).collect())
    }

    /// Where the part of `path` begins that the pattern is matched in.
    fn begin(&self, path: &str) -> usize {
        if self.in_path { 0 } else { path.rfind('/').map_or(0, |slash| slash + 1) }
    }

    /// Fills `spans`, one per field, if `path` matches.
    fn find(&self, path: &str, scratch: &mut Scratch, spans: &mut matcher::Spans) -> bool {
        let from = self.begin(path);
        match &self.engine {
            Engine::Template(steps) => {
                if !Matcher::new(steps, &self.slots, path, from, scratch).search() {
                    return false;
                }
            }
            Engine::Named(regex) => {
                let Some(found) = regex.captures(path.get(from..).unwrap_or_default()) else { return false };
                scratch.spans.clear();
                scratch.spans.extend(self.slots.iter().map(|slot| {
                    let name = self.fields.get(slot.field).map_or("", |f| f.name.as_str());
                    found.name(name).map(|m| ((m.start() + from) as u32, (m.end() + from) as u32))
                }));
            }
        }
        spans.clear();
        spans.resize(self.fields.len(), None);
        for (slot, span) in self.slots.iter().zip(&scratch.spans) {
            let Some(kept) = spans.get_mut(slot.field) else { return false };
            let text = |span: &(u32, u32)| path.get(span.0 as usize..span.1 as usize).unwrap_or_default();
            match (&kept, span) {
                (Some(first), Some(second)) => {
                    let kind = self.fields.get(slot.field).map_or(&slot.kind, |f| &f.kind);
                    if kind.compare(text(first), text(second)).is_ne() {
                        return false;
                    }
                }
                (None, Some(_)) => *kept = *span,
                (_, None) => {}
            }
        }
        true
    }

    /// How far a name that does not match came, and what was wanted there.
    fn explain(&self, path: &str) -> (Furthest, String) {
        let Engine::Template(steps) = &self.engine else {
            return (Furthest::default(), String::new());
        };
        let mut scratch = Scratch::default();
        let furthest = Matcher::new(steps, &self.slots, path, self.begin(path), &mut scratch).furthest();
        let wanted = match steps.get(furthest.step) {
            Some(Step::Literal(text)) => format!("'{text}'"),
            Some(Step::Value { slot, .. }) => match self.slots.get(*slot) {
                Some(slot) => {
                    let name = self.fields.get(slot.field).map_or("", |f| f.name.as_str());
                    format!("{} for {{{name}}}", slot.kind.wanted())
                }
                None => String::new(),
            },
            Some(Step::End) => "the end of the name".to_owned(),
            Some(Step::AnyChar) => "one more character".to_owned(),
            _ => String::new(),
        };
        (furthest, wanted)
    }

    /// The name with `values`, one for each field in the order of [`Pattern::fields`]; `None` leaves an
    /// optional part out. Wildcards become nothing, `?` becomes `_`.
    ///
    /// # Errors
    /// `Usage` if the pattern is a regular expression, the number of values differs, a value does not fit
    /// its field, or the name would be read back as something else.
    pub fn format(&self, values: &[Option<&str>]) -> Result<String> {
        let Engine::Template(steps) = &self.engine else {
            return Err(Error::usage("a regular expression cannot make names; give a pattern with braces"));
        };
        if values.len() != self.fields.len() {
            return Err(Error::usage(format!("'{self}' has {} fields, not {}", self.fields.len(), values.len())));
        }
        let value_at = |step: &Step| match step {
            Step::Value { slot, .. } => self.slots.get(*slot).and_then(|s| values.get(s.field).copied().flatten()),
            _ => None,
        };
        let mut name = String::new();
        let mut i = 0;
        while let Some(step) = steps.get(i) {
            i += 1;
            match step {
                Step::Literal(text) => name.push_str(text),
                Step::AnyChar => name.push('_'),
                Step::Star { .. } | Step::Start | Step::End => {}
                Step::Value { .. } => name.push_str(value_at(step).unwrap_or_default()),
                Step::Optional { end } => {
                    if steps.get(i..*end).is_some_and(|inside| inside.iter().all(|s| value_at(s).is_none())) {
                        i = *end;
                    }
                }
            }
        }
        if self.matches(&name).as_deref() != Some(values) {
            return Err(Error::usage(format!("'{self}' cannot make a name of these values: '{name}' reads otherwise")));
        }
        Ok(name)
    }
}
