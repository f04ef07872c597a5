//! A run as the system sees it: its peak, its threads, the files it opens, and calls that are made to fail.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Once};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;

/// The program in `folder`, free of the caller's terminal and scheduler, its streams caught.
pub(crate) fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stackctl"));
    command.current_dir(folder).args(arguments).env("NO_COLOR", "1");
    for name in ["SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "PBS_RESC_MEM", "COLUMNS"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    hear_hangups();
    command
}

/// Whoever runs the tests may have had them ignore that a terminal hangs up, which programs inherit; what is done about a
/// signal they do not. To set it between fork and exec would take a copy of the memory of all tests for each program.
fn hear_hangups() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: no handler is given.
        let before = unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
        if before == libc::SIG_IGN {
            signal_hook::flag::register(libc::SIGHUP, Arc::default()).unwrap();
        }
    });
}

/// Runs to the end; gives code (negative for a signal), standard output and messages.
pub(crate) fn ran(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    told(&program(folder, arguments).output().unwrap())
}

/// The same of a run that has ended.
pub(crate) fn told(output: &Output) -> (i32, String, String) {
    use std::os::unix::process::ExitStatusExt;
    let code = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or(0));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (code, text(&output.stdout), text(&output.stderr))
}

/// Runs to the end, which must be a good one; gives standard output.
pub(crate) fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = ran(folder, arguments);
    assert_eq!(code, 0, "{arguments:?}: {err}");
    out
}

/// Runs to an end with `code`; gives the message.
pub(crate) fn refused(folder: &Path, code: i32, arguments: &[&str]) -> String {
    let (found, _, err) = ran(folder, arguments);
    assert_eq!(found, code, "{arguments:?}: {err}");
    err
}

/// What `--json` tells of a good run.
pub(crate) fn summary(folder: &Path, arguments: &[&str]) -> Value {
    let out = succeeds(folder, &[arguments, &["--json", "-q"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}"))
}

/// The value of the first of `keys` that stands anywhere in `json`.
pub(crate) fn find<'a>(json: &'a Value, keys: &[&str]) -> Option<&'a Value> {
    match json {
        Value::Object(map) => {
            keys.iter().find_map(|k| map.get(*k)).or_else(|| map.values().find_map(|v| find(v, keys)))
        }
        Value::Array(list) => list.iter().find_map(|v| find(v, keys)),
        _ => None,
    }
}

/// Where the plan cuts: the number of tasks and the shape of one.
pub(crate) fn cut(json: &Value) -> [Value; 2] {
    [&["tasks", "n_tasks"][..], &["task_shape", "piece"]]
        .map(|keys| find(json, keys).unwrap_or_else(|| panic!("no {keys:?} in {json}")).clone())
}

/// The least `--memory` in MiB that the run takes: the number in the refusal of a smaller one.
pub(crate) fn least_memory(folder: &Path, arguments: &[&str]) -> u64 {
    let text = refused(folder, 2, &[arguments, &["--memory", "1M"]].concat());
    let number = text.rsplit("--memory ").next().unwrap_or_default();
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    let unit = number[digits.len()..].chars().next();
    let factor = if unit == Some('G') { 1024 } else { 1 };
    digits.parse::<u64>().unwrap_or_else(|_| panic!("no number would do: {text}")) * factor
}

/// Waits until `holds`, at most a minute.
pub(crate) fn wait_until(mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > Duration::from_secs(60) {
            return false;
        }
        sleep(Duration::from_millis(1));
    }
    true
}

/// Whether `child` runs still.
pub(crate) fn alive(child: &mut Child) -> bool {
    child.try_wait().unwrap().is_none()
}

/// Sends `signal` to `child`, which may have ended.
pub(crate) fn send(child: &Child, signal: Signal) {
    let _ = kill_process(Pid::from_child(child), signal);
}

/// Stops `child` as soon as `is_time`, which is asked again and again while it stands still: no run is too fast for that.
/// It ends or goes on by another signal, and [`Signal::CONT`].
pub(crate) fn stop_when(child: &Child, mut is_time: impl FnMut() -> bool) {
    let start = Instant::now();
    loop {
        send(child, Signal::STOP);
        let states = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let state = waitid(WaitId::Pid(Pid::from_child(child)), states).unwrap().unwrap();
        assert!(state.stopped(), "the run ended before it could be stopped");
        if is_time() {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "the run has not come so far in a minute");
        send(child, Signal::CONT);
        sleep(Duration::from_millis(1));
    }
}

/// Sends `signal` to `child`, whether it stands still or not; gives code, message and seconds to its end.
pub(crate) fn ended(child: Child, signal: Signal) -> (i32, String, f64) {
    send(&child, signal);
    send(&child, Signal::CONT);
    let start = Instant::now();
    let (code, _, text) = told(&child.wait_with_output().unwrap());
    (code, text, start.elapsed().as_secs_f64())
}

/// Starts `command` and calls `look` with the process's folder in `/proc` until it ends.
pub(crate) fn watched(command: &mut Command, mut look: impl FnMut(&Path)) -> Output {
    let child = command.spawn().unwrap();
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let output = std::thread::spawn(move || child.wait_with_output().unwrap());
    while !output.is_finished() {
        look(&process);
        sleep(Duration::from_millis(1));
    }
    output.join().unwrap()
}

/// Peak resident memory in bytes of a process whose folder in `/proc` is `process`.
pub(crate) fn peak_bytes(process: &Path) -> Option<u64> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

