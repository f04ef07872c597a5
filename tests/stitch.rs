//! `stitch` as its users meet it: what is written, what is refused, and what is left behind.

use std::fs;
use std::path::Path;

use crate::common::tempdir;
use crate::common::{self, run, tiff};
use common::skipped;
use run::{Acquisition, PATTERN, Succeeds as _, failure, message, names, read_zarr, stackctl, tree};
use tiff::Layout;

fn raw(acquisition: &Acquisition) -> tempfile::TempDir {
    let folder = tempdir().unwrap();
    acquisition.write(&folder.path().join("raw"));
    folder
}

fn stitch(folder: &Path, more: &[&str]) {
    let output = stackctl(folder)
        .args(["stitch", "raw", "-o", "out.zarr", "--overwrite", "--pattern", PATTERN])
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{more:?}: {}", message(&output));
}

fn elements(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|b| u16::from_ne_bytes([b[0], b[1]])).collect()
}

/// Every way of storing gives the same pixels, each where its name says.
#[test]
fn pixels_land_where_their_names_say() {
    let acquisition = Acquisition::default();
    let folder = raw(&acquisition);
    let expected = acquisition.elements();
    let ways: &[&[&str]] = &[
        &[],
        &["--zarr-format", "2"],
        &["--shards", "none", "--chunks", "1,1,2,16,20"],
        &["--shards", "2,1,4,32,40", "--chunks", "1,1,2,16,20"],
        &["--zarr-format", "2", "--chunks", "3,2,5,37,50", "--codec", "zstd:1"],
        &["--codec", "blosc:lz4,5,shuffle"],
        &["--codec", "blosc:blosclz,1,noshuffle", "--zarr-format", "2"],
        &["--codec", "gzip:3"],
        &["--codec", "none", "--chunks", "1,2,3,7,50"],
    ];
    for way in ways {
        stitch(folder.path(), way);
        let (shape, bytes) = read_zarr(&folder.path().join("out.zarr"));
        assert_eq!(shape, [3, 2, 5, 37, 50], "{way:?}");
        assert!(elements(&bytes) == expected, "{way:?}");
    }
}

#[test]
fn every_layout_of_the_files_gives_the_same_array() {
    let expected = Acquisition::default().elements();
    let layouts = [
        Layout { big_endian: true, ..Acquisition::default().layout },
        Layout { big_tiff: true, rows_per_strip: None, ..Acquisition::default().layout },
        Layout { tile: Some((16, 16)), rows_per_strip: None, ..Acquisition::default().layout },
        Layout { compression: 8, predictor: 2, ..Acquisition::default().layout },
        Layout { compression: 5, big_endian: true, ..Acquisition::default().layout },
        Layout { compression: 50_000, rows_per_strip: Some(1), ..Acquisition::default().layout },
    ];
    for layout in layouts {
        let folder = raw(&Acquisition { layout: layout.clone(), ..Acquisition::default() });
        stitch(folder.path(), &["--chunks", "1,1,2,16,20"]);
        assert!(elements(&read_zarr(&folder.path().join("out.zarr")).1) == expected, "{layout:?}");
    }
}

#[test]
fn the_output_does_not_depend_on_threads_or_memory() {
    let folder = raw(&Acquisition { z: 9, ..Acquisition::default() });
    for storage in [&["--chunks", "1,1,2,16,20"][..], &["--chunks", "1,1,2,16,20", "--shards", "none"]] {
        let mut first = None;
        for (threads, memory) in [("1", "64M"), ("2", "1G"), ("3", "128M"), ("8", "2G")] {
            let mut more = storage.to_vec();
            more.extend(["--threads", threads, "--memory", memory]);
            stitch(folder.path(), &more);
            let mut files = tree(&folder.path().join("out.zarr"));
            // The group's metadata tells the command line, which is what differs, but not its checksum.
            assert!(files.remove(Path::new("zarr.json")).is_some());
            let first = first.get_or_insert_with(|| files.clone());
            assert!(*first == files, "{threads} threads, {memory}");
        }
    }
}

