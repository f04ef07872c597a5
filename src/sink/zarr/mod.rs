//! Zarr v2 and v3: a group with an array at level path `0` and smaller ones after it, described as OME-Zarr where the
//! axes allow; or one array alone.
//!
//! Written here rather than by a library, so that the bytes do not depend on the number of threads, memory
//! is bounded by what is in flight, and nothing stands under the output's name before it is whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{OutputOptions, Sharding, Spec};
use crate::array::Losses;
use crate::axis::{Axis, AxisKind};
use crate::block::Block;
use crate::codec::Codec;
use crate::consume::levels::{Levels, Method, halve};
use crate::consume::statistics::{PERCENTILES, Statistics, Tally};
use crate::consume::{Consumer, Desk, Job, Merger, Part, Product, Taker};
use crate::error::{Error, Result};
use crate::grid::n_elements;
use crate::plan::{Cost, Task, Wants};
use crate::store::{Durability, Kind, Store, Stored, check_free};

mod array;
mod chunk;
mod coordinates;
mod defaults;
mod display;
mod levels;
mod metadata;
mod ngff;

use array::{ArrayWriter, Encoder, Shards};
use coordinates::{Coordinates, coordinates};
pub use defaults::{DEFAULT_MAX_FILES, default_chunks, default_shards};

/// Which Zarr is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Zarr v2 with OME-Zarr 0.4.
    V2,
    /// Zarr v3 with OME-Zarr 0.5.
    V3,
}

/// Range of values that viewers are told to show, for each channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contrast {
    /// As an OME-Zarr input says, else as its data are.
    #[default]
    Kept,
    /// Percentiles of the data.
    Data,
    /// All that the element type can hold.
    Dtype,
    /// Nothing is said of channels.
    None,
}

impl Contrast {
    const NAMES: [(&'static str, Self); 4] =
        [("auto", Self::Kept), ("data", Self::Data), ("dtype", Self::Dtype), ("none", Self::None)];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, contrast)| *contrast == self).map_or("", |(name, _)| name)
    }
}

impl std::str::FromStr for Contrast {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == text);
        found
            .map(|(_, c)| *c)
            .ok_or_else(|| Error::usage(format!("'{text}' is no contrast: auto, data, dtype or none")))
    }
}

/// What there is beside the array, and how it is to be shown.
#[derive(Clone, Debug, Default)]
pub struct ImageOptions {
    /// How many levels there are.
    pub levels: Levels,
    /// How each is made of the one before it.
    pub method: Method,
    /// What viewers are told to show.
    pub contrast: Contrast,
    /// Colour of every channel; as names and order suggest if empty.
    pub colours: Vec<String>,
    /// The array alone, without a group or anything beside it.
    pub plain: bool,
    /// Whether coordinates are written as arrays.
    pub coordinates: bool,
    /// Attributes of the image that this is a copy of, those of OME-NGFF without their version.
    pub attributes: Map<String, Value>,
}

/// How the array is cut, encoded and put down.
#[derive(Clone, Debug)]
pub struct ZarrOptions {
    /// Which Zarr.
    pub format: Format,
    /// Shape of a chunk, in the order of the array's axes.
    pub chunks: Vec<u64>,
    /// Shape of a shard, a multiple of the chunk's; v3 only.
    pub shards: Option<Vec<u64>>,
    /// How chunks are encoded.
    pub codec: Codec,
    /// Whether an older output of this name is replaced, at the end.
    pub overwrite: bool,
    /// What must be on the disk before the output gets its name.
    pub durability: Durability,
    /// What there is beside the array.
    pub image: ImageOptions,
}

/// Why an array of `axes` is not written as an OME-Zarr image, if its axes do not allow it.
pub fn misfit(axes: &[Axis]) -> Option<String> {
    ngff::misfit(axes)
}

/// Path of the full-resolution array inside the group.
const LEVEL: &str = "0";
/// What the statistics of a unit are recorded behind: nothing else that is recorded begins so.
const MARK: &[u8; 8] = b"channels";
/// Attributes that are written anew.
const OWN: [&str; 5] = ["ome", "multiscales", "omero", "stackctl", "_ARRAY_DIMENSIONS"];

/// A Zarr group, which takes boxes of whole chunks (clipped to the array). With shards, a task lies in one of them,
/// and the tasks of a shard follow one another.
pub struct ZarrSink {
    path: PathBuf,
    spec: Spec,
    options: ZarrOptions,
    array: ArrayWriter,
    levels: Vec<levels::Level>,
    wants: Wants,
    statistics: Option<Statistics>,
    store: Option<Store>,
    losses: Losses,
}

