//! The Blosc 1 container: what it is called and set to, and which encoder writes it.
//!
//! Two encoders write it. For Zstandard at levels 1 to 3 behind a shuffle, which is the default, [`planes`] looks at
//! every plane by itself: several times as fast as c-blosc, and no larger. Everything else, and these too if
//! `exact` is asked for, [`plain`] writes as c-blosc does. Any decoder of Blosc 1 reads either.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use shuffle::Shuffler;

mod blosclz;
mod container;
pub(super) mod decode;
mod frame;
mod fse;
mod huffman;
mod kernels;
pub(super) mod lz4;
mod plain;
mod planes;
mod shuffle;
mod zlib;

/// Bytes by which a container can exceed its content.
pub const OVERHEAD_BYTES: usize = container::HEADER_BYTES;
/// Most bytes that one container holds.
pub const MAX_BYTES: usize = i32::MAX as usize - container::HEADER_BYTES;

/// Elements of more bytes count as single bytes.
const MAX_ELEMENT_BYTES: usize = 255;

/// The compressor inside the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Compressor {
    Zstd,
    Lz4,
    Lz4hc,
    Blosclz,
    Zlib,
}

impl Compressor {
    const ALL: [Self; 5] = [Self::Zstd, Self::Lz4, Self::Lz4hc, Self::Blosclz, Self::Zlib];

    fn text(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Lz4hc => "lz4hc",
            Self::Blosclz => "blosclz",
            Self::Zlib => "zlib",
        }
    }
}

/// The rearrangement before compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shuffle {
    /// None.
    None,
    /// All first bytes of the elements, then all second bytes, and so on.
    Byte,
    /// All first bits of the elements, then all second bits, and so on.
    Bit,
}

impl Shuffle {
    const ALL: [Self; 3] = [Self::None, Self::Byte, Self::Bit];

    fn text(self) -> &'static str {
        match self {
            Self::None => "noshuffle",
            Self::Byte => "shuffle",
            Self::Bit => "bitshuffle",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Byte => 1,
            Self::Bit => 2,
        }
    }
}

/// Settings of a Blosc encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blosc {
    /// The compressor inside.
    pub compressor: Compressor,
    /// Blosc's level 0 (store) to 9. With Zstandard, level `n` is Zstandard's `2 n - 1`, except where levels 1 to 3
    /// are encoded by planes.
    pub level: u8,
    /// The rearrangement before.
    pub shuffle: Shuffle,
    /// Bytes compressed as one piece; 0 leaves it to the encoder.
    pub block_bytes: u32,
    /// Whether the bytes are to be those that c-blosc would write.
    pub exact: bool,
}

/// What the encoders keep between chunks.
#[derive(Default)]
pub(super) struct Encoder {
    plain: plain::PlainEncoder,
    planes: planes::PlanesEncoder,
}

impl Blosc {
    /// Zstandard, level 3, bitshuffle.
    pub const DEFAULT: Self =
        Self { compressor: Compressor::Zstd, level: 3, shuffle: Shuffle::Bit, block_bytes: 0, exact: false };
    /// Zstandard, level 3, byte shuffle: noise of a few counts is coded in about as many bits as it has.
    pub const SMALLER: Self = Self { shuffle: Shuffle::Byte, ..Self::DEFAULT };

    /// Memory that encoding `n_bytes` needs besides its two forms.
    pub fn context_bytes(&self, n_bytes: u64) -> u64 {
        let block = self.block_bound().min(n_bytes);
        if self.by_planes() {
            return block + planes::PlanesEncoder::bytes();
        }
        let inner = match self.compressor {
            Compressor::Zstd => super::zstd_context_bytes(self.zstd_level(), block),
            _ => 1 << 20,
        };
        block + Shuffler::scratch_bytes(MAX_ELEMENT_BYTES) as u64 + inner
    }

    /// The most bytes of a block.
    fn block_bound(&self) -> u64 {
        const SPLIT_BYTES: u64 = 1 << 20;
        const GROUP_BYTES: u64 = 8 * MAX_ELEMENT_BYTES as u64;
        let asked = u64::from(self.block_bytes);
        match (self.compressor, asked) {
            _ if self.by_planes() => (planes::block_target(self) as u64).max(GROUP_BYTES),
            (Compressor::Zstd, 0) => (64 << 10) * [1, 1, 1, 2, 4, 4, 8, 8, 8, 16][usize::from(self.level.min(9))],
            (Compressor::Zstd, asked) => asked.max(128),
            // Blocks of the others are multiplied by the size of an element, up to this.
            (_, asked) => asked.max(SPLIT_BYTES),
        }
    }

    /// Appends a container holding `chunk` to `out`.
    ///
    /// # Errors
    /// `Unsupported` if `chunk` is longer than [`MAX_BYTES`].
    pub(super) fn encode(
        &self,
        chunk: &[u8],
        element_bytes: usize,
        out: &mut Vec<u8>,
        encoder: &mut Encoder,
    ) -> Result<()> {
        if chunk.len() > MAX_BYTES {
            return Err(Error::unsupported(format!("blosc refuses a chunk of {} bytes", chunk.len())));
        }
        let element_bytes = if (1..=MAX_ELEMENT_BYTES).contains(&element_bytes) { element_bytes } else { 1 };
        out.reserve(chunk.len() + OVERHEAD_BYTES);
        if self.by_planes() {
            encoder.planes.encode(self, chunk, element_bytes, out)
        } else {
            encoder.plain.encode(self, chunk, element_bytes, out)
        }
    }

