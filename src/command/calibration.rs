//! Voxel sizes and time steps as typed: `z=0.5um`, `200ms`.

use crate::axis::{Calibration, Provenance};
use crate::error::{Error, Result};

/// Units people type and their UDUNITS names.
const UNITS: [(&str, &str); 22] = [
    ("pm", "picometer"),
    ("nm", "nanometer"),
    ("um", "micrometer"),
    ("µm", "micrometer"),
    ("μm", "micrometer"),
    ("mm", "millimeter"),
    ("cm", "centimeter"),
    ("m", "meter"),
    ("in", "inch"),
    ("A", "angstrom"),
    ("ns", "nanosecond"),
    ("us", "microsecond"),
    ("µs", "microsecond"),
    ("μs", "microsecond"),
    ("ms", "millisecond"),
    ("s", "second"),
    ("sec", "second"),
    ("min", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("deg", "degree"),
    ("rad", "radian"),
];

/// Reads `0.5um`.
pub(super) fn quantity(text: &str) -> Result<Calibration> {
    let no = |why: &str| Error::usage(format!("'{text}' {why}: a number with a unit, such as 0.5um or 200ms"));
    let trimmed = text.trim();
    let split = trimmed
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || ((*c == '-' || *c == '+') && *i == 0)))
        .map_or(trimmed.len(), |(i, _)| i);
    let step: f64 = trimmed[..split].parse().map_err(|_| no("is not a size"))?;
    if !(step.is_finite() && step > 0.0) {
        return Err(no("is not a positive size"));
    }
    let symbol = trimmed[split..].trim();
    let unit = UNITS.iter().find(|(short, long)| *short == symbol || *long == symbol).map(|(_, long)| *long);
    let unit = unit.ok_or_else(|| no(if symbol.is_empty() { "has no unit" } else { "has a unit nobody knows" }))?;
    Ok(Calibration { step, unit: Some(unit.into()), from: Provenance::CommandLine })
}

/// Reads `--voxel-size` and `--time-step` into calibrations by axis.
pub(super) fn from_flags(voxel_size: &[String], time_step: Option<&str>) -> Result<Vec<(String, Calibration)>> {
    let mut found = Vec::new();
    for item in voxel_size {
        let (axis, size) = item.split_once('=').ok_or_else(|| {
            Error::usage(format!("--voxel-size '{item}' does not say which axis: write z=0.5um,y=104nm,x=104nm"))
        })?;
        found.push((axis.trim().to_string(), quantity(size).map_err(|e| e.at("--voxel-size"))?));
    }
    if let Some(time) = time_step {
        found.push(("t".to_string(), quantity(time).map_err(|e| e.at("--time-step"))?));
    }
    Ok(found)
}

/// Units that lead to the next larger one: how many of the first make one of the second.
const LARGER: [(&str, f64, &str); 9] = [
    ("picometer", 1e3, "nanometer"),
    ("angstrom", 10.0, "nanometer"),
    ("nanometer", 1e3, "micrometer"),
    ("micrometer", 1e3, "millimeter"),
    ("millimeter", 1e3, "meter"),
    ("nanosecond", 1e3, "microsecond"),
    ("microsecond", 1e3, "millisecond"),
    ("millisecond", 1e3, "second"),
    ("minute", 1.0 / 60.0, "second"),
];

/// The step in the largest unit of its kind that [`LARGER`] leads to: comparable with others.
fn in_large_units(calibration: &Calibration) -> (f64, Option<&str>) {
    let (mut step, mut unit) = (calibration.step, calibration.unit.as_deref());
    while let Some((_, factor, larger)) = LARGER.iter().find(|(small, ..)| Some(*small) == unit) {
        (step, unit) = (step / factor, Some(*larger));
    }
    (step, unit)
}

/// Whether two say the same, be it in other units.
pub(super) fn agree(a: &Calibration, b: &Calibration) -> bool {
    let ((a, unit_a), (b, unit_b)) = (in_large_units(a), in_large_units(b));
    unit_a == unit_b && (a - b).abs() <= 1e-3 * a.abs()
}

/// A step in a unit that keeps it short, in five digits: `0.104 µm`, `43.75 s`.
pub(super) fn words(calibration: &Calibration) -> String {
    let mut calibration = calibration.clone();
    while calibration.step.abs() >= 1e3 {
        let unit = calibration.unit.as_deref();
        let Some((_, factor, larger)) = LARGER.iter().find(|(small, f, _)| Some(*small) == unit && *f > 1.0) else {
            break;
        };
        calibration.step /= factor;
        calibration.unit = Some((*larger).to_owned());
    }
    let magnitude = calibration.step.abs().max(1e-9).log10().floor();
    let scale = 10f64.powi((4 - magnitude as i32).max(0));
    let step = (calibration.step * scale).round() / scale;
    match &calibration.unit {
        Some(unit) => {
            let short = UNITS.iter().find(|(_, long)| long == unit).map_or(unit.as_str(), |(short, _)| short);
            let short = if short == "um" { "µm" } else { short };
            format!("{step} {short}")
        }
        None => format!("{step} (no unit)"),
    }
}

/// Where a calibration came from, for people.
pub(super) fn origin(from: Provenance) -> &'static str {
    match from {
        Provenance::CommandLine => "the command line",
        Provenance::Ome => "OME metadata",
        Provenance::ImageJ => "ImageJ's description",
        Provenance::Vendor => "the acquisition program's tags",
        Provenance::Resolution => "the TIFF resolution tags",
        Provenance::Name => "the names",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_number_and_a_known_unit() {
        let size = quantity("0.5um").unwrap();
        assert_eq!((size.step, size.unit.as_deref()), (0.5, Some("micrometer")));
        assert_eq!(quantity("200 ms").unwrap().unit.as_deref(), Some("millisecond"));
        assert_eq!(words(&size), "0.5 µm");
        assert_eq!(words(&quantity("43748.333ms").unwrap()), "43.748 s");
        assert_eq!(words(&quantity("106496nm").unwrap()), "106.5 µm");
        assert!(agree(&quantity("43.7483s").unwrap(), &quantity("43748.33ms").unwrap()));
        assert!(agree(&quantity("2min").unwrap(), &quantity("120s").unwrap()));
        assert!(!agree(&size, &quantity("0.5mm").unwrap()));
        for wrong in ["0.5", "um", "-1um", "0um", "1parsec", ""] {
            assert_eq!(quantity(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
        let flags = from_flags(&["z=1um".into(), "x = 2nm".into()], Some("3s")).unwrap();
        assert_eq!(flags.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), ["z", "x", "t"]);
        assert!(from_flags(&["1um".into()], None).unwrap_err().to_string().contains("which axis"));
    }
}
