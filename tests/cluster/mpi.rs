//! Reductions by the ranks of an MPI, each where it is installed: the bytes of one process.

use super::recipes::installed;
use super::*;
use crate::common::tempdir;

/// A job with its input, and room for several tasks of a long result.
fn whole<'a>(job: &[&'a str]) -> Vec<&'a str> {
    super::whole(job).into_iter().map(|word| if word == "64M" { "512M" } else { word }).collect()
}

/// What one process makes; nothing of it is left.
fn serial(folder: &Path, job: &[&str], outputs: &[&str]) -> Made {
    succeeds(folder, &[], &whole(job));
    let expected = made(folder, outputs);
    outputs.iter().for_each(|name| fs::remove_file(folder.join(name)).unwrap());
    expected
}

/// How a launcher is told to send messages, and what of it is told by the program then.
struct Way {
    launcher: &'static str,
    ranks: &'static str,
    arguments: &'static [&'static str],
    env: Env<'static>,
    told: &'static [&'static str],
}

const UCX: [&str; 8] = ["--mca", "pml", "ucx", "--mca", "pml_ucx_tls", "any", "--mca", "pml_ucx_devices"];
const NEAR: (&str, &str) = ("UCX_TLS", "self,sm");
const LO: (&str, &str) = ("UCX_NET_DEVICES", "lo");

/// Open MPI 4 by four ways, MPICH 4, Open MPI 5, and the interface of MPI 5 by MPICH 5.
const WAYS: [Way; 7] = [
    Way { launcher: "mpirun.openmpi", ranks: "4", arguments: &[], env: &[], told: &["Open MPI", "mca_pml_ob1"] },
    Way {
        launcher: "mpirun.openmpi",
        ranks: "4",
        arguments: &["--mca", "pml", "ob1", "--mca", "btl", "self,tcp", "--mca", "btl_tcp_if_include", "lo"],
        env: &[],
        told: &["Open MPI", "mca_pml_ob1", "mca_btl_tcp"],
    },
    Way {
        launcher: "mpirun.openmpi",
        ranks: "4",
        arguments: &UCX,
        env: &[NEAR, LO],
        told: &["mca_pml_ucx", "UCX  INFO", "sysv/memory"],
    },
    Way {
        launcher: "mpirun.openmpi",
        ranks: "4",
        arguments: &UCX,
        env: &[("UCX_TLS", "self,tcp"), LO],
        told: &["mca_pml_ucx", "tcp/lo"],
    },
    Way {
        launcher: "mpirun.mpich",
        ranks: "4",
        arguments: &[],
        env: &[NEAR, LO, ("MPIR_CVAR_NOLOCAL", "1")],
        told: &["MPICH", "ch4:ucx", "libucp"],
    },
    Way { launcher: "mpirun.openmpi5", ranks: "4", arguments: &[], env: &[], told: &["interface of Open MPI", "v5."] },
    // Of more ranks some wait for ever where processors are few.
    Way { launcher: "mpirun.mpich5", ranks: "2", arguments: &[], env: &[], told: &["interface of MPI 5", "MPICH"] },
];

impl Way {
    /// The program as `n` ranks.
    fn command(&self, folder: &Path, n: &str, arguments: &[&str]) -> std::process::Command {
        let program = command(folder, &[], &[]);
        let mut command = std::process::Command::new(self.launcher);
        command.current_dir(folder).args(["-n", n]).args(self.arguments);
        if self.arguments.last() == Some(&"pml_ucx_devices") {
            command.arg("any");
        }
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.envs(recipes::MPI).envs(self.env.iter().copied());
        command.arg(program.get_program()).args(arguments);
        command
    }

    fn ran(&self, folder: &Path, n: &str, arguments: &[&str]) -> (i32, String, String) {
        told(&self.command(folder, n, arguments).output().unwrap())
    }
}

/// A folder with 24 MiB in `raw`, of which three tasks are made where few results are folded.
fn long() -> TempDir {
    let folder = tempdir().unwrap();
    let layout = Layout { width: 512, height: 512, bits: 16, compression: 8, ..Layout::default() };
    Pile { holes: vec![(0, 3)], ..Pile::new(1, 6, 8, layout) }.write(&folder.path().join("raw"));
    folder
}

