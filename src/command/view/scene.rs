//! What is shown of an array: three planes through a point, or a projection along z, channels in their colours.

use std::sync::Arc;

use rayon::prelude::*;

use crate::array::{Array, Reader, Scratch};
use crate::axis::{Axis, AxisKind, position};
use crate::block::Buffer;
use crate::draw::canvas::{Canvas, Colour};
use crate::dtype::{DType, to_f64};
use crate::error::{Error, Result};
use crate::grid::Region;
use crate::sink::png::{PngOptions, Window, window};

/// Channels that are shown.
const MOST_CHANNELS: u64 = 8;
/// Bytes that are read at a time.
const BAND_BYTES: u64 = 8 << 20;
/// Uncoded planes up to this size are averaged; of larger ones single rows are read.
const AVERAGED_BYTES: u64 = 32 << 20;
/// Pixels between panels.
const GAP: usize = 2;
/// Behind everything.
const GROUND: Colour = [24; 3];

/// How the array is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ViewMode {
    /// Three planes.
    Slices,
    Max,
    Mean,
}

/// An array that is shown.
pub(super) struct Scene {
    array: Arc<dyn Array>,
    pub(super) y: usize,
    pub(super) x: usize,
    pub(super) z: Option<usize>,
    channel: Option<usize>,
    n_channels: u64,
    /// For every channel its colour.
    colours: Vec<Colour>,
    /// Index along every axis.
    pub(super) at: Vec<u64>,
    pub(super) mode: ViewMode,
    percentiles: PngOptions,
    /// Whether channels are red, green and blue, and shown as they are.
    is_photograph: bool,
    /// What is black and white, for each channel, once something was shown.
    windows: Option<Vec<Window>>,
}

/// Pixels of one panel: for every channel rows of values.
type Panel = Vec<Vec<f64>>;

/// Pixels along y, x and z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    y: usize,
    x: usize,
    z: usize,
}

impl Scene {
    /// `array`, whose channels have `colours`, or are samples of a photograph's pixels; `None` if it has no rows and columns, or is complex.
    pub(super) fn new(
        array: Arc<dyn Array>,
        colours: Vec<Colour>,
        mode: ViewMode,
        (low, high): (f64, f64),
        is_photograph: bool,
    ) -> Option<Self> {
        let axes = array.axes();
        if array.dtype().is_complex() || axes.iter().any(|a| a.length == 0) {
            return None;
        }
        let long: Vec<usize> = (0..axes.len()).filter(|&i| axes[i].kind != AxisKind::Channel).collect();
        let named = |name: &str| position(axes, name);
        // Without their names, the last two axes are rows and columns.
        let (y, x) = match (named("y"), named("x"), &long[..]) {
            (Some(y), Some(x), _) => (y, x),
            (_, _, [.., y, x]) => (*y, *x),
            _ => return None,
        };
        let z = named("z").filter(|&z| axes[z].length > 1);
        let channel = (0..axes.len()).find(|&i| axes[i].kind == AxisKind::Channel);
        let n_channels = channel.map_or(1, |c| axes[c].length.min(MOST_CHANNELS));
        let at = axes.iter().map(|a| a.length / 2).collect();
        let percentiles = PngOptions { low, high, ..PngOptions::default() };
        let mut scene = Self {
            array: Arc::clone(&array),
            y,
            x,
            z,
            channel,
            n_channels,
            colours,
            at,
            mode,
            percentiles,
            is_photograph: false,
            windows: None,
        };
        if is_photograph && scene.n_channels >= 3 && array.dtype() == DType::Uint8 {
            scene.is_photograph = true;
            scene.colours = vec![[255, 0, 0], [0, 255, 0], [0, 0, 255]];
            scene.windows = Some(vec![Window { low: 0.0, high: 255.0 }; 3]);
            scene.n_channels = 3;
        }
        Some(scene)
    }

    pub(super) fn axes(&self) -> &[Axis] {
        self.array.axes()
    }

    /// Whether pictures have no colours.
    pub(super) fn is_grey(&self) -> bool {
        self.n_channels == 1
    }

    /// Looks for black and white anew.
    pub(super) fn forget_windows(&mut self) {
        if !self.is_photograph {
            self.windows = None;
        }
    }

