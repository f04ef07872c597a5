//! What is shown of an array: three planes through a point, or a projection along z, channels in their colours.

use std::sync::Arc;

use rayon::prelude::*;

use super::super::resources::Resources;
use crate::array::{Array, Reader, Scratch};
use crate::axis::{Axis, AxisKind, position};
use crate::block::Buffer;
use crate::draw::canvas::{Canvas, Colour};
use crate::dtype::{DType, to_f64};
use crate::error::{Error, Result};
use crate::exec::budget::Bytes;
use crate::grid::Region;
use crate::sink::png::{PngOptions, Window, window};
use crate::unit;

/// Channels that are shown.
const MOST_CHANNELS: u64 = 8;
/// Bytes that are read at a time, where the memory allows it.
const BAND_BYTES: u64 = 8 << 20;
/// Uncoded planes up to this size are averaged; of larger ones single rows are read.
const AVERAGED_BYTES: u64 = 32 << 20;
/// The depth takes at most so many times the longer edge of a plane, which would not be seen otherwise.
const DEEPEST: f64 = 8.0;
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
    /// What is black and white, for each channel that was shown.
    windows: Vec<Window>,
    /// Ceiling of the process, and what it uses without drawing.
    limit_bytes: u64,
    base_bytes: u64,
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
    /// `array`, whose channels have `colours`, or are samples of a photograph's pixels, drawn by a process that may use
    /// `limit_bytes`; `None` if it has no rows and columns, or is complex.
    pub(super) fn new(
        array: Arc<dyn Array>,
        colours: Vec<Colour>,
        mode: ViewMode,
        (low, high): (f64, f64),
        is_photograph: bool,
        limit_bytes: u64,
    ) -> Option<Self> {
        let axes = array.axes();
        if array.dtype().is_complex() || axes.iter().any(|a| a.length == 0) {
            return None;
        }
        let long: Vec<usize> = (0..axes.len()).filter(|&i| axes[i].kind != AxisKind::Channel).collect();
        // Of z, y and x the last two are rows and columns; without their names, the last two axes.
        let named: Vec<usize> = ["z", "y", "x"].iter().filter_map(|name| position(axes, name)).collect();
        let (([.., y, x], _) | (_, [.., y, x])) = (&named[..], &long[..]) else { return None };
        let (y, x) = (*y, *x);
        let z = position(axes, "z").filter(|&z| z != y && z != x && axes[z].length > 1);
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
            windows: Vec::new(),
            limit_bytes,
            base_bytes: Resources::base_bytes(&*array),
        };
        if is_photograph && scene.n_channels >= 3 && array.dtype() == DType::Uint8 {
            scene.is_photograph = true;
            scene.colours = vec![[255, 0, 0], [0, 255, 0], [0, 0, 255]];
            scene.windows = vec![Window { low: 0.0, high: 255.0 }; 3];
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
            self.windows.clear();
        }
    }

    /// Whether the places along an axis have pictures of their own; else each shows all of it.
    pub(super) fn varies_along(&self, axis: usize) -> bool {
        let has_sides = self.z.is_some() && self.mode == ViewMode::Slices;
        match axis {
            axis if Some(axis) == self.channel => false,
            axis if axis == self.y || axis == self.x || Some(axis) == self.z => has_sides,
            _ => true,
        }
    }

    /// Lengths along y, x and z as they lie in space, in steps along x; what is deeper than is drawn, by how many times.
    fn lengths(&self) -> ([f64; 3], f64) {
        let length = |i: usize| {
            let steps = [i, self.x].map(|i| self.axes()[i].calibration.as_ref());
            let ratio = steps[0].zip(steps[1]).and_then(|(own, x)| unit::ratio_of_steps(own, x));
            self.axes()[i].length as f64 * ratio.unwrap_or(1.0)
        };
        let (tall, wide) = (length(self.y), length(self.x));
        let deep = self.z.filter(|_| self.mode == ViewMode::Slices).map_or(0.0, length);
        let most = DEEPEST * tall.max(wide);
        ([tall, wide, deep.min(most)], deep / most)
    }

    /// How many times deeper the array is than it is drawn, if it is.
    pub(super) fn flattened(&self) -> Option<f64> {
        Some(self.lengths().1).filter(|times| *times > 1.0)
    }

    /// Pixels along y, x and z of a picture of at most `width` by `height`, and of at most `most` pixels for an element.
    fn extent(&self, width: usize, height: usize, most: f64) -> Extent {
        let ([tall, wide, deep], _) = self.lengths();
        let gap = if deep > 0.0 { GAP } else { 0 };
        let room = |pixels: usize| pixels.saturating_sub(gap).max(1) as f64;
        let scale = (room(width) / (wide + deep)).min(room(height) / (tall + deep)).min(most);
        // A ratio of two units may be short of a whole number by its last digit.
        let pixels = |length: f64| ((length * scale + 1e-6) as usize).max(1);
        Extent { y: pixels(tall), x: pixels(wide), z: if deep > 0.0 { pixels(deep) } else { 0 } }
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
        let room_bytes = self.room_beside(&extent, (extent.x + gap + extent.z) * (extent.y + gap + extent.z))?;
        let plane = |axes, pixels| self.panel(axes, pixels, &self.at, room_bytes);
        let whole = match self.mode {
            ViewMode::Slices => plane([self.y, self.x], [extent.y, extent.x])?,
            _ => self.projected([extent.y, extent.x], room_bytes)?,
        };
        panels.push((0, 0, extent.x, whole));
        if let Some(z) = self.z.filter(|_| extent.z > 0) {
            let below = plane([z, self.x], [extent.z, extent.x])?;
            panels.push((0, extent.y + gap, extent.x, below));
            let right = plane([self.y, z], [extent.y, extent.z])?;
            panels.push((extent.x + gap, 0, extent.z, right));
        }
        // A channel that was of one value gets its window where it is not.
        let of_channel = |c: usize| match self.windows.get(c) {
            Some(known) if known.low < known.high => Ok(*known),
            _ => window(self.percentiles, DType::Float64, |see| {
                panels.iter().flat_map(|panel| &panel.3[c]).for_each(|value| see(*value));
                Ok(())
            }),
        };
        self.windows = (0..self.n_channels as usize).map(of_channel).collect::<Result<_>>()?;
        let mut canvas = Canvas::new(extent.x + gap + extent.z, extent.y + gap + extent.z, GROUND);
        for (left, top, width, panel) in &panels {
            paint(&mut canvas, (*left, *top), *width, panel, &self.windows, &self.colours);
        }
        Ok(canvas)
    }

    /// What may be used beside a picture of so many pixels, its panels and its encoded form.
    fn room_beside(&self, extent: &Extent, n_pixels: usize) -> Result<u64> {
        let picture = (n_pixels as u64).saturating_mul(8 + 8 * self.n_channels);
        let mut planes = vec![[self.y, self.x]];
        planes.extend(self.z.filter(|_| extent.z > 0).into_iter().flat_map(|z| [[z, self.x], [self.y, z]]));
        let row = planes.into_iter().map(|axes| self.read_bytes(axes, 1)).max().unwrap_or(0);
        // What is folded lies beside the plane that comes to it.
        let is_folded = self.z.is_some() && self.mode != ViewMode::Slices;
        let folded = if is_folded { self.panel_bytes([extent.y, extent.x]) } else { 0 };
        let needed = self.base_bytes.saturating_add(picture).saturating_add(row).saturating_add(folded);
        if needed > self.limit_bytes {
            return Err(Error::Limit(format!(
                "a picture of {n_pixels} pixels needs {}, a row of a plane {} to be read, the program itself {}; --memory \
                 allows {}: use a smaller --size, --select less, or give --memory {}M",
                Bytes(picture.saturating_add(folded)),
                Bytes(row),
                Bytes(self.base_bytes),
                Bytes(self.limit_bytes),
                (needed >> 20) + 1
            )));
        }
        Ok(self.limit_bytes - self.base_bytes - picture)
    }

    /// Memory of a panel.
    fn panel_bytes(&self, [rows, columns]: [usize; 2]) -> u64 {
        (rows * columns) as u64 * 8 * self.n_channels
    }

    /// The plane of `axes` at `at`, in `pixels` rows and columns, read in `room_bytes`.
    fn panel(&self, axes: [usize; 2], pixels: [usize; 2], at: &[u64], room_bytes: u64) -> Result<Panel> {
        let reader = Arc::clone(&self.array).reader(Scratch::default());
        Reading { scene: self, reader, buffer: Buffer::default() }.panel(axes, pixels, at, room_bytes)
    }

    /// What lies along z, as one plane.
    fn projected(&self, pixels: [usize; 2], room_bytes: u64) -> Result<Panel> {
        let axes = [self.y, self.x];
        let Some(z) = self.z else { return self.panel(axes, pixels, &self.at, room_bytes) };
        let n = self.axes()[z].length;
        let panel_bytes = self.panel_bytes(pixels);
        let one = panel_bytes + self.read_bytes(axes, self.band(axes));
        let at_once = (room_bytes / one).clamp(1, rayon::current_num_threads() as u64);
        let room_bytes = (room_bytes / at_once).saturating_sub(panel_bytes);
        let plane = |at: u64| {
            let mut place = self.at.clone();
            place[z] = at;
            self.panel(axes, pixels, &place, room_bytes)
        };
        let is_max = self.mode == ViewMode::Max;
        let mut all = plane(0)?;
        // The order of sums does not depend on threads.
        for first in (1..n).step_by(at_once as usize) {
            let planes: Vec<Panel> =
                (first..n.min(first + at_once)).into_par_iter().map(plane).collect::<Result<_>>()?;
            for plane in &planes {
                let pixels = all.iter_mut().flatten().zip(plane.iter().flatten());
                pixels.for_each(|(a, b)| *a = if is_max { a.max(*b) } else { *a + b });
            }
        }
        if !is_max {
            all.iter_mut().flatten().for_each(|sum| *sum /= n as f64);
        }
        Ok(all)
    }

    /// Rows of a plane of `axes` that are read at a time, where the memory allows it.
    fn band(&self, [rows, columns]: [usize; 2]) -> u64 {
        let row_bytes = self.axes()[columns].length * self.n_channels * self.array.dtype().size() as u64;
        (BAND_BYTES / row_bytes.max(1)).clamp(1, self.axes()[rows].length)
    }

    /// The box of `n` rows of a plane of `axes`, at the beginning.
    fn rows(&self, [rows, columns]: [usize; 2], n: u64) -> Region {
        let mut region = Region { origin: vec![0; self.axes().len()], shape: vec![1; self.axes().len()] };
        (region.shape[rows], region.shape[columns]) = (n, self.axes()[columns].length);
        if let Some(channel) = self.channel {
            region.shape[channel] = self.n_channels;
        }
        region
    }

    /// Memory of reading `n` rows of a plane of `axes`.
    fn read_bytes(&self, axes: [usize; 2], n: u64) -> u64 {
        let region = self.rows(axes, n);
        let own = region.n_elements().saturating_mul(self.array.dtype().size() as u64 + 8);
        own.saturating_add(self.array.needs(&region.shape))
    }
}

