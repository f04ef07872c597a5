//! Codecs of chunks: bytes of a chunk in, bytes out, with memory of one worker used again and again.
//!
//! A codec is named as on the command line (`blosc:zstd,3,bitshuffle`, `zstd:3`, `gzip:6`, `none`) and
//! describes itself in the metadata of Zarr v2 and v3. The same chunk gives the same bytes on every run, whatever
//! was encoded before and whatever the processor can do.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::error::{Error, Result};

pub mod blosc;
pub mod decode;

use blosc::Blosc;

/// A reversible encoding of a chunk's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Codec {
    /// The bytes as they are.
    None,
    /// The Blosc container: shuffled blocks, compressed one by one.
    Blosc(Blosc),
    /// One Zstandard frame.
    Zstd {
        /// Zstandard's own level, negative for speed, to 22.
        level: i32,
    },
    /// One gzip member.
    Gzip {
        /// Level 0 to 9.
        level: u8,
    },
    /// One zlib stream, as TIFF has it.
    Deflate {
        /// Level 0 to 9.
        level: u8,
    },
    /// Lempel-Ziv-Welch, as TIFF has it.
    Lzw,
}

/// What encoders and decoders keep between chunks; one per worker.
#[derive(Default)]
pub struct Contexts {
    /// The encoded form of the latest chunk, where nobody keeps it.
    pub encoded: Vec<u8>,
    zstd: Option<zstd_safe::CCtx<'static>>,
    deflate: Option<(u8, libdeflater::Compressor)>,
    blosc: blosc::Encoder,
    unblosc: blosc::decode::Decoder,
    inflaters: decode::Inflaters,
}

impl Codec {
    /// What an unnamed codec is taken to be: Blosc with Zstandard, level 3, bitshuffle.
    pub const DEFAULT: Self = Self::Blosc(Blosc::DEFAULT);
    /// What `smaller` names: Blosc with Zstandard, level 3, byte shuffle, which is smaller for noise of a few counts.
    pub const SMALLER: Self = Self::Blosc(Blosc::SMALLER);

    /// The most bytes that `n_bytes` can become.
    pub fn bound(&self, n_bytes: u64) -> u64 {
        match self {
            Self::None => n_bytes,
            Self::Blosc(_) => n_bytes.saturating_add(blosc::OVERHEAD_BYTES as u64),
            // ZSTD_COMPRESSBOUND; libdeflate's bound is its 5 bytes per block of at least 5000, with headers.
            Self::Zstd { .. } => n_bytes.saturating_add(n_bytes >> 8).saturating_add(64 + (128 << 10 >> 11)),
            Self::Gzip { .. } | Self::Deflate { .. } => n_bytes.saturating_add(n_bytes / 1000).saturating_add(64),
            // Codes of 12 bits for bytes that never come again.
            Self::Lzw => n_bytes.saturating_add(n_bytes / 2).saturating_add(64),
        }
    }

    /// Memory that encoding a chunk of `n_bytes` needs besides its two forms, in bytes.
    pub fn context_bytes(&self, n_bytes: u64) -> u64 {
        match self {
            Self::None => 0,
            Self::Blosc(blosc) => blosc.context_bytes(n_bytes),
            Self::Zstd { level } => zstd_context_bytes(*level, n_bytes),
            Self::Gzip { .. } | Self::Deflate { .. } => 10 << 20,
            Self::Lzw => 256 << 10,
        }
    }

    /// Whether chunks of `n_bytes` are too long for it.
    ///
    /// # Errors
    /// `Usage` naming the limit.
    pub fn check_chunk(&self, n_bytes: u64) -> Result<()> {
        match self {
            Self::Blosc(_) if n_bytes > blosc::MAX_BYTES as u64 => Err(Error::usage(format!(
                "chunks of {n_bytes} bytes, but blosc takes at most {} in one: use smaller chunks",
                blosc::MAX_BYTES
            ))),
            _ if usize::try_from(n_bytes).is_err() || n_bytes > (1 << 40) => {
                Err(Error::usage(format!("chunks of {n_bytes} bytes are too large: use smaller chunks")))
            }
            _ => Ok(()),
        }
    }

    /// Appends the encoded form of `chunk`, whose elements have `element_bytes` each, to `out`.
    ///
    /// # Errors
    /// `Unsupported` if the encoder refuses, which it does for no chunk that [`Codec::check_chunk`] passes.
    pub fn encode(&self, chunk: &[u8], element_bytes: usize, out: &mut Vec<u8>, contexts: &mut Contexts) -> Result<()> {
        match self {
            Self::None => {
                out.extend_from_slice(chunk);
                Ok(())
            }
            Self::Blosc(blosc) => blosc.encode(chunk, element_bytes, out, &mut contexts.blosc),
            Self::Zstd { level } => encode_zstd(*level, chunk, out, contexts),
            Self::Gzip { level } | Self::Deflate { level } => {
                let is_gzip = matches!(self, Self::Gzip { .. });
                encode_deflate(*level, is_gzip, chunk, out, contexts)
            }
            Self::Lzw => {
                let mut encoder = weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
                encoder
                    .into_vec(out)
                    .encode_all(chunk)
                    .status
                    .map(|_| ())
                    .map_err(|e| Error::unsupported(e.to_string()))
            }
        }
    }

