//! What stands along the edges of a figure: places of an axis, in the world where that is known, and round numbers.

use super::values::world;
use crate::axis::{Axis, AxisKind};
use crate::unit::symbol;

/// Ticks of an edge, about.
const ENOUGH: usize = 6;
/// Names stand at every index up to so many.
const FEW_NAMES: usize = 12;

/// An axis as figures show it.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Its name, with the unit of its places.
    pub title: String,
    /// Where each index lies.
    pub places: Vec<f64>,
    /// What each index is called, where names say more than places.
    pub names: Option<Vec<String>>,
}

impl Scale {
    /// Of `axis`: coordinates in their unit (times in seconds), labels of channels and where no unit is known, or indices.
    pub fn of(axis: &Axis) -> Self {
        let indices = || (0..axis.length).map(|i| i as f64).collect();
        let world = world(axis).filter(|_| axis.kind != AxisKind::Channel);
        match (world, &axis.labels) {
            (Some((unit, factor)), _) => {
                let places = (0..axis.length).map(|i| axis.coordinate(i) * factor).collect();
                Self { title: format!("{} ({})", axis.name, symbol(&unit)), places, names: None }
            }
            (None, Some(names)) => Self { title: axis.name.clone(), places: indices(), names: Some(names.clone()) },
            (None, None) => {
                let places = axis.coordinates.clone().unwrap_or_else(indices);
                Self { title: axis.name.clone(), places, names: None }
            }
        }
    }

    /// Some indices, and what stands at them.
    pub(super) fn indices(&self) -> Vec<(usize, String)> {
        let n = self.places.len();
        match &self.names {
            Some(names) if n <= FEW_NAMES => (0..).zip(names.iter().cloned()).collect(),
            Some(names) => indices(n).map(|i| (i, names[i].clone())).collect(),
            None => indices(n).map(|i| (i, short(self.places[i]))).collect(),
        }
    }
}

/// A number in about four digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        _ if value.fract() == 0.0 => value.to_string(),
        size => format!("{value:.*}", (3 - size.log10().floor() as i32).clamp(0, 6) as usize),
    }
}

/// Up to six indices of an axis of length `n`, in steps of 1, 2 or 5 times a power of ten.
pub(super) fn indices(n: usize) -> impl Iterator<Item = usize> {
    let least = n.div_ceil(ENOUGH).max(1);
    let power = 10usize.pow(least.ilog10());
    let step = [1, 2, 5, 10].map(|k| k * power).into_iter().find(|s| *s >= least).unwrap_or(least);
    (0..n).step_by(step)
}

/// Round numbers from `low` to `high`, and how they are written.
pub(super) fn round(low: f64, high: f64) -> Vec<(f64, String)> {
    let rough = (high - low) / (ENOUGH - 1) as f64;
    if !(rough > 0.0 && rough.is_finite()) {
        return vec![(low, short(low))];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0].map(|k| k * power).into_iter().find(|s| *s >= rough).unwrap_or(10.0 * power);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    let digits = (-step.log10().floor()).max(0.0) as usize;
    let written = |value: f64| match digits > 4 || value.abs() >= 1e6 {
        true => format!("{value:.2e}"),
        false => format!("{value:.digits$}"),
    };
    (first..=last).map(|k| (k as f64 * step, written(k as f64 * step))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axis::{Calibration, Provenance};

    #[test]
    fn ticks_are_round() {
        assert_eq!(indices(5).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(indices(1536).collect::<Vec<_>>(), [0, 500, 1000, 1500]);
        assert_eq!([0.0, 123.456, 120.0, 1e9].map(short), ["0", "123.5", "120", "1.00e9"]);
        let texts = |low, high| round(low, high).into_iter().map(|t| t.1).collect::<Vec<_>>();
        assert_eq!(texts(-0.07, 0.21), ["0.0", "0.1", "0.2"]);
        assert_eq!(texts(3.0, 17.0), ["5", "10", "15"]);
        assert_eq!(texts(2e6, 4e6), ["2.00e6", "2.50e6", "3.00e6", "3.50e6", "4.00e6"]);
        assert_eq!(texts(7.0, 7.0), ["7"]);
    }

    #[test]
    fn places_are_in_the_world() {
        let step = Calibration { step: 0.5, unit: Some("minute".into()), from: Provenance::CommandLine };
        let mut axis = Axis::new("t", 3).calibrated(step);
        let scale = Scale::of(&axis);
        assert_eq!((scale.title.as_str(), &scale.places[..]), ("t (s)", &[0.0, 30.0, 60.0][..]));
        axis.labels = Some(vec!["7".into(), "8".into(), "9".into()]);
        assert_eq!(Scale::of(&axis).title, "t (s)");
        let step = Calibration { step: 0.5, unit: Some("micrometer".into()), from: Provenance::CommandLine };
        assert_eq!(Scale::of(&Axis::new("z", 3).calibrated(step)).title, "z (µm)");
        axis.calibration = None;
        axis.labels = Some(vec!["a".into(), "b".into(), "c".into()]);
        assert_eq!(Scale::of(&axis).indices()[2], (2, "c".to_owned()));
        assert_eq!(Scale::of(&Axis::new("q", 2)).indices()[1], (1, "1".to_owned()));
    }
}