/// One way to read a scene.
struct Reading<'s> {
    scene: &'s Scene,
    reader: Box<dyn Reader>,
    buffer: Buffer,
}

impl Reading<'_> {
    fn panel(
        &mut self,
        axes @ [rows, columns]: [usize; 2],
        [n_rows, n_columns]: [usize; 2],
        at: &[u64],
        room_bytes: u64,
    ) -> Result<Panel> {
        let scene = self.scene;
        let (dtype, height, width) = (scene.array.dtype(), scene.axes()[rows].length, scene.axes()[columns].length);
        let row_bytes = width * scene.n_channels * dtype.size() as u64;
        let thin = !scene.array.coded() && height * row_bytes > AVERAGED_BYTES && (n_rows as u64) < height;
        let mut band = if thin { 1 } else { scene.band(axes) };
        while band > 1 && scene.read_bytes(axes, band) > room_bytes {
            band /= 2;
        }
        let source = |row: usize| {
            let (from, to) = (row as u64 * height / n_rows as u64, (row as u64 + 1) * height / n_rows as u64);
            if thin { ((from + to) / 2, (from + to) / 2 + 1) } else { (from, to.max(from + 1)) }
        };
        let mut panel = vec![vec![0.0; n_rows * n_columns]; scene.n_channels as usize];
        let (mut row, mut from) = (0, 0);
        while row < n_rows {
            from = source(row).0.max(from);
            let to = height.min(from + band);
            let mut region = scene.rows(axes, to - from);
            let inside = |i: usize| if Some(i) == scene.channel || i == columns { 0 } else { at[i] };
            region.origin = (0..at.len()).map(|i| if i == rows { from } else { inside(i) }).collect();
            let block = self.reader.block(&region, dtype, std::mem::take(&mut self.buffer))?;
            let values = to_f64(dtype, block.bytes());
            let strides = crate::grid::row_major_strides(&region.shape);
            let channel_stride = scene.channel.map_or(0, |c| strides[c]);
            for (c, out) in panel.iter_mut().enumerate() {
                let start = c as u64 * channel_stride;
                for row in (row..n_rows).take_while(|row| source(*row).0 < to) {
                    let (first, last) = source(row);
                    for column in 0..n_columns {
                        let left = column as u64 * width / n_columns as u64;
                        let right = ((column as u64 + 1) * width / n_columns as u64).max(left + 1);
                        let mut sum = 0.0;
                        for y in first.max(from) - from..last.min(to) - from {
                            let line = start + y * strides[rows];
                            sum += (left..right).map(|x| values[(line + x * strides[columns]) as usize]).sum::<f64>();
                        }
                        out[row * n_columns + column] += sum / ((last - first) * (right - left)) as f64;
                    }
                }
            }
            self.buffer = block.into_buffer();
            row = (row..n_rows).find(|row| source(*row).1 > to).unwrap_or(n_rows);
            from = to;
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
            let level = windows[c].level(values[i]);
            let colour = if panel.len() == 1 { [255; 3] } else { colours.get(c).copied().unwrap_or([255; 3]) };
            pixel.iter_mut().zip(colour).for_each(|(p, full)| *p += level * f64::from(full));
        }
        canvas.set(left + i % width, top + i / width, pixel.map(|p| p.round().min(255.0) as u8));
    }
}
