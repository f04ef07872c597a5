//! Zarr v2 and v3: a group with an array at level path `0` and smaller ones after it, described as OME-Zarr where the
//! axes allow; or one array alone.
//!
//! Written here rather than by a library, so that the bytes do not depend on the number of threads, memory
//! is bounded by what is in flight, and nothing stands under the output's name before it is whole.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::{OutputOptions, Sharding, Spec};
use crate::array::Losses;
use crate::axis::{Axis, AxisKind};
use crate::block::{Block, size_bytes};
use crate::bytes;
use crate::codec::Codec;
use crate::consume::levels::{Levels, Method};
use crate::consume::statistics::{ChannelStatistics, PERCENTILES, Statistics};
use crate::consume::{Consumer, Desk, Job, Merger, Part, Place, Product, Taker};
use crate::digest;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::Region;
use crate::plan::{Cost, Task, Wants};
use crate::provenance::Ledger;
use crate::store::sums::{self, CHECKSUMS};
use crate::store::{Durability, OutputKind, Store, Stored};

mod additions;
mod archive;
pub(crate) mod array;
mod chunk;
mod collection;
mod coordinates;
mod defaults;
mod display;
pub(crate) mod levels;
mod links;
mod metadata;
mod ngff;
mod parquet;

pub use additions::Image;
use archive::Archive;
use array::{ArrayWriter, ChunkEncoder, Container};
pub use collection::{Collection, begin_label, is_label, levels_of_labelled, list_label};
use coordinates::{Coordinates, coordinates};
pub use defaults::{DEFAULT_MAX_FILES, default_chunks, default_shards};
pub use links::{References, kind as kind_of_links};

/// Which Zarr is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZarrFormat {
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
    /// Whether all of it is one zip archive.
    pub is_archived: bool,
    /// What the image is called; as its folder if `None`.
    pub name: Option<String>,
    /// Attributes of the image that this is a copy of, those of OME-NGFF without their version.
    pub attributes: Map<String, Value>,
    /// Those of its array.
    pub array_attributes: Map<String, Value>,
}

impl ImageOptions {
    /// Whether elements are labels of objects rather than brightness.
    pub fn is_label(&self) -> bool {
        self.attributes.contains_key("image-label")
    }

    /// What the one channel of an image without an axis of channels is called, if anything says so.
    pub fn only_channel(&self) -> Option<&str> {
        match self.attributes.get("omero")?["channels"].as_array()?.as_slice() {
            [only] => only["label"].as_str(),
            _ => None,
        }
    }
}

