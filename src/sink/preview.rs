//! A contact sheet of an image: of every channel a slice along each plane and the maximum along z, and all of them in
//! colour.
//!
//! Planes are thinned while they are read, by windows of a power of two, so that little is held whatever the size of
//! the array. A time series shows its time point in the middle. A slice is the mean of each window, the maximum that
//! of these means.

use std::path::Path;

use multiversion::multiversion;

use super::folding::{FoldedOutput, Folding};
use super::png::encode;
use super::zarr::shown;
use super::{OutputOptions, Spec};
use crate::axis::{Axis, AxisKind};
use crate::block::Block;
use crate::consume::{Consumer, Place};
use crate::draw::canvas::{Canvas, Colour, GREY, LINE, WHITE, text_width};
use crate::draw::scale::short;
use crate::dtype::{Complex, DType};
use crate::error::{Error, Result};
use crate::grid::{Region, row_major_strides};
use crate::plan::Cost;
use crate::report::tuple;
use crate::store::{OutputKind, Store};
use crate::{unit, with_dtype};

/// Longest edge of a panel, in pixels.
const PANEL: u64 = 400;
/// Channels that are shown.
const MOST_CHANNELS: u64 = 8;
/// Space between panels, in pixels.
const GAP: usize = 10;
/// Percentiles of what a panel shows that become black and white.
const PERCENTILES: (f64, f64) = (0.5, 99.8);
/// Behind everything.
const GROUND: Colour = [24; 3];

/// What a panel shows.
#[derive(Clone, Copy, PartialEq)]
enum View {
    Xy,
    Xz,
    Yz,
    Max,
}

/// What of the array is shown, and how it is thinned.
struct Scene {
    axes: Vec<Axis>,
    dtype: DType,
    /// Positions of the axes c, z, y and x.
    channel: Option<usize>,
    z: Option<usize>,
    y: usize,
    x: usize,
    n_channels: usize,
    views: Vec<View>,
    /// Index along each axis that is not shown whole, and of the slices.
    at: Vec<u64>,
    /// Elements of a window along z, y and x.
    windows: [u64; 3],
    /// How long a step along z and along y is, in steps along x, where that is known.
    ratios: [Option<f64>; 2],
}

/// The picture on its way.
pub(super) struct PreviewSink {
    scene: Scene,
    /// Names and colours of the channels.
    channels: Vec<(String, Colour)>,
}

/// Sums, or maxima, over the windows of one panel, and how many elements each sum has.
#[derive(Clone)]
pub(super) struct PreviewPanel {
    width: usize,
    values: Vec<f32>,
    counts: Vec<f32>,
}

/// The picture that will be called `path`.
///
/// # Errors
/// `Usage` if it does not end in `.png`, the array is no image, or something stands under the name.
pub fn create(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    let no = |why: &str| Error::usage(format!("--preview {}: {why}", path.display()));
    if super::extension(path) != "png" {
        return Err(no("a name that ends in .png"));
    }
    let of = PreviewSink::new(spec, options).ok_or_else(|| no("only numbers along y and x can be shown"))?;
    options.check_free(path, OutputKind::File)?;
    let place = Place::new(path, OutputKind::File, options.overwrite, options.durability);
    Ok(Box::new(Folding { place, of }))
}

impl PreviewSink {
    /// Of an array of `spec`; nothing if it is no image of real numbers.
    pub(super) fn new(spec: &Spec, options: &OutputOptions) -> Option<Self> {
        let scene = Scene::new(spec)?;
        let shown = shown(&spec.axes, spec.dtype, &options.image).into_iter().map(|(label, hex)| (label, colour(&hex)));
        let channels = shown.take(scene.n_channels).collect();
        Some(Self { scene, channels })
    }

    /// The sheet as a `.png` of at most `most_bytes`: halved until it is.
    ///
    /// # Errors
    /// `Unsupported` if it is too large for the format.
    pub(super) fn picture(&self, panels: &[PreviewPanel], most_bytes: usize) -> Result<Vec<u8>> {
        let mut canvas = self.draw(panels);
        loop {
            let encoded = encode(&canvas)?;
            if encoded.len() <= most_bytes || canvas.width < 64 {
                return Ok(encoded);
            }
            canvas = canvas.halved();
        }
    }
}

