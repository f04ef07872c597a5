//! `.npy`, `.tif` and `.png` outputs, read back by NumPy, tifffile and Pillow.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::common;
use crate::common::tempdir;
use serde_json::{Value, json};
use stackctl::array::Array;
use stackctl::axis::{Axis, Calibration, Provenance};
use stackctl::block::Block;
use stackctl::consume::{Consumer, Job, Product};
use stackctl::dtype::DType;
use stackctl::grid::{Grid, Region, n_elements, positions, row_major_strides};
use stackctl::sink::png::PngOptions;
use stackctl::sink::{self, OutputOptions, Spec};
use stackctl::source::OpenOptions;

/// Bytes of an element that encodes its own index.
fn element(dtype: DType, index: u64) -> Vec<u8> {
    match dtype {
        DType::Bool => vec![u8::from(index.is_multiple_of(3))],
        DType::Float16 => half::f16::from_f64(index as f64 / 8.0).to_ne_bytes().to_vec(),
        DType::Float32 => (index as f32 / 8.0 - 3.0).to_ne_bytes().to_vec(),
        DType::Float64 => (index as f64 / 8.0 - 3.0).to_ne_bytes().to_vec(),
        DType::Complex64 => [(index as f32).to_ne_bytes(), (-1f32).to_ne_bytes()].concat(),
        DType::Complex128 => [(index as f64).to_ne_bytes(), 0.5f64.to_ne_bytes()].concat(),
        _ => index.wrapping_mul(0x0101_0003).to_le_bytes()[..dtype.size()].to_vec(),
    }
}

fn spec(names: &[&str], shape: &[u64], dtype: DType) -> Spec {
    let axes = names.iter().zip(shape).map(|(n, &l)| Axis::new(*n, l)).collect();
    Spec { axes, dtype, fill: vec![0; dtype.size()], provenance: Value::Null }
}

fn block(spec: &Spec, region: Region) -> Block {
    let strides = row_major_strides(&spec.shape());
    let mut block = Block::new(region.clone(), spec.dtype).unwrap();
    for (bytes, p) in block.bytes_mut().chunks_exact_mut(spec.dtype.size()).zip(positions(&region.shape)) {
        let index = (0..p.len()).map(|i| (p[i] + region.origin[i]) * strides[i]).sum();
        bytes.copy_from_slice(&element(spec.dtype, index));
    }
    block
}

/// Writes the array in boxes of `boxes`, encoded last to first where the order is free.
fn write(sink: &mut dyn Consumer, spec: &Spec, boxes: &[u64]) -> Product {
    let grid = Grid::new(&spec.shape(), boxes);
    let regions: Vec<Region> = positions(grid.counts()).map(|p| grid.region(&p)).collect();
    common::consumed(sink, &regions, |r| block(spec, r)).remove(0)
}

fn raw(spec: &Spec) -> Vec<u8> {
    (0..n_elements(&spec.shape())).flat_map(|i| element(spec.dtype, i)).collect()
}

