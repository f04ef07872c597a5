//! Planes as PNG pictures: grey; in colour where the last axis holds red, green and blue, or where channels are merged.
//!
//! Values are spread over the range of grey levels between two percentiles of all planes of a channel, which needs all
//! of them at once: the array is held in memory. A name with axes in braces, such as `{t}`, stands for many pictures.

use std::path::{Path, PathBuf};

use png::{BitDepth, ColorType};

use super::whole::{self, Made};
use super::zarr::{channel_labels, shown};
use super::{OutputOptions, Spec};
use crate::axis::{Axis, AxisKind};
use crate::block::Block;
use crate::consume::Consumer;
use crate::dtype::{Complex, DType};
use crate::error::{Error, Result};
use crate::grid::{n_elements, positions};
use crate::store::{OutputKind, is_begun, sums};
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
    /// Whether channels are put together in colour.
    pub merge: bool,
    /// Whether every picture has percentiles of its own.
    pub each: bool,
}

impl Default for PngOptions {
    fn default() -> Self {
        Self { low: 0.1, high: 99.9, bits: 8, merge: false, each: false }
    }
}

/// The values that become black and white.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Red, green and blue, from 0 to 1.
type Tint = [f64; 3];

/// A picture, and the planes that it shows: the number of each, the window that it goes by, and its colour.
struct Picture {
    path: PathBuf,
    layers: Vec<(u64, usize, Tint)>,
}

/// Pictures of an array, which comes as one block.
struct Pictures {
    options: PngOptions,
    dtype: DType,
    shape: Vec<u64>,
    width: u32,
    height: u32,
    /// Values of a pixel in the array.
    samples: u64,
    pictures: Vec<Picture>,
    n_windows: usize,
}

/// The picture, or pictures, that will be called `path`.
///
/// # Errors
/// `Usage` if the array is not planes of real numbers, a name is lacking, or something stands under one.
pub fn create(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    let pictures = Pictures::new(path, spec, options)?;
    let (first, room_bytes) = (pictures.pictures[0].path.clone(), pictures.held_bytes());
    whole::create(&first, spec, options, room_bytes, move |block| pictures.draw(block))
}

/// Height, width and samples of the planes of an array, and the axes that number them.
fn planes(spec: &Spec) -> (u64, u64, u64, Vec<usize>) {
    let shape = spec.shape();
    let lengths: Vec<usize> = (0..shape.len()).filter(|&i| shape[i] != 1).collect();
    let is_channel = |i: usize| matches!(spec.axes[i].name.as_str(), "c" | "s") && shape[i] == 3;
    match lengths[..] {
        [ref outer @ .., h, w, c] if c + 1 == shape.len() && is_channel(c) => (shape[h], shape[w], 3, outer.to_vec()),
        [ref outer @ .., h, w] => (shape[h], shape[w], 1, outer.to_vec()),
        // A row, a column or one value: keep the last two axes apart.
        _ => {
            let last = |back: usize| shape.len().checked_sub(back).map_or(1, |i| shape[i]);
            let (h, w) = (last(2), last(1));
            let n = n_elements(&shape);
            if h.saturating_mul(w) == n { (h, w, 1, Vec::new()) } else { (1, n, 1, Vec::new()) }
        }
    }
}

/// What stands for index `at` of an axis in a name: its label, or its number with as many digits as the last one.
fn text_of(axis: &Axis, at: u64) -> String {
    let label = || channel_labels(axis).get(at as usize).cloned();
    let text = axis.labels.as_ref().and_then(|_| label());
    let width = axis.length.saturating_sub(1).to_string().len();
    text.unwrap_or_else(|| format!("{at:0width$}")).replace(['/', '\\'], "_")
}