/// `FF8000` as a colour.
pub(crate) fn colour(hex: &str) -> Colour {
    let part = |i: usize| hex.get(2 * i..2 * i + 2).and_then(|h| u8::from_str_radix(h, 16).ok()).unwrap_or(255);
    [part(0), part(1), part(2)]
}

impl Scene {
    fn new(spec: &Spec) -> Option<Self> {
        let axes = spec.axes.clone();
        let space: Vec<usize> = (0..axes.len()).filter(|&i| axes[i].kind == AxisKind::Space).collect();
        let [ref rest @ .., y, x] = space[..] else { return None };
        if spec.dtype.is_complex() || axes.iter().any(|a| a.length == 0) {
            return None;
        }
        let z = rest.last().copied().filter(|&z| axes[z].length > 1);
        let channel = axes.iter().position(|a| a.kind == AxisKind::Channel);
        let n_channels = channel.map_or(1, |c| axes[c].length.min(MOST_CHANNELS)) as usize;
        let views = if z.is_some() { vec![View::Xy, View::Xz, View::Yz, View::Max] } else { vec![View::Xy] };
        // Other axes than those of space and time have no middle.
        let middle = |a: &Axis| if a.kind == AxisKind::Other { 0 } else { a.length / 2 };
        let at = axes.iter().map(middle).collect();
        let ratio = |axis: Option<usize>| {
            unit::ratio_of_steps(axes[axis?].calibration.as_ref()?, axes[x].calibration.as_ref()?)
        };
        let ratios = [ratio(z), ratio(Some(y))];
        // Windows along y and x are as long as each other in space, as nearly as powers of two are.
        let tall = ratios[1].unwrap_or(1.0);
        let longest = (axes[y].length as f64 * tall).max(axes[x].length as f64);
        let window = |longest: f64| ((longest / PANEL as f64).ceil() as u64).max(1).next_power_of_two();
        let windows = [z.map_or(1, |z| window(axes[z].length as f64)), window(longest / tall), window(longest)];
        Some(Self { axes, dtype: spec.dtype, channel, z, y, x, n_channels, views, at, windows, ratios })
    }

    fn length(&self, axis: Option<usize>) -> u64 {
        axis.map_or(1, |i| self.axes[i].length)
    }

    /// Height and width of a panel, in windows.
    fn size(&self, view: View) -> [usize; 2] {
        let [z, y, x] = [(self.z, 0), (Some(self.y), 1), (Some(self.x), 2)]
            .map(|(axis, i)| self.length(axis).div_ceil(self.windows[i]) as usize);
        match view {
            View::Xy | View::Max => [y, x],
            View::Xz => [z, x],
            View::Yz => [y, z],
        }
    }

    /// Whether `region` holds something that is shown.
    fn meets(&self, region: &Region) -> bool {
        let space = [self.z, Some(self.y), Some(self.x), self.channel];
        let fixed = (0..self.axes.len()).filter(|&i| !space.contains(&Some(i)));
        let of_shown = self.channel.is_none_or(|c| region.origin[c] < self.n_channels as u64);
        of_shown && fixed.into_iter().all(|i| (region.origin[i]..region.end(i)).contains(&self.at[i]))
    }

    /// Panels of all channels, empty.
    fn panels(&self) -> Vec<PreviewPanel> {
        let one = |view: &View| {
            let [height, width] = self.size(*view);
            let start = if *view == View::Max { f32::NEG_INFINITY } else { 0.0 };
            PreviewPanel { width, values: vec![start; height * width], counts: vec![0.0; height * width] }
        };
        (0..self.n_channels).flat_map(|_| self.views.iter().map(one)).collect()
    }

    /// Memory of all panels, in bytes.
    fn panel_bytes(&self) -> u64 {
        let n: usize = self.views.iter().map(|v| self.size(*v).iter().product::<usize>()).sum();
        (8 * n * self.n_channels) as u64
    }

