//! OME-TIFF: tiles, compressed and behind a predictor, with smaller resolutions as SubIFDs; BigTIFF where 4 GiB may not
//! suffice.
//!
//! Tiles are cut and encoded as the chunks of a Zarr are, and follow one another in the file as they are merged; where
//! each lies is recorded with its unit, and the directories stand behind them all.
//!
//! Source: TIFF 6.0, section 15; BigTIFF as libtiff documents it; the OME-TIFF specification, 6.0 for SubIFDs.

use std::iter;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::describe;
use super::directory::{DirectoryTemplate, TagValue, header};
use super::tile::Predictor;
use super::xml::Images;
use crate::axis::Axis;
use crate::block::{Block, size_bytes};
use crate::codec::Codec;
use crate::consume::levels::{Levels, Method};
use crate::consume::{Consumer, Desk, Job, Merger, Part, Place, Product, Taker};
use crate::error::{Error, Result};
use crate::grid::n_elements;
use crate::plan::{Cost, Task, Wants};
use crate::sink::zarr::array::{ArrayWriter, ChunkEncoder, Container, Prepare};
use crate::sink::zarr::levels::{self, Level, Resolutions};
use crate::sink::zarr::{ZarrFormat, ZarrOptions};
use crate::sink::{OutputOptions, Spec};
use crate::store::{OutputKind, Store, Stored};

/// Side of a tile unless another is asked for.
const TILE: u64 = 512;
/// Levels are added until a plane is not longer.
const SMALLEST: u64 = 512;
/// Bytes of directories that are gathered before they are written.
const BATCH_BYTES: usize = 1 << 20;
/// A page's directory without its tiles.
const PAGE_BYTES: u64 = 512;

/// An image on its way into a file.
struct OmeSink {
    place: Place,
    spec: Spec,
    array: ArrayWriter,
    levels: Vec<Level>,
    wants: Wants,
    method: Method,
    pages: Mutex<Pages>,
    plane: Plane,
    description: String,
    is_big: bool,
}

/// What all pages have in common.
struct Plane {
    n_pages: u64,
    tile: [u64; 2],
    samples: u64,
    codec: Codec,
    predictor: Predictor,
}

/// The file that will be called `path`.
///
/// # Errors
/// `Usage` if OME-TIFF has no place for an axis, elements or the codec, or something stands under the name.
pub(super) fn create(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    let sink = OmeSink::new(path, spec, options).map_err(|e| e.at(path.display()))?;
    options.check_free(path, OutputKind::File)?;
    Ok(Box::new(sink))
}

