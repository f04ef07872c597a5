//! Which share of a plan a process does, as it is told by what started it: a flag, an array of jobs, a launcher of
//! ranks. Pure: the environment comes in, the decision goes out.
//!
//! The index of an array is the number of a share, whatever else the array holds: who submits task 3 alone again gets
//! share 3 again, so how many there are is said by the plan. The ranks of a launcher divide the share among them.
//!
//! Not everything that looks like a rank is one. Slurm gives the body of a batch script `SLURM_PROCID` and
//! `SLURM_NTASKS`, though it runs alone; under `mpirun` every rank sees the variables of the step that started the
//! launcher's daemons. Hence the order: Open MPI, PMI, a step of Slurm that says how many tasks it has.

use std::str::FromStr;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::plan::Share;

/// The value of a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A share that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Which {
    /// Its number, from 0.
    pub index: u64,
    /// How many there are, if that is said.
    pub n: Option<u64>,
}

impl FromStr for Which {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (index, n) = text.split_once('/').map_or((text, None), |(index, n)| (index, Some(n)));
        let number = |text: &str| text.trim().parse::<u64>().ok();
        match (number(index), n.map(number)) {
            (Some(index), None) => Ok(Self { index, n: None }),
            (Some(index), Some(Some(n))) if index < n => Ok(Self { index, n: Some(n) }),
            _ => Err(Error::usage(format!(
                "'{text}' is no share: give its number, counted from 0, such as 3, or how many there are too: 3/8"
            ))),
        }
    }
}

/// Index of the first job of an array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Base {
    /// As is usual with the scheduler.
    #[default]
    Auto,
    /// 0.
    Zero,
    /// 1.
    One,
}

impl Base {
    /// The index that share 0 has where `usual` is what it is by custom.
    pub fn or(self, usual: u64) -> u64 {
        match self {
            Self::Auto => usual,
            Self::Zero => 0,
            Self::One => 1,
        }
    }
}

/// Variables that hold the index of a job in its array, and the index of the first one as is usual.
const ARRAYS: [(&str, u64); 9] = [
    ("SLURM_ARRAY_TASK_ID", 0),
    ("PBS_ARRAY_INDEX", 0),
    ("PBS_ARRAYID", 0),
    ("LSB_JOBINDEX", 1),
    ("SGE_TASK_ID", 1),
    ("HQ_TASK_ID", 0),
    ("FLUX_JOB_CC", 0),
    ("AWS_BATCH_JOB_ARRAY_INDEX", 0),
    ("JOB_COMPLETION_INDEX", 0),
];

/// A launcher of ranks, and what it says: rank, number of ranks, and number of ranks on this machine.
struct Launcher {
    name: &'static str,
    rank: &'static str,
    size: &'static str,
    local: &'static str,
}

const LAUNCHERS: [Launcher; 3] = [
    Launcher {
        name: "Open MPI",
        rank: "OMPI_COMM_WORLD_RANK",
        size: "OMPI_COMM_WORLD_SIZE",
        local: "OMPI_COMM_WORLD_LOCAL_SIZE",
    },
    Launcher { name: "PMI", rank: "PMI_RANK", size: "PMI_SIZE", local: "MPI_LOCALNRANKS" },
    Launcher { name: "Flux", rank: "FLUX_TASK_RANK", size: "FLUX_JOB_SIZE", local: "" },
];
const STEP: Launcher =
    Launcher { name: "the Slurm step", rank: "SLURM_PROCID", size: "SLURM_STEP_NUM_TASKS", local: "" };

/// Where a process stands among those that were started together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ranks {
    /// Its number, from 0.
    pub rank: u64,
    /// How many there are.
    pub size: u64,
    /// How many of them are on this machine.
    pub local_size: u64,
    /// What says so: `Open MPI`, `PMI`, `the Slurm step`; empty if it was started alone.
    pub from: &'static str,
}

impl Ranks {
    const ALONE: Self = Self { rank: 0, size: 1, local_size: 1, from: "" };

    /// What the environment says.
    ///
    /// # Errors
    /// `Usage` if it says half of it.
    pub fn find(env: Environment<'_>) -> Result<Self> {
        for launcher in &LAUNCHERS {
            if let Some((rank, size)) = pair(env, launcher)? {
                let local_size = number(env, launcher.local)?.filter(|n| *n > 0).unwrap_or(1);
                return Ok(Self { rank, size, local_size, from: launcher.name });
            }
        }
        if env("SLURM_STEP_ID").is_some() {
            let (rank, size) = pair(env, &STEP)?.ok_or_else(|| half("SLURM_STEP_ID", STEP.size))?;
            return Ok(Self { rank, size, local_size: tasks_of_node(env), from: STEP.name });
        }
        if env("PMIX_RANK").is_some() {
            return Err(half("PMIX_RANK", "a number of ranks"));
        }
        Ok(Self::ALONE)
    }
}

