//! Filters: every element is made of its neighbours. What stands beyond the edges follows [`Edges`]; tasks read as many
//! neighbours as they need, so that results do not depend on where tasks begin and end.

use std::sync::Arc;

use super::calc::convert;
use super::extend::{self, Edges, Mode};
use super::kernel::{Datum, OnDevice, Routine};
use super::{Array, Kept, Reader, Scratch};
use crate::axis::Axis;
use crate::block::{Block, Buffer, Coverage, Target, size_bytes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::Region;

mod ball;
mod bilateral;
mod extremum;
mod near;
mod rank;
mod separable;
mod weights;

pub use ball::ball;
pub use bilateral::bilateral;
pub use extremum::Extremum;
pub use near::{Near, reach_of};
pub use rank::Rank;
pub use separable::Separable;
pub use weights::Weights;

/// Neighbours before and behind an element along each axis.
pub type Reach = Vec<(u64, u64)>;

/// What is made of an element and its neighbours.
pub trait Filter: Send + Sync {
    /// Neighbours that it needs.
    fn reach(&self) -> &Reach;

    /// Type of its results for elements of `dtype`.
    fn dtype(&self, dtype: DType) -> DType;

    /// Memory that it needs for results of `shape`, beside them and what goes into them, in bytes.
    fn scratch_bytes(&self, shape: &[u64], dtype: DType) -> u64;

    /// Makes results of `shape` of `source`, which has elements of `dtype` and reaches beyond by [`Filter::reach`]; both
    /// are dense.
    fn apply(&self, source: &[u8], dtype: DType, shape: &[u64], out: &mut [u8], kept: &mut Kept);

    /// Adds what does the same on a device; nothing if there is no kernel for it.
    fn launch(&self, source: (Datum, DType), shape: &[u64], routine: &mut Routine) -> Option<Datum>;
}

/// Another array through a filter.
pub struct Filtered {
    inner: Arc<dyn Array>,
    filter: Box<dyn Filter>,
    edges: Edges,
    skips: bool,
}

/// Lengths with what is reached on both sides.
fn wide(shape: &[u64], reach: &Reach) -> Vec<u64> {
    shape.iter().zip(reach).map(|(n, (before, after))| n.saturating_add(before + after)).collect()
}

impl OnDevice for Filtered {
    fn compile(&self, region: &Region, routine: &mut Routine) -> Option<Datum> {
        if self.inner.dtype().is_complex() {
            return None;
        }
        let lengths = wide(&region.shape, self.filter.reach());
        let source = routine.source(&self.inner, &self.origin(region), &lengths, &self.edges);
        self.filter.launch((source, self.inner.dtype()), &region.shape, routine)
    }
}

impl Filtered {
    /// Where what goes into `region` begins.
    fn origin(&self, region: &Region) -> Vec<i64> {
        region.origin.iter().zip(self.filter.reach()).map(|(o, r)| *o as i64 - r.0 as i64).collect()
    }

    /// `inner` through `filter`, with `edges` beyond it. If it `skips`, nothing covers what is made of something that nothing
    /// covers.
    ///
    /// # Errors
    /// `Usage` if a filter reaches along an axis of no length.
    pub fn new(inner: Arc<dyn Array>, filter: Box<dyn Filter>, edges: Edges, skips: bool) -> Result<Self> {
        if inner.shape().contains(&0) {
            return Err(Error::usage("an array without elements has no neighbours"));
        }
        Ok(Self { inner, filter, edges, skips })
    }
}

impl Array for Filtered {
    fn axes(&self) -> &[Axis] {
        self.inner.axes()
    }

    fn dtype(&self) -> DType {
        self.filter.dtype(self.inner.dtype())
    }

    fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        let ((before, after), length) = (self.filter.reach()[axis], self.axes()[axis].length);
        let far = |at: u64| (at + after).min(length);
        let near = |at: u64| at.saturating_sub(before);
        (super::decoded(&*self.inner, axis, near(at)).0, super::decoded(&*self.inner, axis, far(at)).1.max(at))
    }

    fn coded(&self) -> bool {
        self.inner.coded() || self.filter.reach().iter().any(|&r| r != (0, 0))
    }

    fn needs(&self, shape: &[u64]) -> u64 {
        let source = wide(shape, self.filter.reach());
        // At the edges less is read than reached.
        let read: Vec<u64> = source.iter().zip(self.axes()).map(|(n, axis)| (*n).min(axis.length)).collect();
        size_bytes(&source, self.inner.dtype())
            .saturating_add(size_bytes(shape, self.dtype()))
            .saturating_add(self.filter.scratch_bytes(shape, self.inner.dtype()))
            .saturating_add(self.inner.needs(&read))
    }

    fn held_bytes(&self) -> u64 {
        self.inner.held_bytes()
    }

    fn on_device(&self) -> Option<&dyn OnDevice> {
        Some(self)
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        let inner = Arc::clone(&self.inner).reader(scratch);
        let (source, dense, kept) = (Buffer::default(), Buffer::default(), Kept::default());
        Box::new(FilteredReader { of: self, inner, source, dense, kept })
    }
}

