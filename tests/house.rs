//! What the program owes its surroundings, seen from outside: nothing absent passes unseen, a plan is the same
//! everywhere, two runs never meet in one output, and files, memory, signals and streams are what they are.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::tempdir;
use crate::common::{self, pile, probe, run, tiff};
use common::skipped;
use pile::{Npy, PATTERN, Pile, files};
use probe::{
    Opens, alive, begun, cut, ended, find, least_memory, listing, n_reads, peak_bytes, program, ran, readers, refused,
    send, stop_when, succeeds, summary, told, wait_until, watched,
};
use run::{message, names, read_zarr, stackctl};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tiff::Layout;

fn plain(width: usize, height: usize) -> Layout {
    Layout { width, height, bits: 16, ..Layout::default() }
}

/// A pile in `raw` of a folder of its own.
fn raw(pile: &Pile) -> TempDir {
    let folder = tempdir().unwrap();
    pile.write(&folder.path().join("raw"));
    folder
}

/// Small files: 2 channels, 3 time points, (4, 20, 30) uint16.
fn small() -> TempDir {
    raw(&Pile::new(2, 3, 4, plain(30, 20)))
}

/// A pile that is stored in many steps with [`SLOWLY`].
fn slow() -> TempDir {
    raw(&Pile::new(1, 16, 4, plain(256, 256)))
}

const STITCH: [&str; 6] = ["stitch", "raw", "--pattern", PATTERN, "-o", "out.zarr"];
const SLOWLY: [&str; 6] = ["--codec", "zstd:7", "--chunks", "1,1,2,128,128", "--shards", "none"];

fn meta(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path.join("zarr.json")).unwrap()).unwrap()
}

/// Scale and translation of level 0 of an OME-Zarr 0.5.
fn placed(path: &Path) -> [Vec<f64>; 2] {
    let all = &meta(path)["attributes"]["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"];
    ["scale", "translation"].map(|kind| {
        let values = all.as_array().unwrap().iter().find(|t| t["type"] == kind).map(|t| t[kind].clone());
        values.map_or(Vec::new(), |v| v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect())
    })
}

fn close(found: &[f64], expected: &[f64]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9)
}

// What is absent.

/// A file whose OME-XML counts three planes and that holds two, of 100 and of 101.
fn with_a_plane_that_is_only_named() -> TempDir {
    let description = r#"<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0"
DimensionOrder="XYZCT" Type="uint16" SizeX="16" SizeY="16" SizeZ="3" SizeC="1" SizeT="1">
<Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData/></Pixels></Image></OME>"#;
    let layout = Layout { description: Some(description.into()), ..plain(16, 16) };
    let folder = tempdir().unwrap();
    let page = |value: u16| value.to_le_bytes().repeat(16 * 16);
    fs::write(folder.path().join("two.ome.tif"), layout.write(&[page(100), page(101)])).unwrap();
    folder
}

#[test]
fn a_plane_that_is_named_and_not_there_is_refused() {
    let folder = with_a_plane_that_is_only_named();
    for command in [&["reduce", "--op", "mean"][..], &["reduce", "--op", "max", "--axis", "z", "-o", "out.npy"]] {
        let text = refused(folder.path(), 1, &[command, &["two.ome.tif"]].concat());
        assert!(text.contains("z=2") && text.contains("--missing"), "{text}");
    }
    let text = refused(folder.path(), 1, &["stitch", "two.ome.tif", "-o", "out.zarr"]);
    assert!(text.contains("z=2") && text.contains("--missing fill"), "{text}");
    assert_eq!(names(folder.path()), ["two.ome.tif"]);
}

#[test]
fn a_plane_that_is_named_and_not_there_is_left_out() {
    let folder = with_a_plane_that_is_only_named();
    let reduce = ["reduce", "two.ome.tif", "--missing", "skip", "-q", "--op"];
    let of_all = succeeds(folder.path(), &[&reduce[..], &["mean,count,min"]].concat());
    assert_eq!(of_all, "mean\t100.5\ncount\t512\nmin\t100\n");
    succeeds(folder.path(), &[&reduce[..], &["mean", "--axis", "z", "-o", "out.npy"]].concat());
    assert!(Npy::read(&folder.path().join("out.npy")).floats().iter().all(|&v| v == 100.5));
}

#[test]
fn a_plane_that_is_named_and_not_there_is_filled_and_counted() {
    let folder = with_a_plane_that_is_only_named();
    let told = summary(folder.path(), &["reduce", "two.ome.tif", "--missing", "fill", "--op", "mean"]);
    assert_eq!(find(&told, &["value"]).and_then(Value::as_f64), Some(67.0));
    assert_eq!(find(&told, &["elements_filled"]), Some(&json!(256)));
}

