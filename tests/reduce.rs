//! `reduce` against NumPy: every operator, element type and set of axes, through the whole program.

use std::path::Path;

use crate::common;
use crate::common::tempdir;

#[test]
fn results_are_numpys() {
    let work = tempdir().unwrap();
    common::python("reduce.py", &[Path::new(env!("CARGO_BIN_EXE_stackctl")), work.path()]);
}
