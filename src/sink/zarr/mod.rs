//! Zarr v2 and v3: a group with one array at level path `0`, described as OME-Zarr where the axes allow.
//!
//! Written here rather than by a library, so that the bytes do not depend on the number of threads, memory
//! is bounded by what is in flight, and nothing stands under the output's name before it is whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{OutputOptions, Sharding, Spec};
use crate::axis::Axis;
use crate::codec::Codec;
use crate::consume::{Consumer, Job, Merger, Part, Product, Taker};
use crate::error::{Error, Result};
use crate::grid::n_elements;
use crate::plan::{Cost, Task, Wants};
use crate::store::{Durability, Kind, Store, check_free};

mod array;
mod chunk;
mod defaults;
mod metadata;
mod ngff;

use array::{ArrayWriter, Shards};
pub use defaults::{DEFAULT_MAX_FILES, default_chunks, default_shards};

/// Which Zarr is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Zarr v2 with OME-Zarr 0.4.
    V2,
    /// Zarr v3 with OME-Zarr 0.5.
    V3,
}

impl Format {
    /// Files of metadata that an output has: of the group and of its array.
    pub fn n_metadata_files(self) -> u64 {
        match self {
            Self::V2 => 5,
            Self::V3 => 2,
        }
    }
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
}

/// Why an array of `axes` is not written as an OME-Zarr image, if its axes do not allow it.
pub fn misfit(axes: &[Axis]) -> Option<String> {
    ngff::misfit(axes)
}

/// Path of the full-resolution array inside the group.
const LEVEL: &str = "0";

/// A Zarr group, which takes boxes of whole chunks (clipped to the array). With shards, a task lies in one of them,
/// and the tasks of a shard follow one another.
pub struct ZarrSink {
    path: PathBuf,
    spec: Spec,
    options: ZarrOptions,
    array: ArrayWriter,
    store: Option<Store>,
}

/// The group that will be called `path`.
///
/// # Errors
/// As [`ZarrSink::new`], and if something stands under the name that may not be replaced.
pub fn create(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    let sink = ZarrSink::new(path, spec, &resolved(spec, options)?)?;
    check_free(path, options.overwrite, Kind::Folder(is_zarr))?;
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
    })
}

impl ZarrSink {
    /// The output that will be called `path`.
    ///
    /// # Errors
    /// `Usage` if chunks, shards, codec and format do not fit each other.
    pub fn new(path: &Path, spec: &Spec, options: &ZarrOptions) -> Result<Self> {
        let array = ArrayWriter::new(LEVEL, spec, options)?;
        Ok(Self { path: path.to_owned(), spec: spec.clone(), options: options.clone(), array, store: None })
    }

    /// Chunks or shards of the output if none of them holds fill only.
    pub fn n_objects(&self) -> u64 {
        self.array.n_objects()
    }

    /// Files of the output if none of its chunks or shards holds fill only, metadata included.
    pub fn n_files(&self) -> u64 {
        let n_documents = if self.options.format == Format::V3 { 2 } else { 5 };
        self.array.n_objects().saturating_add(n_documents)
    }

    /// Why the output will not be an OME-Zarr image, if its axes do not allow it.
    pub fn misfit(&self) -> Option<String> {
        ngff::misfit(&self.spec.axes)
    }

    fn open_store(&self) -> Result<&Store> {
        self.store.as_ref().ok_or_else(|| Error::usage(format!("{}: was never begun", self.path.display())))
    }

    /// Attributes of the group.
    fn attributes(&self) -> Map<String, Value> {
        let mut attributes = Map::new();
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.trim_end_matches(".zarr").trim_end_matches(".ome");
        if self.misfit().is_none() {
            let axes = &self.spec.axes;
            let omero = ngff::omero(axes, self.spec.dtype);
            match self.options.format {
                Format::V2 => {
                    attributes.insert("multiscales".into(), json!([ngff::multiscale(axes, LEVEL, Some("0.4"), name)]));
                    if let Some(omero) = omero {
                        attributes.insert("omero".into(), omero);
                    }
                }
                Format::V3 => {
                    let mut ome = Map::new();
                    ome.insert("version".into(), json!("0.5"));
                    ome.insert("multiscales".into(), json!([ngff::multiscale(axes, LEVEL, None, name)]));
                    if let Some(omero) = omero {
                        ome.insert("omero".into(), omero);
                    }
                    attributes.insert("ome".into(), Value::Object(ome));
                }
            }
        }
        let mut own = Map::new();
        own.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
        match &self.spec.provenance {
            Value::Object(entries) => own.extend(entries.clone()),
            Value::Null => {}
            other => drop(own.insert("provenance".into(), other.clone())),
        }
        own.insert("axes".into(), json!(self.spec.axes));
        attributes.insert("stackctl".into(), Value::Object(own));
        attributes
    }

