//! What a TIFF file says of its axes: ImageJ's description, tifffile's, and the resolution tags.

use serde_json::json;

use crate::axis::{Axis, Calibration};
use crate::unit::{self, metres, seconds};

/// ImageJ's description of pages with `lengths` of t, z and c.
pub(super) fn imagej(axes: &[Axis], lengths: [u64; 3], n_pages: u64) -> String {
    let [t, z, c] = lengths;
    let mut text = format!("ImageJ=1.54f\nimages={n_pages}\n");
    for (name, length) in [("channels", c), ("slices", z), ("frames", t)] {
        if length > 1 {
            text += &format!("{name}={length}\n");
        }
    }
    if [t, z, c].iter().filter(|n| **n > 1).count() > 1 {
        text += "hyperstack=true\n";
    }
    text += if c > 1 { "mode=composite\n" } else { "mode=grayscale\n" };
    let step = |name: &str| axes.iter().find(|a| a.name == name).and_then(Axis::spacing);
    let plane = step("x").or(step("y"));
    if let Some(unit) = plane.and_then(|p| p.unit.as_deref()) {
        text += &format!("unit={}\n", short(unit));
    }
    if let (Some(plane), Some(depth)) = (plane, step("z"))
        && let Some(spacing) = in_unit_of(depth, plane)
    {
        text += &format!("spacing={spacing}\n");
    }
    if let Some(time) = step("t")
        && let Some(interval) = time.unit.as_deref().and_then(seconds).map(|s| s * time.step.abs())
    {
        text += &format!("finterval={interval}\n");
    }
    for axis in axes.iter().filter(|a| matches!(a.name.as_str(), "x" | "y" | "z") && a.origin != 0.0) {
        // Counted in pixels, from the first one on.
        if let Some(step) = axis.spacing().map(|c| c.step).filter(|step| *step > 0.0) {
            text += &format!("{}origin={}\n", axis.name, -axis.origin / step);
        }
    }
    text + "loop=false\n"
}

/// ImageJ's own block of metadata, and the sizes of its parts: the name of its channel as the label of each page, and the
/// colours of several channels as tables. `shown` are names and colours. Nothing if there is neither.
pub(super) fn imagej_block(
    axes: &[Axis],
    lengths: [u64; 3],
    shown: &[(String, String)],
) -> Option<(Vec<u32>, Vec<u8>)> {
    let [t, z, c] = lengths;
    let channels = axes.iter().find(|a| a.name == "c" && a.length == c)?;
    let label = |text: &String| text.encode_utf16().flat_map(u16::to_ne_bytes).collect();
    let labels = channels.labels.iter().flat_map(|names| names.iter().cycle().take((t * z * c) as usize).map(label));
    let table = |(_, colour): &(String, String)| {
        let rgb = u32::from_str_radix(colour, 16).unwrap_or(0xFF_FFFF).to_be_bytes();
        rgb[1..].iter().flat_map(|most| (0..256).map(|i| ((i * u32::from(*most) + 127) / 255) as u8)).collect()
    };
    let tables = shown.iter().take(if c > 1 { c as usize } else { 0 }).map(table);
    let parts: [(&[u8; 4], Vec<Vec<u8>>); 2] = [(b"labl", labels.collect()), (b"luts", tables.collect())];
    let word = |text: &[u8; 4]| u32::from_be_bytes(*text).to_ne_bytes();
    let mut head = word(b"IJIJ").to_vec();
    for (kind, values) in parts.iter().filter(|(_, values)| !values.is_empty()) {
        head.extend([word(kind), (values.len() as u32).to_ne_bytes()].concat());
    }
    let all = || parts.iter().flat_map(|(_, values)| values);
    let sizes = std::iter::once(&head).chain(all()).map(|part| part.len() as u32).collect();
    all().next().is_some().then(|| (sizes, std::iter::once(&head).chain(all()).flatten().copied().collect()))
}

/// tifffile's description of pages that are an array of the axes' shape.
pub(super) fn shaped(axes: &[Axis]) -> String {
    let shape = crate::axis::shape(axes);
    // Q is tifffile's letter for axes that have none.
    let letter = |a: &Axis| match a.name.as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => letter.to_ascii_uppercase().into(),
        _ => 'Q',
    };
    let letters: String = axes.iter().map(letter).collect();
    let mut own: Vec<char> = letters.chars().filter(|&c| c != 'Q').collect();
    own.sort_unstable();
    if own.is_sorted_by(|a, b| a < b) && !axes.is_empty() {
        json!({"shape": shape, "axes": letters}).to_string()
    } else {
        json!({"shape": shape}).to_string()
    }
}

