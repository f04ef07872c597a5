//! One Lerc2 blob: header, mask of valid pixels, and pixels in one sweep, Huffman codes or tiles.

use super::bits::{Reader, WordBits, unpack};
use super::huffman::Codes;

/// Why a blob cannot be decoded.
pub(super) enum Fault {
    Damaged(&'static str),
    Unsupported(&'static str),
}

/// A sample type of LERC.
pub(super) trait Value: Copy {
    const SIZE: usize;
    fn from_f64(value: f64) -> Self;
    fn f64(self) -> f64;
    /// From little-endian bytes, `SIZE` of them.
    fn from_le(bytes: &[u8]) -> Self;
    fn from_ne(bytes: &[u8]) -> Self;
    fn put(self, bytes: &mut [u8]);
}

macro_rules! values {
    ($($t:ty)*) => {$(
        impl Value for $t {
            const SIZE: usize = size_of::<$t>();
            fn from_f64(value: f64) -> Self { value as $t }
            fn f64(self) -> f64 { self as f64 }
            fn from_le(bytes: &[u8]) -> Self {
                let mut array = [0; size_of::<$t>()];
                array.copy_from_slice(bytes);
                <$t>::from_le_bytes(array)
            }
            fn from_ne(bytes: &[u8]) -> Self {
                let mut array = [0; size_of::<$t>()];
                array.copy_from_slice(bytes);
                <$t>::from_ne_bytes(array)
            }
            fn put(self, bytes: &mut [u8]) { bytes.copy_from_slice(&self.to_ne_bytes()); }
        }
    )*};
}

values!(u8 i8 u16 i16 u32 i32 f32 f64);

/// A parsed header and mask, with what follows them.
pub(super) struct Image<'a> {
    version: i32,
    pub(super) rows: u32,
    pub(super) width: u32,
    /// Samples per pixel.
    pub(super) depth: u32,
    n_valid: u32,
    tile_size: u32,
    pub(super) kind: i32,
    max_error: f64,
    min: f64,
    max: f64,
    /// One bit per pixel, highest first; none if all or no pixels are valid.
    mask: Option<Vec<u8>>,
    rest: Reader<'a>,
}

impl<'a> Image<'a> {
    /// Reads header and mask. Nothing is allocated but a mask that the blob holds.
    pub(super) fn parse(blob: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader { bytes: blob };
        if reader.take(6)? != b"Lerc2 " {
            return Err(Fault::Unsupported("not a Lerc2 blob"));
        }
        let version = reader.i32()?;
        if !(1..=6).contains(&version) {
            return Err(Fault::Unsupported("version other than 2.1 to 2.6"));
        }
        let checksum = if version >= 3 { Some((reader.u32()?, reader.bytes)) } else { None };
        let (rows, width) = (reader.u32()?, reader.u32()?);
        let depth = if version >= 4 { reader.u32()? } else { 1 };
        let n_valid = reader.u32()?;
        let tile_size = reader.u32()?;
        let size = reader.u32()? as usize;
        let kind = reader.i32()?;
        let blobs_follow = if version >= 6 { reader.i32()? } else { 0 };
        let no_data = if version >= 6 { reader.array::<4>()?[0] } else { 0 };
        if blobs_follow != 0 {
            return Err(Fault::Unsupported("several bands, one after the other"));
        }
        if no_data != 0 {
            return Err(Fault::Unsupported("values that stand for no data"));
        }
        let (max_error, min, max) = (reader.f64()?, reader.f64()?, reader.f64()?);
        if version >= 6 {
            reader.take(16)?;
        }
        if size > blob.len() || size < blob.len() - reader.bytes.len() {
            return Err(Fault::Damaged("size other than declared"));
        }
        if let Some((expected, bytes)) = checksum {
            let covered = bytes.get(..size - 14).ok_or(Fault::Damaged("size other than declared"))?;
            if fletcher32(covered) != expected {
                return Err(Fault::Damaged("wrong checksum"));
            }
        }
        let n_pixels = u64::from(rows) * u64::from(width);
        if n_pixels == 0 || depth == 0 || u64::from(n_valid) > n_pixels || tile_size == 0 {
            return Err(Fault::Damaged("impossible header"));
        }
        let mask_bytes = reader.u32()? as usize;
        let packed = Reader { bytes: reader.take(mask_bytes)? };
        let mask =
            if n_valid == 0 || u64::from(n_valid) == n_pixels { None } else { Some(unpack_mask(packed, n_pixels)?) };
        let image =
            Self { version, rows, width, depth, n_valid, tile_size, kind, max_error, min, max, mask, rest: reader };
        if image.mask.is_some() {
            let counted = (0..n_pixels as usize).filter(|&p| image.is_valid(p)).count();
            if counted as u64 != u64::from(n_valid) {
                return Err(Fault::Damaged("mask does not fit the count of valid pixels"));
            }
        }
        Ok(image)
    }

