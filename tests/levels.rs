//! Images with levels, windows and coordinates, as NumPy, zarr-python, xarray and the schemas of OME-Zarr see them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::tempdir;
use crate::common::{self, run, tiff};
use run::{Acquisition, PATTERN, Succeeds as _, failure, message, names, stackctl, tree};
use serde_json::{Value, json};
use stackctl::axis::Axis;
use stackctl::block::Block;
use stackctl::consume::levels::{Levels, Method};
use stackctl::consume::{Consumer, Job};
use stackctl::dtype::DType;
use stackctl::grid::{Grid, Region, positions};
use stackctl::sink::Spec;
use stackctl::sink::zarr::{ImageOptions, ZarrFormat, ZarrOptions, ZarrSink};
use stackctl::store::Durability;
use tiff::Layout;

fn stitch(folder: &Path, arguments: &[&str]) {
    let output = stackctl(folder).arg("stitch").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", message(&output));
}

fn attributes(path: &Path) -> Value {
    let group: Value = serde_json::from_slice(&fs::read(path.join("zarr.json")).unwrap()).unwrap();
    group["attributes"].clone()
}

/// Every element type, method and way of storing; the input's one absent chunk is a hole.
#[test]
fn every_level_is_what_numpy_makes_of_the_one_before() {
    if common::interpreter().is_none() {
        return;
    }
    let folder = tempdir().unwrap();
    common::python("levels.py", &[Path::new("make"), folder.path()]);
    let dtypes = DType::ALL;
    let methods = ["mean", "nearest", "max", "min", "median", "mode"];
    let ways: [&[&str]; 5] = [
        &[],
        &["--zarr-format", "2", "--chunks", "1,1,2,8,8"],
        &["--chunks", "1,1,4,8,16", "--shards", "1,1,4,32,32"],
        &["--chunks", "1,2,3,5,7", "--shards", "none"],
        &["--chunks", "1,1,8,16,16"],
    ];
    let mut cases = Vec::new();
    for (i, dtype) in dtypes.iter().enumerate() {
        for (k, method) in methods.iter().enumerate().filter(|(k, _)| *k < 2 || !dtype.is_complex()) {
            let (way, input, output) =
                (ways[(i + k) % ways.len()], format!("{dtype}.zarr"), format!("{dtype}-{method}"));
            let output = format!("{output}.zarr");
            let mut arguments = vec![input.as_str(), "-o", &output, "-q", "--levels", "4", "--downsample", method];
            arguments.extend(way);
            stitch(folder.path(), &arguments);
            // Three steps of z are one of y and x.
            let factors = [[1, 1, 1, 2, 2], [1, 1, 1, 2, 2], [1, 1, 2, 2, 2]];
            let format = if way.contains(&"2") { 2 } else { 3 };
            cases.push(json!({"path": output, "dtype": dtype.name(), "method": method, "format": format,
                              "factors": factors}));
        }
    }
    let list = folder.path().join("cases.json");
    fs::write(&list, serde_json::to_vec(&cases).unwrap()).unwrap();
    let schemas = common::corpus().map(|c| c.join("zarr"));
    let arguments: Vec<&Path> = [Path::new("check"), list.as_path()].into_iter().chain(schemas.as_deref()).collect();
    common::python("levels.py", &arguments);
    let (code, said) =
        failure(folder.path(), &["stitch", "complex64.zarr", "-o", "no.zarr", "--levels", "2", "--downsample", "max"]);
    assert!(code == 2 && said.contains("has no order"), "{said}");
    // Coordinates, in both formats.
    for (format, name) in [("3", "c3.zarr"), ("2", "c2.zarr")] {
        stitch(folder.path(), &["uint16.zarr", "-o", name, "-q", "--coordinates", "--zarr-format", format]);
    }
    let paths = ["c3.zarr", "c2.zarr"].map(|name| folder.path().join(name));
    common::python("levels.py", &[Path::new("coordinates"), &paths[0], &paths[1]]);
}

