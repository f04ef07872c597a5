//! Planes as PNG pictures: grey; in colour where the last axis holds red, green and blue, or where channels are merged.
//!
//! Values are spread over the range of grey levels between two percentiles of all planes of a channel, which are known
//! when all have come: until then the elements lie behind where the first picture will be, and then one plane at a time is
//! in memory. A name with axes in braces, such as `{t}`, stands for many pictures.

use std::path::{Path, PathBuf};

use png::{BitDepth, ColorType};

use super::flat::{FlatSink, Placement};
use super::zarr::{channel_labels, shown};
use super::{OutputOptions, Spec};
use crate::axis::{Axis, AxisKind};
use crate::block::Block;
use crate::consume::{Consumer, Job, Merger, Place, Product, Taker};
use crate::dtype::{DType, to_f64};
use crate::error::{Error, Result};
use crate::grid::{Region, n_elements, positions};
use crate::plan::{Cost, Task, Wants};
use crate::store::{OutputKind, Store, forget, holds, is_begun, sums};

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
    /// Whether every plane has percentiles of its own.
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

impl Window {
    /// From 0, black, to 1. What is no number is black, and so is all where the window is of one value.
    pub(crate) fn level(self, v: f64) -> f64 {
        let shown = v > self.low && self.low < self.high;
        if shown { ((v - self.low) / (self.high - self.low)).min(1.0) } else { 0.0 }
    }
}

/// Red, green and blue, from 0 to 1.
type Tint = [f64; 3];

/// A picture, and the planes that it shows.
struct Picture {
    path: PathBuf,
    layers: Vec<Layer>,
}

/// A plane of the array in a picture: the window that it goes by, and its colour.
struct Layer {
    plane: u64,
    window: usize,
    colour: Tint,
}

/// Pictures of an array.
struct Pictures {
    /// Its elements, until all have come, from `start` on.
    elements: FlatSink,
    start: u64,
    output: OutputOptions,
    dtype: DType,
    width: u32,
    height: u32,
    /// Values of a pixel in the array.
    samples: u64,
    pictures: Vec<Picture>,
    n_windows: usize,
    /// Of all files but the first, how many there are and their bytes.
    more: (u64, u64),
    /// Of the first picture.
    window: Option<(f64, f64)>,
}

/// The picture, or pictures, that will be called `path`.
///
/// # Errors
/// `Usage` if the array is not planes of real numbers, a name is lacking, or something stands under one.
pub fn create(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    Ok(Box::new(Pictures::new(path, spec, options)?))
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
        let layer = Layer { plane: number, window: c, colour };
        match found.iter_mut().find(|picture| picture.path == Path::new(&name)) {
            Some(picture) if output.png.merge => picture.layers.push(layer),
            Some(_) => return Err(no(format!("two pictures would be called {name}"))),
            None => found.push(Picture { path: PathBuf::from(name), layers: vec![layer] }),
        }
    }
    let n_windows = found.iter().flat_map(|p| &p.layers).map(|l| l.window + 1).max().unwrap_or(1);
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
        // More than an encoder makes of a picture.
        let bytes = u64::from(height) * u64::from(width) * 3 * u64::from(options.bits / 8);
        let start = (bytes + bytes / 16 + u64::from(height) + (64 << 10)).next_multiple_of(16);
        let placement = Placement::row_major(start, &shape, spec.dtype);
        let elements = FlatSink::file(&pictures[0].path, spec, output, Box::new(|_| Ok(())), placement)?.unsigned();
        let (output, dtype, more, window) = (output.clone(), spec.dtype, (0, 0), None);
        Ok(Self { elements, start, output, dtype, width, height, samples, pictures, n_windows, more, window })
    }

    /// Elements of a plane.
    fn n_plane(&self) -> usize {
        self.width as usize * self.height as usize * self.samples as usize
    }

    /// Where elements are, and pictures will be.
    fn store(&self) -> Result<&Store> {
        self.elements.place().map_or_else(|| Err(Error::format("pictures are files")), Place::open)
    }

    /// The values of a plane.
    fn values(&self, number: u64) -> Result<Vec<f64>> {
        let mut plane = Block::new(Region::whole(&[self.n_plane() as u64]), self.dtype)?;
        self.store()?.get_at(self.start + number * plane.bytes().len() as u64, plane.bytes_mut())?;
        Ok(to_f64(self.dtype, plane.bytes()))
    }

    /// The window of the planes that `is_of` it.
    fn window(&self, is_of: impl Fn(&Layer) -> bool) -> Result<Window> {
        let layers = || self.pictures.iter().flat_map(|p| &p.layers).filter(|layer| is_of(layer));
        window(self.output.png, self.dtype, |see| {
            layers().try_for_each(|layer| self.values(layer.plane).map(|values| values.into_iter().for_each(&mut *see)))
        })
    }

    /// The window of every channel; none where each picture has its own.
    fn windows(&self) -> Result<Vec<Window>> {
        let n = if self.output.png.each { 0 } else { self.n_windows };
        (0..n).map(|number| self.window(|layer| layer.window == number)).collect()
    }

    /// The window of a plane of a picture.
    fn window_of(&self, layer: &Layer, shared: &[Window]) -> Result<Window> {
        shared.get(layer.window).copied().map_or_else(|| self.window(|other| other.plane == layer.plane), Ok)
    }

    fn encode(&self, picture: &Picture, shared: &[Window]) -> Result<Vec<u8>> {
        let options = self.output.png;
        let most = if options.bits == 8 { 255.0 } else { 65535.0 };
        let is_colour = self.samples == 3 || options.merge;
        let mut levels = vec![0.0; self.n_plane() * if options.merge { 3 } else { 1 }];
        for layer in &picture.layers {
            let window = self.window_of(layer, shared)?;
            let own = self.values(layer.plane)?.into_iter().map(|v| window.level(v));
            if options.merge {
                let pixels = levels.chunks_exact_mut(3).zip(own);
                pixels.for_each(|(to, l)| to.iter_mut().zip(layer.colour).for_each(|(to, c)| *to += l * c));
            } else {
                levels.iter_mut().zip(own).for_each(|(to, l)| *to = l);
            }
        }
        let whole = levels.iter().map(|l| (l * most).round().clamp(0.0, most));
        let (depth, bytes): (_, Vec<u8>) = match options.bits {
            8 => (BitDepth::Eight, whole.map(|l| l as u8).collect()),
            _ => (BitDepth::Sixteen, whole.flat_map(|l| (l as u16).to_be_bytes()).collect()),
        };
        let colour = if is_colour { ColorType::Rgb } else { ColorType::Grayscale };
        encoded((self.width, self.height), colour, depth, &bytes)
            .map_err(|e| Error::unsupported(format!("{}: {e}", picture.path.display())))
    }
}

