//! What `stitch` makes beside its output of the same reading, as NumPy, tifffile and Pillow see it.

mod common;
#[path = "common/run.rs"]
mod run;
#[path = "common/tiff.rs"]
mod tiff;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use run::{Acquisition, PATTERN, failure, message, names, stackctl, tree};
use tiff::{Layout, Numbers};

fn stitch(folder: &Path, arguments: &[&str]) {
    let output = stackctl(folder).arg("stitch").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", message(&output));
}

const INPUT: [&str; 4] = ["raw", "--pattern", PATTERN, "-q"];
const ALL: [&str; 10] = [
    "--mip",
    "z=max,std,median",
    "--mip",
    "t,c=mean",
    "--mip",
    "x=topk=2",
    "--stats",
    "stats.json",
    "--preview",
    "preview.png",
];

/// Everything in a folder but the input.
fn made(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    tree(folder).into_iter().filter(|(path, _)| !path.starts_with("raw")).collect()
}

/// Every output format, and cuts along every axis.
#[test]
fn projections_statistics_and_pictures_are_numpys() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout { width: 150, height: 90, bits: 16, rows_per_strip: Some(10), ..Layout::default() };
    Acquisition { z: 7, layout, ..Acquisition::default() }.write(&folder.path().join("raw"));
    let ways: [(&str, &[&str]); 5] = [
        ("a.zarr", &["--chunks", "1,1,2,16,32", "--shards", "1,1,4,48,64"]),
        ("a.zarr", &["--chunks", "1,1,3,17,150", "--shards", "none", "--levels", "3"]),
        ("a.zarr", &["--zarr-format", "2", "--memory", "100M"]),
        ("a.npy", &["--threads", "1"]),
        ("a.tif", &[]),
    ];
    for (i, (output, way)) in ways.iter().enumerate() {
        let to = folder.path().join(i.to_string());
        fs::create_dir(&to).unwrap();
        let raw = folder.path().join("raw");
        let input = [raw.to_str().unwrap(), "--pattern", PATTERN, "-q", "-o", output];
        let sizes = ["--voxel-size", "z=0.5um,y=0.1um,x=0.1um", "--channel-names", "488,mCherry"];
        stitch(&to, &[&input[..], &ALL, &sizes, way].concat());
        stitch(&to, &[&input[..], &["--stats", "stats.csv", "--overwrite"]].concat());
    }
    let folders: Vec<PathBuf> = (0..ways.len()).map(|i| folder.path().join(i.to_string())).collect();
    let paths: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
    common::python("beside.py", &paths);
}

/// Holes and odd numbers are left out, and told.
#[test]
fn every_type_has_statistics() {
    if common::interpreter().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    common::python("levels.py", &[Path::new("make"), folder.path()]);
    for dtype in stackctl::dtype::DType::ALL.iter().filter(|d| !d.is_complex()) {
        let (input, output, stats) = (format!("{dtype}.zarr"), format!("{dtype}-out.zarr"), format!("{dtype}.json"));
        stitch(folder.path(), &[&input, "-o", &output, "-q", "--stats", &stats, "--preview", &format!("{dtype}.png")]);
    }
    common::python("beside.py", &[Path::new("types"), folder.path()]);
    let (code, said) = failure(folder.path(), &["stitch", "complex64.zarr", "-o", "c.zarr", "--stats", "c.json"]);
    assert!(code == 2 && said.contains("has no planes of numbers"), "{said}");
}

