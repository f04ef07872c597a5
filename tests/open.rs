//! Opening: from what the user named to one lazy array, in the library and as every command tells of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::tempdir;
use crate::common::{run, tiff};
use run::{Acquisition, PATTERN, Succeeds as _, failure, message, stackctl};
use serde_json::Value;
use stackctl::array::{Array, Scratch};
use stackctl::block::Buffer;
use stackctl::grid::Region;
use stackctl::open::{Missing, Names, ObstacleKind, Request};
use stackctl::pattern::Pattern;
use stackctl::source::OpenOptions;
use stackctl::source::headers::Headers;
use stackctl::source::known::KnownInputs;
use tiff::Layout;

/// Writes an OME-TIFF whose text counts three time points of two planes (3, 4) uint8, of which `n_pages` are
/// there; every element of a page is its number plus one.
fn write_ome(path: &Path, n_pages: u8) {
    let pixels = r#"DimensionOrder="XYZCT" Type="uint8" SizeX="4" SizeY="3" SizeZ="2" SizeC="1" SizeT="3""#;
    let text = format!(
        r#"<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">
        <Pixels ID="Pixels:0" {pixels}><Channel ID="Channel:0:0"/><TiffData/></Pixels></Image></OME>"#
    );
    let layout = Layout { width: 4, height: 3, description: Some(text), ..Layout::default() };
    let pages: Vec<Vec<u8>> = (0..n_pages).map(|page| vec![page + 1; 12]).collect();
    fs::write(path, layout.write(&pages)).unwrap();
}

fn json(output: &[u8]) -> Value {
    serde_json::from_slice(output).unwrap()
}

#[test]
fn a_library_user_opens_a_pile_in_three_lines() {
    let folder = tempdir().unwrap();
    let acquisition = Acquisition::default();
    acquisition.write(folder.path());
    let names = Names { pattern: Some(Pattern::parse(PATTERN).unwrap()), ..Names::default() };
    let request = Request { inputs: folder.path().to_string_lossy().into(), names, ..Request::default() };
    let opened = request.open().unwrap();
    let shape: Vec<u64> = acquisition.shape().iter().map(|n| *n as u64).collect();
    assert_eq!(opened.stack.shape(), shape);
    let dtype = opened.stack.dtype();
    let mut reader = Arc::new(opened.stack).reader(Scratch::default());
    let block = reader.block(&Region::whole(&shape), dtype, Buffer::default()).unwrap();
    let expected: Vec<u8> = acquisition.elements().iter().flat_map(|e| e.to_ne_bytes()).collect();
    assert_eq!(block.bytes(), expected);

    // By the value of a field: one array for each.
    let divided = Request { by: Some("c".into()), ..request.clone() };
    assert_eq!(divided.open().unwrap_err().exit_code(), 2);
    let mut heard = 0;
    let surveys = divided.survey(&mut |_, of| heard += of).unwrap();
    let values: Vec<_> = surveys.iter().filter_map(|s| s.value.clone()).collect();
    assert_eq!((values, heard), (vec!["0".to_owned(), "1".to_owned()], 6));

    // The same with any number of threads.
    for threads in [1, 2, 5] {
        let opened = Request { threads, ..request.clone() }.open().unwrap();
        assert_eq!(opened.stack.shape(), shape);
    }

    fs::remove_file(folder.path().join(Acquisition::name(1, 2))).unwrap();
    let refused = request.open().unwrap_err();
    assert!(refused.to_string().contains("c=1 t=2"), "{refused}");
    let survey = request.survey(&mut |_, _| {}).unwrap().remove(0);
    let fitting = survey.fitting(&request);
    let kinds: Vec<_> = survey.obstacles(Some(&fitting)).iter().map(|o| o.kind).collect();
    assert_eq!(kinds, [ObstacleKind::Holes]);
    let filled = Request { missing: Missing::Fill, fill: Some("7".into()), ..request }.open().unwrap();
    assert_eq!((filled.stack.layout().n_holes(), filled.stack.fill_bytes()), (1, 7u16.to_ne_bytes().to_vec()));
}

