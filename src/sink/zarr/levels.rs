//! Levels below the full resolution: how each is cut so that one plan suits all of them, and chunks of a level that
//! several tasks share.
//!
//! A task begins where windows of every level begin, so it makes its own part of every level. Parts that are whole
//! chunks are encoded by the task's worker. Of deep levels, where a chunk stands for more than a task, the parts come
//! as elements, and chunks are put together as they are merged: within one shard of the full resolution, so that
//! units end with whole objects of every level.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::array::{ArrayWriter, Container, Shards};
use super::{ZarrOptions, ngff};
use crate::block::{Block, size_bytes};
use crate::consume::levels::{Method, factors, halve, halved, multiple};
use crate::consume::{Desk, Part, Taker};
use crate::error::{Error, Result};
use crate::grid::{Grid, Region, n_elements};
use crate::plan::{Cost, Task, Wants};
use crate::sink::Spec;
use crate::store::{Store, Stored};

/// Chunks of a level are thinner by this at most than those of the full resolution.
const MOST_THIN: u64 = 4;

/// A level below the full resolution.
pub(crate) struct Level {
    /// Elements of the level before it that one of its elements stands for, along each axis.
    pub(crate) step: Vec<u64>,
    /// The same in elements of the full resolution.
    pub(crate) factor: Vec<u64>,
    /// How it is stored.
    pub(crate) spec: Spec,
    pub(crate) options: ZarrOptions,
    pub(crate) array: ArrayWriter,
}

/// The levels that `options` ask for below the array of `spec`.
///
/// # Errors
/// `Usage` if the array is no image, or shards cannot hold whole chunks of every level.
pub(crate) fn levels(spec: &Spec, options: &ZarrOptions) -> Result<Vec<Level>> {
    let steps = factors(&spec.axes, options.image.levels);
    if steps.is_empty() {
        return Ok(Vec::new());
    }
    options.image.method.check(spec.dtype)?;
    if let Some(why) = ngff::misfit(&spec.axes) {
        return Err(Error::usage(format!("levels are for images, but {why}: use --levels none")));
    }
    if options.image.plain {
        return Err(Error::usage("--plain writes one array without levels: use --levels none, or leave --plain out"));
    }
    let mut factor = vec![1u64; spec.axes.len()];
    let one = |(i, step): (usize, Vec<u64>)| {
        factor.iter_mut().zip(&step).for_each(|(f, s)| *f *= s);
        Level::new(i + 1, step, factor.clone(), spec, options)
    };
    steps.into_iter().enumerate().map(one).collect()
}

/// The parts that every one of `levels` has of `block`, halved by `method`.
///
/// # Errors
/// `Io`.
pub(crate) fn parts(
    levels: &[Level],
    block: &Block,
    method: Method,
    fill: &[u8],
    store: &Store,
    desk: &mut Desk,
) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut before: Option<Block> = None;
    for level in levels {
        let next = halve(before.as_ref().unwrap_or(block), &level.step, method, fill)?;
        parts.push(level.part(&next, store, desk)?);
        before = Some(next);
    }
    Ok(parts)
}

/// Cut that suits the full resolution and all `levels`.
pub(crate) fn wants(shape: &[u64], array: &ArrayWriter, levels: &[Level], is_sharded: bool) -> Wants {
    let (chunk, object) = (array.chunk_shape(), array.object_shape());
    let mut wants =
        Wants { unit: chunk.to_vec(), object: object.to_vec(), across: !is_sharded, in_order: false, folds: None };
    for i in 0..shape.len() {
        // An axis that is not cut begins where windows do.
        if chunk[i] < shape[i] {
            wants.unit[i] = levels.iter().fold(chunk[i], |unit, level| multiple(unit, level.factor[i]));
        }
        let whole = |l: &Level| l.array.object_shape()[i] >= l.spec.axes[i].length;
        let reach = |object: u64, l: &Level| {
            let of_level = l.array.object_shape()[i].saturating_mul(l.factor[i]);
            if whole(l) { object.max(shape[i]) } else { multiple(object, of_level) }
        };
        let object = if object[i] >= shape[i] { object[i] } else { levels.iter().fold(object[i], reach) };
        wants.object[i] = object.next_multiple_of(wants.unit[i]);
    }
    wants
}

