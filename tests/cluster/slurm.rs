//! Jobs of a real Slurm, if `STACKCTL_SLURM` is set and `SLURM_CONF` names one that answers. They take minutes, and one at
//! a time: nodes go down and jobs are put into the queue again.

use crate::common::tempdir;
use std::fs::File;
use std::process::Command;

use super::recipes::{recipe, search_path};
use super::*;

/// Holds the cluster for one test; `None`, saying so, if there is none.
fn cluster() -> Option<File> {
    let answers = || Command::new("scontrol").arg("ping").output().is_ok_and(|ping| ping.status.success());
    if std::env::var_os("STACKCTL_SLURM").is_none() || !answers() {
        common::skipped("set STACKCTL_SLURM=1, and SLURM_CONF to a Slurm that answers");
        return None;
    }
    let lock = File::create(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/slurm.lock")).unwrap();
    lock.lock().unwrap();
    Some(lock)
}

/// What a command of Slurm prints; it must go well.
fn slurm(folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new(words[0]);
    let (code, out, err) =
        told(&command.args(&words[1..]).current_dir(folder).env("PATH", search_path()).output().unwrap());
    assert_eq!(code, 0, "{words:?}: {out}{err}");
    out.trim().to_owned()
}

/// Whether a command of Slurm goes well.
fn works(folder: &Path, words: &[&str]) -> bool {
    Command::new(words[0]).args(&words[1..]).current_dir(folder).output().unwrap().status.success()
}

/// Tasks of a job that have not ended, with their states.
fn tasks(folder: &Path, job: &str) -> Vec<(String, String)> {
    let output = Command::new("squeue").args(["-h", "-r", "-j", job, "-o", "%i %T"]).current_dir(folder).output();
    let text = told(&output.unwrap()).1;
    let pair = |line: &str| line.split_once(' ').map(|(id, state)| (id.to_owned(), state.to_owned()));
    text.lines().filter_map(pair).collect()
}

fn patiently(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1800 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("{what}: never");
}

fn ended(folder: &Path, job: &str) {
    patiently("the job ends", || tasks(folder, job).is_empty());
}

/// Waits until a task runs and has done something; gives its name.
fn running(folder: &Path, job: &str) -> String {
    let mut found = None;
    patiently("a task runs", || {
        found = tasks(folder, job).into_iter().find(|(_, state)| state == "RUNNING").map(|(id, _)| id);
        found.is_some()
    });
    found.unwrap()
}

/// A folder with 24 MiB in `raw`, which takes a while to be compressed.
fn large() -> TempDir {
    let folder = tempdir().unwrap();
    let layout = Layout { width: 256, height: 256, bits: 16, ..Layout::default() };
    Pile::new(2, 12, 8, layout).write(&folder.path().join("raw"));
    folder
}

const SLOW: [&str; 9] =
    ["stitch", "-o", "out.zarr", "--chunks", "1,1,8,128,128", "--shards", "none", "--codec", "zstd:19"];

/// The job, what one process makes of it, and a plan for 8 shares.
fn prepared() -> (TempDir, Made) {
    let folder = large();
    let expected = serial(folder.path(), &SLOW, &["out.zarr"]);
    planned(folder.path(), "8", &SLOW);
    (folder, expected)
}

/// The shares that are missing, as a list.
fn missing(folder: &Path) -> String {
    succeeds(folder, &[], &["status", "out.zarr", "--array"]).trim().to_owned()
}

/// Submits an array of the recipe for shares that are missing, each with `more`.
fn submitted(folder: &Path, more: &[&str]) -> String {
    let (array, script) = (format!("--array={}", missing(folder)), recipe("array.sbatch"));
    slurm(folder, &[&["sbatch", "--parsable", "--mem=300M", &array, &script, "out.zarr"], more].concat())
}

/// Lets `disturb` happen to a task that runs; what is missing when the job has ended is submitted again, and the output is
/// that of one process. Gives that task, and what was missing.
fn survives(what: &str, disturb: impl FnOnce(&Path, &str)) -> (String, String) {
    let (folder, expected) = prepared();
    let folder = folder.path();
    let job = submitted(folder, &[]);
    let task = running(folder, &job);
    disturb(folder, &task);
    ended(folder, &job);
    let missing = missing(folder);
    if !missing.is_empty() {
        let again = submitted(folder, &[]);
        ended(folder, &again);
    }
    finalized(folder, "out.zarr", &["out.zarr"], &expected, what);
    (task, missing)
}

/// What the jobs have said.
fn said(folder: &Path) -> String {
    let logs = run::names(folder).into_iter().filter(|name| name.ends_with(".out"));
    logs.map(|name| fs::read_to_string(folder.join(name)).unwrap()).collect()
}

#[test]
fn an_array_that_submit_has_submitted() {
    let Some(_cluster) = cluster() else { return };
    let (folder, expected) = prepared();
    let folder = folder.path();
    succeeds(folder, &[], &["submit", "out.zarr", "--slurm", "--go", "--cpus", "1"]);
    patiently("the output has its name", || folder.join("out.zarr").exists());
    assert!(made(folder, &["out.zarr"]) == expected);
}

/// A task is killed, and only what `status` lists is submitted again.
#[test]
fn a_task_that_is_killed() {
    let Some(_cluster) = cluster() else { return };
    let kill = |folder: &Path, task: &str| drop(slurm(folder, &["scancel", "--full", "--signal=KILL", task]));
    let (task, missing) = survives("killed", kill);
    assert_eq!(Some(&missing[..]), task.rsplit('_').next(), "the share of the task {task} is missing, and no other");
}

#[test]
fn tasks_that_are_put_into_the_queue_again() {
    let Some(_cluster) = cluster() else { return };
    let requeue = |folder: &Path, task: &str| drop(slurm(folder, &["scontrol", "requeue", task]));
    assert_eq!(survives("requeued", requeue).1, "");
}

/// A node goes down under its tasks and comes back.
#[test]
fn a_node_that_goes_down() {
    let Some(_cluster) = cluster() else { return };
    survives("node down", |folder, task| {
        let node = format!("nodename={}", slurm(folder, &["squeue", "-h", "-j", task, "-o", "%N"]));
        slurm(folder, &["scontrol", "update", &node, "state=down", "reason=test"]);
        // It cannot before Slurm has taken it down.
        patiently("the node comes back", || works(folder, &["scontrol", "update", &node, "state=resume"]));
    });
}

/// A job of more weight takes the nodes, and gives them back.
#[test]
fn a_preempted_array() {
    let Some(_cluster) = cluster() else { return };
    if !slurm(Path::new("/"), &["sinfo", "-h", "-o", "%R"]).contains("high") {
        return common::skipped("no partition 'high'");
    }
    let preempt = |folder: &Path, _: &str| {
        let nodes = format!("--nodes={}", slurm(folder, &["sinfo", "-h", "-p", "high", "-o", "%D"]));
        let more = ["sbatch", "--parsable", "-p", "high", &nodes, "--exclusive", "--output=high.log", "--wrap=sleep 3"];
        ended(folder, &slurm(folder, &more));
    };
    assert_eq!(survives("preempted", preempt).1, "");
}

/// The processes of a job that are ranks of its step.
fn ranks(job: &str) -> Vec<(u64, u32)> {
    let rank = |entry: fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let link = fs::read_link(entry.path().join("exe")).ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let of = |name: &str| {
            let start = format!("{name}=");
            let found = environment.split(|b| *b == 0).find_map(|v| v.strip_prefix(start.as_bytes()))?;
            Some(String::from_utf8_lossy(found).into_owned())
        };
        let is_ours =
            link == Path::new(env!("CARGO_BIN_EXE_stackctl")).canonicalize().ok()? && of("SLURM_JOB_ID")? == job;
        Some((of("SLURM_PROCID")?.parse().ok()?, pid)).filter(|_| is_ours)
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(rank).collect()
}

/// One of four ranks is killed; the others end their part, and the next step does what is left.
#[test]
fn a_rank_that_is_killed() {
    let Some(_cluster) = cluster() else { return };
    let (folder, expected) = prepared();
    let folder = folder.path();
    let script = recipe("srun.sbatch");
    let submit = || slurm(folder, &["sbatch", "--parsable", &script, "out.zarr"]);
    let job = submit();
    let mut victim = None;
    patiently("rank 2 runs", || {
        victim = ranks(&job).into_iter().find(|(rank, _)| *rank == 2);
        victim.is_some()
    });
    let (_, pid) = victim.unwrap();
    let _ = Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status().unwrap();
    ended(folder, &job);
    let left = numbers(status(folder, "out.zarr")["missing_units"].as_str().unwrap());
    assert!(!left.is_empty() && left.iter().all(|unit| unit % 4 == 2), "units {left:?} are left of rank 2 of 4");
    let again = submit();
    ended(folder, &again);
    finalized(folder, "out.zarr", &["out.zarr"], &expected, "a rank killed");
}

/// The body of a batch script does everything, and says what was probably meant.
#[test]
fn a_script_without_srun() {
    let Some(_cluster) = cluster() else { return };
    let (folder, expected) = prepared();
    let folder = folder.path();
    let wait = ["sbatch", "--wait", "-n4", "--mem=300M", "--output=body.out", "--wrap=exec stackctl run out.zarr"];
    slurm(folder, &wait);
    assert!(said(folder).contains("srun"), "{}", said(folder));
    finalized(folder, "out.zarr", &["out.zarr"], &expected, "without srun");
}

/// A job of 100 MB on data of more: it stays within what the control group allows.
#[test]
fn a_job_of_little_memory() {
    let Some(_cluster) = cluster() else { return };
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let layout = Layout { width: 1024, height: 1024, bits: 16, ..Layout::default() };
    Pile::new(1, 8, 25, layout).write(&folder.join("raw"));
    let job = ["stitch", "-o", "out.zarr", "raw", "--pattern", PATTERN, "--codec", "none", "--levels", "none"];
    let plan = [&["plan", "--shares", "1"], &job[..], &["--memory", "48M"]].concat();
    succeeds(folder, &[], &plan);
    let wrap =
        ["sbatch", "--wait", "--mem=100M", "--output=small.out", "--wrap=stackctl place; exec stackctl run out.zarr"];
    slurm(folder, &wrap);
    let text = said(folder);
    assert!(text.contains("memory 50.0 MiB") || text.contains("memory 50 MiB"), "half of the job's memory: {text}");
    succeeds(folder, &[], &["finalize", "out.zarr", "-q"]);
    succeeds(folder, &[], &["verify", "out.zarr", "--deep", "-q"]);
}

/// A job that is told that its time will be over ends what it has in hand, and says that it is not done.
#[test]
fn a_job_that_is_told_to_stop() {
    let Some(_cluster) = cluster() else { return };
    let (folder, expected) = prepared();
    let folder = folder.path();
    let submit = || slurm(folder, &["sbatch", "--parsable", "--mem=300M", "--wrap=exec stackctl run out.zarr"]);
    let job = submit();
    patiently("a unit is done", || status(folder, "out.zarr")["units_done"] != 0);
    slurm(folder, &["scancel", "--batch", "--signal=USR1", &job]);
    ended(folder, &job);
    let told = slurm(folder, &["scontrol", "show", "job", &job]);
    assert!(told.contains(" ExitCode=75:0") && !missing(folder).is_empty(), "{told}");
    let again = submit();
    ended(folder, &again);
    finalized(folder, "out.zarr", &["out.zarr"], &expected, "told to stop");
}

/// Tasks stop before their time is over and put themselves into the queue until nothing is left.
#[test]
fn a_loop_of_short_jobs() {
    let Some(_cluster) = cluster() else { return };
    let (folder, expected) = prepared();
    let folder = folder.path();
    let job = submitted(folder, &["0.5s"]);
    ended(folder, &job);
    assert!(said(folder).contains("this goes on"), "none was stopped: {}", said(folder));
    finalized(folder, "out.zarr", &["out.zarr"], &expected, "a loop");
}
