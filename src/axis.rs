//! One named dimension of an array: name, length, kind, and what its indices mean in the world.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What an axis counts, in OME-NGFF's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AxisKind {
    /// Time points.
    Time,
    /// Channels, or samples of a pixel.
    Channel,
    /// A direction of space.
    Space,
    /// Anything else: positions, angles, wells.
    Other,
}

/// Where a calibration came from. Earlier variants win over later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provenance {
    /// A flag of the command line.
    CommandLine,
    /// OME-XML in the file, or NGFF metadata of a Zarr group.
    Ome,
    /// ImageJ's description and resolution tags.
    ImageJ,
    /// Another program's own tags: MetaMorph, LSM, Micro-Manager.
    Vendor,
    /// Coordinate variables of a NetCDF or HDF5 file.
    Coordinates,
    /// TIFF resolution tags with an absolute unit.
    Resolution,
    /// The file names.
    Name,
}

impl Provenance {
    /// The same in words: `OME metadata`.
    pub fn words(self) -> &'static str {
        match self {
            Self::CommandLine => "the command line",
            Self::Ome => "OME metadata",
            Self::ImageJ => "ImageJ's description",
            Self::Vendor => "the acquisition program's tags",
            Self::Coordinates => "the coordinates in the file",
            Self::Resolution => "the TIFF resolution tags",
            Self::Name => "the names",
        }
    }
}

/// What one step of an axis measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Distance between neighbouring indices, in `unit`.
    pub step: f64,
    /// Unit by its UDUNITS name (`micrometer`, `second`, `degree`), if known.
    pub unit: Option<String>,
    /// Who said so.
    pub from: Provenance,
}

/// One named dimension of an array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// `t`, `c`, `z`, `y`, `x`, or any other name.
    pub name: String,
    /// Number of elements along it.
    pub length: u64,
    /// What it counts.
    pub kind: AxisKind,
    /// Step and unit, when something states them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Where index 0 lies, in `calibration`'s unit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub origin: f64,
    /// A name for every index, in order, when names are known (channels: `DAPI`, `GFP`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// The colour that every index is shown in, as six hexadecimal digits, when something states them (channels).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colours: Option<Vec<String>>,
    /// A value for every index, in `calibration`'s unit, when they are known one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coordinates: Option<Vec<f64>>,
}

impl Axis {
    /// An axis of `length` whose kind follows from its name: `t`, `c`, and `z y x` are what they seem,
    /// `s` (samples) counts as a channel, anything else is other.
    pub fn new(name: impl Into<String>, length: u64) -> Self {
        let name = name.into();
        let kind = match name.as_str() {
            "t" => AxisKind::Time,
            "c" | "s" => AxisKind::Channel,
            "z" | "y" | "x" => AxisKind::Space,
            _ => AxisKind::Other,
        };
        Self { name, length, kind, calibration: None, origin: 0.0, labels: None, colours: None, coordinates: None }
    }

    /// Where `index` lies, in the calibration's unit; zero where nothing is known.
    pub fn coordinate(&self, index: u64) -> f64 {
        match (&self.coordinates, &self.calibration) {
            (Some(all), _) => all.get(index as usize).copied().unwrap_or(f64::NAN),
            (None, Some(calibration)) => self.origin + index as f64 * calibration.step,
            (None, None) => 0.0,
        }
    }

    /// The distance of neighbours, where one number says it: places that are known one by one are less than half of it from
    /// where it puts them.
    pub fn spacing(&self) -> Option<&Calibration> {
        let calibration = self.calibration.as_ref()?;
        let is_even = |places: &Vec<f64>| {
            let off = |(i, place): (usize, &f64)| (place - places[0] - i as f64 * calibration.step).abs();
            places.iter().enumerate().map(off).all(|off| 2.0 * off < calibration.step.abs())
        };
        self.coordinates.as_ref().is_none_or(is_even).then_some(calibration)
    }

    /// Says places that are evenly apart by the first one and the step.
    pub fn settle(&mut self) {
        let Some(places) = self.coordinates.take() else { return };
        let (Some(&first), Some(&last)) = (places.first(), places.last()) else { return };
        let step = (last - first) / (places.len() - 1).max(1) as f64;
        let tolerance = 1e-6 * step.abs() + 4.0 * f64::EPSILON * first.abs().max(last.abs());
        let even = places.iter().enumerate().all(|(i, place)| (place - first - i as f64 * step).abs() <= tolerance);
        if let (Some(calibration), true) = (&mut self.calibration, step != 0.0) {
            calibration.step = step;
        }
        self.origin = first;
        // Wavelengths are known one by one, even if there is one alone.
        let is_listed = !even || self.kind == AxisKind::Channel || (step != 0.0 && self.calibration.is_none());
        self.coordinates = Some(places).filter(|_| is_listed);
        // One place says no step.
        self.calibration.take_if(|calibration| calibration.step == 0.0);
    }

