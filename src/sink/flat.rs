//! Outputs whose elements lie one behind the other in one file, behind a head: a place for every element is
//! known before the first is written.
//!
//! To a file, blocks are written where they belong, in any order and by any thread. To a stream they go as
//! they are merged, which is from the first element to the last.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::{OutputOptions, Spec};
use crate::block::{Block, size_bytes, walk};
use crate::consume::{Consumer, Desk, Job, Merger, Part, Place, Product, Taker};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{n_elements, row_major_strides};
use crate::plan::{Cost, Task, Wants};
use crate::store::{OutputKind, Store, Stored};

/// Where elements go in a file.
pub(crate) struct Placement {
    /// Bytes before the first element.
    pub(crate) start: u64,
    /// Distances in bytes between neighbours along each axis.
    pub(crate) strides: Vec<u64>,
}

impl Placement {
    /// Row-major behind `start` bytes.
    pub(crate) fn row_major(start: u64, shape: &[u64], dtype: DType) -> Self {
        let size = dtype.size() as u64;
        Self { start, strides: row_major_strides(shape).iter().map(|s| s.saturating_mul(size)).collect() }
    }
}

/// Writes what stands before the elements.
pub(crate) type Head = Box<dyn Fn(&Store) -> Result<()> + Send + Sync>;

/// Writes what goes by the checksum of all elements, when they are there.
pub(crate) type Tail = Box<dyn Fn(&Store, RunningSum) -> Result<()> + Send + Sync>;

/// CRC-32 of bytes, and how many they are.
#[derive(Clone, Copy, Default)]
pub(crate) struct RunningSum {
    crc: u32,
    n_bytes: u64,
}

impl RunningSum {
    fn of(bytes: &[u8]) -> Self {
        Self { crc: libdeflater::crc32(bytes), n_bytes: bytes.len() as u64 }
    }

    /// The checksum of these bytes behind those of the checksum `before`.
    pub(crate) fn behind(self, before: u32) -> u32 {
        let (before, own) = (u64::from(before), u64::from(self.crc));
        crc_fast::checksum_combine(crc_fast::CrcAlgorithm::Crc32IsoHdlc, before, own, self.n_bytes) as u32
    }

    /// That of these bytes and of `other` ones behind them.
    fn then(self, other: Self) -> Self {
        Self { crc: other.behind(self.crc), n_bytes: self.n_bytes + other.n_bytes }
    }

    fn save(self) -> Vec<u8> {
        [&self.crc.to_le_bytes()[..], &self.n_bytes.to_le_bytes()].concat()
    }

    fn load(state: &[u8]) -> Result<Self> {
        let parts = state.split_first_chunk().and_then(|(crc, rest)| Some((*crc, rest.try_into().ok()?)));
        let (crc, n_bytes) =
            parts.ok_or_else(|| Error::format("a checksum that was kept is damaged: use --restart"))?;
        Ok(Self { crc: u32::from_le_bytes(crc), n_bytes: u64::from_le_bytes(n_bytes) })
    }
}

/// An array on its way into one file or stream.
pub(super) struct FlatSink {
    shape: Vec<u64>,
    dtype: DType,
    placement: Placement,
    to: Destination,
    tail: Option<Tail>,
    sum: SumPlace,
}

/// Where the checksum of a file stands.
#[derive(Clone, Copy)]
enum SumPlace {
    Nowhere,
    /// In blanks of the head.
    Head,
    /// Behind all else.
    End,
}

#[allow(clippy::large_enum_variant)] // There is one of it.
enum Destination {
    File { place: Place, head: Head },
    Stream { head: Vec<u8>, stream: Mutex<Box<dyn Write + Send>> },
}

impl FlatSink {
    /// Elements of `spec` go to a file called `path`, behind what `head` writes, where `placement` says.
    ///
    /// # Errors
    /// `Usage` if no file can be so long, or something stands under the name.
    pub(crate) fn file(
        path: &Path,
        spec: &Spec,
        options: &OutputOptions,
        head: Head,
        placement: Placement,
    ) -> Result<Self> {
        let end = placement.start.saturating_add(size_bytes(&spec.shape(), spec.dtype));
        if end > i64::MAX as u64 {
            return Err(Error::usage(format!("{}: no file can hold {end} bytes", path.display())));
        }
        let OutputOptions { overwrite, durability, .. } = *options;
        options.check_free(path, OutputKind::File)?;
        let to = Destination::File { place: Place::new(path, OutputKind::File, overwrite, durability), head };
        // Where nothing says what the elements are, all bytes are elements.
        let sum = if placement.start == 0 { SumPlace::Nowhere } else { SumPlace::End };
        Ok(Self { shape: spec.shape(), dtype: spec.dtype, placement, to, tail: None, sum })
    }

    /// The same, whose elements follow one another row-major, with `tail` behind them.
    pub(crate) fn ended(self, tail: Tail) -> Self {
        Self { tail: Some(tail), ..self }
    }