/// Threads and memory change the time alone, and runs that are killed end as others do.
#[test]
fn the_same_comes_of_any_number_of_threads_and_of_killed_runs() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout { width: 256, height: 200, bits: 16, ..Layout::default() };
    Acquisition { z: 12, layout, ..Acquisition::default() }.write(&folder.path().join("raw"));
    let output = ["-o", "out.zarr", "--chunks", "1,1,2,64,64", "--shards", "1,1,4,128,128", "--codec", "zstd:12"];
    let arguments = [&INPUT[..], &output, &ALL].concat();
    let clear = || {
        for path in made(folder.path()).keys() {
            let _ = fs::remove_file(folder.path().join(path));
        }
        for name in names(folder.path()).iter().filter(|n| *n != "raw") {
            let _ = fs::remove_dir_all(folder.path().join(name));
        }
    };
    stitch(folder.path(), &arguments);
    let whole = made(folder.path());
    assert!(whole.len() > 20, "{:?}", whole.keys());
    clear();
    let mut random = Numbers(7);
    for round in 0..3 {
        let mut n_killed = 0;
        loop {
            let mut run = std::process::Command::new(assert_cmd::cargo::cargo_bin("stackctl"))
                .args(["stitch"])
                .args(&arguments)
                .current_dir(folder.path())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(100 + random.below(1500)));
            if n_killed < 4 && run.try_wait().unwrap().is_none() {
                run.kill().unwrap();
                run.wait().unwrap();
                n_killed += 1;
                continue;
            }
            if run.wait().unwrap().success() {
                break;
            }
            // Killed when some of the outputs had their names and others had not: all are made anew.
            assert!(n_killed > 0 && folder.path().join("out.zarr").exists());
            clear();
            n_killed = 4;
        }
        let found = made(folder.path());
        let different: Vec<_> = whole.iter().filter(|(path, bytes)| found.get(*path) != Some(bytes)).collect();
        let different: Vec<_> = different.iter().map(|d| d.0).collect();
        assert!(different.is_empty() && found.len() == whole.len(), "round {round}: {different:?}");
        clear();
    }
    // The command is part of what is written, and its checksum too.
    let strip = |files: BTreeMap<PathBuf, Vec<u8>>| -> BTreeMap<PathBuf, Vec<u8>> {
        let holds_command = |path: &Path| path.ends_with("zarr.json") || path.ends_with("stackctl.checksums");
        files.into_iter().filter(|(path, _)| !holds_command(path)).collect()
    };
    stitch(folder.path(), &[&arguments[..], &["--threads", "1"]].concat());
    assert!(strip(made(folder.path())) == strip(whole));
}

#[test]
fn what_cannot_be_made_is_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    Acquisition::default().write(&folder.path().join("raw"));
    for (more, words) in [
        (&["-o", "a.zarr", "--mip", "q"][..], "the array has axes t,c,z,y,x"),
        (&["-o", "a.zarr", "--mip", "z=maxi"], "is not an operator"),
        (&["-o", "a.zarr", "--mip", "z", "--mip-output", "a.zarr"], "two outputs would have this name"),
        (&["-o", "a.npy", "--mip", "z", "--mip-output", "b.zarr"], "with --mip-output"),
        (&["-o", "a.zarr", "--stats", "a.txt"], "ends in .json or .csv"),
        (&["-o", "a.zarr", "--preview", "a.jpg"], "ends in .png"),
        (&["-o", "a.zarr", "--mip", "z", "--max-files", "5"], "--max-files allows 5"),
        (&["-o", "a.zarr", "--stats", "raw"], "ends in .json"),
    ] {
        let (code, said) = failure(folder.path(), &[&["stitch"], &INPUT[..], more].concat());
        assert!(code == 2 && said.contains(words), "{more:?}: {said}");
    }
    assert_eq!(names(folder.path()), ["raw"]);
}

/// Many planes, merged channels and selected ones; one window for all planes of a channel.
#[test]
fn pictures_of_many_planes_share_a_window() {
    let folder = tempfile::tempdir().unwrap();
    Acquisition::default().write(&folder.path().join("raw"));
    let run = |arguments: &[&str]| {
        let output = stackctl(folder.path()).args(arguments).args(&INPUT[..]).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", message(&output));
    };
    let names = ["--channel-names", "488,mCherry"];
    run(&[&["reduce", "--op", "max", "--axis", "z", "-o", "max_{t}_{c}.png"], &names[..]].concat());
    run(&["reduce", "--op", "max", "--axis", "z", "-o", "own_{t}_{c}.png", "--each-window"]);
    run(&[
        &["reduce", "--op", "max", "--axis", "z", "-o", "merged_{t}.png", "--merge", "--png-bits", "16"],
        &names[..],
    ]
    .concat());
    run(&["stitch", "--select", "t=1,c=0,z=2", "-o", "plane.png", "--percentiles", "0,100"]);
    common::python("beside.py", &[Path::new("pictures"), folder.path()]);
    for (more, words) in [
        (&["-o", "a.png"][..], "put {t} into the name"),
        (&["-o", "a_{t}_{c}_{q}.png"], "put {z} into the name"),
        (&["-o", "a_{t}_{c}_{z}_{q}.png"], "nothing fills in {q}"),
        (&["-o", "a.png", "--select", "t=0,c=0,z=0", "--merge"], "--merge puts channels together"),
    ] {
        let (code, said) = failure(folder.path(), &[&["stitch"], &INPUT[..], more].concat());
        assert!(code == 2 && said.contains(words), "{more:?}: {said}");
    }
}
