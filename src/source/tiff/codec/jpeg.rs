//! JPEG as TIFF technical note 2 has it: abbreviated streams with tables kept in a tag, or whole ones.
//!
//! Old-style JPEG is read where a strip or tile is a whole stream; where frame and tables are spread over tags
//! it is not.
//!
//! Pixels are those of libjpeg-turbo with its defaults: accurate integer DCT, smooth upsampling. The
//! lossless process is another decoder's; arithmetic and 12-bit streams are refused by name.

use std::any::Any;
use std::os::raw::{c_int, c_ulong};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mozjpeg_sys as ffi;

use super::{StoredPiece, jpeg_lossless};
use crate::error::{Error, Result};

/// Marker of frames of the lossless process.
const LOSSLESS: u8 = 0xc3;
/// More scans than any encoder writes: a stream of empty ones must not hold us up.
const MAX_SCANS: usize = 500;

pub(super) fn decode(piece: &StoredPiece<'_>, stored: &[u8], decoded: &mut [u8], row_bytes: usize) -> Result<()> {
    refuse(piece, stored)?;
    let header = Header::find(piece, stored)?;
    if header.process == LOSSLESS {
        header.check_kind(piece)?;
        return jpeg_lossless::decode(piece, stored, decoded);
    }
    header.check(piece, decoded.len())?;
    check_scans(piece, stored)?;
    let run = || -> Result<()> {
        let mut jpeg = Decompressor::new();
        // SAFETY: the decompressor was created, and both buffers outlive it; libjpeg leaves by unwinding,
        // which `catch_unwind` below stops.
        unsafe { jpeg.run(piece, &header, stored, decoded, row_bytes) }
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| Err(piece.damaged(complaint(payload))))
}

/// Refuses kinds of JPEG that are not decoded, as far as the beginning of a stream shows.
pub(super) fn refuse(piece: &StoredPiece<'_>, head: &[u8]) -> Result<()> {
    if piece.compression == 6 && !head.starts_with(&[0xff, 0xd8]) {
        return Err(piece.unsupported("frame and tables outside the strip or tile"));
    }
    Header::parse(head).map_or(Ok(()), |header| header.check_kind(piece))
}

/// What libjpeg would not go on with.
struct Complaint(String);

fn complaint(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<Complaint>() {
        Ok(complaint) => complaint.0,
        Err(other) => resume_unwind(other),
    }
}

/// What the markers before the first scan say.
#[derive(Debug, Default, PartialEq)]
struct Header {
    process: u8,
    precision: u8,
    width: u32,
    rows: u32,
    components: u16,
    jfif: bool,
    /// Whether one scan holds everything.
    single_scan: bool,
}

impl Header {
    /// Reads the markers of `stored` up to the first scan.
    fn find(piece: &StoredPiece<'_>, stored: &[u8]) -> Result<Self> {
        Self::parse(stored).ok_or_else(|| piece.damaged("no frame found before the end of the strip or tile"))
    }

