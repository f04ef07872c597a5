//! A plane as a PNG picture: grey, or colour where the last axis holds red, green and blue.
//!
//! Values are spread over the picture's range between two percentiles, which needs all of them at once: the
//! plane is held in memory.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use image::{ExtendedColorType, ImageEncoder};
use serde::Serialize;

use super::store::{Durability, Store};
use super::{Sink, Spec, Written};
use crate::block::{Block, Buffer, Target, size_bytes};
use crate::dtype::{Complex, DType};
use crate::error::{Error, Result};
use crate::grid::{Region, n_elements};
use crate::source::Scratch;
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

/// The values that became black and white.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Window {
    /// Black.
    pub low: f64,
    /// White.
    pub high: f64,
}

/// A picture under construction.
pub struct PngSink {
    store: Store,
    options: PngOptions,
    dtype: DType,
    shape: Vec<u64>,
    unit: Vec<u64>,
    width: u32,
    height: u32,
    is_colour: bool,
    /// The whole plane, and how many of its elements have arrived.
    plane: Mutex<(Buffer, u64)>,
}

impl PngSink {
    /// Starts the picture that will be called `path`.
    ///
    /// # Errors
    /// `Usage` if the array is not a plane of real numbers, or something stands under the name; `Io` if the
    /// place cannot be written.
    pub fn create(
        path: &Path,
        spec: &Spec,
        options: PngOptions,
        overwrite: bool,
        durability: Durability,
    ) -> Result<Self> {
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
        let bytes = size_bytes(&shape, spec.dtype);
        let bytes = usize::try_from(bytes).map_err(|_| no(format!("{bytes} bytes cannot be held in memory")))?;
        let store = Store::file(path, overwrite, durability)?;
        let mut plane = Buffer::default();
        plane.sized(bytes);
        let unit = vec![1; shape.len()];
        let plane = Mutex::new((plane, 0));
        Ok(Self { store, options, dtype: spec.dtype, unit, width, height, is_colour, plane, shape })
    }

    /// Shape of what one file holds: the array.
    pub fn object_shape(&self) -> &[u64] {
        &self.shape
    }

    /// Memory that stays in use until the end, where values are sorted and encoded, in bytes.
    pub fn held_bytes(&self) -> u64 {
        let n = n_elements(&self.shape);
        // The plane, its values as floats to be sorted, the picture, and its encoded form.
        let picture = n.saturating_mul(u64::from(self.options.bits) / 8);
        size_bytes(&self.shape, self.dtype)
            .saturating_add(n.saturating_mul(8))
            .saturating_add(picture.saturating_mul(3))
            .saturating_add(1 << 20)
    }

    /// As [`Sink::finish`], and says which values became black and white.
    ///
    /// # Errors
    /// `Format` if elements are missing; `Io` if the picture cannot be written.
    pub fn complete(self) -> Result<(Written, Window)> {
        let (plane, n_arrived) = self.plane.into_inner().unwrap_or_else(PoisonError::into_inner);
        let expected = n_elements(&self.shape);
        if n_arrived != expected {
            return Err(Error::format(format!("{n_arrived} elements were written, not {expected}")));
        }
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
            .map_err(|e| Error::unsupported(format!("{}: {e}", self.store.name().display())))?;
        self.store.put_at(0, &encoded)?;
        Ok((self.store.publish()?, window))
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

impl Sink for PngSink {
    type Receipt = ();

    fn unit(&self) -> &[u64] {
        &self.unit
    }

    fn write_bytes(&self, _n_units: u64) -> u64 {
        4 << 10
    }

    fn write(&self, block: &Block, _scratch: &mut Scratch) -> Result<()> {
        let mut plane = self.plane.lock().unwrap_or_else(PoisonError::into_inner);
        let (buffer, n_arrived) = &mut *plane;
        let mut whole = Target::dense(buffer.bytes_mut(), &self.shape, self.dtype);
        let region = block.region();
        whole.part(region).paste_part(block.bytes(), &region.shape, &Region::whole(&region.shape));
        *n_arrived += region.n_elements();
        Ok(())
    }

    fn commit(&self, (): ()) -> Result<()> {
        Ok(())
    }

    fn finish(self) -> Result<Written> {
        self.complete().map(|(written, _)| written)
    }
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