/// How the array is cut, encoded and put down.
#[derive(Clone, Debug)]
pub struct ZarrOptions {
    /// Which Zarr.
    pub format: ZarrFormat,
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

/// Why an array of `axes` is not written as an OME-Zarr image, and the way out, if its axes do not allow it.
pub fn misfit(axes: &[Axis]) -> Option<String> {
    let why = ngff::misfit(axes)?;
    let extra = ngff::extra(axes);
    let [first, ..] = &extra[..] else { return Some(why) };
    let all = extra.join(",");
    Some(format!("{why}: --by {all} writes an image for each value that names have, --select {first}=0 takes one"))
}

/// A name for every channel of `axis`: its own, its wavelength, or its number.
pub fn channel_labels(axis: &Axis) -> Vec<String> {
    display::labels(axis)
}

/// Name and colour, as six hexadecimal digits, of every channel of an image of `axes`.
pub fn shown(axes: &[Axis], dtype: DType, image: &ImageOptions) -> Vec<(String, String)> {
    let colours = image.colours.iter().filter_map(|c| display::colour(c).ok()).collect();
    let image = ImageOptions { contrast: Contrast::Kept, colours, ..image.clone() };
    let omero = display::omero(axes, dtype, &image, &[]);
    let text = |channel: &Value, key: &str| channel[key].as_str().unwrap_or_default().to_owned();
    let channels = omero.as_ref().and_then(|o| o["channels"].as_array()).cloned().unwrap_or_default();
    let all: Vec<_> = channels.iter().map(|c| (text(c, "label"), text(c, "color"))).collect();
    if all.is_empty() { vec![("grey".into(), "FFFFFF".into())] } else { all }
}

/// Path of the full-resolution array inside the group.
const LEVEL: &str = "0";
/// What the statistics of a unit are recorded behind: nothing else that is recorded begins so.
const MARK: &[u8; 8] = b"channels";
/// Inputs that are listed in the metadata; of more there is a file.
const MOST_LISTED: usize = 1000;
/// Last part of its key.
const INPUTS: &str = "stackctl.inputs.json";
/// Attributes that are written anew.
const OWN: [&str; 6] = ["ome", "multiscales", "omero", "image-label", "stackctl", "_ARRAY_DIMENSIONS"];

/// A Zarr group, which takes boxes of whole chunks (clipped to the array). With shards, a task lies in one of them,
/// and the tasks of a shard follow one another.
pub struct ZarrSink {
    place: Place,
    spec: Spec,
    options: ZarrOptions,
    array: ArrayWriter,
    levels: Vec<levels::Level>,
    wants: Wants,
    statistics: Option<Statistics>,
    /// The image that levels are added to, whose full resolution stands.
    image: Option<Image>,
    /// All that is written, if it is one archive.
    archive: Option<Mutex<Archive>>,
    losses: Losses,
    ledger: Ledger,
}

/// What such an output is to the store.
pub(super) const KIND: OutputKind = OutputKind::Folder(is_zarr);

/// The group that will be called `path`.
///
/// # Errors
/// As [`ZarrSink::new`], and if something stands under the name that may not be replaced.
pub fn create(path: &Path, spec: &Spec, output: &OutputOptions) -> Result<Box<dyn Consumer>> {
    let options = resolved(spec, output, is_archive(path))?;
    let sink = ZarrSink::new(path, spec, &options)?;
    output.check_free(path, if options.image.is_archived { OutputKind::File } else { KIND })?;
    Ok(Box::new(sink))
}

/// What the options of an output mean for this format.
fn resolved(spec: &Spec, options: &OutputOptions, is_archived: bool) -> Result<ZarrOptions> {
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
        Sharding::Auto if options.format == ZarrFormat::V2 || is_archived => None,
        Sharding::Auto => Some(default_shards(&spec.axes, &chunks, spec.dtype, DEFAULT_MAX_FILES)),
        Sharding::None => None,
        Sharding::Shape(shape) => Some(shape.clone()),
    };
    Ok(ZarrOptions {
        format: options.format,
        chunks,
        shards,
        codec: options.codec.clone().unwrap_or_default(),
        overwrite: options.overwrite,
        durability: options.durability,
        image: ImageOptions { is_archived, ..options.image.clone() },
    })
}

/// Whether a Zarr that is called `path` is one archive.
pub fn is_archive(path: &Path) -> bool {
    matches!(super::extension(path).as_str(), "ozx" | "zip")
}

impl ZarrSink {
    /// The output that will be called `path`.
    ///
    /// # Errors
    /// `Usage` if chunks, shards, codec, levels and format do not fit each other.
    pub fn new(path: &Path, spec: &Spec, options: &ZarrOptions) -> Result<Self> {
        let image = &options.image;
        options.codec.check_zarr()?;
        if image.plain && image.coordinates {
            return Err(Error::usage("--coordinates lie beside the array in a group: leave --plain out"));
        }
        if image.is_archived && options.format == ZarrFormat::V2 && super::extension(path) == "ozx" {
            return Err(Error::usage(format!("{}: .ozx holds OME-Zarr 0.5: use .zip for 0.4", path.display())));
        }
        let array = ArrayWriter::new(if image.plain { "" } else { LEVEL }, spec, options)?;
        let mut options = options.clone();
        options.image.colours = colours(spec, image)?;
        let levels = levels::levels(spec, &options)?;
        let wants = levels::wants(&spec.shape(), &array, &levels, options.shards.is_some());
        let has_window = !image.plain
            && !image.is_label()
            && matches!(image.contrast, Contrast::Kept | Contrast::Data)
            && ngff::misfit(&spec.axes).is_none();
        let statistics = Some(()).filter(|()| has_window).and_then(|()| Statistics::new(&spec.axes, spec.dtype));
        let kind = if options.image.is_archived { OutputKind::File } else { OutputKind::Folder(is_zarr) };
        let place = Place::new(path, kind, options.overwrite, options.durability);
        let archive = options.image.is_archived.then(Mutex::default);
        Ok(Self {
            place,
            spec: spec.clone(),
            options,
            array,
            levels,
            wants,
            statistics,
            image: None,
            archive,
            losses: Losses::default(),
            ledger: Ledger::default(),
        })
    }

