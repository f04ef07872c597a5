//! What the program says when it refuses: each message names the place, what was found, what was expected, and the way
//! out. Every row is a command as people type it, the exit code, and words that must stand in the answer.

use std::fs;
use std::path::Path;

use crate::common::run;
use crate::common::skipped;
use crate::common::tempdir;
use run::{Acquisition, PATTERN, Succeeds as _, message, names, stackctl};

/// A command, its exit code, and what its message holds; an exclamation mark begins what it must not hold.
type Row<'a> = (&'a [&'a str], i32, &'a [&'a str]);

const P: &str = PATTERN;

/// Mistakes that the command line alone shows: nothing is opened, so that a missing input is not told of.
const EARLY: &[Row] = &[
    (&["--axes", "tczyx"], 2, &["--axes tczyx", "commas", "t,c,z,y,x"]),
    (&["--axes", "t,c,t"], 2, &["--axes t,c,t", "t is named twice"]),
    (&["--voxel-size", "z=1parsec"], 2, &["parsec", "known are", "nm um mm"]),
    (&["--voxel-size", "z=1micrn"], 2, &["micrn", "micron", "known are"]),
    (&["--voxel-size", "z=1"], 2, &["--voxel-size", "no unit", "0.5um"]),
    (&["--voxel-size", "0.5um"], 2, &["which axis", "z=0.5um"]),
    (&["--time-step", "5um"], 2, &["--time-step", "no time", "200ms"]),
    (&["--pattern", "_ch{c}_*_stack{t@micrn}_"], 2, &["micrn", "do you mean micron", "^"]),
    (&["--select", "t@fortnight=1:2"], 2, &["--select", "fortnight", "known are"]),
    (&["--select", "z=1:2:3:4"], 2, &["--select", "start:stop:step"]),
    (&["--select", "z"], 2, &["--select 'z'", "AXIS=SLICE"]),
    (&["--memory", "1"], 2, &["--memory", "1 B", "512M"]),
    (&["--memory", "1X"], 2, &["--memory", "1X", "512M"]),
    (&["--zarr-format", "4"], 2, &["--zarr-format '4'", "3", "2", "OME-Zarr"]),
    (&["--threads", "many"], 2, &["--threads 'many'", "1 to 1024", "!invalid digit"]),
    (&["--threads", "0"], 2, &["--threads '0'", "1 to 1024"]),
    (&["--codec", "blosc:zsdt"], 2, &["--codec", "zsdt", "zstd"]),
    (&["--codec", "jpeg"], 2, &["--codec", "jpeg", "zstd:3"]),
    (&["--shards", "a,b"], 2, &["--shards", "a,b", "auto, none"]),
    (&["--levels", "many"], 2, &["--levels", "many", "auto"]),
    (&["--downsample", "avg"], 2, &["--downsample", "avg", "mean"]),
    (&["--deadline", "5"], 2, &["--deadline '5'", "55m"]),
    (&["--durability", "some"], 2, &["--durability 'some'", "none, data or full"]),
    (&["--pattern", "_ch{c_*"], 2, &["column 4", "never closed"]),
    (&["--preset", "latice"], 2, &["--preset 'latice'", "lattice", "stackctl patterns"]),
    (&["--missing", "skip"], 2, &["--missing skip", "use fill"]),
    (&["--missing", "maybe"], 2, &["--missing 'maybe'", "error, fill, skip"]),
    (&["--voxel-size", "z=1um,z=2um"], 2, &["--voxel-size", "z is named twice"]),
    (&["--mising", "fill"], 2, &["--mising", "--missing"]),
    (&["--chunks", "1,x"], 2, &["--chunks 'x'", "lengths", "1,1,16,256,256"]),
    (&["--chunks", "0,1"], 2, &["--chunks '0'", "from 1 on"]),
    (&["--codec", "lzw"], 2, &["--codec 'lzw'", "TIFF", "zstd"]),
    (&["--zarr-format", "2", "--shards", "1,1,6,48,40"], 2, &["--shards 1,1,6,48,40", "--zarr-format 2"]),
    (&["--channel-colors", "red,blu"], 2, &["--channel-colors", "'blu'", "blue"]),
    (&["--stats", "s.txt"], 2, &["--stats s.txt", ".json or .csv"]),
    (&["--preview", "s.gif"], 2, &["--preview s.gif", ".png"]),
    (&["--mip", "z=avg"], 2, &["--mip z=avg", "do you mean mean"]),
    (&["--mip", "z", "--mip-output", "b.jpg"], 2, &["b.jpg", ".tif"]),
    (&["--calc", "a - "], 2, &["character 5", "^"]),
    (&["--threads", "-1"], 2, &["--threads '-1'", "1 to 1024", "!tip"]),
    (&["--memory", "-5"], 2, &["--memory", "-5", "512M", "!tip"]),
    (&["--level", "one"], 2, &["--level 'one'", "a whole number", "!digit"]),
    (&["--scale", "two"], 2, &["--scale 'two'", "expected a number", "!literal"]),
];

/// Names of outputs that nothing can be written to, whatever the input.
const OUTPUTS: &[Row] = &[
    (&["x_{c}.zarr"], 2, &["x_{c}.zarr", "{c}", "--by c"]),
    (&["noextension"], 2, &["noextension", ".npy", ".tif"]),
    (&["taken.zarr"], 2, &["taken.zarr", "exists already", "--overwrite"]),
    (&["nowhere/else.zarr"], 2, &["nowhere/else.zarr", "no folder", "create it"]),
    (&["ftp://bucket/a.zarr"], 2, &["ftp://bucket/a.zarr", "file systems", "rclone copy"]),
    (&["a.npy", "--codec", "zstd:3"], 2, &["--codec", "a.npy", ".zarr or .ome.tif"]),
    (&["a.tif", "--chunks", "1,1,1,8,8"], 2, &["--chunks", "a.tif", ".zarr or .ome.tif"]),
    (&["a.ome.tif", "--codec", "blosc"], 2, &["--codec 'blosc", "TIFF has none such", "deflate:6"]),
    (&["x_{c}.zarr", "--by", "c,c"], 2, &["--by c,c", "c is named twice"]),
];

/// Mistakes that the input shows.
const LATE: &[Row] = &[
    (
        &["stitch", "raw", "--pattern", P, "-o", "a.zarr", "--axes", "t,c,z,y,w"],
        2,
        &["t,c,z,y,w", "no axis w", "t, c, z, y, x"],
    ),
    (
        &["stitch", "raw", "--pattern", P, "-o", "a.zarr", "--select", "c@nm=488"],
        2,
        &["c@nm=488", "{c@nm}", "by index"],
    ),
    (
        &["stitch", "raw", "--pattern", NM, "-o", "a.zarr", "--select", "c@nm=500"],
        2,
        &["no coordinate 500 nm", "488, 560"],
    ),
    (&["inspect", "zarrs"], 2, &["zarrs: no image files", "1 Zarr", "zarrs/x.zarr"]),
    (&["inspect", "zeiss"], 2, &["zeiss: no image files", "Zeiss CZI", "bfconvert"]),
    (&["inspect", "nothing"], 2, &["nothing: no image files", ".tif"]),
    (&["inspect", "nowhere"], 2, &["nowhere: no such file"]),
    (&["inspect", "raw/*.png"], 2, &["raw/*.png", "matches no file"]),
    (&["inspect", "--files-from", "nofile"], 2, &["--files-from nofile", "no such file"]),
    (&["inspect", "raw", "--config", "nofile"], 2, &["--config nofile", "no such file"]),
    (&["inspect", "raw", "--log", "nowhere/log"], 2, &["--log nowhere/log", "no such file"]),
    (&["inspect", "nothing/notes.txt"], 1, &["no array"]),
    (&["inspect", "ftp://bucket/a.zarr"], 2, &["ftp://bucket/a.zarr", "file systems", "rclone"]),
    (&["stitch", "zeiss/a.czi", "-o", "a.zarr"], 1, &["a.czi", "Zeiss CZI", "bioformats2raw"]),
    (&["stitch", "zeiss/a.nd2", "-o", "a.zarr"], 1, &["a.nd2", "Nikon ND2", "bfconvert"]),
    (&["stitch", "zeiss/a.lif", "-o", "a.zarr"], 1, &["a.lif", "Leica LIF"]),
    (&["stitch", "odd/a.ims", "-o", "a.zarr"], 1, &["a.ims", "HDF5"]),
    (&["stitch", "odd/a.nc", "-o", "a.zarr"], 1, &["a.nc", "no NetCDF", "begins otherwise"]),
    (&["stitch", "odd/a.h5", "-o", "a.zarr"], 1, &["a.h5", "HDF5"]),
    (&["stitch", "zeiss/a.png", "-o", "a.zarr"], 1, &["a.png", "picture", "TIFF"]),
    (
        &["stitch", "cut", "--pattern", P, "-o", "a.zarr"],
        1,
        &["stack0000", "outside the file", "--skip-bad", "1 more file"],
    ),
    (
        &["reduce", "raw", "--pattern", P, "--op", "max", "-o", "x_{c}.tif"],
        2,
        &["x_{c}.tif", "series", "'out/t{t}.tif'"],
    ),
    (&["reduce", "nowhere", "--op", "max", "-o", "taken.zarr"], 2, &["taken.zarr", "exists already", "!nowhere"]),
    (&["reduce", "nowhere", "--op", "avg"], 2, &["'avg'", "do you mean mean", "median", "!nowhere"]),
    (&["reduce", "nowhere", "--op", "maximum"], 2, &["do you mean max:"]),
    (&["reduce", "nowhere", "--op", "stdev,max"], 2, &["do you mean std:"]),
    (&["reduce", "nowhere", "--op", "p50"], 2, &["do you mean quantile=0.5:"]),
    (&["reduce", "nowhere", "--op", "medain"], 2, &["do you mean median:"]),
    (&["reduce", "nowhere", "--op", "p99.9"], 2, &["do you mean quantile=0.999:"]),
    (&["reduce", "nowhere", "--op", "0.9"], 2, &["quantile=0.1:0.9"]),
    (&["reduce", "raw", "--pattern", P, "--op", "mean", "--dtype", "float23"], 2, &["--dtype", "float23", "float32"]),
    (&["reduce", "raw", "--pattern", P, "--op", "mean", "--axis", "q"], 2, &["--axis q", "t,c,z,y,x"]),
    (&["stitch", "nowhere", "--by", "p,q", "-o", "x_{p}.zarr"], 2, &["--by p,q", "{q}", "--collection", "!nowhere:"]),
    (&["reduce", "nowhere", "--op", "max", "--plot", "x.pdf"], 2, &["x.pdf", ".png or .svg"]),
    (&["reduce", "nowhere", "--op", "mean", "--axis", "tz"], 2, &["--axis tz", "commas", "t,z", "!nowhere"]),
    (&["reduce", "nowhere", "--op", "mean", "--axis", "t,t"], 2, &["--axis t,t", "t is named twice", "!nowhere"]),
    (&["reduce", "nowhere", "--op", "mean", "--where", "a>3"], 2, &["--where 'a>3'", "'>0'", "!nowhere"]),
    (&["reduce", "nowhere", "--op", "mean", "--every", "0"], 2, &["--every '0'", "from 1 on", "!nowhere"]),
    (&["reduce", "nowhere", "--op", "mean,,max"], 2, &["--op: ''", "there are sum", "!nowhere"]),
    (&["reduce", "raw", "--pattern", P, "--op", "mean", "--every", "q=2"], 2, &["--every q", "t,c,z,y,x"]),
    (&["reduce", "raw", "--pattern", P, "--op", "mean", "--every", "t=9"], 2, &["9 along t", "1 to 3"]),
    (
        &["reduce", "raw", "--pattern", P, "--op", "mean", "--axis", "t", "--every", "2", "--window", "2"],
        2,
        &["--every 2", "other groups", "t=2,y=4"],
    ),
    (
        &["reduce", "raw", "--pattern", P, "--op", "mean", "--axis", "t", "--weights", "nofile.npy"],
        2,
        &["--weights nofile.npy", "no such file"],
    ),
    (&["inspect", "raw", "--pattern", P, "--by", "q"], 2, &["--by q", "no such field", "has c, t"]),
    (&["inspect", "raw", "--svg", "nowhere/a.svg"], 2, &["nowhere/a.svg", "no folder nowhere", "create it"]),
    (&["inspect", "raw", "--config", "nothing"], 2, &["--config nothing", "is a folder"]),
    (&["stitch", "raw", "--pattern", P, "--variable", "t2m", "-o", "a.zarr"], 2, &["--variable t2m", "TIFF"]),
    (&["stitch", "raw", "--pattern", P, "--flip", "q", "-o", "a.zarr"], 2, &["--flip q", "t,c,z,y,x", "!select"]),
    (
        &["stitch", "raw", "--pattern", P, "--channel-names", "A", "-o", "a.zarr"],
        2,
        &["--channel-names A", "axis c has 2", "names for 1"],
    ),
    (
        &["stitch", "raw", "--pattern", P, "--channel-colors", "red", "-o", "a.zarr"],
        2,
        &["--channel-colors red", "2 channels", "one for each"],
    ),
    (&["stitch", "raw", "-o"], 2, &["--output", "value is required"]),
    (&["stitch", "s3://", "-o", "a.zarr"], 2, &["s3://", "no bucket"]),
    (&["stitch", "file:///tmp/a", "-o", "a.zarr"], 2, &["file:///tmp/a", "path alone: /tmp/a"]),
    (&["calc", "a + b", "a=zarrs/x.zarr"], 2, &["no input b, but a", "^"]),
    (&["calc", "avg(a)", "zarrs/x.zarr"], 2, &["no function avg", "do you mean mean"]),
    (&["calc", "gausian(a, 1)", "zarrs/x.zarr"], 2, &["no function gausian", "do you mean gaussian"]),
    (&["calc", "uint8(a)", "zarrs/x.zarr"], 2, &["no function uint8", "whole(a, uint8)"]),
    (&["calc", "qqq(a)", "zarrs/x.zarr"], 2, &["no function qqq", "man 7 stackctl-calc"]),
    (&["pairwise", "zarrs/x.zarr", "--along", "t", "--keep", "t"], 2, &["--keep t", "--along"]),
    (&["pairwise", "zarrs/x.zarr", "--along", "t", "--metric", "manhattan"], 2, &["do you mean cityblock"]),
    (&["pairwise", "zarrs/x.zarr", "--along", "t", "--metric", "cosin"], 2, &["do you mean cosine"]),
    (
        &["pairwise", "zarrs/x.zarr", "--along", "t,c,z,y", "-o", "d.npy", "--memory", "40M"],
        2,
        &["1110 x 1110 distances need", "--select", "--memory"],
    ),
    (&["pairwise", "zarrs/x.zarr", "--along", "t,c,z,y"], 2, &["(1110, 1110)", "-o"]),
    (
        &["pairwise", "zarrs/x.zarr", "--along", "t,c,z,y,x", "-o", "d.npy", "--memory", "128M"],
        2,
        &["(55500, 55500) distances takes", "--memory 128.0 MiB leaves", "--select"],
    ),
    (
        &["decompose", "zarrs/x.zarr", "--along", "t", "--components", "9", "-o", "d.npy"],
        2,
        &["--components 9", "1 to 3"],
    ),
    (
        &["decompose", "zarrs/x.zarr", "--along", "t", "-o", "d.npy", "--denoised", "d.npy"],
        2,
        &["d.npy", "two outputs"],
    ),
    (&["verify", "zarrs/x.zarr", "--memory", "1"], 2, &["--memory", "512M"]),
    (&["verify", "zarrs/x.zarr", "--threads", "many"], 2, &["--threads 'many'", "1 to 1024"]),
    (&["verify", "nothing"], 2, &["nothing", "is no Zarr"]),
    (&["pyramid", "nowhere.zarr"], 2, &["nowhere.zarr", "no such folder"]),
    (&["pyramid", "zarrs/x.zarr", "--levels", "1"], 2, &["no level is asked for", "--levels auto"]),
    (&["status", "zarrs/x.zarr", "--share-base", "2"], 2, &["--share-base '2'", "from 0 to 1"]),
    (&["view", "zarrs/x.zarr", "--rate", "0"], 2, &["--rate '0'", "from 1 to 60"]),
    (&["stich", "raw"], 2, &["stich", "stitch"]),
    (&["help", "stich"], 2, &["stich"]),
];

const NM: &str = "_ch{c}_*_stack{t}_{c@nm}nm_";

/// A folder with what the rows speak of.
fn place() -> tempfile::TempDir {
    let folder = tempdir().unwrap();
    let make = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let acquisition = Acquisition::default();
    acquisition.write(&folder.path().join("raw"));
    acquisition.write(&folder.path().join("cut"));
    for t in [0, 1] {
        let name = folder.path().join("cut").join(Acquisition::name(0, t));
        let bytes = fs::read(&name).unwrap();
        fs::write(name, &bytes[..bytes.len() / 2]).unwrap();
    }
    make("taken.zarr/zarr.json", b"{}");
    make("nothing/notes.txt", b"");
    ["czi", "nd2", "lif", "png"].iter().for_each(|e| make(&format!("zeiss/a.{e}"), b"PK\x03\x04 no TIFF"));
    ["ims", "nc", "h5"].iter().for_each(|e| make(&format!("odd/a.{e}"), b"PK\x03\x04 no TIFF"));
    fs::create_dir(folder.path().join("zarrs")).unwrap();
    stackctl(folder.path()).args(["stitch", "raw", "--pattern", P, "-q", "-o", "zarrs/x.zarr"]).succeeds();
    folder
}

/// What is wrong with the answer to one row, if anything is.
fn wrong(folder: &Path, words: &[&str], code: i32, expected: &[&str]) -> Option<String> {
    let output = stackctl(folder).args(words).output().unwrap();
    let text = message(&output);
    let holds = |word: &&&str| match word.strip_prefix('!') {
        Some(word) => !text.contains(word),
        None => text.contains(**word),
    };
    let lacking: Vec<_> = expected.iter().filter(|word| !holds(word)).collect();
    let is_right = output.status.code() == Some(code) && lacking.is_empty() && !text.contains("panicked");
    (!is_right).then(|| format!("{words:?}: code {:?}, lacks {lacking:?} in\n{text}", output.status.code()))
}

fn all_right(wrong: impl Iterator<Item = Option<String>>) {
    let wrong: Vec<String> = wrong.flatten().collect();
    assert!(wrong.is_empty(), "{} messages are not as they should be:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_the_command_line_shows_is_refused_before_any_file_is_opened() {
    let folder = place();
    let before = names(folder.path());
    let flags = EARLY.iter().map(|(flags, code, expected)| {
        let words = [&["stitch", "nowhere", "-o", "a.zarr"], *flags].concat();
        wrong(folder.path(), &words, *code, &[*expected, &["!no such file"]].concat())
    });
    let outputs = OUTPUTS.iter().map(|(output, code, expected)| {
        let words = [&["stitch", "nowhere", "--pattern", P, "-o"], *output].concat();
        wrong(folder.path(), &words, *code, &[*expected, &["!no such file"]].concat())
    });
    all_right(flags.chain(outputs));
    assert_eq!(names(folder.path()), before);
}

#[test]
fn what_the_input_shows_is_refused_with_a_way_out() {
    let folder = place();
    let before = names(folder.path());
    all_right(LATE.iter().map(|(words, code, expected)| wrong(folder.path(), words, *code, expected)));
    assert_eq!(names(folder.path()), before);
}

/// What is the same for all files is said once.
#[test]
fn a_reason_that_all_files_have_is_said_once() {
    let folder = place();
    let output = stackctl(folder.path()).args(["inspect", "raw", "--pattern", P, "--series", "3"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("6 files cannot be read: there is no series 3"), "{text}");
    assert_eq!(text.matches("no series").count(), 1, "{text}");
}

#[test]
fn an_input_that_the_expression_does_not_name_is_told() {
    let folder = place();
    let words = ["calc", "mean(a)", "a=zarrs/x.zarr", "ab=zarrs/x.zarr"];
    let output = stackctl(folder.path()).args(words).output().unwrap();
    let said = message(&output);
    assert!(output.status.success() && said.contains("note: input ab: the expression does not name it"), "{said}");
    assert!(!said.contains("input a:"), "{said}");
}

/// Fewer rows than there would be components are no mistake of who did not say how many.
#[test]
fn there_are_as_many_components_as_rows_at_most() {
    let folder = place();
    let words = ["decompose", "zarrs/x.zarr", "--along", "t", "-o", "d.npy", "-q"];
    stackctl(folder.path()).args(words).succeeds();
    // The pixels are a ramp: about their mean the rows differ in one way alone.
    let header = String::from_utf8_lossy(&fs::read(folder.path().join("d.npy")).unwrap()[..128]).into_owned();
    assert!(header.contains("(1, 2, 5, 37, 50)"), "{header:?}");
}

/// What inspect says of the output is what stitch says of it, smaller resolutions included.
#[test]
fn levels_are_foretold() {
    let folder = tempdir().unwrap();
    sparse(&folder.path().join("a_t0.tif"), 4000);
    let said = |words: &[&str]| -> serde_json::Value {
        let output = stackctl(folder.path()).args(words).args(["--json", "--pattern", "_t{t}", "."]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", message(&output)))
    };
    let (foretold, planned) = (said(&["inspect"]), said(&["stitch", "--dry-run", "-o", "a.zarr"]));
    let foretold = &foretold["arrays"][0]["storage"];
    assert_eq!(foretold["levels"], planned["levels"]);
    let n_levels = planned["levels"].as_array().unwrap().len() as u64;
    assert!(n_levels > 2, "{planned}");
    // An object for each level, one for the group, and the checksums.
    let n_files = [&foretold["output_files"], &planned["files"]].map(|n| n.as_u64().unwrap());
    assert_eq!(n_files[0] + n_levels + 2, n_files[1]);
    let output = stackctl(folder.path()).args(["inspect", "--pattern", "_t{t}", "."]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!(", in {n_levels} levels")), "{text}");
}

#[test]
fn a_picture_of_one_pixel_is_told() {
    let folder = place();
    let said = |command: &[&str], z: &str, output: &str| {
        let part = format!("t=0,c=0,z={z},y=3:4,x=4:5");
        let one = ["--pattern", P, "--select", &part, "-o", output, "--overwrite"];
        let output = stackctl(folder.path()).args(command).arg("raw").args(one).output().unwrap();
        assert!(output.status.success(), "{}", message(&output));
        message(&output)
    };
    for said in [said(&["reduce", "--op", "max", "--axis", "z"], ":", "one.png"), said(&["stitch"], "0", "one.png")] {
        assert!(said.contains("one.png: a picture of one pixel"), "{said}");
    }
    assert!(!said(&["stitch"], "0", "one.npy").contains("one pixel"));
}

#[cfg(unix)]
mod names {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    /// Whoever opens a pipe waits for somebody who writes into it.
    #[test]
    fn a_pipe_among_the_inputs_is_refused() {
        let folder = place();
        let pipe = folder.path().join("raw").join(Acquisition::name(0, 9));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let words = ["stitch", pipe.to_str().unwrap(), "--pattern", P, "-o", "a.zarr"];
        let output = run::within_a_minute(folder.path()).args(words).output().unwrap();
        assert!(output.status.code() == Some(1) && message(&output).contains("is a pipe"), "{}", message(&output));
    }

    #[test]
    fn names_that_are_no_text_are_inputs_like_others() {
        let folder = place();
        let raw = folder.path().join("raw");
        let old = fs::read_dir(&raw).unwrap().next().unwrap().unwrap();
        let name = [b"\xFFm\xFE", old.file_name().as_encoded_bytes()].concat();
        fs::rename(old.path(), raw.join(std::ffi::OsString::from_vec(name))).unwrap();
        let files: Vec<_> = fs::read_dir(&raw).unwrap().map(|file| file.unwrap().path()).collect();
        let command = || {
            let mut command = stackctl(folder.path());
            command.args(["stitch", "--pattern", P, "-q", "-o"]);
            command
        };
        command().arg("one.npy").arg("raw").succeeds();
        command().arg("two.npy").args(&files).succeeds();
        let bytes = |name: &str| fs::read(folder.path().join(name)).unwrap();
        assert!(bytes("one.npy") == bytes("two.npy"));
    }

    #[test]
    fn names_do_not_drive_the_terminal() {
        let folder = place();
        let raw = folder.path().join("raw");
        let old = fs::read_dir(&raw).unwrap().next().unwrap().unwrap();
        let name = ["im\x1b]0;owned\x07\x1b[31m", old.file_name().to_str().unwrap()].concat();
        fs::rename(old.path(), raw.join(name)).unwrap();
        for words in [
            &["inspect", "raw", "--pattern", P][..],
            &["inspect", "raw"],
            &["stitch", "raw", "--pattern", "_q{t}_", "-o", "a.zarr"],
            &["stitch", "raw", "--pattern", P, "-o", "a.zarr", "--pages", "t"],
        ] {
            let output = stackctl(folder.path()).args(words).output().unwrap();
            let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), message(&output));
            assert!(!text.contains("\x1b]") && !text.contains('\x07'), "{words:?}: {text}");
        }
    }

    #[test]
    fn an_endless_list_of_names_is_no_list() {
        let folder = place();
        let words = ["stitch", "--files-from", "/dev/zero", "--pattern", P, "-o", "a.zarr"];
        let output = run::within_a_minute(folder.path()).args(words).output().unwrap();
        assert!(
            output.status.code() == Some(1) && message(&output).contains("no list of names"),
            "{}",
            message(&output)
        );
    }
}

/// ImageJ opens no elements of 64 bits: every command writes others for it, and says so.
#[test]
fn elements_that_become_narrower_for_imagej_are_told() {
    let folder = place();
    let said = |words: &[&str]| {
        let output =
            stackctl(folder.path()).args(words).args(["raw", "--pattern", P, "--overwrite", "-q"]).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", message(&output));
        message(&output)
    };
    let type_of = |name: &str| {
        let path = folder.path().join(name);
        stackctl::source::open(&path, &stackctl::source::OpenOptions::default()).unwrap().dtype().to_string()
    };
    let told = ["as float32, since ImageJ opens no elements of 64 bits", "--dtype float64"];
    for (name, words) in [
        ("m.tif", &["reduce", "--op", "mean", "--axis", "t", "-o", "m.tif"][..]),
        ("c.tif", &["calc", "a - mean(a, t)", "-o", "c.tif"]),
        ("s.tif", &["stitch", "--calc", "a - mean(a, t)", "-o", "s.tif"]),
    ] {
        let text = said(words);
        assert!(told.iter().all(|part| text.contains(part)), "{words:?}: {text}");
        assert_eq!(type_of(name), "float32");
        let exact = said(&[words, &["--dtype", "float64"]].concat());
        assert!(!exact.contains("ImageJ") && type_of(name) == "float64", "{words:?}: {exact}");
    }
    let exact = said(&["calc", "a - mean(a, t)", "-o", "c.npy"]);
    assert!(!exact.contains("ImageJ"), "{exact}");
    // OME knows floats of 64 bits, and no integers.
    for (operator, is_told) in [("mean", false), ("sum", true)] {
        let text = said(&["reduce", "--op", operator, "--axis", "t", "-o", "r.ome.tif"]);
        assert_eq!(text.contains("as float64, since an OME-TIFF has no integers of 64 bits"), is_told, "{text}");
        assert_eq!(type_of("r.ome.tif"), "float64");
    }
    // Values that are stored are as wide as results.
    for (more, dtype) in [(&[][..], "float32"), (&["--dtype", "float64"], "float64")] {
        let words = [&["stitch", "c.npy", "-o", "d.tif", "--overwrite", "-q"], more].concat();
        let output = stackctl(folder.path()).args(&words).output().unwrap();
        assert_eq!(message(&output).contains(told[0]), more.is_empty(), "{}", message(&output));
        assert_eq!(type_of("d.tif"), dtype);
    }
}

#[test]
fn wavelengths_of_names_choose_channels() {
    let folder = place();
    let chosen = ["stitch", "raw", "--pattern", NM, "--select", "c@nm=560", "-q", "-o", "a.npy"];
    stackctl(folder.path()).args(chosen).succeeds();
    let whole = ["stitch", "raw", "--pattern", NM, "--select", "c=1", "-q", "-o", "b.npy"];
    stackctl(folder.path()).args(whole).succeeds();
    let bytes = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert!(bytes("a.npy") == bytes("b.npy"));
}

/// Names and pixels of an array far larger than the disk: one sparse file of 1.6 GB under many names.
#[test]
fn a_disk_with_too_little_space_is_told_of_and_refused_if_strict() {
    let folder = tempdir().unwrap();
    let raw = folder.path().join("raw");
    fs::create_dir(&raw).unwrap();
    sparse(&raw.join("a_t0.tif"), 40_000);
    let free = rustix::fs::statvfs(&raw).unwrap();
    let n = free.f_bavail * free.f_frsize / 1_600_000_000 + 2;
    if n > 20_000 {
        skipped(format_args!("the disk has room for {n} files of 1.6 GB"));
        return;
    }
    (1..n).for_each(|t| fs::hard_link(raw.join("a_t0.tif"), raw.join(format!("a_t{t}.tif"))).unwrap());
    let run = |output: &str, more: &[&str]| {
        let base = ["stitch", "raw", "--pattern", "_t{t}.tif", "--dry-run", "-o", output];
        stackctl(folder.path()).args(base).args(more).output().unwrap()
    };
    for (output, more) in [("a.npy", &[][..]), ("a.zarr", &["--codec", "none", "--levels", "none"])] {
        let told = run(output, more);
        assert!(told.status.success(), "{}", message(&told));
        assert!(
            message(&told).contains("warning: ") && message(&told).contains("are free there"),
            "{}",
            message(&told)
        );
        let refused = run(output, &[more, &["--strict"]].concat());
        assert_eq!(refused.status.code(), Some(2), "{}", message(&refused));
    }
    // A few zeros compress well: that they fit is not doubted.
    assert!(!message(&run("a.zarr", &["--levels", "none"])).contains("are free there"));
}

/// A file of one page of `side` x `side` bytes, which are a hole of the file system.
fn sparse(path: &Path, side: u32) {
    let tags = [
        (256, side),
        (257, side),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 4096),
        (277, 1),
        (278, side),
        (279, side * side),
    ];
    let mut bytes = b"II\x2a\0\x08\0\0\0".to_vec();
    bytes.extend((tags.len() as u16).to_le_bytes());
    for (tag, value) in tags {
        bytes.extend([tag as u16, 4].map(u16::to_le_bytes).concat());
        bytes.extend([1, value].map(u32::to_le_bytes).concat());
    }
    bytes.extend([0; 4]);
    fs::write(path, bytes).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(4096 + u64::from(side) * u64::from(side)).unwrap();
}

#[test]
fn reasons_are_told_when_asked_for_and_a_log_keeps_everything() {
    let folder = place();
    let run = |more: &[&str]| {
        let output =
            stackctl(folder.path()).args(["stitch", "raw", "-o", "a.zarr", "--overwrite"]).args(more).output().unwrap();
        assert!(output.status.success(), "{}", message(&output));
        message(&output)
    };
    assert!(run(&[]).starts_with("pattern '_ch{c}_CAM{_}_stack{t}_{c@nm}nm_{t@ms}msec_'\nreading "), "{}", run(&[]));
    assert!(run(&["-v"]).contains("\n  c.camera is A in every name: dropped\n"));
    run(&["--log", "all.log", "-q"]);
    run(&["--log", "all.log"]);
    let log = fs::read_to_string(folder.path().join("all.log")).unwrap();
    assert_eq!(log.matches(" s  stackctl stitch raw -o a.zarr --overwrite --log all.log").count(), 2, "{log}");
    assert!(log.contains(" s  pattern '_ch{c}_") && log.contains("predicted"), "{log}");
    let refused = stackctl(folder.path()).args(["inspect", "nowhere", "--log", "all.log"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(fs::read_to_string(folder.path().join("all.log")).unwrap().contains("nowhere: no such file"));
}

#[test]
fn each_value_of_a_field_is_reduced_into_a_file_of_its_own() {
    let folder = place();
    let base = ["reduce", "raw", "--pattern", P, "--op", "max,mean", "--axis", "z", "-q"];
    stackctl(folder.path()).args(base).args(["--by", "c", "-o", "c{c}_{op}.npy"]).succeeds();
    for (c, select) in [("0", "c=0:1"), ("1", "c=1:2")] {
        stackctl(folder.path()).args(base).args(["--select", select, "-o", "{op}.npy", "--overwrite"]).succeeds();
        for op in ["max", "mean"] {
            let bytes = |name: String| fs::read(folder.path().join(name)).unwrap();
            assert!(bytes(format!("c{c}_{op}.npy")) == bytes(format!("{op}.npy")), "{c} {op}");
        }
    }
    let lost = stackctl(folder.path()).args(base).args(["--by", "c", "-o", "{op}.npy"]).output().unwrap();
    assert!(lost.status.code() == Some(2) && message(&lost).contains("put {c} into the name"), "{}", message(&lost));
}
