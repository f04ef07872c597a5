//! Pictures that move: GIF, and PNG with several frames. They are made frame by frame; what is held is encoded.
//!
//! Source: GIF89a specification, CompuServe; Portable Network Graphics (third edition), W3C.

use crate::draw::canvas::Canvas;
use crate::draw::palette::Palette;
use crate::error::{Error, Result};

/// A GIF that grows.
pub struct Gif {
    bytes: Vec<u8>,
    palette: Palette,
    delay_cs: u16,
}

impl Gif {
    /// One of `rate` pictures in a second, all grey or all in colour, of the size of `first`.
    ///
    /// # Errors
    /// `Unsupported` if it is too large.
    pub fn new(first: &Canvas, is_grey: bool, rate: u16) -> Result<Self> {
        let palette = Palette::new(is_grey);
        let mut bytes = b"GIF89a".to_vec();
        for length in [first.width, first.height] {
            let length =
                u16::try_from(length).map_err(|_| Error::unsupported("a GIF has 65535 rows and columns at most"))?;
            bytes.extend(length.to_le_bytes());
        }
        // A palette of 256 colours of 8 bits for all pictures.
        bytes.extend([0xF7, 0, 0]);
        let mut colours = palette.colours();
        colours.resize(256, [0; 3]);
        bytes.extend(colours.concat());
        // Again and again.
        bytes.extend(b"\x21\xFF\x0BNETSCAPE2.0\x03\x01\x00\x00\x00");
        Ok(Self { bytes, palette, delay_cs: (100 / rate.max(1)).max(2) })
    }

    /// Adds a picture.
    ///
    /// # Errors
    /// `Unsupported` if the encoder fails.
    pub fn add(&mut self, canvas: &Canvas) -> Result<()> {
        self.bytes.extend([0x21, 0xF9, 4, 0]);
        self.bytes.extend(self.delay_cs.to_le_bytes());
        self.bytes.extend([0, 0, 0x2C, 0, 0, 0, 0]);
        self.bytes.extend((canvas.width as u16).to_le_bytes());
        self.bytes.extend((canvas.height as u16).to_le_bytes());
        self.bytes.extend([0, 8]);
        let numbers = self.palette.numbers(canvas);
        let coded =
            weezl::encode::Encoder::new(weezl::BitOrder::Lsb, 8).encode(&numbers).map_err(Error::unsupported)?;
        for block in coded.chunks(255) {
            self.bytes.push(block.len() as u8);
            self.bytes.extend(block);
        }
        self.bytes.push(0);
        Ok(())
    }

    /// The whole file.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(0x3B);
        self.bytes
    }
}

/// A PNG of `n` frames, `rate` in a second, which `frame` gives one after the other.
///
/// # Errors
/// Those of `frame`; `Unsupported` if the encoder fails.
pub fn png(n: u32, rate: u16, mut frame: impl FnMut(u32) -> Result<Canvas>) -> Result<Vec<u8>> {
    let fault = |e: png::EncodingError| Error::unsupported(e);
    let first = frame(0)?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, first.width as u32, first.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_animated(n, 0).map_err(fault)?;
    encoder.set_frame_delay(1, rate).map_err(fault)?;
    let mut writer = encoder.write_header().map_err(fault)?;
    writer.write_image_data(&first.bytes).map_err(fault)?;
    for i in 1..n {
        writer.write_image_data(&frame(i)?.bytes).map_err(fault)?;
    }
    writer.finish().map_err(fault)?;
    Ok(bytes)
}
