//! Columns that line up.

/// Rows of cells, printed with two spaces between columns as wide as their widest cell.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Adds a row; it may be shorter than others.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The lines, each indented by two spaces and without blanks at its end.
    ///
    /// The last cell of a row may be longer than its column elsewhere: it is broken between words so that
    /// no line is longer than `width`, and others where they leave no room for it.
    pub fn lines(&self, width: usize) -> Vec<String> {
        const INDENT: usize = 2;
        const GAP: usize = 2;
        /// What a last cell has at least.
        const LAST: usize = 8;
        /// Narrower columns say nothing.
        const NARROW: usize = 6;
        let n_columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        // A last cell takes what room there is and widens no column.
        let mut widths: Vec<usize> = (0..n_columns)
            .map(|i| {
                let cells = self.rows.iter().filter(|r| i + 1 < r.len()).filter_map(|r| r.get(i));
                cells.map(|c| c.chars().count()).max().unwrap_or(0)
            })
            .collect();
        // Where they do not fit beside each other, the widest are narrowed: first those that can be broken.
        let room = width.saturating_sub(INDENT + LAST);
        let whole = |i: usize| {
            let words = self.rows.iter().filter_map(|r| r.get(i)).flat_map(|cell| cell.split(' '));
            words.flat_map(super::pieces).map(|piece| piece.chars().count()).max().unwrap_or(0)
        };
        for least in [(0..n_columns).map(whole).collect(), vec![NARROW; n_columns]] {
            while widths.iter().map(|w| w + GAP).sum::<usize>() > room {
                let broken = widths.iter_mut().zip(&least).filter(|(w, least)| **w > NARROW.max(**least));
                match broken.map(|(w, _)| w).max() {
                    Some(widest) => *widest -= 1,
                    None => break,
                }
            }
        }
        let mut lines = Vec::new();
        for row in &self.rows {
            let mut at = INDENT;
            let mut cells: Vec<(usize, Vec<String>)> = Vec::new();
            for (i, (cell, column)) in row.iter().zip(&widths).enumerate() {
                let is_last = i + 1 == row.len();
                let room = if is_last { width.saturating_sub(at) } else { *column };
                let broken = super::wrapped(cell, room, 0);
                let whole = |line: &str| if is_last { line.to_owned() } else { super::shortened(line, room) };
                cells.push((at, broken.lines().map(whole).collect()));
                at += column + GAP;
            }
            let height = cells.iter().map(|(_, lines)| lines.len()).max().unwrap_or(0).max(1);
            for k in 0..height {
                let there = cells.iter().filter_map(|(at, lines)| Some((*at, lines.get(k)?)));
                let line = there.fold(String::new(), |line, (at, cell)| format!("{line:at$}{cell}"));
                lines.push(line.trim_end().to_owned());
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_one_wraps() {
        let mut table = Table::default();
        table.row(["field", "axis", "values"]);
        table.row(["a-long-name", "t", "one two three four"]);
        table.row(["µ", "c"]);
        assert_eq!(
            table.lines(32),
            [
                "  field        axis  values",
                "  a-long-name  t     one two",
                "                     three four",
                "  µ            c"
            ]
        );
        assert!(Table::default().lines(10).is_empty());
        let mut table = Table::default();
        table.row(["codec", "output", "run"]);
        table.row(["blosc:zstd,3,bitshuffle", "108.7 KiB", "0.02 s"]);
        assert_eq!(
            table.lines(34),
            ["  codec       output    run", "  blosc:      108.7     0.02 s", "  zstd,3,     KiB", "  bitshuffle"]
        );
    }
}