impl Level {
    fn new(number: usize, step: Vec<u64>, factor: Vec<u64>, full: &Spec, options: &ZarrOptions) -> Result<Self> {
        let mut spec = full.clone();
        for (axis, f) in spec.axes.iter_mut().zip(&factor) {
            axis.length = axis.length.div_ceil(*f);
        }
        // Thin chunks are whole chunks of small tasks, and little is held of those that tasks share.
        let space = ngff::space(&full.axes);
        let slow = &space[..space.len().saturating_sub(1)];
        let cuts: Vec<(u64, u64)> = (0..factor.len())
            .map(|i| {
                let (chunk, length) = (options.chunks[i], spec.axes[i].length);
                let by = if slow.contains(&i) { factor[i].min(MOST_THIN) } else { 1 };
                let wished = if chunk.is_multiple_of(by) { chunk / by } else { chunk }.min(length).max(1);
                match options.shards.as_ref().map(|s| s[i]) {
                    Some(shard) if shard < full.axes[i].length => within(shard, factor[i], wished, &full.axes[i].name),
                    _ => Ok((wished, length.div_ceil(wished) * wished)),
                }
            })
            .collect::<Result<_>>()?;
        let mut options = options.clone();
        options.chunks = cuts.iter().map(|c| c.0).collect();
        options.shards = options.shards.map(|_| cuts.iter().map(|c| c.1).collect());
        Self::cut(number, step, factor, full, &options)
    }

    /// Level `number` of the array of `full`, cut as `options` say.
    ///
    /// # Errors
    /// As [`ArrayWriter::new`].
    pub(crate) fn cut(
        number: usize,
        step: Vec<u64>,
        factor: Vec<u64>,
        full: &Spec,
        options: &ZarrOptions,
    ) -> Result<Self> {
        let mut spec = full.clone();
        spec.axes.iter_mut().zip(&factor).for_each(|(axis, f)| axis.length = axis.length.div_ceil(*f));
        let array = ArrayWriter::new(&number.to_string(), &spec, options)?;
        Ok(Self { step, factor, spec, options: options.clone(), array })
    }

    /// The part of the level that a task of `region` makes.
    pub(crate) fn region(&self, region: &Region) -> Region {
        halved(region, &self.factor)
    }

    /// Memory of the level's part of a task of shape `task`: while it is made, and until it is merged.
    pub(crate) fn cost(&self, task: &[u64]) -> Cost {
        let (chunk, shape) = (self.array.chunk_shape(), crate::axis::shape(&self.spec.axes));
        let part: Vec<u64> = task.iter().zip(&self.factor).map(|(t, f)| t.div_ceil(*f)).collect();
        let part_bytes = size_bytes(&part, self.spec.dtype);
        let is_whole = (0..part.len()).all(|i| part[i] >= chunk[i].min(shape[i]));
        let n_chunks = n_elements(&part.iter().zip(chunk).map(|(p, c)| p.div_ceil(*c)).collect::<Vec<_>>());
        let kept_bytes = if is_whole { self.array.kept_bytes(n_chunks) } else { part_bytes };
        Cost { work_bytes: part_bytes, kept_bytes, ..Cost::default() }
    }

