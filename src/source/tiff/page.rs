//! What a page is: shape, sample format, compression and layout, from the fields of its directory.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::codec::Compression;
use super::headers::HeaderReader;
use super::tag::{TagField, uint};
use crate::axis::Axis;
use crate::dtype::DType;
use crate::error::Result;

/// Why the pixels of one page cannot be read, while its neighbours may.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum PageError {
    Format(String),
    Unsupported(String),
}

impl PageError {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Format(text) | Self::Unsupported(text) => text,
        }
    }
}

/// Where a strip or tile lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) offset: u64,
    pub(super) count: u64,
}

impl Chunk {
    /// A strip or tile that was never stored.
    pub(super) const ABSENT: Self = Self { offset: 0, count: 0 };
}

/// The fields of one directory that matter for pixels.
#[derive(Debug, Default)]
pub(super) struct RawPage {
    pub(super) offsets: Option<TagField>,
    pub(super) counts: Option<TagField>,
    /// Where directories of other versions of the page are.
    pub(super) sub_ifds: Option<TagField>,
    tile_offsets: bool,
    subfile: u64,
    width: Option<u64>,
    height: Option<u64>,
    depth: Option<u64>,
    /// Bits and format of every sample.
    per_sample: [Option<TagField>; 2],
    bits: Alike,
    formats: Alike,
    compression: Option<u64>,
    photometric: Option<u64>,
    fill_order: Option<u64>,
    orientation: Option<u64>,
    samples: Option<u64>,
    rows_per_strip: Option<u64>,
    tile: [Option<u64>; 3],
    planar: Option<u64>,
    predictor: Option<u64>,
    subsampling: Vec<u64>,
    fax_options: u64,
    lerc: Vec<u64>,
    resolution: [Option<(u32, u32)>; 2],
    resolution_unit: Option<u64>,
    jpeg_tables: Option<Arc<[u8]>>,
    software: Option<TagField>,
    /// Whether the header of a Zeiss LSM is there.
    pub(super) is_lsm: bool,
    /// Why a field could not be read.
    fault: Option<String>,
}

/// Samples of one pixel, more than any instrument has.
const MOST_SAMPLES: u64 = u16::MAX as u64;
/// Bytes of shared JPEG tables, more than the format has room for.
const MOST_TABLE_BYTES: u64 = 1 << 16;

impl RawPage {
    /// Reads what matters of `fields`.
    ///
    /// # Errors
    /// `Io` only: fields that are at fault make the page so, not the file.
    pub(super) fn collect(
        fields: impl Iterator<Item = TagField> + Clone,
        headers: &mut HeaderReader<'_>,
    ) -> Result<Self> {
        let mut raw = Self::default();
        let (mut largest, mut seen) = (None, None::<HashSet<u16>>);
        for (i, field) in fields.clone().enumerate() {
            // Where a tag comes twice, the first counts, as in other readers. In order, none does.
            let known = seen.as_mut().map(|seen| !seen.insert(field.tag));
            if known.unwrap_or_else(|| largest.is_some_and(|largest| field.tag <= largest)) {
                let before = || fields.clone().take(i).map(|f| f.tag).collect();
                if known.is_some() || !seen.get_or_insert_with(before).insert(field.tag) {
                    continue;
                }
            }
            largest = largest.max(Some(field.tag));
            match raw.take(&field, headers) {
                Ok(()) => {}
                Err(io @ crate::error::Error::Io { .. }) => return Err(io),
                // Without its resolution an image is as readable as with it.
                Err(_) if matches!(field.tag, 282 | 283 | 296) => {}
                Err(e) => raw.fault = Some(format!("tag {}: {e}", field.tag)),
            }
        }
        // No more values than there are samples matter, however many are claimed.
        let n = raw.samples.unwrap_or(if raw.compression == Some(6) { 3 } else { 1 });
        let [bits, formats] = raw.per_sample;
        for (field, alike) in [(bits, &mut raw.bits), (formats, &mut raw.formats)] {
            let Some(field) = field else { continue };
            match Alike::read(&field, n, headers) {
                Ok(found) => *alike = found,
                Err(io @ crate::error::Error::Io { .. }) => return Err(io),
                Err(e) => raw.fault = Some(format!("tag {}: {e}", field.tag)),
            }
        }
        raw.amend(headers)?;
        Ok(raw)
    }

