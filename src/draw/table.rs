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
    /// no line is longer than `width`. Other cells are cut where they leave no room for it.
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
        // Where they do not fit beside each other, the widest are cut.
        let room = width.saturating_sub(INDENT + LAST);
        while widths.iter().map(|w| w + GAP).sum::<usize>() > room {
            match widths.iter_mut().max().filter(|widest| **widest > NARROW) {
                Some(widest) => *widest -= 1,
                None => break,
            }
        }
        let mut lines = Vec::new();
        for row in &self.rows {
            let mut line = " ".repeat(INDENT);
            for (i, (cell, column)) in row.iter().zip(&widths).enumerate() {
                if i + 1 < row.len() {
                    let cell = super::shortened(cell, *column);
                    line.push_str(&format!("{cell:column$}{:GAP$}", ""));
                } else {
                    let at = line.chars().count();
                    let cell = super::wrapped(cell, width.saturating_sub(at), 0);
                    line.push_str(&cell.replace('\n', &format!("\n{:at$}", "")));
                }
            }
            lines.extend(line.lines().map(|l| l.trim_end().to_owned()));
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
    }
}