/// Rank and number of ranks, if the launcher has started this.
fn pair(env: Environment<'_>, launcher: &Launcher) -> Result<Option<(u64, u64)>> {
    match (number(env, launcher.rank)?, number(env, launcher.size)?) {
        (Some(rank), Some(size)) if rank < size => Ok(Some((rank, size))),
        (Some(rank), Some(size)) => {
            Err(Error::usage(format!("{} is {rank}, but {} is {size}", launcher.rank, launcher.size)))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(half(launcher.rank, launcher.size)),
        (None, Some(_)) => Err(half(launcher.size, launcher.rank)),
    }
}

fn half(there: &str, missing: &str) -> Error {
    Error::usage(format!(
        "{there} is set, but not {missing}: every process would do the same; start it with mpirun or srun, or unset {there}"
    ))
}

fn number(env: Environment<'_>, name: &str) -> Result<Option<u64>> {
    let Some(text) = Some(name).filter(|name| !name.is_empty()).and_then(env) else { return Ok(None) };
    let number = text.trim().parse();
    number.map(Some).map_err(|_| Error::usage(format!("{name} is '{text}', which is no number")))
}

/// How many tasks of the step are on this node: the entry for it in a list such as `4(x2),3`.
fn tasks_of_node(env: Environment<'_>) -> u64 {
    let list = env("SLURM_STEP_TASKS_PER_NODE").unwrap_or_default();
    let entry = |text: &str| {
        let (n, times) = text.split_once("(x").map_or((text, "1"), |(n, times)| (n, times.trim_end_matches(')')));
        Some(std::iter::repeat_n(n.parse::<u64>().ok()?, times.parse().ok()?))
    };
    let node = env("SLURM_NODEID").and_then(|text| text.parse().ok()).unwrap_or(0);
    list.split(',').filter_map(entry).flatten().nth(node).unwrap_or(1).max(1)
}

/// What a process is to do, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The share; all of them if none is named.
    pub which: Option<Which>,
    /// What names it; empty if nothing does.
    pub from: String,
    /// Who divides it.
    pub ranks: Ranks,
    /// What may not be meant.
    pub warning: Option<String>,
}

/// Decides by what was `asked` for, if anything was, and by the environment.
///
/// # Errors
/// `Usage` if the environment contradicts itself or says half of what is needed.
pub fn decide(env: Environment<'_>, asked: Option<Which>, base: Base) -> Result<Decision> {
    let ranks = Ranks::find(env)?;
    let (which, from) = match asked {
        Some(which) => (Some(which), "--share".to_owned()),
        None => match env("STACKCTL_SHARD") {
            Some(text) => {
                (Some(text.parse::<Which>().map_err(|e| e.at("STACKCTL_SHARD"))?), "STACKCTL_SHARD".to_owned())
            }
            None => array(env, base)?.map_or((None, String::new()), |(which, from)| (Some(which), from)),
        },
    };
    let n_tasks = env("SLURM_NTASKS").and_then(|text| text.parse::<u64>().ok()).unwrap_or(1);
    let warning = (ranks.from.is_empty() && n_tasks > 1).then(|| {
        format!("the job has {n_tasks} tasks, but its script runs this once: start it with srun, or ask for one task")
    });
    Ok(Decision { which, from, ranks, warning })
}

/// The share that the index of an array stands for.
fn array(env: Environment<'_>, base: Base) -> Result<Option<(Which, String)>> {
    for (name, usual) in ARRAYS {
        let Some(text) = env(name) else { continue };
        // What LSF and SGE say where there is no array.
        if (name == "LSB_JOBINDEX" && text.trim() == "0") || text.trim() == "undefined" {
            continue;
        }
        let (Some(index), first) = (number(env, name)?, base.or(usual)) else { continue };
        let Some(share) = index.checked_sub(first) else {
            return Err(Error::usage(format!(
                "{name} is {index}, but the array begins at {first}: use --share-base {index}"
            )));
        };
        let from = if first == 0 { name.to_owned() } else { format!("{name} {index}, counted from {first}") };
        return Ok(Some((Which { index: share, n: None }, from)));
    }
    Ok(None)
}

