//! Rows reduced block by block to a triangle by reflections (TSQR: Demmel, Grigori, Hoemmen and Langou, 2012).

use rayon::prelude::*;

use crate::error::Result;
use crate::pairwise::{BlockPass, Rows, gram};

/// Bytes of a block of columns.
const BLOCK_BYTES: u64 = 16 << 20;

/// Rows of a tile of products.
const TILE: usize = 128;

/// What becomes of rows before they are worked on.
#[derive(Clone, Copy)]
pub(super) struct Change {
    /// What they are divided by.
    pub(super) unit: f64,
    /// Whether the mean of all rows is taken away.
    pub(super) centred: bool,
}

impl Change {
    /// Changes `width` columns of `n` rows.
    fn apply(self, columns: &mut [f64], n: usize, width: usize) {
        if self.unit != 1.0 {
            columns.iter_mut().for_each(|x| *x /= self.unit);
        }
        for c in 0..if self.centred { width } else { 0 } {
            // Less the first, small differences of large numbers are exact, and so is their mean.
            let first = columns[c];
            (0..n).for_each(|i| columns[i * width + c] -= first);
            let mean = (0..n).map(|i| columns[i * width + c]).sum::<f64>() / n as f64;
            (0..n).for_each(|i| columns[i * width + c] -= mean);
        }
    }
}

/// Bytes of a block of columns of those that there are.
fn block_bytes(limit_bytes: u64) -> u64 {
    BLOCK_BYTES.min(limit_bytes / 8)
}

/// How large numbers are, and which are none.
pub(super) struct Extent {
    /// Size of the greatest that is finite.
    pub(super) most: f64,
    /// Number of those that are not finite.
    pub(super) n_bad: u64,
    /// The first row that has one in the first block that does.
    pub(super) first_bad: Option<usize>,
}

/// How large the numbers of all rows are.
pub(super) fn extent(rows: &Rows, limit_bytes: u64, way: &mut BlockPass<'_>) -> Result<Extent> {
    let mut state = vec![0.0f64; 3];
    rows.each_block(way, "extent", block_bytes(limit_bytes), &mut state, |state, columns, width| {
        for (i, x) in columns.iter().enumerate() {
            if x.is_finite() {
                state[0] = state[0].max(x.abs());
                continue;
            }
            if state[1] == 0.0 {
                state[2] = (i / width) as f64;
            }
            state[1] += 1.0;
        }
    })?;
    let first_bad = (state[1] > 0.0).then_some(state[2] as usize);
    Ok(Extent { most: state[0], n_bad: state[1] as u64, first_bad })
}

/// Products of all pairs of changed rows.
pub(super) fn products(
    rows: &Rows,
    change: Change,
    limit_bytes: u64,
    way: &mut BlockPass<'_>,
    products: &mut Vec<f64>,
) -> Result<()> {
    let n = rows.n_rows() as usize;
    products.fill(0.0);
    rows.each_block(way, "centred", block_bytes(limit_bytes), products, |products, columns, width| {
        change.apply(columns, n, width);
        let columns = &*columns;
        products.par_chunks_mut(TILE * n).zip(columns.par_chunks(TILE * width)).for_each(|(sums, tile)| {
            let mut part = vec![0.0; sums.len()];
            gram(tile, columns, width, n, &mut part);
            sums.iter_mut().zip(part).for_each(|(sum, p)| *sum += p);
        });
    })?;
    // Both halves are the same to the last bit.
    for i in 0..n {
        (0..i).for_each(|j| products[i * n + j] = products[j * n + i]);
    }
    Ok(())
}

/// The upper triangle that the changed and transposed rows are reduced to.
pub(super) fn triangle(rows: &Rows, change: Change, limit_bytes: u64, way: &mut BlockPass<'_>) -> Result<Vec<f64>> {
    let n = rows.n_rows() as usize;
    let mut triangle = vec![0.0; n * n];
    rows.each_block(way, "triangle", block_bytes(limit_bytes), &mut triangle, |triangle, columns, width| {
        change.apply(columns, n, width);
        reflect(triangle, columns, n, width);
    })?;
    // A triangle is told from others by its diagonal, which is positive.
    for row in 0..n {
        if triangle[row * n + row] < 0.0 {
            triangle[row * n..(row + 1) * n].iter_mut().for_each(|t| *t = -*t);
        }
    }
    Ok(triangle)
}

/// Reduces a triangle on top of `width` further rows of `n` numbers, whose columns lie one behind the other, to a triangle.
fn reflect(triangle: &mut [f64], columns: &mut [f64], n: usize, width: usize) {
    for j in 0..n {
        let (before, rest) = columns.split_at_mut((j + 1) * width);
        let v = &before[j * width..];
        let below: f64 = v.iter().map(|x| x * x).sum();
        if below == 0.0 {
            continue;
        }
        let top = triangle[j * n + j];
        let size = (top * top + below).sqrt();
        let new_top = if top > 0.0 { -size } else { size };
        // The reflection is 1 - beta w w^T with w = (top - new_top, v).
        let head = top - new_top;
        let beta = 2.0 / (head * head + below);
        triangle[j * n + j] = new_top;
        for (k, column) in rest.chunks_exact_mut(width).enumerate() {
            let t = &mut triangle[j * n + j + 1 + k];
            let dot = head * *t + v.iter().zip(&*column).map(|(a, b)| a * b).sum::<f64>();
            *t -= beta * dot * head;
            column.iter_mut().zip(v).for_each(|(x, v)| *x -= beta * dot * v);
        }
    }
}
