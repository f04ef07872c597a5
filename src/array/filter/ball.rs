//! The background as a ball sees it that rolls below the surface of the values.
//!
//! Source: Sternberg, Biomedical image processing, 1983; kernel and edges as in scikit-image.

use multiversion::multiversion;

use super::{Filter, Reach, as_float64, rounded, wide};
use crate::array::Kept;
use crate::array::calc::convert;
use crate::dtype::DType;
use crate::grid::{n_elements, positions, row_major_strides};

/// Elements that are made at once.
const STRIP: usize = 512;

/// The least of a box whose elements are raised as a ball falls away below them.
pub struct Ball {
    reach: Reach,
    /// Position in the box, and how much the ball lies below its top there.
    falls: Vec<(Vec<u64>, f64)>,
}

impl Ball {
    /// A ball of `radius` elements along the axes that `along` says.
    pub fn new(radius: f64, along: &[bool]) -> Self {
        let r = radius.ceil() as u64;
        let reach: Reach = along.iter().map(|&is_along| if is_along { (r, r) } else { (0, 0) }).collect();
        let window: Vec<u64> = reach.iter().map(|(before, after)| before + after + 1).collect();
        let falls = positions(&window).filter_map(|p| {
            let square: f64 = p.iter().zip(&reach).map(|(p, (before, _))| (*p as f64 - *before as f64).powi(2)).sum();
            (square <= radius * radius).then(|| (p, radius - (radius * radius - square).sqrt()))
        });
        Self { falls: falls.collect(), reach }
    }
}

impl Filter for Ball {
    fn reach(&self) -> &Reach {
        &self.reach
    }

    fn dtype(&self, dtype: DType) -> DType {
        rounded(dtype)
    }

    fn scratch_bytes(&self, shape: &[u64], _: DType) -> u64 {
        n_elements(&wide(shape, &self.reach)).saturating_mul(8)
    }

    fn apply(&self, source: &[u8], dtype: DType, shape: &[u64], out: &mut [u8], kept: &mut Kept) {
        let lengths = wide(shape, &self.reach);
        let source = as_float64(source, dtype, kept);
        let strides = row_major_strides(&lengths);
        let at = |p: &[u64]| p.iter().zip(&strides).map(|(p, s)| p * s).sum::<u64>() as usize;
        let offsets: Vec<(usize, f64)> = self.falls.iter().map(|(p, fall)| (at(p), *fall)).collect();
        let Some((&length, outer)) = shape.split_last() else { return };
        let (to, size) = (rounded(dtype), rounded(dtype).size());
        let mut least = [0.0; STRIP];
        for (position, row) in positions(outer).zip(out.chunks_exact_mut(length as usize * size)) {
            let start = at(&position);
            for (number, out) in row.chunks_mut(STRIP * size).enumerate() {
                let least = &mut least[..out.len() / size];
                least.fill(f64::INFINITY);
                for &(offset, fall) in &offsets {
                    lower(least, &source[start + number * STRIP + offset..], fall);
                }
                convert(DType::Float64, bytemuck::cast_slice(least), to, out);
            }
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn lower(least: &mut [f64], source: &[f64], fall: f64) {
    let n = least.len();
    let source = &source[..n];
    (0..n).for_each(|i| {
        let x = source[i] + fall;
        least[i] = if x < least[i] { x } else { least[i] };
    });
}
