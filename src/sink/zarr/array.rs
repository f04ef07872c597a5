//! One Zarr array under construction: chunks to files, or chunks to shards.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use super::chunk::{gather, holds_only};
use super::{ZarrFormat, ZarrOptions, metadata};
use crate::block::{Block, size_bytes};
use crate::codec::{Codec, Contexts};
use crate::consume::{Desk, Part, Taker};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{Grid, Region, n_elements};
use crate::plan::{Cost, Task};
use crate::profile::{self, Stage};
use crate::report::tuple;
use crate::sink::Spec;
use crate::store::{Append, Store, Stored};

/// Most chunks in one shard: its index is held in memory while it is written.
pub(crate) const MAX_CHUNKS_PER_SHARD: u64 = 1 << 22;
/// Bytes of an index entry: offset and length.
const ENTRY_BYTES: u64 = 16;
/// An absent chunk, in the index.
const ABSENT: (u64, u64) = (u64::MAX, u64::MAX);

/// One file that takes the chunks of all arrays, in the order in which they are merged.
pub(crate) trait Container: Send {
    /// Takes chunk number `number`, row-major, of `array`.
    ///
    /// # Errors
    /// `Io`.
    fn take(&mut self, store: &Store, array: &ArrayWriter, number: u64, bytes: &[u8]) -> Result<()>;
}

/// What is done to the bytes of a chunk before they are encoded.
pub(crate) type Prepare = Box<dyn Fn(Cow<'_, [u8]>) -> Vec<u8> + Send + Sync>;

/// How one array is cut and encoded.
pub(crate) struct ArrayWriter {
    /// Where its files lie inside the output, without a slash at the end.
    prefix: String,
    format: ZarrFormat,
    dtype: DType,
    /// One element of fill, native order and little-endian.
    fill: (Vec<u8>, Vec<u8>),
    /// Whether readers will see exactly the bits of the fill value in chunks that are not stored.
    may_omit: bool,
    chunks: Grid,
    shards: Option<Grid>,
    /// Whether chunks are entries of an archive.
    is_archived: bool,
    codec: Codec,
    prepare: Option<Prepare>,
}

/// Encodes the chunks of one task.
pub(crate) struct ChunkEncoder<'a> {
    array: &'a ArrayWriter,
    store: &'a Store,
    /// Chunks of one shard that are stored: the number of each in the shard, and its length.
    pieces: Vec<(u64, u64)>,
    bytes: Vec<u8>,
    /// Chunks that are files of their own.
    stored: Vec<Stored>,
}

/// Gives chunks their places in shards, and counts what has come.
pub(crate) struct Shards<'a> {
    array: &'a ArrayWriter,
    store: &'a Store,
    archive: Option<&'a Mutex<dyn Container>>,
    open: Option<OpenShard>,
    /// Files of the unit in hand.
    stored: Vec<Stored>,
    /// Chunks that have been given a place, or passed over.
    n_chunks: u64,
}

/// The shard whose chunks are arriving. Its file is not there before its first chunk with content.
struct OpenShard {
    position: Vec<u64>,
    file: Option<Arc<Append>>,
    index: Vec<(u64, u64)>,
    n_awaited: u64,
}

