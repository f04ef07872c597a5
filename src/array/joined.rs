//! Arrays one behind the other along an axis.

use std::sync::Arc;

use super::{Array, Reader, Scratch};
use crate::axis::Axis;
use crate::block::{Coverage, Target};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::Region;

/// Several arrays, joined.
pub struct Joined {
    parts: Vec<Arc<dyn Array>>,
    /// Where each begins, and where the last one ends.
    starts: Vec<u64>,
    axes: Vec<Axis>,
    axis: usize,
}

impl Joined {
    /// `parts`, whose axes and types are alike, one behind the other along the axis called `name`.
    ///
    /// # Errors
    /// `Usage` if they are not alike, or have no such axis.
    pub fn new(parts: Vec<Arc<dyn Array>>, name: &str) -> Result<Self> {
        let [first, ..] = &parts[..] else { return Err(Error::usage("nothing to join")) };
        let axis = crate::axis::position(first.axes(), name)
            .ok_or_else(|| Error::usage(format!("there is no axis {name} to join along")))?;
        let told =
            |axes: &[Axis]| axes.iter().map(|a| format!("{}={}", a.name, a.length)).collect::<Vec<_>>().join(", ");
        for part in &parts {
            let alike = |(i, (a, b)): (usize, (&Axis, &Axis))| a.name == b.name && (i == axis || a.length == b.length);
            let same_rank = part.axes().len() == first.axes().len();
            if !same_rank || !first.axes().iter().zip(part.axes()).enumerate().all(alike) {
                let (one, other) = (told(first.axes()), told(part.axes()));
                return Err(Error::usage(format!("{one} and {other} do not fit one behind the other along {name}")));
            }
            if part.dtype() != first.dtype() {
                return Err(Error::usage(format!("joins {} and {}", first.dtype(), part.dtype())));
            }
        }
        let mut starts = vec![0];
        parts.iter().for_each(|part| starts.push(starts[starts.len() - 1] + part.axes()[axis].length));
        let mut axes = first.axes().to_vec();
        let along: Vec<&Axis> = parts.iter().map(|part| &part.axes()[axis]).collect();
        axes[axis] = crate::axis::joined(&along);
        // Names that are known stay, also where others are not.
        let label = |part: &Axis, i: u64| part.labels.as_ref().and_then(|labels| labels.get(i as usize).cloned());
        let labels = along.iter().flat_map(|part| (0..part.length).map(|i| label(part, i)));
        let has_labels = along.iter().any(|part| part.labels.is_some());
        axes[axis].labels = has_labels.then(|| crate::axis::numbered(name, labels));
        Ok(Self { parts, starts, axes, axis })
    }

    /// The parts that share an element with `region`: number, what is read of it, and where that goes in the region.
    fn shares(&self, region: &Region) -> impl Iterator<Item = (usize, Region, Region)> {
        let (from, to) = (region.origin[self.axis], region.end(self.axis));
        let share = |i: usize| {
            let (start, end) = (from.max(self.starts[i]), to.min(self.starts[i + 1]));
            (start < end).then(|| {
                let (mut own, mut place) = (region.clone(), Region::whole(&region.shape));
                (own.origin[self.axis], own.shape[self.axis]) = (start - self.starts[i], end - start);
                (place.origin[self.axis], place.shape[self.axis]) = (start - from, end - start);
                (i, own, place)
            })
        };
        (0..self.parts.len()).filter_map(share).collect::<Vec<_>>().into_iter()
    }
}

impl Array for Joined {
    fn axes(&self) -> &[Axis] {
        &self.axes
    }

    fn original(&self, at: &[u64]) -> Vec<u64> {
        let (mut own, part) = (at.to_vec(), self.starts.partition_point(|&start| start <= at[self.axis]) - 1);
        own[self.axis] -= self.starts[part];
        self.parts[part].original(&own)
    }

    fn dtype(&self) -> DType {
        self.parts[0].dtype()
    }

    fn fill(&self) -> Option<&[u8]> {
        self.parts[0].fill()
    }

    fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        if axis != self.axis {
            return self.parts[0].grain(axis, at);
        }
        let i = self.starts.partition_point(|&start| start <= at).clamp(1, self.parts.len()) - 1;
        let (from, to) = self.parts[i].grain(axis, at - self.starts[i]);
        (self.starts[i] + from, (self.starts[i] + to).min(self.starts[i + 1]).max(at))
    }

    fn coded(&self) -> bool {
        self.parts.iter().any(|part| part.coded())
    }

    fn needs(&self, shape: &[u64]) -> u64 {
        self.parts.iter().map(|part| part.needs(shape)).max().unwrap_or(0)
    }

    fn held_bytes(&self) -> u64 {
        super::held_together(self.parts.iter())
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        Box::new(JoinedReader { of: self, open: None, scratch })
    }
}

/// One worker's way to read joined arrays: one of them at a time.
struct JoinedReader {
    of: Arc<Joined>,
    open: Option<(usize, Box<dyn Reader>)>,
    scratch: Scratch,
}

impl JoinedReader {
    fn part(&mut self, number: usize) -> &mut Box<dyn Reader> {
        let reader = match self.open.take() {
            Some((open, reader)) if open == number => reader,
            other => {
                if let Some((_, reader)) = other {
                    self.scratch = reader.release();
                }
                Arc::clone(&self.of.parts[number]).reader(std::mem::take(&mut self.scratch))
            }
        };
        &mut self.open.insert((number, reader)).1
    }
}

impl Reader for JoinedReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        super::check_read(&*self.of, region, target)?;
        let of = Arc::clone(&self.of);
        let mut coverage = Coverage::default();
        for (number, own, place) in of.shares(region) {
            let found = self.part(number).read(&own, &mut target.part(&place))?;
            coverage.take(&found, |absent| {
                let mut outer = absent.clone();
                outer.origin[of.axis] += of.starts[number];
                Some(outer)
            });
        }
        Ok(coverage)
    }

    fn prefetch(&mut self, region: &Region) {
        for (number, own, _) in self.of.shares(region) {
            if let Some((_, reader)) = self.open.as_mut().filter(|open| open.0 == number) {
                reader.prefetch(&own);
            }
        }
    }

    fn release(self: Box<Self>) -> Scratch {
        self.open.map_or(self.scratch, |(_, reader)| reader.release())
    }
}
