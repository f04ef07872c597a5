//! One element for several neighbours: means, sums and extrema of boxes.

use std::sync::Arc;

use super::calc::convert;
use super::{Array, Reader, Scratch};
use crate::axis::Axis;
use crate::block::{Block, Buffer, Coverage, Target, size_bytes};
use crate::dtype::DType;
use crate::error::Result;
use crate::grid::{Region, n_elements, row_major_strides};

/// What is made of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Statistic {
    Mean,
    Sum,
    Min,
    Max,
}

/// Another array in boxes of so many elements; those at the far edges may be smaller.
pub struct Bins {
    inner: Arc<dyn Array>,
    axes: Vec<Axis>,
    factors: Vec<u64>,
    statistic: Statistic,
    dtype: DType,
    skips: bool,
}

impl Bins {
    /// `inner` in boxes of `factors` elements along each axis, results as `dtype`, which holds them. If it `skips`, elements
    /// that nothing covers are left out.
    pub fn new(inner: Arc<dyn Array>, factors: Vec<u64>, statistic: Statistic, dtype: DType, skips: bool) -> Self {
        let binned = |(axis, &n): (&Axis, &u64)| axis.grouped(n, n, axis.length.div_ceil(n));
        let axes = inner.axes().iter().zip(&factors).map(binned).collect();
        Self { inner, axes, factors, statistic, dtype, skips }
    }

    fn input(&self, region: &Region) -> Region {
        let mut input = region.clone();
        for (i, &n) in self.factors.iter().enumerate() {
            let end = (region.end(i) * n).min(self.inner.axes()[i].length);
            input.origin[i] = region.origin[i] * n;
            input.shape[i] = end.saturating_sub(input.origin[i]);
        }
        input
    }

    /// Whether numbers are exact in 64-bit integers on the way; sums are where their type holds them.
    fn is_whole(&self) -> bool {
        let dtype = self.inner.dtype();
        let fits = self.statistic != Statistic::Mean || dtype != DType::Int64;
        !dtype.is_float() && dtype != DType::Uint64 && fits
    }
}

impl Array for Bins {
    fn axes(&self) -> &[Axis] {
        &self.axes
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        let n = self.factors[axis];
        let (from, to) = self.inner.grain(axis, (at * n).min(self.inner.axes()[axis].length));
        (from / n, to.div_ceil(n).max(at))
    }

    fn coded(&self) -> bool {
        self.inner.coded()
    }

    fn needs(&self, shape: &[u64]) -> u64 {
        let input: Vec<u64> = shape.iter().zip(&self.factors).map(|(s, n)| s.saturating_mul(*n)).collect();
        let own = size_bytes(&input, self.inner.dtype()).saturating_add(n_elements(shape).saturating_mul(24));
        own.saturating_add(self.inner.needs(&input))
            .saturating_add(input.last().copied().unwrap_or(1).saturating_mul(8))
    }

    fn held_bytes(&self) -> u64 {
        self.inner.held_bytes()
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        let inner = Arc::clone(&self.inner).reader(scratch);
        Box::new(BinsReader { of: self, inner, buffer: Buffer::default() })
    }
}

struct BinsReader {
    of: Arc<Bins>,
    inner: Box<dyn Reader>,
    buffer: Buffer,
}

impl BinsReader {
    /// Folds the rows of `block` into `states`, one for each element of `region`, through numbers of type `T`.
    fn fold<T: bytemuck::Pod>(&self, block: &Block, region: &Region, wide: DType, states: &mut [T], f: fn(T, T) -> T) {
        let of = &self.of;
        let shape = &block.region().shape;
        let Some((&length, outer)) = shape.split_last() else {
            return convert(block.dtype(), block.bytes(), wide, bytemuck::cast_slice_mut(states));
        };
        let strides = row_major_strides(&region.shape);
        let n = *of.factors.last().unwrap_or(&1) as usize;
        let mut row = vec![0u64; length as usize];
        let bytes = length as usize * block.dtype().size();
        for (position, values) in crate::grid::positions(outer).zip(block.bytes().chunks_exact(bytes.max(1))) {
            let start: u64 = position.iter().zip(&of.factors).zip(&strides).map(|((p, n), s)| p / n * s).sum();
            convert(block.dtype(), values, wide, bytemuck::cast_slice_mut(&mut row));
            let out = &mut states[start as usize..];
            for (state, several) in out.iter_mut().zip(bytemuck::cast_slice::<u64, T>(&row).chunks(n)) {
                *state = several.iter().fold(*state, |state, x| f(state, *x));
            }
        }
    }

