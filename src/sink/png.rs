//! A plane as a PNG picture: grey, or colour where the last axis holds red, green and blue.
//!
//! Values are spread over the picture's range between two percentiles, which needs all of them at once: the
//! plane is held in memory.

use std::path::{Path, PathBuf};

use image::{ExtendedColorType, ImageEncoder};

use super::whole::{self, Made};
use super::{OutputOptions, Spec};
use crate::block::Block;
use crate::consume::Consumer;
use crate::dtype::{Complex, DType};
use crate::error::{Error, Result};
use crate::grid::n_elements;
use crate::with_dtype;

/// How values become grey levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PngOptions {
    /// Percentile of the values that becomes black, 0 to 100.
    pub low: f64,
    /// Percentile of the values that becomes white, 0 to 100.
    pub high: f64,
    /// Bits of a grey level: 8 or 16.
    pub bits: u8,
}

impl Default for PngOptions {
    fn default() -> Self {
        Self { low: 0.1, high: 99.9, bits: 8 }
    }
}

/// The values that become black and white.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Window {
    low: f64,
    high: f64,
}

/// A picture of a plane.
struct Picture {
    path: PathBuf,
    options: PngOptions,
    dtype: DType,
    width: u32,
    height: u32,
    is_colour: bool,
}

/// The picture that will be called `path`.
///
/// # Errors
/// `Usage` if the array is not a plane of real numbers, or something stands under the name.
pub fn create(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    let picture = Picture::new(path, spec, options.png)?;
    let n = n_elements(&spec.shape());
    // The values as floats to be sorted, the picture, and its encoded form.
    let levels_bytes = n.saturating_mul(u64::from(options.png.bits) / 8).saturating_mul(3);
    let room_bytes = n.saturating_mul(8).saturating_add(levels_bytes).saturating_add(1 << 20);
    whole::create(path, spec, options, room_bytes, move |plane| picture.draw(plane))
}

impl Picture {
    fn new(path: &Path, spec: &Spec, options: PngOptions) -> Result<Self> {
        let shape = spec.shape();
        let lengths: Vec<(usize, u64)> = shape.iter().copied().enumerate().filter(|(_, n)| *n != 1).collect();
        let is_channel = |i: usize| matches!(spec.axes[i].name.as_str(), "c" | "s");
        let no = |why: String| Error::usage(format!("{}: {why}: write .tif, .npy or .zarr", path.display()));
        let size = |n: u64| u32::try_from(n).map_err(|_| no(format!("a picture of {shape:?} is too large for PNG")));
        let (height, width, is_colour) = match lengths.as_slice() {
            [(_, h), (_, w), (i, 3)] if is_channel(*i) => (*h, *w, true),
            [(_, h), (_, w)] => (*h, *w, false),
            // A row, a column or one value: keep the last two axes apart.
            [] | [_] => {
                let n = shape.len();
                let last = |back: usize| n.checked_sub(back).map_or(1, |i| shape[i]);
                let (h, w) = (last(2), last(1));
                if h.saturating_mul(w) == n_elements(&shape) { (h, w, false) } else { (1, n_elements(&shape), false) }
            }
            _ => return Err(no(format!("an array of shape {shape:?} is not one plane"))),
        };
        if spec.dtype.is_complex() {
            return Err(no(format!("{} has no order that grey levels could show", spec.dtype)));
        }
        if n_elements(&shape) == 0 {
            return Err(no(format!("an array of shape {shape:?} has no element to show")));
        }
        let percent = 0.0..=100.0;
        if !percent.contains(&options.low) || !percent.contains(&options.high) || options.low >= options.high {
            return Err(Error::usage(format!(
                "a window from percentile {} to {}: give two from 0 to 100, the lower first",
                options.low, options.high
            )));
        }
        if !matches!(options.bits, 8 | 16) {
            return Err(Error::usage(format!("a picture of {} bits: 8 or 16", options.bits)));
        }
        let (height, width) = (size(height)?, size(width)?);
        Ok(Self { path: path.to_owned(), options, dtype: spec.dtype, width, height, is_colour })
    }

