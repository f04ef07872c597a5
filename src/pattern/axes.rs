//! Fields to axes: values sorted and ranked, several fields made one axis, units made coordinates.

use std::collections::{BTreeMap, HashMap};

use super::Field;
use super::parts::{Conflict, FieldAxis, FieldReport, Role, Tied};
use super::tiles::TileOrder;
use super::value::FieldKind;
use crate::axis::{self, Calibration, Provenance, mean_step};
use crate::error::{Error, Result};
use crate::unit;

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
    /// An axis and a name that is not here, each: the grid has the position along the axis that the name has, which is a
    /// hole unless others have it.
    pub elsewhere: Vec<(String, String)>,
}

impl Default for ArrangeOptions {
    fn default() -> Self {
        let tolerance = axis::TOLERANCE;
        Self { tolerance, find_gaps: true, drop: Vec::new(), layout: Vec::new(), elsewhere: Vec::new() }
    }
}

/// The values of one field over all names that match.
pub(super) struct FieldColumn<'n> {
    /// Which field of the pattern.
    pub(super) index: usize,
    pub(super) field: Field,
    /// Rank of each name's value.
    pub(super) ranks: Vec<u32>,
    /// The text of each rank; `None` where the field is absent, which comes first.
    pub(super) labels: Vec<Option<&'n str>>,
}

