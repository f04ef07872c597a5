//! Decoders of stored chunks, into memory of a known size: what a chunk holds beyond it is an error, never
//! an allocation.

use liblzma::stream::{Action, Status, Stream};

use super::{Contexts, blosc};
use crate::error::{Error, Result};

/// The inverse of a codec; unlike an encoder it needs no settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoder {
    /// The bytes as they are.
    None,
    /// A Blosc 1 container, whatever compressor made it.
    Blosc,
    /// Zstandard frames.
    Zstd,
    /// One gzip member.
    Gzip,
    /// One zlib stream.
    Zlib,
    /// An LZ4 block behind its decoded size, as numcodecs writes it.
    Lz4,
    /// LZMA2 in the xz container, or LZMA alone.
    Lzma,
    /// Lempel-Ziv-Welch, as TIFF has it.
    Lzw,
}

impl Decoder {
    /// The decoder for what Zarr calls `name`, with or without `numcodecs.` before it.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.strip_prefix("numcodecs.").unwrap_or(name) {
            "blosc" => Self::Blosc,
            "zstd" => Self::Zstd,
            "gzip" => Self::Gzip,
            "zlib" => Self::Zlib,
            "lz4" => Self::Lz4,
            "lzma" => Self::Lzma,
            _ => return None,
        })
    }

    /// Name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Blosc => "blosc",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Zlib => "zlib",
            Self::Lz4 => "lz4",
            Self::Lzma => "lzma",
            Self::Lzw => "lzw",
        }
    }

    /// Decodes `stored` to the start of `out` and returns the number of bytes.
    ///
    /// # Errors
    /// `Format` if it is damaged or holds more than `out`; `Unsupported` if it is of a kind that is not
    /// read.
    pub fn decode(self, stored: &[u8], out: &mut [u8], contexts: &mut Contexts) -> Result<usize> {
        match self {
            Self::None => {
                let room = out.len();
                let part = out.get_mut(..stored.len()).ok_or_else(|| too_much(self, stored.len(), room))?;
                part.copy_from_slice(stored);
                Ok(stored.len())
            }
            Self::Blosc => contexts.unblosc.decode(stored, out, &mut contexts.inflaters),
            Self::Zstd => contexts.inflaters.zstd(stored, out)?.map_err(|why| damaged(self, why)),
            Self::Gzip => {
                let inflate = contexts.inflaters.deflate();
                inflate.gzip_decompress(stored, out).map_err(|e| damaged(self, &e.to_string()))
            }
            Self::Zlib => contexts.inflaters.zlib(stored, out).map_err(|e| damaged(self, &e.to_string())),
            Self::Lz4 => {
                let (size, block) = stored.split_first_chunk().ok_or_else(|| damaged(self, "its size is cut off"))?;
                let (size, room) = (u32::from_le_bytes(*size) as usize, out.len());
                let part = out.get_mut(..size).ok_or_else(|| too_much(self, size, room))?;
                let n = blosc::lz4::decompress(block, part).filter(|n| *n == size);
                n.ok_or_else(|| damaged(self, "the block does not have the size that it states"))
            }
            Self::Lzw => lzw(stored, out).map_err(|why| damaged(self, &why)),
            Self::Lzma => match lzma(stored, out).map_err(|why| damaged(self, &why))? {
                n if n <= out.len() => Ok(n),
                n => Err(too_much(self, n, out.len())),
            },
        }
    }

    /// Decodes `stored` to exactly `out`.
    ///
    /// # Errors
    /// As [`Decoder::decode`], and `Format` if it holds less.
    pub fn decode_exact(self, stored: &[u8], out: &mut [u8], contexts: &mut Contexts) -> Result<()> {
        match self.decode(stored, out, contexts)? {
            n if n == out.len() => Ok(()),
            n => Err(Error::format(format!("{}: holds {n} bytes, not {}", self.name(), out.len()))),
        }
    }
}

/// Decodes LZMA to the start of `out`; the number of bytes, or why not. One more than there is room for stands for any that
/// are more.
pub(crate) fn lzma(stored: &[u8], out: &mut [u8]) -> Result<usize, String> {
    /// Dictionaries above this are refused: the largest preset of xz needs 65 MiB.
    const LIMIT_BYTES: u64 = 128 << 20;
    let mut stream = Stream::new_auto_decoder(LIMIT_BYTES, 0).map_err(|e| e.to_string())?;
    let mut spare = [0];
    loop {
        let (read, done) = (stream.total_in() as usize, stream.total_out() as usize);
        let output = if done < out.len() { &mut out[done..] } else { &mut spare };
        let status = stream.process(&stored[read..], output, Action::Finish).map_err(|e| match e {
            liblzma::stream::Error::MemLimit => "its dictionary is larger than 128 MiB".to_owned(),
            other => other.to_string(),
        })?;
        let n = stream.total_out() as usize;
        if status == Status::StreamEnd || n > out.len() || (read, done) == (stream.total_in() as usize, n) {
            return Ok(n);
        }
    }
}

