//! Sizes with a unit, as people type and read them: `0.5um`, `200 ms`, `43.748 s`.

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

/// Reads a positive size with its unit, such as `0.5um`, as the command line states it.
///
/// # Errors
/// `Usage` if it is no positive number with a known unit.
pub fn quantity(text: &str) -> Result<Calibration> {
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
pub fn agree(a: &Calibration, b: &Calibration) -> bool {
    let ((a, unit_a), (b, unit_b)) = (in_large_units(a), in_large_units(b));
    unit_a == unit_b && (a - b).abs() <= 1e-3 * a.abs()
}

/// A step in a unit that keeps it short, in five digits: `0.104 µm`, `43.75 s`.
pub fn words(calibration: &Calibration) -> String {
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
    }
}
