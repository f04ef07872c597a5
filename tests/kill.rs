//! Runs that are killed, stopped and taken up again: the same command goes on where the last one ended, what stands
//! under the output's name is whole, and inputs or settings that have changed are refused by name.
//!
//! `STACKCTL_KILLS` sets how often every job is killed.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::tempdir;
use crate::common::{self, pile, probe, run, tiff};
use common::skipped;
use pile::{PATTERN, Pile, files};
use probe::{
    alive, begun_bytes, ended, program, ran, refused, send, stop_when, succeeds, told, wait_until, watched, written,
};
use run::names;
use rustix::process::Signal;
use tempfile::TempDir;
use tiff::{Layout, Numbers};

/// A pile of 4 MiB in `raw` of a folder of its own.
fn raw() -> TempDir {
    raw_of(&pile())
}

fn raw_of(pile: &Pile) -> TempDir {
    let folder = tempdir().unwrap();
    pile.write(&folder.path().join("raw"));
    folder
}

const N_TIMES: usize = 8;

fn pile() -> Pile {
    Pile::new(1, N_TIMES, 4, Layout { width: 256, height: 256, bits: 16, ..Layout::default() })
}

const INPUT: [&str; 3] = ["raw", "--pattern", PATTERN];

/// Chunks so small that of 512 at most 64 wait to be made durable or recorded: a few tasks of 16, in hand or waiting for
/// one before them, and these are stored again.
const SLOWLY: [&str; 4] = ["--chunks", "1,1,1,64,64", "--codec", "zstd:7"];

/// The command of a job: its storage or operator, to `output`.
fn command<'a>(job: &[&'a str], output: &'a str) -> Vec<&'a str> {
    let (verb, rest): (&[&str], &[&str]) = match job.first() {
        Some(&"reduce") => (&["reduce"], &job[1..]),
        _ => (&["stitch", SLOWLY[0], SLOWLY[1], SLOWLY[2], SLOWLY[3]], job),
    };
    [verb, &INPUT, rest, &["-o", output]].concat()
}

fn jobs() -> Vec<(Vec<&'static str>, &'static str)> {
    vec![
        (vec!["--zarr-format", "2"], "out.zarr"),
        (vec!["--shards", "none"], "out.zarr"),
        (vec!["--shards", "1,1,2,256,256"], "out.zarr"),
        (vec!["--shards", "1,1,4,256,256", "--levels", "3"], "out.zarr"),
        (vec!["--shards", "none", "--levels", "3", "--zarr-format", "2"], "out.zarr"),
        (vec!["reduce", "--op", "median", "--axis", "t", "--codec", "zstd:9"], "out.zarr"),
        (vec!["reduce", "--op", "median", "--axis", "t"], "out.npy"),
        (vec!["reduce", "--op", "median", "--axis", "t"], "out.tif"),
    ]
}

/// The stitch that most tests interrupt.
fn stitch() -> Vec<&'static str> {
    command(&["--shards", "none"], "out.zarr")
}

fn remove(path: &Path) {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
}

/// What an undisturbed run makes, and what it takes: wall time, and bytes written.
struct Undisturbed {
    files: BTreeMap<PathBuf, Vec<u8>>,
    bytes: u64,
    wall: Duration,
    written: u64,
}

fn undisturbed(folder: &Path, arguments: &[&str], output: &str) -> Undisturbed {
    let start = Instant::now();
    let written = written(folder, arguments);
    let wall = start.elapsed();
    let files = files(&folder.join(output));
    remove(&folder.join(output));
    Undisturbed { bytes: files.values().map(|f| f.len() as u64).sum(), files, wall, written }
}

/// Starts a run and sends `signal` when `bytes` are there; gives code, message and seconds to its end.
fn interrupted(folder: &Path, arguments: &[&str], signal: Signal, bytes: u64) -> (i32, String, f64) {
    let child = program(folder, arguments).spawn().unwrap();
    stop_when(&child, || begun_bytes(folder, &["raw", "out.zarr"]) >= bytes);
    ended(child, signal)
}