    /// Corrects the tags of programs that are known to write wrong ones, as other readers do.
    fn amend(&mut self, headers: &mut HeaderReader<'_>) -> Result<()> {
        let float = self.bits.first == Some(32) && self.formats.first.is_none();
        let deep = self.depth.is_some_and(|depth| depth > 1);
        let Some(field) = self.software.filter(|f| (float || deep) && f.field_type == 2) else { return Ok(()) };
        let length = field.count.min(64) as usize;
        let software = match headers.value(field.at, length) {
            Ok(text) => text,
            Err(io @ crate::error::Error::Io { .. }) => return Err(io),
            Err(_) => return Ok(()),
        };
        if float && software.starts_with(b"IndicaLabsImageWriter") {
            self.formats.first = Some(3);
        }
        if deep && (software.starts_with(b"Philips DP") || software.starts_with(b"ISS Vista")) {
            (self.depth, self.tile[0]) = (None, None);
        }
        Ok(())
    }

    fn take(&mut self, field: &TagField, headers: &mut HeaderReader<'_>) -> Result<()> {
        let mut one = || -> Result<Option<u64>> {
            let mut value = None;
            if field.count > 0 {
                headers.uints(field, 1, |v| value = Some(v))?;
            }
            Ok(value)
        };
        match field.tag {
            254 => self.subfile |= one()?.unwrap_or(0),
            // The old SubfileType: 2 is a reduced image.
            255 => self.subfile |= u64::from(one()? == Some(2)),
            256 => self.width = one()?,
            257 => self.height = one()?,
            258 => self.per_sample[0] = Some(*field),
            259 => self.compression = one()?,
            262 => self.photometric = one()?,
            266 => self.fill_order = one()?,
            // Tables of tiles win over tables of strips.
            273 if !self.tile_offsets => self.offsets = Some(*field),
            274 => self.orientation = one()?,
            277 => self.samples = one()?,
            278 => self.rows_per_strip = if field.count == 1 { one()? } else { None },
            279 if !self.tile_offsets => self.counts = Some(*field),
            282 | 283 if field.field_type == 5 && field.count == 1 => {
                let big = headers.big_endian;
                let b = headers.value(field.at, 8)?;
                let part = |b: &[u8]| uint(b, big) as u32;
                self.resolution[usize::from(field.tag - 282)] = Some((part(&b[..4]), part(&b[4..])));
            }
            284 => self.planar = one()?,
            292 | 293 => self.fax_options = one()?.unwrap_or(0),
            296 => self.resolution_unit = one()?,
            305 => self.software = Some(*field),
            317 => self.predictor = one()?,
            322 => self.tile[2] = one()?,
            323 => self.tile[1] = one()?,
            324 => {
                if !self.tile_offsets {
                    self.counts = None;
                }
                self.tile_offsets = true;
                self.offsets = Some(*field);
            }
            325 => {
                self.tile_offsets = true;
                self.counts = Some(*field);
            }
            330 => self.sub_ifds = Some(*field),
            339 => self.per_sample[1] = Some(*field),
            347 if field.size_bytes() <= MOST_TABLE_BYTES => self.jpeg_tables = Some(headers.shared(field)?),
            530 => self.subsampling = several(field, headers, 2)?,
            32997 => self.depth = one()?,
            34412 => self.is_lsm = true,
            32998 => self.tile[0] = one()?,
            50674 => self.lerc = several(field, headers, 16)?,
            _ => {}
        }
        Ok(())
    }
}

/// One value per sample, as far as it matters: the first, and how many are like it.
#[derive(Debug, Default)]
struct Alike {
    first: Option<u64>,
    n_alike: u64,
    n: u64,
}

impl Alike {
    /// The first `n` values of `field`.
    fn read(field: &TagField, n: u64, headers: &mut HeaderReader<'_>) -> Result<Self> {
        let mut alike = Self { n: field.count.min(n).min(MOST_SAMPLES), ..Self::default() };
        let mut i = 0;
        headers.uints(field, alike.n, |value| {
            if *alike.first.get_or_insert(value) == value && alike.n_alike == i {
                alike.n_alike += 1;
            }
            i += 1;
        })?;
        Ok(alike)
    }
}