    /// The same, of which the head has blanks for a checksum.
    pub(crate) fn npy(self) -> Self {
        let sum = if self.placement.start == 0 { SumPlace::Nowhere } else { SumPlace::Head };
        Self { sum, ..self }
    }

    /// The same, without a checksum.
    pub(crate) fn unsigned(self) -> Self {
        Self { sum: SumPlace::Nowhere, ..self }
    }

    /// Elements of `spec` go to `stream`, behind `head`, row-major.
    pub(crate) fn stream(spec: &Spec, stream: Box<dyn Write + Send>, head: Vec<u8>) -> Self {
        let placement = Placement::row_major(head.len() as u64, &spec.shape(), spec.dtype);
        let to = Destination::Stream { head, stream: Mutex::new(stream) };
        Self { shape: spec.shape(), dtype: spec.dtype, placement, to, tail: None, sum: SumPlace::Nowhere }
    }

    /// Checksums of units that earlier runs have finished.
    fn known(&self, store: &Store) -> Result<BTreeMap<u64, RunningSum>> {
        let mut sums = BTreeMap::new();
        store.records(|record| {
            if store.done().contains(&record.unit) {
                sums.insert(record.unit, RunningSum::load(&record.state)?);
            }
            Ok(())
        })?;
        Ok(sums)
    }

    /// Writes a block's dense runs where they belong.
    fn put(&self, store: &Store, block: &Block) -> Result<Option<Stored>> {
        let region = block.region();
        if region.is_empty() {
            return Ok(None);
        }
        let size = self.dtype.size() as u64;
        // The last axes that are dense in the file and whole in the block, and one more that is cut.
        let (mut axis, mut run) = (self.shape.len(), 1u64);
        while axis > 0 && (self.shape[axis - 1] == 1 || self.placement.strides[axis - 1] == run * size) {
            axis -= 1;
            run *= region.shape[axis];
            if region.shape[axis] != self.shape[axis] {
                break;
            }
        }
        let strides: Vec<isize> = self.placement.strides.iter().map(|&s| s as isize).collect();
        let first: u64 = region.origin.iter().zip(&self.placement.strides).map(|(o, s)| o * s).sum();
        let mut rest = block.bytes();
        let mut done: Result<Option<Stored>> = Ok(None);
        walk(&region.shape[..axis], &strides, &strides, |offset, _| {
            let (now, after) = rest.split_at((run * size) as usize);
            if let Ok(before) = &mut done {
                let at = (self.placement.start + first).wrapping_add_signed(offset as i64);
                match store.put_at(at, now) {
                    // The first of them.
                    Ok(stored) => _ = before.get_or_insert(stored),
                    Err(e) => done = Err(e),
                }
            }
            rest = after;
        });
        let runs: Vec<_> = region.shape.iter().zip(&strides).take(axis).map(|(&n, &step)| (n, step as i64)).collect();
        Ok(done?.map(|first| match n_elements(&region.shape[..axis]) {
            1 => first,
            _ => Stored { crc: crc32c::crc32c(block.bytes()), runs, ..first },
        }))
    }
}

fn stream_error(e: std::io::Error) -> Error {
    Error::io(Path::new("standard output"), "cannot write", e)
}

impl Consumer for FlatSink {
    fn wants(&self) -> Wants {
        // Whole rows; the boxes that a plan makes of them in order follow one another without a gap.
        let mut unit = vec![1; self.shape.len()];
        if let (Some(last), Some(length)) = (unit.last_mut(), self.shape.last()) {
            *last = (*length).max(1);
        }
        let in_order = matches!(self.to, Destination::Stream { .. }) || self.tail.is_some();
        Wants { object: unit.clone(), unit, across: true, in_order, folds: None }
    }

    fn cost(&self, task: &[u64], _piece: &[u64]) -> Cost {
        let kept = match self.to {
            Destination::File { .. } => 0,
            Destination::Stream { .. } => size_bytes(task, self.dtype),
        };
        Cost { kept_bytes: kept + (4 << 10), ..Cost::default() }
    }

    fn held_bytes(&self) -> u64 {
        64 << 10
    }

    fn begin(&mut self, job: &Job) -> Result<()> {
        match &mut self.to {
            Destination::File { place, head } => {
                place.begin(job)?;
                head(place.open()?)
            }
            Destination::Stream { head, stream } => {
                stream.get_mut().unwrap_or_else(PoisonError::into_inner).write_all(head).map_err(stream_error)
            }
        }
    }

    fn place(&self) -> Option<&Place> {
        match &self.to {
            Destination::File { place, .. } => Some(place),
            Destination::Stream { .. } => None,
        }
    }

    fn place_mut(&mut self) -> Option<&mut Place> {
        match &mut self.to {
            Destination::File { place, .. } => Some(place),
            Destination::Stream { .. } => None,
        }
    }

