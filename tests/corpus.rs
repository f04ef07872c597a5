//! Real files of other people's programs, each compared with what an independent reader makes of it.
//!
//! The files are not part of the repository: they are looked for in the folder that `STACKCTL_SHARED` names,
//! else in `../shared`; without them nothing is tested and the test says so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::skipped;
use sha2::{Digest, Sha256};
use stackctl::array::{Array, Scratch};
use stackctl::axis::Axis;
use stackctl::block::{Block, Buffer};
use stackctl::dtype::DType;
use stackctl::error::Error;
use stackctl::grid::Region;
use stackctl::layout::{Layout, LayoutOptions};
use stackctl::pattern::{ArrangeOptions, Pattern};
use stackctl::source::headers::Headers;
use stackctl::source::{self, OpenOptions};
use stackctl::stack::Stack;

fn corpus() -> Option<(PathBuf, serde_json::Value)> {
    let shared = std::env::var_os("STACKCTL_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let folder = shared.join("corpus");
    let Ok(text) = std::fs::read_to_string(folder.join("manifest.json")) else {
        skipped(format_args!("no corpus in {}", folder.display()));
        return None;
    };
    Some((folder, serde_json::from_str(&text).unwrap()))
}

/// What reading a file whole gave.
struct Whole {
    axes: Vec<Axis>,
    dtype: DType,
    /// Elements with the axis of samples where it is stored.
    bytes: Vec<u8>,
}

/// Bytes of an array that a test is willing to hold.
const MOST_BYTES: u64 = 1 << 30;

fn whole<A: Array + ?Sized + 'static>(array: &Arc<A>) -> Result<Block, Error> {
    let region = Region::whole(&array.shape());
    Arc::clone(array).reader(Scratch::default()).block(&region, array.dtype(), Buffer::default())
}