fn n_kills() -> usize {
    std::env::var("STACKCTL_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(2)
}

// Whole or absent, and the same in the end.

/// Killed at random moments, again and again: whatever stands under the name is whole, and the last run makes what an
/// undisturbed one makes and leaves nothing else.
#[test]
fn killed_runs_are_finished_by_the_same_command() {
    let folder = raw();
    let folder = folder.path();
    let mut random = Numbers(0x5eed);
    for (job, output) in jobs() {
        for threads in ["1", "2"] {
            let arguments = [&command(&job, output)[..], &["--threads", threads]].concat();
            let expected = undisturbed(folder, &arguments, output);
            for _ in 0..n_kills() {
                let child = program(folder, &arguments).spawn().unwrap();
                sleep(expected.wall.mul_f64(random.below(1000) as f64 / 1000.0));
                let (code, text, _) = ended(child, Signal::KILL);
                assert!(code == 0 || code == -9 || (code == 2 && text.contains("exists already")), "{code}: {text}");
                let there = folder.join(output);
                assert!(!there.exists() || files(&there) == expected.files, "{arguments:?}: torn");
            }
            let (code, _, text) = ran(folder, &arguments);
            assert!(code == 0 || (code == 2 && text.contains("exists already")), "{arguments:?}: {code}: {text}");
            assert!(files(&folder.join(output)) == expected.files, "{arguments:?}: another output");
            assert_eq!(names(folder), [output, "raw"], "{arguments:?}");
            remove(&folder.join(output));
        }
    }
}

/// Distances and components, which are made of sums over all rows.
const SUMS: [(&str, &[&str]); 4] = [
    ("pairwise", &["--along", "t", "--metric", "cityblock", "--memory", "32M", "-o", "d.npy"]),
    ("pairwise", &["--along", "t", "--keep", "z", "--metric", "canberra", "--memory", "32M", "-o", "d.zarr"]),
    ("pairwise", &["--along", "z", "--metric", "correlation", "--memory", "32M", "-o", "d.csv"]),
    ("decompose", &["--along", "t", "--components", "3", "--memory", "32M", "-o", "p.npy", "--denoised", "back.npy"]),
];

/// Whether a whole checkpoint lies in `folder`.
fn has_kept(folder: &Path) -> bool {
    names(folder).iter().any(|name| name.ends_with(".kept") && !name.contains('~'))
}

/// What a killed run had summed up is gone on with, whatever it was at, and what comes of it is the same.
#[test]
fn sums_over_all_rows_are_gone_on_with() {
    let folder = raw();
    let folder = folder.path();
    let made = || -> BTreeMap<PathBuf, Vec<u8>> {
        files(folder).into_iter().filter(|(path, _)| !path.starts_with("raw")).collect()
    };
    let clear = || names(folder).iter().filter(|name| *name != "raw").for_each(|name| remove(&folder.join(name)));
    let mut random = Numbers(0xd15);
    for (verb, rest) in SUMS {
        let arguments = [&[verb], &INPUT[..], rest].concat();
        let start = Instant::now();
        succeeds(folder, &arguments);
        let (wall, expected) = (start.elapsed(), made());
        for kill in 0..n_kills() + 2 {
            clear();
            let mut child = program(folder, &arguments).spawn().unwrap();
            let is_kept = || has_kept(folder);
            if kill < 2 {
                assert!(wait_until(|| is_kept() || !alive(&mut child)));
            } else {
                sleep(wall.mul_f64(random.below(1000) as f64 / 1000.0));
            }
            let (code, text, _) = ended(child, Signal::KILL);
            assert!(code == 0 || code == -9, "{arguments:?}: {code}: {text}");
            let was_kept = code == -9 && is_kept();
            if was_kept {
                // Looking ahead takes nothing away.
                let kept = made();
                ran(folder, &[&arguments[..], &["--dry-run"]].concat());
                assert!(made() == kept, "{arguments:?}: {:?}", names(folder));
            }
            let (code, _, text) = ran(folder, &arguments);
            assert!(code == 0 || (code == 2 && text.contains("exists already")), "{arguments:?}: {code}: {text}");
            assert!(!was_kept || code == 2 || text.contains("went on with"), "{arguments:?}: {text}");
            assert!(made() == expected, "{arguments:?}: {:?}", names(folder));
        }
        clear();
    }
    let refused =
        refused(folder, 1, &[&["pairwise"], &INPUT[..], &["--along", "t", "-o", "d.npy", "--share", "0/2"]].concat());
    assert!(refused.contains("--share"), "{refused}");
}

/// What was finished is not done again.
#[test]
fn a_killed_run_is_gone_on_with() {
    let folder = raw_of(&Pile { t: 2 * N_TIMES, ..pile() });
    let folder = folder.path();
    for (job, output) in &jobs()[..3] {
        let arguments = command(job, output);
        let expected = undisturbed(folder, &arguments, output);
        for signal in [Signal::KILL, Signal::TERM] {
            // What is in hand is finished, on a busy machine all the rest of the run at times.
            let is_stopped = |_| {
                let (code, ..) = interrupted(folder, &arguments, signal, expected.bytes * 6 / 10);
                if code == 0 {
                    remove(&folder.join(output));
                }
                code != 0
            };
            assert!((0..5).any(is_stopped), "{arguments:?}: ended in spite of {signal:?}");
            let rest = written(folder, &arguments);
            assert!(rest < expected.written * 7 / 10, "{arguments:?}: {rest} of {}", expected.written);
            assert!(files(&folder.join(output)) == expected.files);
            assert_eq!(names(folder), [*output, "raw"]);
            remove(&folder.join(output));
        }
    }
}

/// Objects of a run that was killed are not taken for what they were when something has changed them since.
#[test]
fn damage_between_two_runs_is_seen() {
    let folder = raw();
    let folder = folder.path();
    for storage in [&["--shards", "none"][..], &["--shards", "1,1,4,256,256"], &["--zarr-format", "2"]] {
        let arguments = command(storage, "out.zarr");
        let expected = undisturbed(folder, &arguments, "out.zarr");
        for harm in ["cut", "empty", "remove", "flip", "zeros"] {
            interrupted(folder, &arguments, Signal::KILL, expected.bytes * 6 / 10);
            // Data alone: metadata and records are text or have names of their own.
            let of_array = |path: &PathBuf| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                name.chars().all(|c| c.is_ascii_digit() || c == '.')
            };
            let mut objects: Vec<PathBuf> = all_files(folder, &["raw"]).into_iter().filter(of_array).collect();
            objects.sort();
            let object = &objects[objects.len() / 3];
            let mut bytes = fs::read(object).unwrap();
            match harm {
                "cut" => bytes.truncate(bytes.len() / 2),
                "flip" => *bytes.last_mut().unwrap() ^= 16,
                "zeros" => bytes.fill(0),
                _ => bytes.clear(),
            }
            if harm == "remove" {
                fs::remove_file(object).unwrap()
            } else {
                fs::write(object, bytes).unwrap()
            }
            succeeds(folder, &arguments);
            assert!(files(&folder.join("out.zarr")) == expected.files, "{storage:?}: {harm} {}", object.display());
            remove(&folder.join("out.zarr"));
        }
    }
}