/// What takes several passes is not shared out by files.
#[test]
fn a_plan_of_several_passes_is_refused() {
    let folder = long();
    let (job, outputs) = reductions().swap_remove(3);
    let text = refused(folder.path(), 1, &[&["plan"], &whole(&job)[..]].concat());
    assert!(text.contains("several times") && text.contains("--mpi"), "{outputs:?}: {text}");
    assert_eq!(run::names(folder.path()), ["raw"]);
}

/// Tiles that ranks join, that they have each for themselves, whose states come in order, that take several passes, and
/// whose states are longer than two messages.
fn reductions() -> Vec<(Vec<&'static str>, Vec<&'static str>)> {
    let reduce = |op: &'static str, axis: &'static str, more: &[&'static str]| {
        [&["reduce", "--op", op, "--axis", axis, "-o", "out_{op}.npy"], more].concat()
    };
    let all = "t,z,y,x";
    vec![
        (reduce("sum,std,max", all, &[]), vec!["out_sum.npy", "out_std.npy", "out_max.npy"]),
        (reduce("median,mean", "t", &[]), vec!["out_median.npy", "out_mean.npy"]),
        (reduce("argmax,mean", all, &["--calc", "a / 7"]), vec!["out_argmax.npy", "out_mean.npy"]),
        (reduce("median,quantile=0.01", all, &["--calc", "a / 7"]), vec!["out_median.npy", "out_quantile-0.01.npy"]),
        (
            reduce("histogram=1048576:0:1048576,histogram=1048575:0:65536,sum", all, &[]),
            vec!["out_histogram-1048576-0-1048576.npy", "out_histogram-1048575-0-65536.npy", "out_sum.npy"],
        ),
    ]
}

#[test]
fn ranks_fold_to_the_bytes_of_one_process() {
    let folder = long();
    let folder = folder.path();
    let jobs: Vec<_> =
        reductions().into_iter().map(|(job, outputs)| (serial(folder, &job, &outputs), job, outputs)).collect();
    for way in WAYS.iter().filter(|way| installed(way.launcher)) {
        // By what messages go matters little to what is in them: two kinds are enough where an MPI was tried before.
        let kinds = if way.arguments.is_empty() { &[0, 1, 2, 3, 4][..] } else { &[0, 3] };
        for (expected, job, outputs) in kinds.iter().map(|i| &jobs[*i]) {
            let words = [&whole(job)[..], &["--mpi", "-v"]].concat();
            let (code, out, err) = way.ran(folder, way.ranks, &words);
            assert_eq!(code, 0, "{:?} {job:?}: {err}", way.arguments);
            assert!(made(folder, outputs) == *expected, "{:?} {job:?}: other bytes", way.arguments);
            let said = out + &err;
            assert!(way.told.iter().all(|word| said.contains(word)), "{:?}, not {:?}: {said}", way.arguments, way.told);
            outputs.iter().for_each(|name| fs::remove_file(folder.join(name)).unwrap());
        }
    }
}

/// A Zarr says of what it was made as if one process had read it; holes and numbers are told once.
#[test]
fn what_all_ranks_have_read_is_told() {
    let Some(way) = WAYS.iter().find(|way| installed(way.launcher)) else { return };
    let folder = raw();
    let folder = folder.path();
    let job = ["reduce", "--op", "max", "--axis", "t,z", "-o", "out.zarr"];
    let inputs = || {
        let text = fs::read(folder.join("out.zarr/zarr.json")).unwrap();
        let all: Value = serde_json::from_slice(&text).unwrap();
        let found = &all["attributes"]["stackctl"];
        assert!(found["elements_filled"].as_u64() > Some(0) && found["inputs"][0]["crc64nvme"].is_string(), "{found}");
        (found["inputs"].clone(), found["elements_filled"].clone())
    };
    succeeds(folder, &[], &whole(&job));
    let expected = (inputs(), run::read_zarr(&folder.join("out.zarr")));
    let again = [&whole(&job)[..], &["--overwrite", "--restart", "--reduce", "mpi"]].concat();
    let (code, _, err) = way.ran(folder, "3", &again);
    assert_eq!(code, 0, "{err}");
    assert!((inputs(), run::read_zarr(&folder.join("out.zarr"))) == expected);
    let print = ["reduce", "--op", "max,count", "raw", "--pattern", PATTERN, "--missing", "skip"];
    let (_, alone, _) = ran(folder, &[], &print);
    let (code, together, err) = way.ran(folder, "3", &[&print[..], &["--mpi"]].concat());
    // Open MPI gives rank 0 a terminal, where numbers are set out.
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!((code, words(&together)), (0, words(&alone)), "{err}");
}