    /// The codec that Zarr v2's `compressor` or an entry of v3's `codecs` describes.
    ///
    /// # Errors
    /// `Usage` if it is none that is written here.
    pub fn described(metadata: &Value) -> Result<Self> {
        let name = metadata["name"].as_str().or(metadata["id"].as_str()).unwrap_or("none");
        let settings = metadata.get("configuration").unwrap_or(metadata);
        let text = |key: &str| settings[key].as_str().map_or_else(|| settings[key].to_string(), str::to_owned);
        match name {
            "blosc" => {
                let shuffle = match settings["shuffle"].as_i64() {
                    Some(0) => "noshuffle".to_owned(),
                    Some(1) => "shuffle".to_owned(),
                    Some(_) => "bitshuffle".to_owned(),
                    None => text("shuffle"),
                };
                let block =
                    settings["blocksize"].as_u64().filter(|n| *n > 0).map_or(String::new(), |n| format!(",{n}"));
                format!("blosc:{},{},{shuffle}{block}", text("cname"), text("clevel")).parse()
            }
            "zstd" | "gzip" => format!("{name}:{}", text("level")).parse(),
            other => other.parse(),
        }
    }

    /// Whether Zarr has it.
    ///
    /// # Errors
    /// `Usage`, naming one that does.
    pub fn check_zarr(&self) -> Result<()> {
        match self {
            Self::Deflate { .. } | Self::Lzw => {
                Err(Error::usage(format!("--codec '{self}' is for TIFF: gzip or zstd are Zarr's")))
            }
            _ => Ok(()),
        }
    }

    /// TIFF's number for it.
    ///
    /// # Errors
    /// `Usage`, naming those that it has.
    pub fn tiff(&self) -> Result<u16> {
        match self {
            Self::None => Ok(1),
            Self::Lzw => Ok(5),
            Self::Deflate { .. } => Ok(8),
            Self::Zstd { .. } => Ok(50_000),
            Self::Blosc(_) | Self::Gzip { .. } => {
                Err(Error::usage(format!("--codec '{self}': TIFF has none such: use deflate:6, zstd:3, lzw or none")))
            }
        }
    }

    /// What decodes it.
    pub fn decoder(&self) -> decode::Decoder {
        match self {
            Self::None => decode::Decoder::None,
            Self::Blosc(_) => decode::Decoder::Blosc,
            Self::Zstd { .. } => decode::Decoder::Zstd,
            Self::Gzip { .. } => decode::Decoder::Gzip,
            Self::Deflate { .. } => decode::Decoder::Zlib,
            Self::Lzw => decode::Decoder::Lzw,
        }
    }

    /// Zarr v2's `compressor`.
    pub fn v2(&self) -> Value {
        match self {
            Self::None | Self::Deflate { .. } | Self::Lzw => Value::Null,
            Self::Blosc(blosc) => blosc.v2(),
            Self::Zstd { level } => json!({"id": "zstd", "level": level}),
            Self::Gzip { level } => json!({"id": "gzip", "level": level}),
        }
    }

    /// Zarr v3's codecs from bytes to bytes.
    pub fn v3(&self, element_bytes: usize) -> Vec<Value> {
        match self {
            Self::None | Self::Deflate { .. } | Self::Lzw => vec![],
            Self::Blosc(blosc) => vec![blosc.v3(element_bytes)],
            Self::Zstd { level } => {
                vec![json!({"name": "zstd", "configuration": {"level": level, "checksum": false}})]
            }
            Self::Gzip { level } => vec![json!({"name": "gzip", "configuration": {"level": level}})],
        }
    }
}

impl Contexts {
    /// Puts elements of `size` bytes whose bytes lie plane by plane back in order, into `out` of the same length.
    pub(crate) fn unshuffle(&mut self, size: usize, planes: &[u8], out: &mut [u8]) {
        self.unblosc.unshuffle(size, planes, out);
    }
}

/// Memory of a Zstandard compressor for inputs of `n_bytes`: its tables are sized by the smaller of the
/// level's parameters and the input.
fn zstd_context_bytes(level: i32, n_bytes: u64) -> u64 {
    let by_level: u64 = match level {
        ..=2 => 2 << 20,
        3..=5 => 6 << 20,
        6..=9 => 16 << 20,
        10..=15 => 48 << 20,
        _ => 800 << 20,
    };
    let by_input = n_bytes.min(1 << 32).next_power_of_two() * 16;
    // Room for sequences; the thorough levels weigh them too.
    by_level.min(by_input) + if level > 12 { 2 << 20 } else { 1 << 20 }
}

