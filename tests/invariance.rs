//! What comes out does not depend on how the work was shared out: the same bytes for any number of threads, and
//! for any `--memory` that runs, where sums of floats alone may differ, within the bound that they state.

#![cfg(unix)]

use std::fs;
use std::path::Path;

use crate::common::tempdir;
use crate::common::{pile, probe, run, tiff};
use pile::{Npy, PATTERN, Pile, elements, files};
use probe::{least_memory, program, refused, succeeds, told};
use tiff::Layout;

const THREADS: [&str; 4] = ["1", "2", "3", "8"];

/// Bound of merged float sums, means and moments against one another.
const BOUND: f64 = 1e-12;

fn strips() -> Layout {
    Layout { width: 110, height: 90, bits: 16, rows_per_strip: Some(40), ..Layout::default() }
}

fn tiles() -> Layout {
    Layout { tile: Some((32, 48)), rows_per_strip: None, compression: 8, predictor: 2, level: 1, ..strips() }
}

fn floats(bits: usize) -> Layout {
    Layout { bits, format: 3, compression: 8, level: 1, ..strips() }
}

/// A pile in `raw` of a folder of its own, and the arguments that read it.
fn input(pile: &Pile) -> (tempfile::TempDir, Vec<String>) {
    let folder = tempdir().unwrap();
    pile.write(&folder.path().join("raw"));
    let mut arguments = ["raw", "--pattern", PATTERN].map(String::from).to_vec();
    if !pile.holes.is_empty() {
        arguments.extend(["--missing", "fill", "--fill-value", "7"].map(String::from));
    }
    (folder, arguments)
}

/// Every `--threads` with the least memory that runs, and memories from there to 1 GiB.
fn settings(folder: &Path, arguments: &[&str]) -> Vec<[String; 4]> {
    let setting =
        |threads: &str, memory: u64| ["--threads", threads, "--memory", &format!("{memory}M")].map(String::from);
    let least = least_memory(folder, &[arguments, &["--overwrite"]].concat());
    let larger = [(least + 2, "3"), (least + 9, "2"), (1024, "8"), (1024, "1")];
    THREADS.map(|t| setting(t, least)).into_iter().chain(larger.map(|(m, t)| setting(t, m))).collect()
}

/// Runs `arguments` in every setting and looks at the output twice: what is seen first must be the same for any
/// number of threads, and what is seen then must `agree` for any memory too.
fn compare<T: PartialEq, U>(
    folder: &Path,
    arguments: &[&str],
    look: impl Fn() -> (T, U),
    agree: impl Fn(&U, &U) -> bool,
) {
    let mut found: Vec<([String; 4], T, U)> = Vec::new();
    for setting in settings(folder, arguments) {
        let more: Vec<&str> = setting.iter().map(String::as_str).collect();
        succeeds(folder, &[arguments, &["--overwrite", "-q"], &more].concat());
        let (exact, close) = look();
        for (earlier, same, near) in &found {
            assert!(earlier[3] != setting[3] || *same == exact, "{arguments:?}: {earlier:?} and {setting:?} differ");
            assert!(agree(near, &close), "{arguments:?}: {earlier:?} and {setting:?} are apart");
        }
        found.push((setting, exact, close));
    }
}

fn stitched(pile: &Pile) {
    let (folder, input) = input(pile);
    let folder = folder.path();
    let input: Vec<&str> = input.iter().map(String::as_str).collect();
    let storages: [&[&str]; 3] = [
        &["--zarr-format", "2", "--chunks", "1,1,4,64,64"],
        &["--shards", "none", "--chunks", "2,1,3,50,64"],
        &["--shards", "2,1,6,128,64", "--chunks", "1,1,3,64,32"],
    ];
    for storage in storages {
        let arguments = [&["stitch", "-o", "out.zarr"], &input[..], storage].concat();
        compare(folder, &arguments, || ((), files(&folder.join("out.zarr"))), PartialEq::eq);
    }
}

#[test]
fn stitched_strips() {
    stitched(&Pile::new(2, 5, 6, strips()));
}

#[test]
fn stitched_tiles_with_holes() {
    stitched(&Pile { holes: vec![(0, 1), (1, 4)], ..Pile::new(2, 5, 6, tiles()) });
}

#[test]
fn stitched_floats() {
    stitched(&Pile::new(1, 5, 6, floats(32)));
}

#[test]
fn stitched_from_zarr() {
    let (folder, input) = input(&Pile::new(2, 4, 6, strips()));
    let folder = folder.path();
    let input: Vec<&str> = input.iter().map(String::as_str).collect();
    let stored = ["stitch", "-o", "in.zarr", "--shards", "2,1,6,128,64", "--chunks", "2,1,3,64,32", "-q"];
    succeeds(folder, &[&stored, &input[..]].concat());
    let arguments = ["stitch", "in.zarr", "-o", "out.zarr", "--shards", "none", "--chunks", "1,1,4,50,50"];
    compare(folder, &arguments, || ((), files(&folder.join("out.zarr"))), PartialEq::eq);
}

