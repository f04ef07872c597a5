//! An array that devices make of what processors read.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::opencl::Staging;
use super::{Brought, Devices};
use crate::array::kernel::{Elsewhere, Load, OnDevice, Routine};
use crate::array::{Array, Derived, Reader, Scratch, check_read, extend};
use crate::axis::Axis;
use crate::block::{Coverage, Target, size_bytes};
use crate::dtype::DType;
use crate::error::Result;
use crate::grid::Region;

/// The array `inner`, made by devices.
pub struct Offloaded {
    inner: Arc<dyn Array>,
    devices: Arc<Devices>,
}

impl Offloaded {
    /// `array` as `devices` make it; as it is if it has no kernels.
    pub fn of(array: Arc<dyn Array>, devices: &Arc<Devices>) -> Arc<dyn Array> {
        match array.on_device() {
            Some(_) => Arc::new(Self { inner: array, devices: Arc::clone(devices) }),
            None => array,
        }
    }
}

impl Array for Offloaded {
    fn axes(&self) -> &[Axis] {
        self.inner.axes()
    }

    fn dtype(&self) -> DType {
        self.inner.dtype()
    }

    fn fill(&self) -> Option<&[u8]> {
        self.inner.fill()
    }

    fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        self.inner.grain(axis, at)
    }

    fn coded(&self) -> bool {
        self.inner.coded()
    }

    // What goes in and comes out is staged instead of held: plans do not depend on devices.
    fn needs(&self, shape: &[u64]) -> u64 {
        self.inner.needs(shape)
    }

    fn held_bytes(&self) -> u64 {
        self.inner.held_bytes()
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        let (own, readers, brought, result) = (None, Vec::new(), Vec::new(), None);
        Box::new(OffloadedReader { of: self, own, readers, brought, result, scratch: Some(scratch) })
    }

    fn derived(&self) -> Option<&dyn Derived> {
        self.inner.derived()
    }

    fn original(&self, at: &[u64]) -> Vec<u64> {
        self.inner.original(at)
    }

    fn on_device(&self) -> Option<&dyn OnDevice> {
        self.inner.on_device()
    }
}

/// Arrays with readers of them.
type OpenReaders = Vec<(Arc<dyn Array>, Box<dyn Reader>)>;

struct OffloadedReader {
    of: Arc<Offloaded>,
    /// What reads what is left to the processors.
    own: Option<Box<dyn Reader>>,
    /// Readers of what is brought.
    readers: OpenReaders,
    brought: Vec<Staging>,
    result: Option<Staging>,
    scratch: Option<Scratch>,
}

impl OffloadedReader {
    /// Reads `region` by devices. Nothing if it is left to the processors: where they are faster or devices failed, where
    /// something is absent, and where an element ends the run or loses digits, which they say
    /// better.
    fn offloaded(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Option<Coverage>> {
        let of = Arc::clone(&self.of);
        let n_bytes = size_bytes(&region.shape, of.dtype());
        let Some(routine) = Routine::of(&*of.inner, region).filter(|r| of.devices.takes(r, n_bytes)) else {
            return Ok(None);
        };
        let mut coverage = Coverage::default();
        for (i, load) in routine.loads.iter().enumerate() {
            if let Err(e) = staged(&mut self.brought, i, load.n_bytes(), &of.devices) {
                return of.devices.failed(e).map(|()| None);
            }
            let bytes = &mut self.brought[i].bytes_mut()[..load.n_bytes() as usize];
            let (reader, shape) = (reader(&mut self.readers, &mut self.scratch, load), load.array.shape());
            let at = (&load.origin[..], &load.lengths[..]);
            let found = extend::read(reader, (&shape, load.array.dtype()), at, &load.edges, bytes)?;
            if !found.absent().is_empty() {
                return Ok(None);
            }
            coverage.take(&found, |_| None);
        }
        let mut result: Vec<Staging> = self.result.take().into_iter().collect();
        let done = staged(&mut result, 0, n_bytes, &of.devices).and_then(|()| {
            let out = &mut result[0].bytes_mut()[..n_bytes as usize];
            of.devices.run(&routine, Brought::Pinned(&self.brought), &mut [out])
        });
        self.result = result.pop();
        let counts = match done {
            Ok(counts) => counts,
            Err(e) => return of.devices.failed(e).map(|()| None),
        };
        if counts.iter().any(|c| c[4] > 0) {
            return Ok(None);
        }
        for (launch, [clipped, zero, nan, infinite, _]) in routine.launches.iter().zip(counts) {
            if let Some(tally) = &launch.tally {
                tally.add([clipped, zero, nan, infinite, 0].map(u64::from));
            }
        }
        if let Some(result) = &self.result {
            target.paste(&result.bytes()[..n_bytes as usize]);
        }
        of.devices.n_parts.fetch_add(1, Ordering::Relaxed);
        Ok(Some(coverage))
    }
}

/// Sees to it that number `i` of `stagings` has `n_bytes`.
fn staged(stagings: &mut Vec<Staging>, i: usize, n_bytes: u64, devices: &Devices) -> Result<()> {
    if stagings.get(i).is_some_and(|s| s.bytes().len() as u64 >= n_bytes) {
        return Ok(());
    }
    stagings.truncate(i);
    stagings.push(devices.context.staging(n_bytes)?);
    Ok(())
}

/// The reader of what `load` brings.
fn reader<'a>(readers: &'a mut OpenReaders, scratch: &mut Option<Scratch>, load: &Load) -> &'a mut dyn Reader {
    let found = readers.iter().position(|r| Arc::ptr_eq(&r.0, &load.array));
    let number = found.unwrap_or_else(|| {
        let array = Arc::clone(&load.array);
        readers.push((Arc::clone(&array), array.reader(scratch.take().unwrap_or_default())));
        readers.len() - 1
    });
    &mut *readers[number].1
}

impl Reader for OffloadedReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        check_read(&*self.of, region, target)?;
        if region.is_empty() {
            return Ok(Coverage::default());
        }
        if let Some(coverage) = self.offloaded(region, target)? {
            return Ok(coverage);
        }
        self.of.devices.leave();
        (self.brought, self.result) = (Vec::new(), None);
        let inner = &self.of.inner;
        self.own.get_or_insert_with(|| Arc::clone(inner).reader(Scratch::default())).read(region, target)
    }

    fn prefetch(&mut self, region: &Region) {
        let Some(routine) = Routine::of(&*self.of.inner, region) else { return };
        for load in &routine.loads {
            let inside = extend::inside(&load.array.shape(), &load.origin, &load.lengths);
            reader(&mut self.readers, &mut self.scratch, load).prefetch(&inside);
        }
    }

    fn release(self: Box<Self>) -> Scratch {
        let mut readers = self.readers.into_iter().map(|r| r.1).chain(self.own);
        self.scratch.unwrap_or_else(|| readers.next().map_or_else(Scratch::default, |r| r.release()))
    }
}
