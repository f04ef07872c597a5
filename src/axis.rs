//! One named dimension of an array: name, length, kind, and what its indices mean in the world.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::unit;
pub use crate::unit::{Calibration, Provenance};

/// Names of the axes that every array of a microscope has, in their order.
pub const USUAL: [&str; 5] = ["t", "c", "z", "y", "x"];

/// Largest deviation from even places that still counts as even, as a part of the step.
pub const TOLERANCE: f64 = 0.01;

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

    /// What places along it are measured in, if that is known; wavelengths of channels are in nanometers.
    pub fn unit(&self) -> Option<&str> {
        let is_wavelength = self.kind == AxisKind::Channel && self.coordinates.is_some();
        self.calibration.as_ref().and_then(|c| c.unit.as_deref()).or(is_wavelength.then_some("nanometer"))
    }

    /// Whether places are known one by one that no one step says.
    pub fn is_uneven(&self) -> bool {
        self.calibration.is_some() && self.coordinates.as_ref().is_some_and(|places| !is_even(places))
    }

    /// Says places that are evenly apart by the first one and the step. The step of others is the median of what lies between
    /// neighbours; of those that turn it stays what it is.
    pub fn settle(&mut self) {
        let Some(places) = self.coordinates.take() else { return };
        let (Some(&first), Some(&last)) = (places.first(), places.last()) else { return };
        let (mean, off) = mean_step(&places);
        let tolerance = 1e-6 * mean.abs() + 4.0 * f64::EPSILON * first.abs().max(last.abs());
        let is_exact = is_even(&places) && off <= tolerance;
        let step = if is_even(&places) { Some(mean) } else { median_step(&places) };
        if let (Some(calibration), Some(step)) = (&mut self.calibration, step.filter(|step| *step != 0.0)) {
            calibration.step = step;
        }
        self.origin = first;
        // One place says no step, but a wavelength all the same.
        let is_said = self.calibration.is_some() || (mean == 0.0 && self.kind != AxisKind::Channel);
        self.coordinates = Some(places).filter(|_| !(is_exact && is_said));
        self.calibration.take_if(|calibration| calibration.step == 0.0);
    }

    /// The same axis with `calibration`, unless it has one from a source that wins.
    ///
    /// What is known of places is told in its unit, or in its steps where nothing says what they were measured in. What the
    /// command line says is the step of all elements.
    #[must_use]
    pub fn calibrated(mut self, calibration: Calibration) -> Self {
        if self.calibration.as_ref().is_some_and(|known| calibration.from >= known.from) {
            return self;
        }
        let factor = self.calibration.as_ref().map_or(1.0, |known| {
            let units = known.unit.as_deref().zip(calibration.unit.as_deref());
            let by_steps = Some(calibration.step / known.step).filter(|_| known.step != 0.0);
            units.and_then(|(known, own)| unit::ratio(known, own)).or(by_steps).unwrap_or(1.0)
        });
        if calibration.from == Provenance::CommandLine
            && let Some(first) = self.coordinates.take().and_then(|places| places.first().copied())
        {
            self.origin = first;
        }
        self.origin *= factor;
        self.coordinates.iter_mut().flatten().for_each(|place| *place *= factor);
        self.calibration = Some(calibration);
        self
    }

    /// What is left where groups of `n` neighbours become one element each, `length` in all and every `stride` elements one: an
    /// element lies in the middle of its group.
    #[must_use]
    pub fn grouped(&self, n: u64, stride: u64, length: u64) -> Self {
        if (n, stride) == (1, 1) {
            return self.clone();
        }
        let group = |all: &Vec<f64>, i: u64| {
            let own = all.get((i * stride) as usize..)?.iter().take(n as usize);
            Some(own.clone().sum::<f64>() / own.len().max(1) as f64)
        };
        let mut left = Self { length, labels: None, colours: None, ..self.clone() };
        left.coordinates = self.coordinates.as_ref().map(|all| (0..length).filter_map(|i| group(all, i)).collect());
        if let Some(calibration) = &mut left.calibration {
            left.origin += calibration.step * middle(n.min(self.length));
            calibration.step *= stride as f64;
        }
        left.settle();
        left
    }
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// The middle of `n` neighbours, in elements from the first.
pub fn middle(n: u64) -> f64 {
    (n as f64 - 1.0) / 2.0
}

/// The mean step of `places`, and how far they are at most from where it puts them.
pub fn mean_step(places: &[f64]) -> (f64, f64) {
    let [first, .., last] = places else { return (0.0, 0.0) };
    let step = (last - first) / (places.len() - 1) as f64;
    let off = places.iter().enumerate().map(|(i, place)| (place - first - i as f64 * step).abs());
    (step, off.max_by(f64::total_cmp).unwrap_or(0.0))
}

fn is_even(places: &[f64]) -> bool {
    let (step, off) = mean_step(places);
    places.len() < 2 || (step != 0.0 && off <= TOLERANCE * step.abs())
}

/// The median of what lies between neighbours, the lesser of two, if all of it leads one way.
fn median_step(places: &[f64]) -> Option<f64> {
    let mut steps: Vec<f64> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let sign = steps.first()?.signum();
    steps.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    steps.iter().all(|step| step * sign > 0.0).then(|| steps[(steps.len() - 1) / 2])
}