/// Of an output that is one file, too.
#[test]
fn damage_between_two_runs_is_seen_in_one_file() {
    // Other jobs than that of slow chunks take less time.
    let folder = raw_of(&Pile { z: 8, ..pile() });
    let folder = folder.path();
    for output in ["out.ome.tif", "out.ozx", "out.npy"] {
        let arguments = match output {
            "out.npy" => [&["calc", "median(a, y=3, x=3)"], &INPUT[..], &["-o", output]].concat(),
            "out.ome.tif" => [&["stitch"], &INPUT[..], &["--chunks", "1,1,1,64,64", "-o", output]].concat(),
            _ => command(&[], output),
        };
        let expected = undisturbed(folder, &arguments, output);
        interrupted(folder, &arguments, Signal::KILL, expected.bytes * 6 / 10);
        let partial = folder.join(format!(".{output}.partial/output"));
        let mut bytes = fs::read(&partial).unwrap();
        let early = bytes.len() / 20;
        bytes[early] ^= 1;
        fs::write(&partial, bytes).unwrap();
        let (code, _, text) = ran(folder, &arguments);
        let is_same = code == 0 && files(&folder.join(output)) == expected.files;
        assert!(is_same, "{output}: byte {early} is not what it was: {text}");
        assert!(text.contains("had changed since it was stored"), "{output}: {text}");
        remove(&folder.join(output));
    }
}