/// Tasks of the least size, whose parts of deep levels are put together, and tasks of whole objects.
#[test]
fn levels_do_not_depend_on_how_the_work_is_cut() {
    let folder = tempdir().unwrap();
    let axes = ["t", "c", "z", "y", "x"].iter().zip([1, 2, 9, 70, 83]).map(|(n, l)| Axis::new(*n, l)).collect();
    let spec = Spec { axes, dtype: DType::Uint16, fill: vec![0; 2], provenance: Value::Null };
    let block = |region: Region| {
        let mut block = Block::new(region.clone(), DType::Uint16).unwrap();
        for (to, p) in block.elements_mut::<u16>().iter_mut().zip(positions(&region.shape)) {
            let at = |i: usize| p[i] + region.origin[i];
            *to = (at(1) * 40_009 + at(2) * 997 + at(3) * 83 + at(4) * at(4)) as u16;
        }
        block
    };
    let write = |name: &str, shards: Option<&[u64]>, is_least: bool| {
        let path = folder.path().join(name);
        let image = ImageOptions { levels: Levels::Count(5), method: Method::Mean, ..ImageOptions::default() };
        let options = ZarrOptions {
            format: ZarrFormat::V3,
            chunks: vec![1, 1, 4, 16, 16],
            shards: shards.map(<[u64]>::to_vec),
            codec: "zstd:1".parse().unwrap(),
            overwrite: true,
            durability: Durability::None,
            image,
        };
        let mut sink = ZarrSink::new(&path, &spec, &options).unwrap();
        assert_eq!(sink.level_shapes()[1..], [[1, 2, 9, 35, 42], [1, 2, 9, 18, 21], [1, 2, 5, 9, 11], [1, 2, 3, 5, 6]]);
        let wants = sink.wants();
        sink.begin(&Job::default()).unwrap();
        let mut merger = sink.merger();
        let objects = Grid::new(&spec.shape(), &wants.object);
        for at in positions(objects.counts()) {
            let object = objects.region(&at);
            let inner = Grid::new(&object.shape, if is_least { &wants.unit } else { &object.shape });
            let shifted = |p: Vec<u64>| {
                let region = inner.region(&p);
                let origin = region.origin.iter().zip(&object.origin).map(|(a, b)| a + b).collect::<Vec<_>>();
                Region::new(origin, region.shape)
            };
            let regions: Vec<Region> = positions(inner.counts()).map(shifted).collect();
            common::show(&sink, &mut *merger, &regions, block);
        }
        let mut products = merger.finish().unwrap();
        sink.publish(&mut products).unwrap();
        assert_eq!(products[0].files, sink.n_files());
        tree(&path)
    };
    for shards in [None, Some(&[1, 1, 16, 32, 32][..]), Some(&[1, 2, 12, 80, 96][..])] {
        let whole = write("a.zarr", shards, false);
        assert!(whole.len() > 5 && whole == write("a.zarr", shards, true), "{shards:?}");
    }
}

