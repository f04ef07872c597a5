//! Rare TIFF compressions, each through a library: one entry, one piece (strip or tile) at a time.

use crate::error::{Error, Result};

/// What a codec must know of the piece that it decodes.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// TIFF Compression tag.
    pub compression: u16,
    /// Pixels per row of the piece, padding of a tile included.
    pub width: u32,
    /// Rows of the piece (the last strip may have fewer than the others).
    pub rows: u32,
    /// Samples per pixel stored in this piece (1 for separate sample planes).
    pub samples: u16,
    /// Bits of one sample.
    pub bits: u16,
    /// TIFF SampleFormat: 1 unsigned, 2 signed, 3 float.
    pub sample_format: u16,
    /// TIFF PhotometricInterpretation.
    pub photometric: u16,
    /// Whether the file is big-endian.
    pub big_endian: bool,
    /// TIFF FillOrder: 1, or 2 where the lowest bit comes first.
    pub fill_order: u16,
    /// Raw value bytes of the JPEGTables tag.
    pub jpeg_tables: Option<&'a [u8]>,
    /// TIFF YCbCrSubSampling.
    pub ycbcr_subsampling: (u16, u16),
    /// T4Options or T6Options.
    pub fax_options: u32,
    /// Values of the LercParameters tag.
    pub lerc_parameters: &'a [u32],
}

/// Decodes `stored` into `decoded`, which is exactly as long as the piece: rows of packed samples as an
/// uncompressed TIFF would store them, in native byte order; predictors are not undone.
///
/// # Errors
/// `Unsupported` for compressions not handled, by name and number; `Format` for damaged data.
pub fn decode(piece: &Piece<'_>, _stored: &[u8], _decoded: &mut [u8]) -> Result<()> {
    Err(Error::unsupported(format!("compression {} ({})", piece.compression, name(piece.compression))))
}

/// Name of a TIFF compression.
pub fn name(compression: u16) -> &'static str {
    match compression {
        1 => "uncompressed",
        2 => "CCITT RLE",
        3 => "CCITT T.4",
        4 => "CCITT T.6",
        5 => "LZW",
        6 => "old-style JPEG",
        7 => "JPEG",
        8 | 32946 => "Deflate",
        32773 => "PackBits",
        34925 => "LZMA",
        50000 => "ZSTD",
        _ => "unknown",
    }
}
