//! What the values of each plane are like: extremes, moments, a histogram, sharpness, a checksum. Names no format.
//!
//! A plane is what the last two axes span. Tasks look at parts of planes; parts are put together in the order in which
//! they lie, so that integers give the same figures however the array is cut. Elements that nothing covers and what is
//! not finite do not count, but for the checksum, which is of the elements as they are written.

use multiversion::multiversion;

use crate::block::Block;
use crate::digest;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{positions, row_major_strides};
use crate::plan::Cost;
use crate::with_class;

use super::levels::absent_in_row;
use super::statistics::{put, real, take};

/// Rows that histograms are made of go to about this many elements of a plane.
const COUNTED: u64 = 1 << 15;
/// Elements, about, that are looked at in every way before the next: caches hold them.
const CACHED: usize = 1 << 14;
/// Memory of what is known of a plane, in bytes.
const PLANE_BYTES: u64 = 1 << 10;
/// Memory of a part of a plane, with its histogram.
const PART_BYTES: u64 = 4 << 10;
/// Octaves of magnitudes that histograms tell apart: of integers and of floats.
const OCTAVES: [std::ops::Range<i32>; 2] = [0..64, -32..64];
/// Numbers of bits that cameras fill.
const CAMERA_BITS: [i32; 5] = [8, 10, 12, 14, 16];

/// What is known of a plane, or of a part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaneFigures {
    /// Finite elements that something covers.
    pub n: u64,
    /// Elements that are not finite.
    pub n_odd: u64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Elements that are the largest, and zero.
    n_max: u64,
    n_zero: u64,
    /// Exact sums of integers, of their squares, and of squared differences.
    sum: i128,
    squares: u128,
    /// Mean and sum of squared deviations of floats.
    mean: f64,
    deviations: f64,
    /// Pairs of neighbours along the last axis, and the sum of their squared differences.
    n_pairs: u64,
    differences: f64,
    /// How often values occur, by bin.
    bins: Vec<(i32, u64)>,
    /// What a plane's parts add up to: the sum of its digest.
    pub sum_of_bytes: u64,
}

/// A part of a plane: where it lies, and its rows.
struct PlanePart {
    origin: [u64; 2],
    shape: [u64; 2],
    figures: PlaneFigures,
}

/// How the planes of an array are looked at.
#[derive(Clone, Debug)]
pub struct Planes {
    dtype: DType,
    shape: Vec<u64>,
    /// Every so manieth row is counted.
    stride: u64,
}

impl Planes {
    /// What to look at in an array of `shape`; nothing if it has no planes or its values have no order.
    pub fn new(shape: &[u64], dtype: DType) -> Option<Self> {
        let [.., height, width] = *shape else { return None };
        let stride = (height.saturating_mul(width) / COUNTED).clamp(1, height.max(1)).next_power_of_two();
        (!dtype.is_complex() && !shape.contains(&0)).then(|| Self { dtype, shape: shape.to_vec(), stride })
    }

    /// Lengths of the axes that number planes.
    pub fn outer(&self) -> &[u64] {
        &self.shape[..self.shape.len() - 2]
    }

    /// Distance of the rows that histograms are made of.
    pub fn stride(&self) -> u64 {
        self.stride
    }

    /// Memory of looking at a task of shape `task`.
    pub fn cost(&self, task: &[u64]) -> Cost {
        let n_planes = crate::grid::n_elements(&task[..task.len() - 2]);
        Cost { work_bytes: 16 << 10, kept_bytes: n_planes.saturating_mul(PART_BYTES), ..Cost::default() }
    }

    /// Memory of what is known of all planes.
    pub fn held_bytes(&self) -> u64 {
        crate::grid::n_elements(self.outer()).saturating_mul(PLANE_BYTES)
    }

    /// Adds what `block` holds to `state`.
    pub fn look(&self, block: &Block, state: &mut Vec<u8>) {
        let region = block.region();
        let last = region.rank() - 1;
        let outer = &region.shape[..last - 1];
        for (i, at) in positions(outer).enumerate() {
            let absolute: Vec<u64> = at.iter().zip(&region.origin).map(|(a, o)| a + o).collect();
            let part = with_class!(self.dtype, int I => self.part::<I>(block, i, &absolute),
                                   float F => self.part::<F>(block, i, &absolute),
                                   complex C => { let _ = size_of::<C>(); continue });
            let strides = row_major_strides(self.outer());
            put(state, absolute.iter().zip(&strides).map(|(a, s)| a * s).sum());
            part.save(state);
        }
    }