impl Consumer for Pictures {
    fn wants(&self) -> Wants {
        self.elements.wants()
    }

    fn cost(&self, task: &[u64], piece: &[u64]) -> Cost {
        self.elements.cost(task, piece)
    }

    /// Of drawing one: its elements and its values, levels, the picture, its encoded form, and bins.
    fn held_bytes(&self) -> u64 {
        let samples = if self.output.png.merge { 3 } else { 1 };
        let pixel = self.dtype.size() as u64 + 8 * (1 + samples) + samples * u64::from(self.output.png.bits) / 4;
        (self.n_plane() as u64).saturating_mul(pixel).saturating_add(2 << 20)
    }

    fn begin(&mut self, job: &Job) -> Result<()> {
        self.elements.begin(job)
    }

    fn place(&self) -> Option<&Place> {
        self.elements.place()
    }

    fn place_mut(&mut self) -> Option<&mut Place> {
        self.elements.place_mut()
    }

    fn taker<'a>(&'a self, task: &Task) -> Result<Box<dyn Taker + 'a>> {
        self.elements.taker(task)
    }

    fn merger(&self) -> Box<dyn Merger + '_> {
        self.elements.merger()
    }

    /// The others get their names before the first has its own, by which the run is known.
    fn announce(&mut self) -> Result<()> {
        let OutputOptions { overwrite, durability, .. } = self.output;
        let shared = self.windows()?;
        let [first, others @ ..] = &self.pictures[..] else { return Ok(()) };
        for picture in others {
            let bytes = self.encode(picture, &shared)?;
            self.more = (self.more.0 + 1, self.more.1 + bytes.len() as u64);
            // An earlier run may have come as far.
            if holds(&picture.path, &bytes) {
                forget(&picture.path)?;
                continue;
            }
            let store = Store::file(&picture.path, overwrite, durability)?;
            store.put_at(0, &bytes)?;
            store.publish()?;
        }
        let Window { low, high } = self.window_of(&first.layers[0], &shared)?;
        self.window = Some((low, high));
        let bytes = self.encode(first, &shared)?;
        // While it is written the elements are there: a run that ends here can be gone on with.
        self.store()?.put_at(0, &bytes)?;
        self.store()?.cut(bytes.len() as u64)?;
        self.elements.announce()
    }

    fn publish(&mut self, products: &mut [Product]) -> Result<()> {
        if self.window.is_none() {
            self.announce()?;
        }
        self.elements.publish(products)?;
        if let [total, ..] = products {
            (total.files, total.bytes) = (total.files + self.more.0, total.bytes + self.more.1);
            total.window = self.window;
        }
        Ok(())
    }
}

