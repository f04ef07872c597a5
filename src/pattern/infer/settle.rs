//! What varying columns say about one another: cameras and channels, rows and columns, time stamps, ties.

use super::super::axes;
use super::tokens::{Build, Sort};
use super::{Reading, Varying, read_column};

/// A camera beside a channel number is a part of the channel.
pub(super) fn unite_cameras(varying: &mut [Varying<'_, '_>]) {
    let is = |v: &Varying<'_, '_>, axis: &str| v.reading == Reading::Axis(axis.to_owned());
    if !varying.iter().any(|v| is(v, "camera") && v.column.sort != Sort::Digits) {
        return;
    }
    let several = varying.iter().filter(|v| is(v, "c")).count();
    for v in varying.iter_mut() {
        if v.reading == Reading::Axis("camera".to_owned()) && v.column.sort != Sort::Digits {
            v.reading = Reading::Axis(if several == 1 { "c.camera" } else { "c" }.to_owned());
        } else if several == 1 && v.reading == Reading::Axis("c".to_owned()) {
            v.reading = Reading::Axis("c.channel".to_owned());
        }
    }
}

/// Beside a row, be it always the same, a `c` may be a column.
pub(super) fn pair_rows_and_columns(build: &Build<'_>, varying: &mut [Varying<'_, '_>]) {
    let row = Reading::Either("y".to_owned(), "row".to_owned());
    let is_row = |at: usize| build.columns[at].sort == Sort::Digits && read_column(&build.columns, at).0 == row;
    if (0..build.columns.len()).any(is_row) {
        for v in varying.iter_mut().filter(|v| v.called.eq_ignore_ascii_case("c")) {
            v.reading = Reading::Either("x".to_owned(), "column".to_owned());
        }
    }
}

/// `20x` is a magnification, `50ms` an exposure and `100nm` a bead, unless something beside them says otherwise.
pub(super) fn doubt_lone_letters(build: &Build<'_>, varying: &mut [Varying<'_, '_>]) {
    // Axes that any number of the names is marked with, be it constant.
    let marked: Vec<(String, Reading)> = (0..build.columns.len())
        .filter(|at| build.columns[*at].sort == Sort::Digits)
        .map(|at| read_column(&build.columns, at))
        .map(|(reading, called)| (called, reading))
        .collect();
    let has = |axis: &str| marked.iter().any(|(_, r)| *r == Reading::Axis(axis.to_owned()));
    let counts_time = varying.iter().any(|v| match &v.reading {
        Reading::Axis(axis) => axis == "t",
        Reading::Either(a, b) => a == "t" || b == "t",
        _ => false,
    });
    for v in varying.iter_mut() {
        let doubtful = match &v.reading {
            Reading::Axis(axis) if axis == "x" => !has("y"),
            Reading::Axis(axis) if axis == "y" => !has("x"),
            Reading::Measure(axis, _) if axis == "t" && v.column.sort == Sort::Digits => !counts_time,
            Reading::Measure(axis, _) if axis == "c" => {
                let visible = |t: &&str| t.parse::<f64>().is_ok_and(|nm| (300.0..=1700.0).contains(&nm));
                !v.column.texts().iter().all(visible)
            }
            _ => false,
        };
        if doubtful {
            v.reading = Reading::Unknown;
        }
    }
}

/// Of two meanings of a marker, one that another number has already leaves the other; a time stamp that
/// goes with a number makes it time.
pub(super) fn doubts(varying: &mut [Varying<'_, '_>], why: &mut Vec<String>) {
    for i in 0..varying.len() {
        let Reading::Either(a, b) = varying[i].reading.clone() else { continue };
        let taken = |axis: &str| varying.iter().find(|v| v.reading == Reading::Axis(axis.to_owned()));
        let stamped = |axis: &str| {
            axis == "t"
                && varying.iter().any(|v| match (&v.reading, varying[i].column.ids(), v.column.ids()) {
                    (Reading::Measure(of, _), Some(x), Some(y)) => of == "t" && y.1 > 1 && determines(x, y),
                    _ => false,
                })
        };
        let called = varying[i].called.clone();
        // Loose words such as `img 0001` number files rather than planes.
        let is_vague = matches!(called.to_lowercase().as_str(), "img" | "image");
        let settled = if stamped(&a) {
            Some((a, "a time stamp goes with it".to_owned()))
        } else if stamped(&b) {
            Some((b, "a time stamp goes with it".to_owned()))
        } else if is_vague {
            None
        } else if let Some(other) = taken(&b) {
            Some((a, format!("{b} is '{}'", other.called)))
        } else {
            taken(&a).map(|other| (b, format!("{a} is '{}'", other.called)))
        };
        if let Some((axis, because)) = settled {
            why.push(format!("{called} is read as {axis}, because {because}"));
            varying[i].reading = Reading::Axis(axis);
        }
    }
}

