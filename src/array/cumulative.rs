//! Sums from the first element of an axis on.

use std::sync::Arc;

use super::calc::convert;
use super::{Array, Reader, Scratch};
use crate::axis::Axis;
use crate::block::{Block, Buffer, Coverage, Target, size_bytes};
use crate::dtype::DType;
use crate::error::Result;
use crate::grid::Region;

/// Running sums of another array along one axis, as `int64` (wrapping to `uint64`) or `float64`.
pub struct Cumulative {
    inner: Arc<dyn Array>,
    axis: usize,
    dtype: DType,
    skips: bool,
}

impl Cumulative {
    /// Running sums of `inner` along axis number `axis`, made and given as `dtype`, one of eight bytes. If it `skips`, elements
    /// that nothing covers are left out.
    pub fn new(inner: Arc<dyn Array>, axis: usize, dtype: DType, skips: bool) -> Self {
        Self { inner, axis, dtype, skips }
    }
}

impl Array for Cumulative {
    fn axes(&self) -> &[Axis] {
        self.inner.axes()
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        // What is summed up is read from the first element on.
        if axis == self.axis { (0, self.axes()[axis].length) } else { super::decoded(&*self.inner, axis, at) }
    }

    fn coded(&self) -> bool {
        true
    }

    fn needs(&self, shape: &[u64]) -> u64 {
        let mut slice = shape.to_vec();
        slice[self.axis] = 1;
        let own = size_bytes(&slice, self.dtype).saturating_mul(2);
        own.saturating_add(size_bytes(&slice, self.inner.dtype())).saturating_add(self.inner.needs(&slice))
    }

    fn held_bytes(&self) -> u64 {
        self.inner.held_bytes()
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        let inner = Arc::clone(&self.inner).reader(scratch);
        Box::new(CumulativeReader { of: self, inner, buffer: Buffer::default() })
    }
}

struct CumulativeReader {
    of: Arc<Cumulative>,
    inner: Box<dyn Reader>,
    buffer: Buffer,
}

impl Reader for CumulativeReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        super::check_read(&*self.of, region, target)?;
        let (axis, dtype) = (self.of.axis, self.of.dtype);
        let mut slice = region.clone();
        slice.shape[axis] = 1;
        let n = slice.n_elements() as usize;
        let (mut sums, mut next) = (vec![0u64; n], vec![0u64; n]);
        let mut coverage = Coverage::default();
        for at in 0..region.end(axis) {
            slice.origin[axis] = at;
            let block: Block = self.inner.block(&slice, self.of.inner.dtype(), std::mem::take(&mut self.buffer))?;
            convert(block.dtype(), block.bytes(), dtype, bytemuck::cast_slice_mut(&mut next));
            for absent in block.coverage.absent().iter().filter(|_| self.of.skips) {
                let mut all = Target::dense(bytemuck::cast_slice_mut(&mut next), &slice.shape, dtype);
                all.part(&absent.relative_to(&slice.origin)).fill(&[0; 8]);
            }
            add(&mut sums, &next, dtype);
            if at >= region.origin[axis] {
                let mut place = Region::whole(&region.shape);
                (place.origin[axis], place.shape[axis]) = (at - region.origin[axis], 1);
                target.part(&place).paste(bytemuck::cast_slice(&sums));
                coverage.take(&block.coverage, |absent| Some(absent.clone()));
            }
            self.buffer = block.into_buffer();
        }
        Ok(coverage)
    }

    fn release(self: Box<Self>) -> Scratch {
        self.inner.release()
    }
}

fn add(sums: &mut [u64], next: &[u64], dtype: DType) {
    if dtype == DType::Float64 {
        let (sums, next): (&mut [f64], &[f64]) = (bytemuck::cast_slice_mut(sums), bytemuck::cast_slice(next));
        sums.iter_mut().zip(next).for_each(|(s, x)| *s += x);
    } else {
        sums.iter_mut().zip(next).for_each(|(s, x)| *s = s.wrapping_add(*x));
    }
}
