//! Which positions of a grid have a file: a map of rows by columns, kept as runs.

use crate::grid::Grid;

/// What is at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// No file.
    Missing,
    /// One file that fits.
    Present,
    /// One file that does not fit or cannot be read.
    Odd,
    /// More than one file.
    Double,
}

/// An axis of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapAxis {
    /// Its name.
    pub name: String,
    /// The text of each position.
    pub labels: Vec<String>,
}

/// States along the columns, run by run.
pub type Runs = Vec<(State, u64)>;

/// Rows that look alike and follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it shows: `c0`, or `c0 to c2`.
    pub label: String,
    /// How many rows it stands for.
    pub n_rows: u64,
    /// States along the columns, run by run.
    pub runs: Runs,
}

impl Row {
    /// Whether every position has one file that fits.
    pub fn is_full(&self) -> bool {
        self.runs.iter().all(|(state, _)| *state == State::Present)
    }
}

/// A map of the positions of a grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceMap {
    /// The axis that runs along the columns.
    pub columns: MapAxis,
    /// The rows, alike ones joined.
    pub rows: Vec<Row>,
}

/// Rows that are kept; more could not be looked at.
const MOST_ROWS: usize = 10_000;

impl PresenceMap {
    /// The map of `cells`, row-major numbers over `axes`; a cell named twice is double. Cells that are not
    /// named are missing. Columns run along `t`, or else along the longest axis.
    ///
    /// `None` without axes.
    pub fn new(axes: &[MapAxis], cells: &[(u64, State)]) -> Option<Self> {
        let longest = (0..axes.len()).rev().max_by_key(|&i| axes[i].labels.len())?;
        let along = axes.iter().position(|a| a.name == "t" && a.labels.len() > 1).unwrap_or(longest);
        let counts: Vec<u64> = axes.iter().map(|a| a.labels.len() as u64).collect();
        let grid = Grid::new(&counts, &vec![1; counts.len()]);
        let others: Vec<usize> = (0..axes.len()).filter(|&i| i != along).collect();
        let other_counts: Vec<u64> = others.iter().map(|&i| counts[i]).collect();
        let rows_grid = Grid::new(&other_counts, &vec![1; other_counts.len()]);
        let mut placed: Vec<(u64, u64, State)> = cells
            .iter()
            .map(|&(cell, state)| {
                let at = grid.unravel(cell);
                let row: Vec<u64> = others.iter().map(|&i| at[i]).collect();
                (rows_grid.ravel(&row), at[along], state)
            })
            .collect();
        placed.sort_unstable();
        let label = |row: u64| -> String {
            let at = rows_grid.unravel(row);
            let parts = others.iter().zip(at).filter(|(i, _)| axes[**i].labels.len() > 1);
            let texts = parts.map(|(&i, at)| format!("{}={}", axes[i].name, axes[i].labels[at as usize]));
            texts.collect::<Vec<_>>().join(" ")
        };
        let n_columns = counts[along];
        let n_rows = rows_grid.len();
        let empty = vec![(State::Missing, n_columns)];
        let mut rows: Vec<(u64, u64, Runs)> = Vec::new();
        let mut push = |first: u64, n: u64, runs: Runs| {
            if n == 0 || rows.len() >= MOST_ROWS {
                return;
            }
            match rows.last_mut() {
                Some(last) if last.2 == runs => last.1 += n,
                _ => rows.push((first, n, runs)),
            }
        };
        let mut next = 0;
        for same in placed.chunk_by(|a, b| a.0 == b.0) {
            let row = same[0].0;
            push(next, row - next, empty.clone());
            push(row, 1, runs(same, n_columns));
            next = row + 1;
        }
        push(next, n_rows - next, empty);
        let rows = rows
            .into_iter()
            .map(|(first, n, runs)| {
                let label = if n == 1 { label(first) } else { format!("{} to {}", label(first), label(first + n - 1)) };
                Row { label, n_rows: n, runs }
            })
            .collect();
        Some(Self { columns: axes[along].clone(), rows })
    }

    /// The map in characters, at most `width` wide: `█` a file, `·` none, `▒` some of those the character
    /// stands for, `2` more than one file, `!` a file that does not fit. With many rows those without a
    /// fault are counted only.
    pub fn lines(&self, width: usize) -> Vec<String> {
        /// Rows up to which all are shown.
        const FEW: usize = 24;
        /// Rows that are shown at all.
        const MOST: usize = 40;
        let few = self.rows.len() <= FEW;
        let shown: Vec<&Row> = self.rows.iter().filter(|r| few || !r.is_full()).take(MOST).collect();
        let margin = shown.iter().map(|r| r.label.chars().count()).max().unwrap_or(0).max(self.columns.name.len());
        let margin = margin.min(width / 2);
        let n_columns = self.columns.labels.len() as u64;
        let room = width.saturating_sub(margin + 4).max(10) as u64;
        let per_char = n_columns.div_ceil(room).max(1);
        let n_chars = n_columns.div_ceil(per_char) as usize;
        let mut lines =
            vec![format!("  {:margin$}  {}", self.columns.name, self.ruler(per_char, n_chars)).trim_end().into()];
        for row in &shown {
            let label: String = row.label.chars().take(margin).collect();
            lines.push(format!("  {label:margin$}  {}", drawn(&row.runs, per_char)));
        }
        let left: u64 = self.rows.iter().map(|r| r.n_rows).sum::<u64>() - shown.iter().map(|r| r.n_rows).sum::<u64>();
        if left > 0 {
            let what = if shown.len() < MOST { ", each of them complete" } else { "" };
            lines.push(format!("  {:margin$}  and {left} rows more{what}", ""));
        }
        if per_char > 1 {
            lines.push(format!("  {:margin$}  one character is {per_char} positions; ▒ has some of them", ""));
        }
        lines
    }

