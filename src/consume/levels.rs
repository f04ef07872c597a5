//! Levels of a multiscale image: which axes each of them halves, and halving a block. Names no format.
//!
//! Every level is made of the one before it, by windows of two elements along the axes that it halves. A window that
//! reaches beyond the end of the array, or over elements that nothing covers, goes by what is there; an element of a
//! level is absent if all of its window is.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::axis::{Axis, AxisKind};
use crate::block::{Block, Coverage};
use crate::dtype::{Complex, DType, Element};
use crate::error::{Error, Result};
use crate::grid::{Region, n_elements, positions, row_major_strides};
use crate::{unit, with_dtype};

/// A plane that a viewer shows at once: elements along y and x.
const SHOWN: u64 = 1024;
/// Elements of a volume that a viewer shows at once.
const SHOWN_VOLUME: u64 = 1 << 27;
/// Levels are added until y and x are not longer.
const SMALLEST: u64 = 512;
/// Steps that differ by less are nearly the same.
const NEARLY: f64 = std::f64::consts::SQRT_2;

/// How many levels an image has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Levels {
    /// The full resolution alone.
    #[default]
    None,
    /// Until a plane has at most 512 elements along y and x.
    Auto,
    /// This many, the full resolution included, or fewer where nothing is left to halve.
    Count(u64),
}

impl FromStr for Levels {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match (text, text.parse()) {
            ("none", _) => Ok(Self::None),
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(n @ 1..=32)) => Ok(Self::Count(n)),
            _ => Err(Error::usage(format!("'{text}' levels: auto, none, or a number from 1 to 32"))),
        }
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Auto => f.write_str("auto"),
            Self::Count(n) => write!(f, "{n}"),
        }
    }
}

/// What becomes of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Its mean, halves rounded to even in integers.
    #[default]
    Mean,
    /// Its first element.
    Nearest,
    /// Its largest element.
    Max,
    /// Its smallest element.
    Min,
    /// The middle of its sorted elements, the mean of the two in the middle of an even number.
    Median,
    /// Its most frequent element, the smallest of several: for labels.
    Mode,
}

impl Method {
    const NAMES: [(&'static str, Self); 6] = [
        ("mean", Self::Mean),
        ("nearest", Self::Nearest),
        ("max", Self::Max),
        ("min", Self::Min),
        ("median", Self::Median),
        ("mode", Self::Mode),
    ];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, method)| *method == self).map_or("", |(name, _)| name)
    }

    /// Refuses elements that have no order.
    ///
    /// # Errors
    /// `Usage`.
    pub fn check(self, dtype: DType) -> Result<()> {
        if dtype.is_complex() && !matches!(self, Self::Mean | Self::Nearest) {
            let name = self.name();
            return Err(Error::usage(format!("levels by {name}: {dtype} has no order: use --downsample mean")));
        }
        Ok(())
    }

    /// Where an element of a level of total factor `factor` lies, in elements of the full resolution from the first.
    pub fn shift(self, factor: u64) -> f64 {
        if self == Self::Nearest { 0.0 } else { crate::axis::middle(factor) }
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let names = || Self::NAMES.map(|(name, _)| name).join(", ");
        let found = Self::NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, m)| *m).ok_or_else(|| Error::usage(format!("'{text}' is no way to halve: one of {}", names())))
    }
}

/// Whether an image of `axes` is larger than what a viewer shows at once.
pub fn is_large(axes: &[Axis]) -> bool {
    let space: Vec<u64> = axes.iter().filter(|a| a.kind == AxisKind::Space).map(|a| a.length).collect();
    let volume = space.iter().fold(1u64, |n, &length| n.saturating_mul(length));
    space.iter().rev().take(2).any(|&n| n > SHOWN) || volume > SHOWN_VOLUME
}