/// At most `most` values of `field`.
fn several(field: &TagField, headers: &mut HeaderReader<'_>, most: u64) -> Result<Vec<u64>> {
    let mut values = Vec::new();
    headers.uints(field, field.count.min(most), |v| values.push(v))?;
    Ok(values)
}

/// How stored samples become elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    /// Stored as elements are, up to byte order.
    Native,
    /// Unsigned integers of a number of bits, packed with the highest bit first.
    Unsigned,
    /// The same in two's complement.
    Signed,
    /// Floats of 24 bits: 1 sign, 7 exponent, 16 mantissa.
    Float24,
    /// Complex numbers of two integers.
    ComplexInteger,
}

/// Everything that pages of one kind have in common: all but the place of their pixels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageKind {
    /// Pixels per row.
    pub width: u64,
    /// Rows.
    pub height: u64,
    /// Planes of a volume in one page (ImageDepth), else 1.
    pub depth: u64,
    /// Samples per pixel.
    pub samples: u16,
    /// Whether samples are stored as planes of their own.
    pub planar: bool,
    /// Bits of one sample as stored; both halves of a complex number.
    pub bits: u16,
    /// TIFF SampleFormat: 1 unsigned, 2 signed, 3 float, 4 undefined, 5 complex integer, 6 complex float.
    pub sample_format: u16,
    /// Type of the elements.
    pub dtype: DType,
    /// How stored samples become elements.
    pub packing: Packing,
    /// TIFF Compression.
    pub compression: u16,
    /// TIFF Predictor.
    pub predictor: u16,
    /// TIFF PhotometricInterpretation.
    pub photometric: u16,
    /// TIFF FillOrder.
    pub fill_order: u16,
    /// TIFF Orientation.
    pub orientation: u16,
    /// TIFF NewSubfileType: bit 0 a reduced copy, bit 2 a mask.
    pub subfile: u32,
    /// Depth, rows and pixels per row of a strip or tile.
    pub chunk: [u64; 3],
    /// Whether they are tiles.
    tiled: bool,
    /// XResolution and YResolution as fractions, if given.
    pub resolution: [Option<(u32, u32)>; 2],
    /// TIFF ResolutionUnit: 1 none, 2 inch, 3 centimetre.
    pub resolution_unit: u16,
    pub(super) subsampling: (u16, u16),
    pub(super) fax_options: u32,
    pub(super) lerc: Vec<u32>,
    pub(super) jpeg_tables: Option<Arc<[u8]>>,
    /// Why pages of this kind cannot be read.
    pub(super) problem: Option<PageError>,
}

impl PageKind {
    pub(super) fn new(raw: &RawPage) -> Self {
        let short = |v: Option<u64>, default: u16| v.map_or(default, |v| u16::try_from(v).unwrap_or(u16::MAX));
        let mut kind = Self {
            width: raw.width.unwrap_or(0),
            height: raw.height.unwrap_or(0),
            depth: raw.depth.unwrap_or(1),
            // Writers of old-style JPEG forget the three samples of its colours, as libtiff knows.
            samples: short(raw.samples, if raw.compression == Some(6) { 3 } else { 1 }),
            planar: raw.planar == Some(2) && raw.samples.is_some_and(|n| n > 1),
            bits: short(raw.bits.first, 1),
            // Some programs write 0 where they mean the default.
            sample_format: short(raw.formats.first, 1).max(1),
            dtype: DType::Uint8,
            packing: Packing::Native,
            compression: short(raw.compression, 1),
            // Predictors are a part of compression.
            predictor: if short(raw.compression, 1) == 1 { 1 } else { short(raw.predictor, 1) },
            photometric: short(raw.photometric, 1),
            fill_order: short(raw.fill_order, 1).max(1),
            orientation: short(raw.orientation, 1),
            subfile: raw.subfile as u32,
            chunk: [1; 3],
            tiled: false,
            resolution: raw.resolution,
            resolution_unit: short(raw.resolution_unit, 2),
            subsampling: match raw.subsampling[..] {
                [x, y] => (x as u16, y as u16),
                _ => (2, 2),
            },
            fax_options: raw.fax_options as u32,
            lerc: raw.lerc.iter().map(|&v| v as u32).collect(),
            jpeg_tables: raw.jpeg_tables.clone(),
            problem: None,
        };
        if let Err(problem) = kind.settle(raw) {
            kind.problem = Some(problem);
        }
        kind
    }