/// A stream whose bytes can be looked at.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn other_programs_read_what_is_written() {
    let folder = tempdir().unwrap();
    let mut cases: Vec<Value> = vec![];
    let mut case = |extension: &str, spec: &Spec, boxes: &[u64], expect: Value| {
        let number = cases.len();
        let path = folder.path().join(format!("{number}.{extension}"));
        let mut sink = sink::create(&path, spec, &OutputOptions::default()).unwrap();
        let written = write(&mut *sink, spec, boxes);
        let window = written.window.map(|(low, high)| json!({"low": low, "high": high}));
        assert_eq!((written.files, written.bytes), (1, fs::metadata(&path).unwrap().len()), "{}", path.display());
        fs::write(folder.path().join(format!("{number}.raw")), raw(spec)).unwrap();
        cases.push(json!({"path": path, "shape": spec.shape(), "dtype": spec.dtype.name(), "expect": expect,
                          "axes": spec.axes.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(), "window": window}));
    };
    for dtype in DType::ALL {
        let spec = spec(&["z", "y", "x"], &[3, 5, 7], dtype);
        case("npy", &spec, &[1, 2, 7], Value::Null);
        case("npy", &spec, &[3, 5, 7], Value::Null);
        case("tif", &spec, &[2, 5, 7], Value::Null);
    }
    for (names, shape) in [
        (&[][..], &[][..]),
        (&["t"], &[9]),
        (&["t", "c"], &[4, 3]),
        (&["p", "y", "x"], &[3, 4, 5]),
        (&["y", "x", "c"], &[4, 5, 3]),
        (&["t", "y", "x", "c"], &[2, 4, 5, 3]),
        (&["y", "x", "c"], &[4, 5, 2]),
        (&["t", "c", "z", "y", "x"], &[2, 3, 4, 5, 6]),
        (&["c", "t", "z", "y", "x"], &[3, 2, 4, 5, 6]),
        (&["t", "c", "z", "y", "x"], &[2, 1, 1, 5, 6]),
        (&["t", "well", "z", "y", "x"], &[2, 2, 2, 5, 6]),
    ] {
        let boxes: Vec<u64> = shape.iter().enumerate().map(|(i, &n)| if i == 0 { 1 } else { n }).collect();
        case("tif", &spec(names, shape, DType::Uint8), &boxes, Value::Null);
        case("npy", &spec(names, shape, DType::Uint16), &boxes, Value::Null);
    }
    let mut known = spec(&["t", "c", "z", "y", "x"], &[2, 3, 4, 5, 6], DType::Uint16);
    let step = |step, unit: &str| Some(Calibration { step, unit: Some(unit.into()), from: Provenance::CommandLine });
    known.axes[0].calibration = step(250.0, "millisecond");
    known.axes[2].calibration = step(0.5, "micrometer");
    known.axes[3].calibration = step(0.25, "micrometer");
    known.axes[4].calibration = step(0.125, "micrometer");
    let expect = json!({"imagej": {"channels": 3, "slices": 4, "frames": 2, "hyperstack": true, "unit": "micron",
                        "spacing": 0.5, "finterval": 0.25}, "resolution": [8.0, 4.0], "axes": "TZCYX"});
    case("tif", &known, &[1, 1, 4, 5, 3], expect);
    case("png", &spec(&["y", "x"], &[50, 70], DType::Uint16), &[7, 70], json!("L"));
    case("png", &spec(&["t", "y", "x"], &[1, 50, 70], DType::Float32), &[1, 50, 20], json!("L"));
    case("png", &spec(&["y", "x", "c"], &[50, 70, 3], DType::Uint8), &[50, 70, 3], json!("RGB"));
    case("png", &spec(&["x"], &[30], DType::Int16), &[30], json!("L"));
    let list = folder.path().join("cases.json");
    fs::write(&list, serde_json::to_vec(&cases).unwrap()).unwrap();
    common::python("read_output.py", &[&list]);
}

#[test]
fn our_own_reader_reads_our_tiff() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.tif");
    let spec = spec(&["t", "c", "z", "y", "x"], &[2, 3, 4, 5, 6], DType::Uint16);
    let mut sink = sink::create(&path, &spec, &OutputOptions::default()).unwrap();
    write(&mut *sink, &spec, &[1, 3, 4, 5, 6]);
    let source = stackctl::source::open(&path, &OpenOptions::default()).unwrap();
    let found = common::read_whole(&source).unwrap();
    assert_eq!(found.region().n_elements(), 720);
    // Planes lie in the order t, z, c.
    let mut expected = Block::new(Region::whole(&[2, 4, 3, 5, 6]), DType::Uint16).unwrap();
    let whole = block(&spec, Region::whole(&spec.shape()));
    expected.target().permuted(&[0, 2, 1, 3, 4]).paste(whole.bytes());
    assert!(found.bytes() == expected.bytes());
}