    /// Whether every pixel has a value.
    pub(super) fn all_valid(&self) -> bool {
        u64::from(self.n_valid) == u64::from(self.rows) * u64::from(self.width)
    }

    /// Whether the pixel has a value.
    pub(super) fn is_valid(&self, pixel: usize) -> bool {
        match &self.mask {
            Some(mask) => mask.get(pixel / 8).is_some_and(|byte| byte >> (7 - pixel % 8) & 1 == 1),
            None => self.n_valid != 0,
        }
    }

    /// Writes all samples, pixel by pixel, in native byte order; zero where a pixel is not valid.
    pub(super) fn decode<T: Value>(&self, out: &mut [u8]) -> Result<(), Fault> {
        out.fill(0);
        let mut pixels = Pixels::<T> { bytes: out, kind: std::marker::PhantomData };
        let mut reader = self.rest;
        if self.n_valid == 0 {
            return Ok(());
        }
        if self.min == self.max {
            self.fill(&mut pixels, |_| T::from_f64(self.min));
            return Ok(());
        }
        let mut maxima = vec![self.max];
        if self.version >= 4 {
            let bytes = self.depth as usize * T::SIZE;
            let min = reader.take(bytes)?;
            let max = reader.take(bytes)?;
            maxima = max.chunks_exact(T::SIZE).map(|v| T::from_le(v).f64()).collect();
            if min == max {
                self.fill(&mut pixels, |sample| T::from_le(&min[sample * T::SIZE..(sample + 1) * T::SIZE]));
                return Ok(());
            }
        }
        if reader.u8()? != 0 {
            return self.one_sweep(&mut reader, &mut pixels);
        }
        if self.version >= 2 && self.kind <= 1 && self.max_error == 0.5 {
            match reader.u8()? {
                0 => {}
                mode @ 1..=2 if mode == 1 || self.version >= 4 => {
                    return self.huffman(&mut reader, &mut pixels, mode == 1);
                }
                _ => return Err(Fault::Damaged("unknown mode of coding")),
            }
        } else if self.version >= 6 && self.kind >= 6 && self.max_error == 0.0 {
            match reader.u8()? {
                0 => {}
                _ => return Err(Fault::Unsupported("lossless mode for floats of version 2.6")),
            }
        }
        self.tiles(&mut reader, &mut pixels, &maxima)
    }

    fn fill<T: Value>(&self, pixels: &mut Pixels<'_, T>, value: impl Fn(usize) -> T) {
        let depth = self.depth as usize;
        for pixel in 0..self.n_pixels() {
            if self.is_valid(pixel) {
                (0..depth).for_each(|sample| pixels.set(pixel * depth + sample, value(sample)));
            }
        }
    }

    fn n_pixels(&self) -> usize {
        // Compared with the target's size before decoding begins.
        self.rows as usize * self.width as usize
    }

    fn one_sweep<T: Value>(&self, reader: &mut Reader<'_>, pixels: &mut Pixels<'_, T>) -> Result<(), Fault> {
        let depth = self.depth as usize;
        for pixel in 0..self.n_pixels() {
            if self.is_valid(pixel) {
                for sample in 0..depth {
                    pixels.set(pixel * depth + sample, T::from_le(reader.take(T::SIZE)?));
                }
            }
        }
        Ok(())
    }