/// The window of the data, exactly, and colours by wavelength and name.
#[test]
fn channels_are_shown_as_their_data_and_names_suggest() {
    let folder = tempdir().unwrap();
    let acquisition = Acquisition::default();
    acquisition.write(&folder.path().join("raw"));
    let show = |more: &[&str]| {
        let arguments = ["raw", "--pattern", PATTERN, "-o", "out.zarr", "--overwrite", "-q"];
        stitch(folder.path(), &[&arguments, more].concat());
        attributes(&folder.path().join("out.zarr"))["ome"]["omero"].clone()
    };
    let omero = show(&["--channel-names", "488,mCherry"]);
    let all = acquisition.elements();
    let [t, c, z, y, x] = acquisition.shape();
    for channel in 0..c {
        let volume = z * y * x;
        let mut own: Vec<u16> = (0..t).flat_map(|i| all[(i * c + channel) * volume..][..volume].to_vec()).collect();
        own.sort_unstable();
        let at = |q: f64| f64::from(own[(q * (own.len() - 1) as f64 + 0.5).floor() as usize]);
        let window = json!({"min": at(0.0), "max": at(1.0), "start": at(0.001), "end": at(0.999)});
        assert_eq!(omero["channels"][channel]["window"], window);
    }
    let colours = |omero: &Value| [0, 1].map(|i| omero["channels"][i]["color"].as_str().unwrap().to_owned());
    assert_eq!(colours(&omero), ["00FF00", "FF00FF"]);
    assert_eq!(colours(&show(&["--channel-colors", "red,#00ff80"])), ["FF0000", "00FF80"]);
    let dtype = show(&["--contrast", "dtype"]);
    assert_eq!(dtype["channels"][1]["window"]["end"], 65535.0);
    assert_eq!(show(&["--contrast", "none"]), Value::Null);
    let (code, said) = failure(folder.path(), &["stitch", "raw", "-o", "b.zarr", "--channel-colors", "red,mauve"]);
    assert!(code == 2 && said.contains("'mauve' is no colour"), "{said}");
    let (code, said) = failure(folder.path(), &["stitch", "raw", "-o", "b.zarr", "--channel-colors", "red"]);
    assert!(code == 2 && said.contains("there are 2 channels"), "{said}");
    assert_eq!(names(folder.path()), ["out.zarr", "raw"]);
}

/// A large image has levels unasked; memory and threads change nothing but the time.
#[test]
fn large_images_have_levels_unasked() {
    let folder = tempdir().unwrap();
    let layout = Layout { width: 1500, height: 1100, bits: 16, rows_per_strip: Some(100), ..Layout::default() };
    Acquisition { c: 1, t: 1, z: 3, layout }.write(&folder.path().join("raw"));
    let mut first = None;
    for (threads, memory) in [("1", "64M"), ("3", "1G")] {
        let arguments = ["raw", "--pattern", PATTERN, "-o", "out.zarr", "--overwrite", "-q", "--json"];
        let more = ["--threads", threads, "--memory", memory];
        let output = stackctl(folder.path()).arg("stitch").args(arguments).args(more).output().unwrap();
        assert!(output.status.success(), "{}", message(&output));
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["levels"], json!([[1, 1, 3, 1100, 1500], [1, 1, 3, 550, 750], [1, 1, 3, 275, 375]]));
        assert_eq!(summary["read_amplification"], 1.0);
        assert!(summary["measured_peak_bytes"].as_u64() <= summary["memory_limit_bytes"].as_u64(), "{summary}");
        let mut files = tree(&folder.path().join("out.zarr"));
        assert_eq!(summary["output_files"], files.len());
        files.remove(Path::new("zarr.json"));
        assert!(*first.get_or_insert_with(|| files.clone()) == files, "{threads} threads, {memory}");
    }
    // Levels that nobody asked for are left out where memory does not suffice, which is said.
    let little = ["raw", "--pattern", PATTERN, "-o", "no.zarr", "--dry-run", "--memory", "30M"];
    let output = stackctl(folder.path()).arg("stitch").args(little).output().unwrap();
    assert!(message(&output).contains("of 3 levels are written"), "{}", message(&output));
    let none = ["raw", "--pattern", PATTERN, "-o", "out.zarr", "--overwrite", "-q", "--levels", "none"];
    stitch(folder.path(), &none);
    assert!(!folder.path().join("out.zarr/1").exists());
    let (code, said) = failure(folder.path(), &["stitch", "raw", "-o", "a.tif", "--levels", "2"]);
    assert!(code == 2 && said.contains("--levels is for Zarr"), "{said}");
}