/// Large states of tiles that are shared out lie apart from the journal: they are gone on with if they are what they were.
#[test]
fn large_states_are_gone_on_with() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let plane = Layout { width: 512, height: 512, bits: 16, rows_per_strip: Some(512), ..Layout::default() };
    Pile::new(1, 8, 6, Layout { compression: 8, level: 1, ..plane.clone() }).write(&folder.join("raw"));
    Pile::new(1, 8, 6, plane).write(&folder.join("plain"));
    let of = |input: &'static str, output: &'static str| {
        let job = ["reduce", "--op", "std", "--axis", "t,z", "--threads", "1", "--pattern", PATTERN];
        [&job[..], &[input, "-o", output]].concat()
    };
    // Nothing is shared out where any rows can be read by themselves.
    succeeds(folder, &of("plain", "plain.npy"));
    let expected = fs::read(folder.join("plain.npy")).unwrap();
    let states = folder.join(".out.npy.partial/state");
    for is_harmed in [false, true] {
        let was_killed = (0..5).any(|_| {
            let mut child = program(folder, &of("raw", "out.npy")).spawn().unwrap();
            wait_until(|| states.join("1").exists() || !alive(&mut child));
            let (code, text, _) = ended(child, Signal::KILL);
            assert!(code == 0 || code == -9, "{code}: {text}");
            if code == 0 {
                assert!(fs::read(folder.join("out.npy")).unwrap() == expected);
                remove(&folder.join("out.npy"));
            }
            code == -9
        });
        assert!(was_killed && states.join("0").exists());
        if is_harmed {
            let mut bytes = fs::read(states.join("0")).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(states.join("0"), bytes).unwrap();
        }
        succeeds(folder, &of("raw", "out.npy"));
        assert!(fs::read(folder.join("out.npy")).unwrap() == expected, "harmed: {is_harmed}");
        remove(&folder.join("out.npy"));
        assert!(!states.exists());
    }
}

/// Files below `folder` but those of `known`.
fn all_files(folder: &Path, known: &[&str]) -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = fs::read_dir(folder).unwrap().flatten().map(|e| e.path()).collect();
    open.retain(|p| !known.iter().any(|k| p.ends_with(k)));
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().flatten().map(|e| e.path()));
        } else {
            found.push(path);
        }
    }
    found
}

/// The tail of a record that was torn by the kill counts as not written.
#[test]
fn a_torn_record_is_passed_over() {
    let folder = raw();
    let folder = folder.path();
    let arguments = stitch();
    let expected = undisturbed(folder, &arguments, "out.zarr");
    for cut in [1, 7] {
        interrupted(folder, &arguments, Signal::KILL, expected.bytes * 6 / 10);
        let journals: Vec<PathBuf> =
            all_files(folder, &["raw"]).into_iter().filter(|p| p.to_string_lossy().contains("journal")).collect();
        if journals.is_empty() {
            skipped("no file is called a journal");
        }
        for journal in journals {
            let length = fs::metadata(&journal).unwrap().len();
            OpenOptions::new().write(true).open(&journal).unwrap().set_len(length.saturating_sub(cut)).unwrap();
        }
        succeeds(folder, &arguments);
        assert!(files(&folder.join("out.zarr")) == expected.files);
        remove(&folder.join("out.zarr"));
    }
}

#[test]
fn an_output_that_is_replaced_stays_until_the_new_one_is_whole() {
    let folder = raw();
    let folder = folder.path();
    succeeds(folder, &stitch());
    let old = files(&folder.join("out.zarr"));
    let arguments = [&stitch()[..], &["--overwrite", "--channel-names", "GFP"]].concat();
    let bytes = old.values().map(|f| f.len() as u64).sum::<u64>();
    for signal in [Signal::KILL, Signal::TERM] {
        interrupted(folder, &arguments, signal, bytes / 2);
        assert!(files(&folder.join("out.zarr")) == old, "{signal:?}");
    }
    succeeds(folder, &arguments);
    assert!(files(&folder.join("out.zarr")) != old);
    assert_eq!(names(folder), ["out.zarr", "raw"]);
}

// Signals and deadlines.

#[test]
fn a_signal_stops_a_run_that_goes_on_later() {
    let folder = raw();
    let folder = folder.path();
    let arguments = stitch();
    let expected = undisturbed(folder, &arguments, "out.zarr");
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1] {
        let (code, text, seconds) = interrupted(folder, &arguments, signal, expected.bytes / 2);
        assert_eq!(code, 75, "{signal:?}: {text}");
        assert!(seconds < 5.0, "{signal:?}: {seconds} s");
        // The command that goes on.
        assert!(text.contains("stopped after") && text.contains("stackctl stitch"), "{signal:?}: {text}");
        assert!(text.contains("-o out.zarr"), "{signal:?}: {text}");
        assert!(!folder.join("out.zarr").exists(), "{signal:?}");
        let (code, _, text) = ran(folder, &["status", "out.zarr"]);
        assert!(code == 2 && text.contains("the same command goes on"), "{signal:?}: {code} {text}");
        let rest = written(folder, &arguments);
        assert!(rest < expected.written * 7 / 10, "{signal:?}: {rest} of {}", expected.written);
        assert!(files(&folder.join("out.zarr")) == expected.files, "{signal:?}");
        assert_eq!(names(folder), ["out.zarr", "raw"], "{signal:?}");
        remove(&folder.join("out.zarr"));
    }
}