    /// Works out layout and element type, and refuses what cannot be read.
    fn settle(&mut self, raw: &RawPage) -> Result<(), PageError> {
        let format = |text: String| Err(PageError::Format(text));
        let unsupported = |text: String| Err(PageError::Unsupported(text));
        if let Some(fault) = &raw.fault {
            return format(fault.clone());
        }
        for (value, name) in [(raw.width, "width"), (raw.height, "height")] {
            match value {
                None => return format(format!("has no image {name}")),
                Some(0) => return format(format!("has an image {name} of 0")),
                Some(v) if v > u64::from(u32::MAX) => return format(format!("has an image {name} of {v}")),
                Some(_) => {}
            }
        }
        if self.depth == 0 || self.depth > u64::from(u32::MAX) {
            return format(format!("has an image depth of {}", self.depth));
        }
        if raw.samples.is_some_and(|s| s == 0 || s > MOST_SAMPLES) {
            return format(format!("has {} samples per pixel", raw.samples.unwrap_or(0)));
        }
        if raw.bits.n_alike < raw.bits.n {
            return unsupported("samples of unequal depth".to_owned());
        }
        if raw.formats.n_alike < raw.formats.n {
            return unsupported("samples of unequal format".to_owned());
        }
        (self.dtype, self.packing) = match (self.sample_format, self.bits) {
            (1 | 4, 1) => (DType::Bool, Packing::Unsigned),
            (1 | 4, 8) => (DType::Uint8, Packing::Native),
            (1 | 4, 16) => (DType::Uint16, Packing::Native),
            (1 | 4, 32) => (DType::Uint32, Packing::Native),
            (1 | 4, 64) => (DType::Uint64, Packing::Native),
            (1 | 4, 2..=7) => (DType::Uint8, Packing::Unsigned),
            (1 | 4, 9..=15) => (DType::Uint16, Packing::Unsigned),
            (1 | 4, 17..=31) => (DType::Uint32, Packing::Unsigned),
            (2, 8) => (DType::Int8, Packing::Native),
            (2, 16) => (DType::Int16, Packing::Native),
            (2, 32) => (DType::Int32, Packing::Native),
            (2, 64) => (DType::Int64, Packing::Native),
            (2, 1..=7) => (DType::Int8, Packing::Signed),
            (2, 9..=15) => (DType::Int16, Packing::Signed),
            (2, 17..=31) => (DType::Int32, Packing::Signed),
            (3, 16) => (DType::Float16, Packing::Native),
            (3, 24) => (DType::Float32, Packing::Float24),
            (3, 32) => (DType::Float32, Packing::Native),
            (3, 64) => (DType::Float64, Packing::Native),
            (5, 32) => (DType::Complex64, Packing::ComplexInteger),
            (5, 64) => (DType::Complex128, Packing::ComplexInteger),
            (6, 64) => (DType::Complex64, Packing::Native),
            (6, 128) => (DType::Complex128, Packing::Native),
            (format, bits) => {
                let kind = match format {
                    1 => "unsigned integers",
                    2 => "signed integers",
                    3 => "floats",
                    4 => "undefined samples",
                    5 => "complex integers",
                    6 => "complex floats",
                    _ => return unsupported(format!("sample format {format}")),
                };
                return unsupported(format!("{kind} of {bits} bits"));
            }
        };
        self.lay_out(raw)?;
        match self.predictor {
            1 => {}
            2 if self.packing == Packing::Native && !self.dtype.is_complex() => {}
            3 if self.packing == Packing::Native && self.dtype.is_float() => {}
            _ if self.image_codec() => {}
            other => return unsupported(format!("predictor {other} with {} of {} bits", self.dtype, self.bits)),
        }
        if !matches!(self.fill_order, 1 | 2) {
            return format(format!("has fill order {}", self.fill_order));
        }
        let subsampled = self.photometric == 6 && self.subsampling != (1, 1);
        if subsampled && !self.image_codec() && self.samples > 1 {
            return unsupported(format!(
                "subsampled YCbCr {}x{} with compression {} ({})",
                self.subsampling.0,
                self.subsampling.1,
                self.compression,
                self.codec().name
            ));
        }
        Ok(())
    }