/// `--plain` is the array alone, which is read like any other.
#[test]
fn a_plain_array_stands_by_itself() {
    let folder = tempdir().unwrap();
    let acquisition = Acquisition::default();
    acquisition.write(&folder.path().join("raw"));
    for (format, document) in [("3", "zarr.json"), ("2", ".zarray")] {
        let arguments = ["raw", "--pattern", PATTERN, "-o", "out.zarr", "--overwrite", "-q", "--plain"];
        stitch(folder.path(), &[&arguments[..], &["--zarr-format", format]].concat());
        let array: Value =
            serde_json::from_slice(&fs::read(folder.path().join("out.zarr").join(document)).unwrap()).unwrap();
        assert_eq!(array["shape"], json!([3, 2, 5, 37, 50]));
        let (shape, bytes) = run::read_zarr(&folder.path().join("out.zarr"));
        assert_eq!(shape, [3, 2, 5, 37, 50]);
        let expected: Vec<u8> = acquisition.elements().iter().flat_map(|e| e.to_ne_bytes()).collect();
        assert!(bytes == expected);
    }
    let refused = ["stitch", "raw", "-o", "b.zarr", "--plain", "--levels", "2"];
    let (code, said) = failure(folder.path(), &refused);
    assert!(code == 2 && said.contains("--plain writes one array"), "{said}");
}

/// A reversed axis has a negative step from where its first element lies.
#[test]
fn parts_lie_where_they_lay() {
    let folder = tempdir().unwrap();
    Acquisition::default().write(&folder.path().join("raw"));
    let sizes = ["--voxel-size", "z=0.5um,y=0.1um,x=0.1um", "--time-step", "2s"];
    let arguments = ["raw", "--pattern", PATTERN, "-o", "out.zarr", "-q", "--select", "t=1:,z=::-1,x=10:40"];
    stitch(folder.path(), &[&arguments[..], &sizes].concat());
    let ome = attributes(&folder.path().join("out.zarr"))["ome"].clone();
    assert_eq!(
        ome["multiscales"][0]["datasets"][0]["coordinateTransformations"],
        json!([{"type": "scale", "scale": [2.0, 1.0, -0.5, 0.1, 0.1]},
               {"type": "translation", "translation": [2.0, 0.0, 2.0, 0.0, 1.0]}])
    );
    // And once more, of the copy.
    stitch(folder.path(), &["out.zarr", "-o", "again.zarr", "-q"]);
    let again = attributes(&folder.path().join("again.zarr"))["ome"]["multiscales"][0]["datasets"].clone();
    assert_eq!(again, ome["multiscales"][0]["datasets"]);
}