/// A chunk that takes long is given up.
#[test]
fn a_slow_chunk_does_not_hold_a_stop_up() {
    let folder = tempdir().unwrap();
    let layout = Layout { width: 512, height: 512, bits: 16, ..Layout::default() };
    Pile::new(1, 2, 32, layout).write(&folder.path().join("raw"));
    let slowest = ["--chunks", "1,1,32,512,512", "--shards", "none", "--codec", "zstd:22", "-o", "out.zarr"];
    let child = program(folder.path(), &[&["stitch"], &INPUT[..], &slowest].concat()).spawn().unwrap();
    sleep(Duration::from_millis(1500));
    let (code, text, seconds) = ended(child, Signal::TERM);
    assert_eq!(code, 75, "{text}");
    assert!(seconds < 5.0, "{seconds} s");
}

/// What a requeue script does: the same command until it is done.
#[test]
fn deadlines_end_in_a_whole_output() {
    let folder = raw();
    let folder = folder.path();
    let expected = undisturbed(folder, &stitch(), "out.zarr");
    let arguments = [&stitch()[..], &["--deadline", "1s"]].concat();
    for round in 0.. {
        let start = Instant::now();
        let (code, _, text) = ran(folder, &arguments);
        assert!(start.elapsed() < Duration::from_secs(6), "round {round}: {text}");
        if code == 0 {
            break;
        }
        assert_eq!(code, 75, "round {round}: {text}");
        assert!(!folder.join("out.zarr").exists());
        assert!(round < 20, "no end in sight: {text}");
    }
    // The command line in the provenance aside, as without a deadline.
    assert!(files(&folder.join("out.zarr")) == expected.files);
    for wrong in ["0", "-1m", "soon"] {
        refused(folder, 2, &[&stitch()[..], &["--overwrite", &format!("--deadline={wrong}")]].concat());
    }
}

#[test]
fn durability_changes_no_byte() {
    let folder = raw();
    let folder = folder.path();
    let expected = undisturbed(folder, &stitch(), "out.zarr");
    for durability in ["none", "data", "full"] {
        succeeds(folder, &[&stitch()[..], &["--durability", durability]].concat());
        assert!(files(&folder.join("out.zarr")) == expected.files, "{durability}");
        remove(&folder.join("out.zarr"));
    }
}

// What has changed in between.

/// `arguments` after an interrupted [`stitch`] must be refused with `words` and `--restart`, and begin anew with it.
fn refused_as_changed(folder: &Path, arguments: &[&str], words: &[&str]) {
    let (code, _, text) = ran(folder, arguments);
    assert!(code == 1 || code == 2, "{arguments:?} ended with {code}: {text}");
    for word in words.iter().chain(&["--restart"]) {
        assert!(text.contains(word), "'{word}' is not in: {text}");
    }
    assert!(!folder.join("out.zarr").exists());
    let expected = {
        succeeds(folder, &[arguments, &["--restart"]].concat());
        let found = files(&folder.join("out.zarr"));
        remove(&folder.join("out.zarr"));
        found
    };
    assert_eq!(names(folder), ["raw"]);
    succeeds(folder, arguments);
    assert!(files(&folder.join("out.zarr")) == expected);
    remove(&folder.join("out.zarr"));
}

#[test]
fn changed_settings_are_refused_by_name() {
    let folder = raw();
    let base = ["stitch", "raw", "--pattern", PATTERN, "-o", "out.zarr", "--shards", "none"];
    let (chunks, codec) = SLOWLY.split_at(2);
    let changes: [(Vec<&str>, &str); 4] = [
        ([&base[..], chunks, &["--codec", "zstd:1"]].concat(), "codec"),
        ([&base[..], codec, &["--chunks", "1,1,4,128,128"]].concat(), "chunk"),
        ([&base[..], &SLOWLY, &["--fill-value", "3"]].concat(), "fill"),
        ([&base[..], &SLOWLY, &["--zarr-format", "2"]].concat(), "format"),
    ];
    for (arguments, word) in changes {
        interrupted(folder.path(), &stitch(), Signal::KILL, 1 << 20);
        refused_as_changed(folder.path(), &arguments, &[word]);
    }
}