/// A launcher of another MPI than the library: every process is alone in a world of its own.
#[test]
fn the_wrong_launcher_is_found_out() {
    for (way, library) in [(&WAYS[0], "libmpich.so.12"), (&WAYS[4], "libmpi.so.40")] {
        if !installed(WAYS[0].launcher) || !installed(WAYS[4].launcher) {
            return;
        }
        let folder = raw();
        let library = format!("--mpi={library}");
        let words = [&whole(&reductions()[0].0)[..], &[&library]].concat();
        let (code, _, err) = way.ran(folder.path(), "4", &words);
        assert!(code == 4 && err.contains("of 4 to") && err.contains("of 1 to the library"), "{code}: {err}");
        assert_eq!(run::names(folder.path()), ["raw"]);
    }
}

#[test]
fn without_a_launcher_it_is_refused() {
    let folder = raw();
    let folder = folder.path();
    let job = [&whole(&reductions()[0].0)[..], &["--mpi"]].concat();
    assert!(refused(folder, 2, &job).contains("mpirun"));
    assert!(refused(folder, 2, &[&["plan"], &job[..]].concat()).contains("--mpi"));
    let missing = [("PMI_RANK", "0"), ("PMI_SIZE", "1")];
    let words = [&job[..job.len() - 1], &["--mpi=/no/such.so"]].concat();
    let (code, _, err) = ran(folder, &missing, &words);
    assert!(code == 2 && err.contains("/no/such.so") && err.contains("name the library"), "{code}: {err}");
}

/// One rank is killed: all end, nothing has the output's name, and the same command does it.
#[test]
fn a_rank_of_an_mpi_is_killed() {
    for way in [&WAYS[0], &WAYS[4]].into_iter().filter(|way| installed(way.launcher)) {
        let folder = long();
        let folder = folder.path();
        let (job, outputs) = reductions().swap_remove(3);
        let expected = serial(folder, &job, &outputs);
        let job = [&whole(&job)[..], &["--mpi"]].concat();
        let mut launcher = way.command(folder, "3", &job).spawn().unwrap();
        let kill_one = |pid: u32| {
            let ranks = children(pid).into_iter().filter(|pid| is_program(*pid)).collect::<Vec<_>>();
            ranks
                .get(1)
                .is_some_and(|pid| std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().is_ok())
        };
        while !kill_one(launcher.id()) {
            assert!(alive(&mut launcher), "it was too quick to be killed");
            std::thread::yield_now();
        }
        assert_ne!(launcher.wait_with_output().unwrap().status.code(), Some(0));
        assert!(outputs.iter().all(|name| !folder.join(name).exists()));
        let (code, _, err) = way.ran(folder, "3", &job);
        assert_eq!(code, 0, "{err}");
        assert!(made(folder, &outputs) == expected);
    }
}

/// What one rank cannot read ends all of them, with its reason, and nothing has the output's name.
#[test]
fn a_rank_that_fails_ends_all() {
    let (job, outputs) = reductions().swap_remove(0);
    let job = [&whole(&job)[..], &["--mpi"]].concat();
    for way in [&WAYS[0], &WAYS[4]].into_iter().filter(|way| installed(way.launcher)) {
        let folder = long();
        let folder = folder.path();
        damage(&folder.join("raw").join(Pile::name(0, 5)));
        let (code, _, err) = way.ran(folder, "3", &job);
        assert!(code != 0 && err.contains(&Pile::name(0, 5)), "{code}: {err}");
        assert!(outputs.iter().all(|name| !folder.join(name).exists()), "{}", way.launcher);
    }
}

/// The processes that `pid` has started, and those that they have.
fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let own: Vec<u32> =
        fs::read_to_string(path).unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    own.iter().flat_map(|child| [vec![*child], children(*child)].concat()).collect()
}

fn is_program(pid: u32) -> bool {
    let program = Path::new(env!("CARGO_BIN_EXE_stackctl")).canonicalize().unwrap();
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|link| link == program)
}