impl ArrayWriter {
    /// An array that lies under `prefix` in its output.
    ///
    /// # Errors
    /// `Usage` if chunks, shards and codec do not fit each other or the array.
    pub(crate) fn new(prefix: &str, spec: &Spec, options: &ZarrOptions) -> Result<Self> {
        let (shape, dtype) = (spec.shape(), spec.dtype);
        let chunks = grid("chunk", &shape, &options.chunks)?;
        let chunk_bytes = size_bytes(chunks.cell(), dtype);
        options.codec.check_chunk(chunk_bytes)?;
        let shards = match &options.shards {
            None => None,
            Some(_) if options.format == ZarrFormat::V2 => {
                return Err(Error::usage("Zarr v2 has no shards: use --shards none or --zarr-format 3"));
            }
            Some(_) if options.image.is_archived => {
                return Err(Error::usage(
                    "an archive holds chunks themselves: use --shards none, or an output that ends in .zarr",
                ));
            }
            Some(shards) => Some(grid("shard", &shape, shards)?),
        };
        if let Some(shards) = &shards {
            let fits = shards.cell().iter().zip(chunks.cell()).all(|(s, c)| s % c == 0);
            if !fits {
                return Err(Error::usage(format!(
                    "--shards {}: they do not consist of whole chunks of {}: use a multiple along every axis",
                    tuple(shards.cell()),
                    tuple(chunks.cell())
                )));
            }
            let n = n_elements(&chunks_in(shards.cell(), chunks.cell()));
            if n > MAX_CHUNKS_PER_SHARD {
                return Err(Error::usage(format!(
                    "--shards {}: one holds {n} chunks, at most {MAX_CHUNKS_PER_SHARD} are possible: use larger --chunks or smaller shards",
                    tuple(shards.cell())
                )));
            }
        }
        let mut little = spec.fill.clone();
        if cfg!(target_endian = "big") {
            little.chunks_exact_mut(dtype.swap_size()).for_each(<[u8]>::reverse);
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            format: options.format,
            dtype,
            may_omit: metadata::fill_is_exact(options.format, dtype, &little),
            fill: (spec.fill.clone(), little),
            chunks,
            shards,
            is_archived: options.image.is_archived,
            codec: options.codec.clone(),
            prepare: None,
        })
    }

    /// The same in a file of which every chunk has its place, and whose chunks `prepare` changes first.
    pub(crate) fn prepared(self, prepare: Option<Prepare>) -> Self {
        Self { may_omit: false, prepare, ..self }
    }

    /// Path of its files inside the output.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How it is cut.
    pub(crate) fn chunks(&self) -> &Grid {
        &self.chunks
    }

    /// Shape of a chunk.
    pub(crate) fn chunk_shape(&self) -> &[u64] {
        self.chunks.cell()
    }

    /// Shape of what one file holds.
    pub(crate) fn object_shape(&self) -> &[u64] {
        self.shards.as_ref().unwrap_or(&self.chunks).cell()
    }

    /// Files if every one has content.
    pub(crate) fn n_objects(&self) -> u64 {
        self.shards.as_ref().unwrap_or(&self.chunks).len()
    }

    /// Memory of a task of shape `task`.
    pub(crate) fn cost(&self, task: &[u64]) -> Cost {
        Cost { kept_bytes: self.write_bytes(n_elements(&chunks_in(task, self.chunks.cell()))), ..Cost::default() }
    }

    /// Memory that encoding `n_chunks` needs, and what comes of it holds.
    pub(crate) fn write_bytes(&self, n_chunks: u64) -> u64 {
        let chunk_bytes = size_bytes(self.chunks.cell(), self.dtype);
        self.kept_bytes(n_chunks).saturating_add(chunk_bytes).saturating_add(self.codec.context_bytes(chunk_bytes))
    }

    /// Memory of `n_chunks` that have been encoded, until they are stored.
    pub(crate) fn kept_bytes(&self, n_chunks: u64) -> u64 {
        let bound = self.codec.bound(size_bytes(self.chunks.cell(), self.dtype));
        let kept = if self.gathers() { n_chunks } else { 1 };
        bound.saturating_add(ENTRY_BYTES).saturating_mul(kept)
    }

    /// Whether chunks wait to be merged, and are not files by themselves.
    fn gathers(&self) -> bool {
        self.shards.is_some() || self.is_archived
    }

    /// Memory that stays in use from task to task.
    pub(crate) fn held_bytes(&self) -> u64 {
        let per_shard = |s: &Grid| n_elements(&chunks_in(s.cell(), self.chunks.cell()));
        // The index, and its bytes when the shard ends.
        self.shards.as_ref().map_or(0, per_shard).saturating_mul(2 * ENTRY_BYTES)
    }

    /// What encodes the chunks of a task; those that are files of their own are written at once.
    pub(crate) fn encoder<'a>(&'a self, store: &'a Store) -> ChunkEncoder<'a> {
        ChunkEncoder { array: self, store, pieces: Vec::new(), bytes: Vec::new(), stored: Vec::new() }
    }

    /// What takes the parts of all tasks, in plan order.
    pub(crate) fn shards<'a>(&'a self, store: &'a Store, archive: Option<&'a Mutex<dyn Container>>) -> Shards<'a> {
        Shards { array: self, store, archive, open: None, stored: Vec::new(), n_chunks: 0 }
    }

    /// Number of chunks that share an element with `region`.
    fn n_chunks_in(&self, region: &Region) -> u64 {
        let along = |i: usize| region.end(i).div_ceil(self.chunks.cell()[i]) - region.origin[i] / self.chunks.cell()[i];
        (0..region.rank()).map(along).product()
    }

    fn start(&self, shards: &Grid, position: &[u64]) -> OpenShard {
        let per_shard = chunks_in(shards.cell(), self.chunks.cell());
        let here = chunks_in(&shards.region(position).shape, self.chunks.cell());
        let index = vec![ABSENT; n_elements(&per_shard) as usize];
        OpenShard { position: position.to_vec(), file: None, index, n_awaited: n_elements(&here) }
    }

    /// Number of the chunk at `position` among those of its shard, or of all where there is none, row-major.
    fn number_in_shard(&self, position: &[u64]) -> u64 {
        let Some(shards) = &self.shards else { return self.chunks.ravel(position) };
        let per_shard = chunks_in(shards.cell(), self.chunks.cell());
        position.iter().zip(&per_shard).fold(0, |n, (p, count)| n * count + p % count)
    }

    /// What the file at `key` holds, if it is one of this array.
    pub(crate) fn region_of(&self, key: &str) -> Option<Region> {
        let objects = self.shards.as_ref().unwrap_or(&self.chunks);
        let numbers: Vec<u64> = key.rsplit('/').map_while(|part| part.parse().ok()).collect();
        let n_axes = objects.shape().len();
        let position: Vec<u64> = numbers.into_iter().take(n_axes).rev().collect();
        let is_there = position.len() == n_axes && position.iter().zip(objects.counts()).all(|(p, n)| p < n);
        (is_there && self.key(&position) == key).then(|| objects.region(&position))
    }

    /// Path of the file at `position` inside the output.
    pub(crate) fn key(&self, position: &[u64]) -> String {
        metadata::chunk_key(self.format, &self.prefix, position)
    }
}

