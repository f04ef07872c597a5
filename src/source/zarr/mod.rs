//! Zarr v2 and v3 arrays as a source, alone or as a level of an OME-Zarr image.
//!
//! Chunks are read one by one into memory that is used again; the library zarrs reads the metadata and
//! undoes uncommon codecs. Absent chunks hold the array's fill value, which is data like any other.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::cf::{self, Dimensions, Form};
use super::{FileArray, FileIndex, Format, Info, Note, NoteKind, OpenOptions};
use crate::array::{Reader, Scratch, check_read};
use crate::block::{Buffer, Coverage, Target, size_bytes};
use crate::bytes::{self, Ranged};
use crate::codec::{Codec, Contexts};
use crate::error::{Error, Result};
use crate::grid::{Grid, Region, n_elements};
use crate::profile::{self, Stage};

mod census;
mod chain;
mod codecs;
mod filters;
mod group;

use census::Census;
use chain::StoredArray;

/// The format's entry in the table.
pub const FORMAT: Format = Format {
    name: "Zarr",
    extensions: &["zarr"],
    recognise: Some(group::is_zarr),
    magic: None,
    has_variables: false,
    open: open_shared,
};

/// Shards whose file and index are kept at hand.
const MOST_OPEN_SHARDS: u64 = 16;
/// Memory for their indices, unless two need more.
const INDEX_BYTES: u64 = 8 << 20;

/// An open array.
pub struct ZarrSource {
    info: Info,
    stored: StoredArray,
    form: Form,
    /// An element of what is not stored.
    fill: Option<Vec<u8>>,
    chunks: Grid,
    chunk_bytes: usize,
    /// Shards that were read from last, latest first, with their position.
    open: Mutex<VecDeque<OpenShard>>,
    most_open: usize,
}

/// A shard's position and, if it has a file, that.
type OpenShard = (Vec<u64>, Option<Arc<Shard>>);

/// An open shard file.
struct Shard {
    file: Ranged,
    n_bytes: u64,
    index: Vec<(u64, u64)>,
}

/// An opened file and its length in bytes; `None` if there is none at `path`.
fn there(opened: std::io::Result<Ranged>, path: &Path) -> Result<Option<(Ranged, u64)>> {
    let file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, "cannot open", e)),
    };
    let n_bytes = file.n_bytes();
    Ok(Some((file, n_bytes)))
}

/// Where the stored form of a chunk lies.
enum Place {
    /// It is a file.
    Whole(PathBuf),
    /// A shard's file and its name, and there an offset and a length in bytes.
    Part(Arc<Shard>, PathBuf, u64, u64),
}

fn open_shared(path: &Path, options: &OpenOptions, _: &[Arc<dyn FileIndex>]) -> Result<Arc<dyn FileArray>> {
    Ok(Arc::new(ZarrSource::open(path, options)?))
}

/// What a copy of the image at `path` keeps of its attributes: those that are not of OME-NGFF, and how its channels
/// are shown (`omero`). Nothing if it is no Zarr.
///
/// # Errors
/// As [`ZarrSource::open`].
pub fn kept_attributes(path: &Path, options: &OpenOptions) -> Result<serde_json::Map<String, serde_json::Value>> {
    if !group::is_zarr(path) {
        return Ok(serde_json::Map::new());
    }
    Ok(group::choose(path, options)?.image.map(|image| image.kept()).unwrap_or_default())
}

/// Paths of the images that the group at `path` names: those in the wells of a plate, a well that names none by itself, or
/// those of a list of series.
///
/// # Errors
/// As [`provenance`].
pub fn collected(path: &Path) -> Result<Vec<String>> {
    let claim = |folder: &Path| -> Result<serde_json::Value> {
        let mut attributes = group::attributes(folder)?;
        Ok(attributes.remove("ome").unwrap_or(serde_json::Value::Object(attributes)))
    };
    let inside = |path: &str| !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let texts = |list: &serde_json::Value, key: Option<&str>| -> Vec<String> {
        let entries = list.as_array().into_iter().flatten();
        let texts = entries.filter_map(|entry| key.map_or(entry, |key| &entry[key]).as_str());
        texts.filter(|text| inside(text)).map(String::from).collect()
    };
    let own = claim(path)?;
    if own["bioformats2raw.layout"].is_number() && own["plate"].is_null() {
        return Ok(texts(&claim(&path.join("OME"))?["series"], None));
    }
    let mut images = Vec::new();
    for well in texts(&own["plate"]["wells"], Some("path")) {
        let fields = texts(&claim(&path.join(&well))?["well"]["images"], Some("path"));
        images.extend(fields.iter().map(|field| format!("{well}/{field}")));
        images.extend(Some(well).filter(|_| fields.is_empty()));
    }
    Ok(images)
}

