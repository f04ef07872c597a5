//! Names of units as programs write them, what UDUNITS calls them, and sizes of pixels that mean something.

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

/// UDUNITS name of `text`, if it names a unit of length or time; pixels and the like do not.
pub(super) fn udunits(text: &str) -> Option<&'static str> {
    let text = text.trim().trim_matches('"').trim();
    // ImageJ escapes what is not ASCII; two signs look like micro.
    let plain = text.replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace('\u{3bc}', "µ");
    let exact = match plain.as_str() {
        "Mm" => Some("megameter"),
        "Å" | "\u{212b}" | "\\u00C5" => Some("angstrom"),
        // Micro in UTF-8 that somebody read as Latin-1.
        "Âµm" => Some("micrometer"),
        _ => None,
    };
    exact.or_else(|| {
        Some(match plain.to_lowercase().as_str() {
            "µm" | "um" | "micron" | "microns" | "micrometer" | "micrometers" | "micrometre" | "micrometres" | "mu" => {
                "micrometer"
            }
            "nm" | "nanometer" | "nanometers" | "nanometre" | "nanometres" => "nanometer",
            "pm" | "picometer" | "picometers" | "picometre" | "picometres" => "picometer",
            "mm" | "millimeter" | "millimeters" | "millimetre" | "millimetres" => "millimeter",
            "cm" | "centimeter" | "centimeters" | "centimetre" | "centimetres" => "centimeter",
            "dm" | "decimeter" | "decimetre" => "decimeter",
            "m" | "meter" | "meters" | "metre" | "metres" => "meter",
            "km" | "kilometer" | "kilometers" | "kilometre" | "kilometres" => "kilometer",
            "å" | "angstrom" | "angstroms" | "ångström" => "angstrom",
            "in" | "inch" | "inches" | "\\\"" => "inch",
            "ft" | "foot" | "feet" => "foot",
            "yd" | "yard" | "yards" => "yard",
            "mi" | "mile" | "miles" => "mile",
            "s" | "sec" | "secs" | "second" | "seconds" => "second",
            "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => "millisecond",
            "µs" | "us" | "usec" | "microsecond" | "microseconds" => "microsecond",
            "ns" | "nsec" | "nanosecond" | "nanoseconds" => "nanosecond",
            "min" | "mins" | "minute" | "minutes" => "minute",
            "h" | "hr" | "hrs" | "hour" | "hours" => "hour",
            "d" | "day" | "days" => "day",
            _ => return None,
        })
    })
}

/// Whether `text` says that distances are counted in pixels.
pub(super) fn is_pixel(text: &str) -> bool {
    matches!(text.trim().to_lowercase().as_str(), "pixel" | "pixels" | "px" | "reference frame" | "frame")
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

    #[test]
    fn every_way_to_write_micrometres_is_one_unit() {
        for text in ["µm", "μm", "um", "micron", "Microns", "\\u00B5m", "Âµm", " micrometre "] {
            assert_eq!(udunits(text), Some("micrometer"), "{text}");
        }
        assert_eq!(udunits("Mm"), Some("megameter"));
        assert_eq!(udunits("mm"), Some("millimeter"));
        for text in ["", "pixel", "px", "voxels", "grey value"] {
            assert_eq!(udunits(text), None, "{text}");
        }
        assert!(is_pixel("Pixels"));
    }
}
