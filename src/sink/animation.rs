//! Pictures that move: GIF, and PNG with several frames. Frames are made and written one by one.
//!
//! Source: GIF89a specification, CompuServe; Portable Network Graphics (third edition), W3C.

use std::io::{self, Write};

use crate::draw::canvas::Canvas;
use crate::draw::palette::Palette;
use crate::error::{Error, Result};

/// Gives frame number `i`.
type Frame<'f> = &'f mut dyn FnMut(u32) -> Result<Canvas>;

/// Writes a GIF of `n` frames, `rate` in a second, all grey or all in colour, to `to`; `failed` says what became of it.
///
/// # Errors
/// Those of `frame`; what `failed` makes of one of `to`; `Unsupported` if frames are too large.
pub fn gif(
    to: &mut dyn Write,
    is_grey: bool,
    (n, rate): (u32, u16),
    frame: Frame<'_>,
    failed: &dyn Fn(io::Error) -> Error,
) -> Result<()> {
    let palette = Palette::new(is_grey);
    for i in 0..n {
        let canvas = frame(i)?;
        let mut lengths = Vec::new();
        for length in [canvas.width, canvas.height] {
            let length =
                u16::try_from(length).map_err(|_| Error::unsupported("a GIF has 65535 rows and columns at most"))?;
            lengths.extend(length.to_le_bytes());
        }
        if i == 0 {
            // A palette of 256 colours of 8 bits for all pictures, which are shown again and again.
            let mut colours = palette.colours();
            colours.resize(256, [0; 3]);
            let repeat = b"\x21\xFF\x0BNETSCAPE2.0\x03\x01\x00\x00\x00";
            to.write_all(&[b"GIF89a", &lengths[..], &[0xF7, 0, 0], &colours.concat(), repeat].concat())
                .map_err(&failed)?;
        }
        let delay_cs = (100 / rate.max(1)).max(2).to_le_bytes();
        let head = [&[0x21, 0xF9, 4, 0][..], &delay_cs, &[0, 0, 0x2C, 0, 0, 0, 0], &lengths, &[0, 8]].concat();
        to.write_all(&head).map_err(&failed)?;
        let numbers = palette.numbers(&canvas);
        let coded =
            weezl::encode::Encoder::new(weezl::BitOrder::Lsb, 8).encode(&numbers).map_err(Error::unsupported)?;
        for block in coded.chunks(255) {
            to.write_all(&[block.len() as u8]).and_then(|()| to.write_all(block)).map_err(&failed)?;
        }
        to.write_all(&[0]).map_err(&failed)?;
    }
    to.write_all(&[0x3B]).map_err(&failed)
}

/// Writes a PNG of `n` frames, `rate` in a second, to `to`.
///
/// # Errors
/// As [`gif`].
pub fn png(
    to: &mut dyn Write,
    (n, rate): (u32, u16),
    frame: Frame<'_>,
    failed: &dyn Fn(io::Error) -> Error,
) -> Result<()> {
    let fault = |e: png::EncodingError| match e {
        png::EncodingError::IoError(e) => failed(e),
        e => Error::unsupported(e),
    };
    let first = frame(0)?;
    let mut encoder = png::Encoder::new(to, first.width as u32, first.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_animated(n, 0).map_err(fault)?;
    encoder.set_frame_delay(1, rate).map_err(fault)?;
    let mut writer = encoder.write_header().map_err(fault)?;
    writer.write_image_data(&first.bytes).map_err(fault)?;
    for i in 1..n {
        writer.write_image_data(&frame(i)?.bytes).map_err(fault)?;
    }
    writer.finish().map_err(fault)
}