#[test]
fn planes_that_a_description_counts_and_the_file_lacks_are_holes() {
    let folder = tempdir().unwrap();
    let stopped = folder.path().join("stopped.ome.tif");
    write_ome(&stopped, 3);
    for command in [&["stitch", "stopped.ome.tif", "-o", "out.zarr"][..], &["reduce", "stopped.ome.tif", "--op", "sum"]]
    {
        let (code, text) = failure(folder.path(), command);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("3 planes that descriptions count are not there"), "{text}");
        assert!(text.contains("t=1 z=1: the file stopped.ome.tif lacks this plane"), "{text}");
        assert!(text.contains("t=2 z=0 to 1: the file stopped.ome.tif lacks these planes"), "{text}");
    }
    let inspect = stackctl(folder.path()).args(["inspect", "stopped.ome.tif", "--json", "--strict"]).output().unwrap();
    assert_eq!(inspect.status.code(), Some(3));
    let found = json(&inspect.stdout);
    let array = &found["arrays"][0];
    assert_eq!((&array["holes"]["count"], &array["faults"][0]["kind"]), (&3.into(), &"holes".into()));
    assert!(array["command"].as_array().unwrap().contains(&"fill".into()), "{array}");

    let fill = ["stitch", "stopped.ome.tif", "-o", "out.zarr", "--missing", "fill", "--json", "-q"];
    let output = stackctl(folder.path()).args(fill).output().unwrap();
    let told = json(&output.stdout);
    assert_eq!(told["elements_filled"], 36);
    // Told once, in JSON, and kept with the output.
    let note = "3 of 6 planes that the OME-XML describes are not in the file";
    assert_eq!(message(&output).matches(note).count(), 1, "{}", message(&output));
    assert_eq!(told["notes"][0]["text"], note);
    assert_eq!(told["notes"][0]["files"], 1);
    let kept = fs::read_to_string(folder.path().join("out.zarr/zarr.json")).unwrap();
    assert!(kept.contains(note), "{kept}");
    // What is there: pages of ones, twos and threes.
    let mean = ["reduce", "stopped.ome.tif", "--op", "mean", "--missing", "skip", "-q"];
    assert_eq!(stackctl(folder.path()).args(mean).output().unwrap().stdout, b"2\n");
    let reduced = ["reduce", "stopped.ome.tif", "--op", "sum", "--missing", "fill", "--json"];
    let reduced = stackctl(folder.path()).args(reduced).output().unwrap();
    assert_eq!(json(&reduced.stdout)["notes"][0]["text"], note);
}

#[test]
fn planes_are_named_by_file_where_names_give_positions() {
    let folder = tempdir().unwrap();
    for (p, n_pages) in [(0, 6), (1, 4), (2, 6), (3, 5)] {
        write_ome(&folder.path().join(format!("s_p{p}.ome.tif")), n_pages);
    }
    let base = ["stitch", "s_*.tif", "--pattern", "_p{p}.", "-o", "out.zarr", "--dry-run"];
    let (code, text) = failure(folder.path(), &base);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("p=1 t=2 z=0 to 1: the file s_p1.ome.tif lacks these planes"), "{text}");
    assert!(text.contains("p=3 t=2 z=1: the file s_p3.ome.tif lacks this plane"), "{text}");
    let output = stackctl(folder.path()).args(base).args(["--missing", "fill", "--json"]).output().unwrap();
    assert_eq!(json(&output.stdout)["holes"], 3);
    // Without the files that were cut short there is nothing to refuse.
    stackctl(folder.path()).args(base).args(["--exclude", "*p3*", "--exclude", "*p1*"]).succeeds();
}

#[test]
fn notes_of_many_arrays_are_told_once() {
    let folder = tempdir().unwrap();
    for (p, photometric) in [(0, 1), (1, 0), (2, 0)] {
        let layout = Layout { photometric, ..Layout::default() };
        for t in 0..2 {
            fs::write(folder.path().join(format!("s_p{p}_t{t}.tif")), layout.write(&[vec![p; 256]])).unwrap();
        }
    }
    let note = "white is zero: samples are kept as stored, not inverted (4 files, such as s_p1_t0.tif)";
    let stitch = ["stitch", "s_*.tif", "--pattern", "_p{p}_t{t}", "--by", "p", "-o", "out/{p}.zarr", "--json", "-q"];
    let output = stackctl(folder.path()).args(stitch).output().unwrap();
    assert_eq!(message(&output), format!("note: {note}\n"));
    let told = json(&output.stdout);
    let n_notes: Vec<_> = told.as_array().unwrap().iter().map(|t| t["notes"].as_array().unwrap().len()).collect();
    assert_eq!(n_notes, [0, 1, 1]);
    let inspect = ["inspect", "s_*.tif", "--pattern", "_p{p}_t{t}", "--by", "p"];
    let text = String::from_utf8(stackctl(folder.path()).args(inspect).output().unwrap().stdout).unwrap();
    assert_eq!(text.matches("white is zero").count(), 1, "{text}");
}

#[test]
fn nobody_listening_on_standard_error_changes_nothing() {
    let folder = tempdir().unwrap();
    Acquisition::default().write(&folder.path().join("raw"));
    let run = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(run::PROGRAM);
        command.current_dir(folder.path()).args(arguments).stderr(writer).output().unwrap()
    };
    let stitched = run(&["stitch", "raw", "--pattern", PATTERN, "-o", "out.zarr"]);
    assert_eq!(stitched.status.code(), Some(0));
    assert!(folder.path().join("out.zarr/zarr.json").is_file());
    // The pattern found in the names is told.
    let reduced = run(&["reduce", "raw", "--op", "max"]);
    assert_eq!(reduced.status.code(), Some(0));
    assert!(!reduced.stdout.is_empty());
    assert_eq!(run(&["inspect", "raw", "--svg", "out.svg"]).status.code(), Some(0));
    assert_eq!(run(&["stitch", "nowhere", "-o", "out.zarr"]).status.code(), Some(2));
    assert_eq!(run(&["stitch", "raw", "--pattern", PATTERN, "-o", "out.zarr"]).status.code(), Some(2));
}