fn read_whole(path: &Path) -> Result<Whole, Error> {
    let source = source::open(path, &OpenOptions::default())?;
    let info = source.info();
    let bytes = stackctl::block::size_bytes(&info.shape(), info.dtype);
    if bytes > MOST_BYTES || info.scratch_bytes > MOST_BYTES {
        return Err(Error::limit(format!("needs {bytes} bytes and {} beside", info.scratch_bytes)));
    }
    let block = whole(&source)?;
    Ok(Whole { axes: info.axes.clone(), dtype: info.dtype, bytes: block.bytes().to_vec() })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

/// Files that others were opened before, which they may be like, are what they are by themselves.
#[test]
fn files_among_others_are_what_they_are_alone() {
    let Some((folder, manifest)) = corpus() else { return };
    let files = manifest["files"].as_array().unwrap().iter();
    let in_series = files.filter(|file| file["path"].as_str().unwrap().starts_with("series"));
    let paths: Vec<PathBuf> = in_series.map(|file| folder.join(file["path"].as_str().unwrap())).collect();
    let headers = Headers::read(&paths, &OpenOptions::default());
    let mut n_shared = paths.len();
    let mut first_of = BTreeMap::new();
    for (i, path) in (0..).zip(&paths) {
        let Ok(alone) = read_whole(path) else {
            assert!(headers.info(i).is_none(), "{}", path.display());
            continue;
        };
        let info = headers.info(i).unwrap();
        let axes: Vec<&Axis> = (0..info.axes.len()).map(|axis| headers.axis(i, axis).unwrap()).collect();
        assert_eq!(axes, alone.axes.iter().collect::<Vec<_>>(), "{}", path.display());
        assert_eq!(info.dtype, alone.dtype, "{}", path.display());
        let index = headers.indexes.get(i).unwrap();
        first_of.entry(Arc::as_ptr(index).cast::<()>()).or_insert(i);
        let again = Arc::clone(index).open(path).unwrap();
        assert!(whole(&again).unwrap().bytes() == alone.bytes, "{}", path.display());
    }
    n_shared -= first_of.len();
    assert!(n_shared > 100, "{n_shared} files of {} share an index", paths.len());
}

#[derive(Default)]
struct Tally {
    passed: u32,
    refused: u32,
    failed: u32,
}

fn outcome(folder: &Path, file: &serde_json::Value) -> Result<(), String> {
    let whole = read_whole(&folder.join(file["path"].as_str().unwrap())).map_err(|e| match e {
        Error::Unsupported(text) => format!("refused: {text}"),
        other => format!("error: {other}"),
    })?;
    let truth = &file["truth"]["series0"];
    let Some(expected) = truth["sha256"].as_str() else { return Ok(()) };
    let shape: Vec<u64> = whole.axes.iter().map(|a| a.length).filter(|&n| n != 1).collect();
    let wanted: Vec<u64> =
        truth["shape"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).filter(|&n| n != 1).collect();
    let found = sha256(&whole.bytes);
    if shape != wanted || truth["dtype"] != whole.dtype.name() {
        return Err(format!("failed: {} {shape:?}, expected {} {wanted:?}", whole.dtype, truth["dtype"]));
    }
    if found != expected {
        return Err(format!("failed: {} {shape:?} has other pixels", whole.dtype));
    }
    Ok(())
}

#[test]
fn real_files_read_as_an_independent_reader_reads_them() {
    let Some((folder, manifest)) = corpus() else { return };
    let mut features: BTreeMap<String, Tally> = BTreeMap::new();
    let mut kinds: BTreeMap<(String, String), Tally> = BTreeMap::new();
    let mut faults = Vec::new();
    let only = std::env::var("CORPUS_ONLY").unwrap_or_default();
    for file in manifest["files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap();
        let expect = file["expect"].as_str().unwrap();
        if !expect.starts_with("decode") || path.starts_with("hostile") || !path.contains(&only) {
            continue;
        }
        let tier = file["tier"].as_str().unwrap_or("none");
        let result = outcome(&folder, file);
        if let Err(why) = &result {
            let must = if expect == "decode" || why.starts_with("failed") { "MUST" } else { "may" };
            if must == "MUST" || std::env::var_os("CORPUS_VERBOSE").is_some() {
                println!("{must} {tier} {path}: {why}");
            }
            if must == "MUST" {
                faults.push(path.to_owned());
            }
        }
        let count = |tally: &mut Tally| match &result {
            Ok(()) => tally.passed += 1,
            Err(why) if why.starts_with("refused") => tally.refused += 1,
            Err(_) => tally.failed += 1,
        };
        count(kinds.entry((tier.to_owned(), expect.to_owned())).or_default());
        for feature in file["exercises"].as_array().unwrap() {
            count(features.entry(feature.as_str().unwrap().to_owned()).or_default());
        }
    }
    let mut table = String::from("| expected | passed | refused | failed |\n| --- | --- | --- | --- |\n");
    let mut row = |name: &str, t: &Tally| {
        let _ = writeln!(table, "| {name} | {} | {} | {} |", t.passed, t.refused, t.failed);
    };
    for ((tier, expect), t) in &kinds {
        row(&format!("{tier}, {expect}"), t);
    }
    table.push_str("\n| feature | passed | refused | failed |\n| --- | --- | --- | --- |\n");
    let mut row = |name: &str, t: &Tally| {
        let _ = writeln!(table, "| {name} | {} | {} | {} |", t.passed, t.refused, t.failed);
    };
    for (name, t) in &features {
        row(name, t);
    }
    println!("\n{table}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() && only.is_empty() {
        keep(&table);
    }
    // Of what may be refused, little is.
    let may = kinds.iter().filter(|((_, expect), _)| expect == "decode-or-unsupported").map(|(_, t)| t);
    let (passed, all) = may.fold((0, 0), |(p, n), t| (p + t.passed, n + t.passed + t.refused + t.failed));
    assert!(passed * 100 >= all * 85 || !only.is_empty(), "{passed} of {all} that may be refused are read");
    assert!(faults.is_empty(), "{} files: {faults:#?}", faults.len());
}

/// Writes the table into the documentation.
fn keep(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tiff.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, _) = text.split_once("<!-- table -->").unwrap();
    std::fs::write(&path, format!("{head}<!-- table -->\n\n{table}")).unwrap();
}

