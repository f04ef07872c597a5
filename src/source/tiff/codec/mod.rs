//! Rare TIFF compressions, one entry: a piece (strip or tile) at a time, whole.
//!
//! The common ones (none, PackBits, LZW, Deflate, ZSTD) are the reader's own; here are those of which a file
//! or two per laboratory exist. Nothing here allocates by what a stream declares before the declaration has
//! been compared with the [`Piece`], whose size the reader has already accepted.

use crate::error::{Error, Result};

mod fax;
mod jp2k;
mod jpeg;
mod jxl;
mod lerc;
mod lzma;
mod webp;

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

impl Piece<'_> {
    /// Bytes of one row as an uncompressed TIFF would store it.
    fn row_bytes(&self) -> Option<usize> {
        let bits = u64::from(self.width).checked_mul(u64::from(self.samples))?.checked_mul(u64::from(self.bits))?;
        usize::try_from(bits.div_ceil(8)).ok()
    }

    /// The bytes of a row, after checking that `decoded` has room for exactly the piece's rows.
    fn fit(&self, decoded: &[u8]) -> Result<usize> {
        let row_bytes = self.row_bytes().unwrap_or(usize::MAX);
        let expected = usize::try_from(self.rows).ok().and_then(|rows| rows.checked_mul(row_bytes));
        if row_bytes == 0 || expected != Some(decoded.len()) {
            return Err(Error::format(format!(
                "{}x{} pixels of {} samples of {} bits do not make {} bytes",
                self.width,
                self.rows,
                self.samples,
                self.bits,
                decoded.len()
            )));
        }
        Ok(row_bytes)
    }

    /// An `Unsupported` error: the compression by name and number, and what of it is not handled.
    fn unsupported(&self, what: impl std::fmt::Display) -> Error {
        Error::unsupported(format!("compression {} ({}): {what}", self.compression, name(self.compression)))
    }

    /// A `Format` error that names the compression.
    fn damaged(&self, what: impl std::fmt::Display) -> Error {
        Error::format(format!("{} data: {what}", name(self.compression)))
    }
}

/// Whether [`decode`] knows `compression` at all; what it then meets inside may still be refused.
pub fn handles(compression: u16) -> bool {
    matches!(compression, 2 | 3 | 4 | 6 | 7 | 32771 | 33004 | 33005 | 34712 | 34887 | 34925 | 50001 | 50002 | 52546)
}

/// Whether what [`decode`] gives of `compression` are samples in the byte order of the file: libtiff swaps what
/// LERC gives as it swaps uncompressed samples.
pub fn in_file_order(compression: u16) -> bool {
    compression == 34887
}

/// Refuses what the beginning of a first strip or tile, `head`, shows to be of a kind that is not decoded.
/// Damage is left for [`decode`] to find.
///
/// # Errors
/// `Unsupported`, by name and number.
pub fn refuse(piece: &Piece<'_>, head: &[u8]) -> Result<()> {
    match piece.compression {
        6 | 7 => jpeg::refuse(piece, head),
        33004 | 33005 | 34712 => jp2k::refuse(piece, head),
        50001 => webp::refuse(piece),
        50002 | 52546 => jxl::refuse(piece, head),
        _ => Ok(()),
    }
}

/// Memory that [`decode`] takes beside its buffers for a piece of `decoded_bytes`, at most.
pub fn scratch_bytes(compression: u16, decoded_bytes: u64) -> u64 {
    match compression {
        // Two rows.
        2 | 3 | 4 | 32771 => decoded_bytes.min(1 << 20),
        // The dictionary, of which only what has been decoded is touched.
        34925 => decoded_bytes.saturating_add(2 << 20),
        33004 | 33005 | 34712 => jp2k::scratch_bytes(decoded_bytes),
        50002 | 52546 => jxl::scratch_bytes(decoded_bytes),
        // Coefficients of progressive JPEG, planes of WebP, a blob of LERC that was deflated.
        _ => decoded_bytes.saturating_mul(3).saturating_add(1 << 20),
    }
}

/// Decodes `stored`, the bytes as they lie in the file, into `decoded`, which is exactly as long as the
/// piece: rows of packed samples as an uncompressed TIFF would store them, in native byte order (but see
/// [`in_file_order`]); predictors are not undone.
///
/// # Errors
/// `Unsupported` for compressions not handled, by name and number; `Format` for damaged data.
pub fn decode(piece: &Piece<'_>, stored: &[u8], decoded: &mut [u8]) -> Result<()> {
    let decoder = match piece.compression {
        2 | 3 | 4 | 32771 => fax::decode,
        6 | 7 => jpeg::decode,
        33004 | 33005 | 34712 => jp2k::decode,
        34887 => lerc::decode,
        34925 => lzma::decode,
        50001 => webp::decode,
        50002 | 52546 => jxl::decode,
        other => return Err(Error::unsupported(format!("compression {other} ({})", name(other)))),
    };
    let row_bytes = piece.fit(decoded)?;
    if decoded.is_empty() {
        return Ok(());
    }
    decoder(piece, stored, decoded, row_bytes)
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
        9 => "JBIG, black and white",
        10 => "JBIG, colour",
        99 => "JPEG of old Adobe applications",
        262 => "Kodak 262",
        32766 => "NeXT 2-bit RLE",
        32767 => "Sony ARW",
        32769 => "packed raw",
        32770 => "Samsung SRW",
        32771 => "CCITT RLE, word aligned",
        32772 => "Samsung SRW 2",
        32773 => "PackBits",
        32809 => "ThunderScan 4-bit RLE",
        32867 => "Kodak KDC",
        32895 => "IT8 CT padding",
        32896 => "IT8 linework RLE",
        32897 => "IT8 monochrome",
        32898 => "IT8 binary line art",
        32908 => "Pixar film",
        32909 => "Pixar log",
        32947 => "Kodak DCS",
        33003 => "JPEG 2000, YCbCr (Aperio)",
        33004 => "JPEG 2000, bare",
        33005 => "JPEG 2000, RGB (Aperio)",
        33007 => "JPEG, alternative",
        34661 => "JBIG",
        34676 => "SGI LogLuv, 32 bits",
        34677 => "SGI LogLuv, 24 bits",
        34712 => "JPEG 2000",
        34713 => "Nikon NEF",
        34715 => "JBIG2",
        34718 => "Microsoft document imaging binary",
        34719 => "Microsoft document imaging progressive",
        34720 => "Microsoft document imaging vector",
        34887 => "LERC",
        34892 => "lossy JPEG (DNG)",
        34925 => "LZMA",
        34926 => "ZSTD (old number)",
        34927 => "WebP (old number)",
        34933 => "PNG",
        34934 => "JPEG XR",
        50000 => "ZSTD",
        50001 => "WebP",
        50002 => "JPEG XL",
        50013 => "Pixtiff",
        52546 => "JPEG XL (DNG)",
        65000 => "EER, 7 and 4 bits",
        65001 => "EER, 8 and 4 bits",
        65002 => "EER, bits in tags",
        65535 => "Pentax PEF",
        _ => "unknown",
    }
}