/// Decodes LZW to the start of `out`, as far as there is room; the number of bytes, or why not.
fn lzw(stored: &[u8], out: &mut [u8]) -> Result<usize, String> {
    let configuration = weezl::decode::Configuration::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
    let mut decoder = configuration.with_yield_on_full_buffer(true).build();
    let (mut read, mut written) = (0, 0);
    while written < out.len() {
        let step = decoder.decode_bytes(&stored[read..], &mut out[written..]);
        let status = step.status.map_err(|e| e.to_string())?;
        (read, written) = (read + step.consumed_in, written + step.consumed_out);
        if !matches!(status, weezl::LzwStatus::Ok) || step.consumed_in + step.consumed_out == 0 {
            break;
        }
    }
    Ok(written)
}

/// The libraries' decoders, made when they are first needed.
#[derive(Default)]
pub(super) struct Inflaters {
    zstd: Option<zstd_safe::DCtx<'static>>,
    deflate: Option<libdeflater::Decompressor>,
}

impl Inflaters {
    /// Decompresses Zstandard frames to the start of `out`; the number of bytes, or why not.
    ///
    /// # Errors
    /// `Limit` without memory for a decoder.
    pub(super) fn zstd(&mut self, stored: &[u8], out: &mut [u8]) -> Result<Result<usize, &'static str>> {
        let context = match &mut self.zstd {
            Some(context) => context,
            none => {
                none.insert(zstd_safe::DCtx::try_create().ok_or_else(|| Error::limit("zstd: no memory for a decoder"))?)
            }
        };
        Ok(context.decompress(out, stored).map_err(zstd_safe::get_error_name))
    }

    /// Decompresses a zlib stream to the start of `out`; the number of bytes, or why not.
    pub(super) fn zlib(&mut self, stored: &[u8], out: &mut [u8]) -> Result<usize, libdeflater::DecompressionError> {
        self.deflate().zlib_decompress(stored, out)
    }

    fn deflate(&mut self) -> &mut libdeflater::Decompressor {
        self.deflate.get_or_insert_with(libdeflater::Decompressor::new)
    }
}

fn damaged(decoder: Decoder, why: &str) -> Error {
    Error::format(format!("{}: damaged, or longer than its array says: {why}", decoder.name()))
}

fn too_much(decoder: Decoder, found: usize, expected: usize) -> Error {
    Error::format(format!("{}: holds {found} bytes, more than {expected}", decoder.name()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Codec;

    #[test]
    fn an_empty_container_that_says_it_is_stored_may_be_longer() {
        let mut container = vec![2, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 21, 0, 0, 0];
        container.extend([7; 5]);
        assert_eq!(Decoder::Blosc.decode(&container, &mut [0; 8], &mut Contexts::default()).unwrap(), 0);
    }

    fn picture(n: usize) -> Vec<u8> {
        (0..n as u32).map(|i| (i / 7 * i % 97) as u8).collect()
    }

    #[test]
    fn every_codec_comes_back() {
        let data = picture(100_003);
        let mut contexts = Contexts::default();
        for text in
            ["none", "zstd:1", "gzip:6", "deflate:6", "lzw", "blosc", "blosc:lz4", "blosc:lz4hc", "blosc:blosclz"]
        {
            let codec: Codec = text.parse().unwrap();
            let decoder = codec.decoder();
            for n in [0, 1, 17, 100_003] {
                let mut stored = vec![];
                codec.encode(&data[..n], 4, &mut stored, &mut contexts).unwrap();
                let mut out = vec![0; n];
                decoder.decode_exact(&stored, &mut out, &mut contexts).unwrap();
                assert_eq!(out, data[..n]);
                assert!(decoder.decode_exact(&stored, &mut vec![0; n + 1], &mut contexts).is_err());
                // What is behind an end that was asked for is nobody's in LZW.
                if n > 0 && codec != Codec::Lzw {
                    assert!(decoder.decode_exact(&stored, &mut vec![0; n - 1], &mut contexts).is_err());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn damage_is_an_error_or_other_bytes_but_no_harm(
            at in 0usize..4000, bit in 0u8..8, cut in 0usize..4000, which in 0usize..5,
        ) {
            let codec: Codec = ["zstd:1", "gzip:6", "blosc", "blosc:lz4", "blosc:blosclz"][which].parse().unwrap();
            let decoder = Decoder::named(["zstd", "gzip", "blosc", "blosc", "blosc"][which]).unwrap();
            let mut contexts = Contexts::default();
            let mut stored = vec![];
            codec.encode(&picture(20_000), 2, &mut stored, &mut contexts).unwrap();
            let at = at % stored.len();
            stored[at] ^= 1 << bit;
            stored.truncate(stored.len() - cut % stored.len());
            let _ = decoder.decode_exact(&stored, &mut vec![0; 20_000], &mut contexts);
        }
    }

    #[test]
    fn snappy_is_refused_by_name() {
        let mut stored = vec![];
        Codec::DEFAULT.encode(&picture(1000), 1, &mut stored, &mut Contexts::default()).unwrap();
        stored[2] = stored[2] & 0x1f | 2 << 5;
        let said = Decoder::Blosc.decode(&stored, &mut [0; 1000], &mut Contexts::default()).unwrap_err();
        assert!(said.to_string().contains("snappy"));
    }
}
