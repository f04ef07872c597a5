//! Planes of a light sheet that was moved at an angle, each shifted to where it was: by linear interpolation along a row.

use std::sync::Arc;

use super::calc::convert;
use super::kernel::{Datum, Launch, OnDevice, PRELUDE, Places, Routine, bytes, c_name, loaded};
use super::{Array, Reader, Scratch};
use crate::axis::{Axis, Calibration};
use crate::block::{Block, Buffer, Coverage, Target, size_bytes};
use crate::dtype::DType;
use crate::error::Result;
use crate::grid::{Region, row_major_strides};

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
    skips: bool,
}

/// What is less than this part of an element is rounding.
const ROUNDING: f64 = 1e-6;

impl Sheared {
    /// `inner`, its planes along axis `over` shifted by `shift` elements each along axis `along`; `sizes` are what steps of the
    /// two measure then. If it `skips`, nothing covers what is made of something that nothing covers.
    pub fn new(
        inner: Arc<dyn Array>,
        (over, along): (usize, usize),
        shift: f64,
        sizes: [Calibration; 2],
        skips: bool,
    ) -> Self {
        let mut axes = inner.axes().to_vec();
        let all = shift.abs() * axes[over].length.saturating_sub(1) as f64;
        axes[along].length += (all - ROUNDING).ceil() as u64;
        for (i, size) in [over, along].into_iter().zip(sizes) {
            (axes[i].labels, axes[i].coordinates, axes[i].calibration) = (None, None, Some(size));
        }
        let dtype =
            if inner.dtype().size() <= 2 || inner.dtype() == DType::Float32 { DType::Float32 } else { DType::Float64 };
        let mut sheared = Self { inner, axes, over, along, shift, dtype, skips };
        // The first plane stays where it was.
        let before = sheared.offset(0) * sheared.axes[along].calibration.as_ref().map_or(0.0, |size| size.step);
        sheared.axes[along].origin -= before;
        sheared
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

    fn on_device(&self) -> Option<&dyn OnDevice> {
        Some(self)
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        let inner = Arc::clone(&self.inner).reader(scratch);
        Box::new(ShearedReader { of: self, inner, buffer: Buffer::default() })
    }
}

impl OnDevice for Sheared {
    fn compile(&self, region: &Region, routine: &mut Routine) -> Option<Datum> {
        let (from, length) = (region.origin[self.along], region.shape[self.along]);
        let planes = region.origin[self.over]..region.end(self.over);
        let spans: Vec<(u64, u64)> = planes.map(|z| self.span(z, from, length)).filter(|span| span.1 > 0).collect();
        let (first, end) = (spans.iter().map(|s| s.0).min()?, spans.iter().map(|s| s.0 + s.1).max()?);
        let mut own = region.clone();
        (own.origin[self.along], own.shape[self.along]) = (first, end - first);
        let source = routine.inside(&self.inner, &own);
        let mut strides = row_major_strides(&own.shape);
        let step = std::mem::take(&mut strides[self.along]);
        let places = Places::new(&region.shape, &[strides]);
        let front = places.rank - region.rank();
        let text = format!(
            "{PRELUDE}__kernel void run(__global {} *out, __global const {} *a, __constant ulong *g, __global const \
             double *h) {{\n{}const double at = h[0] + p{} - h[1] * (h[2] + p{} - h[3]);\ndouble r = 0;\n\
             if (at >= 0 && at <= h[4] - 1) {{\nconst double low = floor(at), share = at - low;\n\
             const size_t step = (size_t)h[6], i = s0 + (size_t)(low - h[5]) * step;\n\
             const double x = {}, y = {};\nr = x * (1 - share) + y * share;\n}}\nout[o] = r;\n}}\n",
            c_name(self.dtype),
            c_name(self.inner.dtype()),
            places.text(),
            front + self.along,
            front + self.over,
            loaded(self.inner.dtype(), "a", "i"),
            loaded(self.inner.dtype(), "a", "i + (share > 0 ? step : 0)"),
        );
        let least = if self.shift >= 0.0 { 0 } else { self.axes[self.over].length - 1 };
        let length = self.inner.axes()[self.along].length;
        let numbers = [region.origin[self.over], least, length, first, step].map(|n| n as f64);
        let table = [&[from as f64, self.shift], &numbers[..]].concat();
        let launch = Launch {
            text,
            from: vec![source],
            tables: vec![places.table(), bytes(&table)],
            range: places.range,
            n_bytes: size_bytes(&region.shape, self.dtype),
            ..Launch::default()
        };
        Some(routine.launch(launch, 2))
    }
}

struct ShearedReader {
    of: Arc<Sheared>,
    inner: Box<dyn Reader>,
    buffer: Buffer,
}

impl ShearedReader {
    /// One plane, whose place in `region` is `z`, as `float64`.
    fn plane(&mut self, region: &Region, z: u64, coverage: &mut Coverage) -> Result<Vec<f64>> {
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
        for absent in block.coverage.absent().iter().filter(|_| of.skips) {
            // What lies less than an element beside it is made of it too.
            let within = |i: f64| i.clamp(from as f64, (from + length) as f64) as u64;
            let start = within((absent.origin[of.along] as f64 - 1.0 + of.offset(z)).floor() + 1.0);
            let end = within((absent.end(of.along) as f64 + of.offset(z)).ceil());
            let mut outer = absent.clone();
            (outer.origin[of.along], outer.shape[of.along]) = (start, end - start);
            coverage.lacks_also(outer);
        }
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
        let mut coverage = Coverage::default();
        for k in 0..region.shape[over] {
            let plane = self.plane(region, region.origin[over] + k, &mut coverage)?;
            let mut place = Region::whole(&region.shape);
            (place.origin[over], place.shape[over]) = (k, 1);
            let mut bytes = Buffer::default();
            convert(DType::Float64, bytemuck::cast_slice(&plane), dtype, bytes.sized(plane.len() * dtype.size()));
            target.part(&place).paste(bytes.bytes());
        }
        Ok(coverage)
    }

    fn release(self: Box<Self>) -> Scratch {
        self.inner.release()
    }
}
