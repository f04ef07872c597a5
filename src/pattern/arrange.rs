//! Names to a grid: which cell of the array each name fills, and what is missing, doubled or odd.

use std::cmp::Ordering;

use super::axes::{self, Column};
use super::holes::Holes;
use super::interner::Interner;
use super::matcher::Scratch;
use super::natural::natural_cmp;
use super::report::{self, FieldReport};
use super::runs::Outside;
use super::tiles::TileOrder;
use super::value::Kind;
use super::{Field, Pattern};
use crate::error::{Error, Result};
use crate::grid::row_major_strides;

/// What an arrangement may assume.
#[derive(Clone, Debug)]
pub struct ArrangeOptions {
    /// Largest deviation from an even spacing that still counts as even, as a part of the step.
    pub tolerance: f64,
    /// Whether numbers absent from an otherwise even series count as missing positions. By default they do
    /// along `t`, `z`, `y`, `x` and other axes that count steps; never for channels and words.
    pub find_gaps: bool,
    /// Axes that are not wanted, by name: their fields are read and passed over.
    pub drop: Vec<String>,
    /// Fields whose numbers walk over a mosaic.
    pub layout: Vec<TileOrder>,
}

impl Default for ArrangeOptions {
    fn default() -> Self {
        Self { tolerance: 0.01, find_gaps: true, drop: Vec::new(), layout: Vec::new() }
    }
}

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

/// One axis of the grid that names fall on.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldAxis {
    /// `t`, `c`, or whatever the pattern calls it.
    pub name: String,
    /// The text of each position, in order.
    pub labels: Vec<String>,
    /// The value of each position in `unit`, where the names state one.
    pub coordinates: Option<Vec<f64>>,
    /// UDUNITS name of the coordinates' unit.
    pub unit: Option<String>,
    /// Distance of neighbouring coordinates, when they are evenly spaced.
    pub step: Option<f64>,
    /// Mean distance of neighbouring coordinates, evenly spaced or not.
    pub mean_step: Option<f64>,
    /// Whether blocks join end to end along it: its name is `z`, `y` or `x`.
    pub join: bool,
    /// Other values that go with each position.
    pub tied: Vec<Tied>,
    /// Positions that no name has, inserted because the numbers around them are evenly spaced.
    pub inserted: Vec<u32>,
}

impl FieldAxis {
    /// An axis of these positions.
    pub(super) fn new(name: &str, labels: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            labels,
            coordinates: None,
            unit: None,
            step: None,
            mean_step: None,
            join: matches!(name, "z" | "y" | "x"),
            tied: Vec::new(),
            inserted: Vec::new(),
        }
    }

    /// Number of positions.
    pub fn len(&self) -> u64 {
        self.labels.len() as u64
    }

    /// Whether it has no position.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// Values that go with the positions of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tied {
    /// The field, as written in the pattern.
    pub field: String,
    /// Its text at each position; empty where no name has the position.
    pub labels: Vec<String>,
    /// UDUNITS name of its unit.
    pub unit: Option<String>,
}

/// A cell that several names claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// Row-major index of the cell.
    pub cell: u64,
    /// Indices of the names, in natural order.
    pub names: Vec<u32>,
}

/// A coordinate that is not the same for every name of a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The field that gives the coordinate.
    pub field: String,
    /// The axis it should follow.
    pub axis: String,
    /// Number of positions with more than one value.
    pub positions: u64,
    /// Two names of one position that differ.
    pub names: [u32; 2],
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
    if u32::try_from(names.len()).is_err() {
        return Err(Error::usage(format!("{} names are more than can be arranged at once", names.len())));
    }
    let mut outside = Outside::default();
    let Read { matched, mut unmatched, columns } = read(pattern, names, &options.drop, Some(&mut outside));
    if matched.is_empty() {
        return Err(Error::usage(report::no_match(pattern, names)));
    }
    let by_name = |a: &u32, b: &u32| compare_names(names, *a, *b);
    unmatched.sort_unstable_by(by_name);

    let built = axes::build(&columns, &matched, options)?;
    let axes::Built { axes, indices, conflicts, mut notes } = built;
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
    let mut fields = report::fields(&columns, &axes, &mut notes);
    fields.extend(outside.report(&axes, &indices, &matched, &duplicates));
    let sparse =
        if holes.count >= total / 2 && !holes.is_empty() { axes::sparse_because(&axes, &indices) } else { None };
    let pattern = pattern.clone();
    Ok(Arrangement { axes, cells, holes, duplicates, conflicts, unmatched, fields, notes, pattern, sparse })
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
    let wanted: Vec<usize> = (0..pattern.fields.len())
        .filter(|i| pattern.fields[*i].axis.as_deref() == Some(by) && pattern.fields[*i].unit.is_none())
        .collect();
    let wanted = match (wanted.is_empty(), pattern.fields.iter().position(|f| f.name == by)) {
        (true, Some(field)) => vec![field],
        (true, None) => {
            let known: Vec<&str> = pattern.fields.iter().map(|f| f.name.as_str()).collect();
            return Err(Error::usage(format!("'{pattern}' has no field '{by}'; it has {}", known.join(", "))));
        }
        _ => wanted,
    };
    let Read { matched, mut unmatched, columns } = read(pattern, names, &[], None);
    let chosen: Vec<&Column<'_>> = columns.iter().filter(|c| wanted.contains(&c.index)).collect();
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
    columns: Vec<Column<'n>>,
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
    let mut scratch = Scratch::default();
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
            Column::new(*index, field, values.ids, values.texts)
        })
        .collect();
    Read { matched, unmatched, columns }
}

/// What a named group holds, by all its values.
fn kind_of(texts: &[Option<&str>]) -> Kind {
    let all = |test: fn(&str) -> bool| texts.iter().flatten().all(|t| test(t));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if all(digits) {
        Kind::Digits
    } else if all(|t| {
        let t = t.strip_prefix(['-', '+']).unwrap_or(t);
        !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit())
    }) {
        Kind::Int
    } else if all(|t| Kind::Float.number(t).is_some()) {
        Kind::Float
    } else {
        Kind::Text
    }
}