/// The pictures of an array, and the number of windows; `outer` axes number its planes.
fn pictures(path: &Path, spec: &Spec, outer: &[usize], output: &OutputOptions) -> Result<(Vec<Picture>, usize)> {
    let template = path.to_string_lossy();
    let no = |why: String| Error::usage(format!("{template}: {why}"));
    let names: Vec<&str> = spec.axes.iter().map(|a| a.name.as_str()).collect();
    let merged = |i: usize| output.png.merge && spec.axes[i].kind == AxisKind::Channel;
    for &i in outer.iter().filter(|&&i| !merged(i)) {
        if !template.contains(&format!("{{{}}}", names[i])) {
            return Err(no(format!(
                "an array of shape {} is not one plane: put {{{}}} into the name for many pictures, or write .tif, .npy \
                 or .zarr",
                crate::report::tuple(&spec.shape()),
                names[i]
            )));
        }
    }
    let channel = outer.iter().copied().find(|&i| spec.axes[i].kind == AxisKind::Channel);
    if output.png.merge && channel.is_none() {
        return Err(no("--merge puts channels together, of which there are not several".into()));
    }
    let colours: Vec<Tint> = shown(&spec.axes, spec.dtype, &output.image).iter().map(|(_, hex)| tint(hex)).collect();
    let counts: Vec<u64> = outer.iter().map(|&i| spec.axes[i].length).collect();
    let mut found: Vec<Picture> = Vec::new();
    for (number, at) in (0..).zip(positions(&counts)) {
        let mut name = template.to_string();
        for (i, axis) in spec.axes.iter().enumerate() {
            let index = outer.iter().position(|&o| o == i).map_or(0, |k| at[k]);
            name = name.replace(&format!("{{{}}}", axis.name), &text_of(axis, index));
        }
        if let Some(open) = name.find('{') {
            let known = names.join(",");
            return Err(no(format!("nothing fills in {}: the array has axes {known}", &name[open..])));
        }
        let c = channel.and_then(|c| outer.iter().position(|&o| o == c)).map_or(0, |k| at[k] as usize);
        let colour = if output.png.merge { colours.get(c).copied().unwrap_or([1.0; 3]) } else { [1.0; 3] };
        let layer = (number, if output.png.each { number as usize } else { c }, colour);
        match found.iter_mut().find(|picture| picture.path == Path::new(&name)) {
            Some(picture) if output.png.merge => picture.layers.push(layer),
            Some(_) => return Err(no(format!("two pictures would be called {name}"))),
            None => found.push(Picture { path: PathBuf::from(name), layers: vec![layer] }),
        }
    }
    let n_windows = found.iter().flat_map(|p| &p.layers).map(|l| l.1 + 1).max().unwrap_or(1);
    Ok((found, n_windows))
}

/// `FF8000` as a colour.
fn tint(hex: &str) -> Tint {
    let part = |i: usize| hex.get(2 * i..2 * i + 2).and_then(|h| u8::from_str_radix(h, 16).ok()).unwrap_or(255);
    [part(0), part(1), part(2)].map(|v| f64::from(v) / 255.0)
}

impl Pictures {
    fn new(path: &Path, spec: &Spec, output: &OutputOptions) -> Result<Self> {
        let options = output.png;
        let shape = spec.shape();
        let no = |why: String| Error::usage(format!("{}: {why}: write .tif, .npy or .zarr", path.display()));
        let size = |n: u64| u32::try_from(n).map_err(|_| no(format!("a picture of {shape:?} is too large for PNG")));
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
        let (height, width, samples, outer) = planes(spec);
        let (pictures, n_windows) = pictures(path, spec, &outer, output)?;
        let (height, width) = (size(height)?, size(width)?);
        // What an earlier run has made of the others, this one makes once more and finds equal.
        let n_checked = if is_begun(&pictures[0].path) { 1 } else { pictures.len() };
        pictures[..n_checked].iter().try_for_each(|picture| output.check_free(&picture.path, OutputKind::File))?;
        Ok(Self { options, dtype: spec.dtype, shape, width, height, samples, pictures, n_windows })
    }

    /// Elements of a plane.
    fn n_plane(&self) -> usize {
        self.width as usize * self.height as usize * self.samples as usize
    }

    /// Memory of drawing them, in bytes.
    fn held_bytes(&self) -> u64 {
        let n = n_elements(&self.shape);
        // The values as floats to be sorted, levels as floats, the pictures, and their encoded form.
        let samples = if self.options.merge { 3 } else { 1 };
        let picture = n.saturating_mul(samples * u64::from(self.options.bits) / 8);
        let levels = (self.n_plane() as u64).saturating_mul(8 * (samples + 1));
        n.saturating_mul(8).saturating_add(levels).saturating_add(picture.saturating_mul(2)).saturating_add(1 << 20)
    }

