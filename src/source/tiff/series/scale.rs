//! Steps of axes that descriptions and tags state, and sizes of pixels that mean something.

use crate::axis::{Axis, Calibration, Provenance};
use crate::source::tiff::page::PageKind;

/// Adds the pixel size that the resolution tags give.
pub(super) fn calibrate(axes: &mut [Axis], kind: &PageKind) {
    let (unit, um) = match kind.resolution_unit {
        2 => ("inch", 25_400.0),
        3 => ("centimeter", 10_000.0),
        _ => return,
    };
    for (name, resolution) in [("x", kind.resolution[0]), ("y", kind.resolution[1])] {
        let Some((n, d)) = resolution.filter(|&(n, d)| n > 0 && d > 0) else { continue };
        let per_unit = f64::from(n) / f64::from(d);
        if is_of_print(per_unit, unit) {
            continue;
        }
        measure(axes, name, um / per_unit, Some("micrometer"), Provenance::Resolution);
    }
}

/// Gives the axis called `name`, if there is one, a step in a unit by its UDUNITS name.
pub(super) fn measure(axes: &mut [Axis], name: &str, step: f64, unit: Option<&str>, from: Provenance) {
    let unit = unit.map(str::to_owned);
    if let Some(axis) = axes.iter_mut().find(|a| a.name == name) {
        *axis = axis.clone().calibrated(Calibration { step, unit, from });
    }
}

/// Whether so many dots per `unit` are what programs write when they know nothing: those of screens and printers.
pub(super) fn is_of_print(per_unit: f64, unit: &str) -> bool {
    let is = |dots: f64| (per_unit - dots).abs() <= 1e-3 * dots;
    match unit {
        "inch" => per_unit <= 1200.0,
        "centimeter" => {
            let usual = [72.0, 96.0, 100.0, 150.0, 200.0, 300.0, 600.0, 1200.0];
            is(1.0) || usual.into_iter().any(|dots| is(dots) || is(dots / 2.54))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_of_screens_and_printers_are_no_size() {
        for (per_unit, unit) in [(72.0, "inch"), (300.0, "inch"), (28.346, "centimeter"), (96.0, "centimeter")] {
            assert!(is_of_print(per_unit, unit), "{per_unit} per {unit}");
        }
        for (per_unit, unit) in [(25_400.0, "inch"), (34_133.3, "centimeter"), (10.0, "micrometer")] {
            assert!(!is_of_print(per_unit, unit), "{per_unit} per {unit}");
        }
    }
}
