//! Filters of `calc` against SciPy, through the whole program.

use std::path::Path;

use crate::common;
use crate::common::tempdir;

#[test]
fn filters_are_scipys() {
    let work = tempdir().unwrap();
    common::python("calc_filters.py", &[Path::new(env!("CARGO_BIN_EXE_stackctl")), work.path()]);
}