/// Tiles or strips that a file does not store are as absent as a missing file.
#[test]
fn a_tile_that_is_not_stored_is_absent() {
    let tiles = Layout { tile: Some((16, 16)), absent: vec![3], ..plain(32, 32) };
    let strips = Layout { rows_per_strip: Some(8), absent: vec![1], ..plain(32, 32) };
    for (layout, filled) in [(tiles, "7.5"), (strips, "7.5")] {
        let folder = tempdir().unwrap();
        let page = 10u16.to_le_bytes().repeat(32 * 32);
        fs::write(folder.path().join("sparse.tif"), layout.write(&[page])).unwrap();
        let reduce = ["reduce", "sparse.tif", "-q", "--op"];
        // What a file itself leaves out is legal, and counted.
        assert_eq!(succeeds(folder.path(), &[&reduce[..], &["mean"]].concat()).trim(), filled);
        let told = stackctl(folder.path()).args(["reduce", "sparse.tif", "--op", "mean"]).output().unwrap();
        assert!(message(&told).contains("256 elements that no file covers"), "{}", message(&told));
        let skip = [&reduce[..], &["mean,count", "--missing", "skip"]].concat();
        assert_eq!(succeeds(folder.path(), &skip), "mean\t10\ncount\t768\n");
        let fill = [&reduce[..], &["mean", "--missing", "fill"]].concat();
        assert_eq!(succeeds(folder.path(), &fill).trim(), filled);
    }
}

// Two runs and one output.

/// Where the file system knows no locks, a second run keeps away from the first one's output too.
#[test]
fn without_locks_a_second_run_is_refused() {
    let folder = slow();
    let arguments = [&STITCH[..], &SLOWLY, &["--threads", "1"]].concat();
    succeeds(folder.path(), &arguments);
    let expected = files(&folder.path().join("out.zarr"));
    fs::remove_dir_all(folder.path().join("out.zarr")).unwrap();
    let start = || {
        let mut command = program(folder.path(), &arguments);
        probe::without_locks(&mut command, libc::ENOSYS);
        command.spawn()
    };
    let first = match start() {
        Ok(child) => child,
        Err(e) => return skipped(format_args!("system calls cannot be made to fail here: {e}")),
    };
    stop_when(&first, || begun(folder.path(), &["raw".into()]));
    let (code, _, text) = told(&start().unwrap().wait_with_output().unwrap());
    assert!(code == 1 || code == 2, "the second run ended with {code}: {text}");
    send(&first, Signal::CONT);
    let (code, _, text) = told(&first.wait_with_output().unwrap());
    assert_eq!(code, 0, "the first run: {text}");
    assert!(files(&folder.path().join("out.zarr")) == expected);
    assert_eq!(names(folder.path()), ["out.zarr", "raw"]);
}

// The plan.

/// The same command has the same plan each time, for any number of threads.
#[test]
fn a_command_has_one_plan() {
    let folder = raw(&Pile::new(2, 12, 8, plain(128, 128)));
    let reduce = ["reduce", "raw", "--pattern", PATTERN, "--op", "median", "--axis", "t", "-o", "out.npy"];
    let std = ["reduce", "raw", "--pattern", PATTERN, "--op", "std", "--axis", "z", "-o", "out.npy"];
    for command in [&STITCH[..], &reduce, &std] {
        // The ceiling must bind, or there is nothing to choose.
        let memory = format!("{}M", least_memory(folder.path(), &[command, &["--threads", "16"]].concat()) + 2);
        let plan = |threads: &str| {
            let more = ["--dry-run", "--memory", &memory, "--threads", threads];
            cut(&summary(folder.path(), &[command, &more].concat()))
        };
        let first = plan("2");
        (0..20).for_each(|_| assert_eq!(plan("2"), first, "{command:?}"));
        for threads in ["1", "2", "16"] {
            assert_eq!(plan(threads), first, "{command:?} with {threads} threads");
        }
    }
}

#[test]
fn deviations_do_not_depend_on_threads() {
    let folder = raw(&Pile::new(1, 12, 8, Layout { bits: 64, format: 3, ..plain(128, 128) }));
    for axis in ["t,z", "y,x", "t,z,y,x"] {
        let base = ["reduce", "raw", "--pattern", PATTERN, "--op", "std,var", "--axis", axis, "-o", "out_{op}.npy"];
        let base = [&base[..], &["--overwrite", "-q"]].concat();
        let least = least_memory(folder.path(), &[&base[..], &["--threads", "2"]].concat());
        for memory in [least, least + 3, least + 6, least + 7, least + 9] {
            let memory = format!("{memory}M");
            let [one, two] = ["1", "2"].map(|threads| {
                succeeds(folder.path(), &[&base[..], &["--memory", &memory, "--threads", threads]].concat());
                ["std", "var"].map(|op| fs::read(folder.path().join(format!("out_{op}.npy"))).unwrap())
            });
            assert!(one == two, "along {axis} in {memory}");
        }
    }
}