/// What such an output is to the store.
pub(super) const KIND: Kind = Kind::Folder(is_zarr);

/// The group that will be called `path`.
///
/// # Errors
/// As [`ZarrSink::new`], and if something stands under the name that may not be replaced.
pub fn create(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    let sink = ZarrSink::new(path, spec, &resolved(spec, options)?)?;
    check_free(path, options.overwrite, KIND)?;
    Ok(Box::new(sink))
}

/// What the options of an output mean for this format.
fn resolved(spec: &Spec, options: &OutputOptions) -> Result<ZarrOptions> {
    let chunks = match &options.chunks {
        Some(chunks) if chunks.len() == spec.axes.len() && !chunks.contains(&0) => chunks.clone(),
        Some(chunks) => {
            return Err(Error::usage(format!(
                "chunks of {chunks:?} for an array of shape {:?}: give one length of at least 1 per axis",
                spec.shape()
            )));
        }
        None => default_chunks(&spec.axes, spec.dtype, &[]),
    };
    let shards = match &options.shards {
        Sharding::Auto if options.format == Format::V2 => None,
        Sharding::Auto => Some(default_shards(&spec.axes, &chunks, spec.dtype, DEFAULT_MAX_FILES)),
        Sharding::None => None,
        Sharding::Shape(shape) => Some(shape.clone()),
    };
    Ok(ZarrOptions {
        format: options.format,
        chunks,
        shards,
        codec: options.codec.clone(),
        overwrite: options.overwrite,
        durability: options.durability,
        image: options.image.clone(),
    })
}

impl ZarrSink {
    /// The output that will be called `path`.
    ///
    /// # Errors
    /// `Usage` if chunks, shards, codec, levels and format do not fit each other.
    pub fn new(path: &Path, spec: &Spec, options: &ZarrOptions) -> Result<Self> {
        let image = &options.image;
        if image.plain && image.coordinates {
            return Err(Error::usage("--coordinates lie beside the array in a group: leave --plain out"));
        }
        let array = ArrayWriter::new(if image.plain { "" } else { LEVEL }, spec, options)?;
        let mut options = options.clone();
        options.image.colours = colours(spec, image)?;
        let levels = levels::levels(spec, &options)?;
        let wants = levels::wants(&spec.shape(), &array, &levels, options.shards.is_some());
        let has_window = !image.plain
            && matches!(image.contrast, Contrast::Kept | Contrast::Data)
            && spec.axes.iter().any(|a| a.kind == AxisKind::Channel)
            && ngff::misfit(&spec.axes).is_none();
        let statistics = Some(()).filter(|()| has_window).and_then(|()| Statistics::new(&spec.axes, spec.dtype));
        let (path, spec) = (path.to_owned(), spec.clone());
        Ok(Self { path, spec, options, array, levels, wants, statistics, store: None, losses: Losses::default() })
    }

    /// Chunks or shards of the full resolution if none of them holds fill only.
    pub fn n_objects(&self) -> u64 {
        self.array.n_objects()
    }

    /// Shapes of the levels, the full resolution first.
    pub fn level_shapes(&self) -> Vec<Vec<u64>> {
        std::iter::once(self.spec.shape()).chain(self.levels.iter().map(|l| l.spec.shape())).collect()
    }

    /// Files of the output if none of its chunks or shards holds fill only, metadata included.
    pub fn n_files(&self) -> u64 {
        let n_objects = self.levels.iter().fold(self.array.n_objects(), |n, l| n.saturating_add(l.array.n_objects()));
        n_objects.saturating_add(self.n_metadata_files())
    }

    /// Files of metadata, and of coordinates.
    pub fn n_metadata_files(&self) -> u64 {
        let (group, array) = match (self.options.format, self.options.image.plain) {
            (Format::V3, true) => (0, 1),
            (Format::V3, false) => (1, 1),
            (Format::V2, true) => (0, 2),
            (Format::V2, false) => (3, 2),
        };
        let n_coordinates = self.coordinates().len() as u64;
        group + array * (1 + self.levels.len() as u64) + (array + 1) * n_coordinates
    }

    /// Why the output will not be an OME-Zarr image, if its axes do not allow it.
    pub fn misfit(&self) -> Option<String> {
        ngff::misfit(&self.spec.axes)
    }

    fn open_store(&self) -> Result<&Store> {
        self.store.as_ref().ok_or_else(|| Error::usage(format!("{}: was never begun", self.path.display())))
    }

