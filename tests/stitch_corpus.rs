//! The executable on real files of the corpus, each alone; the results read by zarr-python.
//!
//! `STACKCTL_FILES=all` takes every file, else one in three of those that are alike.

use std::path::Path;

use crate::common::{self, run};

#[test]
fn real_files_are_right_or_refused() {
    let Some(corpus) = common::corpus() else { return };
    common::python("stitch_corpus.py", &[Path::new(run::PROGRAM), &corpus]);
}