/// What the Zarr at `path` says of its origin, if stackctl wrote it.
///
/// # Errors
/// `Io`, or `Format` if its metadata cannot be read.
pub fn provenance(path: &Path) -> Result<Option<serde_json::Value>> {
    if !group::is_zarr(path) {
        return Ok(None);
    }
    let own = |path: &Path| Ok(group::attributes(path)?.remove("stackctl"));
    match (own(path)?, path.parent()) {
        // A level is of its image.
        (None, Some(parent)) if group::is_zarr(parent) => own(parent),
        (found, _) => Ok(found),
    }
}

/// How the group at `path` says that its levels were made, if it does.
///
/// # Errors
/// As [`provenance`].
pub fn downsampling(path: &Path) -> Result<Option<String>> {
    let attributes = group::attributes(path)?;
    let told = attributes.get("ome").and_then(|ome| ome.get("multiscales")).or(attributes.get("multiscales"));
    Ok(told.and_then(|multiscales| multiscales[0]["type"].as_str()).map(str::to_owned))
}

/// How an array is stored, for another to be stored alike.
pub struct Storage {
    /// Names of its axes, slowest first.
    pub axes: Vec<String>,
    /// Version of the format.
    pub version: u8,
    /// Shape of a chunk.
    pub chunks: Vec<u64>,
    /// Shape of a shard.
    pub shards: Option<Vec<u64>>,
    /// How chunks are encoded.
    pub codec: Codec,
}

/// How the array that `path` and `options` mean is stored.
///
/// # Errors
/// As [`ZarrSource::open`], and `Usage` if its codecs are not written here.
pub fn storage(path: &Path, options: &OpenOptions) -> Result<Storage> {
    let ZarrSource { info, stored, .. } = ZarrSource::open(path, options)?;
    let (version, compressors) = &stored.compressors;
    let codec = match compressors.as_slice() {
        [] => Codec::None,
        [one] => Codec::described(one)?,
        _ => return Err(Error::usage("its chunks have several codecs, which is not written here: give a --codec")),
    };
    let axes = info.axes.iter().map(|axis| axis.name.clone()).collect();
    Ok(Storage { axes, version: *version, chunks: stored.unit, shards: stored.sharding.map(|s| s.shape), codec })
}

/// Shapes of the arrays in `folders`; none if there are not several, or one cannot be opened, which is said when it is
/// asked for.
fn level_shapes(folders: &[PathBuf]) -> Vec<Vec<u64>> {
    let shape = |folder: &PathBuf| StoredArray::open(folder).map(|stored| stored.shape().to_vec());
    let shapes = folders.iter().filter(|_| folders.len() > 1).map(shape).collect::<Result<_>>();
    shapes.unwrap_or_default()
}

/// Every array in the Zarr at `path`, itself among them, by its folder.
///
/// # Errors
/// `Usage` if it is no Zarr; `Io`, or `Format` if metadata cannot be read.
pub fn arrays(path: &Path) -> Result<Vec<PathBuf>> {
    if !group::is_zarr(path) {
        return Err(Error::usage(format!(
            "{}: is no Zarr: name one that stackctl or another program has written",
            path.display()
        )));
    }
    group::arrays(path)
}

/// The most bytes that a chunk of `n_bytes` may take on disk; codecs grow by less.
fn stored_bound(n_bytes: u64) -> u64 {
    n_bytes.saturating_add(n_bytes / 4).saturating_add(64 << 10)
}

