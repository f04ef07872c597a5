//! Where the time goes: seconds on a processor, seconds of waiting and bytes of each stage, summed over all threads.
//! Costs next to nothing before it is begun.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use serde::Serialize;

use crate::draw::table::Table;
use crate::size::Bytes;

/// A stage of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Bytes from input files.
    Read,
    /// Stored pieces to elements.
    Decode,
    /// Elements to where they belong in a chunk.
    Gather,
    /// Elements into the states of operators.
    Fold,
    /// Chunks to stored bytes.
    Encode,
    /// Bytes to output files.
    Write,
    /// Until they are on the disk; mostly beside the work.
    Sync,
    /// Parts to devices.
    Send,
    /// Kernels on them.
    Kernel,
    /// Results back.
    Fetch,
    /// Workers for memory, earlier tasks or the disk.
    Wait,
}

/// Stages by name, in the order of the enumeration.
const NAMES: [&str; 11] =
    ["read", "decode", "gather", "fold", "encode", "write", "sync", "send", "kernel", "fetch", "wait"];

/// What a stage has taken so far, in nanoseconds and bytes.
struct Total {
    wall_ns: AtomicU64,
    cpu_ns: AtomicU64,
    bytes: AtomicU64,
    calls: AtomicU64,
}

static IS_ON: AtomicBool = AtomicBool::new(false);
static TOTALS: [Total; 11] = [const {
    Total { wall_ns: AtomicU64::new(0), cpu_ns: AtomicU64::new(0), bytes: AtomicU64::new(0), calls: AtomicU64::new(0) }
}; 11];

thread_local! {
    /// Time on the clock and on the processor, in nanoseconds, of stages inside the one in hand.
    static INSIDE: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Begins to measure, for good.
pub fn begin() {
    IS_ON.store(true, Relaxed);
}

/// Does `work`, which is part of `stage` and handles `n_bytes`. Stages inside it count for themselves.
pub fn stage<T>(stage: Stage, n_bytes: u64, work: impl FnOnce() -> T) -> T {
    if !IS_ON.load(Relaxed) {
        return work();
    }
    let outside = INSIDE.replace((0, 0));
    let (begun, cpu_begun) = (Instant::now(), cpu_ns());
    let result = work();
    let (wall, cpu) = (begun.elapsed().as_nanos() as u64, cpu_ns().saturating_sub(cpu_begun));
    let inside = INSIDE.replace((outside.0 + wall, outside.1 + cpu));
    add(stage, n_bytes, wall.saturating_sub(inside.0), cpu.saturating_sub(inside.1));
    result
}

/// Adds a call of `stage`, which took so many nanoseconds on the clock and on the processor.
fn add(stage: Stage, n_bytes: u64, wall_ns: u64, cpu_ns: u64) {
    let total = &TOTALS[stage as usize];
    total.wall_ns.fetch_add(wall_ns, Relaxed);
    total.cpu_ns.fetch_add(cpu_ns, Relaxed);
    total.bytes.fetch_add(n_bytes, Relaxed);
    total.calls.fetch_add(1, Relaxed);
}

/// Counts what others worked for this thread during the stage in hand, in nanoseconds, as part of `stage`, which handled
/// `n_bytes`. Asks how long that was only where it is measured.
pub fn took(stage: Stage, n_bytes: u64, wall_ns: impl FnOnce() -> u64) {
    if IS_ON.load(Relaxed) {
        let (wall_ns, inside) = (wall_ns(), INSIDE.get());
        INSIDE.set((inside.0 + wall_ns, inside.1));
        add(stage, n_bytes, wall_ns, 0);
    }
}

/// Time that this thread has had a processor, in nanoseconds.
fn cpu_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// What the stages have taken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// Each that has happened, in order.
    pub stages: Vec<StageFigures>,
    /// Seconds on processors, of the program and of the system for it, all threads together.
    pub user_s: f64,
    /// The system's part.
    pub system_s: f64,
}

/// What one stage has taken, over all threads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageFigures {
    /// Its name.
    pub stage: &'static str,
    /// Seconds on a processor.
    pub cpu_s: f64,
    /// Seconds of waiting.
    pub wait_s: f64,
    /// Bytes handled.
    pub bytes: u64,
    /// How often.
    pub calls: u64,
}

/// What has been measured, if it was begun.
pub fn taken() -> Option<Profile> {
    let one = |(stage, total): (&'static str, &Total)| {
        let [wall, cpu] = [&total.wall_ns, &total.cpu_ns].map(|ns| ns.load(Relaxed) as f64 / 1e9);
        let (bytes, calls) = (total.bytes.load(Relaxed), total.calls.load(Relaxed));
        StageFigures { stage, cpu_s: cpu, wait_s: (wall - cpu).max(0.0), bytes, calls }
    };
    let stages = NAMES.into_iter().zip(&TOTALS).map(one).filter(|figures| figures.calls > 0).collect();
    let (user_s, system_s) = process_s();
    IS_ON.load(Relaxed).then_some(Profile { stages, user_s, system_s })
}

/// Seconds on processors of the process: its own and the system's. Zero where the system does not say.
fn process_s() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name before may hold spaces and brackets.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
    let seconds = |i: usize| fields.get(i).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0) / ticks_per_s;
    (seconds(11), seconds(12))
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = Table::default();
        table.row(["stage", "processor", "waiting", "calls", "bytes"]);
        for StageFigures { stage, cpu_s, wait_s, bytes, calls } in &self.stages {
            let bytes = if *bytes > 0 { Bytes(*bytes).to_string() } else { String::new() };
            table.row([
                (*stage).to_owned(),
                format!("{cpu_s:.3} s"),
                format!("{wait_s:.3} s"),
                calls.to_string(),
                bytes,
            ]);
        }
        let (known, all) = (self.stages.iter().map(|s| s.cpu_s).sum::<f64>(), self.user_s + self.system_s);
        table.row(["other".to_owned(), format!("{:.3} s", (all - known).max(0.0))]);
        let of = format!("of them {:.3} s the system", self.system_s);
        table.row(["all".to_owned(), format!("{all:.3} s"), String::new(), String::new(), of]);
        f.write_str(&table.lines(100).join("\n"))
    }
}