    fn parse(stored: &[u8]) -> Option<Self> {
        let mut header = Self::default();
        let mut rest = stored.strip_prefix(&[0xff, 0xd8])?;
        loop {
            while *rest.first()? != 0xff {
                rest = &rest[1..];
            }
            while *rest.first()? == 0xff {
                rest = &rest[1..];
            }
            let (&marker, after) = rest.split_first()?;
            rest = after;
            if matches!(marker, 0x00 | 0x01 | 0xd0..=0xd8) {
                continue;
            }
            let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
            let body = rest.get(2..length)?;
            rest = &rest[length..];
            match marker {
                0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                    header.process = marker;
                    header.precision = *body.first()?;
                    header.rows = u32::from(u16::from_be_bytes([*body.get(1)?, *body.get(2)?]));
                    header.width = u32::from(u16::from_be_bytes([*body.get(3)?, *body.get(4)?]));
                    header.components = u16::from(*body.get(5)?);
                }
                0xe0 => header.jfif |= body.starts_with(b"JFIF\0"),
                0xda => {
                    header.single_scan = header.process < 0xc2 && u16::from(*body.first()?) == header.components;
                    return (header.process != 0).then_some(header);
                }
                0xd9 => return None,
                _ => {}
            }
        }
    }

    fn check_kind(&self, piece: &StoredPiece<'_>) -> Result<()> {
        match self.process {
            0xc0..=0xc2 => {}
            LOSSLESS if piece.samples == 1 && matches!(piece.bits, 8 | 16) => return Ok(()),
            LOSSLESS => {
                let what = format!("lossless process of {} samples of {} bits", piece.samples, piece.bits);
                return Err(piece.unsupported(what));
            }
            0xc9..=0xcb | 0xcd..=0xcf => return Err(piece.unsupported("arithmetic coding")),
            _ => return Err(piece.unsupported("differential process")),
        }
        if self.precision != 8 {
            return Err(piece.unsupported(format!("{} bits per sample", self.precision)));
        }
        Ok(())
    }

    fn check(&self, piece: &StoredPiece<'_>, decoded_bytes: usize) -> Result<()> {
        if piece.bits != 8 {
            return Err(piece.damaged(format!("8 bits per sample, {} expected", piece.bits)));
        }
        if self.components != piece.samples {
            return Err(piece.damaged(format!("{} samples, {} expected", self.components, piece.samples)));
        }
        // The last strip may be coded with the rows of all others, and a few writers round up to whole blocks.
        let pixels = u64::from(self.width) * u64::from(self.rows);
        let bound = decoded_bytes as u64 / u64::from(self.components.max(1)) * 4 + (1 << 20);
        let wide = self.width < piece.width || self.width > piece.width.saturating_add(64);
        if wide || self.rows < piece.rows || (self.rows != piece.rows && pixels > bound) {
            return Err(
                piece.damaged(format!("{}x{} pixels, {}x{} expected", self.width, self.rows, piece.width, piece.rows))
            );
        }
        Ok(())
    }
}

/// What the error callbacks look at.
struct Watch {
    /// Whether a stream that ends early has lost pixels for certain only where libjpeg says so; else any
    /// early end is a loss.
    single_scan: bool,
}

/// libjpeg's decompressor with its error handler, at one place in memory.
struct Decompressor {
    info: Box<ffi::jpeg_decompress_struct>,
    // Pointed to by `info`.
    _errors: Box<ffi::jpeg_error_mgr>,
}

impl Decompressor {
    fn new() -> Self {
        // SAFETY: both are plain C structures for which all zeros are valid.
        let mut errors: Box<ffi::jpeg_error_mgr> = Box::new(unsafe { std::mem::zeroed() });
        // SAFETY: as above.
        let mut info: Box<ffi::jpeg_decompress_struct> = Box::new(unsafe { std::mem::zeroed() });
        // SAFETY: `errors` and `info` live as long as the decompressor and do not move.
        unsafe {
            info.common.err = ffi::jpeg_std_error(&mut errors);
            errors.error_exit = Some(error_exit);
            errors.emit_message = Some(emit_message);
            errors.output_message = Some(output_message);
            ffi::jpeg_create_decompress(&mut *info);
        }
        Self { info, _errors: errors }
    }

    /// # Safety
    /// Must be called once, inside `catch_unwind`.
    unsafe fn run(
        &mut self,
        piece: &StoredPiece<'_>,
        header: &Header,
        stored: &[u8],
        decoded: &mut [u8],
        row_bytes: usize,
    ) -> Result<()> {
        let mut watch = Watch { single_scan: true };
        let info = &mut *self.info;
        info.common.client_data = (&raw mut watch).cast();
        if let Some(tables) = piece.jpeg_tables.filter(|t| !t.is_empty()) {
            // SAFETY: `tables` outlives the call; nothing is read from it afterwards.
            unsafe {
                ffi::jpeg_mem_src(info, tables.as_ptr(), tables.len() as c_ulong);
                ffi::jpeg_read_header(info, 0);
                // A tag that holds a whole image: only its tables are wanted.
                ffi::jpeg_abort(&mut info.common);
            }
        }
        watch.single_scan = header.single_scan;
        info.common.client_data = (&raw mut watch).cast();
        // SAFETY: `stored` outlives the decompressor's use of it in this function.
        unsafe {
            ffi::jpeg_mem_src(info, stored.as_ptr(), stored.len() as c_ulong);
            ffi::jpeg_read_header(info, 1);
        }
        choose_colours(info, piece, header);
        // SAFETY: the header has been read.
        unsafe { ffi::jpeg_start_decompress(info) };
        if info.output_components != c_int::from(piece.samples)
            || (info.output_width, info.output_height) != (header.width, header.rows)
        {
            return Err(piece.damaged("the frame changes between headers"));
        }
        let wide = header.width as usize * usize::from(piece.samples);
        let mut row = vec![0u8; wide];
        for target in decoded.chunks_exact_mut(row_bytes) {
            let mut pointer = row.as_mut_ptr();
            // SAFETY: `pointer` has room for a row of output_width * output_components bytes.
            let n_rows = unsafe { ffi::jpeg_read_scanlines(info, &raw mut pointer, 1) };
            if n_rows != 1 {
                return Err(piece.damaged("ends before its last row"));
            }
            target.copy_from_slice(&row[..row_bytes]);
        }
        Ok(())
    }
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        // SAFETY: `info` was created by jpeg_create_decompress; destroying only frees memory.
        unsafe { ffi::jpeg_destroy_decompress(&mut self.info) };
    }
}