/// More threads than fit are fewer threads, not a refusal.
#[test]
fn many_threads_run_in_little_memory() {
    let folder = raw(&Pile::new(2, 6, 8, plain(256, 256)));
    let base = [&STITCH[..], &["--overwrite", "--memory", "300M", "--threads"]].concat();
    let told = summary(folder.path(), &[&base[..], &["128"]].concat());
    assert!(find(&told, &["measured_peak_bytes"]).unwrap().as_u64() <= Some(300 << 20));
    let many = files(&folder.path().join("out.zarr"));
    summary(folder.path(), &[&base[..], &["1"]].concat());
    assert!(many == files(&folder.path().join("out.zarr")));
    let reduce = ["reduce", "raw", "--pattern", PATTERN, "--op", "std", "--axis", "t", "-o", "out.npy"];
    succeeds(folder.path(), &[&reduce[..], &["--memory", "300M", "--threads", "128"]].concat());
}

/// What the least memory that runs is said to peak at is no more than that.
#[test]
fn a_task_at_the_edge_is_foretold_within_the_memory() {
    let folder = raw(&Pile::new(2, 12, 8, plain(256, 256)));
    let reduce = ["reduce", "raw", "--pattern", PATTERN, "--op", "median,std", "--axis", "t", "-o", "out_{op}.npy"];
    let sharded = [&STITCH[..], &["--shards", "1,1,8,256,256", "--chunks", "1,1,4,256,256"]].concat();
    for command in [&sharded[..], &reduce] {
        let least = least_memory(folder.path(), command);
        for memory in least..least + 5 {
            let limit = format!("{memory}M");
            let told = summary(folder.path(), &[command, &["--dry-run", "--memory", &limit]].concat());
            let foretold = find(&told, &["predicted_peak_bytes"]).unwrap().as_u64().unwrap();
            assert!(foretold <= memory << 20, "{command:?}: {foretold} bytes foretold of {limit}");
        }
    }
}

// Memory and files.

/// Steps through large chunks stay below the ceiling, from the least that is said to do.
#[test]
fn steps_through_large_chunks_keep_to_the_memory() {
    let folder = raw(&Pile::new(1, 2, 16, plain(512, 512)));
    let store = ["stitch", "raw", "--pattern", PATTERN, "-o", "in.zarr", "-q", "--shards", "none", "--codec", "none"];
    succeeds(folder.path(), &[&store[..], &["--chunks", "2,1,16,512,512"]].concat());
    for (select, op, axis) in [("x=::2", "max", "t"), ("z=::-3,y=::2", "mean", "x"), ("t=::2,y=1::64", "median", "z")] {
        let base = ["reduce", "in.zarr", "--op", op, "--axis", axis, "--select", select, "-o", "out.npy"];
        let base = [&base[..], &["--overwrite", "--threads", "8"]].concat();
        let least = least_memory(folder.path(), &base);
        for memory in [least, least + 40] {
            let limit = format!("{memory}M");
            let mut peak = 0;
            let mut command = program(folder.path(), &[&base[..], &["--memory", &limit]].concat());
            let run = watched(&mut command, |process| peak = peak.max(peak_bytes(process).unwrap_or(0)));
            let (code, _, text) = told(&run);
            assert_eq!(code, 0, "{select} {op}: {text}");
            assert!(peak <= memory << 20, "{select} {op}: {} MiB of {memory}", peak >> 20);
        }
    }
}

/// 199 time points in small files, more of them than are kept open.
fn many_files() -> TempDir {
    raw(&Pile::new(1, 199, 6, plain(96, 96)))
}

const MEAN: [&str; 10] = ["reduce", "raw", "--pattern", PATTERN, "--op", "mean", "--axis", "t", "-o", "out.npy"];

#[test]
fn files_are_opened_twice_at_most() {
    let folder = many_files();
    // As little memory as runs, so that there are many tasks.
    let memory = format!("{}M", least_memory(folder.path(), &MEAN));
    let mut opens = Opens::of(&folder.path().join("raw"));
    let mut command = program(folder.path(), &[&MEAN[..], &["--memory", &memory]].concat());
    let (code, _, text) = told(&watched(&mut command, |_| opens.look()));
    assert_eq!(code, 0, "{text}");
    let counts = opens.counts();
    assert_eq!(counts.len(), 199);
    let (name, most) = counts.iter().max_by_key(|(_, n)| **n).unwrap();
    assert!(*most <= 2, "{name} was opened {most} times, all files {}", counts.values().sum::<usize>());
}

