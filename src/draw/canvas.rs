//! A picture in memory: rectangles, grey and coloured planes, and text that can be read. Pure.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// Red, green and blue, from 0 to 255.
pub type Colour = [u8; 3];

/// White.
pub const WHITE: Colour = [255; 3];
/// What is less important than white.
pub const GREY: Colour = [170; 3];
/// Height of a line of text, in pixels.
pub const LINE: usize = 20;

/// Names of the Greek letters, which the font lacks, in the order of their code points.
const GREEK: [&str; 25] = [
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "omicron", "pi", "rho", "sigma", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
];

/// `text` in letters that the font has, as far as there are some for it: `beta-catenin`.
fn drawable(text: &str) -> String {
    let name =
        |c: char, first: char| GREEK.get((c as usize).checked_sub(first as usize)?).map(|name| (*name).to_owned());
    let letter = |c: char| match c {
        // Micro, as it is written in names of units.
        '\u{3bc}' => Some("µ".to_owned()),
        '\u{391}'..='\u{3a9}' => name(c, '\u{391}').map(|name| name[..1].to_uppercase() + &name[1..]),
        '\u{3b1}'..='\u{3c9}' => name(c, '\u{3b1}'),
        // Dashes, and minus.
        '\u{2013}' | '\u{2014}' | '\u{2212}' => Some("-".to_owned()),
        _ => None,
    };
    text.chars().map(|c| letter(c).unwrap_or_else(|| c.to_string())).collect()
}

/// Width of `text`, in pixels.
pub fn text_width(text: &str) -> usize {
    drawable(text).chars().count() * get_raster_width(FontWeight::Regular, RasterHeight::Size16)
}

/// A picture.
pub struct Canvas {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green and blue of every pixel, row by row.
    pub bytes: Vec<u8>,
}

impl Canvas {
    /// One that is `colour` all over.
    pub fn new(width: usize, height: usize, colour: Colour) -> Self {
        Self { width, height, bytes: colour.repeat(width * height) }
    }

    /// The same at half the size: each pixel the mean of four.
    pub fn halved(&self) -> Self {
        let (width, height) = (self.width / 2, self.height / 2);
        let mut half = Self::new(width, height, [0; 3]);
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let at =
                |dy: usize, dx: usize, part: usize| self.bytes[((2 * y + dy) * self.width + 2 * x + dx) * 3 + part];
            let mean = |part: usize| {
                let sum: u16 =
                    [(0, 0), (0, 1), (1, 0), (1, 1)].iter().map(|(dy, dx)| u16::from(at(*dy, *dx, part))).sum();
                (sum / 4) as u8
            };
            half.set(x, y, [mean(0), mean(1), mean(2)]);
        }
        half
    }

    /// Sets a pixel, if it is inside.
    pub fn set(&mut self, x: usize, y: usize, colour: Colour) {
        if x < self.width && y < self.height {
            let at = 3 * (y * self.width + x);
            self.bytes[at..at + 3].copy_from_slice(&colour);
        }
    }

    /// Fills a rectangle.
    pub fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Colour) {
        (y..y + height).for_each(|y| (x..x + width).for_each(|x| self.set(x, y, colour)));
    }

    /// Writes `text` from `x`, `y` on, its upper left corner; Greek letters become their names, what else the font
    /// lacks a question mark.
    pub fn text(&mut self, x: usize, y: usize, text: &str, colour: Colour, is_bold: bool) {
        let weight = if is_bold { FontWeight::Bold } else { FontWeight::Regular };
        let raster = |c| get_raster(c, weight, RasterHeight::Size16);
        let mut left = x;
        for letter in drawable(text).chars().filter_map(|c| raster(c).or_else(|| raster('?'))) {
            for (dy, row) in letter.rows().enumerate() {
                for (dx, &strength) in row.iter().enumerate().filter(|(_, s)| **s > 0) {
                    self.mix(left + dx, y + dy, colour, strength);
                }
            }
            left += letter.width();
        }
    }

    /// Puts `strength` of 255 parts of `colour` over a pixel.
    fn mix(&mut self, x: usize, y: usize, colour: Colour, strength: u8) {
        if x >= self.width || y >= self.height {
            return;
        }
        let (at, part) = (3 * (y * self.width + x), u16::from(strength));
        for (below, over) in self.bytes[at..at + 3].iter_mut().zip(colour) {
            *below = ((u16::from(*below) * (255 - part) + u16::from(over) * part) / 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greek_letters_are_named() {
        assert_eq!(drawable("γH2AX, β-catenin, Δψ, ς 5 μm–6 µm"), "gammaH2AX, beta-catenin, Deltapsi, sigma 5 µm-6 µm");
        assert_eq!((drawable("Ω"), drawable("ω")), ("Omega".into(), "omega".into()));
        assert_eq!(text_width("β"), text_width("beta"));
        let drawn = |text: &str| {
            let mut canvas = Canvas::new(100, 20, [0; 3]);
            canvas.text(0, 0, text, WHITE, false);
            canvas.bytes
        };
        assert!(drawn("β") == drawn("beta") && drawn("β") != drawn("?"));
    }

    #[test]
    fn what_reaches_outside_is_cut_off() {
        let mut canvas = Canvas::new(30, 20, [0; 3]);
        canvas.text(2, 2, "5 µm\u{4e00}", WHITE, true);
        canvas.fill(25, 15, 10, 10, [1, 2, 3]);
        assert_eq!(canvas.bytes.len(), 30 * 20 * 3);
        assert_eq!(canvas.bytes[canvas.bytes.len() - 3..], [1, 2, 3]);
        assert!(canvas.bytes.iter().filter(|b| **b > 200).count() > 30);
    }
}
