//! The Zarr sink, read back by independent readers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::common;
use crate::common::tempdir;
use serde_json::{Value, json};
use stackctl::axis::{Axis, Calibration, Provenance};
use stackctl::block::Block;
use stackctl::consume::{Consumer, Job, Product};
use stackctl::dtype::DType;
use stackctl::grid::{Grid, Region, n_elements, row_major_strides};
use stackctl::sink::zarr::{self, ImageOptions, ZarrFormat, ZarrOptions, ZarrSink};
use stackctl::sink::{OutputOptions, Spec};
use stackctl::source::{self, OpenOptions};
use stackctl::store::Durability;
use zarrs::storage::store::MemoryStore;
use zarrs::storage::{StoreKey, WritableStorageTraits};

/// Bytes of an element that encodes its own index, with the awkward values of floats among them.
fn element(dtype: DType, index: u64) -> Vec<u8> {
    let odd = [f64::NAN, f64::INFINITY, -0.0, f64::MIN_POSITIVE];
    let value = match index % 61 {
        i @ 0..4 => odd[i as usize],
        _ => index as f64 * 0.5 - 7.0,
    };
    match dtype {
        DType::Bool => vec![u8::from(index.is_multiple_of(3))],
        DType::Float16 => half::f16::from_f64(value).to_ne_bytes().to_vec(),
        DType::Float32 => (value as f32).to_ne_bytes().to_vec(),
        DType::Float64 => value.to_ne_bytes().to_vec(),
        DType::Complex64 => [(value as f32).to_ne_bytes(), (index as f32).to_ne_bytes()].concat(),
        DType::Complex128 => [value.to_ne_bytes(), (index as f64).to_ne_bytes()].concat(),
        _ => {
            let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
            let bytes = if index.is_multiple_of(5) { mixed } else { index }.to_ne_bytes();
            if cfg!(target_endian = "little") { &bytes[..dtype.size()] } else { &bytes[8 - dtype.size()..] }.to_vec()
        }
    }
}

/// The element at `index` of an array whose middle holds only fill.
fn value(spec: &Spec, index: u64) -> Vec<u8> {
    let n = n_elements(&spec.shape());
    if (n / 3..n / 3 * 2).contains(&index) { spec.fill.clone() } else { element(spec.dtype, index) }
}

fn block(spec: &Spec, region: Region) -> Block {
    let strides = row_major_strides(&spec.shape());
    let mut block = Block::new(region.clone(), spec.dtype).unwrap();
    let positions = stackctl::grid::positions(&region.shape);
    for (bytes, p) in block.bytes_mut().chunks_exact_mut(spec.dtype.size()).zip(positions) {
        let index = (0..p.len()).map(|i| (p[i] + region.origin[i]) * strides[i]).sum();
        bytes.copy_from_slice(&value(spec, index));
    }
    block
}

/// Writes the array in boxes of `boxes` (whole shards if `None`), encoding them in another order than they
/// are merged in.
fn write(path: &Path, spec: &Spec, options: &ZarrOptions, boxes: Option<&[u64]>) -> Product {
    let mut sink = ZarrSink::new(path, spec, options).unwrap();
    sink.begin(&Job::default()).unwrap();
    let mut merger = sink.merger();
    let objects = Grid::new(&spec.shape(), &sink.wants().object);
    for at in stackctl::grid::positions(objects.counts()) {
        let object = objects.region(&at);
        let cell = boxes.map_or_else(|| object.shape.clone(), <[u64]>::to_vec);
        let inner = Grid::new(&object.shape, &cell);
        let regions: Vec<Region> = stackctl::grid::positions(inner.counts())
            .map(|p| {
                let mut region = inner.region(&p);
                region.origin.iter_mut().zip(&object.origin).for_each(|(a, b)| *a += b);
                region
            })
            .collect();
        common::show(&sink, &mut *merger, &regions, |r| block(spec, r));
    }
    let mut products = merger.finish().unwrap();
    sink.publish(&mut products).unwrap();
    products.remove(0)
}

/// What the zarrs crate makes of the whole array, with our decoders that opening a source makes known.
fn read_by_zarrs(path: &Path) -> Vec<u8> {
    let store = MemoryStore::new();
    for (name, bytes) in tree(path) {
        store.set(&StoreKey::new(name).unwrap(), bytes.into()).unwrap();
    }
    let array = zarrs::array::Array::open(std::sync::Arc::new(store), "/0").unwrap();
    let elements: zarrs::array::ArrayBytes = array.retrieve_array_subset(&array.subset_all()).unwrap();
    elements.into_fixed().unwrap().into_owned()
}

