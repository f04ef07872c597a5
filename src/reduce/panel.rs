//! Cuts a block into panels, the two-dimensional pieces that kernels work on.
//!
//! A panel is a few rows of contiguous elements. Either its columns are the output elements and its rows are
//! reduced (a mean over time), or each row is reduced to one output element (a sum over pixels). Panels are
//! small enough to stay in cache while every operator looks at them.

use crate::dtype::{DType, Element};
use crate::grid::{Region, n_elements, positions, row_major_strides};

/// Columns of a panel: accumulators of 4 bytes for them fill half of a 64 KiB cache.
const N_COLUMNS: usize = 8192;

/// Bytes of a panel at most, but for a single row.
const PANEL_BYTES: usize = 512 << 10;

/// Longest row of a panel whose rows are reduced, and most rows of any panel. Short sums rely on it.
pub(super) const N_ALONG: usize = 32768;

/// How a panel is reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Along {
    /// Every column becomes one output element.
    Columns,
    /// Every row becomes one output element.
    Rows,
}

/// What an operator folds: `n_rows` rows of `n_columns` contiguous elements.
pub(super) struct Panel<'a> {
    bytes: &'a [u8],
    dtype: DType,
    start: usize,
    stride: usize,
    mask: Option<&'a [u8]>,
    pub(super) n_rows: usize,
    pub(super) n_columns: usize,
    /// Which of both directions is reduced.
    pub(super) along: Along,
    /// First output element, counted in the tile; the others follow one by one.
    pub(super) at: usize,
    /// Number of the first reduced element among those of the block, in row-major order.
    pub(super) first: u64,
    /// Elements of each output that were folded before this block, present or not.
    pub(super) before: u64,
    /// Where the reduced elements of the block lie in the array.
    pub(super) index: &'a Numbering,
}

impl<'a> Panel<'a> {
    /// `n_columns` outputs, each a column of `n_rows` dense rows, all there is.
    pub(super) fn of_columns(
        bytes: &'a [u8],
        dtype: DType,
        (n_rows, n_columns): (usize, usize),
        index: &'a Numbering,
    ) -> Self {
        let along = Along::Columns;
        let (stride, mask) = (n_columns, None);
        Self { bytes, dtype, start: 0, stride, mask, n_rows, n_columns, along, at: 0, first: 0, before: 0, index }
    }

    /// Row number `row`.
    ///
    /// # Panics
    /// If `T` does not have the size of the elements.
    #[inline(always)]
    pub(super) fn row<T: Element>(&self, row: usize) -> &'a [T] {
        let size = size_of::<T>();
        debug_assert_eq!(size, self.dtype.size());
        let from = (self.start + row * self.stride) * size;
        bytemuck::cast_slice(&self.bytes[from..from + self.n_columns * size])
    }

    /// Which elements of row `row` count (1) and which do not (0); `None` if all do.
    #[inline(always)]
    pub(super) fn mask_row(&self, row: usize) -> Option<&'a [u8]> {
        self.mask.map(|m| &m[row * self.n_columns..(row + 1) * self.n_columns])
    }

    /// Whether some elements may not count.
    pub(super) fn is_masked(&self) -> bool {
        self.mask.is_some()
    }

    /// Number of output elements.
    pub(super) fn n_outputs(&self) -> usize {
        match self.along {
            Along::Columns => self.n_columns,
            Along::Rows => self.n_rows,
        }
    }

    /// Its outputs, counted in the tile.
    pub(super) fn outputs(&self) -> std::ops::Range<usize> {
        self.at..self.at + self.n_outputs()
    }

    /// Number of elements that go into each output.
    pub(super) fn n_reduced(&self) -> usize {
        match self.along {
            Along::Columns => self.n_rows,
            Along::Rows => self.n_columns,
        }
    }

    /// Elements of its output number `i` that count, in order.
    #[inline(always)]
    pub(super) fn output<T: Element>(&self, i: usize) -> impl Iterator<Item = T> + '_ {
        let place = move |at| if self.along == Along::Columns { (at, i) } else { (i, at) };
        let counts = |&(row, column): &(usize, usize)| self.mask_row(row).is_none_or(|m| m[column] != 0);
        (0..self.n_reduced()).map(place).filter(counts).map(|(row, column)| self.row::<T>(row)[column])
    }

    /// Calls `f` with output, number among the reduced, and value of each element that counts, in order. The
    /// output is counted in the tile.
    #[inline(always)]
    pub(super) fn each<T: Element>(&self, mut f: impl FnMut(usize, usize, T)) {
        for row in 0..self.n_rows {
            let (values, mask) = (self.row::<T>(row), self.mask_row(row));
            let counts = |column: usize| mask.is_none_or(|m| m[column] != 0);
            let values = values.iter().enumerate().filter(|(column, _)| counts(*column));
            match self.along {
                Along::Columns => values.for_each(|(column, &x)| f(self.at + column, row, x)),
                Along::Rows => values.for_each(|(column, &x)| f(self.at + row, column, x)),
            }
        }
    }

    /// The same panel with a mask, `n_rows * n_columns` bytes of 0 or 1.
    pub(super) fn masked<'b>(&'b self, mask: &'b [u8]) -> Panel<'b> {
        debug_assert_eq!(mask.len(), self.n_rows * self.n_columns);
        Panel { mask: Some(mask), ..*self }
    }

    /// Offset in the block, in elements, of the first element of row `row`.
    pub(super) fn offset(&self, row: usize) -> usize {
        self.start + row * self.stride
    }
}