    /// Labels above the columns, as many as there is room for.
    fn ruler(&self, per_char: u64, n_chars: usize) -> String {
        let mut ruler = String::new();
        let mut free_from = 0;
        let mut at = 0;
        while at < n_chars {
            let Some(label) = self.columns.labels.get(at * per_char as usize) else { break };
            let label: String = label.chars().take(12).collect();
            if at >= free_from {
                ruler.extend(std::iter::repeat_n(' ', at - ruler.chars().count()));
                ruler.push_str(&label);
                free_from = at + label.chars().count() + 1;
            }
            at += 10;
        }
        ruler
    }
}

/// States of one row as runs; `same` is sorted by column.
fn runs(same: &[(u64, u64, State)], n_columns: u64) -> Runs {
    let mut runs = Runs::new();
    let mut push = |state, n: u64| match runs.last_mut() {
        Some(last) if last.0 == state => last.1 += n,
        _ if n > 0 => runs.push((state, n)),
        _ => {}
    };
    let mut next = 0;
    for cell in same.chunk_by(|a, b| a.1 == b.1) {
        push(State::Missing, cell[0].1 - next);
        push(if cell.len() > 1 { State::Double } else { cell[0].2 }, 1);
        next = cell[0].1 + 1;
    }
    push(State::Missing, n_columns - next);
    runs
}

/// One row in characters that stand for `per_char` positions each.
fn drawn(runs: &[(State, u64)], per_char: u64) -> String {
    let mut text = String::new();
    let mut seen = [0u64; 4];
    let mut filled = 0;
    let mut flush = |seen: &mut [u64; 4]| {
        let [missing, present, odd, double] = *seen;
        text.push(match () {
            () if double > 0 => '2',
            () if odd > 0 => '!',
            () if missing == 0 => '█',
            () if present == 0 => '·',
            () => '▒',
        });
        *seen = [0; 4];
    };
    for &(state, n) in runs {
        let mut left = n;
        while left > 0 {
            let take = left.min(per_char - filled);
            seen[state as usize] += take;
            filled += take;
            left -= take;
            if filled == per_char {
                flush(&mut seen);
                filled = 0;
            }
        }
    }
    if filled > 0 {
        flush(&mut seen);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(name: &str, n: u64) -> MapAxis {
        MapAxis { name: name.into(), labels: (0..n).map(|i| i.to_string()).collect() }
    }

    #[test]
    fn rows_show_what_is_missing_double_and_odd() {
        // c is 3, t is 12; channels follow one another slowest.
        let mut cells: Vec<(u64, State)> =
            (0..36).filter(|i| ![3, 15, 27, 30].contains(i)).map(|i| (i, State::Present)).collect();
        cells.push((14, State::Present));
        cells.iter_mut().find(|c| c.0 == 35).unwrap().1 = State::Odd;
        let map = PresenceMap::new(&[axis("c", 3), axis("t", 12)], &cells).unwrap();
        assert_eq!(
            map.lines(60),
            ["  t    0         10", "  c=0  ███·████████", "  c=1  ██2·████████", "  c=2  ███·██·████!"]
        );
    }

    #[test]
    fn alike_rows_are_joined_and_long_ones_binned() {
        let cells: Vec<(u64, State)> = (0..3000).filter(|i| *i != 700).map(|i| (i, State::Present)).collect();
        let map = PresenceMap::new(&[axis("p", 3), axis("t", 1000)], &cells).unwrap();
        let labels: Vec<&str> = map.rows.iter().map(|r| r.label.as_str()).collect();
        assert_eq!(labels, ["p=0", "p=1 to p=2"]);
        let lines = map.lines(80);
        assert!(lines.iter().all(|l| l.chars().count() <= 80), "{lines:?}");
        assert_eq!(lines[1].chars().filter(|c| *c == '▒').count(), 1);
        assert!(PresenceMap::new(&[], &[]).is_none());
    }

    #[test]
    fn a_sparse_grid_costs_nothing() {
        let map = PresenceMap::new(&[axis("p", 100_000), axis("t", 1000)], &[(50_000_000, State::Present)]).unwrap();
        assert_eq!(map.rows.iter().map(|r| r.n_rows).sum::<u64>(), 100_000);
        assert_eq!(map.rows.len(), 3);
    }
}