/// The number of threads is not a setting that matters.
#[test]
fn other_threads_go_on() {
    let folder = raw();
    let expected = undisturbed(folder.path(), &stitch(), "out.zarr");
    for (first, then) in [("1", "3"), ("2", "1")] {
        let first = [&stitch()[..], &["--threads", first]].concat();
        interrupted(folder.path(), &first, Signal::KILL, expected.bytes * 6 / 10);
        let rest = written(folder.path(), &[&stitch()[..], &["--threads", then]].concat());
        assert!(rest < expected.written * 7 / 10, "{rest} of {}", expected.written);
        assert!(files(&folder.path().join("out.zarr")) == expected.files);
        remove(&folder.path().join("out.zarr"));
    }
}

#[test]
fn changed_inputs_are_refused_by_name() {
    let folder = raw();
    let input = folder.path().join("raw");
    let third = input.join(Pile::name(0, 3));
    let whole = fs::read(&third).unwrap();
    let time = fs::metadata(&third).unwrap().modified().unwrap();
    let set_time = |time| OpenOptions::new().write(true).open(&third).unwrap().set_modified(time).unwrap();
    let rewrite = || {
        fs::write(&third, &whole).unwrap();
        set_time(time);
    };
    let grow = || {
        OpenOptions::new().append(true).open(&third).unwrap().write_all(b"more").unwrap();
        set_time(time);
    };
    let replace = || {
        let other = folder.path().join("raw/other");
        fs::write(&other, &whole).unwrap();
        fs::rename(&other, &third).unwrap();
        set_time(time);
    };
    let change = || {
        let mut file = OpenOptions::new().write(true).open(&third).unwrap();
        file.seek(SeekFrom::Start(5000)).unwrap();
        file.write_all(&[0xff; 64]).unwrap();
    };
    let touch = || set_time(time - Duration::from_secs(60));
    let changes: [(&str, &dyn Fn()); 4] =
        [("touched", &touch), ("grown", &grow), ("replaced", &replace), ("changed", &change)];
    for (what, change) in changes {
        rewrite();
        interrupted(folder.path(), &stitch(), Signal::KILL, 1 << 20);
        change();
        println!("{what}");
        refused_as_changed(folder.path(), &stitch(), &[&Pile::name(0, 3)]);
    }
    rewrite();
    interrupted(folder.path(), &stitch(), Signal::KILL, 1 << 20);
    fs::write(input.join(Pile::name(0, N_TIMES)), &whole).unwrap();
    refused_as_changed(folder.path(), &stitch(), &[&Pile::name(0, N_TIMES)]);
}

// Two runs.

/// Two that take over from a dead one at once, with locks and without: one output, and it is right.
#[test]
fn two_take_over_from_a_dead_run() {
    let folder = raw();
    let folder = folder.path();
    let expected = undisturbed(folder, &stitch(), "out.zarr");
    for locks in [true, false] {
        for _ in 0..n_kills() {
            interrupted(folder, &stitch(), Signal::KILL, expected.bytes / 2);
            let start = || {
                let mut command = program(folder, &stitch());
                if !locks {
                    probe::without_locks(&mut command, libc::ENOSYS);
                }
                command.spawn()
            };
            let (Ok(one), Ok(two)) = (start(), start()) else {
                return skipped("system calls cannot be made to fail here");
            };
            let ends = [one, two].map(|child| told(&child.wait_with_output().unwrap()));
            assert!(ends.iter().any(|e| e.0 == 0), "{ends:?}");
            assert!(ends.iter().all(|e| [0, 1, 2].contains(&e.0)), "{ends:?}");
            assert!(files(&folder.join("out.zarr")) == expected.files, "locks {locks}: {ends:?}");
            assert_eq!(names(folder), ["out.zarr", "raw"], "{ends:?}");
            remove(&folder.join("out.zarr"));
        }
    }
}

// What changes while it is read.

/// Starts a run and stops it when `bytes` are there; `change` is made before it goes on. Gives code and message.
fn changed_under(folder: &Path, arguments: &[&str], bytes: u64, change: impl FnOnce()) -> (i32, String) {
    let names = names(folder);
    let known: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name.ends_with(".partial")).collect();
    // What an earlier run has left goes first.
    let _ = fs::remove_dir_all(folder.join(".out.zarr.partial"));
    changed_when(folder, arguments, || begun_bytes(folder, &known) >= bytes, change)
}

/// The same, stopped when it `is_time`.
fn changed_when(folder: &Path, arguments: &[&str], is_time: impl Fn() -> bool, change: impl FnOnce()) -> (i32, String) {
    let child = program(folder, arguments).spawn().unwrap();
    stop_when(&child, is_time);
    change();
    send(&child, Signal::CONT);
    let (code, _, text) = told(&child.wait_with_output().unwrap());
    (code, text)
}

