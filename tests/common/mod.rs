//! What the tests share: the Python of the independent readers, and the folder of real files.
#![allow(dead_code)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `script` of `tests/` with `arguments` and fails the test with its output if it fails.
///
/// Returns without a check, saying so, where no Python with the packages of `tests/requirements.txt` can be
/// had.
pub(crate) fn python(script: &str, arguments: &[&Path]) {
    let Some(python) = interpreter() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let mut command = Command::new(python);
    if let Some(corpus) = corpus() {
        command.env("STACKCTL_CORPUS", corpus);
    }
    let output = command.arg(&script).args(arguments).output().expect("Python starts");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{}: {text}", script.display());
    println!("{text}");
}

/// The Python named by `STACKCTL_PYTHON`, else the one in `.venv`, which is made if need be.
pub(crate) fn interpreter() -> Option<PathBuf> {
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
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(root).output();
        let problem = match output {
            Ok(output) if output.status.success() => return true,
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(e) => e.to_string(),
        };
        println!("skipped: no Python with the packages of tests/requirements.txt: {}", problem.trim());
        false
    };
    let done = run(Path::new("python3"), &["-m", "venv", ".venv"])
        && run(&python, &["-m", "pip", "install", "--quiet", "--requirement", "tests/requirements.txt"])
        && fs::write(&installed, wanted).is_ok();
    done.then_some(python)
}

/// The folder of real files, if there is one.
pub(crate) fn corpus() -> Option<PathBuf> {
    let shared = std::env::var_os("STACKCTL_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let corpus = shared.join("corpus");
    if !corpus.join("manifest.json").is_file() {
        println!("skipped: no corpus in {}", shared.display());
        return None;
    }
    Some(corpus)
}
