//! The common compressions: bytes in, bytes out, into memory of the exact length.
//!
//! Every decoder gives the first bytes that `stored` holds, as many as `out` has room for, and says how many there
//! were, which may be more. `most_bytes` are what a strip or tile that is not cut off at the image's edge decodes
//! to.

use libdeflater::{DecompressionError, Decompressor};
use weezl::{BitOrder, LzwStatus};

use crate::error::{Error, Result};

/// Decoder states that one worker uses again and again.
#[derive(Default)]
pub(super) struct Decoders {
    deflate: Option<Decompressor>,
    lzw: [Option<weezl::decode::Decoder>; 2],
    zstd: Option<zstd_safe::DCtx<'static>>,
    /// Room for strips that decode to more than they should.
    spill: Vec<u8>,
}

fn damaged(name: &str, what: impl std::fmt::Display) -> Error {
    Error::format(format!("damaged {name} data: {what}"))
}

pub(super) fn deflate(stored: &[u8], out: &mut [u8], most_bytes: usize, kept: &mut Decoders) -> Result<usize> {
    let decoder = kept.deflate.get_or_insert_with(Decompressor::new);
    match decoder.zlib_decompress(stored, out) {
        Ok(n) => return Ok(n),
        Err(DecompressionError::BadData) => return Err(damaged("Deflate", "not a zlib stream, or a wrong checksum")),
        Err(DecompressionError::InsufficientSpace) => {}
    }
    // More rows than the page has: some writers complete the last strip. The decoder works only whole.
    for size in [most_bytes, most_bytes.saturating_mul(2).max(1 << 16)] {
        if size <= out.len() {
            continue;
        }
        kept.spill.resize(size, 0);
        match decoder.zlib_decompress(stored, &mut kept.spill) {
            Ok(n) => {
                out.copy_from_slice(&kept.spill[..out.len()]);
                kept.spill = Vec::new();
                return Ok(n);
            }
            Err(DecompressionError::BadData) => return Err(damaged("Deflate", "not a zlib stream")),
            Err(DecompressionError::InsufficientSpace) => {}
        }
    }
    Err(damaged("Deflate", format_args!("more than twice the {most_bytes} bytes of a whole piece")))
}

pub(super) fn lzw(stored: &[u8], out: &mut [u8], _: usize, kept: &mut Decoders) -> Result<usize> {
    // Files from before TIFF 6 hold the lowest bit first and switch code sizes one code later. Every strip
    // begins with the clear code 256, whose nine bits tell the two apart.
    let old = stored.len() > 1 && stored[0] == 0 && stored[1] & 1 == 1;
    let decoder = kept.lzw[usize::from(old)].get_or_insert_with(|| {
        if old {
            weezl::decode::Configuration::new(BitOrder::Lsb, 8)
        } else {
            weezl::decode::Configuration::with_tiff_size_switch(BitOrder::Msb, 8)
        }
        .with_yield_on_full_buffer(true)
        .build()
    });
    decoder.reset();
    let (mut read, mut written) = (0, 0);
    while written < out.len() {
        let step = decoder.decode_bytes(&stored[read..], &mut out[written..]);
        read += step.consumed_in;
        written += step.consumed_out;
        match step.status {
            Ok(LzwStatus::Ok) if step.consumed_in + step.consumed_out > 0 => {}
            Ok(_) => break,
            Err(e) => return Err(damaged("LZW", format_args!("{e}, after {written} bytes"))),
        }
    }
    Ok(written)
}

/// Source: TIFF 6.0, section 9.
pub(super) fn pack_bits(stored: &[u8], out: &mut [u8], _: usize, _: &mut Decoders) -> Result<usize> {
    let (mut read, mut written) = (0, 0);
    while let Some(&head) = stored.get(read) {
        read += 1;
        let room = out.len() - written;
        if room == 0 {
            break;
        }
        match head.cast_signed() {
            n @ 0.. => {
                let n = usize::from(n.cast_unsigned()) + 1;
                let have = n.min(room).min(stored.len() - read);
                out[written..written + have].copy_from_slice(&stored[read..read + have]);
                read += have;
                written += have;
                if have < n {
                    break;
                }
            }
            -128 => {}
            n => {
                let Some(&value) = stored.get(read) else { break };
                read += 1;
                let n = (1 + usize::from(n.unsigned_abs())).min(room);
                out[written..written + n].fill(value);
                written += n;
            }
        }
    }
    Ok(written)
}

