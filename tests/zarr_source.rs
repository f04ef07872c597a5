//! The Zarr source on arrays that other programs wrote.

use std::fs;
use std::sync::Arc;

use crate::common;
use crate::common::tempdir;
use serde_json::Value;
use sha2::{Digest, Sha256};
use stackctl::block::Block;
use stackctl::error::{Error, Result};
use stackctl::grid::Region;
use stackctl::source::zarr::ZarrSource;
use stackctl::source::{FileArray, OpenOptions};

/// The whole array in the folder.
fn read(path: &std::path::Path) -> Result<(Block, Arc<ZarrSource>)> {
    let source = Arc::new(ZarrSource::open(path, &OpenOptions::default())?);
    Ok((common::read_whole(&source)?, source))
}

#[test]
fn arrays_of_others_read_as_zarr_python_reads_them() {
    let Some(corpus) = common::corpus() else { return };
    let manifest: Value = serde_json::from_slice(&fs::read(corpus.join("manifest.json")).unwrap()).unwrap();
    let (mut n_equal, mut problems) = (0, vec![]);
    for store in manifest["zarr"].as_array().unwrap() {
        for array in store["arrays"].as_array().unwrap() {
            let name = format!("{}/{}", store["path"].as_str().unwrap(), array["path"].as_str().unwrap());
            let expect = array["expect"].as_str().unwrap();
            let truth = &array["truth"];
            match read(&corpus.join(name.trim_end_matches('/'))) {
                Ok((block, source)) => {
                    let found = Sha256::digest(block.bytes()).iter().map(|b| format!("{b:02x}")).collect::<String>();
                    let dtype = truth["dtype"].as_str().map(|d| d.trim_start_matches(['<', '>']).to_owned());
                    if truth["sha256"].is_null() {
                        println!("{name}: read, no truth");
                    } else if truth["sha256"] == found && dtype.as_deref() == Some(source.info().dtype.name()) {
                        n_equal += 1;
                    } else {
                        problems.push(format!("{name}: {found} {} is not {truth}", source.info().dtype));
                    }
                }
                Err(Error::Unsupported(why)) if expect != "decode" => println!("{name}: {why}"),
                Err(e) => problems.push(format!("{name}: {expect}: {e}")),
            }
        }
    }
    println!("{n_equal} arrays equal");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn filters_of_numcodecs_are_undone() {
    let folder = tempdir().unwrap();
    common::python("filters.py", &[folder.path()]);
    let mut n = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "zarr") {
            let (block, _) = read(&path).unwrap_or_else(|e| panic!("{e}"));
            assert!(block.bytes() == fs::read(path.with_extension("raw")).unwrap(), "{}", path.display());
            n += 1;
        }
    }
    println!("{n} arrays equal");
}

/// Reads an array whose `zarr.json` is a plain one with the values at `changes` replaced.
fn altered(folder: &std::path::Path, changes: &[(&str, Value)]) -> Result<Block> {
    let mut document = serde_json::json!({
        "zarr_format": 3, "node_type": "array", "shape": [4, 6], "data_type": "uint16", "fill_value": 7,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 4]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "sharding_indexed", "configuration": {
            "chunk_shape": [2, 2], "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]}}],
    });
    for (at, value) in changes {
        *document.pointer_mut(at).unwrap() = value.clone();
    }
    fs::write(folder.join("zarr.json"), document.to_string()).unwrap();
    read(folder).map(|(block, _)| block)
}

/// Metadata with `n` bytes changed, by a generator of numbers that `state` is the memory of.
fn mutated(text: &[u8], state: &mut u64) -> Vec<u8> {
    let mut next = |n: usize| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize % n
    };
    let mut text = text.to_vec();
    for _ in 0..=next(3) {
        let at = next(text.len());
        match next(5) {
            0 => text[at] = b"0123456789[]{},:-\"aeinu.~"[next(25)],
            1 => drop(text.remove(at)),
            2 => text.insert(at, b"0123456789[]{},:-\"aeinu.~"[next(25)]),
            // Parts of it once more: words at places where others are expected.
            3 => {
                let part = text[at..text.len().min(at + 1 + next(24))].to_vec();
                let to = next(text.len());
                text.splice(to..to, part);
            }
            _ => {
                // Numbers that do not fit.
                let digits = text.iter().enumerate().filter(|(_, b)| b.is_ascii_digit()).map(|(i, _)| i);
                let digits: Vec<usize> = digits.collect();
                if let Some(&at) = digits.get(next(digits.len().max(1))) {
                    let huge: [&[u8]; 5] = [b"18446744073709551615", b"-1", b"0", b"4294967296", b"1e308"];
                    text.splice(at..=at, huge[next(5)].iter().copied());
                }
            }
        }
    }
    text
}