    /// Eight-bit values, as they are or as differences from the pixel to the left or above.
    fn huffman<T: Value>(&self, reader: &mut Reader<'_>, pixels: &mut Pixels<'_, T>, delta: bool) -> Result<(), Fault> {
        let codes = Codes::parse(reader, self.version)?;
        let mut bits = WordBits::new(reader.bytes);
        let offset = if self.kind == 0 { 128 } else { 0 };
        let (depth, width) = (self.depth as usize, self.width as usize);
        let bytes = &mut *pixels.bytes;
        if !delta {
            for pixel in 0..self.n_pixels() {
                if self.is_valid(pixel) {
                    for sample in 0..depth {
                        bytes[pixel * depth + sample] = codes.value(&mut bits)?.wrapping_sub(offset);
                    }
                }
            }
            return Ok(());
        }
        for sample in 0..depth {
            let mut last = 0u8;
            for pixel in 0..self.n_pixels() {
                if !self.is_valid(pixel) {
                    continue;
                }
                let left = pixel % width > 0 && self.is_valid(pixel - 1);
                let above = !left && pixel >= width && self.is_valid(pixel - width);
                let before = if above { bytes[(pixel - width) * depth + sample] } else { last };
                last = codes.value(&mut bits)?.wrapping_sub(offset).wrapping_add(before);
                bytes[pixel * depth + sample] = last;
            }
        }
        Ok(())
    }

    fn tiles<T: Value>(
        &self,
        reader: &mut Reader<'_>,
        pixels: &mut Pixels<'_, T>,
        maxima: &[f64],
    ) -> Result<(), Fault> {
        let mut list = Vec::new();
        let size = self.tile_size;
        let mut row = 0;
        while row < self.rows {
            let row_end = self.rows.min(row.saturating_add(size));
            let mut column = 0;
            while column < self.width {
                let column_end = self.width.min(column.saturating_add(size));
                for sample in 0..self.depth as usize {
                    let tile = Tile { rows: row..row_end, columns: column..column_end, sample };
                    let max = maxima.get(sample).copied().unwrap_or(self.max);
                    self.tile(reader, pixels, &tile, max, &mut list)?;
                }
                column = column_end;
            }
            row = row_end;
        }
        Ok(())
    }

    fn tile<T: Value>(
        &self,
        reader: &mut Reader<'_>,
        pixels: &mut Pixels<'_, T>,
        tile: &Tile,
        max: f64,
        list: &mut Vec<u32>,
    ) -> Result<(), Fault> {
        let head = reader.u8()?;
        // Bits that repeat part of the column guard against losing step.
        let guard = if self.version >= 5 { 14 } else { 15 };
        if u32::from(head >> 2) & guard != (tile.columns.start >> 3) & guard {
            return Err(Fault::Damaged("tiles out of step"));
        }
        // Differences from the sample before.
        let delta = self.version >= 5 && head & 4 != 0;
        if delta && tile.sample == 0 {
            return Err(Fault::Damaged("differences from no sample"));
        }
        let before = |pixels: &Pixels<'_, T>, m: usize| if delta { pixels.get(m - 1).f64() } else { 0.0 };
        let valid = self.valid_of(tile);
        match head & 3 {
            0 if delta => return Err(Fault::Damaged("differences that are not packed")),
            0 => {
                for m in valid {
                    pixels.set(m, T::from_le(reader.take(T::SIZE)?));
                }
            }
            2 => {
                for m in valid {
                    let value = before(pixels, m);
                    pixels.set(m, T::from_f64(value));
                }
            }
            mode => {
                let kind = if delta && self.kind < 6 { 4 } else { self.kind };
                let offset = reduced(reader, kind, head >> 6)?;
                if mode == 3 {
                    for m in valid {
                        let value = offset + before(pixels, m);
                        pixels.set(m, T::from_f64(if delta { value.min(max) } else { value }));
                    }
                    return Ok(());
                }
                let area = tile.rows.len().saturating_mul(tile.columns.len());
                unpack(reader, self.version, area, list)?;
                let scale = 2.0 * self.max_error;
                let mut numbers = list.iter();
                for m in valid {
                    let number = *numbers.next().ok_or(Fault::Damaged("fewer packed numbers than pixels"))?;
                    let value = offset + f64::from(number) * scale + before(pixels, m);
                    pixels.set(m, T::from_f64(value.min(max)));
                }
            }
        }
        Ok(())
    }