    /// Levels that are added to `image`, whose array `spec` is.
    ///
    /// # Errors
    /// As [`ZarrSink::new`].
    pub fn adding(image: &Image, spec: &Spec, options: &ZarrOptions) -> Result<Self> {
        Ok(Self { image: Some(image.clone()), ..Self::new(&image.place(), spec, options)? })
    }

    /// Shapes of the levels, the full resolution first.
    pub fn level_shapes(&self) -> Vec<Vec<u64>> {
        std::iter::once(self.spec.shape()).chain(self.levels.iter().map(|l| l.spec.shape())).collect()
    }

    /// Files of the output if none of its chunks or shards holds fill only, metadata included.
    pub fn n_files(&self) -> u64 {
        if self.archive.is_some() { 1 } else { self.n_entries() }
    }

    fn n_entries(&self) -> u64 {
        let full = if self.image.is_some() { 0 } else { self.array.n_objects() };
        let n_objects = self.levels.iter().fold(full, |n, l| n.saturating_add(l.array.n_objects()));
        n_objects.saturating_add(self.n_metadata_files())
    }

    /// Files of metadata, and of coordinates.
    pub fn n_metadata_files(&self) -> u64 {
        if self.image.is_some() {
            let each = if self.options.format == ZarrFormat::V2 { 2 } else { 1 };
            return each * (1 + self.levels.len() as u64) + 1;
        }
        let (group, array) = match (self.options.format, self.options.image.plain) {
            (ZarrFormat::V3, true) => (0, 1),
            (ZarrFormat::V3, false) => (1, 1),
            (ZarrFormat::V2, true) => (0, 2),
            (ZarrFormat::V2, false) => (3, 2),
        };
        let (n_coordinates, checksums) = (self.coordinates().len() as u64, 1);
        group + array * (1 + self.levels.len() as u64) + (array + 1) * n_coordinates + checksums
    }

    /// The part of the full resolution that the object at `key` comes of, if it is one of pixels.
    pub fn region_of(&self, key: &str) -> Option<Region> {
        let whole = vec![1; self.spec.axes.len()];
        let arrays = std::iter::once((&self.array, &whole)).chain(self.levels.iter().map(|l| (&l.array, &l.factor)));
        arrays.into_iter().find_map(|(array, factor)| {
            let mut region = array.region_of(key)?;
            let scale = |n: &mut Vec<u64>| n.iter_mut().zip(factor).for_each(|(n, f)| *n *= f);
            scale(&mut region.origin);
            scale(&mut region.shape);
            region.intersect(&Region::whole(&self.spec.shape()))
        })
    }

    /// Why the output will not be an OME-Zarr image, if its axes do not allow it.
    pub fn misfit(&self) -> Option<String> {
        ngff::misfit(&self.spec.axes)
    }

    fn coordinates(&self) -> Vec<Coordinates> {
        if self.options.image.coordinates { coordinates(&self.spec.axes, self.options.format) } else { Vec::new() }
    }