    /// Adds what `block` holds to `state`.
    fn look<T: Shown>(&self, block: &Block, state: &mut Vec<u8>) {
        let region = block.region();
        let strides = row_major_strides(&region.shape);
        let elements = block.elements::<T>();
        let along = |axis: Option<usize>| axis.map_or(0..1, |i| region.origin[i]..region.end(i));
        let base: u64 = (0..self.axes.len())
            .filter(|&i| ![self.z, Some(self.y), Some(self.x), self.channel].contains(&Some(i)))
            .map(|i| (self.at[i] - region.origin[i]) * strides[i])
            .sum();
        let offset = |axis: Option<usize>, at: u64| axis.map_or(0, |i| (at - region.origin[i]) * strides[i]);
        let place =
            Plane { ys: along(Some(self.y)), xs: along(Some(self.x)), strides: [strides[self.y], strides[self.x]] };
        let shown = along(self.channel).filter(|&c| c < self.n_channels as u64);
        for channel in shown {
            let start = base + offset(self.channel, channel);
            let number = |view: View| {
                let index = self.views.iter().position(|v| *v == view).unwrap_or(0);
                channel as usize * self.views.len() + index
            };
            let mut most: Option<Patch> = None;
            let mut sides = [View::Xz, View::Yz].map(|view| self.side(view, &place, &along(self.z)));
            for z in along(self.z) {
                let from = &elements[(start + offset(self.z, z)) as usize..];
                let is_middle = self.z.is_none_or(|i| self.at[i] == z);
                if self.z.is_none() || is_middle || self.views.contains(&View::Max) {
                    let sums = place.windows(from, [self.windows[1], self.windows[2]]);
                    if is_middle {
                        sums.save(number(View::Xy), state);
                    }
                    most = most.take().map(|most| most.larger(&sums)).or_else(|| Some(sums.means()));
                }
                if self.z.is_some() {
                    self.add_sides(&mut sides, from, &place, z);
                }
            }
            if self.z.is_some() {
                most.into_iter().for_each(|most| most.save(number(View::Max), state));
                let [xz, yz] = sides;
                xz.into_iter().for_each(|patch| patch.save(number(View::Xz), state));
                yz.into_iter().for_each(|patch| patch.save(number(View::Yz), state));
            }
        }
    }

    /// The part of a panel along z that a block at `place` shows something of.
    fn side(&self, view: View, place: &Plane, zs: &std::ops::Range<u64>) -> Option<Patch> {
        let z = self.z?;
        let windows = |range: &std::ops::Range<u64>, n: u64| [range.start / n, range.end.div_ceil(n)];
        let [z_window, y_window, x_window] = self.windows;
        let depth = windows(zs, z_window);
        debug_assert!(zs.end <= self.axes[z].length);
        match view {
            View::Xz if place.ys.contains(&self.at[self.y]) => Some(Patch::new(depth, windows(&place.xs, x_window))),
            View::Yz if place.xs.contains(&self.at[self.x]) => Some(Patch::new(windows(&place.ys, y_window), depth)),
            _ => None,
        }
    }

    /// Adds the row and the column of a plane at `z` that side views show.
    fn add_sides<T: Shown>(&self, sides: &mut [Option<Patch>; 2], plane: &[T], place: &Plane, z: u64) {
        let [xz, yz] = sides;
        let [row, column] = place.strides;
        let [z_window, y_window, x_window] = self.windows;
        if let Some(patch) = xz {
            let start = (self.at[self.y] - place.ys.start) * row;
            for (i, x) in place.xs.clone().enumerate() {
                let value = plane[(start + i as u64 * column) as usize].shown();
                patch.add(z / z_window, x / x_window, value);
            }
        }
        if let Some(patch) = yz {
            let start = (self.at[self.x] - place.xs.start) * column;
            for (i, y) in place.ys.clone().enumerate() {
                let value = plane[(start + i as u64 * row) as usize].shown();
                patch.add(y / y_window, z / z_window, value);
            }
        }
    }
}

/// Where the plane of a block lies, and how its elements follow one another.
struct Plane {
    ys: std::ops::Range<u64>,
    xs: std::ops::Range<u64>,
    strides: [u64; 2],
}

