//! The encoder that does as c-blosc does: the same settings give the same bytes, except for BloscLZ, whose search
//! is another one.
//!
//! What it has over the C library: fast shuffles for the processor at hand, and memory that is used again.
//!
//! Source: `compute_blocksize`, `split_block` and `blosc_c` of c-blosc 1.21.

use std::ffi::c_int;

use zstd_safe::CCtx;

use super::container::{self, ContainerWriter, Header, MAX_BLOCK_BYTES, MIN_BYTES};
use super::lz4::{self, Effort};
use super::shuffle::Shuffler;
use super::{Blosc, Compressor, blosclz, zlib};
use crate::error::{Error, Result};

/// Shortest content that is cut into blocks.
const SMALL_BYTES: usize = 32 << 10;
/// Bounds of a block that is split.
const SPLIT_BYTES: std::ops::RangeInclusive<usize> = 64 << 10..=1 << 20;

/// Memory of an encoder, used again for every chunk.
#[derive(Default)]
pub(super) struct PlainEncoder {
    shuffler: Shuffler,
    shuffled: Vec<u8>,
    compressors: Compressors,
}

impl PlainEncoder {
    /// Appends a container holding `chunk` to `out`.
    ///
    /// # Errors
    /// `Limit` without memory for a compressor.
    pub(super) fn encode(
        &mut self,
        blosc: &Blosc,
        chunk: &[u8],
        element_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if blosc.compressor == Compressor::Zstd && self.compressors.zstd.is_none() {
            let context = CCtx::try_create().ok_or_else(|| Error::limit("zstd: no memory for a compressor"))?;
            self.compressors.zstd = Some(context);
        }
        let block_bytes = block_bytes(blosc, chunk.len(), element_bytes);
        let header = Header {
            format: container::format(blosc.compressor),
            shuffle: blosc.shuffle,
            stored: false,
            split: may_split(blosc.compressor, element_bytes, block_bytes),
            element_bytes,
            n_bytes: chunk.len(),
            block_bytes,
        };
        let mut builder = ContainerWriter::begin(header, out);
        if blosc.level > 0 && chunk.len() >= MIN_BYTES && self.blocks(blosc, chunk, &mut builder)? {
            builder.end();
        } else {
            builder.end_stored(chunk);
        }
        Ok(())
    }

    /// Appends the blocks of `chunk`; false if they need more bytes than the chunk.
    fn blocks(&mut self, blosc: &Blosc, chunk: &[u8], builder: &mut ContainerWriter) -> Result<bool> {
        let header = builder.header;
        for block in chunk.chunks(header.block_bytes) {
            builder.begin_block();
            self.shuffled.resize(block.len(), 0);
            self.shuffler.forward(blosc.shuffle, header.element_bytes, block, &mut self.shuffled);
            for content in self.shuffled.chunks_exact(block.len() / header.n_streams(block.len())) {
                let compress = |out: &mut Vec<u8>, most: usize| {
                    let start = out.len();
                    out.resize(start + most, 0);
                    let n = self.compressors.compress(blosc, content, &mut out[start..]);
                    out.truncate(start + n.unwrap_or(0));
                    Ok(n.is_some())
                };
                if !builder.stream(content, compress)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// What is inside, with the memory of those who keep it.
#[derive(Default)]
struct Compressors {
    zstd: Option<CCtx<'static>>,
}

impl Compressors {
    /// Compresses `content` to the start of `out` and returns the number of bytes; none if they do not fit.
    fn compress(&mut self, blosc: &Blosc, content: &[u8], out: &mut [u8]) -> Option<usize> {
        let level = c_int::from(blosc.level);
        match blosc.compressor {
            Compressor::Zstd => self.zstd.as_mut()?.compress(out, content, blosc.zstd_level()).ok(),
            Compressor::Lz4 => lz4::compress(content, out, Effort::Fast(10 - level)),
            Compressor::Lz4hc => lz4::compress(content, out, Effort::High(level)),
            Compressor::Zlib => zlib::compress(content, out, level),
            Compressor::Blosclz => blosclz::compress(content, out),
        }
    }
}

/// Whether blocks are split: Zstandard's never are.
fn may_split(compressor: Compressor, element_bytes: usize, block_bytes: usize) -> bool {
    compressor != Compressor::Zstd && container::splits(element_bytes, block_bytes)
}

/// Bytes of a block of a chunk of `n_bytes`.
fn block_bytes(blosc: &Blosc, n_bytes: usize, element_bytes: usize) -> usize {
    if n_bytes < element_bytes {
        return 1;
    }
    let thorough = !matches!(blosc.compressor, Compressor::Lz4 | Compressor::Blosclz);
    let level = usize::from(blosc.level.min(9));
    let mut bytes = match blosc.block_bytes {
        0 if n_bytes < SMALL_BYTES => n_bytes,
        0 => {
            // In quarters.
            let factor = [1, 2, 4, 8, 16, 16, 32, 32, 32, if thorough { 64 } else { 32 }][level];
            SMALL_BYTES * factor / 4 * if thorough { 2 } else { 1 }
        }
        bytes => (bytes as usize).clamp(MIN_BYTES, MAX_BLOCK_BYTES),
    };
    if level > 0 && may_split(blosc.compressor, element_bytes, bytes) {
        bytes = (bytes.min(256 << 10) * element_bytes).clamp(*SPLIT_BYTES.start(), *SPLIT_BYTES.end());
    }
    let bytes = bytes.min(n_bytes);
    if bytes > element_bytes { bytes / element_bytes * element_bytes } else { bytes }
}
