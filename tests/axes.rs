//! Where axes lie in the world, as zarr-python, tifffile and xarray see it, by names, files, flags and selections.

use std::path::Path;

use crate::common;
use crate::common::tempdir;

#[test]
fn axes_lie_where_names_files_and_flags_say() {
    let work = tempdir().unwrap();
    common::python("axes.py", &[Path::new(env!("CARGO_BIN_EXE_stackctl")), work.path()]);
}