    fn coordinates(&self) -> Vec<Coordinates> {
        if self.options.image.coordinates { coordinates(&self.spec.axes, self.options.format) } else { Vec::new() }
    }

    /// Attributes of the group, or of the array alone.
    fn attributes(&self, tally: Option<Tally>) -> Map<String, Value> {
        let image = &self.options.image;
        let kept = image.attributes.iter().filter(|(key, _)| !OWN.contains(&key.as_str()));
        let mut attributes: Map<String, Value> = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
        let mut own = Map::new();
        own.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
        match &self.spec.provenance {
            Value::Object(entries) => own.extend(entries.clone()),
            Value::Null => {}
            other => drop(own.insert("provenance".into(), other.clone())),
        }
        let losses = self.losses.texts();
        if !losses.is_empty() {
            own.insert("losses".into(), json!(losses));
        }
        own.insert("axes".into(), json!(self.spec.axes));
        if let Some(statistics) = self.statistics.as_ref().filter(|_| tally.is_some()) {
            let scope = statistics.scope(&self.spec.axes);
            own.insert("windows".into(), json!({"percentiles": [PERCENTILES.0, PERCENTILES.1], "of": scope}));
        }
        if self.misfit().is_none() && !image.plain {
            attributes.extend(self.claim(tally));
        }
        attributes.insert("stackctl".into(), Value::Object(own));
        attributes
    }

    /// What OME-NGFF says of the group.
    fn claim(&self, tally: Option<Tally>) -> Map<String, Value> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.trim_end_matches(".zarr").trim_end_matches(".ome");
        let (axes, image) = (&self.spec.axes, &self.options.image);
        let paths: Vec<String> = (0..=self.levels.len()).map(|i| i.to_string()).collect();
        let whole = vec![1; axes.len()];
        let factors = std::iter::once(&whole).chain(self.levels.iter().map(|l| &l.factor));
        let datasets: Vec<ngff::Dataset<'_>> =
            paths.iter().zip(factors).map(|(path, factor)| ngff::Dataset { path, factor }).collect();
        let version = (self.options.format == Format::V2).then_some("0.4");
        let mut claim = Map::new();
        let multiscale = ngff::multiscale(axes, &datasets, image.method, version, name);
        claim.insert("multiscales".into(), json!([multiscale]));
        let windows = tally.map(Tally::windows).unwrap_or_default();
        if let Some(omero) = display::omero(axes, self.spec.dtype, image, &windows) {
            claim.insert("omero".into(), omero);
        }
        if self.options.format == Format::V2 {
            return claim;
        }
        claim.insert("version".into(), json!("0.5"));
        Map::from_iter([("ome".to_owned(), Value::Object(claim))])
    }

    /// Writes coordinates, and the metadata of arrays and group.
    fn describe(&self, tally: Option<Tally>) -> Result<()> {
        let attributes = self.attributes(tally);
        let plain = self.options.image.plain;
        let (own, group) = if plain { (json!(attributes), json!({})) } else { (json!({}), json!(attributes)) };
        // Every document of an array by the array's path.
        let mut documents: Vec<(String, &str, Value)> = Vec::new();
        let full = (LEVEL.to_owned(), &self.spec, &self.options);
        let below = self.levels.iter().enumerate().map(|(i, l)| ((i + 1).to_string(), &l.spec, &l.options));
        for (path, spec, options) in std::iter::once(full).chain(below) {
            let mut own = own.clone();
            match self.options.format {
                Format::V3 => documents.push((path, "zarr.json", metadata::array_v3(spec, options, &own))),
                Format::V2 => {
                    own["_ARRAY_DIMENSIONS"] = json!(metadata::names(&spec.axes));
                    documents.push((path.clone(), ".zarray", metadata::array_v2(spec, options)));
                    documents.push((path, ".zattrs", own));
                }
            }
        }
        for coordinates in self.coordinates() {
            let (key, bytes) = coordinates.chunk;
            self.open_store()?.put(&key, &bytes)?;
            let name = coordinates.name;
            documents.extend(coordinates.documents.into_iter().map(|(file, d)| (name.clone(), file, d)));
        }
        for (path, file, document) in &documents {
            self.put(&if plain { (*file).to_owned() } else { format!("{path}/{file}") }, document)?;
        }
        if plain { Ok(()) } else { self.describe_group(group, documents) }
    }

    /// Writes the metadata of the group, which repeat those of its arrays.
    fn describe_group(&self, attributes: Value, documents: Vec<(String, &str, Value)>) -> Result<()> {
        match self.options.format {
            Format::V3 => {
                let arrays: Map<String, Value> = documents.into_iter().map(|(path, _, d)| (path, d)).collect();
                let consolidated = json!({"kind": "inline", "must_understand": false, "metadata": arrays});
                let group = json!({"zarr_format": 3, "node_type": "group", "attributes": attributes,
                                   "consolidated_metadata": consolidated});
                self.put("zarr.json", &group)
            }
            Format::V2 => {
                let group = json!({"zarr_format": 2});
                self.put(".zgroup", &group)?;
                self.put(".zattrs", &attributes)?;
                let arrays = documents.into_iter().map(|(path, file, d)| (format!("{path}/{file}"), d));
                let group = [(".zgroup".to_owned(), group), (".zattrs".to_owned(), attributes)];
                let all: Map<String, Value> = group.into_iter().chain(arrays).collect();
                self.put(".zmetadata", &json!({"metadata": all, "zarr_consolidated_format": 1}))
            }
        }
    }

    fn put(&self, key: &str, document: &Value) -> Result<()> {
        let text = serde_json::to_vec_pretty(document).map_err(|e| Error::format(format!("{key}: {e}")))?;
        self.open_store()?.put(key, &text).map(|_| ())
    }

    /// What earlier runs have seen.
    fn remembered(&self, store: &Store) -> Result<Option<Tally>> {
        let Some(statistics) = &self.statistics else { return Ok(None) };
        let mut tally = statistics.tally();
        if !store.done().is_empty() {
            // A record may be shown twice.
            let mut seen = BTreeSet::new();
            store.records(|record| match record.state.strip_prefix(MARK) {
                Some(state) if store.done().contains(&record.unit) && seen.insert(record.unit) => tally.add(state),
                _ => Ok(()),
            })?;
        }
        Ok(Some(tally))
    }
}

