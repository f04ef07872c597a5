//! An array with its axes in another order, or with axes of length one put in or left out. Nothing is copied for it.

use std::sync::Arc;

use super::{Array, Reader, Scratch};
use crate::axis::Axis;
use crate::block::{Coverage, Target};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::Region;

/// Another array, its axes arranged anew.
pub struct Arranged {
    inner: Arc<dyn Array>,
    axes: Vec<Axis>,
    /// For every axis, that of the array below; new ones have none.
    of: Vec<Option<usize>>,
}

impl Arranged {
    /// `inner` with `axes`: those that it has, by name, and new ones of length one.
    ///
    /// # Errors
    /// `Usage` if a longer axis of `inner` is left out, or a new one is longer than one.
    pub fn new(inner: Arc<dyn Array>, axes: Vec<Axis>) -> Result<Self> {
        let of: Vec<Option<usize>> = axes.iter().map(|a| crate::axis::position(inner.axes(), &a.name)).collect();
        let left_out = inner.axes().iter().enumerate().find(|(i, axis)| axis.length != 1 && !of.contains(&Some(*i)));
        if let Some((_, axis)) = left_out {
            return Err(Error::usage(format!("axis {} of length {} would be left out", axis.name, axis.length)));
        }
        if let Some((axis, _)) = axes.iter().zip(&of).find(|(axis, of)| of.is_none() && axis.length != 1) {
            return Err(Error::usage(format!("there is no axis {}", axis.name)));
        }
        Ok(Self { inner, axes, of })
    }

    /// `inner` with what `axes`, which are as long as its own, say of them.
    pub fn renamed(inner: Arc<dyn Array>, axes: Vec<Axis>) -> Self {
        let of = (0..axes.len()).map(Some).collect();
        Self { inner, axes, of }
    }

    /// `inner` with the new axis `axis`, of length one: where it stands in t, c, z, y, x, others in front.
    ///
    /// # Errors
    /// `Usage` if it has the axis.
    pub fn lifted(inner: Arc<dyn Array>, axis: Axis) -> Result<Self> {
        let place = |axis: &Axis| crate::axis::USUAL.iter().position(|name| *name == axis.name);
        let mut axes = inner.axes().to_vec();
        if crate::axis::position(&axes, &axis.name).is_some() {
            return Err(Error::usage(format!("there is an axis {} already", axis.name)));
        }
        let is_before = |own: &Axis| place(own).is_some_and(|own| Some(own) < place(&axis));
        let at = axes.iter().rposition(is_before).map_or(0, |last| last + 1);
        axes.insert(at, axis);
        Self::new(inner, axes)
    }

    fn inner_region(&self, region: &Region) -> Region {
        let n = self.inner.axes().len();
        let mut inner = Region::new(vec![0; n], vec![1; n]);
        for (k, i) in self.of.iter().enumerate() {
            if let Some(i) = *i {
                (inner.origin[i], inner.shape[i]) = (region.origin[k], region.shape[k]);
            }
        }
        inner
    }
}

impl Array for Arranged {
    fn axes(&self) -> &[Axis] {
        &self.axes
    }

    fn dtype(&self) -> DType {
        self.inner.dtype()
    }

    fn fill(&self) -> Option<&[u8]> {
        self.inner.fill()
    }

    fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        self.of[axis].map_or((at, at), |i| self.inner.grain(i, at))
    }

    fn coded(&self) -> bool {
        self.inner.coded()
    }

    fn needs(&self, shape: &[u64]) -> u64 {
        self.inner.needs(&self.inner_region(&Region::whole(shape)).shape)
    }

    fn held_bytes(&self) -> u64 {
        self.inner.held_bytes()
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        let inner = Arc::clone(&self.inner).reader(scratch);
        Box::new(ArrangedReader { of: self, inner })
    }
}

struct ArrangedReader {
    of: Arc<Arranged>,
    inner: Box<dyn Reader>,
}

impl Reader for ArrangedReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        super::check_read(&*self.of, region, target)?;
        let inner = self.of.inner_region(region);
        let mut strides = vec![target.dtype.size() as isize; inner.rank()];
        for (k, i) in self.of.of.iter().enumerate() {
            if let Some(i) = *i {
                strides[i] = target.strides[k];
            }
        }
        let (start, shape, dtype) = (target.start, inner.shape.clone(), target.dtype);
        let mut into = Target { bytes: &mut *target.bytes, start, shape, strides, dtype };
        let found = self.inner.read(&inner, &mut into)?;
        let mut coverage = Coverage::default();
        coverage.take(&found, |absent| {
            let mut own = region.clone();
            for (k, i) in self.of.of.iter().enumerate() {
                if let Some(i) = *i {
                    (own.origin[k], own.shape[k]) = (absent.origin[i], absent.shape[i]);
                }
            }
            Some(own)
        });
        Ok(coverage)
    }

    fn prefetch(&mut self, region: &Region) {
        self.inner.prefetch(&self.of.inner_region(region));
    }

    fn release(self: Box<Self>) -> Scratch {
        self.inner.release()
    }
}