/// Runs after `line` of a shell.
fn after(folder: &Path, line: &str, arguments: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    shell.current_dir(folder).args(["-c", &format!("{line}; exec \"$0\" \"$@\"")]);
    shell.arg(env!("CARGO_BIN_EXE_stackctl")).args(arguments);
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

/// Runs with at most `n` open files.
fn with_descriptors(folder: &Path, n: usize, arguments: &[&str]) -> (i32, String, String) {
    told(&after(folder, &format!("ulimit -n {n}"), arguments).output().unwrap())
}

#[test]
fn few_descriptors_are_enough() {
    let folder = many_files();
    succeeds(folder.path(), &[&MEAN[..], &["-q"]].concat());
    let expected = fs::read(folder.path().join("out.npy")).unwrap();
    for n in [64, 32] {
        for threads in ["1", "2", "8"] {
            let more = ["--overwrite", "-q", "--threads", threads];
            let (code, _, text) = with_descriptors(folder.path(), n, &[&MEAN[..], &more].concat());
            assert_eq!(code, 0, "{n} descriptors, {threads} threads: {text}");
            assert!(fs::read(folder.path().join("out.npy")).unwrap() == expected);
        }
    }
    let (code, _, text) = with_descriptors(folder.path(), 64, &[&STITCH[..], &["-q"]].concat());
    assert_eq!(code, 0, "{text}");
}

/// A file that is opened again because descriptors are few has its headers known.
#[test]
fn headers_are_read_once_however_often_files_are_opened() {
    let folder = many_files();
    let memory = format!("{}M", least_memory(folder.path(), &MEAN));
    let base = [&MEAN[..], &["--memory", &memory, "--overwrite", "-q"]].concat();
    let reads = |descriptors: &str, more: &[&str]| {
        let mut most = 0;
        let mut command = after(folder.path(), &format!("ulimit -n {descriptors}"), &[&base[..], more].concat());
        let run = watched(&mut command, |process| most = most.max(n_reads(process).unwrap_or(0)));
        let (code, _, text) = told(&run);
        assert_eq!(code, 0, "{text}");
        most
    };
    let (headers, many, few) = (reads("1024", &["--dry-run"]), reads("1024", &[]), reads("64", &[]));
    assert!(many > 2 * headers, "{headers} reads of headers, {many} in all: there is nothing to see");
    assert!(few <= many + headers, "{few} reads with few descriptors, {many} with many, {headers} of headers");
}

/// `--threads 1` reads the headers of many files with one thread.
#[test]
fn threads_bind_the_reading_of_headers() {
    let folder = tempdir().unwrap();
    let input = folder.path().join("raw");
    Pile::new(1, 1, 40, plain(8, 8)).write(&input);
    // As many names for one file: headers are read by name.
    for t in 1..3000 {
        fs::hard_link(input.join(Pile::name(0, 0)), input.join(Pile::name(0, t))).unwrap();
    }
    let stitch = [&STITCH[..], &["--dry-run"]].concat();
    let inspect = vec!["inspect", "raw", "--pattern", PATTERN, "--no-sample"];
    let reduce = vec!["reduce", "raw", "--pattern", PATTERN, "--op", "sum", "--dry-run"];
    for command in [stitch, inspect, reduce] {
        let mut found = std::collections::BTreeSet::new();
        let mut run = program(folder.path(), &[&command[..], &["--threads", "1"]].concat());
        let (code, _, text) = told(&watched(&mut run, |process| found.extend(readers(process, 200))));
        assert_eq!(code, 0, "{text}");
        assert!(found.len() <= 1, "{command:?}: {} threads read headers", found.len());
    }
}

/// What `--profile` tells of stages is what they must have handled.
#[test]
fn a_profile_tells_of_every_stage() {
    let folder = raw(&Pile::new(2, 6, 8, Layout { compression: 8, level: 1, ..plain(128, 128) }));
    let bytes = 2 * 6 * 8 * 128 * 128 * 2;
    let told = summary(folder.path(), &[&STITCH[..], &["--profile", "--chunks", "1,1,4,64,128"]].concat());
    let stages = told["profile"]["stages"].as_array().unwrap();
    let figure = |stage: &str, what: &str| {
        let found = stages.iter().find(|s| s["stage"] == stage);
        found.unwrap_or_else(|| panic!("no {stage}: {told}"))[what].as_f64().unwrap()
    };
    for stage in ["decode", "gather", "encode"] {
        assert_eq!(figure(stage, "bytes"), f64::from(bytes), "{stage}: {told}");
    }
    assert!(figure("read", "bytes") > 0.5 * f64::from(bytes) && figure("sync", "calls") > 0.0, "{told}");
    assert!(figure("write", "bytes") >= told["bytes_out"].as_f64().unwrap() / 2.0, "{told}");
    let [all, of_stages] = [
        told["profile"]["user_s"].as_f64().unwrap() + told["profile"]["system_s"].as_f64().unwrap(),
        stages.iter().map(|s| s["cpu_s"].as_f64().unwrap()).sum(),
    ];
    // The system counts in hundredths of a second.
    assert!(of_stages > 0.0 && of_stages <= all + 0.05, "{of_stages} s of stages, {all} s in all");
    let text = ran(folder.path(), &[&MEAN[..], &["--profile"]].concat()).2;
    assert!(["read", "decode", "fold", "other", "the system"].iter().all(|word| text.contains(word)), "{text}");
    let quiet = summary(folder.path(), &[&MEAN[..], &["--overwrite"]].concat());
    assert!(find(&quiet, &["profile"]).is_none(), "{quiet}");
}

// Signals and streams.

/// Starts a slow run and sends `signal` in its middle; gives code and messages.
fn stopped(folder: &Path, command: &mut Command, signal: Signal) -> (i32, String) {
    let child = command.spawn().unwrap();
    stop_when(&child, || begun(folder, &["raw".into()]));
    let (code, text, _) = ended(child, signal);
    (code, text)
}

#[test]
fn a_closed_terminal_stops_a_run_as_sigterm_does() {
    let arguments = [&STITCH[..], &SLOWLY, &["--threads", "1"]].concat();
    for signal in [Signal::HUP, Signal::TERM] {
        // A folder each: what a stopped run leaves would stand for the beginning of the next one.
        let folder = slow();
        let (code, text) = stopped(folder.path(), &mut program(folder.path(), &arguments), signal);
        assert_eq!(code, 75, "{signal:?}: {text}");
        assert!(!folder.path().join("out.zarr").exists());
    }
}

/// As `nohup` starts it.
#[test]
fn a_closed_terminal_that_is_ignored_stops_nothing() {
    let folder = slow();
    let arguments = [&STITCH[..], &SLOWLY, &["--threads", "1"]].concat();
    let mut nohup = after(folder.path(), "trap '' HUP", &arguments);
    let (code, text) = stopped(folder.path(), &mut nohup, Signal::HUP);
    assert_eq!(code, 0, "{text}");
    assert!(folder.path().join("out.zarr").exists());
}

/// A stop while the only task is in hand: it is finished, and then there is nothing to stop, or it is given up,
/// and then it is not counted as done.
#[test]
fn a_stop_with_no_work_left_finishes_the_run() {
    let folder = raw(&Pile::new(1, 1, 16, plain(256, 256)));
    let one_task = ["--chunks", "1,1,16,256,256", "--shards", "none", "--codec", "zstd:22", "--overwrite"];
    for threads in ["1", "2", "2", "4"] {
        let mut child =
            program(folder.path(), &[&STITCH[..], &one_task, &["--threads", threads]].concat()).spawn().unwrap();
        let partial = |name: &String| name != "raw" && name != "out.zarr";
        assert!(wait_until(|| names(folder.path()).iter().any(partial) || !alive(&mut child)));
        std::thread::sleep(std::time::Duration::from_millis(100));
        let (code, text, _) = ended(child, Signal::TERM);
        let counted_as_done = text.contains("1 task of 1") || text.contains("1 tasks of 1");
        assert!(code == 0 || (code == 75 && !counted_as_done), "{code}: {text}");
    }
}

/// Standard error closed, or its reader gone: every run ends as it would have.
#[test]
fn a_reader_of_messages_that_has_gone_changes_nothing() {
    let folder = small();
    let hole = folder.path().join("hole");
    Pile { holes: vec![(1, 1)], ..Pile::new(2, 3, 4, plain(30, 20)) }.write(&hole);
    let reduce = ["reduce", "raw", "--pattern", PATTERN, "--op", "mean", "--axis", "t", "-o", "out.npy"];
    let runs: [(&[&str], i32); 7] = [
        (&STITCH, 0),
        (&STITCH, 2),
        (&reduce, 0),
        (&["reduce", "raw", "--pattern", PATTERN, "--op", "sum"], 0),
        (&["inspect", "raw"], 0),
        (&["stitch", "hole", "--pattern", PATTERN, "-o", "no.zarr"], 1),
        (&["inspect", "hole", "--strict"], 3),
    ];
    for way in ["closed", "gone", "full"] {
        for (arguments, expected) in runs {
            let mut command = program(folder.path(), arguments);
            if way == "closed" {
                command = after(folder.path(), "exec 2>&-", arguments);
            } else if way == "gone" {
                let (reader, writer) = std::io::pipe().unwrap();
                drop(reader);
                command.stderr(writer);
            } else {
                command.stderr(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
            }
            let (code, out, _) = told(&command.output().unwrap());
            assert_eq!(code, expected, "{way}: {arguments:?}");
            assert!(arguments[..] != ["reduce", "raw", "--pattern", PATTERN, "--op", "sum"] || out.len() > 1);
        }
        assert_eq!(names(folder.path()), ["hole", "out.npy", "out.zarr", "raw"], "{way}");
        fs::remove_dir_all(folder.path().join("out.zarr")).unwrap();
        fs::remove_file(folder.path().join("out.npy")).unwrap();
    }
}

/// The reader goes away in the middle of a long run.
#[test]
fn a_reader_of_messages_that_goes_does_not_end_a_run() {
    let folder = slow();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = program(folder.path(), &[&STITCH[..], &SLOWLY].concat());
    let child = command.stderr(writer).spawn().unwrap();
    drop(command);
    stop_when(&child, || begun(folder.path(), &["raw".into()]));
    drop(reader);
    send(&child, Signal::CONT);
    assert_eq!(told(&child.wait_with_output().unwrap()).0, 0);
    assert_eq!(names(folder.path()), ["out.zarr", "raw"]);
}

// A dry run.

fn dry_runs() -> Vec<Vec<&'static str>> {
    let reduce = ["reduce", "raw", "--pattern", PATTERN, "--op", "mean", "--axis", "t", "--dry-run", "-o"];
    let to = |name| [&reduce[..], &[name]].concat();
    vec![[&STITCH[..], &["--dry-run"]].concat(), to("out.npy"), to("out_{op}.zarr"), to("out.tif")]
}

#[test]
fn a_dry_run_touches_nothing() {
    let folder = small();
    // What a killed run has left, and a run to come may go on with.
    fs::create_dir(folder.path().join(".out.zarr.partial")).unwrap();
    fs::write(folder.path().join(".out.zarr.partial/begun"), "x").unwrap();
    fs::create_dir(folder.path().join(".out_mean.zarr.partial")).unwrap();
    fs::write(folder.path().join(".out.npy.partial"), "x").unwrap();
    fs::write(folder.path().join(".out.tif.partial"), "x").unwrap();
    let before = listing(folder.path());
    for arguments in dry_runs() {
        succeeds(folder.path(), &arguments);
        assert_eq!(listing(folder.path()), before, "{arguments:?}");
        succeeds(folder.path(), &[&arguments[..], &["--json", "--overwrite"]].concat());
        assert_eq!(listing(folder.path()), before, "{arguments:?}");
    }
}

#[test]
fn a_dry_run_works_where_nothing_may_be_written() {
    let folder = small();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    for arguments in dry_runs() {
        let mut command = program(folder.path(), &arguments);
        probe::as_nobody(&mut command);
        match command.output() {
            Ok(output) => {
                let (code, _, text) = told(&output);
                assert_eq!(code, 0, "{arguments:?}: {text}");
            }
            Err(e) => skipped(format_args!("the program cannot be run without rights: {e}")),
        }
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

// What is asked for.

#[test]
fn the_cap_on_files_counts_metadata() {
    let folder = small();
    let (mut n_ran, mut n_refused) = (0, 0);
    for format in ["2", "3"] {
        for n in 1..16usize {
            let cap = n.to_string();
            let more = ["--overwrite", "--zarr-format", format, "--max-files", &cap, "--chunks", "1,1,4,20,30"];
            let (code, _, text) = ran(folder.path(), &[&STITCH[..], &more].concat());
            if code == 0 {
                let found = files(&folder.path().join("out.zarr")).len();
                assert!(found <= n, "{found} files of at most {n}, format {format}");
                n_ran += 1;
            } else {
                assert!(code == 2 && text.contains("--max-files"), "{code}: {text}");
                n_refused += 1;
            }
        }
    }
    assert!(n_ran > 0 && n_refused > 0);
}

#[test]
fn a_fill_value_that_the_type_cannot_hold_is_refused() {
    let integers = small();
    let floats = raw(&Pile::new(2, 3, 4, Layout { bits: 32, format: 3, ..plain(30, 20) }));
    let cases: [(&TempDir, &[&str]); 2] = [(&integers, &["70000", "-1", "1.5", "nan", "inf"]), (&floats, &["1e39"])];
    for (folder, values) in cases {
        for value in values {
            let flag = format!("--fill-value={value}");
            let reduce = ["reduce", "raw", "--pattern", PATTERN, "--op", "max", "--missing", "fill"];
            for command in [&STITCH[..], &reduce] {
                let text = refused(folder.path(), 2, &[command, &[&flag]].concat());
                assert!(text.contains(value) && text.contains("--fill-value"), "{text}");
            }
            assert_eq!(names(folder.path()), ["raw"]);
        }
    }
    for value in ["nan", "-inf", "1.5", "3e38"] {
        let flag = format!("--fill-value={value}");
        succeeds(floats.path(), &[&STITCH[..], &["--overwrite", &flag]].concat());
    }
    succeeds(integers.path(), &[&STITCH[..], &["--fill-value", "65535"]].concat());
}

/// An OME-Zarr with voxels of 0.5, 0.25 and 0.25 micrometres, every 2 seconds.
fn placed_store() -> TempDir {
    let folder = small();
    let known = ["--voxel-size", "z=0.5um,y=0.25um,x=0.25um", "--time-step", "2s"];
    succeeds(folder.path(), &[&["stitch", "raw", "--pattern", PATTERN, "-o", "in.zarr"], &known[..]].concat());
    folder
}

#[test]
fn a_crop_keeps_its_place_in_the_world() {
    let folder = placed_store();
    let crop = ["reduce", "--op", "max", "--axis", "c", "--keepdims", "-q"];
    let first = ["in.zarr", "--select", "t=1:,z=1:3,y=10:18,x=4::3", "-o", "crop.zarr"];
    succeeds(folder.path(), &[&crop[..], &first].concat());
    let [scale, translation] = placed(&folder.path().join("crop.zarr"));
    assert!(close(&scale, &[2.0, 1.0, 0.5, 0.25, 0.75]), "{scale:?}");
    assert!(close(&translation, &[2.0, 0.0, 0.5, 2.5, 1.0]), "{translation:?}");
    // A crop of a crop begins where the first one did, and then some.
    let second = ["crop.zarr", "--select", "y=2:,x=1:", "-o", "again.zarr"];
    succeeds(folder.path(), &[&crop[..], &second].concat());
    let [scale, translation] = placed(&folder.path().join("again.zarr"));
    assert!(close(&scale, &[2.0, 1.0, 0.5, 0.25, 0.75]), "{scale:?}");
    assert!(close(&translation, &[2.0, 0.0, 0.5, 3.0, 1.75]), "{translation:?}");
}

/// Backwards: a negative step from the last element that was chosen first, or an honest refusal.
#[test]
fn a_reversed_axis_is_placed_or_refused() {
    let folder = placed_store();
    let base = ["reduce", "in.zarr", "--op", "max", "--axis", "c", "--keepdims", "--select", "x=::-2"];
    let (code, _, text) = ran(folder.path(), &[&base[..], &["-o", "back.zarr"]].concat());
    if code == 0 {
        let [scale, translation] = placed(&folder.path().join("back.zarr"));
        assert!(close(&scale, &[2.0, 1.0, 0.5, 0.25, -0.5]), "{scale:?}");
        assert!(close(&translation, &[0.0, 0.0, 0.0, 0.0, 29.0 * 0.25]), "{translation:?}");
    } else {
        assert!(code == 2 && text.contains('x'), "{code}: {text}");
        assert_eq!(names(folder.path()), ["in.zarr", "raw"]);
    }
}

#[test]
fn a_choice_with_two_readings_is_refused_with_both() {
    let folder = small();
    let base = ["reduce", "raw", "--pattern", PATTERN, "--op", "max", "-q", "--select"];
    // Index 1 is called 0, and index 0 is called 1.
    let text = refused(folder.path(), 2, &[&base[..], &["c=1", "--channel-names", "1,0"]].concat());
    assert!(text.contains("c=1") && text.contains("index") && text.contains("label"), "{text}");
    // Where index and label name the same element there is one reading.
    succeeds(folder.path(), &[&base[..], &["c=1", "--channel-names", "0,1"]].concat());
    // A slice is of indices, and a name that is no number is a name.
    succeeds(folder.path(), &[&base[..], &["c=1:2", "--channel-names", "1,0"]].concat());
    succeeds(folder.path(), &[&base[..], &["c=GFP", "--channel-names", "GFP,DAPI"]].concat());
}

#[test]
fn an_output_inside_an_input_store_is_refused() {
    let folder = placed_store();
    std::os::unix::fs::symlink("in.zarr", folder.path().join("link.zarr")).unwrap();
    let before = listing(&folder.path().join("in.zarr"));
    let reduce = ["reduce", "in.zarr", "--op", "max", "--axis", "t", "-o"];
    let outputs = ["in.zarr/max.zarr", "in.zarr/0/max.npy", "./in.zarr/max.tif", "in.zarr/../in.zarr/m.zarr"];
    for output in outputs.iter().chain(&["link.zarr/max.zarr"]) {
        let text = refused(folder.path(), 2, &[&reduce[..], &[output]].concat());
        assert!(text.contains("in.zarr"), "{text}");
    }
    for output in ["in.zarr/copy.zarr", "in.zarr/0/copy.zarr"] {
        refused(folder.path(), 2, &["stitch", "in.zarr", "-o", output]);
        refused(folder.path(), 2, &["stitch", "in.zarr", "-o", output, "--overwrite"]);
    }
    assert_eq!(listing(&folder.path().join("in.zarr")), before);
}

// Every command that writes writes every format.

/// Elements of the small pile in the order t c z y x.
fn expected() -> Vec<u8> {
    let pile = Pile::new(2, 3, 4, plain(30, 20));
    (0..6).flat_map(|i| pile.pages(i % 2, i / 2).concat()).collect()
}

#[test]
fn stitch_writes_npy_and_tiff() {
    let folder = small();
    let mut outputs = Vec::new();
    for (i, output) in ["a.npy", "a.tif", "little.npy", "little.tif"].iter().enumerate() {
        let stitch = ["stitch", "raw", "--pattern", PATTERN, "-q", "-o", output];
        succeeds(
            folder.path(),
            &[&stitch[..], if i > 1 { &["--threads", "3", "--memory", "128M"] } else { &[] }].concat(),
        );
        outputs.push(folder.path().join(output));
    }
    let npy = Npy::read(&outputs[0]);
    assert_eq!((npy.dtype.as_str(), &npy.shape[..]), ("<u2", &[3, 2, 4, 20, 30][..]));
    assert!(npy.bytes == expected());
    assert!(fs::read(&outputs[0]).unwrap() == fs::read(&outputs[2]).unwrap());
    assert!(fs::read(&outputs[1]).unwrap() == fs::read(&outputs[3]).unwrap());
    let truth = folder.path().join("truth");
    fs::write(&truth, expected()).unwrap();
    let mut arguments: Vec<&Path> = vec![&truth, Path::new("3,2,4,20,30")];
    arguments.extend(outputs.iter().map(|p| p.as_path()));
    common::python("read_plain.py", &arguments);
    // What is there stays, and holes are filled as in a Zarr.
    refused(folder.path(), 2, &["stitch", "raw", "--pattern", PATTERN, "-o", "a.npy"]);
    fs::remove_file(folder.path().join("raw").join(Pile::name(1, 2))).unwrap();
    let stitch = ["stitch", "raw", "--pattern", PATTERN, "-o", "hole.npy", "-q"];
    refused(folder.path(), 1, &stitch);
    succeeds(folder.path(), &[&stitch[..], &["--missing", "fill", "--fill-value", "9"]].concat());
    let bytes = Npy::read(&folder.path().join("hole.npy")).bytes;
    let file = 4 * 20 * 30 * 2;
    assert!(bytes[..5 * file] == expected()[..5 * file]);
    assert!(bytes[5 * file..].chunks(2).all(|b| b == [9, 0]));
}

#[test]
fn stitch_takes_a_part() {
    let folder = small();
    let whole = expected();
    let at = |t: usize, z: usize, y: usize, x: usize| {
        let i = ((((t * 2 + 1) * 4 + z) * 20 + y) * 30 + x) * 2;
        [whole[i], whole[i + 1]]
    };
    let base = ["stitch", "raw", "--pattern", PATTERN, "-q", "--select"];
    let ways = [("t=1:,c=1:,y=::2,x=3:21:4", "out.zarr"), ("t=1:,c=1:,y=::-2,x=3:21:4", "out.npy")];
    for ((select, output), backwards) in ways.into_iter().zip([false, true]) {
        succeeds(folder.path(), &[&base[..], &[select, "-o", output]].concat());
        let mut rows: Vec<usize> = (usize::from(backwards)..20).step_by(2).collect();
        if backwards {
            rows.reverse();
        }
        let mut chosen = Vec::new();
        for (t, z) in (1..3).flat_map(|t| (0..4).map(move |z| (t, z))) {
            rows.iter().for_each(|&y| (3..21).step_by(4).for_each(|x| chosen.extend(at(t, z, y, x))));
        }
        let path = folder.path().join(output);
        let (shape, bytes) = if backwards {
            let npy = Npy::read(&path);
            (npy.shape, npy.bytes)
        } else {
            read_zarr(&path)
        };
        assert_eq!(shape, [2, 1, 4, 10, 5]);
        assert!(bytes == chosen, "{select}");
    }
}