#[test]
fn axes_can_be_ordered_and_files_joined() {
    let acquisition = Acquisition { c: 1, t: 3, ..Acquisition::default() };
    let folder = raw(&acquisition);
    stitch(folder.path(), &["--axes", "c,t,z,y,x"]);
    let (shape, bytes) = read_zarr(&folder.path().join("out.zarr"));
    assert_eq!(shape, [1, 3, 5, 37, 50]);
    assert!(elements(&bytes) == acquisition.elements());

    // The same files as blocks of one long z, and the last one shorter.
    fs::write(
        folder.path().join("raw").join(Acquisition::name(0, 2)),
        acquisition.layout.write(&acquisition.pages(0, 2)[..2]),
    )
    .unwrap();
    let joined =
        stackctl(folder.path()).args(["stitch", "raw", "-o", "z.zarr", "--pattern", "_stack{z}_"]).output().unwrap();
    assert!(joined.status.success(), "{}", message(&joined));
    let (shape, bytes) = read_zarr(&folder.path().join("z.zarr"));
    assert_eq!(shape, [1, 1, 12, 37, 50]);
    assert!(elements(&bytes) == acquisition.elements()[..12 * 37 * 50]);
    // Stacked along t, the short file does not fit.
    let (code, text) = failure(folder.path(), &["stitch", "raw", "-o", "t.zarr", "--pattern", PATTERN]);
    assert_eq!(code, 1);
    assert!(text.contains("stack0002") && text.contains("has 2 elements along z"), "{text}");
}

#[test]
fn one_file_needs_no_pattern() {
    let acquisition = Acquisition { c: 1, t: 1, ..Acquisition::default() };
    let folder = raw(&acquisition);
    let file = format!("raw/{}", Acquisition::name(0, 0));
    let output = stackctl(folder.path()).args(["stitch", &file, "-o", "one.zarr", "-q"]).succeeds();
    assert_eq!(message(&output), "");
    let (shape, bytes) = read_zarr(&folder.path().join("one.zarr"));
    assert_eq!(shape, [1, 1, 5, 37, 50]);
    assert!(elements(&bytes) == acquisition.elements());
}

#[test]
fn inputs_come_from_globs_and_lists_too() {
    let acquisition = Acquisition::default();
    let folder = raw(&acquisition);
    let list: String = names(&folder.path().join("raw")).iter().rev().map(|n| format!("raw/{n}\n")).collect();
    let base = ["stitch", "-o", "out.zarr", "--overwrite", "--pattern", PATTERN, "-q"];
    stackctl(folder.path()).args(base).arg("raw/*stack*.tif").succeeds();
    let globbed = read_zarr(&folder.path().join("out.zarr"));
    let listed = run::fed(stackctl(folder.path()).args(base).args(["--files-from", "-"]), &list);
    assert!(listed.status.success(), "{}", message(&listed));
    assert!(read_zarr(&folder.path().join("out.zarr")) == globbed);
    // One channel only.
    stackctl(folder.path()).args(base).args(["raw", "--include", "*_ch1_*"]).succeeds();
    let (shape, bytes) = read_zarr(&folder.path().join("out.zarr"));
    assert_eq!(shape, [3, 1, 5, 37, 50]);
    assert_eq!(elements(&bytes)[0], acquisition.element([0, 1, 0, 0, 0]));
}