/// Pixels per unit along x and y, and TIFF's number for the unit.
pub(super) struct Resolution {
    pub(super) x: (u32, u32),
    pub(super) y: (u32, u32),
    pub(super) unit: u16,
}

/// Resolution from the steps of x and y: in ImageJ's own unit, which its description names, else in
/// centimetres.
pub(super) fn resolution(axes: &[Axis], for_imagej: bool) -> Option<Resolution> {
    let step = |name: &str| axes.iter().find(|a| a.name == name).and_then(Axis::spacing);
    let (x, y) = (step("x").or(step("y"))?, step("y").or(step("x"))?);
    let (factor, unit) = if for_imagej {
        (1.0, 1)
    } else {
        match x.unit.as_deref().and_then(metres) {
            Some(metres) => (metres * 100.0, 3),
            None => (1.0, 1),
        }
    };
    let along_y = in_unit_of(y, x)?;
    Some(Resolution { x: rational(1.0 / (x.step.abs() * factor))?, y: rational(1.0 / (along_y * factor))?, unit })
}

/// The size of a step in the unit of another, if the two can be compared.
fn in_unit_of(step: &Calibration, other: &Calibration) -> Option<f64> {
    if step.unit == other.unit {
        return Some(step.step.abs());
    }
    let factor = metres(step.unit.as_deref()?)? / metres(other.unit.as_deref()?)?;
    Some(step.step.abs() * factor)
}

/// The simplest fraction that is `value` as nearly as 32 bits allow: of its continued fraction, as far as that goes.
fn rational(value: f64) -> Option<(u32, u32)> {
    let (mut before, mut last, mut rest) = ((0u32, 1u32), (1u32, 0u32), value);
    while rest.is_finite() && rest >= 0.0 && rest <= f64::from(u32::MAX) {
        let whole = rest as u32;
        let next = |a: u32, b: u32| whole.checked_mul(b)?.checked_add(a);
        let Some(fraction) = next(before.0, last.0).zip(next(before.1, last.1)) else { break };
        (before, last) = (last, fraction);
        let found = f64::from(last.0) / f64::from(last.1);
        if (found - value).abs() <= 4.0 * f64::EPSILON * value {
            break;
        }
        rest = 1.0 / (rest - f64::from(whole));
    }
    Some(last).filter(|(n, d)| *n > 0 && *d > 0)
}

/// What ImageJ calls a unit; text of a TIFF tag is ASCII.
fn short(unit: &str) -> String {
    let known = match unit {
        "micrometer" => "micron",
        "angstrom" | "inch" => unit,
        other if metres(other).is_some() => unit::short(other),
        other => other,
    };
    known.chars().filter(|c| c.is_ascii_graphic()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axis::Provenance;

    fn axis(name: &str, step: f64, unit: Option<&str>) -> Axis {
        let unit = unit.map(String::from);
        Axis::new(name, 3).calibrated(Calibration { step, unit, from: Provenance::Ome })
    }

    #[test]
    fn imagej_is_told_steps_in_its_own_units() {
        let um = Some("micrometer");
        let axes = [
            axis("t", 500.0, Some("millisecond")),
            axis("z", 300.0, Some("nanometer")),
            axis("y", 0.1, um),
            axis("x", 0.1, um),
        ];
        let text = imagej(&axes, [3, 3, 1], 9);
        for line in
            ["images=9", "slices=3", "frames=3", "hyperstack=true", "unit=micron", "spacing=0.3", "finterval=0.5"]
        {
            assert!(text.lines().any(|l| l == line || l.starts_with(line)), "{line} in {text}");
        }
        let found = resolution(&axes, true).unwrap();
        assert_eq!((found.x, found.unit), ((10, 1), 1));
        let found = resolution(&axes, false).unwrap();
        assert_eq!((found.x, found.unit), ((100_000, 1), 3));
        assert!(resolution(&axes[..2], true).is_none());
        assert_eq!(
            [1.0 / 300_000.0, 1.0 / 6.5, 1.0 / 0.104998].map(rational),
            [(1, 300_000), (2, 13), (500_000, 52_499)].map(Some)
        );
        assert!(rational(0.0).is_none() && rational(1e300).is_none() && rational(1e-300).is_none());
    }

    #[test]
    fn other_axes_are_noted_as_tifffile_does() {
        assert_eq!(shaped(&[Axis::new("p", 2), Axis::new("x", 3)]), r#"{"shape":[2,3],"axes":"PX"}"#);
        assert_eq!(shaped(&[Axis::new("well", 2), Axis::new("x", 3)]), r#"{"shape":[2,3],"axes":"QX"}"#);
    }
}