/// For every level after the first, how many elements of the level before it one of its elements stands for along
/// each axis: 2 along the axes of space whose step is finest, 1 along others.
///
/// Axes are halved until voxels are nearly cubic, and together from then on. Where the step along the third axis is
/// not known, that axis is halved while it is at least a quarter as long as the longest.
pub fn factors(axes: &[Axis], levels: Levels) -> Vec<Vec<u64>> {
    let most = match levels {
        Levels::None => 0,
        Levels::Auto => 32,
        Levels::Count(n) => n.saturating_sub(1),
    };
    let space: Vec<usize> = (0..axes.len()).filter(|&i| axes[i].kind == AxisKind::Space).collect();
    let plane = &space[space.len().saturating_sub(2)..];
    let mut steps: Vec<Option<f64>> = axes.iter().map(metres).collect();
    let mut lengths: Vec<u64> = axes.iter().map(|a| a.length).collect();
    let mut found = Vec::new();
    while (found.len() as u64) < most {
        if levels == Levels::Auto && plane.iter().all(|&i| lengths[i] <= SMALLEST) {
            break;
        }
        let finest = space.iter().filter_map(|&i| steps[i].filter(|_| lengths[i] > 1)).fold(f64::INFINITY, f64::min);
        let longest = space.iter().map(|&i| lengths[i]).max().unwrap_or(0);
        let is_fine = |i: usize| match steps[i] {
            Some(step) => step < finest * NEARLY,
            None => plane.contains(&i) || lengths[i].saturating_mul(4) >= longest,
        };
        let halved = |i: usize| space.contains(&i) && lengths[i] > 1 && is_fine(i);
        let factor: Vec<u64> = (0..axes.len()).map(|i| if halved(i) { 2 } else { 1 }).collect();
        if factor.iter().all(|&f| f == 1) {
            break;
        }
        for (i, &f) in factor.iter().enumerate() {
            lengths[i] = lengths[i].div_ceil(f);
            steps[i] = steps[i].map(|s| s * f as f64);
        }
        found.push(factor);
    }
    found
}

/// The least `shards` from those given on that consist of whole `chunks`, and of whole windows of every level, along
/// axes of `shape` that they cut.
pub fn aligned(shards: &[u64], chunks: &[u64], shape: &[u64], factors: &[Vec<u64>]) -> Vec<u64> {
    let along = |i: usize| {
        let factor: u64 = factors.iter().map(|f| f[i]).product();
        let both = if shards[i] < shape[i] { multiple(chunks[i], factor) } else { chunks[i] };
        shards[i].next_multiple_of(both)
    };
    (0..shards.len()).map(along).collect()
}

/// Least common multiple.
pub(crate) fn multiple(a: u64, b: u64) -> u64 {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (a / divisor).saturating_mul(b)
}

/// Step of an axis in metres, where it is a length.
fn metres(axis: &Axis) -> Option<f64> {
    let calibration = axis.calibration.as_ref()?;
    let metres = unit::metres(calibration.unit.as_deref()?)?;
    Some((calibration.step * metres).abs()).filter(|step| step.is_normal())
}

/// The box of a level that windows in `region` of the level before it make.
pub fn halved(region: &Region, factor: &[u64]) -> Region {
    let origin: Vec<u64> = region.origin.iter().zip(factor).map(|(o, f)| o / f).collect();
    let shape = (0..origin.len()).map(|i| region.end(i).div_ceil(factor[i]) - origin[i]).collect::<Vec<_>>();
    Region::new(origin, shape)
}

/// The block of the next level that `block` makes. Absent elements hold `fill`.
///
/// # Errors
/// `Limit` if it cannot be held.
///
/// # Panics
/// If the block begins inside a window, or `method` needs an order that its elements do not have.
pub fn halve(block: &Block, factor: &[u64], method: Method, fill: &[u8]) -> Result<Block> {
    let aligned = block.region().origin.iter().zip(factor).all(|(o, f)| o % f == 0);
    assert!(aligned, "a block begins where a window does");
    let mut next = Block::new(halved(block.region(), factor), block.dtype())?;
    with_dtype!(block.dtype(), T => {
        let fill: T = bytemuck::pod_read_unaligned(fill);
        Halving { block, factor, method }.fill::<T>(&mut next, fill);
    });
    Ok(next)
}

/// Halving one block.
struct Halving<'a> {
    block: &'a Block,
    factor: &'a [u64],
    method: Method,
}