    /// Positions of the tile's samples whose pixels are valid.
    fn valid_of(&self, tile: &Tile) -> impl Iterator<Item = usize> {
        let (width, depth, sample) = (self.width as usize, self.depth as usize, tile.sample);
        let columns = tile.columns.clone();
        tile.rows
            .clone()
            .flat_map(move |row| columns.clone().map(move |column| row as usize * width + column as usize))
            .filter(|&pixel| self.is_valid(pixel))
            .map(move |pixel| pixel * depth + sample)
    }
}

/// Where a tile lies, and which sample of its pixels it holds.
struct Tile {
    rows: std::ops::Range<u32>,
    columns: std::ops::Range<u32>,
    sample: usize,
}

/// Samples in native byte order, at any alignment.
struct Pixels<'a, T> {
    bytes: &'a mut [u8],
    kind: std::marker::PhantomData<T>,
}

impl<T: Value> Pixels<'_, T> {
    fn get(&self, index: usize) -> T {
        T::from_ne(&self.bytes[index * T::SIZE..(index + 1) * T::SIZE])
    }

    fn set(&mut self, index: usize, value: T) {
        value.put(&mut self.bytes[index * T::SIZE..(index + 1) * T::SIZE]);
    }
}

/// A number stored in the smallest type that holds it: `code` says how much smaller than `kind`.
fn reduced(reader: &mut Reader<'_>, kind: i32, code: u8) -> Result<f64, Fault> {
    let code = i32::from(code);
    let stored = match kind {
        2 | 4 => kind - code,
        3 | 5 => kind - 2 * code,
        6 => match code {
            0 => 6,
            1 => 2,
            _ => 1,
        },
        7 if code > 0 => 8 - 2 * code,
        _ => kind,
    };
    Ok(match stored {
        0 => f64::from(i8::from_le_bytes(reader.array()?)),
        1 => f64::from(reader.u8()?),
        2 => f64::from(i16::from_le_bytes(reader.array()?)),
        3 => f64::from(u16::from_le_bytes(reader.array()?)),
        4 => f64::from(reader.i32()?),
        5 => f64::from(reader.u32()?),
        6 => f64::from(f32::from_le_bytes(reader.array()?)),
        7 => reader.f64()?,
        _ => return Err(Fault::Damaged("offset of no known type")),
    })
}

/// Runs of bytes, literal or repeated, until a count of -32768.
fn unpack_mask(mut reader: Reader<'_>, n_pixels: u64) -> Result<Vec<u8>, Fault> {
    const BAD: Fault = Fault::Damaged("bad mask of valid pixels");
    if reader.bytes.is_empty() {
        return Err(Fault::Unsupported("mask taken from the blob before"));
    }
    // A repeated byte costs three and gives at most 32767.
    let size = usize::try_from(n_pixels.div_ceil(8)).map_err(|_| BAD)?;
    if size / 32767 > reader.bytes.len() {
        return Err(BAD);
    }
    let mut mask = Vec::with_capacity(size);
    loop {
        let count = i16::from_le_bytes(reader.array()?);
        let n = usize::from(count.unsigned_abs());
        if count == i16::MIN {
            return if mask.len() == size { Ok(mask) } else { Err(BAD) };
        }
        if mask.len() + n > size {
            return Err(BAD);
        }
        if count > 0 {
            mask.extend_from_slice(reader.take(n)?);
        } else {
            let byte = reader.u8()?;
            mask.resize(mask.len() + n, byte);
        }
    }
}

/// Fletcher's checksum over big-endian 16-bit words.
fn fletcher32(bytes: &[u8]) -> u32 {
    let (mut first, mut second) = (0xffff_u32, 0xffff_u32);
    // 359 words are the most that do not overflow before folding.
    for words in bytes.chunks(2 * 359) {
        for word in words.chunks(2) {
            first += u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0));
            second += first;
        }
        first = (first & 0xffff) + (first >> 16);
        second = (second & 0xffff) + (second >> 16);
    }
    first = (first & 0xffff) + (first >> 16);
    second = (second & 0xffff) + (second >> 16);
    second << 16 | first
}
