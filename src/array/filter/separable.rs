//! Weighted sums along one axis after the other: means, Gaussians, derivatives.

use multiversion::multiversion;

use super::{Filter, Reach, wide};
use crate::array::Kept;
use crate::array::calc::{To, convert};
use crate::array::kernel::{Datum, Routine, c_name};
use crate::block::Buffer;
use crate::dtype::DType;
use crate::grid::{n_elements, positions};

/// Elements of a strip across lines: with its neighbours it stays in a cache.
const STRIP: usize = 512;
/// Bytes of what one pass hands to the next, unless so little would be read many times over.
const SLAB_BYTES: usize = 256 << 10;

/// A device sums windows of so few elements up in one pass.
const AT_ONCE: u64 = 32;

/// Weights along each axis, the one of the element itself after as many as the filter reaches before.
pub struct Separable {
    weights: Vec<Vec<f64>>,
    reach: Reach,
    /// What sums are made in, if not in floats that suit the elements.
    sums: Option<DType>,
}

/// One pass: of every `length` elements along its axis, `inner` apart, it makes `n`.
struct Pass<F> {
    /// How many boxes of them one element of the pass before has.
    outer: usize,
    length: usize,
    n: usize,
    inner: usize,
    /// What is left of `inner` after the passes behind this one.
    inner_out: usize,
    /// Of its `n`, so many at once go to the next pass.
    rows: usize,
    weights: Vec<F>,
    is_even: bool,
}

impl Separable {
    /// Sums with `weights` along each axis; none along axes that it leaves alone. `before` is the place of the weight of
    /// the element itself.
    pub fn new(weights: Vec<Vec<f64>>, before: &[usize]) -> Self {
        let reach = |(w, &b): (&Vec<f64>, &usize)| match w.len() {
            0 => (0, 0),
            n => (b as u64, (n - 1 - b) as u64),
        };
        Self { reach: weights.iter().zip(before).map(reach).collect(), weights, sums: None }
    }

    /// Sums of boxes, made and given as `dtype`: `int32`, `int64` or `float64`.
    pub fn total(reach: Reach, dtype: DType) -> Self {
        let ones = |&(before, after): &(u64, u64)| match before + after + 1 {
            1 => Vec::new(),
            n => vec![1.0; n as usize],
        };
        Self { weights: reach.iter().map(ones).collect(), reach, sums: Some(dtype) }
    }

    /// All passes in one kernel, each element of which keeps what they hand on: lines that make `r`, and the weights.
    fn at_once(&self, to: DType) -> (String, Vec<u8>) {
        let of = c_name(to);
        let n: usize = self.weights.iter().map(|w| w.len().max(1)).product();
        let mut made: Vec<String> = (0..n).map(|i| format!("AT({i})")).collect();
        let (mut text, mut all) = (String::new(), Vec::new());
        for (axis, weights) in self.weights.iter().enumerate().filter(|(_, w)| !w.is_empty()) {
            let (n, first, inner) = (weights.len(), all.len(), made.len() / weights.len());
            let is_even = weights.iter().eq(weights.iter().rev());
            let sum = |q: usize| {
                let at = |j: usize| &made[j * inner + q];
                let mut sum = format!("({of})0");
                for j in 0..if is_even { n / 2 } else { n } {
                    sum = match is_even {
                        true => format!("({sum} + w[{}] * ({} + {}))", first + j, at(j), at(n - 1 - j)),
                        false => format!("({sum} + w[{}] * {})", first + j, at(j)),
                    };
                }
                if is_even && n % 2 == 1 { format!("{sum} + w[{}] * {}", first + n / 2, at(n / 2)) } else { sum }
            };
            let sums: Vec<String> = (0..inner).map(sum).collect();
            made = (0..inner).map(|q| format!("v{axis}_{q}")).collect();
            sums.iter().zip(&made).for_each(|(sum, name)| text += &format!("const {of} {name} = {sum};\n"));
            all.extend(weights);
        }
        (format!("{text}const {of} r = {};", made[0]), table(&all, to))
    }

    fn working(&self, dtype: DType) -> DType {
        self.sums.unwrap_or_else(|| working(dtype))
    }

    /// Bytes of what passes hand on for results of `shape`, in elements of `size` bytes.
    fn handed(&self, shape: &[u64], size: usize) -> usize {
        let passes = self.passes::<f64>(shape, size);
        let all = passes.iter().map(|p| p.rows * p.inner).sum::<usize>();
        (all - passes.last().map_or(0, |p| p.rows * p.inner)) * size
    }