impl Halving<'_> {
    /// Fills `next` row by row.
    fn fill<T: Pixel>(&self, next: &mut Block, fill: T) {
        let (region, shape) = (self.block.region(), &self.block.region().shape);
        let (outer, width) = (shape.len() - 1, shape[shape.len() - 1] as usize);
        let strides = row_major_strides(shape);
        let out = next.region().clone();
        let out_width = out.shape[outer] as usize;
        if n_elements(&out.shape) == 0 {
            return;
        }
        let mut coverage = Coverage::default();
        let input: &[T] = self.block.elements();
        let mut sums = Vec::new();
        for (row, at) in next.elements_mut::<T>().chunks_exact_mut(out_width).zip(positions(&out.shape[..outer])) {
            let first: Vec<u64> = (0..outer).map(|i| at[i] * self.factor[i]).collect();
            let window: Vec<u64> = (0..outer).map(|i| self.factor[i].min(shape[i] - first[i])).collect();
            let sources: Vec<Vec<u64>> =
                positions(&window).map(|p| p.iter().zip(&first).map(|(a, b)| a + b).collect()).collect();
            let rows: Vec<&[T]> = sources
                .iter()
                .map(|p| p.iter().zip(&strides).map(|(a, s)| a * s).sum::<u64>() as usize)
                .map(|start| &input[start..start + width])
                .collect();
            let absent: Vec<Vec<bool>> = if self.block.coverage.absent().is_empty() {
                Vec::new()
            } else {
                let absolute = |p: &Vec<u64>| p.iter().zip(&region.origin).map(|(a, b)| a + b).collect::<Vec<_>>();
                sources.iter().map(|p| absent_in_row(self.block, &absolute(p))).collect()
            };
            let step = self.factor[outer] as usize;
            if absent.iter().flatten().any(|&a| a) {
                let holes = self.with_holes(row, &rows, &absent, fill);
                for (x, _) in holes.iter().enumerate().filter(|(_, hole)| **hole) {
                    let place = at.iter().copied().chain([x as u64]).zip(&out.origin).map(|(a, b)| a + b);
                    coverage.lacks(Region::new(place.collect::<Vec<_>>(), vec![1; outer + 1]));
                }
            } else if self.method == Method::Mean {
                mean_of_rows(row, &rows, step, &mut sums);
            } else if self.method == Method::Nearest {
                row.iter_mut().zip(rows[0].iter().step_by(step)).for_each(|(to, from)| *to = *from);
            } else {
                let mut all = Vec::new();
                for (x, to) in row.iter_mut().enumerate() {
                    all.clear();
                    let here = x * step..((x + 1) * step).min(width);
                    rows.iter().for_each(|r| all.extend_from_slice(&r[here.clone()]));
                    *to = pick(self.method, &mut all);
                }
            }
        }
        next.coverage = joined(coverage);
    }

    /// Fills a row from windows that holes reach into; where all of a window is absent.
    fn with_holes<T: Pixel>(&self, row: &mut [T], rows: &[&[T]], absent: &[Vec<bool>], fill: T) -> Vec<bool> {
        let (step, width) = (self.factor[self.factor.len() - 1] as usize, rows[0].len());
        let mut all = Vec::new();
        let mut holes = vec![false; row.len()];
        for (x, to) in row.iter_mut().enumerate() {
            all.clear();
            let here = x * step..((x + 1) * step).min(width);
            // The nearest element is there or is not.
            let considered = if self.method == Method::Nearest { (1, 1) } else { (rows.len(), here.len()) };
            for (values, absent) in rows.iter().zip(absent).take(considered.0) {
                all.extend(here.clone().take(considered.1).filter(|&i| !absent[i]).map(|i| values[i]));
            }
            holes[x] = all.is_empty();
            *to = if all.is_empty() { fill } else { pick(self.method, &mut all) };
        }
        holes
    }
}

/// Which elements of the row of `block` at `position`, of all axes but the last, nothing covers.
pub(super) fn absent_in_row(block: &Block, position: &[u64]) -> Vec<bool> {
    let (region, last) = (block.region(), position.len());
    let mut absent = vec![false; region.shape[last] as usize];
    for hole in block.coverage.absent() {
        if (0..last).all(|i| (hole.origin[i]..hole.end(i)).contains(&position[i])) {
            let from = hole.origin[last].max(region.origin[last]) - region.origin[last];
            let to = hole.end(last).min(region.end(last)).saturating_sub(region.origin[last]);
            absent.get_mut(from as usize..to as usize).into_iter().for_each(|a| a.fill(true));
        }
    }
    absent
}

/// Rows of holes that continue each other, as one box each.
fn joined(coverage: Coverage) -> Coverage {
    let mut boxes = coverage;
    loop {
        let mut fewer = Coverage::default();
        boxes.absent().iter().for_each(|b| fewer.lacks(b.clone()));
        if fewer.absent().len() == boxes.absent().len() {
            return fewer;
        }
        boxes = fewer;
    }
}

