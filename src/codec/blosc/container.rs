//! The head of a Blosc 1 container: 16 bytes, then the offset of every block.
//!
//! Behind them lie the blocks. Each is one stream, or as many as an element has bytes where blocks are *split*; a
//! stream is its length in 4 bytes and that many bytes, which are compressed unless they are as many as they
//! stand for.
//!
//! Source: README_CHUNK_FORMAT.rst of c-blosc 1.21.

use super::{Compressor, Shuffle};
use crate::error::{Error, Result};

/// Bytes of the header; also what a container that stores its content as it is has more than that.
pub(super) const HEADER_BYTES: usize = 16;
/// Bytes in front of every stream, and of a block's offset.
pub(super) const LENGTH_BYTES: usize = 4;
/// Elements up to this many bytes are split.
const MAX_SPLITS: usize = 16;
/// Fewest bytes that are compressed, and fewest of a stream of a split block.
pub(super) const MIN_BYTES: usize = 128;
/// Most bytes of one block.
pub(super) const MAX_BLOCK_BYTES: usize = (i32::MAX as usize - 16 * size_of::<i32>()) / 3;

const VERSION: u8 = 2;
/// Of the format inside; 1 for every compressor.
const INNER_VERSION: u8 = 1;
const BYTE_SHUFFLED: u8 = 1;
const STORED: u8 = 1 << 1;
const BIT_SHUFFLED: u8 = 1 << 2;
const RESERVED: u8 = 1 << 3;
const NOT_SPLIT: u8 = 1 << 4;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Number of the format inside: 0 BloscLZ, 1 LZ4, 2 Snappy, 3 zlib, 4 Zstandard.
    pub(super) format: u8,
    pub(super) shuffle: Shuffle,
    pub(super) stored: bool,
    pub(super) split: bool,
    pub(super) element_bytes: usize,
    pub(super) n_bytes: usize,
    pub(super) block_bytes: usize,
}

impl Header {
    /// Appends the header of a container of `total_bytes`.
    pub(super) fn bytes(&self, total_bytes: usize) -> [u8; HEADER_BYTES] {
        let shuffle = match self.shuffle {
            Shuffle::None => 0,
            Shuffle::Byte => BYTE_SHUFFLED,
            Shuffle::Bit => BIT_SHUFFLED,
        };
        let flag = |flag: u8, set: bool| if set { flag } else { 0 };
        let flags = shuffle | flag(STORED, self.stored) | flag(NOT_SPLIT, !self.split) | self.format << 5;
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&[VERSION, INNER_VERSION, flags, self.element_bytes as u8]);
        for (at, n) in [(4, self.n_bytes), (8, self.block_bytes), (12, total_bytes)] {
            bytes[at..at + 4].copy_from_slice(&(n as u32).to_le_bytes());
        }
        bytes
    }

    /// Reads the header of `container`.
    ///
    /// # Errors
    /// `Format` if there is none, or it contradicts itself or the container's length.
    pub(super) fn parse(container: &[u8]) -> Result<Self> {
        let bad = |what: &str| Error::format(format!("blosc: damaged: {what}"));
        let head = container.first_chunk::<HEADER_BYTES>().ok_or_else(|| bad("shorter than a header"))?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let flags = head[2];
        let header = Self {
            format: flags >> 5,
            shuffle: match flags {
                _ if flags & BYTE_SHUFFLED != 0 => Shuffle::Byte,
                _ if flags & BIT_SHUFFLED != 0 => Shuffle::Bit,
                _ => Shuffle::None,
            },
            stored: flags & STORED != 0,
            split: flags & NOT_SPLIT == 0,
            element_bytes: head[3].into(),
            n_bytes: number(4),
            block_bytes: number(8),
        };
        match () {
            () if head[0] != VERSION => Err(bad(&format!("version {} of the format, not {VERSION}", head[0]))),
            () if number(12) != container.len() => {
                Err(bad(&format!("says it has {} bytes, but has {}", number(12), container.len())))
            }
            () if header.n_bytes > super::MAX_BYTES => Err(bad("claims more content than a container holds")),
            () if header.n_bytes == 0 => Ok(header),
            () if flags & RESERVED != 0 => Err(bad("unknown flags")),
            () if header.element_bytes == 0 => Err(bad("elements of no bytes")),
            () if header.block_bytes == 0 || header.block_bytes > header.n_bytes => {
                Err(bad("an impossible block size"))
            }
            () if header.stored && header.n_bytes + HEADER_BYTES != container.len() => {
                Err(bad("stored in another length"))
            }
            () if !header.stored && head[1] != INNER_VERSION => Err(bad("unknown version of what is inside")),
            () if !header.stored && header.n_blocks() > (container.len() - HEADER_BYTES) / LENGTH_BYTES => {
                Err(bad("too short for its blocks"))
            }
            () => Ok(header),
        }
    }

    pub(super) fn n_blocks(&self) -> usize {
        self.n_bytes.div_ceil(self.block_bytes.max(1))
    }

    /// Streams of a block of `n_bytes`: a shorter one at the end is never split.
    pub(super) fn n_streams(&self, n_bytes: usize) -> usize {
        let splits = self.split && splits(self.element_bytes, self.block_bytes) && n_bytes == self.block_bytes;
        if splits { self.element_bytes } else { 1 }
    }
}

