//! Names to a grid: which cell of the array each name fills, and what is missing, doubled or odd.

use std::cmp::Ordering;

use super::axes::{self, ArrangeOptions, FieldColumn};
use super::holes::Holes;
use super::interner::Interner;
use super::matcher::{Furthest, MatchScratch};
use super::natural::{composed, natural_cmp};
use super::parts::{Conflict, Duplicate, FieldAxis, FieldReport};
use super::runs::Outside;
use super::value::FieldKind;
use super::{Field, Pattern};
use crate::error::{Error, Result};
use crate::grid::row_major_strides;

/// How names fall on a grid.
#[derive(Clone, Debug)]
pub struct Arrangement {
    /// The axes, in order of first appearance in the pattern.
    pub axes: Vec<FieldAxis>,
    /// Row-major index of a cell over `axes` and the index of its name, sorted by cell.
    pub cells: Vec<(u64, u32)>,
    /// Cells without a name.
    pub holes: Holes,
    /// Cells with more than one name, in order.
    pub duplicates: Vec<Duplicate>,
    /// Coordinates that differ among the names of one position.
    pub conflicts: Vec<Conflict>,
    /// Names the pattern does not match, in natural order.
    pub unmatched: Vec<u32>,
    /// Every part of the names that is a field or varies.
    pub fields: Vec<FieldReport>,
    /// What was assumed, for the user to read.
    pub notes: Vec<String>,
    pub(super) pattern: Pattern,
    /// Why most cells are holes, if they are.
    pub(super) sparse: Option<String>,
}

/// Arranges `names` on the grid of the pattern's axes.
///
/// The result does not depend on the order of the names. Faults of the data (holes, duplicates, names that
/// do not match, coordinates that disagree) are in the result, and [`Arrangement::check`] makes an error of
/// them. Takes time in proportion to the number of names, but for sorting.
///
/// # Errors
/// `Usage` if no name matches, the axes span more cells than can be numbered, or a layout does not fit.
pub fn arrange<N: AsRef<str> + Sync>(pattern: &Pattern, names: &[N], options: &ArrangeOptions) -> Result<Arrangement> {
    if let Some(names) = composed(names) {
        return arrange(pattern, &names, options);
    }
    if u32::try_from(names.len()).is_err() {
        return Err(Error::usage(format!("{} names are more than can be arranged at once", names.len())));
    }
    let mut outside = Outside::default();
    let Read { matched, mut unmatched, columns } = read(pattern, names, &options.drop, Some(&mut outside));
    if matched.is_empty() {
        return Err(Error::usage(no_match(pattern, names)));
    }
    let by_name = |a: &u32, b: &u32| compare_names(names, *a, *b);
    unmatched.sort_unstable_by(by_name);

    let built = axes::build(&columns, &matched, options)?;
    let axes::BuiltAxes { axes, indices, conflicts, mut notes } = built;
    let shape: Vec<u64> = axes.iter().map(FieldAxis::len).collect();
    let Some(total) = shape.iter().try_fold(1u64, |n, len| n.checked_mul(*len)) else {
        let sizes: Vec<String> = axes.iter().map(|a| format!("{} {}", a.name, a.len())).collect();
        let what = format!(
            "the axes of '{pattern}' span more positions than can be numbered ({}): is one of them a time stamp? \
             give it as a coordinate, such as {{t@ms}}, or pass over it with *",
            sizes.join(", ")
        );
        return Err(Error::usage(what));
    };
    let strides = row_major_strides(&shape);
    let mut cells: Vec<(u64, u32)> = matched.iter().map(|name| (0, *name)).collect();
    for (along, stride) in indices.iter().zip(&strides) {
        for (cell, index) in cells.iter_mut().zip(along) {
            cell.0 += u64::from(*index) * stride;
        }
    }
    cells.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| by_name(&a.1, &b.1)));
    let holes = Holes::between(cells.iter().map(|c| c.0), total);
    let duplicates: Vec<Duplicate> = cells
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|same| same.len() > 1)
        .map(|same| Duplicate { cell: same[0].0, names: same.iter().map(|c| c.1).collect() })
        .collect();
    let mut fields = axes::report(&columns, &axes, &mut notes);
    fields.extend(outside.report(&axes, &indices, &matched, &duplicates));
    let sparse =
        if holes.count >= total / 2 && !holes.is_empty() { axes::sparse_because(&axes, &indices) } else { None };
    let pattern = pattern.clone();
    Ok(Arrangement { axes, cells, holes, duplicates, conflicts, unmatched, fields, notes, pattern, sparse })
}

impl Arrangement {
    /// Takes the names from the grid that `is_kept` gives `false` for: their cells are holes then.
    pub fn keep(&mut self, is_kept: impl Fn(u32) -> bool) {
        self.cells.retain(|(_, name)| is_kept(*name));
        self.duplicates.iter_mut().for_each(|same| same.names.retain(|name| is_kept(*name)));
        self.duplicates.retain(|same| same.names.len() > 1);
        self.holes = Holes::between(self.cells.iter().map(|c| c.0), self.holes.total);
    }
}

/// Names divided by the value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Each value and the indices of its names, in the order of the values.
    pub groups: Vec<(String, Vec<u32>)>,
    /// Names the pattern does not match, in natural order.
    pub unmatched: Vec<u32>,
}