impl OmeSink {
    fn new(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Self> {
        let (axes, shape, dtype) = (&spec.axes, spec.shape(), spec.dtype);
        let images = Images::new(axes, dtype)?;
        if shape.contains(&0) {
            return Err(Error::usage(format!("an array of shape {shape:?} has no element for a TIFF file to hold")));
        }
        let n_plane = if axes.last().is_some_and(|a| a.name == "x") { 2 } else { 3 };
        let (outer, inner) = shape.split_at(shape.len() - n_plane);
        let samples = inner.get(2).copied().unwrap_or(1);
        let codec = options.codec.clone().unwrap_or(Codec::Deflate { level: 6 });
        codec.tiff()?;
        let tile = tile(options.chunks.as_deref(), outer.len(), inner)?;
        let predictor = if codec == Codec::None { Predictor::None } else { Predictor::of(dtype) };
        let mut chunks = vec![1; outer.len()];
        chunks.extend([tile[0], tile[1], samples].iter().take(n_plane));
        let cut = ZarrOptions {
            format: ZarrFormat::V3,
            chunks,
            shards: None,
            codec: codec.clone(),
            overwrite: options.overwrite,
            durability: options.durability,
            image: crate::sink::zarr::ImageOptions { is_archived: true, ..options.image.clone() },
        };
        options.image.method.check(dtype)?;
        let prepare = || prepare(predictor, (tile[1] * samples) as usize, dtype.size(), samples as usize);
        let array = ArrayWriter::new("0", spec, &cut)?.prepared(prepare());
        let mut levels = Vec::new();
        let mut factor = vec![1; shape.len()];
        for step in steps(axes, n_plane, options.image.levels) {
            factor.iter_mut().zip(&step).for_each(|(f, s)| *f *= s);
            let mut level = Level::cut(levels.len() + 1, step, factor.clone(), spec, &cut)?;
            level.array = level.array.prepared(prepare());
            levels.push(level);
        }
        let wants = levels::wants(&shape, &array, &levels, false);
        let arrays: Vec<&ArrayWriter> = iter::once(&array).chain(levels.iter().map(|l| &l.array)).collect();
        let n_pages = n_elements(outer);
        let bound = |a: &&ArrayWriter| {
            let tile_bytes = codec.bound(size_bytes(a.chunk_shape(), dtype)).saturating_add(16);
            a.n_objects().saturating_mul(tile_bytes).saturating_add(n_pages.saturating_mul(PAGE_BYTES))
        };
        let stem = path.file_name().unwrap_or_default().to_string_lossy();
        let name = stem.split(".ome.").next().unwrap_or_default();
        let description = images.describe(name, axes, dtype, &options.image)?;
        let most = arrays.iter().map(bound).fold((64 << 10) + description.len() as u64, u64::saturating_add);
        let is_big = most > u64::from(u32::MAX) || super::super::extension(path) == "btf";
        let pages = Mutex::new(Pages::new(arrays.into_iter(), is_big));
        let place = Place::new(path, OutputKind::File, options.overwrite, options.durability);
        let plane = Plane { n_pages, tile, samples, codec, predictor };
        let method = options.image.method;
        Ok(Self { place, spec: spec.clone(), array, levels, wants, method, pages, plane, description, is_big })
    }

    fn n_tiles(&self) -> u64 {
        self.levels.iter().map(|l| l.array.n_objects()).fold(self.array.n_objects(), u64::saturating_add)
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory of one page at a level of shape `shape`, without where its tiles lie.
    fn directory(&self, shape: &[u64], level: usize) -> Vec<(u16, TagValue)> {
        let Plane { tile, samples, codec, predictor, .. } = &self.plane;
        let n_plane = if *samples > 1 || self.spec.axes.last().is_some_and(|a| a.name != "x") { 3 } else { 2 };
        let [height, width] = [shape[shape.len() - n_plane], shape[shape.len() - n_plane + 1]];
        let dtype = self.spec.dtype;
        let n_samples = usize::from(*samples as u16);
        let is_colour = super::is_colour(*samples, dtype);
        let mut entries = vec![
            (256, TagValue::Long(width as u32)),
            (257, TagValue::Long(height as u32)),
            (258, TagValue::Shorts(vec![8 * dtype.size() as u16; n_samples])),
            (259, TagValue::Shorts(vec![codec.tiff().unwrap_or(1)])),
            (262, TagValue::Shorts(vec![if is_colour { 2 } else { 1 }])),
            (277, TagValue::Shorts(vec![*samples as u16])),
            (284, TagValue::Shorts(vec![1])),
            (317, TagValue::Shorts(vec![predictor.number()])),
            (322, TagValue::Long(tile[1] as u32)),
            (323, TagValue::Long(tile[0] as u32)),
            (339, TagValue::Shorts(vec![super::sample_format(dtype); n_samples])),
        ];
        if level > 0 {
            entries.push((254, TagValue::Long(1)));
        } else if let Some(resolution) = describe::resolution(&self.spec.axes, false) {
            entries.push((282, TagValue::Rational(resolution.x)));
            entries.push((283, TagValue::Rational(resolution.y)));
            entries.push((296, TagValue::Shorts(vec![resolution.unit])));
        }
        let n_extra = n_samples - if is_colour { 3 } else { 1 };
        if n_extra > 0 {
            entries.push((338, TagValue::Shorts(vec![0; n_extra])));
        }
        if *predictor == Predictor::None {
            entries.retain(|e| e.0 != 317);
        }
        entries
    }

    /// Writes the directories behind the tiles, and the header that points to the first.
    fn describe(&self, store: &Store) -> Result<()> {
        let pages = self.pages();
        let mut end = pages.end.next_multiple_of(8);
        store.put_at(pages.end, &vec![0; (end - pages.end) as usize])?;
        let mut bytes = Vec::new();
        let mut first = 0;
        for page in 0..self.plane.n_pages {
            let mut below = Vec::new();
            let before = bytes.len();
            for (i, level) in self.levels.iter().enumerate() {
                let mut entries = self.directory(&level.spec.shape(), i + 1);
                entries.extend(pages.tiles(i + 1, page, &level.array));
                below.push(end + bytes.len() as u64);
                append(self.is_big, entries, end + bytes.len() as u64, |_| 0, &mut bytes);
            }
            // As many as before the directory of the next page.
            let below_bytes = (bytes.len() - before) as u64;
            let mut entries = self.directory(&self.spec.shape(), 0);
            entries.extend(pages.tiles(0, page, &self.array));
            if !below.is_empty() {
                entries.push((330, TagValue::Sizes(below)));
            }
            let at = end + bytes.len() as u64;
            if page == 0 {
                first = at;
                entries.push((270, TagValue::Text(self.description.clone())));
                entries.push((305, TagValue::Text(concat!("stackctl ", env!("CARGO_PKG_VERSION")).into())));
            }
            let is_last = page + 1 == self.plane.n_pages;
            append(self.is_big, entries, at, |end| if is_last { 0 } else { end + below_bytes }, &mut bytes);
            if bytes.len() >= BATCH_BYTES || is_last {
                store.put_at(end, &bytes)?;
                end += bytes.len() as u64;
                bytes.clear();
            }
        }
        store.put_at(0, &header(self.is_big, first)).map(|_| ())
    }
}

/// Appends a directory that lies at `at`, the larger values behind it; `next` says where the next one is, from where
/// this one ends.
fn append(is_big: bool, mut entries: Vec<(u16, TagValue)>, at: u64, next: impl Fn(u64) -> u64, to: &mut Vec<u8>) {
    entries.sort_by_key(|e| e.0);
    let mut directory = DirectoryTemplate::new(is_big);
    entries.into_iter().for_each(|(tag, value)| directory.add(tag, value));
    let mut behind = directory.place(at + directory.n_bytes(true));
    behind.resize(behind.len().next_multiple_of(8), 0);
    directory.write(true, 0, next(at + directory.n_bytes(true) + behind.len() as u64), to);
    to.extend(behind);
}

/// Height and width of tiles: those of the last chunks asked for, multiples of 16.
fn tile(chunks: Option<&[u64]>, n_outer: usize, plane: &[u64]) -> Result<[u64; 2]> {
    let fitting = |n: u64| n.next_multiple_of(16).min(TILE);
    let Some(chunks) = chunks else { return Ok([fitting(plane[0]), fitting(plane[1])]) };
    let (outer, inner) = chunks.split_at_checked(n_outer).unwrap_or((chunks, &[]));
    match *inner {
        [height, width, ..]
            if [height, width].iter().all(|n| *n > 0 && n.is_multiple_of(16))
                && inner.len() == plane.len()
                && outer.iter().all(|n| *n == 1) =>
        {
            Ok([height, width])
        }
        _ => Err(Error::usage(format!(
            "tiles of {chunks:?}: TIFF has tiles of one plane whose height and width are multiples of 16, such as \
             --chunks {}",
            [vec!["1"; n_outer], vec!["256"; 2], vec!["3"; plane.len() - 2]].concat().join(",")
        ))),
    }
}

fn prepare(predictor: Predictor, row: usize, size: usize, samples: usize) -> Option<Prepare> {
    (predictor != Predictor::None)
        .then(|| Box::new(move |bytes: std::borrow::Cow<'_, [u8]>| predictor.apply(bytes, row, size, samples)) as _)
}

/// What each level halves: y and x, which alone are smaller in a SubIFD.
fn steps(axes: &[Axis], n_plane: usize, levels: Levels) -> Vec<Vec<u64>> {
    let plane = axes.len() - n_plane..axes.len() - n_plane + 2;
    let mut lengths: Vec<u64> = axes[plane.clone()].iter().map(|a| a.length).collect();
    let mut found = Vec::new();
    while match levels {
        Levels::None => false,
        Levels::Auto => lengths.iter().any(|n| *n > SMALLEST),
        Levels::Count(n) => (found.len() as u64) + 1 < n && lengths.iter().any(|n| *n > 1),
    } {
        let mut step = vec![1; axes.len()];
        for (i, length) in plane.clone().zip(&mut lengths).filter(|(_, n)| **n > 1) {
            step[i] = 2;
            *length = length.div_ceil(2);
        }
        found.push(step);
    }
    found
}

/// Where tiles lie in the file.
struct Pages {
    /// Offset and length of each, by level and number.
    tiles: Vec<Vec<(u64, u64)>>,
    end: u64,
    /// What is not recorded yet: level, number, offset and length of tiles.
    fresh: Vec<[u64; 4]>,
    /// The tiles themselves, as they were written.
    stored: Vec<Stored>,
}

impl Pages {
    fn new<'a>(arrays: impl Iterator<Item = &'a ArrayWriter>, is_big: bool) -> Self {
        let tiles = arrays.map(|a| vec![(0, 0); a.n_objects() as usize]).collect();
        Self { tiles, end: if is_big { 16 } else { 8 }, fresh: Vec::new(), stored: Vec::new() }
    }

    fn set(&mut self, entry: [u64; 4]) -> Result<()> {
        let [level, number, offset, n_bytes] = entry;
        let tile = self.tiles.get_mut(level as usize).and_then(|tiles| tiles.get_mut(number as usize));
        *tile.ok_or_else(|| Error::format("tiles that were kept are damaged: use --restart"))? = (offset, n_bytes);
        self.end = self.end.max(offset + n_bytes);
        Ok(())
    }

    /// Takes in tiles that an earlier run has recorded.
    fn add(&mut self, state: &[u8]) -> Result<()> {
        let numbers: Vec<u64> = state.as_chunks::<8>().0.iter().map(|n| u64::from_le_bytes(*n)).collect();
        numbers.as_chunks::<4>().0.iter().try_for_each(|entry| self.set(*entry))
    }

    /// What has been written since the last call, to be recorded.
    fn written(&mut self) -> (Vec<Stored>, Vec<u8>) {
        let state = self.fresh.drain(..).flatten().flat_map(u64::to_le_bytes).collect();
        (std::mem::take(&mut self.stored), state)
    }

    /// Entries that say where the tiles of a page lie.
    fn tiles(&self, level: usize, page: u64, array: &ArrayWriter) -> [(u16, TagValue); 2] {
        let counts = array.chunks().counts();
        let n_pages = self.n_pages(array);
        let per_page = (n_elements(counts) / n_pages) as usize;
        let own = &self.tiles[level][page as usize * per_page..][..per_page];
        [
            (324, TagValue::Sizes(own.iter().map(|t| t.0).collect())),
            (325, TagValue::Sizes(own.iter().map(|t| t.1).collect())),
        ]
    }

    fn n_pages(&self, array: &ArrayWriter) -> u64 {
        // Chunks are one page thick.
        let chunks = array.chunks();
        chunks.counts().iter().zip(chunks.cell()).filter(|(_, cell)| **cell == 1).map(|(n, _)| n).product()
    }
}

impl Container for Pages {
    fn take(&mut self, store: &Store, array: &ArrayWriter, number: u64, bytes: &[u8]) -> Result<()> {
        let level = array.prefix().parse().map_err(|_| Error::format("a tile of no level"))?;
        let entry = [level, number, self.end, bytes.len() as u64];
        store.put_at(self.end, bytes)?.add_to(&mut self.stored);
        self.fresh.push(entry);
        self.set(entry)
    }
}

impl Consumer for OmeSink {
    fn wants(&self) -> Wants {
        self.wants.clone()
    }

    fn cost(&self, task: &[u64], _piece: &[u64]) -> Cost {
        let row_bytes = 2 * self.plane.tile[1] * self.plane.samples * self.spec.dtype.size() as u64;
        let own = Cost { work_bytes: row_bytes, ..Cost::default() } + self.array.cost(task);
        let levels = self.levels.iter().map(|level| level.cost(task));
        levels.fold(own, |sum, cost| sum + cost)
    }

    fn held_bytes(&self) -> u64 {
        // Where each tile lies, a copy of it until it is recorded, and directories on their way out.
        let tiles = self.n_tiles().saturating_mul(16 + 32).saturating_add(4 * BATCH_BYTES as u64);
        let levels = self.levels.iter().map(|l| l.held_bytes(&self.wants.unit, &self.wants.object));
        levels.fold(self.array.held_bytes().saturating_add(tiles), u64::saturating_add)
    }

    fn begin(&mut self, job: &Job) -> Result<()> {
        let arrays = iter::once(&self.array).chain(self.levels.iter().map(|level| &level.array));
        self.pages = Mutex::new(Pages::new(arrays, self.is_big));
        self.place.begin(job)
    }

    fn place(&self) -> Option<&Place> {
        Some(&self.place)
    }

    fn place_mut(&mut self) -> Option<&mut Place> {
        Some(&mut self.place)
    }

    fn taker<'a>(&'a self, _task: &Task) -> Result<Box<dyn Taker + 'a>> {
        let store = self.place.open()?;
        Ok(Box::new(Tiler { sink: self, store, full: self.array.encoder(store), levels: Vec::new() }))
    }

    fn merger(&self) -> Box<dyn Merger + '_> {
        let merging = self.place.store().map(|store| {
            let container: &Mutex<dyn Container> = &self.pages;
            (store, Resolutions::new(&self.array, &self.levels, store, Some(container)))
        });
        let remembered = crate::sink::remembered(&self.place, (), |(), state| self.pages().add(state));
        Box::new(OmeMerger { sink: self, merging, remembered })
    }