/// Operators whose result is one of the elements, or exact.
const EXACT: &str = "median,quantile=0.3,argmax,max";

/// Those that round on the way, if the elements are floats.
const ROUNDED: &str = "sum,mean,std";

/// Operators along an axis to `kinds` of files: the bytes for any number of threads, the elements for any memory.
fn reduced(folder: &Path, input: &[&str], operators: &str, axis: &str, kinds: &[&str]) {
    for &extension in kinds {
        let name = format!("out_{{op}}.{extension}");
        let base = ["reduce", "-o", &name, "--op", operators, "--axis", axis, "--keepdims"];
        let look = || {
            let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
            paths.retain(|p| p.extension().is_some_and(|e| e == extension) && p.file_stem().unwrap() != "in");
            paths.sort();
            assert_eq!(paths.len(), operators.split(',').count(), "{paths:?}");
            let of = |look: fn(&Path) -> _| paths.iter().map(|p| look(p)).collect::<Vec<_>>();
            (of(files), paths.iter().map(|p| elements(p)).collect::<Vec<_>>())
        };
        compare(folder, &[&base, input].concat(), look, PartialEq::eq);
    }
}

fn integers(pile: &Pile, axes: &[&str], kinds: &[&str]) {
    let (folder, input) = input(pile);
    let input: Vec<&str> = input.iter().map(String::as_str).collect();
    for axis in axes {
        reduced(folder.path(), &input, &format!("{EXACT},{ROUNDED}"), axis, kinds);
    }
}

#[test]
fn reduced_integers_over_files() {
    integers(&Pile::new(2, 5, 6, strips()), &["t"], &["npy", "zarr", "tif"]);
}

#[test]
fn reduced_integers_within_files() {
    integers(&Pile::new(1, 3, 6, tiles()), &["z", "t,y"], &["zarr"]);
}

#[test]
fn reduced_integers_with_holes() {
    integers(&Pile { holes: vec![(0, 1), (1, 4)], ..Pile::new(2, 5, 4, tiles()) }, &["t"], &["npy"]);
}

#[test]
fn reduced_integers_without_what_is_missing() {
    let pile = Pile { holes: vec![(0, 1), (1, 4)], ..Pile::new(2, 5, 4, strips()) };
    let (folder, _) = input(&pile);
    let input = ["raw", "--pattern", PATTERN, "--missing", "skip"];
    reduced(folder.path(), &input, "mean,count,max,std", "t", &["tif"]);
}

#[test]
fn reduced_from_zarr() {
    let (folder, input) = input(&Pile::new(2, 4, 6, strips()));
    let input: Vec<&str> = input.iter().map(String::as_str).collect();
    let stored = ["stitch", "-o", "in.zarr", "--shards", "2,1,6,128,64", "--chunks", "2,1,3,64,32", "-q"];
    succeeds(folder.path(), &[&stored, &input[..]].concat());
    reduced(folder.path(), &["in.zarr"], &format!("{EXACT},{ROUNDED}"), "t", &["npy", "zarr"]);
}

#[test]
fn reduced_floats_that_are_chosen() {
    for bits in [32, 64] {
        let (folder, input) = input(&Pile::new(1, 5, 6, floats(bits)));
        let input: Vec<&str> = input.iter().map(String::as_str).collect();
        reduced(folder.path(), &input, EXACT, "t", &["zarr"]);
    }
}

/// Sums of floats: the same bits for any number of threads, and for any memory within their bound.
#[test]
fn reduced_floats_that_are_added() {
    let (folder, input) = input(&Pile { holes: vec![(0, 2)], ..Pile::new(2, 6, 6, floats(64)) });
    let folder = folder.path();
    let input: Vec<&str> = input.iter().map(String::as_str).collect();
    for axis in ["t", "z", "t,z,y,x"] {
        let arguments = [&["reduce", "-o", "out_{op}.npy", "--op", ROUNDED, "--axis", axis], &input[..]].concat();
        let look = || {
            let outputs = ["sum", "mean", "std"].map(|o| Npy::read(&folder.join(format!("out_{o}.npy"))));
            (outputs.each_ref().map(|o| o.bytes.clone()), outputs.map(|o| o.floats()))
        };
        compare(folder, &arguments, look, |a, b| {
            a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() <= BOUND * a.abs())
        });
    }
}

/// One number to standard output.
#[test]
fn numbers_that_are_printed() {
    for layout in [strips(), floats(64)] {
        let (folder, input) = input(&Pile::new(2, 5, 6, layout));
        let input: Vec<&str> = input.iter().map(String::as_str).collect();
        let arguments = [&["reduce", "--op", "sum,mean,std,argmax,max", "-q"], &input[..]].concat();
        let out = THREADS.map(|t| succeeds(folder.path(), &[&arguments[..], &["--threads", t]].concat()));
        assert!(out.iter().all(|o| *o == out[0]), "{out:?}");
    }
}

