//! Running tile numbers to rows and columns: `tile=x:4,y:3,snake`.

use super::parts::FieldAxis;
use crate::error::{Error, Result};

/// How the numbers of one field walk over a mosaic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileOrder {
    /// The axis that is replaced.
    pub field: String,
    /// The new axes, the fastest first.
    pub axes: Vec<TileAxis>,
    /// Whether every second pass along the first axis runs backwards.
    pub snake: bool,
    /// The number of the first tile, when it cannot be told from the numbers.
    pub from: Option<i64>,
}

/// One axis of a mosaic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileAxis {
    /// `x`, `y`, or another name.
    pub name: String,
    /// Number of tiles along it.
    pub length: u32,
    /// Whether the numbers run against the axis.
    pub backwards: bool,
}

/// More tiles than any stage has are a mistake.
const MAX_TILES: i64 = 10_000_000;

impl TileOrder {
    /// Reads `FIELD=AXIS:LENGTH,AXIS:LENGTH[,snake][,from:N]`, the axis the numbers run along first
    /// coming first: `tile=x:4,y:3` goes row by row, `tile=y:3,x:4` column by column. A `-` before an
    /// axis makes the numbers run against it; `snake` turns every second pass round.
    ///
    /// # Errors
    /// `Usage` with the part that cannot be read.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: String| Error::usage(format!("layout '{text}': {what}, such as 'tile=x:4,y:3,snake'"));
        let (field, order) =
            text.split_once('=').ok_or_else(|| wrong("the name of a field and '=' come first".to_owned()))?;
        let mut tiles = Self { field: field.trim().to_owned(), axes: Vec::new(), snake: false, from: None };
        if tiles.field.is_empty() {
            return Err(wrong("no field is named before '='".to_owned()));
        }
        for part in order.split(',').map(str::trim) {
            match part.split_once(':') {
                None if part == "snake" => tiles.snake = true,
                Some(("from", first)) => {
                    let first = first.parse().map_err(|_| wrong(format!("'{first}' is not the number of a tile")))?;
                    tiles.from = Some(first);
                }
                Some((axis, length)) => {
                    let (name, backwards) = match axis.strip_prefix('-') {
                        Some(name) => (name, true),
                        None => (axis, false),
                    };
                    let length = match length.parse() {
                        Ok(length @ 1..) if !name.is_empty() => length,
                        _ => return Err(wrong(format!("'{part}' is not an axis and its number of tiles"))),
                    };
                    if tiles.axes.iter().any(|a| a.name == name) {
                        return Err(wrong(format!("'{name}' is given twice")));
                    }
                    tiles.axes.push(TileAxis { name: name.to_owned(), length, backwards });
                }
                None => {
                    return Err(wrong(format!(
                        "'{part}' is neither an axis and its number of tiles nor 'snake' or 'from:N'"
                    )));
                }
            }
        }
        match tiles.count() {
            Some(1..=MAX_TILES) if tiles.axes.len() >= 2 => Ok(tiles),
            Some(1..=MAX_TILES) => Err(wrong("a mosaic has at least two axes".to_owned())),
            _ => Err(wrong(format!("a mosaic has at most {MAX_TILES} tiles"))),
        }
    }

    fn count(&self) -> Option<i64> {
        self.axes.iter().try_fold(1i64, |n, axis| n.checked_mul(i64::from(axis.length)))
    }

    /// Where tile `k`, counted from zero, lies along each axis, in the order of `axes`.
    fn place(&self, k: i64) -> Vec<u32> {
        let mut rest = k;
        let mut place = Vec::with_capacity(self.axes.len());
        for axis in &self.axes {
            place.push((rest % i64::from(axis.length)) as u32);
            rest /= i64::from(axis.length);
        }
        for (i, axis) in self.axes.iter().enumerate() {
            // A pass along an axis turns round each time the slower ones have moved one step.
            let pass: i64 = self.axes[..=i].iter().map(|a| i64::from(a.length)).product();
            let passes = k / pass;
            let turned = self.snake && i + 1 < self.axes.len() && passes % 2 == 1;
            if turned != axis.backwards {
                place[i] = axis.length - 1 - place[i];
            }
        }
        place
    }

    /// The new axes, slowest first, and the position of every name along them, from the numbers of the
    /// old axis.
    pub(super) fn apply(&self, labels: &[String], index: &[u32]) -> Result<Vec<(FieldAxis, Vec<u32>)>> {
        let wrong = |what: String| Error::usage(format!("layout of '{}': {what}", self.field));
        let count = self.count().unwrap_or(0);
        let mut numbers: Vec<i64> = Vec::with_capacity(labels.len());
        for label in labels {
            numbers.push(label.parse().map_err(|_| wrong(format!("'{label}' is not the number of a tile")))?);
        }
        let (Some(least), Some(most)) = (numbers.iter().min().copied(), numbers.iter().max().copied()) else {
            return Ok(Vec::new());
        };
        let spanned = most.checked_sub(least).and_then(|n| n.checked_add(1)).unwrap_or(i64::MAX);
        let shape: Vec<String> = self.axes.iter().map(|a| format!("{}:{}", a.name, a.length)).collect();
        let shape = shape.join(",");
        let first = match self.from {
            Some(first) => first,
            None if spanned == count => least,
            None if spanned < count => {
                return Err(wrong(format!(
                    "the numbers run from {least} to {most}, {shape} has {count} tiles: say with from:N which number is the first"
                )));
            }
            None => {
                return Err(wrong(format!("the numbers run from {least} to {most}, {shape} has only {count} tiles")));
            }
        };
        let mut places = Vec::with_capacity(numbers.len());
        for number in numbers {
            match number.checked_sub(first) {
                Some(k) if (0..count).contains(&k) => places.push(self.place(k)),
                _ => return Err(wrong(format!("tile {number} lies outside {shape} counted from {first}"))),
            }
        }
        let axes = self.axes.iter().enumerate().rev().map(|(i, axis)| {
            let labels = (0..axis.length).map(|k| k.to_string()).collect();
            let along = index.iter().map(|k| places.get(*k as usize).map_or(0, |p| p[i])).collect();
            (FieldAxis::new(&axis.name, labels), along)
        });
        Ok(axes.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(order: &str, tiles: i64) -> Vec<Vec<u32>> {
        let order = TileOrder::parse(order).unwrap();
        (0..tiles).map(|k| order.place(k)).collect()
    }

    #[test]
    fn numbers_walk_as_stages_do() {
        assert_eq!(walk("t=x:2,y:2", 4), [[0, 0], [1, 0], [0, 1], [1, 1]]);
        assert_eq!(walk("t=x:3,y:2,snake", 6), [[0, 0], [1, 0], [2, 0], [2, 1], [1, 1], [0, 1]]);
        assert_eq!(walk("t=-x:3,y:2,snake", 6), [[2, 0], [1, 0], [0, 0], [0, 1], [1, 1], [2, 1]]);
        assert_eq!(walk("t=y:2,x:2,snake", 4), [[0, 0], [1, 0], [1, 1], [0, 1]]);
        let solid = walk("t=x:2,y:2,z:2,snake", 8);
        for pair in solid.windows(2) {
            let moved: u32 = pair[0].iter().zip(&pair[1]).map(|(a, b)| a.abs_diff(*b)).sum();
            assert_eq!(moved, 1, "a snake moves one tile at a time: {solid:?}");
        }
    }

    #[test]
    fn orders_that_make_no_sense_are_refused() {
        for text in [
            "x:3",
            "tile=",
            "tile=x:0,y:2",
            "tile=x:2",
            "tile=x:2,x:3",
            "tile=x:2,y:3,zigzag",
            "=x:1,y:1",
            "t=x:4000000000,y:4000000000",
        ] {
            assert!(TileOrder::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_first_number_must_be_clear() {
        let labels: Vec<String> = (1..6).map(|n| n.to_string()).collect();
        let order = TileOrder::parse("tile=x:3,y:2").unwrap();
        let text = order.apply(&labels, &[0]).unwrap_err().to_string();
        assert!(text.contains("from:N"), "{text}");
        let order = TileOrder::parse("tile=x:3,y:2,from:1").unwrap();
        assert_eq!(order.apply(&labels, &[3]).unwrap()[0].1, [1]);
        assert!(TileOrder::parse("tile=x:2,y:2").unwrap().apply(&labels, &[3]).is_err());
    }
}