    /// Attributes of the group, or of the array alone; the elements have this digest.
    fn attributes(&self, tally: Option<ChannelStatistics>, digest: u64) -> Map<String, Value> {
        let image = &self.options.image;
        let mut attributes = image.attributes.clone();
        attributes.retain(|key, _| !OWN.contains(&key.as_str()));
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
        match self.ledger.n_inputs() {
            0 => {}
            n if n > MOST_LISTED => drop(own.insert("inputs_file".into(), json!(self.beside(INPUTS)))),
            _ => drop(own.insert("inputs".into(), json!(self.ledger.inputs().collect::<Vec<_>>()))),
        }
        own.insert("elements_filled".into(), json!(self.ledger.n_absent()));
        own.insert("crc64nvme".into(), json!(digest::text(digest)));
        own.insert("axes".into(), json!(self.spec.axes));
        if self.archive.is_none() {
            own.insert("checksums".into(), json!(self.beside(CHECKSUMS)));
        }
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
    fn claim(&self, tally: Option<ChannelStatistics>) -> Map<String, Value> {
        let image = &self.options.image;
        let name = self.place.path().file_name().unwrap_or_default().to_string_lossy();
        let bare = |name: &str, end: &str| name.strip_suffix(end).unwrap_or(name).to_owned();
        let name = [".ozx", ".zip", ".zarr", ".ome"].iter().fold(name.into_owned(), |name, end| bare(&name, end));
        let name = image.name.clone().unwrap_or(name);
        let axes = &self.spec.axes;
        let paths: Vec<String> = (0..=self.levels.len()).map(|i| i.to_string()).collect();
        let whole = vec![1; axes.len()];
        let factors = std::iter::once(&whole).chain(self.levels.iter().map(|l| &l.factor));
        let datasets: Vec<ngff::Dataset<'_>> =
            paths.iter().zip(factors).map(|(path, factor)| ngff::Dataset { path, factor }).collect();
        let version = (self.options.format == ZarrFormat::V2).then_some("0.4");
        let mut claim = Map::new();
        let multiscale = ngff::multiscale(axes, &datasets, image.method, version, &name);
        claim.insert("multiscales".into(), json!([multiscale]));
        let windows = tally.map(ChannelStatistics::windows).unwrap_or_default();
        let omero = display::omero(axes, self.spec.dtype, image, &windows);
        if let Some(omero) = omero.filter(|_| !image.is_label()) {
            claim.insert("omero".into(), omero);
        }
        if let Some(Value::Object(label)) = image.attributes.get("image-label") {
            let mut label = label.clone();
            match version {
                Some(version) => drop(label.insert("version".into(), json!(version))),
                None => drop(label.remove("version")),
            }
            claim.insert("image-label".into(), Value::Object(label));
        }
        if self.options.format == ZarrFormat::V2 {
            return claim;
        }
        claim.insert("version".into(), json!("0.5"));
        // Neuroglancer, up to 2.41 at least, looks for channels where version 0.4 has them.
        let channels = claim.get("omero").map(|omero| ("omero".to_owned(), omero.clone()));
        channels.into_iter().chain([("ome".to_owned(), Value::Object(claim))]).collect()
    }

    /// Writes the metadata of levels that are added, and of the group they are added to.
    fn describe_added(&self, image: &Image) -> Result<()> {
        let mut arrays = Vec::new();
        for (i, level) in self.levels.iter().enumerate() {
            self.describe_array(&(i + 1).to_string(), &level.spec, &level.options, &json!({}), &mut arrays);
        }
        for (path, file, document) in &arrays {
            self.put(&format!("{path}/{file}"), document)?;
        }
        let group = image.documents(&self.levels, &self.options, &arrays)?;
        group.iter().try_for_each(|(file, document)| self.put(file, document))?;
        image.checksums().map_or(Ok(()), |before| self.place.open()?.seal(CHECKSUMS, Some(&before)))
    }

    /// Adds the documents of an array at `path`.
    fn describe_array(
        &self,
        path: &str,
        spec: &Spec,
        options: &ZarrOptions,
        own: &Value,
        documents: &mut Vec<(String, &str, Value)>,
    ) {
        let mut own = own.clone();
        match self.options.format {
            ZarrFormat::V3 => documents.push((path.into(), "zarr.json", metadata::array_v3(spec, options, &own))),
            ZarrFormat::V2 => {
                own["_ARRAY_DIMENSIONS"] = json!(metadata::names(&spec.axes));
                documents.push((path.into(), ".zarray", metadata::array_v2(spec, options)));
                documents.push((path.into(), ".zattrs", own));
            }
        }
    }

    /// Writes coordinates, and the metadata of arrays and group.
    fn describe(&self, tally: Option<ChannelStatistics>, digest: u64) -> Result<()> {
        if let Some(image) = &self.image {
            return self.describe_added(image);
        }
        let attributes = self.attributes(tally, digest);
        let plain = self.options.image.plain;
        let mut own = self.options.image.array_attributes.clone();
        let group = if plain {
            own.extend(attributes);
            json!({})
        } else {
            json!(attributes)
        };
        // Every document of an array by the array's path.
        let mut documents: Vec<(String, &str, Value)> = Vec::new();
        let full = (LEVEL.to_owned(), &self.spec, &self.options);
        let below = self.levels.iter().enumerate().map(|(i, l)| ((i + 1).to_string(), &l.spec, &l.options));
        for (path, spec, options) in std::iter::once(full).chain(below) {
            // Smaller levels come behind.
            self.describe_array(&path, spec, options, &json!(std::mem::take(&mut own)), &mut documents);
        }
        for coordinates in self.coordinates() {
            let (key, bytes) = coordinates.chunk;
            self.store_object(&key, &bytes)?;
            let name = coordinates.name;
            documents.extend(coordinates.documents.into_iter().map(|(file, d)| (name.clone(), file, d)));
        }
        for (path, file, document) in &documents {
            self.put(&if plain { (*file).to_owned() } else { format!("{path}/{file}") }, document)?;
        }
        if !plain {
            self.describe_group(group, documents)?;
        }
        if self.ledger.n_inputs() > MOST_LISTED {
            let text = |input| serde_json::to_string(&input).map_err(Error::format);
            let list = self.ledger.inputs().map(text).collect::<Result<Vec<String>>>()?;
            self.store_object(&self.beside(INPUTS), format!("[\n{}\n]\n", list.join(",\n")).as_bytes())?;
        }
        // An archive has checksums of its own.
        if self.archive.is_some() { Ok(()) } else { self.place.open()?.seal(&self.beside(CHECKSUMS), None) }
    }

    /// Key of what only we read: readers list groups, and pass over what they do not know in an array.
    fn beside(&self, name: &str) -> String {
        if self.options.image.plain { name.to_owned() } else { format!("{LEVEL}/{name}") }
    }

    /// Writes the metadata of the group, which repeat those of its arrays.
    fn describe_group(&self, attributes: Value, documents: Vec<(String, &str, Value)>) -> Result<()> {
        match self.options.format {
            ZarrFormat::V3 => {
                let arrays: Map<String, Value> = documents.into_iter().map(|(path, _, d)| (path, d)).collect();
                let consolidated = json!({"kind": "inline", "must_understand": false, "metadata": arrays});
                let group = json!({"zarr_format": 3, "node_type": "group", "attributes": attributes,
                                   "consolidated_metadata": consolidated});
                self.put("zarr.json", &group)
            }
            ZarrFormat::V2 => {
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

    /// The archive, as what takes chunks.
    fn container(&self) -> Option<&Mutex<dyn Container>> {
        self.archive.as_ref().map(|archive| archive as _)
    }

    fn put(&self, key: &str, document: &Value) -> Result<()> {
        self.store_object(key, &settled(document).map_err(|e| e.at(key))?)
    }

    fn store_object(&self, key: &str, bytes: &[u8]) -> Result<()> {
        match &self.archive {
            Some(archive) => archive.lock().unwrap_or_else(PoisonError::into_inner).put(self.place.open()?, key, bytes),
            None => self.place.open()?.put(key, bytes).map(|_| ()),
        }
    }

    /// What earlier runs have seen; an archive takes in what they have written.
    fn remembered(&self) -> Result<Seen> {
        let seen = Seen { digest: 0, tally: self.statistics.as_ref().map(Statistics::tally) };
        let mut archive = self.archive.as_ref().map(|archive| {
            let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
            *archive = Archive::default();
            archive
        });
        super::remembered(&self.place, seen, |seen, mut state| {
            if let Some(archive) = &mut archive
                && let Some((n_bytes, rest)) = state.split_first_chunk::<8>()
            {
                let n_bytes = (u64::from_le_bytes(*n_bytes) as usize).min(rest.len());
                let (entries, rest) = rest.split_at(n_bytes);
                archive.add(entries)?;
                state = rest;
            }
            state.strip_prefix(MARK).map_or(Ok(()), |state| seen.add(state))
        })
    }
}

/// A document as text, whose checksum is that of what it says beside how it was made.
fn settled(document: &Value) -> Result<Vec<u8>> {
    let text = |document| serde_json::to_vec_pretty(document).map_err(Error::format);
    let (mut bytes, mut rest) = (text(document)?, document.clone());
    if forget_origin(&mut rest) {
        sums::settle(&mut bytes, crc32c::crc32c(&text(&rest)?));
    }
    Ok(bytes)
}

/// Takes from a document, and from those that it repeats, how they were made; says whether anything did.
fn forget_origin(document: &mut Value) -> bool {
    let Some(entries) = document.as_object_mut() else { return false };
    let own = entries.remove("stackctl").is_some();
    entries.values_mut().fold(own, |any, entry| forget_origin(entry) || any)
}

/// What was seen of the values: a sum that the digest is made of, and counts of channels.
struct Seen {
    digest: u64,
    tally: Option<ChannelStatistics>,
}

impl Seen {
    /// Adds the state that a taker, or a unit, left.
    fn add(&mut self, state: &[u8]) -> Result<()> {
        let Some((sum, counts)) = state.split_first_chunk() else {
            return Err(Error::format("a part of another consumer"));
        };
        self.digest ^= u64::from_le_bytes(*sum);
        self.tally.as_mut().map_or(Ok(()), |tally| tally.add(counts))
    }
}

/// Refuses what is no colour of a channel.
///
/// # Errors
/// `Usage`, with names of those that are.
pub fn check_colour(text: &str) -> Result<()> {
    display::colour(text).map(|_| ()).map_err(|e| e.at("--channel-colors"))
}

/// The colours that were asked for, which must be one for each channel.
fn colours(spec: &Spec, image: &ImageOptions) -> Result<Vec<String>> {
    let colours: Vec<String> = image.colours.iter().map(|c| display::colour(c)).collect::<Result<_>>()?;
    let n = spec.axes.iter().find(|a| a.kind == AxisKind::Channel).map_or(0, |a| a.length);
    if !colours.is_empty() && colours.len() as u64 != n {
        return Err(Error::usage(format!(
            "--channel-colors {}: there are {n} channels: give one for each",
            image.colours.join(",")
        )));
    }
    Ok(colours)
}

impl Consumer for ZarrSink {
    fn wants(&self) -> Wants {
        self.wants.clone()
    }

    fn cost(&self, task: &[u64], _piece: &[u64]) -> Cost {
        let levels = self.levels.iter().map(|level| level.cost(task));
        levels.chain(self.statistics.iter().map(|s| s.cost(task))).fold(self.array.cost(task), |sum, cost| sum + cost)
    }

    fn held_bytes(&self) -> u64 {
        let levels = self.levels.iter().map(|l| l.held_bytes(&self.wants.unit, &self.wants.object));
        let statistics = self.statistics.iter().map(Statistics::held_bytes);
        let archive = self.archive.iter().map(|_| Archive::held_bytes(self.n_entries()));
        let sent = bytes::is_remote(self.place.path()).then_some(bytes::SENT_BYTES);
        levels.chain(statistics).chain(archive).chain(sent).fold(self.array.held_bytes(), u64::saturating_add)
    }

    fn begin(&mut self, job: &Job) -> Result<()> {
        self.losses = job.losses.clone();
        self.ledger = job.ledger.clone();
        self.archive = self.archive.take().map(|_| Mutex::default());
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
        let (full, state) = (self.array.encoder(store), Vec::new());
        Ok(Box::new(ZarrTaker { sink: self, store, full, levels: None, digest: 0, state }))
    }

    fn merger(&self) -> Box<dyn Merger + '_> {
        let merging = self.place.store().map(|store| Merging {
            store,
            parts: levels::Resolutions::new(&self.array, &self.levels, store, self.container()),
            seen: self.remembered(),
            archive: self.archive.as_ref(),
            stored: Vec::new(),
            digest: 0,
            counts: Vec::new(),
        });
        Box::new(ZarrMerger { sink: self, merging })
    }

    fn keeper(&self) -> Result<Box<dyn Merger + '_>> {
        match self.archive {
            Some(_) => {
                Err(Error::unsupported("an archive is written from its beginning to its end: use .zarr to share"))
            }
            None => Ok(self.merger()),
        }
    }
}

/// Encodes the chunks of a task at every level, and looks at its values.
struct ZarrTaker<'a> {
    sink: &'a ZarrSink,
    store: &'a Store,
    full: ChunkEncoder<'a>,
    /// Of every level below the full resolution, once the block has come.
    levels: Option<Vec<Part>>,
    digest: u64,
    /// Of channels.
    state: Vec<u8>,
}

impl Taker for ZarrTaker<'_> {
    fn take(&mut self, block: &Block, desk: &mut Desk) -> Result<()> {
        if self.sink.image.is_none() {
            self.full.take(block, desk)?;
            self.digest ^= digest::of_block(&self.sink.spec.shape(), block);
        }
        if let Some(statistics) = &self.sink.statistics {
            statistics.look(block, &mut desk.kept, &mut self.state);
        }
        if self.sink.levels.is_empty() {
            return Ok(());
        }
        if self.levels.is_some() {
            return Err(Error::format("levels are made of tasks that come in one block"));
        }
        let Self { sink, store, .. } = *self;
        let parts = levels::parts(&sink.levels, block, sink.options.image.method, &sink.spec.fill, store, desk)?;
        self.levels = Some(parts);
        Ok(())
    }