    /// All pictures, and which values became black and white in the first.
    fn draw(&self, array: &Block) -> Result<Made> {
        let mut windows = Vec::new();
        for window in 0..self.n_windows {
            let layers = self.pictures.iter().flat_map(|p| &p.layers).filter(|l| l.1 == window);
            let mut values = Vec::new();
            layers.for_each(|layer| values.extend(self.values(array, layer.0)));
            windows.push(self::window(&mut values, self.options));
        }
        let mut made = Made::default();
        for (i, picture) in self.pictures.iter().enumerate() {
            let encoded = self.encode(array, picture, &windows)?;
            match i {
                0 => made.bytes = encoded,
                _ => made.others.push((picture.path.clone(), encoded)),
            }
        }
        let Window { low, high } = windows[self.pictures[0].layers[0].1];
        Ok(Made { window: Some((low, high)), ..made })
    }

    /// The values of a plane.
    fn values(&self, array: &Block, plane: u64) -> Vec<f64> {
        let (n, size) = (self.n_plane(), self.dtype.size());
        let bytes = &array.bytes()[plane as usize * n * size..][..n * size];
        with_dtype!(self.dtype, T => bytemuck::cast_slice::<u8, T>(bytes).iter().map(|v| v.grey()).collect())
    }

    fn encode(&self, array: &Block, picture: &Picture, windows: &[Window]) -> Result<Vec<u8>> {
        let most = if self.options.bits == 8 { 255.0 } else { 65535.0 };
        let is_colour = self.samples == 3 || self.options.merge;
        // Levels from 0 to 1; not a number becomes black.
        let level = |v: f64, window: &Window| {
            let range = window.high - window.low;
            if range > 0.0 { ((v - window.low) / range).clamp(0.0, 1.0) } else { 0.0 }
        };
        let mut levels = vec![0.0; self.n_plane() * if self.options.merge { 3 } else { 1 }];
        for (plane, window, colour) in &picture.layers {
            let own = self.values(array, *plane).into_iter().map(|v| level(v, &windows[*window]));
            if self.options.merge {
                let pixels = levels.chunks_exact_mut(3).zip(own);
                pixels.for_each(|(to, l)| to.iter_mut().zip(colour).for_each(|(to, c)| *to += l * c));
            } else {
                levels.iter_mut().zip(own).for_each(|(to, l)| *to = l);
            }
        }
        let whole = levels.iter().map(|l| (l * most).round().clamp(0.0, most));
        let (depth, bytes): (_, Vec<u8>) = match self.options.bits {
            8 => (BitDepth::Eight, whole.map(|l| l as u8).collect()),
            _ => (BitDepth::Sixteen, whole.flat_map(|l| (l as u16).to_be_bytes()).collect()),
        };
        let colour = if is_colour { ColorType::Rgb } else { ColorType::Grayscale };
        encoded((self.width, self.height), colour, depth, &bytes)
            .map_err(|e| Error::unsupported(format!("{}: {e}", picture.path.display())))
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
pub(crate) fn window(values: &mut Vec<f64>, options: PngOptions) -> Window {
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

/// A picture in colours as a `.png`.
///
/// # Errors
/// `Unsupported` if it is too large.
pub fn encode(picture: &crate::draw::canvas::Canvas) -> Result<Vec<u8>> {
    let size = (picture.width as u32, picture.height as u32);
    encoded(size, ColorType::Rgb, BitDepth::Eight, &picture.bytes).map_err(Error::unsupported)
}

/// A `.png` of `bytes`, which says what made it, and its checksum behind it; 16 bits are big-endian.
fn encoded(
    (width, height): (u32, u32),
    colour: ColorType,
    depth: BitDepth,
    bytes: &[u8],
) -> std::result::Result<Vec<u8>, png::EncodingError> {
    let mut encoded = Vec::new();
    let mut encoder = png::Encoder::new(&mut encoded, width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    encoder.set_compression(png::Compression::Fast);
    encoder.add_text_chunk("Software".into(), concat!("stackctl ", env!("CARGO_PKG_VERSION")).into())?;
    let mut writer = encoder.write_header()?;
    writer.write_image_data(bytes)?;
    writer.finish()?;
    sums::sign(&mut encoded);
    Ok(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_leaves_out_the_ends_but_never_everything() {
        let options = PngOptions { low: 1.0, high: 99.0, ..PngOptions::default() };
        let mut values: Vec<f64> = (0..=1000).rev().map(f64::from).chain([f64::NAN, f64::INFINITY]).collect();
        assert_eq!(window(&mut values, options), Window { low: 10.0, high: 990.0 });
        let mut flat = vec![5.0; 1000];
        flat[7] = 9.0;
        assert_eq!(window(&mut flat, options), Window { low: 5.0, high: 9.0 });
        assert_eq!(window(&mut vec![], options), Window { low: 0.0, high: 1.0 });
    }
}
