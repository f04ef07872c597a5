//! The metadata documents of Zarr arrays and groups, v2 and v3, and the names of their files.

use serde_json::{Value, json};

use super::{ZarrFormat, ZarrOptions};
use crate::axis::Axis;
use crate::dtype::DType;
use crate::sink::Spec;

/// Path of the chunk or shard at `position` of the array at `prefix`.
pub(crate) fn chunk_key(format: ZarrFormat, prefix: &str, position: &[u64]) -> String {
    let first = match format {
        ZarrFormat::V3 => Some("c".to_owned()),
        ZarrFormat::V2 => position.is_empty().then(|| "0".to_owned()),
    };
    let prefix = Some(prefix.to_owned()).filter(|p| !p.is_empty());
    let parts: Vec<String> = prefix.into_iter().chain(first).chain(position.iter().map(u64::to_string)).collect();
    parts.join("/")
}

/// `zarr.json` of an array.
pub(crate) fn array_v3(spec: &Spec, options: &ZarrOptions, attributes: &Value) -> Value {
    let size = spec.dtype.size();
    let to_bytes = if size == 1 {
        json!({"name": "bytes"})
    } else {
        json!({"name": "bytes", "configuration": {"endian": "little"}})
    };
    let mut codecs = vec![to_bytes];
    codecs.extend(options.codec.v3(size));
    if options.shards.is_some() {
        codecs = vec![json!({"name": "sharding_indexed", "configuration": {
            "chunk_shape": options.chunks,
            "codecs": codecs,
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
            "index_location": "end",
        }})];
    }
    json!({
        "zarr_format": 3,
        "node_type": "array",
        "shape": spec.shape(),
        "data_type": spec.dtype.name(),
        "chunk_grid": {"name": "regular", "configuration": {
            "chunk_shape": options.shards.as_ref().unwrap_or(&options.chunks),
        }},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill_v3(spec.dtype, &spec.fill),
        "codecs": codecs,
        "attributes": attributes,
        "dimension_names": names(&spec.axes),
    })
}

/// `.zarray`.
pub(crate) fn array_v2(spec: &Spec, options: &ZarrOptions) -> Value {
    json!({
        "zarr_format": 2,
        "shape": spec.shape(),
        "chunks": options.chunks,
        "dtype": spec.dtype.typestr(),
        "compressor": options.codec.v2(),
        "fill_value": fill_v2(spec.dtype, &spec.fill),
        "order": "C",
        "filters": null,
        "dimension_separator": "/",
    })
}

/// Names of the axes, slowest first.
pub(crate) fn names(axes: &[Axis]) -> Vec<&str> {
    axes.iter().map(|a| a.name.as_str()).collect()
}

/// Whether readers get the very bits of `fill` (little-endian) back from the metadata: Zarr v2 knows one
/// NaN only, and zarr-python loses the bits of others in half floats.
pub(crate) fn fill_is_exact(format: ZarrFormat, dtype: DType, fill: &[u8]) -> bool {
    let unit = dtype.swap_size();
    format == ZarrFormat::V3 && !dtype.is_complex() && unit > 2
        || !(dtype.is_float() || dtype.is_complex())
        || fill.chunks_exact(unit).all(|part| match float(part) {
            Some(value) => !value.is_nan() || part == canonical_nan(unit),
            None => false,
        })
}

/// The NaN that a reader makes of the word, little-endian.
fn canonical_nan(n_bytes: usize) -> &'static [u8] {
    match n_bytes {
        2 => &[0x00, 0x7e],
        4 => &[0x00, 0x00, 0xc0, 0x7f],
        _ => &[0, 0, 0, 0, 0, 0, 0xf8, 0x7f],
    }
}

/// The float whose little-endian bytes are given.
fn float(part: &[u8]) -> Option<f64> {
    match part.len() {
        2 => Some(half::f16::from_le_bytes(part.try_into().ok()?).to_f64()),
        4 => Some(f64::from(f32::from_le_bytes(part.try_into().ok()?))),
        8 => Some(f64::from_le_bytes(part.try_into().ok()?)),
        _ => None,
    }
}

/// Little-endian bytes of an element in native order.
fn little(dtype: DType, element: &[u8]) -> Vec<u8> {
    let mut bytes = element.to_vec();
    if cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(dtype.swap_size()).for_each(<[u8]>::reverse);
    }
    bytes
}

