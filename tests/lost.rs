//! What is absent, unreadable or passed over: every command tells of it, and nothing of it is a pixel.

use std::fs;
use std::path::Path;

use crate::common::tempdir;
use crate::common::{run, tiff};
use run::{Acquisition, PATTERN, Succeeds as _, failure, message, read_zarr, stackctl};
use serde_json::{Value, json};
use tiff::{Layout, entry, u32_at};

/// What a run that must succeed prints as JSON, and what it says.
fn told(folder: &Path, arguments: &[&str]) -> (Value, String) {
    let output = stackctl(folder).args(arguments).arg("--json").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", message(&output));
    (serde_json::from_slice(&output.stdout).unwrap(), message(&output))
}

/// Six files of five deflated pages: one breaks off behind two pages, one has a strip of noise, and one is no TIFF.
fn damaged(folder: &Path) -> Acquisition {
    let layout = Layout { compression: 8, ..Acquisition::default().layout };
    let acquisition = Acquisition { layout, ..Acquisition::default() };
    acquisition.write(folder);
    let name = |c, t| folder.join(Acquisition::name(c, t));
    let mut cut = fs::read(name(0, 1)).unwrap();
    let third = entry(&cut, 2, 256) - 2;
    cut.truncate(third);
    fs::write(name(0, 1), cut).unwrap();
    let mut noisy = fs::read(name(1, 0)).unwrap();
    let strip = u32_at(&noisy, u32_at(&noisy, entry(&noisy, 3, 273) + 8) + 4);
    noisy[strip..strip + 40].fill(0xff);
    fs::write(name(1, 0), noisy).unwrap();
    fs::write(name(1, 2), "this is no image").unwrap();
    acquisition
}

/// Whether an element is lost in what [`damaged`] writes: t c z y x.
fn is_lost([t, c, z, y, _]: [usize; 5]) -> bool {
    match (t, c) {
        (1, 0) => z >= 2,
        (0, 1) => z == 3 && (10..20).contains(&y),
        (2, 1) => true,
        _ => false,
    }
}

fn positions(shape: [usize; 5]) -> impl Iterator<Item = [usize; 5]> {
    let n: usize = shape.iter().product();
    (0..n).map(move |mut i| {
        let mut at = [0; 5];
        for k in (0..5).rev() {
            (at[k], i) = (i % shape[k], i / shape[k]);
        }
        at
    })
}

#[test]
fn without_skip_bad_a_refusal_says_what_it_would_save() {
    let folder = tempdir().unwrap();
    damaged(&folder.path().join("raw"));
    let stitch = ["stitch", "raw", "--pattern", PATTERN, "-o", "out.zarr"];
    let (code, text) = failure(folder.path(), &stitch);
    // Four whole files of five pages, and two pages of the one that breaks off.
    assert!(code == 1 && text.contains("--skip-bad goes on with the 22 pages that can be read"), "{text}");
    // What is lost is a hole: nobody has allowed any.
    let (code, text) = failure(folder.path(), &[&stitch[..], &["--skip-bad"]].concat());
    assert!(code == 1 && text.contains("1 of 6 positions has no file") && text.contains("--missing fill"), "{text}");
    assert!(!folder.path().join("out.zarr").exists());
    // Damage inside a strip shows when it is read.
    let one = format!("raw/{}", Acquisition::name(1, 0));
    let (code, text) = failure(folder.path(), &["reduce", &one, "--op", "sum"]);
    assert!(code == 1 && text.contains("page 3, strip 1") && text.contains("--skip-bad"), "{text}");
}