    fn lay_out(&mut self, raw: &RawPage) -> Result<(), PageError> {
        // The size makes a page tiled; some writers then call the offsets those of strips.
        self.tiled = raw.tile[1].is_some() || raw.tile[2].is_some();
        self.chunk = if self.tiled {
            [raw.tile[0].unwrap_or(1), raw.tile[1].unwrap_or(0), raw.tile[2].unwrap_or(0)]
        } else {
            let rows = raw.rows_per_strip.filter(|&rows| rows > 0).unwrap_or(self.height);
            [1, rows.min(self.height), self.width]
        };
        if self.chunk.iter().any(|&n| n == 0 || n > u64::from(u32::MAX)) {
            let [d, h, w] = self.chunk;
            return Err(PageError::Format(format!("has {}s of {d}x{h}x{w} pixels", self.chunk_name())));
        }
        let sizes = [self.height, self.width, self.depth, u64::from(self.samples), self.dtype.size() as u64];
        let page = sizes.iter().try_fold(1u64, |n, &s| n.checked_mul(s)).filter(|&n| n <= i64::MAX as u64);
        let chunk = self.chunk.iter().try_fold(u64::from(self.samples) * 16, |n, &s| n.checked_mul(s));
        if page.is_none() || chunk.is_none_or(|n| n > i64::MAX as u64) {
            return Err(PageError::Format("has more pixels than can be counted".to_owned()));
        }
        Ok(())
    }

    /// Whether a codec that knows images, not bytes, decodes the strips: predictor and bit order are its own.
    pub(super) fn image_codec(&self) -> bool {
        self.codec().is_image()
    }

