//! Levels that are added to an image that stands already: built beside its arrays, and named by its metadata last.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{ZarrFormat, ZarrOptions, levels::Level};
use crate::bytes::within;
use crate::consume::levels::Method;
use crate::error::{Error, Result};
use crate::store;
use crate::store::sums::{CHECKSUMS, checksums_of};

/// Where new levels lie, whole, before they are moved to their places.
const ADDED: &str = ".levels";

/// An image with one level, to which others are added.
#[derive(Clone, Debug)]
pub struct Image {
    folder: PathBuf,
    /// Which Zarr it is.
    pub format: ZarrFormat,
    /// Its group: `zarr.json`, or `.zattrs`.
    group: Value,
    /// Path of its array.
    path: String,
    /// Shape of a chunk of the array.
    pub chunks: Vec<u64>,
    /// Shape of its shards.
    pub shards: Option<Vec<u64>>,
}

impl Image {
    /// The image in `folder`.
    ///
    /// # Errors
    /// `Usage` if it is no OME-Zarr image of one level; `Format` if its metadata are wrong.
    pub fn open(folder: &Path) -> Result<Self> {
        let no = |why: &str| Error::usage(format!("{}: {why}", folder.display()));
        let (format, group) = match (document(&folder.join("zarr.json"))?, document(&folder.join(".zattrs"))?) {
            (Some(group), _) => (ZarrFormat::V3, group),
            (None, Some(group)) => (ZarrFormat::V2, group),
            (None, None) if !folder.is_dir() => return Err(no("there is no such folder")),
            (None, None) => {
                return Err(no("no OME-Zarr image: there is neither zarr.json nor .zattrs: stackctl stitch makes one"));
            }
        };
        let mut image =
            Self { folder: folder.to_owned(), format, group, path: String::new(), chunks: Vec::new(), shards: None };
        let claim = image
            .claim()
            .ok_or_else(|| no("is an array or a group, no OME-Zarr image: name the folder of the image, or write one by stackctl stitch --levels auto"))?;
        let datasets = claim["multiscales"][0]["datasets"].as_array().cloned().unwrap_or_default();
        let paths: Vec<&str> = datasets.iter().filter_map(|d| d["path"].as_str()).collect();
        let [path] = paths[..] else {
            let why = format!("has {} levels already: {}: stitch a copy with --levels", paths.len(), paths.join(", "));
            return Err(no(&why));
        };
        within(folder, path, false)?;
        path.clone_into(&mut image.path);
        image.read_cut()?;
        Ok(image)
    }

    /// What OME-NGFF says of the group.
    fn claim(&self) -> Option<&Value> {
        let claim = match self.format {
            ZarrFormat::V3 => &self.group["attributes"]["ome"],
            ZarrFormat::V2 => &self.group,
        };
        claim["multiscales"][0].is_object().then_some(claim)
    }

    fn read_cut(&mut self) -> Result<()> {
        let shape = |value: &Value| value.as_array()?.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>();
        let name = if self.format == ZarrFormat::V3 { "zarr.json" } else { ".zarray" };
        let array = document(&self.folder.join(&self.path).join(name))?.unwrap_or_default();
        let outer = match self.format {
            ZarrFormat::V3 => shape(&array["chunk_grid"]["configuration"]["chunk_shape"]),
            ZarrFormat::V2 => shape(&array["chunks"]),
        };
        let codecs = array["codecs"].as_array().into_iter().flatten();
        let sharding = codecs.into_iter().find(|c| c["name"] == "sharding_indexed");
        let inner = sharding.and_then(|s| shape(&s["configuration"]["chunk_shape"]));
        let wrong = || Error::format(format!("{}/{}: has no chunks", self.folder.display(), self.path));
        let outer = outer.ok_or_else(wrong)?;
        (self.chunks, self.shards) = match inner {
            Some(inner) => (inner, Some(outer)),
            None => (outer, None),
        };
        Ok(())
    }

    /// Folder of the array.
    pub fn array(&self) -> PathBuf {
        self.folder.join(&self.path)
    }

    /// The checksums of what stands already, if they are known.
    pub(super) fn checksums(&self) -> Option<PathBuf> {
        checksums_of(&self.folder).map(|key| self.folder.join(key))
    }

