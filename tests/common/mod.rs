//! What the tests share: the Python of the independent readers, and the folder of real files.

pub(crate) mod bucket;
pub(crate) mod memory;
pub(crate) mod pile;
pub(crate) mod probe;
pub(crate) mod roff;
pub(crate) mod run;
pub(crate) mod tiff;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use stackctl::array::{Array, Scratch};
use stackctl::block::{Block, Buffer};
use stackctl::consume::{Consumer, Desk, Job, Merger, Part, Product};
use stackctl::error::Result;
use stackctl::grid::Region;
use stackctl::plan::Task;

/// A folder of a test's own.
pub(crate) fn tempdir() -> std::io::Result<tempfile::TempDir> {
    tempfile::tempdir_in(place())
}

/// Where folders of tests lie: in memory where there is room for all of them, since most of what they take on disks is waiting
/// for disks.
fn place() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let has_room = rustix::fs::statvfs(&memory).is_ok_and(|there| there.f_bavail * there.f_frsize >= 4 << 30);
    if has_room { memory } else { std::env::temp_dir() }
}

/// A region of an array.
pub(crate) fn read_region<A: Array + ?Sized + 'static>(array: &Arc<A>, region: &Region) -> Result<Block> {
    Arc::clone(array).reader(Scratch::default()).block(region, array.dtype(), Buffer::default())
}

/// The whole array.
pub(crate) fn read_whole<A: Array + ?Sized + 'static>(array: &Arc<A>) -> Result<Block> {
    read_region(array, &Region::whole(&array.shape()))
}

/// A task of its own for `region`.
pub(crate) fn task(index: u64, region: Region) -> Task {
    Task { index, unit: index, ends_unit: true, region }
}

/// What `consumer` makes of one block.
pub(crate) fn part(consumer: &dyn Consumer, block: &Block) -> Result<Part> {
    let mut desk = Desk::default();
    let mut taker = consumer.taker(&task(0, block.region().clone()))?;
    taker.take(block, &mut desk)?;
    Ok(taker.end(&mut desk)?.expect("one look is enough"))
}

/// Shows blocks of `regions` to a consumer that has begun, last to first, and merges what it makes of them first to
/// last.
pub(crate) fn show(
    consumer: &dyn Consumer,
    merger: &mut dyn Merger,
    regions: &[Region],
    block: impl Fn(Region) -> Block,
) {
    let parts: Vec<Part> = regions.iter().rev().map(|r| part(consumer, &block(r.clone())).unwrap()).collect();
    for (i, (region, part)) in regions.iter().zip(parts.into_iter().rev()).enumerate() {
        merger.put(&task(i as u64, region.clone()), part).unwrap();
    }
}

/// Everything that a consumer makes of an array whose blocks of `regions` it is shown.
pub(crate) fn consumed(
    consumer: &mut dyn Consumer,
    regions: &[Region],
    block: impl Fn(Region) -> Block,
) -> Vec<Product> {
    consumer.begin(&Job::default()).unwrap();
    let mut merger = consumer.merger();
    show(consumer, &mut *merger, regions, block);
    let mut products = merger.finish().unwrap();
    consumer.publish(&mut products).unwrap();
    products
}

/// Says on the real standard error, which no test harness catches, that this test checks nothing here, and why.
pub(crate) fn skipped(why: impl std::fmt::Display) {
    let thread = std::thread::current();
    let _ = writeln!(std::io::stderr(), "SKIPPED {}: {why}", thread.name().unwrap_or("a test"));
}

/// Runs `script` of `tests/` with `arguments` and fails the test with its output if it fails.
///
/// Returns without a check, saying so, where no Python with the packages of `tests/requirements.txt` can be
/// had.
pub(crate) fn python(script: &str, arguments: &[&Path]) {
    let Some(mut command) = interpreter() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    command.env("TMPDIR", place());
    if let Some(corpus) = corpus() {
        command.env("STACKCTL_CORPUS", corpus);
    }
    let output = command.arg(&script).args(arguments).output().expect("Python starts");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{}: {text}", script.display());
    println!("{text}");
}

/// A command of the Python named by `STACKCTL_PYTHON`, else of the one in `.venv`, which is made if need be.
pub(crate) fn interpreter() -> Option<Command> {
    let mut command = Command::new(python_path()?);
    // Compiling what a script imports takes four times as long as importing it: 3.6 against 0.9 s for xarray.
    command.env_remove("PYTHONDONTWRITEBYTECODE");
    // The threads of matrix products wait for work by turning round and round.
    command.env("OPENBLAS_NUM_THREADS", "1");
    Some(command)
}

/// Where that Python is.
fn python_path() -> Option<PathBuf> {
    if let Some(python) = std::env::var_os("STACKCTL_PYTHON") {
        return Some(python.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join(".venv");
    let python = folder.join("bin/python");
    // Tests of several executables may come here at once.
    let lock = File::create(root.join("target/venv.lock")).or_else(|_| File::create(root.join(".venv.lock"))).ok()?;
    lock.lock().ok()?;
    let wanted = fs::read(root.join("tests/requirements.txt")).ok()?;
    let installed = folder.join("requirements.txt");
    if fs::read(&installed).is_ok_and(|have| have == wanted) && python.exists() {
        return Some(python);
    }
    let run = |program: &Path, arguments: &[&str]| -> std::result::Result<(), String> {
        let output = Command::new(program).args(arguments).current_dir(root).output().map_err(|e| e.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    };
    let requirements = ["install", "--quiet", "--requirement", "tests/requirements.txt"];
    // uv takes a sixth of pip's minute, but has certificates of its own.
    let install = || {
        run(&python, &["-m", "pip", "install", "--quiet", "uv"])?;
        run(&python, &[&["-m", "uv", "--no-cache", "pip"], &requirements[..], &["--python", ".venv"]].concat())
    };
    let made = run(Path::new("python3"), &["-m", "venv", ".venv"])
        .and_then(|()| install().or_else(|_| run(&python, &[&["-m", "pip"], &requirements[..]].concat())))
        .and_then(|()| fs::write(&installed, wanted).map_err(|e| e.to_string()));
    made.inspect_err(|problem| {
        skipped(format_args!("no Python with the packages of tests/requirements.txt: {}", problem.trim()))
    })
    .ok()?;
    Some(python)
}

/// The folder of real files, if there is one.
pub(crate) fn corpus() -> Option<PathBuf> {
    let shared = std::env::var_os("STACKCTL_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let corpus = shared.join("corpus");
    if !corpus.join("manifest.json").is_file() {
        skipped(format_args!("no corpus in {}", shared.display()));
        return None;
    }
    Some(corpus)
}
