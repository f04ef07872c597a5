//! Finds a pattern from the names alone, or says why it will not guess.
//!
//! First the presets are tried: names that one of them was made for need no guessing. Otherwise names that
//! are built alike are cut into columns; a column that varies is named by the letters around it, is tied to
//! one that has a name, or is a question put to the user. Nothing is decided between z and t without a
//! marker, and a pattern is only given when every name read by it falls on a cell of its own and most cells
//! are filled.

mod compose;
mod markers;
mod program;
mod settle;
mod tokens;

use compose::Part;
use markers::Meaning;
use tokens::{Build, Column, Sort};

use super::arrange::{Arrangement, arrange};
use super::axes::ArrangeOptions;
use super::value::Unit;
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

/// What a varying column is taken for.
#[derive(Clone, Debug, PartialEq)]
enum Reading {
    /// Positions along an axis.
    Axis(String),
    /// Coordinates of an axis.
    Measure(String, Unit),
    /// Goes with these, or tells files apart.
    Follows(String),
    Unknown,
    Either(String, String),
}

struct Varying<'b, 'n> {
    /// Place among the columns of the build.
    at: usize,
    column: &'b Column<'n>,
    reading: Reading,
    /// The letters that named it, or its values.
    called: String,
}

fn by_columns<N: AsRef<str> + Sync>(names: &[N], options: &ArrangeOptions) -> Result<Inferred> {
    let mut groups = tokens::builds(names).into_iter();
    let members = groups.next().unwrap_or_default();
    let others: Vec<u32> = groups.flatten().collect();
    let build = tokens::columns(names, members);
    check_strangers(names, &build, &others)?;
    let mut varying: Vec<Varying<'_, '_>> = build
        .columns
        .iter()
        .enumerate()
        .filter(|(_, c)| c.varies())
        .map(|(at, column)| {
            let (reading, called) = read_column(&build.columns, at);
            Varying { at, column, reading, called }
        })
        .collect();
    if varying.is_empty() {
        let what = "nothing in the names varies, so they say nothing about the array";
        return Err(Error::usage(what));
    }
    let mut why = Vec::new();
    settle::unite_cameras(&mut varying);
    settle::pair_rows_and_columns(&build, &mut varying);
    settle::doubt_lone_letters(&build, &mut varying);
    settle::doubts(&mut varying, &mut why);
    settle::ties(&mut varying, build.members.len(), &mut why);
    ask_about_unknown(&build, &varying)?;
    refuse_two_of_a_kind(&varying)?;
    refuse_numbers_run_together(&varying)?;
    explain(&build, &varying, &mut why);

    let parts: Vec<(usize, Part)> = varying.iter().map(|v| (v.at, part_of(v))).collect();
    let mut reason = None;
    for text in compose::candidates(&build.columns, &parts) {
        let Ok(pattern) = Pattern::parse(&text) else { continue };
        if !reads_alike(&pattern, names, &build, &parts) || others.iter().any(|i| reads(&pattern, names, *i)) {
            continue;
        }
        let arrangement = arrange(&pattern, names, options)?;
        if is_convincing(&arrangement) {
            return Ok(Inferred { pattern, preset: None, why, arrangement });
        }
        reason.get_or_insert((pattern, arrangement));
    }
    Err(match reason {
        Some((pattern, found)) => {
            let sizes: Vec<String> = found.axes.iter().map(|a| format!("{} {}", a.name, a.len())).collect();
            let doubled = found.duplicates.len();
            let how = if doubled > 0 {
                format!("{doubled} positions have more than one file")
            } else {
                format!("only {} of {} positions have a file", found.holes.total - found.holes.count, found.holes.total)
            };
            Error::usage(format!(
                "the names could be read as '{pattern}' ({}), but {how}; if that is what they mean give it with --pattern",
                sizes.join(", ")
            ))
        }
        None => Error::usage("no pattern reads all the names the same way; give one with --pattern"),
    })
}

fn reads<N: AsRef<str>>(pattern: &Pattern, names: &[N], i: u32) -> bool {
    names.get(i as usize).is_some_and(|n| pattern.matches(n.as_ref()).is_some())
}