/// What our own reader makes of a region of the array.
fn read(path: &Path, region: &Region) -> Vec<u8> {
    let source = source::open(path, &OpenOptions::default()).unwrap();
    common::read_region(&source, region).unwrap().bytes().to_vec()
}

fn spec(names: &str, shape: &[u64], dtype: DType) -> Spec {
    let axes = names.chars().zip(shape).map(|(c, &n)| Axis::new(c, n)).collect();
    Spec { axes, dtype, fill: vec![0; dtype.size()], provenance: json!({"command": "test"}) }
}

fn options(format: ZarrFormat, chunks: &[u64], shards: Option<&[u64]>, codec: &str) -> ZarrOptions {
    ZarrOptions {
        format,
        chunks: chunks.to_vec(),
        shards: shards.map(<[u64]>::to_vec),
        codec: codec.parse().unwrap(),
        overwrite: false,
        durability: Durability::None,
        image: ImageOptions::default(),
    }
}

/// Every file under `folder` with its bytes.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

#[test]
fn every_dtype_codec_and_format_reads_back_equal() {
    let folder = tempdir().unwrap();
    let mut cases: Vec<Value> = vec![];
    let mut case = |spec: &Spec, options: &ZarrOptions| {
        let name = format!("{}.zarr", cases.len());
        let written = write(&folder.path().join(&name), spec, options, None);
        let files = tree(&folder.path().join(&name));
        assert_eq!(written.files, files.len() as u64);
        assert_eq!(written.bytes, files.values().map(|bytes| bytes.len() as u64).sum::<u64>());
        let raw: Vec<u8> = (0..n_elements(&spec.shape())).flat_map(|i| value(spec, i)).collect();
        assert!(read(&folder.path().join(&name), &Region::whole(&spec.shape())) == raw, "our own reader: {name}");
        assert!(read_by_zarrs(&folder.path().join(&name)) == raw, "zarrs: {name}");
        fs::write(folder.path().join(format!("{}.raw", cases.len())), raw).unwrap();
        let axes: Vec<&str> = spec.axes.iter().map(|a| a.name.as_str()).collect();
        cases.push(json!({"path": name, "shape": spec.shape(), "dtype": spec.dtype.name(), "axes": axes,
                          "format": if options.format == ZarrFormat::V2 { 2 } else { 3 }, "codec": options.codec.to_string()}));
    };
    let layouts: [(ZarrFormat, Option<&[u64]>); 3] =
        [(ZarrFormat::V2, None), (ZarrFormat::V3, None), (ZarrFormat::V3, Some(&[1, 4, 6, 10]))];
    for (format, shards) in layouts {
        for dtype in DType::ALL {
            let mut spec = spec("czyx", &[2, 5, 7, 11], dtype);
            case(&spec, &options(format, &[1, 2, 3, 5], shards, "blosc"));
            spec.fill = element(dtype, 9);
            case(&spec, &options(format, &[1, 2, 3, 5], shards, "zstd"));
            if dtype.is_float() || dtype.is_complex() {
                spec.fill = element(dtype, 0);
                case(&spec, &options(format, &[1, 2, 3, 5], shards, "none"));
                let mut odd = element(dtype, 0);
                odd[0] = 1;
                spec.fill = if cfg!(target_endian = "little") { odd } else { spec.fill };
                case(&spec, &options(format, &[1, 2, 3, 5], shards, "none"));
            }
        }
        let codecs = ["none", "gzip:1", "gzip:9", "zstd:-3", "zstd:19", "blosc:lz4,5,shuffle", "blosc:lz4hc,9,none"];
        let more = ["blosc:blosclz,1,bitshuffle", "blosc:zlib,6,shuffle", "blosc:zstd,0,none", "blosc:zstd,9,16KiB"];
        for codec in codecs.iter().chain(&more) {
            case(&spec("czyx", &[2, 3, 40, 60], DType::Uint16), &options(format, &[1, 2, 33, 50], None, codec));
        }
        // Awkward shapes: fewer elements than a chunk, one axis, none, no elements.
        case(&spec("zyx", &[1, 2, 3], DType::Int16), &options(format, &[4, 4, 4], None, "blosc"));
        case(&spec("x", &[1000], DType::Float64), &options(format, &[7], None, "blosc"));
        case(&spec("", &[], DType::Int32), &options(format, &[], None, "blosc"));
        case(&spec("yx", &[0, 3], DType::Int32), &options(format, &[1, 3], None, "blosc"));
    }
    let sharded = options(ZarrFormat::V3, &[1, 8, 8], Some(&[4, 64, 64]), "blosc");
    case(&spec("tyx", &[6, 100, 50], DType::Uint16), &sharded);
    // What OME-NGFF has words for, and what it has none for.
    let mut known = spec("tczyx", &[2, 3, 4, 5, 6], DType::Uint16);
    let step = |step, unit: &str| Some(Calibration { step, unit: Some(unit.into()), from: Provenance::CommandLine });
    known.axes[0].calibration = step(1.5, "second");
    known.axes[0].coordinates = Some(vec![3.0, 4.5]);
    known.axes[1].labels = Some(["DAPI", "GFP", "red"].map(String::from).to_vec());
    known.axes[4].calibration = step(0.108, "micrometer");
    for format in [ZarrFormat::V2, ZarrFormat::V3] {
        case(&known, &options(format, &[1, 1, 4, 5, 6], None, "blosc"));
        case(&spec("ptczyx", &[2, 1, 2, 2, 3, 3], DType::Uint8), &options(format, &[1, 1, 1, 2, 3, 3], None, "blosc"));
        case(&spec("yxc", &[4, 4, 3], DType::Uint8), &options(format, &[4, 4, 3], None, "blosc"));
    }
    let list = folder.path().join("cases.json");
    fs::write(&list, serde_json::to_vec(&cases).unwrap()).unwrap();
    let schemas = common::corpus().map(|c| c.join("zarr"));
    let arguments: Vec<&Path> = std::iter::once(list.as_path()).chain(schemas.as_deref()).collect();
    common::python("read_zarr.py", &arguments);
}