#[test]
fn holes_are_errors_or_filled_and_counted() {
    let acquisition = Acquisition::default();
    let folder = raw(&acquisition);
    fs::remove_file(folder.path().join("raw").join(Acquisition::name(1, 2))).unwrap();
    let base = ["stitch", "raw", "-o", "out.zarr", "--pattern", PATTERN];
    let (code, text) = failure(folder.path(), &base);
    assert_eq!(code, 1);
    assert!(text.contains("1 of 6 positions has no file") && text.contains("t=2") && text.contains("c=1"), "{text}");
    assert!(text.contains("--missing fill"), "{text}");
    assert_eq!(names(folder.path()), ["raw"]);

    let run =
        stackctl(folder.path()).args(base).args(["--missing", "fill", "--fill-value", "7", "--json"]).output().unwrap();
    assert!(run.status.success(), "{}", message(&run));
    let summary: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(summary["elements_filled"], 5 * 37 * 50);
    let (_, bytes) = read_zarr(&folder.path().join("out.zarr"));
    let plane = 5 * 37 * 50;
    let found = elements(&bytes);
    assert!(found[5 * plane..].iter().all(|&v| v == 7));
    assert!(found[..5 * plane] == acquisition.elements()[..5 * plane]);
}

#[test]
fn faults_of_names_are_told_before_a_pixel_is_read() {
    let folder = raw(&Acquisition::default());
    let run = |pattern| failure(folder.path(), &["stitch", "raw", "-o", "out.zarr", "--pattern", pattern]);

    let (code, text) = run("_chan{c}_stack{t}_");
    assert_eq!(code, 2);
    assert!(text.contains("_chan{c}_stack{t}_") && text.contains("ex6-2_CamA_ch0"), "{text}");

    // A field left out: files that differ only there claim the same position.
    let (code, text) = run("_ch{c}_");
    assert_eq!(code, 1);
    assert!(text.contains("stack0000") && text.contains("stack0001"), "{text}");

    let copy = folder.path().join("raw").join(Acquisition::name(0, 1).replace("_ch0", "_copy_ch0"));
    fs::copy(folder.path().join("raw").join(Acquisition::name(0, 1)), copy).unwrap();
    let (_, text) = run(PATTERN);
    assert!(text.contains("more than one file") && text.contains("_copy_ch0"), "{text}");
    assert_eq!(names(folder.path()), ["raw"]);
}

#[test]
fn faults_of_files_are_told_before_a_pixel_is_read() {
    let acquisition = Acquisition::default();
    let folder = raw(&acquisition);
    let file = folder.path().join("raw").join(Acquisition::name(1, 1));
    let whole = fs::read(&file).unwrap();
    let run = || failure(folder.path(), &["stitch", "raw", "-o", "out.zarr", "--pattern", PATTERN]);

    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let (code, text) = run();
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("_ch1_CAM1_stack0001"), "{text}");

    fs::write(&file, b"not an image").unwrap();
    let (code, text) = run();
    assert_eq!(code, 1);
    assert!(text.contains("_ch1_CAM1_stack0001") && text.contains("TIFF"), "{text}");

    let odd = Layout { height: 36, ..acquisition.layout.clone() };
    fs::write(&file, odd.write(&vec![vec![0; odd.page_bytes()]; 5])).unwrap();
    let (code, text) = run();
    assert_eq!(code, 1);
    assert!(text.contains("36") && text.contains("37") && text.contains("_ch1_CAM1_stack0001"), "{text}");

    let other = Layout { bits: 8, ..acquisition.layout.clone() };
    fs::write(&file, other.write(&vec![vec![0; other.page_bytes()]; 5])).unwrap();
    let (code, text) = run();
    assert_eq!(code, 1);
    assert!(text.contains("uint8") && text.contains("5 files") && text.contains("uint16"), "{text}");
    assert_eq!(names(folder.path()), ["raw"]);
}

#[test]
fn an_existing_output_stays_unless_told_otherwise() {
    let folder = raw(&Acquisition::default());
    stitch(folder.path(), &[]);
    let before = tree(&folder.path().join("out.zarr"));
    let (code, text) = failure(folder.path(), &["stitch", "raw", "-o", "out.zarr", "--pattern", PATTERN]);
    assert_eq!(code, 2);
    assert!(text.contains("exists already") && text.contains("--overwrite"), "{text}");
    assert!(tree(&folder.path().join("out.zarr")) == before);
}

