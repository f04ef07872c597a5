//! NPY, NetCDF and HDF5 as inputs, against xarray and h5py, through the whole program.

use std::path::Path;

use crate::common;
use crate::common::tempdir;

fn run(part: &str) {
    let work = tempdir().unwrap();
    common::python("formats.py", &[Path::new(env!("CARGO_BIN_EXE_stackctl")), work.path(), Path::new(part)]);
}

#[test]
fn piles_of_netcdf_are_xarrays() {
    run("piles");
}

#[test]
fn calendars_and_dates_choose() {
    run("dates");
}

#[test]
fn variables_are_listed_and_chosen() {
    run("variables");
}

#[test]
fn zarr_is_unpacked_as_xarray_does() {
    run("packed_zarr");
}

#[test]
fn scales_that_are_text_count() {
    run("scales_of_text");
}

#[test]
fn faults_are_told() {
    run("faults");
}

#[test]
fn microscopes_hdf5_is_read() {
    run("microscopes");
}

#[test]
fn what_is_written_is_read_again() {
    run("numpy_files");
}

#[test]
fn memory_is_bounded() {
    run("bounded");
}

#[test]
fn programs_read_what_nobody_else_does() {
    run("readers");
}
