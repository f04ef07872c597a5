//! How much memory a run may use, and how much it did use.
//!
//! The default limit is half of what the job may use: the tightest of the control groups up the tree, what the
//! scheduler granted, `ulimit -v`, and the machine. Processes that a launcher started on one machine have equal parts of
//! it, and of its processors.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::place::{Environment, Ranks};
pub use crate::size::Bytes;

/// The ceiling of a run's resident memory and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// The ceiling in bytes.
    pub bytes: u64,
    /// In words: `--memory`, `half of the control group's 12.0 GiB`.
    pub from: String,
}

impl Limit {
    /// The limit asked for, or half of what the job may use.
    pub fn resolve(asked: Option<Bytes>) -> Self {
        if let Some(Bytes(bytes)) = asked {
            return Self { bytes, from: "--memory".into() };
        }
        let (bytes, what) = available(Path::new("/"), &variable);
        let among = match neighbours(&variable) {
            1 => String::new(),
            n => format!(", among {n} processes"),
        };
        Self { bytes: bytes / 2 / neighbours(&variable), from: format!("half of {what} of {}{among}", Bytes(bytes)) }
    }
}

/// A variable of this process's environment.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Processes that were started together on this machine, this one among them.
fn neighbours(variable: Environment<'_>) -> u64 {
    Ranks::find(variable).map_or(1, |ranks| ranks.local_size.max(1))
}

/// The tightest bound on this job's memory under the file system `root`, and what sets it.
fn available(root: &Path, variable: Environment<'_>) -> (u64, &'static str) {
    let mut bounds = Vec::new();
    if let Some(bytes) = physical(root) {
        bounds.push((bytes, "the machine's memory"));
    }
    if let Some(bytes) = control_groups(root) {
        bounds.push((bytes, "the control group's limit"));
    }
    if let Some(bytes) = scheduler(variable) {
        bounds.push((bytes, "the scheduler's grant"));
    }
    if let Some(bytes) = address_space(root) {
        bounds.push((bytes, "the address space (ulimit -v)"));
    }
    // Without /proc nothing is known: assume a small machine.
    bounds.into_iter().min_by_key(|b| b.0).unwrap_or((2 << 30, "an assumed memory"))
}

fn physical(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    Some(kib_field(&text, "MemTotal:")? * 1024)
}

fn kib_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|l| l.starts_with(name))?;
    line[name.len()..].split_whitespace().next()?.parse().ok()
}

