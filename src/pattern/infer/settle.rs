//! What varying columns say about one another: which one follows which, and which axis is whose.

use super::super::axes::determines;
use super::super::natural::natural_cmp;
use super::super::value::FieldKind;
use super::atoms::{Build, Column, Sort};
use super::clues::{self, Reading, Strength};

/// A column that varies, and what it is taken for.
pub(super) struct Varying<'b, 'n> {
    /// Place among the columns of the build.
    pub(super) at: usize,
    pub(super) column: &'b Column<'n>,
    pub(super) readings: Vec<Reading>,
    /// What it goes with, if it is no axis.
    pub(super) follows: Option<String>,
    /// The letters that named it, or its first value.
    pub(super) called: String,
}

impl Varying<'_, '_> {
    pub(super) fn strength(&self) -> Option<Strength> {
        self.readings.iter().map(|r| r.strength).max()
    }

    /// The reading that stands alone: the strongest, if no other is as strong and it may be believed.
    pub(super) fn best(&self) -> Option<&Reading> {
        let top = self.strength().filter(|s| *s >= Strength::Likely)?;
        let mut strongest = self.readings.iter().filter(|r| r.strength == top);
        strongest.next().filter(|_| self.follows.is_none() && strongest.next().is_none())
    }

    /// As [`Varying::best`], of those that are beyond doubt.
    fn certain(&self) -> Option<&Reading> {
        self.best().filter(|r| r.strength == Strength::Certain)
    }

    /// The axis it surely counts along.
    fn key(&self) -> Option<&str> {
        self.certain().filter(|r| r.unit.is_none()).map(|r| r.axis.as_str())
    }

    fn may_be(&self, axis: &str) -> bool {
        self.readings.iter().any(|r| r.axis == axis && r.unit.is_none())
    }

    fn doubt(&mut self) {
        self.readings.iter_mut().for_each(|r| r.strength = Strength::Possible);
    }

    /// Whether no two files have the same value.
    fn is_unique(&self, n_names: usize) -> bool {
        self.column.ids().is_none_or(|(_, count)| count == n_names)
    }
}

/// The axis of `c.camera`.
pub(super) fn base(axis: &str) -> &str {
    axis.split('.').next().unwrap_or(axis)
}

/// Whether equal values of `a` always come with equal values of `b`.
fn fixes(a: &Varying<'_, '_>, b: &Varying<'_, '_>) -> bool {
    a.column.ids().zip(b.column.ids()).is_some_and(|(a, b)| determines(a.0, a.1, b.0))
}

/// Whether the columns together fix the values of `b`.
fn fix(keys: &[&Varying<'_, '_>], b: &Varying<'_, '_>) -> bool {
    let Some((values, _)) = b.column.ids() else { return false };
    let mut cells: Vec<(u64, u32)> = values.iter().map(|v| (0, *v)).collect();
    for (ids, count) in keys.iter().filter_map(|k| k.column.ids()) {
        for (cell, id) in cells.iter_mut().zip(ids) {
            cell.0 = cell.0.wrapping_mul(count as u64).wrapping_add(u64::from(*id));
        }
    }
    cells.sort_unstable();
    cells.windows(2).all(|p| p[0].0 != p[1].0 || p[0].1 == p[1].1)
}

/// Whether numbers or stamps grow with those of `a`, name by name.
fn grows_with(a: &Varying<'_, '_>, b: &Varying<'_, '_>, n_names: usize) -> bool {
    let compare = |v: &Varying<'_, '_>, i: usize, j: usize| {
        let (x, y) = (v.column.text_of(i).unwrap_or_default(), v.column.text_of(j).unwrap_or_default());
        if v.column.sort == Sort::Number { FieldKind::Float.compare(x, y) } else { natural_cmp(x, y) }
    };
    let mut order: Vec<usize> = (0..n_names).collect();
    order.sort_by(|i, j| compare(a, *i, *j));
    matches!(b.column.sort, Sort::Number | Sort::Stamp) && order.windows(2).all(|p| compare(b, p[0], p[1]).is_lt())
}

/// Whether half as many values of `b` or fewer as there are of `a`, which fixes them, come more than once in its order.
fn comes_back(a: &Varying<'_, '_>, b: &Varying<'_, '_>) -> bool {
    let (Some((ids, n)), Some((others, m))) = (a.column.ids(), b.column.ids()) else { return false };
    let other: std::collections::HashMap<&str, u32> =
        ids.iter().enumerate().filter_map(|(k, _)| Some((a.column.text_of(k)?, others[k]))).collect();
    let mut sequence: Vec<u32> = a.column.texts().iter().filter_map(|text| other.get(text).copied()).collect();
    sequence.dedup();
    2 * m <= n && sequence.len() > m
}