struct FilteredReader {
    of: Arc<Filtered>,
    inner: Box<dyn Reader>,
    /// What goes into a region.
    source: Buffer,
    /// Results on their way to a target that is not dense.
    dense: Buffer,
    kept: Kept,
}

impl Reader for FilteredReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        super::check_read(&*self.of, region, target)?;
        if region.is_empty() {
            return Ok(Coverage::default());
        }
        let of = Arc::clone(&self.of);
        let lengths = wide(&region.shape, of.filter.reach());
        let (inner, dtype) = (of.inner.shape(), of.inner.dtype());
        let origin = of.origin(region);
        let mut block = Block::reusing(std::mem::take(&mut self.source), Region::whole(&lengths), dtype)?;
        let found = extend::read(&mut *self.inner, (&inner, dtype), (&origin, &lengths), &of.edges, block.bytes_mut())?;
        let n_bytes = size_bytes(&region.shape, of.dtype()) as usize;
        let is_aligned = target.bytes[target.start..].as_ptr().align_offset(8) == 0;
        if is_aligned && target.dense_run() == region.n_elements() {
            let out = &mut target.bytes[target.start..target.start + n_bytes];
            of.filter.apply(block.bytes(), dtype, &region.shape, out, &mut self.kept);
        } else {
            let out = self.dense.sized(n_bytes);
            of.filter.apply(block.bytes(), dtype, &region.shape, out, &mut self.kept);
            target.paste(out);
        }
        self.source = block.into_buffer();
        let mut coverage = Coverage::default();
        coverage.take(&found, |_| None);
        for absent in found.absent() {
            let mut own = absent.clone();
            for (k, &(before, after)) in of.filter.reach().iter().enumerate() {
                // What lies up to `after` in front of it reaches it, and up to `before` behind it.
                let (front, behind) = if of.skips { (before + after, 0) } else { (before, before) };
                let end = own.end(k).saturating_sub(behind).min(region.shape[k]);
                let start = own.origin[k].saturating_sub(front).min(end);
                (own.origin[k], own.shape[k]) = (region.origin[k] + start, end - start);
            }
            coverage.lacks_also(own);
        }
        Ok(coverage)
    }

    fn prefetch(&mut self, region: &Region) {
        let lengths = wide(&region.shape, self.of.filter.reach());
        self.inner.prefetch(&extend::inside(&self.of.inner.shape(), &self.of.origin(region), &lengths));
    }

    fn release(self: Box<Self>) -> Scratch {
        self.inner.release()
    }
}

/// The type of results that are made in `float64`: of whole numbers up to 16 bits `float32` keeps all that counts.
fn rounded(dtype: DType) -> DType {
    if dtype.size() <= 2 || dtype == DType::Float32 { DType::Float32 } else { DType::Float64 }
}

/// Elements of `dtype` as `float64`, in memory that is kept.
fn as_float64<'a>(source: &[u8], dtype: DType, kept: &'a mut Kept) -> &'a [f64] {
    let bytes = kept.get::<Buffer>().sized(source.len() / dtype.size() * 8);
    convert(dtype, source, DType::Float64, bytes);
    bytemuck::cast_slice(bytes)
}

/// One axis of a dense box: blocks of `inner` elements, one behind the other, `outer` times.
#[derive(Clone, Copy, Debug)]
struct Line {
    outer: usize,
    inner: usize,
}

impl Line {
    /// Along axis number `axis` of a box of `shape`.
    fn new(shape: &[u64], axis: usize) -> Self {
        let product = |lengths: &[u64]| lengths.iter().product::<u64>() as usize;
        Self { outer: product(&shape[..axis]), inner: product(&shape[axis + 1..]) }
    }
}

/// What stands beyond the edges of filters that do not say.
pub const DEFAULT: Mode = Mode::Reflect;