    /// Whether [`planes`] encodes it.
    fn by_planes(&self) -> bool {
        let fast = self.compressor == Compressor::Zstd && planes::LEVELS.contains(&self.level);
        fast && self.shuffle != Shuffle::None && !self.exact
    }

    /// Zstandard's level for Blosc's.
    fn zstd_level(&self) -> i32 {
        if self.level == 9 { zstd_safe::max_c_level() } else { 2 * i32::from(self.level) - 1 }
    }

    /// Zarr v2's `compressor`.
    pub fn v2(&self) -> Value {
        json!({"id": "blosc", "cname": self.compressor.text(), "clevel": self.level,
               "shuffle": self.shuffle.number(), "blocksize": self.block_bytes})
    }

    /// Zarr v3's codec.
    pub fn v3(&self, element_bytes: usize) -> Value {
        json!({"name": "blosc", "configuration": {"typesize": element_bytes, "cname": self.compressor.text(),
               "clevel": self.level, "shuffle": self.shuffle.text(), "blocksize": self.block_bytes}})
    }
}

impl fmt::Display for Blosc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.compressor.text(), self.level, self.shuffle.text())?;
        if self.block_bytes > 0 {
            write!(f, ",{}", self.block_bytes)?;
        }
        if self.exact { f.write_str(",exact") } else { Ok(()) }
    }
}

/// Reads `zstd,3,bitshuffle`, settings in any order, each bare or as `cname=`, `clevel=`, `shuffle=`,
/// `blocksize=`; the second bare number is the block. `exact` asks for the bytes that c-blosc would write.
impl FromStr for Blosc {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (mut compressor, mut level, mut shuffle, mut block, mut exact) = (None, None, None, None, None);
        for word in text.split(',').map(str::trim) {
            let (key, value) = word.split_once('=').map_or(("", word), |(key, value)| (key.trim(), value.trim()));
            let number = value.starts_with(|c: char| c.is_ascii_digit());
            let twice = match key {
                "cname" => compressor.replace(compressor_named(value)?).is_some(),
                "clevel" | "level" => level.replace(level_from(value)?).is_some(),
                "shuffle" => shuffle.replace(shuffle_named(value)?).is_some(),
                "blocksize" => block.replace(block_from(value)?).is_some(),
                "" if value == "exact" => exact.replace(true).is_some(),
                "" if number && level.is_none() => level.replace(level_from(value)?).is_some(),
                "" if number => block.replace(block_from(value)?).is_some(),
                "" if Compressor::ALL.iter().any(|c| c.text() == value) => {
                    compressor.replace(compressor_named(value)?).is_some()
                }
                "" if shuffle_named(value).is_ok() => shuffle.replace(shuffle_named(value)?).is_some(),
                "" if compressor.is_none() => return Err(compressor_named(value).err().unwrap_or_else(|| no(word))),
                "" => return Err(shuffle_named(value).err().unwrap_or_else(|| no(word))),
                _ => return Err(no(word)),
            };
            if twice {
                return Err(Error::usage(format!("blosc: '{text}' sets the same thing twice, with '{word}'")));
            }
        }
        if exact.is_some() && compressor == Some(Compressor::Blosclz) {
            const WHY: &str =
                "blosc: the search of blosclz is not c-blosc's, so not 'exact': leave that out, or use lz4";
            return Err(Error::usage(WHY));
        }
        let default = Self::DEFAULT;
        Ok(Self {
            compressor: compressor.unwrap_or(default.compressor),
            level: level.unwrap_or(default.level),
            shuffle: shuffle.unwrap_or(default.shuffle),
            block_bytes: block.unwrap_or(default.block_bytes),
            exact: exact.unwrap_or(default.exact),
        })
    }
}

fn no(word: &str) -> Error {
    Error::usage(format!(
        "blosc: '{word}' is not a setting: compressor, level, shuffle, block or exact, such as \
         blosc:zstd,3,bitshuffle,128KiB"
    ))
}

fn compressor_named(text: &str) -> Result<Compressor> {
    Compressor::ALL
        .into_iter()
        .find(|c| c.text() == text)
        .ok_or_else(|| Error::usage(format!("blosc: '{text}' is not a compressor: zstd, lz4, lz4hc, blosclz or zlib")))
}

fn shuffle_named(text: &str) -> Result<Shuffle> {
    let text = if text == "none" { "noshuffle" } else { text };
    Shuffle::ALL.into_iter().find(|s| s.text() == text).ok_or_else(|| {
        Error::usage(format!("blosc: '{text}' is not a shuffle: noshuffle (or none), shuffle or bitshuffle"))
    })
}

fn level_from(text: &str) -> Result<u8> {
    text.parse()
        .ok()
        .filter(|level| *level <= 9)
        .ok_or_else(|| Error::usage(format!("blosc: '{text}' is not a level: 0 to 9")))
}

fn block_from(text: &str) -> Result<u32> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let scale = match unit {
        "" => Some(1u64),
        "K" | "KiB" => Some(1 << 10),
        "M" | "MiB" => Some(1 << 20),
        _ => None,
    };
    let bytes = digits.parse::<u64>().ok().zip(scale).and_then(|(n, scale)| n.checked_mul(scale));
    bytes.filter(|n| *n <= container::MAX_BLOCK_BYTES as u64).and_then(|n| u32::try_from(n).ok()).ok_or_else(|| {
        Error::usage(format!(
            "blosc: '{text}' is not a block: bytes, such as 65536 or 128KiB, 0 for the encoder's choice"
        ))
    })
}