/// Where the reduced elements of a block lie among all that are reduced.
pub(super) struct Numbering {
    /// Lengths of the reduced axes in the block.
    shape: Vec<u64>,
    /// First coordinate of each reduced axis.
    origin: Vec<u64>,
    /// Strides of each reduced axis in the row-major order of all reduced elements.
    strides: Vec<u64>,
}

impl Numbering {
    /// For `region` of an array of `shape`, of which the `reduced` axes are reduced.
    pub(super) fn new(shape: &[u64], region: &Region, reduced: &[bool]) -> Self {
        let pick = |v: &[u64]| -> Vec<u64> { v.iter().zip(reduced).filter(|(_, r)| **r).map(|(v, _)| *v).collect() };
        Self { shape: pick(&region.shape), origin: pick(&region.origin), strides: row_major_strides(&pick(shape)) }
    }

    /// Number, among all reduced elements of the array, of the block's element number `local`.
    pub(super) fn global(&self, mut local: u64) -> u64 {
        let mut global = 0;
        for i in (0..self.shape.len()).rev() {
            global += (local % self.shape[i] + self.origin[i]) * self.strides[i];
            local /= self.shape[i];
        }
        global
    }

    /// Coordinate along the first reduced axis of the block's element number `local`.
    pub(super) fn coordinate(&self, local: u64) -> u64 {
        local / n_elements(&self.shape[1..]) + self.origin[0]
    }
}

/// One axis, or several that lie in memory as one.
#[derive(Clone, Copy)]
struct Dim {
    length: usize,
    stride: usize,
    reduced: bool,
    /// Step in the row-major order of the outputs, or of the reduced elements.
    step: usize,
}

/// Axes of `shape` with `strides`, joined where neighbours allow it. The last one is contiguous.
fn dims(shape: &[u64], strides: &[usize], reduced: &[bool]) -> Vec<Dim> {
    let mut dims: Vec<Dim> = Vec::with_capacity(shape.len() + 1);
    let (mut kept_step, mut reduced_step) = (1, 1);
    for i in (0..shape.len()).rev() {
        let length = shape[i] as usize;
        if length == 1 {
            continue;
        }
        let counter = if reduced[i] { &mut reduced_step } else { &mut kept_step };
        let step = *counter;
        *counter *= length;
        match dims.last_mut() {
            Some(inner) if inner.reduced == reduced[i] && strides[i] == inner.stride * inner.length => {
                inner.length *= length;
            }
            _ => dims.push(Dim { length, stride: strides[i], reduced: reduced[i], step }),
        }
    }
    dims.reverse();
    if dims.last().is_none_or(|d| d.stride != 1) {
        // Rows of one element; they count as kept, so that an only axis that is reduced runs over rows.
        dims.push(Dim { length: 1, stride: 1, reduced: false, step: 1 });
    }
    dims
}

/// A part of a block that is to be cut into panels.
pub(super) struct Patch<'a> {
    /// Elements of the block, whose axes have `block_shape`.
    pub(super) bytes: &'a [u8],
    pub(super) dtype: DType,
    pub(super) block_shape: &'a [u64],
    /// The part, counted from the block's first element.
    pub(super) part: &'a Region,
    /// Which axes are reduced.
    pub(super) reduced: &'a [bool],
    pub(super) index: &'a Numbering,
    pub(super) before: u64,
    /// Whether panels should rather hold all reduced elements of few outputs than few of many.
    pub(super) whole: bool,
}