/// A file that changes under a run is named, and pixels of two versions never get the output's name.
#[test]
fn inputs_that_change_under_a_run_are_named() {
    let folder = raw();
    let folder = folder.path();
    let input = folder.join("raw").join(Pile::name(0, N_TIMES - 2));
    let (whole, time) = (fs::read(&input).unwrap(), fs::metadata(&input).unwrap().modified().unwrap());
    let other: Vec<u8> = whole.iter().map(|b| b ^ 1).collect();
    let open = || OpenOptions::new().write(true).open(&input).unwrap();
    let replace = || {
        fs::write(folder.join("raw/new"), &whole).unwrap();
        fs::rename(folder.join("raw/new"), &input).unwrap();
        open().set_modified(time).unwrap();
    };
    let rewrite = || {
        let mut file = open();
        file.seek(SeekFrom::Start(8192)).unwrap();
        file.write_all(&other[8192..90_000]).unwrap();
    };
    let grow = || OpenOptions::new().append(true).open(&input).unwrap().write_all(b"more").unwrap();
    let cut = || open().set_len(100_000).unwrap();
    let changes: [(&str, &dyn Fn()); 5] = [
        ("replaced, with its old time", &replace),
        ("rewritten", &rewrite),
        ("grown", &grow),
        ("cut", &cut),
        ("removed", &|| fs::remove_file(&input).unwrap()),
    ];
    for (what, change) in changes {
        let anew = [&stitch()[..], &["--restart"]].concat();
        let (code, text) = changed_under(folder, &anew, 1 << 20, change);
        assert!(code == 1 && text.contains(&Pile::name(0, N_TIMES - 2)), "{what}: {code}: {text}");
        assert!(!folder.join("out.zarr").exists() && !text.contains("panicked"), "{what}");
        fs::write(&input, &whole).unwrap();
        open().set_modified(time).unwrap();
    }
    succeeds(folder, &[&stitch()[..], &["--restart"]].concat());
    // So is a chunk of a Zarr.
    let copy =
        ["stitch", "out.zarr", "-o", "copy.zarr", SLOWLY[0], SLOWLY[1], SLOWLY[2], SLOWLY[3], "--shards", "none"];
    let chunk = folder.join(format!("out.zarr/0/c/{}/0/3/3/3", N_TIMES - 1));
    assert!(chunk.exists());
    let (code, text) = changed_under(folder, &copy, 512 << 10, || fs::remove_file(&chunk).unwrap());
    assert!(code == 1 && text.contains("out.zarr") && text.contains("changed"), "{code}: {text}");
    assert!(!folder.join("copy.zarr").exists());
}

/// Of sums over all rows nothing that is made of two versions gets a name, and what was summed up of one is not gone on
/// with by the other.
#[test]
fn inputs_that_change_under_sums_are_named() {
    // Of less all is read before it can be changed.
    let folder = raw_of(&Pile { z: 8, ..pile() });
    let folder = folder.path();
    let input = folder.join("raw").join(Pile::name(0, N_TIMES - 2));
    let whole = fs::read(&input).unwrap();
    let mut other = whole.clone();
    other[8192..90_000].iter_mut().for_each(|b| *b ^= 1);
    let rewrite = || fs::write(&input, &other).unwrap();
    let remove_it = || fs::remove_file(&input).unwrap();
    let made = || -> Vec<String> { names(folder).into_iter().filter(|name| !name.starts_with('.')).collect() };
    for (verb, rest) in [SUMS[0], SUMS[3]] {
        let arguments = [&[verb], &INPUT[..], rest].concat();
        let mut kept: Vec<String> = Vec::new();
        for change in [&remove_it as &dyn Fn(), &rewrite] {
            fs::write(&input, &whole).unwrap();
            let (code, text) = changed_when(folder, &arguments, || has_kept(folder), change);
            assert!(code == 1 && text.contains(&Pile::name(0, N_TIMES - 2)), "{verb}: {code}: {text}");
            assert_eq!(made(), ["raw"], "{verb}: {text}");
            kept = names(folder).into_iter().filter(|name| name.starts_with('.')).collect();
            kept.iter().for_each(|name| fs::rename(folder.join(name), folder.join("raw").join(name)).unwrap());
        }
        // What is there of one version is not believed of the other.
        kept.iter().for_each(|name| fs::rename(folder.join("raw").join(name), folder.join(name)).unwrap());
        succeeds(folder, &arguments);
        let gone_on = files(folder);
        made().iter().filter(|name| *name != "raw").for_each(|name| remove(&folder.join(name)));
        succeeds(folder, &arguments);
        assert!(files(folder) == gone_on, "{verb}");
        assert!(names(folder).iter().all(|name| !name.starts_with('.')), "{:?}", names(folder));
        made().iter().filter(|name| *name != "raw").for_each(|name| remove(&folder.join(name)));
    }
}