/// Numbers of the threads that have read more than `n_calls` times.
pub(crate) fn readers(process: &Path, n_calls: u64) -> Vec<String> {
    let Ok(tasks) = fs::read_dir(process.join("task")) else { return Vec::new() };
    let tasks = tasks.filter_map(|t| Some(t.ok()?.path()));
    tasks
        .filter(|t| n_reads(t) > Some(n_calls))
        .map(|t| t.file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// How often a process or thread whose folder in `/proc` is `process` has read.
pub(crate) fn n_reads(process: &Path) -> Option<u64> {
    io(process, "syscr")
}

fn io(process: &Path, what: &str) -> Option<u64> {
    let io = fs::read_to_string(process.join("io")).ok()?;
    io.lines().find_map(|l| l.strip_prefix(what)?.strip_prefix(": "))?.parse().ok()
}

/// Runs to the end, which must be a good one; gives the bytes that it has written, to whatever file.
pub(crate) fn written(folder: &Path, arguments: &[&str]) -> u64 {
    let child = program(folder, arguments).spawn().unwrap();
    waitid(WaitId::Pid(Pid::from_child(&child)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
    let bytes = io(&PathBuf::from(format!("/proc/{}", child.id())), "wchar");
    let (code, _, text) = told(&child.wait_with_output().unwrap());
    assert_eq!(code, 0, "{arguments:?}: {text}");
    bytes.unwrap()
}

/// Counts how often the files of a folder are opened, by whatever call.
pub(crate) struct Opens {
    queue: OwnedFd,
    counts: BTreeMap<String, usize>,
}

impl Opens {
    pub(crate) fn of(folder: &Path) -> Self {
        let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        // With closing too: equal events that follow one another would be told once.
        inotify::add_watch(&queue, folder, WatchFlags::OPEN | WatchFlags::CLOSE).unwrap();
        Self { queue, counts: BTreeMap::new() }
    }

    /// Takes in what has happened since the last call.
    pub(crate) fn look(&mut self) {
        let mut buffer = [MaybeUninit::uninit(); 1 << 16];
        let mut events = inotify::Reader::new(&self.queue, &mut buffer);
        while let Ok(event) = events.next() {
            assert!(!event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW), "too many events");
            if let (true, Some(name)) = (event.events().contains(inotify::ReadFlags::OPEN), event.file_name()) {
                *self.counts.entry(name.to_string_lossy().into_owned()).or_default() += 1;
            }
        }
    }

    /// Opens by name of the file.
    pub(crate) fn counts(mut self) -> BTreeMap<String, usize> {
        self.look();
        self.counts
    }
}

/// Makes every lock on a file fail with `error` in the program that `command` starts, as on a file system that
/// knows none. Starting it fails where the kernel does not allow that.
#[cfg(target_os = "linux")]
pub(crate) fn without_locks(command: &mut Command, error: i32) {
    const NUMBER: u32 = 0;
    const SECOND_ARGUMENT: u32 = 24;
    let step = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0);
    let equal = |value, jt, jf| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, jt, jf);
    let give = |value| step(libc::BPF_RET | libc::BPF_K, value, 0, 0);
    let mut filter = vec![
        load(NUMBER),
        equal(libc::SYS_flock as u32, 7, 0),
        equal(libc::SYS_fcntl as u32, 0, 5),
        load(SECOND_ARGUMENT),
        equal(libc::F_SETLK as u32, 4, 0),
        equal(libc::F_SETLKW as u32, 3, 0),
        equal(libc::F_OFD_SETLK as u32, 2, 0),
        equal(libc::F_OFD_SETLKW as u32, 1, 0),
        give(libc::SECCOMP_RET_ALLOW),
        give(libc::SECCOMP_RET_ERRNO | error as u32),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: prctl reads its arguments only, and `program` outlives both calls.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec `install` makes two system calls and allocates nothing.
    unsafe { command.pre_exec(install) };
}

/// Lets the program run without the rights of a superuser, who may write anywhere.
pub(crate) fn as_nobody(command: &mut Command) {
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
}

/// Every file and folder below `folder` with time of change and size, by relative path.
pub(crate) fn listing(folder: &Path) -> BTreeMap<PathBuf, (SystemTime, u64)> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        found.insert(path.strip_prefix(folder).unwrap().to_owned(), (about.modified().unwrap(), about.len()));
        if about.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
    found
}

/// Whether a run has begun to write: beside `known` names, `folder` holds something with a file in it.
pub(crate) fn begun(folder: &Path, known: &[String]) -> bool {
    fs::read_dir(folder).unwrap().flatten().filter(|e| !known.contains(&e.file_name().to_string_lossy().into())).any(
        |e| {
            let mut open = vec![e.path()];
            while let Some(path) = open.pop() {
                match fs::read_dir(&path) {
                    Ok(entries) => open.extend(entries.flatten().map(|e| e.path())),
                    Err(_) if fs::metadata(&path).is_ok_and(|m| m.len() > 0) => return true,
                    Err(_) => {}
                }
            }
            false
        },
    )
}

/// Bytes of what a run has written beside `known` names of `folder`.
pub(crate) fn begun_bytes(folder: &Path, known: &[&str]) -> u64 {
    let is_new = |path: &PathBuf| !known.iter().any(|k| path.ends_with(k));
    let mut open: Vec<PathBuf> = fs::read_dir(folder).unwrap().flatten().map(|e| e.path()).filter(is_new).collect();
    let mut bytes = 0;
    while let Some(path) = open.pop() {
        match fs::read_dir(&path) {
            Ok(entries) => open.extend(entries.flatten().map(|e| e.path())),
            Err(_) => bytes += fs::metadata(&path).map_or(0, |m| m.len()),
        }
    }
    bytes
}
