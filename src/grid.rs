//! Boxes of an array: regions, and grids that cut a shape into equal boxes. Pure arithmetic.

use std::fmt;

use serde::Serialize;

/// A half-open box of an array, in elements: `origin[i] .. origin[i] + shape[i]` along each axis.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Region {
    /// First element along each axis.
    pub origin: Vec<u64>,
    /// Elements along each axis.
    pub shape: Vec<u64>,
}

impl Region {
    /// The box at `origin` of `shape`.
    ///
    /// # Panics
    /// If the two differ in number of axes.
    pub fn new(origin: impl Into<Vec<u64>>, shape: impl Into<Vec<u64>>) -> Self {
        let (origin, shape) = (origin.into(), shape.into());
        assert_eq!(origin.len(), shape.len(), "a region has one origin and one length per axis");
        Self { origin, shape }
    }

    /// All of an array of `shape`.
    pub fn whole(shape: &[u64]) -> Self {
        Self { origin: vec![0; shape.len()], shape: shape.to_vec() }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn n_elements(&self) -> u64 {
        n_elements(&self.shape)
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// One past the last element along `axis`.
    pub fn end(&self, axis: usize) -> u64 {
        self.origin[axis] + self.shape[axis]
    }

    /// The elements that lie in both, if any.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let mut both = Self { origin: Vec::with_capacity(self.rank()), shape: Vec::with_capacity(self.rank()) };
        for axis in 0..self.rank() {
            let start = self.origin[axis].max(other.origin[axis]);
            let end = self.end(axis).min(other.end(axis));
            if end <= start {
                return None;
            }
            both.origin.push(start);
            both.shape.push(end - start);
        }
        Some(both)
    }

    /// The same box counted from `origin` as zero.
    ///
    /// # Panics
    /// In debug builds, if the box begins before `origin`.
    #[must_use]
    pub fn relative_to(&self, origin: &[u64]) -> Self {
        Self { origin: self.origin.iter().zip(origin).map(|(a, b)| a - b).collect(), shape: self.shape.clone() }
    }

    /// Whether every element of `other` lies in it.
    pub fn contains(&self, other: &Self) -> bool {
        (0..self.rank()).all(|i| other.origin[i] >= self.origin[i] && other.end(i) <= self.end(i))
    }

    /// Boxes that share no element and hold what of it does not lie in `other`.
    #[must_use]
    pub fn without(mut self, other: &Self) -> Vec<Self> {
        let Some(both) = self.intersect(other) else { return vec![self] };
        let mut parts = Vec::new();
        for axis in 0..self.rank() {
            for (from, to) in [(self.origin[axis], both.origin[axis]), (both.end(axis), self.end(axis))] {
                if from < to {
                    let mut part = self.clone();
                    (part.origin[axis], part.shape[axis]) = (from, to - from);
                    parts.push(part);
                }
            }
            (self.origin[axis], self.shape[axis]) = (both.origin[axis], both.shape[axis]);
        }
        parts
    }

    /// The smallest box of whole `unit`s, counted from zero, that covers it within `shape`.
    #[must_use]
    pub fn grown_to(&self, unit: &[u64], shape: &[u64]) -> Self {
        let mut grown = self.clone();
        for i in 0..self.rank() {
            let start = self.origin[i] / unit[i] * unit[i];
            let end = self.end(i).div_ceil(unit[i]).saturating_mul(unit[i]).min(shape[i]);
            grown.origin[i] = start;
            grown.shape[i] = end.max(start) - start;
        }
        grown
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Prints `[0:3, 16:32]`.
impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for i in 0..self.rank() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{}:{}", self.origin[i], self.end(i))?;
        }
        f.write_str("]")
    }
}

/// Product of the lengths, saturating: a shape read from a hostile header must not wrap.
pub fn n_elements(shape: &[u64]) -> u64 {
    shape.iter().fold(1, |n, &s| n.saturating_mul(s))
}

/// Distances in elements between neighbours along each axis of a row-major array of `shape`.
pub fn row_major_strides(shape: &[u64]) -> Vec<u64> {
    let mut strides = vec![1u64; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i].saturating_mul(shape[i]);
    }
    strides
}

/// An array shape cut into equal boxes; boxes at the far edges may be smaller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grid {
    shape: Vec<u64>,
    cell: Vec<u64>,
    counts: Vec<u64>,
}

impl Grid {
    /// Cuts `shape` into boxes of `cell`.
    ///
    /// # Panics
    /// If a cell length is zero or the ranks differ.
    pub fn new(shape: &[u64], cell: &[u64]) -> Self {
        assert_eq!(shape.len(), cell.len(), "a grid has one cell length per axis");
        let counts = shape.iter().zip(cell).map(|(s, c)| s.div_ceil(*c)).collect();
        Self { shape: shape.to_vec(), cell: cell.to_vec(), counts }
    }