#[test]
fn an_output_stays_out_of_its_inputs() {
    let folder = tempdir().unwrap();
    Acquisition::default().write(&folder.path().join("raw"));
    stackctl(folder.path()).args(["stitch", "raw", "--pattern", PATTERN, "-o", "in.zarr", "-q"]).succeeds();
    let before = run::tree(&folder.path().join("in.zarr"));
    for output in ["in.zarr/x.zarr", "in.zarr/0/deep/x.zarr", "./in.zarr/../in.zarr/x.zarr", "in.zarr/new/../x.zarr"] {
        for command in [&["stitch", "in.zarr"][..], &["reduce", "in.zarr", "--op", "max", "--axis", "z"]] {
            let (code, text) = failure(folder.path(), &[command, &["-o", output, "--overwrite"]].concat());
            assert_eq!(code, 2, "{text}");
            assert!(text.contains("would lie inside the input in.zarr"), "{text}");
        }
    }
    let (code, text) = failure(folder.path(), &["stitch", "in.zarr", "-o", "in.zarr", "--overwrite"]);
    assert!(code == 2 && text.contains("would replace the input"), "{text}");
    assert_eq!(run::tree(&folder.path().join("in.zarr")), before);
    // A folder of files is no store.
    let beside = ["stitch", "raw", "--pattern", PATTERN, "-o", "raw/out.zarr", "-q"];
    stackctl(folder.path()).args(beside).succeeds();
}

#[test]
fn a_fill_value_must_fit_the_elements() {
    let folder = tempdir().unwrap();
    Acquisition::default().write(&folder.path().join("raw"));
    for value in ["70000", "-1", "1.5", "nan", "", "x"] {
        let arguments = ["stitch", "raw", "--pattern", PATTERN, "-o", "out.zarr", "--fill-value", value];
        let (code, text) = failure(folder.path(), &arguments);
        assert_eq!(code, 2, "{value}: {text}");
        let expected = format!(
            "--fill-value: '{value}' is not a value that uint16 can hold: expected a whole number from 0 to 65535"
        );
        assert!(text.contains(&expected), "{text}");
    }
}

#[test]
fn the_number_of_files_counts_metadata() {
    let folder = tempdir().unwrap();
    Acquisition::default().write(&folder.path().join("raw"));
    // Six chunks, two files of metadata in version 3 and five in version 2, and the checksums.
    let base =
        ["stitch", "raw", "--pattern", PATTERN, "--chunks", "1,1,5,37,50", "-o", "out.zarr", "--overwrite", "-q"];
    for (format, n_files) in [("3", 9), ("2", 12)] {
        let run = |most: u64| {
            let flags = ["--zarr-format", format, "--shards", "none", "--max-files", &most.to_string()];
            stackctl(folder.path()).args(base).args(flags).output().unwrap()
        };
        let refused = run(n_files - 1);
        assert_eq!(refused.status.code(), Some(2));
        assert!(message(&refused).contains(&format!("would have {n_files} files")), "{}", message(&refused));
        assert!(run(n_files).status.success());
        assert_eq!(run::tree(&folder.path().join("out.zarr")).len() as u64, n_files);
    }
    // Shards grow until all fits.
    let grown = stackctl(folder.path()).args(base).args(["--max-files", "4"]).output().unwrap();
    assert!(grown.status.success(), "{}", message(&grown));
    assert_eq!(run::tree(&folder.path().join("out.zarr")).len(), 4);
}

#[test]
fn what_is_known_of_headers_comes_back() {
    let paths: Vec<PathBuf> = ["fixtures/raw/", "nothing"].map(PathBuf::from).to_vec();
    let mut tifs: Vec<PathBuf> = fs::read_dir(&paths[0]).unwrap().flatten().map(|entry| entry.path()).collect();
    tifs.retain(|path| path.extension().is_some_and(|e| e == "tif"));
    tifs.sort();
    let options = OpenOptions::default();
    let headers = Headers::read(&tifs, &options);
    let known = KnownInputs::default();
    known.keep(&tifs, &options, &headers);
    known.keep(&paths, &options, &Headers::read(&paths, &options));
    let text = known.to_json().to_string();
    let again = KnownInputs::from_json(serde_json::from_str(&text).unwrap()).unwrap();
    let found = again.find(&tifs, &options).unwrap();
    assert_eq!(format!("{:?}", found.kinds), format!("{:?}", headers.kinds));
    assert_eq!((found.kind_of, found.bytes_of), (headers.kind_of, headers.bytes_of));
    assert!(again.find(&paths, &options).is_none(), "files that cannot be read");
    assert!(again.find(&tifs[1..], &options).is_none(), "other files");
    assert!(again.find(&tifs, &OpenOptions { level: Some(1), ..options }).is_none(), "read otherwise");
}