fn fill_v3(dtype: DType, fill: &[u8]) -> Value {
    fill_value(dtype, fill, |part| {
        let hex: String = part.iter().rev().map(|b| format!("{b:02x}")).collect();
        Value::from(format!("0x{hex}"))
    })
}

fn fill_v2(dtype: DType, fill: &[u8]) -> Value {
    fill_value(dtype, fill, |_| Value::from("NaN"))
}

/// One element as JSON; `odd_nan` writes a NaN other than the one that "NaN" stands for.
fn fill_value(dtype: DType, fill: &[u8], odd_nan: fn(&[u8]) -> Value) -> Value {
    let bytes = little(dtype, fill);
    let unsigned = || bytes.iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
    let part = |part: &[u8]| match float(part) {
        Some(v) if v.is_nan() && part == canonical_nan(part.len()) => Value::from("NaN"),
        Some(v) if v.is_nan() => odd_nan(part),
        Some(v) if v.is_infinite() => Value::from(if v > 0.0 { "Infinity" } else { "-Infinity" }),
        Some(v) => Value::from(v),
        None => Value::Null,
    };
    match dtype {
        DType::Bool => Value::from(unsigned() != 0),
        _ if dtype.is_unsigned() => Value::from(unsigned()),
        _ if dtype.is_signed() => {
            let shift = 64 - 8 * bytes.len() as u32;
            Value::from((unsigned() << shift) as i64 >> shift)
        }
        _ if dtype.is_complex() => Value::from(bytes.chunks_exact(dtype.swap_size()).map(part).collect::<Vec<_>>()),
        _ => part(&bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_values_keep_their_bits() {
        let v3 = |dtype: DType, bytes: &[u8]| fill_v3(dtype, bytes).to_string();
        assert_eq!(v3(DType::Bool, &[1]), "true");
        assert_eq!(v3(DType::Int16, &(-2i16).to_ne_bytes()), "-2");
        assert_eq!(v3(DType::Uint64, &u64::MAX.to_ne_bytes()), "18446744073709551615");
        assert_eq!(v3(DType::Int64, &i64::MIN.to_ne_bytes()), "-9223372036854775808");
        assert_eq!(v3(DType::Float32, &f32::NAN.to_ne_bytes()), "\"NaN\"");
        assert_eq!(v3(DType::Float32, &0x7fc0_0001u32.to_ne_bytes()), "\"0x7fc00001\"");
        assert_eq!(v3(DType::Float64, &f64::NEG_INFINITY.to_ne_bytes()), "\"-Infinity\"");
        assert_eq!(v3(DType::Float64, &(-0.0f64).to_ne_bytes()), "-0.0");
        assert_eq!(v3(DType::Float16, &half::f16::from_f32(1.5).to_ne_bytes()), "1.5");
        assert_eq!(v3(DType::Complex64, &[1f32.to_ne_bytes(), f32::NAN.to_ne_bytes()].concat()), "[1.0,\"NaN\"]");
        let odd = 0x7fc0_0001u32.to_le_bytes();
        assert!(fill_is_exact(ZarrFormat::V3, DType::Float32, &odd));
        assert!(!fill_is_exact(ZarrFormat::V2, DType::Float32, &odd));
        assert!(fill_is_exact(ZarrFormat::V2, DType::Float32, &f32::NAN.to_le_bytes()));
        assert!(fill_is_exact(ZarrFormat::V2, DType::Uint32, &odd));
    }

    #[test]
    fn keys_are_as_the_formats_say() {
        assert_eq!(chunk_key(ZarrFormat::V3, "0", &[1, 20]), "0/c/1/20");
        assert_eq!(chunk_key(ZarrFormat::V2, "0", &[1, 20]), "0/1/20");
        assert_eq!(chunk_key(ZarrFormat::V3, "0", &[]), "0/c");
        assert_eq!(chunk_key(ZarrFormat::V2, "0", &[]), "0/0");
        assert_eq!(chunk_key(ZarrFormat::V3, "", &[1, 20]), "c/1/20");
        assert_eq!(chunk_key(ZarrFormat::V2, "", &[1, 20]), "1/20");
    }
}