    /// Pixels along y, x and z of a picture of at most `width` by `height`, and of at most `most` pixels for an element.
    fn extent(&self, width: usize, height: usize, most: f64) -> Extent {
        let length = |i: usize| self.axes()[i].length as f64;
        let step = |i: usize| self.axes()[i].calibration.as_ref().map(|c| c.step.abs()).filter(|s| *s > 0.0);
        let z = self.z.filter(|_| self.mode == ViewMode::Slices);
        let deep = z.map_or(0.0, |z| {
            let ratio = step(z).zip(step(self.x)).map_or(1.0, |(z, x)| z / x).clamp(0.1, 20.0);
            length(z) * ratio
        });
        // Rows and columns that are not square are shown as they lie in space.
        let tall = length(self.y) * step(self.y).zip(step(self.x)).map_or(1.0, |(y, x)| (y / x).clamp(0.1, 10.0));
        let gap = if z.is_some() { GAP } else { 0 };
        let room = |pixels: usize| pixels.saturating_sub(gap).max(1) as f64;
        let scale = (room(width) / (length(self.x) + deep)).min(room(height) / (tall + deep)).min(most);
        let pixels = |length: f64| ((length * scale) as usize).max(1);
        Extent { y: pixels(tall), x: pixels(length(self.x)), z: if z.is_some() { pixels(deep) } else { 0 } }
    }

    /// Elements along y and x that a picture of at most `size` pixels needs: coarser levels have enough of them.
    pub(super) fn needs(&self, size: (usize, usize), most: f64) -> [u64; 2] {
        let extent = self.extent(size.0, size.1, most);
        [extent.y as u64, extent.x as u64]
    }

    /// The picture, of at most `width` by `height` pixels, and of at most `most` for an element.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn draw(&mut self, (width, height): (usize, usize), most: f64) -> Result<Canvas> {
        let extent = self.extent(width, height, most);
        let mut panels = Vec::new();
        let gap = if extent.z > 0 { GAP } else { 0 };
        let whole = match self.mode {
            ViewMode::Slices => self.panel([self.y, self.x], [extent.y, extent.x], &self.at)?,
            _ => self.projected([extent.y, extent.x])?,
        };
        panels.push((0, 0, extent.x, whole));
        if let Some(z) = self.z.filter(|_| extent.z > 0) {
            let below = self.panel([z, self.x], [extent.z, extent.x], &self.at)?;
            panels.push((0, extent.y + gap, extent.x, below));
            let right = self.panel([self.y, z], [extent.y, extent.z], &self.at)?;
            panels.push((extent.x + gap, 0, extent.z, right));
        }
        let windows = self.windows.get_or_insert_with(|| {
            let channel = |c: usize| {
                let mut values: Vec<f64> = panels.iter().flat_map(|panel| panel.3[c].iter().copied()).collect();
                window(&mut values, self.percentiles)
            };
            (0..self.n_channels as usize).map(channel).collect()
        });
        let mut canvas = Canvas::new(extent.x + gap + extent.z, extent.y + gap + extent.z, GROUND);
        for (left, top, width, panel) in &panels {
            paint(&mut canvas, (*left, *top), *width, panel, windows, &self.colours);
        }
        Ok(canvas)
    }

    /// The plane of `axes` at `at`, in `pixels` rows and columns.
    fn panel(&self, axes: [usize; 2], pixels: [usize; 2], at: &[u64]) -> Result<Panel> {
        let reader = Arc::clone(&self.array).reader(Scratch::default());
        Reading { scene: self, reader, buffer: Buffer::default() }.panel(axes, pixels, at)
    }

    /// What lies along z, as one plane.
    fn projected(&self, pixels: [usize; 2]) -> Result<Panel> {
        let Some(z) = self.z else { return self.panel([self.y, self.x], pixels, &self.at) };
        let n = self.axes()[z].length;
        let plane = |at: u64| {
            let mut place = self.at.clone();
            place[z] = at;
            self.panel([self.y, self.x], pixels, &place)
        };
        let is_max = self.mode == ViewMode::Max;
        let join = |mut a: Panel, b: Panel| {
            for (a, b) in a.iter_mut().flatten().zip(b.iter().flatten()) {
                *a = if is_max { a.max(*b) } else { *a + b };
            }
            Ok(a)
        };
        // Halves of halves: the order of sums does not depend on threads.
        let planes: Result<Option<Panel>> = (0..n).into_par_iter().map(plane).map(|p| p.map(Some)).try_reduce(
            || None,
            |a, b| match (a, b) {
                (Some(a), Some(b)) => join(a, b).map(Some),
                (one, other) => Ok(one.or(other)),
            },
        );
        let mut all = planes?.ok_or_else(|| Error::usage("nothing lies along z"))?;
        if !is_max {
            all.iter_mut().flatten().for_each(|sum| *sum /= n as f64);
        }
        Ok(all)
    }
}