#[test]
fn mutated_metadata_end_in_errors_or_elements() {
    let folder = tempdir().unwrap();
    let v3 = {
        altered(folder.path(), &[]).unwrap();
        fs::read(folder.path().join("zarr.json")).unwrap()
    };
    fs::remove_file(folder.path().join("zarr.json")).unwrap();
    let v2 = br#"{"zarr_format": 2, "shape": [4, 6], "chunks": [2, 3], "dtype": "<u2", "fill_value": 7, "order": "F",
        "compressor": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}, "filters": null}"#;
    let ngff = br#"{"multiscales": [{"version": "0.4", "axes": [{"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space"}], "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale",
        "scale": [0.5, 2]}, {"type": "translation", "translation": [1, 2]}]}]}], "omero": {"channels": []}}"#;
    let image = folder.path().join("image");
    fs::create_dir_all(image.join("0")).unwrap();
    fs::write(image.join(".zgroup"), br#"{"zarr_format": 2}"#).unwrap();
    fs::write(image.join("0/.zarray"), v2).unwrap();
    fs::write(image.join("0/0.0"), b"no chunk").unwrap();
    let mut state = 1;
    let mut n_opened = 0;
    for (text, file, opened) in [
        (&v3[..], folder.path().join("a/zarr.json"), folder.path().join("a")),
        (&v2[..], folder.path().join("b/.zarray"), folder.path().join("b")),
        (&ngff[..], image.join(".zattrs"), image.clone()),
    ] {
        fs::create_dir_all(&opened).unwrap();
        for _ in 0..400 {
            fs::write(&file, mutated(text, &mut state)).unwrap();
            let Ok(source) = ZarrSource::open(&opened, &OpenOptions::default()).map(Arc::new) else { continue };
            n_opened += 1;
            let info = source.info();
            let region = Region::whole(&info.shape());
            // What a command would refuse to hold.
            if region.n_elements() > 1 << 20 || info.scratch_bytes > 1 << 26 {
                continue;
            }
            let _ = common::read_region(&source, &region);
        }
    }
    assert!(n_opened > 150, "{n_opened}");
}

#[test]
fn hostile_metadata_are_errors() {
    let folder = tempdir().unwrap();
    let at = |change: (&str, Value)| altered(folder.path(), &[change]);
    assert_eq!(altered(folder.path(), &[]).unwrap().elements::<u16>(), [7; 24]);
    let (huge, inner) = (u64::MAX, "/codecs/0/configuration");
    let configuration = |key: &str| format!("{inner}/{key}");
    let chunk = "/chunk_grid/configuration/chunk_shape";
    use serde_json::json;
    for (pointer, values) in [
        ("/shape", vec![json!([4]), json!([4, 6, 1]), json!([-1, 6]), json!("x"), json!([1.5, 2])]),
        ("/data_type", vec![json!("uint24"), json!({"name": "struct"}), json!(3), json!("r16"), json!("string")]),
        ("/fill_value", vec![json!("x"), json!(70_000), json!(-1), json!([1, 2]), json!(null)]),
        (chunk, vec![json!([0, 4]), json!([4]), json!([3, 4]), json!([]), json!([4, 4, 4]), json!([huge, huge])]),
        ("/chunk_grid/name", vec![json!("rectilinear"), json!("x")]),
        ("/chunk_key_encoding/name", vec![json!("x")]),
        ("/codecs", vec![json!([]), json!([{"name": "gzip"}]), json!([{"name": "x"}]), json!(3)]),
        (&configuration("chunk_shape"), vec![json!([0, 2]), json!([2]), json!([3, 2]), json!([huge, 1])]),
        (&configuration("index_codecs"), vec![json!([]), json!([{"name": "bytes"}, {"name": "gzip"}])]),
        (&configuration("codecs"), vec![json!([]), json!([{"name": "bytes"}, {"name": "bytes"}])]),
    ] {
        for value in values {
            assert!(at((pointer, value.clone())).is_err(), "{pointer} {value}");
        }
    }
    // More than memory holds, or nothing at all: opened, and refused or read by whoever wants the elements.
    for shape in [json!([huge, huge]), json!([1u64 << 62, 1u64 << 62])] {
        assert!(at(("/shape", shape)).is_err());
    }
    assert_eq!(at(("/shape", json!([0, 6]))).unwrap().bytes().len(), 0);
    let big = [(chunk, json!([1u64 << 40, 4])), (&configuration("chunk_shape"), json!([1u64 << 40, 4]))];
    assert!(altered(folder.path(), &big).is_ok(), "no chunk is there to be decoded");

    // Shards that contradict themselves.
    fs::create_dir_all(folder.path().join("c/0")).unwrap();
    let shard = folder.path().join("c/0/0");
    let index = |entries: [(u64, u64); 4]| {
        let mut bytes: Vec<u8> =
            entries.iter().flat_map(|(o, n)| [o.to_le_bytes(), n.to_le_bytes()].concat()).collect();
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    };
    let none = (huge, huge);
    let elements = [1u16, 2, 3, 4].map(u16::to_le_bytes).concat();
    let whole = [elements.clone(), index([(0, 8), none, none, none])].concat();
    fs::write(&shard, &whole).unwrap();
    let found = altered(folder.path(), &[]).unwrap();
    assert_eq!(found.elements::<u16>()[..8], [1, 2, 7, 7, 7, 7, 3, 4]);
    for entry in [(0, 9), (1 << 40, 8), (huge - 1, 8), (huge, 8), (8, huge), (0, 0), (0, 4)] {
        fs::write(&shard, [elements.clone(), index([entry, none, none, none])].concat()).unwrap();
        let said = altered(folder.path(), &[]).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(said.contains("c/0/0"), "{entry:?}: {said}");
    }
    let mut wrong = whole.clone();
    wrong[20] ^= 1;
    for damage in [&wrong[..], &whole[..30], &[]] {
        fs::write(&shard, damage).unwrap();
        assert!(altered(folder.path(), &[]).is_err());
    }
}
