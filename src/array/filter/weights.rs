//! Weighted sums of boxes with a weight for each element: convolution with any kernel.

use multiversion::multiversion;

use super::{Filter, Reach, wide};
use crate::array::Kept;
use crate::array::calc::convert;
use crate::array::kernel::{Datum, Routine, bytes};
use crate::block::Buffer;
use crate::dtype::DType;
use crate::grid::{n_elements, positions, row_major_strides};

/// Elements that are summed up at once.
const STRIP: usize = 1024;

/// A weight for each element of a box; sums are made in `float64`, or in 64-bit integers.
pub struct Weights {
    reach: Reach,
    /// Position in the box, and weight, of those that are not zero.
    weights: Vec<(Vec<u64>, f64)>,
    dtype: DType,
}

impl Weights {
    /// `weights` in row-major order of a box that reaches so far; results as `dtype`: `float32`, `float64`, or `int64`
    /// where elements and weights are whole.
    pub fn new(reach: Reach, weights: &[f64], dtype: DType) -> Self {
        let window: Vec<u64> = reach.iter().map(|(before, after)| before + after + 1).collect();
        let weights = positions(&window).zip(weights.iter().copied()).filter(|w| w.1 != 0.0).collect();
        Self { reach, weights, dtype }
    }

    fn run<T: Sum>(&self, source: &[T], shape: &[u64], out: &mut [u8]) {
        let strides = row_major_strides(&wide(shape, &self.reach));
        let at = |p: &[u64]| p.iter().zip(&strides).map(|(p, s)| p * s).sum::<u64>() as usize;
        let offsets: Vec<(usize, T)> = self.weights.iter().map(|(p, w)| (at(p), T::of(*w))).collect();
        let Some((&length, outer)) = shape.split_last() else { return };
        let size = self.dtype.size();
        let mut sums = [T::of(0.0); STRIP];
        for (position, row) in positions(outer).zip(out.chunks_exact_mut(length as usize * size)) {
            let start = at(&position);
            for (number, out) in row.chunks_mut(STRIP * size).enumerate() {
                let n = out.len() / size;
                let sums = &mut sums[..n];
                sums.fill(T::of(0.0));
                for &(offset, weight) in &offsets {
                    let from = start + number * STRIP + offset;
                    add(sums, &source[from..from + n], weight);
                }
                convert(T::DTYPE, bytemuck::cast_slice(sums), self.dtype, out);
            }
        }
    }
}

impl Filter for Weights {
    fn reach(&self) -> &Reach {
        &self.reach
    }

    fn dtype(&self, _: DType) -> DType {
        self.dtype
    }

    fn scratch_bytes(&self, shape: &[u64], _: DType) -> u64 {
        n_elements(&wide(shape, &self.reach)).saturating_mul(8)
    }

    fn apply(&self, source: &[u8], dtype: DType, shape: &[u64], out: &mut [u8], kept: &mut Kept) {
        let n = n_elements(&wide(shape, &self.reach)) as usize;
        let bytes = kept.get::<Buffer>().sized(n * 8);
        if self.dtype == DType::Int64 {
            convert(dtype, source, DType::Int64, bytes);
            self.run::<i64>(bytemuck::cast_slice(bytes), shape, out);
        } else {
            convert(dtype, source, DType::Float64, bytes);
            self.run::<f64>(bytemuck::cast_slice(bytes), shape, out);
        }
    }

    fn launch(&self, source: (Datum, DType), shape: &[u64], routine: &mut Routine) -> Option<Datum> {
        // Whole numbers wrap, which those without a sign may.
        let of = if self.dtype == DType::Int64 { "ulong" } else { "double" };
        let weights: Vec<f64> = self.weights.iter().map(|w| w.1).collect();
        let weights = match self.dtype {
            DType::Int64 => bytes(&weights.iter().map(|w| *w as i64).collect::<Vec<_>>()),
            _ => bytes(&weights),
        };
        let body = format!("{of} r = 0; for (int i = 0; i < N; i++) r = r + AT(i) * w[i];");
        let boxes = (shape, &wide(shape, &self.reach)[..], None);
        let positions = self.weights.iter().map(|w| w.0.clone());
        Some(routine.around(source, boxes, positions, (of, self.dtype), (&body, weights)))
    }
}

trait Sum: bytemuck::Pod {
    const DTYPE: DType;
    fn of(x: f64) -> Self;
    fn plus(self, x: Self, weight: Self) -> Self;
}

impl Sum for f64 {
    const DTYPE: DType = DType::Float64;
    fn of(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn plus(self, x: Self, weight: Self) -> Self {
        self + x * weight
    }
}

impl Sum for i64 {
    const DTYPE: DType = DType::Int64;
    fn of(x: f64) -> Self {
        x as Self
    }
    #[inline(always)]
    fn plus(self, x: Self, weight: Self) -> Self {
        self.wrapping_add(x.wrapping_mul(weight))
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add<T: Sum>(sums: &mut [T], source: &[T], weight: T) {
    let n = sums.len();
    let source = &source[..n];
    (0..n).for_each(|i| sums[i] = sums[i].plus(source[i], weight));
}