    /// What the plane number `i` of `block`, which lies at `position`, is like.
    fn part<T: Value>(&self, block: &Block, i: usize, position: &[u64]) -> PlanePart {
        let region = block.region();
        let last = region.rank() - 1;
        let [height, width] = [region.shape[last - 1] as usize, region.shape[last] as usize];
        let [y, x] = [region.origin[last - 1], region.origin[last]];
        let plane = &block.elements::<T>()[i * height * width..][..height * width];
        let mut part = PlanePart {
            origin: [y, x],
            shape: [height as u64, width as u64],
            figures: PlaneFigures { min: f64::INFINITY, max: f64::NEG_INFINITY, ..PlaneFigures::default() },
        };
        part.figures.sum_of_bytes = digest::of_plane(&self.shape, block, i);
        let mut bins = Bins::new(T::IS_FLOAT);
        let is_counted = |k: usize| (y + k as u64).is_multiple_of(self.stride);
        let has_holes = !block.coverage.absent().is_empty();
        // Where pairs of neighbours follow one another from row to row, all rows of integers are like one.
        let is_one = !T::IS_FLOAT && !has_holes && x % 2 == 0 && width % 2 == 0;
        let mut k = 0..;
        for rows in plane.chunks(width * (CACHED / width).max(1)) {
            if is_one {
                part.figures.join(&T::fast(rows, x), false);
            }
            for (row, k) in rows.chunks_exact(width).zip(&mut k) {
                let place = || position.iter().copied().chain([y + k as u64]).collect::<Vec<u64>>();
                let absent = if has_holes { absent_in_row(block, &place()) } else { Vec::new() };
                let bins = is_counted(k).then_some(&mut bins);
                if T::IS_FLOAT || absent.contains(&true) {
                    part.figures.join(&slow_row(row, x, &absent, bins), T::IS_FLOAT);
                    continue;
                }
                bins.into_iter().for_each(|bins| bins.add_row(row));
                if !is_one {
                    part.figures.join(&T::fast(row, x), false);
                }
            }
        }
        part.figures.bins = bins.found();
        part
    }
}

/// What a row with holes, or of which something may not be finite, is like, value by value.
fn slow_row<T: Value>(row: &[T], x: u64, absent: &[bool], bins: Option<&mut Bins>) -> PlaneFigures {
    let is_absent = |i: usize| absent.get(i).copied().unwrap_or(false);
    let there = |(i, v): (usize, &T)| if is_absent(i) { f64::NAN } else { v.real() };
    let values: Vec<f64> = row.iter().enumerate().map(there).collect();
    if let Some(bins) = bins {
        values.iter().filter(|v| v.is_finite()).for_each(|v| bins.add(*v));
    }
    T::slow(&values, x, absent.iter().filter(|a| **a).count() as u64)
}

impl PlaneFigures {
    /// Takes in what is known of elements that lie behind these; of floats by the method of Chan, Golub and LeVeque
    /// (1983).
    fn join(&mut self, other: &Self, is_float: bool) {
        let at_max = |f: &Self, max: f64| if f.n > 0 && f.max == max { f.n_max } else { 0 };
        let (min, max) = (self.min.min(other.min), self.max.max(other.max));
        self.n_max = at_max(self, max) + at_max(other, max);
        if is_float && other.n > 0 {
            let n = (self.n + other.n) as f64;
            let apart = other.mean - self.mean;
            self.deviations += other.deviations + apart * apart * (self.n as f64 * other.n as f64 / n);
            self.mean += apart * (other.n as f64 / n);
        }
        (self.min, self.max) = (min, max);
        self.sum_of_bytes ^= other.sum_of_bytes;
        (self.n, self.n_odd, self.n_zero) = (self.n + other.n, self.n_odd + other.n_odd, self.n_zero + other.n_zero);
        (self.sum, self.squares) = (self.sum + other.sum, self.squares + other.squares);
        (self.n_pairs, self.differences) = (self.n_pairs + other.n_pairs, self.differences + other.differences);
        for &(bin, n) in &other.bins {
            match self.bins.binary_search_by_key(&bin, |b| b.0) {
                Ok(i) => self.bins[i].1 += n,
                Err(i) => self.bins.insert(i, (bin, n)),
            }
        }
    }

