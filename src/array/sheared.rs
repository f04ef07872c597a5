//! Planes of a light sheet that was moved at an angle, each shifted to where it was: by linear interpolation along a row.

use std::sync::Arc;

use super::calc::convert;
use super::{Array, Reader, Scratch};
use crate::axis::Axis;
use crate::block::{Block, Buffer, Coverage, Target, size_bytes};
use crate::dtype::DType;
use crate::error::Result;
use crate::grid::Region;

/// Another array whose planes are shifted along one axis, the farther along another the more; 0 where nothing was seen.
pub struct Sheared {
    inner: Arc<dyn Array>,
    axes: Vec<Axis>,
    /// The axis whose indices shift, and the one along which.
    over: usize,
    along: usize,
    /// Elements from one plane to the next.
    shift: f64,
    dtype: DType,
}

impl Sheared {
    /// `inner`, its planes along axis `over` shifted by `shift` elements each along axis `along`.
    pub fn new(inner: Arc<dyn Array>, over: usize, along: usize, shift: f64) -> Self {
        let mut axes = inner.axes().to_vec();
        let more = (shift.abs() * (axes[over].length.saturating_sub(1)) as f64).ceil() as u64;
        let axis = &mut axes[along];
        axis.length += more;
        (axis.labels, axis.coordinates) = (None, None);
        let dtype =
            if inner.dtype().size() <= 2 || inner.dtype() == DType::Float32 { DType::Float32 } else { DType::Float64 };
        Self { inner, axes, over, along, shift, dtype }
    }

    /// Where the first element of plane `z` comes to lie.
    fn offset(&self, z: u64) -> f64 {
        let last = (self.axes[self.over].length - 1) as f64;
        if self.shift >= 0.0 { self.shift * z as f64 } else { self.shift * (z as f64 - last) }
    }

    /// What of plane `z` goes into `length` elements from `from` on.
    fn span(&self, z: u64, from: u64, length: u64) -> (u64, u64) {
        let own = self.inner.axes()[self.along].length as f64;
        let start = from as f64 - self.offset(z);
        let first = start.floor().clamp(0.0, own);
        let end = ((start + (length - 1) as f64).floor() + 2.0).clamp(first, own);
        (first as u64, (end - first) as u64)
    }
}

impl Array for Sheared {
    fn axes(&self) -> &[Axis] {
        &self.axes
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        match axis == self.along {
            // Rows are read whole: what is cut of them lies elsewhere in every plane.
            true => (0, self.axes[axis].length),
            false => super::decoded(&*self.inner, axis, at),
        }
    }

    fn coded(&self) -> bool {
        true
    }

    fn needs(&self, shape: &[u64]) -> u64 {
        let mut plane = shape.to_vec();
        plane[self.over] = 1;
        plane[self.along] = (shape[self.along] + 2).min(self.inner.axes()[self.along].length);
        let n = size_bytes(&plane, DType::Float64);
        n.saturating_mul(2)
            .saturating_add(size_bytes(&plane, self.inner.dtype()))
            .saturating_add(self.inner.needs(&plane))
    }

    fn held_bytes(&self) -> u64 {
        self.inner.held_bytes()
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        let inner = Arc::clone(&self.inner).reader(scratch);
        Box::new(ShearedReader { of: self, inner, buffer: Buffer::default() })
    }
}

struct ShearedReader {
    of: Arc<Sheared>,
    inner: Box<dyn Reader>,
    buffer: Buffer,
}

impl ShearedReader {
    /// One plane, whose place in `region` is `z`, as `float64`.
    fn plane(&mut self, region: &Region, z: u64) -> Result<Vec<f64>> {
        let of = &self.of;
        let (from, length) = (region.origin[of.along], region.shape[of.along]);
        let (first, n) = of.span(z, from, length);
        let mut own = region.clone();
        (own.origin[of.over], own.shape[of.over]) = (z, 1);
        (own.origin[of.along], own.shape[of.along]) = (first, n);
        let mut shape = region.shape.clone();
        shape[of.over] = 1;
        let mut out = vec![0.0; shape.iter().product::<u64>() as usize];
        if n == 0 {
            return Ok(out);
        }
        let block: Block = self.inner.block(&own, of.inner.dtype(), std::mem::take(&mut self.buffer))?;
        let mut values = vec![0.0f64; own.n_elements() as usize];
        convert(block.dtype(), block.bytes(), DType::Float64, bytemuck::cast_slice_mut(&mut values));
        self.buffer = block.into_buffer();
        let inner: usize = shape[of.along + 1..].iter().product::<u64>() as usize;
        let (n, length) = (n as usize, length as usize);
        let whole = of.inner.axes()[of.along].length as f64;
        for (o, rows) in out.chunks_exact_mut(length * inner).enumerate() {
            let source = &values[o * n * inner..(o + 1) * n * inner];
            for (i, row) in rows.chunks_exact_mut(inner).enumerate() {
                let at = (from + i as u64) as f64 - of.offset(z);
                // Between two elements of the plane, or on one.
                if at < 0.0 || at > whole - 1.0 {
                    continue;
                }
                let (low, share) = (at.floor() as usize - first as usize, at - at.floor());
                let high = if share > 0.0 { low + 1 } else { low };
                let (a, b) = (&source[low * inner..(low + 1) * inner], &source[high * inner..(high + 1) * inner]);
                row.iter_mut().zip(a.iter().zip(b)).for_each(|(x, (a, b))| *x = a * (1.0 - share) + b * share);
            }
        }
        Ok(out)
    }
}

impl Reader for ShearedReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        super::check_read(&*self.of, region, target)?;
        let (over, dtype) = (self.of.over, self.of.dtype);
        for k in 0..region.shape[over] {
            let plane = self.plane(region, region.origin[over] + k)?;
            let mut place = Region::whole(&region.shape);
            (place.origin[over], place.shape[over]) = (k, 1);
            let mut bytes = Buffer::default();
            convert(DType::Float64, bytemuck::cast_slice(&plane), dtype, bytes.sized(plane.len() * dtype.size()));
            target.part(&place).paste(bytes.bytes());
        }
        Ok(Coverage::default())
    }

    fn release(self: Box<Self>) -> Scratch {
        self.inner.release()
    }
}
