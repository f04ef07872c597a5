//! JPEG 2000 with the reversible wavelet, as a bare codestream or in the boxes of a JP2 file.
//!
//! The irreversible wavelet is refused: what it decodes to is not fixed bit by bit. Source of the markers:
//! ITU-T T.800, annex A.

use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};

use super::StoredPiece;
use crate::error::{Error, Result};

/// Markers of the headers.
mod marker {
    pub(super) const START: u16 = 0xff4f;
    pub(super) const SIZE: u16 = 0xff51;
    pub(super) const CODING: u16 = 0xff52;
    pub(super) const COMPONENT_CODING: u16 = 0xff53;
    pub(super) const TILE_PART: u16 = 0xff90;
    pub(super) const DATA: u16 = 0xff93;
}

/// More bits than this do not survive the decoder's 24-bit mantissas.
const MOST_BITS: u16 = 16;

/// What the headers say, as far as they were there.
struct Headers {
    width: u32,
    height: u32,
    /// Tiles of the image.
    n_tiles: u64,
    /// Bits of each component, and whether they are signed.
    depths: Vec<(u16, bool)>,
    subsampled: bool,
    /// Coding parameters, for the image or for a component.
    codings: Vec<Coding>,
    /// Whether tiles have coding parameters of their own.
    varies: bool,
}

/// Parameters of the wavelet.
struct Coding {
    reversible: bool,
    levels: u8,
    /// Exponents of the sides of precincts, x in the low bits, for each resolution.
    precincts: Vec<u8>,
}

/// Big-endian numbers of a segment.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next(&mut self, bytes: usize) -> Option<u32> {
        let (field, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(field.iter().fold(0, |n, &b| n << 8 | u32::from(b)))
    }
}

impl Headers {
    /// The headers of `stream` as far as it goes; none if it is no codestream or its size is not there.
    fn parse(stream: &[u8]) -> Option<Self> {
        let mut fields = Fields(stream);
        if fields.next(2)? != u32::from(marker::START) || fields.next(2)? != u32::from(marker::SIZE) {
            return None;
        }
        let length = fields.next(2)? as usize;
        let mut headers = Self::size(Fields(fields.0.get(..length.checked_sub(2)?)?))?;
        let mut at = 4 + length;
        // The main header, then those of the tile-parts.
        let (mut tile_part, mut in_tile) = (0, false);
        while let Some([a, b, c, d]) = stream.get(at..at + 4).and_then(|s| s.first_chunk::<4>().copied()) {
            let (code, length) = (u16::from_be_bytes([a, b]), usize::from(u16::from_be_bytes([c, d])));
            let segment = stream.get(at + 4..at + 2 + length).unwrap_or_default();
            match code {
                marker::CODING | marker::COMPONENT_CODING if in_tile => headers.varies = true,
                marker::CODING => headers.codings.push(Coding::parse(segment, 5)?),
                marker::COMPONENT_CODING => {
                    // The component's number takes a byte or two.
                    let before = if headers.depths.len() < 257 { 1 } else { 2 };
                    headers.codings.push(Coding::parse(segment, before + 1)?);
                }
                marker::TILE_PART => {
                    in_tile = true;
                    let bytes = u32::from_be_bytes(segment.get(2..6)?.try_into().ok()?) as usize;
                    // Zero: up to the end.
                    tile_part = if bytes == 0 { stream.len() } else { at.checked_add(bytes)? };
                }
                marker::DATA => {
                    at = tile_part.max(at + 2);
                    continue;
                }
                _ => {}
            }
            at += 2 + length.max(2);
        }
        Some(headers)
    }

    fn size(mut fields: Fields<'_>) -> Option<Self> {
        fields.next(2)?;
        let mut two = || Some((fields.next(4)?, fields.next(4)?));
        let (end, start, tile, tile_start) = (two()?, two()?, two()?, two()?);
        let count = |end: u32, start: u32, tile: u32| u64::from(end.saturating_sub(start).div_ceil(tile.max(1)));
        let n_components = fields.next(2)?;
        let (mut depths, mut subsampled) = (Vec::new(), false);
        for _ in 0..n_components {
            let depth = fields.next(1)?;
            depths.push(((depth & 0x7f) as u16 + 1, depth & 0x80 != 0));
            subsampled |= fields.next(2)? != 0x0101;
        }
        Some(Self {
            width: end.0.saturating_sub(start.0),
            height: end.1.saturating_sub(start.1),
            n_tiles: count(end.0, tile_start.0, tile.0).saturating_mul(count(end.1, tile_start.1, tile.1)),
            depths,
            subsampled,
            codings: Vec::new(),
            varies: false,
        })
    }