fn encode_zstd(level: i32, chunk: &[u8], out: &mut Vec<u8>, contexts: &mut Contexts) -> Result<()> {
    let context = match &mut contexts.zstd {
        Some(context) => context,
        none => {
            none.insert(zstd_safe::CCtx::try_create().ok_or_else(|| Error::limit("zstd: no memory for a compressor"))?)
        }
    };
    out.reserve(zstd_safe::compress_bound(chunk.len()));
    let start = out.len() as u64;
    let mut cursor = std::io::Cursor::new(out);
    cursor.set_position(start);
    context
        .compress(&mut cursor, chunk, level)
        .map_err(|code| Error::unsupported(format!("zstd: {}", zstd_safe::get_error_name(code))))?;
    Ok(())
}

fn encode_deflate(level: u8, is_gzip: bool, chunk: &[u8], out: &mut Vec<u8>, contexts: &mut Contexts) -> Result<()> {
    if contexts.deflate.as_ref().is_none_or(|(made_for, _)| *made_for != level) {
        let checked = libdeflater::CompressionLvl::new(i32::from(level))
            .map_err(|_| Error::usage(format!("deflate has no level {level}: 0 to 9")))?;
        contexts.deflate = Some((level, libdeflater::Compressor::new(checked)));
    }
    let Some((_, compressor)) = &mut contexts.deflate else { return Ok(()) };
    let (start, room) = (out.len(), compressor.gzip_compress_bound(chunk.len()));
    out.resize(start + room.max(compressor.zlib_compress_bound(chunk.len())), 0);
    let to = &mut out[start..];
    let n = if is_gzip { compressor.gzip_compress(chunk, to) } else { compressor.zlib_compress(chunk, to) };
    let n = n.map_err(|e| Error::unsupported(format!("deflate: {e}")))?;
    out.truncate(start + n);
    Ok(())
}

/// Prints what [`Codec::from_str`] reads back.
impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Blosc(blosc) => write!(f, "blosc:{blosc}"),
            Self::Zstd { level } => write!(f, "zstd:{level}"),
            Self::Gzip { level } => write!(f, "gzip:{level}"),
            Self::Deflate { level } => write!(f, "deflate:{level}"),
            Self::Lzw => f.write_str("lzw"),
        }
    }
}

impl Default for Codec {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl FromStr for Codec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, rest) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let rest = rest.map(str::trim).filter(|r| !r.is_empty());
        let alone = |name: &str, codec: Self| match rest {
            None => Ok(codec),
            Some(rest) => Err(Error::usage(format!("codec '{name}' takes no settings, found '{rest}'"))),
        };
        match name.trim() {
            "none" | "raw" => alone("none", Self::None),
            "smaller" => alone("smaller", Self::SMALLER),
            "lzw" => alone("lzw", Self::Lzw),
            "deflate" => Ok(Self::Deflate { level: level("deflate", rest, 6, 0, 9)? as u8 }),
            "blosc" => Ok(Self::Blosc(rest.map_or(Ok(Blosc::DEFAULT), str::parse)?)),
            "zstd" => Ok(Self::Zstd { level: level("zstd", rest, 3, -7, 22)? }),
            "gzip" => Ok(Self::Gzip { level: level("gzip", rest, 6, 0, 9)? as u8 }),
            _ => Err(Error::usage(format!(
                "'{text}' is not a codec: blosc (such as blosc:zstd,3,bitshuffle), smaller, zstd:3, gzip:6 or none, and \
                 for TIFF zstd:3, deflate:6, lzw or none"
            ))),
        }
    }
}