impl Plane {
    /// Sums over windows of `n_y` by `n` elements of a plane, which begins with `plane`.
    fn windows<T: Shown>(&self, plane: &[T], [n_y, n]: [u64; 2]) -> Patch {
        let mut patch =
            Patch::new([self.ys.start / n_y, self.ys.end.div_ceil(n_y)], [self.xs.start / n, self.xs.end.div_ceil(n)]);
        let (width, skipped) = ((self.xs.end - self.xs.start) as usize, (self.xs.start % n) as usize);
        let [row_stride, stride] = self.strides.map(|stride| stride as usize);
        let length = |i: u64| self.xs.end.min((i + 1).saturating_mul(n)) - self.xs.start.max(i * n);
        let lengths: Vec<f32> = (patch.columns[0]..patch.columns[1]).map(|i| length(i) as f32).collect();
        let (mut columns, mut halved) = (Vec::new(), Vec::new());
        let mut y = self.ys.start;
        while y < self.ys.end {
            let end = (y / n_y + 1).saturating_mul(n_y).min(self.ys.end);
            columns.clear();
            columns.resize(skipped + width, 0f32);
            for row in (y - self.ys.start) as usize..(end - self.ys.start) as usize {
                let (sums, row) = (&mut columns[skipped..], &plane[row * row_stride..]);
                match stride {
                    1 => add_row(sums, row),
                    _ => sums.iter_mut().zip(row.iter().step_by(stride)).for_each(|(sum, v)| *sum += v.shown()),
                }
            }
            // Windows are powers of two.
            for _ in 0..n.ilog2() {
                halved.resize(columns.len().div_ceil(2), 0.0);
                add_pairs(&columns, &mut halved);
                std::mem::swap(&mut columns, &mut halved);
            }
            let to = (y / n_y - patch.rows[0]) as usize * patch.width();
            patch.values[to..][..columns.len()].copy_from_slice(&columns);
            patch.counts[to..].iter_mut().zip(&lengths).for_each(|(count, n)| *count = n * (end - y) as f32);
            y = end;
        }
        patch
    }
}

/// Adds as many elements of `row` as there are `sums` to these.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_row<T: Shown>(sums: &mut [f32], row: &[T]) {
    for (sum, v) in sums.iter_mut().zip(row) {
        *sum += v.shown();
    }
}

/// Sums of two each, the last of one where they are odd.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_pairs(from: &[f32], to: &mut [f32]) {
    let (pairs, rest) = from.as_chunks::<2>();
    for (sum, [a, b]) in to.iter_mut().zip(pairs) {
        *sum = a + b;
    }
    to[pairs.len()..].copy_from_slice(rest);
}

/// A part of a panel.
struct Patch {
    rows: [u64; 2],
    columns: [u64; 2],
    values: Vec<f32>,
    counts: Vec<f32>,
}

impl Patch {
    fn new(rows: [u64; 2], columns: [u64; 2]) -> Self {
        let n = ((rows[1] - rows[0]) * (columns[1] - columns[0])) as usize;
        Self { rows, columns, values: vec![0.0; n], counts: vec![0.0; n] }
    }

    fn width(&self) -> usize {
        (self.columns[1] - self.columns[0]) as usize
    }

    fn add(&mut self, row: u64, column: u64, value: f32) {
        let at = (row - self.rows[0]) as usize * self.width() + (column - self.columns[0]) as usize;
        self.values[at] += value;
        self.counts[at] += 1.0;
    }

    /// Means instead of sums.
    fn means(mut self) -> Self {
        self.values.iter_mut().zip(&self.counts).for_each(|(v, n)| *v /= n.max(1.0));
        self
    }

    /// The larger of these means and those of `sums`.
    fn larger(mut self, sums: &Self) -> Self {
        let means = sums.values.iter().zip(&sums.counts).map(|(v, n)| v / n.max(1.0));
        self.values.iter_mut().zip(means).for_each(|(most, mean)| *most = most.max(mean));
        self
    }

    fn save(&self, panel: usize, state: &mut Vec<u8>) {
        let numbers = [panel as u64, self.rows[0], self.rows[1], self.columns[0], self.columns[1]];
        numbers.iter().for_each(|n| state.extend((*n as u32).to_le_bytes()));
        for numbers in [&self.values, &self.counts] {
            let start = state.len();
            state.resize(start + size_of_val(&numbers[..]), 0);
            let (places, _) = state[start..].as_chunks_mut::<4>();
            places.iter_mut().zip(numbers).for_each(|(place, v)| *place = v.to_le_bytes());
        }
    }

