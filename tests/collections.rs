//! Many images in one Zarr, labels beside an image, and Zarrs in one file, as schemas and other readers see them.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::common::tempdir;
use crate::common::{self, run, tiff};
use run::{Acquisition, PATTERN, Succeeds as _, failure, killed, message, names, stackctl, tree};
use tiff::{Layout, Numbers};

fn stitch(folder: &Path, arguments: &[&str]) -> String {
    let output = stackctl(folder).arg("stitch").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", message(&output));
    message(&output)
}

/// Fields of wells, each a few planes whose elements say where they are from.
fn plate(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let layout = Layout { width: 40, height: 30, bits: 16, ..Layout::default() };
    for (w, well) in ["A01", "B03", "B12"].iter().enumerate() {
        // The last well has one field.
        for field in 1..=if w == 2 { 1 } else { 2 } {
            for c in 0..2 {
                let value = (100 * w + 10 * field + c) as u16;
                let page = value.to_ne_bytes().repeat(40 * 30);
                fs::write(folder.join(format!("p_{well}_f{field}_c{c}.tif")), layout.write(&[page])).unwrap();
            }
        }
    }
}

const WELLS: [&str; 4] = ["raw", "--pattern", "_{well:well}_f{field}_c{c}.", "-q"];

#[test]
fn plates_series_and_labels_are_what_the_schemas_say() {
    let folder = tempdir().unwrap();
    plate(&folder.path().join("raw"));
    let layout = Layout { width: 64, height: 48, bits: 16, ..Layout::default() };
    Acquisition { c: 1, t: 1, z: 4, layout }.write(&folder.path().join("masks"));
    for format in ["3", "2"] {
        let name = |what: &str| format!("{what}{format}.zarr");
        let zarr = ["--zarr-format", format];
        let by = |output: &str, by: &str| {
            stitch(folder.path(), &[&WELLS[..], &zarr, &["-o", output, "--by", by, "--collection"]].concat());
        };
        by(&name("plate"), "well,field");
        // Of one well.
        let series = ["raw/p_B03*", "-q", "--pattern", "_B03_f{field}_c{c}.", "-o", &name("series")];
        stitch(folder.path(), &[&series[..], &zarr, &["--by", "field", "--collection"]].concat());
        let image = name("image");
        let input = ["masks", "--pattern", PATTERN, "-q"];
        let places = ["--voxel-size", "z=2um,y=0.5um,x=0.25um"];
        stitch(folder.path(), &[&input[..], &zarr, &["-o", &image, "--levels", "3"], &places].concat());
        for (label, own) in [("cells", &[][..]), ("nuclei", &["--voxel-size", "z=3um"][..])] {
            let output = format!("{image}/labels/{label}");
            stitch(folder.path(), &[&input[..], &zarr, &["-o", &output], own].concat());
        }
        let verified = stackctl(folder.path()).args(["verify", &image]).output().unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
        let output = format!("{image}/labels/lower");
        let refused = [&["stitch"], &input[..], &zarr, &["-o", &output, "--select", "z=1:3"]].concat();
        let (code, said) = failure(folder.path(), &refused);
        let shapes =
            "labels of shape (1, 1, 2, 48, 64) (t,c,z,y,x) for an image of shape (1, 1, 4, 48, 64) (t,c,z,y,x)";
        assert!(code == 2 && said.contains(shapes), "{said}");
        let output = format!("{image}/labels/fewer");
        let refused =
            ["stitch", "masks", "--pattern", PATTERN, "-o", &output, "--levels", "2", "--zarr-format", format];
        let (code, said) = failure(folder.path(), &refused);
        assert!(code == 2 && said.contains("2 levels asked for, the image has 3"), "{said}");
        let other = if format == "3" { "2" } else { "3" };
        let output = format!("{image}/labels/more");
        let refused = ["stitch", "masks", "--pattern", PATTERN, "-o", &output, "--zarr-format", other];
        let (code, said) = failure(folder.path(), &refused);
        assert!(code == 2 && said.contains(&format!("use --zarr-format {format}")), "{said}");
    }
    let schemas = common::corpus().map(|c| c.join("zarr"));
    let arguments: Vec<&Path> = [Path::new("groups"), folder.path()].into_iter().chain(schemas.as_deref()).collect();
    common::python("groups.py", &arguments);
    for (more, words) in [
        (&["-o", "a.zarr", "--by", "field,c", "--collection", "--mip", "z"][..], "--mip-output"),
        (&["-o", "a.tif", "--by", "well", "--collection"], "ends in .zarr"),
        (&["-o", "a.zarr", "--by", "well,field"], "or use --collection"),
        (&["-o", "a.zarr", "--by", "well,field,c", "--collection"], "a well holds fields alone"),
        (
            &["-o", "a.zarr", "--by", "c", "--collection", "--missing", "fill"],
            "--by well,field writes an image for each value",
        ),
        (&["-o", "none.zarr/labels/a", "--missing", "fill"], "there is no image"),
    ] {
        let (code, said) = failure(folder.path(), &[&["stitch"], &WELLS[..], more].concat());
        assert!(code == 2 && said.contains(words), "{more:?}: {said}");
    }
}