impl ZarrSource {
    /// Opens the array, or the level of an image, that `path` and `options` mean.
    ///
    /// # Errors
    /// `Usage` if there is a choice to make; `Unsupported` for elements or codecs that are not read;
    /// `Format` if the metadata are wrong.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self> {
        if !group::is_zarr(path) {
            return Err(Error::format("no Zarr array or group: there is no zarr.json, .zarray or .zgroup"));
        }
        let chosen = group::choose(path, options)?;
        let stored = StoredArray::open(&chosen.array)?;
        let chunk_bytes = chain::unit_bytes(&stored.unit, stored.dtype)?;
        if stored.unit.len() != stored.shape().len() {
            return Err(Error::format("Zarr: chunks and array differ in number of axes"));
        }
        let chunks = Grid::new(stored.shape(), &stored.unit);
        let (axes, note) = group::axes(stored.shape(), stored.names.as_deref(), chosen.image.as_ref());
        let index_bytes = stored.sharding.as_ref().map_or(0, |s| n_elements(&s.counts).saturating_mul(16));
        let most_open = (INDEX_BYTES / index_bytes.max(1)).clamp(2, MOST_OPEN_SHARDS);
        let by = |shape: &[u64]| shape.iter().map(u64::to_string).collect::<Vec<_>>().join("x");
        let shards = stored.sharding.as_ref().map_or(String::new(), |s| format!(" in shards of {}", by(&s.shape)));
        // The chunk, what is stored of it, and what the general chain makes of it on the way.
        let steps = if stored.chain.plain.is_some() { 1 } else { 4 };
        let variable = stored.variable(options.unpack.is_some());
        let form = Form::of(&variable, variable.element().unwrap_or(stored.dtype), false, options.unpack)?;
        let unpacked = if form.is_plain() { 0 } else { size_bytes(&stored.unit, form.given()) + chunk_bytes as u64 };
        // Blosc decodes through three blocks; whoever sets their size keeps them below this.
        let blocks = 3 * (chunk_bytes as u64).min(8 << 20);
        let scratch_bytes = (chunk_bytes as u64)
            .saturating_mul(steps)
            .saturating_add(blocks)
            .saturating_add(stored_bound(chunk_bytes as u64))
            .saturating_add(index_bytes.saturating_mul(3))
            .saturating_add(unpacked)
            .saturating_add(256 << 10);
        let found = Dimensions { axes, calendar: None, notes: note.into_iter().collect() };
        let info = Info {
            dtype: form.given(),
            unit: stored.unit.clone(),
            coded: true,
            storage: format!("{}, chunks of {}{shards}", stored.storage, by(&stored.unit)),
            scratch_bytes,
            held_bytes: index_bytes.saturating_mul(most_open) + (64 << 10),
            // As many as there are elements for: asking every file would take longer than reading headers may.
            file_bytes: size_bytes(stored.shape(), stored.dtype),
            series: chosen.series,
            levels: level_shapes(&chosen.levels),
            ..cf::info(&variable, found, options)
        };
        let (fill, most_open) = (form.one(&stored.fill), most_open as usize);
        let mut source = Self { info, stored, form, fill, chunks, chunk_bytes, open: Mutex::default(), most_open };
        let census = source.census(&chosen.array)?;
        source.info.notes.extend(census);
        Ok(source)
    }

    /// What of the array is not stored, and what is stored and no part of it.
    fn census(&self, folder: &Path) -> Result<Vec<Note>> {
        let sharding = self.stored.sharding.as_ref();
        let objects = sharding.map_or_else(|| self.chunks.clone(), |s| Grid::new(self.stored.shape(), &s.shape));
        let census = Census::take(&self.stored, folder, &objects)?;
        let (mut n, mut of, mut what) =
            (census.n_stored, objects.len(), if sharding.is_some() { "shards" } else { "chunks" });
        // Of few shards the indices say which chunks they hold, if none is damaged: who reads it is told.
        let is_near = !bytes::is_remote(folder) || census.n_stored <= MOST_OPEN_SHARDS;
        let is_asked = is_near && census.positions.len() as u64 == census.n_stored;
        if let Some(sharding) = sharding.filter(|s| is_asked && s.index_bytes <= INDEX_BYTES) {
            let held = |position: &Vec<u64>| {
                let shard = self.shard(position, sharding)?;
                let index = shard.iter().flat_map(|shard| &shard.index);
                Ok(index.filter(|entry| **entry != (u64::MAX, u64::MAX)).count() as u64)
            };
            if let Ok(held) = census.positions.iter().map(held).sum::<Result<u64>>() {
                (n, of, what) = (held, self.chunks.len(), "chunks");
            }
        }
        let mut notes = Vec::new();
        let has_axes = !self.info.axes.is_empty();
        if n < of && has_axes && census.is_whole {
            let text = format!("{} of {of} {what} are not stored and hold the fill value", of - n);
            notes.push(Note::new(NoteKind::ChunksAbsent, text));
        }
        if let (n @ 1.., example) = census.unused {
            let text = format!("{n} stored chunks are none of the array's, such as {example}");
            notes.push(Note::new(NoteKind::ChunksUnused, text));
        }
        Ok(notes)
    }

    /// Where the stored form of the chunk at `position` lies; `None` if its shard says that it is absent.
    fn place(&self, position: &[u64]) -> Result<Option<Place>> {
        let Some(sharding) = &self.stored.sharding else { return Ok(Some(Place::Whole(self.stored.file(position)))) };
        let at: Vec<u64> = position.iter().zip(&sharding.counts).map(|(p, n)| p / n).collect();
        let Some(shard) = self.shard(&at, sharding)? else { return Ok(None) };
        let number = position.iter().zip(&sharding.counts).fold(0, |k, (p, n)| k * n + p % n);
        let entry = usize::try_from(number).ok().and_then(|k| shard.index.get(k)).copied();
        let (offset, n_bytes) = entry.unwrap_or((u64::MAX, u64::MAX));
        if (offset, n_bytes) == (u64::MAX, u64::MAX) {
            return Ok(None);
        }
        let path = self.stored.file(&at);
        if offset.checked_add(n_bytes).is_none_or(|end| end > shard.n_bytes) {
            return Err(Error::format(format!(
                "{}: chunk {number} of the shard is said to be {n_bytes} bytes at {offset}, but the file has {}",
                path.display(),
                shard.n_bytes
            )));
        }
        Ok(Some(Place::Part(shard, path, offset, n_bytes)))
    }

    /// Reads the stored form of the chunk at `position` into `stored`.
    ///
    /// Returns its length, or `None` if it is absent.
    fn fetch(&self, position: &[u64], stored: &mut Buffer) -> Result<Option<usize>> {
        let path = match self.place(position)? {
            None => return Ok(None),
            Some(Place::Part(shard, path, offset, n_bytes)) => {
                return self.fetch_range(&shard.file, &path, offset, n_bytes, stored).map(Some);
            }
            Some(Place::Whole(path)) => path,
        };
        let Some((file, n_bytes)) = there(Ranged::open_whole(&path), &path)? else { return Ok(None) };
        self.fetch_range(&file, &path, 0, n_bytes, stored).map(Some)
    }

    fn fetch_range(&self, file: &Ranged, path: &Path, offset: u64, n_bytes: u64, stored: &mut Buffer) -> Result<usize> {
        let most = stored_bound(self.chunk_bytes as u64);
        let room = usize::try_from(n_bytes).ok().filter(|_| n_bytes <= most).ok_or_else(|| {
            Error::format(format!(
                "{}: a stored chunk of {n_bytes} bytes cannot be one of {} bytes",
                path.display(),
                self.chunk_bytes
            ))
        })?;
        let bytes = stored.sized(room);
        let read = profile::stage(Stage::Read, n_bytes, || file.read_exact_at(bytes, offset));
        read.map_err(|e| Error::io(path, "cannot read", e))?;
        Ok(room)
    }

    /// The shard at `position`, with its index; `None` if there is no file.
    fn shard(&self, position: &[u64], sharding: &chain::ShardIndex) -> Result<Option<Arc<Shard>>> {
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut open = lock();
            if let Some(i) = open.iter().position(|(at, _)| at == position)
                && let Some(entry) = open.remove(i)
            {
                let shard = entry.1.clone();
                open.push_front(entry);
                return Ok(shard);
            }
        }
        let shard = self.open_shard(position, sharding)?.map(Arc::new);
        let mut open = lock();
        open.push_front((position.to_vec(), shard.clone()));
        open.truncate(self.most_open);
        Ok(shard)
    }

    fn open_shard(&self, position: &[u64], sharding: &chain::ShardIndex) -> Result<Option<Shard>> {
        let path = self.stored.file(position);
        let opened = match sharding.index_at_end {
            true => Ranged::open_end(&path, sharding.index_bytes),
            false => Ranged::open(&path),
        };
        let Some((file, n_bytes)) = there(opened, &path)? else { return Ok(None) };
        let Some(last) = n_bytes.checked_sub(sharding.index_bytes) else {
            return Err(Error::format(format!(
                "{}: a shard of {n_bytes} bytes cannot hold its index of {}",
                path.display(),
                sharding.index_bytes
            )));
        };
        let mut bytes = vec![0; sharding.index_bytes as usize];
        let offset = if sharding.index_at_end { last } else { 0 };
        file.read_exact_at(&mut bytes, offset).map_err(|e| Error::io(&path, "cannot read", e))?;
        let index = sharding.index(&bytes).map_err(|e| e.at("index of the shard").at(path.display()))?;
        Ok(Some(Shard { file, n_bytes, index }))
    }
}