pub(super) fn zstd(stored: &[u8], out: &mut [u8], _: usize, kept: &mut Decoders) -> Result<usize> {
    let name = |code| damaged("ZSTD", zstd_safe::get_error_name(code));
    if kept.zstd.is_none() {
        let mut context = zstd_safe::DCtx::create();
        // A few bytes may ask for a window of gigabytes.
        context.set_parameter(zstd_safe::DParameter::WindowLogMax(24)).map_err(name)?;
        kept.zstd = Some(context);
    }
    let Some(decoder) = &mut kept.zstd else { return Ok(0) };
    if let Ok(n) = decoder.decompress(out, stored) {
        return Ok(n);
    }
    // More than wanted, or damaged: a stream tells which, and gives what is wanted.
    decoder.init().map_err(name)?;
    let mut input = zstd_safe::InBuffer::around(stored);
    let mut output = zstd_safe::OutBuffer::around(out);
    loop {
        let before = (input.pos(), output.pos());
        decoder.decompress_stream(&mut output, &mut input).map_err(name)?;
        if output.pos() == output.capacity() || before == (input.pos(), output.pos()) {
            return Ok(output.pos());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pack_bits_decodes_the_example_of_its_authors() {
        let stored = [0xfe, 0xaa, 2, 0x80, 0, 0x2a, 0xfd, 0xaa, 3, 0x80, 0, 0x2a, 0x22, 0xf7, 0xaa];
        let mut expected = vec![0xaa, 0xaa, 0xaa, 0x80, 0, 0x2a, 0xaa, 0xaa, 0xaa, 0xaa, 0x80, 0, 0x2a, 0x22];
        expected.extend([0xaa; 10]);
        let mut out = [0; 24];
        let pack_bits = |stored: &[u8], out: &mut [u8]| pack_bits(stored, out, 0, &mut Decoders::default()).unwrap();
        assert_eq!(pack_bits(&stored, &mut out), 24);
        assert_eq!(out, expected[..]);
        // Cut off anywhere, it gives what is there; with less room, what fits.
        for n in 0..stored.len() {
            assert!(pack_bits(&stored[..n], &mut out) < 24);
        }
        assert_eq!(pack_bits(&stored, &mut out[..5]), 5);
    }

    #[test]
    fn both_kinds_of_lzw_are_told_apart() {
        let plain: Vec<u8> = (0..20_000u32).map(|i| (i * i / 700) as u8).collect();
        let new = weezl::encode::Encoder::with_tiff_size_switch(BitOrder::Msb, 8).encode(&plain).unwrap();
        let old = weezl::encode::Encoder::new(BitOrder::Lsb, 8).encode(&plain).unwrap();
        let mut kept = Decoders::default();
        for stored in [new, old] {
            let mut out = vec![0; plain.len()];
            assert_eq!(lzw(&stored, &mut out, plain.len(), &mut kept).unwrap(), plain.len());
            assert_eq!(out, plain);
            // Half the data is half the strip, not an error of its own.
            let n = lzw(&stored[..stored.len() / 2], &mut out, plain.len(), &mut kept).unwrap();
            assert!(n > 0 && n < plain.len());
        }
    }

    #[test]
    fn pieces_longer_than_wanted_give_their_beginning() {
        let plain: Vec<u8> = (0..5000u32).map(|i| (i / 9) as u8).collect();
        let mut encoder = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
        let mut zlib = vec![0; 6000];
        let n = encoder.zlib_compress(&plain, &mut zlib).unwrap();
        zlib.truncate(n);
        let mut zstd = vec![0; 6000];
        let n = zstd_safe::compress(&mut zstd[..], &plain, 3).unwrap();
        zstd.truncate(n);
        let mut kept = Decoders::default();
        for (decode, stored) in
            [(deflate as fn(&[u8], &mut [u8], usize, &mut Decoders) -> _, zlib), (super::zstd, zstd)]
        {
            let mut out = vec![0; 700];
            assert!(decode(&stored, &mut out, 5000, &mut kept).unwrap() >= 700);
            assert_eq!(out, plain[..700]);
            let mut out = vec![0; 6000];
            assert_eq!(decode(&stored, &mut out, 6000, &mut kept).unwrap(), 5000);
            let broken = [&stored[..20], &[0xff; 30]].concat();
            assert!(decode(&broken, &mut out, 6000, &mut kept).map_or(true, |n: usize| n < 5000));
        }
    }
}
