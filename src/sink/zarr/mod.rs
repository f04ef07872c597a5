//! Zarr v2 and v3: a group with one array at level path `0`, described as OME-Zarr where the axes allow.
//!
//! Written here rather than by a library, so that the bytes do not depend on the number of threads, memory
//! is bounded by what is in flight, and nothing stands under the output's name before it is whole.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::store::{Durability, Store};
use super::{Sink, Spec, Written};
use crate::axis::Axis;
use crate::block::Block;
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::source::Scratch;

mod array;
mod chunk;
mod defaults;
mod metadata;
mod ngff;

use array::{ArrayWriter, Encoded};
pub use defaults::{DEFAULT_MAX_FILES, default_chunks, default_shards};

/// Which Zarr is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Zarr v2 with OME-Zarr 0.4.
    V2,
    /// Zarr v3 with OME-Zarr 0.5.
    V3,
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

/// A Zarr group under construction.
///
/// Blocks are boxes of whole chunks (clipped to the array). With shards, a block lies in one of them, and
/// in plan order the blocks of a shard follow one another.
pub struct ZarrSink {
    spec: Spec,
    options: ZarrOptions,
    array: ArrayWriter,
    store: Store,
}

/// What an output will take, known before anything is written.
pub struct Footprint(ArrayWriter);

impl Footprint {
    /// Of the output that [`ZarrSink::create`] would start.
    ///
    /// # Errors
    /// `Usage` if chunks, shards, codec and format do not fit each other.
    pub fn new(spec: &Spec, options: &ZarrOptions) -> Result<Self> {
        ArrayWriter::new(LEVEL, spec, options).map(Self)
    }

    /// As [`Sink::unit`].
    pub fn unit(&self) -> &[u64] {
        self.0.chunk_shape()
    }

    /// As [`Sink::write_bytes`].
    pub fn write_bytes(&self, n_units: u64) -> u64 {
        self.0.write_bytes(n_units)
    }

    /// Shape of what one file holds: a shard, or a chunk.
    pub fn object_shape(&self) -> &[u64] {
        self.0.object_shape()
    }

    /// Files of the array if none of them holds fill only, without the metadata.
    pub fn n_objects(&self) -> u64 {
        self.0.n_objects()
    }

    /// Memory that stays in use while the output is written, in bytes.
    pub fn held_bytes(&self) -> u64 {
        self.0.held_bytes()
    }
}

/// What writing a block came to; to be given to [`Sink::commit`].
pub struct Receipt(Encoded);

impl ZarrSink {
    /// Starts the output that will be called `path`.
    ///
    /// # Errors
    /// `Usage` if chunks, shards, codec and format do not fit each other, or something stands under the
    /// name that may not be replaced; `Io` if the place cannot be written.
    pub fn create(path: &Path, spec: &Spec, options: &ZarrOptions) -> Result<Self> {
        let array = ArrayWriter::new(LEVEL, spec, options)?;
        let store = Store::folder(path, options.overwrite, options.durability, is_zarr)?;
        Ok(Self { spec: spec.clone(), options: options.clone(), array, store })
    }

    /// Shape of what one file holds: a shard, or a chunk.
    pub fn object_shape(&self) -> &[u64] {
        self.array.object_shape()
    }

    /// Files of the array if none of them holds fill only, without the metadata.
    pub fn n_objects(&self) -> u64 {
        self.array.n_objects()
    }

    /// Memory that stays in use while the output is written, in bytes.
    pub fn held_bytes(&self) -> u64 {
        self.array.held_bytes()
    }

    /// Why the output will not be an OME-Zarr image, if its axes do not allow it.
    pub fn misfit(&self) -> Option<String> {
        ngff::misfit(&self.spec.axes)
    }

    /// Attributes of the group.
    fn attributes(&self) -> Map<String, Value> {
        let mut attributes = Map::new();
        let name = self.store.name().file_name().unwrap_or_default().to_string_lossy();
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
        self.store.put(key, &text)
    }
}

impl Sink for ZarrSink {
    type Receipt = Receipt;

    fn unit(&self) -> &[u64] {
        self.array.chunk_shape()
    }

    fn write_bytes(&self, n_units: u64) -> u64 {
        self.array.write_bytes(n_units)
    }

    fn write(&self, block: &Block, scratch: &mut Scratch) -> Result<Receipt> {
        self.array.write(&self.store, block, scratch).map(Receipt)
    }

    fn commit(&self, receipt: Receipt) -> Result<()> {
        self.array.commit(&self.store, receipt.0)
    }

    fn finish(self) -> Result<Written> {
        self.array.finish()?;
        self.describe()?;
        self.store.publish()
    }
}

/// Whether `folder` is a Zarr array or group.
fn is_zarr(folder: &Path) -> bool {
    ["zarr.json", ".zgroup", ".zarray"].iter().any(|name| folder.join(name).is_file())
}