/// The axis of `c.camera`.
pub(super) fn base(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Whether equal values of `a` always come with equal values of `b`.
pub(super) fn determines(a: (&[u32], usize), b: (&[u32], usize)) -> bool {
    axes::determines(a.0, a.1, b.0)
}

/// Takes columns that go with an axis out of the count of axes.
pub(super) fn ties(varying: &mut [Varying<'_, '_>], n_names: usize, why: &mut Vec<String>) {
    let keys: Vec<usize> = (0..varying.len()).filter(|i| matches!(varying[*i].reading, Reading::Axis(_))).collect();
    // A second number of the same axis that goes with the first in both directions says nothing new.
    for (k, &i) in keys.iter().enumerate() {
        for &j in &keys[k + 1..] {
            let (Some(a), Some(b)) = (varying[i].column.ids(), varying[j].column.ids()) else { continue };
            let same_axis = varying[i].reading == varying[j].reading;
            if same_axis && determines(a, b) && determines(b, a) {
                varying[j].reading = Reading::Follows(varying[i].called.clone());
            }
        }
    }
    let keys: Vec<usize> = (0..varying.len()).filter(|i| matches!(varying[*i].reading, Reading::Axis(_))).collect();
    for j in 0..varying.len() {
        let axis = match &varying[j].reading {
            Reading::Measure(axis, _) => Some(axis.clone()),
            Reading::Unknown | Reading::Either(..) => None,
            _ => continue,
        };
        let Some(b) = varying[j].column.ids() else {
            // Texts too many to follow tell files apart, or the grid will not come out.
            if varying[j].reading == Reading::Unknown {
                varying[j].reading = Reading::Follows("every file".to_owned());
            }
            continue;
        };
        let parents: Vec<usize> =
            keys.iter().copied().filter(|i| varying[*i].column.ids().is_some_and(|a| determines(a, b))).collect();
        let own: Vec<usize> = keys
            .iter()
            .copied()
            .filter(|i| matches!((&varying[*i].reading, &axis), (Reading::Axis(a), Some(axis)) if base(a) == axis))
            .collect();
        let has_key = !own.is_empty();
        if has_key && all_determine(varying, &own, b) {
            continue;
        }
        let unique = b.1 == n_names || keys.len() > 1 && b.1 > n_names / 2;
        if let Some(parent) = parents.first() {
            let parent = varying[*parent].called.clone();
            varying[j].reading = Reading::Follows(parent);
        } else if !keys.is_empty() && unique && (axis.is_none() || has_key) && all_determine(varying, &keys, b) {
            varying[j].reading = Reading::Follows("every file".to_owned());
        } else if has_key {
            let called = varying[j].called.clone();
            varying[j].reading = Reading::Unknown;
            why.push(format!("{called} does not go with its axis"));
        }
    }
    // Measures that have no number to follow are the axis themselves; one of several is enough.
    let measures: Vec<usize> =
        (0..varying.len()).filter(|i| matches!(varying[*i].reading, Reading::Measure(..))).collect();
    for (k, &i) in measures.iter().enumerate() {
        for &j in &measures[k + 1..] {
            let (Some(a), Some(b)) = (varying[i].column.ids(), varying[j].column.ids()) else { continue };
            let same = matches!((&varying[i].reading, &varying[j].reading), (Reading::Measure(a, _), Reading::Measure(b, _)) if a == b);
            if same && determines(a, b) {
                varying[j].reading = Reading::Follows(varying[i].called.clone());
            }
        }
    }
}

/// Whether the axes together fix the values of `b`.
fn all_determine(varying: &[Varying<'_, '_>], keys: &[usize], b: (&[u32], usize)) -> bool {
    let mut cells: Vec<u64> = vec![0; b.0.len()];
    for key in keys {
        let Some((ids, count)) = varying[*key].column.ids() else { return false };
        for (cell, id) in cells.iter_mut().zip(ids) {
            *cell = cell.wrapping_mul(count as u64).wrapping_add(u64::from(*id));
        }
    }
    let mut pairs: Vec<(u64, u32)> = cells.into_iter().zip(b.0.iter().copied()).collect();
    pairs.sort_unstable();
    pairs.windows(2).all(|p| p[0].0 != p[1].0 || p[0].1 == p[1].1)
}
