//! Coordinates of axes as one-dimensional arrays beside the full resolution, where xarray finds them by name.

use serde_json::{Value, json};

use super::{ZarrFormat, display, metadata};
use crate::axis::{Axis, AxisKind};
use crate::unit;

/// Axes that are longer have none.
const MOST: u64 = 1 << 20;

/// A one-dimensional array.
pub(super) struct Coordinates {
    /// Its name, which is the axis's.
    pub(super) name: String,
    /// Its metadata: of the array, and in Zarr v2 its attributes.
    pub(super) documents: Vec<(&'static str, Value)>,
    /// Its one chunk.
    pub(super) chunk: (String, Vec<u8>),
}

/// Coordinates of those `axes` of which they are known: names of channels, times in seconds, places in the axis's
/// unit.
pub(super) fn coordinates(axes: &[Axis], format: ZarrFormat) -> Vec<Coordinates> {
    let is_free = |axis: &&Axis| axis.name.parse::<u64>().is_err() && (1..=MOST).contains(&axis.length);
    axes.iter().filter(is_free).filter_map(|axis| of(axis, format)).collect()
}

fn of(axis: &Axis, format: ZarrFormat) -> Option<Coordinates> {
    if axis.kind == AxisKind::Channel && axis.labels.is_some() {
        return Some(strings(axis, format));
    }
    if axis.coordinates.is_some() || axis.calibration.is_some() {
        return Some(numbers(axis, format));
    }
    axis.labels.is_some().then(|| strings(axis, format))
}

fn numbers(axis: &Axis, format: ZarrFormat) -> Coordinates {
    let unit = axis.unit();
    let seconds = unit.filter(|_| axis.kind == AxisKind::Time).and_then(unit::seconds);
    let factor = seconds.unwrap_or(1.0);
    let values = (0..axis.length).flat_map(|i| (axis.coordinate(i) * factor).to_le_bytes()).collect();
    let unit = if seconds.is_some() { Some("second") } else { unit };
    let (dtype, codec) = (json!("float64"), json!({"name": "bytes", "configuration": {"endian": "little"}}));
    let documents = match format {
        ZarrFormat::V3 => documents_v3(axis, &dtype, &codec, &json!("NaN"), unit),
        ZarrFormat::V2 => documents_v2(axis, "<f8", unit),
    };
    Coordinates { name: axis.name.clone(), documents, chunk: (metadata::chunk_key(format, &axis.name, &[0]), values) }
}

/// In Zarr v3 text of any length, as many as there are and each with its length in front; in v2 of one length.
fn strings(axis: &Axis, format: ZarrFormat) -> Coordinates {
    let labels = display::labels(axis);
    let key = metadata::chunk_key(format, &axis.name, &[0]);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let (documents, bytes) = match format {
        ZarrFormat::V3 => {
            let mut bytes = count(labels.len()).to_vec();
            for label in &labels {
                bytes.extend(count(label.len()));
                bytes.extend(label.as_bytes());
            }
            (documents_v3(axis, &json!("string"), &json!({"name": "vlen-utf8"}), &json!(""), None), bytes)
        }
        ZarrFormat::V2 => {
            let longest = labels.iter().map(|l| l.chars().count()).max().unwrap_or(0).max(1);
            let padded = |label: &String| {
                label.chars().map(u32::from).chain(std::iter::repeat(0)).take(longest).collect::<Vec<_>>()
            };
            let bytes = labels.iter().flat_map(padded).flat_map(u32::to_le_bytes).collect();
            (documents_v2(axis, &format!("<U{longest}"), None), bytes)
        }
    };
    Coordinates { name: axis.name.clone(), documents, chunk: (key, bytes) }
}

fn attributes(unit: Option<&str>) -> Value {
    unit.map_or_else(|| json!({}), |unit| json!({"units": unit}))
}

fn documents_v3(
    axis: &Axis,
    dtype: &Value,
    codec: &Value,
    fill: &Value,
    unit: Option<&str>,
) -> Vec<(&'static str, Value)> {
    let document = json!({
        "zarr_format": 3,
        "node_type": "array",
        "shape": [axis.length],
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [axis.length]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": [codec],
        "attributes": attributes(unit),
        "dimension_names": [axis.name],
    });
    vec![("zarr.json", document)]
}

fn documents_v2(axis: &Axis, dtype: &str, unit: Option<&str>) -> Vec<(&'static str, Value)> {
    let mut attributes = attributes(unit);
    attributes["_ARRAY_DIMENSIONS"] = json!([axis.name]);
    let array = json!({
        "zarr_format": 2, "shape": [axis.length], "chunks": [axis.length], "dtype": dtype, "compressor": null,
        "fill_value": null, "order": "C", "filters": null, "dimension_separator": "/",
    });
    vec![(".zarray", array), (".zattrs", attributes)]
}