#[test]
fn regions_and_axes_come_back() {
    let folder = tempdir().unwrap();
    let mut spec = spec("tczyx", &[2, 3, 5, 20, 30], DType::Uint16);
    let step =
        |step, unit: Option<&str>| Some(Calibration { step, unit: unit.map(String::from), from: Provenance::Ome });
    spec.axes[0].calibration = step(1.5, Some("second"));
    spec.axes[0].coordinates = Some(vec![3.0, 4.25]);
    spec.axes[1].labels = Some(["DAPI", "GFP", "red"].map(String::from).to_vec());
    spec.axes[3].calibration = step(0.5, None);
    spec.axes[4].calibration = step(0.108, Some("micrometer"));
    for (i, (format, shards)) in
        [(ZarrFormat::V2, None), (ZarrFormat::V3, None), (ZarrFormat::V3, Some(&[1, 3, 4, 14, 16][..]))]
            .into_iter()
            .enumerate()
    {
        let path = folder.path().join(format!("{i}.zarr"));
        write(&path, &spec, &options(format, &[1, 1, 2, 7, 8], shards, "blosc"), None);
        for path in [&path, &path.join("0")] {
            let source = source::open(path, &OpenOptions::default()).unwrap();
            assert_eq!(source.info().axes, spec.axes);
            assert_eq!(source.info().unit, [1, 1, 2, 7, 8]);
        }
        let level = OpenOptions { level: Some(1), ..OpenOptions::default() };
        let said = source::open(&path, &level).err().unwrap();
        assert!(said.to_string().contains("the last one is 0"), "{said}");
        for (origin, shape) in [([0, 0, 0, 0, 0], [2, 3, 5, 20, 30]), ([1, 1, 1, 3, 5], [1, 2, 3, 9, 20])] {
            let region = Region::new(origin, shape);
            assert!(read(&path, &region) == block(&spec, region).bytes());
        }
    }
}