    /// Memory that stays in use: the shard's index, and chunks that tasks cut as multiples of `unit` share.
    pub(crate) fn held_bytes(&self, unit: &[u64], object: &[u64]) -> u64 {
        let (chunk, shape) = (self.array.chunk_shape(), crate::axis::shape(&self.spec.axes));
        let shared = |i: usize| {
            let here = chunk[i].min(shape[i]).saturating_mul(self.factor[i]);
            unit[i].div_ceil(self.factor[i]) < shape[i] && !unit[i].is_multiple_of(here)
        };
        let Some(axis) = (0..shape.len()).find(|&i| shared(i)) else { return self.array.held_bytes() };
        // Tasks follow one another along the fastest axes first.
        let all = |i: usize| object[i].div_ceil(self.factor[i]).min(shape[i]).next_multiple_of(chunk[i]);
        let slab: Vec<u64> = (0..shape.len()).map(|i| if i > axis { all(i) } else { chunk[i] }).collect();
        self.array
            .held_bytes()
            .saturating_add(size_bytes(&slab, self.spec.dtype))
            .saturating_add(self.array.write_bytes(1))
    }

    /// What a task's worker makes of its part.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn part(&self, block: &Block, store: &Store, desk: &mut Desk) -> Result<Part> {
        let region = block.region();
        if *region != region.grown_to(self.array.chunk_shape(), &crate::axis::shape(&self.spec.axes)) {
            return Ok(Part::State(block.bytes().to_vec()));
        }
        encoded(&self.array, block, store, desk)
    }
}

/// Length of chunks of about `wished` elements and of a shard, where a shard of the full resolution is `shard` long.
fn within(shard: u64, factor: u64, wished: u64, axis: &str) -> Result<(u64, u64)> {
    if !shard.is_multiple_of(factor) {
        return Err(Error::usage(format!(
            "levels need shards that are a multiple of {factor} along {axis}, not {shard}: use other --shards, fewer \
             --levels, or --shards none"
        )));
    }
    let shard = shard / factor;
    let off = |n: u64| (n as f64 / wished as f64).ln().abs();
    let divisors = (1..=shard.isqrt()).filter(|n| shard.is_multiple_of(*n)).flat_map(|n| [n, shard / n]);
    let chunk = divisors.min_by(|a, b| off(*a).total_cmp(&off(*b))).unwrap_or(shard);
    Ok((chunk, shard))
}

fn encoded(array: &ArrayWriter, block: &Block, store: &Store, desk: &mut Desk) -> Result<Part> {
    let mut encoder = array.encoder(store);
    encoder.take(block, desk)?;
    encoder.end(desk)?.ok_or_else(|| Error::format("a chunk is encoded in one go"))
}

/// Puts the parts of an array and of its levels together.
pub(crate) struct Resolutions<'a> {
    full: Shards<'a>,
    levels: Vec<LevelMerger<'a>>,
}

impl<'a> Resolutions<'a> {
    /// Of `array` and the `levels` below it.
    pub(crate) fn new(
        array: &'a ArrayWriter,
        levels: &'a [Level],
        store: &'a Store,
        archive: Option<&'a Mutex<dyn Container>>,
    ) -> Self {
        let levels = levels.iter().map(|level| LevelMerger::new(level, store, archive)).collect();
        Self { full: array.shards(store, archive), levels }
    }

    /// Gives the parts of the full resolution and of each level their places; what comes behind them has none.
    ///
    /// # Errors
    /// `Io`; `Format` if the parts are another consumer's.
    pub(crate) fn place(&mut self, task: &Task, part: Part) -> Result<Part> {
        let Part::Many(parts) = part else { return Err(Error::format("a part of another consumer")) };
        let place = |(i, part): (usize, Part)| match i {
            0 => self.full.place(task, part),
            i => match self.levels.get_mut(i - 1) {
                Some(level) => level.place(task, part),
                None => Ok(part),
            },
        };
        parts.into_iter().enumerate().map(place).collect::<Result<_>>().map(Part::Many)
    }

    /// Takes what was [placed](Self::place), and stored there since. Gives the files that it completes, and what came
    /// behind the parts.
    ///
    /// # Errors
    /// As [`Resolutions::place`].
    pub(crate) fn merge(&mut self, part: Part) -> Result<(Vec<Stored>, Option<Part>)> {
        let Part::Many(parts) = part else { return Err(Error::format("a part of another consumer")) };
        let mut parts = parts.into_iter();
        let mut next = || parts.next().ok_or_else(|| Error::format("a part of another consumer"));
        self.full.merge(next()?)?;
        let mut stored = self.full.stored();
        for level in &mut self.levels {
            level.merge(next()?)?;
            stored.extend(level.shards.stored());
        }
        Ok((stored, parts.next()))
    }