/// The values at the two percentiles, nearest rank, of those that are finite; of elements of `dtype`, which `each` shows
/// as often as it is asked.
///
/// # Errors
/// Those of `each`.
pub(crate) fn window(
    options: PngOptions,
    dtype: DType,
    mut each: impl FnMut(&mut dyn FnMut(f64)) -> Result<()>,
) -> Result<Window> {
    // Bits of a float64 that tell values of the type apart: sign, exponent, and as many bits as the number has.
    let n_digits = [2, 2, 3, 4][dtype.size().ilog2().min(3) as usize];
    let (mut low, mut high, mut n) = (f64::INFINITY, f64::NEG_INFINITY, 0u64);
    // Of either value: its rank among those that begin alike, and how it begins.
    let mut wanted = [(0, 0); 2];
    for digit in 1..=n_digits {
        let shift = 64 - 16 * digit;
        let mut bins = vec![[0u64; 2]; 1 << 16];
        each(&mut |v| {
            if v.is_finite() {
                let begins = ordered(v) >> shift;
                let bin = &mut bins[begins as usize & 0xFFFF];
                bin.iter_mut().zip(wanted).for_each(|(n, (_, before))| *n += u64::from(begins >> 16 == before));
                (low, high) = (low.min(v), high.max(v));
            }
        })?;
        if digit == 1 {
            n = bins.iter().map(|bin| bin[0]).sum();
            let rank = |percentile: f64| (percentile / 100.0 * n.saturating_sub(1) as f64).round() as u64;
            (wanted[0].0, wanted[1].0) = (rank(options.low), rank(options.high));
        }
        for (i, (rank, before)) in wanted.iter_mut().enumerate() {
            let mut smaller = |n: &[u64; 2]| {
                let is_before = *rank >= n[i];
                *rank -= if is_before { n[i] } else { 0 };
                is_before
            };
            *before = *before << 16 | bins.iter().take_while(|bin| smaller(bin)).count() as u64;
        }
    }
    if n == 0 {
        return Ok(Window { low: 0.0, high: 0.0 });
    }
    let [from, to] = wanted.map(|(_, begins)| value_of(begins << (64 - 16 * n_digits)));
    // Where nearly all values are equal the few that are not are shown.
    Ok(if from < to { Window { low: from, high: to } } else { Window { low, high } })
}

/// A number in the order of floats, which ends in as many zeros as the float's own bits.
fn ordered(v: f64) -> u64 {
    const ZERO: u64 = 1 << 63;
    let size = v.to_bits() & (ZERO - 1);
    if v.is_sign_negative() { ZERO - size } else { ZERO + size }
}

/// Inverse of [`ordered`].
fn value_of(ordered: u64) -> f64 {
    const ZERO: u64 = 1 << 63;
    if ordered < ZERO { -f64::from_bits(ZERO - ordered) } else { f64::from_bits(ordered - ZERO) }
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
        let found = |low: f64, high: f64, dtype: DType, values: &[f64]| {
            let options = PngOptions { low, high, ..PngOptions::default() };
            let all = |see: &mut dyn FnMut(f64)| {
                values.iter().for_each(|v| see(*v));
                Ok(())
            };
            let Window { low, high } = window(options, dtype, all).unwrap();
            (low, high)
        };
        let values: Vec<f64> = (0..=1000).rev().map(f64::from).chain([f64::NAN, f64::INFINITY]).collect();
        assert_eq!(found(1.0, 99.0, DType::Uint16, &values), (10.0, 990.0));
        let below: Vec<f64> = values.iter().map(|v| 0.1 - v).collect();
        assert_eq!(found(1.0, 99.0, DType::Float64, &below), (0.1 - 990.0, 0.1 - 10.0));
        let mut flat = vec![-5.0; 1000];
        flat[7] = 9.0;
        assert_eq!(found(1.0, 99.0, DType::Int8, &flat), (-5.0, 9.0));
        assert_eq!(found(1.0, 99.0, DType::Float32, &[f64::NAN]), (0.0, 0.0));
    }

    #[test]
    fn levels_lie_between_black_and_white() {
        let levels = |low, high, values: [f64; 5]| values.map(|v| Window { low, high }.level(v));
        assert_eq!(levels(2.0, 6.0, [2.0, 3.0, 9.0, -9.0, f64::NAN]), [0.0, 0.25, 1.0, 0.0, 0.0]);
        assert_eq!(levels(3.0, 3.0, [2.0, 3.0, 9.0, f64::INFINITY, f64::NAN]), [0.0; 5]);
    }
}