impl<'n> FieldColumn<'n> {
    /// Ranks the distinct `texts` that `ids` refer to.
    pub(super) fn new(index: usize, field: Field, ids: Vec<u32>, texts: Vec<Option<&'n str>>) -> Self {
        let kind = &field.kind;
        let mut order: Vec<u32> = (0..texts.len() as u32).collect();
        let compare = |a: u32, b: u32| match (texts[a as usize], texts[b as usize]) {
            (Some(a), Some(b)) => kind.compare(a, b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        };
        order.sort_by(|a, b| compare(*a, *b).then_with(|| texts[*a as usize].cmp(&texts[*b as usize])));
        let mut rank_of = vec![0; texts.len()];
        let mut labels: Vec<Option<&'n str>> = Vec::with_capacity(texts.len());
        let mut last = None;
        for id in order {
            if last.is_none_or(|l| compare(l, id).is_ne()) {
                labels.push(texts[id as usize]);
            }
            last = Some(id);
            rank_of[id as usize] = (labels.len() - 1) as u32;
        }
        let ranks = ids.into_iter().map(|id| rank_of[id as usize]).collect();
        Self { index, field, ranks, labels }
    }

    /// The text of a rank, for people.
    pub(super) fn label(&self, rank: u32) -> &str {
        self.labels.get(rank as usize).copied().flatten().unwrap_or(ABSENT)
    }

    /// The value of a rank in the field's unit.
    pub(super) fn number(&self, rank: u32) -> Option<f64> {
        let text = self.labels.get(rank as usize).copied().flatten()?;
        Some(self.field.kind.number(text)? * self.field.unit.as_ref().map_or(1.0, |u| u.factor))
    }
}

/// In place of the number of a name that is elsewhere.
pub(super) const ELSEWHERE: u32 = u32::MAX;

/// What stands for the value of an optional part that is absent.
pub(super) const ABSENT: &str = "none";

pub(super) struct BuiltAxes {
    pub(super) axes: Vec<FieldAxis>,
    /// For each axis, the position of every matched name.
    pub(super) indices: Vec<Vec<u32>>,
    pub(super) conflicts: Vec<Conflict>,
    pub(super) notes: Vec<String>,
}

/// Makes axes of the columns; `matched` are the names' indices, or [`ELSEWHERE`].
pub(super) fn build(columns: &[FieldColumn<'_>], matched: &[u32], options: &ArrangeOptions) -> Result<BuiltAxes> {
    let mut built = BuiltAxes { axes: Vec::new(), indices: Vec::new(), conflicts: Vec::new(), notes: Vec::new() };
    let mut names: Vec<&str> = Vec::new();
    for column in columns {
        if let Some(axis) = column.field.axis.as_deref()
            && !names.contains(&axis)
        {
            names.push(axis);
        }
    }
    for name in names {
        let of_axis: Vec<&FieldColumn<'_>> = columns.iter().filter(|c| c.field.axis.as_deref() == Some(name)).collect();
        let (mut keys, mut measures): (Vec<&FieldColumn<'_>>, Vec<&FieldColumn<'_>>) =
            of_axis.into_iter().partition(|c| c.field.unit.is_none());
        if keys.is_empty() && !measures.is_empty() {
            // Without a counting field the first measure is the position as well.
            keys.push(measures[0]);
        }
        let (mut index, mut labels) = combine(&keys);
        if let Some(order) = options.layout.iter().find(|o| o.field == name) {
            for (axis, along) in order.apply(&labels, &index)? {
                built.axes.push(axis);
                built.indices.push(along);
            }
            continue;
        }
        let mut inserted = Vec::new();
        if let [key] = keys.as_slice() {
            let is_number = key.field.kind.is_index() || key.field.kind == FieldKind::Float;
            let counts = key.field.unit.is_none() && is_number && is_ordered(name);
            if options.find_gaps
                && counts
                && let Some(filled) = fill_gaps(&labels)
            {
                for i in &mut index {
                    *i = filled.place[*i as usize];
                }
                (labels, inserted) = (filled.labels, filled.inserted);
            } else if let Some(note) = uneven(name, &labels) {
                built.notes.push(note);
            }
        }
        let mut axis = FieldAxis::new(name, labels);
        axis.inserted = inserted;
        let first_measure = measures.first().map(|c| c.index);
        for column in measures.drain(..) {
            let is_first = Some(column.index) == first_measure;
            follow(column, &index, matched, is_first, &mut axis, &mut built.conflicts);
        }
        if axis.coordinates.is_some() {
            describe_spacing(&mut axis, options.tolerance, &mut built.notes);
        }
        built.axes.push(axis);
        built.indices.push(index);
    }
    let mut taken: Vec<&str> = Vec::new();
    for axis in &built.axes {
        if taken.contains(&axis.name.as_str()) {
            return Err(Error::usage(format!("the layout makes an axis {}, which the pattern has already", axis.name)));
        }
        taken.push(&axis.name);
    }
    if let Some(order) =
        options.layout.iter().find(|o| !columns.iter().any(|c| c.field.axis.as_deref() == Some(&o.field)))
    {
        return Err(Error::usage(format!("the layout speaks of '{}', which is no field of the pattern", order.field)));
    }
    Ok(built)
}

/// Whether numbers along the axis count steps, so that an absent number is an absent position.
pub(super) fn is_ordered(axis: &str) -> bool {
    const ORDERED: [&str; 12] =
        ["t", "z", "y", "x", "time", "frame", "stack", "timepoint", "slice", "plane", "section", "part"];
    ORDERED.contains(&axis.to_ascii_lowercase().as_str())
}

/// One position per combination of values that occurs, sorted by the fields in turn.
/// Gives the position of every name and the label of every position.
pub(super) fn combine(columns: &[&FieldColumn<'_>]) -> (Vec<u32>, Vec<String>) {
    let Some((first, others)) = columns.split_first() else { return (Vec::new(), Vec::new()) };
    let mut index = first.ranks.clone();
    // The ranks of every field at each position.
    let mut parts: Vec<Vec<u32>> = (0..first.labels.len() as u32).map(|rank| vec![rank]).collect();
    for column in others {
        let mut places: BTreeMap<(u32, u32), u32> =
            index.iter().zip(&column.ranks).map(|(a, b)| ((*a, *b), 0)).collect();
        let mut joined = Vec::with_capacity(places.len());
        for (place, ((a, b), index)) in places.iter_mut().enumerate() {
            *index = place as u32;
            let mut ranks = parts.get(*a as usize).cloned().unwrap_or_default();
            ranks.push(*b);
            joined.push(ranks);
        }
        for (i, b) in index.iter_mut().zip(&column.ranks) {
            *i = places.get(&(*i, *b)).copied().unwrap_or(0);
        }
        parts = joined;
    }
    // A word that tells every position apart says it all: of `1` and `DAPI`, `DAPI`.
    let telling =
        columns.iter().position(|c| columns.len() > 1 && !c.field.kind.is_number() && c.labels.len() == parts.len());
    let label = |ranks: &Vec<u32>| match telling {
        Some(k) => columns[k].label(ranks[k]).to_owned(),
        None => columns.iter().zip(ranks).map(|(c, rank)| c.label(*rank)).collect::<Vec<_>>().join("-"),
    };
    let labels = parts.iter().map(label).collect();
    (index, labels)
}

struct Filled {
    /// New position of each old one.
    place: Vec<u32>,
    labels: Vec<String>,
    inserted: Vec<u32>,
}

/// More absent numbers for each one present make stamps rather than positions.
const MOST_ABSENT: usize = 100;
/// More absent numbers than this would take more memory than the names.
const MOST_INSERTED: usize = 2_000_000;

/// The numbers that a series with an even step lacks, if it lacks any.
fn fill_gaps(labels: &[String]) -> Option<Filled> {
    let (numbers, decimals) = whole_numbers(labels)?;
    let step = common_step(&numbers)?;
    let (first, last) = (*numbers.first()?, *numbers.last()?);
    let length = usize::try_from(last.checked_sub(first)? / step).ok()?.checked_add(1)?;
    if length == numbers.len() || length / MOST_ABSENT > numbers.len() || length - numbers.len() > MOST_INSERTED {
        return None;
    }
    let mut filled =
        Filled { place: Vec::with_capacity(numbers.len()), labels: Vec::with_capacity(length), inserted: Vec::new() };
    let width = labels.first().filter(|l| l.len() > 1 && l.starts_with('0')).map_or(0, String::len);
    let mut expected = first;
    for (number, label) in numbers.iter().zip(labels) {
        while expected < *number {
            filled.inserted.push(filled.labels.len() as u32);
            filled.labels.push(match 10i64.checked_pow(decimals as u32).filter(|_| decimals > 0) {
                None => format!("{expected:0width$}"),
                Some(one) => {
                    let sign = if expected < 0 { "-" } else { "" };
                    format!("{sign}{}.{:0decimals$}", (expected / one).abs(), (expected % one).abs())
                }
            });
            expected = expected.saturating_add(step);
        }
        filled.place.push(filled.labels.len() as u32);
        filled.labels.push(label.clone());
        expected = number.saturating_add(step);
    }
    Some(filled)
}

/// The numbers, counted in their smallest decimal, and how many decimals that is.
fn whole_numbers(labels: &[String]) -> Option<(Vec<i64>, usize)> {
    fn parts(label: &str) -> (&str, &str) {
        label.split_once(['.', 'p']).unwrap_or((label, ""))
    }
    let decimals = labels.iter().map(|l| parts(l).1.len()).max()?;
    let number = |label: &String| {
        let (whole, fraction) = parts(label);
        format!("{whole}{fraction:0<decimals$}").parse().ok()
    };
    Some((labels.iter().map(number).collect::<Option<_>>()?, decimals))
}

/// A note for numbers that have no common step.
fn uneven(axis: &str, labels: &[String]) -> Option<String> {
    let (numbers, _) = whole_numbers(labels)?;
    let step = numbers.get(1)?.checked_sub(*numbers.first()?)?;
    let even = numbers.windows(2).all(|pair| pair[1].checked_sub(pair[0]) == Some(step));
    let (first, last) = (labels.first()?, labels.last()?);
    (!even).then(|| format!("{axis}: the numbers {first} to {last} are not evenly spaced; they are taken in order"))
}

/// The most common difference of neighbours, if every difference is a multiple of it.
pub(super) fn common_step(numbers: &[i64]) -> Option<i64> {
    let mut counts: HashMap<i64, usize> = HashMap::new();
    for pair in numbers.windows(2) {
        *counts.entry(pair[1].checked_sub(pair[0])?).or_default() += 1;
    }
    // Of equally common ones the smallest.
    let (step, _) = counts.iter().max_by_key(|(step, count)| (**count, std::cmp::Reverse(**step)))?;
    let even = *step > 0 && counts.keys().all(|difference| difference % step == 0);
    even.then_some(*step)
}

/// Gives `axis` the values of a field that must be the same for every name of a position.
fn follow(
    column: &FieldColumn<'_>,
    index: &[u32],
    matched: &[u32],
    is_first: bool,
    axis: &mut FieldAxis,
    conflicts: &mut Vec<Conflict>,
) {
    let mut seen: Vec<Option<(u32, u32)>> = vec![None; axis.labels.len()];
    let mut disagree = vec![false; axis.labels.len()];
    let mut example = None;
    for ((place, rank), name) in index.iter().zip(&column.ranks).zip(matched) {
        match seen[*place as usize] {
            None => seen[*place as usize] = Some((*rank, *name)),
            // A name elsewhere says what no other one does.
            Some((known, other)) if known != *rank && *name != ELSEWHERE => {
                disagree[*place as usize] = true;
                example.get_or_insert([other, *name]);
            }
            Some(_) => {}
        }
    }
    if let Some(names) = example {
        let positions = disagree.iter().filter(|d| **d).count() as u64;
        conflicts.push(Conflict { field: column.field.name.clone(), axis: axis.name.clone(), positions, names });
        return;
    }
    let unit = column.field.unit.as_ref().map(|u| u.name.to_owned());
    if is_first {
        let numbers: Vec<Option<f64>> = seen.iter().map(|s| s.and_then(|(rank, _)| column.number(rank))).collect();
        axis.coordinates = interpolated(numbers);
        axis.unit.clone_from(&unit);
    }
    let labels = seen.iter().map(|s| s.map_or_else(String::new, |(rank, _)| column.label(rank).to_owned())).collect();
    axis.tied.push(Tied { field: column.field.name.clone(), labels, unit });
}

/// Fills the values of inserted positions from their neighbours. `None` if an end has no value.
fn interpolated(numbers: Vec<Option<f64>>) -> Option<Vec<f64>> {
    let mut values = Vec::with_capacity(numbers.len());
    let mut i = 0;
    while i < numbers.len() {
        if let Some(value) = numbers[i] {
            values.push(value);
            i += 1;
            continue;
        }
        let from = *values.last()?;
        let next = i + numbers[i..].iter().position(Option::is_some)?;
        let to = numbers[next]?;
        let gaps = (next - i + 1) as f64;
        values.extend((i..next).map(|k| from + (to - from) * (k - i + 1) as f64 / gaps));
        i = next;
    }
    Some(values)
}

/// Sets the step of an axis from its coordinates, and says so when they are not even.
fn describe_spacing(axis: &mut FieldAxis, tolerance: f64, notes: &mut Vec<String>) {
    let Some(values) = &axis.coordinates else { return };
    if values.len() < 2 {
        return;
    }
    let (mean, deviation) = mean_step(values);
    axis.mean_step = Some(mean);
    let words = |step| unit::words(&Calibration { step, unit: axis.unit.clone(), from: Provenance::Name });
    let (name, step, off) = (&axis.name, words(mean), words(deviation));
    let counts = name != "c";
    if deviation <= tolerance * mean.abs() {
        axis.step = Some(mean);
        if deviation > 1e-9 * mean.abs() && counts {
            notes.push(format!("{name}: step {step}, largest deviation {off}"));
        }
    } else if counts {
        notes.push(format!(
            "{name}: coordinates are not evenly spaced (mean step {step}, off by up to {off}); they are kept exactly"
        ));
    }
    match axis.inserted.len() {
        0 => {}
        1 => notes.push(format!("{name}: the coordinate of 1 position without files is interpolated")),
        n => notes.push(format!("{name}: the coordinates of {n} positions without files are interpolated")),
    }
}

/// Whether equal positions along `a` always come with equal positions along `b`.
pub(super) fn determines(a: &[u32], length: usize, b: &[u32]) -> bool {
    let mut seen = vec![u32::MAX; length];
    a.iter().zip(b).all(|(x, y)| match seen.get_mut(*x as usize) {
        Some(known) if *known == u32::MAX => {
            *known = *y;
            true
        }
        Some(known) => known == y,
        None => false,
    })
}

/// What makes a grid sparse: an axis that goes with another.
pub(super) fn sparse_because(axes: &[FieldAxis], indices: &[Vec<u32>]) -> Option<String> {
    for (a, along_a) in axes.iter().zip(indices).filter(|(a, _)| a.len() > 1) {
        for (b, along_b) in axes.iter().zip(indices).filter(|(b, _)| b.len() > 1 && b.name != a.name) {
            if determines(along_a, a.labels.len(), along_b) {
                return Some(format!(
                    "{} goes with {}: if it is a value of {} give it a unit, such as {{{}@ms}}, if it is nothing pass over it with *",
                    b.name, a.name, a.name, a.name
                ));
            }
        }
    }
    None
}

/// The table of the pattern's fields.
pub(super) fn report(columns: &[FieldColumn<'_>], axes: &[FieldAxis], notes: &mut Vec<String>) -> Vec<FieldReport> {
    let mut reports = Vec::new();
    for column in columns {
        let axis = column.field.axis.clone().unwrap_or_default();
        let is_coordinate = column.field.unit.is_some();
        let (step, missing) = series(column);
        let last_rank = column.labels.len().saturating_sub(1) as u32;
        reports.push(FieldReport {
            name: column.field.name.clone(),
            role: if is_coordinate { Role::Coordinate(axis) } else { Role::Axis(axis) },
            count: column.labels.len() as u64,
            first: column.label(0).to_owned(),
            last: column.label(last_rank).to_owned(),
            step,
            unit: column.field.unit.as_ref().map(|u| u.text.clone()),
            missing,
        });
    }
    for axis in axes {
        match axis.inserted.len() {
            0 => {}
            1 => notes.push(format!("{}: 1 number that no name has counts as a missing position", axis.name)),
            n => notes.push(format!("{}: {n} numbers that no name has count as missing positions", axis.name)),
        }
    }
    reports
}

/// Step and missing numbers of a field that counts.
fn series(column: &FieldColumn<'_>) -> (Option<f64>, Vec<String>) {
    const MOST: usize = 100;
    if !column.field.kind.is_index() {
        return (None, Vec::new());
    }
    let numbers: Option<Vec<i64>> = column.labels.iter().map(|l| l.and_then(|l| l.parse().ok())).collect();
    let Some(numbers) = numbers else { return (None, Vec::new()) };
    let Some(step) = common_step(&numbers) else { return (None, Vec::new()) };
    let mut missing = Vec::new();
    for pair in numbers.windows(2) {
        let (from, to) = (pair[0] + step, pair[1] - step);
        if missing.len() < MOST && from <= to {
            missing.push(if from == to { from.to_string() } else { format!("{from}..{to}") });
        }
    }
    (Some(step as f64), missing)
}
