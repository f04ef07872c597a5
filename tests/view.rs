//! `view` against NumPy and Pillow, through the whole program.

use std::path::Path;

use crate::common;
use crate::common::tempdir;

fn run(part: &str) {
    let work = tempdir().unwrap();
    common::python("view.py", &[Path::new(env!("CARGO_BIN_EXE_stackctl")), work.path(), Path::new(part)]);
}

#[test]
fn pictures_are_numpys() {
    run("pictures");
}

#[test]
fn pictures_move() {
    run("moving");
}

#[test]
fn memory_is_bounded() {
    run("bounded");
}

#[test]
fn terminals_get_the_same_pictures() {
    run("terminals");
}

#[test]
fn the_smallest_level_that_suffices_is_read() {
    run("levels");
}

#[test]
fn keys_step_through_the_array() {
    run("keys");
}
