//! File-name patterns: what the parts of a name mean, and where each file lies in the array.
//!
//! Pure: names in, coordinates out; no file is looked at. A [`Pattern`] reads one name, [`arrange`] puts many
//! on a grid and says what is missing, doubled or odd, [`infer`] finds the pattern when none is given, and
//! [`presets`] are patterns of acquisition programs.
//!
//! ```
//! use stackctl::pattern::{ArrangeOptions, Pattern, arrange};
//!
//! let pattern = Pattern::parse("_ch{c}_stack{t}_{t@ms}msec")?;
//! let names = ["a_ch0_stack0_000msec.tif", "a_ch1_stack0_000msec.tif", "a_ch0_stack1_250msec.tif"];
//! let found = arrange(&pattern, &names, &ArrangeOptions::default())?;
//! assert_eq!(found.axes[1].coordinates, Some(vec![0.0, 250.0]));
//! assert_eq!(found.holes.describe(&found.axes, 10), ["c=1 t=1"]);
//! # Ok::<(), stackctl::error::Error>(())
//! ```

#![doc = include_str!("../../docs/patterns.md")]

mod arrange;
mod axes;
mod concise;
mod holes;
mod infer;
mod interner;
mod language;
mod matcher;
mod named;
mod natural;
mod parts;
mod presence;
mod presets;
mod report;
mod runs;
mod tiles;
mod value;

use std::fmt;

use unicode_normalization::UnicodeNormalization;

pub use arrange::{Arrangement, Group, Split, arrange, split};
pub use axes::ArrangeOptions;
pub use holes::Holes;
pub use infer::{InferOptions, Inferred, infer};
pub use natural::natural_cmp;
pub use parts::{Conflict, Duplicate, FieldAxis, FieldReport, Role, Tied};
pub use presence::Presence;
pub use presets::{Preset, presets, user_presets};
pub use report::{Fault, FaultKind};
pub use tiles::{TileAxis, TileOrder};
pub use value::FieldKind;

use crate::error::{Error, Result};
use crate::unit::Unit;
use language::Step;
use matcher::{Furthest, MatchScratch, Matcher};

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
    pub kind: FieldKind,
}

/// One place of the pattern where a field stands.
#[derive(Clone, Debug, PartialEq)]
struct Slot {
    field: usize,
    kind: FieldKind,
    /// Whether another slot has the same field; their values must agree.
    repeats: bool,
}

#[derive(Clone, Debug)]
enum Engine {
    Template(Vec<Step>),
    /// The expression and the number of each slot's group.
    Named(regex::Regex, Vec<usize>),
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
        // Names are compared in this form.
        let text: String = text.nfc().collect();
        let parsed = language::parse(&text)?;
        Ok(Self {
            text,
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
        named::parse(&text.nfc().collect::<String>())
    }

    /// The fields, in order of first appearance.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Whether it was given as a regular expression.
    pub fn is_regex(&self) -> bool {
        matches!(self.engine, Engine::Named(..))
    }

    /// Whether it is matched in the whole path rather than in the file name.
    pub fn in_path(&self) -> bool {
        self.in_path
    }

    /// The text of every field in `path`, `None` for one in an optional part that is absent. `None` in
    /// all if the name does not match. Letters with marks must be composed (NFC), as [`arrange`] makes them.
    pub fn matches<'n>(&self, path: &'n str) -> Option<Vec<Option<&'n str>>> {
        let mut scratch = MatchScratch::default();
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
    fn find(&self, path: &str, scratch: &mut MatchScratch, spans: &mut matcher::Spans) -> bool {
        let from = self.begin(path);
        match &self.engine {
            Engine::Template(steps) => {
                if !Matcher::new(steps, &self.slots, path, from, scratch).search() {
                    return false;
                }
            }
            Engine::Named(regex, groups) => {
                let places = scratch.places.get_or_insert_with(|| regex.capture_locations());
                if regex.captures_read(places, path.get(from..).unwrap_or_default()).is_none() {
                    return false;
                }
                let span = |group: &usize| places.get(*group).map(|(a, b)| ((a + from) as u32, (b + from) as u32));
                scratch.spans.clear();
                scratch.spans.extend(groups.iter().map(span));
            }
        }
        spans.clear();
        spans.resize(self.fields.len(), None);
        for (slot, span) in self.slots.iter().zip(&scratch.spans) {
            let Some(kept) = spans.get_mut(slot.field) else { return false };
            *kept = kept.or(*span);
        }
        true
    }

    /// How far a name that does not match came, and what was wanted there.
    fn explain(&self, path: &str) -> (Furthest, String) {
        let Engine::Template(steps) = &self.engine else {
            return (Furthest::default(), String::new());
        };
        let mut scratch = MatchScratch::default();
        let furthest = Matcher::new(steps, &self.slots, path, self.begin(path), &mut scratch).furthest();
        let rest = path.get(furthest.at..).unwrap_or_default();
        let goes_on =
            |signs: &[char]| rest.strip_prefix(signs).is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()));
        let digits_at = |step: Option<usize>| match step.and_then(|i| steps.get(i)) {
            Some(Step::Value { slot, .. }) => {
                let field = self.slots.get(*slot).and_then(|s| self.fields.get(s.field));
                field.filter(|f| f.kind.is_index()).map(|f| &f.name)
            }
            _ => None,
        };
        let hint = match (digits_at(Some(furthest.step)), digits_at(furthest.step.checked_sub(1))) {
            (Some(name), _) if goes_on(&['-', '+']) => {
                format!("; {{{name}:int}} takes signs, {{{name}:float}} decimals too")
            }
            (None, Some(name)) if goes_on(&['.', 'p']) => format!("; {{{name}:float}} takes decimals"),
            _ => String::new(),
        };
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
        (furthest, wanted + &hint)
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
