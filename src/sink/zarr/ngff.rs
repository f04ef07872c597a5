//! OME-NGFF metadata of an image: axes with units, scale, channels.
//!
//! NGFF allows two to five axes: time, then channel, then two or three of space. An array that does not
//! fit makes no such claim; its axes are still named.

use serde_json::{Value, json};

use crate::axis::{Axis, AxisKind};
use crate::dtype::DType;

/// Why an array of these axes cannot be an NGFF image, if so.
pub(crate) fn misfit(axes: &[Axis]) -> Option<String> {
    let rank = |kind| match kind {
        AxisKind::Time => 0,
        AxisKind::Channel | AxisKind::Other => 1,
        AxisKind::Space => 2,
    };
    let count = |of: &[AxisKind]| axes.iter().filter(|a| of.contains(&a.kind)).count();
    let names: Vec<_> = axes.iter().map(|a| a.name.as_str()).collect();
    let space: String = axes.iter().filter(|a| a.kind == AxisKind::Space).map(|a| a.name.as_str()).collect();
    let distinct = names.iter().collect::<std::collections::HashSet<_>>().len() == names.len();
    if !matches!(count(&[AxisKind::Space]), 2 | 3) {
        Some("an NGFF image has two or three axes of space".into())
    } else if count(&[AxisKind::Time]) > 1 || count(&[AxisKind::Channel, AxisKind::Other]) > 1 || !distinct {
        Some("an NGFF image has at most one axis of time and one of channels or another kind".into())
    } else if !axes.is_sorted_by_key(|a| rank(a.kind)) || !matches!(space.as_str(), "zyx" | "yx") {
        Some("the axes of an NGFF image are in the order t, c, z, y, x".into())
    } else {
        None
    }
}

/// One entry of `multiscales` for a single level at `path`. `version` is stated for NGFF 0.4 only, where it
/// stands here.
pub(crate) fn multiscale(axes: &[Axis], path: &str, version: Option<&str>, name: &str) -> Value {
    let described: Vec<Value> = axes.iter().map(axis).collect();
    let mut transformations = vec![json!({"type": "scale", "scale": axes.iter().map(step).collect::<Vec<_>>()})];
    let origins: Vec<f64> = axes.iter().map(origin).collect();
    if origins.iter().any(|o| *o != 0.0) {
        transformations.push(json!({"type": "translation", "translation": origins}));
    }
    let mut entry = serde_json::Map::new();
    if let Some(version) = version {
        entry.insert("version".into(), json!(version));
    }
    entry.insert("name".into(), json!(name));
    entry.insert("axes".into(), json!(described));
    entry.insert("datasets".into(), json!([{"path": path, "coordinateTransformations": transformations}]));
    Value::Object(entry)
}

fn axis(axis: &Axis) -> Value {
    let mut described = serde_json::Map::new();
    described.insert("name".into(), json!(axis.name));
    let kind = match axis.kind {
        AxisKind::Time => Some("time"),
        AxisKind::Channel => Some("channel"),
        AxisKind::Space => Some("space"),
        AxisKind::Other => None,
    };
    if let Some(kind) = kind {
        described.insert("type".into(), json!(kind));
    }
    if let Some(unit) = axis.calibration.as_ref().and_then(|c| c.unit.as_ref()) {
        described.insert("unit".into(), json!(unit));
    }
    Value::Object(described)
}

/// Distance between neighbours, 1 where it is not known.
fn step(axis: &Axis) -> f64 {
    let stated = axis.calibration.as_ref().map(|c| c.step).filter(|s| s.is_finite() && *s != 0.0);
    stated.or_else(|| regular(axis).map(|(_, step)| step)).unwrap_or(1.0)
}

/// Where index 0 lies, if the coordinates are evenly spaced by the axis's step.
fn origin(axis: &Axis) -> f64 {
    regular(axis).filter(|(_, apart)| (apart - step(axis)).abs() <= 1e-6 * apart.abs()).map_or(0.0, |(first, _)| first)
}