#[test]
fn what_cannot_be_read_is_a_hole_that_is_told_and_recorded() {
    let folder = tempdir().unwrap();
    let acquisition = damaged(&folder.path().join("raw"));
    let stitch = ["stitch", "raw", "--pattern", PATTERN, "-o", "out.zarr", "--skip-bad", "--missing", "fill"];
    let (summary, said) = told(folder.path(), &[&stitch[..], &["--fill-value", "7"]].concat());
    let (shape, bytes) = read_zarr(&folder.path().join("out.zarr/0"));
    assert_eq!(shape, acquisition.shape().map(|n| n as u64));
    let expected: Vec<u8> = positions(acquisition.shape())
        .flat_map(|at| if is_lost(at) { 7 } else { acquisition.element(at) }.to_ne_bytes())
        .collect();
    assert!(bytes == expected);
    let n_lost = positions(acquisition.shape()).filter(|at| is_lost(*at)).count();
    assert_eq!(summary["elements_filled"], n_lost);
    assert_eq!(summary["losses"].as_array().unwrap().len(), 1);
    assert!(summary["losses"][0].as_str().unwrap().contains("page 3, strip 1"), "{summary}");
    let kept: Value = serde_json::from_slice(&fs::read(folder.path().join("out.zarr/zarr.json")).unwrap()).unwrap();
    let own = &kept["attributes"]["stackctl"];
    assert_eq!(own["losses"], summary["losses"]);
    for kind in ["file-left-out", "broken-off"] {
        let is_told = |notes: &Value| notes.as_array().unwrap().iter().any(|note| note["kind"] == kind);
        assert!(is_told(&summary["notes"]) && is_told(&own["notes"]), "{kind}: {summary}");
    }
    for line in ["note: left out, it cannot be read", "note: the file breaks off", "lost: "] {
        assert_eq!(said.matches(line).count(), 1, "{line}: {said}");
    }
    // Reductions leave it out.
    let reduce = ["reduce", "raw", "--pattern", PATTERN, "--op", "sum,count", "--skip-bad", "--missing", "skip"];
    let (results, _) = told(folder.path(), &reduce);
    let left: Vec<u64> = positions(acquisition.shape())
        .filter(|at| !is_lost(*at))
        .map(|at| u64::from(acquisition.element(at)))
        .collect();
    assert_eq!(results["outputs"][0]["value"], left.iter().sum::<u64>());
    assert_eq!(results["outputs"][1]["value"], left.len());
    assert_eq!(results["losses"], summary["losses"]);
}