    fn end(&mut self, desk: &mut Desk) -> Result<Option<Part>> {
        let Some(full) = self.full.end(desk)? else { return Ok(None) };
        let mut parts = vec![full];
        parts.extend(self.levels.take().into_iter().flatten());
        parts.push(Part::State([&self.digest.to_le_bytes()[..], &self.state].concat()));
        Ok(Some(Part::Many(parts)))
    }
}

/// Gives chunks their places, and describes the arrays at the end.
struct ZarrMerger<'a> {
    sink: &'a ZarrSink,
    /// Once it has begun.
    merging: Option<Merging<'a>>,
}

struct Merging<'a> {
    store: &'a Store,
    parts: levels::Resolutions<'a>,
    seen: Result<Seen>,
    archive: Option<&'a Mutex<Archive>>,
    /// Files, digest and statistics of the unit in hand.
    stored: Vec<Stored>,
    digest: u64,
    counts: Vec<u8>,
}

impl Merging<'_> {
    fn merge(&mut self, task: &Task, part: Part) -> Result<()> {
        let (stored, seen) = self.parts.merge(part)?;
        self.stored.extend(stored);
        let Some(Part::State(state)) = seen else { return Err(Error::format("a part of another consumer")) };
        self.seen.as_mut().map_err(Error::format)?.add(&state)?;
        if let Some((sum, counts)) = state.split_first_chunk() {
            self.digest ^= u64::from_le_bytes(*sum);
            self.counts.extend_from_slice(counts);
        }
        if task.ends_unit {
            let mut state = Vec::new();
            if let Some(archive) = self.archive {
                let (stored, entries) = archive.lock().unwrap_or_else(PoisonError::into_inner).written();
                self.stored.extend(stored);
                state.extend((entries.len() as u64).to_le_bytes());
                state.extend(entries);
            }
            state.extend(MARK);
            state.extend(std::mem::take(&mut self.digest).to_le_bytes());
            state.append(&mut self.counts);
            self.store.record(task.unit, &std::mem::take(&mut self.stored), &state)?;
        }
        Ok(())
    }
}

