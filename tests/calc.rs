//! `calc` against NumPy, through the whole program.

use std::path::Path;

use crate::common;

#[test]
fn results_are_numpys() {
    let work = tempfile::tempdir().unwrap();
    common::python("calc.py", &[Path::new(env!("CARGO_BIN_EXE_stackctl")), work.path()]);
}