/// A collection is whole or absent; finished images are not written again.
#[test]
fn killed_collections_go_on() {
    let folder = tempdir().unwrap();
    plate(&folder.path().join("raw"));
    let arguments = [&WELLS[..], &["-o", "out.zarr", "--by", "well,field", "--collection"]].concat();
    let start = Instant::now();
    stitch(folder.path(), &arguments);
    let (wall, whole) = (start.elapsed(), tree(&folder.path().join("out.zarr")));
    let mut random = Numbers(3);
    for _ in 0..4 {
        fs::remove_dir_all(folder.path().join("out.zarr")).unwrap();
        killed(folder.path(), &[&["stitch"], &arguments[..]].concat(), 3, wall, &mut random);
        assert!(tree(&folder.path().join("out.zarr")) == whole);
        assert_eq!(names(folder.path()), ["out.zarr", "raw"]);
    }
    // Another one in its place, whole or not at all.
    let again = [&arguments[..], &["--overwrite", "--codec", "none"]].concat();
    stitch(folder.path(), &again);
    assert_eq!(names(folder.path()), ["out.zarr", "raw"]);
}

/// Archives hold the chunks that folders hold; threads, memory and kills change nothing.
/// What is in an archive is read as from a folder, and checked by the archive's checksums and the digest of the pixels.
fn archives_are_folders(folder: &Path) {
    common::python("groups.py", &[Path::new("repacked"), folder]);
    let elements = |input: &str| {
        stackctl(folder).args(["convert", input, "-o", "read.npy", "-q", "--overwrite"]).succeeds();
        fs::read(folder.join("read.npy")).unwrap()
    };
    let expected = elements("a.zarr");
    for input in ["a.ozx", "b.zarr.zip", "c.zip", "b.zarr.zip/0", "deflated.zip/a.zarr", "deflated.zip/a.zarr/0"] {
        assert!(elements(input) == expected, "{input}");
    }
    let (code, said) = failure(folder, &["convert", "deflated.zip", "-o", "no.npy"]);
    assert!(code == 2 && said.contains("deflated.zip/a.zarr"), "{said}");
    for sound in ["a.ozx", "b.zarr.zip", "c.zip"] {
        stackctl(folder).args(["verify", sound]).succeeds();
    }
    let mut flipped = fs::read(folder.join("a.ozx")).unwrap();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    fs::write(folder.join("flipped.ozx"), &flipped).unwrap();
    fs::write(folder.join("cut.ozx"), &flipped[..middle]).unwrap();
    for (bad, words) in [
        ("flipped.ozx", "is not what the archive's checksum is of"),
        ("lost.zip", "its elements have the digest"),
        ("swapped.zip", "its elements have the digest"),
        ("cut.ozx", "is no zip archive that is whole"),
    ] {
        let output = stackctl(folder).args(["verify", bad]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &message(&output);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(output.status.code() == Some(3) && said.contains(words), "{bad}: {said}");
    }
}

#[test]
fn archives_are_zarrs_in_one_file() {
    let folder = tempdir().unwrap();
    let layout = Layout { width: 256, height: 200, bits: 16, ..Layout::default() };
    Acquisition { z: 10, layout, ..Acquisition::default() }.write(&folder.path().join("raw"));
    let input = ["raw", "--pattern", PATTERN, "-q", "--levels", "3", "--chunks", "1,1,4,64,64", "--codec", "zstd:9"];
    for (output, format) in [("a.ozx", "3"), ("b.zarr.zip", "3"), ("c.zip", "2")] {
        let arguments = [&input[..], &["-o", output, "--zarr-format", format, "--coordinates"]].concat();
        let start = Instant::now();
        stitch(folder.path(), &arguments);
        let (wall, whole) = (start.elapsed(), fs::read(folder.path().join(output)).unwrap());
        let mut random = Numbers(5);
        for _ in 0..2 {
            fs::remove_file(folder.path().join(output)).unwrap();
            killed(folder.path(), &[&["stitch"], &arguments[..]].concat(), 3, wall, &mut random);
            assert!(fs::read(folder.path().join(output)).unwrap() == whole, "{output}");
        }
    }
    let folders = [&input[..], &["-o", "a.zarr", "--shards", "none", "--coordinates"]].concat();
    stitch(folder.path(), &folders);
    common::python("groups.py", &[Path::new("archives"), folder.path()]);
    archives_are_folders(folder.path());
    let (code, said) = failure(folder.path(), &["stitch", "raw", "-o", "d.ozx", "--zarr-format", "2"]);
    assert!(code == 2 && said.contains(".ozx holds OME-Zarr 0.5"), "{said}");
    let shards = ["stitch", "raw", "-o", "d.ozx", "--shards", "1,1,8,256,256", "--chunks", "1,1,4,64,64"];
    let (code, said) = failure(folder.path(), &[&shards[..], &["--pattern", PATTERN]].concat());
    assert!(code == 2 && said.contains("an archive holds chunks themselves"), "{said}");
}
