//! The recipes of `docs/cluster`, each where its engine is installed.

use super::*;
use crate::common::tempdir;

/// Whether `name` is on the search path.
pub(super) fn installed(name: &str) -> bool {
    folder_of(name).is_some()
}

/// The folder of the search path in which `name` is.
fn folder_of(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).find(|folder| folder.join(name).is_file());
    if found.is_none() {
        common::skipped(format_args!("no {name} on the search path"));
    }
    found
}

pub(super) fn recipe(name: &str) -> String {
    format!("{}/docs/cluster/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Search path with the program in front.
pub(super) fn search_path() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_stackctl"));
    format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap())
}

/// Makes what one process makes of a plan for 8 shares, by `engine` and its arguments.
fn makes(engine: &[&str], env: Env<'_>) {
    let folder = raw();
    let folder = folder.path();
    let expected = serial(folder, &STITCH, &["out.zarr"]);
    planned(folder, "8", &STITCH);
    succeeds(folder, &[], &["run", "out.zarr", "--share", "2", "-q"]);
    finishes(folder, engine, env);
    assert!(made(folder, &["out.zarr"]) == expected, "{engine:?}");
}

fn finishes(folder: &Path, engine: &[&str], env: Env<'_>) {
    let mut command = std::process::Command::new(engine[0]);
    command.args(&engine[1..]).current_dir(folder).env("PATH", search_path()).envs(env.iter().copied());
    let (code, out, err) = told(&command.output().unwrap());
    assert_eq!(code, 0, "{engine:?}: {out}{err}");
}

/// A job whose time is over puts itself into the queue again, but not for ever: without a Slurm.
#[test]
fn requeues_come_to_an_end() {
    use std::os::unix::fs::PermissionsExt;
    for (restarts, requeued) in [("0", "requeue 7_0\n"), ("99", "requeue 7_0\n"), ("100", "")] {
        // Each try finishes something.
        let folder = raw();
        let folder = folder.path();
        planned(folder, "1", &STITCH);
        fs::create_dir(folder.join("bin")).unwrap();
        let scontrol = folder.join("bin/scontrol");
        fs::write(&scontrol, "#!/bin/sh\necho \"$@\" >> requeued\n").unwrap();
        fs::set_permissions(&scontrol, fs::Permissions::from_mode(0o755)).unwrap();
        let env = [("SLURM_ARRAY_JOB_ID", "7"), ("SLURM_ARRAY_TASK_ID", "0"), ("SLURM_RESTART_COUNT", restarts)];
        let path = format!("{}:{}", folder.join("bin").display(), search_path());
        let script = recipe("array.sbatch");
        let mut job = std::process::Command::new("sh");
        let job = job.args([&script, "out.zarr", "0.001s"]).current_dir(folder).envs(env).env("PATH", path);
        let (code, _, err) = told(&job.output().unwrap());
        assert_eq!(code, 75, "{restarts}: {err}");
        assert_eq!(fs::read_to_string(folder.join("requeued")).unwrap_or_default(), requeued, "{restarts}");
    }
}

#[test]
fn gnu_parallel() {
    if installed("parallel") {
        makes(&["sh", &recipe("parallel.sh"), "out.zarr"], &[]);
    }
}

pub(super) const MPI: [(&str, &str); 5] = [
    ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
    ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
    ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
    ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
    ("HYDRA_IFACE", "lo"),
];

#[test]
fn mpirun_of_open_mpi() {
    if installed("mpirun.openmpi") {
        makes(&["sh", &recipe("mpirun.sh"), "out.zarr"], &[&MPI[..], &[("MPIRUN", "mpirun.openmpi")]].concat());
    }
}

#[test]
fn mpirun_of_mpich() {
    if installed("mpirun.mpich") {
        makes(&["sh", &recipe("mpirun.sh"), "out.zarr"], &[&MPI[..], &[("MPIRUN", "mpirun.mpich")]].concat());
    }
}

#[test]
fn dask() {
    if let Some(folder) = folder_of("dask") {
        let python = folder.join("python3").display().to_string();
        makes(&[&python, &recipe("dask_shares.py"), "out.zarr"], &[]);
    }
}

#[test]
fn snakemake() {
    if !installed("snakemake") {
        return;
    }
    let folder = raw();
    let folder = folder.path();
    let job = ["stitch", "raw", "--missing", "fill", "-o", "big.zarr", "--pattern", PATTERN, "-q"];
    succeeds(folder, &[], &job);
    let expected = made(folder, &["big.zarr"]);
    fs::remove_dir_all(folder.join("big.zarr")).unwrap();
    let pattern = format!("pattern={PATTERN}");
    let file = recipe("Snakefile");
    let config = ["--config", "input=raw", &pattern, "shares=3"];
    finishes(folder, &[&["snakemake", "--cores", "2", "--snakefile", &file], &config[..]].concat(), &[]);
    assert!(made(folder, &["big.zarr"]) == expected);
}

/// Nothing is run; the linter of Nextflow reads it, or one that brings a reader of its language with it.
#[test]
fn nextflow() {
    let folder = tempdir().unwrap();
    let (folder, recipes) = (folder.path(), recipe(""));
    if installed("nextflow") {
        finishes(folder, &["nextflow", "lint", &recipe("main.nf")], &[]);
    } else if installed("reftrace") {
        // What it knows of a file that it has read, by rules of its own; what it cannot read is an error.
        let rule = "from reftrace.linting import rule\n@rule\ndef names(module, results):\n    \
                    assert sorted(p.name for p in module.processes) == ['complete', 'share']\n    print('read', module.path)\n";
        fs::write(folder.join("rules.py"), rule).unwrap();
        finishes(folder, &["reftrace", "lint", "--directory", &recipes], &[]);
    }
}