    /// The compression.
    pub(super) fn codec(&self) -> &'static Compression {
        Compression::of(self.compression)
    }

    /// Whether pixels are in tiles rather than strips.
    pub fn is_tiled(&self) -> bool {
        self.tiled
    }

    /// `tile` or `strip`.
    pub fn chunk_name(&self) -> &'static str {
        if self.tiled { "tile" } else { "strip" }
    }

    /// Sample planes that are stored one after the other.
    pub(super) fn n_planes(&self) -> u64 {
        if self.planar { u64::from(self.samples) } else { 1 }
    }

    /// Samples stored together.
    pub(super) fn chunk_samples(&self) -> u64 {
        if self.planar { 1 } else { u64::from(self.samples) }
    }

    /// Strips or tiles along depth, height and width.
    pub(super) fn grid(&self) -> [u64; 3] {
        [self.depth.div_ceil(self.chunk[0]), self.height.div_ceil(self.chunk[1]), self.width.div_ceil(self.chunk[2])]
    }

    /// Strips or tiles of a page.
    pub fn n_chunks(&self) -> u64 {
        self.grid().iter().fold(self.n_planes(), |n, &g| n.saturating_mul(g))
    }

    /// Rows that are stored in the strip or tile number `index`.
    pub(super) fn chunk_rows(&self, index: u64) -> u64 {
        if self.tiled {
            return self.chunk[1];
        }
        let row = index % self.grid()[1] * self.chunk[1];
        self.chunk[1].min(self.height - row)
    }

    /// Bytes of a row of a strip or tile when it is not compressed.
    pub(super) fn row_bytes(&self) -> u64 {
        (self.chunk[2] * self.chunk_samples() * u64::from(self.bits)).div_ceil(8)
    }

    /// Rows of strip or tile number `index` that are inside the image: some writers store no others.
    pub(super) fn rows_inside(&self, index: u64) -> u64 {
        let [_, gh, gw] = self.grid();
        let row = if self.tiled { index / gw % gh } else { index % gh };
        self.chunk[1].min(self.height - row * self.chunk[1])
    }

    /// Bytes of strip or tile number `index` when it is not compressed.
    pub(super) fn stored_bytes(&self, index: u64) -> u64 {
        self.chunk[0] * self.chunk_rows(index) * self.row_bytes()
    }

    /// Bytes of a page's pixels when they are not compressed and lie in one piece.
    pub(super) fn plane_bytes(&self) -> Option<u64> {
        let rows = self.n_planes().checked_mul(self.depth)?.checked_mul(self.height)?;
        rows.checked_mul(self.row_bytes())
    }

    /// Bytes of a whole strip or tile as elements.
    pub(super) fn chunk_element_bytes(&self) -> u64 {
        self.chunk.iter().product::<u64>() * self.chunk_samples() * self.dtype.size() as u64
    }

    /// Whether stored bytes are elements up to byte order, so that any of them can be read alone.
    pub(super) fn is_plain(&self) -> bool {
        self.compression == 1 && self.packing == Packing::Native && self.predictor == 1 && self.fill_order == 1
    }

    /// Whether it is a reduced copy or a mask rather than an image in its own right.
    pub fn is_secondary(&self) -> bool {
        self.subfile & 0b101 != 0
    }

    /// Whether pages of the two kinds can be planes of one array. What their values mean as colours is no matter.
    pub fn stacks_with(&self, other: &Self) -> bool {
        const MASK: u16 = 4;
        let key = |k: &Self| {
            let image = (k.width, k.height, k.depth, k.samples, k.planar);
            (image, k.dtype, k.bits, k.photometric == MASK, k.is_secondary(), k.problem.is_some())
        };
        key(self) == key(other)
    }

    /// Whether it can be a copy of `other` with fewer pixels.
    pub fn is_reduced(&self, other: &Self) -> bool {
        let key = |k: &Self| (k.depth, k.samples, k.dtype, k.problem.is_some());
        key(self) == key(other) && self.width < other.width && self.height <= other.height
    }

    /// Whether width and height are in the same proportion as those of `other`, as far as rounding goes.
    pub fn has_proportions_of(&self, other: &Self) -> bool {
        let height = other.height as f64 * self.width as f64 / other.width as f64;
        (self.height as f64 - height).abs() <= (0.01 * height).max(1.5)
    }

    /// Axes of the array in one page, slowest first. The samples are called `s`; red, green and blue have their colours.
    pub fn axes(&self) -> Vec<Axis> {
        let samples = (self.samples > 1).then(|| {
            let colours = ["FF0000", "00FF00", "0000FF", "FFFFFF"].iter().map(|&c| c.to_owned());
            let is_rgb = matches!(self.photometric, 2 | 6) && matches!(self.samples, 3 | 4);
            let colours = is_rgb.then(|| colours.take(usize::from(self.samples)).collect());
            Axis { colours, ..Axis::new("s", u64::from(self.samples)) }
        });
        let depth = (self.depth > 1).then(|| Axis::new("z", self.depth));
        let image = [Axis::new("y", self.height), Axis::new("x", self.width)];
        let (before, after) = if self.planar { (samples, None) } else { (None, samples) };
        before.into_iter().chain(depth).chain(image).chain(after).collect()
    }

    /// How pixels are stored, in words: `LZW with predictor 2, tiles of 256x256`.
    pub fn storage(&self) -> String {
        let mut text = match self.codec().name {
            "unknown" => format!("compression {}", self.compression),
            name => name.to_owned(),
        };
        if self.predictor != 1 {
            let _ = write!(text, " with predictor {}", self.predictor);
        }
        let [d, h, w] = self.chunk;
        let _ = match (self.tiled, d) {
            (true, 1) => write!(text, ", tiles of {h}x{w}"),
            (true, _) => write!(text, ", tiles of {d}x{h}x{w}"),
            (false, _) if h >= self.height => write!(text, ", one strip"),
            (false, _) => write!(text, ", strips of {h} {}", if h == 1 { "row" } else { "rows" }),
        };
        text
    }
}