#[test]
fn requests_that_do_not_fit_are_refused() {
    let folder = raw(&Acquisition::default());
    let run = |more: &[&str]| {
        let mut arguments = vec!["stitch", "raw", "-o", "out.zarr", "--pattern", PATTERN];
        arguments.extend(more);
        let (code, text) = failure(folder.path(), &arguments);
        assert_eq!(code, 2, "{text}");
        assert_eq!(names(folder.path()), ["raw"]);
        text
    };
    assert!(run(&["--memory", "1M"]).contains("--memory"));
    assert!(run(&["--chunks", "1,1,16"]).contains("5 axes"));
    assert!(run(&["--chunks", "1,1,0,16,16"]).contains("from 1 on"));
    assert!(run(&["--shards", "1,1,3,16,16", "--chunks", "1,1,2,16,16"]).contains("shard"));
    assert!(run(&["--codec", "blosc:zip"]).contains("--codec"));
    assert!(run(&["--max-files", "2", "--chunks", "1,1,1,1,1", "--shards", "none"]).contains("--max-files"));
    assert!(run(&["--axes", "t,c,z,y"]).contains("leaves out x"));
    assert!(run(&["--axes", "t,c,z,y,x,q"]).contains("q"));
    assert!(run(&["--voxel-size", "z=1parsec"]).contains("parsec"));
    assert!(run(&["--channel-names", "DAPI"]).contains("2 elements"));
    assert!(run(&["--fill-value", "70000"]).contains("70000"));
    assert!(run(&["--missing", "skip"]).contains("use fill"));
    let (code, text) = failure(folder.path(), &["stitch", "raw", "-o", "out.jpg", "--pattern", PATTERN]);
    assert!(code == 2 && text.contains(".zarr"), "{text}");
    let (code, text) = failure(folder.path(), &["stitch", "raw", "-o", "no/where/out.zarr", "--pattern", PATTERN]);
    assert!(code == 2 && text.contains("there is no folder"), "{text}");
}

#[test]
fn a_dry_run_tells_the_plan_and_writes_nothing() {
    let folder = raw(&Acquisition::default());
    let base = ["stitch", "raw", "-o", "out.zarr", "--pattern", PATTERN, "--dry-run"];
    let text = stackctl(folder.path()).args(base).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("(3, 2, 5, 37, 50) uint16") && text.contains("read amplification 1.00"), "{text}");
    let json = stackctl(folder.path()).args(base).arg("--json").output().unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(plan["array"]["bytes"], 3 * 2 * 5 * 37 * 50 * 2);
    assert!(plan["predicted_peak_bytes"].as_u64() > Some(1 << 20));
    assert_eq!(names(folder.path()), ["raw"]);
}

#[test]
fn calibration_and_labels_reach_the_output() {
    let folder = raw(&Acquisition::default());
    stitch(
        folder.path(),
        &["--voxel-size", "z=0.5um,y=104nm,x=104nm", "--time-step", "43.7s", "--channel-names", "green,red"],
    );
    let text = fs::read(folder.path().join("out.zarr/zarr.json")).unwrap();
    let group: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let multiscale = &group["attributes"]["ome"]["multiscales"][0];
    let scale = &multiscale["datasets"][0]["coordinateTransformations"][0]["scale"];
    assert_eq!(*scale, serde_json::json!([43.7, 1.0, 0.5, 104.0, 104.0]));
    assert_eq!(multiscale["axes"][2]["unit"], "micrometer");
    assert_eq!(group["attributes"]["ome"]["omero"]["channels"][1]["label"], "red");
    assert_eq!(group["attributes"]["stackctl"]["pattern"], PATTERN);
}