/// The level in `text`, bare or as `level=N`.
fn level(codec: &str, text: Option<&str>, default: i32, least: i32, most: i32) -> Result<i32> {
    let Some(text) = text else { return Ok(default) };
    let digits = text.strip_prefix("level=").unwrap_or(text);
    digits.parse().ok().filter(|level| (least..=most).contains(level)).ok_or_else(|| {
        Error::usage(format!(
            "'{text}' is not a level of {codec}: a whole number from {least} to {most}, such as {codec}:{default}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> String {
        match text.parse::<Codec>() {
            Ok(codec) => codec.to_string(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn codecs_are_read_as_they_are_printed() {
        for text in [
            "none",
            "zstd:3",
            "zstd:-5",
            "gzip:9",
            "blosc:lz4,5,shuffle",
            "blosc:zstd,1,bitshuffle,4096",
            "deflate:6",
            "lzw",
        ] {
            assert_eq!(parse(text), text);
        }
        assert_eq!(parse("blosc"), "blosc:zstd,3,bitshuffle");
        assert_eq!(parse("zstd"), "zstd:3");
        assert_eq!(parse("gzip:level=1"), "gzip:1");
        assert_eq!(parse("blosc:zstd,clevel=1,bitshuffle,blocksize=2MiB"), "blosc:zstd,1,bitshuffle,2097152");
        assert_eq!("blosc".parse::<Codec>().unwrap(), Codec::DEFAULT);
    }

    #[test]
    fn codecs_are_known_by_what_they_say_of_themselves() {
        for text in ["none", "zstd:3", "zstd:-5", "gzip:9", "blosc:lz4,5,shuffle", "blosc:zstd,1,bitshuffle,4096"] {
            let codec: Codec = text.parse().unwrap();
            assert_eq!(Codec::described(&codec.v2()).unwrap(), codec);
            assert_eq!(Codec::described(codec.v3(2).first().unwrap_or(&Value::Null)).unwrap(), codec);
        }
        assert!(Codec::described(&json!({"id": "lzma"})).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_explained() {
        for (text, says) in [
            ("lz4", "is not a codec"),
            ("none:3", "takes no settings"),
            ("gzip:10", "from 0 to 9"),
            ("zstd:fast", "from -7 to 22"),
            ("blosc:snappy", "zstd, lz4"),
            ("blosc:zstd,10", "0 to 9"),
            ("blosc:zstd,3,shuffel", "bitshuffle"),
            ("blosc:lz4,zstd", "twice"),
        ] {
            let said = text.parse::<Codec>().unwrap_err();
            assert!(said.to_string().contains(says), "{text}: {said}");
            assert_eq!(said.exit_code(), 2);
        }
    }

    #[test]
    fn compressors_stay_in_the_memory_they_are_given() {
        for level in [-7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 19, 22] {
            for n in [0, 1 << 10, 100_000, 128 << 10, 1 << 20, if level < 10 { (4 << 20) + 1 } else { 2 << 20 }] {
                let mut contexts = Contexts::default();
                encode_zstd(level, &vec![0; n], &mut vec![], &mut contexts).unwrap();
                let used = contexts.zstd.map_or(0, |c| c.sizeof() as u64);
                let allowed = zstd_context_bytes(level, n as u64);
                assert!(used <= allowed, "level {level}, {n} bytes: {used} > {allowed}");
            }
        }
    }

    #[test]
    fn blosc_takes_blocks_as_large_as_is_counted_on() {
        let data = vec![0; 2 << 20];
        let mut contexts = Contexts::default();
        for (compressor, sizes) in
            [("zstd", [1, 2, 16]), ("lz4", [1, 2, 16]), ("blosclz", [1, 8, 16]), ("zlib", [1, 4, 16])]
        {
            for level in 0..=9 {
                for block in ["", if level < 9 { ",300KiB" } else { ",1000" }] {
                    let codec: Codec = format!("blosc:{compressor},{level}{block}").parse().unwrap();
                    let Codec::Blosc(blosc) = &codec else { continue };
                    for size in sizes {
                        let mut out = vec![];
                        blosc.encode(&data, size, &mut out, &mut contexts.blosc).unwrap();
                        let used = u64::from(u32::from_le_bytes(out[8..12].try_into().unwrap()));
                        assert!(2 * used < codec.context_bytes(2 << 20), "{codec}, elements of {size}: {used}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_encoded_before_leaves_no_trace() {
        let mut state = 1u32;
        let mut noise = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let chunks: Vec<Vec<u8>> =
            (0..3).map(|_| (0..300_000).map(|i| noise() & 3 | (i / 999) as u8).collect()).collect();
        for level in 1..=13 {
            let codec = Codec::Zstd { level };
            let mut kept = Contexts::default();
            for chunk in &chunks {
                let (mut one, mut other) = (vec![], vec![]);
                codec.encode(chunk, 1, &mut one, &mut kept).unwrap();
                codec.encode(chunk, 1, &mut other, &mut Contexts::default()).unwrap();
                assert!(one == other, "level {level}");
            }
        }
    }

    #[test]
    fn encoded_chunks_stay_in_their_bound_and_append() {
        let noise: Vec<u8> = (0..70_001u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut contexts = Contexts::default();
        for text in
            ["none", "zstd:1", "zstd:19", "gzip:0", "gzip:9", "deflate:1", "lzw", "blosc", "blosc:lz4,9,noshuffle"]
        {
            let codec: Codec = text.parse().unwrap();
            for n in [0, 1, 100, 70_001] {
                let mut out = vec![7];
                codec.encode(&noise[..n], 1, &mut out, &mut contexts).unwrap();
                assert_eq!(out[0], 7);
                assert!(out.len() as u64 - 1 <= codec.bound(n as u64), "{text} {n}: {}", out.len() - 1);
            }
        }
    }
}