/// What a run that was killed could not read stands in the record of the one that ended its work.
#[test]
fn losses_of_killed_runs_are_recorded() {
    let folder = raw();
    let folder = folder.path();
    // The first strip of the first file is no zlib stream.
    let mut bad = Layout { compression: 8, ..pile().layout }.write(&pile().pages(0, 0));
    let strips = tiff::entry(&bad, 0, 273) + 8;
    let n_strips = tiff::u32_at(&bad, strips - 4);
    let strip = if n_strips == 1 { strips } else { tiff::u32_at(&bad, strips) };
    let strip = tiff::u32_at(&bad, strip);
    bad[strip..strip + 40].fill(0xff);
    fs::write(folder.join("raw").join(Pile::name(0, 0)), bad).unwrap();
    let arguments = [&stitch()[..], &["--skip-bad", "--missing", "fill", "--threads", "1"]].concat();
    let losses = || {
        let text = fs::read(folder.join("out.zarr/zarr.json")).unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(&text).unwrap();
        metadata["attributes"]["stackctl"]["losses"].clone()
    };
    succeeds(folder, &arguments);
    let whole = losses();
    assert!(whole.to_string().contains(&Pile::name(0, 0)), "{whole}");
    remove(&folder.join("out.zarr"));
    interrupted(folder, &arguments, Signal::KILL, 2 << 20);
    succeeds(folder, &arguments);
    assert_eq!(losses(), whole);
}

/// Number of the allocator's arenas beside the first: each keeps 64 MiB that begin at a multiple of that, of which what is
/// not in use yet may not be touched.
fn n_further_arenas(process: &Path) -> usize {
    const RESERVED: u64 = 64 << 20;
    let maps = fs::read_to_string(process.join("maps")).unwrap_or_default();
    let ranges: Vec<(u64, u64, &str)> = maps
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (from, to) = words.next()?.split_once('-')?;
            Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?, words.next()?))
        })
        .collect();
    let is_arena = |pair: &&[(u64, u64, &str)]| {
        let ((from, used, _), (free, to, access)) = (pair[0], pair[1]);
        from % RESERVED == 0 && used == free && to - from == RESERVED && access == "---p"
    };
    ranges.windows(2).filter(is_arena).count()
}

/// Little address space: a whole output, or a message that says which limit it is, and nothing else. The allocator keeps to
/// one arena then.
#[test]
fn little_address_space_ends_in_a_message() {
    let folder = raw();
    let folder = folder.path();
    let expected = undisturbed(folder, &stitch(), "out.zarr");
    let mut n_done = 0;
    let under = |limit: &str| {
        let line = format!("ulimit -v {limit}; exec \"$0\" \"$@\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line, env!("CARGO_BIN_EXE_stackctl")]).args(stitch()).current_dir(folder);
        shell.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut n_arenas = 0;
        let run = watched(&mut shell, |process| n_arenas = n_further_arenas(process).max(n_arenas));
        let (code, _, text) = told(&run);
        (code, text, n_arenas)
    };
    assert_eq!(under("unlimited").2, 1, "arenas beside the first");
    remove(&folder.join("out.zarr"));
    for mib in [80, 100, 120, 160, 200, 250, 300, 400, 500, 700, 1000, 2000, 4000] {
        let (code, text, n_arenas) = under(&(mib << 10).to_string());
        let is_told = ["address space", "--memory"].iter().any(|word| text.contains(word));
        assert!(code == 0 || [1, 2].contains(&code) && is_told, "{mib} MiB: {code}: {text}");
        assert_eq!(folder.join("out.zarr").exists(), code == 0, "{mib} MiB: {text}");
        assert_eq!(n_arenas, 0, "{mib} MiB: arenas beside the first");
        if code == 0 {
            n_done += 1;
            assert!(files(&folder.join("out.zarr")) == expected.files, "{mib} MiB");
            remove(&folder.join("out.zarr"));
        }
    }
    assert!(n_done > 0);
    succeeds(folder, &stitch());
}
