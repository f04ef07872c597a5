//! OME-NGFF metadata of an image: axes with units, levels with scale and translation.
//!
//! NGFF allows two to five axes: time, then channel, then two or three of space. An array that does not
//! fit makes no such claim; its axes are still named.

use serde_json::{Value, json};

use crate::axis::{Axis, AxisKind, mean_step};
use crate::consume::levels::Method;

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

/// Axes beyond those that an NGFF image can have: of another kind than time, channels and space, all but one where there
/// are no channels.
pub(crate) fn extra(axes: &[Axis]) -> Vec<&str> {
    let has_channels = axes.iter().any(|a| a.kind == AxisKind::Channel);
    let others = axes.iter().filter(|a| a.kind == AxisKind::Other).map(|a| a.name.as_str());
    others.skip(usize::from(!has_channels)).collect()
}

/// Which of `axes` are of space, in order.
pub(crate) fn space(axes: &[Axis]) -> Vec<usize> {
    (0..axes.len()).filter(|&i| axes[i].kind == AxisKind::Space).collect()
}

/// A level of an image.
pub(crate) struct Dataset<'a> {
    /// Path of its array inside the group.
    pub(crate) path: &'a str,
    /// Elements of the full resolution that one of its elements stands for, along each axis.
    pub(crate) factor: &'a [u64],
}

/// One entry of `multiscales` for the levels of an image whose full resolution has `axes`, which were made by `method`.
/// `version` is stated for NGFF 0.4 only, where it stands here.
///
/// The schema takes any number as a step: a reversed axis has a negative one.
pub(crate) fn multiscale(
    axes: &[Axis],
    datasets: &[Dataset<'_>],
    method: Method,
    version: Option<&str>,
    name: &str,
) -> Value {
    let described: Vec<Value> = axes.iter().map(axis).collect();
    let dataset = |dataset: &Dataset<'_>| {
        let along = || axes.iter().zip(dataset.factor);
        let scale: Vec<f64> = along().map(|(axis, f)| step(axis) * *f as f64).collect();
        let origins: Vec<f64> = along().map(|(axis, f)| origin(axis) + step(axis) * method.shift(*f)).collect();
        let mut transformations = vec![json!({"type": "scale", "scale": scale})];
        if origins.iter().any(|o| *o != 0.0) {
            transformations.push(json!({"type": "translation", "translation": origins}));
        }
        json!({"path": dataset.path, "coordinateTransformations": transformations})
    };
    let mut entry = serde_json::Map::new();
    if let Some(version) = version {
        entry.insert("version".into(), json!(version));
    }
    entry.insert("name".into(), json!(name));
    entry.insert("axes".into(), json!(described));
    entry.insert("datasets".into(), datasets.iter().map(dataset).collect());
    entry.insert("type".into(), json!(method.name()));
    let description = "each level by windows of two elements of the one before, along the axes that it halves";
    let metadata = json!({"method": "stackctl", "version": env!("CARGO_PKG_VERSION"), "description": description});
    entry.insert("metadata".into(), metadata);
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

/// Distance between neighbours, 1 where it is not known and for channels, whatever their wavelengths.
fn step(axis: &Axis) -> f64 {
    if axis.kind == AxisKind::Channel {
        return 1.0;
    }
    let stated = axis.calibration.as_ref().map(|c| c.step).filter(|s| s.is_finite() && *s != 0.0);
    stated.or_else(|| regular(axis).map(|(_, step)| step)).unwrap_or(1.0)
}

/// Where index 0 lies: as the axis says, or the first of coordinates that are evenly spaced by the axis's step.
fn origin(axis: &Axis) -> f64 {
    let stated = Some(axis.origin).filter(|o| *o != 0.0 && o.is_finite() && axis.kind != AxisKind::Channel);
    let even = || regular(axis).filter(|(_, apart)| (apart - step(axis)).abs() <= 1e-6 * apart.abs());
    stated.or_else(|| even().map(|(first, _)| first)).unwrap_or(0.0)
}

/// First coordinate and distance of evenly spaced ones.
fn regular(axis: &Axis) -> Option<(f64, f64)> {
    let values = axis.coordinates.as_ref().filter(|_| axis.kind != AxisKind::Channel)?;
    let (apart, off) = mean_step(values);
    (apart.is_finite() && apart != 0.0 && off <= 1e-6 * apart.abs()).then_some((values[0], apart))
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
        let datasets = [("0", [1, 1, 1]), ("1", [1, 2, 4])];
        let datasets = datasets.each_ref().map(|(path, factor)| Dataset { path, factor });
        let entry = multiscale(&axes, &datasets, Method::Mean, Some("0.4"), "a");
        let dataset = |path: &str, scale: [f64; 3], origin: [f64; 3]| {
            json!({"path": path, "coordinateTransformations": [
                {"type": "scale", "scale": scale}, {"type": "translation", "translation": origin}]})
        };
        let full = dataset("0", [2.0, 0.25, 1.0], [5.0, 0.0, 0.0]);
        assert_eq!(entry["datasets"], json!([full, dataset("1", [2.0, 0.5, 4.0], [5.0, 0.125, 1.5])]));
        let entry = multiscale(&axes, &datasets, Method::Nearest, None, "a");
        assert_eq!(entry["datasets"][1], dataset("1", [2.0, 0.5, 4.0], [5.0, 0.0, 0.0]));
        assert_eq!(entry["axes"][1], json!({"name": "y", "type": "space", "unit": "micrometer"}));
    }
}