impl Decision {
    /// The units to be done of a plan for `n` shares; `fixed` if that is the number asked for.
    ///
    /// # Errors
    /// `Usage` if there is no such share.
    pub fn share(&self, n: u64, fixed: bool) -> Result<Share> {
        let which = self.which.unwrap_or(Which { index: 0, n: Some(1) });
        let (index, n) = match which.n {
            Some(other) if other != n && fixed && self.which.is_some() => {
                return Err(Error::usage(format!(
                    "{}: the plan has {n} shares, not {other}: say {}/{n}, or plan anew",
                    self.from, which.index
                )));
            }
            other => (which.index, other.unwrap_or(n)),
        };
        if index >= n {
            return Err(Error::usage(format!(
                "{}: there is no share {index} of {n}: they are counted from 0, as in --array=0-{}; --share-base 1 is for \
                 arrays that begin at 1",
                self.from,
                n - 1
            )));
        }
        // Every size-th unit of the share, from the rank-th on.
        Ok(Share { rank: index + self.ranks.rank * n, n: n * self.ranks.size })
    }

    /// The decision and its reason, in words.
    pub fn words(&self) -> String {
        let share = match self.which {
            Some(Which { index, n: Some(n) }) => format!("share {index} of {n} ({})", self.from),
            Some(Which { index, n: None }) => format!("share {index} ({})", self.from),
            None => "all shares (nothing names one)".to_owned(),
        };
        let Ranks { rank, size, from, .. } = self.ranks;
        let divided = if from.is_empty() { "alone".to_owned() } else { format!("rank {rank} of {size} ({from})") };
        format!("{share}, {divided}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(env: &[(&str, &str)], asked: Option<&str>, base: Base) -> Result<Decision> {
        let look = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        decide(&look, asked.map(|text| text.parse().unwrap()), base)
    }

    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<u64>, (u64, u64, u64));