    /// Writes the metadata of array and group.
    fn describe(&self) -> Result<()> {
        let attributes = self.attributes();
        match self.options.format {
            Format::V3 => {
                let array = metadata::array_v3(&self.spec, &self.options, &json!({}));
                self.put(&format!("{LEVEL}/zarr.json"), &array)?;
                let consolidated = json!({"kind": "inline", "must_understand": false, "metadata": {LEVEL: array}});
                let group = json!({"zarr_format": 3, "node_type": "group", "attributes": attributes,
                                   "consolidated_metadata": consolidated});
                self.put("zarr.json", &group)
            }
            Format::V2 => {
                let array = metadata::array_v2(&self.spec, &self.options);
                let of_array = json!({"_ARRAY_DIMENSIONS": metadata::names(&self.spec.axes)});
                let group = json!({"zarr_format": 2});
                let mut all = Map::new();
                let documents =
                    [(".zgroup", group), (".zattrs", json!(attributes)), ("0/.zarray", array), ("0/.zattrs", of_array)];
                for (key, document) in documents {
                    self.put(key, &document)?;
                    all.insert(key.into(), document);
                }
                self.put(".zmetadata", &json!({"metadata": all, "zarr_consolidated_format": 1}))
            }
        }
    }

    fn put(&self, key: &str, document: &Value) -> Result<()> {
        let text = serde_json::to_vec_pretty(document).map_err(|e| Error::format(format!("{key}: {e}")))?;
        self.open_store()?.put(key, &text).map(|_| ())
    }
}

impl Consumer for ZarrSink {
    fn wants(&self) -> Wants {
        let (unit, object) = (self.array.chunk_shape().to_vec(), self.array.object_shape().to_vec());
        Wants { unit, object, across: self.options.shards.is_none(), folds: None }
    }

    fn cost(&self, task: &[u64], _piece: &[u64]) -> Cost {
        let n_chunks =
            n_elements(&task.iter().zip(self.array.chunk_shape()).map(|(t, c)| t.div_ceil(*c)).collect::<Vec<_>>());
        Cost { work_bytes: 0, kept_bytes: self.array.write_bytes(n_chunks) }
    }

    fn held_bytes(&self) -> u64 {
        self.array.held_bytes()
    }

    fn begin(&mut self, job: &Job) -> Result<()> {
        let ZarrOptions { overwrite, durability, .. } = self.options;
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
        Ok(Box::new(self.array.encoder(self.open_store()?)))
    }

    fn merger(&self) -> Box<dyn Merger + '_> {
        let shards = self.store.as_ref().map(|store| self.array.shards(store));
        Box::new(ZarrMerger { sink: self, shards })
    }

    fn publish(&mut self, products: &mut [Product]) -> Result<()> {
        super::publish(&mut self.store, products)
    }
}

/// Puts shards together, and describes the array at the end.
struct ZarrMerger<'a> {
    sink: &'a ZarrSink,
    shards: Option<Shards<'a>>,
}

impl Merger for ZarrMerger<'_> {
    fn merge(&mut self, task: &Task, part: Part) -> Result<()> {
        self.shards.as_mut().map_or(Ok(()), |shards| shards.merge(task, part))
    }

    fn skip(&mut self, task: &Task) -> Result<()> {
        self.shards.iter_mut().for_each(|shards| shards.skip(task));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Product>> {
        self.shards.map_or(Ok(()), Shards::finish)?;
        self.sink.describe()?;
        Ok(vec![Product::at(&self.sink.path)])
    }
}

/// Whether `folder` is a Zarr array or group.
fn is_zarr(folder: &Path) -> bool {
    ["zarr.json", ".zgroup", ".zarray"].iter().any(|name| folder.join(name).is_file())
}
