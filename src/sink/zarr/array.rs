//! One Zarr array under construction: chunks to files, or chunks to shards.

use std::sync::Mutex;

use super::chunk::{gather, holds_only};
use super::{Format, ZarrOptions, metadata};
use crate::block::{Block, size_bytes};
use crate::codec::Codec;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{Grid, n_elements};
use crate::sink::Spec;
use crate::sink::store::{Append, Store};
use crate::source::Scratch;

/// Most chunks in one shard: its index is held in memory while it is written.
pub(crate) const MAX_CHUNKS_PER_SHARD: u64 = 1 << 22;
/// Bytes of an index entry: offset and length.
const ENTRY_BYTES: u64 = 16;
/// An absent chunk, in the index.
const ABSENT: (u64, u64) = (u64::MAX, u64::MAX);

/// How one array is cut and encoded, and what of it has been written.
pub(crate) struct ArrayWriter {
    /// Where its files lie inside the output, without a slash at the end.
    prefix: String,
    format: Format,
    dtype: DType,
    /// One element of fill, native order and little-endian.
    fill: (Vec<u8>, Vec<u8>),
    /// Whether readers will see exactly the bits of the fill value in chunks that are not stored.
    may_omit: bool,
    chunks: Grid,
    shards: Option<Grid>,
    codec: Codec,
    progress: Mutex<Progress>,
}

/// What commits have come to.
#[derive(Default)]
struct Progress {
    shard: Option<OpenShard>,
    n_chunks: u64,
}

/// The shard whose chunks are arriving. Its file is not there before its first chunk with content.
struct OpenShard {
    position: Vec<u64>,
    file: Option<Append>,
    index: Vec<(u64, u64)>,
    n_awaited: u64,
}

/// What writing a block came to.
pub(crate) struct Encoded {
    n_chunks: u64,
    part: Option<ShardPart>,
}