    /// Environments as they were found in jobs of Slurm 22.05, Open MPI 4.1 and MPICH 4.0, and as PBS, LSF and SGE
    /// describe theirs: the share, then rank, number of ranks and those on this machine.
    #[test]
    fn environments_of_schedulers_and_launchers() {
        const STEP: [(&str, &str); 5] = [
            ("SLURM_JOB_ID", "7"),
            ("SLURM_STEP_ID", "0"),
            ("SLURM_PROCID", "3"),
            ("SLURM_STEP_NUM_TASKS", "5"),
            ("SLURM_STEP_TASKS_PER_NODE", "2(x2),1"),
        ];
        let step = |more: &[(&'static str, &'static str)]| [&STEP[..], more].concat();
        let rows: &[Row<'_>] = &[
            ("nothing", &[], None, (0, 1, 1)),
            (
                "the body of a batch script",
                &[("SLURM_JOB_ID", "7"), ("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")],
                None,
                (0, 1, 1),
            ),
            ("a step", &step(&[("SLURM_NODEID", "1")]), None, (3, 5, 2)),
            ("the last node of a step", &step(&[("SLURM_NODEID", "2")]), None, (3, 5, 1)),
            ("a step of an array", &step(&[("SLURM_ARRAY_TASK_ID", "4")]), Some(4), (3, 5, 2)),
            ("Open MPI by srun --mpi=pmix", &step(&[("PMIX_RANK", "3"), ("SLURM_NODEID", "0")]), None, (3, 5, 2)),
            ("MPICH by srun --mpi=pmi2", &step(&[("PMI_RANK", "3"), ("PMI_SIZE", "5")]), None, (3, 5, 1)),
            (
                "mpirun of Open MPI inside a job: each rank sees the step of the daemons",
                &[
                    ("SLURM_JOB_ID", "7"),
                    ("SLURM_STEP_ID", "0"),
                    ("SLURM_PROCID", "0"),
                    ("SLURM_STEP_NUM_TASKS", "2"),
                    ("SLURM_NTASKS", "4"),
                    ("OMPI_COMM_WORLD_RANK", "2"),
                    ("OMPI_COMM_WORLD_SIZE", "4"),
                    ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
                    ("PMIX_RANK", "2"),
                ],
                None,
                (2, 4, 2),
            ),
            (
                "mpirun of MPICH or Intel MPI",
                &[("PMI_RANK", "1"), ("PMI_SIZE", "4"), ("MPI_LOCALNRANKS", "4"), ("MPI_LOCALRANKID", "1")],
                None,
                (1, 4, 4),
            ),
            (
                "task 3 of an array, submitted again alone",
                &[
                    ("SLURM_ARRAY_TASK_ID", "3"),
                    ("SLURM_ARRAY_TASK_COUNT", "1"),
                    ("SLURM_ARRAY_TASK_MIN", "3"),
                    ("SLURM_ARRAY_TASK_MAX", "3"),
                    ("SLURM_RESTART_COUNT", "1"),
                ],
                Some(3),
                (0, 1, 1),
            ),
            ("PBS", &[("PBS_ARRAY_INDEX", "6"), ("NCPUS", "2")], Some(6), (0, 1, 1)),
            ("Torque", &[("PBS_ARRAYID", "6")], Some(6), (0, 1, 1)),
            ("LSF without an array", &[("LSB_JOBINDEX", "0"), ("LSB_DJOB_NUMPROC", "4")], None, (0, 1, 1)),
            ("LSF, whose arrays begin at 1", &[("LSB_JOBINDEX", "1")], Some(0), (0, 1, 1)),
            ("SGE without an array", &[("SGE_TASK_ID", "undefined"), ("NSLOTS", "4")], None, (0, 1, 1)),
            ("SGE, whose arrays begin at 1", &[("SGE_TASK_ID", "8")], Some(7), (0, 1, 1)),
            ("HyperQueue", &[("HQ_TASK_ID", "5")], Some(5), (0, 1, 1)),
            ("Flux", &[("FLUX_TASK_RANK", "1"), ("FLUX_JOB_SIZE", "2"), ("FLUX_JOB_CC", "4")], Some(4), (1, 2, 1)),
            ("a variable of our own", &[("STACKCTL_SHARD", "2"), ("SLURM_ARRAY_TASK_ID", "4")], Some(2), (0, 1, 1)),
        ];
        for (what, env, share, (rank, size, local_size)) in rows {
            let found = decided(env, None, Base::Auto).unwrap_or_else(|e| panic!("{what}: {e}"));
            let ranks = &found.ranks;
            assert_eq!(found.which.map(|w| w.index), *share, "{what}");
            assert_eq!((ranks.rank, ranks.size, ranks.local_size), (*rank, *size, *local_size), "{what}");
            assert_eq!(found.warning.is_some(), what.starts_with("the body"), "{what}");
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment() {
        let env = [("STACKCTL_SHARD", "2/8"), ("SLURM_ARRAY_TASK_ID", "4")];
        assert_eq!(decided(&env, Some("1/8"), Base::Auto).unwrap().which, Some(Which { index: 1, n: Some(8) }));
        assert_eq!(decided(&env, None, Base::Auto).unwrap().which, Some(Which { index: 2, n: Some(8) }));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let half: [&[(&str, &str)]; 6] = [
            &[("OMPI_COMM_WORLD_RANK", "1")],
            &[("PMI_SIZE", "4")],
            &[("SLURM_STEP_ID", "0"), ("SLURM_PROCID", "0")],
            &[("PMIX_RANK", "1")],
            &[("PMI_RANK", "4"), ("PMI_SIZE", "4")],
            &[("SLURM_ARRAY_TASK_ID", "three")],
        ];
        for env in half {
            let error = decided(env, None, Base::Auto).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(env.iter().any(|(name, _)| error.to_string().contains(name)), "{env:?}: {error}");
        }
        let below = decided(&[("SLURM_ARRAY_TASK_ID", "0")], None, Base::One).unwrap_err().to_string();
        assert!(below.contains("begins at 1"), "{below}");
        for wrong in ["8/8", "x", "1/", "-1", ""] {
            assert!(wrong.parse::<Which>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn bases_can_be_said() {
        let index = |env: &[(&str, &str)], base| decided(env, None, base).unwrap().which.unwrap().index;
        assert_eq!(index(&[("SLURM_ARRAY_TASK_ID", "8")], Base::One), 7);
        assert_eq!(index(&[("LSB_JOBINDEX", "8")], Base::Zero), 8);
    }

    /// However a plan is divided, its units are done once.
    #[test]
    fn shares_and_ranks_divide_all_units() {
        for (n, size) in [(1, 1), (8, 1), (1, 4), (3, 4), (5, 7)] {
            let mut done = vec![0; 1000];
            for (index, rank) in (0..n).flat_map(|i| (0..size).map(move |r| (i, r))) {
                let ranks = Ranks { rank, size, local_size: 1, from: "PMI" };
                let which = Some(Which { index, n: None });
                let share = Decision { which, from: String::new(), ranks, warning: None }.share(n, true).unwrap();
                (share.rank..1000).step_by(share.n as usize).for_each(|unit| {
                    assert_eq!(unit % n, index, "ranks stay in their share");
                    done[unit as usize] += 1;
                });
            }
            assert!(done.iter().all(|times| *times == 1), "{n} shares, {size} ranks");
        }
    }

    #[test]
    fn the_number_of_shares_is_that_of_the_plan() {
        let asked = |text| decided(&[], text, Base::Auto).unwrap();
        assert_eq!(asked(None).share(8, true).unwrap(), Share::WHOLE);
        assert_eq!(asked(Some("3")).share(8, true).unwrap(), Share { rank: 3, n: 8 });
        assert_eq!(asked(Some("3/5")).share(8, false).unwrap(), Share { rank: 3, n: 5 });
        for (text, fixed) in [("8", true), ("8", false), ("3/5", true)] {
            assert_eq!(asked(Some(text)).share(8, fixed).unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