/// A wavelength beside the number of a channel is known of each alone.
#[test]
fn channels_apart_keep_their_wavelengths() {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("raw")).unwrap();
    let layout = Layout { width: 8, height: 8, bits: 16, ..Layout::default() };
    for (c, nm) in [(1, 405), (2, 488), (3, 640)] {
        let name = format!("raw/s_ch{c}_{nm}nm_.tif");
        fs::write(folder.path().join(name), layout.write(&[vec![c; 128]])).unwrap();
    }
    let channels = [("1", "405 nm", "0000FF"), ("2", "488 nm", "00FF00"), ("3", "640 nm", "FF0000")];
    for ending in ["zarr", "ome.tif"] {
        let output = format!("{{c}}.{ending}");
        let arguments = ["stitch", "raw", "--pattern", "_ch{c}_{c@nm}nm_", "--by", "c", "-q", "-o", &output];
        let run = stackctl(folder.path()).args(arguments).output().unwrap();
        assert!(run.status.success(), "{}", message(&run));
    }
    for (c, label, colour) in channels {
        let text = fs::read(folder.path().join(format!("{c}.zarr/zarr.json"))).unwrap();
        let group: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let channel = &group["attributes"]["ome"]["omero"]["channels"][0];
        assert_eq!((&channel["label"], &channel["color"]), (&label.into(), &colour.into()));
        let tiff = fs::read(folder.path().join(format!("{c}.ome.tif"))).unwrap();
        let rgb = (u32::from_str_radix(colour, 16).unwrap() << 8 | 255) as i32;
        let said = format!(r#"Name="{label}" Color="{rgb}""#);
        assert!(tiff.windows(said.len()).any(|found| found == said.as_bytes()), "{c}: {said}");
    }
}

#[test]
fn a_run_says_how_it_read_the_names() {
    let acquisition = Acquisition { c: 1, t: 4, ..Acquisition::default() };
    let folder = raw(&acquisition);
    // Without a pattern the one that was found is told.
    let run = stackctl(folder.path()).args(["stitch", "raw", "-o", "found.zarr"]).output().unwrap();
    assert!(run.status.success(), "{}", message(&run));
    assert!(message(&run).contains("pattern '") && message(&run).contains("{t@ms}"), "{}", message(&run));
    assert!(elements(&read_zarr(&folder.path().join("found.zarr")).1) == acquisition.elements());

    // Uneven time stamps are kept, the scale is their mean, and both are said.
    let rename = |t: usize, ms: &str| {
        let name = folder.path().join("raw").join(Acquisition::name(0, t));
        fs::rename(name, folder.path().join("raw").join(format!("img_t{t:03}_{ms}msec.tif"))).unwrap();
    };
    for (t, ms) in ["0000", "0100", "0230", "0300"].into_iter().enumerate() {
        rename(t, ms);
    }
    let run = stackctl(folder.path())
        .args(["stitch", "raw", "-o", "uneven.zarr", "--pattern", "_t{t}_{t@ms}msec"])
        .output()
        .unwrap();
    assert!(message(&run).contains("not evenly spaced (mean step 100 ms"), "{}", message(&run));
    let text = fs::read(folder.path().join("uneven.zarr/zarr.json")).unwrap();
    let group: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let scale = &group["attributes"]["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"];
    assert_eq!(scale[0], 100.0);
    assert_eq!(
        group["attributes"]["stackctl"]["axes"][0]["coordinates"],
        serde_json::json!([0.0, 100.0, 230.0, 300.0])
    );
}

/// What a killed run has left, and nobody can go on with, the next run takes away.
#[test]
fn what_nobody_goes_on_with_is_taken_away() {
    let folder = raw(&Acquisition { c: 1, ..Acquisition::default() });
    fs::create_dir(folder.path().join(".out.zarr.partial")).unwrap();
    fs::write(folder.path().join(".out.zarr.partial/rest"), "x").unwrap();
    stitch(folder.path(), &[]);
    assert_eq!(names(folder.path()), ["out.zarr", "raw"]);
}