/// Means of windows over `rows` and `step` elements along them.
fn mean_of_rows<T: Pixel>(out: &mut [T], rows: &[&[T]], step: usize, sums: &mut Vec<T::Sum>) {
    sums.clear();
    sums.resize(out.len(), T::Sum::default());
    for row in rows {
        if step == 2 {
            let pairs = row.chunks_exact(2);
            if let ([last], Some(sum)) = (pairs.remainder(), sums.last_mut()) {
                *sum = last.add_to(*sum);
            }
            sums.iter_mut().zip(pairs).for_each(|(sum, pair)| *sum = pair[1].add_to(pair[0].add_to(*sum)));
        } else {
            sums.iter_mut().zip(*row).for_each(|(sum, value)| *sum = value.add_to(*sum));
        }
    }
    let n = (rows.len() * step) as u32;
    out.iter_mut().zip(&*sums).for_each(|(to, sum)| *to = T::mean(*sum, n));
    let width = rows[0].len();
    if !width.is_multiple_of(step)
        && let (Some(to), Some(sum)) = (out.last_mut(), sums.last())
    {
        *to = T::mean(*sum, (rows.len() * (width % step)) as u32);
    }
}

/// What a window of at least one element becomes. Not a number where one of them is not.
fn pick<T: Pixel>(method: Method, all: &mut [T]) -> T {
    let mean = |some: &[T]| T::mean(some.iter().fold(T::Sum::default(), |sum, v| v.add_to(sum)), some.len() as u32);
    match method {
        Method::Mean => return mean(all),
        Method::Nearest => return all[0],
        _ => all.sort_by(T::order),
    }
    let n = all.len();
    match method {
        // Not a number comes last.
        _ if method != Method::Mode && all[n - 1].is_nan() => all[n - 1],
        Method::Max => all[n - 1],
        Method::Min => all[0],
        Method::Median if n.is_multiple_of(2) => mean(&all[n / 2 - 1..=n / 2]),
        Method::Median => all[n / 2],
        _ => {
            let runs = all.chunk_by(|a, b| T::order(a, b) == Ordering::Equal);
            // Of equally long runs the first.
            runs.rev().max_by_key(|run| run.len()).map_or(all[0], |run| run[0])
        }
    }
}

/// An element that windows are made of.
trait Pixel: Element {
    /// Holds the sum of any window.
    type Sum: Copy + Default;

    fn add_to(&self, sum: Self::Sum) -> Self::Sum;
    fn mean(sum: Self::Sum, n: u32) -> Self;
    fn order(a: &Self, b: &Self) -> Ordering;

    fn is_nan(&self) -> bool {
        false
    }
}

macro_rules! integer {
    ($($t:ty, $sum:ty);*) => {$(
        impl Pixel for $t {
            type Sum = $sum;

            fn add_to(&self, sum: $sum) -> $sum {
                sum + <$sum>::from(*self)
            }

            /// Halves to even.
            fn mean(sum: $sum, n: u32) -> Self {
                // Whole windows have a power of two of elements; a shift is exact for negative sums too.
                let (quotient, rest) = if n.is_power_of_two() {
                    (sum >> n.trailing_zeros(), sum & (n as $sum - 1))
                } else {
                    (sum.div_euclid(n as $sum), sum.rem_euclid(n as $sum))
                };
                let up = 2 * rest > n as $sum || (2 * rest == n as $sum && quotient & 1 == 1);
                (quotient + <$sum>::from(up)) as Self
            }

            fn order(a: &Self, b: &Self) -> Ordering {
                a.cmp(b)
            }
        }
    )*};
}

integer! { u8, i32; i8, i32; u16, i32; i16, i32; u32, i64; i32, i64; u64, i128; i64, i128 }

macro_rules! float {
    ($($t:ty, $to:expr);*) => {$(
        impl Pixel for $t {
            type Sum = f64;

            fn add_to(&self, sum: f64) -> f64 {
                sum + f64::from(*self)
            }

            fn mean(sum: f64, n: u32) -> Self {
                $to(sum / f64::from(n))
            }

            fn order(a: &Self, b: &Self) -> Ordering {
                a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
            }

            fn is_nan(&self) -> bool {
                <$t>::is_nan(*self)
            }
        }
    )*};
}

float! { half::f16, half::f16::from_f64; f32, |mean| mean as f32; f64, |mean| mean }