/// Divides `names` by the value of the field or axis called `by`, in the order of its values.
///
/// # Errors
/// `Usage` if the pattern has no such field.
pub fn split<N: AsRef<str> + Sync>(pattern: &Pattern, names: &[N], by: &str) -> Result<Split> {
    if let Some(names) = composed(names) {
        return split(pattern, &names, by);
    }
    let wanted: Vec<usize> = (0..pattern.fields.len())
        .filter(|i| pattern.fields[*i].axis.as_deref() == Some(by) && pattern.fields[*i].unit.is_none())
        .collect();
    let wanted = match (wanted.is_empty(), pattern.fields.iter().position(|f| f.name == by)) {
        (true, Some(field)) => vec![field],
        (true, None) => {
            let known: Vec<&str> = pattern.fields.iter().map(|f| f.name.as_str()).filter(|name| *name != "_").collect();
            return Err(Error::usage(format!("--by {by}: '{pattern}' has no such field: it has {}", known.join(", "))));
        }
        _ => wanted,
    };
    let Read { matched, mut unmatched, columns } = read(pattern, names, &[], None);
    let chosen: Vec<&FieldColumn<'_>> = columns.iter().filter(|c| wanted.contains(&c.index)).collect();
    let (indices, labels) = axes::combine(&chosen);
    let mut groups: Vec<(String, Vec<u32>)> = labels.into_iter().map(|label| (label, Vec::new())).collect();
    for (name, index) in matched.iter().zip(&indices) {
        if let Some(group) = groups.get_mut(*index as usize) {
            group.1.push(*name);
        }
    }
    unmatched.sort_unstable_by(|a, b| compare_names(names, *a, *b));
    Ok(Split { groups, unmatched })
}

pub(super) fn compare_names<N: AsRef<str>>(names: &[N], a: u32, b: u32) -> Ordering {
    let text = |i: u32| names.get(i as usize).map_or("", AsRef::as_ref);
    natural_cmp(text(a), text(b)).then(a.cmp(&b))
}

struct Read<'n> {
    matched: Vec<u32>,
    unmatched: Vec<u32>,
    /// The fields that have an axis.
    columns: Vec<FieldColumn<'n>>,
}

/// Matches every name and collects the values of the fields that have an axis.
fn read<'n, N: AsRef<str> + Sync>(
    pattern: &Pattern,
    names: &'n [N],
    drop: &[String],
    mut outside: Option<&mut Outside<'n>>,
) -> Read<'n> {
    let kept = |f: &Field| f.axis.as_ref().is_some_and(|a| !drop.contains(a) && !drop.contains(&f.name));
    let chosen: Vec<usize> = (0..pattern.fields.len()).filter(|i| kept(&pattern.fields[*i])).collect();
    let mut interned: Vec<Interner<'n>> = chosen.iter().map(|_| Interner::default()).collect();
    let (mut matched, mut unmatched) = (Vec::new(), Vec::new());
    let mut scratch = MatchScratch::default();
    let mut spans = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let name = name.as_ref();
        if !pattern.find(name, &mut scratch, &mut spans) {
            unmatched.push(i as u32);
            continue;
        }
        if let Some(outside) = &mut outside {
            outside.push(matched.len() as u32, name, &spans);
        }
        matched.push(i as u32);
        for (field, values) in chosen.iter().zip(&mut interned) {
            let text = spans[*field].and_then(|(a, b)| name.get(a as usize..b as usize));
            values.push(text);
        }
    }
    let columns = chosen
        .iter()
        .zip(interned)
        .map(|(index, values)| {
            let mut field = pattern.fields[*index].clone();
            if pattern.is_regex() {
                field.kind = kind_of(&values.texts);
            }
            FieldColumn::new(*index, field, values.ids, values.texts)
        })
        .collect();
    Read { matched, unmatched, columns }
}

/// What a named group holds, by all its values.
fn kind_of(texts: &[Option<&str>]) -> FieldKind {
    let all = |test: fn(&str) -> bool| texts.iter().flatten().all(|t| test(t));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if all(digits) {
        FieldKind::Digits
    } else if all(|t| {
        let t = t.strip_prefix(['-', '+']).unwrap_or(t);
        !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit())
    }) {
        FieldKind::Int
    } else if all(|t| FieldKind::Float.number(t).is_some()) {
        FieldKind::Float
    } else {
        FieldKind::Text
    }
}

/// The error for a list of names of which none matches.
fn no_match<N: AsRef<str>>(pattern: &Pattern, names: &[N]) -> String {
    /// Looking for the nearest of a million names takes longer than it helps.
    const LOOKED_AT: usize = 20_000;
    let Some(first) = names.first() else { return format!("there is no name to match '{pattern}' with") };
    let count = names.len();
    let seen = if count == 1 { "1 name seen".to_owned() } else { format!("{count} names seen") };
    let mut best: (Furthest, &str) = (Furthest::default(), first.as_ref());
    let mut wanted = String::new();
    for name in names.iter().take(LOOKED_AT) {
        let (furthest, what) = pattern.explain(name.as_ref());
        if wanted.is_empty() || (furthest.step, furthest.fitted) > (best.0.step, best.0.fitted) {
            (best, wanted) = ((furthest, name.as_ref()), what);
        }
    }
    let (furthest, name) = best;
    let kind = if pattern.is_regex() { "the regular expression " } else { "" };
    let mut text = format!("no name matches {kind}'{pattern}' ({seen}); nearest:\n  {name}");
    if !wanted.is_empty() {
        let column = name.get(..furthest.at).unwrap_or_default().chars().count();
        let carets = furthest.fitted.max(1);
        text.push_str(&format!("\n  {:column$}{} here the pattern wants {wanted}", "", "^".repeat(carets)));
    }
    text
}