    /// Those of several planes together, which `all` are of.
    pub fn of_all<'a>(all: impl IntoIterator<Item = &'a Self>, dtype: DType) -> Self {
        let none = Self { min: f64::INFINITY, max: f64::NEG_INFINITY, ..Self::default() };
        all.into_iter().fold(none, |mut total, figures| {
            total.join(figures, is_float(dtype));
            total
        })
    }

    /// Mean and standard deviation.
    pub fn moments(&self, dtype: DType) -> (f64, f64) {
        let n = self.n as f64;
        if is_float(dtype) {
            return (self.mean, (self.deviations / n).sqrt());
        }
        // Exact but for the last step: n times the sum of squares less the square of the sum, over n squared.
        let mean = self.sum as f64 / n;
        let exact = u128::from(self.n).checked_mul(self.squares).zip(self.sum.unsigned_abs().checked_pow(2));
        let variance = match exact {
            Some((a, b)) => a.saturating_sub(b) as f64 / (n * n),
            None => (self.squares as f64 / n - mean * mean).max(0.0),
        };
        (mean, variance.sqrt())
    }

    /// Elements that are zero.
    pub fn n_zero(&self) -> u64 {
        self.n_zero
    }

    /// Elements at `full`, where the detector can count no further.
    pub fn n_saturated(&self, full: Option<f64>) -> u64 {
        if Some(self.max) == full { self.n_max } else { 0 }
    }

    /// The largest value, if it is the largest of a detector with a usual number of bits, or of the element type.
    pub fn full(&self, dtype: DType) -> Option<f64> {
        let bits = 8 * dtype.size() as i32 - i32::from(dtype.is_signed());
        let is_full = |bits: i32| self.max == 2f64.powi(bits) - 1.0;
        let known = CAMERA_BITS.iter().any(|&b| b <= bits && is_full(b)) || is_full(bits);
        (dtype.is_integer() && dtype != DType::Bool && self.n > 0 && known).then_some(self.max)
    }

    /// Mean squared difference of neighbours along the last axis, from even to odd places, over the squared mean:
    /// larger where a picture is sharper.
    ///
    /// Source: after Brenner et al. (1976), with neighbours one apart and brightness taken out.
    pub fn sharpness(&self, dtype: DType) -> Option<f64> {
        let (mean, _) = self.moments(dtype);
        (self.n_pairs > 0 && mean != 0.0).then(|| self.differences / self.n_pairs as f64 / (mean * mean))
    }

    /// From, to, and how many values are at least the one and below the other: a quarter of an octave each.
    pub fn histogram(&self, dtype: DType) -> Vec<(f64, f64, u64)> {
        self.bins.iter().map(|&(bin, n)| (edge(bin, is_float(dtype)), edge(bin + 1, is_float(dtype)), n)).collect()
    }

    fn save(&self, state: &mut Vec<u8>) {
        [self.n, self.n_odd, self.n_max, self.n_zero, self.n_pairs, self.sum_of_bytes]
            .iter()
            .for_each(|n| put(state, *n));
        state.extend(self.sum.to_le_bytes());
        state.extend(self.squares.to_le_bytes());
        [self.min, self.max, self.mean, self.deviations, self.differences]
            .iter()
            .for_each(|v| state.extend(v.to_le_bytes()));
        put(state, self.bins.len() as u64);
        for (bin, n) in &self.bins {
            put(state, u64::from(bin.cast_unsigned()));
            put(state, *n);
        }
    }

    fn load(state: &mut &[u8]) -> Option<Self> {
        let mut counts = [0; 6];
        for n in &mut counts {
            *n = take(state)?;
        }
        let [n, n_odd, n_max, n_zero, n_pairs, sum_of_bytes] = counts;
        let (sum, rest) = state.split_first_chunk::<16>()?;
        let (squares, rest) = rest.split_first_chunk::<16>()?;
        let (sum, squares) = (i128::from_le_bytes(*sum), u128::from_le_bytes(*squares));
        *state = rest;
        let mut reals = [0.0; 5];
        for v in &mut reals {
            *v = real(state)?;
        }
        let [min, max, mean, deviations, differences] = reals;
        let mut bins = Vec::new();
        for _ in 0..take(state)? {
            bins.push((u32::try_from(take(state)?).ok()?.cast_signed(), take(state)?));
        }
        Some(Self {
            n,
            n_odd,
            min,
            max,
            n_max,
            n_zero,
            sum,
            squares,
            mean,
            deviations,
            n_pairs,
            differences,
            bins,
            sum_of_bytes,
        })
    }
}

