//! Means of neighbours that weigh less the farther away they are and the more they differ: edges stay.
//!
//! Source: Tomasi and Manduchi, Bilateral filtering for gray and color images, 1998.

use super::{Filter, Reach, as_float64, rounded, wide};
use crate::array::Kept;
use crate::array::calc::convert;
use crate::dtype::DType;
use crate::grid::{n_elements, positions, row_major_strides};

/// Gaussian weights by distance and by difference of values.
pub struct Bilateral {
    reach: Reach,
    /// Position in the box, and its weight.
    near: Vec<(Vec<u64>, f64)>,
    /// Deviation of values.
    range: f64,
}

impl Bilateral {
    /// Of deviations along each axis in elements (0 leaves it alone), cut at `truncate` of them, and of values.
    pub fn new(sigmas: &[f64], truncate: f64, range: f64) -> Self {
        let radius = |s: &f64| (truncate * s + 0.5) as u64;
        let reach: Reach = sigmas.iter().map(|s| (radius(s), radius(s))).collect();
        let window: Vec<u64> = reach.iter().map(|(before, after)| before + after + 1).collect();
        let near = positions(&window).map(|p| {
            let along = |((p, r), s): ((&u64, &(u64, u64)), &f64)| {
                if *s > 0.0 { ((*p as f64 - r.0 as f64) / s).powi(2) } else { 0.0 }
            };
            let square: f64 = p.iter().zip(&reach).zip(sigmas).map(along).sum();
            (p, (-0.5 * square).exp())
        });
        Self { near: near.collect(), reach, range }
    }
}

impl Filter for Bilateral {
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
        let near: Vec<(usize, f64)> = self.near.iter().map(|(p, w)| (at(p), *w)).collect();
        let middle = at(&self.reach.iter().map(|r| r.0).collect::<Vec<_>>());
        let to = rounded(dtype);
        let factor = -0.5 / (self.range * self.range);
        for (position, out) in positions(shape).zip(out.chunks_exact_mut(to.size())) {
            let start = at(&position);
            let own = source[start + middle];
            let (mut sum, mut weights) = (0.0, 0.0);
            for &(offset, weight) in &near {
                let x = source[start + offset];
                let weight = weight * (factor * (x - own) * (x - own)).exp();
                sum += weight * x;
                weights += weight;
            }
            convert(DType::Float64, bytemuck::bytes_of(&(sum / weights)), to, out);
        }
    }
}
