//! TIFF compressions: one entry of one table for each, which says all that is particular to it.
//!
//! A piece (strip or tile) is decoded at a time, whole. Nothing here allocates by what a stream declares before
//! the declaration has been compared with the [`Piece`], whose size the reader has already accepted.

use super::inflate::{self, Decoders};
use crate::error::{Error, Result};

mod fax;
mod jp2k;
mod jpeg;
mod jpeg_lossless;
mod jxl;
mod lerc;
mod lzma;
mod png;
mod webp;

/// What a codec must know of the piece that it decodes.
#[derive(Clone, Copy, Debug)]
pub struct StoredPiece<'a> {
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

impl StoredPiece<'_> {
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
        Error::unsupported(format!(
            "compression {} ({}): {what}",
            self.compression,
            Compression::of(self.compression).name
        ))
    }

    /// A `Format` error that names the compression.
    fn damaged(&self, what: impl std::fmt::Display) -> Error {
        Error::format(format!("{} data: {what}", Compression::of(self.compression).name))
    }
}

/// Everything that is particular to one compression.
pub struct Compression {
    /// TIFF Compression.
    number: u16,
    /// Name for messages.
    pub name: &'static str,
    decode: Decode,
    /// Refuses what the beginning of a first strip or tile shows to be of a kind that is not decoded.
    refuse: fn(&StoredPiece<'_>, &[u8]) -> Result<()>,
    /// Memory that decoding takes beside its buffers for a piece of so many decoded bytes, at most.
    pub(super) scratch_bytes: fn(u64) -> u64,
    /// Most bytes that one stored byte can decode to, with room to spare.
    most_ratio: u64,
}

/// How a compression is undone.
#[derive(Clone, Copy)]
enum Decode {
    /// It is known by name alone.
    Unhandled,
    /// Bytes are stored as they are.
    Plain,
    /// Bytes in, bytes out: `stored`, room, what a whole piece decodes to, decoder states; gives how many.
    Bytes(fn(&[u8], &mut [u8], usize, &mut Decoders) -> Result<usize>),
    /// The same for a piece that is decoded whole.
    Piece(fn(&StoredPiece<'_>, &[u8], &mut [u8], usize) -> Result<()>),
    /// An image, whose predictor and bit order are the codec's own.
    Image(fn(&StoredPiece<'_>, &[u8], &mut [u8], usize) -> Result<()>),
    /// The same, with samples in the byte order of the file.
    SwappedImage(fn(&StoredPiece<'_>, &[u8], &mut [u8], usize) -> Result<()>),
}

const fn codec(number: u16, name: &'static str, decode: Decode) -> Compression {
    Compression { number, name, decode, refuse: |_, _| Ok(()), scratch_bytes: |_| 1 << 18, most_ratio: 1 << 20 }
}

const fn bytes(number: u16, name: &'static str, decode: Decode, most_ratio: u64) -> Compression {
    Compression { most_ratio, ..codec(number, name, decode) }
}

const fn deflate(number: u16) -> Compression {
    // 258 bytes for two bits. Pieces that are longer than they should be are decoded aside.
    Compression {
        scratch_bytes: |n| n.saturating_mul(2).saturating_add(1 << 18),
        ..bytes(number, "Deflate", Decode::Bytes(inflate::deflate), 1032)
    }
}

const fn fax(number: u16, name: &'static str) -> Compression {
    // Two rows.
    Compression {
        scratch_bytes: |n| if n < 1 << 20 { n } else { 1 << 20 },
        ..codec(number, name, Decode::Image(fax::decode))
    }
}

/// Coefficients of progressive JPEG, planes of WebP, a blob of LERC that was deflated.
fn three_times(decoded_bytes: u64) -> u64 {
    decoded_bytes.saturating_mul(3).saturating_add(1 << 20)
}

const fn jpeg(number: u16, name: &'static str) -> Compression {
    Compression { refuse: jpeg::refuse, scratch_bytes: three_times, ..codec(number, name, Decode::Image(jpeg::decode)) }
}

const fn jp2k(number: u16, name: &'static str) -> Compression {
    let decode = Decode::Image(jp2k::decode);
    Compression { refuse: jp2k::refuse, scratch_bytes: jp2k::scratch_bytes, ..codec(number, name, decode) }
}

const fn jxl(number: u16, name: &'static str) -> Compression {
    Compression {
        refuse: jxl::refuse,
        scratch_bytes: jxl::scratch_bytes,
        ..codec(number, name, Decode::Image(jxl::decode))
    }
}

/// Every compression that has a name, the usual ones first.
static CODECS: &[Compression] = &[
    bytes(1, "uncompressed", Decode::Plain, 1),
    // A code of at most 12 bits stands for at most 4096 bytes.
    bytes(5, "LZW", Decode::Bytes(inflate::lzw), 2800),
    deflate(8),
    deflate(32946),
    bytes(32773, "PackBits", Decode::Bytes(inflate::pack_bits), 64),
    // A block of 128 KiB of one byte takes four.
    bytes(50000, "ZSTD", Decode::Bytes(inflate::zstd), 1 << 15),
    bytes(34926, "ZSTD (old number)", Decode::Bytes(inflate::zstd), 1 << 15),
    jpeg(7, "JPEG"),
    jpeg(6, "old-style JPEG"),
    fax(2, "CCITT RLE"),
    fax(3, "CCITT T.4"),
    fax(4, "CCITT T.6"),
    fax(32771, "CCITT RLE, word aligned"),
    jp2k(33003, "JPEG 2000, YCbCr (Aperio)"),
    jp2k(33004, "JPEG 2000, bare"),
    jp2k(33005, "JPEG 2000, RGB (Aperio)"),
    jp2k(34712, "JPEG 2000"),
    Compression { scratch_bytes: three_times, ..codec(34887, "LERC", Decode::SwappedImage(lerc::decode)) },
    // The dictionary, of which only what has been decoded is touched.
    Compression { scratch_bytes: |n| n.saturating_add(2 << 20), ..codec(34925, "LZMA", Decode::Piece(lzma::decode)) },
    Compression {
        refuse: |piece, _| webp::refuse(piece),
        scratch_bytes: three_times,
        ..codec(50001, "WebP", Decode::Image(webp::decode))
    },
    Compression { scratch_bytes: three_times, ..codec(34933, "PNG", Decode::Image(png::decode)) },
    jxl(50002, "JPEG XL"),
    jxl(52546, "JPEG XL (DNG)"),
    codec(9, "JBIG, black and white", Decode::Unhandled),
    codec(10, "JBIG, colour", Decode::Unhandled),
    codec(99, "JPEG of old Adobe applications", Decode::Unhandled),
    codec(262, "Kodak 262", Decode::Unhandled),
    codec(32766, "NeXT 2-bit RLE", Decode::Unhandled),
    codec(32767, "Sony ARW", Decode::Unhandled),
    codec(32769, "packed raw", Decode::Unhandled),
    codec(32770, "Samsung SRW", Decode::Unhandled),
    codec(32772, "Samsung SRW 2", Decode::Unhandled),
    codec(32809, "ThunderScan 4-bit RLE", Decode::Unhandled),
    codec(32867, "Kodak KDC", Decode::Unhandled),
    codec(32895, "IT8 CT padding", Decode::Unhandled),
    codec(32896, "IT8 linework RLE", Decode::Unhandled),
    codec(32897, "IT8 monochrome", Decode::Unhandled),
    codec(32898, "IT8 binary line art", Decode::Unhandled),
    codec(32908, "Pixar film", Decode::Unhandled),
    codec(32909, "Pixar log", Decode::Unhandled),
    codec(32947, "Kodak DCS", Decode::Unhandled),
    codec(33007, "JPEG, alternative", Decode::Unhandled),
    codec(34661, "JBIG", Decode::Unhandled),
    codec(34676, "SGI LogLuv, 32 bits", Decode::Unhandled),
    codec(34677, "SGI LogLuv, 24 bits", Decode::Unhandled),
    codec(34713, "Nikon NEF", Decode::Unhandled),
    codec(34715, "JBIG2", Decode::Unhandled),
    codec(34718, "Microsoft document imaging binary", Decode::Unhandled),
    codec(34719, "Microsoft document imaging progressive", Decode::Unhandled),
    codec(34720, "Microsoft document imaging vector", Decode::Unhandled),
    codec(34892, "lossy JPEG (DNG)", Decode::Unhandled),
    codec(34927, "WebP (old number)", Decode::Unhandled),
    codec(34934, "JPEG XR", Decode::Unhandled),
    codec(50013, "Pixtiff", Decode::Unhandled),
    codec(65000, "EER, 7 and 4 bits", Decode::Unhandled),
    codec(65001, "EER, 8 and 4 bits", Decode::Unhandled),
    codec(65002, "EER, bits in tags", Decode::Unhandled),
    codec(65535, "Pentax PEF", Decode::Unhandled),
];

/// A compression without a name.
static UNKNOWN: Compression = codec(0, "unknown", Decode::Unhandled);

impl Compression {
    /// The compression of this number.
    pub fn of(compression: u16) -> &'static Self {
        CODECS.iter().find(|codec| codec.number == compression).unwrap_or(&UNKNOWN)
    }

    /// Whether it is decoded at all; what is then met inside may still be refused.
    pub fn is_handled(&self) -> bool {
        !matches!(self.decode, Decode::Unhandled)
    }

    /// Whether it knows images, not bytes: predictor and bit order are its own.
    pub fn is_image(&self) -> bool {
        matches!(self.decode, Decode::Image(_) | Decode::SwappedImage(_) | Decode::Unhandled)
    }

    /// Whether it gives samples in the byte order of the file: libtiff swaps what LERC gives as it swaps
    /// uncompressed samples.
    pub fn is_swapped(&self) -> bool {
        matches!(self.decode, Decode::SwappedImage(_))
    }

    /// Most bytes that `stored_bytes` can decode to.
    pub(super) fn most_decoded_bytes(&self, stored_bytes: u64) -> u64 {
        stored_bytes.saturating_mul(self.most_ratio).saturating_add(1 << 16)
    }

    /// Refuses what the beginning of a first strip or tile, `head`, shows to be of a kind that is not decoded.
    /// Damage is left for decoding to find.
    ///
    /// # Errors
    /// `Unsupported`, by name and number.
    pub fn refuse(&self, piece: &StoredPiece<'_>, head: &[u8]) -> Result<()> {
        (self.refuse)(piece, head)
    }

    /// Decodes `stored`, the bytes as they lie in the file, into `decoded`, which is exactly as long as the piece:
    /// rows of packed samples as an uncompressed TIFF would store them, in native byte order where it knows images
    /// (but see [`Codec::is_swapped`]); predictors are not undone. `whole_bytes` are what a piece that is not cut
    /// off at the image's edge decodes to.
    ///
    /// Returns how many bytes there were, which may be more.
    ///
    /// # Errors
    /// `Unsupported` for compressions not handled, by name and number; `Format` for damaged data.
    pub(super) fn decode(
        &self,
        piece: &StoredPiece<'_>,
        stored: &[u8],
        decoded: &mut [u8],
        whole_bytes: usize,
        kept: &mut Decoders,
    ) -> Result<usize> {
        let (Decode::Piece(decode) | Decode::Image(decode) | Decode::SwappedImage(decode)) = self.decode else {
            let Decode::Bytes(decode) = self.decode else {
                return Err(Error::unsupported(format!("compression {} ({})", piece.compression, self.name)));
            };
            return decode(stored, decoded, whole_bytes, kept);
        };
        let row_bytes = piece.fit(decoded)?;
        if !decoded.is_empty() {
            decode(piece, stored, decoded, row_bytes)?;
        }
        Ok(decoded.len())
    }
}

/// As [`Codec::decode`], of any compression, for a piece by itself.
///
/// # Errors
/// As there, and `Format` if there are fewer bytes than the piece has.
pub fn decode(piece: &StoredPiece<'_>, stored: &[u8], decoded: &mut [u8]) -> Result<()> {
    let whole_bytes = decoded.len();
    let n = Compression::of(piece.compression).decode(piece, stored, decoded, whole_bytes, &mut Decoders::default())?;
    if n < whole_bytes { Err(piece.damaged(format!("{n} bytes found, {whole_bytes} expected"))) } else { Ok(()) }
}
