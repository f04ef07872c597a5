//! From a folder to the array in it that is meant, and what OME-NGFF metadata say of its axes.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::axis::{Axis, AxisKind, Calibration, Provenance, unnamed};
use crate::bytes::{self, within};
use crate::error::{Error, Result};
use crate::pattern::natural_cmp;
use crate::source::{Note, NoteKind, OpenOptions};

/// Metadata documents larger than this are not looked at.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;
/// Nor those of more values, which take many times the memory of the text.
const MOST_VALUES: usize = 1 << 21;
/// Groups are searched for arrays to this depth.
const MAX_DEPTH: usize = 4;

/// An array, and the image it is a level of.
pub(super) struct Chosen {
    /// Folder of the array.
    pub(super) array: PathBuf,
    /// Attributes of the group that describes it.
    pub(super) image: Option<Multiscale>,
    /// Folders of all levels of the image.
    pub(super) levels: Vec<PathBuf>,
    /// Every series of the folder in words, when there is more than one; the chosen one first.
    pub(super) series: Vec<String>,
}

/// One `multiscales` entry and what stands beside it.
pub(super) struct Multiscale {
    /// Folder of the group.
    pub(super) folder: PathBuf,
    multiscale: Value,
    level: usize,
    omero: Option<Value>,
    own: Option<Value>,
    /// What `image-label` says, if it is an image of labels.
    label: Option<Value>,
    /// What else stands in the group's attributes.
    others: Map<String, Value>,
}

/// Attributes that are of the group's own members, or of how an array lies there, and say nothing of a copy of its image.
const MEMBERS: [&str; 9] =
    ["ome", "multiscales", "omero", "stackctl", "labels", "plate", "well", "image-label", "_ARRAY_DIMENSIONS"];

/// Whether `folder` is a Zarr array or group.
pub(super) fn is_zarr(folder: &Path) -> bool {
    if bytes::is_remote(folder) && crate::source::is_image(folder) {
        return false;
    }
    bytes::is_folder(folder)
        && ["zarr.json", ".zarray", ".zgroup"].iter().any(|name| bytes::is_file(&folder.join(name)))
}

fn is_array(folder: &Path) -> Result<bool> {
    match document(&folder.join("zarr.json"))? {
        Some(found) => Ok(found.get("node_type").and_then(Value::as_str) == Some("array")),
        None => Ok(bytes::is_file(&folder.join(".zarray"))),
    }
}

