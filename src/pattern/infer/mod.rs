//! Finds a pattern from the names alone, or says why it will not guess.
//!
//! First the presets are tried: names that one of them was made for need no guessing. Otherwise one principle holds.
//! Names are cut into typed atoms; those at one place are a column. Each column that varies has readings with a strength
//! from one table of clues. Columns that a certain one fixes follow it. A pattern is given only if every column's best
//! reading stands alone and every name, read by it, has a cell of its own in a grid that is mostly full; otherwise the
//! question is about the weakest column, with its own readings. Every pattern shown has been tried on the names.

mod atoms;
mod clues;
mod compose;
mod program;
mod settle;

use atoms::{Build, Column, Sort};
use compose::NamePart;
use settle::Varying;

use super::arrange::{Arrangement, arrange};
use super::axes::ArrangeOptions;
use super::natural::composed;
use super::{Pattern, Preset, presets};
use crate::error::{Error, Result};

/// What inference may use.
#[derive(Clone, Debug, Default)]
pub struct InferOptions {
    /// The user's own presets, tried before the built-in ones.
    pub presets: Vec<Preset>,
    /// How the names are then arranged.
    pub arrange: ArrangeOptions,
}

/// A pattern found from names.
#[derive(Clone, Debug)]
pub struct Inferred {
    /// The pattern.
    pub pattern: Pattern,
    /// The preset it comes from.
    pub preset: Option<String>,
    /// The reasons, a line for each part of the names.
    pub why: Vec<String>,
    /// The names arranged by it.
    pub arrangement: Arrangement,
}

/// The least part of a grid that must be filled before its axes are believed.
const LEAST_FILLED: f64 = 0.55;
/// Part of the names that may be strangers.
const MOST_STRANGERS: f64 = 0.1;

/// Finds the pattern of `names`.
///
/// # Errors
/// `Usage` when nothing says what a varying part means, when there is more than one reading (both are
/// given), or when what was found does not put the names on a grid.
pub fn infer<N: AsRef<str> + Sync>(names: &[N], options: &InferOptions) -> Result<Inferred> {
    if names.is_empty() {
        return Err(Error::usage("there are no names to find a pattern in"));
    }
    if let Some(names) = composed(names) {
        return infer(&names, options);
    }
    for preset in options.presets.iter().chain(presets()) {
        if let Some(found) = program::by_preset(preset, names, &options.arrange)? {
            return Ok(found);
        }
    }
    by_columns(names, &options.arrange)
}

/// Whether an arrangement can be believed without being asked for.
fn is_convincing(found: &Arrangement) -> bool {
    let filled = (found.holes.total - found.holes.count) as f64;
    found.duplicates.is_empty() && found.conflicts.is_empty() && filled >= LEAST_FILLED * found.holes.total as f64
}

fn by_columns<N: AsRef<str> + Sync>(names: &[N], options: &ArrangeOptions) -> Result<Inferred> {
    let mut groups = atoms::builds(names).into_iter();
    let members = groups.next().unwrap_or_default();
    let others: Vec<u32> = groups.flatten().collect();
    let build = atoms::columns(names, members);
    check_strangers(names, &build, &others)?;
    let mut why = Vec::new();
    let varying = settle::settle(&build, &mut why);
    if varying.is_empty() {
        return Err(Error::usage("nothing in the names varies, so they say nothing about the array"));
    }
    let trial = Trial { names, build: &build, others: &others, options };
    let open = |v: &&Varying<'_, '_>| v.follows.is_none() && v.best().is_none();
    if let Some(weakest) = varying.iter().filter(open).min_by_key(|v| v.strength()) {
        return Err(trial.ask(&varying, weakest));
    }
    explain(&build, &varying, &mut why);
    let parts: Vec<(usize, NamePart)> = varying.iter().map(|v| (v.at, part_of(v))).collect();
    let mut unconvincing = None;
    for text in compose::candidates(&build.columns, &parts) {
        let Some((pattern, arrangement)) = trial.read(&text) else { continue };
        if !trial.reads_alike(&pattern, &parts) {
            continue;
        }
        if is_convincing(&arrangement) {
            return Ok(Inferred { pattern, preset: None, why, arrangement });
        }
        unconvincing.get_or_insert((pattern, arrangement));
    }
    Err(Error::usage(match unconvincing {
        Some((pattern, found)) => {
            let sizes: Vec<String> = found.axes.iter().map(|a| format!("{} {}", a.name, a.len())).collect();
            let how = match found.duplicates.len() {
                0 => format!(
                    "only {} of {} positions have a file",
                    found.holes.total - found.holes.count,
                    found.holes.total
                ),
                n => format!("{n} positions have more than one file"),
            };
            format!(
                "the names could be read with '{pattern}' as {}, but {how}; give a --pattern that says what they mean",
                sizes.join(", ")
            )
        }
        None => "no pattern reads all the names the same way; give one with --pattern".to_owned(),
    }))
}

