//! Minima and maxima of boxes, along one axis after the other.
//!
//! Along a line, extrema of two neighbours make those of four, these of eight: the window of any length is the extremum of
//! two overlapping ones of a power of two.

use multiversion::multiversion;

use super::{Filter, Line, Reach, wide};
use crate::array::Kept;
use crate::dtype::DType;
use crate::grid::n_elements;
use crate::with_class;

/// Bytes of a strip across lines: it stays in a cache.
const STRIP_BYTES: usize = 256 << 10;

/// The least or the greatest element of a box.
pub struct Extremum {
    reach: Reach,
    is_greatest: bool,
}

impl Extremum {
    /// Of boxes that reach so far.
    pub fn new(reach: Reach, is_greatest: bool) -> Self {
        Self { reach, is_greatest }
    }

    fn run<T: Ordered>(&self, source: &[u8], shape: &[u64], out: &mut [u8]) {
        let mut lengths = wide(shape, &self.reach);
        let axes: Vec<usize> = (0..shape.len()).filter(|&i| self.reach[i] != (0, 0)).collect();
        let out: &mut [T] = bytemuck::cast_slice_mut(out);
        let mut from: Vec<T> = Vec::new();
        let mut strip = Vec::new();
        for (pass, &axis) in axes.iter().enumerate() {
            let (line, length) = (Line::new(&lengths, axis), lengths[axis] as usize);
            lengths[axis] = shape[axis];
            let source: &[T] = if pass == 0 { bytemuck::cast_slice(source) } else { &from };
            if pass + 1 == axes.len() {
                return self.along(source, length, out, shape[axis] as usize, line, &mut strip);
            }
            let mut to = vec![T::default(); n_elements(&lengths) as usize];
            self.along(source, length, &mut to, shape[axis] as usize, line, &mut strip);
            from = to;
        }
        out.copy_from_slice(bytemuck::cast_slice(source));
    }

    /// One pass: `length` elements along the line become `n`.
    fn along<T: Ordered>(&self, from: &[T], length: usize, to: &mut [T], n: usize, line: Line, strip: &mut Vec<T>) {
        let Line { outer, inner } = line;
        let window = length - n + 1;
        let width = (STRIP_BYTES / size_of::<T>() / length.max(1)).clamp(64, inner.max(64)).min(inner);
        for o in 0..outer {
            let (from, to) = (&from[o * length * inner..], &mut to[o * n * inner..(o + 1) * n * inner]);
            for c in (0..inner).step_by(width) {
                let width = width.min(inner - c);
                strip.clear();
                (0..length).for_each(|i| strip.extend_from_slice(&from[i * inner + c..i * inner + c + width]));
                let mut have = 1;
                while have < window {
                    // Windows overlap in the last step.
                    let step = have.min(window - have);
                    let end = strip.len() - step * width;
                    fold(strip, step * width, end, self.is_greatest);
                    strip.truncate(end);
                    have += step;
                }
                (0..n).for_each(|i| {
                    to[i * inner + c..i * inner + c + width].copy_from_slice(&strip[i * width..(i + 1) * width])
                });
            }
        }
    }
}

impl Filter for Extremum {
    fn reach(&self) -> &Reach {
        &self.reach
    }

    fn dtype(&self, dtype: DType) -> DType {
        dtype
    }

    fn scratch_bytes(&self, shape: &[u64], dtype: DType) -> u64 {
        let n_passes = self.reach.iter().filter(|r| **r != (0, 0)).count() as u64;
        let block = n_elements(&wide(shape, &self.reach)).saturating_mul(dtype.size() as u64);
        block.saturating_mul(n_passes.saturating_sub(1).min(2)).saturating_add(2 * STRIP_BYTES as u64)
    }

    fn apply(&self, source: &[u8], dtype: DType, shape: &[u64], out: &mut [u8], _: &mut Kept) {
        with_class!(dtype, int T => self.run::<T>(source, shape, out), float T => self.run::<T>(source, shape, out),
            complex _T => out.fill(0))
    }
}

trait Ordered: bytemuck::Pod + PartialOrd + Default {}
impl<T: bytemuck::Pod + PartialOrd + Default> Ordered for T {}

/// Folds every element before `end` with the one `step` behind it.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn fold<T: Ordered>(strip: &mut [T], step: usize, end: usize, is_greatest: bool) {
    // In pieces that do not overlap what they are folded with, for the compiler to see.
    let mut at = 0;
    while at < end {
        let n = step.min(end - at);
        let (head, tail) = strip.split_at_mut(at + step);
        let (a, b) = (&mut head[at..at + n], &tail[..n]);
        if is_greatest {
            (0..n).for_each(|i| a[i] = if b[i] > a[i] { b[i] } else { a[i] });
        } else {
            (0..n).for_each(|i| a[i] = if b[i] < a[i] { b[i] } else { a[i] });
        }
        at += n;
    }
}