impl PlanePart {
    fn save(&self, state: &mut Vec<u8>) {
        self.origin.iter().chain(&self.shape).for_each(|n| put(state, *n));
        self.figures.save(state);
    }

    fn load(state: &mut &[u8]) -> Option<Self> {
        let (origin, shape) = ([take(state)?, take(state)?], [take(state)?, take(state)?]);
        let figures = PlaneFigures::load(state)?;
        Some(Self { origin, shape, figures })
    }
}

/// What is known of all planes.
pub struct PlaneTally {
    planes: Planes,
    done: Vec<Option<PlaneFigures>>,
    /// Parts of planes that lack some.
    open: std::collections::BTreeMap<u64, Vec<PlanePart>>,
}

impl Planes {
    /// What is known before anything is.
    pub fn tally(&self) -> PlaneTally {
        let n = crate::grid::n_elements(self.outer()) as usize;
        PlaneTally { planes: self.clone(), done: vec![None; n], open: Default::default() }
    }
}

impl PlaneTally {
    /// Adds a state.
    ///
    /// # Errors
    /// `Format` if it is damaged.
    pub fn add(&mut self, mut state: &[u8]) -> Result<()> {
        let damaged = || Error::format("statistics that were kept are damaged: use --restart");
        while !state.is_empty() {
            let number = take(&mut state).filter(|n| *n < self.done.len() as u64).ok_or_else(damaged)?;
            let part = PlanePart::load(&mut state).ok_or_else(damaged)?;
            let parts = self.open.entry(number).or_default();
            parts.push(part);
            let n_here: u64 = parts.iter().map(|p| p.shape[0] * p.shape[1]).sum();
            let [.., height, width] = self.planes.shape[..] else { continue };
            if n_here >= height * width
                && let Some(parts) = self.open.remove(&number)
            {
                self.done[number as usize] = Some(together(parts, self.planes.dtype));
            }
        }
        Ok(())
    }

    /// The figures of all planes, in order.
    ///
    /// # Errors
    /// `Format` if one never came.
    pub fn finish(self) -> Result<Vec<PlaneFigures>> {
        let all: Option<Vec<PlaneFigures>> = self.done.into_iter().collect();
        all.ok_or_else(|| Error::format("some planes never came"))
    }
}

/// A plane of all its `parts`.
fn together(mut parts: Vec<PlanePart>, dtype: DType) -> PlaneFigures {
    parts.sort_by_key(|part| part.origin);
    PlaneFigures::of_all(parts.iter().map(|part| &part.figures), dtype)
}

fn is_float(dtype: DType) -> bool {
    dtype.is_float() || dtype.size() == 8
}

/// Counts by a quarter of an octave of the magnitude.
struct Bins {
    is_float: bool,
    /// Of zero and positive values, and of negative ones.
    counts: [Vec<u64>; 2],
    /// Of values of at most 16 bits. Neighbours, which are alike, are counted apart: they need not wait for each other.
    small: [[u32; SMALL_BINS]; 8],
}

impl Bins {
    fn new(is_float: bool) -> Self {
        let octaves = &OCTAVES[usize::from(is_float)];
        let n = 4 * octaves.len() + 1;
        Self { is_float, counts: [vec![0; n], vec![0; n]], small: [[0; SMALL_BINS]; 8] }
    }

    fn add(&mut self, value: f64) {
        let bin = bin_of(value, self.is_float);
        self.counts[usize::from(bin < 0)][bin.unsigned_abs() as usize] += 1;
    }

