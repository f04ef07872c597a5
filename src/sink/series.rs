//! Many files of one format, named by a pattern with axes in braces: what `stitch` reads as one array.
//!
//! All lie in one folder, which gets its name when they are whole; each holds the axes that the pattern does not name,
//! its elements one behind the other. A small document beside them says what they are, by which such a folder is known.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{OutputOptions, Spec};
use crate::axis::Axis;
use crate::block::{Block, size_bytes};
use crate::consume::{Consumer, Desk, Merger, Part, Place, Product, Taker};
use crate::error::{Error, Result};
use crate::grid::{n_elements, positions};
use crate::pattern::{Field, FieldKind as Holds, Pattern};
use crate::plan::{Cost, Task, Wants};
use crate::store::{Append, OutputKind, Stored};
use crate::unit;

/// The document by which a series is known.
const ABOUT: &str = "stackctl-series.json";

/// What stands before the elements of a file, which has one place along the axes that are given beside it.
pub(super) type HeadOf = fn(&Spec, &[Axis], &OutputOptions) -> Result<Vec<u8>>;

/// Files on their way into a folder.
struct Series {
    place: Place,
    spec: Spec,
    pattern: Pattern,
    /// For each field, the text of every index of its axis, and the axis.
    texts: Vec<(usize, Vec<String>)>,
    /// Shape of what one file holds.
    object: Vec<u64>,
    head: Vec<u8>,
}

/// The folder of `path`, and the pattern below it, if its name has fields.
pub(super) fn divided(path: &Path) -> Option<(PathBuf, String)> {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    let first = parts.iter().position(|part| part.contains('{'))?;
    Some((parts[..first].iter().collect(), parts[first..].join("/")))
}

/// The files that will be called `path`, each with `head` before its elements.
///
/// # Errors
/// `Usage` if a field is no axis, two files would have one name, or something stands under the folder's name.
pub(super) fn create(path: &Path, spec: &Spec, options: &OutputOptions, head: HeadOf) -> Result<Box<dyn Consumer>> {
    let (folder, pattern) = divided(path).unwrap_or_default();
    let sink = Series::new(&folder, &pattern, spec, options, head).map_err(|e| e.at(path.display()))?;
    options.check_free(&folder, OutputKind::Folder(is_series))?;
    Ok(Box::new(sink))
}

/// Whether `folder` is a series that was written here.
fn is_series(folder: &Path) -> bool {
    folder.join(ABOUT).is_file()
}

impl Series {
    fn new(folder: &Path, pattern: &str, spec: &Spec, options: &OutputOptions, head: HeadOf) -> Result<Self> {
        if folder.as_os_str().is_empty() {
            return Err(Error::usage(
                "braces make a series of files, which has a folder of its own: put one before the name, as in 'out/t{t}.tif', \
                 or divide the input by --by",
            ));
        }
        if pattern.contains(['*', '?']) {
            return Err(Error::usage("names are made of fields alone: leave * and ? out"));
        }
        let pattern = Pattern::parse(pattern)?;
        let texts: Vec<(usize, Vec<String>)> =
            pattern.fields().iter().map(|field| texts(field, &spec.axes)).collect::<Result<_>>()?;
        let named = |i: usize| texts.iter().any(|(axis, _)| *axis == i);
        let object: Vec<u64> =
            spec.axes.iter().enumerate().map(|(i, axis)| if named(i) { 1 } else { axis.length }).collect();
        let of = |is_named: bool| {
            let axes = spec.axes.iter().enumerate().filter(move |(i, _)| named(*i) == is_named);
            axes.map(|(_, axis)| axis.clone()).collect::<Vec<_>>()
        };
        let head = head(&Spec { axes: of(false), ..spec.clone() }, &of(true), options)?;
        let place = Place::new(folder, OutputKind::Folder(is_series), options.overwrite, options.durability);
        let series = Self { place, spec: spec.clone(), pattern, texts, object, head };
        let mut seen = std::collections::BTreeSet::new();
        for position in positions(&series.counts()) {
            let key = series.key(&position)?;
            if !seen.insert(key.clone()) {
                return Err(Error::usage(format!("two files would be called {key}")));
            }
        }
        Ok(series)
    }

    /// Files along every axis.
    fn counts(&self) -> Vec<u64> {
        self.spec.axes.iter().zip(&self.object).map(|(a, o)| a.length.div_ceil((*o).max(1))).collect()
    }

    /// Name of the file that holds the element at `position`.
    fn key(&self, position: &[u64]) -> Result<String> {
        let values: Vec<Option<&str>> =
            self.texts.iter().map(|(axis, texts)| texts.get(position[*axis] as usize).map(String::as_str)).collect();
        self.pattern.format(&values)
    }
}