/// Names to try patterns on.
struct Trial<'a, 'n, N> {
    names: &'a [N],
    build: &'a Build<'n>,
    /// Names that are built otherwise.
    others: &'a [u32],
    options: &'a ArrangeOptions,
}

impl<N: AsRef<str> + Sync> Trial<'_, '_, N> {
    /// The pattern and what it makes of the names, if it reads all that are built alike and no others.
    fn read(&self, text: &str) -> Option<(Pattern, Arrangement)> {
        let pattern = Pattern::parse(text).ok()?;
        let matches = |i: &u32| self.names.get(*i as usize).is_some_and(|n| pattern.matches(n.as_ref()).is_some());
        if !self.build.members.iter().all(matches) || self.others.iter().any(matches) {
            return None;
        }
        let found = arrange(&pattern, self.names, self.options).ok()?;
        Some((pattern, found))
    }

    /// Whether every name of the build gives the columns' texts for the fields.
    fn reads_alike(&self, pattern: &Pattern, parts: &[(usize, NamePart)]) -> bool {
        let wanted: Vec<(&Column<'_>, usize)> = parts
            .iter()
            .filter(|(_, part)| matches!(part, NamePart::Field { .. }))
            .filter_map(|(at, part)| Some((self.build.columns.get(*at)?, part.trimmed())))
            .collect();
        self.build.members.iter().enumerate().all(|(k, i)| {
            let Some(found) = self.names.get(*i as usize).and_then(|n| pattern.matches(n.as_ref())) else {
                return false;
            };
            let same = |((column, trimmed), found): (&(&Column<'_>, usize), Option<&str>)| {
                column.text_of(k).and_then(|t| t.get(*trimmed..)) == found
            };
            found.len() == wanted.len() && wanted.iter().zip(found).all(same)
        })
    }

    /// The question about a column that nothing explains, with patterns that have been tried.
    fn ask(&self, varying: &[Varying<'_, '_>], weakest: &Varying<'_, '_>) -> Error {
        let texts = weakest.column.texts();
        let range = match texts.as_slice() {
            [] => "more than can be listed".to_owned(),
            [a, .., z] if texts.len() > 3 => format!("{a} to {z}"),
            _ => texts.join(", "),
        };
        let count = if texts.is_empty() { "many".to_owned() } else { texts.len().to_string() };
        let axes: Vec<&str> = weakest.readings.iter().map(|r| r.axis.as_str()).collect();
        let hint = match axes.as_slice() {
            [] => "nothing says what it is".to_owned(),
            _ => format!("it may be {}, but that is not sure", axes.join(" or ")),
        };
        let mut text = format!("'{}' varies ({count} values: {range}) and {hint}", weakest.called);
        let mut shown = Vec::new();
        for way in self.ways(varying, weakest) {
            // What goes with the part may stand in the way.
            let others = varying.iter().filter(|v| v.at != weakest.at && v.best().is_some()).map(Some);
            let tried = [None].into_iter().chain(others).find_map(|skipped| {
                let parts = self.guess(varying, weakest, &way, skipped);
                Some((self.convincing(&parts)?, skipped))
            });
            if let Some((pattern, skipped)) = tried {
                let and = skipped.map_or_else(String::new, |v| format!(", and '{}' goes with it", v.called));
                shown.push(format!("  --pattern {}  if it is {}{and}", quoted(&pattern), way.spoken()));
            }
        }
        if !shown.is_empty() {
            text.push_str("; more than one reading is possible:\n");
            text.push_str(&shown.join("\n"));
        }
        text.push_str("\n  or write a --pattern with {");
        text.push_str(match (weakest.column.is_decimal(), weakest.column.is_signed()) {
            (true, _) => "name:float} for this part",
            (_, true) => "name:int} for this part",
            _ => "name} for this part",
        });
        text.push_str(", or pass over it with * and choose files with --include or --exclude");
        let open = varying.iter().filter(|v| v.follows.is_none() && v.best().is_none()).count();
        if open > 1 {
            text.push_str(&format!("\n(and {} other parts vary that nothing explains)", open - 1));
        }
        Error::usage(text)
    }

    /// The first pattern of these parts that reads all the names, each for a cell of its own.
    fn convincing(&self, parts: &[(usize, NamePart)]) -> Option<String> {
        let tries = |text: &String| self.read(text).is_some_and(|(_, found)| is_convincing(&found));
        compose::candidates(&self.build.columns, parts).into_iter().find(tries)
    }

    /// What the column may be: its own readings, or what such a thing often is.
    fn ways(&self, varying: &[Varying<'_, '_>], weakest: &Varying<'_, '_>) -> Vec<Way> {
        if let Some((a, b)) = clues::two_numbers(weakest.column) {
            return [("c", "z"), ("c", "t")].map(|(x, y)| Way::Two(x, a, y, b)).into();
        }
        if clues::is_point_or_position(weakest.column) {
            let axis = weakest.readings.first().map_or("c", |r| r.axis.as_str());
            return vec![Way::Position(axis.to_owned()), Way::Axis(axis.to_owned()), Way::Nothing];
        }
        let is_taken =
            |axis: &str| varying.iter().any(|v| v.at != weakest.at && v.best().is_some_and(|r| r.axis == axis));
        let mut ways: Vec<String> = weakest.readings.iter().map(|r| r.axis.clone()).collect();
        let usual: &[&str] = match weakest.column.sort {
            Sort::Number => &["z", "t", "p", "n"],
            Sort::Stamp => &["t"],
            _ => &["c", "p", "n", "m"],
        };
        for axis in usual.iter().filter(|a| !is_taken(a)) {
            if ways.len() < 2 && !ways.iter().any(|w| w == axis) {
                ways.push((*axis).to_owned());
            }
        }
        ways.into_iter().map(Way::Axis).chain([Way::Nothing]).collect()
    }

    /// All columns as they are best read but for the weakest and one to pass over, with a letter for each that is unknown
    /// too.
    fn guess(
        &self,
        varying: &[Varying<'_, '_>],
        weakest: &Varying<'_, '_>,
        way: &Way,
        skipped: Option<&Varying<'_, '_>>,
    ) -> Vec<(usize, NamePart)> {
        let mut letters = ('a'..='w').map(String::from).filter(|l| l != "c" && l != "t");
        let mut used: Vec<String> = varying.iter().filter_map(|v| v.best().map(|r| r.axis.clone())).collect();
        used.extend(if let Way::Axis(axis) = way { Some(axis.clone()) } else { None });
        let part = |v: &Varying<'_, '_>| {
            if v.at == weakest.at {
                return (v.at, way.part(v.column));
            }
            if v.follows.is_some() || v.best().is_some() {
                return (v.at, if skipped.is_some_and(|s| s.at == v.at) { NamePart::Ignored } else { part_of(v) });
            }
            let own = v.readings.iter().map(|r| r.axis.clone()).find(|a| !used.contains(a));
            let name = own.or_else(|| letters.find(|l| !used.contains(l))).unwrap_or_default();
            used.push(name.clone());
            (v.at, compose::part(v.column, &name))
        };
        varying.iter().map(part).collect()
    }
}

/// One answer to a question about a part.
enum Way {
    Axis(String),
    /// Two numbers run together: an axis and its width, and another one.
    Two(&'static str, usize, &'static str, usize),
    /// An axis, and a position behind `p`.
    Position(String),
    Nothing,
}

impl Way {
    fn part(&self, column: &Column<'_>) -> NamePart {
        match self {
            Self::Axis(axis) => compose::part(column, axis),
            Self::Two(a, n, b, m) => NamePart::Field { body: format!("{a}:{n}}}{{{b}:{m}"), literal: String::new() },
            Self::Position(axis) => NamePart::Field { body: format!("{axis}}}p{{p"), literal: String::new() },
            Self::Nothing => NamePart::Ignored,
        }
    }

    fn spoken(&self) -> String {
        match self {
            Self::Axis(axis) => spoken(axis).to_owned(),
            Self::Two(a, n, b, _) => format!("two numbers, {} of {n} digits and {}", spoken(a), spoken(b)),
            Self::Position(axis) => format!("{} and a position (p)", spoken(axis)),
            Self::Nothing => "nothing that matters".to_owned(),
        }
    }
}

/// One word for a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn spoken(axis: &str) -> &str {
    match axis {
        "z" => "a plane of a volume (z)",
        "t" => "a time point (t)",
        "c" => "a channel (c)",
        "p" => "a position (p)",
        "y" => "a tile's row (y), joined to its neighbours",
        "x" => "a tile's column (x), joined to its neighbours",
        "n" | "m" => "something else (any name will do)",
        other => other,
    }
}

/// Names built otherwise may only be few, and unlike the rest.
fn check_strangers<N: AsRef<str>>(names: &[N], build: &Build<'_>, others: &[u32]) -> Result<()> {
    let name = |i: u32| names.get(i as usize).map_or("", AsRef::as_ref);
    let Some(first) = build.members.first().map(|i| name(*i)) else { return Ok(()) };
    // What all names of the build begin with, in the file name.
    let mut head = String::new();
    for column in &build.columns {
        match column.same() {
            Some("/") => head.clear(),
            Some(text) => head.push_str(text),
            None => break,
        }
    }
    let file = |n: &str| n.rsplit('/').next().unwrap_or_default().to_owned();
    // A text file or a database beside the images is no question.
    let extension = |n: &str| file(n).rsplit_once('.').map(|(_, e)| e.to_lowercase());
    let others: Vec<u32> = others.iter().copied().filter(|i| extension(name(*i)) == extension(first)).collect();
    let alike =
        others.iter().find(|i| head.chars().any(char::is_alphabetic) && file(name(**i)).starts_with(head.as_str()));
    let many = others.len() as f64 > MOST_STRANGERS * names.len() as f64;
    match (alike, others.first()) {
        (Some(other), _) => Err(Error::usage(format!(
            "{} names are built otherwise than the rest, though they begin alike:\n  {first}\n  {}\n\
             leave them out with --exclude, or give a --pattern",
            others.len(),
            name(*other)
        ))),
        (None, Some(other)) if many => Err(Error::usage(format!(
            "the names are built in several ways ({} of {} otherwise):\n  {first}\n  {}\n\
             leave some out with --exclude, or give a --pattern",
            others.len(),
            names.len(),
            name(*other)
        ))),
        _ => Ok(()),
    }
}

fn part_of(v: &Varying<'_, '_>) -> NamePart {
    match v.best() {
        None => NamePart::Ignored,
        Some(reading) => match &reading.unit {
            Some(unit) if v.column.sort == Sort::Number => compose::part(v.column, &format!("{}@{unit}", reading.axis)),
            _ => compose::part(v.column, &reading.axis),
        },
    }
}

fn explain(build: &Build<'_>, varying: &[Varying<'_, '_>], why: &mut Vec<String>) {
    for v in varying {
        let (called, count) = (&v.called, v.column.texts().len());
        why.push(match (&v.follows, v.best()) {
            (Some(what), _) => format!("{called}: varies with {what}, passed over"),
            (None, Some(reading)) => match &reading.unit {
                Some(unit) => format!("{called}: {count} values, coordinates of {} in {}", reading.axis, unit.name),
                None => format!("{called}: {count} values, names the axis {}", reading.axis),
            },
            (None, None) => format!("{called}: unknown"),
        });
    }
    let constant: Vec<String> = build
        .columns
        .iter()
        .enumerate()
        .filter(|(_, c)| c.sort == Sort::Number && !c.varies())
        .map(|(at, column)| (clues::readings(&build.columns, at), column.same().unwrap_or_default()))
        .filter(|((readings, _), _)| !readings.is_empty())
        .map(|((_, called), text)| format!("{called} {text}"))
        .collect();
    if !constant.is_empty() {
        why.push(format!("the same in every name, dropped: {}", constant.join(", ")));
    }
}