    fn add_row<T: Value>(&mut self, row: &[T]) {
        for some in row.chunks(BINNED) {
            let mut bins = [0; BINNED];
            if !small_bins(some, &mut bins) {
                some.iter().for_each(|value| self.add(value.real()));
                continue;
            }
            let mut count = |i: usize, bin: u8| self.small[i][usize::from(bin) % SMALL_BINS] += 1;
            let (eights, rest) = bins[..some.len()].as_chunks::<8>();
            eights.iter().for_each(|bins| (0..8).for_each(|i| count(i, bins[i])));
            rest.iter().for_each(|bin| count(0, *bin));
        }
    }

    fn found(mut self) -> Vec<(i32, u64)> {
        for counts in &self.small {
            self.counts[0].iter_mut().zip(counts).for_each(|(to, n)| *to += u64::from(*n));
        }
        let [positive, negative] = &self.counts;
        let below = negative.iter().enumerate().rev().map(|(i, n)| (-(i as i32), *n));
        below.chain(positive.iter().enumerate().map(|(i, n)| (i as i32, *n))).filter(|(_, n)| *n > 0).collect()
    }
}

/// At least the number of bins of values of up to 16 bits that are not negative.
const SMALL_BINS: usize = 128;
/// Values that get their bins at a time.
const BINNED: usize = 256;

/// The bins of values of up to 16 bits that are not negative; false if one is none of these. Single precision has the
/// octave of a value and the quarter of it in its bits from the 21st on.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn small_bins<T: Value>(values: &[T], bins: &mut [u8; BINNED]) -> bool {
    const BELOW_ONE: u32 = (1f32.to_bits() >> 21) - 1;
    let mut are_small = true;
    for (bin, value) in bins.iter_mut().zip(values) {
        let small = value.small();
        are_small &= small.is_some();
        *bin = ((f32::from(small.unwrap_or(0)).to_bits() >> 21).max(BELOW_ONE) - BELOW_ONE) as u8;
    }
    are_small
}

/// The bin of a value: 0 for zero and what is next to it, the others by rising value.
fn bin_of(value: f64, is_float: bool) -> i32 {
    let octaves = &OCTAVES[usize::from(is_float)];
    let magnitude = value.abs();
    let exponent = ((magnitude.to_bits() >> 52) as i32) - 1023;
    let quarter = ((magnitude.to_bits() >> 50) & 3) as i32;
    let bin = match exponent {
        e if e < octaves.start => 0,
        e if e >= octaves.end => 4 * octaves.len() as i32,
        e => 4 * (e - octaves.start) + quarter + 1,
    };
    if value >= 0.0 {
        return bin;
    }
    // Bins hold their lower edge, which of negative ones is the larger magnitude.
    let is_edge = magnitude.to_bits() & ((1 << 50) - 1) == 0;
    if bin == 0 { -1 } else { -(bin + 1 - i32::from(is_edge)) }
}

/// The lower edge of a bin.
fn edge(bin: i32, is_float: bool) -> f64 {
    let start = OCTAVES[usize::from(is_float)].start;
    let at = |i: i32| 2f64.powi(start + i.div_euclid(4)) * (1.0 + f64::from(i.rem_euclid(4)) / 4.0);
    match bin {
        0 => 0.0,
        b if b > 0 => at(b - 1),
        b => -(if b == -1 { at(0) } else { at(-b - 1) }),
    }
}

/// An element whose values are looked at.
trait Value: crate::dtype::Element {
    const IS_FLOAT: bool;

    fn real(self) -> f64;

    /// Its value if it has at most 16 bits and is not negative.
    fn small(self) -> Option<u16> {
        None
    }

    /// What a row of integers that begins at `x` is like.
    fn fast(row: &[Self], x: u64) -> PlaneFigures;

    /// What a row is like of which some values are not there; these, and what is not finite, are NaN or infinite.
    fn slow(row: &[f64], x: u64, n_absent: u64) -> PlaneFigures;
}

