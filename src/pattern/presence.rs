//! Which positions have files, along two axes: the data of a picture, and the picture in characters.

use std::ops::Range;

use super::arrange::Arrangement;
use super::holes::unravel;

/// How much of the grid has files, seen along its longest axis and one other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Name of the axis from left to right.
    pub along: String,
    /// Positions of each column.
    pub columns: Vec<Range<u64>>,
    /// Name of the axis from top to bottom, if there is a second one.
    pub across: Option<String>,
    /// Positions of each row.
    pub rows: Vec<Range<u64>>,
    /// Cells with a file in each row and column.
    pub filled: Vec<Vec<u64>>,
    /// Cells in each row and column.
    pub cells: Vec<Vec<u64>>,
}

/// `0..length` in at most `most` ranges of about the same length.
fn bins(length: u64, most: usize) -> Vec<Range<u64>> {
    let n = length.min(most.max(1) as u64);
    let border = |k: u64| (u128::from(length) * u128::from(k) / u128::from(n.max(1))) as u64;
    (0..n).map(|k| border(k)..border(k + 1)).collect()
}

impl Arrangement {
    /// Presence along the longest axis, in at most `columns` columns, and across channels or else the next
    /// longest axis, in at most `rows` rows. `None` when no axis is longer than one.
    pub fn presence(&self, columns: usize, rows: usize) -> Option<Presence> {
        let long: Vec<usize> = (0..self.axes.len()).filter(|i| self.axes[*i].len() > 1).collect();
        let length = |i: &usize| (self.axes[*i].len(), self.axes[*i].name == "t", std::cmp::Reverse(*i));
        let along = long.iter().copied().max_by_key(length)?;
        let others = || long.iter().copied().filter(|i| *i != along);
        let across = others().find(|i| self.axes[*i].name == "c").or_else(|| others().max_by_key(length));
        let columns = bins(self.axes[along].len(), columns);
        let rows = bins(across.map_or(1, |i| self.axes[i].len()), rows);
        let bin_of = |bins: &[Range<u64>], i: u64| bins.partition_point(|b| b.end <= i);
        let mut filled = vec![vec![0; columns.len()]; rows.len()];
        for same in self.cells.chunk_by(|a, b| a.0 == b.0) {
            let at = unravel(same[0].0, &self.axes);
            let row = bin_of(&rows, across.map_or(0, |i| at[i]));
            if let Some(count) = filled.get_mut(row).and_then(|r| r.get_mut(bin_of(&columns, at[along]))) {
                *count += 1;
            }
        }
        let shown = self.axes[along].len().saturating_mul(across.map_or(1, |i| self.axes[i].len()));
        let each = self.holes.total / shown.max(1);
        let length = |r: &Range<u64>| r.end - r.start;
        let cells = rows.iter().map(|r| columns.iter().map(|c| length(r) * length(c) * each).collect()).collect();
        let name = |i: usize| self.axes[i].name.clone();
        Some(Presence { along: name(along), columns, across: across.map(name), rows, filled, cells })
    }
}

impl Presence {
    /// The picture, a line for each row under a line of indices: `█` all files there, `▓` most, `░` few,
    /// `·` none.
    pub fn lines(&self) -> Vec<String> {
        let across = self.across.as_deref().unwrap_or("");
        let label = |r: &Range<u64>| match (across, r.end - r.start) {
            ("", _) => String::new(),
            (name, 1) => format!("{name}{}", r.start),
            (name, _) => format!("{name}{}-{}", r.start, r.end - 1),
        };
        let labels: Vec<String> = self.rows.iter().map(label).collect();
        let width = labels.iter().map(String::len).max().unwrap_or(0).max(self.along.len());
        let mut head = format!("{:width$}  ", self.along);
        let step = self.columns.len().div_ceil(5).max(10);
        for (k, column) in self.columns.iter().enumerate().step_by(step) {
            let room = step.min(self.columns.len() - k);
            let index = column.start.to_string();
            if index.len() <= room {
                head.push_str(&format!("{index:room$}"));
            }
        }
        let mut lines = vec![head.trim_end().to_owned()];
        for ((label, filled), cells) in labels.iter().zip(&self.filled).zip(&self.cells) {
            let marks: String = filled
                .iter()
                .zip(cells)
                .map(|(filled, cells)| match (*filled, *cells) {
                    (0, _) => '·',
                    (n, all) if n >= all => '█',
                    (n, all) if n >= all - n => '▓',
                    _ => '░',
                })
                .collect();
            lines.push(format!("{label:width$}  {marks}"));
        }
        lines
    }
}