#[test]
fn levels_and_series_are_chosen() {
    let folder = tempdir().unwrap();
    let (image, half) = (folder.path().join("image"), folder.path().join("half.zarr"));
    let large = spec("yx", &[8, 12], DType::Uint16);
    let small = spec("yx", &[4, 6], DType::Uint16);
    write(&image, &large, &options(ZarrFormat::V3, &[4, 4], None, "blosc"), None);
    write(&half, &small, &options(ZarrFormat::V3, &[4, 4], None, "blosc"), None);
    fs::rename(half.join("0"), image.join("1")).unwrap();
    let document = image.join("zarr.json");
    let mut group: Value = serde_json::from_slice(&fs::read(&document).unwrap()).unwrap();
    let levels = group.pointer_mut("/attributes/ome/multiscales/0/datasets").unwrap().as_array_mut().unwrap();
    levels.push(json!({"path": "1", "coordinateTransformations": [{"type": "scale", "scale": [2.0, 2.0]}]}));
    fs::write(&document, group.to_string()).unwrap();
    let shape = |path: &Path, level, series| {
        let options = OpenOptions { level, series, ..OpenOptions::default() };
        source::open(path, &options).map(|s| (s.info().shape(), s.info().axes[0].calibration.as_ref().map(|c| c.step)))
    };
    assert_eq!(shape(&image, None, None).unwrap(), (vec![8, 12], None));
    assert_eq!(shape(&image, Some(1), None).unwrap(), (vec![4, 6], Some(2.0)));
    assert_eq!(shape(&image.join("1"), None, None).unwrap(), (vec![4, 6], Some(2.0)));
    assert!(shape(&image, Some(2), None).unwrap_err().to_string().contains("the last one is 1"));
    // A group of two images, which is a choice.
    fs::write(folder.path().join("zarr.json"), r#"{"zarr_format": 3, "node_type": "group"}"#).unwrap();
    fs::remove_dir_all(&half).unwrap();
    assert_eq!(shape(folder.path(), None, None).unwrap().0, [8, 12]);
    write(&folder.path().join("other"), &small, &options(ZarrFormat::V2, &[4, 4], None, "none"), None);
    let said = shape(folder.path(), None, None).unwrap_err().to_string();
    assert!(said.contains("holds 2 arrays: name one of them: image, other, or give --series"), "{said}");
    assert_eq!(shape(folder.path(), None, Some(1)).unwrap().0, [4, 6]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_cut_reads_back(
        dims in proptest::collection::vec((1u64..14, 1u64..6, 1u64..4, 0u64..14, 1u64..14), 0..4),
        sharded: bool, seed in 0u64..8,
    ) {
        let folder = tempdir().unwrap();
        let path = folder.path().join("a.zarr");
        let shape: Vec<u64> = dims.iter().map(|d| d.0).collect();
        let chunks: Vec<u64> = dims.iter().map(|d| d.1).collect();
        let shards: Vec<u64> = dims.iter().map(|d| d.1 * d.2).collect();
        let codec = ["none", "blosc", "zstd:1", "gzip:1"][(seed % 4) as usize];
        let spec = spec(&"tzyx"[4 - shape.len()..], &shape, DType::ALL[(seed * 3 % 14) as usize]);
        let options = options(ZarrFormat::V3, &chunks, sharded.then_some(&shards), codec);
        let boxes = if seed % 2 == 0 { None } else { Some(&chunks[..]) };
        write(&path, &spec, &options, boxes);
        let origin: Vec<u64> = dims.iter().map(|d| d.3 % d.0).collect();
        let size: Vec<u64> = dims.iter().zip(&origin).map(|(d, o)| d.4.min(d.0 - o)).collect();
        let region = Region::new(origin, size);
        proptest::prop_assert!(read(&path, &region) == block(&spec, region).bytes());
    }
}

#[test]
fn damaged_arrays_are_errors_that_name_the_file() {
    let folder = tempdir().unwrap();
    let spec = spec("yx", &[20, 20], DType::Uint16);
    let region = Region::whole(&[20, 20]);
    let said = |path: &Path| {
        let source = source::open(path, &OpenOptions::default())?;
        common::read_region(&source, &region).map(|_| ())
    };
    for (i, (codec, shards, file)) in
        [("blosc", None, "0/c/1/0"), ("gzip:1", None, "0/c/1/0"), ("zstd:1", Some(&[20, 20][..]), "0/c/0/0")]
            .into_iter()
            .enumerate()
    {
        let path = folder.path().join(format!("{i}.zarr"));
        write(&path, &spec, &options(ZarrFormat::V3, &[10, 10], shards, codec), None);
        let (file, bytes) = (path.join(file), fs::read(path.join(file)).unwrap());
        for damage in [&bytes[..bytes.len() / 2], &bytes[..3], &[], &[&bytes[..], &[0; 9]].concat(), &[7; 1 << 20]] {
            fs::write(&file, damage).unwrap();
            // Bytes behind a gzip member are passed over, as everywhere.
            match said(&path) {
                Err(e) => assert!(e.to_string().contains("c/"), "{e}"),
                Ok(_) => assert!(codec.starts_with("gzip") || codec == "blosc", "{codec} {}", damage.len()),
            }
        }
    }
}

#[test]
fn bytes_do_not_depend_on_how_the_work_is_cut() {
    let folder = tempdir().unwrap();
    let spec = spec("tczyx", &[2, 2, 9, 33, 40], DType::Uint16);
    for shards in [None, Some(&[1, 2, 8, 32, 32][..])] {
        let options = options(ZarrFormat::V3, &[1, 1, 4, 8, 8], shards, "blosc");
        let boxes = if shards.is_some() { vec![None, Some([1, 1, 4, 32, 32])] } else { vec![] };
        let boxes: Vec<Option<[u64; 5]>> = boxes.into_iter().chain([Some([1, 1, 4, 8, 8])]).collect();
        let mut first = None;
        for (i, boxes) in boxes.iter().enumerate() {
            let path = folder.path().join(format!("a{i}.zarr"));
            write(&path, &spec, &options, boxes.as_ref().map(|b| &b[..]));
            let mut files = tree(&path);
            // It holds the output's name.
            files.remove("zarr.json");
            files.remove("0/stackctl.checksums");
            assert_eq!(first.get_or_insert_with(|| files.clone()), &files);
            fs::remove_dir_all(path).unwrap();
        }
    }
}

#[test]
fn nothing_stands_under_the_name_before_it_is_whole() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.zarr");
    let spec = spec("yx", &[20, 20], DType::Uint8);
    let mut options = options(ZarrFormat::V3, &[10, 10], None, "blosc");
    let names = || fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();

    let mut sink = ZarrSink::new(&path, &spec, &options).unwrap();
    assert!(names().is_empty());
    sink.begin(&Job::default()).unwrap();
    common::part(&sink, &block(&spec, Region::new([0, 0], [10, 10]))).unwrap();
    assert_eq!(names(), [".a.zarr.partial"]);
    let begin = |path: &Path, options: &ZarrOptions| {
        let begun =
            zarr::create(path, &spec, &OutputOptions::from(options)).and_then(|mut sink| sink.begin(&Job::default()));
        begun.err().unwrap().to_string()
    };
    let said = begin(&path, &options);
    assert!(said.contains("another run is writing it"), "{said}");
    drop(sink);
    assert!(names().is_empty());

    // Left behind by a killed process.
    fs::create_dir_all(folder.path().join(".a.zarr.partial/0/c")).unwrap();
    write(&path, &spec, &options, None);
    assert_eq!(names(), ["a.zarr"]);

    let said = begin(&path, &options);
    assert!(said.contains("exists already") && said.contains("--overwrite"), "{said}");
    options.overwrite = true;
    options.codec = "none".parse().unwrap();
    let mut sink = ZarrSink::new(&path, &spec, &options).unwrap();
    sink.begin(&Job::default()).unwrap();
    drop(sink);
    assert!(fs::read_to_string(path.join("0/zarr.json")).unwrap().contains("blosc"));
    write(&path, &spec, &options, None);
    assert!(!fs::read_to_string(path.join("0/zarr.json")).unwrap().contains("blosc"));
    assert_eq!(names(), ["a.zarr"]);

    fs::remove_file(path.join("zarr.json")).unwrap();
    let said = begin(&path, &options);
    assert!(said.contains("a folder of other things"), "{said}");
    let said = begin(&folder.path().join("no/a.zarr"), &options);
    assert!(said.contains("there is no folder"), "{said}");
    // A missing box is noticed.
    let mut sink = ZarrSink::new(&folder.path().join("b.zarr"), &spec, &options).unwrap();
    sink.begin(&Job::default()).unwrap();
    assert!(sink.merger().finish().is_err());
    drop(sink);
    assert_eq!(names(), ["a.zarr"]);
}

#[test]
fn cuts_that_do_not_fit_are_refused() {
    let path = Path::new("/nowhere/a.zarr");
    let spec = spec("zyx", &[4, 4, 4], DType::Uint8);
    for (options, says) in [
        (options(ZarrFormat::V2, &[1, 4, 4], Some(&[4, 4, 4]), "blosc"), "Zarr v2 has no shards"),
        (options(ZarrFormat::V3, &[1, 3, 4], Some(&[4, 4, 4]), "blosc"), "do not consist of whole chunks"),
        (options(ZarrFormat::V3, &[4, 4], None, "blosc"), "have 2 axes"),
        (options(ZarrFormat::V3, &[4, 0, 4], None, "blosc"), "at least 1"),
        (options(ZarrFormat::V3, &[1 << 20, 1 << 20, 4], None, "blosc"), "at most 2147483631"),
        (options(ZarrFormat::V3, &[1, 1, 1], Some(&[1 << 10, 1 << 10, 1 << 10]), "blosc"), "use larger --chunks"),
    ] {
        let said = ZarrSink::new(path, &spec, &options).err().unwrap();
        assert!(said.to_string().contains(says), "{said}");
        assert_eq!(said.exit_code(), 2);
    }
}
