//! The decoder of Blosc 1 containers, whoever wrote them.
//!
//! Every length and offset is checked before it is used, and nothing is allocated beyond one block, which is no
//! longer than what the caller has room for.

use super::blosclz;
use super::container::{HEADER_BYTES, Header, LENGTH_BYTES};
use super::shuffle::Shuffler;
use super::{Shuffle, lz4};
use crate::codec::decode::Inflaters;
use crate::error::{Error, Result};

/// A decoder with its memory.
#[derive(Default)]
pub(in crate::codec) struct Decoder {
    shuffler: Shuffler,
    shuffled: Vec<u8>,
}

impl Decoder {
    /// Puts elements of `size` bytes whose bytes lie plane by plane back in order, into `out` of the same length.
    pub(in crate::codec) fn unshuffle(&mut self, size: usize, planes: &[u8], out: &mut [u8]) {
        self.shuffler.backward(super::Shuffle::Byte, size, planes, out);
    }

    /// Decodes `container` to the start of `out` and returns the number of bytes.
    ///
    /// # Errors
    /// `Format` if it is damaged or holds more than `out`; `Unsupported` if what is inside is not read.
    pub(in crate::codec) fn decode(
        &mut self,
        container: &[u8],
        out: &mut [u8],
        inflaters: &mut Inflaters,
    ) -> Result<usize> {
        let header = Header::parse(container)?;
        let room = out.len();
        let out = out
            .get_mut(..header.n_bytes)
            .ok_or_else(|| Error::format(format!("blosc: holds {} bytes, more than {room}", header.n_bytes)))?;
        if header.stored {
            let content = container.get(HEADER_BYTES..).and_then(|rest| rest.get(..out.len())).ok_or_else(cut)?;
            out.copy_from_slice(content);
            return Ok(out.len());
        }
        let n_bytes = out.len();
        for (index, block) in out.chunks_mut(header.block_bytes.max(1)).enumerate() {
            let offset = length_at(container, HEADER_BYTES + index * LENGTH_BYTES)?;
            let mut streams = |out: &mut [u8]| streams(&header, container, offset, out, inflaters);
            match header.shuffle {
                Shuffle::None => streams(block)?,
                shuffle => {
                    self.shuffled.resize(self.shuffled.len().max(block.len()), 0);
                    let shuffled = &mut self.shuffled[..block.len()];
                    streams(shuffled)?;
                    self.shuffler.backward(shuffle, header.element_bytes, shuffled, block);
                }
            }
        }
        Ok(n_bytes)
    }
}

/// Decodes the streams of the block at `offset` to `out`.
fn streams(
    header: &Header,
    container: &[u8],
    mut offset: usize,
    out: &mut [u8],
    inflaters: &mut Inflaters,
) -> Result<()> {
    let n_streams = header.n_streams(out.len());
    let each = out.len() / n_streams;
    for part in out[..each * n_streams].chunks_exact_mut(each) {
        let length = length_at(container, offset)?;
        let start = offset + LENGTH_BYTES;
        let stream = container.get(start..).and_then(|rest| rest.get(..length)).ok_or_else(cut)?;
        if stream.len() == part.len() {
            part.copy_from_slice(stream);
        } else {
            decompress(header.format, stream, part, inflaters)?;
        }
        offset = start + length;
    }
    Ok(())
}

/// Decompresses `stream`, which must give exactly `out`.
fn decompress(format: u8, stream: &[u8], out: &mut [u8], inflaters: &mut Inflaters) -> Result<()> {
    let n = match format {
        0 => blosclz::decompress(stream, out),
        1 => lz4::decompress(stream, out),
        2 => {
            const TEXT: &str = "blosc with snappy inside is not read: rewrite the array with another codec";
            return Err(Error::unsupported(TEXT));
        }
        3 => inflaters.zlib(stream, out).ok(),
        4 => inflaters.zstd(stream, out)?.ok(),
        other => return Err(Error::unsupported(format!("blosc with format {other} inside is not known"))),
    };
    match n {
        Some(n) if n == out.len() => Ok(()),
        _ => Err(Error::format("blosc: damaged: a block does not decompress to its length")),
    }
}

fn length_at(container: &[u8], offset: usize) -> Result<usize> {
    let bytes = container.get(offset..).and_then(<[u8]>::first_chunk).ok_or_else(cut)?;
    Ok(u32::from_le_bytes(*bytes) as usize)
}

fn cut() -> Error {
    Error::format("blosc: damaged: a block reaches beyond the container")
}