    fn load(state: &mut &[u8]) -> Option<(usize, Self)> {
        let mut next = || {
            let (bytes, rest) = state.split_first_chunk::<4>()?;
            *state = rest;
            Some(u32::from_le_bytes(*bytes))
        };
        let panel = next()? as usize;
        let mut edge = || next().map(u64::from);
        let (rows, columns) = ([edge()?, edge()?], [edge()?, edge()?]);
        let n =
            usize::try_from(rows[1].checked_sub(rows[0])?.checked_mul(columns[1].checked_sub(columns[0])?)?).ok()?;
        let (bytes, rest) = state.split_at_checked(n.checked_mul(8)?)?;
        *state = rest;
        let mut values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let counts = values.split_off(n);
        Some((panel, Self { rows, columns, values, counts }))
    }
}

impl Scene {
    /// Adds the patch that `state` begins with to its panel.
    fn add_one(&self, panels: &mut [PreviewPanel], state: &mut &[u8]) -> Option<()> {
        let (number, patch) = Patch::load(state)?;
        let is_max = self.views[number % self.views.len()] == View::Max;
        let panel = panels.get_mut(number)?;
        for (row, line) in (patch.rows[0]..)
            .zip(patch.values.chunks(patch.width().max(1)).zip(patch.counts.chunks(patch.width().max(1))))
        {
            let at = row as usize * panel.width + patch.columns[0] as usize;
            let values = panel.values.get_mut(at..at + line.0.len())?;
            for (to, from) in values.iter_mut().zip(line.0) {
                *to = if is_max { to.max(*from) } else { *to + from };
            }
            panel.counts.get_mut(at..at + line.0.len())?.iter_mut().zip(line.1).for_each(|(to, from)| *to += from);
        }
        Some(())
    }
}

impl FoldedOutput for PreviewSink {
    type Total = Vec<PreviewPanel>;

    fn n_axes(&self) -> usize {
        self.scene.axes.len()
    }

    fn cost(&self, task: &[u64]) -> Cost {
        // No task shows more than there is.
        let [_, y_window, x_window] = self.scene.windows;
        let plane = task[self.scene.y].div_ceil(y_window) * task[self.scene.x].div_ceil(x_window);
        let channels = self.scene.channel.map_or(1, |c| task[c]);
        let most = plane.saturating_mul(4 * 8).saturating_mul(channels).min(self.scene.panel_bytes());
        Cost { work_bytes: 2 * most, kept_bytes: most + 256, ..Cost::default() }
    }

    fn held_bytes(&self) -> u64 {
        let [width, height] = self.layout().size;
        self.scene.panel_bytes() + 8 * (width * height) as u64
    }

    fn look(&self, block: &Block, state: &mut Vec<u8>) {
        if self.scene.meets(block.region()) {
            with_dtype!(self.scene.dtype, T => self.scene.look::<T>(block, state));
        }
    }

    fn total(&self) -> Vec<PreviewPanel> {
        self.scene.panels()
    }

    fn add(&self, total: &mut Vec<PreviewPanel>, mut state: &[u8]) -> Result<()> {
        while !state.is_empty() {
            let added = self.scene.add_one(total, &mut state);
            added.ok_or_else(|| Error::format("a preview that was kept is damaged: use --restart"))?;
        }
        Ok(())
    }

    fn write(&self, total: Vec<PreviewPanel>, store: &Store) -> Result<()> {
        store.put_at(0, &encode(&self.draw(&total))?).map(|_| ())
    }
}

/// Where everything goes on the sheet.
struct Layout {
    /// Width and height of each panel, in pixels.
    panels: Vec<[usize; 2]>,
    /// Those of the sheet.
    size: [usize; 2],
    row_height: usize,
    n_rows: usize,
}

