//! The Blosc 1 container, by the C library.
//!
//! The calls used are the `_ctx` ones: no global state, no lock, no thread of their own.

use std::ffi::{CStr, c_int};
use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// Bytes by which a container can exceed its content.
pub const OVERHEAD_BYTES: usize = blosc_src::BLOSC_MAX_OVERHEAD as usize;
/// Most bytes that one container holds.
pub const MAX_BYTES: usize = blosc_src::BLOSC_MAX_BUFFERSIZE as usize;

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

    fn name(self) -> &'static CStr {
        match self {
            Self::Zstd => c"zstd",
            Self::Lz4 => c"lz4",
            Self::Lz4hc => c"lz4hc",
            Self::Blosclz => c"blosclz",
            Self::Zlib => c"zlib",
        }
    }

    fn text(self) -> &'static str {
        self.name().to_str().unwrap_or_default()
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

    fn number(self) -> c_int {
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
    /// Blosc's level 0 (store) to 9. With Zstandard, level `n` is Zstandard's `2 n - 1`.
    pub level: u8,
    /// The rearrangement before.
    pub shuffle: Shuffle,
    /// Bytes compressed as one piece; 0 leaves it to Blosc.
    pub block_bytes: u32,
}

impl Blosc {
    /// Zstandard, level 3, bitshuffle.
    pub const DEFAULT: Self = Self { compressor: Compressor::Zstd, level: 3, shuffle: Shuffle::Bit, block_bytes: 0 };

    /// Memory that encoding `n_bytes` needs besides its two forms.
    pub fn context_bytes(&self, n_bytes: u64) -> u64 {
        let block = self.block_bound().min(n_bytes);
        let inner = match self.compressor {
            Compressor::Zstd => {
                super::zstd_context_bytes(if self.level == 9 { 22 } else { 2 * i32::from(self.level) - 1 }, block)
            }
            _ => 1 << 20,
        };
        2 * block + inner + (64 << 10)
    }

    /// The most bytes that Blosc takes as one block.
    ///
    /// Source: `compute_blocksize` of c-blosc 1.21.
    fn block_bound(&self) -> u64 {
        const SPLIT_BYTES: u64 = 1 << 20;
        let asked = u64::from(self.block_bytes);
        match (self.compressor, asked) {
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
    pub fn encode(&self, chunk: &[u8], element_bytes: usize, out: &mut Vec<u8>) -> Result<()> {
        let most = chunk.len().saturating_add(OVERHEAD_BYTES);
        out.reserve(most);
        // Exactly this much room: with more, incompressible chunks would be stored in more bytes.
        let room = &mut out.spare_capacity_mut()[..most];
        // SAFETY: source and destination are live for the call, do not overlap (one is borrowed shared, one
        // exclusively) and are at least as long as stated; the name is a C string.
        let n = unsafe {
            blosc_src::blosc_compress_ctx(
                c_int::from(self.level),
                self.shuffle.number(),
                element_bytes,
                chunk.len(),
                chunk.as_ptr().cast(),
                room.as_mut_ptr().cast(),
                room.len(),
                self.compressor.name().as_ptr(),
                self.block_bytes as usize,
                1,
            )
        };
        match usize::try_from(n) {
            Ok(n) if n >= 1 && n <= room.len() => {
                // SAFETY: the call wrote `n` bytes at the start of the spare capacity, which has room for them.
                unsafe { out.set_len(out.len() + n) };
                Ok(())
            }
            _ => Err(Error::unsupported(format!("blosc refuses a chunk of {} bytes (code {n})", chunk.len()))),
        }
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
        Ok(())
    }
}

/// Reads `zstd,3,bitshuffle`, settings in any order, each bare or as `cname=`, `clevel=`, `shuffle=`,
/// `blocksize=`; the second bare number is the block.
impl FromStr for Blosc {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (mut compressor, mut level, mut shuffle, mut block) = (None, None, None, None);
        for word in text.split(',').map(str::trim) {
            let (key, value) = word.split_once('=').map_or(("", word), |(key, value)| (key.trim(), value.trim()));
            let number = value.starts_with(|c: char| c.is_ascii_digit());
            let twice = match key {
                "cname" => compressor.replace(compressor_named(value)?).is_some(),
                "clevel" | "level" => level.replace(level_from(value)?).is_some(),
                "shuffle" => shuffle.replace(shuffle_named(value)?).is_some(),
                "blocksize" => block.replace(block_from(value)?).is_some(),
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
        let default = Self::DEFAULT;
        Ok(Self {
            compressor: compressor.unwrap_or(default.compressor),
            level: level.unwrap_or(default.level),
            shuffle: shuffle.unwrap_or(default.shuffle),
            block_bytes: block.unwrap_or(default.block_bytes),
        })
    }
}

fn no(word: &str) -> Error {
    Error::usage(format!(
        "blosc: '{word}' is not a setting: compressor, level, shuffle and block, such as blosc:zstd,3,bitshuffle,128KiB"
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
    bytes.filter(|n| *n <= u64::from(blosc_src::BLOSC_MAX_BLOCKSIZE)).and_then(|n| u32::try_from(n).ok()).ok_or_else(
        || {
            Error::usage(format!(
                "blosc: '{text}' is not a block: bytes, such as 65536 or 128KiB, 0 for Blosc's choice"
            ))
        },
    )
}