    fn keeper(&self) -> Result<Box<dyn Merger + '_>> {
        Err(Error::unsupported("an OME-TIFF is written from its beginning to its end: use .zarr to share"))
    }
}

/// Encodes the tiles of a task at every level.
struct Tiler<'a> {
    sink: &'a OmeSink,
    store: &'a Store,
    full: ChunkEncoder<'a>,
    levels: Vec<Part>,
}

impl Taker for Tiler<'_> {
    fn take(&mut self, block: &Block, desk: &mut Desk) -> Result<()> {
        let OmeSink { levels, method, spec, .. } = self.sink;
        self.full.take(block, desk)?;
        self.levels.extend(levels::parts(levels, block, *method, &spec.fill, self.store, desk)?);
        Ok(())
    }

    fn end(&mut self, desk: &mut Desk) -> Result<Option<Part>> {
        let Some(full) = self.full.end(desk)? else { return Ok(None) };
        let mut parts = vec![full];
        parts.append(&mut self.levels);
        Ok(Some(Part::Many(parts)))
    }
}

struct OmeMerger<'a> {
    sink: &'a OmeSink,
    /// Once it has begun.
    merging: Option<(&'a Store, Resolutions<'a>)>,
    remembered: Result<()>,
}

impl Merger for OmeMerger<'_> {
    fn place(&mut self, task: &Task, part: Part) -> Result<Part> {
        match &mut self.merging {
            Some((_, parts)) => parts.place(task, part),
            None => Ok(part),
        }
    }

    fn merge(&mut self, task: &Task, part: Part) -> Result<()> {
        let Some((store, parts)) = &mut self.merging else { return Err(Error::format("it was never begun")) };
        self.remembered.as_ref().map_err(Error::format)?;
        parts.merge(part)?;
        if task.ends_unit {
            let (stored, state) = self.sink.pages().written();
            store.record(task.unit, &stored, &state)?;
        }
        Ok(())
    }

    fn skip(&mut self, task: &Task) -> Result<()> {
        self.merging.iter_mut().for_each(|(_, parts)| parts.skip(task));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Product>> {
        self.remembered?;
        let Some((store, parts)) = self.merging else { return Err(Error::format("it was never begun")) };
        parts.finish()?;
        self.sink.describe(store)?;
        store.sign(None)?;
        Ok(vec![Product::at(self.sink.place.path())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_suit_tiff() {
        assert_eq!(tile(None, 3, &[37, 5000]).unwrap(), [48, 512]);
        assert_eq!(tile(Some(&[1, 64, 128]), 1, &[37, 5000]).unwrap(), [64, 128]);
        for wrong in [&[2, 64, 128][..], &[1, 60, 128], &[64, 128], &[1, 0, 16]] {
            let said = tile(Some(wrong), 1, &[37, 5000]).unwrap_err().to_string();
            assert!(said.contains("--chunks 1,256,256"), "{said}");
        }
    }

    #[test]
    fn levels_halve_the_plane_alone() {
        let axes = |names: &[&str]| names.iter().map(|n| Axis::new(*n, 2000)).collect::<Vec<_>>();
        assert_eq!(steps(&axes(&["z", "y", "x"]), 2, Levels::Auto), [[1, 2, 2], [1, 2, 2]]);
        assert_eq!(steps(&axes(&["y", "x", "c"]), 3, Levels::Count(2)), [[2, 2, 1]]);
        assert!(steps(&axes(&["y", "x"]), 2, Levels::None).is_empty());
    }
}