impl PreviewSink {
    /// Pixels of the sheet that a step along x takes: of the shorter window whole ones.
    fn scale(&self) -> f64 {
        let scene = &self.scene;
        let [height, width] = scene.size(View::Xy);
        let tall = scene.windows[1] as f64 * scene.ratios[1].unwrap_or(1.0);
        let wide = scene.windows[2] as f64;
        let longest = (height as f64 * tall).max(width as f64 * wide);
        let shorter = tall.min(wide);
        (PANEL as f64 * shorter / longest).floor().max(1.0) / shorter
    }

    /// Pixels that the depth takes by its scale, and those that it has: enough to be seen, and not too many.
    fn depth(&self) -> (f64, usize) {
        let scene = &self.scene;
        let true_depth = scene.length(scene.z) as f64 * scene.ratios[0].unwrap_or(1.0) * self.scale();
        (true_depth, (true_depth.round() as usize).clamp(24, PANEL as usize))
    }

    /// Micrometres between neighbours along x.
    fn step_um(&self) -> Option<f64> {
        let calibration = self.scene.axes[self.scene.x].calibration.as_ref()?;
        let metres = unit::metres(calibration.unit.as_deref()?)?;
        Some((calibration.step * metres * 1e6).abs()).filter(|step| step.is_normal())
    }

    fn layout(&self) -> Layout {
        let (scene, scale, (_, depth)) = (&self.scene, self.scale(), self.depth());
        let pixels = |n_windows: usize, window: u64, ratio: f64| {
            ((n_windows as f64 * window as f64 * ratio * scale).round() as usize).max(1)
        };
        let [height, width] = scene.size(View::Xy);
        let height = pixels(height, scene.windows[1], scene.ratios[1].unwrap_or(1.0));
        let width = pixels(width, scene.windows[2], 1.0);
        let size = |view: &View| match view {
            View::Xy | View::Max => [width, height],
            View::Xz => [width, depth],
            View::Yz => [depth, height],
        };
        let panels: Vec<[usize; 2]> = scene.views.iter().map(size).collect();
        let column = |(panel, title): (&[usize; 2], String)| panel[0].max(text_width(&title)) + GAP;
        let width: usize = panels.iter().zip(self.titles()).map(column).sum();
        let widest = self.headings().iter().map(|line| text_width(line)).max().unwrap_or(0);
        let height = panels.iter().map(|p| p[1]).max().unwrap_or(0);
        let n_rows = if scene.n_channels > 1 { scene.n_channels + 1 } else { 1 };
        let row_height = height + LINE + GAP;
        let top = (self.headings().len() + 1) * LINE + 2 * GAP;
        Layout { panels, size: [width.max(widest + GAP) + GAP, top + n_rows * row_height], row_height, n_rows }
    }

    /// What stands above the panels.
    fn titles(&self) -> Vec<String> {
        let at = |axis: Option<usize>| axis.map_or_else(String::new, |i| self.scene.at[i].to_string());
        let (z, y, x) = (at(self.scene.z), at(Some(self.scene.y)), at(Some(self.scene.x)));
        let title = |view: &View| match view {
            View::Xy if self.scene.z.is_none() => "xy".to_owned(),
            View::Xy => format!("xy at z={z}"),
            View::Xz => format!("xz at y={y}"),
            View::Yz => format!("yz at x={x}"),
            View::Max => "maximum along z".to_owned(),
        };
        self.scene.views.iter().map(title).collect()
    }

    /// What the image is.
    fn headings(&self) -> Vec<String> {
        let scene = &self.scene;
        let names: Vec<&str> = scene.axes.iter().map(|a| a.name.as_str()).collect();
        let shape = crate::axis::shape(&scene.axes);
        let mut lines = vec![format!("{} {} {}", names.join(" "), tuple(&shape), scene.dtype)];
        let space = [scene.z, Some(scene.y), Some(scene.x)];
        let sizes = space.into_iter().flatten().filter_map(|i| {
            let step = unit::words(scene.axes[i].calibration.as_ref()?);
            Some(format!("{} {step}", scene.axes[i].name))
        });
        let mut second: Vec<String> = sizes.collect();
        if second.is_empty() {
            second.push("voxel size unknown".into());
        }
        let (true_depth, depth) = self.depth();
        if scene.ratios[0].is_some() && (true_depth - depth as f64).abs() > 1.0 {
            second.push(format!("z not to scale ({} times as deep)", short(depth as f64 / true_depth)));
        }
        let fixed = (0..scene.axes.len()).filter(|i| !space.contains(&Some(*i)) && Some(*i) != scene.channel);
        for i in fixed.filter(|&i| shape[i] > 1) {
            second.push(format!("{}={} of {}", names[i], scene.at[i], shape[i]));
        }
        if let Some(c) = scene.channel.filter(|&c| shape[c] > scene.n_channels as u64) {
            second.push(format!("the first {} of {} channels", scene.n_channels, shape[c]));
        }
        lines.push(second.join(", "));
        lines
    }