/// Whether blocks may be split.
pub(super) fn splits(element_bytes: usize, block_bytes: usize) -> bool {
    element_bytes <= MAX_SPLITS && block_bytes / element_bytes >= MIN_BYTES
}

/// The number of a compressor's format.
pub(super) fn format(compressor: Compressor) -> u8 {
    match compressor {
        Compressor::Blosclz => 0,
        Compressor::Lz4 | Compressor::Lz4hc => 1,
        Compressor::Zlib => 3,
        Compressor::Zstd => 4,
    }
}

/// A container that is being appended to a vector.
pub(super) struct ContainerWriter<'a> {
    pub(super) header: Header,
    pub(super) out: &'a mut Vec<u8>,
    start: usize,
    n_started: usize,
}

impl<'a> ContainerWriter<'a> {
    /// Begins one behind what `out` holds, leaving room for what is known last.
    pub(super) fn begin(header: Header, out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.resize(start + HEADER_BYTES + header.n_blocks() * LENGTH_BYTES, 0);
        Self { header, out, start, n_started: 0 }
    }

    /// Bytes so far.
    fn len(&self) -> usize {
        self.out.len() - self.start
    }

    /// Notes that the next block begins here.
    pub(super) fn begin_block(&mut self) {
        let offset = (self.len() as u32).to_le_bytes();
        self.out[self.start + HEADER_BYTES + self.n_started * LENGTH_BYTES..][..LENGTH_BYTES].copy_from_slice(&offset);
        self.n_started += 1;
    }

    /// Appends the stream of `content`: what `compress` appends, given how many bytes there are for it, or the content
    /// as it is if it appends as many, or says that they do not do. False if there is no room for either: the
    /// container would be longer than one that is stored.
    pub(super) fn stream(
        &mut self,
        content: &[u8],
        compress: impl FnOnce(&mut Vec<u8>, usize) -> Result<bool>,
    ) -> Result<bool> {
        let room = (self.header.n_bytes + HEADER_BYTES).saturating_sub(self.len() + LENGTH_BYTES);
        if room == 0 {
            return Ok(false);
        }
        self.out.extend_from_slice(&[0; LENGTH_BYTES]);
        let start = self.out.len();
        let compressed = compress(self.out, room.min(content.len()))?;
        if !compressed || self.out.len() - start == content.len() {
            self.out.truncate(start);
            if content.len() > room {
                return Ok(false);
            }
            self.out.extend_from_slice(content);
        }
        let length = ((self.out.len() - start) as u32).to_le_bytes();
        self.out[start - LENGTH_BYTES..start].copy_from_slice(&length);
        Ok(true)
    }

    /// Ends the container.
    pub(super) fn end(self) {
        let header = self.header.bytes(self.len());
        self.out[self.start..][..HEADER_BYTES].copy_from_slice(&header);
    }

    /// Ends it as one that holds `content` as it is.
    pub(super) fn end_stored(mut self, content: &[u8]) {
        self.out.truncate(self.start + HEADER_BYTES);
        self.out.resize(self.start + HEADER_BYTES, 0);
        self.out.extend_from_slice(content);
        self.header.stored = true;
        self.end();
    }
}