    /// The same axis with `calibration`, unless it has one from a source that wins.
    #[must_use]
    pub fn calibrated(mut self, calibration: Calibration) -> Self {
        if self.calibration.as_ref().is_none_or(|c| calibration.from < c.from) {
            self.calibration = Some(calibration);
        }
        self
    }
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// What axes of one kind that follow one another make together: lengths add up, names and places follow one another.
///
/// # Panics
/// If there is none.
pub fn joined(parts: &[&Axis]) -> Axis {
    let all = |known: fn(&Axis) -> bool| parts.iter().all(|axis| known(axis));
    let labels: Option<Vec<String>> = all(|a| a.labels.is_some())
        .then(|| parts.iter().flat_map(|axis| axis.labels.iter().flatten().cloned()).collect());
    let placed = all(|a| (a.coordinates.is_some() || a.calibration.is_some()) && a.length > 0);
    let places = placed.then(|| parts.iter().flat_map(|axis| (0..axis.length).map(|i| axis.coordinate(i))).collect());
    let length = parts.iter().map(|a| a.length).sum();
    let mut axis = Axis { length, labels, coordinates: places, ..parts[0].clone() };
    if !placed {
        axis.calibration = None;
    }
    axis.settle();
    axis
}

/// Names of elements along the axis `name`: those that have one, and numbers for the others.
pub fn numbered(name: &str, labels: impl Iterator<Item = Option<String>>) -> Vec<String> {
    labels.enumerate().map(|(i, label)| label.unwrap_or_else(|| format!("{name} {i}"))).collect()
}

/// What the axis number `i` of `rank` is called where nothing says: the last three are `z`, `y` and `x`.
pub fn unnamed(i: usize, rank: usize) -> String {
    match ["x", "y", "z"].get(rank - 1 - i).filter(|_| rank > 1) {
        Some(name) => (*name).to_owned(),
        None => format!("dim_{i}"),
    }
}

/// Axes of an array of `shape` that nothing names: those before `y` and `x` are what `pages`, such as `t,c=2`, says, else as
/// [`unnamed`].
///
/// # Errors
/// `Usage` if `pages` are not as many axes, or have other lengths.
pub fn unnamed_axes(shape: &[u64], pages: Option<&str>) -> Result<Vec<Axis>> {
    let mut axes: Vec<Axis> = (0..shape.len()).map(|i| Axis::new(unnamed(i, shape.len()), shape[i])).collect();
    let Some(pages) = pages else { return Ok(axes) };
    let outer = axes.len().saturating_sub(2);
    let words: Vec<_> =
        pages.split(',').map(|word| word.split_once('=').map_or((word, None), |(w, n)| (w, Some(n)))).collect();
    let fits = |(axis, (_, n)): (&Axis, &(&str, Option<&str>))| n.is_none_or(|n| n.parse() == Ok(axis.length));
    if words.len() != outer || !axes.iter().zip(&words).all(fits) {
        return Err(Error::usage(format!(
            "--pages {pages} names {} axes: before y and x the array has {outer}, of lengths {:?}: name each",
            words.len(),
            &shape[..outer]
        )));
    }
    axes.iter_mut().zip(words).for_each(|(axis, (name, _))| *axis = Axis::new(name.trim(), axis.length));
    Ok(axes)
}

/// Position of the axis called `name`.
pub fn position(axes: &[Axis], name: &str) -> Option<usize> {
    axes.iter().position(|a| a.name == name)
}

/// Position of the axis that somebody means by `name`: its own name, or another that it is known by elsewhere.
pub fn meant(axes: &[Axis], name: &str) -> Option<usize> {
    position(axes, name).or_else(|| position(axes, short_name(name)?))
}

/// The name of an axis that is called `name` in other formats and programs: `t`, `z`, `y`, `x` or `c`.
pub fn short_name(name: &str) -> Option<&'static str> {
    match name.to_lowercase().as_str() {
        "t" | "time" | "valid_time" => Some("t"),
        "z" | "lev" | "level" | "depth" | "height" | "plev" | "altitude" | "bottom_top" => Some("z"),
        "y" | "lat" | "latitude" | "nlat" | "south_north" | "rlat" => Some("y"),
        "x" | "lon" | "longitude" | "nlon" | "west_east" | "rlon" => Some("x"),
        "c" | "channel" | "channels" => Some("c"),
        _ => None,
    }
}

/// Lengths of all axes, in their order.
pub fn shape(axes: &[Axis]) -> Vec<u64> {
    axes.iter().map(|a| a.length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_are_even_are_an_origin_but_for_channels() {
        let settled = |name: &str, places: &[f64]| {
            let mut axis = Axis { coordinates: Some(places.to_vec()), ..Axis::new(name, places.len() as u64) };
            axis.settle();
            (axis.origin, axis.coordinates)
        };
        assert_eq!(settled("z", &[488.0]), (488.0, None));
        assert_eq!(settled("c", &[488.0]), (488.0, Some(vec![488.0])));
    }

    #[test]
    fn the_better_source_of_a_calibration_wins() {
        let c = |step, from| Calibration { step, unit: None, from };
        let axis = Axis::new("z", 3).calibrated(c(1.0, Provenance::ImageJ));
        let axis = axis.calibrated(c(2.0, Provenance::Resolution));
        assert_eq!(axis.calibration.as_ref().unwrap().step, 1.0);
        let axis = axis.calibrated(c(3.0, Provenance::CommandLine));
        assert_eq!(axis.calibration.unwrap().step, 3.0);
    }
}
