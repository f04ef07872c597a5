//! Rows reduced block by block to a triangle by reflections (TSQR: Demmel, Grigori, Hoemmen and Langou, 2012).

use crate::error::Result;
use crate::pairwise::{BlockPass, Rows};

/// Bytes of a block of columns.
const BLOCK_BYTES: u64 = 16 << 20;

/// The upper triangle of `n` rows that the transposed rows are reduced to; with the mean of all rows taken away if they are
/// to be `centred`.
pub(super) fn triangle(rows: &Rows, centred: bool, limit_bytes: u64, way: &mut BlockPass<'_>) -> Result<Vec<f64>> {
    let n = rows.n_rows() as usize;
    let mut triangle = vec![0.0; n * n];
    rows.each_block(way, "triangle", BLOCK_BYTES.min(limit_bytes / 8), &mut triangle, |triangle, columns, width| {
        for c in 0..if centred { width } else { 0 } {
            let mean = (0..n).map(|i| columns[i * width + c]).sum::<f64>() / n as f64;
            (0..n).for_each(|i| columns[i * width + c] -= mean);
        }
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