impl Taker for ChunkEncoder<'_> {
    /// # Panics
    /// If the block does not consist of whole chunks, of one shard.
    fn take(&mut self, block: &Block, desk: &mut Desk) -> Result<()> {
        let array = self.array;
        let (region, cell) = (block.region(), array.chunks.cell());
        assert_eq!(*region, region.grown_to(cell, array.chunks.shape()), "a block consists of whole chunks");
        let size = array.dtype.size();
        let Desk { chunk, encoded, kept } = desk;
        let contexts = kept.get::<Contexts>();
        for position in array.chunks.overlapping(region) {
            let n_bytes = size_bytes(cell, array.dtype);
            let inside = array.chunks.region(&position);
            let fill = &array.fill.0;
            let bytes = profile::stage(Stage::Gather, n_bytes, || gather(block, &inside, cell, fill, &mut *chunk));
            // What was measured is stored, whatever it is: others would take it for what was not.
            if array.may_omit && block.coverage.lacks_all(&inside) && holds_only(&bytes, &array.fill.1) {
                continue;
            }
            let bytes = match &array.prepare {
                Some(prepare) => Cow::Owned(prepare(bytes)),
                None => bytes,
            };
            if array.gathers() {
                let before = self.bytes.len();
                if before == 0 {
                    let bound = array.codec.bound(bytes.len() as u64).saturating_mul(array.n_chunks_in(region));
                    self.bytes.reserve(usize::try_from(bound).unwrap_or(0));
                }
                let encode = || array.codec.encode(&bytes, size, &mut self.bytes, contexts);
                profile::stage(Stage::Encode, n_bytes, encode)?;
                self.pieces.push((array.number_in_shard(&position), (self.bytes.len() - before) as u64));
            } else if array.codec == Codec::None {
                self.stored.push(self.store.put(&array.key(&position), &bytes)?);
            } else {
                encoded.clear();
                profile::stage(Stage::Encode, n_bytes, || array.codec.encode(&bytes, size, encoded, contexts))?;
                self.stored.push(self.store.put(&array.key(&position), encoded)?);
            }
        }
        Ok(())
    }

    fn end(&mut self, _desk: &mut Desk) -> Result<Option<Part>> {
        if !self.array.gathers() {
            return Ok(Some(Part::Stored(std::mem::take(&mut self.stored))));
        }
        let (pieces, bytes) = (std::mem::take(&mut self.pieces), std::mem::take(&mut self.bytes));
        Ok(Some(Part::Bytes { pieces, bytes }))
    }
}