/// What axes of one kind that follow one another make together: lengths add up, names and places follow one another.
///
/// # Panics
/// If there is none.
pub fn joined(parts: &[&Axis]) -> Axis {
    let words = |of: fn(&Axis) -> &Option<Vec<String>>| {
        let all: Option<Vec<Vec<String>>> = parts.iter().map(|axis| of(axis).clone()).collect();
        all.map(|all| all.concat())
    };
    let (labels, colours) = (words(|axis| &axis.labels), words(|axis| &axis.colours));
    let unit = |axis: &Axis| axis.unit().unwrap_or_default().to_owned();
    // Places that can be told in the unit of the first.
    let of_part = |axis: &&Axis| {
        let is_placed = (axis.coordinates.is_some() || axis.calibration.is_some()) && axis.length > 0;
        let factor = unit::ratio(&unit(axis), &unit(parts[0])).filter(|_| is_placed)?;
        Some((0..axis.length).map(|i| axis.coordinate(i) * factor).collect::<Vec<f64>>())
    };
    let places: Option<Vec<Vec<f64>>> = parts.iter().map(of_part).collect();
    let length = parts.iter().map(|a| a.length).sum();
    let coordinates = places.map(|all| all.concat());
    let mut axis = Axis { length, labels, colours, coordinates, ..parts[0].clone() };
    if axis.coordinates.is_none() {
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

    /// An axis of these places, in seconds.
    fn placed(places: &[f64]) -> Axis {
        let calibration = Calibration { step: 2.0, unit: Some("second".into()), from: Provenance::Name };
        let mut axis = Axis::new("t", places.len() as u64).calibrated(calibration);
        axis.coordinates = Some(places.to_vec());
        axis.settle();
        axis
    }

    fn step(axis: &Axis) -> f64 {
        axis.calibration.as_ref().unwrap().step
    }

    #[test]
    fn another_unit_moves_nothing() {
        let said = |step, unit: &str| Calibration { step, unit: Some(unit.into()), from: Provenance::CommandLine };
        let axis = placed(&[5.0, 7.0, 9.0]).calibrated(said(0.05, "minute"));
        assert_eq!((axis.origin, step(&axis)), (5.0 / 60.0, 0.05));
        // What is said is the step of all, files only say the unit of places that are known one by one.
        let uneven = placed(&[5.0, 6.0, 9.0]);
        let said_all = uneven.clone().calibrated(said(1.0, "millisecond"));
        assert_eq!((said_all.origin, said_all.coordinates), (5000.0, None));
        let file = Calibration { from: Provenance::Ome, ..said(2000.0, "millisecond") };
        assert_eq!(uneven.calibrated(file).coordinates.unwrap(), [5000.0, 6000.0, 9000.0]);
        // Without a unit places are counted in steps.
        let bare = Calibration { step: 0.5, unit: None, from: Provenance::Ome };
        let axis = Axis { origin: 10.0, ..Axis::new("x", 3).calibrated(bare) };
        assert_eq!(axis.calibrated(said(100.0, "nanometer")).origin, 2000.0);
    }

    #[test]
    fn uneven_places_have_the_median_step() {
        for (places, expected) in [
            (&[0.0, 100.0, 250.0, 1000.0, 1100.0][..], 100.0),
            (&[0.0, 2.0, 6.0], 2.0),
            (&[9.0, 8.0, 4.0, 3.0], -1.0),
            // Those that turn or stand keep the step of the array they are of.
            (&[6.0, 0.0, 2.0], 2.0),
            (&[0.0, 0.0], 2.0),
        ] {
            let axis = placed(places);
            assert_eq!((step(&axis), axis.origin, axis.is_uneven()), (expected, places[0], true), "{places:?}");
            assert_eq!(axis.coordinates.as_deref(), Some(places));
        }
        let even = placed(&[3.0, 6.0, 9.0]);
        assert_eq!((step(&even), even.origin, even.is_uneven(), even.coordinates), (3.0, 3.0, false, None));
        let nearly = placed(&[0.0, 100.0, 199.5, 300.0]);
        assert_eq!((step(&nearly), nearly.is_uneven(), nearly.coordinates.is_some()), (100.0, false, true));
    }

    #[test]
    fn groups_lie_in_their_middle() {
        let even = placed(&[10.0, 12.0, 14.0, 16.0]);
        let pairs = even.grouped(2, 2, 2);
        assert_eq!((pairs.origin, step(&pairs), pairs.length), (11.0, 4.0, 2));
        let windows = even.grouped(3, 1, 2);
        assert_eq!((windows.origin, step(&windows), windows.length), (12.0, 2.0, 2));
        assert_eq!(even.grouped(100, 100, 1).origin, 13.0);
        let uneven = placed(&[0.0, 2.0, 6.0, 8.0, 20.0]).grouped(2, 2, 3);
        assert_eq!(uneven.coordinates.unwrap(), [1.0, 7.0, 20.0]);
    }

    #[test]
    fn parts_are_joined_in_one_unit() {
        let later = Calibration { step: 2000.0, unit: Some("millisecond".into()), from: Provenance::Ome };
        let later = Axis { origin: 4000.0, ..Axis::new("t", 2).calibrated(later) };
        let both = joined(&[&placed(&[0.0, 2.0]), &later]);
        assert_eq!((both.origin, step(&both), both.length, both.coordinates), (0.0, 2.0, 4, None));
    }
}
