//! Weighted sums along one axis after the other: means, Gaussians, derivatives.

use multiversion::multiversion;

use super::{Filter, Line, Reach, wide};
use crate::array::Kept;
use crate::array::calc::convert;
use crate::array::kernel::{Datum, Routine, c_name};
use crate::block::Buffer;
use crate::dtype::DType;
use crate::grid::n_elements;

/// Elements that are made at once along the fastest axis.
const LANES: usize = 64;
/// Elements of a strip across lines: with its neighbours it stays in a cache.
const STRIP: usize = 256;

/// Weights along each axis, the one of the element itself after as many as the filter reaches before.
pub struct Separable {
    weights: Vec<Vec<f64>>,
    reach: Reach,
}

/// Two blocks that passes go to and fro between.
#[derive(Default)]
struct Blocks(Buffer, Buffer);

impl Separable {
    /// Sums with `weights` along each axis; none along axes that it leaves alone. `before` is the place of the weight of
    /// the element itself.
    pub fn new(weights: Vec<Vec<f64>>, before: &[usize]) -> Self {
        let reach = |(w, &b): (&Vec<f64>, &usize)| match w.len() {
            0 => (0, 0),
            n => (b as u64, (n - 1 - b) as u64),
        };
        Self { reach: weights.iter().zip(before).map(reach).collect(), weights }
    }

    fn run<F: Float>(&self, source: &[u8], dtype: DType, shape: &[u64], out: &mut [u8], blocks: &mut Blocks) {
        let mut lengths = wide(shape, &self.reach);
        let n = n_elements(&lengths) as usize;
        let axes: Vec<usize> = (0..shape.len()).filter(|&i| !self.weights[i].is_empty()).collect();
        let Some((&last, before)) = axes.split_last() else { return convert(dtype, source, F::DTYPE, out) };
        let Blocks(one, other) = blocks;
        let mut from: &[F] = if dtype == F::DTYPE {
            bytemuck::cast_slice(source)
        } else {
            let bytes = one.sized(n * size_of::<F>());
            convert(dtype, source, F::DTYPE, bytes);
            bytemuck::cast_slice(&*bytes)
        };
        let mut spare = Some(other);
        let mut kept: Vec<F>;
        for &axis in before {
            let line = Line::new(&lengths, axis);
            let length = lengths[axis] as usize;
            lengths[axis] = shape[axis];
            let weights: Vec<F> = self.weights[axis].iter().map(|&w| F::of(w)).collect();
            match spare.take() {
                Some(buffer) => {
                    let bytes = buffer.sized(n_elements(&lengths) as usize * size_of::<F>());
                    let to: &mut [F] = bytemuck::cast_slice_mut(bytes);
                    along(from, length, to, shape[axis] as usize, line, &weights);
                    from = &*to;
                }
                None => {
                    kept = vec![F::of(0.0); n_elements(&lengths) as usize];
                    along(from, length, &mut kept, shape[axis] as usize, line, &weights);
                    from = &kept;
                    // Few filters go along more than three axes.
                    let rest: Vec<usize> = axes.iter().copied().filter(|&a| a > axis).collect();
                    return self.rest(from.to_vec(), lengths, shape, &rest, out);
                }
            }
        }
        let weights: Vec<F> = self.weights[last].iter().map(|&w| F::of(w)).collect();
        let line = Line::new(&lengths, last);
        along(from, lengths[last] as usize, bytemuck::cast_slice_mut(out), shape[last] as usize, line, &weights);
    }

    /// The passes along `axes` that are left.
    fn rest<F: Float>(&self, mut from: Vec<F>, mut lengths: Vec<u64>, shape: &[u64], axes: &[usize], out: &mut [u8]) {
        for &axis in axes {
            let (line, length) = (Line::new(&lengths, axis), lengths[axis] as usize);
            lengths[axis] = shape[axis];
            let weights: Vec<F> = self.weights[axis].iter().map(|&w| F::of(w)).collect();
            let mut to = vec![F::of(0.0); n_elements(&lengths) as usize];
            along(&from, length, &mut to, shape[axis] as usize, line, &weights);
            from = to;
        }
        bytemuck::cast_slice_mut(out).copy_from_slice(&from);
    }
}

/// The float that sums are made in: `float32` where it holds the elements exactly.
fn working(dtype: DType) -> DType {
    match dtype {
        DType::Bool | DType::Uint8 | DType::Int8 | DType::Uint16 | DType::Int16 | DType::Float16 | DType::Float32 => {
            DType::Float32
        }
        _ => DType::Float64,
    }
}

impl Filter for Separable {
    fn reach(&self) -> &Reach {
        &self.reach
    }

    fn dtype(&self, dtype: DType) -> DType {
        working(dtype)
    }

    fn scratch_bytes(&self, shape: &[u64], dtype: DType) -> u64 {
        let source = n_elements(&wide(shape, &self.reach)).saturating_mul(working(dtype).size() as u64);
        let n_passes = self.weights.iter().filter(|w| !w.is_empty()).count() as u64;
        let converted = if dtype == working(dtype) { 0 } else { 1 };
        source.saturating_mul(converted + n_passes.saturating_sub(1).min(2) + n_passes.saturating_sub(3))
    }