/// Whether every name of the build gives the columns' texts for the fields.
fn reads_alike<N: AsRef<str>>(pattern: &Pattern, names: &[N], build: &Build<'_>, parts: &[(usize, Part)]) -> bool {
    let wanted: Vec<(&Column<'_>, usize)> = parts
        .iter()
        .filter(|(_, part)| matches!(part, Part::Field { .. }))
        .filter_map(|(at, part)| Some((build.columns.get(*at)?, part.trimmed())))
        .collect();
    build.members.iter().enumerate().all(|(k, i)| {
        let Some(found) = names.get(*i as usize).and_then(|n| pattern.matches(n.as_ref())) else { return false };
        found.len() == wanted.len()
            && wanted.iter().zip(found).all(|((column, trimmed), found)| {
                let text = column.ids().and_then(|_| compose::text_of(column, k));
                text.and_then(|t| t.get(*trimmed..)) == found
            })
    })
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

/// What the text around a varying column says about it, and the letters that say it.
fn read_column(columns: &[Column<'_>], at: usize) -> (Reading, String) {
    let Some(column) = columns.get(at) else { return (Reading::Unknown, String::new()) };
    let before = |k: usize| at.checked_sub(k).and_then(|i| columns.get(i));
    let after = |k: usize| columns.get(at + k);
    let quoted = || {
        let texts = column.texts();
        format!("'{}'", texts.first().copied().unwrap_or_default())
    };
    match column.sort {
        Sort::Digits => {
            let next = after(1).filter(|c| c.sort == Sort::Letters).and_then(Column::same);
            let is_suffix = after(2).is_none_or(|c| c.sort == Sort::Separator);
            let prefix = before(1).filter(|c| c.sort == Sort::Letters).and_then(Column::same);
            if let (Some(letters), true) = (next, is_suffix)
                && let Some((axis, unit)) = markers::after(letters)
                && (unit.is_some() || prefix.and_then(markers::before).is_none())
            {
                let reading = match unit {
                    Some(unit) => Reading::Measure(axis.to_owned(), unit),
                    None => Reading::Axis(axis.to_owned()),
                };
                return (reading, letters.to_owned());
            }
            let loose = || {
                let gap = before(1)?.same()?;
                let word = before(2).filter(|c| c.sort == Sort::Letters)?.same()?;
                let whole = before(3).is_none_or(|c| c.sort == Sort::Separator);
                (whole && matches!(gap, "_" | "-" | " " | "=")).then_some(word)
            };
            let Some(letters) = prefix.or_else(loose) else { return (Reading::Unknown, quoted()) };
            match markers::before(letters) {
                Some(Meaning::Axis(axis)) => (Reading::Axis(axis.to_owned()), letters.to_owned()),
                Some(Meaning::Either(a, b)) => (Reading::Either(a.to_owned(), b.to_owned()), letters.to_owned()),
                None => (Reading::Unknown, letters.to_owned()),
            }
        }
        Sort::Duration => (Reading::Measure("t".to_owned(), Unit::second()), quoted()),
        Sort::Letters | Sort::Word => {
            let texts = column.texts();
            if compose::camera(&texts) {
                return (Reading::Axis("camera".to_owned()), "Cam".to_owned());
            }
            let channels = texts.iter().filter(|t| markers::is_channel(t)).count();
            if channels == texts.len() && !texts.is_empty() {
                return (Reading::Axis("c".to_owned()), quoted());
            }
            (Reading::Unknown, quoted())
        }
        Sort::Guid => (Reading::Follows("a GUID".to_owned()), "GUID".to_owned()),
        Sort::Separator => (Reading::Unknown, quoted()),
    }
}

/// The error for parts that vary and that nothing explains.
fn ask_about_unknown(build: &Build<'_>, varying: &[Varying<'_, '_>]) -> Result<()> {
    let questions: Vec<&Varying<'_, '_>> =
        varying.iter().filter(|v| matches!(v.reading, Reading::Unknown | Reading::Either(..))).collect();
    let Some(first) = questions.first() else { return Ok(()) };
    let texts = first.column.texts();
    let range = match texts.as_slice() {
        [a, b] => format!("{a}, {b}"),
        [a, b, c] => format!("{a}, {b}, {c}"),
        [a, .., z] => format!("{a} to {z}"),
        _ => String::new(),
    };
    let used = |name: &str| varying.iter().any(|v| v.reading == Reading::Axis(name.to_owned()));
    let free = |names: [&'static str; 4]| {
        let mut names = names.into_iter().filter(|n| !used(n));
        (names.next().unwrap_or("a"), names.next().unwrap_or("b"))
    };
    let (a, b) = match &first.reading {
        Reading::Either(a, b) => (a.as_str(), b.as_str()),
        _ if first.column.sort == Sort::Digits => free(["z", "t", "p", "n"]),
        _ => free(["c", "p", "n", "m"]),
    };
    // The pattern with everything open read the first way, or the second.
    let with = |name: &str, second: bool| {
        let mut letters = 'a'..='h';
        let mut part = |v: &Varying<'_, '_>| match &v.reading {
            _ if v.at == first.at => compose::part(v.column, name),
            Reading::Either(a, b) => compose::part(v.column, if second { b } else { a }),
            Reading::Unknown => compose::part(v.column, &letters.next().unwrap_or('i').to_string()),
            _ => part_of(v),
        };
        let parts: Vec<(usize, Part)> = varying.iter().map(|v| (v.at, part(v))).collect();
        compose::candidates(&build.columns, &parts).into_iter().next().unwrap_or_default()
    };
    let called = first.called.trim_matches('\'');
    let count = texts.len();
    let more = match questions.len() {
        1 => String::new(),
        n => format!("\n(and {} other parts vary that nothing explains)", n - 1),
    };
    let ways = format!(
        "  --pattern '{}'  if it is {}\n  --pattern '{}'  if it is {}\n  or pass over it with * and choose files with --select or --exclude",
        with(a, false),
        spoken(a),
        with(b, true),
        spoken(b)
    );
    Err(Error::usage(format!(
        "'{called}' varies ({count} values: {range}) and nothing says what it is; more than one reading is possible:\n{ways}{more}"
    )))
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

/// Two columns for one axis, which do not go together, have two readings.
fn refuse_two_of_a_kind(varying: &[Varying<'_, '_>]) -> Result<()> {
    for (k, a) in varying.iter().enumerate() {
        let Reading::Axis(axis) = &a.reading else { continue };
        for b in &varying[k + 1..] {
            if b.reading == a.reading {
                return Err(Error::usage(format!(
                    "'{}' and '{}' vary, and both could be {axis}: name them in a --pattern, \
                     for example {{{axis}.first}} and {{{axis}.second}} for one axis of both",
                    a.called.trim_matches('\''),
                    b.called.trim_matches('\'')
                )));
            }
            let (Reading::Axis(other), Some(x), Some(y)) = (&b.reading, a.column.ids(), b.column.ids()) else {
                continue;
            };
            let parts_of_one = settle::base(axis) == settle::base(other);
            if !parts_of_one && settle::determines(x, y) && settle::determines(y, x) {
                return Err(Error::usage(format!(
                    "'{}' and '{}' always vary together: one of {axis} and {other} is the axis, the other goes with it; \
                     say which in a --pattern",
                    a.called, b.called
                )));
            }
        }
    }
    Ok(())
}

/// `010000`: a channel and a plane without anything between.
fn refuse_numbers_run_together(varying: &[Varying<'_, '_>]) -> Result<()> {
    for v in varying.iter().filter(|v| v.column.sort == Sort::Digits && matches!(v.reading, Reading::Axis(_))) {
        let texts = v.column.texts();
        let width = texts.first().map_or(0, |t| t.len());
        if width < 4 || texts.len() < 4 || texts.iter().any(|t| t.len() != width) {
            continue;
        }
        let numbers: Option<Vec<u64>> = texts.iter().map(|t| t.parse().ok()).collect();
        let Some(numbers) = numbers else { continue };
        let span = numbers.iter().max().zip(numbers.iter().min()).map_or(0, |(a, b)| a - b);
        if span < 2 * numbers.len() as u64 {
            continue;
        }
        for cut in 1..width {
            let distinct = |part: fn(&str, usize) -> &str| {
                let mut parts: Vec<&str> = texts.iter().map(|t| part(t, cut)).collect();
                parts.sort_unstable();
                parts.dedup();
                parts.len()
            };
            let heads = distinct(|t, cut| t.get(..cut).unwrap_or_default());
            let tails = distinct(|t, cut| t.get(cut..).unwrap_or_default());
            if heads > 1 && tails > 1 && heads * tails == texts.len() {
                return Err(Error::usage(format!(
                    "'{}' is followed by {width} digits that look like two numbers run together ({} to {}): \
                     give their widths in a --pattern, such as {}{{a:{cut}}}{{b:{}}}",
                    v.called,
                    texts.first().copied().unwrap_or_default(),
                    texts.last().copied().unwrap_or_default(),
                    v.called,
                    width - cut
                )));
            }
        }
    }
    Ok(())
}

fn part_of(v: &Varying<'_, '_>) -> Part {
    match &v.reading {
        Reading::Axis(axis) => compose::part(v.column, axis),
        Reading::Measure(axis, unit) if v.column.sort == Sort::Duration => {
            let _ = unit;
            compose::part(v.column, axis)
        }
        Reading::Measure(axis, unit) => compose::part(v.column, &format!("{axis}@{unit}")),
        Reading::Follows(_) | Reading::Unknown | Reading::Either(..) => Part::Ignored,
    }
}

fn explain(build: &Build<'_>, varying: &[Varying<'_, '_>], why: &mut Vec<String>) {
    for v in varying {
        let called = v.called.trim_matches('\'');
        let count = v.column.texts().len();
        why.push(match &v.reading {
            Reading::Axis(axis) => format!("{called}: {count} values, names the axis {axis}"),
            Reading::Measure(axis, unit) => format!("{called}: {count} values, coordinates of {axis} in {}", unit.name),
            Reading::Follows(what) => format!("{called}: varies with {}, passed over", what.trim_matches('\'')),
            Reading::Unknown | Reading::Either(..) => format!("{called}: unknown"),
        });
    }
    let constant: Vec<String> = build
        .columns
        .iter()
        .enumerate()
        .filter(|(at, c)| {
            c.sort == Sort::Digits && !c.varies() && read_column(&build.columns, *at).0 != Reading::Unknown
        })
        .map(|(at, c)| {
            let (_, called) = read_column(&build.columns, at);
            format!("{called} {}", c.same().unwrap_or_default())
        })
        .collect();
    if !constant.is_empty() {
        why.push(format!("the same in every name, dropped: {}", constant.join(", ")));
    }
}