    /// Refuses what is not decoded, or not to the same bits by everyone.
    fn refuse(&self, piece: &StoredPiece<'_>) -> Result<()> {
        if self.codings.iter().any(|c| !c.reversible) {
            return Err(piece.unsupported("lossy, by the irreversible wavelet"));
        }
        if self.subsampled {
            return Err(piece.unsupported("subsampled components"));
        }
        if self.varies {
            return Err(piece.unsupported("coding parameters that differ from tile to tile"));
        }
        let signed = piece.sample_format == 2;
        let bits = piece.bits;
        let fits = |&(depth, is_signed): &(u16, bool)| depth <= bits && is_signed == signed;
        if !matches!(bits, 8 | MOST_BITS) || piece.sample_format > 2 || !self.depths.iter().all(fits) {
            return Err(piece.unsupported(format!(
                "components of {:?} bits for samples of {bits} bits, sample format {}",
                self.depths.iter().map(|d| d.0).collect::<Vec<_>>(),
                piece.sample_format
            )));
        }
        // Records of precincts and of tiles' resolutions must not outgrow the samples.
        let n_samples = u64::from(self.width) * u64::from(self.height);
        let per_tile = |c: &Coding| c.n_precincts(self.width, self.height).max(self.n_tiles * u64::from(c.levels + 1));
        if self.codings.iter().any(|c| per_tile(c) > n_samples / 16 + 1024) {
            return Err(piece.unsupported("precincts or tiles of a few pixels"));
        }
        Ok(())
    }
}

impl Coding {
    /// The part that both segments share, which begins with the number of levels at `start`.
    fn parse(segment: &[u8], start: usize) -> Option<Self> {
        // Style, and after it what only the segment for the image has.
        let style = segment.get(start.checked_sub(if start == 5 { 5 } else { 1 })?)?;
        let shared = segment.get(start..)?;
        let levels = *shared.first()?;
        let reversible = *shared.get(4)? == 1;
        let precincts = if style & 1 != 0 { shared.get(5..6 + usize::from(levels))?.to_vec() } else { Vec::new() };
        Some(Self { reversible, levels: levels.min(32), precincts })
    }

    /// Precincts of one component of an image of one tile.
    fn n_precincts(&self, width: u32, height: u32) -> u64 {
        let side = |length: u32, shrink: usize, exponent: u8| {
            let length = u64::from(length).div_ceil(1 << shrink.min(40));
            length.div_ceil(1 << exponent)
        };
        let last = self.precincts.len().saturating_sub(1);
        let each = self.precincts.iter().enumerate();
        each.map(|(r, &e)| side(width, last - r, e & 15) * side(height, last - r, e >> 4)).sum()
    }
}

/// The codestream in `stored`, which may lie in boxes.
fn codestream(stored: &[u8]) -> &[u8] {
    const SIGNATURE: &[u8] = b"\0\0\0\x0cjP  \r\n\x87\n";
    let mut rest = stored.strip_prefix(SIGNATURE).unwrap_or_default();
    while let Some((head, _)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let whole = if length == 0 { rest.len() } else { length };
        if &head[4..] == b"jp2c" {
            return rest.get(8..whole).unwrap_or(&rest[8..]);
        }
        rest = rest.get(whole.max(8)..).unwrap_or_default();
    }
    stored
}

/// Refuses by what the beginning of a stream shows.
pub(super) fn refuse(piece: &StoredPiece<'_>, head: &[u8]) -> Result<()> {
    Headers::parse(codestream(head)).map_or(Ok(()), |headers| headers.refuse(piece))
}

pub(super) fn decode(piece: &StoredPiece<'_>, stored: &[u8], decoded: &mut [u8], _row_bytes: usize) -> Result<()> {
    let stored = codestream(stored);
    let headers = Headers::parse(stored).ok_or_else(|| piece.damaged("not a codestream with a header"))?;
    headers.refuse(piece)?;
    let found = (headers.width, headers.height, headers.depths.len());
    let expected = (piece.width, piece.rows, usize::from(piece.samples));
    if found != expected || headers.codings.is_empty() {
        return Err(piece.damaged(format!(
            "{}x{} pixels of {} samples, expected {}x{} of {}",
            found.0, found.1, found.2, expected.0, expected.1, expected.2
        )));
    }
    let settings = DecodeSettings { resolve_palette_indices: false, strict: true, target_resolution: None };
    let damaged = |e: hayro_jpeg2000::DecodeError| piece.damaged(e);
    let image = Image::new(stored, &settings).map_err(damaged)?;
    let mut context = DecoderContext::default();
    let image = image.decode(&mut context).map_err(damaged)?;
    let n_pixels = piece.width as usize * piece.rows as usize;
    let whole = |c: &hayro_jpeg2000::ComponentData| c.samples().len() == n_pixels;
    if image.components().len() != expected.2 || !image.components().iter().all(whole) {
        return Err(Error::format(format!("decodes to {} components", image.components().len())));
    }
    for (i, (component, &(depth, signed))) in image.components().iter().zip(&headers.depths).enumerate() {
        // The decoder gives signed samples shifted to be positive.
        let (most, shift) = ((1i32 << depth) - 1, if signed { 1 << (depth - 1) } else { 0 });
        let values = component.samples().iter().map(|&v| (v.round() as i32).clamp(0, most) - shift);
        if piece.bits == 8 {
            for (target, v) in decoded.iter_mut().skip(i).step_by(expected.2).zip(values) {
                *target = v as u8;
            }
        } else {
            let targets = decoded.as_chunks_mut::<2>().0;
            for (target, v) in targets.iter_mut().skip(i).step_by(expected.2).zip(values) {
                *target = (v as u16).to_ne_bytes();
            }
        }
    }
    Ok(())
}

/// Memory that the decoder may take: coefficients and records of code-blocks, of 16 samples at least.
/// Measured: 10 to 20 bytes per sample.
pub(super) fn scratch_bytes(decoded_bytes: u64) -> u64 {
    decoded_bytes.saturating_mul(24).saturating_add(4 << 20)
}