#[test]
fn inspect_proposes_to_pass_over_what_cannot_be_read() {
    let folder = tempdir().unwrap();
    damaged(&folder.path().join("raw"));
    let inspect = ["inspect", "raw", "--pattern", PATTERN, "--skip-bad", "--no-sample"];
    let (found, _) = told(folder.path(), &inspect);
    let array = &found["arrays"][0];
    assert_eq!(array["unreadable"]["count"], 1);
    assert_eq!(array["array"]["shape"], json!([3, 2, 5, 37, 50]));
    // The file that is left out, and three planes behind the break.
    assert_eq!(array["holes"]["count"], 4, "{array}");
    let words: Vec<&str> = array["command"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(words.contains(&"--skip-bad") && words.contains(&"fill") && !words.contains(&"--exclude"), "{words:?}");
    stackctl(folder.path()).args(&words[1..]).succeeds();
}

#[test]
fn a_selection_beside_a_hole_is_read() {
    let folder = tempdir().unwrap();
    let acquisition = Acquisition::default();
    acquisition.write(&folder.path().join("raw"));
    fs::remove_file(folder.path().join("raw").join(Acquisition::name(1, 2))).unwrap();
    let reduce = ["reduce", "raw", "--pattern", PATTERN, "--op", "sum"];
    let sum = |is_chosen: &dyn Fn([usize; 5]) -> bool| -> u64 {
        positions(acquisition.shape()).filter(|at| is_chosen(*at)).map(|at| u64::from(acquisition.element(at))).sum()
    };
    for (select, expected) in [("t=:2", sum(&|at| at[0] < 2)), ("c=0,z=::2", sum(&|at| at[1] == 0 && at[2] % 2 == 0))] {
        let (results, _) = told(folder.path(), &[&reduce[..], &["--select", select]].concat());
        assert_eq!(results["outputs"][0]["value"], expected, "{select}");
        let output = format!("{select}.zarr");
        let stitch = ["stitch", "raw", "--pattern", PATTERN, "--select", select, "-o", &output];
        assert_eq!(told(folder.path(), &stitch).0["elements_filled"], 0);
    }
    for select in ["t=2", "t=::-1", "c=1,z=0"] {
        let (code, text) = failure(folder.path(), &[&reduce[..], &["--select", select]].concat());
        assert!(code == 1 && text.contains("1 position of what --select chooses that no file covers"), "{text}");
        assert!(text.contains("t=2 c=1") && text.contains("--missing fill"), "{text}");
    }
    let (code, _) = failure(folder.path(), &[&reduce[..], &["--select", "q=2"]].concat());
    assert_eq!(code, 2);
}

#[test]
fn a_strip_with_a_place_and_no_bytes_is_a_hole() {
    let folder = tempdir().unwrap();
    let layout = Layout { rows_per_strip: Some(4), ..Layout::default() };
    let mut bytes = layout.write(&[vec![5; 256], vec![7; 256]]);
    let counts = u32_at(&bytes, entry(&bytes, 1, 279) + 8);
    bytes[counts + 4..counts + 8].fill(0);
    fs::write(folder.path().join("a.tif"), bytes).unwrap();
    for choice in [&[][..], &["--select", "z=1"]] {
        let (code, text) = failure(folder.path(), &[&["reduce", "a.tif", "--op", "mean"], choice].concat());
        assert!(code == 1 && text.contains("z=1"), "{text}");
    }
    let (results, _) = told(folder.path(), &["reduce", "a.tif", "--op", "mean", "--select", "z=0"]);
    assert_eq!(results["outputs"][0]["value"], 5);
    let (results, said) = told(folder.path(), &["reduce", "a.tif", "--op", "sum,count", "--missing", "skip"]);
    assert_eq!(results["outputs"][0]["value"], 5 * 256 + 7 * 192);
    assert_eq!(results["outputs"][1]["value"], 256 + 192);
    assert!(said.contains("1 strip or tile has a place but no bytes"), "{said}");
    let inspect = stackctl(folder.path()).args(["inspect", "a.tif", "--strict"]).output().unwrap();
    assert_eq!(inspect.status.code(), Some(3));
}

/// Two scans of paper in colours, nearly of one size, are each their own; a small one is a preview.
#[test]
fn a_page_of_nearly_the_same_size_is_no_preview() {
    let folder = tempdir().unwrap();
    let layout = Layout { samples: 3, photometric: 2, ..Layout::default() };
    for (rows, is_own) in [(15, true), (3, false)] {
        let mut bytes = layout.write(&[vec![5; 768], vec![7; 768]]);
        let at = entry(&bytes, 1, 257) + 8;
        bytes[at] = rows;
        fs::write(folder.path().join("a.tif"), bytes).unwrap();
        let output = stackctl(folder.path()).args(["reduce", "a.tif", "--op", "mean"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() != is_own && text.contains("--series"), "{text}");
    }
}

/// Writes a Zarr v2 array of shape (4, 6), chunks (2, 3), uint8, of which every element is one; chunks are called as
/// `name` says.
fn write_zarr(folder: &Path, separator: Option<&str>, name: fn(u64, u64) -> String) {
    fs::create_dir_all(folder).unwrap();
    let mut metadata = json!({
        "zarr_format": 2, "shape": [4, 6], "chunks": [2, 3], "dtype": "|u1", "compressor": null, "fill_value": 9,
        "order": "C", "filters": null,
    });
    if let Some(separator) = separator {
        metadata["dimension_separator"] = separator.into();
    }
    fs::write(folder.join(".zarray"), metadata.to_string()).unwrap();
    for (y, x) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let file = folder.join(name(y, x));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, [1; 6]).unwrap();
    }
}

#[test]
fn chunks_that_are_not_stored_are_told_by_number() {
    let folder = tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_zarr(&at("a.zarr"), None, |y, x| format!("{y}.{x}"));
    assert!(!told(folder.path(), &["reduce", "a.zarr", "--op", "sum"]).1.contains("note"));
    fs::remove_file(at("a.zarr/0.1")).unwrap();
    fs::write(at("a.zarr/2.0"), [1; 6]).unwrap();
    let (results, said) = told(folder.path(), &["reduce", "a.zarr", "--op", "sum"]);
    assert_eq!(results["outputs"][0]["value"], 18 + 6 * 9);
    assert!(said.contains("1 of 4 chunks are not stored and hold the fill value"), "{said}");
    assert!(said.contains("1 stored chunks are none of the array's, such as 2.0"), "{said}");
    let filled = ["reduce", "a.zarr", "--op", "sum", "--missing", "fill", "--fill-value", "5"];
    let (same, noted) = told(folder.path(), &filled);
    assert_eq!(same["outputs"], results["outputs"]);
    assert!(noted.contains("--fill-value is for what no file covers"), "{noted}");
    let kinds: Vec<&Value> = results["notes"].as_array().unwrap().iter().map(|note| &note["kind"]).collect();
    assert_eq!(kinds, ["chunks-absent", "chunks-unused"]);
}