/// The tightest memory limit of this process's control groups (v1 and v2), each up to the root.
fn control_groups(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mut tightest: Option<u64> = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let path = path.trim_start_matches('/');
        let (base, file) = if id == "0" && controllers.is_empty() {
            ("sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|c| c == "memory") {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let base = root.join(base);
        let mut group: PathBuf = base.join(path);
        loop {
            for name in [file, "memory.high"] {
                let value = fs::read_to_string(group.join(name)).ok().and_then(|t| t.trim().parse::<u64>().ok());
                // v1 says "no limit" with a number near 2^63.
                if let Some(bytes) = value.filter(|&b| b < 1 << 60) {
                    tightest = Some(tightest.map_or(bytes, |t| t.min(bytes)));
                }
            }
            if group == base || !group.pop() || !group.starts_with(&base) {
                break;
            }
        }
    }
    tightest
}

/// What `ulimit -v` allows, by which SGE and LSF bound jobs.
fn address_space(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/self/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What Slurm, PBS, SGE or LSF say that this job may use on this machine.
fn scheduler(variable: Environment<'_>) -> Option<u64> {
    let number = |name: &str| variable(name)?.trim().parse::<u64>().ok().filter(|&n| n > 0);
    let mut tightest: Option<u64> = None;
    let mut bound = |bytes: u64| tightest = Some(tightest.map_or(bytes, |t: u64| t.min(bytes)));
    // Slurm gives MiB; 0 means all of the machine.
    if let Some(mib) = number("SLURM_MEM_PER_NODE") {
        bound(mib.saturating_mul(1 << 20));
    } else if let Some(mib) = number("SLURM_MEM_PER_CPU") {
        let cpus = number("SLURM_CPUS_ON_NODE").or_else(|| number("SLURM_CPUS_PER_TASK")).unwrap_or(1);
        bound(mib.saturating_mul(1 << 20).saturating_mul(cpus));
    }
    if let Some(bytes) = number("PBS_RESC_MEM") {
        bound(bytes);
    }
    tightest
}

/// A field of `/proc/self/status` in bytes.
fn status(field: &str) -> Option<u64> {
    Some(kib_field(&fs::read_to_string("/proc/self/status").ok()?, field)? * 1024)
}

/// Resident memory of this process now, in bytes; 0 where the system does not say.
pub fn resident_bytes() -> u64 {
    status("VmRSS:").unwrap_or(0)
}

/// Peak resident memory of this process so far, in bytes; 0 where the system does not say.
pub fn peak_bytes() -> u64 {
    status("VmHWM:").unwrap_or(0)
}

/// Number of processors this process may use.
pub fn processors() -> usize {
    Processors::of_this_job().n
}

/// How many processors a process may use, and what says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Processors {
    /// How many.
    pub n: usize,
    /// In words: `SLURM_CPUS_PER_TASK`, `affinity and control groups`.
    pub from: String,
}

impl Processors {
    /// Those of this process.
    pub fn of_this_job() -> Self {
        let bound = std::thread::available_parallelism().map_or(1, usize::from);
        Self::among(bound, online().unwrap_or(bound), &variable)
    }

    /// Of a process that is `bound` to so many, on a machine of `machine`.
    fn among(bound: usize, machine: usize, variable: Environment<'_>) -> Self {
        let number = |name: &str| variable(name)?.trim().parse::<usize>().ok().filter(|&n| n > 0);
        let neighbours = neighbours(variable) as usize;
        // What a scheduler grants one task, or all tasks on this machine together.
        let of_task = number("SLURM_CPUS_PER_TASK").map(|n| (n, "SLURM_CPUS_PER_TASK".to_owned()));
        let of_node = ["SLURM_CPUS_ON_NODE", "NCPUS", "NSLOTS", "LSB_DJOB_NUMPROC"];
        let of_node = of_node.iter().find_map(|name| Some((number(name)?, *name))).unwrap_or((machine, "the machine"));
        let among = if neighbours > 1 { format!(", among {neighbours} processes") } else { String::new() };
        let (n, from) = of_task.unwrap_or_else(|| ((of_node.0 / neighbours).max(1), format!("{}{among}", of_node.1)));
        match n < bound {
            true => Self { n, from },
            false => Self { n: bound, from: "affinity and control groups".to_owned() },
        }
    }
}

/// Processors of the machine.
fn online() -> Option<usize> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    Some(text.lines().filter(|line| line.starts_with("processor")).count()).filter(|n| *n > 0)
}

/// Bounds the arenas of the allocator, before any thread has one: bounded later, a stitch had 9, and took 66 MB, not 57.
///
/// Where the address space is limited there is one for all: each reserves 64 MiB, and a thread whose arena can have no more
/// maps and unmaps every small block (measured under 96 MiB: 118 thousand of them for 12 MB, 4 s of system time).
pub fn bound_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let most = if address_space(Path::new("/")).is_some() { 1 } else { 2 };
        // SAFETY: mallopt only sets parameters of the allocator.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, most) };
    }
}