/// Rows value by value; `exact` sums for integers.
fn slow(row: &[f64], x: u64, n_absent: u64, is_float: bool) -> PlaneFigures {
    let mut f = PlaneFigures { min: f64::INFINITY, max: f64::NEG_INFINITY, ..PlaneFigures::default() };
    let there = || row.iter().copied().filter(|v| v.is_finite());
    f.n = there().count() as u64;
    f.n_odd = row.len() as u64 - f.n - n_absent;
    there().for_each(|v| (f.min, f.max) = (f.min.min(v), f.max.max(v)));
    (f.n_max, f.n_zero) =
        (there().filter(|v| *v == f.max).count() as u64, there().filter(|v| *v == 0.0).count() as u64);
    if f.n == 0 {
        return f;
    }
    if is_float {
        f.mean = there().sum::<f64>() / f.n as f64;
        f.deviations = there().map(|v| (v - f.mean) * (v - f.mean)).sum();
    } else {
        f.sum = there().map(|v| v as i128).sum();
        f.squares = there().map(|v| (v as i128).pow(2).unsigned_abs()).sum();
    }
    let pairs = row[(x % 2) as usize..].chunks_exact(2).filter(|p| p[0].is_finite() && p[1].is_finite());
    let apart = pairs.map(|p| (p[1] - p[0]) * (p[1] - p[0]));
    (f.n_pairs, f.differences) = apart.fold((0, 0.0), |(n, sum), d| (n + 1, sum + d));
    f
}

/// Elements that are summed up at a time: sums of so many, and of halves of their squares, fit into twice their bits.
const SUMMED: usize = 1 << 12;

macro_rules! integer {
    ($($t:ty, $wide:ty, $square:ty, $small:expr);*) => {$(
        impl Value for $t {
            const IS_FLOAT: bool = false;

            fn real(self) -> f64 {
                self as f64
            }

            #[inline(always)]
            fn small(self) -> Option<u16> {
                let small: fn($t) -> Option<u16> = $small;
                small(self)
            }

            fn fast(row: &[Self], x: u64) -> PlaneFigures {
                /// Pairs begin at `first`. Loops are counted: what iterators call for each element has other features of the
                /// processor than they have, and is not always inlined.
                #[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
                fn figures(row: &[$t], first: usize) -> PlaneFigures {
                    const HALF: u32 = <$square>::BITS / 2;
                    let halves = |v: $wide| {
                        let square = v.wrapping_mul(v) as $square;
                        (square & (<$square>::MAX >> HALF), square >> HALF)
                    };
                    let whole = |low: $square, high: $square| u128::from(low) + (u128::from(high) << HALF);
                    let mut f = PlaneFigures {
                        n: row.len() as u64, min: f64::INFINITY, max: f64::NEG_INFINITY, ..PlaneFigures::default()
                    };
                    for some in row.chunks(SUMMED) {
                        let (mut min, mut max, mut sum) = (<$t>::MAX, <$t>::MIN, 0 as $wide);
                        let (mut low, mut high) = (0 as $square, 0 as $square);
                        for &v in some {
                            (min, max) = (min.min(v), max.max(v));
                            let v = <$wide>::from(v);
                            sum += v;
                            let (l, h) = halves(v);
                            (low, high) = (low + l, high + h);
                        }
                        let count = |value: $t| {
                            let mut n = 0u16;
                            for &v in some {
                                n += u16::from(v == value);
                            }
                            u64::from(n)
                        };
                        let n_max = if f64::from(max) > f.max { 0 } else { f.n_max };
                        f.n_max = if f64::from(max) < f.max { n_max } else { n_max + count(max) };
                        (f.min, f.max) = (f.min.min(min.into()), f.max.max(max.into()));
                        (f.sum, f.squares, f.n_zero) =
                            (f.sum + i128::from(sum), f.squares + whole(low, high), f.n_zero + count(0));
                    }
                    let mut differences = 0u128;
                    for some in row[first.min(row.len())..].chunks(SUMMED) {
                        let (mut low, mut high) = (0 as $square, 0 as $square);
                        let (pairs, _) = some.as_chunks::<2>();
                        for p in pairs {
                            let (l, h) = halves(<$wide>::from(p[1]) - <$wide>::from(p[0]));
                            (low, high) = (low + l, high + h);
                        }
                        differences += whole(low, high);
                        f.n_pairs += pairs.len() as u64;
                    }
                    f.differences = differences as f64;
                    f
                }
                figures(row, (x % 2) as usize)
            }

            fn slow(row: &[f64], x: u64, n_absent: u64) -> PlaneFigures {
                slow(row, x, n_absent, false)
            }
        }
    )*};
}