/// A disk that fills up: a small tmpfs, where this process may mount one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_leaves_nothing_under_the_name() {
    let layout = Layout { width: 512, height: 512, bits: 16, ..Layout::default() };
    let folder = raw(&Acquisition { c: 2, t: 4, z: 8, layout });
    let small = folder.path().join("small");
    fs::create_dir(&small).unwrap();
    let mount =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&small).output();
    if !mount.is_ok_and(|m| m.status.success()) {
        skipped("may not mount a small file system");
        return;
    }
    for storage in [&["--shards", "none"][..], &[]] {
        let mut arguments = vec!["stitch", "raw", "-o", "small/out.zarr", "--pattern", PATTERN, "--codec", "none"];
        arguments.extend(storage);
        let (code, text) = failure(folder.path(), &arguments);
        assert_eq!(code, 1, "{text}");
        assert!(text.to_lowercase().contains("no space left"), "{text}");
        // What was done stays only where there is anything, and that is said.
        assert_eq!(text.contains("what is done is kept in"), small.join(".out.zarr.partial").exists(), "{text}");
        // What is done stays for the next run, beside the name.
        assert!(names(&small).iter().all(|name| name == ".out.zarr.partial"), "{:?}", names(&small));
        let _ = fs::remove_dir_all(small.join(".out.zarr.partial"));
    }
    let _ = std::process::Command::new("umount").arg(&small).status();
}

/// The limit is a ceiling on the peak resident memory that the system measures.
#[cfg(target_os = "linux")]
#[test]
fn the_memory_limit_holds() {
    // Two files of 40 MiB, together larger than the limit, compressed in strips and not.
    for compression in [1, 8] {
        let layout = Layout {
            width: 1024,
            height: 1024,
            bits: 16,
            compression,
            rows_per_strip: Some(128),
            level: 1,
            ..Layout::default()
        };
        let folder = raw(&Acquisition { c: 1, t: 2, z: 20, layout });
        // Code without optimisation takes more memory than is counted for the program.
        let excess = if env!("CARGO_BIN_EXE_stackctl").contains("/release/") { 0 } else { 16 << 20 };
        for threads in ["1", "2"] {
            let run = stackctl(folder.path())
                .args(["stitch", "raw", "-o", "out.zarr", "--overwrite", "--pattern", PATTERN, "--json", "-q"])
                .args(["--memory", "64M", "--threads", threads])
                .output()
                .unwrap();
            assert!(run.status.success(), "{}", message(&run));
            let summary: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
            let [measured, predicted] =
                ["measured_peak_bytes", "predicted_peak_bytes"].map(|name| summary[name].as_u64().unwrap());
            assert!(measured <= 64 << 20, "{measured} of {}", 64 << 20);
            assert!(measured <= predicted + excess && predicted <= 64 << 20, "{measured}, predicted {predicted}");
        }
    }
}

/// zarr-python and tensorstore see what tifffile and numpy make of the fixtures.
#[test]
fn independent_readers_agree() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/raw");
    let folder = tempdir().unwrap();
    let input = fixtures.to_str().unwrap();
    let mut outputs = Vec::new();
    for (name, more) in [
        ("v3.zarr", &["--shards", "none", "--chunks", "1,1,4,16,16"][..]),
        ("sharded.zarr", &["--shards", "1,1,8,32,32", "--chunks", "1,1,4,16,16"]),
        ("v2.zarr", &["--zarr-format", "2", "--chunks", "1,2,4,17,40"]),
        ("default.zarr", &[]),
    ] {
        stackctl(folder.path()).args(["stitch", input, "-o", name, "--pattern", PATTERN, "-q"]).args(more).succeeds();
        outputs.push(folder.path().join(name));
    }
    let mut arguments: Vec<&Path> = vec![&fixtures];
    arguments.extend(outputs.iter().map(|p| p.as_path()));
    common::python("read_stitched.py", &arguments);
}