    fn passes<F: Sum>(&self, shape: &[u64], size: usize) -> Vec<Pass<F>> {
        let lengths = wide(shape, &self.reach);
        let product = |lengths: &[u64]| n_elements(lengths) as usize;
        let mut done = 0;
        let axes = (0..shape.len()).filter(|&i| !self.weights[i].is_empty());
        axes.map(|axis| {
            let weights: Vec<F> = self.weights[axis].iter().map(|&w| F::of(w)).collect();
            let (inner, n) = (product(&lengths[axis + 1..]), shape[axis] as usize);
            let few = SLAB_BYTES / (inner * size).max(1);
            let pass = Pass {
                outer: product(&shape[done..axis]),
                length: lengths[axis] as usize,
                n,
                inner,
                inner_out: product(&shape[axis + 1..]),
                rows: few.max(weights.len() / 2).max(1).min(n),
                is_even: weights.iter().eq(weights.iter().rev()),
                weights,
            };
            done = axis + 1;
            pass
        })
        .collect()
    }

    fn run<S: To<F>, F: Sum>(&self, source: &[S], shape: &[u64], out: &mut [u8], room: &mut Buffer) {
        let passes = self.passes::<F>(shape, size_of::<F>());
        let out: &mut [F] = bytemuck::cast_slice_mut(out);
        let Some((first, rest)) = passes.split_first() else {
            return out.iter_mut().zip(source).for_each(|(out, x)| *out = x.to());
        };
        let room = bytemuck::cast_slice_mut(room.sized(self.handed(shape, size_of::<F>())));
        first.run(first.outer, source, rest, out, room);
    }

    /// As [`Self::run`], of elements that are converted before.
    fn converted<F: Sum>(&self, source: &[u8], dtype: DType, shape: &[u64], out: &mut [u8], rooms: &mut Rooms) {
        if dtype == F::DTYPE {
            return self.run::<F, F>(bytemuck::cast_slice(source), shape, out, &mut rooms.handed);
        }
        let bytes = rooms.converted.sized(source.len() / dtype.size() * size_of::<F>());
        convert(dtype, source, F::DTYPE, bytes);
        self.run::<F, F>(bytemuck::cast_slice(bytes), shape, out, &mut rooms.handed);
    }
}

impl<F: Sum> Pass<F> {
    /// Makes `outer` boxes of results, and of these, while they are in a cache, what the passes in `rest` make.
    fn run<S: To<F>>(&self, outer: usize, source: &[S], rest: &[Self], out: &mut [F], room: &mut [F]) {
        let Self { length, n, inner, inner_out, rows, .. } = *self;
        for o in 0..outer {
            let source = &source[o * length * inner..][..length * inner];
            let out = &mut out[o * n * inner_out..][..n * inner_out];
            let Some((next, rest)) = rest.split_first() else {
                self.along(source, n, out);
                continue;
            };
            let (slab, room) = room.split_at_mut(rows * inner);
            for first in (0..n).step_by(rows) {
                let k = rows.min(n - first);
                self.along(&source[first * inner..], k, &mut slab[..k * inner]);
                next.run(k * next.outer, slab, rest, &mut out[first * inner_out..][..k * inner_out], room);
            }
        }
    }

    /// Makes the first `n` along the axis.
    fn along<S: To<F>>(&self, from: &[S], n: usize, to: &mut [F]) {
        let Self { inner, ref weights, is_even, .. } = *self;
        if inner <= STRIP {
            return sums(from, inner, weights, is_even, &mut to[..n * inner]);
        }
        for c in (0..inner).step_by(STRIP) {
            let width = STRIP.min(inner - c);
            for i in 0..n {
                sums(&from[i * inner + c..], inner, weights, is_even, &mut to[i * inner + c..][..width]);
            }
        }
    }
}