/// Of a plane that nobody took no chunk is stored, and one that is zero is: what comes of the array is the same whether it is
/// made of the files or of what was written of them.
#[test]
fn zeros_that_were_measured_are_no_holes() {
    let folder = tempdir().unwrap();
    let layout = Layout { width: 64, height: 64, ..Layout::default() };
    for (z, value) in [(0, 100), (1, 100), (2, 0), (4, 100)] {
        fs::write(folder.path().join(format!("b_z{z}.tif")), layout.write(&[vec![value; 4096]])).unwrap();
    }
    let pile = ["b_z0.tif", "b_z1.tif", "b_z2.tif", "b_z4.tif", "--pattern", "b_z{z}.tif", "--missing", "fill"];
    for shards in ["none", "1,1,8,64,64"] {
        let cut = ["--chunks", "1,1,1,64,64", "--shards", shards, "--contrast", "none", "--levels", "none"];
        told(folder.path(), &[&["stitch", "-o", "b.zarr", "--overwrite"], &pile[..], &cut].concat());
        for input in [&pile[..], &["b.zarr", "--missing", "fill"]] {
            let (_, said) = told(
                folder.path(),
                &[&["stitch", "-o", "c.zarr", "--overwrite"], input, &["--stats", "c.json"], &cut].concat(),
            );
            assert_eq!(said.contains("1 of 5 chunks are not stored"), input.len() == 3, "{said}");
            let statistics: Value = serde_json::from_slice(&fs::read(folder.path().join("c.json")).unwrap()).unwrap();
            let channel = &statistics["channels"][0];
            assert_eq!(
                (&channel["absent"], &channel["mean"], &channel["min"]),
                (&json!(4096), &json!(75.0), &json!(0.0)),
                "{channel}"
            );
        }
        let (results, _) = told(folder.path(), &["reduce", "b.zarr", "--op", "mean", "--missing", "skip"]);
        assert_eq!(results["outputs"][0]["value"], 75.0);
    }
}

#[test]
fn chunks_that_lie_under_other_names_are_refused() {
    let folder = tempdir().unwrap();
    write_zarr(&folder.path().join("flat.zarr"), Some("/"), |y, x| format!("{y}.{x}"));
    write_zarr(&folder.path().join("nested.zarr"), None, |y, x| format!("{y}/{x}"));
    for name in ["flat.zarr", "nested.zarr"] {
        let (code, text) = failure(folder.path(), &["reduce", name, "--op", "sum"]);
        assert!(code == 1 && text.contains("mend the separator"), "{text}");
    }
    write_zarr(&folder.path().join("right.zarr"), Some("/"), |y, x| format!("{y}/{x}"));
    assert_eq!(told(folder.path(), &["reduce", "right.zarr", "--op", "sum"]).0["outputs"][0]["value"], 24);
}

#[test]
fn levels_are_listed_and_an_order_that_ome_zarr_lacks_is_told() {
    let folder = tempdir().unwrap();
    let page = |side: usize, value: u8| {
        let layout = Layout { width: side, height: side, tile: Some((16, 16)), ..Layout::default() };
        layout.write(&[vec![value; side * side], vec![value; side * side]])
    };
    let mut bytes = page(64, 1);
    tiff::append(&mut bytes, &page(32, 2));
    fs::write(folder.path().join("a.tif"), bytes).unwrap();
    let (found, _) = told(folder.path(), &["inspect", "a.tif", "--no-sample"]);
    assert_eq!(found["arrays"][0]["kinds"][0]["levels"], json!([[2, 64, 64], [2, 32, 32]]));
    let text = stackctl(folder.path()).args(["inspect", "a.tif"]).output().unwrap().stdout;
    assert!(String::from_utf8(text).unwrap().contains("(2, 32, 32) --level 1"));
    // Of a Zarr as of a TIFF.
    told(folder.path(), &["stitch", "a.tif", "--levels", "3", "-o", "levels.zarr"]);
    let (found, _) = told(folder.path(), &["inspect", "levels.zarr", "--no-sample"]);
    let shapes = json!([[1, 1, 2, 64, 64], [1, 1, 2, 32, 32], [1, 1, 2, 16, 16]]);
    assert_eq!(found["arrays"][0]["kinds"][0]["levels"], shapes);
    let text = stackctl(folder.path()).args(["inspect", "levels.zarr"]).output().unwrap().stdout;
    assert!(String::from_utf8(text).unwrap().contains("(1, 1, 2, 16, 16) --level 2"));
    let stitch = ["stitch", "a.tif", "--axes", "z,t,c,y,x", "-o", "out.zarr"];
    let (summary, said) = told(folder.path(), &stitch);
    assert!(said.contains("OME-Zarr") && summary["notes"][1]["kind"] == "no-image", "{said} {summary}");
    assert!(!told(folder.path(), &[&stitch[..], &["--plain", "--overwrite"]].concat()).1.contains("OME-Zarr"));
}