/// The colours that were asked for, which must be one for each channel.
fn colours(spec: &Spec, image: &ImageOptions) -> Result<Vec<String>> {
    let colours: Vec<String> = image.colours.iter().map(|c| display::colour(c)).collect::<Result<_>>()?;
    let n = spec.axes.iter().find(|a| a.kind == AxisKind::Channel).map_or(0, |a| a.length);
    if !colours.is_empty() && colours.len() as u64 != n {
        return Err(Error::usage(format!("{} colours for {n} channels: give one for each", colours.len())));
    }
    Ok(colours)
}

impl Consumer for ZarrSink {
    fn wants(&self) -> Wants {
        self.wants.clone()
    }

    fn cost(&self, task: &[u64], _piece: &[u64]) -> Cost {
        let n_chunks =
            n_elements(&task.iter().zip(self.array.chunk_shape()).map(|(t, c)| t.div_ceil(*c)).collect::<Vec<_>>());
        let own = Cost { work_bytes: 0, kept_bytes: self.array.write_bytes(n_chunks) };
        let levels = self.levels.iter().map(|level| {
            let (work_bytes, kept_bytes) = level.task_bytes(task);
            Cost { work_bytes, kept_bytes }
        });
        levels.chain(self.statistics.iter().map(|s| s.cost(task))).fold(own, |sum, cost| sum + cost)
    }

    fn held_bytes(&self) -> u64 {
        let levels = self.levels.iter().map(|l| l.held_bytes(&self.wants.unit, &self.wants.object));
        let statistics = self.statistics.iter().map(Statistics::held_bytes);
        levels.chain(statistics).fold(self.array.held_bytes(), u64::saturating_add)
    }

    fn begin(&mut self, job: &Job) -> Result<()> {
        let ZarrOptions { overwrite, durability, .. } = self.options;
        self.losses = job.losses.clone();
        self.store = Some(super::begin(&self.path, Kind::Folder(is_zarr), overwrite, durability, job)?);
        Ok(())
    }

    fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    fn keep_only(&mut self, units: &BTreeSet<u64>) -> Result<()> {
        self.store.as_mut().map_or(Ok(()), |store| store.keep_only(units))
    }

    fn taker<'a>(&'a self, _task: &Task) -> Result<Box<dyn Taker + 'a>> {
        let store = self.open_store()?;
        Ok(Box::new(ZarrTaker { sink: self, store, full: self.array.encoder(store), levels: None, state: Vec::new() }))
    }

    fn merger(&self) -> Box<dyn Merger + '_> {
        let merging = self.store.as_ref().map(|store| Merging {
            store,
            full: self.array.shards(store),
            levels: self.levels.iter().map(|level| levels::LevelMerger::new(level, store)).collect(),
            tally: self.remembered(store),
            stored: Vec::new(),
            state: MARK.to_vec(),
        });
        Box::new(ZarrMerger { sink: self, merging })
    }

    fn leave(&mut self) -> Result<()> {
        super::leave(&mut self.store)
    }

    fn publish(&mut self, products: &mut [Product]) -> Result<()> {
        super::publish(&mut self.store, products)
    }
}

