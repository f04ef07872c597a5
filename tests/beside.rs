//! What `stitch` makes beside its output of the same reading, as NumPy, tifffile and Pillow see it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::tempdir;
use crate::common::{self, run, tiff};
use run::{Acquisition, PATTERN, failure, killed, message, names, stackctl, tree};
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

/// Removes everything in a folder but the input.
fn clear(folder: &Path) {
    for name in names(folder).iter().filter(|n| *n != "raw") {
        let path = folder.join(name);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }
}

/// Every output format, and cuts along every axis.
#[test]
fn projections_statistics_and_pictures_are_numpys() {
    let folder = tempdir().unwrap();
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
    let folder = tempdir().unwrap();
    common::python("levels.py", &[Path::new("make"), folder.path()]);
    for dtype in stackctl::dtype::DType::ALL.iter().filter(|d| !d.is_complex()) {
        let (input, output, stats) = (format!("{dtype}.zarr"), format!("{dtype}-out.zarr"), format!("{dtype}.json"));
        stitch(folder.path(), &[&input, "-o", &output, "-q", "--stats", &stats, "--preview", &format!("{dtype}.png")]);
    }
    common::python("beside.py", &[Path::new("types"), folder.path()]);
    let (code, said) = failure(folder.path(), &["stitch", "complex64.zarr", "-o", "c.zarr", "--stats", "c.json"]);
    assert!(code == 2 && said.contains("has no planes of numbers"), "{said}");
}

/// Pixels of a contact sheet are square in space.
#[test]
fn contact_sheets_are_to_scale() {
    let folder = tempdir().unwrap();
    common::python("beside.py", &[Path::new("scales"), folder.path(), Path::new(env!("CARGO_BIN_EXE_stackctl"))]);
}

/// Threads and memory change the time alone, and runs that are killed end as others do.
#[test]
fn the_same_comes_of_any_number_of_threads_and_of_killed_runs() {
    let folder = tempdir().unwrap();
    let layout = Layout { width: 256, height: 200, bits: 16, ..Layout::default() };
    Acquisition { z: 8, layout, ..Acquisition::default() }.write(&folder.path().join("raw"));
    let output = ["-o", "out.zarr", "--chunks", "1,1,2,64,64", "--shards", "1,1,4,128,128", "--codec", "zstd:12"];
    let arguments = [&INPUT[..], &output, &ALL].concat();
    let start = Instant::now();
    stitch(folder.path(), &arguments);
    let wall = start.elapsed();
    let whole = made(folder.path());
    assert!(whole.len() > 20, "{:?}", whole.keys());
    clear(folder.path());
    let mut random = Numbers(7);
    for round in 0..3 {
        killed(folder.path(), &[&["stitch"], &arguments[..]].concat(), 4, wall, &mut random);
        let found = made(folder.path());
        let different: Vec<_> = whole.iter().filter(|(path, bytes)| found.get(*path) != Some(bytes)).collect();
        let different: Vec<_> = different.iter().map(|d| d.0).collect();
        assert!(different.is_empty() && found.len() == whole.len(), "round {round}: {different:?}");
        clear(folder.path());
    }
    // The command is part of what is written.
    let strip = |files: BTreeMap<PathBuf, Vec<u8>>| -> BTreeMap<PathBuf, Vec<u8>> {
        files.into_iter().filter(|(path, _)| !path.ends_with("zarr.json")).collect()
    };
    stitch(folder.path(), &[&arguments[..], &["--threads", "1"]].concat());
    assert!(strip(made(folder.path())) == strip(whole));
}

/// Outputs that belong together are all there in the end, whenever the runs before were killed.
#[test]
fn several_outputs_of_killed_runs_are_finished() {
    let folder = tempdir().unwrap();
    let layout = Layout { width: 96, height: 80, bits: 16, ..Layout::default() };
    Acquisition { z: 6, layout, ..Acquisition::default() }.write(&folder.path().join("raw"));
    let mut random = Numbers(11);
    let commands: [&[&str]; 4] = [
        &["stitch", "-o", "out_{c}.zarr", "--by", "c", "--stats", "stats_{c}.json", "--mip", "z"],
        &["reduce", "--op", "mean,max,min", "--axis", "t", "-o", "all_{op}.npy"],
        &["reduce", "--op", "mean,max", "--axis", "t", "-o", "{c}_{op}.tif", "--by", "c"],
        &["stitch", "-o", "planes_{t}_{c}.png", "--select", "z=1"],
    ];
    for command in commands {
        let arguments = [&command[..1], &INPUT, &command[1..]].concat();
        let start = Instant::now();
        assert!(stackctl(folder.path()).args(&arguments).output().unwrap().status.success(), "{arguments:?}");
        let (wall, whole) = (start.elapsed(), made(folder.path()));
        for round in 0..4 {
            clear(folder.path());
            killed(folder.path(), &arguments, 3, wall, &mut random);
            assert!(made(folder.path()) == whole, "{arguments:?}, round {round}: {:?}", names(folder.path()));
        }
        clear(folder.path());
    }
}

/// One output has its name and another cannot get it: the same command gives it later, and makes nothing anew.
#[test]
fn a_run_that_ended_between_two_names_is_finished() {
    let folder = tempdir().unwrap();
    let layout = Layout { width: 256, height: 200, bits: 16, ..Layout::default() };
    Acquisition { z: 12, layout, ..Acquisition::default() }.write(&folder.path().join("raw"));
    let more = ["-o", "out.zarr", "--codec", "zstd:15", "--stats", "stats.json", "--mip", "z=max,min"];
    let arguments = [&["stitch"], &INPUT[..], &more].concat();
    assert!(stackctl(folder.path()).args(&arguments).output().unwrap().status.success());
    let whole = made(folder.path());
    clear(folder.path());
    let in_the_way = folder.path().join("stats.json");
    let mut run = std::process::Command::new(run::PROGRAM)
        .args(&arguments)
        .current_dir(folder.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while !folder.path().join(".out.zarr.partial/journal").exists() && run.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    fs::write(&in_the_way, "mine").unwrap();
    let ended = run.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(2), "{}", message(&ended));
    assert!(message(&ended).contains("something else has appeared"), "{}", message(&ended));
    // It stands, and what stands in the way does too.
    assert!(folder.path().join("out.zarr").exists());
    assert_eq!(fs::read(&in_the_way).unwrap(), b"mine");
    fs::remove_file(&in_the_way).unwrap();
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(folder.path().join(name)).unwrap());
    let before = inode("out.zarr");
    let last = stackctl(folder.path()).args(&arguments).output().unwrap();
    assert_eq!(last.status.code(), Some(0), "{}", message(&last));
    assert!(made(folder.path()) == whole, "{:?}", names(folder.path()));
    assert_eq!(inode("out.zarr"), before, "it was made anew");
}

#[test]
fn what_cannot_be_made_is_refused_before_anything_is_read() {
    let folder = tempdir().unwrap();
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
    let folder = tempdir().unwrap();
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