impl Shards<'_> {
    /// Gives what an encoder made of `task` its place in a shard.
    ///
    /// # Errors
    /// `Io` if the shard cannot be created; `Format` if the one before it was never completed.
    pub(crate) fn place(&mut self, task: &Task, part: Part) -> Result<Part> {
        self.skip(task);
        match (part, &self.array.shards) {
            (Part::Bytes { pieces, bytes }, Some(shards)) => {
                let position: Vec<u64> = task.region.origin.iter().zip(shards.cell()).map(|(o, s)| o / s).collect();
                self.place_in(shards, &position, self.array.n_chunks_in(&task.region), pieces, bytes)
            }
            (part, _) => Ok(part),
        }
    }

    /// Takes what was [placed](Self::place), and stored there since.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn merge(&mut self, part: Part) -> Result<()> {
        match part {
            Part::Stored(stored) => self.stored.extend(stored),
            Part::Bytes { pieces, bytes } if self.array.shards.is_none() => self.archive(pieces, &bytes)?,
            Part::Ended(object) => {
                let object = Arc::into_inner(object).ok_or_else(|| Error::format("a shard ended before its parts"))?;
                self.stored.push(object.close()?);
            }
            _ => return Err(Error::format("a part of another consumer")),
        }
        Ok(())
    }

    /// Files that have been completed since the last call.
    pub(crate) fn stored(&mut self) -> Vec<Stored> {
        std::mem::take(&mut self.stored)
    }

    /// Passes over a task that is done.
    pub(crate) fn skip(&mut self, task: &Task) {
        self.n_chunks += self.array.n_chunks_in(&task.region);
    }

    /// Gives `n_chunks` chunks, of which `pieces` are stored, their place in the shard at `position`; its index lies
    /// behind the last of them.
    fn place_in(
        &mut self,
        shards: &Grid,
        position: &[u64],
        n_chunks: u64,
        pieces: Vec<(u64, u64)>,
        mut bytes: Vec<u8>,
    ) -> Result<Part> {
        let mut open = match self.open.take() {
            Some(open) if open.position == position => open,
            None => self.array.start(shards, position),
            Some(open) => {
                return Err(Error::format(format!("shard {:?} lacks {} chunks", open.position, open.n_awaited)));
            }
        };
        let file = match &open.file {
            Some(file) => Some(Arc::clone(file)),
            None if pieces.is_empty() => None,
            None => Some(Arc::new(self.store.create(&self.array.key(position))?)),
        };
        open.file.clone_from(&file);
        open.n_awaited = open.n_awaited.saturating_sub(n_chunks);
        let ends = open.n_awaited == 0;
        let Some(object) = file else {
            // A shard without content has no file.
            self.open = Some(open).filter(|_| !ends);
            return Ok(Part::Stored(Vec::new()));
        };
        let mut end = object.n_bytes();
        for (number, n_bytes) in pieces {
            open.index[number as usize] = (end, n_bytes);
            end += n_bytes;
        }
        if ends {
            open.write_index(&mut bytes);
        } else {
            self.open = Some(open);
        }
        Ok(Part::Placed { offset: object.reserve(bytes.len() as u64), object, bytes, ends })
    }

    /// Adds chunks to the archive.
    fn archive(&self, pieces: Vec<(u64, u64)>, mut bytes: &[u8]) -> Result<()> {
        let Some(archive) = self.archive else { return Ok(()) };
        let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, n_bytes) in pieces {
            let (chunk, rest) = bytes.split_at(n_bytes as usize);
            archive.take(self.store, self.array, number, chunk)?;
            bytes = rest;
        }
        Ok(())
    }

    /// Says whether all chunks have come.
    ///
    /// # Errors
    /// `Format` if some never did.
    pub(crate) fn finish(self) -> Result<()> {
        let expected = self.array.chunks.len();
        if self.n_chunks != expected {
            return Err(Error::format(format!(
                "array '{}': {} chunks were written, not {expected}",
                self.array.prefix, self.n_chunks
            )));
        }
        Ok(())
    }
}

impl OpenShard {
    /// Adds the index to `bytes`.
    fn write_index(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.reserve_exact(self.index.len() * ENTRY_BYTES as usize + 4);
        for (offset, n_bytes) in &self.index {
            bytes.extend_from_slice(&offset.to_le_bytes());
            bytes.extend_from_slice(&n_bytes.to_le_bytes());
        }
        bytes.extend_from_slice(&crc32c::crc32c(&bytes[start..]).to_le_bytes());
    }
}

/// Boxes of `cell` along each axis of a box of `shape`.
fn chunks_in(shape: &[u64], cell: &[u64]) -> Vec<u64> {
    shape.iter().zip(cell).map(|(s, c)| s.div_ceil(*c)).collect()
}

/// Cuts `shape` into boxes of `cell`, which the user may have given.
fn grid(what: &str, shape: &[u64], cell: &[u64]) -> Result<Grid> {
    if cell.len() != shape.len() {
        return Err(Error::usage(format!(
            "{what}s of {cell:?} have {} axes, the array {shape:?} has {}: give one length per axis",
            cell.len(),
            shape.len()
        )));
    }
    if cell.contains(&0) {
        return Err(Error::usage(format!("{what}s of {cell:?}: every length must be at least 1")));
    }
    Ok(Grid::new(shape, cell))
}