/// Chunks of one shard, encoded and in order.
struct ShardPart {
    shard: Vec<u64>,
    /// For every chunk that is stored: its number in the shard, and its length.
    entries: Vec<(usize, u64)>,
    bytes: Vec<u8>,
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
            Some(_) if options.format == Format::V2 => {
                return Err(Error::usage("Zarr v2 has no shards: use --shards none or --zarr-format 3"));
            }
            Some(shards) => Some(grid("shard", &shape, shards)?),
        };
        if let Some(shards) = &shards {
            let fits = shards.cell().iter().zip(chunks.cell()).all(|(s, c)| s % c == 0);
            if !fits {
                return Err(Error::usage(format!(
                    "shards of {:?} do not consist of whole chunks of {:?}: use a multiple along every axis",
                    shards.cell(),
                    chunks.cell()
                )));
            }
            let n = n_elements(&chunks_in(shards.cell(), chunks.cell()));
            if n > MAX_CHUNKS_PER_SHARD {
                return Err(Error::usage(format!(
                    "a shard of {:?} holds {n} chunks, at most {MAX_CHUNKS_PER_SHARD} are possible: use larger chunks or smaller shards",
                    shards.cell()
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
            codec: options.codec.clone(),
            progress: Mutex::default(),
        })
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

    /// Memory that [`ArrayWriter::write`] needs for `n_chunks`, and what it returns holds.
    pub(crate) fn write_bytes(&self, n_chunks: u64) -> u64 {
        let chunk_bytes = size_bytes(self.chunks.cell(), self.dtype);
        let bound = self.codec.bound(chunk_bytes);
        let kept = if self.shards.is_some() { n_chunks } else { 1 };
        (bound.saturating_add(ENTRY_BYTES))
            .saturating_mul(kept)
            .saturating_add(chunk_bytes)
            .saturating_add(self.codec.context_bytes(chunk_bytes))
    }

    /// Memory that stays in use from commit to commit.
    pub(crate) fn held_bytes(&self) -> u64 {
        let per_shard = |s: &Grid| n_elements(&chunks_in(s.cell(), self.chunks.cell()));
        // The index, and its bytes when the shard ends.
        self.shards.as_ref().map_or(0, per_shard).saturating_mul(2 * ENTRY_BYTES)
    }

    /// Encodes the chunks of `block`; those that are files of their own are written at once.
    ///
    /// # Errors
    /// `Io`.
    ///
    /// # Panics
    /// If the block does not consist of whole chunks of one shard.
    pub(crate) fn write(&self, store: &Store, block: &Block, scratch: &mut Scratch) -> Result<Encoded> {
        let region = block.region();
        let (cell, shape) = (self.chunks.cell(), self.chunks.shape());
        assert_eq!(*region, region.grown_to(cell, shape), "a block consists of whole chunks");
        let mut part = self.shards.as_ref().map(|shards| {
            let shard: Vec<u64> = region.origin.iter().zip(shards.cell()).map(|(o, s)| o / s).collect();
            assert!(shards.region(&shard).contains(region), "a block lies in one shard");
            ShardPart { shard, entries: vec![], bytes: vec![] }
        });
        let Scratch { decoded, contexts, .. } = scratch;
        let size = self.dtype.size();
        let mut n_chunks = 0;
        for position in self.chunks.overlapping(region) {
            n_chunks += 1;
            let bytes = gather(block, &self.chunks.region(&position), cell, &self.fill.0, decoded);
            if self.may_omit && holds_only(&bytes, &self.fill.1) {
                continue;
            }
            match &mut part {
                Some(part) => {
                    let before = part.bytes.len();
                    if before == 0 {
                        let bound = self.codec.bound(bytes.len() as u64);
                        let n = self.chunks.overlapping(region).count() as u64;
                        part.bytes.reserve(usize::try_from(bound.saturating_mul(n)).unwrap_or(0));
                    }
                    self.codec.encode(&bytes, size, &mut part.bytes, contexts)?;
                    part.entries.push((self.number_in_shard(&position), (part.bytes.len() - before) as u64));
                }
                None if self.codec == Codec::None => store.put(&self.key(&position), &bytes)?,
                None => {
                    let mut encoded = std::mem::take(&mut contexts.encoded);
                    encoded.clear();
                    self.codec.encode(&bytes, size, &mut encoded, contexts)?;
                    store.put(&self.key(&position), &encoded)?;
                    contexts.encoded = encoded;
                }
            }
        }
        Ok(Encoded { n_chunks, part })
    }

    /// Takes what [`ArrayWriter::write`] returned, in plan order.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn commit(&self, store: &Store, encoded: Encoded) -> Result<()> {
        let mut progress = self.progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        progress.n_chunks += encoded.n_chunks;
        let (Some(part), Some(shards)) = (encoded.part, &self.shards) else { return Ok(()) };
        let mut open = match progress.shard.take() {
            Some(open) if open.position == part.shard => open,
            other => {
                if let Some(other) = other {
                    other.end()?;
                }
                self.start(shards, &part.shard)
            }
        };
        if !part.entries.is_empty() {
            let file = match &mut open.file {
                Some(file) => file,
                none => none.insert(store.create(&self.key(&part.shard))?),
            };
            let mut offset = file.n_bytes();
            file.append(&part.bytes)?;
            for (number, n_bytes) in part.entries {
                open.index[number] = (offset, n_bytes);
                offset += n_bytes;
            }
        }
        open.n_awaited = open.n_awaited.saturating_sub(encoded.n_chunks);
        if open.n_awaited == 0 {
            return open.end();
        }
        progress.shard = Some(open);
        Ok(())
    }

    /// Ends the last file.
    ///
    /// # Errors
    /// `Io`; `Format` if some chunks never came.
    pub(crate) fn finish(&self) -> Result<()> {
        let mut progress = self.progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(open) = progress.shard.take() {
            open.end()?;
        }
        let (n, expected) = (progress.n_chunks, self.chunks.len());
        if n != expected {
            return Err(Error::format(format!("array '{}': {n} chunks were written, not {expected}", self.prefix)));
        }
        Ok(())
    }

    fn start(&self, shards: &Grid, position: &[u64]) -> OpenShard {
        let per_shard = chunks_in(shards.cell(), self.chunks.cell());
        let here = chunks_in(&shards.region(position).shape, self.chunks.cell());
        let index = vec![ABSENT; n_elements(&per_shard) as usize];
        OpenShard { position: position.to_vec(), file: None, index, n_awaited: n_elements(&here) }
    }

    /// Number of the chunk at `position` among those of its shard, row-major.
    fn number_in_shard(&self, position: &[u64]) -> usize {
        let Some(shards) = &self.shards else { return 0 };
        let per_shard = chunks_in(shards.cell(), self.chunks.cell());
        position.iter().zip(&per_shard).fold(0, |n, (p, count)| n * count + p % count) as usize
    }

    /// Path of the file at `position` inside the output.
    fn key(&self, position: &[u64]) -> String {
        metadata::chunk_key(self.format, &self.prefix, position)
    }
}

impl OpenShard {
    /// Writes the index behind the chunks; a shard without content has no file.
    fn end(self) -> Result<()> {
        let Some(mut file) = self.file else { return Ok(()) };
        let mut bytes = Vec::with_capacity(self.index.len() * ENTRY_BYTES as usize + 4);
        for (offset, n_bytes) in &self.index {
            bytes.extend_from_slice(&offset.to_le_bytes());
            bytes.extend_from_slice(&n_bytes.to_le_bytes());
        }
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        file.append(&bytes)?;
        file.close()
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