    /// Passes over a task that is done.
    pub(crate) fn skip(&mut self, task: &Task) {
        self.full.skip(task);
        self.levels.iter_mut().for_each(|level| level.skip(task));
    }

    /// Says whether all chunks have come.
    ///
    /// # Errors
    /// `Format` if some never did.
    pub(crate) fn finish(self) -> Result<()> {
        self.full.finish()?;
        self.levels.into_iter().try_for_each(|level| level.shards.finish())
    }
}

/// Puts the parts of one level together.
struct LevelMerger<'a> {
    level: &'a Level,
    store: &'a Store,
    shards: Shards<'a>,
    chunks: Grid,
    /// Chunks that tasks share, by position, and the elements that each still lacks.
    open: BTreeMap<Vec<u64>, (Block, u64)>,
    desk: Desk,
}

impl<'a> LevelMerger<'a> {
    fn new(level: &'a Level, store: &'a Store, archive: Option<&'a Mutex<dyn Container>>) -> Self {
        let chunks = Grid::new(&crate::axis::shape(&level.spec.axes), level.array.chunk_shape());
        Self {
            level,
            store,
            shards: level.array.shards(store, archive),
            chunks,
            open: BTreeMap::new(),
            desk: Desk::default(),
        }
    }

    /// Gives what a worker made of `task` its place; of chunks that it shares with other tasks, those that it completes.
    ///
    /// # Errors
    /// `Io`.
    fn place(&mut self, task: &Task, part: Part) -> Result<Part> {
        let region = self.level.region(&task.region);
        match part {
            Part::State(bytes) => self.put_together(task, &region, &bytes).map(Part::Many),
            part => self.shards.place(&Task { region, ..task.clone() }, part),
        }
    }

    /// Takes what was [placed](Self::place), and stored there since.
    ///
    /// # Errors
    /// `Io`.
    fn merge(&mut self, part: Part) -> Result<()> {
        match part {
            Part::Many(parts) => parts.into_iter().try_for_each(|part| self.shards.merge(part)),
            part => self.shards.merge(part),
        }
    }

    fn put_together(&mut self, task: &Task, region: &Region, bytes: &[u8]) -> Result<Vec<Part>> {
        let mut complete = Vec::new();
        for position in self.chunks.overlapping(region) {
            let cell = self.chunks.region(&position);
            let Some(both) = cell.intersect(region) else { continue };
            let (mut block, lacking) = match self.open.remove(&position) {
                Some(open) => open,
                None => (Block::new(cell.clone(), self.level.spec.dtype)?, cell.n_elements()),
            };
            let mut whole = block.target();
            let mut place = whole.part(&both.relative_to(&cell.origin));
            place.paste_part(bytes, &region.shape, &both.relative_to(&region.origin));
            match lacking.saturating_sub(both.n_elements()) {
                0 => {
                    let part = encoded(&self.level.array, &block, self.store, &mut self.desk)?;
                    complete.push(self.shards.place(&Task { region: cell, ..task.clone() }, part)?);
                }
                lacking => drop(self.open.insert(position, (block, lacking))),
            }
        }
        Ok(complete)
    }

    /// Passes over a task that is done; its unit ended with whole chunks, each of which counts once.
    fn skip(&mut self, task: &Task) {
        let region = self.level.region(&task.region);
        for position in self.chunks.overlapping(&region) {
            let cell = self.chunks.region(&position);
            // The task that holds the last element of a chunk is the last that shares it.
            if (0..cell.rank()).all(|i| cell.end(i) <= region.end(i)) {
                self.shards.skip(&Task { region: cell, ..task.clone() });
            }
        }
    }
}