/// First coordinate and distance of evenly spaced ones.
fn regular(axis: &Axis) -> Option<(f64, f64)> {
    let values = axis.coordinates.as_ref()?;
    let (first, last) = (*values.first()?, *values.last()?);
    let apart = (last - first) / (values.len() as f64 - 1.0);
    let even = |(i, v): (usize, &f64)| (v - (first + apart * i as f64)).abs() <= 1e-6 * apart.abs();
    (values.len() > 1 && apart.is_finite() && apart != 0.0 && values.iter().enumerate().all(even))
        .then_some((first, apart))
}

/// Colours of channels that say none: white alone, else the ones that overlays are read best in.
const COLOURS: [&str; 7] = ["00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF", "FFFFFF"];

/// `omero`: how a viewer should show the channels, if there are any.
pub(crate) fn omero(axes: &[Axis], dtype: DType) -> Option<Value> {
    let channels = axes.iter().find(|a| a.kind == AxisKind::Channel)?;
    let label = |i: u64| {
        let named = channels.labels.as_ref().and_then(|l| l.get(usize::try_from(i).ok()?));
        named.map_or_else(|| format!("{} {i}", channels.name), Clone::clone)
    };
    let (min, max) = range(dtype);
    let described: Vec<Value> = (0..channels.length)
        .map(|i| {
            let label = label(i);
            let colour = match label.to_lowercase().as_str() {
                "red" | "r" => "FF0000",
                "green" | "g" => "00FF00",
                "blue" | "b" => "0000FF",
                _ if channels.length == 1 => "FFFFFF",
                _ => COLOURS[(i % COLOURS.len() as u64) as usize],
            };
            json!({"label": label, "color": colour, "active": i < 4, "coefficient": 1.0, "inverted": false,
                   "family": "linear", "window": {"min": min, "max": max, "start": min, "end": max}})
        })
        .collect();
    let model = if channels.length == 1 { "greyscale" } else { "color" };
    Some(json!({"channels": described, "rdefs": {"model": model, "defaultT": 0, "defaultZ": 0}}))
}

/// The values a display goes through when nothing is known of the data.
fn range(dtype: DType) -> (f64, f64) {
    let bits = 8 * dtype.size() as i32;
    if dtype.is_unsigned() {
        (0.0, 2f64.powi(bits) - 1.0)
    } else if dtype.is_signed() {
        (-(2f64.powi(bits - 1)), 2f64.powi(bits - 1) - 1.0)
    } else {
        (0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axis::{Calibration, Provenance};

    fn axes(names: &str) -> Vec<Axis> {
        names.chars().map(|c| Axis::new(c, 3)).collect()
    }

    #[test]
    fn axes_that_do_not_fit_are_told_apart() {
        for fits in ["tczyx", "yx", "zyx", "tyx", "cyx", "pyx", "tpzyx"] {
            assert_eq!(misfit(&axes(fits)), None, "{fits}");
        }
        for no in ["ctzyx", "yxc", "x", "tcpyx", "xy", "ttyx", "zzyx", "t", ""] {
            assert!(misfit(&axes(no)).is_some(), "{no}");
        }
    }

    #[test]
    fn scale_and_origin_come_from_what_is_known() {
        let mut axes = axes("tyx");
        axes[0].coordinates = Some(vec![5.0, 7.0, 9.0]);
        axes[1].calibration = Some(Calibration { step: 0.25, unit: Some("micrometer".into()), from: Provenance::Ome });
        let entry = multiscale(&axes, "0", Some("0.4"), "a");
        let expected = json!([{"path": "0", "coordinateTransformations": [
            {"type": "scale", "scale": [2.0, 0.25, 1.0]}, {"type": "translation", "translation": [5.0, 0.0, 0.0]}]}]);
        assert_eq!(entry["datasets"], expected);
        assert_eq!(entry["axes"][1], json!({"name": "y", "type": "space", "unit": "micrometer"}));
    }
}