/// Recordings cut into files: the axis of the names and that of the pages are one, the last file shorter.
#[test]
fn pages_of_many_files_join_end_to_end() {
    for axis in ["t", "c", "z"] {
        let folder = tempdir().unwrap();
        let layout = Layout { width: 4, height: 3, ..Layout::default() };
        let mut expected = Vec::new();
        for (file, n_pages) in [(1, 3), (2, 3), (3, 2)] {
            let pages: Vec<Vec<u8>> = (0..n_pages).map(|page| vec![10 * file + page; 12]).collect();
            expected.extend(pages.concat());
            fs::write(folder.path().join(format!("rec_{file:05}.tif")), layout.write(&pages)).unwrap();
        }
        let pattern = format!("rec_{{{axis}}}.tif");
        let stitch = ["stitch", "rec_*.tif", "--pattern", &pattern, "--pages", axis, "-q", "-o", "a.zarr"];
        told(folder.path(), &stitch);
        let (shape, bytes) = read_zarr(&folder.path().join("a.zarr"));
        assert_eq!(shape.iter().filter(|n| **n > 1).collect::<Vec<_>>(), [&8, &3, &4], "{axis}");
        assert!(bytes == expected, "{axis}: {bytes:?}");
    }
}

/// Writes a file of a data set of two, whose text places three planes (3, 4) uint8 in each.
fn write_member(folder: &Path, member: usize, n_pages: u8) {
    let names = ["a.ome.tif", "b.ome.tif"];
    let place = |t: usize, z: usize| {
        let uuid = format!(r#"<UUID FileName="{}">urn:uuid:{t}</UUID>"#, names[t]);
        format!(r#"<TiffData FirstT="{t}" FirstZ="{z}" IFD="{z}" PlaneCount="1">{uuid}</TiffData>"#)
    };
    let places: String = (0..6).map(|i| place(i / 3, i % 3)).collect();
    let pixels = r#"DimensionOrder="XYZCT" Type="uint8" SizeX="4" SizeY="3" SizeZ="3" SizeC="1" SizeT="2""#;
    let text = format!(
        r#"<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{member}">
        <Image ID="Image:0"><Pixels ID="Pixels:0" {pixels}><Channel ID="Channel:0:0"/>{places}</Pixels></Image></OME>"#
    );
    let layout = Layout { width: 4, height: 3, description: Some(text), ..Layout::default() };
    let pages: Vec<Vec<u8>> = (0..n_pages).map(|page| vec![10 * member as u8 + page + 1; 12]).collect();
    fs::write(folder.join(names[member]), layout.write(&pages)).unwrap();
}

#[test]
fn a_member_of_a_set_that_is_short_or_renamed_is_named() {
    for first in [0, 1] {
        let folder = tempdir().unwrap();
        write_member(folder.path(), 0, if first == 0 { 2 } else { 3 });
        write_member(folder.path(), 1, if first == 1 { 2 } else { 3 });
        let (code, text) = failure(folder.path(), &["reduce", ".", "--op", "sum"]);
        let name = ["a.ome.tif", "b.ome.tif"][first];
        assert!(code == 1 && text.contains(&format!("t={first} z=2: the file {name} lacks this plane")), "{text}");
        let inspect = stackctl(folder.path()).args(["inspect", ".", "--strict"]).output().unwrap();
        assert_eq!(inspect.status.code(), Some(3));
        let (results, _) = told(folder.path(), &["reduce", ".", "--op", "sum", "--missing", "skip"]);
        let whole = 12 * (1 + 2 + 3 + 11 + 12 + 13);
        assert_eq!(results["outputs"][0]["value"], whole - 12 * [3, 13][first]);
        // Who knows who it is may have any name.
        fs::rename(folder.path().join("b.ome.tif"), folder.path().join("c.ome.tif")).unwrap();
        let (again, _) = told(folder.path(), &["reduce", ".", "--op", "sum", "--missing", "skip"]);
        assert_eq!(again["outputs"][0]["value"], results["outputs"][0]["value"]);
    }
    let folder = tempdir().unwrap();
    write_member(folder.path(), 0, 3);
    let (code, text) = failure(folder.path(), &["stitch", ".", "-o", "out.zarr"]);
    assert!(code == 1 && text.contains("1 of 2 files of the data set are not there\n  b.ome.tif"), "{text}");
}

/// What tifffile and ImageJ say of twelve planes counts in files that were cut short: what is lost has its place.
#[test]
fn planes_of_a_file_that_was_cut_have_their_places() {
    let folder = tempdir().unwrap();
    let shape = r#"{"shape": [6, 2, 16, 16], "axes": "TCYX"}"#;
    let imagej = "ImageJ=1.53\nimages=12\nchannels=2\nframes=6\nhyperstack=true\n";
    for (text, compression) in [(shape, 1), (shape, 8), (imagej, 1), (imagej, 8)] {
        let layout = Layout { description: Some(text.to_owned()), compression, ..Layout::default() };
        let mut bytes = layout.write(&(1..13).map(|value| vec![value; 256]).collect::<Vec<_>>());
        bytes.truncate(entry(&bytes, 7, 256) - 2);
        fs::write(folder.path().join("a.tif"), bytes).unwrap();
        let (code, text) = failure(folder.path(), &["reduce", "a.tif", "--op", "max"]);
        assert!(code == 1 && text.contains("--skip-bad goes on with the 7 pages"), "{text}");
        let (code, text) = failure(folder.path(), &["reduce", "a.tif", "--op", "max", "--skip-bad"]);
        assert!(code == 1 && text.contains("5 planes that descriptions count are not there"), "{text}");
        let max = ["reduce", "a.tif", "--op", "max", "--axis", "y,x", "--skip-bad", "--missing", "fill"];
        let (results, _) = told(folder.path(), &max);
        assert_eq!(results["outputs"][0]["value"], json!([[1, 2], [3, 4], [5, 6], [7, 0], [0, 0], [0, 0]]));
    }
}

/// What no name of one position has, and names of others do, is a hole there: nothing moves up.
#[test]
fn arrays_of_a_pile_have_one_grid() {
    let folder = tempdir().unwrap();
    let layout = Layout { width: 8, height: 6, ..Layout::default() };
    for (p, t, z) in (0..2).flat_map(|p| (0..2).flat_map(move |t| (0..3).map(move |z| (p, t, z)))) {
        if p == 0 || (t, z) == (1, 0) || (t, z) == (1, 2) {
            let name = format!("p{p}_t{t}_z{z}.tif");
            fs::write(folder.path().join(name), layout.write(&[vec![(1 + 3 * t + z) as u8; 48]])).unwrap();
        }
    }
    let words = ["stitch", ".", "--include", "*.tif", "--pattern", "p{p}_t{t}_z{z}.tif", "--by", "p", "-q", "-o"];
    let (code, said) = failure(folder.path(), &[&words[..], &["p{p}.zarr"]].concat());
    assert!(code == 1 && said.contains("t=0") && said.contains("z=1"), "{said}");
    stackctl(folder.path()).args(words).args(["q{p}.zarr", "--missing", "fill", "--fill-value", "0"]).succeeds();
    let (shape, bytes) = read_zarr(&folder.path().join("q1.zarr"));
    let planes: Vec<u8> = bytes.chunks(48).map(|plane| plane[0]).collect();
    assert_eq!((shape, planes), (vec![2, 1, 3, 6, 8], vec![0, 0, 0, 4, 0, 6]));
    // One that was stopped early ends early, and that is told.
    for z in 0..3 {
        fs::write(folder.path().join(format!("p2_t0_z{z}.tif")), layout.write(&[vec![9; 48]])).unwrap();
    }
    let output = stackctl(folder.path()).args(words).args(["r{p}.zarr", "--missing", "fill"]).succeeds();
    assert!(message(&output).contains("axis t ends 1 before"), "{}", message(&output));
    assert_eq!(read_zarr(&folder.path().join("r2.zarr")).0, [1, 1, 3, 6, 8]);
}