    /// The picture of `plane`, and which values became black and white.
    fn draw(&self, plane: &Block) -> Result<Made> {
        let mut values = with_dtype!(self.dtype, T => {
            bytemuck::cast_slice::<u8, T>(plane.bytes()).iter().map(|v| v.grey()).collect::<Vec<f64>>()
        });
        let window = window(&mut values, self.options);
        // Sorting has moved the values: take them once more, one by one.
        drop(values);
        let most = if self.options.bits == 8 { 255.0 } else { 65535.0 };
        let scale = if window.high > window.low { most / (window.high - window.low) } else { 0.0 };
        // Not a number becomes black.
        let level = |v: f64| ((v - window.low) * scale).round().clamp(0.0, most);
        let mut picture: Vec<u8> = Vec::new();
        with_dtype!(self.dtype, T => {
            let levels = bytemuck::cast_slice::<u8, T>(plane.bytes()).iter().map(|v| level(v.grey()));
            if self.options.bits == 8 {
                picture.extend(levels.map(|l| l as u8));
            } else {
                picture.extend(levels.flat_map(|l| (l as u16).to_ne_bytes()));
            }
        });
        let colour = match (self.is_colour, self.options.bits) {
            (false, 8) => ExtendedColorType::L8,
            (false, _) => ExtendedColorType::L16,
            (true, 8) => ExtendedColorType::Rgb8,
            (true, _) => ExtendedColorType::Rgb16,
        };
        let mut encoded = Vec::new();
        image::codecs::png::PngEncoder::new(&mut encoded)
            .write_image(&picture, self.width, self.height, colour)
            .map_err(|e| Error::unsupported(format!("{}: {e}", self.path.display())))?;
        Ok(Made { bytes: encoded, window: Some((window.low, window.high)) })
    }
}

/// An element as a number that has a grey level.
trait Grey: Copy {
    fn grey(self) -> f64;
}

macro_rules! grey {
    ($($t:ty)*) => {
        $(impl Grey for $t {
            #[allow(clippy::cast_lossless)]
            fn grey(self) -> f64 {
                self as f64
            }
        })*
    };
}

grey!(u8 u16 u32 u64 i8 i16 i32 i64 f32 f64);

impl Grey for half::f16 {
    fn grey(self) -> f64 {
        self.to_f64()
    }
}

// Refused when the picture is begun.
impl<T> Grey for Complex<T>
where
    Self: Copy,
{
    fn grey(self) -> f64 {
        0.0
    }
}

/// The values at the two percentiles, nearest rank, of those that are finite.
fn window(values: &mut Vec<f64>, options: PngOptions) -> Window {
    values.retain(|v| v.is_finite());
    let Some(last) = values.len().checked_sub(1) else { return Window { low: 0.0, high: 1.0 } };
    let mut at = |percentile: f64| {
        let rank = ((percentile / 100.0 * last as f64).round() as usize).min(last);
        *values.select_nth_unstable_by(rank, f64::total_cmp).1
    };
    let (low, high) = (at(options.low), at(options.high));
    if low < high {
        return Window { low, high };
    }
    // Nearly all values are equal: show the few that are not.
    Window { low: at(0.0), high: at(100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_leaves_out_the_ends_but_never_everything() {
        let options = PngOptions { low: 1.0, high: 99.0, bits: 8 };
        let mut values: Vec<f64> = (0..=1000).rev().map(f64::from).chain([f64::NAN, f64::INFINITY]).collect();
        assert_eq!(window(&mut values, options), Window { low: 10.0, high: 990.0 });
        let mut flat = vec![5.0; 1000];
        flat[7] = 9.0;
        assert_eq!(window(&mut flat, options), Window { low: 5.0, high: 9.0 });
        assert_eq!(window(&mut vec![], options), Window { low: 0.0, high: 1.0 });
    }
}