    /// Number of elements in the box of each element of `region`, but for those of `absent`.
    fn counts(&self, region: &Region, absent: &[Region]) -> Vec<u64> {
        let count = |position: Vec<u64>| {
            let at: Vec<u64> = position.iter().zip(&region.origin).map(|(p, o)| p + o).collect();
            let own = self.of.input(&Region::new(at, vec![1; region.rank()]));
            let lacking = absent.iter().filter_map(|absent| absent.intersect(&own)).map(|both| both.n_elements());
            own.n_elements() - lacking.sum::<u64>()
        };
        crate::grid::positions(&region.shape).map(count).collect()
    }
}

/// An element of `dtype` that changes no `statistic`.
fn neutral(dtype: DType, statistic: Statistic) -> Result<Vec<u8>> {
    let (least, greatest) = match crate::array::calc::range(dtype) {
        Some((low, high)) => (low.to_string(), high.to_string()),
        None if dtype == DType::Bool => ("0".to_owned(), "1".to_owned()),
        None => ("-inf".to_owned(), "inf".to_owned()),
    };
    dtype.parse_element(match statistic {
        Statistic::Min => &greatest,
        Statistic::Max => &least,
        Statistic::Mean | Statistic::Sum => "0",
    })
}

impl Reader for BinsReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        super::check_read(&*self.of, region, target)?;
        let of = Arc::clone(&self.of);
        let input = of.input(region);
        let mut block = self.inner.block(&input, of.inner.dtype(), std::mem::take(&mut self.buffer))?;
        let absent = block.coverage.absent().to_vec();
        for absent in absent.iter().filter(|_| of.skips) {
            let neutral = neutral(block.dtype(), of.statistic)?;
            block.target().part(&absent.relative_to(&input.origin)).fill(&neutral);
        }
        // Elements are counted where somebody needs the number.
        let is_counted = of.statistic == Statistic::Mean || !absent.is_empty();
        let present = if is_counted { self.counts(region, &absent) } else { Vec::new() };
        let n = region.n_elements() as usize;
        let mut words = vec![0u64; n];
        let whole = of.is_whole();
        let wide = match whole {
            true => {
                let states: &mut [i64] = bytemuck::cast_slice_mut(&mut words);
                states.fill(match of.statistic {
                    Statistic::Min => i64::MAX,
                    Statistic::Max => i64::MIN,
                    _ => 0,
                });
                let f: fn(i64, i64) -> i64 = match of.statistic {
                    Statistic::Min => i64::min,
                    Statistic::Max => i64::max,
                    _ => i64::wrapping_add,
                };
                self.fold(&block, region, DType::Int64, states, f);
                DType::Int64
            }
            false => {
                let states: &mut [f64] = bytemuck::cast_slice_mut(&mut words);
                states.fill(match of.statistic {
                    Statistic::Min => f64::INFINITY,
                    Statistic::Max => f64::NEG_INFINITY,
                    _ => 0.0,
                });
                let f: fn(f64, f64) -> f64 = match of.statistic {
                    Statistic::Min => |a, b| if a.is_nan() || a < b { a } else { b },
                    Statistic::Max => |a, b| if a.is_nan() || a > b { a } else { b },
                    _ => |a, b| a + b,
                };
                self.fold(&block, region, DType::Float64, states, f);
                DType::Float64
            }
        };
        let mut out = Buffer::default();
        let out = out.sized(n * of.dtype.size());
        if of.statistic == Statistic::Mean {
            let all = if of.skips || absent.is_empty() { present.clone() } else { self.counts(region, &[]) };
            let sum = |w: u64| if whole { w as i64 as f64 } else { f64::from_bits(w) };
            let means: Vec<f64> = words.iter().zip(&all).map(|(&w, &n)| sum(w) / n as f64).collect();
            convert(DType::Float64, bytemuck::cast_slice(&means), of.dtype, out);
        } else {
            convert(wide, bytemuck::cast_slice(&words), of.dtype, out);
        }
        target.paste(out);
        let mut coverage = Coverage::default();
        coverage.take(&block.coverage, |_| None);
        // A box lacks what all its elements lack.
        if !absent.is_empty() {
            coverage.lacks_where(region, |i| present[i] == 0);
        }
        for lacking in coverage.absent().iter().filter(|_| of.skips) {
            target.part(&lacking.relative_to(&region.origin)).fill(&of.fill_bytes());
        }
        self.buffer = block.into_buffer();
        Ok(coverage)
    }

    fn release(self: Box<Self>) -> Scratch {
        self.inner.release()
    }
}