    fn draw(&self, panels: &[PreviewPanel]) -> Canvas {
        let layout = self.layout();
        let mut canvas = Canvas::new(layout.size[0], layout.size[1], GROUND);
        let mut y = GAP;
        for (i, line) in self.headings().iter().enumerate() {
            canvas.text(GAP, y, line, if i == 0 { WHITE } else { GREY }, i == 0);
            y += LINE;
        }
        let lefts: Vec<usize> = layout
            .panels
            .iter()
            .zip(self.titles())
            .scan(GAP, |left, (panel, title)| {
                let here = *left;
                *left += panel[0].max(text_width(&title)) + GAP;
                Some(here)
            })
            .collect();
        lefts.iter().zip(self.titles()).for_each(|(x, title)| canvas.text(*x, y, &title, GREY, false));
        y += LINE + GAP;
        let n_views = self.scene.views.len();
        let grey: Vec<Vec<Vec<f32>>> = panels.chunks(n_views).map(|panels| self.levels(panels)).collect();
        for row in 0..layout.n_rows {
            let (own, name, ink) = match self.channels.get(row) {
                Some((name, ink)) if row < self.scene.n_channels => (row..row + 1, name.as_str(), *ink),
                _ => (0..self.scene.n_channels, "merged", WHITE),
            };
            // Dark colours could not be read.
            canvas.text(GAP, y, name, ink.map(|part| part.max(96)), true);
            for (i, (left, size)) in lefts.iter().zip(&layout.panels).enumerate() {
                let shape = self.scene.size(self.scene.views[i]);
                let layers: Vec<(&[f32], Colour)> = own
                    .clone()
                    .map(|c| (&grey[c][i][..], if own.len() > 1 { self.channels[c].1 } else { WHITE }))
                    .collect();
                paint(&mut canvas, [*left, y + LINE], *size, shape, &layers);
            }
            self.scale_bar(&mut canvas, lefts[0], y + LINE, layout.panels[0]);
            y += layout.row_height;
        }
        canvas
    }

    /// The panels of a channel from black, 0, to white, 1.
    fn levels(&self, panels: &[PreviewPanel]) -> Vec<Vec<f32>> {
        let value = |view: View, panel: &PreviewPanel| -> Vec<f32> {
            let mean = |(v, n): (&f32, &f32)| if *n > 0.0 { v / n } else { f32::NAN };
            if view == View::Max {
                panel.values.clone()
            } else {
                panel.values.iter().zip(&panel.counts).map(mean).collect()
            }
        };
        let values: Vec<Vec<f32>> = self.scene.views.iter().zip(panels).map(|(v, p)| value(*v, p)).collect();
        // Black and white of what is shown, and whether they differ.
        let window = |of: Vec<f32>| {
            let mut finite: Vec<f32> = of.into_iter().filter(|v| v.is_finite()).collect();
            let mut at = |percentile: f64| {
                let last = finite.len().checked_sub(1)?;
                let place = (percentile / 100.0 * last as f64).round() as usize;
                Some(*finite.select_nth_unstable_by(place, f32::total_cmp).1)
            };
            let (low, high) = (at(PERCENTILES.0), at(PERCENTILES.1));
            let (from, to) = (low.unwrap_or(0.0), high.unwrap_or(1.0));
            (from, if to > from { to - from } else { 1.0 }, low < high)
        };
        // Slices share a window, so that they can be compared; the maximum has its own.
        let slices = window(values.iter().take(3).flatten().copied().collect());
        let most = values.get(3).map(|most| window(most.clone())).filter(|window| window.2);
        let level = |(i, panel): (usize, &Vec<f32>)| {
            let (low, range, _) = most.filter(|_| i == 3).unwrap_or(slices);
            let one = |v: &f32| if v.is_finite() { ((v - low) / range).clamp(0.0, 1.0) } else { 0.0 };
            panel.iter().map(one).collect()
        };
        values.iter().enumerate().map(level).collect()
    }