/// A pile of 4 MiB, of several units whatever it becomes.
fn many_units() -> (tempfile::TempDir, Vec<String>) {
    let pile = Pile { holes: vec![(1, 3)], ..Pile::new(2, 4, 8, Layout { width: 256, height: 128, ..strips() }) };
    let (folder, mut input) = input(&pile);
    input.extend(["--memory", "64M", "--threads", "2", "-q"].map(String::from));
    (folder, input)
}

/// Starts processes that do `shares` of `arguments` at the same time; all must end well.
fn share_out(folder: &Path, arguments: &[&str], shares: &[String]) {
    let start = |share: &String| program(folder, &[arguments, &["--share", share]].concat()).spawn().unwrap();
    let running: Vec<_> = shares.iter().map(start).collect();
    for (process, share) in running.into_iter().zip(shares) {
        let (code, _, text) = told(&process.wait_with_output().unwrap());
        assert_eq!(code, 0, "share {share} of {arguments:?}: {text}");
    }
}

/// Processes that do 1, 3 and 7 shares, some twice or not at all, and one that puts together what they did: the same
/// bytes as one process.
fn shared_out(arguments: &[&str], outputs: &[&str]) {
    let (folder, input) = many_units();
    let folder = folder.path();
    let arguments = [arguments, &input.iter().map(String::as_str).collect::<Vec<_>>(), &["--overwrite"]].concat();
    let look = || outputs.iter().map(|name| files(&folder.join(name))).collect::<Vec<_>>();
    succeeds(folder, &arguments);
    let expected = look();
    let all = |n: u64| (0..n).map(|rank| format!("{rank}/{n}")).collect::<Vec<_>>();
    let odd = ["0/3", "2/3", "2/3", "4/7"].map(String::from).to_vec();
    for shares in [all(1), all(3), all(7), odd] {
        outputs.iter().for_each(|name| {
            let path = folder.join(name);
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        });
        share_out(folder, &arguments, &shares);
        assert!(outputs.iter().all(|name| !folder.join(name).exists()), "a share gives no name");
        succeeds(folder, &arguments);
        assert!(look() == expected, "{arguments:?}, shares {shares:?}");
        assert!(run::names(folder).iter().all(|name| !name.ends_with(".partial")), "{:?}", run::names(folder));
    }
}

#[test]
fn shares_of_a_stitch_to_zarr() {
    for storage in [
        &["--zarr-format", "2", "--chunks", "1,1,4,64,128"][..],
        &["--shards", "none", "--chunks", "1,1,4,64,128", "--levels", "3"],
        &["--shards", "1,1,8,128,256", "--chunks", "1,1,4,32,128", "--levels", "3"],
    ] {
        shared_out(&[&["stitch", "-o", "out.zarr"], storage].concat(), &["out.zarr"]);
    }
}

#[test]
fn shares_of_a_stitch_to_one_file() {
    for output in ["out.npy", "out.tif"] {
        shared_out(&["stitch", "-o", output], &[output]);
    }
}

fn shared_reduction(axis: &str, operators: &str, extension: &str) {
    let name = format!("out_{{op}}.{extension}");
    let outputs: Vec<String> = operators.split(',').map(|op| format!("out_{op}.{extension}")).collect();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    shared_out(&["reduce", "-o", &name, "--op", operators, "--axis", axis, "--keepdims"], &outputs);
}

#[test]
fn shares_of_a_reduction_over_files() {
    shared_reduction("t", "median,std", "zarr");
    shared_reduction("t", "max", "tif");
}

#[test]
fn shares_of_a_reduction_within_files() {
    shared_reduction("z", "argmax,mean", "npy");
    shared_reduction("y,x", "sum", "zarr");
}

/// Tasks share the one tile there is, and its state is merged.
#[test]
fn shares_of_a_reduction_over_all() {
    shared_reduction("t,z,y,x", "sum,std,max", "npy");
}

/// What cannot be shared out is refused, and so is what another run has begun.
#[test]
fn shares_that_are_refused() {
    let (folder, input) = many_units();
    let folder = folder.path();
    let input: Vec<&str> = input.iter().map(String::as_str).collect();
    let with = |more: &[&'static str]| [more, &input[..]].concat();
    let pipe = refused(folder, 2, &with(&["reduce", "--op", "max", "--share", "0/2"]));
    assert!(pipe.contains("shared out"), "{pipe}");
    refused(folder, 2, &with(&["stitch", "-o", "out.zarr", "--share", "2/2"]));
    refused(folder, 2, &with(&["stitch", "-o", "out.zarr", "--share", "0/2", "--restart"]));
    succeeds(folder, &with(&["stitch", "-o", "out.zarr", "--share", "0/2"]));
    let other = refused(folder, 2, &with(&["stitch", "-o", "out.zarr", "--share", "1/2", "--codec", "none"]));
    assert!(other.contains("codec"), "{other}");
}
