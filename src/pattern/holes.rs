//! Cells that no name fills, kept as ranges so that a sparse grid costs nothing.

use std::ops::Range;

use super::parts::FieldAxis;

/// Cells of a grid without a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holes {
    /// Number of cells without a name.
    pub count: u64,
    /// Number of cells of the grid.
    pub total: u64,
    ranges: Vec<Range<u64>>,
}

impl Holes {
    /// What the sorted `filled` cells leave of `0..total`.
    pub(super) fn between(filled: impl Iterator<Item = u64>, total: u64) -> Self {
        let mut holes = Self { count: 0, total, ranges: Vec::new() };
        let mut next = 0;
        for cell in filled.chain([total]) {
            if cell > next {
                holes.count += cell - next;
                holes.ranges.push(next..cell);
            }
            next = next.max(cell.saturating_add(1));
        }
        holes
    }

    /// Whether every cell has a name.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The cells, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.ranges.iter().cloned().flatten()
    }

    /// The cells as runs, in order.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Whether `cell` has no name.
    pub fn contains(&self, cell: u64) -> bool {
        let after = self.ranges.partition_point(|r| r.start <= cell);
        after.checked_sub(1).and_then(|i| self.ranges.get(i)).is_some_and(|r| r.contains(&cell))
    }

    /// The holes in words, at most `limit` lines: positions that are missing altogether first, then single
    /// ones, runs along the last axis joined.
    pub fn describe(&self, axes: &[FieldAxis], limit: usize) -> Vec<String> {
        /// More holes than this are only listed, since counting them along every axis takes a while.
        const MANY: u64 = 2_000_000;
        let mut lines = Vec::new();
        let mut whole: Vec<Vec<bool>> = axes.iter().map(|a| vec![false; a.labels.len()]).collect();
        let mut told = 0;
        if self.count <= MANY && axes.len() > 1 {
            let mut counts: Vec<Vec<u64>> = axes.iter().map(|a| vec![0; a.labels.len()]).collect();
            for cell in self.iter() {
                for (count, i) in counts.iter_mut().zip(unravel(cell, axes)) {
                    count[i as usize] += 1;
                }
            }
            for (k, axis) in axes.iter().enumerate().filter(|(_, axis)| axis.len() > 1) {
                let slab = self.total / axis.len();
                for (i, count) in counts[k].iter().enumerate().filter(|(_, count)| **count == slab) {
                    whole[k][i] = true;
                    told += count;
                    if lines.len() < limit {
                        let others: Vec<&str> = axes
                            .iter()
                            .filter(|a| a.name != axis.name && a.len() > 1)
                            .map(|a| a.name.as_str())
                            .collect();
                        lines.push(format!(
                            "{} (every {}, {count} files)",
                            index_text(axis, i as u64),
                            others.join(" and ")
                        ));
                    }
                }
                if told > 0 {
                    break;
                }
            }
        }
        let last = axes.last().map_or(1, FieldAxis::len).max(1);
        let mut singles = self.ranges.iter().flat_map(|range| {
            // Cut where the last axis starts again.
            let mut start = range.start;
            std::iter::from_fn(move || {
                let end = range.end.min((start / last + 1).saturating_mul(last));
                let run = (start < end).then_some(start..end);
                start = end;
                run
            })
        });
        let mut listed = told;
        while lines.len() < limit && listed < self.count {
            let Some(run) = singles.next() else { break };
            let at = unravel(run.start, axes);
            if at.iter().zip(&whole).any(|(i, w)| w[*i as usize]) {
                continue;
            }
            listed += run.end - run.start;
            let mut line = position(run.start, axes);
            if run.end - run.start > 1 {
                line.push_str(&format!(" to {}", last_index(run.end - 1, axes)));
            }
            lines.push(line);
        }
        if listed < self.count && !lines.is_empty() {
            lines.push(format!("and {} more", self.count - listed));
        }
        lines
    }
}

/// The position along each axis of a row-major cell.
pub(super) fn unravel(cell: u64, axes: &[FieldAxis]) -> Vec<u64> {
    let mut rest = cell;
    let mut at = vec![0; axes.len()];
    for (i, axis) in at.iter_mut().zip(axes).rev() {
        *i = rest % axis.len().max(1);
        rest /= axis.len().max(1);
    }
    at
}

/// `t=17 c=2`, with the label where it is not the index itself.
pub(super) fn position(cell: u64, axes: &[FieldAxis]) -> String {
    let at = unravel(cell, axes);
    axes.iter().zip(at).map(|(axis, i)| index_text(axis, i)).collect::<Vec<_>>().join(" ")
}

fn last_index(cell: u64, axes: &[FieldAxis]) -> String {
    match (axes.last(), unravel(cell, axes).last()) {
        (Some(axis), Some(i)) => index_text(axis, *i),
        _ => String::new(),
    }
}

fn index_text(axis: &FieldAxis, i: u64) -> String {
    let label = usize::try_from(i).ok().and_then(|i| axis.labels.get(i)).map_or("", String::as_str);
    if label.parse() == Ok(i) { format!("{}={i}", axis.name) } else { format!("{}={i} ({label})", axis.name) }
}