/// Calls `f` with every panel.
///
/// Output elements are numbered in row-major order of the part's kept axes, reduced ones in that of its reduced axes.
pub(super) fn for_each<'a>(patch: &Patch<'a>, mut f: impl FnMut(&Panel<'a>)) {
    let &Patch { bytes, dtype, block_shape, part, reduced, index, before, whole } = patch;
    if part.is_empty() {
        return;
    }
    let strides: Vec<usize> = row_major_strides(block_shape).iter().map(|&s| s as usize).collect();
    let origin: usize = part.origin.iter().zip(&strides).map(|(&o, s)| o as usize * s).sum();
    let mut dims = dims(&part.shape, &strides, reduced);
    let Some(inner) = dims.pop() else { return };
    let along = if inner.reduced { Along::Rows } else { Along::Columns };
    // Rows of the panel are the next axis out, if it is of the other kind.
    let rows = dims.pop_if(|d| d.reduced != inner.reduced);
    let rows = rows.unwrap_or(Dim { length: 1, stride: 0, reduced: !inner.reduced, step: 1 });
    let longest = if along == Along::Columns { N_COLUMNS } else { N_ALONG };
    let n_columns = if whole && along == Along::Columns {
        // A little more than a panel rather than two halves of one.
        let fitting = 2 * PANEL_BYTES / (rows.length * dtype.size());
        inner.length.min((fitting / 128 * 128).clamp(128, longest))
    } else {
        inner.length.min(longest)
    };
    let n_rows = PANEL_BYTES / (n_columns * dtype.size());
    let n_rows = if whole { rows.length.min(N_ALONG) } else { n_rows.clamp(1, rows.length.min(N_ALONG)) };

    let outer: Vec<u64> = dims.iter().map(|d| d.length as u64).collect();
    for position in positions(&outer) {
        let (mut start, mut at, mut first) = (origin, 0, 0u64);
        for (d, &p) in dims.iter().zip(&position) {
            start += p as usize * d.stride;
            if d.reduced {
                first += p * d.step as u64;
            } else {
                at += p as usize * d.step;
            }
        }
        for column in (0..inner.length).step_by(n_columns) {
            for row in (0..rows.length).step_by(n_rows) {
                let (kept, reduced) = match along {
                    Along::Columns => (column * inner.step, row * rows.step),
                    Along::Rows => (row * rows.step, column * inner.step),
                };
                f(&Panel {
                    bytes,
                    dtype,
                    start: start + column + row * rows.stride,
                    stride: rows.stride,
                    mask: None,
                    n_rows: n_rows.min(rows.length - row),
                    n_columns: n_columns.min(inner.length - column),
                    along,
                    at: at + kept,
                    first: first + reduced as u64,
                    before,
                    index,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn panels_visit_every_element_once_with_its_numbers(
            axes in prop::collection::vec((1u64..5, 0u64..5, 1u64..6, any::<bool>()), 1..5),
        ) {
            let block: Vec<u64> = axes.iter().map(|a| a.0).collect();
            let origin: Vec<u64> = axes.iter().map(|a| a.1 % a.0).collect();
            let shape: Vec<u64> = axes.iter().zip(&origin).map(|(a, o)| a.2.min(a.0 - o)).collect();
            let reduced: Vec<bool> = axes.iter().map(|a| a.3).collect();
            let part = Region::new(origin.clone(), shape.clone());
            let data: Vec<u16> = (0..n_elements(&block) as u16).collect();
            let index = Numbering::new(&block, &part, &reduced);
            let mut seen = std::collections::HashMap::new();
            let (bytes, dtype, whole) = (bytemuck::cast_slice(&data), DType::Uint16, axes.len() % 2 == 0);
            let (block_shape, part, reduced, index) = (&block[..], &part, &reduced[..], &index);
            for_each(&Patch { bytes, dtype, block_shape, part, reduced, index, before: 0, whole }, |panel| {
                panel.each::<u16>(|output, n, v| _ = seen.insert(v, (output, panel.first + n as u64)));
            });
            prop_assert_eq!(seen.len() as u64, part.n_elements());
            let ravel = |p: &[u64], shape: &[u64], want: bool| {
                (0..p.len()).filter(|&i| reduced[i] == want).fold(0, |n, i| n * shape[i] + p[i])
            };
            let strides = row_major_strides(&block);
            for p in positions(&shape) {
                let placed: Vec<u64> = p.iter().zip(&origin).map(|(p, o)| p + o).collect();
                let v: u64 = placed.iter().zip(&strides).map(|(p, s)| p * s).sum();
                let (at, local) = seen[&(v as u16)];
                prop_assert_eq!(at as u64, ravel(&p, &shape, false));
                prop_assert_eq!(local, ravel(&p, &shape, true));
                prop_assert_eq!(index.global(local), ravel(&placed, &block, true));
            }
        }
    }
}