integer! {
    u8, i32, u32, |v| Some(v.into()); u16, i32, u32, Some;
    i8, i32, u32, |v| v.try_into().ok(); i16, i32, u32, |v| v.try_into().ok();
    u32, i64, u64, |v| v.try_into().ok(); i32, i64, u64, |v| v.try_into().ok()
}

macro_rules! float {
    ($($t:ty, $real:expr);*) => {$(
        impl Value for $t {
            const IS_FLOAT: bool = true;

            fn real(self) -> f64 {
                let real: fn($t) -> f64 = $real;
                real(self)
            }

            fn fast(row: &[Self], x: u64) -> PlaneFigures {
                Self::slow(&row.iter().map(|v| v.real()).collect::<Vec<_>>(), x, 0)
            }

            fn slow(row: &[f64], x: u64, n_absent: u64) -> PlaneFigures {
                slow(row, x, n_absent, true)
            }
        }
    )*};
}

float! { half::f16, |v| v.to_f64(); f32, f64::from; f64, |v| v; u64, |v| v as f64; i64, |v| v as f64 }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_their_lower_edge() {
        for is_float in [false, true] {
            for value in [0.0, 1.0, 1.25, 1.3, 2.0, 3.0, 4.0, 5.5, 255.0, 65535.0, 4095.0] {
                for value in [value, -value] {
                    let bin = bin_of(value, is_float);
                    let (from, to) = (edge(bin, is_float), edge(bin + 1, is_float));
                    assert!(from <= value && value < to, "{value} in {from}..{to}, {is_float}");
                }
            }
        }
        let mut bins = Bins::new(false);
        let all: Vec<u16> = (0..=u16::MAX).collect();
        all.chunks(1001).for_each(|row| bins.add_row(row));
        let mut slow = Bins::new(false);
        all.iter().for_each(|&v| slow.add(v.into()));
        assert_eq!(bins.found(), slow.found());
    }
    /// Rows longer than what is summed up at a time, of any numbers and of the least and the greatest in turn.
    #[test]
    fn rows_are_what_their_values_are_one_by_one() {
        fn check<T: Value + Into<i128>>(of: impl Fn(u64) -> T, least: T, greatest: T) {
            let any = (0..2 * SUMMED as u64 + 77).map(|i| of(i * 2_654_435_761 % 4_294_967_291)).collect::<Vec<T>>();
            let ends = (0..SUMMED + 3).map(|i| if i % 2 == 0 { least } else { greatest }).collect::<Vec<T>>();
            for (row, x) in [(&any, 0), (&any, 1), (&ends, 0), (&ends, 1)] {
                let values: Vec<i128> = row.iter().map(|&v| v.into()).collect();
                let (min, max) = (*values.iter().min().unwrap(), *values.iter().max().unwrap());
                let count = |value| values.iter().filter(|v| **v == value).count() as u64;
                let square = |v: i128| v.unsigned_abs().pow(2);
                let (pairs, _) = values[x as usize..].as_chunks::<2>();
                let expected = PlaneFigures {
                    n: values.len() as u64,
                    min: min as f64,
                    max: max as f64,
                    n_max: count(max),
                    n_zero: count(0),
                    sum: values.iter().sum(),
                    squares: values.iter().map(|v| square(*v)).sum(),
                    n_pairs: pairs.len() as u64,
                    differences: pairs.iter().map(|[a, b]| square(b - a)).sum::<u128>() as f64,
                    ..PlaneFigures::default()
                };
                assert_eq!(T::fast(row, x), expected);
            }
        }
        check(|i| i as u8, u8::MIN, u8::MAX);
        check(|i| i as i8, i8::MIN, i8::MAX);
        check(|i| i as u16, u16::MIN, u16::MAX);
        check(|i| i as i16, i16::MIN, i16::MAX);
        check(|i| i as u32, u32::MIN, u32::MAX);
        check(|i| i as i32, i32::MIN, i32::MAX);
    }
}