/// The files of one group of a series, arranged by the names' t, c and z, as one array in the order t c z y x.
fn assemble(folder: &Path, names: &[String], pattern: &str) -> Result<(Vec<u64>, Vec<u8>), Error> {
    let pattern = Pattern::regex(pattern)?;
    let arrangement = stackctl::pattern::arrange(&pattern, names, &ArrangeOptions::default())?;
    let faults = arrangement.faults(names);
    assert!(faults.is_empty(), "{:?}", faults.iter().map(|f| &f.text).collect::<Vec<_>>());
    let paths: Vec<PathBuf> = names.iter().map(|n| folder.join(n)).collect();
    let options = OpenOptions::default();
    let mut headers = Headers::read(&paths, &options);
    headers.check(&paths)?;
    let (axes, cells) = (&arrangement.axes, &arrangement.cells);
    let layout = Layout::arranged(axes, cells, &headers, &paths, &LayoutOptions::default())?;
    let fill = vec![0; layout.dtype().size()];
    let block = whole(&Arc::new(Stack::new(layout, headers, paths, options, fill)))?;
    Ok((block.region().shape.clone(), block.bytes().to_vec()))
}

#[test]
fn series_of_files_are_put_together_by_their_names() {
    let Some((folder, manifest)) = corpus() else { return };
    let mut n_groups = 0;
    let unnamed = regex::Regex::new(r"\(\?P<([^>]*)>").unwrap();
    for series in manifest["series"].as_array().unwrap() {
        let name = series["name"].as_str().unwrap();
        let folder = folder.join(series["path"].as_str().unwrap());
        let pattern = series["pattern"].as_str().unwrap();
        let regex = regex::Regex::new(pattern).unwrap();
        let mut names = Vec::new();
        list(&folder, &folder, &mut names);
        names.sort();
        // Only t, c and z are axes here; what else the names hold tells the groups apart.
        let axes = unnamed.replace_all(pattern, |c: &regex::Captures<'_>| match &c[1] {
            "t" | "c" | "z" => c[0].to_owned(),
            _ => "(?:".to_owned(),
        });
        for group in series["groups"].as_array().unwrap() {
            let wanted = group["group"].as_object().unwrap();
            let of_group = |n: &&String| {
                regex.captures(n).is_some_and(|found| wanted.iter().all(|(k, v)| &found[k.as_str()] == v))
            };
            let members: Vec<String> = names.iter().filter(of_group).cloned().collect();
            let truth = &group["truth_tczyx"];
            let expected: Vec<u64> = truth["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
            let (shape, bytes) =
                assemble(&folder, &members, &axes).unwrap_or_else(|e| panic!("{name} {wanted:?}: {e}"));
            assert_eq!(shape, expected, "{name} {wanted:?}");
            assert_eq!(sha256(&bytes), truth["sha256"].as_str().unwrap(), "{name} {wanted:?}");
            n_groups += 1;
        }
    }
    println!("{n_groups} arrays put together");
}

/// Names of the files below `folder`, relative to `root`.
fn list(root: &Path, folder: &Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(root, &path, names);
        } else {
            names.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
        }
    }
}

#[test]
fn hostile_files_end_in_an_error_soon() {
    let Some((folder, manifest)) = corpus() else { return };
    let mut faults = Vec::new();
    for file in manifest["files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap();
        if !path.starts_with("hostile") {
            continue;
        }
        let begin = Instant::now();
        let result = outcome(&folder, file);
        if begin.elapsed() > Duration::from_secs(10) {
            faults.push(format!("{path}: took {:?}", begin.elapsed()));
        }
        match (file["expect"].as_str().unwrap(), result) {
            ("error", Ok(())) => println!("{path}: read, though no reader can"),
            ("error", Err(_)) | (_, Ok(())) => {}
            ("decode", Err(why)) => faults.push(format!("{path}: {why}")),
            (expect, Err(why)) if why.starts_with("failed") => println!("{path} ({expect}): {why}"),
            (_, Err(_)) => {}
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