/// Makes the allocator give memory back, in keeping with a ceiling of `limit_bytes`: large blocks are mapped one by one.
///
/// Without this, every thread keeps what it once freed, and the peak is no longer what was admitted. What
/// counts as large grows with the ceiling: mapping anew for every chunk costs a page fault for every 4 KiB
/// (measured: 1.27 million faults and 2.4 s of system time for 0.8 GB, against 25 thousand and 0.5 s).
pub fn tame_allocator(limit_bytes: u64) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let large = (limit_bytes / 64).clamp(2 << 20, 32 << 20) as libc::c_int;
        // SAFETY: mallopt only sets parameters of the allocator.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, large);
            libc::mallopt(libc::M_TRIM_THRESHOLD, large);
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = limit_bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_tightest_bound_up_the_tree_wins() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let none = |_: &str| None;
        write(root, "proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\n");
        assert_eq!(available(root, &none), (16 << 30, "the machine's memory"));

        write(root, "proc/self/cgroup", "0::/slurm/job_7/step_0\n");
        write(root, "sys/fs/cgroup/slurm/job_7/step_0/memory.max", "max\n");
        write(root, "sys/fs/cgroup/slurm/job_7/memory.max", "4294967296\n");
        assert_eq!(available(root, &none), (4 << 30, "the control group's limit"));

        write(root, "proc/self/cgroup", "5:cpu,memory:/job\n");
        write(root, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
        write(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "8589934592\n");
        assert_eq!(available(root, &none), (8 << 30, "the control group's limit"));

        let slurm = |name: &str| (name == "SLURM_MEM_PER_NODE").then(|| "1024".to_string());
        assert_eq!(available(root, &slurm), (1 << 30, "the scheduler's grant"));
        write(root, "proc/self/limits", "Limit  Soft  Hard  Units\nMax address space   536870912  unlimited  bytes\n");
        assert_eq!(available(root, &none), (512 << 20, "the address space (ulimit -v)"));
        write(root, "proc/self/limits", "Limit  Soft  Hard  Units\nMax address space   unlimited  unlimited  bytes\n");
        let per_cpu = |name: &str| match name {
            "SLURM_MEM_PER_CPU" => Some("512".to_string()),
            "SLURM_CPUS_ON_NODE" => Some("4".to_string()),
            _ => None,
        };
        assert_eq!(available(root, &per_cpu), (2 << 30, "the scheduler's grant"));
        let pbs = |name: &str| (name == "PBS_RESC_MEM").then(|| "1610612736".to_string());
        assert_eq!(available(root, &pbs), (3 << 29, "the scheduler's grant"));
        // All of the machine, to Slurm: the control group is tighter.
        let all = |name: &str| (name == "SLURM_MEM_PER_NODE").then(|| "0".to_string());
        assert_eq!(available(root, &all), (8 << 30, "the control group's limit"));
    }

    #[test]
    fn processors_are_those_of_the_task() {
        for (bound, env, n) in [
            (16, &[][..], 16),
            (16, &[("NSLOTS", "4")][..], 4),
            (16, &[("NCPUS", "3")][..], 3),
            (16, &[("LSB_DJOB_NUMPROC", "40")][..], 16),
            (2, &[("SLURM_CPUS_ON_NODE", "8")][..], 2),
            (16, &[("SLURM_CPUS_PER_TASK", "4"), ("SLURM_CPUS_ON_NODE", "8")][..], 4),
            (16, &[("PMI_RANK", "0"), ("PMI_SIZE", "8"), ("MPI_LOCALNRANKS", "4")][..], 4),
            (2, &[("PMI_RANK", "0"), ("PMI_SIZE", "99"), ("MPI_LOCALNRANKS", "99")][..], 1),
        ] {
            let look = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(Processors::among(bound, 16, &look).n, n, "{env:?}");
        }
    }

    #[test]
    fn the_process_knows_its_own_memory() {
        if cfg!(target_os = "linux") {
            assert!(resident_bytes() > 100_000 && peak_bytes() >= resident_bytes() / 2);
        }
        assert!(Limit::resolve(None).bytes > 0);
        assert_eq!(Limit::resolve(Some(Bytes(7))).from, "--memory");
    }
}