    /// Where the new levels are built.
    pub fn place(&self) -> PathBuf {
        self.folder.join(ADDED)
    }

    /// Refuses `n` new levels where something else stands.
    ///
    /// # Errors
    /// `Usage`, naming it.
    pub fn check(&self, n: usize) -> Result<()> {
        let taken = (1..=n).map(|i| self.folder.join(i.to_string())).find(|path| path.exists());
        taken.map_or(Ok(()), |path| {
            Err(Error::usage(format!("{}: is in the way of a new level: remove it", path.display())))
        })
    }

    /// Documents of the group with `levels` added, by name; those of the new arrays are `arrays`.
    pub(super) fn documents(
        &self,
        levels: &[Level],
        options: &ZarrOptions,
        arrays: &[(String, &str, Value)],
    ) -> Result<Vec<(&'static str, Value)>> {
        let mut group = self.group.clone();
        let claim = match self.format {
            ZarrFormat::V3 => &mut group["attributes"]["ome"],
            ZarrFormat::V2 => &mut group,
        };
        let multiscale = &mut claim["multiscales"][0];
        let method = options.image.method;
        let first = multiscale["datasets"][0]["coordinateTransformations"].clone();
        let added = levels.iter().enumerate().map(|(i, level)| {
            json!({"path": (i + 1).to_string(), "coordinateTransformations": scaled(&first, &level.factor, method)})
        });
        let added: Vec<Value> = added.collect();
        if let Some(datasets) = multiscale["datasets"].as_array_mut() {
            datasets.extend(added);
        }
        multiscale["type"] = json!(method.name());
        if self.format == ZarrFormat::V3 {
            if let Some(known) = group["consolidated_metadata"]["metadata"].as_object_mut() {
                known.extend(arrays.iter().map(|(path, _, document)| (path.clone(), document.clone())));
            }
            return Ok(vec![("zarr.json", group)]);
        }
        let mut documents = Vec::new();
        if let Some(mut all) = document(&self.folder.join(".zmetadata"))? {
            if let Some(known) = all["metadata"].as_object_mut() {
                known.insert(".zattrs".into(), group.clone());
                known.extend(arrays.iter().map(|(path, file, document)| (format!("{path}/{file}"), document.clone())));
            }
            documents.push((".zmetadata", all));
        }
        documents.push((".zattrs", group));
        Ok(documents)
    }

    /// Moves whole levels to their places, the group's metadata last. Goes on where an earlier call was stopped.
    ///
    /// # Errors
    /// `Io`.
    pub fn adopt(folder: &Path) -> Result<bool> {
        store::adopt(folder, ADDED, &[CHECKSUMS, ".zmetadata", ".zattrs", "zarr.json"])
    }
}

/// Transformations of a level whose elements stand for `factor` of those that `first` says where they lie.
fn scaled(first: &Value, factor: &[u64], method: Method) -> Value {
    let numbers = |kind: &str, otherwise: f64| -> Vec<f64> {
        let found = first.as_array().into_iter().flatten().find(|t| t["type"] == kind);
        let list = found.and_then(|t| t[kind].as_array()).cloned().unwrap_or_default();
        (0..factor.len()).map(|i| list.get(i).and_then(Value::as_f64).unwrap_or(otherwise)).collect()
    };
    let (scale, origin) = (numbers("scale", 1.0), numbers("translation", 0.0));
    let moved: Vec<f64> = (0..factor.len()).map(|i| origin[i] + scale[i] * method.shift(factor[i])).collect();
    let scale: Vec<f64> = scale.iter().zip(factor).map(|(s, f)| s * *f as f64).collect();
    let mut transformations = vec![json!({"type": "scale", "scale": scale})];
    if moved.iter().any(|o| *o != 0.0) {
        transformations.push(json!({"type": "translation", "translation": moved}));
    }
    Value::Array(transformations)
}

/// A JSON document, if the file is there.
fn document(path: &Path) -> Result<Option<Value>> {
    match fs::read(path) {
        Ok(text) => match serde_json::from_slice::<Map<String, Value>>(&text) {
            Ok(object) => Ok(Some(Value::Object(object))),
            Err(e) => Err(Error::format(format!("{}: {e}", path.display()))),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, "cannot read", e)),
    }
}