/// Folders of all arrays in `folder`, itself among them.
///
/// # Errors
/// `Io`; `Format` if metadata cannot be read.
pub(super) fn arrays(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![(folder.to_owned(), 0)]);
    while let Some((folder, depth)) = open.pop() {
        if is_array(&folder)? {
            found.push(folder);
            continue;
        }
        for (name, is_folder) in entries(&folder)? {
            if depth < MAX_DEPTH && is_folder {
                open.push((folder.join(name), depth + 1));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Finds the array that `folder` and `options` mean: itself, a level of an image, or the only one inside.
///
/// # Errors
/// `Usage` if there is a choice that `options` do not make.
pub(super) fn choose(folder: &Path, options: &OpenOptions) -> Result<Chosen> {
    if is_array(folder)? {
        if options.level.is_some() || options.series.is_some() {
            return Err(Error::usage(
                "is an array, of which there is neither a level nor a series to choose: give the image's folder",
            ));
        }
        let image = match (folder.parent(), folder.file_name().and_then(|n| n.to_str())) {
            (Some(parent), Some(name)) => level_of(parent, name)?,
            _ => None,
        };
        return Ok(Chosen { array: folder.to_owned(), image, levels: vec![], series: vec![] });
    }
    let mut found = Vec::new();
    search(folder, "", 0, &mut found)?;
    let names: Vec<String> = found.iter().map(|(name, _)| name.clone()).collect();
    let wanted = match (options.series, found.len()) {
        (_, 0) => return Err(Error::format("a Zarr group without an array in it")),
        (None, 1) => 0,
        (Some(series), n) if series < n => series,
        (Some(series), n) => {
            return Err(Error::usage(format!("has {n} series, counted from 0, but series {series} is asked for")));
        }
        (None, n) => {
            let shown: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
            let more = if n > shown.len() { format!(" and {} more", n - shown.len()) } else { String::new() };
            return Err(Error::usage(format!(
                "holds {n} arrays: name one of them: {}{more}, or give --series",
                shown.join(", ")
            )));
        }
    };
    let (name, image) = found.swap_remove(wanted);
    let mut series = vec![];
    if names.len() > 1 {
        series.push(name.clone());
        series.extend(names.into_iter().filter(|n| *n != name));
    }
    let base = if name.is_empty() { folder.to_owned() } else { folder.join(&name) };
    let Some(mut image) = image else {
        return match options.level {
            Some(_) => Err(Error::usage("is an array, of which there are no levels to choose")),
            None => Ok(Chosen { array: base, image: None, levels: vec![], series }),
        };
    };
    image.level = options.level.unwrap_or(0);
    let datasets = image.multiscale.get("datasets").and_then(Value::as_array);
    let n_levels = datasets.map_or(0, Vec::len);
    let paths = datasets.into_iter().flatten().filter_map(|d| d.get("path")?.as_str());
    let levels = paths.map(|path| within(&base, path, options.follow)).collect::<Result<_>>()?;
    let path = datasets.and_then(|d| d.get(image.level)).and_then(|d| d.get("path")).and_then(Value::as_str);
    let Some(path) = path else {
        return Err(Error::usage(format!(
            "--level {}: the image has no such level, the last one is {}",
            image.level,
            n_levels.saturating_sub(1)
        )));
    };
    let array = within(&base, path, options.follow)?;
    Ok(Chosen { array, image: Some(image), levels, series })
}

/// Lists the arrays below a group that belong to no image, and its images, by name.
fn search(folder: &Path, name: &str, depth: usize, found: &mut Vec<(String, Option<Multiscale>)>) -> Result<()> {
    if is_array(folder)? {
        found.push((name.to_owned(), None));
        return Ok(());
    }
    if let Some(image) = image_of(folder)? {
        found.push((name.to_owned(), Some(image)));
        return Ok(());
    }
    if depth == MAX_DEPTH {
        return Ok(());
    }
    let folders = entries(folder)?.into_iter().filter(|(_, is_folder)| *is_folder);
    let mut children: Vec<String> = folders.map(|(name, _)| name).filter(|name| is_zarr(&folder.join(name))).collect();
    children.sort_by(|a, b| natural_cmp(a, b));
    for child in children {
        let path = if name.is_empty() { child.clone() } else { format!("{name}/{child}") };
        search(&folder.join(child), &path, depth + 1, found)?;
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<(String, bool)>> {
    bytes::entries(folder).map_err(|e| Error::io(folder, "cannot list", e))
}

/// The image that a group is.
fn image_of(folder: &Path) -> Result<Option<Multiscale>> {
    let attributes = attributes(folder)?;
    let scope = attributes.get("ome").and_then(Value::as_object).unwrap_or(&attributes);
    let first = scope.get("multiscales").and_then(Value::as_array).and_then(|m| m.first());
    Ok(first.map(|multiscale| Multiscale {
        folder: folder.to_owned(),
        multiscale: multiscale.clone(),
        level: 0,
        omero: scope.get("omero").cloned(),
        own: attributes.get("stackctl").cloned(),
        label: scope.get("image-label").cloned(),
        others: foreign(attributes.clone()),
    }))
}

/// Those of the attributes of a group or an array that say something of a copy.
pub(super) fn foreign(mut attributes: Map<String, Value>) -> Map<String, Value> {
    attributes.retain(|key, _| !MEMBERS.contains(&key.as_str()));
    attributes
}

/// The image of `folder` that has `name` among its levels.
fn level_of(folder: &Path, name: &str) -> Result<Option<Multiscale>> {
    let Some(mut image) = image_of(folder)? else { return Ok(None) };
    let datasets = image.multiscale.get("datasets").and_then(Value::as_array).cloned().unwrap_or_default();
    let level = datasets.iter().position(|d| d.get("path").and_then(Value::as_str) == Some(name));
    Ok(level.map(|level| {
        image.level = level;
        image
    }))
}

/// Attributes of a group, v3 or v2.
pub(super) fn attributes(folder: &Path) -> Result<Map<String, Value>> {
    if let Some(mut group) = document(&folder.join("zarr.json"))? {
        return Ok(match group.get_mut("attributes").map(Value::take) {
            Some(Value::Object(attributes)) => attributes,
            _ => Map::new(),
        });
    }
    Ok(match document(&folder.join(".zattrs"))? {
        Some(Value::Object(attributes)) => attributes,
        _ => Map::new(),
    })
}

/// A JSON document, if the file is there.
fn document(path: &Path) -> Result<Option<Value>> {
    let Some(text) = text(path)? else { return Ok(None) };
    serde_json::from_slice(&text).map(Some).map_err(|e| Error::format(format!("{}: {e}", path.display())))
}

/// Bytes of a document, if the file is there.
pub(super) fn text(path: &Path) -> Result<Option<Vec<u8>>> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    if path.metadata().is_ok_and(|found| found.len() > MAX_DOCUMENT_BYTES) {
        return Err(Error::unsupported(format!("{}: metadata of more than 64 MiB are not read", path.display())));
    }
    match bytes::read(path) {
        Ok(text) if text.iter().filter(|b| b",[{".contains(b)).count() > MOST_VALUES => {
            let what = format!("{}: metadata of more than {MOST_VALUES} values are not read", path.display());
            Err(Error::unsupported(what))
        }
        Ok(text) => Ok(Some(text)),
        Err(e) if matches!(e.kind(), NotFound | NotADirectory) => Ok(None),
        Err(e) => Err(Error::io(path, "cannot open", e)),
    }
}

/// Name of an axis, and its kind if that is said.
type Described = (String, Option<AxisKind>);

/// Axes of an array of `shape`, by what the image, or else the array itself, says of them.
///
/// `names` are the array's own. Axes that nobody names are `z y x` from the last, then `dim_0`, `dim_1`. Beside them
/// a note of what the image says that makes no sense.
pub(super) fn axes(
    shape: &[u64],
    names: Option<&[Option<String>]>,
    image: Option<&Multiscale>,
) -> (Vec<Axis>, Option<Note>) {
    let unused = |what: &str, why: String| Note::new(NoteKind::DescriptionUnused, format!("{what} not used: {why}"));
    let (described, mut note) = match image.map(|i| i.described_axes(shape.len())).transpose() {
        Ok(described) => (described.flatten(), None),
        Err(why) => (None, Some(unused("the image's axes are", why))),
    };
    let mut axes: Vec<Axis> = Vec::with_capacity(shape.len());
    for (i, &length) in shape.iter().enumerate() {
        let own = names.and_then(|n| n.get(i)).and_then(Option::as_deref);
        let name = described.as_ref().map(|d| d[i].0.as_str()).or(own).filter(|n| !n.is_empty());
        let taken = |name: &str, axes: &[Axis]| axes.iter().any(|a| a.name == name);
        let fallback = || if names.is_none() { unnamed(i, shape.len()) } else { format!("dim_{i}") };
        let name = name.filter(|n| !taken(n, &axes)).map_or_else(fallback, str::to_owned);
        let mut axis = Axis::new(name, length);
        if let Some(kind) = described.as_ref().and_then(|d| d[i].1) {
            axis.kind = kind;
        }
        axes.push(axis);
    }
    if let Some(image) = image {
        // Steps of axes that are not known are of no axis.
        if note.is_none() {
            note = image.calibrate(&mut axes).err().map(|why| unused("the image's scale is", why));
        }
        image.label(&mut axes);
    }
    (axes, note)
}

impl Multiscale {
    /// What a copy of the image keeps: `omero`, of smaller levels its channels alone, `image-label`, and attributes that are
    /// not of OME-NGFF.
    pub(super) fn kept(&self) -> Map<String, Value> {
        let of_level = |omero: &Value| match self.level {
            0 => omero.clone(),
            _ => json!({"channels": omero["channels"]}),
        };
        let omero = self.omero.iter().map(|omero| ("omero".to_owned(), of_level(omero)));
        let label = self.label.iter().map(|label| ("image-label".to_owned(), label.clone()));
        self.others.clone().into_iter().chain(omero).chain(label).collect()
    }

    /// Name and kind of each of `rank` axes: objects since NGFF 0.4, names in 0.3, five known ones before.
    ///
    /// # Errors
    /// Why those that are listed cannot be the array's, in words.
    fn described_axes(&self, rank: usize) -> Result<Option<Vec<Described>>, String> {
        let Some(listed) = self.multiscale.get("axes") else {
            let five = crate::axis::USUAL;
            return Ok((rank == five.len()).then(|| five.iter().map(|n| ((*n).to_owned(), None)).collect()));
        };
        let Some(listed) = listed.as_array() else { return Err("they are no list".to_owned()) };
        if listed.len() != rank {
            return Err(format!("{} are listed for an array of {rank}", listed.len()));
        }
        let one = |axis: &Value| match axis {
            Value::String(name) => Some((name.clone(), None)),
            Value::Object(axis) => {
                let kind = match axis.get("type").and_then(Value::as_str) {
                    Some("time") => AxisKind::Time,
                    Some("channel") => AxisKind::Channel,
                    Some("space") => AxisKind::Space,
                    _ => AxisKind::Other,
                };
                Some((axis.get("name")?.as_str()?.to_owned(), Some(kind)))
            }
            _ => None,
        };
        let described: Option<Vec<Described>> = listed.iter().map(one).collect();
        let Some(described) = described else { return Err("one has no name".to_owned()) };
        let is_again = |i: &usize| described[..*i].iter().any(|axis| axis.0 == described[*i].0);
        match (0..rank).find(is_again) {
            Some(i) => Err(format!("two are called '{}'", described[i].0)),
            None => Ok(Some(described)),
        }
    }

    /// Steps, units and origins from the level's and the image's transformations.
    ///
    /// # Errors
    /// Why they are not known, in words.
    fn calibrate(&self, axes: &mut [Axis]) -> Result<(), String> {
        let listed = |i: usize| self.multiscale.get("axes").and_then(|a| a.get(i));
        let unit = |i: usize| listed(i).and_then(|a| a.get("unit")).and_then(Value::as_str).map(String::from);
        let (scale, origin) = self.transformed(axes.len())?;
        let Some(scale) = scale else {
            axes.iter_mut().zip(&origin).filter(|(_, o)| o.is_finite()).for_each(|(axis, o)| axis.origin = *o);
            let measured = (0..axes.len()).any(|i| unit(i).is_some());
            return if measured { Err("there is none beside the units of the axes".to_owned()) } else { Ok(()) };
        };
        for (i, axis) in axes.iter_mut().enumerate() {
            let unit = unit(i);
            // A step of 1 without a unit is what is written when nothing is known.
            let is_known = scale[i] != 1.0 || unit.is_some() || origin[i] != 0.0;
            if scale[i].is_finite() && scale[i] != 0.0 && is_known {
                axis.calibration = Some(Calibration { step: scale[i], unit, from: Provenance::Ome });
            }
            if origin[i].is_finite() {
                axis.origin = origin[i];
            }
        }
        Ok(())
    }

    /// The scale, if there is one, and the origin that the transformations make together.
    ///
    /// # Errors
    /// Which of them cannot be followed, in words.
    fn transformed(&self, rank: usize) -> Result<(Option<Vec<f64>>, Vec<f64>), String> {
        let level = self.multiscale.get("datasets").and_then(|d| d.get(self.level));
        let transformations = [level, Some(&self.multiscale)]
            .into_iter()
            .flatten()
            .flat_map(|scope| scope.get("coordinateTransformations").and_then(Value::as_array).into_iter().flatten());
        let (mut scale, mut origin) = (None, vec![0.0; rank]);
        for transformation in transformations {
            let numbers = |key: &str| -> Result<Vec<f64>, String> {
                let list = transformation.get(key).and_then(Value::as_array);
                let list: Option<Vec<f64>> = list.and_then(|list| list.iter().map(Value::as_f64).collect());
                let list = list.ok_or_else(|| format!("a {key} is not given as a list of numbers"))?;
                if list.len() == rank {
                    Ok(list)
                } else {
                    Err(format!("a {key} of {} numbers for {rank} axes", list.len()))
                }
            };
            let keys = ["scale", "translation"].into_iter().find(|key| transformation.get(key).is_some());
            match transformation.get("type").and_then(Value::as_str).or(keys) {
                Some("identity") => {
                    scale.get_or_insert_with(|| vec![1.0; rank]);
                }
                Some("scale") => {
                    let by = numbers("scale")?;
                    let scale = scale.get_or_insert_with(|| vec![1.0; rank]);
                    scale.iter_mut().zip(&by).for_each(|(s, by)| *s *= by);
                    origin.iter_mut().zip(&by).for_each(|(o, by)| *o *= by);
                }
                Some("translation") => {
                    let by = numbers("translation")?;
                    origin.iter_mut().zip(&by).for_each(|(o, by)| *o += by);
                }
                other => return Err(format!("a transformation is of type '{}'", other.unwrap_or_default())),
            }
        }
        Ok((scale, origin))
    }

    /// Labels and coordinates one by one, from our own attributes, else channels from `omero`.
    fn label(&self, axes: &mut [Axis]) {
        let own = self.own.as_ref().and_then(|o| o.get("axes")).and_then(Value::as_array);
        for axis in axes.iter_mut() {
            let length = usize::try_from(axis.length).unwrap_or(usize::MAX);
            let noted = own.into_iter().flatten().find(|a| a.get("name").and_then(Value::as_str) == Some(&axis.name));
            let list = |key: &str| noted?.get(key)?.as_array().filter(|l| l.len() == length);
            if let Some(labels) = list("labels") {
                axis.labels = labels.iter().map(|l| l.as_str().map(String::from)).collect();
            }
            if let Some(coordinates) = list("coordinates") {
                axis.coordinates = coordinates.iter().map(Value::as_f64).collect();
                // Where the first of them lies they say themselves.
                axis.origin = noted.and_then(|a| a.get("origin")).and_then(Value::as_f64).unwrap_or(0.0);
            }
            let channels = self.omero.as_ref().and_then(|o| o.get("channels")).and_then(Value::as_array);
            if let (AxisKind::Channel, None, None, Some(channels)) = (axis.kind, &axis.labels, own, channels)
                && channels.len() == length
            {
                let label = |c: &Value| c.get("label").and_then(Value::as_str).map(String::from);
                axis.labels = channels.iter().map(label).collect();
            }
        }
    }
}
