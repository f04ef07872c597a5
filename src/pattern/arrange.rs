//! Names to a grid: which cell of the array each name fills, and what is missing, doubled or odd.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::axes::{self, ArrangeOptions, ELSEWHERE, FieldColumn};
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
    /// Positions that the axes have from elsewhere: [`ArrangeOptions::elsewhere`].
    pub elsewhere: Vec<(String, String)>,
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
    let Read { matched: rows, mut unmatched, columns } = read(pattern, names, options, Some(&mut outside));
    // Names elsewhere come last.
    let matched = &rows[..rows.iter().position(|row| *row == ELSEWHERE).unwrap_or(rows.len())];
    if matched.is_empty() {
        return Err(Error::usage(no_match(pattern, names)));
    }
    let by_name = |a: &u32, b: &u32| compare_names(names, *a, *b);
    unmatched.sort_unstable_by(by_name);

    let built = axes::build(&columns, &rows, options)?;
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
    fields.extend(outside.report(&axes, &indices, matched, &duplicates));
    let sparse =
        if holes.count >= total / 2 && !holes.is_empty() { axes::sparse_because(&axes, &indices) } else { None };
    let (pattern, elsewhere) = (pattern.clone(), options.elsewhere.clone());
    Ok(Arrangement { axes, cells, holes, duplicates, conflicts, unmatched, fields, notes, elsewhere, pattern, sparse })
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

/// Names divided by the values of fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// In the order of their values, of the first field first.
    pub groups: Vec<Group>,
    /// Names the pattern does not match, in natural order.
    pub unmatched: Vec<u32>,
}

/// Names that share the values of the fields by which they are divided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The value of each field, joined by commas.
    pub value: String,
    /// Indices of the names.
    pub names: Vec<u32>,
    /// What [`ArrangeOptions::elsewhere`] takes for all groups to be arranged on one grid.
    pub elsewhere: Vec<(String, String)>,
    /// Axes that end before those of others do, in words.
    pub notes: Vec<String>,
}

/// Divides `names` by the values of the fields or axes `by`, which are no axes of a group if `drop` has them.
///
/// All groups are to have one grid: along an axis a group has the positions before its last one that any other one has with
/// which it shares one, directly or by others between. It may end before others do, as a recording that was stopped: nothing
/// moves by that. Groups that share none, such as those of a number that runs on through all names,
/// keep their own; so do those of an axis of measured values alone, unless one of them has all.
///
/// # Errors
/// `Usage` if the pattern has no such field.
pub fn split<N: AsRef<str> + Sync>(pattern: &Pattern, names: &[N], by: &[&str], drop: &[String]) -> Result<Split> {
    if let Some(names) = composed(names) {
        return split(pattern, &names, by, drop);
    }
    let options = ArrangeOptions::default();
    let Read { matched, mut unmatched, columns } = read(pattern, names, &options, None);
    let along = |is_chosen: &dyn Fn(&FieldColumn<'_>) -> bool| {
        axes::combine(&columns.iter().filter(|c| is_chosen(c)).collect::<Vec<_>>())
    };
    let fields = by.iter().map(|by| fields_of(pattern, by)).collect::<Result<Vec<_>>>()?;
    let fields: Vec<_> = fields.iter().map(|fields| along(&|c| fields.contains(&c.index))).collect();
    let mut rows: BTreeMap<Vec<u32>, Vec<u32>> = BTreeMap::new();
    for row in 0..matched.len() {
        rows.entry(fields.iter().map(|(index, _)| index[row]).collect()).or_default().push(row as u32);
    }
    let group = |(ranks, rows): (&Vec<u32>, &Vec<u32>)| {
        let values: Vec<&str> = fields.iter().zip(ranks).map(|((_, labels), at)| &*labels[*at as usize]).collect();
        let names = rows.iter().map(|row| matched[*row as usize]).collect();
        Group { value: values.join(","), names, ..Group::default() }
    };
    let mut groups: Vec<Group> = rows.iter().map(group).collect();
    let kept = columns.iter().map(|c| &c.field).filter(|field| is_kept(field, drop));
    for axis in kept.filter_map(|field| field.axis.as_ref()).collect::<BTreeSet<_>>() {
        let of_axis = |c: &FieldColumn<'_>| c.field.axis.as_ref() == Some(axis) && is_kept(&c.field, drop);
        let (mut index, labels) = along(&|c| of_axis(c) && c.field.unit.is_none());
        let is_measured = labels.is_empty();
        if is_measured {
            index = columns.iter().find(|c| of_axis(c)).map_or_else(Vec::new, |c| c.ranks.clone());
        }
        for (group, (more, n_behind)) in groups.iter_mut().zip(shared(&index, &rows, is_measured)) {
            let name = |row: u32| names[matched[row as usize] as usize].as_ref().to_owned();
            group.elsewhere.extend(more.into_iter().map(|row| (axis.clone(), name(row))));
            let note = || format!("axis {axis} ends {n_behind} before those of other values of --by do");
            group.notes.extend((n_behind > 0).then(note));
        }
    }
    unmatched.sort_unstable_by(|a, b| compare_names(names, *a, *b));
    Ok(Split { groups, unmatched })
}