    /// Boxes along each axis.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Numbers of at most `n` boxes from all over the grid: one of each of equal parts, shifted against each other so that
    /// not all lie at the same place of a plane.
    pub fn spread(&self, n: u64) -> impl Iterator<Item = u64> + use<> {
        let (total, n) = (self.len(), n.min(self.len()));
        let part = total.checked_div(n).unwrap_or(0);
        (0..n).map(move |i| i * part + (part / 2 + i.wrapping_mul(0x9E37_79B9) % part.max(1)) % part.max(1))
    }

    /// Number of boxes.
    pub fn len(&self) -> u64 {
        n_elements(&self.counts)
    }

    /// Whether the array has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lengths of a full box.
    pub fn cell(&self) -> &[u64] {
        &self.cell
    }

    /// Shape of the array that is cut.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Position of box number `index` in row-major order, counted in boxes.
    pub fn unravel(&self, mut index: u64) -> Vec<u64> {
        let mut position = vec![0; self.counts.len()];
        for i in (0..self.counts.len()).rev() {
            position[i] = index % self.counts[i];
            index /= self.counts[i];
        }
        position
    }

    /// Number of the box at `position`.
    pub fn ravel(&self, position: &[u64]) -> u64 {
        position.iter().zip(&self.counts).fold(0, |n, (p, c)| n * c + p)
    }

    /// Elements of the box at `position`, clipped to the array.
    pub fn region(&self, position: &[u64]) -> Region {
        let origin: Vec<u64> = position.iter().zip(&self.cell).map(|(p, c)| p * c).collect();
        let shape = (0..origin.len()).map(|i| self.cell[i].min(self.shape[i].saturating_sub(origin[i]))).collect();
        Region { origin, shape }
    }

    /// Positions of all boxes that share an element with `region`, in row-major order.
    pub fn overlapping(&self, region: &Region) -> impl Iterator<Item = Vec<u64>> + use<> {
        let first: Vec<u64> = (0..region.rank()).map(|i| region.origin[i] / self.cell[i]).collect();
        let count: Vec<u64> = (0..region.rank())
            .map(|i| if region.is_empty() { 0 } else { region.end(i).div_ceil(self.cell[i]) - first[i] })
            .collect();
        positions(&count).map(move |p| p.iter().zip(&first).map(|(a, b)| a + b).collect())
    }
}

/// All index tuples of a box of `shape`, in row-major order.
pub fn positions(shape: &[u64]) -> impl Iterator<Item = Vec<u64>> + use<> {
    let shape = shape.to_vec();
    let mut next = if shape.contains(&0) { None } else { Some(vec![0; shape.len()]) };
    std::iter::from_fn(move || {
        let current = next.clone()?;
        let mut following = current.clone();
        next = None;
        for i in (0..shape.len()).rev() {
            following[i] += 1;
            if following[i] < shape[i] {
                next = Some(following);
                break;
            }
            following[i] = 0;
        }
        Some(current)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_grid_covers_its_array_exactly_once(
            dims in prop::collection::vec((1u64..7, 1u64..9), 1..4),
        ) {
            let (shape, cell): (Vec<_>, Vec<_>) = dims.into_iter().unzip();
            let grid = Grid::new(&shape, &cell);
            let mut seen = vec![0u8; n_elements(&shape) as usize];
            let strides = row_major_strides(&shape);
            for index in 0..grid.len() {
                let position = grid.unravel(index);
                prop_assert_eq!(grid.ravel(&position), index);
                let region = grid.region(&position);
                for p in positions(&region.shape) {
                    let at: u64 = (0..p.len()).map(|i| (p[i] + region.origin[i]) * strides[i]).sum();
                    seen[at as usize] += 1;
                }
            }
            prop_assert!(seen.iter().all(|&n| n == 1));
        }

        #[test]
        fn overlapping_finds_what_intersect_finds(
            dims in prop::collection::vec((1u64..9, 1u64..5, 0u64..9, 1u64..9), 1..4),
        ) {
            let shape: Vec<_> = dims.iter().map(|d| d.0).collect();
            let cell: Vec<_> = dims.iter().map(|d| d.1).collect();
            let origin: Vec<_> = dims.iter().map(|d| d.2 % d.0).collect();
            let size: Vec<_> = dims.iter().zip(&origin).map(|(d, o)| d.3.min(d.0 - o)).collect();
            let (grid, region) = (Grid::new(&shape, &cell), Region::new(origin, size));
            let found: Vec<_> = grid.overlapping(&region).map(|p| grid.ravel(&p)).collect();
            let expected: Vec<_> =
                (0..grid.len()).filter(|&i| grid.region(&grid.unravel(i)).intersect(&region).is_some()).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn growing_stops_at_the_edge() {
        let grown = Region::new([5, 0], [3, 10]).grown_to(&[4, 3], &[9, 10]);
        assert_eq!(grown, Region::new([4, 0], [4, 10]));
        assert_eq!(format!("{grown}"), "[4:8, 0:10]");
    }

    #[test]
    fn hostile_shapes_saturate() {
        assert_eq!(n_elements(&[u64::MAX, 2]), u64::MAX);
    }
}