impl Merger for ZarrMerger<'_> {
    fn place(&mut self, task: &Task, part: Part) -> Result<Part> {
        match &mut self.merging {
            Some(merging) => merging.parts.place(task, part),
            None => Ok(part),
        }
    }

    fn merge(&mut self, task: &Task, part: Part) -> Result<()> {
        self.merging.as_mut().map_or(Ok(()), |merging| merging.merge(task, part))
    }

    fn skip(&mut self, task: &Task) -> Result<()> {
        if let Some(merging) = &mut self.merging {
            merging.parts.skip(task);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Product>> {
        let (mut tally, mut sum) = (None, 0);
        if let Some(merging) = self.merging {
            merging.parts.finish()?;
            let seen = merging.seen?;
            (tally, sum) = (seen.tally, seen.digest);
        }
        let spec = &self.sink.spec;
        self.sink.describe(tally, digest::whole(sum, size_bytes(&spec.shape(), spec.dtype)))?;
        if let Some(archive) = &self.sink.archive {
            let archive = std::mem::take(&mut *archive.lock().unwrap_or_else(PoisonError::into_inner));
            archive.finish(self.sink.place.open()?, self.sink.options.format)?;
        }
        Ok(vec![Product::at(self.sink.place.path())])
    }
}

/// The ending of a path, if there is one.
fn extension_of(path: Option<&Path>) -> String {
    path.map_or_else(String::new, super::extension)
}

/// Whether `folder` is a Zarr array or group.
pub fn is_zarr(folder: &Path) -> bool {
    ["zarr.json", ".zgroup", ".zarray"].iter().any(|name| folder.join(name).is_file())
}