    /// A bar of a round length in the lower left corner of a panel, with its length, where the scale is known.
    fn scale_bar(&self, canvas: &mut Canvas, left: usize, top: usize, [width, height]: [usize; 2]) {
        let Some(um) = self.step_um() else { return };
        let per_pixel = um / self.scale();
        let (um, text) = round_length(per_pixel * width as f64 / 3.0);
        let length = (um / per_pixel).round() as usize;
        let (x, y) = (left + 8, top + height.saturating_sub(12));
        if height < 3 * LINE || text_width(&text) + 16 > width {
            return;
        }
        canvas.fill(x - 1, y - 1, length + 2, 6, [0; 3]);
        canvas.fill(x, y, length, 4, WHITE);
        [(1, 1), (0, 0)].iter().zip([[0; 3], WHITE]).for_each(|((dx, dy), ink)| {
            canvas.text(x + dx, y - LINE + dy, &text, ink, true);
        });
    }
}

/// The largest of 1, 2 and 5 times a power of ten micrometres that is at most `um`, and its words.
fn round_length(um: f64) -> (f64, String) {
    let power = 10f64.powf(um.log10().floor());
    let length = [5.0, 2.0, 1.0].iter().map(|n| n * power).find(|n| *n <= um * 1.0001).unwrap_or(power);
    let text = match length {
        l if l >= 1000.0 => format!("{} mm", (l / 1000.0).round()),
        l if l >= 0.99 => format!("{} µm", l.round()),
        l => format!("{} nm", (l * 1000.0).round()),
    };
    (length, text)
}

/// Paints layers of `shape`, each in its colour and added up, into a rectangle.
fn paint(canvas: &mut Canvas, at: [usize; 2], size: [usize; 2], shape: [usize; 2], layers: &[(&[f32], Colour)]) {
    let columns: Vec<usize> = (0..size[0]).map(|dx| dx * shape[1] / size[0]).collect();
    for dy in 0..size[1] {
        let row = dy * shape[0] / size[1] * shape[1];
        for (dx, column) in columns.iter().enumerate() {
            let mut sum = [0f32; 3];
            for (levels, ink) in layers {
                sum.iter_mut().zip(ink).for_each(|(s, i)| *s += levels[row + column] * f32::from(*i));
            }
            canvas.set(at[0] + dx, at[1] + dy, sum.map(|s| (s.min(255.0) + 0.5) as u8));
        }
    }
}

/// An element that has a brightness.
trait Shown: crate::dtype::Element {
    fn shown(self) -> f32;
}

macro_rules! shown {
    ($($t:ty)*) => {$(
        impl Shown for $t {
            #[allow(clippy::cast_lossless)]
            fn shown(self) -> f32 {
                self as f32
            }
        }
    )*};
}

shown!(u8 u16 u32 u64 i8 i16 i32 i64);

/// What is not finite is dark.
macro_rules! shown_float {
    ($($t:ty, $to:expr);*) => {$(
        impl Shown for $t {
            fn shown(self) -> f32 {
                let to: fn($t) -> f32 = $to;
                Some(to(self)).filter(|v| v.is_finite()).unwrap_or(0.0)
            }
        }
    )*};
}

shown_float!(half::f16, |v| v.to_f32(); f32, |v| v; f64, |v| v as f32);

// Refused when the picture is begun.
impl<T> Shown for Complex<T>
where
    Self: crate::dtype::Element,
{
    fn shown(self) -> f32 {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_round_lengths() {
        assert_eq!(round_length(37.0), (20.0, "20 µm".into()));
        assert_eq!(round_length(5000.0), (5000.0, "5 mm".into()));
        assert_eq!(round_length(0.3).1, "200 nm");
    }
}
