//! Plans that many processes do: shares and ranks, killed anywhere and done again, come to the bytes of one run.
//!
//! `STACKCTL_KILLS` sets how many rounds of kills a job lives through.

#![cfg(target_os = "linux")]

use crate::common::tempdir;
use crate::common::{self, pile, probe, run, tiff};
mod mpi;
mod recipes;
mod slurm;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use pile::{PATTERN, Pile, files};
use probe::{Opens, alive, program, send, told};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tiff::{Layout, Numbers};

type Env<'a> = &'a [(&'a str, &'a str)];

/// The program in `folder`, with nothing of a scheduler or launcher in its environment but `env`.
fn command(folder: &Path, env: Env<'_>, arguments: &[&str]) -> std::process::Command {
    let mut command = program(folder, arguments);
    let known = ["SLURM_", "OMPI_", "PMI", "PBS_", "LSB_", "SGE_", "STACKCTL_SHARD"];
    let is_known = |name: &str| name != "SLURM_CONF" && known.iter().any(|k| name.starts_with(k));
    for (name, _) in std::env::vars().filter(|(name, _)| is_known(name)) {
        command.env_remove(name);
    }
    command.envs(env.iter().copied());
    command
}

fn ran(folder: &Path, env: Env<'_>, arguments: &[&str]) -> (i32, String, String) {
    told(&command(folder, env, arguments).output().unwrap())
}

fn succeeds(folder: &Path, env: Env<'_>, arguments: &[&str]) -> String {
    let (code, out, err) = ran(folder, env, arguments);
    assert_eq!(code, 0, "{env:?} {arguments:?}: {err}");
    out
}

fn refused(folder: &Path, code: i32, arguments: &[&str]) -> String {
    let (found, _, err) = ran(folder, &[], arguments);
    assert_eq!(found, code, "{arguments:?}: {err}");
    err
}

/// A folder with a pile of 4 MiB in `raw`, of several units whatever it becomes.
fn raw() -> TempDir {
    let folder = tempdir().unwrap();
    let layout = Layout { width: 256, height: 128, bits: 16, rows_per_strip: Some(32), ..Layout::default() };
    Pile { holes: vec![(1, 3)], ..Pile::new(2, 4, 8, layout) }.write(&folder.path().join("raw"));
    folder
}

const INPUT: [&str; 8] = ["raw", "--pattern", PATTERN, "--missing", "fill", "--memory", "64M", "-q"];

/// Small chunks and a slow codec, so that a run has many middles.
const STITCH: [&str; 9] =
    ["stitch", "-o", "out.zarr", "--chunks", "1,1,2,64,64", "--shards", "1,1,8,128,128", "--codec", "zstd:15"];

/// Needs numbers of the whole array, one of which needs another.
const MASK: &str = "(a - mean(a)) / std(a - mean(a)) > 1";

/// Jobs, with the name of the plan and those of what they make.
fn jobs() -> Vec<(Vec<&'static str>, &'static str, Vec<&'static str>)> {
    let reduce = |op: &'static str, axis: &'static str, output: &'static str| {
        vec!["reduce", "--op", op, "--axis", axis, "-o", output]
    };
    vec![
        ([&STITCH[..], &["--levels", "3"]].concat(), "out.zarr", vec!["out.zarr"]),
        (vec!["convert", "-o", "out.npy"], "out.npy", vec!["out.npy"]),
        (reduce("median", "t", "out.zarr"), "out.zarr", vec!["out.zarr"]),
        (reduce("sum,std", "t,z,y,x", "out_{op}.npy"), "out_{op}.npy", vec!["out_sum.npy", "out_std.npy"]),
        (vec!["calc", "a - mean(a, t)", "-o", "out.zarr", "--chunks", "1,1,8,64,64"], "out.zarr", vec!["out.zarr"]),
        (vec!["calc", MASK, "-o", "out.zarr", "--chunks", "1,1,8,64,64"], "out.zarr", vec!["out.zarr"]),
    ]
}

fn whole<'a>(job: &[&'a str]) -> Vec<&'a str> {
    [job, &INPUT].concat()
}

type Made = Vec<BTreeMap<PathBuf, Vec<u8>>>;

fn made(folder: &Path, outputs: &[&str]) -> Made {
    outputs.iter().map(|name| files(&folder.join(name))).collect()
}