macro_rules! complex {
    ($($t:ty),*) => {$(
        impl Pixel for Complex<$t> {
            type Sum = (f64, f64);

            fn add_to(&self, sum: (f64, f64)) -> (f64, f64) {
                (sum.0 + f64::from(self.re), sum.1 + f64::from(self.im))
            }

            fn mean(sum: (f64, f64), n: u32) -> Self {
                Self { re: (sum.0 / f64::from(n)) as $t, im: (sum.1 / f64::from(n)) as $t }
            }

            fn order(_: &Self, _: &Self) -> Ordering {
                unreachable!("methods that need an order are refused for complex numbers")
            }
        }
    )*};
}

complex! { f32, f64 }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axis::{Calibration, Provenance};

    fn axes(lengths: [u64; 3], steps: [Option<f64>; 3]) -> Vec<Axis> {
        let mut axes: Vec<Axis> =
            ["t", "z", "y", "x"].iter().zip([7, 0, 0, 0]).map(|(n, l)| Axis::new(*n, l)).collect();
        for i in 0..3 {
            axes[i + 1].length = lengths[i];
            axes[i + 1].calibration =
                steps[i].map(|step| Calibration { step, unit: Some("micrometer".into()), from: Provenance::Ome });
        }
        axes
    }

    #[test]
    fn the_finest_axes_are_halved_until_voxels_are_nearly_cubic() {
        let found = factors(&axes([200, 4096, 2048], [Some(0.4), Some(0.1), Some(-0.1)]), Levels::Auto);
        assert_eq!(found, [[1, 1, 2, 2], [1, 1, 2, 2], [1, 2, 2, 2]]);
        let unknown = factors(&axes([5, 4096, 2048], [None; 3]), Levels::Auto);
        assert_eq!(unknown, [[1, 1, 2, 2], [1, 1, 2, 2], [1, 1, 2, 2]]);
        let cube = factors(&axes([1500, 2000, 2000], [None; 3]), Levels::Count(3));
        assert_eq!(cube, [[1, 2, 2, 2], [1, 2, 2, 2]]);
        assert_eq!(factors(&axes([1, 2, 1], [None; 3]), Levels::Count(9)), [[1, 1, 2, 1]]);
        assert!(factors(&axes([9, 9, 9], [None; 3]), Levels::None).is_empty());
        assert!(is_large(&axes([1, 1025, 9], [None; 3])) && !is_large(&axes([1, 1024, 1024], [None; 3])));
        assert!(is_large(&axes([400, 1024, 1024], [None; 3])));
    }

    fn block(values: &[u16], shape: &[u64]) -> Block {
        let mut block = Block::new(Region::whole(shape), DType::Uint16).unwrap();
        block.elements_mut::<u16>().copy_from_slice(values);
        block
    }

    #[test]
    fn windows_go_by_what_is_there() {
        let mut full = block(&[1, 2, 9, 3, 4, 0, 8, 8, 7], &[3, 3]);
        let values = |block: &Block, method| {
            let next = halve(block, &[2, 2], method, &[5, 0]).unwrap();
            (next.elements::<u16>().to_vec(), next.coverage.n_absent())
        };
        // 2.5 and 4.5 are halves.
        assert_eq!(values(&full, Method::Mean).0, [2, 4, 8, 7]);
        assert_eq!(values(&full, Method::Nearest).0, [1, 9, 8, 7]);
        assert_eq!(values(&full, Method::Max).0, [4, 9, 8, 7]);
        assert_eq!(values(&full, Method::Min).0, [1, 0, 8, 7]);
        assert_eq!(values(&full, Method::Median).0, [2, 4, 8, 7]);
        assert_eq!(values(&full, Method::Mode).0, [1, 0, 8, 7]);
        full.coverage.lacks(Region::new([0, 0], [2, 1]));
        full.coverage.lacks(Region::new([2, 2], [1, 1]));
        assert_eq!(values(&full, Method::Mean), (vec![3, 4, 8, 5], 1));
        assert_eq!(values(&full, Method::Nearest), (vec![5, 9, 8, 5], 2));
    }

    #[test]
    fn means_round_halves_to_even() {
        assert_eq!(<i8 as Pixel>::mean(-3, 2), -2);
        assert_eq!(<i8 as Pixel>::mean(-5, 2), -2);
        assert_eq!(<u64 as Pixel>::mean(8 * i128::from(u64::MAX), 8), u64::MAX);
        assert_eq!(<i16 as Pixel>::mean(-7, 3), -2);
    }
}
