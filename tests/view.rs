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
fn planes_lie_as_they_do_in_space() {
    run("spaces");
}

#[test]
fn what_is_flat_or_no_number_is_black() {
    run("flat");
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