/// Numbers of the fields that `by` means: those that count along the axis of this name, or the one so called.
fn fields_of(pattern: &Pattern, by: &str) -> Result<Vec<usize>> {
    let named = |is_meant: &dyn Fn(&Field) -> bool| -> Vec<usize> {
        (0..pattern.fields.len())
            .filter(|i| pattern.fields[*i].axis.is_some() && is_meant(&pattern.fields[*i]))
            .collect()
    };
    let counting = named(&|f| f.axis.as_deref() == Some(by) && f.unit.is_none());
    let found = if counting.is_empty() { named(&|f| f.name == by) } else { counting };
    if found.is_empty() {
        let known: Vec<&str> = pattern.fields.iter().map(|f| f.name.as_str()).filter(|name| *name != "_").collect();
        return Err(Error::usage(format!("--by {by}: '{pattern}' has no such field: it has {}", known.join(", "))));
    }
    Ok(found)
}

/// For each group of rows, one row for each position of its grid along an axis, before its last one, that it has none at,
/// and how many there are behind that. `index` is the position of every row.
fn shared(index: &[u32], groups: &BTreeMap<Vec<u32>, Vec<u32>>, is_measured: bool) -> Vec<(Vec<u32>, usize)> {
    let n = index.iter().max().map_or(0, |last| last + 1);
    let mut first = vec![0; n as usize];
    (0..index.len() as u32).zip(index).rev().for_each(|(row, at)| first[*at as usize] = row);
    let positions = |rows: &Vec<u32>| -> Vec<u32> {
        let mut own: Vec<u32> = rows.iter().map(|row| index[*row as usize]).collect();
        own.sort_unstable();
        own.dedup();
        own
    };
    let groups: Vec<Vec<u32>> = groups.values().map(positions).collect();
    // Positions of one group are on one grid, and so are those of all that share one: each leads to the grid's first.
    let mut grid: Vec<u32> = (0..n).collect();
    for own in &groups {
        let least = own.iter().map(|at| root(&mut grid, *at)).min().unwrap_or(0);
        for at in own {
            let other = root(&mut grid, *at);
            grid[other as usize] = least;
        }
    }
    let grid: Vec<u32> = (0..n).map(|at| root(&mut grid, at)).collect();
    let (mut members, mut most) = (vec![Vec::new(); n as usize], vec![0; n as usize]);
    (0..).zip(&grid).for_each(|(at, grid)| members[*grid as usize].push(at));
    let grid_of = |own: &Vec<u32>| own.first().map_or(0, |at| grid[*at as usize] as usize);
    groups.iter().for_each(|own| most[grid_of(own)] = own.len().max(most[grid_of(own)]));
    let lacking = |own: &Vec<u32>| -> (Vec<u32>, usize) {
        let all: &Vec<u32> = &members[grid_of(own)];
        let is_one = !is_measured || most[grid_of(own)] == all.len();
        let absent = all.iter().filter(|at| is_one && own.binary_search(at).is_err());
        let (behind, inside): (Vec<u32>, Vec<u32>) = absent.partition(|at| own.last().is_some_and(|last| *at > last));
        (inside.iter().map(|at| first[*at as usize]).collect(), behind.len())
    };
    groups.iter().map(lacking).collect()
}

/// Where `at` leads to; the way there is shorter the next time.
fn root(grid: &mut [u32], mut at: u32) -> u32 {
    while grid[at as usize] != at {
        grid[at as usize] = grid[grid[at as usize] as usize];
        at = grid[at as usize];
    }
    at
}

pub(super) fn compare_names<N: AsRef<str>>(names: &[N], a: u32, b: u32) -> Ordering {
    let text = |i: u32| names.get(i as usize).map_or("", AsRef::as_ref);
    natural_cmp(text(a), text(b)).then(a.cmp(&b))
}

struct Read<'n> {
    /// Numbers of the names that match, and behind them [`ELSEWHERE`] for each that is there.
    matched: Vec<u32>,
    unmatched: Vec<u32>,
    /// The fields that have an axis.
    columns: Vec<FieldColumn<'n>>,
}

/// Whether a field gives positions along an axis that is wanted.
fn is_kept(field: &Field, drop: &[String]) -> bool {
    field.axis.as_ref().is_some_and(|axis| !drop.contains(axis) && !drop.contains(&field.name))
}

/// Matches every name and collects the values of the fields that have an axis.
fn read<'n, N: AsRef<str> + Sync>(
    pattern: &Pattern,
    names: &'n [N],
    options: &'n ArrangeOptions,
    mut outside: Option<&mut Outside<'n>>,
) -> Read<'n> {
    let chosen: Vec<usize> =
        (0..pattern.fields.len()).filter(|i| is_kept(&pattern.fields[*i], &options.drop)).collect();
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
    let elsewhere = if matched.is_empty() { &[] } else { options.elsewhere.as_slice() };
    for (axis, name) in elsewhere {
        if !pattern.find(name, &mut scratch, &mut spans) {
            continue;
        }
        matched.push(ELSEWHERE);
        for (field, values) in chosen.iter().zip(&mut interned) {
            // Along the other axes it is where the first name is.
            let text = match pattern.fields[*field].axis.as_ref() == Some(axis) {
                true => spans[*field].and_then(|(a, b)| name.get(a as usize..b as usize)),
                false => values.texts[0],
            };
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