/// The columns of a build that vary, each with what it may be: certain ones settle what others are.
pub(super) fn settle<'b, 'n>(build: &'b Build<'n>, why: &mut Vec<String>) -> Vec<Varying<'b, 'n>> {
    let columns = &build.columns;
    let mut all: Vec<Varying<'b, 'n>> = Vec::new();
    for (at, column) in columns.iter().enumerate().filter(|(_, c)| c.varies()) {
        let (mut readings, called) = clues::readings(columns, at);
        clues::doubt(columns, at, &mut readings);
        all.push(Varying { at, column, readings, follows: None, called });
    }
    rows_and_columns(columns, &mut all);
    cameras_and_names(&mut all);
    stamped(&mut all, why);
    let n_names = build.members.len();
    follow(&mut all, n_names);
    measures(&mut all, n_names);
    take(&mut all, why);
    tiles(&mut all);
    leave(&mut all, n_names);
    all
}

/// Beside a row, be it always the same, a `c` may be a column.
fn rows_and_columns(columns: &[Column<'_>], all: &mut [Varying<'_, '_>]) {
    let is_row = |at: usize| clues::readings(columns, at).0.iter().any(|r| r.axis == "row");
    if (0..columns.len()).any(is_row) {
        for v in all.iter_mut().filter(|v| v.called.eq_ignore_ascii_case("c")) {
            v.readings = ["x", "column"].map(|axis| Reading::new(axis, Strength::Likely)).into();
        }
    }
}

/// A camera beside a channel number is a part of the channel, and so is a name that goes with its number.
fn cameras_and_names(all: &mut [Varying<'_, '_>]) {
    let is_camera = |v: &Varying<'_, '_>| v.column.sort == Sort::Letters && v.key() == Some("camera");
    let numbers: Vec<usize> =
        (0..all.len()).filter(|i| all[*i].column.sort == Sort::Number && all[*i].may_be("c")).collect();
    let mut parts: Vec<(usize, &str)> = Vec::new();
    if let Some(camera) = all.iter().position(is_camera) {
        parts.push((camera, "c"));
        if let [number] = numbers.as_slice() {
            parts = vec![(camera, "c.camera"), (*number, "c.channel")];
        }
    } else if let Some(name) = all.iter().position(|v| v.column.sort != Sort::Number && v.key() == Some("c"))
        && let Some(number) = numbers.iter().find(|i| fixes(&all[**i], &all[name]) && fixes(&all[name], &all[**i]))
    {
        parts = vec![(*number, "c.number"), (name, "c.name")];
    }
    for (i, part) in parts {
        all[i].readings = vec![Reading::new(part, Strength::Certain)];
    }
}

/// A time stamp that goes with a number makes it time.
fn stamped(all: &mut [Varying<'_, '_>], why: &mut Vec<String>) {
    for i in 0..all.len() {
        let is_stamp = |v: &&Varying<'_, '_>| {
            v.column.sort == Sort::Stamp || v.certain().is_some_and(|r| r.axis == "t" && r.unit.is_some())
        };
        let is_stamp = |v: &&Varying<'_, '_>| is_stamp(v) && v.at != all[i].at;
        if all[i].key().is_none() && all[i].may_be("t") && all.iter().filter(is_stamp).any(|v| fixes(&all[i], v)) {
            why.push(format!("{} is read as t, because a time stamp goes with it", all[i].called));
            all[i].readings = vec![Reading::new("t", Strength::Certain)];
        }
    }
}

/// Columns that a certain one fixes follow it, unless that one is a label of each file.
fn follow(all: &mut [Varying<'_, '_>], n_names: usize) {
    for i in 0..all.len() {
        let Some(axis) = all[i].key().map(str::to_owned) else { continue };
        for j in (0..all.len()).filter(|j| *j != i) {
            let (a, b) = (&all[i], &all[j]);
            if b.follows.is_some() || b.readings.iter().any(|r| r.unit.is_some()) || !fixes(a, b) {
                continue;
            }
            let both_ways = fixes(b, a);
            // What comes back is not what time or depth bring about, and letters behind a number may be its unit.
            let is_glued = b.column.sort == Sort::Letters && a.at + 1 == b.at;
            if b.key().is_none() && (is_glued || matches!(axis.as_str(), "t" | "z") && comes_back(a, b)) {
                continue;
            }
            match b.key() {
                Some(other) if other == axis && both_ways && i < j => all[j].follows = Some(all[i].called.clone()),
                // Both are axes, and neither says more than the other.
                Some(other) if base(other) != base(&axis) && both_ways && i < j => all[j].doubt(),
                Some(_) => {}
                None if !a.is_unique(n_names) || both_ways && grows_with(a, b, n_names) => {
                    all[j].follows = Some(all[i].called.clone());
                }
                None => {}
            }
        }
    }
}

/// Measures are coordinates of the axis they go with, or the axis itself where nothing counts along it.
fn measures(all: &mut [Varying<'_, '_>], n_names: usize) {
    for j in 0..all.len() {
        let Some(measured) = all[j].readings.first().filter(|r| r.unit.is_some()).cloned() else { continue };
        // A measure is a key where nothing counts along its axis.
        let counts =
            |axis: &str| all.iter().any(|v| v.best().is_some_and(|r| r.unit.is_none() && base(&r.axis) == axis));
        let is_key = |v: &Varying<'_, '_>| {
            v.best().is_some_and(|r| r.unit.is_none() || !counts(&r.axis) && r.axis != measured.axis)
        };
        let keys: Vec<&Varying<'_, '_>> = all.iter().filter(|v| is_key(v)).collect();
        let is_own = |v: &&&Varying<'_, '_>| v.best().is_some_and(|r| base(&r.axis) == measured.axis);
        let own: Vec<&Varying<'_, '_>> = keys.iter().filter(is_own).copied().collect();
        let is_same =
            |v: &&Varying<'_, '_>| v.best().is_some_and(|r| r.axis == measured.axis && r.unit == measured.unit);
        let fits = !own.is_empty() && fix(&own, &all[j]);
        let doubtful = measured.strength == Strength::Possible;
        let goes_with = if fits && !doubtful {
            None
        } else if let Some(parent) = keys.iter().find(|k| fixes(k, &all[j]) && !k.is_unique(n_names)) {
            Some(parent.called.clone())
        } else if own.is_empty() && !doubtful {
            all[..j].iter().find(|v| is_same(v) && fixes(v, &all[j])).map(|v| v.called.clone())
        } else if keys.len() > 1 && fix(&keys, &all[j]) && all[j].column.ids().is_some_and(|ids| 2 * ids.1 > n_names) {
            Some("every file".to_owned())
        } else {
            all[j].doubt();
            None
        };
        all[j].follows = goes_with;
    }
}

/// An axis belongs to the column that names it best; others that may be it are something else, or doubtful.
fn take(all: &mut [Varying<'_, '_>], why: &mut Vec<String>) {
    for wanted in [Strength::Certain, Strength::Likely] {
        for i in 0..all.len() {
            let Some(best) = all[i].best().filter(|r| r.unit.is_none() && r.strength == wanted) else { continue };
            let axis = best.axis.clone();
            let rivals: Vec<usize> =
                (0..all.len()).filter(|j| *j != i && all[*j].follows.is_none() && all[*j].may_be(&axis)).collect();
            let owner = all[i].called.clone();
            for j in rivals {
                let rival = &mut all[j];
                if rival.readings.len() == 1 || rival.key().is_some() {
                    rival.doubt();
                    continue;
                }
                rival.readings.retain(|r| r.axis != axis);
                if let Some(left) = rival.best() {
                    why.push(format!("{} is read as {}, because {axis} is '{owner}'", rival.called, left.axis));
                }
            }
        }
    }
}

/// The number of a tile or position goes with its row and column.
fn tiles(all: &mut [Varying<'_, '_>]) {
    let along = |axis: &str| all.iter().position(|v| v.best().is_some_and(|r| r.axis == axis));
    for (row, column) in [("y", "x"), ("row", "column")] {
        let Some((row, column)) = along(row).zip(along(column)) else { continue };
        let is_number =
            |v: &Varying<'_, '_>| v.key().is_some_and(|axis| matches!(axis, "tile" | "p" | "fov" | "field"));
        let goes = |v: &Varying<'_, '_>| {
            is_number(v) && fix(&[&all[row], &all[column]], v) && fixes(v, &all[row]) && fixes(v, &all[column])
        };
        if let Some(number) = all.iter().position(goes) {
            all[number].follows = Some(format!("{} and {}", all[row].called, all[column].called));
        }
        break;
    }
}

/// What tells every file apart beside axes that do so already is passed over.
fn leave(all: &mut [Varying<'_, '_>], n_names: usize) {
    for j in 0..all.len() {
        if all[j].follows.is_some() || all[j].best().is_some() {
            continue;
        }
        let keys: Vec<&Varying<'_, '_>> = all.iter().filter(|v| v.best().is_some_and(|r| r.unit.is_none())).collect();
        let is_label = all[j].column.ids().is_none();
        let is_unique =
            all[j].column.ids().is_some_and(|ids| 2 * ids.1 > n_names) && keys.len() > 1 && fix(&keys, &all[j]);
        if all[j].column.sort == Sort::Guid || !keys.is_empty() && (is_label || is_unique) {
            all[j].follows = Some("every file".to_owned());
        }
    }
}