    fn taker<'a>(&'a self, _task: &Task) -> Result<Box<dyn Taker + 'a>> {
        Ok(Box::new(Rows { sink: self, bytes: Vec::new(), stored: Vec::new(), sum: RunningSum::default() }))
    }

    fn merger(&self) -> Box<dyn Merger + '_> {
        let place = self.place();
        let known = place.map_or_else(
            || Ok(BTreeMap::new()),
            |place| {
                let units = place.store().filter(|_| self.tail.is_some());
                units.map_or_else(|| Ok(BTreeMap::new()), |store| self.known(store))
            },
        );
        Box::new(FlatMerger { sink: self, n_written: 0, stored: Vec::new(), sum: RunningSum::default(), sums: known })
    }
}

/// Takes the blocks of one task, which follow one another.
struct Rows<'a> {
    sink: &'a FlatSink,
    bytes: Vec<u8>,
    /// Where they are in the file.
    stored: Vec<Stored>,
    /// Of all of them, if it is wanted.
    sum: RunningSum,
}

impl Taker for Rows<'_> {
    fn take(&mut self, block: &Block, _desk: &mut Desk) -> Result<()> {
        match &self.sink.to {
            Destination::File { place, .. } => {
                let stored = self.sink.put(place.open()?, block)?;
                stored.into_iter().for_each(|stored| stored.add_to(&mut self.stored));
                if self.sink.tail.is_some() {
                    self.sum = self.sum.then(RunningSum::of(block.bytes()));
                }
                Ok(())
            }
            Destination::Stream { .. } => {
                self.bytes.extend_from_slice(block.bytes());
                Ok(())
            }
        }
    }

    fn end(&mut self, _desk: &mut Desk) -> Result<Option<Part>> {
        Ok(Some(match self.sink.to {
            Destination::File { .. } => {
                Part::Many(vec![Part::Stored(std::mem::take(&mut self.stored)), Part::State(self.sum.save())])
            }
            Destination::Stream { .. } => Part::Bytes { pieces: Vec::new(), bytes: std::mem::take(&mut self.bytes) },
        }))
    }
}

/// Counts what has come, and sends it down the stream.
struct FlatMerger<'a> {
    sink: &'a FlatSink,
    n_written: u64,
    /// Of the unit in hand.
    stored: Vec<Stored>,
    sum: RunningSum,
    /// Of all units, by number, if they are wanted.
    sums: Result<BTreeMap<u64, RunningSum>>,
}

impl Merger for FlatMerger<'_> {
    fn merge(&mut self, task: &Task, part: Part) -> Result<()> {
        match (part, &self.sink.to) {
            (Part::Bytes { bytes, .. }, Destination::Stream { stream, .. }) => {
                let strides = row_major_strides(&self.sink.shape);
                let first: u64 = task.region.origin.iter().zip(&strides).map(|(o, s)| o * s).sum();
                if first != self.n_written {
                    return Err(Error::format(format!("a block at element {first} came after {}", self.n_written)));
                }
                stream.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes).map_err(stream_error)?;
            }
            (Part::Many(parts), Destination::File { place, .. }) => {
                for part in parts {
                    match part {
                        Part::Stored(stored) => stored.into_iter().for_each(|s| s.add_to(&mut self.stored)),
                        Part::State(state) => self.sum = self.sum.then(RunningSum::load(&state)?),
                        _ => return Err(Error::format("a part of another consumer")),
                    }
                }
                if task.ends_unit {
                    let sum = std::mem::take(&mut self.sum);
                    place.open()?.record(task.unit, &std::mem::take(&mut self.stored), &sum.save())?;
                    self.sums.as_mut().map_err(Error::format)?.insert(task.unit, sum);
                }
            }
            _ => return Err(Error::format("a part of another consumer")),
        }
        self.skip(task)
    }

    fn skip(&mut self, task: &Task) -> Result<()> {
        self.n_written += task.region.n_elements();
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Product>> {
        let expected = n_elements(&self.sink.shape);
        if self.n_written != expected {
            return Err(Error::format(format!("{} elements were written, not {expected}", self.n_written)));
        }
        let product = match &self.sink.to {
            Destination::File { place, .. } => {
                if let Some(tail) = &self.sink.tail {
                    let ended = self.sums?.into_values().fold(RunningSum::default(), RunningSum::then);
                    // Of bands that are put together no unit ends here.
                    tail(place.open()?, ended.then(self.sum))?;
                }
                match self.sink.sum {
                    SumPlace::Nowhere => {}
                    SumPlace::Head => place.open()?.sign(Some(self.sink.placement.start))?,
                    SumPlace::End => place.open()?.sign(None)?,
                }
                Product::at(place.path())
            }
            Destination::Stream { stream, .. } => {
                match stream.lock().unwrap_or_else(PoisonError::into_inner).flush() {
                    Err(e) if e.kind() != ErrorKind::Unsupported => return Err(stream_error(e)),
                    _ => {}
                }
                let bytes = self.sink.placement.start + size_bytes(&self.sink.shape, self.sink.dtype);
                Product { bytes, ..Product::default() }
            }
        };
        Ok(vec![product])
    }
}