/// What one process makes; nothing of it is left.
fn serial(folder: &Path, job: &[&str], outputs: &[&str]) -> Made {
    succeeds(folder, &[], &whole(job));
    let expected = made(folder, outputs);
    for path in outputs.iter().map(|name| folder.join(name)) {
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }
    expected
}

/// Writes down the plan of a job for `shares`; gives what is written.
fn planned(folder: &Path, shares: &str, job: &[&str]) -> Value {
    let job = whole(job);
    let out = succeeds(folder, &[], &[&["plan", "--shares", shares], &job[..], &["--json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

fn status(folder: &Path, output: &str) -> Value {
    serde_json::from_str(&succeeds(folder, &[], &["status", output, "--json"])).unwrap()
}

/// The numbers of a list such as `3,7,12-15`.
fn numbers(list: &str) -> Vec<u64> {
    let range = |word: &str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        first.parse::<u64>().unwrap()..=last.parse().unwrap()
    };
    list.trim().split(',').filter(|word| !word.is_empty()).flat_map(range).collect()
}

fn finalized(folder: &Path, output: &str, outputs: &[&str], expected: &Made, what: &str) {
    succeeds(folder, &[], &["finalize", output, "-q"]);
    assert!(made(folder, outputs) == *expected, "{what}: other bytes than one process makes");
    let left = run::names(folder).into_iter().filter(|name| name.starts_with('.')).collect::<Vec<_>>();
    assert!(left.is_empty(), "{what}: {left:?} are left");
}

fn wait(children: Vec<Child>) {
    for child in children {
        let (code, _, err) = told(&child.wait_with_output().unwrap());
        assert_eq!(code, 0, "{err}");
    }
}

/// What an expression needs of the whole array is computed by one of its shares, and the last run takes it along.
#[test]
fn reductions_within_are_computed_once() {
    let folder = raw();
    let folder = folder.path();
    let mut job = whole(&["calc", MASK, "-o", "out.zarr", "--chunks", "1,1,8,64,64"]);
    job.retain(|word| *word != "-q");
    let expected = serial(folder, &["calc", MASK, "-o", "out.zarr", "--chunks", "1,1,8,64,64"], &["out.zarr"]);
    let share = |share: &str| command(folder, &[], &[&job[..], &["--share", share]].concat());
    let piped = |mut command: std::process::Command| command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let shares: Vec<Child> = ["0/3", "1/3", "2/3"].map(|n| piped(share(n))).into_iter().collect();
    let mut said: Vec<String> = shares
        .into_iter()
        .map(|child| {
            let (code, _, err) = told(&child.wait_with_output().unwrap());
            assert_eq!(code, 0, "{err}");
            err
        })
        .collect();
    let (code, _, err) = ran(folder, &[], &job);
    assert_eq!(code, 0, "{err}");
    said.push(err);
    let n = |what: &str| said.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with(what)).count();
    assert_eq!((n("first mean(a), from"), n("first std(")), (1, 1), "{said:?}");
    assert!(said[3].contains("as another share has computed it"), "{said:?}");
    assert!(made(folder, &["out.zarr"]) == expected);
    assert_eq!(run::names(folder), ["out.zarr", "raw"]);
}

/// The same document for the same command, and what differs is told.
#[test]
fn a_plan_is_written_once() {
    let folder = raw();
    let folder = folder.path();
    let written = || fs::read(folder.join(".out.zarr.partial/plan.json")).unwrap();
    let document = planned(folder, "8", &STITCH);
    let first = written();
    assert_eq!(serde_json::from_slice::<Value>(&first).unwrap(), document);
    assert_eq!((&document["shares"], &document["units"]), (&8.into(), &8.into()), "{document}");
    assert!(!folder.join("out.zarr").exists());
    planned(folder, "8", &STITCH);
    assert_eq!(written(), first);
    let with = |more: &[&'static str]| [more, &whole(&STITCH)[..]].concat();
    let fewer = refused(folder, 2, &with(&["plan", "--shares", "4"]));
    assert!(fewer.contains("shares: was 8, is 4"), "{fewer}");
    let other = refused(folder, 2, &[&with(&["plan", "--shares", "8"])[..], &["--coordinates"]].concat());
    assert!(other.contains("coordinates"), "{other}");
    assert_eq!(written(), first, "refused plans change nothing");
    succeeds(folder, &[], &with(&["plan", "--shares", "4"]).into_iter().chain(["--restart"]).collect::<Vec<_>>());
    assert_eq!(status(folder, "out.zarr")["shares"], 4);
    succeeds(folder, &[], &with(&["plan", "--shares", "4"]));
}

#[test]
fn what_cannot_be_planned_is_refused() {
    let folder = raw();
    let folder = folder.path();
    let stitch = whole(&STITCH);
    let plan = |more: &[&str], code: i32, says: &str| {
        let text = refused(folder, code, &[&["plan"], more].concat());
        assert!(text.contains(says), "{more:?}: {text}");
    };
    plan(&["inspect", "raw"], 2, "stitch, convert, reduce and calc");
    plan(&["stitch", "raw", "--no-such-flag"], 2, "--no-such-flag");
    plan(&[&stitch[..], &["--share", "0/2"]].concat(), 2, "--share");
    plan(&[&stitch[..], &["--files-from", "-"]].concat(), 2, "--files-from -");
    plan(&[&["reduce", "--op", "max"], &INPUT[..]].concat(), 2, "shared out");
    plan(&[&stitch[..], &["--mip", "z"]].concat(), 1, "--mip");
    assert_eq!(run::names(folder), ["raw"], "nothing is left of it");
}

#[test]
fn what_no_plan_is_for_is_refused() {
    let folder = raw();
    let folder = folder.path();
    for command in ["run", "finalize", "status"] {
        let text = refused(folder, 2, &[command, "out.zarr"]);
        assert!(text.contains("stackctl plan"), "{command}: {text}");
    }
    planned(folder, "8", &STITCH);
    for wrong in ["8", "3/4", "x"] {
        refused(folder, 2, &["run", "out.zarr", "--share", wrong]);
    }
    let past = told(&command(folder, &[("SLURM_ARRAY_TASK_ID", "8")], &["run", "out.zarr"]).output().unwrap());
    assert!(past.0 == 2 && past.2.contains("SLURM_ARRAY_TASK_ID") && past.2.contains("no share 8 of 8"), "{past:?}");
    let half = told(&command(folder, &[("PMI_RANK", "1")], &["run", "out.zarr"]).output().unwrap());
    assert!(half.0 == 2 && half.2.contains("PMI_SIZE"), "{half:?}");
    let gaps = refused(folder, 3, &["finalize", "out.zarr"]);
    assert!(gaps.contains("8 of 8 units") && gaps.contains("shares 0-7"), "{gaps}");
    assert!(!folder.join("out.zarr").exists());
}

#[test]
fn an_array_of_jobs_makes_what_one_process_makes() {
    for (job, name, outputs) in jobs() {
        let folder = raw();
        let folder = folder.path();
        let expected = serial(folder, &job, &outputs);
        planned(folder, "5", &job);
        for index in ["4", "0", "2", "1"] {
            succeeds(folder, &[("SLURM_ARRAY_TASK_ID", index), ("SLURM_ARRAY_TASK_COUNT", "1")], &["run", name, "-q"]);
        }
        let found = status(folder, name);
        let n = found["units"].as_u64().unwrap();
        let of_3 = (0..n).filter(|unit| unit % 5 == 3).count() as u64;
        assert_eq!(found["units_done"], n - of_3, "{job:?}: {found}");
        assert_eq!(found["missing_shares"], if of_3 > 0 { "3" } else { "" }, "{job:?}");
        // An array of SGE begins at 1, and this one is done from another folder.
        succeeds(&folder.join("raw"), &[("SGE_TASK_ID", "4")], &["run", &format!("../{name}"), "-q"]);
        assert_eq!(succeeds(folder, &[], &["status", name, "--array"]).trim(), "");
        // What has nothing to do opens nothing.
        fs::rename(folder.join("raw"), folder.join("away")).unwrap();
        succeeds(folder, &[("SLURM_ARRAY_TASK_ID", "2")], &["run", name, "-q"]);
        fs::rename(folder.join("away"), folder.join("raw")).unwrap();
        finalized(folder, name, &outputs, &expected, &format!("{job:?}"));
        for again in ["run", "finalize", "status"] {
            succeeds(folder, &[], &[again, name]);
        }
        assert_eq!(succeeds(folder, &[], &["status", name, "--array"]), "");
    }
}

#[test]
fn ranks_divide_shares() {
    let folder = raw();
    let folder = folder.path();
    let expected = serial(folder, &STITCH, &["out.zarr"]);
    let started = |env: Env<'_>| command(folder, env, &["run", "out.zarr", "-q"]).spawn().unwrap();
    planned(folder, "2", &STITCH);
    let rank = ["0", "1", "2"];
    wait(
        rank.iter()
            .map(|rank| started(&[("SLURM_ARRAY_TASK_ID", "1"), ("PMI_RANK", rank), ("PMI_SIZE", "3")]))
            .collect(),
    );
    assert_eq!(status(folder, "out.zarr")["missing_units"], "0,2,4,6");
    let mpi = |rank| started(&[("OMPI_COMM_WORLD_RANK", rank), ("OMPI_COMM_WORLD_SIZE", "3"), ("SLURM_PROCID", "0")]);
    wait(rank.into_iter().map(mpi).collect());
    finalized(folder, "out.zarr", &["out.zarr"], &expected, "ranks");
}

/// Two processes that both do everything.
#[test]
fn the_same_plan_twice_at_once_is_harmless() {
    for (job, name, outputs) in jobs() {
        let folder = raw();
        let folder = folder.path();
        let expected = serial(folder, &job, &outputs);
        planned(folder, "2", &job);
        let all = || command(folder, &[], &["run", name, "-q"]).spawn().unwrap();
        wait(vec![all(), all()]);
        finalized(folder, name, &outputs, &expected, &format!("{job:?} twice"));
    }
}

fn n_rounds() -> usize {
    std::env::var("STACKCTL_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

/// Processes of an array are killed at any moment, and only what `status` lists is done again.
#[test]
fn processes_that_are_killed() {
    let (mut random, mut n_killed) = (Numbers(7), 0);
    for (job, name, outputs) in jobs() {
        let folder = raw();
        let folder = folder.path();
        let expected = serial(folder, &job, &outputs);
        planned(folder, "6", &job);
        for round in 0.. {
            let missing = numbers(&succeeds(folder, &[], &["status", name, "--array"]));
            if missing.is_empty() {
                break;
            }
            assert!(round < 100, "{job:?}: shares {missing:?} are never done");
            let start = |share: u64| {
                command(folder, &[("SLURM_ARRAY_TASK_ID", &share.to_string())], &["run", name, "-q"]).spawn().unwrap()
            };
            let mut children: Vec<Child> = missing.into_iter().map(start).collect();
            for child in &mut children {
                std::thread::sleep(Duration::from_millis(random.below(40)));
                if round < n_rounds() && random.below(4) > 0 && alive(child) {
                    send(child, Signal::KILL);
                    n_killed += 1;
                }
            }
            children.into_iter().for_each(|child| drop(child.wait_with_output().unwrap()));
        }
        finalized(folder, name, &outputs, &expected, &format!("{job:?}, {n_killed} killed"));
    }
    assert!(n_killed > 0, "nothing was killed");
}

/// A process that stops in time says so, and a loop of such ends.
#[test]
fn a_deadline_stops_and_the_next_goes_on() {
    let folder = raw();
    let folder = folder.path();
    let expected = serial(folder, &STITCH, &["out.zarr"]);
    planned(folder, "1", &STITCH);
    let mut codes = Vec::new();
    while codes.last() != Some(&0) {
        assert!(codes.len() < 200, "{codes:?}");
        // A longer time after each, so that any machine comes to an end.
        let deadline = format!("{}s", 0.05 * (codes.len() + 1) as f64);
        let (code, _, err) = ran(folder, &[], &["run", "out.zarr", "--deadline", &deadline, "--threads", "1"]);
        assert!(matches!(code, 0 | 75), "{code}: {err}");
        assert!(code == 0 || err.contains("stackctl run out.zarr"), "{err}");
        codes.push(code);
    }
    assert!(codes.len() > 1, "nothing was stopped");
    finalized(folder, "out.zarr", &["out.zarr"], &expected, "deadlines");
}

/// An input that has changed since is found out by who reads it, before it is read, and by who puts all together.
#[test]
fn inputs_are_those_of_the_plan() {
    let folder = raw();
    let folder = folder.path();
    planned(folder, "4", &STITCH);
    let one = folder.join("raw").join(Pile::name(0, 0));
    fs::write(folder.join("copy"), fs::read(&one).unwrap()).unwrap();
    fs::rename(folder.join("copy"), &one).unwrap();
    let refusal = |words: &[&str]| {
        let text = refused(folder, 2, words);
        assert!(text.contains(&Pile::name(0, 0)) && text.contains("--restart"), "{text}");
    };
    refusal(&["run", "out.zarr", "--share", "0"]);
    assert_eq!(status(folder, "out.zarr")["failed_units"], serde_json::json!([]));
    for share in ["1", "2", "3"] {
        succeeds(folder, &[], &["run", "out.zarr", "--share", share, "-q"]);
    }
    refusal(&["run", "out.zarr"]);
    fs::remove_file(&one).unwrap();
    refusal(&["run", "out.zarr"]);
}

/// A plan is of the files that there were: those that come later change nothing, unless it is planned again.
#[test]
fn files_that_come_later_are_not_in_it() {
    let folder = raw();
    let folder = folder.path();
    let expected = serial(folder, &STITCH, &["out.zarr"]);
    planned(folder, "2", &STITCH);
    fs::copy(folder.join("raw").join(Pile::name(0, 0)), folder.join("raw").join(Pile::name(0, 9))).unwrap();
    let again = refused(folder, 2, &[&["plan", "--shares", "2"], &whole(&STITCH)[..]].concat());
    assert!(again.contains("was 4, is 10"), "{again}");
    succeeds(folder, &[], &["run", "out.zarr", "-q"]);
    finalized(folder, "out.zarr", &["out.zarr"], &expected, "another file");
}

/// Loses pixels of a file behind a header that is whole.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let strips = tiff::entry(&bytes, 0, 273) + 8;
    let strip = if tiff::u32_at(&bytes, strips - 4) == 1 { strips } else { tiff::u32_at(&bytes, strips) };
    let strip = tiff::u32_at(&bytes, strip);
    bytes[strip..strip + 20].fill(0xff);
    fs::write(path, bytes).unwrap();
}

/// What cannot be read is tried so often and no more; the rest is done, and loops end.
#[test]
fn units_that_fail_are_given_up() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let layout = Layout { width: 64, height: 32, bits: 16, compression: 8, ..Layout::default() };
    Pile::new(2, 4, 8, layout).write(&folder.join("raw"));
    let expected = serial(folder, &STITCH, &["out.zarr"]);
    let path = folder.join("raw").join(Pile::name(1, 2));
    let (bytes, time) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
    damage(&path);
    planned(folder, "4", &STITCH);
    let missing = || numbers(&succeeds(folder, &[], &["status", "out.zarr", "--array"]));
    let mut codes = Vec::new();
    while let missing @ [_, ..] = &missing()[..] {
        assert!(codes.len() < 20, "shares {missing:?} are tried for ever");
        codes.extend(
            missing.iter().map(|share| ran(folder, &[], &["run", "out.zarr", "--share", &share.to_string(), "-q"]).0),
        );
    }
    codes.sort_unstable();
    assert_eq!(codes, [0, 0, 0, 1]);
    let found = status(folder, "out.zarr");
    let failed = &found["failed_units"][0];
    assert!(failed["times"] == 3 && failed["why"].as_str().unwrap().contains(&Pile::name(1, 2)), "{found}");
    assert_eq!((&found["units_done"], &found["missing_units"]), (&3.into(), &"".into()), "{found}");
    let text = succeeds(folder, &[], &["status", "out.zarr"]);
    assert!(text.contains("has failed 3 times") && text.contains("--retries"), "{text}");
    assert!(!succeeds(folder, &[], &["submit", "out.zarr", "--slurm"]).contains("--array"));
    assert!(refused(folder, 3, &["finalize", "out.zarr"]).contains("1 unit failed"));
    assert!(refused(folder, 1, &["run", "out.zarr", "-q"]).contains("will not be tried again"));
    assert!(refused(folder, 1, &["run", "out.zarr", "-q", "--retries", "4"]).contains("4 times"));
    fs::write(&path, bytes).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let again = [&["plan", "--shares", "4"], &whole(&STITCH)[..], &["--restart"]].concat();
    succeeds(folder, &[], &again);
    succeeds(folder, &[], &["run", "out.zarr", "-q"]);
    finalized(folder, "out.zarr", &["out.zarr"], &expected, "mended");
}

/// Who goes by a plan opens the files whose pixels it reads, once, and needs no others; who puts all together opens none.
#[test]
fn a_share_knows_its_own_files_alone() {
    let folder = raw();
    let folder = folder.path();
    let expected = serial(folder, &STITCH, &["out.zarr"]);
    planned(folder, "8", &STITCH);
    let opened = |arguments: &[&str]| {
        let opens = Opens::of(&folder.join("raw"));
        succeeds(folder, &[], arguments);
        opens.counts()
    };
    let mut all: BTreeMap<String, &str> = BTreeMap::new();
    let shares = ["0", "1", "2", "3", "4", "5", "6", "7"];
    for share in shares {
        for (name, n) in opened(&["run", "out.zarr", "--share", share, "-q"]) {
            assert!(n == 1 && all.insert(name.clone(), share).is_none(), "{name}: {n} times by share {share}: {all:?}");
        }
    }
    assert_eq!(all.len(), 7, "{all:?}");
    assert_eq!(opened(&["finalize", "out.zarr", "-q"]), BTreeMap::new());
    assert!(made(folder, &["out.zarr"]) == expected);
    // All but its own files are away.
    fs::remove_dir_all(folder.join("out.zarr")).unwrap();
    planned(folder, "8", &STITCH);
    let (raw, away) = (folder.join("raw"), folder.join("away"));
    fs::rename(&raw, &away).unwrap();
    for share in shares {
        fs::create_dir(&raw).unwrap();
        for (name, _) in all.iter().filter(|(_, of)| **of == share) {
            std::os::unix::fs::symlink(away.join(name), raw.join(name)).unwrap();
        }
        succeeds(folder, &[], &["run", "out.zarr", "--share", share, "-q"]);
        fs::remove_dir_all(&raw).unwrap();
    }
    fs::rename(&away, &raw).unwrap();
    finalized(folder, "out.zarr", &["out.zarr"], &expected, "files of others away");
}

/// Arrays that were made by separate jobs, of unequal lengths, become one.
#[test]
fn arrays_of_separate_jobs_are_joined() {
    let folder = raw();
    let folder = folder.path();
    let part = |select: &str, output: &str| {
        let words =
            ["stitch", "--select", select, "-o", output, "raw", "--pattern", PATTERN, "--missing", "fill", "-q"];
        succeeds(folder, &[], &words);
    };
    part("t=0:3", "part_t0.zarr");
    part("t=3:4", "part_t1.zarr");
    part("t=:", "whole.zarr");
    let names = ["part_t0.zarr", "part_t1.zarr", "--pattern", "part_t{t}", "--pages", "t"];
    succeeds(folder, &[], &[&["stitch", "-o", "joined.zarr", "-q"], &names[..]].concat());
    assert_eq!(run::read_zarr(&folder.join("joined.zarr")), run::read_zarr(&folder.join("whole.zarr")));
    let untold = refused(folder, 2, &[&["stitch", "-o", "other.zarr", "-q"], &names[..4]].concat());
    assert!(untold.contains("--pages t"), "{untold}");
}

/// What is left of a process that was killed on another machine looks alive for a minute: `finalize` waits.
#[test]
fn finalize_waits_for_shares_that_may_be_at_work() {
    let folder = raw();
    let folder = folder.path();
    let expected = serial(folder, &STITCH, &["out.zarr"]);
    planned(folder, "1", &STITCH);
    succeeds(folder, &[], &["run", "out.zarr", "-q"]);
    let lock = folder.join(".out.zarr.partial/lock.share.elsewhere");
    let owner = r#"{"host":"elsewhere","place":"another boot","pid":1,"start":1,"since_s":1,"free":false}"#;
    fs::write(&lock, owner).unwrap();
    let mut waiting = command(folder, &[], &["finalize", "out.zarr", "-q"]).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(alive(&mut waiting) && !folder.join("out.zarr").exists());
    fs::remove_file(&lock).unwrap();
    let (code, _, err) = told(&waiting.wait_with_output().unwrap());
    assert_eq!(code, 0, "{err}");
    assert!(made(folder, &["out.zarr"]) == expected);
}

/// One plan for each value of a field, each run by its name.
#[test]
fn outputs_by_a_field_have_plans_of_their_own() {
    let folder = raw();
    let folder = folder.path();
    let job = ["stitch", "--by", "c", "-o", "c{c}.zarr", "--codec", "none"];
    let outputs = ["c0.zarr", "c1.zarr"];
    let expected = serial(folder, &job, &outputs);
    succeeds(folder, &[], &[&["plan", "--shares", "3"], &whole(&job)[..]].concat());
    succeeds(folder, &[], &["run", "c0.zarr", "-q"]);
    assert_eq!(status(folder, "c0.zarr")["missing_shares"], "");
    assert_eq!(status(folder, "c1.zarr")["units_done"], 0);
    succeeds(folder, &[], &["run", "c1.zarr", "-q"]);
    succeeds(folder, &[], &["finalize", "c1.zarr", "-q"]);
    assert!(!folder.join("c0.zarr").exists());
    finalized(folder, "c0.zarr", &outputs, &expected, "--by");
}

/// The output says by which command it was made, not by which it was put together.
#[test]
fn the_output_names_the_command_of_its_plan() {
    let folder = raw();
    let folder = folder.path();
    planned(folder, "1", &STITCH);
    succeeds(folder, &[], &["run", "out.zarr", "-q"]);
    succeeds(folder, &[], &["finalize", "out.zarr", "-q"]);
    let text = fs::read_to_string(folder.join("out.zarr/zarr.json")).unwrap();
    assert!(text.contains("\"stitch\"") && !text.contains("finalize"), "{text}");
    succeeds(folder, &[], &["verify", "out.zarr", "--deep", "-q"]);
}

/// What `place` prints is what a job of that kind would do.
#[test]
fn place_says_why() {
    let folder = raw();
    let folder = folder.path();
    planned(folder, "8", &STITCH);
    let text = succeeds(folder, &[("SLURM_ARRAY_TASK_ID", "3")], &["place", "out.zarr"]);
    assert!(
        text.starts_with("share 3 (SLURM_ARRAY_TASK_ID), alone: 1 of 8 units, from 3 on in steps of 8\n"),
        "{text}"
    );
    let env = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "4"), ("OMPI_COMM_WORLD_LOCAL_SIZE", "4")];
    let alone = succeeds(folder, &[("SLURM_MEM_PER_NODE", "64")], &["place"]);
    let among = succeeds(folder, &[&env[..], &[("SLURM_MEM_PER_NODE", "64")]].concat(), &["place"]);
    assert!(alone.contains("memory 32 MiB") || alone.contains("memory 32.0 MiB"), "{alone}");
    assert!(among.contains("rank 1 of 4 (Open MPI)") && among.contains("memory 8.0 MiB"), "{among}");
    let body = [("SLURM_JOB_ID", "1"), ("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")];
    assert!(succeeds(folder, &body, &["place"]).contains("srun"));
}

/// A process that may use less memory than the plan's tasks need says so before it is killed for it.
#[test]
fn too_little_memory_is_refused() {
    let folder = raw();
    let folder = folder.path();
    planned(folder, "8", &STITCH);
    let text = refused(folder, 2, &["run", "out.zarr", "--share", "0", "--memory", "20M"]);
    assert!(text.contains("one task of the plan needs"), "{text}");
}

/// The array that is submitted holds what is missing.
#[test]
fn submit_prints_what_is_missing() {
    let folder = raw();
    let folder = folder.path();
    planned(folder, "8", &STITCH);
    for done in ["0", "1", "4"] {
        succeeds(folder, &[], &["run", "out.zarr", "--share", done, "-q"]);
    }
    let text = succeeds(folder, &[], &["submit", "out.zarr", "--slurm", "--time", "90m", "--", "--partition=long"]);
    assert!(
        text.contains("--array=2-3,5-7 ") && text.contains("--time=90 ") && text.contains("--partition=long"),
        "{text}"
    );
}