/// What is kept from task to task.
#[derive(Default)]
struct Rooms {
    converted: Buffer,
    handed: Buffer,
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
        self.working(dtype)
    }

    fn scratch_bytes(&self, shape: &[u64], dtype: DType) -> u64 {
        let to = self.working(dtype);
        let is_converted = dtype != to && !(dtype.size() <= 2 && to.size() == 4 && dtype != DType::Float16);
        let source = n_elements(&wide(shape, &self.reach)).saturating_mul(to.size() as u64);
        let converted = if is_converted { source } else { 0 };
        converted.saturating_add(self.handed(shape, to.size()) as u64)
    }

    fn apply(&self, source: &[u8], dtype: DType, shape: &[u64], out: &mut [u8], kept: &mut Kept) {
        let rooms: &mut Rooms = kept.get();
        /// Small whole numbers are taken as they are.
        macro_rules! small {
            ($F:ty) => {
                match dtype {
                    DType::Bool | DType::Uint8 => self.run::<u8, $F>(source, shape, out, &mut rooms.handed),
                    DType::Int8 => self.run::<i8, $F>(bytemuck::cast_slice(source), shape, out, &mut rooms.handed),
                    DType::Uint16 => self.run::<u16, $F>(bytemuck::cast_slice(source), shape, out, &mut rooms.handed),
                    DType::Int16 => self.run::<i16, $F>(bytemuck::cast_slice(source), shape, out, &mut rooms.handed),
                    _ => self.converted::<$F>(source, dtype, shape, out, rooms),
                }
            };
        }
        match self.working(dtype) {
            DType::Float32 => small!(f32),
            DType::Int32 => small!(i32),
            DType::Int64 => self.converted::<i64>(source, dtype, shape, out, rooms),
            _ => self.converted::<f64>(source, dtype, shape, out, rooms),
        }
    }

    fn launch(&self, (mut from, mut dtype): (Datum, DType), shape: &[u64], routine: &mut Routine) -> Option<Datum> {
        let to = self.working(dtype);
        let mut lengths = wide(shape, &self.reach);
        let window: Vec<u64> = self.weights.iter().map(|w| w.len().max(1) as u64).collect();
        if n_elements(&window) <= AT_ONCE && window.iter().filter(|&&n| n > 1).count() > 1 {
            let (body, weights) = self.at_once(to);
            let (boxes, kind) = ((shape, &lengths[..], None), (c_name(to), to));
            return Some(routine.around((from, dtype), boxes, positions(&window), kind, (&body, weights)));
        }
        for axis in (0..shape.len()).filter(|&i| !self.weights[i].is_empty()) {
            let weights = table(&self.weights[axis], to);
            let n = self.weights[axis].len();
            let body = if self.weights[axis].iter().eq(self.weights[axis].iter().rev()) {
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

/// `weights` as `to`.
fn table(weights: &[f64], to: DType) -> Vec<u8> {
    let mut table = vec![0; weights.len() * to.size()];
    convert(DType::Float64, bytemuck::cast_slice(weights), to, &mut table);
    table
}

/// What sums are made of.
trait Sum: bytemuck::Pod + PartialEq + To<Self> {
    const DTYPE: DType;
    fn of(x: f64) -> Self;
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
}

macro_rules! sum {
    ($t:ty, $dtype:expr, |$a:ident, $b:ident| $plus:expr, $times:expr) => {
        impl Sum for $t {
            const DTYPE: DType = $dtype;
            #[inline(always)]
            fn of(x: f64) -> Self {
                x as Self
            }
            #[inline(always)]
            fn plus(self, $b: Self) -> Self {
                let $a = self;
                $plus
            }
            #[inline(always)]
            fn times(self, $b: Self) -> Self {
                let $a = self;
                $times
            }
        }
    };
}
sum!(f32, DType::Float32, |a, b| a + b, a * b);
sum!(f64, DType::Float64, |a, b| a + b, a * b);
sum!(i32, DType::Int32, |a, b| a.wrapping_add(b), a.wrapping_mul(b));
sum!(i64, DType::Int64, |a, b| a.wrapping_add(b), a.wrapping_mul(b));

/// Weighted sums of elements that lie `stride` from each other, the first ones from the beginning of `from` on.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn sums<S: To<F>, F: Sum>(from: &[S], stride: usize, weights: &[F], is_even: bool, out: &mut [F]) {
    let n = weights.len();
    for (number, out) in out.chunks_mut(STRIP).enumerate() {
        let from = &from[number * STRIP..];
        out.fill(F::of(0.0));
        let mut done = 0;
        if is_even {
            // Pairs with the same weight; the element in the middle has its own.
            let pair = |j: usize| [j * stride, (n - 1 - j) * stride];
            while done + 4 <= n / 2 {
                add::<S, F, 4, 2>(from, [0, 1, 2, 3].map(|k| (pair(done + k), weights[done + k])), out);
                done += 4;
            }
            (done..n / 2).for_each(|j| add::<S, F, 1, 2>(from, [(pair(j), weights[j])], out));
            if n % 2 == 1 {
                add::<S, F, 1, 1>(from, [([n / 2 * stride], weights[n / 2])], out);
            }
            continue;
        }
        while done + 4 <= n {
            add::<S, F, 4, 1>(from, [0, 1, 2, 3].map(|k| ([(done + k) * stride], weights[done + k])), out);
            done += 4;
        }
        (done..n).for_each(|j| add::<S, F, 1, 1>(from, [([j * stride], weights[j])], out));
    }
}

/// Adds `N` terms to each sum, one after the other: a weight times the element at a place, or times the two at two places.
#[inline(always)]
fn add<S: To<F>, F: Sum, const N: usize, const K: usize>(from: &[S], terms: [([usize; K], F); N], out: &mut [F]) {
    let length = out.len();
    let rows = terms.map(|(places, weight)| (places.map(|place| &from[place..][..length]), weight));
    for i in 0..length {
        let mut sum = out[i];
        for (rows, weight) in &rows {
            let element = rows[0][i].to();
            sum = sum.plus(weight.times(if K == 2 { element.plus(rows[K - 1][i].to()) } else { element }));
        }
        out[i] = sum;
    }
}