/// The axis that `field` names, and its text for every index.
fn texts(field: &Field, axes: &[Axis]) -> Result<(usize, Vec<String>)> {
    let no = |why: String| Error::usage(format!("{{{}}}: {why}", field.name));
    let known = || axes.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(",");
    let name = field.axis.as_deref().filter(|_| field.part.is_none()).ok_or_else(|| no("is no axis alone".into()))?;
    let i = crate::axis::position(axes, name)
        .ok_or_else(|| no(format!("nothing fills it in: the array has axes {}", known())))?;
    let axis = &axes[i];
    let width = match field.kind {
        Holds::Width(n) | Holds::AtLeast(n) => n,
        _ => axis.length.saturating_sub(1).to_string().len(),
    };
    let one = |at: u64| match (&field.unit, &field.kind) {
        (Some(unit), kind) => {
            let own = axis.unit().ok_or_else(|| no(format!("nothing is known of the coordinates of axis {name}")))?;
            let factor = unit::ratio(own, unit.name)
                .ok_or_else(|| no(format!("axis {name} is measured in {own}, not in {}", unit.name)))?;
            let value = axis.coordinate(at) * factor / unit.factor;
            let whole = value.round();
            match kind {
                Holds::Float => Ok(format!("{}", (value * 1e9).round() / 1e9)),
                _ if (value - whole).abs() <= 1e-6 => Ok(format!("{:0width$}", whole as i64)),
                _ => Err(no(format!("{value} is no whole number: write {{{}:float}}", field.name))),
            }
        }
        (None, Holds::Choice(words)) => {
            words.get(at as usize).cloned().ok_or_else(|| no(format!("has no word for index {at}")))
        }
        (None, kind) if kind.is_number() => Ok(format!("{at:0width$}")),
        _ => Ok(axis.labels.as_ref().and_then(|l| l.get(at as usize).cloned()).unwrap_or_else(|| at.to_string())),
    };
    Ok((i, (0..axis.length).map(one).collect::<Result<_>>()?))
}

impl Consumer for Series {
    fn wants(&self) -> Wants {
        // Whole rows of one file, which follow one another in it.
        let mut unit = vec![1; self.object.len()];
        if let (Some(last), Some(length)) = (unit.last_mut(), self.object.last()) {
            *last = (*length).max(1);
        }
        Wants { unit, object: self.object.clone(), across: false, in_order: true, folds: None }
    }

    fn cost(&self, task: &[u64], _piece: &[u64]) -> Cost {
        Cost { kept_bytes: size_bytes(task, self.spec.dtype).saturating_add(4 << 10), ..Cost::default() }
    }

    fn held_bytes(&self) -> u64 {
        (self.head.len() as u64).saturating_add(64 << 10)
    }

    fn place(&self) -> Option<&Place> {
        Some(&self.place)
    }

    fn place_mut(&mut self) -> Option<&mut Place> {
        Some(&mut self.place)
    }

    fn taker<'a>(&'a self, _task: &Task) -> Result<Box<dyn Taker + 'a>> {
        Ok(Box::new(Elements(Vec::new())))
    }

    fn merger(&self) -> Box<dyn Merger + '_> {
        Box::new(Files { of: self, open: None, stored: Vec::new(), n_merged: 0 })
    }
}

/// Elements of one task, which follow one another.
struct Elements(Vec<u8>);

impl Taker for Elements {
    fn take(&mut self, block: &Block, _desk: &mut Desk) -> Result<()> {
        self.0.extend_from_slice(block.bytes());
        Ok(())
    }

    fn end(&mut self, _desk: &mut Desk) -> Result<Option<Part>> {
        Ok(Some(Part::Bytes { pieces: Vec::new(), bytes: std::mem::take(&mut self.0) }))
    }
}

/// The file whose elements are coming.
struct Files<'a> {
    of: &'a Series,
    /// With the number of elements that it lacks.
    open: Option<(Append, u64)>,
    /// Of the unit in hand.
    stored: Vec<Stored>,
    n_merged: u64,
}

impl Merger for Files<'_> {
    fn merge(&mut self, task: &Task, part: Part) -> Result<()> {
        let Part::Bytes { bytes, .. } = part else { return Err(Error::format("a part of another consumer")) };
        let store = self.of.place.open()?;
        let (file, lacking) = match self.open.take() {
            Some(open) => open,
            None => {
                let file = store.create(&self.of.key(&task.region.origin)?)?;
                file.append(&self.of.head)?;
                (file, n_elements(&self.of.object))
            }
        };
        file.append(&bytes)?;
        match lacking.saturating_sub(task.region.n_elements()) {
            0 => self.stored.push(file.close()?),
            lacking => self.open = Some((file, lacking)),
        }
        if task.ends_unit {
            store.record(task.unit, &std::mem::take(&mut self.stored), &[])?;
        }
        self.skip(task)
    }

    fn skip(&mut self, task: &Task) -> Result<()> {
        self.n_merged += task.region.n_elements();
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Product>> {
        let Series { place, spec, pattern, .. } = self.of;
        let expected = n_elements(&spec.shape());
        if self.n_merged != expected {
            return Err(Error::format(format!("{} elements were written, not {expected}", self.n_merged)));
        }
        let about = json!({"pattern": pattern.to_string(), "axes": spec.axes, "dtype": spec.dtype,
                           "stackctl": spec.provenance});
        let text = serde_json::to_vec_pretty(&about).map_err(Error::format)?;
        place.open()?.put(ABOUT, &text)?;
        Ok(vec![Product::at(place.path())])
    }
}
