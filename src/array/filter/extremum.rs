//! Minima and maxima of boxes, along one axis after the other.
//!
//! Along a line, extrema of two neighbours make those of four, these of eight: the window of any length is the extremum of
//! two overlapping ones of a power of two. NaN is in every window that holds one, as in NumPy's minimum and maximum.

use half::f16;
use multiversion::multiversion;

use super::{Filter, Line, Reach, wide};
use crate::array::Kept;
use crate::array::kernel::{Datum, Routine, c_name};
use crate::block::Buffer;
use crate::dtype::DType;
use crate::grid::n_elements;
use crate::with_class;

/// Bytes of a strip across lines: it stays in a cache.
const STRIP_BYTES: usize = 256 << 10;

/// Elements of a line that a device takes at once.
const MOST_ON_DEVICE: u64 = 64;

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

    fn run<T: Ordered>(&self, source: &[u8], shape: &[u64], out: &mut [u8], rooms: &mut Rooms) {
        let mut lengths = wide(shape, &self.reach);
        let axes: Vec<usize> = (0..shape.len()).filter(|&i| self.reach[i] != (0, 0)).collect();
        let Rooms { blocks: [from, to], strips } = rooms;
        let Some((&last, first)) = axes.split_last() else { return out.copy_from_slice(source) };
        for (pass, &axis) in first.iter().enumerate() {
            let (line, length) = (Line::new(&lengths, axis), lengths[axis] as usize);
            lengths[axis] = shape[axis];
            let source = if pass == 0 { source } else { from.bytes() };
            let target = to.sized(n_elements(&lengths) as usize * size_of::<T>());
            self.along::<T>(source, length, target, shape[axis] as usize, line, strips);
            std::mem::swap(from, to);
        }
        let source = if first.is_empty() { source } else { from.bytes() };
        let line = Line::new(&lengths, last);
        self.along::<T>(source, lengths[last] as usize, out, shape[last] as usize, line, strips);
    }

    /// One pass: `length` elements along the line become `n`.
    fn along<T: Ordered>(
        &self,
        from: &[u8],
        length: usize,
        to: &mut [u8],
        n: usize,
        line: Line,
        strips: &mut [Buffer; 2],
    ) {
        let (from, to): (&[T], &mut [T]) = (bytemuck::cast_slice(from), bytemuck::cast_slice_mut(to));
        let Line { outer, inner } = line;
        // Windows double; in the last step they overlap.
        let (mut steps, mut have) = (Vec::new(), 1);
        while have < length - n + 1 {
            steps.push(have.min(length - n + 1 - have));
            have *= 2;
        }
        let Some((&last, steps)) = steps.split_last() else { return to.copy_from_slice(from) };
        let most = (STRIP_BYTES / size_of::<T>() / length.max(1)).clamp(64, inner.max(64)).min(inner);
        let [mut a, mut b] =
            strips.each_mut().map(|s| bytemuck::cast_slice_mut::<u8, T>(s.sized(length * most * size_of::<T>())));
        for o in 0..outer {
            let (from, to) =
                (&from[o * length * inner..(o + 1) * length * inner], &mut to[o * n * inner..(o + 1) * n * inner]);
            for c in (0..inner).step_by(most) {
                let width = most.min(inner - c);
                let mut source = Rows { elements: &from[c..], stride: inner, width };
                let mut left = length;
                for &step in steps {
                    left -= step;
                    source.fold(step, left, a, width, self.is_greatest);
                    std::mem::swap(&mut a, &mut b);
                    source = Rows { elements: b, stride: width, width };
                }
                source.fold(last, n, &mut to[c..], inner, self.is_greatest);
            }
        }
    }
}

/// What is kept from task to task: blocks between passes, strips between steps.
#[derive(Default)]
struct Rooms {
    blocks: [Buffer; 2],
    strips: [Buffer; 2],
}

/// Rows across lines, `stride` elements apart.
struct Rows<'a, T> {
    elements: &'a [T],
    stride: usize,
    width: usize,
}

impl<T: Ordered> Rows<'_, T> {
    /// Folds each of the first `n` rows with that `step` rows behind it.
    fn fold(&self, step: usize, n: usize, to: &mut [T], to_stride: usize, is_greatest: bool) {
        let Self { elements, stride, width } = *self;
        // Rows without anything between them are one.
        let (n, width) = if width == stride && width == to_stride { (1, n * width) } else { (n, width) };
        for row in 0..n {
            let (a, b) = (&elements[row * stride..][..width], &elements[(row * stride + step * stride)..][..width]);
            fold(a, b, &mut to[row * to_stride..][..width], is_greatest);
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

    fn apply(&self, source: &[u8], dtype: DType, shape: &[u64], out: &mut [u8], kept: &mut Kept) {
        let rooms = kept.get();
        with_class!(dtype, int T => self.run::<T>(source, shape, out, rooms), float T => self.run::<T>(source, shape, out, rooms),
            complex _T => out.fill(0))
    }

    fn launch(&self, (mut from, dtype): (Datum, DType), shape: &[u64], routine: &mut Routine) -> Option<Datum> {
        let of = if dtype == DType::Float16 { "float" } else { c_name(dtype) };
        let mut lengths = wide(shape, &self.reach);
        let axes: Vec<usize> = (0..shape.len()).filter(|&i| self.reach[i] != (0, 0)).collect();
        for &axis in &axes {
            let n = lengths[axis] - shape[axis] + 1;
            if n > MOST_ON_DEVICE {
                return None;
            }
            let body = format!(
                "{of} v[{n}]; for (int j = 0; j < {n}; j++) v[j] = AT(j);\n\
                 for (int have = 1, step; have < {n}; have += step) {{ step = min(have, {n} - have);\n\
                 for (int j = 0; j < {n} - have; j++) v[j] = v[j + step] {} v[j] || v[j + step] != v[j + step] ? v[j + step] : v[j]; }}\nconst {of} r = v[0];",
                if self.is_greatest { ">" } else { "<" }
            );
            from = routine.along((from, dtype), (&lengths, axis, shape[axis]), (of, dtype), (&body, Vec::new()));
            lengths[axis] = shape[axis];
        }
        (!axes.is_empty()).then_some(from)
    }
}

/// Elements with an order.
trait Ordered: bytemuck::Pod {
    fn least(self, other: Self) -> Self;
    fn greatest(self, other: Self) -> Self;
}

macro_rules! ordered {
    ($($t:ty),*; |$a:ident, $b:ident| $least:expr, $greatest:expr) => { $(
        impl Ordered for $t {
            #[inline(always)]
            fn least(self, $b: Self) -> Self {
                let $a = self;
                $least
            }
            #[inline(always)]
            fn greatest(self, $b: Self) -> Self {
                let $a = self;
                $greatest
            }
        }
    )* };
}
ordered!(u8, u16, u32, u64, i8, i16, i32, i64; |a, b| a.min(b), a.max(b));
ordered!(f16, f32, f64; |a, b| if b < a || b.is_nan() { b } else { a }, if b > a || b.is_nan() { b } else { a });

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn fold<T: Ordered>(a: &[T], b: &[T], out: &mut [T], is_greatest: bool) {
    let n = out.len();
    let (a, b) = (&a[..n], &b[..n]);
    if is_greatest {
        (0..n).for_each(|i| out[i] = a[i].greatest(b[i]));
    } else {
        (0..n).for_each(|i| out[i] = a[i].least(b[i]));
    }
}