/// `pyramid` adds what `stitch --levels` would have written, in place, and goes on where it was killed.
#[test]
fn levels_are_added_in_place() {
    let folder = tempdir().unwrap();
    let layout = Layout { width: 300, height: 260, bits: 16, ..Layout::default() };
    Acquisition { c: 2, t: 2, z: 6, layout }.write(&folder.path().join("raw"));
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let arguments = ["raw", "--pattern", PATTERN, "-q", "--voxel-size", "z=0.3um,y=0.1um,x=0.1um"];
    let cut = ["--chunks", "1,1,4,64,64", "--codec", "zstd:5"];
    for (format, shards, group) in [("3", "1,1,8,128,128", "zarr.json"), ("2", "none", ".zattrs")] {
        let way = [&arguments[..], &cut, &["--zarr-format", format, "--shards", shards]].concat();
        stitch(folder.path(), &[&way[..], &["-o", "whole.zarr", "--levels", "4"]].concat());
        stitch(folder.path(), &[&way[..], &["-o", "out.zarr", "--levels", "none"]].concat());
        let pyramid = ["pyramid", "out.zarr", "--levels", "4", "--codec", "zstd:5", "-q"];
        let before = read(&folder.path().join("out.zarr").join(group));
        for _ in 0..2 {
            let mut run =
                std::process::Command::new(run::PROGRAM).args(pyramid).current_dir(folder.path()).spawn().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(150));
            if run.try_wait().unwrap().is_none() {
                run.kill().unwrap();
                run.wait().unwrap();
                // Until all is there nothing says that anything is. It may have come so far when it was killed.
                let is_there = |path: &PathBuf| folder.path().join("out.zarr").join(path).exists();
                let says = read(&folder.path().join("out.zarr").join(group)) != before;
                assert!(!says || tree(&folder.path().join("whole.zarr")).keys().all(is_there));
            }
        }
        let again = stackctl(folder.path()).args(pyramid).output().unwrap();
        assert!(again.status.success() || message(&again).contains("has 4 levels already"), "{}", message(&again));
        // Checksums of added levels lie where they can be published last.
        let objects = |name: &str| {
            let mut objects = tree(&folder.path().join(name));
            objects.retain(|path, _| !path.ends_with("stackctl.checksums"));
            objects
        };
        let (whole, out) = (objects("whole.zarr"), objects("out.zarr"));
        for name in ["whole.zarr", "out.zarr"] {
            let verified = stackctl(folder.path()).args(["verify", name]).output().unwrap();
            assert!(verified.status.success(), "{}", message(&verified));
        }
        assert_eq!(whole.keys().collect::<Vec<_>>(), out.keys().collect::<Vec<_>>());
        let is_own = |path: &Path| [group, ".zmetadata"].iter().any(|name| path == Path::new(name));
        assert!(whole.iter().all(|(path, bytes)| out[path] == *bytes || is_own(path)), "format {format}");
        let claim = |name: &str| {
            let document = read(&folder.path().join(name).join(group));
            let ome = document["attributes"].get("ome").cloned().unwrap_or(document.clone());
            (ome["multiscales"][0]["datasets"].clone(), document["consolidated_metadata"].clone())
        };
        assert_eq!(claim("whole.zarr"), claim("out.zarr"));
        let (code, said) = failure(folder.path(), &["pyramid", "out.zarr"]);
        assert!(code == 2 && said.contains("has 4 levels already"), "{said}");
        fs::remove_dir_all(folder.path().join("whole.zarr")).unwrap();
        fs::remove_dir_all(folder.path().join("out.zarr")).unwrap();
    }
    let (code, said) = failure(folder.path(), &["pyramid", "raw"]);
    assert!(code == 2 && said.contains("no OME-Zarr image"), "{said}");
}

/// Red, green and blue are shown as such, unless colours are asked for.
#[test]
fn samples_of_colour_pictures_have_their_colours() {
    let folder = tempdir().unwrap();
    let layout = Layout { width: 20, height: 16, bits: 8, samples: 3, photometric: 2, ..Layout::default() };
    let page: Vec<u8> = (0..layout.page_bytes()).map(|i| (i % 251) as u8).collect();
    for t in 0..2 {
        fs::write(folder.path().join(format!("a_t{t}.tif")), layout.write(std::slice::from_ref(&page))).unwrap();
    }
    for (more, wanted) in [
        (&[][..], ["FF0000", "00FF00", "0000FF"]),
        (&["--channel-colors", "white,cyan,yellow"], ["FFFFFF", "00FFFF", "FFFF00"]),
    ] {
        let command = ["stitch", "a_t0.tif", "a_t1.tif", "--pattern", "_t{t}.tif", "-o", "out.zarr", "--overwrite"];
        stackctl(folder.path()).args(command).args(more).succeeds();
        let omero = attributes(&folder.path().join("out.zarr"))["ome"]["omero"].clone();
        assert_eq!([0, 1, 2].map(|i| omero["channels"][i]["color"].clone()), wanted, "{more:?}");
    }
}

