//! `pairwise` against SciPy and `decompose` against NumPy, through the whole program.

use std::path::Path;

use crate::common;
use crate::common::tempdir;

#[test]
fn distances_are_scipys_and_decompositions_numpys() {
    let work = tempdir().unwrap();
    common::python("pairwise.py", &[Path::new(env!("CARGO_BIN_EXE_stackctl")), work.path()]);
}