impl FileArray for ZarrSource {
    fn info(&self) -> &Info {
        &self.info
    }

    fn absent_value(&self) -> Option<&[u8]> {
        self.fill.as_deref()
    }

    fn file_reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        Box::new(ZarrReader { source: self, scratch })
    }
}

/// One worker's way to read an array.
struct ZarrReader {
    source: Arc<ZarrSource>,
    scratch: Scratch,
}

impl Reader for ZarrReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        let (source, scratch) = (&*self.source, &mut self.scratch);
        check_read(source, region, target)?;
        let mut coverage = Coverage::default();
        for position in source.chunks.overlapping(region) {
            let chunk = source.chunks.region(&position);
            let Some(both) = chunk.intersect(region) else { continue };
            let mut part = target.part(&both.relative_to(&region.origin));
            let damaged = |e: Error| {
                let at = source.stored.sharding.as_ref().map(|s| position.iter().zip(&s.counts).map(|(p, n)| p / n));
                let file = source.stored.file(&at.map_or(position.clone(), Iterator::collect));
                e.at(format_args!("chunk {position:?}")).at(file.display())
            };
            let Some(n_bytes) = source.fetch(&position, &mut scratch.stored)? else {
                part.fill(cf::fill_of(source.fill.as_deref()).map_err(damaged)?);
                coverage.lacks(both);
                continue;
            };
            let Scratch { stored, decoded, extra, kept } = &mut *scratch;
            let contexts = kept.get::<Contexts>();
            let mut decode = |out: &mut [u8]| {
                let decode = || source.stored.chain.decode(&stored.bytes()[..n_bytes], out, contexts);
                profile::stage(Stage::Decode, source.chunk_bytes as u64, decode)
            };
            // Whole chunks go straight to where they are wanted if they lie there in one piece.
            let is_whole = both.shape == source.stored.unit && part.dense_run() == n_elements(&both.shape);
            if is_whole && source.form.is_plain() {
                let (start, length) = (part.start, source.chunk_bytes);
                let out = &mut part.bytes[start..start + length];
                decode(out).map_err(damaged)?;
                continue;
            }
            let out = decoded.sized(source.chunk_bytes);
            decode(out).map_err(damaged)?;
            let (unit, own) = (&source.stored.unit, both.relative_to(&chunk.origin));
            source.form.give_part(decoded.bytes(), unit, &own, &mut part, [extra, stored]).map_err(damaged)?;
        }
        Ok(coverage)
    }

    fn prefetch(&mut self, region: &Region) {
        let source = &*self.source;
        if !bytes::is_remote(source.stored.folder()) || region.rank() != source.info.axes.len() {
            return;
        }
        for position in source.chunks.overlapping(region) {
            match source.place(&position) {
                Ok(Some(Place::Whole(path))) => bytes::ask(&path, stored_bound(source.chunk_bytes as u64)),
                Ok(Some(Place::Part(shard, _, offset, n_bytes))) => shard.file.advise(offset, n_bytes),
                // Who reads it is told what is wrong.
                _ => {}
            }
        }
    }

    fn release(self: Box<Self>) -> Scratch {
        self.scratch
    }
}