/// Labels are never averaged unless somebody says so.
#[test]
fn labels_are_halved_by_their_mode() {
    let folder = tempdir().unwrap();
    let acquisition = Acquisition::default();
    acquisition.write(&folder.path().join("raw"));
    for name in names(&folder.path().join("raw")) {
        let from = folder.path().join("raw").join(&name);
        fs::rename(&from, from.with_file_name(name.replace("ex6-2", "masks"))).unwrap();
    }
    let arguments = ["stitch", "raw", "--pattern", PATTERN, "-o", "out.zarr", "--levels", "2"];
    let kind = |more: &[&str]| {
        let output = stackctl(folder.path()).args(arguments).args(more).arg("--overwrite").output().unwrap();
        assert!(output.status.success(), "{}", message(&output));
        let multiscale = &attributes(&folder.path().join("out.zarr"))["ome"]["multiscales"][0];
        (multiscale["type"].clone(), message(&output).contains("the names say labels"))
    };
    assert_eq!(kind(&[]), (json!("mode"), true));
    assert_eq!(kind(&["--downsample", "mean"]), (json!("mean"), false));
    // What says that it is a label image is kept, and heeded.
    let group = folder.path().join("out.zarr/zarr.json");
    let mut document: Value = serde_json::from_slice(&fs::read(&group).unwrap()).unwrap();
    document["attributes"]["ome"]["image-label"] = json!({"colors": [{"label-value": 1, "rgba": [1, 2, 3, 4]}]});
    fs::write(&group, document.to_string()).unwrap();
    let output = stackctl(folder.path()).args(["stitch", "out.zarr", "-o", "copy.zarr", "--levels", "2"]).output();
    let output = output.unwrap();
    assert!(output.status.success() && message(&output).contains("the input is a label image"), "{}", message(&output));
    let ome = attributes(&folder.path().join("copy.zarr"))["ome"].clone();
    assert_eq!(ome["image-label"]["colors"][0]["rgba"], json!([1, 2, 3, 4]));
    assert_eq!((&ome["multiscales"][0]["type"], &ome["omero"]), (&json!("mode"), &Value::Null));
}

/// 188.74 GB as a light sheet gives them, and large planes: few files over all levels, shards of at most 1 GiB, and
/// chunks that a viewer fetches at once.
#[test]
fn large_images_have_few_files() {
    use stackctl::block::size_bytes;
    use stackctl::consume::levels::{aligned, factors};
    use stackctl::sink::zarr::{default_chunks, default_shards};
    for shape in [[199, 3, 201, 1024, 768], [1, 2, 1500, 8192, 8192], [50, 4, 1, 20_000, 30_000]] {
        let axes: Vec<Axis> = ["t", "c", "z", "y", "x"].iter().zip(shape).map(|(n, l)| Axis::new(*n, l)).collect();
        let chunks = default_chunks(&axes, DType::Uint16, &[]);
        let factors = factors(&axes, Levels::Auto);
        let shards = default_shards(&axes, &chunks, DType::Uint16, 5000 / (factors.len() as u64 + 1));
        let shards = aligned(&shards, &chunks, &shape, &factors);
        let image = ImageOptions { levels: Levels::Auto, ..ImageOptions::default() };
        let options = ZarrOptions {
            format: ZarrFormat::V3,
            chunks: chunks.clone(),
            shards: Some(shards.clone()),
            codec: "zstd:3".parse().unwrap(),
            overwrite: true,
            durability: Durability::None,
            image,
        };
        let spec = Spec { axes, dtype: DType::Uint16, fill: vec![0; 2], provenance: Value::Null };
        let sink = ZarrSink::new(Path::new("data.zarr"), &spec, &options).unwrap();
        assert!(sink.level_shapes().len() > 1 && sink.n_files() < 5000, "{shape:?}: {} files", sink.n_files());
        assert!(size_bytes(&shards, DType::Uint16) <= 1 << 30, "{shape:?}: shards of {shards:?}");
        assert!(
            (512 << 10..=2 << 20).contains(&size_bytes(&chunks, DType::Uint16)) && chunks[3] == chunks[4],
            "{chunks:?}"
        );
    }
}