/// Which conversion libjpeg applies: none but YCbCr to RGB and YCCK to CMYK, where the tags or the stream say so.
fn choose_colours(info: &mut ffi::jpeg_decompress_struct, piece: &StoredPiece<'_>, header: &Header) {
    use ffi::J_COLOR_SPACE as Space;
    match (header.components, piece.photometric) {
        (3, 6) => info.out_color_space = Space::JCS_RGB,
        // Scanners of slides write RGB and say so in the tag alone; a JFIF header cannot be of RGB.
        (3, 2) => {
            if !header.jfif {
                info.jpeg_color_space = Space::JCS_RGB;
            }
            info.out_color_space = Space::JCS_RGB;
        }
        (1 | 4, _) => {}
        _ => {
            info.jpeg_color_space = Space::JCS_UNKNOWN;
            info.out_color_space = Space::JCS_UNKNOWN;
        }
    }
}

/// libjpeg's text of its current message, up to the first number in it.
fn text(info: &ffi::jpeg_common_struct) -> String {
    // SAFETY: `err` points to the decompressor's error manager while libjpeg calls back.
    let errors = unsafe { &*info.err };
    let in_table = (0..=errors.last_jpeg_message).contains(&errors.msg_code);
    let Some(index) = usize::try_from(errors.msg_code).ok().filter(|_| in_table) else {
        return format!("error {} of libjpeg", errors.msg_code);
    };
    // SAFETY: the table has last_jpeg_message + 1 entries, each a C string.
    let message = unsafe { std::ffi::CStr::from_ptr((*errors.jpeg_message_table.add(index)).cast()) };
    let message = message.to_string_lossy();
    let plain = message.split(['%', '(', ':']).next().unwrap_or_default();
    plain.trim_end().to_lowercase()
}

unsafe extern "C-unwind" fn error_exit(info: &mut ffi::jpeg_common_struct) {
    // Not `panic!`: the hook of panics must not print.
    resume_unwind(Box::new(Complaint(text(info))));
}

unsafe extern "C-unwind" fn emit_message(info: &mut ffi::jpeg_common_struct, level: c_int) {
    if level >= 0 {
        return;
    }
    // SAFETY: `err` points to the decompressor's error manager while libjpeg calls back.
    let code = unsafe { (*info.err).msg_code };
    // SAFETY: `client_data` is null or points to the Watch of the running call.
    let single_scan = unsafe { info.client_data.cast::<Watch>().as_ref() }.is_none_or(|w| w.single_scan);
    let lost = match code {
        c if c == ffi::JWRN_HIT_MARKER as c_int => true,
        c if c == ffi::JWRN_HUFF_BAD_CODE as c_int => true,
        c if c == ffi::JWRN_MUST_RESYNC as c_int => true,
        c if c == ffi::JWRN_JPEG_EOF as c_int => !single_scan,
        _ => false,
    };
    if lost {
        resume_unwind(Box::new(Complaint(text(info))));
    }
}

unsafe extern "C-unwind" fn output_message(_info: &mut ffi::jpeg_common_struct) {}

/// Number of scans that `stored` begins, at most one more than is allowed.
fn n_scans(stored: &[u8]) -> usize {
    memchr::memmem::find_iter(stored, &[0xff, 0xda]).take(MAX_SCANS + 1).count()
}

/// Refuses streams with more scans than any encoder writes.
fn check_scans(piece: &StoredPiece<'_>, stored: &[u8]) -> Result<(), Error> {
    if n_scans(stored) > MAX_SCANS {
        return Err(piece.damaged(format!("more than {MAX_SCANS} scans")));
    }
    Ok(())
}