    fn apply(&self, source: &[u8], dtype: DType, shape: &[u64], out: &mut [u8], kept: &mut Kept) {
        match working(dtype) {
            DType::Float32 => self.run::<f32>(source, dtype, shape, out, kept.get()),
            _ => self.run::<f64>(source, dtype, shape, out, kept.get()),
        }
    }

    fn launch(&self, (mut from, mut dtype): (Datum, DType), shape: &[u64], routine: &mut Routine) -> Option<Datum> {
        let to = working(dtype);
        let mut lengths = wide(shape, &self.reach);
        for axis in (0..shape.len()).filter(|&i| !self.weights[i].is_empty()) {
            let mut weights = vec![0; self.weights[axis].len() * to.size()];
            convert(DType::Float64, bytemuck::cast_slice(&self.weights[axis]), to, &mut weights);
            let n = self.weights[axis].len();
            let body = if is_even(&self.weights[axis]) {
                format!(
                    "{f} r = 0; for (int j = 0; j < {h}; j++) r = r + w[j] * (AT(j) + AT({n} - 1 - j));\n\
                     if ({n} % 2) r = r + w[{h}] * AT({h});",
                    f = c_name(to),
                    h = n / 2
                )
            } else {
                format!("{} r = 0; for (int j = 0; j < {n}; j++) r = r + w[j] * AT(j);", c_name(to))
            };
            from = routine.along((from, dtype), (&lengths, axis, shape[axis]), (c_name(to), to), (&body, weights));
            (dtype, lengths[axis]) = (to, shape[axis]);
        }
        self.weights.iter().any(|w| !w.is_empty()).then_some(from)
    }
}

trait Float: bytemuck::Pod + std::ops::Mul<Output = Self> + std::ops::Add<Output = Self> + PartialEq {
    const DTYPE: DType;
    fn of(x: f64) -> Self;
}

impl Float for f32 {
    const DTYPE: DType = DType::Float32;
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as Self
    }
}

impl Float for f64 {
    const DTYPE: DType = DType::Float64;
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
}

/// Whether pairs have the same weight.
fn is_even<F: PartialEq>(weights: &[F]) -> bool {
    weights.iter().eq(weights.iter().rev())
}

/// One pass: `length` elements along the line become `n`.
fn along<F: Float>(from: &[F], length: usize, to: &mut [F], n: usize, line: Line, weights: &[F]) {
    let Line { outer, inner } = line;
    let is_even = is_even(weights);
    for o in 0..outer {
        let (from, to) =
            (&from[o * length * inner..(o + 1) * length * inner], &mut to[o * n * inner..(o + 1) * n * inner]);
        if inner == 1 {
            sums(from, 1, weights, is_even, to);
            continue;
        }
        for c in (0..inner).step_by(STRIP) {
            let width = STRIP.min(inner - c);
            for i in 0..n {
                sums(&from[i * inner + c..], inner, weights, is_even, &mut to[i * inner + c..i * inner + c + width]);
            }
        }
    }
}

/// Weighted sums of elements that lie `stride` from each other, the first ones from the beginning of `from` on.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn sums<F: Float>(from: &[F], stride: usize, weights: &[F], is_even: bool, out: &mut [F]) {
    let n = weights.len();
    let mut at = 0;
    while at < out.len() {
        let width = LANES.min(out.len() - at);
        if width == LANES {
            let mut sums = [F::of(0.0); LANES];
            if is_even {
                // Pairs with the same weight; the element in the middle has its own.
                for j in 0..n / 2 {
                    let a = &from[at + j * stride..][..LANES];
                    let b = &from[at + (n - 1 - j) * stride..][..LANES];
                    (0..LANES).for_each(|l| sums[l] = sums[l] + weights[j] * (a[l] + b[l]));
                }
                if n % 2 == 1 {
                    let a = &from[at + n / 2 * stride..][..LANES];
                    (0..LANES).for_each(|l| sums[l] = sums[l] + weights[n / 2] * a[l]);
                }
            } else {
                for (j, &w) in weights.iter().enumerate() {
                    let a = &from[at + j * stride..][..LANES];
                    (0..LANES).for_each(|l| sums[l] = sums[l] + w * a[l]);
                }
            }
            out[at..at + LANES].copy_from_slice(&sums);
        } else {
            for l in at..at + width {
                let mut sum = F::of(0.0);
                if is_even {
                    for j in 0..n / 2 {
                        sum = sum + weights[j] * (from[l + j * stride] + from[l + (n - 1 - j) * stride]);
                    }
                    if n % 2 == 1 {
                        sum = sum + weights[n / 2] * from[l + n / 2 * stride];
                    }
                } else {
                    for (j, &w) in weights.iter().enumerate() {
                        sum = sum + w * from[l + j * stride];
                    }
                }
                out[l] = sum;
            }
        }
        at += width;
    }
}
