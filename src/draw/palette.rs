//! Pictures of few colours, for terminals and formats that have no more. Pure.

use super::canvas::Canvas;

/// Steps of red, green and blue in the palette of pictures in colour.
const STEPS: [usize; 3] = [6, 7, 6];
/// Thresholds of an ordered dither, in 16ths of a step.
const DITHER: [[usize; 4]; 4] = [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]];

/// 256 colours at most: greys, or steps of each colour.
pub struct Palette {
    is_grey: bool,
}

impl Palette {
    /// The one for grey pictures, or the one for pictures in colour.
    pub fn new(is_grey: bool) -> Self {
        Self { is_grey }
    }

    /// The one that suits `canvas`.
    pub fn of(canvas: &Canvas) -> Self {
        Self::new(canvas.bytes.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]))
    }

    /// Its colours, by number.
    pub fn colours(&self) -> Vec<[u8; 3]> {
        if self.is_grey {
            return (0..=255).map(|v| [v; 3]).collect();
        }
        let [r, g, b] = STEPS;
        let level = |i: usize, n: usize| (i * 255 / (n - 1)) as u8;
        let all = (0..r).flat_map(|i| (0..g).flat_map(move |j| (0..b).map(move |k| (i, j, k))));
        all.map(|(i, j, k)| [level(i, r), level(j, g), level(k, b)]).collect()
    }

    /// The number of a colour for every pixel of `canvas`.
    pub fn numbers(&self, canvas: &Canvas) -> Vec<u8> {
        let pixels = canvas.bytes.chunks_exact(3);
        if self.is_grey {
            return pixels.map(|p| p[1]).collect();
        }
        let number = |(i, p): (usize, &[u8])| {
            let threshold = DITHER[i / canvas.width.max(1) % 4][i % canvas.width.max(1) % 4];
            // Between two steps, as many pixels take the upper one as the colour lies near it.
            let step = |c: usize| ((usize::from(p[c]) * (STEPS[c] - 1) * 16 / 255) + 15 - threshold) / 16;
            ((step(0) * STEPS[1] + step(1)) * STEPS[2] + step(2)) as u8
        };
        pixels.enumerate().map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dithered_surface_has_its_colour_on_average() {
        for colour in [[0, 0, 0], [255, 255, 255], [200, 13, 77], [31, 128, 250]] {
            let canvas = Canvas::new(64, 64, colour);
            let palette = Palette::new(false);
            let (colours, numbers) = (palette.colours(), palette.numbers(&canvas));
            for c in 0..3 {
                let mean = numbers.iter().map(|&n| f64::from(colours[usize::from(n)][c])).sum::<f64>() / 4096.0;
                assert!((mean - f64::from(colour[c])).abs() < 4.0, "{colour:?} {c}: {mean}");
            }
        }
        assert_eq!(Palette::of(&Canvas::new(2, 1, [7; 3])).numbers(&Canvas::new(2, 1, [7; 3])), [7, 7]);
    }
}