/// One way to read a scene.
struct Reading<'s> {
    scene: &'s Scene,
    reader: Box<dyn Reader>,
    buffer: Buffer,
}

impl Reading<'_> {
    fn panel(&mut self, [rows, columns]: [usize; 2], [n_rows, n_columns]: [usize; 2], at: &[u64]) -> Result<Panel> {
        let scene = self.scene;
        let (axes, dtype) = (scene.axes(), scene.array.dtype());
        let (height, width) = (axes[rows].length, axes[columns].length);
        let row_bytes = width * scene.n_channels * dtype.size() as u64;
        let thin = !scene.array.coded() && height * row_bytes > AVERAGED_BYTES && (n_rows as u64) < height;
        let rows_per_band = if thin { 1 } else { (BAND_BYTES / row_bytes.max(1)).max(1) };
        let source = |row: usize| {
            let (from, to) = (row as u64 * height / n_rows as u64, (row as u64 + 1) * height / n_rows as u64);
            if thin { ((from + to) / 2, (from + to) / 2 + 1) } else { (from, to.max(from + 1)) }
        };
        let mut panel = vec![vec![0.0; n_rows * n_columns]; scene.n_channels as usize];
        let mut row = 0;
        while row < n_rows {
            let (from, mut end) = (source(row).0, row + 1);
            while end < n_rows && source(end).1 - from <= rows_per_band {
                end += 1;
            }
            let to = source(end - 1).1;
            let mut region = Region { origin: at.to_vec(), shape: vec![1; axes.len()] };
            (region.origin[rows], region.shape[rows]) = (from, to - from);
            (region.origin[columns], region.shape[columns]) = (0, width);
            if let Some(channel) = scene.channel {
                (region.origin[channel], region.shape[channel]) = (0, scene.n_channels);
            }
            let block = self.reader.block(&region, dtype, std::mem::take(&mut self.buffer))?;
            let values = to_f64(dtype, block.bytes());
            let strides = crate::grid::row_major_strides(&region.shape);
            let channel_stride = scene.channel.map_or(0, |c| strides[c]);
            for (c, out) in panel.iter_mut().enumerate() {
                let start = c as u64 * channel_stride;
                for row in row..end {
                    let (first, last) = source(row);
                    for column in 0..n_columns {
                        let left = column as u64 * width / n_columns as u64;
                        let right = ((column as u64 + 1) * width / n_columns as u64).max(left + 1);
                        let mut sum = 0.0;
                        for y in first - from..last - from {
                            let line = start + y * strides[rows];
                            sum += (left..right).map(|x| values[(line + x * strides[columns]) as usize]).sum::<f64>();
                        }
                        out[row * n_columns + column] = sum / ((last - first) * (right - left)) as f64;
                    }
                }
            }
            self.buffer = block.into_buffer();
            row = end;
        }
        Ok(panel)
    }
}

/// Adds the channels of a panel to `canvas`, its upper left corner at `left`, `top`.
fn paint(
    canvas: &mut Canvas,
    (left, top): (usize, usize),
    width: usize,
    panel: &Panel,
    windows: &[Window],
    colours: &[Colour],
) {
    for i in 0..panel[0].len() {
        let mut pixel = [0.0; 3];
        for (c, values) in panel.iter().enumerate() {
            let Window { low, high } = windows[c];
            let level = ((values[i] - low) / (high - low)).clamp(0.0, 1.0);
            let colour = if panel.len() == 1 { [255; 3] } else { colours.get(c).copied().unwrap_or([255; 3]) };
            pixel.iter_mut().zip(colour).for_each(|(p, full)| *p += level * f64::from(full));
        }
        canvas.set(left + i % width, top + i / width, pixel.map(|p| p.round().min(255.0) as u8));
    }
}