/// Encodes the chunks of a task at every level, and looks at its values.
struct ZarrTaker<'a> {
    sink: &'a ZarrSink,
    store: &'a Store,
    full: Encoder<'a>,
    /// Of every level below the full resolution, once the block has come.
    levels: Option<Vec<Part>>,
    state: Vec<u8>,
}

impl Taker for ZarrTaker<'_> {
    fn take(&mut self, block: &Block, desk: &mut Desk) -> Result<()> {
        self.full.take(block, desk)?;
        if let Some(statistics) = &self.sink.statistics {
            statistics.look(block, &mut desk.kept, &mut self.state);
        }
        if self.sink.levels.is_empty() {
            return Ok(());
        }
        if self.levels.is_some() {
            return Err(Error::format("levels are made of tasks that come in one block"));
        }
        let (method, mut parts) = (self.sink.options.image.method, Vec::new());
        let mut before: Option<Block> = None;
        for level in &self.sink.levels {
            let next = halve(before.as_ref().unwrap_or(block), &level.step, method, &self.sink.spec.fill)?;
            parts.push(level.part(&next, self.store, desk)?);
            before = Some(next);
        }
        self.levels = Some(parts);
        Ok(())
    }

    fn end(&mut self, desk: &mut Desk) -> Result<Option<Part>> {
        let Some(full) = self.full.end(desk)? else { return Ok(None) };
        let mut parts = vec![full];
        parts.extend(self.levels.take().into_iter().flatten());
        parts.push(Part::State(std::mem::take(&mut self.state)));
        Ok(Some(Part::Many(parts)))
    }
}

/// Puts shards together, and describes the arrays at the end.
struct ZarrMerger<'a> {
    sink: &'a ZarrSink,
    /// Once it has begun.
    merging: Option<Merging<'a>>,
}

struct Merging<'a> {
    store: &'a Store,
    full: Shards<'a>,
    levels: Vec<levels::LevelMerger<'a>>,
    tally: Result<Option<Tally>>,
    /// Files and statistics of the unit in hand.
    stored: Vec<Stored>,
    state: Vec<u8>,
}

impl Merging<'_> {
    fn merge(&mut self, task: &Task, part: Part) -> Result<()> {
        let Part::Many(parts) = part else { return Err(Error::format("a part of another consumer")) };
        let mut parts = parts.into_iter();
        let mut next = || parts.next().ok_or_else(|| Error::format("a part of another consumer"));
        self.full.merge(task, next()?)?;
        self.stored.extend(self.full.stored());
        for level in &mut self.levels {
            level.merge(task, next()?)?;
            self.stored.extend(level.stored());
        }
        let Part::State(state) = next()? else { return Err(Error::format("a part of another consumer")) };
        if let Some(tally) = self.tally.as_mut().map_err(Error::format)? {
            tally.add(&state)?;
            self.state.extend(state);
        }
        if task.ends_unit {
            self.store.record(task.unit, &std::mem::take(&mut self.stored), &self.state)?;
            self.state.truncate(MARK.len());
        }
        Ok(())
    }
}

impl Merger for ZarrMerger<'_> {
    fn merge(&mut self, task: &Task, part: Part) -> Result<()> {
        self.merging.as_mut().map_or(Ok(()), |merging| merging.merge(task, part))
    }

    fn skip(&mut self, task: &Task) -> Result<()> {
        if let Some(merging) = &mut self.merging {
            merging.full.skip(task);
            merging.levels.iter_mut().for_each(|level| level.skip(task));
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Product>> {
        let mut tally = None;
        if let Some(merging) = self.merging {
            merging.full.finish()?;
            merging.levels.into_iter().try_for_each(levels::LevelMerger::finish)?;
            tally = merging.tally?;
        }
        self.sink.describe(tally)?;
        Ok(vec![Product::at(&self.sink.path)])
    }
}

/// Whether `folder` is a Zarr array or group.
fn is_zarr(folder: &Path) -> bool {
    ["zarr.json", ".zgroup", ".zarray"].iter().any(|name| folder.join(name).is_file())
}