#[test]
fn a_stream_takes_elements_in_order() {
    let spec = spec(&["z", "y", "x"], &[3, 4, 5], DType::Uint16);
    let pipe = Pipe::default();
    let mut sink = sink::stream(Box::new(pipe.clone()), &spec, false);
    assert_eq!(write(&mut *sink, &spec, &[1, 2, 5]).bytes, 128 + 120);
    let bytes = pipe.0.lock().unwrap().clone();
    assert_eq!(bytes[128..], raw(&spec));

    let sink = sink::stream(Box::new(Pipe::default()), &spec, false);
    let region = Region::new([1, 0, 0], [1, 4, 5]);
    let part = common::part(&*sink, &block(&spec, region.clone())).unwrap();
    assert!(sink.merger().merge(&common::task(0, region), part).is_err());
}

#[test]
fn a_file_of_more_than_four_gib_is_big() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.tif");
    let spec = spec(&["z", "y", "x"], &[70_000, 256, 256], DType::Uint8);
    let mut sink = sink::create(&path, &spec, &OutputOptions::default()).unwrap();
    sink.begin(&Job::default()).unwrap();
    // Only the last plane: the rest stays a hole in the file.
    let region = Region::new([69_999, 0, 0], [1, 256, 256]);
    common::part(&*sink, &block(&spec, region.clone())).unwrap();
    let partial = folder.path().join(".a.tif.partial/output");
    let source = Arc::new(stackctl::source::tiff::Tiff::open(&partial, &OpenOptions::default()).unwrap());
    assert_eq!(source.shape(), [70_000, 256, 256]);
    let found = common::read_region(&source, &region).unwrap();
    assert!(found.bytes() == block(&spec, region).bytes());
    drop(sink);
    assert!(!partial.exists());
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempdir().unwrap();
    let said = |name: &str, spec: &Spec, options: &OutputOptions| {
        let begun =
            sink::create(&folder.path().join(name), spec, options).and_then(|mut sink| sink.begin(&Job::default()));
        let e = begun.err().unwrap();
        assert_eq!(e.exit_code(), 2, "{e}");
        e.to_string()
    };
    let volume = spec(&["z", "y", "x"], &[3, 4, 5], DType::Uint8);
    let default = OutputOptions::default();
    assert!(said("a.jpg", &volume, &default).contains(".zarr .ozx .zip .npy .npz .raw .ome.tif"));
    assert!(said("a", &volume, &default).contains(".zarr .ozx .zip .npy .npz .raw .ome.tif"));
    assert!(said("a.png", &volume, &default).contains("is not one plane"));
    assert!(said("a.png", &spec(&["y", "x"], &[3, 4], DType::Complex64), &default).contains("no order"));
    assert!(said("a.png", &spec(&["y", "x"], &[0, 4], DType::Uint8), &default).contains("no element"));
    assert!(said("a.tif", &spec(&["y", "x"], &[0, 4], DType::Uint8), &default).contains("no element"));
    let options =
        OutputOptions { png: PngOptions { low: 60.0, high: 40.0, ..PngOptions::default() }, ..default.clone() };
    assert!(said("a.png", &spec(&["y", "x"], &[3, 4], DType::Uint8), &options).contains("the lower first"));
    fs::create_dir(folder.path().join("b.npy")).unwrap();
    let options = OutputOptions { overwrite: true, ..default.clone() };
    assert!(said("b.npy", &volume, &options).contains("is a folder"));
    fs::write(folder.path().join("c.npy"), "x").unwrap();
    assert!(said("c.npy", &volume, &default).contains("exists already"));
    let mut sink = sink::create(&folder.path().join("c.npy"), &volume, &options).unwrap();
    sink.begin(&Job::default()).unwrap();
    assert!(said("c.npy", &volume, &options).contains("another run"));
    let mut merger = sink.merger();
    common::show(&*sink, &mut *merger, &[Region::whole(&[3, 4, 5])], |r| block(&volume, r));
    let mut products = merger.finish().unwrap();
    sink.publish(&mut products).unwrap();
    assert_eq!(fs::read(folder.path().join("c.npy")).unwrap().len(), 128 + 60);
    let nowhere = sink::create(Path::new("/nowhere/a.npy"), &volume, &default);
    assert!(nowhere.and_then(|mut sink| sink.begin(&Job::default())).is_err());
}
